//! `examples/http_server`, as a process, driven by curl and wrk, and by clients that no decent
//! one would be. What cannot be had here is said to be skipped.
#![cfg(all(target_os = "linux", feature = "signal"))]

mod built;
mod pipe;

use pipe::lines;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::Receiver;
use std::thread;
use std::time::{Duration, Instant};

/// Longer than any test takes, unless something hangs.
const LONG: Duration = Duration::from_secs(60);

/// The server, which is killed if the test ends first.
struct Server {
    child: Child,
    address: String,
    out: Receiver<String>,
    log: Receiver<String>,
}

impl Server {
    fn start() -> Server {
        let mut command = Command::new(built::example("http_server"));
        command.args(["127.0.0.1:0", "--log"]).stdin(Stdio::null());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let out = lines(child.stdout.take().unwrap());
        let log = lines(child.stderr.take().unwrap());
        let address = out.recv_timeout(LONG).unwrap();
        Server {
            child,
            address,
            out,
            log,
        }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    fn connect(&self) -> Client {
        let stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(LONG)).unwrap();
        stream.set_write_timeout(Some(LONG)).unwrap();
        Client(BufReader::new(stream))
    }

    fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(
            Command::new("kill")
                .args([name, &pid])
                .status()
                .unwrap()
                .success()
        );
    }

    /// Whether its listener is open; a connection would tell as well, but be counted.
    fn listens(&self) -> bool {
        let (_, port) = self.address.split_once(':').unwrap();
        let port: u16 = port.parse().unwrap();
        std::fs::read_to_string("/proc/net/tcp")
            .unwrap()
            .contains(&format!("0100007F:{port:04X} 00000000:0000 0A"))
    }

    /// The exit code and the last line of stdout.
    #[track_caller]
    fn ended(mut self) -> (i32, String) {
        let last = self
            .out
            .recv_timeout(LONG)
            .expect("it hangs, or says nothing");
        let status = self.child.wait().unwrap();
        (status.code().unwrap(), last)
    }

    /// The next line of the log that has this in it.
    #[track_caller]
    fn logs(&self, what: &str) -> String {
        loop {
            let line = self.log.recv_timeout(LONG).unwrap();
            if line.contains(what) {
                return line;
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One who speaks HTTP, or what it likes.
struct Client(BufReader<TcpStream>);

impl Client {
    fn send(&mut self, text: impl AsRef<[u8]>) {
        self.0.get_mut().write_all(text.as_ref()).unwrap();
    }

    fn get(&mut self, path: &str) {
        self.send(format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n"));
    }

    /// The status of the next answer, whether the connection goes on, and the body.
    #[track_caller]
    fn answer(&mut self) -> (u16, bool, String) {
        let mut head = Vec::new();
        loop {
            let mut line = String::new();
            let n = self.0.read_line(&mut line).unwrap();
            assert!(n > 0, "no answer, but the end");
            match line.trim_end() {
                "" => break,
                line => head.push(line.to_owned()),
            }
        }
        let value = |name: &str| {
            let line = head.iter().find_map(|line| line.strip_prefix(name));
            line.unwrap_or_else(|| panic!("{name} is missing: {head:?}"))
        };
        let status = head[0].split(' ').nth(1).unwrap().parse().unwrap();
        let mut body = vec![0; value("content-length: ").parse().unwrap()];
        self.0.read_exact(&mut body).unwrap();
        let keep_alive = value("connection: ") == "keep-alive";
        (status, keep_alive, String::from_utf8(body).unwrap())
    }

    #[track_caller]
    fn is_asked_for_the_body(&mut self) {
        let mut asked = [0; 25];
        self.0.read_exact(&mut asked).unwrap();
        assert_eq!(&asked, b"HTTP/1.1 100 Continue\r\n\r\n");
    }

    /// The server ends the connection, properly, and says nothing more.
    #[track_caller]
    fn ends(&mut self) {
        let mut rest = String::new();
        self.0.read_to_string(&mut rest).unwrap();
        assert_eq!(rest, "");
    }

    /// The next answer is that failure, and the last.
    #[track_caller]
    fn fails(&mut self, wanted: u16) {
        let (status, keep_alive, _) = self.answer();
        assert_eq!((status, keep_alive), (wanted, false));
        self.ends();
    }
}

#[test]
fn requests_come_one_after_the_other_or_all_at_once() {
    let server = Server::start();
    let mut client = server.connect();
    for _ in 0..3 {
        client.get("/hello");
        assert_eq!(client.answer(), (200, true, "hello, world\n".to_owned()));
    }
    // A hundred in one piece; then one in pieces of a byte.
    let one = "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n12345";
    client.send(one.repeat(100));
    for _ in 0..100 {
        assert_eq!(client.answer(), (200, true, "12345".to_owned()));
    }
    for byte in one.bytes() {
        client.send([byte]);
    }
    assert_eq!(client.answer(), (200, true, "12345".to_owned()));
    client.get("/nothing");
    assert_eq!(client.answer(), (404, true, "404 Not Found\n".to_owned()));
    client.send("BREW /hello HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(client.answer().0, 405);
    client.send("GET /hello HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    assert_eq!(client.answer(), (200, false, "hello, world\n".to_owned()));
    client.ends();
    // HTTP/1.0 closes unless it is asked not to, and needs no host.
    let mut client = server.connect();
    client.send("GET /hello HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    assert!(client.answer().1);
    client.send("GET /hello HTTP/1.0\r\n\r\n");
    assert!(!client.answer().1);
    client.ends();
    // One that waits to be asked for the body.
    let mut client = server.connect();
    client.send(with("Expect: 100-continue\r\nContent-Length: 5"));
    client.is_asked_for_the_body();
    client.send("12345");
    assert_eq!(client.answer(), (200, true, "12345".to_owned()));
    // A client that says no more may still listen.
    let mut client = server.connect();
    client.get("/work");
    client.0.get_ref().shutdown(Shutdown::Write).unwrap();
    assert_eq!(client.answer().0, 200);
    client.ends();
}

#[test]
fn bad_requests_are_told_so_and_cost_nobody_else() {
    let server = Server::start();
    let mut good = server.connect();
    for (status, request) in [
        (400, "nonsense\r\n\r\n".to_owned()),
        (400, "GET /hello\r\n\r\n".to_owned()),
        (400, "GET /hello HTTP/3.0\r\nHost: x\r\n\r\n".to_owned()),
        (400, "GET /hello HTTP/1.1\r\n\r\n".to_owned()),
        (
            400,
            "GET /hello HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n".to_owned(),
        ),
        (400, "GET /hello HTTP/1.1\r\nHost x\r\n\r\n".to_owned()),
        (400, with("Content-Length: -1")),
        (400, with("Content-Length: +1")),
        (400, with("Content-Length:")),
        (400, with("Content-Length: 1\r\nContent-Length: 2")),
        (411, with("Transfer-Encoding: chunked")),
        (413, with("Content-Length: 1048577")),
        (413, with("Content-Length: 99999999999999999999999999")),
        (431, with(&format!("X: {}", "x".repeat(9000)))),
        (431, with(&"X: x\r\n".repeat(70))),
        (431, format!("GET /{}", "x".repeat(9000))),
    ] {
        let mut client = server.connect();
        client.send(&request);
        let begin = &request[..request.len().min(60)];
        let (found, keep_alive, _) = client.answer();
        assert_eq!((found, keep_alive), (status, false), "{begin}");
        client.ends();
        good.get("/hello");
        assert_eq!(good.answer().0, 200, "after {begin}");
    }
    // One that goes on all the same, for a while, is not reset: it might lose the answer.
    let mut client = server.connect();
    client.send("nonsense\r\n\r\n");
    assert_eq!(client.answer().0, 400);
    for _ in 0..20 {
        client.send([b'x'; 10_000]);
        thread::sleep(Duration::from_millis(5));
    }
    client.ends();
    // The good ones before a bad one are answered.
    let mut client = server.connect();
    client.send("GET /hello HTTP/1.1\r\nHost: x\r\n\r\nnonsense\r\n\r\n");
    assert_eq!(client.answer().0, 200);
    client.fails(400);
}

#[test]
fn one_connection_header_that_says_close_is_enough() {
    let server = Server::start();
    let mut client = server.connect();
    client.send(
        "GET /hello HTTP/1.1\r\nHost: x\r\nConnection: close\r\nConnection: keep-alive\r\n\r\n",
    );
    assert!(!client.answer().1);
    client.ends();
}

#[test]
fn a_client_of_http_1_0_is_not_told_to_continue() {
    let server = Server::start();
    let mut client = server.connect();
    client.send("POST /echo HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n");
    // Long enough for a wrong 100 to be the first thing that is read.
    thread::sleep(Duration::from_millis(50));
    client.send("abc");
    assert_eq!(client.answer(), (200, false, "abc".to_owned()));
    client.ends();
}

#[test]
fn other_headers_may_have_any_bytes() {
    let server = Server::start();
    let mut client = server.connect();
    client.send(b"GET /hello HTTP/1.1\r\nHost: x\r\nReferer: caf\xe9\r\n\r\n");
    assert_eq!(client.answer().0, 200);
}

/// A client that reads too late while the head of its next request is under way: the limit for
/// that head cut an answer off in the middle, and all of it was sent once more.
#[test]
fn an_answer_that_is_read_late_is_sent_once() {
    let server = Server::start();
    let mut client = server.connect();
    let body: String = (0..100_000).map(|n| format!("{n:09}\n")).collect();
    let request = format!("{}{body}", with("Content-Length: 1000000"));
    let (begin, rest) = request.split_at(5);
    let writer = client.0.get_ref().try_clone().unwrap();
    let short = Some(Duration::from_secs(1));
    socket2::SockRef::from(&writer)
        .set_recv_buffer_size(256 << 10)
        .unwrap();
    // The socket's buffers take some answers; then the server waits for the client, which is
    // seen by a request that it does not begin.
    (&writer).write_all(begin.as_bytes()).unwrap();
    writer.set_write_timeout(short).unwrap();
    let next = format!("{rest}{begin}");
    let mut answers = 0;
    while (&writer).write_all(next.as_bytes()).is_ok()
        && server.log.recv_timeout(Duration::from_secs(1)).is_ok()
    {
        answers += 1;
        assert!(answers < 100, "the buffers take all");
        thread::sleep(Duration::from_millis(50));
    }
    // Longer than a head may take.
    thread::sleep(Duration::from_secs(2));
    for n in 0..answers {
        let (status, _, found) = client.answer();
        assert!(status == 200 && found == body, "answer {n} of {answers}");
    }
}

/// What an idle connection has in memory does not depend on what it was used for.
#[test]
fn idle_connections_keep_little_memory() {
    let server = Server::start();
    let body = "x".repeat(1 << 20);
    let mut clients: Vec<_> = (0..50).map(|_| server.connect()).collect();
    for client in &mut clients {
        client.send(with("Content-Length: 1048576"));
        client.send(&body);
        assert!(client.answer().2 == body);
    }
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.child.id())).unwrap();
    let line = status.lines().find_map(|l| l.strip_prefix("RssAnon:"));
    let kib: u64 = line
        .unwrap()
        .trim()
        .trim_end_matches(" kB")
        .parse()
        .unwrap();
    // It was 100 MiB, two for each.
    assert!(kib < 40 << 10, "{kib} KiB");
}

fn with(header: &str) -> String {
    format!("POST /echo HTTP/1.1\r\nHost: x\r\n{header}\r\n\r\n")
}

#[test]
fn slow_clients_and_slow_handlers_run_out_of_time() {
    let server = Server::start();
    let mut slow: Vec<_> = (0..50).map(|_| server.connect()).collect();
    let mut body = server.connect();
    body.send(with("Content-Length: 10"));
    let mut handler = server.connect();
    handler.get("/slow");
    let mut good = server.connect();
    // A byte at a time, each of them in time.
    let mut sent = 0;
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_millis(1500) {
        for client in &mut slow {
            client.send("G");
        }
        sent += 1;
        good.get("/hello");
        assert_eq!(good.answer().0, 200, "after {sent} bytes");
        thread::sleep(Duration::from_millis(100));
    }
    for client in &mut slow {
        client.fails(408);
    }
    assert_eq!(
        handler.answer(),
        (503, true, "503 Service Unavailable\n".to_owned())
    );
    handler.get("/hello");
    assert_eq!(handler.answer().0, 200);
    body.fails(408);
}

#[test]
fn a_panic_ends_its_connection_only() {
    let server = Server::start();
    let mut other = server.connect();
    let mut client = server.connect();
    client.get("/panic");
    client.ends();
    server.logs("as asked");
    other.get("/hello");
    assert_eq!(other.answer().0, 200);
}

/// 40 requests wait for 4 permits and mix; each line of the log has the id of its request.
#[test]
fn lines_of_the_log_have_the_id_of_their_request() {
    let server = Server::start();
    let mut clients: Vec<_> = (0..40).map(|_| server.connect()).collect();
    for client in &mut clients {
        client.get("/work");
    }
    for client in &mut clients {
        assert_eq!(client.answer().2, "done\n");
    }
    let lines: Vec<_> = (0..80)
        .map(|_| server.log.recv_timeout(LONG).unwrap())
        .collect();
    for id in 1..=40 {
        let ours = |text| {
            lines
                .iter()
                .position(|line| *line == format!("[request {id}] {text}"))
        };
        let (began, worked) = (ours("GET /work").unwrap(), ours("worked").unwrap());
        assert!(began < worked);
    }
    // All had begun before the last was at work.
    let last = lines.iter().rposition(|line| line.ends_with("GET /work"));
    assert!(last < lines.iter().rposition(|line| line.ends_with("worked")));
}

#[test]
fn a_signal_ends_it_gracefully() {
    for name in ["-TERM", "-INT"] {
        let server = Server::start();
        let (mut idle, mut busy) = (server.connect(), server.connect());
        idle.get("/hello");
        assert!(idle.answer().1);
        busy.send("POST /echo HTTP/1.1\r\nHost: x\r\n");
        busy.send("Expect: 100-continue\r\nContent-Length: 5\r\n\r\n");
        busy.is_asked_for_the_body();
        assert!(server.listens());
        server.signal(name);
        let begin = Instant::now();
        while server.listens() {
            assert!(begin.elapsed() < LONG, "it goes on");
            thread::sleep(Duration::from_millis(1));
        }
        busy.send("done\n");
        assert_eq!(busy.answer(), (200, false, "done\n".to_owned()));
        busy.ends();
        // Its grace is over.
        idle.ends();
        let address = server.address.clone();
        assert_eq!(
            server.ended(),
            (0, "2 connections, 1 of them killed".to_owned())
        );
        assert!(TcpStream::connect(address).is_err());
    }
}

#[test]
fn wrong_arguments_are_explained() {
    for (args, code, why) in [
        (&[][..], 2, "usage: http_server ADDR [--log]"),
        (&["a", "b"], 2, "usage: http_server ADDR [--log]"),
        (&["127.0.0.1:x"], 1, "http_server: "),
    ] {
        let output = Command::new(built::example("http_server"))
            .args(args)
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(code));
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.starts_with(why), "{said}");
    }
}

/// The tool's output; `None`, and said so, if it is not installed.
fn tool(command: &mut Command) -> Option<Output> {
    let name = command.get_program().to_string_lossy().into_owned();
    match command.output() {
        Ok(output) => Some(output),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            // Past the harness, which keeps what a test prints that passes.
            let _ = writeln!(std::io::stderr(), "SKIPPED: there is no {name} here");
            None
        }
        Err(e) => panic!("{name}: {e}"),
    }
}

#[test]
fn curl() {
    let server = Server::start();
    let fetch = |args: &[&str]| {
        let mut curl = Command::new("curl");
        tool(
            curl.args(["--silent", "--show-error", "--max-time", "60"])
                .args(args),
        )
    };
    // Over one connection, which curl says.
    let (hello, work) = (server.url("/hello"), server.url("/work"));
    let args = [
        "--write-out",
        "%{http_code} %{num_connects}\n",
        &hello,
        &work,
        &hello,
    ];
    let Some(output) = fetch(&args) else { return };
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(
        said,
        "hello, world\n200 1\ndone\n200 0\nhello, world\n200 0\n"
    );
    let output = fetch(&["--head", &hello]).unwrap();
    let head = String::from_utf8(output.stdout).unwrap();
    assert!(
        head.starts_with("HTTP/1.1 200 OK\r\ncontent-length: 13\r\n"),
        "{head}"
    );
    // As large as may be, for which curl waits to be asked; and one byte more.
    let echo = server.url("/echo");
    for (size, code) in [(0, "200"), (1 << 20, "200"), ((1 << 20) + 1, "413")] {
        let body: Vec<u8> = (0..size).map(|i: usize| (i % 251) as u8).collect();
        let name = format!("greenlet-http-{}-{size}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::write(&path, &body).unwrap();
        let from = format!("@{}", path.display());
        let args = [
            "--data-binary",
            &from,
            "--header",
            "Expect: 100-continue",
            &echo,
        ];
        let output = fetch(&[&args[..], &["--write-out", "%{stderr}%{http_code}"]].concat());
        std::fs::remove_file(&path).unwrap();
        let output = output.unwrap();
        assert_eq!(
            String::from_utf8(output.stderr).unwrap(),
            code,
            "{size} bytes"
        );
        assert!(code != "200" || output.stdout == body, "{size} bytes");
    }
}

#[test]
fn wrk() {
    let server = Server::start();
    let mut wrk = Command::new("wrk");
    wrk.args(["--threads", "1", "--connections", "100", "--duration", "1"]);
    let Some(output) = tool(wrk.arg(server.url("/hello"))) else {
        return;
    };
    let said = String::from_utf8(output.stdout).unwrap();
    let words: Vec<_> = said.split_whitespace().collect();
    let requests = words.iter().position(|word| *word == "requests").unwrap();
    assert!(words[requests - 1].parse::<u64>().unwrap() > 100, "{said}");
    // It prints these only if there are any.
    assert!(
        !said.contains("Non-2xx") && !said.contains("Socket errors"),
        "{said}"
    );
}

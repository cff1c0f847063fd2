//! A hundred conversations at once of each kind, all on one thread; and programs that nobody here
//! wrote, as clients and servers. What cannot be had here is said to be skipped.

#[path = "../examples/fetch.rs"]
#[allow(dead_code)]
mod fetch;
#[path = "../examples/redis_count.rs"]
#[allow(dead_code)]
mod redis_count;
#[path = "../examples/tls_echo.rs"]
#[allow(dead_code)]
mod tls_echo;
#[path = "../examples/websocket_echo.rs"]
#[allow(dead_code)]
mod websocket_echo;

use greenlet::net::{Server, TcpStream, UnixStream};
use greenlet::sync::Event;
use redis::{Commands, ConnectionLike};
use rustls::pki_types::{PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, StreamOwned};
use std::cell::Cell;
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;
use tungstenite::Message;

const MANY: usize = 100;
/// For what ends at once, unless something hangs.
const GRACE: Duration = Duration::from_secs(10);

/// Nobody gets past it before all are there.
struct Together {
    missing: Cell<usize>,
    complete: Event,
}

impl Together {
    fn new(n: usize) -> Self {
        let (missing, complete) = (Cell::new(n), Event::new());
        Together { missing, complete }
    }

    fn wait(&self) {
        self.missing.set(self.missing.get().saturating_sub(1));
        if self.missing.get() == 0 {
            self.complete.set();
        }
        assert!(
            self.complete.wait_timeout(GRACE),
            "{} are missing",
            self.missing.get()
        );
    }
}

/// Runs as many clients at once, each on a connection of its own to the server's handler, all on
/// this thread. A client calls `wait` in the midst of its conversation.
fn conversations(
    handler: impl Fn(TcpStream) + 'static,
    client: impl Fn(usize, TcpStream, &Together),
) {
    let server = Server::bind("127.0.0.1:0").unwrap();
    server.start(move |stream, _| handler(stream)).unwrap();
    let together = Together::new(MANY);
    greenlet::scope(|s| {
        for i in 0..MANY {
            let (server, together, client) = (&server, &together, &client);
            s.spawn(move || {
                client(
                    i,
                    TcpStream::connect(server.local_addr()).unwrap(),
                    together,
                )
            });
        }
        together.complete.wait();
        assert_eq!(server.live(), MANY);
    });
    let stopped = server.stop(GRACE).unwrap();
    assert_eq!(stopped.finished, MANY as u64, "{stopped:?}");
}

/// A folder that is removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let name = format!("greenlet-clients-{}-{name}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    fn file(&self, name: &str, contents: &str) -> String {
        let path = self.0.join(name);
        std::fs::write(&path, contents).unwrap();
        path.to_str().unwrap().to_owned()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Said past the harness, which keeps what a test prints that passes.
fn skipped(program: &str) {
    let _ = writeln!(io::stderr(), "SKIPPED: there is no {program} here");
}

/// A program that is killed when the test ends.
struct Program(Child);

impl Program {
    /// `None`, and said so, if it is not installed.
    fn start(command: &mut Command) -> Option<Program> {
        let name = command.get_program().to_string_lossy().into_owned();
        match command.spawn() {
            Ok(child) => Some(Program(child)),
            Err(e) if e.kind() == ErrorKind::NotFound => {
                skipped(&name);
                None
            }
            Err(e) => panic!("{name}: {e}"),
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

// ---- TLS ----

/// A certificate for `localhost` with its key, and both sides' configurations.
struct Tls {
    certificate: String,
    key: String,
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
}

impl Tls {
    fn new() -> Tls {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let certificate = made.cert.der().clone();
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(certificate.clone()).unwrap();
        let server = ServerConfig::builder().with_no_client_auth();
        let client = ClientConfig::builder().with_root_certificates(roots);
        Tls {
            certificate: made.cert.pem(),
            key: made.signing_key.serialize_pem(),
            server: Arc::new(server.with_single_cert(vec![certificate], key).unwrap()),
            client: Arc::new(client.with_no_client_auth()),
        }
    }

    fn connect(&self, stream: TcpStream) -> StreamOwned<ClientConnection, TcpStream> {
        let name = ServerName::try_from("localhost").unwrap();
        let connection = ClientConnection::new(self.client.clone(), name).unwrap();
        StreamOwned::new(connection, stream)
    }
}

#[test]
fn tls() {
    let tls = Tls::new();
    let config = tls.server.clone();
    let handler = move |stream| tls_echo::echo(&config, stream).unwrap();
    conversations(handler, |i, stream, together| {
        let mut stream = tls.connect(stream);
        // Several records, and more than the buffers of both sockets hold.
        let sent: Vec<u8> = (0..100_000).map(|n| (n * (i + 1)) as u8).collect();
        let mut received = vec![0; 10_000];
        for part in sent.chunks(received.len()) {
            stream.write_all(part).unwrap();
            stream.read_exact(&mut received).unwrap();
            assert!(part == received, "client {i}");
        }
        together.wait();
        stream.write_all(b"bye").unwrap();
        stream.conn.send_close_notify();
        stream.flush().unwrap();
        let mut rest = String::new();
        stream.read_to_string(&mut rest).unwrap();
        assert_eq!(rest, "bye");
    });
}

#[test]
fn tls_with_openssl_as_the_client() {
    let tls = Tls::new();
    let folder = Folder::new("s_client");
    let certificate = folder.file("certificate", &tls.certificate);
    let server = Server::bind("127.0.0.1:0").unwrap();
    let config = tls.server.clone();
    let address = server.local_addr().to_string();
    // Its end is no proper one: openssl is killed.
    server
        .start(move |stream, _| drop(tls_echo::echo(&config, stream)))
        .unwrap();
    // It is waited for on a thread of the pool, while the server runs here.
    let done = greenlet::unblock(move || {
        let mut openssl = Command::new("openssl");
        openssl.args([
            "s_client",
            "-quiet",
            "-verify_quiet",
            "-verify_return_error",
        ]);
        openssl.args(["-servername", "localhost", "-verify_hostname", "localhost"]);
        openssl.args(["-connect", &address, "-CAfile", &certificate]);
        let mut openssl = Program::start(openssl.stdin(Stdio::piped()).stdout(Stdio::piped()))?;
        let mut input = openssl.0.stdin.take().unwrap();
        let mut output = BufReader::new(openssl.0.stdout.take().unwrap()).lines();
        for i in 0..MANY {
            writeln!(input, "line {i}").unwrap();
            assert_eq!(output.next().unwrap().unwrap(), format!("line {i}"));
        }
        Some(())
    });
    let stopped = server.stop(GRACE).unwrap();
    assert_eq!(stopped.finished, u64::from(done.is_some()));
}

#[test]
fn tls_with_openssl_as_the_server() {
    let tls = Tls::new();
    let folder = Folder::new("s_server");
    let (certificate, key) = (
        folder.file("cert", &tls.certificate),
        folder.file("key", &tls.key),
    );
    let mut openssl = Command::new("openssl");
    // It sends each line back, reversed, one client after the other.
    openssl.args(["s_server", "-rev", "-accept", "127.0.0.1:0"]);
    openssl.args(["-cert", &certificate, "-key", &key]);
    openssl.stdin(Stdio::null()).stderr(Stdio::null());
    let Some(mut openssl) = Program::start(openssl.stdout(Stdio::piped())) else {
        return;
    };
    let mut said = BufReader::new(openssl.0.stdout.take().unwrap()).lines();
    let address = said.find_map(|line| Some(line.unwrap().strip_prefix("ACCEPT ")?.to_owned()));
    let address = address.expect("it says where it listens");
    for i in 0..3 {
        let stream = TcpStream::connect(&address).unwrap();
        stream.set_read_timeout(Some(GRACE)).unwrap();
        let mut stream = BufReader::new(tls.connect(stream));
        for word in ["greenlet", "tenet"] {
            writeln!(stream.get_mut(), "{word}{i}").unwrap();
            let mut line = String::new();
            stream.read_line(&mut line).unwrap();
            let reversed: String = line.trim_end().chars().rev().collect();
            assert_eq!(reversed, format!("{word}{i}"));
        }
    }
}

/// A client that says something else fails alone, and its error says why.
#[test]
fn tls_refuses_what_is_none() {
    let tls = Tls::new();
    let config = tls.server.clone();
    let server = Server::bind("127.0.0.1:0").unwrap();
    let refused = Arc::new(Event::new());
    let seen = refused.clone();
    let handler = move |stream, _| {
        let error = tls_echo::echo(&config, stream).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidData);
        seen.set();
    };
    server.start(handler).unwrap();
    let mut stream = TcpStream::connect(server.local_addr()).unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    assert!(refused.wait_timeout(GRACE));
    assert_eq!(server.stop(GRACE).unwrap().finished, 1);
}

// ---- WebSocket ----

#[test]
fn websocket() {
    let handler = |stream| websocket_echo::echo(stream).unwrap();
    conversations(handler, |i, stream, together| {
        let (mut socket, answer) = tungstenite::client("ws://localhost/", stream).unwrap();
        assert_eq!(answer.status(), 101);
        for n in 0..10 {
            for message in [
                Message::text(format!("message {n} of {i}")),
                Message::binary(vec![i as u8; n * 1000]),
            ] {
                socket.send(message.clone()).unwrap();
                assert_eq!(socket.read().unwrap(), message);
            }
        }
        together.wait();
        socket.send(Message::Ping("there?".into())).unwrap();
        assert_eq!(socket.read().unwrap(), Message::Pong("there?".into()));
        socket.close(None).unwrap();
        assert!(socket.read().unwrap().is_close());
        let end = socket.read().unwrap_err();
        assert!(matches!(end, tungstenite::Error::ConnectionClosed), "{end}");
    });
}

// ---- HTTP ----

/// A server that answers nobody before all have asked: a page `/N` has N bytes.
fn pages(together: Together) -> Server {
    let server = Server::bind("127.0.0.1:0").unwrap();
    let handler = move |stream: TcpStream| -> io::Result<()> {
        let mut lines = BufReader::new(&stream).lines();
        while let Some(first) = lines.next().transpose()? {
            let length: usize = first.split([' ', '/']).nth(2).unwrap().parse().unwrap();
            for header in &mut lines {
                if header?.is_empty() {
                    break;
                }
            }
            together.wait();
            let body = "x".repeat(length);
            write!(
                &stream,
                "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{body}"
            )?;
        }
        Ok(())
    };
    server
        .start(move |stream, _| handler(stream).unwrap())
        .unwrap();
    server
}

#[test]
fn http() {
    let server = pages(Together::new(MANY));
    let url = format!("http://localhost:{}", server.local_addr().port());
    let agent = fetch::agent();
    greenlet::scope(|s| {
        let fetch = |i: usize| {
            let (agent, url) = (&agent, format!("{url}/{}", i * 1000));
            s.spawn(move || agent.get(url).call()?.body_mut().read_to_string())
        };
        for (i, page) in (0..MANY)
            .map(fetch)
            .collect::<Vec<_>>()
            .into_iter()
            .enumerate()
        {
            assert_eq!(page.join().unwrap().unwrap().len(), i * 1000);
        }
    });
    drop(agent); // with the connections that it keeps
    assert_eq!(server.stop(GRACE).unwrap().finished, MANY as u64);
}

#[test]
fn http_on_a_connection_that_is_kept_and_with_a_limit() {
    let server = pages(Together::new(1));
    let url = format!("http://{}/5", server.local_addr());
    let agent = fetch::agent();
    for _ in 0..3 {
        let mut page = agent.get(&url).call().unwrap();
        assert_eq!(page.body_mut().read_to_string().unwrap(), "xxxxx");
        assert_eq!(server.live(), 1);
    }
    drop(server);
    agent.get(&url).call().unwrap_err();

    let silent = greenlet::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", silent.local_addr().unwrap());
    let limit = Some(Duration::from_millis(50));
    let request = agent.get(&url).config().timeout_global(limit).build();
    let error = request.call().unwrap_err();
    assert!(matches!(error, ureq::Error::Timeout(_)), "{error}");
    let error = agent.get("http://nowhere.invalid/").call().unwrap_err();
    assert!(matches!(error, ureq::Error::Io(_)), "{error}");
}

// ---- Redis ----

#[test]
fn redis() {
    let folder = Folder::new("redis");
    let socket = folder.0.join("socket");
    let mut command = Command::new("redis-server");
    command.args(["--port", "0", "--save", "", "--appendonly", "no"]);
    command
        .arg("--dir")
        .arg(&folder.0)
        .arg("--unixsocket")
        .arg(&socket);
    let Some(_redis) = Program::start(command.stdout(Stdio::null())) else {
        return;
    };
    let connect = || redis_count::Connection::new(UnixStream::connect(&socket).unwrap());
    let begin = std::time::Instant::now();
    while UnixStream::connect(&socket).is_err() {
        assert!(begin.elapsed() < GRACE, "it does not start");
        greenlet::sleep(Duration::from_millis(10));
    }
    let together = Together::new(MANY);
    greenlet::scope(|s| {
        for i in 0..MANY {
            let (connect, together) = (&connect, &together);
            s.spawn(move || {
                let mut redis = connect();
                let key = format!("key {i}");
                () = redis.set(&key, vec![i as u8; 1000 * i]).unwrap();
                together.wait();
                // Waits for the next one's answer, in the server; the last one begins.
                let (from, to) = (format!("list {i}"), format!("list {}", i + 1));
                if i > 0 {
                    let (_, word) = redis.blpop::<_, (String, String)>(from, 10.0).unwrap();
                    assert_eq!(word, "pass it on");
                }
                let (length, count): (usize, usize) = redis::pipe()
                    .strlen(&key)
                    .incr("count", 1)
                    .rpush(&to, "pass it on")
                    .ignore()
                    .query(&mut redis)
                    .unwrap();
                assert_eq!((length, count), (1000 * i, i + 1));
            });
        }
    });
    let mut redis = connect();
    assert_eq!(redis.get::<_, usize>("count").unwrap(), MANY);
    // An error of the server's is one of the call, and the connection goes on.
    let error = redis.incr::<_, _, usize>("list 100", 1).unwrap_err();
    assert_eq!(error.code(), Some("WRONGTYPE"));
    assert!(redis.check_connection() && redis.is_open());
    // One that was left in the midst of a call says that it is of no use any more.
    let left = greenlet::timeout(Duration::from_millis(20), || {
        redis.blpop::<_, (String, String)>("nothing", 0.0)
    });
    assert!(left.is_err() && !redis.is_open());
}

//! A small HTTP/1.1 server: `http_server ADDR [--log]` prints the address that it has bound
//! (port 0 is any free one) and serves until SIGINT or SIGTERM, gracefully. At SIGUSR1 it writes to
//! stderr what all greenlets do.
//!
//! One greenlet for each connection, in plain blocking style: keep-alive, pipelining, limits on
//! head, body and time. `httparse` reads the heads; everything else is here.
//!
//! ```sh
//! cargo run --release --features signal --example http_server 127.0.0.1:8080
//! curl http://127.0.0.1:8080/hello
//! curl --data-binary @README.md http://127.0.0.1:8080/echo
//! ```

use greenlet::net::{Server, Shutdown, TcpStream};
use greenlet::signal::{SIGINT, SIGTERM, SIGUSR1, Signals};
use greenlet::sync::{Event, Semaphore};
use greenlet::{Local, dump_all, scope, timeout, wait_any};
use std::io::{self, Read, Write};
use std::process::ExitCode;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// What a client may take: bytes, numbers and time.
const HEAD: usize = 8 << 10;
const HEADERS: usize = 64;
const BODY: usize = 1 << 20;
const CONNECTIONS: usize = 10_000;
const HEAD_TIME: Duration = Duration::from_secs(2);
const BODY_TIME: Duration = Duration::from_secs(5);
const IDLE_TIME: Duration = Duration::from_secs(60);
/// For all that is sent at once, so that a client cannot take it byte by byte for ever.
const WRITE_TIME: Duration = Duration::from_secs(30);
const HANDLER_TIME: Duration = Duration::from_secs(2);
/// For what runs when the server is told to stop.
const GRACE: Duration = Duration::from_secs(3);

/// How many `/work` requests are served at once; the others wait in line.
static WORKERS: Semaphore = Semaphore::new(4);
/// The request that this greenlet is at.
static REQUEST: Local<u64> = Local::new();
static STOPPING: Event = Event::new();
static LOG: OnceLock<bool> = OnceLock::new();

struct Request {
    method: String,
    path: String,
    keep_alive: bool,
    body: Vec<u8>,
}

struct Response {
    status: &'static str,
    body: Vec<u8>,
}

impl Response {
    fn new(body: impl Into<Vec<u8>>) -> Self {
        let (status, body) = ("200 OK", body.into());
        Response { status, body }
    }

    /// A failure says what it is.
    fn failure(status: &'static str) -> Self {
        let body = format!("{status}\n").into();
        Response { status, body }
    }
}

/// Prints a line with the request's id, wherever in its greenlet this is called.
macro_rules! log {
    ($($text:tt)*) => {
        if LOG.get() == Some(&true) {
            let id = REQUEST.get().unwrap_or_default();
            eprintln!("[request {id}] {}", format_args!($($text)*));
        }
    };
}

/// What the server does. It may wait as it likes: others run meanwhile.
fn handle(request: &mut Request) -> Response {
    log!("{} {}", request.method, request.path);
    match (&*request.method, &*request.path) {
        ("GET" | "HEAD", "/hello") => Response::new("hello, world\n"),
        ("POST" | "PUT", "/echo") => Response::new(std::mem::take(&mut request.body)),
        ("GET", "/work") => {
            let _permit = WORKERS.acquire();
            greenlet::sleep(Duration::from_millis(20));
            log!("worked");
            Response::new("done\n")
        }
        ("GET", "/slow") => {
            greenlet::sleep(Duration::MAX);
            unreachable!("a second before the end of time");
        }
        ("GET", "/panic") => panic!("as asked"),
        ("GET" | "HEAD" | "POST" | "PUT", _) => Response::failure("404 Not Found"),
        _ => Response::failure("405 Method Not Allowed"),
    }
}

/// Why a connection ends before its client wants it to.
enum End {
    /// Nothing can be said to it any more.
    Gone,
    Tell(&'static str),
}

impl From<io::Error> for End {
    fn from(_: io::Error) -> Self {
        End::Gone
    }
}

struct Connection {
    stream: TcpStream,
    /// Received and not used yet: with pipelining it holds the next requests too.
    input: Vec<u8>,
    /// Answers that have not been sent.
    output: Vec<u8>,
}

impl Connection {
    fn new(stream: TcpStream) -> Self {
        let (input, output) = (Vec::new(), Vec::new());
        Connection {
            stream,
            input,
            output,
        }
    }

    /// From a greeting to the end.
    fn run(mut self) -> io::Result<()> {
        self.stream.set_nodelay(true)?;
        match self.serve() {
            Ok(()) => {}
            Err(End::Gone) => return Ok(()),
            Err(End::Tell(why)) => self.answer(&Response::failure(why), false, true),
        }
        self.flush()?;
        // If it were closed with bytes unread it would be reset, and the client might lose
        // the answer: so some are read first.
        self.stream.shutdown(Shutdown::Write)?;
        let rest = &mut (&self.stream).take(4 * BODY as u64);
        let _ = timeout(HEAD_TIME, || io::copy(rest, &mut io::sink()));
        Ok(())
    }

    /// Serves requests until the client or one of the limits ends it.
    fn serve(&mut self) -> Result<(), End> {
        static LAST: AtomicU64 = AtomicU64::new(0);
        while let Some((mut request, length, asks)) = self.head()? {
            REQUEST.set(LAST.fetch_add(1, Ordering::Relaxed) + 1);
            request.body = self.body(length, asks)?;
            let answer = timeout(HANDLER_TIME, || handle(&mut request));
            let answer = answer.unwrap_or_else(|_| Response::failure("503 Service Unavailable"));
            let keep_alive = request.keep_alive && !STOPPING.is_set();
            self.answer(&answer, keep_alive, request.method != "HEAD");
            if !keep_alive {
                break;
            }
        }
        Ok(())
    }

    /// The next request without its body, that body's length, and whether the client waits to
    /// be asked for it. `None` if there is no more.
    fn head(&mut self) -> Result<Option<(Request, usize, bool)>, End> {
        if self.input.is_empty() {
            self.flush()?;
            // Nothing is said to a client that says nothing.
            match timeout(IDLE_TIME, || self.receive()) {
                Ok(Ok(1..)) => {}
                Ok(Ok(0)) | Err(_) => return Ok(None),
                Ok(Err(error)) => return Err(error.into()),
            }
        }
        if let Some(head) = parse(&mut self.input)? {
            return Ok(Some(head));
        }
        // Under its own limit: cut off by another, it would send its beginning twice.
        self.flush()?;
        let head = timeout(HEAD_TIME, || {
            loop {
                if self.receive()? == 0 {
                    return Err(End::Gone);
                }
                if let Some(head) = parse(&mut self.input)? {
                    return Ok(head);
                }
            }
        });
        head.unwrap_or(Err(End::Tell("408 Request Timeout")))
            .map(Some)
    }

    fn body(&mut self, length: usize, asks: bool) -> Result<Vec<u8>, End> {
        if length == 0 {
            return Ok(Vec::new());
        }
        if self.input.len() < length {
            if asks {
                self.output.extend(b"HTTP/1.1 100 Continue\r\n\r\n");
            }
            self.flush()?;
        }
        let all = timeout(BODY_TIME, || {
            while self.input.len() < length {
                if self.receive()? == 0 {
                    return Err(End::Gone);
                }
            }
            // The large buffer goes with the body; an idle connection keeps little.
            let rest = self.input.split_off(length);
            Ok(std::mem::replace(&mut self.input, rest))
        });
        all.unwrap_or(Err(End::Tell("408 Request Timeout")))
    }

    fn answer(&mut self, response: &Response, keep_alive: bool, with_body: bool) {
        let connection = if keep_alive { "keep-alive" } else { "close" };
        let (status, length) = (response.status, response.body.len());
        let head = format_args!(
            "HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: {connection}\r\n\r\n"
        );
        self.output.write_fmt(head).expect("a vector takes all");
        if with_body {
            self.output.extend(&response.body);
        }
    }

    /// Some more bytes; 0 is the end.
    fn receive(&mut self) -> io::Result<usize> {
        let mut some = [0; 4096];
        let n = self.stream.read(&mut some)?;
        self.input.extend(&some[..n]);
        Ok(n)
    }

    /// Sends what has been answered: once for all requests that came together.
    fn flush(&mut self) -> io::Result<()> {
        let sent = timeout(WRITE_TIME, || self.stream.write_all(&self.output));
        sent.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))?;
        self.output.clear();
        self.output.shrink_to(HEAD);
        Ok(())
    }
}

/// Takes a whole head off the front of `input`, if it is there.
fn parse(input: &mut Vec<u8>) -> Result<Option<(Request, usize, bool)>, End> {
    const BAD: End = End::Tell("400 Bad Request");
    const LARGE: End = End::Tell("431 Request Header Fields Too Large");
    let mut headers = [httparse::EMPTY_HEADER; HEADERS];
    let mut head = httparse::Request::new(&mut headers);
    let used = match head.parse(input) {
        Ok(httparse::Status::Complete(used)) if used <= HEAD => used,
        Ok(httparse::Status::Partial) if input.len() <= HEAD => return Ok(None),
        Ok(_) | Err(httparse::Error::TooManyHeaders) => return Err(LARGE),
        Err(_) => return Err(BAD),
    };
    let newer = head.version == Some(1);
    let (mut length, mut asks, mut hosts) = (None, false, 0);
    let (mut closes, mut keeps) = (false, newer);
    for header in &*head.headers {
        // Any bytes may be in those that nobody looks at.
        let value = String::from_utf8_lossy(header.value);
        let is = |name| header.name.eq_ignore_ascii_case(name);
        let says = |what| {
            let mut parts = value.split(',');
            parts.any(|part| part.trim().eq_ignore_ascii_case(what))
        };
        if is("content-length") {
            if value.is_empty() || !value.bytes().all(|b| b.is_ascii_digit()) {
                return Err(BAD);
            }
            let said = value.parse().unwrap_or(usize::MAX);
            // Two that differ are an attack.
            if length.replace(said).is_some_and(|before| before != said) {
                return Err(BAD);
            }
        } else if is("transfer-encoding") {
            return Err(End::Tell("411 Length Required"));
        } else if is("connection") {
            closes |= says("close");
            keeps |= says("keep-alive");
        } else if is("expect") {
            asks |= newer && says("100-continue");
        } else if is("host") {
            hosts += 1;
        }
    }
    if newer && hosts != 1 {
        return Err(BAD);
    }
    let length = length.unwrap_or(0);
    if length > BODY {
        return Err(End::Tell("413 Content Too Large"));
    }
    let request = Request {
        method: head.method.unwrap_or_default().to_owned(),
        path: head.path.unwrap_or_default().to_owned(),
        keep_alive: keeps && !closes,
        body: Vec::new(),
    };
    input.drain(..used);
    Ok(Some((request, length, asks)))
}

/// Writes to stderr what all greenlets do, at each of these signals.
fn dump_at(signals: &Signals) -> io::Result<()> {
    loop {
        signals.wait()?;
        eprint!("{}", dump_all(Duration::from_secs(1)));
    }
}

fn serve(address: &str) -> io::Result<()> {
    // A connection is an open file; the system lets a process have more if it asks.
    rlimit::increase_nofile_limit(u64::MAX)?;
    let signals = Signals::new([SIGINT, SIGTERM])?;
    let looks = Signals::new([SIGUSR1])?;
    let server = Server::bind(address)?.max_connections(CONNECTIONS);
    println!("{}", server.local_addr());
    let stopped = scope(|s| {
        // That a client is gone ends its connection, and nothing else.
        let running = s.spawn(|| server.run(|stream, _peer| drop(Connection::new(stream).run())));
        let told = s.spawn(|| signals.wait());
        let dumps = s.spawn(|| dump_at(&looks));
        // The first of these ends it.
        wait_any(&[&running, &told]);
        told.kill();
        dumps.kill();
        STOPPING.set();
        server.stop(GRACE)
    })?;
    println!(
        "{} connections, {} of them killed",
        stopped.accepted, stopped.killed
    );
    Ok(())
}

fn main() -> ExitCode {
    let args: Vec<_> = std::env::args().skip(1).collect();
    let address = match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [address] => address,
        [address, "--log"] | ["--log", address] => {
            LOG.get_or_init(|| true);
            address
        }
        _ => {
            eprintln!("usage: http_server ADDR [--log]");
            return ExitCode::from(2);
        }
    };
    match serve(address) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("http_server: {error}");
            ExitCode::FAILURE
        }
    }
}

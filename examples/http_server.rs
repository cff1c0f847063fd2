//! A small HTTP/1.1 server: `http_server ADDR [--log]`, or `127.0.0.1:0` and it says which port.
//!
//! One greenlet for each connection, in plain blocking style: keep-alive, pipelining, limits on
//! head, body and time. `httparse` reads the heads; everything else is here.
//!
//! ```sh
//! cargo run --release --example http_server 127.0.0.1:8080
//! curl http://127.0.0.1:8080/hello
//! curl --data-binary @README.md http://127.0.0.1:8080/echo
//! ```

use greenlet::Local;
use greenlet::net::{Server, TcpStream};
use greenlet::sync::Semaphore;
use std::cell::Cell;
use std::io::{self, Read, Write};
use std::time::Duration;

/// What a client may take.
const HEAD: usize = 8 << 10;
const HEADERS: usize = 64;
const BODY: usize = 1 << 20;
const HEAD_TIME: Duration = Duration::from_secs(5);
const BODY_TIME: Duration = Duration::from_secs(10);
const IDLE_TIME: Duration = Duration::from_secs(60);
const WRITE_TIME: Duration = Duration::from_secs(10);
const HANDLER_TIME: Duration = Duration::from_secs(2);

/// How many `/work` requests are served at once; the others wait their turn.
static WORKERS: Semaphore = Semaphore::new(4);

/// The request that this greenlet is at: each has its own.
static REQUEST: Local<u64> = Local::new();

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
    fn new(status: &'static str, body: impl Into<Vec<u8>>) -> Self {
        let body = body.into();
        Response { status, body }
    }

    /// A failure says what it is.
    fn failure(status: &'static str) -> Self {
        Response::new(status, format!("{status}\n"))
    }
}

fn log(text: std::fmt::Arguments<'_>) {
    if std::env::args().any(|arg| arg == "--log") {
        let id = REQUEST.get().unwrap_or_default();
        eprintln!("[request {id}] {text}");
    }
}

/// What the server does. It may wait as long as it likes: others run meanwhile.
fn handle(request: &Request) -> Response {
    log(format_args!("{} {}", request.method, request.path));
    match (&*request.method, &*request.path) {
        ("GET" | "HEAD", "/hello") => Response::new("200 OK", "hello, world\n"),
        ("POST" | "PUT", "/echo") => Response::new("200 OK", request.body.clone()),
        ("GET", "/work") => {
            let _permit = WORKERS.acquire();
            greenlet::sleep(Duration::from_millis(20));
            log(format_args!("worked"));
            Response::new("200 OK", "done\n")
        }
        ("GET", "/slow") => {
            greenlet::sleep(Duration::from_secs(60));
            Response::new("200 OK", "never\n")
        }
        ("GET", "/panic") => panic!("as asked"),
        ("GET" | "HEAD" | "POST" | "PUT", _) => Response::failure("404 Not Found"),
        _ => Response::failure("405 Method Not Allowed"),
    }
}

/// Why a connection ends before its client wants to.
enum End {
    /// Nothing more can be said to it.
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
    /// Received, and not used yet: with pipelining it holds the next requests too.
    input: Vec<u8>,
    /// Answers that have not been sent.
    output: Vec<u8>,
}

impl Connection {
    /// Serves requests until the client or one of the limits ends it.
    fn serve(&mut self, next_id: &Cell<u64>) -> Result<(), End> {
        while let Some((mut request, length, expects)) = self.head()? {
            next_id.set(next_id.get() + 1);
            REQUEST.set(next_id.get());
            request.body = self.body(length, expects)?;
            let answer = greenlet::timeout(HANDLER_TIME, || handle(&request));
            let answer = answer.unwrap_or_else(|_| Response::failure("503 Service Unavailable"));
            self.answer(&answer, request.keep_alive, request.method == "HEAD");
            if !request.keep_alive {
                break;
            }
        }
        Ok(self.flush()?)
    }

    /// The next request without its body, that body's length, and whether the client waits to
    /// be told to send it. `None` if the client has ended.
    fn head(&mut self) -> Result<Option<(Request, usize, bool)>, End> {
        if self.input.is_empty() {
            self.flush()?;
            // Nothing is said to a client that says nothing.
            match greenlet::timeout(IDLE_TIME, || self.receive()) {
                Ok(Ok(1..)) => {}
                Ok(Ok(0)) | Err(_) => return Ok(None),
                Ok(Err(error)) => return Err(error.into()),
            }
        }
        let head = greenlet::timeout(HEAD_TIME, || {
            loop {
                if let Some(head) = parse(&mut self.input)? {
                    return Ok(head);
                }
                self.flush()?;
                if self.receive()? == 0 {
                    return Err(End::Gone);
                }
            }
        });
        head.unwrap_or(Err(End::Tell("408 Request Timeout"))).map(Some)
    }

    fn body(&mut self, length: usize, expects: bool) -> Result<Vec<u8>, End> {
        if self.input.len() < length {
            if expects {
                self.output.extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
            }
            self.flush()?;
        }
        let all = greenlet::timeout(BODY_TIME, || {
            while self.input.len() < length {
                if self.receive()? == 0 {
                    return Err(End::Gone);
                }
            }
            Ok(self.input.drain(..length).collect())
        });
        all.unwrap_or(Err(End::Tell("408 Request Timeout")))
    }

    fn answer(&mut self, response: &Response, keep_alive: bool, head_only: bool) {
        let connection = if keep_alive { "keep-alive" } else { "close" };
        write!(
            self.output,
            "HTTP/1.1 {}\r\ncontent-length: {}\r\nconnection: {connection}\r\n\r\n",
            response.status,
            response.body.len(),
        )
        .expect("a vector takes all");
        if !head_only {
            self.output.extend_from_slice(&response.body);
        }
    }

    /// Some more bytes; 0 is the end.
    fn receive(&mut self) -> io::Result<usize> {
        let mut some = [0; 2048];
        let n = self.stream.read(&mut some)?;
        self.input.extend_from_slice(&some[..n]);
        Ok(n)
    }

    /// Sends what has been answered: once for all requests that came together.
    fn flush(&mut self) -> io::Result<()> {
        self.stream.write_all(&self.output)?;
        self.output.clear();
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
    let (mut length, mut keep_alive, mut expects) = (None, head.version == Some(1), false);
    for header in &*head.headers {
        let value = std::str::from_utf8(header.value).map_err(|_| BAD)?.trim();
        match &*header.name.to_ascii_lowercase() {
            "content-length" => {
                let digits = value.bytes().all(|b| b.is_ascii_digit());
                let said = value.parse().ok().filter(|_| digits).ok_or(BAD)?;
                // Two that differ are an attack.
                if length.replace(said).is_some_and(|before: usize| before != said) {
                    return Err(BAD);
                }
            }
            "transfer-encoding" => return Err(End::Tell("411 Length Required")),
            "connection" => {
                let says = |what| value.split(',').any(|v| v.trim().eq_ignore_ascii_case(what));
                keep_alive = !says("close") && (keep_alive || says("keep-alive"));
            }
            "expect" => expects = value.eq_ignore_ascii_case("100-continue"),
            _ => {}
        }
    }
    let length = length.unwrap_or(0);
    if length > BODY {
        return Err(End::Tell("413 Content Too Large"));
    }
    let request = Request {
        method: head.method.unwrap_or_default().to_owned(),
        path: head.path.unwrap_or_default().to_owned(),
        keep_alive,
        body: Vec::new(),
    };
    input.drain(..used);
    Ok(Some((request, length, expects)))
}

/// From a greeting to the end.
fn connection(stream: TcpStream, next_id: &Cell<u64>) {
    // A client that does not read is not waited for.
    let ready = stream.set_nodelay(true).and(stream.set_write_timeout(Some(WRITE_TIME)));
    if ready.is_err() {
        return; // It is gone.
    }
    let (input, output) = (Vec::new(), Vec::new());
    let mut connection = Connection { stream, input, output };
    if let Err(End::Tell(why)) = connection.serve(next_id) {
        connection.answer(&Response::failure(why), false, false);
        if connection.flush().is_ok() {
            linger(&mut connection);
        }
    }
}

/// A connection that is closed with bytes unread is reset, and the client may not see the
/// answer: so some more are read first.
fn linger(connection: &mut Connection) {
    let _ = connection.stream.shutdown(std::net::Shutdown::Write);
    let _ = greenlet::timeout(Duration::from_secs(1), || {
        let mut left = 4 * BODY;
        while left > 0 {
            match connection.stream.read(&mut [0; 2048]) {
                Ok(n @ 1..) => left = left.saturating_sub(n),
                _ => break,
            }
        }
    });
}

fn main() -> io::Result<()> {
    let address = std::env::args().nth(1).unwrap_or("127.0.0.1:8080".to_owned());
    let server = Server::bind(&*address)?.max_connections(10_000);
    println!("listening on {}", server.local_addr());
    let next_id = Cell::new(0);
    server.run(|stream, _peer| connection(stream, &next_id))?;
    Ok(())
}

//! A bare loop over mio, as `echo_mio`.

#[path = "../http.rs"]
mod http;
#[path = "../listen.rs"]
mod listen;

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use std::io::{self, ErrorKind, Read, Write};

const LISTENER: Token = Token(usize::MAX);

struct Connection {
    stream: TcpStream,
    input: Vec<u8>,
    output: Vec<u8>,
}

impl Connection {
    /// Whether it goes on.
    fn ready(&mut self, closed: bool) -> io::Result<bool> {
        let mut buf = [0; 2048];
        loop {
            let n = match self.stream.read(&mut buf) {
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(true),
                result => result?,
            };
            self.input.extend_from_slice(&buf[..n]);
            if n == 0 || !http::answer(&mut self.input, &mut self.output) {
                return Ok(false);
            }
            // The answers always fit: a full socket buffer is not this server's case.
            self.stream.write_all(&self.output)?;
            self.output.clear();
            if n < buf.len() && !closed {
                return Ok(true);
            }
        }
    }
}

fn main() {
    let mut poll = Poll::new().unwrap();
    let mut events = Events::with_capacity(1024);
    let mut listener = TcpListener::from_std(listen::listen());
    let registry = poll.registry();
    registry.register(&mut listener, LISTENER, Interest::READABLE).unwrap();
    let mut connections: Vec<Option<Connection>> = Vec::new();
    let mut free = Vec::new();
    loop {
        if poll.poll(&mut events, None).is_err() {
            continue;
        }
        for event in &events {
            if event.token() == LISTENER {
                while let Ok((mut stream, _)) = listener.accept() {
                    stream.set_nodelay(true).unwrap();
                    let index = free.pop().unwrap_or(connections.len());
                    let both = Interest::READABLE | Interest::WRITABLE;
                    poll.registry().register(&mut stream, Token(index), both).unwrap();
                    connections.resize_with(connections.len().max(index + 1), || None);
                    let (input, output) = (Vec::new(), Vec::new());
                    connections[index] = Some(Connection { stream, input, output });
                }
                continue;
            }
            if !event.is_readable() {
                continue;
            }
            let index = event.token().0;
            let Some(connection) = &mut connections[index] else { continue };
            if !connection.ready(event.is_read_closed()).unwrap_or(false) {
                connections[index] = None;
                free.push(index);
            }
        }
    }
}

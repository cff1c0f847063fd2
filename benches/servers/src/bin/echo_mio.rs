//! A bare loop over mio: edge triggered, each socket registered once, a short read taken for
//! the end of what there is. The floor: no scheduler, no buffering, one buffer for all.

#[path = "../listen.rs"]
mod listen;

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use std::io::{ErrorKind, Read, Write};

const LISTENER: Token = Token(usize::MAX);

fn main() {
    let mut poll = Poll::new().unwrap();
    let mut events = Events::with_capacity(1024);
    let mut listener = TcpListener::from_std(listen::listen());
    let registry = poll.registry();
    registry.register(&mut listener, LISTENER, Interest::READABLE).unwrap();
    let mut streams: Vec<Option<TcpStream>> = Vec::new();
    let mut free = Vec::new();
    let mut buf = [0; 1024];
    loop {
        if poll.poll(&mut events, None).is_err() {
            continue;
        }
        for event in &events {
            if event.token() == LISTENER {
                while let Ok((mut stream, _)) = listener.accept() {
                    stream.set_nodelay(true).unwrap();
                    let index = free.pop().unwrap_or(streams.len());
                    let both = Interest::READABLE | Interest::WRITABLE;
                    poll.registry().register(&mut stream, Token(index), both).unwrap();
                    if index == streams.len() {
                        streams.push(Some(stream));
                    } else {
                        streams[index] = Some(stream);
                    }
                }
                continue;
            }
            if !event.is_readable() {
                continue;
            }
            let index = event.token().0;
            let Some(stream) = &mut streams[index] else { continue };
            let open = loop {
                match stream.read(&mut buf) {
                    Ok(0) => break false,
                    Ok(n) => {
                        // 64 bytes always fit: a full socket buffer is not this server's case.
                        if stream.write_all(&buf[..n]).is_err() {
                            break false;
                        }
                        if n < buf.len() && !event.is_read_closed() {
                            break true;
                        }
                    }
                    Err(e) => break e.kind() == ErrorKind::WouldBlock,
                }
            };
            if !open {
                streams[index] = None;
                free.push(index);
            }
        }
    }
}

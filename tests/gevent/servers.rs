//! Stream servers: programs 75 and 76, on real sockets and so on the real clock.

use std::cell::Cell;
use std::io::{ErrorKind, Read, Write};
use std::rc::Rc;
use std::time::Duration;

use greenlet::net::{Server, TcpStream};
use greenlet::{sleep, spawn};

use super::{all, b, ms, printed_live};

fn bind() -> Server {
    Server::bind("127.0.0.1:0").expect("a free port")
}

/// `recv`: what has come by now, empty at the end of the stream.
fn recv(stream: &mut TcpStream, most: usize) -> Vec<u8> {
    let mut data = vec![0; most];
    let len = stream.read(&mut data).expect("no error");
    data.truncate(len);
    data
}

#[test]
fn p75_tcp_echo() {
    let got = printed_live(|| {
        let closed = Rc::new(Cell::new(0));
        let echo = {
            let closed = closed.clone();
            move |mut stream: TcpStream, _| {
                loop {
                    let data = recv(&mut stream, 100);
                    if data.is_empty() {
                        break;
                    }
                    stream.write_all(&data.to_ascii_uppercase()).expect("sent");
                }
                closed.set(closed.get() + 1);
            }
        };
        // Ours listens already here, and its port is known.
        let server = bind();
        say!("started {}", b(server.is_running()));
        server.start(echo).expect("it starts");
        let address = server.local_addr();
        let (started, port) = (b(server.is_running()), b(address.port() > 0));
        say!("started {started} port known {port}");
        let client = move |n| {
            let mut stream = TcpStream::connect(address)?;
            write!(stream, "hello{n}")?;
            let answer = recv(&mut stream, 100);
            Ok::<_, std::io::Error>(String::from_utf8(answer).expect("text"))
        };
        let clients = (0..3).map(|n| spawn(move || client(n).expect("served")));
        say!("{}", all(clients.collect()).join(" "));
        sleep(ms(10));
        // The clients are gone; a busy machine may need longer than gevent's 10 ms.
        while closed.get() < 3 {
            sleep(ms(1));
        }
        say!("handlers done {}", closed.get());
        server.stop(Duration::ZERO).expect("no error");
        // What gevent says of `closed`, ours says by refusing.
        let again = client(9).expect_err("refused");
        let refused = again.kind() == ErrorKind::ConnectionRefused;
        say!("started {} closed {}", b(server.is_running()), b(refused));
        if refused {
            say!("refused");
        }
    });
    assert_eq!(got, gevent_said!("75_tcp_echo"));
}

#[test]
fn p76_tcp_server_limit() {
    let got = printed_live(|| {
        let (live, peak) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
        let handler = {
            let peak = peak.clone();
            move |mut stream: TcpStream, _| {
                live.set(live.get() + 1);
                peak.set(peak.get().max(live.get()));
                sleep(ms(10));
                stream.write_all(b"x").expect("sent");
                live.set(live.get() - 1);
            }
        };
        let ask = |server: &Server| {
            let address = server.local_addr();
            move || {
                let mut stream = TcpStream::connect(address).expect("it listens");
                [recv(&mut stream, 10), recv(&mut stream, 10)]
            }
        };
        let server = bind().max_connections(1);
        server.start(handler).expect("it starts");
        let clients = all((0..3).map(|_| spawn(ask(&server))).collect());
        let served = clients.iter().filter(|said| **said == [&b"x"[..], b""]);
        say!("{} served, peak {}", served.count(), peak.get());
        server.stop(Duration::ZERO).expect("no error");

        let server = bind();
        server
            .start(|_, _| panic!("ValueError"))
            .expect("it starts");
        let eof = ask(&server)()[0].is_empty();
        let alive = b(server.is_running());
        say!("broken handler gives eof {} server alive {alive}", b(eof));
        server.stop(Duration::ZERO).expect("no error");

        struct Says;
        impl Drop for Says {
            fn drop(&mut self) {
                say!("handler killed at stop");
            }
        }
        let stuck = |_, _| {
            let _says = Says;
            sleep(Duration::from_secs(9));
            say!("never");
        };
        let server = bind().max_connections(2);
        server.start(stuck).expect("it starts");
        let client = TcpStream::connect(server.local_addr());
        while server.live() == 0 {
            sleep(ms(1));
        }
        sleep(ms(10));
        server.stop(ms(20)).expect("no error");
        say!("stopped");
        drop(client);
    });
    assert_eq!(got, gevent_said!("76_tcp_server_limit"));
}

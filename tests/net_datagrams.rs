//! UDP and Unix sockets.
#![cfg(all(unix, feature = "net"))]

use greenlet::net::{UdpSocket, UnixDatagram, UnixListener, UnixStream};
use std::cell::{Cell, RefCell};
use std::io::{ErrorKind, Read, Write};
use std::path::PathBuf;
use std::time::Duration;

const SOON: Duration = Duration::from_millis(20);

/// A path for a socket, whose file goes with it.
struct Temp(PathBuf);

impl Temp {
    fn new(name: &str) -> Self {
        Temp(std::env::temp_dir().join(format!("greenlet-{}-{name}", std::process::id())))
    }
}

impl Drop for Temp {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[test]
fn receivers_are_served_in_order() {
    let server = UdpSocket::bind("127.0.0.1:0").unwrap();
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client.connect(server.local_addr().unwrap()).unwrap();
    assert_eq!(client.peer_addr().unwrap(), server.local_addr().unwrap());
    let served = RefCell::new(Vec::new());
    greenlet::scope(|s| {
        for i in 0..4u8 {
            let (server, served) = (&server, &served);
            s.spawn(move || {
                let mut buf = [0; 8];
                for _ in 0..2 {
                    let (len, from) = server.recv_from(&mut buf).unwrap();
                    served.borrow_mut().push((i, buf[..len].to_vec()));
                    server.send_to(&buf[..len], from).unwrap();
                }
            });
        }
        greenlet::yield_now();
        for i in 0..8 {
            client.send(&[i]).unwrap();
        }
        let mut buf = [0; 8];
        for i in 0..8 {
            assert_eq!(client.recv(&mut buf).unwrap(), 1);
            assert_eq!(buf[0], i);
        }
    });
    let expected: Vec<_> = (0..8u8).map(|i| (i % 4, vec![i])).collect();
    assert_eq!(served.into_inner(), expected);
}

#[test]
fn an_error_of_a_send_reaches_a_receiver() {
    let gone = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = gone.local_addr().unwrap();
    drop(gone);
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client.connect(address).unwrap();
    greenlet::scope(|s| {
        let receiver = s.spawn(|| client.recv(&mut [0; 8]).unwrap_err().kind());
        greenlet::yield_now();
        client.send(b"anybody?").unwrap();
        assert_eq!(receiver.join().unwrap(), ErrorKind::ConnectionRefused);
    });
    // It was taken: nothing is left of it, and the next wait is a wait.
    client.set_read_timeout(Some(SOON)).unwrap();
    assert_eq!(
        client.recv(&mut [0]).unwrap_err().kind(),
        ErrorKind::TimedOut
    );
}

#[test]
fn peeking_takes_nothing() {
    let a = UdpSocket::bind("127.0.0.1:0").unwrap();
    a.connect(a.local_addr().unwrap()).unwrap();
    a.send(b"one").unwrap();
    let mut buf = [0; 8];
    for _ in 0..2 {
        assert_eq!(a.peek(&mut buf).unwrap(), 3);
        assert_eq!(a.peek_from(&mut buf).unwrap().0, 3);
    }
    assert_eq!(a.recv(&mut buf).unwrap(), 3);
}

#[test]
fn unix_streams_talk_and_end() {
    let path = Temp::new("stream");
    let listener = UnixListener::bind(&path.0).unwrap();
    greenlet::scope(|s| {
        s.spawn(|| {
            for peer in listener.incoming().take(3) {
                let mut peer = peer.unwrap();
                let mut text = String::new();
                peer.read_to_string(&mut text).unwrap();
                peer.write_all(text.to_uppercase().as_bytes()).unwrap();
            }
        });
        for _ in 0..3 {
            let mut client = UnixStream::connect(&path.0).unwrap();
            client.write_all(b"hello").unwrap();
            client.shutdown(std::net::Shutdown::Write).unwrap();
            let mut text = String::new();
            client.read_to_string(&mut text).unwrap();
            assert_eq!(text, "HELLO");
        }
    });
}

/// The system does not tell when there is room to connect, so the crate tries again.
#[test]
fn a_full_backlog_is_waited_for() {
    let path = Temp::new("backlog");
    let socket = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None).unwrap();
    socket
        .bind(&socket2::SockAddr::unix(&path.0).unwrap())
        .unwrap();
    socket.listen(0).unwrap();
    let listener = UnixListener::from(std::os::fd::OwnedFd::from(socket));
    let connected = Cell::new(0);
    greenlet::scope(|s| {
        for _ in 0..4 {
            s.spawn(|| {
                UnixStream::connect(&path.0).unwrap();
                connected.set(connected.get() + 1);
            });
        }
        greenlet::sleep(SOON);
        assert!(connected.get() < 4);
        for _ in 0..4 {
            listener.accept().unwrap();
        }
    });
    assert_eq!(connected.get(), 4);
}

/// An address that is no file's: std's connect would block the acceptor's thread as well.
#[test]
#[cfg(target_os = "linux")]
fn a_full_backlog_of_an_abstract_address_is_waited_for() {
    use std::os::linux::net::SocketAddrExt;
    let name = format!("greenlet-{}-backlog", std::process::id());
    let socket = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None).unwrap();
    let bound = socket2::SockAddr::unix(format!("\0{name}")).unwrap();
    socket.bind(&bound).unwrap();
    socket.listen(0).unwrap();
    let (done, is_done) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let listener = UnixListener::from(std::os::fd::OwnedFd::from(socket));
        let address = std::os::unix::net::SocketAddr::from_abstract_name(name).unwrap();
        greenlet::scope(|s| {
            for _ in 0..4 {
                s.spawn(|| UnixStream::connect_addr(&address).unwrap());
            }
            greenlet::sleep(SOON);
            for _ in 0..4 {
                listener.accept().unwrap();
            }
        });
        done.send(()).unwrap();
    });
    let connected = is_done.recv_timeout(Duration::from_secs(20));
    connected.expect("a connect blocks its thread");
}

#[test]
fn a_full_datagram_socket_is_waited_for() {
    let path = Temp::new("datagram");
    let receiver = UnixDatagram::bind(&path.0).unwrap();
    let (connected, loose) = (
        UnixDatagram::unbound().unwrap(),
        UnixDatagram::unbound().unwrap(),
    );
    connected.connect(&path.0).unwrap();
    let sent = Cell::new(0);
    greenlet::scope(|s| {
        s.spawn(|| {
            for _ in 0..100 {
                connected.send(b"x").unwrap();
                sent.set(sent.get() + 1);
            }
        });
        s.spawn(|| {
            for _ in 0..100 {
                loose.send_to(b"y", &path.0).unwrap();
                sent.set(sent.get() + 1);
            }
        });
        greenlet::sleep(SOON);
        assert!(sent.get() < 200);
        for _ in 0..200 {
            receiver.recv(&mut [0; 8]).unwrap();
        }
    });
    assert_eq!(sent.get(), 200);
    loose.set_write_timeout(Some(SOON)).unwrap();
    let full = loop {
        if let Err(e) = loose.send_to(b"y", &path.0) {
            break e;
        }
    };
    assert_eq!(full.kind(), ErrorKind::TimedOut);
    receiver.close();
    assert_eq!(
        receiver.recv(&mut [0]).unwrap_err().kind(),
        ErrorKind::NotConnected
    );
}

/// As in std; the system itself would say that they would block.
#[test]
fn a_shutdown_ends_the_receivers_of_a_datagram_socket() {
    let (left, right) = UnixDatagram::pair().unwrap();
    right
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    greenlet::scope(|s| {
        let one = s.spawn(|| right.recv(&mut [0; 8]).unwrap());
        let two = s.spawn(|| right.recv_from(&mut [0; 8]).unwrap());
        greenlet::yield_now();
        right.shutdown(greenlet::net::Shutdown::Read).unwrap();
        assert_eq!(one.join().unwrap(), 0);
        let (len, from) = two.join().unwrap();
        assert_eq!((len, from.is_unnamed()), (0, true));
    });
    assert_eq!(right.recv(&mut [0; 8]).unwrap(), 0);
    let gone = left.send(b"late").unwrap_err();
    assert_eq!(gone.kind(), ErrorKind::BrokenPipe);
    let (left, right) = UnixDatagram::pair().unwrap();
    left.send(b"in time").unwrap();
    right.shutdown(greenlet::net::Shutdown::Both).unwrap();
    assert_eq!(right.recv(&mut [0; 8]).unwrap(), 7);
    assert_eq!(right.recv(&mut [0; 8]).unwrap(), 0);

    let (_left, right) = std::os::unix::net::UnixDatagram::pair().unwrap();
    right.shutdown(greenlet::net::Shutdown::Read).unwrap();
    assert_eq!(right.recv(&mut [0; 8]).unwrap(), 0);
    assert!(right.recv_from(&mut [0; 8]).unwrap().1.is_unnamed());
}

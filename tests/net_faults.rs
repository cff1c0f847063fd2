//! Peers that misbehave, and many ends at once: nothing hangs, nothing is lost, nothing leaks.
#![cfg(all(unix, feature = "net"))]

use greenlet::net::{TcpListener, TcpStream, UdpSocket};
use socket2::SockRef;
use std::cell::Cell;
use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

const SOON: Duration = Duration::from_millis(20);
/// Turns a hang into a failure.
const LONG: Duration = Duration::from_secs(20);

fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (client, listener.accept().unwrap().0)
}

/// The connection ends with a reset instead of an end.
fn reset(stream: TcpStream) {
    SockRef::from(&stream)
        .set_linger(Some(Duration::ZERO))
        .unwrap();
}

#[test]
fn a_reset_ends_reader_and_writer() {
    let (a, b) = pair();
    greenlet::scope(|s| {
        let reader = s.spawn(|| (&b).read(&mut [0; 8]).unwrap_err().kind());
        let writer = s.spawn(|| {
            loop {
                if let Err(e) = (&b).write_all(&[0; 1 << 16]) {
                    return e.kind();
                }
            }
        });
        greenlet::sleep(SOON);
        reset(a);
        let ends = [reader.join().unwrap(), writer.join().unwrap()];
        // The system tells the error to one of the two; the other sees a connection that is gone.
        assert!(ends.contains(&ErrorKind::ConnectionReset), "{ends:?}");
    });
}

#[test]
fn half_closed_is_half_open() {
    let (mut a, mut b) = pair();
    a.write_all(b"question").unwrap();
    a.shutdown(Shutdown::Write).unwrap();
    let mut text = String::new();
    b.read_to_string(&mut text).unwrap();
    b.write_all(text.to_uppercase().as_bytes()).unwrap();
    drop(b);
    let mut answer = String::new();
    a.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, "QUESTION");
}

/// Some bytes and the end are there before the first read: the read that is short is not the
/// last that finds something.
#[test]
fn the_end_is_seen_after_a_short_read() {
    let (mut a, mut b) = pair();
    for _ in 0..2 {
        a.write_all(b"x").unwrap();
        b.read_exact(&mut [0]).unwrap();
    }
    a.write_all(b"last").unwrap();
    drop(a);
    greenlet::sleep(SOON);
    let mut buf = [0; 64];
    assert_eq!(b.read(&mut buf).unwrap(), 4);
    assert_eq!(b.read(&mut buf).unwrap(), 0);
    assert_eq!(b.read(&mut buf).unwrap(), 0);
}

#[test]
fn one_byte_at_a_time() {
    let (mut a, mut b) = pair();
    greenlet::scope(|s| {
        s.spawn(move || {
            for byte in 0..100 {
                a.write_all(&[byte]).unwrap();
                greenlet::yield_now();
            }
        });
        let mut all = Vec::new();
        b.read_to_end(&mut all).unwrap();
        assert!(all.into_iter().eq(0..100));
    });
}

#[test]
fn a_peer_that_never_reads_holds_up_its_writer_only() {
    let (a, b) = pair();
    b.set_write_timeout(Some(SOON)).unwrap();
    let much = vec![7; 64 << 20];
    let error = (&b).write_all(&much).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TimedOut);
    b.set_write_timeout(None).unwrap();
    greenlet::scope(|s| {
        s.spawn(|| {
            for _ in 0..10 {
                greenlet::sleep(Duration::from_millis(1));
            }
            b.close();
        });
        let error = (&b).write_all(&much).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotConnected);
    });
    drop(a);
}

#[test]
fn a_connection_that_is_reset_before_it_is_accepted() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    greenlet::scope(|s| {
        reset(TcpStream::connect(address).unwrap());
        let good = s.spawn(|| {
            TcpStream::connect(address)
                .unwrap()
                .write_all(b"x")
                .unwrap()
        });
        // Linux hands out the dead one too.
        while let Ok((mut peer, _)) = listener.accept() {
            match peer.read(&mut [0]) {
                Ok(1) => break,
                Ok(_) => panic!("it was reset"),
                Err(e) => assert_eq!(e.kind(), ErrorKind::ConnectionReset),
            }
        }
        good.join().unwrap();
    });
}

#[test]
fn what_need_not_wait_works_while_panicking_and_the_rest_says_no() {
    struct Last<'a>(&'a TcpStream, &'a Cell<Option<ErrorKind>>);
    impl Drop for Last<'_> {
        fn drop(&mut self) {
            assert!(std::thread::panicking());
            let mut stream = self.0;
            stream.write_all(b"bye").unwrap();
            self.1.set(Some(stream.read(&mut [0]).unwrap_err().kind()));
        }
    }
    let (a, mut b) = pair();
    let said = Cell::new(None);
    let result = catch_unwind(AssertUnwindSafe(|| {
        let _last = Last(&a, &said);
        std::panic::resume_unwind(Box::new("as planned"));
    }));
    assert!(result.is_err());
    assert_eq!(said.get(), Some(ErrorKind::Other));
    let mut text = [0; 3];
    b.read_exact(&mut text).unwrap();
    assert_eq!(&text, b"bye");
}

#[test]
fn waits_are_refused_under_no_switch() {
    let (mut a, b) = pair();
    let read = || greenlet::no_switch(|| (&b).read(&mut [0]));
    assert!(catch_unwind(AssertUnwindSafe(read)).is_err());
    a.write_all(b"x").unwrap();
    greenlet::sleep(SOON);
    assert_eq!((&b).read(&mut [0]).unwrap(), 1);
}

/// Open descriptors of this process.
#[cfg(target_os = "linux")]
fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

/// 1,000 busy connections; each third greenlet is killed, each third is timed out.
#[test]
#[cfg(target_os = "linux")]
fn a_thousand_kills_and_timeouts_leak_nothing() {
    use greenlet::sync::Event;
    // In a process of its own: other tests open descriptors too.
    if std::env::var_os("ALONE").is_none() {
        let status = std::process::Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "a_thousand_kills_and_timeouts_leak_nothing",
                "--nocapture",
            ])
            .env("ALONE", "1")
            .status();
        assert!(status.unwrap().success());
        return;
    }
    const CONNECTIONS: usize = 1_000;
    let before = descriptors();
    greenlet::run(|| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (go, warm, stop) = (Event::new(), Event::new(), Event::new());
        let (echoed, killed, expired) = (Cell::new(0), Cell::new(0), Cell::new(0));
        let busy = |stream: &mut TcpStream, end: &Event| {
            let mut buf = [0; 5];
            go.wait();
            while !end.is_set() {
                stream.write_all(b"hello").unwrap();
                stream.read_exact(&mut buf).unwrap();
                assert_eq!(&buf, b"hello");
                echoed.set(echoed.get() + 1);
            }
        };
        greenlet::scope(|s| {
            let server = s.spawn(|| {
                greenlet::scope(|s| {
                    for peer in listener.incoming().take(CONNECTIONS) {
                        let mut peer = peer.unwrap();
                        s.spawn(move || {
                            let mut buf = [0; 64];
                            while let Ok(n @ 1..) = peer.read(&mut buf) {
                                if peer.write_all(&buf[..n]).is_err() {
                                    break;
                                }
                            }
                        });
                    }
                });
            });
            let clients: Vec<_> = (0..CONNECTIONS)
                .map(|i| {
                    let mut stream = TcpStream::connect(address).unwrap();
                    let (busy, warm, stop, expired) = (&busy, &warm, &stop, &expired);
                    s.spawn(move || match i % 3 {
                        1 => {
                            busy(&mut stream, warm);
                            let limit = Duration::from_millis(i as u64 % 50);
                            if greenlet::timeout(limit, || busy(&mut stream, stop)).is_err() {
                                expired.set(expired.get() + 1);
                            }
                        }
                        _ => busy(&mut stream, stop),
                    })
                })
                .collect();
            let until = |done: &dyn Fn() -> bool| {
                while !done() {
                    greenlet::sleep(Duration::from_millis(1));
                }
            };
            go.set();
            until(&|| echoed.get() > CONNECTIONS);
            warm.set();
            let to_kill: Vec<_> = clients.into_iter().skip(2).step_by(3).collect();
            to_kill.iter().for_each(|client| client.kill());
            for client in to_kill {
                killed.set(killed.get() + usize::from(client.join().is_err_and(|e| e.is_killed())));
            }
            until(&|| expired.get() == 333);
            stop.set();
            server.join().unwrap();
        });
        assert_eq!((killed.get(), expired.get()), (333, 333));
        assert!(format!("{listener:?}").contains("reading: 0"));
    });
    // The hub has ended, and its poller with it.
    assert_eq!(descriptors(), before);
}

/// What `b` reads: first what it waits for, so that its poller knows it, and then what `send`
/// sends, in reads with more room than there are bytes.
fn reads<S>(a: &S, b: &S, send: impl FnOnce(), count: usize) -> Vec<Vec<u8>>
where
    for<'a> &'a S: Read + Write,
{
    let read = || {
        let (mut b, mut buf) = (b, [0; 64]);
        let len = b.read(&mut buf).unwrap();
        buf[..len].to_vec()
    };
    greenlet::scope(|s| {
        let first = s.spawn(read);
        greenlet::yield_now();
        let mut a = a;
        a.write_all(b"first").unwrap();
        assert_eq!(first.join().unwrap(), b"first");
    });
    send();
    // The poller tells of all of it at once.
    greenlet::sleep(SOON);
    (0..count).map(|_| read()).collect()
}

/// A read stops there, and more may lie behind it.
#[test]
fn what_follows_urgent_data_is_read() {
    let (a, b) = pair();
    b.set_read_timeout(Some(LONG)).unwrap();
    let send = || {
        (&a).write_all(b"ab").unwrap();
        SockRef::from(&a).send_out_of_band(b"!").unwrap();
        (&a).write_all(b"cde").unwrap();
    };
    assert_eq!(reads(&a, &b, send, 2), [&b"ab"[..], b"cde"]);
}

/// As `what_follows_urgent_data_is_read`.
#[test]
#[cfg(all(target_os = "linux", target_pointer_width = "64"))]
fn what_follows_descriptors_is_read() {
    use greenlet::net::UnixStream;
    use socket2::MsgHdr;
    use std::io::IoSlice;
    use std::os::fd::AsRawFd;
    let (a, b) = UnixStream::pair().unwrap();
    b.set_read_timeout(Some(LONG)).unwrap();
    let send = || {
        // A `cmsghdr` with one descriptor, padded.
        let mut control = 20usize.to_ne_bytes().to_vec();
        for field in [libc::SOL_SOCKET, libc::SCM_RIGHTS, a.as_raw_fd(), 0] {
            control.extend(field.to_ne_bytes());
        }
        let text = [IoSlice::new(b"ab")];
        let message = MsgHdr::new().with_buffers(&text).with_control(&control);
        SockRef::from(&a).sendmsg(&message, 0).unwrap();
        (&a).write_all(b"cde").unwrap();
    };
    assert_eq!(reads(&a, &b, send, 2), [&b"ab"[..], b"cde"]);
}

/// The poller has not been asked since the bytes came.
#[test]
fn what_is_there_is_read_where_no_wait_is_allowed() {
    let (mut a, b) = pair();
    let read = || {
        let (mut b, mut buf) = (&b, [0; 64]);
        let len = b.read(&mut buf).unwrap();
        buf[..len].to_vec()
    };
    a.write_all(b"one").unwrap();
    assert_eq!(read(), b"one");
    a.write_all(b"two").unwrap();
    assert_eq!(greenlet::no_switch(read), b"two");
    a.write_all(b"three").unwrap();
    struct Last<F: Fn()>(F);
    impl<F: Fn()> Drop for Last<F> {
        fn drop(&mut self) {
            (self.0)();
        }
    }
    let last = Cell::new(Vec::new());
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        let _last = Last(|| last.set(read()));
        std::panic::resume_unwind(Box::new("as planned"));
    }));
    assert!(panicked.is_err());
    assert_eq!(last.take(), b"three");
}

/// Non-blocking mode or not.
#[test]
fn nothing_goes_through_a_closed_socket() {
    for nonblocking in [false, true] {
        let (a, b) = pair();
        (&a).write_all(b"x").unwrap();
        b.set_nonblocking(nonblocking).unwrap();
        b.close();
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        let own = udp.local_addr().unwrap();
        udp.send_to(b"x", own).unwrap();
        udp.set_nonblocking(nonblocking).unwrap();
        udp.close();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(nonblocking).unwrap();
        listener.close();
        let ends = [
            (&b).read(&mut [0]).unwrap_err(),
            (&b).write(b"x").unwrap_err(),
            udp.recv(&mut [0]).unwrap_err(),
            udp.send_to(b"x", own).unwrap_err(),
            listener.accept().unwrap_err(),
        ];
        let kinds = ends.map(|e| e.kind());
        assert_eq!(kinds, [ErrorKind::NotConnected; 5], "{nonblocking}");
    }
}

/// The thread's greenlet was first in line, and the message had woken it.
#[test]
fn the_turn_of_a_thread_that_ends_goes_on() {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let (waits, they_wait) = std::sync::mpsc::channel();
    let (end, may_end) = std::sync::mpsc::channel::<()>();
    let theirs = socket.clone();
    let thread = std::thread::spawn(move || {
        greenlet::spawn(move || theirs.recv(&mut [0; 8]).unwrap());
        greenlet::yield_now();
        waits.send(()).unwrap();
        // Meanwhile this hub stands still, and its greenlet is leaked with it.
        may_end.recv().unwrap();
    });
    they_wait.recv().unwrap();
    socket.set_read_timeout(Some(LONG)).unwrap();
    greenlet::scope(|s| {
        let second = s.spawn(|| socket.recv(&mut [0; 8]));
        greenlet::yield_now();
        let own = socket.local_addr().unwrap();
        socket.send_to(b"hello", own).unwrap();
        while !format!("{socket:?}").contains("reading: 1") {
            greenlet::yield_now();
        }
        end.send(()).unwrap();
        assert_eq!(second.join().unwrap().unwrap(), 5);
    });
    thread.join().unwrap();
}

/// Success wins a tie: the thread was held up, and only then looks at the clock and the socket.
#[test]
fn what_came_before_the_deadline_is_read() {
    let (a, b) = pair();
    let (c, d) = pair();
    b.set_read_timeout(Some(SOON)).unwrap();
    greenlet::scope(|s| {
        let own = s.spawn(|| (&b).read(&mut [0]).unwrap());
        let scoped = s.spawn(|| greenlet::timeout(SOON, || (&d).read(&mut [0]).unwrap()));
        greenlet::yield_now();
        (&a).write_all(b"x").unwrap();
        (&c).write_all(b"x").unwrap();
        std::thread::sleep(2 * SOON);
        assert_eq!(
            (own.join().unwrap(), scoped.join().unwrap().unwrap()),
            (1, 1)
        );
    });
}

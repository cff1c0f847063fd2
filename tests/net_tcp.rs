//! TCP: what waits, who is served, what ends a wait.
#![cfg(all(unix, feature = "net"))]

use greenlet::net::{TcpListener, TcpStream};
use greenlet::sync::{Event, Queue};
use std::cell::Cell;
use std::cell::RefCell;
use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::time::Duration;

const SOON: Duration = Duration::from_millis(20);

fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (client, listener.accept().unwrap().0)
}

#[test]
fn greenlets_talk() {
    let (mut a, mut b) = pair();
    greenlet::scope(|s| {
        s.spawn(|| {
            let mut text = [0; 5];
            for _ in 0..100 {
                b.read_exact(&mut text).unwrap();
                b.write_all(&text).unwrap();
            }
        });
        let mut text = [0; 5];
        for i in 0..100u8 {
            a.write_all(&[i; 5]).unwrap();
            a.read_exact(&mut text).unwrap();
            assert_eq!(text, [i; 5]);
        }
    });
}

#[test]
fn acceptors_are_served_in_order() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let served = RefCell::new(Vec::new());
    greenlet::scope(|s| {
        for i in 0..5 {
            let (listener, served) = (&listener, &served);
            s.spawn(move || {
                for _ in 0..2 {
                    listener.accept().unwrap();
                    served.borrow_mut().push(i);
                }
            });
        }
        greenlet::yield_now();
        let clients: Vec<_> = (0..10)
            .map(|_| TcpStream::connect(address).unwrap())
            .collect();
        drop(clients);
    });
    assert_eq!(served.into_inner(), [0, 1, 2, 3, 4, 0, 1, 2, 3, 4]);
}

/// One connection is taken away by a call that does not wait, and who was woken for it goes
/// back to the head of the line.
#[test]
fn woken_for_nothing_keeps_its_place() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let thief = std::net::TcpListener::from(listener.try_clone().unwrap());
    let served = RefCell::new(Vec::new());
    greenlet::scope(|s| {
        for i in 0..3 {
            let (listener, served) = (&listener, &served);
            s.spawn(move || {
                listener.accept().unwrap();
                served.borrow_mut().push(i);
            });
        }
        greenlet::yield_now();
        // The first in line is woken at the next look at the sockets, and runs after this
        // greenlet, which has run before that look.
        s.spawn(|| {
            let first = std::net::TcpStream::connect(address).unwrap();
            let woken = || format!("{listener:?}").contains("reading: 2");
            while !woken() {
                greenlet::yield_now();
                if woken() {
                    drop(thief.accept());
                }
            }
            drop(first);
            let _rest = [(); 3].map(|()| TcpStream::connect(address).unwrap());
        });
    });
    assert_eq!(served.into_inner(), [0, 1, 2]);
}

#[test]
fn yielding_greenlets_do_not_starve_sockets() {
    let (mut a, mut b) = pair();
    let done = Event::new();
    greenlet::scope(|s| {
        for _ in 0..2 {
            s.spawn(|| {
                while !done.is_set() {
                    greenlet::yield_now();
                }
            });
        }
        s.spawn(|| {
            b.read_exact(&mut [0]).unwrap();
            done.set();
        });
        greenlet::sleep(SOON);
        a.write_all(b"x").unwrap();
    });
}

#[test]
fn sockets_do_not_starve_timers() {
    let (mut a, mut b) = pair();
    greenlet::scope(|s| {
        let echo = s.spawn(|| {
            let mut byte = [0];
            while let Ok(1) = b.read(&mut byte) {
                b.write_all(&byte).unwrap();
            }
        });
        let ended = greenlet::timeout(SOON, || {
            loop {
                a.write_all(b"x").unwrap();
                a.read_exact(&mut [0]).unwrap();
            }
        });
        assert!(ended.is_err());
        a.close();
        echo.join().unwrap();
    });
}

#[test]
fn a_read_times_out_and_takes_nothing() {
    let (mut a, mut b) = pair();
    b.set_read_timeout(Some(SOON)).unwrap();
    let mut buf = [0; 8];
    assert_eq!(b.read(&mut buf).unwrap_err().kind(), ErrorKind::TimedOut);
    b.set_read_timeout(None).unwrap();
    assert!(greenlet::timeout(SOON, || (&b).read(&mut [0])).is_err());
    let reader = b.try_clone().unwrap();
    let g = greenlet::spawn(move || (&reader).read(&mut [0; 8]).unwrap());
    greenlet::yield_now();
    g.kill();
    assert!(g.join().unwrap_err().is_killed());
    a.write_all(b"all").unwrap();
    assert_eq!(b.read(&mut buf).unwrap(), 3);
}

#[test]
fn shutdown_and_close_wake_all_who_wait() {
    let (a, b) = pair();
    greenlet::scope(|s| {
        let readers: Vec<_> = (0..3)
            .map(|_| s.spawn(|| (&b).read(&mut [0; 8]).unwrap()))
            .collect();
        greenlet::yield_now();
        b.shutdown(Shutdown::Read).unwrap();
        for reader in readers {
            assert_eq!(reader.join().unwrap(), 0);
        }
        let readers: Vec<_> = (0..3)
            .map(|_| s.spawn(|| (&a).read(&mut [0; 8]).unwrap_err().kind()))
            .collect();
        greenlet::yield_now();
        a.close();
        for reader in readers {
            assert_eq!(reader.join().unwrap(), ErrorKind::NotConnected);
        }
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let l = listener.clone();
        let acceptor = s.spawn(move || l.accept().unwrap_err().kind());
        greenlet::yield_now();
        listener.close();
        assert_eq!(acceptor.join().unwrap(), ErrorKind::NotConnected);
    });
}

#[test]
fn a_socket_of_several_threads() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (got, stop) = (Queue::unbounded(), Event::new());
    std::thread::scope(|t| {
        for i in 0..3 {
            let (listener, got) = (&listener, &got);
            t.spawn(move || {
                while let Ok((mut stream, _)) = listener.accept() {
                    stream.write_all(b"x").unwrap();
                    got.put(i).unwrap();
                }
            });
        }
        t.spawn(|| {
            greenlet::scope(|s| {
                for _ in 0..20 {
                    s.spawn(|| {
                        let mut text = String::new();
                        TcpStream::connect(address)
                            .unwrap()
                            .read_to_string(&mut text)
                            .unwrap();
                        assert_eq!(text, "x");
                    });
                }
            });
            stop.set();
        });
        stop.wait();
        listener.close();
    });
    assert_eq!(got.len(), 20);
}

#[test]
fn refused_names_the_address() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let error = TcpStream::connect(address).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    assert!(error.to_string().contains(&address.to_string()), "{error}");
}

/// Reads that need not wait switch to nobody, but for one in a turn.
#[test]
fn a_peer_as_fast_as_its_reader_starves_nobody() {
    let (mut client, server) = pair();
    client.write_all(&[0; 1000]).unwrap();
    let ran = Cell::new(false);
    greenlet::scope(|s| {
        server.peek(&mut [0]).unwrap(); // so that it is known that there is something
        s.spawn(|| ran.set(true));
        (&server).read_exact(&mut [0]).unwrap();
        assert!(!ran.get(), "promise 6");
        for _ in 1..400 {
            (&server).read_exact(&mut [0]).unwrap();
        }
        assert!(ran.get());
        // What has expired meanwhile is raised, and nothing is lost.
        client.write_all(&[0; 1400]).unwrap();
        let taken = Cell::new(0);
        let ended = greenlet::timeout(Duration::from_millis(1), || {
            loop {
                (&server).read_exact(&mut [0]).unwrap();
                taken.set(taken.get() + 1);
                std::thread::sleep(Duration::from_micros(10));
            }
        });
        assert!(ended.is_err() && taken.get() < 2000, "{taken:?}");
        let mut rest = vec![0; 2000 - taken.get()];
        (&server).read_exact(&mut rest).unwrap();
        // Nobody is let run where that is not allowed.
        client.write_all(&[0; 1000]).unwrap();
        server.peek(&mut [0]).unwrap();
        let mut all = [0; 1000];
        greenlet::no_switch(|| {
            all.chunks_mut(1)
                .for_each(|b| (&server).read_exact(b).unwrap())
        });
    });
}

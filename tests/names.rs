//! Names of hosts: they are looked up on the global thread pool, and errors say which name it was. Every test has the
//! pool to itself, with one thread. No name server is asked: the names are `localhost`, and such as cannot be one.
#![cfg(all(unix, feature = "net"))]

use greenlet::net::{TcpListener, TcpStream, UdpSocket};
use greenlet::{ThreadPool, scope, sleep, unblock, yield_now};
use std::io::ErrorKind;
use std::sync::{Mutex, MutexGuard, PoisonError, mpsc};
use std::time::{Duration, Instant};

/// What takes so long hangs.
const HANGS: Duration = Duration::from_secs(30);

/// The global pool.
fn pool() -> (MutexGuard<'static, ()>, &'static ThreadPool) {
    static ALONE: Mutex<()> = Mutex::new(());
    let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    ThreadPool::global().set_max_threads(1);
    (alone, ThreadPool::global())
}

/// Runs `f` while the one thread of the pool is busy until `f` sends.
fn while_busy<R>(f: impl FnOnce(&mpsc::Sender<()>) -> R) -> R {
    let (free, busy) = mpsc::channel();
    let (begin, begun) = mpsc::channel();
    scope(|s| {
        s.spawn(|| {
            unblock(move || {
                begin.send(()).unwrap();
                busy.recv_timeout(HANGS).expect("the pool is not freed");
            });
        });
        yield_now();
        begun.recv_timeout(HANGS).expect("the job does not begin");
        f(&free)
    })
}

#[track_caller]
fn until_queued(pool: &ThreadPool, n: usize) {
    let begin = Instant::now();
    while pool.queued() != n {
        assert!(begin.elapsed() < HANGS, "never queued");
        sleep(Duration::from_millis(1));
    }
}

/// Longer than any part of a name may be: refused before anybody is asked.
fn no_name() -> String {
    format!("{}.invalid", "x".repeat(64))
}

#[test]
fn a_look_up_waits_on_the_pool_and_holds_up_nobody() {
    let (_alone, pool) = pool();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    scope(|s| {
        s.spawn(|| (0..2).for_each(|_| drop(listener.accept().unwrap())));
        while_busy(|free| {
            let connected = s.spawn(|| TcpStream::connect(("localhost", port)).unwrap());
            until_queued(pool, 1);
            let same = s.spawn(|| TcpStream::connect(format!("localhost:{port}")).unwrap());
            until_queued(pool, 2);
            assert!(!connected.is_finished() && !same.is_finished());
            free.send(()).unwrap();
            for stream in [connected.join().unwrap(), same.join().unwrap()] {
                assert_eq!(stream.peer_addr().unwrap().port(), port);
            }
        });
    });
}

#[test]
fn addresses_need_no_look_up() {
    let (_alone, pool) = pool();
    while_busy(|free| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        TcpStream::connect(address).unwrap();
        TcpStream::connect(format!("127.0.0.1:{}", address.port())).unwrap();
        TcpStream::connect(("127.0.0.1", address.port())).unwrap();
        UdpSocket::bind("127.0.0.1:0").unwrap();
        assert_eq!(pool.queued(), 0);
        free.send(()).unwrap();
    });
}

#[test]
fn a_look_up_can_be_left() {
    let (_alone, pool) = pool();
    while_busy(|free| {
        let soon = Duration::from_millis(20);
        assert!(greenlet::timeout(soon, || TcpStream::connect("localhost:1")).is_err());
        scope(|s| {
            let g = s.spawn(|| TcpListener::bind("localhost:0").is_ok());
            until_queued(pool, 2);
            g.kill();
            assert!(g.join().unwrap_err().is_killed());
        });
        free.send(()).unwrap();
    });
    until_queued(pool, 0);
}

#[test]
fn errors_say_which_name() {
    let (_alone, _pool) = pool();
    let name = no_name();
    let port = format!("{name}:80");
    let errors = [
        TcpStream::connect(&port).unwrap_err(),
        TcpStream::connect((&*name, 80)).unwrap_err(),
        TcpStream::connect((name.clone(), 80)).unwrap_err(),
        TcpListener::bind(&port).unwrap_err(),
        UdpSocket::bind(&port).unwrap_err(),
    ];
    for error in errors {
        let text = error.to_string();
        let begin = format!("cannot find the address of {name}: ");
        assert!(
            text.starts_with(&begin) && text.len() > begin.len(),
            "{text}"
        );
    }
    // Not even a name.
    for what in [
        "localhost",
        "localhost:http",
        "localhost:65536",
        "127.0.0.1",
        ":",
        "",
    ] {
        let error = TcpStream::connect(what).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{what}: {error}");
        assert!(error.to_string().contains(&format!("'{what}'")), "{error}");
    }
    let error = TcpStream::connect(&[][..]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
}

#[test]
fn addresses_are_tried_in_turn_and_the_last_error_names_its_own() {
    let (_alone, _pool) = pool();
    let (refused, other) = {
        let bind = || TcpListener::bind("127.0.0.1:0").unwrap();
        let both = (bind(), bind());
        (both.0.local_addr().unwrap(), both.1.local_addr().unwrap())
    };
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let good = listener.local_addr().unwrap();
    let stream = TcpStream::connect(&[refused, good, other][..]).unwrap();
    assert_eq!(stream.peer_addr().unwrap(), good);
    let error = TcpStream::connect(&[other, refused][..]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    let text = error.to_string();
    assert!(
        text.starts_with(&format!("cannot connect to {refused}: ")),
        "{text}"
    );
    // By name: with the address that was found.
    let error = TcpStream::connect(("localhost", refused.port())).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    let text = error.to_string();
    assert!(text.contains(&format!("1:{}: ", refused.port())), "{text}");
    // Listening: the first is taken, the second is free.
    let listener = TcpListener::bind(&[good, "127.0.0.1:0".parse().unwrap()][..]).unwrap();
    assert_ne!(listener.local_addr().unwrap(), good);
}

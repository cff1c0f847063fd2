//! Servers: who is served, how many at once, what ends them, and what they say at the end.
//! What needs a process of its own is in `net_process.rs`; errors of accept that cannot be
//! provoked are in the server's own tests.
//!
//! gevent's test__server is answered by `a_bound_server_…` (test_subclass_just_create,
//! test_subclass_with_socket and _with_address, test_server_closes_client_sockets; ours listens
//! from the bind on, so that a newcomer waits for the start and is not refused),
//! `run_returns_…` (test_serve_forever), `a_handler_that_can_have_no_stack_…`
//! (test_error_in_spawn) and `accepting_pauses_…` (test_pool_full). A handler of the wrong shape
//! (test_invalid_callback) does not compile, a backlog belongs to `ListenOptions`
//! (test_backlog_*), and there is no handler in the loop (TestNoneSpawn) and no pause of
//! accepting by hand.
#![cfg(all(unix, feature = "net"))]

use greenlet::net::{ListenOptions, Server, TcpListener, TcpStream, UnixListener, UnixStream};
use greenlet::sync::{AsyncResult, Event, Queue};
use greenlet::{Builder, HubThread, Local, finally, scope, shield, sleep, spawn, timeout};
use std::cell::{Cell, RefCell};
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

const SOON: Duration = Duration::from_millis(20);
/// Longer than any test takes, unless something hangs.
const LONG: Duration = Duration::from_secs(30);

/// A port of an address that no other test uses, so that it is refused once it is closed.
fn free() -> SocketAddr {
    static COUNT: AtomicU8 = AtomicU8::new(0);
    let ip = match cfg!(target_os = "linux") {
        true => {
            let [.., high, low] = std::process::id().to_be_bytes();
            let test = COUNT.fetch_add(1, Ordering::Relaxed);
            Ipv4Addr::new(127, high % 255, low, test)
        }
        false => Ipv4Addr::LOCALHOST,
    };
    SocketAddr::new(ip.into(), 0)
}

fn bind() -> Server {
    Server::bind(free()).unwrap()
}

/// All that the server at that address says to a newcomer.
fn ask(address: SocketAddr) -> String {
    let mut text = String::new();
    let mut client = TcpStream::connect(address).unwrap();
    client.read_to_string(&mut text).unwrap();
    text
}

/// A client that has said nothing yet.
fn client(server: &Server) -> TcpStream {
    let client = TcpStream::connect(server.local_addr()).unwrap();
    client.set_read_timeout(Some(LONG)).unwrap();
    client
}

/// Lets others run until it is so.
#[track_caller]
fn until(mut so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !so() {
        assert!(start.elapsed() < LONG, "this never comes");
        sleep(Duration::from_millis(1));
    }
}

/// Answers until the client ends.
fn echo(stream: TcpStream, _: SocketAddr) {
    let _ = std::io::copy(&mut &stream, &mut &stream);
}

/// Waits for the end of the connection.
fn gone(client: &TcpStream) -> bool {
    matches!((&*client).read(&mut [0]), Ok(0) | Err(_))
}

fn refused(address: SocketAddr) -> bool {
    matches!(TcpStream::connect(address), Err(e) if e.kind() == ErrorKind::ConnectionRefused)
}

#[test]
fn a_bound_server_listens_and_serves_once_it_is_started() {
    let server = bind();
    let address = server.local_addr();
    assert_ne!(address.port(), 0);
    let mut early = client(&server);
    early.set_read_timeout(Some(SOON)).unwrap();
    let nothing = early.read(&mut [0]).unwrap_err();
    assert_eq!(nothing.kind(), ErrorKind::TimedOut);
    assert!(!server.is_running());
    // A handler need not be `Send`.
    let peers = Rc::new(RefCell::new(Vec::new()));
    let seen = peers.clone();
    let handler = move |mut stream: TcpStream, peer| {
        assert_eq!(stream.peer_addr().unwrap(), peer);
        seen.borrow_mut().push(peer);
        stream.write_all(b"welcome").unwrap();
    };
    server.start(handler).unwrap();
    assert!(server.is_running());
    early.set_read_timeout(None).unwrap();
    let mut text = String::new();
    early.read_to_string(&mut text).unwrap(); // the handler's end closes it
    assert_eq!(text, "welcome");
    assert_eq!(ask(address), "welcome");
    assert_eq!(peers.borrow()[0], early.local_addr().unwrap());
    assert_eq!(peers.borrow().len(), 2);
    let stopped = server.stop(LONG).unwrap();
    assert_eq!((stopped.accepted, stopped.finished), (2, 2));
    assert_eq!((stopped.panicked, stopped.killed), (0, 0));
}

#[test]
fn connections_are_served_side_by_side() {
    let server = bind();
    server.start(echo).unwrap();
    scope(|s| {
        for i in 0..50u8 {
            let server = &server;
            s.spawn(move || {
                let mut client = client(server);
                for round in 0..10 {
                    client.write_all(&[i, round]).unwrap();
                    let mut answer = [0; 2];
                    client.read_exact(&mut answer).unwrap();
                    assert_eq!(answer, [i, round]);
                }
                client.shutdown(Shutdown::Write).unwrap();
                assert!(gone(&client));
            });
        }
    });
    assert_eq!(server.stop(LONG).unwrap().finished, 50);
}

#[test]
fn accepting_pauses_at_the_limit_and_resumes_when_a_handler_ends() {
    let server = bind().max_connections(2);
    let (live, peak) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
    let handler = {
        let (live, peak) = (live.clone(), peak.clone());
        move |mut stream: TcpStream, _| {
            live.set(live.get() + 1);
            peak.set(peak.get().max(live.get()));
            stream.write_all(b"!").unwrap();
            let _ = stream.read(&mut [0]);
            live.set(live.get() - 1);
        }
    };
    server.start(handler).unwrap();
    let mut clients: Vec<_> = (0..5).map(|_| client(&server)).collect();
    let served = |client: &TcpStream| {
        client.set_read_timeout(Some(SOON)).unwrap();
        let served = client.peek(&mut [0]).is_ok();
        client.set_read_timeout(Some(LONG)).unwrap();
        served
    };
    until(|| live.get() == 2);
    assert!(!served(&clients[2]) && !served(&clients[4]));
    assert!(served(&clients[0]) && served(&clients[1]));
    assert_eq!(server.live(), 2);
    // One leaves, and the next in line is served; and so on.
    for _ in 0..3 {
        drop(clients.remove(0));
        clients[1].read_exact(&mut [0]).unwrap();
        assert_eq!(server.live(), 2);
    }
    drop(clients);
    until(|| server.live() == 0);
    assert_eq!(peak.get(), 2);
    assert_eq!(server.stop(LONG).unwrap().finished, 5);
}

#[test]
fn a_handler_that_panics_or_is_killed_makes_room() {
    let server = bind().max_connections(1);
    let count = Cell::new(0);
    let handler = move |_, _| {
        count.set(count.get() + 1);
        match count.get() {
            1 => panic!("the first"),
            2 => greenlet::timeout(SOON, || sleep(LONG)).unwrap(),
            _ => {}
        }
    };
    server.start(handler).unwrap();
    for _ in 0..3 {
        assert!(gone(&client(&server)));
    }
    let stopped = server.stop(LONG).unwrap();
    assert_eq!((stopped.panicked, stopped.finished), (2, 1));
}

#[test]
#[should_panic(expected = "a server without connections")]
fn a_limit_of_none_is_refused() {
    drop(bind().max_connections(0));
}

#[test]
fn a_panic_ends_only_its_connection() {
    let server = bind();
    let handler = |mut stream: TcpStream, peer| {
        let mut word = [0; 4];
        stream.read_exact(&mut word).unwrap();
        assert_ne!(&word, b"evil", "on purpose");
        stream.write_all(&word).unwrap();
        echo(stream, peer);
    };
    server.start(handler).unwrap();
    let (mut good, mut evil) = (client(&server), client(&server));
    good.write_all(b"good").unwrap();
    evil.write_all(b"evil").unwrap();
    assert!(gone(&evil));
    good.read_exact(&mut [0; 4]).unwrap();
    good.write_all(b"more").unwrap();
    good.read_exact(&mut [0; 4]).unwrap();
    drop(good);
    let mut later = client(&server);
    later.write_all(b"good").unwrap();
    later.read_exact(&mut [0; 4]).unwrap();
    drop(later);
    let stopped = server.stop(LONG).unwrap();
    assert_eq!((stopped.finished, stopped.panicked), (2, 1));
}

#[test]
fn a_handler_that_can_have_no_stack_ends_only_its_connection() {
    // More than there are addresses.
    let huge = Builder::new().stack_size(1 << 47);
    let server = bind().greenlets(huge);
    server.start(echo).unwrap();
    for _ in 0..2 {
        assert!(gone(&client(&server)));
    }
    assert!(server.is_running());
    assert_eq!(server.stop(LONG).unwrap().panicked, 2);
}

#[test]
fn handlers_have_the_settings_that_were_given() {
    let server = bind().greenlets(Builder::new().name("parser"));
    let name = |mut stream: TcpStream, _| {
        let name = greenlet::current().name().unwrap().to_owned();
        stream.write_all(name.as_bytes()).unwrap();
    };
    server.start(name).unwrap();
    assert_eq!(ask(server.local_addr()), "parser");
    server.stop(LONG).unwrap();
    let server = bind().greenlets(Builder::new().stack_size(1));
    let error = server.start(echo).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(!server.is_running());
}

#[test]
fn stop_lets_handlers_finish() {
    let server = bind();
    let address = server.local_addr();
    let handler = |mut stream: TcpStream, _| {
        stream.read_exact(&mut [0]).unwrap();
        stream.write_all(b"done").unwrap();
    };
    server.start(handler).unwrap();
    let mut slow = client(&server);
    until(|| server.live() == 1);
    scope(|s| {
        let stopping = s.spawn(|| server.stop(LONG).unwrap());
        greenlet::yield_now();
        assert!(refused(address));
        sleep(SOON);
        assert!(!stopping.is_finished() && server.is_running());
        slow.write_all(b"x").unwrap();
        let mut text = String::new();
        slow.read_to_string(&mut text).unwrap();
        assert_eq!(text, "done");
        let stopped = stopping.join().unwrap();
        assert_eq!((stopped.finished, stopped.killed), (1, 0));
    });
    assert!(!server.is_running() && refused(address));
}

#[test]
fn stop_kills_what_is_left_after_the_grace() {
    let server = bind();
    let dropped = Rc::new(Cell::new(0));
    let handler = {
        let dropped = dropped.clone();
        move |mut stream: TcpStream, _| {
            let end = || dropped.set(dropped.get() + 1);
            finally(|| stream.read_exact(&mut [0]), end).unwrap();
        }
    };
    server.start(handler).unwrap();
    let clients: Vec<_> = (0..3).map(|_| client(&server)).collect();
    until(|| server.live() == 3);
    (&clients[0]).write_all(b"x").unwrap();
    let start = Instant::now();
    let stopped = server.stop(SOON).unwrap();
    assert!(start.elapsed() >= SOON);
    assert_eq!((stopped.accepted, stopped.finished), (3, 1));
    assert_eq!((stopped.killed, stopped.panicked), (2, 0));
    // All are over when it returns.
    assert_eq!(dropped.get(), 3);
    assert_eq!(server.live(), 0);
    assert!(clients.iter().all(gone));
}

#[test]
fn no_grace_kills_at_once() {
    let server = bind();
    server.start(echo).unwrap();
    let (first, _second) = (client(&server), client(&server));
    until(|| server.live() == 2);
    let stopped = server.stop(Duration::ZERO).unwrap();
    assert_eq!((stopped.accepted, stopped.killed), (2, 2));
    assert!(gone(&first));
}

#[test]
fn a_handler_that_shields_is_waited_for() {
    let server = bind();
    let handler = |mut stream: TcpStream, _| {
        shield(|| {
            stream.write_all(b"!").unwrap();
            sleep(3 * SOON);
            stream.write_all(b"whole").unwrap();
        });
        sleep(LONG);
    };
    server.start(handler).unwrap();
    let mut client = client(&server);
    client.read_exact(&mut [0]).unwrap();
    assert_eq!(server.stop(Duration::ZERO).unwrap().killed, 1);
    let mut text = String::new();
    client.read_to_string(&mut text).unwrap();
    assert_eq!(text, "whole");
}

#[test]
fn all_who_stop_return_and_the_earliest_end_of_a_grace_holds() {
    let server = Arc::new(bind());
    server.start(echo).unwrap();
    let _client = client(&server);
    until(|| server.live() == 1);
    let greenlets = [Duration::MAX, LONG * 99].map(|grace| {
        let server = server.clone();
        spawn(move || server.stop(grace).unwrap())
    });
    let other = server.clone();
    let thread = std::thread::spawn(move || other.stop(LONG * 99).unwrap());
    sleep(SOON);
    assert!(greenlets.iter().all(|g| !g.is_finished()));
    let last = server.stop(SOON).unwrap();
    assert_eq!(last.killed, 1);
    for g in greenlets {
        assert_eq!(g.join().unwrap(), last);
    }
    // Not by `join` alone, which would hold this thread's hub up.
    until(|| thread.is_finished());
    assert_eq!(thread.join().unwrap(), last);
    // A later one has the same to say, and a longer grace changes nothing.
    assert_eq!(server.stop(LONG).unwrap(), last);
}

#[test]
fn a_stop_goes_on_if_its_caller_is_killed() {
    let server = Rc::new(bind());
    server.start(echo).unwrap();
    let client = client(&server);
    until(|| server.live() == 1);
    let given_up = timeout(SOON, || server.stop(LONG * 99).map(drop));
    assert!(given_up.is_err());
    assert!(refused(server.local_addr()) && server.is_running());
    drop(client);
    assert_eq!(server.stop(LONG * 99).unwrap().finished, 1);
}

#[test]
fn a_handler_may_stop_its_server() {
    let server = Arc::new(bind());
    let handler = {
        let server = Arc::downgrade(&server);
        move |_, _| {
            let server = server.upgrade().unwrap();
            let _ = server.stop(SOON);
            unreachable!("it is waited for, and so killed");
        }
    };
    server.start(handler).unwrap();
    assert!(gone(&client(&server)));
    let stopped = server.stop(LONG).unwrap();
    assert_eq!((stopped.killed, stopped.panicked), (1, 0));
}

#[test]
fn stop_at_the_limit() {
    let server = bind().max_connections(1);
    server.start(echo).unwrap();
    let (first, second) = (client(&server), client(&server));
    until(|| server.live() == 1);
    sleep(SOON);
    let stopped = server.stop(SOON).unwrap();
    assert_eq!((stopped.accepted, stopped.killed), (1, 1));
    // What was never accepted is reset.
    assert!(gone(&first) && gone(&second));
}

#[test]
fn start_works_after_stop() {
    for reuse in [false, true] {
        let listener = ListenOptions::new().reuse_port(reuse).bind(free());
        let server = Server::new(listener.unwrap()).unwrap().max_connections(1);
        let address = server.local_addr();
        for round in 1..4 {
            let handler = move |mut stream: TcpStream, _| {
                write!(stream, "round {round}").unwrap();
            };
            server.start(handler).unwrap();
            assert_eq!(server.local_addr(), address);
            for _ in 0..round {
                assert_eq!(ask(address), format!("round {round}"));
            }
            // Numbers are since the start.
            assert_eq!(server.stop(LONG).unwrap().accepted, round);
            assert!(refused(address));
        }
        // The port may be shared again, or still not.
        server.start(echo).unwrap();
        let other = ListenOptions::new().reuse_port(true).bind(address);
        assert_eq!(other.is_ok(), reuse);
        server.stop(LONG).unwrap();
    }
}

#[test]
fn start_works_after_handlers_were_killed() {
    let server = bind();
    for _ in 0..3 {
        server.start(echo).unwrap();
        let client = client(&server);
        until(|| server.live() == 1);
        assert_eq!(server.stop(Duration::ZERO).unwrap().killed, 1);
        assert!(gone(&client));
    }
}

#[test]
fn start_says_if_somebody_else_has_the_address() {
    let server = bind();
    server.stop(LONG).unwrap();
    let other = TcpListener::bind(server.local_addr()).unwrap();
    let error = server.start(echo).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AddrInUse);
    assert!(!server.is_running());
    drop(other);
    server.start(echo).unwrap();
    server.stop(LONG).unwrap();
}

#[test]
fn stop_without_start() {
    let server = bind();
    let early = client(&server);
    let stopped = server.stop(LONG).unwrap();
    assert_eq!((stopped.accepted, server.live()), (0, 0));
    assert!(gone(&early) && refused(server.local_addr()));
    assert_eq!(server.stop(LONG).unwrap(), stopped);
    server.start(echo).unwrap();
    server.stop(LONG).unwrap();
}

#[test]
fn a_server_runs_once_at_a_time() {
    let server = bind();
    server.start(echo).unwrap();
    let again = server.start(echo).unwrap_err();
    assert_eq!(again.kind(), ErrorKind::ResourceBusy);
    let again = server.run(echo).unwrap_err();
    assert_eq!(again.kind(), ErrorKind::ResourceBusy);
    assert!(server.is_running());
    server.stop(LONG).unwrap();
}

#[test]
fn run_returns_when_another_greenlet_stops_the_server() {
    let server = bind();
    let served = Cell::new(0);
    let stopped = scope(|s| {
        s.spawn(|| {
            assert_eq!(ask(server.local_addr()), "");
            assert_eq!(server.stop(LONG).unwrap().finished, 1);
        });
        server.run(|_, _| served.set(served.get() + 1)).unwrap()
    });
    assert_eq!((stopped.finished, served.get()), (1, 1));
    // And once more.
    let stopped = scope(|s| {
        s.spawn(|| server.stop(LONG).unwrap());
        server.run(|_, _| ()).unwrap()
    });
    assert_eq!(stopped.accepted, 0);
}

#[test]
fn a_kill_or_an_expiry_ends_run_and_its_handlers() {
    let server = bind();
    let ended = Cell::new(0);
    let handler = |stream: TcpStream, peer| {
        finally(|| echo(stream, peer), || ended.set(ended.get() + 1));
    };
    let client = client(&server);
    let over = timeout(SOON, || server.run(handler));
    assert!(over.is_err());
    assert_eq!(ended.get(), 1);
    assert!(gone(&client) && refused(server.local_addr()));
    assert!(!server.is_running());
    // It says so to whoever asks later, and can run again.
    assert_eq!(server.stop(LONG).unwrap().killed, 1);
    scope(|s| {
        let running = s.spawn(|| server.run(handler));
        until(|| server.is_running());
        running.kill();
        assert!(running.join().unwrap_err().is_killed());
    });
    assert!(!server.is_running());
}

/// Not only when the last handler, which takes its time, has ended.
#[test]
fn a_killed_server_refuses_at_once() {
    let (server, busy, enough) = (bind(), Event::new(), Event::new());
    let handler = |_, _| {
        shield(|| {
            busy.set();
            enough.wait();
        });
    };
    let client = client(&server);
    scope(|s| {
        let running = s.spawn(|| server.run(handler));
        busy.wait();
        running.kill();
        until(|| refused(server.local_addr()));
        assert!(server.live() == 1 && !running.is_finished());
        enough.set();
    });
    assert!(gone(&client));
    assert_eq!(server.stop(LONG).unwrap().finished, 1);
}

#[test]
fn run_where_no_wait_is_allowed_does_not_count() {
    let server = bind();
    let refused = catch_unwind(AssertUnwindSafe(|| {
        greenlet::no_switch(|| server.run(echo)).map(drop)
    }));
    assert!(refused.is_err());
    assert!(!server.is_running());
    server.start(echo).unwrap();
    server.stop(LONG).unwrap();
}

#[test]
fn dropping_a_server_stops_it() {
    let server = bind();
    let address = server.local_addr();
    let ended = Arc::new(Event::new());
    let handler = {
        let ended = ended.clone();
        move |stream, peer| finally(|| echo(stream, peer), || ended.set())
    };
    server.start(handler).unwrap();
    let client = client(&server);
    until(|| server.live() == 1);
    drop(server);
    // At once; the handler's end is not waited for.
    assert!(!ended.is_set() && refused(address));
    assert!(ended.wait_timeout(LONG) && gone(&client));
    let never_started = bind();
    let address = never_started.local_addr();
    drop(never_started);
    assert!(refused(address));
}

#[test]
fn the_end_of_the_hub_ends_the_server() {
    let hub = HubThread::start("server").unwrap();
    let server = Arc::new(bind());
    let started = hub.handle().spawn({
        let server = server.clone();
        move || server.start(echo).unwrap()
    });
    started.join().unwrap();
    let client = client(&server);
    until(|| server.live() == 1);
    hub.stop();
    hub.join().unwrap();
    assert!(gone(&client) && refused(server.local_addr()));
    assert!(!server.is_running());
    assert_eq!(server.stop(LONG).unwrap().killed, 1);
    // On this thread now.
    server.start(|_, _| ()).unwrap();
    assert_eq!(ask(server.local_addr()), "");
    server.stop(LONG).unwrap();
}

#[test]
fn a_thread_that_ends_with_its_server_leaves_nobody_waiting() {
    let server = Arc::new(bind());
    std::thread::spawn({
        let server = server.clone();
        move || {
            server.start(echo).unwrap();
            // It begins to accept.
            sleep(SOON);
        }
    })
    .join()
    .unwrap();
    server.stop(LONG).unwrap();
    assert!(!server.is_running());
    server.start(|_, _| ()).unwrap();
    assert_eq!(ask(server.local_addr()), "");
    server.stop(LONG).unwrap();
}

#[test]
fn several_threads_serve_one_port() {
    let shared = ListenOptions::new().reuse_port(true).clone();
    let first = Server::new(shared.bind(free()).unwrap()).unwrap();
    let address = first.local_addr();
    let second = Server::new(shared.bind(address).unwrap()).unwrap();
    let servers = [Arc::new(first), Arc::new(second)];
    let hubs = ["one", "two"].map(|name| HubThread::start(name).unwrap());
    let runs: Vec<_> = servers
        .iter()
        .zip(&hubs)
        .map(|(server, hub)| {
            let server = server.clone();
            hub.handle().spawn(move || {
                let me = std::thread::current().id();
                let handler = |mut stream: TcpStream, _| {
                    assert_eq!(std::thread::current().id(), me);
                    let name = std::thread::current().name().unwrap().to_owned();
                    stream.write_all(name.as_bytes()).unwrap();
                };
                server.run(handler).unwrap()
            })
        })
        .collect();
    until(|| servers.iter().all(|server| server.is_running()));
    // Which one answers is for the system to say: sooner or later each does.
    let mut answers = [0, 0];
    while answers.contains(&0) && answers.iter().sum::<u64>() < 10_000 {
        match &*ask(address) {
            "one" => answers[0] += 1,
            "two" => answers[1] += 1,
            other => panic!("{other:?}"),
        }
    }
    assert!(!answers.contains(&0), "{answers:?}");
    for ((server, run), answers) in servers.iter().zip(runs).zip(answers) {
        let stopped = server.stop(LONG).unwrap();
        assert_eq!(stopped.finished, answers);
        assert_eq!(run.join().unwrap(), stopped);
    }
    assert!(refused(address));
}

#[test]
fn a_listener_that_somebody_else_closes_ends_the_accepting() {
    let listener = TcpListener::bind(free()).unwrap();
    let server = Server::new(listener.clone()).unwrap();
    server.start(echo).unwrap();
    let client = client(&server);
    until(|| server.live() == 1);
    listener.close();
    sleep(SOON);
    // Handlers go on.
    (&client).write_all(b"x").unwrap();
    (&client).read_exact(&mut [0]).unwrap();
    drop(client);
    until(|| !server.is_running());
    let error = server.stop(LONG).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotConnected);
    let address = server.local_addr().to_string();
    assert!(error.to_string().contains(&address), "{error}");
    // Each who asks is told.
    assert!(server.stop(LONG).is_err());
    let listener = TcpListener::bind(free()).unwrap();
    let server = Server::new(listener.clone()).unwrap();
    scope(|s| {
        s.spawn(|| listener.close());
        let error = server.run(echo).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotConnected);
    });
}

#[test]
fn a_connection_belongs_to_whoever_has_the_stream() {
    let server = bind();
    let kept = Arc::new(Queue::unbounded());
    let keep = kept.clone();
    server
        .start(move |stream, _| keep.put(stream).unwrap())
        .unwrap();
    let mut client = client(&server);
    let stream: TcpStream = kept.get().unwrap();
    until(|| server.live() == 0);
    assert_eq!(server.stop(Duration::ZERO).unwrap().finished, 1);
    // The server is over, and the connection is not.
    (&stream).write_all(b"hi").unwrap();
    client.read_exact(&mut [0; 2]).unwrap();
    drop(stream);
    assert!(gone(&client));
}

#[test]
fn handlers_have_their_own_locals() {
    static NAME: Local<String> = Local::new();
    let server = bind();
    let handler = |mut stream: TcpStream, peer: SocketAddr| {
        assert_eq!(NAME.set(peer.to_string()), None);
        stream.read_exact(&mut [0]).unwrap();
        stream.write_all(NAME.get().unwrap().as_bytes()).unwrap();
    };
    server.start(handler).unwrap();
    let mut clients: Vec<_> = (0..5).map(|_| client(&server)).collect();
    for client in clients.iter_mut().rev() {
        client.write_all(b"?").unwrap();
        let mut text = String::new();
        client.read_to_string(&mut text).unwrap();
        assert_eq!(text, client.local_addr().unwrap().to_string());
    }
    server.stop(LONG).unwrap();
}

#[test]
fn a_unix_server() {
    let path = std::env::temp_dir().join(format!("greenlet-server-{}", std::process::id()));
    let _ = std::fs::remove_file(&path);
    let server = Server::new(UnixListener::bind(&path).unwrap()).unwrap();
    assert_eq!(server.local_addr().as_pathname(), Some(&*path));
    for round in 0..3 {
        let handler = |mut stream: UnixStream, _| stream.write_all(b"unix").unwrap();
        // The file that the last round has left is replaced.
        server.start(handler).unwrap();
        let mut text = String::new();
        let mut client = UnixStream::connect(&path).unwrap();
        client.read_to_string(&mut text).unwrap();
        assert_eq!(text, "unix");
        assert_eq!(server.stop(LONG).unwrap().finished, 1, "{round}");
        let error = UnixStream::connect(&path).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    }
    // One that somebody listens on is not.
    std::fs::remove_file(&path).unwrap();
    let other = UnixListener::bind(&path).unwrap();
    let error = server.start(|_, _| ()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AddrInUse);
    UnixStream::connect(&path).unwrap();
    other.accept().unwrap();
    std::fs::remove_file(&path).unwrap();
}

/// A file that has taken the place of the socket's was taken for one, and removed.
#[test]
fn a_unix_server_does_not_replace_what_is_no_socket() {
    let path = std::env::temp_dir().join(format!("greenlet-no-socket-{}", std::process::id()));
    let _ = std::fs::remove_file(&path);
    let server = Server::new(UnixListener::bind(&path).unwrap()).unwrap();
    server.start(|_, _| ()).unwrap();
    server.stop(LONG).unwrap();
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, "dear").unwrap();
    let error = server.start(|_, _| ()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AddrInUse);
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "dear");
    std::fs::remove_file(&path).unwrap();
}

#[test]
fn what_debug_shows() {
    let server = bind();
    let address = server.local_addr();
    let show = |rest| format!("Server {{ address: {address}, {rest} }}");
    let expected = show("running: false, accepted: 0, live: 0");
    assert_eq!(format!("{server:?}"), expected);
    let stop = Rc::new(AsyncResult::<()>::new());
    let (wait, done) = (stop.clone(), Cell::new(false));
    let handler = move |_, _| {
        if !done.replace(true) {
            wait.wait().unwrap();
        }
    };
    server.start(handler).unwrap();
    let clients = [client(&server), client(&server)];
    assert!(gone(&clients[1]));
    let expected = show("running: true, accepted: 2, live: 1");
    assert_eq!(format!("{server:?}"), expected);
    stop.set(()).unwrap();
    server.stop(LONG).unwrap();
    let expected = show("running: false, accepted: 2, live: 0");
    assert_eq!(format!("{server:?}"), expected);
}

//! Servers that need a process of their own: one that runs out of descriptors, and ones that
//! are sent signals. Each test runs itself again as a child, in which an environment variable
//! names the scenario, and talks to it over its sockets, its output and signals. Linux only: its
//! /proc says for how long a thread has run.
#![cfg(all(target_os = "linux", feature = "net"))]

mod pipe;

use greenlet::net::{Server, TcpStream};
use pipe::lines;
use std::fs::File;
use std::io::{Read, Write};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

const SCENARIO: &str = "GREENLET_TEST_SCENARIO";
/// Longer than any test takes, unless something hangs.
const LONG: Duration = Duration::from_secs(30);

/// A child that runs a scenario, which is killed if the test ends first.
struct Running {
    child: Child,
    out: Receiver<String>,
    err: Receiver<String>,
}

/// In the child: runs the scenario and ends the process. In the parent: the child.
fn child(test: &str, scenario: impl FnOnce()) -> Running {
    if std::env::var(SCENARIO).as_deref() == Ok(test) {
        println!(); // after the harness's words
        scenario();
        std::process::exit(0);
    }
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(SCENARIO, test)
        .env("RUST_BACKTRACE", "0")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let out = lines(child.stdout.take().unwrap());
    let err = lines(child.stderr.take().unwrap());
    Running { child, out, err }
}

/// The lines until the pipe's end.
#[track_caller]
fn rest(lines: &Receiver<String>) -> Vec<String> {
    let mut all = Vec::new();
    loop {
        match lines.recv_timeout(LONG) {
            Ok(line) => all.push(line),
            Err(RecvTimeoutError::Disconnected) => return all,
            Err(RecvTimeoutError::Timeout) => panic!("it hangs: {all:?}"),
        }
    }
}

impl Running {
    /// What follows the word on the next line that begins with it.
    #[track_caller]
    fn said(&self, word: &str) -> String {
        loop {
            let line = self.out.recv_timeout(LONG);
            let line = line.unwrap_or_else(|e| panic!("{e}; stderr: {:?}", rest(&self.err)));
            if let Some(rest) = line.strip_prefix(word) {
                return rest.trim().to_owned();
            }
        }
    }

    /// The code, and what it has said on stderr.
    fn ended(mut self) -> (ExitStatus, Vec<String>) {
        let start = Instant::now();
        let status = loop {
            match self.child.try_wait().unwrap() {
                Some(status) => break status,
                None if start.elapsed() > LONG => panic!("it hangs"),
                None => std::thread::sleep(Duration::from_millis(2)),
            }
        };
        (status, rest(&self.err))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Nanoseconds for which this thread has run on a processor.
fn cpu_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    let nanos = stat.split(' ').next().unwrap().parse().unwrap();
    Duration::from_nanos(nanos)
}

/// The process has no descriptor left while connections come: the server neither ends nor
/// spins, says so once, and serves as soon as there are some.
#[test]
fn a_server_without_descriptors_waits_for_some() {
    let running = child("a_server_without_descriptors_waits_for_some", || {
        rlimit::setrlimit(rlimit::Resource::NOFILE, 40, 40).unwrap();
        let server = Server::bind("127.0.0.1:0").unwrap();
        let address = server.local_addr();
        let handler = |mut stream: TcpStream, _| stream.write_all(b"at last").unwrap();
        server.start(handler).unwrap();
        // Not with this crate's, which lets the server accept meanwhile.
        let ask = || TcpStream::from(std::net::TcpStream::connect(address).unwrap());
        ask().read_to_string(&mut String::new()).unwrap();
        for burst in 1..3 {
            // Connections that wait to be accepted, and no descriptor for one.
            let clients = [(); 3].map(|()| ask());
            let mut files = Vec::new();
            let full = loop {
                match File::open("/dev/null") {
                    Ok(file) => files.push(file),
                    Err(e) => break e,
                }
            };
            assert_eq!(full.raw_os_error(), Some(libc::EMFILE));
            // Which needs a descriptor for a moment.
            drop(files.pop());
            let before = cpu_time();
            files.push(File::open("/dev/null").unwrap());
            let wall = Instant::now();
            greenlet::sleep(Duration::from_millis(400));
            let wall = wall.elapsed();
            assert!(server.is_running());
            assert_eq!(server.live(), 0);
            drop(files.pop());
            let cpu = cpu_time() - before;
            println!("CPU {cpu:?} of {wall:?}");
            assert!(cpu < wall / 4, "it spins: {cpu:?} of {wall:?}");
            drop(files);
            for mut client in clients {
                let mut text = String::new();
                client.read_to_string(&mut text).unwrap();
                assert_eq!(text, "at last");
            }
            println!("BURST {burst}");
            if burst == 1 {
                // More than a second without failures: the next one is another burst.
                greenlet::sleep(Duration::from_millis(1500));
            }
        }
        assert_eq!(server.stop(LONG).unwrap().finished, 7);
    });
    running.said("BURST 1");
    running.said("BURST 2");
    let (status, err) = running.ended();
    assert!(status.success(), "{err:?}");
    // The other lines are the harness's.
    let reports: Vec<_> = err.iter().filter(|l| l.starts_with("greenlet:")).collect();
    assert_eq!(reports.len(), 2, "{err:?}");
    for report in reports {
        assert!(report.contains("cannot accept on 127.0.0.1:"), "{report}");
        assert!(report.contains("os error 24"), "{report}");
    }
}

#[cfg(not(feature = "signal"))]
#[test]
fn signals_end_servers() {
    println!("SKIPPED: needs the feature `signal`");
}

#[cfg(feature = "signal")]
mod signals {
    use super::*;
    use greenlet::signal::{SIGINT, SIGTERM, Signals};
    use std::io::{BufRead, BufReader, ErrorKind};
    use std::os::unix::process::ExitStatusExt;
    use std::sync::Arc;

    /// Serves until it is sent a signal. A handler naps for the milliseconds that it is told.
    fn serve(grace: Duration) {
        let signals = Signals::new([SIGINT, SIGTERM]).unwrap();
        let server = Server::bind("127.0.0.1:0").unwrap();
        let handler = |mut stream: TcpStream, _| {
            let mut line = String::new();
            BufReader::new(&stream).read_line(&mut line).unwrap();
            stream.write_all(b"busy\n").unwrap();
            greenlet::sleep(Duration::from_millis(line.trim().parse().unwrap()));
            stream.write_all(b"done\n").unwrap();
        };
        server.start(handler).unwrap();
        println!("ADDRESS {}", server.local_addr());
        let signal = signals.wait().unwrap();
        println!("SIGNAL {signal}");
        let stopped = server.stop(grace).unwrap();
        println!("FINISHED {} KILLED {}", stopped.finished, stopped.killed);
    }

    /// A client whose handler is busy.
    fn busy(address: &str, ms: u32) -> BufReader<std::net::TcpStream> {
        let mut client = std::net::TcpStream::connect(address).unwrap();
        client.set_read_timeout(Some(LONG)).unwrap();
        writeln!(client, "{ms}").unwrap();
        let mut client = BufReader::new(client);
        let mut line = String::new();
        client.read_line(&mut line).unwrap();
        assert_eq!(line, "busy\n");
        client
    }

    fn end_of(mut client: BufReader<std::net::TcpStream>) -> String {
        let mut text = String::new();
        match client.read_to_string(&mut text) {
            Ok(_) => text,
            Err(e) => panic!("{e} after {text:?}"),
        }
    }

    impl Running {
        fn send(&self, signal: &str) {
            // The shell's own, which is everywhere.
            let line = format!("kill -{signal} {}", self.child.id());
            let status = Command::new("sh").args(["-c", &line]).status().unwrap();
            assert!(status.success());
        }
    }

    fn refused(address: &str) -> bool {
        matches!(std::net::TcpStream::connect(address), Err(e) if e.kind() == ErrorKind::ConnectionRefused)
    }

    #[test]
    fn sigterm_lets_a_slow_handler_finish() {
        let running = child("signals::sigterm_lets_a_slow_handler_finish", || {
            serve(LONG);
        });
        let address = running.said("ADDRESS");
        let client = busy(&address, 300);
        running.send("TERM");
        assert_eq!(running.said("SIGNAL"), "15");
        assert_eq!(end_of(client), "done\n");
        assert_eq!(running.said("FINISHED"), "1 KILLED 0");
        let (status, err) = running.ended();
        assert_eq!(status.code(), Some(0), "{err:?}");
        assert!(refused(&address));
    }

    #[test]
    fn sigint_kills_a_handler_that_takes_too_long() {
        let name = "signals::sigint_kills_a_handler_that_takes_too_long";
        let running = child(name, || serve(Duration::from_millis(100)));
        let address = running.said("ADDRESS");
        let clients = [busy(&address, 99_999), busy(&address, 0)];
        running.send("INT");
        assert_eq!(running.said("SIGNAL"), "2");
        let ends = clients.map(end_of);
        assert_eq!(ends, ["", "done\n"]);
        assert_eq!(running.said("FINISHED"), "1 KILLED 1");
        let (status, err) = running.ended();
        assert_eq!(status.code(), Some(0), "{err:?}");
    }

    /// As a program may do it: the second signal ends the grace.
    #[test]
    fn a_second_signal_hurries() {
        let running = child("signals::a_second_signal_hurries", || {
            let signals = Arc::new(Signals::new([SIGTERM]).unwrap());
            let server = Arc::new(Server::bind("127.0.0.1:0").unwrap());
            let handler = |mut stream: TcpStream, _| {
                stream.read_exact(&mut [0; 2]).unwrap();
                stream.write_all(b"busy\n").unwrap();
                greenlet::sleep(10 * LONG);
            };
            server.start(handler).unwrap();
            println!("ADDRESS {}", server.local_addr());
            signals.wait().unwrap();
            let (again, hurried) = (signals.clone(), server.clone());
            greenlet::spawn(move || {
                again.wait().unwrap();
                hurried.stop(Duration::ZERO).unwrap();
            });
            println!("STOPPING");
            let stopped = server.stop(10 * LONG).unwrap();
            println!("FINISHED {} KILLED {}", stopped.finished, stopped.killed);
        });
        let client = busy(&running.said("ADDRESS"), 0);
        running.send("TERM");
        running.said("STOPPING");
        running.send("TERM");
        assert_eq!(end_of(client), "");
        assert_eq!(running.said("FINISHED"), "0 KILLED 1");
        assert!(running.ended().0.success());
    }

    /// What nobody has asked for is as ever.
    #[test]
    fn other_signals_still_end_the_process() {
        let running = child("signals::other_signals_still_end_the_process", || {
            serve(LONG);
        });
        running.said("ADDRESS");
        // Not SIGHUP, which a program inherits ignored from nohup.
        running.send("USR1");
        let usr1 = 10;
        assert_eq!(running.ended().0.signal(), Some(usr1));
    }

    /// A dropped `Signals` leaves nothing open and nothing that a signal would do.
    #[test]
    fn signals_that_are_dropped_leave_nothing() {
        let name = "signals::signals_that_are_dropped_leave_nothing";
        let running = child(name, || {
            rlimit::setrlimit(rlimit::Resource::NOFILE, 30, 30).unwrap();
            for _ in 0..100 {
                drop(Signals::new([SIGINT, SIGTERM]).unwrap());
            }
            // Nor does one that fails half way.
            for _ in 0..100 {
                assert!(Signals::new([SIGINT, 9]).is_err());
            }
            println!("READY");
            std::thread::sleep(LONG);
        });
        running.said("READY");
        running.send("TERM");
        running.send("INT");
        // It is alive, and what cannot be caught still works.
        std::thread::sleep(Duration::from_millis(50));
        running.send("KILL");
        assert_eq!(running.ended().0.signal(), Some(9));
    }
}

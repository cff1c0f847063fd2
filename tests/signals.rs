//! Signals in greenlets, sent by this process to itself. Each test has signals of its own, for
//! they run side by side. Servers that are ended by signals are in `net_process.rs`.
#![cfg(unix)]

#[cfg(not(feature = "signal"))]
#[test]
fn signals() {
    println!("SKIPPED: needs the feature `signal`");
}

#[cfg(feature = "signal")]
mod signals {
    use greenlet::signal::{SIGCHLD, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2, SIGWINCH, Signals};
    use greenlet::{scope, sleep, spawn, timeout};
    use std::cell::Cell;
    use std::io::ErrorKind;
    use std::process::Command;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::{Duration, Instant};

    const SOON: Duration = Duration::from_millis(20);
    const LONG: Duration = Duration::from_secs(30);

    /// Sends the signal to this process, and returns when it has come.
    fn send(signal: i32) {
        let seen = Signals::new([signal]).unwrap();
        let line = format!("kill -{signal} {}", std::process::id());
        let status = Command::new("sh").args(["-c", &line]).status().unwrap();
        assert!(status.success());
        assert_eq!(seen.wait_timeout(LONG).unwrap(), Some(signal));
    }

    #[test]
    fn a_signal_wakes_a_hub_that_sleeps() {
        let signals = Signals::new([SIGUSR1]).unwrap();
        let ticks = Cell::new(0);
        scope(|s| {
            let waiter = s.spawn(|| signals.wait().unwrap());
            // Others go on meanwhile.
            for _ in 0..5 {
                sleep(Duration::from_millis(1));
                ticks.set(ticks.get() + 1);
            }
            assert!(!waiter.is_finished());
            let sender = std::thread::spawn(|| {
                std::thread::sleep(SOON);
                send(SIGUSR1);
            });
            assert_eq!(waiter.join().unwrap(), SIGUSR1);
            sender.join().unwrap();
        });
        assert_eq!(ticks.get(), 5);
        // Also while nobody else is alive: the thread itself waits.
        let start = Instant::now();
        let sender = std::thread::spawn(|| {
            std::thread::sleep(SOON);
            send(SIGUSR1);
        });
        assert_eq!(signals.wait().unwrap(), SIGUSR1);
        assert!(start.elapsed() >= SOON);
        sender.join().unwrap();
        assert_eq!(signals.wait_timeout(SOON).unwrap(), None);
    }

    #[test]
    fn signals_are_kept_and_counted_once() {
        let signals = Signals::new([SIGUSR2, SIGQUIT, SIGUSR2]).unwrap();
        for _ in 0..3 {
            send(SIGQUIT);
            send(SIGUSR2);
        }
        // In the order in which they were named.
        assert_eq!(signals.wait().unwrap(), SIGUSR2);
        assert_eq!(signals.wait().unwrap(), SIGQUIT);
        // What is left in the socket is no signal.
        let sender = std::thread::spawn(|| {
            std::thread::sleep(SOON);
            send(SIGQUIT);
        });
        assert_eq!(signals.wait().unwrap(), SIGQUIT);
        sender.join().unwrap();
        assert_eq!(signals.wait_timeout(Duration::ZERO).unwrap(), None);
        send(SIGQUIT);
        assert_eq!(signals.wait_timeout(LONG).unwrap(), Some(SIGQUIT));
        assert_eq!(signals.wait_timeout(SOON).unwrap(), None);
    }

    #[test]
    fn each_gets_every_signal_and_its_waiters_share() {
        let (one, two) = (Signals::new([SIGHUP]), Signals::new([SIGHUP]));
        let (one, two) = (one.unwrap(), Arc::new(two.unwrap()));
        let taken = Arc::new(AtomicUsize::new(0));
        let wait = {
            let (two, taken) = (two.clone(), taken.clone());
            move || {
                assert_eq!(two.wait().unwrap(), SIGHUP);
                taken.fetch_add(1, Ordering::Relaxed);
            }
        };
        let waiters = [spawn(wait.clone()), spawn(wait.clone())];
        let elsewhere = std::thread::spawn(wait);
        for round in 1..4 {
            send(SIGHUP);
            assert_eq!(one.wait().unwrap(), SIGHUP);
            // The next one could come together with this one, and not count.
            while taken.load(Ordering::Relaxed) < round {
                sleep(Duration::from_millis(1));
            }
        }
        for waiter in waiters {
            waiter.join().unwrap();
        }
        elsewhere.join().unwrap();
        assert_eq!(two.wait_timeout(SOON).unwrap(), None);
    }

    #[test]
    fn who_gives_up_takes_no_signal() {
        let signals = Arc::new(Signals::new([SIGWINCH]).unwrap());
        assert!(timeout(SOON, || signals.wait()).is_err());
        let waiter = signals.clone();
        let killed = spawn(move || waiter.wait());
        sleep(SOON);
        killed.kill();
        assert!(killed.join().unwrap_err().is_killed());
        send(SIGWINCH);
        assert_eq!(signals.wait_timeout(LONG).unwrap(), Some(SIGWINCH));
    }

    #[test]
    fn what_cannot_be_caught_is_an_error() {
        for signal in [libc::SIGKILL, libc::SIGSTOP, libc::SIGSEGV, libc::SIGILL] {
            // The one before is given up again.
            let error = Signals::new([SIGCHLD, signal]).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput);
            let number = signal.to_string();
            assert!(error.to_string().contains(&number), "{error}");
        }
        for unknown in [0, -1, 1000] {
            let error = Signals::new([unknown]).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{unknown}");
        }
        let shown = format!("{:?}", Signals::new([SIGCHLD]).unwrap());
        assert_eq!(shown, format!("Signals {{ signals: [{SIGCHLD}] }}"));
    }
}

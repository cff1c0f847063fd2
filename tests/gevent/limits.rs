//! Semaphores and timeouts: programs 34 to 47.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};

use greenlet::sync::{BoundedSemaphore, Event, ReentrantMutex, Semaphore};
use greenlet::{Elapsed, Timeout, now, sleep, spawn, timeout, yield_now};

use super::{all, b, differs, leak, ms, printed, without};

#[test]
fn p34_sem_two_permits_six_workers() {
    let got = printed(|| {
        let sem = leak(BoundedSemaphore::new(2));
        let inside = leak(Cell::new(0));
        let worker = |n: u64| {
            let permit = sem.acquire();
            inside.set(inside.get() + 1);
            say!("acquire {n} inside {}", inside.get());
            sleep(ms(20 * (n + 1)));
            inside.set(inside.get() - 1);
            drop(permit);
            say!("release {n}");
        };
        all((0..6).map(|n| spawn(move || worker(n))).collect());
        say!("counter {}", sem.available());
    });
    assert_eq!(got, gevent_said!("34_sem_two_permits_six_workers"));
}

#[test]
fn p39_sem_barging_quirk() {
    let got = printed(|| {
        let sem = leak(Semaphore::new(1));
        sem.acquire().forget();
        let gs = (0..2)
            .map(|n| {
                spawn(move || {
                    sem.acquire().forget();
                    say!("took {n}");
                })
            })
            .collect();
        yield_now();
        sem.release();
        say!("counter right after release {}", sem.available());
        say!("releaser retakes {}", b(sem.try_acquire().is_some()));
        yield_now();
        sem.release();
        yield_now();
        sem.release();
        all(gs);
        say!("counter {}", sem.available());
    });
    // The permit goes to the waiter with the release, so there is nothing to retake.
    differs(
        &got,
        gevent_said!("39_sem_barging_quirk"),
        "counter right after release 0\nreleaser retakes 0\ntook 0\ntook 1\ncounter 1\n",
    );
}

#[test]
fn p40_sem_bounds() {
    let got = printed(|| {
        let sem = BoundedSemaphore::new(2);
        let over = || match sem.release() {
            Ok(()) => say!("accepted"),
            Err(_) => say!("over-release refused"),
        };
        over();
        sem.acquire().forget();
        sem.acquire().forget();
        say!("counter {} locked {}", sem.available(), b(sem.is_locked()));
        sem.release().expect("two are out");
        sem.release().expect("one is out");
        over();
        {
            let _permit = sem.acquire();
            say!("inside with {}", sem.available());
        }
        let plain = Semaphore::new(0);
        plain.release();
        plain.release();
        say!("plain grows {}", plain.available());
    });
    let gone = [
        "wait 2 counter unchanged 2 wait on zero 0\n",
        "negative refused\n",
        "dummy 1 0 1\n",
    ];
    assert_eq!(got, without(gevent_said!("40_sem_bounds"), &gone));
}

#[test]
fn p43_rlock() {
    let got = printed(|| {
        let (lock, tried) = (leak(ReentrantMutex::new(())), leak(Event::new()));
        let other = move || {
            let now = lock.try_lock().is_some();
            let timed = lock.try_lock_for(ms(5)).is_some();
            say!("other: try {} timed {}", b(now), b(timed));
            tried.set();
            let _guard = lock.lock();
            say!("other: got it");
        };
        let (first, second) = (lock.lock(), lock.lock());
        let g = spawn(other);
        tried.wait();
        drop(second);
        say!("main: one level left {}", b(lock.is_locked()));
        yield_now();
        drop(first);
        // By hand-off it is the waiter's at once; gevent's is free until that runs.
        say!("main: released {}", b(lock.is_owned_by_current_thread()));
        g.join().unwrap();
    });
    let gone = ["other: cannot release\n", "main: cannot release\n"];
    assert_eq!(got, without(gevent_said!("43_rlock"), &gone));
}

#[test]
fn p44_timeout_forms() {
    #[derive(Debug)]
    struct TooLong;
    let nap = |name: &'static str| {
        move || {
            sleep(ms(100));
            say!("{name} finished");
        }
    };
    let got = printed(|| {
        match timeout(ms(10), nap("plain")) {
            Ok(()) => say!("plain left block"),
            Err(Elapsed { .. }) => say!("plain raised itself"),
        }
        // gevent's silent form: whoever does not care does not look.
        let _ = timeout(ms(10), nap("silent"));
        say!("silent left block");
        match timeout(ms(10), nap("custom")).map_err(|_| TooLong) {
            Ok(()) => say!("custom left block"),
            Err(TooLong) => say!("custom raised custom"),
        }
        nap("never")();
        say!("never left block");
        match timeout(ms(0), nap("zero")) {
            Ok(()) => say!("zero left block"),
            Err(Elapsed { .. }) => say!("zero raised itself"),
        }
        timeout(ms(0), || say!("zero without yielding is harmless")).expect("it never waited");
    });
    let texts = [
        " 1 |0.01 seconds|",
        " 1 |0 seconds|",
        ", pending 0",
        "|5 seconds|\n|1 second|\n|5 seconds (silent)|\n|5 seconds: why|\n||\n",
    ];
    assert_eq!(got, without(gevent_said!("44_timeout_forms"), &texts));
}

#[test]
fn p46_timeout_object_protocol() {
    let got = printed(|| {
        let fired = Timeout::after(ms(10)).run(|t| {
            say!("started {}", b(t.is_pending()));
            t.cancel();
            say!("cancelled {}", b(t.is_pending()));
            sleep(ms(20));
            say!("did not fire");
            t.reset(ms(10));
            let start = now();
            let caught = catch_unwind(AssertUnwindSafe(|| sleep(ms(1000))));
            assert!(caught.is_err() && now() - start == ms(10));
            say!("fired, pending {}", b(t.is_pending()));
        });
        // The body swallowed it; the scope says Elapsed all the same.
        assert!(fired.is_err());
        Timeout::after(ms(10))
            .run(|c| {
                c.cancel();
                sleep(ms(20));
            })
            .expect("cancelled");
        say!("cancel inside block works");
    });
    let gevent =
        gevent_said!("46_timeout_object_protocol").replace("fired 1 pending", "fired, pending");
    let gone = [
        "new 0\n",
        "double start refused\n",
        "start_new reuses 1 1\n",
        "closed 0\n",
    ];
    assert_eq!(got, without(&gevent, &gone));
}

#[test]
fn p47_with_timeout() {
    let got = printed(|| {
        let nap = || {
            sleep(ms(1000));
            "never"
        };
        say!(
            "done {}",
            timeout(ms(1000), || "result").unwrap_or("fallback")
        );
        say!("expired {}", timeout(ms(10), nap).unwrap_or("fallback"));
        if timeout(ms(10), nap).is_err() {
            say!("no fallback raises");
        }
        let inner = || timeout(ms(800), nap).unwrap_or("inner");
        say!(
            "outer expires first: {}",
            timeout(ms(10), inner).unwrap_or("outer")
        );
        let outer = || timeout(ms(10), nap).unwrap_or("inner");
        say!(
            "inner expires first: {}",
            timeout(ms(800), outer).unwrap_or("outer")
        );
        let error =
            catch_unwind(|| timeout(ms(1000), || panic!("division by zero")).unwrap_or("fallback"));
        if error.expect_err("a panic").is::<&str>() {
            say!("error passes through");
        }
    });
    assert_eq!(
        got,
        without(
            gevent_said!("47_with_timeout"),
            &["foreign timeout passes through 99\n"]
        )
    );
}

//! Native threads, on the real clock: programs 86 and 87.

use std::sync::Arc;
use std::time::{Duration, Instant};

use greenlet::sync::{Event, Queue};
use greenlet::{sleep, spawn, yield_now};

use super::{b, differs, ms, printed_live};

#[test]
fn p86_cross_thread_put_quirk() {
    let got = printed_live(|| {
        let q = Arc::new(Queue::unbounded());
        let keep = spawn(|| sleep(Duration::from_secs(20)));
        yield_now();
        let putter = std::thread::spawn({
            let q = q.clone();
            move || {
                std::thread::sleep(ms(20));
                q.put("x").expect("unbounded");
            }
        });
        // gevent waits 0.3 s and calls 0.2 s quick; the limits here allow for a busy machine.
        let start = Instant::now();
        match q.get_timeout(Duration::from_secs(15)) {
            Ok(_) => say!("got 1"),
            Err(_) => say!("got 0, items left {}", q.len()),
        }
        say!("quick {}", b(start.elapsed() < Duration::from_secs(10)));
        putter.join().expect("no panic");
        keep.kill();
        keep.wait();
    });
    differs(
        &got,
        gevent_said!("86_cross_thread_put_quirk"),
        "got 1\nquick 1\n",
    );
}

#[test]
fn p87_foreign_thread_deadlock_quirk() {
    let got = printed_live(|| {
        yield_now();
        let e = Arc::new(Event::new());
        let setter = std::thread::spawn({
            let e = e.clone();
            move || {
                std::thread::sleep(ms(50));
                e.set();
            }
        });
        // Something is spawned, so that the thread has a hub whose loop finds nothing to do.
        let done = spawn(|| ());
        e.wait();
        say!("woke 1");
        setter.join().expect("no panic");
        say!("set afterwards {}", b(e.is_set()));
        done.wait();
    });
    differs(
        &got,
        gevent_said!("87_foreign_thread_deadlock_quirk"),
        "woke 1\nset afterwards 1\n",
    );
}

//! Native threads, on the real clock: programs 79, 86 and 87.

use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use greenlet::sync::{Event, Queue};
use greenlet::{ThreadPool, sleep, spawn, yield_now};

use super::{all, b, differs, message, ms, printed_live};

#[test]
fn p79_threadpool() {
    let got = printed_live(|| {
        let p: &'static ThreadPool = Box::leak(Box::new(ThreadPool::new(2)));
        let (ticked, ticks) = mpsc::channel();
        let g = spawn(move || {
            for i in 0..3 {
                ticked.send(i).expect("the job listens");
                sleep(ms(2));
            }
        });
        let here = std::thread::current().id();
        let there = p.unblock(|| std::thread::current().id());
        say!("other thread {}", b(there != here));
        // gevent's job sleeps for 0.03 s; this one waits until it has seen the ticks.
        let ticks = p.unblock(move || {
            let limit = Duration::from_secs(15);
            (0..3).filter(|_| ticks.recv_timeout(limit).is_ok()).count()
        });
        say!("greenlet ticked {ticks}");
        let fails = spawn(|| p.unblock(|| -> u8 { panic!("division by zero") }));
        if message(&fails.join().expect_err("it panics")) == "division by zero" {
            say!("error came back");
        }
        let doubled = all((0..4)
            .map(|x| spawn(move || p.unblock(move || x * 2)))
            .collect());
        let text: Vec<_> = doubled.iter().map(i32::to_string).collect();
        say!("map {} join", text.join(" "));
        g.join().expect("it ends");
        let foreign = ThreadPool::new(1).unblock(|| p.try_unblock(|| 0));
        say!("foreign {}", foreign.expect("a thread"));
    });
    differs(
        &got,
        gevent_said!("79_threadpool"),
        "other thread 1\ngreenlet ticked 3\nerror came back\nmap 0 2 4 6 join\nforeign 0\n",
    );
}

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

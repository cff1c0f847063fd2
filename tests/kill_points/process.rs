//! What a simulation cannot show: the end of another thread, and the memory of the process.

use crate::stage::ms;
use greenlet::sync::Event;
use greenlet::{
    Elapsed, Greenlet, HubThread, JoinError, run, scope, shield, sleep, spawn, timeout, yield_now,
};
#[cfg(target_os = "linux")]
use greenlet::{
    Local, join_all,
    sync::{Queue, Semaphore},
    testing::Simulation,
};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::Duration;

/// A hub thread with a greenlet that ends only with its hub.
fn hub_thread() -> (HubThread, Greenlet<()>) {
    let thread = HubThread::start("other").unwrap();
    let endless = thread.handle().spawn(|| sleep(Duration::MAX));
    (thread, endless)
}

/// The join was cut short, so the handle was dropped, which stops the thread.
fn stopped(endless: Greenlet<()>) {
    // Killed, or refused if the thread was stopped before it had taken it in.
    let error = endless.join().unwrap_err();
    assert!(
        error.is_killed() || matches!(error, JoinError::HubClosed),
        "{error}"
    );
}

#[test]
fn hub_thread_join_that_is_killed_stops_the_thread() {
    run(|| {
        let (thread, endless) = hub_thread();
        let joiner = spawn(move || thread.join());
        yield_now();
        joiner.kill();
        assert!(joiner.join().unwrap_err().is_killed());
        stopped(endless);
    });
}

#[test]
fn hub_thread_join_that_times_out_stops_the_thread() {
    run(|| {
        // In a greenlet, and at the root.
        for in_greenlet in [true, false] {
            let (thread, endless) = hub_thread();
            let join = move || timeout(ms(1), || thread.join()).map(drop);
            let joined = match in_greenlet {
                true => spawn(join).join().unwrap(),
                false => join(),
            };
            assert_eq!(joined, Err(Elapsed));
            stopped(endless);
        }
    });
}

#[test]
fn hub_thread_join_that_a_sibling_s_panic_ends_stops_the_thread() {
    run(|| {
        let (thread, endless) = hub_thread();
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            scope(|s| {
                s.spawn(|| thread.join());
                s.spawn(|| {
                    yield_now();
                    resume_unwind(Box::new("sibling"))
                });
            });
        }));
        assert_eq!(panicked.unwrap_err().downcast_ref(), Some(&"sibling"));
        stopped(endless);
    });
}

/// In a shield it ends as it should, and the kill comes after it.
#[test]
fn hub_thread_join_in_a_shield_is_not_cut_short() {
    run(|| {
        let (thread, endless) = hub_thread();
        let stop = thread.handle();
        let joiner = spawn(move || {
            let joined = shield(|| {
                thread.stop();
                thread.join()
            });
            assert!(joined.is_ok());
            Event::new().wait();
        });
        yield_now();
        joiner.kill();
        assert!(joiner.join().unwrap_err().is_killed());
        assert!(stop.is_closed());
        stopped(endless);
    });
}

/// Bytes of the process's data, in KiB: heap, mapped memory, stacks.
#[cfg(target_os = "linux")]
fn data() -> i64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|l| l.starts_with("VmData:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Many greenlets, each of which is unwound from a wait, in one way or another.
#[cfg(target_os = "linux")]
fn many_unwound(n: usize) {
    static VALUE: Local<Box<usize>> = Local::new();
    let (event, gate) = (Event::new(), Semaphore::new(0));
    let queue = Queue::<usize>::rendezvous();
    for _ in 0..n / 100 {
        scope(|s| {
            let all: Vec<_> = (0..100)
                .map(|i| {
                    let (event, gate, queue) = (&event, &gate, &queue);
                    s.spawn(move || {
                        VALUE.set(Box::new(i));
                        let wait = || match i % 7 {
                            0 => event.wait(),
                            1 => gate.acquire().forget(),
                            2 => drop(queue.get()),
                            3 => spawn(|| sleep(ms(1))).wait(),
                            4 => scope(|s| drop(s.spawn(|| sleep(ms(9))))),
                            5 => sleep(ms(9)),
                            _ => greenlet::finally(|| event.wait(), || sleep(ms(1))),
                        };
                        match i % 3 {
                            0 => drop(timeout(ms(2), wait)),
                            1 => timeout(ms(9), || timeout(ms(8), wait)).unwrap().unwrap(),
                            _ => wait(),
                        }
                    })
                })
                .collect();
            for g in &all {
                // A link may run anywhere, so it holds nothing of the scope's.
                g.link(|_| ());
            }
            sleep(ms(1));
            greenlet::kill_all(all.iter().filter(|g| g.id() % 5 == 0));
            sleep(ms(3));
            greenlet::kill_all(&all);
            drop(join_all(all));
        });
    }
}

/// In a process of its own, since other tests need memory too.
#[cfg(target_os = "linux")]
#[test]
fn ten_thousand_greenlets_unwound_do_not_grow_memory() {
    const CHILD: &str = "GREENLET_TEST_MEMORY";
    const NAME: &str = "process::ten_thousand_greenlets_unwound_do_not_grow_memory";
    if std::env::var_os(CHILD).is_some() {
        let grown = Simulation::new().run(|| {
            many_unwound(10_000);
            let before = data();
            many_unwound(10_000);
            data() - before
        });
        println!("GROWN {grown}");
        return;
    }
    let child = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", NAME, "--nocapture", "--test-threads=1"])
        .env(CHILD, "1")
        .output()
        .unwrap();
    let out = String::from_utf8_lossy(&child.stdout).into_owned();
    let grown = out
        .split("GROWN ")
        .nth(1)
        .and_then(|text| text.split_whitespace().next());
    let grown: i64 = grown
        .unwrap_or_else(|| panic!("{child:?}"))
        .parse()
        .unwrap();
    println!("grown by {grown} KiB");
    // A hundred bytes lost with each greenlet would be a thousand.
    assert!(grown < 500, "grown by {grown} KiB");
}

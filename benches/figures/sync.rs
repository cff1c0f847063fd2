//! Events, results, semaphores and locks.

use crate::all;
use crate::harness::{figure, large};
use crate::measure::timed;
use greenlet::sync::{AsyncResult, Event, Mutex, Queue, RwLock, Semaphore};
use greenlet::{join_all, spawn, yield_now};
use std::hint::black_box;
use std::rc::Rc;
use std::time::Duration;

#[allow(clippy::duplicate_mod)]
#[path = "workloads.rs"]
pub(crate) mod workloads;

use workloads::fan_out;

/// 1,000 workers that enter, yield and leave, `n` times in all.
pub(crate) fn crowd(n: usize, work: impl Fn() + Clone + 'static) -> Duration {
    let workers = all(1000, |_| {
        let work = work.clone();
        spawn(move || (0..n / 1000).for_each(|_| work()))
    });
    timed(|| drop(join_all(workers)))
}

pub(crate) fn figures() {
    for (waiters, name) in [(1, "1 waiter"), (1_000, "1,000 waiters")] {
        figure(&format!("Event: {name}, a wake"), 200_000, |n| {
            fan_out(waiters, n)
        });
    }
    large("Event: 100,000 waiters, a wake", 1_000_000, |n| {
        fan_out(100_000, n)
    });
    figure("Event: wait on a set one", 1_000_000, |n| {
        let event = Event::new();
        event.set();
        timed(|| (0..n).for_each(|_| black_box(&event).wait()))
    });
    figure("AsyncResult: new, spawn a setter, wait", 100_000, |n| {
        let waiter = spawn(move || {
            for i in 0..n {
                let result = Rc::new(AsyncResult::<usize>::new());
                drop(spawn({
                    let result = result.clone();
                    move || result.set(i).unwrap()
                }));
                assert_eq!(result.wait().unwrap(), &i);
            }
        });
        timed(|| waiter.join().unwrap())
    });
    figure("AsyncResult: new, wait in a greenlet, set", 100_000, |n| {
        timed(|| {
            for i in 0..n {
                let result = Rc::new(AsyncResult::<usize>::new());
                let reader = spawn({
                    let result = result.clone();
                    move || *result.wait().unwrap()
                });
                yield_now();
                let _ = result.set(i);
                black_box(reader.join().unwrap());
            }
        })
    });
    figure("Semaphore: acquire + release, free", 1_000_000, |n| {
        let semaphore = Semaphore::new(1);
        timed(|| (0..n).for_each(|_| drop(black_box(&semaphore).acquire())))
    });
    figure(
        "Semaphore: 1,000 greenlets on 2 permits with a yield",
        200_000,
        |n| {
            let semaphore = Rc::new(Semaphore::new(2));
            crowd(n, move || {
                let _permit = semaphore.acquire();
                yield_now();
            })
        },
    );
    figure("Mutex: lock + unlock, free", 1_000_000, |n| {
        let mutex = Mutex::new(0);
        timed(|| (0..n).for_each(|_| *black_box(&mutex).lock() += 1))
    });
    figure(
        "Mutex: 1,000 greenlets on one lock with a yield",
        200_000,
        |n| {
            let mutex = Rc::new(Mutex::new(0));
            crowd(n, move || {
                let mut count = mutex.lock();
                yield_now();
                *count += 1;
            })
        },
    );
    figure("RwLock: read + unlock, free", 1_000_000, |n| {
        let lock = RwLock::new(1);
        timed(|| (0..n).for_each(|_| drop(black_box(black_box(&lock).read()))))
    });
}

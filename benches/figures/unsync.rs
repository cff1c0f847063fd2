//! The primitives for one thread: the figures of those for all that matter most, once more.

use crate::harness::figure;
use crate::measure::timed;
use crate::sync::crowd;
use greenlet::unsync::{AsyncResult, Event, Queue, Semaphore};
use greenlet::{spawn, yield_now};
use std::hint::black_box;
use std::rc::Rc;

// For the types of this module.
#[allow(clippy::duplicate_mod)]
#[path = "workloads.rs"]
mod workloads;

use workloads::{alternate, fan_out, handed};

type Make = fn() -> Queue<usize>;

pub(crate) fn figures() {
    for (waiters, name) in [(1, "1 waiter"), (1_000, "1,000 waiters")] {
        figure(&format!("unsync::Event: {name}, a wake"), 200_000, |n| {
            fan_out(waiters, n)
        });
    }
    let result = "unsync::AsyncResult: new, spawn a setter, wait";
    figure(result, 100_000, |n| {
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
    let free = "unsync::Semaphore: acquire + release, free";
    figure(free, 1_000_000, |n| {
        let semaphore = Semaphore::new(1);
        timed(|| (0..n).for_each(|_| drop(black_box(&semaphore).acquire())))
    });
    let crowded = "unsync::Semaphore: 1,000 greenlets on 2 permits with a yield";
    figure(crowded, 200_000, |n| {
        let semaphore = Rc::new(Semaphore::new(2));
        crowd(n, move || {
            let _permit = semaphore.acquire();
            yield_now();
        })
    });
    figure("unsync::Queue: put + get without waiting", 1_000_000, |n| {
        let queue = Queue::unbounded();
        timed(|| {
            for i in 0..n {
                queue.put(i).unwrap();
                black_box(queue.get().unwrap());
            }
        })
    });
    let kinds: [(&str, Make); 4] = [
        ("unbounded", Queue::unbounded),
        ("bounded(128)", || Queue::bounded(128)),
        ("bounded(1)", || Queue::bounded(1)),
        ("rendezvous", Queue::rendezvous),
    ];
    for (kind, queue) in kinds {
        let name = format!("unsync::Queue: 1 to 1, {kind}");
        figure(&name, 200_000, |n| handed::<0>(queue(), 1, n));
    }
    for (pairs, name) in [(1, "1 to 1"), (4, "4 to 4")] {
        let name = format!("unsync::Queue: {name}, unbounded, bursts of 128");
        figure(&name, 512_000, |n| {
            handed::<128>(Queue::unbounded(), pairs, n)
        });
    }
    figure("unsync::Queue: strict alternation", 200_000, |n| {
        alternate(n, |queue| queue.get().unwrap())
    });
}

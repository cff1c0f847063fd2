//! Queues. An item is a put and the get that takes it.

use crate::HOUR;
use crate::harness::{figure, say};
use crate::measure::{options, timed};
use crate::sync::workloads::{alternate, handed};
use greenlet::sync::Queue;
use greenlet::{Greenlet, select, spawn, timeout, yield_now};
use std::hint::black_box;
use std::rc::Rc;
use std::time::Duration;

type Make = fn() -> Queue<usize>;

/// A getter that waits, and a putter.
fn two<T: 'static>(getter: Greenlet<T>, putter: Greenlet<()>) -> Duration {
    timed(|| {
        getter.join().unwrap();
        putter.join().unwrap();
    })
}

pub(crate) fn figures() {
    let free = figure("Queue: put + get without waiting", 1_000_000, |n| {
        let queue = Queue::unbounded();
        timed(|| {
            for i in 0..n {
                queue.put(i).unwrap();
                black_box(queue.get().unwrap());
            }
        })
    });
    let limited = figure("Queue: put + get_timeout without waiting", 1_000_000, |n| {
        let queue = Queue::unbounded();
        timed(|| {
            for i in 0..n {
                queue.put(i).unwrap();
                black_box(queue.get_timeout(black_box(HOUR)).unwrap());
            }
        })
    });
    if let (Some(free), Some(limited), false) = (free, limited, options().list) {
        say("  get_timeout that is ready, beyond get", limited - free);
    }
    figure("channel: put + get without waiting", 1_000_000, |n| {
        let (sender, receiver) = Queue::unbounded().channel();
        timed(|| {
            for i in 0..n {
                sender.put(i).unwrap();
                black_box(receiver.get().unwrap());
            }
        })
    });
    figure("Queue: reserve + put + get", 1_000_000, |n| {
        let queue = Queue::bounded(1);
        timed(|| {
            for i in 0..n {
                queue.reserve().unwrap().put(i);
                black_box(queue.get().unwrap());
            }
        })
    });
    figure(
        "Queue: put_many + get_many of 100, each item",
        1_000_000,
        |n| {
            let queue = Queue::unbounded();
            timed(|| {
                for i in 0..n / 100 {
                    queue.put_many(i..i + 100).unwrap();
                    black_box(queue.get_many(100).unwrap());
                }
            })
        },
    );
    let batches = "Queue: handed over in batches of 100, bounded(128)";
    figure(batches, 200_000, |n| {
        let queue = Rc::new(Queue::bounded(128));
        let getter = spawn({
            let queue = queue.clone();
            move || {
                let mut sum = 0;
                while let Ok(batch) = queue.get_many(100) {
                    sum += batch.into_iter().sum::<usize>();
                }
                sum
            }
        });
        let putter = spawn(move || {
            (0..n / 100).for_each(|i| queue.put_many(i..i + 100).unwrap());
            queue.shutdown();
        });
        two(getter, putter)
    });
    let kinds: [(&str, Make); 4] = [
        ("unbounded", Queue::unbounded),
        ("bounded(128)", || Queue::bounded(128)),
        ("bounded(1)", || Queue::bounded(1)),
        ("rendezvous", Queue::rendezvous),
    ];
    for (kind, queue) in kinds {
        figure(&format!("Queue: 1 to 1, {kind}"), 200_000, |n| {
            handed::<0>(queue(), 1, n)
        });
    }
    for (pairs, name) in [(1, "1 to 1"), (4, "4 to 4")] {
        figure(
            &format!("Queue: {name}, unbounded, bursts of 128"),
            512_000,
            |n| handed::<128>(Queue::unbounded(), pairs, n),
        );
    }
    figure("Queue: 4 to 4, bounded(128)", 200_000, |n| {
        handed::<0>(Queue::bounded(128), 4, n)
    });
    figure("Queue: strict alternation", 200_000, |n| {
        alternate(n, |queue| queue.get().unwrap())
    });
    figure("Queue: strict alternation, get_timeout", 200_000, |n| {
        alternate(n, |queue| queue.get_timeout(HOUR).unwrap())
    });
    figure(
        "Queue: strict alternation, get in a timeout scope",
        200_000,
        |n| alternate(n, |queue| timeout(HOUR, || queue.get().unwrap()).unwrap()),
    );
    figure("Queue: put, then yield to the getter", 200_000, |n| {
        let queue = Rc::new(Queue::unbounded());
        let getter = spawn({
            let queue = queue.clone();
            move || (0..n).map(|_| queue.get().unwrap()).sum::<usize>()
        });
        yield_now();
        let putter = spawn(move || {
            for i in 0..n {
                queue.put(i).unwrap();
                yield_now();
            }
        });
        two(getter, putter)
    });
    selects();
}

fn selects() {
    // The items are there already; of four queues one has them. Fair: it begins with another
    // one each time.
    figure("select: get alone, for comparison", 1_000_000, |n| {
        let queue = Queue::unbounded();
        (0..n).for_each(|i| queue.put_nowait(i).unwrap());
        timed(|| {
            for _ in 0..n {
                black_box::<usize>(queue.get().unwrap());
            }
        })
    });
    figure("select: over 4 queues, one of them ready", 1_000_000, |n| {
        let [a, b, c, d] = [0; 4].map(|_| Queue::unbounded());
        (0..n).for_each(|i| d.put_nowait(i).unwrap());
        timed(|| {
            for _ in 0..n {
                let got: usize = select! {
                    get(a) -> got => got.unwrap(),
                    get(b) -> got => got.unwrap(),
                    get(c) -> got => got.unwrap(),
                    get(d) -> got => got.unwrap(),
                };
                black_box(got);
            }
        })
    });
    figure("select: handed over by one of 4 queues", 200_000, |n| {
        let queues = Rc::new([0; 4].map(|_| Queue::unbounded()));
        let getter = spawn({
            let queues = queues.clone();
            move || {
                let [a, b, c, d] = &*queues;
                (0..n).fold(0usize, |sum, _| {
                    sum + select! {
                        get(a) -> got => got.unwrap(),
                        get(b) -> got => got.unwrap(),
                        get(c) -> got => got.unwrap(),
                        get(d) -> got => got.unwrap(),
                    }
                })
            }
        });
        yield_now();
        let putter = spawn(move || {
            for i in 0..n {
                queues[i % 4].put_nowait(i).unwrap();
                yield_now();
            }
        });
        two(getter, putter)
    });
}

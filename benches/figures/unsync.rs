//! The primitives for one thread: the figures of those for all that matter most, once more.

use crate::harness::figure;
use crate::measure::timed;
use crate::{all, waiting};
use greenlet::unsync::{AsyncResult, Event, Queue, Semaphore};
use greenlet::{join_all, spawn, yield_now};
use std::cell::Cell;
use std::hint::black_box;
use std::rc::Rc;
use std::time::Duration;

type Make = fn() -> Queue<usize>;

/// `n` items through the queue in all, by so many putters and as many getters. A putter
/// yields after each burst, if there are any.
fn handed<const BURST: usize>(queue: Queue<usize>, pairs: usize, n: usize) -> Duration {
    let queue = Rc::new(queue);
    let each = n / pairs;
    let getters = all(pairs, |_| {
        let queue = queue.clone();
        spawn(move || (0..each).map(|_| queue.get().unwrap()).sum::<usize>())
    });
    let putters = all(pairs, |_| {
        let queue = queue.clone();
        spawn(move || {
            for i in 0..each {
                queue.put(i).unwrap();
                if BURST > 0 && i % BURST == BURST - 1 {
                    yield_now();
                }
            }
        })
    });
    timed(|| {
        let got: usize = join_all(getters).into_iter().map(Result::unwrap).sum();
        assert_eq!(got, pairs * each * (each - 1) / 2);
        drop(join_all(putters));
    })
}

/// Two greenlets that send each other one item in turn, `n` in all.
fn alternate(n: usize) -> Duration {
    let queues = Rc::new([Queue::unbounded(), Queue::unbounded()]);
    let players = all(2, |player| {
        let queues = queues.clone();
        spawn(move || {
            let (mine, other) = (&queues[player], &queues[1 - player]);
            for i in 0..n / 2 {
                assert_eq!(mine.get(), Ok(i));
                other.put(i + player).unwrap();
            }
        })
    });
    queues[0].put(0).unwrap();
    timed(|| drop(join_all(players)))
}

/// `n` wakes of so many waiters in all, each with its next wait.
fn fan_out(waiters: usize, n: usize) -> Duration {
    let rounds = n / waiters;
    let (event, woken) = (Rc::new(Event::new()), Rc::new(Cell::new(0)));
    let waiters = waiting(waiters, |_| {
        let (event, woken) = (event.clone(), woken.clone());
        spawn(move || {
            for _ in 0..rounds {
                event.wait();
                woken.set(woken.get() + 1);
            }
        })
    });
    timed(|| {
        for round in 1..=rounds {
            event.set();
            event.clear();
            while woken.get() < round * waiters.len() {
                yield_now();
            }
        }
        drop(join_all(waiters));
    })
}

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
    let crowd = "unsync::Semaphore: 1,000 greenlets on 2 permits with a yield";
    figure(crowd, 200_000, |n| {
        let semaphore = Rc::new(Semaphore::new(2));
        let workers = all(1000, |_| {
            let semaphore = semaphore.clone();
            spawn(move || {
                for _ in 0..n / 1000 {
                    let _permit = semaphore.acquire();
                    yield_now();
                }
            })
        });
        timed(|| drop(join_all(workers)))
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
    figure("unsync::Queue: strict alternation", 200_000, alternate);
}

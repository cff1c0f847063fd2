//! Beginnings and ends: spawn, join, kill, trees and rings of greenlets; locals.

use crate::harness::{figure, large};
use crate::measure::timed;
use crate::{all, waiting};
use greenlet::sync::{Event, Queue};
use greenlet::{Greenlet, Local, join_all, spawn};
use std::hint::black_box;
use std::rc::Rc;

/// Ten children for each node down to the leaves, each of which is its number; the sum of all.
fn skynet(first: usize, leaves: usize) -> usize {
    if leaves == 1 {
        return first;
    }
    let part = leaves / 10;
    let children: [Greenlet<usize>; 10] = std::array::from_fn(|i| {
        let first = first + i * part;
        spawn(move || skynet(first, part))
    });
    children.map(|child| child.join().unwrap()).iter().sum()
}

pub(crate) fn figures() {
    figure("spawn + join, one by one", 100_000, |n| {
        timed(|| {
            for i in 0..n {
                black_box(spawn(move || i).join().unwrap());
            }
        })
    });
    figure("spawn + join, one by one, in a greenlet", 100_000, |n| {
        let spawner = spawn(move || {
            for i in 0..n {
                black_box(spawn(move || i).join().unwrap());
            }
        });
        timed(|| spawner.join().unwrap())
    });
    figure("spawn + join, batches of 10,000", 100_000, |n| {
        timed(|| {
            for _ in 0..n / 10_000 {
                drop(join_all(all(10_000, |i| spawn(move || i))));
            }
        })
    });
    for (leaves, name, n) in [
        (10_000, "10,000", 100_000),
        (1_000_000, "1,000,000", 1_000_000),
    ] {
        let round = |n: usize| {
            timed(|| {
                for _ in 0..n / leaves {
                    assert_eq!(skynet(0, leaves), leaves * (leaves - 1) / 2);
                }
            })
        };
        let name = format!("skynet, {name} leaves, a leaf");
        if leaves == 10_000 {
            figure(&name, n, round);
        } else {
            large(&name, n, round);
        }
    }
    figure("ring of 503, a hop", 503_000, |n| {
        const MEMBERS: usize = 503;
        let queues: Rc<[Queue<usize>; MEMBERS]> =
            Rc::new([(); MEMBERS].map(|()| Queue::unbounded()));
        let members = waiting(MEMBERS, |i| {
            let queues = queues.clone();
            spawn(move || {
                let (mine, next) = (&queues[i], &queues[(i + 1) % MEMBERS]);
                // The token counts the hops left; at none the queues close one by one.
                while let Ok(hops) = mine.get() {
                    if hops == 0 {
                        break;
                    }
                    next.put(hops - 1).unwrap();
                }
                next.shutdown();
            })
        });
        timed(|| {
            queues[0].put(n).unwrap();
            drop(join_all(members));
        })
    });
    // Where a mapping is spent on each guard page, 100,000 stacks are too many; see `rt::stack`.
    for (waiters, name) in [(1_000, "1,000"), (100_000, "100,000")] {
        let round = |n: usize| {
            let event = Rc::new(Event::new());
            let mut greenlets = waiting(waiters, |_| {
                let event = event.clone();
                spawn(move || event.wait())
            });
            // From the middle outwards, so that neither end of the list is special.
            greenlets.rotate_left(waiters / 2);
            timed(|| {
                for greenlet in &greenlets[..n] {
                    greenlet.kill();
                    greenlet.wait();
                }
            })
        };
        let name = format!("kill of a waiter among {name}, to its end");
        if waiters == 1_000 {
            figure(&name, 1_000, round);
        } else {
            large(&name, 20_000, round);
        }
    }
    static LOCAL: Local<u64> = Local::new();
    figure("Local: get", 1_000_000, |n| {
        let getter = spawn(move || {
            LOCAL.set(1);
            black_box((0..n).map(|_| LOCAL.get().unwrap()).sum::<u64>());
        });
        timed(|| getter.join().unwrap())
    });
    figure("Local: get, add 1, set", 1_000_000, |n| {
        let counter = spawn(move || {
            LOCAL.set(0);
            for _ in 0..n {
                LOCAL.set(LOCAL.get().unwrap() + 1);
            }
            assert_eq!(LOCAL.get(), Some(n as u64));
        });
        timed(|| counter.join().unwrap())
    });
}

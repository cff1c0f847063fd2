//! Queues, on greenlets.

use super::{LIMIT, all, inside, join};
use crate::spent::{BURST, Spent, spent, sum};
use greenlet::sync::Queue;
use greenlet::{spawn, yield_now};
use std::rc::Rc;

pub(crate) fn queue_free(n: usize) -> Spent {
    inside(move || {
        let queue = Queue::unbounded();
        spent(n, || {
            for i in 0..n {
                queue.put(i).unwrap();
                assert_eq!(queue.get().unwrap(), i);
            }
        })
    })
}

/// A putter yields after each burst, if there are any.
fn handed<const BURST: usize>(queue: Queue<usize>, pairs: usize, n: usize) -> Spent {
    let each = n / pairs;
    inside(move || {
        let queue = Rc::new(queue);
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
        spent(n, || {
            assert_eq!(join(getters).iter().sum::<usize>(), pairs * sum(each));
            drop(join(putters));
        })
    })
}

pub(crate) fn queue(n: usize) -> Spent {
    handed::<BURST>(Queue::unbounded(), 1, n)
}

pub(crate) fn queue_4_to_4(n: usize) -> Spent {
    handed::<BURST>(Queue::unbounded(), 4, n)
}

pub(crate) fn bounded<const CAPACITY: usize>(n: usize) -> Spent {
    let queue = match CAPACITY {
        0 => Queue::rendezvous(),
        n => Queue::bounded(n),
    };
    handed::<0>(queue, 1, n)
}

fn two(n: usize, get: impl Fn(&Queue<usize>) -> usize + Copy + 'static) -> Spent {
    inside(move || {
        let queues = Rc::new([Queue::unbounded(), Queue::unbounded()]);
        let players = all(2, |player| {
            let queues = queues.clone();
            spawn(move || {
                let (mine, other) = (&queues[player], &queues[1 - player]);
                for i in 0..n / 2 {
                    assert_eq!(get(mine), i);
                    other.put(i + player).unwrap();
                }
            })
        });
        yield_now();
        spent(n, || {
            queues[0].put(0).unwrap();
            drop(join(players));
        })
    })
}

pub(crate) fn alternate(n: usize) -> Spent {
    two(n, |queue| queue.get().unwrap())
}

pub(crate) fn limit_wait(n: usize) -> Spent {
    two(n, |queue| queue.get_timeout(LIMIT).unwrap())
}

pub(crate) fn limit_ready(n: usize) -> Spent {
    inside(move || {
        let queue = Queue::unbounded();
        spent(n, || {
            for i in 0..n {
                queue.put(i).unwrap();
                assert_eq!(queue.get_timeout(LIMIT).unwrap(), i);
            }
        })
    })
}

//! What is measured of the primitives for all and of those for one thread: compiled for each, with
//! the types of the module that it stands in.

use super::{Event, Queue};
use crate::measure::timed;
use crate::{all, waiting};
use greenlet::{join_all, spawn, yield_now};
use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

/// `n` items through the queue in all, by so many putters and as many getters. A putter
/// yields after each burst, if there are any.
pub(crate) fn handed<const BURST: usize>(queue: Queue<usize>, pairs: usize, n: usize) -> Duration {
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
pub(crate) fn alternate(
    n: usize,
    get: impl Fn(&Queue<usize>) -> usize + Copy + 'static,
) -> Duration {
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
    queues[0].put(0).unwrap();
    timed(|| join_all(players).into_iter().for_each(Result::unwrap))
}

/// `n` wakes of so many waiters in all, each with its next wait.
pub(crate) fn fan_out(waiters: usize, n: usize) -> Duration {
    let rounds = n / waiters;
    let event = Rc::new(Event::new());
    let woken = Rc::new(Cell::new(0));
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

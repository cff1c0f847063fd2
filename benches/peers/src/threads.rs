//! Threads of std, with channels of crossbeam, which spin before they park. They have all
//! processors, and the figures count the time of all of them.

use crate::spent::{Spent, latency, spent, stay_on_one_processor, sum};
use crossbeam_channel::{Receiver, Sender, bounded as channel_of, unbounded};
use std::cell::Cell;
use std::hint::black_box;
use std::sync::{Arc, Condvar, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_secs(10);

fn all<T>(n: usize, f: impl FnMut(usize) -> JoinHandle<T>) -> Vec<JoinHandle<T>> {
    (0..n).map(f).collect()
}

fn join<T>(threads: Vec<JoinHandle<T>>) -> Vec<T> {
    threads.into_iter().map(|t| t.join().unwrap()).collect()
}

/// On one processor, or there were nothing to switch.
pub(crate) fn yields<const G: usize>(n: usize) -> Spent {
    stay_on_one_processor();
    spent(n, || {
        let yields = |_| thread::spawn(move || (0..n / G).for_each(|_| thread::yield_now()));
        drop(join(all(G, yields)));
    })
}

pub(crate) fn spawns(n: usize) -> Spent {
    spent(n, || {
        (0..n).for_each(|i| assert_eq!(thread::spawn(move || i).join().unwrap(), i))
    })
}

pub(crate) fn ring(n: usize) -> Spent {
    const MEMBERS: usize = 503;
    let (senders, receivers): (Vec<_>, Vec<_>) = (0..MEMBERS).map(|_| unbounded::<usize>()).unzip();
    let members = all(MEMBERS, |i| {
        let (mine, next) = (receivers[i].clone(), senders[(i + 1) % MEMBERS].clone());
        thread::spawn(move || {
            while let Ok(hops) = mine.recv() {
                if hops == 0 {
                    break;
                }
                next.send(hops - 1).unwrap();
            }
        })
    });
    let first = senders[0].clone();
    // So that each one's end is the next one's. Receivers stay: the last sends have a place to go.
    drop(senders);
    spent(n, || {
        first.send(n).unwrap();
        drop(first);
        drop(join(members));
    })
}

/// A condition variable for the waiters, and one for who wakes them.
pub(crate) fn fan_out<const WAITERS: usize>(n: usize) -> Spent {
    #[derive(Default)]
    struct Event {
        /// The round, and how many have seen it.
        state: Mutex<(usize, usize)>,
        set: Condvar,
        seen: Condvar,
    }
    let rounds = n / WAITERS;
    let event = Arc::new(Event::default());
    let waiters = all(WAITERS, |_| {
        let event = event.clone();
        thread::spawn(move || {
            for round in 1..=rounds {
                let state = event.state.lock().unwrap();
                let mut state = event
                    .set
                    .wait_while(state, |state| state.0 < round)
                    .unwrap();
                state.1 += 1;
                if state.1 == WAITERS {
                    event.seen.notify_one();
                }
            }
        })
    });
    spent(rounds * WAITERS, || {
        for round in 1..=rounds {
            let mut state = event.state.lock().unwrap();
            *state = (round, 0);
            event.set.notify_all();
            drop(
                event
                    .seen
                    .wait_while(state, |state| state.1 < WAITERS)
                    .unwrap(),
            );
        }
        drop(join(waiters));
    })
}

pub(crate) fn result(n: usize) -> Spent {
    spent(n, || {
        for i in 0..n {
            let (setter, result) = channel_of(1);
            drop(thread::spawn(move || setter.send(i).unwrap()));
            assert_eq!(result.recv().unwrap(), i);
        }
    })
}

pub(crate) fn queue_free(n: usize) -> Spent {
    let (sender, receiver) = unbounded();
    spent(n, || {
        for i in 0..n {
            sender.send(i).unwrap();
            assert_eq!(receiver.recv().unwrap(), i);
        }
    })
}

fn handed((sender, receiver): (Sender<usize>, Receiver<usize>), pairs: usize, n: usize) -> Spent {
    let each = n / pairs;
    spent(n, || {
        let getters = all(pairs, |_| {
            let receiver = receiver.clone();
            thread::spawn(move || (0..each).map(|_| receiver.recv().unwrap()).sum::<usize>())
        });
        let putters = all(pairs, |_| {
            let sender = sender.clone();
            thread::spawn(move || (0..each).for_each(|i| sender.send(i).unwrap()))
        });
        assert_eq!(join(getters).iter().sum::<usize>(), pairs * sum(each));
        drop(join(putters));
    })
}

pub(crate) fn queue(n: usize) -> Spent {
    handed(unbounded(), 1, n)
}

pub(crate) fn one_way(n: usize) -> Spent {
    handed(unbounded(), 1, n)
}

pub(crate) fn queue_4_to_4(n: usize) -> Spent {
    handed(unbounded(), 4, n)
}

pub(crate) fn two_to_two(n: usize) -> Spent {
    handed(channel_of(128), 2, n)
}

pub(crate) fn bounded<const CAPACITY: usize>(n: usize) -> Spent {
    handed(channel_of(CAPACITY), 1, n)
}

/// Two threads that send each other one item in turn, `n` in all.
fn two(n: usize, get: fn(&Receiver<usize>) -> usize) -> Spent {
    let (to_a, a) = unbounded();
    let (to_b, b) = unbounded();
    spent(n, || {
        let there = thread::spawn(move || (0..n / 2).for_each(|_| to_a.send(get(&b)).unwrap()));
        for i in 0..n / 2 {
            to_b.send(i).unwrap();
            assert_eq!(get(&a), i);
        }
        there.join().unwrap();
    })
}

pub(crate) fn alternate(n: usize) -> Spent {
    two(n, |receiver| receiver.recv().unwrap())
}

pub(crate) fn ping_pong(n: usize) -> Spent {
    let Spent {
        processor, wall, ..
    } = alternate(2 * n);
    Spent { n, processor, wall }
}

pub(crate) fn limit_wait(n: usize) -> Spent {
    two(n, |receiver| receiver.recv_timeout(LIMIT).unwrap())
}

pub(crate) fn limit_ready(n: usize) -> Spent {
    let (sender, receiver) = unbounded();
    spent(n, || {
        for i in 0..n {
            sender.send(i).unwrap();
            assert_eq!(receiver.recv_timeout(LIMIT), Ok(i));
        }
    })
}

/// There is no semaphore: a mutex and a condition variable.
pub(crate) fn semaphore_free(n: usize) -> Spent {
    let (permits, freed) = (Mutex::new(1), Condvar::new());
    spent(n, || {
        for _ in 0..n {
            *freed
                .wait_while(permits.lock().unwrap(), |permits| *permits == 0)
                .unwrap() -= 1;
            *black_box(&permits).lock().unwrap() += 1;
            freed.notify_one();
        }
    })
}

pub(crate) fn local(n: usize) -> Spent {
    thread_local!(static LOCAL: Cell<usize> = const { Cell::new(1) });
    spent(n, || {
        assert_eq!((0..n).map(|_| black_box(&LOCAL).get()).sum::<usize>(), n)
    })
}

pub(crate) fn wake(n: usize) -> Spent {
    let begin = Instant::now();
    let (event, waited) = unbounded::<()>();
    let (answer, answers) = unbounded();
    thread::spawn(move || {
        while waited.recv().is_ok() {
            answer.send(begin.elapsed()).unwrap();
        }
    });
    let mut total = Duration::ZERO;
    for _ in 0..n {
        thread::sleep(Duration::from_micros(500));
        let set = begin.elapsed();
        event.send(()).unwrap();
        total += answers.recv().unwrap() - set;
    }
    latency(n, total)
}

//! may with one worker, and two where two threads are meant. Its pool keeps 12,000 stacks
//! instead of 1,000, or the batches would map new ones each time.
//!
//! `go!` goes through a queue that the worker looks at only when it has nothing else to do, so
//! coroutines that yield in a loop keep new ones out: all wait at a gate first.

mod queues;

pub(crate) use queues::*;

use crate::chains::{Call, Deep3};
use crate::spent::{Clock, Spent, chance, latency, spent, sum};
use may::coroutine::{JoinHandle, sleep, yield_now};
use may::go;
use may::sync::{Semphore, SyncFlag, mpmc, spsc};
use std::cell::Cell;
use std::hint::black_box;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_secs(10);

/// Runs `f` in a coroutine.
fn inside<R: Send + 'static>(f: impl FnOnce() -> R + Send + 'static) -> R {
    on(1, f)
}

fn on<R: Send + 'static>(workers: usize, f: impl FnOnce() -> R + Send + 'static) -> R {
    may::config().set_workers(workers).set_pool_capacity(12_000);
    go!(f).join().unwrap()
}

fn all<T>(n: usize, f: impl FnMut(usize) -> JoinHandle<T>) -> Vec<JoinHandle<T>> {
    (0..n).map(f).collect()
}

fn join<T>(coroutines: Vec<JoinHandle<T>>) -> Vec<T> {
    coroutines.into_iter().map(|c| c.join().unwrap()).collect()
}

/// Where coroutines gather before they begin.
#[derive(Clone)]
struct Gate(Arc<(Semphore, SyncFlag)>);

impl Gate {
    fn new() -> Self {
        Self(Arc::new((Semphore::new(0), SyncFlag::new())))
    }

    /// They all have come to a wait.
    fn gathered(&self, n: usize) {
        (0..n).for_each(|_| self.0.0.wait());
    }

    fn open(&self) {
        self.0.1.fire();
    }

    fn enter(&self) {
        self.0.0.post();
        self.0.1.wait();
    }

    /// Is there, and waits elsewhere.
    fn here(&self) {
        self.0.0.post();
    }
}

pub(crate) fn yields<const G: usize>(n: usize) -> Spent {
    turns(&[|n| (0..n).for_each(|_| yield_now())], G, n)
}

struct Yield;

impl Call for Yield {
    #[inline(always)]
    fn call() {
        yield_now();
    }

    async fn call_async() {}
}

pub(crate) fn deep(n: usize) -> Spent {
    fn calls<const ID: usize>(n: usize) {
        (0..n).for_each(|_| Deep3::<ID, Yield>::call());
    }
    turns(&[calls::<0>, calls::<1>, calls::<2>, calls::<3>], 1_000, n)
}

fn turns(chains: &[fn(usize)], coroutines: usize, n: usize) -> Spent {
    let each = n / coroutines;
    let chains: Vec<_> = chains.to_vec();
    inside(move || {
        let gate = Gate::new();
        let coroutines = all(coroutines, |i| {
            let chain = chains[i % chains.len()];
            let gate = gate.clone();
            go!(move || {
                gate.enter();
                chain(each);
            })
        });
        gate.gathered(coroutines.len());
        spent(each * coroutines.len(), || {
            gate.open();
            drop(join(coroutines));
        })
    })
}

pub(crate) fn spawns(n: usize) -> Spent {
    inside(move || {
        spent(n, || {
            (0..n).for_each(|i| assert_eq!(go!(move || i).join().unwrap(), i))
        })
    })
}

pub(crate) fn batches(n: usize) -> Spent {
    inside(move || {
        spent(n, || {
            for _ in 0..n / 10_000 {
                let got = all(10_000, |i| go!(move || i))
                    .into_iter()
                    .map(|g| g.join().unwrap());
                assert_eq!(got.sum::<usize>(), sum(10_000));
            }
        })
    })
}

fn tree(first: usize, leaves: usize) -> usize {
    if leaves == 1 {
        return first;
    }
    let part = leaves / 10;
    let children: [_; 10] = std::array::from_fn(|i| {
        let first = first + i * part;
        go!(move || tree(first, part))
    });
    children.map(|child| child.join().unwrap()).iter().sum()
}

pub(crate) fn skynet<const LEAVES: usize>(n: usize) -> Spent {
    inside(move || {
        spent(n, || {
            for _ in 0..n / LEAVES {
                assert_eq!(tree(0, LEAVES), sum(LEAVES));
            }
        })
    })
}

pub(crate) fn ring(n: usize) -> Spent {
    const MEMBERS: usize = 503;
    inside(move || {
        let gate = Gate::new();
        // One sends to one, but for the first token.
        let (mut senders, receivers): (Vec<_>, Vec<_>) =
            (0..MEMBERS).map(|_| spsc::channel::<usize>()).unzip();
        senders.rotate_left(1);
        let members = senders
            .into_iter()
            .zip(receivers)
            .enumerate()
            .map(|(i, (next, mine))| {
                let gate = gate.clone();
                go!(move || {
                    match i {
                        0 => {
                            gate.enter();
                            next.send(n - 1).unwrap();
                        }
                        _ => gate.here(),
                    }
                    while let Ok(hops) = mine.recv() {
                        if hops == 0 {
                            break;
                        }
                        let _ = next.send(hops - 1);
                    }
                })
            });
        let members: Vec<_> = members.collect();
        gate.gathered(MEMBERS);
        spent(n, || {
            gate.open();
            drop(join(members));
        })
    })
}

/// There is no event that can be set again: a flag that is replaced when it fires.
struct Event(Mutex<Arc<SyncFlag>>);

impl Event {
    fn wait(&self) {
        let flag = self.0.lock().unwrap().clone();
        flag.wait();
    }

    fn pulse(&self) {
        let next = Arc::new(SyncFlag::new());
        let flag = std::mem::replace(&mut *self.0.lock().unwrap(), next);
        flag.fire();
    }
}

pub(crate) fn fan_out<const WAITERS: usize>(n: usize) -> Spent {
    let rounds = n / WAITERS;
    inside(move || {
        let gate = Gate::new();
        let event = Arc::new(Event(Mutex::new(Arc::new(SyncFlag::new()))));
        let woken = Arc::new(AtomicUsize::new(0));
        let waiters = all(WAITERS, |_| {
            let (gate, event, woken) = (gate.clone(), event.clone(), woken.clone());
            go!(move || {
                gate.here();
                for _ in 0..rounds {
                    event.wait();
                    woken.store(woken.load(Relaxed) + 1, Relaxed);
                }
            })
        });
        gate.gathered(WAITERS);
        spent(rounds * WAITERS, || {
            for round in 1..=rounds {
                event.pulse();
                while woken.load(Relaxed) < round * WAITERS {
                    yield_now();
                }
            }
            drop(join(waiters));
        })
    })
}

/// There is no one-shot: a flag and a cell.
pub(crate) fn result(n: usize) -> Spent {
    inside(move || {
        spent(n, || {
            for i in 0..n {
                let result = Arc::new((SyncFlag::new(), AtomicUsize::new(0)));
                let setter = result.clone();
                drop(go!(move || {
                    setter.1.store(i, Relaxed);
                    setter.0.fire();
                }));
                result.0.wait();
                assert_eq!(result.1.load(Relaxed), i);
            }
        })
    })
}

pub(crate) fn semaphore_free(n: usize) -> Spent {
    inside(move || {
        let semaphore = Semphore::new(1);
        spent(n, || {
            for _ in 0..n {
                black_box(&semaphore).wait();
                semaphore.post();
            }
        })
    })
}

pub(crate) fn semaphore(n: usize) -> Spent {
    inside(move || {
        let gate = Gate::new();
        let semaphore = Arc::new(Semphore::new(2));
        let workers = all(1_000, |_| {
            let (gate, semaphore) = (gate.clone(), semaphore.clone());
            go!(move || {
                gate.enter();
                for _ in 0..n / 1_000 {
                    semaphore.wait();
                    yield_now();
                    semaphore.post();
                }
            })
        });
        gate.gathered(1_000);
        spent(n, || {
            gate.open();
            drop(join(workers));
        })
    })
}

pub(crate) fn sleeps(n: usize) -> Spent {
    const SLEEPERS: usize = 10_000;
    inside(move || {
        spent(n, || {
            let sleepers = all(SLEEPERS, |i| {
                let mut chance = chance(i);
                go!(move || {
                    for _ in 0..n / SLEEPERS {
                        sleep(Duration::from_nanos(chance(10_000_000)));
                    }
                })
            });
            drop(join(sleepers));
        })
    })
}

pub(crate) fn local(n: usize) -> Spent {
    may::coroutine_local!(static LOCAL: Cell<usize> = Cell::new(1));
    inside(move || {
        spent(n, || {
            assert_eq!(
                (0..n)
                    .map(|_| black_box(&LOCAL).with(Cell::get))
                    .sum::<usize>(),
                n
            )
        })
    })
}

pub(crate) fn kill<const WAITERS: usize>(n: usize) -> Spent {
    inside(move || {
        let mut total = latency(0, Duration::ZERO);
        for _ in 0..(n / WAITERS).max(1) {
            let gate = Gate::new();
            let mut waiters = all(WAITERS, |_| {
                let gate = gate.clone();
                go!(move || gate.enter())
            });
            gate.gathered(WAITERS);
            waiters.rotate_left(WAITERS / 2);
            let clock = Clock::start();
            for waiter in waiters {
                // SAFETY: what it holds is dropped by its unwind.
                unsafe { waiter.coroutine().cancel() };
                assert!(waiter.join().is_err());
            }
            total += clock.stop(WAITERS);
        }
        total
    })
}

pub(crate) fn ping_pong(n: usize) -> Spent {
    on(2, move || {
        let (to, there) = spsc::channel();
        let (back, here) = spsc::channel();
        spent(n, || {
            let there = go!(move || (0..n).for_each(|_| back.send(there.recv().unwrap()).unwrap()));
            for i in 0..n {
                to.send(i).unwrap();
                assert_eq!(here.recv().unwrap(), i);
            }
            there.join().unwrap();
        })
    })
}

pub(crate) fn one_way(n: usize) -> Spent {
    on(2, move || {
        let (sender, receiver) = spsc::channel();
        spent(n, || {
            let getter = go!(move || (0..n).map(|_| receiver.recv().unwrap()).sum::<usize>());
            (0..n).for_each(|i| sender.send(i).unwrap());
            assert_eq!(getter.join().unwrap(), sum(n));
        })
    })
}

pub(crate) fn two_to_two(n: usize) -> Spent {
    on(2, move || {
        let (sender, receiver) = mpmc::channel();
        let places = Arc::new(Semphore::new(128));
        spent(n, || {
            let getters = all(2, |_| {
                let (receiver, places) = (receiver.clone(), places.clone());
                go!(move || {
                    let got = (0..n / 2).map(|_| {
                        let item = receiver.recv().unwrap();
                        places.post();
                        item
                    });
                    got.sum::<usize>()
                })
            });
            let putters = all(2, |_| {
                let (sender, places) = (sender.clone(), places.clone());
                go!(move || {
                    for i in 0..n / 2 {
                        places.wait();
                        sender.send(i).unwrap();
                    }
                })
            });
            assert_eq!(join(getters).iter().sum::<usize>(), 2 * sum(n / 2));
            drop(join(putters));
        })
    })
}

pub(crate) fn wake(n: usize) -> Spent {
    may::config().set_workers(1);
    let begin = Instant::now();
    let mut total = Duration::ZERO;
    for _ in 0..n {
        let event = Arc::new(SyncFlag::new());
        let waited = event.clone();
        let waiter = go!(move || {
            waited.wait();
            begin.elapsed()
        });
        thread::sleep(Duration::from_micros(500));
        let set = begin.elapsed();
        event.fire();
        total += waiter.join().unwrap() - set;
    }
    latency(n, total)
}

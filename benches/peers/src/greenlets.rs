//! greenlet, with its defaults.

mod queues;

pub(crate) use queues::*;

use crate::chains::{Call, Deep3};
use crate::spent::{Clock, Spent, chance, latency, limits, spent, sum};
use greenlet::sync::{AsyncResult, Event, Queue, Semaphore};
use greenlet::{
    Greenlet, HubThread, Local, Timeout, join_all, run, sleep, spawn, spawn_later, timeout,
    yield_now,
};
use std::cell::Cell;
use std::hint::black_box;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_secs(10);

/// Runs `f` in a greenlet.
fn inside<R: 'static>(f: impl FnOnce() -> R + 'static) -> R {
    run(|| spawn(f).join().unwrap())
}

fn all<T: 'static>(n: usize, f: impl FnMut(usize) -> Greenlet<T>) -> Vec<Greenlet<T>> {
    (0..n).map(f).collect()
}

fn join<T: 'static>(greenlets: Vec<Greenlet<T>>) -> Vec<T> {
    join_all(greenlets)
        .into_iter()
        .map(Result::unwrap)
        .collect()
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

/// So many greenlets begin, then yield `n` times in all.
fn turns(chains: &[fn(usize)], greenlets: usize, n: usize) -> Spent {
    let each = n / greenlets;
    let chains: Vec<_> = chains.to_vec();
    inside(move || {
        let greenlets = all(greenlets, |i| {
            let chain = chains[i % chains.len()];
            spawn(move || {
                yield_now();
                chain(each);
            })
        });
        yield_now();
        spent(each * greenlets.len(), || drop(join(greenlets)))
    })
}

pub(crate) fn spawns(n: usize) -> Spent {
    inside(move || {
        spent(n, || {
            (0..n).for_each(|i| assert_eq!(spawn(move || i).join().unwrap(), i))
        })
    })
}

pub(crate) fn batches(n: usize) -> Spent {
    inside(move || {
        spent(n, || {
            for _ in 0..n / 10_000 {
                let got = all(10_000, |i| spawn(move || i))
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
        spawn(move || tree(first, part))
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
        let queues: Rc<[Queue<usize>; MEMBERS]> =
            Rc::new(std::array::from_fn(|_| Queue::unbounded()));
        let members = all(MEMBERS, |i| {
            let queues = queues.clone();
            spawn(move || {
                let (mine, next) = (&queues[i], &queues[(i + 1) % MEMBERS]);
                while let Ok(hops) = mine.get() {
                    if hops == 0 {
                        break;
                    }
                    next.put(hops - 1).unwrap();
                }
                next.shutdown(); // it ends, and so on round the ring
            })
        });
        yield_now();
        spent(n, || {
            queues[0].put(n).unwrap();
            drop(join(members));
        })
    })
}

pub(crate) fn fan_out<const WAITERS: usize>(n: usize) -> Spent {
    let rounds = n / WAITERS;
    inside(move || {
        let event = Rc::new(Event::new());
        let woken = Rc::new(Cell::new(0));
        let waiters = all(WAITERS, |_| {
            let (event, woken) = (event.clone(), woken.clone());
            spawn(move || {
                for _ in 0..rounds {
                    event.wait();
                    woken.set(woken.get() + 1);
                }
            })
        });
        yield_now();
        spent(rounds * WAITERS, || {
            for round in 1..=rounds {
                event.set();
                event.clear();
                while woken.get() < round * WAITERS {
                    yield_now();
                }
            }
            drop(join(waiters));
        })
    })
}

pub(crate) fn result(n: usize) -> Spent {
    inside(move || {
        spent(n, || {
            for i in 0..n {
                let result = Rc::new(AsyncResult::<usize>::new());
                let setter = result.clone();
                drop(spawn(move || setter.set(i).unwrap()));
                assert_eq!(result.wait().unwrap(), &i);
            }
        })
    })
}

pub(crate) fn semaphore_free(n: usize) -> Spent {
    inside(move || {
        let semaphore = Semaphore::new(1);
        spent(n, || {
            (0..n).for_each(|_| drop(black_box(&semaphore).acquire()))
        })
    })
}

pub(crate) fn semaphore(n: usize) -> Spent {
    inside(move || {
        let semaphore = Rc::new(Semaphore::new(2));
        spent(n, || {
            let workers = all(1_000, |_| {
                let semaphore = semaphore.clone();
                spawn(move || {
                    for _ in 0..n / 1_000 {
                        let _permit = semaphore.acquire();
                        yield_now();
                    }
                })
            });
            drop(join(workers));
        })
    })
}

pub(crate) fn limit(n: usize) -> Spent {
    inside(move || {
        spent(n, || {
            (0..n).for_each(|i| assert_eq!(timeout(LIMIT, || black_box(i)), Ok(i)))
        })
    })
}

/// The first wait in a scope arms its timer: a yield, to one who yields back. A limit at a point
/// in time goes into a bucket or the heap at once.
pub(crate) fn timer<const OTHERS: usize, const SECONDS: u64>(n: usize) -> Spent {
    inside(move || {
        let mut far = limits(SECONDS);
        // Timers without stacks.
        let _others = all(OTHERS, |_| spawn_later(far(), || ()));
        sleep(Duration::from_millis(1)); // the end of the turn arms them
        let now = Instant::now();
        spent(n, || {
            let back = spawn(move || (0..n).for_each(|_| yield_now()));
            for _ in 0..n {
                assert_eq!(Timeout::at(now + far()).run(|_| yield_now()), Ok(()));
            }
            back.join().unwrap();
        })
    })
}

fn sleeping(sleepers: usize, most: Duration, n: usize) -> Spent {
    inside(move || {
        spent(n, || {
            let sleepers = all(sleepers, |i| {
                let mut chance = chance(i);
                spawn(move || {
                    for _ in 0..n / sleepers {
                        sleep(Duration::from_nanos(chance(most.as_nanos() as u64)));
                    }
                })
            });
            drop(join(sleepers));
        })
    })
}

pub(crate) fn sleeps(n: usize) -> Spent {
    sleeping(10_000, Duration::from_millis(10), n)
}

pub(crate) fn sleep_once(n: usize) -> Spent {
    sleeping(n, Duration::from_secs(1), n)
}

pub(crate) fn local(n: usize) -> Spent {
    static LOCAL: Local<usize> = Local::new();
    inside(move || {
        LOCAL.set(1);
        spent(n, || {
            assert_eq!(
                (0..n)
                    .map(|_| black_box(&LOCAL).get().unwrap())
                    .sum::<usize>(),
                n
            )
        })
    })
}

/// Kills `n`, or as many as there are, from the middle on.
pub(crate) fn kill<const WAITERS: usize>(n: usize) -> Spent {
    let rounds = (n / WAITERS).max(1);
    inside(move || {
        let mut total = latency(0, Duration::ZERO);
        for _ in 0..rounds {
            let event = Rc::new(Event::new());
            let mut waiters = all(WAITERS, |_| {
                let event = event.clone();
                spawn(move || event.wait())
            });
            yield_now();
            waiters.rotate_left(WAITERS / 2);
            let clock = Clock::start();
            for waiter in waiters {
                waiter.kill();
                assert!(waiter.join().unwrap_err().is_killed());
            }
            total += clock.stop(WAITERS);
        }
        total
    })
}

/// A body in a greenlet of this thread, and one in a greenlet of another thread.
fn both(n: usize, here: impl FnOnce() + 'static, there: impl FnOnce() + Send + 'static) -> Spent {
    let other = HubThread::start("other").unwrap();
    inside(move || {
        spent(n, || {
            let there = other.handle().spawn(there);
            here();
            there.join().unwrap();
        })
    })
}

pub(crate) fn ping_pong(n: usize) -> Spent {
    let (here, there) = (Arc::new(Queue::unbounded()), Arc::new(Queue::unbounded()));
    let (to, from) = (there.clone(), here.clone());
    both(
        n,
        move || {
            for i in 0..n {
                to.put(i).unwrap();
                assert_eq!(from.get().unwrap(), i);
            }
        },
        move || (0..n).for_each(|_| here.put(there.get().unwrap()).unwrap()),
    )
}

pub(crate) fn one_way(n: usize) -> Spent {
    let queue = Arc::new(Queue::unbounded());
    let getter = queue.clone();
    both(
        n,
        move || (0..n).for_each(|i| queue.put(i).unwrap()),
        move || assert_eq!((0..n).map(|_| getter.get().unwrap()).sum::<usize>(), sum(n)),
    )
}

pub(crate) fn two_to_two(n: usize) -> Spent {
    let queue = Arc::new(Queue::bounded(128));
    let half = move |queue: Arc<Queue<usize>>| {
        let getter = queue.clone();
        let getter = spawn(move || (0..n / 2).map(|_| getter.get().unwrap()).sum::<usize>());
        let putter = spawn(move || (0..n / 2).for_each(|i| queue.put(i).unwrap()));
        putter.join().unwrap();
        getter.join().unwrap()
    };
    let there = queue.clone();
    let got = Arc::new(AtomicUsize::new(0));
    let (a, b) = (got.clone(), got.clone());
    let spent = both(
        n,
        move || _ = a.fetch_add(half(queue), Relaxed),
        move || _ = b.fetch_add(half(there), Relaxed),
    );
    assert_eq!(got.load(Relaxed), 2 * sum(n / 2));
    spent
}

pub(crate) fn wake(n: usize) -> Spent {
    let begin = Instant::now();
    let other = HubThread::start("sleeper").unwrap();
    let mut total = Duration::ZERO;
    for _ in 0..n {
        let event = Arc::new(Event::new());
        let waited = event.clone();
        let waiter = other.handle().spawn(move || {
            waited.wait();
            begin.elapsed()
        });
        thread::sleep(Duration::from_micros(500));
        let set = begin.elapsed();
        event.set();
        total += waiter.join().unwrap() - set;
    }
    latency(n, total)
}

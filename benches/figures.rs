//! What each operation costs: CPU time per operation, `cargo bench --bench figures`.
//!
//! Taken from the thread's time on a processor, so that other load on the machine counts
//! less than it would on the wall clock. Each figure is the minimum of several
//! rounds; only ratios within one run should be compared. An argument selects the
//! lines whose name contains it: `cargo bench --bench figures -- yield`.

mod measure;

use greenlet::sync::{AsyncResult, Event, Mutex, Queue, RwLock, Semaphore};
use greenlet::{Generator, Greenlet, Local, join_all, run, select, spawn, timeout, yield_now};
use measure::{is_asked_for, timed};
use std::hint::black_box;
use std::rc::Rc;
use std::time::Duration;

const ROUNDS: usize = 9;
const HOUR: Duration = Duration::from_secs(3600);

/// Prints the best of several rounds of `round`, which does `n` operations and
/// returns the time they took.
fn figure(name: &str, n: usize, mut round: impl FnMut() -> Duration) {
    if !is_asked_for(name) {
        return;
    }
    let best = (0..ROUNDS).map(|_| run(&mut round)).min().unwrap();
    println!("{name:<52} {:>10.1} ns", best.as_nanos() as f64 / n as f64);
}

fn all<T: 'static>(n: usize, f: impl FnMut(usize) -> Greenlet<T>) -> Vec<Greenlet<T>> {
    (0..n).map(f).collect()
}

/// Starts `n` waiters and lets each get to its wait.
fn waiting<T: 'static>(n: usize, f: impl FnMut(usize) -> Greenlet<T>) -> Vec<Greenlet<T>> {
    let greenlets = all(n, f);
    yield_now();
    greenlets
}

fn yields(greenlets: usize) -> Duration {
    let each = 400_000 / greenlets;
    let bodies = waiting(greenlets, |_| {
        spawn(move || {
            yield_now();
            for _ in 0..each {
                yield_now();
            }
        })
    });
    timed(|| drop(join_all(bodies)))
}

fn main() {
    for n in [2, 1000] {
        figure(&format!("yield, {n} greenlets"), 400_000, || yields(n));
    }
    figure("spawn + join, one by one", 100_000, || {
        timed(|| {
            for i in 0..100_000 {
                black_box(spawn(move || i).join().unwrap());
            }
        })
    });
    figure(
        "spawn + join, batches of 10,000 (first run on 10,000 stacks)",
        100_000,
        || {
            timed(|| {
                for _ in 0..10 {
                    drop(join_all(all(10_000, |i| spawn(move || i))));
                }
            })
        },
    );
    let counting = || {
        Generator::new(|y, ()| {
            for i in 0.. {
                y.yield_(i);
            }
        })
    };
    figure("Generator: resume, at the root", 1_000_000, || {
        let mut generator = counting();
        timed(|| (0..1_000_000).for_each(|_| _ = black_box(generator.next())))
    });
    figure("Generator: resume, in a greenlet", 1_000_000, || {
        let drive = move || {
            let mut generator = counting();
            timed(|| (0..1_000_000).for_each(|_| _ = black_box(generator.next())))
        };
        spawn(drive).join().unwrap()
    });
    figure(
        "Generator: new, one resume, drop with an unwind",
        100_000,
        || timed(|| (0..100_000).for_each(|_| _ = black_box(counting().next()))),
    );
    figure("Generator: new, two resumes to its end", 100_000, || {
        let once = || Generator::new(|y, ()| y.yield_(black_box(1)));
        timed(|| (0..100_000).for_each(|_| assert_eq!(once().count(), 1)))
    });
    figure("Event: wake of 1,000 waiters, each", 100_000, || {
        let event = Rc::new(Event::new());
        let waiters = waiting(1000, |_| {
            let event = event.clone();
            spawn(move || {
                for _ in 0..100 {
                    event.wait();
                }
            })
        });
        timed(|| {
            for _ in 0..100 {
                event.set();
                event.clear();
                yield_now();
            }
            drop(join_all(waiters));
        })
    });
    figure("Event: wait on a set one", 1_000_000, || {
        let event = Event::new();
        event.set();
        timed(|| (0..1_000_000).for_each(|_| black_box(&event).wait()))
    });
    figure("AsyncResult: new, wait in a greenlet, set", 100_000, || {
        timed(|| {
            for i in 0..100_000 {
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
    figure("Queue: put + get without waiting", 1_000_000, || {
        let queue = Queue::unbounded();
        timed(|| {
            for i in 0..1_000_000 {
                queue.put(i).unwrap();
                black_box(queue.get().unwrap());
            }
        })
    });
    figure("channel: put + get without waiting", 1_000_000, || {
        let (sender, receiver) = Queue::unbounded().channel();
        timed(|| {
            for i in 0..1_000_000 {
                sender.put(i).unwrap();
                black_box(receiver.get().unwrap());
            }
        })
    });
    figure("Queue: reserve + put + get", 1_000_000, || {
        let queue = Queue::bounded(1);
        timed(|| {
            for i in 0..1_000_000 {
                queue.reserve().unwrap().put(i);
                black_box(queue.get().unwrap());
            }
        })
    });
    figure(
        "Queue: put_many + get_many of 100, each item",
        1_000_000,
        || {
            let queue = Queue::unbounded();
            timed(|| {
                for i in 0..10_000 {
                    queue.put_many(i..i + 100).unwrap();
                    black_box(queue.get_many(100).unwrap());
                }
            })
        },
    );
    figure(
        "Queue: handed over in batches of 100, bounded(128)",
        200_000,
        || {
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
                (0..2_000).for_each(|i| queue.put_many(i..i + 100).unwrap());
                queue.shutdown();
            });
            timed(|| {
                getter.join().unwrap();
                putter.join().unwrap();
            })
        },
    );
    let handed = |queue: fn() -> Queue<usize>| {
        move || {
            let queue = Rc::new(queue());
            let getter = spawn({
                let queue = queue.clone();
                move || (0..200_000).map(|_| queue.get().unwrap()).sum::<usize>()
            });
            let putter = spawn(move || (0..200_000).for_each(|i| queue.put(i).unwrap()));
            timed(|| {
                getter.join().unwrap();
                putter.join().unwrap();
            })
        }
    };
    figure(
        "Queue: handed over, unbounded",
        200_000,
        handed(Queue::unbounded),
    );
    figure(
        "Queue: handed over, bounded(1)",
        200_000,
        handed(|| Queue::bounded(1)),
    );
    figure(
        "Queue: handed over, bounded(128)",
        200_000,
        handed(|| Queue::bounded(128)),
    );
    figure(
        "Queue: handed over, rendezvous",
        200_000,
        handed(Queue::rendezvous),
    );
    // Fair: it begins with another one each time.
    figure("select: put + select over 4 queues", 1_000_000, || {
        let [a, b, c, d] = [0; 4].map(|_| Queue::unbounded());
        timed(|| {
            for i in 0..1_000_000 {
                d.put_nowait(i).unwrap();
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
    figure("select: handed over by one of 4 queues", 200_000, || {
        let queues = Rc::new([0; 4].map(|_| Queue::unbounded()));
        let getter = spawn({
            let queues = queues.clone();
            move || {
                let [a, b, c, d] = &*queues;
                (0..200_000).fold(0usize, |sum, _| {
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
            for i in 0..200_000 {
                queues[i % 4].put_nowait(i).unwrap();
                yield_now();
            }
        });
        timed(|| {
            getter.join().unwrap();
            putter.join().unwrap();
        })
    });
    figure("Queue: put, then yield to the getter", 200_000, || {
        let queue = Rc::new(Queue::unbounded());
        let getter = spawn({
            let queue = queue.clone();
            move || (0..200_000).map(|_| queue.get().unwrap()).sum::<usize>()
        });
        yield_now();
        let putter = spawn(move || {
            for i in 0..200_000 {
                queue.put(i).unwrap();
                yield_now();
            }
        });
        timed(|| {
            getter.join().unwrap();
            putter.join().unwrap();
        })
    });
    figure("Semaphore: acquire + release, free", 1_000_000, || {
        let semaphore = Semaphore::new(1);
        timed(|| (0..1_000_000).for_each(|_| drop(black_box(&semaphore).acquire())))
    });
    figure(
        "Semaphore: 1,000 greenlets on 2 permits with a yield",
        200_000,
        || {
            let semaphore = Rc::new(Semaphore::new(2));
            let workers = all(1000, |_| {
                let semaphore = semaphore.clone();
                spawn(move || {
                    for _ in 0..200 {
                        let _permit = semaphore.acquire();
                        yield_now();
                    }
                })
            });
            timed(|| drop(join_all(workers)))
        },
    );
    figure("Mutex: lock + unlock, free", 1_000_000, || {
        let mutex = Mutex::new(0);
        timed(|| (0..1_000_000).for_each(|_| *black_box(&mutex).lock() += 1))
    });
    figure(
        "Mutex: 1,000 greenlets on one lock with a yield",
        200_000,
        || {
            let mutex = Rc::new(Mutex::new(0));
            let workers = all(1000, |_| {
                let mutex = mutex.clone();
                spawn(move || {
                    for _ in 0..200 {
                        let mut count = mutex.lock();
                        yield_now();
                        *count += 1;
                    }
                })
            });
            timed(|| drop(join_all(workers)))
        },
    );
    figure("RwLock: read + unlock, free", 1_000_000, || {
        let lock = RwLock::new(1);
        timed(|| (0..1_000_000).for_each(|_| drop(black_box(black_box(&lock).read()))))
    });
    figure("timeout scope, armed and cancelled", 1_000_000, || {
        timed(|| {
            for i in 0..1_000_000 {
                black_box(timeout(HOUR, || black_box(i)).unwrap());
            }
        })
    });
    figure("Event::wait_timeout ended by a wake", 200_000, || {
        let (ping, pong) = (Rc::new(Event::new()), Rc::new(Event::new()));
        let play = |mine: &Rc<Event>, other: &Rc<Event>| {
            let (mine, other) = (mine.clone(), other.clone());
            spawn(move || {
                for _ in 0..100_000 {
                    assert!(mine.wait_timeout(HOUR));
                    mine.clear();
                    other.set();
                }
            })
        };
        let players = [play(&ping, &pong), play(&pong, &ping)];
        ping.set();
        timed(|| drop(join_all(players)))
    });
    static LOCAL: Local<u64> = Local::new();
    figure("Local: get", 1_000_000, || {
        LOCAL.set(1);
        timed(|| {
            black_box((0..1_000_000).map(|_| LOCAL.get().unwrap()).sum::<u64>());
        })
    });
    // Where a mapping is spent on each guard page, 100,000 stacks are too many; see `rt::stack`.
    for waiters in [1_000, 100_000] {
        figure(
            &format!("kill of a waiter among {waiters}, to its end"),
            waiters,
            || {
                let event = Rc::new(Event::new());
                let mut greenlets = waiting(waiters, |_| {
                    let event = event.clone();
                    spawn(move || event.wait())
                });
                // From the middle outwards, so that neither end of the list is special.
                greenlets.rotate_left(waiters / 2);
                timed(|| {
                    for greenlet in greenlets {
                        greenlet.kill();
                        greenlet.wait();
                    }
                })
            },
        );
    }
}

//! What a wait costs in `async` code, beside tokio's own primitive for the same job. `cargo
//! bench --bench futures` prints nanoseconds.
//!
//! Tasks of tokio's current-thread scheduler, on one thread, with this crate's primitives and
//! with tokio's, in turn. Taken from the thread's time on a processor; each figure is the
//! median of several rounds; only ratios within one run should be compared. The target is 1.5
//! times tokio's figure at most.
//!
//! On a virtual machine with two Zen 4 cores and other work to do, tokio 1.54:
//!
//! | job | ns here | tokio's | ratio |
//! |---|--:|--:|--:|
//! | semaphore: free acquire and release | 26.2 | 21.8 | 1.20 |
//! | queue of 1: put and get that are ready | 40.3 | 36.6 | 1.10 |
//! | queue of 1: an item from task to task | 98.4 | 138.2 | 0.71 |
//! | queue of 128: an item from task to task | 41.8 | 45.8 | 0.91 |
//! | semaphore: 100 tasks on 2 permits, with a yield | 225.4 | 169.5 | 1.33 |
//! | event (tokio: `Notify`): spawn and wake of 1,000, each | 275.3 | 230.9 | 1.19 |

mod measure;

use measure::{is_asked_for, timed};
use std::cell::Cell;
use std::future::Future;
use std::hint::black_box;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tokio::task::{LocalSet, spawn_local, yield_now};

const ROUNDS: usize = 15;

/// Runs a future on tokio's scheduler, with the tasks that it spawns.
fn on_tokio(future: impl Future<Output = ()>) -> Duration {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    timed(|| LocalSet::new().block_on(&runtime, future))
}

/// Prints the medians of rounds of both, which do `n` operations each and take turns.
fn beside(
    name: &str,
    n: usize,
    mut ours: impl FnMut() -> Duration,
    mut theirs: impl FnMut() -> Duration,
) {
    if !is_asked_for(name) {
        return;
    }
    let mut rounds: Vec<_> = (0..ROUNDS).map(|_| (ours(), theirs())).collect();
    let mut median = |of: fn(&(Duration, Duration)) -> Duration| {
        rounds.sort_by_key(of);
        of(&rounds[ROUNDS / 2]).as_nanos() as f64 / n as f64
    };
    let (ours, theirs) = (median(|r| r.0), median(|r| r.1));
    let ratio = ours / theirs;
    println!("{name:<44} {ours:>8.1} ns   tokio's {theirs:>8.1} ns   ratio {ratio:.2}");
}

/// Two tasks; all items of the one go to the other.
async fn pair<G: Future<Output = ()> + 'static>(puts: impl Future<Output = ()> + 'static, gets: G) {
    let gets = spawn_local(gets);
    let puts = spawn_local(puts);
    puts.await.unwrap();
    gets.await.unwrap();
}

/// Polls a future that is ready.
fn ready<F: Future>(future: F) -> F::Output {
    match std::pin::pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => unreachable!("it is ready"),
    }
}

fn main() {
    const N: usize = 300_000;
    beside(
        "semaphore: free acquire and release",
        N,
        || {
            let semaphore = greenlet::sync::Semaphore::new(1);
            timed(|| (0..N).for_each(|_| drop(black_box(ready(semaphore.acquire_async())))))
        },
        || {
            let semaphore = tokio::sync::Semaphore::new(1);
            timed(|| (0..N).for_each(|_| drop(black_box(ready(semaphore.acquire())))))
        },
    );
    beside(
        "queue of 1: put and get that are ready",
        N,
        || {
            let queue = greenlet::sync::Queue::bounded(1);
            timed(|| {
                for i in 0..N {
                    ready(queue.put_async(i)).unwrap();
                    black_box(ready(queue.get_async()).unwrap());
                }
            })
        },
        || {
            let (sender, mut receiver) = tokio::sync::mpsc::channel(1);
            timed(|| {
                for i in 0..N {
                    ready(sender.send(i)).unwrap();
                    black_box(ready(receiver.recv()).unwrap());
                }
            })
        },
    );
    for capacity in [1, 128] {
        beside(
            &format!("queue of {capacity}: an item from task to task"),
            N,
            || {
                let queue = Arc::new(greenlet::sync::Queue::bounded(capacity));
                let puts = queue.clone();
                on_tokio(pair(
                    async move {
                        for i in 0..N {
                            puts.put_async(i).await.unwrap();
                        }
                    },
                    async move {
                        for _ in 0..N {
                            black_box(queue.get_async().await.unwrap());
                        }
                    },
                ))
            },
            || {
                let (sender, mut receiver) = tokio::sync::mpsc::channel(capacity);
                on_tokio(pair(
                    async move {
                        for i in 0..N {
                            sender.send(i).await.unwrap();
                        }
                    },
                    async move {
                        for _ in 0..N {
                            black_box(receiver.recv().await.unwrap());
                        }
                    },
                ))
            },
        );
    }
    const TASKS: usize = 100;
    beside(
        "semaphore: 100 tasks on 2 permits, with a yield",
        N,
        || {
            let semaphore = Arc::new(greenlet::sync::Semaphore::new(2));
            on_tokio(async move {
                let tasks = [(); TASKS].map(|()| {
                    let semaphore = semaphore.clone();
                    spawn_local(async move {
                        for _ in 0..N / TASKS {
                            let _permit = semaphore.acquire_async().await;
                            yield_now().await;
                        }
                    })
                });
                for task in tasks {
                    task.await.unwrap();
                }
            })
        },
        || {
            let semaphore = Arc::new(tokio::sync::Semaphore::new(2));
            on_tokio(async move {
                let tasks = [(); TASKS].map(|()| {
                    let semaphore = semaphore.clone();
                    spawn_local(async move {
                        for _ in 0..N / TASKS {
                            let _permit = semaphore.acquire().await.unwrap();
                            yield_now().await;
                        }
                    })
                });
                for task in tasks {
                    task.await.unwrap();
                }
            })
        },
    );
    const WAITERS: usize = 1_000;
    beside(
        "event (Notify): spawn and wake of 1,000, each",
        N,
        || {
            let event = Arc::new(greenlet::sync::Event::new());
            on_tokio(async move {
                for _ in 0..N / WAITERS {
                    let begun = Rc::new(Cell::new(0));
                    let tasks = [(); WAITERS].map(|()| {
                        let (event, begun) = (event.clone(), begun.clone());
                        spawn_local(async move {
                            begun.set(begun.get() + 1);
                            event.wait_async().await
                        })
                    });
                    while begun.get() < WAITERS {
                        yield_now().await;
                    }
                    event.set();
                    for task in tasks {
                        task.await.unwrap();
                    }
                    event.clear();
                }
            })
        },
        || {
            let notify = Arc::new(tokio::sync::Notify::new());
            on_tokio(async move {
                for _ in 0..N / WAITERS {
                    let begun = Rc::new(Cell::new(0));
                    let tasks = [(); WAITERS].map(|()| {
                        let (notify, begun) = (notify.clone(), begun.clone());
                        spawn_local(async move {
                            begun.set(begun.get() + 1);
                            notify.notified().await
                        })
                    });
                    while begun.get() < WAITERS {
                        yield_now().await;
                    }
                    notify.notify_waiters();
                    for task in tasks {
                        task.await.unwrap();
                    }
                }
            })
        },
    );
}

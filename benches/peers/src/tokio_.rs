//! tokio: tasks of a `LocalSet` on the current_thread scheduler, which is a little cheaper than
//! the scheduler's own tasks. There is no I/O driver, and no timers where a row needs none.

mod queues;

pub(crate) use queues::*;

use crate::chains::{Call, Deep3};
use crate::spent::{Clock, Spent, chance, latency, limits, spent, sum};
use std::future::poll_fn;
use std::hint::black_box;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::task::{Context, Poll};
use std::thread;
use std::time::{Duration, Instant};
use tokio::runtime::Builder;
use tokio::sync::{Notify, Semaphore, mpsc, oneshot};
use tokio::task::{JoinHandle, LocalSet, spawn_local as spawn};
use tokio::time::{sleep, timeout, timeout_at};

const LIMIT: Duration = Duration::from_secs(10);

/// Runs `f` in a task.
fn inside<R: Send + 'static>(f: impl Future<Output = R> + Send + 'static) -> R {
    let runtime = Builder::new_current_thread().build().unwrap();
    LocalSet::new().block_on(&runtime, async { spawn(f).await.unwrap() })
}

/// The same with timers.
fn timed<R: Send + 'static>(f: impl Future<Output = R> + Send + 'static) -> R {
    let runtime = Builder::new_current_thread().enable_time().build().unwrap();
    LocalSet::new().block_on(&runtime, async { spawn(f).await.unwrap() })
}

fn all<T>(n: usize, f: impl FnMut(usize) -> JoinHandle<T>) -> Vec<JoinHandle<T>> {
    (0..n).map(f).collect()
}

async fn join<T>(tasks: Vec<JoinHandle<T>>) -> Vec<T> {
    let mut results = Vec::with_capacity(tasks.len());
    for task in tasks {
        results.push(task.await.unwrap());
    }
    results
}

/// Lets the others run. tokio's own `yield_now` goes round the runtime's driver each time,
/// which takes several times as long when there are few tasks.
struct Yield(bool);

impl Future for Yield {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if std::mem::replace(&mut self.0, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

fn yield_now() -> Yield {
    Yield(false)
}

pub(crate) fn yields<const TASKS: usize>(n: usize) -> Spent {
    let each = n / TASKS;
    inside(async move {
        let tasks = all(TASKS, |_| {
            spawn(async move {
                for _ in 0..each + 1 {
                    yield_now().await;
                }
            })
        });
        yield_now().await;
        let clock = Clock::start();
        drop(join(tasks).await);
        clock.stop(each * TASKS)
    })
}

pub(crate) fn own_yields(n: usize) -> Spent {
    inside(async move {
        let tasks = all(2, |_| {
            spawn(async move {
                for _ in 0..n / 2 {
                    tokio::task::yield_now().await;
                }
            })
        });
        let clock = Clock::start();
        drop(join(tasks).await);
        clock.stop(n)
    })
}

struct Leaf;

impl Call for Leaf {
    fn call() {}

    fn call_async() -> impl Future<Output = ()> + Send {
        yield_now()
    }
}

pub(crate) fn deep(n: usize) -> Spent {
    fn calls<const ID: usize>(each: usize) -> JoinHandle<()> {
        spawn(async move {
            yield_now().await;
            for _ in 0..each {
                Deep3::<ID, Leaf>::call_async().await;
            }
        })
    }
    let chains = [calls::<0>, calls::<1>, calls::<2>, calls::<3>];
    inside(async move {
        let tasks = all(1_000, |i| chains[i % 4](n / 1_000));
        yield_now().await;
        let clock = Clock::start();
        drop(join(tasks).await);
        clock.stop(n)
    })
}

pub(crate) fn spawns(n: usize) -> Spent {
    inside(async move {
        let clock = Clock::start();
        for i in 0..n {
            assert_eq!(spawn(async move { i }).await.unwrap(), i);
        }
        clock.stop(n)
    })
}

pub(crate) fn batches(n: usize) -> Spent {
    inside(async move {
        let clock = Clock::start();
        for _ in 0..n / 10_000 {
            let mut got = 0;
            for task in all(10_000, |i| spawn(async move { i })) {
                got += task.await.unwrap();
            }
            assert_eq!(got, sum(10_000));
        }
        clock.stop(n)
    })
}

fn tree(first: usize, leaves: usize) -> JoinHandle<usize> {
    spawn(async move {
        if leaves == 1 {
            return first;
        }
        let part = leaves / 10;
        let children: [_; 10] = std::array::from_fn(|i| tree(first + i * part, part));
        let mut sum = 0;
        for child in children {
            sum += child.await.unwrap();
        }
        sum
    })
}

pub(crate) fn skynet<const LEAVES: usize>(n: usize) -> Spent {
    inside(async move {
        let clock = Clock::start();
        for _ in 0..n / LEAVES {
            assert_eq!(tree(0, LEAVES).await.unwrap(), sum(LEAVES));
        }
        clock.stop(n)
    })
}

pub(crate) fn ring(n: usize) -> Spent {
    const MEMBERS: usize = 503;
    inside(async move {
        let (senders, receivers): (Vec<_>, Vec<_>) = (0..MEMBERS)
            .map(|_| mpsc::unbounded_channel::<usize>())
            .unzip();
        let first = senders[0].clone();
        let mut receivers = receivers.into_iter();
        let members = all(MEMBERS, |i| {
            let mut mine = receivers.next().unwrap();
            let next = senders[(i + 1) % MEMBERS].clone();
            spawn(async move {
                while let Some(hops) = mine.recv().await {
                    if hops == 0 {
                        break;
                    }
                    next.send(hops - 1).unwrap();
                }
                // Its sender goes, so the next one ends.
            })
        });
        drop(senders);
        yield_now().await;
        let clock = Clock::start();
        first.send(n).unwrap();
        drop(first);
        drop(join(members).await);
        clock.stop(n)
    })
}

pub(crate) fn fan_out<const WAITERS: usize>(n: usize) -> Spent {
    let rounds = n / WAITERS;
    inside(async move {
        let event = Arc::new(Notify::new());
        let woken = Arc::new(AtomicUsize::new(0));
        let waiters = all(WAITERS, |_| {
            let (event, woken) = (event.clone(), woken.clone());
            spawn(async move {
                for _ in 0..rounds {
                    event.notified().await;
                    // As cheap as the others' `Cell`: one thread.
                    woken.store(woken.load(Relaxed) + 1, Relaxed);
                }
            })
        });
        yield_now().await;
        let clock = Clock::start();
        for round in 1..=rounds {
            event.notify_waiters();
            while woken.load(Relaxed) < round * WAITERS {
                yield_now().await;
            }
        }
        drop(join(waiters).await);
        clock.stop(rounds * WAITERS)
    })
}

pub(crate) fn result(n: usize) -> Spent {
    inside(async move {
        let clock = Clock::start();
        for i in 0..n {
            let (setter, result) = oneshot::channel();
            drop(spawn(async move { setter.send(i).unwrap() }));
            assert_eq!(result.await.unwrap(), i);
        }
        clock.stop(n)
    })
}

pub(crate) fn semaphore_free(n: usize) -> Spent {
    inside(async move {
        let semaphore = Semaphore::new(1);
        let clock = Clock::start();
        for _ in 0..n {
            drop(black_box(&semaphore).acquire().await.unwrap());
        }
        clock.stop(n)
    })
}

pub(crate) fn semaphore(n: usize) -> Spent {
    inside(async move {
        let semaphore = Arc::new(Semaphore::new(2));
        let clock = Clock::start();
        let workers = all(1_000, |_| {
            let semaphore = semaphore.clone();
            spawn(async move {
                for _ in 0..n / 1_000 {
                    let _permit = semaphore.acquire().await.unwrap();
                    yield_now().await;
                }
            })
        });
        drop(join(workers).await);
        clock.stop(n)
    })
}

pub(crate) fn limit(n: usize) -> Spent {
    timed(async move {
        let clock = Clock::start();
        for i in 0..n {
            assert_eq!(timeout(LIMIT, async { black_box(i) }).await, Ok(i));
        }
        clock.stop(n)
    })
}

/// A sleep is armed by its first poll.
async fn arm(timer: Pin<&mut impl Future>) {
    let mut timer = timer;
    poll_fn(|cx| {
        assert!(timer.as_mut().poll(cx).is_pending());
        Poll::Ready(())
    })
    .await;
}

pub(crate) fn timer<const OTHERS: usize, const SECONDS: u64>(n: usize) -> Spent {
    timed(async move {
        let mut far = limits(SECONDS);
        // As in a task that sleeps, without the task.
        let mut others = vec![];
        for _ in 0..OTHERS {
            let mut other = Box::pin(sleep(far()));
            arm(other.as_mut()).await;
            others.push(other);
        }
        let now = tokio::time::Instant::now();
        let clock = Clock::start();
        let back = spawn(async move {
            for _ in 0..n {
                yield_now().await;
            }
        });
        for _ in 0..n {
            assert_eq!(timeout_at(now + far(), yield_now()).await, Ok(()));
        }
        back.await.unwrap();
        clock.stop(n)
    })
}

fn sleeping(sleepers: usize, most: Duration, n: usize) -> Spent {
    timed(async move {
        let clock = Clock::start();
        let sleepers = all(sleepers, |i| {
            let mut chance = chance(i);
            spawn(async move {
                for _ in 0..n / sleepers {
                    sleep(Duration::from_nanos(chance(most.as_nanos() as u64))).await;
                }
            })
        });
        drop(join(sleepers).await);
        clock.stop(n)
    })
}

pub(crate) fn sleeps(n: usize) -> Spent {
    sleeping(10_000, Duration::from_millis(10), n)
}

pub(crate) fn sleep_once(n: usize) -> Spent {
    sleeping(n, Duration::from_secs(1), n)
}

pub(crate) fn local(n: usize) -> Spent {
    tokio::task_local! {
        static LOCAL: usize;
    }
    inside(LOCAL.scope(1, async move {
        spent(n, || {
            assert_eq!((0..n).map(|_| black_box(&LOCAL).get()).sum::<usize>(), n)
        })
    }))
}

pub(crate) fn kill<const WAITERS: usize>(n: usize) -> Spent {
    let rounds = (n / WAITERS).max(1);
    inside(async move {
        let mut total = latency(0, Duration::ZERO);
        for _ in 0..rounds {
            let event = Arc::new(Notify::new());
            let mut waiters = all(WAITERS, |_| {
                let event = event.clone();
                spawn(async move { event.notified().await })
            });
            yield_now().await;
            waiters.rotate_left(WAITERS / 2);
            let clock = Clock::start();
            for waiter in waiters {
                waiter.abort();
                assert!(waiter.await.unwrap_err().is_cancelled());
            }
            total += clock.stop(WAITERS);
        }
        total
    })
}

/// A task on this thread's runtime, and one on another thread's.
fn both(
    n: usize,
    here: impl Future<Output = ()> + Send + 'static,
    there: impl Future<Output = ()> + Send + 'static,
) -> Spent {
    inside(async move {
        let clock = Clock::start();
        let there = thread::spawn(|| inside(there));
        here.await;
        there.join().unwrap();
        clock.stop(n)
    })
}

pub(crate) fn ping_pong(n: usize) -> Spent {
    let (to, mut there) = mpsc::unbounded_channel();
    let (back, mut here) = mpsc::unbounded_channel();
    both(
        n,
        async move {
            for i in 0..n {
                to.send(i).unwrap();
                assert_eq!(here.recv().await.unwrap(), i);
            }
        },
        async move {
            for _ in 0..n {
                back.send(there.recv().await.unwrap()).unwrap();
            }
        },
    )
}

pub(crate) fn one_way(n: usize) -> Spent {
    let (sender, mut receiver) = mpsc::unbounded_channel();
    both(
        n,
        async move { (0..n).for_each(|i| sender.send(i).unwrap()) },
        async move {
            let mut got = 0;
            for _ in 0..n {
                got += receiver.recv().await.unwrap();
            }
            assert_eq!(got, sum(n));
        },
    )
}

pub(crate) fn wake(n: usize) -> Spent {
    let begin = Instant::now();
    let (ask, mut asked) = mpsc::unbounded_channel::<oneshot::Receiver<()>>();
    let (answer, answers) = std::sync::mpsc::channel();
    thread::spawn(move || {
        inside(async move {
            while let Some(waited) = asked.recv().await {
                waited.await.unwrap();
                answer.send(begin.elapsed()).unwrap();
            }
        })
    });
    let mut total = Duration::ZERO;
    for _ in 0..n {
        let (event, waited) = oneshot::channel();
        ask.send(waited).unwrap();
        thread::sleep(Duration::from_micros(500));
        let set = begin.elapsed();
        event.send(()).unwrap();
        total += answers.recv().unwrap() - set;
    }
    latency(n, total)
}

//! Two hubs on two threads. Wall time: they work at once, and much of it is the system's, which
//! wakes a thread.

use crate::harness::large;
use greenlet::sync::{Event, Queue};
use greenlet::{HubThread, spawn};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

/// Wall time of `f`.
fn walled(f: impl FnOnce()) -> Duration {
    let begin = Instant::now();
    f();
    begin.elapsed()
}

/// Runs `here` in a greenlet of this hub and `there` in one of another.
fn both(here: impl FnOnce() + 'static, there: impl FnOnce() + Send + 'static) -> Duration {
    let other = HubThread::start("other").unwrap();
    let time = walled(|| {
        let there = other.handle().spawn(there);
        spawn(here).join().unwrap();
        there.join().unwrap();
    });
    other.stop();
    other.join().unwrap();
    time
}

fn one_way(n: usize, queue: Queue<usize>) -> Duration {
    let queue = Arc::new(queue);
    let getter = queue.clone();
    both(
        move || (0..n).for_each(|i| queue.put(i).unwrap()),
        move || {
            let sum: usize = (0..n).map(|_| getter.get().unwrap()).sum();
            assert_eq!(sum, n * (n - 1) / 2);
        },
    )
}

fn ping_pong(n: usize) -> Duration {
    let (here, there) = (Arc::new(Queue::unbounded()), Arc::new(Queue::unbounded()));
    let (to, from) = (there.clone(), here.clone());
    both(
        move || {
            for i in 0..n {
                to.put(i).unwrap();
                assert_eq!(from.get().unwrap(), i);
            }
        },
        move || (0..n).for_each(|_| here.put(there.get().unwrap()).unwrap()),
    )
}

/// A putter and a getter on each of two hubs.
fn many_to_many(n: usize) -> Duration {
    let queue = Arc::new(Queue::bounded(128));
    let half = move |queue: Arc<Queue<usize>>| {
        let getter = queue.clone();
        let getter = spawn(move || (0..n / 2).map(|_| getter.get().unwrap()).sum::<usize>());
        let putter = spawn(move || (0..n / 2).for_each(|i| queue.put(i).unwrap()));
        getter.wait();
        putter.wait();
    };
    let there = queue.clone();
    both(move || half(queue), move || half(there))
}

/// From the set of an event to the first line of its waiter, whose thread has been asleep
/// for a while.
fn wake(n: usize) -> Duration {
    let begin = Instant::now();
    let event = Arc::new(Event::new());
    let other = HubThread::start("sleeper").unwrap();
    let mut total = Duration::ZERO;
    for _ in 0..n {
        let waited = event.clone();
        let waiter = other.handle().spawn(move || {
            waited.wait();
            begin.elapsed()
        });
        thread::sleep(Duration::from_micros(500));
        let set = begin.elapsed();
        event.set();
        total += waiter.join().unwrap() - set;
        event.clear();
    }
    other.stop();
    other.join().unwrap();
    total
}

/// What the set itself takes, of an event whose waiter's thread is asleep.
fn set(n: usize) -> Duration {
    let event = Arc::new(Event::new());
    let other = HubThread::start("sleeper").unwrap();
    let mut total = Duration::ZERO;
    for _ in 0..n {
        let waited = event.clone();
        let waiter = other.handle().spawn(move || waited.wait());
        thread::sleep(Duration::from_micros(500));
        total += walled(|| event.set());
        waiter.join().unwrap();
        event.clear();
    }
    other.stop();
    other.join().unwrap();
    total
}

pub(crate) fn figures() {
    large("hubs: one way, unbounded, an item, wall", 500_000, |n| {
        one_way(n, Queue::unbounded())
    });
    large("hubs: one way, bounded(128), an item, wall", 500_000, |n| {
        one_way(n, Queue::bounded(128))
    });
    large(
        "hubs: many to many, bounded(128), an item, wall",
        500_000,
        many_to_many,
    );
    large("hubs: ping-pong, a round trip, wall", 20_000, ping_pong);
    large("hubs: wake of one that sleeps, wall", 500, wake);
    large("hubs: set for one that sleeps, wall", 500, set);
}

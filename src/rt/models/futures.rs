//! Waits as futures: wakers that change, futures that go, and their notifiers.

use super::{Seen, explore, nobody_waits, thread};
use crate::rt::inbox::Parker;
use crate::sync::{Barrier, Event, Queue, Semaphore};
use crate::{as_completed, block_on};
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

/// Wakes a thread of the model.
struct Unpark(Parker);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// A waker, and what it wakes.
fn waker() -> (Waker, Arc<Unpark>) {
    let unpark = Arc::new(Unpark(Parker::new()));
    (unpark.clone().into(), unpark)
}

fn poll<F: Future>(future: Pin<&mut F>, waker: &Waker) -> Option<F::Output> {
    match future.poll(&mut Context::from_waker(waker)) {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    }
}

/// A wake comes while the future is polled again, for another task: it reaches the task that
/// polled it last, or the poll sees it.
#[test]
fn another_task_polls() {
    let seen = Seen::new();
    explore("another_task_polls", None, {
        let seen = seen.clone();
        move || {
            let queue = Arc::new(Queue::unbounded());
            let putter = thread({
                let queue = queue.clone();
                move || queue.put(Box::new(1)).unwrap()
            });
            let mut get = pin!(queue.get_async());
            let (first, _) = waker();
            let (second, parked) = waker();
            let mut got = poll(get.as_mut(), &first);
            if got.is_none() {
                got = poll(get.as_mut(), &second);
                seen.hit(got.is_none().into());
            }
            let item = got.unwrap_or_else(|| {
                parked.0.park(None);
                poll(get.as_mut(), &second).expect("it was woken for this")
            });
            assert_eq!(*item.unwrap(), 1);
            putter.join().unwrap();
            nobody_waits(&queue);
        }
    });
    seen.all(2);
}

/// A future that has begun to wait is dropped while an item comes: the item is there for the
/// next, on another thread.
#[test]
fn dropped_against_a_put() {
    explore("dropped_against_a_put", Some(3), || {
        let queue = Arc::new(Queue::unbounded());
        let mut get = Box::pin({
            let queue = queue.clone();
            async move { queue.get_async().await }
        });
        let (waker, _) = waker();
        assert!(poll(get.as_mut(), &waker).is_none());
        let putter = thread({
            let queue = queue.clone();
            move || queue.put(Box::new(1)).unwrap()
        });
        let next = thread({
            let queue = queue.clone();
            move || *queue.get().unwrap()
        });
        drop(get);
        assert_eq!(next.join().unwrap(), 1);
        putter.join().unwrap();
        assert_eq!((queue.len(), queue.unfinished()), (0, 1));
        nobody_waits(&queue);
    });
}

/// A permit that was granted to a future that is dropped goes to the next in line.
#[test]
fn dropped_against_a_release() {
    explore("dropped_against_a_release", Some(3), || {
        let semaphore = Arc::new(Semaphore::new(0));
        let mut acquire = Box::pin(semaphore.acquire_owned_async());
        let (waker, _) = waker();
        assert!(poll(acquire.as_mut(), &waker).is_none());
        let releaser = thread({
            let semaphore = semaphore.clone();
            move || semaphore.release()
        });
        let next = thread({
            let semaphore = semaphore.clone();
            move || semaphore.acquire().forget()
        });
        drop(acquire);
        for thread in [releaser, next] {
            thread.join().unwrap();
        }
        assert_eq!(semaphore.available(), 0);
        nobody_waits(&semaphore);
    });
}

/// A place that was given to a future that is dropped goes back, whoever is first.
#[test]
fn reserve_dropped_against_a_get() {
    let seen = Seen::new();
    explore("reserve_dropped_against_a_get", None, {
        let seen = seen.clone();
        move || {
            let queue = Arc::new(Queue::bounded(1));
            queue.put(Box::new(1)).unwrap();
            let mut reserve = Box::pin({
                let queue = queue.clone();
                async move { queue.reserve_async().await.map(drop) }
            });
            let (waker, _) = waker();
            assert!(poll(reserve.as_mut(), &waker).is_none());
            let getter = thread({
                let queue = queue.clone();
                move || *queue.get().unwrap()
            });
            seen.hit(queue.statistics().reserved);
            drop(reserve);
            assert_eq!(getter.join().unwrap(), 1);
            assert_eq!(queue.statistics().reserved, 0);
            queue.put_nowait(Box::new(2)).unwrap();
            nobody_waits(&queue);
        }
    });
    seen.all(2);
}

/// A future that has arrived is dropped while the last one comes: either it has not arrived, or
/// the barrier has tripped, and there is a next generation.
#[test]
fn arrival_dropped_against_the_last() {
    let seen = Seen::new();
    explore("arrival_dropped_against_the_last", None, {
        let seen = seen.clone();
        move || {
            let barrier = Arc::new(Barrier::new(2));
            let mut wait = Box::pin({
                let barrier = barrier.clone();
                async move { barrier.wait_async().await }
            });
            let (begun, _) = waker();
            assert!(poll(wait.as_mut(), &begun).is_none());
            let last = thread({
                let barrier = barrier.clone();
                move || {
                    let mut wait = pin!(barrier.wait_async());
                    let (waker, parked) = waker();
                    let leads = poll(wait.as_mut(), &waker).is_some_and(|end| end.is_leader());
                    if !leads {
                        // The first one has taken its arrival back, so it needs another.
                        parked.0.park(None);
                        let end = poll(wait.as_mut(), &waker).expect("it was woken for this");
                        assert!(!end.is_leader());
                    }
                    leads
                }
            });
            drop(wait);
            // It meets `last`, or is the first of the next generation.
            let mut wait = pin!(barrier.wait_async());
            let met = poll(wait.as_mut(), &begun).is_some_and(|end| end.is_leader());
            let leads = last.join().unwrap();
            seen.hit(leads.into());
            if leads && !met {
                // It was tripped by `last`, or waits for another.
                match poll(wait.as_mut(), &begun) {
                    Some(end) => assert!(!end.is_leader()),
                    None => assert!(barrier.wait().is_leader()),
                }
            }
            assert_eq!(barrier.statistics().waiting, 0);
        }
    });
    seen.all(2);
}

/// The thread that polls is not the one that began: it sees what came before the wake.
#[test]
fn moves_to_another_thread() {
    let seen = Seen::new();
    explore("moves_to_another_thread", Some(3), {
        let seen = seen.clone();
        move || {
            let event = Arc::new(Event::new());
            let mut wait = Box::pin({
                let event = event.clone();
                async move { event.wait_async().await }
            });
            let (begun, _) = waker();
            assert!(poll(wait.as_mut(), &begun).is_none());
            let setter = thread({
                let event = event.clone();
                move || event.set()
            });
            let poller = thread({
                let seen = seen.clone();
                move || {
                    let (waker, parked) = waker();
                    let early = poll(wait.as_mut(), &waker).is_some();
                    seen.hit(early.into());
                    if !early {
                        parked.0.park(None);
                        poll(wait.as_mut(), &waker).expect("it was woken for this");
                    }
                }
            });
            for thread in [setter, poller] {
                thread.join().unwrap();
            }
            nobody_waits(&event);
        }
    });
    seen.all(2);
}

/// `block_on` of two gets, one after the other: no wake falls between its polls.
#[test]
fn block_on_two_items() {
    explore("block_on_two_items", Some(3), || {
        let queue = Arc::new(Queue::rendezvous());
        let putter = thread({
            let queue = queue.clone();
            move || {
                queue.put(1).unwrap();
                block_on(queue.put_async(2)).unwrap();
            }
        });
        let got = block_on(async { (queue.get_async().await, queue.get_async().await) });
        assert_eq!(got, (Ok(1), Ok(2)));
        putter.join().unwrap();
        nobody_waits(&queue);
    });
}

/// Two that get ready on two threads each come out once.
#[test]
fn as_completed_of_two() {
    let seen = Seen::new();
    explore("as_completed_of_two", Some(2), {
        let seen = seen.clone();
        move || {
            let events = Arc::new([Event::new(), Event::new()]);
            let setters = [0, 1].map(|i| {
                let events = events.clone();
                thread(move || events[i].set())
            });
            let mut ready = as_completed(events.iter());
            let first = ready.next().expect("two are to come");
            let first = events.iter().position(|e| std::ptr::eq(e, first)).unwrap();
            seen.hit(first);
            assert!(std::ptr::eq(ready.next().unwrap(), &events[1 - first]));
            assert!(ready.next().is_none());
            drop(ready);
            for setter in setters {
                setter.join().unwrap();
            }
            nobody_waits(&events);
        }
    });
    seen.all(2);
}

//! Event, AsyncResult, the semaphores, and a greenlet's end.

use super::super::sync::{AtomicUsize, Ordering};
use super::{Seen, explore, thread};
use crate::sync::{AsyncResult, BoundedSemaphore, Event, Semaphore};
use crate::{run, spawn};
use std::sync::Arc;
use std::time::Duration;

/// Set, clear and set again, against two waiters and a thread that only looks.
#[test]
fn event_set_clear_wait() {
    explore("event_set_clear_wait", Some(2), || {
        let (event, data) = (Arc::new(Event::new()), Arc::new(AtomicUsize::new(0)));
        let waiters = [(); 2].map(|()| {
            let (event, data) = (event.clone(), data.clone());
            thread(move || {
                if !event.is_set() {
                    event.wait();
                }
                assert_eq!(data.load(Ordering::Relaxed), 1);
            })
        });
        data.store(1, Ordering::Relaxed);
        event.set();
        event.clear();
        event.set();
        for waiter in waiters {
            waiter.join().unwrap();
        }
    });
}

/// A setter and a clearer race; what they leave behind is a whole event.
#[test]
fn event_set_against_clear() {
    explore("event_set_against_clear", Some(3), || {
        let event = Arc::new(Event::new());
        let waiter = thread({
            let event = event.clone();
            move || event.wait()
        });
        let clearer = thread({
            let event = event.clone();
            move || event.clear()
        });
        event.set();
        clearer.join().unwrap();
        event.set();
        waiter.join().unwrap();
        assert!(event.is_set());
    });
}

/// A waiter leaves while another thread sets: the waiters bit of the fast word
/// goes with the last one, and the next waiter is not lost.
#[test]
fn event_set_against_leaving() {
    let seen = Seen::new();
    explore("event_set_against_leaving", Some(2), {
        let seen = seen.clone();
        move || {
            let event = Arc::new(Event::new());
            let waiter = thread({
                let event = event.clone();
                move || event.wait()
            });
            let setter = thread({
                let event = event.clone();
                move || event.set()
            });
            seen.hit(event.wait_timeout(Duration::ZERO).into());
            waiter.join().unwrap();
            setter.join().unwrap();
            assert!(format!("{event:?}").ends_with("waiting: 0 }"));
        }
    });
    seen.all(2);
}

/// Two setters, a waiter, and a reader that does not wait: one wins, and its
/// value is seen.
#[test]
fn async_result_two_setters() {
    let seen = Seen::new();
    explore("async_result_two_setters", Some(3), {
        let seen = seen.clone();
        move || {
            let result = Arc::new(AsyncResult::<Box<usize>>::new());
            let setters = [0, 1].map(|i| {
                let result = result.clone();
                thread(move || result.set(Box::new(i)).is_ok())
            });
            let waiter = thread({
                let result = result.clone();
                move || **result.wait().unwrap_or_else(|e| panic!("{e}"))
            });
            let read = result.value().map(|v| **v);
            let value = waiter.join().unwrap();
            assert!(read.is_none_or(|read| read == value));
            let won = setters.map(|s| s.join().unwrap());
            assert_eq!(won, [value == 0, value == 1]);
            seen.hit(value);
            read.inspect(|_| seen.hit(2));
        }
    });
    seen.all(3);
}

/// Two that work under one permit, and one that only tries: never two at once,
/// each sees what the one before did, and the permit is there in the end.
#[test]
fn semaphore_excludes() {
    explore("semaphore_excludes", Some(3), || {
        let (permits, inside) = (Arc::new(Semaphore::new(1)), Arc::new(AtomicUsize::new(0)));
        let work = |inside: &AtomicUsize| {
            // Not atomic on purpose: the permit makes it so.
            let n = inside.load(Ordering::Relaxed);
            inside.store(n + 1, Ordering::Relaxed);
        };
        let workers = [(); 2].map(|()| {
            let (permits, inside) = (permits.clone(), inside.clone());
            thread(move || {
                let _permit = permits.acquire();
                work(&inside);
            })
        });
        let tried = permits.try_acquire().map(|_permit| work(&inside)).is_some();
        for worker in workers {
            worker.join().unwrap();
        }
        assert_eq!(inside.load(Ordering::Relaxed), 2 + usize::from(tried));
        assert_eq!(permits.available(), 1);
    });
}

/// A release by the fast word against one that is about to wait.
#[test]
fn semaphore_release_against_wait() {
    explore("semaphore_release_against_wait", None, || {
        let (permits, data) = (Arc::new(Semaphore::new(0)), Arc::new(AtomicUsize::new(0)));
        let releaser = thread({
            let (permits, data) = (permits.clone(), data.clone());
            move || {
                data.store(1, Ordering::Relaxed);
                permits.release();
            }
        });
        permits.acquire().forget();
        assert_eq!(data.load(Ordering::Relaxed), 1);
        releaser.join().unwrap();
        assert_eq!(permits.available(), 0);
    });
}

/// Whoever has the lock sets the waiters bit; one who tries meanwhile must not
/// take that for a queue: the permit is free all the time.
#[test]
fn try_acquire_against_the_lock() {
    for tries_first in [false, true] {
        explore("try_acquire_against_the_lock", None, move || {
            let permits = Arc::new(BoundedSemaphore::new(3));
            let other = permits.clone();
            let (lock, try_) = (
                move || assert!(format!("{other:?}").contains("waiting: 0")),
                move || {
                    let both = permits.acquire_many(2);
                    assert_eq!(permits.available(), 1, "as many as it took");
                    drop(both);
                    assert!(permits.try_acquire().is_some());
                },
            );
            if tries_first {
                let locker = thread(lock);
                try_();
                locker.join().unwrap();
            } else {
                let taker = thread(try_);
                lock();
                taker.join().unwrap();
            }
        });
    }
}

/// One permit is out and two give it back: one of them is refused.
#[test]
fn bounded_semaphore_refuses() {
    explore("bounded_semaphore_refuses", Some(2), || {
        let permits = Arc::new(BoundedSemaphore::new(1));
        permits.acquire().forget();
        let releasers = [(); 2].map(|()| {
            let permits = permits.clone();
            thread(move || permits.release().is_ok())
        });
        // Someone may take it and give it back meanwhile, which changes nothing.
        drop(permits.acquire_timeout(Duration::ZERO));
        let released = releasers.map(|r| r.join().unwrap());
        assert!(released != [false, false]);
        assert_eq!(permits.available(), 1);
    });
}

/// A permit is handed to a waiter that expires: it has it, or the next one.
#[test]
fn hand_off_against_leaving() {
    let seen = Seen::new();
    explore("hand_off_against_leaving", Some(2), {
        let seen = seen.clone();
        move || {
            let permits = Arc::new(Semaphore::new(0));
            let leaver = thread({
                let (permits, seen) = (permits.clone(), seen.clone());
                move || seen.hit(permits.acquire_timeout(Duration::ZERO).is_some().into())
            });
            let releaser = thread({
                let permits = permits.clone();
                move || permits.release()
            });
            drop(permits.acquire());
            leaver.join().unwrap();
            releaser.join().unwrap();
            assert_eq!(permits.available(), 1);
        }
    });
    seen.all(2);
}

/// The head needs more than there is and leaves: the next one is let in.
#[test]
fn head_that_leaves_lets_the_next_in() {
    explore("head_that_leaves_lets_the_next_in", Some(5), || {
        let permits = Arc::new(Semaphore::new(1));
        let head = thread({
            let permits = permits.clone();
            move || assert!(permits.acquire_many_timeout(2, Duration::ZERO).is_none())
        });
        drop(permits.acquire());
        head.join().unwrap();
        assert_eq!(permits.available(), 1);
    });
}

/// A link and a join from other threads against the end: the link runs once, and
/// both see what the greenlet did.
#[test]
fn link_and_join_against_the_end() {
    explore("link_and_join_against_the_end", Some(3), || {
        let (links, data) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let hub = thread({
            let (links, data) = (links.clone(), data.clone());
            move || {
                run(move || {
                    let greenlet = spawn({
                        let data = data.clone();
                        move || data.store(1, Ordering::Relaxed)
                    });
                    let greenlet = Arc::new(greenlet);
                    let linker = thread({
                        let (greenlet, links, data) =
                            (greenlet.clone(), links.clone(), data.clone());
                        move || {
                            greenlet.link(move |outcome| {
                                assert!(outcome.is_ok());
                                assert_eq!(data.load(Ordering::Relaxed), 1);
                                links.fetch_add(1, Ordering::Relaxed);
                            });
                        }
                    });
                    let joiner = thread({
                        let greenlet = greenlet.clone();
                        move || {
                            greenlet.wait();
                            assert!(greenlet.is_successful());
                            assert_eq!(data.load(Ordering::Relaxed), 1);
                        }
                    });
                    greenlet.wait();
                    (linker, joiner)
                })
            }
        });
        let (linker, joiner) = hub.join().unwrap();
        linker.join().unwrap();
        joiner.join().unwrap();
        assert_eq!(links.load(Ordering::Relaxed), 1);
    });
}

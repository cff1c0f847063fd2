//! One model at least for each primitive, with threads that race.

use super::super::sync::{AtomicUsize, Ordering};
use super::{Seen, explore, thread};
use crate::sync::{AsyncResult, BoundedSemaphore, Event, GetError, PutError, Queue, Semaphore};
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

/// Two putters and a getter on a queue with room for one.
#[test]
fn queue_bounded() {
    explore("queue_bounded", Some(3), || {
        let queue = Arc::new(Queue::bounded(1));
        let putters = [1, 2].map(|i| {
            let queue = queue.clone();
            thread(move || queue.put(Box::new(i)).unwrap())
        });
        let got = [(); 2].map(|()| *queue.get().unwrap());
        assert!(got == [1, 2] || got == [2, 1]);
        assert_eq!((queue.len(), queue.unfinished()), (0, 2));
        for putter in putters {
            putter.join().unwrap();
        }
    });
}

/// Two getters, a putter of two; then the tasks are done and a joiner goes on.
#[test]
fn queue_unbounded() {
    explore("queue_unbounded", Some(3), || {
        let queue = Arc::new(Queue::unbounded());
        let getters = [(); 2].map(|()| {
            let queue = queue.clone();
            thread(move || {
                let got = queue.get().unwrap();
                queue.task_done();
                got
            })
        });
        queue.put(1).unwrap();
        queue.put(2).unwrap();
        queue.join();
        assert_eq!((queue.len(), queue.unfinished()), (0, 0));
        let got = getters.map(|g| g.join().unwrap());
        assert!(got == [1, 2] || got == [2, 1]);
    });
}

/// One that hands over, against one that may leave, on either side.
#[test]
fn queue_rendezvous() {
    let seen = Seen::new();
    explore("queue_rendezvous", Some(3), {
        let seen = seen.clone();
        move || {
            let queue = Arc::new(Queue::rendezvous());
            let putters = [1, 2].map(|i| {
                let (queue, seen) = (queue.clone(), seen.clone());
                thread(move || {
                    let put = queue.put_timeout(Box::new(i), Duration::ZERO);
                    seen.hit(put.is_ok().into());
                    match put {
                        Ok(()) => i,
                        Err(PutError::Full(item)) => {
                            assert_eq!(*item, i);
                            0
                        }
                        Err(other) => panic!("{other}"),
                    }
                })
            });
            let got = queue.get_timeout(Duration::ZERO).map_or(0, |item| *item);
            let put: i32 = putters.map(|p| p.join().unwrap()).iter().sum();
            assert_eq!((put, queue.len()), (got, 0));
        }
    });
    seen.all(2);
}

/// A rendezvous that must take place.
#[test]
fn queue_rendezvous_meets() {
    explore("queue_rendezvous_meets", None, || {
        let queue = Arc::new(Queue::rendezvous());
        let putter = thread({
            let queue = queue.clone();
            move || queue.put(Box::new(1)).unwrap()
        });
        assert_eq!(*queue.get().unwrap(), 1);
        putter.join().unwrap();
    });
}

/// A shutdown against a put that must wait and a get: the item is got, given back
/// or still there; nobody waits for ever.
#[test]
fn queue_shutdown() {
    let seen = Seen::new();
    explore("queue_shutdown", Some(3), {
        let seen = seen.clone();
        move || {
            let queue = Arc::new(Queue::bounded(1));
            queue.put(0).unwrap();
            let putter = thread({
                let queue = queue.clone();
                move || match queue.put(1) {
                    Ok(()) => 0,
                    Err(PutError::ShutDown(1)) => 1,
                    Err(other) => panic!("{other}"),
                }
            });
            let getter = thread({
                let queue = queue.clone();
                move || {
                    assert_eq!(queue.get(), Ok(0));
                    match queue.get() {
                        Ok(1) => 1,
                        Err(GetError::ShutDown) => 0,
                        other => panic!("{other:?}"),
                    }
                }
            });
            queue.shutdown();
            let (back, got) = (putter.join().unwrap(), getter.join().unwrap());
            assert_eq!(back + got + queue.len(), 1);
            seen.hit(got);
        }
    });
    seen.all(2);
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

/// One permit is out and two give it back: one of them is refused.
#[test]
fn bounded_semaphore_refuses() {
    explore("bounded_semaphore_refuses", Some(3), || {
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

//! Each primitive between two hubs, real coroutines on both; what is said by one side is
//! seen by the other, and both hubs may sleep.

use super::super::sync::{Arc as Shared, AtomicBool, AtomicUsize, Ordering};
use super::hub::{on_hub, pair, setter};
use super::{Seen, explore, nobody_waits, thread};
use crate::sync::{AsyncResult, Event, GetError, PutError, Queue, Semaphore};
use crate::{run, spawn, timeout};
use std::sync::Arc;
use std::time::Duration;

/// A question and its answer: each hub sleeps while the other one works.
#[test]
fn events_there_and_back() {
    explore("events_there_and_back", Some(4), || {
        let [(ping, question), (pong, answer)] = [pair(), pair()];
        let asker = on_hub({
            let (ping, question) = (ping.clone(), question.clone());
            let (pong, answer) = (pong.clone(), answer.clone());
            move || {
                let greenlet = spawn(move || {
                    question.store(1, Ordering::Relaxed);
                    ping.set();
                    pong.wait();
                    assert_eq!(answer.load(Ordering::Relaxed), 2);
                });
                greenlet.join().unwrap();
            }
        });
        let answerer = on_hub(move || {
            let greenlet = spawn(move || {
                ping.wait();
                answer.store(1 + question.load(Ordering::Relaxed), Ordering::Relaxed);
                pong.set();
            });
            greenlet.join().unwrap();
        });
        asker.join().unwrap();
        answerer.join().unwrap();
    });
}

/// A hub sleeps until a deadline that is far off; a wake comes before.
#[test]
fn hub_that_sleeps_until_a_deadline_is_woken() {
    let explored = "hub_that_sleeps_until_a_deadline_is_woken";
    explore(explored, None, || {
        let (event, data) = pair();
        let setter = setter(&event, &data);
        let hub = on_hub(move || {
            let greenlet = spawn(move || {
                assert!(event.wait_timeout(Duration::from_secs(3600)));
                assert_eq!(data.load(Ordering::Relaxed), 1);
            });
            greenlet.join().unwrap();
        });
        setter.join().unwrap();
        hub.join().unwrap();
    });
}

/// Two on each of two hubs wait for a result; one that comes from a third thread reaches
/// all.
#[test]
fn async_result_for_two_hubs() {
    explore("async_result_for_two_hubs", Some(3), || {
        let result = Arc::new(AsyncResult::<Box<usize>>::new());
        let hubs = [(); 2].map(|()| {
            let result = result.clone();
            on_hub(move || {
                let value = || **result.wait().unwrap_or_else(|e| panic!("{e}"));
                let greenlet = spawn({
                    let result = result.clone();
                    move || assert_eq!(result.get().map_or(0, |value| *value), 7)
                });
                assert_eq!(value(), 7);
                greenlet.join().unwrap();
            })
        });
        result.set(Box::new(7)).unwrap();
        for hub in hubs {
            hub.join().unwrap();
        }
        nobody_waits(&result);
    });
}

/// One permit for two greenlets on each of two hubs: never two at once, and each sees
/// what the one before did.
#[test]
fn semaphore_between_hubs() {
    explore("semaphore_between_hubs", Some(3), || {
        let (permits, inside) = (Arc::new(Semaphore::new(1)), Arc::new(AtomicUsize::new(0)));
        let hubs = [(); 2].map(|()| {
            let (permits, inside) = (permits.clone(), inside.clone());
            on_hub(move || {
                let greenlets = [(); 2].map(|()| {
                    let (permits, inside) = (permits.clone(), inside.clone());
                    spawn(move || {
                        let _permit = permits.acquire();
                        // Not atomic on purpose: the permit makes it so.
                        let n = inside.load(Ordering::Relaxed);
                        crate::yield_now();
                        inside.store(n + 1, Ordering::Relaxed);
                    })
                });
                for greenlet in greenlets {
                    greenlet.join().unwrap();
                }
            })
        });
        for hub in hubs {
            hub.join().unwrap();
        }
        assert_eq!(inside.load(Ordering::Relaxed), 4);
        assert_eq!(permits.available(), 1);
        nobody_waits(&permits);
    });
}

/// A permit is handed to a greenlet of another hub whose scope may expire, and who passes
/// it on if it had it: a third thread has it in the end.
#[test]
fn permit_for_one_whose_scope_expires() {
    let seen = Seen::new();
    explore("permit_for_one_whose_scope_expires", Some(3), {
        let seen = seen.clone();
        move || {
            let permits = Arc::new(Semaphore::new(0));
            let hub = on_hub({
                let (permits, seen) = (permits.clone(), seen.clone());
                move || {
                    let greenlet = spawn(move || {
                        let had = timeout(Duration::ZERO, || permits.acquire().forget());
                        seen.hit(had.is_ok().into());
                        if had.is_ok() {
                            permits.release();
                        }
                    });
                    greenlet.join().unwrap();
                }
            });
            let behind = thread({
                let permits = permits.clone();
                move || permits.acquire().forget()
            });
            permits.release();
            behind.join().unwrap();
            hub.join().unwrap();
            nobody_waits(&permits);
            assert_eq!(permits.available(), 0);
        }
    });
    seen.all(2);
}

// ---- queues ----

/// A queue without a bound, from hub to hub: in order, and what was done before is seen.
#[test]
fn unbounded_queue_between_hubs() {
    explore("unbounded_queue_between_hubs", Some(5), || {
        let (queue, data) = (Arc::new(Queue::unbounded()), Arc::new(AtomicUsize::new(0)));
        let putter = on_hub({
            let (queue, data) = (queue.clone(), data.clone());
            move || {
                let greenlet = spawn(move || {
                    for i in 1..=2 {
                        data.store(i, Ordering::Relaxed);
                        queue.put(i).unwrap();
                    }
                });
                greenlet.join().unwrap();
            }
        });
        let getter = on_hub(move || {
            let greenlet = spawn(move || {
                for i in 1..=2 {
                    assert_eq!(queue.get(), Ok(i));
                    assert!(data.load(Ordering::Relaxed) >= i);
                }
            });
            greenlet.join().unwrap();
        });
        putter.join().unwrap();
        getter.join().unwrap();
    });
}

/// Three greenlets are in line, of whom the second may leave, and a thread comes after
/// them: they get what is put in order of arrival.
#[test]
fn served_in_order_of_arrival() {
    let seen = Seen::new();
    explore("served_in_order_of_arrival", Some(3), {
        let seen = seen.clone();
        move || {
            let queue = Arc::new(Queue::unbounded());
            let seen = seen.clone();
            let hub = on_hub(move || {
                let getter = |limit: Option<Duration>| {
                    let queue = queue.clone();
                    spawn(move || match limit {
                        None => queue.get().ok(),
                        Some(limit) => queue.get_timeout(limit).ok(),
                    })
                };
                let getters = [None, Some(Duration::ZERO), None].map(getter);
                crate::yield_now(); // all of them are in line
                let putter = thread({
                    let queue = queue.clone();
                    move || (1..=4).for_each(|i| queue.put(i).unwrap())
                });
                let last = thread(move || queue.get().unwrap());
                let [first, second, third] = getters.map(|g| g.join().unwrap());
                seen.hit(second.is_some().into());
                let in_line: Vec<_> = [first, second, third].into_iter().flatten().collect();
                assert_eq!(in_line, [1, 2, 3][..in_line.len()]);
                assert_eq!(last.join().unwrap(), in_line.len() + 1);
                putter.join().unwrap();
            });
            hub.join().unwrap();
        }
    });
    seen.all(2);
}

/// How a third thread shuts a queue down: so many items it took out.
type Shut = fn(&Queue<usize>) -> usize;

/// A putter with more than there is room for on one hub, a getter on another, and a thread
/// that ends it by `shut`, which says how many items it took out.
fn shut_between_hubs(name: &str, new: fn() -> Queue<usize>, shut: Shut) {
    let seen = Seen::new();
    explore(name, Some(3), {
        let seen = seen.clone();
        move || {
            let queue = Arc::new(new());
            let counts = [(); 2].map(|()| Arc::new(AtomicUsize::new(0)));
            let [back, got] = counts.clone();
            let putter = on_hub({
                let queue = queue.clone();
                move || {
                    let greenlet = spawn(move || {
                        for i in 1..=2 {
                            match queue.put(i) {
                                Ok(()) => {}
                                Err(PutError::ShutDown(item)) if item == i => {
                                    back.store(3 - i, Ordering::Relaxed);
                                    break;
                                }
                                Err(other) => panic!("{other:?}"),
                            }
                        }
                    });
                    greenlet.join().unwrap();
                }
            });
            let getter = on_hub({
                let queue = queue.clone();
                move || {
                    let greenlet = spawn(move || {
                        for i in 1.. {
                            match queue.get() {
                                Ok(item) => {
                                    assert_eq!(item, i);
                                    got.store(i, Ordering::Relaxed);
                                    queue.task_done();
                                }
                                Err(GetError::ShutDown) => break,
                                Err(other) => panic!("{other:?}"),
                            }
                        }
                    });
                    greenlet.join().unwrap();
                }
            });
            let taken = shut(&queue);
            // Whatever was put is done or taken out, sooner or later.
            queue.join();
            putter.join().unwrap();
            getter.join().unwrap();
            let [back, got] = counts.map(|count| count.load(Ordering::Relaxed));
            assert_eq!(back + got + taken, 2);
            nobody_waits(&queue);
            assert_eq!((queue.len(), queue.unfinished()), (0, 0));
            seen.hit(got);
        }
    });
    seen.all(3);
}

fn shutdown(queue: &Queue<usize>) -> usize {
    queue.shutdown();
    0
}

fn shutdown_now(queue: &Queue<usize>) -> usize {
    queue.shutdown_now().len()
}

#[test]
fn shutdown_of_a_bounded_queue_between_hubs() {
    let explored = "shutdown_of_a_bounded_queue_between_hubs";
    shut_between_hubs(explored, || Queue::bounded(1), shutdown);
}

#[test]
fn shutdown_of_a_rendezvous_between_hubs() {
    let explored = "shutdown_of_a_rendezvous_between_hubs";
    shut_between_hubs(explored, Queue::rendezvous, shutdown);
}

#[test]
fn shutdown_now_of_an_unbounded_queue_between_hubs() {
    let explored = "shutdown_now_of_an_unbounded_queue_between_hubs";
    shut_between_hubs(explored, Queue::unbounded, shutdown_now);
}

#[test]
fn shutdown_now_of_a_bounded_queue_between_hubs() {
    let explored = "shutdown_now_of_a_bounded_queue_between_hubs";
    shut_between_hubs(explored, || Queue::bounded(1), shutdown_now);
}

// ---- the last reference ----

/// The woken drop the last references while the waker is still at it: what the result and
/// the queue hold is dropped once, and so are they. (loom counts its own `Arc`s.)
#[test]
fn last_references_go_while_they_wake() {
    let seen = Seen::new();
    explore("last_references_go_while_they_wake", Some(3), {
        let seen = seen.clone();
        move || {
            let item = Shared::new(());
            let result = Shared::new(AsyncResult::<Shared<()>, ()>::default());
            let queue = Shared::new(Queue::unbounded());
            let event = Shared::new(Event::new());
            // loom does not see a look at the count of references.
            let gone = Shared::new(AtomicBool::new(false));
            let hub = thread({
                let (result, queue, event) = (result.clone(), queue.clone(), event.clone());
                let gone = gone.clone();
                move || {
                    run(move || {
                        let waiter = spawn(move || {
                            event.wait();
                            drop(event);
                            gone.store(true, Ordering::Relaxed);
                            assert!(result.wait().is_ok());
                            drop(result);
                        });
                        let getter = spawn(move || assert!(queue.get().is_ok()));
                        waiter.join().unwrap();
                        getter.join().unwrap();
                    });
                }
            });
            event.set();
            seen.hit(gone.load(Ordering::Relaxed).into());
            drop(event);
            result.set(item.clone()).unwrap();
            drop(result);
            queue.put(item.clone()).unwrap();
            queue.put(item).unwrap(); // nobody gets this one
            drop(queue);
            hub.join().unwrap();
        }
    });
    seen.all(2);
}

//! One more waiter than a batch of wakes holds (two, in models), the middle one of which
//! leaves on its own while another thread wakes them all.

use super::hub::on_hub;
use super::{Seen, explore, nobody_waits, thread};
use crate::sync::{AsyncResult, Event, GetError, PutError, Queue, Semaphore};
use crate::{Greenlet, spawn, yield_now};
use std::fmt::Debug;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

const NOW: Duration = Duration::ZERO;

/// How another thread wakes all, and how a greenlet waits: for as long as it takes, or for
/// a turn. True: it was woken.
pub(super) struct Crowd<P> {
    pub(super) new: fn() -> P,
    pub(super) wake: fn(&P),
    pub(super) wait: fn(&P),
    pub(super) wait_now: fn(&P) -> bool,
}

impl<P: Send + Sync + Debug + 'static> Crowd<P> {
    pub(super) fn run(self, name: &str, bound: usize) {
        let seen = Seen::new();
        explore(name, Some(bound), {
            let seen = seen.clone();
            move || {
                let primitive = Arc::new((self.new)());
                let hub = on_hub({
                    let (primitive, seen) = (primitive.clone(), seen.clone());
                    move || {
                        let [first, last] = [(); 2].map(|()| primitive.clone());
                        let middle = primitive.clone();
                        let three: [Greenlet<()>; 3] = [
                            spawn(move || (self.wait)(&first)),
                            spawn(move || seen.hit((self.wait_now)(&middle).into())),
                            spawn(move || (self.wait)(&last)),
                        ];
                        yield_now(); // all of them wait
                        let waker = thread(move || (self.wake)(&primitive));
                        for greenlet in three {
                            greenlet.join().unwrap();
                        }
                        waker.join().unwrap();
                    }
                });
                hub.join().unwrap();
                nobody_waits(&primitive);
            }
        });
        seen.all(2);
    }
}

#[test]
fn event_set_for_three() {
    let crowd = Crowd {
        new: Event::new,
        wake: Event::set,
        wait: Event::wait,
        wait_now: |event| event.wait_timeout(NOW),
    };
    crowd.run("event_set_for_three", 4);
}

#[test]
fn async_result_set_for_three() {
    let crowd = Crowd {
        new: AsyncResult::<Box<usize>>::new,
        wake: |result| result.set(Box::new(7)).unwrap(),
        wait: |result| assert!(result.wait().is_ok_and(|value| **value == 7)),
        wait_now: |result| result.wait_timeout(NOW).is_some(),
    };
    crowd.run("async_result_set_for_three", 4);
}

/// Three getters and a shutdown.
#[test]
fn shutdown_for_three_getters() {
    let crowd = Crowd {
        new: Queue::<Box<usize>>::unbounded,
        wake: Queue::shutdown,
        wait: |queue| assert_eq!(queue.get(), Err(GetError::ShutDown)),
        wait_now: |queue| queue.get_timeout(NOW) == Err(GetError::ShutDown),
    };
    crowd.run("shutdown_for_three_getters", 4);
}

/// Three putters and a shutdown; each has its item back.
#[test]
fn shutdown_for_three_putters() {
    let crowd = Crowd {
        new: Queue::<Box<usize>>::rendezvous,
        wake: Queue::shutdown,
        wait: |queue| assert_eq!(queue.put(Box::new(7)), Err(PutError::ShutDown(Box::new(7)))),
        wait_now: |queue| match queue.put_timeout(Box::new(8), NOW) {
            Err(PutError::ShutDown(item)) if *item == 8 => true,
            Err(PutError::Full(item)) if *item == 8 => false,
            other => panic!("{other:?}"),
        },
    };
    crowd.run("shutdown_for_three_putters", 4);
}

/// The last task is done while three wait for that.
#[test]
fn task_done_for_three_joiners() {
    let crowd = Crowd {
        new: || {
            let queue = Queue::unbounded();
            queue.put(()).unwrap();
            queue.get().unwrap();
            queue
        },
        wake: Queue::task_done,
        wait: Queue::join,
        wait_now: |queue| queue.join_timeout(NOW),
    };
    crowd.run("task_done_for_three_joiners", 4);
}

/// Three permits come back at once, for three who need one each: as many are left as the
/// one in the middle did not take.
#[test]
fn three_permits_for_three() {
    let seen = Seen::new();
    explore("three_permits_for_three", Some(3), {
        let seen = seen.clone();
        move || {
            let permits = Arc::new(Semaphore::new(3));
            let all = permits.acquire_many(3);
            let hub = on_hub({
                let (permits, seen) = (permits.clone(), seen.clone());
                move || {
                    let taker = || {
                        let permits = permits.clone();
                        spawn(move || permits.acquire().forget())
                    };
                    let first = taker();
                    let middle = spawn({
                        let permits = permits.clone();
                        move || {
                            let had = permits.acquire_timeout(NOW).map(|p| p.forget());
                            seen.hit(had.is_some().into());
                            had.is_some()
                        }
                    });
                    let last = taker();
                    first.join().unwrap();
                    last.join().unwrap();
                    let had = middle.join().unwrap();
                    assert_eq!(permits.available(), usize::from(!had));
                }
            });
            drop(all);
            hub.join().unwrap();
            nobody_waits(&permits);
        }
    });
    seen.all(2);
}

/// The head, which needs more than there is, is killed, and those behind it, on two hubs,
/// are let in by the one who leaves.
#[test]
fn head_that_is_killed_lets_three_in() {
    explore("head_that_is_killed_lets_three_in", Some(3), || {
        let permits = Arc::new(Semaphore::new(3));
        let here = on_hub({
            let permits = permits.clone();
            move || {
                let head = Rc::new(spawn({
                    let permits = permits.clone();
                    move || permits.acquire_many(4).forget()
                }));
                let behind = [(); 2].map(|()| {
                    let permits = permits.clone();
                    spawn(move || permits.acquire().forget())
                });
                yield_now(); // all of them wait
                head.kill();
                for greenlet in behind {
                    greenlet.join().unwrap();
                }
                head.wait();
            }
        });
        let there = on_hub({
            let permits = permits.clone();
            move || spawn(move || permits.acquire().forget()).join().unwrap()
        });
        here.join().unwrap();
        there.join().unwrap();
        nobody_waits(&permits);
        assert_eq!(permits.available(), 0);
    });
}

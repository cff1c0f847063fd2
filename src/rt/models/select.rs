//! Select: nodes of different lines on one word, one of which is done.

use super::locks::{Number, mutex};
use super::{Seen, explore, killer, nobody_waits, thread};
use crate::sync::{AsyncResult, Event, Latch, Queue, Semaphore};
use crate::{JoinError, run, select, select_biased, spawn};
use std::sync::Arc;
use std::time::Duration;

const NOW: Duration = Duration::ZERO;

/// An item and a permit come at once: one is taken, the other stays.
#[test]
fn item_and_permit_at_once() {
    let seen = Seen::new();
    explore("item_and_permit_at_once", Some(2), {
        let seen = seen.clone();
        move || {
            let both = Arc::new((Queue::unbounded(), Semaphore::new(0)));
            let putter = thread({
                let both = both.clone();
                move || both.0.put_nowait(Box::new(7)).unwrap()
            });
            let releaser = thread({
                let both = both.clone();
                move || both.1.release()
            });
            let had_item = select_biased! {
                get(both.0) -> item => {
                    assert_eq!(*item.unwrap(), 7);
                    true
                }
                acquire(both.1) -> permit => {
                    permit.forget();
                    false
                }
            };
            for thread in [putter, releaser] {
                thread.join().unwrap();
            }
            seen.hit(usize::from(had_item));
            assert_eq!(both.0.len(), usize::from(!had_item));
            assert_eq!(both.1.available(), usize::from(had_item));
            nobody_waits(&both);
        }
    });
    seen.all(2);
}

/// The limit, against an item and a getter for what is to be put.
#[test]
fn limit_against_item_and_getter() {
    let seen = Seen::new();
    explore("limit_against_item_and_getter", Some(3), {
        let seen = seen.clone();
        move || {
            let queues = Arc::new((Queue::unbounded(), Queue::rendezvous()));
            let putter = thread({
                let queues = queues.clone();
                move || queues.0.put_nowait(Box::new(1)).unwrap()
            });
            let getter = thread({
                let queues = queues.clone();
                move || queues.1.get_timeout(NOW).ok()
            });
            let mut mine = Some(Box::new(2));
            let end = select_biased! {
                get(queues.0) -> item => {
                    assert_eq!(*item.unwrap(), 1);
                    0
                }
                put(queues.1, &mut mine) -> result => {
                    result.unwrap();
                    1
                }
                default(NOW) => 2,
            };
            putter.join().unwrap();
            let got = getter.join().unwrap();
            seen.hit(end);
            assert_eq!(queues.0.len(), usize::from(end != 0));
            assert_eq!(got.as_deref(), (end == 1).then_some(&2));
            assert_eq!(mine.as_deref(), (end != 1).then_some(&2));
            nobody_waits(&queues);
        }
    });
    seen.all(3);
}

/// Each has what the other wants, and wants what the other has: one of them gives, the
/// other takes, and neither does both.
#[test]
fn crosswise() {
    let seen = Seen::new();
    explore("crosswise", Some(3), {
        let seen = seen.clone();
        move || {
            let queues = Arc::new((Queue::<Box<u32>>::rendezvous(), Queue::rendezvous()));
            let other = thread({
                let queues = queues.clone();
                move || {
                    let mut mine = Some(Box::new(2));
                    select_biased! {
                        put(queues.1, &mut mine) -> result => {
                            result.unwrap();
                            None
                        }
                        get(queues.0) -> item => {
                            assert_eq!(mine.as_deref(), Some(&2));
                            Some(*item.unwrap())
                        }
                    }
                }
            });
            let mut mine = Some(Box::new(1));
            let got = select_biased! {
                put(queues.0, &mut mine) -> result => {
                    result.unwrap();
                    None
                }
                get(queues.1) -> item => {
                    assert_eq!(mine.as_deref(), Some(&1));
                    Some(*item.unwrap())
                }
            };
            match (got, other.join().unwrap()) {
                (None, Some(1)) => seen.hit(0),
                (Some(2), None) => seen.hit(1),
                ends => panic!("{ends:?}"),
            }
            nobody_waits(&queues);
        }
    });
    seen.all(2);
}

/// Two wait for the same two; an item comes, and then the end: one has the item, and what
/// one does not take the other does.
#[test]
fn two_for_an_item_or_the_end() {
    explore("two_for_an_item_or_the_end", Some(2), || {
        let both = Arc::new((Queue::unbounded(), Event::new()));
        let work = |both: &(Queue<Box<usize>>, Event)| {
            select_biased! {
                wait(both.1) => 0,
                get(both.0) -> item => *item.unwrap(),
            }
        };
        let other = thread({
            let both = both.clone();
            move || work(&both)
        });
        let source = thread({
            let both = both.clone();
            move || {
                both.0.put_nowait(Box::new(1)).unwrap();
                both.1.set();
            }
        });
        let sum = work(&both) + other.join().unwrap();
        source.join().unwrap();
        assert_eq!(sum + both.0.len(), 1);
        nobody_waits(&both);
    });
}

/// Without a lock it finds that an event is set, a result there, or a latch open. What was done
/// before is visible then.
#[test]
fn ready_at_a_look() {
    let seen = Seen::new();
    explore("ready_at_a_look", None, {
        let seen = seen.clone();
        move || {
            let numbers = [0; 3].map(|_| Number::new());
            let all = (Event::new(), AsyncResult::<()>::new(), Latch::new(1));
            let all = Arc::new((all, numbers));
            let setter = thread({
                let all = all.clone();
                move || {
                    let ((event, result, latch), [a, b, c]) = &*all;
                    a.add();
                    event.set();
                    b.add();
                    result.set(()).unwrap();
                    c.add();
                    latch.count_down();
                }
            });
            let ((event, result, latch), numbers) = &*all;
            let ready = select_biased! {
                wait(latch) => 3,
                wait(result) => 2,
                wait(event) => 1,
                default => 0,
            };
            assert!(numbers.iter().take(ready).all(|number| number.get() == 1));
            seen.hit(ready);
            setter.join().unwrap();
        }
    });
    seen.all(4);
}

/// A kill of a greenlet that selects, against an item and a permit.
#[test]
fn kill_against_item_and_permit() {
    let seen = Seen::new();
    explore("kill_against_item_and_permit", Some(2), {
        let seen = seen.clone();
        move || {
            let both = Arc::new((Queue::unbounded(), Semaphore::new(0)));
            let source = thread({
                let both = both.clone();
                move || {
                    both.0.put_nowait(Box::new(7usize)).unwrap();
                    both.1.release();
                }
            });
            let hub = thread({
                let (both, seen) = (both.clone(), seen.clone());
                move || {
                    run(|| {
                        let of_waiter = both.clone();
                        let waiter = Arc::new(spawn(move || {
                            select! {
                                get(of_waiter.0) -> item => *item.unwrap(),
                                acquire(of_waiter.1) -> permit => {
                                    permit.forget();
                                    1
                                }
                            }
                        }));
                        let killer = killer(&waiter);
                        waiter.wait();
                        killer.join().unwrap();
                        match (waiter.error(), waiter.value()) {
                            (Some(JoinError::Killed), _) => seen.hit(0),
                            (None, Some(7)) => seen.hit(1),
                            (None, Some(1)) => seen.hit(2),
                            ends => panic!("{ends:?}"),
                        }
                        let taken = usize::from(waiter.error().is_none());
                        (waiter.value().copied(), taken)
                    })
                }
            });
            source.join().unwrap();
            let (value, taken) = hub.join().unwrap();
            assert_eq!(both.0.len() + both.1.available() + taken, 2);
            assert_eq!(both.0.len(), usize::from(value != Some(7)));
            nobody_waits(&both);
        }
    });
    seen.all(3);
}

/// A lock that is let go of, and an item: one of the two is got, and the lock is free in the end.
#[test]
fn lock_and_item_at_once() {
    let seen = Seen::new();
    explore("lock_and_item_at_once", Some(3), {
        let seen = seen.clone();
        move || {
            let both = Arc::new((mutex(Number::new()), Queue::unbounded()));
            let owner = thread({
                let both = both.clone();
                move || {
                    both.0.lock().add();
                }
            });
            let putter = thread({
                let both = both.clone();
                move || both.1.put_nowait(Box::new(7)).unwrap()
            });
            let had_lock = select_biased! {
                lock(both.0) -> under => {
                    under.add();
                    true
                }
                get(both.1) -> item => {
                    assert_eq!(*item.unwrap(), 7);
                    false
                }
            };
            for thread in [owner, putter] {
                thread.join().unwrap();
            }
            seen.hit(usize::from(had_lock));
            assert_eq!(both.1.len(), usize::from(had_lock));
            let under = both.0.try_lock().expect("nobody has it").get();
            assert_eq!(under, 1 + usize::from(had_lock));
            nobody_waits(&both.1);
        }
    });
    seen.all(2);
}

//! A thread ends with greenlets left: its hub closes their wait words, and others pass
//! over them from then on.
//!
//! A model's thread does what the destructor of a thread-local does otherwise (loom takes
//! all of a thread's locals away at once). Such a hub is leaked, by design; loom counts
//! its own `Arc`s and takes each that is left for a mistake, so the models give those back
//! that they know to be leaked, at the very end.

use super::super::hub::Hub;
use super::super::inbox::{Address, Inbox};
use super::super::park::{self, Party};
use super::super::sync::{Arc as Shared, AtomicUsize, Ordering};
use super::super::word::Word;
use super::{Seen, explore, nobody_waits, thread};
use crate::sync::{Event, Queue, Semaphore};
use crate::{Greenlet, HubHandle, JoinError, spawn, yield_now};
use std::cell::RefCell;
use std::fmt::Debug;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;

/// What a thread has left behind: its inbox, and the word and address of the root and of each
/// greenlet that has not ended. The record of one that has goes with its stack.
struct Left {
    inbox: *const Inbox,
    tasks: Vec<(*const Word, *const Address)>,
}

// SAFETY: what it points to is leaked, and Sync.
unsafe impl Send for Left {}

impl Left {
    /// Whether the wait of the first greenlet was closed, not ended by anybody else.
    fn closed(&self) -> bool {
        // SAFETY: leaked, so it lives.
        unsafe { &*self.tasks[1].0 }.is_closed()
    }

    /// Sets loom's account right, when nobody uses any of it any more.
    fn forgive(self) {
        // SAFETY: the counts of the leaked hub and of its records, which are gone.
        unsafe {
            for (_, address) in self.tasks {
                Shared::decrement_strong_count(address);
            }
            Shared::decrement_strong_count(self.inbox);
        }
    }
}

/// On a hub: makes its greenlets, and ends the thread although they have not.
struct Doomed(Rc<RefCell<Left>>);

/// In a greenlet: it has not ended.
struct Noted(Weak<RefCell<Left>>, usize);

impl Drop for Noted {
    fn drop(&mut self) {
        let left = self.0.upgrade().expect("the hub goes on");
        left.borrow_mut().tasks.remove(self.1);
    }
}

impl Doomed {
    fn hub() -> Self {
        let inbox = Shared::as_ptr(park::hub().inbox());
        let doomed = Doomed(Rc::new(RefCell::new(Left {
            inbox,
            tasks: Vec::new(),
        })));
        Doomed::note(&doomed.0);
        doomed
    }

    fn note(left: &RefCell<Left>) {
        let party = Party::current();
        let waiter = party.waiter();
        let task = (&raw const waiter.word, Shared::as_ptr(waiter.address()));
        left.borrow_mut().tasks.push(task);
    }

    fn spawn<T: 'static>(&self, f: impl FnOnce() -> T + 'static) -> Greenlet<T> {
        let left = self.0.clone();
        spawn(move || {
            Doomed::note(&left);
            let at = left.borrow().tasks.len() - 1;
            let _noted = Noted(Rc::downgrade(&left), at);
            drop(left);
            f()
        })
    }

    /// What is left behind; nothing if the greenlets have ended after all.
    fn end(self) -> Option<Left> {
        let hub = Hub::get().expect("made above");
        let left = hub.live() > 0;
        Hub::close();
        let all = Rc::into_inner(self.0).expect("all have begun");
        left.then(|| all.into_inner())
    }
}

/// A greenlet of a thread that ends is the first in line, a plain thread is the second,
/// and a third thread gives enough for both. The second one is always served, and what the
/// first one would have had is left, unless it had been chosen before its thread ended.
fn passed_over<P: Debug + Send + Sync + 'static>(
    name: &str,
    new: fn() -> P,
    take: fn(&P),
    give: fn(&P),
    check: fn(&P, bool),
) {
    let seen = Seen::new();
    explore(name, Some(3), {
        let seen = seen.clone();
        move || {
            let primitive = Arc::new(new());
            let hub = thread({
                let primitive = primitive.clone();
                move || {
                    let doomed = Doomed::hub();
                    let second = primitive.clone();
                    drop(doomed.spawn(move || take(&primitive)));
                    yield_now(); // it is in line
                    let second = thread(move || take(&second));
                    (doomed.end(), second)
                }
            });
            give(&primitive);
            let (left, second) = hub.join().unwrap();
            second.join().unwrap();
            let closed = left.as_ref().is_some_and(Left::closed);
            seen.hit(closed.into());
            check(&primitive, closed);
            if let Some(left) = left {
                left.forgive();
            }
        }
    });
    seen.all(2);
}

#[test]
fn event_passes_over_an_ended_thread() {
    passed_over(
        "event_passes_over_an_ended_thread",
        Event::new,
        Event::wait,
        Event::set,
        |event, _| nobody_waits(event),
    );
}

/// A permit that was given before the end is lost, which is the one documented loss.
#[test]
fn semaphore_passes_over_an_ended_thread() {
    passed_over(
        "semaphore_passes_over_an_ended_thread",
        || Semaphore::new(0),
        |permits| permits.acquire().forget(),
        |permits| (0..2).for_each(|_| permits.release()),
        |permits, closed| {
            assert_eq!(permits.available(), usize::from(closed));
            nobody_waits(permits);
        },
    );
}

/// So is an item.
#[test]
fn queue_passes_over_an_ended_thread() {
    passed_over(
        "queue_passes_over_an_ended_thread",
        Queue::unbounded,
        |queue| assert!(queue.get().is_ok()),
        |queue| (0..2).for_each(|i| queue.put(i).unwrap()),
        |queue, closed| {
            assert_eq!(queue.len(), usize::from(closed));
            nobody_waits(queue);
        },
    );
}

/// Those on other threads who join a greenlet of it, or kill it, or have just spawned one,
/// are told.
#[test]
fn joiners_of_an_ended_thread_are_told() {
    let seen = Seen::new();
    explore("joiners_of_an_ended_thread_are_told", Some(3), {
        let seen = seen.clone();
        move || {
            let told = Arc::new(AtomicUsize::new(0));
            let hub = thread({
                let (seen, told) = (seen.clone(), told.clone());
                move || {
                    let doomed = Doomed::hub();
                    let greenlet = doomed.spawn(|| Event::new().wait());
                    yield_now(); // it waits
                    let handle = HubHandle::current();
                    let joiner = thread(move || {
                        greenlet.link({
                            let told = told.clone();
                            move |_| told.store(1, Ordering::Relaxed)
                        });
                        greenlet.kill();
                        let outcome = greenlet.join();
                        assert_eq!(told.load(Ordering::Relaxed), 1);
                        match outcome {
                            Err(JoinError::Killed) => seen.hit(0),
                            Err(JoinError::HubClosed) => seen.hit(1),
                            other => panic!("{other:?}"),
                        }
                        let late = handle.spawn(|| ());
                        match late.join() {
                            Ok(()) => seen.hit(2),
                            Err(JoinError::HubClosed) => seen.hit(3),
                            Err(other) => panic!("{other}"),
                        }
                    });
                    for _ in 0..3 {
                        assert!(!Event::new().wait_timeout(Duration::ZERO));
                    }
                    (doomed.end(), joiner)
                }
            });
            let (left, joiner) = hub.join().unwrap();
            joiner.join().unwrap();
            if let Some(left) = left {
                left.forgive();
            }
        }
    });
    seen.all(4);
}

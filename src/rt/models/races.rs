//! For each primitive: a wake from another thread, the wait's own limit and a kill race
//! for one wait of a greenlet. One of them ends it; what was handed over is had, and what
//! was not is still there.
//!
//! The timer is the hub's own: it fires at the end of the turn, which the scheduler puts
//! before, into or after the wake. The kill comes from a greenlet of the same hub, after
//! the wait has begun and before its limit is over (a kill from another thread is a
//! letter, and letters are read after the timers), if a third thread has asked for it.

use super::super::sync::{AtomicUsize, Ordering};
use super::hub::on_hub;
use super::{Seen, explore, nobody_waits, thread};
use crate::sync::{AsyncResult, BoundedSemaphore, Event, Queue, Semaphore};
use crate::{JoinError, run, scope, spawn, timeout, wait_any_timeout, yield_now};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize as Plain;
use std::time::Duration;

const NOW: Duration = Duration::ZERO;

/// How one thing is given by another thread, how it is taken by a greenlet, for no longer
/// than a turn (true: it was), and what must be true afterwards.
pub(super) struct Race<P> {
    pub(super) new: fn() -> P,
    pub(super) give: fn(&P),
    pub(super) take: fn(&P) -> bool,
    pub(super) check: fn(&P, bool),
}

impl<P: Send + Sync + 'static> Race<P> {
    pub(super) fn run(self, name: &str, bound: usize) {
        let seen = Seen::new();
        explore(name, Some(bound), {
            let seen = seen.clone();
            move || {
                let primitive = Arc::new((self.new)());
                let [asked, data] = [(); 2].map(|()| Arc::new(AtomicUsize::new(0)));
                let giver = thread({
                    let (primitive, data) = (primitive.clone(), data.clone());
                    move || {
                        data.store(1, Ordering::Relaxed);
                        (self.give)(&primitive);
                    }
                });
                let taken = Arc::new(Plain::new(0));
                let hub = on_hub({
                    let (primitive, asked) = (primitive.clone(), asked.clone());
                    let (taken, seen) = (taken.clone(), seen.clone());
                    move || {
                        race(
                            move || (self.take)(&primitive),
                            &asked,
                            &data,
                            &taken,
                            &seen,
                        )
                    }
                });
                asked.store(1, Ordering::Relaxed);
                giver.join().unwrap();
                hub.join().unwrap();
                (self.check)(&primitive, taken.load(Ordering::Relaxed) == 1);
            }
        });
        seen.all(4);
    }
}

/// One greenlet takes, and notes whether it had it; another kills it if that is asked for.
fn race(
    take: impl FnOnce() -> bool + 'static,
    asked: &AtomicUsize,
    data: &Arc<AtomicUsize>,
    taken: &Arc<Plain>,
    seen: &Seen,
) {
    let waiter = spawn({
        let (taken, data) = (taken.clone(), data.clone());
        move || {
            if take() {
                assert_eq!(data.load(Ordering::Relaxed), 1);
                taken.store(1, Ordering::Relaxed);
            }
            // A second wake for that wait would come into this one.
            assert!(!Event::new().wait_timeout(NOW));
        }
    });
    scope(|s| {
        s.spawn(|| {
            if asked.load(Ordering::Relaxed) == 1 {
                waiter.kill();
            }
        });
    });
    waiter.wait();
    let killed = match waiter.error() {
        None => false,
        Some(JoinError::Killed) => true,
        Some(other) => panic!("{other}"),
    };
    seen.hit(match (taken.load(Ordering::Relaxed), killed) {
        (0, false) => 0,
        (0, true) => 1,
        (_, false) => 2,
        // Killed after it was given something: at its next wait.
        (_, true) => 3,
    });
}

#[test]
fn event_wake_expiry_kill() {
    let race = Race {
        new: Event::new,
        give: Event::set,
        take: |event| event.wait_timeout(NOW),
        check: |event, _| {
            nobody_waits(event);
            assert!(event.is_set());
        },
    };
    race.run("event_wake_expiry_kill", 5);
}

#[test]
fn async_result_wake_expiry_kill() {
    let race = Race {
        new: AsyncResult::<Box<usize>>::new,
        give: |result| result.set(Box::new(7)).unwrap(),
        take: |result| match result.wait_timeout(NOW) {
            None => false,
            Some(value) => value.is_ok_and(|value| **value == 7),
        },
        check: |result, _| {
            nobody_waits(result);
            assert!(result.is_successful());
        },
    };
    race.run("async_result_wake_expiry_kill", 5);
}

/// The permit is acquired or available.
#[test]
fn semaphore_wake_expiry_kill() {
    let race = Race {
        new: || Semaphore::new(0),
        give: Semaphore::release,
        take: |permits| permits.acquire_timeout(NOW).map(|p| p.forget()).is_some(),
        check: |permits, taken| {
            nobody_waits(permits);
            assert_eq!(permits.available(), usize::from(!taken));
        },
    };
    race.run("semaphore_wake_expiry_kill", 4);
}

/// Two permits at once, which come one after the other: both are acquired, or none.
#[test]
fn acquire_many_wake_expiry_kill() {
    let race = Race {
        new: || {
            let permits = BoundedSemaphore::new(2);
            permits.acquire_many(2).forget();
            permits
        },
        give: |permits| {
            permits.release().unwrap();
            permits.release().unwrap();
        },
        take: |permits| {
            let both = permits.acquire_many_timeout(2, NOW);
            both.map(|both| both.forget()).is_some()
        },
        check: |permits, taken| {
            nobody_waits(permits);
            assert_eq!(permits.available(), if taken { 0 } else { 2 });
        },
    };
    race.run("acquire_many_wake_expiry_kill", 3);
}

// ---- queues ----

/// A queue of tokens. A token that is lost or dropped twice shows in their count.
struct Tokens {
    queue: Queue<Arc<()>>,
    token: Arc<()>,
    /// A rendezvous on the other thread's side took place.
    met: Plain,
}

impl Tokens {
    fn of(queue: Queue<Arc<()>>) -> Self {
        Tokens {
            queue,
            token: Arc::new(()),
            met: Plain::new(0),
        }
    }

    /// As many tokens are in the queue, and nowhere else.
    fn check(&self, len: bool, unfinished: usize) {
        nobody_waits(&self.queue);
        assert_eq!(self.queue.len(), usize::from(len));
        assert_eq!(Arc::strong_count(&self.token), 1 + self.queue.len());
        assert_eq!(self.queue.unfinished(), unfinished);
    }
}

/// A hand-over: the item is got or in the queue.
#[test]
fn get_wake_expiry_kill() {
    let race = Race {
        new: || Tokens::of(Queue::unbounded()),
        give: |all| all.queue.put(all.token.clone()).unwrap(),
        take: |all| all.queue.get_timeout(NOW).is_ok(),
        check: |all, taken| all.check(!taken, 1),
    };
    race.run("get_wake_expiry_kill", 5);
}

/// Room that a get makes: the item is in the queue, or given back or dropped by the unwind.
#[test]
fn put_wake_expiry_kill() {
    let race = Race {
        new: || {
            let all = Tokens::of(Queue::bounded(1));
            all.queue.put(all.token.clone()).unwrap();
            all
        },
        give: |all| drop(all.queue.get().unwrap()),
        take: |all| all.queue.put_timeout(all.token.clone(), NOW).is_ok(),
        check: |all, taken| all.check(taken, 1 + usize::from(taken)),
    };
    race.run("put_wake_expiry_kill", 5);
}

/// A place that a get frees: it is had, or free; what is put there then is in the queue.
#[test]
fn reserve_wake_expiry_kill() {
    let race = Race {
        new: || {
            let all = Tokens::of(Queue::bounded(1));
            all.queue.put(all.token.clone()).unwrap();
            all
        },
        give: |all| drop(all.queue.get().unwrap()),
        take: |all| match all.queue.reserve_timeout(NOW) {
            Ok(slot) => {
                slot.put(all.token.clone());
                true
            }
            Err(_) => false,
        },
        check: |all, taken| {
            all.check(taken, 1 + usize::from(taken));
            assert_eq!(all.queue.is_full(), taken);
        },
    };
    race.run("reserve_wake_expiry_kill", 5);
}

/// Two items come one after the other: the first is handed over, and the second is taken with it
/// or is left.
#[test]
fn get_many_wake_expiry_kill() {
    let race = Race {
        new: || Tokens::of(Queue::unbounded()),
        give: |all| {
            all.queue.put(all.token.clone()).unwrap();
            all.queue.put(all.token.clone()).unwrap();
        },
        take: |all| {
            let got = all.queue.get_many_timeout(2, NOW);
            let n = got.map_or(0, |got| got.len());
            all.met.store(n, Ordering::Relaxed);
            n > 0
        },
        check: |all, _| {
            nobody_waits(&all.queue);
            let n = all.met.load(Ordering::Relaxed);
            assert_eq!(all.queue.len(), 2 - n);
            assert_eq!(Arc::strong_count(&all.token), 1 + 2 - n);
            assert_eq!(all.queue.unfinished(), 2);
        },
    };
    race.run("get_many_wake_expiry_kill", 4);
}

/// Room for one of two: each is in the queue, given back, or dropped by the unwind.
#[test]
fn put_many_wake_expiry_kill() {
    let race = Race {
        new: || {
            let all = Tokens::of(Queue::bounded(2));
            all.queue.put(all.token.clone()).unwrap();
            all
        },
        give: |all| drop(all.queue.get().unwrap()),
        take: |all| {
            let both = [all.token.clone(), all.token.clone()];
            let put = all.queue.put_many_timeout(both, NOW);
            put.is_ok_and(|()| all.queue.len() == 2)
        },
        check: |all, taken| {
            nobody_waits(&all.queue);
            let len = all.queue.len();
            assert!(len == 2 || !taken, "{len}");
            assert_eq!(Arc::strong_count(&all.token), 1 + len);
            assert_eq!(all.queue.unfinished(), 1 + len);
        },
    };
    race.run("put_many_wake_expiry_kill", 4);
}

/// A rendezvous whose other side does not stay either: both have met, or neither.
#[test]
fn rendezvous_get_wake_expiry_kill() {
    let race = Race {
        new: || Tokens::of(Queue::rendezvous()),
        give: |all| {
            let put = all.queue.put_timeout(all.token.clone(), NOW);
            all.met.store(put.is_ok().into(), Ordering::Relaxed);
        },
        take: |all| all.queue.get_timeout(NOW).is_ok(),
        check: met_or_not,
    };
    race.run("rendezvous_get_wake_expiry_kill", 5);
}

#[test]
fn rendezvous_put_wake_expiry_kill() {
    let race = Race {
        new: || Tokens::of(Queue::rendezvous()),
        give: |all| {
            let got = all.queue.get_timeout(NOW);
            all.met.store(got.is_ok().into(), Ordering::Relaxed);
        },
        take: |all| all.queue.put_timeout(all.token.clone(), NOW).is_ok(),
        check: met_or_not,
    };
    race.run("rendezvous_put_wake_expiry_kill", 5);
}

fn met_or_not(all: &Tokens, taken: bool) {
    assert_eq!(all.met.load(Ordering::Relaxed), usize::from(taken));
    all.check(false, usize::from(taken));
}

/// The last task is done while somebody waits for that.
#[test]
fn queue_join_wake_expiry_kill() {
    let race = Race {
        new: || {
            let all = Tokens::of(Queue::unbounded());
            all.queue.put(all.token.clone()).unwrap();
            drop(all.queue.get().unwrap());
            all
        },
        give: |all| all.queue.task_done(),
        take: |all| all.queue.join_timeout(NOW),
        check: |all, _| all.check(false, 0),
    };
    race.run("queue_join_wake_expiry_kill", 5);
}

// ---- timeout scopes ----

/// The expiry is that of a scope, which unwinds.
#[test]
fn scope_around_get_wake_expiry_kill() {
    let race = Race {
        new: || Tokens::of(Queue::unbounded()),
        give: |all| all.queue.put(all.token.clone()).unwrap(),
        take: |all| timeout(NOW, || all.queue.get()).is_ok_and(|got| got.is_ok()),
        check: |all, taken| all.check(!taken, 1),
    };
    race.run("scope_around_get_wake_expiry_kill", 5);
}

#[test]
fn scope_around_acquire_wake_expiry_kill() {
    let race = Race {
        new: || Semaphore::new(0),
        give: Semaphore::release,
        take: |permits| timeout(NOW, || permits.acquire().forget()).is_ok(),
        check: |permits, taken| {
            nobody_waits(permits);
            assert_eq!(permits.available(), usize::from(!taken));
        },
    };
    race.run("scope_around_acquire_wake_expiry_kill", 4);
}

// ---- the first of several ----

/// An event and a result, set one right after the other.
#[test]
fn wait_any_wake_expiry_kill() {
    let race = Race {
        new: || (Event::new(), AsyncResult::<Box<usize>>::new()),
        give: |(event, result)| {
            event.set();
            result.set(Box::new(7)).unwrap();
        },
        take: |(event, result)| match wait_any_timeout(&[result, event], NOW) {
            None => false,
            Some(0) => result.value().is_some_and(|value| **value == 7),
            Some(_) => event.is_set(),
        },
        check: |(event, result), _| {
            nobody_waits(event);
            nobody_waits(result);
            assert!(event.is_set() && result.is_successful());
        },
    };
    race.run("wait_any_wake_expiry_kill", 3);
}

// ---- the end of a greenlet ----

/// What is waited for is the end of a greenlet on another hub, which ends too.
#[test]
fn join_wake_expiry_kill() {
    let seen = Seen::new();
    explore("join_wake_expiry_kill", Some(4), {
        let seen = seen.clone();
        move || {
            let [asked, data] = [(); 2].map(|()| Arc::new(AtomicUsize::new(0)));
            let taken = Arc::new(Plain::new(0));
            let there = thread({
                let (asked, seen) = (asked.clone(), seen.clone());
                move || {
                    run(|| {
                        let ending = spawn({
                            let data = data.clone();
                            move || data.store(1, Ordering::Relaxed)
                        });
                        let here = on_hub(move || {
                            let ending = Arc::new(ending);
                            let take = {
                                let ending = ending.clone();
                                move || ending.wait_timeout(NOW)
                            };
                            race(take, &asked, &data, &taken, &seen);
                            ending.wait();
                            nobody_waits(&ending);
                            assert!(ending.is_successful());
                        });
                        yield_now(); // it ends
                        here
                    })
                }
            });
            asked.store(1, Ordering::Relaxed);
            there.join().unwrap().join().unwrap();
        }
    });
    seen.all(4);
}

// ---- a thread without a hub ----

/// The expiry of a scope on a plain thread, which has no timers, against a hand-over.
///
/// Twice, with either side first, as in `inbox::push_against_close`.
#[test]
fn scope_of_a_thread_against_a_hand_over() {
    let seen = Seen::new();
    for getter_is_main in [false, true] {
        let seen = seen.clone();
        explore("scope_of_a_thread_against_a_hand_over", None, move || {
            let all = Arc::new(Tokens::of(Queue::unbounded()));
            let (putting, getting) = (all.clone(), all.clone());
            let put = move || putting.queue.put(putting.token.clone()).unwrap();
            let seen = seen.clone();
            let get = move || {
                let got = timeout(NOW, || getting.queue.get()).is_ok_and(|got| got.is_ok());
                seen.hit(got.into());
                got
            };
            let got = match getter_is_main {
                true => {
                    let putter = thread(put);
                    let got = get();
                    putter.join().unwrap();
                    got
                }
                false => {
                    let getter = thread(get);
                    put();
                    getter.join().unwrap()
                }
            };
            all.check(!got, 1);
        });
    }
    seen.all(2);
}

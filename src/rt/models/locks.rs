//! Mutex, RwLock, ReentrantMutex and Condvar.
//!
//! What a lock guards is read and written with other atomics, relaxed, so that only the lock
//! orders it. lock_api's own cell is not loom's.

use super::super::sync::{AtomicUsize, Ordering};
use super::batches::Crowd;
use super::hub::on_hub;
use super::races::Race;
use super::{Seen, explore, nobody_waits, thread};
use crate::sync::{
    Condvar, Mutex, ReentrantMutex, RwLock, RwLockUpgradableReadGuard, RwLockWriteGuard,
};
use crate::{spawn, yield_now};

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::time::Duration;

const NOW: Duration = Duration::ZERO;

/// A number that loom watches: two steps that only a lock makes one.
#[derive(Clone)]
pub(super) struct Number(Arc<AtomicUsize>);

impl Number {
    pub(super) fn new() -> Self {
        Number(Arc::new(AtomicUsize::new(0)))
    }

    pub(super) fn get(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    pub(super) fn add(&self) {
        let n = self.get();
        self.0.store(n + 1, Ordering::Relaxed);
    }
}

// A model's lock is made at its first use; here, so that all of the model's threads see that.

pub(super) fn mutex<T>(value: T) -> Mutex<T> {
    let mutex = Mutex::new(value);
    assert!(!mutex.is_locked());
    mutex
}

fn rwlock<T>(value: T) -> RwLock<T> {
    let lock = RwLock::new(value);
    assert!(!lock.is_locked());
    lock
}

fn reentrant<T>(value: T) -> ReentrantMutex<T> {
    let mutex = ReentrantMutex::new(value);
    assert!(!mutex.is_locked());
    mutex
}

fn is_free<T>(mutex: &Mutex<T>) {
    // SAFETY: it is only looked at.
    nobody_waits(unsafe { mutex.raw() });
    assert!(!mutex.is_locked());
}

fn is_free_too<T>(lock: &RwLock<T>) {
    // SAFETY: it is only looked at.
    let raw = unsafe { lock.raw() };
    nobody_waits(raw);
    let text = format!("{raw:?}");
    assert!(
        !lock.is_locked() && text.contains("upgradable: false"),
        "{text}"
    );
}

/// Two that lock and one that tries: never two at once, and each sees what was done before.
#[test]
fn mutex_excludes() {
    explore("mutex_excludes", Some(2), || {
        let (mutex, n) = (Arc::new(self::mutex(())), Number::new());
        let workers = [(); 2].map(|()| {
            let (mutex, n) = (mutex.clone(), n.clone());
            thread(move || {
                let _guard = mutex.lock();
                n.add();
            })
        });
        let tried = mutex.try_lock().map(|_guard| n.add()).is_some();
        for worker in workers {
            worker.join().unwrap();
        }
        assert_eq!(n.get(), 2 + usize::from(tried));
        is_free(&mutex);
    });
}

/// The one in the middle of the line leaves while the lock is handed over.
#[test]
fn mutex_hand_off_against_leaving() {
    let seen = Seen::new();
    explore("mutex_hand_off_against_leaving", Some(2), {
        let seen = seen.clone();
        move || {
            let (mutex, n) = (Arc::new(self::mutex(())), Number::new());
            let held = mutex.lock();
            let leaver = thread({
                let (mutex, n, seen) = (mutex.clone(), n.clone(), seen.clone());
                move || {
                    let guard = mutex.try_lock_for(NOW);
                    guard.iter().for_each(|_| n.add());
                    seen.hit(guard.is_some().into());
                }
            });
            let next = thread({
                let (mutex, n) = (mutex.clone(), n.clone());
                move || {
                    let _guard = mutex.lock();
                    n.add();
                }
            });
            n.add();
            drop(held);
            leaver.join().unwrap();
            next.join().unwrap();
            is_free(&mutex);
        }
    });
    seen.all(2);
}

/// An unlock, the limit and a kill for one who waits.
#[test]
fn mutex_wake_expiry_kill() {
    let race = Race {
        new: || mutex(false),
        give: |mutex| *mutex.lock() = true,
        take: |mutex| mutex.try_lock_for(NOW).is_some_and(|given| *given),
        check: |mutex, _| is_free(mutex),
    };
    race.run("mutex_wake_expiry_kill", 4);
}

/// Greenlets of two hubs keep the lock over a switch.
#[test]
fn mutex_between_hubs() {
    explore("mutex_between_hubs", Some(2), || {
        let (mutex, n) = (Arc::new(self::mutex(())), Number::new());
        let hubs = [(); 2].map(|()| {
            let (mutex, n) = (mutex.clone(), n.clone());
            on_hub(move || {
                let workers = [(); 2].map(|()| {
                    let (mutex, n) = (mutex.clone(), n.clone());
                    spawn(move || {
                        let _guard = mutex.lock();
                        let before = n.get();
                        yield_now();
                        assert_eq!(n.get(), before);
                        n.add();
                    })
                });
                for worker in workers {
                    worker.join().unwrap();
                }
            })
        });
        for hub in hubs {
            hub.join().unwrap();
        }
        assert_eq!(n.get(), 4);
        is_free(&mutex);
    });
}

/// Two nest; one of them tries from inside.
#[test]
fn reentrant_excludes() {
    explore("reentrant_excludes", Some(2), || {
        let (mutex, n) = (Arc::new(reentrant(())), Number::new());
        let other = thread({
            let (mutex, n) = (mutex.clone(), n.clone());
            move || {
                let _outer = mutex.lock();
                n.add();
                let _inner = mutex.lock();
                n.add();
            }
        });
        {
            let _outer = mutex.lock();
            let before = n.get();
            drop(mutex.try_lock().expect("its own"));
            n.add();
            assert_eq!(n.get(), before + 1);
        }
        other.join().unwrap();
        assert_eq!(n.get(), 3);
        assert!(!mutex.is_locked());
    });
}

// ---- readers and writers ----

/// Two writers, a reader and one that only tries to read: nobody sees half of what is written.
#[test]
fn readers_and_writers() {
    explore("readers_and_writers", Some(2), || {
        let lock = Arc::new(rwlock(()));
        let [a, b] = [(); 2].map(|()| Number::new());
        let write = |lock: &RwLock<()>, a: &Number, b: &Number| {
            let _guard = lock.write();
            a.add();
            b.add();
        };
        let writer = thread({
            let (lock, a, b) = (lock.clone(), a.clone(), b.clone());
            move || write(&lock, &a, &b)
        });
        let reader = thread({
            let (lock, a, b) = (lock.clone(), a.clone(), b.clone());
            move || {
                let _guard = lock.read();
                assert_eq!(a.get(), b.get());
            }
        });
        if let Some(_guard) = lock.try_read() {
            assert_eq!(a.get(), b.get());
        }
        write(&lock, &a, &b);
        writer.join().unwrap();
        reader.join().unwrap();
        assert_eq!((a.get(), b.get()), (2, 2));
        is_free_too(&lock);
    });
}

/// A reader's and a writer's wait, each against the other's unlock, the limit and a kill.
#[test]
fn write_wake_expiry_kill() {
    let race = Race {
        new: || (rwlock(()), std::sync::atomic::AtomicBool::new(false)),
        give: |(lock, given)| {
            let _guard = lock.read();
            given.store(true, Ordering::Relaxed);
        },
        take: |(lock, given)| {
            let guard = lock.try_write_for(NOW);
            guard.is_some() && given.load(Ordering::Relaxed)
        },
        check: |(lock, _), _| is_free_too(lock),
    };
    race.run("write_wake_expiry_kill", 4);
}

#[test]
fn read_wake_expiry_kill() {
    let race = Race {
        new: || rwlock(false),
        give: |lock| *lock.write() = true,
        take: |lock| lock.try_read_for(NOW).is_some_and(|given| *given),
        check: |lock, _| is_free_too(lock),
    };
    race.run("read_wake_expiry_kill", 4);
}

/// A writer leaves from before a reader, who need not wait for the one that reads already.
#[test]
fn writer_that_leaves_lets_readers_in() {
    let seen = Seen::new();
    explore("writer_that_leaves_lets_readers_in", Some(2), {
        let seen = seen.clone();
        move || {
            let lock = Arc::new(rwlock(()));
            let held = lock.read();
            let writer = thread({
                let lock = lock.clone();
                move || assert!(lock.try_write_for(NOW).is_none())
            });
            let reader = thread({
                let (lock, seen) = (lock.clone(), seen.clone());
                move || {
                    let at_once = lock.try_read();
                    seen.hit(at_once.is_some().into());
                    drop(at_once.unwrap_or_else(|| lock.read()));
                }
            });
            writer.join().unwrap();
            reader.join().unwrap();
            drop(held);
            is_free_too(&lock);
        }
    });
    seen.all(2);
}

/// Two upgrade, one after the other, and a reader sees all of what either does.
#[test]
fn upgrade_against_upgrade() {
    explore("upgrade_against_upgrade", Some(2), || {
        let lock = Arc::new(rwlock(()));
        let [a, b] = [(); 2].map(|()| Number::new());
        let upgrade = |lock: &RwLock<()>, a: &Number, b: &Number| {
            let guard = lock.upgradable_read();
            let before = a.get();
            let guard = RwLockUpgradableReadGuard::upgrade(guard);
            assert_eq!(a.get(), before, "nobody writes in between");
            a.add();
            b.add();
            let guard = RwLockWriteGuard::downgrade(guard);
            assert_eq!(a.get(), before + 1);
            drop(guard);
        };
        let upgrader = thread({
            let (lock, a, b) = (lock.clone(), a.clone(), b.clone());
            move || upgrade(&lock, &a, &b)
        });
        let reader = thread({
            let (lock, a, b) = (lock.clone(), a.clone(), b.clone());
            move || {
                let _guard = lock.read();
                assert_eq!(a.get(), b.get());
            }
        });
        upgrade(&lock, &a, &b);
        upgrader.join().unwrap();
        reader.join().unwrap();
        assert_eq!(a.get(), 2);
        is_free_too(&lock);
    });
}

/// An upgrade whose time is over, against the last reader's unlock: it writes, or it still has
/// its upgradable lock, and the reader that came meanwhile is let in.
#[test]
fn upgrade_against_leaving() {
    let seen = Seen::new();
    explore("upgrade_against_leaving", Some(2), {
        let seen = seen.clone();
        move || {
            let lock = Arc::new(rwlock(()));
            let n = Number::new();
            let held = lock.read();
            let upgrader = thread({
                let (lock, n, seen) = (lock.clone(), n.clone(), seen.clone());
                move || {
                    let guard = lock.upgradable_read();
                    match RwLockUpgradableReadGuard::try_upgrade_for(guard, NOW) {
                        Ok(_guard) => {
                            n.add();
                            seen.hit(0);
                        }
                        Err(guard) => {
                            let second = lock.try_upgradable_read();
                            assert!(second.is_none() && lock.try_write().is_none());
                            drop(guard);
                            seen.hit(1);
                        }
                    }
                }
            });
            let reader = thread({
                let (lock, n) = (lock.clone(), n.clone());
                move || {
                    let _guard = lock.read();
                    n.get()
                }
            });
            n.add();
            drop(held);
            upgrader.join().unwrap();
            assert!(reader.join().unwrap() <= 2);
            is_free_too(&lock);
        }
    });
    seen.all(2);
}

// ---- conditions ----

/// A mutex and what is waited for.
#[derive(Debug)]
struct Gate {
    open: Mutex<bool>,
    changed: Condvar,
}

impl Gate {
    fn new() -> Self {
        Gate {
            open: mutex(false),
            changed: Condvar::new(),
        }
    }

    fn open(&self) {
        *self.open.lock() = true;
        self.changed.notify_all();
    }

    fn wait(&self) {
        self.changed
            .wait_while(&mut self.open.lock(), |open| !*open);
    }

    fn wait_now(&self) -> bool {
        let mut open = self.open.lock();
        let waited = catch_unwind(AssertUnwindSafe(|| {
            self.changed
                .wait_while_timeout(&mut open, NOW, |open| !*open)
        }));
        // Not in the unwind: see `models`.
        drop(open);
        waited.unwrap_or_else(|payload| resume_unwind(payload))
    }

    fn check(&self) {
        is_free(&self.open);
        nobody_waits(&self.changed);
    }
}

/// One that waits with a limit and one without, and a notification for one: if the first one
/// leaves, the second one has it.
#[test]
fn notify_one_against_leaving() {
    let seen = Seen::new();
    explore("notify_one_against_leaving", Some(1), {
        let seen = seen.clone();
        move || {
            let all = Arc::new((mutex(0), Condvar::new()));
            let stayer = thread({
                let all = all.clone();
                move || {
                    let (tokens, more) = &*all;
                    more.wait_while(&mut tokens.lock(), |tokens| *tokens == 0);
                }
            });
            let notifier = thread({
                let all = all.clone();
                move || {
                    let (tokens, more) = &*all;
                    *tokens.lock() += 1;
                    more.notify_one();
                }
            });
            let (tokens, more) = &*all;
            let mut held = tokens.lock();
            let notified = *held > 0 || more.wait_timeout(&mut held, NOW);
            drop(held);
            seen.hit(notified.into());
            // It was for this one, who passes it on.
            if notified {
                more.notify_one();
            }
            stayer.join().unwrap();
            notifier.join().unwrap();
            is_free(tokens);
            nobody_waits(more);
        }
    });
    seen.all(2);
}

/// Those who wait when all are notified go on; who comes later sees the condition.
#[test]
fn notify_all_against_arrivals() {
    explore("notify_all_against_arrivals", Some(2), || {
        let (gate, data) = (Arc::new(Gate::new()), Number::new());
        let waiters = [(); 2].map(|()| {
            let (gate, data) = (gate.clone(), data.clone());
            thread(move || {
                gate.wait();
                assert_eq!(data.get(), 1);
            })
        });
        data.add();
        gate.open();
        for waiter in waiters {
            waiter.join().unwrap();
        }
        gate.check();
    });
}

/// A notification for one while the turn of those who were notified before goes round.
#[test]
fn notify_one_while_all_are_being_woken() {
    explore("notify_one_while_all_are_being_woken", Some(3), || {
        let all = Arc::new((mutex(0), Condvar::new()));
        let hub = on_hub({
            let all = all.clone();
            move || {
                // Three wait whatever the number is: only a notification ends that.
                let waiters = [(); 3].map(|()| {
                    let all = all.clone();
                    spawn(move || all.1.wait(&mut all.0.lock()))
                });
                yield_now(); // all of them wait
                let notifier = thread({
                    let all = all.clone();
                    move || all.1.notify_one()
                });
                let other = spawn({
                    let all = all.clone();
                    move || all.1.notify_all()
                });
                for waiter in waiters {
                    waiter.join().unwrap();
                }
                other.join().unwrap();
                notifier.join().unwrap();
            }
        });
        hub.join().unwrap();
        is_free(&all.0);
        nobody_waits(&all.1);
    });
}

/// A notification, the limit and a kill; whatever it is, the mutex is had again and given back.
#[test]
fn condvar_wake_expiry_kill() {
    let race = Race {
        new: Gate::new,
        give: Gate::open,
        take: Gate::wait_now,
        check: |gate, _| gate.check(),
    };
    race.run("condvar_wake_expiry_kill", 2);
}

/// Three wait and the middle one leaves, while the turn goes from one to the next.
#[test]
fn notify_all_for_three() {
    let crowd = Crowd {
        new: Gate::new,
        wake: Gate::open,
        wait: Gate::wait,
        wait_now: Gate::wait_now,
    };
    crowd.run("notify_all_for_three", 3);
}

/// A greenlet waits for what one of another hub does.
#[test]
fn condvar_between_hubs() {
    explore("condvar_between_hubs", Some(2), || {
        let (gate, data) = (Arc::new(Gate::new()), Number::new());
        let waiting = on_hub({
            let (gate, data) = (gate.clone(), data.clone());
            move || {
                let waiter = spawn(move || {
                    gate.wait();
                    assert_eq!(data.get(), 1);
                });
                waiter.join().unwrap();
            }
        });
        let opening = on_hub({
            let gate = gate.clone();
            move || {
                let opener = spawn(move || {
                    data.add();
                    gate.open();
                });
                opener.join().unwrap();
            }
        });
        waiting.join().unwrap();
        opening.join().unwrap();
        gate.check();
    });
}

//! Mutex, RwLock, ReentrantMutex and Condvar: what each promises, in a `Simulation` where only
//! greenlets take part, and random programs beside naive models that are written from the docs.
//!
//! In the random programs each greenlet locks once. All that it does takes a time of its own (a
//! power of two of nanoseconds is added to each), so that no two things happen at once and the
//! model need not know of ties.

use greenlet::sync::{
    Condvar, Event, Mutex, MutexGuard, ReentrantMutex, RwLock, RwLockUpgradableReadGuard,
    RwLockWriteGuard,
};
use greenlet::testing::Simulation;
use greenlet::{Greenlet, now, scope, shield, sleep, spawn, timeout, yield_now};
use proptest::prelude::*;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn simulate<R>(f: impl FnOnce() -> R) -> R {
    Simulation::new().run(f)
}

/// What a closure panics with.
fn panics(f: impl FnOnce()) -> String {
    let payload = catch_unwind(AssertUnwindSafe(f)).expect_err("a panic");
    match payload.downcast::<String>() {
        Ok(text) => *text,
        Err(other) => (*other.downcast::<&str>().expect("a text")).to_string(),
    }
}

/// In which order things were done.
#[derive(Clone, Default)]
struct Log(Rc<RefCell<Vec<String>>>);

impl Log {
    fn say(&self, text: impl Into<String>) {
        self.0.borrow_mut().push(text.into());
    }

    fn take(&self) -> Vec<String> {
        self.0.take()
    }
}

fn all_end(greenlets: impl IntoIterator<Item = Greenlet<()>>) {
    for ended in greenlet::join_all(greenlets) {
        ended.unwrap();
    }
}

// ---- Mutex ----

#[test]
fn mutex_goes_to_the_first_in_line_and_nobody_barges() {
    simulate(|| {
        let (mutex, log) = (Rc::new(Mutex::new(())), Log::default());
        let held = mutex.lock();
        let waiters: Vec<_> = (0..3)
            .map(|i| {
                let (mutex, log) = (mutex.clone(), log.clone());
                spawn(move || {
                    let _guard = mutex.lock();
                    log.say(i.to_string());
                    yield_now();
                })
            })
            .collect();
        yield_now(); // all wait
        drop(held);
        // It is the first one's by now, though that has not run yet.
        assert!(mutex.is_locked() && mutex.try_lock().is_none());
        drop(mutex.lock());
        log.say("root");
        assert_eq!(log.take(), ["0", "1", "2", "root"]);
        assert!(!mutex.is_locked());
        all_end(waiters);
    });
}

#[test]
fn locking_what_one_holds_is_a_panic_that_says_so() {
    simulate(|| {
        let mutex = Mutex::new(0);
        let guard = mutex.lock();
        for f in [
            (|m| drop(m.lock())) as fn(&Mutex<i32>),
            |m| drop(m.try_lock_for(ms(1))),
            |m| drop(m.try_lock_until(now() + ms(1))),
        ] {
            let text = panics(|| f(&mutex));
            assert!(
                text.contains("Mutex::") && text.contains("wait for itself"),
                "{text}"
            );
        }
        assert!(mutex.try_lock().is_none());
        drop(guard);
        // It is as it was.
        assert_eq!(*mutex.lock(), 0);
        let lock = RwLock::new(0);
        let guard = lock.write();
        for f in [
            (|l| drop(l.write())) as fn(&RwLock<i32>),
            |l| drop(l.read()),
            |l| drop(l.upgradable_read()),
            |l| drop(l.try_write_for(ms(1))),
            |l| drop(l.try_read_for(ms(1))),
        ] {
            let text = panics(|| f(&lock));
            assert!(
                text.contains("RwLock::") && text.contains("wait for itself"),
                "{text}"
            );
        }
        let guard = RwLockWriteGuard::downgrade_to_upgradable(guard);
        for f in [(|l| drop(l.write())) as fn(&RwLock<i32>), |l| {
            drop(l.upgradable_read())
        }] {
            assert!(panics(|| f(&lock)).contains("wait for itself"));
        }
        drop(lock.read());
        drop(guard);
        assert!(!lock.is_locked());
        // Another greenlet is another owner; so is the root.
        let _guard = mutex.lock();
        let other = scope(|s| {
            s.spawn(|| mutex.try_lock_for(ms(1)).is_none())
                .join()
                .unwrap()
        });
        assert!(other);
    });
}

/// The root of a thread is the thread: it stays the owner when the thread gets a hub.
#[test]
fn a_thread_that_gets_its_hub_stays_the_owner() {
    std::thread::spawn(|| {
        let (mutex, nested) = (Mutex::new(()), ReentrantMutex::new(()));
        let (_guard, _outer) = (mutex.lock(), nested.lock());
        greenlet::run(|| {
            spawn(|| ()).join().unwrap();
            assert!(panics(|| drop(mutex.lock())).contains("wait for itself"));
            drop(nested.lock());
        });
        assert!(panics(|| drop(mutex.lock())).contains("wait for itself"));
        assert!(nested.is_owned_by_current_thread());
    })
    .join()
    .unwrap();
}

#[test]
fn a_hub_runs_on_while_a_greenlet_waits_for_another_threads_lock() {
    let mutex = Arc::new(Mutex::new(0));
    let (locked, release) = (Arc::new(Event::new()), Arc::new(Event::new()));
    let holder = std::thread::spawn({
        let (mutex, locked, release) = (mutex.clone(), locked.clone(), release.clone());
        move || {
            let mut guard = mutex.lock();
            locked.set();
            release.wait();
            *guard = 7;
        }
    });
    locked.wait();
    let waiter = spawn({
        let mutex = mutex.clone();
        move || *mutex.lock()
    });
    yield_now();
    // Set by the hub that would be blocked.
    spawn(move || release.set()).join().unwrap();
    assert_eq!(waiter.join().unwrap(), 7);
    holder.join().unwrap();
}

#[test]
fn kills_limits_and_scopes_end_a_wait_and_take_nothing() {
    simulate(|| {
        let mutex = Rc::new(Mutex::new(()));
        let held = mutex.lock();
        let wait = || {
            let mutex = mutex.clone();
            spawn(move || drop(mutex.lock()))
        };
        let (killed, behind) = (wait(), wait());
        yield_now();
        killed.kill();
        assert!(killed.join().unwrap_err().is_killed());
        let begin = now();
        scope(|s| {
            s.spawn(|| {
                assert!(mutex.try_lock_for(ms(5)).is_none());
                assert!(mutex.try_lock_until(begin + ms(7)).is_none());
                assert_eq!(now() - begin, ms(7));
                assert!(timeout(ms(3), || drop(mutex.lock())).is_err());
                assert_eq!(now() - begin, ms(10));
            });
        });
        assert!(!behind.is_finished());
        drop(held);
        behind.join().unwrap();
        assert!(!mutex.is_locked());
    });
}

/// Handed over before the kill: it is had, and the kill comes at the next wait.
#[test]
fn a_lock_that_was_handed_over_is_had_though_a_kill_comes() {
    simulate(|| {
        let (mutex, log) = (Rc::new(Mutex::new(())), Log::default());
        let held = mutex.lock();
        let next = spawn({
            let (mutex, log) = (mutex.clone(), log.clone());
            move || {
                let _guard = mutex.lock();
                log.say("has it");
                yield_now();
                log.say("never");
            }
        });
        yield_now();
        drop(held);
        next.kill();
        assert!(next.join().unwrap_err().is_killed());
        assert_eq!(log.take(), ["has it"]);
        assert!(!mutex.is_locked(), "its unwind has unlocked");
    });
}

/// A panic or a kill unlocks; there is no poison.
#[test]
fn nothing_is_poisoned() {
    simulate(|| {
        let mutex = Mutex::new(1);
        panics(|| {
            *mutex.lock() = 2;
            let _guard = mutex.lock();
            panic!("while it is locked");
        });
        assert_eq!(*mutex.lock(), 2);
    });
}

// ---- while panicking ----

struct OnDrop<F: FnMut()>(F);

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

/// A destructor of an unwind wants a lock that another thread has, and that nobody of this
/// thread waits for: it blocks the thread.
#[test]
fn a_lock_of_other_threads_blocks_the_thread_that_panics() {
    let mutex = Arc::new(Mutex::new(0));
    let (locked, release) = (Arc::new(Event::new()), Arc::new(Event::new()));
    let holder = std::thread::spawn({
        let (mutex, locked, release) = (mutex.clone(), locked.clone(), release.clone());
        move || {
            let mut guard = mutex.lock();
            locked.set();
            release.wait();
            // It has nothing to wait for that would show that the other one waits by now; the
            // answer is the same if it does not.
            std::thread::yield_now();
            *guard = 7;
        }
    });
    locked.wait();
    let seen = Rc::new(Cell::new(0));
    let panicking = spawn({
        let (mutex, seen) = (mutex.clone(), seen.clone());
        move || {
            let _late = OnDrop(|| {
                release.set();
                assert!(mutex.try_lock_for(ms(1)).is_none_or(|n| *n == 7));
                seen.set(*mutex.lock());
            });
            panic!("on purpose");
        }
    });
    assert!(panicking.join().is_err());
    assert_eq!(seen.get(), 7);
    holder.join().unwrap();
}

/// The line passes over one whose thread has ended without ending its greenlets.
#[test]
fn a_lock_passes_over_a_waiter_whose_thread_has_ended() {
    let (mutex, lock) = (Arc::new(Mutex::new(())), Arc::new(RwLock::new(())));
    let (held, read) = (mutex.lock(), lock.read());
    std::thread::spawn({
        let (mutex, lock) = (mutex.clone(), lock.clone());
        move || {
            // Dropped handles detach; the thread ends with both in line.
            drop(spawn(move || drop(mutex.lock())));
            drop(spawn(move || drop(lock.write())));
            yield_now();
        }
    })
    .join()
    .unwrap();
    // The writer in line will never run: it keeps no reader out.
    drop(lock.try_read().expect("a reader"));
    drop((held, read));
    assert!(!mutex.is_locked() && !lock.is_locked());
}

// ---- RwLock ----

#[test]
fn a_run_of_readers_is_let_in_together_and_a_writer_stops_them() {
    simulate(|| {
        let (lock, log) = (Rc::new(RwLock::new(())), Log::default());
        let reader = |name: &'static str| {
            let (lock, log) = (lock.clone(), log.clone());
            spawn(move || {
                let _guard = lock.read();
                log.say(name);
                sleep(ms(1));
                log.say(name.to_uppercase());
            })
        };
        let writer = |name: &'static str| {
            let (lock, log) = (lock.clone(), log.clone());
            spawn(move || {
                let _guard = lock.write();
                log.say(name);
                sleep(ms(1));
                log.say(name.to_uppercase());
            })
        };
        let all = [
            reader("a"),
            reader("b"),
            writer("w"),
            reader("c"),
            reader("d"),
            writer("x"),
            reader("e"),
        ];
        yield_now();
        assert!(lock.try_read().is_none(), "a writer waits");
        all_end(all);
        let order = "a b A B w W c d C D x X e E";
        assert_eq!(log.take().join(" "), order);
    });
}

/// All in line behind a writer that leaves are readers, and one reads already.
#[test]
fn a_writer_that_leaves_lets_the_readers_behind_it_in() {
    simulate(|| {
        let lock = Rc::new(RwLock::new(()));
        let held = lock.read();
        for kill in [false, true] {
            let writer = spawn({
                let lock = lock.clone();
                move || lock.try_write_for(ms(5)).is_some()
            });
            let reader = spawn({
                let lock = lock.clone();
                move || drop(lock.read())
            });
            yield_now();
            assert!(!reader.is_finished());
            if kill {
                writer.kill();
            }
            reader.join().unwrap();
            assert!(writer.join().is_ok_and(|locked| !locked) != kill);
        }
        drop(held);
        assert!(!lock.is_locked());
    });
}

#[test]
fn one_upgradable_reader_beside_readers_and_it_upgrades_before_all_in_line() {
    simulate(|| {
        let (lock, log) = (Arc::new(RwLock::new(0)), Log::default());
        let reading = lock.read_arc();
        let upgradable = lock.upgradable_read();
        assert!(lock.try_upgradable_read().is_none() && lock.try_write().is_none());
        drop(lock.try_read().expect("readers are let in beside it"));
        let writer = spawn({
            let (lock, log) = (lock.clone(), log.clone());
            move || {
                *lock.write() += 1;
                log.say("writer");
            }
        });
        yield_now(); // it is in line
        let reader = spawn({
            let (lock, log) = (lock.clone(), log.clone());
            move || {
                sleep(ms(1));
                drop(reading);
                log.say("unlocked");
                drop(lock.read());
            }
        });
        let upgradable = RwLockUpgradableReadGuard::try_upgrade(upgradable).expect_err("read too");
        let before = *upgradable;
        let mut writing = RwLockUpgradableReadGuard::upgrade(upgradable);
        log.say("upgraded");
        assert_eq!(*writing, before);
        *writing += 1;
        drop(writing);
        writer.join().unwrap();
        reader.join().unwrap();
        assert_eq!(log.take(), ["unlocked", "upgraded", "writer"]);
        assert_eq!(*lock.read(), 2);
    });
}

/// No reader is let in before an upgrade that waits; if that is given up, they are.
#[test]
fn an_upgrade_whose_time_is_over_is_upgradable_still_and_one_that_is_killed_is_nothing() {
    simulate(|| {
        let lock = Rc::new(RwLock::new(()));
        let held = lock.read();
        let reader = |lock: &Rc<RwLock<()>>| {
            let lock = lock.clone();
            spawn(move || drop(lock.read()))
        };
        let behind = scope(|s| {
            let upgrader = s.spawn(|| {
                let guard = lock.upgradable_read();
                let guard = RwLockUpgradableReadGuard::try_upgrade_for(guard, ms(5));
                let guard = guard.expect_err("one reads");
                assert!(lock.try_upgradable_read().is_none());
                sleep(ms(1));
                drop(guard);
            });
            yield_now();
            assert!(lock.try_read().is_none());
            let behind = reader(&lock);
            upgrader.join().unwrap();
            behind
        });
        behind.join().unwrap();
        let killed = spawn({
            let lock = lock.clone();
            move || drop(RwLockUpgradableReadGuard::upgrade(lock.upgradable_read()))
        });
        yield_now();
        let behind = reader(&lock);
        yield_now();
        assert!(!behind.is_finished());
        killed.kill();
        behind.join().unwrap();
        drop(lock.try_upgradable_read().expect("the unwind gave it up"));
        drop(held);
        assert!(!lock.is_locked());
    });
}

#[test]
fn downgrades_let_those_in_who_may_read_then() {
    simulate(|| {
        let lock = Rc::new(RwLock::new(1));
        let writing = lock.write();
        let reader = spawn({
            let lock = lock.clone();
            move || *lock.read()
        });
        let upgradable = spawn({
            let lock = lock.clone();
            move || drop(lock.upgradable_read())
        });
        yield_now();
        let own = RwLockWriteGuard::downgrade_to_upgradable(writing);
        assert_eq!(reader.join().unwrap(), 1);
        assert!(!upgradable.is_finished());
        let own = RwLockUpgradableReadGuard::downgrade(own);
        upgradable.join().unwrap();
        drop(own);
        let writing = lock.write();
        let reader = spawn({
            let lock = lock.clone();
            move || *lock.read()
        });
        yield_now();
        let own = RwLockWriteGuard::downgrade(writing);
        reader.join().unwrap();
        drop(own);
        assert!(!lock.is_locked());
    });
}

// ---- ReentrantMutex ----

#[test]
fn a_reentrant_mutex_is_unlocked_by_the_last_of_its_guards() {
    simulate(|| {
        let mutex = Rc::new(ReentrantMutex::new(Cell::new(0)));
        let other = || {
            let mutex = mutex.clone();
            spawn(move || mutex.try_lock().is_some()).join().unwrap()
        };
        let outer = mutex.lock();
        let inner = mutex.try_lock_for(ms(1)).expect("its own");
        drop(outer);
        assert!(mutex.is_locked() && !other());
        let waiter = spawn({
            let mutex = mutex.clone();
            move || {
                let (a, _b) = (mutex.lock(), mutex.lock());
                a.set(a.get() + 1);
            }
        });
        yield_now();
        assert!(!waiter.is_finished());
        drop(inner);
        waiter.join().unwrap();
        assert!(other() && mutex.lock().get() == 1);
    });
}

// ---- Condvar ----

type Gate = Rc<(Mutex<bool>, Condvar)>;

fn gate() -> Gate {
    Rc::new((Mutex::new(false), Condvar::new()))
}

/// A greenlet that waits for one notification, and says when it has the mutex again. It keeps
/// it for a millisecond.
fn waiter(gate: &Gate, log: &Log, name: &'static str) -> Greenlet<()> {
    let (gate, log) = (gate.clone(), log.clone());
    spawn(move || {
        let mut guard = gate.0.lock();
        gate.1.wait(&mut guard);
        log.say(name);
        sleep(ms(1));
    })
}

#[test]
fn notifications_go_to_the_first_in_line_and_are_not_kept() {
    simulate(|| {
        let (gate, log) = (gate(), Log::default());
        gate.1.notify_one();
        gate.1.notify_all();
        let all = [
            waiter(&gate, &log, "a"),
            waiter(&gate, &log, "b"),
            waiter(&gate, &log, "c"),
        ];
        yield_now();
        assert!(format!("{:?}", gate.1).contains("waiting: 3"));
        gate.1.notify_one();
        sleep(ms(5));
        assert_eq!(log.take(), ["a"]);
        gate.1.notify_all();
        all_end(all);
        assert_eq!(log.take(), ["b", "c"]);
        assert!(!gate.0.is_locked() && format!("{:?}", gate.1).contains("waiting: 0"));
    });
}

/// Those who were notified together are woken one after the other, each by the one before that
/// has the mutex: at most one of them is in the mutex's line. A newcomer is not among them.
#[test]
fn notify_all_is_no_herd() {
    simulate(|| {
        let (gate, log) = (gate(), Log::default());
        let all = ["a", "b", "c", "d"].map(|name| waiter(&gate, &log, name));
        yield_now();
        gate.1.notify_all();
        yield_now(); // a has the mutex, and has woken b
        let late = waiter(&gate, &log, "late");
        // c and d; d, while c and the latecomer are in the mutex's line; d and the latecomer.
        for left in [2, 1, 2] {
            yield_now();
            let waiting = format!("waiting: {left}");
            assert!(format!("{:?}", gate.1).contains(&waiting), "{:?}", gate.1);
            sleep(ms(1));
        }
        all_end(all);
        assert_eq!(log.take(), ["a", "b", "c", "d"]);
        sleep(ms(5));
        assert!(!late.is_finished());
        late.kill();
    });
}

/// One that is notified only after all are does not wait for its turn among them.
#[test]
fn notify_one_after_notify_all_is_for_the_next() {
    simulate(|| {
        let (gate, log) = (gate(), Log::default());
        let held = gate.0.lock();
        drop(held);
        let first = ["a", "b", "c"].map(|name| waiter(&gate, &log, name));
        yield_now();
        gate.1.notify_all();
        let later = ["d", "e"].map(|name| waiter(&gate, &log, name));
        yield_now();
        gate.1.notify_one();
        sleep(ms(10));
        assert_eq!(log.take(), ["a", "b", "c"], "d was not in line yet");
        gate.1.notify_one();
        sleep(ms(10));
        assert_eq!(log.take(), ["d"]);
        all_end(first);
        greenlet::kill_all(&later);
    });
}

/// One that leaves takes no notification, and one whose limit is over while it waits for its
/// turn was notified all the same.
#[test]
fn who_leaves_takes_no_notification() {
    simulate(|| {
        let gate = gate();
        let wait = |limit| {
            let gate = gate.clone();
            spawn(move || {
                let mut guard = gate.0.lock();
                let notified = gate.1.wait_timeout(&mut guard, ms(limit));
                sleep(ms(4));
                notified
            })
        };
        let all = [wait(1), wait(3), wait(9)];
        sleep(ms(2));
        gate.1.notify_one();
        let [late, second, third] = all;
        assert!(!late.join().unwrap() && second.join().unwrap());
        assert!(!third.join().unwrap());
        let all = [wait(9), wait(3), wait(3)];
        yield_now();
        gate.1.notify_all();
        // The first one keeps the mutex beyond the limit of the third, which is not woken yet.
        for greenlet in all {
            assert!(greenlet.join().unwrap());
        }
    });
}

/// Killed, and still in line since it has not run: the notification is for the next.
#[test]
fn one_that_is_killed_takes_no_notification() {
    simulate(|| {
        let (gate, log) = (gate(), Log::default());
        let [killed, next, last] = ["a", "b", "c"].map(|name| waiter(&gate, &log, name));
        yield_now();
        killed.kill();
        gate.1.notify_one();
        assert!(killed.join().unwrap_err().is_killed());
        next.join().unwrap();
        assert_eq!(log.take(), ["b"]);
        last.kill();
    });
}

/// The mutex is had again before a kill or an expiry is raised, whoever has it meanwhile.
#[test]
fn the_mutex_is_locked_again_before_a_kill_unwinds() {
    simulate(|| {
        let (gate, log) = (gate(), Log::default());
        let killed = spawn({
            let (gate, log) = (gate.clone(), log.clone());
            move || {
                let mut guard: MutexGuard<'_, bool> = gate.0.lock();
                let _seen = OnDrop(|| log.say("unwinds"));
                gate.1.wait_while(&mut guard, |_| true);
            }
        });
        yield_now();
        let held = gate.0.lock();
        killed.kill();
        sleep(ms(5));
        log.say("unlocks");
        assert!(!killed.is_finished());
        drop(held);
        assert!(gate.0.is_locked(), "it is the killed one's now");
        assert!(killed.join().unwrap_err().is_killed());
        assert_eq!(log.take(), ["unlocks", "unwinds"]);
        assert!(!gate.0.is_locked());

        let begin = now();
        let mut guard = gate.0.lock();
        assert!(timeout(ms(3), || gate.1.wait(&mut guard)).is_err());
        assert!(gate.0.is_locked() && now() - begin == ms(3));
        let limit = ms(4);
        assert!(!gate.1.wait_while_timeout(&mut guard, limit, |open| !*open));
        assert_eq!(now() - begin, ms(7));
        let woken = spawn({
            let gate = gate.clone();
            move || {
                *gate.0.lock() = true;
                gate.1.notify_all();
            }
        });
        assert!(gate.1.wait_while_timeout(&mut guard, limit, |open| !*open));
        assert!(*guard && now() - begin == ms(7));
        woken.join().unwrap();
    });
}

/// In a shield it is the mutex's own wait that a kill does not end.
#[test]
fn a_shielded_wait_is_not_interrupted() {
    simulate(|| {
        let (gate, log) = (gate(), Log::default());
        let shielded = spawn({
            let (gate, log) = (gate.clone(), log.clone());
            move || {
                let mut guard = gate.0.lock();
                shield(|| gate.1.wait(&mut guard));
                log.say("notified");
                yield_now();
            }
        });
        yield_now();
        shielded.kill();
        sleep(ms(1));
        gate.1.notify_one();
        assert!(shielded.join().unwrap_err().is_killed());
        assert_eq!(log.take(), ["notified"]);
    });
}

#[test]
fn a_condvar_is_for_one_mutex_at_a_time() {
    simulate(|| {
        let (gate, log) = (gate(), Log::default());
        let first = waiter(&gate, &log, "a");
        yield_now();
        let other = Mutex::new(());
        let text = panics(|| gate.1.wait(&mut other.lock()));
        assert!(text.contains("another mutex"), "{text}");
        assert!(!other.is_locked());
        gate.1.notify_one();
        first.join().unwrap();
        assert!(!gate.1.wait_timeout(&mut other.lock(), ms(1)));
    });
}

// ---- random programs ----

#[derive(Clone, Copy, Debug, PartialEq)]
enum How {
    Read,
    Write,
    Upgradable,
    /// Upgradable, and the writer for the second half.
    Upgrade,
    /// The writer, and a reader in the second half.
    Downgrade,
}

/// When one comes, how it locks, how long it waits and holds, and when it is killed.
#[derive(Clone, Debug)]
struct One {
    comes: u64,
    how: How,
    limit: Option<u64>,
    holds: [u64; 2],
    killed: Option<u64>,
}

/// Nanoseconds of a time of one of greenlet `i`, unlike all other sums of such times.
fn nanos(ms: u64, i: usize, which: usize) -> u64 {
    ms * (1 << 40) + (1 << (i * 5 + which))
}

fn one() -> impl Strategy<Value = One> {
    use How::*;
    let how = prop::sample::select(vec![Read, Read, Write, Upgradable, Upgrade, Downgrade]);
    let limit = prop::option::weighted(0.3, 0..6u64);
    let killed = prop::option::weighted(0.3, 0..9u64);
    (0..6u64, how, limit, [0..4u64, 0..4], killed).prop_map(|(comes, how, limit, holds, killed)| {
        One {
            comes,
            how,
            limit,
            holds,
            killed,
        }
    })
}

type Trace = Vec<(u64, usize, &'static str)>;

/// The lock as the docs have it, with a plain list.
#[derive(Default)]
struct Model {
    /// What is to come: when, whom, what.
    agenda: BTreeMap<u64, (usize, &'static str)>,
    /// Who is in, and as what.
    inside: Vec<(usize, How)>,
    line: Vec<(usize, How)>,
    upgrading: Option<usize>,
    trace: Trace,
}

impl Model {
    fn fits(&self, how: How) -> bool {
        let writer = self.inside.iter().any(|(_, how)| *how == How::Write);
        let upgradable = self.inside.iter().any(|(_, how)| *how == How::Upgradable);
        match how {
            How::Read => !writer && self.upgrading.is_none(),
            How::Write => self.inside.is_empty(),
            _ => !writer && !upgradable,
        }
    }

    fn let_in(&mut self, time: u64, plan: &[One]) {
        if let Some(i) = self.upgrading
            && self.inside == [(i, How::Upgradable)]
        {
            self.upgrading = None;
            self.inside = vec![(i, How::Write)];
            self.trace.push((time, i, "upgraded"));
            self.at(time + nanos(plan[i].holds[1], i, 3), i, "unlocks");
        }
        while let Some(&(i, how)) = self.line.first()
            && self.fits(how)
        {
            self.line.remove(0);
            self.inside.push((i, how));
            self.trace.push((time, i, "locks"));
            self.at(time + nanos(plan[i].holds[0], i, 2), i, "half");
        }
    }

    fn at(&mut self, time: u64, i: usize, what: &'static str) {
        assert!(self.agenda.insert(time, (i, what)).is_none(), "a tie");
    }

    /// When each comes, and is killed.
    fn plan(&mut self, plan: &[One]) {
        for (i, one) in plan.iter().enumerate() {
            self.at(nanos(one.comes, i, 0), i, "comes");
            if let Some(killed) = one.killed {
                self.at(nanos(killed, i, 4), i, "killed");
            }
        }
    }

    fn run(mut self, plan: &[One]) -> Trace {
        let mut gone = vec![false; plan.len()];
        self.plan(plan);
        while let Some((time, (i, what))) = self.agenda.pop_first() {
            if gone[i] {
                continue;
            }
            let one = &plan[i];
            let leaves = |model: &mut Model| {
                model.line.retain(|(who, _)| *who != i);
                model.inside.retain(|(who, _)| *who != i);
                model.upgrading = model.upgrading.filter(|who| *who != i);
            };
            match what {
                "comes" => {
                    let how = match one.how {
                        How::Upgrade => How::Upgradable,
                        How::Downgrade => How::Write,
                        how => how,
                    };
                    self.line.push((i, how));
                    if let Some(limit) = one.limit {
                        self.at(time + nanos(limit, i, 1), i, "late");
                    }
                }
                "late" if self.line.iter().any(|(who, _)| *who == i) => {
                    self.trace.push((time, i, "late"));
                    leaves(&mut self);
                    gone[i] = true;
                }
                "late" => {}
                "half" => match one.how {
                    How::Upgrade => self.upgrading = Some(i),
                    how => {
                        if how == How::Downgrade {
                            let place = self.inside.iter_mut().find(|(who, _)| *who == i);
                            place.expect("it is in").1 = How::Read;
                        }
                        self.at(time + nanos(one.holds[1], i, 3), i, "unlocks");
                    }
                },
                "unlocks" => {
                    self.trace.push((time, i, "unlocks"));
                    leaves(&mut self);
                    gone[i] = true;
                }
                _ => {
                    leaves(&mut self);
                    gone[i] = true;
                }
            }
            self.let_in(time, plan);
        }
        assert!(self.inside.is_empty() && self.line.is_empty());
        self.trace
    }
}

/// The same on the crate; `act` is what one does when it has come.
fn conduct(plan: &[One], act: impl Fn(usize, &One, &dyn Fn(&'static str)) + 'static) -> Trace {
    simulate(|| {
        let (begin, trace) = (now(), Rc::new(RefCell::new(Trace::new())));
        let act = Rc::new(act);
        let all: Vec<_> = plan
            .iter()
            .cloned()
            .enumerate()
            .map(|(i, one)| {
                let (act, trace) = (act.clone(), trace.clone());
                spawn(move || {
                    sleep(Duration::from_nanos(nanos(one.comes, i, 0)));
                    let say = |what| {
                        let time = (now() - begin).as_nanos() as u64;
                        trace.borrow_mut().push((time, i, what));
                    };
                    act(i, &one, &say);
                })
            })
            .collect();
        scope(|s| {
            for (i, one) in plan.iter().enumerate() {
                let Some(killed) = one.killed else { continue };
                let greenlet = &all[i];
                s.spawn(move || {
                    sleep(Duration::from_nanos(nanos(killed, i, 4)));
                    greenlet.kill();
                });
            }
        });
        all.iter().for_each(Greenlet::wait);
        trace.take()
    })
}

fn hold(one: &One, i: usize, half: usize) {
    sleep(Duration::from_nanos(nanos(one.holds[half], i, 2 + half)));
}

/// Locks by the form with a limit or the one without.
macro_rules! locked {
    ($one:ident, $i:ident, $lock:expr, $plain:ident, $timed:ident) => {
        match $one.limit {
            None => Some($lock.$plain()),
            Some(limit) => $lock.$timed(Duration::from_nanos(nanos(limit, $i, 1))),
        }
    };
}

fn act_on_rwlock(lock: &RwLock<()>, i: usize, one: &One, say: &dyn Fn(&'static str)) {
    macro_rules! both_halves {
        ($guard:expr, $second:expr) => {{
            let Some(guard) = $guard else {
                return say("late");
            };
            say("locks");
            hold(one, i, 0);
            let _guard = $second(guard);
            hold(one, i, 1);
            say("unlocks");
        }};
    }
    match one.how {
        How::Read => both_halves!(locked!(one, i, lock, read, try_read_for), |g| g),
        How::Write => both_halves!(locked!(one, i, lock, write, try_write_for), |g| g),
        How::Downgrade => both_halves!(
            locked!(one, i, lock, write, try_write_for),
            RwLockWriteGuard::downgrade
        ),
        How::Upgradable => both_halves!(
            locked!(one, i, lock, upgradable_read, try_upgradable_read_for),
            |g| g
        ),
        How::Upgrade => both_halves!(
            locked!(one, i, lock, upgradable_read, try_upgradable_read_for),
            |g| {
                let guard = RwLockUpgradableReadGuard::upgrade(g);
                say("upgraded");
                guard
            }
        ),
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn rwlock_beside_its_model(plan in prop::collection::vec(one(), 1..8)) {
        let expected = Model::default().run(&plan);
        let lock = Rc::new(RwLock::new(()));
        let got = conduct(&plan, {
            let lock = lock.clone();
            move |i, one, say| act_on_rwlock(&lock, i, one, say)
        });
        prop_assert_eq!(got, expected);
        prop_assert!(!lock.is_locked());
    }

    #[test]
    fn mutex_beside_its_model(mut plan in prop::collection::vec(one(), 1..8)) {
        plan.iter_mut().for_each(|one| one.how = How::Write);
        let expected = Model::default().run(&plan);
        let mutex = Rc::new(Mutex::new(()));
        let got = conduct(&plan, {
            let mutex = mutex.clone();
            move |i, one, say| {
                let Some(_guard) = locked!(one, i, mutex, lock, try_lock_for) else {
                    return say("late");
                };
                say("locks");
                hold(one, i, 0);
                hold(one, i, 1);
                say("unlocks");
            }
        });
        prop_assert_eq!(got, expected);
        prop_assert!(!mutex.is_locked());
    }

    /// Those whose first time to hold is even are notified for at most one, the others for all:
    /// at `comes` they notify, if their way to lock is to write, else they wait.
    #[test]
    fn condvar_beside_its_model(plan in prop::collection::vec(one(), 1..8)) {
        let expected = condvar_model(&plan);
        let gate = gate();
        let got = conduct(&plan, {
            let gate = gate.clone();
            move |i, one, say| {
                let mut guard = gate.0.lock();
                if one.how == How::Write {
                    say("notifies");
                    return match one.holds[0] % 2 {
                        0 => gate.1.notify_one(),
                        _ => gate.1.notify_all(),
                    };
                }
                let limit = Duration::from_nanos(nanos(one.limit.unwrap_or(9), i, 1));
                match gate.1.wait_timeout(&mut guard, limit) {
                    true => say("notified"),
                    false => say("late"),
                }
            }
        });
        prop_assert_eq!(got, expected);
        let text = format!("{:?}", gate.1);
        prop_assert!(!gate.0.is_locked() && text.contains("waiting: 0"));
    }
}

fn condvar_model(plan: &[One]) -> Trace {
    let (mut model, mut gone) = (Model::default(), vec![false; plan.len()]);
    model.plan(plan);
    while let Some((time, (i, what))) = model.agenda.pop_first() {
        if gone[i] {
            continue;
        }
        let one = &plan[i];
        match what {
            "comes" if one.how == How::Write => {
                model.trace.push((time, i, "notifies"));
                gone[i] = true;
                let all = model.line.len();
                let n = if one.holds[0].is_multiple_of(2) {
                    all.min(1)
                } else {
                    all
                };
                for (who, _) in model.line.drain(..n) {
                    model.trace.push((time, who, "notified"));
                    gone[who] = true;
                }
            }
            "comes" => {
                model.line.push((i, one.how));
                model.at(time + nanos(one.limit.unwrap_or(9), i, 1), i, "late");
            }
            what => {
                model.line.retain(|(who, _)| *who != i);
                gone[i] = true;
                if what == "late" {
                    model.trace.push((time, i, "late"));
                }
            }
        }
    }
    model.trace
}

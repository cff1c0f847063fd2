//! Mutex, RwLock, ReentrantMutex and Condvar: who unwinds unlocks, and nobody is left in line.

use crate::stage::{Actor, explore, ms};
use greenlet::sync::{
    Condvar, Mutex, ReentrantMutex, RwLock, RwLockUpgradableReadGuard, RwLockWriteGuard,
};
use std::cell::Cell;
use std::rc::Rc;

/// Readers and writers that are inside, as they count themselves.
#[derive(Clone, Default)]
struct Inside(Rc<Cell<(usize, usize)>>);

/// One of them, until it is dropped.
struct Within(Inside, bool);

impl Inside {
    fn enter(&self, writes: bool) -> Within {
        let (readers, writers) = self.0.get();
        assert!(
            writers == 0 && (!writes || readers == 0),
            "{readers} {writers}"
        );
        self.0
            .set((readers + usize::from(!writes), usize::from(writes)));
        Within(self.clone(), writes)
    }
}

impl Drop for Within {
    fn drop(&mut self) {
        let (readers, writers) = self.0.0.get();
        let writes = usize::from(self.1);
        self.0.0.set((readers - (1 - writes), writers - writes));
    }
}

/// Keeps it for a while, as a reader or as the writer.
fn work(a: &Actor, inside: &Inside, writes: bool) {
    work_long(a, inside, writes, 1);
}

fn work_long(a: &Actor, inside: &Inside, writes: bool, n: u64) {
    let _within = inside.enter(writes);
    a.sleeps(n);
}

#[test]
fn lock() {
    explore(|stage| {
        let (mutex, inside) = (Rc::new(Mutex::new(())), Inside::default());
        for i in 0..4 {
            let (mutex, inside) = (mutex.clone(), inside.clone());
            stage.actor(move |a| {
                let guard = match i {
                    0 | 3 => Some(a.waits("Mutex::lock", || mutex.lock())),
                    i => a.waits("Mutex::try_lock_for", || mutex.try_lock_for(ms(i))),
                };
                if guard.is_some() {
                    work(a, &inside, true);
                }
            });
        }
        stage.afterwards(move || {
            let guard = mutex.try_lock_for(ms(1)).expect("nobody has it");
            assert!(mutex.try_lock().is_none());
            drop(guard);
            assert!(!mutex.is_locked());
        });
    });
}

#[test]
fn reentrant() {
    explore(|stage| {
        let (mutex, inside) = (Rc::new(ReentrantMutex::new(())), Inside::default());
        for _ in 0..3 {
            let (mutex, inside) = (mutex.clone(), inside.clone());
            stage.actor(move |a| {
                let _outer = a.waits("ReentrantMutex::lock", || mutex.lock());
                work(a, &inside, true);
                let _inner = mutex.lock();
                work(a, &inside, true);
            });
        }
        stage.afterwards(move || {
            assert!(!mutex.is_locked());
            drop((mutex.lock(), mutex.lock()));
            assert!(!mutex.is_locked());
        });
    });
}

#[test]
fn readers_and_writers() {
    explore(|stage| {
        let (lock, inside) = (Rc::new(RwLock::new(())), Inside::default());
        for i in 0..6 {
            let (lock, inside) = (lock.clone(), inside.clone());
            stage.actor(move |a| match i {
                0 | 3 => {
                    let _guard = a.waits("RwLock::write", || lock.write());
                    work(a, &inside, true);
                }
                1 => {
                    if let Some(_guard) = a.waits("try_write_for", || lock.try_write_for(ms(1))) {
                        work(a, &inside, true);
                    }
                }
                5 => {
                    if let Some(_guard) = a.waits("try_read_for", || lock.try_read_for(ms(2))) {
                        work(a, &inside, false);
                    }
                }
                _ => {
                    let _guard = a.waits("RwLock::read", || lock.read());
                    work(a, &inside, false);
                }
            });
        }
        stage.afterwards(move || {
            assert!(!lock.is_locked());
            drop([lock.read(), lock.read()]);
            drop(lock.write());
            assert!(!lock.is_locked());
        });
    });
}

#[test]
fn upgrades() {
    explore(|stage| {
        let (lock, inside) = (Rc::new(RwLock::new(())), Inside::default());
        for i in 0..5 {
            let (lock, inside) = (lock.clone(), inside.clone());
            stage.actor(move |a| {
                if i % 2 == 0 {
                    let _guard = a.waits("read", || lock.read());
                    // The upgradable ones must wait for these.
                    return work_long(a, &inside, false, 3);
                }
                let guard = a.waits("upgradable_read", || lock.upgradable_read());
                work(a, &inside, false);
                let guard = match i {
                    1 => Ok(a.waits("upgrade", || RwLockUpgradableReadGuard::upgrade(guard))),
                    _ => a.waits("try_upgrade_for", || {
                        RwLockUpgradableReadGuard::try_upgrade_for(guard, ms(1))
                    }),
                };
                let _guard = guard.map(|guard| {
                    work(a, &inside, true);
                    RwLockWriteGuard::downgrade_to_upgradable(guard)
                });
                work(a, &inside, false);
            });
        }
        stage.afterwards(move || {
            assert!(!lock.is_locked());
            let guard = lock.upgradable_read();
            drop(RwLockUpgradableReadGuard::upgrade(guard));
            drop(lock.write());
            assert!(!lock.is_locked());
        });
    });
}

/// Whatever ends a wait, the mutex is had when it is raised: `work` would find another inside.
#[test]
fn condvar() {
    explore(|stage| {
        let (mutex, changed) = (Rc::new(Mutex::new(0)), Rc::new(Condvar::new()));
        let inside = Inside::default();
        for i in 0..4 {
            let (mutex, changed, inside) = (mutex.clone(), changed.clone(), inside.clone());
            stage.actor(move |a| {
                let mut guard = mutex.lock();
                // Dropped before the guard, in an unwind too.
                struct Owned<'a>(&'a Inside);
                impl Drop for Owned<'_> {
                    fn drop(&mut self) {
                        drop(self.0.enter(true));
                    }
                }
                let _owned = Owned(&inside);
                let limit = ms(1 + i / 2);
                match i {
                    0 => a.waits("Condvar::wait", || changed.wait(&mut guard)),
                    1 => a.waits("wait_while", || changed.wait_while(&mut guard, |n| *n < 2)),
                    2 => drop(a.waits("wait_timeout", || changed.wait_timeout(&mut guard, limit))),
                    _ => drop(a.waits("wait_while_timeout", || {
                        changed.wait_while_timeout(&mut guard, limit, |n| *n < 2)
                    })),
                }
                work(a, &inside, true);
            });
        }
        let (setter, kept) = (mutex.clone(), changed.clone());
        stage.actor(move |a| {
            for _ in 0..2 {
                a.sleeps(1);
                *setter.lock() += 1;
                kept.notify_all();
            }
        });
        // It ends those whose setter was killed.
        let (setter, kept) = (mutex.clone(), changed.clone());
        stage.actor(move |a| {
            a.sleeps(9);
            *setter.lock() = 2;
            kept.notify_all();
        });
        stage.afterwards(move || {
            assert!(!mutex.is_locked());
            let text = format!("{changed:?}");
            assert!(text.contains("waiting: 0"), "{text}");
            let mut guard = mutex.lock();
            assert!(!changed.wait_timeout(&mut guard, ms(1)));
        });
    });
}

//! Barrier, Latch, WaitGroup, Notify, OnceCell, Once and Lazy. In most programs the last actor
//! comes late and lets those go on whose partner was killed.

use crate::stage::{Stage, Witness, explore, ms};
use greenlet::sync::{Barrier, Latch, Lazy, Notify, Once, OnceCell, WaitGroup};
use greenlet::{sleep, spawn};
use std::fmt::Debug;
use std::rc::Rc;

fn waiting(of: &dyn Debug) -> bool {
    !format!("{of:?}").contains("waiting: 0")
}

/// Nine milliseconds later.
fn rescue(stage: &Stage, f: impl FnOnce() + 'static) {
    stage.actor(move |a| {
        a.sleeps(9);
        f();
    });
}

#[test]
fn barrier() {
    explore(|stage| {
        let barrier = Rc::new(Barrier::new(2));
        for i in 0..5 {
            let barrier = barrier.clone();
            stage.actor(move |a| match i {
                0 | 1 => {
                    a.sleeps(i);
                    a.waits("Barrier::wait", || barrier.wait());
                }
                i => {
                    a.sleeps(i);
                    let _ = a.waits("wait_timeout", || barrier.wait_timeout(ms(2)));
                }
            });
        }
        let last = barrier.clone();
        rescue(stage, move || {
            if waiting(&last) {
                assert!(last.wait().is_leader());
            }
        });
        stage.afterwards(move || {
            assert!(!waiting(&barrier));
            let other = spawn({
                let barrier = barrier.clone();
                move || barrier.wait().is_leader()
            });
            assert!(!barrier.wait().is_leader());
            assert!(other.join().unwrap());
        });
    });
}

#[test]
fn latch() {
    explore(|stage| {
        let latch = Rc::new(Latch::new(3));
        for i in 0..4 {
            let latch = latch.clone();
            stage.actor(move |a| match i {
                0 => a.waits("Latch::wait", || latch.wait()),
                1 => drop(a.waits("wait_timeout", || latch.wait_timeout(ms(2)))),
                2 => a.waits("arrive_and_wait", || latch.arrive_and_wait()),
                _ => {
                    for _ in 0..2 {
                        a.sleeps(1);
                        latch.count_down();
                    }
                }
            });
        }
        let last = latch.clone();
        rescue(stage, move || last.count_down_by(last.count()));
        stage.afterwards(move || {
            assert!(!waiting(&latch) && latch.count() <= 3);
            latch.count_down_by(latch.count());
            latch.wait();
        });
    });
}

/// However a member ends, nobody waits for it for ever.
#[test]
fn wait_group() {
    explore(|stage| {
        let group = WaitGroup::new();
        for i in 0..4 {
            let one = group.clone();
            stage.actor(move |a| match i {
                0 => a.waits("WaitGroup::wait", || one.wait()),
                1 => drop(a.waits("wait_timeout", || one.wait_timeout(ms(1)))),
                i => {
                    a.sleeps(i);
                    drop(one);
                }
            });
        }
        // The last of them frees it: nobody may be in line then.
        drop(group);
    });
}

#[test]
fn notify() {
    explore(|stage| {
        let notify = Rc::new(Notify::new());
        for i in 0..5 {
            let notify = notify.clone();
            stage.actor(move |a| match i {
                1 => drop(a.waits("wait_timeout", || notify.wait_timeout(ms(1)))),
                4 => {
                    a.sleeps(1);
                    notify.notify_one();
                    notify.notify_one();
                    a.sleeps(1);
                    notify.notify_all();
                }
                _ => a.waits("Notify::wait", || notify.wait()),
            });
        }
        let last = notify.clone();
        rescue(stage, move || last.notify_all());
        stage.afterwards(move || {
            assert!(!waiting(&notify));
            // What was not taken is one permit at most.
            let _ = notify.wait_timeout(ms(1));
            assert!(!notify.wait_timeout(ms(1)));
            notify.notify_one();
            notify.wait();
        });
    });
}

/// Each goes once.
struct Value(#[allow(dead_code)] Witness);

impl Debug for Value {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Value")
    }
}

#[test]
fn once_cell() {
    explore(|stage| {
        let cell = Rc::new(OnceCell::new());
        for i in 0..5 {
            let cell = cell.clone();
            stage.actor(move |a| {
                let make = || {
                    sleep(ms(2));
                    Value(a.stage.witness())
                };
                match i {
                    0 => drop(a.waits("get_or_try_init", || {
                        cell.get_or_try_init(|| {
                            sleep(ms(1));
                            Err(())
                        })
                        .is_ok()
                    })),
                    1 => drop(a.waits("OnceCell::set", || {
                        cell.set(Value(a.stage.witness())).is_ok()
                    })),
                    2 => drop(a.waits("wait_timeout", || cell.wait_timeout(ms(1)).is_some())),
                    3 => drop(a.waits("OnceCell::wait", || cell.wait())),
                    _ => drop(a.waits("get_or_init", || cell.get_or_init(make))),
                }
            });
        }
        let last = Value(stage.witness());
        stage.afterwards(move || {
            assert!(!waiting(&cell));
            // All may have been killed.
            cell.get_or_init(|| last);
            assert!(
                Rc::into_inner(cell)
                    .expect("all have ended")
                    .take()
                    .is_some()
            );
        });
    });
}

#[test]
fn once_and_lazy() {
    explore(|stage| {
        let once = Rc::new(Once::new());
        let lazy = Rc::new(Lazy::new({
            let stage = stage.clone();
            move || {
                let witness = stage.witness();
                sleep(ms(2));
                drop(witness);
                7
            }
        }));
        for _ in 0..3 {
            let (once, lazy) = (once.clone(), lazy.clone());
            stage.actor(move |a| {
                a.waits("Once::call_once", || once.call_once(|| sleep(ms(2))));
                assert!(once.is_completed());
                assert_eq!(a.waits("Lazy::force", || **lazy), 7);
            });
        }
        let waiter = once.clone();
        stage.actor(move |a| a.waits("Once::wait", || waiter.wait()));
        stage.afterwards(move || {
            assert!(!waiting(&once) && !waiting(&lazy));
            once.call_once(|| ());
            once.wait();
            assert_eq!(**lazy, 7);
        });
    });
}

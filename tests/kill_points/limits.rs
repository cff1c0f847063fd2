//! Semaphores: permits add up.

use super::Shared;
use super::sync::{BoundedSemaphore, Semaphore};
use crate::stage::{Actor, Stage, explore, ms};
use std::cell::Cell;
use std::rc::Rc;

/// Afterwards all permits are back, nobody waits, and they can all be had.
macro_rules! checked {
    ($stage:ident, $semaphore:expr) => {{
        let semaphore = Shared::new($semaphore);
        let (kept, all) = (semaphore.clone(), semaphore.available());
        $stage.afterwards(move || {
            let text = format!("{kept:?}");
            assert!(text.contains("waiting: 0"), "{text}");
            assert_eq!(kept.available(), all, "{text}");
            let first = kept.acquire();
            assert_eq!(kept.available(), all - 1);
            drop(first);
            let every = kept.acquire_many(all);
            assert!(kept.try_acquire().is_none() && kept.is_locked());
            assert!(kept.acquire_timeout(ms(1)).is_none());
            drop(every);
            assert_eq!(kept.available(), all);
        });
        semaphore
    }};
}

/// Counts those inside, of whom there are never more than permits.
#[derive(Clone, Default)]
struct Inside(Rc<Cell<usize>>);

impl Inside {
    fn work(&self, a: &Actor, n: usize, most: usize) {
        struct Leave<'a>(&'a Cell<usize>, usize);
        impl Drop for Leave<'_> {
            fn drop(&mut self) {
                self.0.set(self.0.get() - self.1);
            }
        }
        self.0.set(self.0.get() + n);
        assert!(self.0.get() <= most, "{} inside", self.0.get());
        let _leave = Leave(&self.0, n);
        a.sleeps(1);
    }
}

#[test]
fn acquire() {
    explore(|stage| {
        let (s, inside) = (checked!(stage, Semaphore::new(2)), Inside::default());
        for _ in 0..5 {
            let (s, inside) = (s.clone(), inside.clone());
            stage.actor(move |a| {
                let _permit = a.waits("Semaphore::acquire", || s.acquire());
                inside.work(a, 1, 2);
            });
        }
    });
}

#[test]
fn acquire_of_a_bounded_one() {
    explore(|stage| {
        let s = checked!(stage, BoundedSemaphore::new(1));
        let inside = Inside::default();
        for i in 0..3 {
            let (s, inside) = (s.clone(), inside.clone());
            stage.actor(move |a| {
                let permit = a.waits("BoundedSemaphore::acquire", || s.acquire());
                inside.work(a, 1, 1);
                if i == 1 {
                    // By hand, as who must not hold a guard does.
                    permit.forget();
                    s.release().unwrap();
                }
            });
        }
    });
}

#[test]
fn acquire_many() {
    explore(|stage| {
        let (s, inside) = (checked!(stage, Semaphore::new(3)), Inside::default());
        for n in [2, 1, 3, 1] {
            let (s, inside) = (s.clone(), inside.clone());
            stage.actor(move |a| {
                let _permits = a.waits("Semaphore::acquire_many", || s.acquire_many(n));
                inside.work(a, n, 3);
            });
        }
    });
}

fn with_limits(stage: &Stage, limits: [u64; 4]) {
    let (s, inside) = (checked!(stage, BoundedSemaphore::new(2)), Inside::default());
    for (i, limit) in limits.into_iter().enumerate() {
        let (s, inside) = (s.clone(), inside.clone());
        stage.actor(move |a| {
            let n = 1 + i % 2;
            let permits = match n {
                1 => a.waits("acquire_timeout", || s.acquire_timeout(ms(limit))),
                n => a.waits("acquire_many_timeout", || {
                    s.acquire_many_timeout(n, ms(limit))
                }),
            };
            if permits.is_some() {
                inside.work(a, n, 2);
            }
        });
    }
}

#[test]
fn acquire_timeout_and_acquire_many_timeout() {
    explore(|stage| with_limits(stage, [1, 2, 2, 4]));
}

#[test]
fn acquire_timeout_that_ties_with_the_release() {
    explore(|stage| with_limits(stage, [1, 1, 1, 1]));
}

#[test]
fn acquire_owned() {
    explore(|stage| {
        let (s, inside) = (checked!(stage, Semaphore::new(1)), Inside::default());
        for i in 0..4 {
            let (s, inside) = (s.clone(), inside.clone());
            stage.actor(move |a| {
                let permit = match i {
                    0 | 1 => Some(a.waits("acquire_owned", || s.acquire_owned())),
                    i => {
                        let limit = ms(i);
                        a.waits("acquire_owned_timeout", || s.acquire_owned_timeout(limit))
                    }
                };
                if permit.is_some() {
                    inside.work(a, 1, 1);
                }
            });
        }
    });
}

/// Permits that others make: each release is taken once, or is still there.
#[test]
fn acquire_of_what_others_release() {
    explore(|stage| {
        let s = Shared::new(Semaphore::new(0));
        let (made, taken) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
        for _ in 0..3 {
            let (s, taken) = (s.clone(), taken.clone());
            stage.actor(move |a| {
                let take = || {
                    s.acquire().forget();
                    taken.set(taken.get() + 1);
                };
                a.waits("acquire", take);
            });
        }
        let (maker, count) = (s.clone(), made.clone());
        stage.actor(move |a| {
            for _ in 0..3 {
                a.sleeps(1);
                maker.release();
                count.set(count.get() + 1);
            }
        });
        stage.afterwards(move || {
            assert_eq!(made.get(), taken.get() + s.available(), "{s:?}");
            assert!(format!("{s:?}").contains("waiting: 0"));
            s.release();
            s.acquire().forget();
        });
    });
}

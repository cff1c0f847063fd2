//! Closures that bound what runs inside them: the end of a scope, shields, cleanups, limits inside limits, locals.

use crate::stage::{Actor, Stage, explore, ms, unless_killed};
use greenlet::sync::{Event, Queue};
use greenlet::{
    Elapsed, Local, Timeout, current, finally, join_all, scope, shield, spawn, timeout, yield_now,
};
use std::cell::Cell;
use std::rc::Rc;

/// Counts who borrows a frame; when the frame goes nobody does.
struct Frame<'a> {
    borrowers: Cell<u32>,
    actor: &'a Actor,
}

impl Frame<'_> {
    fn of(actor: &Actor) -> Frame<'_> {
        let borrowers = Cell::new(0);
        Frame { borrowers, actor }
    }

    /// Borrows the frame until it is dropped.
    fn borrow(&self) -> impl Drop {
        struct Borrow<'a>(&'a Cell<u32>, #[allow(dead_code)] crate::stage::Witness);
        impl Drop for Borrow<'_> {
            fn drop(&mut self) {
                self.0.set(self.0.get() - 1);
            }
        }
        self.borrowers.set(self.borrowers.get() + 1);
        Borrow(&self.borrowers, self.actor.stage.witness())
    }
}

impl Drop for Frame<'_> {
    fn drop(&mut self) {
        // Not an assertion: a panic while this unwinds would end the process without a word.
        if self.borrowers.get() > 0 {
            eprintln!(
                "a frame has gone before {} that borrow it",
                self.borrowers.get()
            );
            std::process::abort();
        }
    }
}

#[test]
fn scope_exit() {
    explore(|stage| {
        for n in [1, 3] {
            stage.actor(move |a| {
                let frame = Frame::of(a);
                a.waits("scope", || {
                    scope(|s| {
                        for i in 1..=2 {
                            let borrow = frame.borrow();
                            s.spawn(move || {
                                let _borrow = borrow;
                                greenlet::sleep(ms(i * n));
                            });
                        }
                    });
                });
                assert_eq!(frame.borrowers.get(), 0);
            });
        }
    });
}

#[test]
fn scope_in_a_scope() {
    explore(|stage| {
        stage.actor(|a| {
            let frame = Frame::of(a);
            a.waits("scopes", || {
                scope(|outer| {
                    let frame = &frame;
                    outer.spawn(move || {
                        let inner = Frame::of(a);
                        let _borrow = frame.borrow();
                        scope(|s| {
                            for i in 1..=2 {
                                let inner = &inner;
                                s.spawn(move || {
                                    let _borrows = (inner.borrow(), frame.borrow());
                                    greenlet::sleep(ms(i));
                                    // Spawned by a child, in the outer scope.
                                    outer.spawn(move || {
                                        let _borrow = frame.borrow();
                                        yield_now();
                                    });
                                });
                            }
                        });
                        greenlet::sleep(ms(1));
                    });
                    greenlet::sleep(ms(4));
                });
            });
        });
        stage.actor(|a| a.sleeps(2));
    });
}

#[test]
fn join_of_scoped_greenlets() {
    explore(|stage| {
        stage.actor(|a| {
            let frame = Frame::of(a);
            let child = |n| {
                let borrow = frame.borrow();
                move || {
                    let _borrow = borrow;
                    greenlet::sleep(ms(n));
                    n
                }
            };
            let sum: u64 = scope(|s| {
                let one = s.spawn(child(1));
                let one = a.waits("ScopedGreenlet::join", || unless_killed(one.join()));
                let two = s.spawn(child(1));
                a.waits("ScopedGreenlet::wait", || two.wait());
                let more = [s.spawn(child(2)), s.spawn(child(1))];
                let more = a.waits("join_all of a scope", || join_all(more));
                more.into_iter().filter_map(unless_killed).sum::<u64>() + one.unwrap_or(1)
            });
            assert!(sum <= 4);
        });
    });
}

/// Children that are slow to die: they have cleanups that wait, or swallow what unwinds them.
#[test]
fn scope_whose_children_die_slowly() {
    explore(|stage| {
        stage.actor(|a| {
            let (frame, cleaned) = (Frame::of(a), Cell::new(0));
            let done = a.waits("scope", || {
                scope(|s| {
                    s.spawn(|| {
                        let _borrow = frame.borrow();
                        finally(
                            || greenlet::sleep(ms(2)),
                            || {
                                greenlet::sleep(ms(2));
                                cleaned.set(cleaned.get() + 1);
                            },
                        );
                    });
                    s.spawn(|| {
                        let _borrow = frame.borrow();
                        for _ in 0..3 {
                            let _ = std::panic::catch_unwind(|| greenlet::sleep(ms(1)));
                        }
                        shield(|| greenlet::sleep(ms(1)));
                    });
                });
                true
            });
            assert!(done && cleaned.get() == 1);
        });
    });
}

#[test]
fn shield_and_what_comes_after() {
    explore(|stage| {
        stage.actor(|a| {
            let inside = Cell::new(false);
            shield(|| {
                // Nothing unwinds this but its own limit.
                a.does("shielded sleep", || greenlet::sleep(ms(2)));
                let own = timeout(ms(1), || greenlet::sleep(ms(9)));
                assert_eq!(own, Err(Elapsed));
                inside.set(true);
            });
            assert!(inside.get());
            a.sleeps(1);
        });
        stage.actor(|a| a.sleeps(2));
    });
}

#[test]
fn finally_runs_its_cleanup_once() {
    explore(|stage| {
        stage.actor(|a| {
            struct Once<'a>(&'a Cell<u32>);
            impl Drop for Once<'_> {
                fn drop(&mut self) {
                    if self.0.get() != 1 {
                        eprintln!("the cleanup has run {} times", self.0.get());
                        std::process::abort();
                    }
                }
            }
            let count = Cell::new(0);
            let _once = Once(&count);
            finally(
                || {
                    let _witness = a.stage.witness();
                    a.sleeps(2);
                },
                || {
                    count.set(count.get() + 1);
                    greenlet::sleep(ms(1));
                    yield_now();
                },
            );
            a.sleeps(1);
        });
    });
}

#[test]
fn timeouts_that_nest() {
    explore(|stage| {
        stage.actor(|a| {
            let outer = timeout(ms(4), || {
                let inner = timeout(ms(2), || {
                    let witness = a.stage.witness();
                    a.waits("sleep in two limits", || greenlet::sleep(ms(9)));
                    drop(witness);
                });
                assert_eq!(inner, Err(Elapsed));
                a.waits("sleep in one limit", || greenlet::sleep(ms(1)));
                5
            });
            assert_eq!(outer, Ok(5));
        });
        stage.actor(|a| {
            let moved = Timeout::after(ms(2)).run(|t| {
                for _ in 0..3 {
                    a.waits("sleep in a limit that moves", || greenlet::sleep(ms(1)));
                    t.reset(ms(2));
                }
                t.cancel();
                a.sleeps(3);
            });
            assert_eq!(moved, Ok(()));
        });
    });
}

#[test]
fn locals_go_with_their_greenlets() {
    static VALUE: Local<(u32, Cell<Option<crate::stage::Witness>>)> = Local::new();
    explore(|stage| {
        for n in 0..2 {
            stage.actor(move |a| {
                // The root's would live as long as the thread.
                struct AtRoot;
                impl Drop for AtRoot {
                    fn drop(&mut self) {
                        if !current().is_greenlet() {
                            VALUE.take();
                        }
                    }
                }
                let _at_root = AtRoot;
                VALUE.set((n, Cell::new(Some(a.stage.witness()))));
                a.sleeps(1);
                VALUE.with(|v| {
                    assert_eq!(v.0, n);
                    a.waits("sleep in Local::with", || greenlet::sleep(ms(1)));
                });
                let old = VALUE.set((n + 10, Cell::new(Some(a.stage.witness()))));
                assert_eq!(old.unwrap().0, n);
                a.sleeps(1);
                assert_eq!(VALUE.with(|v| v.0), n + 10);
            });
        }
        stage.afterwards(|| assert!(!VALUE.is_set()));
    });
}

/// All at once: an item in hand, a permit, a scope, in a limit; what a program would do.
fn all_at_once(stage: &Stage) {
    let queue = std::rc::Rc::new(Queue::bounded(1));
    stage.line(queue.clone());
    let gate = std::rc::Rc::new(greenlet::sync::Semaphore::new(1));
    let kept = gate.clone();
    stage.afterwards(move || {
        assert_eq!(kept.available(), 1, "{kept:?}");
        assert!(format!("{kept:?}").contains("waiting: 0"));
    });
    let q = queue.clone();
    stage.actor(move |a| {
        for _ in 0..3 {
            a.puts("put", |i| q.put(i));
        }
    });
    for _ in 0..2 {
        let (q, gate) = (queue.clone(), gate.clone());
        stage.actor(move |a| {
            let _ = timeout(ms(5), || {
                for _ in 0..2 {
                    let frame = Frame::of(a);
                    let _permit = a.waits("acquire", || gate.acquire());
                    a.gets("get", || q.get());
                    a.waits("scope", || {
                        scope(|s| {
                            let never = Event::new();
                            s.spawn(|| {
                                let _borrow = frame.borrow();
                                greenlet::sleep(ms(1));
                            });
                            assert!(!never.wait_timeout(ms(1)));
                        });
                    });
                }
            });
        });
    }
}

#[test]
fn a_pool_of_workers_with_a_limit() {
    explore(all_at_once);
}

/// The outer value is there again wherever the inner extent ends, and children have clones
/// that go with them.
#[test]
fn locals_that_are_bound_and_inherited() {
    #[derive(Clone)]
    struct Value {
        n: u32,
        _witness: Rc<crate::stage::Witness>,
    }
    static VALUE: Local<Value> = Local::inherited();
    struct Is(Option<u32>);
    impl Drop for Is {
        fn drop(&mut self) {
            assert_eq!(VALUE.get().map(|value| value.n), self.0);
        }
    }
    explore(|stage| {
        for n in 0..2 {
            stage.actor(move |a| {
                let value = |n| Value {
                    n,
                    _witness: Rc::new(a.stage.witness()),
                };
                let _nothing = Is(None);
                VALUE.scope(value(n), || {
                    let _outer = Is(Some(n));
                    a.sleeps(1);
                    VALUE.scope(value(n + 10), || {
                        let _inner = Is(Some(n + 10));
                        let child = spawn(move || {
                            let _inherited = Is(Some(n + 10));
                            greenlet::sleep(ms(1));
                        });
                        a.waits("join in Local::scope", || child.wait());
                    });
                    a.waits("yield_now", yield_now);
                });
                a.sleeps(1);
            });
        }
        stage.afterwards(|| assert!(!VALUE.is_set()));
    });
}

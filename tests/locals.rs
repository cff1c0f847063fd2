//! Locals: what a new greenlet inherits, and values that are bound for an extent.

#![forbid(unsafe_code)]

use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use greenlet::sync::Event;
use greenlet::testing::Simulation;
use greenlet::{
    Builder, Elapsed, Generator, Group, HubHandle, HubThread, Local, Pool, finally, join_all, run,
    scope, sleep, spawn, spawn_later, timeout, unblock, yield_now,
};

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn sim<R>(program: impl FnOnce() -> R) -> R {
    Simulation::new().run(program)
}

/// The text of the panic of `f`.
#[track_caller]
fn panic_of<R>(f: impl FnOnce() -> R) -> String {
    let Err(payload) = catch_unwind(AssertUnwindSafe(f)) else {
        panic!("it should have panicked");
    };
    match payload.downcast::<String>() {
        Ok(text) => *text,
        Err(payload) => (*payload.downcast::<&str>().unwrap()).to_owned(),
    }
}

// ---- inherited ----

static TRACE: Local<u32> = Local::inherited();
static OWN: Local<u32> = Local::new();

/// Every way to spawn on one's own hub, by the root and by a greenlet.
fn every_way() {
    TRACE.set(1);
    OWN.set(1);
    let seen = || (TRACE.get(), OWN.get());
    let inherited = (Some(1), None);
    assert_eq!(spawn(seen).join().unwrap(), inherited, "spawn");
    let later = spawn_later(ms(1), seen);
    let named = Builder::new().name("a").spawn(seen).unwrap();
    TRACE.set(2);
    assert_eq!(later.join().unwrap(), inherited, "spawn_later");
    assert_eq!(named.join().unwrap(), inherited, "Builder");
    TRACE.set(1);
    scope(|s| {
        assert_eq!(s.spawn(seen).join().unwrap(), inherited, "Scope::spawn");
        let named = s.spawn_with(Builder::new().name("a"), seen).unwrap();
        assert_eq!(named.join().unwrap(), inherited, "Scope::spawn_with");
        // A child spawns on behalf of itself.
        let child = s.spawn(|| {
            TRACE.set(5);
            s.spawn(seen).join().unwrap()
        });
        assert_eq!(child.join().unwrap(), (Some(5), None));
    });
    let (group, pool) = (Group::new(), Pool::new(1));
    assert_eq!(group.spawn(seen).join().unwrap(), inherited, "Group");
    assert_eq!(pool.spawn(seen).join().unwrap(), inherited, "Pool");
    let each = pool.map([(); 2], move |()| seen()).unwrap();
    assert_eq!(each, [inherited; 2], "Pool::map");
    let each = pool.imap([(); 2], move |()| seen());
    let each: Vec<_> = each.map(Result::unwrap).collect();
    assert_eq!(each, [inherited; 2], "Pool::imap");
    // And on.
    let grandchild = spawn(move || spawn(seen).join().unwrap());
    assert_eq!(grandchild.join().unwrap(), inherited, "a grandchild");
    assert_eq!(seen(), (Some(1), Some(1)));
    TRACE.take();
    assert_eq!(spawn(seen).join().unwrap(), (None, None));
    OWN.take();
}

#[test]
fn children_inherit() {
    sim(every_way);
    sim(|| spawn(every_way).join().unwrap());
    // The thread's own value, from before it has a hub.
    every_way();
}

#[test]
fn from_then_on_they_are_apart() {
    sim(|| {
        TRACE.set(1);
        let child = spawn(|| {
            let before = TRACE.set(10);
            yield_now();
            (before, TRACE.take(), TRACE.is_set())
        });
        yield_now();
        assert_eq!(TRACE.set(2), Some(1));
        assert_eq!(child.join().unwrap(), (Some(1), Some(10), false));
        assert_eq!(TRACE.take(), Some(2));
    });
}

/// Through a handle nothing is inherited, not even on the own hub; nor on other threads.
#[test]
fn through_a_handle_nothing_comes() {
    TRACE.set(1);
    let own = HubHandle::current().spawn(|| TRACE.get());
    assert_eq!(own.join().unwrap(), None);
    let hub = HubThread::start("other").unwrap();
    assert_eq!(hub.handle().spawn(|| TRACE.get()).join().unwrap(), None);
    hub.stop();
    hub.join().unwrap();
    assert_eq!(unblock(|| TRACE.get()), None);
    assert_eq!(std::thread::spawn(|| TRACE.get()).join().unwrap(), None);
    assert_eq!(TRACE.take(), Some(1));
}

/// Says which clone it is, and how many there are.
struct Counted {
    generation: u32,
    alive: Rc<()>,
    on_clone: fn(),
}

impl Clone for Counted {
    fn clone(&self) -> Self {
        (self.on_clone)();
        Counted {
            generation: self.generation + 1,
            alive: self.alive.clone(),
            on_clone: self.on_clone,
        }
    }
}

static COUNTED: Local<Counted> = Local::inherited();

fn counted(on_clone: fn()) -> Rc<()> {
    let alive = Rc::new(());
    COUNTED.set(Counted {
        generation: 0,
        alive: alive.clone(),
        on_clone,
    });
    alive
}

/// One clone for each, which goes with its greenlet, whether that runs or not.
#[test]
fn each_has_one_clone() {
    sim(|| {
        let alive = counted(|| ());
        let generation = || COUNTED.with(|c| (c.generation, Rc::strong_count(&c.alive)));
        let child = spawn(move || (generation(), spawn(generation).join().unwrap()));
        assert_eq!(Rc::strong_count(&alive), 3);
        assert_eq!(child.join().unwrap(), ((1, 3), (2, 4)));
        assert_eq!(Rc::strong_count(&alive), 2);
        let killed = spawn(|| unreachable!("killed before its start"));
        let delayed = spawn_later(ms(50), || unreachable!("killed before its delay"));
        assert_eq!(Rc::strong_count(&alive), 4);
        killed.kill();
        delayed.kill();
        for greenlet in [killed, delayed] {
            assert!(greenlet.join().unwrap_err().is_killed());
        }
        assert_eq!(Rc::strong_count(&alive), 2);
        // While it is lent.
        COUNTED.with(|_| assert_eq!(spawn(generation).join().unwrap().0, 1));
        COUNTED.take();
        assert_eq!(Rc::strong_count(&alive), 1);
    });
}

/// What cannot be spawned inherits nothing that stays.
#[test]
fn a_spawn_that_is_refused_drops_its_clone() {
    let alive = run(|| {
        let alive = Rc::new(RefCell::new(Rc::new(())));
        let kept = alive.clone();
        spawn(move || {
            *kept.borrow_mut() = counted(|| ());
            finally(
                || sleep(ms(100_000)),
                || {
                    // The hub is ending.
                    let refused = spawn(|| ());
                    assert!(refused.is_finished());
                    assert_eq!(Rc::strong_count(&kept.borrow()), 2);
                },
            );
        });
        yield_now();
        alive
    });
    assert_eq!(Rc::strong_count(&alive.borrow()), 1);
}

/// A clone that panics comes out of the spawn, of which nothing is left.
#[test]
fn a_clone_that_panics() {
    sim(|| {
        let alive = counted(|| resume_unwind(Box::new("no clone")));
        let body = Rc::new(());
        let kept = body.clone();
        assert_eq!(panic_of(|| spawn(move || drop(kept))), "no clone");
        assert_eq!(Rc::strong_count(&body), 1);
        // A scope does not wait for a child that is not there.
        scope(|s| {
            assert_eq!(panic_of(|| s.spawn(|| ())), "no clone");
        });
        // Nor does a pool lose its place.
        let pool = Pool::new(1);
        assert_eq!(panic_of(|| pool.spawn(|| ())), "no clone");
        COUNTED.take();
        assert_eq!(Rc::strong_count(&alive), 1);
        pool.try_spawn(|| ()).unwrap().join().unwrap();
        let group = Group::new();
        counted(|| resume_unwind(Box::new("no clone")));
        assert_eq!(panic_of(|| group.spawn(|| ())), "no clone");
        assert!(group.is_empty());
        COUNTED.take();
    });
}

/// A spawn does not switch, so the clone cannot either.
#[test]
fn a_clone_cannot_wait() {
    sim(|| {
        let other = spawn_later(ms(1), || ());
        counted(yield_now);
        let text = panic_of(|| spawn(|| ()));
        assert!(text.contains("where no wait is allowed"), "{text}");
        COUNTED.take();
        other.join().unwrap();
    });
}

/// It may use locals, other ones, and look at its own.
#[test]
fn a_clone_may_use_locals() {
    static NOTES: Local<Vec<u32>> = Local::with_init(Vec::new);
    sim(|| {
        counted(|| {
            let mut notes = NOTES.take().unwrap_or_default();
            notes.push(COUNTED.with(|c| c.generation));
            NOTES.set(notes);
            TRACE.set(7);
        });
        assert!(!spawn(|| NOTES.is_set()).join().unwrap());
        assert_eq!(NOTES.take(), Some(vec![0]));
        assert_eq!(TRACE.take(), Some(7));
        counted(|| drop(COUNTED.take()));
        let text = panic_of(|| spawn(|| ()));
        assert!(text.contains("Local::take inside `with`"), "{text}");
        COUNTED.take();
    });
}

/// Several are copied in the order in which they were first used.
#[test]
fn clones_are_made_in_order() {
    thread_local! {
        static ORDER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    }
    struct Noted(u8);
    impl Clone for Noted {
        fn clone(&self) -> Self {
            ORDER.with(|order| order.borrow_mut().push(self.0));
            Noted(self.0)
        }
    }
    sim(|| {
        let locals: Vec<_> = (0..20).map(|_| Local::inherited()).collect();
        for (i, local) in locals.iter().enumerate() {
            local.set(Noted(i as u8));
        }
        let child = spawn(|| ());
        ORDER.with(|order| assert!(order.borrow().iter().copied().eq(0..20)));
        child.join().unwrap();
    });
}

// ---- bound for an extent ----

static USER: Local<String> = Local::new();

fn user() -> Option<String> {
    USER.get()
}

fn some(name: &str) -> Option<String> {
    Some(name.to_owned())
}

/// With a value before and without one, nested, and whatever is done inside.
fn bound_and_restored() {
    USER.take();
    assert_eq!(USER.scope("a".into(), user), some("a"));
    assert_eq!(user(), None);
    USER.set("before".into());
    USER.scope("a".into(), || {
        USER.scope("b".into(), || assert_eq!(user(), some("b")));
        assert_eq!(user(), some("a"));
        assert_eq!(USER.set("c".into()), some("a"));
    });
    assert_eq!(user(), some("before"));
    USER.scope("a".into(), || assert_eq!(USER.take(), some("a")));
    assert_eq!(user(), some("before"));
    // Inside `with`, of which the value stays.
    USER.with(|before| {
        USER.scope("a".into(), || assert_eq!(user(), some("a")));
        assert_eq!(before, "before");
        assert_eq!(user(), some("before"));
    });
    let panicked = panic_of(|| USER.scope("a".into(), || resume_unwind(Box::new("oops"))));
    assert_eq!(panicked, "oops");
    assert_eq!(USER.take(), some("before"));
}

#[test]
fn a_value_is_bound_and_restored() {
    std::thread::spawn(bound_and_restored).join().unwrap();
    sim(bound_and_restored);
    sim(|| spawn(bound_and_restored).join().unwrap());
}

/// Each greenlet has its own, over waits.
#[test]
fn greenlets_do_not_mix() {
    sim(|| {
        let bodies = ["a", "b", "c"].map(|name| {
            spawn(move || {
                USER.scope(name.into(), || {
                    for n in 0..3 {
                        sleep(ms(n));
                        assert_eq!(user(), some(name));
                    }
                });
                user()
            })
        });
        USER.scope("root".into(), || {
            for outcome in join_all(bodies) {
                assert_eq!(outcome.unwrap(), None);
                assert_eq!(user(), some("root"));
            }
        });
        assert_eq!(user(), None);
    });
}

/// By a kill and an expiry, with the value dropped after it was replaced.
#[test]
fn an_unwind_restores_it() {
    struct Looks(Rc<RefCell<Vec<Option<u32>>>>);
    impl Drop for Looks {
        fn drop(&mut self) {
            let bound = HELD.try_with(|held| Rc::strong_count(&held.0));
            self.0.borrow_mut().push(bound.ok().map(|n| n as u32));
        }
    }
    static HELD: Local<Looks> = Local::new();
    sim(|| {
        let seen = Rc::new(RefCell::new(vec![]));
        let held = seen.clone();
        let killed = spawn(move || HELD.scope(Looks(held), || sleep(ms(100))));
        yield_now();
        killed.kill();
        assert!(killed.join().unwrap_err().is_killed());
        assert_eq!(seen.take(), [None]);
        HELD.set(Looks(seen.clone()));
        let late = timeout(ms(1), || HELD.scope(Looks(seen.clone()), || sleep(ms(100))));
        assert_eq!(late, Err(Elapsed));
        // It sees the one before, which is there again.
        assert_eq!(seen.borrow().len(), 1);
        assert!(seen.borrow()[0].is_some());
        HELD.take();
    });
}

#[test]
fn what_is_bound_is_inherited() {
    sim(|| {
        let child = TRACE.scope(3, || {
            spawn(|| {
                yield_now();
                TRACE.get()
            })
        });
        assert_eq!(child.join().unwrap(), Some(3));
        assert_eq!(TRACE.get(), None);
    });
}

/// A generator's body cannot leave its driver with it.
#[test]
fn no_yield_out_of_a_binding() {
    for in_greenlet in [false, true] {
        let program = || {
            let mut g = Generator::new(|y, ()| {
                USER.scope("body".into(), || ());
                y.yield_(1);
                USER.scope("body".into(), || y.yield_(2));
            });
            USER.scope("driver".into(), || {
                assert_eq!(g.next(), Some(1));
                let text = panic_of(|| g.next());
                assert!(text.contains("inside a scope"), "{text}");
                assert_eq!(user(), some("driver"));
            });
            assert_eq!(user(), None);
        };
        sim(|| match in_greenlet {
            true => spawn(program).join().unwrap(),
            false => program(),
        });
    }
}

/// The thread gets its hub, and loses it, while a value is bound.
#[test]
fn a_hub_comes_and_goes() {
    std::thread::spawn(|| {
        USER.scope("thread".into(), || {
            let event = Arc::new(Event::new());
            let setter = spawn({
                let event = event.clone();
                move || {
                    event.set();
                    user()
                }
            });
            event.wait();
            assert_eq!(setter.join().unwrap(), None);
            assert_eq!(user(), some("thread"));
        });
        let gone = Cell::new(false);
        USER.scope("outer".into(), || {
            run(|| USER.scope("inner".into(), || assert_eq!(user(), some("inner"))));
            assert_eq!(user(), some("outer"));
            gone.set(true);
        });
        assert!(gone.get());
        // Nothing is left open: a body may yield.
        let mut g = Generator::new(|y, ()| y.yield_(1));
        assert_eq!((g.next(), g.next(), user()), (Some(1), None, None));
    })
    .join()
    .unwrap();
}

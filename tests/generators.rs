//! Generators: what goes in and out, who runs the body, what ends it, and where it may not yield.

#![forbid(unsafe_code)]

use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind, panic_any, resume_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;

use greenlet::GeneratorState::{Complete, Yielded};
use greenlet::sync::{Event, Mutex, Queue, Semaphore};
use greenlet::testing::Simulation;
use greenlet::{
    Elapsed, Generator, HubHandle, HubThread, JoinError, Local, Yielder, current, finally,
    no_switch, now, run, scope, shield, sleep, spawn, timeout, yield_now,
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

/// Raises without the panic hook.
fn raise(what: &'static str) -> ! {
    resume_unwind(Box::new(what))
}

/// Lines in order.
#[derive(Clone, Default)]
struct Log(Rc<RefCell<Vec<String>>>);

impl Log {
    fn say(&self, line: impl Into<String>) {
        self.0.borrow_mut().push(line.into());
    }

    fn take(&self) -> Vec<String> {
        self.0.take()
    }

    /// Says so when it is dropped.
    fn at_drop(&self, line: &'static str) -> AtDrop {
        AtDrop(self.clone(), line)
    }
}

struct AtDrop(Log, &'static str);

impl Drop for AtDrop {
    fn drop(&mut self) {
        self.0.say(self.1);
    }
}

/// Calls its function when it is dropped.
struct OnDrop<F: FnMut()>(F);

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

/// Yields without end, and says so when its body goes.
fn endless(log: &Log, line: &'static str) -> Generator<(), u32, ()> {
    let log = log.clone();
    Generator::new(move |y, ()| {
        let _gone = log.at_drop(line);
        for i in 0.. {
            y.yield_(i);
        }
    })
}

// ---- in and out ----

#[test]
fn values_go_in_and_out() {
    let mut g = Generator::new(|y: &Yielder<u32, String>, first| {
        let second = y.yield_(format!("got {first}"));
        let third = y.yield_(format!("got {second}"));
        first + second + third
    });
    assert!(!g.is_finished());
    assert_eq!(g.resume(1), Yielded("got 1".to_owned()));
    assert_eq!(g.resume(2), Yielded("got 2".to_owned()));
    assert!(!g.is_finished());
    assert_eq!(g.resume(3), Complete(6));
    assert!(g.is_finished());
}

#[test]
fn a_finished_one_is_not_resumed() {
    let mut g = Generator::new(|_: &Yielder<(), ()>, ()| ());
    assert_eq!(g.resume(()), Complete(()));
    for _ in 0..2 {
        let text = panic_of(|| g.resume(()));
        assert_eq!(text, "Generator::resume of one that is finished");
    }
}

#[test]
fn as_an_iterator_it_ends_once_and_for_all() {
    let mut g = Generator::new(|y, ()| (1..=3).for_each(|i| y.yield_(i)));
    assert_eq!(g.by_ref().take(2).collect::<Vec<_>>(), [1, 2]);
    assert_eq!((g.next(), g.next(), g.next()), (Some(3), None, None));
    assert!(g.is_finished());
}

/// What is still inside goes with it, each once.
#[test]
fn values_are_dropped_once() {
    let count = Rc::new(());
    let mut g = Generator::new(|y: &Yielder<Rc<()>, Rc<()>>, first: Rc<()>| {
        let second = y.yield_(first.clone());
        let third = y.yield_(second);
        drop(first);
        third
    });
    let Yielded(out) = g.resume(count.clone()) else {
        panic!("it yields");
    };
    assert_eq!(Rc::strong_count(&count), 3);
    drop(out);
    assert!(matches!(g.resume(count.clone()), Yielded(_)));
    assert_eq!(Rc::strong_count(&count), 2);
    assert!(matches!(g.resume(count.clone()), Complete(_)));
    assert_eq!(Rc::strong_count(&count), 1);
    drop(g);
    assert_eq!(Rc::strong_count(&count), 1);
}

/// Each value that a recursive walk yields, at every depth, beside a naive walk.
#[test]
fn yields_from_any_depth() {
    fn walk(y: &Yielder<u64, u64>, depth: u32, sum: &mut u64) {
        *sum += y.yield_(u64::from(depth));
        for _ in 0..depth {
            walk(y, depth - 1, sum);
        }
    }
    fn naive(depth: u32, out: &mut Vec<u64>) {
        out.push(u64::from(depth));
        (0..depth).for_each(|_| naive(depth - 1, out));
    }
    let mut expected = Vec::new();
    naive(6, &mut expected);
    let mut g = Generator::new(|y, first| {
        let mut sum = first;
        walk(y, 6, &mut sum);
        sum
    });
    let mut got = Vec::new();
    let mut sent = 0;
    let sum = loop {
        sent += 1;
        match g.resume(sent) {
            Yielded(depth) => got.push(depth),
            Complete(sum) => break sum,
        }
    };
    assert_eq!(got, expected);
    assert_eq!(sum, (1..=sent).sum());
}

#[test]
fn debug_says_how_far_it_is() {
    let mut g = Generator::new(|y: &Yielder<(), String>, ()| y.yield_(format!("{y:?}")));
    assert_eq!(format!("{g:?}"), "Generator { state: \"unstarted\" }");
    assert_eq!(g.resume(()), Yielded("Yielder { .. }".to_owned()));
    assert_eq!(format!("{g:?}"), "Generator { state: \"suspended\" }");
    let _ = g.resume(());
    assert_eq!(format!("{g:?}"), "Generator { state: \"finished\" }");
}

#[test]
fn sizes_of_stacks_are_as_a_builders() {
    let deep = Generator::<(), (), usize>::with_stack_size(4 << 20, |_, ()| {
        fn sum(n: usize) -> usize {
            let frame = std::hint::black_box([n; 64]);
            if n == 0 {
                0
            } else {
                frame[9] - (n - 1) + sum(n - 1)
            }
        }
        sum(1000) // some 0.5 MB, or up to 2 MB with a sanitizer's zones around each variable
    });
    assert_eq!(deep.unwrap().resume(()), Complete(1000));
    for wrong in [0, 32 * 1024 - 1, usize::MAX] {
        let refused = Generator::<(), (), ()>::with_stack_size(wrong, |_, ()| ());
        let kind = refused.unwrap_err().kind();
        assert_eq!(kind, std::io::ErrorKind::InvalidInput);
    }
}

/// A stack comes back at the end of the body, and serves the next one.
#[test]
fn stacks_are_used_again() {
    run(|| {
        for i in 0..1000 {
            let mut g = Generator::new(move |y: &Yielder<(), usize>, ()| y.yield_(i));
            assert_eq!(g.resume(()), Yielded(i));
            if i % 2 == 0 {
                let _ = g.resume(());
            }
        }
        let numbers = greenlet::statistics().unwrap();
        assert_eq!((numbers.stacks, numbers.idle_stacks), (1, 1));
    });
}

// ---- who runs the body ----

#[test]
fn the_body_runs_as_its_driver() {
    static WHO: Local<&str> = Local::new();
    fn body(y: &Yielder<(), (u64, Option<&'static str>)>) {
        loop {
            y.yield_((current().id(), WHO.get()));
            WHO.set("the body was here");
        }
    }
    sim(|| {
        let g = Rc::new(RefCell::new(Generator::new(|y, ()| body(y))));
        assert_eq!(g.borrow_mut().next(), Some((0, None)));
        let greenlets = ["a", "b"].map(|name| {
            let g = g.clone();
            spawn(move || {
                WHO.set(name);
                let got = g.borrow_mut().next();
                (current().id(), got, WHO.get())
            })
        });
        for (greenlet, name) in greenlets.into_iter().zip(["a", "b"]) {
            let id = greenlet.id();
            let (own, got, after) = greenlet.join().unwrap();
            assert_eq!(own, id);
            // It goes on after its last yield: with the value of who drives it now.
            assert_eq!(got, Some((id, Some("the body was here"))), "{name}");
            assert_eq!(after, Some("the body was here"));
        }
        assert_eq!(WHO.get(), None);
    });
}

/// A resume lets nobody else run; a wait in the body does, and parks the driver.
#[test]
fn a_wait_in_the_body_is_the_drivers() {
    for at_root in [false, true] {
        let log = Log::default();
        sim(|| {
            let began = now();
            let other = spawn({
                let log = log.clone();
                move || {
                    for i in 0..4 {
                        log.say(format!("other {i} at {}", (now() - began).as_millis()));
                        sleep(ms(10));
                    }
                }
            });
            let drive = {
                let log = log.clone();
                move || {
                    let g = Generator::new(|y, ()| {
                        for i in 0..3 {
                            y.yield_(i);
                            y.yield_(10 * i);
                            sleep(ms(13));
                        }
                    });
                    for i in g {
                        log.say(format!("item {i} at {}", (now() - began).as_millis()));
                    }
                }
            };
            if at_root {
                drive();
            } else {
                spawn(drive).join().unwrap();
            }
            other.join().unwrap();
        });
        let mut expected = vec![
            "item 0 at 0",
            "item 0 at 0",
            "other 0 at 0",
            "other 1 at 10",
            "item 1 at 13",
            "item 10 at 13",
            "other 2 at 20",
            "item 2 at 26",
            "item 20 at 26",
            "other 3 at 30",
        ];
        if !at_root {
            // It was spawned first.
            expected.swap(1, 2);
            expected.swap(0, 1);
        }
        assert_eq!(log.take(), expected, "at the root: {at_root}");
    }
}

/// Waits of every kind, two generators deep, beside others that drive their own.
#[test]
fn generators_in_generators_wait() {
    for seed in 0..50 {
        Simulation::new().seed(seed).run(|| {
            let queue = Rc::new(Queue::bounded(2));
            let limit = Rc::new(Semaphore::new(1));
            let numbers = |queue: Rc<Queue<u32>>, limit: Rc<Semaphore>| {
                Generator::new(move |y, ()| {
                    let inner = Generator::new(move |y, ()| {
                        while let Ok(n) = queue.get() {
                            let _permit = limit.acquire();
                            yield_now();
                            y.yield_(n);
                            sleep(ms(u64::from(n % 3)));
                        }
                    });
                    for n in inner {
                        yield_now();
                        y.yield_(n);
                    }
                })
            };
            let consumers = [(); 3].map(|()| {
                let numbers = numbers(queue.clone(), limit.clone());
                spawn(move || numbers.collect::<Vec<u32>>())
            });
            (0..30).for_each(|n| queue.put(n).unwrap());
            queue.shutdown();
            let mut all: Vec<u32> = Vec::new();
            for consumer in consumers {
                let got = consumer.join().unwrap();
                assert!(got.is_sorted(), "{got:?}");
                all.extend(got);
            }
            all.sort_unstable();
            assert_eq!(all, (0..30).collect::<Vec<_>>());
            assert_eq!(limit.available(), 1);
        });
    }
}

/// The root's hub runs the others on the generator's stack, spawns and ends them.
#[test]
fn the_root_waits_in_a_body() {
    let mut g = Generator::new(|y: &Yielder<u32, u32>, first| {
        let sum = spawn(move || {
            yield_now();
            first + 1
        });
        let next = y.yield_(sum.join().unwrap());
        let event = Arc::new(Event::new());
        let setter = spawn({
            let event = event.clone();
            move || {
                sleep(ms(1));
                event.set();
            }
        });
        event.wait();
        setter.join().unwrap();
        next * 2
    });
    let waiting = spawn(|| sleep(ms(1)));
    assert_eq!(g.resume(1), Yielded(2));
    assert_eq!(g.resume(4), Complete(8));
    waiting.join().unwrap();
}

/// Its hub is another one after each step.
#[test]
fn the_hub_may_end_in_a_body_and_between_resumes() {
    let mut g = run(|| {
        let mut g = Generator::new(|y: &Yielder<(), u32>, ()| {
            y.yield_(spawn(|| 1).join().unwrap());
            y.yield_(run(|| spawn(|| 2).join().unwrap()));
            run(|| yield_now());
            3
        });
        assert_eq!(g.resume(()), Yielded(1));
        g
    });
    assert_eq!(g.resume(()), Yielded(2));
    assert_eq!(run(|| spawn(|| 5).join().unwrap()), 5);
    assert_eq!(g.resume(()), Complete(3));
    drop(g);
    assert_eq!(run(|| spawn(|| 6).join().unwrap()), 6);
}

#[test]
fn on_a_plain_thread_a_wait_parks_it() {
    let (ready, go) = (Arc::new(Event::new()), Arc::new(Event::new()));
    let thread = std::thread::spawn({
        let (ready, go) = (ready.clone(), go.clone());
        move || {
            let g = Generator::new(move |y, ()| {
                ready.set();
                go.wait();
                y.yield_(7);
            });
            g.collect::<Vec<_>>()
        }
    });
    ready.wait();
    go.set();
    assert_eq!(thread.join().unwrap(), [7]);
}

/// Wakes from another thread find the driver, in its body, on its hub.
#[test]
fn other_threads_wake_a_body() {
    let queue = Arc::new(Queue::rendezvous());
    let hub = HubThread::start("driver").unwrap();
    let sum = hub.handle().spawn({
        let queue = queue.clone();
        move || {
            let items = Generator::new(move |y, ()| queue.iter().for_each(|n: u32| y.yield_(n)));
            items.sum::<u32>()
        }
    });
    (1..=100).for_each(|n| queue.put(n).unwrap());
    queue.shutdown();
    assert_eq!(sum.join().unwrap(), 5050);
    hub.stop();
    hub.join().unwrap();
}

/// What is held at a yield is held: by a body that is nobody's.
#[test]
fn a_lock_is_held_over_a_yield() {
    sim(|| {
        let mutex = Rc::new(Mutex::new(0));
        let mut g = Generator::new({
            let mutex = mutex.clone();
            move |y, ()| {
                let mut value = mutex.lock();
                y.yield_(());
                *value += 1;
            }
        });
        g.next();
        let other = spawn({
            let mutex = mutex.clone();
            move || {
                *mutex.lock() += 10;
                now()
            }
        });
        sleep(ms(5));
        assert!(!other.is_finished());
        // Another greenlet ends the body.
        spawn(move || assert_eq!(g.next(), None)).join().unwrap();
        other.join().unwrap();
        assert_eq!(*mutex.lock(), 11);
    });
}

#[test]
fn a_resume_is_no_wait() {
    let mut g = Generator::new(|y, ()| {
        y.yield_(1);
        yield_now();
    });
    assert_eq!(no_switch(|| g.next()), Some(1));
    // But what the body does may be one.
    let text = panic_of(|| no_switch(|| g.next()));
    assert!(text.contains("yield_now"), "{text}");
    assert!(g.is_finished());
}

// ---- panics, kills and time limits ----

#[test]
fn a_panic_comes_out_of_resume() {
    for at_once in [false, true] {
        let log = Log::default();
        let mut g = Generator::new({
            let log = log.clone();
            move |y, ()| {
                let _gone = log.at_drop("unwound");
                if !at_once {
                    y.yield_(1);
                }
                raise("oops");
            }
        });
        if !at_once {
            assert_eq!(g.next(), Some(1));
        }
        assert_eq!(panic_of(|| g.next()), "oops");
        assert_eq!(log.take(), ["unwound"]);
        assert!(g.is_finished() && g.next().is_none());
        assert!(!std::thread::panicking());
    }
}

/// Through two bodies and the greenlet that drives them.
#[test]
fn a_kill_unwinds_through_resume() {
    sim(|| {
        let log = Log::default();
        let driver = spawn({
            let log = log.clone();
            move || {
                let _d = log.at_drop("driver");
                let suspended = endless(&log, "suspended");
                let mut outer = Generator::new(move |y, ()| {
                    let _o = log.at_drop("outer");
                    let log = log.clone();
                    let mut inner = Generator::new(move |y: &Yielder<(), ()>, ()| {
                        let _i = log.at_drop("inner");
                        y.yield_(());
                        let _w = OnDrop(|| assert!(std::thread::panicking()));
                        sleep(ms(100));
                    });
                    inner.next();
                    y.yield_(());
                    inner.next();
                });
                let mut suspended = suspended;
                suspended.next();
                outer.next();
                outer.next();
                unreachable!("killed in there");
            }
        });
        sleep(ms(10));
        driver.kill();
        let began = now();
        assert!(driver.join().unwrap_err().is_killed());
        assert_eq!(now(), began);
        assert_eq!(log.take(), ["inner", "outer", "suspended", "driver"]);
    });
}

/// The body catches the kill: it is raised again by the driver's next wait.
#[test]
fn a_kill_that_the_body_swallows_stays() {
    sim(|| {
        let log = Log::default();
        let driver = spawn({
            let log = log.clone();
            move || {
                let mut g = Generator::new(|y, ()| {
                    let killed = catch_unwind(|| sleep(ms(100))).is_err();
                    y.yield_(killed);
                });
                assert_eq!(g.next(), Some(true));
                log.say("went on");
                sleep(ms(1));
                unreachable!("it is sticky");
            }
        });
        sleep(ms(10));
        driver.kill();
        assert!(driver.join().unwrap_err().is_killed());
        assert_eq!(log.take(), ["went on"]);
    });
}

/// A limit of the driver's, in a greenlet and at the root.
#[test]
fn a_time_limit_unwinds_through_resume() {
    fn program() {
        let log = Log::default();
        let mut g = Generator::new({
            let log = log.clone();
            move |y, ()| {
                let _gone = log.at_drop("unwound");
                y.yield_(1);
                sleep(ms(100));
                y.yield_(2);
                sleep(ms(100));
            }
        });
        let began = now();
        assert_eq!(timeout(ms(10), || g.next()), Ok(Some(1)));
        // The body is suspended when this one ends: it does not reach it.
        assert_eq!(timeout(ms(10), || sleep(ms(50))), Err(Elapsed));
        assert_eq!(timeout(ms(200), || g.next()), Ok(Some(2)));
        assert_eq!(timeout(ms(20), || g.next()), Err(Elapsed));
        assert_eq!(now() - began, ms(130));
        assert_eq!(log.take(), ["unwound"]);
        assert!(g.is_finished());
    }
    sim(program);
    sim(|| spawn(program).join().unwrap());
}

/// In a body each of these works, if it is closed before the yield.
#[test]
fn a_body_may_bound_what_it_does() {
    sim(|| {
        let mut g = Generator::new(|y, ()| {
            y.yield_(timeout(ms(10), || sleep(ms(20))) == Err(Elapsed));
            y.yield_(shield(|| scope(|s| s.spawn(|| true).join().unwrap())));
            y.yield_(no_switch(|| finally(|| true, || ())));
        });
        assert_eq!((g.next(), g.next()), (Some(true), Some(true)));
        assert_eq!((g.next(), g.next()), (Some(true), None));
    });
}

/// But it cannot leave them open to its driver.
#[test]
fn no_yield_out_of_what_the_body_has_opened() {
    type Y = Yielder<(), u32>;
    type Opener = fn(&Y);
    let openers: [(&str, Opener); 6] = [
        ("timeout", |y| timeout(ms(10), || y.yield_(1)).unwrap()),
        ("scope", |y| scope(|_| y.yield_(1))),
        ("shield", |y| shield(|| y.yield_(1))),
        ("finally", |y| finally(|| (), || y.yield_(1))),
        ("no_switch", |y| no_switch(|| y.yield_(1))),
        ("cmp", |y| {
            struct Item<'a>(&'a Y);
            impl PartialEq for Item<'_> {
                fn eq(&self, _: &Self) -> bool {
                    true
                }
            }
            impl Eq for Item<'_> {}
            impl PartialOrd for Item<'_> {
                fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
                    Some(self.cmp(other))
                }
            }
            impl Ord for Item<'_> {
                fn cmp(&self, _: &Self) -> std::cmp::Ordering {
                    self.0.yield_(1);
                    std::cmp::Ordering::Equal
                }
            }
            let queue = greenlet::sync::PriorityQueue::unbounded();
            (0..2).for_each(|_| drop(queue.put(Item(y))));
        }),
    ];
    for (name, opener) in openers {
        for in_greenlet in [false, true] {
            let program = move || {
                let mut g = Generator::new(move |y, ()| opener(y));
                // What the driver has open is no hindrance.
                let text = panic_of(|| shield(|| g.next()));
                let expected = "inside a scope, run, time limit, shield or no_switch";
                assert!(text.contains(expected), "{name}: {text}");
                assert!(text.contains("generators.rs"), "{name}: {text}");
                assert!(g.is_finished());
                sleep(ms(20)); // no timer is left
            };
            sim(|| match in_greenlet {
                true => spawn(program).join().unwrap(),
                false => program(),
            });
        }
    }
}

/// Else another greenlet could end it, whose hub it would wait for for ever.
#[test]
fn no_yield_out_of_a_run() {
    let mut g = Generator::new(|y: &Yielder<(), u32>, ()| greenlet::run(|| y.yield_(1)));
    let text = panic_of(|| g.next());
    assert!(text.contains("inside a scope, run, time limit"), "{text}");
    assert!(g.is_finished());
    assert_eq!(greenlet::run(|| spawn(|| 1).join().unwrap()), 1); // the other has ended
}

/// Children of a scope that the body has opened may have the way to yield, but not use it.
#[test]
fn no_yield_on_another_stack() {
    sim(|| {
        let mut g = Generator::new(|y: &Yielder<(), u32>, ()| {
            let text = scope(|s| s.spawn(|| panic_of(|| y.yield_(1))).join().unwrap());
            assert!(text.contains("outside of its generator's body"), "{text}");
            y.yield_(2);
            3
        });
        assert_eq!(g.resume(()), Yielded(2));
        assert_eq!(g.resume(()), Complete(3));
    });
}

#[test]
fn a_deadlock_in_a_body_is_reported() {
    let text = sim(|| {
        let mut g = Generator::new(|_: &Yielder<(), ()>, ()| Event::new().wait());
        let text = panic_of(|| g.resume(()));
        assert!(g.is_finished());
        text
    });
    assert!(text.contains("deadlock"), "{text}");
    assert!(text.contains("waits in Event::wait"), "{text}");
}

/// Nobody can be in a generator twice: the borrow is the caller's own to keep.
#[test]
fn a_body_cannot_resume_itself() {
    let slot: Rc<RefCell<Option<Generator<(), u32, ()>>>> = Rc::default();
    let g = Generator::new({
        let slot = slot.clone();
        move |y, ()| {
            assert!(slot.try_borrow_mut().is_err());
            y.yield_(1);
        }
    });
    *slot.borrow_mut() = Some(g);
    assert_eq!(slot.borrow_mut().as_mut().unwrap().next(), Some(1));
    assert_eq!(slot.borrow_mut().as_mut().unwrap().next(), None);
    slot.take();
}

// ---- drops ----

#[test]
fn dropped_before_its_start_it_drops_its_closure() {
    let log = Log::default();
    let gone = log.at_drop("closure");
    drop(Generator::new(move |_: &Yielder<(), ()>, ()| drop(gone)));
    assert_eq!(log.take(), ["closure"]);
}

#[test]
fn dropped_at_a_yield_it_is_unwound() {
    let log = Log::default();
    let mut g = endless(&log, "body");
    assert_eq!((g.next(), g.next()), (Some(0), Some(1)));
    assert_eq!(log.take(), [""; 0]);
    drop(g);
    assert_eq!(log.take(), ["body"]);
}

/// By another greenlet than had it before, which is the one that runs the destructors.
#[test]
fn who_drops_it_unwinds_it() {
    sim(|| {
        let ran_in = Rc::new(Cell::new(None));
        let mut g = Generator::new({
            let ran_in = ran_in.clone();
            move |y, ()| {
                let _gone = OnDrop(|| ran_in.set(Some(current().id())));
                y.yield_(());
            }
        });
        spawn(move || {
            g.next();
            let last = spawn(move || drop(g));
            let id = last.id();
            last.join().unwrap();
            id
        })
        .join()
        .map(|id| assert_eq!(ran_in.get(), Some(id)))
        .unwrap();
    });
}

/// Its owner panics, or is killed, or a limit of it expires: the body is ended in that unwind.
#[test]
fn it_goes_with_its_owner() {
    sim(|| {
        let log = Log::default();
        let own = |end: fn()| {
            let log = log.clone();
            move || {
                let _owner = log.at_drop("owner");
                let mut g = endless(&log, "body");
                g.next();
                end();
            }
        };
        let panicked = spawn(own(|| raise("oops"))).join();
        assert!(matches!(panicked, Err(JoinError::Panicked { .. })));
        assert_eq!(log.take(), ["body", "owner"]);
        let killed = spawn(own(|| sleep(ms(10))));
        yield_now();
        killed.kill();
        assert!(killed.join().unwrap_err().is_killed());
        assert_eq!(log.take(), ["body", "owner"]);
        assert_eq!(timeout(ms(1), own(|| sleep(ms(10)))), Err(Elapsed));
        assert_eq!(log.take(), ["body", "owner"]);
        let caught = catch_unwind(AssertUnwindSafe(own(|| panic_any("at the root"))));
        assert!(caught.is_err());
        assert_eq!(log.take(), ["body", "owner"]);
        assert!(!std::thread::panicking());
        yield_now();
    });
}

/// Its destructors cannot wait, as in any unwind; a cleanup can, while nobody panics.
#[test]
fn a_cleanup_may_wait_when_it_is_dropped() {
    sim(|| {
        let log = Log::default();
        let mut g = Generator::new({
            let log = log.clone();
            move |y: &Yielder<(), ()>, ()| {
                let _tries = OnDrop(|| {
                    let waited = Event::new().wait_timeout(ms(1));
                    log.say(format!("destructor waited: {waited}"));
                });
                // The wait lies outside of the yield, or the yield would be refused.
                let ended = catch_unwind(AssertUnwindSafe(|| y.yield_(()))).unwrap_err();
                sleep(ms(10));
                log.say("cleanup");
                resume_unwind(ended);
            }
        });
        g.next();
        let (began, other) = (now(), spawn(|| sleep(ms(5))));
        drop(g);
        assert!(other.is_finished());
        assert_eq!(now() - began, ms(10));
        assert_eq!(log.take(), ["cleanup", "destructor waited: false"]);
    });
}

/// What catches its end is unwound again at its next yield; what it returns is dropped.
#[test]
fn an_end_that_is_swallowed_comes_again() {
    let log = Log::default();
    let mut g = Generator::new({
        let log = log.clone();
        move |y: &Yielder<(), AtDrop>, ()| {
            for _ in 0..3 {
                let value = log.at_drop("value");
                let ended = catch_unwind(AssertUnwindSafe(|| y.yield_(value))).is_err();
                log.say(format!("ended: {ended}"));
            }
            log.at_drop("returned")
        }
    });
    drop(g.resume(()));
    assert_eq!(log.take(), ["value"]);
    drop(g);
    let again = ["value", "ended: true"];
    let expected = [&["ended: true"][..], &again, &again, &["returned"]].concat();
    assert_eq!(log.take(), expected);
}

/// The same in an unwind of the owner's.
#[test]
fn an_end_may_be_swallowed_in_an_unwind() {
    let log = Log::default();
    let caught = panic_of(|| {
        let mut g = Generator::new({
            let log = log.clone();
            move |y, ()| {
                for _ in 0..3 {
                    let ended = catch_unwind(AssertUnwindSafe(|| y.yield_(()))).is_err();
                    log.say(format!("ended: {ended}"));
                }
                let _ = catch_unwind(|| raise("its own"));
                raise("not seen, as the owner's is on its way");
            }
        });
        g.next();
        raise("the owner's");
    });
    assert_eq!(caught, "the owner's");
    assert_eq!(log.take(), ["ended: true"; 3]);
    assert!(!std::thread::panicking());
}

#[test]
fn a_panic_at_its_end_comes_out_of_the_drop() {
    let log = Log::default();
    let mut g = Generator::new({
        let log = log.clone();
        move |y, ()| {
            let _gone = log.at_drop("body");
            let _ = catch_unwind(AssertUnwindSafe(|| y.yield_(())));
            raise("instead");
        }
    });
    g.next();
    assert_eq!(panic_of(|| drop(g)), "instead");
    assert_eq!(log.take(), ["body"]);
}

/// A kill of who drops it, while the body waits in the drop: comes out of it.
#[test]
fn a_kill_while_it_is_dropped() {
    sim(|| {
        let log = Log::default();
        let owner = spawn({
            let log = log.clone();
            move || {
                let _owner = log.at_drop("owner");
                let mut g = Generator::new({
                    let log = log.clone();
                    move |y, ()| {
                        let _gone = log.at_drop("body");
                        let _ = catch_unwind(AssertUnwindSafe(|| y.yield_(())));
                        sleep(ms(100));
                        unreachable!("killed");
                    }
                });
                g.next();
                drop(g);
                unreachable!("killed");
            }
        });
        sleep(ms(10));
        owner.kill();
        assert!(owner.join().unwrap_err().is_killed());
        assert_eq!(log.take(), ["body", "owner"]);
    });
}

/// An end that is kept and raised elsewhere is nobody else's.
#[test]
fn an_end_ends_one_generator() {
    let kept = Rc::new(RefCell::new(None));
    let keeper = |kept: &Rc<RefCell<Option<_>>>| {
        let kept = kept.clone();
        let mut g = Generator::new(move |y, ()| {
            let end = catch_unwind(AssertUnwindSafe(|| y.yield_(()))).unwrap_err();
            if let Some(other) = kept.replace(Some(end)) {
                resume_unwind(other);
            }
        });
        g.next();
        g
    };
    let (first, second) = (keeper(&kept), keeper(&kept));
    drop(first);
    // It unwinds with the first one's end, which is a foreign payload for it.
    assert!(catch_unwind(AssertUnwindSafe(|| drop(second))).is_err());
}

#[test]
fn an_iterator_is_empty_while_panicking() {
    let seen = Rc::new(Cell::new(None));
    let caught = panic_of(|| {
        let mut g = Generator::new(|y, ()| {
            for i in 0.. {
                y.yield_(i);
            }
        });
        g.next();
        let _in_the_unwind = OnDrop(|| seen.set(Some(g.next())));
        raise("oops");
    });
    assert_eq!((caught.as_str(), seen.get()), ("oops", Some(None)));
}

/// In the destructor of a thread-local, when the thread's hub is gone, or never was there.
#[test]
fn at_the_end_of_a_thread() {
    struct AtEnd(
        Option<Generator<(), u32, ()>>,
        Arc<Mutex<Vec<Option<u32>>>>,
        bool,
    );
    impl Drop for AtEnd {
        fn drop(&mut self) {
            let mut g = self.0.take().unwrap();
            let next = g.next();
            drop(g);
            // The hub that this took has gone again, if the thread's own had before.
            let gone = HubHandle::current().is_closed();
            assert_eq!(gone, self.2);
            self.1.lock().push(next);
        }
    }
    thread_local! {
        static KEPT: RefCell<Option<AtEnd>> = const { RefCell::new(None) };
    }
    for (started, with_hub) in [(false, false), (false, true), (true, false), (true, true)] {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let dropped = Arc::new(Event::new());
        std::thread::spawn({
            let (seen, dropped) = (seen.clone(), dropped.clone());
            move || {
                // Before there is a hub, so that it goes after it.
                KEPT.with(|kept| *kept.borrow_mut() = None);
                let late = started || with_hub;
                if with_hub {
                    spawn(|| ()).join().unwrap();
                }
                let mut g = Generator::new(move |y, ()| {
                    let _gone = OnDrop(|| dropped.set());
                    for i in 0.. {
                        y.yield_(i);
                    }
                });
                if started {
                    g.next();
                }
                KEPT.with(|kept| *kept.borrow_mut() = Some(AtEnd(Some(g), seen, late)));
            }
        })
        .join()
        .unwrap();
        assert_eq!(*seen.lock(), [Some(u32::from(started))]);
        assert!(dropped.is_set());
    }
}

/// A thread-local goes while a greenlet that is left behind drives what is in it: the body is
/// in the middle of a wait, in whose line it stays.
#[test]
fn at_the_end_of_a_thread_in_a_wait() {
    struct AtEnd(Option<Generator<(), u32, ()>>);
    impl Drop for AtEnd {
        fn drop(&mut self) {
            let g = self.0.take();
            catch_unwind(AssertUnwindSafe(|| drop(g))).unwrap();
        }
    }
    thread_local! {
        static KEPT: RefCell<AtEnd> = const { RefCell::new(AtEnd(None)) };
    }
    for hub_first in [false, true] {
        let event = Arc::new(Event::new());
        let waits = event.clone();
        std::thread::spawn(move || {
            if hub_first {
                spawn(|| ()).join().unwrap();
            }
            KEPT.with(|kept| {
                kept.borrow_mut().0 = Some(Generator::new(move |y, ()| {
                    y.yield_(1);
                    waits.wait();
                }));
            });
            let left = || {
                KEPT.with(|kept| while kept.borrow_mut().0.as_mut().unwrap().next().is_some() {})
            };
            drop(spawn(left));
            yield_now();
        })
        .join()
        .unwrap();
        assert_eq!(event.statistics().waiting, 1);
        event.set();
    }
}

/// One that is forgotten keeps what its body has, and hurts nobody.
#[test]
fn forgotten_it_is_leaked() {
    sim(|| {
        let log = Log::default();
        let mut g = endless(&log, "body");
        g.next();
        std::mem::forget(g);
        spawn(yield_now).join().unwrap();
        assert_eq!(log.take(), [""; 0]);
    });
}

// ---- beside a model ----

/// What a body does.
#[derive(Clone, Debug)]
enum Step {
    Yield(u8),
    Sleep(u64),
    /// Drives a generator of these, and yields what it yields.
    All(Vec<Step>),
    /// The same, but for so many items only; then it goes.
    Some(Vec<Step>, usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let leaf = prop_oneof![
        any::<u8>().prop_map(Step::Yield),
        (0..3u64).prop_map(Step::Sleep),
    ];
    let step = leaf.prop_recursive(3, 24, 5, |step| {
        let steps = prop::collection::vec(step, 0..5);
        prop_oneof![
            steps.clone().prop_map(Step::All),
            (steps, 0..4usize).prop_map(|(steps, n)| Step::Some(steps, n)),
        ]
    });
    prop::collection::vec(step, 0..8)
}

/// What a body of these steps does, in order: an item, or a sleep.
fn flat(steps: &[Step], out: &mut Vec<Result<u8, u64>>) {
    for step in steps {
        match step {
            Step::Yield(item) => out.push(Ok(*item)),
            Step::Sleep(n) => out.push(Err(*n)),
            Step::All(steps) => flat(steps, out),
            Step::Some(steps, n) => {
                let mut inner = Vec::new();
                flat(steps, &mut inner);
                let mut left = *n;
                out.extend(inner.into_iter().take_while(|did| {
                    let goes_on = left > 0;
                    left -= usize::from(goes_on && did.is_ok());
                    goes_on
                }));
            }
        }
    }
}

/// One that counts itself while its body is alive.
fn body(steps: Vec<Step>, alive: Rc<()>) -> Generator<(), u8, ()> {
    Generator::new(move |y, ()| {
        for step in steps {
            match step {
                Step::Yield(item) => y.yield_(item),
                Step::Sleep(n) => sleep(ms(n)),
                Step::All(steps) => body(steps, alive.clone()).for_each(|item| y.yield_(item)),
                Step::Some(steps, n) => {
                    let inner = body(steps, alive.clone());
                    inner.take(n).for_each(|item| y.yield_(item));
                }
            }
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    /// Several drivers at once, of which some leave theirs before the end, and one is killed:
    /// each has its items at the instants that a walk over the steps says.
    #[test]
    fn generators_beside_their_model(
        plans in prop::collection::vec((steps(), 0..12usize), 1..4),
        killed_at in prop::option::of(0..6u64),
    ) {
        let alive = Rc::new(());
        let got = sim(|| {
            let began = now();
            let drivers: Vec<_> = plans
                .iter()
                .cloned()
                .map(|(steps, n)| {
                    let (alive, log) = (alive.clone(), Rc::new(RefCell::new(Vec::new())));
                    let said = log.clone();
                    let driver = spawn(move || {
                        for item in body(steps, alive).take(n) {
                            said.borrow_mut().push(((now() - began).as_millis(), item));
                        }
                    });
                    (driver, log)
                })
                .collect();
            if let Some(at) = killed_at {
                // Between two instants at which something happens.
                sleep(Duration::from_micros(at * 1000 + 500));
                drivers[0].0.kill();
            }
            let each = drivers.into_iter().map(|(driver, log)| {
                let _ = driver.join();
                log.take()
            });
            each.collect::<Vec<_>>()
        });
        for (i, (steps, n)) in plans.iter().enumerate() {
            let (mut did, mut at, mut expected) = (Vec::new(), 0, Vec::new());
            flat(steps, &mut did);
            for did in did {
                match did {
                    Ok(item) => expected.push((u128::from(at), item)),
                    Err(n) => at += n,
                }
            }
            expected.truncate(*n);
            if let Some(last) = killed_at.filter(|_| i == 0) {
                expected.retain(|&(at, _)| at <= u128::from(last));
            }
            prop_assert_eq!(&got[i], &expected, "driver {}", i);
        }
        prop_assert_eq!(Rc::strong_count(&alive), 1, "a body is left");
    }
}

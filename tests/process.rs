//! What ends the process, seen from outside: each test runs itself again as a child process, in which an environment
//! variable names the scenario, and looks at how the child ended and what it said. Processes of one thread are in
//! `single_thread.rs`.

#![cfg(unix)]

#[macro_use]
mod child;

use child::HANGS;
#[cfg(target_os = "linux")]
use child::{child_of, executable};
use std::any::Any;
use std::cell::{Cell, RefCell};
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
#[cfg(target_os = "linux")]
use std::process::Command;
use std::rc::Rc;
use std::sync::Arc;
#[cfg(target_os = "linux")]
use std::sync::mpsc;
use std::task::{Context, Waker};
use std::time::Duration;

use greenlet::sync::{
    AsyncResult, Condvar, Event, Mutex, OnceCell, PriorityQueue, Queue, RwLock, Semaphore,
};
use greenlet::testing::Simulation;
use greenlet::{
    Builder, Generator, HubThread, deadlock_after, finally, join_all, now, run, scope, shield,
    sleep, spawn, timeout, wait_all, wait_any, wait_any_timeout, yield_now,
};
#[cfg(target_os = "linux")]
use greenlet::{Greenlet, HubHandle, JoinError};

struct OnDrop<F: FnMut()>(F);

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

fn text(payload: &(dyn Any + Send)) -> String {
    payload
        .downcast_ref::<&str>()
        .map(|s| (*s).to_owned())
        .or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_default()
}

// ---- waits while panicking that cannot say no ----

/// Does `f` in a destructor of the greenlet 'doomed' while it panics.
fn in_a_destructor(f: fn()) {
    Simulation::new().run(|| {
        let g = Builder::new().name("doomed").spawn(move || {
            let _guard = OnDrop(f);
            panic!("on purpose");
        });
        g.unwrap().wait();
    });
}

/// `aborts!(name, operation, f)`: the wait of `f`, while panicking, aborts with the operation, its place and the greenlet.
macro_rules! aborts {
    ($($test:ident: $operation:literal, $f:expr;)*) => {$(
        #[test]
        fn $test() {
            let ended = child!($test, || in_a_destructor($f));
            let place = format!("greenlet: {} at {}:", $operation, file!());
            ended.aborted(&[&place, "panicking", "greenlet 'doomed'", "on purpose"]);
        }
    )*};
}

aborts! {
    event_wait_while_panicking_aborts: "Event::wait", || Event::new().wait();
    async_result_wait_while_panicking_aborts: "AsyncResult::wait", || assert!(AsyncResult::<u8>::new().wait().is_ok());
    async_result_get_while_panicking_aborts: "AsyncResult::get", || assert!(AsyncResult::<u8>::new().get().is_ok());
    acquire_while_panicking_aborts: "Semaphore::acquire", || drop(Semaphore::new(0).acquire());
    acquire_many_while_panicking_aborts: "Semaphore::acquire_many", || drop(Semaphore::new(1).acquire_many(2));
    greenlet_wait_while_panicking_aborts: "Greenlet::wait", || spawn(|| ()).wait();
    greenlet_join_while_panicking_aborts: "Greenlet::join", || drop(spawn(|| ()).join());
    queue_join_while_panicking_aborts: "Queue::join", || {
        let q = Queue::unbounded();
        q.put(1).unwrap();
        q.join();
    };
    wait_any_while_panicking_aborts: "wait_any", || assert_eq!(wait_any(&[&Event::new()]), 0);
    wait_all_while_panicking_aborts: "wait_all", || wait_all(&[&Event::new()]);
    rwlock_write_while_panicking_aborts: "RwLock::write", || {
        let lock = RwLock::new(());
        std::mem::forget(lock.read());
        drop(lock.write());
    };
    condvar_wait_while_panicking_aborts: "Condvar::wait", || Condvar::new().wait(&mut Mutex::new(()).lock());
    scope_in_a_destructor_while_panicking_aborts: "scope", || scope(|_| ());
    run_in_a_destructor_while_panicking_aborts: "run", || run(|| ());
    finally_in_a_destructor_while_panicking_aborts: "finally", || finally(|| (), || ());
}

/// Another greenlet of the same hub holds it, and could never go on.
#[test]
fn mutex_of_this_thread_while_panicking_aborts() {
    let ended = child!(mutex_of_this_thread_while_panicking_aborts, || {
        let mutex = Arc::new(Mutex::new(()));
        let _held = mutex.lock();
        let doomed = Builder::new().name("doomed").spawn({
            let mutex = mutex.clone();
            move || {
                let _guard = OnDrop(|| drop(mutex.lock()));
                panic!("on purpose");
            }
        });
        doomed.unwrap().wait();
    });
    let place = "greenlet: Mutex::lock at tests/process.rs:";
    ended.aborted(&[place, "panicking", "greenlet 'doomed'", "on purpose"]);
}

/// The future's place in the line goes with it, but the line is locked by that very thread.
#[test]
fn future_dropped_inside_the_clone_of_an_item_aborts() {
    type Waits = Pin<Box<dyn Future<Output = ()>>>;
    thread_local! {
        static WAITS: RefCell<Option<Waits>> = const { RefCell::new(None) };
    }
    struct Item;
    impl Clone for Item {
        fn clone(&self) -> Self {
            let waits = WAITS.take();
            let dropped = catch_unwind(AssertUnwindSafe(|| drop(waits)));
            println!("it got away: {}", dropped.is_ok());
            Item
        }
    }
    static ITEMS: Queue<Item> = Queue::unbounded();
    let ended = child!(future_dropped_inside_the_clone_of_an_item_aborts, || {
        ITEMS.put(Item).unwrap_or_else(|_| panic!("unbounded"));
        let mut waits: Waits = Box::pin(ITEMS.join_async());
        let mut context = Context::from_waker(Waker::noop());
        assert!(waits.as_mut().poll(&mut context).is_pending());
        WAITS.set(Some(waits));
        let _ = ITEMS.peek_nowait();
    });
    ended.aborted(&[
        "greenlet: a future that waits for a queue was dropped inside the Ord or Clone",
    ]);
}

/// Another greenlet of the same hub initialises it, and could never go on.
#[test]
fn cell_of_this_thread_while_panicking_aborts() {
    let ended = child!(cell_of_this_thread_while_panicking_aborts, || {
        let cell = Arc::new(OnceCell::new());
        let _initialises = spawn({
            let cell = cell.clone();
            move || *cell.get_or_init(|| sleep(HANGS))
        });
        yield_now();
        let doomed = Builder::new().name("doomed").spawn(move || {
            let _guard = OnDrop(|| cell.set(()).unwrap());
            panic!("on purpose");
        });
        doomed.unwrap().wait();
    });
    let place = "greenlet: OnceCell::set at tests/process.rs:";
    ended.aborted(&[place, "panicking", "greenlet 'doomed'", "on purpose"]);
}

/// Nobody holds it for ever but the root, which waits for it: the relock can never be.
#[test]
fn condvar_that_can_never_have_its_mutex_again_aborts() {
    let ended = child!(condvar_that_can_never_have_its_mutex_again_aborts, || {
        Simulation::new().run(|| {
            let (mutex, changed) = (Mutex::new(()), Condvar::new());
            let mut guard = mutex.lock();
            scope(|s| {
                s.spawn(|| {
                    std::mem::forget(mutex.lock());
                    changed.notify_one();
                });
                changed.wait(&mut guard);
            });
        });
    });
    ended.aborted(&[
        "Condvar::wait at tests/process.rs:",
        "cannot end",
        "deadlock",
    ]);
}

/// There is nothing that it could return.
#[test]
fn yield_of_a_generator_while_panicking_aborts() {
    let ended = child!(yield_of_a_generator_while_panicking_aborts, || {
        let mut generator = Generator::new(|y, ()| {
            let _guard = OnDrop(|| y.yield_(()));
            panic!("on purpose");
        });
        generator.next();
    });
    let place = "greenlet: Yielder::yield_ at tests/process.rs:";
    ended.aborted(&[place, "panicking", "the root", "on purpose"]);
}

/// The same in the unwind that the drop begins.
#[test]
fn yield_of_a_generator_that_is_dropped_aborts() {
    let ended = child!(yield_of_a_generator_that_is_dropped_aborts, || {
        let mut generator = Generator::new(|y, ()| {
            let _guard = OnDrop(|| y.yield_(()));
            y.yield_(());
        });
        generator.next();
        drop(generator);
    });
    let place = "greenlet: Yielder::yield_ at tests/process.rs:";
    ended.aborted(&[place, "panicking", "the root"]);
}

#[test]
fn resume_of_a_generator_while_panicking_aborts() {
    let ended = child!(resume_of_a_generator_while_panicking_aborts, || {
        let mut generator = Generator::new(|y, ()| y.yield_(()));
        let _guard = OnDrop(|| _ = generator.resume(()));
        panic!("on purpose");
    });
    let place = "greenlet: Generator::resume at tests/process.rs:";
    ended.aborted(&[place, "panicking", "a thread without a hub", "on purpose"]);
}

/// A body that never lets itself be ended says so, as a greenlet does.
#[test]
fn a_generator_that_keeps_swallowing_its_end_is_reported() {
    let ended = child!(
        a_generator_that_keeps_swallowing_its_end_is_reported,
        || {
            let mut generator = Generator::new(|y, ()| {
                for _ in 0..20 {
                    let _ = catch_unwind(AssertUnwindSafe(|| y.yield_(())));
                }
            });
            generator.next();
            drop(generator);
        }
    );
    ended.well();
    let line = "greenlet: a generator keeps swallowing its end";
    assert_eq!(ended.err.matches(line).count(), 1, "{ended:#?}");
}

/// At the root too, where nobody is named but the root.
#[test]
fn wait_while_panicking_at_the_root_aborts() {
    let ended = child!(wait_while_panicking_at_the_root_aborts, || {
        run(|| {
            let _guard = OnDrop(|| Event::new().wait());
            panic!("on purpose");
        })
    });
    ended.aborted(&["Event::wait at tests/process.rs:", "the root", "panicking"]);
}

#[test]
fn run_in_a_destructor_while_panicking_on_a_thread_without_a_hub_aborts() {
    let ended = child!(
        run_in_a_destructor_while_panicking_on_a_thread_without_a_hub_aborts,
        || {
            let thread = std::thread::spawn(|| {
                let _guard = OnDrop(|| run(|| ()));
                panic!("on purpose");
            });
            let _ = thread.join();
        }
    );
    ended.aborted(&["run at tests/process.rs:", "panicking"]);
}

/// A scope's expiry that `run` has left pending on the thread is not raised in the middle of a panic: the wait just blocks.
#[test]
fn wait_while_panicking_without_a_hub_and_with_an_expiry_pending_just_blocks() {
    let ended = child!(
        wait_while_panicking_without_a_hub_and_with_an_expiry_pending_just_blocks,
        || {
            let thread = std::thread::spawn(|| {
                let ms = Duration::from_millis;
                timeout(ms(1), || {
                    run(|| shield(|| sleep(ms(20))));
                    let _guard = OnDrop(|| {
                        let set = Event::new().wait_timeout(ms(1));
                        println!("waited: {set}");
                    });
                    panic!("on purpose");
                })
            });
            println!("the panic: {}", text(&*thread.join().unwrap_err()));
        }
    );
    ended.well();
    assert!(ended.out.contains("waited: false"), "{ended:#?}");
    assert!(ended.out.contains("the panic: on purpose"), "{ended:#?}");
}

// ---- what can never end ----

#[test]
fn second_deadlock_at_the_end_of_a_scope_aborts_with_the_dump() {
    let ended = child!(
        second_deadlock_at_the_end_of_a_scope_aborts_with_the_dump,
        || {
            Simulation::new().run(|| {
                scope(|s| {
                    let stubborn = Builder::new().name("stubborn");
                    s.spawn_with(stubborn, || shield(|| Event::new().wait()))
                        .unwrap();
                });
            });
        }
    );
    ended.aborted(&[
        "scope at tests/process.rs:",
        "cannot end",
        "'stubborn'",
        "Event::wait at tests/",
    ]);
}

#[test]
fn greenlet_that_never_ends_at_the_end_of_run_aborts_with_the_dump() {
    let ended = child!(
        greenlet_that_never_ends_at_the_end_of_run_aborts_with_the_dump,
        || {
            Simulation::new().run(|| {
                let stubborn = Builder::new().name("stubborn");
                stubborn.spawn(|| shield(|| Event::new().wait())).unwrap();
                yield_now();
            });
        }
    );
    ended.aborted(&[
        "cannot end",
        "'stubborn'",
        "Event::wait at tests/process.rs:",
    ]);
}

// ---- queues ----

/// Items whose comparison goes through a second queue back to the first: must panic, must not wait for its own lock.
#[test]
fn cmp_that_touches_its_queue_through_another_queue_panics() {
    struct Item(u32, Box<dyn Fn()>);
    impl PartialEq for Item {
        fn eq(&self, other: &Self) -> bool {
            self.cmp(other).is_eq()
        }
    }
    impl Eq for Item {}
    impl PartialOrd for Item {
        fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
            Some(self.cmp(other))
        }
    }
    impl Ord for Item {
        fn cmp(&self, other: &Self) -> std::cmp::Ordering {
            (self.1)();
            self.0.cmp(&other.0)
        }
    }
    let ended = child!(
        cmp_that_touches_its_queue_through_another_queue_panics,
        || {
            let (a, b) = (
                Rc::new(PriorityQueue::unbounded()),
                Rc::new(PriorityQueue::unbounded()),
            );
            a.put(Item(1, Box::new(|| ()))).unwrap();
            b.put(Item(1, Box::new(|| ()))).unwrap();
            let (to_a, to_b) = (a.clone(), b.clone());
            let item = Item(
                2,
                Box::new(move || {
                    let to_a = to_a.clone();
                    to_b.put_nowait(Item(3, Box::new(move || assert!(to_a.len() < 9))))
                        .unwrap();
                }),
            );
            let payload = catch_unwind(AssertUnwindSafe(|| a.put_nowait(item))).unwrap_err();
            println!("said: {}", text(&*payload));
            println!("left: {} {}", a.len(), b.len());
            // The items hold the queues that hold them.
            drop(a.shutdown_now());
            drop(b.shutdown_now());
        }
    );
    ended.well();
    assert!(
        ended.out.contains("said: a queue was used from inside"),
        "{ended:#?}"
    );
    assert!(ended.out.contains("left: 1 1"), "{ended:#?}");
}

/// What a primitive's Debug writes into is the program's: it may use that very primitive. No lock is held meanwhile.
#[test]
fn debug_into_a_writer_that_uses_the_primitive_itself_does_not_hang() {
    struct Using<F: FnMut()>(F);
    impl<F: FnMut()> std::fmt::Write for Using<F> {
        fn write_str(&mut self, _: &str) -> std::fmt::Result {
            (self.0)();
            Ok(())
        }
    }
    fn debug(of: &dyn std::fmt::Debug, using: impl FnMut()) {
        std::fmt::write(&mut Using(using), format_args!("{of:?}")).unwrap();
    }
    let ended = child!(
        debug_into_a_writer_that_uses_the_primitive_itself_does_not_hang,
        || {
            let s = Semaphore::new(5);
            debug(&s, || drop(s.try_acquire().expect("five permits are free")));
            println!("try_acquire");
            debug(&s, || s.release());
            println!("release");
            let event = Event::new();
            debug(&event, || event.set());
            println!("set");
            let q = Queue::unbounded();
            debug(&q, || q.put(1).unwrap());
            println!("put");
            let r = AsyncResult::<u8>::new();
            debug(&r, || {
                let _ = r.set(1);
            });
            let g = spawn(|| 1);
            debug(&g, || g.kill());
        }
    );
    ended.well();
}

// ---- other threads ----

/// The greenlet of an ordinary hub ends while somebody in a Simulation waits for it: its hub must survive that.
#[test]
fn greenlet_that_ends_while_a_simulation_waits_for_it_does_not_take_the_process_down() {
    let ended = child!(
        greenlet_that_ends_while_a_simulation_waits_for_it_does_not_take_the_process_down,
        || {
            let hub = HubThread::start("other").unwrap();
            let go = Arc::new(Event::new());
            let g = hub.handle().spawn({
                let go = go.clone();
                move || go.wait()
            });
            let simulated = catch_unwind(AssertUnwindSafe(|| {
                Simulation::new().run(|| {
                    spawn(move || go.set());
                    g.wait();
                });
            }));
            println!("simulated: {}", simulated.is_ok());
            assert_eq!(hub.handle().spawn(|| 7).join().unwrap(), 7);
            println!("the hub serves");
            hub.stop();
            hub.join().unwrap();
        }
    );
    ended.well();
    assert!(ended.out.contains("the hub serves"), "{ended:#?}");
}

#[test]
fn thread_that_ends_with_greenlets_left_says_how_many() {
    let ended = child!(thread_that_ends_with_greenlets_left_says_how_many, || {
        let thread = std::thread::spawn(|| {
            for _ in 0..3 {
                spawn(|| Event::new().wait());
            }
            yield_now();
            spawn(|| ()); // not started
        });
        thread.join().unwrap();
    });
    ended.well();
    let lines: Vec<_> = ended
        .err
        .lines()
        .filter(|l| l.contains("greenlets left"))
        .collect();
    assert_eq!(lines.len(), 1, "{ended:#?}");
    assert!(lines[0].contains(" thread: 4 ("), "{ended:#?}");
}

#[test]
fn thread_that_ends_after_run_says_nothing() {
    let ended = child!(thread_that_ends_after_run_says_nothing, || {
        let thread = std::thread::spawn(|| {
            run(|| {
                spawn(|| Event::new().wait());
                yield_now();
            });
            spawn(|| ()).join().unwrap();
        });
        thread.join().unwrap();
    });
    ended.well();
    assert!(!ended.err.contains("left"), "{ended:#?}");
}

/// While a thread's locals are torn down it counts as one without a hub: all that such a thread can do works.
fn in_the_destructor_of_a_thread_local(f: fn()) {
    struct AtEnd(Cell<Option<fn()>>);
    impl Drop for AtEnd {
        fn drop(&mut self) {
            self.0.take().unwrap()();
            println!("TORN DOWN");
        }
    }
    thread_local!(static AT_END: AtEnd = const { AtEnd(Cell::new(None)) });
    let thread = std::thread::spawn(move || {
        AT_END.with(|a| a.0.set(Some(f))); // made before this crate's, so dropped after them
        spawn(|| ()).join().unwrap();
        run(|| ());
        sleep(Duration::from_millis(1));
    });
    thread.join().unwrap();
}

#[test]
fn timeout_scope_while_a_thread_s_locals_are_torn_down_expires() {
    let ended = child!(
        timeout_scope_while_a_thread_s_locals_are_torn_down_expires,
        || in_the_destructor_of_a_thread_local(|| {
            assert!(timeout(Duration::from_millis(1), || Event::new().wait()).is_err());
        })
    );
    ended.well();
    assert!(ended.out.contains("TORN DOWN"), "{ended:#?}");
}

#[test]
fn no_switch_and_queues_while_a_thread_s_locals_are_torn_down_work() {
    let ended = child!(
        no_switch_and_queues_while_a_thread_s_locals_are_torn_down_work,
        || in_the_destructor_of_a_thread_local(|| {
            greenlet::no_switch(|| ());
            shield(|| ());
            let q = PriorityQueue::unbounded();
            q.put(2).unwrap();
            q.put(1).unwrap();
            assert_eq!((q.peek_nowait(), q.get()), (Ok(1), Ok(1)));
        })
    );
    ended.well();
    assert!(ended.out.contains("TORN DOWN"), "{ended:#?}");
}

#[test]
fn kill_that_is_swallowed_again_and_again_is_reported() {
    let ended = child!(kill_that_is_swallowed_again_and_again_is_reported, || {
        Simulation::new().run(|| {
            let swallowed = Rc::new(Cell::new(0));
            let g = Builder::new().name("glutton").spawn({
                let swallowed = swallowed.clone();
                move || {
                    while swallowed.get() < 100 {
                        let _ = catch_unwind(|| sleep(Duration::from_secs(1)));
                        swallowed.set(swallowed.get() + 1);
                    }
                }
            });
            let g = g.unwrap();
            yield_now();
            g.kill();
            assert!(g.join().is_ok());
        });
    });
    ended.well();
    let lines: Vec<_> = ended
        .err
        .lines()
        .filter(|l| l.contains("'glutton'"))
        .collect();
    assert_eq!(lines.len(), 1, "{ended:#?}");
    assert!(lines[0].contains("kill"), "{ended:#?}");
}

/// Neither a kill nor an expiry goes through the panic hook.
#[test]
fn kills_and_expiries_print_nothing() {
    let ended = child!(kills_and_expiries_print_nothing, || {
        Simulation::new().run(|| {
            let g = spawn(|| sleep(Duration::from_secs(9)));
            yield_now();
            g.kill();
            assert!(g.join().unwrap_err().is_killed());
            let late = timeout(Duration::from_secs(1), || sleep(Duration::from_secs(9)));
            assert!(late.is_err());
        });
    });
    ended.well();
    assert_eq!(ended.err, "", "{ended:#?}");
}

// ---- deadlocks where other threads live ----

/// With another thread alive nobody can know: no panic, and without `deadlock_after` no word.
#[test]
fn deadlock_report_is_no_false_alarm_while_another_thread_lives() {
    let ended = child!(
        deadlock_report_is_no_false_alarm_while_another_thread_lives,
        || {
            let event = Arc::new(Event::new());
            let other = std::thread::spawn({
                let event = event.clone();
                move || {
                    std::thread::sleep(Duration::from_millis(100));
                    event.set();
                }
            });
            let g = spawn({
                let event = event.clone();
                move || event.wait()
            });
            g.join().unwrap();
            other.join().unwrap();
        }
    );
    ended.well();
    assert_eq!(ended.err, "", "{ended:#?}");
}

#[test]
fn deadlock_after_prints_once_and_goes_on() {
    let ended = child!(deadlock_after_prints_once_and_goes_on, || {
        deadlock_after(Duration::from_millis(20));
        let (first, second) = (Arc::new(Event::new()), Arc::new(Event::new()));
        let other = std::thread::spawn({
            let (first, second) = (first.clone(), second.clone());
            move || {
                std::thread::sleep(Duration::from_millis(200));
                first.set();
                std::thread::sleep(Duration::from_millis(200));
                second.set();
            }
        });
        let g = Builder::new().name("patient").spawn({
            let first = first.clone();
            move || first.wait()
        });
        let g = g.unwrap();
        println!("id: #{}", g.id());
        g.join().unwrap();
        second.wait();
        other.join().unwrap();
    });
    ended.well();
    let id = ended
        .out
        .lines()
        .find_map(|l| l.split("id: ").nth(1))
        .unwrap();
    let patient = format!("{id} 'patient': waits in Event::wait at tests/process.rs:");
    let found: Vec<_> = ended.err.lines().filter(|l| l.contains(&patient)).collect();
    assert_eq!(found.len(), 1, "{ended:#?}");
    assert!(found[0].contains(" for "), "{ended:#?}");
    assert_eq!(ended.err.matches("blocked").count(), 1, "once: {ended:#?}");
    assert!(
        ended.err.contains("Greenlet::join at tests/process.rs:"),
        "the root: {ended:#?}"
    );
}

/// A question that a hub answers changes nothing for those who wait.
#[test]
fn deadlock_after_prints_though_the_hub_is_asked_for_its_figures() {
    let ended = child!(
        deadlock_after_prints_though_the_hub_is_asked_for_its_figures,
        || {
            deadlock_after(Duration::from_millis(200));
            let event = Arc::new(Event::new());
            let hub = greenlet::HubHandle::current();
            let other = std::thread::spawn({
                let event = event.clone();
                move || {
                    for _ in 0..100 {
                        std::thread::sleep(Duration::from_millis(10));
                        assert!(hub.statistics(HANGS).is_some());
                    }
                    event.set();
                }
            });
            event.wait();
            other.join().unwrap();
        }
    );
    ended.well();
    assert_eq!(ended.err.matches("blocked").count(), 1, "{ended:#?}");
}

#[test]
fn deadlock_after_is_no_alarm_while_a_timer_is_pending() {
    let ended = child!(deadlock_after_is_no_alarm_while_a_timer_is_pending, || {
        deadlock_after(Duration::from_millis(5));
        let event = Arc::new(Event::new());
        spawn({
            let event = event.clone();
            move || event.wait()
        });
        sleep(Duration::from_millis(100));
        event.set();
        yield_now();
    });
    ended.well();
    assert_eq!(ended.err, "", "{ended:#?}");
}

// ---- no address space left ----

/// Takes what is left of the address space for stacks, down to the smallest, until `end`.
#[cfg(target_os = "linux")]
fn take_all_stacks(end: &Rc<Event>) -> usize {
    let mut taken = 0;
    for class in (15..30).rev() {
        loop {
            let end = end.clone();
            let stack = Builder::new().stack_size(1 << class);
            let g = stack.spawn(move || end.wait()).unwrap();
            yield_now();
            match g.error() {
                None => taken += 1,
                Some(JoinError::NoStack(_)) => break,
                Some(e) => panic!("{e}"),
            }
        }
    }
    taken
}

/// On a hub that never had a greenlet, there is not even the spare stack on which the closures of others are dropped
/// that can have none of their own.
#[cfg(target_os = "linux")]
fn spawns_without_address_space() {
    /// What a closure owns: says that it was dropped.
    struct Owned(mpsc::Sender<&'static str>);
    impl Drop for Owned {
        fn drop(&mut self) {
            let _ = self.0.send("dropped");
        }
    }
    #[track_caller]
    fn refused(g: Greenlet<()>, linked: mpsc::Receiver<bool>) {
        // In its time: the hub answers, rather than dies.
        assert!(g.wait_timeout(HANGS));
        assert_eq!(linked.recv(), Ok(true));
        let error = g.join().unwrap_err();
        assert!(matches!(error, JoinError::NoStack(_)), "{error}");
        assert!(error.to_string().contains("no stack"), "{error}");
    }
    fn link(g: &Greenlet<()>) -> mpsc::Receiver<bool> {
        let (to, linked) = mpsc::channel();
        g.link(move |outcome| {
            let no_stack = matches!(outcome, Err(JoinError::NoStack(_)));
            to.send(no_stack).unwrap();
        });
        linked
    }
    // Threads before the space is gone, and what they need of it.
    let remote = HubThread::start("remote").unwrap();
    let (go, gone) = mpsc::channel();
    let (back, again) = mpsc::channel();
    let local = std::thread::spawn(move || {
        drop(HubHandle::current());
        back.send(()).unwrap();
        gone.recv().unwrap();
        let (sender, owned) = mpsc::channel();
        let owns = Owned(sender);
        let g = spawn(move || drop(owns));
        // At once: it was refused in the caller, who can drop the closure.
        assert!(g.is_finished());
        assert_eq!(owned.recv(), Ok("dropped"));
        let linked = link(&g);
        refused(g, linked);
        // In a scope it must not vanish.
        let lost = catch_unwind(|| scope(|s| drop(s.spawn(|| ()))));
        let text = text(&*lost.unwrap_err());
        assert!(text.contains("no stack"), "{text}");
        back.send(()).unwrap();
        gone.recv().unwrap();
        assert_eq!(spawn(|| 7).join().unwrap(), 7);
    });
    again.recv().unwrap();
    let (sender, owned) = mpsc::channel();
    run(|| {
        let end = Rc::new(Event::new());
        let taken = take_all_stacks(&end);
        println!("stacks: {taken}");
        let owns = Owned(sender);
        let g = remote.handle().spawn(move || drop(owns));
        let linked = link(&g);
        refused(g, linked);
        let killed = remote.handle().spawn(|| ());
        killed.kill();
        assert!(killed.join().is_err());
        // No destructor of the program's runs in a hub's loop: the closure is leaked.
        assert_eq!(owned.try_recv(), Err(mpsc::TryRecvError::Empty));
        go.send(()).unwrap();
        again.recv().unwrap();
        end.set();
    });
    // The hub that had it all has ended: both others go on.
    assert_eq!(remote.handle().spawn(|| 7).join().unwrap(), 7);
    go.send(()).unwrap();
    local.join().unwrap();
    remote.stop();
    remote.join().unwrap();
    println!("leaked: {:?}", owned.try_recv());
}

/// Only on Linux: elsewhere the limit does not bind, or stacks do not count.
#[test]
#[cfg(target_os = "linux")]
fn spawn_without_address_space_for_the_first_stack_of_a_hub_says_so() {
    let mut limited = Command::new("sh");
    limited
        .args(["-c", "ulimit -v 1048576 && exec \"$0\" \"$@\""])
        .arg(executable());
    let test = "spawn_without_address_space_for_the_first_stack_of_a_hub_says_so";
    let Some(ended) = child_of(limited, test, test, || {
        // Not on the main thread: the allocator reserves address space for the others.
        let thread = std::thread::spawn(spawns_without_address_space);
        thread.join().unwrap();
    }) else {
        return;
    };
    ended.well();
    assert!(ended.out.contains("stacks: "), "{ended:#?}");
    assert!(ended.out.contains("leaked: Err(Empty)"), "{ended:#?}");
}

// ---- many waiters: each has a stack, and a process has only so many mappings, so each test has a process for itself ----

/// Half of `n` time out, the others are woken in order; the time between is the clock's, not the machine's.
fn every_second_times_out(n: usize) {
    Simulation::new().run(|| {
        let event = Rc::new(Event::new());
        let order = Rc::new(RefCell::new(Vec::with_capacity(n)));
        let start = now();
        let waiters: Vec<_> = (0..n)
            .map(|i| {
                let (event, order) = (event.clone(), order.clone());
                let small = Builder::new().stack_size(32 * 1024);
                let g = small.spawn(move || {
                    let set = if i % 2 == 0 {
                        event.wait_timeout(Duration::from_secs(1))
                    } else {
                        event.wait();
                        true
                    };
                    order.borrow_mut().push((i, set, (now() - start).as_secs()));
                });
                g.unwrap()
            })
            .collect();
        sleep(Duration::from_millis(1));
        let failed = waiters.iter().filter_map(|w| w.error()).next();
        assert!(
            failed.is_none(),
            "a waiter could not be started: {}",
            failed.unwrap()
        );
        assert!(
            format!("{event:?}").contains(&format!("waiting: {n}")),
            "{event:?}"
        );
        sleep(Duration::from_secs(2));
        assert!(
            format!("{event:?}").contains(&format!("waiting: {}", n / 2)),
            "{event:?}"
        );
        event.set();
        assert!(join_all(waiters).iter().all(Result::is_ok));
        let expected: Vec<_> = (0..n)
            .step_by(2)
            .map(|i| (i, false, 1))
            .chain((1..n).step_by(2).map(|i| (i, true, 2)))
            .collect();
        assert!(
            *order.borrow() == expected,
            "each once, in order of arrival"
        );
    });
}

#[test]
fn hundred_thousand_waiters_on_one_event_of_whom_every_second_times_out() {
    let ended = child!(
        hundred_thousand_waiters_on_one_event_of_whom_every_second_times_out,
        || every_second_times_out(100_000)
    );
    ended.well();
}

/// As many as have a stack each where the system allows the usual 65,530 mappings in a process.
#[test]
fn thirty_thousand_waiters_on_one_event_of_whom_every_second_times_out() {
    let ended = child!(
        thirty_thousand_waiters_on_one_event_of_whom_every_second_times_out,
        || every_second_times_out(30_000)
    );
    ended.well();
}

fn nodes() {
    const WAITERS: usize = 12_500;
    Simulation::new().run(|| {
        let event = Rc::new(Event::new());
        let waiters: Vec<_> = (0..WAITERS)
            .map(|i| {
                let event = event.clone();
                spawn(move || {
                    let limit = Duration::from_secs(if i % 2 == 0 { 1 } else { 100 });
                    let e = &*event;
                    wait_any_timeout(&[e, e, e, e, e, e, e, e], limit)
                })
            })
            .collect();
        sleep(Duration::from_millis(1));
        assert!(
            format!("{event:?}").contains("waiting: 100000"),
            "{event:?}"
        );
        sleep(Duration::from_secs(2));
        assert!(format!("{event:?}").contains("waiting: 50000"), "{event:?}");
        event.set();
        for (i, outcome) in join_all(waiters).into_iter().enumerate() {
            assert_eq!(outcome.unwrap(), (i % 2 == 1).then_some(0));
        }
        assert!(format!("{event:?}").contains("waiting: 0"), "{event:?}");
    });
}

/// 100,000 nodes on one event: 12,500 waiters that name it eight times each.
#[test]
fn hundred_thousand_nodes_on_one_event_of_which_every_second_times_out() {
    let ended = child!(
        hundred_thousand_nodes_on_one_event_of_which_every_second_times_out,
        nodes
    );
    ended.well();
}

// ---- the thread pool ----

/// Room for another thread's stack is taken away from the process, and given back.
#[cfg(target_os = "linux")]
#[test]
fn no_thread_for_the_pool() {
    use greenlet::{ThreadPool, unblock};
    use std::sync::atomic::{AtomicBool, Ordering};

    /// Limits the address space of this process; only the soft limit.
    fn limit(bytes: &str) {
        let pid = std::process::id().to_string();
        let limited = Command::new("prlimit")
            .args(["--pid", &pid, &format!("--as={bytes}:")])
            .status();
        assert!(limited.unwrap().success());
    }
    fn no_more() {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let size = status.lines().find_map(|l| l.strip_prefix("VmSize:"));
        let size = size.unwrap().trim().strip_suffix(" kB").unwrap();
        let size: u64 = size.parse().unwrap();
        // Some for all else, but less than a thread's two megabytes.
        limit(&((size + 1024) * 1024).to_string());
    }

    if Command::new("prlimit").arg("--version").output().is_err() {
        println!("SKIPPED: there is no prlimit here");
        return;
    }
    let ended = child!(no_thread_for_the_pool, || {
        let said = "cannot start a thread of the pool: ";
        let pool = ThreadPool::new(2);
        no_more();
        let dropped = Arc::new(AtomicBool::new(false));
        let mark = dropped.clone();
        let on_drop = OnDrop(move || mark.store(true, Ordering::SeqCst));
        let error = pool.try_unblock(move || drop(on_drop)).unwrap_err();
        assert!(dropped.load(Ordering::SeqCst));
        assert_eq!(error.kind(), std::io::ErrorKind::Other);
        let why = error.to_string();
        assert!(why.starts_with(said) && why.len() > said.len(), "{why}");
        assert_eq!((pool.threads(), pool.queued()), (0, 0));
        let panicked = catch_unwind(AssertUnwindSafe(|| pool.unblock(|| 1))).unwrap_err();
        assert_eq!(text(&*panicked), why);
        let panicked = catch_unwind(|| unblock(|| 1)).unwrap_err();
        assert_eq!(text(&*panicked), why);
        assert_eq!(greenlet::fs::read("x").unwrap_err().to_string(), why);
        #[cfg(feature = "net")]
        {
            let error = greenlet::net::TcpListener::bind("localhost:0").unwrap_err();
            let named = format!("cannot find the address of localhost: {why}");
            assert_eq!(error.to_string(), named);
        }
        limit("unlimited");
        assert_eq!(pool.unblock(|| 1), 1);
        // The result may be here before the thread is free again.
        while !format!("{pool:?}").contains("busy: 0,") {
            sleep(Duration::from_millis(1));
        }

        // With one thread that lives, jobs wait for it.
        let (open, gate) = mpsc::channel();
        let (begin, go) = (Event::new(), Event::new());
        scope(|s| {
            s.spawn(|| pool.unblock(move || gate.recv_timeout(HANGS).unwrap()));
            let queued = s.spawn(|| {
                begin.set();
                go.wait();
                pool.unblock(|| 2)
            });
            begin.wait();
            no_more();
            go.set();
            while pool.queued() == 0 {
                yield_now();
            }
            assert_eq!((pool.threads(), pool.max_threads()), (1, 2));
            open.send(()).unwrap();
            assert_eq!(queued.join().unwrap(), 2);
        });
        assert_eq!(pool.threads(), 1);
        limit("unlimited");
    });
    ended.well();
    // The panics are at the lines of those who asked.
    assert!(
        ended.err.contains("panicked at tests/process.rs"),
        "{ended:#?}"
    );
    assert!(!ended.err.contains("panicked at src"), "{ended:#?}");
}

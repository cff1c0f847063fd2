//! Misuse panics where the program misuses: the location that a panic hook sees is the caller's line, and the message says
//! what was wrong.

use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Once;
use std::time::Duration;

use greenlet::sync::{
    AsyncResult, BoundedSemaphore, Event, LifoQueue, PriorityQueue, Queue, Semaphore,
};
use greenlet::testing::Simulation;
use greenlet::{
    Greenlet, HubHandle, Local, join_all, no_switch, run, scope, select, sleep, spawn, wait_all,
    wait_all_timeout, wait_any, wait_any_timeout, yield_now,
};

/// A panic as the hook saw it.
#[derive(Clone, Debug)]
struct Seen {
    text: String,
    file: String,
    line: u32,
}

thread_local! {
    static CATCHING: Cell<u32> = const { Cell::new(0) };
    static LAST: RefCell<Option<Seen>> = const { RefCell::new(None) };
}

/// Runs `f`, which must panic, and says where and with what.
fn caught(f: impl FnOnce()) -> Seen {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            // Greenlets run on their thread, so one slot a thread will do.
            if CATCHING.get() == 0 {
                return usual(info);
            }
            let place = info.location().expect("std always gives it");
            let seen = Seen {
                text: info.payload_as_str().unwrap_or("no text").to_owned(),
                file: place.file().to_owned(),
                line: place.line(),
            };
            LAST.set(Some(seen));
        }));
    });
    LAST.set(None);
    CATCHING.set(CATCHING.get() + 1);
    let result = catch_unwind(AssertUnwindSafe(f));
    CATCHING.set(CATCHING.get() - 1);
    assert!(result.is_err(), "this must panic");
    LAST.take().expect("a panic passes through the hook")
}

#[track_caller]
fn check(line: u32, seen: &Seen, part: &str) {
    assert!(
        seen.text.contains(part),
        "the message does not say {part:?}: {seen:?}"
    );
    let at = (seen.file.as_str(), seen.line);
    assert_eq!(at, (file!(), line), "the panic must point here: {seen:?}");
}

/// `at!("part of the message", expression)` on one line: it panics on that line.
macro_rules! at {
    ($part:expr, $e:expr) => {
        check(
            line!(),
            &caught(|| {
                let _ = $e;
            }),
            $part,
        )
    };
}

const LONG: Duration = Duration::from_secs(100);

#[test]
fn a_bounded_queue_of_zero() {
    at!("Queue::rendezvous", Queue::<u8>::bounded(0));
    at!("Queue::rendezvous", LifoQueue::<u8>::bounded(0));
    at!("Queue::rendezvous", PriorityQueue::<u8>::bounded(0));
}

#[test]
fn task_done_once_too_often() {
    let (q, l, p) = (
        Queue::unbounded(),
        LifoQueue::unbounded(),
        PriorityQueue::<u8>::unbounded(),
    );
    q.put(1).unwrap();
    q.get().unwrap();
    q.task_done();
    at!("task_done", q.task_done());
    l.put(1).unwrap();
    l.task_done();
    at!("task_done", l.task_done());
    at!("task_done", p.task_done());
}

/// Runs `f` in a greenlet with the greenlet's own handle.
fn with_own_handle(f: impl FnOnce(Greenlet<()>) + 'static) {
    Simulation::new().run(|| {
        let slot = Rc::new(RefCell::new(None::<Greenlet<()>>));
        let done = Rc::new(Cell::new(false));
        let g = spawn({
            let (slot, done) = (slot.clone(), done.clone());
            move || {
                f(slot.take().expect("put there before this runs"));
                done.set(true);
            }
        });
        *slot.borrow_mut() = Some(g);
        sleep(Duration::from_secs(1));
        assert!(done.get(), "the greenlet did not come to its end");
    });
}

#[test]
fn joining_oneself() {
    with_own_handle(|me| at!("its own end", me.join()));
    with_own_handle(|me| at!("its own end", me.wait()));
    with_own_handle(|me| at!("its own end", me.wait_timeout(LONG)));
    with_own_handle(|me| at!("its own end", join_all([me])));
}

#[test]
#[rustfmt::skip] // Each on one line, which is what is looked at.
fn a_select_of_what_cannot_be() {
    let (queue, permits) = (Queue::unbounded(), BoundedSemaphore::new(1));
    let (mut item, mut handle) = (None::<u8>, None::<Greenlet<()>>);
    at!("an item to be put", select! { put(queue, &mut item) -> _ => {} });
    at!("a handle to be joined", select! { join(&mut handle) -> _ => {} });
    at!("never has more than 1", select! { acquire_many(permits, 2) -> _ => {} });
    with_own_handle(|me| {
        let mut me = Some(me);
        at!("its own end", select! { join(&mut me) -> _ => {} });
    });
}

#[test]
fn run_inside_a_greenlet() {
    let g = spawn(|| {
        at!("run() inside a greenlet", run(|| ()));
        at!("run() inside a greenlet", Simulation::new().run(|| ()));
    });
    g.join().unwrap();
}

#[test]
fn run_inside_run() {
    run(|| at!("run()", run(|| ())));
    Simulation::new().run(|| at!("run()", Simulation::new().run(|| ())));
}

#[test]
fn run_with_live_greenlets() {
    let g = spawn(|| 1);
    at!("live greenlets", run(|| ()));
    assert_eq!(g.join().unwrap(), 1);
    assert_eq!(run(|| 2), 2);
}

#[test]
fn wait_for_any_or_all_of_nothing() {
    at!("nothing", wait_any(&[]));
    at!("nothing", wait_any_timeout(&[], LONG));
    at!("nothing", wait_all(&[]));
    at!("nothing", wait_all_timeout(&[], LONG));
}

#[test]
fn local_with_where_no_value_is_set() {
    static UNSET: Local<u8> = Local::new();
    at!("no value is set", UNSET.with(|v| *v));
    spawn(|| at!("no value is set", UNSET.with(|v| *v)))
        .join()
        .unwrap();
}

#[test]
fn local_set_or_take_inside_its_own_with() {
    static NAME: Local<String> = Local::new();
    NAME.set("kept".to_owned());
    NAME.with(|_| {
        at!("Local::set inside `with`", NAME.set("new".to_owned()));
        at!("Local::take inside `with`", NAME.take());
    });
    assert_eq!(NAME.get().as_deref(), Some("kept"));
}

#[test]
fn acquire_many_over_the_bound() {
    let s = BoundedSemaphore::new(2);
    at!("never has more than 2", s.acquire_many(3));
    at!("never has more than 2", s.acquire_many_timeout(3, LONG));
    assert_eq!(s.available(), 2);
    let plain = Semaphore::new(2);
    at!("never has more than", plain.acquire_many(usize::MAX));
    assert_eq!(plain.available(), 2);
}

#[test]
fn more_permits_than_a_semaphore_can_hold() {
    let most = usize::MAX / 4;
    let s = Semaphore::new(most);
    at!("too many permits", s.release());
    assert_eq!(s.available(), most);
}

/// A constructor is no exception: the caller gave the number.
#[test]
fn a_semaphore_made_with_too_many_permits() {
    at!("too many permits", Semaphore::new(usize::MAX / 4 + 1));
    at!("too many permits", BoundedSemaphore::new(usize::MAX));
}

/// All waits, each where it would have to switch.
fn waits_inside_no_switch() {
    let (event, result) = (Event::new(), AsyncResult::<u8>::new());
    let (empty, full) = (Queue::<u8>::unbounded(), Queue::bounded(1));
    full.put(1).unwrap();
    let (lifo, ranked) = (
        LifoQueue::<u8>::unbounded(),
        PriorityQueue::<u8>::unbounded(),
    );
    let (s, b) = (Semaphore::new(0), BoundedSemaphore::new(1));
    b.acquire().forget();
    let never = spawn(|| sleep(LONG));
    no_switch(|| {
        at!("Event::wait", event.wait());
        at!("Event::wait_timeout", event.wait_timeout(LONG));
        at!("AsyncResult::wait", result.wait());
        at!("AsyncResult::wait_timeout", result.wait_timeout(LONG));
        at!("AsyncResult::get", result.get());
        at!("Queue::get", empty.get());
        at!("Queue::get_timeout", empty.get_timeout(Duration::ZERO));
        at!("Queue::iter", empty.iter().next());
        at!("Queue::put", full.put(2));
        at!("Queue::put_timeout", full.put_timeout(2, LONG));
        at!("Queue::join", full.join());
        at!("Queue::join_timeout", full.join_timeout(LONG));
        at!("LifoQueue::get", lifo.get());
        at!("PriorityQueue::get", ranked.get());
        at!("Semaphore::acquire", s.acquire());
        at!("Semaphore::acquire_timeout", s.acquire_timeout(LONG));
        at!("Semaphore::acquire_many", s.acquire_many(2));
        at!("BoundedSemaphore::acquire", b.acquire());
        at!("Greenlet::wait", never.wait());
        at!("Greenlet::wait_timeout", never.wait_timeout(LONG));
        at!("wait_any", wait_any(&[&event, &result]));
        at!("wait_all", wait_all(&[&event, &result]));
        at!("sleep", sleep(LONG));
        at!("sleep", sleep(Duration::ZERO));
        at!("yield_now", yield_now());
        // What need not wait is no misuse.
        event.set();
        event.wait();
        s.release();
        s.acquire().forget();
        full.get().unwrap();
    });
    never.kill();
    // And after it waits are allowed again.
    sleep(Duration::from_millis(1));
}

#[test]
fn a_wait_inside_no_switch_in_a_greenlet() {
    spawn(waits_inside_no_switch).join().unwrap();
}

#[test]
fn a_wait_inside_no_switch_at_the_root() {
    HubHandle::current();
    waits_inside_no_switch();
}

#[test]
fn a_wait_inside_no_switch_on_a_thread_without_a_hub() {
    let event = Event::new();
    no_switch(|| {
        at!("Event::wait", event.wait());
        at!("sleep", sleep(LONG));
    });
    sleep(Duration::from_millis(1));
}

/// The message of a wait inside `no_switch` names the place too: enough to find it in a log.
#[test]
fn a_wait_inside_no_switch_names_operation_and_place() {
    let event = Event::new();
    let here = format!("Event::wait at {}:{}:", file!(), line!() + 1);
    let seen = caught(|| no_switch(|| event.wait()));
    assert!(seen.text.contains(&here), "{} lacks {here}", seen.text);
}

/// The end of `scope` waits for the children: inside `no_switch` it panics too, and no child is lost.
#[test]
fn the_end_of_a_scope_inside_no_switch() {
    Simulation::new().run(|| {
        let ran = Cell::new(false);
        let seen = caught(|| {
            no_switch(|| {
                greenlet::scope(|s| {
                    s.spawn(|| ran.set(true));
                })
            })
        });
        assert!(seen.text.contains("scope"), "{seen:?}");
    });
}

/// The place in a report, and that of the panic, is the program's, although closures and std stand between.
#[test]
fn a_deadlock_at_the_end_of_a_scope_and_in_an_iterator() {
    let here = |operation: &str, line: u32| format!("{operation} at {}:{line}:", file!());
    Simulation::new().run(|| {
        let event = Event::new();
        let part = here("scope", line!() + 1);
        at!(&part, scope(|s| drop(s.spawn(|| event.wait()))));
    });
    Simulation::new().run(|| {
        let q = Queue::<u32>::unbounded();
        let part = here("Queue::iter", line!() + 1);
        let seen = caught(|| drop(q.iter().map(|n| n + 1).collect::<Vec<_>>()));
        assert!(seen.text.contains(&part), "{seen:?} lacks {part}");
    });
}

//! What gevent's own tests pin down, held against this crate: one test for every behaviour of
//! `research/gevent.md`, section 2 ("T" lines), that events, results, queues, semaphores, timeouts, locals, greenlets,
//! links and the scheduler have. The comment over a test names the gevent tests it answers; "ours:" marks a deliberate
//! difference (DESIGN section 3).
//!
//! # Elsewhere
//! - Pools and groups (test__pool, test__greenletset but for its killall lines) in `pools.rs`.
//! - Servers (test__server) in `net_server.rs`, signals (test__signal) in `signals.rs`, where a greenlet that waits
//!   stands for the handler.
//!
//! # Left out
//! - Parts that come later: locks and RLock (test__lock, test__thread, test__threading::TestLockThread and TestCleanup,
//!   lock_tests::LockTests and RLockTests), conditions and barriers (lock_tests::ConditionTests, BarrierTests), sockets, select, examples, backdoor
//!   (test__socket*, test__select, test__greenio, test__refcount, test__example_*, test__backdoor,
//!   test__hub::TestCloseSocketWhilePolling), monitor (test__events, test___monitor,
//!   test__hub::TestPeriodicMonitoringThread and the thread pool lines of test__hub), idle
//!   (test__issue639), spawn-tree locals (test_tree_locals), context variables (test__contextvars), the tree of
//!   greenlets and `assert_switches` (test__util::TestTree, TestAssertSwitches).
//! - No counterpart in the API: `kill` and `join` of a thread pool (TestPool.test_terminate), its `imap` as such
//!   (greenlets and a queue stand for it), errors of an input iterator (test__threadpool::TestErrorInIterator), worker
//!   greenlets and completion hooks (test_greenlet_class, TestThreadResult, TestBeforeRunTaskFailure), `unlink` and the
//!   link count (TestAsyncResult.test_link, TestUnlink, test_multiple_listeners_error_unlink_*), raw links on events
//!   and semaphores (test_rawlink_on_unacquired_runs_notifiers), blocking peek (the blocking half of test_peek_empty,
//!   test_peek_multi_greenlet), spawn callbacks (test_add_spawn_callback), `copy` and listing of a local's values
//!   (test_copy, test_copy_no_subclass, test_local_dicts_for_greenlet), starting a greenlet by hand
//!   (TestStart.test_start), waiting for the whole loop and unreferenced timers (test__hub_join_timeout but for its
//!   events), an error handler of the hub (TestHandleError), bare greenlets (TestKillallRawGreenlet), bare waiters
//!   (TestWaiter), repeating timers (test__core_timer::TestAgain), loop callbacks as such (spawned greenlets and links,
//!   which run under `no_switch`, stand for them), `iwait` (`wait_any` in a loop stands for it).
//! - Python only: a Timeout raised by hand (TestDirectRaise), custom errors and texts of a Timeout (test_expires_str,
//!   test_context_manager_str, the second half of G4), kill with an error of one's own (in TestKill, test__issue607),
//!   exit requests and Ctrl-C (test__systemerror but for test_exception, test__issues461_471),
//!   test_create_local_subclass_init_args, the textual form of functions and arguments (TestStr but for the name).

use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use greenlet::sync::{
    AsyncResult, BoundedSemaphore, Event, GetError, LifoQueue, PriorityQueue, PutError, Queue,
    Semaphore,
};
use greenlet::testing::Simulation;
use greenlet::{
    Builder, Elapsed, Greenlet, HubThread, JoinError, Local, ThreadPool, Timeout, Waitable,
    current, join_all, kill_all, no_switch, now, run, scope, shield, sleep, spawn, spawn_later,
    timeout, wait_all, wait_all_timeout, wait_any, wait_any_timeout, yield_now,
};

/// A program on the virtual clock.
fn sim<R>(program: impl FnOnce() -> R) -> R {
    Simulation::new().run(program)
}

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// Longer than any test: on the virtual clock it costs nothing, on the real one it must not pass.
const LONG: Duration = Duration::from_secs(100);

/// Objects that greenlets share live as long as the test process.
fn leak<T>(value: T) -> &'static T {
    Box::leak(Box::new(value))
}

fn all<T>(handles: impl IntoIterator<Item = Greenlet<T>>) -> Vec<T> {
    join_all(handles)
        .into_iter()
        .map(|r| r.expect("this greenlet succeeds"))
        .collect()
}

/// A log that greenlets share.
#[derive(Clone, Copy)]
struct Log(&'static std::sync::Mutex<Vec<String>>);

impl Log {
    fn new() -> Log {
        Log(leak(std::sync::Mutex::new(Vec::new())))
    }
    fn note(self, text: impl ToString) {
        self.0.lock().expect("not poisoned").push(text.to_string());
    }
    /// Takes what was noted.
    fn take(self) -> String {
        std::mem::take(&mut *self.0.lock().expect("not poisoned")).join(" ")
    }
}

/// The text of a panic.
fn text(payload: Box<dyn std::any::Any + Send>) -> String {
    match payload.downcast::<String>() {
        Ok(text) => *text,
        Err(payload) => payload
            .downcast::<&str>()
            .map_or("no text".to_owned(), |text| text.to_string()),
    }
}

/// What a wait that nothing can end says.
fn deadlock<R>(wait: impl FnOnce() -> R) -> String {
    let ended = catch_unwind(AssertUnwindSafe(wait));
    text(ended.err().expect("nothing can end this wait"))
}

/// G3 and G4, the checks that gevent makes of every wait. `timed` says whether it expired in the way of its kind,
/// `plain` waits for ever. Both fail to the moment; a scope around them is not lost, and it is the right one of two.
fn expires<R>(
    name: &'static str,
    timed: impl Fn(Duration) -> bool + Copy + 'static,
    plain: impl Fn() -> R + Copy + 'static,
) {
    let check = move |place: &str| {
        let took = |d: u64, f: &dyn Fn() -> bool| {
            let start = now();
            assert!(f(), "{name} at {place}: wrong end");
            assert_eq!(now() - start, ms(d), "{name} at {place}: wrong moment");
        };
        took(10, &|| timed(ms(10)));
        took(0, &|| timed(ms(0)));
        took(5, &|| timeout(ms(5), || timed(LONG)).is_err());
        took(5, &|| timeout(ms(5), plain).is_err());
        took(0, &|| timeout(ms(0), plain).is_err());
        took(10, &|| {
            timeout(LONG, || timed(ms(10))).is_ok_and(|expired| expired)
        });
        took(10, &|| {
            timeout(LONG, || timeout(ms(10), plain)).is_ok_and(|inner| inner.is_err())
        });
        took(10, &|| timeout(ms(10), || timeout(LONG, plain)).is_err());
    };
    check("the root");
    all([spawn(move || check("a greenlet"))]);
}

// ---------------------------------------------------------------------------------------------- events and results

// T test__event::TestEventWait, TestGeventWaitOnEvent — G3
#[test]
fn event_wait_expires() {
    sim(|| {
        let e = leak(Event::new());
        expires("Event::wait", |d| !e.wait_timeout(d), || e.wait());
        expires(
            "wait_any of an event",
            |d| wait_any_timeout(&[e], d).is_none(),
            || wait_any(&[e]),
        );
        expires(
            "wait_all of an event",
            |d| !wait_all_timeout(&[e], d),
            || wait_all(&[e]),
        );
        e.set();
        assert!(
            e.wait_timeout(ms(0)),
            "nobody left behind, and the event still works"
        );
    });
}

// T test__event::TestAsyncResultWait, TestWaitAsyncResult — G3; TestAsyncResultGet — G4
#[test]
fn asyncresult_wait_and_get_expire() {
    sim(|| {
        let ar = leak(AsyncResult::<i32>::new());
        expires(
            "AsyncResult::wait",
            |d| ar.wait_timeout(d).is_none(),
            || ar.wait(),
        );
        expires(
            "AsyncResult::get",
            |d| timeout(d, || ar.get()).is_err(),
            || ar.get(),
        );
        expires(
            "wait_any of a result",
            |d| wait_any_timeout(&[ar], d).is_none(),
            || wait_any(&[ar]),
        );
        assert_eq!(ar.set(1), Ok(()));
        assert!(matches!(ar.wait_timeout(ms(0)), Some(Ok(1))));
    });
}

// T test__event::TestGeventWaitOnEvent.test_set_during_wait
#[test]
fn woken_waiter_clears_the_event_and_waits_again() {
    sim(|| {
        let e = leak(Event::new());
        let waiter = spawn(|| {
            let setter = spawn(|| e.set());
            e.wait();
            assert!(e.is_set());
            setter.wait();
            e.clear();
            assert_eq!(wait_any_timeout(&[e], ms(10)), None, "that set is over");
            assert!(!e.is_set());
        });
        all([waiter]);
    });
}

// T test__event::TestAsyncResult.test_set_exc
#[test]
fn set_error_wakes_a_getter_with_the_same_error() {
    sim(|| {
        let ar = leak(AsyncResult::<i32, Arc<str>>::default());
        assert!(ar.error().is_none());
        let log = Log::new();
        let error: Arc<str> = "oops".into();
        let same = error.clone();
        let g = spawn(move || {
            log.note("waits");
            let got = ar.get().expect_err("an error was set");
            assert!(Arc::ptr_eq(&got, &same));
            log.note("caught");
        });
        yield_now();
        ar.set_error(error).expect("the first");
        assert_eq!(log.take(), "waits");
        yield_now();
        assert_eq!(log.take(), "caught");
        assert!(
            g.is_finished() && ar.error().is_some() && ar.value().is_none() && !ar.is_successful()
        );
        all([g]);
    });
}

// T test__event::TestAsyncResult.test_set
#[test]
fn timeout_of_zero_ends_get_before_a_later_set() {
    sim(|| {
        let ar = leak(AsyncResult::<i32>::new());
        let log = Log::new();
        let _later = spawn_later(ms(20), move || {
            log.note("set");
            ar.set(1).expect("the first");
        });
        assert!(timeout(ms(0), || ar.get()).is_err());
        log.note("expired");
        assert!(ar.get().is_ok());
        assert_eq!(log.take(), "expired set");
    });
}

// T test__event::TestAsyncResult.test_set_with_timeout, test_nonblocking_get
#[test]
fn unset_result_gives_the_fallback_or_none() {
    sim(|| {
        let ar = AsyncResult::<&str>::new();
        let got = timeout(ms(0), || ar.get()).unwrap_or(Ok("fallback"));
        assert_eq!(got.ok(), Some("fallback"));
        no_switch(|| assert!(ar.get_nowait().is_none()));
        assert!(ar.wait_timeout(ms(0)).is_none());
    });
}

/// Waits in a thread of its own: directly, under `run`, and in a greenlet under `run`; plain and with a limit.
fn in_another_thread(wait: fn() -> bool, timed: fn(Duration) -> bool, release: fn(), renew: fn()) {
    type Wait = Box<dyn Fn() -> bool + Send>;
    let contexts: [fn(Wait) -> bool; 3] =
        [|f| f(), |f| run(f), |f| run(move || all([spawn(f)])[0])];
    for context in contexts {
        for limit in [None, Some(LONG)] {
            renew();
            let waiter = std::thread::spawn(move || {
                context(Box::new(move || match limit {
                    None => wait(),
                    Some(d) => timed(d),
                }))
            });
            std::thread::sleep(ms(5));
            release();
            assert!(waiter.join().expect("no panic"));
        }
    }
}

// T test__event::TestAsyncResultCrossThread.test_cross_thread_use (_bg, _timed, _timed_bg), the same for Event
#[test]
fn set_wakes_waiters_of_another_thread() {
    static EVENT: Event = Event::new();
    in_another_thread(
        || {
            EVENT.wait();
            EVENT.is_set()
        },
        |d| EVENT.wait_timeout(d),
        || EVENT.set(),
        || EVENT.clear(),
    );
    static RESULT: std::sync::RwLock<Option<&'static AsyncResult<i32>>> =
        std::sync::RwLock::new(None);
    fn result() -> &'static AsyncResult<i32> {
        RESULT.read().expect("not poisoned").expect("renewed first")
    }
    in_another_thread(
        || matches!(result().wait(), Ok(7)),
        |d| matches!(result().wait_timeout(d), Some(Ok(7))),
        || result().set(7).expect("the first"),
        || *RESULT.write().expect("not poisoned") = Some(leak(AsyncResult::new())),
    );
}

// T test__event::…test_cross_thread_use_set_in_bg (2); test__core_async
#[test]
fn set_from_another_thread_wakes_this_one() {
    let e = leak(Event::new());
    for wait_in_greenlet in [false, true, false, true] {
        let ar = leak(AsyncResult::<i32>::new());
        e.clear();
        let setter = std::thread::spawn(|| {
            std::thread::sleep(ms(5));
            e.set();
            ar.set(1).expect("the first");
        });
        let wait = move || e.wait_timeout(LONG) && ar.wait_timeout(LONG).is_some();
        assert!(if wait_in_greenlet {
            all([spawn(wait)])[0]
        } else {
            wait()
        });
        setter.join().expect("no panic");
    }
}

// T test__event::TestAsyncResultAsLinkTarget.test_set / test_set_exception; test__greenlet::TestReturn_link.test_return,
// TestRaise_link.test_raise (link, link_value, link_exception)
#[test]
fn links_forward_values_and_failures_to_their_targets_only() {
    sim(|| {
        let bodies: [(bool, fn() -> i32); 2] = [(true, || 25), (false, || panic!("expected"))];
        for (success, body) in bodies {
            let g = spawn(body);
            for round in ["before the end", "after the end"] {
                let log = Log::new();
                let (value, error) = (
                    leak(AsyncResult::<i32>::new()),
                    leak(AsyncResult::<(), bool>::default()),
                );
                let q = leak(Queue::unbounded());
                g.link(|r| {
                    if let Ok(v) = r {
                        value.set(*v).expect("a link runs once");
                    }
                });
                g.link(|r| {
                    if let Err(e) = r {
                        error.set_error(e.is_killed()).expect("a link runs once");
                    }
                });
                g.link(|r| q.put_nowait(r.is_ok()).expect("unbounded"));
                g.link(move |r| log.note(r.is_ok()));
                g.wait();
                assert_eq!(
                    value.get_nowait().map(|r| r.ok()),
                    success.then_some(Some(25)),
                    "{round}"
                );
                assert_eq!(
                    error.get_nowait(),
                    (!success).then_some(Err(false)),
                    "{round}"
                );
                assert_eq!(
                    (q.get_nowait(), q.get_nowait()),
                    (Ok(success), Err(GetError::Empty)),
                    "{round}"
                );
                assert_eq!(log.take(), success.to_string(), "{round}");
            }
        }
    });
}

// T test__event::TestEvent_SetThenClear (1, 100, 1000 waiters)
#[test]
fn set_then_clear_releases_every_waiter() {
    for n in [1, 100, 1000] {
        sim(|| {
            let e = leak(Event::new());
            let order = leak(RefCell::new(Vec::new()));
            let gs: Vec<_> = (0..n)
                .map(|i| {
                    spawn(move || {
                        e.wait();
                        order.borrow_mut().push(i);
                    })
                })
                .collect();
            yield_now();
            e.set();
            e.clear();
            all(gs);
            assert!(
                order.borrow().iter().copied().eq(0..n),
                "in the order of arrival"
            );
        });
    }
}

// T test__event::TestWait (notimeout, count1, count2)
#[test]
fn wait_over_five_events_and_five_results() {
    sim(|| {
        for count in [None, Some(1), Some(2)] {
            let events: &[Event; 5] = leak(Default::default());
            let results: &[AsyncResult<()>; 5] = leak(Default::default());
            let sender = spawn(|| {
                for i in (0..5).rev() {
                    sleep(ms(10));
                    events[i].set();
                    sleep(ms(10));
                    results[i].set(()).expect("the first");
                }
            });
            let start = now();
            let mut left: Vec<&dyn Waitable> = events.iter().map(|e| e as &dyn Waitable).collect();
            left.extend(results.iter().map(|r| r as &dyn Waitable));
            match count {
                None => {
                    assert!(wait_all_timeout(&left, ms(1000)));
                    assert_eq!(now() - start, ms(100));
                    yield_now();
                    assert!(sender.is_finished());
                }
                Some(count) => {
                    // The last event first, then the last of the results.
                    let ready: Vec<_> = (0..count)
                        .map(|_| {
                            let i = wait_any_timeout(&left, ms(1000)).expect("in time");
                            left.remove(i);
                            i
                        })
                        .collect();
                    assert_eq!(ready, [4, 8][..count]);
                    assert_eq!(now() - start, ms(10 * count as u64));
                    assert!(!sender.is_finished());
                    sender.kill();
                    sender.wait();
                }
            }
        }
    });
}

// T test__event::TestEventBasics.test_wait_while_notifying. ours: the newcomer goes through at once, before the two
#[test]
fn newcomer_on_a_set_event_does_not_wait() {
    sim(|| {
        let e = leak(Event::new());
        let log = Log::new();
        let wait_then_note = move |n| {
            e.wait();
            log.note(n);
        };
        let gs = [
            spawn(move || wait_then_note(1)),
            spawn(move || wait_then_note(2)),
        ];
        yield_now();
        e.set();
        no_switch(|| wait_then_note(3));
        all(gs);
        assert_eq!(log.take(), "3 1 2");
    });
}

// T test__event::TestEventBasics.test_gevent_wait_twice_when_already_set
#[test]
fn waiting_for_a_set_event_works_again_and_again() {
    sim(|| {
        let e = Event::new();
        e.set();
        for _ in 0..2 {
            no_switch(|| assert_eq!(wait_any(&[&e]), 0));
            no_switch(|| wait_all(&[&e]));
        }
    });
}

// T lock_tests::EventTests.test_is_set, test_notify, test_timeout
#[test]
fn event_flag_two_waits_each_and_timed_waits() {
    sim(|| {
        let e = leak(Event::new());
        let flags = [(); 2].map(|()| {
            e.set();
            e.set();
            let set = e.is_set();
            e.clear();
            e.clear();
            (set, e.is_set())
        });
        assert_eq!(flags, [(true, false); 2]);

        let woken = leak(Cell::new(0));
        let gs = [(); 5].map(|()| {
            spawn(|| {
                e.wait();
                woken.set(woken.get() + 1);
                e.wait();
                woken.set(woken.get() + 1);
            })
        });
        sleep(ms(5));
        assert_eq!(woken.get(), 0);
        e.set();
        all(gs);
        assert_eq!(woken.get(), 10);
        e.clear();

        let waits = || spawn(|| (e.wait_timeout(ms(0)), e.wait_timeout(ms(50)), now()));
        let gs = [waits(), waits()];
        let start = now();
        for (zero, short, end) in all(gs) {
            assert_eq!((zero, short, end - start), (false, false, ms(50)));
        }
        e.set();
        for (zero, short, end) in all([waits(), waits()]) {
            assert_eq!((zero, short, end - start), (true, true, ms(50)));
        }
    });
}

// -------------------------------------------------------------------------------------------------------- queues

// T test__queue::UsesOnlyOneItem.test_put_nowait_simple (Channel: both Full)
#[test]
fn put_nowait_takes_what_there_is_room_for() {
    sim(|| {
        let (one, none) = (leak(Queue::bounded(1)), leak(Queue::rendezvous()));
        let tries = |q: &'static Queue<i32>| no_switch(|| [q.put_nowait(1), q.put_nowait(2)]);
        assert_eq!(tries(one), [Ok(()), Err(PutError::Full(2))]);
        assert_eq!(
            tries(none),
            [Err(PutError::Full(1)), Err(PutError::Full(2))]
        );
        let done = leak(Event::new());
        spawn(|| ()).link(move |_| {
            assert_eq!(one.get_nowait(), Ok(1));
            assert_eq!(
                tries(one),
                [Ok(()), Err(PutError::Full(2))],
                "from a link as well"
            );
            done.set();
        });
        assert!(done.wait_timeout(ms(1)));
    });
}

// T test__queue::UsesOnlyOneItem.test_put_nowait_unlock (with and without room)
#[test]
fn put_nowait_completes_a_waiting_getter() {
    for q in [Queue::bounded(1), Queue::unbounded(), Queue::rendezvous()] {
        sim(|| {
            let q = leak(q);
            let g = spawn(|| q.get());
            yield_now();
            assert_eq!(no_switch(|| q.put_nowait(10)), Ok(()));
            assert!(!g.is_finished(), "put does not switch");
            yield_now();
            assert!(g.is_finished() && q.is_empty());
            assert_eq!(all([g]), [Ok(10)]);
        });
    }
}

// T test__queue::UsesOnlyOneItem.test_send_last
#[test]
fn getter_that_waits_gets_a_later_put_in_time() {
    for q in [Queue::unbounded(), Queue::bounded(1), Queue::rendezvous()] {
        sim(|| {
            let q = leak(q);
            let g = spawn(|| timeout(ms(100), || q.get().expect("open")));
            sleep(ms(10));
            q.put("hi2").expect("open");
            sleep(ms(10));
            assert_eq!(all([g]), [Ok("hi2")]);
        });
    }
}

// T test__queue::TestSimpleQueue.test_get_nowait_simple, test_send_first, test_peek_empty
#[test]
fn queue_calls_that_need_not_wait_do_not_switch() {
    sim(|| {
        let q = Queue::bounded(1);
        no_switch(|| {
            assert_eq!(q.peek_nowait(), Err(GetError::Empty));
            assert_eq!(q.put("hi"), Ok(()));
            assert_eq!(q.peek_nowait(), Ok("hi"));
            assert_eq!(q.get(), Ok("hi"));
            assert_eq!(q.put("4"), Ok(()));
            assert_eq!(
                (q.get_nowait(), q.get_nowait()),
                (Ok("4"), Err(GetError::Empty))
            );
        });
        // Nobody is left who could put: the root's wait says so.
        deadlock(|| q.get());
        assert_eq!(q.get_timeout(ms(10)), Err(GetError::Empty));
    });
}

// T test__queue::TestSimpleQueue.test_get_nowait_unlock
#[test]
fn get_nowait_lets_a_finished_or_blocked_putter_go() {
    sim(|| {
        let q = leak(Queue::bounded(1));
        let first = spawn(|| q.put(5));
        let second = spawn(|| q.put(6));
        assert!(q.is_empty());
        yield_now();
        assert!(q.is_full() && first.is_finished() && !second.is_finished());
        assert_eq!(no_switch(|| q.get_nowait()), Ok(5));
        assert!(q.is_full(), "the second putter's item has moved up");
        yield_now();
        assert!(second.is_finished());
        assert_eq!(q.get_nowait(), Ok(6));
    });
}

// T test__queue::TestSimpleQueue.test_max_size
#[test]
fn third_put_into_two_places_waits_for_a_get() {
    sim(|| {
        let q = leak(Queue::bounded(2));
        let log = Log::new();
        let p = spawn(move || {
            for item in ["a", "b", "c"] {
                q.put(item).expect("open");
                log.note(item);
            }
            "OK"
        });
        yield_now();
        assert_eq!(log.take(), "a b");
        assert_eq!(q.get(), Ok("a"));
        yield_now();
        assert_eq!(log.take(), "c");
        assert_eq!([q.get(), q.get()], [Ok("b"), Ok("c")]);
        assert_eq!(all([p]), ["OK"]);
    });
}

// T test__queue::TestSimpleQueue.test_multiple_waiters
#[test]
fn n_puts_complete_exactly_n_blocked_getters() {
    sim(|| {
        let q = leak(Queue::unbounded());
        let gs = [(); 4].map(|()| spawn(|| q.get().expect("open")));
        sleep(ms(10));
        let finished = || {
            sleep(ms(1));
            gs.iter().map(|g| g.is_finished()).collect::<Vec<_>>()
        };
        q.put(1).expect("open");
        assert_eq!(finished(), [true, false, false, false]);
        q.put(2).expect("open");
        assert_eq!(finished(), [true, true, false, false]);
        q.put(3).expect("open");
        q.put(4).expect("open");
        assert_eq!(finished(), [true; 4]);
        assert_eq!(all(gs), [1, 2, 3, 4]);
    });
}

// T test__queue::TestSimpleQueue.test_waiters_that_cancel, test_two_waiters_one_dies, test_two_bogus_waiters
#[test]
fn getters_that_timed_out_swallow_no_item() {
    sim(|| {
        for waiters in [
            &[true][..],
            &[true, false],
            &[true, true],
            &[true, false, true, false],
        ] {
            let q = leak(Queue::unbounded());
            let gs: Vec<_> = waiters
                .iter()
                .map(|&dies| {
                    spawn(move || {
                        timeout(if dies { ms(0) } else { LONG }, || q.get().expect("open"))
                    })
                })
                .collect();
            sleep(ms(100));
            q.put("hi").expect("open");
            q.put("there").expect("open");
            let (died, lived): (Vec<_>, Vec<_>) =
                gs.into_iter().zip(waiters).partition(|(_, dies)| **dies);
            for got in all(died.into_iter().map(|(g, _)| g)) {
                assert_eq!(got.ok(), None);
            }
            let mut got: Vec<_> = all(lived.into_iter().map(|(g, _)| g))
                .into_iter()
                .map(Result::unwrap)
                .collect();
            got.extend(q.try_iter());
            assert_eq!(got, ["hi", "there"]);
        }
    });
}

// T test__queue::TestSimpleQueue.test_senders_that_die
#[test]
fn item_of_a_finished_putter_is_delivered() {
    sim(|| {
        let q = leak(Queue::unbounded());
        drop(spawn(|| q.put("sent").expect("open")));
        assert_eq!(q.get(), Ok("sent"));
    });
}

// T test__queue::TestChannel.test_get_nowait_unlock_channel, test_zero_max_size
#[test]
fn rendezvous_putter_is_done_when_its_item_is_taken() {
    sim(|| {
        let q = leak(Queue::rendezvous());
        let none = || assert!(q.is_empty() && q.is_full() && q.capacity() == Some(0));
        none();
        let p = spawn(|| q.put(5));
        sleep(ms(1));
        none();
        assert!(!p.is_finished());
        assert_eq!(no_switch(|| q.get_nowait()), Ok(5));
        sleep(ms(1));
        none();
        assert!(p.is_finished());

        let sender = spawn(|| q.put(6).expect("open"));
        sleep(ms(1));
        assert!(!sender.is_finished());
        let receiver = spawn(|| q.get().expect("open"));
        receiver.wait();
        sender.wait();
        assert_eq!(receiver.value(), Some(&6));
        timeout(ms(0), || wait_all(&[&sender, &receiver])).expect("both are finished");
    });
}

// T test__queue::TestChannel.test_send / test_wait. ours: who meets a waiting partner goes on without a switch
#[test]
fn rendezvous_interleavings() {
    sim(|| {
        let c = leak(Queue::rendezvous());
        let log = Log::new();
        let g = spawn(move || {
            log.note(c.get().expect("open"));
            log.note(c.get().expect("open"));
        });
        log.note("sending");
        c.put("hello").expect("open");
        log.note("sent-hello");
        c.put("world").expect("open");
        log.note("sent-world");
        all([g]);
        assert_eq!(log.take(), "sending hello sent-hello sent-world world");

        let g = spawn(move || {
            log.note("sending-hello");
            c.put("hello").expect("open");
            log.note("sending-world");
            c.put("world").expect("open");
            log.note("sent-world");
        });
        log.note("waiting");
        log.note(c.get().expect("open"));
        log.note(c.get().expect("open"));
        all([g]);
        assert_eq!(
            log.take(),
            "waiting sending-hello sending-world hello world sent-world"
        );
    });
}

// T test__queue::TestChannel.test_iterable. ours: iteration ends at `shutdown`, not at a marker
#[test]
fn iteration_ends_at_shutdown() {
    for q in [Queue::rendezvous(), Queue::unbounded(), Queue::bounded(1)] {
        sim(|| {
            let q = leak(q);
            let g = spawn(|| q.iter().collect::<Vec<_>>());
            for i in [1, 2, 3] {
                q.put(i).expect("open");
            }
            q.shutdown();
            assert_eq!(all([g]), [[1, 2, 3]]);
        });
    }
}

// T test__queue::TestQueue.test_task_done, test_issue_45
#[test]
fn join_follows_the_count_of_open_tasks() {
    sim(|| {
        let q = leak(Queue::unbounded());
        no_switch(|| q.join());
        let joiner = |d| spawn(move || q.join_timeout(d));
        q.put(1).expect("open");
        assert_eq!(q.unfinished(), 1);
        let (short, long) = (joiner(ms(1)), joiner(LONG));
        assert_eq!(q.get(), Ok(1));
        assert_eq!(q.unfinished(), 1, "taken is not done");
        assert_eq!(all([short]), [false]);
        q.task_done();
        assert_eq!(q.unfinished(), 0);
        assert_eq!(all([long]), [true]);
        assert!(
            catch_unwind(AssertUnwindSafe(|| q.task_done())).is_err(),
            "once too often"
        );
        q.put(2).expect("open");
        expires("Queue::join", |d| !q.join_timeout(d), || q.join());
    });
}

// T test__queue::TestQueue.test_shutdown_all_methods_in_one_thread
#[test]
fn after_shutdown_what_is_left_may_be_got_and_marked() {
    sim(|| {
        let q = Queue::bounded(2);
        q.put("L").expect("room");
        q.put_nowait("O").expect("room");
        q.shutdown();
        let refused = Err(PutError::ShutDown("E"));
        assert_eq!(
            [q.put("E"), q.put_nowait("E"), q.put_timeout("E", ms(1))],
            [refused, refused, refused]
        );
        assert_eq!([q.get(), q.get_nowait()], [Ok("L"), Ok("O")]);
        q.task_done();
        q.task_done();
        no_switch(|| q.join());
        let over = Err(GetError::ShutDown);
        assert_eq!(
            [q.get(), q.get_nowait(), q.get_timeout(ms(1))],
            [over, over, over]
        );
    });
}

// T test__queue::TestQueue.test_shutdown_immediate_all_methods_in_one_thread
#[test]
fn after_shutdown_now_nothing_is_left() {
    sim(|| {
        let q = Queue::bounded(2);
        q.put("L").expect("room");
        q.put_nowait("O").expect("room");
        assert_eq!(q.shutdown_now(), ["L", "O"]);
        assert_eq!(
            [q.put("E"), q.put_nowait("E")],
            [Err(PutError::ShutDown("E")), Err(PutError::ShutDown("E"))]
        );
        let over = Err(GetError::ShutDown);
        assert_eq!(
            [q.get(), q.get_nowait(), q.get_timeout(ms(1))],
            [over, over, over]
        );
        assert!(
            catch_unwind(AssertUnwindSafe(|| q.task_done())).is_err(),
            "they count as done"
        );
        no_switch(|| q.join());
    });
}

/// G4 for the gets and puts of a queue; `full` is a queue that is full, `empty` one that is empty.
macro_rules! interrupts {
    ($name:literal, $empty:expr, $full:expr) => {
        sim(|| {
            let (empty, full) = (leak($empty), leak($full));
            let _ = full.put_nowait(0);
            let length = full.len();
            expires(
                concat!($name, "::get"),
                |d| empty.get_timeout(d) == Err(GetError::Empty),
                || empty.get(),
            );
            expires(
                concat!($name, "::put"),
                |d| full.put_timeout(1, d) == Err(PutError::Full(1)),
                || full.put(1),
            );
            assert_eq!(
                (empty.len(), full.len()),
                (0, length),
                "no trace of those who left"
            );
        })
    };
}

// T test__queue::TestGetInterrupt, TestPutInterrupt (Joinable, Lifo, Priority, Channel, Simple)
#[test]
fn blocked_get_and_put_expire() {
    interrupts!("Queue", Queue::<i32>::unbounded(), Queue::<i32>::bounded(1));
    interrupts!(
        "rendezvous",
        Queue::<i32>::rendezvous(),
        Queue::<i32>::rendezvous()
    );
    interrupts!(
        "LifoQueue",
        LifoQueue::<i32>::unbounded(),
        LifoQueue::<i32>::bounded(1)
    );
    interrupts!(
        "PriorityQueue",
        PriorityQueue::<i32>::unbounded(),
        PriorityQueue::<i32>::bounded(1)
    );
}

// ---------------------------------------------------------------------------------------------------- semaphores

// T test__semaphore::TestSemaphore.test_acquire_returns_false_after_timeout; G3 for acquire
#[test]
fn acquire_expires_and_takes_nothing() {
    sim(|| {
        let sem = leak(Semaphore::new(0));
        expires(
            "Semaphore::acquire",
            |d| sem.acquire_timeout(d).is_none(),
            || sem.acquire().forget(),
        );
        sem.release();
        assert_eq!(sem.available(), 1);
        assert!(sem.try_acquire().is_some());
    });
}

// T test__semaphore::TestSemaphore.test_release_twice
#[test]
fn two_releases_serve_two_waiters() {
    sim(|| {
        let sem = leak(Semaphore::new(0));
        let log = Log::new();
        let gs = [1, 2].map(|n| {
            spawn(move || {
                sem.acquire().forget();
                log.note(n);
            })
        });
        yield_now();
        sem.release();
        sem.release();
        yield_now();
        assert_eq!(log.take(), "1 2");
        all(gs);
    });
}

// T test__semaphore::TestSemaphoreMultiThread (Bounded).test_acquire_in_one_then_another, …_timed
#[test]
fn permit_goes_to_a_thread_that_waits_but_not_to_one_that_gave_up() {
    let sem = leak(BoundedSemaphore::new(1));
    let mine = sem.acquire();
    let thread = std::thread::spawn(|| {
        sem.acquire_timeout(LONG)
            .map(|permit| permit.forget())
            .is_some()
    });
    std::thread::sleep(ms(5));
    drop(mine);
    assert!(thread.join().expect("no panic"));
    assert!(sem.is_locked());
    sem.release().expect("the thread's permit");

    let mine = sem.acquire();
    let thread = std::thread::spawn(|| sem.acquire_timeout(ms(5)).is_none());
    assert!(thread.join().expect("no panic"), "gave up");
    drop(mine);
    assert_eq!(sem.available(), 1);
}

// T test__semaphore::…test_acquire_in_one_wait_greenlet_wait_thread_gives_up
#[test]
fn greenlet_gets_the_permit_and_the_thread_gives_up() {
    let sem = leak(Semaphore::new(1));
    let mine = sem.acquire();
    let g = spawn(|| sem.acquire().forget());
    yield_now();
    let thread = std::thread::spawn(|| sem.acquire_timeout(ms(5)).is_none());
    assert!(thread.join().expect("no panic"), "gave up");
    drop(mine);
    all([g]);
    assert_eq!(sem.available(), 0);
}

// T test__semaphore::…test_dueling_threads (_timeout, _with_hub)
#[test]
fn dueling_threads_both_finish() {
    let contexts: [fn(&dyn Fn()); 2] =
        [|duel| duel(), |duel| run(|| scope(|s| drop(s.spawn(duel))))];
    for context in contexts {
        for limit in [None, Some(LONG)] {
            let sem = leak(Semaphore::new(1));
            let inside = leak(AtomicUsize::new(0));
            let duel = move || {
                context(&|| {
                    for _ in 0..2_000 {
                        let permit = match limit {
                            None => sem.acquire(),
                            Some(d) => sem.acquire_timeout(d).expect("in time"),
                        };
                        assert_eq!(inside.fetch_add(1, Ordering::Relaxed), 0, "one at a time");
                        inside.fetch_sub(1, Ordering::Relaxed);
                        drop(permit);
                    }
                });
            };
            let threads = [std::thread::spawn(duel), std::thread::spawn(duel)];
            for thread in threads {
                thread.join().expect("no panic");
            }
            assert_eq!(sem.available(), 1);
        }
    }
}

// T test__semaphore::TestSemaphoreFair.test_fair_or_hangs (scenario 42: ends in a deadlock, revivable: scenario 69)
#[test]
fn relay_with_newcomers_serves_the_earlier_waiter() {
    #[derive(Clone, Copy)]
    struct Relay {
        sem: &'static Semaphore,
        should_quit: &'static Cell<bool>,
    }
    impl Relay {
        fn acquire_then_exit(self) {
            self.sem.acquire().forget();
            self.should_quit.set(true);
        }
        fn acquire_then_spawn(self) {
            if !self.should_quit.get() {
                self.sem.acquire().forget();
                spawn(move || self.release_then_spawn()).wait();
            }
        }
        fn release_then_spawn(self) {
            self.sem.release();
            if !self.should_quit.get() {
                spawn(move || self.acquire_then_spawn()).wait();
            }
        }
    }
    sim(|| {
        let relay = Relay {
            sem: leak(Semaphore::new(1)),
            should_quit: leak(Cell::new(false)),
        };
        let first = spawn(move || relay.acquire_then_spawn());
        let second = spawn(move || relay.acquire_then_spawn());
        let exiting = spawn(move || relay.acquire_then_exit());
        deadlock(|| wait_all(&[&first, &second, &exiting]));
        assert_eq!(
            [&first, &second, &exiting].map(|g| g.is_finished()),
            [false, true, true]
        );
        relay.sem.release();
        all([first, second, exiting]);
        assert_eq!(relay.sem.available(), 1);
    });
}

// T lock_tests::SemaphoreTests/BoundedSemaphoreTests (constructor, acquire, acquire_contended, try_acquire(_contended),
// with, release_unacquired). `new` takes a usize, so a negative start is no question, and has no default.
#[test]
fn permits_are_counted_exactly_under_ten_contenders() {
    sim(|| {
        let sem = leak(Semaphore::new(7));
        sem.acquire().forget();
        let (inside, phase) = (leak(Cell::new(0)), leak(Cell::new(0)));
        let seen = leak(RefCell::new([0; 4]));
        let gs: Vec<_> = (0..10)
            .map(|_| {
                spawn(|| {
                    for _ in 0..2 {
                        sem.acquire().forget();
                        inside.set(inside.get() + 1);
                        seen.borrow_mut()[phase.get()] += 1;
                        yield_now();
                    }
                })
            })
            .collect();
        sleep(ms(1));
        assert_eq!(inside.get(), 6);
        for (next, permits) in [(1, 7), (2, 6)] {
            phase.set(next);
            (0..permits).for_each(|_| sem.release());
            sleep(ms(1));
        }
        assert_eq!((inside.get(), *seen.borrow()), (19, [6, 7, 6, 0]));
        phase.set(3);
        sem.release();
        all(gs);
        assert_eq!((inside.get(), *seen.borrow()), (20, [6, 7, 6, 1]));
        assert!(sem.try_acquire().is_none());
        sem.release();
        assert!(sem.try_acquire().is_some(), "and its permit went back");
        assert_eq!(sem.available(), 1);

        let failed = catch_unwind(AssertUnwindSafe(|| {
            let _permit = sem.acquire();
            panic!("in the scope of the permit");
        }));
        assert!(
            failed.is_err() && sem.available() == 1,
            "the scoped form releases on failure"
        );
        sem.release();
        assert_eq!(sem.available(), 2, "the plain kind grows");
        let bounded = BoundedSemaphore::new(1);
        assert!(
            bounded.release().is_err() && bounded.available() == 1,
            "the bounded kind refuses"
        );
    });
}

// T test__threading_2::ThreadTests.test_various_ops
#[test]
fn never_more_than_three_of_ten_inside() {
    for seed in 0..20 {
        Simulation::new().seed(seed).run(|| {
            let (sem, inside) = (leak(BoundedSemaphore::new(3)), leak(Cell::new(0)));
            all((0..10).map(|i| {
                spawn(move || {
                    let _permit = sem.acquire();
                    inside.set(inside.get() + 1);
                    assert!(inside.get() <= 3);
                    sleep(ms(i * 7 % 5));
                    inside.set(inside.get() - 1);
                })
            }));
            assert_eq!((inside.get(), sem.available()), (0, 3));
        });
    }
}

// ------------------------------------------------------------------------------------------------------ timeouts

// T test__timeout::Test.test_expires, test_expires_false, test_context_manager, test_context_manager_false; ours: the
// scope's value says so, and whoever does not care does not look
#[test]
fn timeout_scope_expires_again_and_again() {
    sim(|| {
        for _ in 0..2 {
            let start = now();
            let expired: Result<(), Elapsed> = timeout(ms(10), || sleep(LONG));
            assert!(expired.is_err());
            assert_eq!(now() - start, ms(10));
        }
        assert_ne!(
            timeout(ms(1), || sleep(LONG))
                .expect_err("expired")
                .to_string(),
            ""
        );
    });
}

// T test__timeout::Test.test_cancel
#[test]
fn cancelled_timeout_never_fires() {
    sim(|| {
        let done = Timeout::after(ms(10)).run(|t| {
            assert!(t.is_pending());
            t.cancel();
            assert!(!t.is_pending());
            sleep(ms(30));
            "done"
        });
        assert_eq!(done.ok(), Some("done"));
        // Armed again, it fires again.
        let again = Timeout::after(ms(10)).run(|t| {
            t.cancel();
            sleep(ms(30));
            t.reset(ms(10));
            sleep(ms(30));
        });
        assert!(again.is_err());
    });
}

// T test__timeout::Test.test_with_timeout; test__api::Test.test_nested_with_timeout
#[test]
fn timeout_raises_falls_back_or_passes_through() {
    sim(|| {
        let nap = || {
            sleep(ms(200));
            1
        };
        assert!(timeout(ms(100), nap).is_err());
        assert_eq!(timeout(ms(100), nap).unwrap_or(7), 7);
        assert_eq!(timeout(ms(300), nap).ok(), Some(1));
        let outer = timeout(ms(50), || timeout(ms(100), nap).unwrap_or(7));
        assert!(outer.is_err(), "the outer expiry passes the inner fallback");
        let error = catch_unwind(|| timeout(ms(50), || panic!("its own")));
        assert_eq!(text(error.expect_err("a panic passes through")), "its own");
    });
}

// T test__api_timeout::Test.test_timeout_calls_update_now / test_sleep_calls_update_now (on the real clock)
#[test]
fn long_computation_before_arming_expires_nothing() {
    let compute = |d: Duration| {
        let start = Instant::now();
        while start.elapsed() < d {
            std::hint::spin_loop();
        }
    };
    let g = spawn(move || {
        compute(ms(30));
        let scope = timeout(ms(20), || sleep(ms(1)));
        compute(ms(30));
        let start = Instant::now();
        sleep(ms(5));
        (scope.is_ok(), start.elapsed() >= ms(5))
    });
    assert_eq!(all([g]), [(true, true)]);
}

// T test__api_timeout::Test.test_sleep_calls_update_now, the other way round: the thread is busy while first the sleep and
// then the scope become due, and one look at the timers finds both. The sleep was over first (DESIGN 4.4: "one that is
// already ready takes its wake first").
#[test]
fn sleep_that_was_over_before_the_scope_expired_is_no_timeout() {
    let slept = spawn(|| timeout(ms(20), || sleep(ms(5))));
    let busy = spawn(|| {
        sleep(ms(1));
        std::thread::sleep(ms(60));
    });
    assert_eq!(all([slept]), [Ok(())]);
    all([busy]);
}

// ours (gevent's scenario 82): what was given before the limit is taken, however late the waiter runs
#[test]
fn success_wins_a_tie() {
    const LIMIT: Duration = Duration::from_millis(200);
    let (e, q, sem) = (
        leak(Event::new()),
        leak(Queue::unbounded()),
        leak(Semaphore::new(0)),
    );
    let waiters = [
        spawn(|| e.wait_timeout(LIMIT)),
        spawn(|| q.get_timeout(LIMIT).is_ok()),
        spawn(|| {
            sem.acquire_timeout(LIMIT)
                .map(|permit| permit.forget())
                .is_some()
        }),
        spawn(|| timeout(LIMIT, || e.wait()).is_ok()),
        spawn(|| timeout(LIMIT, || q.get().is_ok()) == Ok(true)),
        spawn(|| timeout(LIMIT, || sem.acquire().forget()).is_ok()),
    ];
    let busy = spawn(|| {
        sleep(ms(1));
        e.set();
        (0..2).for_each(|i| q.put(i).expect("open"));
        (0..2).for_each(|_| sem.release());
        std::thread::sleep(LIMIT + ms(50));
    });
    assert_eq!(all(waiters), [true; 6]);
    all([busy]);
    assert_eq!((q.len(), sem.available()), (0, 0));
}

// T test__api_timeout::Test.test_api (custom errors: `map_err`)
#[test]
fn timeout_that_did_not_fire_leaves_nothing_behind() {
    sim(|| {
        timeout(ms(20), || sleep(ms(10))).expect("it ended in time");
        sleep(ms(40));
        let custom = timeout(ms(10), || sleep(ms(100))).map_err(|_| "Operation takes way too long");
        assert_eq!(custom, Err("Operation takes way too long"));
        let start = now();
        let _ = timeout(ms(100), || sleep(ms(200)));
        assert_eq!(now() - start, ms(100));
    });
}

// T test__api_timeout::Test.test_nested_timeout
#[test]
fn three_nestings_with_identity_and_pending_flags() {
    sim(|| {
        let outer = timeout(ms(10), || {
            let _ = timeout(ms(100), || sleep(ms(600)));
            panic!("should not get there");
        });
        assert!(outer.is_err());

        let caught = || catch_unwind(|| sleep(ms(300))).is_err();
        let first = Timeout::after(ms(10)).run(|t1| {
            let second = Timeout::after(ms(200)).run(|t2| {
                assert!(caught());
                assert!(!t1.is_pending() && t2.is_pending());
            });
            assert!(second.is_ok(), "it was not the second one's");
        });
        assert!(first.is_err(), "swallowed, and Elapsed all the same");

        let first = Timeout::after(ms(200)).run(|t1| {
            let second = Timeout::after(ms(10)).run(|t2| {
                assert!(caught());
                assert!(t1.is_pending() && !t2.is_pending());
            });
            assert!(second.is_err() && t1.is_pending());
        });
        assert!(first.is_ok());
    });
}

/// Yields in a loop, on the real clock (the virtual one stands still while somebody is ready); gives up one day.
fn endless() {
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(20) {
        yield_now();
    }
}

// T test__sleep0
#[test]
fn timeout_fires_in_a_loop_of_yields() {
    let gs = [5, 7].map(|d| spawn(move || timeout(ms(d), endless).is_err()));
    assert_eq!(all(gs), [true, true], "two greenlets");
    let alone = spawn(|| timeout(ms(5), endless).is_err());
    assert_eq!(all([alone]), [true], "a greenlet alone");
    assert!(timeout(ms(5), endless).is_err(), "the root");
}

// T test__sleep0, in a thread without a hub
#[test]
fn timeout_fires_in_a_loop_of_yields_of_a_plain_thread() {
    assert!(timeout(ms(5), endless).is_err());
}

// T test__memleak (in a process of its own, where no other test needs memory)
#[test]
fn repeated_timeouts_do_not_grow_memory() {
    if std::env::var_os("GEVENT_PINS_ALONE").is_none() {
        let alone = std::process::Command::new(std::env::current_exe().expect("this test"))
            .args([
                "--exact",
                "repeated_timeouts_do_not_grow_memory",
                "--nocapture",
            ])
            .env("GEVENT_PINS_ALONE", "1")
            .output()
            .expect("it starts again");
        let out = String::from_utf8_lossy(&alone.stdout);
        assert!(alone.status.success() && out.contains("1 passed"), "{out}");
        return;
    }
    let resident = || {
        let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
        let pages = statm
            .split(' ')
            .nth(1)
            .and_then(|pages| pages.parse::<usize>().ok());
        pages.unwrap_or(0)
    };
    let rounds = |n: u32| {
        for i in 0..n {
            assert!(timeout(ms(1), || sleep(LONG)).is_err());
            assert!(timeout(ms(1), || i).is_ok());
            assert!(timeout(LONG, || sleep(ms(1))).is_ok());
        }
    };
    sim(|| {
        rounds(1_000);
        let before = resident();
        rounds(50_000);
        // 32 bytes lost in each round are 390 pages; the kernel counts loosely.
        assert!(
            resident() < before + 300,
            "{before} -> {} pages",
            resident()
        );
    });
}

// -------------------------------------------------------------------------------------------------------- locals

// T test__local::test_attribute_error, test_delete_with_no_dict; test__threading_patched_local
#[test]
fn local_values_of_one_greenlet_are_absent_in_another() {
    static X: Local<&str> = Local::new();
    static SEEN: Local<RefCell<Vec<i32>>> = Local::with_init(|| RefCell::new(Vec::new()));
    sim(|| {
        assert_eq!(X.set("main"), None);
        SEEN.with(|seen| seen.borrow_mut().push(1));
        let g = spawn(|| {
            assert!(!X.is_set() && X.try_with(|_| ()).is_err());
            assert_eq!(X.take(), None, "nothing to remove");
            assert!(
                catch_unwind(|| X.with(|_| ())).is_err(),
                "an absent value is the caller's mistake"
            );
            assert!(
                SEEN.with(|seen| seen.borrow().is_empty()),
                "each greenlet begins with an empty one"
            );
            SEEN.with(|seen| seen.borrow_mut().push(2));
            assert_eq!(X.set("other"), None);
            assert_eq!(X.set("again"), Some("other"));
            X.get().expect("set")
        });
        assert_eq!(all([g]), ["again"]);
        assert_eq!(
            (
                X.get().expect("set"),
                SEEN.with(|seen| seen.borrow().clone())
            ),
            ("main", vec![1])
        );
    });
    let thread = std::thread::spawn(|| (X.is_set(), X.set("thread"), X.take()));
    assert_eq!(
        thread.join().expect("no panic"),
        (false, None, Some("thread"))
    );
}

// T test__local::test_objects
#[test]
fn two_locals_of_one_type_are_independent() {
    static A: Local<i32> = Local::new();
    static B: Local<i32> = Local::new();
    sim(|| {
        A.set(1);
        assert!(!B.is_set());
        B.set(2);
        assert_eq!((A.get(), B.get()), (Some(1), Some(2)));
        assert_eq!((A.take(), B.is_set()), (Some(1), true));
    });
}

// T test__local::test_locals_collected_when_greenlet_dead_but_still_referenced
#[test]
fn local_values_are_dropped_at_the_end_though_the_handle_is_kept() {
    static KEEP: Local<Rc<()>> = Local::new();
    sim(|| {
        let value = Rc::new(());
        let ends: [fn(Greenlet<()>) -> Greenlet<()>; 3] = [
            |g| g,
            |g| {
                g.kill();
                g
            },
            |g| {
                yield_now();
                g.kill();
                g
            },
        ];
        for (i, end) in ends.into_iter().enumerate() {
            let mine = value.clone();
            let g = end(spawn(move || {
                KEEP.set(mine);
                sleep(ms(1));
            }));
            g.wait();
            assert!(g.is_finished());
            assert_eq!(Rc::strong_count(&value), 1, "way {i}");
        }
    });
}

// T test__local::test_locals_collected_when_unreferenced_even_in_running_greenlet. ours: it is the value of the greenlet
// that drops the local; those of others go when they end
#[test]
fn local_that_is_dropped_drops_its_value_in_a_running_greenlet() {
    sim(|| {
        let value = Rc::new(());
        let local = Rc::new(Local::new());
        let (mine, its) = (value.clone(), local.clone());
        let other = spawn(move || {
            its.set(mine);
            drop(its);
            sleep(ms(1));
        });
        let (mine, running) = (value.clone(), Local::new());
        let g = spawn(move || {
            running.set(mine);
            yield_now();
            drop(running);
            sleep(LONG);
        });
        yield_now();
        assert_eq!(Rc::strong_count(&value), 3);
        yield_now();
        assert_eq!(
            Rc::strong_count(&value),
            2,
            "the greenlet runs on without it"
        );
        drop(local);
        all([other]);
        assert_eq!(Rc::strong_count(&value), 1);
        assert!(!g.is_finished());
        g.kill();
        g.wait();
    });
}

// --------------------------------------------------------------------------------------------- greenlets and links

// T test__greenlet::TestJoin, TestJoinAll, TestJoinAll0 — G3; TestGet — G4; test__hub::TestSleep, TestWaiterGet
#[test]
fn join_and_sleep_expire() {
    sim(|| {
        let running = leak(spawn(|| sleep(LONG * 1000)));
        let unstarted = leak(spawn_later(LONG * 1000, || ()));
        yield_now();
        for g in [running, unstarted] {
            expires("Greenlet::wait", |d| !g.wait_timeout(d), || g.wait());
            expires(
                "wait_any",
                |d| wait_any_timeout(&[g], d).is_none(),
                || wait_any(&[g]),
            );
            expires(
                "wait_all",
                |d| !wait_all_timeout(&[g], d),
                || wait_all(&[g]),
            );
        }
        expires(
            "join_all",
            |d| timeout(d, || join_all([spawn(|| sleep(LONG))])).is_err(),
            || {
                drop(join_all([spawn(|| sleep(LONG))]));
            },
        );
        expires(
            "sleep",
            |d| timeout(d, || sleep(LONG)).is_err(),
            || sleep(LONG),
        );
        running.kill();
        kill_all([unstarted]);
        wait_all(&[running, unstarted]);
    });
}

// T test__greenlet::TestLink.test_link_to_asyncresult / _exception
#[test]
fn early_and_late_links_see_the_same_outcome() {
    sim(|| {
        let bodies: [fn() -> i32; 2] = [|| 5, || panic!("oops")];
        for (outcome, body) in ["Ok(5)", "oops"].into_iter().zip(bodies) {
            let log = Log::new();
            let g = spawn(body);
            let add = || {
                g.link(move |r| match r {
                    Err(JoinError::Panicked { payload, .. }) => log.note(payload),
                    other => log.note(format!("{other:?}")),
                })
            };
            add();
            add();
            g.wait();
            add();
            add();
            assert_eq!(log.take(), [outcome; 4].join(" "));
        }
    });
}

// T test__greenlet::TestLink.test_link_to_queue / test_link_to_channel
#[test]
fn finished_greenlets_arrive_in_a_queue_through_links() {
    for q in [Queue::unbounded(), Queue::rendezvous()] {
        sim(|| {
            let q = leak(q);
            let gs = [3, 1, 2].map(|i| {
                spawn(move || {
                    sleep(ms(i));
                    i
                })
            });
            for g in &gs {
                g.link(|r| {
                    q.put_nowait(*r.as_ref().expect("no panic"))
                        .expect("room, or a getter that waits")
                });
            }
            assert_eq!([q.get(), q.get(), q.get()], [Ok(1), Ok(2), Ok(3)]);
            all(gs);
        });
    }
}

// T test__greenlet::TestReturn_link.test_kill. ours: Killed is its own outcome, no value
#[test]
fn links_of_a_killed_greenlet_see_that_it_was_killed() {
    sim(|| {
        let log = Log::new();
        let g = spawn(|| sleep(LONG));
        g.link(move |r| log.note(r.as_ref().expect_err("killed").is_killed()));
        yield_now();
        g.kill();
        g.wait();
        assert_eq!(log.take(), "true");
    });
}

// T test__greenlet::TestStuff.test_minimal_id; test___ident (2). ours: ids are not small, but never two alive the same
#[test]
fn ids_differ_among_the_living() {
    sim(|| {
        let gs = [(); 100].map(|()| spawn(|| current().id()));
        let ids: Vec<_> = gs.iter().map(|g| g.id()).collect();
        for (i, id) in ids.iter().enumerate() {
            assert!(!ids[..i].contains(id) && *id != current().id());
        }
        assert_eq!(all(gs), ids);
    });
}

// T test__greenlet::TestStuff.test_wait_noerrors
#[test]
fn join_all_of_successes_and_links_after_the_end() {
    sim(|| {
        let gs = [1, 2, 3].map(|i| spawn(move || i));
        wait_all(&[&gs[0], &gs[1], &gs[2]]);
        assert_eq!(
            gs.each_ref().map(|g| g.value().copied()),
            [Some(1), Some(2), Some(3)]
        );
        for _ in 0..2 {
            let e = leak(AsyncResult::<i32>::new());
            gs[0].link(|r| e.set(*r.as_ref().expect("1")).expect("the first"));
            assert_eq!(e.get().ok(), Some(1));
        }
        assert_eq!(all(gs), [1, 2, 3]);
    });
}

// T test__greenlet::TestStuff.test_wait_error, test_joinall_exception_order, test_joinall_count_raise_error;
// ours: `wait_any` tells which ended first, `join_all` gives every outcome
#[test]
fn first_failure_in_time_is_seen_while_others_run() {
    sim(|| {
        let slow = spawn(|| {
            sleep(ms(100));
            panic!("first in the list");
        });
        let quick = spawn(|| panic!("second"));
        for _ in 0..2 {
            assert_eq!(wait_any(&[&slow, &quick]), 1);
            assert!(quick.error().is_some() && !slow.is_finished());
        }
        let texts: Vec<String> = join_all([slow, quick])
            .into_iter()
            .map(|r: Result<(), _>| text(r.expect_err("both").into_panic().expect("a panic")))
            .collect();
        assert_eq!(texts, ["first in the list", "second"]);
    });
}

// T test__greenlet::TestStuff.test_multiple_listeners_error
#[test]
fn failing_link_does_not_stop_the_others() {
    sim(|| {
        let bodies: [fn() -> i32; 2] = [|| 5, || panic!("expected")];
        for body in bodies {
            let log = Log::new();
            let g = spawn(body);
            for n in [10, 20, 30] {
                g.link(move |_| {
                    log.note(n);
                    panic!("listener");
                });
            }
            let joined = spawn(|| ());
            g.wait();
            assert_eq!(log.take(), "10 20 30");
            all([joined]);
            assert_eq!(
                g.is_successful(),
                g.value() == Some(&5),
                "the outcome is the body's"
            );
        }
    });
}

// T test__greenlet::TestStr
#[test]
fn textual_form_shows_the_name() {
    sim(|| {
        let g = Builder::new()
            .name("worker-7")
            .spawn(|| current().name().map(|n| n.to_string()))
            .expect("a stack");
        assert!(format!("{g:?}").contains("worker-7"));
        assert_eq!(g.name().map(|n| n.to_string()), Some("worker-7".to_owned()));
        assert_eq!(all([g]), [Some("worker-7".to_owned())]);
        let g = Builder::new()
            .name("fails")
            .spawn(|| panic!("oops"))
            .expect("a stack");
        let error: Result<(), JoinError> = g.join();
        let error = error.expect_err("it panicked").to_string();
        assert!(error.contains("fails") && error.contains("oops"), "{error}");
    });
}

// T test__greenlet::TestBasic.test_simple_exit / test_error_exit, test_exc_info_no_error
#[test]
fn state_flags_through_a_life() {
    sim(|| {
        let flags = |g: &Greenlet<i32>| {
            (
                g.is_started(),
                g.is_finished(),
                g.is_successful(),
                g.value().copied(),
            )
        };
        let bodies: [(bool, fn() -> i32); 2] = [
            (true, || {
                sleep(ms(1));
                1
            }),
            (false, || {
                sleep(ms(1));
                panic!("expected")
            }),
        ];
        for (success, body) in bodies {
            for start in [spawn, |f| spawn_later(ms(1), f)] {
                let g: Greenlet<i32> = start(body);
                assert_eq!(flags(&g), (true, false, false, None), "scheduled");
                assert!(g.error().is_none());
                while !g.is_finished() {
                    assert_eq!(flags(&g), (true, false, false, None), "running");
                    sleep(ms(1));
                }
                assert_eq!(flags(&g), (false, true, success, success.then_some(1)));
                assert_eq!(g.error().is_none(), success);
                assert!(g.error().is_none_or(|e| !e.is_killed()));
            }
        }
    });
}

// T test__greenlet::TestKill (AfterStart, AfterStartLater) × {block, non-block} × {kill, killall}; test__issue330;
// test__issue607; test__GreenletExit; ours: Killed is no success
#[test]
fn greenlet_killed_before_it_runs_never_enters_its_body() {
    sim(|| {
        for later in [false, true] {
            for block in [false, true] {
                for everyone in [false, true] {
                    let log = Log::new();
                    let dropped = Rc::new(());
                    let body = {
                        let dropped = dropped.clone();
                        move || {
                            log.note("body");
                            drop(dropped);
                        }
                    };
                    let g = if later {
                        spawn_later(ms(10), body)
                    } else {
                        spawn(body)
                    };
                    g.link(move |r| log.note(r.as_ref().is_err_and(|e| e.is_killed())));
                    for round in 0..2 {
                        if everyone {
                            kill_all([&g])
                        } else {
                            g.kill()
                        }
                        if block { g.wait() } else { sleep(ms(round)) }
                    }
                    yield_now();
                    assert!(
                        g.is_finished()
                            && !g.is_started()
                            && !g.is_successful()
                            && g.value().is_none()
                    );
                    sleep(ms(20));
                    assert_eq!(log.take(), "true", "the body never ran, the link ran once");
                    assert_eq!(Rc::strong_count(&dropped), 1, "the closure is gone");
                    assert!(matches!(g.join(), Err(JoinError::Killed)));
                }
            }
        }
    });
}

// T test__greenlet::TestKillWhileRunning (same matrix); test__issue607
#[test]
fn kill_ends_a_sleeping_greenlet_at_once() {
    sim(|| {
        for block in [false, true] {
            for everyone in [false, true] {
                let log = Log::new();
                let g = spawn(move || {
                    log.note("before");
                    sleep(LONG);
                    log.note("after");
                });
                g.link(move |_| log.note("link"));
                yield_now();
                let start = now();
                if everyone {
                    kill_all([&g])
                } else {
                    g.kill()
                }
                if block {
                    g.wait()
                } else {
                    yield_now()
                }
                assert!(
                    g.is_finished()
                        && !g.is_successful()
                        && g.error().is_some_and(JoinError::is_killed)
                );
                g.kill();
                g.wait();
                assert_eq!(
                    (now() - start, log.take()),
                    (ms(0), "before link".to_owned())
                );
            }
        }
    });
}

// T test__issue330.test_kill_exception
#[test]
fn kill_reaches_a_loop_of_yields_and_can_be_caught() {
    sim(|| {
        let log = Log::new();
        let g = spawn(move || {
            let end = catch_unwind(|| {
                loop {
                    yield_now();
                }
            });
            log.note(match end {
                Ok(()) => "ended",
                Err(payload) if payload.is::<String>() || payload.is::<&str>() => {
                    "a panic with a text"
                }
                Err(_) => "a kill",
            });
        });
        yield_now();
        yield_now();
        assert!(!g.is_finished());
        g.kill();
        g.wait();
        assert_eq!(log.take(), "a kill");
        assert!(g.is_successful(), "it returned all the same: finish wins");
    });
}

// T test__api::Test.test_killing_dormant
#[test]
fn killed_sleeper_runs_its_handler_before_the_killer_goes_on() {
    sim(|| {
        let log = Log::new();
        let g = spawn(move || {
            log.note("start");
            if catch_unwind(|| sleep(ms(30))).is_err() {
                log.note("except");
            }
            log.note("finished");
        });
        sleep(ms(5));
        assert_eq!(log.take(), "start");
        g.kill();
        g.wait();
        assert_eq!(log.take(), "except finished");
    });
}

// T test__greenlet::TestContextManager.test_simple / test_wait_in_suite / test_greenlet_raises
#[test]
fn scope_joins_at_its_end_and_keeps_failures_of_the_joined() {
    sim(|| {
        let (log, start) = (Log::new(), now());
        scope(|s| {
            s.spawn(|| {
                sleep(ms(10));
                log.note("child");
            });
            log.note("body");
        });
        assert_eq!(
            (log.take(), now() - start),
            ("body child".to_owned(), ms(10))
        );
        let value = scope(|s| {
            let g = s.spawn(|| {
                sleep(ms(10));
                5
            });
            g.join().expect("no panic")
        });
        assert_eq!(value, 5);
        let failure = scope(|s| {
            let g = s.spawn(|| -> i32 { panic!("expected") });
            text(
                g.join()
                    .expect_err("it panicked")
                    .into_panic()
                    .expect("a panic"),
            )
        });
        assert_eq!(failure, "expected");
    });
}

// T test__greenlet::TestContextManager.test_join_raises
#[test]
fn scope_that_may_not_wait_any_longer_kills_its_children() {
    sim(|| {
        let (log, start) = (Log::new(), now());
        let expired = timeout(ms(10), || {
            scope(|s| {
                s.spawn(|| {
                    struct Cleanup(Log);
                    impl Drop for Cleanup {
                        fn drop(&mut self) {
                            self.0.note("cleanup");
                        }
                    }
                    let _cleanup = Cleanup(log);
                    sleep(LONG);
                    log.note("not reached");
                });
            });
        });
        assert!(expired.is_err());
        assert_eq!((log.take(), now() - start), ("cleanup".to_owned(), ms(10)));
    });
}

// T test__greenlet::TestContextManager.test_suite_body_raises (_with_delay)
#[test]
fn failure_of_a_scope_body_kills_the_children_and_goes_on() {
    sim(|| {
        for delay in [None, Some(ms(1))] {
            let (log, start) = (Log::new(), now());
            let failed = catch_unwind(AssertUnwindSafe(|| {
                scope(|s| {
                    s.spawn(|| {
                        log.note("started");
                        sleep(LONG);
                        log.note("not reached");
                    });
                    delay.into_iter().for_each(sleep);
                    panic!("expected");
                })
            }));
            assert_eq!(text(failed.expect_err("the body's own")), "expected");
            assert_eq!(log.take(), if delay.is_some() { "started" } else { "" });
            assert!(now() - start <= ms(1));
        }
    });
}

// T test__greenlet::TestDeadPropertyDuringSwitch
#[test]
fn running_greenlet_is_never_reported_finished() {
    sim(|| {
        let handle = leak(RefCell::new(None::<Rc<Greenlet<()>>>));
        let asks = || {
            handle
                .borrow()
                .as_ref()
                .is_some_and(|g| g.is_started() && !g.is_finished())
        };
        let g = Rc::new(spawn(move || {
            assert!(asks());
            yield_now();
            assert!(asks());
        }));
        handle.replace(Some(g.clone()));
        let watcher = spawn(move || {
            while !g.is_finished() {
                yield_now();
            }
            g.is_successful()
        });
        assert_eq!(all([watcher]), [true]);
        handle.take();
    });
}

// T test__order::Test (2, 3, 4, 1000 links)
#[test]
fn links_run_in_the_order_added() {
    for n in [2, 3, 4, 1000] {
        sim(|| {
            let log = leak(std::sync::Mutex::new(Vec::new()));
            let g = spawn(|| ());
            for i in 0..n {
                g.link(move |_| log.lock().expect("not poisoned").push(i));
            }
            g.wait();
            assert!(log.lock().expect("not poisoned").iter().copied().eq(0..n));
        });
    }
}

// T test__order::TestSleep0
#[test]
fn yields_alternate() {
    sim(|| {
        let log = Log::new();
        let twice = move |n: &'static str| {
            spawn(move || {
                log.note(format!("{n}A"));
                yield_now();
                log.note(format!("{n}B"));
            })
        };
        all([twice("1"), twice("2")]);
        assert_eq!(log.take(), "1A 2A 1B 2B");
    });
}

// T test__issue467; test__iwait.test_noiter / test_iwait_partial / test_iwait_nogarbage (`wait_any` in a loop)
#[test]
fn wait_any_in_a_loop_loses_nothing() {
    sim(|| {
        let worker = |i: i32| {
            spawn(move || {
                if i == 2 {
                    panic!("the second fails");
                }
                i
            })
        };
        let done = worker(9);
        done.wait();
        let gs = [worker(0), worker(1), worker(2), done];
        let mut left: Vec<usize> = (0..gs.len()).collect();
        while !left.is_empty() {
            let objects: Vec<_> = left.iter().map(|i| &gs[*i] as &dyn Waitable).collect();
            left.remove(wait_any(&objects));
            sleep(ms(10));
        }
        assert_eq!(join_all(gs).iter().filter(|r| r.is_ok()).count(), 3);

        // Who leaves early leaves no trace on the others.
        let events: [Event; 3] = Default::default();
        let objects = events.each_ref().map(|e| e as &dyn Waitable);
        events[1].set();
        assert_eq!(wait_any(&objects), 1);
        events[1].clear();
        assert_eq!(wait_any_timeout(&objects, ms(1)), None);
        events[0].set();
        events[2].set();
        events[0].clear();
        assert_eq!(wait_any_timeout(&objects, ms(1)), Some(2));
    });
}

// T test__joinall (duplicates are fine)
#[test]
fn an_object_may_be_named_twice() {
    sim(|| {
        let (x, y) = (spawn(|| sleep(ms(2))), spawn(|| sleep(ms(1))));
        assert_eq!(wait_any(&[&x, &y, &x, &y]), 1);
        wait_all(&[&x, &y, &x]);
        all([x, y]);
    });
}

// T test__greenletset.test_killall_subclass, test_killall_iterable_argument_non_block,
// test_killall_iterable_argument_timeout_not_started / _started; test_kill_fires_once (as far as it is not the group's)
#[test]
fn kill_all_and_then_a_wait_with_a_limit() {
    sim(|| {
        let failing = spawn(|| panic!("fails"));
        let sleeping = spawn(|| sleep(LONG));
        kill_all([&failing, &sleeping]);
        wait_all(&[&failing, &sleeping]);
        assert!(join_all([failing, sleeping]).iter().all(|r| r.is_err()));

        // It takes its time to end: `shield` for cleaning up, where gevent's test catches and sleeps.
        let slow = || {
            spawn(|| {
                if catch_unwind(|| sleep(ms(1500))).is_err() {
                    shield(|| sleep(ms(1000)));
                }
            })
        };
        let unstarted = [slow(), slow()];
        kill_all(&unstarted);
        assert!(wait_all_timeout(&[&unstarted[0], &unstarted[1]], ms(500)));
        assert!(
            join_all(unstarted)
                .iter()
                .all(|r| r.as_ref().is_err_and(JoinError::is_killed))
        );

        let started = [slow(), slow()];
        yield_now();
        let start = now();
        for _ in 0..3 {
            kill_all(&started);
        }
        assert!(
            !wait_all_timeout(&[&started[0], &started[1]], ms(500)),
            "they clean up"
        );
        assert!(started.iter().all(|g| !g.is_finished()));
        all(started);
        assert_eq!(now() - start, ms(1000), "and each heard of it once");
    });
}

// ----------------------------------------------------------------------------------------- order, hub and its end

// T test__api::TestTimers.test_timer_fired, test_spawn_is_not_cancelled
#[test]
fn children_run_though_the_spawner_sleeps_or_is_gone() {
    sim(|| {
        let log = Log::new();
        let start = now();
        drop(spawn(move || {
            drop(spawn_later(ms(10), move || {
                log.note((now() - start).as_millis())
            }));
            sleep(ms(20));
        }));
        drop(spawn(move || drop(spawn(move || log.note("child")))));
        assert_eq!(log.take(), "", "spawn runs nothing");
        yield_now();
        sleep(ms(100));
        assert_eq!(log.take(), "child 10");
    });
}

// T test__hub::TestExceptionInMainloop.test_sleep; test__systemerror.test_exception
#[test]
fn failure_of_a_timer_disturbs_neither_the_root_nor_the_timing() {
    sim(|| {
        let start = now();
        sleep(ms(10));
        assert_eq!(now() - start, ms(10));
        let bad = spawn_later(ms(1), || panic!("in a timer"));
        sleep(ms(10));
        assert_eq!(now() - start, ms(20));
        assert!(bad.is_finished());
        sleep(ms(10));
        assert_eq!(now() - start, ms(30));
        let error: Result<(), _> = bad.join();
        assert_eq!(
            text(
                error
                    .expect_err("it panicked")
                    .into_panic()
                    .expect("a panic")
            ),
            "in a timer"
        );
    });
}

// T test__hub::TestSleep (sleep(0) works), test__core_timer: one-shot, never early, on the real clock
#[test]
fn real_sleeps_are_never_early() {
    sleep(ms(0));
    for d in [1, 5, 20] {
        let g = spawn(move || {
            let start = Instant::now();
            sleep(ms(d));
            start.elapsed() >= ms(d)
        });
        let start = Instant::now();
        sleep(ms(d));
        assert!(start.elapsed() >= ms(d));
        assert_eq!(all([g]), [true]);
    }
}

// T test__hub_join.test_join_many_times, test_join_in_new_thread_doesnt_leak_hub_or_greenlet;
// test__core_loop_run, test__nondefaultloop;
// ours: `run` is the loop's scope, and what is left at its end is killed
#[test]
fn run_works_again_and_again_and_in_new_threads() {
    for _ in 0..20 {
        let thread = std::thread::spawn(|| {
            let dropped = Rc::new(());
            for i in 0..3 {
                let guard = dropped.clone();
                let got = run(move || {
                    let left = spawn(move || {
                        let _guard = guard;
                        Event::new().wait();
                    });
                    drop(left);
                    sleep(ms(1));
                    all([spawn(move || i)])[0]
                });
                assert_eq!((got, Rc::strong_count(&dropped)), (i, 1));
            }
            run(|| ());
        });
        thread.join().expect("no panic");
    }
    let hub = HubThread::start("pins").expect("a thread");
    assert_eq!(hub.handle().spawn(|| 7).join().expect("no panic"), 7);
    hub.stop();
    let _ = hub.join();
}

// T test__hub_join_timeout.test_event (wait([event]) ignores unrelated timers)
#[test]
fn waiting_for_an_event_ignores_unrelated_timers() {
    sim(|| {
        let e = leak(Event::new());
        let (_late, _soon) = (spawn_later(LONG, || ()), spawn_later(ms(1), || e.set()));
        let start = now();
        assert_eq!(wait_any(&[e]), 0);
        assert_eq!(now() - start, ms(1));
        e.clear();
        assert_eq!(wait_any_timeout(&[e], ms(1)), None);
        assert_eq!(now() - start, ms(2));
    });
}

// T test__loop_callback, test__core_callback
#[test]
fn what_is_spawned_runs_once_and_not_at_all_if_killed_before() {
    sim(|| {
        let log = Log::new();
        let (runs, never) = (
            spawn(move || log.note("once")),
            spawn(move || log.note("never")),
        );
        never.kill();
        yield_now();
        sleep(ms(1));
        assert_eq!(log.take(), "once");
        assert!(runs.is_successful() && never.is_finished());
    });
}

// T test__exc_info (2): failures handled in one greenlet do not show in another
#[test]
fn panicking_is_nobody_elses_business() {
    sim(|| {
        let first = spawn(|| {
            assert!(catch_unwind(|| panic!("handled")).is_err());
            yield_now();
            std::thread::panicking()
        });
        let second = spawn(|| {
            let before = std::thread::panicking();
            yield_now();
            (before, std::thread::panicking())
        });
        let fails = spawn(|| panic!("unhandled"));
        assert_eq!(
            (all([first]), all([second])),
            (vec![false], vec![(false, false)])
        );
        let failed: Result<(), _> = fails.join();
        assert!(failed.is_err() && !std::thread::panicking());
    });
}

// T test__util::TestFormat.test_basic, test_with_Greenlet: here it is the report of a deadlock that lists them
#[test]
fn deadlock_report_names_everyone_who_waits() {
    sim(|| {
        let e = leak(Event::new());
        let q = leak(Queue::<i32>::unbounded());
        let named = Builder::new()
            .name("alice")
            .spawn(|| e.wait())
            .expect("a stack");
        let other = Builder::new()
            .name("bob")
            .spawn(|| q.get())
            .expect("a stack");
        let report = deadlock(|| wait_all(&[&named, &other]));
        for word in ["alice", "bob", "Event", "Queue", "gevent_pins.rs"] {
            assert!(report.contains(word), "no {word} in:\n{report}");
        }
        assert_eq!(
            report.matches("gevent_pins.rs").count(),
            5,
            "both greenlets and the root, each with its place, and where the two were spawned"
        );
        e.set();
        q.put(1).expect("open");
        named.join().expect("set");
        assert_eq!(all([other]), [Ok(1)]);
    });
}

// ---------------------------------------------------------------------------------------------- thread pool

/// What takes so long hangs; on the real clock.
const HANGS: Duration = Duration::from_secs(30);

fn pool(max_threads: usize) -> &'static ThreadPool {
    leak(ThreadPool::new(max_threads))
}

/// Waits on the real clock until something is so.
#[track_caller]
fn until(so: impl Fn() -> bool) {
    let begin = Instant::now();
    while !so() {
        assert!(begin.elapsed() < HANGS, "never");
        sleep(ms(1));
    }
}

/// A job that holds a thread until the sender is dropped.
fn held(pool: &'static ThreadPool) -> (std::sync::mpsc::Sender<()>, Greenlet<()>) {
    let (sender, receiver) = std::sync::mpsc::channel::<()>();
    let g = spawn(move || {
        pool.unblock(move || {
            let ended = receiver.recv_timeout(HANGS);
            assert_eq!(ended, Err(std::sync::mpsc::RecvTimeoutError::Disconnected));
        });
    });
    (sender, g)
}

// T test__threadpool::PoolBasicTests (execute_async, apply, apply_raises, init_valueerror), TestPool*.test_apply
#[test]
fn thread_pool_runs_jobs() {
    let two = pool(2);
    let log = Log::new();
    two.unblock(move || log.note(1));
    assert_eq!(log.take(), "1");
    let later = (2..=4).map(|i| spawn(move || two.unblock(move || log.note(i))));
    all(later.collect::<Vec<_>>());
    let mut noted: Vec<_> = log.take().split(' ').map(str::to_owned).collect();
    noted.sort();
    assert_eq!(noted, ["2", "3", "4"]);
    assert_eq!(pool(1).unblock(|| ("foo", 1)), ("foo", 1));
    let raised = catch_unwind(|| pool(1).unblock(|| -> u8 { panic!("expected") }));
    assert_eq!(text(raised.unwrap_err()), "expected");
    assert!(catch_unwind(|| ThreadPool::new(0)).is_err());
}

// T test__threadpool::TestPool* (map, imap, async, size 1, 2, 3, 10)
#[test]
fn thread_pool_maps_in_order() {
    for size in [1, 2, 3, 10] {
        let pool = pool(size);
        let squares = (0..100).map(|x| spawn(move || pool.unblock(move || x * x)));
        let squares = all(squares.collect::<Vec<_>>());
        assert_eq!(squares, (0..100).map(|x| x * x).collect::<Vec<_>>());
        assert!((1..=size).contains(&pool.threads()));
    }
}

// T test__threadpool::TestPool*.test_imap_unordered_sleep — in order of completion; with one thread in order of arrival
#[test]
fn thread_pool_results_come_as_they_are_done() {
    for (size, expected) in [(1, "10 1 2"), (3, "1 2 10")] {
        let (pool, log) = (pool(size), Log::new());
        // Whose job is done before it waits does not wait, and so would pass those that do.
        let first = (size == 1).then(|| held(pool));
        // Instead of sleeping, each waits for the next shorter one.
        let (one, two) = (leak(Event::new()), leak(Event::new()));
        let job = move |x: i32| {
            if size > 1 && x == 10 {
                two.wait();
            } else if size > 1 && x == 2 {
                one.wait();
            }
            x
        };
        let greenlets = [10, 1, 2].map(|x| {
            spawn(move || {
                let x = pool.unblock(move || job(x));
                log.note(x);
                match x {
                    1 => one.set(),
                    2 => two.set(),
                    _ => {}
                }
            })
        });
        yield_now();
        if let Some((release, first)) = first {
            drop(release);
            all([first]);
        }
        all(greenlets);
        assert_eq!(log.take(), expected, "{size}");
    }
}

// T test__threadpool::TestPool*.test_async_timeout
#[test]
fn thread_pool_results_can_be_late() {
    let pool = pool(1);
    let (release, g) = held(pool);
    assert!(!g.wait_timeout(ms(10)));
    assert_eq!(timeout(ms(10), || pool.unblock(|| 1)), Err(Elapsed));
    drop(release);
    all([g]);
    assert_eq!(pool.unblock(|| 2), 2);
}

// T test__threadpool::TestPool2.test_recursive_apply — inline, and it may yield
#[test]
fn thread_pool_apply_inside_a_job_runs_inline() {
    let pool = pool(1);
    let result = pool.unblock(|| {
        pool.unblock(|| {
            yield_now();
            sleep(ms(1));
            "B"
        })
    });
    assert_eq!(result, "B");
}

// T test__threadpool::TestSpawn.test_basics — one thread, done in order; TestJoinEmpty
// ours: any number of jobs may be queued, and their greenlets wait.
#[test]
fn thread_pool_of_one_works_in_order() {
    drop(ThreadPool::new(1));
    let (pool, log) = (pool(1), Log::new());
    assert_eq!((pool.threads(), pool.queued()), (0, 0));
    let (release, first) = held(pool);
    let others = ["a", "b", "c"].map(|item| spawn(move || pool.unblock(move || log.note(item))));
    until(|| pool.queued() == 3);
    assert_eq!((pool.threads(), log.take()), (1, String::new()));
    drop(release);
    all([first]);
    all(others);
    assert_eq!((log.take(), pool.queued()), ("a b c".to_owned(), 0));
}

// T test__threadpool::TestSpawn.test_cannot_spawn_from_other_thread
// ours: a pool belongs to no thread.
#[test]
fn thread_pool_takes_jobs_of_other_threads() {
    let (pool1, pool2) = (pool(1), pool(2));
    assert_eq!(pool1.unblock(|| pool2.unblock(|| "Hi")), "Hi");
    let other = std::thread::spawn(|| pool2.unblock(|| "Hi"));
    assert_eq!(other.join().expect("no panic"), "Hi");
}

// T test__threadpool::TestMaxsize.test_inc / test_setzero, TestSize.test
// ours: threads come at need, and there is no limit of zero.
#[test]
fn thread_pool_size_can_be_changed() {
    let pool = pool(1);
    let (release, first) = held(pool);
    until(|| pool.threads() == 1 && pool.queued() == 0);
    let second = spawn(|| pool.unblock(|| 2));
    until(|| pool.queued() == 1);
    assert!(!second.is_finished());
    pool.set_max_threads(2);
    assert_eq!(all([second]), [2]);
    assert_eq!((pool.threads(), first.is_finished()), (2, false));
    pool.set_max_threads(1);
    until(|| pool.threads() == 1);
    drop(release);
    all([first]);
    assert!(catch_unwind(|| pool.set_max_threads(0)).is_err());
    assert_eq!((pool.max_threads(), pool.unblock(|| 3)), (1, 3));
}

// T test__threadpool::TestRef, TestRefCount — arguments, function and result are released
#[test]
fn thread_pool_keeps_nothing() {
    let pool = pool(2);
    let (argument, held) = (Arc::new(()), Arc::new(()));
    let result = {
        let (argument, held) = (argument.clone(), held.clone());
        pool.unblock(move || {
            drop(argument);
            held
        })
    };
    assert_eq!(Arc::strong_count(&argument), 1);
    assert_eq!(Arc::strong_count(&result), 2);
    drop(result);
    assert_eq!(Arc::strong_count(&held), 1);
    // What the closure still holds at its end goes before the result comes.
    let owned = held.clone();
    assert_eq!(pool.unblock(move || Arc::strong_count(&owned)), 2);
    assert_eq!(Arc::strong_count(&held), 1);
}

// T test__threadpool::TestTPE.test_future (3) — a timed result fails, others run meanwhile, errors of callbacks are
// ignored, a late callback runs at once, a finished one can be waited for. The future is a greenlet that waits.
#[test]
fn thread_pool_future() {
    let pool = pool(1);
    let (release, future) = held(pool);
    let calls = leak(AtomicUsize::new(0));
    future.link(|_| {
        calls.fetch_add(1, Ordering::SeqCst);
        panic!("expected, ignored");
    });
    assert!(!future.wait_timeout(ms(1)));
    let spawned = spawn(|| 2016);
    assert_eq!(all([spawned]), [2016]);
    assert!(!future.is_finished());
    drop(release);
    future.wait();
    assert!(future.is_successful());
    assert_eq!(calls.load(Ordering::SeqCst), 1);
    future.link(|_| {
        calls.fetch_add(1, Ordering::SeqCst);
    });
    assert_eq!(calls.load(Ordering::SeqCst), 2);
    assert_eq!(wait_any(&[&future]), 0);
    yield_now();
    assert_eq!(calls.load(Ordering::SeqCst), 2);
}

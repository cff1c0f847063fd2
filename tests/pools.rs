//! Groups and pools. First what gevent's own tests of them pin down (`research/gevent.md`, section 2: test__pool and
//! test__greenletset); "ours:" marks a deliberate difference. Then what goes beyond: kills, expiries and drops in the
//! middle, the deadlock of a pool with itself, and random programs beside a naive model.
//!
//! # Left out of gevent's
//! - `discard`, `add` and `start` of a pool: a greenlet that runs already would be over the limit until it has its place.
//!   A group has `add`. `apply` and `apply_async`: `spawn` and `join`, `spawn` and `link`; `try_spawn` where it must not
//!   wait; in place of the untracked helper of `apply_async`, a greenlet that calls `spawn`.
//! - A size of 0 or none (TestPool0, the size `none` of TestPool): nothing could run in the first, and a `Group` is the
//!   second. A negative size (test_init_error) cannot be said.
//! - `wait_available`: `spawn_timeout`. Custom kill errors and the iterables of `killall`: `Group` has its own list.

use greenlet::sync::{AsyncResult, Event, Queue};
use greenlet::testing::Simulation;
use greenlet::{
    Builder, Greenlet, Group, HubThread, Imap, Local, MapError, Pool, finally, join_all, now,
    scope, shield, sleep, spawn, spawn_later, timeout, yield_now,
};
use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

#[path = "pools/random.rs"]
mod random;

fn sim<R>(program: impl FnOnce() -> R) -> R {
    Simulation::new().run(program)
}

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// Free on the virtual clock.
const LONG: Duration = Duration::from_secs(1000);

/// The text of a panic.
fn text(panicked: std::thread::Result<impl Sized>) -> String {
    let payload = panicked.err().expect("it panics");
    match payload.downcast::<String>() {
        Ok(text) => *text,
        Err(payload) => payload.downcast_ref::<&str>().unwrap().to_string(),
    }
}

fn panics<R>(f: impl FnOnce() -> R) -> String {
    text(catch_unwind(AssertUnwindSafe(f)))
}

fn nap(n: u64) -> impl FnOnce() -> u64 {
    move || {
        sleep(ms(n));
        n
    }
}

/// A log that greenlets share.
#[derive(Clone, Default)]
struct Log(Rc<RefCell<Vec<String>>>);

impl Log {
    fn note(&self, text: impl ToString) {
        self.0.borrow_mut().push(text.to_string());
    }
    fn take(&self) -> String {
        std::mem::take(&mut *self.0.borrow_mut()).join(" ")
    }
}

/// Alive as long as something of a member is.
#[derive(Clone, Default)]
struct Held(Rc<()>);

impl Held {
    fn count(&self) -> usize {
        Rc::strong_count(&self.0) - 1
    }
}

/// Nothing is left of the pool's use but the pool.
#[track_caller]
fn at_rest(pool: &Pool) {
    let size = pool.size();
    assert_eq!((pool.len(), pool.free_count()), (0, size), "{pool:?}");
    assert!(pool.is_empty() && pool.ids().is_empty(), "{pool:?}");
    assert!(!format!("{pool:?}").contains("waiting: 1"), "{pool:?}");
    // Every place can be had, and no more.
    let all: Vec<_> = (0..size).map(|_| pool.try_spawn(|| ()).unwrap()).collect();
    assert!(pool.try_spawn(|| ()).is_err());
    assert!(join_all(all).iter().all(Result::is_ok));
    assert_eq!((pool.len(), pool.free_count()), (0, size), "{pool:?}");
}

// ---- gevent's tests of groups ----

/// test__greenletset.test_basic, test_waitall
#[test]
fn group_shrinks_as_members_end_and_join_waits_for_the_longest() {
    sim(|| {
        let group = Group::new();
        let start = now();
        for n in [10, 20, 30] {
            group.spawn(nap(n));
        }
        for (n, left) in [(5, 3), (10, 2), (10, 1), (10, 0)] {
            sleep(ms(n));
            assert_eq!((group.len(), group.is_empty()), (left, left == 0));
        }
        for n in [10, 20, 30] {
            group.spawn(nap(n));
        }
        group.join();
        assert_eq!(now() - start, ms(35 + 30));
        assert!(group.is_empty());
    });
}

/// test__greenletset.test_kill_block, test_kill_noblock
#[test]
fn blocking_kill_empties_at_once_and_the_other_in_the_next_pass() {
    sim(|| {
        let group = Group::new();
        let start = now();
        let members = [1, 2].map(|_| group.spawn(|| sleep(LONG)));
        sleep(ms(1));
        group.kill();
        assert!(group.is_empty() && members.iter().all(Greenlet::is_finished));
        (0..2).for_each(|_| drop(group.spawn(|| sleep(LONG))));
        sleep(ms(1));
        group.kill_nowait();
        assert_eq!(group.len(), 2);
        yield_now();
        assert_eq!(group.len(), 0);
        assert_eq!(now() - start, ms(2));
    });
}

/// test__greenletset.test_kill_fires_once. ours: a kill is sticky, so who swallows it ends at the next wait; a shield is
/// what keeps a blocking kill waiting.
#[test]
fn kill_is_heard_once_and_a_shielded_member_keeps_it_waiting() {
    sim(|| {
        let (group, heard) = (Group::new(), Rc::new(Cell::new(0)));
        let (counts, again) = (heard.clone(), heard.clone());
        group.spawn(move || {
            if catch_unwind(|| sleep(LONG)).is_err() {
                counts.set(counts.get() + 1);
            }
        });
        let shielded = group.spawn(move || {
            shield(|| sleep(ms(50)));
            if catch_unwind(|| sleep(LONG)).is_err() {
                again.set(again.get() + 1);
            }
        });
        yield_now();
        (0..3).for_each(|_| group.kill_nowait());
        yield_now();
        assert_eq!((heard.get(), group.len()), (1, 1));
        assert!(timeout(ms(10), || group.kill()).is_err());
        assert_eq!(group.ids(), [shielded.id()]);
        let start = now();
        group.kill();
        assert_eq!((now() - start, heard.get(), group.len()), (ms(40), 2, 0));
    });
}

/// test__greenletset.test_killall_subclass, test_killall_iterable_argument_timeout_not_started
#[test]
fn failing_and_sleeping_members_end_and_unstarted_ones_never_run() {
    sim(|| {
        let (group, ran) = (Group::new(), Rc::new(Cell::new(0)));
        let failing = group.spawn(|| panic!("fails"));
        let sleeping = group.spawn(|| sleep(LONG));
        yield_now();
        let unstarted = group.spawn({
            let ran = ran.clone();
            move || ran.set(1)
        });
        group.kill();
        assert!(failing.join().unwrap_err().is_panic());
        assert!(sleeping.join().unwrap_err().is_killed());
        assert!(unstarted.join().unwrap_err().is_killed());
        assert_eq!(ran.get(), 0);
    });
}

// ---- gevent's tests of pools ----

/// TestCoroutinePool.test_apply, test_apply_raises, test_apply_async; TestPool.test_async, test_async_callback
#[test]
fn members_give_results_errors_and_callbacks() {
    sim(|| {
        for size in [1, 2, 3, 10] {
            let pool = Pool::new(size);
            assert_eq!(pool.spawn(|| 7 * 7).join().unwrap(), 49);
            let error = pool.spawn(|| panic!("u")).join().unwrap_err();
            assert!(error.to_string().ends_with("panicked: u"));
            let called = Arc::new(AsyncResult::<u64>::new());
            let member = pool.spawn(nap(5));
            let back = called.clone();
            member.link(move |outcome| back.set(*outcome.as_ref().unwrap()).unwrap());
            assert!(!member.wait_timeout(ms(1)), "TestPool.test_async_timeout");
            assert_eq!(called.wait().unwrap(), &5);
            at_rest(&pool);
        }
    });
}

/// TestCoroutinePool.test_multiple_coros
#[test]
fn consumer_waits_for_the_producer_of_the_same_pool() {
    sim(|| {
        let (pool, log, event) = (Pool::new(2), Log::default(), Rc::new(Event::new()));
        let (own, ready) = (log.clone(), event.clone());
        let consumer = pool.spawn(move || {
            own.note("cons1");
            ready.wait();
            own.note("cons2");
        });
        let own = log.clone();
        pool.spawn(move || {
            own.note("prod1");
            event.set();
            own.note("prod2");
        });
        consumer.join().unwrap();
        assert_eq!(log.take(), "cons1 prod1 prod2 cons2");
    });
}

/// TestCoroutinePool.test_reentrant
#[test]
fn member_of_a_full_pool_runs_the_closure_itself() {
    sim(|| {
        let pool = Pool::new(1);
        let inner = pool.clone();
        let result = pool.spawn(move || match inner.try_spawn(|| 5) {
            Ok(_) => unreachable!("its own place is the only one"),
            Err(full) => full.into_inner()(),
        });
        assert_eq!(result.join().unwrap(), 5);
        at_rest(&pool);
    });
}

/// TestCoroutinePool.test_stderr_raising: whatever goes wrong at a member's end, its place is free afterwards.
#[test]
fn panics_of_links_payloads_and_locals_lose_no_place() {
    struct Bad;
    impl Drop for Bad {
        fn drop(&mut self) {
            panic!("dropped");
        }
    }
    static LOCAL: Local<Bad> = Local::new();
    sim(|| {
        let pool = Pool::new(1);
        for _ in 0..3 {
            let member = pool.spawn(|| {
                assert!(LOCAL.set(Bad).is_none());
                std::panic::panic_any(Bad);
            });
            member.link(|_| panic!("in a link"));
            let error = member.join().unwrap_err();
            std::mem::forget(error);
            // Its result goes unread.
            drop(pool.spawn(|| Bad));
            pool.join();
        }
        at_rest(&pool);
    });
}

/// PoolBasicTests.test_execute_async
#[test]
fn free_count_falls_at_the_spawn_and_rises_at_the_end() {
    sim(|| {
        let (pool, log) = (Pool::new(2), Log::default());
        let note = |text: &'static str| {
            let log = log.clone();
            move || log.note(text)
        };
        assert_eq!(pool.free_count(), 2);
        pool.spawn(note("1"));
        assert_eq!(pool.free_count(), 1);
        let second = pool.spawn(note("2"));
        assert_eq!((pool.free_count(), &*log.take()), (0, ""));
        assert!(pool.try_spawn(note("no")).is_err());
        second.wait();
        assert_eq!((&*log.take(), pool.free_count()), ("1 2", 2));
        // Of more than there are places, one that is not to wait takes a greenlet.
        let (own, third) = (pool.clone(), note("3"));
        let helper = spawn(move || own.spawn(third).join());
        helper.join().unwrap().unwrap();
        assert_eq!((&*log.take(), pool.free_count()), ("3", 2));
    });
}

/// PoolBasicTests.test_discard, in what there is of it: a kill frees a place, and just once.
#[test]
fn killed_twice_a_member_frees_its_place_once() {
    sim(|| {
        let pool = Pool::new(1);
        let first = pool.spawn(|| sleep(LONG));
        yield_now();
        first.kill();
        assert_eq!(pool.free_count(), 0, "not before its end");
        let second = pool.spawn(|| sleep(LONG));
        first.kill();
        assert_eq!((pool.free_count(), pool.ids()), (0, vec![second.id()]));
        pool.kill();
        pool.kill();
        at_rest(&pool);
    });
}

/// PoolBasicTests.test_add_method, _non_blocking, _timeout, test_start_method_timeout: of `spawn`. G3 and G4: it expires
/// to the moment.
#[test]
fn spawn_blocks_or_is_full_at_once_or_in_time() {
    sim(|| {
        let pool = Pool::new(1);
        let first = pool.spawn(nap(50));
        let start = now();
        assert!(pool.try_spawn(|| ()).is_err());
        assert!(pool.spawn_timeout(Duration::ZERO, || ()).is_err());
        assert_eq!(now() - start, ms(0));
        let full = pool.spawn_timeout(ms(10), || "back").unwrap_err();
        assert_eq!((now() - start, full.into_inner()()), (ms(10), "back"));
        assert!(timeout(ms(10), || pool.spawn(|| ())).is_err());
        assert_eq!(
            (now() - start, pool.len(), pool.free_count()),
            (ms(20), 1, 0)
        );
        let second = pool.spawn_timeout(LONG, || ()).unwrap();
        assert_eq!(now() - start, ms(50));
        assert!(first.is_finished() && !second.is_finished());
        pool.join();
        at_rest(&pool);
    });
}

/// TestPool.test_map, test_empty_map, test_empty_imap, test_empty_imap_unordered
#[test]
fn maps_of_all_sizes_of_pools() {
    sim(|| {
        for size in [1, 2, 3, 10] {
            let pool = Pool::new(size);
            let squares: Vec<u64> = (0..20).map(|n| n * n).collect();
            let square = |n: u64| {
                sleep(ms(n * 7 % 5));
                n * n
            };
            assert_eq!(pool.map(0..20, square).unwrap(), squares);
            let lazy: Result<Vec<u64>, _> = pool.imap(0..20, square).collect();
            assert_eq!(lazy.unwrap(), squares);
            let any: Result<Vec<u64>, _> = pool.imap_unordered(0..20, square).collect();
            let mut any = any.unwrap();
            assert!(size > 1 || any == squares, "one at a time is in order");
            any.sort();
            assert_eq!(any, squares);
            let start = now();
            assert!(pool.map(Vec::<u64>::new(), square).unwrap().is_empty());
            assert!(pool.imap(Vec::<u64>::new(), square).next().is_none());
            assert!(pool.imap_unordered(None::<u64>, square).next().is_none());
            assert_eq!(now(), start);
            at_rest(&pool);
        }
    });
}

/// TestPool.test_imap_list_small, _it_small, _it_large, _random; test_imap_unordered_sleep
#[test]
fn imap_keeps_the_order_of_the_inputs_and_unordered_that_of_the_ends() {
    sim(|| {
        let pool = Pool::new(4);
        let naps = [40, 10, 30, 20];
        let run = |n: u64| nap(n)();
        let mut all = pool.imap(naps, run);
        for n in naps {
            assert_eq!(all.next().unwrap().unwrap(), n);
        }
        assert!(all.next().is_none() && all.next().is_none());
        let ended = pool.imap_unordered(naps, run).map(Result::unwrap);
        assert_eq!(ended.collect::<Vec<_>>(), [10, 20, 30, 40]);
        let mut many = pool.imap(0..1000, |n: u64| nap(n * 31 % 7)() + n);
        assert!((0..1000).all(|n| many.next().unwrap().unwrap() == n * 31 % 7 + n));
        assert!(many.next().is_none());
        at_rest(&pool);
    });
}

/// TestPool.test_terminate
#[test]
fn kill_ends_running_maps_quickly() {
    sim(|| {
        let pool = Pool::new(2);
        let start = now();
        let maps: [Greenlet<Result<Vec<u64>, MapError>>; 3] = [
            {
                let pool = pool.clone();
                spawn(move || pool.map(0.., |_| nap(100)()))
            },
            {
                let pool = pool.clone();
                spawn(move || pool.imap(0.., |_| nap(100)()).collect())
            },
            {
                let pool = pool.clone();
                spawn(move || pool.imap_unordered(0.., |_| nap(100)()).collect())
            },
        ];
        sleep(ms(150));
        assert_eq!(pool.len(), 2);
        pool.kill();
        for map in maps {
            assert!(map.join().unwrap().unwrap_err().error.is_killed());
        }
        assert_eq!(now() - start, ms(150));
        at_rest(&pool);
    });
}

/// TestPool.test_imap_no_stop, test_imap_unordered_no_stop, test_imap_final_sleep, test_imap_unordered_final_sleep
#[test]
fn inputs_that_block_are_waited_for() {
    sim(|| {
        let pool = Pool::new(2);
        let slow = || {
            (0..3).chain(std::iter::from_fn(|| {
                sleep(ms(10)); // before it says that there are no more
                None
            }))
        };
        assert_eq!(pool.map(slow(), |n| n).unwrap(), [0, 1, 2]);
        for unordered in [false, true] {
            let mut all = match unordered {
                false => pool.imap(slow(), |n| n),
                true => pool.imap_unordered(slow(), |n| n),
            };
            let start = now();
            for n in 0..3 {
                // Before the inputs have ended.
                assert_eq!((all.next().unwrap().unwrap(), now()), (n, start));
            }
            assert!(all.next().is_none());
            assert_eq!(now() - start, ms(10));
            // A queue of inputs, to which an answer leads to the next question.
            let questions = Rc::new(Queue::unbounded());
            questions.put(1).unwrap();
            let asked = questions.clone();
            let inputs = std::iter::from_fn(move || asked.get().ok());
            let answers = match unordered {
                false => pool.imap(inputs, |n| n + 1),
                true => pool.imap_unordered(inputs, |n| n + 1),
            };
            let mut seen = vec![];
            for answer in answers.map(Result::unwrap) {
                seen.push(answer);
                match answer {
                    5 => questions.shutdown(),
                    answer => questions.put(answer).unwrap(),
                }
            }
            assert_eq!(seen, [2, 3, 4, 5]);
            at_rest(&pool);
        }
    });
}

/// TestPool.test_imap_unordered_bounded_queue, with two inputs zipped as well
#[test]
fn window_bounds_what_is_taken_and_unread() {
    sim(|| {
        for (size, window) in [(1, 1), (3, 1), (2, 4), (2, 7)] {
            for unordered in [false, true] {
                let (pool, taken) = (Pool::new(size), Rc::new(Cell::new(0)));
                let inputs = {
                    let taken = taken.clone();
                    (0..20u64)
                        .zip(0..)
                        .inspect(move |_| taken.set(taken.get() + 1))
                };
                let add = |(a, b): (u64, u64)| a + b;
                let all = match unordered {
                    false => pool.imap(inputs, add),
                    true => pool.imap_unordered(inputs, add),
                };
                let mut all = all.window(window);
                sleep(ms(1));
                assert_eq!(taken.get(), 0, "it is lazy");
                for read in 1..=20 {
                    all.next().unwrap().unwrap();
                    sleep(ms(1)); // all that can run has run
                    assert_eq!(taken.get(), 20.min(read + window), "{size} {window}");
                }
                assert!(all.next().is_none());
                at_rest(&pool);
            }
        }
        // Twice the size, if nothing else is said.
        let (pool, taken) = (Pool::new(3), Rc::new(Cell::new(0)));
        let counts = taken.clone();
        let mut all = pool.imap((0..).inspect(move |_| counts.set(counts.get() + 1)), |n| n);
        all.next().unwrap().unwrap();
        sleep(ms(1));
        assert_eq!(taken.get(), 7);
        assert!(panics(|| all.window(1)).contains("has begun"));
        assert!(panics(|| pool.imap([1], |n| n).window(0)).contains("a window of 0"));
    });
}

/// TestPool0.test_wait_full, PoolBasicTests.test_init_error. ours: refused.
#[test]
fn pool_without_places_is_refused() {
    assert!(panics(|| Pool::new(0)).contains("a pool without places"));
    assert!(panics(|| Pool::new(usize::MAX)).contains("too many permits"));
}

/// TestJoinSleep, TestJoinSleep_raise_error, TestJoinEmpty
#[test]
fn join_expires_to_the_moment_and_is_at_once_if_empty() {
    sim(|| {
        let pool = Pool::new(2);
        let others = Rc::new(Cell::new(0));
        spawn({
            let others = others.clone();
            move || others.set(1)
        });
        pool.join();
        assert!(pool.join_timeout(Duration::ZERO));
        assert_eq!(others.get(), 0, "it did not switch");
        pool.spawn(|| sleep(LONG));
        let start = now();
        assert!(!pool.join_timeout(ms(10)));
        assert!(timeout(ms(10), || pool.join()).is_err());
        assert!(!pool.join_timeout(Duration::ZERO));
        assert_eq!(now() - start, ms(20));
        pool.kill();
    });
}

/// TestSpawn.test, testSpawnAndWait
#[test]
fn second_spawn_on_one_place_waits_for_the_first() {
    sim(|| {
        let (pool, log) = (Pool::new(1), Log::default());
        let job = |name: &'static str| {
            let log = log.clone();
            move || {
                log.note(format!("{name}+"));
                sleep(ms(10));
                log.note(format!("{name}-"));
            }
        };
        pool.spawn(job("a"));
        pool.spawn(job("b"));
        assert_eq!(log.take(), "a+ a-");
        assert!(!pool.join_timeout(ms(5)));
        assert!(pool.join_timeout(ms(5)));
        assert_eq!(log.take(), "b+ b-");
    });
}

/// TestErrorInIterator. ours: the error of the inputs comes after the results of those before it, of both kinds of lazy
/// maps, and the iteration ends after it.
#[test]
fn panic_of_the_inputs_comes_out_of_the_map() {
    sim(|| {
        let (pool, held) = (Pool::new(2), Held::default());
        let inputs = |held: Held| {
            (0..5).map(move |n| {
                let _held = &held;
                match n {
                    3 => panic!("greenlet_error"),
                    n => n,
                }
            })
        };
        let inside = held.clone();
        let map = catch_unwind(AssertUnwindSafe(|| {
            pool.map(inputs(held.clone()), move |_| {
                let _inside = inside.clone();
                sleep(LONG)
            })
        }));
        assert_eq!(text(map), "greenlet_error");
        let start = now();
        pool.join(); // what was begun has been killed
        assert_eq!(now(), start);
        for unordered in [false, true] {
            let mut all = match unordered {
                false => pool.imap(inputs(held.clone()), |n| nap(n)()),
                true => pool.imap_unordered(inputs(held.clone()), |n| nap(n)()),
            };
            for n in 0..3 {
                assert_eq!(all.next().unwrap().unwrap(), n);
            }
            assert_eq!(panics(|| all.next()), "greenlet_error");
            assert!(all.next().is_none());
        }
        assert_eq!(held.count(), 0);
        at_rest(&pool);
    });
}

/// TestErrorInHandler. A failure in a map does not end the others.
#[test]
fn errors_are_told_by_position() {
    sim(|| {
        for size in [1, 2, 10] {
            let (pool, ran) = (Pool::new(size), Rc::new(Cell::new(0)));
            let counts = ran.clone();
            let divide = move |n: u64| {
                sleep(ms(12 - n));
                counts.set(counts.get() + 1);
                assert!(n != 3 && n != 1, "no {n}");
                n
            };
            let error = pool.map([0, 3, 2, 1, 4], divide.clone()).unwrap_err();
            assert_eq!((error.index, ran.get()), (1, 5));
            let message = error.to_string();
            assert!(message.starts_with("input 1: greenlet '#"), "{message}");
            assert!(message.ends_with("panicked: no 3"), "{message}");
            let source = std::error::Error::source(&error).unwrap();
            assert_eq!(message, format!("input 1: {source}"));
            let told = |result: Result<u64, MapError>| result.map_err(|error| error.index);
            let all = pool.imap([0, 3, 2, 1, 4], divide.clone()).map(told);
            assert_eq!(
                all.collect::<Vec<_>>(),
                [Ok(0), Err(1), Ok(2), Err(3), Ok(4)]
            );
            let any = pool.imap_unordered([0, 3, 2, 1, 4], divide).map(told);
            let mut any: Vec<_> = any.collect();
            any.sort();
            assert_eq!(any, [Ok(0), Ok(2), Ok(4), Err(1), Err(3)]);
            at_rest(&pool);
        }
    });
}

// ---- groups ----

#[test]
fn group_takes_what_others_have_started() {
    sim(|| {
        let (group, other) = (Group::new(), Group::default());
        let named = Builder::new().name("named").spawn(|| sleep(LONG)).unwrap();
        let later = spawn_later(LONG, || ());
        let ended = spawn(|| ());
        ended.wait();
        group.add(&named);
        group.add(&named);
        group.add(&later);
        group.add(&ended);
        other.add(&named);
        assert_eq!(group.ids(), [named.id(), later.id()]);
        assert!(group.contains(named.id()) && !group.contains(ended.id()));
        scope(|s| {
            let scoped = s.spawn(|| sleep(LONG));
            group.add(&scoped);
            assert_eq!(group.len(), 3);
            group.kill();
            assert!(scoped.is_finished());
        });
        assert!(other.is_empty() && group.is_empty());
        assert!(later.join().unwrap_err().is_killed());
    });
}

#[test]
fn group_refuses_greenlets_of_other_hubs() {
    let hub = HubThread::start("elsewhere").unwrap();
    let stop = Arc::new(Event::new());
    let waits = stop.clone();
    let foreign = hub.handle().spawn(move || waits.wait());
    let group = Group::new();
    let refused = panics(|| group.add(&foreign));
    assert!(refused.contains("of its own hub only"), "{refused}");
    assert!(group.is_empty());
    stop.set();
    foreign.join().unwrap();
}

/// A member leaves before its links run and its joiners wake, after its locals are dropped.
#[test]
fn members_leave_between_their_locals_and_their_links() {
    struct Looks(Pool, Log);
    impl Drop for Looks {
        fn drop(&mut self) {
            self.1
                .note(format!("local {} {}", self.0.len(), self.0.free_count()));
            shield(|| sleep(ms(1)));
        }
    }
    thread_local! {
        static POOL: RefCell<Option<(Pool, Log)>> = const { RefCell::new(None) };
    }
    static LOCAL: Local<Looks> = Local::new();
    sim(|| {
        let (pool, log) = (Pool::new(1), Log::default());
        POOL.set(Some((pool.clone(), log.clone())));
        let looks = Looks(pool.clone(), log.clone());
        let member = pool.spawn(move || assert!(LOCAL.set(looks).is_none()));
        member.link(|_| {
            let (pool, log) = POOL.take().unwrap();
            log.note(format!("link {} {}", pool.len(), pool.free_count()));
        });
        let waiter = {
            let (pool, log) = (pool.clone(), log.clone());
            spawn(move || pool.spawn(move || log.note("next")).join())
        };
        member.wait();
        log.note(format!("joiner {}", pool.len()));
        waiter.join().unwrap().unwrap();
        // The place has been handed on, and used, by then.
        assert_eq!(log.take(), "local 1 0 link 0 0 joiner 1 next");
    });
}

#[test]
fn kill_takes_those_who_are_spawned_meanwhile() {
    sim(|| {
        let (group, ran) = (Group::new(), Rc::new(Cell::new(0)));
        let (own, counts) = (group.clone(), ran.clone());
        let parent = group.spawn(move || {
            finally(
                || sleep(LONG),
                || {
                    for _ in 0..3 {
                        let counts = counts.clone();
                        own.spawn(move || counts.set(counts.get() + 1));
                        sleep(ms(1));
                    }
                },
            )
        });
        yield_now();
        let start = now();
        group.kill();
        assert_eq!((now() - start, ran.get(), group.len()), (ms(3), 0, 0));
        assert!(parent.is_finished());
        // It is over, and the next one runs.
        let counts = ran.clone();
        group.spawn(move || counts.set(9)).join().unwrap();
        assert_eq!(ran.get(), 9);
        // Also after a kill that was cut short.
        group.spawn(|| shield(|| sleep(ms(5))));
        yield_now();
        assert!(timeout(ms(1), || group.kill()).is_err());
        group.spawn(|| ()).join().unwrap();
        group.join();
    });
}

#[test]
fn waits_in_members_for_themselves_are_refused() {
    sim(|| {
        let group = Group::new();
        let own = group.clone();
        let member = group.spawn(move || {
            let join = panics(|| own.join());
            assert_eq!(
                join,
                "Group::join in a member: it would wait for its own end"
            );
            assert!(panics(|| own.join_timeout(ms(1))).contains("Group::join_timeout in a"));
            // Its own kill is heard at the wait, or at the first one after the shield.
            let kill = panics(|| shield(|| own.kill()));
            assert!(kill.starts_with("Group::kill in a member"), "{kill}");
            sleep(ms(1));
            unreachable!("it has killed itself");
        });
        assert!(member.join().unwrap_err().is_killed());
        let sibling = group.spawn(|| sleep(LONG));
        let own = group.clone();
        let killer = group.spawn(move || own.kill());
        assert!(killer.join().unwrap_err().is_killed());
        assert!(sibling.is_finished() && group.is_empty());
        let pool = Pool::new(2);
        let own = pool.clone();
        let sibling = pool.spawn(|| sleep(LONG));
        let killer = pool.spawn(move || own.kill());
        assert!(killer.join().unwrap_err().is_killed());
        assert!(sibling.join().unwrap_err().is_killed());
        at_rest(&pool);
    });
}

#[test]
fn join_ends_when_it_was_empty_once() {
    sim(|| {
        let group = Group::new();
        let first = group.spawn(nap(5));
        let joiner = {
            let group = group.clone();
            spawn(move || {
                group.join();
                group.len()
            })
        };
        let own = group.clone();
        // In the link of the last one, after it has left.
        thread_local! {
            static GROUP: RefCell<Option<Group>> = const { RefCell::new(None) };
        }
        GROUP.set(Some(own));
        first.link(|_| drop(GROUP.take().unwrap().spawn(|| sleep(LONG))));
        assert_eq!(joiner.join().unwrap(), 1);
        group.kill();
    });
}

/// What is spawned on a hub that ends is dead at once, and leaves nothing behind.
#[test]
fn groups_and_pools_outlive_their_hubs_runs() {
    let (group, pool, held) = (Group::new(), Pool::new(2), Held::default());
    for _ in 0..2 {
        let (g, p, h) = (group.clone(), pool.clone(), held.clone());
        greenlet::run(move || {
            let (group, pool, held) = (g.clone(), p.clone(), h.clone());
            g.spawn(move || {
                finally(
                    || sleep(LONG),
                    || {
                        let _held = held;
                        assert!(pool.spawn(|| ()).join().unwrap_err().is_killed());
                        assert!(group.spawn(|| ()).join().unwrap_err().is_killed());
                    },
                )
            });
            p.spawn(|| sleep(LONG));
            yield_now();
        });
        assert_eq!((group.len(), held.count()), (0, 0));
        sim(|| at_rest(&pool));
    }
    let other = std::thread::spawn(|| {
        let pool = Pool::new(1);
        pool.spawn(|| sleep(LONG));
        yield_now();
        // The thread ends with its hub and the member.
        pool.free_count()
    });
    assert_eq!(other.join().unwrap(), 0);
}

// ---- places ----

#[test]
fn places_go_in_order_of_arrival_and_nobody_barges() {
    sim(|| {
        let (pool, log) = (Pool::new(2), Log::default());
        pool.spawn(nap(5));
        pool.spawn(nap(7));
        let waiters: Vec<_> = (0..6)
            .map(|i| {
                let (pool, log) = (pool.clone(), log.clone());
                let waiter = spawn(move || {
                    let own = log.clone();
                    pool.spawn(move || {
                        own.note(i);
                        sleep(ms(10));
                    });
                });
                yield_now();
                waiter
            })
            .collect();
        // Two leave the line.
        waiters[1].kill();
        waiters[4].kill();
        yield_now();
        for _ in 0..30 {
            sleep(ms(1));
            // A newcomer gets nothing while others are in line.
            assert!(pool.try_spawn(|| ()).is_err());
            if waiters.iter().all(Greenlet::is_finished) {
                break;
            }
        }
        pool.join();
        assert_eq!(log.take(), "0 2 3 5");
        at_rest(&pool);
    });
}

/// A place that was handed over to one who is killed before it runs: the wake is taken, and the kill comes next.
#[test]
fn place_that_was_handed_over_is_used_or_comes_back() {
    sim(|| {
        let (pool, held) = (Pool::new(1), Held::default());
        let first = pool.spawn(nap(5));
        let (own, h) = (pool.clone(), held.clone());
        let waiter = spawn(move || {
            let inside = h.clone();
            own.spawn(move || drop(inside)).join().unwrap();
            sleep(LONG);
        });
        yield_now();
        waiter.link(|_| ());
        let target = Rc::new(RefCell::new(Some(waiter)));
        first.wait(); // the waiter has the place, and has not run
        target.borrow().as_ref().unwrap().kill();
        let error = target.take().unwrap().join().unwrap_err();
        assert!(error.is_killed());
        sleep(ms(1));
        assert_eq!(held.count(), 0);
        at_rest(&pool);
    });
}

#[test]
fn kill_of_a_pool_reaches_those_in_line() {
    sim(|| {
        for size in [1, 3] {
            let (pool, ran) = (Pool::new(size), Rc::new(Cell::new(0)));
            for _ in 0..size {
                pool.spawn(|| sleep(LONG));
            }
            let in_line: Vec<_> = (0..5)
                .map(|i| {
                    let (pool, ran) = (pool.clone(), ran.clone());
                    spawn(move || {
                        let f = move || ran.set(ran.get() + 1);
                        match i % 2 {
                            0 => pool.spawn(f),
                            _ => pool.spawn_timeout(LONG, f).unwrap(),
                        }
                    })
                })
                .collect();
            yield_now();
            pool.kill();
            for waiter in in_line {
                let member = waiter.join().unwrap();
                assert!(member.join().unwrap_err().is_killed(), "of {size}");
            }
            assert_eq!(ran.get(), 0);
            at_rest(&pool);
            pool.spawn(move || ran.set(1)).join().unwrap();
        }
        // One of them waits in a shield.
        let pool = Pool::new(2);
        let own = pool.clone();
        let shielded = pool.spawn(move || {
            sleep(ms(1));
            let more = shield(|| [own.spawn(|| sleep(LONG)), own.spawn(|| ())]);
            more.map(|member| member.join().unwrap_err())
        });
        pool.spawn(|| sleep(LONG));
        sleep(ms(2));
        pool.kill();
        assert!(shielded.join().unwrap_err().is_killed());
        at_rest(&pool);
    });
}

/// Also when the kill is over: those in line then were asked to end, whenever their turn comes.
#[test]
fn kill_that_is_cut_short_reaches_those_in_line() {
    sim(|| {
        let (pool, ran) = (Pool::new(1), Rc::new(Cell::new(0)));
        pool.spawn(|| shield(|| sleep(ms(5))));
        let (own, counts) = (pool.clone(), ran.clone());
        let in_line = spawn(move || own.spawn(move || counts.set(1)).join());
        yield_now();
        assert!(timeout(ms(1), || pool.kill()).is_err());
        let (own, counts) = (pool.clone(), ran.clone());
        let later = spawn(move || own.spawn(move || counts.set(2)).join());
        assert!(in_line.join().unwrap().unwrap_err().is_killed());
        assert!(later.join().unwrap().is_ok() && ran.get() == 2);
        at_rest(&pool);
    });
}

// ---- a pool that waits for itself ----

#[test]
fn deadlock_of_a_pool_with_itself_is_told_to_the_last_member_that_waits() {
    sim(|| {
        for size in [1, 2, 3] {
            let pool = Pool::new(size);
            // Each waits for a place; with `size` of them nobody is left.
            let members: Vec<_> = (0..size)
                .map(|_| {
                    let own = pool.clone();
                    pool.spawn(move || own.spawn(|| 7).join().unwrap())
                })
                .collect();
            let mut results = join_all(members);
            let last = results.pop().unwrap().unwrap_err().to_string();
            let places = format!("whose size is {size}, wait for a place in it");
            assert!(last.contains("Pool::spawn at tests/pools.rs:"), "{last}");
            assert!(last.ends_with(&places), "{last}");
            // Its place lets the others go on.
            assert!(results.into_iter().all(|result| result.unwrap() == 7));
            at_rest(&pool);
        }
        let pool = Pool::new(1);
        let own = pool.clone();
        let nested = pool.spawn(move || own.map([1], |n| n).is_ok());
        let error = nested.join().unwrap_err().to_string();
        assert!(error.contains("Pool::map at tests/pools.rs:"), "{error}");
        at_rest(&pool);
    });
}

/// It is said only where it is certain.
#[test]
fn members_that_may_go_on_are_no_deadlock() {
    sim(|| {
        // A limit of its own, a timeout scope, a kill that was asked for and has not been heard.
        let first: [fn(&Pool); 3] = [
            |pool| drop(pool.spawn_timeout(ms(5), || ())),
            |pool| drop(timeout(ms(5), || pool.spawn(|| ()))),
            |pool| drop(pool.spawn(|| ())),
        ];
        for (i, first) in first.into_iter().enumerate() {
            let (pool, go) = (Pool::new(2), Rc::new(Event::new()));
            let (own, waits) = (pool.clone(), go.clone());
            let two = pool.spawn(move || {
                waits.wait();
                own.spawn(|| 2).join().unwrap()
            });
            let own = pool.clone();
            let one = pool.spawn(move || first(&own));
            yield_now();
            go.set();
            if i == 2 {
                one.kill();
            }
            assert_eq!(two.join().unwrap(), 2, "of {i}");
            pool.join();
            at_rest(&pool);
        }
        // Another member that does not wait for a place; another pool; one who is no member.
        let (pool, other) = (Pool::new(2), Pool::new(1));
        pool.spawn(nap(5));
        let own = pool.clone();
        assert_eq!(
            pool.spawn(move || own.spawn(|| 2).join().unwrap())
                .join()
                .unwrap(),
            2
        );
        let own = pool.clone();
        other
            .spawn(move || own.map([1, 2, 3], |n| n).unwrap())
            .join()
            .unwrap();
        at_rest(&pool);
        at_rest(&other);
        // One that was given a place and has not run since: the other is its member's to wait for.
        let pool = Pool::new(2);
        let go = Rc::new(Event::new());
        let (own, ends) = (pool.clone(), go.clone());
        let one = pool.spawn(move || own.spawn(move || ends.set()).join());
        let two = pool.spawn(nap(5));
        two.wait(); // `one` has its place and is about to run
        assert!(!go.is_set());
        one.join().unwrap().unwrap();
        at_rest(&pool);
    });
}

/// Several pools that wait for each other: the report of the hub names who waits in which operation and where.
#[test]
fn deadlock_of_two_pools_is_the_hubs_to_tell() {
    let report = panics(|| {
        sim(|| {
            let (a, b) = (Pool::new(1), Pool::new(1));
            let (pa, pb) = (a.clone(), b.clone());
            a.spawn(move || {
                yield_now();
                pb.spawn(|| ())
            });
            b.spawn(move || {
                yield_now();
                pa.spawn(|| ())
            });
            a.join();
        })
    });
    assert_eq!(
        report.matches("Pool::spawn at tests/pools.rs").count(),
        2,
        "{report}"
    );
    assert!(report.contains("Pool::join at tests/pools.rs"), "{report}");
}

// ---- maps that are cut short ----

#[test]
fn map_that_is_ended_kills_what_it_has_begun() {
    sim(|| {
        let (pool, held, start) = (Pool::new(2), Held::default(), now());
        for how in 0..4 {
            let (own, h) = (pool.clone(), held.clone());
            let inputs = if how == 3 { 0..2 } else { 0..9 };
            let map = spawn(move || {
                own.map(inputs, move |_| {
                    let _held = h.clone();
                    sleep(LONG)
                })
            });
            sleep(ms(1));
            assert_eq!(pool.len(), 2);
            match how {
                0 | 3 => map.kill(), // while it waits for a place; for the results
                1 => pool.kill(),
                _ => {
                    // While somebody else waits too.
                    let own = pool.clone();
                    let other = spawn(move || own.spawn(|| 5));
                    yield_now();
                    map.kill();
                    assert_eq!(other.join().unwrap().join().unwrap(), 5);
                }
            }
            let outcome = map.join();
            match how {
                1 => assert_eq!(outcome.unwrap().unwrap_err().index, 0),
                _ => assert!(outcome.unwrap_err().is_killed()),
            }
            pool.join();
            assert_eq!(held.count(), 0);
            at_rest(&pool);
        }
        assert!(timeout(ms(5), || pool.map(0..4, |_| sleep(LONG))).is_err());
        pool.join();
        assert!(now() - start < LONG);
        at_rest(&pool);
    });
}

/// What was done before a kill stands, but a map that lacks inputs is not complete.
#[test]
fn kill_while_the_inputs_block_cuts_the_map_there() {
    sim(|| {
        for lazy in [false, true] {
            for more in [false, true] {
                let (pool, source) = (Pool::new(2), Rc::new(Queue::unbounded()));
                let (own, inputs) = (pool.clone(), source.clone());
                let map = spawn(move || {
                    let inputs = std::iter::from_fn(move || inputs.get().ok());
                    match lazy {
                        true => own.imap(inputs, |n| n).collect::<Vec<_>>(),
                        false => match own.map(inputs, |n| n) {
                            Ok(all) => all.into_iter().map(Ok).collect(),
                            Err(error) => vec![Err(error)],
                        },
                    }
                });
                (0..3).for_each(|n| source.put(n).unwrap());
                sleep(ms(1));
                assert!(pool.is_empty());
                pool.kill();
                if more {
                    source.put(9).unwrap();
                }
                source.shutdown();
                let told = map.join().unwrap();
                let told: Vec<_> = told.into_iter().map(|r| r.map_err(|e| e.index)).collect();
                match (lazy, more) {
                    // The feeder was killed where it waited.
                    (true, _) => assert_eq!(told, [Ok(0), Ok(1), Ok(2), Err(3)]),
                    (false, true) => assert_eq!(told, [Err(3)]),
                    // All were done, and there were no more.
                    (false, false) => assert_eq!(told, [Ok(0), Ok(1), Ok(2)]),
                }
                at_rest(&pool);
            }
        }
    });
}

#[test]
fn dropped_imap_kills_the_rest_and_keeps_nothing() {
    sim(|| {
        for unordered in [false, true] {
            for read in 0..4 {
                let (pool, held) = (Pool::new(2), Held::default());
                let (inputs, inside) = (held.clone(), held.clone());
                let inputs = (0..50).inspect(move |_| drop(inputs.clone()));
                let f = move |n: u64| {
                    let _inside = inside.clone();
                    nap(1 + n)();
                    inside.clone() // the result
                };
                let mut all = match unordered {
                    false => pool.imap(inputs, f),
                    true => pool.imap_unordered(inputs, f),
                };
                for _ in 0..read {
                    assert!(all.next().unwrap().is_ok());
                }
                let start = now();
                drop(all);
                pool.join();
                assert_eq!(now(), start);
                yield_now();
                assert_eq!(held.count(), 0, "{unordered} {read}");
                at_rest(&pool);
            }
        }
    });
}

/// A feeder that was given its place, and is then no longer wanted, takes no more inputs, and nothing of it runs.
#[test]
fn dropped_imap_starts_nothing_more() {
    thread_local! {
        static ALL: RefCell<Option<Imap<()>>> = const { RefCell::new(None) };
    }
    sim(|| {
        let pool = Pool::new(1);
        let (ran, taken) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
        let first = pool.spawn(nap(5));
        let (counts, takes) = (ran.clone(), taken.clone());
        let inputs = (0..9).inspect(move |_| takes.set(takes.get() + 1));
        let mut all = pool.imap(inputs, move |_| counts.set(counts.get() + 1));
        assert!(timeout(ms(1), || all.next()).is_err());
        assert_eq!(taken.get(), 1); // and the feeder waits for the place
        ALL.set(Some(all));
        first.link(|_| drop(ALL.take())); // the feeder has the place, and has not run
        first.wait();
        sleep(ms(20));
        assert_eq!((ran.get(), taken.get()), (0, 1));
        at_rest(&pool);
    });
}

/// The iteration goes on where a `next` was cut short.
#[test]
fn next_that_is_cut_short_loses_no_result() {
    sim(|| {
        let pool = Pool::new(2);
        for unordered in [false, true] {
            let naps = [7, 3, 12, 1, 0];
            let mut all = match unordered {
                false => pool.imap(naps, |n| nap(n)()),
                true => pool.imap_unordered(naps, |n| nap(n)()),
            };
            let (mut seen, mut late) = (vec![], 0);
            loop {
                match timeout(ms(2), || all.next()) {
                    Ok(None) => break,
                    Ok(Some(result)) => seen.push(result.unwrap()),
                    Err(_) => late += 1,
                }
            }
            assert!(late > 3);
            let order = if unordered { [3, 7, 1, 0, 12] } else { naps };
            let mut sorted = seen.clone();
            sorted.sort();
            assert_eq!(sorted, [0, 1, 3, 7, 12]);
            assert!(unordered || seen == order, "{seen:?}");
            at_rest(&pool);
        }
    });
}

#[test]
fn maps_may_be_nested_where_there_are_places() {
    sim(|| {
        let pool = Pool::new(3);
        let own = pool.clone();
        let sums = pool.map([10, 20], move |n| {
            let inner = own.imap([1, 2], move |m| n + m);
            inner.map(Result::unwrap).sum::<u64>()
        });
        assert_eq!(sums.unwrap(), [23, 43]);
        at_rest(&pool);
    });
}

#[test]
fn debug_says_how_many() {
    sim(|| {
        let (group, pool) = (Group::new(), Pool::new(2));
        pool.spawn(|| sleep(LONG));
        group.spawn(|| ());
        let shown = format!("{group:?} {pool:?}");
        for part in ["members: 1", "size: 2", "available: 1", "waiting: 0"] {
            assert!(shown.contains(part), "{shown}");
        }
        let mut all = pool.imap([1, 2], |n| n);
        all.next().unwrap().unwrap();
        let shown = format!("{all:?}");
        assert!(shown.starts_with("Imap { taken: "), "{shown}");
        assert_eq!(
            format!("{:?}", pool.imap([1], |n| n).next().unwrap()),
            "Ok(1)"
        );
        group.join();
        pool.kill();
    });
}

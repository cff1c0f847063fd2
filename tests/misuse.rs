//! Bad input and misuse: a clear error, and nothing lost. Each test is named after the misuse. What ends the process is in
//! `process.rs` and `single_thread.rs`, what needs other threads in `threads.rs`, where a panic points in `panics.rs`.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::cmp::Ordering;
use std::panic::{AssertUnwindSafe, catch_unwind, panic_any};
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use greenlet::sync::{
    AsyncResult, BoundedSemaphore, Event, GetError, PriorityQueue, PutError, Queue, ReleaseError,
    Semaphore,
};
use greenlet::testing::Simulation;
use greenlet::{
    Builder, Elapsed, Greenlet, HubHandle, JoinError, Local, Timeout, checkpoint, finally,
    join_all, kill_all, no_switch, now, run, scope, shield, sleep, spawn, spawn_later, timeout,
    wait_all_timeout, wait_any, wait_any_timeout, yield_now,
};

/// A program on the virtual clock: what can never end panics instead of hanging.
fn sim<R>(program: impl FnOnce() -> R) -> R {
    Simulation::new().run(program)
}

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// Longer than any test: free on the virtual clock.
const LONG: Duration = Duration::from_secs(1000);

fn rc<T>(value: T) -> Rc<T> {
    Rc::new(value)
}

/// The text of a panic.
fn text(payload: &(dyn Any + Send)) -> &str {
    payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("not a text")
}

/// Runs `f`, which must panic, and returns the text.
#[track_caller]
fn panics<R>(f: impl FnOnce() -> R) -> String {
    match catch_unwind(AssertUnwindSafe(f)) {
        Ok(_) => panic!("this must panic"),
        Err(payload) => text(&*payload).to_owned(),
    }
}

/// Calls its function when it is dropped.
struct OnDrop<F: FnMut()>(F);

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

fn on_drop<F: FnMut()>(f: F) -> OnDrop<F> {
    OnDrop(f)
}

// ---- sizes and counts ----

#[test]
fn queue_bounded_zero_points_to_rendezvous() {
    assert!(panics(|| Queue::<u8>::bounded(0)).contains("Queue::rendezvous()"));
}

#[test]
fn stack_size_below_the_minimum_is_an_error_of_spawn() {
    sim(|| {
        for bytes in [0, 1, 4096, 32 * 1024 - 1] {
            let dropped = rc(Cell::new(false));
            let token = on_drop({
                let dropped = dropped.clone();
                move || dropped.set(true)
            });
            let refused = Builder::new().stack_size(bytes).spawn(move || drop(token));
            let error = refused.expect_err("too small");
            assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
            assert!(error.to_string().contains("32768"), "{error}");
            assert!(dropped.get(), "the closure is dropped, unrun");
        }
        let fits = Builder::new().stack_size(32 * 1024).spawn(|| 5);
        assert_eq!(fits.unwrap().join().unwrap(), 5);
    });
}

#[test]
fn stack_size_beyond_the_address_space_is_an_error_of_spawn() {
    for bytes in [usize::MAX, isize::MAX as usize] {
        let error = Builder::new()
            .stack_size(bytes)
            .spawn(|| ())
            .expect_err("too large");
        assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
    }
}

#[test]
fn stack_size_below_the_minimum_in_a_scope_leaves_the_scope_usable() {
    sim(|| {
        let done = Cell::new(false);
        scope(|s| {
            let refused = s.spawn_with(Builder::new().stack_size(1), || ());
            assert!(refused.is_err());
            s.spawn(|| done.set(true));
        });
        assert!(done.get());
    });
}

#[test]
fn stack_that_cannot_be_had_ends_its_greenlet_with_a_clear_error_and_the_hub_goes_on() {
    sim(|| {
        let ran = rc(Cell::new(false));
        let dropped_on = rc(RefCell::new(None));
        let token = on_drop({
            let dropped_on = dropped_on.clone();
            // A wait in it cannot be had, but must not harm anybody.
            move || *dropped_on.borrow_mut() = Some(greenlet::current().is_greenlet())
        });
        let huge = Builder::new()
            .name("huge")
            .stack_size(1 << 60)
            .spawn({
                let ran = ran.clone();
                move || {
                    let _token = token;
                    ran.set(true);
                }
            })
            .expect("a valid size, as far as one can say");
        let linked = Arc::new(AtomicUsize::new(0));
        huge.link({
            let linked = linked.clone();
            move |outcome| {
                assert!(matches!(outcome, Err(JoinError::NoStack(_))));
                linked.fetch_add(1, SeqCst);
            }
        });
        let joiner = spawn(|| 7);
        huge.wait();
        assert!(
            matches!(huge.error(), Some(JoinError::NoStack(_))),
            "{huge:?}"
        );
        let message = huge.join().unwrap_err().to_string();
        assert!(message.contains("no stack"), "{message}");
        assert!(!ran.get());
        assert_eq!(
            *dropped_on.borrow(),
            Some(true),
            "dropped on a greenlet's stack"
        );
        assert_eq!(linked.load(SeqCst), 1);
        assert_eq!(joiner.join().unwrap(), 7);
        // Many at once: they share one spare stack.
        let many: Vec<_> = (0..50)
            .map(|_| Builder::new().stack_size(1 << 60).spawn(|| ()).unwrap())
            .collect();
        assert!(
            join_all(many)
                .iter()
                .all(|r| matches!(r, Err(JoinError::NoStack(_))))
        );
    });
}

#[test]
fn stack_that_cannot_be_had_for_a_child_of_a_scope_does_not_hang_the_scope() {
    sim(|| {
        scope(|s| {
            let child = s
                .spawn_with(Builder::new().stack_size(1 << 60), || ())
                .unwrap();
            assert!(matches!(child.join(), Err(JoinError::NoStack(_))));
        });
        // Nobody joins it: it must not vanish.
        let message = panics(|| {
            scope(|s| {
                let sibling = s.spawn(|| sleep(Duration::MAX));
                let child = s.spawn_with(Builder::new().name("big").stack_size(1 << 60), || ());
                child.unwrap().wait();
                sibling.wait();
            });
        });
        assert!(message.contains("no stack"), "{message}");
    });
}

#[test]
fn task_done_once_too_often_panics_and_changes_nothing() {
    sim(|| {
        let q = rc(Queue::unbounded());
        assert!(panics(|| q.task_done()).contains("task_done"));
        assert_eq!(q.unfinished(), 0);
        q.put(1).unwrap();
        let joiner = spawn({
            let q = q.clone();
            move || q.join()
        });
        yield_now();
        assert!(!joiner.is_finished());
        assert_eq!(q.get(), Ok(1));
        q.task_done();
        joiner.join().unwrap();
        panics(|| q.task_done());
        q.join();
        q.put(2).unwrap();
        assert_eq!((q.unfinished(), q.len()), (1, 1));
    });
}

#[test]
fn release_over_the_bound_is_an_error_and_changes_nothing() {
    sim(|| {
        let s = rc(BoundedSemaphore::new(2));
        assert_eq!(s.release(), Err(ReleaseError));
        assert_eq!(s.available(), 2);
        let held = s.acquire_many(2);
        let waiter = spawn({
            let s = s.clone();
            move || drop(s.acquire())
        });
        yield_now();
        // Released behind the permit's back: the permit's own return then adds nothing.
        assert_eq!(s.release(), Ok(()));
        waiter.join().unwrap();
        assert_eq!(s.available(), 1);
        drop(held);
        assert_eq!(s.available(), 2);
        assert_eq!(s.release(), Err(ReleaseError));
        assert_eq!(s.available(), 2);
    });
}

#[test]
fn release_of_a_semaphore_that_is_full_panics_and_changes_nothing() {
    let s = Semaphore::new(usize::MAX / 4);
    assert!(panics(|| s.release()).contains("too many permits"));
    assert_eq!(s.available(), usize::MAX / 4);
    drop(s.acquire());
    assert_eq!(s.available(), usize::MAX / 4);
}

#[test]
fn acquire_many_over_the_bound_panics_and_takes_nothing() {
    sim(|| {
        let s = BoundedSemaphore::new(2);
        assert!(panics(|| s.acquire_many(3)).contains('3'));
        let held = s.acquire();
        assert!(panics(|| s.acquire_many(3)).contains('3'));
        drop(held);
        assert_eq!(s.available(), 2);
        drop(s.acquire_many(2));
        assert_eq!(s.acquire_many(0).forget(), ());
        assert_eq!(s.available(), 2);
    });
}

#[test]
fn acquire_many_whose_head_times_out_lets_those_behind_go() {
    sim(|| {
        let s = rc(Semaphore::new(3));
        let log = rc(RefCell::new(vec![]));
        let start = now();
        let head = spawn({
            let (s, log) = (s.clone(), log.clone());
            move || {
                let none = s.acquire_many_timeout(5, ms(10)).is_none();
                log.borrow_mut()
                    .push(("head", none, (now() - start).as_millis()));
            }
        });
        let behind: Vec<_> = [("two", 2), ("one", 1), ("late", 1)]
            .into_iter()
            .map(|(name, need)| {
                let (s, log) = (s.clone(), log.clone());
                spawn(move || {
                    let permit = s.acquire_many(need);
                    log.borrow_mut()
                        .push((name, true, (now() - start).as_millis()));
                    sleep(ms(5));
                    drop(permit);
                })
            })
            .collect();
        yield_now();
        assert!(s.try_acquire().is_none(), "nobody passes those that wait");
        assert_eq!(s.available(), 3);
        assert!(join_all(behind).iter().all(Result::is_ok));
        head.join().unwrap();
        // At 10 ms the head leaves: three permits for the next two, the last waits for their return.
        let mut seen = log.take();
        seen[..3].sort();
        assert_eq!(
            seen,
            [
                ("head", true, 10),
                ("one", true, 10),
                ("two", true, 10),
                ("late", true, 15)
            ]
        );
        assert_eq!(s.available(), 3);
    });
}

#[test]
fn acquire_many_whose_head_is_killed_lets_those_behind_go() {
    sim(|| {
        let s = rc(Semaphore::new(1));
        let head = spawn({
            let s = s.clone();
            move || drop(s.acquire_many(2))
        });
        let behind = spawn({
            let s = s.clone();
            move || drop(s.acquire())
        });
        yield_now();
        head.kill();
        behind.join().unwrap();
        assert!(head.join().unwrap_err().is_killed());
        assert_eq!(s.available(), 1);
    });
}

#[test]
fn acquire_many_whose_head_is_ended_by_a_timeout_scope_lets_those_behind_go() {
    sim(|| {
        let s = rc(Semaphore::new(1));
        let head = spawn({
            let s = s.clone();
            move || timeout(ms(10), || drop(s.acquire_many(2)))
        });
        let behind = spawn({
            let s = s.clone();
            move || drop(s.acquire())
        });
        behind.join().unwrap();
        assert_eq!(head.join().unwrap(), Err(Elapsed));
        assert_eq!(s.available(), 1);
    });
}

#[test]
fn second_set_is_refused_and_gives_the_value_back() {
    let r = AsyncResult::<String, String>::default();
    assert_eq!(r.set("first".into()), Ok(()));
    assert_eq!(r.set("second".into()), Err("second".to_owned()));
    assert_eq!(r.set_error("third".into()), Err("third".to_owned()));
    assert_eq!(r.get(), Ok("first".to_owned()));
    let r = AsyncResult::<String, String>::default();
    assert_eq!(r.set_error("first".into()), Ok(()));
    assert_eq!(r.set_error("second".into()), Err("second".to_owned()));
    assert_eq!(r.set("third".into()), Err("third".to_owned()));
    assert_eq!(r.get(), Err("first".to_owned()));
}

#[test]
fn semaphore_without_permits_is_no_misuse_but_a_bound_of_zero_can_never_be_acquired() {
    sim(|| {
        let none = BoundedSemaphore::new(0);
        assert!(none.try_acquire().is_none());
        assert!(panics(|| none.acquire()).contains("never has more than 0"));
        assert_eq!(none.release(), Err(ReleaseError));
        let plain = rc(Semaphore::new(0));
        let waiter = spawn({
            let plain = plain.clone();
            move || drop(plain.acquire())
        });
        yield_now();
        plain.release();
        waiter.join().unwrap();
    });
}

// ---- joining, run ----

#[test]
fn joining_oneself_is_a_panic_of_that_greenlet_alone() {
    sim(|| {
        let slot = rc(RefCell::new(None::<Greenlet<()>>));
        let me = Builder::new()
            .name("narcissus")
            .spawn({
                let slot = slot.clone();
                move || slot.take().unwrap().join().unwrap()
            })
            .unwrap();
        let said = Arc::new(Mutex::new(String::new()));
        me.link({
            let said = said.clone();
            move |outcome| *said.lock().unwrap() = outcome.as_ref().unwrap_err().to_string()
        });
        *slot.borrow_mut() = Some(me);
        let other = spawn(|| 3);
        assert_eq!(other.join().unwrap(), 3);
        let said = said.lock().unwrap();
        assert!(
            said.contains("'narcissus'") && said.contains("its own end"),
            "{said}"
        );
    });
}

#[test]
fn waiting_for_oneself_does_not_lose_the_handle() {
    sim(|| {
        let slot = rc(RefCell::new(None::<Greenlet<()>>));
        let me = spawn({
            let slot = slot.clone();
            move || {
                let me = slot.take().unwrap();
                panics(|| me.wait());
                panics(|| me.wait_timeout(ms(1)));
                *slot.borrow_mut() = Some(me);
            }
        });
        *slot.borrow_mut() = Some(me);
        yield_now();
        let me = slot.take().unwrap();
        me.join().unwrap();
    });
}

#[test]
fn run_inside_a_greenlet_panics_and_the_greenlet_goes_on() {
    sim(|| {
        let g = spawn(|| {
            assert!(panics(|| run(|| ())).contains("inside a greenlet"));
            sleep(ms(1));
            7
        });
        assert_eq!(g.join().unwrap(), 7);
    });
}

#[test]
fn run_with_live_greenlets_panics_and_they_live_on() {
    let g = spawn(|| 7);
    assert!(panics(|| run(|| ())).contains("live greenlets"));
    assert_eq!(g.join().unwrap(), 7);
    assert_eq!(run(|| 8), 8, "and then it may");
}

#[test]
fn run_inside_run_panics_and_the_outer_one_goes_on() {
    let result = run(|| {
        assert!(panics(|| run(|| ())).contains("run()"));
        spawn(|| 9).join().unwrap()
    });
    assert_eq!(result, 9);
}

#[test]
fn run_inside_a_scope_at_the_root_neither_breaks_the_scope_nor_hides_its_panic() {
    let outcome = panics(|| {
        scope(|s| {
            for _ in 0..3 {
                s.spawn(|| ()).join().unwrap();
            }
            // Either it is refused, or the scope must live with the end of its hub.
            let inner = catch_unwind(|| run(|| ()));
            if let Err(payload) = inner {
                assert!(text(&*payload).contains("run()"), "{}", text(&*payload));
            }
            panic!("the body's own panic");
        })
    });
    assert_eq!(outcome, "the body's own panic");
}

#[test]
fn run_whose_leftover_sleeps_in_a_shield_waits_for_it() {
    let ended = rc(Cell::new(false));
    sim(|| {
        spawn({
            let ended = ended.clone();
            move || {
                shield(|| sleep(ms(10)));
                ended.set(true);
                sleep(LONG);
                unreachable!("killed here");
            }
        });
        yield_now();
    });
    assert!(ended.get());
}

#[test]
fn run_whose_leftover_spawns_while_the_hub_ends_gives_it_handles_that_are_killed() {
    let saw = rc(Cell::new(false));
    sim(|| {
        spawn({
            let saw = saw.clone();
            move || {
                finally(
                    || sleep(LONG),
                    || {
                        let late = spawn(|| unreachable!("the hub ends"));
                        assert!(late.is_finished());
                        saw.set(late.join().unwrap_err().is_killed());
                    },
                );
            }
        });
        yield_now();
    });
    assert!(saw.get());
}

// ---- locals ----

#[test]
fn local_set_inside_its_own_with_panics_and_the_value_stays() {
    static NAME: Local<String> = Local::new();
    sim(|| {
        spawn(|| {
            NAME.set("kept".into());
            NAME.with(|name| {
                assert!(panics(|| NAME.set("new".into())).contains("Local::set"));
                assert!(panics(|| NAME.take()).contains("Local::take"));
                // Nested, and seen from inside.
                NAME.with(|again| assert_eq!(name, again));
                panics(|| NAME.take());
            });
            assert_eq!(NAME.take().as_deref(), Some("kept"));
            assert_eq!(NAME.set("new".into()), None);
        })
        .join()
        .unwrap();
    });
}

#[test]
fn local_set_inside_the_with_of_another_greenlet_is_no_misuse() {
    static NAME: Local<u8> = Local::new();
    sim(|| {
        let lender = spawn(|| {
            NAME.set(1);
            NAME.with(|v| {
                sleep(ms(5));
                assert_eq!(*v, 1);
            });
        });
        let setter = spawn(|| {
            assert_eq!(NAME.set(2), None);
            assert_eq!(NAME.take(), Some(2));
        });
        setter.join().unwrap();
        lender.join().unwrap();
    });
}

#[test]
fn local_set_in_a_with_that_unwinds_is_possible_afterwards() {
    static NAME: Local<u8> = Local::new();
    NAME.set(1);
    panics(|| NAME.with(|_| panic!("in with")));
    assert_eq!(NAME.set(2), Some(1));
    assert_eq!(NAME.take(), Some(2));
}

#[test]
fn local_whose_destructor_panics_does_not_stop_others_nor_change_the_outcome() {
    static BOMB: Local<OnDrop<fn()>> = Local::new();
    static TRACE: Local<OnDrop<Box<dyn FnMut()>>> = Local::new();
    sim(|| {
        let traced = rc(Cell::new(false));
        let linked = Arc::new(AtomicUsize::new(0));
        let g = spawn({
            let traced = traced.clone();
            move || {
                BOMB.set(on_drop(|| panic!("a local's destructor")));
                TRACE.set(on_drop(
                    Box::new(move || traced.set(true)) as Box<dyn FnMut()>
                ));
                11
            }
        });
        g.link({
            let linked = linked.clone();
            move |outcome| {
                assert_eq!(*outcome.as_ref().unwrap(), 11);
                linked.fetch_add(1, SeqCst);
            }
        });
        assert_eq!(g.join().unwrap(), 11);
        assert!(traced.get());
        assert_eq!(linked.load(SeqCst), 1);
        assert_eq!(spawn(|| 1).join().unwrap(), 1, "the hub goes on");
    });
}

#[test]
fn local_whose_destructor_sets_a_local_again_is_dropped_too() {
    static AGAIN: Local<OnDrop<Box<dyn FnMut()>>> = Local::new();
    sim(|| {
        let drops = rc(Cell::new(0));
        spawn({
            let drops = drops.clone();
            move || {
                AGAIN.set(on_drop(Box::new(move || {
                    drops.set(drops.get() + 1);
                    let drops = drops.clone();
                    if drops.get() == 1 {
                        AGAIN.set(on_drop(Box::new(move || drops.set(drops.get() + 1))));
                    }
                })));
            }
        })
        .join()
        .unwrap();
        assert_eq!(drops.get(), 2);
        assert!(!AGAIN.is_set());
    });
}

// ---- cmp and clone ----

type Compare = dyn Fn(&Item, &Item) -> Ordering;

/// An item whose comparison is whatever the test wants.
#[derive(Clone)]
struct Item(u32, Rc<Compare>);

impl PartialEq for Item {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}
impl Eq for Item {}
impl PartialOrd for Item {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Item {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.1)(self, other)
    }
}

impl std::fmt::Debug for Item {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

fn by_number(a: &Item, b: &Item) -> Ordering {
    a.0.cmp(&b.0)
}

/// The number 13 cannot be compared.
fn superstitious(a: &Item, b: &Item) -> Ordering {
    assert!(a.0 != 13 && b.0 != 13, "unlucky");
    by_number(a, b)
}

fn numbers(q: &PriorityQueue<Item>) -> Vec<u32> {
    q.try_iter().map(|item| item.0).collect()
}

#[test]
fn cmp_that_panics_does_so_in_the_putter_and_the_queue_is_whole() {
    sim(|| {
        let item = |n| Item(n, rc(superstitious));
        let q = PriorityQueue::unbounded();
        for n in [5, 3, 9] {
            q.put(item(n)).unwrap();
        }
        assert_eq!(panics(|| q.put(item(13))), "unlucky");
        assert_eq!(panics(|| q.put_nowait(item(13))), "unlucky");
        assert_eq!(panics(|| q.put_timeout(item(13), ms(1))), "unlucky");
        assert_eq!((q.len(), q.unfinished()), (3, 3));
        q.put(item(4)).unwrap();
        assert_eq!(numbers(&q), [3, 4, 5, 9]);
        for _ in 0..4 {
            q.task_done();
        }
        q.join();
    });
}

#[test]
fn cmp_that_panics_for_a_putter_that_waited_does_so_in_that_putter_not_in_the_getter() {
    sim(|| {
        let item = |n| Item(n, rc(superstitious));
        let q = rc(PriorityQueue::bounded(2));
        q.put(item(1)).unwrap();
        q.put(item(2)).unwrap();
        let putter = |n| {
            let (q, item) = (q.clone(), item(n));
            spawn(move || q.put(item).map_err(drop))
        };
        let (unlucky, lucky) = (putter(13), putter(7));
        yield_now();
        // The getter makes room: the first putter's item cannot be stored, the second one's can.
        assert_eq!(q.get().unwrap().0, 1);
        let error = unlucky.join().unwrap_err();
        assert!(error.to_string().ends_with("unlucky"), "{error}");
        assert_eq!(lucky.join().unwrap(), Ok(()));
        assert_eq!((q.len(), q.unfinished()), (2, 3));
        assert_eq!(numbers(&q), [2, 7]);
    });
}

#[test]
fn cmp_that_touches_its_queue_panics_and_the_queue_is_whole() {
    sim(|| {
        let q: Rc<PriorityQueue<Item>> = rc(PriorityQueue::unbounded());
        let touches: [fn(&PriorityQueue<Item>); 7] = [
            |q| assert!(q.len() < 9),
            |q| drop(q.get_nowait()),
            |q| drop(q.get()),
            |q| drop(q.put(Item(0, rc(by_number)))),
            |q| q.shutdown(),
            |q| drop(format!("{q:?}")),
            |q| q.task_done(),
        ];
        q.put(Item(5, rc(by_number))).unwrap();
        for touch in touches {
            let inner = q.clone();
            let touching = Item(
                1,
                rc(move |a: &Item, b: &Item| {
                    touch(&inner);
                    by_number(a, b)
                }),
            );
            let said = panics(|| q.put_nowait(touching));
            assert!(said.contains("queue was used from inside"), "{said}");
            assert_eq!((q.len(), q.unfinished(), q.is_shut_down()), (1, 1, false));
        }
        assert_eq!(numbers(&q), [5]);
        sleep(ms(1)); // waiting is allowed again
    });
}

#[test]
fn cmp_that_waits_panics_and_the_queue_is_whole() {
    sim(|| {
        let q = PriorityQueue::unbounded();
        q.put(Item(5, rc(by_number))).unwrap();
        let waiting = Item(
            1,
            rc(|a: &Item, b: &Item| {
                sleep(ms(1));
                by_number(a, b)
            }),
        );
        assert!(panics(|| q.put(waiting)).contains("no wait is allowed"));
        assert_eq!(numbers(&q), [5]);
        sleep(ms(1));
    });
}

#[test]
fn cmp_that_uses_another_queue_is_no_misuse() {
    sim(|| {
        let (q, other) = (PriorityQueue::unbounded(), rc(Queue::unbounded()));
        q.put(Item(5, rc(by_number))).unwrap();
        let logging = Item(1, {
            let other = other.clone();
            rc(move |a: &Item, b: &Item| {
                other.put((a.0, b.0)).unwrap();
                by_number(a, b)
            })
        });
        q.put(logging).unwrap();
        assert!(!other.is_empty());
        assert_eq!(numbers(&q), [1, 5]);
    });
}

#[test]
fn cmp_that_has_no_order_loses_no_item() {
    sim(|| {
        let q = PriorityQueue::unbounded();
        let flip = rc(Cell::new(0u32));
        for n in 0..100 {
            let flip = flip.clone();
            let senseless = rc(move |_: &Item, _: &Item| {
                flip.set(
                    flip.get()
                        .wrapping_mul(1_664_525)
                        .wrapping_add(1_013_904_223),
                );
                [Ordering::Less, Ordering::Equal, Ordering::Greater]
                    [(flip.get() >> 16) as usize % 3]
            });
            q.put(Item(n, senseless)).unwrap();
        }
        assert_eq!(q.len(), 100);
        let mut all = numbers(&q);
        all.sort();
        assert_eq!(all, (0..100).collect::<Vec<_>>());
    });
}

/// Its clone is whatever the test wants.
struct Cloned(Rc<dyn Fn()>);

impl Clone for Cloned {
    fn clone(&self) -> Self {
        (self.0)();
        Cloned(self.0.clone())
    }
}

#[test]
fn clone_that_panics_or_touches_its_queue_or_waits_leaves_the_queue_whole() {
    sim(|| {
        let q: Rc<Queue<Cloned>> = rc(Queue::unbounded());
        let inner = q.clone();
        type Case = (Rc<dyn Fn()>, &'static str);
        let cases: [Case; 3] = [
            (rc(|| panic!("no copies")), "no copies"),
            (
                rc(move || assert!(inner.len() < 9)),
                "queue was used from inside",
            ),
            (rc(yield_now), "no wait is allowed"),
        ];
        for (clone, message) in cases {
            q.put(Cloned(clone)).unwrap();
            let said = panics(|| q.peek_nowait());
            assert!(said.contains(message), "{said}");
            assert_eq!(q.len(), 1);
            q.get().unwrap();
        }
        yield_now();
    });
}

#[test]
fn drop_of_an_item_that_uses_its_queue_is_no_misuse() {
    struct Reentrant(Rc<Queue<u8>>, u8);
    impl Drop for Reentrant {
        fn drop(&mut self) {
            self.0.put_nowait(self.1).unwrap();
        }
    }
    sim(|| {
        let log = rc(Queue::unbounded());
        let q = Queue::bounded(2);
        q.put(Reentrant(log.clone(), 1)).unwrap();
        q.put(Reentrant(log.clone(), 2)).unwrap();
        let refused = q.put_timeout(Reentrant(log.clone(), 3), ms(1));
        assert_eq!(log.len(), 0, "a put that fails gives its item back");
        drop(refused);
        drop(q.get());
        drop(q.shutdown_now());
        assert_eq!(log.try_iter().collect::<Vec<_>>(), [3, 1, 2]);
    });
}

// ---- links ----

#[test]
fn wait_inside_a_link_callback_panics_there_and_the_next_link_runs() {
    sim(|| {
        let never = Arc::new(Event::new());
        let ran = Arc::new(AtomicUsize::new(0));
        let g = spawn(|| 5);
        for _ in 0..2 {
            let (never, ran) = (never.clone(), ran.clone());
            g.link(move |_| {
                ran.fetch_add(1, SeqCst);
                never.wait();
                ran.fetch_add(100, SeqCst);
            });
        }
        g.link({
            let ran = ran.clone();
            move |outcome| {
                assert_eq!(*outcome.as_ref().unwrap(), 5);
                ran.fetch_add(10, SeqCst);
            }
        });
        g.wait();
        assert_eq!(ran.load(SeqCst), 12);
        // The same on the finished greenlet, in the caller; who then may wait as before.
        g.link({
            let ran = ran.clone();
            move |_| {
                ran.fetch_add(1, SeqCst);
                sleep(ms(1));
                ran.fetch_add(100, SeqCst);
            }
        });
        assert_eq!(ran.load(SeqCst), 13);
        sleep(ms(1));
        assert_eq!(g.join().unwrap(), 5);
        assert!(format!("{never:?}").contains("waiting: 0"), "{never:?}");
    });
}

#[test]
fn wait_inside_a_link_callback_that_need_not_wait_is_no_misuse() {
    sim(|| {
        let (set, result) = (Arc::new(Event::new()), Arc::new(AsyncResult::<u8>::new()));
        set.set();
        let g = spawn(|| 5);
        g.link({
            let result = result.clone();
            move |outcome| {
                set.wait();
                result.set(*outcome.as_ref().unwrap()).unwrap();
            }
        });
        assert_eq!(result.wait().map_err(drop), Ok(&5));
    });
}

#[test]
fn panic_in_a_link_callback_stops_neither_other_links_nor_joiners() {
    sim(|| {
        let order = Arc::new(Mutex::new(vec![]));
        let g = spawn(|| "value");
        let note = |what: &'static str| {
            let order = order.clone();
            move || order.lock().unwrap().push(what)
        };
        let (first, second, third) = (note("first"), note("second"), note("third"));
        g.link(move |_| first());
        g.link(move |_| {
            second();
            panic!("in a link");
        });
        g.link(move |_| third());
        assert_eq!(g.join().unwrap(), "value");
        assert_eq!(*order.lock().unwrap(), ["first", "second", "third"]);
        let late = spawn(|| 1);
        late.wait();
        late.link(|_| panic!("in a late link"));
        assert_eq!(late.join().unwrap(), 1);
    });
}

#[test]
fn link_callback_whose_panic_payload_panics_when_dropped_is_contained() {
    sim(|| {
        let g = spawn(|| 1);
        g.link(|_| panic_any(Bomb::new("a link's payload")));
        assert_eq!(g.join().unwrap(), 1);
        assert_eq!(spawn(|| 2).join().unwrap(), 2);
    });
}

// ---- no_switch ----

#[test]
fn wait_inside_no_switch_panics_and_loses_nothing() {
    sim(|| {
        let q = rc(Queue::bounded(1));
        q.put(1).unwrap();
        let s = Semaphore::new(1);
        let permit = s.acquire();
        let said = panics(|| no_switch(|| q.put(2)));
        assert!(
            said.contains("no_switch") && said.contains("Queue::put"),
            "{said}"
        );
        panics(|| no_switch(|| s.acquire()));
        panics(|| no_switch(|| no_switch(|| sleep(ms(1)))));
        drop(permit);
        assert_eq!((s.available(), q.len()), (1, 1));
        no_switch(|| {
            no_switch(|| ());
            assert_eq!(q.get(), Ok(1)); // need not wait
            panics(|| q.get());
        });
        sleep(ms(1));
        assert!(format!("{q:?}").contains("getters: 0"), "{q:?}");
    });
}

#[test]
fn wait_inside_no_switch_is_forbidden_to_that_greenlet_only() {
    sim(|| {
        let other = spawn(|| sleep(ms(1)));
        no_switch(|| {
            panics(yield_now);
        });
        other.join().unwrap();
    });
}

#[test]
fn no_switch_in_which_the_hub_is_made_ends_with_its_closure() {
    std::thread::spawn(|| {
        let g = no_switch(|| {
            panics(|| sleep(ms(1)));
            let g = spawn(|| 7); // makes the hub
            panics(yield_now);
            g
        });
        assert_eq!(g.join().unwrap(), 7, "waits are allowed again");
    })
    .join()
    .unwrap();
}

#[test]
fn run_inside_no_switch_panics_with_and_without_a_hub() {
    std::thread::spawn(|| {
        let refused = || catch_unwind(|| no_switch(|| run(|| ()))).is_err();
        assert!(refused());
        HubHandle::current();
        assert!(refused());
        sleep(ms(1));
    })
    .join()
    .unwrap();
}

// ---- waits while panicking ----

/// Runs `f` in a destructor of a greenlet that panics.
fn while_panicking<R: 'static>(f: impl FnOnce() -> R + 'static) -> R {
    let result = rc(RefCell::new(None));
    let g = spawn({
        let result = result.clone();
        move || {
            let mut f = Some(f);
            let _guard = on_drop(move || {
                assert!(std::thread::panicking());
                *result.borrow_mut() = Some(f.take().unwrap()());
            });
            panic!("on purpose");
        }
    });
    assert!(g.join().unwrap_err().to_string().ends_with("on purpose"));
    result.take().expect("the destructor came to its end")
}

#[test]
fn wait_while_panicking_says_no_where_its_type_can() {
    sim(|| {
        let event = rc(Event::new());
        let e = event.clone();
        assert!(!while_panicking(move || e.wait_timeout(LONG)));
        let r = AsyncResult::<u8>::new();
        assert!(while_panicking(move || r.wait_timeout(LONG).is_none()));
        let q = rc(Queue::bounded(1));
        q.put(1).unwrap();
        let full = q.clone();
        let back =
            while_panicking(move || [full.put(2), full.put_timeout(3, LONG), full.put_nowait(4)]);
        assert_eq!(
            back,
            [
                Err(PutError::Full(2)),
                Err(PutError::Full(3)),
                Err(PutError::Full(4))
            ]
        );
        let empty = Queue::<u8>::unbounded();
        assert_eq!(
            while_panicking(move || [empty.get(), empty.get_timeout(LONG), empty.get_nowait()]),
            [Err(GetError::Empty); 3]
        );
        let unfinished = q.clone();
        assert!(!while_panicking(move || unfinished.join_timeout(LONG)));
        let s = Semaphore::new(1);
        assert!(while_panicking(move || s
            .acquire_many_timeout(2, LONG)
            .is_none()));
        let s = Arc::new(Semaphore::new(0));
        assert!(while_panicking(move || {
            s.acquire_timeout(LONG).is_none() && s.acquire_owned_timeout(LONG).is_none()
        }));
        let g = spawn(|| sleep(LONG));
        let g = while_panicking(move || {
            assert!(!g.wait_timeout(LONG));
            g
        });
        g.kill();
        let e = event.clone();
        assert_eq!(
            while_panicking(move || wait_any_timeout(&[&*e], LONG)),
            None
        );
        let e = event.clone();
        assert!(!while_panicking(move || wait_all_timeout(&[&*e], LONG)));
        assert!(format!("{event:?}").contains("waiting: 0"));
        assert_eq!((q.len(), q.unfinished()), (1, 1));
    });
}

#[test]
fn wait_while_panicking_that_need_not_wait_works_as_ever() {
    sim(|| {
        let got = while_panicking(|| {
            let (event, q, s) = (Event::new(), Queue::bounded(1), Semaphore::new(1));
            event.set();
            event.wait();
            q.put(1).unwrap();
            let permit = s.acquire();
            drop(permit);
            assert!(!q.join_timeout(Duration::ZERO), "one item is not done");
            let r = AsyncResult::<u8>::new();
            r.set(2).unwrap();
            (q.get(), s.available(), *r.wait().unwrap())
        });
        assert_eq!(got, (Ok(1), 1, 2));
    });
}

#[test]
fn wait_while_panicking_never_lets_another_greenlet_run() {
    sim(|| {
        let ran = rc(Cell::new(false));
        let seen = while_panicking({
            let ran = ran.clone();
            move || {
                let other = spawn({
                    let ran = ran.clone();
                    move || ran.set(true)
                });
                yield_now();
                checkpoint();
                sleep(Duration::ZERO);
                sleep(ms(1)); // the thread sleeps
                let _ = other.wait_timeout(LONG);
                let _ = Event::new().wait_timeout(LONG);
                ran.get()
            }
        });
        assert!(!seen, "a switch in the middle of an unwind");
        yield_now();
        assert!(ran.get());
    });
}

#[test]
fn wake_while_panicking_always_works() {
    sim(|| {
        let (event, q, s) = (
            rc(Event::new()),
            rc(Queue::unbounded()),
            rc(Semaphore::new(0)),
        );
        let r = rc(AsyncResult::<u8>::new());
        let waiters = [
            spawn({
                let event = event.clone();
                move || {
                    event.wait();
                    0
                }
            }),
            spawn({
                let q = q.clone();
                move || q.get().unwrap()
            }),
            spawn({
                let s = s.clone();
                move || {
                    s.acquire().forget();
                    2
                }
            }),
            spawn({
                let r = r.clone();
                move || *r.wait().unwrap()
            }),
        ];
        yield_now();
        while_panicking(move || {
            event.set();
            q.put_nowait(1).unwrap();
            s.release();
            r.set(3).unwrap();
        });
        let all: Vec<u8> = join_all(waiters).into_iter().map(Result::unwrap).collect();
        assert_eq!(all, [0, 1, 2, 3]);
    });
}

#[test]
fn wait_while_panicking_on_a_thread_without_a_hub_just_blocks() {
    let event = Arc::new(Event::new());
    let result = std::thread::spawn({
        let event = event.clone();
        move || {
            let _guard = on_drop(|| {
                event.wait();
                assert!(!event.wait_timeout(Duration::ZERO) || event.is_set());
            });
            panic!("on purpose");
        }
    });
    event.set();
    let payload = result.join().unwrap_err();
    assert_eq!(text(&*payload), "on purpose");
}

#[test]
fn wait_while_panicking_does_not_raise_a_kill_or_an_expiry() {
    sim(|| {
        let said = rc(RefCell::new(None));
        let g = spawn({
            let said = said.clone();
            move || {
                timeout(ms(1), || {
                    let _guard = on_drop(|| {
                        let got = Queue::<u8>::unbounded().get_timeout(LONG);
                        *said.borrow_mut() = Some(got);
                        checkpoint();
                        yield_now();
                    });
                    shield(|| sleep(ms(5))); // the scope has fired by now
                    panic!("on purpose");
                })
            }
        });
        g.wait();
        assert!(
            g.error().unwrap().to_string().ends_with("on purpose"),
            "{g:?}"
        );
        assert_eq!(said.take(), Some(Err(GetError::Empty)));
    });
}

#[test]
fn wait_while_unwound_by_a_kill_says_no_too() {
    sim(|| {
        let q = rc(Queue::bounded(1));
        q.put(0).unwrap();
        let back = rc(RefCell::new(None));
        let g = spawn({
            let (q, back) = (q.clone(), back.clone());
            move || {
                let _guard = on_drop(|| *back.borrow_mut() = Some(q.put(7)));
                sleep(LONG);
            }
        });
        yield_now();
        g.kill();
        assert!(g.join().unwrap_err().is_killed());
        assert_eq!(back.take(), Some(Err(PutError::Full(7))));
        assert_eq!(q.len(), 1);
    });
}

// ---- kills ----

#[test]
fn kill_before_start_drops_the_closure_unrun_and_tells_everyone() {
    sim(|| {
        for delayed in [false, true] {
            let dropped_in = rc(RefCell::new(None));
            let token = on_drop({
                let dropped_in = dropped_in.clone();
                move || *dropped_in.borrow_mut() = Some(greenlet::current().is_greenlet())
            });
            let body = move || {
                let _token = token;
                unreachable!("killed before its start");
            };
            let start = now();
            let g: Greenlet<()> = if delayed {
                spawn_later(LONG, body)
            } else {
                spawn(body)
            };
            let linked = Arc::new(AtomicUsize::new(0));
            g.link({
                let linked = linked.clone();
                move |outcome| {
                    assert!(outcome.as_ref().unwrap_err().is_killed());
                    linked.fetch_add(1, SeqCst);
                }
            });
            g.kill();
            g.kill();
            assert!(g.join().unwrap_err().is_killed());
            assert_eq!(now(), start, "at once, whatever its delay");
            assert_eq!(linked.load(SeqCst), 1);
            assert_eq!(dropped_in.take(), Some(true), "on a greenlet's stack");
        }
    });
}

#[test]
fn kill_before_start_of_a_closure_whose_destructor_panics_or_waits_is_contained() {
    sim(|| {
        let bomb = on_drop(|| panic!("a capture's destructor"));
        let g = spawn(move || drop(bomb));
        g.kill();
        assert!(g.join().unwrap_err().is_killed());
        let waited = rc(Cell::new(false));
        let waiter = on_drop({
            let waited = waited.clone();
            move || {
                sleep(ms(5));
                waited.set(true);
            }
        });
        let g = spawn(move || drop(waiter));
        g.kill();
        assert!(g.join().unwrap_err().is_killed());
        assert!(waited.get());
    });
}

#[test]
fn kill_of_a_finished_greenlet_does_nothing() {
    sim(|| {
        let g = spawn(|| 5);
        g.wait();
        // Its record serves another by now: that one must not be hit.
        let next = spawn(|| {
            sleep(ms(1));
            6
        });
        yield_now();
        g.kill();
        kill_all([&g]);
        assert_eq!(next.join().unwrap(), 6);
        assert!(g.is_successful());
        assert_eq!(g.join().unwrap(), 5);
    });
}

#[test]
fn kill_of_oneself_acts_at_the_next_wait() {
    sim(|| {
        let slot = rc(RefCell::new(None::<Greenlet<u8>>));
        let reached = rc(Cell::new(0));
        let suicide = |waits: bool| {
            let g = spawn({
                let (slot, reached) = (slot.clone(), reached.clone());
                move || {
                    slot.borrow().as_ref().unwrap().kill();
                    reached.set(1);
                    if waits {
                        sleep(ms(1));
                        reached.set(2);
                    }
                    9
                }
            });
            *slot.borrow_mut() = Some(g);
            sleep(ms(10));
            slot.take().unwrap().join()
        };
        assert!(suicide(true).unwrap_err().is_killed());
        assert_eq!(reached.take(), 1);
        assert_eq!(suicide(false).unwrap(), 9, "finish wins");
    });
}

#[test]
fn kill_swallowed_by_catch_unwind_is_raised_again_at_the_next_wait() {
    sim(|| {
        let swallowed = rc(Cell::new(0));
        let g = spawn({
            let swallowed = swallowed.clone();
            move || {
                for _ in 0..3 {
                    assert!(catch_unwind(|| sleep(LONG)).is_err());
                    swallowed.set(swallowed.get() + 1);
                }
                for wait in [checkpoint as fn(), yield_now, || Event::new().wait()] {
                    assert!(catch_unwind(wait).is_err());
                    swallowed.set(swallowed.get() + 1);
                }
                sleep(LONG);
                unreachable!("the kill is sticky");
            }
        });
        let start = now();
        sleep(ms(1));
        g.kill();
        assert!(g.join().unwrap_err().is_killed());
        assert_eq!(swallowed.get(), 6);
        assert_eq!(now() - start, ms(1), "none of its waits waited");
    });
}

#[test]
fn kill_swallowed_by_catch_unwind_until_the_closure_returns_leaves_the_value() {
    sim(|| {
        let g = spawn(|| {
            assert!(catch_unwind(|| sleep(LONG)).is_err());
            5
        });
        yield_now();
        g.kill();
        assert_eq!(g.join().unwrap(), 5);
    });
}

#[test]
fn kill_and_kill_again_while_it_unwinds_ends_once() {
    sim(|| {
        let g = spawn(|| {
            finally(
                || sleep(LONG),
                || {
                    sleep(ms(5)); // shielded
                },
            );
        });
        yield_now();
        g.kill();
        yield_now();
        g.kill();
        assert!(!g.is_finished());
        assert!(g.join().unwrap_err().is_killed());
    });
}

#[test]
fn kill_of_a_waiter_that_was_given_something_does_not_lose_it() {
    sim(|| {
        let (q, s) = (rc(Queue::unbounded()), rc(Semaphore::new(0)));
        let got = rc(Cell::new(None));
        let getter = spawn({
            let (q, got) = (q.clone(), got.clone());
            move || {
                got.set(q.get().ok());
                sleep(LONG);
            }
        });
        let taker = spawn({
            let s = s.clone();
            move || {
                let _permit = s.acquire();
                sleep(LONG);
            }
        });
        yield_now();
        q.put(1).unwrap();
        s.release();
        getter.kill();
        taker.kill();
        assert!(getter.join().unwrap_err().is_killed());
        assert!(taker.join().unwrap_err().is_killed());
        assert_eq!(got.get(), Some(1));
        assert_eq!(s.available(), 1, "its destructor has returned the permit");
    });
}

// ---- panic payloads ----

/// Panics when it is dropped.
struct Bomb(&'static str);

impl Bomb {
    fn new(what: &'static str) -> Bomb {
        Bomb(what)
    }
}

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("{}", self.0);
    }
}

#[test]
fn panic_payload_that_panics_when_dropped_of_a_detached_greenlet_is_contained() {
    sim(|| {
        drop(spawn(|| panic_any(Bomb::new("detached"))));
        let other = spawn(|| {
            sleep(ms(1));
            5
        });
        assert_eq!(other.join().unwrap(), 5);
        assert_eq!(spawn(|| 6).join().unwrap(), 6);
    });
}

#[test]
fn panic_payload_that_panics_when_dropped_reaches_its_joiner_whole() {
    sim(|| {
        let g = spawn(|| panic_any(Bomb::new("joined")));
        let error = g.join().unwrap_err();
        assert!(error.is_panic());
        let payload = error.into_panic().unwrap();
        let bomb = payload.downcast::<Bomb>().ok().unwrap();
        assert_eq!(panics(|| drop(bomb)), "joined", "the joiner's from here on");
        assert_eq!(spawn(|| 6).join().unwrap(), 6);
    });
}

#[test]
fn panic_payload_that_panics_when_dropped_of_a_second_child_of_a_scope_is_contained() {
    sim(|| {
        let said = panics(|| {
            scope(|s| {
                s.spawn(|| panic!("the first"));
                for _ in 0..3 {
                    s.spawn(|| {
                        let _ = catch_unwind(|| sleep(LONG));
                        panic_any(Bomb::new("a sibling's"));
                    });
                }
            })
        });
        assert_eq!(said, "the first");
        assert_eq!(spawn(|| 6).join().unwrap(), 6);
    });
}

#[test]
fn panic_payload_that_panics_when_dropped_in_finally_gives_way_to_the_cleanup_s() {
    sim(|| {
        let g = spawn(|| {
            finally(
                || panic_any(Bomb::new("the body's")),
                || panic!("the cleanup's"),
            );
        });
        let error = g.join().unwrap_err();
        assert!(error.to_string().ends_with("the cleanup's"), "{error}");
    });
}

#[test]
fn value_that_panics_when_dropped_of_a_detached_greenlet_is_contained() {
    sim(|| {
        drop(spawn(|| Bomb::new("a value")));
        assert_eq!(spawn(|| 6).join().unwrap(), 6);
        let g = spawn(|| Bomb::new("a value"));
        g.wait();
        assert_eq!(panics(|| drop(g)), "a value");
        assert_eq!(spawn(|| 6).join().unwrap(), 6);
    });
}

// ---- deadlines ----

#[test]
fn sleep_of_duration_max_never_ends_by_itself() {
    sim(|| {
        let g = spawn(|| sleep(Duration::MAX));
        sleep(Duration::from_secs(1 << 30));
        assert!(!g.is_finished());
        g.kill();
        assert!(g.join().unwrap_err().is_killed());
        let late = timeout(ms(1), || sleep(Duration::MAX));
        assert_eq!(late, Err(Elapsed));
    });
}

#[test]
fn sleep_of_duration_max_with_nothing_else_is_a_deadlock() {
    let said = panics(|| sim(|| sleep(Duration::MAX)));
    assert!(
        said.contains("deadlock") && said.contains("sleep"),
        "{said}"
    );
}

#[test]
fn deadlines_that_overflow_are_never() {
    sim(|| {
        let far = [
            Duration::MAX,
            Duration::MAX - ms(1),
            Duration::from_secs(u64::MAX / 2),
        ];
        for d in far {
            let (event, q, s) = (
                rc(Event::new()),
                rc(Queue::unbounded()),
                rc(Semaphore::new(0)),
            );
            let r = rc(AsyncResult::<u8>::new());
            let waiters = [
                spawn({
                    let event = event.clone();
                    move || event.wait_timeout(d)
                }),
                spawn({
                    let q = q.clone();
                    move || q.get_timeout(d) == Ok(1)
                }),
                spawn({
                    let s = s.clone();
                    move || s.acquire_timeout(d).is_some()
                }),
                spawn({
                    let r = r.clone();
                    move || r.wait_timeout(d).is_some()
                }),
                spawn({
                    let event = event.clone();
                    move || wait_any_timeout(&[&*event], d) == Some(0)
                }),
                spawn({
                    let event = event.clone();
                    move || wait_all_timeout(&[&*event], d)
                }),
                spawn({
                    let event = event.clone();
                    move || timeout(d, || event.wait()).is_ok()
                }),
                spawn({
                    let event = event.clone();
                    move || {
                        Timeout::after(ms(1))
                            .run(|t| {
                                t.reset(d);
                                event.wait();
                                t.is_pending()
                            })
                            .is_ok_and(|pending| pending)
                    }
                }),
            ];
            sleep(LONG);
            assert!(
                waiters.iter().all(|w| !w.is_finished()),
                "{d:?} is not over"
            );
            event.set();
            q.put(1).unwrap();
            s.release();
            r.set(1).unwrap();
            let all = join_all(waiters);
            assert!(all.into_iter().all(Result::unwrap));
        }
    });
}

#[test]
fn deadlines_that_overflow_in_spawn_later_never_start_but_can_be_killed() {
    sim(|| {
        let g = spawn_later(Duration::MAX, || unreachable!("never") as ());
        sleep(LONG);
        assert!(!g.is_finished());
        g.kill();
        assert!(g.join().unwrap_err().is_killed());
    });
}

#[test]
fn deadlines_that_have_passed_expire_at_the_first_wait() {
    sim(|| {
        let past = now();
        sleep(ms(5));
        assert_eq!(Timeout::at(past).run(|_| sleep(LONG)), Err(Elapsed));
        assert_eq!(Timeout::at(past).run(|_| 5), Ok(5), "which never waited");
    });
}

#[test]
fn deadlines_that_overflow_on_a_thread_without_a_hub_are_never() {
    let event = Arc::new(Event::new());
    let waiter = std::thread::spawn({
        let event = event.clone();
        move || {
            let set = timeout(Duration::MAX, || event.wait_timeout(Duration::MAX));
            assert!(set.unwrap());
            let fixed = wait_all_timeout(&[&*event], Duration::MAX);
            assert!(fixed);
        }
    });
    event.set();
    waiter.join().unwrap();
}

#[test]
fn timeout_of_zero_on_a_thread_without_a_hub_expires_at_the_first_wait() {
    std::thread::spawn(|| {
        let never = Event::new();
        assert_eq!(timeout(Duration::ZERO, || never.wait()), Err(Elapsed));
        assert_eq!(timeout(Duration::ZERO, || 5), Ok(5));
        assert!(!never.wait_timeout(Duration::ZERO));
    })
    .join()
    .unwrap();
}

/// Bounded by two seconds of real time, which only the failing case uses up.
#[test]
fn timeout_around_a_loop_that_only_yields_on_a_thread_without_a_hub_expires() {
    for step in [yield_now as fn(), checkpoint, || sleep(Duration::ZERO)] {
        let result = std::thread::spawn(move || {
            timeout(ms(1), || {
                let begin = Instant::now();
                while begin.elapsed() < Duration::from_secs(2) {
                    step();
                }
            })
        });
        assert_eq!(result.join().unwrap(), Err(Elapsed));
    }
}

// ---- deadlocks in a Simulation ----

#[test]
fn deadlock_in_a_simulation_lists_who_waits_for_what_where_and_since_when() {
    let line = Cell::new(0);
    let said = panics(|| {
        sim(|| {
            let event = rc(Event::new());
            let spawn_line = rc(Cell::new(0));
            let g = Builder::new()
                .name("stuck")
                .spawn({
                    let (event, spawn_line) = (event.clone(), spawn_line.clone());
                    move || {
                        spawn_line.set(line!() + 1);
                        event.wait();
                    }
                })
                .unwrap();
            let id = g.id();
            sleep(Duration::from_secs(3));
            line.set(line!() + 1);
            let said = panics(|| g.wait());
            let stuck = format!(
                "#{id} 'stuck': waits in Event::wait at {}:{}:",
                file!(),
                spawn_line.get()
            );
            let found = said.lines().find(|l| l.contains(&stuck));
            assert!(
                found.is_some_and(|l| l.contains(" for 3s; spawned at ")),
                "{said}\nlacks {stuck}"
            );
            // It is a panic like others: the program may go on, and nothing was lost.
            event.set();
            g.wait();
            assert!(g.is_successful());
            Semaphore::new(0).acquire().forget();
        })
    });
    assert!(
        said.contains("deadlock") && said.contains("Semaphore::acquire"),
        "{said}"
    );
}

#[test]
fn deadlock_at_the_end_of_a_scope_kills_the_children_and_then_panics() {
    sim(|| {
        let never = Event::new();
        let unwound = Cell::new(0);
        let said = panics(|| {
            scope(|s| {
                for _ in 0..2 {
                    s.spawn(|| {
                        let _guard = on_drop(|| unwound.set(unwound.get() + 1));
                        never.wait();
                    });
                }
            })
        });
        assert!(
            said.contains("deadlock") && said.contains("Event::wait"),
            "{said}"
        );
        assert_eq!(unwound.get(), 2);
    });
}

#[test]
fn deadlock_of_a_greenlet_that_waits_for_the_root_is_none_while_the_root_runs() {
    sim(|| {
        let event = rc(Event::new());
        let g = spawn({
            let event = event.clone();
            move || event.wait()
        });
        for _ in 0..3 {
            sleep(LONG); // a timer is pending: no deadlock
        }
        yield_now();
        event.set();
        assert_eq!(wait_any(&[&g]), 0);
    });
}

// ---- handles in other hands ----

#[test]
fn timeout_handle_used_by_a_child_does_not_touch_the_child_s_own_timeout() {
    sim(|| {
        let never = Event::new();
        let outer = Timeout::after(Duration::from_secs(50)).run(|outer| {
            scope(|s| {
                let child = s.spawn(|| {
                    let start = now();
                    let mut results = vec![];
                    // Several, so that one has the number of the outer scope whatever the numbering.
                    for _ in 0..4 {
                        results.push(timeout(ms(10), || {
                            // Either it means the outer scope, or it is refused: never the child's.
                            let _ = catch_unwind(AssertUnwindSafe(|| outer.cancel()));
                            never.wait_timeout(Duration::from_secs(1))
                        }));
                    }
                    (results, (now() - start).as_millis())
                });
                child.join().unwrap()
            })
        });
        assert_eq!(outer, Ok((vec![Err(Elapsed); 4], 40)));
    });
}

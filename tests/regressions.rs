//! Each test is named after what broke once.

use greenlet::sync::{Event, Mutex, PriorityQueue, Queue, Semaphore};
use greenlet::testing::Simulation;
use greenlet::{
    Greenlet, HubHandle, HubThread, JoinError, Local, Timeout, TimeoutHandle, finally, join_all,
    run, scope, sleep, spawn, spawn_later, timeout, wait_all_timeout, wait_any, yield_now,
};
use std::cell::{Cell, RefCell};
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::mpsc;
use std::task::{Context, Wake, Waker};
use std::thread;
use std::time::Duration;

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// Runs a closure when it is dropped.
struct OnDrop<F: FnMut()>(F);

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

/// A refused closure's destructor ran on a hub that was being freed, and freed it
/// a first time by `run`.
#[test]
fn a_closure_refused_at_the_threads_end_runs_a_hub_of_its_own() {
    let (handle_to, handle) = mpsc::channel();
    let (go, gone) = mpsc::channel::<()>();
    let ending = thread::spawn(move || {
        handle_to.send(HubHandle::current()).unwrap();
        gone.recv().unwrap();
    });
    let handle = handle.recv().unwrap();
    let ran = Arc::new(AtomicBool::new(false));
    let on_drop = OnDrop({
        let ran = ran.clone();
        move || ran.store(run(|| true), SeqCst)
    });
    let refused = handle.spawn(move || drop(on_drop));
    go.send(()).unwrap();
    ending.join().unwrap();
    assert!(matches!(
        refused.join(),
        Err(greenlet::JoinError::HubClosed)
    ));
    assert!(ran.load(SeqCst));
}

/// Values that a link, a result's destructor or an unrun body's destructor set were
/// found by the next greenlet on the same record.
#[test]
fn locals_set_after_the_body_do_not_reach_the_next_greenlet() {
    static REQUEST: Local<u32> = Local::new();
    Simulation::new().run(|| {
        let seen = || spawn(|| REQUEST.get()).join().unwrap();
        drop(spawn(|| OnDrop(|| assert_eq!(REQUEST.set(42), None))));
        yield_now();
        assert_eq!(seen(), None);
        let g = spawn(|| ());
        g.link(|_| assert_eq!(REQUEST.set(7), None));
        g.wait();
        assert_eq!(seen(), None);
        let body = OnDrop(|| assert_eq!(REQUEST.set(9), None));
        let g = spawn(move || drop(body));
        g.kill();
        g.wait();
        assert_eq!(seen(), None);
    });
}

/// The destructor of the item of an interrupted put cancelled the timeout that had
/// interrupted it, and the wait had no reason to end.
#[test]
fn an_items_destructor_may_cancel_the_timeout_that_ends_its_put() {
    struct Item<'a>(&'a TimeoutHandle);
    impl Drop for Item<'_> {
        fn drop(&mut self) {
            self.0.cancel();
        }
    }
    Simulation::new().run(|| {
        let late = Timeout::after(ms(5)).run(|t| {
            let _ = Queue::rendezvous().put(Item(t));
        });
        assert!(late.is_err());
    });
}

/// While the destructor of the deadlocked root's item slept, another greenlet's
/// timeout was given the root's report.
#[test]
fn a_deadlock_report_goes_to_the_root_alone() {
    Simulation::new().run(|| {
        let event = Rc::new(Event::new());
        let other = spawn({
            let event = event.clone();
            move || {
                event.wait();
                timeout(ms(1), || Event::new().wait())
            }
        });
        let item = OnDrop(move || {
            event.set();
            sleep(ms(5));
        });
        let queue = Queue::rendezvous();
        let report = catch_unwind(AssertUnwindSafe(|| queue.put(item)))
            .err()
            .unwrap();
        assert!(report.downcast::<String>().unwrap().starts_with("deadlock"));
        assert!(other.join().unwrap().is_err(), "an ordinary expiry");
    });
}

/// A handle used by a scoped greenlet acted on that greenlet's frame of the same
/// number.
#[test]
fn a_timeout_handle_acts_on_its_own_scope_whoever_uses_it() {
    Simulation::new().run(|| {
        let cancelled = Timeout::after(ms(20)).run(|t| {
            scope(|s| {
                let child = s.spawn(|| {
                    timeout(ms(5), || {
                        t.cancel();
                        sleep(ms(30));
                    })
                });
                assert!(
                    child.join().unwrap().is_err(),
                    "the child's own still fires"
                );
            });
            sleep(ms(30));
        });
        assert_eq!(cancelled, Ok(()));
        let late = Timeout::after(ms(9000)).run(|t| {
            scope(|s| {
                s.spawn(|| {
                    scope(|_| t.reset(ms(1)));
                    sleep(ms(50));
                });
            });
        });
        assert!(late.is_err());
    });
}

/// A mere observer of a child swallowed its panic.
#[test]
fn a_childs_panic_comes_out_of_the_scope_if_others_only_watch() {
    Simulation::new().run(|| {
        let watched = catch_unwind(AssertUnwindSafe(|| {
            scope(|s| {
                let g = s.spawn(|| panic!("seen"));
                wait_any(&[&g]);
            });
        }));
        assert_eq!(watched.unwrap_err().downcast_ref(), Some(&"seen"));
        let timed = catch_unwind(AssertUnwindSafe(|| {
            scope(|s| {
                let g = s.spawn(|| {
                    sleep(ms(5));
                    panic!("seen");
                });
                let _ = g.wait_timeout(ms(5));
                sleep(ms(50));
            });
        }));
        assert_eq!(timed.unwrap_err().downcast_ref(), Some(&"seen"));
    });
}

/// A greenlet of a simulation on a thread of its own waits; `meanwhile` runs on this one. Whoever wakes it is not
/// troubled by it: the panic is the simulation's, at its end.
fn intrude(wait: impl FnOnce() + Send + 'static, meanwhile: impl FnOnce()) {
    let (waiting, waits) = mpsc::channel();
    let (end, ended) = mpsc::channel::<()>();
    let simulation = thread::spawn(move || {
        Simulation::new().run(|| {
            let waiter = spawn(wait);
            yield_now();
            waiting.send(()).unwrap();
            ended.recv().unwrap();
            waiter.kill();
        });
    });
    waits.recv().unwrap();
    meanwhile();
    end.send(()).unwrap();
    let payload = simulation.join().expect_err("it must not go by unnoticed");
    let message = payload.downcast_ref::<&str>().unwrap();
    assert!(message.contains("from another thread"), "{message}");
}

fn waiting(object: &impl std::fmt::Debug, n: usize) {
    while !format!("{object:?}").contains(&format!("waiting: {n} ")) {
        thread::yield_now();
    }
}

/// The first wake of a broadcast went to a simulation and panicked; the waiters behind it, in that batch and in those
/// after it, were never woken.
#[test]
fn waking_a_simulation_does_not_cost_others_their_wake() {
    const GREENLETS: usize = 100;
    let event = Arc::new(Event::new());
    let simulated = event.clone();
    intrude(
        move || simulated.wait(),
        || {
            let hub = thread::spawn({
                let event = event.clone();
                move || {
                    let wait = |event: Arc<Event>| {
                        spawn(move || event.wait_timeout(Duration::from_secs(5)))
                    };
                    let all: Vec<_> = (0..GREENLETS).map(|_| wait(event.clone())).collect();
                    let woken = join_all(all).into_iter();
                    woken.filter(|o| matches!(o, Ok(true))).count()
                }
            });
            waiting(&event, GREENLETS + 1);
            event.set();
            assert_eq!(hub.join().unwrap(), GREENLETS);
        },
    );
}

/// An acquire that found waiters behind a dead head to be served, one of them simulated, unwound with its node linked:
/// a dangling node in safe code.
#[test]
fn waking_a_simulation_does_not_unwind_out_of_a_wait() {
    let permits = Arc::new(Semaphore::new(1));
    let (end, ended) = mpsc::channel::<()>();
    let head = thread::spawn({
        let permits = permits.clone();
        move || {
            drop(spawn(move || permits.acquire_many(2).forget()));
            yield_now();
            ended.recv().unwrap();
        }
    });
    waiting(&permits, 1);
    let simulated = permits.clone();
    intrude(
        move || simulated.acquire().forget(),
        || {
            end.send(()).unwrap();
            head.join().unwrap();
            assert!(permits.acquire_many_timeout(2, ms(1)).is_none());
            waiting(&permits, 0);
            permits.release();
            assert_eq!(permits.available(), 1);
        },
    );
}

/// A permit that is dropped by a panic and goes to a simulation panicked once more, which aborts; so did the end of a
/// greenlet whose joiner is simulated.
#[test]
fn waking_a_simulation_while_panicking_is_no_reason_to_abort() {
    let permits = Arc::new(Semaphore::new(1));
    let (permit, simulated) = (permits.acquire_owned(), permits.clone());
    intrude(
        move || simulated.acquire().forget(),
        || {
            let panicking = catch_unwind(AssertUnwindSafe(move || {
                let _permit = permit;
                panic!("ordinary");
            }));
            assert!(panicking.is_err());
        },
    );
    let hub = HubThread::start("other").unwrap();
    let (go, wait) = mpsc::channel::<()>();
    let g = hub.handle().spawn(move || wait.recv().is_ok());
    intrude(
        move || assert!(g.join().is_ok()),
        || {
            go.send(()).unwrap();
            // It serves on.
            assert_eq!(hub.handle().spawn(|| 7).join().unwrap(), 7);
        },
    );
    hub.stop();
    hub.join().unwrap();
}

/// Its destructor made a hub and left it there, and the ending hub's idle workers took that for theirs: an abort.
#[test]
fn a_refused_closure_leaves_no_hub_behind_at_the_threads_end() {
    let (to, from) = mpsc::channel();
    let (go, gone) = mpsc::channel::<()>();
    let ending = thread::spawn(move || {
        spawn(|| ()).join().unwrap();
        to.send(HubHandle::current()).unwrap();
        gone.recv().unwrap();
    });
    let handle = from.recv().unwrap();
    let (left, leaves) = mpsc::channel();
    let on_drop = OnDrop(move || {
        scope(|s| assert!(s.spawn(|| ()).join().is_ok()));
        left.send(greenlet::statistics()).unwrap();
    });
    let refused = handle.spawn(move || drop(on_drop));
    go.send(()).unwrap();
    ending.join().unwrap();
    assert!(matches!(refused.join(), Err(JoinError::HubClosed)));
    assert_eq!(leaves.recv().unwrap(), None, "a hub was left behind");
}

/// The time limits went to the hub that a waker had made in the middle of the thread's own wait.
#[test]
fn a_limit_fires_on_a_thread_whose_hub_a_waker_makes() {
    struct Spawns;
    impl Wake for Spawns {
        fn wake(self: Arc<Self>) {
            drop(spawn(|| ()));
        }
    }
    let queue = Arc::new(Queue::bounded(1));
    let put = thread::spawn({
        let queue = queue.clone();
        move || {
            let mut get = pin!(queue.get_async());
            let waker = Waker::from(Arc::new(Spawns));
            assert!(
                get.as_mut()
                    .poll(&mut Context::from_waker(&waker))
                    .is_pending()
            );
            // One is the future's, one has room, and one has to wait.
            let put = timeout(Duration::from_millis(20), || queue.put_many([1, 2, 3]));
            put.is_err()
        }
    });
    let (over, is_over) = mpsc::channel::<()>();
    let helper = thread::spawn(move || {
        if is_over.recv_timeout(Duration::from_secs(5)).is_err() {
            let _ = queue.drain();
        }
    });
    assert!(put.join().unwrap(), "it has waited without a limit");
    let _ = over.send(());
    helper.join().unwrap();
}

/// The same, but the waker ends the thread's wait, too.
#[test]
fn a_thread_that_a_waker_wakes_and_gives_its_hub() {
    struct SpawnsAndGets(Arc<Queue<u8>>);
    impl Wake for SpawnsAndGets {
        fn wake(self: Arc<Self>) {
            drop(spawn(|| ()));
            assert_eq!(self.0.get_nowait(), Ok(2));
        }
    }
    let thread = thread::spawn(|| {
        let queue = Arc::new(Queue::bounded(1));
        let mut get = pin!(queue.get_async());
        let waker = Waker::from(Arc::new(SpawnsAndGets(queue.clone())));
        let mut context = Context::from_waker(&waker);
        assert!(get.as_mut().poll(&mut context).is_pending());
        // The third one is put when the waker takes the second.
        timeout(Duration::from_secs(5), || queue.put_many([1, 2, 3]))
            .unwrap()
            .unwrap();
        assert_eq!(queue.get_nowait(), Ok(3));
    });
    thread.join().unwrap();
}

/// By a greenlet of that hub, when it is ending: the closure was leaked, though nothing forbids its destructor there.
#[test]
fn a_closure_that_an_ending_hub_refuses_its_own_greenlet_is_dropped() {
    let dropped = Rc::new(Cell::new(0));
    let count = dropped.clone();
    let (to, from) = mpsc::channel();
    greenlet::run(move || {
        spawn(move || {
            let _at_end = OnDrop(move || {
                let to = to.clone();
                let held = OnDrop(move || to.send(()).unwrap());
                let refused = HubHandle::current().spawn(move || drop(held));
                assert!(refused.join().unwrap_err().is_killed());
                count.set(count.get() + 1);
            });
            sleep(Duration::from_secs(99));
        });
        yield_now();
    });
    assert_eq!((dropped.get(), from.try_iter().count()), (1, 1));
}

/// The refused closure's destructor waited for a greenlet of the thread that was ending, which nobody would run.
#[test]
fn a_refused_closure_that_joins_a_greenlet_of_the_ending_thread_is_told_its_end() {
    let (to, from) = mpsc::channel();
    let (go, gone) = mpsc::channel::<()>();
    let ending = thread::spawn(move || {
        let g = spawn(|| Event::new().wait());
        yield_now();
        to.send((HubHandle::current(), g)).unwrap();
        gone.recv().unwrap();
    });
    let (handle, g) = from.recv().unwrap();
    let (told, tells) = mpsc::channel();
    let on_drop = OnDrop(move || {
        let _ = told.send(g.wait_timeout(Duration::from_secs(10)));
    });
    let refused = handle.spawn(move || drop(on_drop));
    go.send(()).unwrap();
    ending.join().unwrap();
    assert!(refused.join().is_err());
    assert!(tells.recv().unwrap(), "nobody told it");
}

/// A local's destructor waited when the thread ended: the joiners were never told.
#[test]
fn a_thread_that_ends_while_a_locals_destructor_waits_tells_the_joiners() {
    struct Waits;
    impl Drop for Waits {
        fn drop(&mut self) {
            Event::new().wait();
        }
    }
    static WAITS: Local<Waits> = Local::new();
    let g = thread::spawn(|| {
        let g = spawn(|| drop(WAITS.set(Waits)));
        yield_now();
        g
    });
    let g = g.join().unwrap();
    assert!(g.wait_timeout(Duration::from_secs(10)), "nobody tells it");
    assert!(matches!(g.join(), Err(JoinError::HubClosed)));
}

/// A hub made while the thread's locals were torn down was never closed: a live handle to a dead thread.
#[test]
fn a_hub_made_at_the_very_end_of_a_thread_is_closed() {
    struct Late(mpsc::Sender<(HubHandle, HubHandle)>);
    impl Drop for Late {
        fn drop(&mut self) {
            let here = HubHandle::current();
            let inside = scope(|s| {
                assert!(s.spawn(|| ()).join().is_ok());
                HubHandle::current()
            });
            self.0.send((here, inside)).unwrap();
        }
    }
    thread_local! {
        static LATE: RefCell<Option<Late>> = const { RefCell::new(None) };
    }
    let (to, from) = mpsc::channel();
    let thread = thread::spawn(move || {
        LATE.set(Some(Late(to)));
        spawn(|| ()).join().unwrap();
    });
    thread.join().unwrap();
    let (here, inside) = from.recv().unwrap();
    assert!(here.is_closed() && inside.is_closed());
    assert!(matches!(
        here.spawn(|| ()).join(),
        Err(JoinError::HubClosed)
    ));
}

/// The body's value was dropped while its thread was panicking with the child's panic, or the cleanup's.
#[test]
fn a_value_that_a_scope_or_finally_cannot_return_may_wait_when_it_is_dropped() {
    Simulation::new().run(|| {
        let waited = Cell::new(0);
        let value = || {
            OnDrop(|| {
                spawn(|| ()).wait();
                waited.set(waited.get() + 1);
            })
        };
        let scoped = catch_unwind(AssertUnwindSafe(|| {
            scope(|s| {
                s.spawn(|| panic!("child"));
                value()
            })
        }));
        assert!(scoped.is_err());
        let cleaned = catch_unwind(AssertUnwindSafe(|| finally(value, || panic!("cleanup"))));
        assert!(cleaned.is_err());
        assert_eq!(waited.get(), 2);
    });
}

/// A limit too long for the clock was taken for none, and a wait without a limit cannot say no.
#[test]
fn wait_all_with_an_endless_limit_says_no_while_panicking() {
    run(|| {
        let said = Rc::new(Cell::new(None));
        let g = spawn({
            let said = said.clone();
            move || {
                let _says =
                    OnDrop(|| said.set(Some(wait_all_timeout(&[&Event::new()], Duration::MAX))));
                panic!("on purpose");
            }
        });
        assert!(g.join().is_err());
        assert_eq!(said.get(), Some(false));
    });
}

/// While a thread's locals were torn down each look found another thread record.
#[test]
fn queues_with_foreign_code_work_in_a_thread_locals_destructor() {
    static QUEUE: PriorityQueue<u32> = PriorityQueue::unbounded();
    thread_local! {
        static LAST: OnDrop<fn()> = const { OnDrop(|| QUEUE.put_nowait(1).unwrap()) };
    }
    thread::spawn(|| {
        LAST.with(|_| ());
        yield_now();
        QUEUE.put_nowait(2).unwrap();
    })
    .join()
    .unwrap();
    assert_eq!(QUEUE.try_iter().collect::<Vec<_>>(), [1, 2]);
}

/// A greenlet spawned after the thread's hub had ended was never told so.
#[test]
fn a_spawn_after_the_end_of_the_threads_hub_is_refused() {
    type Late = OnDrop<Box<dyn FnMut()>>;
    thread_local! {
        static LATE: RefCell<Option<Late>> = const { RefCell::new(None) };
    }
    let (to, handle) = mpsc::channel::<Greenlet<u8>>();
    thread::spawn(move || {
        // Registered before the hub, so torn down after it.
        LATE.with(|late| {
            let spawner = Box::new(move || drop(to.send(spawn(|| 7u8))));
            *late.borrow_mut() = Some(OnDrop(spawner));
        });
        spawn(|| ()).join().unwrap();
    })
    .join()
    .unwrap();
    let refused = handle.recv().unwrap().join();
    assert!(matches!(refused, Err(greenlet::JoinError::HubClosed)));
}

/// A chain of starts at the same instant put a limit off for as long as it lasted.
#[test]
fn a_limit_is_put_off_for_one_turn_at_most() {
    fn tick(count: Rc<Cell<u32>>) {
        count.set(count.get() + 1);
        if count.get() < 1000 {
            spawn_later(Duration::ZERO, move || tick(count));
        }
    }
    Simulation::new().run(|| {
        let count = Rc::new(Cell::new(0));
        spawn({
            let count = count.clone();
            move || {
                sleep(ms(1));
                tick(count);
            }
        });
        assert!(timeout(ms(1), || Event::new().wait()).is_err());
        assert!(count.get() < 10, "{}", count.get());
    });
}

/// While another thread held the lock, `try_acquire` said no to free permits.
#[test]
fn try_acquire_finds_a_free_permit_while_others_hold_the_lock() {
    let semaphore = Arc::new(Semaphore::new(1));
    let stop = Arc::new(AtomicBool::new(false));
    let looker = thread::spawn({
        let (semaphore, stop) = (semaphore.clone(), stop.clone());
        move || {
            while !stop.load(SeqCst) {
                assert!(!format!("{semaphore:?}").is_empty());
            }
        }
    });
    let refused = (0..100_000)
        .filter(|_| semaphore.try_acquire().is_none())
        .count();
    stop.store(true, SeqCst);
    looker.join().unwrap();
    assert_eq!(refused, 0);
}

/// A `run` that ended while a wake from another thread was under way waited for it
/// for ever, because the inbox refused wakes with the mail.
#[test]
fn wakes_from_other_threads_arrive_while_run_ends() {
    for _ in 0..200 {
        let event = Arc::new(Event::new());
        let setter = thread::spawn({
            let event = event.clone();
            move || event.set()
        });
        run(|| {
            let waiter = event.clone();
            spawn(move || waiter.wait());
            yield_now();
        });
        setter.join().unwrap();
    }
}

/// Its wait was ended already when the reason for it was taken back.
#[test]
fn a_scope_that_has_ended_its_wait_expires_although_it_is_reset_or_cancelled() {
    for cancel in [false, true] {
        Simulation::new().run(|| {
            let result = Timeout::after(ms(10)).run(|t| {
                scope(|s| {
                    s.spawn(|| {
                        sleep(ms(10));
                        // It is ahead of the body in the ready queue.
                        while t.is_pending() {
                            yield_now();
                        }
                        match cancel {
                            true => t.cancel(),
                            false => t.reset(ms(500)),
                        }
                        assert!(!t.is_pending());
                    });
                    sleep(ms(50));
                });
            });
            assert!(result.is_err(), "cancel: {cancel}");
        });
    }
}

/// The joiner's wait was ended before the child failed, and it ran after: nobody took the panic.
#[test]
fn a_childs_panic_comes_out_of_the_scope_if_its_join_is_cut_short() {
    let scoped = |end: fn(&Greenlet<()>)| {
        Simulation::new().run(|| {
            let event = Event::new();
            let sibling_ended = Cell::new(false);
            let result = catch_unwind(AssertUnwindSafe(|| {
                scope(|s| {
                    let failing = s.spawn(|| {
                        event.wait();
                        panic!("the child's own");
                    });
                    let joiner = s.spawn(move || drop(timeout(ms(5), || failing.join())));
                    let _sibling = s.spawn(|| {
                        let _ended = OnDrop(|| sibling_ended.set(true));
                        Event::new().wait();
                    });
                    yield_now();
                    event.set();
                    end(&joiner);
                    joiner.wait();
                });
            }));
            let payload = result.expect_err("the panic comes out of the scope");
            assert_eq!(payload.downcast_ref(), Some(&"the child's own"));
            assert!(sibling_ended.get());
        });
    };
    scoped(|joiner| joiner.kill());
}

/// The scope takes the payload away to raise it; the message stays.
#[test]
fn the_message_of_a_childs_panic_is_told_to_links_and_later_joiners() {
    let told = Arc::new(std::sync::Mutex::new(Vec::new()));
    Simulation::new().run(|| {
        let raised = catch_unwind(AssertUnwindSafe(|| {
            scope(|s| {
                let child = greenlet::Builder::new().name("kid");
                let child = s
                    .spawn_with(child, || panic!("boom {}", std::hint::black_box(0)))
                    .unwrap();
                let link = told.clone();
                child.link(move |outcome: &Result<(), _>| {
                    link.lock()
                        .unwrap()
                        .push(outcome.as_ref().unwrap_err().to_string());
                });
                // Not a join: the panic is the scope's.
                let _ = catch_unwind(AssertUnwindSafe(|| child.wait()));
                let error = child.error().unwrap().to_string();
                told.lock().unwrap().push(error);
                let payload = child.join().unwrap_err().into_panic().unwrap();
                let payload = payload.downcast::<String>().unwrap();
                told.lock().unwrap().push(*payload);
            });
        }));
        assert_eq!(
            raised.unwrap_err().downcast_ref(),
            Some(&"boom 0".to_owned())
        );
    });
    let told = told.lock().unwrap();
    let whole = "greenlet 'kid' panicked: boom 0";
    assert_eq!(*told, [whole, whole, "boom 0"]);
}

/// A pending kill was raised, and a yield tried, inside a closure that must not switch.
#[test]
fn checkpoint_does_nothing_where_no_switch_is_allowed() {
    Simulation::new().run(|| {
        let g = spawn(|| {
            let me = greenlet::current().id();
            greenlet::no_switch(|| (0..1000).for_each(|_| greenlet::checkpoint()));
            me
        });
        assert!(g.join().is_ok());
        let reached = Rc::new(Cell::new(false));
        let killed = Rc::new(Cell::new(None::<Greenlet<()>>));
        let (handle, ran) = (killed.clone(), reached.clone());
        killed.set(Some(spawn(move || {
            handle.take().unwrap().kill();
            greenlet::no_switch(|| {
                greenlet::checkpoint();
                ran.set(true);
            });
            greenlet::checkpoint();
            panic!("the kill is raised there");
        })));
        yield_now();
        assert!(reached.get());
    });
}

/// A scope whose expiry had ended a wait, which then raised something that goes before it, could
/// never be reset again.
#[test]
fn a_scope_can_be_reset_after_its_wait_has_raised_a_kill_or_an_outer_scopes_expiry() {
    let swallow = || assert!(catch_unwind(AssertUnwindSafe(|| sleep(ms(50)))).is_err());
    Simulation::new().run(|| {
        let victim = Rc::new(RefCell::new(None::<Greenlet<bool>>));
        let killer = spawn({
            let victim = victim.clone();
            move || {
                // Its limit expires with the victim's, and before it: it runs first.
                timeout(ms(10), || Event::new().wait()).unwrap_err();
                victim.borrow().as_ref().unwrap().kill();
            }
        });
        *victim.borrow_mut() = Some(spawn(move || {
            let reset = Timeout::after(ms(10)).run(|t| {
                swallow();
                let fired = !t.is_pending();
                t.reset(ms(5));
                fired && t.is_pending()
            });
            reset.unwrap()
        }));
        killer.join().unwrap();
        assert!(victim.take().unwrap().join().unwrap());
    });
    Simulation::new().run(|| {
        let outer = Timeout::after(ms(5)).run(|outer| {
            let inner = Timeout::after(ms(10)).run(|inner| {
                // It expires with the inner one, and after it.
                outer.reset(ms(10));
                swallow();
                assert!(!outer.is_pending() && !inner.is_pending());
                inner.reset(ms(5));
                assert!(inner.is_pending());
                sleep(ms(4));
            });
            assert!(inner.is_ok());
        });
        assert!(outer.is_err(), "it was raised, and swallowed");
    });
}

/// A thread without a hub that was panicking left a select, which served a future in line
/// behind it; the waker's own wait used the thread's word while other arms were still in their
/// lines, so that one of these ended it: a mutex that somebody held was locked twice.
#[test]
fn a_waker_called_by_a_panicking_thread_does_not_wait_in_its_word() {
    struct TriesToLock {
        mutex: Arc<Mutex<()>>,
        late: Arc<Event>,
        tried: mpsc::Sender<bool>,
    }
    impl Wake for TriesToLock {
        fn wake(self: Arc<Self>) {
            let late = self.late.clone();
            let setter = thread::spawn(move || {
                thread::sleep(ms(50));
                late.set();
            });
            let locked = self.mutex.try_lock_for(ms(10_000)).is_some();
            self.tried.send(locked).unwrap();
            setter.join().unwrap();
        }
    }
    let mutex = Arc::new(Mutex::new(()));
    let _held = mutex.lock();
    let (permits, chosen, late) = (
        Arc::new(Semaphore::new(1)),
        Arc::new(Event::new()),
        Arc::new(Event::new()),
    );
    let (tried, was_tried) = mpsc::channel();
    let panicking = thread::spawn({
        let (permits, chosen, late) = (permits.clone(), chosen.clone(), late.clone());
        move || {
            let _selects = OnDrop(|| {
                greenlet::select! {
                    acquire_many(permits, 2) => {}
                    wait(chosen) => {}
                    wait(late) => {}
                }
            });
            std::panic::resume_unwind(Box::new("on purpose"));
        }
    });
    while permits.statistics().waiting == 0 {
        thread::sleep(ms(1));
    }
    thread::sleep(ms(20)); // it is in its other lines too
    let mut behind = pin!(permits.acquire_async());
    let waker = Waker::from(Arc::new(TriesToLock {
        mutex: mutex.clone(),
        late,
        tried,
    }));
    let polled = behind.as_mut().poll(&mut Context::from_waker(&waker));
    assert!(polled.is_pending());
    chosen.set();
    assert!(!was_tried.recv().unwrap(), "it is held");
    assert!(panicking.join().is_err());
}

/// In a thread-local's destructor a scope looked at its hub after a `run` in it had freed that.
#[test]
fn a_scope_at_the_threads_end_outlives_its_hub() {
    struct AtEnd(mpsc::Sender<()>);
    impl Drop for AtEnd {
        fn drop(&mut self) {
            scope(|_| run(|| ()));
            self.0.send(()).unwrap();
        }
    }
    thread_local! {
        static KEPT: RefCell<Option<AtEnd>> = const { RefCell::new(None) };
    }
    let (ended, has_ended) = mpsc::channel();
    thread::spawn(|| {
        // Before there is a hub, so that it goes after it.
        KEPT.with(|kept| *kept.borrow_mut() = Some(AtEnd(ended)));
        spawn(|| ()).join().unwrap();
    })
    .join()
    .unwrap();
    has_ended.recv().unwrap();
}

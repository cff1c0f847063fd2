//! Attacks on memory safety by code without `unsafe`. Each test is named after its attack, those that may 0.3.51 falls
//! to after its section in the study (`may_3_1` to `may_3_5b`). What is refused at compile time is in `refused.rs`.
//!
//! A test that passes here says little about memory by itself: run it under AddressSanitizer (`.ci/run asan`) or
//! valgrind. Data that would be freed too early is therefore on the heap wherever it can be, and is looked at.

#![forbid(unsafe_code)]

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::mem::forget;
use std::panic::{AssertUnwindSafe, catch_unwind, panic_any, resume_unwind};
use std::process::Command;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};
use std::sync::{Arc, Barrier, Mutex, mpsc};
use std::time::Duration;

use greenlet::sync::{
    AsyncResult, BoundedSemaphore, Event, LifoQueue, PriorityQueue, Queue, Semaphore,
};
use greenlet::testing::Simulation;
use greenlet::{
    Builder, Elapsed, Greenlet, HubHandle, HubThread, Local, ScopedGreenlet, Waitable, finally,
    join_all, kill_all, no_switch, now, run, scope, shield, sleep, spawn, spawn_later, timeout,
    wait_all, wait_any, wait_any_timeout, yield_now,
};

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// A program on the virtual clock.
fn sim<R>(program: impl FnOnce() -> R) -> R {
    Simulation::new().run(program)
}

/// Catches whatever comes.
fn caught<R>(f: impl FnOnce() -> R) -> Result<R, Box<dyn Any + Send>> {
    catch_unwind(AssertUnwindSafe(f))
}

/// Raises without the panic hook.
fn raise(what: &'static str) -> ! {
    resume_unwind(Box::new(what))
}

/// Calls its function when it is dropped.
struct OnDrop<F: FnMut()>(F);

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

/// Raises when it is dropped, and counts how often it is.
struct Bomb(Arc<AtomicU32>);

impl Drop for Bomb {
    fn drop(&mut self) {
        self.0.fetch_add(1, SeqCst);
        if !std::thread::panicking() {
            raise("a destructor");
        }
    }
}

/// A frame that may not go while it is borrowed; what is borrowed lies on the heap, so that a tool sees a late use.
struct Frame {
    data: Box<[Cell<u32>; 16]>,
    borrowers: Rc<Cell<u32>>,
}

impl Frame {
    fn new() -> Self {
        let data = Box::new(std::array::from_fn(|_| Cell::new(0)));
        let borrowers = Rc::default();
        Frame { data, borrowers }
    }

    /// What a child does with its parent's frame, now and at its end.
    fn borrow(&self) -> Borrow<'_> {
        self.borrowers.set(self.borrowers.get() + 1);
        Borrow(self)
    }
}

impl Drop for Frame {
    fn drop(&mut self) {
        if self.borrowers.get() != 0 {
            eprintln!("a frame has gone while children borrow it");
            std::process::abort();
        }
    }
}

struct Borrow<'a>(&'a Frame);

impl Borrow<'_> {
    fn touch(&self) {
        self.0.data.iter().for_each(|cell| cell.set(cell.get() + 1));
    }
}

impl Drop for Borrow<'_> {
    fn drop(&mut self) {
        self.touch();
        self.0.borrowers.set(self.0.borrowers.get() - 1);
    }
}

/// A hub still does all that it should: used after an attack.
fn works() {
    let (event, result) = (Rc::new(Event::new()), Rc::new(AsyncResult::<u32>::new()));
    let (queue, gate) = (Rc::new(Queue::bounded(1)), Rc::new(Semaphore::new(1)));
    let all = (0..3u32).map(|i| {
        let (event, result, queue, gate) =
            (event.clone(), result.clone(), queue.clone(), gate.clone());
        spawn(move || {
            event.wait();
            let permit = gate.acquire();
            queue.put(i).unwrap();
            yield_now();
            drop(permit);
            *result.wait().unwrap() + i
        })
    });
    let all: Vec<_> = all.collect();
    yield_now();
    event.set();
    // In any order, under a seed.
    let mut got = [queue.get(), queue.get(), queue.get()];
    got.sort_unstable_by_key(|item| item.unwrap());
    assert_eq!(got, [Ok(0), Ok(1), Ok(2)]);
    result.set(10).unwrap();
    let sums: Vec<_> = join_all(all).into_iter().map(Result::unwrap).collect();
    assert_eq!(sums, [10, 11, 12]);
    let late = timeout(ms(1), || scope(|s| s.spawn(|| Event::new().wait()).join()));
    assert_eq!(late.map(drop), Err(Elapsed));
}

// ---- may's six ----

/// May's `select!` lets its arms outlive what they borrow. Here the arms lie in the caller's frame: when it is unwound
/// nothing is left of it in the lists of what outlives it.
#[test]
fn may_3_1_arms_do_not_outlive_the_frame_that_they_borrow() {
    sim(|| {
        let outlives: Rc<[Event; 3]> = Rc::default();
        for n in 1..=20 {
            let outer = outlives.clone();
            let waiter = move || {
                let own: Vec<Event> = (0..n).map(|_| Event::new()).collect();
                let own = own.iter().map(|e| e as &dyn Waitable);
                let all: Vec<_> = outer
                    .iter()
                    .map(|e| e as &dyn Waitable)
                    .chain(own)
                    .collect();
                wait_any(&all)
            };
            let (killed, expired) = (spawn(waiter.clone()), spawn(move || timeout(ms(1), waiter)));
            yield_now();
            killed.kill();
            assert!(killed.join().unwrap_err().is_killed());
            assert_eq!(expired.join().unwrap(), Err(Elapsed));
            // Their stacks are used again, by others.
            join_all((0..3).map(|i| spawn(move || [i; 500].iter().sum::<usize>()))).clear();
            let text = format!("{outlives:?}");
            assert_eq!(text.matches("waiting: 0").count(), 3, "{text}");
            outlives.iter().for_each(|e| {
                e.set();
                e.clear();
            });
        }
        works();
    });
}

/// May's scope returns at once when it is unwound, and its children run on in a frame that is gone. Here every way of
/// unwinding a scope waits for every kind of child.
#[test]
fn may_3_2_a_scope_outlives_its_children_whatever_unwinds_it() {
    type Child = fn(&Frame);
    let children: &[Child] = &[
        |frame| {
            let _borrow = frame.borrow();
            sleep(ms(50));
        },
        |frame| {
            let borrow = frame.borrow();
            finally(
                || sleep(ms(50)),
                || {
                    sleep(ms(3));
                    borrow.touch();
                    sleep(ms(3));
                },
            );
        },
        |frame| {
            let borrow = frame.borrow();
            for _ in 0..5 {
                let _ = caught(|| sleep(ms(20)));
                borrow.touch();
            }
        },
        |frame| {
            let borrow = frame.borrow();
            shield(|| sleep(ms(7)));
            borrow.touch();
        },
        |frame| {
            let inner = Frame::new();
            scope(|s| {
                s.spawn(|| {
                    let (_outer, _inner) = (frame.borrow(), inner.borrow());
                    finally(|| sleep(ms(50)), || sleep(ms(2)));
                });
                sleep(ms(50));
            });
        },
        |frame| {
            // Waits in a destructor that runs because of the kill: that cannot be, so it says no; the shield can.
            let borrow = frame.borrow();
            let _late = OnDrop(|| {
                borrow.touch();
                assert!(!Event::new().wait_timeout(ms(1)));
            });
            let _ = caught(|| sleep(ms(50)));
            shield(|| sleep(ms(1)));
        },
        |frame| {
            // Threads of the frame, too.
            let data: Vec<u32> = frame.data.iter().map(Cell::get).collect();
            let _borrow = frame.borrow();
            std::thread::scope(|threads| {
                threads.spawn(|| data.iter().sum::<u32>());
                let _ = caught(|| sleep(ms(50)));
            });
        },
    ];
    type End = fn(&Greenlet<()>);
    let ends: &[(&str, End)] = &[
        ("kill", |g| g.kill()),
        ("kills", |g| {
            for _ in 0..9 {
                g.kill();
                yield_now();
            }
        }),
        ("expiry", |_| ()),
        ("panic", |_| ()),
        ("sibling", |_| ()),
        ("end of run", |_| ()),
    ];
    for &(name, end) in ends {
        for seed in 0..4 {
            Simulation::new().seed(seed).run(|| {
                let body = move || {
                    let frame = Frame::new();
                    scope(|s| {
                        for child in children {
                            s.spawn(|| child(&frame));
                        }
                        if name == "sibling" {
                            s.spawn(|| {
                                sleep(ms(2));
                                raise("sibling")
                            });
                        }
                        sleep(ms(2));
                        if name == "panic" {
                            raise("body");
                        }
                    });
                };
                let g = spawn(move || match name {
                    "expiry" => assert_eq!(timeout(ms(2), body), Err(Elapsed)),
                    _ => body(),
                });
                sleep(ms(1));
                end(&g);
                if name != "end of run" {
                    g.wait();
                    assert_eq!(g.is_successful(), name == "expiry", "{name}: {g:?}");
                    works();
                }
            });
        }
    }
}

/// May's guard is `Sync` where it must not be. Ours carry no data; they may go to, and be dropped on, any thread, while
/// waiters of several hubs stand in line.
#[test]
fn may_3_3_guards_are_dropped_on_other_threads() {
    let gate = Arc::new(BoundedSemaphore::new(2));
    let (taken, hub) = (
        Arc::new(AtomicU32::new(0)),
        HubThread::start("other").unwrap(),
    );
    let worker = {
        let (gate, taken) = (gate.clone(), taken.clone());
        move || {
            for _ in 0..50 {
                let permit = gate.acquire_owned();
                taken.fetch_add(1, SeqCst);
                // Sometimes by a plain thread, sometimes by the next to come here.
                match taken.load(SeqCst) % 10 {
                    0 => drop(std::thread::spawn(move || drop(permit)).join()),
                    n if n % 2 == 0 => drop(permit),
                    _ => yield_now(),
                }
            }
        }
    };
    let there: Vec<_> = (0..3).map(|_| hub.handle().spawn(worker.clone())).collect();
    run(|| {
        let here: Vec<_> = (0..3).map(|_| spawn(worker.clone())).collect();
        std::thread::scope(|threads| {
            // Borrowed guards, lent to and dropped by a thread of the scope.
            let (many, gate) = (gate.acquire_many(2), &gate);
            threads.spawn(move || drop((gate.is_locked(), many)));
        });
        join_all(here).into_iter().for_each(|g| g.unwrap());
    });
    join_all(there).into_iter().for_each(|g| g.unwrap());
    hub.stop();
    hub.join().unwrap();
    assert_eq!((taken.load(SeqCst), gate.available()), (300, 2));
}

/// In may an unlock that meets a timeout or a cancel may be dropped by both, and the lock stays locked.
#[test]
fn may_3_4_a_release_that_meets_a_timeout_or_a_kill_is_not_lost() {
    let gate = Arc::new(Semaphore::new(1));
    let queue = Arc::new(Queue::<Box<u32>>::rendezvous());
    let stop = Arc::new(AtomicBool::new(false));
    let hubs: Vec<_> = (0..2).map(|_| HubThread::start("racer").unwrap()).collect();
    let racers: Vec<_> = hubs
        .iter()
        .flat_map(|hub| {
            (0..3u32).map(|n| {
                let (gate, queue, stop) = (gate.clone(), queue.clone(), stop.clone());
                hub.handle().spawn(move || {
                    let (mut put, mut got) = (0, 0);
                    while !stop.load(SeqCst) {
                        let limit = Duration::from_micros(u64::from(n) * 20);
                        drop(gate.acquire_timeout(limit));
                        let body = || {
                            let inner = spawn({
                                let gate = gate.clone();
                                move || drop(gate.acquire())
                            });
                            yield_now();
                            inner.kill();
                            drop(inner.join());
                        };
                        let _ = timeout(limit, body);
                        match n {
                            0 => got += usize::from(queue.get_timeout(limit).is_ok()),
                            _ => put += usize::from(queue.put_timeout(Box::new(n), limit).is_ok()),
                        }
                    }
                    (put, got)
                })
            })
        })
        .collect();
    // On this thread, which has no hub: a plain thread's waits.
    for _ in 0..500 {
        drop(gate.acquire_timeout(Duration::from_micros(30)));
    }
    stop.store(true, SeqCst);
    let all = join_all(racers).into_iter().map(Result::unwrap);
    let (put, got) = all.fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
    assert_eq!(put, got, "items lost or doubled");
    // Inner greenlets that were abandoned in an expiry have gone by then, or give their permit back when they do.
    for hub in hubs {
        hub.stop();
        hub.join().unwrap();
    }
    assert_eq!(gate.available(), 1, "{gate:?}");
    drop(gate.acquire());
}

/// In may the second one to wait on a socket drops the first one's coroutine, on another thread. Here many wait on one
/// thing, on several hubs, and each ends on its own thread, once.
#[test]
fn may_3_5_a_second_waiter_does_not_destroy_the_first() {
    let (event, result) = (Arc::new(Event::new()), Arc::new(AsyncResult::<u32>::new()));
    let (queue, gate) = (Arc::new(Queue::rendezvous()), Arc::new(Semaphore::new(0)));
    let (done, wrong) = (
        Arc::new(AtomicU32::new(0)),
        Arc::new(AtomicBool::new(false)),
    );
    let hubs: Vec<_> = (0..3)
        .map(|_| HubThread::start("waiter").unwrap())
        .collect();
    let waiting: Vec<_> = hubs
        .iter()
        .flat_map(|hub| {
            (0..12).map(|i| {
                let (event, result) = (event.clone(), result.clone());
                let (queue, gate) = (queue.clone(), gate.clone());
                let (done, wrong) = (done.clone(), wrong.clone());
                hub.handle().spawn(move || {
                    let thread = std::thread::current().id();
                    // Not Send: a destructor elsewhere would be a data race.
                    let local = Rc::new(Cell::new(i));
                    let also = local.clone();
                    let _end = OnDrop(move || {
                        wrong.fetch_or(std::thread::current().id() != thread, SeqCst);
                        also.set(also.get() + 1);
                        done.fetch_add(1, SeqCst);
                    });
                    match i % 4 {
                        0 => event.wait(),
                        1 => assert_eq!(*result.wait().unwrap(), 7),
                        2 => assert_eq!(queue.get(), Ok(8)),
                        _ => gate.acquire().forget(),
                    }
                    local.get()
                })
            })
        })
        .collect();
    event.set();
    result.set(7).unwrap();
    (0..9).for_each(|_| queue.put(8).unwrap());
    (0..9).for_each(|_| gate.release());
    for (i, g) in join_all(waiting).into_iter().enumerate() {
        assert_eq!(g.unwrap(), i % 12);
    }
    assert_eq!((done.load(SeqCst), wrong.load(SeqCst)), (36, false));
    assert_eq!(gate.available(), 0);
}

/// In may a second caller of `JoinHandle::wait` takes the first one's place, who waits for ever.
#[test]
fn may_3_5b_everybody_who_waits_for_a_greenlet_is_released() {
    let hub = HubThread::start("other").unwrap();
    for _ in 0..20 {
        let go = Arc::new(Event::new());
        let g = Arc::new(hub.handle().spawn({
            let go = go.clone();
            move || {
                go.wait();
                String::from("the value")
            }
        }));
        let wait = {
            let g = g.clone();
            move || {
                g.wait();
                g.value().map(String::len)
            }
        };
        let threads: Vec<_> = (0..3).map(|_| std::thread::spawn(wait.clone())).collect();
        let there: Vec<_> = (0..2).map(|_| hub.handle().spawn(wait.clone())).collect();
        run(|| {
            let here: Vec<_> = (0..3).map(|_| spawn(wait.clone())).collect();
            yield_now();
            go.set();
            assert_eq!(wait(), Some(9));
            assert!(join_all(here).into_iter().all(|n| n.unwrap() == Some(9)));
        });
        assert!(threads.into_iter().all(|t| t.join().unwrap() == Some(9)));
        assert!(join_all(there).into_iter().all(|n| n.unwrap() == Some(9)));
    }
}

// ---- leaks ----

#[test]
fn forgetting_every_handle_and_guard() {
    sim(|| {
        let frame = Frame::new();
        let gate = Arc::new(Semaphore::new(9));
        let queue = Queue::unbounded();
        (0..3).for_each(|i| queue.put(Box::new(i)).unwrap());
        scope(|s| {
            // The scope counts its children, not their handles.
            for i in 0..3 {
                let borrow = frame.borrow();
                forget(s.spawn(move || {
                    let borrow = borrow;
                    sleep(ms(i));
                    borrow.touch();
                }));
            }
            let named = Builder::new().name("x");
            forget(s.spawn_with(named, || frame.borrow().touch()));
            let handles: Vec<ScopedGreenlet<'_, _>> =
                (0..3).map(|_| s.spawn(|| frame.borrow().touch())).collect();
            forget(handles);
            // A value that is never taken, with a borrow of the frame.
            forget(s.spawn(|| &frame.data));
        });
        assert_eq!(frame.borrowers.get(), 0);
        forget((gate.acquire(), gate.acquire_many(2), gate.acquire_owned()));
        assert_eq!(gate.available(), 5);
        forget(gate.clone().try_acquire_owned());
        forget(HubHandle::current());
        forget(spawn(|| sleep(ms(1))));
        forget(spawn_later(ms(1), || Box::new(1)));
        forget(spawn(|| raise("nobody looks")).join());
        let killed = spawn(|| sleep(ms(9)));
        killed.kill();
        forget(killed);
        // The payloads of kills and expiries.
        let g = spawn(|| {
            forget(caught(|| sleep(ms(9))));
            timeout(ms(1), || forget(caught(|| sleep(ms(9)))))
        });
        yield_now();
        g.kill();
        drop(g.join());
        sleep(ms(20));
        works();
    });
    let hub = HubThread::start("forgotten").unwrap();
    let g = hub.handle().spawn(|| 1);
    forget(hub);
    assert_eq!(g.join().unwrap(), 1);
}

/// A handle that its own greenlet owns, a permit that its own semaphore's owner owns.
#[test]
fn cycles_of_handles() {
    sim(|| {
        let slot: Rc<RefCell<Option<Greenlet<()>>>> = Rc::default();
        let own = slot.clone();
        let g = spawn(move || {
            let _own = own;
            Event::new().wait();
        });
        *slot.borrow_mut() = Some(g);
        drop(slot);
        yield_now();
        let result: Arc<AsyncResult<Arc<dyn Any + Send + Sync>>> = Arc::default();
        let also: Arc<dyn Any + Send + Sync> = result.clone();
        assert!(result.set(also).is_ok());
        let gate = Arc::new(Semaphore::new(1));
        let queue = Rc::new(Queue::<Rc<dyn Any>>::unbounded());
        queue
            .put(Rc::new((gate.acquire_owned(), queue.clone())))
            .unwrap();
        works();
    }); // kills the first one
}

// ---- the end of a thread ----

/// What a thread leaves behind when it ends with everything open: others wake, fill, read and drop what its greenlets
/// wait for.
#[test]
fn thread_that_ends_with_scopes_limits_and_waits_open() {
    let (event, gate) = (Arc::new(Event::new()), Arc::new(Semaphore::new(0)));
    let (gets, puts) = (Arc::new(Queue::rendezvous()), Arc::new(Queue::bounded(1)));
    let result = Arc::new(AsyncResult::<String>::new());
    puts.put(Box::new(0)).unwrap();
    let (said, hears) = mpsc::channel();
    let thread = std::thread::spawn({
        let (event, gate, gets, puts) = (event.clone(), gate.clone(), gets.clone(), puts.clone());
        let result = result.clone();
        move || {
            static VALUE: Local<Vec<u8>> = Local::new();
            let handles = [0, 1, 2, 3, 4].map(|i| {
                let (event, gate, gets) = (event.clone(), gate.clone(), gets.clone());
                let (puts, result) = (puts.clone(), result.clone());
                spawn(move || {
                    VALUE.set(vec![1; 100]);
                    let frame = Frame::new();
                    let wait = || {
                        let borrow = frame.borrow();
                        timeout(Duration::from_secs(1000), || match i {
                            0 => event.wait(),
                            1 => drop(gate.acquire_many(2)),
                            2 => drop(gets.get()),
                            3 => drop(puts.put(Box::new(1))),
                            _ => {
                                let many: Vec<&dyn Waitable> =
                                    (0..20).map(|_| &*event as _).collect();
                                let many = [many, vec![&*result as _]].concat();
                                wait_any(&many);
                            }
                        })
                        .unwrap();
                        borrow.touch();
                    };
                    VALUE.with(|_| {
                        scope(|s| {
                            s.spawn(wait);
                            s.spawn(|| result.wait().map(String::len));
                            shield(wait);
                        });
                    });
                })
            });
            (0..5).for_each(|_| yield_now());
            handles.into_iter().for_each(|g| said.send(g).unwrap());
        }
    });
    thread.join().unwrap();
    let handles: Vec<_> = hears.iter().collect();
    assert_eq!(handles.len(), 5);
    // Nobody is there to be woken; those who come later are served.
    event.set();
    (0..4).for_each(|_| gate.release());
    result.set(String::from("late")).unwrap();
    assert!(gets.put_nowait(Box::new(5)).is_err());
    assert_eq!(
        (puts.get(), puts.get_nowait().is_ok()),
        (Ok(Box::new(0)), false)
    );
    drop(gate.acquire_many(4));
    event.wait();
    let g = std::thread::spawn({
        let gets = gets.clone();
        move || gets.get()
    });
    gets.put(Box::new(6)).unwrap();
    assert_eq!(g.join().unwrap(), Ok(Box::new(6)));
    for g in handles {
        g.kill();
        assert!(g.join().is_err());
    }
    run(works);
}

/// Destructors of thread-locals that use everything, registered before and after the hub's own, with the hub alive,
/// ended, and never made.
#[test]
fn thread_local_destructors_that_use_every_primitive() {
    static LOCAL: Local<Box<u32>> = Local::with_init(|| Box::new(1));
    static USED: AtomicU32 = AtomicU32::new(0);
    struct AtEnd;
    impl Drop for AtEnd {
        fn drop(&mut self) {
            let (event, gate) = (Arc::new(Event::new()), Arc::new(Semaphore::new(1)));
            let queue = Arc::new(Queue::bounded(1));
            let (lifo, ranked) = (LifoQueue::bounded(2), PriorityQueue::bounded(2));
            // Others set, release, put and get meanwhile, so these wait.
            let held = gate.acquire();
            std::thread::scope(|threads| {
                threads.spawn(|| {
                    event.set();
                    gate.release();
                    (0..3).for_each(|i| queue.put(Box::new(i)).unwrap());
                });
                event.wait();
                drop((gate.acquire(), held));
                (0..3).for_each(|i| assert_eq!(queue.get(), Ok(Box::new(i))));
            });
            assert!(lifo.put(1).is_ok() && ranked.put(2).is_ok());
            assert_eq!((lifo.get(), ranked.get()), (Ok(1), Ok(2)));
            assert!(gate.acquire_many_timeout(9, ms(1)).is_none());
            assert_eq!(wait_any(&[&*event]), 0);
            assert!(wait_any_timeout(&[&Event::new()], ms(1)).is_none());
            let result = AsyncResult::<u32>::new();
            result.set(1).unwrap();
            assert_eq!(*result.wait().unwrap(), 1);
            let _ = timeout(ms(1), || Event::new().wait());
            sleep(ms(1));
            yield_now();
            greenlet::checkpoint();
            drop((now(), greenlet::current()));
            no_switch(|| drop(queue.get_nowait()));
            shield(yield_now);
            finally(|| (), yield_now);
            LOCAL.set(Box::new(2));
            LOCAL.with(|_| ());
            drop((LOCAL.get(), LOCAL.take(), LOCAL.is_set()));
            // Greenlets run if the hub lives, and are refused if it has ended; a scope brings its own.
            let g = spawn(|| Box::new(3));
            let _ = (g.wait_timeout(ms(1)), g.is_finished());
            g.kill();
            drop(g);
            let frame = Frame::new();
            let in_scope = caught(|| {
                scope(|s| {
                    s.spawn(|| frame.borrow().touch());
                    s.spawn(|| frame.borrow().touch());
                });
            });
            drop(in_scope);
            assert_eq!(frame.borrowers.get(), 0);
            drop(caught(|| run(|| spawn(|| 4).join())));
            drop(HubHandle::current().spawn(|| Box::new(5)));
            USED.fetch_add(1, SeqCst);
        }
    }
    thread_local! {
        static BEFORE: AtEnd = const { AtEnd };
        static AFTER: AtEnd = const { AtEnd };
    }
    for hub in 0..4 {
        std::thread::spawn(move || {
            BEFORE.with(|_| ());
            match hub {
                0 => {}
                1 => run(|| spawn(|| ()).join().unwrap()),
                2 => spawn(|| ()).join().unwrap(),
                _ => {
                    // Left alive.
                    let greenlets = [0, 1].map(|_| spawn(|| Event::new().wait()));
                    yield_now();
                    forget(greenlets);
                }
            }
            AFTER.with(|_| ());
        })
        .join()
        .unwrap();
    }
    assert_eq!(USED.load(SeqCst), 8);
}

/// Destructors of a greenlet's locals use everything, wait, and leave new values behind.
#[test]
fn destructors_of_locals_that_use_every_primitive() {
    static FIRST: Local<OnEnd> = Local::new();
    static SECOND: Local<OnEnd> = Local::new();
    struct OnEnd(Rc<RefCell<Vec<&'static str>>>, &'static str);
    impl Drop for OnEnd {
        fn drop(&mut self) {
            self.0.borrow_mut().push(self.1);
            // The other one may be there or not; this one is not.
            drop((FIRST.is_set(), SECOND.take()));
            let event = Rc::new(Event::new());
            let setter = spawn({
                let event = event.clone();
                move || event.set()
            });
            event.wait();
            sleep(ms(1));
            setter.join().unwrap();
            let frame = Frame::new();
            scope(|s| {
                s.spawn(|| frame.borrow().touch());
                sleep(ms(1));
            });
            if self.1 == "first" {
                FIRST.set(OnEnd(self.0.clone(), "again"));
            }
        }
    }
    sim(|| {
        for kill in [false, true] {
            let log = Rc::new(RefCell::new(vec![]));
            let to = log.clone();
            let g = spawn(move || {
                FIRST.set(OnEnd(to.clone(), "first"));
                SECOND.set(OnEnd(to, "second"));
                sleep(ms(1));
            });
            yield_now();
            if kill {
                g.kill();
            }
            // Killed again and again while its locals end.
            while !g.is_finished() {
                g.kill();
                sleep(Duration::from_micros(100));
            }
            let mut log = log.take();
            log.sort_unstable();
            assert_eq!(log, ["again", "first", "second"]);
            works();
        }
    });
    // Of a thread's own: after the thread's hub is gone.
    let ended = std::thread::spawn(|| {
        struct AtEnd(Arc<AtomicU32>);
        impl Drop for AtEnd {
            fn drop(&mut self) {
                assert!(!LATE.is_set());
                drop((LATE.set(Arc::default()), LATE.get()));
                drop(Semaphore::new(1).acquire());
                self.0.fetch_add(1, SeqCst);
            }
        }
        static LATE: Local<Arc<AtomicU32>> = Local::new();
        static OWN: Local<AtEnd> = Local::new();
        let count = Arc::new(AtomicU32::new(0));
        OWN.set(AtEnd(count.clone()));
        run(works);
        count
    });
    assert_eq!(ended.join().unwrap().load(SeqCst), 1);
}

// ---- destructors that panic ----

/// At each place at which the crate drops something of the user's.
#[test]
fn destructors_that_panic_everywhere() {
    let count = Arc::new(AtomicU32::new(0));
    let bomb = {
        let count = count.clone();
        move || Bomb(count.clone())
    };
    let mut expected = 0;
    let mut dropped = |n: u32, what: &str| {
        expected += n;
        assert_eq!(count.load(SeqCst), expected, "{what}");
    };
    sim(|| {
        // The item of a put that is killed, or expires.
        let full = Rc::new(Queue::bounded(1));
        full.put(None).ok().unwrap();
        let putter = |full: &Rc<Queue<Option<Bomb>>>| {
            let (full, item) = (full.clone(), Some(bomb()));
            move || drop(full.put(item))
        };
        let g = spawn(putter(&full));
        yield_now();
        g.kill();
        assert_eq!(
            g.join().unwrap_err().into_panic().unwrap().downcast_ref(),
            Some(&"a destructor")
        );
        dropped(1, "item of a killed put");
        let put = putter(&full);
        assert!(caught(|| timeout(ms(1), put)).is_err());
        dropped(1, "item of an expired put");
        let g = spawn(putter(&full));
        yield_now();
        full.shutdown();
        assert!(g.join().is_err());
        dropped(1, "item of a put that is refused");
        works();

        // A closure that never runs, its links' captures, its handle's value.
        let (a, b) = (bomb(), bomb());
        let g = spawn(move || drop(a));
        g.link(move |_| drop(b));
        g.kill();
        assert!(g.join().unwrap_err().is_killed());
        dropped(2, "closure and link");
        let g = spawn(bomb.clone());
        g.wait();
        assert!(caught(move || drop(g)).is_err());
        dropped(1, "value in a handle");
        drop(spawn(bomb.clone()));
        yield_now();
        dropped(1, "value that nobody takes");
        let g = spawn({
            let bomb = bomb();
            move || resume_unwind(Box::new(bomb))
        });
        g.wait();
        assert!(caught(move || drop(g)).is_err());
        dropped(1, "payload in a handle");

        // join_all that is cut short drops the handles.
        let all: Vec<_> = (0..2).map(|_| spawn(bomb.clone())).collect();
        let never = spawn(|| -> Bomb {
            loop {
                sleep(ms(9))
            }
        });
        let joined = caught(|| timeout(ms(1), || join_all(all.into_iter().chain([never]))));
        drop(joined);
        dropped(2, "values of a join_all cut short");

        // A scope's: values, payloads, failures.
        let scoped = caught(|| {
            scope(|s| {
                s.spawn(bomb.clone());
                s.spawn(|| {
                    let _ = caught(|| sleep(ms(9)));
                    resume_unwind(Box::new(bomb()))
                });
                s.spawn(|| resume_unwind(Box::new(bomb())));
                sleep(ms(1));
            });
        });
        // The second payload is discarded in the scope; the first comes out.
        assert!(caught(|| drop(scoped)).is_err());
        dropped(3, "value and payloads of a scope");

        // Locals, set, taken, and at the end.
        static LOCAL: Local<Bomb> = Local::new();
        let (a, b, c) = (bomb(), bomb(), bomb());
        let g = spawn(move || {
            LOCAL.set(a);
            assert!(caught(|| LOCAL.set(b)).is_ok_and(|old| caught(|| drop(old)).is_err()));
            assert!(caught(|| drop(LOCAL.take())).is_err());
            LOCAL.set(c);
        });
        g.join().unwrap();
        dropped(3, "locals");

        // Results and queues.
        let result = AsyncResult::<Bomb, u8>::default();
        assert!(result.set(bomb()).is_ok());
        assert!(caught(|| drop(result.set(bomb()))).is_err());
        assert!(caught(|| drop(result)).is_err());
        dropped(2, "results");
        let queue = Queue::unbounded();
        (0..3).for_each(|_| assert!(queue.put(bomb()).is_ok()));
        let last = queue.get().ok();
        assert!(caught(|| drop(last)).is_err());
        let rest = queue.shutdown_now();
        // The rest of a Vec is dropped while the first panic unwinds.
        assert!(caught(|| drop(rest)).is_err());
        assert!(caught(|| drop(queue.put(bomb()))).is_err());
        dropped(4, "queues");

        // Swallowed payloads and a handle that is joined by nobody.
        let g = spawn({
            let bomb = bomb();
            move || {
                let _bomb = bomb;
                sleep(ms(9));
            }
        });
        yield_now();
        g.kill();
        assert!(g.join().unwrap_err().is_killed());
        dropped(1, "capture of a killed greenlet");
        works();
        let leftover = bomb();
        spawn(move || drop(leftover));
    });
    dropped(1, "closure at the end of run");
    // Refused by a hub that has ended, here and from elsewhere.
    let closed = run(HubHandle::current);
    let bomb = bomb();
    assert!(closed.spawn(move || drop(bomb)).join().is_err());
    dropped(1, "closure refused");
}

// ---- unwinding that is kept and raised elsewhere ----

/// The payload of a kill.
fn kill_payload() -> Box<dyn Any + Send> {
    let slot = Rc::new(Cell::new(None));
    let to = slot.clone();
    let g = spawn(move || to.set(caught(|| Event::new().wait()).err()));
    yield_now();
    g.kill();
    g.wait();
    slot.take().expect("the kill was caught")
}

#[test]
fn payload_of_a_kill_that_is_raised_elsewhere() {
    sim(|| {
        // In another greenlet, that nobody has killed.
        let payload = kill_payload();
        let g = spawn(move || resume_unwind(payload));
        assert!(g.join().is_err());
        // In a scope's body and in its child: the children end first.
        let frame = Frame::new();
        for in_child in [false, true] {
            let payload = kill_payload();
            let ended = caught(|| {
                scope(|s| {
                    let _borrower = s.spawn(|| {
                        let _borrow = frame.borrow();
                        sleep(ms(5));
                    });
                    if in_child {
                        s.spawn(|| resume_unwind(payload));
                    } else {
                        resume_unwind(payload);
                    }
                });
            });
            assert_eq!(ended.is_err(), !in_child);
            assert_eq!(frame.borrowers.get(), 0);
        }
        // In a limit, a shield, a cleanup, a link, an item's Ord, at the root, on another thread.
        let payload = kill_payload();
        assert!(caught(|| timeout(ms(5), || resume_unwind(payload))).is_err());
        let payload = kill_payload();
        assert!(caught(|| shield(|| resume_unwind(payload))).is_err());
        let (payload, second) = (kill_payload(), kill_payload());
        assert!(caught(|| finally(|| resume_unwind(payload), || resume_unwind(second))).is_err());
        let payload = kill_payload();
        let g = spawn(|| 1);
        g.link(move |_| resume_unwind(payload));
        assert_eq!(g.join().unwrap(), 1);
        let payload = kill_payload();
        let thread = std::thread::spawn(move || {
            let g = run(|| spawn(move || resume_unwind(payload)).join());
            assert!(g.is_err());
        });
        thread.join().unwrap();
        let payload = kill_payload();
        assert!(
            std::thread::spawn(move || resume_unwind(payload))
                .join()
                .is_err()
        );
        works();
    });
    // Out of `run` itself.
    let out = caught(|| {
        run(|| {
            let payload = kill_payload();
            resume_unwind(payload)
        })
    });
    assert!(out.is_err());
    run(works);
}

/// The payload of an expiry, raised when its limit is over, in another one, by another greenlet: no other limit takes
/// it for its own.
#[test]
fn payload_of_an_expiry_that_is_raised_elsewhere() {
    let expired = || {
        let mut payload = None;
        let late = timeout(ms(1), || payload = caught(|| Event::new().wait()).err());
        assert_eq!(late, Err(Elapsed));
        payload.expect("the expiry was caught")
    };
    sim(|| {
        let payload = expired();
        let other = caught(|| timeout(ms(5), || resume_unwind(payload)));
        assert!(other.is_err(), "taken for another's: {other:?}");
        let payload = expired();
        let g = spawn(move || timeout(ms(5), || resume_unwind(payload)));
        assert!(g.join().unwrap_err().is_panic());
        let (payload, frame) = (expired(), Frame::new());
        let out = caught(|| {
            scope(|s| {
                s.spawn(|| {
                    let _borrow = frame.borrow();
                    sleep(ms(5));
                });
                resume_unwind(payload)
            })
        });
        assert!(out.is_err() && frame.borrowers.get() == 0);
        works();
    });
    // On other threads, which count their limits too.
    for _ in 0..3 {
        let payload = sim(expired);
        let taken = std::thread::spawn(move || {
            sim(|| {
                // However many limits that thread has had.
                let mut payload = Some(payload);
                (0..200).any(|_| {
                    let raised = caught(|| {
                        timeout(ms(5), || match payload.take() {
                            Some(payload) => resume_unwind(payload),
                            None => Box::<dyn Any + Send>::from(Box::new(())),
                        })
                    });
                    match raised {
                        Ok(Err(Elapsed)) => true,
                        Err(again) => {
                            payload = Some(again);
                            false
                        }
                        Ok(Ok(_)) => false,
                    }
                })
            })
        });
        assert!(
            !taken.join().unwrap(),
            "another thread's limit takes it for its own"
        );
    }
}

/// A kill that is swallowed at every turn of the end of a scope, and raised again by hand.
#[test]
fn kills_in_the_end_of_a_scope() {
    for seed in 0..8 {
        Simulation::new().seed(seed).run(|| {
            let g = Rc::new(RefCell::new(None::<Greenlet<u32>>));
            let own = g.clone();
            let body = move || {
                let (frame, kills) = (Frame::new(), Cell::new(0));
                let kill = || {
                    if let Some(g) = &*own.borrow() {
                        g.kill();
                        kills.set(kills.get() + 1);
                    }
                };
                for _ in 0..2 {
                    let _ = caught(|| {
                        scope(|s| {
                            s.spawn(|| {
                                // Kills its parent while the parent waits for it, and when it is killed itself.
                                let borrow = frame.borrow();
                                let _end = OnDrop(|| {
                                    kill();
                                    borrow.touch();
                                });
                                kill();
                                finally(
                                    || sleep(ms(1)),
                                    || {
                                        kill();
                                        sleep(ms(1));
                                        kill();
                                    },
                                );
                            });
                            s.spawn(|| {
                                let _borrow = frame.borrow();
                                let _ = caught(|| sleep(ms(3)));
                                kill();
                                let _ = timeout(ms(1), || sleep(ms(3)));
                            });
                        });
                    });
                }
                kills.get()
            };
            *g.borrow_mut() = Some(spawn(body));
            sleep(ms(50));
            let g = g.take().unwrap();
            assert!(g.join().unwrap() > 2);
            works();
        });
    }
}

// ---- threads inside greenlets inside threads ----

#[test]
fn std_scopes_and_scopes_inside_each_other() {
    let data = (0..100).collect::<Vec<u32>>();
    let sum = AtomicU32::new(0);
    let add = |part: &[u32]| sum.fetch_add(part.iter().sum(), SeqCst);
    std::thread::scope(|threads| {
        for part in data.chunks(50) {
            let add = &add;
            threads.spawn(move || {
                run(|| {
                    scope(|s| {
                        for part in part.chunks(10) {
                            s.spawn(move || {
                                yield_now();
                                // A thread that borrows this greenlet's stack.
                                let copy: [u32; 10] = part.try_into().unwrap();
                                std::thread::scope(|inner| {
                                    inner.spawn(|| {
                                        scope(|s| {
                                            s.spawn(|| add(&copy));
                                        });
                                    });
                                });
                            });
                        }
                    });
                });
            });
        }
    });
    assert_eq!(sum.into_inner(), (0..100).sum());
}

/// A greenlet that is killed inside a std scope leaves it only when the scope's thread has ended.
#[test]
fn kill_inside_a_std_scope_waits_for_its_threads() {
    run(|| {
        let (done, gone) = (Rc::new(Cell::new(0)), Arc::new(AtomicU32::new(0)));
        let (seen, count) = (done.clone(), gone.clone());
        let g = spawn(move || {
            let data = Box::new([7u32; 64]);
            let (go, here) = (AtomicBool::new(false), Barrier::new(2));
            let _end = OnDrop(|| seen.set(count.load(SeqCst)));
            std::thread::scope(|threads| {
                threads.spawn(|| {
                    here.wait();
                    while !go.load(SeqCst) {
                        std::thread::yield_now();
                    }
                    let sum = data.iter().sum::<u32>();
                    count.store(sum, SeqCst);
                });
                here.wait();
                // Unwound from here; the thread goes on when that has begun.
                let _go = OnDrop(|| go.store(true, SeqCst));
                Event::new().wait();
            });
        });
        yield_now();
        g.kill();
        assert!(g.join().unwrap_err().is_killed());
        assert_eq!((done.get(), gone.load(SeqCst)), (7 * 64, 7 * 64));
    });
}

/// Hubs made by greenlets of hubs, which run, join and kill each other.
#[test]
fn hubs_inside_hubs() {
    fn nest(depth: u32) -> u32 {
        if depth == 0 {
            return 1;
        }
        let hub = HubThread::start(format!("depth {depth}")).unwrap();
        let below = hub.handle().spawn(move || nest(depth - 1));
        let cut = hub.handle().spawn(move || {
            let hub = HubThread::start("cut").unwrap();
            let g = hub.handle().spawn(|| Event::new().wait());
            finally(|| g.wait(), || g.kill());
        });
        let n = below.join().unwrap();
        cut.kill();
        assert!(cut.join().unwrap_err().is_killed());
        hub.stop();
        hub.join().unwrap();
        n + 1
    }
    assert_eq!(run(|| spawn(|| nest(4)).join().unwrap()), 5);
    // A `run` inside a `run`, in each place, is refused and leaves the outer one whole.
    run(|| {
        assert!(caught(|| run(|| ())).is_err());
        assert!(caught(|| sim(|| ())).is_err());
        assert!(spawn(|| caught(|| run(|| ())).is_err()).join().unwrap());
        works();
    });
}

// ---- foreign code in tight places ----

/// An item's `Ord` and `Clone` run under the queue's lock: whatever they do, nothing is broken.
#[test]
fn ord_and_clone_that_do_everything() {
    type Act = Box<dyn Fn()>;
    thread_local! {
        static ACT: RefCell<Option<Act>> = const { RefCell::new(None) };
    }
    fn act() {
        let act = ACT.with(|act| act.take());
        if let Some(act) = act {
            act();
        }
    }
    struct Item(Box<u32>);
    impl Clone for Item {
        fn clone(&self) -> Self {
            act();
            Item(self.0.clone())
        }
    }
    impl PartialEq for Item {
        fn eq(&self, other: &Self) -> bool {
            self.0 == other.0
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
            act();
            self.0.cmp(&other.0)
        }
    }
    let acts: Vec<fn() -> Act> = vec![
        || Box::new(|| raise("in the lock")),
        || {
            let payload = Cell::new(Some(kill_payload()));
            Box::new(move || payload.take().map_or((), |p| resume_unwind(p)))
        },
        || Box::new(|| drop(spawn(|| ()))),
        || Box::new(|| sleep(ms(1))),
        || Box::new(|| drop(caught(|| sleep(ms(1))))),
        || Box::new(|| scope(|_| ())),
        || Box::new(|| assert!(timeout(ms(1), || Event::new().wait()).is_err())),
        || Box::new(|| drop(std::thread::spawn(|| run(works)).join())),
    ];
    sim(|| {
        for make in acts {
            let queue = Rc::new(PriorityQueue::bounded(3));
            for i in [5, 3] {
                assert!(queue.put(Item(Box::new(i))).is_ok());
            }
            let arm = || ACT.with(|act| act.replace(Some(make())));
            drop(arm());
            let put = caught(|| queue.put(Item(Box::new(4))).is_ok());
            let stored = put.is_ok_and(|ok| ok);
            ACT.with(|act| act.take());
            assert_eq!(queue.len(), 2 + usize::from(stored));
            drop(arm());
            drop(caught(|| queue.peek_nowait().is_ok()));
            ACT.with(|act| act.take());
            // In a putter that waits, whose item somebody else stores.
            while !queue.is_full() {
                queue.put(Item(Box::new(9))).ok().unwrap();
            }
            let putter = spawn({
                let queue = queue.clone();
                move || queue.put(Item(Box::new(1))).is_ok()
            });
            yield_now();
            drop(arm());
            let first = queue.get().map(|item| *item.0);
            ACT.with(|act| act.take());
            assert_eq!(first, Ok(3));
            drop(putter.join());
            let mut rest: Vec<u32> = queue.shutdown_now().into_iter().map(|i| *i.0).collect();
            assert!(rest.is_sorted());
            rest.retain(|&i| i != 1);
            assert!(rest.len() >= 2, "{rest:?}");
            works();
        }
    });
}

/// An iterator of handles that unwinds halfway, kills, or is unwound.
#[test]
fn iterators_that_do_everything() {
    sim(|| {
        let frame = Frame::new();
        for what in 0..3 {
            let out = caught(|| {
                scope(|s| {
                    let all = (0..6).map(|i| {
                        let borrow = frame.borrow();
                        let g = s.spawn(move || {
                            let borrow = borrow;
                            sleep(ms(2));
                            borrow.touch();
                        });
                        match (i, what) {
                            (3, 0) => raise("in the iterator"),
                            (3, 1) => kill_all([&g]),
                            (3, 2) => sleep(ms(1)),
                            _ => {}
                        }
                        g
                    });
                    let joined = timeout(ms(2), || join_all(all));
                    drop(joined);
                });
            });
            assert_eq!(out.is_err(), what == 0);
            assert_eq!(frame.borrowers.get(), 0);
        }
        works();
    });
}

/// Initialisers of locals that wait, use their own local, or unwind.
#[test]
fn initialisers_of_locals_that_do_everything() {
    fn init() -> Box<u32> {
        match N.with(|n| n.replace(n.get() + 1)) {
            0 => raise("in the initialiser"),
            1 => {
                // Its own value, twice.
                LOCAL.set(Box::new(10));
                LOCAL.with(|ten| Box::new(**ten + 1))
            }
            2 => {
                sleep(ms(1));
                Box::new(20)
            }
            _ => {
                let here = LOCAL.try_with(|inner| **inner);
                Box::new(here.unwrap_or(0))
            }
        }
    }
    static LOCAL: Local<Box<u32>> = Local::with_init(init);
    thread_local! {
        static N: Cell<u32> = const { Cell::new(0) };
    }
    sim(|| {
        let use_it = || {
            LOCAL.with(|value| {
                yield_now();
                **value
            })
        };
        let all: Vec<_> = (0..3).map(|_| spawn(move || caught(use_it).ok())).collect();
        let mut all: Vec<_> = join_all(all).into_iter().map(Result::unwrap).collect();
        all.sort_unstable();
        assert_eq!(all, [None, Some(11), Some(20)]);
        works();
    });
}

// ---- what needs a process of its own ----

const SCENARIO: &str = "GREENLET_SOUNDNESS";

/// Runs `f` in a process of its own, which must end with `code`, and returns what it has said.
#[track_caller]
fn process(test: &str, code: i32, f: impl FnOnce()) -> Option<String> {
    if std::env::var_os(SCENARIO).is_some() {
        f();
        return None;
    }
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(SCENARIO, test)
        .env("RUST_BACKTRACE", "0")
        .output()
        .unwrap();
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&child.stdout),
        String::from_utf8_lossy(&child.stderr)
    );
    assert_eq!(child.status.code(), Some(code), "{said}");
    Some(said)
}

/// A panic hook that waits: it may not, whatever panics, and afterwards nobody is taken for panicking.
#[test]
fn panic_hook_that_waits() {
    process("panic_hook_that_waits", 0, || {
        static HOOKED: AtomicU32 = AtomicU32::new(0);
        std::panic::set_hook(Box::new(|_| {
            HOOKED.fetch_add(1, SeqCst);
            yield_now();
            assert!(!Event::new().wait_timeout(ms(1)));
            assert!(Queue::<u8>::unbounded().get().is_err());
            let g = spawn(|| ());
            assert!(!g.wait_timeout(ms(1)));
        }));
        sim(|| {
            for _ in 0..3 {
                let other = spawn(|| {
                    for _ in 0..5 {
                        assert!(!std::thread::panicking());
                        yield_now();
                    }
                });
                let g = spawn(|| panic_any("hooked"));
                assert!(g.join().unwrap_err().is_panic());
                other.join().unwrap();
            }
            assert!(!std::thread::panicking());
            works();
        });
        let _ = std::panic::take_hook();
        assert_eq!(HOOKED.load(SeqCst), 3);
    });
}

/// `exit` runs the thread's destructors on the greenlet's stack that calls it.
#[test]
fn exit_in_a_greenlet_runs_destructors_of_thread_locals() {
    struct AtEnd;
    impl Drop for AtEnd {
        fn drop(&mut self) {
            drop(Semaphore::new(1).acquire());
            let _ = Queue::<u8>::unbounded().get_nowait();
            drop(spawn(|| 1));
            println!("DESTROYED in {}", greenlet::current().id());
        }
    }
    thread_local! {
        static BEFORE: AtEnd = const { AtEnd };
        static AFTER: AtEnd = const { AtEnd };
    }
    let said = process(
        "exit_in_a_greenlet_runs_destructors_of_thread_locals",
        7,
        || {
            BEFORE.with(|_| ());
            let frame = Frame::new();
            scope(|s| {
                s.spawn(|| {
                    let _borrow = frame.borrow();
                    sleep(ms(1000));
                });
                s.spawn(|| {
                    AFTER.with(|_| ());
                    yield_now();
                    std::process::exit(7);
                });
            });
        },
    );
    if let Some(said) = said {
        println!("{said}");
    }
}

/// Greenlets that are suspended when the process ends normally.
#[test]
fn end_of_the_process_with_everything_open() {
    process("end_of_the_process_with_everything_open", 0, || {
        static EVENT: Event = Event::new();
        static GATE: Mutex<Option<Greenlet<()>>> = Mutex::new(None);
        static VALUE: Local<Vec<u8>> = Local::new();
        let g = spawn(|| {
            VALUE.set(vec![1; 10]);
            let frame = Frame::new();
            scope(|s| {
                s.spawn(|| {
                    let _borrow = frame.borrow();
                    timeout(Duration::from_secs(9), || EVENT.wait())
                });
                shield(|| wait_all(&[&EVENT]));
            });
        });
        yield_now();
        *GATE.lock().unwrap() = Some(g);
    });
}

/// What `select!` is made of is public, though hidden: with turns that were made for others its
/// arms are not left in line.
#[test]
fn select_by_hand_with_the_turns_of_a_larger_one() {
    let queue = Queue::unbounded();
    for n in 0..100 {
        let turns = greenlet::select::fair(100);
        queue.put(n).unwrap();
        let mut intent = queue.select_get();
        let mut arm = intent.arm();
        let chosen = greenlet::select::wait([arm.listed()], &turns, greenlet::select::EVER);
        assert_eq!(chosen, Some(0));
    }
}

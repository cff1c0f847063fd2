//! The thread pool: who runs when and where, what comes back, what happens to what nobody waits for any more. That no
//! thread can be started is in `process.rs`.
//!
//! Nothing here is timed: a job that must be under way is held by a [`Gate`], and limits only turn a hang into a failure.

use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind, panic_any};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex, mpsc};
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

use greenlet::sync::{Event, Queue};
use greenlet::testing::Simulation;
use greenlet::{HubThread, ThreadPool, now, scope, shield, sleep, spawn, unblock, yield_now};

/// What takes so long hangs.
const HANGS: Duration = Duration::from_secs(30);
const SOON: Duration = Duration::from_millis(20);

/// Waits, as a greenlet, until something is so.
#[track_caller]
fn until(what: &str, so: impl Fn() -> bool) {
    let begin = Instant::now();
    while !so() {
        assert!(begin.elapsed() < HANGS, "never: {what}");
        sleep(Duration::from_millis(1));
    }
}

/// As `until`, but holds up the whole thread.
#[track_caller]
fn until_blocking(what: &str, so: impl Fn() -> bool) {
    let begin = Instant::now();
    while !so() {
        assert!(begin.elapsed() < HANGS, "never: {what}");
        thread::sleep(Duration::from_millis(1));
    }
}

fn busy(pool: &ThreadPool, n: usize) -> bool {
    format!("{pool:?}").contains(&format!("busy: {n},"))
}

/// Holds jobs up until it is opened.
#[derive(Clone)]
struct Gate(Arc<Inner>);

struct Inner {
    begun: AtomicUsize,
    open: mpsc::Sender<()>,
    pass: Mutex<mpsc::Receiver<()>>,
}

impl Gate {
    fn new() -> Self {
        let (open, pass) = mpsc::channel();
        Gate(Arc::new(Inner {
            begun: AtomicUsize::new(0),
            open,
            pass: Mutex::new(pass),
        }))
    }

    /// In the job: one pass.
    fn pass(&self) {
        self.0.begun.fetch_add(1, Ordering::SeqCst);
        let pass = self.0.pass.lock().unwrap();
        pass.recv_timeout(HANGS).expect("the gate stays shut");
    }

    /// Waits, as a greenlet, until so many jobs have come here.
    #[track_caller]
    fn until_begun(&self, jobs: usize) {
        until("that many have begun", || {
            self.0.begun.load(Ordering::SeqCst) == jobs
        });
    }

    /// Lets so many pass, now or later.
    fn open(&self, passes: usize) {
        (0..passes).for_each(|_| self.0.open.send(()).unwrap());
    }
}

/// Says on which thread it was dropped.
struct Dropped(mpsc::Sender<Option<String>>);

impl Drop for Dropped {
    fn drop(&mut self) {
        let _ = self.0.send(thread::current().name().map(str::to_owned));
    }
}

fn on_the_pool(dropped: &mpsc::Receiver<Option<String>>) {
    let by = dropped.recv_timeout(HANGS).expect("it was never dropped");
    assert_eq!(by.as_deref(), Some("greenlet-pool"));
    assert!(dropped.try_recv().is_err(), "dropped twice");
}

fn id() -> ThreadId {
    thread::current().id()
}

// ---- what comes back ----

#[test]
fn a_job_runs_elsewhere_and_the_hub_goes_on() {
    let gate = Gate::new();
    scope(|s| {
        let gate2 = gate.clone();
        let waiter = s.spawn(|| {
            unblock(move || {
                gate2.pass();
                (id(), thread::current().name().map(str::to_owned))
            })
        });
        // Were the thread held up, nobody would open the gate.
        for _ in 0..100 {
            yield_now();
        }
        assert!(!waiter.is_finished());
        gate.open(1);
        let (by, name) = waiter.join().unwrap();
        assert_ne!(by, id());
        assert_eq!(name.as_deref(), Some("greenlet-pool"));
    });
}

#[test]
fn panics_come_back_with_their_payload() {
    #[derive(Debug, PartialEq)]
    struct Payload(u8);
    let pool = ThreadPool::new(1);
    let first = pool.unblock(id);
    let caught = catch_unwind(|| pool.unblock(|| -> u8 { panic_any(Payload(7)) }));
    assert_eq!(
        *caught.unwrap_err().downcast::<Payload>().unwrap(),
        Payload(7)
    );
    let caught = spawn(|| unblock(|| -> u8 { panic!("text {}", 1) })).join();
    assert!(
        caught
            .unwrap_err()
            .to_string()
            .ends_with("panicked: text 1")
    );
    // The thread has survived.
    assert_eq!(pool.unblock(id), first);
    assert_eq!(pool.threads(), 1);
}

#[test]
fn errors_are_results_like_others() {
    let pool = ThreadPool::new(1);
    assert_eq!(pool.unblock(|| "x".parse::<u8>().ok()), None);
    assert_eq!(pool.try_unblock(|| "7".parse::<u8>()).unwrap(), Ok(7));
}

// ---- order and limits ----

/// Jobs of greenlets, of another hub and of plain threads, one behind the other.
#[test]
fn one_thread_runs_jobs_in_order_of_arrival() {
    let (pool, gate, log) = (ThreadPool::new(1), Gate::new(), Mutex::new(Vec::new()));
    let log: &'static Mutex<Vec<usize>> = Box::leak(Box::new(log));
    let hub = HubThread::start("other").unwrap();
    let pool = Arc::new(pool);
    scope(|s| {
        let (p, g) = (pool.clone(), gate.clone());
        s.spawn(move || p.unblock(move || g.pass()));
        gate.until_begun(1);
        let mut others = Vec::new();
        for i in 0..12 {
            let p = pool.clone();
            let job = move || p.unblock(move || log.lock().unwrap().push(i));
            match i % 3 {
                0 => drop(s.spawn(job)),
                1 => drop(hub.handle().spawn(job)),
                _ => others.push(thread::spawn(job)),
            }
            until("it is queued", || pool.queued() == i + 1);
        }
        assert_eq!(pool.threads(), 1);
        gate.open(1);
        until("all have run", || log.lock().unwrap().len() == 12);
        for other in others {
            other.join().unwrap();
        }
    });
    assert_eq!(*log.lock().unwrap(), (0..12).collect::<Vec<_>>());
    hub.stop();
    hub.join().unwrap();
}

/// All eight meet, also if one thread is idle when they come: each job that finds no thread free gets one.
#[test]
fn as_many_threads_as_jobs_at_once() {
    let pool = ThreadPool::new(8);
    assert_eq!(pool.threads(), 0);
    for round in 0..20 {
        pool.unblock(|| ());
        let barrier = Arc::new(Barrier::new(8));
        scope(|s| {
            for _ in 0..8 {
                let barrier = barrier.clone();
                let pool = &pool;
                s.spawn(move || pool.unblock(move || barrier.wait()));
            }
        });
        assert_eq!(pool.threads(), 8, "round {round}");
    }
}

#[test]
fn one_job_after_the_other_needs_one_thread() {
    let pool = ThreadPool::new(8);
    let first = pool.unblock(id);
    for _ in 0..50 {
        // The result may be here before the thread is free again.
        until_blocking("it is free", || busy(&pool, 0));
        assert_eq!(pool.unblock(id), first);
    }
    assert_eq!(pool.threads(), 1);
}

#[test]
fn the_limit_holds() {
    static NOW: AtomicUsize = AtomicUsize::new(0);
    static MOST: AtomicUsize = AtomicUsize::new(0);
    let pool = ThreadPool::new(3);
    scope(|s| {
        for _ in 0..200 {
            s.spawn(|| {
                // Those before have queued their jobs, and started what may be started.
                assert!(pool.threads() <= 3);
                pool.unblock(|| {
                    MOST.fetch_max(NOW.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    thread::yield_now();
                    NOW.fetch_sub(1, Ordering::SeqCst);
                });
            });
        }
    });
    assert!(MOST.load(Ordering::SeqCst) <= 3);
    assert_eq!(pool.threads(), 3);
    assert_eq!(pool.queued(), 0);
}

#[test]
fn a_raised_limit_starts_what_is_queued() {
    let (pool, gate) = (ThreadPool::new(1), Gate::new());
    scope(|s| {
        for _ in 0..4 {
            let (gate, pool) = (gate.clone(), &pool);
            s.spawn(move || pool.unblock(move || gate.pass()));
        }
        gate.until_begun(1);
        assert_eq!((pool.threads(), pool.queued()), (1, 3));
        pool.set_max_threads(3);
        gate.until_begun(3);
        assert_eq!((pool.threads(), pool.queued()), (3, 1));
        gate.open(4);
    });
    gate.until_begun(4);
    assert_eq!(pool.max_threads(), 3);
}

#[test]
fn a_lowered_limit_ends_threads() {
    let (pool, gate) = (ThreadPool::new(3), Gate::new());
    pool.set_keep_alive(Duration::MAX);
    scope(|s| {
        for _ in 0..3 {
            let (gate, pool) = (gate.clone(), &pool);
            s.spawn(move || pool.unblock(move || gate.pass()));
        }
        gate.until_begun(3);
        pool.set_max_threads(2);
        let waiter = s.spawn(|| pool.unblock(|| ()));
        until("it is queued", || pool.queued() == 1);
        // Busy ones end their jobs first.
        assert_eq!(pool.threads(), 3);
        gate.open(1);
        // That one must go, though there is a job for it.
        until("it has ended", || pool.threads() == 2);
        assert_eq!(pool.queued(), 1);
        gate.open(2);
        waiter.join().unwrap();
    });
    // Idle ones end at once.
    until("both are idle", || busy(&pool, 0));
    assert_eq!(pool.threads(), 2);
    pool.set_max_threads(1);
    until("one has ended", || pool.threads() == 1);
    assert_eq!(pool.unblock(|| 5), 5);
}

#[test]
fn a_pool_of_no_threads_is_refused() {
    assert!(catch_unwind(|| ThreadPool::new(0)).is_err());
    let pool = ThreadPool::new(2);
    assert!(catch_unwind(|| pool.set_max_threads(0)).is_err());
    assert_eq!(pool.max_threads(), 2);
    assert_eq!(pool.unblock(|| 1), 1);
}

#[test]
fn idle_threads_stay_for_their_time() {
    let pool = ThreadPool::new(4);
    pool.set_keep_alive(Duration::MAX);
    let first = pool.unblock(id);
    until("it is idle", || busy(&pool, 0));
    assert_eq!(pool.unblock(id), first);
    // The new time holds for those that are idle already.
    pool.set_keep_alive(SOON);
    until("it has ended", || pool.threads() == 0);
    pool.set_keep_alive(Duration::ZERO);
    assert_ne!(pool.unblock(id), first);
    until("the next one has ended", || pool.threads() == 0);
}

// ---- kills and timeouts ----

#[test]
fn a_kill_does_not_wait_for_the_job() {
    let (pool, gate) = (ThreadPool::new(1), Gate::new());
    let (sender, dropped) = mpsc::channel();
    scope(|s| {
        let g = s.spawn(|| {
            let gate = gate.clone();
            pool.unblock(move || {
                gate.pass();
                Dropped(sender)
            });
        });
        gate.until_begun(1);
        g.kill();
        assert!(g.join().unwrap_err().is_killed());
        assert!(dropped.try_recv().is_err(), "the job has not ended");
        assert!(busy(&pool, 1));
        gate.open(1);
        on_the_pool(&dropped);
    });
    assert_eq!(pool.unblock(|| 1), 1);
}

#[test]
fn an_expiry_does_not_wait_for_the_job() {
    let (pool, gate) = (Arc::new(ThreadPool::new(1)), Gate::new());
    // A greenlet, the root, and a thread without a hub.
    let try_it = {
        let (pool, gate) = (pool.clone(), gate.clone());
        move || {
            let (sender, dropped) = mpsc::channel();
            let job = {
                let gate = gate.clone();
                move || {
                    gate.pass();
                    Dropped(sender)
                }
            };
            assert!(greenlet::timeout(SOON, || pool.unblock(job)).is_err());
            assert!(dropped.try_recv().is_err(), "the job has not ended");
            gate.open(1);
            on_the_pool(&dropped);
        }
    };
    thread::spawn(try_it.clone()).join().unwrap();
    spawn(try_it.clone()).join().unwrap();
    try_it();
    assert_eq!(pool.threads(), 1);
}

#[test]
fn a_job_that_has_not_begun_runs_without_its_waiter() {
    let (pool, gate) = (ThreadPool::new(1), Gate::new());
    let (sender, dropped) = mpsc::channel();
    let ran = Arc::new(AtomicUsize::new(0));
    scope(|s| {
        let first = s.spawn(|| {
            pool.unblock({
                let gate = gate.clone();
                move || gate.pass()
            })
        });
        let second = s.spawn(|| {
            let ran = ran.clone();
            pool.unblock(move || {
                ran.fetch_add(1, Ordering::SeqCst);
                Dropped(sender)
            });
        });
        until("it is queued", || pool.queued() == 1);
        second.kill();
        assert!(second.join().unwrap_err().is_killed());
        assert_eq!((pool.queued(), ran.load(Ordering::SeqCst)), (1, 0));
        gate.open(1);
        first.join().unwrap();
        on_the_pool(&dropped);
        assert_eq!(ran.load(Ordering::SeqCst), 1);
    });
}

/// The wait is over, but the waiter has not run since, when the job ends.
#[test]
fn a_result_that_comes_before_the_unwind_is_dropped_on_the_pool() {
    let (pool, gate) = (ThreadPool::new(1), Gate::new());
    let (sender, dropped) = mpsc::channel();
    scope(|s| {
        let g = s.spawn(|| {
            let gate = gate.clone();
            pool.unblock(move || {
                gate.pass();
                Dropped(sender)
            });
        });
        gate.until_begun(1);
        g.kill();
        gate.open(1);
        until_blocking("it has ended", || busy(&pool, 0));
        assert!(!g.is_finished() && dropped.try_recv().is_err());
        assert!(g.join().unwrap_err().is_killed());
        on_the_pool(&dropped);
    });
}

/// The result was given before the kill: it is taken, and the kill acts at the next wait.
#[test]
fn a_result_that_comes_before_the_kill_is_taken() {
    let (pool, gate) = (ThreadPool::new(1), Gate::new());
    let got = Cell::new(0);
    scope(|s| {
        let g = s.spawn(|| {
            let gate = gate.clone();
            got.set(pool.unblock(move || {
                gate.pass();
                7
            }));
            sleep(HANGS);
        });
        gate.until_begun(1);
        gate.open(1);
        until_blocking("it has ended", || busy(&pool, 0));
        g.kill();
        assert!(g.join().unwrap_err().is_killed());
    });
    assert_eq!(got.get(), 7);
}

#[test]
fn nothing_is_queued_if_a_kill_is_due() {
    let pool = ThreadPool::new(1);
    let (there, go) = (Event::new(), Event::new());
    let (sender, dropped) = mpsc::channel();
    scope(|s| {
        let g = s.spawn(|| {
            shield(|| {
                there.set();
                go.wait();
            });
            let mark = Dropped(sender);
            pool.unblock(move || drop(mark));
        });
        there.wait();
        g.kill();
        go.set();
        assert!(g.join().unwrap_err().is_killed());
    });
    assert_eq!((pool.threads(), pool.queued()), (0, 0));
    assert_ne!(
        dropped
            .try_recv()
            .expect("dropped with the closure")
            .as_deref(),
        Some("greenlet-pool")
    );
}

#[test]
fn a_shield_waits_for_the_end() {
    let (pool, gate) = (ThreadPool::new(1), Gate::new());
    let got = Cell::new(0);
    scope(|s| {
        let g = s.spawn(|| {
            let gate = gate.clone();
            got.set(shield(|| {
                pool.unblock(move || {
                    gate.pass();
                    7
                })
            }));
            yield_now();
            got.set(8);
        });
        gate.until_begun(1);
        g.kill();
        yield_now();
        assert!(!g.is_finished());
        gate.open(1);
        assert!(g.join().unwrap_err().is_killed());
    });
    assert_eq!(got.get(), 7);
}

/// Whatever nobody waits for any more, and whatever it does when it is dropped.
#[test]
fn destructors_that_panic_do_not_end_the_thread() {
    struct Bomb(mpsc::Sender<()>);
    impl Drop for Bomb {
        fn drop(&mut self) {
            let _ = self.0.send(());
            panic!("a destructor");
        }
    }
    let (pool, gate) = (ThreadPool::new(1), Gate::new());
    let first = pool.unblock(id);
    let (sender, exploded) = mpsc::channel();
    for (round, payload) in [false, true].into_iter().enumerate() {
        scope(|s| {
            let g = s.spawn(|| {
                let (gate, bomb) = (gate.clone(), Bomb(sender.clone()));
                pool.unblock(move || {
                    gate.pass();
                    match payload {
                        true => panic_any(bomb),
                        false => bomb,
                    }
                });
            });
            gate.until_begun(round + 1);
            g.kill();
            assert!(g.join().unwrap_err().is_killed());
            gate.open(1);
            exploded.recv_timeout(HANGS).expect("it was never dropped");
        });
        assert_eq!(pool.unblock(id), first);
    }
}

/// A thread that ends while a greenlet of its waits: nobody is left to be woken.
#[test]
fn the_waiters_thread_may_end_first() {
    let (pool, gate) = (Arc::new(ThreadPool::new(1)), Gate::new());
    thread::spawn({
        let (pool, gate) = (pool.clone(), gate.clone());
        move || {
            drop(spawn(move || pool.unblock(move || gate.pass())));
            yield_now();
        }
    })
    .join()
    .unwrap();
    gate.until_begun(1);
    gate.open(1);
    assert_eq!(pool.unblock(|| 1), 1);
}

// ---- where it runs at once ----

#[test]
fn a_job_of_the_same_pool_runs_its_own_at_once() {
    let pool: &'static ThreadPool = Box::leak(Box::new(ThreadPool::new(1)));
    let ids = pool.unblock(|| {
        let inner = pool.unblock(|| (id(), pool.unblock(id)));
        // Greenlets of a job too: the thread is theirs.
        let greenlet = scope(|s| s.spawn(|| pool.unblock(id)).join().unwrap());
        [id(), inner.0, inner.1, greenlet]
    });
    assert_eq!(ids, [ids[0]; 4]);
    assert_eq!(pool.threads(), 1);
    // Its panic is the outer job's.
    let caught = catch_unwind(|| pool.unblock(|| pool.unblock(|| panic_any(7))));
    assert_eq!(*caught.unwrap_err().downcast::<i32>().unwrap(), 7);
    // Another pool is another pool.
    let other: &'static ThreadPool = Box::leak(Box::new(ThreadPool::new(1)));
    assert_ne!(pool.unblock(|| other.unblock(id)), ids[0]);
    assert_eq!(other.threads(), 1);
}

#[test]
fn while_panicking_it_runs_at_once() {
    struct AtEnd<'a>(&'a ThreadPool, &'a Cell<Option<ThreadId>>);
    impl Drop for AtEnd<'_> {
        fn drop(&mut self) {
            self.1.set(Some(self.0.unblock(id)));
        }
    }
    let (pool, by) = (ThreadPool::new(1), Cell::new(None));
    let caught = catch_unwind(AssertUnwindSafe(|| {
        let _at_end = AtEnd(&pool, &by);
        panic!("oops");
    }));
    assert!(caught.is_err());
    assert_eq!(by.take(), Some(id()));
    // A kill is an unwind too.
    scope(|s| {
        let g = s.spawn(|| {
            let _at_end = AtEnd(&pool, &by);
            sleep(HANGS);
        });
        yield_now();
        g.kill();
        assert!(g.join().is_err());
    });
    assert_eq!(by.get(), Some(id()));
    assert_eq!(pool.threads(), 0);
}

#[test]
fn in_a_simulation_it_runs_at_once() {
    let here = id();
    let log = RefCell::new(Vec::new());
    Simulation::new().run(|| {
        let begin = now();
        scope(|s| {
            for i in 0..3 {
                let log = &log;
                s.spawn(move || {
                    sleep(Duration::from_secs(3600) * (3 - i));
                    assert_eq!(unblock(id), here);
                    log.borrow_mut().push(i);
                });
            }
        });
        assert_eq!(now() - begin, Duration::from_secs(3 * 3600));
    });
    assert_eq!(log.into_inner(), [2, 1, 0]);
}

#[test]
fn where_no_wait_is_allowed_it_panics_and_queues_nothing() {
    let pool = ThreadPool::new(1);
    let caught = catch_unwind(|| greenlet::no_switch(|| pool.unblock(|| 1)));
    let text = *caught.unwrap_err().downcast::<String>().unwrap();
    let (place, why) = (file!(), "where no wait is allowed");
    assert!(
        text.starts_with(&format!("ThreadPool::unblock at {place}:")),
        "{text}"
    );
    assert!(text.contains(why), "{text}");
    assert_eq!((pool.threads(), pool.queued()), (0, 0));
}

// ---- jobs that wait ----

#[test]
fn jobs_wait_for_greenlets_of_any_hub() {
    let pool = ThreadPool::new(2);
    let hub = HubThread::start("other").unwrap();
    let (here, asked, answered) = (
        greenlet::HubHandle::current(),
        Arc::new(Queue::rendezvous()),
        Arc::new(Queue::bounded(1)),
    );
    scope(|s| {
        // Far more jobs than threads, each in turn for a greenlet of another hub and of this one.
        for i in 0..40 {
            let (there, here, pool) = (hub.handle(), here.clone(), &pool);
            s.spawn(move || {
                let got = pool.unblock(move || {
                    let there = there.spawn(move || {
                        sleep(Duration::from_millis(1));
                        i
                    });
                    let here = here.spawn(move || {
                        yield_now();
                        i
                    });
                    (there.join().unwrap(), here.join().unwrap())
                });
                assert_eq!(got, (i, i));
            });
        }
        // And a job that talks with a greenlet.
        s.spawn({
            let (asked, answered) = (asked.clone(), answered.clone());
            move || {
                for question in &*asked {
                    answered.put(question * 2).unwrap();
                }
            }
        });
        let sum = pool.unblock(move || {
            let sum: u32 = (1..=10)
                .map(|question: u32| {
                    asked.put(question).unwrap();
                    answered.get().unwrap()
                })
                .sum();
            asked.shutdown();
            sum
        });
        assert_eq!(sum, 110);
    });
    assert_eq!(pool.threads(), 2);
    hub.stop();
    hub.join().unwrap();
}

/// A greenlet for which a job waits may use the pool too, as long as the pool has a thread left.
#[test]
fn greenlets_that_a_job_waits_for_may_use_the_pool() {
    let pool: &'static ThreadPool = Box::leak(Box::new(ThreadPool::new(2)));
    let hub = HubThread::start("other").unwrap();
    let there = hub.handle();
    let deep = pool.unblock(move || there.spawn(|| pool.unblock(|| 7)).join().unwrap());
    assert_eq!(deep, 7);
    hub.stop();
    hub.join().unwrap();
}

#[test]
fn a_job_has_timeouts_like_any_thread() {
    let late = unblock(|| {
        assert!(!Event::new().wait_timeout(SOON));
        greenlet::timeout(SOON, || Event::new().wait())
    });
    assert!(late.is_err());
}

// ---- the end ----

/// Tells when a thread of the pool has ended, however that comes.
fn tell_of_the_end(pool: &ThreadPool) -> mpsc::Receiver<Option<String>> {
    thread_local! {
        static AT_END: RefCell<Option<Dropped>> = const { RefCell::new(None) };
    }
    let (sender, ended) = mpsc::channel();
    pool.unblock(|| AT_END.set(Some(Dropped(sender))));
    ended
}

#[test]
fn a_dropped_pool_ends_its_threads() {
    let pool = ThreadPool::new(1);
    pool.set_keep_alive(Duration::MAX);
    let ended = tell_of_the_end(&pool);
    assert!(ended.try_recv().is_err());
    drop(pool);
    ended.recv_timeout(HANGS).expect("the thread lives on");
}

#[test]
fn a_dropped_pool_runs_what_is_queued() {
    let (pool, gate, log) = (
        ThreadPool::new(1),
        Gate::new(),
        Arc::new(Mutex::new(Vec::new())),
    );
    pool.set_keep_alive(Duration::MAX);
    let ended = tell_of_the_end(&pool);
    scope(|s| {
        let waiters: Vec<_> = (0..5)
            .map(|i| {
                let (pool, gate, log) = (&pool, gate.clone(), log.clone());
                s.spawn(move || {
                    pool.unblock(move || {
                        gate.pass();
                        log.lock().unwrap().push(i);
                    });
                })
            })
            .collect();
        until("all but one are queued", || {
            busy(&pool, 1) && pool.queued() == 4
        });
        for waiter in waiters {
            waiter.kill();
            assert!(waiter.join().unwrap_err().is_killed());
        }
    });
    drop(pool);
    gate.open(5);
    ended.recv_timeout(HANGS).expect("the thread lives on");
    assert_eq!(*log.lock().unwrap(), [0, 1, 2, 3, 4]);
}

#[test]
fn a_job_may_drop_its_pool() {
    let (pool, gate) = (Arc::new(ThreadPool::new(1)), Gate::new());
    let ended = tell_of_the_end(&pool);
    let weak = Arc::downgrade(&pool);
    let g = spawn({
        let gate = gate.clone();
        move || {
            let last = pool.clone();
            pool.unblock(move || {
                gate.pass();
                drop(last);
            });
        }
    });
    gate.until_begun(1);
    g.kill();
    g.wait();
    drop(g);
    assert_eq!(weak.strong_count(), 1);
    gate.open(1);
    ended.recv_timeout(HANGS).expect("the thread lives on");
    assert_eq!(weak.strong_count(), 0);
}

#[test]
fn the_texts() {
    let pool = ThreadPool::new(3);
    assert_eq!(
        format!("{pool:?}"),
        "ThreadPool { threads: 0, busy: 0, queued: 0, max_threads: 3 }"
    );
    assert!(ThreadPool::global().max_threads() > 100);
    assert!(std::ptr::eq(ThreadPool::global(), ThreadPool::global()));
}

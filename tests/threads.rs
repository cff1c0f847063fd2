//! Across threads: every primitive used by the greenlets of two hubs, by roots and by plain threads at once, with races that
//! are real and checks that nothing is lost or doubled; and threads that end while others wait for them or wake them.
//!
//! The 100,000 waiters on one event are in `process.rs`: they need the mappings of a process for themselves.
//!
//! Limits of some seconds stand only where a failing test would hang otherwise; a passing one does not use them up.

mod chance;

use chance::Chance;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use greenlet::sync::{
    AsyncResult, BoundedSemaphore, Event, GetError, LifoQueue, PriorityQueue, PutError, Queue,
    RwLock, Semaphore,
};
use greenlet::{
    Elapsed, Greenlet, HubHandle, HubThread, JoinError, Local, Timeout, finally, join_all, now,
    run, shield, sleep, spawn, timeout, wait_all, wait_any, wait_any_timeout, yield_now,
};

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// Only a test that fails waits so long.
const HANGS: Duration = Duration::from_secs(300);
/// Only a wait that fails takes so long.
const LOST: Duration = Duration::from_secs(5);

/// Runs a test that would hang if something were lost.
fn within(test: impl FnOnce() + Send + 'static) {
    let (sender, receiver) = mpsc::channel();
    let thread = std::thread::spawn(move || {
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(test));
        sender.send(()).unwrap();
        result
    });
    if receiver.recv_timeout(HANGS).is_err() {
        panic!("hangs: something was lost");
    }
    if let Err(payload) = thread.join().unwrap() {
        std::panic::resume_unwind(payload);
    }
}

/// How many take part in [`everywhere`].
const PARTIES: usize = 12;

/// Runs `job` at once in six greenlets of two hub threads, at two roots that have a greenlet each, and on two plain threads.
fn everywhere<R: Send + 'static>(job: impl Fn(usize) -> R + Send + Sync + 'static) -> Vec<R> {
    let job = Arc::new(job);
    let hubs = [
        HubThread::start("hub 0").unwrap(),
        HubThread::start("hub 1").unwrap(),
    ];
    let remote: Vec<Greenlet<R>> = (0..6)
        .map(|i| {
            let job = job.clone();
            hubs[i % 2].handle().spawn(move || job(i))
        })
        .collect();
    let roots: Vec<_> = (0..2)
        .map(|i| {
            let job = job.clone();
            std::thread::spawn(move || {
                let beside = spawn({
                    let job = job.clone();
                    move || job(6 + i)
                });
                let own = job(8 + i);
                [beside.join().unwrap(), own]
            })
        })
        .collect();
    let plain: Vec<_> = (0..2)
        .map(|i| {
            let job = job.clone();
            std::thread::spawn(move || job(10 + i))
        })
        .collect();
    let mut all: Vec<R> = join_all(remote).into_iter().map(Result::unwrap).collect();
    for root in roots {
        all.extend(root.join().unwrap());
    }
    all.extend(plain.into_iter().map(|t| t.join().unwrap()));
    for hub in hubs {
        hub.stop();
        hub.join().unwrap();
    }
    assert_eq!(all.len(), PARTIES);
    all
}

// ---- every primitive, everywhere ----

#[test]
fn semaphore_everywhere_never_lends_more_than_it_has_and_gets_all_back() {
    within(|| {
        const PERMITS: usize = 3;
        let s = Arc::new(Semaphore::new(PERMITS));
        let inside = Arc::new(AtomicUsize::new(0));
        let shared = s.clone();
        everywhere(move |i| {
            let mut chance = Chance::new(i);
            for _ in 0..300 {
                let n = 1 + chance.below(PERMITS as u64) as usize;
                let permit = match chance.below(5) {
                    0 => shared.try_acquire().map(|p| (p, 1)),
                    1 => shared.acquire_timeout(Duration::ZERO).map(|p| (p, 1)),
                    2 => shared
                        .acquire_many_timeout(n, Duration::from_micros(50))
                        .map(|p| (p, n)),
                    3 => Some((shared.acquire(), 1)),
                    _ => Some((shared.acquire_many(n), n)),
                };
                if let Some((permit, n)) = permit {
                    let now = inside.fetch_add(n, SeqCst) + n;
                    assert!(now <= PERMITS, "{now} of {PERMITS} permits");
                    if chance.below(2) == 0 {
                        yield_now();
                    }
                    inside.fetch_sub(n, SeqCst);
                    drop(permit);
                }
            }
        });
        assert_eq!(s.available(), PERMITS);
        assert!(format!("{s:?}").contains("waiting: 0"), "{s:?}");
    });
}

#[test]
fn bounded_semaphore_everywhere_ends_at_its_bound() {
    within(|| {
        let s = Arc::new(BoundedSemaphore::new(2));
        let shared = s.clone();
        everywhere(move |i| {
            let mut chance = Chance::new(i);
            for _ in 0..300 {
                match chance.below(3) {
                    0 => drop(shared.acquire_owned()),
                    1 => drop(shared.acquire_owned_timeout(Duration::from_micros(20))),
                    _ => {
                        shared.acquire().forget();
                        yield_now();
                        shared.release().expect("it was acquired");
                    }
                }
            }
        });
        assert_eq!(s.available(), 2);
        assert!(s.release().is_err());
    });
}

/// While permits are free and nobody waits, nothing else that uses the semaphore may make `try_acquire` fail.
#[test]
fn try_acquire_succeeds_while_there_are_permits_and_nobody_waits() {
    within(|| {
        const OBSERVED: usize = 200_000;
        let s = Arc::new(Semaphore::new(1000));
        let seen = Arc::new(AtomicUsize::new(0));
        let observer = std::thread::spawn({
            let (s, seen) = (s.clone(), seen.clone());
            move || {
                for _ in 0..OBSERVED {
                    assert!(format!("{s:?}").contains("waiting: 0"));
                    seen.fetch_add(1, SeqCst);
                }
            }
        });
        let mut refused = 0;
        while seen.load(SeqCst) < OBSERVED {
            refused += usize::from(s.try_acquire().is_none());
        }
        observer.join().unwrap();
        assert_eq!(
            refused, 0,
            "refused though 1000 permits are free and nobody waits"
        );
    });
}

/// Items are (producer, number). Producers and consumers are everywhere.
fn through_a_queue<Q: Send + Sync + 'static>(
    q: Q,
    put: fn(&Q, (usize, u32), &mut Chance),
    get: fn(&Q, &mut Chance) -> Option<(usize, u32)>,
    shutdown: fn(&Q),
    in_order: bool,
) {
    const EACH: u32 = 300;
    let q = Arc::new(q);
    let left = Arc::new(AtomicUsize::new(PARTIES / 2));
    let shared = q.clone();
    let got = everywhere(move |i| {
        let mut chance = Chance::new(i);
        let mut got = vec![];
        if i % 2 == 0 {
            for n in 0..EACH {
                put(&shared, (i, n), &mut chance);
            }
            if left.fetch_sub(1, SeqCst) == 1 {
                shutdown(&shared);
            }
        } else {
            while let Some(item) = get(&shared, &mut chance) {
                got.push(item);
            }
        }
        got
    });
    if in_order {
        for mine in &got {
            for producer in 0..PARTIES {
                let numbers: Vec<_> = mine
                    .iter()
                    .filter(|g| g.0 == producer)
                    .map(|g| g.1)
                    .collect();
                assert!(
                    numbers.is_sorted(),
                    "a producer's items in order: {numbers:?}"
                );
            }
        }
    }
    let mut all: Vec<_> = got.concat();
    all.sort();
    let expected: Vec<_> = (0..PARTIES)
        .step_by(2)
        .flat_map(|i| (0..EACH).map(move |n| (i, n)))
        .collect();
    assert_eq!(all.len(), expected.len());
    assert!(all == expected, "lost or doubled");
}

macro_rules! queue_everywhere {
    ($($name:ident: $Queue:ident, $new:expr, $in_order:expr;)*) => {$(
        #[test]
        fn $name() {
            within(|| through_a_queue::<$Queue<(usize, u32)>>(
                $new,
                |q, mut item, chance| loop {
                    let refused = match chance.below(3) {
                        0 => q.put_nowait(item),
                        1 => q.put_timeout(item, Duration::from_micros(chance.below(50))),
                        _ => return q.put(item).unwrap(),
                    };
                    match refused {
                        Ok(()) => return,
                        Err(PutError::Full(back)) => {
                            assert_eq!(back, item);
                            item = back;
                            yield_now();
                        }
                        Err(e) => panic!("{e}"),
                    }
                },
                |q, chance| loop {
                    let got = match chance.below(3) {
                        0 => q.get_nowait(),
                        1 => q.get_timeout(Duration::from_micros(chance.below(50))),
                        _ => q.get(),
                    };
                    match got {
                        Ok(item) => {
                            q.task_done();
                            return Some(item);
                        }
                        Err(GetError::ShutDown) => return None,
                        Err(GetError::Empty) => yield_now(),
                    }
                },
                |q| {
                    q.join(); // all that was put is done
                    assert_eq!(q.unfinished(), 0);
                    q.shutdown();
                },
                $in_order,
            ));
        }
    )*};
}

queue_everywhere! {
    unbounded_queue_everywhere_loses_and_doubles_nothing: Queue, Queue::unbounded(), true;
    bounded_queue_everywhere_loses_and_doubles_nothing: Queue, Queue::bounded(2), true;
    rendezvous_everywhere_loses_and_doubles_nothing: Queue, Queue::rendezvous(), true;
    lifo_queue_everywhere_loses_and_doubles_nothing: LifoQueue, LifoQueue::bounded(3), false;
    priority_queue_everywhere_loses_and_doubles_nothing: PriorityQueue, PriorityQueue::bounded(3), false;
}

#[test]
fn shutdown_now_everywhere_gives_each_item_to_one() {
    within(|| {
        for _ in 0..30 {
            let q = Arc::new(Queue::bounded(2));
            let results = everywhere(move |i| match i {
                // Putters: what they have back, or put in.
                0..6 => match q.put(i) {
                    Ok(()) => (1, vec![]),
                    Err(PutError::ShutDown(back)) => (1, vec![back]),
                    Err(e) => panic!("{e}"),
                },
                6..9 => (0, q.get().into_iter().collect()),
                _ => {
                    yield_now();
                    (0, q.shutdown_now())
                }
            });
            let put: usize = results.iter().map(|r| r.0).sum();
            let mut all: Vec<_> = results.into_iter().flat_map(|r| r.1).collect();
            all.sort();
            assert_eq!((put, all), (6, (0..6).collect()));
        }
    });
}

#[test]
fn event_everywhere_wakes_all_who_wait() {
    within(|| {
        const ROUNDS: usize = 300;
        let events: Arc<Vec<Event>> = Arc::new((0..ROUNDS).map(|_| Event::new()).collect());
        let here: Vec<Semaphore> = (0..ROUNDS).map(|_| Semaphore::new(0)).collect();
        let shared = events.clone();
        everywhere(move |i| {
            let mut chance = Chance::new(i);
            for (round, event) in shared.iter().enumerate() {
                if round % PARTIES == i {
                    // Sets while some wait, and some are just about to.
                    here[round].acquire_many(PARTIES / 2).forget();
                    event.set();
                } else {
                    here[round].release();
                    match chance.below(3) {
                        0 => while !event.wait_timeout(Duration::from_micros(chance.below(100))) {},
                        1 => assert_eq!(wait_any(&[event, &Event::new()]), 0),
                        _ => event.wait(),
                    }
                    assert!(event.is_set());
                }
            }
        });
        for event in &*events {
            assert!(format!("{event:?}").contains("waiting: 0"), "{event:?}");
        }
    });
}

#[test]
fn event_that_is_cleared_at_once_everywhere_still_wakes_all_who_waited() {
    within(|| {
        let go = Arc::new(Event::new());
        let over = Arc::new(AtomicBool::new(false));
        let passed: Arc<Vec<AtomicUsize>> = Arc::new((0..PARTIES).map(|_| 0.into()).collect());
        everywhere(move |i| {
            if i < PARTIES - 1 {
                while !over.load(SeqCst) {
                    go.wait();
                    passed[i].fetch_add(1, SeqCst);
                }
                return;
            }
            let counts = || -> Vec<usize> { passed[..i].iter().map(|p| p.load(SeqCst)).collect() };
            for _ in 0..300 {
                while !format!("{go:?}").contains(&format!("waiting: {i}")) {
                    std::thread::yield_now();
                }
                let before = counts();
                go.set();
                go.clear();
                while counts()
                    .iter()
                    .zip(&before)
                    .any(|(now, before)| now == before)
                {
                    std::thread::yield_now();
                }
            }
            over.store(true, SeqCst);
            go.set();
        });
    });
}

#[test]
fn async_result_everywhere_is_set_once_and_seen_by_all() {
    within(|| {
        const ROUNDS: usize = 300;
        let results: Arc<Vec<AsyncResult<usize, usize>>> =
            Arc::new((0..ROUNDS).map(|_| AsyncResult::default()).collect());
        let seen = everywhere(move |i| {
            let mut chance = Chance::new(i);
            let mut won = vec![];
            let seen: Vec<_> = results
                .iter()
                .enumerate()
                .map(|(round, result)| {
                    if (round + i) % 3 == 0 {
                        let set = match chance.below(2) {
                            0 => result.set(i).map_err(|back| assert_eq!(back, i)),
                            _ => result.set_error(i).map_err(|back| assert_eq!(back, i)),
                        };
                        if set.is_ok() {
                            won.push(round);
                        }
                    }
                    match chance.below(3) {
                        0 => result.get(),
                        1 => loop {
                            if let Some(r) = result.wait_timeout(Duration::from_micros(30)) {
                                break r.copied().map_err(|e| *e);
                            }
                        },
                        _ => result.wait().copied().map_err(|e| *e),
                    }
                })
                .collect();
            (seen, won)
        });
        let mut winners: Vec<_> = seen.iter().flat_map(|s| s.1.clone()).collect();
        winners.sort();
        assert_eq!(winners, (0..ROUNDS).collect::<Vec<_>>(), "one winner each");
        assert!(
            seen.iter().all(|s| s.0 == seen[0].0),
            "all see the winner's"
        );
    });
}

#[test]
fn greenlets_of_other_hubs_everywhere_are_joined_with_their_own_values() {
    within(|| {
        let hub = HubThread::start("worker").unwrap();
        let handle = hub.handle();
        let sums = everywhere(move |i| {
            let mut chance = Chance::new(i);
            (0..200)
                .map(|n| {
                    let g = handle.spawn(move || {
                        if n % 3 == 0 {
                            yield_now();
                        }
                        i * 1000 + n
                    });
                    match chance.below(3) {
                        0 => g.wait(),
                        1 => while !g.wait_timeout(Duration::from_micros(20)) {},
                        _ => assert_eq!(wait_any(&[&g]), 0),
                    }
                    assert_eq!(g.join().unwrap(), i * 1000 + n);
                })
                .count()
        });
        assert_eq!(sums, [200; PARTIES]);
        hub.stop();
        hub.join().unwrap();
    });
}

#[test]
fn links_from_other_threads_everywhere_run_exactly_once() {
    within(|| {
        let hub = HubThread::start("worker").unwrap();
        for _ in 0..50 {
            let go = Arc::new(Event::new());
            let ran = Arc::new(AtomicUsize::new(0));
            let g = Arc::new(hub.handle().spawn({
                let go = go.clone();
                move || {
                    go.wait();
                    3
                }
            }));
            let (linked, counted) = (g.clone(), ran.clone());
            everywhere(move |i| {
                if i == 5 {
                    go.set();
                }
                let ran = counted.clone();
                linked.link(move |outcome| {
                    assert_eq!(*outcome.as_ref().unwrap(), 3);
                    ran.fetch_add(1, SeqCst);
                });
            });
            g.wait();
            assert_eq!(ran.load(SeqCst), PARTIES);
        }
        hub.stop();
        hub.join().unwrap();
    });
}

#[test]
fn locals_everywhere_do_not_mix() {
    within(|| {
        static MINE: Local<usize> = Local::with_init(|| 0);
        everywhere(|i| {
            assert!(!MINE.is_set());
            for n in 0..100 {
                MINE.with(|v| assert_eq!(*v, i * n));
                MINE.set(i * (n + 1));
                yield_now();
            }
            assert_eq!(MINE.take(), Some(i * 100));
        });
    });
}

#[test]
fn several_events_everywhere_wait_any_names_one_that_is_set() {
    within(|| {
        const ROUNDS: usize = 300;
        let pairs: Arc<Vec<[Event; 3]>> =
            Arc::new((0..ROUNDS).map(|_| Default::default()).collect());
        let shared = pairs.clone();
        everywhere(move |i| {
            for (round, events) in shared.iter().enumerate() {
                let [a, b, c] = events;
                match (round + i) % 4 {
                    n @ 0..3 => events[n].set(),
                    _ => {
                        let first = wait_any(&[a, b, c]);
                        assert!(events[first].is_set());
                        while wait_any_timeout(&[b], Duration::from_micros(10)).is_none() {}
                        wait_all(&[c, b, a]);
                    }
                }
            }
        });
        for event in pairs.iter().flatten() {
            assert!(format!("{event:?}").contains("waiting: 0"), "{event:?}");
        }
    });
}

// ---- kills from other threads ----

#[test]
fn kill_from_another_thread_acts_at_the_wait_and_runs_destructors() {
    within(|| {
        let hub = HubThread::start("victim").unwrap();
        let dropped = Arc::new(AtomicUsize::new(0));
        struct Count(Arc<AtomicUsize>);
        impl Drop for Count {
            fn drop(&mut self) {
                self.0.fetch_add(1, SeqCst);
            }
        }
        let started = Arc::new(Semaphore::new(0));
        let g = hub.handle().spawn({
            let (count, started) = (Count(dropped.clone()), started.clone());
            move || {
                let _count = count;
                started.release();
                Event::new().wait();
            }
        });
        started.acquire().forget();
        g.kill();
        g.kill();
        assert!(g.join().unwrap_err().is_killed());
        assert_eq!(dropped.load(SeqCst), 1);
        // Before its start, whether or not its spawn has arrived.
        for _ in 0..200 {
            let count = Count(dropped.clone());
            let g = hub.handle().spawn(move || {
                let _count = count;
                Event::new().wait();
            });
            g.kill();
            assert!(g.join().unwrap_err().is_killed());
        }
        assert_eq!(dropped.load(SeqCst), 201);
        // After its end.
        let g = hub.handle().spawn(|| 5);
        g.wait();
        g.kill();
        assert_eq!(g.join().unwrap(), 5);
        hub.stop();
        hub.join().unwrap();
    });
}

/// Kills race with permits that are handed over: a permit given to a killed one comes back, and none is lost.
#[test]
fn kill_from_another_thread_against_a_hand_over_loses_no_permit_and_no_item() {
    within(|| {
        let hubs = [
            HubThread::start("a").unwrap(),
            HubThread::start("b").unwrap(),
        ];
        let s = Arc::new(Semaphore::new(0));
        let q = Arc::new(Queue::unbounded());
        let got = Arc::new(AtomicUsize::new(0));
        for round in 0..300 {
            let taker = hubs[0].handle().spawn({
                let s = s.clone();
                move || {
                    let _permit = s.acquire();
                    yield_now();
                }
            });
            let getter = hubs[1].handle().spawn({
                let (q, got) = (q.clone(), got.clone());
                move || {
                    let item = q.get().unwrap();
                    got.fetch_add(item, SeqCst);
                    yield_now();
                }
            });
            if round % 2 == 0 {
                std::thread::yield_now();
            }
            let killer = std::thread::spawn(move || {
                taker.kill();
                getter.kill();
                taker.wait();
                getter.wait();
            });
            s.release();
            q.put(1).unwrap();
            killer.join().unwrap();
            // Whoever won, the permit is back, and the item was got or is there.
            assert_eq!(s.available(), round + 1);
            assert_eq!(got.load(SeqCst) + q.len(), round + 1);
        }
        for hub in hubs {
            hub.stop();
            hub.join().unwrap();
        }
    });
}

// ---- threads that end ----

/// A thread with a hub that ends while `body`'s greenlets are left. `body` runs at its root, and yields once after.
fn abandoned<R: Send + 'static>(body: impl FnOnce() -> R + Send + 'static) -> R {
    let thread = std::thread::spawn(move || {
        let result = body();
        yield_now();
        result
    });
    thread.join().unwrap()
}

/// Sizes of stacks keep two lines of them, so greenlets come back to a stack in another order
/// than to the places in their hub's table.
#[test]
fn a_stack_that_another_greenlet_gets_takes_wakes_to_the_new_one() {
    within(|| {
        run(|| {
            let start = |bytes: usize, event: &Arc<Event>| {
                let event = event.clone();
                let builder = greenlet::Builder::new().stack_size(bytes);
                builder.spawn(move || event.wait()).unwrap()
            };
            let open = Arc::new(Event::new());
            open.set();
            start(64 << 10, &open).join().unwrap();
            let [here, there, never] = [(); 3].map(|()| Arc::new(Event::new()));
            let first = start(128 << 10, &never);
            let second = start(64 << 10, &here);
            yield_now();
            here.set();
            second.join().unwrap();
            let third = start(128 << 10, &open);
            let fourth = start(64 << 10, &there);
            yield_now();
            third.join().unwrap();
            let other = std::thread::spawn({
                let there = there.clone();
                move || there.set()
            });
            fourth.join().unwrap();
            other.join().unwrap();
            assert!(!first.is_finished());
            never.set();
            first.join().unwrap();
        });
    });
}

#[test]
fn thread_that_ends_with_greenlets_left_tells_joiners_on_other_threads() {
    within(|| {
        let (sender, receiver) = mpsc::channel();
        let end = Arc::new(Event::new());
        let waiting = Arc::new(Semaphore::new(0));
        let thread = std::thread::spawn({
            let end = end.clone();
            move || {
                let waits = || spawn(|| Event::new().wait());
                let all: Vec<Greenlet<()>> = (0..4).map(|_| waits()).collect();
                yield_now();
                let unstarted = spawn(|| ());
                sender.send((all, unstarted, HubHandle::current())).unwrap();
                // Not as a wait of this crate: nothing of the hub runs any more.
                while !end.is_set() {
                    std::thread::yield_now();
                }
            }
        });
        let (mut all, unstarted, handle) = receiver.recv().unwrap();
        let late = handle.spawn(|| unreachable!("nobody reads this mail") as ());
        let linked = Arc::new(AtomicUsize::new(0));
        for g in all.iter().chain([&unstarted, &late]) {
            let linked = linked.clone();
            g.link(move |outcome| {
                assert!(matches!(outcome, Err(JoinError::HubClosed)), "{outcome:?}");
                linked.fetch_add(1, SeqCst);
            });
        }
        let closed = |g: Greenlet<()>, waiting: Arc<Semaphore>| {
            waiting.release();
            let error = g.join().unwrap_err();
            assert!(matches!(error, JoinError::HubClosed), "{error}");
        };
        let (a, b, c) = (all.pop().unwrap(), all.pop().unwrap(), all.pop().unwrap());
        let w = [waiting.clone(), waiting.clone(), waiting.clone()];
        let [w1, w2, w3] = w;
        let plain = std::thread::spawn(move || closed(a, w1));
        let root = std::thread::spawn(move || {
            HubHandle::current();
            closed(b, w2);
        });
        let hub = HubThread::start("joiner").unwrap();
        let greenlet = hub.handle().spawn(move || closed(c, w3));
        waiting.acquire_many(3).forget();
        end.set();
        thread.join().unwrap();
        plain.join().unwrap();
        root.join().unwrap();
        greenlet.join().unwrap();
        // And who comes later.
        closed(all.pop().unwrap(), waiting.clone());
        closed(unstarted, waiting.clone());
        closed(late, waiting);
        assert_eq!(linked.load(SeqCst), 6);
        hub.stop();
        hub.join().unwrap();
    });
}

#[test]
fn hub_handle_of_a_thread_that_has_ended_refuses_spawns() {
    within(|| {
        for by_run in [true, false] {
            let handle = std::thread::spawn(move || match by_run {
                true => run(HubHandle::current),
                false => HubHandle::current(),
            });
            let handle = handle.join().unwrap();
            assert!(handle.is_closed());
            let dropped = Arc::new(AtomicUsize::new(0));
            struct Count(Arc<AtomicUsize>);
            impl Drop for Count {
                fn drop(&mut self) {
                    self.0.fetch_add(1, SeqCst);
                }
            }
            let count = Count(dropped.clone());
            let g = handle.spawn(move || drop(count));
            assert!(g.is_finished());
            assert_eq!(dropped.load(SeqCst), 1, "the closure is dropped");
            let linked = Arc::new(AtomicUsize::new(0));
            g.link({
                let linked = linked.clone();
                move |_| {
                    linked.fetch_add(1, SeqCst);
                }
            });
            assert_eq!(linked.load(SeqCst), 1, "at once, in the caller");
            g.kill();
            assert!(matches!(g.join(), Err(JoinError::HubClosed)));
        }
    });
}

/// Spawns race with the end of the hub: each handle ends one way or another.
#[test]
fn hub_handle_spawn_against_the_end_of_the_hub_always_gives_an_outcome() {
    within(|| {
        for round in 0..100 {
            let hub = HubThread::start("short").unwrap();
            let spawners: Vec<_> = (0..2)
                .map(|_| {
                    let handle = hub.handle();
                    std::thread::spawn(move || {
                        let all: Vec<_> = (0..50).map(|i| handle.spawn(move || i)).collect();
                        join_all(all)
                    })
                })
                .collect();
            if round % 2 == 0 {
                std::thread::yield_now();
            }
            hub.stop();
            hub.join().unwrap();
            for spawner in spawners {
                for (i, outcome) in spawner.join().unwrap().into_iter().enumerate() {
                    match outcome {
                        Ok(value) => assert_eq!(value, i),
                        Err(JoinError::Killed | JoinError::HubClosed) => {}
                        Err(e) => panic!("{e}"),
                    }
                }
            }
        }
    });
}

#[test]
fn event_set_passes_over_waiters_of_a_thread_that_has_ended() {
    within(|| {
        let event = Arc::new(Event::new());
        abandoned({
            let event = event.clone();
            move || {
                for _ in 0..40 {
                    let event = event.clone();
                    spawn(move || event.wait());
                }
            }
        });
        let live = std::thread::spawn({
            let event = event.clone();
            move || event.wait_timeout(LOST)
        });
        while !format!("{event:?}").contains("waiting: 41") {
            std::thread::yield_now();
        }
        event.set();
        assert!(live.join().unwrap());
        assert!(format!("{event:?}").contains("waiting: 0"), "{event:?}");
    });
}

#[test]
fn queue_passes_over_getters_of_a_thread_that_has_ended() {
    within(|| {
        for q in [Queue::unbounded(), Queue::bounded(1), Queue::rendezvous()] {
            let q = Arc::new(q);
            abandoned({
                let q = q.clone();
                move || {
                    for _ in 0..3 {
                        let q = q.clone();
                        spawn(move || q.get());
                    }
                }
            });
            if q.capacity() == Some(0) {
                assert_eq!(
                    q.put_nowait(1),
                    Err(PutError::Full(1)),
                    "nobody is there to take it"
                );
            } else {
                q.put_nowait(1).unwrap();
                assert_eq!((q.len(), q.get_nowait()), (1, Ok(1)));
            }
            let live = std::thread::spawn({
                let q = q.clone();
                move || q.get_timeout(LOST)
            });
            q.put_timeout(2, LOST).unwrap();
            assert_eq!(live.join().unwrap(), Ok(2));
        }
    });
}

#[test]
fn queue_passes_over_putters_and_joiners_of_a_thread_that_has_ended() {
    within(|| {
        let q = Arc::new(Queue::bounded(1));
        q.put(0).unwrap();
        abandoned({
            let q = q.clone();
            move || {
                for i in 1..4 {
                    let q = q.clone();
                    spawn(move || q.put(i));
                }
                let q = q.clone();
                spawn(move || q.join());
            }
        });
        let live = std::thread::spawn({
            let q = q.clone();
            move || q.put_timeout(9, LOST)
        });
        assert_eq!(q.get(), Ok(0));
        live.join().unwrap().unwrap();
        assert_eq!(q.get_timeout(LOST), Ok(9));
        assert_eq!(q.unfinished(), 2, "what was not put does not count");
        q.task_done();
        q.task_done();
        assert!(q.join_timeout(LOST));
    });
}

/// Queues a waiter on a plain thread behind those of `body`'s greenlets, ends the greenlets' thread, and releases one permit.
fn released_behind_the_dead(dead: usize, body: impl FnOnce(Arc<Semaphore>) + Send + 'static) {
    let s = Arc::new(Semaphore::new(0));
    let queued = |n| {
        let waiting = format!("waiting: {n}");
        while !format!("{s:?}").contains(&waiting) {
            std::thread::yield_now();
        }
    };
    let (end, ended) = mpsc::channel::<()>();
    let thread = std::thread::spawn({
        let s = s.clone();
        move || {
            abandoned(move || {
                body(s);
                yield_now();
                // Nothing of the hub runs any more.
                ended.recv().unwrap();
            })
        }
    });
    queued(dead);
    let live = std::thread::spawn({
        let s = s.clone();
        move || s.acquire_timeout(LOST).is_some()
    });
    queued(dead + 1);
    end.send(()).unwrap();
    thread.join().unwrap();
    s.release();
    assert!(
        live.join().unwrap(),
        "the permit goes to the one that lives"
    );
    assert_eq!(s.available(), 1);
    assert!(s.try_acquire().is_some());
}

#[test]
fn semaphore_passes_over_waiters_of_a_thread_that_has_ended() {
    within(|| {
        released_behind_the_dead(3, |s| {
            for _ in 0..3 {
                let s = s.clone();
                spawn(move || s.acquire().forget());
            }
        });
    });
}

/// The first in line is dead and needs more than there is: those behind must not starve behind it.
#[test]
fn semaphore_whose_head_s_thread_has_ended_serves_those_behind() {
    within(|| {
        released_behind_the_dead(1, |s| {
            spawn(move || s.acquire_many(5).forget());
        });
    });
}

/// Some whose waits are over when their thread ends, but who have not run since: a kill, a limit, a select.
#[test]
fn those_whose_waits_have_ended_with_their_thread_block_nobody() {
    let blockers: [fn(Arc<Semaphore>); 3] = [
        |s| {
            let killed = spawn(move || s.acquire_many(5).forget());
            yield_now();
            killed.kill();
        },
        |s| {
            let ms = Duration::from_millis(20);
            spawn(move || s.acquire_many_timeout(5, ms).map(|permit| permit.forget()));
            // Both in one turn; this one comes first.
            assert!(!Event::new().wait_timeout(ms));
        },
        |s| {
            let event = Arc::new(Event::new());
            let e = event.clone();
            spawn(move || {
                greenlet::select! {
                    acquire_many(s, 5) -> permits => permits.forget(),
                    wait(e) => {}
                }
            });
            yield_now();
            event.set();
        },
    ];
    for (n, block) in blockers.into_iter().enumerate() {
        within(move || {
            let s = Arc::new(Semaphore::new(1));
            let theirs = s.clone();
            // Without the turn after it that `abandoned` gives.
            std::thread::spawn(move || block(theirs)).join().unwrap();
            assert!(format!("{s:?}").contains("waiting: 1"), "{n}: {s:?}");
            assert!(s.try_acquire().is_some(), "{n}: {s:?}");
        });
    }
    within(|| {
        let lock = Arc::new(RwLock::new(()));
        let reader = lock.read();
        let theirs = lock.clone();
        let end = std::thread::spawn(move || {
            let writer = spawn(move || drop(theirs.write()));
            yield_now();
            writer.kill();
        });
        end.join().unwrap();
        assert!(lock.try_read_for(Duration::ZERO).is_some(), "{lock:?}");
        drop(reader);
    });
}

/// What the end of one tells, a link here, does not go to another one that ends with it.
#[test]
fn permit_that_the_end_of_a_thread_gives_is_for_those_alive() {
    within(|| {
        for releaser_is_first in [true, false] {
            let s = Arc::new(Semaphore::new(0));
            let live = Arc::new(std::sync::OnceLock::new());
            abandoned({
                let (s, live) = (s.clone(), live.clone());
                move || {
                    let release = {
                        let s = s.clone();
                        move || {
                            spawn(|| sleep(LOST)).link(move |_| s.release());
                        }
                    };
                    let dead = s.clone();
                    let acquire = move || {
                        spawn(move || dead.acquire().forget());
                    };
                    if releaser_is_first {
                        release();
                        acquire();
                    } else {
                        acquire();
                        release();
                    }
                    yield_now();
                    let behind = s.clone();
                    let thread = std::thread::spawn(move || behind.acquire_timeout(LOST).is_some());
                    live.set(std::sync::Mutex::new(Some(thread))).unwrap();
                    while !format!("{s:?}").contains("waiting: 2") {
                        std::thread::yield_now();
                    }
                }
            });
            let thread = live.get().unwrap().lock().unwrap().take().unwrap();
            assert!(thread.join().unwrap(), "first: {releaser_is_first}");
        }
    });
}

/// One that arrives after the thread's end takes the dead off the line.
#[test]
fn semaphore_whose_waiters_thread_has_ended_serves_those_that_arrive() {
    within(|| {
        let s = Arc::new(Semaphore::new(0));
        abandoned({
            let s = s.clone();
            move || {
                for n in [1, 5] {
                    let s = s.clone();
                    spawn(move || s.acquire_many(n).forget());
                }
            }
        });
        assert!(format!("{s:?}").contains("waiting: 2"), "{s:?}");
        let live = std::thread::spawn({
            let s = s.clone();
            move || s.acquire_timeout(LOST).is_some()
        });
        while !format!("{s:?}").contains("waiting: 1") {
            std::thread::yield_now();
        }
        s.release();
        assert!(live.join().unwrap());
        assert_eq!(s.available(), 1);
    });
}

/// The same without anybody behind: the dead waiter must not keep `try_acquire` and `acquire` from what is free.
#[test]
fn semaphore_whose_only_waiter_s_thread_has_ended_is_free_again() {
    within(|| {
        let s = Arc::new(Semaphore::new(2));
        abandoned({
            let s = s.clone();
            move || {
                spawn(move || s.acquire_many(5).forget());
            }
        });
        assert!(
            s.acquire_timeout(LOST).is_some(),
            "two permits are free, and nobody alive waits"
        );
        assert!(s.try_acquire().is_some());
    });
}

#[test]
fn async_result_and_wait_any_pass_over_waiters_of_a_thread_that_has_ended() {
    within(|| {
        let (r, e) = (Arc::new(AsyncResult::<u8>::new()), Arc::new(Event::new()));
        abandoned({
            let (r, e) = (r.clone(), e.clone());
            move || {
                for _ in 0..3 {
                    let (r, e) = (r.clone(), e.clone());
                    spawn(move || wait_any(&[&*e, &*r]));
                }
                let r = r.clone();
                spawn(move || r.wait().is_ok());
            }
        });
        let live = std::thread::spawn({
            let (r, e) = (r.clone(), e.clone());
            move || wait_any_timeout(&[&*e, &*r], LOST)
        });
        while !format!("{e:?}").contains("waiting: 4") {
            std::thread::yield_now();
        }
        r.set(1).unwrap();
        assert_eq!(live.join().unwrap(), Some(1));
        e.set();
        assert!(format!("{e:?}").contains("waiting: 0"), "{e:?}");
    });
}

/// The last owner of a primitive may be the one that wakes or the one that is woken; its thread may end at that moment.
#[test]
fn primitive_dropped_by_the_woken_while_another_thread_is_still_waking() {
    within(|| {
        for round in 0..400 {
            let (event, s) = (Arc::new(Event::new()), Arc::new(Semaphore::new(0)));
            let (q, r) = (
                Arc::new(Queue::rendezvous()),
                Arc::new(AsyncResult::<usize>::new()),
            );
            let waker = std::thread::spawn({
                let (event, s, q, r) = (event.clone(), s.clone(), q.clone(), r.clone());
                move || {
                    event.set();
                    drop(event);
                    s.release();
                    drop(s);
                    q.put(round).unwrap();
                    drop(q);
                    r.set(round).unwrap();
                    drop(r);
                }
            });
            let woken = std::thread::spawn(move || {
                let body = move || {
                    event.wait();
                    drop(event);
                    s.acquire().forget();
                    drop(s);
                    assert_eq!(q.get(), Ok(round));
                    drop(q);
                    assert_eq!(*r.wait().unwrap(), round);
                };
                match round % 3 {
                    0 => body(), // a plain thread
                    1 => {
                        HubHandle::current();
                        body(); // a root
                    }
                    _ => spawn(body).join().unwrap(),
                }
            });
            waker.join().unwrap();
            woken.join().unwrap();
        }
    });
}

#[test]
fn thread_that_ends_while_another_is_waking_its_greenlets() {
    within(|| {
        for _ in 0..200 {
            let events: Arc<Vec<Event>> = Arc::new((0..20).map(|_| Event::new()).collect());
            let ready = Arc::new(Event::new());
            let thread = std::thread::spawn({
                let (events, ready) = (events.clone(), ready.clone());
                move || {
                    for i in 0..events.len() {
                        let events = events.clone();
                        spawn(move || events[i].wait());
                    }
                    yield_now();
                    ready.set();
                }
            });
            ready.wait();
            for event in &*events {
                event.set(); // wakes it, or passes over it
            }
            thread.join().unwrap();
            for event in &*events {
                assert!(format!("{event:?}").contains("waiting: 0"), "{event:?}");
            }
        }
    });
}

#[test]
fn thread_whose_locals_are_torn_down_counts_as_one_without_a_hub() {
    within(|| {
        static DONE: Event = Event::new();
        static LEFT: Queue<&str> = Queue::unbounded();
        static NAME: Local<u8> = Local::new();
        struct AtEnd;
        impl Drop for AtEnd {
            fn drop(&mut self) {
                assert!(!greenlet::current().is_greenlet());
                assert!(!Event::new().wait_timeout(ms(1)));
                NAME.set(1);
                sleep(ms(1));
                yield_now();
                LEFT.put("put while torn down").unwrap();
                DONE.set();
            }
        }
        thread_local!(static AT_END: AtEnd = const { AtEnd });
        for first in [true, false] {
            std::thread::spawn(move || {
                if first {
                    AT_END.with(|_| ());
                }
                spawn(|| 1).join().unwrap();
                AT_END.with(|_| ());
            })
            .join()
            .unwrap();
            assert!(DONE.is_set());
            DONE.clear();
            assert_eq!(LEFT.get_nowait(), Ok("put while torn down"));
        }
    });
}

// ---- HubThread ----

#[test]
fn hub_thread_serves_until_stopped_then_kills_and_drains() {
    within(|| {
        let hub = HubThread::start("served").unwrap();
        let name = hub
            .handle()
            .spawn(|| std::thread::current().name().map(str::to_owned));
        assert_eq!(name.join().unwrap().as_deref(), Some("served"));
        let failed = hub.handle().spawn(|| panic!("one of its greenlets"));
        assert!(failed.join().unwrap_err().is_panic());
        let trace = Arc::new(Mutex::new(vec![]));
        let started = Arc::new(Semaphore::new(0));
        let g = hub.handle().spawn({
            let (trace, started) = (trace.clone(), started.clone());
            move || {
                finally(
                    || {
                        started.release();
                        Event::new().wait();
                    },
                    || {
                        yield_now();
                        trace.lock().unwrap().push("cleaned up");
                    },
                );
            }
        });
        started.acquire().forget();
        hub.stop();
        hub.stop();
        let handle = hub.handle();
        hub.join().unwrap();
        assert_eq!(*trace.lock().unwrap(), ["cleaned up"]);
        assert!(g.join().unwrap_err().is_killed());
        assert!(handle.is_closed());
        assert!(matches!(
            handle.spawn(|| ()).join(),
            Err(JoinError::HubClosed)
        ));
    });
}

#[test]
fn hub_thread_that_is_dropped_stops() {
    within(|| {
        let hub = HubThread::start("dropped").unwrap();
        let handle = hub.handle();
        let g = handle.spawn(|| Event::new().wait());
        drop(hub);
        let error = g.join().unwrap_err();
        assert!(
            matches!(error, JoinError::Killed | JoinError::HubClosed),
            "{error}"
        );
        while !handle.is_closed() {
            std::thread::yield_now();
        }
    });
}

#[test]
fn hub_thread_that_is_joined_by_a_greenlet_lets_the_others_of_its_hub_run() {
    within(|| {
        let hub = HubThread::start("joined").unwrap();
        let steps = Rc::new(Cell::new(0));
        let stop = Arc::new(Event::new());
        let stopper = hub.handle().spawn({
            let stop = stop.clone();
            move || stop.wait()
        });
        let joiner = spawn(move || {
            stopper.join().unwrap();
            hub.stop();
            hub.join().unwrap();
        });
        let other = spawn({
            let steps = steps.clone();
            move || {
                for _ in 0..10 {
                    yield_now();
                    steps.set(steps.get() + 1);
                }
                stop.set();
            }
        });
        joiner.join().unwrap();
        assert!(other.is_finished());
        assert_eq!(steps.get(), 10);
    });
}

/// The drain at the end of a hub waits for cleanups, whose wakes may come from other threads and from timers.
#[test]
fn hub_thread_whose_cleanup_sleeps_is_drained() {
    within(|| {
        let hub = HubThread::start("sleepy").unwrap();
        let (started, cleaned) = (Arc::new(Event::new()), Arc::new(Event::new()));
        let g = hub.handle().spawn({
            let (started, cleaned) = (started.clone(), cleaned.clone());
            move || {
                finally(
                    || {
                        started.set();
                        Event::new().wait();
                    },
                    || {
                        sleep(ms(20));
                        cleaned.set();
                    },
                )
            }
        });
        started.wait();
        hub.stop();
        hub.join().expect("the hub's thread ends without a panic");
        assert!(cleaned.is_set());
        assert!(g.join().unwrap_err().is_killed());
    });
}

#[test]
fn hub_thread_whose_cleanup_waits_for_another_thread_is_drained() {
    within(|| {
        let hub = HubThread::start("dependent").unwrap();
        let (started, cleaning) = (Arc::new(Event::new()), Arc::new(Event::new()));
        let answer = Arc::new(Queue::unbounded());
        let got = Arc::new(AtomicUsize::new(0));
        let g = hub.handle().spawn({
            let (started, cleaning, answer, got) = (
                started.clone(),
                cleaning.clone(),
                answer.clone(),
                got.clone(),
            );
            move || {
                finally(
                    || {
                        started.set();
                        Event::new().wait();
                    },
                    || {
                        cleaning.set();
                        got.store(answer.get().unwrap(), SeqCst);
                    },
                )
            }
        });
        started.wait();
        hub.stop();
        cleaning.wait();
        std::thread::sleep(ms(20)); // the hub sleeps by now: the wake must reach it
        answer.put(7).unwrap();
        hub.join().expect("the hub's thread ends without a panic");
        assert_eq!(got.load(SeqCst), 7);
        assert!(g.join().unwrap_err().is_killed());
    });
}

#[test]
fn hub_thread_greenlet_that_stops_its_own_hub_ends_killed_or_done() {
    within(|| {
        let hub = Arc::new(Mutex::new(Some(HubThread::start("own").unwrap())));
        let handle = hub.lock().unwrap().as_ref().unwrap().handle();
        let g = handle.spawn({
            let hub = hub.clone();
            move || {
                hub.lock().unwrap().as_ref().unwrap().stop();
                Event::new().wait();
            }
        });
        assert!(g.join().unwrap_err().is_killed());
        hub.lock().unwrap().take().unwrap().join().unwrap();
    });
}

// ---- threads without a hub ----

/// Runs `f` on a thread of its own, which has no hub.
fn plain<R: Send + 'static>(f: impl FnOnce() -> R + Send + 'static) -> R {
    std::thread::spawn(f).join().unwrap()
}

#[test]
fn plain_thread_waits_with_its_own_limit() {
    plain(|| {
        let (event, q, s) = (Event::new(), Queue::<u8>::bounded(1), Semaphore::new(0));
        let r = AsyncResult::<u8>::new();
        assert!(!event.wait_timeout(ms(2)));
        assert_eq!(q.get_timeout(ms(2)), Err(GetError::Empty));
        q.put(1).unwrap();
        assert_eq!(q.put_timeout(2, ms(2)), Err(PutError::Full(2)));
        assert!(!q.join_timeout(ms(2)));
        assert!(s.acquire_timeout(ms(2)).is_none());
        assert!(r.wait_timeout(ms(2)).is_none());
        assert_eq!(wait_any_timeout(&[&event, &r], ms(2)), None);
        let before = now();
        sleep(ms(3));
        assert!(now() - before >= ms(3), "never early");
        assert!(
            format!("{event:?}{q:?}{s:?}{r:?}")
                .matches("waiting: 0")
                .count()
                == 3
        );
        assert!(
            format!("{q:?}").contains("getters: 0, putters: 0, joiners: 0"),
            "{q:?}"
        );
    });
}

#[test]
fn plain_thread_timeout_scopes_nest_and_each_catches_its_own() {
    plain(|| {
        let never = Event::new();
        // The inner one is earlier.
        let result = timeout(Duration::from_secs(100), || {
            assert_eq!(timeout(ms(2), || never.wait()), Err(Elapsed));
            5
        });
        assert_eq!(result, Ok(5));
        // The outer one is earlier: it goes through the inner one, and through a wait with a later limit of its own.
        let passed = Cell::new(false);
        let result = timeout(ms(2), || {
            let inner = timeout(Duration::from_secs(100), || {
                never.wait_timeout(Duration::from_secs(100))
            });
            passed.set(true);
            inner
        });
        assert_eq!(result, Err(Elapsed));
        assert!(!passed.get());
        // A wait with an earlier limit of its own ends as such.
        let result = timeout(Duration::from_secs(100), || never.wait_timeout(ms(2)));
        assert_eq!(result, Ok(false));
        assert!(format!("{never:?}").contains("waiting: 0"));
    });
}

#[test]
fn plain_thread_timeout_handle_resets_and_cancels() {
    plain(|| {
        let never = Event::new();
        let result = Timeout::after(Duration::from_secs(100)).run(|t| {
            assert!(t.is_pending());
            t.reset(ms(2));
            never.wait();
        });
        assert_eq!(result, Err(Elapsed));
        let result = Timeout::after(ms(2)).run(|t| {
            t.cancel();
            assert!(!t.is_pending());
            never.wait_timeout(ms(10))
        });
        assert_eq!(result, Ok(false));
        let result = Timeout::at(now()).run(|_| never.wait());
        assert_eq!(result, Err(Elapsed));
    });
}

#[test]
fn plain_thread_shield_holds_back_the_scopes_outside_it() {
    plain(|| {
        let never = Event::new();
        let order = RefCell::new(vec![]);
        let result = timeout(ms(2), || {
            shield(|| {
                assert!(!never.wait_timeout(ms(10)));
                order.borrow_mut().push("shielded");
                assert_eq!(timeout(ms(2), || never.wait()), Err(Elapsed));
                order.borrow_mut().push("inner");
            });
            never.wait();
            order.borrow_mut().push("not reached");
        });
        assert_eq!(result, Err(Elapsed));
        assert_eq!(*order.borrow(), ["shielded", "inner"]);
    });
}

#[test]
fn plain_thread_hub_made_inside_an_open_timeout_scope_takes_it_over() {
    plain(|| {
        let never = Rc::new(Event::new());
        let result = timeout(ms(20), || {
            let g = spawn({
                let never = never.clone();
                move || never.wait()
            });
            g.wait(); // at the root of the hub that was made just now
        });
        assert_eq!(result, Err(Elapsed));
        // The hub stays; scopes work as before, on it.
        assert_eq!(timeout(ms(2), || never.wait()), Err(Elapsed));
        never.set();
        yield_now();
    });
    // A scope that is far off does not fire, one inside the other keep their order.
    plain(|| {
        let never = Event::new();
        let result = timeout(Duration::from_secs(100), || {
            timeout(ms(10), || {
                assert_eq!(spawn(|| 5).join().unwrap(), 5);
                never.wait();
            })
        });
        assert_eq!(result, Ok(Err(Elapsed)));
    });
    // Its handle goes on to work.
    plain(|| {
        let result = Timeout::after(Duration::from_secs(100)).run(|t| {
            spawn(|| ()).join().unwrap();
            assert!(t.is_pending());
            t.reset(ms(2));
            Event::new().wait();
        });
        assert_eq!(result, Err(Elapsed));
        let result = Timeout::after(ms(2)).run(|t| {
            HubHandle::current();
            t.cancel();
            sleep(ms(10));
            t.is_pending()
        });
        assert_eq!(result, Ok(false));
    });
}

#[test]
fn plain_thread_run_inside_an_open_timeout_scope_is_ended_by_it_and_gives_it_back() {
    plain(|| {
        let result = timeout(ms(10), || {
            run(|| {
                spawn(|| Event::new().wait());
                Event::new().wait()
            })
        });
        assert_eq!(result, Err(Elapsed));
        // The hub is gone before the time is over: the scope goes on without.
        let never = Event::new();
        let result = timeout(ms(20), || {
            assert_eq!(run(|| spawn(|| 5).join().unwrap()), 5);
            never.wait();
        });
        assert_eq!(result, Err(Elapsed));
        // Twice over, and with a handle.
        let result = Timeout::after(Duration::from_secs(100)).run(|t| {
            for _ in 0..3 {
                run(|| yield_now());
                assert!(t.is_pending());
            }
            t.reset(ms(2));
            never.wait();
        });
        assert_eq!(result, Err(Elapsed));
    });
}

#[test]
fn plain_thread_hub_made_inside_a_shield_inside_a_timeout_keeps_the_shield() {
    plain(|| {
        let result = timeout(ms(2), || {
            let done = shield(|| {
                let g = spawn(|| sleep(ms(20)));
                g.join().is_ok()
            });
            assert!(done);
            sleep(Duration::from_secs(100));
        });
        assert_eq!(result, Err(Elapsed));
    });
}

#[test]
fn plain_thread_is_not_made_a_hub_by_waits() {
    plain(|| {
        sleep(ms(1));
        let _ = Event::new().wait_timeout(ms(1));
        let _ = timeout(ms(1), || Event::new().wait());
        assert_eq!(greenlet::current().id(), 0);
        // `run` would refuse a hub that is in use; and a wake must find the thread itself.
        let event = Arc::new(Event::new());
        let other = std::thread::spawn({
            let event = event.clone();
            move || event.set()
        });
        event.wait();
        other.join().unwrap();
        run(|| ());
    });
}

#[test]
fn plain_threads_are_served_in_order_of_arrival() {
    within(|| {
        let s = Arc::new(Semaphore::new(0));
        let order = Arc::new(Mutex::new(vec![]));
        let mut waiters = vec![];
        for i in 0..6 {
            let (s, order) = (s.clone(), order.clone());
            waiters.push(std::thread::spawn({
                let s = s.clone();
                move || {
                    let wait = || {
                        let permit = s.acquire();
                        order.lock().unwrap().push(i);
                        drop(permit); // the next one's
                    };
                    match i % 3 {
                        0 => wait(),
                        1 => {
                            HubHandle::current();
                            wait();
                        }
                        _ => greenlet::scope(|scope| {
                            scope.spawn(wait);
                        }),
                    }
                }
            }));
            while !format!("{s:?}").contains(&format!("waiting: {}", i + 1)) {
                std::thread::yield_now();
            }
        }
        s.release();
        waiters.into_iter().for_each(|w| w.join().unwrap());
        assert_eq!(*order.lock().unwrap(), [0, 1, 2, 3, 4, 5]);
    });
}

/// A kill that is on its way finds the record of its greenlet reused: it must not hit the next one.
#[test]
fn kill_from_another_thread_that_comes_late_does_not_hit_the_next_greenlet() {
    within(|| {
        run(|| {
            let event = Rc::new(Event::new());
            let (sender, receiver) = mpsc::channel();
            let g = spawn({
                let event = event.clone();
                move || {
                    event.wait();
                    // Ends, and gives its record to the greenlet that the next one spawns.
                }
            });
            yield_now();
            let killer = std::thread::spawn(move || {
                g.kill();
                sender.send(g).unwrap();
            });
            let g = receiver.recv().unwrap();
            killer.join().unwrap();
            // The kill is in the inbox, which nobody has looked into since.
            event.set();
            let next = spawn(|| spawn(|| sleep(ms(20))));
            while !next.is_finished() {
                yield_now();
            }
            assert!(g.is_finished());
            let next = next.join().unwrap();
            assert!(next.join().is_ok(), "hit by the other's kill");
        });
    });
}

/// Greenlets that always have something to do keep neither wakes nor kills of other threads waiting.
#[test]
fn mail_of_other_threads_is_read_while_greenlets_yield_for_ever() {
    within(|| {
        run(|| {
            let (event, stop) = (Arc::new(Event::new()), Rc::new(Cell::new(false)));
            let yielders = [(); 2].map(|()| {
                let stop = stop.clone();
                spawn(move || {
                    while !stop.get() {
                        yield_now();
                    }
                })
            });
            let waiter = spawn({
                let event = event.clone();
                move || event.wait()
            });
            let killed = spawn(|| Event::new().wait());
            let spawned = {
                let hub = HubHandle::current();
                std::thread::spawn(move || {
                    killed.kill();
                    event.set();
                    hub.spawn(|| 7).join().unwrap()
                })
            };
            let begin = std::time::Instant::now();
            while !(waiter.is_finished() && spawned.is_finished()) {
                assert!(begin.elapsed() < LOST, "starved");
                yield_now();
            }
            stop.set(true);
            assert_eq!(spawned.join().unwrap(), 7);
            assert_eq!(join_all(yielders).len(), 2);
        });
    });
}

/// What one thread wakes in turn is made ready in that order.
#[test]
fn wakes_of_another_thread_are_taken_in_the_order_they_were_given() {
    within(|| {
        run(|| {
            let events: Vec<_> = (0..20).map(|_| Arc::new(Event::new())).collect();
            let order = Rc::new(RefCell::new(Vec::new()));
            let waiters: Vec<_> = events
                .iter()
                .enumerate()
                .map(|(i, event)| {
                    let (event, order) = (event.clone(), order.clone());
                    spawn(move || {
                        event.wait();
                        order.borrow_mut().push(i);
                    })
                })
                .collect();
            yield_now();
            let waker = std::thread::spawn(move || events.iter().rev().for_each(|e| e.set()));
            // Nothing of the hub runs until all are on their way.
            waker.join().unwrap();
            assert!(join_all(waiters).iter().all(Result::is_ok));
            assert!(order.take().into_iter().eq((0..20).rev()));
        });
    });
}

/// Killed before their hub has taken them in: each costs the same however many there are, and none runs.
#[test]
fn kill_of_greenlets_that_their_hub_has_not_taken_in_yet() {
    within(|| {
        run(|| {
            let ran = Arc::new(AtomicUsize::new(0));
            let hub = HubHandle::current();
            let killer = std::thread::spawn({
                let ran = ran.clone();
                move || {
                    let spawned: Vec<_> = (0..1000)
                        .map(|_| {
                            let ran = ran.clone();
                            hub.spawn(move || ran.fetch_add(1, SeqCst))
                        })
                        .collect();
                    greenlet::kill_all(&spawned);
                    spawned
                }
            });
            // The hub looks into its inbox only after that.
            let spawned = killer.join().unwrap();
            let outcomes = join_all(spawned);
            assert!(
                outcomes
                    .iter()
                    .all(|o| matches!(o, Err(e) if e.is_killed()))
            );
            assert_eq!(ran.load(SeqCst), 0);
        });
    });
}

//! Every primitive between plain threads, between the roots of hubs that never have a greenlet, and between both at once.
//!
//! Nothing here switches stacks, so Miri can run it: `.ci/run miri` does, under both aliasing models and with several
//! seeds, each of which is another schedule and other stale values for loads that nothing orders. Hence the form of the
//! checks: what is handed over is a [`Box`], whose access Miri watches, or a [`Bare`] number.
//!
//! Limits of some milliseconds are meant to be met or missed by chance; what holds either way is checked.

use std::cell::Cell;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Barrier, Mutex, mpsc};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use greenlet::sync::{
    AsyncResult, BoundedSemaphore, Event, GetError, LifoQueue, PriorityQueue, PutError, Queue,
    Semaphore,
};
use greenlet::{
    Elapsed, HubHandle, HubThread, JoinError, Local, Timeout, block_on, no_switch, now, run,
    select, shield, sleep, timeout, wait_all, wait_any, wait_any_timeout, yield_now,
};

#[path = "plain_threads/coordination.rs"]
mod coordination;
use coordination::{
    barrier_against_limits_is_passed_by_both_or_by_none, barrier_orders_what_is_done_before_it,
    cell_is_written_once_and_lent_to_all, latch_and_wait_group_open_when_all_is_done,
    lazy_is_made_once, notification_is_taken_by_one_or_kept, notify_all_wakes_all_who_wait,
};

#[path = "plain_threads/watch.rs"]
mod watch;
use watch::{
    broadcast_items_are_got_in_order_or_counted, watched_value_is_never_older_than_its_version,
};

/// Only a test that fails waits so long. Miri's clock counts steps, not time.
const HANGS: Duration = Duration::from_secs(if cfg!(miri) { 3600 } else { 60 });
const FAR: Duration = Duration::from_secs(100_000);
/// Miri is slow, and has its seeds.
const ROUNDS: usize = if cfg!(miri) { 3 } else { 200 };

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// A limit that is sometimes too short. By Miri's clock all takes longer.
fn short(round: usize) -> Duration {
    Duration::from_micros([0, 20, 60, 300][round % 4] * if cfg!(miri) { 100 } else { 1 })
}

/// A number whose own accesses order nothing: who reads it too late or without order sees an old value.
#[derive(Default)]
struct Bare(AtomicUsize);

impl Bare {
    fn get(&self) -> usize {
        self.0.load(Relaxed)
    }
    fn set(&self, n: usize) {
        self.0.store(n, Relaxed);
    }
    /// Not one step: loses counts if two do it at once.
    fn increase(&self) {
        let n = self.get();
        std::thread::yield_now();
        self.set(n + 1);
    }
}

/// Runs a test that would hang if something were lost.
fn within(test: impl FnOnce() + Send + 'static) {
    let (sender, receiver) = mpsc::channel();
    let thread = std::thread::spawn(move || {
        let result = catch_unwind(AssertUnwindSafe(test));
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

/// Makes the calling thread, the `i`th, what the test is about.
type Party = fn(usize);

/// Runs `job` on `n` threads at once.
fn each<R: Send>(n: usize, party: Party, job: impl Fn(usize) -> R + Sync) -> Vec<R> {
    std::thread::scope(|s| {
        let job = &job;
        let threads = (0..n).map(|i| {
            s.spawn(move || {
                party(i);
                job(i)
            })
        });
        let threads: Vec<_> = threads.collect();
        threads.into_iter().map(|t| t.join().unwrap()).collect()
    })
}

/// Until the primitive has so many waiters, as its `Debug` says.
fn until_waiting(of: &dyn std::fmt::Debug, waiting: &str) {
    while !format!("{of:?}").contains(waiting) {
        std::thread::yield_now();
    }
}

#[track_caller]
fn nobody_waits(all: &[&dyn std::fmt::Debug]) {
    for of in all {
        let text = format!("{of:?}");
        let none = [
            "waiting: 0",
            "getters: 0, putters: 0, joiners: 0", // of a queue
        ];
        assert!(none.iter().any(|none| text.contains(none)), "{text}");
    }
}

/// Each function three times: on plain threads, at roots, and on both kinds at once.
macro_rules! tests {
    ($($name:ident;)*) => {
        mod on_plain_threads {
            $(#[test] fn $name() { super::within(|| super::$name(|_| ())); })*
        }
        mod at_roots {
            $(#[test] fn $name() { super::within(|| super::$name(super::root)); })*
        }
        mod on_both {
            $(#[test] fn $name() { super::within(|| super::$name(super::either)); })*
        }
    };
}

fn root(_: usize) {
    HubHandle::current();
}

fn either(i: usize) {
    if i % 2 == 1 {
        HubHandle::current();
    }
}

tests! {
    event_wakes_all_and_what_was_done_before_is_seen;
    event_cleared_at_once_wakes_all_who_waited;
    event_against_limits_and_scopes;
    result_is_set_once_and_lent_to_all;
    permit_orders_what_is_done_under_it;
    permits_in_numbers_all_come_back;
    permit_against_limits_is_not_lost;
    unbounded_queue_hands_over_each_item_once;
    bounded_queue_hands_over_each_item_once;
    rendezvous_hands_over_each_item_once;
    lifo_queue_hands_over_each_item_once;
    priority_queue_hands_over_each_item_once;
    rendezvous_against_limits_meets_on_both_sides_or_on_none;
    shutdown_now_against_putters_and_getters_gives_each_item_to_one;
    join_of_a_queue_ends_with_its_last_item;
    first_of_ten_results;
    selects;
    futures;
    primitives_dropped_by_the_woken;
    threads_are_served_in_order_of_arrival;
    scopes_nest_and_shields_hold;
    locals_do_not_mix_and_are_dropped_with_their_thread;
    barrier_orders_what_is_done_before_it;
    barrier_against_limits_is_passed_by_both_or_by_none;
    latch_and_wait_group_open_when_all_is_done;
    notification_is_taken_by_one_or_kept;
    notify_all_wakes_all_who_wait;
    cell_is_written_once_and_lent_to_all;
    lazy_is_made_once;
    watched_value_is_never_older_than_its_version;
    broadcast_items_are_got_in_order_or_counted;
}

// ---- events ----

fn event_wakes_all_and_what_was_done_before_is_seen(party: Party) {
    let rounds: Vec<_> = (0..ROUNDS)
        .map(|_| (Event::new(), Bare::default()))
        .collect();
    each(4, party, |i| {
        for (round, (event, done)) in rounds.iter().enumerate() {
            if round % 4 == i {
                done.set(round + 1);
                event.set();
                continue;
            }
            match (round + i) % 4 {
                0 => while !event.wait_timeout(short(round)) {},
                1 => assert_eq!(wait_any(&[&Event::new(), event]), 1),
                2 => wait_all(&[event, event]),
                _ => event.wait(),
            }
            assert_eq!(done.get(), round + 1);
        }
    });
    for (event, _) in &rounds {
        nobody_waits(&[event]);
    }
}

fn event_cleared_at_once_wakes_all_who_waited(party: Party) {
    let (event, next) = (Event::new(), Barrier::new(4));
    each(4, party, |i| {
        for _ in 0..ROUNDS.min(50) {
            if i < 3 {
                event.wait();
            } else {
                until_waiting(&event, "waiting: 3");
                event.set();
                event.clear();
            }
            next.wait();
        }
    });
    nobody_waits(&[&event]);
}

fn event_against_limits_and_scopes(party: Party) {
    for round in 0..ROUNDS {
        let (event, done) = (Event::new(), Bare::default());
        each(3, party, |i| {
            let set = match i {
                0 => event.wait_timeout(short(round)),
                1 => timeout(short(round + 1), || event.wait()).is_ok(),
                _ => {
                    done.set(1);
                    event.set();
                    true
                }
            };
            assert!(!set || done.get() == 1);
        });
        nobody_waits(&[&event]);
    }
}

// ---- results ----

fn result_is_set_once_and_lent_to_all(party: Party) {
    for round in 0..ROUNDS {
        let result = AsyncResult::<Box<usize>, Box<usize>>::default();
        let seen = each(4, party, |i| match i {
            0 => result.set(Box::new(0)).err(),
            1 => result.set_error(Box::new(1)).err(),
            _ => {
                let ended = match (round + i) % 3 {
                    0 => loop {
                        if let Some(ended) = result.wait_timeout(short(round)) {
                            break ended;
                        }
                    },
                    1 => {
                        assert_eq!(wait_any(&[&result]), 0);
                        result.wait()
                    }
                    _ => result.wait(),
                };
                Some(ended.unwrap_or_else(|error| error).clone())
            }
        });
        // One of both was refused and has its own back; the others saw the one that was not.
        let refused = [&seen[0], &seen[1]].map(|back| back.as_deref().copied());
        let first = match refused {
            [None, Some(1)] => 0,
            [Some(0), None] => 1,
            other => panic!("{other:?}"),
        };
        assert_eq!(result.is_successful(), first == 0);
        assert!(seen[2..].iter().all(|s| s.as_deref() == Some(&first)));
        nobody_waits(&[&result]);
    }
}

fn first_of_ten_results(party: Party) {
    for round in 0..ROUNDS.min(50) {
        let all: Vec<AsyncResult<Box<usize>>> = (0..10).map(|_| AsyncResult::new()).collect();
        let both = Event::new();
        each(3, party, |i| {
            if i == 0 {
                all[round % 10].set(Box::new(round)).unwrap();
                all[(round + 5) % 10].set(Box::new(round)).unwrap();
                return both.set();
            }
            let list: Vec<&dyn greenlet::Waitable> = all.iter().map(|r| r as _).collect();
            let first = match i {
                1 => wait_any(&list),
                _ => loop {
                    if let Some(first) = wait_any_timeout(&list, short(round)) {
                        break first;
                    }
                },
            };
            assert_eq!(first % 5, round % 5);
            assert_eq!(**all[first].wait().unwrap(), round);
            wait_all(&[&all[round % 10], &all[(round + 5) % 10], &both]);
        });
        all.iter().for_each(|result| nobody_waits(&[result]));
    }
}

/// A future that is begun by one thread and polled by another, which then drops it, while an
/// item comes and a third takes what it can: the item is one's, or still there.
fn futures(party: Party) {
    for round in 0..ROUNDS {
        let queue = Arc::new(Queue::unbounded());
        let mut get = Box::pin({
            let queue = queue.clone();
            async move { queue.get_async().await }
        });
        let mut context = Context::from_waker(Waker::noop());
        assert!(get.as_mut().poll(&mut context).is_pending());
        let get = Mutex::new(Some(get));
        let took = each(3, party, |i| match (round + i) % 3 {
            0 => {
                queue.put(Box::new(1)).unwrap();
                0
            }
            1 => {
                let mut get = get.lock().unwrap().take().unwrap();
                let mut context = Context::from_waker(Waker::noop());
                match get.as_mut().poll(&mut context) {
                    Poll::Ready(item) => *item.unwrap(),
                    Poll::Pending => 0,
                }
            }
            _ if round % 2 == 0 => queue.get_timeout(short(round)).map_or(0, |item| *item),
            _ => timeout(short(round), || block_on(queue.get_async()))
                .map_or(0, |item| *item.unwrap()),
        });
        let stored: usize = queue.try_iter().map(|item: Box<usize>| *item).sum();
        assert_eq!(took.iter().sum::<usize>() + stored, 1);
    }
}

/// Two give and take, two take, by selects of which some expire: each box arrives once, or is
/// still its owner's.
fn selects(party: Party) {
    for round in 0..ROUNDS {
        let (one, two) = (Queue::rendezvous(), Queue::bounded(1));
        let permits = Semaphore::new(1);
        let ends = each(4, party, |i| {
            let mut mine = (i < 2).then(|| Box::new(1));
            let got = if i < 2 {
                let (a, b) = if i == 0 { (&one, &two) } else { (&two, &one) };
                select! {
                    put(a, &mut mine) -> put => put.map(|()| 0).unwrap(),
                    get(b) -> item => *item.unwrap(),
                    default(short(round)) => 0,
                }
            } else {
                select! {
                    get(one) -> item => *item.unwrap(),
                    get(two) -> item => *item.unwrap(),
                    acquire(permits) -> _ => 0,
                    default(short(round + i)) => 0,
                }
            };
            got + mine.map_or(0, |mine| *mine)
        });
        let stored: usize = two.try_iter().map(|item| *item).sum();
        assert_eq!(ends.iter().sum::<usize>() + stored, 2);
        assert_eq!(permits.available(), 1);
        nobody_waits(&[&one, &two, &permits]);
    }
}

// ---- semaphores ----

fn permit_orders_what_is_done_under_it(party: Party) {
    let (permits, count) = (Arc::new(BoundedSemaphore::new(1)), Bare::default());
    each(3, party, |i| {
        for round in 0..ROUNDS {
            match (round + i) % 5 {
                0 => {
                    let _permit = loop {
                        match permits.try_acquire() {
                            Some(permit) => break permit,
                            None => yield_now(),
                        }
                    };
                    count.increase();
                }
                1 => {
                    let _permit = loop {
                        if let Some(permit) = permits.acquire_timeout(short(round)) {
                            break permit;
                        }
                    };
                    count.increase();
                }
                2 => {
                    let _permit = permits.acquire_owned();
                    count.increase();
                }
                3 => {
                    permits.acquire().forget();
                    count.increase();
                    permits.release().unwrap();
                }
                _ => {
                    let _permit = permits.acquire_many(1);
                    count.increase();
                }
            }
        }
    });
    assert_eq!((count.get(), permits.available()), (3 * ROUNDS, 1));
    assert!(permits.release().is_err());
    nobody_waits(&[&*permits]);
}

fn permits_in_numbers_all_come_back(party: Party) {
    let permits = Semaphore::new(3);
    let inside = AtomicUsize::new(0);
    each(4, party, |i| {
        for round in 0..ROUNDS {
            let n = 1 + (round + i) % 3;
            let permit = match (round / 3 + i) % 3 {
                0 => permits.acquire_many_timeout(n, short(round)),
                1 => Some(permits.acquire_many(n)),
                _ => timeout(short(round), || permits.acquire_many(n)).ok(),
            };
            if permit.is_some() {
                let now = inside.fetch_add(n, Relaxed) + n;
                assert!(now <= 3, "{now} of 3");
                inside.fetch_sub(n, Relaxed);
            }
        }
    });
    assert_eq!(permits.available(), 3);
    nobody_waits(&[&permits]);
}

fn permit_against_limits_is_not_lost(party: Party) {
    for round in 0..ROUNDS {
        let permits = Semaphore::new(0);
        let got = each(3, party, |i| {
            let permit = match i {
                0 => permits.acquire_timeout(short(round)),
                1 => timeout(short(round + 1), || permits.acquire()).ok(),
                _ => {
                    permits.release();
                    None
                }
            };
            permit.map(greenlet::sync::Permit::forget).is_some()
        });
        let got = got.into_iter().filter(|&got| got).count();
        assert_eq!(got + permits.available(), 1);
        nobody_waits(&[&permits]);
    }
}

fn threads_are_served_in_order_of_arrival(party: Party) {
    let permits = Semaphore::new(0);
    let order = Queue::unbounded();
    std::thread::scope(|s| {
        for i in 0..4 {
            let (permits, order) = (&permits, &order);
            s.spawn(move || {
                party(i);
                let permit = permits.acquire();
                order.put_nowait(Box::new(i)).unwrap();
                drop(permit); // the next one's
            });
            until_waiting(permits, &format!("waiting: {}", i + 1));
        }
        permits.release();
    });
    let order: Vec<_> = order.try_iter().map(|i| *i).collect();
    assert_eq!(order, [0, 1, 2, 3]);
}

// ---- queues ----

type Item = Box<(usize, usize)>;

/// Two put, two get, each in several ways; all is got once.
fn hands_over<Q: Sync>(
    party: Party,
    q: &Q,
    put: fn(&Q, Item, usize) -> Result<(), PutError<Item>>,
    get: fn(&Q, usize) -> Result<Item, GetError>,
    end: fn(&Q),
) {
    let putting = AtomicUsize::new(2);
    let got = each(4, party, |i| {
        let mut got = vec![];
        if i < 2 {
            for n in 0..ROUNDS {
                let mut item = Box::new((i, n));
                let mut way = n;
                while let Err(refused) = put(q, item, way) {
                    let PutError::Full(back) = refused else {
                        panic!("{refused}")
                    };
                    assert_eq!(*back, (i, n));
                    item = back;
                    way += 1; // or both sides of a rendezvous may try for ever
                    yield_now();
                }
            }
            // AcqRel is not needed: the last one's `end` waits for all items.
            if putting.fetch_sub(1, Relaxed) == 1 {
                end(q);
            }
            return got;
        }
        for way in i.. {
            match get(q, way) {
                Ok(item) => got.push(*item),
                Err(GetError::Empty) => yield_now(),
                Err(GetError::ShutDown) => break,
            }
        }
        got
    });
    let mut all = got.concat();
    all.sort();
    let expected: Vec<_> = (0..2)
        .flat_map(|i| (0..ROUNDS).map(move |n| (i, n)))
        .collect();
    assert!(all == expected, "lost or doubled: {all:?}");
}

macro_rules! hands_over {
    ($($name:ident: $new:expr;)*) => {$(
        fn $name(party: Party) {
            hands_over(
                party,
                &$new,
                |q, item, n| match n % 3 {
                    0 => q.put_timeout(item, short(n)),
                    1 => q.put_nowait(item),
                    _ => q.put(item),
                },
                |q, n| {
                    let item = match n % 3 {
                        0 => q.get_timeout(short(n)),
                        1 => q.get_nowait(),
                        _ => q.get(),
                    };
                    if item.is_ok() {
                        q.task_done();
                    }
                    item
                },
                |q| {
                    q.join();
                    assert_eq!((q.unfinished(), q.len()), (0, 0));
                    q.shutdown();
                },
            );
        }
    )*};
}

hands_over! {
    unbounded_queue_hands_over_each_item_once: Queue::unbounded();
    bounded_queue_hands_over_each_item_once: Queue::bounded(1);
    rendezvous_hands_over_each_item_once: Queue::rendezvous();
    lifo_queue_hands_over_each_item_once: LifoQueue::bounded(2);
    priority_queue_hands_over_each_item_once: PriorityQueue::bounded(2);
}

fn rendezvous_against_limits_meets_on_both_sides_or_on_none(party: Party) {
    for round in 0..ROUNDS {
        let q = Queue::rendezvous();
        let met = each(2, party, |i| match i {
            0 => match q.put_timeout(Box::new(round), short(round)) {
                Ok(()) => true,
                Err(PutError::Full(back)) => {
                    assert_eq!(*back, round);
                    false
                }
                Err(e) => panic!("{e}"),
            },
            _ => {
                let got = timeout(short(round / 4), || q.get());
                assert!(got.as_ref().is_ok_and(|got| got.as_deref() == Ok(&round)) || got.is_err());
                got.is_ok()
            }
        });
        assert_eq!(met[0], met[1]);
        nobody_waits(&[&q]);
    }
}

fn shutdown_now_against_putters_and_getters_gives_each_item_to_one(party: Party) {
    for _ in 0..ROUNDS {
        let q = Queue::bounded(1);
        let ends = each(4, party, |i| match i {
            0 | 1 => match q.put(Box::new(i)) {
                Ok(()) => vec![],
                Err(PutError::ShutDown(back)) => vec![back],
                Err(e) => panic!("{e}"),
            },
            2 => q.get().into_iter().collect(),
            _ => q.shutdown_now(),
        });
        let mut all: Vec<_> = ends.concat();
        all.sort();
        assert_eq!(all, [Box::new(0), Box::new(1)]);
        assert!(q.is_shut_down());
        nobody_waits(&[&q]);
    }
}

fn join_of_a_queue_ends_with_its_last_item(party: Party) {
    for round in 0..ROUNDS {
        let (q, done) = (Queue::unbounded(), Bare::default());
        (0..3).for_each(|n| q.put(Box::new(n)).unwrap());
        each(3, party, |i| match i {
            0 => {
                q.join();
                assert_eq!(done.get(), 3);
            }
            1 => {
                if q.join_timeout(short(round)) {
                    assert_eq!(done.get(), 3);
                }
            }
            _ => {
                for item in q.try_iter() {
                    done.set(*item + 1);
                    q.task_done();
                }
            }
        });
        nobody_waits(&[&q]);
    }
}

// ---- the ends of things ----

fn primitives_dropped_by_the_woken(party: Party) {
    for round in 0..ROUNDS.min(100) {
        let event = Arc::new(Event::new());
        let permits = Arc::new(Semaphore::new(0));
        let q = Arc::new(Queue::rendezvous());
        let result = Arc::new(AsyncResult::<Box<usize>>::new());
        let other = (event.clone(), permits.clone(), q.clone(), result.clone());
        let waker = std::thread::spawn(move || {
            party(0);
            event.set();
            drop(event);
            permits.release();
            drop(permits);
            q.put(Box::new(round)).unwrap();
            drop(q);
            result.set(Box::new(round)).unwrap();
        });
        let woken = std::thread::spawn(move || {
            party(1);
            let (event, permits, q, result) = other;
            event.wait();
            drop(event);
            permits.acquire().forget();
            drop(permits);
            assert_eq!(*q.get().unwrap(), round);
            drop(q);
            assert_eq!(**result.wait().unwrap(), round);
        });
        waker.join().unwrap();
        woken.join().unwrap();
    }
}

fn locals_do_not_mix_and_are_dropped_with_their_thread(party: Party) {
    static OWN: Local<Box<Cell<usize>>> = Local::with_init(|| Box::new(Cell::new(7)));
    static COUNTED: Local<Counted> = Local::new();
    let count = Arc::new(AtomicUsize::new(0));
    let barrier = Barrier::new(3);
    each(3, party, |i| {
        assert!(!COUNTED.is_set());
        COUNTED.set(Counted(count.clone()));
        OWN.with(|own| own.set(own.get() + i));
        barrier.wait();
        assert_eq!(OWN.with(|own| own.get()), 7 + i);
        assert_eq!(OWN.take().map(|own| own.get()), Some(7 + i));
        assert!(!OWN.is_set());
    });
    // A thread's locals may be dropped a little after a scope has seen its end.
    while count.load(Relaxed) < 3 {
        std::thread::yield_now();
    }
}

/// Counts its drops.
struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_add(1, Relaxed);
    }
}

// ---- scopes ----

fn scopes_nest_and_shields_hold(party: Party) {
    each(2, party, |_| {
        let never = Event::new();
        assert_eq!(
            timeout(FAR, || timeout(ms(2), || never.wait())),
            Ok(Err(Elapsed)),
            "the inner one"
        );
        assert_eq!(
            timeout(ms(2), || timeout(FAR, || never.wait_timeout(FAR))),
            Err(Elapsed),
            "the outer one, through the inner one"
        );
        assert_eq!(timeout(FAR, || never.wait_timeout(ms(2))), Ok(false));
        let handled = Timeout::after(FAR).run(|t| {
            t.reset(ms(2));
            never.wait();
        });
        assert_eq!(handled, Err(Elapsed));
        let handled = Timeout::after(ms(2)).run(|t| {
            t.cancel();
            never.wait_timeout(ms(4))
        });
        assert_eq!(handled, Ok(false));
        let shielded = Cell::new(false);
        let late = timeout(ms(2), || {
            shield(|| shielded.set(!never.wait_timeout(ms(4))));
            never.wait();
        });
        assert_eq!((late, shielded.get()), (Err(Elapsed), true));
        let before = now();
        sleep(ms(2));
        yield_now();
        assert!(now() - before >= ms(2), "never early");
        nobody_waits(&[&never]);
    });
}

// ---- a thread gets a hub, and loses it ----

/// The scopes move to the hub's root and back.
#[test]
fn run_inside_open_scopes() {
    within(|| {
        each(
            2,
            |_| (),
            |_| {
                let never = Event::new();
                let result = timeout(ms(4), || {
                    for _ in 0..3 {
                        assert!(!run(|| never.wait_timeout(Duration::ZERO)));
                    }
                    never.wait();
                });
                assert_eq!(result, Err(Elapsed));
                let result = timeout(ms(2), || run(|| never.wait()));
                assert_eq!(result, Err(Elapsed), "raised in `run`");
                let result = Timeout::after(FAR).run(|t| {
                    run(yield_now);
                    assert!(t.is_pending());
                    t.reset(ms(2));
                    run(|| never.wait());
                });
                assert_eq!(result, Err(Elapsed));
                let value = run(|| shield(|| Box::new(5)));
                assert_eq!(*value, 5);
                nobody_waits(&[&never]);
            },
        );
    });
}

/// The hub ends with mail unread, or refuses it: the closure is dropped, and its handle says so, whoever waits.
#[test]
fn spawns_against_the_end_of_a_hub_that_reads_no_mail() {
    within(|| {
        for round in 0..ROUNDS.min(50) {
            let (sender, receiver) = mpsc::channel();
            let hub = std::thread::spawn(move || {
                let handle = HubHandle::current();
                sender.send(handle.clone()).unwrap();
                if round % 2 == 0 {
                    std::thread::yield_now();
                }
                handle
            });
            let handle = receiver.recv().unwrap();
            let dropped = Arc::new(AtomicUsize::new(0));
            each(2, either, |i| {
                for _ in 0..3 {
                    let counted = Counted(dropped.clone());
                    let g = handle.spawn(move || drop(counted));
                    if i == 0 {
                        g.kill();
                    }
                    let linked = Arc::new(Event::new());
                    g.link({
                        let linked = linked.clone();
                        move |_| linked.set()
                    });
                    while !g.wait_timeout(short(round)) {}
                    linked.wait();
                    assert!(matches!(g.join(), Err(JoinError::HubClosed)));
                }
            });
            assert!(hub.join().unwrap().is_closed());
            assert!(handle.is_closed());
            assert_eq!(dropped.load(Relaxed), 6);
        }
    });
}

#[test]
fn hub_threads_start_and_stop() {
    within(|| {
        each(2, either, |i| {
            for _ in 0..ROUNDS.min(30) {
                let hub = HubThread::start("idle").unwrap();
                let handle = hub.handle();
                match i {
                    0 => drop(hub),
                    _ => {
                        hub.stop();
                        hub.join().unwrap();
                        assert!(handle.is_closed());
                    }
                }
            }
        });
    });
}

/// Destructors of a thread's own locals, when the crate's are gone. What such a thread waits with is leaked, so Miri must
/// not look for leaks here.
#[test]
fn leaks_what_a_thread_waits_with_while_its_locals_are_torn_down() {
    within(|| {
        struct AtEnd(mpsc::Sender<bool>);
        impl Drop for AtEnd {
            fn drop(&mut self) {
                let event = Event::new();
                let late = timeout(ms(1), || event.wait());
                let q = Queue::bounded(1);
                q.put(Box::new(1)).unwrap();
                assert_eq!(
                    q.put_timeout(Box::new(2), ms(1)),
                    Err(PutError::Full(Box::new(2)))
                );
                self.0.send(late == Err(Elapsed)).unwrap();
            }
        }
        thread_local!(static AT_END: Cell<Option<AtEnd>> = const { Cell::new(None) });
        for party in [either, root] {
            let (sender, receiver) = mpsc::channel();
            let thread = std::thread::spawn(move || {
                AT_END.set(Some(AtEnd(sender)));
                party(0);
                assert!(!Event::new().wait_timeout(ms(1)));
            });
            thread.join().unwrap();
            assert_eq!(receiver.recv(), Ok(true));
        }
    });
}

/// A thread without a hub has nobody to switch to: a wait in the middle of a panic just blocks.
#[test]
fn wait_of_a_thread_that_is_panicking() {
    within(|| {
        struct Waits<'a>(&'a Event, &'a Event);
        impl Drop for Waits<'_> {
            fn drop(&mut self) {
                self.0.set();
                self.1.wait();
            }
        }
        let (waits, go) = (Event::new(), Event::new());
        each(
            2,
            |_| (),
            |i| {
                if i == 0 {
                    waits.wait();
                    return go.set();
                }
                let unwound = catch_unwind(AssertUnwindSafe(|| {
                    let _waits = Waits(&waits, &go);
                    // Without the hook: nothing is to be printed.
                    std::panic::resume_unwind(Box::new("on purpose"));
                }));
                assert_eq!(unwound.unwrap_err().downcast_ref(), Some(&"on purpose"));
            },
        );
    });
}

#[test]
fn no_switch_forbids_waits_of_threads() {
    within(|| {
        each(2, either, |_| {
            let event = Event::new();
            let refused = catch_unwind(AssertUnwindSafe(|| no_switch(|| event.wait())));
            let message = *refused.unwrap_err().downcast::<String>().unwrap();
            assert!(message.starts_with("Event::wait at "), "{message}");
            event.set();
            no_switch(|| event.wait());
            nobody_waits(&[&event]);
        });
    });
}

//! Select, on one hub with a virtual clock, and between threads.

use greenlet::sync::{
    AsyncResult, BoundedSemaphore, Event, GetError, LifoQueue, Mutex, PriorityQueue, PutError,
    Queue, Semaphore,
};
use greenlet::testing::Simulation;
use greenlet::{
    Waitable, as_completed, now, select, select_biased, sleep, spawn, timeout, yield_now,
};
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

#[test]
fn each_kind_of_arm_is_done() {
    Simulation::new().run(|| {
        let (fifo, lifo, least) = (
            Queue::unbounded(),
            LifoQueue::unbounded(),
            PriorityQueue::unbounded(),
        );
        let (event, result) = (Event::new(), AsyncResult::<u8>::new());
        let (permits, bounded) = (Semaphore::new(0), BoundedSemaphore::new(2));
        let taken = bounded.acquire_many(2);
        let worker = spawn(|| sleep(ms(50)));
        let mut full = Some(9);
        let narrow = Queue::bounded(1);
        narrow.put(0).unwrap();
        let next = |full: &mut Option<u8>| {
            select! {
                get(fifo) -> item => { let item: u8 = item.unwrap(); item }
                get(lifo) -> item => item.unwrap(),
                get(least) -> item => item.unwrap(),
                wait(event) => { event.clear(); 4 },
                wait(&result) => 5,
                acquire(permits) -> permit => { permit.forget(); 6 }
                acquire_many(bounded, 2) -> permits => { permits.forget(); 7 },
                put(narrow, full) -> put => { put.unwrap(); 8 }
                wait(worker) => 9,
                default(ms(100)) => 0,
            }
        };
        let ends = [
            (
                1,
                Box::new(|| fifo.put(1).unwrap()) as Box<dyn FnOnce() + '_>,
            ),
            (2, Box::new(|| lifo.put(2).unwrap())),
            (3, Box::new(|| least.put(3).unwrap())),
            (4, Box::new(|| event.set())),
            (6, Box::new(|| permits.release())),
            (7, Box::new(|| drop(taken))),
            (8, Box::new(|| assert_eq!(narrow.get(), Ok(0)))),
        ];
        greenlet::scope(|s| {
            for (i, (number, act)) in ends.into_iter().enumerate() {
                s.spawn(move || {
                    sleep(ms(1 + i as u64));
                    act();
                });
                assert_eq!(next(&mut full), number);
                if full.is_none() {
                    full = Some(1);
                }
            }
        });
        assert_eq!(narrow.len(), 1);
        assert_eq!(full, Some(1));
        assert_eq!(next(&mut full), 9);
        let before = now();
        result.set(1).unwrap();
        assert!([5, 9].contains(&next(&mut full)));
        assert_eq!(now(), before);
    });
}

#[test]
fn nothing_now_and_nothing_in_time() {
    Simulation::new().run(|| {
        let queue = Queue::<u8>::unbounded();
        let (asked, began) = (Cell::new(0), now());
        for _ in 0..3 {
            select! {
                get(queue) -> _ => unreachable!(),
                default => asked.set(asked.get() + 1),
            }
        }
        assert_eq!((asked.get(), now()), (3, began));
        let late = select! { get(queue) -> _ => false, default(ms(3)) => true };
        assert!(late);
        assert_eq!(now() - began, ms(3));
        assert!(format!("{queue:?}").contains("getters: 0"), "{queue:?}");
    });
}

/// The bodies are the caller's code: they may leave what is around, and use what a losing arm
/// had borrowed.
#[test]
fn bodies_stand_where_they_are_written() {
    fn first(queue: &Queue<u8>) -> Result<u8, GetError> {
        select! { get(queue) -> item => return Ok(item? + 1), default => {} }
        Ok(0)
    }
    Simulation::new().run(|| {
        let (queue, room) = (Queue::unbounded(), Queue::rendezvous());
        assert_eq!(first(&queue), Ok(0));
        queue.put(1).unwrap();
        assert_eq!(first(&queue), Ok(2));
        queue.put(5).unwrap();
        let mut mine = Some(7);
        loop {
            select! {
                put(room, &mut mine) -> _ => continue,
                get(queue) -> item => {
                    mine = mine.map(|m| m + item.unwrap());
                    break;
                }
            }
        }
        assert_eq!(mine, Some(12));
        queue.shutdown();
        assert_eq!(first(&queue), Err(GetError::ShutDown));
        // What is not named is gone by then.
        let lock = Mutex::new(());
        select! { lock(lock) => assert!(lock.try_lock().is_some()) }
        // What is given may be a temporary.
        let made = select! { get([&queue][0]) -> item => item, wait(&Event::new()) => Ok(0) };
        assert_eq!(made, Err(GetError::ShutDown));
    });
}

#[test]
fn fair_and_biased() {
    Simulation::new().run(|| {
        let queues = [0, 1, 2].map(|i| {
            let queue = Queue::unbounded();
            (0..100).for_each(|_| queue.put(i).unwrap());
            queue
        });
        let [a, b, c] = &queues;
        let mut counts = [0; 3];
        for _ in 0..30 {
            let i: usize = select! {
                get(a) -> i => i.unwrap(),
                get(b) -> i => i.unwrap(),
                get(c) -> i => i.unwrap(),
            };
            counts[i] += 1;
        }
        assert_eq!(counts, [10; 3]);
        for _ in 0..30 {
            let i = select_biased! { get(b) -> i => i, get(a) -> i => i, get(c) -> i => i };
            assert_eq!(i, Ok(1));
        }
    });
}

/// Also where nothing is waited for.
#[test]
fn all_are_tried_whosever_turn_it_is() {
    Simulation::new().run(|| {
        let queues = [0; 3].map(|_| Queue::unbounded());
        let [a, b, c] = &queues;
        for (i, ready) in queues.iter().enumerate() {
            for _ in 0..10 {
                ready.put(i).unwrap();
                let got = select! {
                    get(a) -> i => i,
                    get(b) -> i => i,
                    get(c) -> i => i,
                    default => unreachable!(),
                };
                assert_eq!(got, Ok(i));
            }
        }
    });
}

/// What is given is looked at once, in the order in which it is written, before anything is tried.
#[test]
fn arguments_come_first_and_in_order() {
    Simulation::new().run(|| {
        let (ready, empty, order) = (Queue::unbounded(), Queue::rendezvous(), Cell::new(0));
        let at = |n: u32| assert_eq!(order.replace(n + 1), n);
        ready.put(1).unwrap();
        for item in [Some(Ok(1)), None] {
            let mut mine = Some(2);
            let before = order.replace(0);
            assert_eq!(before, if item.is_some() { 0 } else { 4 });
            let got = select! {
                get({ at(0); &ready }) -> item => Some(item),
                put({ at(1); &empty }, { at(2); &mut mine }) -> _ => unreachable!(),
                default({ at(3); ms(1) }) => None,
            };
            assert_eq!((got, mine), (item, Some(2)));
        }
        assert_eq!(order.get(), 4);
    });
}

/// What cannot be is said whichever arm could go, and nothing is done.
#[test]
fn what_is_wrong_is_said_whichever_arm_could_go() {
    let queue = Queue::unbounded();
    queue.put(1).unwrap();
    let said = |select: &dyn Fn()| {
        let panicked = catch_unwind(AssertUnwindSafe(select)).unwrap_err();
        assert_eq!(queue.len(), 1);
        match panicked.downcast::<String>() {
            Ok(text) => *text,
            Err(text) => text.downcast::<&str>().unwrap().to_string(),
        }
    };
    let to = Queue::rendezvous();
    let empty = said(&|| {
        select_biased! { get(queue) -> _ => {}, put(to, &mut None::<u8>) -> _ => {} }
    });
    assert!(empty.contains("an item to be put"), "{empty}");
    let no_handle = said(&|| {
        select_biased! {
            get(queue) -> _ => {},
            join(&mut None::<greenlet::Greenlet<()>>) -> _ => {}
        }
    });
    assert!(no_handle.contains("a handle to be joined"), "{no_handle}");
    let permits = BoundedSemaphore::new(2);
    let too_many = said(&|| {
        select_biased! { get(queue) -> _ => {}, acquire_many(permits, 3) -> _ => {} }
    });
    assert!(too_many.contains("never has more than 2"), "{too_many}");
    let lock = Mutex::new(());
    let held = lock.lock();
    let own = said(&|| select_biased! { get(queue) -> _ => {}, lock(lock) -> _ => {} });
    assert!(own.contains("holds this lock already"), "{own}");
    drop(held);
    assert!(format!("{to:?}{permits:?}").contains("waiting: 0"));
}

/// In each line it stands where it came.
#[test]
fn first_come_first_served_in_each_line() {
    Simulation::new().run(|| {
        let (queue, order) = (Rc::new(Queue::unbounded()), Rc::new(Queue::unbounded()));
        for i in 0..6 {
            let (queue, order) = (queue.clone(), order.clone());
            spawn(move || {
                let never = Event::new();
                let item = match i % 2 {
                    0 => queue.get(),
                    _ => select! { wait(never) => unreachable!(), get(queue) -> item => item },
                };
                order.put((i, item.unwrap())).unwrap();
            });
        }
        yield_now();
        (0..6).for_each(|item| queue.put(item).unwrap());
        sleep(ms(1));
        assert_eq!(
            order.try_iter().collect::<Vec<_>>(),
            (0..6).map(|i| (i, i)).collect::<Vec<_>>()
        );
    });
}

/// Who waits for more than there is holds up those behind it, until another arm is done.
#[test]
fn a_loser_lets_those_behind_it_through() {
    Simulation::new().run(|| {
        let (permits, event) = (Rc::new(Semaphore::new(2)), Rc::new(Event::new()));
        let wide = spawn({
            let (permits, event) = (permits.clone(), event.clone());
            move || select! { acquire_many(permits, 3) -> _ => false, wait(event) => true }
        });
        yield_now();
        let narrow = spawn({
            let permits = permits.clone();
            move || select! { acquire(permits) -> _ => now(), wait(Event::new()) => unreachable!() }
        });
        let plain = spawn({
            let permits = permits.clone();
            move || drop(permits.acquire())
        });
        sleep(ms(1));
        assert!(!narrow.is_finished() && !plain.is_finished());
        event.set();
        assert!(wide.join().unwrap());
        assert_eq!(narrow.join().unwrap(), now());
        plain.join().unwrap();
        assert_eq!(permits.available(), 2);
    });
}

/// It does not meet itself, but whoever else comes.
#[test]
fn both_ways_on_one_queue() {
    Simulation::new().run(|| {
        let queue = Rc::new(Queue::rendezvous());
        let both = |mine: u8| {
            let queue = queue.clone();
            spawn(move || {
                let mut mine = Some(mine);
                select! {
                    put(queue, &mut mine) -> put => { put.unwrap(); None }
                    get(queue) -> item => item.ok(),
                }
            })
        };
        let alone = both(1);
        sleep(ms(1));
        assert!(!alone.is_finished());
        assert_eq!(queue.get_nowait(), Ok(1));
        assert_eq!(alone.join().unwrap(), None);
        let other = both(2);
        sleep(ms(1));
        queue.put_nowait(3).unwrap();
        assert_eq!(other.join().unwrap(), Some(3));
        let (one, two) = (both(4), both(5));
        let ends = (one.join().unwrap(), two.join().unwrap());
        assert!(
            [(None, Some(4)), (Some(5), None)].contains(&ends),
            "{ends:?}"
        );
    });
}

#[test]
fn a_shut_down_queue_gives_the_item_back() {
    Simulation::new().run(|| {
        let queue = Rc::new(Queue::bounded(1));
        queue.put("first").unwrap();
        let putter = spawn({
            let queue = queue.clone();
            move || {
                let mut mine = Some("mine");
                select! { put(queue, &mut mine) -> put => (put, mine) }
            }
        });
        sleep(ms(1));
        queue.shutdown();
        let end = putter.join().unwrap();
        assert_eq!(end, (Err(PutError::ShutDown("mine")), None));
    });
}

/// A place is reserved, so there is neither an item to get nor room to put one: one select waits
/// for both. (Found by `properties::select`: the queue's own check took that for impossible.)
#[test]
fn of_both_ends_of_a_queue_whose_places_are_reserved() {
    Simulation::new().run(|| {
        let queue = Rc::new(Queue::bounded(1));
        let both = || {
            let queue = queue.clone();
            let waits = spawn(move || {
                let mut mine = Some("mine");
                select! {
                    get(queue) -> item => item.map_err(|_| ()),
                    put(queue, &mut mine) -> put => { put.unwrap(); Err(()) }
                }
            });
            yield_now();
            waits
        };
        // The place comes back: its item is in, and it is in the getters' line until it has run.
        let slot = queue.reserve().unwrap();
        let waits = both();
        assert_eq!(queue.statistics().getters, 1);
        drop(slot);
        assert_eq!((queue.len(), queue.statistics().getters), (1, 1));
        assert_eq!(queue.put_nowait("full"), Err(PutError::Full("full")));
        assert_eq!(queue.get(), Ok("mine"));
        queue.put("other").unwrap();
        assert_eq!(waits.join().unwrap(), Err(()));
        assert_eq!(queue.get(), Ok("other"));
        // The place is filled: the select gets that.
        let slot = queue.reserve().unwrap();
        let waits = both();
        slot.put("reserved");
        assert_eq!(waits.join().unwrap(), Ok("reserved"));
        // Somebody else gets or puts.
        let slot = queue.reserve().unwrap();
        let waits = both();
        assert_eq!(queue.get_nowait(), Ok("mine"));
        assert_eq!(waits.join().unwrap(), Err(()));
        let waits = both();
        queue.put_nowait("met").unwrap();
        assert_eq!(waits.join().unwrap(), Ok("met"));
        drop(slot);
        assert_eq!(queue.unfinished(), 5);
    });
}

#[test]
fn a_kill_leaves_the_item_with_its_owner() {
    struct Owner(Option<Rc<()>>, Rc<Cell<bool>>);
    impl Drop for Owner {
        fn drop(&mut self) {
            self.1.set(self.0.is_some());
        }
    }
    Simulation::new().run(|| {
        let (queue, had) = (Rc::new(Queue::rendezvous()), Rc::new(Cell::new(false)));
        let putter = spawn({
            let (queue, mut owner) = (queue.clone(), Owner(Some(Rc::new(())), had.clone()));
            move || {
                let item = &mut owner.0;
                select! { put(queue, item) -> _ => {}, wait(&Event::new()) => {} }
            }
        });
        sleep(ms(1));
        putter.kill();
        putter.wait();
        assert!(had.get());
        assert!(queue.get_nowait().is_err());
    });
}

/// While panicking it says no where it can.
#[test]
fn no_wait_while_panicking() {
    struct Late(Rc<Cell<bool>>);
    impl Drop for Late {
        fn drop(&mut self) {
            let queue = Queue::<u8>::unbounded();
            let before = now();
            let refused = select! { get(queue) -> _ => false, default(ms(5)) => true };
            self.0.set(refused && now() == before);
        }
    }
    Simulation::new().run(|| {
        let refused = Rc::new(Cell::new(false));
        let late = Late(refused.clone());
        let panics = spawn(move || {
            let _late = late;
            panic!("on purpose");
        });
        assert!(panics.join().is_err());
        assert!(refused.get());
    });
}

/// The panic of an item's `cmp` is that of the put, and nobody is left in a line.
#[test]
fn a_cmp_that_panics() {
    #[derive(PartialEq, Eq)]
    struct Bad(u8);
    impl PartialOrd for Bad {
        fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
            Some(self.cmp(other))
        }
    }
    impl Ord for Bad {
        fn cmp(&self, _: &Self) -> std::cmp::Ordering {
            panic!("cmp");
        }
    }
    Simulation::new().run(|| {
        let (queue, event) = (Rc::new(PriorityQueue::unbounded()), Rc::new(Event::new()));
        queue.put(Bad(1)).ok().unwrap();
        let putter = spawn({
            let (queue, event) = (queue.clone(), event.clone());
            move || {
                let mut mine = Some(Bad(2));
                select_biased! { wait(event) => {}, put(queue, &mut mine) -> _ => {} }
            }
        });
        assert!(putter.join().is_err());
        assert_eq!(queue.len(), 1);
        assert!(format!("{event:?}").contains("waiting: 0"), "{event:?}");
    });
}

/// Plain threads and hubs exchange items by nothing but selects, of which some expire: each
/// item arrives once.
#[test]
fn between_threads_nothing_is_lost() {
    const EACH: usize = 2_000;
    let queues = Arc::new([Queue::rendezvous(), Queue::bounded(1)]);
    let (sum, left) = (
        Arc::new(AtomicUsize::new(0)),
        Arc::new(AtomicUsize::new(3 * EACH)),
    );
    let producers = (0..3).map(|p| {
        let queues = queues.clone();
        std::thread::spawn(move || {
            let [a, b] = &*queues;
            for i in 0..EACH {
                let mut item = Some(p * EACH + i);
                // Now this one first, now that one.
                let (a, b) = if i % 2 == 0 { (a, b) } else { (b, a) };
                while item.is_some() {
                    let offer = item.take();
                    let (mut one, mut two) = (offer, None::<usize>);
                    select! {
                        put(a, &mut one) -> put => put.unwrap(),
                        default(Duration::from_micros(20)) => two = one.take(),
                    }
                    if two.is_some() {
                        select! {
                            put(b, &mut two) -> put => put.unwrap(),
                            default => {}
                        }
                    }
                    item = two;
                }
            }
        })
    });
    let consumers = (0..3).map(|c| {
        let (queues, sum, left) = (queues.clone(), sum.clone(), left.clone());
        std::thread::spawn(move || {
            let work = || {
                let [a, b] = &*queues;
                while left.load(Ordering::Relaxed) > 0 {
                    select! {
                        get(a) -> item => {
                            sum.fetch_add(item.unwrap(), Ordering::Relaxed);
                            left.fetch_sub(1, Ordering::Relaxed);
                        }
                        get(b) -> item => {
                            sum.fetch_add(item.unwrap(), Ordering::Relaxed);
                            left.fetch_sub(1, Ordering::Relaxed);
                        }
                        default(ms(5)) => {}
                    }
                }
            };
            match c {
                0 => work(),
                _ => greenlet::run(|| {
                    greenlet::scope(|s| {
                        for _ in 0..3 {
                            s.spawn(work);
                        }
                    });
                }),
            }
        })
    });
    for thread in producers.chain(consumers).collect::<Vec<_>>() {
        thread.join().unwrap();
    }
    let n = 3 * EACH;
    assert_eq!(sum.load(Ordering::Relaxed), n * (n - 1) / 2);
    assert_eq!(queues.each_ref().map(Queue::len), [0, 0]);
}

/// Two threads that want of each other what they have for each other.
#[test]
fn crosswise_between_threads() {
    const ROUNDS: usize = 20_000;
    let queues = Arc::new([Queue::rendezvous(), Queue::rendezvous()]);
    let side = |me: usize| {
        let queues = queues.clone();
        move || {
            let (mine, theirs) = (&queues[me], &queues[1 - me]);
            let (mut put, mut got) = (0, 0);
            while put < ROUNDS || got < ROUNDS {
                let mut item = Some(put);
                match (put < ROUNDS, got < ROUNDS) {
                    (true, true) => select! {
                        put(mine, &mut item) -> result => { result.unwrap(); put += 1 }
                        get(theirs) -> item => { assert_eq!(item, Ok(got)); got += 1 }
                    },
                    (true, false) => {
                        mine.put(put).unwrap();
                        put += 1
                    }
                    _ => {
                        assert_eq!(theirs.get(), Ok(got));
                        got += 1
                    }
                }
            }
        }
    };
    let other = std::thread::spawn(side(1));
    side(0)();
    other.join().unwrap();
}

#[test]
fn a_handle_is_joined_or_stays() {
    Simulation::new().run(|| {
        let queue = Queue::<u8>::unbounded();
        let mut worker = Some(spawn(|| {
            sleep(ms(5));
            7
        }));
        for _ in 0..2 {
            select! {
                join(&mut worker) -> _ => unreachable!(),
                get(queue) -> _ => unreachable!(),
                default(ms(2)) => {}
            }
        }
        assert!(worker.is_some());
        let value = select! { join(&mut worker) -> end => end.unwrap(), get(queue) -> _ => 0 };
        assert_eq!((value, worker.is_none()), (7, true));
        // One that has ended already; and one that was killed.
        let mut ended = Some(spawn(|| 8));
        yield_now();
        assert_eq!(
            select! { join(&mut ended) -> end => end.unwrap(), default => 0 },
            8
        );
        let mut killed = Some(spawn(|| sleep(ms(99))));
        killed.as_ref().unwrap().kill();
        let end = select! { join(&mut killed) -> end => end };
        assert!(end.unwrap_err().is_killed());
    });
}

#[test]
#[should_panic(expected = "there is a handle to be joined")]
fn no_handle_to_join() {
    select! { join(&mut None::<greenlet::Greenlet<()>>) -> _ => {} }
}

/// A lock is taken in its turn, by an arm as by `lock`, or not at all.
#[test]
fn a_lock_is_taken_or_left() {
    Simulation::new().run(|| {
        let (mutex, queue) = (Rc::new(Mutex::new(vec![])), Rc::new(Queue::unbounded()));
        let held = mutex.lock();
        let worker = |name: &'static str, by_arm: bool| {
            let (mutex, queue) = (mutex.clone(), queue.clone());
            let worker = spawn(move || {
                if by_arm {
                    select! {
                        lock(mutex) -> guard => {
                            let mut guard = guard;
                            sleep(ms(1));
                            guard.push(name);
                        }
                        get(queue) -> item => mutex.lock().push(item.unwrap()),
                    }
                } else {
                    mutex.lock().push(name);
                }
            });
            yield_now();
            worker
        };
        let all = [
            worker("a", true),
            worker("b", false),
            worker("c", true),
            worker("d", true),
        ];
        // One of them takes this instead: the first of those that want it.
        queue.put("item").unwrap();
        drop(held);
        for one in all {
            one.join().unwrap();
        }
        assert_eq!(*mutex.lock(), ["b", "c", "d", "item"]);
        assert!(!mutex.is_locked() && queue.is_empty());
        // A limit, and one that is free.
        let held = mutex.lock();
        let late = spawn({
            let mutex = mutex.clone();
            move || select! { lock(mutex) -> _ => false, default(ms(1)) => true }
        });
        assert!(late.join().unwrap());
        drop(held);
        let got = select! { lock(mutex) -> guard => guard.len(), default => 0 };
        assert_eq!((got, mutex.is_locked()), (4, false));
        let text = format!("{:?}", *mutex);
        assert!(!text.contains("locked: true"), "{text}");
    });
}

#[test]
#[should_panic(expected = "holds this lock already")]
fn a_lock_of_ones_own() {
    let mutex = Mutex::new(());
    let _guard = mutex.lock();
    select! { lock(mutex) -> _ => {}, default => {} }
}

/// Locks by arms exclude each other between threads too, and permits and locks are not lost.
#[test]
fn locks_between_threads() {
    const ROUNDS: usize = 2_000;
    let shared = (Mutex::new(0), Semaphore::new(1));
    std::thread::scope(|s| {
        for n in 0..4 {
            let (mutex, permits) = &shared;
            s.spawn(move || {
                let mut locked = 0;
                for round in 0..ROUNDS {
                    let mine = if n < 2 {
                        select! {
                            lock(mutex) -> guard => { let mut guard = guard; *guard += 1; 1 }
                            acquire(permits) -> _ => 0,
                        }
                    } else if round % 2 == 0 {
                        select! {
                            lock(mutex) -> guard => { let mut guard = guard; *guard += 1; 1 }
                            default(Duration::ZERO) => 0,
                        }
                    } else {
                        *mutex.lock() += 1;
                        1
                    };
                    locked += mine;
                }
                locked
            });
        }
    });
    assert!(!shared.0.is_locked());
    assert_eq!(shared.1.available(), 1);
}

// ---- as_completed ----

#[test]
fn each_comes_out_as_it_is_ready() {
    Simulation::new().run(|| {
        let job = |n| {
            spawn(move || {
                sleep(ms(n));
                n
            })
        };
        let done = job(0);
        done.wait();
        let jobs = [job(30), job(10), done, job(20)];
        // By reference, one of them twice, and with a pause in which two get ready.
        let all = [&jobs[0], &jobs[1], &jobs[2], &jobs[3], &jobs[1]];
        let mut ready = as_completed(all);
        assert_eq!(ready.len(), 5);
        let mut seen = vec![*ready.next().unwrap().value().unwrap()];
        sleep(ms(25));
        seen.extend(ready.by_ref().map(|job| *job.value().unwrap()));
        assert_eq!(seen, [0, 10, 10, 20, 30]);
        assert_eq!((ready.next().is_none(), ready.len()), (true, 0));
        assert!(as_completed(Vec::<&Event>::new()).next().is_none());
        drop(ready);
        // By value; and things of several kinds.
        let ends = as_completed(jobs).map(|job| job.join().unwrap());
        assert_eq!(ends.collect::<Vec<_>>(), [30, 10, 0, 20]);
        let (event, result) = (Arc::new(Event::new()), Arc::new(AsyncResult::<u8>::new()));
        let both: [Arc<dyn Waitable>; 2] = [event.clone(), result.clone()];
        let mut ready = as_completed(both.iter());
        result.set(1).unwrap();
        event.set();
        event.clear(); // it has been set all the same
        assert!(Arc::ptr_eq(ready.next().unwrap(), &both[1]));
        assert!(Arc::ptr_eq(ready.next().unwrap(), &both[0]));
    });
}

#[test]
fn a_kill_or_an_expiry_ends_a_next_and_not_the_iteration() {
    Simulation::new().run(|| {
        let event = Rc::new(Event::new());
        let mut ready = as_completed([&*event]);
        assert!(timeout(ms(1), || ready.next().is_some()).is_err());
        assert_eq!(ready.len(), 1);
        event.set();
        assert!(ready.next().is_some());
        event.clear();
        let killed = spawn({
            let event = event.clone();
            move || as_completed([&*event, &*event]).count()
        });
        yield_now();
        assert!(format!("{event:?}").contains("waiting: 2"));
        killed.kill();
        assert!(killed.join().unwrap_err().is_killed());
        assert!(format!("{event:?}").contains("waiting: 0"));
    });
}

#[test]
fn completed_on_other_threads() {
    let results: Vec<_> = (0..400).map(|_| AsyncResult::<usize>::new()).collect();
    std::thread::scope(|s| {
        for n in 0..4 {
            let results = &results;
            s.spawn(move || {
                for (i, result) in results.iter().enumerate().skip(n).step_by(4) {
                    result.set(i).unwrap();
                }
            });
        }
        let sum: usize = as_completed(&results).map(|r| *r.value().unwrap()).sum();
        assert_eq!(sum, 400 * 399 / 2);
    });
}

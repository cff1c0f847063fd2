//! What went wrong in tokio's `sync`, by the numbers of its changelog: one test for each that could go wrong here, named
//! after it, on the primitive that comes nearest.
//!
//! | number | what went wrong there | why there is no test here |
//! |---|---|---|
//! | 3434 | dropping a receiver of `broadcast` panicked, when it lagged behind | no broadcast: an item has one receiver, and none lags |
//! | 3689 | a waker whose `clone` panicked broke `AtomicWaker` | wakers are the crate's own; foreign code that runs at a wake is links, see `tokio_5578` |
//! | 5925 | waking the waiters of `broadcast` was quadratic if many left | leaving is one unlink; `process.rs` has 100,000 waiters of whom half leave |
//!
//! A few had the same cause as others, and share a test's shape: 5471, 5475, 5578 and 4129 ran foreign code (wakers)
//! under a lock; 7886 and 8095 kept the waker, and with it the task, of a waiter that had left.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};
use std::time::Duration;

use greenlet::sync::{
    AsyncResult, BoundedSemaphore, Event, GetError, LifoQueue, PriorityQueue, PutError, Queue,
    Semaphore,
};
use greenlet::testing::Simulation;
use greenlet::{Greenlet, HubThread, join_all, sleep, spawn, timeout, wait_any_timeout, yield_now};

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// A program on the virtual clock: what can never end panics instead of hanging.
fn sim<R>(program: impl FnOnce() -> R) -> R {
    Simulation::new().run(program)
}

/// A greenlet that has begun to wait.
fn waiting<T: 'static>(f: impl FnOnce() -> T + 'static) -> Greenlet<T> {
    let g = spawn(f);
    yield_now();
    g
}

/// A `Mutex` whose `lock` was dropped after it had been given the lock stayed locked.
#[test]
fn tokio_1898_a_lock_given_to_one_that_goes_is_handed_on() {
    sim(|| {
        let lock = Rc::new(Semaphore::new(1));
        let held = lock.acquire();
        let [killed, expired, last] = [0, 1, 2].map(|i| {
            let lock = lock.clone();
            waiting(move || match i {
                0 => {
                    let _guard = lock.acquire();
                    sleep(ms(9));
                }
                1 => drop(timeout(ms(1), || {
                    let _guard = lock.acquire();
                    sleep(ms(9));
                })),
                _ => drop(lock.acquire()),
            })
        });
        drop(held);
        // It has been given the lock, and is killed before it knows.
        killed.kill();
        assert!(killed.join().unwrap_err().is_killed());
        expired.join().unwrap();
        last.join().unwrap();
        assert_eq!(lock.available(), 1);
    });
}

/// `broadcast` lost the notification of a receiver that registered while a batch was woken.
#[test]
fn tokio_2135_waiters_that_come_while_others_are_woken_are_not_lost() {
    const N: u32 = 200;
    let (event, woken) = (Arc::new(Event::new()), Arc::new(AtomicU32::new(0)));
    let hubs = [0, 1].map(|_| HubThread::start("waiters").unwrap());
    let waiters: Vec<_> = (0..N)
        .map(|i| {
            let (event, woken) = (event.clone(), woken.clone());
            hubs[i as usize % 2].handle().spawn(move || {
                event.wait();
                woken.fetch_add(1, SeqCst);
            })
        })
        .collect();
    // Several batches, with waiters that still arrive; the flag stays set for those.
    event.set();
    join_all(waiters).into_iter().for_each(|g| g.unwrap());
    assert_eq!(woken.load(SeqCst), N);
}

/// `watch::changed` returned although nothing had changed.
#[test]
fn tokio_3234_no_wait_ends_without_its_cause() {
    sim(|| {
        let (event, result) = (Rc::new(Event::new()), Rc::new(AsyncResult::<u8>::new()));
        let (queue, gate) = (Rc::new(Queue::<u8>::bounded(1)), Rc::new(Semaphore::new(0)));
        let ended = Rc::new(Cell::new(0));
        let all = [0, 1, 2, 3, 4].map(|i| {
            let (event, result) = (event.clone(), result.clone());
            let (queue, gate, ended) = (queue.clone(), gate.clone(), ended.clone());
            waiting(move || {
                match i {
                    0 => event.wait(),
                    1 => assert_eq!(result.get().unwrap(), 3),
                    2 => assert_eq!(queue.get(), Ok(4)),
                    3 => drop(gate.acquire_many(2)),
                    _ => assert_eq!(wait_any_timeout(&[&*event, &*result], ms(1000)), Some(0)),
                }
                ended.set(ended.get() + 1);
            })
        });
        // What comes near, and is not it.
        event.clear();
        gate.release();
        assert!(queue.get_timeout(ms(1)).is_err() && !event.wait_timeout(ms(1)));
        assert!(result.wait_timeout(ms(1)).is_none() && gate.try_acquire().is_none());
        assert!(queue.is_empty() && queue.join_timeout(ms(0)));
        sleep(ms(1));
        assert_eq!(ended.get(), 0);
        event.set();
        gate.release();
        queue.put(4).unwrap();
        result.set(3).unwrap();
        join_all(all).into_iter().for_each(|g| g.unwrap());
    });
}

/// Permits near the maximum overflowed.
#[test]
fn tokio_3644_permits_do_not_overflow() {
    const MAX: usize = usize::MAX / 4;
    let full = Semaphore::new(MAX);
    let all = full.acquire_many(MAX);
    assert_eq!((full.available(), full.try_acquire().is_none()), (0, true));
    drop(all);
    assert_eq!(full.available(), MAX);
    let over = std::panic::catch_unwind(|| full.release());
    assert!(over.is_err() && full.available() == MAX);
    // A permit for which a substitute was released already: no more than the maximum.
    let held = full.acquire();
    full.release();
    drop(held);
    assert_eq!(full.available(), MAX);
    let bounded = BoundedSemaphore::new(MAX);
    assert!(bounded.release().is_err());
    drop(bounded.acquire_many(MAX));
    assert_eq!(bounded.available(), MAX);
}

/// What a receiver had been notified of was lost when it was dropped.
#[test]
fn tokio_3652_what_is_given_to_one_that_goes_is_not_lost() {
    sim(|| {
        let queue = Rc::new(Queue::unbounded());
        let got = Rc::new(RefCell::new(vec![]));
        let getter = |limit| {
            let (queue, got) = (queue.clone(), got.clone());
            waiting(move || {
                let item = queue.get_timeout(limit);
                got.borrow_mut().push(item);
                sleep(ms(9));
            })
        };
        let (first, second) = (getter(ms(5)), getter(ms(9)));
        queue.put(1).unwrap();
        // Given the item, killed before it knows: it has it, and goes at its next wait.
        first.kill();
        assert!(first.join().unwrap_err().is_killed());
        assert_eq!(*got.borrow(), [Ok(1)]);
        // Killed first: the item is the next one's.
        let third = getter(ms(9));
        second.kill();
        queue.put(2).unwrap();
        assert!(second.join().unwrap_err().is_killed());
        third.join().unwrap();
        assert_eq!(*got.borrow(), [Ok(1), Ok(2)]);
        assert!(queue.is_empty());
    });
}

/// `oneshot::try_recv` panicked when it was called once more.
#[test]
fn tokio_3674_asking_again_for_a_result_is_no_error() {
    sim(|| {
        let result = AsyncResult::<u8, &str>::default();
        assert_eq!([result.get_nowait(), result.get_nowait()], [None, None]);
        result.set(1).unwrap();
        assert_eq!([result.get_nowait(), result.get_nowait()], [Some(Ok(1)); 2]);
        assert_eq!([result.get(), result.get()], [Ok(1); 2]);
        assert_eq!(result.wait_timeout(ms(0)), Some(Ok(&1)));
        let g = spawn(|| 2);
        assert_eq!((g.value(), g.value()), (None, None));
        g.wait();
        g.wait();
        assert_eq!(
            (g.value(), g.value(), g.wait_timeout(ms(0))),
            (Some(&2), Some(&2), true)
        );
        assert_eq!(g.join().unwrap(), 2);
        let queue = Queue::<u8>::unbounded();
        queue.shutdown();
        assert_eq!(
            [queue.get_nowait(), queue.get_nowait()],
            [Err(GetError::ShutDown); 2]
        );
    });
}

/// An item whose destructor uses the queue that it was meant for.
struct UsesItsQueue(Rc<Queue<Option<UsesItsQueue>>>, Rc<Cell<u32>>);

impl Drop for UsesItsQueue {
    fn drop(&mut self) {
        assert!(self.0.len() <= 1 && !format!("{:?}", self.0).is_empty());
        let _ = self.0.get_nowait().is_ok_and(|item| item.is_none());
        self.1.set(self.1.get() + 1);
    }
}

/// `Notify` ran a waker's `clone` under its lock, which deadlocked if that used the `Notify`.
#[test]
fn tokio_4129_what_a_waiter_leaves_behind_is_dropped_outside_the_lock() {
    sim(|| {
        let (queue, dropped) = (Rc::new(Queue::bounded(1)), Rc::new(Cell::new(0)));
        for how in 0..3 {
            assert!(queue.put_nowait(None).is_ok());
            let item = Some(UsesItsQueue(queue.clone(), dropped.clone()));
            let also = queue.clone();
            let putter = waiting(move || match how {
                0 => drop(also.put(item)),
                1 => drop(timeout(ms(1), || also.put(item))),
                _ => drop(also.put_timeout(item, ms(1))),
            });
            if how == 0 {
                putter.kill();
            }
            putter.wait();
            assert_eq!((dropped.get(), queue.len()), (how + 1, 0));
        }
    });
}

/// A value sent while the receiver closed was read and dropped at once (RUSTSEC-2021-0124).
#[test]
fn tokio_4226_a_value_that_meets_the_end_of_its_taker_is_dropped_once() {
    struct Counted(Arc<AtomicU32>, Box<u32>);
    impl Drop for Counted {
        fn drop(&mut self) {
            assert_eq!(*self.1, 7);
            self.0.fetch_add(1, SeqCst);
        }
    }
    let (hub, count) = (
        HubThread::start("giver").unwrap(),
        Arc::new(AtomicU32::new(0)),
    );
    for i in 0..600u32 {
        let value = Counted(count.clone(), Box::new(7));
        let result = Arc::new(AsyncResult::<Counted>::new());
        let setter = result.clone();
        let g = hub.handle().spawn(move || {
            drop(setter.set(value));
            Counted(setter.value().unwrap().0.clone(), Box::new(7))
        });
        // Both may go at once, be looked at, or be waited for.
        match i % 4 {
            0 => {}
            1 => drop(g.value().map(|v| *v.1)),
            2 => drop(
                result
                    .wait_timeout(Duration::ZERO)
                    .map(|v| v.map(|v| *v.1).ok()),
            ),
            _ => g.wait(),
        }
        drop(g);
        drop(result);
    }
    // What is on its way ends with the hub.
    hub.handle().spawn(|| ()).join().unwrap();
    hub.stop();
    hub.join().unwrap();
    assert_eq!(count.load(SeqCst), 1200);
}

/// `recv` on a `broadcast` that had been closed, by a receiver that came later, never returned.
#[test]
fn tokio_4867_who_comes_after_the_shutdown_does_not_wait() {
    sim(|| {
        let (fifo, lifo, ranked) = (
            Queue::bounded(1),
            LifoQueue::bounded(1),
            PriorityQueue::bounded(1),
        );
        let channel = Queue::<u8>::rendezvous();
        macro_rules! check {
            ($($queue:ident)+) => {$(
                $queue.shutdown();
                $queue.shutdown();
                for _ in 0..2 {
                    assert_eq!($queue.get(), Err(GetError::ShutDown));
                    assert_eq!($queue.get_timeout(ms(1)), Err(GetError::ShutDown));
                    assert_eq!($queue.peek_nowait(), Err(GetError::ShutDown));
                    assert_eq!($queue.put(1), Err(PutError::ShutDown(1)));
                    assert_eq!($queue.put_nowait(1), Err(PutError::ShutDown(1)));
                    assert_eq!(($queue.iter().next(), $queue.try_iter().next()), (None, None));
                }
                $queue.join();
                assert_eq!($queue.shutdown_now(), []);
            )+};
        }
        check! { fifo lifo ranked channel }
    });
}

/// `Notify` dropped wakers under its lock: the last owner of something may go there.
#[test]
fn tokio_5471_the_last_owner_of_a_primitive_may_be_woken_by_it() {
    sim(|| {
        let event = Rc::new(Event::new());
        let weak = Rc::downgrade(&event);
        let waiter = waiting(move || {
            event.wait();
            drop(event);
        });
        // Who sets it holds it only that long.
        if let Some(event) = weak.upgrade() {
            event.set();
        }
        waiter.join().unwrap();
        assert!(weak.upgrade().is_none());
    });
    // And from another thread, where the woken one frees it while the setter is on its way out.
    let hub = HubThread::start("waiter").unwrap();
    for _ in 0..300 {
        let result = Arc::new(AsyncResult::<Box<u32>>::new());
        let setter = result.clone();
        let g = hub.handle().spawn(move || result.wait().map(|n| **n).ok());
        drop(setter.set(Box::new(5)));
        drop(setter);
        assert_eq!(g.join().unwrap(), Some(5));
    }
}

/// The semaphore dropped wakers under its lock.
#[test]
fn tokio_5475_a_permit_may_be_the_last_owner_of_its_semaphore() {
    sim(|| {
        let semaphore = Arc::new(Semaphore::new(1));
        let weak = Arc::downgrade(&semaphore);
        let first = semaphore.acquire_owned();
        let second = waiting(move || semaphore.acquire_owned());
        // Handed to the second, whose greenlet holds the semaphore until it has run.
        drop(first);
        let permit = second.join().unwrap();
        drop(permit);
        assert!(weak.upgrade().is_none());
    });
    let semaphore = Arc::new(BoundedSemaphore::new(1));
    let weak = Arc::downgrade(&semaphore);
    let permit = semaphore.try_acquire_owned().unwrap();
    drop(semaphore);
    std::thread::spawn(move || drop(permit)).join().unwrap();
    assert!(weak.upgrade().is_none());
}

/// `broadcast` woke under its lock, which deadlocked with wakers that did something. Here links are what may do anything.
#[test]
fn tokio_5578_links_may_use_what_they_belong_to() {
    sim(|| {
        let slot: Arc<std::sync::Mutex<Option<Arc<Greenlet<u32>>>>> = Arc::default();
        let log = Arc::new(std::sync::Mutex::new(vec![]));
        let g = Arc::new(spawn(|| {
            yield_now();
            7
        }));
        *slot.lock().unwrap() = Some(g.clone());
        let (own, seen) = (slot.clone(), log.clone());
        g.link(move |outcome| {
            let g = own.lock().unwrap().take().unwrap();
            g.kill();
            let finished = g.is_finished();
            let log = seen.clone();
            seen.lock()
                .unwrap()
                .push((*outcome.as_ref().unwrap(), finished));
            // Before the end it is published: behind this one.
            g.link(move |outcome| {
                log.lock()
                    .unwrap()
                    .push((*outcome.as_ref().unwrap() + 1, true))
            });
            assert!(!format!("{g:?}").is_empty());
        });
        g.wait();
        assert_eq!(*log.lock().unwrap(), [(7, false), (8, true)]);
        assert_eq!(g.value(), Some(&7));
    });
}

/// Within a batch of wakes the order was turned round.
#[test]
fn tokio_6521_waiters_of_many_batches_are_woken_in_order() {
    const N: usize = 100;
    let in_order = |order: &[usize]| assert!(order.iter().copied().eq(0..N), "{order:?}");
    sim(|| {
        let (event, order) = (Rc::new(Event::new()), Rc::new(RefCell::new(vec![])));
        let all: Vec<_> = (0..N)
            .map(|i| {
                let (event, order) = (event.clone(), order.clone());
                waiting(move || {
                    event.wait();
                    order.borrow_mut().push(i);
                })
            })
            .collect();
        event.set();
        drop(join_all(all));
        in_order(&order.borrow());
    });
    // Woken by another thread.
    let (event, order) = (
        Arc::new(Event::new()),
        Arc::new(std::sync::Mutex::new(vec![])),
    );
    let hub = HubThread::start("waiters").unwrap();
    let all: Vec<_> = (0..N)
        .map(|i| {
            let (event, order) = (event.clone(), order.clone());
            hub.handle().spawn(move || {
                event.wait();
                order.lock().unwrap().push(i);
            })
        })
        .collect();
    hub.handle().spawn(|| ()).join().unwrap(); // all wait
    event.set();
    drop(join_all(all));
    in_order(&order.lock().unwrap());
}

/// A message that was sent but not received was not dropped.
#[test]
fn tokio_6558_a_value_that_nobody_takes_is_dropped() {
    sim(|| {
        let value = Rc::new(());
        let weak = |n: usize| assert_eq!(Rc::strong_count(&value), 1 + n);
        let result = AsyncResult::<Rc<()>>::new();
        result.set(value.clone()).unwrap();
        weak(1);
        drop(result);
        weak(0);
        // The handle goes before the greenlet starts, while it runs, after its end; and it is never looked at.
        let give = |wait: u64| {
            let value = value.clone();
            spawn(move || {
                sleep(ms(wait));
                value
            })
        };
        drop(give(1));
        let g = give(1);
        yield_now();
        drop(g);
        sleep(ms(2));
        weak(0);
        let g = give(0);
        g.wait();
        weak(1);
        drop(g);
        weak(0);
        let g = give(9);
        g.kill();
        drop(g);
        yield_now();
        weak(0);
        // In a queue, stored and handed over to one that goes.
        let queue = Rc::new(Queue::unbounded());
        let getter = waiting({
            let queue = queue.clone();
            move || queue.get()
        });
        queue.put(value.clone()).unwrap();
        getter.kill();
        drop(getter.join().unwrap());
        queue.put(value.clone()).unwrap();
        weak(1);
        drop(queue);
        weak(0);
    });
}

/// `is_empty` was wrong where one block of the list ended and the next began.
#[test]
fn tokio_6603_len_and_is_empty_are_right_at_every_length() {
    for n in 0..130 {
        let (queue, lifo) = (Queue::unbounded(), LifoQueue::unbounded());
        let ranked = PriorityQueue::unbounded();
        for i in 0..n {
            assert_eq!((queue.len(), queue.is_empty()), (i, i == 0));
            queue.put(i).unwrap();
            lifo.put(i).unwrap();
            ranked.put(i).unwrap();
            assert_eq!(
                (queue.len(), lifo.len(), ranked.len()),
                (i + 1, i + 1, i + 1)
            );
        }
        for i in (0..n).rev() {
            assert!(!queue.is_empty() && queue.get_nowait().is_ok());
            assert!(!lifo.is_empty() && lifo.get_nowait() == Ok(i));
            assert!(!ranked.is_empty() && ranked.get_nowait() == Ok(n - 1 - i));
            assert_eq!((queue.len(), lifo.len(), ranked.len()), (i, i, i));
        }
        assert!(queue.is_empty() && lifo.is_empty() && ranked.is_empty());
        assert!(queue.get_nowait().is_err() && !queue.is_full());
    }
}

/// A result that was done kept the waker, and so the whole task, of one that had waited for it.
#[test]
fn tokio_7886_a_result_keeps_nothing_of_those_that_have_left() {
    sim(|| {
        let (result, held) = (Rc::new(AsyncResult::<u8>::new()), Rc::new(()));
        let waiter = |limit: Duration| {
            let (result, held) = (result.clone(), held.clone());
            waiting(move || {
                let _held = held;
                result.wait_timeout(limit).is_some()
            })
        };
        let (late, killed, woken) = (waiter(ms(1)), waiter(ms(9)), waiter(ms(9)));
        assert_eq!(Rc::strong_count(&held), 4);
        assert!(!late.join().unwrap());
        killed.kill();
        assert!(killed.join().is_err());
        assert_eq!(Rc::strong_count(&held), 2);
        result.set(1).unwrap();
        assert!(woken.join().unwrap());
        assert_eq!((Rc::strong_count(&held), Rc::strong_count(&result)), (1, 1));
        let links = Arc::new(());
        let g = spawn(|| ());
        let also = links.clone();
        g.link(move |_| drop(also));
        g.wait();
        assert_eq!(Arc::strong_count(&links), 1);
    });
}

/// Taking everything from a channel that was closed panicked.
#[test]
fn tokio_7991_taking_the_rest_of_a_queue_that_is_shut_down_is_no_error() {
    sim(|| {
        let queue = Queue::unbounded();
        (0..3).for_each(|i| queue.put(i).unwrap());
        queue.shutdown();
        assert_eq!(queue.get(), Ok(0));
        assert_eq!(queue.shutdown_now(), [1, 2]);
        assert_eq!(queue.shutdown_now(), []);
        assert_eq!(queue.unfinished(), 1); // the one that was got
        queue.task_done();
        queue.join();
    });
}

/// A waiter that a broadcast had released took a single notification too.
#[test]
fn tokio_7996_who_is_released_by_a_broadcast_takes_nothing_besides() {
    sim(|| {
        // Given an item, then released by the shutdown: the item counts, and the next one is released.
        let queue = Rc::new(Queue::unbounded());
        let getters = [0, 1].map(|_| {
            let queue = queue.clone();
            waiting(move || queue.get())
        });
        queue.put('a').unwrap();
        queue.shutdown();
        let got = getters.map(|g| g.join().unwrap());
        assert_eq!(got, [Ok('a'), Err(GetError::ShutDown)]);
        // Released first: what comes then comes back.
        let queue = Rc::new(Queue::unbounded());
        let getter = waiting({
            let queue = queue.clone();
            move || queue.get()
        });
        queue.shutdown();
        assert_eq!(queue.put('b'), Err(PutError::ShutDown('b')));
        assert_eq!(getter.join().unwrap(), Err(GetError::ShutDown));
        // Released by one event of two: nothing of the other is used up.
        let events = Rc::new([Event::new(), Event::new()]);
        let waiter = waiting({
            let events = events.clone();
            move || wait_any_timeout(&[&events[0], &events[1]], ms(9))
        });
        events[1].set();
        events[0].set();
        assert_eq!(waiter.join().unwrap(), Some(1));
        assert!(events.iter().all(Event::is_set));
    });
}

/// A semaphore that was closed was open again after `forget`.
#[test]
fn tokio_8021_what_is_shut_down_or_forgotten_stays_so() {
    sim(|| {
        let queue = Queue::bounded(1);
        queue.put(1).unwrap();
        queue.shutdown();
        drop((queue.get(), queue.shutdown_now()));
        queue.task_done();
        queue.join();
        assert!(queue.is_shut_down() && queue.put(2).is_err() && queue.get().is_err());
        let semaphore = Rc::new(Semaphore::new(2));
        semaphore.acquire_many(2).forget();
        let waiter = waiting({
            let semaphore = semaphore.clone();
            move || semaphore.acquire_timeout(ms(5)).is_some()
        });
        drop(semaphore.acquire_many(0));
        assert!(!waiter.join().unwrap());
        assert_eq!((semaphore.available(), semaphore.is_locked()), (0, true));
        let stopped = Arc::new(AsyncResult::<u8>::new());
        stopped.set_error(Arc::new(std::fmt::Error)).unwrap();
        assert_eq!(stopped.set(1), Err(1));
        assert!(stopped.wait().is_err());
    });
}

/// `len` fell below zero, seen from another thread.
#[test]
fn tokio_8062_length_never_below_zero() {
    const ITEMS: usize = 3000;
    let (queue, stop) = (
        Arc::new(Queue::unbounded()),
        Arc::new(AtomicBool::new(false)),
    );
    std::thread::scope(|threads| {
        let looks = || {
            while !stop.load(SeqCst) {
                assert!(queue.len() <= ITEMS && queue.unfinished() <= ITEMS);
                std::hint::spin_loop();
            }
        };
        threads.spawn(looks);
        let gets = threads.spawn(|| {
            for _ in 0..ITEMS {
                queue.get().unwrap();
                queue.task_done();
            }
            stop.store(true, SeqCst);
        });
        (0..ITEMS).for_each(|i| queue.put(i).unwrap());
        gets.join().unwrap();
    });
    assert_eq!((queue.len(), queue.unfinished()), (0, 0));
    queue.join();
}

/// `try_recv` said that all was over while items could still come.
#[test]
fn tokio_8074_shut_down_is_said_only_when_nothing_more_can_come() {
    sim(|| {
        let queue = Rc::new(Queue::bounded(2));
        let putters = [1, 2, 3].map(|i| {
            let queue = queue.clone();
            waiting(move || queue.put(i))
        });
        queue.shutdown();
        // Two are stored and come out; the third putter has its item back, although it has not run yet.
        assert_eq!((queue.get_nowait(), queue.peek_nowait()), (Ok(1), Ok(2)));
        assert_eq!(
            (queue.get_nowait(), queue.get_nowait()),
            (Ok(2), Err(GetError::ShutDown))
        );
        let put = putters.map(|g| g.join().unwrap());
        assert_eq!(put, [Ok(()), Ok(()), Err(PutError::ShutDown(3))]);
        assert_eq!(queue.get_nowait(), Err(GetError::ShutDown));
        // Not shut down: empty, however many have come and gone.
        let open = Queue::<u8>::unbounded();
        open.put(1).unwrap();
        assert_eq!(
            (open.get_nowait(), open.get_nowait()),
            (Ok(1), Err(GetError::Empty))
        );
    });
}

/// Giving an owned permit back did not wake those who waited for it.
#[test]
fn tokio_8075_an_owned_permit_that_is_given_back_wakes_the_next() {
    let semaphore = Arc::new(Semaphore::new(1));
    for _ in 0..50 {
        let permit = semaphore.acquire_owned();
        let next = {
            let semaphore = semaphore.clone();
            move || drop(semaphore.acquire())
        };
        let hub = std::thread::spawn({
            let next = next.clone();
            move || greenlet::run(|| spawn(next).join().unwrap())
        });
        let plain = std::thread::spawn(next);
        std::thread::spawn(move || drop(permit)).join().unwrap();
        hub.join().unwrap();
        plain.join().unwrap();
    }
    assert_eq!(semaphore.available(), 1);
}

/// A channel kept its receiver's waker when the receiver was gone.
#[test]
fn tokio_8095_a_queue_keeps_nothing_of_those_that_have_left() {
    sim(|| {
        let (queue, held) = (Rc::new(Queue::<u8>::bounded(1)), Rc::new(()));
        queue.put(0).unwrap();
        let all = [0, 1, 2].map(|i| {
            let (queue, held) = (queue.clone(), held.clone());
            waiting(move || {
                let _held = held;
                match i {
                    0 => drop(queue.put_timeout(1, ms(1))),
                    1 => drop(queue.put(2)),
                    _ => queue.join(),
                }
            })
        });
        assert_eq!(Rc::strong_count(&held), 4);
        all[1..].iter().for_each(Greenlet::kill);
        sleep(ms(2));
        assert_eq!((Rc::strong_count(&held), Rc::strong_count(&queue)), (1, 1));
        drop(all);
        assert_eq!((queue.get_nowait(), queue.len()), (Ok(0), 0));
    });
}

/// Who gave up a place in the line for permits did not wake those that its going let through.
#[test]
fn tokio_8260_who_leaves_the_line_lets_those_behind_through() {
    sim(|| {
        for how in 0..3 {
            let semaphore = Rc::new(Semaphore::new(3));
            let held = semaphore.acquire();
            let acquire = |n: usize| {
                let semaphore = semaphore.clone();
                waiting(move || match (n, how) {
                    (3, 1) => drop(semaphore.acquire_many_timeout(3, ms(1))),
                    (3, _) => drop(timeout(ms(1), || semaphore.acquire_many(3))),
                    _ => drop(semaphore.acquire_many(n)),
                })
            };
            let big = acquire(3);
            let behind = [acquire(1), acquire(2), acquire(1)];
            assert!(!behind[0].is_finished() && semaphore.try_acquire().is_none());
            if how == 0 {
                big.kill();
            }
            sleep(ms(2));
            assert!(big.is_finished() && behind.iter().all(Greenlet::is_finished));
            drop(held);
            assert_eq!(semaphore.available(), 3);
        }
    });
}

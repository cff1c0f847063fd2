//! Waits as futures: in line with greenlets and threads, woken, moved, dropped, on tokio and on
//! an executor of forty lines; and futures of all kinds in `block_on`.

mod chance;

use chance::Chance;
use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::panic::catch_unwind;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, mpsc};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use greenlet::sync::{
    AsyncResult, Barrier, BoundedSemaphore, Event, GetError, Latch, LifoQueue, Notify, OnceCell,
    PriorityQueue, PutError, Queue, Semaphore, WaitGroup,
};
use greenlet::{
    Elapsed, Group, HubThread, Pool, block_on, now, run, shield, sleep, spawn, testing::Simulation,
    timeout, yield_now,
};

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// Counts its wakes.
#[derive(Default)]
struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, SeqCst);
    }
}

/// A future that is polled by hand.
struct Hand<'a, F> {
    future: Option<Pin<Box<F>>>,
    wakes: Arc<Count>,
    _of: std::marker::PhantomData<&'a ()>,
}

impl<F: Future> Hand<'_, F> {
    fn new(future: F) -> Self {
        Hand {
            future: Some(Box::pin(future)),
            wakes: Arc::default(),
            _of: std::marker::PhantomData,
        }
    }

    fn poll(&mut self) -> Option<F::Output> {
        let waker = Waker::from(self.wakes.clone());
        self.poll_for(&waker)
    }

    fn poll_for(&mut self, waker: &Waker) -> Option<F::Output> {
        let future = self.future.as_mut().expect("it was not dropped");
        match future.as_mut().poll(&mut Context::from_waker(waker)) {
            Poll::Ready(output) => Some(output),
            Poll::Pending => None,
        }
    }

    /// Polled for the first time: it waits.
    fn begun(future: F) -> Self {
        let mut hand = Hand::new(future);
        assert!(hand.poll().is_none());
        hand
    }

    fn wakes(&self) -> usize {
        self.wakes.0.load(SeqCst)
    }

    /// Woken once, and done.
    fn done(&mut self) -> F::Output {
        assert_eq!(self.wakes(), 1);
        self.poll().expect("it was woken for this")
    }

    fn cancel(mut self) {
        self.future = None;
    }
}

#[test]
fn what_is_ready_needs_one_poll_and_no_waker() {
    let (event, result) = (Event::new(), AsyncResult::<u8, u8>::default());
    let (queue, permits) = (Queue::bounded(1), Arc::new(Semaphore::new(2)));
    event.set();
    result.set(1).unwrap();
    let clones = Arc::strong_count;
    let wakes = Arc::new(Count::default());
    let waker = Waker::from(wakes.clone());
    let mut context = Context::from_waker(&waker);
    macro_rules! ready {
        ($future:expr, $output:pat) => {{
            let mut future = pin!($future);
            let output = future.as_mut().poll(&mut context);
            assert!(matches!(output, Poll::Ready($output)));
            // The future, which is still there, has none.
            assert_eq!(clones(&wakes), 2);
        }};
    }
    ready!(event.wait_async(), ());
    ready!(result.wait_async(), Ok(&1));
    ready!(result.get_async(), Ok(1));
    ready!(queue.put_async(7), Ok(()));
    ready!(queue.get_async(), Ok(7));
    queue.task_done();
    ready!(queue.join_async(), ());
    ready!(permits.acquire_async(), _);
    ready!(permits.acquire_many_async(2), _);
    ready!(permits.acquire_owned_async(), _);
    let bounded = BoundedSemaphore::new(1);
    ready!(bounded.acquire_many_async(0), _);
    queue.shutdown();
    ready!(queue.get_async(), Err(GetError::ShutDown));
    ready!(queue.put_async(1), Err(PutError::ShutDown(1)));
    let greenlet = spawn(|| 5);
    greenlet.wait();
    ready!(greenlet.wait_async(), ());
    ready!(greenlet.into_future(), Ok(5));
    assert_eq!((permits.available(), wakes.0.load(SeqCst)), (2, 0));
}

#[test]
fn each_wait_is_woken_once() {
    let (event, result) = (Event::new(), AsyncResult::<u8, u8>::default());
    let (full, empty) = (Queue::bounded(1), Queue::unbounded());
    let permits = Arc::new(BoundedSemaphore::new(2));
    full.put(1).unwrap();
    let held = permits.acquire_many(2);

    let mut waits = Hand::begun(event.wait_async());
    event.set();
    event.clear();
    waits.done();

    let mut waits = Hand::begun(result.wait_async());
    let mut copies = Hand::begun(result.get_async());
    result.set_error(3).unwrap();
    assert_eq!((waits.done(), copies.done()), (Err(&3), Err(3)));

    let mut gets = Hand::begun(empty.get_async());
    empty.put(4).unwrap();
    assert_eq!(gets.done(), Ok(4));
    let mut joins = Hand::begun(empty.join_async());
    empty.task_done();
    joins.done();

    let mut puts = Hand::begun(full.put_async(2));
    assert_eq!((full.get(), full.len()), (Ok(1), 1));
    assert_eq!(puts.done(), Ok(()));
    let mut refused = Hand::begun(full.put_async(3));
    full.shutdown();
    assert_eq!(refused.done(), Err(PutError::ShutDown(3)));

    let mut many = Hand::begun(permits.acquire_many_async(2));
    let mut owned = Hand::begun(permits.acquire_owned_async());
    drop(held);
    let (both, none) = (many.done(), owned.poll());
    assert!(none.is_none());
    drop(both);
    drop(owned.done());
    assert_eq!(permits.available(), 2);

    let (latch, group, cell) = (Latch::new(1), WaitGroup::new(), OnceCell::new());
    let mut waits = Hand::begun(latch.wait_async());
    latch.count_down();
    waits.done();
    let other = group.clone();
    let mut waits = Hand::begun(group.wait_async());
    drop(other);
    waits.done();
    let mut waits = Hand::begun(cell.wait_async());
    cell.set(7).unwrap();
    assert_eq!(waits.done(), &7);

    let greenlet = spawn(|| 6);
    let mut waits = Hand::begun(greenlet.wait_async());
    yield_now();
    waits.done();
    waits.cancel();
    let mut joins = Hand::new(greenlet.into_future());
    assert_eq!(joins.poll().unwrap().unwrap(), 6);
}

#[test]
fn lifo_and_priority_queues_too() {
    let (lifo, ranked) = (LifoQueue::bounded(1), PriorityQueue::bounded(1));
    let mut gets = Hand::begun(lifo.get_async());
    block_on(lifo.put_async(1)).unwrap();
    assert_eq!(gets.done(), Ok(1));
    let mut gets = Hand::begun(ranked.get_async());
    block_on(ranked.put_async(2)).unwrap();
    assert_eq!(gets.done(), Ok(2));
    for done in [lifo.task_done(), ranked.task_done()] {
        done
    }
    block_on(async {
        lifo.join_async().await;
        ranked.join_async().await;
    });
}

/// The last one to arrive trips the barrier, whatever it is; one that is dropped has not arrived.
#[test]
fn barriers() {
    let barrier = Rc::new(Barrier::new(3));
    let waiting = || barrier.statistics().waiting;
    let mut first = Hand::begun(barrier.wait_async());
    let gone = Hand::begun(barrier.wait_async());
    drop(barrier.wait_async()); // it has not been polled
    assert_eq!(waiting(), 2);
    gone.cancel();
    assert_eq!(waiting(), 1);
    let b = barrier.clone();
    let second = spawn(move || b.wait().is_leader());
    yield_now();
    let mut last = Hand::new(barrier.wait_async());
    assert!(last.poll().expect("it trips the barrier").is_leader());
    assert!(!first.done().is_leader() && !second.join().unwrap());
    // The next generation, which a greenlet trips; one that is dropped then has arrived.
    let mut waits = Hand::begun(barrier.wait_async());
    let gone = Hand::begun(barrier.wait_async());
    assert!(barrier.wait().is_leader());
    gone.cancel();
    assert!(!waits.done().is_leader());
    assert_eq!(waiting(), 0);
    assert!(block_on(Barrier::new(0).wait_async()).is_leader());
}

#[test]
fn groups_and_pools() {
    Simulation::new().run(|| {
        let (group, go) = (Group::new(), Rc::new(Event::new()));
        block_on(group.join_async()); // there is nobody
        let g = go.clone();
        let member = group.spawn(move || g.wait());
        let mut joins = Hand::begun(group.join_async());
        Hand::begun(group.join_async()).cancel();
        go.set();
        member.join().unwrap();
        joins.done();

        let pool = Rc::new(Pool::new(1));
        let ran = Rc::new(RefCell::new(Vec::new()));
        let run = |n| {
            let ran = ran.clone();
            move || {
                sleep(ms(1));
                ran.borrow_mut().push(n);
                n
            }
        };
        let mut spawns = Hand::new(pool.spawn_async(run(1)));
        let first = spawns.poll().expect("there is a place");
        let mut second = Hand::begun(pool.spawn_async(run(2)));
        let p = pool.clone();
        let third = spawn({
            let run = run(3);
            move || p.spawn(run).join().unwrap()
        });
        yield_now();
        let closure = Rc::new(());
        let held = closure.clone();
        let gone = Hand::begun(pool.spawn_async(move || drop(held)));
        assert_eq!(pool.statistics().waiting, 3);
        gone.cancel();
        assert_eq!(
            (Rc::strong_count(&closure), pool.statistics().waiting),
            (1, 2)
        );
        let mut joins = Hand::begun(pool.join_async());
        assert_eq!(first.join().unwrap(), 1);
        // The place was handed to it, so it is in nobody's way though it has no member yet.
        assert_eq!((pool.len(), pool.free_count()), (0, 0));
        joins.done();
        let second = second.done();
        assert_eq!((second.join().unwrap(), third.join().unwrap()), (2, 3));
        assert_eq!(*ran.borrow(), [1, 2, 3]);

        // A place that was given to one who is gone goes back.
        let first = pool.spawn(run(4));
        let gone = Hand::begun(pool.spawn_async(run(5)));
        first.join().unwrap();
        assert_eq!((gone.wakes(), pool.free_count()), (1, 0));
        gone.cancel();
        assert_eq!(pool.free_count(), 1);

        // One that waited while its pool was killed is killed.
        let first = pool.spawn(run(6));
        let mut late = Hand::begun(pool.spawn_async(run(7)));
        let p = pool.clone();
        let killer = spawn(move || p.kill());
        assert!(first.join().unwrap_err().is_killed());
        assert!(late.done().join().unwrap_err().is_killed());
        killer.join().unwrap();
        // As well if that kill did not last until there was a place.
        let first = pool.spawn(|| shield(|| sleep(ms(5))));
        let mut late = Hand::begun(pool.spawn_async(run(8)));
        assert!(timeout(ms(1), || pool.kill()).is_err());
        let _ = first.join();
        assert!(late.done().join().unwrap_err().is_killed());
        assert_eq!(*ran.borrow(), [1, 2, 3, 4]);
        assert_eq!((pool.len(), pool.free_count()), (0, 1));
    });
}

/// Who would wait for its own end is told so at once.
#[test]
fn join_async_in_a_member() {
    let (group, pool) = (Group::new(), Pool::new(1));
    let g = group.clone();
    let joins = group.spawn(move || drop(g.join_async()));
    let p = pool.clone();
    let also = pool.spawn(move || drop(p.join_async()));
    for member in [joins, also] {
        let panic = member.join().unwrap_err().to_string();
        assert!(panic.contains("join_async in a member"), "{panic}");
    }
}

#[test]
fn many_items() {
    macro_rules! many {
        ($Queue:ident) => {{
            let queue = $Queue::bounded(2);
            assert_eq!(block_on(queue.get_many_async(0)), Ok(vec![]));
            let mut gets = Hand::begun(queue.get_many_async(9));
            let gone = Hand::begun(queue.get_many_async(9));
            // The first goes to the getter, and two are stored.
            let mut puts = Hand::begun(queue.put_many_async([7; 5]));
            assert_eq!((queue.len(), queue.statistics().putters), (2, 1));
            gone.cancel();
            // The first, the one that was given back, and all that came meanwhile.
            let got = gets.done().unwrap();
            assert_eq!(got, [7; 5]);
            assert_eq!(puts.done(), Ok(()));
            queue.put_many([7, 7]).unwrap();
            assert_eq!(block_on(queue.get_many_async(1)), Ok(vec![7]));

            // What was not put comes back, or is dropped.
            let mut refused = Hand::begun(queue.put_many_async([8, 8, 8]));
            Hand::begun(queue.put_many_async([9, 9])).cancel();
            queue.shutdown();
            assert_eq!(refused.done(), Err(PutError::ShutDown(vec![8, 8])));
            let mut rest = block_on(queue.get_many_async(9)).unwrap();
            rest.sort();
            assert_eq!(rest, [7, 8]);
            assert_eq!(block_on(queue.get_many_async(9)), Err(GetError::ShutDown));
            let refused = block_on(queue.put_many_async([1, 2]));
            assert_eq!(refused, Err(PutError::ShutDown(vec![1, 2])));
            assert_eq!(block_on(queue.put_many_async([])), Ok(()));
        }};
    }
    many!(Queue);
    many!(LifoQueue);
    many!(PriorityQueue);
}

#[test]
fn places() {
    macro_rules! places {
        ($Queue:ident) => {{
            let queue = $Queue::bounded(1);
            let slot = block_on(queue.reserve_async()).unwrap();
            let mut waits = Hand::begun(queue.reserve_async());
            let gone = Hand::begun(queue.reserve_async());
            let mut last = Hand::begun(queue.put_async(2));
            slot.put(1);
            assert_eq!((queue.get(), queue.statistics().reserved), (Ok(1), 1));
            let slot = waits.done().unwrap();
            // Given to one that is gone it goes on to the next.
            drop(slot);
            assert_eq!(gone.wakes(), 1);
            gone.cancel();
            assert_eq!((queue.len(), last.done()), (1, Ok(())));
            let mut refused = Hand::begun(queue.reserve_async());
            Hand::begun(queue.reserve_async()).cancel();
            queue.shutdown();
            assert_eq!(refused.done().unwrap_err(), PutError::ShutDown(()));
            let refused = block_on(queue.reserve_async());
            assert_eq!(refused.unwrap_err(), PutError::ShutDown(()));
            assert_eq!((queue.get(), queue.get()), (Ok(2), Err(GetError::ShutDown)));
        }};
    }
    places!(Queue);
    places!(LifoQueue);
    places!(PriorityQueue);
}

#[test]
#[should_panic(expected = "no places to reserve")]
fn places_in_a_rendezvous() {
    drop(Queue::<u8>::rendezvous().reserve_async());
}

/// Greenlets, a thread without a hub and futures in one line.
#[test]
fn in_line_with_everybody() {
    let queue = Arc::new(Queue::unbounded());
    let order = Rc::new(RefCell::new(Vec::new()));
    let greenlet = |name| {
        let (queue, order) = (queue.clone(), order.clone());
        let g = spawn(move || {
            let item = queue.get().unwrap();
            order.borrow_mut().push((name, item));
        });
        yield_now();
        g
    };
    let first = greenlet("first");
    let mut second = Hand::begun(queue.get_async());
    let third = greenlet("third");
    for item in 1..=3 {
        queue.put(item).unwrap();
    }
    assert_eq!(second.done(), Ok(2));
    for g in [first, third] {
        g.join().unwrap();
    }
    assert_eq!(*order.borrow(), [("first", 1), ("third", 3)]);
}

#[test]
fn only_the_task_that_polled_last_is_woken() {
    let event = Event::new();
    let mut waits = Hand::begun(event.wait_async());
    let other = Arc::new(Count::default());
    let waker = Waker::from(other.clone());
    assert!(waits.poll_for(&waker).is_none());
    assert!(waits.poll_for(&waker).is_none());
    // The one that was replaced is let go of.
    assert_eq!(Arc::strong_count(&waits.wakes), 1);
    event.set();
    assert_eq!((waits.wakes(), other.0.load(SeqCst)), (0, 1));
    assert!(waits.poll().is_some());
}

#[test]
fn dropped_in_line_it_leaves_no_trace() {
    let (queue, full) = (Queue::unbounded(), Queue::bounded(1));
    let (permits, event) = (Semaphore::new(1), Event::new());
    full.put(Rc::new(0)).unwrap();
    let item = Rc::new(1);
    Hand::begun(queue.get_async()).cancel();
    Hand::begun(full.put_async(item.clone())).cancel();
    // Its item is dropped with it.
    assert_eq!(Rc::strong_count(&item), 1);
    Hand::begun(full.join_async()).cancel();
    Hand::begun(event.wait_async()).cancel();
    // Those behind one that leaves get what it was in the way of.
    let many = Hand::begun(permits.acquire_many_async(2));
    let mut one = Hand::begun(permits.acquire_async());
    many.cancel();
    drop(one.done());
    // And one that was never polled was never in line.
    drop(queue.get_async());
    queue.put(2).unwrap();
    assert_eq!(queue.get_nowait(), Ok(2));
    assert_eq!((permits.available(), full.len()), (1, 1));
    for of in [
        format!("{queue:?}"),
        format!("{full:?}"),
        format!("{event:?}"),
    ] {
        assert!(!of.contains(": 2") && !of.contains("ers: 1"), "{of}");
    }
}

/// What it was given goes to the next in line.
#[test]
fn dropped_after_its_wake_it_hands_on() {
    let queue = Queue::unbounded();
    let first = Hand::begun(queue.get_async());
    let mut second = Hand::begun(queue.get_async());
    queue.put(1).unwrap();
    assert_eq!((first.wakes(), second.wakes()), (1, 0));
    first.cancel();
    assert_eq!(second.done(), Ok(1));
    assert_eq!(queue.unfinished(), 1);

    let notify = Notify::new();
    let first = Hand::begun(notify.wait_async());
    let mut second = Hand::begun(notify.wait_async());
    notify.notify_one();
    assert_eq!((first.wakes(), second.wakes()), (1, 0));
    first.cancel();
    second.done();
    let alone = Hand::begun(notify.wait_async());
    notify.notify_one();
    alone.cancel();
    assert!(notify.wait_timeout(Duration::ZERO));
    // Of those that are notified all at once none passes anything on.
    let both = [(); 2].map(|()| Hand::begun(notify.wait_async()));
    notify.notify_all();
    both.into_iter().for_each(Hand::cancel);
    assert!(!notify.wait_timeout(Duration::ZERO));

    let permits = Semaphore::new(0);
    let first = Hand::begun(permits.acquire_many_async(2));
    let mut second = Hand::begun(permits.acquire_async());
    permits.release();
    permits.release();
    assert_eq!((first.wakes(), permits.available()), (1, 0));
    first.cancel();
    second.done().forget();
    assert_eq!(permits.available(), 1);
}

/// An item that nobody wants is the first to come out again, even where there is no room.
#[test]
fn dropped_after_its_wake_it_puts_the_item_back() {
    let bounded = Queue::bounded(1);
    let gets = Hand::begun(bounded.get_async());
    bounded.put(1).unwrap();
    bounded.put(2).unwrap();
    gets.cancel();
    assert_eq!((bounded.len(), bounded.unfinished()), (2, 2));
    assert_eq!(bounded.put_nowait(3), Err(PutError::Full(3)));
    assert_eq!((bounded.get(), bounded.get()), (Ok(1), Ok(2)));
    bounded.put_nowait(3).unwrap();

    let rendezvous = Queue::rendezvous();
    let gets = Hand::begun(rendezvous.get_async());
    rendezvous.put(1).unwrap();
    gets.cancel();
    let mut puts = Hand::begun(rendezvous.put_async(2));
    assert_eq!(rendezvous.get(), Ok(1));
    assert_eq!(puts.wakes(), 0);
    assert_eq!(rendezvous.get(), Ok(2));
    puts.done().unwrap();

    let lifo = LifoQueue::unbounded();
    let gets = Hand::begun(lifo.get_async());
    lifo.put(1).unwrap();
    gets.cancel();
    lifo.put(2).unwrap();
    assert_eq!((lifo.get(), lifo.get()), (Ok(2), Ok(1)));

    // Among equals the one that came first.
    #[derive(Debug)]
    struct Rank(u8, u8);
    impl PartialEq for Rank {
        fn eq(&self, other: &Self) -> bool {
            self.cmp(other).is_eq()
        }
    }
    impl Eq for Rank {}
    impl PartialOrd for Rank {
        fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
            Some(self.cmp(other))
        }
    }
    impl Ord for Rank {
        fn cmp(&self, other: &Self) -> std::cmp::Ordering {
            self.0.cmp(&other.0)
        }
    }
    let ranked = PriorityQueue::unbounded();
    let gets = Hand::begun(ranked.get_async());
    for item in [Rank(1, 1), Rank(1, 2), Rank(0, 3)] {
        ranked.put(item).unwrap();
    }
    gets.cancel();
    let order: Vec<u8> = ranked.try_iter().map(|rank| rank.1).collect();
    assert_eq!(order, [3, 1, 2]);
}

#[test]
#[should_panic(expected = "polled after its end")]
fn polled_after_its_end() {
    let event = Event::new();
    event.set();
    let mut waits = Hand::new(event.wait_async());
    let _ = (waits.poll(), waits.poll());
}

/// Wakers are foreign code: one that panics, or would wait, concerns nobody else.
#[test]
fn a_waker_neither_unwinds_nor_waits() {
    struct Bad(bool, Mutex<Vec<String>>);
    impl Wake for Bad {
        fn wake(self: Arc<Self>) {
            assert!(self.0, "a waker panics");
            let waits = catch_unwind(|| Event::new().wait_timeout(Duration::from_secs(9)));
            let text = *waits.unwrap_err().downcast::<String>().unwrap();
            self.1.lock().unwrap().push(text);
        }
    }
    let event = Event::new();
    let (panics, waits) = [false, true]
        .map(|b| Arc::new(Bad(b, Mutex::default())))
        .into();
    let mut all = [(); 3].map(|()| Hand::new(event.wait_async()));
    assert!(all[0].poll_for(&Waker::from(panics)).is_none());
    assert!(all[1].poll_for(&Waker::from(waits.clone())).is_none());
    assert!(all[2].poll().is_none());
    event.set();
    all[2].done();
    assert!(all[0].poll().is_some() && all[1].poll().is_some());
    let said = &waits.1.lock().unwrap()[..];
    assert!(said.len() == 1 && said[0].contains("no wait is allowed"));
    // And waits are allowed again.
    spawn(yield_now).join().unwrap();
}

// ---- block_on ----

#[test]
fn block_on_lets_others_run() {
    Simulation::new().run(|| {
        let queue = Rc::new(Queue::bounded(1));
        let putter = spawn({
            let queue = queue.clone();
            move || {
                for i in 0..3 {
                    sleep(ms(10));
                    queue.put(i).unwrap();
                }
            }
        });
        let began = now();
        // An Rc in it: not Send.
        let sum = block_on(async {
            let mut sum = 0;
            for _ in 0..3 {
                sum += queue.get_async().await.unwrap();
            }
            sum
        });
        assert_eq!((sum, now() - began), (3, ms(30)));
        putter.join().unwrap();
    });
}

#[test]
fn block_on_is_killed_and_timed_out_like_any_wait() {
    Simulation::new().run(|| {
        struct Dropped(Rc<RefCell<Vec<&'static str>>>, &'static str);
        impl Drop for Dropped {
            fn drop(&mut self) {
                self.0.borrow_mut().push(self.1);
            }
        }
        let log = Rc::new(RefCell::new(Vec::new()));
        let queue = Rc::new(Queue::<u8>::unbounded());
        let killed = spawn({
            let (queue, log) = (queue.clone(), log.clone());
            move || {
                block_on(async {
                    let _dropped = Dropped(log, "killed");
                    queue.get_async().await
                })
            }
        });
        let late = spawn({
            let (queue, log) = (queue.clone(), log.clone());
            move || {
                timeout(ms(5), || {
                    block_on(async {
                        let _dropped = Dropped(log, "late");
                        queue.get_async().await
                    })
                })
            }
        });
        yield_now();
        killed.kill();
        assert!(killed.join().unwrap_err().is_killed());
        assert!(matches!(late.join().unwrap(), Err(Elapsed { .. })));
        assert_eq!(*log.borrow(), ["killed", "late"]);
        assert!(format!("{queue:?}").contains("getters: 0"));
        // What came in time counts.
        queue.put(1).unwrap();
        assert_eq!(
            timeout(Duration::ZERO, || block_on(queue.get_async())),
            Ok(Ok(1))
        );
    });
}

#[test]
fn block_on_of_a_future_of_ones_own() {
    // Wakes itself: the others get their turn all the same? They need not; but it ends.
    let mut polls = 0;
    let ends = poll_fn(|context| {
        polls += 1;
        if polls == 100 {
            return Poll::Ready(polls);
        }
        context.waker().wake_by_ref();
        Poll::Pending
    });
    assert_eq!(block_on(ends), 100);
    // Nested, and in a greenlet that waits inside a poll.
    let inner = spawn(|| block_on(async { block_on(async { sleep(ms(1)) }) }));
    inner.join().unwrap();
    assert_eq!(
        std::thread::spawn(|| block_on(async { 7 })).join().unwrap(),
        7
    );
}

#[test]
#[should_panic(expected = "block_on")]
fn block_on_what_nobody_wakes_is_a_deadlock() {
    Simulation::new().run(|| block_on(std::future::pending::<()>()));
}

// ---- executors ----

/// An executor on one thread: polls whatever was woken, in order.
fn bare(tasks: Vec<Pin<Box<dyn Future<Output = ()>>>>) {
    struct Task(usize, mpsc::Sender<usize>);
    impl Wake for Task {
        fn wake(self: Arc<Self>) {
            let _ = self.1.send(self.0);
        }
    }
    let (sender, woken) = mpsc::channel();
    let mut left = tasks.len();
    let mut tasks: Vec<_> = tasks.into_iter().map(Some).collect();
    (0..left).for_each(|i| sender.send(i).unwrap());
    while left > 0 {
        let i = woken.recv().unwrap();
        let waker = Waker::from(Arc::new(Task(i, sender.clone())));
        if let Some(task) = &mut tasks[i]
            && task
                .as_mut()
                .poll(&mut Context::from_waker(&waker))
                .is_ready()
        {
            tasks[i] = None;
            left -= 1;
        }
    }
}

#[test]
fn ping_pong_on_a_bare_executor() {
    const ROUNDS: usize = 10_000;
    let hub = HubThread::start("pong").unwrap();
    let (there, back) = (Arc::new(Queue::rendezvous()), Arc::new(Queue::bounded(1)));
    let pong = hub.handle().spawn({
        let (there, back) = (there.clone(), back.clone());
        move || {
            for i in &*there {
                back.put(i + 1).unwrap();
            }
        }
    });
    let permits = Rc::new(Semaphore::new(1));
    let done = Rc::new(RefCell::new(0));
    let tasks = (0..4).map(|_| {
        let (there, back) = (there.clone(), back.clone());
        let (permits, done) = (permits.clone(), done.clone());
        Box::pin(async move {
            for i in 0..ROUNDS / 4 {
                let _permit = permits.acquire_async().await;
                there.put_async(i).await.unwrap();
                assert_eq!(back.get_async().await, Ok(i + 1));
                *done.borrow_mut() += 1;
            }
        }) as Pin<Box<dyn Future<Output = ()>>>
    });
    bare(tasks.collect());
    assert_eq!(*done.borrow(), ROUNDS);
    there.shutdown();
    bare(vec![Box::pin(async { pong.await.unwrap() })]);
    hub.stop();
    hub.join().unwrap();
}

fn tokio() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_time()
        .build()
        .unwrap()
}

#[test]
fn greenlets_wait_for_tokio() {
    let runtime = tokio();
    let (sender, mut receiver) = tokio::sync::mpsc::channel(4);
    let sum = runtime.spawn(async move {
        let mut sum = 0;
        while let Some(i) = receiver.recv().await {
            tokio::time::sleep(Duration::from_micros(10)).await;
            sum += i;
        }
        sum
    });
    run(|| {
        let senders = [1, 2].map(|n| {
            let sender = sender.clone();
            spawn(move || {
                for _ in 0..50 {
                    block_on(sender.send(n)).unwrap();
                }
            })
        });
        drop(sender);
        for sender in senders {
            sender.join().unwrap();
        }
        assert_eq!(block_on(sum).unwrap(), 150);
    });
}

#[test]
fn tokio_waits_for_greenlets() {
    let hub = HubThread::start("hub").unwrap();
    let runtime = tokio();
    runtime.block_on(async {
        let result = Arc::new(AsyncResult::<u32, String>::default());
        let greenlet = hub.handle().spawn({
            let result = result.clone();
            move || {
                sleep(ms(1));
                result.set(1).unwrap();
                sleep(ms(1));
                2
            }
        });
        let one = tokio::spawn(async move { result.get_async().await });
        assert_eq!(one.await.unwrap(), Ok(1));
        assert_eq!(greenlet.await.unwrap(), 2);
        // A timeout of tokio's drops the future; the handle of a greenlet, polled by
        // reference, does not go with it.
        let asleep = hub.handle().spawn(|| sleep(Duration::from_secs(99)));
        let event = Event::new();
        let late = tokio::time::timeout(ms(1), event.wait_async()).await;
        assert!(late.is_err() && format!("{event:?}").contains("waiting: 0"));
        asleep.kill();
        let mut end = asleep.into_future();
        let end = tokio::time::timeout(Duration::from_secs(60), &mut end).await;
        assert!(end.unwrap().unwrap_err().is_killed());
    });
    hub.stop();
    hub.join().unwrap();
}

/// Polls a future up to so many times and then drops it.
async fn at_most<F: Future>(polls: u64, future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    let mut left = polls;
    poll_fn(|context| match future.as_mut().poll(context) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending if left == 0 => Poll::Ready(None),
        Poll::Pending => {
            left -= 1;
            // Of itself, so that it is polled again whether or not it was woken.
            context.waker().wake_by_ref();
            Poll::Pending
        }
    })
    .await
}

/// An item of the ledger; says when it is dropped.
struct Item {
    id: usize,
    ledger: Arc<Vec<AtomicUsize>>,
}

const DROPPED: usize = 1;
const COUNTED: usize = 10;

impl Item {
    fn count(self) {
        self.ledger[self.id].fetch_add(COUNTED, SeqCst);
    }
}

impl Drop for Item {
    fn drop(&mut self) {
        self.ledger[self.id].fetch_add(DROPPED, SeqCst);
    }
}

/// tokio to greenlets and back, with puts and gets that are given up at any time on all
/// sides: each item arrives once, or its put was given up.
#[test]
fn a_ledger_over_both_worlds() {
    const TASKS: usize = 4;
    let each = 250_000;
    let ledger: Arc<Vec<_>> = Arc::new((0..TASKS * each).map(|_| AtomicUsize::new(0)).collect());
    let (there, back) = (Arc::new(Queue::bounded(8)), Arc::new(Queue::bounded(8)));
    let runtime = tokio();
    let hubs = ["a", "b"].map(|name| HubThread::start(name).unwrap());
    let producers: Vec<_> = (0..TASKS)
        .map(|n| {
            let (ledger, there) = (ledger.clone(), there.clone());
            runtime.spawn(async move {
                let (mut chance, mut given_up) = (Chance::new(n), Vec::new());
                for id in n * each..(n + 1) * each {
                    let item = Item {
                        id,
                        ledger: ledger.clone(),
                    };
                    if chance.below(8) > 0 {
                        assert!(there.put_async(item).await.is_ok());
                    } else if at_most(chance.below(3), there.put_async(item))
                        .await
                        .is_none()
                    {
                        given_up.push(id);
                    }
                }
                given_up
            })
        })
        .collect();
    let carriers: Vec<_> = (0..2 * TASKS)
        .map(|n| {
            let (there, back) = (there.clone(), back.clone());
            hubs[n % 2].handle().spawn(move || {
                let mut chance = Chance::new(100 + n);
                loop {
                    let got = match chance.below(8) {
                        0 => there.get_timeout(Duration::ZERO),
                        1 => {
                            timeout(Duration::ZERO, || there.get()).unwrap_or(Err(GetError::Empty))
                        }
                        2 => block_on(at_most(chance.below(3), there.get_async()))
                            .unwrap_or(Err(GetError::Empty)),
                        _ => there.get(),
                    };
                    match got {
                        Ok(item) => assert!(back.put(item).is_ok()),
                        Err(GetError::Empty) => {}
                        Err(GetError::ShutDown) => break,
                    }
                }
            })
        })
        .collect();
    let consumers: Vec<_> = (0..TASKS)
        .map(|n| {
            let back = back.clone();
            runtime.spawn(async move {
                let mut chance = Chance::new(200 + n);
                loop {
                    let got = match chance.below(4) {
                        0 => at_most(chance.below(3), back.get_async())
                            .await
                            .unwrap_or(Err(GetError::Empty)),
                        _ => back.get_async().await,
                    };
                    match got {
                        Ok(item) => Item::count(item),
                        Err(GetError::Empty) => {}
                        Err(GetError::ShutDown) => break,
                    }
                }
            })
        })
        .collect();
    let given_up = runtime.block_on(async {
        let mut given_up = Vec::new();
        for producer in producers {
            given_up.extend(producer.await.unwrap());
        }
        there.shutdown();
        for carrier in carriers {
            carrier.await.unwrap();
        }
        back.shutdown();
        for consumer in consumers {
            consumer.await.unwrap();
        }
        given_up
    });
    assert!(!given_up.is_empty());
    for id in given_up {
        // Counted all the same, if it was taken before it was given up.
        if ledger[id].load(SeqCst) == DROPPED {
            ledger[id].fetch_add(COUNTED, SeqCst);
        }
    }
    let wrong = (0..ledger.len()).filter(|&id| ledger[id].load(SeqCst) != COUNTED + DROPPED);
    assert_eq!(wrong.count(), 0);
    assert_eq!((there.len(), back.len()), (0, 0));
    for hub in hubs {
        hub.stop();
        hub.join().unwrap();
    }
}

//! Reserved places and many items at once: what each promises, in a `Simulation` where only
//! greenlets take part.

use greenlet::sync::{Event, GetError, LifoQueue, PriorityQueue, PutError, Queue};
use greenlet::testing::Simulation;
use greenlet::{Greenlet, JoinError, scope, select, sleep, spawn, timeout, yield_now};
use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Waker};
use std::time::Duration;

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn simulate<R>(f: impl FnOnce() -> R) -> R {
    Simulation::new().run(f)
}

/// What a closure panics with.
fn panics<R>(f: impl FnOnce() -> R) -> String {
    let Err(payload) = catch_unwind(AssertUnwindSafe(f)) else {
        panic!("no panic")
    };
    match payload.downcast::<String>() {
        Ok(text) => *text,
        Err(other) => (*other.downcast::<&str>().expect("a text")).to_string(),
    }
}

/// In which order things were done.
#[derive(Clone, Default)]
struct Log(Rc<RefCell<Vec<String>>>);

impl Log {
    fn say(&self, text: impl Into<String>) {
        self.0.borrow_mut().push(text.into());
    }

    /// What was done since the last time, after all have run that can.
    fn now(&self) -> Vec<String> {
        yield_now();
        self.0.take()
    }
}

/// Does something as it is dropped.
struct OnDrop<F: FnMut()>(F);

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

/// Runs `f` while the thread is panicking.
fn while_panicking(f: impl FnMut()) {
    let unwound = catch_unwind(AssertUnwindSafe(|| {
        let _guard = OnDrop(f);
        resume_unwind(Box::new(()));
    }));
    assert!(unwound.is_err());
}

// ---- reserved places ----

/// A queue with room for one, and those who put into it or reserve a place and then put.
struct Line {
    queue: Rc<Queue<&'static str>>,
    log: Log,
    all: Vec<Greenlet<()>>,
}

impl Line {
    fn full() -> Self {
        let queue = Rc::new(Queue::bounded(1));
        queue.put("first").unwrap();
        let (log, all) = (Log::default(), Vec::new());
        Line { queue, log, all }
    }

    fn puts(&mut self, item: &'static str) {
        let (queue, log) = (self.queue.clone(), self.log.clone());
        self.all.push(spawn(move || {
            log.say(match queue.put(item) {
                Ok(()) => format!("{item} is put"),
                Err(error) => format!("{item}: {error}"),
            });
        }));
        yield_now();
    }

    /// Holds the place until `go`.
    fn reserves(&mut self, item: &'static str, go: &Rc<Event>) {
        let (queue, log, go) = (self.queue.clone(), self.log.clone(), go.clone());
        self.all.push(spawn(move || match queue.reserve() {
            Ok(slot) => {
                log.say(format!("{item} has a place"));
                go.wait();
                slot.put(item);
            }
            Err(error) => log.say(format!("{item}: {error}")),
        }));
        yield_now();
    }
}

#[test]
fn who_reserves_stands_in_line_with_those_who_put() {
    simulate(|| {
        let (mut line, go) = (Line::full(), Rc::new(Event::new()));
        line.puts("a");
        line.reserves("b", &go);
        line.puts("c");
        line.reserves("d", &go);
        line.puts("e");
        let (queue, log) = (line.queue.clone(), line.log.clone());
        // Nobody goes past them.
        assert_eq!(queue.put_nowait("x"), Err(PutError::Full("x")));
        assert_eq!(queue.try_reserve().unwrap_err(), PutError::Full(()));
        assert!(format!("{queue:?}").contains("putters: 5"), "{queue:?}");
        assert_eq!(queue.get(), Ok("first"));
        assert_eq!(log.now(), ["a is put"]);
        assert_eq!(queue.get(), Ok("a"));
        assert_eq!(log.now(), ["b has a place"]);
        assert_eq!((queue.len(), queue.is_full()), (0, true));
        assert_eq!(queue.try_reserve().unwrap_err(), PutError::Full(()));
        assert!(queue.put_nowait("x").is_err());
        go.set();
        yield_now();
        assert_eq!(log.now(), [""; 0]);
        assert_eq!(queue.get(), Ok("b"));
        assert_eq!(log.now(), ["c is put"]);
        assert_eq!(queue.get(), Ok("c"));
        assert_eq!(log.now(), ["d has a place"]);
        yield_now();
        assert_eq!(queue.get(), Ok("d"));
        assert_eq!(log.now(), ["e is put"]);
        assert_eq!(queue.get(), Ok("e"));
        assert_eq!(queue.unfinished(), 6);
    });
}

#[test]
fn a_slot_that_is_dropped_or_leaves_gives_its_place_to_the_first_in_line() {
    simulate(|| {
        let mut line = Line::full();
        let never = Rc::new(Event::new());
        assert_eq!(line.queue.get(), Ok("first"));
        let queue = line.queue.clone();
        let slot = queue.reserve().unwrap();
        line.reserves("a", &never);
        line.puts("b");
        line.puts("c");
        drop(slot);
        assert_eq!(line.log.now(), ["a has a place"]);
        assert!(queue.is_full() && queue.is_empty());
        line.all[0].kill();
        assert_eq!(line.log.now(), [""; 0]);
        assert_eq!(line.log.now(), ["b is put"]);
        assert_eq!((queue.len(), queue.unfinished()), (1, 2));
        assert_eq!(queue.drain(), ["b", "c"]);
        assert_eq!(line.log.now(), ["c is put"]);
        assert!(!queue.is_full());
    });
}

#[test]
fn one_that_leaves_the_line_leaves_no_place_behind() {
    simulate(|| {
        let (mut line, go) = (Line::full(), Rc::new(Event::new()));
        let queue = line.queue.clone();
        assert_eq!(
            queue.reserve_timeout(ms(1)).unwrap_err(),
            PutError::Full(())
        );
        assert!(timeout(ms(1), || drop(queue.reserve())).is_err());
        line.reserves("a", &go);
        line.reserves("b", &go);
        line.puts("c");
        line.all[0].kill();
        // It has not run yet, and is passed over all the same.
        assert_eq!(queue.get(), Ok("first"));
        assert_eq!(line.log.now(), ["b has a place"]);
        line.all[0].wait();
        // Killed after it has its place, before it runs: it has it, and it returns in the unwind.
        go.set();
        yield_now();
        assert_eq!(queue.get(), Ok("b"));
        assert_eq!(line.log.now(), ["c is put"]);
        let go = Rc::new(Event::new());
        line.reserves("d", &go);
        assert_eq!(queue.get(), Ok("c"));
        line.all[3].kill();
        line.all[3].wait();
        assert_eq!(line.log.now(), ["d has a place"]);
        assert!(matches!(line.all[3].error(), Some(JoinError::Killed)));
        assert!(!queue.is_full());
        assert!(format!("{queue:?}").contains("reserved: 0"), "{queue:?}");
    });
}

#[test]
fn what_is_handed_over_takes_no_place() {
    simulate(|| {
        let (mut line, go) = (Line::full(), Rc::new(Event::new()));
        let queue = line.queue.clone();
        assert_eq!(queue.get(), Ok("first"));
        let slot = queue.reserve().unwrap();
        line.reserves("a", &go);
        line.puts("b");
        assert_eq!(line.log.now(), [""; 0]);
        // From a putter in line to the getter, and from a put to a getter in line.
        assert_eq!(queue.get(), Ok("b"));
        assert_eq!(line.log.now(), ["b is put"]);
        let getter = spawn({
            let queue = queue.clone();
            move || [queue.get(), queue.get()]
        });
        yield_now();
        assert_eq!(queue.put_nowait("c"), Ok(()));
        assert_eq!(line.log.now(), [""; 0]); // "a" still has no place
        // And from the place, which is free again at once.
        slot.put("d");
        assert_eq!(getter.join().unwrap(), [Ok("c"), Ok("d")]);
        assert_eq!(line.log.now(), ["a has a place"]);
        assert_eq!((queue.len(), queue.unfinished()), (0, 4));
    });
}

#[test]
fn a_place_outlives_the_shutdown_and_getters_wait_for_it() {
    simulate(|| {
        let mut line = Line::full();
        let queue = line.queue.clone();
        assert_eq!(queue.get(), Ok("first"));
        let slot = queue.reserve().unwrap();
        line.reserves("a", &Rc::new(Event::new()));
        line.puts("b");
        queue.shutdown();
        assert_eq!(
            line.log.now(),
            ["b: queue is shut down", "a: queue is shut down"]
        );
        assert_eq!(queue.reserve().unwrap_err(), PutError::ShutDown(()));
        assert_eq!(queue.try_reserve().unwrap_err(), PutError::ShutDown(()));
        // Not the end yet, for nobody.
        assert_eq!(queue.get_nowait(), Err(GetError::Empty));
        assert_eq!(queue.get_many_nowait(2), Err(GetError::Empty));
        assert_eq!(queue.get_timeout(ms(1)), Err(GetError::Empty));
        select! { get(queue) -> _ => panic!("the end"), default => {} }
        select! { get(queue) -> _ => panic!("the end"), default(ms(1)) => {} }
        let getters = [0; 3].map(|_| {
            let queue = queue.clone();
            spawn(move || queue.get())
        });
        let selecting = spawn({
            let queue = queue.clone();
            move || select! { get(queue) -> item => item }
        });
        yield_now();
        slot.put("last");
        let got = getters.map(|getter| getter.join().unwrap());
        let end = || Err(GetError::ShutDown);
        assert_eq!(got, [Ok("last"), end(), end()]);
        assert_eq!(selecting.join().unwrap(), end());
        assert_eq!((queue.get(), queue.unfinished()), (end(), 2));
    });
}

#[test]
fn the_last_slot_of_a_shut_down_queue_that_is_dropped_is_its_end() {
    simulate(|| {
        let queue = Rc::new(Queue::<u8>::bounded(3));
        let slots = [(); 2].map(|()| queue.reserve().unwrap());
        queue.put(1).unwrap();
        assert_eq!(queue.shutdown_now(), [1]);
        queue.join();
        let getter = spawn({
            let queue = queue.clone();
            move || queue.iter().collect::<Vec<_>>()
        });
        let [first, second] = slots;
        drop(first);
        yield_now();
        assert!(!getter.is_finished());
        // What is put after `shutdown_now` can be got.
        second.put(2);
        assert_eq!(getter.join().unwrap(), [2]);
        let dropped = Queue::<u8>::bounded(1);
        let slot = dropped.reserve().unwrap();
        dropped.shutdown();
        scope(|s| {
            let getter = s.spawn(|| dropped.get_many(9));
            yield_now();
            drop(slot);
            assert_eq!(getter.join().unwrap(), Err(GetError::ShutDown));
        });
    });
}

#[test]
fn places_of_an_unbounded_queue_are_there_at_once() {
    simulate(|| {
        let queue = Queue::unbounded();
        let slots: Vec<_> = (0..100).map(|_| queue.reserve().unwrap()).collect();
        assert_eq!((queue.len(), queue.is_full()), (0, false));
        queue.put(100).unwrap();
        for (i, slot) in slots.into_iter().enumerate() {
            slot.put(i);
        }
        assert_eq!(queue.drain().len(), 101);
    });
}

#[test]
fn a_rendezvous_has_no_places() {
    let queue = Queue::<u8>::rendezvous();
    for text in [
        panics(|| drop(queue.reserve())),
        panics(|| drop(queue.reserve_timeout(ms(1)))),
        panics(|| drop(queue.try_reserve())),
    ] {
        assert!(text.contains("a rendezvous queue has no places"), "{text}");
    }
    // It goes on working.
    assert_eq!(queue.put_nowait(1), Err(PutError::Full(1)));
}

/// Its order is out of order.
#[derive(Debug, PartialEq, Eq)]
struct Broken(u8);

impl Ord for Broken {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        assert!(self.0 != 13 && other.0 != 13, "thirteen");
        self.0.cmp(&other.0)
    }
}
impl PartialOrd for Broken {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

#[test]
fn a_cmp_that_panics_in_a_place_gives_the_place_back() {
    simulate(|| {
        let queue = PriorityQueue::bounded(2);
        queue.put(Broken(5)).unwrap();
        let slot = queue.reserve().unwrap();
        scope(|s| {
            let putter = s.spawn(|| queue.put(Broken(4)));
            yield_now();
            assert!(panics(|| slot.put(Broken(13))).contains("thirteen"));
            assert_eq!(putter.join().unwrap(), Ok(()));
        });
        // In a batch: what came before it is in, what comes after is dropped.
        assert_eq!(queue.drain(), [Broken(4), Broken(5)]);
        assert_eq!((queue.len(), queue.unfinished()), (0, 2));
        let text = panics(|| queue.put_many([1, 13, 2].map(Broken)));
        assert!(text.contains("thirteen"), "{text}");
        assert_eq!(queue.drain(), [Broken(1)]);
    });
}

#[test]
fn while_panicking_they_say_no() {
    simulate(|| {
        let (full, empty) = (Queue::bounded(1), Queue::<u8>::unbounded());
        full.put(1).unwrap();
        let asked = Cell::new(0);
        while_panicking(|| {
            assert_eq!(full.reserve().unwrap_err(), PutError::Full(()));
            assert_eq!(
                full.put_many([2, 3]).unwrap_err(),
                PutError::Full(vec![2, 3])
            );
            assert_eq!(empty.get_many(2), Err(GetError::Empty));
            empty.reserve().unwrap().put(7);
            assert_eq!(empty.get_many(2), Ok(vec![7]));
            asked.set(1);
        });
        assert_eq!(asked.get(), 1);
    });
}

#[test]
fn places_of_the_other_queues() {
    simulate(|| {
        let (stack, urgent) = (LifoQueue::bounded(2), PriorityQueue::bounded(2));
        let (a, b) = (stack.reserve().unwrap(), stack.try_reserve().unwrap());
        a.put(1);
        b.put(2);
        assert_eq!(stack.drain(), [2, 1]);
        let (a, b) = (
            urgent.reserve().unwrap(),
            urgent.reserve_timeout(ms(1)).unwrap(),
        );
        a.put(2);
        b.put(1);
        assert_eq!(urgent.put_many_nowait([0]).unwrap_err().into_inner(), [0]);
        assert_eq!(urgent.get_many(9), Ok(vec![1, 2]));
    });
}

// ---- many at once ----

#[test]
fn get_many_takes_in_order_and_lets_putters_in() {
    simulate(|| {
        let (queue, log) = (Rc::new(Queue::bounded(2)), Log::default());
        let putters = [1, 2, 3, 4, 5, 6].map(|i| {
            let (queue, log) = (queue.clone(), log.clone());
            let putter = spawn(move || {
                queue.put(i).unwrap();
                log.say(format!("{i} is put"));
            });
            yield_now();
            putter
        });
        assert_eq!(log.now(), ["1 is put", "2 is put"]);
        // One that is leaving is passed over.
        putters[3].kill();
        assert_eq!(queue.get_many(3), Ok(vec![1, 2, 3]));
        assert_eq!(queue.len(), 2);
        assert_eq!(log.now(), ["3 is put", "5 is put", "6 is put"]);
        assert_eq!(queue.get_many_nowait(0), Ok(vec![]));
        assert_eq!(queue.get_many_nowait(9), Ok(vec![5, 6]));
        assert_eq!(queue.get_many_nowait(9), Err(GetError::Empty));
        assert_eq!(queue.get_many(0), Ok(vec![]));
        assert_eq!(queue.unfinished(), 5);
    });
}

#[test]
fn get_many_of_a_rendezvous_takes_from_all_who_wait() {
    simulate(|| {
        let queue = Rc::new(Queue::rendezvous());
        let putters = [1, 2, 3].map(|i| {
            let queue = queue.clone();
            spawn(move || queue.put(i))
        });
        yield_now();
        assert_eq!(queue.get_many(2), Ok(vec![1, 2]));
        assert_eq!(queue.drain(), [3]);
        assert_eq!(queue.drain(), []);
        for putter in putters {
            assert_eq!(putter.join().unwrap(), Ok(()));
        }
    });
}

#[test]
fn get_many_waits_for_the_first_and_takes_what_came_with_it() {
    simulate(|| {
        let queue = Rc::new(Queue::unbounded());
        let many = |max| {
            let queue = queue.clone();
            let getter = spawn(move || queue.get_many(max));
            yield_now();
            getter
        };
        let (first, second) = (many(3), many(9));
        queue.put_many(0..6).unwrap();
        // Each in its turn: one item was handed to each, and then they look for more.
        assert_eq!(first.join().unwrap(), Ok(vec![0, 2, 3]));
        assert_eq!(second.join().unwrap(), Ok(vec![1, 4, 5]));
        assert_eq!(queue.get_many_timeout(1, ms(1)), Err(GetError::Empty));
        let killed = many(1);
        killed.kill();
        killed.wait();
        queue.put(6).unwrap();
        assert_eq!(queue.get_many(1), Ok(vec![6]));
        let told = many(1);
        queue.shutdown();
        assert_eq!(told.join().unwrap(), Err(GetError::ShutDown));
    });
}

/// What is dropped may use the queue: nothing is dropped under the lock.
#[test]
fn items_are_dropped_without_the_lock() {
    struct Item(std::sync::Weak<Queue<Item>>, Arc<AtomicUsize>);
    impl Drop for Item {
        fn drop(&mut self) {
            if let Some(queue) = self.0.upgrade() {
                assert!(queue.len() < 100);
            }
            self.1.fetch_add(1, Ordering::Relaxed);
        }
    }
    let (queue, count) = (Arc::new(Queue::bounded(2)), Arc::new(AtomicUsize::new(0)));
    let item = || Item(Arc::downgrade(&queue), count.clone());
    queue.put_many([item(), item()]).unwrap();
    drop(queue.force_put(item()).unwrap());
    drop(queue.put_many_nowait([item(), item()]));
    drop(queue.get_many(1));
    drop(queue.drain());
    let slot = queue.reserve().unwrap();
    queue.shutdown();
    drop(queue.put_many([item()]));
    slot.put(item());
    drop(queue.shutdown_now());
    assert_eq!(count.load(Ordering::Relaxed), 7);
}

#[test]
fn put_many_is_one_putter_in_line_wherever_it_waits() {
    simulate(|| {
        let queue = Rc::new(Queue::bounded(2));
        let batch = spawn({
            let queue = queue.clone();
            move || queue.put_many(0..5)
        });
        yield_now();
        let other = spawn({
            let queue = queue.clone();
            move || queue.put(9)
        });
        yield_now();
        // 0 and 1 are in, 2 waits, and then 9.
        assert_eq!(queue.get(), Ok(0));
        yield_now(); // 3 waits, behind 9
        let all: Vec<_> = (0..5).map(|_| queue.get().unwrap()).collect();
        assert_eq!(all, [1, 2, 9, 3, 4]);
        assert_eq!(batch.join().unwrap(), Ok(()));
        assert_eq!(other.join().unwrap(), Ok(()));
        assert_eq!(queue.unfinished(), 6);
    });
}

#[test]
fn put_many_gives_back_what_it_has_not_put() {
    simulate(|| {
        let queue = Rc::new(Queue::bounded(2));
        assert_eq!(
            queue.put_many_timeout(0..4, ms(3)),
            Err(PutError::Full(vec![2, 3]))
        );
        // One limit for all: a place that comes free meanwhile does not prolong it.
        let start = greenlet::now();
        let slow = spawn({
            let queue = queue.clone();
            move || {
                sleep(ms(2));
                queue.get()
            }
        });
        let full = queue.put_many_timeout(4..8, ms(3));
        assert_eq!(full, Err(PutError::Full(vec![5, 6, 7])));
        assert_eq!(greenlet::now() - start, ms(3));
        assert_eq!(slow.join().unwrap(), Ok(0));
        let batch = spawn({
            let queue = queue.clone();
            move || queue.put_many([8, 9])
        });
        yield_now();
        queue.shutdown();
        assert_eq!(batch.join().unwrap(), Err(PutError::ShutDown(vec![8, 9])));
        assert_eq!(queue.put_many([1]), Err(PutError::ShutDown(vec![1])));
        assert_eq!(queue.put_many([]), Ok(()));
        assert_eq!(queue.drain(), [1, 4]);
    });
}

#[test]
fn put_many_runs_its_iterator_first_which_may_use_the_queue() {
    simulate(|| {
        let queue = Queue::unbounded();
        queue.put_many([1, 2, 3]).unwrap();
        queue.put_many(queue.try_iter().map(|i| 10 * i)).unwrap();
        assert_eq!(queue.drain(), [10, 20, 30]);
        // From getters in line, and then into the room.
        let queue = Queue::bounded(1);
        scope(|s| {
            let getters = [(); 2].map(|()| s.spawn(|| queue.get().unwrap()));
            yield_now();
            let full = queue.put_many_nowait([1, 2, 3, 4]);
            assert_eq!(full, Err(PutError::Full(vec![4])));
            assert_eq!(getters.map(|g| g.join().unwrap()), [1, 2]);
        });
        assert_eq!(queue.drain(), [3]);
    });
}

#[test]
fn force_put_displaces_the_oldest_and_passes_nobody_a_place() {
    simulate(|| {
        let queue = Rc::new(Queue::bounded(2));
        let (a, b) = (queue.force_put(1), queue.force_put(2));
        assert_eq!((a, b), (Ok(None), Ok(None)));
        let putter = spawn({
            let queue = queue.clone();
            move || queue.put(9)
        });
        yield_now();
        assert_eq!(queue.force_put(3), Ok(Some(1)));
        assert_eq!((queue.len(), queue.unfinished()), (2, 2));
        assert!(!putter.is_finished());
        assert_eq!(queue.drain(), [2, 3, 9]);
        // All places are reserved; or a getter waits.
        let slots = [(); 2].map(|()| queue.reserve().unwrap());
        assert_eq!(queue.force_put(4), Err(PutError::Full(4)));
        let getter = spawn({
            let queue = queue.clone();
            move || queue.get()
        });
        yield_now();
        assert_eq!(queue.force_put(5), Ok(None));
        assert_eq!(getter.join().unwrap(), Ok(5));
        drop(slots);
        // What was done before it was got is not done again.
        let early = Queue::bounded(1);
        early.put(1).unwrap();
        early.task_done();
        assert_eq!(early.force_put(2), Ok(Some(1)));
        assert_eq!(early.unfinished(), 1);
        early.shutdown();
        assert_eq!(early.force_put(3), Err(PutError::ShutDown(3)));
        let meeting = Queue::rendezvous();
        assert_eq!(meeting.force_put(1), Err(PutError::Full(1)));
    });
}

/// A future that was given an item and is dropped puts it back, even where that is too much.
#[test]
fn a_queue_that_is_over_full_has_no_places_until_there_is_room() {
    simulate(|| {
        let queue = Queue::bounded(1);
        let mut get = Box::pin(queue.get_async());
        let mut context = Context::from_waker(Waker::noop());
        assert!(get.as_mut().poll(&mut context).is_pending());
        queue.put_many([1, 2]).unwrap();
        drop(get);
        assert_eq!(queue.len(), 2);
        assert_eq!(queue.try_reserve().unwrap_err(), PutError::Full(()));
        assert_eq!(queue.force_put(3), Ok(Some(1)));
        assert_eq!(queue.get(), Ok(2));
        assert_eq!(queue.try_reserve().unwrap_err(), PutError::Full(()));
        assert_eq!(queue.get_many(9), Ok(vec![3]));
        assert!(queue.try_reserve().is_ok());
    });
}

//! The primitives for one thread, where they differ from those for all, or meet them. That they
//! do the same is for `properties` and `kill_points`, which run their programs with both.

use greenlet::unsync::{AsyncResult, BoundedSemaphore, Event, PriorityQueue, Queue, Semaphore};
use greenlet::{select, spawn, sync, wait_all, wait_any, wait_any_timeout, yield_now};
use std::cell::{Cell, RefCell};
use std::cmp::Ordering;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

const SHORT: Duration = Duration::from_millis(1);

/// An item that looks at its queue when it is compared or cloned.
struct Curious(Rc<PriorityQueue<Curious>>, Rc<Cell<bool>>);

impl Curious {
    fn look(&self) {
        if self.1.get() {
            self.0.len();
        }
    }
}
impl Ord for Curious {
    fn cmp(&self, _: &Self) -> Ordering {
        self.look();
        Ordering::Equal
    }
}
impl PartialOrd for Curious {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl Eq for Curious {}
impl PartialEq for Curious {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}
impl Clone for Curious {
    fn clone(&self) -> Self {
        self.look();
        Curious(self.0.clone(), self.1.clone())
    }
}

/// Whoever comes back to a queue from inside of it would have its state twice.
#[test]
fn an_item_that_uses_its_own_queue_panics() {
    let (queue, looks) = (
        Rc::new(PriorityQueue::unbounded()),
        Rc::new(Cell::new(false)),
    );
    let item = || Curious(queue.clone(), looks.clone());
    queue.put(item()).unwrap();
    looks.set(true);
    let uses: [&dyn Fn(); 2] = [&|| queue.put(item()).unwrap(), &|| {
        drop(queue.peek_nowait().ok())
    }];
    for uses in uses {
        let panic = catch_unwind(AssertUnwindSafe(uses)).unwrap_err();
        let text = panic.downcast_ref::<&str>().unwrap();
        assert!(text.contains("from inside the Ord or Clone"), "{text}");
    }
    // The lock is free again.
    looks.set(false);
    assert_eq!(queue.len(), 1);
    assert!(queue.put(item()).is_ok());
    assert_eq!(queue.shutdown_now().len(), 2);
}

/// One call waits for those of this thread and those of all, and either may end it.
#[test]
fn beside_those_for_all() {
    let (own, shared) = (Rc::new(Event::new()), Arc::new(sync::Event::new()));
    let waits = || {
        let (own, shared) = (own.clone(), shared.clone());
        spawn(move || wait_any(&[&own, &shared]))
    };
    let waiter = waits();
    yield_now();
    own.set();
    assert_eq!(waiter.join().unwrap(), 0);
    own.clear();
    let waiter = waits();
    yield_now();
    let setter = std::thread::spawn({
        let shared = shared.clone();
        move || shared.set()
    });
    assert_eq!(waiter.join().unwrap(), 1);
    setter.join().unwrap();
    own.set();
    wait_all(&[&own, &shared]);
    let none: [&dyn greenlet::Waitable; 1] = [&Event::new()];
    assert_eq!(wait_any_timeout(&none, SHORT), None);
    let statistics = (own.statistics().waiting, shared.statistics().waiting);
    assert_eq!(statistics, (0, 0));
}

/// The same for a select, with what each operation does.
#[test]
fn select_beside_those_for_all() {
    let queue = Rc::new(Queue::<u8>::unbounded());
    let (permits, shared) = (
        Rc::new(Semaphore::new(0)),
        Arc::new(sync::Queue::<u8>::unbounded()),
    );
    let got = Rc::new(RefCell::new(Vec::new()));
    let getter = spawn({
        let (queue, permits, shared, got) =
            (queue.clone(), permits.clone(), shared.clone(), got.clone());
        move || {
            for _ in 0..4 {
                let what = select! {
                    get(queue) -> item => format!("own {}", item.unwrap()),
                    get(shared) -> item => format!("shared {}", item.unwrap()),
                    acquire(permits) -> permit => {
                        permit.forget();
                        "permit".to_owned()
                    }
                };
                got.borrow_mut().push(what);
            }
        }
    });
    yield_now();
    queue.put(1).unwrap();
    yield_now();
    permits.release();
    yield_now();
    let putter = std::thread::spawn({
        let shared = shared.clone();
        move || shared.put(2).unwrap()
    });
    while got.borrow().len() < 3 {
        yield_now();
    }
    putter.join().unwrap();
    let mut item = Some(3);
    select! { put(queue, &mut item) -> put => put.unwrap() }
    getter.join().unwrap();
    assert_eq!(*got.borrow(), ["own 1", "permit", "shared 2", "own 3"]);
    assert_eq!(
        (queue.statistics().getters, permits.statistics().waiting),
        (0, 0)
    );
}

#[test]
fn as_they_complete() {
    let events = [0; 3].map(|_| Rc::new(Event::new()));
    let setters = [2, 0, 1].map(|i| {
        let event = events[i].clone();
        spawn(move || event.set())
    });
    let order = greenlet::as_completed(events.clone());
    let order: Vec<_> = order
        .map(|event| events.iter().position(|e| Rc::ptr_eq(e, &event)).unwrap())
        .collect();
    assert_eq!(order, [2, 0, 1]);
    drop(setters);
}

/// On a thread without a hub nobody can end a wait but its limit; what need not wait does not.
#[test]
fn on_a_plain_thread() {
    let plain = || {
        let (event, result) = (Event::new(), AsyncResult::<u8>::new());
        assert!(!event.wait_timeout(SHORT));
        assert!(result.wait_timeout(SHORT).is_none());
        event.set();
        event.wait();
        let queue = Queue::bounded(1);
        queue.put(1).unwrap();
        assert!(queue.put_timeout(2, SHORT).is_err());
        assert_eq!(queue.get(), Ok(1));
        let one = BoundedSemaphore::new(1);
        let permit = one.acquire();
        assert!(one.acquire_timeout(SHORT).is_none());
        drop(permit);
        assert_eq!(one.statistics().available, 1);
        assert_eq!(one.release(), Err(sync::ReleaseError));
    };
    std::thread::spawn(plain).join().unwrap();
}

/// A permit that owns its semaphore has it in an `Rc`, and may be the last to have it.
#[test]
fn a_permit_may_be_the_last_owner() {
    let semaphore = Rc::new(Semaphore::new(1));
    let weak = Rc::downgrade(&semaphore);
    let permit = semaphore.acquire_owned();
    assert!(semaphore.try_acquire_owned().is_none());
    drop(semaphore);
    assert!(weak.upgrade().is_some());
    drop(permit);
    assert!(weak.upgrade().is_none());
}

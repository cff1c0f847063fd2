//! Each primitive between hubs and threads, with kills and limits.

use super::{Count, NOW, Seen, Stage, choose, explore, nobody_waits, thread};
use crate::sync::{AsyncResult, Event, PutError, Queue, Semaphore};
use crate::{timeout, wait_all, wait_any, yield_now};
use std::sync::Arc;

// ---- queues ----

/// A queue, and what became of its items.
pub(super) struct Depot {
    queue: Queue<Item>,
    producers: Count,
    /// Items that were made, and those whose put was done.
    made: Count,
    put: Count,
    got: Count,
    drained: Count,
    /// Handed back, or dropped by the unwind of their putter.
    back: Count,
    fell: Count,
}

struct Item {
    depot: Arc<Depot>,
    producer: usize,
    number: usize,
    whole: bool,
}

impl Item {
    fn ends(mut self, count: impl Fn(&Depot) -> &Count) {
        self.whole = false;
        count(&self.depot).add(1);
    }
}

impl Drop for Item {
    fn drop(&mut self) {
        if self.whole {
            self.depot.fell.add(1);
        }
    }
}

/// The last producer that ends, however, shuts the queue down.
struct Producing(Arc<Depot>);

impl Drop for Producing {
    fn drop(&mut self) {
        if self.0.producers.sub(1) == 1 {
            self.0.queue.shutdown();
        }
    }
}

impl Depot {
    pub(super) fn new(queue: Queue<()>) -> Arc<Self> {
        let queue = match queue.capacity() {
            None => Queue::unbounded(),
            Some(0) => Queue::rendezvous(),
            Some(n) => Queue::bounded(n),
        };
        Arc::new(Depot {
            queue,
            producers: Count::default(),
            made: Count::default(),
            put: Count::default(),
            got: Count::default(),
            drained: Count::default(),
            back: Count::default(),
            fell: Count::default(),
        })
    }

    pub(super) fn producer(self: &Arc<Self>, items: usize) -> impl FnOnce() + Send + use<> {
        let producer = self.producers.add(1);
        let producing = Producing(self.clone());
        move || {
            for number in 1..=items {
                let depot = &producing.0;
                depot.made.add(1);
                let item = Item {
                    depot: depot.clone(),
                    producer,
                    number,
                    whole: true,
                };
                let result = match choose(4) {
                    0 | 1 => depot.queue.put(item),
                    2 => depot.queue.put_timeout(item, NOW),
                    _ => match timeout(NOW, || depot.queue.put(item)) {
                        Ok(result) => result,
                        Err(_) => continue, // it fell
                    },
                };
                match result {
                    Ok(()) => drop(depot.put.add(1)),
                    Err(PutError::Full(item) | PutError::ShutDown(item)) => {
                        item.ends(|d| &d.back);
                    }
                }
            }
        }
    }

    /// Gets up to so many; the items of one producer come in order.
    pub(super) fn consumer(self: &Arc<Self>, gets: usize) -> impl FnOnce() + Send + use<> {
        let depot = self.clone();
        move || {
            let mut last = [0; 8];
            for _ in 0..gets {
                let got = match choose(4) {
                    0 | 1 => depot.queue.get(),
                    2 => depot.queue.get_timeout(NOW),
                    _ => match timeout(NOW, || depot.queue.get()) {
                        Ok(got) => got,
                        Err(_) => continue,
                    },
                };
                depot.take(got.ok(), &mut last);
            }
        }
    }

    fn take(&self, item: Option<Item>, last: &mut [usize; 8]) {
        let Some(item) = item else { return };
        assert!(item.number > last[item.producer], "out of order");
        last[item.producer] = item.number;
        item.ends(|d| &d.got);
        self.queue.task_done();
    }

    /// On a plain thread, which nobody kills: gets what the others leave.
    pub(super) fn rest(&self) {
        let mut last = [0; 8];
        for item in &self.queue {
            self.take(Some(item), &mut last);
        }
        self.queue.join();
    }

    /// Ends the queue before its producers, perhaps.
    pub(super) fn closer(self: &Arc<Self>) -> impl FnOnce() + Send + use<> {
        let depot = self.clone();
        move || match choose(4) {
            0 => depot.queue.shutdown(),
            1 => {
                for item in depot.queue.shutdown_now() {
                    item.ends(|d| &d.drained);
                }
            }
            _ => {}
        }
    }

    /// Items that were got, were handed back, fell, and were drained.
    pub(super) fn check(&self) -> [usize; 4] {
        let [made, put, got] = [&self.made, &self.put, &self.got].map(Count::get);
        let [drained, back, fell] = [&self.drained, &self.back, &self.fell].map(Count::get);
        assert_eq!(put, got + drained);
        assert_eq!(made, put + back + fell);
        assert_eq!((self.queue.len(), self.queue.unfinished()), (0, 0));
        nobody_waits(&self.queue);
        [got, back, fell, drained]
    }
}

/// Three producers and three consumers on three hubs, two kills, and a thread that may
/// end the queue early.
fn queue_model(queue: Queue<()>, seen: &Seen) {
    let depot = Depot::new(queue);
    let mut stage = Stage::new(3);
    for producer in [(); 3].map(|()| depot.producer(2)) {
        stage.spawn(producer);
        stage.spawn(depot.consumer(2));
    }
    let threads = [stage.killer(2), thread(depot.closer())];
    depot.rest();
    for thread in threads {
        thread.join().unwrap();
    }
    seen.add(0, &stage.end()[..2]);
    seen.add(2, &depot.check());
}

#[test]
fn queue_unbounded() {
    // There is always room, so nobody is killed in a put and nothing falls.
    explore("queue_unbounded", 4500, 4, |seen| {
        queue_model(Queue::unbounded(), seen);
    });
}

#[test]
fn queue_bounded() {
    explore("queue_bounded", 4500, 6, |seen| {
        queue_model(Queue::bounded(1), seen);
    });
}

#[test]
fn queue_rendezvous() {
    explore("queue_rendezvous", 4500, 5, |seen| {
        queue_model(Queue::rendezvous(), seen);
    });
}

// ---- semaphores ----

/// A semaphore, and how many of its permits are out.
pub(super) struct Vault {
    semaphore: Semaphore,
    permits: usize,
    out: Count,
    /// Borrowings, and those that came to nothing.
    lent: Count,
    expired: Count,
}

impl Vault {
    pub(super) fn new(permits: usize) -> Arc<Self> {
        Arc::new(Vault {
            semaphore: Semaphore::new(permits),
            permits,
            out: Count::default(),
            lent: Count::default(),
            expired: Count::default(),
        })
    }

    pub(super) fn borrower(self: &Arc<Self>, times: usize) -> impl FnOnce() + Send + use<> {
        struct Out<'a>(&'a Count, usize);
        impl Drop for Out<'_> {
            fn drop(&mut self) {
                self.0.sub(self.1);
            }
        }
        let vault = self.clone();
        move || {
            for _ in 0..times {
                let need = 1 + choose(vault.permits);
                let permit = match choose(4) {
                    0 | 1 => Some(vault.semaphore.acquire_many(need)),
                    2 => vault.semaphore.acquire_many_timeout(need, NOW),
                    _ => timeout(NOW, || vault.semaphore.acquire_many(need)).ok(),
                };
                let Some(permit) = permit else {
                    vault.expired.add(1);
                    continue;
                };
                vault.lent.add(1);
                assert!(vault.out.add(need) + need <= vault.permits);
                // Dropped before the permit is, by a kill too.
                let _out = (Out(&vault.out, need), permit);
                yield_now();
            }
        }
    }

    /// How often it was lent, and was not in time.
    pub(super) fn check(&self) -> [usize; 2] {
        assert_eq!(self.semaphore.available(), self.permits);
        nobody_waits(&self.semaphore);
        [self.lent.get(), self.expired.get()]
    }
}

/// Eight borrowers on three hubs and one on a thread, two kills.
#[test]
fn semaphore_many() {
    explore("semaphore_many", 4500, 4, |seen| {
        let vault = Vault::new(3);
        let mut stage = Stage::new(3);
        for _ in 0..8 {
            stage.spawn(vault.borrower(2));
        }
        let killer = stage.killer(2);
        vault.borrower(2)();
        killer.join().unwrap();
        seen.add(0, &stage.end()[..2]);
        seen.add(2, &vault.check());
    });
}

// ---- events and results ----

/// A gate that is set once, an event that flaps, and a result.
pub(super) struct Board {
    gate: Event,
    flap: Event,
    before: Count,
    result: AsyncResult<usize>,
    /// What came first of three.
    first: [Count; 3],
}

impl Board {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Board {
            gate: Event::new(),
            flap: Event::new(),
            before: Count::default(),
            result: AsyncResult::new(),
            first: Default::default(),
        })
    }

    pub(super) fn waiter(self: &Arc<Self>) -> impl FnOnce() + Send + use<> {
        let board = self.clone();
        move || {
            let _ = board.flap.wait_timeout(NOW);
            let any = wait_any(&[&board.flap, &board.result, &board.gate]);
            assert!(any != 1 || board.result.is_ready());
            board.first[any].add(1);
            board.gate.wait();
            assert_eq!(board.before.get(), 1);
            wait_all(&[&board.gate, &board.result]);
            assert!(board.result.wait().is_ok());
        }
    }

    pub(super) fn storm(self: &Arc<Self>, times: usize) -> impl FnOnce() + Send + use<> {
        let board = self.clone();
        move || {
            for _ in 0..times {
                board.flap.set();
                board.flap.clear();
            }
        }
    }

    pub(super) fn open(&self) {
        self.before.add(1);
        self.gate.set();
    }

    pub(super) fn setter(self: &Arc<Self>, value: usize) -> impl FnOnce() + Send + use<> {
        let board = self.clone();
        move || {
            if board.result.set(value).is_ok() {
                assert_eq!(board.result.value(), Some(&value));
            } else {
                assert!(board.result.is_ready());
            }
        }
    }

    /// How often each of three came first.
    pub(super) fn check(&self) -> [usize; 3] {
        nobody_waits(&self.gate);
        nobody_waits(&self.flap);
        nobody_waits(&self.result);
        self.first.each_ref().map(Count::get)
    }
}

/// Nine waiters on three hubs against two threads that set and clear, two that set the
/// result, and two kills.
#[test]
fn events_and_results() {
    explore("events_and_results", 3000, 5, |seen| {
        let board = Board::new();
        let mut stage = Stage::new(3);
        for _ in 0..9 {
            stage.spawn(board.waiter());
        }
        let threads = [
            thread(board.storm(3)),
            thread(board.storm(3)),
            thread(board.setter(1)),
            thread(board.setter(2)),
            stage.killer(2),
        ];
        board.open();
        for thread in threads {
            thread.join().unwrap();
        }
        seen.add(0, &stage.end()[..2]);
        seen.add(2, &board.check());
    });
}

/// Four greenlets on two hubs, and this thread, each wait for the first of three: an
/// event, a result and a greenlet that is killed. All three come at once.
#[test]
fn wait_any_of_three() {
    explore("wait_any_of_three", 6000, 5, |seen| {
        let board = Board::new();
        let mut stage = Stage::new(2);
        let sleeper = stage.spawn(|| Event::new().wait());
        let wait = {
            let (board, sleeper) = (board.clone(), sleeper.clone());
            move || {
                let ready = || {
                    let event = board.gate.is_set();
                    [event, board.result.is_ready(), sleeper.is_finished()]
                };
                let first = wait_any(&[&board.gate, &board.result, &*sleeper]);
                assert!(ready()[first]);
                board.first[first].add(1);
                // A second wake for the first wait would come into this one.
                assert!(!Event::new().wait_timeout(NOW));
            }
        };
        for _ in 0..4 {
            stage.spawn(wait.clone());
        }
        let threads = [
            thread(board.setter(1)),
            thread({
                let board = board.clone();
                move || board.open()
            }),
            thread(move || sleeper.kill()),
        ];
        wait();
        for thread in threads {
            thread.join().unwrap();
        }
        drop(wait);
        seen.add(0, &stage.end()[..2]);
        seen.add(2, &board.check());
    });
}

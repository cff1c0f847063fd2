//! Selects over queues, permits and a lock, beside operations alone and waits as futures.

use super::{Count, NOW, Stage, choose, explore, nobody_waits, thread};
use crate::sync::{Event, Mutex, Queue, Semaphore};
use crate::{block_on, select, timeout};
use std::sync::Arc;

/// What is selected from, and the books of it.
struct Market {
    near: Queue<usize>,
    far: Queue<usize>,
    permits: Semaphore,
    lock: Mutex<()>,
    closing: Event,
    /// Greenlets under the lock now.
    under: Count,
    /// Ends: items, permits and locks that a select took, and selects that took nothing.
    ends: [Count; 4],
    /// Items that were put, by the sum of their numbers and by their count; that were got.
    put: [Count; 2],
    got: [Count; 2],
    kept: Count,
}

impl Market {
    fn take(&self, item: usize) {
        self.got[0].add(item);
        self.got[1].add(1);
        self.ends[0].add(1);
    }

    /// One operation of each, or none: the result of a select is taken by it alone.
    fn shop(self: &Arc<Self>, times: usize) -> impl FnOnce() + Send + use<> {
        let market = self.clone();
        move || {
            for _ in 0..times {
                let all = || {
                    select! {
                        get(market.near) -> item => item.map(|item| market.take(item)).is_ok(),
                        get(market.far) -> item => item.map(|item| market.take(item)).is_ok(),
                        acquire(market.permits) -> permit => {
                            permit.forget();
                            market.kept.add(1);
                            market.ends[1].add(1);
                            true
                        }
                        lock(market.lock) -> _guard => {
                            assert_eq!(market.under.add(1), 0);
                            market.under.sub(1);
                            market.ends[2].add(1);
                            true
                        }
                    }
                };
                let took = match choose(4) {
                    0 => all(),
                    1 => timeout(NOW, all).unwrap_or(false),
                    2 => select! {
                        get(market.near) -> item => item.map(|item| market.take(item)).is_ok(),
                        acquire(market.permits) -> permit => {
                            permit.forget();
                            market.kept.add(1);
                            market.ends[1].add(1);
                            true
                        }
                        default(NOW) => false,
                    },
                    _ => {
                        let item = timeout(NOW, || block_on(market.far.get_async()));
                        matches!(item, Ok(Ok(item)) if { market.take(item); true })
                    }
                };
                if !took {
                    market.ends[3].add(1);
                }
            }
        }
    }

    /// Puts so many, each into this queue or the other one.
    fn supply(self: &Arc<Self>, times: usize) -> impl FnOnce() + Send + use<> {
        let market = self.clone();
        move || {
            for number in 1..=times {
                let (mut one, mut two) = match choose(2) {
                    0 => (Some(number), None),
                    _ => (None, Some(number)),
                };
                let put = match (&one, &two) {
                    (Some(_), _) => select! {
                        put(market.near, &mut one) -> put => put.is_ok(),
                        wait(market.closing) => false,
                    },
                    _ => select! {
                        put(market.far, &mut two) -> put => put.is_ok(),
                        default(NOW) => false,
                    },
                };
                // What was not put is where it was.
                assert_eq!(put, one.is_none() && two.is_none());
                if put {
                    market.put[0].add(number);
                    market.put[1].add(1);
                }
            }
        }
    }
}

/// Four who select on two hubs, of whom one is killed, two who put, and two threads that
/// release permits and lock; in the end everything is opened.
#[test]
fn selects_of_all_kinds() {
    explore("selects_of_all_kinds", 3000, 6, |seen| {
        let market = Arc::new(Market {
            near: Queue::rendezvous(),
            far: Queue::bounded(1),
            permits: Semaphore::new(0),
            lock: Mutex::new(()),
            closing: Event::new(),
            under: Count::default(),
            ends: Default::default(),
            put: Default::default(),
            got: Default::default(),
            kept: Count::default(),
        });
        // The lock is made at its first use: before it is shared.
        assert!(!market.lock.is_locked());
        let mut stage = Stage::new(2);
        for _ in 0..4 {
            stage.spawn(market.shop(2));
        }
        let killer = stage.killer(1);
        let suppliers = [(); 2].map(|()| thread(market.supply(2)));
        let holder = thread({
            let market = market.clone();
            move || {
                let guard = market.lock.lock();
                assert_eq!(market.under.add(1), 0);
                market.permits.release();
                market.under.sub(1);
                drop(guard);
            }
        });
        killer.join().unwrap();
        holder.join().unwrap();
        market.closing.set();
        for supplier in suppliers {
            supplier.join().unwrap();
        }
        market.near.shutdown();
        market.far.shutdown();
        let ends = stage.end();
        for item in &market.far {
            market.take(item);
            market.ends[0].sub(1);
        }
        let books = |of: &[Count; 2]| [of[0].get(), of[1].get()];
        assert_eq!(books(&market.put), books(&market.got));
        assert_eq!(market.kept.get() + market.permits.available(), 1);
        assert!(!market.lock.is_locked());
        for of in [&market.near, &market.far] {
            nobody_waits(of);
        }
        nobody_waits(&market.permits);
        seen.add(0, &ends[..2]);
        seen.add(2, &market.ends.each_ref().map(Count::get));
    });
}

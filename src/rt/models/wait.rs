//! The core with plain threads: word, monitor, lists.

use super::super::clock::Limit;
use super::super::sync::{AtomicUsize, Ordering};
use super::super::task::Site;
use super::super::wait::{End, Monitor, State, WaitList, Waiters};
use super::super::word::{Outcome, Word};
use super::{Remote, Seen, explore, thread};
use std::sync::Arc;
use std::time::Duration;

const NOW: Limit = Limit::After(Duration::ZERO);

/// A primitive as small as can be: one number may be in stock; who takes waits
/// for it, and it is handed over through the slot.
struct Shop {
    stock: Option<usize>,
    pulses: usize,
    open: bool,
    takers: WaitList<Option<usize>>,
}

impl State for Shop {
    fn check(&self) {
        assert!(self.stock.is_none() || self.takers.is_empty());
    }
}

impl Waiters<Option<usize>> for Shop {
    fn waiters(&mut self) -> &mut WaitList<Option<usize>> {
        &mut self.takers
    }
}

struct Counter(Monitor<Shop>);

impl Counter {
    fn new() -> Arc<Self> {
        let (stock, takers) = (None, WaitList::new());
        Arc::new(Counter(Monitor::new(
            0,
            Shop {
                stock,
                pulses: 0,
                open: false,
                takers,
            },
        )))
    }

    /// The number, or how the wait ended without one.
    fn take(&self, limit: Limit) -> Result<usize, End> {
        self.0.wait(
            &Site::here("take"),
            &limit,
            None,
            |shop, _, _| shop.stock.take().map(Ok),
            |end, slot| slot.ok_or(end),
        )
    }

    fn put(&self, number: usize) {
        let mut guard = self.0.lock();
        let (shop, wakes) = guard.parts();
        match shop.takers.claim(wakes) {
            Some(slot) => *slot = Some(number),
            None => shop.stock = Some(number),
        }
    }

    /// Nobody is in line any more; what is in stock.
    fn rest(&self) -> Option<usize> {
        let mut guard = self.0.lock();
        let shop = guard.parts().0;
        assert_eq!((shop.takers.is_empty(), shop.takers.len()), (true, 0));
        shop.stock
    }

    /// Waits for a pulse: the number of pulses that had begun on arrival.
    fn pulse_wait(&self) -> usize {
        let arrive = |shop: &mut Shop, _: &mut _, slot: &mut Option<usize>| {
            *slot = Some(shop.pulses);
            shop.open.then_some(usize::MAX)
        };
        self.0.wait(
            &Site::here("pulse"),
            &Limit::Never,
            None,
            arrive,
            |_, slot| slot.unwrap(),
        )
    }

    fn pulse(&self, open: bool) {
        self.0.broadcast::<Option<usize>>(|shop| {
            shop.pulses += 1;
            shop.open = open;
            true
        });
    }
}

/// The word alone: of two who decide it one wins, and who reads the outcome sees
/// what the winner did before. (In the crate a lock or the inbox orders that too.)
#[test]
fn word_alone() {
    let seen = Seen::new();
    explore("word_alone", None, {
        let seen = seen.clone();
        move || {
            let both = Arc::new((Word::new(), [AtomicUsize::new(0), AtomicUsize::new(0)]));
            let (word, data) = &*both;
            word.announce();
            let deciders = [0, 1].map(|i| {
                let both = both.clone();
                thread(move || {
                    both.1[i].store(1, Ordering::Relaxed);
                    both.0.notify(i)
                })
            });
            let winner = loop {
                match word.outcome() {
                    Some(Outcome::Notified(i)) => break i,
                    _ => loom::thread::yield_now(),
                }
            };
            assert_eq!(data[winner].load(Ordering::Relaxed), 1);
            seen.hit(winner);
            let won = deciders.map(|d| d.join().unwrap());
            assert_eq!(won, [winner == 0, winner == 1]);
        }
    });
    seen.all(2);
}

/// One taker that may leave on its own, one putter: the number is taken or in
/// stock, and what was done before the put is seen by the taker. The slot is
/// filled after the word has moved, so a taker that leaves before the putter's
/// unlock is a causality violation.
#[test]
fn wake_against_own_expiry() {
    let seen = Seen::new();
    explore("wake_against_own_expiry", None, {
        let seen = seen.clone();
        move || {
            let (counter, data) = (Counter::new(), Arc::new(AtomicUsize::new(0)));
            let putter = thread({
                let (counter, data) = (counter.clone(), data.clone());
                move || {
                    data.store(1, Ordering::Relaxed);
                    counter.put(7);
                }
            });
            let taken = counter.take(NOW);
            match taken {
                Ok(n) => assert_eq!((n, data.load(Ordering::Relaxed)), (7, 1)),
                Err(end) => assert_eq!(end, End::Expired),
            }
            seen.hit(taken.is_ok().into());
            putter.join().unwrap();
            assert_eq!(counter.rest().is_some(), taken.is_err());
        }
    });
    seen.all(2);
}

/// A taker that nothing but the put can end: the slot is filled after the claim.
#[test]
fn slot_is_filled_before_a_thread_leaves() {
    explore("slot_is_filled_before_a_thread_leaves", None, || {
        let (counter, data) = (Counter::new(), Arc::new(AtomicUsize::new(0)));
        let putter = thread({
            let (counter, data) = (counter.clone(), data.clone());
            move || {
                data.store(1, Ordering::Relaxed);
                counter.put(7);
            }
        });
        assert_eq!(counter.take(Limit::Never), Ok(7));
        assert_eq!(data.load(Ordering::Relaxed), 1);
        putter.join().unwrap();
        assert_eq!(counter.rest(), None);
    });
}

/// As the first, but the taker is parked, or about to be, when `ends` end it.
fn ended_by_others(name: &str, bound: Option<usize>, ends: &'static [fn(&Word) -> bool]) {
    let seen = Seen::new();
    explore(name, bound, {
        let seen = seen.clone();
        move || {
            let counter = Counter::new();
            let putter = thread({
                let counter = counter.clone();
                move || counter.put(7)
            });
            let enders: Vec<_> = ends
                .iter()
                .map(|&how| {
                    let taker = Remote::here();
                    thread(move || taker.end(how))
                })
                .collect();
            let taken = counter.take(Limit::Never);
            seen.hit(taken.is_ok().into());
            putter.join().unwrap();
            let ended = enders
                .into_iter()
                .filter_map(|e| e.join().unwrap().then_some(()))
                .count();
            // One party has decided the wait, if there was one.
            assert_eq!(ended, taken.is_err().into());
            assert_eq!(counter.rest().is_some(), taken.is_err());
        }
    });
    seen.all(2);
}

// A kill ends a wait of a greenlet only: see `ends`.

#[test]
fn wake_against_expiry() {
    ended_by_others("wake_against_expiry", Some(4), &[Word::expire]);
}

#[test]
fn wake_against_two_expiries() {
    ended_by_others(
        "wake_against_two_expiries",
        Some(3),
        &[Word::expire, Word::expire],
    );
}

/// The first in line leaves; what was put goes to the second or into stock.
#[test]
fn put_against_first_leaving() {
    explore("put_against_first_leaving", Some(3), || {
        let counter = Counter::new();
        let first = thread({
            let counter = counter.clone();
            move || counter.take(NOW).is_ok()
        });
        let putter = thread({
            let counter = counter.clone();
            move || {
                counter.put(7);
            }
        });
        let second = counter.take(NOW).is_ok();
        putter.join().unwrap();
        let first = first.join().unwrap();
        let rest = counter.rest().is_some();
        assert_eq!(u8::from(first) + u8::from(second) + u8::from(rest), 1);
    });
}

/// Three waiters, batches of two: a broadcast wakes all who had arrived when it
/// began and none who came later; the last one, which leaves the door open, ends
/// all. An arrival knows how many broadcasts had begun, so the one that wakes it
/// must have begun after that many were over.
#[test]
fn broadcast_against_arrivals() {
    let seen = Seen::new();
    explore("broadcast_against_arrivals", Some(2), {
        let seen = seen.clone();
        move || {
            let (counter, over) = (Counter::new(), Arc::new(AtomicUsize::new(0)));
            let waiter = || {
                let (counter, over, seen) = (counter.clone(), over.clone(), seen.clone());
                thread(move || {
                    let arrived = counter.pulse_wait();
                    if arrived < usize::MAX {
                        assert!(over.load(Ordering::Relaxed) >= arrived);
                        seen.hit(arrived);
                    }
                })
            };
            // A full batch is there, and a third one is on its way.
            let early = [waiter(), waiter()];
            while counter.0.lock().parts().0.takers.len() < 2 {
                loom::thread::yield_now();
            }
            let late = waiter();
            counter.pulse(false);
            over.store(1, Ordering::Relaxed);
            counter.pulse(true);
            for waiter in early.into_iter().chain([late]) {
                waiter.join().unwrap();
            }
            counter.rest();
        }
    });
    seen.all(2);
}

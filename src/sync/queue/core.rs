//! What the three queues are made of: a container, and four lists of waiters.
//!
//! Invariants: a getter waits only if there is no item and no putter; putters, with
//! an item or to reserve a place, wait only if there is no room; a joiner only if
//! tasks are unfinished. An item that is put while a getter waits goes into the
//! getter's slot; room that a get makes is filled from the first putter's slot, or
//! is the first reserver's, whoever of the two came first.
//!
//! Room is what is neither filled nor reserved. `slot` and `many` have what is done
//! with reserved places, and with many items at once.

use crate::rt::clock::Limit;
use crate::rt::park::Wakes;
use crate::rt::task::Site;
use crate::rt::wait::{End, Monitor, State, WaitList, Waiters};
use std::any::Any;
use std::collections::{BTreeSet, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use super::{Flavour, GetError, PutError, QueueStatistics};

/// Where items lie, and in which order they come out.
pub(crate) trait Container<T> {
    /// Whether `push` runs code of the user's.
    const FOREIGN: bool = false;
    fn push(&mut self, item: T);
    /// Puts back what was popped: it comes out again before those that came later.
    fn unpop(&mut self, item: T);
    fn pop(&mut self) -> Option<T>;
    fn peek(&self) -> Option<&T>;
    fn len(&self) -> usize;
}

impl<T> Container<T> for VecDeque<T> {
    fn push(&mut self, item: T) {
        self.push_back(item);
    }
    fn unpop(&mut self, item: T) {
        self.push_front(item);
    }
    fn pop(&mut self) -> Option<T> {
        self.pop_front()
    }
    fn peek(&self) -> Option<&T> {
        self.front()
    }
    fn len(&self) -> usize {
        self.len()
    }
}

/// Last in, first out.
impl<T> Container<T> for Vec<T> {
    fn push(&mut self, item: T) {
        self.push(item);
    }
    fn unpop(&mut self, item: T) {
        self.push(item);
    }
    fn pop(&mut self) -> Option<T> {
        self.pop()
    }
    fn peek(&self) -> Option<&T> {
        self.last()
    }
    fn len(&self) -> usize {
        self.len()
    }
}

/// Smallest first, equal ones in order of arrival. A B-tree compares only when an
/// item comes in, so a `cmp` that panics does so in the putter; a heap would
/// compare at each pop.
pub(crate) struct Ranked<T> {
    items: BTreeSet<Rank<T>>,
    /// Arrivals are counted up from 0, what comes back is counted down.
    next: i64,
    back: i64,
}

impl<T> Ranked<T> {
    pub(crate) const fn new() -> Self {
        Ranked {
            items: BTreeSet::new(),
            next: 0,
            back: 0,
        }
    }
}

struct Rank<T> {
    item: T,
    arrival: i64,
}

impl<T: Ord> Ord for Rank<T> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.item
            .cmp(&other.item)
            .then(self.arrival.cmp(&other.arrival))
    }
}
impl<T: Ord> PartialOrd for Rank<T> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl<T: Ord> Eq for Rank<T> {}
impl<T: Ord> PartialEq for Rank<T> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl<T: Ord> Container<T> for Ranked<T> {
    const FOREIGN: bool = true;

    fn push(&mut self, item: T) {
        let arrival = self.next;
        self.next += 1;
        self.items.insert(Rank { item, arrival });
    }
    fn unpop(&mut self, item: T) {
        self.back -= 1;
        let arrival = self.back;
        self.items.insert(Rank { item, arrival });
    }
    fn pop(&mut self) -> Option<T> {
        self.items.pop_first().map(|rank| rank.item)
    }
    fn peek(&self) -> Option<&T> {
        self.items.first().map(|rank| &rank.item)
    }
    fn len(&self) -> usize {
        self.items.len()
    }
}

/// A putter's slot.
pub(super) enum Offer<T> {
    /// On the way in. If its putter is woken with it, the queue was shut down.
    Item(T),
    Taken,
    /// Storing it panicked, in another's hands.
    Panicked(Box<dyn Any + Send>),
}

impl<T> Offer<T> {
    /// The item of a putter that still has it.
    #[inline]
    pub(super) fn take(&mut self) -> T {
        match std::mem::replace(self, Offer::Taken) {
            Offer::Item(item) => item,
            _ => unreachable!("an offer is taken once"),
        }
    }
}

/// A reserver's slot.
pub(super) struct Place {
    /// Putters with a smaller ticket came before.
    pub(super) before: u64,
    /// It has its place. If it is woken without, the queue was shut down.
    pub(super) granted: bool,
}

pub(super) struct Items<T, C> {
    pub(super) items: C,
    pub(super) capacity: Option<usize>,
    pub(super) getters: WaitList<Option<T>>,
    pub(super) putters: WaitList<Offer<T>>,
    pub(super) reservers: WaitList<Place>,
    joiners: WaitList<()>,
    pub(super) unfinished: usize,
    /// Places that are held.
    pub(super) reserved: usize,
    pub(super) shut_down: bool,
    /// Nobody will get what is put into a reserved place.
    pub(super) abandoned: bool,
}

impl<T, C: Container<T>> Items<T, C> {
    pub(super) fn has_room(&self) -> bool {
        self.capacity
            .is_none_or(|c| self.items.len().saturating_add(self.reserved) < c)
    }

    /// Whether anybody waits for room.
    #[inline]
    fn has_line(&self) -> bool {
        !(self.putters.is_empty() && self.reservers.is_empty())
    }

    /// Shut down, and nothing can come in any more.
    pub(super) fn has_ended(&self) -> bool {
        self.shut_down && self.reserved == 0
    }

    /// Whether the next place is a reserver's.
    fn reserver_is_first(&self) -> bool {
        let putter = self.putters.front_ticket();
        let first = |place: &Place| putter.is_none_or(|putter| putter >= place.before);
        self.reservers.front().is_some_and(first)
    }
}

impl<T, C: Container<T>> State for Items<T, C> {
    fn check(&self) {
        let full = !self.has_room();
        // A select may wait to put and to get, where there is no room at all, or all of it is
        // reserved; it is in both lines until it has run, also if its item is in by then.
        // After a shutdown, getters may wait for reserved places while putters are told.
        let both = self.putters.is_empty() || full || self.shut_down;
        let none = self.items.len() == 0 && both;
        assert!(self.getters.is_empty() || none || !self.getters.has_waiting());
        assert!(!self.has_line() || full || self.shut_down);
    }
}

impl<T, C: Container<T>> Waiters<Option<T>> for Items<T, C> {
    fn waiters(&mut self) -> &mut WaitList<Option<T>> {
        &mut self.getters
    }
}
impl<T, C: Container<T>> Waiters<Offer<T>> for Items<T, C> {
    fn waiters(&mut self) -> &mut WaitList<Offer<T>> {
        &mut self.putters
    }
}
impl<T, C: Container<T>> Waiters<Place> for Items<T, C> {
    fn waiters(&mut self) -> &mut WaitList<Place> {
        &mut self.reservers
    }
}
impl<T, C: Container<T>> Waiters<()> for Items<T, C> {
    fn waiters(&mut self) -> &mut WaitList<()> {
        &mut self.joiners
    }
}

/// See the module.
pub(crate) struct Core<T, C> {
    pub(super) monitor: Monitor<Items<T, C>, Flavour>,
}

pub(super) type PutResult<T> = Result<(), PutError<T>>;

impl<T, C: Container<T>> Core<T, C> {
    crate::rt::sync::const_fn! {
        pub(crate) const fn new(items: C, capacity: Option<usize>) -> Self {
            let state = Items {
                items,
                capacity,
                getters: WaitList::new(),
                putters: WaitList::new(),
                reservers: WaitList::new(),
                joiners: WaitList::new(),
                unfinished: 0,
                reserved: 0,
                shut_down: false,
                abandoned: false,
            };
            Core { monitor: Monitor::new(0, state) }
        }
    }

    /// Stores an item, for which there is room.
    pub(super) fn store(&self, items: &mut C, item: T) {
        let _lent = C::FOREIGN.then(|| self.monitor.lend());
        items.push(item);
    }

    /// Takes the item if a getter waits or there is room.
    #[inline]
    pub(super) fn accept(
        &self,
        state: &mut Items<T, C>,
        wakes: &mut Wakes,
        item: impl FnOnce() -> T,
    ) -> Option<PutResult<T>> {
        if state.shut_down {
            return Some(Err(PutError::ShutDown(item())));
        }
        if !state.getters.is_empty()
            && let Some(slot) = state.getters.claim(wakes)
        {
            *slot = Some(item());
        } else if state.has_room() {
            self.store(&mut state.items, item());
        } else {
            return None;
        }
        state.unfinished += 1;
        Some(Ok(()))
    }

    #[inline(always)]
    #[track_caller]
    pub(crate) fn put(&self, operation: &'static str, item: T, limit: Limit) -> PutResult<T> {
        self.monitor.wait(
            &Site::here(operation),
            &limit,
            Offer::Item(item),
            |state, wakes, offer| self.accept(state, wakes, || offer.take()),
            |end, offer| match (end, offer) {
                (_, Offer::Taken) => Ok(()),
                (End::Notified, Offer::Item(item)) => Err(PutError::ShutDown(item)),
                (_, Offer::Item(item)) => Err(PutError::Full(item)),
                (_, Offer::Panicked(payload)) => resume_unwind(payload),
            },
        )
    }

    /// Puts what is in there, if it can be put at once.
    #[inline]
    pub(super) fn try_put(&self, item: &mut Option<T>) -> Option<PutResult<T>> {
        let mut guard = self.monitor.lock();
        let (state, wakes) = guard.parts();
        let item = || item.take().expect("an item is put once");
        self.accept(state, wakes, item)
    }

    pub(crate) fn put_nowait(&self, item: T) -> PutResult<T> {
        let mut item = Some(item);
        let full = |item: Option<T>| PutError::Full(item.expect("it was not put"));
        self.try_put(&mut item).unwrap_or_else(|| Err(full(item)))
    }

    /// Takes an item if there is one, or a putter waits.
    #[inline]
    pub(super) fn give(
        &self,
        state: &mut Items<T, C>,
        wakes: &mut Wakes,
    ) -> Option<Result<T, GetError>> {
        if let Some(item) = state.items.pop() {
            if state.has_line() {
                self.refill(state, wakes);
            }
            return Some(Ok(item));
        }
        if state.shut_down {
            // Putters that are still in line get their items back; who has a place may put.
            return state.has_ended().then_some(Err(GetError::ShutDown));
        }
        let item = state.putters.claim(wakes)?.take();
        state.unfinished += 1;
        Some(Ok(item))
    }

    /// Gives room to those who came first: reservers, and putters, whose items fill it.
    pub(super) fn refill(&self, state: &mut Items<T, C>, wakes: &mut Wakes) {
        while !state.shut_down && state.has_room() {
            if state.reserver_is_first() {
                // One that was leaving takes nothing.
                if let Some(Some(place)) = state.reservers.claim_front(wakes) {
                    place.granted = true;
                    state.reserved += 1;
                }
                continue;
            }
            let offer = match state.putters.claim_front(wakes) {
                Some(Some(offer)) => offer,
                Some(None) => continue,
                None => return,
            };
            let item = offer.take();
            // The panic of a `cmp` belongs to the putter whose item it is.
            match catch_unwind(AssertUnwindSafe(|| self.store(&mut state.items, item))) {
                Ok(()) => state.unfinished += 1,
                Err(payload) => *offer = Offer::Panicked(payload),
            }
        }
    }

    #[inline(always)]
    #[track_caller]
    pub(crate) fn get(&self, site: Site, limit: Limit) -> Result<T, GetError> {
        self.monitor.wait(
            &site,
            &limit,
            None,
            |state, wakes, _| self.give(state, wakes),
            |end, slot| match (end, slot) {
                (_, Some(item)) => Ok(item),
                (End::Notified, None) => Err(GetError::ShutDown),
                (_, None) => Err(GetError::Empty),
            },
        )
    }

    /// Gets an item, or that there will be none, if that is known at once.
    #[inline]
    pub(super) fn try_get(&self) -> Option<Result<T, GetError>> {
        let mut guard = self.monitor.lock();
        let (state, wakes) = guard.parts();
        self.give(state, wakes)
    }

    pub(crate) fn get_nowait(&self) -> Result<T, GetError> {
        self.try_get().unwrap_or(Err(GetError::Empty))
    }

    pub(crate) fn peek(&self) -> Result<T, GetError>
    where
        T: Clone,
    {
        let mut guard = self.monitor.lock();
        let state = guard.parts().0;
        match state.items.peek() {
            Some(item) => {
                let _lent = self.monitor.lend();
                Ok(item.clone())
            }
            None if state.shut_down => Err(GetError::ShutDown),
            None => Err(GetError::Empty),
        }
    }

    pub(super) fn with<R>(&self, f: impl FnOnce(&mut Items<T, C>) -> R) -> R {
        f(self.monitor.lock().parts().0)
    }

    pub(crate) fn len(&self) -> usize {
        self.with(|state| state.items.len())
    }

    pub(crate) fn capacity(&self) -> Option<usize> {
        self.with(|state| state.capacity)
    }

    pub(crate) fn is_full(&self) -> bool {
        self.with(|state| !state.has_room())
    }

    pub(crate) fn is_shut_down(&self) -> bool {
        self.with(|state| state.shut_down)
    }

    pub(crate) fn unfinished(&self) -> usize {
        self.with(|state| state.unfinished)
    }

    #[track_caller]
    pub(crate) fn task_done(&self) {
        let mut missing = false;
        self.monitor.broadcast::<()>(|state| {
            missing = state.unfinished == 0;
            state.unfinished = state.unfinished.saturating_sub(1);
            state.unfinished == 0 && !missing
        });
        assert!(
            !missing,
            "task_done() called more often than items were put"
        );
    }

    #[inline(always)]
    #[track_caller]
    pub(crate) fn join(&self, operation: &'static str, limit: Limit) -> bool {
        let decide = |state: &mut Items<T, C>, _: &mut Wakes, _: &mut ()| {
            (state.unfinished == 0).then_some(true)
        };
        let site = Site::here(operation);
        let finish = |end: End, ()| end.in_time(&site, &limit);
        self.monitor.wait(&site, &limit, (), decide, finish)
    }

    pub(crate) fn shutdown(&self) {
        let told = catch_unwind(AssertUnwindSafe(|| {
            // Getters and putters never wait at once, so one of the two has nobody
            // to wake.
            self.monitor.broadcast::<Option<T>>(|state| {
                state.shut_down = true;
                state.has_ended()
            });
            self.monitor.broadcast::<Offer<T>>(|_| true);
        }));
        // As in `shutdown_now`.
        self.monitor.broadcast::<Place>(|_| true);
        told.unwrap_or_else(|payload| resume_unwind(payload));
    }

    /// After a place was given back: if nothing can come in any more, those who wait hear of it.
    pub(super) fn tell_the_end(&self) {
        self.monitor
            .broadcast::<Option<T>>(|state| state.has_ended());
    }

    /// As [`shutdown_now`](Core::shutdown_now); and what is put into reserved places later is
    /// not kept, since nobody will get it.
    pub(crate) fn abandon(&self) -> Vec<T> {
        self.with(|state| state.abandoned = true);
        self.shutdown_now()
    }

    pub(crate) fn shutdown_now(&self) -> Vec<T> {
        let items: Vec<T> = self.with(|state| {
            state.shut_down = true;
            let items: Vec<T> = std::iter::from_fn(|| state.items.pop()).collect();
            // A task may be done before its item is got.
            state.unfinished = state.unfinished.saturating_sub(items.len());
            items
        });
        // The joiners get their wake even if that of another panics, which is
        // then a Simulation's.
        let told = catch_unwind(AssertUnwindSafe(|| self.shutdown()));
        self.monitor.broadcast::<()>(|state| state.unfinished == 0);
        told.unwrap_or_else(|payload| resume_unwind(payload));
        items
    }

    pub(crate) fn statistics(&self) -> QueueStatistics {
        self.with(|state| QueueStatistics {
            len: state.items.len(),
            capacity: state.capacity,
            unfinished: state.unfinished,
            shut_down: state.shut_down,
            reserved: state.reserved,
            getters: state.getters.len(),
            putters: state.putters.len() + state.reservers.len(),
            joiners: state.joiners.len(),
        })
    }

    pub(crate) fn debug(&self, name: &str, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The writer is the caller's: not under the lock.
        let numbers = self.statistics();
        f.debug_struct(name)
            .field("len", &numbers.len)
            .field("capacity", &numbers.capacity)
            .field("unfinished", &numbers.unfinished)
            .field("shut_down", &numbers.shut_down)
            .field("reserved", &numbers.reserved)
            .field("getters", &numbers.getters)
            .field("putters", &numbers.putters)
            .field("joiners", &numbers.joiners)
            .finish()
    }
}

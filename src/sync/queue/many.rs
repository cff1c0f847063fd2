//! Many items at once, in one lock as far as that goes; and a put that makes its own room.

use super::core::{Container, Core, Items, Offer, PutResult};
use super::{GetError, LifoQueue, PriorityQueue, PutError, Queue};
use crate::rt::clock::Limit;
use crate::rt::park::{Party, Wakes};
use crate::rt::task::Site;
use crate::rt::wait::End;
use std::collections::VecDeque;
use std::panic::resume_unwind;
use std::time::Duration;

impl<T, C: Container<T>> Core<T, C> {
    /// Takes up to `max` items. They are dropped, if at all, by who has them, without the lock.
    fn take(
        &self,
        state: &mut Items<T, C>,
        wakes: &mut Wakes,
        items: &mut Vec<T>,
        max: usize,
    ) -> Result<(), GetError> {
        items.reserve(state.items.len().min(max - items.len()));
        while items.len() < max {
            items.push(self.give(state, wakes).unwrap_or(Err(GetError::Empty))?);
        }
        Ok(())
    }

    #[inline(always)]
    #[track_caller]
    fn get_many(
        &self,
        operation: &'static str,
        max: usize,
        limit: Limit,
    ) -> Result<Vec<T>, GetError> {
        if max == 0 {
            return Ok(Vec::new());
        }
        self.monitor.wait(
            &Site::here(operation),
            &limit,
            None,
            |state, wakes, _| {
                let mut items = Vec::new();
                match self.take(state, wakes, &mut items, max) {
                    Err(GetError::Empty) if items.is_empty() => None,
                    Err(GetError::ShutDown) if items.is_empty() => Some(Err(GetError::ShutDown)),
                    _ => Some(Ok(items)),
                }
            },
            |end, slot| match (end, slot) {
                (_, Some(item)) => Ok(self.with_more(item, max)),
                (End::Notified, None) => Err(GetError::ShutDown),
                (_, None) => Err(GetError::Empty),
            },
        )
    }

    /// After a wait for the first: those that have come meanwhile.
    fn with_more(&self, first: T, max: usize) -> Vec<T> {
        let mut items = vec![first];
        // Either reason to stop will do, here and in `drain`.
        let _ = self.take_now(&mut items, max);
        items
    }

    /// As [`take`](Core::take), with the lock.
    fn take_now(&self, items: &mut Vec<T>, max: usize) -> Result<(), GetError> {
        let mut guard = self.monitor.lock();
        let (state, wakes) = guard.parts();
        self.take(state, wakes, items, max)
    }

    fn get_many_nowait(&self, max: usize) -> Result<Vec<T>, GetError> {
        let mut items = Vec::new();
        match self.take_now(&mut items, max) {
            Err(error) if items.is_empty() => Err(error),
            _ => Ok(items),
        }
    }

    fn drain(&self) -> Vec<T> {
        let mut items = Vec::new();
        let _ = self.take_now(&mut items, usize::MAX);
        items
    }

    /// Puts what is offered and then what follows, as far as there is room; what does not fit
    /// is left in the offer.
    fn accept_many(
        &self,
        state: &mut Items<T, C>,
        wakes: &mut Wakes,
        offer: &mut Offer<T>,
        rest: &mut std::vec::IntoIter<T>,
    ) -> Option<PutResult<T>> {
        loop {
            if let Err(error) = self.accept(state, wakes, || offer.take())? {
                return Some(Err(error));
            }
            match rest.next() {
                Some(next) => *offer = Offer::Item(next),
                None => return Some(Ok(())),
            }
        }
    }

    #[inline(always)]
    #[track_caller]
    fn put_many(&self, operation: &'static str, items: Vec<T>, limit: Limit) -> PutResult<Vec<T>> {
        let (mut rest, site) = (items.into_iter(), Site::here(operation));
        // One limit for all of them.
        let limit = limit.fixed(|| Party::current().now());
        while let Some(item) = rest.next() {
            let put = self.monitor.wait(
                &site,
                &limit,
                Offer::Item(item),
                |state, wakes, offer| self.accept_many(state, wakes, offer, &mut rest),
                |end, offer| match (end, offer) {
                    (_, Offer::Taken) => Ok(()),
                    (End::Notified, Offer::Item(item)) => Err(PutError::ShutDown(item)),
                    (_, Offer::Item(item)) => Err(PutError::Full(item)),
                    (_, Offer::Panicked(payload)) => resume_unwind(payload),
                },
            );
            put.map_err(|error| with_rest(error, &mut rest))?;
        }
        Ok(())
    }

    fn put_many_nowait(&self, items: Vec<T>) -> PutResult<Vec<T>> {
        let mut rest = items.into_iter();
        match self.put_some(&mut rest)? {
            Some(next) => Err(with_rest(PutError::Full(next), &mut rest)),
            None => Ok(()),
        }
    }

    /// Puts as many as there is room for, and returns the next one, if there is one.
    fn put_some(&self, rest: &mut std::vec::IntoIter<T>) -> Result<Option<T>, PutError<Vec<T>>> {
        let Some(first) = rest.next() else {
            return Ok(None);
        };
        let mut offer = Offer::Item(first);
        let put = {
            let mut guard = self.monitor.lock();
            let (state, wakes) = guard.parts();
            self.accept_many(state, wakes, &mut offer, rest)
        };
        match (put, offer) {
            (Some(Ok(())), _) => Ok(None),
            (Some(Err(error)), _) => Err(with_rest(error, rest)),
            (None, Offer::Item(item)) => Ok(Some(item)),
            (None, _) => unreachable!("an offer that was not accepted is whole"),
        }
    }
}

/// What was not put, in order.
pub(crate) fn with_rest<T>(
    error: PutError<T>,
    rest: &mut std::vec::IntoIter<T>,
) -> PutError<Vec<T>> {
    let all = |first| std::iter::once(first).chain(rest).collect();
    match error {
        PutError::Full(first) => PutError::Full(all(first)),
        PutError::ShutDown(first) => PutError::ShutDown(all(first)),
    }
}

impl<T> Core<T, VecDeque<T>> {
    fn force_put(&self, item: T) -> Result<Option<T>, PutError<T>> {
        let mut offer = Offer::Item(item);
        let mut guard = self.monitor.lock();
        let (state, wakes) = guard.parts();
        if let Some(put) = self.accept(state, wakes, || offer.take()) {
            return put.map(|()| None);
        }
        let Offer::Item(item) = offer else {
            unreachable!("an offer that was not accepted is whole")
        };
        let Some(oldest) = state.items.pop_front() else {
            return Err(PutError::Full(item));
        };
        state.items.push_back(item);
        // One is done, as nobody will get it, and one has come. A task may be done early.
        state.unfinished = state.unfinished.max(1);
        Ok(Some(oldest))
    }
}

/// Writes the same for each of the queues.
macro_rules! many {
    ($Name:ident, $name:literal, [$($bound:tt)*]) => {
        impl<T: $($bound)*> $Name<T> {
            /// Takes the next items out, at most `max`, waiting until there is at least one.
            ///
            /// It takes them in one go, and with each the place that becomes free is filled
            /// from the putters that wait: what it returns is what so many
            /// [`get_nowait`](Self::get_nowait) in a row would. If it had to wait, those that
            /// have come by the time it goes on are among them. With a `max` of zero it
            /// returns at once.
            ///
            /// # Fairness
            ///
            /// As for [`get`](Self::get): one getter in line, to whom the next item is handed.
            ///
            /// # Timeouts and kills
            ///
            /// Either ends the wait by unwinding and takes nothing. An item that was handed
            /// over is kept: the kill acts at the next wait.
            ///
            /// # Errors
            ///
            /// [`GetError::ShutDown`] if the queue is shut down and empty;
            /// [`GetError::Empty`] only while panicking. There is at least one item otherwise.
            ///
            /// # Examples
            ///
            /// ```
            #[doc = concat!("let q = ", here!(), "::", $name, "::unbounded();")]
            /// q.put_many([1, 1, 1]).unwrap();
            /// q.shutdown();
            /// let mut sizes = Vec::new();
            /// while let Ok(batch) = q.get_many(2) {
            ///     sizes.push(batch.len());
            /// }
            /// assert_eq!(sizes, [2, 1]);
            /// ```
            #[inline(always)]
            #[track_caller]
            pub fn get_many(&self, max: usize) -> Result<Vec<T>, GetError> {
                self.core
                    .get_many(concat!($name, "::get_many"), max, Limit::Never)
            }

            /// As [`get_many`](Self::get_many), for at most `limit`.
            ///
            /// # Errors
            ///
            /// [`GetError::Empty`] if the time was over before there was an item, or
            /// [`GetError::ShutDown`].
            ///
            /// # Examples
            ///
            /// ```
            #[doc = concat!("use ", here!(), "::GetError;")]
            ///
            #[doc = concat!("let q = ", here!(), "::", $name, "::<u8>::unbounded();")]
            /// let limit = std::time::Duration::from_millis(1);
            /// assert_eq!(q.get_many_timeout(9, limit), Err(GetError::Empty));
            /// ```
            #[inline(always)]
            #[track_caller]
            pub fn get_many_timeout(&self, max: usize, limit: Duration) -> Result<Vec<T>, GetError> {
                self.core
                    .get_many(concat!($name, "::get_many_timeout"), max, Limit::After(limit))
            }

            /// As [`get_many`](Self::get_many), without ever waiting or switching.
            ///
            /// # Errors
            ///
            /// [`GetError::Empty`] or [`GetError::ShutDown`].
            ///
            /// # Examples
            ///
            /// ```
            #[doc = concat!("let q = ", here!(), "::", $name, "::unbounded();")]
            /// q.put_many([7, 7, 7]).unwrap();
            /// assert_eq!(q.get_many_nowait(2), Ok(vec![7, 7]));
            /// ```
            pub fn get_many_nowait(&self, max: usize) -> Result<Vec<T>, GetError> {
                self.core.get_many_nowait(max)
            }

            /// See [`Core::with_more`].
            pub(crate) fn with_more(&self, first: T, max: usize) -> Vec<T> {
                self.core.with_more(first, max)
            }

            /// See [`Core::put_some`].
            pub(crate) fn put_some(
                &self,
                rest: &mut std::vec::IntoIter<T>,
            ) -> Result<Option<T>, PutError<Vec<T>>> {
                self.core.put_some(rest)
            }

            /// Takes all there is, what putters wait with too, without waiting. It is empty if
            /// there is nothing.
            ///
            /// The items count as got, not as [done](Self::task_done).
            ///
            /// # Examples
            ///
            /// ```
            #[doc = concat!("let q = ", here!(), "::", $name, "::unbounded();")]
            /// q.put_many([7, 7]).unwrap();
            /// assert_eq!(q.drain(), [7, 7]);
            /// assert_eq!(q.drain(), []);
            /// ```
            #[must_use = "the items, which nobody else will get"]
            pub fn drain(&self) -> Vec<T> {
                self.core.drain()
            }

            /// Puts all items in, in order, waiting for room if need be.
            ///
            /// The iterator is run to its end before the first is put; so it may wait, but
            /// must have an end. Then as many as there is room for go in at once.
            ///
            /// # Fairness
            ///
            /// Where it has to wait it is one putter with one item. Those that are in line with
            /// it put theirs in between.
            ///
            /// # Timeouts and kills
            ///
            /// Either ends the wait by unwinding; the items that were not put are dropped.
            ///
            /// # Errors
            ///
            /// [`PutError::ShutDown`] if the queue is shut down, also while it waits;
            /// [`PutError::Full`] only while panicking. The items that were not put come back,
            /// in order.
            ///
            /// # Examples
            ///
            /// ```
            #[doc = concat!("let q = ", here!(), "::", $name, "::bounded(2);")]
            /// greenlet::scope(|s| {
            ///     s.spawn(|| q.put_many(0..5).unwrap());
            ///     assert_eq!((0..5).map(|_| q.get().unwrap()).sum::<i32>(), 10);
            /// });
            /// ```
            #[inline(always)]
            #[track_caller]
            pub fn put_many(
                &self,
                items: impl IntoIterator<Item = T>,
            ) -> Result<(), PutError<Vec<T>>> {
                let items = items.into_iter().collect();
                self.core
                    .put_many(concat!($name, "::put_many"), items, Limit::Never)
            }

            /// As [`put_many`](Self::put_many), for at most `limit` in all.
            ///
            /// # Errors
            ///
            /// [`PutError::Full`] if the time was over first, or [`PutError::ShutDown`]. The
            /// items that were not put come back, in order.
            ///
            /// # Examples
            ///
            /// ```
            #[doc = concat!("let q = ", here!(), "::", $name, "::bounded(2);")]
            /// let full = q.put_many_timeout([1, 2, 3, 4], std::time::Duration::from_millis(1));
            /// assert_eq!(full.unwrap_err().into_inner(), [3, 4]);
            /// ```
            #[inline(always)]
            #[track_caller]
            pub fn put_many_timeout(
                &self,
                items: impl IntoIterator<Item = T>,
                limit: Duration,
            ) -> Result<(), PutError<Vec<T>>> {
                let items = items.into_iter().collect();
                self.core
                    .put_many(concat!($name, "::put_many_timeout"), items, Limit::After(limit))
            }

            /// As [`put_many`](Self::put_many), without ever waiting or switching.
            ///
            /// # Errors
            ///
            /// [`PutError::Full`] or [`PutError::ShutDown`]. The items that were not put come
            /// back, in order.
            ///
            /// # Examples
            ///
            /// ```
            #[doc = concat!("let q = ", here!(), "::", $name, "::bounded(2);")]
            /// assert!(q.put_many_nowait([1, 2]).is_ok());
            /// assert_eq!(q.put_many_nowait([3, 4]).unwrap_err().into_inner(), [3, 4]);
            /// ```
            pub fn put_many_nowait(
                &self,
                items: impl IntoIterator<Item = T>,
            ) -> Result<(), PutError<Vec<T>>> {
                self.core.put_many_nowait(items.into_iter().collect())
            }
        }
    };
}

many!(Queue, "Queue", []);
many!(LifoQueue, "LifoQueue", []);
many!(PriorityQueue, "PriorityQueue", [Ord]);

impl<T> Queue<T> {
    /// Puts an item in even if the queue is full, and returns the oldest one, whose place it
    /// takes. Never waits.
    ///
    /// The oldest item counts as [done](Queue::task_done): nobody else will see it. Putters
    /// that wait go on waiting, in their order: there is no more room than before, and their
    /// items come after this one.
    ///
    /// Only for a `Queue`. The oldest item of a [`LifoQueue`] lies deepest in it, where it
    /// cannot be taken out in constant time, and a [`PriorityQueue`] goes by rank, not by age.
    ///
    /// # Errors
    ///
    /// [`PutError::ShutDown`]; [`PutError::Full`] if the queue stores nothing that could be
    /// displaced: a [rendezvous](Queue::rendezvous) where no getter waits, or one whose places
    /// are all [reserved](Queue::reserve). The item comes back.
    ///
    /// # Examples
    ///
    /// ```
    #[doc = concat!("let last_two = ", here!(), "::Queue::bounded(2);")]
    /// let displaced = [1, 2, 3].map(|i| last_two.force_put(i).unwrap());
    /// assert_eq!(displaced, [None, None, Some(1)]);
    /// assert_eq!(last_two.drain(), [2, 3]);
    /// ```
    #[must_use = "the item that was displaced"]
    pub fn force_put(&self, item: T) -> Result<Option<T>, PutError<T>> {
        self.core.force_put(item)
    }
}

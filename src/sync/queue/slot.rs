//! Places that are reserved: first the room, then the item.

use super::core::{Container, Core, Items, Place};
use super::{LifoQueue, PriorityQueue, PutError, Queue};
use crate::rt::clock::Limit;
use crate::rt::task::Site;
use crate::rt::wait::{Choice, End, Operation};
use std::fmt;
use std::time::Duration;

impl<T, C: Container<T>> Items<T, C> {
    /// `Some(None)`: there are no places in a queue like this.
    #[allow(clippy::option_option)]
    fn reserve(&mut self, place: &mut Place) -> Option<Option<Result<(), PutError<()>>>> {
        if self.capacity == Some(0) {
            return Some(None);
        }
        if self.shut_down {
            return Some(Some(Err(PutError::ShutDown(()))));
        }
        if self.has_room() {
            self.reserved += 1;
            return Some(Some(Ok(())));
        }
        place.before = self.putters.next_ticket();
        None
    }
}

const NO_PLACES: &str =
    "a rendezvous queue has no places to reserve: a getter that waits may leave";

impl<T, C: Container<T>> Core<T, C> {
    #[inline(always)]
    #[track_caller]
    fn reserve(&self, operation: &'static str, limit: Limit) -> Result<(), PutError<()>> {
        let place = Place {
            before: 0,
            granted: false,
        };
        let reserved = self.monitor.wait(
            &Site::here(operation),
            &limit,
            place,
            |state, _, place| state.reserve(place),
            |end, place| {
                Some(match (end, place.granted) {
                    (_, true) => Ok(()),
                    (End::Notified, false) => Err(PutError::ShutDown(())),
                    (_, false) => Err(PutError::Full(())),
                })
            },
        );
        reserved.expect(NO_PLACES)
    }

    #[track_caller]
    fn try_reserve(&self) -> Result<(), PutError<()>> {
        let mut place = Place {
            before: 0,
            granted: false,
        };
        let reserved = self.with(|state| state.reserve(&mut place));
        reserved
            .unwrap_or(Some(Err(PutError::Full(()))))
            .expect(NO_PLACES)
    }

    /// A [`reserve`](Core::reserve) as an arm. A place that was given and is not wanted goes back.
    #[track_caller]
    fn reserve_arm(&self) -> impl Choice<Output = Result<(), PutError<()>>> {
        assert!(self.capacity() != Some(0), "{NO_PLACES}");
        let place = Place {
            before: 0,
            granted: false,
        };
        Operation::new(
            &self.monitor,
            place,
            |state, _| state.shut_down || state.has_room(),
            |state, _, place| state.reserve(place).map(|done| done.expect(NO_PLACES)),
            |place| match place.granted {
                true => Ok(()),
                false => Err(PutError::ShutDown(())),
            },
            |place| {
                if place.granted {
                    self.give_back();
                }
            },
        )
    }

    /// Puts an item into a place that is `held`. What nobody will get comes back.
    fn fill(&self, held: &mut bool, item: T) -> Option<T> {
        let ended = {
            let mut guard = self.monitor.lock();
            let (state, wakes) = guard.parts();
            if state.abandoned {
                return Some(item); // the place goes with the slot
            }
            if let Some(getter) = state.getters.claim(wakes) {
                *getter = Some(item);
            } else {
                // If this panics the place is still held.
                self.store(&mut state.items, item);
            }
            *held = false;
            state.unfinished += 1;
            state.reserved -= 1;
            // If the item was handed over.
            self.refill(state, wakes);
            state.has_ended()
        };
        if ended {
            self.tell_the_end();
        }
        None
    }

    fn give_back(&self) {
        let ended = {
            let mut guard = self.monitor.lock();
            let (state, wakes) = guard.parts();
            state.reserved -= 1;
            self.refill(state, wakes);
            state.has_ended()
        };
        if ended {
            self.tell_the_end();
        }
    }
}

mod sealed {
    /// What a place goes back to.
    pub trait Places {
        #[doc(hidden)]
        fn give_back(&self);
    }
}
use sealed::Places;

/// A place in a queue, which [`reserve`](Queue::reserve) has waited for: to put an item there
/// takes no waiting and cannot fail. Dropped unused, it gives the place back.
///
/// A slot outlives the shutdown of its queue: the item that is put then can still be got, and
/// until the last slot is gone a getter waits for it instead of hearing of the shutdown. (Only
/// what is put into a channel whose last `Receiver` is gone is dropped at once, since nobody
/// could get it.) So one who holds a slot and waits for the end of its queue waits for ever,
/// and so do getters if a slot is leaked.
///
/// # Examples
///
/// ```
#[doc = concat!("use ", here!(), "::{PutError, Queue};")]
///
/// let q = Queue::bounded(1);
/// let slot = q.reserve().unwrap();
/// assert!(q.is_full() && q.is_empty());
/// assert_eq!(q.put_nowait("b"), Err(PutError::Full("b")));
/// slot.put("a");
/// assert_eq!(q.get(), Ok("a"));
/// ```
#[must_use = "a place returns to its queue as soon as it is dropped"]
pub struct Slot<'a, Q: Places> {
    queue: &'a Q,
    held: bool,
}

impl<Q: Places> Drop for Slot<'_, Q> {
    fn drop(&mut self) {
        if self.held {
            self.queue.give_back();
        }
    }
}

impl<Q: Places + fmt::Debug> fmt::Debug for Slot<'_, Q> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Slot").field(self.queue).finish()
    }
}

/// Writes the same for each of the queues.
macro_rules! places {
    ($Name:ident, $name:literal, [$($bound:tt)*]) => {
        impl<T: $($bound)*> Places for $Name<T> {
            fn give_back(&self) {
                self.core.give_back();
            }
        }

        impl<T: $($bound)*> Slot<'_, $Name<T>> {
            /// Puts an item into the place, or hands it to a getter that waits.
            ///
            /// # Panics
            ///
            /// As [`put`](Queue::put) of a `PriorityQueue`, with the panic of `cmp`.
            ///
            /// # Examples
            ///
            /// ```
            #[doc = concat!("let q = ", here!(), "::", $name, "::bounded(1);")]
            /// let slot = q.reserve().unwrap();
            /// q.shutdown();
            /// slot.put(7);
            /// assert_eq!(q.iter().collect::<Vec<_>>(), [7]);
            /// ```
            pub fn put(mut self, item: T) {
                let unused = self.queue.core.fill(&mut self.held, item);
                // The place first: the item's destructor may need it.
                drop(self);
                drop(unused);
            }
        }

        impl<T: $($bound)*> $Name<T> {
            #[inline(always)]
            pub(crate) fn slot(&self) -> Slot<'_, Self> {
                Slot { queue: self, held: true }
            }

            #[track_caller]
            pub(crate) fn reserve_arm(&self) -> impl Choice<Output = Result<(), PutError<()>>> {
                self.core.reserve_arm()
            }

            /// Reserves a place, waiting for one if need be, for an item that is put later
            /// through the [`Slot`]. Until then the place is taken, though nothing is stored:
            /// [`len`](Self::len) and [`unfinished`](Self::unfinished) rise with the item.
            ///
            /// # Fairness
            ///
            /// Places go to those who reserve and to those who put in order of arrival. To
            /// hand an item to a getter that waits takes no place, so while all are reserved
            /// and nothing is stored a put may meet a get at once.
            ///
            /// # Timeouts and kills
            ///
            /// Either ends the wait by unwinding and takes nothing. A place that was given is
            /// kept: the kill acts at the next wait, and the slot returns as it unwinds.
            ///
            /// # Errors
            ///
            /// [`PutError::ShutDown`] if the queue is shut down, also while it waits;
            /// [`PutError::Full`] only while panicking.
            ///
            /// # Panics
            ///
            /// On a [rendezvous](Queue::rendezvous): there is no room to reserve, and a getter
            /// that waits may leave before the item comes.
            ///
            /// # Examples
            ///
            /// ```
            #[doc = concat!("let q = ", here!(), "::", $name, "::bounded(1);")]
            /// greenlet::scope(|s| {
            ///     q.put(1).unwrap();
            ///     s.spawn(|| {
            ///         let slot = q.reserve().unwrap(); // waits for the get
            ///         slot.put(2); // what takes work to make, once there is room for it
            ///     });
            ///     assert_eq!((q.get(), q.get()), (Ok(1), Ok(2)));
            /// });
            /// ```
            #[inline(always)]
            #[track_caller]
            pub fn reserve(&self) -> Result<Slot<'_, Self>, PutError<()>> {
                self.core.reserve(concat!($name, "::reserve"), Limit::Never)?;
                Ok(self.slot())
            }

            /// As [`reserve`](Self::reserve), for at most `limit`.
            ///
            /// # Errors
            ///
            /// [`PutError::Full`] if the time was over first, or [`PutError::ShutDown`].
            ///
            /// # Panics
            ///
            /// On a [rendezvous](Queue::rendezvous).
            ///
            /// # Examples
            ///
            /// ```
            #[doc = concat!("let q = ", here!(), "::", $name, "::bounded(1);")]
            /// q.put(1).unwrap();
            /// assert!(q.reserve_timeout(std::time::Duration::from_millis(1)).is_err());
            /// ```
            #[inline(always)]
            #[track_caller]
            pub fn reserve_timeout(&self, limit: Duration) -> Result<Slot<'_, Self>, PutError<()>> {
                let limit = Limit::After(limit);
                self.core.reserve(concat!($name, "::reserve_timeout"), limit)?;
                Ok(self.slot())
            }

            /// As [`reserve`](Self::reserve), without ever waiting or switching.
            ///
            /// # Errors
            ///
            /// [`PutError::Full`] or [`PutError::ShutDown`].
            ///
            /// # Panics
            ///
            /// On a [rendezvous](Queue::rendezvous).
            ///
            /// # Examples
            ///
            /// ```
            #[doc = concat!("use ", here!(), "::PutError;")]
            ///
            #[doc = concat!("let q = ", here!(), "::", $name, "::<u8>::bounded(1);")]
            /// let slot = q.try_reserve().unwrap();
            /// assert_eq!(q.try_reserve().unwrap_err(), PutError::Full(()));
            /// drop(slot);
            /// assert!(q.try_reserve().is_ok());
            /// ```
            #[track_caller]
            pub fn try_reserve(&self) -> Result<Slot<'_, Self>, PutError<()>> {
                self.core.try_reserve()?;
                Ok(self.slot())
            }
        }
    };
}

places!(Queue, "Queue", []);
places!(LifoQueue, "LifoQueue", []);
places!(PriorityQueue, "PriorityQueue", [Ord]);

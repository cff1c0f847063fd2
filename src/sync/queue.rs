//! Queues: first in first out, last in first out, smallest first.

mod arms;
mod core;
mod futures;
mod many;
mod slot;

pub use slot::Slot;

use self::arms::{Getting, Putting};
use self::core::{Core, Ranked};
use super::Flavour;
use super::errors::{GetError, PutError};
use super::statistics::QueueStatistics;
use crate::rt::clock::Limit;
use crate::rt::sync::const_fn;
use crate::rt::task::Site;
use crate::rt::wait::{Choice, Intent};
use crate::select::Arm;
use std::collections::VecDeque;
use std::fmt;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::time::Duration;

/// The items of a queue until it is [shut down](Queue::shutdown): each `next` waits.
///
/// # Examples
///
/// ```
#[doc = concat!("let q = ", here!(), "::Queue::unbounded();")]
/// q.put_nowait(1).unwrap();
/// q.shutdown();
/// assert_eq!(q.iter().collect::<Vec<_>>(), [1]);
/// ```
#[must_use = "iterators do nothing unless consumed"]
pub struct Iter<'a, Q> {
    queue: &'a Q,
    /// Where it was made: `next` is often called by std.
    site: Site,
}

/// The items that are in a queue now: `next` never waits.
///
/// # Examples
///
/// ```
#[doc = concat!("let q = ", here!(), "::Queue::unbounded();")]
/// q.put_nowait(1).unwrap();
/// assert_eq!(q.try_iter().collect::<Vec<_>>(), [1]);
/// ```
#[must_use = "iterators do nothing unless consumed"]
pub struct TryIter<'a, Q>(&'a Q);

impl<Q: fmt::Debug> fmt::Debug for Iter<'_, Q> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Iter").field(self.queue).finish()
    }
}

impl<Q: fmt::Debug> fmt::Debug for TryIter<'_, Q> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TryIter").field(self.0).finish()
    }
}

/// Writes what the three queues have in common.
macro_rules! queue {
    ($Name:ident, $name:literal, [$($bound:tt)*], $empty:expr) => {
        impl<T: $($bound)*> UnwindSafe for $Name<T> {}
        impl<T: $($bound)*> RefUnwindSafe for $Name<T> {}

        impl<T: $($bound)*> $Name<T> {
            /// For [`select!`](crate::select!).
            #[doc(hidden)]
            #[inline(always)]
            pub fn select_get(&self) -> Arm<impl Intent<Output = Result<T, GetError>>> {
                Arm(Getting(&self.core))
            }

            /// For [`select!`](crate::select!).
            #[doc(hidden)]
            #[inline(always)]
            #[track_caller]
            pub fn select_put<'a>(
                &'a self,
                item: &'a mut Option<T>,
            ) -> Arm<impl Intent<Output = Result<(), PutError<T>>> + 'a> {
                Arm(Putting::new(&self.core, item))
            }

            pub(crate) fn get_arm(&self) -> impl Choice<Output = Result<T, GetError>> {
                self.core.get_arm()
            }

            pub(crate) fn put_arm(&self, item: T) -> impl Choice<Output = Result<(), PutError<T>>> {
                self.core.put_arm(item, drop)
            }

            pub(crate) fn join_arm(&self) -> impl Choice<Output = ()> {
                self.core.join_arm()
            }

            const_fn! {
                /// A queue that always has room: `put` never waits.
                ///
                /// # Examples
                ///
                /// ```
                #[doc = concat!("let q = ", here!(), "::", $name, "::unbounded();")]
                /// q.put(1).unwrap();
                /// assert_eq!(q.capacity(), None);
                /// ```
                pub const fn unbounded() -> Self {
                    $Name { core: Core::new($empty, None) }
                }
            }

            const_fn! {
                /// A queue with room for `capacity` items.
                ///
                /// # Panics
                ///
                /// If `capacity` is 0: a queue that hands items over without
                /// storing any is [`Queue::rendezvous`].
                ///
                /// # Examples
                ///
                /// ```
                #[doc = concat!("let q = ", here!(), "::", $name, "::bounded(1);")]
                /// q.put(1).unwrap();
                /// assert!(q.is_full());
                /// ```
                #[track_caller]
                pub const fn bounded(capacity: usize) -> Self {
                    assert!(
                        capacity > 0,
                        "a bounded queue needs a capacity of at least 1; Queue::rendezvous() hands over without storing"
                    );
                    $Name { core: Core::new($empty, Some(capacity)) }
                }
            }

            /// Puts an item in, waiting for room if need be. If a getter waits,
            /// the item goes to it.
            ///
            /// # Fairness
            ///
            /// Items of waiting putters enter in order of arrival.
            ///
            /// # Timeouts and kills
            ///
            /// Either ends the wait by unwinding; the item is dropped.
            ///
            /// # Errors
            ///
            /// [`PutError::ShutDown`] if the queue is shut down, also while it
            /// waits; [`PutError::Full`] only while panicking. The item comes back.
            ///
            /// # Examples
            ///
            /// ```
            #[doc = concat!("let q = ", here!(), "::", $name, "::bounded(1);")]
            /// greenlet::scope(|s| {
            ///     s.spawn(|| for i in 0..3 { q.put(i).unwrap() });
            ///     assert_eq!([q.get(), q.get(), q.get()], [Ok(0), Ok(1), Ok(2)]);
            /// });
            /// ```
            #[inline(always)]
            #[track_caller]
            pub fn put(&self, item: T) -> Result<(), PutError<T>> {
                self.core.put(concat!($name, "::put"), item, Limit::Never)
            }

            /// As [`put`](Self::put), for at most `limit`.
            ///
            /// # Errors
            ///
            /// [`PutError::Full`] if the time was over first, or
            /// [`PutError::ShutDown`]. The item comes back.
            ///
            /// # Examples
            ///
            /// ```
            #[doc = concat!("let q = ", here!(), "::", $name, "::bounded(1);")]
            /// q.put(1).unwrap();
            /// let full = q.put_timeout(2, std::time::Duration::from_millis(1));
            /// assert_eq!(full.unwrap_err().into_inner(), 2);
            /// ```
            #[inline(always)]
            #[track_caller]
            pub fn put_timeout(&self, item: T, limit: Duration) -> Result<(), PutError<T>> {
                self.core
                    .put(concat!($name, "::put_timeout"), item, Limit::After(limit))
            }

            /// As [`put`](Self::put), without ever waiting or switching.
            ///
            /// # Errors
            ///
            /// [`PutError::Full`] or [`PutError::ShutDown`]. The item comes back.
            ///
            /// # Examples
            ///
            /// ```
            #[doc = concat!("let q = ", here!(), "::", $name, "::bounded(1);")]
            /// assert!(q.put_nowait(1).is_ok());
            /// assert!(q.put_nowait(2).is_err());
            /// ```
            pub fn put_nowait(&self, item: T) -> Result<(), PutError<T>> {
                self.core.put_nowait(item)
            }

            /// Takes the next item out, waiting for one if need be.
            ///
            /// # Fairness
            ///
            /// Waiting getters are served in order of arrival: an item put while
            /// they wait is the first one's, whoever else comes.
            ///
            /// # Timeouts and kills
            ///
            /// Either ends the wait by unwinding and takes nothing. An item that
            /// was handed over is kept: the kill acts at the next wait.
            ///
            /// # Errors
            ///
            /// [`GetError::ShutDown`] if the queue is shut down and empty, and no place is
            /// [reserved](Self::reserve); [`GetError::Empty`] only while panicking.
            ///
            /// # Examples
            ///
            /// ```
            #[doc = concat!("let q = ", here!(), "::", $name, "::unbounded();")]
            /// q.put(1).unwrap();
            /// assert_eq!(q.get(), Ok(1));
            /// ```
            #[inline(always)]
            #[track_caller]
            pub fn get(&self) -> Result<T, GetError> {
                self.core
                    .get(Site::here(concat!($name, "::get")), Limit::Never)
            }

            /// As [`get`](Self::get), for at most `limit`. Zero makes one trip
            /// through the loop.
            ///
            /// # Errors
            ///
            /// [`GetError::Empty`] if the time was over first, or
            /// [`GetError::ShutDown`].
            ///
            /// # Examples
            ///
            /// ```
            #[doc = concat!("use ", here!(), "::GetError;")]
            ///
            #[doc = concat!("let q = ", here!(), "::", $name, "::<u8>::unbounded();")]
            /// assert_eq!(q.get_timeout(std::time::Duration::from_millis(1)), Err(GetError::Empty));
            /// ```
            #[inline(always)]
            #[track_caller]
            pub fn get_timeout(&self, limit: Duration) -> Result<T, GetError> {
                self.core
                    .get(Site::here(concat!($name, "::get_timeout")), Limit::After(limit))
            }

            /// As [`get`](Self::get), without ever waiting or switching.
            ///
            /// # Errors
            ///
            /// [`GetError::Empty`] or [`GetError::ShutDown`].
            ///
            /// # Examples
            ///
            /// ```
            #[doc = concat!("let q = ", here!(), "::", $name, "::<u8>::unbounded();")]
            /// assert!(q.get_nowait().is_err());
            /// ```
            pub fn get_nowait(&self) -> Result<T, GetError> {
                self.core.get_nowait()
            }

            /// A copy of the item that `get` would take, without waiting.
            ///
            /// # Errors
            ///
            /// [`GetError::Empty`] or [`GetError::ShutDown`]. A rendezvous queue is
            /// always empty: what a putter waits with is the putter's.
            ///
            /// # Panics
            ///
            /// With the panic of `clone`, which runs under the queue's lock and
            /// must not use the queue or wait; if it drops a future that waits
            /// for the queue, the process ends.
            ///
            /// # Examples
            ///
            /// ```
            #[doc = concat!("let q = ", here!(), "::", $name, "::unbounded();")]
            /// q.put(1).unwrap();
            /// assert_eq!((q.peek_nowait(), q.len()), (Ok(1), 1));
            /// ```
            pub fn peek_nowait(&self) -> Result<T, GetError>
            where
                T: Clone,
            {
                self.core.peek()
            }

            /// How many items are stored. Items of waiting putters are not.
            ///
            /// # Examples
            ///
            /// ```
            #[doc = concat!("let q = ", here!(), "::", $name, "::unbounded();")]
            /// q.put(1).unwrap();
            /// assert_eq!(q.len(), 1);
            /// ```
            pub fn len(&self) -> usize {
                self.core.len()
            }

            /// True if no item is stored.
            ///
            /// # Examples
            ///
            /// ```
            #[doc = concat!("assert!(", here!(), "::", $name, "::<u8>::unbounded().is_empty());")]
            /// ```
            pub fn is_empty(&self) -> bool {
                self.len() == 0
            }

            /// True if there is no room: all places are filled or [reserved](Self::reserve).
            ///
            /// # Examples
            ///
            /// ```
            #[doc = concat!("assert!(!", here!(), "::", $name, "::<u8>::unbounded().is_full());")]
            /// ```
            pub fn is_full(&self) -> bool {
                self.core.is_full()
            }

            /// How many items there is room for; `None` if always.
            ///
            /// # Examples
            ///
            /// ```
            #[doc = concat!("assert_eq!(", here!(), "::", $name, "::<u8>::bounded(2).capacity(), Some(2));")]
            /// ```
            pub fn capacity(&self) -> Option<usize> {
                self.core.capacity()
            }

            /// How many items were put and not yet [done](Self::task_done). The
            /// number rises when an item is stored or handed over.
            ///
            /// # Examples
            ///
            /// ```
            #[doc = concat!("let q = ", here!(), "::", $name, "::unbounded();")]
            /// q.put(1).unwrap();
            /// q.get().unwrap();
            /// assert_eq!(q.unfinished(), 1);
            /// ```
            pub fn unfinished(&self) -> usize {
                self.core.unfinished()
            }

            /// How many items there are and how many wait, now. A rendezvous has a capacity of 0.
            ///
            /// # Examples
            ///
            /// ```
            #[doc = concat!("let q = ", here!(), "::", $name, "::unbounded();")]
            /// q.put(1).unwrap();
            /// assert_eq!((q.statistics().len, q.statistics().getters), (1, 0));
            /// ```
            pub fn statistics(&self) -> QueueStatistics {
                self.core.statistics()
            }

            /// Says that one item that was got is dealt with. The last one wakes
            /// those in [`join`](Self::join).
            ///
            /// # Panics
            ///
            /// If called more often than items were put.
            ///
            /// # Examples
            ///
            /// ```
            #[doc = concat!("let q = ", here!(), "::", $name, "::unbounded();")]
            /// q.put(1).unwrap();
            /// q.get().unwrap();
            /// q.task_done();
            /// q.join(); // nothing is left
            /// ```
            #[track_caller]
            pub fn task_done(&self) {
                self.core.task_done();
            }

            /// Waits until every item that was put is [done](Self::task_done).
            ///
            /// # Timeouts and kills
            ///
            /// Either ends the wait by unwinding. While panicking it aborts if it
            /// would have to wait.
            ///
            /// # Examples
            ///
            /// ```
            #[doc = concat!(here!(), "::", $name, "::<u8>::unbounded().join();")]
            /// ```
            #[inline(always)]
            #[track_caller]
            pub fn join(&self) {
                self.core.join(concat!($name, "::join"), Limit::Never);
            }

            /// As [`join`](Self::join), for at most `limit`; true if all is done.
            ///
            /// # Examples
            ///
            /// ```
            #[doc = concat!("let q = ", here!(), "::", $name, "::unbounded();")]
            /// q.put(1).unwrap();
            /// assert!(!q.join_timeout(std::time::Duration::from_millis(1)));
            /// ```
            #[inline(always)]
            #[track_caller]
            #[must_use = "whether all was done in time"]
            pub fn join_timeout(&self, limit: Duration) -> bool {
                self.core
                    .join(concat!($name, "::join_timeout"), Limit::After(limit))
            }

            /// Refuses items from now on. Those that are stored can still be got;
            /// then getters see [`GetError::ShutDown`]. Waiting putters get their
            /// items back. Who has [reserved](Self::reserve) a place may still put.
            /// A second call does nothing.
            ///
            /// # Examples
            ///
            /// ```
            #[doc = concat!("use ", here!(), "::{GetError, PutError};")]
            ///
            #[doc = concat!("let q = ", here!(), "::", $name, "::unbounded();")]
            /// q.put(1).unwrap();
            /// q.shutdown();
            /// assert_eq!(q.put(2), Err(PutError::ShutDown(2)));
            /// assert_eq!((q.get(), q.get()), (Ok(1), Err(GetError::ShutDown)));
            /// ```
            pub fn shutdown(&self) {
                self.core.shutdown();
            }

            /// As [`shutdown`](Self::shutdown), and takes out what is stored. It
            /// counts as done.
            ///
            /// # Examples
            ///
            /// ```
            #[doc = concat!("let q = ", here!(), "::", $name, "::unbounded();")]
            /// q.put(1).unwrap();
            /// assert_eq!(q.shutdown_now(), [1]);
            /// q.join();
            /// ```
            #[must_use = "the items that nobody has got"]
            pub fn shutdown_now(&self) -> Vec<T> {
                self.core.shutdown_now()
            }

            /// True once it is shut down.
            ///
            /// # Examples
            ///
            /// ```
            #[doc = concat!("let q = ", here!(), "::", $name, "::<u8>::unbounded();")]
            /// q.shutdown();
            /// assert!(q.is_shut_down());
            /// ```
            pub fn is_shut_down(&self) -> bool {
                self.core.is_shut_down()
            }

            /// The items until the shutdown; each `next` waits for one.
            ///
            /// # Examples
            ///
            /// See [`Iter`].
            #[track_caller]
            pub fn iter(&self) -> Iter<'_, Self> {
                let site = Site::here(concat!($name, "::iter"));
                Iter { queue: self, site }
            }

            /// The items that are there now; `next` never waits.
            ///
            /// # Examples
            ///
            /// See [`TryIter`].
            pub fn try_iter(&self) -> TryIter<'_, Self> {
                TryIter(self)
            }
        }

        impl<T: $($bound)*> Iterator for Iter<'_, $Name<T>> {
            type Item = T;

            #[track_caller]
            fn next(&mut self) -> Option<T> {
                self.queue.core.get(self.site, Limit::Never).ok()
            }
        }

        impl<T: $($bound)*> Iterator for TryIter<'_, $Name<T>> {
            type Item = T;

            fn next(&mut self) -> Option<T> {
                self.0.get_nowait().ok()
            }
        }

        impl<'a, T: $($bound)*> IntoIterator for &'a $Name<T> {
            type Item = T;
            type IntoIter = Iter<'a, $Name<T>>;

            #[track_caller]
            fn into_iter(self) -> Self::IntoIter {
                self.iter()
            }
        }

        impl<T: $($bound)*> fmt::Debug for $Name<T> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.core.debug($name, f)
            }
        }
    };
}

/// A queue: first in, first out.
///
/// # How it works
///
/// A container and three FIFOs of waiters, under one lock. An item put while a
/// getter waits goes to that getter at once; room that a get makes is filled from
/// the first waiting putter. So neither a newcomer nor a loop can overtake.
///
/// # Examples
///
/// ```
#[doc = concat!("use ", here!(), "::Queue;")]
///
/// let jobs = Queue::bounded(2);
/// let total = greenlet::scope(|s| {
///     s.spawn(|| {
///         (1..=10).for_each(|i| jobs.put(i).unwrap());
///         jobs.shutdown();
///     });
///     jobs.iter().sum::<i32>()
/// });
/// assert_eq!(total, 55);
/// ```
pub struct Queue<T> {
    core: Core<T, VecDeque<T>>,
}

queue!(Queue, "Queue", [], VecDeque::new());

impl<T> Queue<T> {
    const_fn! {
        /// A queue without room: each put meets a get. Capacity 0, always both
        /// empty and full.
        ///
        /// Whoever comes second goes on at once, without a switch; with
        /// `put_nowait` and `get_nowait` too, if a partner waits.
        ///
        /// # Examples
        ///
        /// ```
        #[doc = concat!("let channel = ", here!(), "::Queue::rendezvous();")]
        /// greenlet::scope(|s| {
        ///     s.spawn(|| channel.put("hello").unwrap());
        ///     assert_eq!(channel.get(), Ok("hello"));
        /// });
        /// ```
        pub const fn rendezvous() -> Self {
            Queue { core: Core::new(VecDeque::new(), Some(0)) }
        }
    }

    /// As [`get`](Queue::get), begun elsewhere.
    #[inline(always)]
    #[track_caller]
    pub(super) fn get_at(&self, site: Site) -> Result<T, GetError> {
        self.core.get(site, Limit::Never)
    }

    /// Shuts it down and takes out what is stored; nobody will get anything any more.
    pub(super) fn abandon(&self) -> Vec<T> {
        self.core.abandon()
    }
}

/// A queue whose newest item comes out first.
///
/// # Examples
///
/// ```
#[doc = concat!("let stack = ", here!(), "::LifoQueue::unbounded();")]
/// for i in 1..=3 { stack.put(i).unwrap(); }
/// assert_eq!(stack.try_iter().collect::<Vec<_>>(), [3, 2, 1]);
/// ```
pub struct LifoQueue<T> {
    core: Core<T, Vec<T>>,
}

queue!(LifoQueue, "LifoQueue", [], Vec::new());

/// A queue whose smallest item comes out first; equal ones in order of arrival.
///
/// `T`'s `cmp` runs under the queue's lock: it must neither wait nor use the
/// queue (both panic; to drop a future that waits for the queue ends the process).
/// If it panics, that is the panic of the `put` whose item it was; the panic hook
/// and that item's destructor run under the lock too, and must not use the queue
/// either.
///
/// # Examples
///
/// ```
#[doc = concat!("let urgent = ", here!(), "::PriorityQueue::unbounded();")]
/// for i in [5, 1, 3] { urgent.put(i).unwrap(); }
/// assert_eq!(urgent.try_iter().collect::<Vec<_>>(), [1, 3, 5]);
/// ```
pub struct PriorityQueue<T: Ord> {
    core: Core<T, Ranked<T>>,
}

queue!(PriorityQueue, "PriorityQueue", [Ord], Ranked::new());

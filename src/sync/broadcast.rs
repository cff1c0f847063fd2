//! Each item for every reader.
//!
//! Items lie in a ring, each in an [`Arc`]: under the lock only its count is moved, and a reader
//! clones the item after that, for no code of the user's runs under the lock. So several
//! readers may clone one item at once, and to share a broadcast between threads an item must be
//! `Sync` too. The last reader of an item has it without a clone; what is overwritten is dropped
//! by the putter, after the unlock.

use super::handle::Handle;
use super::statistics::BroadcastStatistics;
use crate::rt::clock::Limit;
use crate::rt::sync::const_fn;
use crate::rt::task::Site;
use crate::rt::wait::{Choice, End, Intent, Monitor, Operation, State, Then, WaitList, Waiters};
use crate::select::Arm;
use std::collections::VecDeque;
use std::fmt;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::Arc;
use std::time::Duration;

/// Why a reader has got no item.
///
/// # Examples
///
/// ```
/// use greenlet::sync::{Broadcast, BroadcastError};
///
/// let news = Broadcast::new(2);
/// let mut reader = news.subscribe();
/// assert_eq!(reader.get_nowait(), Err(BroadcastError::Empty));
/// for i in 1..=3 {
///     news.put(i).unwrap();
/// }
/// assert_eq!(reader.get(), Err(BroadcastError::Lagged(1)));
/// assert_eq!([reader.get(), reader.get()], [Ok(2), Ok(3)]);
/// news.shutdown();
/// assert_eq!(reader.get(), Err(BroadcastError::ShutDown));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BroadcastError {
    /// No item, in time.
    Empty,
    /// So many items were overwritten before this reader got them. It goes on with the oldest one
    /// that is there.
    Lagged(u64),
    /// It was shut down, and this reader has got all.
    ShutDown,
}

impl fmt::Display for BroadcastError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BroadcastError::Empty => f.write_str("broadcast has no item"),
            BroadcastError::Lagged(n) => write!(f, "broadcast has overwritten {n} items"),
            BroadcastError::ShutDown => f.write_str("broadcast is shut down"),
        }
    }
}

impl std::error::Error for BroadcastError {}

/// A queue of which every reader gets each item that is put while it is subscribed. Tokio's
/// `broadcast`.
///
/// A put never waits. When there is no room the oldest item is overwritten; a reader that has
/// not got it is told how many it has missed, [once](BroadcastError::Lagged). An item is kept
/// until all its readers have got it, so without readers nothing is. Where only the latest value
/// counts, use a [`Watch`](super::Watch); where nobody may miss an item, a
/// [`Queue`](super::Queue) for each.
///
/// # Fairness
///
/// All readers see the items in the same order, that of the puts. A put wakes all who wait, in
/// order of arrival.
///
/// # Timeouts and kills
///
/// Either ends a wait by unwinding, and the reader has missed nothing by it.
///
/// # How it works
///
/// A ring of items, each with the number of readers who have not got it. Positions are counted
/// from the first put and never wrap. Invariant: those numbers are not zero, and do not get smaller
/// from the oldest item to the newest.
///
/// # Examples
///
/// ```
/// use greenlet::sync::Broadcast;
///
/// let news = Broadcast::new(8);
/// greenlet::scope(|s| {
///     let readers = [(); 3].map(|()| {
///         let mut reader = news.subscribe();
///         s.spawn(move || reader.by_ref().map(Result::unwrap).sum::<u32>())
///     });
///     for i in 1..=4 {
///         assert_eq!(news.put(i), Ok(3));
///     }
///     news.shutdown();
///     for reader in readers {
///         assert_eq!(reader.join().unwrap(), 10);
///     }
/// });
/// ```
pub struct Broadcast<T> {
    monitor: Monitor<Ring<T>>,
    capacity: usize,
}

struct Ring<T> {
    items: VecDeque<Entry<T>>,
    /// The position of the next item.
    next: u64,
    readers: usize,
    shut_down: bool,
    /// They have all got what there is.
    waiters: WaitList<()>,
}

struct Entry<T> {
    item: Arc<T>,
    /// How many readers have not got it.
    missing: usize,
}

impl<T> Ring<T> {
    /// The position of the oldest item, or of the next one.
    fn first(&self) -> u64 {
        self.next - self.items.len() as u64
    }

    /// Whether a reader at that position need not wait.
    fn has_news(&self, position: u64) -> bool {
        position < self.next || self.shut_down
    }

    /// What a reader at that position gets, and moves it.
    fn take(&mut self, position: &mut u64) -> Result<Arc<T>, BroadcastError> {
        let first = self.first();
        if *position < first {
            let missed = first - *position;
            *position = first;
            return Err(BroadcastError::Lagged(missed));
        }
        // Fits: it is not beyond the length of the ring.
        let Some(entry) = self.items.get_mut((*position - first) as usize) else {
            return Err(match self.shut_down {
                true => BroadcastError::ShutDown,
                false => BroadcastError::Empty,
            });
        };
        *position += 1;
        entry.missing -= 1;
        if entry.missing > 0 {
            return Ok(entry.item.clone());
        }
        // All have got those before it, so it is the oldest.
        Ok(self.items.pop_front().expect("it is there").item)
    }

    /// A reader at that position goes. Returns what nobody is going to get.
    fn leave(&mut self, position: u64) -> Vec<Entry<T>> {
        let from = position.saturating_sub(self.first()) as usize;
        self.readers -= 1;
        for entry in self.items.range_mut(from..) {
            entry.missing -= 1;
        }
        let over = self.items.iter().take_while(|entry| entry.missing == 0);
        let over = over.count();
        self.items.drain(..over).collect()
    }
}

impl<T> State for Ring<T> {
    fn check(&self) {
        let [oldest, newest] = [self.items.front(), self.items.back()];
        let [oldest, newest] = [oldest, newest].map(|entry| entry.map_or(1, |e| e.missing));
        assert!(0 < oldest && oldest <= newest);
        assert!(self.items.is_empty() || newest <= self.readers);
    }
}

impl<T> Waiters<()> for Ring<T> {
    fn waiters(&mut self) -> &mut WaitList<()> {
        &mut self.waiters
    }
}

impl<T> UnwindSafe for Broadcast<T> {}
impl<T> RefUnwindSafe for Broadcast<T> {}

impl<T> Broadcast<T> {
    const_fn! {
        /// With room for `capacity` items. The room is allocated as it is needed.
        ///
        /// # Panics
        ///
        /// If `capacity` is 0.
        ///
        /// # Examples
        ///
        /// ```
        /// static NEWS: greenlet::sync::Broadcast<u8> = greenlet::sync::Broadcast::new(16);
        /// assert_eq!(NEWS.capacity(), 16);
        /// ```
        #[track_caller]
        pub const fn new(capacity: usize) -> Self {
            assert!(capacity > 0, "a broadcast needs a capacity of at least 1");
            let ring = Ring {
                items: VecDeque::new(),
                next: 0,
                readers: 0,
                shut_down: false,
                waiters: WaitList::new(),
            };
            Broadcast { monitor: Monitor::new(0, ring), capacity }
        }
    }

    /// A reader, who gets what is put from now on.
    ///
    /// # Examples
    ///
    /// ```
    /// let news = greenlet::sync::Broadcast::new(2);
    /// news.put(1).unwrap();
    /// let mut reader = news.subscribe();
    /// news.put(2).unwrap();
    /// assert_eq!(reader.get(), Ok(2));
    /// ```
    pub fn subscribe(&self) -> BroadcastReader<'_, T> {
        self.reader(Handle::Borrowed(self))
    }

    /// As [`subscribe`](Self::subscribe), with a reader that shares the broadcast.
    ///
    /// # Examples
    ///
    /// ```
    /// let news = std::sync::Arc::new(greenlet::sync::Broadcast::new(2));
    /// let mut reader = news.subscribe_owned();
    /// let thread = std::thread::spawn(move || reader.get());
    /// news.put(1).unwrap();
    /// assert_eq!(thread.join().unwrap(), Ok(1));
    /// ```
    pub fn subscribe_owned(self: &Arc<Self>) -> BroadcastReader<'static, T> {
        self.reader(Handle::Shared(self.clone()))
    }

    fn reader<'a>(&self, broadcast: Handle<'a, Self>) -> BroadcastReader<'a, T> {
        let mut guard = self.monitor.lock();
        let ring = guard.parts().0;
        ring.readers += 1;
        let position = ring.next;
        drop(guard);
        BroadcastReader {
            broadcast,
            position,
        }
    }

    /// Puts an item, for every reader there is; returns how many there are. Never waits: when
    /// there is no room the oldest item is overwritten. Without readers the item is dropped.
    ///
    /// # Errors
    ///
    /// The item comes back if the broadcast is [shut down](Self::shutdown).
    ///
    /// # Examples
    ///
    /// ```
    /// let news = greenlet::sync::Broadcast::new(2);
    /// assert_eq!(news.put("nobody reads this"), Ok(0));
    /// let mut reader = news.subscribe();
    /// assert_eq!(news.put("a"), Ok(1));
    /// news.shutdown();
    /// assert_eq!(news.put("b"), Err("b"));
    /// assert_eq!(reader.get(), Ok("a"));
    /// ```
    pub fn put(&self, item: T) -> Result<usize, T> {
        let mut item = Some(Arc::new(item));
        let (mut readers, mut overwritten) = (None, None);
        self.monitor.broadcast::<()>(|ring| {
            if ring.shut_down {
                return false;
            }
            readers = Some(ring.readers);
            if ring.readers == 0 {
                return false;
            }
            if ring.items.len() == self.capacity {
                overwritten = ring.items.pop_front();
            }
            ring.next += 1;
            ring.items.extend(item.take().map(|item| Entry {
                item,
                missing: ring.readers,
            }));
            true
        });
        drop(overwritten);
        readers.ok_or_else(|| {
            let item = item.and_then(Arc::into_inner);
            item.expect("one that is refused has stayed here")
        })
    }

    /// Ends it: puts are refused, readers get what is left and then
    /// [`BroadcastError::ShutDown`]. Twice is as good as once.
    ///
    /// # Examples
    ///
    /// ```
    /// let news = greenlet::sync::Broadcast::new(2);
    /// let reader = news.subscribe();
    /// news.put(1).unwrap();
    /// news.shutdown();
    /// assert_eq!(reader.collect::<Vec<_>>(), [Ok(1)]);
    /// ```
    pub fn shutdown(&self) {
        self.monitor.broadcast::<()>(|ring| {
            ring.shut_down = true;
            true
        });
    }

    /// What a reader at that position gets, whose position moves.
    fn get_at(&self, position: &mut u64) -> Result<T, BroadcastError>
    where
        T: Clone,
    {
        let item = self.read(|ring| ring.take(position));
        // No lock is held while it is cloned.
        item.map(Arc::unwrap_or_clone)
    }

    fn read<R>(&self, f: impl FnOnce(&mut Ring<T>) -> R) -> R {
        f(self.monitor.lock().parts().0)
    }

    /// How many items are kept, for readers who have not got them.
    ///
    /// # Examples
    ///
    /// ```
    /// let news = greenlet::sync::Broadcast::new(2);
    /// let mut readers = [news.subscribe(), news.subscribe()];
    /// news.put(1).unwrap();
    /// readers[0].get().unwrap();
    /// assert_eq!(news.len(), 1);
    /// readers[1].get().unwrap();
    /// assert_eq!(news.len(), 0);
    /// ```
    pub fn len(&self) -> usize {
        self.read(|ring| ring.items.len())
    }

    /// Whether no item is kept.
    ///
    /// # Examples
    ///
    /// ```
    /// assert!(greenlet::sync::Broadcast::<u8>::new(2).is_empty());
    /// ```
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many items can be kept.
    ///
    /// # Examples
    ///
    /// ```
    /// assert_eq!(greenlet::sync::Broadcast::<u8>::new(2).capacity(), 2);
    /// ```
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// How many readers there are.
    ///
    /// # Examples
    ///
    /// ```
    /// let news = greenlet::sync::Broadcast::<u8>::new(2);
    /// let reader = news.subscribe();
    /// assert_eq!(news.readers(), 1);
    /// drop(reader);
    /// assert_eq!(news.readers(), 0);
    /// ```
    pub fn readers(&self) -> usize {
        self.read(|ring| ring.readers)
    }

    /// Whether it is shut down.
    ///
    /// # Examples
    ///
    /// ```
    /// assert!(!greenlet::sync::Broadcast::<u8>::new(2).is_shut_down());
    /// ```
    pub fn is_shut_down(&self) -> bool {
        self.read(|ring| ring.shut_down)
    }

    /// Its numbers, now.
    ///
    /// # Examples
    ///
    /// ```
    /// let news = greenlet::sync::Broadcast::<u8>::new(2);
    /// assert_eq!(news.statistics().waiting, 0);
    /// ```
    pub fn statistics(&self) -> BroadcastStatistics {
        self.read(|ring| BroadcastStatistics {
            len: ring.items.len(),
            capacity: self.capacity,
            readers: ring.readers,
            shut_down: ring.shut_down,
            waiting: ring.waiters.len(),
        })
    }
}

/// One who reads a [`Broadcast`].
///
/// As an iterator it gives each item, or [`BroadcastError::Lagged`] where it has missed some,
/// and ends with the broadcast; each `next` waits. To drop it takes time that grows with the number
/// of items that it has not got.
///
/// # Examples
///
/// ```
/// use greenlet::sync::{Broadcast, BroadcastError};
///
/// let news = Broadcast::new(2);
/// let reader = news.subscribe();
/// for i in 1..=4 {
///     news.put(i).unwrap();
/// }
/// news.shutdown();
/// let all: Vec<_> = reader.collect();
/// assert_eq!(all, [Err(BroadcastError::Lagged(2)), Ok(3), Ok(4)]);
/// ```
#[must_use = "items are kept for it until it is dropped"]
pub struct BroadcastReader<'a, T> {
    broadcast: Handle<'a, Broadcast<T>>,
    /// Of the next item that it gets.
    position: u64,
}

impl<T> BroadcastReader<'_, T> {
    /// What it reads.
    ///
    /// # Examples
    ///
    /// ```
    /// let news = greenlet::sync::Broadcast::<u8>::new(2);
    /// assert_eq!(news.subscribe().broadcast().capacity(), 2);
    /// ```
    pub fn broadcast(&self) -> &Broadcast<T> {
        &self.broadcast
    }

    /// The next item, which it waits for if need be; returns at once, without a switch, if there
    /// is one. The last reader of an item has the item itself, all others a clone.
    ///
    /// # Timeouts and kills
    ///
    /// Either ends the wait by unwinding; the item is the next get's.
    ///
    /// # Errors
    ///
    /// [`BroadcastError::Lagged`] once, if items were overwritten; [`BroadcastError::ShutDown`]
    /// after the last item; [`BroadcastError::Empty`] only while panicking.
    ///
    /// # Examples
    ///
    /// ```
    /// let news = greenlet::sync::Broadcast::new(2);
    /// greenlet::scope(|s| {
    ///     let mut reader = news.subscribe();
    ///     s.spawn(move || assert_eq!([reader.get(), reader.get()], [Ok(1), Ok(2)]));
    ///     greenlet::yield_now(); // it waits
    ///     news.put(1).unwrap();
    ///     news.put(2).unwrap();
    /// });
    /// ```
    #[inline(always)]
    #[track_caller]
    pub fn get(&mut self) -> Result<T, BroadcastError>
    where
        T: Clone,
    {
        self.get_within(&Site::here("BroadcastReader::get"), &Limit::Never)
    }

    /// As [`get`](Self::get), for at most `limit`. Zero makes one trip through the loop.
    ///
    /// # Errors
    ///
    /// As for [`get`](Self::get); [`BroadcastError::Empty`] if the time was over first.
    ///
    /// # Examples
    ///
    /// ```
    /// let news = greenlet::sync::Broadcast::<u8>::new(2);
    /// let limit = std::time::Duration::from_millis(1);
    /// assert!(news.subscribe().get_timeout(limit).is_err());
    /// ```
    #[inline(always)]
    #[track_caller]
    pub fn get_timeout(&mut self, limit: Duration) -> Result<T, BroadcastError>
    where
        T: Clone,
    {
        let site = Site::here("BroadcastReader::get_timeout");
        self.get_within(&site, &Limit::After(limit))
    }

    /// As [`get`](Self::get), without ever waiting or switching.
    ///
    /// # Errors
    ///
    /// As for [`get`](Self::get); [`BroadcastError::Empty`] if there is no item.
    ///
    /// # Examples
    ///
    /// ```
    /// let news = greenlet::sync::Broadcast::new(2);
    /// let mut reader = news.subscribe();
    /// assert!(reader.get_nowait().is_err());
    /// news.put(1).unwrap();
    /// assert_eq!(reader.get_nowait(), Ok(1));
    /// ```
    pub fn get_nowait(&mut self) -> Result<T, BroadcastError>
    where
        T: Clone,
    {
        self.broadcast.get_at(&mut self.position)
    }

    #[inline(always)]
    #[track_caller]
    fn get_within(&mut self, site: &Site, limit: &Limit) -> Result<T, BroadcastError>
    where
        T: Clone,
    {
        let got = self.get_nowait();
        if !matches!(got, Err(BroadcastError::Empty)) {
            return got;
        }
        let position = self.position;
        let decide = |ring: &mut Ring<T>, _: &mut _, _: &mut ()| {
            ring.has_news(position).then_some(End::Notified)
        };
        let monitor = &self.broadcast.monitor;
        match monitor.wait(site, limit, (), decide, |end, ()| end) {
            // What there is stays there for this reader, or it has lagged, or it is the end.
            End::Notified => self.get_nowait(),
            End::Expired | End::Refused => Err(BroadcastError::Empty),
        }
    }

    /// For [`select!`](crate::select!).
    #[doc(hidden)]
    #[inline(always)]
    pub fn select_get(&mut self) -> Arm<impl Intent<Output = Result<T, BroadcastError>>>
    where
        T: Clone,
    {
        Arm(Getting(self))
    }

    /// A [`get`](Self::get) as an arm.
    pub(crate) fn get_arm(&mut self) -> impl Choice<Output = Result<T, BroadcastError>>
    where
        T: Clone,
    {
        let (broadcast, next) = (&*self.broadcast, &mut self.position);
        let position = *next;
        let arm = Operation::new(
            &broadcast.monitor,
            (),
            move |ring, _| ring.has_news(position),
            move |ring, _, _| ring.has_news(position).then_some(()),
            |()| (),
            |()| (),
        );
        Then::new(arm, move || broadcast.get_at(next))
    }
}

/// To get the next item.
struct Getting<'a, 'b, T>(&'a mut BroadcastReader<'b, T>);

impl<T: Clone> Intent for Getting<'_, '_, T> {
    type Output = Result<T, BroadcastError>;

    fn attempt(&mut self) -> Option<Self::Output> {
        match self.0.get_nowait() {
            Err(BroadcastError::Empty) => None,
            got => Some(got),
        }
    }

    fn arm(&mut self) -> impl Choice<Output = Self::Output> {
        self.0.get_arm()
    }
}

impl<T: Clone> Iterator for BroadcastReader<'_, T> {
    type Item = Result<T, BroadcastError>;

    #[track_caller]
    fn next(&mut self) -> Option<Self::Item> {
        match self.get_within(&Site::here("BroadcastReader::next"), &Limit::Never) {
            Err(BroadcastError::ShutDown | BroadcastError::Empty) => None,
            other => Some(other),
        }
    }
}

impl<T> Drop for BroadcastReader<'_, T> {
    fn drop(&mut self) {
        // What it was the last reader of is dropped here, without the lock.
        drop(self.broadcast.read(|ring| ring.leave(self.position)));
    }
}

impl<T> fmt::Debug for Broadcast<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The writer is the caller's: not under the lock.
        let numbers = self.statistics();
        f.debug_struct("Broadcast")
            .field("len", &numbers.len)
            .field("capacity", &numbers.capacity)
            .field("readers", &numbers.readers)
            .field("shut_down", &numbers.shut_down)
            .field("waiting", &numbers.waiting)
            .finish()
    }
}

impl<T> fmt::Debug for BroadcastReader<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BroadcastReader")
            .field("position", &self.position)
            .field("broadcast", self.broadcast())
            .finish()
    }
}

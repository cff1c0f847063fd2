//! What the primitives tell of themselves: a small struct each, of numbers that are there
//! anyway. Nothing is counted for it.
//!
//! Each is taken under the primitive's lock, so that its numbers belong together. They may be out
//! of date as soon as the lock is free again: they are to be looked at, not to be decided by.
//!
//! Mutexes and read-write locks are lock_api's types, to which no method can be added; theirs
//! come by the trait [`LockStatistics`](super::LockStatistics).

/// An [`Event`](super::Event)'s numbers, by [`statistics`](super::Event::statistics).
///
/// # Examples
///
/// ```
/// let event = greenlet::sync::Event::new();
/// assert_eq!(event.statistics().waiting, 0);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct EventStatistics {
    /// Whether it is set.
    pub set: bool,
    /// How many wait for it.
    pub waiting: usize,
}

/// An [`AsyncResult`](super::AsyncResult)'s numbers, by
/// [`statistics`](super::AsyncResult::statistics).
///
/// # Examples
///
/// ```
/// let result = greenlet::sync::AsyncResult::<u8>::new();
/// assert!(!result.statistics().ready);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AsyncResultStatistics {
    /// Whether there is a value or an error.
    pub ready: bool,
    /// How many wait for it.
    pub waiting: usize,
}

/// A queue's numbers, by [`statistics`](super::Queue::statistics).
///
/// # Examples
///
/// ```
/// let queue = greenlet::sync::Queue::bounded(2);
/// queue.put(1).unwrap();
/// let numbers = queue.statistics();
/// assert_eq!((numbers.len, numbers.capacity, numbers.getters), (1, Some(2), 0));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct QueueStatistics {
    /// How many items are stored.
    pub len: usize,
    /// How many can be; `None` without a bound.
    pub capacity: Option<usize>,
    /// How many were put and not said to be done.
    pub unfinished: usize,
    /// Whether it is shut down.
    pub shut_down: bool,
    /// How many places are reserved and not filled.
    pub reserved: usize,
    /// How many wait for an item.
    pub getters: usize,
    /// How many wait with an item for room, or for a getter, or to reserve a place.
    pub putters: usize,
    /// How many wait until all is done.
    pub joiners: usize,
}

/// A semaphore's numbers, by [`statistics`](super::Semaphore::statistics).
///
/// # Examples
///
/// ```
/// let semaphore = greenlet::sync::Semaphore::new(2);
/// let _permit = semaphore.acquire();
/// assert_eq!(semaphore.statistics().available, 1);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SemaphoreStatistics {
    /// How many permits are free.
    pub available: usize,
    /// How many wait for permits, however many each.
    pub waiting: usize,
}

/// A [`Condvar`](super::Condvar)'s numbers, by [`statistics`](super::Condvar::statistics).
///
/// # Examples
///
/// ```
/// assert_eq!(greenlet::sync::Condvar::new().statistics().waiting, 0);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CondvarStatistics {
    /// How many wait, and have not been woken yet.
    pub waiting: usize,
}

/// A [`Watch`](super::Watch)'s numbers, by [`statistics`](super::Watch::statistics).
///
/// # Examples
///
/// ```
/// let watch = greenlet::sync::Watch::new(1);
/// watch.shutdown();
/// assert!(watch.statistics().shut_down);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct WatchStatistics {
    /// Whether it is shut down.
    pub shut_down: bool,
    /// How many wait for a change.
    pub waiting: usize,
}

/// A [`Broadcast`](super::Broadcast)'s numbers, by
/// [`statistics`](super::Broadcast::statistics).
///
/// # Examples
///
/// ```
/// let news = greenlet::sync::Broadcast::<u8>::new(2);
/// let _reader = news.subscribe();
/// assert_eq!(news.statistics().readers, 1);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BroadcastStatistics {
    /// How many items are kept, for those who have not got them yet.
    pub len: usize,
    /// How many can be.
    pub capacity: usize,
    /// How many readers there are.
    pub readers: usize,
    /// Whether it is shut down.
    pub shut_down: bool,
    /// How many of the readers wait for an item.
    pub waiting: usize,
}

/// A [`Barrier`](super::Barrier)'s numbers, by [`statistics`](super::Barrier::statistics).
///
/// # Examples
///
/// ```
/// let barrier = greenlet::sync::Barrier::new(3);
/// assert_eq!((barrier.statistics().size, barrier.statistics().waiting), (3, 0));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BarrierStatistics {
    /// How many trip it.
    pub size: usize,
    /// How many have arrived and wait: always fewer than trip it.
    pub waiting: usize,
}

/// A [`Latch`](super::Latch)'s numbers, by [`statistics`](super::Latch::statistics).
///
/// # Examples
///
/// ```
/// let latch = greenlet::sync::Latch::new(2);
/// latch.count_down();
/// assert_eq!(latch.statistics().count, 1);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LatchStatistics {
    /// How many counts are missing.
    pub count: usize,
    /// How many wait for it.
    pub waiting: usize,
}

/// A [`WaitGroup`](super::WaitGroup)'s numbers, by [`statistics`](super::WaitGroup::statistics).
///
/// # Examples
///
/// ```
/// let all = greenlet::sync::WaitGroup::new();
/// let _one = all.clone();
/// assert_eq!(all.statistics().count, 2);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct WaitGroupStatistics {
    /// How many clones there are, the one that was asked among them.
    pub count: usize,
    /// How many have given theirs up and wait for the others.
    pub waiting: usize,
}

/// A [`Notify`](super::Notify)'s numbers, by [`statistics`](super::Notify::statistics).
///
/// # Examples
///
/// ```
/// let notify = greenlet::sync::Notify::new();
/// notify.notify_one();
/// assert!(notify.statistics().permit);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct NotifyStatistics {
    /// Whether the next wait will take a permit and return at once.
    pub permit: bool,
    /// How many wait for a notification.
    pub waiting: usize,
}

/// The numbers of a [`OnceCell`](super::OnceCell), by
/// [`statistics`](super::OnceCell::statistics); of a [`Once`](super::Once), by
/// [`statistics`](super::Once::statistics); of a [`Lazy`](super::Lazy), by
/// [`statistics`](super::Lazy::statistics).
///
/// They come from under two locks, one after the other: one who goes from one line to the other
/// meanwhile may be missing.
///
/// # Examples
///
/// ```
/// let cell = greenlet::sync::OnceCell::new();
/// cell.get_or_init(|| {
///     assert!(cell.statistics().running);
///     7
/// });
/// assert!(cell.statistics().completed);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct OnceStatistics {
    /// Whether an initialiser has succeeded: the value is there.
    pub completed: bool,
    /// Whether somebody has the turn to run its initialiser.
    pub running: bool,
    /// How many wait: for the value, or in line for the turn.
    pub waiting: usize,
}

/// The numbers of a [`Mutex`](super::Mutex) or a [`ReentrantMutex`](super::ReentrantMutex), by
/// [`LockStatistics`](super::LockStatistics).
///
/// # Examples
///
/// See [`LockStatistics`](super::LockStatistics).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MutexStatistics {
    /// Whether somebody has locked it.
    pub locked: bool,
    /// How many wait for it.
    pub waiting: usize,
}

/// An [`RwLock`](super::RwLock)'s numbers, by [`LockStatistics`](super::LockStatistics).
///
/// # Examples
///
/// See [`LockStatistics`](super::LockStatistics).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RwLockStatistics {
    /// Whether somebody writes.
    pub written: bool,
    /// How many read, the upgradable one not among them.
    pub readers: usize,
    /// Whether there is an upgradable reader.
    pub upgradable: bool,
    /// How many wait to read or to write, the upgradable reader that wants to write among them.
    pub waiting: usize,
}

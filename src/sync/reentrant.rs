//! A mutex that its owner may lock again: lock_api's, over our raw lock and the greenlet's number.

use super::mutex::RawMutex;
use crate::rt::park;
use std::num::NonZeroUsize;

/// A mutex that its owner may lock again, and must unlock as often.
///
/// The owner is a greenlet, a thread's root or a plain thread. Since it can have several guards
/// they lend `&T`, so the value is often a `Cell` or `RefCell`. The methods are those of
/// [`lock_api::ReentrantMutex`], as in parking_lot: `new` (const), `lock`, `try_lock`,
/// `try_lock_for`, `try_lock_until`, `is_locked`, and `is_owned_by_current_thread`, which means
/// the caller; and [`statistics`](super::LockStatistics).
///
/// # Fairness
///
/// As [`Mutex`](super::Mutex): the last unlock hands the lock to the first in line.
///
/// # Timeouts and kills
///
/// As [`Mutex`](super::Mutex): a wait that is ended takes nothing, and nothing is poisoned.
///
/// # Panics
///
/// If it is locked more than `usize::MAX` times.
///
/// # Examples
///
/// ```
/// use greenlet::sync::ReentrantMutex;
/// use std::cell::Cell;
///
/// let total = ReentrantMutex::new(Cell::new(0));
/// let add = |n| {
///     let total = total.lock();
///     total.set(total.get() + n);
/// };
/// let both = total.lock();
/// add(1);
/// add(2); // nobody else comes between the two
/// assert_eq!(both.get(), 3);
/// ```
pub type ReentrantMutex<T> = lock_api::ReentrantMutex<RawMutex, GreenletId, T>;

/// A lock of a [`ReentrantMutex`], given back when this is dropped.
///
/// # Examples
///
/// ```
/// use greenlet::sync::{ReentrantMutex, ReentrantMutexGuard};
///
/// let lock = ReentrantMutex::new(());
/// let outer: ReentrantMutexGuard<'_, ()> = lock.lock();
/// drop(lock.lock());
/// assert!(lock.is_locked());
/// drop(outer);
/// assert!(!lock.is_locked());
/// ```
pub type ReentrantMutexGuard<'a, T> = lock_api::ReentrantMutexGuard<'a, RawMutex, GreenletId, T>;

/// Says who owns a [`ReentrantMutex`]: the greenlet, the root or the thread that runs.
///
/// # Examples
///
/// ```
/// use greenlet::sync::GreenletId;
/// use lock_api::GetThreadId;
///
/// let here = GreenletId.nonzero_thread_id();
/// let there = greenlet::spawn(|| GreenletId.nonzero_thread_id()).join().unwrap();
/// assert_ne!(here, there);
/// assert_eq!(here, GreenletId.nonzero_thread_id());
/// ```
#[derive(Debug)]
pub struct GreenletId;

// SAFETY: `park::id` is never 0, the same for one greenlet, root or thread as long as it lives,
// and never that of another, not even of one that has ended: it comes from one counter of 64 bits
// (a platform with less panics before it would come round).
unsafe impl lock_api::GetThreadId for GreenletId {
    const INIT: Self = GreenletId;

    #[inline]
    fn nonzero_thread_id(&self) -> NonZeroUsize {
        NonZeroUsize::new(park::id()).expect("ids begin with 1")
    }
}

//! The numbers of the locks, which are lock_api's types: a trait, to have a method all the same.

use super::mutex::Mutex;
use super::reentrant::ReentrantMutex;
use super::rwlock::RwLock;
use super::statistics::{MutexStatistics, RwLockStatistics};
use crate::rt::wait::{raw_lock_of, raw_reentrant_of, raw_rwlock_of};

/// `statistics` for [`Mutex`](super::Mutex), [`RwLock`](super::RwLock) and
/// [`ReentrantMutex`](super::ReentrantMutex), which are types of lock_api's: bring the trait into
/// scope to have the method. Nobody else can implement it.
///
/// # Examples
///
/// ```
/// use greenlet::sync::{LockStatistics, Mutex, RwLock};
///
/// let (total, names) = (Mutex::new(0), RwLock::new(vec!["a"]));
/// let _both = (total.lock(), names.read());
/// assert!(total.statistics().locked);
/// assert_eq!(names.statistics().readers, 1);
/// assert_eq!(names.statistics().waiting, 0);
/// ```
pub trait LockStatistics: Sealed {
    /// What the numbers are.
    type Statistics;

    /// Who has it and how many wait for it, now. Does not wait, though the lock is held.
    ///
    /// # Examples
    ///
    /// ```
    /// use greenlet::sync::{LockStatistics, ReentrantMutex};
    ///
    /// assert!(!ReentrantMutex::new(()).statistics().locked);
    /// ```
    fn statistics(&self) -> Self::Statistics;
}

/// Keeps [`LockStatistics`] to the locks of this crate, so that it may grow.
pub trait Sealed {}

macro_rules! lock_statistics {
    ($($Lock:ident: $Statistics:ident, $raw:ident;)+) => { $(
        impl<T: ?Sized> Sealed for $Lock<T> {}

        impl<T: ?Sized> LockStatistics for $Lock<T> {
            type Statistics = $Statistics;

            fn statistics(&self) -> $Statistics {
                $raw(self).statistics()
            }
        }
    )+ };
}

lock_statistics! {
    Mutex: MutexStatistics, raw_lock_of;
    RwLock: RwLockStatistics, raw_rwlock_of;
    ReentrantMutex: MutexStatistics, raw_reentrant_of;
}

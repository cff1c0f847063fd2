//! Waiting until all who take part have gone. Made of a latch that also counts up.

use super::latch::Latch;
use super::statistics::WaitGroupStatistics;
use crate::rt::clock::Limit;
use std::fmt;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::Arc;
use std::time::Duration;

/// Waits until all of its clones are dropped; the shape is crossbeam's.
///
/// In terms of Go's: to *add* one is to clone it, and *Done* is to drop the clone. So a worker
/// that panics or is killed is done too, and nobody can forget it or do it twice. To start
/// workers and wait for them, a [`scope`](crate::scope()) or a [`Group`](crate::Group) is
/// often simpler.
///
/// # Fairness
///
/// Any number may wait, each by giving up its own clone. The last drop wakes all, in order of
/// arrival.
///
/// # Examples
///
/// ```
/// use greenlet::sync::WaitGroup;
/// use std::cell::Cell;
/// use std::rc::Rc;
///
/// let (all, sum) = (WaitGroup::new(), Rc::new(Cell::new(0)));
/// for i in 1..=3 {
///     let (one, sum) = (all.clone(), sum.clone());
///     greenlet::spawn(move || {
///         let _one = one; // done when it is dropped, however this ends
///         sum.set(sum.get() + i);
///     });
/// }
/// all.wait();
/// assert_eq!(sum.get(), 6);
/// ```
pub struct WaitGroup {
    /// Its count is that of the clones.
    latch: Arc<Latch>,
}

impl UnwindSafe for WaitGroup {}
impl RefUnwindSafe for WaitGroup {}

impl WaitGroup {
    /// The first of a group.
    ///
    /// # Examples
    ///
    /// ```
    /// greenlet::sync::WaitGroup::new().wait(); // there are no others
    /// ```
    pub fn new() -> Self {
        WaitGroup {
            latch: Arc::new(Latch::new(1)),
        }
    }

    /// Gives this one up and waits until all others are gone too; returns at once, without a
    /// switch, if it was the last.
    ///
    /// # Timeouts and kills
    ///
    /// Either ends the wait by unwinding; this one is given up all the same. While panicking it
    /// aborts if it would have to wait.
    ///
    /// # Examples
    ///
    /// ```
    /// use greenlet::sync::WaitGroup;
    ///
    /// let all = WaitGroup::new();
    /// let one = all.clone();
    /// let worker = std::thread::spawn(move || drop(one));
    /// all.wait();
    /// # worker.join().unwrap();
    /// ```
    #[inline(always)]
    #[track_caller]
    pub fn wait(self) {
        let latch = self.give_up();
        latch.wait_within("WaitGroup::wait", Limit::Never);
    }

    /// As [`wait`](Self::wait), for at most `limit`: true if all others are gone, false if the
    /// time was over first, or while panicking. This one is given up in any case; to ask again,
    /// keep a clone, and wait with another.
    ///
    /// # Examples
    ///
    /// ```
    /// use greenlet::sync::WaitGroup;
    ///
    /// let all = WaitGroup::new();
    /// let _one = all.clone();
    /// assert!(!all.wait_timeout(std::time::Duration::from_millis(1)));
    /// ```
    #[inline(always)]
    #[track_caller]
    #[must_use = "whether all were gone in time"]
    pub fn wait_timeout(self, limit: Duration) -> bool {
        let latch = self.give_up();
        latch.wait_within("WaitGroup::wait_timeout", Limit::After(limit))
    }

    /// How many clones there are and how many wait, now.
    ///
    /// # Examples
    ///
    /// ```
    /// assert_eq!(greenlet::sync::WaitGroup::new().statistics().count, 1);
    /// ```
    pub fn statistics(&self) -> WaitGroupStatistics {
        let numbers = self.latch.statistics();
        WaitGroupStatistics {
            count: numbers.count,
            waiting: numbers.waiting,
        }
    }

    pub(crate) fn give_up(self) -> Arc<Latch> {
        self.latch.clone()
    }
}

impl Clone for WaitGroup {
    /// Adds one to the group.
    ///
    /// # Panics
    ///
    /// If there are more than `usize::MAX / 2`.
    fn clone(&self) -> Self {
        assert!(self.latch.count_up(), "too many clones of a WaitGroup");
        WaitGroup {
            latch: self.latch.clone(),
        }
    }
}

impl Drop for WaitGroup {
    fn drop(&mut self) {
        self.latch.count_down();
    }
}

impl Default for WaitGroup {
    fn default() -> Self {
        WaitGroup::new()
    }
}

impl fmt::Debug for WaitGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.latch.debug("WaitGroup", f)
    }
}

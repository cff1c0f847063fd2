//! A count that goes down to zero, for which many wait.

use super::statistics::LatchStatistics;
use crate::rt::clock::Limit;
use crate::rt::sync::const_fn;
use crate::rt::task::Site;
use crate::rt::wait::{End, Monitor, Readiness, Source, State, WaitList, Waiters};
use std::fmt;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::time::Duration;

/// The largest count: the fast word has one bit for waiters.
const MAX_COUNT: usize = usize::MAX >> 1;

/// A count-down latch, as Java's and C++20's: opens for good when its count has gone down to
/// zero.
///
/// It cannot be used again; for that there is [`Barrier`](super::Barrier). If those who are waited
/// for come and go, or may panic, use a [`WaitGroup`](super::WaitGroup). It is
/// [`Waitable`](crate::Waitable).
///
/// # Fairness
///
/// The last count wakes all who wait, in order of arrival. Who comes later passes at once,
/// without a switch.
///
/// # How it works
///
/// The count in the fast word, and a FIFO of waiters. Invariant: nobody who waits is left when
/// the last `count_down` has returned.
///
/// # Examples
///
/// ```
/// use greenlet::sync::Latch;
/// use std::cell::Cell;
///
/// let (loaded, total) = (Latch::new(3), Cell::new(0));
/// greenlet::scope(|s| {
///     for part in 1..=3 {
///         let (loaded, total) = (&loaded, &total);
///         s.spawn(move || {
///             total.set(total.get() + part);
///             loaded.count_down();
///         });
///     }
///     loaded.wait();
///     assert_eq!(total.get(), 6);
/// });
/// ```
pub struct Latch {
    monitor: Monitor<Count>,
}

struct Count {
    count: usize,
    waiters: WaitList<()>,
}

impl State for Count {
    const FAST: bool = true;

    fn load(&mut self, number: usize) {
        self.count = number;
    }

    fn store(&self) -> (usize, bool) {
        (self.count, !self.waiters.is_empty())
    }
}

impl Waiters<()> for Count {
    fn waiters(&mut self) -> &mut WaitList<()> {
        &mut self.waiters
    }
}

impl Readiness for Count {
    #[inline]
    fn is_ready(number: usize) -> bool {
        number == 0
    }
}

impl UnwindSafe for Latch {}
impl RefUnwindSafe for Latch {}

impl Latch {
    const_fn! {
        /// One that opens after `n` counts; 0: it is open.
        ///
        /// # Panics
        ///
        /// If `n` is greater than `usize::MAX / 2`.
        ///
        /// # Examples
        ///
        /// ```
        /// static READY: greenlet::sync::Latch = greenlet::sync::Latch::new(2);
        /// assert_eq!(READY.count(), 2);
        /// ```
        #[track_caller]
        pub const fn new(n: usize) -> Self {
            assert!(n <= MAX_COUNT, "too many for a latch");
            Latch { monitor: Monitor::new(n, Count { count: n, waiters: WaitList::new() }) }
        }
    }

    /// How many counts are missing. 0: it is open, and what was done before each count
    /// is visible.
    ///
    /// # Examples
    ///
    /// ```
    /// let latch = greenlet::sync::Latch::new(2);
    /// latch.count_down();
    /// assert_eq!(latch.count(), 1);
    /// ```
    #[inline]
    pub fn count(&self) -> usize {
        self.monitor.number()
    }

    /// How many counts are missing and how many wait, now.
    ///
    /// # Examples
    ///
    /// ```
    /// assert_eq!(greenlet::sync::Latch::new(2).statistics().count, 2);
    /// ```
    pub fn statistics(&self) -> LatchStatistics {
        let mut guard = self.monitor.lock();
        let state = guard.parts().0;
        LatchStatistics {
            count: state.count,
            waiting: state.waiters.len(),
        }
    }

    /// Counts down by one, and wakes all who wait if that was the last. Does not switch.
    ///
    /// # Panics
    ///
    /// If it is at zero, where Java's does nothing and C++'s is undefined: one count too many
    /// means that it has opened too early.
    ///
    /// # Examples
    ///
    /// ```
    /// let latch = greenlet::sync::Latch::new(1);
    /// latch.count_down();
    /// latch.wait();
    /// ```
    #[inline]
    #[track_caller]
    pub fn count_down(&self) {
        self.count_down_by(1);
    }

    /// Counts down by `n`, in one step.
    ///
    /// # Panics
    ///
    /// If fewer than `n` are missing; then nothing changes.
    ///
    /// # Examples
    ///
    /// ```
    /// let latch = greenlet::sync::Latch::new(5);
    /// latch.count_down_by(4);
    /// assert_eq!(latch.count(), 1);
    /// ```
    #[inline]
    #[track_caller]
    pub fn count_down_by(&self, n: usize) {
        let counted = self.monitor.fast(|count| count.checked_sub(n));
        if !counted.unwrap_or_else(|| self.count_down_locked(n)) {
            too_far(n, self.count());
        }
    }

    #[cold]
    fn count_down_locked(&self, n: usize) -> bool {
        let mut counted = false;
        self.monitor.broadcast::<()>(|state| {
            let left = state.count.checked_sub(n);
            counted = left.is_some();
            state.count = left.unwrap_or(state.count);
            left == Some(0)
        });
        counted
    }

    /// Counts up, for a [`WaitGroup`](super::WaitGroup) that is not at zero; false if there are
    /// too many.
    pub(super) fn count_up(&self) -> bool {
        self.monitor
            .shift(|count| (count < MAX_COUNT).then_some(count + 1))
    }

    /// Waits until it is open; returns at once, without a switch, if it is.
    ///
    /// # Timeouts and kills
    ///
    /// Either ends the wait by unwinding. While panicking it aborts if it would have to wait.
    ///
    /// # Examples
    ///
    /// ```
    /// greenlet::sync::Latch::new(0).wait();
    /// ```
    #[inline(always)]
    #[track_caller]
    pub fn wait(&self) {
        self.wait_within("Latch::wait", Limit::Never);
    }

    /// Waits for at most `limit`: true if it is open, false if the time was over first, or while
    /// panicking.
    ///
    /// Zero makes one trip through the loop.
    ///
    /// # Examples
    ///
    /// ```
    /// let latch = greenlet::sync::Latch::new(1);
    /// assert!(!latch.wait_timeout(std::time::Duration::from_millis(1)));
    /// ```
    #[inline(always)]
    #[track_caller]
    #[must_use = "whether it was open in time"]
    pub fn wait_timeout(&self, limit: Duration) -> bool {
        self.wait_within("Latch::wait_timeout", Limit::After(limit))
    }

    /// Counts down by one and waits until it is open.
    ///
    /// # Timeouts and kills
    ///
    /// Either ends the wait by unwinding; the count stays counted. While panicking it aborts if
    /// it would have to wait.
    ///
    /// # Panics
    ///
    /// If it is at zero.
    ///
    /// # Examples
    ///
    /// ```
    /// let start = greenlet::sync::Latch::new(2);
    /// greenlet::scope(|s| {
    ///     s.spawn(|| start.arrive_and_wait());
    ///     start.arrive_and_wait(); // both are there
    /// });
    /// ```
    #[inline(always)]
    #[track_caller]
    pub fn arrive_and_wait(&self) {
        self.count_down();
        self.wait_within("Latch::arrive_and_wait", Limit::Never);
    }

    #[inline(always)]
    #[track_caller]
    pub(super) fn wait_within(&self, operation: &'static str, limit: Limit) -> bool {
        if self.count() == 0 {
            return true;
        }
        let site = Site::here(operation);
        let decide = |state: &mut Count, _: &mut _, _: &mut ()| (state.count == 0).then_some(true);
        let finish = |end: End, ()| end.in_time(&site, &limit);
        self.monitor.wait(&site, &limit, (), decide, finish)
    }

    #[inline]
    pub(crate) fn source(&self) -> &impl Source {
        &self.monitor
    }

    pub(super) fn debug(&self, name: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The writer is the caller's: not under the lock.
        let LatchStatistics { count, waiting } = self.statistics();
        f.debug_struct(name)
            .field("count", &count)
            .field("waiting", &waiting)
            .finish()
    }
}

#[cold]
#[track_caller]
fn too_far(n: usize, count: usize) -> ! {
    panic!("a latch was counted down by {n} when only {count} were missing")
}

impl fmt::Debug for Latch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.debug("Latch", f)
    }
}

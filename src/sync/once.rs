//! Something that is done once. Made of a cell without a value.

use super::once_cell::OnceCell;
use super::statistics::OnceStatistics;
use crate::rt::clock::Limit;
use crate::rt::sync::const_fn;
use std::convert::Infallible;
use std::fmt;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::time::Duration;

/// Runs one closure once; as [`std::sync::Once`], but the closure may wait, and there is no
/// poison.
///
/// Who comes while it runs is parked, in line, and its hub runs on. For something that has a
/// result use [`OnceCell`] or [`Lazy`](super::Lazy).
///
/// # Fairness
///
/// If the closure is unwound the next in line runs its own, before anybody who comes later.
///
/// # Timeouts and kills
///
/// As [`OnceCell`]: a closure that panics or is killed has not been run, and the next in line has
/// its turn.
///
/// # Examples
///
/// ```
/// use greenlet::sync::Once;
///
/// static START: Once = Once::new();
/// let workers = [(); 2].map(|()| greenlet::spawn(|| {
///     START.call_once(|| greenlet::yield_now()); // one runs it, the other waits
///     assert!(START.is_completed());
/// }));
/// for worker in workers {
///     worker.join().unwrap();
/// }
/// ```
pub struct Once {
    cell: OnceCell<()>,
}

impl UnwindSafe for Once {}
impl RefUnwindSafe for Once {}

impl Once {
    const_fn! {
        /// One whose closure has not run.
        ///
        /// # Examples
        ///
        /// ```
        /// static START: greenlet::sync::Once = greenlet::sync::Once::new();
        /// assert!(!START.is_completed());
        /// ```
        pub const fn new() -> Self {
            Once { cell: OnceCell::new() }
        }
    }

    /// Runs `f` if none has run yet; if another is running, waits for it. On return one has
    /// run, and what it did is visible. If one has run, this is one load.
    ///
    /// # Timeouts and kills
    ///
    /// Either ends the wait for another's closure by unwinding. While panicking, who would have
    /// to wait blocks the thread if neither the one who runs its closure nor anybody in line is
    /// of this thread; else it aborts.
    ///
    /// # Panics
    ///
    /// Inside such a closure: it would wait for itself; and if `f` does, which then has not run.
    ///
    /// # Examples
    ///
    /// ```
    /// let (once, mut calls) = (greenlet::sync::Once::new(), 0);
    /// once.call_once(|| calls += 1);
    /// once.call_once(|| calls += 1);
    /// assert_eq!(calls, 1);
    /// ```
    #[inline]
    #[track_caller]
    pub fn call_once(&self, f: impl FnOnce()) {
        let Ok(()) = self.cell.initialise("Once::call_once", || {
            f();
            Ok::<_, Infallible>(())
        });
    }

    /// Whether a closure has run to its end. What it did is visible then.
    ///
    /// # Examples
    ///
    /// ```
    /// let once = greenlet::sync::Once::new();
    /// once.call_once(|| assert!(!once.is_completed()));
    /// assert!(once.is_completed());
    /// ```
    #[inline]
    pub fn is_completed(&self) -> bool {
        self.cell.get().is_some()
    }

    /// How far it is and how many wait, now.
    ///
    /// # Examples
    ///
    /// ```
    /// assert!(!greenlet::sync::Once::new().statistics().completed);
    /// ```
    pub fn statistics(&self) -> OnceStatistics {
        self.cell.statistics()
    }

    /// Waits until a closure has run to its end, and runs none.
    ///
    /// # Timeouts and kills
    ///
    /// Either ends the wait by unwinding. While panicking it aborts if it would have to wait.
    ///
    /// # Examples
    ///
    /// ```
    /// use greenlet::sync::Once;
    ///
    /// let once = Once::new();
    /// greenlet::scope(|s| {
    ///     s.spawn(|| once.call_once(|| ()));
    ///     once.wait();
    /// });
    /// ```
    #[inline(always)]
    #[track_caller]
    pub fn wait(&self) {
        self.cell.wait_within("Once::wait", Limit::Never);
    }

    /// As [`wait`](Self::wait), for at most `limit`: true if one has run, false if the time was
    /// over first, or while panicking. Zero makes one trip through the loop.
    ///
    /// # Examples
    ///
    /// ```
    /// let once = greenlet::sync::Once::new();
    /// assert!(!once.wait_timeout(std::time::Duration::from_millis(1)));
    /// ```
    #[inline(always)]
    #[track_caller]
    #[must_use = "whether it has run in time"]
    pub fn wait_timeout(&self, limit: Duration) -> bool {
        let limit = Limit::After(limit);
        self.cell.wait_within("Once::wait_timeout", limit).is_some()
    }
}

impl Default for Once {
    fn default() -> Self {
        Once::new()
    }
}

impl fmt::Debug for Once {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The writer is the caller's: not under a lock.
        let numbers = self.statistics();
        f.debug_struct("Once")
            .field("completed", &numbers.completed)
            .field("waiting", &numbers.waiting)
            .finish()
    }
}

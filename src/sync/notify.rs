//! A wake for one who waits, or for the next one who comes.

use super::statistics::NotifyStatistics;
use crate::rt::clock::Limit;
use crate::rt::sync::const_fn;
use crate::rt::task::Site;
use crate::rt::wait::{Choice, End, Monitor, Operation, State, WaitList, Waiters};
use std::fmt;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::time::Duration;

/// An event that resets itself: each notification ends one wait. Tokio's `Notify`, or an
/// auto-reset event elsewhere.
///
/// [`notify_one`](Notify::notify_one) wakes the first in line, or, if nobody waits, leaves a
/// permit, of which there is never more than one; the next [`wait`](Notify::wait) takes it and
/// returns at once. So a consumer that waits, and then takes all there is, misses nothing that
/// was announced before or while it did so. To count the notifications, use a
/// [`Semaphore`](super::Semaphore).
///
/// # Fairness
///
/// First in, first out. A notification goes to the first in line by hand-off: who comes later
/// does not get it, even if that one has not run yet.
///
/// # Timeouts and kills
///
/// Either ends the wait by unwinding, and it takes no notification: that goes to the next in line
/// or stays as the permit. One that was notified returns as if nothing else had come; a
/// kill that comes before it runs is raised at its next wait, and the notification is *not* passed
/// on (in contrast to a future of tokio's that is dropped).
///
/// # How it works
///
/// The permit in the fast word, and a FIFO of waiters: while nobody waits, a notification and a
/// wait that finds it are one compare-exchange each. Invariant: no permit, or nobody waits.
///
/// # Examples
///
/// ```
/// use greenlet::sync::Notify;
/// use std::cell::RefCell;
///
/// let (inbox, changed) = (RefCell::new(vec![]), Notify::new());
/// greenlet::scope(|s| {
///     let reader = s.spawn(|| {
///         let mut read = 0;
///         while read < 3 {
///             changed.wait();
///             read += inbox.take().len();
///         }
///     });
///     for i in 0..3 {
///         inbox.borrow_mut().push(i);
///         changed.notify_one(); // several may become one
///     }
///     reader.join().unwrap();
/// });
/// ```
pub struct Notify {
    monitor: Monitor<Line>,
}

struct Line {
    permit: bool,
    /// Each with whether it was notified as the one.
    waiters: WaitList<bool>,
}

impl State for Line {
    const FAST: bool = true;

    fn load(&mut self, number: usize) {
        self.permit = number != 0;
    }

    fn store(&self) -> (usize, bool) {
        (self.permit.into(), !self.waiters.is_empty())
    }

    fn check(&self) {
        assert!(!self.permit || self.waiters.is_empty());
    }
}

impl Waiters<bool> for Line {
    fn waiters(&mut self) -> &mut WaitList<bool> {
        &mut self.waiters
    }
}

impl Line {
    fn take(&mut self) -> bool {
        std::mem::take(&mut self.permit)
    }
}

impl UnwindSafe for Notify {}
impl RefUnwindSafe for Notify {}

impl Notify {
    const_fn! {
        /// One without a permit.
        ///
        /// # Examples
        ///
        /// ```
        /// static CHANGED: greenlet::sync::Notify = greenlet::sync::Notify::new();
        /// CHANGED.notify_one();
        /// CHANGED.wait();
        /// ```
        pub const fn new() -> Self {
            Notify { monitor: Monitor::new(0, Line { permit: false, waiters: WaitList::new() }) }
        }
    }

    /// Wakes the first in line, or leaves the permit if nobody waits. Does not switch.
    ///
    /// # Examples
    ///
    /// ```
    /// use greenlet::sync::Notify;
    /// use std::time::Duration;
    ///
    /// let notify = Notify::new();
    /// notify.notify_one();
    /// notify.notify_one(); // there is a permit already
    /// assert!(notify.wait_timeout(Duration::ZERO));
    /// assert!(!notify.wait_timeout(Duration::ZERO));
    /// ```
    #[inline]
    pub fn notify_one(&self) {
        if self.monitor.fast(|_| Some(1)).is_none() {
            self.notify_one_locked();
        }
    }

    #[cold]
    fn notify_one_locked(&self) {
        let mut guard = self.monitor.lock();
        let (line, wakes) = guard.parts();
        // One that is leaving does not take it.
        match line.waiters.claim(wakes) {
            Some(one) => *one = true,
            None => line.permit = true,
        }
    }

    /// Wakes all who wait now, in order of arrival, and leaves nothing: neither does it
    /// leave a permit, nor take the one that is there. Does not switch. This is what tokio calls
    /// `notify_waiters`.
    ///
    /// # Examples
    ///
    /// ```
    /// use greenlet::sync::Notify;
    /// use std::time::Duration;
    ///
    /// let notify = Notify::new();
    /// greenlet::scope(|s| {
    ///     s.spawn(|| notify.wait());
    ///     s.spawn(|| notify.wait());
    ///     greenlet::yield_now(); // both wait
    ///     notify.notify_all();
    /// });
    /// assert!(!notify.wait_timeout(Duration::ZERO));
    /// ```
    pub fn notify_all(&self) {
        // Who waits has set a bit in the word, so who knows of that sees it.
        if self.monitor.fast(|_| None).is_some() {
            return;
        }
        let mut guard = self.monitor.lock();
        let (line, wakes) = guard.parts();
        // All in one step, not in batches: else one that is woken could notify another, and
        // that notification would go to one whose wait is over anyway.
        while line.waiters.claim_front(wakes).is_some() {}
    }

    /// Whether there is a permit and how many wait, now.
    ///
    /// # Examples
    ///
    /// ```
    /// assert!(!greenlet::sync::Notify::new().statistics().permit);
    /// ```
    pub fn statistics(&self) -> NotifyStatistics {
        let mut guard = self.monitor.lock();
        let line = guard.parts().0;
        NotifyStatistics {
            permit: line.permit,
            waiting: line.waiters.len(),
        }
    }

    /// Waits for a notification; takes the permit without a switch if there is one.
    ///
    /// # Timeouts and kills
    ///
    /// Either ends the wait by unwinding, and takes nothing. While panicking it aborts if it
    /// would have to wait.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::sync::Arc;
    ///
    /// let done = Arc::new(greenlet::sync::Notify::new());
    /// let worker = std::thread::spawn({ let done = done.clone(); move || done.notify_one() });
    /// done.wait(); // from any thread
    /// # worker.join().unwrap();
    /// ```
    #[inline(always)]
    #[track_caller]
    pub fn wait(&self) {
        self.wait_within("Notify::wait", Limit::Never);
    }

    /// Waits for at most `limit`: true if it was notified, false if the time was over first, or
    /// while panicking.
    ///
    /// Zero makes one trip through the loop.
    ///
    /// # Examples
    ///
    /// ```
    /// let notify = greenlet::sync::Notify::new();
    /// assert!(!notify.wait_timeout(std::time::Duration::from_millis(1)));
    /// ```
    #[inline(always)]
    #[track_caller]
    #[must_use = "whether it was notified in time"]
    pub fn wait_timeout(&self, limit: Duration) -> bool {
        self.wait_within("Notify::wait_timeout", Limit::After(limit))
    }

    #[inline(always)]
    #[track_caller]
    fn wait_within(&self, operation: &'static str, limit: Limit) -> bool {
        if self.monitor.fast(|permit| permit.checked_sub(1)) == Some(true) {
            return true;
        }
        let site = Site::here(operation);
        let decide = |line: &mut Line, _: &mut _, _: &mut bool| line.take().then_some(true);
        let finish = |end: End, _| end.in_time(&site, &limit);
        self.monitor.wait(&site, &limit, false, decide, finish)
    }

    /// A [`wait`](Notify::wait) as an arm. The one that was notified and does not want it passes
    /// it on.
    pub(crate) fn wait_arm(&self) -> impl Choice<Output = ()> {
        Operation::new(
            &self.monitor,
            false,
            |line, _| line.permit,
            |line, _, _| line.take().then_some(()),
            |_| (),
            |as_the_one| {
                if as_the_one {
                    self.notify_one();
                }
            },
        )
    }
}

impl Default for Notify {
    fn default() -> Self {
        Notify::new()
    }
}

impl fmt::Debug for Notify {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The writer is the caller's: not under the lock.
        let NotifyStatistics { permit, waiting } = self.statistics();
        f.debug_struct("Notify")
            .field("permit", &permit)
            .field("waiting", &waiting)
            .finish()
    }
}

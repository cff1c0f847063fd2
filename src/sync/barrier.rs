//! A point that so many must reach before any of them goes on.

use super::statistics::BarrierStatistics;
use crate::error::Elapsed;
use crate::rt::clock::Limit;
use crate::rt::park::Wakes;
use crate::rt::sync::const_fn;
use crate::rt::task::Site;
use crate::rt::wait::{Choice, End, Monitor, Operation, State, WaitList, Waiters};
use std::fmt;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::time::Duration;

/// Makes so many wait for each other; as [`std::sync::Barrier`], but what waits is parked and
/// its hub runs on.
///
/// The last one to arrive trips the barrier: all who wait go on, and so does it, as the *leader*,
/// without a switch. Then the next generation can gather; nobody of it mixes with the one before.
///
/// # Fairness
///
/// Those who wait are woken together, in order of arrival.
///
/// # Timeouts and kills
///
/// Either takes the arrival back, so that one more is needed. If the barrier has tripped before
/// the waiter has left, the wait has succeeded; what came too late is raised at the next wait. A
/// kill or an expiry that is there before the last one arrives is always before the trip.
///
/// # How it works
///
/// A FIFO of those who have arrived, each with a mark that it may go on. Invariant: they are
/// fewer than the barrier needs. Who would be the last first takes those off the line whose
/// waits have ended, and then serves all others in one step; only this takes time in proportion
/// to their number. One whose wait ends on its own in that very moment finds the mark as it leaves.
///
/// # Examples
///
/// ```
/// use greenlet::sync::Barrier;
///
/// let barrier = Barrier::new(3);
/// let leaders = greenlet::scope(|s| {
///     let workers = [(); 3].map(|()| s.spawn(|| {
///         // First part, by each of them.
///         let leads = barrier.wait().is_leader();
///         // Second part: the first one is done by all.
///         leads
///     }));
///     workers.map(|worker| worker.join().unwrap())
/// });
/// assert_eq!(leaders, [false, false, true]);
/// ```
pub struct Barrier {
    monitor: Monitor<Gathering>,
}

struct Gathering {
    /// So many trip it.
    size: usize,
    /// Each with whether it may go on.
    waiters: WaitList<bool>,
}

impl State for Gathering {
    fn check(&self) {
        assert!(self.waiters.len() < self.size);
    }
}

impl Waiters<bool> for Gathering {
    fn waiters(&mut self) -> &mut WaitList<bool> {
        &mut self.waiters
    }

    fn served(goes_on: &bool) -> bool {
        *goes_on
    }
}

impl Gathering {
    fn is_last(&self) -> bool {
        self.waiters.len() + 1 == self.size
    }

    /// One more arrives: if it is the last, all go on.
    fn arrive(&mut self, wakes: &mut Wakes) -> bool {
        if self.is_last() {
            // A kill that comes before the last arrival is no arrival.
            self.waiters.drop_leaving();
        }
        let trips = self.is_last();
        // All in one step: between two the next generation could arrive.
        while trips && let Some(goes_on) = self.waiters.serve_front(wakes) {
            *goes_on = true;
        }
        trips
    }
}

impl UnwindSafe for Barrier {}
impl RefUnwindSafe for Barrier {}

impl Barrier {
    const_fn! {
        /// A barrier that `n` trip. As in std, 0 acts as 1: nobody ever waits.
        ///
        /// # Examples
        ///
        /// ```
        /// static START: greenlet::sync::Barrier = greenlet::sync::Barrier::new(1);
        /// assert!(START.wait().is_leader());
        /// ```
        pub const fn new(n: usize) -> Self {
            let size = if n == 0 { 1 } else { n };
            Barrier { monitor: Monitor::new(0, Gathering { size, waiters: WaitList::new() }) }
        }
    }

    /// Arrives, and waits until all have. The last one does not wait.
    ///
    /// # Timeouts and kills
    ///
    /// Either ends the wait by unwinding and takes the arrival back, unless the barrier has
    /// tripped. While panicking it aborts if it would have to wait.
    ///
    /// # Examples
    ///
    /// ```
    /// use greenlet::sync::Barrier;
    ///
    /// let barrier = Barrier::new(2);
    /// greenlet::scope(|s| {
    ///     s.spawn(|| barrier.wait());
    ///     barrier.wait();
    /// });
    /// ```
    #[inline(always)]
    #[track_caller]
    pub fn wait(&self) -> BarrierWaitResult {
        self.wait_within("Barrier::wait", Limit::Never)
            .expect("without a limit")
    }

    /// As [`wait`](Self::wait), for at most `limit`. Zero makes one trip through the loop.
    ///
    /// # Errors
    ///
    /// The time was over first, or it would have to wait while panicking. The arrival is
    /// taken back.
    ///
    /// # Examples
    ///
    /// ```
    /// use greenlet::{Elapsed, sync::Barrier};
    ///
    /// let barrier = Barrier::new(2);
    /// let alone = barrier.wait_timeout(std::time::Duration::from_millis(1));
    /// assert_eq!(alone.map(|result| result.is_leader()), Err(Elapsed));
    /// ```
    #[inline(always)]
    #[track_caller]
    pub fn wait_timeout(&self, limit: Duration) -> Result<BarrierWaitResult, Elapsed> {
        self.wait_within("Barrier::wait_timeout", Limit::After(limit))
            .ok_or(Elapsed)
    }

    /// A [`wait`](Barrier::wait) as an arm, for a future; an arm of a select would have arrived,
    /// and might trip the barrier, though another one is chosen.
    pub(crate) fn wait_arm(&self) -> impl Choice<Output = BarrierWaitResult> {
        Operation::new(
            &self.monitor,
            false,
            |gathering, _| gathering.is_last(),
            |gathering, wakes, _| {
                let leads = gathering.arrive(wakes);
                leads.then_some(BarrierWaitResult { leads })
            },
            |_| BarrierWaitResult { leads: false },
            // If it has tripped nothing can be taken back.
            |_| (),
        )
    }

    /// How many trip it, and how many wait, now.
    ///
    /// # Examples
    ///
    /// ```
    /// assert_eq!(greenlet::sync::Barrier::new(2).statistics().waiting, 0);
    /// ```
    pub fn statistics(&self) -> BarrierStatistics {
        let mut guard = self.monitor.lock();
        let gathering = guard.parts().0;
        BarrierStatistics {
            size: gathering.size,
            waiting: gathering.waiters.len(),
        }
    }

    #[inline(always)]
    #[track_caller]
    fn wait_within(&self, operation: &'static str, limit: Limit) -> Option<BarrierWaitResult> {
        let site = Site::here(operation);
        let decide = |gathering: &mut Gathering, wakes: &mut _, _: &mut _| {
            let leads = gathering.arrive(wakes);
            leads.then_some(Some(BarrierWaitResult { leads }))
        };
        let finish = |end: End, _| {
            let met = end.in_time(&site, &limit);
            met.then_some(BarrierWaitResult { leads: false })
        };
        self.monitor.wait(&site, &limit, false, decide, finish)
    }
}

impl fmt::Debug for Barrier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The writer is the caller's: not under the lock.
        let BarrierStatistics { size, waiting } = self.statistics();
        f.debug_struct("Barrier")
            .field("size", &size)
            .field("waiting", &waiting)
            .finish()
    }
}

/// What a wait at a [`Barrier`] gives.
///
/// # Examples
///
/// ```
/// use greenlet::sync::{Barrier, BarrierWaitResult};
///
/// let result: BarrierWaitResult = Barrier::new(1).wait();
/// assert!(result.is_leader());
/// ```
#[derive(Debug)]
pub struct BarrierWaitResult {
    leads: bool,
}

impl BarrierWaitResult {
    /// Whether this one's arrival has tripped the barrier: true for one of each generation.
    ///
    /// # Examples
    ///
    /// ```
    /// assert!(greenlet::sync::Barrier::new(0).wait().is_leader());
    /// ```
    #[must_use]
    pub fn is_leader(&self) -> bool {
        self.leads
    }
}

//! Waiting for a condition of what a mutex guards.

use super::mutex::{MutexGuard, RawMutex};
use super::statistics::CondvarStatistics;
use crate::rt::clock::Limit;
use crate::rt::park::{BATCH, Party, Wakes};
use crate::rt::sync::const_fn;
use crate::rt::task::Site;
use crate::rt::wait::{self, End, Monitor, State, WaitList, Waiters};
use lock_api::GuardNoSend;
use std::cell::Cell;
use std::fmt;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::time::Duration;

/// Waits, with a [`Mutex`](super::Mutex) unlocked meanwhile, until somebody who has changed what
/// the mutex guards says so.
///
/// # Fairness
///
/// Waiters are notified in order of arrival, and line up for the mutex in that order.
/// [`notify_all`](Condvar::notify_all) wakes the first; each that has the mutex again wakes the
/// next. So there is no herd before the mutex: at most one of them waits for it at a time.
///
/// A wait ends by a notification, by its limit, or by unwinding: there are no spurious wakes. A
/// notification that nobody waits for is forgotten. The condition may have changed again before
/// the waiter has the mutex, which is why [`wait_while`](Condvar::wait_while) looks again.
///
/// # Timeouts and kills
///
/// Either ends the wait by unwinding. Before it is raised the mutex is locked again, without a
/// limit and as in a [`shield`](crate::shield), so that the guard is whole; if that can never be
/// (a certain deadlock), it aborts. A waiter that was notified returns as if nothing else had
/// come; one that leaves takes no notification.
///
/// # How it works
///
/// A FIFO of waiters, each with a ticket; all with a ticket below `until` are notified. The
/// waiter joins the line before it unlocks the mutex, under the line's lock. Invariant: if the
/// first in line is notified, one that was woken before is on its way to wake it.
///
/// # Examples
///
/// ```
/// use greenlet::sync::{Condvar, Mutex};
///
/// let (jobs, changed) = (Mutex::new(vec![]), Condvar::new());
/// let job = greenlet::scope(|s| {
///     let worker = s.spawn(|| {
///         let mut jobs = jobs.lock();
///         changed.wait_while(&mut jobs, |jobs| jobs.is_empty());
///         jobs.pop().unwrap()
///     });
///     greenlet::yield_now(); // it waits
///     jobs.lock().push(7);
///     changed.notify_one();
///     worker.join().unwrap()
/// });
/// assert_eq!(job, 7);
/// ```
pub struct Condvar {
    monitor: Monitor<Line>,
}

struct Line {
    /// The ticket of the next arrival.
    next: u64,
    /// Those with a smaller ticket are notified.
    until: u64,
    /// Where the mutex lies that those in line have unlocked.
    mutex: usize,
    /// Each with its ticket.
    waiters: WaitList<u64>,
}

impl State for Line {
    const FAST: bool = true;

    /// The number says whether the first in line is notified.
    fn store(&self) -> (usize, bool) {
        (self.owes().into(), !self.waiters.is_empty())
    }

    fn check(&self) {
        assert!(self.until <= self.next);
    }
}

impl Waiters<u64> for Line {
    fn waiters(&mut self) -> &mut WaitList<u64> {
        &mut self.waiters
    }

    fn ticket(ticket: &u64) -> Option<u64> {
        Some(*ticket)
    }
}

impl Line {
    /// Whether the first in line is notified, and still to be woken.
    fn owes(&self) -> bool {
        self.waiters
            .front()
            .is_some_and(|&ticket| ticket < self.until)
    }

    /// Wakes the first that is notified and is not leaving on its own.
    fn wake_owed(&mut self, wakes: &mut Wakes) {
        while self.owes() && !matches!(self.waiters.claim_front(wakes), Some(Some(_))) {}
    }
}

/// Brings a wait to where lock_api gives its guard's lock away, and its result back.
struct Door<'a> {
    call: Cell<Option<(&'a Condvar, Site, Limit)>>,
    notified: Cell<bool>,
}

// SAFETY: the mutex is unlocked and locked again by the one who holds it, in `Condvar::suspend`:
// the waiter is in line before the unlock, so that what comes after it finds it there; whatever
// ends the wait comes back as a value, and is raised only after `lock_masked`, which returns with
// the lock or not at all. The guard's state is a token without contents, so it stays valid.
unsafe impl lock_api::RawCondvar for Door<'_> {
    #[allow(clippy::declare_interior_mutable_const)] // Lock_api's way.
    const INIT: Self = Door {
        call: Cell::new(None),
        notified: Cell::new(false),
    };

    type RawMutex = RawMutex;

    unsafe fn wait(&self, mutex: &RawMutex, _guard: &mut GuardNoSend) {
        let (condvar, site, limit) = self.call.take().expect("a wait brings its call");
        self.notified.set(condvar.suspend(mutex, &site, &limit));
    }

    fn notify_one(&self) -> bool {
        false
    }

    fn notify_all(&self) -> usize {
        0
    }
}

impl UnwindSafe for Condvar {}
impl RefUnwindSafe for Condvar {}

impl Condvar {
    const_fn! {
        /// One that nobody waits for.
        ///
        /// # Examples
        ///
        /// ```
        /// static CHANGED: greenlet::sync::Condvar = greenlet::sync::Condvar::new();
        /// CHANGED.notify_all();
        /// ```
        pub const fn new() -> Self {
            let line = Line { next: 0, until: 0, mutex: 0, waiters: WaitList::new() };
            Condvar { monitor: Monitor::new(0, line) }
        }
    }

    /// Unlocks the mutex and waits for a notification, in one step; then locks it again.
    ///
    /// # Timeouts and kills
    ///
    /// Either ends the wait by unwinding, with the mutex locked again. While panicking it aborts.
    ///
    /// # Panics
    ///
    /// If others wait with another mutex.
    ///
    /// # Examples
    ///
    /// ```
    /// use greenlet::sync::{Condvar, Mutex};
    ///
    /// let (ready, changed) = (Mutex::new(false), Condvar::new());
    /// greenlet::scope(|s| {
    ///     s.spawn(|| {
    ///         *ready.lock() = true;
    ///         changed.notify_one();
    ///     });
    ///     let mut ready = ready.lock();
    ///     while !*ready {
    ///         changed.wait(&mut ready);
    ///     }
    /// });
    /// ```
    #[track_caller]
    pub fn wait<T: ?Sized>(&self, guard: &mut MutexGuard<'_, T>) {
        self.wait_within(guard, Site::here("Condvar::wait"), Limit::Never);
    }

    /// As [`wait`](Self::wait), for at most `limit`: true if it was notified, false if the time
    /// was over first, or while panicking. The limit is not one for locking the mutex again.
    ///
    /// # Panics
    ///
    /// If others wait with another mutex.
    ///
    /// # Examples
    ///
    /// ```
    /// use greenlet::sync::{Condvar, Mutex};
    ///
    /// let (lock, limit) = (Mutex::new(()), std::time::Duration::from_millis(1));
    /// assert!(!Condvar::new().wait_timeout(&mut lock.lock(), limit));
    /// ```
    #[track_caller]
    #[must_use = "whether it was notified in time"]
    pub fn wait_timeout<T: ?Sized>(&self, guard: &mut MutexGuard<'_, T>, limit: Duration) -> bool {
        let site = Site::here("Condvar::wait_timeout");
        self.wait_within(guard, site, Limit::After(limit))
    }

    /// Waits as long as the condition is true; not at all if it is false.
    ///
    /// # Timeouts and kills
    ///
    /// Either ends the wait by unwinding, with the mutex locked again. While panicking it aborts
    /// if it would have to wait.
    ///
    /// # Panics
    ///
    /// If it has to wait, and others wait with another mutex.
    ///
    /// # Examples
    ///
    /// ```
    /// use greenlet::sync::{Condvar, Mutex};
    ///
    /// let count = Mutex::new(3);
    /// Condvar::new().wait_while(&mut count.lock(), |count| *count < 3); // it need not wait
    /// ```
    #[track_caller]
    pub fn wait_while<T: ?Sized>(
        &self,
        guard: &mut MutexGuard<'_, T>,
        mut condition: impl FnMut(&mut T) -> bool,
    ) {
        let site = Site::here("Condvar::wait_while");
        while condition(guard) {
            self.wait_within(guard, site, Limit::Never);
        }
    }

    /// As [`wait_while`](Self::wait_while), for at most `limit` in all: true if the condition
    /// is false in the end.
    ///
    /// # Panics
    ///
    /// If it has to wait, and others wait with another mutex.
    ///
    /// # Examples
    ///
    /// ```
    /// use greenlet::sync::{Condvar, Mutex};
    ///
    /// let (count, limit) = (Mutex::new(2), std::time::Duration::from_millis(1));
    /// assert!(!Condvar::new().wait_while_timeout(&mut count.lock(), limit, |count| *count < 3));
    /// ```
    #[track_caller]
    #[must_use = "whether the condition came to be false in time"]
    pub fn wait_while_timeout<T: ?Sized>(
        &self,
        guard: &mut MutexGuard<'_, T>,
        limit: Duration,
        mut condition: impl FnMut(&mut T) -> bool,
    ) -> bool {
        let site = Site::here("Condvar::wait_while_timeout");
        let mut limit = Limit::After(limit);
        while condition(guard) {
            limit = limit.fixed(|| Party::current().now());
            if !self.wait_within(guard, site, limit) {
                return !condition(guard);
            }
        }
        true
    }

    #[track_caller]
    fn wait_within<T: ?Sized>(
        &self,
        guard: &mut MutexGuard<'_, T>,
        site: Site,
        limit: Limit,
    ) -> bool {
        let door = lock_api::Condvar::<Door<'_>>::new();
        door.raw().call.set(Some((self, site, limit)));
        door.wait(guard);
        door.raw().notified.get()
    }

    /// The wait itself, by the holder of the mutex, who has it again afterwards.
    #[track_caller]
    fn suspend(&self, mutex: &RawMutex, site: &Site, limit: &Limit) -> bool {
        // What would refuse the wait or end it at once does so with the mutex locked.
        if let Some(end) = wait::obstructed(&Party::current(), site) {
            return end.in_time(site, limit);
        }
        let mut guard = self.monitor.lock();
        let (line, here) = (guard.parts().0, std::ptr::from_ref(mutex).addr());
        if !line.waiters.is_empty() && line.mutex != here {
            drop(guard);
            panic!("{} while others wait with another mutex", site.operation);
        }
        let ticket = line.next;
        (line.next, line.mutex) = (ticket + 1, here);
        mutex.release();
        let waited = self.monitor.wait_locked(guard, site, limit, ticket);
        mutex.lock_masked(site);
        self.pass_on();
        match waited {
            // Notified, only not woken yet.
            Ok(End::Expired) if self.has_notified(ticket) => true,
            Ok(end) => end.in_time(site, limit),
            Err(interruption) => interruption.raise(),
        }
    }

    /// Wakes the next that is notified, if there is one.
    fn pass_on(&self) {
        if self.monitor.number() != 0 {
            let mut guard = self.monitor.lock();
            let (line, wakes) = guard.parts();
            line.wake_owed(wakes);
        }
    }

    fn has_notified(&self, ticket: u64) -> bool {
        ticket < self.monitor.lock().parts().0.until
    }

    /// Whether nobody is in line. One that waits has joined the line before it unlocked the
    /// mutex, so who has locked that since sees it.
    fn is_idle(&self) -> bool {
        self.monitor.fast(|_| None).is_some()
    }

    /// How many wait, now.
    ///
    /// # Examples
    ///
    /// ```
    /// assert_eq!(greenlet::sync::Condvar::new().statistics().waiting, 0);
    /// ```
    pub fn statistics(&self) -> CondvarStatistics {
        CondvarStatistics {
            waiting: self.monitor.lock().parts().0.waiters.len(),
        }
    }

    /// Ends the wait of the one that has waited longest, if anybody waits. Does not switch.
    ///
    /// # Examples
    ///
    /// ```
    /// greenlet::sync::Condvar::new().notify_one(); // nobody waits
    /// ```
    pub fn notify_one(&self) {
        // Those before it who are notified are woken too, or it would not be known who is first.
        while !self.is_idle() && !self.claim_batch() {}
    }

    /// Wakes some that are notified already and then one that is not; true if that was reached.
    fn claim_batch(&self) -> bool {
        let mut guard = self.monitor.lock();
        for _ in 0..BATCH {
            let (line, wakes) = guard.parts();
            let was_notified = line.owes();
            // One that is leaving does not take the notification.
            match line.waiters.claim_front(wakes) {
                Some(Some(_)) if !was_notified => return true,
                None => return true,
                Some(_) => {}
            }
        }
        false
    }

    /// Ends the waits of all who wait now, one after the other. Does not switch.
    ///
    /// # Examples
    ///
    /// ```
    /// use greenlet::sync::{Condvar, Mutex};
    ///
    /// let (open, changed) = (Mutex::new(false), Condvar::new());
    /// greenlet::scope(|s| {
    ///     for _ in 0..3 {
    ///         s.spawn(|| changed.wait_while(&mut open.lock(), |open| !*open));
    ///     }
    ///     greenlet::yield_now(); // all wait
    ///     *open.lock() = true;
    ///     changed.notify_all();
    /// });
    /// ```
    pub fn notify_all(&self) {
        if !self.is_idle() {
            let mut guard = self.monitor.lock();
            let (line, wakes) = guard.parts();
            line.until = line.next;
            line.wake_owed(wakes);
        }
    }
}

impl Default for Condvar {
    fn default() -> Self {
        Condvar::new()
    }
}

impl fmt::Debug for Condvar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The writer is the caller's: not under the lock.
        let CondvarStatistics { waiting } = self.statistics();
        f.debug_struct("Condvar")
            .field("waiting", &waiting)
            .finish()
    }
}

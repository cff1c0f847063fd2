//! A flag that can be waited for.

use super::Flavour;
use super::statistics::EventStatistics;
use crate::rt::clock::Limit;
use crate::rt::sync::const_fn;
use crate::rt::task::Site;
use crate::rt::wait::{End, Monitor, Readiness, Source, State, WaitList, Waiters};
use std::fmt;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::time::Duration;

/// A flag that any number of waiters wait for; it stays set until it is cleared.
///
/// # Fairness
///
/// [`set`](Event::set) wakes all who wait at that moment, in order of arrival,
/// even if the event is cleared before they run. Who comes while it is set passes
/// at once, without a switch, and may so run before those that were just woken.
///
/// # How it works
///
/// A flag in the fast word, and a FIFO of waiters. Invariant: nobody who arrived
/// before the latest `set` waits. `is_set` is one load.
///
/// # Examples
///
/// ```
#[doc = concat!("use ", here!(), "::Event;")]
/// use std::rc::Rc;
///
/// let ready = Rc::new(Event::new());
/// let waiter = greenlet::spawn({
///     let ready = ready.clone();
///     move || { ready.wait(); "go" }
/// });
/// greenlet::yield_now(); // the waiter waits
/// ready.set();
/// assert_eq!(waiter.join().unwrap(), "go");
/// ```
pub struct Event {
    monitor: Monitor<Flag, Flavour>,
}

struct Flag {
    set: bool,
    waiters: WaitList<()>,
}

impl State for Flag {
    const FAST: bool = true;

    fn load(&mut self, number: usize) {
        self.set = number != 0;
    }

    fn store(&self) -> (usize, bool) {
        (self.set.into(), !self.waiters.is_empty())
    }
}

impl Waiters<()> for Flag {
    fn waiters(&mut self) -> &mut WaitList<()> {
        &mut self.waiters
    }
}

impl Readiness for Flag {
    #[inline]
    fn is_ready(number: usize) -> bool {
        number != 0
    }
}

impl UnwindSafe for Event {}
impl RefUnwindSafe for Event {}

impl Event {
    const_fn! {
        /// A clear event.
        ///
        /// # Examples
        ///
        /// ```
        #[doc = concat!("let e = ", here!(), "::Event::new();")]
        /// assert!(!e.is_set());
        /// ```
        pub const fn new() -> Self {
            Event { monitor: Monitor::new(0, Flag { set: false, waiters: WaitList::new() }) }
        }
    }

    /// Whether it is set now. What was done before the `set` is visible then.
    ///
    /// # Examples
    ///
    /// ```
    #[doc = concat!("let e = ", here!(), "::Event::new();")]
    /// e.set();
    /// assert!(e.is_set());
    /// ```
    #[inline]
    pub fn is_set(&self) -> bool {
        self.monitor.number() != 0
    }

    /// Whether it is set and how many wait, now.
    ///
    /// # Examples
    ///
    /// ```
    #[doc = concat!("let e = ", here!(), "::Event::new();")]
    /// e.set();
    /// assert!(e.statistics().set);
    /// ```
    pub fn statistics(&self) -> EventStatistics {
        let mut guard = self.monitor.lock();
        let flag = guard.parts().0;
        EventStatistics {
            set: flag.set,
            waiting: flag.waiters.len(),
        }
    }

    /// Clears the flag. Those that a `set` has woken stay woken.
    ///
    /// # Examples
    ///
    /// ```
    #[doc = concat!("let e = ", here!(), "::Event::new();")]
    /// e.set();
    /// e.clear();
    /// assert!(!e.is_set());
    /// ```
    pub fn clear(&self) {
        self.monitor.shift(|_| Some(0));
    }

    /// Waits until it is set; returns at once, without a switch, if it is.
    ///
    /// # Timeouts and kills
    ///
    /// Either ends the wait by unwinding. While panicking it aborts if it would
    /// have to wait.
    ///
    /// # Examples
    ///
    /// ```
    #[doc = concat!("let e = ", here!(), "::Event::new();")]
    /// e.set();
    /// e.wait();
    /// ```
    #[inline(always)]
    #[track_caller]
    pub fn wait(&self) {
        self.wait_within("Event::wait", Limit::Never);
    }

    /// Waits for at most `limit`: true if it was set, even if it has been cleared
    /// since; false if the time was over first, or while panicking.
    ///
    /// Zero makes one trip through the loop.
    ///
    /// # Examples
    ///
    /// ```
    #[doc = concat!("let e = ", here!(), "::Event::new();")]
    /// assert!(!e.wait_timeout(std::time::Duration::from_millis(1)));
    /// ```
    #[inline(always)]
    #[track_caller]
    #[must_use = "whether the event was set in time"]
    pub fn wait_timeout(&self, limit: Duration) -> bool {
        self.wait_within("Event::wait_timeout", Limit::After(limit))
    }

    #[inline(always)]
    #[track_caller]
    pub(crate) fn wait_within(&self, operation: &'static str, limit: Limit) -> bool {
        if self.is_set() {
            return true;
        }
        let site = Site::here(operation);
        let decide = |flag: &mut Flag, _: &mut _, _: &mut ()| flag.set.then_some(true);
        let finish = |end: End, ()| end.in_time(&site, &limit);
        self.monitor.wait(&site, &limit, (), decide, finish)
    }

    /// Sets the flag and wakes all who wait. Does not switch.
    ///
    /// # Examples
    ///
    /// ```
    #[doc = concat!("let done = ", here!(), "::Event::new();")]
    /// greenlet::scope(|s| {
    ///     s.spawn(|| done.set());
    ///     done.wait(); // until the other one has run
    /// });
    /// ```
    pub fn set(&self) {
        if self.monitor.fast(|_| Some(1)).is_none() {
            self.monitor.broadcast::<()>(|flag| {
                flag.set = true;
                true
            });
        }
    }

    #[inline]
    pub(crate) fn source(&self) -> &impl Source {
        &self.monitor
    }
}

impl Default for Event {
    fn default() -> Self {
        Event::new()
    }
}

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The writer is the caller's: not under the lock.
        let EventStatistics { set, waiting } = self.statistics();
        f.debug_struct("Event")
            .field("set", &set)
            .field("waiting", &waiting)
            .finish()
    }
}

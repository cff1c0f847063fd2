//! The latest value, and readers who are told that there is a later one.
//!
//! # How value and version keep together
//!
//! The value is behind a [`RwLock`] of this crate, so that the code of users (closures, `Clone`)
//! runs under a lock that may be held across waits, and never under the monitor's. The version is
//! in the monitor's fast word, and is moved only by who has the value locked for writing, after
//! the value. So who has it locked for reading finds the version that belongs to the value; and
//! who has heard of a version, and locks the value then, reads that one or a later one.
//!
//! Those who wait are woken after the value was unlocked: each of them is about to lock it, and a
//! wake may run code of an executor's. They are those who were in line when the version was moved,
//! by their tickets: one that comes in between knows that version already.
//!
//! After the version stand two bits: SHUT_DOWN, and CHANGING while somebody has the value locked
//! for writing. No change begins after a shutdown, and one that has begun is still the last
//! one: the end is a shutdown and nobody changing. So a shutdown never waits, and yet no value
//! comes after readers were told that none will.

use super::handle::Handle;
use super::rwlock::{RwLock, RwLockReadGuard, RwLockWriteGuard};
use super::statistics::WatchStatistics;
use crate::rt::clock::Limit;
use crate::rt::park::Party;
use crate::rt::sync::const_fn;
use crate::rt::task::Site;
use crate::rt::wait::{Choice, End, Intent, Monitor, Operation, State, Then, WaitList, Waiters};
use crate::select::Arm;
use std::fmt;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::Arc;
use std::time::Duration;

const SHUT_DOWN: usize = 1;
const CHANGING: usize = 2;
const VERSION: usize = 4;
/// The monitor's word has one bit less for the number.
const NUMBER: usize = usize::MAX >> 1;

/// Why a reader has no later value.
///
/// # Examples
///
/// ```
/// use greenlet::sync::{Watch, WatchError};
/// use std::time::Duration;
///
/// let watch = Watch::new(1);
/// let mut reader = watch.subscribe();
/// assert_eq!(reader.changed_timeout(Duration::ZERO), Err(WatchError::Unchanged));
/// watch.shutdown();
/// assert_eq!(reader.changed(), Err(WatchError::ShutDown));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WatchError {
    /// No change, in time.
    Unchanged,
    /// It was shut down, and the last value has been seen.
    ShutDown,
}

impl fmt::Display for WatchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            WatchError::Unchanged => "watched value has not changed",
            WatchError::ShutDown => "watch is shut down",
        })
    }
}

impl std::error::Error for WatchError {}

/// The latest value of something: a setting, a state, a price. Readers are told that it has
/// changed, and look at what it is then. Tokio's `watch`.
///
/// Any number may set it and any number read it, each by a [`WatchReader`] that knows which
/// version it has seen. Values in between may be skipped, the last one never is. To see each
/// value, use a [`Broadcast`](super::Broadcast).
///
/// # Fairness
///
/// A change wakes all who wait at that moment, in order of arrival. The value is locked as by a
/// [`RwLock`](super::RwLock) while a closure or `Clone` has it, first in, first out: who sets it
/// waits until those who read now have done so. Closures may wait; but one that changes the
/// value it is reading waits for itself, and one that reads or changes the value it is changing
/// panics.
///
/// # Timeouts and kills
///
/// Either ends a wait by unwinding; nothing was set then, nor seen. A closure that is unwound
/// while it changes the value may have done so in part, so readers are told. There is no poison.
///
/// # How it works
///
/// Value, version and waiters are kept together as the module says. Invariant: nobody waits
/// who has not seen the version that is there.
///
/// # Examples
///
/// ```
/// use greenlet::sync::Watch;
///
/// let level = Watch::new(0);
/// greenlet::scope(|s| {
///     let mut reader = level.subscribe();
///     let last = s.spawn(move || {
///         let mut last = 0;
///         while reader.changed().is_ok() {
///             last = reader.get(); // some may be skipped
///         }
///         last
///     });
///     for i in 1..=5 {
///         level.set(i).unwrap();
///     }
///     level.shutdown();
///     assert_eq!(last.join().unwrap(), 5);
/// });
/// ```
pub struct Watch<T> {
    value: RwLock<T>,
    monitor: Monitor<Line>,
}

struct Line {
    /// The version, and the two bits.
    number: usize,
    waiters: WaitList<()>,
}

impl State for Line {
    const FAST: bool = true;

    fn load(&mut self, number: usize) {
        self.number = number;
    }

    fn store(&self) -> (usize, bool) {
        (self.number, !self.waiters.is_empty())
    }
}

impl Waiters<()> for Line {
    fn waiters(&mut self) -> &mut WaitList<()> {
        &mut self.waiters
    }
}

fn version(number: usize) -> usize {
    number & !(SHUT_DOWN | CHANGING)
}

/// What there is for one who has seen the version `seen`: a later one, or the end.
fn news(number: usize, seen: usize) -> Option<Result<usize, WatchError>> {
    if version(number) != seen {
        return Some(Ok(version(number)));
    }
    let ended = number & (SHUT_DOWN | CHANGING) == SHUT_DOWN;
    ended.then_some(Err(WatchError::ShutDown))
}

impl<T> UnwindSafe for Watch<T> {}
impl<T> RefUnwindSafe for Watch<T> {}

impl<T> Watch<T> {
    const_fn! {
        /// With its first value, which every reader counts as seen.
        ///
        /// # Examples
        ///
        /// ```
        /// static LEVEL: greenlet::sync::Watch<u8> = greenlet::sync::Watch::new(3);
        /// assert_eq!(LEVEL.get(), 3);
        /// ```
        pub const fn new(value: T) -> Self {
            let line = Line { number: 0, waiters: WaitList::new() };
            Watch { value: RwLock::new(value), monitor: Monitor::new(0, line) }
        }
    }

    /// A reader, which has seen the value that is there now.
    ///
    /// # Examples
    ///
    /// ```
    /// let watch = greenlet::sync::Watch::new(1);
    /// let mut reader = watch.subscribe();
    /// assert!(!reader.has_changed());
    /// watch.set(2).unwrap();
    /// assert!(reader.has_changed());
    /// ```
    pub fn subscribe(&self) -> WatchReader<'_, T> {
        let seen = version(self.monitor.number());
        let watch = Handle::Borrowed(self);
        WatchReader { watch, seen }
    }

    /// As [`subscribe`](Self::subscribe), with a reader that shares the watch.
    ///
    /// # Examples
    ///
    /// ```
    /// let watch = std::sync::Arc::new(greenlet::sync::Watch::new(1));
    /// let mut reader = watch.subscribe_owned();
    /// let thread = std::thread::spawn(move || reader.changed().map(|()| reader.get()));
    /// watch.set(2).unwrap();
    /// # thread.join().unwrap().unwrap();
    /// ```
    pub fn subscribe_owned(self: &Arc<Self>) -> WatchReader<'static, T> {
        let seen = version(self.monitor.number());
        let watch = Handle::Shared(self.clone());
        WatchReader { watch, seen }
    }

    /// A clone of the value. Waits for one who changes it now.
    ///
    /// # Examples
    ///
    /// ```
    /// assert_eq!(greenlet::sync::Watch::new("a").get(), "a");
    /// ```
    #[track_caller]
    pub fn get(&self) -> T
    where
        T: Clone,
    {
        self.with(T::clone)
    }

    /// Lends the value. Waits for one who changes it now.
    ///
    /// Those who would change it wait until the closure returns, and the caller must not be one
    /// of them.
    ///
    /// # Examples
    ///
    /// ```
    /// let watch = greenlet::sync::Watch::new(vec![1, 2]);
    /// assert_eq!(watch.with(|all| all.len()), 2);
    /// ```
    #[track_caller]
    pub fn with<R>(&self, f: impl FnOnce(&T) -> R) -> R {
        f(&self.value.read())
    }

    /// Sets the value, gives the old one back, and tells the readers, also if the two are equal.
    /// Waits only for those who read or change it now.
    ///
    /// # Timeouts and kills
    ///
    /// Either ends the wait by unwinding, and nothing is set. While panicking it aborts if it
    /// would have to wait.
    ///
    /// # Errors
    ///
    /// The value comes back if the watch is [shut down](Self::shutdown).
    ///
    /// # Examples
    ///
    /// ```
    /// let watch = greenlet::sync::Watch::new(1);
    /// assert_eq!(watch.set(2), Ok(1));
    /// watch.shutdown();
    /// assert_eq!(watch.set(3), Err(3));
    /// assert_eq!(watch.get(), 2);
    /// ```
    #[track_caller]
    pub fn set(&self, value: T) -> Result<T, T> {
        match self.begin() {
            Some(mut change) => Ok(std::mem::replace(change.value(), value)),
            None => Err(value),
        }
    }

    /// Changes the value where it is, and tells the readers. Waits for those who read or change
    /// it now.
    ///
    /// If the closure is unwound the readers are told too: the value may have changed in part.
    ///
    /// # Timeouts and kills
    ///
    /// As for [`set`](Self::set).
    ///
    /// # Errors
    ///
    /// [`WatchError::ShutDown`] if it is shut down; then the closure is not called.
    ///
    /// # Examples
    ///
    /// ```
    /// let watch = greenlet::sync::Watch::new(vec![1]);
    /// watch.modify(|all| all.push(2)).unwrap();
    /// assert_eq!(watch.get(), [1, 2]);
    /// ```
    #[track_caller]
    pub fn modify<R>(&self, f: impl FnOnce(&mut T) -> R) -> Result<R, WatchError> {
        let mut change = self.begin().ok_or(WatchError::ShutDown)?;
        Ok(f(change.value()))
    }

    /// As [`modify`](Self::modify); the closure says whether anything has changed. If not, no
    /// reader is told. Returns what the closure does.
    ///
    /// # Timeouts and kills
    ///
    /// As for [`set`](Self::set).
    ///
    /// # Errors
    ///
    /// As for [`modify`](Self::modify).
    ///
    /// # Examples
    ///
    /// ```
    /// let highest = greenlet::sync::Watch::new(5);
    /// let reader = highest.subscribe();
    /// let raise = |to| highest.modify_if(|now| (to > *now).then(|| *now = to).is_some());
    /// assert_eq!(raise(4), Ok(false));
    /// assert!(!reader.has_changed());
    /// assert_eq!(raise(6), Ok(true));
    /// assert!(reader.has_changed());
    /// ```
    #[track_caller]
    pub fn modify_if(&self, f: impl FnOnce(&mut T) -> bool) -> Result<bool, WatchError> {
        let mut change = self.begin().ok_or(WatchError::ShutDown)?;
        change.changed = f(change.value());
        Ok(change.changed)
    }

    /// Says that no more values will come. Readers see the last one, then
    /// [`WatchError::ShutDown`]; the value stays. Never waits: one who changes the value now is
    /// still allowed to. Twice is as good as once.
    ///
    /// # Examples
    ///
    /// ```
    /// use greenlet::sync::{Watch, WatchError};
    ///
    /// let watch = Watch::new(1);
    /// let mut reader = watch.subscribe();
    /// watch.set(2).unwrap();
    /// watch.shutdown();
    /// assert_eq!(reader.changed().map(|()| reader.get()), Ok(2));
    /// assert_eq!(reader.changed(), Err(WatchError::ShutDown));
    /// ```
    pub fn shutdown(&self) {
        if self
            .monitor
            .fast(|number| Some(number | SHUT_DOWN))
            .is_none()
        {
            self.monitor.broadcast::<()>(|line| {
                line.number |= SHUT_DOWN;
                // Else who is changing the value tells them.
                line.number & CHANGING == 0
            });
        }
    }

    /// Whether it is shut down.
    ///
    /// # Examples
    ///
    /// ```
    /// assert!(!greenlet::sync::Watch::new(1).is_shut_down());
    /// ```
    pub fn is_shut_down(&self) -> bool {
        self.monitor.number() & SHUT_DOWN != 0
    }

    /// Whether it is shut down, and how many wait for a change, now.
    ///
    /// # Examples
    ///
    /// ```
    /// assert_eq!(greenlet::sync::Watch::new(1).statistics().waiting, 0);
    /// ```
    pub fn statistics(&self) -> WatchStatistics {
        let mut guard = self.monitor.lock();
        let line = guard.parts().0;
        WatchStatistics {
            shut_down: line.number & SHUT_DOWN != 0,
            waiting: line.waiters.len(),
        }
    }

    /// Locks the value to change it, unless it is shut down.
    #[track_caller]
    fn begin(&self) -> Option<Change<'_, T>> {
        if self.is_shut_down() {
            return None;
        }
        let value = Some(self.value.write());
        let begun = self
            .monitor
            .shift(|number| (number & SHUT_DOWN == 0).then_some(number | CHANGING));
        // Made only if it has begun: its end is that of a change.
        begun.then(|| Change {
            watch: self,
            value,
            changed: true,
        })
    }

    /// By who has the value locked for writing. Returns below which ticket those are who must be
    /// told, if there is anybody.
    fn end(&self, changed: bool) -> Option<u64> {
        let after = |number: usize| {
            let step = if changed { VERSION } else { 0 };
            (number & !CHANGING).wrapping_add(step) & NUMBER
        };
        if self.monitor.fast(|number| Some(after(number))).is_some() {
            return None;
        }
        let mut guard = self.monitor.lock();
        let line = guard.parts().0;
        line.number = after(line.number);
        let tells = changed || line.number & SHUT_DOWN != 0;
        tells.then(|| line.waiters.next_ticket())
    }

    /// Waits until there is news for one who has seen the version `seen`.
    #[inline(always)]
    #[track_caller]
    fn changed(&self, seen: &mut usize, site: &Site, limit: &Limit) -> Result<(), WatchError> {
        let had = *seen;
        let decide = |line: &mut Line, _: &mut _, _: &mut ()| news(line.number, had);
        let finish = |end: End, ()| match end {
            End::Notified => self.told(had),
            End::Expired | End::Refused => Err(WatchError::Unchanged),
        };
        if let Some(told) = self.try_changed(seen) {
            return told;
        }
        *seen = self.monitor.wait(site, limit, (), decide, finish)?;
        Ok(())
    }

    /// What there is for one who has seen that version, without waiting for it.
    #[inline]
    fn try_changed(&self, seen: &mut usize) -> Option<Result<(), WatchError>> {
        let news = news(self.monitor.number(), *seen)?;
        Some(news.map(|version| *seen = version))
    }

    /// What one was woken for. There are news, unless the version has come round in between.
    fn told(&self, seen: usize) -> Result<usize, WatchError> {
        news(self.monitor.number(), seen).unwrap_or(Ok(seen))
    }
}

/// The value, locked to be changed. Its end tells the readers.
struct Change<'a, T> {
    watch: &'a Watch<T>,
    value: Option<RwLockWriteGuard<'a, T>>,
    /// Also if the closure is unwound.
    changed: bool,
}

impl<T> Change<'_, T> {
    fn value(&mut self) -> &mut T {
        self.value.as_mut().expect("it is locked until the drop")
    }
}

impl<T> Drop for Change<'_, T> {
    fn drop(&mut self) {
        /// They are told also if the wake of one who waits for the lock panics, which is then a
        /// Simulation's.
        struct Tell<'a>(&'a Monitor<Line>, Option<u64>);

        impl Drop for Tell<'_> {
            fn drop(&mut self) {
                if let Some(end) = self.1 {
                    self.0.wake_below::<()>(end);
                }
            }
        }

        let _tell = Tell(&self.watch.monitor, self.watch.end(self.changed));
        drop(self.value.take());
    }
}

/// One who reads a [`Watch`], and knows which version it has seen.
///
/// It has seen a version when [`changed`](WatchReader::changed) has told it, or when it has read
/// the value itself. A clone has seen the same.
///
/// # Examples
///
/// ```
/// use greenlet::sync::Watch;
///
/// let watch = Watch::new("idle");
/// greenlet::scope(|s| {
///     let mut reader = watch.subscribe();
///     s.spawn(move || {
///         let state = reader.wait_for(|state| *state != "idle").unwrap();
///         assert_eq!(*state, "ready");
///     });
///     watch.set("ready").unwrap();
/// });
/// ```
pub struct WatchReader<'a, T> {
    watch: Handle<'a, Watch<T>>,
    seen: usize,
}

impl<T> WatchReader<'_, T> {
    /// What it reads.
    ///
    /// # Examples
    ///
    /// ```
    /// let watch = greenlet::sync::Watch::new(1);
    /// assert!(!watch.subscribe().watch().is_shut_down());
    /// ```
    pub fn watch(&self) -> &Watch<T> {
        &self.watch
    }

    /// Whether there is a version that it has not seen.
    ///
    /// # Examples
    ///
    /// ```
    /// let watch = greenlet::sync::Watch::new(1);
    /// let mut reader = watch.subscribe();
    /// watch.set(2).unwrap();
    /// assert!(reader.has_changed());
    /// assert_eq!(reader.get(), 2);
    /// assert!(!reader.has_changed());
    /// ```
    pub fn has_changed(&self) -> bool {
        version(self.watch.monitor.number()) != self.seen
    }

    /// Waits until there is a version that it has not seen, which it then has; returns at once,
    /// without a switch, if there is one.
    ///
    /// # Timeouts and kills
    ///
    /// Either ends the wait by unwinding; nothing counts as seen then.
    ///
    /// # Errors
    ///
    /// [`WatchError::ShutDown`] if nothing more comes; [`WatchError::Unchanged`] only while
    /// panicking.
    ///
    /// # Examples
    ///
    /// ```
    /// let watch = greenlet::sync::Watch::new(1);
    /// let mut reader = watch.subscribe();
    /// watch.set(2).unwrap();
    /// watch.set(3).unwrap();
    /// reader.changed().unwrap(); // both at once
    /// assert_eq!(reader.get(), 3);
    /// ```
    #[inline(always)]
    #[track_caller]
    pub fn changed(&mut self) -> Result<(), WatchError> {
        let site = Site::here("WatchReader::changed");
        self.watch.changed(&mut self.seen, &site, &Limit::Never)
    }

    /// As [`changed`](Self::changed), for at most `limit`. Zero makes one trip through the loop.
    ///
    /// # Errors
    ///
    /// [`WatchError::Unchanged`] if the time was over first, or [`WatchError::ShutDown`].
    ///
    /// # Examples
    ///
    /// ```
    /// let watch = greenlet::sync::Watch::new(1);
    /// let mut reader = watch.subscribe();
    /// assert!(reader.changed_timeout(std::time::Duration::from_millis(1)).is_err());
    /// ```
    #[inline(always)]
    #[track_caller]
    pub fn changed_timeout(&mut self, limit: Duration) -> Result<(), WatchError> {
        let site = Site::here("WatchReader::changed_timeout");
        let limit = Limit::After(limit);
        self.watch.changed(&mut self.seen, &site, &limit)
    }

    /// For [`select!`](crate::select!): [`changed`](Self::changed).
    #[doc(hidden)]
    #[inline(always)]
    pub fn select_wait(&mut self) -> Arm<impl Intent<Output = Result<(), WatchError>>> {
        Arm(Hearing(self))
    }

    /// A [`changed`](Self::changed) as an arm.
    pub(crate) fn changed_arm(&mut self) -> impl Choice<Output = Result<(), WatchError>> {
        let (watch, seen) = (&*self.watch, &mut self.seen);
        let had = *seen;
        let arm = Operation::new(
            &watch.monitor,
            (),
            move |line, _| news(line.number, had).is_some(),
            move |line, _, _| news(line.number, had).map(drop),
            |()| (),
            |()| (),
        );
        Then::new(arm, move || {
            *seen = watch.told(had)?;
            Ok(())
        })
    }

    /// A clone of the value, which counts as seen. Waits for one who changes it now.
    ///
    /// # Examples
    ///
    /// ```
    /// let watch = greenlet::sync::Watch::new(1);
    /// assert_eq!(watch.subscribe().get(), 1);
    /// ```
    #[track_caller]
    pub fn get(&mut self) -> T
    where
        T: Clone,
    {
        self.with(T::clone)
    }

    /// Lends the value, which counts as seen. Waits for one who changes it now.
    ///
    /// Those who would change it wait until the closure returns, and the caller must not be one
    /// of them.
    ///
    /// # Examples
    ///
    /// ```
    /// let watch = greenlet::sync::Watch::new("abc".to_owned());
    /// assert_eq!(watch.subscribe().with(|text| text.len()), 3);
    /// ```
    #[track_caller]
    pub fn with<R>(&mut self, f: impl FnOnce(&T) -> R) -> R {
        let value = self.watch.value.read();
        // It cannot move while the value is locked.
        self.seen = version(self.watch.monitor.number());
        f(&value)
    }

    /// Waits until the condition is true of the value, which then stays locked for reading, and so
    /// true, until the guard is dropped. The value that is there is looked at first, then each one
    /// that is seen: those that are skipped are not looked at.
    ///
    /// # Timeouts and kills
    ///
    /// Either ends a wait by unwinding.
    ///
    /// # Errors
    ///
    /// [`WatchError::ShutDown`] if nothing more comes and the condition is not true of the last
    /// value; [`WatchError::Unchanged`] only while panicking.
    ///
    /// # Examples
    ///
    /// ```
    /// use greenlet::sync::{Watch, WatchError};
    ///
    /// let watch = Watch::new(1);
    /// let mut reader = watch.subscribe();
    /// assert_eq!(*reader.wait_for(|n| *n < 3).unwrap(), 1);
    /// watch.shutdown();
    /// assert_eq!(reader.wait_for(|n| *n > 3).err(), Some(WatchError::ShutDown));
    /// ```
    #[track_caller]
    pub fn wait_for(
        &mut self,
        condition: impl FnMut(&T) -> bool,
    ) -> Result<RwLockReadGuard<'_, T>, WatchError> {
        let site = Site::here("WatchReader::wait_for");
        self.wait_for_within(site, Limit::Never, condition)
    }

    /// As [`wait_for`](Self::wait_for), for at most `limit` in all.
    ///
    /// # Errors
    ///
    /// [`WatchError::Unchanged`] if the time was over first, or [`WatchError::ShutDown`].
    ///
    /// # Examples
    ///
    /// ```
    /// let watch = greenlet::sync::Watch::new(1);
    /// let mut reader = watch.subscribe();
    /// let limit = std::time::Duration::from_millis(1);
    /// assert!(reader.wait_for_timeout(limit, |n| *n > 1).is_err());
    /// ```
    #[track_caller]
    pub fn wait_for_timeout(
        &mut self,
        limit: Duration,
        condition: impl FnMut(&T) -> bool,
    ) -> Result<RwLockReadGuard<'_, T>, WatchError> {
        let site = Site::here("WatchReader::wait_for_timeout");
        self.wait_for_within(site, Limit::After(limit), condition)
    }

    #[track_caller]
    fn wait_for_within(
        &mut self,
        site: Site,
        limit: Limit,
        mut condition: impl FnMut(&T) -> bool,
    ) -> Result<RwLockReadGuard<'_, T>, WatchError> {
        let limit = limit.fixed(|| Party::current().now());
        let (watch, seen) = (&*self.watch, &mut self.seen);
        loop {
            let value = match limit {
                Limit::At(end) => watch.value.try_read_until(end),
                Limit::Never | Limit::After(_) => Some(watch.value.read()),
            };
            let value = value.ok_or(WatchError::Unchanged)?;
            *seen = version(watch.monitor.number());
            if condition(&value) {
                return Ok(value);
            }
            drop(value);
            watch.changed(seen, &site, &limit)?;
        }
    }
}

/// To hear of a change.
struct Hearing<'a, 'b, T>(&'a mut WatchReader<'b, T>);

impl<T> Intent for Hearing<'_, '_, T> {
    type Output = Result<(), WatchError>;

    #[inline]
    fn attempt(&mut self) -> Option<Self::Output> {
        let reader = &mut *self.0;
        reader.watch.try_changed(&mut reader.seen)
    }

    fn arm(&mut self) -> impl Choice<Output = Self::Output> {
        self.0.changed_arm()
    }
}

impl<T> Clone for WatchReader<'_, T> {
    fn clone(&self) -> Self {
        let (watch, seen) = (self.watch.clone(), self.seen);
        WatchReader { watch, seen }
    }
}

impl<T: Default> Default for Watch<T> {
    fn default() -> Self {
        Watch::new(T::default())
    }
}

impl<T> fmt::Debug for Watch<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The writer is the caller's: not under the lock.
        let WatchStatistics { shut_down, waiting } = self.statistics();
        f.debug_struct("Watch")
            .field("shut_down", &shut_down)
            .field("waiting", &waiting)
            .finish_non_exhaustive()
    }
}

impl<T> fmt::Debug for WatchReader<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WatchReader")
            .field("has_changed", &self.has_changed())
            .field("watch", self.watch())
            .finish()
    }
}

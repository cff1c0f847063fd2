//! A number of permits; who finds too few waits for them.

use super::Flavour;
use super::errors::ReleaseError;
use super::statistics::SemaphoreStatistics;
use crate::rt::clock::Limit;
use crate::rt::park::Wakes;
use crate::rt::sync::const_fn;
use crate::rt::task::Site;
use crate::rt::wait::{Choice, End, Intent, Monitor, Operation, State, WaitList, Waiters};
use crate::select::Arm;
use std::fmt;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::time::Duration;

/// The largest number of permits: the fast word has one bit for waiters, and one
/// is left so that a sum cannot overflow.
const MAX_PERMITS: usize = usize::MAX >> 2;

/// What both semaphores are made of. Invariant: nobody waits, or the first in
/// line needs more than there is.
struct Permits {
    monitor: Monitor<Count, Flavour>,
    bound: usize,
}

struct Count {
    permits: usize,
    /// Each with the number of permits it needs.
    waiters: WaitList<usize>,
}

impl State for Count {
    const FAST: bool = true;

    fn load(&mut self, number: usize) {
        self.permits = number;
    }

    fn store(&self) -> (usize, bool) {
        (self.permits, !self.waiters.is_empty())
    }

    fn check(&self) {
        assert!(self.waiters.front().is_none_or(|&need| need > self.permits));
    }
}

impl Waiters<usize> for Count {
    fn waiters(&mut self) -> &mut WaitList<usize> {
        &mut self.waiters
    }

    fn left(&mut self, wakes: &mut Wakes) {
        self.grant(wakes);
    }
}

impl Count {
    /// There are enough, and nobody is in line for them.
    fn fits(&self, need: usize) -> bool {
        self.waiters.is_empty() && need <= self.permits
    }

    /// Takes permits, unless there are too few or others are in line for them.
    fn take(&mut self, need: usize, wakes: &mut Wakes) -> bool {
        // Only if the first in line has ended with its thread does this do anything.
        self.grant(wakes);
        let fits = self.fits(need);
        if fits {
            self.permits -= need;
        }
        fits
    }

    /// Hands permits to those first in line, as long as there are enough.
    fn grant(&mut self, wakes: &mut Wakes) {
        loop {
            self.waiters.skip_closed();
            let Some(&need) = self.waiters.front() else {
                return;
            };
            if need > self.permits {
                return;
            }
            // One that was leaving takes nothing.
            if let Some(Some(slot)) = self.waiters.claim_front(wakes) {
                *slot = 0;
                self.permits -= need;
            }
        }
    }
}

impl Permits {
    const_fn! {
        #[track_caller]
        const fn new(permits: usize, bound: usize) -> Self {
            assert!(permits <= MAX_PERMITS, "too many permits");
            let count = Count { permits, waiters: WaitList::new() };
            Permits { monitor: Monitor::new(permits, count), bound }
        }
    }

    #[inline(always)]
    #[track_caller]
    fn acquire(&self, operation: &'static str, n: usize, limit: Limit) -> bool {
        if n == 0 || self.take(n) == Some(true) {
            return true;
        }
        self.check_need(n);
        let decide = |count: &mut Count, wakes: &mut Wakes, need: &mut usize| {
            count.take(*need, wakes).then_some(true)
        };
        let site = Site::here(operation);
        let finish = |end: End, _| end.in_time(&site, &limit);
        self.monitor.wait(&site, &limit, n, decide, finish)
    }

    /// A need over the bound could never be met.
    #[track_caller]
    fn check_need(&self, n: usize) {
        assert!(
            n <= self.bound,
            "acquiring {n} permits of a semaphore that never has more than {}",
            self.bound
        );
    }

    /// An acquire as an arm of a select.
    fn acquire_arm(&self, n: usize) -> impl Choice<Output = Permit<'_>> {
        let permit = move || Permit { permits: self, n };
        Operation::new(
            &self.monitor,
            n,
            move |count, _| count.fits(n),
            move |count, wakes, _| (n == 0 || count.take(n, wakes)).then(permit),
            move |_| permit(),
            // Nobody wants what was granted.
            move |need| drop((need < n).then(permit)),
        )
    }

    /// Fails while anyone queues.
    #[inline]
    fn try_acquire(&self, n: usize) -> bool {
        n == 0 || self.take(n).unwrap_or_else(|| self.try_acquire_locked(n))
    }

    /// `None`: only the lock can tell.
    #[inline]
    fn take(&self, n: usize) -> Option<bool> {
        self.monitor.fast(|permits| permits.checked_sub(n))
    }

    #[cold]
    fn try_acquire_locked(&self, n: usize) -> bool {
        let mut guard = self.monitor.lock();
        let (count, wakes) = guard.parts();
        count.take(n, wakes)
    }

    /// Gives permits back; false, and nothing changes, if that would exceed the bound.
    #[inline]
    fn release(&self, n: usize) -> bool {
        match self.monitor.fast(|permits| self.sum(permits, n)) {
            Some(done) => done,
            None => self.release_locked(n),
        }
    }

    #[inline(never)]
    fn release_locked(&self, n: usize) -> bool {
        let mut guard = self.monitor.lock();
        let (count, wakes) = guard.parts();
        let Some(sum) = self.sum(count.permits, n) else {
            return false;
        };
        count.permits = sum;
        count.grant(wakes);
        true
    }

    fn sum(&self, permits: usize, n: usize) -> Option<usize> {
        permits.checked_add(n).filter(|&sum| sum <= self.bound)
    }

    /// As release, up to the bound.
    #[inline]
    fn give_back(&self, n: usize) {
        if !self.release(n) {
            self.fill_up(n);
        }
    }

    #[cold]
    fn fill_up(&self, n: usize) {
        let mut guard = self.monitor.lock();
        let (count, wakes) = guard.parts();
        count.permits = self.sum(count.permits, n).unwrap_or(self.bound);
        count.grant(wakes);
    }

    fn available(&self) -> usize {
        self.monitor.number()
    }

    fn statistics(&self) -> SemaphoreStatistics {
        let mut guard = self.monitor.lock();
        let count = guard.parts().0;
        SemaphoreStatistics {
            available: count.permits,
            waiting: count.waiters.len(),
        }
    }

    fn debug(&self, name: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The writer is the caller's: not under the lock.
        let SemaphoreStatistics { available, waiting } = self.statistics();
        f.debug_struct(name)
            .field("available", &available)
            .field("waiting", &waiting)
            .finish()
    }
}

/// To acquire so many.
struct Acquiring<'a> {
    permits: &'a Permits,
    n: usize,
}

impl<'a> Intent for Acquiring<'a> {
    type Output = Permit<'a>;

    #[inline]
    fn attempt(&mut self) -> Option<Permit<'a>> {
        let Acquiring { permits, n } = *self;
        permits.try_acquire(n).then(|| Permit { permits, n })
    }

    fn arm(&mut self) -> impl Choice<Output = Permit<'a>> {
        self.permits.acquire_arm(self.n)
    }
}

/// One or more permits of a semaphore, returned when it is dropped.
///
/// At the bound of a [`BoundedSemaphore`] the return adds nothing.
///
/// # Examples
///
/// ```
#[doc = concat!("let s = ", here!(), "::Semaphore::new(1);")]
/// let permit = s.acquire();
/// assert!(s.is_locked());
/// drop(permit);
/// assert!(!s.is_locked());
/// ```
#[must_use = "a permit returns to its semaphore as soon as it is dropped"]
pub struct Permit<'a> {
    permits: &'a Permits,
    n: usize,
}

impl UnwindSafe for Permit<'_> {}
impl RefUnwindSafe for Permit<'_> {}

impl Permit<'_> {
    /// Keeps the permits out of the semaphore for good.
    ///
    /// # Examples
    ///
    /// ```
    #[doc = concat!("let s = ", here!(), "::Semaphore::new(2);")]
    /// s.acquire().forget();
    /// assert_eq!(s.available(), 1);
    /// ```
    pub fn forget(mut self) {
        self.n = 0;
    }
}

impl Drop for Permit<'_> {
    #[inline]
    fn drop(&mut self) {
        if self.n > 0 {
            self.permits.give_back(self.n);
        }
    }
}

impl fmt::Debug for Permit<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Permit").field(&self.n).finish()
    }
}

/// A [`Permit`] that shares its semaphore, so that it can be stored or sent.
///
/// # Examples
///
/// ```
#[doc = concat!("let s = ", shared!(), "::new(", here!(), "::Semaphore::new(1));")]
/// let permit = s.acquire_owned();
/// greenlet::spawn(move || drop(permit)).join().unwrap();
/// assert_eq!(s.available(), 1);
/// ```
#[must_use = "a permit returns to its semaphore as soon as it is dropped"]
pub struct OwnedPermit {
    owner: Owner,
    n: usize,
}

enum Owner {
    Plain(shared!(Semaphore)),
    Bounded(shared!(BoundedSemaphore)),
}

impl UnwindSafe for OwnedPermit {}
impl RefUnwindSafe for OwnedPermit {}

impl OwnedPermit {
    /// Keeps the permit out of the semaphore for good.
    ///
    /// # Examples
    ///
    /// ```
    #[doc = concat!("let s = ", shared!(), "::new(", here!(), "::Semaphore::new(2));")]
    /// s.acquire_owned().forget();
    /// assert_eq!(s.available(), 1);
    /// ```
    pub fn forget(mut self) {
        self.n = 0;
    }
}

impl Drop for OwnedPermit {
    fn drop(&mut self) {
        if self.n > 0 {
            match &self.owner {
                Owner::Plain(s) => s.permits.give_back(self.n),
                Owner::Bounded(s) => s.permits.give_back(self.n),
            }
        }
    }
}

impl fmt::Debug for OwnedPermit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("OwnedPermit").field(&self.n).finish()
    }
}

/// Writes what both semaphores have in common.
macro_rules! semaphore {
    ($Name:ident, $owner:ident, $name:literal) => {
        impl UnwindSafe for $Name {}
        impl RefUnwindSafe for $Name {}

        impl $Name {
            /// For [`select!`](crate::select!).
            #[doc(hidden)]
            #[track_caller]
            pub fn select_acquire(&self, n: usize) -> Arm<impl Intent<Output = Permit<'_>>> {
                self.permits.check_need(n);
                let permits = &self.permits;
                Arm(Acquiring { permits, n })
            }

            #[track_caller]
            pub(crate) fn acquire_arm(&self, n: usize) -> impl Choice<Output = Permit<'_>> {
                self.permits.check_need(n);
                self.permits.acquire_arm(n)
            }

            /// How many permits are free now.
            ///
            /// # Examples
            ///
            /// ```
            #[doc = concat!("assert_eq!(", here!(), "::", $name, "::new(3).available(), 3);")]
            /// ```
            #[inline]
            pub fn available(&self) -> usize {
                self.permits.available()
            }

            /// How many permits are free and how many wait, now.
            ///
            /// # Examples
            ///
            /// ```
            #[doc = concat!("assert_eq!(", here!(), "::", $name, "::new(3).statistics().available, 3);")]
            /// ```
            pub fn statistics(&self) -> SemaphoreStatistics {
                self.permits.statistics()
            }

            /// True if no permit is free.
            ///
            /// # Examples
            ///
            /// ```
            #[doc = concat!("let s = ", here!(), "::", $name, "::new(1);")]
            /// let _permit = s.acquire();
            /// assert!(s.is_locked());
            /// ```
            #[inline]
            pub fn is_locked(&self) -> bool {
                self.available() == 0
            }

            /// Takes a permit if one is free and nobody waits. Never switches.
            ///
            /// # Examples
            ///
            /// ```
            #[doc = concat!("let s = ", here!(), "::", $name, "::new(1);")]
            /// let first = s.try_acquire();
            /// assert!(first.is_some() && s.try_acquire().is_none());
            /// ```
            #[inline]
            #[must_use = "the permit, if it was to be had; it returns when it is dropped"]
            pub fn try_acquire(&self) -> Option<Permit<'_>> {
                self.permits.try_acquire(1).then(|| self.permit(1))
            }

            /// As [`try_acquire`](Self::try_acquire), with a permit that shares
            /// the semaphore.
            ///
            /// # Examples
            ///
            /// ```
            #[doc = concat!("let s = ", shared!(), "::new(", here!(), "::", $name, "::new(1));")]
            /// assert!(s.try_acquire_owned().is_some());
            /// ```
            #[must_use = "the permit, if it was to be had; it returns when it is dropped"]
            pub fn try_acquire_owned(self: &shared!(Self)) -> Option<OwnedPermit> {
                self.permits.try_acquire(1).then(|| self.owned())
            }

            /// Takes a permit, waiting for it if need be.
            ///
            /// # Fairness
            ///
            /// Permits go to waiters in order of arrival, by hand-off: who
            /// releases cannot take the permit back before them.
            ///
            /// # Timeouts and kills
            ///
            /// Either ends the wait by unwinding and takes nothing. While
            /// panicking it aborts if it would have to wait.
            ///
            /// # Examples
            ///
            /// ```
            #[doc = concat!("let s = ", here!(), "::", $name, "::new(1);")]
            /// let permit = s.acquire();
            /// ```
            #[inline(always)]
            #[track_caller]
            pub fn acquire(&self) -> Permit<'_> {
                self.permits
                    .acquire(concat!($name, "::acquire"), 1, Limit::Never);
                self.permit(1)
            }

            /// Takes `n` permits at once, waiting until there are so many. Those
            /// behind wait too, even if there are enough for them.
            ///
            /// Zero permits are there at once.
            ///
            /// # Panics
            ///
            /// If `n` is more than there can ever be.
            ///
            /// # Examples
            ///
            /// ```
            #[doc = concat!("let s = ", here!(), "::", $name, "::new(3);")]
            /// let two = s.acquire_many(2);
            /// assert_eq!(s.available(), 1);
            /// ```
            #[inline(always)]
            #[track_caller]
            pub fn acquire_many(&self, n: usize) -> Permit<'_> {
                self.permits
                    .acquire(concat!($name, "::acquire_many"), n, Limit::Never);
                self.permit(n)
            }

            /// Takes a permit, waiting for at most `limit`; `None` if the time
            /// was over first, or while panicking.
            ///
            /// # Examples
            ///
            /// ```
            #[doc = concat!("let s = ", here!(), "::", $name, "::new(1);")]
            /// let held = s.acquire();
            /// assert!(s.acquire_timeout(std::time::Duration::from_millis(1)).is_none());
            /// ```
            #[inline(always)]
            #[track_caller]
            #[must_use = "the permit, if it was to be had; it returns when it is dropped"]
            pub fn acquire_timeout(&self, limit: Duration) -> Option<Permit<'_>> {
                let limit = Limit::After(limit);
                self.permits
                    .acquire(concat!($name, "::acquire_timeout"), 1, limit)
                    .then(|| self.permit(1))
            }

            /// As [`acquire_many`](Self::acquire_many), for at most `limit`.
            ///
            /// # Panics
            ///
            /// If `n` is more than there can ever be.
            ///
            /// # Examples
            ///
            /// ```
            #[doc = concat!("let s = ", here!(), "::", $name, "::new(2);")]
            /// let held = s.acquire();
            /// let limit = std::time::Duration::from_millis(1);
            /// assert!(s.acquire_many_timeout(2, limit).is_none());
            /// ```
            #[inline(always)]
            #[track_caller]
            #[must_use = "the permit, if it was to be had; it returns when it is dropped"]
            pub fn acquire_many_timeout(&self, n: usize, limit: Duration) -> Option<Permit<'_>> {
                let limit = Limit::After(limit);
                self.permits
                    .acquire(concat!($name, "::acquire_many_timeout"), n, limit)
                    .then(|| self.permit(n))
            }

            /// As [`acquire`](Self::acquire), with a permit that shares the
            /// semaphore.
            ///
            /// # Examples
            ///
            /// ```
            #[doc = concat!("let s = ", shared!(), "::new(", here!(), "::", $name, "::new(1));")]
            /// let permit = s.acquire_owned();
            /// ```
            #[inline(always)]
            #[track_caller]
            pub fn acquire_owned(self: &shared!(Self)) -> OwnedPermit {
                self.permits
                    .acquire(concat!($name, "::acquire_owned"), 1, Limit::Never);
                self.owned()
            }

            /// As [`acquire_timeout`](Self::acquire_timeout), with a permit that
            /// shares the semaphore.
            ///
            /// # Examples
            ///
            /// ```
            #[doc = concat!("let s = ", shared!(), "::new(", here!(), "::", $name, "::new(1));")]
            /// assert!(s.acquire_owned_timeout(std::time::Duration::ZERO).is_some());
            /// ```
            #[inline(always)]
            #[track_caller]
            #[must_use = "the permit, if it was to be had; it returns when it is dropped"]
            pub fn acquire_owned_timeout(self: &shared!(Self), limit: Duration) -> Option<OwnedPermit> {
                let limit = Limit::After(limit);
                self.permits
                    .acquire(concat!($name, "::acquire_owned_timeout"), 1, limit)
                    .then(|| self.owned())
            }

            #[inline]
            fn permit(&self, n: usize) -> Permit<'_> {
                let permits = &self.permits;
                Permit { permits, n }
            }

            pub(crate) fn owned(self: &shared!(Self)) -> OwnedPermit {
                let owner = Owner::$owner(self.clone());
                OwnedPermit { owner, n: 1 }
            }
        }

        impl fmt::Debug for $Name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.permits.debug($name, f)
            }
        }
    };
}

/// A counting semaphore whose count may grow beyond its start by
/// [`release`](Semaphore::release).
///
/// # How it works
///
/// The count lies in the fast word: without waiters, taking and giving a permit
/// are one compare-exchange each. Invariant: nobody waits, or the first in line
/// needs more than there is.
///
/// # Examples
///
/// ```
#[doc = concat!("use ", here!(), "::Semaphore;")]
///
/// let tickets = Semaphore::new(0);
/// greenlet::scope(|s| {
///     s.spawn(|| tickets.release());
///     tickets.acquire().forget(); // waits for the release
/// });
/// assert_eq!(tickets.available(), 0);
/// ```
pub struct Semaphore {
    permits: Permits,
}

impl Semaphore {
    const_fn! {
        /// With `permits` free permits.
        ///
        /// # Panics
        ///
        /// If there are more than `usize::MAX / 4`.
        ///
        /// # Examples
        ///
        /// ```
        #[doc = concat!("let s = ", here!(), "::Semaphore::new(10);")]
        /// assert_eq!(s.available(), 10);
        /// ```
        #[track_caller]
        pub const fn new(permits: usize) -> Self {
            Semaphore { permits: Permits::new(permits, MAX_PERMITS) }
        }
    }

    /// Adds a permit: hands it to the first waiter, or makes it free. Does not switch.
    ///
    /// # Panics
    ///
    /// If there would be more than `usize::MAX / 4` permits.
    ///
    /// # Examples
    ///
    /// ```
    #[doc = concat!("let s = ", here!(), "::Semaphore::new(0);")]
    /// s.release();
    /// assert_eq!(s.available(), 1);
    /// ```
    #[track_caller]
    pub fn release(&self) {
        assert!(self.permits.release(1), "too many permits");
    }
}

semaphore!(Semaphore, Plain, "Semaphore");

/// A semaphore that never has more permits than at its start: releasing more
/// often than acquiring is an error.
///
/// # How it works
///
/// As [`Semaphore`], with a bound.
///
/// # Examples
///
/// ```
#[doc = concat!("use ", here!(), "::BoundedSemaphore;")]
/// use std::cell::Cell;
///
/// let (two_at_once, inside) = (BoundedSemaphore::new(2), Cell::new(0));
/// greenlet::scope(|s| {
///     for _ in 0..6 {
///         s.spawn(|| {
///             let _permit = two_at_once.acquire();
///             inside.set(inside.get() + 1);
///             assert!(inside.get() <= 2);
///             greenlet::yield_now();
///             inside.set(inside.get() - 1);
///         });
///     }
/// });
/// ```
pub struct BoundedSemaphore {
    permits: Permits,
}

impl BoundedSemaphore {
    const_fn! {
        /// With `permits` free permits, and never more.
        ///
        /// # Panics
        ///
        /// If there are more than `usize::MAX / 4`.
        ///
        /// # Examples
        ///
        /// ```
        #[doc = concat!("let s = ", here!(), "::BoundedSemaphore::new(2);")]
        /// assert_eq!(s.available(), 2);
        /// ```
        #[track_caller]
        pub const fn new(permits: usize) -> Self {
            BoundedSemaphore { permits: Permits::new(permits, permits) }
        }
    }

    /// Adds a permit that was acquired and [forgotten](Permit::forget). Does not
    /// switch.
    ///
    /// # Errors
    ///
    /// [`ReleaseError`] over the bound; nothing changes then.
    ///
    /// # Examples
    ///
    /// ```
    #[doc = concat!("let s = ", here!(), "::BoundedSemaphore::new(1);")]
    /// s.acquire().forget();
    /// assert!(s.release().is_ok());
    /// assert!(s.release().is_err());
    /// ```
    pub fn release(&self) -> Result<(), ReleaseError> {
        self.permits.release(1).then_some(()).ok_or(ReleaseError)
    }

    /// Takes permits for an operation of another name, made of this one.
    #[inline(always)]
    #[track_caller]
    pub(crate) fn acquire_for(
        self: &shared!(Self),
        operation: &'static str,
        n: usize,
        limit: Limit,
    ) -> Option<OwnedPermit> {
        let acquired = self.permits.acquire(operation, n, limit);
        acquired.then(|| OwnedPermit {
            owner: Owner::Bounded(self.clone()),
            n,
        })
    }
}

semaphore!(BoundedSemaphore, Bounded, "BoundedSemaphore");

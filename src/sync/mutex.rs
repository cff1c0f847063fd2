//! Mutual exclusion: a raw lock of ours under lock_api's guards.

use super::statistics::MutexStatistics;
use crate::rt::clock::Limit;
use crate::rt::park::{self, Mask};
use crate::rt::sync::{Constant, constant};
use crate::rt::task::Site;
use crate::rt::wait::{
    self, Choice, End, Intent, Monitor, Operation, State, Then, WaitList, Waiters,
};
use crate::select::{Arm, Lockable};
use lock_api::GuardNoSend;
use std::fmt;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::time::{Duration, Instant};

/// A value that one greenlet, root or thread at a time may use.
///
/// The methods are those of [`lock_api::Mutex`], as in parking_lot: `new` (const), `lock`,
/// `try_lock`, `try_lock_for`, `try_lock_until`, `lock_arc` and its like, `is_locked`,
/// `get_mut`, `into_inner`; and [`statistics`](super::LockStatistics). A guard may live across waits: who wants the lock meanwhile is
/// parked, and its hub runs on. A guard stays on its thread.
///
/// # Fairness
///
/// Who unlocks hands the lock to the first in line; nobody who comes later gets it before.
///
/// # Timeouts and kills
///
/// Either ends the wait of a `lock` by unwinding, and its lock is not taken. A lock that has
/// been handed over is had: a kill or an expiry that comes before its new owner runs is raised
/// at the next wait. There is no poison: a kill or a panic that unwinds through a guard
/// unlocks, and the next owner sees the value as it was left.
///
/// While panicking `lock` cannot switch. If neither the holder nor anybody in line is of this
/// thread it blocks the thread, else it aborts; the timed forms give `None`.
/// `MutexGuard::unlocked` locks again by `lock`, and aborts if that is interrupted; call it in
/// a [`shield`](crate::shield).
///
/// # Panics
///
/// `lock`, `try_lock_for` and `try_lock_until`, if the caller has locked it itself; `try_lock`
/// gives `None` then. The owner is who locked it, even if the guard was moved to another
/// greenlet of the thread since.
///
/// # How it works
///
/// The fast word has the number of the holder: while nobody waits, locking and unlocking are
/// one compare-exchange each. Invariant: nobody waits, or somebody holds the lock.
///
/// # Examples
///
/// ```
/// use greenlet::sync::Mutex;
///
/// static LOG: Mutex<Vec<u32>> = Mutex::new(Vec::new());
/// greenlet::scope(|s| {
///     for i in 0..3 {
///         s.spawn(move || {
///             let mut log = LOG.lock();
///             let n = log.len();
///             greenlet::yield_now(); // the others wait for the lock
///             assert_eq!(log.len(), n);
///             log.push(i);
///         });
///     }
/// });
/// assert_eq!(*LOG.lock(), [0, 1, 2]);
/// ```
pub type Mutex<T> = lock_api::Mutex<RawMutex, T>;

/// The lock of a [`Mutex`], given back when this is dropped.
///
/// # Examples
///
/// ```
/// use greenlet::sync::{Mutex, MutexGuard};
///
/// fn count(calls: &mut MutexGuard<'_, u32>) {
///     **calls += 1;
/// }
/// let calls = Mutex::new(0);
/// count(&mut calls.lock());
/// assert_eq!(calls.into_inner(), 1);
/// ```
pub type MutexGuard<'a, T> = lock_api::MutexGuard<'a, RawMutex, T>;

/// A [`MutexGuard`] of a part of the value, from `MutexGuard::map`.
///
/// # Examples
///
/// ```
/// use greenlet::sync::{MappedMutexGuard, Mutex, MutexGuard};
///
/// let pair = Mutex::new((1, 2));
/// let mut second: MappedMutexGuard<'_, i32> = MutexGuard::map(pair.lock(), |p| &mut p.1);
/// *second += 1;
/// drop(second);
/// assert_eq!(pair.into_inner(), (1, 3));
/// ```
pub type MappedMutexGuard<'a, T> = lock_api::MappedMutexGuard<'a, RawMutex, T>;

/// A [`MutexGuard`] that shares its mutex, from `Mutex::lock_arc`.
///
/// # Examples
///
/// ```
/// use greenlet::sync::{ArcMutexGuard, Mutex};
///
/// let guard: ArcMutexGuard<u32> = std::sync::Arc::new(Mutex::new(7)).lock_arc();
/// assert_eq!(*guard, 7);
/// ```
pub type ArcMutexGuard<T> = lock_api::ArcMutexGuard<RawMutex, T>;

/// The lock under a [`Mutex`].
///
/// # Examples
///
/// ```
/// use greenlet::sync::{Mutex, RawMutex};
///
/// // A name for the type, for code that is generic over lock_api's.
/// let zero = lock_api::Mutex::<RawMutex, u32>::new(0);
/// let _same: &Mutex<u32> = &zero;
/// ```
pub struct RawMutex {
    monitor: Constant<Monitor<Line>>,
}

struct Line {
    /// The number of who holds the lock, or 0; with [`RESERVED`] if there is no guard yet.
    holder: usize,
    /// Each with its number, an arm's with [`RESERVED`].
    waiters: WaitList<usize>,
}

/// The lock was got by the arm of a select, which is about to make its guard.
const RESERVED: usize = park::MAX_ID + 1;

impl State for Line {
    const FAST: bool = true;

    fn load(&mut self, number: usize) {
        self.holder = number;
    }

    fn store(&self) -> (usize, bool) {
        (self.holder, !self.waiters.is_empty())
    }

    fn check(&self) {
        assert!(self.holder != 0 || self.waiters.is_empty());
    }
}

impl Waiters<usize> for Line {
    fn waiters(&mut self) -> &mut WaitList<usize> {
        &mut self.waiters
    }

    fn may_block(&self) -> bool {
        let is_here = |number: usize| park::is_here(number & !RESERVED);
        !is_here(self.holder) && !self.waiters.any(|&number| is_here(number))
    }
}

impl Line {
    fn take(&mut self, id: usize) -> bool {
        let free = is_free_for(self.holder, id);
        if free {
            self.holder = id;
        }
        free
    }
}

#[inline(always)]
fn is_free_for(holder: usize, id: usize) -> bool {
    holder == 0 || holder == id | RESERVED
}

impl UnwindSafe for RawMutex {}
impl RefUnwindSafe for RawMutex {}

impl RawMutex {
    /// Takes the lock if it is free. `None`: only the monitor's lock can tell.
    #[inline(always)]
    fn take(&self, id: usize) -> Option<bool> {
        self.monitor
            .fast(|holder| is_free_for(holder, id).then_some(id))
    }

    #[cold]
    fn take_locked(&self, id: usize) -> bool {
        self.monitor.lock().parts().0.take(id)
    }

    #[inline(always)]
    #[track_caller]
    fn lock_within(&self, operation: &'static str, limit: Limit) -> bool {
        let id = park::id();
        if self.take(id) == Some(true) {
            return true;
        }
        // Only its own steps make the caller the holder, or end that.
        if self.monitor.number() == id {
            held_already(operation);
        }
        let site = Site::here(operation);
        let decide = |line: &mut Line, _: &mut _, id: &mut usize| line.take(*id).then_some(true);
        let finish = |end: End, _| end.in_time(&site, &limit);
        self.monitor.wait(&site, &limit, id, decide, finish)
    }

    /// Hands the lock to the first in line.
    #[inline]
    pub(super) fn release(&self) {
        if self.monitor.fast(|_| Some(0)).is_none() {
            self.hand_over();
        }
    }

    #[cold]
    fn hand_over(&self) {
        let mut guard = self.monitor.lock();
        let (line, wakes) = guard.parts();
        line.holder = line.waiters.claim(wakes).map_or(0, |next| *next);
    }

    pub(super) fn statistics(&self) -> MutexStatistics {
        let mut guard = self.monitor.lock();
        let line = guard.parts().0;
        MutexStatistics {
            locked: line.holder != 0,
            waiting: line.waiters.len(),
        }
    }

    /// Locking as an arm of a select: it reserves the lock, which the caller then takes.
    fn lock_arm(&self) -> impl Choice<Output = ()> {
        Operation::new(
            &self.monitor,
            park::id() | RESERVED,
            |line, _| line.holder == 0,
            |line, _, mine| line.take(*mine).then_some(()),
            |_| (),
            |_| (),
        )
    }

    /// Locks for one who must have it before it goes on: kills and scopes wait, and if that
    /// can never be, nothing can be saved.
    #[track_caller]
    pub(super) fn lock_masked(&self, site: &Site) {
        let id = park::id();
        if self.take(id) == Some(true) {
            return;
        }
        let mut guard = self.monitor.lock();
        if !guard.parts().0.take(id) {
            let _mask = Mask::new();
            match self.monitor.wait_locked(guard, site, &Limit::Never, id) {
                Ok(end) => {
                    end.in_time(site, &Limit::Never);
                }
                Err(interruption) => wait::abort_interrupted(site, &interruption),
            }
        }
    }
}

impl<T: ?Sized> Lockable for Mutex<T> {
    type Inside = T;

    #[track_caller]
    fn select_lock(&self) -> Arm<impl Intent<Output = MutexGuard<'_, T>>> {
        if wait::raw_lock_of(self).monitor.number() == park::id() {
            held_already("select");
        }
        Arm(Locking(self))
    }
}

/// To lock it.
struct Locking<'a, T: ?Sized>(&'a Mutex<T>);

impl<'a, T: ?Sized> Intent for Locking<'a, T> {
    type Output = MutexGuard<'a, T>;

    #[inline]
    fn attempt(&mut self) -> Option<MutexGuard<'a, T>> {
        self.0.try_lock()
    }

    fn arm(&mut self) -> impl Choice<Output = MutexGuard<'a, T>> {
        let mutex = self.0;
        let guard = || mutex.try_lock().expect("the lock is reserved for this");
        Then::new(wait::raw_lock_of(mutex).lock_arm(), guard)
    }
}

#[cold]
#[track_caller]
pub(super) fn held_already(operation: &str) -> ! {
    panic!("{operation} by who holds this lock already: it would wait for itself")
}

// SAFETY: mutual exclusion: `holder` (the fast word) goes from 0 to a number by the compare-exchange
// in `Monitor::fast` or under the monitor's lock, and back only by `unlock`, or on to a waiter,
// which is claimed in the same step and returns with the lock; so between two locks lies an
// unlock. Acquire and release: those of the fast word and of the wait word. A wait that unwinds
// was not claimed, so it is not the holder: `rt/wait` sees to that. `lock_api` keeps the rest,
// that only guards unlock.
unsafe impl lock_api::RawMutex for RawMutex {
    #[allow(clippy::declare_interior_mutable_const)] // Lock_api's way.
    const INIT: Self = RawMutex {
        monitor: constant!(Monitor::new(
            0,
            Line {
                holder: 0,
                waiters: WaitList::new()
            }
        )),
    };

    type Guard = GuardNoSend;

    #[inline(always)]
    #[track_caller]
    fn lock(&self) -> GuardNoSend {
        self.lock_within("Mutex::lock", Limit::Never);
        GuardNoSend::new()
    }

    #[inline]
    fn try_lock(&self) -> Option<GuardNoSend> {
        let id = park::id();
        self.take(id)
            .unwrap_or_else(|| self.take_locked(id))
            .then(GuardNoSend::new)
    }

    #[inline]
    unsafe fn unlock(&self, _guard: GuardNoSend) {
        self.release();
    }

    fn is_locked(&self) -> bool {
        self.monitor.number() != 0
    }
}

// SAFETY: as above.
unsafe impl lock_api::RawMutexTimed for RawMutex {
    type Duration = Duration;
    type Instant = Instant;

    #[inline(always)]
    #[track_caller]
    fn try_lock_for(&self, limit: Duration) -> Option<GuardNoSend> {
        self.lock_within("Mutex::try_lock_for", Limit::After(limit))
            .then(GuardNoSend::new)
    }

    #[inline(always)]
    #[track_caller]
    fn try_lock_until(&self, limit: Instant) -> Option<GuardNoSend> {
        self.lock_within("Mutex::try_lock_until", Limit::At(limit))
            .then(GuardNoSend::new)
    }
}

impl fmt::Debug for RawMutex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The writer is the caller's: not under the lock.
        let MutexStatistics { locked, waiting } = self.statistics();
        f.debug_struct("RawMutex")
            .field("locked", &locked)
            .field("waiting", &waiting)
            .finish()
    }
}

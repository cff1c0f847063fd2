//! Many readers or one writer: a raw lock of ours under lock_api's guards.

use super::mutex::held_already;
use super::statistics::RwLockStatistics;
use crate::rt::clock::Limit;
use crate::rt::park::{self, Wakes};
use crate::rt::sync::{Constant, constant};
use crate::rt::task::Site;
use crate::rt::wait::{End, Monitor, State, WaitList, Waiters};
use lock_api::GuardNoSend;
use std::fmt;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::time::{Duration, Instant};

/// A value that many may read at once, or one may write.
///
/// The methods are those of [`lock_api::RwLock`], as in parking_lot: `new` (const), `read`,
/// `write`, `upgradable_read`, each with a `try_` form, `_for` a duration, `_until` an instant,
/// and `_arc`; and [`statistics`](super::LockStatistics). A guard may live across waits, and stays on its thread. An upgradable reader
/// reads beside readers, not beside another upgradable one;
/// `RwLockUpgradableReadGuard::upgrade` makes it the writer, with no other writer in between.
/// `downgrade` goes the other way, and lets those in who may read then.
///
/// # Fairness
///
/// First in, first out: a reader that comes while a writer waits is behind it, and readers that
/// stand behind one another are let in together. One that upgrades goes before all in line, and
/// no reader is let in before it.
///
/// So a second `read` of who is reading already can wait for ever, behind a writer that waits
/// for the first. Who has locked for reading is not known, only how many.
///
/// # Timeouts and kills
///
/// Either ends a wait by unwinding, and nothing is taken; those behind are let in if they can
/// be. An `upgrade` that unwinds has given up its upgradable lock; one whose time is over still
/// has it. A lock that was handed over is had, whatever comes before its owner runs. There is
/// no poison: who unwinds through a guard unlocks.
///
/// While panicking a wait aborts; the timed forms say no.
///
/// # Panics
///
/// What would wait for a lock that the caller has itself locked for writing; `write` and
/// `upgradable_read` also if it has an upgradable lock.
///
/// # How it works
///
/// The fast word has the number of readers and whether one of them is upgradable, or who
/// writes: while nobody waits, reading and writing and the end of either are one
/// compare-exchange each. Invariant: the first in line does not fit in beside those who are in.
///
/// # Examples
///
/// ```
/// use greenlet::sync::{RwLock, RwLockUpgradableReadGuard, RwLockWriteGuard};
///
/// let names = RwLock::new(vec!["a"]);
/// greenlet::scope(|s| {
///     s.spawn(|| {
///         let first = names.read();
///         greenlet::yield_now(); // others may read
///         assert_eq!(first.len(), 1);
///     });
///     s.spawn(|| {
///         let names = names.upgradable_read();
///         if !names.contains(&"b") {
///             let mut names = RwLockUpgradableReadGuard::upgrade(names); // waits for the reader
///             names.push("b");
///             assert_eq!(RwLockWriteGuard::downgrade(names).len(), 2);
///         }
///     });
/// });
/// assert_eq!(*names.read(), ["a", "b"]);
/// ```
pub type RwLock<T> = lock_api::RwLock<RawRwLock, T>;

/// A lock for reading, given back when this is dropped.
///
/// # Examples
///
/// ```
/// use greenlet::sync::{RwLock, RwLockReadGuard};
///
/// let lock = RwLock::new(5);
/// let both: [RwLockReadGuard<'_, i32>; 2] = [lock.read(), lock.read()];
/// assert_eq!(*both[0] + *both[1], 10);
/// ```
pub type RwLockReadGuard<'a, T> = lock_api::RwLockReadGuard<'a, RawRwLock, T>;

/// A lock for writing, given back when this is dropped.
///
/// # Examples
///
/// ```
/// use greenlet::sync::{RwLock, RwLockWriteGuard};
///
/// let lock = RwLock::new(5);
/// let mut writer: RwLockWriteGuard<'_, i32> = lock.write();
/// *writer += 1;
/// assert!(lock.try_read().is_none());
/// ```
pub type RwLockWriteGuard<'a, T> = lock_api::RwLockWriteGuard<'a, RawRwLock, T>;

/// A lock for reading that can become one for writing, given back when this is dropped.
///
/// # Examples
///
/// ```
/// use greenlet::sync::{RwLock, RwLockUpgradableReadGuard};
///
/// let lock = RwLock::new(5);
/// let upgradable = lock.upgradable_read();
/// let reader = lock.read();
/// let upgradable = RwLockUpgradableReadGuard::try_upgrade(upgradable).unwrap_err();
/// drop(reader);
/// *RwLockUpgradableReadGuard::upgrade(upgradable) += 1;
/// assert_eq!(lock.into_inner(), 6);
/// ```
pub type RwLockUpgradableReadGuard<'a, T> = lock_api::RwLockUpgradableReadGuard<'a, RawRwLock, T>;

/// The lock under an [`RwLock`].
///
/// # Examples
///
/// ```
/// use greenlet::sync::{RawRwLock, RwLock};
///
/// // A name for the type, for code that is generic over lock_api's.
/// let zero = lock_api::RwLock::<RawRwLock, u32>::new(0);
/// let _same: &RwLock<u32> = &zero;
/// ```
pub struct RawRwLock {
    monitor: Constant<Monitor<Holders>>,
}

// Of `Holders::number`.
const WRITER: usize = 1;
const UPGRADER: usize = 2;
const READER: usize = 4;
/// More readers than this wait, so that the number cannot overflow.
const FULL: usize = usize::MAX >> 2;

/// What somebody wants, and its number.
#[derive(Clone, Copy)]
enum Want {
    Read(usize),
    Write(usize),
    Upgradable(usize),
}

/// The number of the upgradable reader that wants to write.
struct Upgrade(usize);

struct Holders {
    /// WRITER and four times its number, or READER for each reader and UPGRADER if there is one.
    number: usize,
    /// The number of the upgradable reader, if there is one.
    upgrader: usize,
    line: WaitList<Want>,
    /// At most one.
    upgrade: WaitList<Upgrade>,
}

fn writer(id: usize) -> usize {
    (id * READER) | WRITER
}

/// With one reader more, if that goes. Whether others are in line is not the number's matter.
fn with_reader(number: usize) -> Option<usize> {
    (number & WRITER == 0 && number < FULL).then(|| number + READER)
}

impl State for Holders {
    const FAST: bool = true;

    fn load(&mut self, number: usize) {
        self.number = number;
    }

    fn store(&self) -> (usize, bool) {
        let waiters = !self.line.is_empty() || !self.upgrade.is_empty();
        (self.number, waiters)
    }

    fn check(&self) {
        assert!(
            self.line
                .front()
                .is_none_or(|&want| self.with(want).is_none())
        );
        assert!(self.upgrade.is_empty() || self.number & UPGRADER != 0 && self.number != UPGRADER);
        assert!(self.number & WRITER == 0 || self.number & UPGRADER == 0);
    }
}

impl Waiters<Want> for Holders {
    fn waiters(&mut self) -> &mut WaitList<Want> {
        &mut self.line
    }

    fn left(&mut self, wakes: &mut Wakes) {
        self.grant(wakes);
    }
}

impl Waiters<Upgrade> for Holders {
    fn waiters(&mut self) -> &mut WaitList<Upgrade> {
        &mut self.upgrade
    }

    fn left(&mut self, wakes: &mut Wakes) {
        self.grant(wakes);
    }
}

impl Holders {
    /// The number once this one is in too, if it fits.
    fn with(&self, want: Want) -> Option<usize> {
        match want {
            Want::Read(_) => with_reader(self.number).filter(|_| self.upgrade.is_empty()),
            Want::Write(id) => (self.number == 0).then(|| writer(id)),
            Want::Upgradable(_) => {
                let beside_readers = self.number & (WRITER | UPGRADER) == 0;
                beside_readers.then_some(self.number | UPGRADER)
            }
        }
    }

    fn enter(&mut self, want: Want) -> bool {
        let number = self.with(want);
        if let (Some(_), Want::Upgradable(id)) = (number, want) {
            self.upgrader = id;
        }
        self.number = number.unwrap_or(self.number);
        number.is_some()
    }

    /// Lets one in, unless it does not fit or others are in line.
    fn take(&mut self, want: Want, wakes: &mut Wakes) -> bool {
        // Only if the first in line has ended with its thread does this do anything.
        self.grant(wakes);
        self.line.is_empty() && self.enter(want)
    }

    /// Makes the upgradable reader the writer if it is alone.
    fn upgrade(&mut self, id: usize) -> bool {
        let alone = self.number == UPGRADER;
        if alone {
            self.number = writer(id);
        }
        alone
    }

    /// Lets those in who come next, as long as they fit.
    fn grant(&mut self, wakes: &mut Wakes) {
        self.upgrade.skip_closed();
        if self.number == UPGRADER
            && let Some(&mut Upgrade(id)) = self.upgrade.claim(wakes)
        {
            self.number = writer(id);
        }
        loop {
            self.line.skip_closed();
            let Some(&want) = self.line.front() else {
                return;
            };
            if self.with(want).is_none() {
                return;
            }
            // One that was leaving takes nothing.
            if let Some(Some(_)) = self.line.claim_front(wakes) {
                self.enter(want);
            }
        }
    }

    /// Whether what the caller wants it keeps from itself.
    fn is_own(&self, want: Want) -> bool {
        match want {
            Want::Read(id) => self.number == writer(id),
            Want::Write(id) | Want::Upgradable(id) => {
                self.number == writer(id) || self.number & UPGRADER != 0 && self.upgrader == id
            }
        }
    }
}

/// How an attempt to lock has ended.
enum Attempt {
    In,
    Late,
    Own,
}

impl UnwindSafe for RawRwLock {}
impl RefUnwindSafe for RawRwLock {}

impl RawRwLock {
    /// Locks if nobody waits; an upgradable lock takes the monitor's lock, to note its owner.
    #[inline(always)]
    fn take(&self, want: Want) -> Option<bool> {
        match want {
            Want::Read(_) => self.monitor.fast(with_reader),
            Want::Write(id) => self
                .monitor
                .fast(|number| (number == 0).then(|| writer(id))),
            Want::Upgradable(_) => None,
        }
    }

    #[inline(always)]
    #[track_caller]
    fn lock_within(&self, operation: &'static str, want: Want, limit: Limit) -> bool {
        if self.take(want) == Some(true) {
            return true;
        }
        let site = Site::here(operation);
        let decide =
            |all: &mut Holders, wakes: &mut Wakes, want: &mut Want| match all.take(*want, wakes) {
                true => Some(Attempt::In),
                false => all.is_own(*want).then_some(Attempt::Own),
            };
        let finish = |end: End, _| match end.in_time(&site, &limit) {
            true => Attempt::In,
            false => Attempt::Late,
        };
        match self.monitor.wait(&site, &limit, want, decide, finish) {
            Attempt::In => true,
            Attempt::Late => false,
            Attempt::Own => held_already(operation),
        }
    }

    #[inline]
    fn try_lock(&self, want: Want) -> Option<GuardNoSend> {
        let taken = self.take(want).unwrap_or_else(|| {
            let mut guard = self.monitor.lock();
            let (all, wakes) = guard.parts();
            all.take(want, wakes)
        });
        taken.then(GuardNoSend::new)
    }

    /// Changes the number, and lets those in who fit then.
    #[inline]
    fn change(&self, f: impl Fn(usize) -> usize) {
        if self.monitor.fast(|number| Some(f(number))).is_none() {
            let mut guard = self.monitor.lock();
            let (all, wakes) = guard.parts();
            all.number = f(all.number);
            all.grant(wakes);
        }
    }

    #[inline(always)]
    #[track_caller]
    fn upgrade_within(&self, operation: &'static str, limit: Limit) -> bool {
        let (id, site) = (park::id(), Site::here(operation));
        let decide =
            |all: &mut Holders, _: &mut _, up: &mut Upgrade| all.upgrade(up.0).then_some(true);
        let finish = |end: End, _| end.in_time(&site, &limit);
        // If the wait unwinds, nobody has the upgradable lock.
        let release = Release(self);
        let upgraded = self
            .monitor
            .wait(&site, &limit, Upgrade(id), decide, finish);
        std::mem::forget(release);
        upgraded
    }
}

impl RawRwLock {
    pub(super) fn statistics(&self) -> RwLockStatistics {
        let mut guard = self.monitor.lock();
        let all = guard.parts().0;
        let written = all.number & WRITER != 0;
        RwLockStatistics {
            written,
            readers: if written { 0 } else { all.number / READER },
            upgradable: !written && all.number & UPGRADER != 0,
            waiting: all.line.len() + all.upgrade.len(),
        }
    }
}

/// Gives up an upgradable lock.
struct Release<'a>(&'a RawRwLock);

impl Drop for Release<'_> {
    fn drop(&mut self) {
        self.0.change(|number| number - UPGRADER);
    }
}

// SAFETY: readers or one writer: `number` says who is in. It gets a reader, a writer or an
// upgradable reader only where that fits (`with`), by the compare-exchange in `Monitor::fast` or
// under the monitor's lock, for the caller or for a waiter that is claimed in the same step and
// returns with the lock; and each guard takes off what it has put in. Acquire and release: those
// of the fast word, all of whose changes are read-modify-writes, and of the wait word. A wait that
// unwinds was not claimed, so it is not in: `rt/wait` sees to that. `lock_api` keeps the rest, that
// only guards unlock, each in its mode.
unsafe impl lock_api::RawRwLock for RawRwLock {
    #[allow(clippy::declare_interior_mutable_const)] // Lock_api's way.
    const INIT: Self = RawRwLock {
        monitor: constant!(Monitor::new(
            0,
            Holders {
                number: 0,
                upgrader: 0,
                line: WaitList::new(),
                upgrade: WaitList::new()
            }
        )),
    };

    type SharedGuard = GuardNoSend;
    type ExclusiveGuard = GuardNoSend;

    #[inline(always)]
    #[track_caller]
    fn lock_shared(&self) -> GuardNoSend {
        self.lock_within("RwLock::read", Want::Read(park::id()), Limit::Never);
        GuardNoSend::new()
    }

    #[inline]
    fn try_lock_shared(&self) -> Option<GuardNoSend> {
        self.try_lock(Want::Read(park::id()))
    }

    #[inline]
    unsafe fn unlock_shared(&self, _guard: GuardNoSend) {
        self.change(|number| number - READER);
    }

    #[inline(always)]
    #[track_caller]
    fn lock_exclusive(&self) -> GuardNoSend {
        self.lock_within("RwLock::write", Want::Write(park::id()), Limit::Never);
        GuardNoSend::new()
    }

    #[inline]
    fn try_lock_exclusive(&self) -> Option<GuardNoSend> {
        self.try_lock(Want::Write(park::id()))
    }

    #[inline]
    unsafe fn unlock_exclusive(&self, _guard: GuardNoSend) {
        self.change(|_| 0);
    }

    fn is_locked(&self) -> bool {
        self.monitor.number() != 0
    }

    fn is_locked_exclusive(&self) -> bool {
        self.monitor.number() & WRITER != 0
    }
}

// SAFETY: as above; one step, so nobody writes in between.
unsafe impl lock_api::RawRwLockDowngrade for RawRwLock {
    unsafe fn downgrade(&self, _guard: GuardNoSend) -> GuardNoSend {
        self.change(|_| READER);
        GuardNoSend::new()
    }
}

/// The two timed forms of a way to lock.
macro_rules! timed {
    ($want:ident, $for:ident, $for_name:literal, $until:ident, $until_name:literal) => {
        #[inline(always)]
        #[track_caller]
        fn $for(&self, limit: Duration) -> Option<GuardNoSend> {
            self.lock_within($for_name, Want::$want(park::id()), Limit::After(limit))
                .then(GuardNoSend::new)
        }

        #[inline(always)]
        #[track_caller]
        fn $until(&self, limit: Instant) -> Option<GuardNoSend> {
            self.lock_within($until_name, Want::$want(park::id()), Limit::At(limit))
                .then(GuardNoSend::new)
        }
    };
}

// SAFETY: as above.
#[rustfmt::skip]
unsafe impl lock_api::RawRwLockTimed for RawRwLock {
    type Duration = Duration;
    type Instant = Instant;

    timed!(Read, try_lock_shared_for, "RwLock::try_read_for", try_lock_shared_until, "RwLock::try_read_until");
    timed!(Write, try_lock_exclusive_for, "RwLock::try_write_for", try_lock_exclusive_until, "RwLock::try_write_until");
}

// SAFETY: as above. UPGRADER keeps writers and other upgradable readers out, and becomes WRITER
// only while there are no readers, in one step; if the wait for that unwinds, `Release` gives it up.
unsafe impl lock_api::RawRwLockUpgrade for RawRwLock {
    type UpgradableGuard = GuardNoSend;

    #[inline(always)]
    #[track_caller]
    fn lock_upgradable(&self) -> GuardNoSend {
        let want = Want::Upgradable(park::id());
        self.lock_within("RwLock::upgradable_read", want, Limit::Never);
        GuardNoSend::new()
    }

    fn try_lock_upgradable(&self) -> Option<GuardNoSend> {
        self.try_lock(Want::Upgradable(park::id()))
    }

    unsafe fn unlock_upgradable(&self, _guard: GuardNoSend) {
        self.change(|number| number - UPGRADER);
    }

    #[inline(always)]
    #[track_caller]
    unsafe fn upgrade(&self, guard: GuardNoSend) -> GuardNoSend {
        self.upgrade_within("RwLockUpgradableReadGuard::upgrade", Limit::Never);
        guard
    }

    unsafe fn try_upgrade(&self, guard: GuardNoSend) -> Result<GuardNoSend, GuardNoSend> {
        match self.monitor.lock().parts().0.upgrade(park::id()) {
            true => Ok(guard),
            false => Err(guard),
        }
    }
}

// SAFETY: as above; one step each.
unsafe impl lock_api::RawRwLockUpgradeDowngrade for RawRwLock {
    unsafe fn downgrade_upgradable(&self, guard: GuardNoSend) -> GuardNoSend {
        self.change(|number| number - UPGRADER + READER);
        guard
    }

    unsafe fn downgrade_to_upgradable(&self, guard: GuardNoSend) -> GuardNoSend {
        let mut holders = self.monitor.lock();
        let (all, wakes) = holders.parts();
        (all.number, all.upgrader) = (UPGRADER, park::id());
        all.grant(wakes);
        guard
    }
}

// SAFETY: as above.
#[rustfmt::skip]
unsafe impl lock_api::RawRwLockUpgradeTimed for RawRwLock {
    timed!(Upgradable, try_lock_upgradable_for, "RwLock::try_upgradable_read_for", try_lock_upgradable_until, "RwLock::try_upgradable_read_until");

    #[inline(always)]
    #[track_caller]
    unsafe fn try_upgrade_for(&self, guard: GuardNoSend, limit: Duration) -> Result<GuardNoSend, GuardNoSend> {
        match self.upgrade_within("RwLockUpgradableReadGuard::try_upgrade_for", Limit::After(limit)) {
            true => Ok(guard),
            false => Err(guard),
        }
    }

    #[inline(always)]
    #[track_caller]
    unsafe fn try_upgrade_until(&self, guard: GuardNoSend, limit: Instant) -> Result<GuardNoSend, GuardNoSend> {
        match self.upgrade_within("RwLockUpgradableReadGuard::try_upgrade_until", Limit::At(limit)) {
            true => Ok(guard),
            false => Err(guard),
        }
    }
}

impl fmt::Debug for RawRwLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The writer is the caller's: not under the lock.
        let numbers = self.statistics();
        f.debug_struct("RawRwLock")
            .field("written", &numbers.written)
            .field("readers", &numbers.readers)
            .field("upgradable", &numbers.upgradable)
            .field("waiting", &numbers.waiting)
            .finish()
    }
}

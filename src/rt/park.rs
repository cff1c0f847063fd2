//! Who is waiting, and how each is suspended and woken.
//!
//! | party | suspends by | is woken by |
//! |---|---|---|
//! | greenlet | switching to its hub's loop | an entry in the ready queue, or in the inbox from another thread |
//! | root | running the loop until its own entry comes up | the same |
//! | plain thread without a hub | parking the thread | unparking it |
//! | future | returning to who polls it | its waker |
//!
//! A future is a waiter, but no party: it does not call, it is polled (`wait::future`).
//!
//! # Wakes
//!
//! A notifier works under the lock of the primitive's list: it unlinks a node
//! and [`claim`]s its waiter. A waiter of the same hub goes to the ready queue at
//! once; wakes of others are collected in [`Wakes`], each holding the waiter's
//! address, and delivered after the unlock. The notifier may use the node of a
//! waiter that it has claimed until it unlocks: a greenlet cannot run before it
//! is woken, and a plain thread or a future, which could see its word early, passes
//! through the lock before it leaves (`wait::Monitor::complete`).

mod caller;
mod thread;
mod wakes;

#[cfg(all(unix, feature = "net"))]
pub(crate) use caller::PendingIo;
pub(crate) use caller::{
    MAX_ID, Mask, close_frame, close_hub, has_spent_its_turn, hub, id, is_here, legacy, local,
    locals, may_wait, no_switch, open_frame,
};
pub(crate) use wakes::{BATCH, Wakes, claim};

use super::clock::Limit;
use super::coroutine::Unwind;
use super::hub::{Hub, Record, Switch};
use super::inbox::Waiter;
use super::report::report;
use super::sync::panicking;
use super::task::{FrameState, Site, Task};
use super::word::Outcome;
use std::rc::Rc;
use std::time::Instant;
use thread::Thread;

/// Who calls.
pub(crate) enum Party {
    /// A greenlet, or the root of a thread with a hub.
    Hub(&'static Hub, &'static Record),
    Thread(Rc<Thread>),
}

/// A party that is known to be alive: a greenlet by its record and id, or the
/// thread itself, which is the root once there is a hub.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Owner(Option<(usize, u64)>);

impl Owner {
    pub(crate) fn party(self) -> Party {
        match (Hub::get(), self.0) {
            (Some(hub), Some(address)) => Party::Hub(hub, hub.record_of(address)),
            (Some(hub), None) => Party::Hub(hub, hub.root()),
            (None, None) => Party::Thread(Thread::current()),
            (None, Some(_)) => unreachable!("a greenlet's hub lives"),
        }
    }
}

/// Whether nothing keeps a greenlet of this thread from a wait: a look for most waits.
#[inline(always)]
fn is_unhindered(record: &Record) -> bool {
    !panicking() && record.task.is_unhindered()
}

/// Why a wait does not happen.
pub(crate) enum Obstacle {
    /// The thread is panicking; it says no, where its type can.
    Panicking,
    /// `no_switch` forbids it.
    NoSwitch,
    /// A kill, an expiry or an aborted scope is due.
    Due(Unwind),
}

impl Party {
    #[inline]
    pub(crate) fn current() -> Self {
        match Hub::get() {
            Some(hub) => Party::Hub(hub, hub.current()),
            None => Party::Thread(Thread::current()),
        }
    }

    /// The running greenlet, or the root of a thread with a hub.
    #[inline(always)]
    pub(crate) fn greenlet() -> Option<(&'static Hub, &'static Record)> {
        let hub = Hub::get()?;
        Some((hub, hub.current()))
    }

    /// The same, if at a look nothing keeps it from a wait: [`obstacle`](Party::obstacle) knows
    /// for certain.
    #[inline(always)]
    pub(crate) fn unhindered() -> Option<(&'static Hub, &'static Record)> {
        Party::greenlet().filter(|(_, record)| is_unhindered(record))
    }

    /// The thread itself, whether it has a hub or not. If it has, the hub stands still while
    /// this waits.
    #[cold]
    pub(crate) fn thread() -> Self {
        Party::Thread(Thread::current())
    }

    #[inline]
    pub(crate) fn task(&self) -> &Task {
        match self {
            Party::Hub(_, record) => &record.task,
            Party::Thread(thread) => &thread.task,
        }
    }

    #[inline]
    pub(crate) fn waiter(&self) -> &Waiter {
        match self {
            Party::Hub(_, record) => &record.waiter,
            Party::Thread(thread) => &thread.waiter,
        }
    }

    /// Who this is, to be found again on the same thread.
    #[inline]
    pub(crate) fn owner(&self) -> Owner {
        match self {
            Party::Hub(hub, record) if !hub.is_root(record) => Owner(Some(hub.address_of(record))),
            _ => Owner(None),
        }
    }

    /// The time as this party sees it.
    pub(crate) fn now(&self) -> Instant {
        match self {
            Party::Hub(hub, _) => hub.now(),
            Party::Thread(_) => Instant::now(),
        }
    }

    /// What is raised now, if anything is due. Never while panicking, since
    /// that would abort.
    #[inline(always)]
    pub(crate) fn due(&self) -> Option<Unwind> {
        if let Party::Thread(thread) = self {
            thread.fire_expired_frames();
        }
        let due = self.task().due()?;
        debug_assert!(!panicking());
        self.report_swallowed(due);
        Some(due)
    }

    #[cold]
    fn report_swallowed(&self, due: Unwind) {
        if due == Unwind::Kill && self.task().swallows_kills() {
            report(format_args!(
                "{} keeps swallowing its kill",
                self.describe()
            ));
        }
    }

    /// Why a wait that must suspend cannot.
    #[inline(always)]
    pub(crate) fn obstacle(&self) -> Option<Obstacle> {
        match self {
            Party::Hub(_, record) if is_unhindered(record) => None,
            _ => self.find_obstacle(),
        }
    }

    #[cold]
    #[inline(never)]
    fn find_obstacle(&self) -> Option<Obstacle> {
        if panicking() {
            // A thread without a hub has nobody to switch to: it just blocks. Not where no wait
            // is allowed: a waker may be called in the middle of a wait of this very thread.
            let blocks = matches!(self, Party::Thread(_)) && self.task().may_switch();
            return (!blocks).then_some(Obstacle::Panicking);
        }
        if !self.task().may_switch() {
            return Some(Obstacle::NoSwitch);
        }
        self.due().map(Obstacle::Due)
    }

    /// Suspends, after the word was announced and the node linked. A greenlet
    /// gets the switch to make; for the others the wait is over on return.
    #[inline(always)]
    pub(crate) fn suspend(&self, site: &Site, limit: &Limit) -> Option<Switch> {
        match self {
            Party::Hub(hub, record) => hub.wait(record, site, limit),
            Party::Thread(thread) => {
                thread.park(site, *limit);
                None
            }
        }
    }

    /// As `suspend`, for a wait that nobody but the limit ends.
    pub(crate) fn suspend_to_sleep(&self, site: &Site, limit: &Limit) -> Option<Switch> {
        match self {
            Party::Hub(hub, record) => hub.sleep(record, site, limit),
            Party::Thread(_) => self.suspend(site, limit),
        }
    }

    /// The wait is over: reads how it ended, and is ready for the next.
    #[inline(always)]
    pub(crate) fn settle(&self) -> Outcome {
        let word = &self.waiter().word;
        let outcome = word.outcome().expect("woken without an outcome");
        match self {
            Party::Hub(hub, record) => hub.settle(record, outcome),
            Party::Thread(_) => word.reset(),
        }
        outcome
    }

    /// A wait that was interrupted has ended well all the same: what is due is raised by the
    /// next one.
    #[cold]
    pub(crate) fn put_off(&self) {
        drop(self.deadlock());
        self.task().put_off();
    }

    /// True if this party could see the end of its wait before the notifier has
    /// let go of the lock.
    #[inline]
    pub(crate) fn leaves_early(&self) -> bool {
        matches!(self, Party::Thread(_))
    }

    /// The report, if the wait has ended because it could never have.
    #[inline]
    pub(crate) fn deadlock(&self) -> Option<String> {
        match self {
            // The report is the root's, whoever looks.
            Party::Hub(hub, record) if hub.is_root(record) => hub.take_deadlock(),
            Party::Hub(..) => None,
            Party::Thread(thread) => thread.take_deadlock(),
        }
    }

    /// For messages.
    pub(crate) fn describe(&self) -> String {
        match self {
            Party::Hub(hub, record) if hub.is_root(record) => "the root".to_owned(),
            Party::Hub(_, record) => match record.name() {
                Some(name) => format!("greenlet '{name}'"),
                None => format!("greenlet #{}", record.id()),
            },
            Party::Thread(_) => "a thread without a hub".to_owned(),
        }
    }

    // ---- frames ----

    /// A frame's limit as this party notes it: a thread without a hub has no turns.
    fn noted(&self, limit: Limit) -> Limit {
        match self {
            Party::Hub(..) => limit,
            Party::Thread(_) => limit.fixed(Instant::now),
        }
    }

    /// Takes a frame's timer and gives its state and limit new values, unless it is
    /// committed; the old state is returned, `None` if the frame is not open.
    pub(crate) fn reset_frame(
        &self,
        id: u64,
        state: FrameState,
        limit: Limit,
    ) -> Option<FrameState> {
        let was = self.task().reset(id, state, self.noted(limit))?;
        if let Party::Hub(hub, record) = self
            && was.state != FrameState::Committed
        {
            hub.disarm_frame(was.timer());
            if !std::ptr::eq(*record, hub.current()) {
                // That one waits already. Ties are in order of arming.
                hub.arm_frames(hub.current());
                hub.arm_frames(record);
            }
        }
        Some(was.state)
    }
}

/// A wait that cannot say no was reached while panicking: suspending would let
/// other greenlets run in the middle of an unwind, and nothing could be returned.
#[cold]
pub(crate) fn abort_panicking(site: &Site) -> ! {
    report(format_args!(
        "{} at {} would wait while {} is panicking; aborting",
        site.operation,
        site.place,
        Party::current().describe()
    ));
    std::process::abort()
}

//! The core under every primitive. `list` has the nodes and lists, `monitor` the lock and the
//! wait, `turn` the waits without a list; `latch`, `pair`, `any` and `select` are made of them.
//! `side` is about the stacks of generators, `raw` about lock_api's locks. Here is what all waits
//! have in common: how they end, what may stand in their way, and the switch.
//!
//! A [`Monitor`] is a lock around a primitive's plain state. The state contains
//! [`WaitList`]s: FIFO lists of nodes, one for each waiter, that live in the
//! frames of the waiting methods. A node has one slot for a value, which travels
//! in (a putter's item) or out (a getter's). [`Monitor::wait`] is the only way to
//! wait; its `decide` looks at the plain state under the lock and says what the
//! result is, or that there is none yet.
//!
//! # Rules
//!
//! - A node is linked, unlinked and read only under the monitor's lock.
//! - A node that was linked is left only after a decided wait word. Whoever
//!   unlinks it has the lock; the waiter itself does so in
//!   [`complete`](Monitor::complete) unless a notifier already has.
//! - A notifier takes the front node off the list, claims its waiter by the word,
//!   and may then use the slot until it unlocks. If the claim fails the waiter is
//!   leaving on its own and keeps what is in its slot.
//! - A waiter that leaves does so under the lock, and the state repairs its
//!   invariant there ([`Waiters::left`]). If a notifier has taken it off before, its slot may
//!   say that it was served all the same ([`Waiters::served`]); it has succeeded then.
//! - No user code runs under the lock, but for [`Monitor::lend`]; nothing is
//!   raised under it.
//! - A broadcast wakes those whose arrival ticket is smaller than the next ticket
//!   at its begin, in batches; arrivals during it are not woken by it.
//!
//! # The fast word
//!
//! A state with [`State::FAST`] keeps one number (a flag, or permits) in an atomic
//! beside the lock, together with one bit, WAITERS. While the bit is clear the
//! number may be moved by anyone by compare-exchange ([`Monitor::fast`]). Taking
//! the lock sets the bit, so that inside the number is plain state; unlocking
//! writes it back, with the bit still set if somebody waits. What is for one thread only does
//! without the marking and the compare-exchange (`rt::flavour`).

mod any;
mod future;
mod latch;
mod list;
mod monitor;
mod pair;
mod raw;
mod select;
mod side;
mod turn;

pub(crate) use any::{Readiness, Source, wait_any};
pub(crate) use future::{Wait, ready};
pub(crate) use latch::Latch;
pub(crate) use list::WaitList;
pub(crate) use monitor::{Monitor, State, Waiters};
pub(crate) use pair::{Giver, Taker, Work, pair};
pub(crate) use raw::{raw_lock_of, raw_reentrant_of, raw_rwlock_of};
pub(crate) use select::{Arm, Choice, HasSource, Intent, Operation, Ready, Then, select};
pub(crate) use side::Side;
pub(crate) use turn::{sleep, switch_to, yield_now};

use super::clock::Limit;
use super::coroutine::Unwind;
use super::hub::Switch;
use super::park::{self, Obstacle, Party};
use super::report::report;
use super::task::Site;
use list::Node;

/// How a wait that did not raise has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// A notifier chose this waiter.
    Notified,
    /// The wait's own limit is over; nothing was taken.
    Expired,
    /// The thread is panicking, so nobody waited.
    Refused,
}

impl End {
    /// For waits that say no by `false`. Without a limit there is no way to say no, so one
    /// that was refused ends the process.
    #[inline]
    pub(crate) fn in_time(self, site: &Site, limit: &Limit) -> bool {
        match self {
            End::Notified => true,
            End::Refused if matches!(limit, Limit::Never) => park::abort_panicking(site),
            End::Expired | End::Refused => false,
        }
    }
}

/// The first half of a wait: the result, or how to suspend.
enum Step<R> {
    Ready(R),
    Suspend(Switch),
}

/// What has interrupted a wait.
pub(crate) enum Interruption {
    Unwind(Unwind),
    Deadlock(String),
}

#[cold]
fn interruption(party: &Party) -> Interruption {
    if let Some(report) = party.deadlock() {
        return Interruption::Deadlock(report);
    }
    Interruption::Unwind(party.due().expect("a wait is interrupted for a reason"))
}

/// A wait that must end well was interrupted all the same: nothing can be saved.
#[cold]
pub(crate) fn abort_interrupted(site: &Site, interruption: &Interruption) -> ! {
    let dump = match interruption {
        Interruption::Deadlock(report) => report,
        Interruption::Unwind(_) => "interrupted in a shield",
    };
    report(format_args!(
        "{} at {} cannot end; aborting\n{dump}",
        site.operation, site.place,
    ));
    std::process::abort()
}

impl Interruption {
    #[cold]
    #[track_caller]
    pub(crate) fn raise(self) -> ! {
        match self {
            Interruption::Unwind(unwind) => unwind.raise(),
            Interruption::Deadlock(report) => panic!("{report}"),
        }
    }
}

/// What an obstacle means for a wait: say no, or raise, or panic.
#[cold]
#[track_caller]
fn refuse(obstacle: Obstacle, site: &Site) -> Result<End, Unwind> {
    match obstacle {
        Obstacle::Panicking => Ok(End::Refused),
        Obstacle::Due(unwind) => Err(unwind),
        Obstacle::NoSwitch => panic!(
            "{} at {} would wait where no wait is allowed (no_switch, a link callback, an item's Ord or Clone, or the Clone of an inherited Local)",
            site.operation, site.place
        ),
    }
}

/// Refuses or raises now what a wait of the caller's would; `None` if it may wait.
#[inline(always)]
#[track_caller]
pub(crate) fn obstructed(party: &Party, site: &Site) -> Option<End> {
    let obstacle = party.obstacle()?;
    Some(refuse(obstacle, site).unwrap_or_else(|unwind| unwind.raise()))
}

/// The switch itself, in the frame of the public method.
///
/// # Safety
///
/// The running greenlet got this switch from its own `suspend`, just now.
#[inline(always)]
unsafe fn jump(switch: Switch) {
    let (yielder, hub) = switch.parts();
    // SAFETY: the caller's promise.
    unsafe { yielder.suspend(hub) };
}

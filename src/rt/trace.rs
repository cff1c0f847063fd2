//! Events for the crate `tracing` (feature `tracing`; without it all of this is nothing).
//!
//! The subscriber is the program's, and runs in the middle of things: where a wait has begun, and
//! in the hub's loop. So an event is emitted only where no borrow of the hub's data is live;
//! while it is, the task that runs must not switch (a wait in the subscriber panics), and no panic
//! comes out of it. There are no spans: who enters one must leave it in reverse order on its
//! thread, and greenlets interleave.

#![cfg_attr(not(feature = "tracing"), allow(unused_variables))]

use super::hub::Birth;
use super::task::{Name, Site, Task};
use super::word::Outcome;

/// Emits an event, if somebody may want it. `$task` is the one that runs.
macro_rules! emit {
    ($task:expr, $level:ident, $($fields:tt)+) => {
        #[cfg(feature = "tracing")]
        {
            use tracing::{Level, level_filters::LevelFilter};
            if LevelFilter::current() >= Level::$level {
                apart($task, || tracing::event!(target: "greenlet", Level::$level, $($fields)+));
            }
        }
    };
}

#[cfg(feature = "tracing")]
#[cold]
fn apart(task: &Task, emit: impl FnOnce()) {
    task.forbid_switch();
    super::report::contain(emit);
    task.allow_switch();
}

/// It was spawned.
#[inline(always)]
pub(super) fn spawned(task: &Task, id: u64, name: Option<&Name>, birth: &Birth) {
    emit!(task, DEBUG, id, name = name.map(|name| &**name), parent = birth.parent, place = %birth.place, "spawn");
}

/// Its first turn begins.
#[inline(always)]
pub(super) fn started(task: &Task, id: u64) {
    emit!(task, TRACE, id, "start");
}

/// It waits from now on; 0 is the root.
#[inline(always)]
pub(super) fn waits(task: &Task, id: u64, site: &Site) {
    emit!(task, TRACE, id, operation = site.operation, place = %site.place, "wait");
}

/// Its wait is over.
#[inline(always)]
pub(super) fn wakes(task: &Task, id: u64, outcome: Outcome) {
    emit!(
        task,
        TRACE,
        id,
        outcome = match outcome {
            Outcome::Notified(_) => "woken",
            Outcome::Expired => "expired",
            Outcome::Interrupted => "interrupted",
            Outcome::Closed => "closed",
        },
        "wake"
    );
}

/// A kill was asked for.
#[inline(always)]
pub(super) fn killed(task: &Task, id: u64) {
    emit!(task, DEBUG, id, "kill");
}

/// It has ended.
#[inline(always)]
pub(super) fn ended(task: &Task, id: u64) {
    emit!(task, DEBUG, id, "end");
    // What the subscriber has put among its locals would be the next one's.
    #[cfg(feature = "tracing")]
    while let Some(value) = task.locals.pop() {
        apart(task, || drop(value));
    }
}

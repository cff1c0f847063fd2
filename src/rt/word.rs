//! The wait word: one atomic per waiter that decides, once, how its wait ends.
//!
//! ```text
//! IDLE -> WAITING -> { NOTIFIED(index), EXPIRED, INTERRUPTED, CLOSED }
//! ```
//!
//! The waiter publishes WAITING and, after its wait, goes back to IDLE. Whoever
//! moves the word out of WAITING by compare-exchange has decided the wait: that
//! party schedules the waiter, everybody else loses cleanly and goes on. The
//! clock never decides. `index` names the node of a `wait_any` that won, from 1.
//!
//! A wait with one node uses 0. It can be notified only by whoever takes that node off its list,
//! under the list's lock, and all others who could end it are of the waiter's own thread. So a
//! notifier of that thread has nobody to race with, and decides by a load and a store. (One of
//! another thread may race with the waiter's deadline.)

use super::sync::{AtomicUsize, Ordering};

const IDLE: usize = 0;
const WAITING: usize = 1;
const EXPIRED: usize = 2;
const INTERRUPTED: usize = 3;
const CLOSED: usize = 4;
const NOTIFIED: usize = 8;

/// How a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// A notifier chose this waiter through its node of that index.
    Notified(usize),
    /// The wait's own deadline.
    Expired,
    /// A kill, a frame that fired, or a deadlock: the task says which.
    Interrupted,
    /// The waiter's hub has ended; it will never run again.
    Closed,
}

/// One waiter's word. See the module.
#[derive(Debug)]
pub(crate) struct Word(AtomicUsize);

impl Word {
    pub(crate) fn new() -> Self {
        Word(AtomicUsize::new(IDLE))
    }

    /// The waiter announces its wait, under the lock of the list it joins.
    #[inline]
    pub(crate) fn announce(&self) {
        // Relaxed: notifiers find this waiter only through the list, so the
        // list's lock orders this store before their compare-exchange; kills
        // and expiries come from the waiter's own thread.
        self.0.store(WAITING, Ordering::Relaxed);
    }

    #[inline]
    fn decide(&self, end: usize) -> bool {
        // Release: what the deciding party wrote before is visible to the
        // waiter that reads the word. Acquire: the deciding party sees what the
        // waiter wrote before it announced itself. A failure reads nothing.
        self.0
            .compare_exchange(WAITING, end, Ordering::AcqRel, Ordering::Relaxed)
            .is_ok()
    }

    /// A notifier claims the waiter. False: somebody else was first.
    #[inline]
    pub(crate) fn notify(&self, index: usize) -> bool {
        self.decide(NOTIFIED + index)
    }

    /// The same, of a wait with one node, which the caller, on the waiter's own thread, has taken
    /// off its list: nobody comes between. See the module.
    #[inline]
    pub(crate) fn notify_here(&self) -> bool {
        let waits = self.is_waiting();
        if waits {
            // Relaxed: the waiter reads it on this thread.
            self.0.store(NOTIFIED, Ordering::Relaxed);
        }
        waits
    }

    /// The wait's own deadline ends it.
    pub(crate) fn expire(&self) -> bool {
        self.decide(EXPIRED)
    }

    /// A reason to unwind ends the wait; it is noted in the task.
    pub(crate) fn interrupt(&self) -> bool {
        self.decide(INTERRUPTED)
    }

    /// The hub's thread is ending: notifiers pass over this waiter from now on, also if its wait
    /// has ended and it has not left the line yet. (A wait with one node that was notified has.)
    pub(crate) fn close(&self) {
        // Relaxed: a decided word is only the waiter's.
        if !self.decide(CLOSED) && !matches!(self.0.load(Ordering::Relaxed), IDLE | NOTIFIED) {
            self.0.store(CLOSED, Ordering::Relaxed);
        }
    }

    /// Whether the wait goes on.
    pub(crate) fn is_waiting(&self) -> bool {
        // Relaxed: what is decided meanwhile is as good as decided later, and nothing is read
        // because of it.
        self.0.load(Ordering::Relaxed) == WAITING
    }

    /// Whether the waiter will never run again.
    pub(crate) fn is_closed(&self) -> bool {
        // Relaxed: a closed word stays closed, and nothing is read because of it.
        self.0.load(Ordering::Relaxed) == CLOSED
    }

    /// The waiter takes its word back: it need not wait after all.
    pub(crate) fn retract(&self) -> bool {
        self.decide(IDLE)
    }

    /// How the wait ended; `None` while it goes on.
    #[inline]
    pub(crate) fn outcome(&self) -> Option<Outcome> {
        // Acquire: pairs with the Release in `decide`.
        match self.0.load(Ordering::Acquire) {
            IDLE | WAITING => None,
            EXPIRED => Some(Outcome::Expired),
            INTERRUPTED => Some(Outcome::Interrupted),
            CLOSED => Some(Outcome::Closed),
            notified => Some(Outcome::Notified(notified - NOTIFIED)),
        }
    }

    /// The waiter has taken note of the outcome.
    #[inline]
    pub(crate) fn reset(&self) {
        // Relaxed: from a decided word on only the waiter touches it.
        self.0.store(IDLE, Ordering::Relaxed);
    }
}

//! Real and virtual time; all time arithmetic of the crate.

use std::cell::Cell;
use std::time::{Duration, Instant};

/// How long a wait may take.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Limit {
    /// Until it is woken.
    Never,
    /// At least this long from now. Cheap: the clock is read at the end of the turn.
    After(Duration),
    /// Until that instant.
    At(Instant),
}

impl Limit {
    /// The instant this limit names, if it is not too far away to be one.
    pub(crate) fn deadline(self, now: Instant) -> Option<Instant> {
        match self {
            Limit::Never => None,
            // A sum that overflows names no instant: such a deadline never comes.
            Limit::After(d) => now.checked_add(d),
            Limit::At(t) => Some(t),
        }
    }

    /// This limit as a deadline, for a wait that is made of several waits. The clock is
    /// read only if that takes it.
    #[inline]
    pub(crate) fn fixed(self, now: impl FnOnce() -> Instant) -> Limit {
        match self {
            // Never, by whatever name: a limit can say no, its absence cannot.
            Limit::After(d) => now().checked_add(d).map_or(self, Limit::At),
            Limit::Never | Limit::At(_) => self,
        }
    }
}

/// The clock of a hub: the system's monotonic one, or a virtual one that only
/// moves when it is told to.
#[derive(Debug)]
pub(crate) struct Clock(Cell<Option<Instant>>);

impl Clock {
    pub(crate) fn real() -> Self {
        Clock(Cell::new(None))
    }

    #[inline]
    pub(crate) fn now(&self) -> Instant {
        match self.0.get() {
            None => Instant::now(),
            Some(t) => t,
        }
    }

    pub(crate) fn is_virtual(&self) -> bool {
        self.0.get().is_some()
    }

    /// From now on time stands still until [`jump`](Clock::jump).
    pub(crate) fn make_virtual(&self) {
        self.0.set(Some(Instant::now()));
    }

    /// Moves virtual time forward to `t`.
    pub(crate) fn jump(&self, t: Instant) {
        debug_assert!(self.is_virtual() && self.now() <= t);
        self.0.set(Some(t));
    }
}

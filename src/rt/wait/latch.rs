//! A value that is written once: the latch, and the pair of one who gives and one who takes.

use super::{Monitor, Readiness, Source, State, WaitList, Waiters};
use crate::rt::clock::Limit;
use crate::rt::sync::{Arc, AtomicBool, Ordering, UnsafeCell, const_fn};
use crate::rt::task::Site;

/// The state of a [`Latch`].
pub(crate) struct LatchState {
    ready: bool,
    waiters: WaitList<()>,
}

impl State for LatchState {
    fn check(&self) {}
}

impl Waiters<()> for LatchState {
    fn waiters(&mut self) -> &mut WaitList<()> {
        &mut self.waiters
    }
}

impl Readiness for LatchState {
    fn is_ready(&self) -> bool {
        self.ready
    }
}

/// A value that is written once and waited for by many.
pub(crate) struct Latch<V> {
    ready: AtomicBool,
    value: UnsafeCell<Option<V>>,
    monitor: Monitor<LatchState>,
}

// SAFETY: the value is written by one thread (the monitor decides which) and
// lent to all others, so it must be Send and Sync.
unsafe impl<V: Send + Sync> Sync for Latch<V> {}

impl<V> Latch<V> {
    const_fn! {
        pub(crate) const fn new() -> Self {
            Latch {
                ready: AtomicBool::new(false),
                value: UnsafeCell::new(None),
                monitor: Monitor::new(0, LatchState { ready: false, waiters: WaitList::new() }),
            }
        }
    }

    /// The value, once it is there.
    #[inline]
    pub(crate) fn get(&self) -> Option<&V> {
        // Acquire: pairs with the Release in `set`: the value is visible.
        if !self.ready.load(Ordering::Acquire) {
            return None;
        }
        // SAFETY: it is written once, before `ready`, and not moved while shared.
        unsafe { (*self.value.read()).as_ref() }
    }

    /// The value, to be changed by who has the latch alone.
    pub(crate) fn get_mut(&mut self) -> Option<&mut V> {
        // SAFETY: nobody else can reach it.
        unsafe { (*self.value.write()).as_mut() }
    }

    pub(crate) fn into_inner(self) -> Option<V> {
        self.value.into_inner()
    }

    /// Writes the value and wakes all; gives it back if there is one already.
    pub(crate) fn set(&self, value: V) -> Result<(), V> {
        let mut value = Some(value);
        self.monitor.broadcast::<()>(|state| {
            if state.ready {
                return false;
            }
            // SAFETY: under the lock, and nobody reads before `ready` is set.
            unsafe { *self.value.write() = value.take() };
            // Release: pairs with the Acquire in `get`.
            self.ready.store(true, Ordering::Release);
            state.ready = true;
            true
        });
        value.map_or(Ok(()), Err)
    }

    /// Waits until the value is there: true, or false if the limit is over first.
    #[inline(always)]
    #[track_caller]
    pub(crate) fn wait(&self, site: Site, limit: Limit) -> bool {
        // Acquire: the caller is going to read the value.
        if self.ready.load(Ordering::Acquire) {
            return true;
        }
        self.monitor.wait(
            &site,
            &limit,
            (),
            |state, _, _| state.ready.then_some(true),
            |end, ()| end.in_time(&site, &limit),
        )
    }

    pub(crate) fn source(&self) -> &dyn Source {
        &self.monitor
    }

    /// How many wait.
    pub(crate) fn waiting(&self) -> usize {
        self.monitor.lock().parts().0.waiters.len()
    }
}

/// A latch shared by one that gives its value and one that takes it, with some
/// data (`X`) that both may see.
struct Pair<V, X> {
    latch: Latch<V>,
    extra: X,
}

/// The side that gives the value.
pub(crate) struct Giver<V, X>(Arc<Pair<V, X>>);

/// The side that waits for the value, lends it, and may take it out.
pub(crate) struct Taker<V, X>(Arc<Pair<V, X>>);

// SAFETY: only the one taker reads the value, so it moves between threads but is
// never shared by the pair itself: V need only be Send. `extra` is seen by both.
unsafe impl<V: Send, X: Send + Sync> Send for Giver<V, X> {}
// SAFETY: as above.
unsafe impl<V: Send, X: Send + Sync> Send for Taker<V, X> {}
// SAFETY: a shared taker lends the value to several threads, so V must be Sync.
unsafe impl<V: Send + Sync, X: Send + Sync> Sync for Taker<V, X> {}

/// Both sides of a new latch.
pub(crate) fn pair<V, X>(extra: X) -> (Giver<V, X>, Taker<V, X>) {
    #[allow(clippy::arc_with_non_send_sync)] // Sent only by the two types above.
    let pair = Arc::new(Pair {
        latch: Latch::new(),
        extra,
    });
    (Giver(pair.clone()), Taker(pair))
}

impl<V, X> Giver<V, X> {
    /// Gives the value. The giver keeps the latch alive until its wakes are out.
    pub(crate) fn give(&self, value: V) {
        let given = self.0.latch.set(value);
        debug_assert!(given.is_ok(), "a giver gives once");
    }

    pub(crate) fn extra(&self) -> &X {
        &self.0.extra
    }
}

impl<V, X> Taker<V, X> {
    pub(crate) fn latch(&self) -> &Latch<V> {
        &self.0.latch
    }

    pub(crate) fn extra(&self) -> &X {
        &self.0.extra
    }

    /// Takes the value out, if it is there.
    pub(crate) fn take(self) -> Option<V> {
        self.0.latch.get()?;
        // SAFETY: ready, so the giver does not touch it any more; the one taker
        // is consumed, so nobody else reads it.
        unsafe { (*self.0.latch.value.write()).take() }
    }
}

//! A value that is written once.

use super::{Monitor, Node, Source, State, WaitList, Waiters};
use crate::rt::clock::Limit;
use crate::rt::flavour::{Flavour, Shared};
use crate::rt::sync::{AtomicBool, Ordering, UnsafeCell, const_fn};
use crate::rt::task::Site;

/// The state of a [`Latch`].
pub(crate) struct LatchState<L> {
    ready: bool,
    waiters: WaitList<()>,
    /// What else is under the lock.
    extra: L,
}

impl<L> State for LatchState<L> {
    fn check(&self) {}
}

impl<L> Waiters<()> for LatchState<L> {
    fn waiters(&mut self) -> &mut WaitList<()> {
        &mut self.waiters
    }
}

/// A value that is written once and waited for by many. Under its lock there is room for
/// something else (`L`).
pub(crate) struct Latch<V, L = (), R = Shared> {
    ready: AtomicBool,
    value: UnsafeCell<Option<V>>,
    monitor: Monitor<LatchState<L>, R>,
}

// SAFETY: the value is written by one thread (the monitor decides which) and
// lent to all others, so it must be Send and Sync.
unsafe impl<V: Send + Sync, L: Send> Sync for Latch<V, L, Shared> {}

impl<V, R: Flavour> Latch<V, (), R> {
    const_fn! {
        pub(crate) const fn new() -> Self {
            Latch::with(())
        }
    }

    pub(crate) fn into_inner(self) -> Option<V> {
        self.value.into_inner()
    }

    /// Writes the value and wakes all; gives it back if there is one already.
    pub(crate) fn set(&self, value: V) -> Result<(), V> {
        self.set_if(value, |()| true)
    }
}

impl<V, L, R: Flavour> Latch<V, L, R> {
    const_fn! {
        pub(crate) const fn with(extra: L) -> Self {
            let state = LatchState { ready: false, waiters: WaitList::new(), extra };
            Latch {
                ready: AtomicBool::new(false),
                value: UnsafeCell::new(None),
                monitor: Monitor::new(0, state),
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

    /// It goes: lets a model checker see that the value was written before. To those who only
    /// read, the models' own `Arc` says when, which the checker does not know.
    pub(super) fn touch(&self) {
        let _ = self.value.read();
    }

    /// Takes the value out, if it is there.
    ///
    /// # Safety
    ///
    /// Nobody else reads it any more.
    #[inline]
    pub(super) unsafe fn take(&self) -> Option<V> {
        self.get()?;
        // SAFETY: ready, so it is not written any more; and the caller's promise.
        unsafe { (*self.value.write()).take() }
    }

    /// Writes the value and wakes all; gives it back if there is one already, or if `may`,
    /// under the lock, says no.
    pub(crate) fn set_if(&self, value: V, may: impl FnOnce(&mut L) -> bool) -> Result<(), V> {
        let mut value = Some(value);
        self.monitor.broadcast::<()>(|state| {
            if state.ready || !may(&mut state.extra) {
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

    /// Does something with what else is under the lock; `None` if the value is there.
    pub(crate) fn before<O>(&self, f: impl FnOnce(&mut L) -> O) -> Option<O> {
        let mut guard = self.monitor.lock();
        let state = guard.parts().0;
        (!state.ready).then(|| f(&mut state.extra))
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

    #[inline]
    pub(crate) fn source(&self) -> &impl Source {
        self
    }

    /// How many wait.
    pub(crate) fn waiting(&self) -> usize {
        self.monitor.lock().parts().0.waiters.len()
    }
}

impl<V, L, R: Flavour> Source for Latch<V, L, R> {
    unsafe fn enlist(&self, node: &Node<()>) -> bool {
        // SAFETY: the caller's promise.
        unsafe { self.monitor.enlist_unless(|state| state.ready, node) }
    }

    unsafe fn delist(&self, node: &Node<()>) {
        // SAFETY: the caller's promise.
        unsafe { self.monitor.delist_node(node) }
    }

    #[inline]
    fn is_ready(&self) -> bool {
        // Acquire: what was done before it became ready is visible.
        self.ready.load(Ordering::Acquire)
    }
}

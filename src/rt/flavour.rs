//! Who may use a primitive: anybody, or one thread only.
//!
//! A [`Monitor`](super::wait::Monitor) and the primitive around it are of one flavour, their raw
//! lock. A primitive's source does not say which: its file is a module of `sync` and one of
//! `unsync`, and the type `Flavour` of the module around it differs.
//!
//! # What is left out for one thread
//!
//! - The lock is a flag that nobody ever waits for, since there is no switch under a lock. It
//!   stays in release builds: an item's `cmp` or `clone` that comes back to its queue finds it.
//! - The fast word is moved by a store, and not marked while the lock is held. It is an atomic in
//!   both flavours: relaxed loads and stores are plain ones.

use super::sync::{Raw, RawMutex};
use lock_api::GuardNoSend;
use std::cell::Cell;
use std::marker::PhantomData;

/// A raw lock, and with it the flavour of what it guards.
pub(crate) trait Flavour: RawMutex {
    /// Whether several threads may use it.
    const SHARED: bool;
}

/// For any thread.
pub(crate) type Shared = Raw;

impl Flavour for Shared {
    const SHARED: bool = true;
}

/// For the greenlets and the root of one thread. Neither Send nor Sync, so nothing that has it is.
pub(crate) struct Local {
    held: Cell<bool>,
    _here: PhantomData<*const ()>,
}

impl Flavour for Local {
    const SHARED: bool = false;
}

// SAFETY: one thread only can reach it, and it lets in one at a time there.
unsafe impl lock_api::RawMutex for Local {
    #[allow(clippy::declare_interior_mutable_const)] // Lock_api's way.
    const INIT: Self = Local {
        held: Cell::new(false),
        _here: PhantomData,
    };

    type Guard = GuardNoSend;

    #[cold]
    fn lock(&self) -> GuardNoSend {
        // To wait for itself would be for ever.
        self.try_lock().expect("a lock of one thread is free")
    }

    #[inline]
    fn try_lock(&self) -> Option<GuardNoSend> {
        (!self.held.replace(true)).then(GuardNoSend::new)
    }

    #[inline]
    unsafe fn unlock(&self, _guard: GuardNoSend) {
        self.held.set(false);
    }

    fn is_locked(&self) -> bool {
        self.held.get()
    }
}

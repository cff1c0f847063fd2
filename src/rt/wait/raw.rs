//! The raw lock under each of lock_api's types: for the arms of a select, and to be looked at.
//!
//! To reach it is `unsafe` there, since who unlocks it without a guard breaks what the lock is
//! for. Each raw lock's own `unlock` wants that promise once more, so here it can be had without.

use lock_api::{GetThreadId, Mutex, RawMutex, RawRwLock, ReentrantMutex, RwLock};

pub(crate) fn raw_lock_of<R: RawMutex, T: ?Sized>(mutex: &Mutex<R, T>) -> &R {
    // SAFETY: see the module.
    unsafe { mutex.raw() }
}

pub(crate) fn raw_rwlock_of<R: RawRwLock, T: ?Sized>(lock: &RwLock<R, T>) -> &R {
    // SAFETY: see the module.
    unsafe { lock.raw() }
}

pub(crate) fn raw_reentrant_of<R: RawMutex, G: GetThreadId, T: ?Sized>(
    mutex: &ReentrantMutex<R, G, T>,
) -> &R {
    // SAFETY: see the module; nor does a look change the owner or the count.
    unsafe { mutex.raw() }
}

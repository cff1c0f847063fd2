//! What greenlets coordinate with: [`Event`], [`Notify`], [`AsyncResult`], queues, [`Broadcast`],
//! [`Watch`], semaphores, locks, [`Condvar`]; [`Barrier`], [`Latch`], [`WaitGroup`]; [`Once`], [`OnceCell`], [`Lazy`].
//!
//! Each can be used by greenlets of several hubs, their roots and plain threads
//! at once. Waiters are served in order of arrival, whatever they are. A waiter
//! that leaves by a timeout or a kill takes nothing; one that was served has what
//! it was given, even if its time is over or it is killed before it runs.
//! What only one thread uses can have cheaper ones, those of [`unsync`](crate::unsync).
//!
//! ```
//! use greenlet::sync::Event;
//!
//! static DONE: Event = Event::new();
//!
//! let setter = std::thread::spawn(|| DONE.set());
//! DONE.wait(); // from any thread
//! # setter.join().unwrap();
//! ```
//!
//! While a thread is panicking no wait suspends: a method whose type can say no
//! says so (`Full`, `Empty`, `Unchanged`, `Elapsed`, `false`, `None`), any other aborts with a message; but for
//! [`Mutex`]'s `lock` and what initialises a [`OnceCell`], [`Once`] or [`Lazy`], which block the
//! thread if they wait for other threads only.
//!
//! The locks are raw locks of this crate under the guards of [`lock_api`].

/// This module's name, in the examples of the files that are `unsync`'s too.
macro_rules! here {
    () => {
        "greenlet::sync"
    };
}

/// What a permit shares its semaphore by, and its name.
macro_rules! shared {
    () => {
        "std::sync::Arc"
    };
    ($T:ty) => {
        std::sync::Arc<$T>
    };
}

/// That of the files that are `unsync`'s too.
use crate::rt::flavour::Shared as Flavour;

mod async_result;
mod barrier;
mod broadcast;
mod channel;
mod condvar;
pub(crate) mod errors;
mod event;
mod futures;
mod handle;
mod latch;
mod lazy;
mod lock_statistics;
mod mutex;
mod notify;
mod once;
mod once_cell;
mod queue;
mod reentrant;
mod rwlock;
mod semaphore;
pub(crate) mod statistics;
mod turns;
mod wait_group;
mod watch;

pub use async_result::AsyncResult;
pub use barrier::{Barrier, BarrierWaitResult};
pub use broadcast::{Broadcast, BroadcastError, BroadcastReader};
pub use channel::{IntoIter, Receiver, Sender, WeakSender};
pub use condvar::Condvar;
pub use errors::{BoxError, GetError, PutError, ReleaseError};
pub use event::Event;
pub use latch::Latch;
pub use lazy::Lazy;
pub use lock_statistics::LockStatistics;
pub use mutex::{ArcMutexGuard, MappedMutexGuard, Mutex, MutexGuard, RawMutex};
pub use notify::Notify;
pub use once::Once;
pub use once_cell::OnceCell;
pub use queue::{Iter, LifoQueue, PriorityQueue, Queue, Slot, TryIter};
pub use reentrant::{GreenletId, ReentrantMutex, ReentrantMutexGuard};
pub use rwlock::{RawRwLock, RwLock, RwLockReadGuard, RwLockUpgradableReadGuard, RwLockWriteGuard};
pub use semaphore::{BoundedSemaphore, OwnedPermit, Permit, Semaphore};
pub use statistics::{
    AsyncResultStatistics, BarrierStatistics, BroadcastStatistics, CondvarStatistics,
    EventStatistics, LatchStatistics, MutexStatistics, NotifyStatistics, OnceStatistics,
    QueueStatistics, RwLockStatistics, SemaphoreStatistics, WaitGroupStatistics, WatchStatistics,
};
pub use wait_group::WaitGroup;
pub use watch::{Watch, WatchError, WatchReader};

//! What greenlets coordinate with: [`Event`], [`AsyncResult`], queues, semaphores, locks,
//! [`Condvar`].
//!
//! Each can be used by greenlets of several hubs, their roots and plain threads
//! at once. Waiters are served in order of arrival, whatever they are. A waiter
//! that leaves by a timeout or a kill takes nothing; one that was served has what
//! it was given, even if its time is over or it is killed before it runs.
//!
//! While a thread is panicking no wait suspends: a method whose type can say no
//! says so (`Full`, `Empty`, `false`, `None`), any other aborts with a message; but for
//! [`Mutex`]'s `lock`, which blocks the thread if it waits for other threads only.
//!
//! The locks are raw locks of this crate under the guards of [`lock_api`].

mod async_result;
mod channel;
mod condvar;
mod event;
mod mutex;
mod queue;
mod reentrant;
mod rwlock;
mod semaphore;
mod statistics;

pub use async_result::{AsyncResult, BoxError};
pub use channel::{IntoIter, Receiver, Sender, WeakSender};
pub use condvar::Condvar;
pub use event::Event;
pub use mutex::{ArcMutexGuard, MappedMutexGuard, Mutex, MutexGuard, RawMutex};
pub use queue::{GetError, Iter, LifoQueue, PriorityQueue, PutError, Queue, Slot, TryIter};
pub use reentrant::{GreenletId, ReentrantMutex, ReentrantMutexGuard};
pub use rwlock::{RawRwLock, RwLock, RwLockReadGuard, RwLockUpgradableReadGuard, RwLockWriteGuard};
pub use semaphore::{BoundedSemaphore, OwnedPermit, Permit, ReleaseError, Semaphore};
pub use statistics::{
    AsyncResultStatistics, CondvarStatistics, EventStatistics, QueueStatistics, SemaphoreStatistics,
};

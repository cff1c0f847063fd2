//! What greenlets coordinate with: [`Event`], [`AsyncResult`], queues, semaphores.
//!
//! Each can be used by greenlets of several hubs, their roots and plain threads
//! at once. Waiters are served in order of arrival, whatever they are. A waiter
//! that leaves by a timeout or a kill takes nothing; one that was served has what
//! it was given, even if its time is over or it is killed before it runs.
//!
//! While a thread is panicking no wait suspends: a method whose type can say no
//! says so (`Full`, `Empty`, `false`, `None`), any other aborts with a message.

mod async_result;
mod event;
mod queue;
mod semaphore;

pub use async_result::{AsyncResult, BoxError};
pub use event::Event;
pub use queue::{GetError, Iter, LifoQueue, PriorityQueue, PutError, Queue, TryIter};
pub use semaphore::{BoundedSemaphore, OwnedPermit, Permit, ReleaseError, Semaphore};

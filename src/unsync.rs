//! The primitives of [`sync`](crate::sync) that most programs use, for one thread only: cheaper
//! ones, for greenlets that work for each other.
//!
//! They do the same, in the same order and with the same promises, because they are the same: each
//! is the source of its namesake in `sync`, compiled once more. Only [`OwnedPermit`] has its
//! semaphore in an [`Rc`](std::rc::Rc).
//!
//! # When to use them
//!
//! A greenlet stays on its thread, so whatever the greenlets of one thread and its root share
//! among them need not be safe for others. These types are neither `Send` nor `Sync`, which the
//! compiler checks: what is wanted on another thread after all is refused there, and one of
//! `sync` goes in its place.
//!
//! ```
//! use greenlet::unsync::{Queue, Semaphore};
//!
//! let (jobs, two_at_once) = (Queue::bounded(8), Semaphore::new(2));
//! let done = greenlet::scope(|s| {
//!     let workers: Vec<_> = (0..3)
//!         .map(|_| {
//!             s.spawn(|| {
//!                 let work = |job: u64| {
//!                     let _permit = two_at_once.acquire();
//!                     greenlet::yield_now(); // work
//!                     job
//!                 };
//!                 jobs.iter().map(work).sum::<u64>()
//!             })
//!         })
//!         .collect();
//!     (1..=10).for_each(|job| jobs.put(job).unwrap());
//!     jobs.shutdown();
//!     greenlet::join_all(workers).into_iter().map(Result::unwrap).sum::<u64>()
//! });
//! assert_eq!(done, 55);
//! ```
//!
//! What they save is the atomic read-modify-write instructions: two for each lock that is taken, so
//! four for an item that is put and got, and as many for a wait and its wake; some nanoseconds of each.
//!
//! # What they take part in
//!
//! [`wait_any`](crate::wait_any()), [`wait_all`](crate::wait_all),
//! [`as_completed`](crate::as_completed()) and [`select!`](crate::select!) take them,
//! also beside those of `sync` in one call. A wait as a future ([`Queue::get_async`], ...) is
//! for an executor that keeps it on its thread. There are no channels.
//!
//! A thread without a hub can use them, but nobody is there to end its waits: only a limit does.
//!
//! # How it works
//!
//! The lock of each is a flag, and the number beside it is moved by plain loads and stores. So is
//! the word that decides how a wait ends, when a wait for one of these alone is woken: all who could
//! end it are of its thread. (That holds for `sync` too, if the waker is of the waiter's thread.) In a
//! wait for several things another thread may be about to end it through another of them, so there
//! the word is moved by compare-exchange, and so it is by a kill and by a limit. The words of the
//! greenlets, the ready queue and the timers are those that `sync` uses.

macro_rules! here {
    () => {
        "greenlet::unsync"
    };
}

macro_rules! shared {
    () => {
        "std::rc::Rc"
    };
    ($T:ty) => {
        std::rc::Rc<$T>
    };
}

/// The files of `sync`, of this flavour.
#[path = "sync"]
// Compiled twice on purpose: a name of the module around them is their flavour's parameter.
#[allow(clippy::duplicate_mod)]
// Some is for what `sync` alone has, where the compiler looks for what nobody uses.
#[allow(dead_code)]
mod parts {
    use crate::rt::flavour::Local as Flavour;
    use crate::sync::{errors, statistics};

    pub(super) mod async_result;
    pub(super) mod event;
    mod futures;
    pub(super) mod queue;
    pub(super) mod semaphore;
}

pub use crate::sync::{BoxError, GetError, PutError, ReleaseError};
pub use parts::async_result::AsyncResult;
pub use parts::event::Event;
pub use parts::queue::{Iter, LifoQueue, PriorityQueue, Queue, Slot, TryIter};
pub use parts::semaphore::{BoundedSemaphore, OwnedPermit, Permit, Semaphore};

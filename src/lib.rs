//! gevent's model in Rust: *greenlets*, coroutines with stacks of their own that are
//! written in plain blocking style, switch in some ten nanoseconds, and need no `async`.
//!
//! ```
//! use greenlet::sync::{BoundedSemaphore, Queue};
//! use std::time::Duration;
//!
//! let jobs = Queue::bounded(8);
//! let two_at_once = BoundedSemaphore::new(2);
//! let done = greenlet::timeout(Duration::from_secs(5), || {
//!     greenlet::scope(|s| {
//!         for _ in 0..4 {
//!             s.spawn(|| {
//!                 for job in &jobs {
//!                     let _permit = two_at_once.acquire();
//!                     greenlet::sleep(Duration::from_millis(job)); // work
//!                     jobs.task_done();
//!                 }
//!             });
//!         }
//!         (1..=10).for_each(|job| jobs.put(job).unwrap());
//!         jobs.join(); // all are done
//!         jobs.shutdown(); // the workers' loops end
//!     })
//! });
//! assert!(done.is_ok());
//! ```
//!
//! # The model
//!
//! A thread that uses greenlets has a *hub*, made at first need. Its greenlets run
//! one at a time on that thread, each on its own stack, and switch only where they
//! wait. The thread's own stack is the *root*: while it waits in this crate, the hub
//! runs the others. Hubs of several threads work side by side and share the
//! primitives; a greenlet never moves.
//!
//! | for | use |
//! |---|---|
//! | starting, ending, joining | [`spawn`], [`spawn_later`], [`Builder`], [`Greenlet`], [`join_all`], [`kill_all`] |
//! | what runs | [`current`], [`sleep`], [`yield_now`], [`checkpoint`], [`now`] |
//! | bounding what runs inside | [`scope()`], [`run()`], [`shield`], [`finally`], [`no_switch`] |
//! | time limits | [`timeout()`] and [`Timeout`], round whatever waits; many waits have a `_timeout` form (locks `try_lock_for`) |
//! | a flag, a result | [`sync::Event`], [`sync::Notify`], [`sync::AsyncResult`] |
//! | queues | [`sync::Queue`], [`sync::LifoQueue`], [`sync::PriorityQueue`] |
//! | channels: queues with a [`sync::Sender`] and a [`sync::Receiver`] | [`sync::Queue::channel`] |
//! | for many readers: the latest value, or each item | [`sync::Watch`], [`sync::Broadcast`] |
//! | limits | [`sync::Semaphore`], [`sync::BoundedSemaphore`] |
//! | what only one thread uses: cheaper events, results, queues, semaphores | [`unsync`] |
//! | locks | [`sync::Mutex`], [`sync::RwLock`], [`sync::ReentrantMutex`], [`sync::Condvar`] |
//! | waiting for each other | [`sync::Barrier`], [`sync::Latch`], [`sync::WaitGroup`] |
//! | what is done or made once | [`sync::Once`], [`sync::OnceCell`], [`sync::Lazy`] |
//! | many greenlets, so many at a time | [`Group`], [`Pool`] |
//! | the first or all of several that are ready, or each in its turn | [`wait_any`], [`wait_all`], [`as_completed`] |
//! | the first of several operations: gets, puts, permits, waits | [`select!`], [`select_biased!`] |
//! | `async` code | each wait as a future ([`get_async`](sync::Queue::get_async), ...), [`Greenlet`] can be awaited, [`block_on`] |
//! | greenlet-local values | [`Local`] |
//! | other threads | [`HubHandle`], [`HubThread`], [`deadlock_after`] |
//! | sockets (feature `net`) | [`net::TcpStream`], [`net::TcpListener`], [`net::UdpSocket`], those of Unix |
//! | servers (feature `net`) | [`net::Server`] |
//! | signals of the system (feature `signal`) | `signal::Signals` |
//! | bodies that hand out values one by one, an iterator or by `resume` | [`Generator`], [`Yielder`] |
//! | what blocks | [`unblock`], [`ThreadPool`], [`fs`] |
//! | what a program does | [`dump()`], [`dump_all`], [`statistics()`], [`time_slices`], [`measure_stacks`] with [`stack_use`], [`watchdog()`], [`set_unjoined_panic_hook`], and the deadlock's report |
//! | events for the crate `tracing` (feature `tracing`) | see [Tracing](#tracing) |
//! | tests without real time | [`testing::Simulation`] |
//!
//! [Coming from gevent, async Rust or Go](coming_from) has the names that you know.
//!
//! # Promises
//!
//! 1. *Pinned.* A greenlet runs on one thread from its first to its last instruction,
//!    so it may own things that are not `Send`.
//! 2. *Any context may wait.* The same method works in a greenlet, on a thread's own
//!    stack, and on a plain thread that has no hub.
//! 3. *First in, first out.* Waiters are served in order of arrival, whatever they
//!    are, and permits and items go to them by hand-off: nobody barges past.
//! 4. *Nothing is lost.* A wake that was given is taken: a timeout or kill that comes
//!    before the waiter runs acts at its next wait. A waiter that leaves takes nothing,
//!    and a put that fails gives its item back. The one exception is what is handed
//!    to a waiter whose thread has ended.
//! 5. *Success wins a tie.* Whoever ends a wait first decides it, never the clock.
//! 6. *No switch without need.* What need not wait, or meets a waiting partner, does
//!    not switch, and no timeout hits it. `try_` and `_nowait` never switch. A timed
//!    wait of zero makes one trip through the loop.
//! 7. *A kill unwinds.* So does the expiry of a timeout scope: destructors run.
//! 8. *No switch while panicking.* A wait says no then, where its type can.
//! 9. *Constant time* for wait, wake, leaving, spawn and end, whatever the number of
//!    waiters; logarithmic for timers.
//! 10. *A blocked program says so:* when it is certain that nothing can ever wake
//!     anybody, the wait of the root, or of a thread without a hub, panics with a line for each
//!     greenlet. With other threads alive it is not certain: see [`deadlock_after`].
//! 11. *No allocation for a wait.*
//! 12. *Small:* few dependencies; `unsafe` blocks only for the waits, the switch and the stacks.
//!
//! # In `async` code
//!
//! The waits of the primitives have forms that are futures (`wait_async`, `get_async`,
//! `acquire_async`, ...), and a [`Greenlet`] can be awaited. Such a future stands in line with
//! greenlets and threads from its first poll on. Any executor may poll it, on any thread if its
//! contents are `Send`; it needs no hub. Dropped before its end it leaves the line, and what it
//! was given but has not returned yet goes to the next one: a permit, a notification, an item
//! (or back to where that came from: first out again, also if the queue is full by then). The
//! item of a `put_async` is dropped with it, unless it was taken, and an arrival at a
//! [`Barrier`](sync::Barrier) is taken back, unless that has tripped. A time limit is the
//! executor's, which drops the future. Locks have no such form, as their owner is a greenlet
//! or a thread. The other way round, [`block_on`] runs any future in plain code.
//!
//! # Differences from gevent
//!
//! Each is deliberate. A permit or an item goes to the waiter at the front by
//! hand-off, so a releaser or a loop cannot take it back, and a put or get that meets
//! its partner returns without switching. A set [`Event`](sync::Event) lets a newcomer
//! through at once, and a wait that begins after `set(); clear();` is not woken by it.
//! If a wake and a timeout fall together, the wake wins. A second `set` of a result is
//! refused. `Queue(0)` does not exist; [`Queue::rendezvous`](sync::Queue::rendezvous)
//! does. A kill is sticky, and [`JoinError::Killed`] is an outcome of its own. A link
//! to a finished greenlet runs at once. There is no blocking peek and no
//! `Semaphore.wait`. The values of a [`Local`] end with their greenlets; dropping the
//! `Local` drops the value of the greenlet that does so. Primitives work across threads.
//!
//! # Soundness
//!
//! Greenlets of one thread interleave, which other code of that thread may not expect.
//! Pinning rules out what goes wrong when a stack changes threads. What is left can
//! break memory safety without a line of `unsafe` in your program, and no library can
//! check it. Each needs a greenlet that waits where it should not, or the body of a
//! [`Generator`] that yields there:
//!
//! - *Inside the initialiser of a `thread_local!`* that has no `const` block. If another
//!   greenlet of the thread initialises the same key meanwhile, and still borrows from
//!   it when the first one goes on, std drops a value that is borrowed.
//! - *Inside a dynamically scoped thread-local* of another crate: scoped-tls's `set`, the
//!   enter guards of runtimes and of tracing. They must end in the reverse order of
//!   their begin, also among greenlets; or use them only inside [`no_switch`].
//! - *Inside another library's coroutine* that was resumed by this greenlet, if that
//!   coroutine can be suspended by somebody else, who runs on another stack.
//! - *Inside a C++ catch block*, or in a callback from C, which must not be unwound: a kill
//!   or an expiry would; wrap the callback in a [`shield`]. A certain deadlock is told there too.
//! - *Inside `LocalKey::with`*, if the greenlet is still there when the thread's locals are
//!   destroyed. It runs no more by itself, but a destructor of another thread-local that
//!   waits lets it run once more, and a scoped thread that it lent the reference to runs
//!   on: both see a value that is gone. So does a generator that has yielded there, if a
//!   destructor of a thread-local drops or resumes it. End the greenlets of a thread before it ends, by
//!   [`run()`] or [`scope()`]; or do not let destructors of thread-locals wait, and lend
//!   nothing of them to threads. On the main thread `std::process::exit` is such an end
//!   too, even in a greenlet: destructors run on the stack that called it.
//!
//! What is prevented is tried in `tests/soundness.rs` and `tests/refused.rs`.
//!
//! # Tracing
//!
//! With feature `tracing`, which is not a default, the crate emits events for the crate `tracing`
//! with target `greenlet`: at debug level `spawn` (`id`, `name`, `parent`, `place`), `kill` and `end`
//! (`id`), at trace level `start`, `wait` (`id`, `operation`, `place`) and `wake` (`id`, `outcome`:
//! `woken`, `expired`, `interrupted`). A `wait` that is a yield has no `wake`; the id of a root is 0.
//! The subscriber runs in the middle of waits and in the hub's loop: its own waits in this crate
//! panic, its panics are caught, and what it does holds the thread up. There are no spans, for the
//! reason that stands under Soundness; without the feature there is nothing.
//!
//! # Limits
//!
//! - A lock of std or parking_lot that is held across a wait stops the whole thread if
//!   another of its greenlets wants it; those of [`sync`] park the greenlet.
//! - A kill is an unwind: std's `Mutex` is poisoned by it. With `panic = "abort"`,
//!   killing a started greenlet and timeout scopes panic with a message.
//! - A destructor that runs because of a panic, kill or expiry cannot wait; use
//!   [`finally`]. One that waits at other times should do so in a [`shield`], or a
//!   pending kill unwinds out of it.
//! - An overflow of a greenlet's stack hits a guard page and ends the process. On Linux a
//!   handler of SIGSEGV, installed with the first stack, says on stderr whose it was, how large
//!   and where spawned; other faults go to the handler that was there before. Stacks
//!   take 256 KiB of address space unless a [`Builder`] says otherwise, and only
//!   touched pages cost memory. On Linux before 6.13, and in a process that
//!   locks its memory, two thirds of the system's limit on mappings (`vm.max_map_count`) are
//!   for their guards: about 21,000 stacks at once, and an error for those beyond.
//! - A computation that never waits holds its hub up; call [`checkpoint`] in it.
//! - Do not fork while greenlets are alive, or a [`Watchdog`].
//! - Sockets and signals are for Unix only; the rest is for Windows too.

mod as_completed;
mod current;
mod dump;
mod error;
pub mod fs;
mod future;
mod generator;
mod greenlet;
mod group;
mod hub_handle;
mod join;
mod local;
#[cfg(all(unix, feature = "net"))]
pub mod net;
mod pool;
mod rt;
mod scope;
#[doc(hidden)]
pub mod select;
#[cfg(all(unix, feature = "signal"))]
pub mod signal;
mod start;
mod statistics;
pub mod sync;
pub mod testing;
mod thread_pool;
mod timeout;
mod unjoined;
pub mod unsync;
mod waitable;
mod watchdog;

pub use as_completed::{AsCompleted, as_completed};
pub use current::{Current, checkpoint, current, now, sleep, yield_now};
pub use dump::{Dump, GreenletDump, GreenletState, GroupDump, HubAnswer, HubDump, dump, dump_all};
pub use error::{Elapsed, JoinError, PanicPayload};
pub use future::{JoinFuture, block_on};
pub use generator::{Generator, GeneratorState, Yielder};
pub use greenlet::{Builder, Greenlet, spawn, spawn_later};
pub use group::Group;
pub use hub_handle::{HubHandle, HubThread, deadlock_after};
pub use join::{Joinable, join_all, kill_all};
pub use local::{Local, Unset};
pub use pool::{Imap, MapError, Pool, PoolFull};
pub use scope::{Scope, ScopedGreenlet, finally, no_switch, run, scope, shield};
pub use statistics::{
    HubStatistics, PoolStatistics, Runner, StackUse, ThreadPoolStatistics, TimeSlice,
    measure_stacks, stack_use, statistics, time_slices,
};
pub use thread_pool::{ThreadPool, unblock};
pub use timeout::{Timeout, TimeoutHandle, timeout};
pub use unjoined::{UnjoinedPanic, clear_unjoined_panic_hook, set_unjoined_panic_hook};
pub use waitable::{Waitable, wait_all, wait_all_timeout, wait_any, wait_any_timeout};
pub use watchdog::{HeldUp, Watchdog, watchdog};

#[cfg(any(doc, doctest))]
#[doc = include_str!("coming_from.md")]
pub mod coming_from {}

/// The README's program is compiled and run with the documentation's.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

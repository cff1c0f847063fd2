//! The machinery. Nothing in it is public.
//!
//! | file | what lives there |
//! |---|---|
//! | `wait` | how waits end; below it waiter nodes and their FIFO lists, the monitor under every primitive, the latch, `wait_any` and select: the core; the stacks of generators (`unsafe`) |
//! | `park` | who is waiting (greenlet, root, thread) and how each is suspended; below it how each is claimed and woken, and what whoever calls has: hub, number, frames, locals |
//! | `hub` | ready queue, turn, idle, root, what it keeps of greenlets |
//! | `task` | what greenlet, root and thread have in common: kills, frames, locals |
//! | `poller` | mio: changes of descriptors (feature `net`) |
//! | `readiness` | whether a descriptor can be read and written, and who waits for that (feature `net`) |
//! | `inbox` | wakes, spawns and kills from other threads; the sleep protocol |
//! | `timers` | fresh list, buckets and an indexed 4-ary heap, pure data |
//! | `coroutine` | corosensei wrapped: bind, resume, suspend, raise; prefetch (`unsafe`) |
//! | `stack` | sizes and allocation of stacks |
//! | `clock` | real and virtual time |
//! | `word` | the wait word: who ends a wait |
//! | `report` | the lines on stderr |
//! | `spin` | a look round before a thread sleeps |
//! | `deadlock` | when it is certain that nobody will ever wake anybody |
//! | `trace` | events for the crate `tracing` (feature `tracing`) |
//! | `watch` | which hubs there are, and what runs on each, for other threads to see |
//! | `flavour` | whether a primitive is for any thread or for one |
//! | `sync` | std and parking_lot, or loom, or shuttle |
//!
//! # Arrows
//!
//! `readiness -> wait -> park -> hub -> {task, inbox, timers, coroutine, poller, watch, trace} -> {clock, stack}`;
//! `poller` names the inbox's bell and the coroutine's prefetch; `watch` the inbox and the task's names;
//! `park` and `hub` ask `deadlock`, which asks `watch`;
//! `sync`, `flavour`, `word`, `clock`, `spin` and `report` are leaves that all may use; `task` names the
//! timers' ids and the coroutine's reasons to unwind. `rt` uses nothing above it.
//! `tests/layers.rs` reads the `use` lines and fails on any other arrow.
//!
//! # Decisions
//!
//! - *Claim, then use the slot.* A notifier first moves the word of the waiter at the
//!   front and only then fills or takes its slot, all under the lock. Nothing has to be
//!   given back if the claim fails, and a queue can still tell a putter, after the
//!   claim, that storing its item panicked. What makes it sound: a greenlet runs only
//!   after it is woken, which is after the unlock, and a plain thread passes the lock
//!   before it leaves.
//! - *Two ways to end early.* A wait's own deadline is EXPIRED; a kill, a frame that
//!   fired and a deadlock are INTERRUPTED. So a sleep that is over is never turned into
//!   the expiry of a scope that fires in the same pass of the timers.
//! - *Success wins a tie of deadlines too.* Among timers of one instant, sleeps and
//!   delayed starts come before limits, and a limit waits, for one turn at most, behind
//!   those that an earlier timer of the pass has woken: they may be about to end what it
//!   limits.
//! - *Indices, not pointers, between threads.* The inbox links places in the hub's table, so
//!   nothing in it can dangle and it needs no `unsafe`.
//! - *One source, two flavours.* [`wait::Monitor`] is generic over its raw lock, parking_lot's
//!   or a cell; a primitive's file is compiled once for each (`flavour`, `unsync`).
//!
//! # The shape of a wait
//!
//! `prepare` (never inlined) decides under the primitive's lock; if it must wait
//! it links the waiter's node, which lives in the frame of the public method, and
//! returns how to suspend. Only the switch itself is inlined into that method.
//! `complete` (never inlined) disarms, unlinks and then returns or raises. So no
//! frame of this crate is live across a switch, and the calls and returns on both
//! sides of it pair up for the return predictor. At the root and on a plain
//! thread, which have nobody to switch to, `prepare` does all of it.

pub(crate) mod clock;
pub(crate) mod coroutine;
pub(crate) mod deadlock;
pub(crate) mod flavour;
pub(crate) mod hub;
pub(crate) mod inbox;
pub(crate) mod park;
#[cfg(all(unix, feature = "net"))]
pub(crate) mod poller;
#[cfg(all(unix, feature = "net"))]
pub(crate) mod readiness;
pub(crate) mod report;
mod spin;
pub(crate) mod stack;
pub(crate) mod sync;
pub(crate) mod task;
pub(crate) mod timers;
mod trace;
pub(crate) mod wait;
pub(crate) mod watch;
pub(crate) mod word;

#[cfg(all(test, greenlet_loom))]
mod models;
#[cfg(all(test, greenlet_shuttle))]
mod shuttles;

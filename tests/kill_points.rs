//! A kill, an expiry and a panic at every point of a program.
//!
//! # How
//!
//! A program is a few greenlets (*actors*) on a [`Simulation`](greenlet::testing::Simulation). Its driver, the root,
//! first lets it run undisturbed and counts its *points*: at each instant of the virtual clock the driver yields until
//! nothing moves any more, then sleeps for half a millisecond. Programs wait for whole milliseconds, so every instant
//! at which something happens is a look of the driver's, and so is one between any two. A yield of the driver is one
//! round of the ready queue, in which each greenlet that is ready runs once, up to its next switch: so between two
//! switches of any actor lies a point. Where a wait begins and is ended within one round, in front of the driver, other
//! schedules (seeds) put the driver between the two.
//!
//! Then, for each actor, the program is acted again, once for each point with a kill there and once with a panic
//! there (which an actor raises when its operation returns: with the permit or item in its hands); and once for each
//! look of the driver with a time limit that expires then, with the panic of a child of a scope that the actor is the
//! body of, and with the panic of a sibling in a scope. The programs name their waits; at the end each name must have
//! been unwound by each of these, or the test fails: no wait goes untried.
//!
//! After each performance: all greenlets have ended; of every item that was put just one has been got or is still there,
//! and none of a put that was unwound; permits are all back; nobody is in a list of waiters (`Debug`); each primitive
//! works; every destructor ran exactly once, and nothing is held any more. At the end of a simulation: the report of a
//! deadlock names no greenlet (no record is left), the clock does not jump (no timer is left), and all kills once more
//! run on the stacks that were there before (no stack is lost).
//!
//! Beside these, `process.rs` has what needs another thread (`HubThread::join`), and the memory of the process.
//!
//! # What they find
//!
//! Each was broken in the crate, one at a time:
//!
//! | broken | noticed by |
//! |---|---|
//! | a waiter that leaves does not let those behind it through | limits (they wait for ever) |
//! | a waiter that leaves is still counted | all that look at `Debug` |
//! | `wait_any` leaves all its nodes but the first in their lists | waits (a fault in memory) |
//! | the timer of a wait, or of a limit, is not disarmed | the clock that jumps at the end |
//! | the stack of a killed greenlet is not pooled again | the number of stacks, everywhere |
//! | a killed greenlet's record, closure or local is not given back | process; the witnesses |
//! | a killed waiter does not take the wake that it was given; a leaving one does | queues, limits |
//! | the item of an unwound put is forgotten; that of a put among leaving getters is dropped | queues |
//! | a get does not refill from the putters; the last task done wakes nobody | queues |
//! | permits are taken by a wait that expires, or that is being left | limits |
//! | a scope does not wait for its children a second time; `finally` forgets its cleanup | bounds |
//! | a kill goes through a shield; links of a killed greenlet do not run | bounds; waits |
//! | a pool loses a place, or frees it twice; a map that is unwound leaves its members alone | pools |
//! | what a dropped future was given is lost | futures |
//! | a generator that is dropped leaves its body alone; a driver goes on with the way out of the body | generators |
//! | a `HubThread` that is dropped does not stop | process (it waits for ever) |

// What the programs use; for `unsync` it is another one.
use greenlet::sync;
use std::sync::Arc as Shared;

/// The same, with the primitives for one thread.
#[path = "kill_points"]
#[allow(clippy::duplicate_mod)]
mod unsync {
    use greenlet::unsync as sync;
    use std::rc::Rc as Shared;

    mod limits;
    mod queues;
    mod selects;
    mod waits;
}

#[path = "kill_points/bounds.rs"]
mod bounds;
#[path = "kill_points/channels.rs"]
mod channels;
#[path = "kill_points/coordination.rs"]
mod coordination;
#[path = "kill_points/examples.rs"]
mod examples;
#[path = "kill_points/futures.rs"]
mod futures;
#[path = "kill_points/generators.rs"]
mod generators;
#[path = "kill_points/limits.rs"]
mod limits;
#[path = "kill_points/locks.rs"]
mod locks;
#[path = "kill_points/pools.rs"]
mod pools;
#[path = "kill_points/process.rs"]
mod process;
#[path = "kill_points/queues.rs"]
mod queues;
#[path = "kill_points/selects.rs"]
mod selects;
#[path = "kill_points/stage.rs"]
mod stage;
#[path = "kill_points/waits.rs"]
mod waits;
#[path = "kill_points/watch.rs"]
mod watch;

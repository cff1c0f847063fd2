//! What each operation costs: CPU time per operation, `cargo bench --bench figures`.
//!
//! Taken from the thread's time on a processor, so that other load on the machine counts
//! less than it would on the wall clock, and from the wall clock where two threads work
//! ("wall"). Each figure is the minimum of several rounds; only ratios within one run should
//! be compared. Arguments select the lines whose name contains each of them: `cargo bench
//! --bench figures -- yield`.
//!
//! `benches/instructions` counts the instructions of each operation under valgrind. That is
//! the figure to work with: it is exact, whatever else the machine does. It does not see
//! mispredicted returns, cache misses and chains of loads, which decide much of a switch.
//!
//! # Why not criterion or divan
//!
//! Both measure wall time by default; here the machine is shared, and a neighbour's build
//! doubles the wall time of a round and leaves its processor time. criterion can be given
//! another clock (its `Measurement`), divan cannot. Neither compares two libraries in turn
//! (`benches/peers`), or runs one workload a given number of times for valgrind. And a round
//! here prepares greenlets that wait before its clock runs; the loop of a harness must be
//! around that, in a hub of its own for each round. What is left for criterion to do is the
//! statistics, at the price of some 50 more crates in every `cargo test`. The minimum of nine
//! rounds is steadier than its mean on this kind of machine.

mod harness;
mod hubs;
#[path = "../measure/mod.rs"]
mod measure;
mod queues;
mod spawns;
mod sync;
mod timers;
mod yields;

use greenlet::{Greenlet, yield_now};
use std::time::Duration;

const HOUR: Duration = Duration::from_secs(3600);

fn all<T: 'static>(n: usize, f: impl FnMut(usize) -> Greenlet<T>) -> Vec<Greenlet<T>> {
    (0..n).map(f).collect()
}

/// Starts `n` waiters and lets each get to its wait.
fn waiting<T: 'static>(n: usize, f: impl FnMut(usize) -> Greenlet<T>) -> Vec<Greenlet<T>> {
    let greenlets = all(n, f);
    yield_now();
    greenlets
}

fn main() {
    yields::figures();
    spawns::figures();
    sync::figures();
    queues::figures();
    timers::figures();
    hubs::figures();
    if let Some(name) = &measure::options()
        .iterations
        .and(measure::options().names.first())
    {
        panic!("there is no figure named {name:?}");
    }
}

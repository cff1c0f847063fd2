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
//! Both measure wall time by default, and here a neighbour's build doubles the wall time of a
//! round and leaves its processor time as it was. divan has no other clock (0.1.21: the system's
//! or the processor's counter). criterion can do all that is needed here, by `iter_custom` with
//! rounds that keep their own time, since each prepares greenlets that wait before its clock
//! runs. It would add confidence intervals and the comparison with the last run, at the price of
//! 48 crates (0.8) in every `cargo test`, which has 46 without. On a shared machine the
//! intervals would show the neighbours; the minimum of nine rounds is steadier, and whether a
//! change was for the better is answered by counting instructions, for which a workload must
//! run so many times and no more. So the harness is the 50 lines of `harness.rs`.

mod harness;
mod hubs;
#[path = "../measure/mod.rs"]
mod measure;
mod queues;
mod spawns;
mod sync;
mod timers;
mod unsync;
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
    unsync::figures();
    timers::figures();
    hubs::figures();
    if let Some(name) = &measure::options()
        .iterations
        .and(measure::options().names.first())
    {
        panic!("there is no figure named {name:?}");
    }
}

//! Measures one workload after the other, or runs one once, so that its instructions can be
//! counted from outside.

use crate::measure::{is_asked_for, options};
use greenlet::run;
use std::time::Duration;

const ROUNDS: usize = 9;

/// Prints the best of several rounds of `round`, which does as many operations as it is
/// told, about `n`, and returns the time they took. The figure is the nanoseconds of one.
///
/// A tenth of `n` must be a whole number of the workload's units: `instructions` counts with
/// a tenth and a fifth.
pub(crate) fn figure(name: &str, n: usize, round: impl FnMut(usize) -> Duration) -> Option<f64> {
    measure(name, n, ROUNDS, true, round)
}

/// As [`figure`], with fewer rounds, and not for valgrind, which would take too long or which
/// changes what is measured: 100,000 stacks and more, or several threads.
pub(crate) fn large(name: &str, n: usize, round: impl FnMut(usize) -> Duration) -> Option<f64> {
    measure(name, n, 3, false, round)
}

fn measure(
    name: &str,
    n: usize,
    rounds: usize,
    countable: bool,
    mut round: impl FnMut(usize) -> Duration,
) -> Option<f64> {
    if let Some(iterations) = options().iterations {
        if options().names.iter().any(|asked| asked == name) {
            run(|| {
                round(iterations);
                // Without the end of the hub, which may have many waiters left.
                std::process::exit(0)
            });
        }
        return None;
    }
    if !is_asked_for(name) {
        return None;
    }
    if options().list {
        if countable {
            println!("{n}\t{name}");
        }
        return None;
    }
    let best = (0..rounds).map(|_| run(|| round(n))).min().unwrap();
    let figure = best.as_nanos() as f64 / n as f64;
    say(name, figure);
    Some(figure)
}

pub(crate) fn say(name: &str, figure: f64) {
    println!("{name:<60} {figure:>10.1} ns");
}

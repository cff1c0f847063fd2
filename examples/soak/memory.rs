//! The resident set: at the end it must be where it was after the first rounds.
//!
//! What stays resident without being a leak: the allocator's arenas, of which glibc makes up
//! to eight for each core and which keep what was freed into them; the stacks of ended
//! threads, of which glibc keeps some; and greenlets' stacks up to the end of their hub, but
//! no hub outlives its round. All of that grows by the largest rounds, seldom and less and
//! less, while a leak grows with the number of rounds. So the high-water mark of the first
//! quarter of the time is compared with the lowest of the last rounds, and [`ALLOWANCE`] is
//! for an arena that was first used, or a round that was larger, later than that. On two cores
//! the whole set is about 8 MiB, and the difference seldom 1 MiB. What passes the allowance: a
//! leak of 20 bytes in each greenlet, or of 2 KiB in each hub, within 20 seconds; of a stack,
//! of which 8 KiB are touched at least, after 1,000.

use crate::ledger::off;
use std::time::{Duration, Instant};

/// In bytes.
const ALLOWANCE: usize = 8 << 20;
/// Rounds on each side of the comparison; with fewer there is none.
const ROUNDS: usize = 8;

#[derive(Debug)]
pub(crate) struct Memory {
    /// The first quarter ends then.
    until: Instant,
    first: Vec<usize>,
    last: Vec<usize>,
}

impl Memory {
    pub(crate) fn new(run: Duration) -> Self {
        Memory {
            until: Instant::now() + run / 4,
            first: Vec::new(),
            last: Vec::new(),
        }
    }

    /// At the end of each round.
    pub(crate) fn note(&mut self) {
        let Some(resident) = resident() else { return };
        if self.first.len() < ROUNDS || Instant::now() < self.until {
            self.first.push(resident);
        } else {
            self.last.push(resident);
        }
    }

    /// At the end of all: what is to be printed.
    pub(crate) fn check(&self) -> String {
        if cfg!(not(target_os = "linux")) {
            return "memory: not checked, the resident set is only known on Linux".to_owned();
        }
        let last = self.last.len();
        if last < ROUNDS {
            return format!(
                "memory: NOT CHECKED, {last} rounds after the first quarter are too few"
            );
        }
        let before = self.first.iter().max().expect("pushed before `last`");
        let after = self.last[last - ROUNDS..].iter().min().expect("ROUNDS > 0");
        if *after > before + ALLOWANCE {
            off(format_args!(
                "the resident set grew from {before} to {after} bytes"
            ));
        }
        let mib = |bytes: usize| bytes as f64 / f64::from(1 << 20);
        format!(
            "memory: {:.1} MiB resident at most in the first {} rounds, {:.1} MiB in the last {ROUNDS}; {} MiB more are allowed",
            mib(*before),
            self.first.len(),
            mib(*after),
            ALLOWANCE >> 20
        )
    }
}

/// The resident set in bytes, on Linux. From `status`, which has it in kB; `statm` has it in
/// pages, whose size cannot be asked for without libc.
fn resident() -> Option<usize> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: usize = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kib << 10)
}

//! When it is certain that nothing can ever wake who waits.
//!
//! # The rule
//!
//! The wait of a root, or of a thread without a hub, is ended with a report only where it is
//! certain that nobody can wake anything: nothing is ready, no timer is armed that will ever
//! expire, nobody waits for a socket, and the process has no other thread (Linux tells;
//! elsewhere nobody knows) or the hub simulates.
//!
//! To ask Linux takes 2 us, which is half of what threads that answer each other at once would
//! take for a message. So it is asked when nothing has come for [`FIRST`], and again whenever
//! that has become twice as long, since others may have ended meanwhile: a second without a wake
//! asks four times, an hour 16 times. So the report comes later than it could by [`FIRST`] at
//! least, and at most by as long as nothing had come when it became certain.
//!
//! While a thread panics its waits can raise nothing, so they are no deadlocks.
//!
//! With other threads alive, `deadlock_after` may print the same report and wait on.

use super::sync::MODELLED;
#[cfg(target_os = "linux")]
use super::watch;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How a report begins.
pub(super) const REPORT: &str = "deadlock: nothing is ready and nothing can wake";

/// So long nothing has come before the first question.
const FIRST: Duration = Duration::from_millis(100);

/// Whether the number of threads can be had. Those of a model are not the system's.
const COUNTED: bool = cfg!(target_os = "linux") && !MODELLED;

/// A time in which nothing comes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Silence {
    since: Instant,
    ask_at: Instant,
}

impl Silence {
    pub(super) fn begin(now: Instant) -> Self {
        Silence {
            since: now,
            ask_at: now + FIRST,
        }
    }

    pub(super) fn since(&self) -> Instant {
        self.since
    }

    /// Whether it is certain that no other thread will ever end it, if that is to be asked now.
    /// What others have sent before they ended is to be looked for after that.
    pub(super) fn is_for_ever(&mut self, now: Instant) -> bool {
        if !COUNTED || now < self.ask_at {
            return false;
        }
        self.ask_at = now + (now - self.since);
        is_alone()
    }

    /// When to ask next.
    pub(super) fn ask_at(&self) -> Option<Instant> {
        COUNTED.then_some(self.ask_at)
    }
}

/// Whether the process has no other thread that could wake somebody: Linux counts them in the
/// link count of the task directory.
#[cfg(target_os = "linux")]
fn is_alone() -> bool {
    use std::os::unix::fs::MetadataExt;
    let threads = || std::fs::metadata("/proc/self/task").map(|task| task.nlink());
    watch::beside_bystanders(|bystanders| {
        // The directory's own two links, and one for each thread.
        threads().is_ok_and(|links| links == 3 + bystanders)
    })
}

#[cfg(not(target_os = "linux"))]
fn is_alone() -> bool {
    false
}

/// The `deadlock_after` setting in nanoseconds; 0 is off.
static AFTER: AtomicU64 = AtomicU64::new(0);

/// See [`deadlock_after`](crate::deadlock_after).
pub(crate) fn set_after(limit: Option<Duration>) {
    let nanos = limit.map_or(0, |d| {
        u64::try_from(d.as_nanos()).unwrap_or(u64::MAX).max(1)
    });
    // Relaxed: a setting, it orders nothing.
    AFTER.store(nanos, Ordering::Relaxed);
}

/// After how long without anything to do a hub is reported.
pub(super) fn after() -> Option<Duration> {
    let nanos = AFTER.load(Ordering::Relaxed);
    (nanos != 0).then(|| Duration::from_nanos(nanos))
}

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
//! the wait has become twice as long, since others may have ended meanwhile: an hour's wait asks
//! 19 times, and the report comes at most as long after the end of the last other thread as
//! that has kept it waiting.
//!
//! With other threads alive, `deadlock_after` may print the same report and wait on.

use super::sync::MODELLED;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How a report begins.
pub(super) const REPORT: &str = "deadlock: nothing is ready and nothing can wake";

/// So long nothing has come before the first question.
const FIRST: Duration = Duration::from_millis(10);

/// Whether the number of threads can be had. Those of a model are not the system's.
const COUNTED: bool = cfg!(target_os = "linux") && !MODELLED;

/// Whether it is certain, for who had nothing to do since `since`, that no other thread will
/// wake it. What others have sent before they ended is to be looked for after that.
pub(super) fn is_certain(since: Instant, now: Instant) -> bool {
    COUNTED && now.saturating_duration_since(since) >= FIRST && is_alone()
}

/// When to ask next, if nothing has come until then.
pub(super) fn ask_again(since: Instant, now: Instant) -> Option<Instant> {
    COUNTED.then(|| now + now.saturating_duration_since(since).max(FIRST))
}

/// Whether the process has no other thread that could wake somebody: Linux counts them in the
/// link count of the task directory.
#[cfg(target_os = "linux")]
fn is_alone() -> bool {
    use std::os::unix::fs::MetadataExt;
    let threads = std::fs::metadata("/proc/self/task").map(|task| task.nlink());
    // The directory's own two links, and one for each thread.
    threads.is_ok_and(|links| links == 3 + super::watch::bystanders() as u64)
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

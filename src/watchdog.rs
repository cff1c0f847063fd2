//! Who holds a hub up: a thread that looks at all hubs now and then.

use crate::rt::report::{contain, report};
use crate::rt::sync::Arc;
use crate::rt::watch::{self, Bystander, Entry, Watching};
use crate::statistics::Runner;
use std::fmt;
use std::io;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// A hub that somebody holds up: what a [`watchdog`] tells.
///
/// # Examples
///
/// See [`watchdog`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct HeldUp {
    /// The name of the hub's thread, or its number as in `ThreadId(3)`.
    pub thread: String,
    /// Who holds it up.
    pub runner: Runner,
    /// For how long, at least.
    pub length: Duration,
}

impl UnwindSafe for HeldUp {}
impl RefUnwindSafe for HeldUp {}

impl fmt::Display for HeldUp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the hub of thread '{}' has been held up for {:?} by {}",
            self.thread, self.length, self.runner
        )
    }
}

/// A [`watchdog`] that watches until it is dropped, which waits for the report that is being
/// given, if one is.
///
/// # Examples
///
/// See [`watchdog`].
#[must_use = "a Watchdog that is dropped watches no more"]
pub struct Watchdog {
    stop: std::sync::Arc<Stop>,
    thread: Option<JoinHandle<()>>,
    limit: Duration,
}

impl UnwindSafe for Watchdog {}
impl RefUnwindSafe for Watchdog {}

#[derive(Default)]
struct Stop {
    stopped: Mutex<bool>,
    changed: Condvar,
}

impl Stop {
    fn lock(&self) -> MutexGuard<'_, bool> {
        // No user code runs under it.
        self.stopped.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sleeps for so long; false as soon as it is to stop.
    fn sleep(&self, period: Duration) -> bool {
        let until = Instant::now() + period;
        let mut stopped = self.lock();
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if *stopped || left.is_zero() {
                return !*stopped;
            }
            let waited = self.changed.wait_timeout(stopped, left);
            stopped = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// Watches all hubs of the process, from a thread of its own, until what it returns is dropped:
/// calls `told` when a greenlet, or a root beside greenlets, has run for `limit` without giving
/// way. [`Watchdog::print`] is a `told` that writes to stderr.
///
/// It is told once of each such slice, between `limit` and one and a half of it after the begin.
/// The thread looks four times within `limit`, at least once a second and at most once a
/// millisecond. `told` runs on that thread, so that nobody else is held up; its panics are
/// caught. What it costs a hub: one store for each switch, and a lock nobody contends for at the
/// first turn of each greenlet. A hub is watched from its next turn, or the next wait of its root,
/// on, so that a slice which has begun before the watchdog is not seen.
///
/// It says who, and where that one was spawned, not where it is: a thread cannot have another's
/// backtrace in safe Rust. A debugger can, or `told` may abort for a core dump.
///
/// The root of a hub counts from its last wait in this crate on, if greenlets were alive then: a
/// thread that goes about other business without waiting holds its greenlets up.
/// The real clock counts, in a [`Simulation`](crate::testing::Simulation) too. The thread does
/// not count as one that might wake somebody: a certain deadlock is still told.
///
/// # Errors
///
/// If the system cannot start a thread.
///
/// # Panics
///
/// If `limit` is zero.
///
/// # Examples
///
/// ```
/// use std::sync::mpsc;
/// use std::time::Duration;
///
/// let (tell, told) = mpsc::channel();
/// let watchdog = greenlet::watchdog(Duration::from_millis(20), move |held| {
///     if held.runner.name.as_deref() == Some("busy") {
///         let _ = tell.send(held.to_string());
///     }
/// });
/// let busy = greenlet::Builder::new().name("busy").spawn(move || {
///     told.recv().unwrap() // blocks the thread, until the watchdog says so
/// });
/// assert!(busy.unwrap().join().unwrap().contains("'busy', spawned at"));
/// # drop(watchdog);
/// ```
#[track_caller]
pub fn watchdog(
    limit: Duration,
    told: impl FnMut(&HeldUp) + Send + 'static,
) -> io::Result<Watchdog> {
    assert!(!limit.is_zero(), "a watchdog with a limit of zero");
    let stop = std::sync::Arc::new(Stop::default());
    let thread = std::thread::Builder::new().name("greenlet-watchdog".to_owned());
    let thread = thread.spawn({
        // From the return of this function on, not from the start of the thread on.
        let (stop, watching) = (stop.clone(), Watching::new());
        move || watch_all(limit, &stop, watching, told)
    })?;
    Ok(Watchdog {
        stop,
        thread: Some(thread),
        limit,
    })
}

impl Watchdog {
    /// Writes to stderr, in one line: for [`watchdog`].
    ///
    /// # Examples
    ///
    /// ```
    /// use greenlet::Watchdog;
    ///
    /// let _watchdog = greenlet::watchdog(std::time::Duration::from_secs(1), Watchdog::print);
    /// ```
    pub fn print(held: &HeldUp) {
        report(format_args!("{held}"));
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        *self.stop.lock() = true;
        self.stop.changed.notify_one();
        if let Some(thread) = self.thread.take()
            && thread.thread().id() != std::thread::current().id()
        {
            // What panics is caught on the thread.
            let _ = thread.join();
        }
    }
}

impl fmt::Debug for Watchdog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watchdog")
            .field("limit", &self.limit)
            .finish_non_exhaustive()
    }
}

/// A slice that was seen.
struct Seen {
    hub: Entry,
    beat: u64,
    since: Instant,
    told: bool,
}

fn watch_all(limit: Duration, stop: &Stop, watching: Watching, mut told: impl FnMut(&HeldUp)) {
    let bystander = Bystander::new();
    let period = (limit / 4).clamp(Duration::from_millis(1), Duration::from_secs(1));
    let mut slices: Vec<Seen> = Vec::new();
    while stop.sleep(period) {
        let now = Instant::now();
        let mut before = std::mem::take(&mut slices);
        for hub in watch::hubs() {
            let Some(beat) = hub.pulse.beat() else {
                continue;
            };
            let same = |seen: &Seen| Arc::ptr_eq(&seen.hub.inbox, &hub.inbox) && seen.beat == beat;
            slices.push(match before.iter().position(same) {
                Some(at) => before.swap_remove(at),
                None => Seen {
                    hub,
                    beat,
                    since: now,
                    told: false,
                },
            });
        }
        drop(before);
        for slice in slices.iter_mut().filter(|slice| !slice.told) {
            let length = now.saturating_duration_since(slice.since);
            if length < limit {
                continue;
            }
            slice.told = true;
            let Some(who) = slice.hub.pulse.who(slice.beat) else {
                continue;
            };
            let held = HeldUp {
                thread: slice.hub.thread(),
                runner: who.into(),
                length,
            };
            bystander.act(&slice.hub.pulse, slice.beat, || contain(|| told(&held)));
        }
    }
    drop(watching);
    drop(bystander);
}

//! When nothing is ready: sleep, jump, or report that nothing can ever happen.
//!
//! # The deadlock rule
//!
//! The root's wait is ended with a report only where it is certain that nobody can
//! wake anything: no greenlet is ready, no timer is armed, nobody waits for a socket,
//! and the process has no other thread (Linux tells; elsewhere nobody knows) or the hub
//! simulates. To ask Linux takes 2 us, which is half of what hubs that answer each other at
//! once would take for a message; so the answer that there are others is good for [`COMPANY`],
//! and a sleep that follows from it is no longer than that. With
//! other threads alive, `deadlock_after` may print the same list and wait on.

use super::Hub;
use super::record::{Member, Place};
use crate::rt::report::report;
use crate::rt::sync::MODELLED;
use crate::rt::watch::WATCHED;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The `deadlock_after` setting in nanoseconds; 0 is off.
static DEADLOCK_AFTER: AtomicU64 = AtomicU64::new(0);

/// So long after a look at the number of threads, the process is taken to have others still.
const COMPANY: Duration = Duration::from_millis(10);

/// See [`deadlock_after`](crate::deadlock_after).
pub(crate) fn set_deadlock_after(limit: Option<Duration>) {
    let nanos = limit.map_or(0, |d| {
        u64::try_from(d.as_nanos()).unwrap_or(u64::MAX).max(1)
    });
    // Relaxed: a setting, it orders nothing.
    DEADLOCK_AFTER.store(nanos, Ordering::Relaxed);
}

impl Hub {
    /// Nothing is ready: end the turn, and if that changes nothing, sleep.
    #[cold]
    #[inline(never)]
    pub(super) fn idle(&'static self) {
        // Whoever ran last may have ended, and records go with their stacks.
        self.current.set(self.root());
        self.turn();
        if self.observed.get() & WATCHED != 0 {
            self.pulse.rest();
        }
        if self.head.get().is_some() {
            return self.outside.look();
        }
        let next = self.timers.borrow().next_look();
        if self.clock.is_virtual() {
            // What is there already comes before what comes later.
            self.outside.look();
            match next {
                _ if self.head.get().is_some() => {}
                // It may be that nothing expires then, but is known better.
                Some(next) => self.clock.jump(next),
                None if self.outside.is_awaited() => self.outside.sleep(&self.inbox, None),
                None => self.end_roots_wait(),
            }
            return;
        }
        let (trimmed, trim_at) = self.trim_stacks();
        if trimmed {
            // Somebody may have become ready meanwhile.
            return self.outside.look();
        }
        let sooner = |other: Option<Instant>| other.into_iter().chain(trim_at).min();
        if self.spin.until(next, || !self.inbox.is_empty()) {
            return;
        }
        if next.is_some() || !self.timers.borrow().is_empty() || self.outside.is_awaited() {
            return self.doze(sooner(next));
        }
        let patience = match self.reported.get() {
            true => 0,
            false => DEADLOCK_AFTER.load(Ordering::Relaxed),
        };
        // That others live was known just now. They may have ended since, so this sleep ends too.
        let ask_at = self.accompanied.get().map(|then| then + COMPANY);
        if patience == 0 && ask_at.is_some_and(|at| self.turn_began.get() < at) {
            return self.doze(sooner(ask_at));
        }
        // Ask for the number of threads first: a thread that has ended since
        // cannot wake anybody, and its last wake is in the inbox.
        if alone_in_process() && self.inbox.is_empty() {
            return self.end_roots_wait();
        }
        self.accompanied.set(COUNTED.then(|| self.turn_began.get()));
        if patience == 0 {
            return self.doze(trim_at);
        }
        let until = Instant::now().checked_add(Duration::from_nanos(patience));
        self.doze(sooner(until));
        if self.inbox.is_empty() && until.is_some_and(|t| t <= Instant::now()) {
            self.reported.set(true);
            report(format_args!(
                "nothing has happened for {:?}; blocked:\n{}",
                Duration::from_nanos(patience),
                self.dump()
            ));
        }
    }

    /// Sleeps until something comes or the deadline. A turn has just begun.
    fn doze(&self, until: Option<Instant>) {
        self.outside.sleep(&self.inbox, until);
        let woken = !self.inbox.is_empty();
        self.spin
            .slept(woken.then(|| self.turn_began.get().elapsed()));
    }

    /// A certain deadlock: the root's wait ends, and raises the report.
    fn end_roots_wait(&self) {
        let report = format!(
            "deadlock: nothing is ready and nothing can wake\n{}",
            self.dump()
        );
        self.deadlock.set(Some(report));
        if self.root().waiter.word.interrupt() {
            self.make_ready(self.root());
        } else {
            self.deadlock.set(None);
        }
    }

    /// The deadlock report for the root's wait that has just ended, if that is why.
    pub(crate) fn take_deadlock(&self) -> Option<String> {
        self.deadlock.take()
    }

    /// One line for the root and each greenlet that is alive.
    pub(crate) fn dump(&self) -> String {
        let mut text = String::new();
        let now = self.clock.now();
        for member in self.places.borrow().iter().filter_map(Place::member) {
            let name = member.name();
            let (id, name) = match (member.birth(), &name) {
                (None, _) => ("-".to_owned(), "root"),
                (Some(_), Some(name)) => (member.id().to_string(), &**name),
                (Some(_), None) => (member.id().to_string(), "greenlet"),
            };
            let site = match member {
                Member::Unstarted(_) => None,
                Member::Started(record) => record.task.site(),
            };
            let _ = match (member, site) {
                (Member::Unstarted(seed), _) => {
                    let way = if seed.timer().is_some() {
                        "delayed"
                    } else {
                        "ready"
                    };
                    write!(text, "  #{id} '{name}': not started, {way}")
                }
                (_, None) => write!(text, "  #{id} '{name}': running"),
                (_, Some((site, since))) => write!(
                    text,
                    "  #{id} '{name}': waits in {} at {} for {:?}{}",
                    site.operation,
                    site.place,
                    now.saturating_duration_since(since),
                    if member.is_killed() { ", killed" } else { "" },
                ),
            };
            if let Some(birth) = member.birth() {
                let _ = write!(text, "; spawned at {}", birth.place);
                if birth.parent != 0 {
                    let _ = write!(text, " by #{}", birth.parent);
                }
                let age = now.saturating_duration_since(birth.at);
                let _ = write!(text, ", {age:?} ago");
            }
            text.push('\n');
        }
        text
    }
}

/// Whether the number of threads can be had. Those of a model are not the system's.
const COUNTED: bool = cfg!(target_os = "linux") && !MODELLED;

/// Whether the process certainly has no other thread. Linux counts them in the
/// link count of the task directory; elsewhere nobody knows.
fn alone_in_process() -> bool {
    #[cfg(target_os = "linux")]
    let alone = || {
        use crate::rt::watch;
        use std::os::unix::fs::MetadataExt;
        let threads = std::fs::metadata("/proc/self/task").map(|task| task.nlink());
        // The directory's own two links, and one for each thread.
        threads.is_ok_and(|links| links == 3 + watch::bystanders() as u64)
    };
    #[cfg(not(target_os = "linux"))]
    let alone = || false;
    COUNTED && alone()
}

//! When nothing is ready: sleep, jump, or report that nothing can ever happen, by the rule
//! that `rt/deadlock` has.

use super::Hub;
use super::record::{Member, Place};
use crate::rt::deadlock::{self, Silence};
use crate::rt::report::report;
use crate::rt::watch::WATCHED;
use std::fmt::Write as _;
use std::time::Instant;

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
        if self.spin.until(next, || !self.inbox.is_empty()) {
            return;
        }
        if next.is_some() || !self.timers.borrow().is_empty() || self.outside.is_awaited() {
            return self.doze(next.into_iter().chain(trim_at).min());
        }
        let mut silence = self.silence();
        let is_for_ever = silence.is_for_ever(self.turn_began.get());
        // The last wake of a thread that has ended is in the inbox.
        if is_for_ever && self.inbox.is_empty() {
            return self.end_roots_wait();
        }
        self.silence.set(Some((silence, self.switches.get())));
        let patience = deadlock::after().filter(|_| !self.reported.get());
        let report_at = patience.and_then(|patience| silence.since().checked_add(patience));
        let wake_at = [trim_at, silence.ask_at(), report_at];
        self.doze(wake_at.into_iter().flatten().min());
        if self.inbox.is_empty() && report_at.is_some_and(|t| t <= Instant::now()) {
            self.reported.set(true);
            report(format_args!(
                "nothing has happened for {:?}; blocked:\n{}",
                patience.unwrap_or_default(),
                self.dump()
            ));
        }
    }

    /// The time since anybody was resumed: who only asks something of the hub, or trims it, does
    /// not end it.
    fn silence(&self) -> Silence {
        let known = self.silence.get();
        let known = known.filter(|&(_, switches)| switches == self.switches.get());
        known.map_or_else(|| Silence::begin(self.turn_began.get()), |known| known.0)
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
        let simulates = match self.clock.is_virtual() {
            true => " (in a Simulation, which waits for no other thread)",
            false => "",
        };
        let report = format!("{}{simulates}\n{}", deadlock::REPORT, self.dump());
        if self.root().waiter.word.interrupt() {
            self.deadlock.set(Some(report));
            self.make_ready(self.root());
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

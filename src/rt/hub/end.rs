//! The end of a hub, by `run` or with its thread.

use super::record::Place;
use super::{HUB, Hub};
use crate::rt::clock::Limit;
use crate::rt::coroutine;
use crate::rt::inbox::Mail;
use crate::rt::report::report;
use crate::rt::stack;
use crate::rt::sync::MODELLED;
use crate::rt::task::{Expiry, Site, Task};
use crate::rt::watch;
use std::cell::Cell;

impl Hub {
    /// Refuses new greenlets, here and from elsewhere.
    pub(crate) fn begin_close(&'static self) {
        refuse(self.stop_mail());
    }

    /// Takes in no greenlets any more; returns those that were on their way.
    fn stop_mail(&self) -> Vec<Mail> {
        self.closing.set(true);
        let mail = self.inbox.refuse_mail();
        self.note_intrusion(&mail);
        mail
    }

    /// Runs the loop at the root until no greenlet is alive. Returns the report
    /// if that can never be.
    pub(crate) fn drain(&'static self, site: &Site) -> Result<(), String> {
        debug_assert!(self.at_root());
        self.draining.set(true);
        while self.live.get() > 0 {
            self.root().waiter.word.announce();
            self.begin_wait(self.root(), site, &Limit::Never);
            self.run_root();
            self.root().waiter.word.reset();
            if let Some(report) = self.take_deadlock() {
                return Err(report);
            }
        }
        self.draining.set(false);
        Ok(())
    }

    /// Ends the thread's hub, if it has one: at the end of `run`, or of the thread.
    /// Without `self`, since the memory of an argument must outlive the call.
    pub(crate) fn close() {
        // First: refused closures are dropped below, and their destructors must
        // not find a hub that is going, nor wait for greenlets that will not run.
        let Some(hub) = HUB.with(Cell::take) else {
            return;
        };
        watch::remove(&hub.inbox);
        // A watchdog may know it still.
        hub.pulse.rest();
        let mail = hub.stop_mail();
        hub.inbox.close();
        hub.end_idle();
        if hub.live.get() > 0 {
            hub.abandon();
            return refuse(mail);
        }
        hub.outside.close();
        refuse(mail);
        coroutine::reclaim_ended_hub(hub.origin.take(), hub.root.origin.take());
        stack::leave_thread();
    }

    /// Gives back all stacks that nobody uses.
    fn end_idle(&self) {
        debug_assert!(Hub::get().is_none(), "a worker would take it for its own");
        for worker in self.sides.take_all() {
            worker.retire().reclaim();
        }
        for worker in self.workers.take_all().chain(self.spare.take()) {
            worker.retire().reclaim();
        }
    }

    /// The thread ends with greenlets left: nobody may wake them, those who wait
    /// for them are told, and what they own is leaked.
    fn abandon(&self) {
        let mut places = self.places.take();
        places.retain(|place| match place {
            Place::Free(_) => false,
            Place::Started(record) => !self.is_root(record),
            Place::Unstarted(_) => true,
        });
        // All of them before anybody is told, who might wake another one of them.
        for place in &places {
            if let Place::Started(record) = place {
                record.waiter.word.close();
            }
        }
        let left = places.len();
        for place in places {
            let job = match place {
                Place::Free(_) => None,
                Place::Started(record) => record.job.take(),
                Place::Unstarted(job) => {
                    std::mem::forget(job.seed().take_legacy());
                    Some(job)
                }
            };
            if let Some(job) = job {
                job.abandon();
            }
        }
        // Others are woken instead of those whose words are closed now.
        self.outside.close();
        // A model ends some ten thousand threads so.
        if !MODELLED {
            report(format_args!(
                "greenlets left, and leaked, at the end of a thread: {left} (a join, or `run` or `scope` round it all, would have waited for them)"
            ));
        }
    }

    /// Moves the root's open frames back to the thread that loses its hub.
    pub(crate) fn hand_frames_back(&self, task: &Task) {
        let now = self.clock.now();
        self.root().task.hand_frames_to(task, |expiry| {
            let deadline = match expiry {
                Expiry::Noted(limit) => limit.deadline(now),
                Expiry::Timer(timer) => {
                    let mut timers = self.timers.borrow_mut();
                    let deadline = timers.deadline(timer, now);
                    timers.cancel(timer);
                    deadline
                }
            };
            deadline.map_or(Limit::Never, Limit::At)
        });
    }
}

/// Tells those who wait for greenlets that were on their way, or for answers.
fn refuse(mail: Vec<Mail>) {
    for mail in mail {
        match mail {
            Mail::Spawn(spawn) => spawn.refuse(),
            Mail::Ask(question) => question.refuse(),
            Mail::Kill { .. } => {}
        }
    }
}

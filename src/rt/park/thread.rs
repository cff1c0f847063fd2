//! A thread without a hub, as a waiter.

use crate::rt::clock::Limit;
use crate::rt::deadlock::{self, Silence};
use crate::rt::inbox::{Address, Waiter};
use crate::rt::report::AbortOnUnwind;
use crate::rt::spin::Spin;
use crate::rt::sync::{panicking, thread_cell, thread_lazy};
use crate::rt::task::{Site, Task};
use crate::rt::watch;
use std::cell::Cell;
use std::mem::ManuallyDrop;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// A thread without a hub, as a waiter.
pub(crate) struct Thread {
    pub(super) task: Task,
    pub(super) waiter: Waiter,
    spin: Spin,
    /// Set when its wait was ended because nothing could ever end it.
    deadlock: Cell<Option<String>>,
}

impl Thread {
    fn new() -> Rc<Self> {
        Rc::new(Thread {
            task: Task::default(),
            waiter: Waiter::of_thread(),
            spin: Spin::default(),
            deadlock: Cell::new(None),
        })
    }

    /// The calling thread's own.
    #[cold]
    #[inline(never)]
    pub(super) fn current() -> Rc<Self> {
        THREAD.try_with(Rc::clone).unwrap_or_else(|_| {
            LATE.with(|late| {
                let thread = match late.take() {
                    Some(thread) => ManuallyDrop::into_inner(thread),
                    None => Thread::new(),
                };
                late.set(Some(ManuallyDrop::new(thread.clone())));
                thread
            })
        })
    }
}

thread_lazy! {
    static THREAD: Rc<Thread> = Thread::new();
}

thread_cell! {
    /// The thread's own after `THREAD` was torn down; leaked, if it comes to that.
    static LATE: Cell<Option<ManuallyDrop<Rc<Thread>>>> = Cell::new(None);
}

impl Thread {
    /// There are no timers on a thread without a hub: frames fire when somebody looks.
    pub(super) fn fire_expired_frames(&self) {
        while let Some((deadline, id)) = self.task.next_frame_deadline() {
            if Instant::now() < deadline {
                break;
            }
            self.task.fire(id, || false);
        }
    }

    pub(super) fn park(&self, site: &Site, limit: Limit) {
        let Address::Thread(parker) = &**self.waiter.address() else {
            unreachable!("a thread's address is a thread's")
        };
        let word = &self.waiter.word;
        let own = match limit {
            Limit::Never => None,
            limit => limit.deadline(Instant::now()),
        };
        let mut silence = None;
        while word.outcome().is_none() {
            // While panicking nothing may be raised, so no frame interrupts.
            let frame = match panicking() {
                true => None,
                false => self.task.next_frame_deadline(),
            };
            let until = own.into_iter().chain(frame.map(|(t, _)| t)).min();
            if self.spin.until(until, || word.outcome().is_some()) {
                break;
            }
            let begin = Instant::now();
            let silence = silence.get_or_insert_with(|| Silence::begin(begin));
            // While panicking nothing may be raised.
            let may_be_for_ever = until.is_none() && !panicking();
            if may_be_for_ever && silence.is_for_ever(begin) {
                return self.end_wait(site, begin - silence.since());
            }
            let ask_at = silence.ask_at().filter(|_| may_be_for_ever);
            parker.park(until.or(ask_at));
            let woken = word.outcome().is_some();
            self.spin.slept(woken.then(|| begin.elapsed()));
            if until.is_none_or(|t| Instant::now() < t) {
                continue;
            }
            if own == until {
                word.expire();
            } else if let Some((_, id)) = frame {
                self.task.fire(id, || word.interrupt());
            }
        }
    }
    /// A certain deadlock: the wait ends, and raises the report. Not if the last thing of another
    /// thread was a wake.
    fn end_wait(&self, site: &Site, after: Duration) {
        let bomb = AbortOnUnwind::machinery();
        let report = format!(
            "{}\n  thread '{}': waits in {} at {} for {after:?}\n",
            deadlock::REPORT,
            watch::this_thread(),
            site.operation,
            site.place,
        );
        if self.waiter.word.interrupt() {
            self.deadlock.set(Some(report));
        }
        std::mem::forget(bomb);
    }

    /// The deadlock report for the wait that has just ended, if that is why.
    pub(super) fn take_deadlock(&self) -> Option<String> {
        self.deadlock.take()
    }
}

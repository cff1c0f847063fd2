//! What a hub sees of itself, on its own thread: its greenlets and its numbers.

use super::record::{Birth, Entry, Member, Place};
use super::{EntryRef, Hub, RecordRef};
use crate::rt::coroutine::Worker;
use crate::rt::stack;
use crate::rt::task::{Expiry, Name, Site};
use crate::rt::timers::TimerId;
use crate::rt::watch::{self, MEASURED, TIMED, WATCHED, Who};
use std::time::{Duration, Instant};

/// How far a greenlet is.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Stage {
    Running,
    Ready,
    /// Since the beginning of the turn in which the wait began.
    Waits(Site, Duration),
    Unstarted,
}

/// A greenlet, or the root, as it was at one moment.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) id: u64,
    pub(crate) name: Option<Name>,
    pub(crate) stage: Stage,
    pub(crate) killed: bool,
    /// Not the root's.
    pub(crate) birth: Option<Birth>,
    pub(crate) age: Option<Duration>,
    /// Until the nearest timer that ends its wait, or starts it.
    pub(crate) due_in: Option<Duration>,
    pub(crate) stack_size: Option<usize>,
    pub(crate) stack_touched: Option<usize>,
}

/// A slice that was measured.
#[derive(Clone, Debug)]
pub(crate) struct Slice {
    pub(crate) who: Who,
    pub(crate) length: Duration,
}

/// A hub's numbers at one moment.
#[derive(Clone, Debug)]
pub(crate) struct Numbers {
    pub(crate) live: usize,
    pub(crate) ready: usize,
    pub(crate) timers: usize,
    pub(crate) switches: u64,
    pub(crate) turns: u64,
    pub(crate) wakes_from_outside: u64,
    pub(crate) longest: Option<Slice>,
    pub(crate) stacks: usize,
    pub(crate) idle_stacks: usize,
    pub(crate) stack_bytes: usize,
}

fn timer(id: Option<TimerId>) -> Vec<Expiry> {
    id.map(Expiry::Timer).into_iter().collect()
}

impl Hub {
    fn who(&self, member: Member) -> Who {
        Who {
            id: member.id(),
            name: member.name(),
            place: member.birth().map(|birth| birth.place),
        }
    }

    /// The indices of those in the ready queue.
    fn ready_indices(&self) -> Vec<usize> {
        let ready = std::iter::successors(self.head.get(), |entry| entry.next.get());
        ready.map(Entry::index).collect()
    }

    /// Its numbers.
    pub(crate) fn numbers(&self) -> Numbers {
        // Who runs may have opened some.
        self.arm_frames(self.current());
        let (greenlets, idle, bytes) = self.workers.numbers();
        let (sides, idle_sides, side_bytes) = self.sides.numbers();
        // The spare runs only what has no stack.
        let spare = self.spare.take();
        self.spare.set(spare);
        Numbers {
            live: self.live.get(),
            ready: self.ready_indices().len(),
            timers: self.timers.borrow().len(),
            switches: self.switches.get(),
            turns: self.turns.get(),
            wakes_from_outside: self.wakes_from_outside.get(),
            longest: self.longest.borrow().clone(),
            stacks: greenlets + sides,
            idle_stacks: idle + idle_sides + usize::from(spare.is_some()),
            stack_bytes: bytes + side_bytes,
        }
    }

    /// The root and all greenlets that are alive. `inside`: whoever calls runs on one of them,
    /// and not in the loop.
    pub(crate) fn look(&self, inside: bool) -> Vec<Seen> {
        let now = self.clock.now();
        let places = self.places.borrow();
        let mut is_ready = vec![false; places.len()];
        for index in self.ready_indices() {
            is_ready[index] = true;
        }
        let seen = places.iter().filter_map(Place::member).map(|member| {
            let (stage, worker, expiries) = match member {
                Member::Unstarted(seed) => (Stage::Unstarted, None, timer(seed.timer())),
                Member::Started(record) => {
                    let mut expiries = timer(record.timer.get());
                    expiries.extend(record.task.expiries());
                    let ready = is_ready[record.index()];
                    let stage = self.stage(record, ready, inside, now);
                    (stage, record.entry.worker.get(), expiries)
                }
            };
            let birth = member.birth();
            Seen {
                id: member.id(),
                name: member.name(),
                stage,
                killed: member.is_killed(),
                birth,
                age: birth.map(|birth| now.saturating_duration_since(birth.at)),
                due_in: self.due_in(expiries, now),
                stack_size: match member {
                    Member::Unstarted(seed) => Some(seed.entry.stack_size()),
                    Member::Started(_) => worker.map(Worker::size),
                },
                stack_touched: worker.and_then(|worker| stack::touched(worker.span())),
            }
        });
        seen.collect()
    }

    /// Of one that has started, or the root.
    fn stage(&self, record: RecordRef, is_ready: bool, inside: bool, now: Instant) -> Stage {
        match record.task.site() {
            _ if inside && std::ptr::eq(record, self.current()) => Stage::Running,
            // Its wake may be still in the inbox.
            _ if is_ready || record.waiter.word.outcome().is_some() => Stage::Ready,
            Some((site, since)) => Stage::Waits(site, now.saturating_duration_since(since)),
            // It has never waited, nor does it run: its first turn is the loop's next.
            None => Stage::Ready,
        }
    }

    /// How long it is until one of its timers ends its wait, or starts it.
    fn due_in(&self, expiries: Vec<Expiry>, now: Instant) -> Option<Duration> {
        let timers = self.timers.borrow();
        let deadlines = expiries.into_iter().filter_map(|expiry| match expiry {
            Expiry::Noted(limit) => limit.deadline(now),
            Expiry::Timer(timer) => timers.deadline(timer, now),
        });
        let next = deadlines.min();
        next.map(|deadline| deadline.saturating_duration_since(now))
    }

    // ---- slices ----

    /// Begins or ceases to do what is asked of all hubs.
    #[cold]
    pub(super) fn observe(&self, mode: usize) {
        let begins = mode & !self.observed.replace(mode);
        if mode & WATCHED == 0 {
            self.pulse.clear();
        } else if begins & WATCHED != 0 {
            for member in self.places.borrow().iter().filter_map(Place::member) {
                if let Member::Started(record) = member {
                    self.pulse.enter(record.index(), self.who(member));
                }
            }
        }
        if mode & TIMED == 0 {
            self.slice.take();
        }
    }

    /// What is asked of all hubs may have changed.
    #[inline]
    pub(super) fn update_observed(&self) {
        let mode = watch::mode();
        if mode != self.observed.get() {
            self.observe(mode);
        }
    }

    /// A greenlet starts while it is observed.
    #[cold]
    pub(super) fn observe_start(&self, record: RecordRef) {
        if self.observed.get() & WATCHED != 0 {
            let who = self.who(Member::Started(record));
            self.pulse.enter(record.index(), who);
        }
        if self.observed.get() & MEASURED != 0
            && let Some(worker) = record.entry.worker.get()
        {
            worker.begin_measure();
        }
    }

    /// A greenlet ends while it is observed, on its own stack.
    #[cold]
    pub(super) fn observe_end(&self, record: RecordRef) {
        let Some(worker) = record.entry.worker.get() else {
            return;
        };
        if let (Some(used), Some(birth)) = (worker.end_measure(), record.birth()) {
            watch::add_use(birth.place, worker.size(), used);
        }
    }

    /// Its slice begins while it is observed.
    #[cold]
    #[inline(never)]
    pub(super) fn begin_slice(&self, entry: EntryRef) {
        let mode = self.observed.get();
        if mode & WATCHED != 0 {
            // A root alone holds nobody up.
            match self.is_roots(entry) && self.live.get() == 0 {
                true => self.pulse.rest(),
                false => self.pulse.begin(self.switches.get(), entry.index()),
            }
        }
        if mode & TIMED != 0 {
            self.end_slice();
            let began = Instant::now();
            let member = self.places.borrow()[entry.index()].member();
            self.slice
                .replace(member.map(|member| (began, self.who(member))));
        }
    }

    /// The slice that is measured, if one is, ends.
    #[cold]
    pub(super) fn end_slice(&self) {
        let Some((began, who)) = self.slice.take() else {
            return;
        };
        let length = began.elapsed();
        let mut longest = self.longest.borrow_mut();
        if longest.as_ref().is_none_or(|slice| slice.length < length) {
            *longest = Some(Slice { who, length });
        }
    }
}

//! The loop: resume what is ready, and at the end of each turn look at what came in.

use super::record::{Member, Place};
use super::{BUDGET, CROWD, EntryRef, Hub, HubRef, Job, Key, Record, WorkerRef};
use crate::rt::coroutine::{Order, Yielder};
use crate::rt::inbox::Mail;
use crate::rt::report::AbortOnUnwind;
use crate::rt::timers::Rank;
use crate::rt::trace;
use std::io;
use std::time::Instant;

impl Hub {
    /// Runs turns until the root's own entry comes up. Only at the root. If
    /// nothing can ever wake it, its wait is interrupted, with a report.
    #[inline(never)]
    pub(crate) fn run_root(&'static self) {
        // An unwind from here would leave the wait of the root with its node linked.
        let bomb = AbortOnUnwind::machinery();
        let mut hub = self;
        self.update_observed();
        loop {
            if hub.budget.get() == 0 {
                // Whoever ran last may have ended: the program's code that a turn calls is not its.
                hub.current.set(hub.root());
                hub.turn();
                hub.outside.look();
            }
            let Some(entry) = hub.pop_ready() else {
                hub.idle();
                continue;
            };
            hub.budget.set(hub.budget.get() - 1);
            hub.switches.set(hub.switches.get().wrapping_add(1));
            if hub.observed.get() != 0 {
                hub.begin_slice(entry);
            }
            if let Some(next) = hub.head.get() {
                next.prefetch(hub.crowded.get());
            }
            let worker = match entry.worker.get() {
                Some(worker) => worker,
                None if hub.is_roots(entry) => {
                    hub.current.set(hub.root());
                    return std::mem::forget(bomb);
                }
                None => hub.bind(entry),
            };
            hub.current.set(worker.attached());
            hub = worker.resume().expect("a worker ends only when retired");
        }
    }

    /// Whether that is the root's place in the ready queue.
    #[inline]
    pub(super) fn is_roots(&self, entry: EntryRef) -> bool {
        std::ptr::eq(entry, &self.root().entry)
    }

    /// Before the first resume: a stack with a record, or the spare one to end the greenlet.
    #[inline(never)]
    fn bind(&'static self, entry: EntryRef) -> WorkerRef {
        let worker = match self.take_worker(entry.stack_size()) {
            Ok(worker) => worker,
            Err(error) => {
                let spare = self.spare.take();
                let spare = spare.expect("the spare is back before the next start");
                spare.attached().no_stack.set(Some(error));
                spare
            }
        };
        let record = worker.attached();
        record.entry.worker.set(Some(worker));
        let place = std::mem::replace(
            &mut self.places.borrow_mut()[entry.index()],
            Place::Started(record),
        );
        let Place::Unstarted(job) = place else {
            unreachable!("who has no worker has not started")
        };
        record.grow(job);
        self.current.set(self.root()); // as for a turn
        trace::started(&self.root().task, record.id());
        if self.observed.get() != 0 {
            self.observe_start(record);
        }
        worker
    }

    /// An idle worker, or else a new one.
    #[inline]
    pub(super) fn take_worker(&'static self, stack_size: usize) -> io::Result<WorkerRef> {
        let record = || Record::new(&self.inbox);
        self.workers.take_or_start(stack_size, Hub::enter, record)
    }

    /// Runs on a worker's stack: one greenlet, from start to end.
    pub(super) fn enter(yielder: Yielder<HubRef>) -> Option<HubRef> {
        // No hub: it has ended and retires its workers.
        let hub = Hub::get()?;
        let record = hub.current();
        record.yielder.set(Some(yielder));
        let error = record.no_stack.take();
        let on_spare = error.is_some();
        let order = match error {
            Some(error) => Order::NoStack(error),
            None if record.task.is_killed() => Order::Kill,
            None => Order::Run,
        };
        Job::run(&record.job, order);
        hub.finish(record, on_spare);
        Some(hub)
    }

    /// The end of a turn. See the module.
    #[cold]
    #[inline(never)]
    pub(super) fn turn(&self) {
        self.budget.set(BUDGET);
        self.turns.set(self.turns.get().wrapping_add(1));
        if self.observed.get() != 0 {
            self.end_slice();
        }
        self.update_observed();
        self.crowded.set(self.live.get() > CROWD);
        let mail = self.drain_inbox();
        let now = self.clock.now();
        self.turn_began.set(now);
        if !self.timers.borrow().is_empty() {
            self.timers.borrow_mut().settle(now);
            // Success wins a tie: what has come to a socket before a limit is looked at.
            let expires = self.timers.borrow().expired(now).is_some();
            if expires && self.outside.is_awaited() {
                self.outside.look_through();
            }
            // A limit is passed over for one turn at most.
            let patient = !self.passed_over.take();
            let mut woken = false;
            while let Some(key) = self.pop_expired(now, woken && patient) {
                woken |= !key.is_limit();
                self.expire(key);
            }
        }
        for mail in mail {
            match mail {
                Mail::Spawn(spawn) => spawn.deliver(),
                Mail::Kill { index, id } => self.kill(index, id),
                Mail::Ask(question) => question.answer(),
            }
        }
        if let Some(state) = self.seed.get() {
            // One resume a turn, so that each resume is a choice.
            self.budget.set(1);
            self.shuffle(state);
        }
    }

    /// The next timer that expires now. A limit waits for its turn behind those
    /// that an earlier timer has woken: they may yet end what it limits, and
    /// success wins a tie.
    fn pop_expired(&self, now: Instant, woken: bool) -> Option<Key> {
        let mut timers = self.timers.borrow_mut();
        let next = timers.expired(now)?;
        if woken && next.is_limit() {
            self.passed_over.set(true);
            return None;
        }
        timers.pop_expired(now)
    }

    fn drain_inbox(&self) -> Vec<Mail> {
        let before = self.wakes_from_outside.get();
        let mail = self.inbox.drain(
            |index| &**self.started(index).waiter.address(),
            |index| {
                let woken = &self.wakes_from_outside;
                woken.set(woken.get().wrapping_add(1));
                self.make_ready_index(index);
            },
        );
        if self.clock.is_virtual() && self.wakes_from_outside.get() != before {
            self.intruded.set(true);
        }
        self.note_intrusion(&mail);
        mail
    }

    /// Who asks of a simulation changes nothing in it; all other mail does.
    pub(super) fn note_intrusion(&self, mail: &[Mail]) {
        let changes = |mail: &Mail| !matches!(mail, Mail::Ask(_));
        if self.clock.is_virtual() && mail.iter().any(changes) {
            self.intruded.set(true);
        }
    }

    fn expire(&self, key: Key) {
        match key {
            Key::Sleep(index) | Key::Wait(index) => {
                let record = self.started(index as usize);
                record.timer.set(None);
                if record.waiter.word.expire() {
                    self.make_ready(record);
                }
            }
            Key::Frame(index, frame) => self.fire_frame(self.started(index as usize), frame),
            Key::Start(index) => {
                let member = self.places.borrow()[index as usize].member();
                let Some(Member::Unstarted(seed)) = member else {
                    unreachable!("whose start is delayed has not started")
                };
                let timer = seed.take_timer();
                debug_assert!(timer.is_some());
                self.queue(&seed.entry);
            }
        }
    }

    /// Under a seed: turns the ready queue round by a random number of places.
    fn shuffle(&self, state: u64) {
        let mut len = 0u64;
        let mut at = self.head.get();
        while let Some(entry) = at {
            len += 1;
            at = entry.next.get();
        }
        // SplitMix64 (Steele, Lea, Flood 2014).
        let state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        self.seed.set(Some(state));
        for _ in 0..(z ^ (z >> 31)).checked_rem(len).unwrap_or(0) {
            let first = self.pop_ready().expect("len counted them");
            self.queue(first);
        }
    }
}

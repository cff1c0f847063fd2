//! The hub: ready queue, turn, idle, root, and the records of its greenlets.
//!
//! A thread has at most one hub, made at first need. The *root* is the thread's
//! own stack; blocking there runs the loop ([`Hub::run_root`]). The root is an
//! entry in the same ready queue as the greenlets: the loop returns when its
//! entry comes up.
//!
//! # The turn
//!
//! The ready queue is first in, first out; spawns, yields and wakes append. After
//! [`BUDGET`] resumes, or when nothing is ready, a turn ends: the inbox is
//! emptied, the clock is read once, timers that were armed during the turn enter
//! the heap, and those that have expired make their greenlets ready. So greenlets
//! that yield for ever starve neither timers nor other threads, and a wait that
//! ends within its turn costs no clock read. The hub sleeps only when nothing is
//! ready.
//!
//! # Records
//!
//! A greenlet's [`Record`] comes from the hub's free list and is never freed
//! while the hub lives, so `&'static Record` needs no count. A handle names it by
//! index and id; an id is never used twice, so a late kill finds nobody. A stack
//! is bound at the first resume and comes from a last in, first out pool.
//!
//! No borrow of the hub's data is live across user code or a switch.

mod idle;
mod record;

pub(crate) use idle::set_deadlock_after;
pub(crate) use record::Record;

use super::clock::{Clock, Limit};
use super::coroutine::{self, AbortOnUnwind, Job, Order, Worker, Yielder};
use super::inbox::{Inbox, Mail};
use super::report::report;
use super::stack;
use super::sync::{Arc, thread_cell, thread_lazy};
use super::task::{FrameState, Name, Site, Task};
use super::timers::{Rank, TimerId, Timers};
use record::Life;
use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Resumes in a turn.
pub(crate) const BUDGET: u32 = 256;

type HubRef = &'static Hub;
type RecordRef = &'static Record;
type WorkerRef = &'static Worker<HubRef>;

/// What a timer is for.
#[derive(Clone, Copy, Debug)]
enum Key {
    /// The end of the record's sleep.
    Sleep(usize),
    /// The deadline of the record's wait.
    Wait(usize),
    /// A frame of the record's task.
    Frame(usize, u64),
    /// The delayed start of the record's greenlet.
    Start(usize),
}

impl Key {
    /// Whether it sets a limit to something that others might still end.
    fn is_limit(self) -> bool {
        matches!(self, Key::Wait(_) | Key::Frame(..))
    }
}

impl Rank for Key {
    fn comes_last(&self) -> bool {
        self.is_limit()
    }
}

/// How to leave the running greenlet's stack.
#[derive(Clone, Copy)]
pub(crate) struct Switch {
    yielder: Yielder<HubRef>,
    hub: HubRef,
}

impl Switch {
    /// The running greenlet's yielder, and the value to hand over through it.
    #[inline(always)]
    pub(crate) fn parts(self) -> (Yielder<HubRef>, HubRef) {
        (self.yielder, self.hub)
    }
}

/// What a new greenlet is made of.
pub(crate) struct Spawn {
    pub(crate) id: u64,
    pub(crate) job: Rc<dyn Job>,
    pub(crate) name: Option<Name>,
    pub(crate) stack_size: usize,
    pub(crate) delay: Option<Duration>,
}

/// Why a hub takes no new greenlet.
pub(crate) enum Refusal {
    Closing,
    /// Not even the stack on which unstarted greenlets are ended.
    NoStack(io::Error),
}

/// See the module.
pub(crate) struct Hub {
    // First the fields that each switch touches.
    head: Cell<Option<RecordRef>>,
    tail: Cell<Option<RecordRef>>,
    current: Cell<RecordRef>,
    budget: Cell<u32>,
    turn_began: Cell<Instant>,
    root: RecordRef,
    clock: Clock,
    inbox: Arc<Inbox>,
    timers: RefCell<Timers<Key>>,
    records: RefCell<Vec<RecordRef>>,
    free: RefCell<Vec<RecordRef>>,
    /// Idle stacks by size; there are few sizes.
    workers: RefCell<Vec<(usize, Vec<WorkerRef>)>>,
    /// A stack kept back for greenlets that can have none of their own: their
    /// bodies are dropped on it.
    spare: Cell<Option<WorkerRef>>,
    live: Cell<usize>,
    /// Inside `run`.
    running: Cell<bool>,
    /// No greenlet starts any more.
    closing: Cell<bool>,
    /// The root waits for `live` to become zero.
    draining: Cell<bool>,
    /// The state of the generator that shuffles the ready order, if one does.
    seed: Cell<Option<u64>>,
    /// The last turn left a limit that was due to the next one.
    passed_over: Cell<bool>,
    /// Set when the root's wait was ended because nothing could ever end it.
    deadlock: Cell<Option<String>>,
    reported: Cell<bool>,
}

thread_cell! {
    /// The thread's hub. It has no destructor, so it can be asked for at any time.
    static HUB: Cell<Option<HubRef>> = Cell::new(None);
}

thread_cell! {
    /// The thread's locals are being torn down: it counts as hub-less, and what is
    /// spawned on it could never run.
    static ENDED: Cell<bool> = Cell::new(false);
}

/// Whether the thread is past the point where its hub was ended.
pub(crate) fn thread_has_ended() -> bool {
    ENDED.with(Cell::get) && Hub::get().is_none()
}

/// Ends the hub of a thread that ends without having done so itself.
struct AtThreadEnd;

impl Drop for AtThreadEnd {
    fn drop(&mut self) {
        // loom takes all of a thread's locals away at once, `HUB` too; a model's
        // hubs end by `run`.
        if cfg!(greenlet_loom) {
            return;
        }
        ENDED.with(|ended| ended.set(true));
        if let Some(hub) = Hub::get() {
            hub.close();
        }
    }
}

thread_lazy! {
    static AT_THREAD_END: AtThreadEnd = AtThreadEnd;
}

/// Greenlet ids are unique in the process, so that no report is ambiguous.
static NEXT_ID: AtomicU64 = AtomicU64::new(1);

/// An id for a new greenlet.
pub(crate) fn next_id() -> u64 {
    // Relaxed: only uniqueness matters.
    NEXT_ID.fetch_add(1, Ordering::Relaxed)
}

impl Hub {
    /// The calling thread's hub, if it has one.
    #[inline]
    pub(crate) fn get() -> Option<HubRef> {
        HUB.with(Cell::get)
    }

    /// Makes the calling thread's hub, which it does not have yet. The open
    /// frames of the thread move in with `task`.
    pub(crate) fn create(task: &Task) -> HubRef {
        let inbox = Inbox::new();
        let root = Record::new(0, &inbox);
        root.life.set(Life::Started);
        let hub = coroutine::leak(Hub {
            head: Cell::new(None),
            tail: Cell::new(None),
            current: Cell::new(root),
            budget: Cell::new(BUDGET),
            turn_began: Cell::new(Instant::now()),
            root,
            clock: Clock::real(),
            inbox,
            timers: RefCell::new(Timers::new()),
            records: RefCell::new(vec![root]),
            free: RefCell::new(Vec::new()),
            workers: RefCell::new(Vec::new()),
            spare: Cell::new(None),
            live: Cell::new(0),
            running: Cell::new(false),
            closing: Cell::new(false),
            draining: Cell::new(false),
            seed: Cell::new(None),
            passed_over: Cell::new(false),
            deadlock: Cell::new(None),
            reported: Cell::new(false),
        });
        task.hand_frames_to(&root.task, |frame| {
            frame.timer = frame
                .deadline
                .map(|t| hub.timers.borrow_mut().arm_at(t, Key::Frame(0, frame.id)));
        });
        HUB.with(|h| h.set(Some(hub)));
        // While the thread's locals are torn down there is no guard any more;
        // such a hub is leaked.
        let _ = AT_THREAD_END.try_with(|_| ());
        hub
    }

    pub(crate) fn inbox(&self) -> &Arc<Inbox> {
        &self.inbox
    }

    pub(crate) fn now(&self) -> Instant {
        self.clock.now()
    }

    pub(crate) fn is_running(&self) -> bool {
        self.running.get()
    }

    pub(crate) fn set_running(&self) {
        self.running.set(true);
    }

    pub(crate) fn live(&self) -> usize {
        self.live.get()
    }

    #[inline]
    pub(crate) fn current(&self) -> RecordRef {
        self.current.get()
    }

    #[inline]
    pub(crate) fn is_root(&self, record: RecordRef) -> bool {
        std::ptr::eq(record, self.root)
    }

    #[inline]
    pub(crate) fn root(&self) -> RecordRef {
        self.root
    }

    #[inline]
    pub(crate) fn at_root(&self) -> bool {
        self.is_root(self.current())
    }

    /// The way out for the running greenlet; `None` at the root.
    #[inline]
    fn switch(&'static self) -> Option<Switch> {
        let yielder = self.current().yielder.get()?;
        Some(Switch { yielder, hub: self })
    }

    /// The running greenlet's way out; at the root, runs the loop until it is the
    /// root's turn again.
    #[inline]
    pub(crate) fn leave(&'static self) -> Option<Switch> {
        let switch = self.switch();
        if switch.is_none() {
            self.run_root();
        }
        switch
    }

    // ---- ready queue ----

    #[inline]
    pub(crate) fn make_ready(&self, record: RecordRef) {
        debug_assert!(record.next.get().is_none());
        match self.tail.replace(Some(record)) {
            Some(last) => last.next.set(Some(record)),
            None => self.head.set(Some(record)),
        }
    }

    #[inline]
    pub(crate) fn make_ready_index(&self, index: usize) {
        let record = self.records.borrow()[index];
        self.make_ready(record);
    }

    #[inline]
    fn pop_ready(&self) -> Option<RecordRef> {
        let first = self.head.get()?;
        let next = first.next.take();
        self.head.set(next);
        if next.is_none() {
            self.tail.set(None);
        }
        Some(first)
    }

    /// True if a greenlet that yields now would be resumed at once.
    #[inline]
    pub(crate) fn skip_yield(&self) -> bool {
        let budget = self.budget.get();
        if self.head.get().is_none() && budget > 0 {
            self.budget.set(budget - 1);
            return true;
        }
        false
    }

    /// A computation passes a checkpoint; true if it has used up the turn.
    pub(crate) fn checkpoint_yields(&self) -> bool {
        let left = self.budget.get().saturating_sub(1);
        self.budget.set(left);
        left == 0
    }

    /// Under a seed: turns the ready queue round by a random number of places.
    fn shuffle(&self, state: u64) {
        let mut len = 0u64;
        let mut at = self.head.get();
        while let Some(record) = at {
            len += 1;
            at = record.next.get();
        }
        // SplitMix64 (Steele, Lea, Flood 2014).
        let state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        self.seed.set(Some(state));
        for _ in 0..(z ^ (z >> 31)).checked_rem(len).unwrap_or(0) {
            let first = self.pop_ready().expect("len counted them");
            self.make_ready(first);
        }
    }

    // ---- the loop ----

    /// Runs turns until the root's own entry comes up. Only at the root. If
    /// nothing can ever wake it, its wait is ended as expired, with a report.
    #[inline(never)]
    pub(crate) fn run_root(&'static self) {
        // An unwind from here would leave the wait of the root with its node linked.
        let bomb = AbortOnUnwind;
        let mut hub = self;
        loop {
            if hub.budget.get() == 0 {
                hub.turn();
            }
            let Some(record) = hub.pop_ready() else {
                hub.idle();
                continue;
            };
            hub.budget.set(hub.budget.get() - 1);
            if let Some(worker) = record.worker.get() {
                hub.current.set(record);
                hub = worker.resume().expect("a bound worker does not end");
            } else if hub.is_root(record) {
                hub.current.set(record);
                return std::mem::forget(bomb);
            } else {
                hub = hub.start(record);
            }
        }
    }

    /// The first resume: bind a stack, or use the spare one to end the greenlet.
    #[cold]
    #[inline(never)]
    fn start(&'static self, record: RecordRef) -> HubRef {
        let size = record.stack_size.get();
        let pooled = {
            let mut pool = self.workers.borrow_mut();
            let class = pool.iter_mut().find(|(class, _)| *class == size);
            class.and_then(|(_, idle)| idle.pop())
        };
        let worker = match pooled.map_or_else(|| Worker::start(size, Hub::enter), Ok) {
            Ok(worker) => worker,
            Err(error) => {
                record.no_stack.set(Some(error));
                self.spare
                    .take()
                    .expect("the spare is back before the next start")
            }
        };
        record.worker.set(Some(worker));
        record.life.set(Life::Started);
        self.current.set(record);
        worker.resume().expect("a worker ends only when retired")
    }

    /// Runs on a worker's stack: one greenlet, from start to end.
    fn enter(yielder: Yielder<HubRef>) -> Option<HubRef> {
        // No hub: it has ended and retires its workers.
        let hub = Hub::get()?;
        let record = hub.current();
        record.yielder.set(Some(yielder));
        let job = record.job.take().expect("an unstarted greenlet has a job");
        // The job stays in the record too, so that the end of the thread can
        // tell those who wait for it.
        record.job.set(Some(job.clone()));
        let error = record.no_stack.take();
        let on_spare = error.is_some();
        let order = match error {
            Some(error) => Order::NoStack(error),
            None if record.task.is_killed() => Order::Kill,
            None => Order::Run,
        };
        job.run(order);
        record.job.set(None);
        drop(job);
        hub.finish(record, on_spare);
        Some(hub)
    }

    /// The greenlet has ended; its stack and record go back, although this still
    /// runs on that stack: nobody gets it before the loop runs again.
    fn finish(&self, record: RecordRef, on_spare: bool) {
        let worker = record.worker.take().expect("it runs on one");
        if on_spare {
            self.spare.set(Some(worker));
        } else {
            let mut pool = self.workers.borrow_mut();
            match pool.iter_mut().find(|(class, _)| *class == worker.size()) {
                Some((_, idle)) => idle.push(worker),
                None => pool.push((worker.size(), vec![worker])),
            }
        }
        self.release(record);
        if self.live.get() == 0 && self.draining.get() && self.root.waiter.word.notify(0) {
            self.make_ready(self.root);
        }
    }

    fn release(&self, record: RecordRef) {
        record.yielder.set(None);
        record.task.clear();
        record.id.set(0);
        record.life.set(Life::Free);
        if record.name.borrow().is_some() {
            record.name.take();
        }
        self.live.set(self.live.get() - 1);
        self.free.borrow_mut().push(record);
    }

    /// The end of a turn. See the module.
    #[cold]
    #[inline(never)]
    fn turn(&self) {
        self.budget.set(BUDGET);
        let mail = self.drain_inbox();
        let now = self.clock.now();
        self.turn_began.set(now);
        if !self.timers.borrow().is_empty() {
            self.timers.borrow_mut().settle(now);
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
        let records = self.records.borrow();
        self.inbox.drain(
            |index| &*records[index].waiter.address,
            |index| self.make_ready(records[index]),
        )
    }

    fn expire(&self, key: Key) {
        let record = |index: usize| self.records.borrow()[index];
        match key {
            Key::Sleep(index) | Key::Wait(index) => {
                let record = record(index);
                record.timer.set(None);
                if record.waiter.word.expire() {
                    self.make_ready(record);
                }
            }
            Key::Frame(index, frame) => self.fire_frame(record(index), frame),
            Key::Start(index) => {
                let record = record(index);
                record.timer.set(None);
                debug_assert_eq!(record.life.get(), Life::Delayed);
                record.life.set(Life::Unstarted);
                self.make_ready(record);
            }
        }
    }

    // ---- greenlets ----

    /// A new greenlet; returns its record's index.
    pub(crate) fn spawn(&'static self, spawn: Spawn) -> Result<usize, Refusal> {
        if self.closing.get() {
            return Err(Refusal::Closing);
        }
        if self.spare.get().is_none() && self.live.get() == 0 {
            // Reserved before the first greenlet needs it.
            let spare = Worker::start(stack::MIN_SIZE * 2, Hub::enter);
            self.spare.set(Some(spare.map_err(Refusal::NoStack)?));
        }
        let recycled = self.free.borrow_mut().pop();
        let record = recycled.unwrap_or_else(|| {
            let mut records = self.records.borrow_mut();
            let record = Record::new(records.len(), &self.inbox);
            records.push(record);
            record
        });
        record.id.set(spawn.id);
        record.stack_size.set(spawn.stack_size);
        record.job.set(Some(spawn.job));
        if spawn.name.is_some() {
            *record.name.borrow_mut() = spawn.name;
        }
        self.live.set(self.live.get() + 1);
        match spawn.delay {
            None => {
                record.life.set(Life::Unstarted);
                self.make_ready(record);
            }
            Some(delay) => {
                record.life.set(Life::Delayed);
                let key = Key::Start(record.index);
                let timer = self.timers.borrow_mut().arm_after(delay, key);
                record.timer.set(Some(timer));
            }
        }
        Ok(record.index)
    }

    /// Asks the greenlet `id` to end, if it is still in the record `index`. Who
    /// does not know the record yet gives `None`; it is looked for.
    pub(crate) fn kill(&self, index: Option<usize>, id: u64) {
        let record = match index {
            Some(index) => Some(self.records.borrow()[index]),
            None => self
                .records
                .borrow()
                .iter()
                .copied()
                .find(|r| r.id.get() == id),
        };
        if let Some(record) = record
            && record.id.get() == id
        {
            self.kill_record(record);
        }
    }

    fn kill_record(&self, record: RecordRef) {
        let unshielded = record.task.kill();
        match record.life.get() {
            Life::Free | Life::Unstarted => {}
            Life::Delayed => {
                self.disarm(record);
                record.life.set(Life::Unstarted);
                self.make_ready(record);
            }
            Life::Started => {
                if !coroutine::can_unwind() {
                    panic!("kill() of a started greenlet needs panic = \"unwind\"");
                }
                if unshielded && record.waiter.word.interrupt() {
                    self.make_ready(record);
                }
            }
        }
    }

    /// Kills all greenlets but the root and the one that calls.
    pub(crate) fn kill_all(&self) {
        let records = self.records.borrow().clone();
        for record in records {
            let spared = self.is_root(record) || std::ptr::eq(record, self.current());
            if record.life.get() != Life::Free && !spared {
                self.kill_record(record);
            }
        }
    }

    /// The record of a task that is alive, by what `address_of` said.
    pub(crate) fn record_of(&self, (index, id): (usize, u64)) -> RecordRef {
        let record = self.records.borrow()[index];
        assert_eq!(record.id.get(), id, "the owner of a scope outlives it");
        record
    }

    /// The index and id under which the running greenlet can be killed or its
    /// frames fired.
    pub(crate) fn address_of(&self, record: RecordRef) -> (usize, u64) {
        (record.index, record.id.get())
    }

    // ---- waits ----

    /// The running task begins a wait: note where, arm its timer.
    #[inline]
    pub(crate) fn begin_wait(&self, record: RecordRef, site: Site, limit: Limit) {
        self.begin(record, site, limit, Key::Wait(record.index));
    }

    /// The running task begins a sleep.
    pub(crate) fn begin_sleep(&self, record: RecordRef, site: Site, limit: Limit) {
        self.begin(record, site, limit, Key::Sleep(record.index));
    }

    #[inline(always)]
    fn begin(&self, record: RecordRef, site: Site, limit: Limit, key: Key) {
        record.task.note(site, self.turn_began.get());
        match limit {
            Limit::Never => {}
            Limit::After(d) => {
                let timer = self.timers.borrow_mut().arm_after(d, key);
                record.timer.set(Some(timer));
            }
            Limit::At(t) => {
                let timer = self.timers.borrow_mut().arm_at(t, key);
                record.timer.set(Some(timer));
            }
        }
    }

    /// Its wait is over: disarm the timer if it is still there.
    #[inline]
    pub(crate) fn disarm(&self, record: RecordRef) {
        if let Some(timer) = record.timer.take() {
            self.timers.borrow_mut().cancel(timer);
        }
    }

    /// Arms a frame's timer.
    pub(crate) fn arm_frame(&self, record: RecordRef, frame: u64, limit: Limit) {
        let key = Key::Frame(record.index, frame);
        let timer = match limit {
            Limit::Never => None,
            Limit::After(d) => Some(self.timers.borrow_mut().arm_after(d, key)),
            Limit::At(t) => Some(self.timers.borrow_mut().arm_at(t, key)),
        };
        record.task.frame(frame, |f| f.timer = timer);
    }

    pub(crate) fn disarm_frame(&self, timer: Option<TimerId>) {
        if let Some(timer) = timer {
            self.timers.borrow_mut().cancel(timer);
        }
    }

    /// Fires a frame, by its timer or because a scope's child has panicked.
    pub(crate) fn fire_frame(&self, record: RecordRef, frame: u64) {
        if record.task.fire(frame) && record.waiter.word.interrupt() {
            self.make_ready(record);
        }
    }

    /// Fires a frame of the task with that index and id, if it is still there.
    pub(crate) fn fire_frame_of(&self, (index, id): (usize, u64), frame: u64) {
        let record = self.records.borrow()[index];
        if record.id.get() == id {
            self.fire_frame(record, frame);
        }
    }

    // ---- the end ----

    /// Makes this hub a simulation: virtual time, and a shuffled ready order if
    /// there is a seed.
    pub(crate) fn simulate(&self, seed: Option<u64>) {
        self.clock.make_virtual();
        self.inbox.simulate();
        self.turn_began.set(self.clock.now());
        self.seed.set(seed);
        if seed.is_some() {
            self.budget.set(0);
        }
    }

    /// Refuses new greenlets, here and from elsewhere.
    pub(crate) fn begin_close(&'static self) {
        self.closing.set(true);
        for mail in self.inbox.refuse_mail() {
            if let Mail::Spawn(spawn) = mail {
                spawn.refuse();
            }
        }
    }

    /// Runs the loop at the root until no greenlet is alive. Returns the report
    /// if that can never be.
    pub(crate) fn drain(&'static self, site: Site) -> Result<(), String> {
        debug_assert!(self.at_root());
        self.draining.set(true);
        while self.live.get() > 0 {
            self.root.waiter.word.announce();
            self.begin_wait(self.root, site, Limit::Never);
            self.run_root();
            self.root.waiter.word.reset();
            if let Some(report) = self.take_deadlock() {
                return Err(report);
            }
        }
        self.draining.set(false);
        Ok(())
    }

    /// Ends the hub: at the end of `run`, or of its thread.
    pub(crate) fn close(&'static self) {
        // First: refused closures are dropped below, and their destructors must
        // not find a hub that is going.
        HUB.with(|h| h.set(None));
        self.begin_close();
        self.inbox.close();
        if self.live.get() > 0 {
            return self.abandon();
        }
        let workers = self.workers.take();
        let idle = workers.into_iter().flat_map(|(_, idle)| idle);
        for worker in idle.chain(self.spare.take()) {
            worker.retire();
        }
        let records = self.records.take();
        coroutine::reclaim_ended_hub(self, records);
    }

    /// The thread ends with greenlets left: nobody may wake them, those who wait
    /// for them are told, and what they own is leaked.
    fn abandon(&self) {
        let mut left = 0;
        for record in self.records.borrow().iter() {
            if self.is_root(record) || record.life.get() == Life::Free {
                continue;
            }
            left += 1;
            record.waiter.word.close();
            if let Some(job) = record.job.take() {
                job.abandon();
                std::mem::forget(job);
            }
        }
        report(format_args!(
            "a thread has ended with {left} greenlets left; they are leaked"
        ));
    }

    /// Moves the root's open frames back to the thread that loses its hub.
    pub(crate) fn hand_frames_back(&self, task: &Task) {
        let now = self.clock.now();
        self.root.task.hand_frames_to(task, |frame| {
            if let Some(timer) = frame.timer.take() {
                let mut timers = self.timers.borrow_mut();
                frame.deadline = timers.deadline(timer, now);
                timers.cancel(timer);
            }
            debug_assert!(frame.state != FrameState::Armed || frame.timer.is_none());
        });
    }
}

//! The hub: ready queue, turn, idle, root, and what it keeps of its greenlets.
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
//! ends within its turn costs no clock read. Then sockets are looked at, once a turn; and
//! before timers that expire too, if anybody waits for a socket. The hub sleeps only when
//! nothing is ready.
//!
//! # Seeds and records
//!
//! A greenlet that has not started is a [`Seed`] in its own block of memory. At its first turn
//! it gets a stack from a last in, first out pool, and with it a [`Record`], which lies there and
//! lives as long as the stack. Both stay where they are for as long as the hub has use for them,
//! so `&'static` needs no count. The hub's table says who is where. A handle names a greenlet by
//! its index there and its id; an id is never used twice, so a late kill finds nobody.
//!
//! No borrow of the hub's data is live across user code or a switch.
//!
//! This file has the data, the ready queue and the begin and end of a wait;
//! `turns` the loop, `idle` what it does when nothing is ready, `outside` where it
//! sleeps, `greenlets` how greenlets come and go, `end` how the hub ends, `record` what
//! it keeps of each greenlet, `stacks` the stacks that nobody uses now and `kept` how many of them
//! stay, `look` what it sees of itself when somebody asks.

mod end;
mod greenlets;
mod idle;
mod kept;
mod look;
mod outside;
mod record;
mod stacks;
mod turns;

pub(crate) use greenlets::MAX_INDEX;
pub(crate) use look::{Numbers, Seen, Slice, Stage};
pub(crate) use record::{About, Birth, Record, Seed};

use super::clock::{Clock, Limit};
use super::coroutine::{self, Errand, Leaked, Origin, Worker, Yielder};
use super::deadlock::Silence;
use super::inbox::Inbox;
use super::spin::Spin;
use super::sync::{Arc, MODELLED, thread_cell, thread_lazy};
use super::task::{Expiry, Legacy, Site, Task};
use super::timers::{Rank, TimerId, Timers};
use super::trace;
use super::watch::{self, Pulse, Who};
use super::word::Outcome;
use outside::Outside;
use record::{Entry, Member, Place, Root};
use stacks::Stacks;
use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Resumes in a turn.
pub(crate) const BUDGET: u32 = 256;

/// More greenlets than this are a crowd: each touches a dozen cache lines when it runs.
pub(crate) const CROWD: usize = 4_000;

type HubRef = &'static Hub;
type EntryRef = &'static Entry;
type RecordRef = &'static Record;
type WorkerRef = &'static Worker<HubRef, Record>;
/// A worker that lies beside a greenlet's own.
type SideRef = &'static Worker<HubRef>;
pub(crate) type Job<'a> = coroutine::Job<'a, Seed>;
pub(crate) type JobSlot = coroutine::JobSlot<Seed>;

/// What a timer is for.
#[derive(Clone, Copy, Debug)]
enum Key {
    /// The end of the record's sleep.
    Sleep(u32),
    /// The deadline of the record's wait.
    Wait(u32),
    /// A frame of the record's task.
    Frame(u32, u64),
    /// The delayed start of the greenlet at that index.
    Start(u32),
}

impl Rank for Key {
    fn is_limit(&self) -> bool {
        matches!(self, Key::Wait(_) | Key::Frame(..))
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

/// A greenlet that is to be spawned.
pub(crate) struct Spawn {
    pub(crate) job: Job<'static>,
    pub(crate) birth: Birth,
    pub(crate) delay: Option<Duration>,
    pub(crate) legacy: Option<Box<Legacy>>,
}

/// Why a hub takes no new greenlet.
pub(crate) enum Refusal {
    Closing,
    /// Not even the stack on which unstarted greenlets are ended.
    NoStack(io::Error),
}

/// See the module.
#[repr(C, align(64))] // What each switch touches comes first, on one cache line.
pub(crate) struct Hub {
    head: Cell<Option<EntryRef>>,
    tail: Cell<Option<EntryRef>>,
    current: Cell<RecordRef>,
    budget: Cell<u32>,
    /// Its greenlets do not fit in the caches.
    crowded: Cell<bool>,
    /// Resumes so far.
    switches: Cell<u64>,
    /// What others want to know of it, as bits; see `watch`.
    observed: Cell<usize>,
    turn_began: Cell<Instant>,
    root: &'static Root,
    clock: Clock,
    inbox: Arc<Inbox>,
    outside: Outside,
    timers: RefCell<Timers<Key>>,
    /// The root, and all greenlets that are alive.
    places: RefCell<Vec<Place>>,
    /// The first place that is nobody's.
    free: Cell<Option<u32>>,
    workers: Stacks<Record>,
    /// Idle ones that lie beside greenlets' own.
    sides: Stacks<()>,
    /// For the one of them that runs next.
    errand: Cell<Option<Rc<dyn Errand<HubRef>>>>,
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
    /// The last one, and the number of switches then.
    silence: Cell<Option<(Silence, u64)>>,
    spin: Spin,
    /// It simulates, and something has come from another thread all the same.
    intruded: Cell<bool>,
    turns: Cell<u64>,
    wakes_from_outside: Cell<u64>,
    /// What others may see of it.
    pulse: std::sync::Arc<Pulse>,
    /// Who runs, and since when, while slices are measured.
    slice: RefCell<Option<(Instant, Who)>>,
    longest: RefCell<Option<Slice>>,
    origin: Origin<Hub>,
}

impl Leaked for Hub {
    fn origin(&self) -> &Origin<Self> {
        &self.origin
    }
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
        // loom takes all of a thread's locals away at once, `HUB` too; the hubs of
        // models end by `run`.
        if MODELLED {
            return;
        }
        ENDED.with(|ended| ended.set(true));
        Hub::close();
    }
}

thread_lazy! {
    static AT_THREAD_END: AtThreadEnd = AtThreadEnd;
}

thread_cell! {
    /// The next id that this thread gives, and how many more it may give before it asks again.
    static IDS: Cell<(u64, u64)> = Cell::new((0, 0));
}

/// So many ids a thread takes at a time.
const IDS_AT_ONCE: u64 = if MODELLED { 1 } else { 64 };

/// An id for a new greenlet: unique in the process, so that no report is ambiguous.
#[inline]
pub(crate) fn next_id() -> u64 {
    let (next, left) = match IDS.with(Cell::get) {
        (_, 0) => more_ids(),
        some => some,
    };
    IDS.with(|ids| ids.set((next + 1, left - 1)));
    next
}

#[cold]
fn more_ids() -> (u64, u64) {
    static NEXT_ID: AtomicU64 = AtomicU64::new(1);
    // Relaxed: only uniqueness matters.
    let first = NEXT_ID.fetch_add(IDS_AT_ONCE, Ordering::Relaxed);
    (first, IDS_AT_ONCE)
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
        let root = coroutine::leak(Root {
            record: Record::new(&inbox),
            origin: Origin::new(),
        });
        let pulse = watch::add(&inbox);
        let hub = coroutine::leak(Hub {
            head: Cell::new(None),
            tail: Cell::new(None),
            current: Cell::new(&root.record),
            budget: Cell::new(BUDGET),
            crowded: Cell::new(false),
            switches: Cell::new(0),
            observed: Cell::new(0),
            turn_began: Cell::new(Instant::now()),
            root,
            clock: Clock::real(),
            inbox,
            outside: Outside::default(),
            timers: RefCell::new(Timers::new()),
            places: RefCell::new(vec![Place::Started(&root.record)]),
            free: Cell::new(None),
            workers: Stacks::default(),
            sides: Stacks::default(),
            errand: Cell::new(None),
            spare: Cell::new(None),
            live: Cell::new(0),
            running: Cell::new(false),
            closing: Cell::new(false),
            draining: Cell::new(false),
            seed: Cell::new(None),
            passed_over: Cell::new(false),
            deadlock: Cell::new(None),
            reported: Cell::new(false),
            silence: Cell::new(None),
            spin: Spin::default(),
            intruded: Cell::new(false),
            turns: Cell::new(0),
            wakes_from_outside: Cell::new(0),
            pulse,
            slice: RefCell::new(None),
            longest: RefCell::new(None),
            origin: Origin::new(),
        });
        task.hand_frames_to(&root.record.task, |expiry| match expiry {
            Expiry::Noted(limit) => limit,
            Expiry::Timer(_) => unreachable!("a thread without a hub has no timers"),
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

    /// When the turn began: a reading of the clock that costs nothing.
    #[inline]
    pub(crate) fn turn_began(&self) -> Instant {
        self.turn_began.get()
    }

    /// Whether its time is virtual.
    pub(crate) fn simulates(&self) -> bool {
        self.clock.is_virtual()
    }

    /// Whether another thread has woken greenlets of this simulation, or sent it mail. At the end
    /// of `run`: who was woken has run since, and the mail was looked at when it was refused.
    pub(crate) fn was_intruded(&self) -> bool {
        self.intruded.get()
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
        std::ptr::eq(record, &self.root.record)
    }

    #[inline]
    pub(crate) fn root(&self) -> RecordRef {
        &self.root.record
    }

    #[inline]
    pub(crate) fn at_root(&self) -> bool {
        self.is_root(self.current())
    }

    /// The running greenlet's way out; at the root, runs the loop until it is the
    /// root's turn again.
    #[inline]
    fn leave(&'static self, record: RecordRef) -> Option<Switch> {
        let Some(yielder) = record.yielder.get() else {
            self.run_root();
            return None;
        };
        record.left_at.set(coroutine::stack_pointer());
        Some(Switch { yielder, hub: self })
    }

    /// The running greenlet lets the others run that are ready.
    #[inline(always)]
    pub(crate) fn requeue(&'static self, record: RecordRef, site: &Site) -> Option<Switch> {
        self.begin_wait(record, site, &Limit::Never);
        self.make_ready(record);
        self.leave(record)
    }

    /// Whether a greenlet of its has that id.
    #[cold]
    pub(crate) fn knows(&self, id: u64) -> bool {
        id != 0 && self.places.borrow().iter().any(|place| place.is_of(id))
    }

    // ---- ready queue ----

    #[inline]
    pub(crate) fn make_ready(&self, record: RecordRef) {
        self.queue(&record.entry);
    }

    #[inline]
    fn queue(&self, entry: EntryRef) {
        debug_assert!(entry.next.get().is_none());
        let last = self.tail.replace(Some(entry));
        entry.previous.set(last);
        match last {
            Some(last) => last.next.set(Some(entry)),
            None => self.head.set(Some(entry)),
        }
    }

    /// Takes a greenlet out of the ready queue and puts it at its head; false if it is not
    /// there, or the turn is over: then others are to come first.
    ///
    /// So the head is chosen by a greenlet at most once for each resume, and the first one
    /// of a turn never: who is first in line then runs, whatever the others do.
    pub(crate) fn make_next(&self, (index, id): (usize, u64)) -> bool {
        let Some(entry) = self.find(index, id).map(Member::entry) else {
            return false;
        };
        if self.budget.get() == 0 {
            return false;
        }
        let head = self.head.get();
        if head.is_some_and(|head| std::ptr::eq(head, entry)) {
            return true;
        }
        let next = entry.next.get();
        let last = self.tail.get();
        if next.is_none() && !last.is_some_and(|last| std::ptr::eq(last, entry)) {
            return false;
        }
        let previous = entry.previous.get().expect("it is not the head");
        previous.next.set(next);
        match next {
            Some(next) => next.previous.set(Some(previous)),
            None => self.tail.set(Some(previous)),
        }
        entry.next.set(head);
        entry.previous.set(None);
        if let Some(head) = head {
            head.previous.set(Some(entry));
        }
        self.head.set(Some(entry));
        true
    }

    /// Whoever is at that index has waited.
    #[inline]
    pub(crate) fn make_ready_index(&self, index: usize) {
        self.make_ready(self.started(index));
    }

    /// The record at that index, of one that has started.
    #[inline]
    fn started(&self, index: usize) -> RecordRef {
        match self.places.borrow()[index] {
            Place::Started(record) => record,
            _ => unreachable!("only who has started waits"),
        }
    }

    #[inline]
    fn pop_ready(&self) -> Option<EntryRef> {
        let first = self.head.get()?;
        let next = first.next.take();
        self.head.set(next);
        match next {
            Some(next) => next.previous.set(None),
            None => self.tail.set(None),
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

    /// Makes this hub a simulation: virtual time, and a shuffled ready order if
    /// there is a seed.
    pub(crate) fn simulate(&self, seed: Option<u64>) {
        self.clock.make_virtual();
        self.turn_began.set(self.clock.now());
        self.seed.set(seed);
        if seed.is_some() {
            self.budget.set(0);
        }
    }

    // ---- waits ----

    /// The running task begins a wait: note where, arm its timer.
    #[inline]
    pub(crate) fn begin_wait(&self, record: RecordRef, site: &Site, limit: &Limit) {
        self.begin(record, site, limit, Key::Wait);
    }

    /// The running greenlet or the root waits: how to leave, or, at the root, it is over.
    #[inline(always)]
    pub(crate) fn wait(
        &'static self,
        record: RecordRef,
        site: &Site,
        limit: &Limit,
    ) -> Option<Switch> {
        self.begin_wait(record, site, limit);
        self.leave(record)
    }

    /// A wait has ended so: disarms its timer, and is ready for the next.
    #[inline(always)]
    pub(crate) fn settle(&self, record: RecordRef, outcome: Outcome) {
        self.disarm(record);
        record.waiter.word.reset();
        trace::wakes(&record.task, record.id(), outcome);
    }

    /// As [`wait`](Hub::wait), for a wait that nobody but the limit ends.
    pub(crate) fn sleep(
        &'static self,
        record: RecordRef,
        site: &Site,
        limit: &Limit,
    ) -> Option<Switch> {
        self.begin(record, site, limit, Key::Sleep);
        self.leave(record)
    }

    #[inline(always)]
    fn begin(&self, record: RecordRef, site: &Site, limit: &Limit, key: impl Fn(u32) -> Key) {
        trace::waits(&record.task, record.id(), site);
        record.task.note(*site, self.turn_began.get());
        if record.task.is_unarmed() {
            self.arm_frames(record);
        }
        if !matches!(limit, Limit::Never) {
            self.arm_own(record, limit, key);
        }
    }

    #[inline(never)]
    fn arm_own(&self, record: RecordRef, limit: &Limit, key: impl Fn(u32) -> Key) {
        let timer = self.arm(limit, key(record.entry.index.get()));
        record.timer.set(timer);
    }

    #[inline(always)]
    fn arm(&self, limit: &Limit, key: Key) -> Option<TimerId> {
        let mut timers = self.timers.borrow_mut();
        match *limit {
            Limit::Never => None,
            Limit::After(d) => Some(timers.arm_after(d, key)),
            Limit::At(t) => Some(timers.arm_at(t, key)),
        }
    }

    /// Its wait is over: disarm the timer if it is still there.
    #[inline]
    pub(crate) fn disarm(&self, record: RecordRef) {
        if let Some(timer) = record.timer.take() {
            self.timers.borrow_mut().cancel(timer);
        }
    }

    /// Arms the timers of those frames that have none yet.
    #[inline(never)]
    pub(crate) fn arm_frames(&self, record: RecordRef) {
        let index = record.entry.index.get();
        let arm = |frame, limit: &Limit| self.arm(limit, Key::Frame(index, frame));
        record.task.arm(arm);
    }

    #[inline]
    pub(crate) fn disarm_frame(&self, timer: Option<TimerId>) {
        if let Some(timer) = timer {
            self.timers.borrow_mut().cancel(timer);
        }
    }

    /// Fires a frame, by its timer or because a scope's child has panicked.
    pub(crate) fn fire_frame(&self, record: RecordRef, frame: u64) {
        if record.task.fire(frame, || record.waiter.word.interrupt()) {
            self.make_ready(record);
        }
    }

    /// Fires a frame of the task with that index and id, if it is still there.
    pub(crate) fn fire_frame_of(&self, (index, id): (usize, u64), frame: u64) {
        if let Some(Member::Started(record)) = self.find(index, id) {
            self.fire_frame(record, frame);
        }
    }
}

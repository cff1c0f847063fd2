//! What a hub keeps of each greenlet: before its first turn a [`Seed`], from then on a [`Record`].
//!
//! The seed is a part of the one block of memory that a greenlet has from its spawn on
//! (`wait/pair.rs`). The record lies at the top of a stack, with the worker, and is the record of
//! greenlet after greenlet as the worker is: so one that has not started costs a block, one that
//! waits costs little more than the page of its stack, and a switch finds all that it touches
//! side by side.

use super::{EntryRef, HubRef, Job, JobSlot, RecordRef, WorkerRef};
use crate::rt::coroutine::{self, Leaked, Origin, Yielder};
use crate::rt::inbox::{Inbox, Waiter};
use crate::rt::sync::Arc;
use crate::rt::task::{Legacy, Name, Task};
use crate::rt::timers::TimerId;
use std::cell::{Cell, OnceCell, RefCell};
use std::io;
use std::panic::Location;
use std::time::Instant;

/// A place in the ready queue, and the way to whom it is for.
pub(super) struct Entry {
    pub(super) next: Cell<Option<EntryRef>>,
    /// The one before it in the ready queue, if that is not its head.
    pub(super) previous: Cell<Option<EntryRef>>,
    /// Who runs it. Nobody yet if it has not started, and nobody ever if it is the root.
    pub(super) worker: Cell<Option<WorkerRef>>,
    /// Where the hub has it in its table.
    pub(super) index: Cell<u32>,
    /// The size class of the stack that it is to have, as a power of two.
    stack: u8,
    /// It waits for a descriptor.
    pub(super) is_outside: Cell<bool>,
}

impl Entry {
    #[inline]
    fn new(stack_size: usize) -> Self {
        Entry {
            next: Cell::new(None),
            previous: Cell::new(None),
            worker: Cell::new(None),
            index: Cell::new(0),
            stack: stack_size.ilog2() as u8,
            is_outside: Cell::new(false),
        }
    }

    pub(super) fn index(&self) -> usize {
        self.index.get() as usize
    }

    /// The size of the stack that it is to have.
    pub(super) fn stack_size(&self) -> usize {
        1 << self.stack
    }

    /// It is the next to run: has the caches fetch what it will touch first, if that is likely
    /// to be far away. It would be read line after line, each behind a miss; here all at once,
    /// while another greenlet runs. Far away is who has waited for a descriptor, and in a
    /// crowd, everybody. With 2,000 busy connections a request took 1.1 us of user time without
    /// this and 0.7 with it. Elsewhere a switch is not to be made slower.
    #[inline]
    pub(super) fn prefetch(&self, crowded: bool) {
        let is_outside = self.is_outside.get();
        if (is_outside || crowded)
            && let Some(worker) = self.worker.get()
        {
            // The worker lies at the top of its stack, with the record, above the frames.
            let top = std::ptr::from_ref(worker).addr();
            coroutine::prefetch(top.wrapping_sub(64), RECORD_LINES);
            // From where the stack was left upwards, in cache lines. Who waits for a descriptor
            // has more frames to return through: the socket's and those of who reads by it.
            let frames = if is_outside { 20 } else { 8 };
            coroutine::prefetch(worker.attached().left_at.get(), frames);
        }
        // Where this reads first when it is that one's turn.
        if let Some(next) = self.next.get() {
            coroutine::prefetch(std::ptr::from_ref(next).addr(), 1);
        }
    }
}

/// So many cache lines a switch and a wait touch of a worker with its record, and below it.
const RECORD_LINES: usize = 5;

/// What is known of a greenlet from the first on, to its handle too.
#[derive(Debug)]
pub(crate) struct About {
    pub(crate) id: u64,
    pub(crate) name: Option<Name>,
}

impl About {
    /// Its name, or else its number.
    pub(crate) fn label(&self) -> String {
        match &self.name {
            Some(name) => name.to_string(),
            None => format!("#{}", self.id),
        }
    }
}

/// A greenlet that has not started, as its hub has it.
pub(crate) struct Seed {
    pub(super) entry: Entry,
    pub(super) killed: Cell<bool>,
    more: OnceCell<Box<More>>,
    /// From its spawn on.
    pub(super) birth: Cell<Option<Birth>>,
    pub(crate) about: About,
}

/// What few have before they start.
#[derive(Default)]
struct More {
    /// That of the delay which is not over.
    timer: Cell<Option<TimerId>>,
    legacy: Cell<Option<Box<Legacy>>>,
}

impl Seed {
    /// Of a greenlet whose stack is to have that size, a power of two.
    #[inline]
    pub(crate) fn new(about: About, stack_size: usize) -> Self {
        Seed {
            entry: Entry::new(stack_size),
            killed: Cell::new(false),
            more: OnceCell::new(),
            birth: Cell::new(None),
            about,
        }
    }

    /// What it inherits.
    pub(super) fn set_legacy(&self, legacy: Box<Legacy>) {
        self.more.get_or_init(Box::default).legacy.set(Some(legacy));
    }

    pub(super) fn take_legacy(&self) -> Option<Box<Legacy>> {
        self.more.get()?.legacy.take()
    }

    pub(super) fn set_timer(&self, timer: TimerId) {
        self.more.get_or_init(Box::default).timer.set(Some(timer));
    }

    /// The timer of its delay, if that is not over.
    pub(super) fn timer(&self) -> Option<TimerId> {
        self.more.get()?.timer.get()
    }

    /// Its delay is over.
    pub(super) fn take_timer(&self) -> Option<TimerId> {
        self.more.get()?.timer.take()
    }
}

/// A place in a hub's table.
pub(super) enum Place {
    /// Nobody's; the next such one.
    Free(Option<u32>),
    /// It has not started. In the ready queue, unless it has a timer.
    Unstarted(Job<'static>),
    /// The root, or one that has started.
    Started(RecordRef),
}

impl Place {
    /// Whether the greenlet with that id has it.
    pub(super) fn is_of(&self, id: u64) -> bool {
        self.member().is_some_and(|member| member.id() == id)
    }

    /// Whose it is.
    pub(super) fn member(&self) -> Option<Member> {
        match self {
            Place::Free(_) => None,
            Place::Unstarted(job) => Some(Member::Unstarted(job.seed())),
            Place::Started(record) => Some(Member::Started(record)),
        }
    }
}

/// Where a greenlet comes from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Birth {
    /// The call that spawned it.
    pub(crate) place: &'static Location<'static>,
    /// The id of the greenlet that made the call, which may be another hub's; 0 if none did.
    pub(crate) parent: u64,
    /// The call of the `scope` that it is a child of.
    pub(crate) scope: Option<&'static Location<'static>>,
    /// The beginning of its hub's turn in which it was spawned: the clock is not read for it.
    pub(crate) at: Instant,
}

/// A greenlet that has started, or the root.
///
/// In a crowd a wake and a switch wait for memory, so the order is by use: first, on one cache
/// line, what a claim touches, and what the loop does to see what to fetch; on the next two what a
/// switch and a wait touch; then what beginnings and ends do.
#[repr(C)]
pub(crate) struct Record {
    pub(super) entry: Entry,
    /// How deep its stack was when it last left the processor.
    pub(super) left_at: Cell<usize>,
    pub(crate) waiter: Waiter,
    /// That of the wait.
    pub(super) timer: Cell<Option<TimerId>>,
    pub(super) yielder: Cell<Option<Yielder<HubRef>>>,
    pub(crate) task: Task,
    /// 0 is the root, or nobody.
    pub(super) id: Cell<u64>,
    pub(super) job: JobSlot,
    pub(super) no_stack: Cell<Option<io::Error>>,
    pub(super) name: RefCell<Option<Name>>,
    /// Not the root's.
    pub(super) birth: Cell<Option<Birth>>,
}

impl Record {
    pub(super) fn new(inbox: &Arc<Inbox>) -> Self {
        Record {
            entry: Entry::new(1),
            left_at: Cell::new(0),
            waiter: Waiter::of_record(inbox, 0),
            timer: Cell::new(None),
            yielder: Cell::new(None),
            task: Task::default(),
            id: Cell::new(0),
            job: Cell::new(None),
            no_stack: Cell::new(None),
            name: RefCell::new(None),
            birth: Cell::new(None),
        }
    }

    /// It is that greenlet's from now on, whose first turn begins.
    #[inline]
    pub(super) fn grow(&self, job: Job<'static>) {
        let seed = job.seed();
        self.entry.index.set(seed.entry.index.get());
        self.waiter.move_to(seed.entry.index());
        self.id.set(seed.about.id);
        self.birth.set(seed.birth.get());
        if seed.about.name.is_some() {
            self.name.replace(seed.about.name.clone());
        }
        if seed.killed.get() {
            self.task.kill();
        }
        if let Some(legacy) = seed.take_legacy() {
            self.task.locals.inherit(*legacy);
        }
        self.job.set(Some(job));
    }

    /// Its greenlet has ended.
    pub(super) fn clear(&self) {
        self.yielder.set(None);
        self.task.clear();
        self.id.set(0);
        if self.name.borrow().is_some() {
            self.name.take();
        }
    }

    pub(crate) fn id(&self) -> u64 {
        self.id.get()
    }

    pub(crate) fn index(&self) -> usize {
        self.entry.index()
    }

    /// Where it comes from; `None` for the root.
    pub(crate) fn birth(&self) -> Option<Birth> {
        self.birth.get()
    }

    pub(crate) fn name(&self) -> Option<Name> {
        self.name.borrow().clone()
    }
}

/// A greenlet that is alive, or the root.
#[derive(Clone, Copy)]
pub(super) enum Member {
    Unstarted(&'static Seed),
    Started(RecordRef),
}

impl Member {
    pub(super) fn entry(self) -> EntryRef {
        match self {
            Member::Unstarted(seed) => &seed.entry,
            Member::Started(record) => &record.entry,
        }
    }

    pub(super) fn id(self) -> u64 {
        match self {
            Member::Unstarted(seed) => seed.about.id,
            Member::Started(record) => record.id(),
        }
    }

    pub(super) fn name(self) -> Option<Name> {
        match self {
            Member::Unstarted(seed) => seed.about.name.clone(),
            Member::Started(record) => record.name(),
        }
    }

    /// `None` for the root.
    pub(super) fn birth(self) -> Option<Birth> {
        match self {
            Member::Unstarted(seed) => seed.birth.get(),
            Member::Started(record) => record.birth(),
        }
    }

    pub(super) fn is_killed(self) -> bool {
        match self {
            Member::Unstarted(seed) => seed.killed.get(),
            Member::Started(record) => record.task.is_killed(),
        }
    }
}

/// The record of a root, which has no stack of ours to lie on.
pub(super) struct Root {
    pub(super) record: Record,
    pub(super) origin: Origin<Root>,
}

impl Leaked for Root {
    fn origin(&self) -> &Origin<Self> {
        &self.origin
    }
}

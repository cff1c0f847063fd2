//! Stacks that a hub keeps, and those that lie beside its greenlets' own.

use super::kept::{Kept, Surplus};
use super::{HUB, Hub, HubRef, Record, SideRef};
use crate::rt::coroutine::{Entry, Errand, Worker, Yielder};
use crate::rt::stack;
use std::cell::{Cell, RefCell};
use std::fmt;
use std::io;
use std::rc::Rc;
use std::time::Instant;

/// Workers that have nothing to run, by the size of their stacks, and how many there are.
pub(super) struct Stacks<A: 'static> {
    /// The last that came, which mostly is the next to go out.
    last: Cell<Option<Idle<A>>>,
    idle: RefCell<Kept<Idle<A>>>,
    /// All that have been made here and not ended.
    all: Cell<usize>,
    /// The sizes of their stacks.
    bytes: Cell<usize>,
}

/// A worker with what is attached to it.
type Idle<A> = &'static Worker<HubRef, A>;

impl<A> Default for Stacks<A> {
    fn default() -> Self {
        Stacks {
            last: Cell::new(None),
            idle: RefCell::default(),
            all: Cell::new(0),
            bytes: Cell::new(0),
        }
    }
}

impl<A> Stacks<A> {
    /// An idle worker of that size, or else a new one.
    #[inline]
    pub(super) fn take_or_start(
        &self,
        size: usize,
        entry: Entry<HubRef>,
        attached: impl FnOnce() -> A,
    ) -> io::Result<Idle<A>> {
        match self.last.take() {
            Some(worker) if worker.size() == size => Ok(worker),
            other => {
                self.last.set(other);
                self.take_other(size, entry, attached)
            }
        }
    }

    #[inline(never)]
    fn take_other(
        &self,
        size: usize,
        entry: Entry<HubRef>,
        attached: impl FnOnce() -> A,
    ) -> io::Result<Idle<A>> {
        if let Some(worker) = self.idle.borrow_mut().take(size) {
            return Ok(worker);
        }
        stack::tell_overflows(tell_overflow);
        let worker = Worker::start(size, entry, attached())?;
        self.all.set(self.all.get() + 1);
        self.bytes.set(self.bytes.get() + size);
        Ok(worker)
    }

    #[inline]
    pub(super) fn give(&self, worker: Idle<A>) {
        if let Some(before) = self.last.replace(Some(worker)) {
            self.keep(before);
        }
    }

    #[inline(never)]
    fn keep(&self, worker: Idle<A>) {
        self.idle.borrow_mut().give(worker.size(), worker);
    }

    pub(super) fn take_all(&self) -> impl Iterator<Item = Idle<A>> + use<A> {
        let last = self.last.take();
        self.idle.borrow_mut().take_all().chain(last)
    }

    /// How many there are, how many of them have nothing to run, and the bytes of all.
    pub(super) fn numbers(&self) -> (usize, usize, usize) {
        let idle = self.idle.borrow().len() + usize::from(self.last.get().is_some());
        (self.all.get().max(idle), idle, self.bytes.get())
    }

    /// Ends those that are too much now: true if there were any. Otherwise, when it should be
    /// asked again. They find no hub: the thread must not have one meanwhile.
    fn trim(&self, now: Instant) -> (bool, Option<Instant>) {
        let surplus = self.idle.borrow_mut().surplus(now);
        match surplus {
            Surplus::None => (false, None),
            Surplus::Later(at) => (false, Some(at)),
            Surplus::Now(workers) => {
                let bytes: usize = workers.iter().map(|worker| worker.size()).sum();
                // Some may be of a hub that has ended, from where a generator took them along.
                self.all.set(self.all.get().saturating_sub(workers.len()));
                self.bytes.set(self.bytes.get().saturating_sub(bytes));
                for worker in workers {
                    worker.retire().reclaim();
                }
                (true, None)
            }
        }
    }
}

/// What the loop needs that has nothing to do.
impl Hub {
    /// Gives back some of the stacks that have not been needed for a while: true if it has.
    /// Otherwise, when it should be asked again.
    pub(super) fn trim_stacks(&'static self) -> (bool, Option<Instant>) {
        debug_assert!(self.at_root(), "the record that is current stays");
        let now = self.turn_began();
        // One that finds no hub ends.
        let hub = HUB.with(Cell::take);
        let (own, next) = self.workers.trim(now);
        let (sides, next_of_sides) = self.sides.trim(now);
        HUB.with(|it| it.set(hub));
        (own || sides, next.into_iter().chain(next_of_sides).min())
    }
}

/// Writes who has overflowed the stack with that lowest address, if one of this thread has. It
/// is called by a signal handler, in the middle of anything.
fn tell_overflow(low: usize, kib: usize, out: &mut dyn fmt::Write) -> bool {
    let Some(hub) = Hub::get() else {
        return false;
    };
    // What cannot be written is left out.
    let _ = write_overflow(hub.current(), low, kib, out);
    true
}

fn write_overflow(
    record: &Record,
    low: usize,
    kib: usize,
    out: &mut dyn fmt::Write,
) -> fmt::Result {
    let worker = record.entry.worker.get();
    let is_own = worker.is_some_and(|worker| worker.span().begins_at(low));
    if !is_own {
        write!(
            out,
            "the body of a generator overflowed its stack of {kib} KiB; driven by "
        )?;
    }
    match record.name.try_borrow().as_deref() {
        Ok(Some(name)) => write!(out, "greenlet '{name}' (#{})", record.id())?,
        _ if record.id() == 0 => out.write_str("the root")?,
        _ => write!(out, "greenlet #{}", record.id())?,
    }
    if is_own {
        write!(out, " overflowed its stack of {kib} KiB")?;
    }
    match record.birth() {
        Some(birth) => write!(out, "; spawned at {}", birth.place),
        None => Ok(()),
    }
}

/// What `wait/side.rs` needs of the hub.
impl Hub {
    /// A worker for an errand, which waits for it in the hub. `entry` is the same for all.
    pub(crate) fn take_side(
        &self,
        size: usize,
        entry: Entry<HubRef>,
        errand: Rc<dyn Errand<HubRef>>,
    ) -> io::Result<SideRef> {
        let worker = self.sides.take_or_start(size, entry, || ())?;
        self.errand.set(Some(errand));
        Ok(worker)
    }

    /// The errand of the worker that has just been given one.
    pub(crate) fn take_errand(&self) -> Option<Rc<dyn Errand<HubRef>>> {
        self.errand.take()
    }

    /// The worker's errand has ended.
    pub(crate) fn give_side(&self, worker: SideRef) {
        self.sides.give(worker);
    }

    /// How the running greenlet leaves the stack that it runs on; `None` at the root.
    #[inline]
    pub(crate) fn way_out(&self) -> Option<Yielder<HubRef>> {
        self.current().yielder.get()
    }

    /// The running greenlet is about to run on another stack, or does so already.
    #[inline]
    pub(crate) fn set_way_out(&self, yielder: Yielder<HubRef>) {
        self.current().yielder.set(Some(yielder));
    }
}

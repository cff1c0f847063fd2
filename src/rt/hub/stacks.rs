//! Stacks that a hub keeps, and those that lie beside its greenlets' own.

use super::{Hub, HubRef, Record, WorkerRef};
use crate::rt::coroutine::{Entry, Errand, Worker, Yielder};
use crate::rt::stack;
use std::cell::RefCell;
use std::fmt;
use std::io;
use std::rc::Rc;

/// Workers that have nothing to run, by the size of their stacks: last in, first out.
/// There are few sizes.
#[derive(Default)]
pub(super) struct Stacks(RefCell<Vec<(usize, Vec<WorkerRef>)>>);

impl Stacks {
    /// An idle worker of that size, or else a new one.
    pub(super) fn take_or_start(&self, size: usize, entry: Entry<HubRef>) -> io::Result<WorkerRef> {
        if let Some(worker) = self.take(size) {
            return Ok(worker);
        }
        stack::tell_overflows(tell_overflow);
        Worker::start(size, entry)
    }

    fn take(&self, size: usize) -> Option<WorkerRef> {
        let mut classes = self.0.borrow_mut();
        let class = classes.iter_mut().find(|(class, _)| *class == size);
        class.and_then(|(_, idle)| idle.pop())
    }

    pub(super) fn give(&self, worker: WorkerRef) {
        let mut classes = self.0.borrow_mut();
        match classes
            .iter_mut()
            .find(|(class, _)| *class == worker.size())
        {
            Some((_, idle)) => idle.push(worker),
            None => classes.push((worker.size(), vec![worker])),
        }
    }

    pub(super) fn take_all(&self) -> impl Iterator<Item = WorkerRef> + use<> {
        self.0.take().into_iter().flat_map(|(_, idle)| idle)
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
    let worker = record.worker.get();
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
    ) -> io::Result<WorkerRef> {
        let worker = self.sides.take_or_start(size, entry)?;
        self.errand.set(Some(errand));
        Ok(worker)
    }

    /// The errand of the worker that has just been given one.
    pub(crate) fn take_errand(&self) -> Option<Rc<dyn Errand<HubRef>>> {
        self.errand.take()
    }

    /// The worker's errand has ended.
    pub(crate) fn give_side(&self, worker: WorkerRef) {
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

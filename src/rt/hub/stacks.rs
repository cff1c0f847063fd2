//! Stacks that a hub keeps, and those that lie beside its greenlets' own.

use super::{Hub, HubRef, WorkerRef};
use crate::rt::coroutine::{Entry, Errand, Worker, Yielder};
use std::cell::RefCell;
use std::io;
use std::rc::Rc;

/// Workers that have nothing to run, by the size of their stacks: last in, first out.
/// There are few sizes.
#[derive(Default)]
pub(super) struct Stacks(RefCell<Vec<(usize, Vec<WorkerRef>)>>);

impl Stacks {
    pub(super) fn take(&self, size: usize) -> Option<WorkerRef> {
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

/// What `wait/side.rs` needs of the hub.
impl Hub {
    /// A worker for an errand, which waits for it in the hub. `entry` is the same for all.
    pub(crate) fn take_side(
        &self,
        size: usize,
        entry: Entry<HubRef>,
        errand: Rc<dyn Errand<HubRef>>,
    ) -> io::Result<WorkerRef> {
        let pooled = self.sides.take(size);
        let worker = pooled.map_or_else(|| Worker::start(size, entry), Ok)?;
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

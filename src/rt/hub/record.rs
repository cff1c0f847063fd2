//! The record of one greenlet, or of the root.

use super::{HubRef, RecordRef};
use crate::rt::coroutine::{self, JobSlot, Leaked, Origin, Worker, Yielder};
use crate::rt::inbox::{Inbox, Waiter};
use crate::rt::sync::Arc;
use crate::rt::task::{Name, Task};
use crate::rt::timers::TimerId;
use std::cell::{Cell, RefCell};
use std::io;
use std::panic::Location;
use std::time::Instant;

/// How far a record's greenlet is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Life {
    Free,
    /// Spawned, its delay not over.
    Delayed,
    /// In the ready queue for its first turn.
    Unstarted,
    Started,
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

/// One greenlet, or the root.
#[repr(C)] // What each switch touches comes first, on neighbouring cache lines.
pub(crate) struct Record {
    pub(super) next: Cell<Option<RecordRef>>,
    /// The one before it in the ready queue, if that is not its head.
    pub(super) previous: Cell<Option<RecordRef>>,
    pub(super) worker: Cell<Option<&'static Worker<HubRef>>>,
    pub(super) yielder: Cell<Option<Yielder<HubRef>>>,
    /// While it waits for a descriptor: an address in the frame of the call that waits. 0
    /// otherwise.
    pub(super) parked_at: Cell<usize>,
    pub(crate) waiter: Waiter,
    /// The timer of the wait, or of the delayed start.
    pub(super) timer: Cell<Option<TimerId>>,
    pub(crate) task: Task,
    pub(super) index: usize,
    pub(super) id: Cell<u64>,
    pub(super) life: Cell<Life>,
    pub(super) job: JobSlot,
    pub(super) no_stack: Cell<Option<io::Error>>,
    pub(super) stack_size: Cell<usize>,
    pub(super) name: RefCell<Option<Name>>,
    /// Not the root's.
    pub(super) birth: Cell<Option<Birth>>,
    pub(super) origin: Origin<Record>,
}

impl Record {
    pub(super) fn new(index: usize, inbox: &Arc<Inbox>) -> RecordRef {
        // Its timers' keys have no more.
        assert!(u32::try_from(index).is_ok(), "2^32 greenlets of one hub");
        coroutine::leak(Record {
            next: Cell::new(None),
            previous: Cell::new(None),
            worker: Cell::new(None),
            yielder: Cell::new(None),
            parked_at: Cell::new(0),
            waiter: Waiter::of_record(inbox, index),
            task: Task::default(),
            index,
            id: Cell::new(0),
            life: Cell::new(Life::Free),
            job: Cell::new(None),
            no_stack: Cell::new(None),
            stack_size: Cell::new(0),
            name: RefCell::new(None),
            birth: Cell::new(None),
            timer: Cell::new(None),
            origin: Origin::new(),
        })
    }

    /// It is the next to run: has the caches fetch what it will touch first, if that is likely
    /// to be far away. It would be read line after line, each behind a miss; here all at once,
    /// while another greenlet runs. Far away is who has waited for a descriptor, and in a
    /// crowd, everybody. With 2,000 busy connections a request took 1.1 us of user time without
    /// this and 0.7 with it. Elsewhere a switch is not to be made slower.
    #[inline]
    pub(super) fn prefetch(&self, crowded: bool) {
        let frame = self.parked_at.get();
        if frame != 0 || crowded {
            if let Some(worker) = self.worker.get() {
                let top = std::ptr::from_ref(worker).addr();
                if frame != 0 {
                    coroutine::prefetch(top, 1);
                    // What is called from that frame lies below it, who has called it above.
                    coroutine::prefetch(frame.wrapping_sub(7 * 64), 21);
                } else {
                    // The worker lies at the top of its stack, above the frames.
                    coroutine::prefetch(top.wrapping_sub(8 * 64), 10);
                }
            }
            // The first line is here: it has just been read.
            coroutine::prefetch(std::ptr::from_ref(self).addr() + 64, 4);
        }
        // Where this reads first when it is that one's turn.
        if let Some(next) = self.next.get() {
            coroutine::prefetch(std::ptr::from_ref(next).addr(), 1);
        }
    }

    pub(crate) fn id(&self) -> u64 {
        self.id.get()
    }

    pub(crate) fn index(&self) -> usize {
        self.index
    }

    /// Where it comes from; `None` for the root.
    pub(crate) fn birth(&self) -> Option<Birth> {
        self.birth.get()
    }

    pub(crate) fn name(&self) -> Option<Name> {
        self.name.borrow().clone()
    }
}

impl Leaked for Record {
    fn origin(&self) -> &Origin<Self> {
        &self.origin
    }
}

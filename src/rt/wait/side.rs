//! A stack beside that of the greenlet, root or thread that runs: a generator's body has one.
//!
//! Whoever drives the generator changes over to that stack and back, and stays who it is:
//! the record, and with it kills, frames and locals, is the driver's all the time. A
//! change is a switch of stacks as any, but the hub has no part in it, and nobody else
//! runs in between.
//!
//! # A wait on it
//!
//! A greenlet leaves the stack that it runs on by the way out in its record, which is that
//! of the side stack while it runs there. So a wait of the body comes out in
//! [`drive`](Side::drive), on the driver's own stack, which it leaves as well, by its own
//! way out: to the hub, or to the next driver if it is the body of a generator in turn.
//! The hub resumes the greenlet where it has left to the hub, and each driver goes back to
//! its body. Root and thread wait where they are, since they leave no stack to wait: the
//! root's loop runs on the side stack then.
//!
//! # What must be even
//!
//! Frames (of time limits, scopes, shields) and bans on switching lie in the driver's task,
//! in order of opening. What the body has opened must be closed when it goes back, or it
//! would bind the driver, or be closed by somebody else. So must an unwind be over, since
//! the thread counts them. [`leave`](Side::leave) sees to both.

use crate::rt::coroutine::{Errand, Worker, Yielder};
use crate::rt::hub::Hub;
use crate::rt::park::{self, Party};
use crate::rt::sync::panicking;
use crate::rt::task::{Depth, Site};
use std::cell::Cell;
use std::io;
use std::rc::Rc;

/// See the module.
pub(crate) struct Side {
    /// From the begin of the errand to its end.
    worker: Cell<Option<&'static Worker<&'static Hub>>>,
    yielder: Cell<Option<Yielder<&'static Hub>>>,
    /// The errand goes back to its driver; otherwise, it waits.
    back: Cell<bool>,
    /// How deep the driver was when it came.
    depth: Cell<Depth>,
}

impl Side {
    pub(crate) fn new() -> Self {
        Side {
            worker: Cell::new(None),
            yielder: Cell::new(None),
            back: Cell::new(false),
            depth: Cell::new(Depth::default()),
        }
    }

    /// Runs the errand on a stack of that size until it leaves or ends. The errand calls
    /// [`arrive`](Side::arrive) first.
    pub(crate) fn start(
        &self,
        size: usize,
        errand: Rc<dyn Errand<&'static Hub>>,
    ) -> io::Result<()> {
        let worker = park::hub().take_side(size, enter, errand)?;
        self.worker.set(Some(worker));
        self.drive();
        Ok(())
    }

    /// On the new stack: this is the way out of it.
    pub(crate) fn arrive(&self, yielder: Yielder<&'static Hub>) {
        self.yielder.set(Some(yielder));
        let hub = park::hub();
        if hub.way_out().is_some() {
            hub.set_way_out(yielder);
        }
    }

    /// On the side stack: the errand is over. It returns next.
    pub(crate) fn depart(&self) {
        self.yielder.set(None);
        self.back.set(true);
    }

    /// Changes over to the side stack, until the errand leaves or ends. The errand must be
    /// suspended.
    pub(crate) fn drive(&self) {
        let worker = self.worker.get().expect("an errand that has begun");
        let party = Party::current();
        self.depth.set(party.task().depth());
        // The root has none, and its hub may be another one afterwards.
        let own = park::hub().way_out();
        if let (Some(_), Some(yielder)) = (own, self.yielder.get()) {
            park::hub().set_way_out(yielder);
        }
        loop {
            let hub = worker.resume().expect("it ends only when retired");
            if self.back.take() {
                break;
            }
            let own = own.expect("the root waits on the side stack");
            // SAFETY: it was the running greenlet's way out when it was on this stack, and
            // is on this stack again.
            unsafe { own.suspend(hub) };
        }
        if let Some(own) = own {
            park::hub().set_way_out(own);
        }
        if self.yielder.get().is_none() {
            self.worker.set(None);
            park::hub().give_side(worker);
        }
    }

    /// On the side stack: goes back to the driver; returns when it is driven again.
    ///
    /// # Panics
    ///
    /// Elsewhere, and inside what the errand has opened and not closed. While panicking it
    /// ends the process.
    #[track_caller]
    pub(crate) fn leave(&self, site: &Site) {
        let worker = self.worker.get().expect("an errand that has begun");
        assert!(
            worker.is_underfoot(),
            "{} at {} outside of its generator's body",
            site.operation,
            site.place
        );
        if panicking() {
            park::abort_panicking(site);
        }
        assert!(
            Party::current().task().depth() == self.depth.get(),
            "{} at {} inside a scope, run, time limit, shield or no_switch of its generator's body",
            site.operation,
            site.place
        );
        let yielder = self.yielder.get().expect("an errand that has begun");
        self.back.set(true);
        // SAFETY: the caller runs on the stack that this is the way out of: just asserted.
        unsafe { yielder.suspend(park::hub()) };
    }
}

/// Runs on a side stack: one errand, from start to end.
fn enter(yielder: Yielder<&'static Hub>) -> Option<&'static Hub> {
    // No hub: it has ended and retires its workers.
    let errand = Hub::get()?.take_errand()?;
    errand.run(yielder);
    // The driver has it too, so nothing is dropped here.
    drop(errand);
    Some(park::hub())
}

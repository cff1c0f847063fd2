//! What whoever calls has: its hub, its number, its frames, its locals, and whether it may wait.

use super::Party;
use super::thread::Thread;
use crate::rt::clock::Limit;
use crate::rt::hub::{Hub, next_id};
use crate::rt::sync::{panicking, thread_cell, thread_lazy};
use crate::rt::task::{FrameState, Legacy, Locals};
use std::any::Any;
use std::cell::Cell;
use std::rc::Rc;

/// The thread's hub, made if need be.
pub(crate) fn hub() -> &'static Hub {
    Hub::get().unwrap_or_else(|| Hub::create(&Thread::current().task))
}

/// Ends the thread's hub, if it has one; scopes that are open at the root live on.
pub(crate) fn close_hub() {
    if let Some(hub) = Hub::get() {
        hub.hand_frames_back(&Thread::current().task);
    }
    Hub::close();
}

thread_cell! {
    /// The number of the thread itself, from the greenlets' range; 0 until it is asked for.
    static THREAD_ID: Cell<usize> = Cell::new(0);
}

/// The greatest number that [`id`] gives.
pub(crate) const MAX_ID: usize = usize::MAX >> 3;

/// Who runs, as a number that no one else ever has: a greenlet's id, or the thread's own, which
/// is its root's too and stays when the thread gets or loses its hub.
#[inline]
pub(crate) fn id() -> usize {
    match Hub::get().map(|hub| hub.current().id()) {
        // The root has none.
        None | Some(0) => match THREAD_ID.with(Cell::get) {
            0 => new_thread_id(),
            id => id,
        },
        Some(id) => number(id),
    }
}

#[inline]
fn number(id: u64) -> usize {
    if usize::BITS < 64 {
        assert!(id <= MAX_ID as u64, "more greenlets than numbers for them");
    }
    id as usize
}

#[cold]
fn new_thread_id() -> usize {
    let id = number(next_id());
    THREAD_ID.with(|cell| cell.set(id));
    id
}

/// Whether that [`id`] is this thread's, or of a greenlet of its hub.
pub(crate) fn is_here(id: usize) -> bool {
    id == THREAD_ID.with(Cell::get) || Hub::get().is_some_and(|hub| hub.knows(id as u64))
}

/// Opens a frame of whoever runs, that fires at the limit, if ever.
#[inline]
pub(crate) fn open_frame(shield: bool, limit: Limit) -> u64 {
    match Hub::get() {
        Some(hub) => hub.current().task.open(shield, limit),
        None => open_threads_frame(shield, limit),
    }
}

#[cold]
fn open_threads_frame(shield: bool, limit: Limit) -> u64 {
    let party = Party::Thread(Thread::current());
    party.task().open(shield, party.noted(limit))
}

/// Closes a frame of whoever runs.
#[inline(never)]
pub(crate) fn close_frame(id: u64) -> Option<FrameState> {
    let Some(hub) = Hub::get() else {
        return close_threads_frame(id);
    };
    let (state, timer) = hub.current().task.close(id)?;
    hub.disarm_frame(timer);
    Some(state)
}

#[cold]
fn close_threads_frame(id: u64) -> Option<FrameState> {
    let (state, _) = Thread::current().task.close(id)?;
    Some(state)
}

/// While this lives, kills and scopes opened outside of it wait.
pub(crate) struct Mask(u64);

impl Mask {
    pub(crate) fn new() -> Self {
        Mask(open_frame(true, Limit::Never))
    }
}

impl Drop for Mask {
    fn drop(&mut self) {
        close_frame(self.0);
    }
}

thread_lazy! {
    /// The locals of the thread itself: of its root, and before there is a hub.
    static THREAD_LOCALS: Locals = Locals::default();
}

/// The locals of the greenlet that runs, if one does.
#[inline(always)]
fn greenlets_locals() -> Option<&'static Locals> {
    let hub = Hub::get()?;
    let record = hub.current();
    (!hub.is_root(record)).then_some(&record.task.locals)
}

/// The locals of whoever runs. While a thread's own are torn down it has none.
pub(crate) fn locals<R>(f: impl FnOnce(&Locals) -> R) -> R {
    match greenlets_locals() {
        Some(locals) => f(locals),
        None => thread_locals(f),
    }
}

/// The value of a local of whoever runs.
#[inline(always)]
pub(crate) fn local(key: usize) -> Option<Rc<dyn Any>> {
    match greenlets_locals() {
        Some(locals) => locals.get(key),
        None => thread_locals(|locals| locals.get(key)),
    }
}

#[cold]
#[inline(never)]
fn thread_locals<R>(f: impl FnOnce(&Locals) -> R) -> R {
    let mut f = Some(f);
    THREAD_LOCALS
        .try_with(|locals| f.take().expect("called once")(locals))
        .unwrap_or_else(|_| f.take().expect("not called")(&Locals::default()))
}

/// What a greenlet inherits that is spawned now, here. The copies are made by the program's
/// own code, which must not wait, since a spawn does not switch.
#[inline]
pub(crate) fn legacy() -> Option<Box<Legacy>> {
    if !Legacy::exists() {
        return None;
    }
    let lent = locals(Locals::legacy);
    Some(Box::new(no_switch(|| lent.copied())))
}

/// Whether a wait of the caller's is neither refused nor forbidden.
#[inline]
pub(crate) fn may_wait() -> bool {
    !panicking()
        && match Hub::get() {
            Some(hub) => hub.current().task.may_switch(),
            None => Thread::current().task.may_switch(),
        }
}

/// One more thing was done without a switch; true if the turn's budget is spent and others
/// can be let run.
#[inline]
pub(crate) fn has_spent_its_turn() -> bool {
    Hub::get().is_some_and(|hub| hub.checkpoint_yields() && may_wait())
}

/// Runs `f`, in which a wait that would have to suspend panics.
pub(crate) fn no_switch<R>(f: impl FnOnce() -> R) -> R {
    struct Allow;
    impl Drop for Allow {
        fn drop(&mut self) {
            // Asked anew: the thread may have got its hub in `f`.
            Party::current().task().allow_switch();
        }
    }
    Party::current().task().forbid_switch();
    let _allow = Allow;
    f()
}

/// While this lives its hub has one more that waits for a descriptor, so that nobody
/// takes it for a deadlock.
#[cfg(all(unix, feature = "net"))]
pub(crate) struct PendingIo(&'static Hub);

#[cfg(all(unix, feature = "net"))]
impl PendingIo {
    /// On the calling thread's hub, made if need be.
    ///
    /// # Errors
    ///
    /// The thread's locals are being destroyed.
    #[inline(always)]
    pub(crate) fn begin() -> std::io::Result<Self> {
        let hub = match Hub::get() {
            Some(hub) => hub,
            None => PendingIo::first_hub()?,
        };
        hub.begin_pending();
        Ok(PendingIo(hub))
    }

    #[cold]
    fn first_hub() -> std::io::Result<&'static Hub> {
        if crate::rt::hub::thread_has_ended() {
            return Err(std::io::Error::other(
                "no wait for a socket while the thread's locals are destroyed",
            ));
        }
        Ok(hub())
    }

    /// As [`Hub::has_driver`].
    #[inline]
    pub(crate) fn has_driver(&self, address: usize) -> bool {
        self.0.has_driver(address)
    }

    /// As [`Hub::with_driver`].
    pub(crate) fn with_driver<R>(
        &self,
        f: impl FnOnce(&std::sync::Arc<crate::rt::poller::Driver>) -> R,
    ) -> std::io::Result<R> {
        self.0.with_driver(f)
    }
}

#[cfg(all(unix, feature = "net"))]
impl Drop for PendingIo {
    #[inline]
    fn drop(&mut self) {
        self.0.end_pending();
    }
}

//! What the process does about panics of greenlets that nobody looks at.

use crate::rt::park;
use crate::rt::report::contain;
use crate::statistics::Runner;
use std::any::Any;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

/// A panic of a greenlet whose outcome was dropped unread.
///
/// # Examples
///
/// See [`set_unjoined_panic_hook`].
#[derive(Clone, Copy)]
#[non_exhaustive]
pub struct UnjoinedPanic<'a> {
    /// Whose it was.
    pub runner: &'a Runner,
    /// Its message.
    pub message: &'a str,
    /// What it carried.
    pub payload: &'a (dyn Any + Send),
}

impl std::panic::UnwindSafe for UnjoinedPanic<'_> {}
impl std::panic::RefUnwindSafe for UnjoinedPanic<'_> {}

impl fmt::Display for UnjoinedPanic<'_> {
    /// Who, and the message.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "greenlet {} panicked: {}", self.runner, self.message)
    }
}

impl fmt::Debug for UnjoinedPanic<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UnjoinedPanic")
            .field("runner", self.runner)
            .field("message", &self.message)
            .finish_non_exhaustive()
    }
}

type Hook = dyn Fn(&UnjoinedPanic<'_>) + Send + Sync;

static HOOK: Mutex<Option<Arc<Hook>>> = Mutex::new(None);

fn exchange(new: Option<Arc<Hook>>) -> Option<Arc<Hook>> {
    // No user code runs under it.
    std::mem::replace(
        &mut *HOOK.lock().unwrap_or_else(PoisonError::into_inner),
        new,
    )
}

/// Has the process call `hook` for each greenlet that has panicked when its outcome is dropped
/// and nobody has read it, instead of the one that was set before.
///
/// At the panic itself std's own hook has run already, as for a thread, and by default that is
/// all: who drops a [`Greenlet`](crate::Greenlet) is told nothing. This one is for those panics
/// alone that are lost: to count them, or to end the process. Read is what was joined, by whatever
/// means, what [`error`](crate::Greenlet::error) has lent, what a
/// [`link`](crate::Greenlet::link) was called with, and what a [`scope`](crate::scope()) raises
/// or has given up for an earlier one; of a [`map`](crate::Pool::map) the failure that it returns.
/// Kills are no panics.
///
/// If the handle is gone the hook runs at the greenlet's end on its stack, after its locals are
/// dropped and its links have run; else where the handle is dropped, on whatever thread that is.
/// It is called under no lock, and may set another hook. It must not wait: that panics. Its panics
/// are caught; std's hook tells of them.
///
/// # Examples
///
/// ```
/// use std::sync::atomic::{AtomicUsize, Ordering};
///
/// static LOST: AtomicUsize = AtomicUsize::new(0);
/// greenlet::set_unjoined_panic_hook(|panic| {
///     LOST.fetch_add(1, Ordering::Relaxed);
///     eprintln!("{panic}"); // greenlet #1, spawned at src/main.rs:8:6 panicked: oops
/// });
/// drop(greenlet::spawn(|| panic!("oops")));
/// greenlet::yield_now();
/// assert!(LOST.load(Ordering::Relaxed) >= 1);
/// # greenlet::clear_unjoined_panic_hook();
/// ```
pub fn set_unjoined_panic_hook(hook: impl Fn(&UnjoinedPanic<'_>) + Send + Sync + 'static) {
    let before = exchange(Some(Arc::new(hook)));
    drop(before);
}

/// Takes the hook away that [`set_unjoined_panic_hook`] has set, if one was.
///
/// # Examples
///
/// ```
/// greenlet::clear_unjoined_panic_hook();
/// ```
pub fn clear_unjoined_panic_hook() {
    drop(exchange(None));
}

/// Calls the hook, if there is one.
#[cold]
pub(crate) fn tell(runner: &Runner, message: &str, payload: &(dyn Any + Send)) {
    let hook = HOOK.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let Some(hook) = hook else { return };
    let panic = UnjoinedPanic {
        runner,
        message,
        payload,
    };
    // The hook too may be dropped here, if there is another one meanwhile.
    contain(|| park::no_switch(|| drop((hook(&panic), hook))));
}

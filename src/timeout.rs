//! Timeout scopes: a closure that must be done in time.

use crate::error::Elapsed;
use crate::rt::clock::Limit;
use crate::rt::coroutine::{Unwind, can_unwind};
use crate::rt::park::{self, Owner, Party};
use crate::rt::task::FrameState;
use std::cell::Cell;
use std::fmt;
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, RefUnwindSafe, UnwindSafe, catch_unwind, resume_unwind};
use std::time::{Duration, Instant};

/// Runs `f` for at most `limit`.
///
/// When the time is over, the wait that `f` is in, or its next one, unwinds
/// silently to this scope, which returns [`Elapsed`]; destructors run. A
/// computation that never waits is not interrupted (see
/// [`checkpoint`](crate::checkpoint)). Scopes nest, and each catches only its own
/// expiry; when several have expired the outermost is raised.
///
/// # Timeouts and kills
///
/// If `f` returns before the expiry was raised, its value is returned, however
/// late it is: what was handed over is not lost. An expiry that `f` swallows
/// (`catch_unwind`) is not raised again, but the scope still says [`Elapsed`].
///
/// # Errors
///
/// [`Elapsed`] if the time was over first.
///
/// # Panics
///
/// With the panic of `f`. In a build with `panic = "abort"`.
///
/// # Examples
///
/// ```
/// use greenlet::sync::Event;
/// use std::time::Duration;
///
/// let never = Event::new();
/// assert!(greenlet::timeout(Duration::from_millis(1), || never.wait()).is_err());
/// assert_eq!(greenlet::timeout(Duration::from_secs(9), || 5), Ok(5));
/// ```
pub fn timeout<R>(limit: Duration, f: impl FnOnce() -> R) -> Result<R, Elapsed> {
    Timeout::after(limit).run(|_| f())
}

/// A timeout scope with a handle to move or cancel it. See [`timeout`].
///
/// # Examples
///
/// ```
/// use greenlet::Timeout;
/// use std::time::Duration;
///
/// let result = Timeout::after(Duration::from_millis(5)).run(|t| {
///     for _ in 0..3 {
///         greenlet::sleep(Duration::from_millis(3));
///         t.reset(Duration::from_millis(5)); // progress: start anew
///     }
/// });
/// assert!(result.is_ok());
/// ```
#[derive(Clone, Copy, Debug)]
#[must_use = "a Timeout does nothing until it runs a closure"]
pub struct Timeout {
    limit: Limit,
}

impl Timeout {
    /// Expires `limit` after its closure starts. [`Duration::MAX`] is never.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// assert_eq!(greenlet::Timeout::after(Duration::ZERO).run(|_| 1), Ok(1)); // never waited
    /// ```
    pub fn after(limit: Duration) -> Self {
        Timeout {
            limit: Limit::After(limit),
        }
    }

    /// Expires at that instant of [`now`](crate::now).
    ///
    /// # Examples
    ///
    /// ```
    /// let soon = greenlet::now() + std::time::Duration::from_millis(1);
    /// assert!(greenlet::Timeout::at(soon).run(|_| greenlet::sync::Event::new().wait()).is_err());
    /// ```
    pub fn at(deadline: Instant) -> Self {
        Timeout {
            limit: Limit::At(deadline),
        }
    }

    /// Runs `f` with the scope's handle.
    ///
    /// # Errors
    ///
    /// [`Elapsed`] if the time was over first. See [`timeout`].
    ///
    /// # Panics
    ///
    /// As [`timeout`].
    ///
    /// # Examples
    ///
    /// See [`Timeout`].
    pub fn run<R>(self, f: impl FnOnce(&TimeoutHandle) -> R) -> Result<R, Elapsed> {
        assert!(can_unwind(), "timeout scopes need panic = \"unwind\"");
        let handle = TimeoutHandle {
            frame: park::open_frame(false, self.limit),
            owner: Party::current().owner(),
            raised: Cell::new(false),
            here: PhantomData,
        };
        let result = catch_unwind(AssertUnwindSafe(|| f(&handle)));
        let state = park::close_frame(handle.frame);
        let raised = handle.raised.get() || state == Some(FrameState::Raised);
        match result {
            Ok(_) if raised => Err(Elapsed),
            Ok(value) => Ok(value),
            Err(payload) if Unwind::of(&*payload) == Some(Unwind::Frame(handle.frame)) => {
                Err(Elapsed)
            }
            Err(payload) => resume_unwind(payload),
        }
    }
}

/// The handle of a running [`Timeout`]. It stays on its thread; a scoped greenlet
/// may borrow it, and acts on the scope that it belongs to.
///
/// # Examples
///
/// See [`Timeout`].
pub struct TimeoutHandle {
    frame: u64,
    /// Whose frame it is: a scoped greenlet may borrow the handle.
    owner: Owner,
    /// Raised once, before a later `reset`.
    raised: Cell<bool>,
    here: PhantomData<*mut ()>,
}

impl UnwindSafe for TimeoutHandle {}
impl RefUnwindSafe for TimeoutHandle {}

impl TimeoutHandle {
    /// Starts anew: expires `limit` from now. An expiry that was pending is
    /// forgotten, unless it has ended a wait of the scope that has yet to raise
    /// it: then it is too late, and the scope expires, if no kill and no outer
    /// scope's expiry goes before it.
    ///
    /// # Examples
    ///
    /// See [`Timeout`].
    pub fn reset(&self, limit: Duration) {
        self.change(FrameState::Armed, Limit::After(limit));
    }

    /// Never expires any more, unless it is reset. Too late when
    /// [`reset`](TimeoutHandle::reset) is.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let kept = greenlet::Timeout::after(Duration::from_millis(1)).run(|t| {
    ///     t.cancel();
    ///     greenlet::sleep(Duration::from_millis(3));
    /// });
    /// assert!(kept.is_ok());
    /// ```
    pub fn cancel(&self) {
        self.change(FrameState::Cancelled, Limit::Never);
    }

    /// True while it can still expire: neither cancelled nor fired.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// greenlet::Timeout::after(Duration::from_secs(1)).run(|t| {
    ///     assert!(t.is_pending());
    ///     t.cancel();
    ///     assert!(!t.is_pending());
    /// }).unwrap();
    /// ```
    pub fn is_pending(&self) -> bool {
        let party = self.owner.party();
        party.task().frame_state(self.frame) == Some(FrameState::Armed)
    }

    fn change(&self, state: FrameState, limit: Limit) {
        let was = self.owner.party().reset_frame(self.frame, state, limit);
        if was == Some(FrameState::Raised) {
            self.raised.set(true);
        }
    }
}

impl fmt::Debug for TimeoutHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TimeoutHandle")
            .field("pending", &self.is_pending())
            .finish()
    }
}

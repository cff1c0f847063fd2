//! Every public error of the crate root. A leaf: all may use it.

use crate::rt::coroutine::Unwind;
use crate::statistics::Runner;
use crate::unjoined;
use std::any::Any;
use std::borrow::Cow;
use std::fmt;
use std::io;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Why a greenlet has no value.
///
/// # Examples
///
/// ```
/// let g = greenlet::spawn(|| { greenlet::sleep(std::time::Duration::from_secs(9)); });
/// g.kill();
/// assert!(g.join().unwrap_err().is_killed());
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum JoinError {
    /// Its closure panicked. Displays as the greenlet's name and the message.
    #[non_exhaustive]
    Panicked {
        /// The greenlet's name, or its number.
        greenlet: String,
        /// What the panic carried.
        payload: PanicPayload,
    },
    /// It was killed before its closure returned.
    Killed,
    /// No stack could be had for its first turn; its closure never ran.
    NoStack(io::Error),
    /// Its hub, or its hub's thread, ended first.
    HubClosed,
}

impl UnwindSafe for JoinError {}
impl RefUnwindSafe for JoinError {}

impl JoinError {
    /// The error for what came out of a greenlet's body.
    pub(crate) fn from_unwind(
        greenlet: impl FnOnce() -> String,
        runner: impl FnOnce() -> Runner,
        payload: Box<dyn Any + Send>,
    ) -> Self {
        match Unwind::of(&*payload) {
            Some(Unwind::Kill) => JoinError::Killed,
            // A frame's payload gets here only if the program kept it and raised
            // it again outside of the frame.
            _ => JoinError::Panicked {
                greenlet: greenlet(),
                payload: PanicPayload::new(runner(), payload),
            },
        }
    }

    /// True if the greenlet was killed.
    ///
    /// # Examples
    ///
    /// ```
    /// let g = greenlet::spawn(|| 1);
    /// g.kill(); // before its first turn: it never runs
    /// assert!(g.join().unwrap_err().is_killed());
    /// ```
    pub fn is_killed(&self) -> bool {
        matches!(self, JoinError::Killed)
    }

    /// True if the greenlet panicked.
    ///
    /// # Examples
    ///
    /// ```
    /// let g = greenlet::spawn(|| panic!("oops"));
    /// assert!(g.join().unwrap_err().is_panic());
    /// ```
    pub fn is_panic(&self) -> bool {
        matches!(self, JoinError::Panicked { .. })
    }

    /// The payload of the panic, as [`std::thread::JoinHandle::join`] gives it.
    /// If a [`scope`](crate::scope()) has raised it already, its message.
    ///
    /// # Errors
    ///
    /// Gives the error back if it is not [`Panicked`](JoinError::Panicked).
    ///
    /// # Examples
    ///
    /// ```
    /// let g = greenlet::spawn(|| panic!("oops"));
    /// let payload = g.join().unwrap_err().into_panic().unwrap();
    /// assert_eq!(payload.downcast_ref(), Some(&"oops"));
    /// ```
    pub fn into_panic(self) -> Result<Box<dyn Any + Send>, JoinError> {
        match self {
            JoinError::Panicked { mut payload, .. } => Ok(payload.take().unwrap_or_else(|| {
                // As a panic's own payload would be.
                match std::mem::take(&mut payload.0.text) {
                    Cow::Borrowed(text) => Box::new(text),
                    Cow::Owned(text) => Box::new(text),
                }
            })),
            other => Err(other),
        }
    }

    /// Somebody has been told.
    #[cold]
    pub(crate) fn note_read(&self) {
        if let JoinError::Panicked { payload, .. } = self {
            payload.lock().unread = None;
        }
    }

    /// The payload, for the scope that is to raise it.
    pub(crate) fn take_payload(&self) -> Option<Box<dyn Any + Send>> {
        match self {
            JoinError::Panicked { payload, .. } => payload.take(),
            JoinError::NoStack(_) => Some(Box::new(self.to_string())),
            _ => None,
        }
    }
}

/// The payload of a panic, behind a lock so that a [`JoinError`] is `Sync`.
///
/// # Examples
///
/// ```
/// use greenlet::JoinError;
///
/// let g = greenlet::spawn(|| panic!("oops {}", 1));
/// match g.join().unwrap_err() {
///     JoinError::Panicked { payload, .. } => assert_eq!(payload.to_string(), "oops 1"),
///     other => panic!("{other}"),
/// }
/// ```
pub struct PanicPayload(Box<Panic>);

/// Apart, since every outcome has room for one, and is moved about.
struct Panic {
    /// Kept apart, since a scope may take the payload to raise it.
    text: Cow<'static, str>,
    held: Mutex<Held>,
}

struct Held {
    payload: Option<Box<dyn Any + Send>>,
    /// Whose it is, until somebody has been told.
    unread: Option<Runner>,
}

impl PanicPayload {
    fn new(runner: Runner, payload: Box<dyn Any + Send>) -> Self {
        let text = if let Some(text) = payload.downcast_ref::<&'static str>() {
            Cow::Borrowed(*text)
        } else if let Some(text) = payload.downcast_ref::<String>() {
            Cow::Owned(text.clone())
        } else {
            Cow::Borrowed("a value that is not a message")
        };
        PanicPayload(Box::new(Panic {
            text,
            held: Mutex::new(Held {
                payload: Some(payload),
                unread: Some(runner),
            }),
        }))
    }

    fn take(&self) -> Option<Box<dyn Any + Send>> {
        self.lock().payload.take()
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        self.0.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for PanicPayload {
    fn drop(&mut self) {
        let Panic { text, held } = &mut *self.0;
        let held = held.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let (Some(runner), Some(payload)) = (&held.unread, &held.payload) {
            unjoined::tell(runner, text, &**payload);
        }
    }
}

impl fmt::Display for PanicPayload {
    /// The message of an ordinary panic.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.text)
    }
}

impl fmt::Debug for PanicPayload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PanicPayload({self})")
    }
}

impl fmt::Display for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            JoinError::Panicked { greenlet, payload } => {
                write!(f, "greenlet '{greenlet}' panicked: {payload}")
            }
            JoinError::Killed => f.write_str("the greenlet was killed"),
            JoinError::NoStack(error) => write!(f, "no stack for the greenlet: {error}"),
            JoinError::HubClosed => f.write_str("the greenlet's hub has ended"),
        }
    }
}

impl std::error::Error for JoinError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            JoinError::NoStack(error) => Some(error),
            _ => None,
        }
    }
}

/// A [`timeout`](crate::timeout()) scope's time was over before its closure was.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
///
/// let late = greenlet::timeout(Duration::from_millis(1), || greenlet::sleep(Duration::from_secs(9)));
/// assert_eq!(late.unwrap_err().to_string(), "timed out");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Elapsed;

impl fmt::Display for Elapsed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("timed out")
    }
}

impl std::error::Error for Elapsed {}

impl From<Elapsed> for io::Error {
    fn from(_: Elapsed) -> Self {
        io::ErrorKind::TimedOut.into()
    }
}

//! What the primitives say if they say no, of both flavours.

use std::error::Error;
use std::fmt;
use std::sync::Arc;

/// The error of an [`AsyncResult`](super::AsyncResult) that names none: any error, shared.
pub type BoxError = Arc<dyn Error + Send + Sync>;

/// Why an item was not put; it comes back inside.
///
/// # Examples
///
/// ```
/// use greenlet::sync::{PutError, Queue};
///
/// let q = Queue::bounded(1);
/// q.put_nowait("a").unwrap();
/// assert_eq!(q.put_nowait("b"), Err(PutError::Full("b")));
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum PutError<T> {
    /// No room, in time.
    Full(T),
    /// The queue was shut down.
    ShutDown(T),
}

impl<T> PutError<T> {
    /// The item.
    ///
    /// # Examples
    ///
    /// ```
    /// assert_eq!(greenlet::sync::PutError::Full(3).into_inner(), 3);
    /// ```
    pub fn into_inner(self) -> T {
        match self {
            PutError::Full(item) | PutError::ShutDown(item) => item,
        }
    }
}

impl<T> fmt::Debug for PutError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            PutError::Full(_) => "Full(..)",
            PutError::ShutDown(_) => "ShutDown(..)",
        })
    }
}

impl<T> fmt::Display for PutError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            PutError::Full(_) => "queue is full",
            PutError::ShutDown(_) => "queue is shut down",
        })
    }
}

impl<T> Error for PutError<T> {}

/// Why no item was got.
///
/// # Examples
///
/// ```
/// use greenlet::sync::{GetError, Queue};
/// assert_eq!(Queue::<u8>::unbounded().get_nowait(), Err(GetError::Empty));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GetError {
    /// No item, in time.
    Empty,
    /// The queue was shut down, and no item is left.
    ShutDown,
}

impl fmt::Display for GetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            GetError::Empty => "queue is empty",
            GetError::ShutDown => "queue is shut down",
        })
    }
}

impl Error for GetError {}

/// A [`BoundedSemaphore`](super::BoundedSemaphore) was released more often than acquired. Nothing changed.
///
/// # Examples
///
/// ```
/// use greenlet::sync::{BoundedSemaphore, ReleaseError};
/// assert_eq!(BoundedSemaphore::new(1).release(), Err(ReleaseError));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReleaseError;

impl fmt::Display for ReleaseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("semaphore released over its bound")
    }
}

impl Error for ReleaseError {}

//! A value or an error that is set once and waited for by many.

use super::Flavour;
use super::errors::BoxError;
use super::statistics::AsyncResultStatistics;
use crate::rt::clock::Limit;
use crate::rt::task::Site;
use crate::rt::wait::{Latch, Source};
use std::fmt;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::time::Duration;

/// A one-shot result: set once, with a value or an error, and read by any number
/// of waiters, who are woken in order of arrival.
///
/// # How it works
///
/// A write-once cell and a FIFO of waiters. Invariant: once it is ready nobody
/// waits, and the value never moves, so waiters borrow it.
///
/// # Examples
///
/// ```
#[doc = concat!("use ", here!(), "::AsyncResult;")]
/// use std::rc::Rc;
///
/// let answer = Rc::new(AsyncResult::<u32>::new());
/// let readers: Vec<_> = (0..3).map(|_| {
///     let answer = answer.clone();
///     greenlet::spawn(move || *answer.wait().unwrap())
/// }).collect();
/// answer.set(42).unwrap();
/// assert!(greenlet::join_all(readers).into_iter().all(|r| r.unwrap() == 42));
/// ```
pub struct AsyncResult<T, E = BoxError> {
    latch: Latch<Result<T, E>, (), Flavour>,
}

impl<T, E> UnwindSafe for AsyncResult<T, E> {}
impl<T, E> RefUnwindSafe for AsyncResult<T, E> {}

impl<T> AsyncResult<T> {
    crate::rt::sync::const_fn! {
        /// An unset result whose error, if any, is a [`BoxError`]. For another
        /// error type use `Default`.
        ///
        /// # Examples
        ///
        /// ```
        #[doc = concat!("use ", here!(), "::AsyncResult;")]
        ///
        /// let plain = AsyncResult::<u8>::new();
        /// let typed = AsyncResult::<u8, String>::default();
        /// assert!(!plain.is_ready() && !typed.is_ready());
        /// ```
        pub const fn new() -> Self {
            AsyncResult { latch: Latch::new() }
        }
    }
}

impl<T, E> Default for AsyncResult<T, E> {
    fn default() -> Self {
        AsyncResult {
            latch: Latch::new(),
        }
    }
}

impl<T, E> AsyncResult<T, E> {
    /// Whether a value or an error is set.
    ///
    /// # Examples
    ///
    /// ```
    #[doc = concat!("let r = ", here!(), "::AsyncResult::<u8>::new();")]
    /// r.set(1).unwrap();
    /// assert!(r.is_ready());
    /// ```
    pub fn is_ready(&self) -> bool {
        self.latch.get().is_some()
    }

    /// Whether it is set and how many wait, now.
    ///
    /// # Examples
    ///
    /// ```
    #[doc = concat!("let r = ", here!(), "::AsyncResult::<u8>::new();")]
    /// r.set(1).unwrap();
    /// assert!(r.statistics().ready);
    /// ```
    pub fn statistics(&self) -> AsyncResultStatistics {
        AsyncResultStatistics {
            waiting: self.latch.waiting(),
            ready: self.is_ready(),
        }
    }

    /// Whether a value is set.
    ///
    /// # Examples
    ///
    /// ```
    #[doc = concat!("let r = ", here!(), "::AsyncResult::<u8, &str>::default();")]
    /// r.set_error("no").unwrap();
    /// assert!(r.is_ready() && !r.is_successful());
    /// ```
    pub fn is_successful(&self) -> bool {
        self.value().is_some()
    }

    /// The value, if one is set.
    ///
    /// # Examples
    ///
    /// ```
    #[doc = concat!("let r = ", here!(), "::AsyncResult::<u8>::new();")]
    /// assert_eq!(r.value(), None);
    /// ```
    pub fn value(&self) -> Option<&T> {
        self.latch.get()?.as_ref().ok()
    }

    /// The error, if one is set.
    ///
    /// # Examples
    ///
    /// ```
    #[doc = concat!("let r = ", here!(), "::AsyncResult::<u8, &str>::default();")]
    /// r.set_error("no").unwrap();
    /// assert_eq!(r.error(), Some(&"no"));
    /// ```
    pub fn error(&self) -> Option<&E> {
        self.latch.get()?.as_ref().err()
    }

    /// A copy of what is set, without waiting; `None` if nothing is.
    ///
    /// # Examples
    ///
    /// ```
    #[doc = concat!("let r = ", here!(), "::AsyncResult::<u8, &str>::default();")]
    /// assert_eq!(r.get_nowait(), None);
    /// r.set(1).unwrap();
    /// assert_eq!(r.get_nowait(), Some(Ok(1)));
    /// ```
    #[must_use = "the result, if it is there"]
    pub fn get_nowait(&self) -> Option<Result<T, E>>
    where
        T: Clone,
        E: Clone,
    {
        self.latch.get().cloned()
    }

    /// Waits until it is set and borrows what is.
    ///
    /// # Timeouts and kills
    ///
    /// Either ends the wait by unwinding. While panicking it aborts if it would
    /// have to wait.
    ///
    /// # Errors
    ///
    /// The error that was set.
    ///
    /// # Examples
    ///
    /// ```
    #[doc = concat!("let r = ", here!(), "::AsyncResult::<u8, &str>::default();")]
    /// r.set(1).unwrap();
    /// assert_eq!(r.wait(), Ok(&1));
    /// ```
    #[inline(always)]
    #[track_caller]
    pub fn wait(&self) -> Result<&T, &E> {
        self.latch
            .wait(Site::here("AsyncResult::wait"), Limit::Never);
        self.set_by_now()
    }

    pub(crate) fn set_by_now(&self) -> Result<&T, &E> {
        self.latch.get().expect("waited for").as_ref()
    }

    /// Waits for at most `limit`; `None` if the time was over first, or while
    /// panicking.
    ///
    /// # Errors
    ///
    /// The error that was set, inside.
    ///
    /// # Examples
    ///
    /// ```
    #[doc = concat!("let r = ", here!(), "::AsyncResult::<u8>::new();")]
    /// assert!(r.wait_timeout(std::time::Duration::from_millis(1)).is_none());
    /// ```
    #[inline(always)]
    #[track_caller]
    #[must_use = "None means that the time was over"]
    pub fn wait_timeout(&self, limit: Duration) -> Option<Result<&T, &E>> {
        let set = self
            .latch
            .wait(Site::here("AsyncResult::wait_timeout"), Limit::After(limit));
        set.then(|| self.set_by_now())
    }

    /// Waits until it is set and copies what is.
    ///
    /// # Errors
    ///
    /// The error that was set.
    ///
    /// # Examples
    ///
    /// ```
    #[doc = concat!("let r = ", here!(), "::AsyncResult::<u8, &str>::default();")]
    /// r.set_error("no").unwrap();
    /// assert_eq!(r.get(), Err("no"));
    /// ```
    #[inline(always)]
    #[track_caller]
    pub fn get(&self) -> Result<T, E>
    where
        T: Clone,
        E: Clone,
    {
        self.latch
            .wait(Site::here("AsyncResult::get"), Limit::Never);
        self.set_by_now().cloned().map_err(E::clone)
    }

    /// Sets the value and wakes all who wait. Does not switch.
    ///
    /// # Errors
    ///
    /// A second set is refused and gives its value back.
    ///
    /// # Examples
    ///
    /// ```
    #[doc = concat!("let r = ", here!(), "::AsyncResult::<u8>::new();")]
    /// assert_eq!(r.set(1), Ok(()));
    /// assert_eq!(r.set(2), Err(2));
    /// ```
    pub fn set(&self, value: T) -> Result<(), T> {
        match self.latch.set(Ok(value)) {
            Err(Ok(value)) => Err(value),
            _ => Ok(()),
        }
    }

    /// Sets an error and wakes all who wait. Does not switch.
    ///
    /// # Errors
    ///
    /// A second set is refused and gives its error back.
    ///
    /// # Examples
    ///
    /// ```
    #[doc = concat!("let r = ", here!(), "::AsyncResult::<u8, &str>::default();")]
    /// assert_eq!(r.set_error("no"), Ok(()));
    /// assert_eq!(r.set(1), Err(1));
    /// ```
    pub fn set_error(&self, error: E) -> Result<(), E> {
        match self.latch.set(Err(error)) {
            Err(Err(error)) => Err(error),
            _ => Ok(()),
        }
    }

    #[inline]
    pub(crate) fn source(&self) -> &impl Source {
        self.latch.source()
    }
}

impl<T: fmt::Debug, E: fmt::Debug> fmt::Debug for AsyncResult<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AsyncResult")
            .field("result", &self.latch.get())
            .field("waiting", &self.statistics().waiting)
            .finish()
    }
}

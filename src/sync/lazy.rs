//! A value that its own initialiser makes at the first use. Made of a cell.

use super::once_cell::OnceCell;
use super::statistics::OnceStatistics;
use crate::rt::sync::{Lock, Raw, const_fn};
use std::convert::Infallible;
use std::fmt;
use std::ops::Deref;
use std::panic::{RefUnwindSafe, UnwindSafe};

/// A value that is made at its first use; as [`std::sync::LazyLock`], but the initialiser may
/// wait, and there is no poison.
///
/// Who comes while another makes the value is parked, in line, and its hub runs on. Once it is
/// there, each access is one load. Each use may wait, and so may switch, as long as the value
/// is not there.
///
/// # Fairness
///
/// As [`OnceCell`]: if the initialiser is unwound, the next in line runs it again.
///
/// # Timeouts and kills
///
/// Either may end the first use by unwinding. std's is poisoned then, for good. Here that would
/// let one request's time limit ruin a static for all others, so the initialiser is `FnMut`
/// and runs again at the next use, until it has succeeded. For one that can run only once use
/// [`OnceCell`]. It is dropped when it has succeeded.
///
/// # Panics
///
/// Each use, inside the initialiser: it would wait for itself; and if the initialiser does.
///
/// # Examples
///
/// ```
/// use greenlet::sync::Lazy;
///
/// static NAMES: Lazy<Vec<String>> = Lazy::new(|| {
///     greenlet::yield_now(); // it may wait
///     vec!["Ada".to_owned()]
/// });
/// assert_eq!(NAMES.len(), 1);
/// ```
pub struct Lazy<T, F = fn() -> T> {
    cell: OnceCell<T>,
    /// Taken out while it runs. Only who has the cell's turn touches it, until it is over.
    initialiser: Lock<Raw, Option<F>>,
}

/// The initialiser while it runs; put back in any case.
struct Running<'a, F> {
    place: &'a Lock<Raw, Option<F>>,
    f: Option<F>,
}

impl<F> Drop for Running<'_, F> {
    fn drop(&mut self) {
        if let Some(f) = self.f.take() {
            // Nothing is dropped under the lock: the place is empty.
            self.place.lock().replace(f);
        }
    }
}

impl<T, F> UnwindSafe for Lazy<T, F> {}
impl<T, F> RefUnwindSafe for Lazy<T, F> {}

impl<T, F> Lazy<T, F> {
    const_fn! {
        /// One whose value `f` is going to make.
        ///
        /// # Examples
        ///
        /// ```
        /// use greenlet::sync::Lazy;
        ///
        /// let base = 20;
        /// let sum = Lazy::new(|| base + 1); // not made yet
        /// assert_eq!(*sum, 21);
        /// ```
        pub const fn new(f: F) -> Self {
            Lazy { cell: OnceCell::new(), initialiser: Lock::new(Some(f)) }
        }
    }
}

impl<T, F> Lazy<T, F> {
    /// How far the value is and how many wait for it, now. Does not make it. (Not a method, as it
    /// would hide one of the value's.)
    ///
    /// # Examples
    ///
    /// ```
    /// use greenlet::sync::Lazy;
    ///
    /// let answer = Lazy::new(|| 42);
    /// assert!(!Lazy::statistics(&answer).completed);
    /// assert_eq!(*answer, 42);
    /// assert!(Lazy::statistics(&answer).completed);
    /// ```
    pub fn statistics(this: &Self) -> OnceStatistics {
        this.cell.statistics()
    }
}

impl<T, F: FnMut() -> T> Lazy<T, F> {
    /// The value, made now if it is not there; the same as to dereference it.
    ///
    /// # Timeouts and kills
    ///
    /// Either ends the wait for another who makes it by unwinding, or a wait in the initialiser.
    /// While panicking, who would have to wait blocks the thread if neither the one who makes it
    /// nor anybody in line is of this thread; else it aborts.
    ///
    /// # Panics
    ///
    /// Inside the initialiser; and if the initialiser does. It runs again at the next use.
    ///
    /// # Examples
    ///
    /// ```
    /// use greenlet::sync::Lazy;
    ///
    /// let answer = Lazy::new(|| 42);
    /// assert_eq!(Lazy::force(&answer), &42);
    /// ```
    #[inline]
    #[track_caller]
    pub fn force(this: &Self) -> &T {
        match this.cell.get() {
            Some(value) => value,
            None => this.make(),
        }
    }

    #[cold]
    #[track_caller]
    fn make(&self) -> &T {
        let Ok(value) = self.cell.initialise("Lazy::force", || {
            let mut running = Running {
                place: &self.initialiser,
                f: self.initialiser.lock().take(),
            };
            let f = running.f.as_mut();
            Ok::<_, Infallible>(f.expect("it is there until it has succeeded")())
        });
        // It is of no use any more; dropped without the lock.
        let over = self.initialiser.lock().take();
        drop(over);
        value
    }
}

impl<T, F: FnMut() -> T> Deref for Lazy<T, F> {
    type Target = T;

    #[inline]
    #[track_caller]
    fn deref(&self) -> &T {
        Lazy::force(self)
    }
}

impl<T: Default> Default for Lazy<T> {
    /// One whose value is the default.
    fn default() -> Self {
        Lazy::new(T::default)
    }
}

impl<T: fmt::Debug, F> fmt::Debug for Lazy<T, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lazy")
            .field("value", &self.cell.get())
            .field("waiting", &Lazy::statistics(self).waiting)
            .finish()
    }
}

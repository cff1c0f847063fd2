//! A value that is made once, by the first who needs it, while the others wait.

use super::statistics::OnceStatistics;
use super::turns::Turns;
use crate::rt::clock::Limit;
use crate::rt::sync::const_fn;
use crate::rt::task::Site;
use crate::rt::wait::{Latch, Source};
use std::convert::Infallible;
use std::fmt;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::time::Duration;

/// A cell that is written once; as [`std::sync::OnceLock`], but the initialiser may wait.
///
/// Who comes while another initialises is parked, in line, and its hub runs on. (With std's, a
/// second greenlet of the thread would block that for ever.) Once it is initialised, each access
/// is one load.
///
/// # Fairness
///
/// If an initialiser fails, the next in line has its turn, with its own initialiser, before
/// anybody who comes later. When the value is there all are woken: first those in
/// [`wait`](OnceCell::wait), then those who would have initialised it, each in order of arrival.
///
/// # Timeouts and kills
///
/// Either ends a wait by unwinding, and a wait in the initialiser too. There is no poison: an
/// initialiser that is killed, panics, or returns an error leaves the cell as it was, and the
/// next in line has its turn. One who was given the turn and is killed before it runs begins its
/// initialiser, whose first wait raises the kill.
///
/// While panicking, who would have to wait blocks the thread if neither the one who initialises
/// nor anybody in line is of this thread; else it aborts.
///
/// # Panics
///
/// All that initialise, if they are called by the initialiser itself: it would wait for itself.
///
/// # How it works
///
/// A latch with the value, and a line for the turn to write it. Only who has the turn does.
///
/// # Examples
///
/// ```
/// use greenlet::sync::OnceCell;
///
/// static CONFIG: OnceCell<String> = OnceCell::new();
/// let readers = [(); 3].map(|()| greenlet::spawn(|| {
///     CONFIG.get_or_init(|| {
///         greenlet::yield_now(); // it may wait; the others wait for it
///         "loaded".to_owned()
///     })
/// }));
/// for reader in readers {
///     assert_eq!(reader.join().unwrap(), "loaded");
/// }
/// ```
pub struct OnceCell<T> {
    value: Latch<T>,
    turns: Turns,
}

impl<T> UnwindSafe for OnceCell<T> {}
impl<T> RefUnwindSafe for OnceCell<T> {}

impl<T> OnceCell<T> {
    const_fn! {
        /// An empty cell.
        ///
        /// # Examples
        ///
        /// ```
        /// static CELL: greenlet::sync::OnceCell<u32> = greenlet::sync::OnceCell::new();
        /// assert_eq!(CELL.get(), None);
        /// ```
        pub const fn new() -> Self {
            OnceCell { value: Latch::new(), turns: Turns::new() }
        }
    }

    /// The value, if it is there. Never waits.
    ///
    /// # Examples
    ///
    /// ```
    /// let cell = greenlet::sync::OnceCell::from(5);
    /// assert_eq!(cell.get(), Some(&5));
    /// ```
    #[inline]
    pub fn get(&self) -> Option<&T> {
        self.value.get()
    }

    /// The value, to be changed by who has the cell alone.
    ///
    /// # Examples
    ///
    /// ```
    /// let mut cell = greenlet::sync::OnceCell::from(5);
    /// *cell.get_mut().unwrap() = 6;
    /// assert_eq!(cell.get(), Some(&6));
    /// ```
    pub fn get_mut(&mut self) -> Option<&mut T> {
        self.value.get_mut()
    }

    /// Writes the value. If another initialises meanwhile it waits for that; the cell has a value
    /// on return.
    ///
    /// # Errors
    ///
    /// There was one already, or came first: this one comes back.
    ///
    /// # Timeouts and kills
    ///
    /// Either ends the wait by unwinding, and the value is dropped.
    ///
    /// # Panics
    ///
    /// In the initialiser of this cell.
    ///
    /// # Examples
    ///
    /// ```
    /// let cell = greenlet::sync::OnceCell::new();
    /// assert_eq!(cell.set(1), Ok(()));
    /// assert_eq!(cell.set(2), Err(2));
    /// ```
    #[track_caller]
    pub fn set(&self, value: T) -> Result<(), T> {
        let mut value = Some(value);
        let Ok(_) = self.initialise("OnceCell::set", || {
            Ok::<_, Infallible>(value.take().expect("called once"))
        });
        value.map_or(Ok(()), Err)
    }

    /// The value; if it is not there, that of the initialiser, which may wait.
    ///
    /// # Timeouts and kills
    ///
    /// Either ends the wait for another's initialiser by unwinding, or a wait in this one, which
    /// leaves the cell empty.
    ///
    /// # Panics
    ///
    /// In the initialiser of this cell; and if `f` does, which leaves the cell empty.
    ///
    /// # Examples
    ///
    /// ```
    /// let cell = greenlet::sync::OnceCell::new();
    /// assert_eq!(cell.get_or_init(|| 1), &1);
    /// assert_eq!(cell.get_or_init(|| 2), &1);
    /// ```
    #[inline]
    #[track_caller]
    pub fn get_or_init(&self, f: impl FnOnce() -> T) -> &T {
        let Ok(value) = self.initialise("OnceCell::get_or_init", || Ok::<_, Infallible>(f()));
        value
    }

    /// As [`get_or_init`](Self::get_or_init), with an initialiser that may fail.
    ///
    /// # Errors
    ///
    /// That of the initialiser; the cell stays empty, and the next in line has its turn.
    ///
    /// # Panics
    ///
    /// In the initialiser of this cell; and if `f` does, which leaves the cell empty.
    ///
    /// # Examples
    ///
    /// ```
    /// let cell = greenlet::sync::OnceCell::new();
    /// assert_eq!(cell.get_or_try_init(|| "x".parse::<u8>()).ok(), None);
    /// assert_eq!(cell.get_or_try_init(|| "7".parse::<u8>()), Ok(&7));
    /// ```
    #[inline]
    #[track_caller]
    pub fn get_or_try_init<E>(&self, f: impl FnOnce() -> Result<T, E>) -> Result<&T, E> {
        self.initialise("OnceCell::get_or_try_init", f)
    }

    #[inline]
    #[track_caller]
    pub(super) fn initialise<E>(
        &self,
        operation: &'static str,
        f: impl FnOnce() -> Result<T, E>,
    ) -> Result<&T, E> {
        match self.get() {
            Some(value) => Ok(value),
            None => self.initialise_in_turn(operation, f),
        }
    }

    #[cold]
    #[track_caller]
    fn initialise_in_turn<E>(
        &self,
        operation: &'static str,
        f: impl FnOnce() -> Result<T, E>,
    ) -> Result<&T, E> {
        if let Some(turn) = self.turns.take(operation) {
            if self.value.set(f()?).is_err() {
                unreachable!("only who has the turn writes the value");
            }
            turn.end();
        }
        Ok(self.written())
    }

    fn written(&self) -> &T {
        self.get().expect("it is written by now")
    }

    /// Waits until somebody else has written the value; returns at once, without a switch, if it
    /// is there. Failing initialisers do not end the wait.
    ///
    /// # Timeouts and kills
    ///
    /// Either ends the wait by unwinding. While panicking it aborts if it would have to wait.
    ///
    /// # Examples
    ///
    /// ```
    /// use greenlet::sync::OnceCell;
    ///
    /// let cell = OnceCell::new();
    /// greenlet::scope(|s| {
    ///     s.spawn(|| cell.set(7));
    ///     assert_eq!(cell.wait(), &7);
    /// });
    /// ```
    #[inline(always)]
    #[track_caller]
    pub fn wait(&self) -> &T {
        self.value.wait(Site::here("OnceCell::wait"), Limit::Never);
        self.written()
    }

    /// As [`wait`](Self::wait), for at most `limit`; `None` if the time was over first, or while
    /// panicking. Zero makes one trip through the loop.
    ///
    /// # Examples
    ///
    /// ```
    /// let cell = greenlet::sync::OnceCell::<u32>::new();
    /// assert_eq!(cell.wait_timeout(std::time::Duration::from_millis(1)), None);
    /// ```
    #[inline(always)]
    #[track_caller]
    #[must_use = "None means that the time was over"]
    pub fn wait_timeout(&self, limit: Duration) -> Option<&T> {
        self.wait_within("OnceCell::wait_timeout", Limit::After(limit))
    }

    #[inline(always)]
    #[track_caller]
    pub(super) fn wait_within(&self, operation: &'static str, limit: Limit) -> Option<&T> {
        let is_there = self.value.wait(Site::here(operation), limit);
        is_there.then(|| self.written())
    }

    pub(crate) fn source(&self) -> &impl Source {
        self.value.source()
    }

    /// The value, if it is there, out of the cell.
    ///
    /// # Examples
    ///
    /// ```
    /// let cell = greenlet::sync::OnceCell::from(5);
    /// assert_eq!(cell.into_inner(), Some(5));
    /// ```
    pub fn into_inner(self) -> Option<T> {
        self.value.into_inner()
    }

    /// Takes the value out and leaves the cell empty.
    ///
    /// # Examples
    ///
    /// ```
    /// let mut cell = greenlet::sync::OnceCell::from(5);
    /// assert_eq!(cell.take(), Some(5));
    /// assert_eq!(cell.get(), None);
    /// ```
    pub fn take(&mut self) -> Option<T> {
        std::mem::take(self).into_inner()
    }

    /// How far it is and how many wait, now.
    ///
    /// # Examples
    ///
    /// ```
    /// assert!(greenlet::sync::OnceCell::from(5).statistics().completed);
    /// ```
    pub fn statistics(&self) -> OnceStatistics {
        // In this order: whose turn is over has written the value.
        let (running, in_line) = self.turns.look();
        let waiting = self.value.waiting() + in_line;
        let completed = self.get().is_some();
        OnceStatistics {
            completed,
            running: running && !completed,
            waiting,
        }
    }
}

impl<T> Default for OnceCell<T> {
    fn default() -> Self {
        OnceCell::new()
    }
}

impl<T> From<T> for OnceCell<T> {
    fn from(value: T) -> Self {
        let cell = OnceCell::new();
        match cell.set(value) {
            Ok(()) => cell,
            Err(_) => unreachable!("it was empty"),
        }
    }
}

impl<T: Clone> Clone for OnceCell<T> {
    /// A cell with a copy of the value, if it is there.
    fn clone(&self) -> Self {
        self.get()
            .map_or_else(OnceCell::new, |value| OnceCell::from(value.clone()))
    }
}

impl<T: PartialEq> PartialEq for OnceCell<T> {
    fn eq(&self, other: &Self) -> bool {
        self.get() == other.get()
    }
}

impl<T: Eq> Eq for OnceCell<T> {}

impl<T: fmt::Debug> fmt::Debug for OnceCell<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OnceCell")
            .field("value", &self.get())
            .field("waiting", &self.statistics().waiting)
            .finish()
    }
}

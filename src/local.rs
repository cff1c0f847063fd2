//! Greenlet-local storage.

use crate::rt::park::{self, Party};
use crate::rt::task::{Copying, Lent, Value};
use std::any::Any;
use std::fmt;
use std::marker::PhantomData;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A place with one value for each greenlet; the thread's own stack has one too.
///
/// A new greenlet starts without a value, or with a copy of its spawner's if the `Local` is
/// [`inherited`](Local::inherited). [`scope`](Local::scope) binds one for a call. A value is
/// dropped when its greenlet ends, on the greenlet, before those who wait for it
/// wake; a thread's with the thread; and the current one when the `Local` itself
/// is dropped. It is usually a `static`.
///
/// # How it works
///
/// The value is boxed in a table of the greenlet and counted while it is lent, so
/// no borrow of the table is live while your code runs.
///
/// # Examples
///
/// ```
/// use greenlet::Local;
///
/// static REQUEST: Local<u32> = Local::new();
///
/// let handlers = [1, 2].map(|id| greenlet::spawn(move || {
///     REQUEST.set(id);
///     greenlet::yield_now(); // the other one runs
///     REQUEST.get()
/// }));
/// assert_eq!(handlers.map(|h| h.join().unwrap()), [Some(1), Some(2)]);
/// assert_eq!(REQUEST.get(), None); // here
/// ```
pub struct Local<T: 'static> {
    /// Given at the first use, since a `const fn` cannot count; 0 is none.
    key: AtomicUsize,
    init: Option<fn() -> T>,
    /// How a new greenlet gets a copy, if it inherits.
    copying: Option<Copying>,
    /// The values never leave their threads. Both ways, so that nobody takes it for
    /// one of a related type, whose values would not be found.
    value: PhantomData<fn(T) -> T>,
}

impl<T> UnwindSafe for Local<T> {}
impl<T> RefUnwindSafe for Local<T> {}

static NEXT_KEY: AtomicUsize = AtomicUsize::new(1);

/// There is no value, and no initialiser.
///
/// # Examples
///
/// ```
/// static X: greenlet::Local<u8> = greenlet::Local::new();
/// assert_eq!(X.try_with(|x| *x), Err(greenlet::Unset));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unset;

impl fmt::Display for Unset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no value in this greenlet")
    }
}

impl std::error::Error for Unset {}

impl<T: 'static> Local<T> {
    /// Without a value until one is set.
    ///
    /// # Examples
    ///
    /// ```
    /// static NAME: greenlet::Local<String> = greenlet::Local::new();
    /// assert!(!NAME.is_set());
    /// ```
    pub const fn new() -> Self {
        Local {
            key: AtomicUsize::new(0),
            init: None,
            copying: None,
            value: PhantomData,
        }
    }

    /// With an initialiser, run by the first use in each greenlet.
    ///
    /// # Examples
    ///
    /// ```
    /// static SEEN: greenlet::Local<Vec<u32>> = greenlet::Local::with_init(Vec::new);
    /// assert_eq!(SEEN.with(Vec::len), 0);
    /// ```
    pub const fn with_init(init: fn() -> T) -> Self {
        Local {
            key: AtomicUsize::new(0),
            init: Some(init),
            copying: None,
            value: PhantomData,
        }
    }

    /// Without a value until one is set, but a greenlet starts with a clone of the value that
    /// its spawner has when it spawns: for what a request carries with it, as a trace id.
    ///
    /// The spawner is whoever calls `spawn`, [`spawn_later`](crate::spawn_later), a
    /// [`Builder`](crate::Builder), a [`Scope`](crate::Scope), [`Group`](crate::Group) or
    /// [`Pool`](crate::Pool): a greenlet, or a thread's own stack. The two values are apart
    /// from then on; clone an `Rc` to share one. A greenlet that comes through a
    /// [`HubHandle`](crate::HubHandle) inherits nothing, wherever that is used: values
    /// stay on their threads. Nor does a job of a [`ThreadPool`](crate::ThreadPool).
    ///
    /// The clone is made inside of the spawn, in the order of the first uses of the locals. It
    /// may use other locals. It cannot wait, as a spawn does not switch; if it panics, nothing
    /// is spawned.
    ///
    /// # Examples
    ///
    /// ```
    /// static REQUEST: greenlet::Local<u32> = greenlet::Local::inherited();
    ///
    /// REQUEST.set(7);
    /// let helper = greenlet::spawn(|| (REQUEST.get(), REQUEST.set(8)));
    /// REQUEST.set(9);
    /// assert_eq!(helper.join().unwrap(), (Some(7), Some(7)));
    /// assert_eq!(REQUEST.get(), Some(9));
    /// ```
    pub const fn inherited() -> Self
    where
        T: Clone,
    {
        Local {
            key: AtomicUsize::new(0),
            init: None,
            copying: Some(copy::<T>),
            value: PhantomData,
        }
    }

    #[inline]
    fn key(&self) -> usize {
        // Relaxed throughout: a number, it orders nothing.
        match self.key.load(Ordering::Relaxed) {
            0 => self.first_key(),
            key => key,
        }
    }

    #[cold]
    fn first_key(&self) -> usize {
        let new = NEXT_KEY.fetch_add(1, Ordering::Relaxed);
        self.key
            .compare_exchange(0, new, Ordering::Relaxed, Ordering::Relaxed)
            .map_or_else(|theirs| theirs, |_| new)
    }

    /// Sets this greenlet's value and returns the old one.
    ///
    /// # Panics
    ///
    /// Inside [`with`](Local::with) of the same `Local` in the same greenlet.
    ///
    /// # Examples
    ///
    /// ```
    /// static X: greenlet::Local<u8> = greenlet::Local::new();
    /// assert_eq!(X.set(1), None);
    /// assert_eq!(X.set(2), Some(1));
    /// ```
    #[track_caller]
    pub fn set(&self, value: T) -> Option<T> {
        let mut value = value;
        let there = self.change("set", |there| std::mem::swap(there, &mut value));
        if there.is_some() {
            return Some(value);
        }
        let value = self.held(value);
        park::locals(|locals| locals.insert(self.key(), value));
        None
    }

    /// Takes this greenlet's value out.
    ///
    /// # Panics
    ///
    /// Inside [`with`](Local::with) of the same `Local` in the same greenlet.
    ///
    /// # Examples
    ///
    /// ```
    /// static X: greenlet::Local<u8> = greenlet::Local::new();
    /// X.set(1);
    /// assert_eq!((X.take(), X.take()), (Some(1), None));
    /// ```
    #[track_caller]
    pub fn take(&self) -> Option<T> {
        self.change("take", |_| ())?;
        park::locals(|locals| locals.remove(self.key())).map(own)
    }

    fn held(&self, value: T) -> Value {
        Value {
            value: Rc::new(value),
            copying: self.copying,
        }
    }

    /// Binds this greenlet's value for the time of `f`: afterwards it is what it was
    /// before, also if `f` unwinds, and `value`, or what `f` has put in its place, is
    /// dropped.
    ///
    /// `f` may wait: the value is the greenlet's, and the others keep theirs. What `f`
    /// spawns inherits it, if the `Local` is [`inherited`](Local::inherited). It may
    /// be called inside [`with`](Local::with) of the same `Local`. The body of a
    /// [`Generator`](crate::Generator) cannot yield out of it.
    ///
    /// # Examples
    ///
    /// ```
    /// static USER: greenlet::Local<&str> = greenlet::Local::new();
    ///
    /// USER.set("nobody");
    /// let name = USER.scope("root", || {
    ///     greenlet::yield_now();
    ///     USER.get()
    /// });
    /// assert_eq!((name, USER.get()), (Some("root"), Some("nobody")));
    /// ```
    pub fn scope<R>(&self, value: T, f: impl FnOnce() -> R) -> R {
        struct Bound {
            key: usize,
            before: Option<Value>,
        }
        impl Drop for Bound {
            fn drop(&mut self) {
                let bound = park::locals(|locals| match self.before.take() {
                    Some(before) => locals.insert(self.key, before),
                    None => locals.remove(self.key),
                });
                // Asked anew: the thread may have got its hub in `f`.
                Party::current().task().unbind();
                drop(bound);
            }
        }
        let (key, value) = (self.key(), self.held(value));
        let before = park::locals(|locals| locals.insert(key, value));
        Party::current().task().bind();
        let _bound = Bound { key, before };
        f()
    }

    /// Has `f` change this greenlet's value, if it has one; panics if it is lent.
    #[track_caller]
    fn change<R>(&self, operation: &str, f: impl FnOnce(&mut T) -> R) -> Option<R> {
        let typed = |value: &mut dyn Any| f(value.downcast_mut().expect("keys are not shared"));
        match park::locals(|locals| locals.change(self.key(), typed)) {
            Ok(changed) => changed,
            Err(Lent) => panic!("Local::{operation} inside `with` of the same Local"),
        }
    }

    /// Lends this greenlet's value to `f`, which may wait. The initialiser makes
    /// one if there is none.
    ///
    /// # Panics
    ///
    /// If there is no value and no initialiser.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::cell::Cell;
    ///
    /// static HITS: greenlet::Local<Cell<u32>> = greenlet::Local::with_init(|| Cell::new(0));
    /// HITS.with(|hits| hits.set(hits.get() + 1));
    /// assert_eq!(HITS.with(Cell::get), 1);
    /// ```
    #[inline]
    #[track_caller]
    pub fn with<R>(&self, f: impl FnOnce(&T) -> R) -> R {
        match self.try_with(f) {
            Ok(result) => result,
            Err(Unset) => panic!("Local::with where no value is set; try_with asks first"),
        }
    }

    /// As [`with`](Local::with), for a value that may be missing.
    ///
    /// # Errors
    ///
    /// [`Unset`] if there is no value and no initialiser.
    ///
    /// # Examples
    ///
    /// See [`Unset`].
    #[inline(always)]
    pub fn try_with<R>(&self, f: impl FnOnce(&T) -> R) -> Result<R, Unset> {
        let key = self.key();
        let value = match park::local(key) {
            Some(value) => value,
            None => self.first_value()?,
        };
        let value = value.downcast_ref::<T>().expect("keys are not shared");
        Ok(f(value))
    }

    #[cold]
    fn first_value(&self) -> Result<Rc<dyn Any>, Unset> {
        // Outside of any borrow: the initialiser may use other locals.
        let value = self.held(self.init.ok_or(Unset)?());
        park::locals(|locals| locals.insert(self.key(), value.clone()));
        Ok(value.value)
    }

    /// A copy of this greenlet's value; the initialiser makes one if there is none.
    ///
    /// # Examples
    ///
    /// ```
    /// static X: greenlet::Local<u8> = greenlet::Local::new();
    /// X.set(4);
    /// assert_eq!(X.get(), Some(4));
    /// ```
    #[inline]
    pub fn get(&self) -> Option<T>
    where
        T: Clone,
    {
        self.try_with(T::clone).ok()
    }

    /// True if this greenlet has a value.
    ///
    /// # Examples
    ///
    /// ```
    /// static X: greenlet::Local<u8> = greenlet::Local::with_init(|| 1);
    /// assert!(!X.is_set());
    /// X.with(|_| ());
    /// assert!(X.is_set());
    /// ```
    pub fn is_set(&self) -> bool {
        park::local(self.key()).is_some()
    }
}

/// What a greenlet that inherits gets.
fn copy<T: Clone + 'static>(value: &dyn Any) -> Rc<dyn Any> {
    let value = value.downcast_ref::<T>().expect("keys are not shared");
    Rc::new(value.clone())
}

fn own<T: 'static>(held: Value) -> T {
    let value = held.value.downcast::<T>().expect("keys are not shared");
    Rc::into_inner(value).expect("refused while lent")
}

impl<T> Default for Local<T> {
    fn default() -> Self {
        Local::new()
    }
}

impl<T> Drop for Local<T> {
    fn drop(&mut self) {
        let key = *self.key.get_mut();
        if key != 0 {
            let value = park::locals(|locals| locals.remove(key));
            drop(value);
        }
    }
}

impl<T: fmt::Debug> fmt::Debug for Local<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = park::local(self.key());
        let value = value.as_deref().and_then(|v| v.downcast_ref::<T>());
        f.debug_tuple("Local").field(&value).finish()
    }
}

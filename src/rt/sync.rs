//! std and parking_lot, or a model checker: the only file that names any of them.
//!
//! Everything below `rt` takes its atomics, locks, reference counts and
//! thread-locals from here, so that a build with `--cfg greenlet_loom` or `--cfg
//! greenlet_shuttle` runs the very same code under loom or shuttle. What differs
//! there: no `const` constructors ([`const_fn`] hides that: loom's types have none,
//! and a static would outlive an execution), and a [`Lock`] ignores its raw lock,
//! because the checker brings its own.

/// Whether this is a build for a model checker.
pub(crate) const MODELLED: bool = cfg!(any(greenlet_loom, greenlet_shuttle));

#[cfg(greenlet_loom)]
pub(crate) use loom as model;
#[cfg(greenlet_shuttle)]
pub(crate) use shuttle as model;

#[cfg(not(any(greenlet_loom, greenlet_shuttle)))]
mod imp {
    pub(crate) use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
    pub(crate) use std::sync::{Arc, Condvar, Mutex, MutexGuard};
    pub(crate) use std::thread::{panicking, yield_now as yield_thread};

    /// The raw lock of the shared primitives.
    pub(crate) type Raw = parking_lot::RawMutex;
    /// A lock around a primitive's state, generic over its raw lock.
    pub(crate) type Lock<R, T> = lock_api::Mutex<R, T>;
    /// What [`Lock::lock`] returns.
    pub(crate) type LockGuard<'a, R, T> = lock_api::MutexGuard<'a, R, T>;
    pub(crate) use lock_api::RawMutex;
}

#[cfg(any(greenlet_loom, greenlet_shuttle))]
mod imp {
    #[cfg(greenlet_loom)]
    pub(crate) use super::watched::{AtomicBool, AtomicU32, AtomicUsize};
    use super::{lock, model};
    pub(crate) use model::sync::atomic::Ordering;
    #[cfg(greenlet_shuttle)]
    pub(crate) use model::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize};
    pub(crate) use model::sync::{Arc, Condvar, Mutex, MutexGuard};
    /// Lets a model's other threads go on; one that waits for them must say so.
    pub(crate) use model::thread::yield_now as yield_thread;
    use std::fmt;
    use std::marker::PhantomData;

    pub(crate) use lock_api::RawMutex;
    pub(crate) type Raw = parking_lot::RawMutex;
    pub(crate) type LockGuard<'a, R, T> = MutexGuard<'a, Held<R, T>>;

    /// The checker's mutex in the shape of `lock_api::Mutex`.
    pub(crate) struct Lock<R, T>(Mutex<Held<R, T>>);

    /// The value under such a lock; the raw lock is only a type here.
    pub(crate) struct Held<R, T>(T, PhantomData<fn() -> R>);

    impl<R, T> std::ops::Deref for Held<R, T> {
        type Target = T;
        fn deref(&self) -> &T {
            &self.0
        }
    }

    impl<R, T> std::ops::DerefMut for Held<R, T> {
        fn deref_mut(&mut self) -> &mut T {
            &mut self.0
        }
    }

    impl<R, T> Lock<R, T> {
        pub(crate) fn new(value: T) -> Self {
            Lock(Mutex::new(Held(value, PhantomData)))
        }
        pub(crate) fn lock(&self) -> LockGuard<'_, R, T> {
            lock(&self.0)
        }
        pub(crate) fn try_lock(&self) -> Option<LockGuard<'_, R, T>> {
            self.0.try_lock().ok()
        }
    }

    impl<R, T> fmt::Debug for Lock<R, T> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("Lock")
        }
    }

    /// No loom model takes a step in the middle of an unwind.
    #[cfg(greenlet_loom)]
    pub(crate) use std::thread::panicking;

    /// All threads of a shuttle model are one thread of the system, so std's answer
    /// may be about another's unwind, in the middle of which shuttle switches. The
    /// models have no destructor that waits, which is all that the answer is for.
    #[cfg(greenlet_shuttle)]
    pub(crate) fn panicking() -> bool {
        false
    }
}

/// loom's atomics, whose loads it cannot overlook.
///
/// To find what a write could come before, loom 0.7 looks at the last access to the same
/// atomic only. A load does not depend on other loads, so if that last access is a load
/// of the writer's own (as before each `compare_exchange` loop), earlier loads of other
/// threads are not seen behind it, and the write is never tried before them. Here each
/// load first touches a second atomic by a read-modify-write, which depends on all others
/// of its kind: so whatever comes after a load is also tried before it. It is relaxed and
/// so adds no order that the crate could lean on.
#[cfg(greenlet_loom)]
mod watched {
    use loom::sync::atomic;
    use std::ops::Deref;
    use std::sync::atomic::Ordering;

    macro_rules! watched {
        ($name:ident, $value:ty) => {
            #[derive(Debug)]
            pub(crate) struct $name {
                inner: atomic::$name,
                loads: atomic::AtomicBool,
            }

            impl $name {
                pub(crate) fn new(value: $value) -> Self {
                    let loads = atomic::AtomicBool::new(false);
                    $name {
                        inner: atomic::$name::new(value),
                        loads,
                    }
                }
                pub(crate) fn load(&self, order: Ordering) -> $value {
                    self.loads.swap(false, Ordering::Relaxed);
                    self.inner.load(order)
                }
            }

            /// Writes are loom's own.
            impl Deref for $name {
                type Target = atomic::$name;
                fn deref(&self) -> &Self::Target {
                    &self.inner
                }
            }
        };
    }
    watched!(AtomicUsize, usize);
    watched!(AtomicU32, u32);
    watched!(AtomicBool, bool);
}

#[cfg(not(greenlet_loom))]
mod cell {
    /// A cell whose accesses loom can watch.
    #[derive(Debug)]
    pub(crate) struct UnsafeCell<T>(std::cell::UnsafeCell<T>);

    impl<T> UnsafeCell<T> {
        pub(crate) const fn new(value: T) -> Self {
            UnsafeCell(std::cell::UnsafeCell::new(value))
        }
        /// A pointer for reading.
        #[inline]
        pub(crate) fn read(&self) -> *const T {
            self.0.get()
        }
        /// A pointer for writing.
        #[inline]
        pub(crate) fn write(&self) -> *mut T {
            self.0.get()
        }
        #[inline]
        pub(crate) fn into_inner(self) -> T {
            self.0.into_inner()
        }
    }
}

#[cfg(greenlet_loom)]
mod cell {
    /// loom's cell: reports unordered accesses. It watches the moment at which a
    /// pointer is asked for.
    #[derive(Debug)]
    pub(crate) struct UnsafeCell<T>(loom::cell::UnsafeCell<T>);

    impl<T> UnsafeCell<T> {
        pub(crate) fn new(value: T) -> Self {
            UnsafeCell(loom::cell::UnsafeCell::new(value))
        }
        pub(crate) fn read(&self) -> *const T {
            self.0.with(|p| p)
        }
        pub(crate) fn write(&self) -> *mut T {
            self.0.with_mut(|p| p)
        }
        pub(crate) fn into_inner(self) -> T {
            // loom does not look here by itself: this counts as a write, so that
            // a move out of the cell that is not ordered after all else is seen.
            self.0.with_mut(|_| ());
            self.0.into_inner()
        }
    }
}

pub(crate) use cell::*;
pub(crate) use imp::*;

/// Locks one of our own mutexes. None of them is ever held across user code, so a
/// poisoned one cannot be inconsistent.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|e| e.into_inner())
}

/// A function that is `const` except under a model checker.
#[cfg(not(any(greenlet_loom, greenlet_shuttle)))]
macro_rules! const_fn {
    ($(#[$meta:meta])* $vis:vis const fn $($rest:tt)*) => { $(#[$meta])* $vis const fn $($rest)* };
}
#[cfg(any(greenlet_loom, greenlet_shuttle))]
macro_rules! const_fn {
    ($(#[$meta:meta])* $vis:vis const fn $($rest:tt)*) => { $(#[$meta])* $vis fn $($rest)* };
}
pub(crate) use const_fn;

/// A value that a constant can have. Under a model checker it is made at its first use, which
/// must come before it is shared: loom does not see what orders the making.
#[cfg(not(any(greenlet_loom, greenlet_shuttle)))]
pub(crate) type Constant<T> = T;

/// What a [`Constant`] is made of.
#[cfg(not(any(greenlet_loom, greenlet_shuttle)))]
macro_rules! constant {
    ($value:expr) => {
        $value
    };
}
#[cfg(any(greenlet_loom, greenlet_shuttle))]
macro_rules! constant {
    ($value:expr) => {
        $crate::rt::sync::Constant::new(|| $value)
    };
}
pub(crate) use constant;

#[cfg(any(greenlet_loom, greenlet_shuttle))]
pub(crate) struct Constant<T> {
    value: std::sync::OnceLock<T>,
    new: fn() -> T,
}

#[cfg(any(greenlet_loom, greenlet_shuttle))]
impl<T> Constant<T> {
    pub(crate) const fn new(new: fn() -> T) -> Self {
        let value = std::sync::OnceLock::new();
        Constant { value, new }
    }
}

#[cfg(any(greenlet_loom, greenlet_shuttle))]
impl<T> std::ops::Deref for Constant<T> {
    type Target = T;
    fn deref(&self) -> &T {
        // No step of the model is taken in `new`, so nobody else waits for it.
        self.value.get_or_init(self.new)
    }
}

/// A thread-local with a constant initial value. A model checker must see its own,
/// since std's would be shared by all of a model's threads.
#[cfg(not(any(greenlet_loom, greenlet_shuttle)))]
macro_rules! thread_cell {
    ($(#[$meta:meta])* static $name:ident: $ty:ty = $init:expr;) => {
        std::thread_local! { $(#[$meta])* static $name: $ty = const { $init }; }
    };
}
#[cfg(any(greenlet_loom, greenlet_shuttle))]
macro_rules! thread_cell {
    ($($local:tt)*) => { $crate::rt::sync::thread_lazy! { $($local)* } };
}
pub(crate) use thread_cell;

/// A thread-local that is made at its first use and has a destructor.
#[cfg(not(any(greenlet_loom, greenlet_shuttle)))]
macro_rules! thread_lazy {
    ($(#[$meta:meta])* static $name:ident: $ty:ty = $init:expr;) => {
        std::thread_local! { $(#[$meta])* static $name: $ty = $init; }
    };
}
#[cfg(any(greenlet_loom, greenlet_shuttle))]
macro_rules! thread_lazy {
    ($(#[$meta:meta])* static $name:ident: $ty:ty = $init:expr;) => {
        // In braces: loom's macro does not know an initial `const`.
        $crate::rt::sync::model::thread_local! { $(#[$meta])* static $name: $ty = { $init }; }
    };
}
pub(crate) use thread_lazy;

//! Waiting for the first, or for all, of several things.

use crate::greenlet::Greenlet;
use crate::rt::clock::Limit;
use crate::rt::park::Party;
use crate::rt::wait::{self, Source};
use crate::select::Arm;
use crate::sync::{AsyncResult, Event, Latch};
use crate::unsync;
use smallvec::SmallVec;
use std::time::Duration;

/// What [`wait_any`] and [`wait_all`] can wait for: an [`Event`] that is set, an
/// [`AsyncResult`] that is ready, a [`Latch`] that is open, a [`Greenlet`] that has ended.
///
/// # Examples
///
/// ```
/// use greenlet::{Waitable, sync::Event};
///
/// let (a, b) = (Event::new(), Event::new());
/// b.set();
/// let both: [&dyn Waitable; 2] = [&a, &b];
/// assert_eq!(greenlet::wait_any(&both), 1);
/// ```
pub trait Waitable: sealed::Sealed {
    /// For [`select!`](crate::select!).
    #[doc(hidden)]
    #[inline]
    fn select_wait(&self) -> Arm<Part<'_>> {
        Arm(self.source())
    }
}

mod sealed {
    use crate::rt::wait::{Choice, HasSource, Intent, Ready, Source};

    pub trait Sealed {
        #[doc(hidden)]
        #[allow(private_interfaces)]
        fn source(&self) -> Part<'_>;
    }

    #[allow(missing_debug_implementations, unreachable_pub)]
    pub struct Part<'a>(pub(crate) &'a dyn Source);

    impl HasSource for Part<'_> {
        type Output = ();

        #[allow(private_interfaces)]
        fn source(&self) -> &dyn Source {
            self.0
        }

        fn end(self) {}
    }

    impl Intent for Part<'_> {
        type Output = ();

        #[inline]
        fn attempt(&mut self) -> Option<()> {
            self.0.is_ready().then_some(())
        }

        fn arm(&mut self) -> impl Choice<Output = ()> {
            Ready::new(Part(self.0))
        }
    }
}
pub(crate) use sealed::Part;

/// What has a source of its own.
macro_rules! waitable {
    ($([$($of:ident)*] $Type:ty,)*) => {$(
        impl<$($of),*> sealed::Sealed for $Type {
            #[inline]
            fn source(&self) -> Part<'_> {
                Part(self.source())
            }
        }
        impl<$($of),*> Waitable for $Type {}
    )*};
}

waitable! {
    [] Event,
    [] unsync::Event,
    [T E] AsyncResult<T, E>,
    [T E] unsync::AsyncResult<T, E>,
    [] Latch,
    [T] Greenlet<T>,
}

impl<T> sealed::Sealed for crate::ScopedGreenlet<'_, T> {
    fn source(&self) -> Part<'_> {
        Part(Greenlet::source(self))
    }
}

impl<W: Waitable + ?Sized> sealed::Sealed for &W {
    fn source(&self) -> Part<'_> {
        (**self).source()
    }
}
impl<W: Waitable + ?Sized> sealed::Sealed for std::sync::Arc<W> {
    fn source(&self) -> Part<'_> {
        (**self).source()
    }
}
impl<W: Waitable + ?Sized> sealed::Sealed for std::rc::Rc<W> {
    fn source(&self) -> Part<'_> {
        (**self).source()
    }
}

impl<T> Waitable for crate::ScopedGreenlet<'_, T> {}
impl<W: Waitable + ?Sized> Waitable for &W {}
impl<W: Waitable + ?Sized> Waitable for std::sync::Arc<W> {}
impl<W: Waitable + ?Sized> Waitable for std::rc::Rc<W> {}

type Sources<'a> = SmallVec<[&'a dyn Source; 8]>;

#[track_caller]
fn sources<'a>(operation: &str, all: &[&'a dyn Waitable]) -> Sources<'a> {
    assert!(!all.is_empty(), "{operation} of nothing");
    all.iter().map(|w| w.source().0).collect()
}

/// Waits until one of them is ready, and returns its index; if several are, the
/// lowest. A waiter that loses takes nothing and leaves no trace.
///
/// # Panics
///
/// If the slice is empty.
///
/// # Examples
///
/// ```
/// use greenlet::sync::{AsyncResult, Event};
///
/// let (stop, result) = (Event::new(), AsyncResult::<u32>::new());
/// result.set(5).unwrap();
/// assert_eq!(greenlet::wait_any(&[&stop, &result]), 1);
/// ```
#[inline(always)]
#[track_caller]
pub fn wait_any(all: &[&dyn Waitable]) -> usize {
    let sources = sources("wait_any", all);
    wait::wait_any("wait_any", Limit::Never, &sources).expect("only a limit ends it without one")
}

/// As [`wait_any`], for at most `limit`; `None` if it is over first.
///
/// # Panics
///
/// If the slice is empty.
///
/// # Examples
///
/// ```
/// use greenlet::sync::Event;
/// use std::time::Duration;
///
/// let never = Event::new();
/// assert_eq!(greenlet::wait_any_timeout(&[&never], Duration::from_millis(1)), None);
/// ```
#[inline(always)]
#[track_caller]
#[must_use = "which one was ready, if any was in time"]
pub fn wait_any_timeout(all: &[&dyn Waitable], limit: Duration) -> Option<usize> {
    let sources = sources("wait_any_timeout", all);
    wait::wait_any("wait_any_timeout", Limit::After(limit), &sources)
}

/// Waits until each of them has been ready once, in the order given.
///
/// # Panics
///
/// If the slice is empty.
///
/// # Examples
///
/// ```
/// use greenlet::sync::Event;
///
/// let e = Event::new();
/// let g = greenlet::spawn(|| 1);
/// e.set();
/// greenlet::wait_all(&[&e, &g]);
/// assert!(g.is_finished());
/// ```
#[track_caller]
pub fn wait_all(all: &[&dyn Waitable]) {
    for source in sources("wait_all", all) {
        wait::wait_any("wait_all", Limit::Never, &[source]);
    }
}

/// As [`wait_all`], for at most `limit` in all; true if each has been ready.
///
/// # Panics
///
/// If the slice is empty.
///
/// # Examples
///
/// ```
/// use greenlet::sync::Event;
/// use std::time::Duration;
///
/// let (set, never) = (Event::new(), Event::new());
/// set.set();
/// assert!(!greenlet::wait_all_timeout(&[&set, &never], Duration::from_millis(1)));
/// ```
#[track_caller]
#[must_use = "whether all were ready in time"]
pub fn wait_all_timeout(all: &[&dyn Waitable], limit: Duration) -> bool {
    let limit = Limit::After(limit).fixed(|| Party::current().now());
    for source in sources("wait_all_timeout", all) {
        if wait::wait_any("wait_all_timeout", limit, &[source]).is_none() {
            return false;
        }
    }
    true
}

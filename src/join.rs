//! Joining and killing many greenlets at once.

use crate::error::JoinError;
use crate::greenlet::Greenlet;

/// What [`join_all`] and [`kill_all`] take: a [`Greenlet`] or a
/// [`ScopedGreenlet`](crate::ScopedGreenlet).
///
/// # Examples
///
/// ```
/// use greenlet::{Greenlet, JoinError, Joinable};
///
/// fn last<H: Joinable>(handles: Vec<H>) -> Option<Result<H::Output, JoinError>> {
///     greenlet::join_all(handles).pop()
/// }
/// assert_eq!(last(vec![greenlet::spawn(|| 1), greenlet::spawn(|| 2)]).unwrap().unwrap(), 2);
/// ```
pub trait Joinable: Sealed {}

pub(crate) mod sealed {
    use crate::greenlet::Greenlet;

    /// Methods of a supertrait can be called by whoever has a `T: Joinable`; these
    /// only by who has a key, which is this crate.
    #[allow(missing_debug_implementations, unreachable_pub)]
    pub struct Key(pub(crate) ());

    #[allow(unreachable_pub)]
    pub trait Sealed {
        /// What the greenlet returns.
        type Output;
        #[doc(hidden)]
        fn greenlet(&self, key: Key) -> &Greenlet<Self::Output>;
        #[doc(hidden)]
        fn into_greenlet(self, key: Key) -> Greenlet<Self::Output>;
        /// Somebody is about to wait for it who takes its failure.
        #[doc(hidden)]
        fn begin_join(&self, _: Key) {}
        /// The wait was cut short: nobody takes its failure any more.
        #[doc(hidden)]
        fn abort_join(&self, _: Key) {}
    }
}
use sealed::{Key, Sealed};

impl<T> Joinable for Greenlet<T> {}
impl<T> Sealed for Greenlet<T> {
    type Output = T;
    fn greenlet(&self, _: Key) -> &Greenlet<T> {
        self
    }
    fn into_greenlet(self, _: Key) -> Greenlet<T> {
        self
    }
}

/// A join that has not come to its end yet.
struct Joining<'a, H: Joinable>(&'a [H]);

impl<H: Joinable> Drop for Joining<'_, H> {
    fn drop(&mut self) {
        self.0.iter().for_each(|handle| handle.abort_join(Key(())));
    }
}

/// Waits for all, in the order given.
#[track_caller]
pub(crate) fn wait_for<H: Joinable>(handles: &[H], operation: &'static str) {
    handles.iter().for_each(|handle| handle.begin_join(Key(())));
    let joining = Joining(handles);
    for handle in handles {
        handle.greenlet(Key(())).wait_at(operation);
    }
    std::mem::forget(joining);
}

/// Joins all, in the order given, and returns their outcomes in that order.
///
/// In a scope all of them count as being joined from the beginning, so none's
/// panic ends the scope.
///
/// # Examples
///
/// ```
/// let all = (0..3).map(|i| greenlet::spawn(move || i * i));
/// let squares: Vec<i32> = greenlet::join_all(all).into_iter().map(Result::unwrap).collect();
/// assert_eq!(squares, [0, 1, 4]);
/// ```
#[track_caller]
#[must_use = "some may have failed"]
pub fn join_all<H: Joinable>(
    handles: impl IntoIterator<Item = H>,
) -> Vec<Result<H::Output, JoinError>> {
    // All are spawned (by a lazy iterator) before the first is waited for.
    let handles: Vec<_> = handles.into_iter().collect();
    wait_for(&handles, "join_all");
    let greenlets = handles
        .into_iter()
        .map(|handle| handle.into_greenlet(Key(())));
    greenlets.map(Greenlet::taken).collect()
}

/// Asks all to end, as [`Greenlet::kill`], and returns at once.
///
/// # Examples
///
/// ```
/// let all: Vec<_> = (0..3).map(|_| greenlet::spawn(|| ())).collect();
/// greenlet::kill_all(&all);
/// assert!(greenlet::join_all(all).iter().all(Result::is_err));
/// ```
pub fn kill_all<'a, H: Joinable + 'a>(handles: impl IntoIterator<Item = &'a H>) {
    for handle in handles {
        handle.greenlet(Key(())).kill();
    }
}

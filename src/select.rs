//! [`select!`](crate::select!): doing the first of several operations that can be done.

use crate::error::JoinError;
use crate::greenlet::Greenlet;
use crate::rt::clock::Limit;
use crate::rt::sync::thread_cell;
use crate::rt::wait::{self, Choice, HasSource, Ready, Source};
use crate::sync::MutexGuard;
use std::cell::Cell;
use std::time::Duration;

/// Does the first of several operations that can be done, and only that one.
///
/// ```text
/// select! {
///     get(queue) -> result => ...,           // as `get`: the item, or that the queue is shut down;
///                                            // of a `BroadcastReader` too
///     put(queue, &mut item) -> result => ...,  // as `put`, of what is in an `Option`
///     wait(event) => ...,                    // an `Event`, `Latch`, `AsyncResult` or `Greenlet` is ready
///     wait(reader) -> result => ...,         // as `changed` of a `WatchReader`
///     join(&mut handle) -> result => ...,    // as `join`, of what is in an `Option`
///     lock(mutex) -> guard => ...,
///     acquire(semaphore) -> permit => ...,
///     acquire_many(semaphore, n) -> permits => ...,
///     default => ...,                        // nothing can be done now; or
///     default(duration) => ...,              // nothing could be done for so long
/// }
/// ```
///
/// Each arm names an operation on something that is given by value or by reference, a pattern
/// for its result (`->` may be left out), and what is to be done with it. The value of the
/// whole is that of the arm that was chosen; `?`, `break` and the like in it act on what is
/// around the `select!`.
///
/// There is no arm for a [`Barrier`](crate::sync::Barrier), which may trip by an arrival that is not
/// chosen then; nor for an [`RwLock`](crate::sync::RwLock): a mutex is reserved for the greenlet
/// whose number stands in it until it has made its guard, but the word of a lock that is read
/// says only how many read it, and one who came again for a guard would stand behind a writer.
/// Have a greenlet take it, and `join` that.
///
/// An operation that is not chosen leaves no trace: no item is taken, no permit, no place in
/// line. An item that was to be put is in its `Option` again, also if a kill or an expiry ends
/// the wait; a `put` that is done leaves `None`, and if the queue is shut down the item is in
/// the error. A handle stays in its `Option` until it is joined.
///
/// # Fairness
///
/// In each line the greenlet stands where it came, as for the operation alone. Of several
/// operations that can be done at once the choice goes round from call to call; in
/// [`select_biased!`](crate::select_biased!) it is the first that is written.
///
/// # Timeouts and kills
///
/// Either ends the wait by unwinding, and nothing is done. While panicking, one that would have
/// to wait chooses `default(duration)` at once, and aborts if there is none.
///
/// # Panics
///
/// If an `Option` that an item is to be put from, or a handle joined from, is empty; and as the
/// operations do.
///
/// # Examples
///
/// ```
/// use greenlet::sync::{Event, Queue};
/// use std::time::Duration;
///
/// let (jobs, stop) = (Queue::unbounded(), Event::new());
/// jobs.put(3).unwrap();
/// let mut sum = 0;
/// loop {
///     greenlet::select! {
///         get(jobs) -> job => {
///             sum += job.unwrap();
///             stop.set();
///         }
///         wait(stop) => break,
///         default(Duration::from_secs(1)) => panic!("neither job nor end"),
///     }
/// }
/// assert_eq!(sum, 3);
/// ```
#[macro_export]
macro_rules! select {
    ($($arms:tt)+) => { $crate::__select!(@parse fair [] $($arms)+) };
}

/// As [`select!`](crate::select!), but of several operations that can be done at once the
/// first that is written is chosen.
///
/// # Examples
///
/// ```
/// use greenlet::sync::Queue;
///
/// let (urgent, rest) = (Queue::unbounded(), Queue::unbounded());
/// rest.put("b").unwrap();
/// urgent.put("a").unwrap();
/// let next = greenlet::select_biased! {
///     get(urgent) -> job => job,
///     get(rest) -> job => job,
/// };
/// assert_eq!(next, Ok("a"));
/// ```
#[macro_export]
macro_rules! select_biased {
    ($($arms:tt)+) => { $crate::__select!(@parse biased [] $($arms)+) };
}

/// What both forms are made of. Each arm becomes `(arm out (op args) (pattern) body)`, with
/// two names that hygiene keeps apart from those of the others.
#[doc(hidden)]
#[macro_export]
macro_rules! __select {
    // The end, with or without a default.
    (@parse $mode:ident [$($list:tt)+] default => $body:expr $(,)?) => {
        $crate::__select!(@run $mode [$($list)+] ($crate::select::NOT) ($body))
    };
    (@parse $mode:ident [$($list:tt)+] default($limit:expr) => $body:expr $(,)?) => {
        $crate::__select!(@run $mode [$($list)+] ($crate::select::within($limit)) ($body))
    };
    (@parse $mode:ident [$($list:tt)+]) => {
        $crate::__select!(@run $mode [$($list)+] ($crate::select::EVER)
            (::std::unreachable!("a select without a limit has chosen")))
    };
    // An arm: the pattern may be left out, and the comma after a block.
    (@parse $mode:ident [$($list:tt)*] $op:ident($($arg:expr),+ $(,)?) => $($rest:tt)+) => {
        $crate::__select!(@parse $mode [$($list)*] $op($($arg),+) -> _ => $($rest)+)
    };
    (@parse $mode:ident [$($list:tt)*] $op:ident($($arg:expr),+ $(,)?) -> $pattern:pat
        => $body:block, $($rest:tt)*) => {
        $crate::__select!(@parse $mode [$($list)* (arm out ($op $($arg),+) ($pattern) ($body))] $($rest)*)
    };
    (@parse $mode:ident [$($list:tt)*] $op:ident($($arg:expr),+ $(,)?) -> $pattern:pat
        => $body:block $($rest:tt)*) => {
        $crate::__select!(@parse $mode [$($list)* (arm out ($op $($arg),+) ($pattern) ($body))] $($rest)*)
    };
    (@parse $mode:ident [$($list:tt)*] $op:ident($($arg:expr),+ $(,)?) -> $pattern:pat
        => $body:expr, $($rest:tt)*) => {
        $crate::__select!(@parse $mode [$($list)* (arm out ($op $($arg),+) ($pattern) ($body))] $($rest)*)
    };
    (@parse $mode:ident [$($list:tt)*] $op:ident($($arg:expr),+ $(,)?) -> $pattern:pat
        => $body:expr) => {
        $crate::__select!(@parse $mode [$($list)* (arm out ($op $($arg),+) ($pattern) ($body))])
    };

    // All arms are gone before a body runs: it may use what they had borrowed.
    (@run $mode:ident [$(($arm:ident $out:ident $op:tt $pattern:tt $body:tt))+] $limit:tt $default:tt) => {
        {
            #[allow(unused_imports)]
            use $crate::{Waitable as _, select::Lockable as _};
            match $crate::__select!(@arms $mode $limit [$(($arm $op))+] []) {
                (::std::option::Option::None, ..) => $default,
                (::std::option::Option::Some(mut won), ($($out,)+)) => {
                    $crate::__select!(@pick won [$(($out $pattern $body))+])
                }
            }
        }
    };
    (@arms $mode:ident $limit:tt [($arm:ident ($op:ident $($arg:expr),+)) $($rest:tt)*] [$($done:ident)*]) => {
        match $crate::__select!(@op $op $($arg),+) {
            mut $arm => $crate::__select!(@arms $mode $limit [$($rest)*] [$($done)* $arm]),
        }
    };
    (@arms $mode:ident $limit:tt [] [$($arm:ident)+]) => {{
        let won = $crate::select::$mode([$($arm.listed()),+], $limit);
        let mut index = 0;
        (won, ($($arm.end(won, &mut index),)+))
    }};
    (@pick $won:ident [($out:ident ($pattern:pat) $body:tt)]) => {{
        let _ = &mut $won;
        let $pattern = $out.expect("the arm that was chosen");
        $body
    }};
    (@pick $won:ident [($out:ident ($pattern:pat) $body:tt) $($rest:tt)+]) => {
        if $won == 0 {
            let $pattern = $out.expect("the arm that was chosen");
            $body
        } else {
            $won -= 1;
            $crate::__select!(@pick $won [$($rest)+])
        }
    };

    (@op get $queue:expr) => { ($queue).select_get() };
    (@op put $queue:expr, $item:expr) => { ($queue).select_put($item) };
    (@op wait $source:expr) => { ($source).select_wait() };
    (@op join $handle:expr) => { $crate::select::join($handle) };
    (@op lock $mutex:expr) => { ($mutex).select_lock() };
    (@op acquire $semaphore:expr) => { ($semaphore).select_acquire(1) };
    (@op acquire_many $semaphore:expr, $n:expr) => { ($semaphore).select_acquire($n) };
    (@op $other:ident $($arg:expr),+) => {
        ::std::compile_error!(::std::concat!("select! knows no operation `", stringify!($other), "`"))
    };
}

/// How long to wait, if at all.
#[doc(hidden)]
#[derive(Clone, Copy, Debug)]
pub struct Wait(#[allow(private_interfaces)] pub(crate) Option<Limit>);

#[doc(hidden)]
pub const NOT: Wait = Wait(None);
#[doc(hidden)]
pub const EVER: Wait = Wait(Some(Limit::Never));

#[doc(hidden)]
pub fn within(limit: Duration) -> Wait {
    Wait(Some(Limit::After(limit)))
}

/// An arm, as the macro has it.
#[doc(hidden)]
#[allow(missing_debug_implementations)]
pub struct Arm<C>(pub(crate) C);

/// An arm of whatever kind.
#[doc(hidden)]
#[allow(missing_debug_implementations)]
pub struct Listed<'a>(&'a mut dyn wait::Arm);

impl<C: Choice> Arm<C> {
    #[doc(hidden)]
    pub fn listed(&mut self) -> Listed<'_> {
        Listed(&mut self.0)
    }

    /// The result, if this was the one; and the next one's index.
    #[doc(hidden)]
    pub fn end(mut self, won: Option<usize>, index: &mut usize) -> Option<C::Output> {
        *index += 1;
        (won == Some(*index - 1)).then(|| self.0.end())
    }
}

/// A mutex that an arm can lock.
#[doc(hidden)]
pub trait Lockable {
    type Inside: ?Sized;

    #[doc(hidden)]
    fn select_lock(&self) -> Arm<impl Choice<Output = MutexGuard<'_, Self::Inside>>>;
}

/// The end of a greenlet whose handle is in there.
#[doc(hidden)]
#[track_caller]
pub fn join<T>(
    handle: &mut Option<Greenlet<T>>,
) -> Arm<impl Choice<Output = Result<T, JoinError>>> {
    let there = handle.as_ref().expect("there is a handle to be joined");
    there.refuse_self();
    Arm(Ready::new(Joined(handle)))
}

struct Joined<'a, T>(&'a mut Option<Greenlet<T>>);

impl<T> HasSource for Joined<'_, T> {
    type Output = Result<T, JoinError>;

    fn source(&self) -> &dyn Source {
        self.0
            .as_ref()
            .expect("it is there until it is joined")
            .source()
    }

    fn end(self) -> Self::Output {
        self.0.take().expect("it is joined once").taken()
    }
}

thread_cell! {
    /// Where the next fair select of this thread begins.
    static TURN: Cell<usize> = Cell::new(0);
}

#[doc(hidden)]
#[inline(always)]
#[track_caller]
pub fn fair<const N: usize>(arms: [Listed<'_>; N], wait: Wait) -> Option<usize> {
    let turn = TURN.with(|turn| turn.replace(turn.get().wrapping_add(1)));
    run(arms, turn % N, wait)
}

#[doc(hidden)]
#[inline(always)]
#[track_caller]
pub fn biased<const N: usize>(arms: [Listed<'_>; N], wait: Wait) -> Option<usize> {
    run(arms, 0, wait)
}

#[inline(always)]
#[track_caller]
fn run<const N: usize>(arms: [Listed<'_>; N], first: usize, wait: Wait) -> Option<usize> {
    wait::select("select", &mut arms.map(|arm| arm.0), first, wait.0)
}

//! [`select!`](crate::select!): doing the first of several operations that can be done.

use crate::error::JoinError;
use crate::greenlet::Greenlet;
use crate::rt::clock::Limit;
use crate::rt::sync::thread_cell;
use crate::rt::wait::{self, Choice, HasSource, Intent, Ready, Source};
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
///     join(&mut handle) -> result => ...,    // as `join`, of a `Greenlet` in an `Option`
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
/// At first each is tried as its `_nowait` or `try_` form, which costs what those cost. Only if
/// none can be done does the caller get in all the lines at once.
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
            match $crate::__select!(@intents $mode $limit [$(($arm $out $op))+] []) {
                ($($out,)+) => $crate::__select!(@pick [$(($out $pattern $body))+] $default),
            }
        }
    };
    (@intents $mode:ident $limit:tt [($arm:ident $out:ident ($op:ident $($arg:expr),+)) $($rest:tt)*]
        [$($done:tt)*]) => {
        match $crate::__select!(@op $op $($arg),+) {
            mut $arm => $crate::__select!(@intents $mode $limit [$($rest)*] [$($done)* ($arm $out)]),
        }
    };
    // One of `out` becomes `Some`, or none: first without waiting, and if that may be, by it.
    (@intents $mode:ident $limit:tt [] [$(($arm:ident $out:ident))+]) => {{
        let limit = $limit;
        let mut turns = $crate::select::$mode([$(::std::stringify!($arm)),+].len());
        $(let mut $out = ::std::option::Option::None;)+
        'tries: loop {
            $(if turns.comes() {
                $out = $arm.attempt();
                if $out.is_some() {
                    break 'tries;
                }
            })+
            if turns.again() {
                continue;
            }
            if limit.is_any() {
                $(let mut $arm = $arm.arm();)+
                let won = $crate::select::wait([$($arm.listed()),+], &turns, limit);
                let mut number = 0;
                $(if $arm.has_won(won, &mut number) {
                    $out = ::std::option::Option::Some($arm.end());
                })+
            }
            break;
        }
        ($($out,)+)
    }};
    (@pick [] $default:tt) => { $default };
    (@pick [($out:ident ($pattern:pat) $body:tt) $($rest:tt)*] $default:tt) => {
        if let ::std::option::Option::Some(result) = $out {
            // A value, so that what is not named goes before the body.
            let $pattern = ::std::convert::identity(result);
            $body
        } else {
            $crate::__select!(@pick [$($rest)*] $default)
        }
    };

    (@op get $queue:expr) => { ($queue).select_get() };
    (@op put $queue:expr, $item:expr) => { ($queue).select_put($item) };
    (@op wait $source:expr) => { ($source).select_wait() };
    (@op join $handle:expr) => { $crate::select::join($handle) };
    (@op lock $mutex:expr) => { ($mutex).select_lock() };
    (@op acquire $semaphore:expr) => { ($semaphore).select_acquire(1) };
    (@op acquire_many $semaphore:expr, $n:expr) => { ($semaphore).select_acquire($n) };
    (@op default $($arg:expr),+) => {
        ::std::compile_error!("select! has nothing but a `default`")
    };
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
#[inline(always)]
pub fn within(limit: Duration) -> Wait {
    Wait(Some(Limit::After(limit)))
}

impl Wait {
    #[doc(hidden)]
    #[inline(always)]
    pub fn is_any(self) -> bool {
        self.0.is_some()
    }
}

/// An arm, as the macro has it while it tries.
#[doc(hidden)]
#[allow(missing_debug_implementations)]
pub struct Arm<I>(pub(crate) I);

impl<I: Intent> Arm<I> {
    #[doc(hidden)]
    #[inline(always)]
    pub fn attempt(&mut self) -> Option<I::Output> {
        self.0.attempt()
    }

    #[doc(hidden)]
    #[inline(always)]
    pub fn arm(&mut self) -> Waiting<impl Choice<Output = I::Output>> {
        Waiting(self.0.arm())
    }
}

/// An arm, as the macro has it while it waits.
#[doc(hidden)]
#[allow(missing_debug_implementations)]
pub struct Waiting<C>(C);

/// An arm of whatever kind.
#[doc(hidden)]
#[allow(missing_debug_implementations)]
pub struct Listed<'a>(&'a mut dyn wait::Arm);

impl<C: Choice> Waiting<C> {
    #[doc(hidden)]
    pub fn listed(&mut self) -> Listed<'_> {
        Listed(&mut self.0)
    }

    /// Whether this was the one; and the next one's number.
    #[doc(hidden)]
    #[inline(always)]
    pub fn has_won(&self, won: Option<usize>, number: &mut usize) -> bool {
        *number += 1;
        won == Some(*number - 1)
    }

    #[doc(hidden)]
    #[inline]
    pub fn end(&mut self) -> C::Output {
        self.0.end()
    }
}

/// A mutex that an arm can lock.
#[doc(hidden)]
pub trait Lockable {
    type Inside: ?Sized;

    #[doc(hidden)]
    fn select_lock(&self) -> Arm<impl Intent<Output = MutexGuard<'_, Self::Inside>>>;
}

/// The end of a greenlet whose handle is in there.
#[doc(hidden)]
#[track_caller]
pub fn join<T>(
    handle: &mut Option<Greenlet<T>>,
) -> Arm<impl Intent<Output = Result<T, JoinError>>> {
    let there = handle.as_ref().expect("there is a handle to be joined");
    there.refuse_self();
    Arm(Joined(handle))
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

impl<T> Intent for Joined<'_, T> {
    type Output = Result<T, JoinError>;

    fn attempt(&mut self) -> Option<Self::Output> {
        self.source().is_ready().then(|| Joined(self.0).end())
    }

    fn arm(&mut self) -> impl Choice<Output = Self::Output> {
        Ready::new(Joined(self.0))
    }
}

thread_cell! {
    /// Where the next fair select of this thread begins.
    static TURN: Cell<usize> = Cell::new(0);
}

/// Whose turn it is to be tried: from the first in turn to the last, and again from the
/// beginning up to there.
#[doc(hidden)]
#[derive(Debug)]
pub struct Turns {
    first: usize,
    next: usize,
    again: bool,
}

#[doc(hidden)]
#[inline(always)]
pub fn fair(n: usize) -> Turns {
    let turn = TURN.with(|turn| turn.replace(turn.get().wrapping_add(1)));
    Turns::new(turn % n)
}

#[doc(hidden)]
#[inline(always)]
pub fn biased(_n: usize) -> Turns {
    Turns::new(0)
}

impl Turns {
    #[inline(always)]
    fn new(first: usize) -> Self {
        Turns {
            first,
            next: 0,
            again: false,
        }
    }

    /// Whether that of the next arm comes now. The macro asks for each, in the order in which
    /// they are written.
    #[doc(hidden)]
    #[inline(always)]
    pub fn comes(&mut self) -> bool {
        let index = self.next;
        self.next += 1;
        (index < self.first) == self.again
    }

    /// Whether some are left, to be asked for once more.
    #[doc(hidden)]
    #[inline(always)]
    pub fn again(&mut self) -> bool {
        self.next = 0;
        !std::mem::replace(&mut self.again, true) && self.first > 0
    }
}

#[doc(hidden)]
#[inline(always)]
#[track_caller]
pub fn wait<const N: usize>(arms: [Listed<'_>; N], turns: &Turns, wait: Wait) -> Option<usize> {
    wait::select("select", &mut arms.map(|arm| arm.0), turns.first, wait.0?)
}

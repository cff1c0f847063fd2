//! Generators: a body that hands out values one by one, each when it is asked for.

use crate::rt::coroutine::{Errand, Unwind, Yielder as WayOut, can_unwind};
use crate::rt::hub::{self, Hub};
use crate::rt::park;
use crate::rt::report::{discard, report};
use crate::rt::stack;
use crate::rt::sync::panicking;
use crate::rt::task::{Site, next_frame};
use crate::rt::wait::Side;
use std::any::Any;
use std::cell::Cell;
use std::fmt;
use std::io;
use std::iter::FusedIterator;
use std::panic::{AssertUnwindSafe, RefUnwindSafe, UnwindSafe, catch_unwind, resume_unwind};
use std::rc::Rc;

/// What [`Generator::resume`] came back with, as std's `CoroutineState`.
///
/// # Examples
///
/// ```
/// use greenlet::{Generator, GeneratorState};
///
/// let mut g = Generator::new(|y, ()| { y.yield_(1); "end" });
/// assert_eq!(g.resume(()), GeneratorState::Yielded(1));
/// assert_eq!(g.resume(()), GeneratorState::Complete("end"));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum GeneratorState<Out, Ret> {
    /// The body has yielded this, and can be resumed.
    Yielded(Out),
    /// The body has returned this; it is over.
    Complete(Ret),
}

type Body<In, Out, Ret> = Box<dyn FnOnce(&Yielder<In, Out>, In) -> Ret>;

/// A body on a stack of its own that runs when it is resumed, until it yields.
///
/// [`resume`](Generator::resume) hands a value in, and gets out what the body yields or
/// returns. It is Python's generator with `send`: here any function that the body calls
/// may yield, if it has the [`Yielder`]. A generator that is sent nothing is an iterator.
///
/// A resume is a call, on another stack: the body runs *as* the greenlet (or root, or
/// plain thread) that resumes it, and no other greenlet runs in between. So in the body
/// [`current`](crate::current) is the driver, a [`Local`](crate::Local) has the driver's
/// value, and a wait parks the driver, inside of `resume`. It costs two switches of stacks,
/// and no trip through the hub. A computation that resumes without end and never waits holds
/// its hub up as any other does.
///
/// A generator stays on its thread, but may be resumed by one greenlet after another. Its
/// stack comes from the thread's hub, at the first resume, which makes the hub if there is
/// none.
///
/// # Where a body may not yield
///
/// Inside a [`timeout`](crate::timeout()), [`scope`](crate::scope()), [`run`](crate::run()),
/// [`shield`](crate::shield), [`finally`](crate::finally), [`no_switch`](crate::no_switch)
/// or [`Local::scope`](crate::Local::scope) that the body itself has opened: these belong to who
/// drives it, who would leave `resume` with them open (Python's PEP 789 tells what goes
/// wrong then). It panics. Who drives may have any of them around `resume`. A lock of
/// [`sync`](crate::sync) or a permit may be held at a yield, as over a wait; and a yield
/// counts as a wait where the [crate page](crate#soundness) says what not to wait in.
///
/// # Timeouts and kills
///
/// A kill or an expiry of the driver ends the body's wait as any other: it unwinds the
/// body, comes out of `resume`, and the generator is finished. While the body is suspended
/// at a yield it is nobody's, so neither can reach it.
///
/// # Dropping
///
/// A body that has not begun is dropped. One that is suspended is unwound from its yield, by
/// who drops the generator, so its destructors run; they cannot wait, as in any unwind. If
/// it catches the unwind and yields again it is unwound again; what it returns is dropped.
/// A panic of the body comes out of the drop, unless the thread is panicking already. So a
/// generator that goes because its owner panics or is killed ends in the same way. With
/// `panic = "abort"` a suspended body is leaked.
///
/// # How it works
///
/// The driver's way to its hub leads through the stack of the generator while that runs,
/// and back through its own: see `rt/wait/side.rs`. A generator as a greenlet of its own
/// would take less care, but two trips through the hub for each resume, have locals and
/// kills of its own, and could not be ended by a drop in an unwind.
///
/// # Examples
///
/// ```
/// use greenlet::Generator;
///
/// let fibonacci = Generator::new(|y, ()| {
///     let (mut a, mut b) = (0, 1);
///     loop {
///         y.yield_(a);
///         (a, b) = (b, a + b);
///     }
/// });
/// assert!(fibonacci.take(8).eq([0, 1, 1, 2, 3, 5, 8, 13]));
/// ```
///
/// A running mean, which is sent numbers:
///
/// ```
/// use greenlet::{Generator, GeneratorState};
///
/// let mut mean = Generator::<f64, f64, ()>::new(|y, first| {
///     let (mut sum, mut n) = (first, 1.0);
///     loop {
///         sum += y.yield_(sum / n);
///         n += 1.0;
///     }
/// });
/// assert_eq!(mean.resume(10.0), GeneratorState::Yielded(10.0));
/// assert_eq!(mean.resume(20.0), GeneratorState::Yielded(15.0));
/// ```
pub struct Generator<In: 'static, Out: 'static, Ret: 'static> {
    core: Rc<Core<In, Out, Ret>>,
}

// The body's state is its own: who has caught a panic of it finds it finished.
impl<In, Out, Ret> UnwindSafe for Generator<In, Out, Ret> {}
impl<In, Out, Ret> RefUnwindSafe for Generator<In, Out, Ret> {}

/// A body's way to yield. It is lent to the body of a [`Generator`].
///
/// # Examples
///
/// A recursive walk, which yields from any depth:
///
/// ```
/// use greenlet::{Generator, Yielder};
///
/// fn hanoi(y: &Yielder<(), (char, char)>, n: u32, from: char, to: char, via: char) {
///     if n > 0 {
///         hanoi(y, n - 1, from, via, to);
///         y.yield_((from, to));
///         hanoi(y, n - 1, via, to, from);
///     }
/// }
/// let moves = Generator::new(|y, ()| hanoi(y, 10, 'a', 'c', 'b'));
/// assert_eq!(moves.count(), 1023);
/// ```
pub struct Yielder<In: 'static, Out: 'static> {
    side: Side,
    input: Cell<Option<In>>,
    output: Cell<Option<Out>>,
    /// The frame up to which the body is being unwound, since the generator is dropped.
    ending: Cell<Option<u64>>,
    /// Who drops it is panicking, so that is no sign that the body is.
    in_unwind: Cell<bool>,
    /// How often it was unwound so.
    raised: Cell<u32>,
}

impl<In, Out> UnwindSafe for Yielder<In, Out> {}
impl<In, Out> RefUnwindSafe for Yielder<In, Out> {}

/// What a generator shares with the stack of its body.
struct Core<In: 'static, Out: 'static, Ret: 'static> {
    yielder: Yielder<In, Out>,
    stack_size: usize,
    body: Cell<Option<Body<In, Out, Ret>>>,
    stage: Cell<Stage>,
    /// How the body has ended, until the driver takes it.
    outcome: Cell<Option<Result<Ret, Box<dyn Any + Send>>>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Unstarted,
    /// At a yield.
    Suspended,
    /// Somebody drives it, or has begun to and was left behind at the end of the thread.
    Driven,
    Finished,
}

impl<In, Out, Ret> Errand<&'static Hub> for Core<In, Out, Ret> {
    fn run(&self, way_out: WayOut<&'static Hub>) {
        self.yielder.side.arrive(way_out);
        let body = self.body.take().expect("a body runs once");
        let first = self.yielder.input.take().expect("sent with the start");
        let outcome = catch_unwind(AssertUnwindSafe(|| body(&self.yielder, first)));
        self.outcome.set(Some(outcome));
        self.yielder.side.depart();
    }
}

impl<In, Out> Yielder<In, Out> {
    /// Hands `value` to who has resumed the generator, and waits to be resumed: returns
    /// what is sent then.
    ///
    /// # Timeouts and kills
    ///
    /// Not here: nobody waits. If the generator is dropped meanwhile, this unwinds.
    ///
    /// # Panics
    ///
    /// Inside what the body has opened and not closed, see [`Generator`], and in another
    /// greenlet than the one that runs the body, as a child of a scope that the body has
    /// opened. While the thread is panicking, as in a destructor that an unwind runs, there
    /// is nothing that could be returned, and the process aborts with a message.
    ///
    /// # Examples
    ///
    /// ```
    /// use greenlet::{Generator, GeneratorState};
    ///
    /// let mut echo = Generator::<_, _, ()>::new(|y, mut word: &str| {
    ///     loop {
    ///         word = y.yield_(word.len());
    ///     }
    /// });
    /// assert_eq!(echo.resume("abc"), GeneratorState::Yielded(3));
    /// assert_eq!(echo.resume("a"), GeneratorState::Yielded(1));
    /// ```
    #[track_caller]
    pub fn yield_(&self, value: Out) -> In {
        let site = Site::here("Yielder::yield_");
        if self.ending.get().is_some() {
            if panicking() && !self.in_unwind.get() {
                park::abort_panicking(&site);
            }
            drop(value);
            self.end();
        }
        self.output.set(Some(value));
        self.side.leave(&site);
        self.input.take().unwrap_or_else(|| self.end())
    }

    /// The generator is being dropped: unwinds the body.
    #[cold]
    fn end(&self) -> ! {
        let frame = self.ending.get().expect("resumed with an input, or to end");
        let raised = self.raised.get() + 1;
        self.raised.set(raised);
        if raised == SWALLOWED_REPORTED {
            report(format_args!("a generator keeps swallowing its end"));
        }
        Unwind::Frame(frame).raise()
    }
}

/// After so many unwinds that the body has swallowed, say so.
const SWALLOWED_REPORTED: u32 = 16;

impl<In, Out, Ret> Generator<In, Out, Ret> {
    /// With a body that has not begun. It gets the way to yield, and what is sent with the
    /// first [`resume`](Generator::resume). Its stack is of 256 KiB.
    ///
    /// The body may own things that are not `Send`. It cannot borrow: a generator that is
    /// forgotten never runs again, but what its body has lent to others would not end.
    ///
    /// # Examples
    ///
    /// See [`Generator`].
    pub fn new(body: impl FnOnce(&Yielder<In, Out>, In) -> Ret + 'static) -> Self {
        Generator::with_class(stack::DEFAULT_SIZE, body)
    }

    /// As [`new`](Generator::new), with a stack of at least so many bytes; see
    /// [`Builder::stack_size`](crate::Builder::stack_size).
    ///
    /// # Errors
    ///
    /// `InvalidInput` if the size is below 32 KiB, or exceeds the address space.
    ///
    /// # Examples
    ///
    /// ```
    /// use greenlet::Generator;
    ///
    /// let squares = Generator::with_stack_size(32 * 1024, |y, ()| {
    ///     (1..4).for_each(|i| y.yield_(i * i));
    /// });
    /// assert!(squares.unwrap().eq([1, 4, 9]));
    /// ```
    pub fn with_stack_size(
        bytes: usize,
        body: impl FnOnce(&Yielder<In, Out>, In) -> Ret + 'static,
    ) -> io::Result<Self> {
        Ok(Generator::with_class(stack::class(bytes)?, body))
    }

    fn with_class(
        stack_size: usize,
        body: impl FnOnce(&Yielder<In, Out>, In) -> Ret + 'static,
    ) -> Self {
        let yielder = Yielder {
            side: Side::new(),
            input: Cell::new(None),
            output: Cell::new(None),
            ending: Cell::new(None),
            in_unwind: Cell::new(false),
            raised: Cell::new(0),
        };
        Generator {
            core: Rc::new(Core {
                yielder,
                stack_size,
                body: Cell::new(Some(Box::new(body))),
                stage: Cell::new(Stage::Unstarted),
                outcome: Cell::new(None),
            }),
        }
    }

    /// Runs the body until it yields or returns. The first time `value` is the body's
    /// argument, later it is what the body's [`yield_`](Yielder::yield_) returns.
    ///
    /// # Timeouts and kills
    ///
    /// Act on what the body waits for, and come out here.
    ///
    /// # Panics
    ///
    /// With the panic of the body; if the generator [is finished](Generator::is_finished);
    /// if there is no memory for the stack, at the first time, and then it can be tried
    /// again. While the thread is panicking the process aborts with a message, since the
    /// body could not wait, nor this return anything.
    ///
    /// # Examples
    ///
    /// ```
    /// use greenlet::{Generator, GeneratorState};
    /// use std::time::Duration;
    ///
    /// let mut slow = Generator::new(|y, ()| {
    ///     greenlet::sleep(Duration::from_millis(1)); // as the driver
    ///     y.yield_(1);
    /// });
    /// assert_eq!(slow.resume(()), GeneratorState::Yielded(1));
    /// let late = greenlet::timeout(Duration::ZERO, || slow.resume(()));
    /// assert_eq!(late, Ok(GeneratorState::Complete(())));
    /// ```
    #[track_caller]
    pub fn resume(&mut self, value: In) -> GeneratorState<Out, Ret> {
        let core = &*self.core;
        assert!(
            core.stage.get() != Stage::Finished,
            "Generator::resume of one that is finished"
        );
        if panicking() {
            park::abort_panicking(&Site::here("Generator::resume"));
        }
        core.yielder.input.set(Some(value));
        if let Err(error) = on_hub(|| self.go_on()) {
            drop(core.yielder.input.take());
            panic!("no stack for a generator: {error}");
        }
        match core.outcome.take() {
            None => {
                core.stage.set(Stage::Suspended);
                let value = core.yielder.output.take();
                GeneratorState::Yielded(value.expect("left by a yield"))
            }
            Some(outcome) => {
                core.stage.set(Stage::Finished);
                GeneratorState::Complete(outcome.unwrap_or_else(|payload| resume_unwind(payload)))
            }
        }
    }

    #[inline]
    fn go_on(&self) -> io::Result<()> {
        let core = &self.core;
        if core.stage.replace(Stage::Driven) == Stage::Suspended {
            core.yielder.side.drive();
            return Ok(());
        }
        let started = core.yielder.side.start(core.stack_size, core.clone());
        if started.is_err() {
            core.stage.set(Stage::Unstarted);
        }
        started
    }

    /// True if the body has returned or was unwound.
    ///
    /// # Examples
    ///
    /// ```
    /// let mut once = greenlet::Generator::new(|_: &greenlet::Yielder<_, ()>, ()| 1);
    /// assert!(!once.is_finished());
    /// let _ = once.resume(());
    /// assert!(once.is_finished());
    /// ```
    pub fn is_finished(&self) -> bool {
        self.core.stage.get() == Stage::Finished
    }
}

/// Runs `f`, which makes the thread's hub if there is none. If the thread is at its end
/// nobody else would end that hub.
#[inline]
fn on_hub<R>(f: impl FnOnce() -> R) -> R {
    let late = hub::thread_has_ended();
    let result = f();
    if late && Hub::get().is_some_and(|hub| hub.live() == 0) {
        park::close_hub();
    }
    result
}

impl<In, Out, Ret> Drop for Generator<In, Out, Ret> {
    fn drop(&mut self) {
        // One that is driven goes only as part of a thread-local, with its driver left behind
        // in a wait: leaked.
        if self.core.stage.get() != Stage::Suspended || !can_unwind() {
            return;
        }
        self.core.stage.set(Stage::Driven);
        self.core.yielder.ending.set(Some(next_frame()));
        self.core.yielder.in_unwind.set(panicking());
        on_hub(|| self.core.yielder.side.drive());
        self.core.stage.set(Stage::Finished);
        let outcome = self.core.outcome.take();
        match outcome.expect("a body that is ending does not leave") {
            Ok(value) => drop(value),
            Err(payload) if self.is_end(&*payload) => {}
            // A panic, or what has ended a wait of the body's meanwhile.
            Err(payload) if !panicking() => resume_unwind(payload),
            Err(payload) => discard(payload),
        }
    }
}

impl<In, Out, Ret> Generator<In, Out, Ret> {
    fn is_end(&self, payload: &(dyn Any + Send)) -> bool {
        let end = self.core.yielder.ending.get().map(Unwind::Frame);
        end.is_some() && Unwind::of(payload) == end
    }
}

/// Each item is what the body yields; its end is the iterator's. After it there is
/// nothing more, and while the thread is panicking there is nothing either.
impl<Out> Iterator for Generator<(), Out, ()> {
    type Item = Out;

    #[track_caller]
    fn next(&mut self) -> Option<Out> {
        if self.is_finished() || panicking() {
            return None;
        }
        match self.resume(()) {
            GeneratorState::Yielded(value) => Some(value),
            GeneratorState::Complete(()) => None,
        }
    }
}

impl<Out> FusedIterator for Generator<(), Out, ()> {}

impl<In, Out, Ret> fmt::Debug for Generator<In, Out, Ret> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.core.stage.get() {
            Stage::Unstarted => "unstarted",
            Stage::Suspended => "suspended",
            Stage::Driven => "driven",
            Stage::Finished => "finished",
        };
        f.debug_struct("Generator").field("state", &state).finish()
    }
}

impl<In, Out> fmt::Debug for Yielder<In, Out> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Yielder").finish_non_exhaustive()
    }
}

//! corosensei, wrapped: bind a stack, resume, suspend, raise.
//!
//! A [`Worker`] is a coroutine that runs greenlet after greenlet on its stack;
//! it is never re-created. The hub's loop is the only one that resumes greenlets'
//! workers, and only the greenlet that runs suspends its own; the worker of a
//! generator's body is resumed by whoever drives the generator, and suspended by the
//! body (`wait/side.rs`). The value handed over by a suspension (`Y`, the hub) travels
//! in a register, so nothing that the loop needs next comes off the stack it has just
//! left.
//!
//! `unsafe` here rests on three rules, kept by `hub.rs` and `wait/side.rs`:
//! 1. a worker is resumed only on its thread and only while it is suspended: a
//!    greenlet's by the loop of its hub, which is not re-entered; a generator's by
//!    the one who has the generator to itself (`&mut`);
//! 2. a [`Yielder`] is used only by what runs on its stack;
//! 3. memory made by [`leak`] is given back by [`Origin::reclaim`], and a worker's stack by
//!    [`Retired::reclaim`], only when nobody can reach it any more.
//!
//! # What a switch by jumps would give
//!
//! corosensei 0.3.4 enters a coroutine by `call` and leaves it by `ret`. A processor predicts
//! where a `ret` goes from the calls it has seen; after a switch these were another greenlet's,
//! so the returns of the frames above the wait are predicted wrongly. Tried on a copy for x86-64
//! where both are jumps, three places (`switch_and_link`, `switch_yield`, `switch_and_reset`);
//! nanoseconds of processor time, stock and with jumps, minima of five interleaved runs:
//!
//! | | no frame above | 1 | 3 | 6 |
//! |---|---|---|---|---|
//! | yield, 2 greenlets, equal chains | 10.3, 10.2 | 25.6, 11.4 | 28.2, 12.4 | 31.2, 14.6 |
//! | yield, 1,000 greenlets, equal chains | 14.3, 13.5 | 33.8, 16.5 | 37.4, 19.5 | 41.1, 23.0 |
//! | yield, 4 greenlets, 4 chains | | 25.5, 18.0 | 38.0, 31.1 | 55.6, 48.8 |
//! | yield, 1,000 greenlets, 4 chains | | 36.5, 26.6 | 50.9, 40.7 | 69.0, 60.2 |
//!
//! Spawn and join 86.5, 87.5 (batches of 10,000: 140.5, 133.1); a queue of one place 28.3, 27.8;
//! 1,000 on a semaphore of two 83.7, 79.9; 1,000 woken by an event 40.8, 37.9 each. So it costs
//! nothing where no frame is above, and takes 7 to 18 ns off each switch elsewhere, which is what
//! real programs have. It is for corosensei to change: nothing of it is kept here.
//!
//! There too: `suspend` is not marked inline. At optimisation levels 1, s and z it becomes a call,
//! and a switch costs a misprediction more even without a frame above. `benches/shape` looks at
//! what the compiler has made of it.

use super::report::AbortOnUnwind;
use super::stack::{self, ColouredStack, Span};
use corosensei::{Coroutine, CoroutineResult};
use std::any::Any;
use std::cell::{Cell, UnsafeCell};
use std::io;
use std::marker::PhantomData;
use std::ptr::NonNull;

/// The way out of a running worker.
#[derive(Debug)]
pub(crate) struct Yielder<Y>(NonNull<corosensei::Yielder<(), Y>>);

impl<Y> Clone for Yielder<Y> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<Y> Copy for Yielder<Y> {}

impl<Y> Yielder<Y> {
    /// Leaves this worker's stack; returns when it is resumed.
    ///
    /// # Safety
    ///
    /// The caller runs on the worker that this yielder belongs to.
    #[inline(always)]
    pub(crate) unsafe fn suspend(self, value: Y) {
        // SAFETY: corosensei's yielder lives at the base of the worker's stack,
        // which exists because the caller runs on it.
        unsafe { self.0.as_ref() }.suspend(value);
    }
}

/// What a worker runs each time it is given work: one greenlet from start to
/// end. `None` ends the worker.
pub(crate) type Entry<Y> = fn(Yielder<Y>) -> Option<Y>;

/// A coroutine on a stack of its own that runs greenlet after greenlet. It lies at the top of
/// that stack, next to what a switch touches there, together with what its owner keeps of who
/// runs on it (`A`).
#[repr(C)]
pub(crate) struct Worker<Y: 'static, A: 'static = ()> {
    coroutine: UnsafeCell<Coroutine<(), Y, (), ColouredStack>>,
    attached: A,
    size: usize,
    span: Span,
    /// Its stack was renewed for the greenlet that it runs.
    renewed: Cell<bool>,
    fiber: Fiber,
}

impl<Y: 'static, A: 'static> Worker<Y, A> {
    /// A worker on a fresh stack; `entry` runs at its first resume.
    pub(crate) fn start(size: usize, entry: Entry<Y>, attached: A) -> io::Result<&'static Self> {
        const { assert!(size_of::<Self>() <= stack::RESERVED && align_of::<Self>() <= 16) };
        let stack = stack::allocate(size)?;
        let span = stack::span(&stack);
        let place = stack.reserved().cast::<Self>();
        let coroutine = Coroutine::with_stack(stack, move |yielder, ()| {
            // If anything unwound out of `entry`, it would unwind the hub's
            // loop under the feet of other greenlets.
            let bomb = AbortOnUnwind::machinery();
            while let Some(value) = entry(Yielder(NonNull::from(yielder))) {
                yielder.suspend(value);
            }
            std::mem::forget(bomb);
        });
        let worker = Worker {
            coroutine: UnsafeCell::new(coroutine),
            attached,
            size,
            span,
            renewed: Cell::new(false),
            fiber: Fiber::new(),
        };
        // SAFETY: the stack has this place for it, large enough and aligned, and the stack
        // lives until the worker is read out of it again.
        Ok(unsafe {
            place.write(worker);
            &*place
        })
    }

    #[inline(always)]
    pub(crate) fn attached(&self) -> &A {
        &self.attached
    }

    pub(crate) fn size(&self) -> usize {
        self.size
    }

    /// Where its stack is.
    pub(crate) fn span(&self) -> Span {
        self.span
    }

    /// Begins to measure how much of its stack is used. It must be idle.
    pub(crate) fn begin_measure(&self) {
        self.renewed.set(stack::renew(self.span));
    }

    /// How many bytes have been used since [`begin_measure`](Worker::begin_measure), if that
    /// was called.
    pub(crate) fn end_measure(&self) -> Option<usize> {
        self.renewed.take().then(|| stack::depth(self.span))
    }

    /// Whether the caller runs on this worker's stack.
    #[inline]
    pub(crate) fn is_underfoot(&self) -> bool {
        self.span.contains(stack_pointer())
    }

    /// Runs the worker until it suspends; `None` if it has ended.
    #[inline]
    pub(crate) fn resume(&'static self) -> Option<Y> {
        // SAFETY: rule 1: it is suspended, and one party alone resumes it, so no
        // other reference to the coroutine exists.
        let coroutine = unsafe { &mut *self.coroutine.get() };
        match self.fiber.during(|| coroutine.resume(())) {
            CoroutineResult::Yield(value) => Some(value),
            CoroutineResult::Return(()) => None,
        }
    }

    /// Ends an idle worker, whose `entry` must answer `None`.
    #[must_use = "its stack is given back by `reclaim`"]
    pub(crate) fn retire(&'static self) -> Retired<Y, A> {
        let ended = self.resume().is_none();
        assert!(ended, "a worker that is retired has no greenlet");
        Retired(NonNull::from(self))
    }
}

/// A worker that has ended: nothing of it is left but its stack.
pub(crate) struct Retired<Y: 'static, A: 'static>(NonNull<Worker<Y, A>>);

impl<Y, A> Retired<Y, A> {
    /// Gives the stack back.
    ///
    /// This is not `unsafe` to call only because its callers are the hub's, which has taken
    /// the worker out of all places before it retired it, and forgets it now. With it goes what
    /// is attached: the record of a greenlet that has ended, so that nothing names it, and which
    /// is not the current one, since the loop has made the root that. Nor is a reference to the
    /// worker an argument of a function that has not returned.
    pub(crate) fn reclaim(self) {
        // SAFETY: nobody else has a use for it. It is read out of the stack first, which it
        // owns and which goes with it.
        let worker = unsafe { self.0.read() };
        drop(worker);
    }
}

/// A worker as ThreadSanitizer knows it. Builds with `--cfg greenlet_tsan` have its
/// runtime and tell it of each switch, see `.ci/run`; in others this is nothing.
#[cfg(greenlet_tsan)]
struct Fiber(*mut std::ffi::c_void);

#[cfg(greenlet_tsan)]
impl Fiber {
    fn new() -> Self {
        // SAFETY: no memory of ours is involved.
        Fiber(unsafe { tsan::__tsan_create_fiber(0) })
    }

    /// Runs `switch`, which leaves the caller's stack for the worker's and comes back.
    fn during<R>(&self, switch: impl FnOnce() -> R) -> R {
        // SAFETY: rule 1: it runs nowhere else, and the caller's is there until the
        // return. Without flags: what is done before a switch is ordered before
        // what is done after it.
        unsafe {
            let caller = tsan::__tsan_get_current_fiber();
            tsan::__tsan_switch_to_fiber(self.0, 0);
            let result = switch();
            tsan::__tsan_switch_to_fiber(caller, 0);
            result
        }
    }
}

#[cfg(greenlet_tsan)]
impl Drop for Fiber {
    fn drop(&mut self) {
        // SAFETY: made by `new`, and its worker has ended.
        unsafe { tsan::__tsan_destroy_fiber(self.0) };
    }
}

#[cfg(greenlet_tsan)]
mod tsan {
    use std::ffi::{c_uint, c_void};

    unsafe extern "C" {
        pub(super) fn __tsan_get_current_fiber() -> *mut c_void;
        pub(super) fn __tsan_create_fiber(flags: c_uint) -> *mut c_void;
        pub(super) fn __tsan_destroy_fiber(fiber: *mut c_void);
        pub(super) fn __tsan_switch_to_fiber(fiber: *mut c_void, flags: c_uint);
    }
}

#[cfg(not(greenlet_tsan))]
struct Fiber;

#[cfg(not(greenlet_tsan))]
impl Fiber {
    fn new() -> Self {
        Fiber
    }

    #[inline(always)]
    fn during<R>(&self, switch: impl FnOnce() -> R) -> R {
        switch()
    }
}

/// An address in the caller's frame. That of a local would not do everywhere: AddressSanitizer
/// puts some of them elsewhere.
#[inline(always)]
pub(crate) fn stack_pointer() -> usize {
    #[cfg(all(any(target_arch = "x86_64", target_arch = "aarch64"), not(miri)))]
    {
        let pointer: usize;
        // SAFETY: it copies a register, and touches nothing else.
        unsafe {
            #[cfg(target_arch = "x86_64")]
            std::arch::asm!("mov {}, rsp", out(reg) pointer, options(nomem, nostack, preserves_flags));
            #[cfg(target_arch = "aarch64")]
            std::arch::asm!("mov {}, sp", out(reg) pointer, options(nomem, nostack, preserves_flags));
        }
        pointer
    }
    #[cfg(not(all(any(target_arch = "x86_64", target_arch = "aarch64"), not(miri))))]
    {
        let here = 0u8;
        std::hint::black_box(&raw const here).addr()
    }
}

/// Has the caches fetch so many lines from an address on. Any address will do: nothing is
/// read, and one that is not mapped is passed over.
#[inline(always)]
pub(crate) fn prefetch(address: usize, lines: usize) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    for line in 0..lines {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        let at = std::ptr::without_provenance(address.wrapping_add(64 * line));
        // SAFETY: the instruction changes nothing that a program can see, and faults nowhere.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(at) };
    }
    // Elsewhere stable Rust has no such instruction.
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    let _ = (address, lines);
}

/// What [`leak`] makes keeps its [`Origin`].
pub(crate) trait Leaked: Sized {
    fn origin(&self) -> &Origin<Self>;
}

/// The pointer by which leaked memory can be freed. A reference would not do: it
/// is for reading, and one that is an argument must be good until its function
/// returns.
pub(crate) struct Origin<T>(Cell<Option<NonNull<T>>>);

impl<T> Origin<T> {
    pub(crate) fn new() -> Self {
        Origin(Cell::new(None))
    }

    pub(crate) fn take(&self) -> Self {
        Origin(Cell::new(self.0.take()))
    }

    /// Frees what [`leak`] made.
    ///
    /// # Safety
    ///
    /// No reference to it is used again, and none is an argument of a function
    /// that has not returned.
    unsafe fn reclaim(self) {
        let value = self.0.get().expect("freed once, and made by `leak`");
        // SAFETY: the caller's promise; `leak` took it from a `Box`.
        drop(unsafe { Box::from_raw(value.as_ptr()) });
    }
}

/// Memory that lives as long as its hub, whose end cannot be expressed as a
/// lifetime: the hub's data is reached from stacks that the compiler knows
/// nothing about.
pub(crate) fn leak<T: Leaked>(value: T) -> &'static T {
    let origin = NonNull::from(Box::leak(Box::new(value)));
    // SAFETY: it lives until `reclaim`, and nobody else has it yet.
    let value = unsafe { origin.as_ref() };
    value.origin().0.set(Some(origin));
    value
}

/// Frees a hub and its root when the hub has ended cleanly.
///
/// This is not `unsafe` to call only because its one caller is `Hub::close`,
/// which has seen that no greenlet is alive (so no record is linked anywhere, and no
/// timer, node or ready queue names the root), that
/// the thread no longer knows the hub, and that it runs on the root, outside the
/// hub's loop (rule 3). Neither it nor who calls it has the hub as an argument.
pub(crate) fn reclaim_ended_hub<H, R>(hub: Origin<H>, root: Origin<R>) {
    // SAFETY: see above.
    unsafe {
        root.reclaim();
        hub.reclaim();
    }
}

/// What a greenlet does, and whom it tells, whatever its type: see `wait/pair.rs`. Its hub
/// has a part of its memory (`S`) for what it knows of a greenlet that has not started.
pub(crate) struct Job<'a, S: 'static> {
    head: NonNull<Head<S>>,
    /// It may borrow for so long, and is not for other threads.
    borrows: PhantomData<*mut &'a ()>,
}

/// With this the memory of a job begins.
#[repr(C)]
pub(crate) struct Head<S: 'static> {
    pub(crate) calls: &'static Calls<S>,
    pub(crate) seed: S,
}

/// What can be done with a job, by the pointer to its memory.
pub(crate) struct Calls<S: 'static> {
    /// Runs it on the greenlet, once. Never unwinds.
    pub(crate) run: unsafe fn(NonNull<Head<S>>, Order, &JobSlot<S>),
    /// The hub's thread ends with this greenlet unfinished: tells those who wait. Once.
    pub(crate) abandon: unsafe fn(NonNull<Head<S>>),
    /// Frees the memory, when nobody has it any more.
    pub(crate) free: unsafe fn(NonNull<Head<S>>),
}

/// A greenlet's job, from its start until it begins to publish its outcome.
pub(crate) type JobSlot<S> = Cell<Option<Job<'static, S>>>;

impl<'a, S> Job<'a, S> {
    /// # Safety
    ///
    /// It is where the memory of a job begins, whose calls are for it; and it is this job's.
    pub(crate) unsafe fn new(head: NonNull<Head<S>>) -> Self {
        let borrows = PhantomData;
        Job { head, borrows }
    }

    /// The hub's part of it.
    ///
    /// Not `unsafe` to call only because its callers are the hub's, which uses it no more when
    /// the job has been run or abandoned.
    pub(crate) fn seed(&self) -> &'static S {
        // SAFETY: the promise of `new`; and see above.
        unsafe { &(*self.head.as_ptr()).seed }
    }

    /// Runs the job in the slot. It stays there meanwhile, so that the end of the thread can
    /// tell those who wait for it.
    ///
    /// Not `unsafe` to call only because its one caller is `Hub::enter`, which runs each
    /// greenlet once.
    pub(crate) fn run(slot: &JobSlot<S>, order: Order) {
        let job = slot.take().expect("a greenlet starts with a job");
        let head = job.head;
        slot.set(Some(job));
        // SAFETY: the promise of `new`, and see above. Nobody takes it out of the slot but
        // `run` itself, and the end of the thread, after which that never runs again.
        unsafe { ((*head.as_ptr()).calls.run)(head, order, slot) };
    }

    /// The hub's thread ends: tells those who wait. What it owns is leaked.
    pub(crate) fn abandon(self) {
        // SAFETY: the promise of `new`; it was not run, or still in its slot, see `run`.
        unsafe { ((*self.head.as_ptr()).calls.abandon)(self.head) };
    }
}

/// What runs, once, on a stack beside that of the greenlet. See `wait/side.rs`.
pub(crate) trait Errand<Y> {
    /// On that stack, of which this is the way out. Never unwinds.
    fn run(&self, yielder: Yielder<Y>);
}

/// What a greenlet's job is to do at its first turn.
#[derive(Debug)]
pub(crate) enum Order {
    /// Run the body.
    Run,
    /// Killed before the start: drop the body unrun.
    Kill,
    /// No stack could be had for it: drop the body unrun.
    NoStack(io::Error),
}

/// Forgets the lifetime of a scoped greenlet's job.
///
/// Not `unsafe` to call only because its one caller is `scope.rs`, which keeps
/// the promise that makes it sound: `scope` neither returns nor unwinds before
/// each child's job has been consumed and dropped (its count of children falls
/// as the last act of a job), and if that cannot be had, it aborts. The hub
/// that leaks a started child leaks its stack with it and never ends the frame
/// that the child borrows from, which lives on a leaked stack or on a thread
/// that cannot leave `scope`.
pub(crate) fn erase<S>(job: Job<'_, S>) -> Job<'static, S> {
    let borrows = PhantomData;
    // See above for why nothing outlives what it borrows.
    Job {
        head: job.head,
        borrows,
    }
}

/// Why a greenlet's stack is unwound without a panic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unwind {
    /// A kill: caught at the greenlet's root.
    Kill,
    /// The frame of that number (a timeout or a scope): caught there.
    Frame(u64),
}

impl Unwind {
    /// Unwinds the caller's stack as a panic would, but without the panic hook.
    pub(crate) fn raise(self) -> ! {
        std::panic::resume_unwind(Box::new(self))
    }

    /// Recognises its own payload.
    pub(crate) fn of(payload: &(dyn Any + Send)) -> Option<Unwind> {
        payload.downcast_ref().copied()
    }
}

/// Whether this build can unwind; without it there are no kills and no timeout scopes.
pub(crate) fn can_unwind() -> bool {
    cfg!(panic = "unwind")
}

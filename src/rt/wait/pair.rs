//! One who gives a value and one who takes it: a greenlet and its handle.
//!
//! Both share one block of memory, a greenlet's only one beside its stack: what its hub knows
//! before the start ([`Seed`]), the latch with the value, some data that both may see (`X`), and
//! what only the giver has (`Y`: the greenlet's body). Whoever goes last frees it.
//!
//! # How the block goes
//!
//! `owners` counts from two. Who finds a one there is the last, and needs no read-modify-write
//! to know it: nobody but the last owner itself can move it any more.

use super::Latch;
use crate::rt::coroutine::{self, Order};
use crate::rt::hub::{About, Job, JobSlot, Seed};
use crate::rt::sync::{AtomicUsize, Ordering};
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::ptr::NonNull;

type Head = coroutine::Head<Seed>;
type Calls = coroutine::Calls<Seed>;

/// What both see.
#[repr(C)] // A pointer to it is one to the head.
struct Pair<V, L, X> {
    /// Of the seed the taker sees only what does not change.
    head: Head,
    owners: AtomicUsize,
    latch: Latch<V, L>,
    extra: X,
}

/// All of it.
#[repr(C)] // A pointer to it is one to the pair.
struct Block<V, L, X, Y> {
    pair: Pair<V, L, X>,
    own: ManuallyDrop<Y>,
}

/// The side that gives the value. Dropped, it drops what is its own, and then the value too
/// if the taker has gone.
pub(crate) struct Giver<V, L, X, Y>(NonNull<Block<V, L, X, Y>>, PhantomData<Block<V, L, X, Y>>);

/// The side that waits for the value, lends it, and may take it out.
pub(crate) struct Taker<V, L, X>(NonNull<Pair<V, L, X>>, PhantomData<Pair<V, L, X>>);

// SAFETY: only the one taker reads the value, so it moves between threads but is never shared
// by the pair itself: V need only be Send. What is under the latch's lock moves too. `extra` is
// seen by both, and so is what the seed says about the greenlet; the rest of that is the job's.
// `own` is the giver's.
unsafe impl<V: Send, L: Send, X: Send + Sync, Y: Send> Send for Giver<V, L, X, Y> {}
// SAFETY: as above; of `own` the taker sees nothing, and its memory may be freed anywhere.
unsafe impl<V: Send, L: Send, X: Send + Sync> Send for Taker<V, L, X> {}
// SAFETY: a shared taker lends the value to several threads, so V must be Sync.
unsafe impl<V: Send + Sync, L: Send, X: Send + Sync> Sync for Taker<V, L, X> {}

type Both<V, L, X, Y> = (Giver<V, L, X, Y>, Taker<V, L, X>);

/// Both sides of a new latch.
#[inline]
pub(crate) fn pair<V, L, X, Y>(seed: Seed, extra: X, own: Y) -> Both<V, L, X, Y>
where
    L: Default,
    Y: Work<V, L, X>,
{
    let calls = Giver::<V, L, X, Y>::CALLS;
    // First the memory, so that it is written once.
    let block = Box::write(
        Box::new_uninit(),
        Block {
            pair: Pair {
                head: Head { calls, seed },
                owners: AtomicUsize::new(2),
                latch: Latch::with(L::default()),
                extra,
            },
            own: ManuallyDrop::new(own),
        },
    );
    let block = NonNull::from(Box::leak(block));
    (Giver(block, PhantomData), Taker(block.cast(), PhantomData))
}

/// One owner goes.
///
/// # Safety
///
/// It was one, and touches the pair no more.
unsafe fn let_go<V, L, X>(pair: NonNull<Pair<V, L, X>>) {
    // SAFETY: the caller is one of the owners, so it is still there.
    let Pair { owners, head, .. } = unsafe { pair.as_ref() };
    let free = head.calls.free;
    // Acquire: the last one sees all that the other has done. Release: and so will the other.
    let last = owners.load(Ordering::Acquire) == 1 || owners.fetch_sub(1, Ordering::AcqRel) == 1;
    if last {
        // SAFETY: the other is gone, and this one goes.
        unsafe { free(pair.cast()) };
    }
}

impl<V, L, X, Y> Giver<V, L, X, Y> {
    fn block(&self) -> &Block<V, L, X, Y> {
        // SAFETY: it is there as long as its owners are.
        unsafe { self.0.as_ref() }
    }

    pub(crate) fn latch(&self) -> &Latch<V, L> {
        &self.block().pair.latch
    }

    pub(crate) fn about(&self) -> &About {
        &self.block().pair.head.seed.about
    }

    pub(crate) fn extra(&self) -> &X {
        &self.block().pair.extra
    }

    pub(crate) fn own(&self) -> &Y {
        &self.block().own
    }
}

impl<V, L, X, Y> Drop for Giver<V, L, X, Y> {
    fn drop(&mut self) {
        // SAFETY: nobody but the giver reaches `own`, and it goes now; then it lets go.
        unsafe {
            ManuallyDrop::drop(&mut (*self.0.as_ptr()).own);
            let_go(self.0.cast::<Pair<V, L, X>>());
        }
    }
}

/// What a giver does as a greenlet's job.
pub(crate) trait Work<V, L, X>: Sized {
    /// On the greenlet, once. Empties the slot when it begins to publish the outcome.
    fn run(giver: Giver<V, L, X, Self>, order: Order, slot: &JobSlot);
    /// The hub's thread ends before the slot was emptied.
    fn abandon(giver: Giver<V, L, X, Self>);
}

impl<V, L, X, Y: Work<V, L, X>> Giver<V, L, X, Y> {
    const CALLS: &'static Calls = &Calls {
        run: Self::run,
        abandon: Self::abandon,
        free: Self::free,
    };

    /// As a greenlet's job.
    pub(crate) fn into_job<'a>(self) -> Job<'a>
    where
        Self: 'a,
    {
        let head = ManuallyDrop::new(self).0.cast();
        // SAFETY: the calls are for this type, and the giver is the job's from now on.
        unsafe { Job::new(head) }
    }

    /// # Safety
    ///
    /// It was made of a giver by `into_job`, and this is the first call.
    unsafe fn run(head: NonNull<Head>, order: Order, slot: &JobSlot) {
        Y::run(Giver(head.cast(), PhantomData), order, slot);
    }

    /// # Safety
    ///
    /// It was made of a giver by `into_job`. If `run` was called, its frame never runs again.
    unsafe fn abandon(head: NonNull<Head>) {
        Y::abandon(Giver(head.cast(), PhantomData));
    }

    /// # Safety
    ///
    /// It is a block of these types whose `own` is gone, and nobody has it any more.
    unsafe fn free(head: NonNull<Head>) {
        // SAFETY: the caller's promise; `pair` took it from a `Box`.
        let block = unsafe { Box::from_raw(head.cast::<Block<V, L, X, Y>>().as_ptr()) };
        block.pair.latch.touch();
    }
}

impl<V, L, X> Taker<V, L, X> {
    fn pair(&self) -> &Pair<V, L, X> {
        // SAFETY: it is there as long as its owners are.
        unsafe { self.0.as_ref() }
    }

    #[inline]
    pub(crate) fn latch(&self) -> &Latch<V, L> {
        &self.pair().latch
    }

    pub(crate) fn about(&self) -> &About {
        &self.pair().head.seed.about
    }

    #[inline]
    pub(crate) fn extra(&self) -> &X {
        &self.pair().extra
    }

    /// Takes the value out, if it is there.
    #[inline]
    pub(crate) fn take(self) -> Option<V> {
        // SAFETY: the one taker is consumed, so nobody else reads it.
        unsafe { self.latch().take() }
    }
}

impl<V, L, X> Drop for Taker<V, L, X> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: it goes.
        unsafe { let_go(self.0) };
    }
}

//! A wait as a future, for code that is `async`.
//!
//! The future holds the node and a [`Waiter`] of its own, so that in line it is one like any
//! other; its wake goes to the waker of the task that polled it last. The operation is an
//! [`Arm`] as a select has it, the only one.
//!
//! It moves from thread to thread and may see its word before the notifier has let go of the
//! lock, so it passes the lock before its node goes, as a plain thread does. Dropped before its
//! end it leaves as one whose limit is over does. If a notifier was first, the arm gives back
//! what it was given: see [`Operation::new`](super::Operation::new).

use super::{Arm, Choice, HasSource, Ready, Source};
use crate::rt::inbox::Waiter;
use crate::rt::report::AbortOnUnwind;
use crate::rt::word::Outcome;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

/// An operation that is waited for by polling.
pub(crate) struct Wait<A: Arm> {
    arm: A,
    waiter: Waiter,
    stage: Stage,
    /// The node in the arm must stay where it is, also if the arm does not say so.
    _pinned: std::marker::PhantomPinned,
}

/// A wait for something that is ready. The future may go where references to that may.
pub(crate) fn ready<S: Source>(source: &S) -> Wait<Ready<Of<'_, S>>> {
    Wait::new(Ready::new(Of(source)))
}

/// A source that is borrowed.
pub(crate) struct Of<'a, S>(&'a S);

impl<S: Source> HasSource for Of<'_, S> {
    type Output = ();

    fn source(&self) -> &dyn Source {
        self.0
    }

    fn end(self) {}
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Begin,
    Listed,
    Over,
}

impl<A: Arm> Wait<A> {
    pub(crate) fn new(arm: A) -> Self {
        Wait {
            arm,
            waiter: Waiter::of_task(),
            stage: Stage::Begin,
            _pinned: std::marker::PhantomPinned,
        }
    }

    /// Whether the operation is done.
    fn is_done(&mut self, context: &Context<'_>) -> bool {
        match self.stage {
            Stage::Begin => {
                // The waker is worth its count only if there is something to wait for.
                if self.arm.attempt() {
                    return true;
                }
                self.waiter.redirect(context.waker());
                self.waiter.word.announce();
                // SAFETY: `self` is pinned, and `drop` delists.
                if unsafe { self.arm.begin(&self.waiter) } {
                    return true;
                }
                self.stage = Stage::Listed;
                false
            }
            Stage::Listed => {
                if self.waiter.redirect(context.waker()) {
                    return false;
                }
                let outcome = self.waiter.word.outcome();
                debug_assert!(matches!(outcome, Some(Outcome::Notified(_))));
                self.arm.delist();
                self.arm.done();
                true
            }
            Stage::Over => panic!("a future was polled after its end"),
        }
    }
}

impl<A: Choice> Future for Wait<A> {
    type Output = A::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<A::Output> {
        // SAFETY: nothing is moved out of it while the node may be linked.
        let this = unsafe { self.get_unchecked_mut() };
        if !this.is_done(context) {
            return Poll::Pending;
        }
        this.stage = Stage::Over;
        Poll::Ready(this.arm.end())
    }
}

impl<A: Arm> Drop for Wait<A> {
    fn drop(&mut self) {
        if self.stage == Stage::Listed {
            // If this fails a notifier was first; either way the node goes now.
            self.waiter.word.retract();
            // The node goes whatever happens.
            let bomb = AbortOnUnwind(
                "a future that waits for a queue was dropped inside the Ord or Clone of one of its \
                 items, where it cannot leave the line",
            );
            self.arm.delist();
            std::mem::forget(bomb);
        }
    }
}

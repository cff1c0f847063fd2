//! Select: the first of several operations that can be done, and only that one.
//!
//! An [`Intent`] is what an operation is done with, hardly more than a reference, and is tried as
//! the `_nowait` form of the operation is, by a direct call. Only who has to wait makes an [`Arm`]
//! of it: an operation as [`Monitor::wait`] has it, a slot for a value and a `decide`, and
//! `ready`, which says under the lock whether `decide` might have a result, and does nothing.
//! Other arms of the same waiter are nobody that it could meet.
//!
//! # The protocol
//!
//! 1. Each intent is tried, under its own lock or by its fast word, in turn. The first that has a
//!    result ends it. The macro does this in the caller's frame; [`select`] comes after it.
//! 2. The word is announced and each arm's node linked, with the arm's number from 1, unless the arm
//!    is ready by now. Then the word is taken back, all nodes are unlinked, the arms are tried as
//!    the intents were, and if none has a result it begins again at 2. If the word cannot be
//!    taken back a notifier has done one of the arms: on to 3.
//! 3. The waiter suspends. The notifier that moves its word has done that arm, all others
//!    lose and go on to the next in their lines. All nodes are unlinked.
//!
//! One lock at a time, never nested, as with `wait_any`; and nothing is done while the word
//! is announced but by notifiers, so only one arm is done and the slots of all others are as
//! they were. Two that meet crosswise on two threads, each with what the other waits for, may
//! both find that in step 2, go back at the same time, and meet again; no lock orders them, and
//! one of them gets through as soon as they are not in step any more.
//!
//! A word is taken back only by who is running, so to its hub it looks as if nothing had been.

use super::{Monitor, Node, Source, Step, Waiters, interruption, jump, obstructed};
use crate::rt::clock::Limit;
use crate::rt::flavour::Flavour;
use crate::rt::inbox::Waiter;
use crate::rt::park::{Party, Wakes};
use crate::rt::report::AbortOnUnwind;
use crate::rt::sync::yield_thread;
use crate::rt::task::Site;
use crate::rt::word::Outcome;

/// One of several operations. Public, as the macro's types name it, and yet out of reach.
#[allow(private_interfaces, unreachable_pub)]
pub trait Arm {
    /// Does it, if it can be done at once.
    fn attempt(&mut self) -> bool;

    /// True if it can perhaps be done at once; else links its node.
    ///
    /// # Safety
    ///
    /// The arm and the waiter stay where they are until it is delisted.
    unsafe fn enlist(&mut self, waiter: &Waiter, index: usize) -> bool;

    /// The only arm of its waiter: does it if it can be done at once, else links its node.
    ///
    /// # Safety
    ///
    /// As for `enlist`.
    unsafe fn begin(&mut self, waiter: &Waiter) -> bool;

    /// Unlinks its node, if that is linked, and has the slot back.
    fn delist(&mut self);

    /// A notifier has done it.
    fn done(&mut self);
}

/// An arm that has a result.
#[allow(unreachable_pub)]
pub trait Choice: Arm {
    type Output;

    /// The result, after it was done. Once.
    fn end(&mut self) -> Self::Output;
}

/// An operation that has not begun, as the macro has it.
#[allow(unreachable_pub)]
pub trait Intent {
    type Output;

    /// Does it, if it can be done at once.
    fn attempt(&mut self) -> Option<Self::Output>;

    /// The same, to be waited for. If that is not chosen the intent is as it was.
    fn arm(&mut self) -> impl Choice<Output = Self::Output>;
}

/// Where the value of an operation is.
enum Slot<V> {
    Here(V),
    Listed(Node<V>),
    /// The operation is done.
    Spent,
}

impl<V> Slot<V> {
    /// The value becomes a node's.
    fn listed(&mut self, waiter: &Waiter, index: usize) -> &Node<V> {
        let Slot::Here(value) = std::mem::replace(self, Slot::Spent) else {
            unreachable!("an arm is listed once")
        };
        *self = Slot::Listed(Node::new(waiter, index, value));
        match self {
            Slot::Listed(node) => node,
            _ => unreachable!("it was just written"),
        }
    }
}

/// An operation on what a monitor guards.
pub(crate) struct Operation<'a, S, R, V, O, Q, D, F, B: FnMut(V)> {
    monitor: &'a Monitor<S, R>,
    slot: Slot<V>,
    ready: Q,
    decide: D,
    finish: F,
    back: B,
    result: Option<O>,
}

impl<'a, S, R, V, O, Q, D, F, B> Operation<'a, S, R, V, O, Q, D, F, B>
where
    R: Flavour,
    S: Waiters<V>,
    Q: Fn(&S, &Waiter) -> bool,
    D: FnMut(&mut S, &mut Wakes, &mut V) -> Option<O>,
    F: FnMut(V) -> O,
    B: FnMut(V),
{
    /// `finish` makes the result of what a notifier has left in the slot. `back` gets what is
    /// in the slot if nobody asks for the result: the value as it was, or what a notifier has
    /// left there.
    pub(crate) fn new(
        monitor: &'a Monitor<S, R>,
        value: V,
        ready: Q,
        decide: D,
        finish: F,
        back: B,
    ) -> Self {
        Operation {
            monitor,
            slot: Slot::Here(value),
            ready,
            decide,
            finish,
            back,
            result: None,
        }
    }
}

impl<S, R, V, O, Q, D, F, B> Arm for Operation<'_, S, R, V, O, Q, D, F, B>
where
    R: Flavour,
    S: Waiters<V>,
    Q: Fn(&S, &Waiter) -> bool,
    D: FnMut(&mut S, &mut Wakes, &mut V) -> Option<O>,
    F: FnMut(V) -> O,
    B: FnMut(V),
{
    fn attempt(&mut self) -> bool {
        let Slot::Here(value) = &mut self.slot else {
            unreachable!("an arm is tried before it is listed")
        };
        let mut guard = self.monitor.lock();
        let (state, wakes) = guard.parts();
        self.result = (self.decide)(state, wakes, value);
        self.result.is_some()
    }

    unsafe fn enlist(&mut self, waiter: &Waiter, index: usize) -> bool {
        let mut guard = self.monitor.lock();
        let state = guard.parts().0;
        if (self.ready)(state, waiter) {
            return true;
        }
        // SAFETY: the caller's promise.
        unsafe { state.waiters().push(self.slot.listed(waiter, index), None) };
        false
    }

    unsafe fn begin(&mut self, waiter: &Waiter) -> bool {
        let Slot::Here(value) = &mut self.slot else {
            unreachable!("an arm is tried before it is listed")
        };
        let mut guard = self.monitor.lock();
        let (state, wakes) = guard.parts();
        self.result = (self.decide)(state, wakes, value);
        if self.result.is_some() {
            return true;
        }
        // SAFETY: the caller's promise.
        unsafe { state.waiters().push(self.slot.listed(waiter, 0), None) };
        false
    }

    fn delist(&mut self) {
        let Slot::Listed(node) = &self.slot else {
            return;
        };
        // The lock also when a notifier has unlinked it: until the unlock that one may use it.
        let mut guard = self.monitor.lock();
        let (state, wakes) = guard.parts();
        // SAFETY: `enlist` has pushed it to this list.
        if unsafe { state.waiters().remove(node) } {
            state.left(wakes);
        }
        drop(guard);
        if let Slot::Listed(node) = std::mem::replace(&mut self.slot, Slot::Spent) {
            self.slot = Slot::Here(node.value.into_inner());
        }
    }

    fn done(&mut self) {
        if let Slot::Here(value) = std::mem::replace(&mut self.slot, Slot::Spent) {
            self.result = Some((self.finish)(value));
        }
    }
}

impl<S, R, V, O, Q, D, F, B: FnMut(V)> Choice for Operation<'_, S, R, V, O, Q, D, F, B>
where
    Self: Arm,
{
    type Output = O;

    fn end(&mut self) -> O {
        self.result.take().expect("this arm was done")
    }
}

impl<S, R, V, O, Q, D, F, B: FnMut(V)> Drop for Operation<'_, S, R, V, O, Q, D, F, B> {
    fn drop(&mut self) {
        if let Slot::Here(value) = std::mem::replace(&mut self.slot, Slot::Spent) {
            (self.back)(value);
        }
    }
}

/// Whoever has a [`Source`], which stays where it is while this may move.
#[allow(unreachable_pub)]
pub trait HasSource {
    type Output;

    #[allow(private_interfaces)]
    fn source(&self) -> &dyn Source;

    /// What a wait for it gives.
    fn end(self) -> Self::Output;
}

/// Waiting for something that is ready, as an arm: nothing is taken.
#[allow(unreachable_pub, missing_debug_implementations)]
pub struct Ready<H> {
    of: Option<H>,
    node: Option<Node<()>>,
}

impl<H: HasSource> Ready<H> {
    pub(crate) fn new(of: H) -> Self {
        Ready {
            of: Some(of),
            node: None,
        }
    }

    fn source(&self) -> &dyn Source {
        self.of
            .as_ref()
            .expect("the result is not out yet")
            .source()
    }
}

#[allow(private_interfaces)]
impl<H: HasSource> Arm for Ready<H> {
    fn attempt(&mut self) -> bool {
        self.source().is_ready()
    }

    unsafe fn enlist(&mut self, waiter: &Waiter, index: usize) -> bool {
        self.node = Some(Node::new(waiter, index, ()));
        // SAFETY: the caller's promise.
        self.node
            .as_ref()
            .is_some_and(|node| unsafe { self.source().enlist(node) })
    }

    unsafe fn begin(&mut self, waiter: &Waiter) -> bool {
        // SAFETY: the caller's promise.
        unsafe { self.enlist(waiter, 0) }
    }

    fn delist(&mut self) {
        if let Some(node) = &self.node {
            // SAFETY: it was enlisted there, or nowhere.
            unsafe { self.source().delist(node) };
            self.node = None;
        }
    }

    fn done(&mut self) {}
}

impl<H: HasSource> Choice for Ready<H> {
    type Output = H::Output;

    fn end(&mut self) -> H::Output {
        self.of.take().expect("the result comes out once").end()
    }
}

/// An arm whose result something is made of, when no lock is held.
pub(crate) struct Then<A, F>(A, F);

impl<A: Choice<Output = ()>, G, F: FnMut() -> G> Then<A, F> {
    pub(crate) fn new(arm: A, then: F) -> Self {
        Then(arm, then)
    }
}

#[allow(private_interfaces)]
impl<A: Arm, F> Arm for Then<A, F> {
    fn attempt(&mut self) -> bool {
        self.0.attempt()
    }

    unsafe fn enlist(&mut self, waiter: &Waiter, index: usize) -> bool {
        // SAFETY: the caller's promise.
        unsafe { self.0.enlist(waiter, index) }
    }

    unsafe fn begin(&mut self, waiter: &Waiter) -> bool {
        // SAFETY: the caller's promise.
        unsafe { self.0.begin(waiter) }
    }

    fn delist(&mut self) {
        self.0.delist();
    }

    fn done(&mut self) {
        self.0.done();
    }
}

impl<A: Choice<Output = ()>, G, F: FnMut() -> G> Choice for Then<A, F> {
    type Output = G;

    fn end(&mut self) -> G {
        self.0.end();
        (self.1)()
    }
}

/// Waits for one of the arms, which have just been tried in vain as intents, and returns its
/// number; several that can be done at once come in turn from `first` on. `None` if the limit
/// is over first.
#[inline(always)]
#[track_caller]
pub(crate) fn select(
    operation: &'static str,
    arms: &mut [&mut dyn Arm],
    first: usize,
    limit: Limit,
) -> Option<usize> {
    match prepare(operation, arms, first, limit) {
        Step::Ready(result) => result,
        Step::Suspend(switch) => {
            // SAFETY: `prepare` made it for the caller, just now.
            unsafe { jump(switch) };
            resumed(arms)
        }
    }
}

#[inline(never)]
#[track_caller]
fn prepare(
    operation: &'static str,
    arms: &mut [&mut dyn Arm],
    first: usize,
    limit: Limit,
) -> Step<Option<usize>> {
    let site = Site::here(operation);
    let n = arms.len();
    let in_turn = || (first..n).chain(0..first.min(n));
    loop {
        let party = Party::current();
        if let Some(end) = obstructed(&party, &site) {
            end.in_time(&site, &limit);
            return Step::Ready(None);
        }
        let word = &party.waiter().word;
        word.announce();
        let bomb = AbortOnUnwind::machinery();
        // SAFETY: the caller has the arms borrowed until all are delisted: here, or in
        // `complete` after the switch. Nothing unwinds before.
        let ready = in_turn().any(|i| unsafe { arms[i].enlist(party.waiter(), i + 1) });
        if ready && word.retract() {
            arms.iter_mut().for_each(|arm| arm.delist());
            std::mem::forget(bomb);
            // Who has made it ready may be another select that is going back just now.
            yield_thread();
            if let Some(i) = in_turn().find(|&i| arms[i].attempt()) {
                return Step::Ready(Some(i));
            }
            continue;
        }
        let switch = party.suspend(&site, &limit);
        std::mem::forget(bomb);
        return match switch {
            Some(switch) => Step::Suspend(switch),
            None => Step::Ready(complete(&party, arms)),
        };
    }
}

#[inline(never)]
fn resumed(arms: &mut [&mut dyn Arm]) -> Option<usize> {
    complete(&Party::current(), arms)
}

#[track_caller]
fn complete(party: &Party, arms: &mut [&mut dyn Arm]) -> Option<usize> {
    let bomb = AbortOnUnwind::machinery();
    let outcome = party.settle();
    arms.iter_mut().for_each(|arm| arm.delist());
    std::mem::forget(bomb);
    match outcome {
        Outcome::Notified(index) => {
            arms[index - 1].done();
            Some(index - 1)
        }
        Outcome::Expired => None,
        _ => interruption(party).raise(),
    }
}

//! Waiting for the first of several things that are ready, or not yet. Nothing is taken.

use super::{Monitor, Node, Step, Waiters, interruption, jump, obstructed};
use crate::rt::clock::Limit;
use crate::rt::flavour::Flavour;
use crate::rt::park::Party;
use crate::rt::report::AbortOnUnwind;
use crate::rt::task::Site;
use crate::rt::word::Outcome;
use smallvec::SmallVec;

/// A state whose number, in the fast word, says whether it is ready.
pub(crate) trait Readiness: Waiters<()> {
    fn is_ready(number: usize) -> bool;
}

/// One of several things that [`wait_any`] waits for.
pub(crate) trait Source {
    /// Under the lock: true if ready, else links the node.
    ///
    /// # Safety
    ///
    /// The node stays where it is until it is delisted.
    unsafe fn enlist(&self, node: &Node<()>) -> bool;
    /// Unlinks the node if it is linked.
    ///
    /// # Safety
    ///
    /// The node was enlisted here, or nowhere.
    unsafe fn delist(&self, node: &Node<()>);
    /// Whether it is ready now, at a look. What was done before it became so is visible then.
    fn is_ready(&self) -> bool;
}

impl<S: Readiness, R: Flavour> Source for Monitor<S, R> {
    unsafe fn enlist(&self, node: &Node<()>) -> bool {
        // SAFETY: the caller's promise.
        unsafe { self.enlist_unless(|state| S::is_ready(state.store().0), node) }
    }

    unsafe fn delist(&self, node: &Node<()>) {
        // SAFETY: the caller's promise.
        unsafe { self.delist_node(node) }
    }

    #[inline]
    fn is_ready(&self) -> bool {
        const { assert!(S::FAST, "the number is in the fast word") };
        S::is_ready(self.number())
    }
}

impl<S: Waiters<()>, R: Flavour> Monitor<S, R> {
    /// Under the lock: true if it is ready, else links the node.
    ///
    /// # Safety
    ///
    /// The node stays where it is until it is delisted.
    pub(super) unsafe fn enlist_unless(
        &self,
        ready: impl FnOnce(&S) -> bool,
        node: &Node<()>,
    ) -> bool {
        let mut guard = self.lock();
        let state = guard.parts().0;
        if ready(state) {
            return true;
        }
        // SAFETY: the caller's promise.
        unsafe { state.waiters().push(node, None) };
        false
    }

    /// Unlinks the node if it is linked.
    ///
    /// # Safety
    ///
    /// The node was enlisted here, or nowhere.
    pub(super) unsafe fn delist_node(&self, node: &Node<()>) {
        let mut guard = self.lock();
        let (state, wakes) = guard.parts();
        // SAFETY: the caller's promise.
        if unsafe { state.waiters().remove(node) } {
            state.left(wakes);
        }
    }
}

/// Waits until one of the sources is ready and returns its index: the lowest if
/// several are at once. `None` if the limit is over first.
///
/// All nodes share the waiter's one word, so one notifier wins and its node's
/// index is in the word; the others lose and go on to their next waiter. One lock
/// at a time, never nested.
#[inline(always)]
#[track_caller]
pub(crate) fn wait_any(
    operation: &'static str,
    limit: Limit,
    sources: &[&dyn Source],
) -> Option<usize> {
    // Never moved after they are filled, which is before the first is linked.
    let mut nodes: SmallVec<[Node<()>; 8]> = SmallVec::new();
    match prepare_any(&mut nodes, operation, limit, sources) {
        Step::Ready(result) => result,
        Step::Suspend(switch) => {
            // SAFETY: `prepare_any` made it for the caller, just now.
            unsafe { jump(switch) };
            resumed_any(&nodes, sources)
        }
    }
}

#[inline(never)]
#[track_caller]
fn prepare_any(
    nodes: &mut SmallVec<[Node<()>; 8]>,
    operation: &'static str,
    limit: Limit,
    sources: &[&dyn Source],
) -> Step<Option<usize>> {
    let site = Site::here(operation);
    if let Some(ready) = sources.iter().position(|s| s.is_ready()) {
        return Step::Ready(Some(ready));
    }
    let party = Party::current();
    if let Some(end) = obstructed(&party, &site) {
        end.in_time(&site, &limit);
        return Step::Ready(None);
    }
    nodes.extend((1..=sources.len()).map(|i| Node::new(party.waiter(), i, ())));
    let word = &party.waiter().word;
    word.announce();
    let bomb = AbortOnUnwind::machinery();
    for (i, source) in sources.iter().enumerate() {
        // SAFETY: `nodes` is not touched again before all are delisted, and nothing unwinds.
        if unsafe { source.enlist(&nodes[i]) } {
            // Ready after all. If the word can be taken back, nobody has chosen
            // this waiter; else it is going to be woken and must suspend.
            if word.retract() {
                delist_all(nodes, sources);
                std::mem::forget(bomb);
                return Step::Ready(Some(i));
            }
            break;
        }
    }
    let switch = party.suspend(&site, &limit);
    std::mem::forget(bomb);
    match switch {
        Some(switch) => Step::Suspend(switch),
        None => Step::Ready(complete_any(&party, nodes, sources)),
    }
}

fn delist_all(nodes: &[Node<()>], sources: &[&dyn Source]) {
    for (node, source) in nodes.iter().zip(sources) {
        // SAFETY: the node of that index is enlisted with the source of that
        // index, or nowhere.
        unsafe { source.delist(node) };
    }
}

#[inline(never)]
fn resumed_any(nodes: &[Node<()>], sources: &[&dyn Source]) -> Option<usize> {
    complete_any(&Party::current(), nodes, sources)
}

#[track_caller]
fn complete_any(party: &Party, nodes: &[Node<()>], sources: &[&dyn Source]) -> Option<usize> {
    let bomb = AbortOnUnwind::machinery();
    let outcome = party.settle();
    delist_all(nodes, sources);
    std::mem::forget(bomb);
    match outcome {
        Outcome::Notified(index) => Some(index - 1),
        Outcome::Expired => None,
        _ => interruption(party).raise(),
    }
}

//! The monitor, and the wait in one of its lists.

use super::list::{Node, WaitList};
use super::{End, Interruption, interruption, jump, refuse};
use crate::rt::clock::Limit;
use crate::rt::flavour::{Flavour, Shared};
use crate::rt::hub::{CROWD, Hub, Switch};
use crate::rt::inbox::Waiter;
use crate::rt::park::{BATCH, Obstacle, Party, Wakes};
use crate::rt::sync::{AtomicUsize, Lock, LockGuard, Ordering, const_fn, panicking, thread_lazy};
use crate::rt::task::Site;
use crate::rt::word::Outcome;
use std::cell::RefCell;
use std::mem::{ManuallyDrop, MaybeUninit};

/// A primitive's plain state.
pub(crate) trait State {
    /// Whether a number of the state lives in the fast word. See the module.
    const FAST: bool = false;
    /// Takes the number over from the fast word.
    fn load(&mut self, _number: usize) {}
    /// The number for the fast word, and whether somebody waits.
    fn store(&self) -> (usize, bool) {
        (0, false)
    }
    /// Panics if an invariant is broken. Run at each unlock in debug builds.
    fn check(&self) {}
}

/// A state with a list of waiters whose slots are of type `V`.
pub(crate) trait Waiters<V>: State {
    fn waiters(&mut self) -> &mut WaitList<V>;
    /// A waiter has left from anywhere in the list: restore the invariant.
    fn left(&mut self, _wakes: &mut Wakes) {}
    /// Whether a waiter that a notifier has taken off was served, as its slot says, though its
    /// wait had ended on its own: it has succeeded then.
    fn served(_value: &V) -> bool {
        false
    }
    /// The ticket that a waiter brings along, if it was in this list before.
    fn ticket(_value: &V) -> Option<u64> {
        None
    }
    /// Whether a wait without a limit that comes while its hub's thread is panicking may block
    /// that thread: nothing on it is needed to end the wait.
    fn may_block(&self) -> bool {
        false
    }
}

/// The first half of a wait in a list.
enum Begun<O> {
    Decided(O),
    /// Linked. Without a switch, at the root, the wait is decided too.
    Linked(Option<Switch>),
    /// Over: the node has the value, and is in no list.
    Over(End),
}

const WAITERS: usize = 1;

/// A lock around a primitive's state, with waiters. See the module.
pub(crate) struct Monitor<S, R = Shared> {
    word: AtomicUsize,
    state: Lock<R, S>,
}

/// The locked state, and the wakes that are owed. Dropped in this order: unlocks, then delivers.
pub(crate) struct Guard<'a, S: State, R: Flavour> {
    state: Held<'a, S, R>,
    wakes: Debt,
}

impl<S: State, R: Flavour> Guard<'_, S, R> {
    #[inline]
    pub(crate) fn parts(&mut self) -> (&mut S, &mut Wakes) {
        (&mut self.state.state, &mut self.wakes.0)
    }

    /// Claims a batch of those in the list of slots `V` whose ticket is below
    /// `end`; true if there are no more.
    fn claim_batch<V>(&mut self, end: u64) -> bool
    where
        S: Waiters<V>,
    {
        let (state, wakes) = self.parts();
        let list = state.waiters();
        let crowded = list.len() > CROWD;
        for _ in 0..BATCH {
            match list.front_ticket() {
                Some(ticket) if ticket < end => list.claim_front(wakes),
                _ => return true,
            };
            if crowded {
                list.prefetch();
            }
        }
        false
    }
}

/// Wakes that are owed, delivered when this is dropped, or before.
struct Debt(ManuallyDrop<Wakes>);

impl Debt {
    #[inline(always)]
    fn none() -> Self {
        Debt(ManuallyDrop::new(Wakes::new()))
    }

    /// Without the lock that they were collected under.
    #[inline(always)]
    fn pay(&mut self) {
        // Without wakes there is nothing to drop either.
        if !self.0.is_empty() {
            std::mem::replace(&mut *self.0, Wakes::None).deliver();
        }
    }
}

impl Drop for Debt {
    #[inline(always)]
    fn drop(&mut self) {
        self.pay();
    }
}

/// The locked state. Its drop never unwinds: who unlocks may have a node linked.
struct Held<'a, S: State, R: Flavour> {
    word: &'a AtomicUsize,
    state: LockGuard<'a, R, S>,
}

impl<S: State, R: Flavour> Drop for Held<'_, S, R> {
    #[inline]
    fn drop(&mut self) {
        if cfg!(debug_assertions) && !panicking() {
            self.state.check();
        }
        if S::FAST {
            let (number, waiters) = self.state.store();
            // Release: who moves the word next sees what was done under the
            // lock. The bit was set all the while, so nobody else has stored.
            let word = number << 1 | usize::from(waiters);
            self.word.store(word, Ordering::Release);
        }
    }
}

thread_lazy! {
    /// The monitors under whose locks this thread runs user code, outermost first.
    static LENT: RefCell<Vec<usize>> = const { RefCell::new(Vec::new()) };
}

impl<S: State, R: Flavour> Monitor<S, R> {
    const_fn! {
        pub(crate) const fn new(number: usize, state: S) -> Self {
            Monitor { word: AtomicUsize::new(number << 1), state: Lock::new(state) }
        }
    }

    /// The state, locked.
    #[inline]
    pub(crate) fn lock(&self) -> Guard<'_, S, R> {
        Guard {
            state: self.hold(),
            wakes: Debt::none(),
        }
    }

    #[inline]
    fn hold(&self) -> Held<'_, S, R> {
        let state = self
            .state
            .try_lock()
            .unwrap_or_else(|| self.lock_contended());
        let mut held = Held {
            word: &self.word,
            state,
        };
        if S::FAST {
            // Acquire: what the last mover of the word did is visible. Where the bit is set
            // already, the last holder of the lock has left it so, and nobody moves the word.
            let mut word = self.word.load(Ordering::Acquire);
            if R::SHARED && word & WAITERS == 0 {
                word = self.word.fetch_or(WAITERS, Ordering::Acquire);
            }
            held.state.load(word >> 1);
        }
        held
    }

    #[cold]
    fn lock_contended(&self) -> LockGuard<'_, R, S> {
        let here = std::ptr::from_ref(self).addr();
        if LENT
            .try_with(|lent| lent.borrow().contains(&here))
            .unwrap_or(false)
        {
            panic!("a queue was used from inside the Ord or Clone of one of its own items");
        }
        self.state.lock()
    }

    /// Marks that user code is about to run under this monitor's lock: it may
    /// neither wait nor come back here.
    pub(crate) fn lend(&self) -> Lent {
        let here = std::ptr::from_ref(self).addr();
        let noted = LENT.try_with(|lent| lent.borrow_mut().push(here)).is_ok();
        Party::current().task().forbid_switch();
        Lent { noted }
    }

    /// The number in the fast word, now.
    #[inline]
    pub(crate) fn number(&self) -> usize {
        // Acquire: pairs with the Release of whoever moved it.
        self.word.load(Ordering::Acquire) >> 1
    }

    /// The number, unless somebody waits or holds the lock.
    #[cfg(all(unix, feature = "net"))]
    #[inline]
    pub(crate) fn peek(&self) -> Option<usize> {
        // Acquire: as for `number`.
        let word = self.word.load(Ordering::Acquire);
        (word & WAITERS == 0).then_some(word >> 1)
    }

    /// Moves the number without the lock, if `f` has a new one. `None`: somebody
    /// waits or holds the lock, so it takes the lock to know.
    #[inline]
    pub(crate) fn fast(&self, f: impl Fn(usize) -> Option<usize>) -> Option<bool> {
        let mut word = self.word.load(Ordering::Relaxed);
        loop {
            if word & WAITERS != 0 {
                return None;
            }
            let Some(number) = f(word >> 1) else {
                return Some(false);
            };
            if !R::SHARED {
                self.word.store(number << 1, Ordering::Relaxed);
                return Some(true);
            }
            // AcqRel: a permit or flag that is given (Release) carries what was
            // done before to the one who takes it (Acquire).
            match self.word.compare_exchange_weak(
                word,
                number << 1,
                Ordering::AcqRel,
                Ordering::Relaxed,
            ) {
                Ok(_) => return Some(true),
                Err(now) => word = now,
            }
        }
    }

    /// As [`fast`](Monitor::fast), under the lock if need be: whether `f` had a new number. For
    /// moves that wake nobody.
    #[inline]
    pub(crate) fn shift(&self, f: impl Fn(usize) -> Option<usize>) -> bool {
        self.fast(&f).unwrap_or_else(|| {
            let mut guard = self.lock();
            let state = guard.parts().0;
            let number = f(state.store().0);
            if let Some(number) = number {
                state.load(number);
            }
            number.is_some()
        })
    }

    /// Waits in the list of slots `V`, unless `decide`, under the lock, has a
    /// result. `finish` makes the result of a wait from how it ended and what is
    /// in the slot. Raises what is due instead of waiting or of expiring.
    #[inline(always)]
    #[track_caller]
    pub(crate) fn wait<V, O>(
        &self,
        site: &Site,
        limit: &Limit,
        value: V,
        decide: impl FnOnce(&mut S, &mut Wakes, &mut V) -> Option<O>,
        finish: impl FnOnce(End, V) -> O,
    ) -> O
    where
        S: Waiters<V>,
    {
        let mut node = MaybeUninit::uninit();
        // SAFETY: `node` stays in this frame until `resumed`; if `prepare`
        // raises, it has not been linked. Its value is read once.
        unsafe {
            let end = match self.prepare(&mut node, site, limit, value, decide) {
                Begun::Decided(result) => return result,
                Begun::Linked(switch) => {
                    if let Some(switch) = switch {
                        jump(switch);
                    }
                    self.resumed(&mut node)
                }
                Begun::Over(end) => end,
            };
            finish(end, value_of(&mut node))
        }
    }

    /// Decides, or links; at the root and on a thread also waits. See the module `rt`.
    ///
    /// # Safety
    ///
    /// The node stays where it is until `resumed`, which the caller calls after
    /// the switch.
    #[inline(never)]
    #[track_caller]
    unsafe fn prepare<V, O>(
        &self,
        node: &mut MaybeUninit<Node<V>>,
        site: &Site,
        limit: &Limit,
        mut value: V,
        decide: impl FnOnce(&mut S, &mut Wakes, &mut V) -> Option<O>,
    ) -> Begun<O>
    where
        S: Waiters<V>,
    {
        // Dropped, and so delivered, after the unlock.
        let mut debt = Debt::none();
        let mut held = self.hold();
        if let Some(result) = decide(&mut held.state, &mut debt.0, &mut value) {
            return Begun::Decided(result);
        }
        // SAFETY: the caller's promise.
        unsafe {
            if let Some((hub, record)) = Party::unhindered() {
                enlist(held, node, &record.waiter, value);
                debt.pay();
                return Begun::Linked(hub.wait(record, site, limit));
            }
            match self.link(held, &mut debt, node, site, limit, value) {
                Ok(begun) => begun,
                Err(interruption) => interruption.raise(),
            }
        }
    }

    /// Links, unlocks and suspends, whoever it is, if nothing stands in the way; at the root
    /// and on a thread also waits. Raises nothing, but gives back what it would raise.
    ///
    /// # Safety
    ///
    /// As for `prepare`.
    #[cold]
    #[inline(never)]
    #[track_caller]
    unsafe fn link<V, O>(
        &self,
        held: Held<'_, S, R>,
        debt: &mut Debt,
        node: &mut MaybeUninit<Node<V>>,
        site: &Site,
        limit: &Limit,
        value: V,
    ) -> Result<Begun<O>, Interruption>
    where
        S: Waiters<V>,
    {
        let mut party = Party::current();
        if let Some(obstacle) = party.obstacle() {
            // In a waker the thread's own word may be in use: it may have got its hub in there.
            let state: &S = &held.state;
            if !party.task().may_switch() || !blocks(&obstacle, limit, state) {
                drop(held);
                debt.pay();
                // If this raises, the value is dropped before the thread panics.
                let end = refuse(obstacle, site).map_err(Interruption::Unwind)?;
                node.write(Node::new(party.waiter(), 0, value));
                return Ok(Begun::Over(end));
            }
            party = Party::thread();
        }
        // SAFETY: the caller's promise.
        unsafe { enlist(held, node, party.waiter(), value) };
        let has_hub = Hub::get().is_some();
        debt.pay();
        if !has_hub && Hub::get().is_some() {
            // A waker has made the thread's hub, and the time limits are its root's now.
            // SAFETY: linked above, so it is initialised.
            party = self.hand_to_root(party, unsafe { node.assume_init_ref() });
        }
        let switch = party.suspend(site, limit);
        Ok(match party {
            Party::Hub(..) => Begun::Linked(switch),
            // SAFETY: linked above, and the wait is decided.
            Party::Thread(_) => Begun::Over(unsafe { self.complete(&party, node) }?),
        })
    }

    /// The root of the thread's new hub waits in place of the thread, unless that has been woken.
    #[cold]
    fn hand_to_root<V>(&self, thread: Party, node: &Node<V>) -> Party {
        let _held = self.hold();
        if !node.is_linked() {
            return thread;
        }
        let root = Party::current();
        root.waiter().word.announce();
        node.set_waiter(root.waiter());
        let taken = thread.waiter().word.retract();
        debug_assert!(taken, "only who has its node could have ended its wait");
        root
    }

    /// The second half: whether a notifier has ended the wait, or its limit. The value is in
    /// the node. Raises what has interrupted it.
    ///
    /// # Safety
    ///
    /// As for `complete`.
    #[inline(never)]
    unsafe fn resumed<V>(&self, node: &mut MaybeUninit<Node<V>>) -> End
    where
        S: Waiters<V>,
    {
        if let Some((hub, record)) = Party::greenlet()
            && let Some(outcome @ Outcome::Notified(_)) = record.waiter.word.outcome()
        {
            hub.settle(record, outcome);
            return End::Notified;
        }
        // SAFETY: the caller's promise.
        match unsafe { self.complete(&Party::current(), node) } {
            Ok(end) => end,
            Err(interruption) => interruption.raise(),
        }
    }

    /// Disarms and unlinks. The value is left in the node, unless the wait was interrupted.
    ///
    /// # Safety
    ///
    /// `prepare` or `link` has linked this node for this party, and the wait is decided.
    #[cold]
    #[inline(never)]
    unsafe fn complete<V>(
        &self,
        party: &Party,
        node: &mut MaybeUninit<Node<V>>,
    ) -> Result<End, Interruption>
    where
        S: Waiters<V>,
    {
        let mut served = false;
        let outcome = party.settle();
        let notified = matches!(outcome, Outcome::Notified(_));
        if !notified || party.leaves_early() {
            let mut guard = self.lock();
            let (state, wakes) = guard.parts();
            // SAFETY: it was pushed to this list.
            if unsafe { state.waiters().remove(node.as_ptr()) } {
                state.left(wakes);
            } else if !notified {
                // SAFETY: initialised; slots are only touched under the lock.
                served = S::served(unsafe { &*(*node.as_ptr()).value.read() });
            }
        }
        match outcome {
            Outcome::Notified(_) => Ok(End::Notified),
            _ if served => {
                if outcome == Outcome::Interrupted {
                    party.put_off();
                }
                Ok(End::Notified)
            }
            Outcome::Expired => Ok(End::Expired),
            _ => {
                // The reason first: the value's destructor may change what is due.
                // Then the value, while the thread is not panicking yet.
                let reason = interruption(party);
                // SAFETY: unlinked; nobody else reads it, since this is no end.
                drop(unsafe { value_of(node) });
                Err(reason)
            }
        }
    }

    /// As [`wait`](Monitor::wait) until `decide`, for one that must not raise: gives
    /// back what it would have raised.
    #[track_caller]
    pub(crate) fn wait_quietly(
        &self,
        site: &Site,
        decide: impl FnOnce(&mut S) -> bool,
    ) -> Result<(), Interruption>
    where
        S: Waiters<()>,
    {
        let mut guard = self.lock();
        if !decide(guard.parts().0) {
            let end = self.wait_locked(guard, site, &Limit::Never, ())?;
            end.in_time(site, &Limit::Never);
        }
        Ok(())
    }

    /// Waits in the list of slots `V`, from under the lock, for one that must not raise: gives
    /// back what it would have raised.
    #[track_caller]
    pub(crate) fn wait_locked<V>(
        &self,
        guard: Guard<'_, S, R>,
        site: &Site,
        limit: &Limit,
        value: V,
    ) -> Result<End, Interruption>
    where
        S: Waiters<V>,
    {
        let mut node = MaybeUninit::uninit();
        let Guard {
            state,
            wakes: mut debt,
        } = guard;
        // SAFETY: as in `wait`.
        unsafe {
            let begun = self.link::<V, ()>(state, &mut debt, &mut node, site, limit, value);
            let end = match begun? {
                Begun::Decided(()) => unreachable!("`link` decides nothing"),
                Begun::Linked(switch) => {
                    if let Some(switch) = switch {
                        jump(switch);
                    }
                    self.complete(&Party::current(), &mut node)?
                }
                Begun::Over(end) => end,
            };
            drop(value_of(&mut node));
            Ok(end)
        }
    }

    /// Wakes all who wait in the list of slots `V` when `begin` has said so.
    /// Returns what `begin` said.
    #[inline]
    pub(crate) fn broadcast<V>(&self, begin: impl FnOnce(&mut S) -> bool) -> bool
    where
        S: Waiters<V>,
    {
        let mut guard = self.lock();
        let (state, wakes) = guard.parts();
        if !begin(state) {
            return false;
        }
        let list = state.waiters();
        let end = list.next_ticket();
        match list.len() {
            0 => {}
            1 => drop(list.claim_front(wakes)),
            _ => {
                if !guard.claim_batch::<V>(end) {
                    drop(guard);
                    self.wake_below::<V>(end);
                }
            }
        }
        true
    }

    /// Wakes those who wait in the list of slots `V` with tickets below `end`: a broadcast that
    /// began earlier, when that was the next ticket.
    pub(crate) fn wake_below<V>(&self, end: u64)
    where
        S: Waiters<V>,
    {
        // Lets go of the lock between batches: those woken may need it.
        while !self.lock().claim_batch::<V>(end) {}
    }
}

/// Links a node of that waiter, and unlocks.
///
/// # Safety
///
/// The node stays where it is until it is unlinked.
#[inline(always)]
unsafe fn enlist<S: Waiters<V>, R: Flavour, V>(
    mut held: Held<'_, S, R>,
    node: &mut MaybeUninit<Node<V>>,
    waiter: &Waiter,
    value: V,
) {
    let ticket = S::ticket(&value);
    let node: *const Node<V> = node.write(Node::new(waiter, 0, value));
    waiter.word.announce();
    // SAFETY: the caller's promise.
    unsafe { held.state.waiters().push(node, ticket) };
}

/// What is in the slot of a node that is in no list any more.
///
/// # Safety
///
/// It is initialised, and no notifier uses it any more (see `WaitList::claim_front`). Once.
#[inline(always)]
unsafe fn value_of<V>(node: &mut MaybeUninit<Node<V>>) -> V {
    // SAFETY: the caller's promise.
    unsafe { node.assume_init_read() }.value.into_inner()
}

/// User code runs under a monitor's lock while this lives.
pub(crate) struct Lent {
    /// False while the thread's locals are torn down.
    noted: bool,
}

impl Drop for Lent {
    fn drop(&mut self) {
        if self.noted {
            let _ = LENT.try_with(|lent| lent.borrow_mut().pop());
        }
        // Asked anew: the thread may have got its hub meanwhile.
        Party::current().task().allow_switch();
    }
}

/// Whether the wait blocks the thread, since it can neither switch nor say no.
#[cold]
fn blocks<V>(obstacle: &Obstacle, limit: &Limit, state: &impl Waiters<V>) -> bool {
    matches!((obstacle, limit), (Obstacle::Panicking, Limit::Never)) && state.may_block()
}

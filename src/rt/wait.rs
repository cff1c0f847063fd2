//! The core under every primitive: nodes, lists, the monitor; `latch`, `pair`, `any` and `select`
//! are made of it. `side` is about the stacks of generators, `raw` about lock_api's locks.
//!
//! A [`Monitor`] is a lock around a primitive's plain state. The state contains
//! [`WaitList`]s: FIFO lists of nodes, one for each waiter, that live in the
//! frames of the waiting methods. A node has one slot for a value, which travels
//! in (a putter's item) or out (a getter's). [`Monitor::wait`] is the only way to
//! wait; its `decide` looks at the plain state under the lock and says what the
//! result is, or that there is none yet.
//!
//! # Rules
//!
//! - A node is linked, unlinked and read only under the monitor's lock.
//! - A node that was linked is left only after a decided wait word. Whoever
//!   unlinks it has the lock; the waiter itself does so in
//!   [`complete`](Monitor::complete) unless a notifier already has.
//! - A notifier takes the front node off the list, claims its waiter by the word,
//!   and may then use the slot until it unlocks. If the claim fails the waiter is
//!   leaving on its own and keeps what is in its slot.
//! - A waiter that leaves does so under the lock, and the state repairs its
//!   invariant there ([`Waiters::left`]). If a notifier has taken it off before, its slot may
//!   say that it was served all the same ([`Waiters::served`]); it has succeeded then.
//! - No user code runs under the lock, but for [`Monitor::lend`]; nothing is
//!   raised under it.
//! - A broadcast wakes those whose arrival ticket is smaller than the next ticket
//!   at its begin, in batches; arrivals during it are not woken by it.
//!
//! # The fast word
//!
//! A state with [`State::FAST`] keeps one number (a flag, or permits) in an atomic
//! beside the lock, together with one bit, WAITERS. While the bit is clear the
//! number may be moved by anyone by compare-exchange ([`Monitor::fast`]). Taking
//! the lock sets the bit, so that inside the number is plain state; unlocking
//! writes it back, with the bit still set if somebody waits. What is for one thread only does
//! without the marking and the compare-exchange (`rt::flavour`).

mod any;
mod future;
mod latch;
mod pair;
mod raw;
mod select;
mod side;

pub(crate) use any::{Readiness, Source, wait_any};
pub(crate) use future::{Wait, ready};
pub(crate) use latch::Latch;
pub(crate) use pair::{Giver, Taker, Work, pair};
pub(crate) use raw::{raw_lock_of, raw_reentrant_of, raw_rwlock_of};
pub(crate) use select::{Arm, Choice, HasSource, Intent, Operation, Ready, Then, select};
pub(crate) use side::Side;

use super::clock::Limit;
use super::coroutine::{Unwind, prefetch};
use super::flavour::{Flavour, Shared};
use super::hub::{CROWD, Hub, Record, Switch};
use super::inbox::Waiter;
use super::park::{self, BATCH, Obstacle, Party, Wakes};
use super::report::report;
use super::sync::{AtomicUsize, Lock, LockGuard, Ordering, UnsafeCell, const_fn, panicking};
use super::task::Site;
use super::word::Outcome;
use intrusive_collections::{LinkedList, LinkedListLink, UnsafeRef, intrusive_adapter};
use std::cell::{Cell, RefCell};
use std::marker::{PhantomData, PhantomPinned};
use std::mem::{ManuallyDrop, MaybeUninit};

/// A waiter's place in a list, in the frame of the method that waits.
pub(crate) struct Node<V> {
    link: LinkedListLink,
    waiter: *const Waiter,
    /// 0 if the waiter has this one only, else its number among them, from 1.
    index: usize,
    ticket: Cell<u64>,
    value: UnsafeCell<V>,
    /// Others hold pointers to it, so a `&mut` to it must not claim to be alone.
    _pinned: PhantomPinned,
}

intrusive_adapter!(NodeAdapter<V> = UnsafeRef<Node<V>>: Node<V> { link => LinkedListLink });

// SAFETY: who moves a node has it to itself: one that is linked stays where it is. Then others
// touch it only as `WaitList` has it.
unsafe impl<V: Send> Send for Node<V> {}

impl<V> Node<V> {
    fn new(waiter: &Waiter, index: usize, value: V) -> Self {
        Node {
            link: LinkedListLink::new(),
            waiter,
            index,
            ticket: Cell::new(0),
            value: UnsafeCell::new(value),
            _pinned: PhantomPinned,
        }
    }
}

/// A FIFO of waiters with a slot of type `V` each.
pub(crate) struct WaitList<V, R = Shared> {
    list: LinkedList<NodeAdapter<V>>,
    len: usize,
    next_ticket: u64,
    flavour: PhantomData<R>,
}

// SAFETY: the list is only used under its monitor's lock. Its nodes lie on other
// threads' stacks; of these only the links, which that lock guards, the waiter,
// which is Sync, and the value are touched, and the value may be moved to
// another thread since V is Send.
unsafe impl<V: Send> Send for WaitList<V, Shared> {}

impl<V, R: Flavour> WaitList<V, R> {
    pub(crate) const fn new() -> Self {
        WaitList {
            list: LinkedList::new(NodeAdapter::NEW),
            len: 0,
            next_ticket: 0,
            flavour: PhantomData,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Takes those off the front whose thread has ended, who would block it for ever.
    pub(crate) fn skip_closed(&mut self) {
        while let Some(node) = self.list.front().get() {
            // SAFETY: the node is linked, so its frame is alive, leaked if need be,
            // and so is its waiter.
            if !unsafe { (*node.waiter).word.is_closed() } {
                return;
            }
            self.list.pop_front();
            self.len -= 1;
        }
    }

    /// Whether anybody but `me` is in line.
    pub(crate) fn has_other(&self, me: &Waiter) -> bool {
        self.list.iter().any(|node| !std::ptr::eq(node.waiter, me))
    }

    /// The slot of the first in line.
    pub(crate) fn front(&self) -> Option<&V> {
        let node = self.list.front().get()?;
        // SAFETY: slots are only touched under the lock, which the caller holds
        // to have `&self`; the node is linked, so its frame is alive.
        Some(unsafe { &*node.value.read() })
    }

    /// Whether `f` is true of the slot of anyone in line.
    pub(crate) fn any(&self, mut f: impl FnMut(&V) -> bool) -> bool {
        // SAFETY: as in `front`.
        self.list
            .iter()
            .any(|node| f(unsafe { &*node.value.read() }))
    }

    /// Takes the first in line off and claims it. `Some(None)`: it was leaving.
    pub(crate) fn claim_front(&mut self, wakes: &mut Wakes) -> Option<Option<&mut V>> {
        let node = self.list.pop_front()?;
        self.len -= 1;
        let node: *const Node<V> = UnsafeRef::into_raw(node);
        // SAFETY: the node was linked until now, so its frame is alive, and so
        // is its waiter. If the claim fails, the waiter cannot leave before it
        // has passed the lock. If it succeeds the same holds until the unlock
        // (a thread passes the lock, a greenlet is woken after it or is of this
        // very thread), which `&mut self` cannot outlive.
        unsafe {
            let won = Self::claim_waiter(&*node, wakes);
            Some(won.then(|| &mut *(*node).value.write()))
        }
    }

    /// # Safety
    ///
    /// The node was linked here until now, and the lock is held.
    #[inline(always)]
    unsafe fn claim_waiter(node: &Node<V>, wakes: &mut Wakes) -> bool {
        // SAFETY: the node's frame is alive, and so is its waiter.
        let waiter = unsafe { &*node.waiter };
        match R::SHARED {
            true => park::claim(waiter, node.index, wakes),
            false => park::claim_here(waiter, node.index, wakes),
        }
    }

    /// Claims the first in line that is not leaving, and lends its slot.
    pub(crate) fn claim(&mut self, wakes: &mut Wakes) -> Option<&mut V> {
        loop {
            // The slot is lent past the loop, which the borrow checker cannot see.
            let slot: *mut V = self.claim_front(wakes)?.map_or(std::ptr::null_mut(), |v| v);
            if !slot.is_null() {
                // SAFETY: it comes from the reference just made, and `self` stays
                // borrowed for as long as the result lives.
                return Some(unsafe { &mut *slot });
            }
        }
    }

    /// The first in line is the next to be claimed: has the caches fetch its waiter, and the
    /// node after it, which are far away in a crowd.
    #[inline]
    fn prefetch(&self) {
        let front = self.list.front();
        if let Some(node) = front.get() {
            prefetch(node.waiter.addr(), 1);
        }
        if let Some(next) = front.peek_next().get() {
            prefetch(std::ptr::from_ref(next).addr(), 1);
        }
    }

    /// Whether anybody is in line whose wait has not ended.
    pub(crate) fn has_waiting(&self) -> bool {
        // SAFETY: the nodes are linked, so their frames are alive, and so are their waiters.
        let waits = |node: &Node<V>| unsafe { (*node.waiter).word.is_waiting() };
        self.list.iter().any(waits)
    }

    /// Takes those off whose waits have ended, though they have not left yet.
    pub(crate) fn drop_leaving(&mut self) {
        let mut place = self.list.front_mut();
        while let Some(node) = place.get() {
            // SAFETY: the node is linked, so its frame is alive, and so is its waiter.
            if unsafe { (*node.waiter).word.is_waiting() } {
                place.move_next();
            } else {
                place.remove();
                self.len -= 1;
            }
        }
    }

    /// Takes the first in line off, wakes it, and lends its slot; if its wait has ended on its
    /// own, too: it will find there that it was served ([`Waiters::served`]).
    pub(crate) fn serve_front(&mut self, wakes: &mut Wakes) -> Option<&mut V> {
        let node: *const Node<V> = UnsafeRef::into_raw(self.list.pop_front()?);
        self.len -= 1;
        // SAFETY: as in `claim_front`; and if the claim fails, the waiter reads its slot only
        // after it has passed the lock.
        unsafe {
            Self::claim_waiter(&*node, wakes);
            Some(&mut *(*node).value.write())
        }
    }

    /// The ticket of the first in line.
    pub(crate) fn front_ticket(&self) -> Option<u64> {
        Some(self.list.front().get()?.ticket.get())
    }

    /// The ticket of the next arrival.
    pub(crate) fn next_ticket(&self) -> u64 {
        self.next_ticket
    }

    /// Appends a node; one that has a ticket already goes before all later ones.
    ///
    /// # Safety
    ///
    /// The node stays where it is until it is unlinked.
    unsafe fn push(&mut self, node: *const Node<V>, ticket: Option<u64>) {
        let ticket = ticket.unwrap_or(self.next_ticket);
        // SAFETY: the caller's promise; the node is initialised and unlinked.
        let node = unsafe {
            (*node).ticket.set(ticket);
            UnsafeRef::from_raw(node)
        };
        self.len += 1;
        if ticket >= self.next_ticket {
            self.next_ticket = ticket + 1;
            return self.list.push_back(node);
        }
        let mut place = self.list.front_mut();
        while place.get().is_some_and(|next| next.ticket.get() < ticket) {
            place.move_next();
        }
        place.insert_before(node);
    }

    /// Unlinks a node of this list if it still is linked.
    ///
    /// # Safety
    ///
    /// The node was pushed to this list, or never linked.
    unsafe fn remove(&mut self, node: *const Node<V>) -> bool {
        // SAFETY: the node is alive since its owner asks; if it is linked, then
        // in this list.
        unsafe {
            if !(*node).link.is_linked() {
                return false;
            }
            self.list.cursor_mut_from_ptr(node).remove();
        }
        self.len -= 1;
        true
    }
}

impl<V, R> std::fmt::Debug for WaitList<V, R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} waiting", self.len)
    }
}

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
pub(crate) trait Waiters<V, R: Flavour = Shared>: State {
    fn waiters(&mut self) -> &mut WaitList<V, R>;
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

/// How a wait that did not raise has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// A notifier chose this waiter.
    Notified,
    /// The wait's own limit is over; nothing was taken.
    Expired,
    /// The thread is panicking, so nobody waited.
    Refused,
}

impl End {
    /// For waits that say no by `false`. Without a limit there is no way to say no, so one
    /// that was refused ends the process.
    #[inline]
    pub(crate) fn in_time(self, site: &Site, limit: &Limit) -> bool {
        match self {
            End::Notified => true,
            End::Refused if matches!(limit, Limit::Never) => park::abort_panicking(site),
            End::Expired | End::Refused => false,
        }
    }
}

/// The first half of a wait: the result, or how to suspend.
enum Step<R> {
    Ready(R),
    Suspend(Switch),
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
        S: Waiters<V, R>,
    {
        let (state, wakes) = self.parts();
        let list = state.waiters();
        let crowded = list.len > CROWD;
        for _ in 0..BATCH {
            match list.list.front().get() {
                Some(node) if node.ticket.get() < end => list.claim_front(wakes),
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

super::sync::thread_lazy! {
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
        S: Waiters<V, R>,
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
        S: Waiters<V, R>,
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
        S: Waiters<V, R>,
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
        debt.pay();
        let switch = party.suspend(site, limit);
        Ok(match party {
            Party::Hub(..) => Begun::Linked(switch),
            // SAFETY: linked above, and the wait is decided.
            Party::Thread(_) => Begun::Over(unsafe { self.complete(&party, node) }?),
        })
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
        S: Waiters<V, R>,
    {
        if let Some((hub, record)) = Party::greenlet()
            && hub.settle_notified(record)
        {
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
        S: Waiters<V, R>,
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
        S: Waiters<(), R>,
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
        S: Waiters<V, R>,
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
        S: Waiters<V, R>,
    {
        let mut guard = self.lock();
        let (state, wakes) = guard.parts();
        if !begin(state) {
            return false;
        }
        let list = state.waiters();
        let end = list.next_ticket;
        match list.len {
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
        S: Waiters<V, R>,
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
unsafe fn enlist<S: Waiters<V, R>, R: Flavour, V>(
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

/// What has interrupted a wait.
pub(crate) enum Interruption {
    Unwind(Unwind),
    Deadlock(String),
}

#[cold]
fn interruption(party: &Party) -> Interruption {
    if let Some(report) = party.deadlock() {
        return Interruption::Deadlock(report);
    }
    Interruption::Unwind(party.due().expect("a wait is interrupted for a reason"))
}

/// A wait that must end well was interrupted all the same: nothing can be saved.
#[cold]
pub(crate) fn abort_interrupted(site: &Site, interruption: &Interruption) -> ! {
    let dump = match interruption {
        Interruption::Deadlock(report) => report,
        Interruption::Unwind(_) => "interrupted in a shield",
    };
    report(format_args!(
        "{} at {} cannot end; aborting\n{dump}",
        site.operation, site.place,
    ));
    std::process::abort()
}

impl Interruption {
    #[cold]
    #[track_caller]
    pub(crate) fn raise(self) -> ! {
        match self {
            Interruption::Unwind(unwind) => unwind.raise(),
            Interruption::Deadlock(report) => panic!("{report}"),
        }
    }
}

/// What an obstacle means for a wait: say no, or raise, or panic.
#[cold]
#[track_caller]
fn refuse(obstacle: Obstacle, site: &Site) -> Result<End, Unwind> {
    match obstacle {
        Obstacle::Panicking => Ok(End::Refused),
        Obstacle::Due(unwind) => Err(unwind),
        Obstacle::NoSwitch => panic!(
            "{} at {} would wait where no wait is allowed (no_switch, a link callback, an item's Ord or Clone, or the Clone of an inherited Local)",
            site.operation, site.place
        ),
    }
}

/// Whether the wait blocks the thread, since it can neither switch nor say no.
#[cold]
fn blocks<V, R: Flavour>(obstacle: &Obstacle, limit: &Limit, state: &impl Waiters<V, R>) -> bool {
    matches!((obstacle, limit), (Obstacle::Panicking, Limit::Never)) && state.may_block()
}

/// Refuses or raises now what a wait of the caller's would; `None` if it may wait.
#[inline(always)]
#[track_caller]
pub(crate) fn obstructed(party: &Party, site: &Site) -> Option<End> {
    let obstacle = party.obstacle()?;
    Some(refuse(obstacle, site).unwrap_or_else(|unwind| unwind.raise()))
}

/// The switch itself, in the frame of the public method.
///
/// # Safety
///
/// The running greenlet got this switch from its own `suspend`, just now.
#[inline(always)]
unsafe fn jump(switch: Switch) {
    let (yielder, hub) = switch.parts();
    // SAFETY: the caller's promise.
    unsafe { yielder.suspend(hub) };
}

// ---- waits without a list ----

/// Waits for nothing but the limit.
#[inline(always)]
#[track_caller]
pub(crate) fn sleep(operation: &'static str, limit: Limit) -> End {
    match prepare_sleep(operation, limit) {
        Step::Ready(end) => end,
        Step::Suspend(switch) => {
            // SAFETY: `prepare_sleep` made it for the caller, just now.
            unsafe { jump(switch) };
            resumed_sleep()
        }
    }
}

#[inline(never)]
#[track_caller]
fn prepare_sleep(operation: &'static str, limit: Limit) -> Step<End> {
    let site = Site::here(operation);
    let party = Party::current();
    if let Some(end) = obstructed(&party, &site) {
        return Step::Ready(end);
    }
    party.waiter().word.announce();
    match party.suspend_to_sleep(&site, &limit) {
        Some(switch) => Step::Suspend(switch),
        None => Step::Ready(complete_sleep(&party)),
    }
}

#[inline(never)]
fn resumed_sleep() -> End {
    complete_sleep(&Party::current())
}

#[track_caller]
fn complete_sleep(party: &Party) -> End {
    match party.settle() {
        Outcome::Notified(_) => End::Notified,
        Outcome::Expired => End::Expired,
        _ => interruption(party).raise(),
    }
}

/// Lets the others that are ready run first.
#[inline(always)]
#[track_caller]
pub(crate) fn yield_now(operation: &'static str) {
    if let Some(switch) = prepare_yield(operation) {
        // SAFETY: `prepare_yield` made it for the caller, just now.
        unsafe { jump(switch) };
    }
}

#[inline(never)]
#[track_caller]
fn prepare_yield(operation: &'static str) -> Option<Switch> {
    let site = Site::here(operation);
    let (hub, record) = may_yield(&site)?;
    if hub.skip_yield() {
        return None;
    }
    hub.requeue(record, &site)
}

/// Who may yield now. Raises what is due; a thread without a hub lets other threads run.
#[inline(always)]
#[track_caller]
fn may_yield(site: &Site) -> Option<(&'static Hub, &'static Record)> {
    match Party::unhindered() {
        None => may_yield_after_all(site),
        unhindered => unhindered,
    }
}

#[cold]
#[inline(never)]
#[track_caller]
fn may_yield_after_all(site: &Site) -> Option<(&'static Hub, &'static Record)> {
    let party = Party::current();
    if obstructed(&party, site).is_some() {
        return None;
    }
    match party {
        Party::Hub(hub, record) => Some((hub, record)),
        Party::Thread(_) => {
            std::thread::yield_now();
            None
        }
    }
}

/// Lets that greenlet of this hub run next, if it is ready, before the others that are;
/// true if it could. Else as [`yield_now`].
#[inline(always)]
#[track_caller]
pub(crate) fn switch_to(operation: &'static str, target: Option<(usize, u64)>) -> bool {
    let (next, switch) = prepare_switch(operation, target);
    if let Some(switch) = switch {
        // SAFETY: `prepare_switch` made it for the caller, just now.
        unsafe { jump(switch) };
    }
    next
}

#[inline(never)]
#[track_caller]
fn prepare_switch(operation: &'static str, target: Option<(usize, u64)>) -> (bool, Option<Switch>) {
    let site = Site::here(operation);
    let Some((hub, record)) = may_yield(&site) else {
        return (false, None);
    };
    let next = target.is_some_and(|target| hub.make_next(target));
    if !next && hub.skip_yield() {
        return (false, None);
    }
    (next, hub.requeue(record, &site))
}

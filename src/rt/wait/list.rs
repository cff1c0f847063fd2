//! The lists that waiters stand in, and their places there.

use crate::rt::coroutine::prefetch;
use crate::rt::inbox::Waiter;
use crate::rt::park::{self, Wakes};
use crate::rt::sync::UnsafeCell;
use intrusive_collections::{LinkedList, LinkedListLink, UnsafeRef, intrusive_adapter};
use std::cell::Cell;
use std::marker::PhantomPinned;

/// A waiter's place in a list, in the frame of the method that waits.
pub(crate) struct Node<V> {
    link: LinkedListLink,
    waiter: Cell<*const Waiter>,
    /// 0 if the waiter has this one only, else its number among them, from 1.
    index: usize,
    ticket: Cell<u64>,
    pub(super) value: UnsafeCell<V>,
    /// Others hold pointers to it, so a `&mut` to it must not claim to be alone.
    _pinned: PhantomPinned,
}

intrusive_adapter!(NodeAdapter<V> = UnsafeRef<Node<V>>: Node<V> { link => LinkedListLink });

// SAFETY: who moves a node has it to itself: one that is linked stays where it is. Then others
// touch it only as `WaitList` has it.
unsafe impl<V: Send> Send for Node<V> {}

impl<V> Node<V> {
    pub(super) fn new(waiter: &Waiter, index: usize, value: V) -> Self {
        Node {
            link: LinkedListLink::new(),
            waiter: Cell::new(waiter),
            index,
            ticket: Cell::new(0),
            value: UnsafeCell::new(value),
            _pinned: PhantomPinned,
        }
    }

    /// Under the lock.
    pub(super) fn is_linked(&self) -> bool {
        self.link.is_linked()
    }

    /// Another one waits in its place. Under the lock.
    pub(super) fn set_waiter(&self, waiter: &Waiter) {
        self.waiter.set(waiter);
    }
}

/// A FIFO of waiters with a slot of type `V` each.
pub(crate) struct WaitList<V> {
    list: LinkedList<NodeAdapter<V>>,
    len: usize,
    next_ticket: u64,
}

// SAFETY: the list is only used under its monitor's lock. Its nodes lie on other
// threads' stacks; of these only the links, which that lock guards, the waiter,
// which is Sync, and the value are touched, and the value may be moved to
// another thread since V is Send.
unsafe impl<V: Send> Send for WaitList<V> {}

impl<V> WaitList<V> {
    pub(crate) const fn new() -> Self {
        WaitList {
            list: LinkedList::new(NodeAdapter::NEW),
            len: 0,
            next_ticket: 0,
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
            if !unsafe { (*node.waiter.get()).word.is_closed() } {
                return;
            }
            self.list.pop_front();
            self.len -= 1;
        }
    }

    /// Whether anybody but `me` is in line.
    pub(crate) fn has_other(&self, me: &Waiter) -> bool {
        self.list
            .iter()
            .any(|node| !std::ptr::eq(node.waiter.get(), me))
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
        park::claim(unsafe { &*node.waiter.get() }, node.index, wakes)
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
    pub(super) fn prefetch(&self) {
        let front = self.list.front();
        if let Some(node) = front.get() {
            prefetch(node.waiter.get().addr(), 1);
        }
        if let Some(next) = front.peek_next().get() {
            // It may lie across two lines.
            prefetch(std::ptr::from_ref(next).addr(), 2);
        }
    }

    /// Whether anybody is in line whose wait has not ended.
    pub(crate) fn has_waiting(&self) -> bool {
        // SAFETY: the nodes are linked, so their frames are alive, and so are their waiters.
        let waits = |node: &Node<V>| unsafe { (*node.waiter.get()).word.is_waiting() };
        self.list.iter().any(waits)
    }

    /// Takes those off whose waits have ended, though they have not left yet.
    pub(crate) fn drop_leaving(&mut self) {
        let mut place = self.list.front_mut();
        while let Some(node) = place.get() {
            // SAFETY: the node is linked, so its frame is alive, and so is its waiter.
            if unsafe { (*node.waiter.get()).word.is_waiting() } {
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
    #[inline(always)]
    pub(super) unsafe fn push(&mut self, node: *const Node<V>, ticket: Option<u64>) {
        let ticket = ticket.unwrap_or(self.next_ticket);
        // SAFETY: the caller's promise; the node is initialised and unlinked.
        let node = unsafe {
            (*node).ticket.set(ticket);
            UnsafeRef::from_raw(node)
        };
        self.len += 1;
        if ticket < self.next_ticket {
            return self.push_among(node, ticket);
        }
        self.next_ticket = ticket + 1;
        self.list.push_back(node);
    }

    #[cold]
    fn push_among(&mut self, node: UnsafeRef<Node<V>>, ticket: u64) {
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
    pub(super) unsafe fn remove(&mut self, node: *const Node<V>) -> bool {
        // SAFETY: the node is alive since its owner asks; if it is linked, then
        // in this list.
        unsafe {
            if !(*node).is_linked() {
                return false;
            }
            self.list.cursor_mut_from_ptr(node).remove();
        }
        self.len -= 1;
        true
    }
}

impl<V> std::fmt::Debug for WaitList<V> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} waiting", self.len)
    }
}

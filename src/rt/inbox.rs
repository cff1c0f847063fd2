//! Wakes, spawns and kills from other threads, and how a hub sleeps.
//!
//! # The protocol
//!
//! The inbox is one word: EMPTY, SLEEP, CLOSED, or the head of a list of
//! records that other threads have woken. A record is named by its greenlet's index in its
//! hub's table, and the list runs through a link in each record's [`Address`], so a wake
//! allocates nothing and a stale word is only a number.
//!
//! - *Push*: read the head, write it into the own link, compare-exchange. A
//!   pusher that replaced SLEEP unparks the hub, nobody else does: at most one
//!   system call per sleep, none while the hub is awake.
//! - *Drain*: the hub swaps the word for EMPTY and has the whole list.
//! - *Sleep*: the hub moves EMPTY to SLEEP by compare-exchange and parks. If
//!   that fails the list is not empty and the hub does not sleep.
//!
//! *No wake is lost.* All steps are read-modify-writes of one word, so they have
//! one order. A push before the hub's EMPTY -> SLEEP makes it fail; a push after
//! it finds SLEEP and unparks, and the parker keeps its token. Two variables (a
//! list and a flag) would need a full fence on each side.
//!
//! A record is in the list at most once: only who moved its wait word pushes it,
//! and the word moves again only after the hub has taken it out and resumed it.
//!
//! Spawns and kills are rare and carry data; they lie in a locked vector, whose
//! step from empty to filled pushes one reserved entry, [`MAIL`].
//!
//! *Sleeping elsewhere.* A hub that has a poller sleeps in it, and says so in a flag
//! before it moves the word to SLEEP (Release); who replaces SLEEP (Acquire) sees the
//! flag, and rings the poller instead of the parker.
//!
//! *Nothing dangles.* A pusher holds the [`Address`], and with it the inbox,
//! from before it moves the wait word until after its look at SLEEP; the woken
//! greenlet may have ended, and its thread with it, by then.

use super::sync::{Arc, AtomicBool, AtomicUsize, Condvar, Mutex, Ordering, lock};
use super::word::Word;
use std::fmt;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize as StdAtomicUsize, Ordering::Relaxed};
use std::task::Waker;
use std::time::Instant;

const EMPTY: usize = 0;
const SLEEP: usize = usize::MAX;
const CLOSED: usize = usize::MAX - 1;
const MAIL: usize = usize::MAX - 2;

/// One permit to go on, for one thread.
#[derive(Debug)]
pub(crate) struct Parker {
    state: Mutex<Permit>,
    changed: Condvar,
}

#[derive(Debug)]
struct Permit {
    given: bool,
    /// The thread sleeps. Else nobody need be told, which is a system call.
    asleep: bool,
}

impl Parker {
    pub(crate) fn new() -> Self {
        Parker {
            state: Mutex::new(Permit {
                given: false,
                asleep: false,
            }),
            changed: Condvar::new(),
        }
    }

    /// Blocks the thread until [`unpark`](Parker::unpark) or the deadline. May return early.
    pub(crate) fn park(&self, deadline: Option<Instant>) {
        let mut state = lock(&self.state);
        while !state.given {
            state.asleep = true;
            state = match deadline {
                None => self.changed.wait(state).unwrap_or_else(|e| e.into_inner()),
                Some(deadline) => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        break;
                    }
                    let waited = self.changed.wait_timeout(state, left);
                    waited.unwrap_or_else(|e| e.into_inner()).0
                }
            };
        }
        *state = Permit {
            given: false,
            asleep: false,
        };
    }

    pub(crate) fn unpark(&self) {
        let asleep = {
            let mut state = lock(&self.state);
            state.given = true;
            state.asleep
        };
        if asleep {
            self.changed.notify_one();
        }
    }
}

/// The index of a record, which changes when another greenlet gets it. std's atomic even in
/// models: only the hub's thread writes it, while the record has no node anywhere, and whoever
/// reads it has come to it by a node, through the lock of a list that was taken after.
#[derive(Debug)]
pub(crate) struct Index(StdAtomicUsize);

impl Index {
    fn new(index: usize) -> Self {
        Index(StdAtomicUsize::new(index))
    }

    #[inline]
    fn get(&self) -> usize {
        self.0.load(Relaxed)
    }

    fn set(&self, index: usize) {
        self.0.store(index, Relaxed);
    }
}

/// Where a waiter's wake goes.
#[derive(Debug)]
pub(crate) enum Address {
    /// A greenlet or root: the record of that index in the hub of that inbox.
    Hub {
        inbox: Arc<Inbox>,
        index: Index,
        link: AtomicUsize,
    },
    /// A plain thread.
    Thread(Parker),
}

impl Address {
    /// Delivers a wake that the caller won by moving the waiter's word.
    pub(crate) fn wake(&self) {
        match self {
            Address::Hub { inbox, index, link } => inbox.push(index.get() + 1, link),
            Address::Thread(parker) => parker.unpark(),
        }
    }
}

/// A waiter as notifiers see it: its word, and where its wake goes.
#[derive(Debug)]
#[repr(C)] // What a notifier of the same hub reads comes first: see `hub::Record`.
pub(crate) struct Waiter {
    pub(crate) word: Word,
    /// Which hub it belongs to (its inbox, as a number; 0 is none) and where in it, so that a
    /// notifier of the same hub need not look at the address.
    hub: usize,
    index: Index,
    reach: Reach,
}

/// How a waiter is reached.
#[derive(Debug)]
enum Reach {
    /// A greenlet, a root or a thread.
    Party(Arc<Address>),
    /// A future: the waker of the task that polled it last.
    Task(Mutex<Option<Waker>>),
}

/// A wake that is owed to somebody.
pub(crate) enum Wake {
    Party(Arc<Address>),
    Task(Waker),
}

impl Waiter {
    /// Of a hub's record.
    pub(crate) fn of_record(inbox: &Arc<Inbox>, index: usize) -> Self {
        let (inbox, link) = (inbox.clone(), AtomicUsize::new(EMPTY));
        let hub = Arc::as_ptr(&inbox).addr();
        let address = Arc::new(Address::Hub {
            inbox,
            index: Index::new(index),
            link,
        });
        Waiter {
            word: Word::new(),
            hub,
            index: Index::new(index),
            reach: Reach::Party(address),
        }
    }

    /// Its record is another greenlet's from now on, which is at that index. It waits nowhere.
    #[inline]
    pub(crate) fn move_to(&self, to: usize) {
        if self.index.get() != to {
            self.index.set(to);
            if let Address::Hub { index, .. } = &**self.address() {
                index.set(to);
            }
        }
    }

    /// Of a thread without a hub.
    pub(crate) fn of_thread() -> Self {
        Waiter::of_no_hub(Reach::Party(Arc::new(Address::Thread(Parker::new()))))
    }

    /// Of a future.
    pub(crate) fn of_task() -> Self {
        Waiter::of_no_hub(Reach::Task(Mutex::new(None)))
    }

    fn of_no_hub(reach: Reach) -> Self {
        Waiter {
            word: Word::new(),
            hub: 0,
            index: Index::new(0),
            reach,
        }
    }

    /// Its index, if it belongs to the hub of that inbox.
    #[inline]
    pub(crate) fn index_in(&self, inbox: &Arc<Inbox>) -> Option<usize> {
        (self.hub == Arc::as_ptr(inbox).addr()).then(|| self.index.get())
    }

    /// The address of one that is no future.
    pub(crate) fn address(&self) -> &Arc<Address> {
        match &self.reach {
            Reach::Party(address) => address,
            Reach::Task(_) => unreachable!("a future has a waker instead"),
        }
    }

    /// Claims it through its node of that index; the wake that the caller then owes, if it
    /// has won. The caller holds the lock of the list that the node was in.
    pub(crate) fn claim(&self, index: usize) -> Option<Wake> {
        match &self.reach {
            Reach::Party(address) => {
                // The address first: it keeps the inbox alive until after the delivery.
                let address = address.clone();
                self.word.notify(index).then_some(Wake::Party(address))
            }
            Reach::Task(waker) => {
                // The future cannot go before it has passed the list's lock.
                let won = self.word.notify(index);
                won.then(|| Wake::Task(lock(waker).take().expect("it was polled")))
            }
        }
    }

    /// A future's wake goes there from now on. False: it has had its wake already.
    pub(crate) fn redirect(&self, to: &Waker) -> bool {
        let Reach::Task(waker) = &self.reach else {
            unreachable!("only a future has a waker")
        };
        // Whoever claims it moves the word before it takes the waker: while the word is
        // WAITING under this lock, that is still to come.
        let current = {
            let held = lock(waker);
            if self.word.outcome().is_some() {
                return false;
            }
            held.as_ref().is_some_and(|held| held.will_wake(to))
        };
        if !current {
            // Not under the lock: making one and dropping one is foreign code.
            let mut to = Some(to.clone());
            let mut held = lock(waker);
            if self.word.outcome().is_some() {
                return false;
            }
            std::mem::swap(&mut *held, &mut to);
            drop(held);
        }
        true
    }
}

/// What other threads send besides wakes.
pub(crate) enum Mail {
    /// A closure to be spawned.
    Spawn(Box<dyn RemoteSpawn>),
    /// Kill the greenlet `id`, if it is still at that index. The sender
    /// does not know the index of a greenlet whose own mail was not read when it
    /// looked; that mail comes first.
    Kill { index: usize, id: u64 },
    /// A question about the hub, which changes nothing.
    Ask(Box<dyn Ask>),
}

/// A greenlet on its way to another hub.
pub(crate) trait RemoteSpawn: Send {
    /// On the hub's thread: become a greenlet.
    fn deliver(self: Box<Self>);
    /// The hub has ended: tell those who wait.
    fn refuse(self: Box<Self>);
}

/// A question to a hub.
pub(crate) trait Ask: Send {
    /// On the hub's thread, in its loop. Neither waits nor panics.
    fn answer(self: Box<Self>);
    /// The hub has ended: tell those who wait.
    fn refuse(self: Box<Self>);
}

#[derive(Default)]
struct Mailbox {
    mail: Vec<Mail>,
    closed: bool,
}

/// Wakes a hub that sleeps in its poller.
pub(crate) type Bell = Box<dyn Fn() + Send + Sync>;

/// See the module. On cache lines of its own, and in pairs, as processors fetch them: what other
/// threads write here shares none with what its hub, or another, has beside it.
#[repr(align(128))]
pub(crate) struct Inbox {
    word: AtomicUsize,
    mail_link: AtomicUsize,
    mailbox: Mutex<Mailbox>,
    parker: Parker,
    /// Whether the hub sleeps where the bell is heard, instead of in the parker.
    has_bell: AtomicBool,
    bell: OnceLock<Bell>,
}

impl Inbox {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Inbox {
            word: AtomicUsize::new(EMPTY),
            mail_link: AtomicUsize::new(EMPTY),
            mailbox: Mutex::new(Mailbox::default()),
            parker: Parker::new(),
            has_bell: AtomicBool::new(false),
            bell: OnceLock::new(),
        })
    }

    /// From now on the hub sleeps where this bell is heard.
    #[cfg(all(unix, feature = "net"))]
    pub(crate) fn set_bell(&self, bell: Bell) {
        let _ = self.bell.set(bell);
        // Relaxed: published by the word, in `sleep`.
        self.has_bell.store(true, Ordering::Relaxed);
    }

    /// Wakes the hub, which sleeps or is about to.
    fn rouse(&self) {
        if self.has_bell.load(Ordering::Relaxed) {
            self.bell.get().expect("set before the flag")();
        } else {
            self.parker.unpark();
        }
    }

    fn push(&self, entry: usize, link: &AtomicUsize) {
        let mut head = self.word.load(Ordering::Relaxed);
        loop {
            if head == CLOSED {
                return;
            }
            // Relaxed: published by the compare-exchange below.
            link.store(if head == SLEEP { EMPTY } else { head }, Ordering::Relaxed);
            // Release: the hub that drains the word sees the link and all that
            // the pusher did before the wake; the chain of pushes is one release
            // sequence for the drain. Acquire: where the hub sleeps.
            match self
                .word
                .compare_exchange(head, entry, Ordering::AcqRel, Ordering::Relaxed)
            {
                Ok(SLEEP) => return self.rouse(),
                Ok(_) => return,
                Err(now) => head = now,
            }
        }
    }

    /// The inbox of a hub that has ended.
    pub(crate) fn new_closed() -> Arc<Self> {
        let inbox = Inbox::new();
        inbox.refuse_mail();
        inbox.close();
        inbox
    }

    /// Sends mail; gives it back if the hub has ended.
    pub(crate) fn send(&self, mail: Mail) -> Result<(), Mail> {
        let first = {
            let mut mailbox = lock(&self.mailbox);
            if mailbox.closed {
                return Err(mail);
            }
            mailbox.mail.push(mail);
            mailbox.mail.len() == 1
        };
        if first {
            self.push(MAIL, &self.mail_link);
        }
        Ok(())
    }

    /// Takes all that has come: calls `wake` for each woken record in order of
    /// arrival, and returns the mail.
    pub(crate) fn drain<'a>(
        &self,
        link_of: impl Fn(usize) -> &'a Address,
        mut wake: impl FnMut(usize),
    ) -> Vec<Mail> {
        if self.word.load(Ordering::Relaxed) == EMPTY {
            return Vec::new();
        }
        // Acquire: pairs with the pushers' Release.
        let mut entry = self.word.swap(EMPTY, Ordering::Acquire);
        debug_assert!(entry <= MAIL);
        // The list is newest first: turn it round through the same links, which
        // belong to the hub from here on.
        let link = |entry: usize| match entry {
            MAIL => &self.mail_link,
            entry => match link_of(entry - 1) {
                Address::Hub { link, .. } => link,
                Address::Thread(_) => unreachable!("a hub's record has a hub's address"),
            },
        };
        let mut oldest = EMPTY;
        while entry != EMPTY {
            let next = link(entry).load(Ordering::Relaxed);
            link(entry).store(oldest, Ordering::Relaxed);
            oldest = entry;
            entry = next;
        }
        let mut mail = Vec::new();
        while oldest != EMPTY {
            // Read the link first: once its mail is taken, MAIL may be pushed anew.
            let next = link(oldest).load(Ordering::Relaxed);
            if oldest == MAIL {
                mail = std::mem::take(&mut lock(&self.mailbox).mail);
            } else {
                wake(oldest - 1);
            }
            oldest = next;
        }
        mail
    }

    /// Sleeps until a push or the deadline; not at all if something has come.
    pub(crate) fn sleep(&self, deadline: Option<Instant>) {
        self.sleep_in(|| self.parker.park(deadline));
    }

    /// Sleeps in `nap`, which a push ends; not at all if something has come.
    pub(crate) fn sleep_in(&self, nap: impl FnOnce()) {
        // Release: where the hub sleeps. What a pusher published is acquired by the
        // drain.
        let slept = self
            .word
            .compare_exchange(EMPTY, SLEEP, Ordering::Release, Ordering::Relaxed);
        if slept.is_ok() {
            nap();
            // If this fails, a push has replaced SLEEP already.
            let relaxed = Ordering::Relaxed;
            let _ = self.word.compare_exchange(SLEEP, EMPTY, relaxed, relaxed);
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.word.load(Ordering::Relaxed) == EMPTY
    }

    pub(crate) fn is_closed(&self) -> bool {
        lock(&self.mailbox).closed
    }

    /// Refuses mail from now on; returns what nobody has read. Wakes still come:
    /// greenlets that are ending wait, and one whose wake is under way can be
    /// ended by nothing else.
    pub(crate) fn refuse_mail(&self) -> Vec<Mail> {
        let mut mailbox = lock(&self.mailbox);
        mailbox.closed = true;
        std::mem::take(&mut mailbox.mail)
    }

    /// Refuses wakes too: nobody is left who could be woken. Once, after
    /// [`refuse_mail`](Inbox::refuse_mail).
    pub(crate) fn close(&self) {
        // AcqRel: as in push and drain; what is still in the list is dropped.
        self.word.swap(CLOSED, Ordering::AcqRel);
    }
}

impl fmt::Debug for Inbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inbox").finish_non_exhaustive()
    }
}

//! Whether a descriptor can be read and written, as far as is known, and who waits
//! until it can.
//!
//! Each direction has a number: the bits READY, HANGUP and CLOSED, and a count of the
//! changes that the poller has told of, the *tick*. The system call is tried while
//! READY is set. If it says that it would block, READY is cleared, but only if the tick
//! is still the one from before the call: a change in between may be news that the call
//! did not see.
//!
//! # Waiters
//!
//! There may be any number in each direction. A change wakes the first in line, who
//! then has the *turn*: READY stays clear, so that newcomers line up instead of passing
//! ahead, and whoever has the turn tries the call. If that leaves more to be had, the turn
//! goes on to the next in line; if nobody is in line, READY is set. If it would block
//! after all, the waiter goes back to its old place by its old ticket. Each
//! change wakes another waiter whether or not a turn is out, and the end of a hub counts as
//! a change of each descriptor that its poller knows, so a waiter whose thread has ended holds
//! up nobody. One whose hub is busy does, until the next change. Invariant: READY is set only while nobody is in line.
//!
//! # Fast peers
//!
//! A call that need not wait switches to nobody, and a peer that is as fast as its reader
//! would let nobody else run for as long as it likes, nor any timer expire. So each call that
//! need not wait takes one from the turn's budget, and the one that takes the last yields
//! first.
//!
//! # Short reads
//!
//! A read that got less than it asked for has emptied the buffer, and a short write has
//! filled it (epoll and kqueue report every change after that), so READY is cleared
//! without a call that must fail. Not after HANGUP: the end of a stream may have come
//! with the change before, and would not be told of again. A read also stops short of urgent
//! data of TCP, which the poller tells of as if it were a hang-up, and after descriptors that
//! were sent along on a Unix stream, whose short reads therefore count for nothing.

use super::clock::Limit;
use super::park::{self, Party, PendingIo, Wakes};
use super::poller::{Change, Driver, Sink};
use super::sync::{AtomicUsize, Mutex, Ordering, Raw, lock};
use super::task::Site;
use super::wait::{self, End, Monitor, State, WaitList, Waiters};
use std::io::{self, ErrorKind};
use std::num::NonZeroU64;
use std::os::fd::RawFd;
// std's count, in models too: nothing is decided by it.
use std::sync::Arc;

/// Which way the bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    Read,
    Write,
}

/// A call may get something.
const READY: usize = 1;
/// The other end has hung up, or there is an error or urgent data: short calls prove nothing.
pub(super) const HANGUP: usize = 2;
/// This end has been closed: nobody waits any more.
pub(super) const CLOSED: usize = 4;
/// One change.
const TICK: usize = 8;

/// A waiter's ticket, plus one so that it takes no more room than a number; `None` before
/// it has one.
type Place = Option<NonZeroU64>;

/// One direction.
struct Side {
    number: usize,
    waiters: WaitList<Place>,
}

impl State for Side {
    const FAST: bool = true;

    fn load(&mut self, number: usize) {
        self.number = number;
    }

    fn store(&self) -> (usize, bool) {
        (self.number, !self.waiters.is_empty())
    }

    fn check(&self) {
        assert!(
            self.waiters.is_empty() || self.number & READY == 0,
            "ready, and yet in line"
        );
    }
}

impl Waiters<Place> for Side {
    fn waiters(&mut self) -> &mut WaitList<Place> {
        &mut self.waiters
    }

    fn ticket(place: &Place) -> Option<u64> {
        place.map(|next| next.get() - 1)
    }
}

impl Side {
    /// Something may be had: it is the turn of the first in line.
    fn pass(&mut self, wakes: &mut Wakes) {
        if self.waiters.claim(wakes).is_none() {
            self.number |= READY;
        }
    }
}

/// The number after another change.
fn tick(number: usize) -> usize {
    // The highest bit is the fast word's.
    number.wrapping_add(TICK) & (usize::MAX >> 1)
}

/// One direction, and who waits for it.
pub(super) struct Half(Monitor<Side, Raw>);

impl Half {
    pub(super) fn new(ready: bool) -> Self {
        let (number, waiters) = (usize::from(ready) * READY, WaitList::new());
        Half(Monitor::new(number, Side { number, waiters }))
    }

    /// The poller tells of a change, or somebody knows of one.
    pub(super) fn changed(&self, bits: usize) {
        if self
            .0
            .fast(|number| Some(tick(number) | READY | bits))
            .is_some()
        {
            return;
        }
        let mut guard = self.0.lock();
        let (side, wakes) = guard.parts();
        side.number = tick(side.number) | bits;
        side.pass(wakes);
    }

    /// A call got something, and there may be more.
    fn more(&self) {
        if self.0.fast(|number| Some(number | READY)).is_none() {
            let mut guard = self.0.lock();
            let (side, wakes) = guard.parts();
            side.pass(wakes);
        }
    }

    /// A call that began at `seen` has left nothing, unless there was news.
    fn drained(&self, seen: usize, keep: usize) {
        let clear = |number: usize| {
            let same = number / TICK == seen / TICK && number & keep == 0;
            same.then_some(number & !(READY | HANGUP))
        };
        if self.0.fast(clear).is_none() {
            let mut guard = self.0.lock();
            let side = guard.parts().0;
            side.number = clear(side.number).unwrap_or(side.number);
        }
    }

    /// The number, if the call may be tried without a wait: nobody is in line, and there may
    /// be something. Who may not wait takes what the poller has yet to tell of.
    #[inline(always)]
    fn at_once(&self) -> Option<usize> {
        let number = self.0.peek()?;
        (number & READY != 0 || !park::may_wait()).then_some(number)
    }

    /// Waits for a turn. `place` is the waiter's place in line, once it has one.
    #[inline(always)]
    #[track_caller]
    fn wait(&self, site: &Site, limit: &Limit, place: &mut Place) -> io::Result<()> {
        let decide = |side: &mut Side, _: &mut Wakes, place: &mut Place| {
            if side.number & (READY | CLOSED) != 0 {
                return Some(Ok(()));
            }
            *place = place.or_else(|| NonZeroU64::new(side.waiters.next_ticket() + 1));
            None
        };
        let had = *place;
        let finish = |end, had| {
            *place = had;
            match end {
                End::Notified => Ok(()),
                End::Expired => Err(ErrorKind::TimedOut.into()),
                End::Refused => Err(refused(site)),
            }
        };
        self.0.wait(site, limit, had, decide, finish)
    }

    /// As [`Readiness::attempt`]. `listen` sees to it that changes are heard of while its
    /// result lives.
    #[inline(always)]
    #[track_caller]
    pub(super) fn attempt<T, L>(
        &self,
        site: &Site,
        mut limit: Limit,
        listen: impl Fn() -> io::Result<L>,
        mut call: impl FnMut() -> io::Result<T>,
        short: impl Fn(&T) -> bool,
    ) -> io::Result<T> {
        let mut place = None;
        let mut ready = self.at_once();
        if ready.is_some() && park::has_spent_its_turn() {
            let_others_run(site);
            ready = self.at_once();
        }
        loop {
            let seen = match ready.take() {
                Some(number) => number,
                None => {
                    let _listening = listen()?;
                    if let Limit::After(_) = limit {
                        fix(&mut limit);
                    }
                    self.wait(site, &limit, &mut place)?;
                    self.0.number()
                }
            };
            if seen & CLOSED != 0 {
                return Err(closed());
            }
            match uninterrupted(&mut call) {
                Err(e) if e.kind() == ErrorKind::WouldBlock => self.drained(seen, 0),
                Ok(value) if seen & HANGUP == 0 && short(&value) => {
                    self.drained(seen, HANGUP);
                    return Ok(value);
                }
                result => {
                    if place.is_some() {
                        self.more();
                    }
                    return result;
                }
            }
        }
    }

    pub(super) fn close(&self) {
        self.0.broadcast::<Place>(|side| {
            side.number |= CLOSED;
            true
        });
    }

    /// For models.
    #[cfg(all(test, greenlet_loom))]
    pub(super) fn number(&self) -> usize {
        self.0.number()
    }

    fn waiting(&self) -> usize {
        self.0.lock().parts().0.waiters.len()
    }
}

/// See the module.
#[repr(C)] // What each wait touches comes first.
pub(crate) struct Readiness {
    read: Half,
    /// The address of one of the pollers that know it, the last that was asked for. Relaxed:
    /// a thread compares it with its own poller's only, which nobody else stores.
    last: AtomicUsize,
    write: Half,
    /// Open for as long as somebody may wait; see [`Readiness::forget`].
    fd: RawFd,
    /// The pollers that know the descriptor, and by which token.
    known: Mutex<Vec<(Arc<Driver>, usize)>>,
}

impl Readiness {
    /// Of a new descriptor, which may be read and perhaps written as far as is known.
    pub(crate) fn new(fd: RawFd, writable: bool) -> Self {
        Readiness {
            read: Half::new(true),
            last: AtomicUsize::new(0),
            write: Half::new(writable),
            fd,
            known: Mutex::new(Vec::new()),
        }
    }

    /// The poller tells of a change.
    pub(crate) fn changed(&self, change: Change) {
        let hangup = |closed: bool| if closed { HANGUP } else { 0 };
        if change.readable || change.read_closed {
            self.read.changed(hangup(change.read_closed));
        }
        if change.writable || change.write_closed {
            self.write.changed(hangup(change.write_closed));
        }
    }

    /// How many wait to read and to write.
    pub(crate) fn waiting(&self) -> (usize, usize) {
        (self.read.waiting(), self.write.waiting())
    }

    /// Ends all waits, now and from now on.
    pub(crate) fn close(&self) {
        self.read.close();
        self.write.close();
    }

    /// An error if this end has been closed.
    pub(crate) fn check_open(&self) -> io::Result<()> {
        match self.write.0.number() & CLOSED {
            0 => Ok(()),
            _ => Err(closed()),
        }
    }

    /// Something was done to the descriptor that may end waits in either direction.
    pub(crate) fn poke(&self) {
        self.read.changed(HANGUP);
        self.write.changed(HANGUP);
    }

    /// Tries `call` until it does not say that it would block, and waits in between, in
    /// line, for at most `limit` in all. `short` says of a result that nothing is left. The
    /// hub's poller tells `sink`, which passes it on to [`changed`](Readiness::changed).
    #[inline(always)]
    #[track_caller]
    pub(crate) fn attempt<T>(
        &self,
        sink: impl Fn() -> Arc<dyn Sink>,
        direction: Direction,
        site: &Site,
        limit: Limit,
        call: impl FnMut() -> io::Result<T>,
        short: impl Fn(&T) -> bool,
    ) -> io::Result<T> {
        let half = match direction {
            Direction::Read => &self.read,
            Direction::Write => &self.write,
        };
        let listen = || {
            let pending = PendingIo::begin()?;
            if !pending.has_driver(self.last.load(Ordering::Relaxed)) {
                self.register(&pending, sink())?;
            }
            Ok(pending)
        };
        half.attempt(site, limit, listen, call, short)
    }

    /// Makes sure that the hub's poller knows the descriptor.
    #[cold]
    fn register(&self, pending: &PendingIo, sink: Arc<dyn Sink>) -> io::Result<()> {
        pending.with_driver(|driver| {
            let mut known = lock(&self.known);
            // Before a poller is let go of, whose address another one may get.
            self.last.store(0, Ordering::Relaxed);
            known.retain(|(d, _)| !d.is_closed());
            if !known.iter().any(|(d, _)| Arc::ptr_eq(d, driver)) {
                let index = driver.add(self.fd, sink)?;
                known.push((driver.clone(), index));
            }
            self.last
                .store(Arc::as_ptr(driver).addr(), Ordering::Relaxed);
            Ok(())
        })?
    }

    /// Takes the descriptor out of all pollers, before it is closed or given away. After that
    /// none of them has the sink.
    pub(crate) fn forget(&self) {
        let known = {
            let mut known = lock(&self.known);
            self.last.store(0, Ordering::Relaxed);
            std::mem::take(&mut *known)
        };
        for (driver, index) in known {
            driver.remove(self.fd, index);
        }
    }
}

/// It holds for all waits of a call together.
#[cold]
#[inline(never)]
fn fix(limit: &mut Limit) {
    *limit = limit.fixed(|| Party::current().now());
}

/// The turn is spent.
#[cold]
#[inline(never)]
#[track_caller]
fn let_others_run(site: &Site) {
    wait::yield_now(site.operation);
    // What has come due meanwhile is raised before anything is taken.
    if let Some(unwind) = Party::current().due() {
        unwind.raise();
    }
}

/// What a wait returns while the thread is panicking.
#[cold]
pub(crate) fn refused(site: &Site) -> io::Error {
    let why = "would wait while the thread is panicking";
    io::Error::other(format!("{} {why}", site.operation))
}

/// What operations on a socket that this end has closed return.
#[cold]
fn closed() -> io::Error {
    io::Error::new(
        ErrorKind::NotConnected,
        "the socket was closed on this side",
    )
}

/// The call again if a signal has cut it short.
#[inline(always)]
pub(crate) fn uninterrupted<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

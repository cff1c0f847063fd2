//! What other threads may see of a hub: which there are, and what runs on each.
//!
//! A hub's data belong to its thread. Four things are shared, and nothing is decided by them,
//! hence std's locks and atomics here, which a model checker need not explore:
//!
//! - the list of hubs, each from its making to its end, with its inbox, by which it can be asked;
//! - what is to be watched ([`WATCHED`], [`TIMED`], [`MEASURED`]), which each hub reads once a
//!   turn, and when a wait of its root begins;
//! - how much of their stacks greenlets have used, by where they were spawned: only while that is
//!   measured;
//! - a hub's [`Pulse`], written only while somebody watches: one word for each switch, and who
//!   is at each index at its first turn.
//!
//! A backtrace of another thread's stack cannot be had without `unsafe` and a signal, so a
//! watcher learns who runs, not where.

use super::inbox::Inbox;
use super::sync::{Arc, MODELLED};
use super::task::Name;
use std::panic::Location;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::Thread;

/// Hubs publish what runs.
pub(crate) const WATCHED: usize = 1;
/// Hubs measure their slices.
pub(crate) const TIMED: usize = 2;
/// Hubs measure how much of their stacks greenlets use.
pub(crate) const MEASURED: usize = 4;

/// Who has run, or runs: known beyond its end.
#[derive(Clone, Debug)]
pub(crate) struct Who {
    /// 0 for a root.
    pub(crate) id: u64,
    pub(crate) name: Option<Name>,
    /// `None` for a root.
    pub(crate) place: Option<&'static Location<'static>>,
}

/// No user code runs under the locks of this file.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What runs on a hub, as seen by others.
#[derive(Debug)]
pub(crate) struct Pulse {
    /// The slice's number in the upper half, one more than the greenlet's index in the lower; a
    /// lower half of 0 is nobody.
    beat: AtomicU64,
    /// Who is at each index.
    who: Mutex<Vec<Option<Who>>>,
}

impl Pulse {
    fn new() -> Self {
        Pulse {
            beat: AtomicU64::new(0),
            who: Mutex::new(Vec::new()),
        }
    }

    /// The next slice of who is at that index begins.
    #[inline]
    pub(crate) fn begin(&self, slice: u64, index: usize) {
        // Release: who sees the beat finds who it is in the table.
        self.beat
            .store((slice << 32) | (index as u64 + 1), Ordering::Release);
    }

    /// Nobody runs.
    pub(crate) fn rest(&self) {
        // SeqCst: see `Bystander::act`.
        self.beat.store(0, Ordering::SeqCst);
    }

    /// Somebody new is at that index.
    pub(crate) fn enter(&self, index: usize, who: Who) {
        let mut all = lock(&self.who);
        if all.len() <= index {
            all.resize(index + 1, None);
        }
        all[index] = Some(who);
    }

    /// Nobody watches any more.
    pub(crate) fn clear(&self) {
        self.rest();
        let gone = std::mem::take(&mut *lock(&self.who));
        drop(gone);
    }

    /// What runs, to be compared later; `None` if nobody does.
    pub(crate) fn beat(&self) -> Option<u64> {
        // Acquire: pairs with `begin`. SeqCst: see `Bystander::act`.
        Some(self.beat.load(Ordering::SeqCst)).filter(|beat| beat & u64::from(u32::MAX) != 0)
    }

    /// Whose that beat is, if it still goes on.
    pub(crate) fn who(&self, beat: u64) -> Option<Who> {
        let index = (beat & u64::from(u32::MAX)) as usize - 1;
        let who = lock(&self.who).get(index).cloned().flatten();
        who.filter(|_| self.beat() == Some(beat))
    }
}

/// The calling thread, as [`Entry::thread`].
pub(crate) fn this_thread() -> String {
    thread_name(&std::thread::current())
}

/// A hub, as other threads know it.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) inbox: Arc<Inbox>,
    pub(crate) pulse: std::sync::Arc<Pulse>,
    thread: Thread,
}

impl Entry {
    /// The name of the hub's thread, or its number if it has none.
    pub(crate) fn thread(&self) -> String {
        thread_name(&self.thread)
    }
}

fn thread_name(thread: &Thread) -> String {
    match thread.name() {
        Some(name) => name.to_owned(),
        None => format!("{:?}", thread.id()),
    }
}

static HUBS: Mutex<Vec<Entry>> = Mutex::new(Vec::new());

/// The calling thread has this hub from now on, until [`remove`].
pub(super) fn add(inbox: &Arc<Inbox>) -> std::sync::Arc<Pulse> {
    let pulse = std::sync::Arc::new(Pulse::new());
    // The hubs of models are not the process's.
    if !MODELLED {
        lock(&HUBS).push(Entry {
            inbox: inbox.clone(),
            pulse: pulse.clone(),
            thread: std::thread::current(),
        });
    }
    pulse
}

pub(super) fn remove(inbox: &Arc<Inbox>) {
    let gone = {
        let mut hubs = lock(&HUBS);
        let at = hubs.iter().position(|hub| Arc::ptr_eq(&hub.inbox, inbox));
        at.map(|at| hubs.remove(at))
    };
    drop(gone);
}

/// All hubs that there are, in order of their making.
pub(crate) fn hubs() -> Vec<Entry> {
    lock(&HUBS).clone()
}

/// How many want hubs to publish what runs; and what is measured.
static WATCHERS: AtomicUsize = AtomicUsize::new(0);
static MEASURES: AtomicUsize = AtomicUsize::new(0);

/// What hubs are to do, as bits.
#[inline]
pub(super) fn mode() -> usize {
    // Relaxed: settings, they order nothing.
    let watched = WATCHERS.load(Ordering::Relaxed) > 0;
    (usize::from(watched) * WATCHED) | MEASURES.load(Ordering::Relaxed)
}

/// While this lives, hubs publish what runs, each from its next turn, or wait of its root, on.
#[derive(Debug)]
pub(crate) struct Watching(());

impl Watching {
    pub(crate) fn new() -> Self {
        WATCHERS.fetch_add(1, Ordering::Relaxed);
        Watching(())
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        WATCHERS.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Whether hubs measure that; returns whether they did.
pub(crate) fn set_measured(what: usize, on: bool) -> bool {
    let before = match on {
        true => MEASURES.fetch_or(what, Ordering::Relaxed),
        false => MEASURES.fetch_and(!what, Ordering::Relaxed),
    };
    before & what != 0
}

/// Greenlets that were spawned by one call, with stacks of one size.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Use {
    pub(crate) place: &'static Location<'static>,
    pub(crate) size: usize,
    /// How many have ended.
    pub(crate) ended: u64,
    /// How many bytes the deepest has used.
    pub(crate) most: usize,
}

/// Sorted by place and size.
static USES: Mutex<Vec<Use>> = Mutex::new(Vec::new());

/// What was measured since [`forget_uses`].
pub(crate) fn uses() -> Vec<Use> {
    lock(&USES).clone()
}

pub(crate) fn forget_uses() {
    lock(&USES).clear();
}

/// A greenlet has ended that used so many bytes of its stack.
pub(super) fn add_use(place: &'static Location<'static>, size: usize, used: usize) {
    fn key(place: &'static Location<'static>, size: usize) -> (&'static str, u32, u32, usize) {
        (place.file(), place.line(), place.column(), size)
    }
    let mut uses = lock(&USES);
    let wanted = key(place, size);
    match uses.binary_search_by(|it| key(it.place, it.size).cmp(&wanted)) {
        Ok(at) => {
            uses[at].ended += 1;
            uses[at].most = uses[at].most.max(used);
        }
        Err(at) => {
            let new = Use {
                place,
                size,
                ended: 1,
                most: used,
            };
            uses.insert(at, new);
        }
    }
}

/// How many of the process's threads can wake nobody, in the lower half, and in the upper how
/// often that has changed.
static BYSTANDERS: AtomicU64 = AtomicU64::new(0);

/// To be added for one more, and for one less.
const COMES: u64 = CHANGE + 1;
const GOES: u64 = CHANGE - 1;
const CHANGE: u64 = 1 << 32;

/// Whether `asked` is true of the number of bystanders, and that has not changed while it was
/// asked: a thread that comes, or ceases to wake nobody, would be counted for another one.
#[cfg(target_os = "linux")]
pub(super) fn beside_bystanders(asked: impl FnOnce(u64) -> bool) -> bool {
    // SeqCst: see `Bystander::act`.
    let before = BYSTANDERS.load(Ordering::SeqCst);
    asked(before & (CHANGE - 1)) && before == BYSTANDERS.load(Ordering::SeqCst)
}

/// While this lives its thread wakes nobody, but in [`act`](Bystander::act).
#[derive(Debug)]
pub(crate) struct Bystander(());

impl Bystander {
    pub(crate) fn new() -> Self {
        BYSTANDERS.fetch_add(COMES, Ordering::SeqCst);
        Bystander(())
    }

    /// Runs `f`, which may wake whom it likes, if the beat still goes on.
    ///
    /// Each of two has written before it reads, all of it SeqCst: a hub with nothing to do
    /// rests its pulse, then asks for the bystanders; this one ceases to be a bystander, then
    /// looks at the pulse. So either the hub sees a thread that may wake somebody, or this
    /// one sees that there is nothing to be told any more. A thread without a hub has no pulse, nor
    /// does its last hub beat any more.
    pub(crate) fn act(&self, pulse: &Pulse, beat: u64, f: impl FnOnce()) {
        BYSTANDERS.fetch_add(GOES, Ordering::SeqCst);
        if pulse.beat() == Some(beat) {
            f();
        }
        BYSTANDERS.fetch_add(COMES, Ordering::SeqCst);
    }
}

impl Drop for Bystander {
    fn drop(&mut self) {
        BYSTANDERS.fetch_add(GOES, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    #[test]
    #[cfg(target_os = "linux")]
    fn bystanders_that_come_or_go_meanwhile_spoil_the_answer() {
        use super::{Bystander, beside_bystanders};
        assert!(!beside_bystanders(|_| {
            drop(Bystander::new()); // as many as before
            true
        }));
        assert!(!beside_bystanders(|_| false));
    }
}

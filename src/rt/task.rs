//! What a greenlet, a root and a plain thread have in common while they run:
//! kills, timeout scopes and shields, the wait they are in, their locals.
//!
//! All of it is touched by the task's own thread only.
//!
//! # Frames
//!
//! A task keeps its open [`timeout`](crate::timeout()), [`scope`](crate::scope())
//! and [`shield`](crate::shield) frames in order of opening. A timeout's or
//! scope's frame is *armed*, *pending* (fired, not raised yet), *committed* (fired,
//! and the task's wait was ended for it, so that it cannot be taken back until that
//! wait has raised), *raised*, or *cancelled*. [`Task::due`] is the one place that
//! decides what a wait raises: a kill before any frame, the outermost pending frame
//! before inner ones (an inner scope would be caught inside the outer one and lose
//! it), and nothing that lies outside the innermost shield.

use super::clock::Limit;
use super::coroutine::Unwind;
use super::timers::TimerId;
use std::any::Any;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::panic::Location;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

/// A greenlet's name. std's count even under loom: nothing is decided by it.
pub(crate) type Name = std::sync::Arc<str>;

/// Where and in which operation a task waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Site {
    pub(crate) operation: &'static str,
    pub(crate) place: &'static Location<'static>,
}

impl Site {
    #[inline(always)]
    #[track_caller]
    pub(crate) fn here(operation: &'static str) -> Self {
        Site {
            operation,
            place: Location::caller(),
        }
    }
}

/// How far a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FrameState {
    Armed,
    Pending,
    Committed,
    Raised,
    Cancelled,
}

impl FrameState {
    /// Fired, and still to be raised.
    pub(crate) fn is_due(self) -> bool {
        matches!(self, FrameState::Pending | FrameState::Committed)
    }
}

#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) id: u64,
    /// A shield has no state of its own; it only hides what lies outside it.
    pub(crate) shield: bool,
    pub(crate) state: FrameState,
    /// On a hub: the timer. On a plain thread: nothing, `deadline` serves.
    pub(crate) timer: Option<TimerId>,
    pub(crate) deadline: Option<Instant>,
}

/// How deep a task is in what ends in the reverse order of its begin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Depth {
    frames: usize,
    no_switch: u32,
    bound: u32,
}

/// See the module.
#[derive(Debug, Default)]
#[repr(C)] // What each wait looks at comes first.
pub(crate) struct Task {
    /// True if `due` could find something; saves looking at each wait.
    attention: Cell<bool>,
    killed: Cell<bool>,
    /// The body is over: kills come too late.
    ended: Cell<bool>,
    no_switch: Cell<u32>,
    site: Cell<Option<(Site, Instant)>>,
    kills_raised: Cell<u32>,
    /// Locals that are bound for an extent, and a `run` that is open.
    bound: Cell<u32>,
    frames: RefCell<Vec<Frame>>,
    pub(crate) locals: Locals,
}

super::sync::thread_cell! {
    static NEXT_FRAME: Cell<u64> = Cell::new(0);
}

/// So many frames each thread numbers by itself before it asks for more numbers.
const FRAMES: u64 = 1 << 32;

/// A frame's number: unique in the process, so that a payload that was kept is not
/// taken for another's, whatever thread it is raised on.
pub(crate) fn next_frame() -> u64 {
    static NEXT_RANGE: AtomicU64 = AtomicU64::new(0);
    NEXT_FRAME.with(|next| {
        let mut id = next.get();
        if id % FRAMES == 0 {
            // Relaxed: only uniqueness matters. 0 is the thread's first.
            id = NEXT_RANGE.fetch_add(FRAMES, Ordering::Relaxed) + 1;
        }
        next.set(id + 1);
        id
    })
}

/// After so many kills that were raised and swallowed, say so.
const SWALLOWED_KILLS_REPORTED: u32 = 16;

impl Task {
    /// What the task's wait must raise, if anything; it counts as raised.
    #[inline]
    pub(crate) fn due(&self) -> Option<Unwind> {
        if !self.attention.get() {
            return None;
        }
        self.due_slow()
    }

    #[cold]
    fn due_slow(&self) -> Option<Unwind> {
        let mut frames = self.frames.borrow_mut();
        // The wait raises, if not for this frame then for one that goes before it.
        if let Some(frame) = frames.iter_mut().find(|f| f.state == FrameState::Committed) {
            frame.state = FrameState::Pending;
        }
        let open = frames.iter().rposition(|f| f.shield).map_or(0, |i| i + 1);
        if self.killed.get() && !self.ended.get() && open == 0 {
            self.kills_raised.set(self.kills_raised.get() + 1);
            return Some(Unwind::Kill);
        }
        let frame = frames[open..].iter_mut().find(|f| f.state.is_due())?;
        frame.state = FrameState::Raised;
        Some(Unwind::Frame(frame.id))
    }

    /// True if the latest raise was one kill too many to be an accident.
    pub(crate) fn swallows_kills(&self) -> bool {
        self.killed.get() && self.kills_raised.get() == SWALLOWED_KILLS_REPORTED
    }

    /// The body is over, or never runs: from here on nothing is raised.
    pub(crate) fn end(&self) {
        self.ended.set(true);
        self.attention.set(false);
    }

    /// Sets the sticky mark; true if the task may be interrupted right now.
    pub(crate) fn kill(&self) -> bool {
        if self.ended.get() {
            return false;
        }
        self.killed.set(true);
        self.attention.set(true);
        !self.frames.borrow().iter().any(|f| f.shield)
    }

    pub(crate) fn is_killed(&self) -> bool {
        self.killed.get()
    }

    /// Whether something else than a wake may end the wait it is in: a kill that was asked
    /// for, or a frame that may fire.
    pub(crate) fn is_interruptible(&self) -> bool {
        self.killed.get() || !self.frames.borrow().is_empty()
    }

    /// Marks a frame as fired, and interrupts the task if it may be right now;
    /// true if that has ended its wait.
    pub(crate) fn fire(&self, id: u64, interrupt: impl FnOnce() -> bool) -> bool {
        let mut frames = self.frames.borrow_mut();
        let Some(at) = frames.iter().rposition(|f| f.id == id) else {
            return false;
        };
        frames[at].timer = None;
        frames[at].deadline = None;
        if frames[at].state != FrameState::Armed {
            return false;
        }
        self.attention.set(true);
        let interrupted = !frames[at..].iter().any(|f| f.shield) && interrupt();
        frames[at].state = match interrupted {
            true => FrameState::Committed,
            false => FrameState::Pending,
        };
        interrupted
    }

    /// The wait that frames were committed to has ended well: the next one raises them.
    pub(crate) fn put_off(&self) {
        let mut frames = self.frames.borrow_mut();
        let committed = frames
            .iter_mut()
            .filter(|f| f.state == FrameState::Committed);
        committed.for_each(|f| f.state = FrameState::Pending);
    }

    pub(crate) fn open(&self, shield: bool) -> u64 {
        let id = next_frame();
        self.frames.borrow_mut().push(Frame {
            id,
            shield,
            state: FrameState::Armed,
            timer: None,
            deadline: None,
        });
        id
    }

    /// Changes a frame that is open.
    pub(crate) fn frame<R>(&self, id: u64, f: impl FnOnce(&mut Frame) -> R) -> Option<R> {
        let mut frames = self.frames.borrow_mut();
        frames.iter_mut().rfind(|f| f.id == id).map(f)
    }

    /// Removes a frame, and those opened inside it that were left open by a
    /// foreign unwind (there are none unless a payload was kept and raised again).
    pub(crate) fn close(&self, id: u64) -> Option<Frame> {
        let mut frames = self.frames.borrow_mut();
        let at = frames.iter().rposition(|f| f.id == id)?;
        let frame = frames.remove(at);
        self.refresh(&frames);
        Some(frame)
    }

    fn refresh(&self, frames: &[Frame]) {
        let due = frames.iter().any(|f| f.state.is_due());
        let killed = self.killed.get() && !self.ended.get();
        self.attention.set(killed || due);
    }

    /// Looks again whether anything is pending, after a frame was changed.
    pub(crate) fn reconsider(&self) {
        self.refresh(&self.frames.borrow());
    }

    /// The earliest deadline among the frames that may interrupt now, with its frame.
    pub(crate) fn next_frame_deadline(&self) -> Option<(Instant, u64)> {
        let frames = self.frames.borrow();
        frames
            .iter()
            .rev()
            .take_while(|f| !f.shield)
            .filter(|f| f.state == FrameState::Armed)
            .filter_map(|f| Some((f.deadline?, f.id)))
            .min()
    }

    /// The timers of the frames that may interrupt now.
    pub(crate) fn frame_timers(&self) -> Vec<TimerId> {
        let frames = self.frames.borrow();
        let inside = frames.iter().rev().take_while(|f| !f.shield);
        inside.filter_map(|f| f.timer).collect()
    }

    /// Moves the frames to another task of the same thread: a thread gets its
    /// hub, or loses it, while scopes are open.
    pub(crate) fn hand_frames_to(&self, other: &Task, mut adapt: impl FnMut(&mut Frame)) {
        let mut frames = std::mem::take(&mut *self.frames.borrow_mut());
        frames.iter_mut().for_each(&mut adapt);
        other.no_switch.set(self.no_switch.take());
        other.bound.set(self.bound.take());
        other.refresh(&frames);
        *other.frames.borrow_mut() = frames;
        self.attention.set(false);
    }

    pub(crate) fn forbid_switch(&self) {
        self.no_switch.set(self.no_switch.get() + 1);
    }

    pub(crate) fn allow_switch(&self) {
        self.no_switch.set(self.no_switch.get() - 1);
    }

    /// Whether nothing of the task's keeps it from a wait: a look for most waits.
    #[inline(always)]
    pub(crate) fn is_unhindered(&self) -> bool {
        !self.attention.get() && self.may_switch()
    }

    #[inline]
    pub(crate) fn may_switch(&self) -> bool {
        self.no_switch.get() == 0
    }

    /// A local is bound for an extent, which begins.
    pub(crate) fn bind(&self) {
        self.bound.set(self.bound.get() + 1);
    }

    /// And ends.
    pub(crate) fn unbind(&self) {
        self.bound.set(self.bound.get() - 1);
    }

    #[inline]
    pub(crate) fn depth(&self) -> Depth {
        Depth {
            frames: self.frames.borrow().len(),
            no_switch: self.no_switch.get(),
            bound: self.bound.get(),
        }
    }

    /// Notes the wait that begins, for the deadlock report.
    #[inline]
    pub(crate) fn note(&self, site: Site, since: Instant) {
        self.site.set(Some((site, since)));
    }

    pub(crate) fn site(&self) -> Option<(Site, Instant)> {
        self.site.get()
    }

    /// Makes the task new for the next greenlet.
    pub(crate) fn clear(&self) {
        debug_assert!(
            self.frames.borrow().is_empty(),
            "frames end with their closures"
        );
        self.attention.set(false);
        self.ended.set(false);
        self.killed.set(false);
        self.kills_raised.set(0);
        self.no_switch.set(0);
        self.bound.set(0);
        self.site.set(None);
        debug_assert!(
            self.locals.0.borrow().is_empty(),
            "locals end with their greenlet"
        );
    }

    /// The instant a frame's limit means, for a task that has no timers.
    pub(crate) fn arm_by_deadline(frame: &mut Frame, limit: Limit) {
        frame.deadline = limit.deadline(Instant::now());
    }
}

/// The values of a task's [`Local`](crate::Local)s, by the local's key. A value
/// is shared (`Rc`) only while it is lent, so its count is the borrow count.
#[derive(Default)]
pub(crate) struct Locals(RefCell<Map>);

type Map = HashMap<usize, Value, BuildHasherDefault<KeyHasher>>;

/// Makes a copy of a value.
pub(crate) type Copying = fn(&dyn Any) -> Rc<dyn Any>;

/// A local's value.
#[derive(Clone)]
pub(crate) struct Value {
    pub(crate) value: Rc<dyn Any>,
    /// How a new greenlet gets its own, if it inherits.
    pub(crate) copying: Option<Copying>,
}

/// Set once a value was there to be inherited; so nobody looks before.
static INHERITS: AtomicBool = AtomicBool::new(false);

/// What a new greenlet inherits.
#[derive(Default)]
pub(crate) struct Legacy(Vec<(usize, Value)>);

impl Legacy {
    /// Whether there can be any.
    #[inline]
    pub(crate) fn exists() -> bool {
        // Relaxed: who has set a value has set this on its own thread.
        INHERITS.load(Ordering::Relaxed)
    }

    /// Makes the copies, by the program's own code.
    pub(crate) fn copied(mut self) -> Self {
        for (_, value) in &mut self.0 {
            if let Some(copying) = value.copying {
                value.value = copying(&*value.value);
            }
        }
        self
    }
}

/// Keys are small distinct numbers: spread them, nothing more.
#[derive(Default)]
struct KeyHasher(u64);

impl Hasher for KeyHasher {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        for &b in bytes {
            self.write_usize(b.into());
        }
    }
    fn write_usize(&mut self, n: usize) {
        // Fibonacci hashing: the multiplier is 2^64 divided by the golden ratio.
        self.0 = (self.0 ^ n as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    }
}

impl Locals {
    pub(crate) fn get(&self, key: usize) -> Option<Rc<dyn Any>> {
        self.0.borrow().get(&key).map(|held| held.value.clone())
    }

    /// Puts the value there, and returns what was.
    pub(crate) fn insert(&self, key: usize, value: Value) -> Option<Value> {
        if value.copying.is_some() {
            INHERITS.store(true, Ordering::Relaxed);
        }
        self.0.borrow_mut().insert(key, value)
    }

    pub(crate) fn remove(&self, key: usize) -> Option<Value> {
        self.0.borrow_mut().remove(&key)
    }

    /// What a new greenlet inherits, lent and still to be copied; in order of the keys, so
    /// that the copies are always made in the same order.
    #[cold]
    pub(crate) fn legacy(&self) -> Legacy {
        let map = self.0.borrow();
        let inherited = map.iter().filter(|(_, value)| value.copying.is_some());
        let mut all: Vec<_> = inherited
            .map(|(key, value)| (*key, value.clone()))
            .collect();
        all.sort_unstable_by_key(|(key, _)| *key);
        Legacy(all)
    }

    /// The values of a greenlet that has none yet.
    #[cold]
    pub(crate) fn inherit(&self, legacy: Legacy) {
        self.0.borrow_mut().extend(legacy.0);
    }

    pub(crate) fn contains(&self, key: usize) -> bool {
        self.0.borrow().contains_key(&key)
    }

    /// Takes one value out, any; its destructor may add others.
    #[inline]
    pub(crate) fn pop(&self) -> Option<Value> {
        let mut map = self.0.borrow_mut();
        if map.is_empty() {
            return None;
        }
        let key = *map.keys().next()?;
        map.remove(&key)
    }
}

impl std::fmt::Debug for Locals {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Locals")
            .field(&self.0.borrow().len())
            .finish()
    }
}

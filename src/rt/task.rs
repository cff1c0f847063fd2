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
//!
//! A frame that is opened on a hub only notes its limit. The hub arms its timer when the task
//! waits ([`Task::arm`]), and a scope that is left without a wait has cost no timer. Nothing else
//! differs: until the task waits nobody else runs, and the turn in which the limit was given goes
//! on, at whose end it is counted from. A thread without a hub notes the deadline, and looks
//! itself.

mod locals;

pub(crate) use locals::{Copying, Legacy, Lent, Locals, Value};

use super::clock::Limit;
use super::coroutine::Unwind;
use super::timers::TimerId;
use std::cell::{Cell, OnceCell, RefCell};
use std::panic::Location;
use std::sync::atomic::{AtomicU64, Ordering};
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

#[derive(Clone, Copy, Debug)]
pub(crate) struct Frame {
    pub(crate) id: u64,
    /// A shield has no state of its own; it only hides what lies outside it.
    pub(crate) shield: bool,
    pub(crate) state: FrameState,
    pub(crate) expiry: Expiry,
}

/// When a frame fires by itself.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Expiry {
    /// No timer is armed for it.
    Noted(Limit),
    Timer(TimerId),
}

impl Frame {
    pub(crate) fn timer(&self) -> Option<TimerId> {
        match self.expiry {
            Expiry::Timer(timer) => Some(timer),
            Expiry::Noted(_) => None,
        }
    }
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
    /// True if a frame's timer could be still to be armed; saves looking too.
    unarmed: Cell<bool>,
    killed: Cell<bool>,
    /// The body is over: kills come too late.
    ended: Cell<bool>,
    no_switch: Cell<u32>,
    site: Cell<Option<(Site, Instant)>>,
    /// What most greenlets never need; it stays with the record.
    more: OnceCell<Box<More>>,
    pub(crate) locals: Locals,
}

#[derive(Debug, Default)]
struct More {
    frames: RefCell<Vec<Frame>>,
    kills_raised: Cell<u32>,
    /// Locals that are bound for an extent, and a `run` that is open.
    bound: Cell<u32>,
}

super::sync::thread_cell! {
    static NEXT_FRAME: Cell<u64> = Cell::new(0);
}

/// So many frames each thread numbers by itself before it asks for more numbers.
const FRAMES: u64 = 1 << 32;

/// A frame's number: unique in the process, so that a payload that was kept is not
/// taken for another's, whatever thread it is raised on.
#[inline]
pub(crate) fn next_frame() -> u64 {
    NEXT_FRAME.with(|next| {
        let id = match next.get() {
            id if id % FRAMES == 0 => next_range(),
            id => id,
        };
        next.set(id + 1);
        id
    })
}

/// The first number of a range that no thread has numbered from.
#[cold]
fn next_range() -> u64 {
    static NEXT_RANGE: AtomicU64 = AtomicU64::new(0);
    // Relaxed: only uniqueness matters. 0 is the thread's first.
    NEXT_RANGE.fetch_add(FRAMES, Ordering::Relaxed) + 1
}

/// After so many kills that were raised and swallowed, say so.
const SWALLOWED_KILLS_REPORTED: u32 = 16;

impl Task {
    #[inline]
    fn more(&self) -> &More {
        self.more.get_or_init(Box::default)
    }

    /// Runs `f` on the open frames, in order of opening.
    #[inline(always)]
    fn with_frames<R>(&self, f: impl FnOnce(&mut [Frame]) -> R) -> R {
        match self.more.get() {
            Some(more) => f(&mut more.frames.borrow_mut()),
            None => f(&mut []),
        }
    }

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
        let more = self.more();
        let mut frames = more.frames.borrow_mut();
        // The wait raises, if not for this frame then for one that goes before it.
        if let Some(frame) = frames.iter_mut().find(|f| f.state == FrameState::Committed) {
            frame.state = FrameState::Pending;
        }
        let open = frames.iter().rposition(|f| f.shield).map_or(0, |i| i + 1);
        if self.killed.get() && !self.ended.get() && open == 0 {
            more.kills_raised.set(more.kills_raised.get() + 1);
            return Some(Unwind::Kill);
        }
        let frame = frames[open..].iter_mut().find(|f| f.state.is_due())?;
        frame.state = FrameState::Raised;
        Some(Unwind::Frame(frame.id))
    }

    /// True if the latest raise was one kill too many to be an accident.
    pub(crate) fn swallows_kills(&self) -> bool {
        self.killed.get() && self.more().kills_raised.get() == SWALLOWED_KILLS_REPORTED
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
        self.with_frames(|frames| !frames.iter().any(|f| f.shield))
    }

    pub(crate) fn is_killed(&self) -> bool {
        self.killed.get()
    }

    /// Whether something else than a wake may end the wait it is in: a kill that was asked
    /// for, or a frame that may fire.
    pub(crate) fn is_interruptible(&self) -> bool {
        self.killed.get() || self.with_frames(|frames| !frames.is_empty())
    }

    /// Marks a frame as fired, and interrupts the task if it may be right now;
    /// true if that has ended its wait.
    pub(crate) fn fire(&self, id: u64, interrupt: impl FnOnce() -> bool) -> bool {
        self.with_frames(|frames| {
            let Some(at) = frames.iter().rposition(|f| f.id == id) else {
                return false;
            };
            frames[at].expiry = Expiry::Noted(Limit::Never);
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
        })
    }

    /// The wait that frames were committed to has ended well: the next one raises them.
    pub(crate) fn put_off(&self) {
        self.with_frames(|frames| {
            let committed = frames
                .iter_mut()
                .filter(|f| f.state == FrameState::Committed);
            committed.for_each(|f| f.state = FrameState::Pending);
        });
    }

    /// Opens a frame that fires at the limit, if ever.
    #[inline]
    pub(crate) fn open(&self, shield: bool, limit: Limit) -> u64 {
        let id = next_frame();
        if !matches!(limit, Limit::Never) {
            self.unarmed.set(true);
        }
        self.more().frames.borrow_mut().push(Frame {
            id,
            shield,
            state: FrameState::Armed,
            expiry: Expiry::Noted(limit),
        });
        id
    }

    /// The state of a frame that is open.
    pub(crate) fn frame_state(&self, id: u64) -> Option<FrameState> {
        self.with_frames(|frames| frames.iter().rfind(|f| f.id == id).map(|f| f.state))
    }

    /// Gives a frame that is open a new state and limit, unless it is committed; what it was.
    pub(crate) fn reset(&self, id: u64, state: FrameState, limit: Limit) -> Option<Frame> {
        self.with_frames(|frames| {
            let frame = frames.iter_mut().rfind(|f| f.id == id)?;
            let was = *frame;
            if was.state != FrameState::Committed {
                (frame.state, frame.expiry) = (state, Expiry::Noted(limit));
                self.unarmed.set(true);
                self.refresh(frames);
            }
            Some(was)
        })
    }

    /// Removes a frame, and those opened inside it that were left open by a
    /// foreign unwind (there are none unless a payload was kept and raised again).
    /// Its state, and its timer if it has one.
    #[inline(always)]
    pub(crate) fn close(&self, id: u64) -> Option<(FrameState, Option<TimerId>)> {
        let mut frames = self.more.get()?.frames.borrow_mut();
        let at = frames.iter().rposition(|f| f.id == id)?;
        // Field by field: to copy what was written in other parts just now is slow.
        let closed = (frames[at].state, frames[at].timer());
        match at + 1 == frames.len() {
            true => frames.truncate(at),
            false => drop(frames.remove(at)),
        }
        if frames.is_empty() {
            self.unarmed.set(false);
        }
        if self.attention.get() {
            self.refresh(&frames);
        }
        Some(closed)
    }

    #[cold]
    fn refresh(&self, frames: &[Frame]) {
        let due = frames.iter().any(|f| f.state.is_due());
        let killed = self.killed.get() && !self.ended.get();
        self.attention.set(killed || due);
    }

    /// Whether a frame's timer could be still to be armed.
    #[inline]
    pub(crate) fn is_unarmed(&self) -> bool {
        self.unarmed.get()
    }

    /// Has `arm` arm the timers of the frames that have a limit, and none yet.
    pub(crate) fn arm(&self, mut arm: impl FnMut(u64, &Limit) -> Option<TimerId>) {
        self.unarmed.set(false);
        self.with_frames(|frames| {
            for frame in frames {
                if let Expiry::Noted(limit) = &frame.expiry
                    && let Some(timer) = arm(frame.id, limit)
                {
                    frame.expiry = Expiry::Timer(timer);
                }
            }
        });
    }

    /// The earliest deadline among the frames that may interrupt now, with its frame.
    pub(crate) fn next_frame_deadline(&self) -> Option<(Instant, u64)> {
        self.with_frames(|frames| {
            let inside = frames.iter().rev().take_while(|f| !f.shield);
            let armed = inside.filter(|f| f.state == FrameState::Armed);
            let deadlines = armed.filter_map(|f| match f.expiry {
                Expiry::Noted(Limit::At(deadline)) => Some((deadline, f.id)),
                _ => None,
            });
            deadlines.min()
        })
    }

    /// When the frames fire that may interrupt now.
    pub(crate) fn expiries(&self) -> Vec<Expiry> {
        self.with_frames(|frames| {
            let inside = frames.iter().rev().take_while(|f| !f.shield);
            inside.map(|f| f.expiry).collect()
        })
    }

    /// Moves the frames to another task of the same thread: a thread gets its
    /// hub, or loses it, while scopes are open. Their timers stay behind: `note` says when they
    /// would have expired.
    pub(crate) fn hand_frames_to(&self, other: &Task, note: impl Fn(Expiry) -> Limit) {
        other.no_switch.set(self.no_switch.take());
        let Some(more) = self.more.get() else {
            return;
        };
        let mut frames = more.frames.take();
        for frame in &mut frames {
            frame.expiry = Expiry::Noted(note(frame.expiry));
        }
        other.more().bound.set(more.bound.take());
        other.unarmed.set(true);
        other.refresh(&frames);
        *other.more().frames.borrow_mut() = frames;
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
        let bound = &self.more().bound;
        bound.set(bound.get() + 1);
    }

    /// And ends.
    pub(crate) fn unbind(&self) {
        let bound = &self.more().bound;
        bound.set(bound.get() - 1);
    }

    #[inline]
    pub(crate) fn depth(&self) -> Depth {
        let more = self.more.get();
        Depth {
            frames: more.map_or(0, |more| more.frames.borrow().len()),
            no_switch: self.no_switch.get(),
            bound: more.map_or(0, |more| more.bound.get()),
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
        self.attention.set(false);
        self.unarmed.set(false);
        self.ended.set(false);
        self.killed.set(false);
        self.no_switch.set(0);
        self.site.set(None);
        if let Some(more) = self.more.get() {
            debug_assert!(
                more.frames.borrow().is_empty(),
                "frames end with their closures"
            );
            more.kills_raised.set(0);
            more.bound.set(0);
        }
        debug_assert!(self.locals.is_empty(), "locals end with their greenlet");
    }
}

//! Whose turn it is to initialise something: a line that ends when it is done.

use crate::rt::clock::Limit;
use crate::rt::park;
use crate::rt::sync::const_fn;
use crate::rt::task::Site;
use crate::rt::wait::{End, Monitor, State, WaitList, Waiters};

/// Who may initialise. Invariant: nobody is in line, or somebody has the turn, or it is over.
pub(super) struct Turns {
    monitor: Monitor<Line>,
}

struct Line {
    turn: Turn,
    waiters: WaitList<Entry>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Turn {
    Free,
    /// The number of who initialises.
    Of(usize),
    /// The value is there.
    Over,
}

/// One in line: its number, and whether the turn is its.
struct Entry {
    id: usize,
    has_turn: bool,
}

/// What one has that asks for the turn.
enum Asked {
    Mine,
    Over,
    /// It has the turn already.
    Nested,
}

impl State for Line {
    fn check(&self) {
        assert!(self.turn != Turn::Free || self.waiters.is_empty());
    }
}

impl Waiters<Entry> for Line {
    fn waiters(&mut self) -> &mut WaitList<Entry> {
        &mut self.waiters
    }

    fn may_block(&self) -> bool {
        let is_elsewhere = match self.turn {
            Turn::Of(id) => !park::is_here(id),
            Turn::Free | Turn::Over => true,
        };
        is_elsewhere && !self.waiters.any(|entry| park::is_here(entry.id))
    }
}

impl Line {
    fn ask(&mut self, id: usize) -> Option<Asked> {
        match self.turn {
            Turn::Free => {
                self.turn = Turn::Of(id);
                Some(Asked::Mine)
            }
            Turn::Of(holder) => (holder == id).then_some(Asked::Nested),
            Turn::Over => Some(Asked::Over),
        }
    }
}

impl Turns {
    const_fn! {
        pub(super) const fn new() -> Self {
            Turns { monitor: Monitor::new(0, Line { turn: Turn::Free, waiters: WaitList::new() }) }
        }
    }

    /// The turn; `None` if it is over.
    #[track_caller]
    pub(super) fn take(&self, operation: &'static str) -> Option<Holding<'_>> {
        let (site, limit) = (Site::here(operation), Limit::Never);
        let id = park::id();
        let entry = Entry {
            id,
            has_turn: false,
        };
        let decide = |line: &mut Line, _: &mut _, _: &mut _| line.ask(id);
        let finish = |end: End, entry: Entry| {
            end.in_time(&site, &limit);
            match entry.has_turn {
                true => Asked::Mine,
                false => Asked::Over,
            }
        };
        match self.monitor.wait(&site, &limit, entry, decide, finish) {
            Asked::Mine => Some(Holding(self)),
            Asked::Over => None,
            Asked::Nested => panic!(
                "{operation} from inside the initialiser of the same cell: it would wait for itself"
            ),
        }
    }

    /// Whether somebody has the turn, and how many are in line.
    pub(super) fn look(&self) -> (bool, usize) {
        let mut guard = self.monitor.lock();
        let line = guard.parts().0;
        (matches!(line.turn, Turn::Of(_)), line.waiters.len())
    }
}

/// The turn, which goes to the next in line if it is dropped.
pub(super) struct Holding<'a>(&'a Turns);

impl Holding<'_> {
    /// The value is there.
    pub(super) fn end(self) {
        self.0.monitor.broadcast::<Entry>(|line| {
            line.turn = Turn::Over;
            true
        });
        std::mem::forget(self);
    }
}

impl Drop for Holding<'_> {
    fn drop(&mut self) {
        let mut guard = self.0.monitor.lock();
        let (line, wakes) = guard.parts();
        line.turn = line.waiters.claim(wakes).map_or(Turn::Free, |next| {
            next.has_turn = true;
            Turn::Of(next.id)
        });
    }
}

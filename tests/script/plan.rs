//! The script type: what each of some greenlets does, and with which primitives.

use super::model::Ms;
use super::primitives::Kind;

/// How long an operation may wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lim {
    Nowait,
    For(Ms),
    Ever,
}

impl Lim {
    pub(crate) fn time(self) -> Option<Ms> {
        match self {
            Lim::For(d) => Some(d),
            Lim::Nowait | Lim::Ever => None,
        }
    }
}

/// Indices: two events, two results, one queue, two semaphores (0: plain, 1: bounded); greenlets
/// are taken modulo their number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Op {
    /// Zero is a yield.
    Sleep(Ms),
    Kill(usize),
    WaitFor(usize, Ms),
    /// Drops the handle of that greenlet, which nobody can then kill or wait for.
    Detach(usize),
    Timeout(Ms, Vec<Op>),
    Shield(Vec<Op>),
    /// `catch_unwind`: a kill is raised again at the next wait, an expiry is not.
    Swallow(Vec<Op>),
    Panic,
    /// Of the timeout scope so many further out than the innermost one, or of the outermost.
    Reset(Ms, usize),
    Cancel(usize),
    EventWait(usize, Option<Ms>),
    EventSet(usize),
    EventClear(usize),
    EventPulse(usize),
    ResultWait(usize, Option<Ms>),
    ResultGet(usize),
    ResultSet(usize, bool),
    /// `wait_any` of the events and results in that set, one bit each, and of that greenlet, the
    /// fifth bit. Never of a greenlet alone: two could wait for each other, with nobody to end it.
    WaitAny(u8, usize, Option<Ms>),
    Put(u8, Lim),
    Get(Lim),
    /// At most so many.
    GetMany(usize, Lim),
    Drain,
    /// So many, of that priority and those above it in turn.
    PutMany(usize, u8, Lim),
    /// Only in a FIFO queue.
    ForcePut(u8),
    /// A place, held while the list is done; then an item of that priority is put there, or the
    /// place is given back. Not in a rendezvous, which has none: there the list is done without.
    Reserve(Lim, Option<u8>, Vec<Op>),
    Peek,
    TaskDone,
    Join(Option<Ms>),
    Shutdown,
    ShutdownNow,
    /// Semaphore, number, limit, owned.
    Acquire(usize, usize, Lim, bool),
    Release(usize),
    /// Drops the oldest permit held; or forgets it.
    Return,
    Forget,
    /// A select, the first arm first.
    Select(Arms),
    /// The same as futures: each is polled once and dropped, until one is ready. The limit does
    /// not matter, and is `Nowait`.
    Poll(Arms),
}

/// The arms of a select: of a get, a put, an acquire, and waits for the two events and the two
/// results, one bit each in the set; in a circle from the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Arms {
    pub(crate) set: u8,
    pub(crate) first: usize,
    /// The item's.
    pub(crate) priority: u8,
    /// Which one, and how many permits.
    pub(crate) semaphore: usize,
    pub(crate) n: usize,
    pub(crate) limit: Lim,
}

impl Arms {
    /// So many kinds there are, numbered as in `selects`.
    pub(crate) const KINDS: usize = 7;

    /// What kinds of arms there are, in order: those of the set, in a circle from the first.
    pub(crate) fn kinds(&self) -> Vec<usize> {
        let circle = (0..Self::KINDS).map(|i| (i + self.first) % Self::KINDS);
        circle.filter(|kind| self.set & 1 << kind != 0).collect()
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) seed: Option<u64>,
    pub(crate) kind: Kind,
    pub(crate) capacity: Option<usize>,
    pub(crate) permits: [usize; 2],
    /// Delay of the start, and what it does.
    pub(crate) scripts: Vec<(Ms, Vec<Op>)>,
    /// In the end, first kill those that are left; or first open everything.
    pub(crate) kill_first: bool,
}

/// What the operation [`Op::Panic`] raises: without a word from the panic hook.
#[derive(Debug)]
pub(crate) struct Deliberate;

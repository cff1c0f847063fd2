//! The ledger: what was made, what became of it, and whether the two agree.
//!
//! Its counters are the process's. At the end of a round nothing runs, so they must agree
//! there, round by round.

use greenlet::{Greenlet, JoinError, Local};
use std::any::Any;
use std::fmt;
use std::panic::panic_any;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering::Relaxed};

/// A number that only grows.
#[derive(Debug, Default)]
pub(crate) struct Count(AtomicU64);

impl Count {
    pub(crate) const fn new() -> Self {
        Count(AtomicU64::new(0))
    }

    pub(crate) fn add(&self, n: u64) {
        self.0.fetch_add(n, Relaxed);
    }

    pub(crate) fn one(&self) {
        self.add(1);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// The kinds of operation that are counted, when they begin.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Op {
    Put,
    Get,
    Acquire,
    Event,
    Result,
    AnyAll,
    Wait,
    Link,
    Timeout,
    Scope,
    Shield,
    Local,
    Pause,
}

const OPS: [&str; 13] = [
    "put", "get", "acquire", "event", "result", "any/all", "join", "link", "timeout", "scope",
    "shield", "local", "pause",
];

#[derive(Debug)]
pub(crate) struct Ledger {
    ops: [Count; OPS.len()],
    pub(crate) rounds: Count,
    /// Hubs that were begun, and those that were seen to have ended.
    pub(crate) hubs: [Count; 2],
    /// Values made and dropped.
    values: [Count; 2],
    spawned: Count,
    /// Greenlets whose body is over, or was dropped unrun.
    left: Count,
    /// Outcomes that were seen: value, killed, panicked, hub closed.
    seen: [Count; 4],
    pub(crate) kills: Count,
    pub(crate) timeouts: Count,
    pub(crate) panics: Count,
    /// Disagreements.
    off: Count,
}

pub(crate) static LEDGER: Ledger = Ledger {
    ops: [const { Count::new() }; OPS.len()],
    rounds: Count::new(),
    hubs: [const { Count::new() }; 2],
    values: [const { Count::new() }; 2],
    spawned: Count::new(),
    left: Count::new(),
    seen: [const { Count::new() }; 4],
    kills: Count::new(),
    timeouts: Count::new(),
    panics: Count::new(),
    off: Count::new(),
};

/// Counts an operation that begins.
pub(crate) fn op(op: Op) {
    LEDGER.ops[op as usize].one();
}

/// Notes a disagreement. The first few are printed.
pub(crate) fn off(what: impl fmt::Display) {
    LEDGER.off.one();
    if LEDGER.off.get() <= 20 {
        eprintln!("soak: OFF: {what}");
    }
}

/// Notes a disagreement if the two are not equal.
pub(crate) fn agree<T: PartialEq + fmt::Debug>(what: impl fmt::Display, one: T, other: T) {
    if one != other {
        off(format_args!("{what}: {one:?} against {other:?}"));
    }
}

/// Notes a disagreement if somebody still waits: each number that its `Debug` gives of
/// those who wait must be zero.
pub(crate) fn nobody_waits(of: &dyn fmt::Debug) {
    let text = format!("{of:?}");
    for list in ["waiting: ", "getters: ", "putters: ", "joiners: "] {
        for (at, _) in text.match_indices(list) {
            if !text[at + list.len()..].starts_with('0') {
                off(format_args!("somebody still waits: {text}"));
            }
        }
    }
}

impl Ledger {
    /// Where nothing runs: all that must agree.
    pub(crate) fn check(&self) {
        let [made, dropped] = &self.values;
        agree("values made and dropped", made.get(), dropped.get());
        agree(
            "greenlets spawned and over",
            self.spawned.get(),
            self.left.get(),
        );
        let seen = self.seen.iter().map(Count::get).sum();
        agree("greenlets spawned and seen", self.spawned.get(), seen);
        let [begun, ended] = &self.hubs;
        agree("hubs begun and ended", begun.get(), ended.get());
    }

    pub(crate) fn is_ok(&self) -> bool {
        self.off.get() == 0
    }

    /// Grows as long as anything goes on.
    pub(crate) fn progress(&self) -> u64 {
        let ops: u64 = self.ops.iter().map(Count::get).sum();
        ops + self.left.get() + self.hubs[1].get()
    }
}

/// The summary, on one line.
impl fmt::Display for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [value, killed, panicked, closed] = &self.seen;
        write!(
            f,
            "soak: {} rounds, {} hubs, {} greenlets ({} returned, {} killed, {} panicked, {} refused), operations:",
            self.rounds.get(),
            self.hubs[0].get(),
            self.spawned.get(),
            value.get(),
            killed.get(),
            panicked.get(),
            closed.get()
        )?;
        for (name, count) in OPS.iter().zip(&self.ops) {
            write!(f, " {name} {}", count.get())?;
        }
        write!(
            f,
            ", {} kills, {} timeouts, {} panics, {} values, ledger {}",
            self.kills.get(),
            self.timeouts.get(),
            self.panics.get(),
            self.values[0].get(),
            if self.is_ok() { "ok" } else { "OFF" }
        )
    }
}

/// A value that is counted when it is made and when it is dropped. On the heap, so that one
/// that is lost shows in the resident set too.
#[derive(Debug)]
pub(crate) struct Value(#[expect(dead_code, reason = "only its place matters")] Box<u64>);

impl Value {
    pub(crate) fn new() -> Self {
        LEDGER.values[0].one();
        Value(Box::new(0))
    }
}

impl Drop for Value {
    fn drop(&mut self) {
        LEDGER.values[1].one();
    }
}

// ---- panics on purpose ----

/// The payload of a panic on purpose; the panic hook keeps quiet about it.
#[derive(Debug)]
pub(crate) struct Intended;

pub(crate) fn is_intended(payload: &(dyn Any + Send)) -> bool {
    payload.is::<Intended>()
}

/// Panics on purpose, where the caller knows who catches it.
pub(crate) fn throw() -> ! {
    LEDGER.panics.one();
    panic_any(Intended)
}

/// Panics on purpose, so that the greenlet ends by it.
pub(crate) fn end_by_panic() -> ! {
    // A part on a plain thread has no entry.
    let _ = ME.try_with(|me| me.panics.store(true, Relaxed));
    throw()
}

// ---- greenlets ----

/// One greenlet, as its inside and its outside see it.
#[derive(Debug)]
pub(crate) struct Entry {
    inside: AtomicU8,
    panics: AtomicBool,
    seen: AtomicBool,
}

/// The entry of the greenlet that asks.
static ME: Local<Arc<Entry>> = Local::new();

const UNRUN: u8 = 0;
const RUNNING: u8 = 1;
const RETURNED: u8 = 2;
const UNWOUND: u8 = 3;
const DROPPED_UNRUN: u8 = 4;

impl Entry {
    /// The outcome is seen: for the first time, and as the inside has it.
    pub(crate) fn see(&self, outcome: Result<(), &JoinError>) {
        if self.seen.swap(true, Relaxed) {
            off("an outcome was seen twice");
        }
        let (inside, panics) = (self.inside.load(Relaxed), self.panics.load(Relaxed));
        let (kind, right) = match outcome {
            Ok(()) => (0, inside == RETURNED),
            Err(JoinError::Killed) => (1, [UNWOUND, DROPPED_UNRUN].contains(&inside) && !panics),
            Err(JoinError::Panicked { .. }) => (2, inside == UNWOUND && panics),
            Err(JoinError::HubClosed) => (3, inside == DROPPED_UNRUN),
            Err(other) => return off(format_args!("no outcome for a greenlet: {other}")),
        };
        LEDGER.seen[kind].one();
        if !right {
            off(format_args!(
                "{outcome:?}, but inside {inside}, panics {panics}"
            ));
        }
    }
}

/// Goes with the body, and knows when it is over.
struct Ticket(Arc<Entry>);

impl Drop for Ticket {
    fn drop(&mut self) {
        let how = match self.0.inside.load(Relaxed) {
            UNRUN => DROPPED_UNRUN,
            RUNNING => UNWOUND,
            other => other,
        };
        self.0.inside.store(how, Relaxed);
        LEDGER.left.one();
    }
}

/// A greenlet's body with its entry in the ledger.
pub(crate) fn tracked<F: FnOnce()>(body: F) -> (Arc<Entry>, impl FnOnce() -> Value + use<F>) {
    LEDGER.spawned.one();
    let entry = Arc::new(Entry {
        inside: AtomicU8::new(UNRUN),
        panics: AtomicBool::new(false),
        seen: AtomicBool::new(false),
    });
    let ticket = Ticket(entry.clone());
    let tracked = move || {
        // Declared first, dropped last: when it is, the body is over.
        let ticket = ticket;
        ticket.0.inside.store(RUNNING, Relaxed);
        ME.set(ticket.0.clone());
        body();
        ticket.0.inside.store(RETURNED, Relaxed);
        Value::new()
    };
    (entry, tracked)
}

/// The handle of a greenlet whose outcome is seen exactly once: by [`Watched::join`], or,
/// if that is never reached, by a link.
#[derive(Debug)]
pub(crate) struct Watched {
    handle: Option<Greenlet<Value>>,
    entry: Arc<Entry>,
}

impl Watched {
    pub(crate) fn new(entry: Arc<Entry>, handle: Greenlet<Value>) -> Self {
        let handle = Some(handle);
        Watched { handle, entry }
    }

    pub(crate) fn handle(&self) -> &Greenlet<Value> {
        self.handle.as_ref().expect("there until it is joined")
    }

    pub(crate) fn kill(&self) {
        LEDGER.kills.one();
        self.handle().kill();
    }

    pub(crate) fn join(mut self) {
        op(Op::Wait);
        // If this is cut short the handle is still there, and dropped with a link.
        self.handle().wait();
        let handle = self.handle.take().expect("not joined before");
        match handle.join() {
            Ok(_) => self.entry.see(Ok(())),
            Err(error) => {
                self.entry.see(Err(&error));
                if error.is_panic() && !error.into_panic().is_ok_and(|p| is_intended(&*p)) {
                    off("a greenlet panicked with a payload that it did not throw");
                }
            }
        }
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        if let Some(handle) = self.handle.take() {
            link(&handle, self.entry.clone());
        }
    }
}

/// Sees the outcome by a link.
pub(crate) fn link(handle: &Greenlet<Value>, entry: Arc<Entry>) {
    op(Op::Link);
    handle.link(move |outcome| entry.see(outcome.as_ref().map(|_| ())));
}

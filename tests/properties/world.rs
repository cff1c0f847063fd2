//! Runs a plan on the crate, step by step beside the models, and collects what differs.

use crate::model::{
    FrameState, Grant, Kind, Model, Ms, QueueModel, SemaphoreModel, Unwind, Verdict,
};
use greenlet::sync::{
    AsyncResult, BoundedSemaphore, Event, GetError, LifoQueue, OwnedPermit, Permit, PriorityQueue,
    PutError, Queue, Semaphore,
};
use greenlet::testing::Simulation;
use greenlet::{Greenlet, TimeoutHandle};
use std::cell::{Cell, RefCell, RefMut};
use std::fmt::Debug;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

/// How long an operation may wait.
#[derive(Clone, Copy, Debug)]
pub enum Lim {
    Nowait,
    For(Ms),
    Ever,
}

#[derive(Clone, Debug)]
pub enum Op {
    /// Zero is a yield.
    Sleep(Ms),
    Kill(usize),
    WaitFor(usize, Ms),
    Timeout(Ms, Vec<Op>),
    Shield(Vec<Op>),
    /// `catch_unwind`: a kill is raised again at the next wait, an expiry is not.
    Swallow(Vec<Op>),
    /// Of the innermost timeout scope of the same list.
    Reset(Ms),
    Cancel,
    EventWait(usize, Option<Ms>),
    EventSet(usize),
    EventClear(usize),
    EventPulse(usize),
    ResultWait(usize, Option<Ms>),
    ResultGet(usize),
    ResultSet(usize, bool),
    Put(u8, Lim),
    Get(Lim),
    Peek,
    TaskDone,
    Join(Option<Ms>),
    Shutdown,
    ShutdownNow,
    /// Semaphore (0: plain, 1: bounded), number, limit, owned.
    Acquire(usize, usize, Lim, bool),
    Release(usize),
    /// Drops the oldest permit held; or forgets it.
    Return,
    Forget,
}

#[derive(Clone, Debug)]
pub struct Plan {
    pub seed: Option<u64>,
    pub kind: Kind,
    pub capacity: Option<usize>,
    pub permits: [usize; 2],
    /// Delay of the start, and what it does.
    pub scripts: Vec<(Ms, Vec<Op>)>,
    /// In the end, first kill those that are left; or first open everything.
    pub kill_first: bool,
}

/// How often each item was made (cloned) and dropped.
type Ledger = Rc<RefCell<Vec<(u32, u32)>>>;

/// An item that is counted.
struct Token {
    id: u32,
    priority: u8,
    ledger: Ledger,
}

impl Clone for Token {
    fn clone(&self) -> Self {
        self.ledger.borrow_mut()[self.id as usize].0 += 1;
        Token { ledger: self.ledger.clone(), ..*self }
    }
}
impl Drop for Token {
    fn drop(&mut self) {
        self.ledger.borrow_mut()[self.id as usize].1 += 1;
    }
}
impl Ord for Token {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.priority.cmp(&other.priority)
    }
}
impl PartialOrd for Token {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Eq for Token {}
impl PartialEq for Token {
    fn eq(&self, other: &Self) -> bool {
        self.priority == other.priority
    }
}

enum AnyQueue {
    Fifo(Queue<Token>),
    Lifo(LifoQueue<Token>),
    Priority(PriorityQueue<Token>),
}

macro_rules! queue {
    ($any:expr, $q:ident => $e:expr) => {
        match &$any {
            AnyQueue::Fifo($q) => $e,
            AnyQueue::Lifo($q) => $e,
            AnyQueue::Priority($q) => $e,
        }
    };
}

/// What a `put` said, with the item's id.
#[derive(Debug, PartialEq)]
enum Put {
    In,
    Full(u32),
    ShutDown(u32),
}

/// Everything there is, real and model.
struct World {
    start: Instant,
    model: RefCell<Model>,
    handles: RefCell<Vec<Rc<Greenlet<()>>>>,
    events: [Event; 2],
    results: [AsyncResult<u32, u32>; 2],
    queue: AnyQueue,
    plain: Arc<Semaphore>,
    bounded: Arc<BoundedSemaphore>,
    ledger: Ledger,
    /// Items that were put with success, and that came out.
    put: RefCell<Vec<u32>>,
    out: RefCell<Vec<u32>>,
    /// Permits of the plain semaphore: forgotten, released.
    forgotten: Cell<usize>,
    released: Cell<usize>,
}

#[allow(dead_code)] // Owned for what its drop does.
enum AnyPermit<'a> {
    Lent(Permit<'a>),
    Owned(OwnedPermit),
}

/// A permit that gives back to the model too, also when a kill unwinds.
struct Held<'a> {
    world: &'a World,
    semaphore: usize,
    n: usize,
    permit: Option<AnyPermit<'a>>,
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        if let Some(permit) = self.permit.take() {
            self.world.model().give_back(self.semaphore, self.n);
            drop(permit);
        }
    }
}

/// Does something in the end, also when it unwinds.
struct Defer<F: FnMut()>(F);

impl<F: FnMut()> Drop for Defer<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

/// The real wait, in whose place an unwinding may come.
struct InWait<'a> {
    world: &'a World,
    me: usize,
    /// Raised instead of waiting.
    at_once: Option<Unwind>,
    returned: bool,
}

impl Drop for InWait<'_> {
    fn drop(&mut self) {
        if self.returned {
            return;
        }
        let mut model = self.world.model();
        let verdict = match self.at_once {
            Some(unwind) => Verdict::Raised(unwind),
            None => model.resume(self.me),
        };
        match verdict {
            Verdict::Raised(unwind) => model.tasks[self.me].raising = Some(unwind),
            other => model.error(format!("#{} unwound, but: {other:?}", self.me)),
        }
    }
}

fn ms(n: Ms) -> Duration {
    Duration::from_millis(n)
}

/// The context of a list of operations.
#[derive(Clone, Copy)]
struct Here<'a, 'w> {
    me: usize,
    held: &'a RefCell<Vec<Held<'w>>>,
    scope: Option<(u64, &'a TimeoutHandle)>,
}

impl World {
    fn new(plan: &Plan) -> World {
        let queue = match (plan.kind, plan.capacity) {
            (Kind::Fifo, None) => AnyQueue::Fifo(Queue::unbounded()),
            (Kind::Fifo, Some(0)) => AnyQueue::Fifo(Queue::rendezvous()),
            (Kind::Fifo, Some(n)) => AnyQueue::Fifo(Queue::bounded(n)),
            (Kind::Lifo, None) => AnyQueue::Lifo(LifoQueue::unbounded()),
            (Kind::Lifo, Some(n)) => AnyQueue::Lifo(LifoQueue::bounded(n)),
            (Kind::Priority, None) => AnyQueue::Priority(PriorityQueue::unbounded()),
            (Kind::Priority, Some(n)) => AnyQueue::Priority(PriorityQueue::bounded(n)),
        };
        let queue_model = QueueModel {
            kind: plan.kind,
            capacity: plan.capacity,
            items: Vec::new(),
            getters: Vec::new(),
            putters: Vec::new(),
            joiners: Vec::new(),
            unfinished: 0,
            shut_down: false,
        };
        let [plain, bounded] = plan.permits;
        let semaphores = [(plain, usize::MAX), (bounded, bounded)]
            .map(|(permits, bound)| SemaphoreModel { permits, bound, waiters: Vec::new() });
        let tasks = plan.scripts.len() + 1; // the last one is the root
        World {
            start: greenlet::now(),
            model: RefCell::new(Model::new(plan.seed.is_some(), tasks, queue_model, semaphores.into())),
            handles: RefCell::default(),
            events: Default::default(),
            results: Default::default(),
            queue,
            plain: Arc::new(Semaphore::new(plain)),
            bounded: Arc::new(BoundedSemaphore::new(bounded)),
            ledger: Ledger::default(),
            put: RefCell::default(),
            out: RefCell::default(),
            forgotten: Cell::new(0),
            released: Cell::new(0),
        }
    }

    fn model(&self) -> RefMut<'_, Model> {
        let mut model = self.model.borrow_mut();
        let elapsed = greenlet::now() - self.start;
        model.now = elapsed.as_millis() as Ms;
        if ms(model.now) != elapsed {
            model.error(format!("the clock shows {elapsed:?}"));
        }
        model
    }

    fn expect<R: PartialEq + Debug>(&self, me: usize, what: &str, real: &R, model: &R) {
        if real != model {
            self.model().error(format!("#{me} {what}: {real:?}, expected {model:?}"));
        }
    }

    /// An operation that need not wait, so nobody else may run.
    fn instant<R: PartialEq + Debug>(&self, me: usize, what: &str, expected: R, real: impl FnOnce() -> R) {
        let resumes = self.model().resumes;
        let result = real();
        self.expect(me, what, &result, &expected);
        self.expect(me, "resumes without need", &self.model.borrow().resumes.clone(), &resumes);
    }

    /// An operation that must wait. `value` says what it must return when it was
    /// given something, or (`None`) when its own time is over.
    fn wait<R: PartialEq + Debug>(
        &self,
        me: usize,
        what: &str,
        limit: Option<Ms>,
        enlist: impl FnOnce(&mut Model),
        real: impl FnOnce() -> R,
        value: impl FnOnce(Option<Grant>) -> R,
    ) {
        let mut model = self.model();
        let at_once = model.due(me);
        if at_once.is_none() {
            model.begin(me, limit);
            enlist(&mut model);
        }
        drop(model);
        let mut wait = InWait { world: self, me, at_once, returned: false };
        let result = real();
        wait.returned = true;
        let verdict = match at_once {
            Some(unwind) => Verdict::Raised(unwind),
            None => self.model().resume(me),
        };
        match verdict {
            Verdict::Granted(grant) => self.expect(me, what, &result, &value(Some(grant))),
            Verdict::Expired => self.expect(me, what, &result, &value(None)),
            other => self.model().error(format!("#{me} {what} returned {result:?}, but: {other:?}")),
        }
    }

    fn run(&self, ops: &[Op], here: Here<'_, '_>) {
        for op in ops {
            match op {
                Op::Timeout(limit, body) => self.timeout(*limit, body, here),
                Op::Shield(body) => {
                    let id = self.model().open(here.me, None);
                    let _close = Defer(|| self.model().tasks[here.me].frames.retain(|f| f.id != id));
                    greenlet::shield(|| self.run(body, Here { scope: None, ..here }));
                }
                Op::Swallow(body) => {
                    let result = catch_unwind(AssertUnwindSafe(|| self.run(body, here)));
                    let raising = self.model().tasks[here.me].raising.take();
                    self.expect(here.me, "swallowed", &result.is_err(), &raising.is_some());
                }
                Op::Put(priority, limit) => self.put(here.me, *priority, *limit),
                Op::Acquire(s, n, limit, owned) => unreachable_in_run(s, n, limit, owned),
                op => self.simple(op, here),
            }
            self.observe(here.me);
        }
    }
}

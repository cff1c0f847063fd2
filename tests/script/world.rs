//! Runs a plan on the crate, step by step beside the models, and collects what differs.

use super::Shared;
use super::model::{FrameState, Grant, Model, Ms, Unwind, Verdict};
use super::plan::{Deliberate, Op, Plan};
use super::primitives::{Kind, QueueModel, SemaphoreModel};
use super::sync::{
    AsyncResult, BoundedSemaphore, Event, LifoQueue, OwnedPermit, Permit, PriorityQueue, Queue,
    Semaphore,
};
use greenlet::{Greenlet, TimeoutHandle};
use std::cell::{Cell, RefCell, RefMut};
use std::fmt::Debug;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::rc::Rc;
use std::time::{Duration, Instant};

/// How often each item was made (cloned) and dropped.
pub(crate) type Ledger = Rc<RefCell<Vec<(u32, u32)>>>;

/// An item that is counted.
pub(crate) struct Token {
    pub(crate) id: u32,
    pub(crate) priority: u8,
    pub(crate) ledger: Ledger,
}

impl Clone for Token {
    fn clone(&self) -> Self {
        self.ledger.borrow_mut()[self.id as usize].0 += 1;
        Token {
            ledger: self.ledger.clone(),
            ..*self
        }
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

pub(crate) enum AnyQueue {
    Fifo(Queue<Token>),
    Lifo(LifoQueue<Token>),
    Priority(PriorityQueue<Token>),
}

/// Of an `AnyQueue`, whichever it is.
macro_rules! queue {
    ($any:expr, $q:ident => $e:expr) => {
        match &$any {
            AnyQueue::Fifo($q) => $e,
            AnyQueue::Lifo($q) => $e,
            AnyQueue::Priority($q) => $e,
        }
    };
}

pub(crate) use queue;

/// What a `put` said, with the item's id.
#[derive(Debug, PartialEq)]
pub(crate) enum Put {
    In,
    Full(u32),
    ShutDown(u32),
}

/// Everything there is, real and model.
pub(crate) struct World {
    pub(crate) start: Instant,
    pub(crate) model: RefCell<Model>,
    /// By number; those that are detached are gone.
    pub(crate) handles: RefCell<Vec<Option<Rc<Greenlet<()>>>>>,
    pub(crate) events: [Event; 2],
    pub(crate) results: [AsyncResult<u32, u32>; 2],
    pub(crate) queue: AnyQueue,
    pub(crate) plain: Shared<Semaphore>,
    pub(crate) bounded: Shared<BoundedSemaphore>,
    pub(crate) ledger: Ledger,
    /// Items that were put with success, and that came out.
    pub(crate) put: RefCell<Vec<u32>>,
    pub(crate) out: RefCell<Vec<u32>>,
    /// Permits of the plain semaphore: forgotten, released.
    pub(crate) forgotten: Cell<usize>,
    pub(crate) released: Cell<usize>,
}

#[allow(dead_code)] // Owned for what its drop does.
pub(crate) enum AnyPermit<'a> {
    Lent(Permit<'a>),
    Owned(OwnedPermit),
}

/// A permit that gives back to the model too, also when a kill unwinds.
pub(crate) struct Held<'a> {
    pub(crate) world: &'a World,
    pub(crate) semaphore: usize,
    pub(crate) n: usize,
    pub(crate) permit: Option<AnyPermit<'a>>,
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
pub(crate) struct Defer<F: FnMut()>(pub(crate) F);

impl<F: FnMut()> Drop for Defer<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

/// The real wait, in whose place an unwinding may come.
pub(crate) struct InWait<'a> {
    pub(crate) world: &'a World,
    pub(crate) me: usize,
    /// Raised instead of waiting.
    pub(crate) at_once: Option<Unwind>,
    pub(crate) returned: bool,
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

/// The handle of greenlet `t`, modulo their number, and that number, unless it is detached.
pub(crate) fn handle(world: &World, t: usize) -> Option<(usize, Rc<Greenlet<()>>)> {
    let handles = world.handles.borrow();
    let t = t % handles.len();
    Some((t, handles[t].clone()?))
}

pub(crate) fn ms(n: Ms) -> Duration {
    Duration::from_millis(n)
}

/// The context of a list of operations.
#[derive(Clone, Copy)]
pub(crate) struct Here<'a, 'w> {
    pub(crate) me: usize,
    pub(crate) held: &'a RefCell<Vec<Held<'w>>>,
    pub(crate) scope: Option<&'a Scope<'a>>,
}

/// An open timeout scope, and the one around it, of the same greenlet.
pub(crate) struct Scope<'a> {
    pub(crate) id: u64,
    pub(crate) handle: &'a TimeoutHandle,
    outer: Option<&'a Scope<'a>>,
}

impl<'a> Scope<'a> {
    /// So many further out, or the outermost.
    pub(crate) fn further_out(&'a self, out: usize) -> &'a Scope<'a> {
        let all = std::iter::successors(Some(self), |scope| scope.outer);
        all.take(out + 1).last().expect("itself at least")
    }
}

impl World {
    pub(crate) fn new(plan: &Plan) -> World {
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
            reserved: 0,
            holders: Vec::new(),
            joiners: Vec::new(),
            unfinished: 0,
            shut_down: false,
        };
        let [plain, bounded] = plan.permits;
        let semaphores =
            [(plain, usize::MAX), (bounded, bounded)].map(|(permits, bound)| SemaphoreModel {
                permits,
                bound,
                waiters: Vec::new(),
            });
        let tasks = plan.scripts.len() + 1; // the last one is the root
        World {
            start: greenlet::now(),
            model: RefCell::new(Model::new(
                plan.seed.is_some(),
                tasks,
                queue_model,
                semaphores.into(),
            )),
            handles: RefCell::default(),
            events: Default::default(),
            results: Default::default(),
            queue,
            plain: Shared::new(Semaphore::new(plain)),
            bounded: Shared::new(BoundedSemaphore::new(bounded)),
            ledger: Ledger::default(),
            put: RefCell::default(),
            out: RefCell::default(),
            forgotten: Cell::new(0),
            released: Cell::new(0),
        }
    }

    pub(crate) fn model(&self) -> RefMut<'_, Model> {
        let mut model = self.model.borrow_mut();
        let elapsed = greenlet::now() - self.start;
        model.now = elapsed.as_millis() as Ms;
        if ms(model.now) != elapsed {
            model.error(format!("the clock shows {elapsed:?}"));
        }
        model
    }

    pub(crate) fn expect<R: PartialEq + Debug>(&self, me: usize, what: &str, real: &R, model: &R) {
        if real != model {
            self.model()
                .error(format!("#{me} {what}: {real:?}, expected {model:?}"));
        }
    }

    /// An operation that need not wait, so nobody else may run.
    pub(crate) fn instant<R: PartialEq + Debug>(
        &self,
        me: usize,
        what: &str,
        expected: R,
        real: impl FnOnce() -> R,
    ) {
        let resumes = self.model().resumes;
        let result = real();
        self.expect(me, what, &result, &expected);
        self.expect(
            me,
            "resumes without need",
            &self.model.borrow().resumes.clone(),
            &resumes,
        );
    }

    /// An operation that must wait. `value` says what it must return when it was
    /// given something, or (`None`) when its own time is over.
    pub(crate) fn wait<R: PartialEq + Debug>(
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
            model.begin(me, limit, what == "sleep");
            enlist(&mut model);
        }
        drop(model);
        let mut wait = InWait {
            world: self,
            me,
            at_once,
            returned: false,
        };
        let result = real();
        wait.returned = true;
        let verdict = match at_once {
            Some(unwind) => Verdict::Raised(unwind),
            None => self.model().resume(me),
        };
        match verdict {
            Verdict::Granted(grant) => self.expect(me, what, &result, &value(Some(grant))),
            Verdict::Expired => self.expect(me, what, &result, &value(None)),
            other => self
                .model()
                .error(format!("#{me} {what} returned {result:?}, but: {other:?}")),
        }
    }

    pub(crate) fn run<'w>(&'w self, ops: &[Op], here: Here<'_, 'w>) {
        for op in ops {
            match op {
                Op::Timeout(limit, body) => self.timeout(*limit, body, here),
                Op::Shield(body) => {
                    let id = self.model().open(here.me, None);
                    let _close =
                        Defer(|| self.model().tasks[here.me].frames.retain(|f| f.id != id));
                    greenlet::shield(|| self.run(body, here));
                }
                Op::Swallow(body) => {
                    let result = catch_unwind(AssertUnwindSafe(|| self.run(body, here)));
                    let raising = self.model().tasks[here.me].raising.take();
                    self.expect(here.me, "swallowed", &result.is_err(), &raising.is_some());
                }
                Op::Panic => {
                    self.model().tasks[here.me].raising = Some(Unwind::Panic);
                    resume_unwind(Box::new(Deliberate));
                }
                Op::Put(priority, limit) => self.put(here.me, *priority, *limit),
                Op::Acquire(s, n, limit, owned) => self.acquire(here, *s, *n, *limit, *owned),
                Op::PutMany(n, priority, limit) => self.put_many(here.me, *n, *priority, *limit),
                Op::ForcePut(priority) => self.force_put(here.me, *priority),
                Op::Reserve(limit, item, body) => self.reserve(here, *limit, *item, body),
                Op::Select(arms) => self.select(here, arms, false),
                Op::Poll(arms) => self.select(here, arms, true),
                op => self.simple(op, here),
            }
            self.observe(here.me);
        }
    }

    pub(crate) fn timeout<'w>(&'w self, limit: Ms, body: &[Op], here: Here<'_, 'w>) {
        let me = here.me;
        let id = self.model().open(me, Some(limit));
        let result = {
            // What is raised for somebody further out goes through here.
            let _passing = Defer(|| {
                if std::thread::panicking() {
                    let mut model = self.model();
                    model.tasks[me].frames.retain(|f| f.id != id);
                    if model.tasks[me].raising == Some(Unwind::Frame(id)) {
                        model.error(format!("#{me}: an expiry goes past its scope"));
                    }
                }
            });
            greenlet::Timeout::after(ms(limit)).run(|handle| {
                let outer = here.scope;
                let scope = Some(&Scope { id, handle, outer });
                self.run(body, Here { scope, ..here });
            })
        };
        let mut model = self.model();
        let frame = model.frame(me, id);
        let swallowed = frame.raised_before || frame.state == FrameState::Raised;
        model.tasks[me].frames.retain(|f| f.id != id);
        let raised = match model.tasks[me].raising.take() {
            None => false,
            Some(unwind) if unwind == Unwind::Frame(id) => true,
            Some(other) => {
                model.error(format!("#{me}: a scope has caught {other:?}"));
                true
            }
        };
        drop(model);
        self.expect(me, "timeout", &result.is_err(), &(raised || swallowed));
    }
}

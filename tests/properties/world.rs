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
pub(crate) enum Lim {
    Nowait,
    For(Ms),
    Ever,
}

#[derive(Clone, Debug)]
pub(crate) enum Op {
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
            self.model()
                .error(format!("#{me} {what}: {real:?}, expected {model:?}"));
        }
    }

    /// An operation that need not wait, so nobody else may run.
    fn instant<R: PartialEq + Debug>(
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

    fn run<'w>(&'w self, ops: &[Op], here: Here<'_, 'w>) {
        for op in ops {
            match op {
                Op::Timeout(limit, body) => self.timeout(*limit, body, here),
                Op::Shield(body) => {
                    let id = self.model().open(here.me, None);
                    let _close =
                        Defer(|| self.model().tasks[here.me].frames.retain(|f| f.id != id));
                    greenlet::shield(|| {
                        self.run(
                            body,
                            Here {
                                scope: None,
                                ..here
                            },
                        )
                    });
                }
                Op::Swallow(body) => {
                    let result = catch_unwind(AssertUnwindSafe(|| self.run(body, here)));
                    let raising = self.model().tasks[here.me].raising.take();
                    self.expect(here.me, "swallowed", &result.is_err(), &raising.is_some());
                }
                Op::Put(priority, limit) => self.put(here.me, *priority, *limit),
                Op::Acquire(s, n, limit, owned) => self.acquire(here, *s, *n, *limit, *owned),
                op => self.simple(op, here),
            }
            self.observe(here.me);
        }
    }

    fn timeout<'w>(&'w self, limit: Ms, body: &[Op], here: Here<'_, 'w>) {
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
            greenlet::Timeout::after(ms(limit)).run(|t| {
                let scope = Some((id, t));
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

    fn put(&self, me: usize, priority: u8, limit: Lim) {
        let id = {
            let mut ledger = self.ledger.borrow_mut();
            ledger.push((1, 0));
            ledger.len() as u32 - 1
        };
        let token = Token {
            id,
            priority,
            ledger: self.ledger.clone(),
        };
        let real = || {
            let result = match limit {
                Lim::Nowait => queue!(self.queue, q => q.put_nowait(token)),
                Lim::For(d) => queue!(self.queue, q => q.put_timeout(token, ms(d))),
                Lim::Ever => queue!(self.queue, q => q.put(token)),
            };
            match result {
                Ok(()) => {
                    self.put.borrow_mut().push(id);
                    Put::In
                }
                Err(PutError::Full(token)) => Put::Full(token.id),
                Err(PutError::ShutDown(token)) => Put::ShutDown(token.id),
            }
        };
        let decided = self.model().put((priority, id));
        let limit = match (decided, limit) {
            (Some(true), _) => return self.instant(me, "put", Put::In, real),
            (Some(false), _) => return self.instant(me, "put", Put::ShutDown(id), real),
            (None, Lim::Nowait) => return self.instant(me, "put", Put::Full(id), real),
            (None, Lim::For(d)) => Some(d),
            (None, Lim::Ever) => None,
        };
        // A putter that is raised through has lost its own item, once.
        let _dropped = Defer(|| {
            if std::thread::panicking() {
                let counts = self.ledger.borrow()[id as usize];
                self.expect(me, "made and dropped", &counts, &(1, 1));
            }
        });
        let enlist = |m: &mut Model| m.queue.putters.push((me, (priority, id)));
        self.wait(me, "put", limit, enlist, real, |grant| match grant {
            None => Put::Full(id),
            Some(Grant::ShutDown) => Put::ShutDown(id),
            Some(_) => Put::In,
        });
    }

    fn get(&self, me: usize, limit: Lim) {
        let real = || {
            let token = match limit {
                Lim::Nowait => queue!(self.queue, q => q.get_nowait()),
                Lim::For(d) => queue!(self.queue, q => q.get_timeout(ms(d))),
                Lim::Ever => queue!(self.queue, q => q.get()),
            }?;
            self.out.borrow_mut().push(token.id);
            Ok(token.id)
        };
        let decided = self.model().get();
        let limit = match (decided, limit) {
            (Some(Some(id)), _) => return self.instant(me, "get", Ok(id), real),
            (Some(None), _) => return self.instant(me, "get", Err(GetError::ShutDown), real),
            (None, Lim::Nowait) => return self.instant(me, "get", Err(GetError::Empty), real),
            (None, Lim::For(d)) => Some(d),
            (None, Lim::Ever) => None,
        };
        let enlist = |m: &mut Model| m.queue.getters.push(me);
        self.wait(me, "get", limit, enlist, real, |grant| match grant {
            Some(Grant::Item(id)) => Ok(id),
            Some(_) => Err(GetError::ShutDown),
            None => Err(GetError::Empty),
        });
    }

    fn acquire<'w>(&'w self, here: Here<'_, 'w>, s: usize, n: usize, limit: Lim, owned: bool) {
        let me = here.me;
        let n = match limit {
            _ if owned => 1,
            Lim::Nowait => 1,
            _ => n.min(self.model().semaphores[s].bound),
        };
        macro_rules! take {
            ($s:expr) => {
                match (limit, owned, n) {
                    (Lim::Nowait, false, _) => $s.try_acquire().map(AnyPermit::Lent),
                    (Lim::Nowait, true, _) => $s.try_acquire_owned().map(AnyPermit::Owned),
                    (Lim::For(d), true, _) => $s.acquire_owned_timeout(ms(d)).map(AnyPermit::Owned),
                    (Lim::For(d), _, 1) => $s.acquire_timeout(ms(d)).map(AnyPermit::Lent),
                    (Lim::For(d), _, n) => $s.acquire_many_timeout(n, ms(d)).map(AnyPermit::Lent),
                    (Lim::Ever, true, _) => Some(AnyPermit::Owned($s.acquire_owned())),
                    (Lim::Ever, _, 1) => Some(AnyPermit::Lent($s.acquire())),
                    (Lim::Ever, _, n) => Some(AnyPermit::Lent($s.acquire_many(n))),
                }
            };
        }
        let mut permit = None;
        let real = || {
            permit = if s == 0 {
                take!(self.plain)
            } else {
                take!(self.bounded)
            };
            permit.is_some()
        };
        let decided = self.model().take_permits(s, n);
        match (decided, limit) {
            (true, _) => self.instant(me, "acquire", true, real),
            (false, Lim::Nowait) => self.instant(me, "acquire", false, real),
            (false, limit) => {
                let limit = if let Lim::For(d) = limit {
                    Some(d)
                } else {
                    None
                };
                let enlist = |m: &mut Model| m.semaphores[s].waiters.push((me, n));
                self.wait(me, "acquire", limit, enlist, real, |grant| grant.is_some());
            }
        }
        if permit.is_some() {
            here.held.borrow_mut().push(Held {
                world: self,
                semaphore: s,
                n,
                permit,
            });
        }
    }

    /// What has no item and no permit, and what lies inside nothing.
    fn simple(&self, op: &Op, here: Here<'_, '_>) {
        let me = here.me;
        match *op {
            Op::Sleep(0) => {
                let mut model = self.model();
                let at_once = model.due(me);
                if at_once.is_none() {
                    model.begin_yield(me);
                }
                drop(model);
                let mut wait = InWait {
                    world: self,
                    me,
                    at_once,
                    returned: false,
                };
                greenlet::yield_now();
                wait.returned = true;
                let mut model = self.model();
                if at_once.is_some() {
                    return model.error(format!("#{me} yields though {at_once:?} is due"));
                }
                model.resume(me);
            }
            Op::Sleep(d) => {
                self.wait(
                    me,
                    "sleep",
                    Some(d),
                    |_| (),
                    || greenlet::sleep(ms(d)),
                    |_| (),
                );
            }
            Op::Kill(t) => {
                let handles = self.handles.borrow();
                let t = t % handles.len();
                let handle = handles[t].clone();
                drop(handles);
                self.model().kill(t);
                self.instant(me, "kill", (), || handle.kill());
            }
            Op::WaitFor(t, d) => {
                let handles = self.handles.borrow();
                let t = t % handles.len();
                let handle = handles[t].clone();
                drop(handles);
                let real = || handle.wait_timeout(ms(d));
                let ended = self.model().tasks[t].ended;
                if ended {
                    self.instant(me, "wait for", true, real);
                } else if t != me {
                    let enlist = |m: &mut Model| m.joiners[t].push(me);
                    self.wait(me, "wait for", Some(d), enlist, real, |grant| {
                        grant.is_some()
                    });
                }
            }
            Op::Reset(d) => {
                if let Some((id, handle)) = here.scope {
                    self.model().reset(me, id, Some(d));
                    self.instant(me, "reset", true, || {
                        handle.reset(ms(d));
                        handle.is_pending()
                    });
                }
            }
            Op::Cancel => {
                if let Some((id, handle)) = here.scope {
                    let mut model = self.model();
                    let now = model.now;
                    let frame = model.frame(me, id);
                    let armed = frame.state == FrameState::Armed && frame.deadline > now;
                    model.reset(me, id, None);
                    drop(model);
                    self.instant(me, "cancel", (armed, false), || {
                        let armed = handle.is_pending();
                        handle.cancel();
                        (armed, handle.is_pending())
                    });
                }
            }
            Op::EventWait(e, limit) => {
                let event = &self.events[e];
                let real = || match limit {
                    Some(d) => event.wait_timeout(ms(d)),
                    None => {
                        event.wait();
                        true
                    }
                };
                if self.model.borrow().events[e].set {
                    return self.instant(me, "Event::wait", true, real);
                }
                let enlist = |m: &mut Model| m.events[e].waiters.push(me);
                self.wait(me, "Event::wait", limit, enlist, real, |grant| {
                    grant.is_some()
                });
            }
            Op::EventSet(e) => {
                self.model().set_event(e);
                self.instant(me, "set", (), || self.events[e].set());
            }
            Op::EventClear(e) => {
                self.model().events[e].set = false;
                self.instant(me, "clear", (), || self.events[e].clear());
            }
            Op::EventPulse(e) => {
                self.model().set_event(e);
                self.model().events[e].set = false;
                self.instant(me, "set and clear", (), || {
                    self.events[e].set();
                    self.events[e].clear();
                });
            }
            Op::ResultWait(r, limit) => {
                let result = &self.results[r];
                let set = self.model.borrow().results[r].result;
                let real = || {
                    let got = match limit {
                        Some(d) => result.wait_timeout(ms(d)),
                        None => Some(result.wait()),
                    };
                    got.map(|got| got.copied().map_err(|e| *e))
                };
                if set.is_some() {
                    return self.instant(me, "AsyncResult::wait", set, real);
                }
                let enlist = |m: &mut Model| m.results[r].waiters.push(me);
                self.wait(me, "AsyncResult::wait", limit, enlist, real, |grant| {
                    grant.and_then(|_| self.model.borrow().results[r].result)
                });
            }
            Op::ResultGet(r) => {
                let set = self.model.borrow().results[r].result;
                self.instant(me, "get_nowait", set, || self.results[r].get_nowait());
                let result = &self.results[r];
                let queries = (
                    set.and_then(Result::ok),
                    set.and_then(Result::err),
                    set.is_some(),
                );
                self.instant(me, "value and error", queries, || {
                    (
                        result.value().copied(),
                        result.error().copied(),
                        result.is_ready(),
                    )
                });
            }
            Op::ResultSet(r, ok) => {
                let mut model = self.model();
                let n = model.resumes as u32; // any number will do
                let result = if ok { Ok(n) } else { Err(n) };
                let expected = if model.set_result(r, result) {
                    Ok(())
                } else {
                    Err(n)
                };
                drop(model);
                self.instant(me, "AsyncResult::set", expected, || match ok {
                    true => self.results[r].set(n),
                    false => self.results[r].set_error(n),
                });
            }
            Op::Get(limit) => self.get(me, limit),
            Op::Peek => {
                let model = self.model();
                let expected = match model.queue.next() {
                    Some(at) => Ok(model.queue.items[at].1),
                    None if model.queue.shut_down => Err(GetError::ShutDown),
                    None => Err(GetError::Empty),
                };
                drop(model);
                self.instant(me, "peek", expected, || {
                    queue!(self.queue, q => q.peek_nowait()).map(|token| token.id)
                });
            }
            Op::TaskDone => {
                if self.model().queue.unfinished > 0 {
                    self.model().task_done(1);
                    self.instant(
                        me,
                        "task_done",
                        (),
                        || queue!(self.queue, q => q.task_done()),
                    );
                }
            }
            Op::Join(limit) => {
                let real = || match limit {
                    Some(d) => queue!(self.queue, q => q.join_timeout(ms(d))),
                    None => {
                        queue!(self.queue, q => q.join());
                        true
                    }
                };
                if self.model().queue.unfinished == 0 {
                    return self.instant(me, "join", true, real);
                }
                let enlist = |m: &mut Model| m.queue.joiners.push(me);
                self.wait(me, "join", limit, enlist, real, |grant| grant.is_some());
            }
            Op::Shutdown => {
                self.model().shutdown();
                self.instant(me, "shutdown", (), || queue!(self.queue, q => q.shutdown()));
            }
            Op::ShutdownNow => {
                let expected = self.model().shutdown_now();
                self.instant(me, "shutdown_now", expected, || {
                    let left = queue!(self.queue, q => q.shutdown_now());
                    let left: Vec<u32> = left.iter().map(|token| token.id).collect();
                    self.out.borrow_mut().extend(&left);
                    left
                });
            }
            Op::Release(s) => {
                let expected = self.model().release(s);
                self.instant(me, "release", expected, || match s {
                    0 => {
                        self.plain.release();
                        self.released.set(self.released.get() + 1);
                        true
                    }
                    _ => self.bounded.release().is_ok(),
                });
            }
            Op::Return | Op::Forget => {
                let mut held = here.held.borrow_mut();
                if held.is_empty() {
                    return;
                }
                let mut first = held.remove(0);
                drop(held);
                if let Op::Return = op {
                    return self.instant(me, "return", (), || drop(first));
                }
                match first.permit.take() {
                    Some(AnyPermit::Lent(permit)) => permit.forget(),
                    Some(AnyPermit::Owned(permit)) => permit.forget(),
                    None => {}
                }
                if first.semaphore == 0 {
                    self.forgotten.set(self.forgotten.get() + first.n);
                }
            }
            Op::Timeout(..) | Op::Shield(_) | Op::Swallow(_) | Op::Put(..) | Op::Acquire(..) => {
                unreachable!("done by `run`")
            }
        }
    }

    /// After each operation everything that can be asked is as in the model, the
    /// lines of waiters too.
    fn observe(&self, me: usize) {
        let model = self.model();
        let (q, s) = (&model.queue, &model.semaphores);
        let mut expected = String::new();
        for event in &model.events {
            expected += &format!(
                "Event {{ set: {}, waiting: {} }}\n",
                event.set,
                event.waiters.len()
            );
        }
        for r in &model.results {
            expected += &format!(
                "AsyncResult {{ result: {:?}, waiting: {} }}\n",
                r.result,
                r.waiters.len()
            );
        }
        expected += &format!(
            "{} {{ len: {}, capacity: {:?}, unfinished: {}, shut_down: {}, getters: {}, putters: {}, joiners: {} }} full: {}\n",
            match q.kind {
                Kind::Fifo => "Queue",
                Kind::Lifo => "LifoQueue",
                Kind::Priority => "PriorityQueue",
            },
            q.items.len(),
            q.capacity,
            q.unfinished,
            q.shut_down,
            q.getters.len(),
            q.putters.len(),
            q.joiners.len(),
            !q.has_room(),
        );
        for (s, name) in s.iter().zip(["Semaphore", "BoundedSemaphore"]) {
            expected += &format!(
                "{name} {{ available: {}, waiting: {} }}\n",
                s.permits,
                s.waiters.len()
            );
        }
        drop(model);
        let [e, f] = &self.events;
        let [r, t] = &self.results;
        let queue = queue!(self.queue, q => format!("{q:?} full: {}", q.is_full()));
        let real = format!(
            "{e:?}\n{f:?}\n{r:?}\n{t:?}\n{queue}\n{:?}\n{:?}\n",
            self.plain, self.bounded
        );
        if real != expected {
            self.model()
                .error(format!("#{me} sees\n{real}expected\n{expected}"));
        }
    }
}

/// Marks the end of a greenlet, whether it has run or not.
struct Ender {
    world: Rc<World>,
    me: usize,
}

impl Drop for Ender {
    fn drop(&mut self) {
        let mut model = self.world.model();
        if !model.tasks[self.me].started {
            model.resume(self.me);
            if !model.tasks[self.me].killed {
                model.error(format!("#{} is dropped unrun", self.me));
            }
        }
        model.end(self.me);
    }
}

fn spawn(world: &Rc<World>, me: usize, delay: Ms, ops: Vec<Op>) {
    world.model().spawn(me, delay);
    let ender = Ender {
        world: world.clone(),
        me,
    };
    let body = move || {
        let world = &*ender.world;
        let mut model = world.model();
        model.resume(me);
        model.tasks[me].started = true;
        if model.tasks[me].killed {
            model.error(format!("#{me} runs, but was killed"));
        }
        drop(model);
        let held = RefCell::default();
        world.run(
            &ops,
            Here {
                me,
                held: &held,
                scope: None,
            },
        );
        // What is still held is given back before the end.
        for permit in held.take() {
            world.instant(me, "return", (), || drop(permit));
        }
    };
    let handle = match delay {
        0 => greenlet::spawn(body),
        _ => greenlet::spawn_later(ms(delay), body),
    };
    world.handles.borrow_mut().push(Rc::new(handle));
}

/// The root: starts all, and in the end sets, shuts down, releases and kills,
/// until nobody is left. True if it comes to that.
fn conduct(world: &Rc<World>, plan: &Plan) -> bool {
    let me = plan.scripts.len();
    for (i, (delay, ops)) in plan.scripts.iter().enumerate() {
        spawn(world, i, *delay, ops.clone());
    }
    let held = RefCell::default();
    let run = |ops: &[Op]| {
        world.run(
            ops,
            Here {
                me,
                held: &held,
                scope: None,
            },
        )
    };
    let ended = || world.model().tasks[..me].iter().all(|t| t.ended);
    for round in 0..40 {
        run(&[Op::Sleep(50)]);
        if ended() {
            return true;
        }
        if plan.kill_first || round > 0 {
            for t in 0..me {
                run(&[Op::Kill(t)]);
            }
        }
        if !plan.kill_first || round > 0 {
            run(&[
                Op::EventSet(0),
                Op::EventSet(1),
                Op::ResultSet(0, true),
                Op::ResultSet(1, false),
                Op::Shutdown,
            ]);
            while world.model().queue.unfinished > 0 {
                run(&[Op::TaskDone]);
            }
            for s in 0..2 {
                for _ in 0..100 {
                    if world.model().semaphores[s].waiters.is_empty() {
                        break;
                    }
                    run(&[Op::Release(s)]);
                }
            }
        }
    }
    false
}

/// What must hold in the end, whatever the models say.
fn account(world: &World, plan: &Plan) {
    for (i, handle) in world.handles.borrow().iter().enumerate() {
        let mut model = world.model();
        let task = &model.tasks[i];
        let raising = task.raising;
        let killed = raising == Some(Unwind::Kill) || !task.started;
        let ok = match handle.error() {
            None => !killed && raising.is_none() && handle.is_successful(),
            Some(error) => killed && error.is_killed(),
        };
        if !ok {
            model.error(format!(
                "#{i} ended with {:?}, raised was {raising:?}",
                handle.error()
            ));
        }
    }
    let mut out = world.out.take();
    out.extend(queue!(world.queue, q => q.try_iter().map(|token| token.id).collect::<Vec<_>>()));
    out.sort();
    let mut put = world.put.take();
    put.sort();
    let me = plan.scripts.len();
    world.expect(me, "items that came out and were put", &out, &put);
    let sum = plan.permits[0] + world.released.get();
    let permits = world.plain.available() + world.forgotten.get();
    world.expect(me, "permits of the semaphore", &permits, &sum);
    let within = world.bounded.available() <= plan.permits[1];
    world.expect(me, "permits within the bound", &within, &true);
    let text = format!(
        "{:?} {:?} {:?} {:?}",
        world.events, world.results, world.plain, world.bounded
    );
    let text = text + &queue!(world.queue, q => format!("{q:?}"));
    for what in ["waiting", "getters", "putters", "joiners"] {
        for count in text.split(&format!("{what}: ")).skip(1) {
            world.expect(me, what, &count.starts_with('0'), &true);
        }
    }
}

/// Runs the plan on a thread of its own, since one on which greenlets are stuck
/// for good cannot go on. Returns what differs.
pub(crate) fn play(plan: &Plan) -> Vec<String> {
    let (sender, receiver) = mpsc::channel();
    let plan = plan.clone();
    let thread = std::thread::spawn(move || {
        let simulation = match plan.seed {
            Some(seed) => Simulation::new().seed(seed),
            None => Simulation::new(),
        };
        let errors = simulation.run(|| {
            let world = Rc::new(World::new(&plan));
            let me = plan.scripts.len();
            world.model().tasks[me].started = true;
            if !conduct(&world, &plan) {
                let mut errors = world.model().errors.clone();
                errors.push(format!("somebody is stuck: {:#?}", world.model().tasks));
                let _ = sender.send(errors);
                loop {
                    std::thread::park();
                }
            }
            account(&world, &plan);
            let mut errors = world.model().errors.clone();
            let ledger = world.ledger.clone();
            match Rc::try_unwrap(world) {
                Ok(world) => drop(world),
                Err(_) => errors.push("a closure was not dropped".to_owned()),
            }
            for (id, (made, dropped)) in ledger.borrow().iter().enumerate() {
                if made != dropped {
                    errors.push(format!(
                        "item {id} was made {made} times and dropped {dropped} times"
                    ));
                }
            }
            errors
        });
        let _ = sender.send(errors);
    });
    match receiver.recv_timeout(Duration::from_secs(20)) {
        Ok(errors) => errors,
        Err(mpsc::RecvTimeoutError::Timeout) => vec!["it hangs".to_owned()],
        Err(mpsc::RecvTimeoutError::Disconnected) => {
            let payload = thread.join().expect_err("it has sent nothing");
            let text = payload.downcast_ref::<String>().cloned();
            vec![text.unwrap_or_else(|| "it panicked".to_owned())]
        }
    }
}

//! Runs a plan on several hubs and plain threads at once, by the real clock.
//!
//! Who comes first is up to the machine, so there is no model to compare with. What is checked holds
//! whatever the interleaving:
//!
//! - each item that was put came out once (to a getter, to `shutdown_now`, or it was left), each
//!   that was refused came back, each whose putter was unwound is gone; all are dropped once;
//! - the items of one producer come to one consumer in order, in a FIFO queue;
//! - as many tasks are unfinished as items came out and were not done;
//! - permits add up, and there are never more out than there can be;
//! - all see the same result, which is that of the one `set` that was not refused;
//! - what a wait says was so at some time; no limit and no sleep is over early;
//! - a greenlet is killed, or has panicked, only if somebody asked for it; a kill ends whoever is
//!   without a shield, and gets through none;
//! - a greenlet-local value stays its greenlet's;
//! - everybody ends, and nobody is left in a line.

use super::model::Ms;
use super::plan::{Arms, Deliberate, Lim, Op, Plan};
use super::primitives::Kind;
use super::selects::{
    self, ACQUIRE, Chosen, EVENTS, GET, PUT, RESULTS, choose, choose_polled, poll, wait_for,
};
use greenlet::sync::{
    AsyncResult, BoundedSemaphore, Event, GetError, LifoQueue, OwnedPermit, Permit, PriorityQueue,
    PutError, Queue, Semaphore,
};
use greenlet::{
    Greenlet, HubThread, Local, TimeoutHandle, Waitable, shield, wait_any, wait_any_timeout,
};
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::fmt::Debug;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, mpsc};
use std::time::{Duration, Instant};

/// Only a run that fails takes so long.
const HANGS: Duration = Duration::from_secs(30);

/// Where a plan's scripts run: the last ones on threads without a hub, the others on the hubs in
/// turn.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Places {
    /// 1 to 3. The first is a [`HubThread`], whose greenlets are spawned from elsewhere; the second
    /// one that is `run`; the third a thread that just spawns and waits.
    pub(crate) hubs: usize,
    pub(crate) threads: usize,
}

/// A unit of the scripts' time: the shortest limit is zero.
fn tick(d: Ms) -> Duration {
    Duration::from_micros(300) * d.saturating_sub(1) as u32
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|e| e.into_inner())
}

// ---- items ----

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// Its put has not returned: if it never does, it was unwound.
    Offered,
    In,
    Back,
    /// Of a batch that has not returned: it may be in.
    Batch,
}

#[derive(Debug)]
struct Item {
    fate: Fate,
    out: u32,
    made: u32,
    dropped: u32,
}

type Ledger = Arc<Mutex<Vec<Item>>>;

struct Token {
    id: usize,
    producer: usize,
    priority: u8,
    ledger: Ledger,
}

impl Clone for Token {
    fn clone(&self) -> Self {
        lock(&self.ledger)[self.id].made += 1;
        let ledger = self.ledger.clone();
        Token { ledger, ..*self }
    }
}
impl Drop for Token {
    fn drop(&mut self) {
        lock(&self.ledger)[self.id].dropped += 1;
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

// ---- what all share ----

struct World {
    go: Event,
    /// The roots may end their hubs.
    over: Event,
    events: [Event; 2],
    /// How often each was set, counted before it is.
    sets: [AtomicUsize; 2],
    results: [AsyncResult<usize, usize>; 2],
    /// What the one `set` that was not refused has given.
    winners: [OnceLock<Result<usize, usize>>; 2],
    /// What was seen first.
    seen: [OnceLock<Result<usize, usize>>; 2],
    numbers: AtomicUsize,
    queue: AnyQueue,
    fifo: bool,
    ledger: Ledger,
    /// Items that came out of the queue and are not done.
    undone: Mutex<usize>,
    shutdowns: AtomicUsize,
    plain: Arc<Semaphore>,
    bounded: Arc<BoundedSemaphore>,
    permits: [usize; 2],
    /// Of each semaphore: permits that are out; `release`s, counted before; those that were
    /// refused; permits forgotten.
    inside: [AtomicUsize; 2],
    releases: [AtomicUsize; 2],
    refused: [AtomicUsize; 2],
    forgotten: [AtomicUsize; 2],
    handles: Mutex<Vec<Option<Arc<Greenlet<()>>>>>,
    killed: Vec<AtomicBool>,
    panicked: Vec<AtomicBool>,
    errors: Mutex<Vec<String>>,
}

static LOCAL: Local<usize> = Local::new();

impl World {
    fn new(plan: &Plan) -> Self {
        let [plain, bounded] = plan.permits;
        let flags = || {
            plan.scripts
                .iter()
                .map(|_| AtomicBool::new(false))
                .collect()
        };
        World {
            go: Event::new(),
            over: Event::new(),
            events: Default::default(),
            sets: Default::default(),
            results: Default::default(),
            winners: Default::default(),
            seen: Default::default(),
            numbers: AtomicUsize::new(0),
            queue: match (plan.kind, plan.capacity) {
                (Kind::Fifo, None) => AnyQueue::Fifo(Queue::unbounded()),
                (Kind::Fifo, Some(0)) => AnyQueue::Fifo(Queue::rendezvous()),
                (Kind::Fifo, Some(n)) => AnyQueue::Fifo(Queue::bounded(n)),
                (Kind::Lifo, None) => AnyQueue::Lifo(LifoQueue::unbounded()),
                (Kind::Lifo, Some(n)) => AnyQueue::Lifo(LifoQueue::bounded(n)),
                (Kind::Priority, None) => AnyQueue::Priority(PriorityQueue::unbounded()),
                (Kind::Priority, Some(n)) => AnyQueue::Priority(PriorityQueue::bounded(n)),
            },
            fifo: plan.kind == Kind::Fifo,
            ledger: Ledger::default(),
            undone: Mutex::new(0),
            shutdowns: AtomicUsize::new(0),
            plain: Arc::new(Semaphore::new(plain)),
            bounded: Arc::new(BoundedSemaphore::new(bounded)),
            permits: plan.permits,
            inside: Default::default(),
            releases: Default::default(),
            refused: Default::default(),
            forgotten: Default::default(),
            handles: Mutex::new(plan.scripts.iter().map(|_| None).collect()),
            killed: flags(),
            panicked: flags(),
            errors: Mutex::default(),
        }
    }

    fn error(&self, text: impl Into<String>) {
        lock(&self.errors).push(text.into());
    }

    fn check(&self, holds: bool, text: impl FnOnce() -> String) {
        if !holds {
            self.error(text());
        }
    }

    fn describe(&self) -> String {
        let queue = queue!(self.queue, q => format!("{q:?}"));
        let (e, r) = (&self.events, &self.results);
        format!("{e:?} {r:?} {queue} {:?} {:?}", self.plain, self.bounded)
    }

    /// The handle of greenlet `t`, modulo their number, if it has one.
    fn handle(&self, t: usize) -> Option<(usize, Arc<Greenlet<()>>)> {
        let handles = lock(&self.handles);
        let t = t % handles.len();
        Some((t, handles[t].clone()?))
    }

    fn kill(&self, t: usize) {
        if let Some((t, handle)) = self.handle(t) {
            self.killed[t].store(true, SeqCst);
            handle.kill();
        }
    }

    fn set(&self, e: usize, clear: bool) {
        self.sets[e].fetch_add(1, SeqCst);
        self.events[e].set();
        if clear {
            self.events[e].clear();
        }
    }

    fn set_result(&self, r: usize, ok: bool) {
        let n = self.numbers.fetch_add(1, SeqCst);
        let (set, value) = match ok {
            true => (self.results[r].set(n), Ok(n)),
            false => (self.results[r].set_error(n), Err(n)),
        };
        match set {
            Ok(()) => self.check(self.winners[r].set(value).is_ok(), || {
                format!("result {r} was set twice")
            }),
            Err(back) => self.check(back == n, || format!("{back} came back for {n}")),
        }
    }

    fn see(&self, r: usize, value: Result<usize, usize>) {
        let first = *self.seen[r].get_or_init(|| value);
        self.check(first == value, || {
            format!("result {r} is {value:?}, and was {first:?}")
        });
    }

    /// It has come out of the queue.
    fn out(&self, token: &Token) {
        lock(&self.ledger)[token.id].out += 1;
    }

    fn shut_down(&self) {
        self.shutdowns.fetch_add(1, SeqCst);
        queue!(self.queue, q => q.shutdown());
    }

    /// What is taken counts as done.
    fn shut_down_now(&self) -> Vec<Token> {
        self.shutdowns.fetch_add(1, SeqCst);
        let left = queue!(self.queue, q => q.shutdown_now());
        left.iter().for_each(|token| self.out(token));
        left
    }

    /// If an item has come out that is not done.
    fn task_done(&self) -> bool {
        let some = {
            let mut undone = lock(&self.undone);
            let some = *undone > 0;
            *undone -= usize::from(some);
            some
        };
        if some {
            queue!(self.queue, q => q.task_done());
        }
        some
    }

    fn release(&self, s: usize) {
        self.releases[s].fetch_add(1, SeqCst);
        match s {
            0 => self.plain.release(),
            _ if self.bounded.release().is_ok() => {}
            _ => drop(self.refused[s].fetch_add(1, SeqCst)),
        }
    }
}

// ---- one who runs a script ----

enum AnyPermit<'w> {
    Lent(Permit<'w>),
    Owned(OwnedPermit),
}

struct Held<'w> {
    world: &'w World,
    semaphore: usize,
    n: usize,
    permit: Option<AnyPermit<'w>>,
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        if let Some(permit) = self.permit.take() {
            self.world.inside[self.semaphore].fetch_sub(self.n, SeqCst);
            drop(permit);
        }
    }
}

struct Party<'w> {
    world: &'w World,
    me: usize,
    held: RefCell<Vec<Held<'w>>>,
    /// Of each producer, the last item that came here.
    last: RefCell<HashMap<usize, usize>>,
    /// Places of the queue.
    places: Cell<usize>,
}

/// A timeout scope.
struct Scope<'a> {
    handle: &'a TimeoutHandle,
    /// Not before then may it expire.
    deadline: Cell<Option<Instant>>,
    /// It may have expired before it was reset.
    passed: Cell<bool>,
    outer: Option<&'a Scope<'a>>,
}

impl Scope<'_> {
    /// Before a reset.
    fn note(&self) {
        self.passed.set(self.may_be_over());
    }

    /// So many further out, or the outermost.
    fn further_out(&self, out: usize) -> &Scope<'_> {
        match self.outer {
            Some(outer) if out > 0 => outer.further_out(out - 1),
            _ => self,
        }
    }

    fn may_be_over(&self) -> bool {
        let over = self.deadline.get().is_some_and(|at| at <= Instant::now());
        self.passed.get() || over
    }
}

/// A wait that may be over because of its limit.
struct Limited {
    since: Instant,
    limit: Option<Duration>,
}

impl<'w> Party<'w> {
    fn error(&self, text: impl Debug) {
        self.world.error(format!("#{}: {text:?}", self.me));
    }

    fn check(&self, holds: bool, text: &str) {
        if !holds {
            self.error(text);
        }
    }

    fn begin(&self, limit: Option<Ms>) -> Limited {
        Limited {
            since: Instant::now(),
            limit: limit.map(tick),
        }
    }

    /// It has said that its limit is over.
    fn late(&self, wait: &Limited, what: &str) {
        let over = wait.limit.is_some_and(|d| wait.since.elapsed() >= d);
        self.check(over, &format!("{what} is over early"));
    }

    fn receive(&self, token: &Token) {
        self.world.out(token);
        let mut last = self.last.borrow_mut();
        let before = last.insert(token.producer, token.id);
        let in_order = !self.world.fifo || before < Some(token.id);
        self.check(in_order, "an item has overtaken one of its producer");
    }

    fn run(&self, ops: &[Op], scope: Option<&Scope<'_>>) {
        for op in ops {
            match op {
                Op::Timeout(d, body) => self.timeout(*d, body, scope),
                Op::Shield(body) => shield(|| self.shielded(body, scope)),
                Op::Swallow(body) => {
                    let ran = catch_unwind(AssertUnwindSafe(|| self.run(body, scope)));
                    self.world.note(self.me, &ran);
                }
                Op::Reset(d, out) => {
                    if let Some(scope) = scope.map(|s| s.further_out(*out)) {
                        scope.note();
                        scope.deadline.set(Some(Instant::now() + tick(*d)));
                        scope.handle.reset(tick(*d));
                    }
                }
                Op::Cancel(out) => {
                    if let Some(scope) = scope.map(|s| s.further_out(*out)) {
                        scope.note();
                        scope.deadline.set(None);
                        scope.handle.cancel();
                    }
                }
                Op::Reserve(limit, item, body) => self.reserve(*limit, *item, body, scope),
                op => self.simple(op),
            }
            self.check(LOCAL.get() == Some(self.me), "somebody else's local");
        }
    }

    /// Only its own panics come out of a shield.
    fn shielded(&self, body: &[Op], scope: Option<&Scope<'_>>) {
        if let Err(payload) = catch_unwind(AssertUnwindSafe(|| self.run(body, scope))) {
            self.check(payload.is::<Deliberate>(), "a shield has let something in");
            resume_unwind(payload);
        }
    }

    fn timeout(&self, d: Ms, body: &[Op], outer: Option<&Scope<'_>>) {
        let deadline = Cell::new(Some(Instant::now() + tick(d)));
        let may_be_over = Cell::new(false);
        let result = greenlet::Timeout::after(tick(d)).run(|handle| {
            let scope = Scope {
                handle,
                deadline,
                passed: Cell::new(false),
                outer,
            };
            let _end = super::world::Defer(|| may_be_over.set(scope.may_be_over()));
            self.run(body, Some(&scope));
        });
        let fair = result.is_ok() || may_be_over.get();
        self.check(fair, "a scope has expired early");
    }

    fn simple(&self, op: &Op) {
        let world = self.world;
        match *op {
            Op::Sleep(0) => greenlet::yield_now(),
            Op::Sleep(d) => {
                let wait = self.begin(Some(d));
                greenlet::sleep(tick(d));
                self.late(&wait, "sleep");
            }
            Op::Kill(t) => world.kill(t),
            Op::WaitFor(t, d) => {
                let other = world.handle(t).filter(|&(t, _)| t != self.me);
                if let Some((_, handle)) = other {
                    let wait = self.begin(Some(d));
                    match handle.wait_timeout(tick(d)) {
                        true => self.check(handle.is_finished(), "waited for an end that is none"),
                        false => self.late(&wait, "wait_timeout"),
                    }
                }
            }
            Op::Detach(t) => {
                let mut handles = lock(&world.handles);
                let t = t % handles.len();
                let handle = handles[t].take();
                drop(handles);
                drop(handle);
            }
            Op::Panic => {
                world.panicked[self.me].store(true, SeqCst);
                resume_unwind(Box::new(Deliberate));
            }
            Op::EventWait(e, limit) => {
                let wait = self.begin(limit);
                let event = &world.events[e];
                match limit {
                    None => event.wait(),
                    Some(d) if event.wait_timeout(tick(d)) => {}
                    Some(_) => return self.late(&wait, "Event::wait_timeout"),
                }
                self.check(
                    world.sets[e].load(SeqCst) > 0,
                    "an event that was never set",
                );
            }
            Op::EventSet(e) => world.set(e, false),
            Op::EventPulse(e) => world.set(e, true),
            Op::EventClear(e) => world.events[e].clear(),
            Op::ResultWait(r, limit) => {
                let wait = self.begin(limit);
                let result = &world.results[r];
                let got = match limit {
                    None => Some(result.wait()),
                    Some(d) => result.wait_timeout(tick(d)),
                };
                match got {
                    Some(value) => world.see(r, value.copied().map_err(|e| *e)),
                    None => self.late(&wait, "AsyncResult::wait_timeout"),
                }
            }
            Op::ResultGet(r) => {
                if let Some(value) = world.results[r].get_nowait() {
                    world.see(r, value);
                }
            }
            Op::ResultSet(r, ok) => world.set_result(r, ok),
            Op::WaitAny(set, t, limit) => self.wait_any(set, t, limit),
            Op::Put(priority, limit) => self.put(priority, limit),
            Op::Get(limit) => self.get(limit),
            Op::GetMany(max, limit) => self.get_many(max, limit),
            Op::Drain => self.got(queue!(world.queue, q => q.drain())),
            Op::PutMany(n, priority, limit) => self.put_many(n, priority, limit),
            Op::ForcePut(priority) => self.force_put(priority),
            Op::Peek => drop(queue!(world.queue, q => q.peek_nowait())),
            Op::TaskDone => drop(world.task_done()),
            Op::Join(None) => queue!(world.queue, q => q.join()),
            Op::Join(Some(d)) => {
                let wait = self.begin(Some(d));
                if !queue!(world.queue, q => q.join_timeout(tick(d))) {
                    self.late(&wait, "join_timeout");
                }
            }
            Op::Shutdown => world.shut_down(),
            Op::ShutdownNow => {
                for token in world.shut_down_now() {
                    let mut last = self.last.borrow_mut();
                    let before = last.insert(token.producer, token.id);
                    let in_order = !world.fifo || before < Some(token.id);
                    self.check(in_order, "an item that was left has been overtaken");
                }
            }
            Op::Acquire(s, n, limit, owned) => self.acquire(s, n, limit, owned),
            Op::Select(arms) => self.select(arms, false),
            // An item that a future was given and gives back may have been overtaken.
            Op::Poll(arms) if arms.set == 1 << GET => {}
            Op::Poll(arms) => self.select(
                Arms {
                    set: arms.set & !(1 << GET),
                    ..arms
                },
                true,
            ),
            Op::Release(s) => world.release(s),
            Op::Return => {
                let mut held = self.held.borrow_mut();
                let first = (!held.is_empty()).then(|| held.remove(0));
                drop(held);
                drop(first);
            }
            Op::Forget => {
                let mut held = self.held.borrow_mut();
                if !held.is_empty() {
                    let mut first = held.remove(0);
                    world.forgotten[first.semaphore].fetch_add(first.n, SeqCst);
                    match first.permit.take() {
                        Some(AnyPermit::Lent(permit)) => permit.forget(),
                        Some(AnyPermit::Owned(permit)) => permit.forget(),
                        None => {}
                    }
                }
            }
            Op::Timeout(..)
            | Op::Shield(_)
            | Op::Swallow(_)
            | Op::Reset(..)
            | Op::Cancel(_)
            | Op::Reserve(..) => {
                unreachable!("done by `run`")
            }
        }
    }

    fn token(&self, priority: u8, fate: Fate) -> Token {
        let mut ledger = lock(&self.world.ledger);
        ledger.push(Item {
            fate,
            out: 0,
            made: 1,
            dropped: 0,
        });
        Token {
            id: ledger.len() - 1,
            producer: self.me,
            priority,
            ledger: self.world.ledger.clone(),
        }
    }

    fn was_shut_down(&self, what: &str) {
        let shut = self.world.shutdowns.load(SeqCst) > 0;
        self.check(shut, what);
    }

    /// Holds a place while it does what is inside; see the `Simulation`'s.
    fn reserve(&self, limit: Lim, item: Option<u8>, body: &[Op], scope: Option<&Scope<'_>>) {
        if queue!(self.world.queue, q => q.capacity()) == Some(0) {
            return self.run(body, scope);
        }
        queue!(self.world.queue, q => {
            let wait = self.begin(limit.time());
            let slot = match limit {
                Lim::Nowait => q.try_reserve(),
                Lim::For(d) => q.reserve_timeout(tick(d)),
                Lim::Ever => q.reserve(),
            };
            match slot {
                Ok(slot) => {
                    self.places.set(self.places.get() + 1);
                    {
                        let places = &self.places;
                        let _end = super::world::Defer(|| places.set(places.get() - 1));
                        self.run(body, scope);
                    }
                    if let Some(priority) = item {
                        // Also of a queue that is shut down.
                        let token = self.token(priority, Fate::In);
                        slot.put(token);
                    }
                }
                Err(PutError::Full(())) if limit == Lim::Nowait => {}
                Err(PutError::Full(())) => self.late(&wait, "reserve_timeout"),
                Err(PutError::ShutDown(())) => self.was_shut_down("no place in a queue that is not shut down"),
            }
        });
    }

    fn put_many(&self, n: usize, priority: u8, limit: Lim) {
        let priorities = (0..n).map(|i| (priority + i as u8) % 3);
        let tokens: Vec<_> = priorities.map(|p| self.token(p, Fate::Batch)).collect();
        let ids: Vec<_> = tokens.iter().map(|token| token.id).collect();
        let wait = self.begin(limit.time());
        let result = match limit {
            Lim::Nowait => queue!(self.world.queue, q => q.put_many_nowait(tokens)),
            Lim::For(d) => queue!(self.world.queue, q => q.put_many_timeout(tokens, tick(d))),
            Lim::Ever => queue!(self.world.queue, q => q.put_many(tokens)),
        };
        match &result {
            Err(PutError::Full(_)) if limit != Lim::Nowait => self.late(&wait, "put_many_timeout"),
            Err(PutError::ShutDown(_)) => {
                self.was_shut_down("a batch refused by a queue that is not shut down");
            }
            Ok(()) | Err(PutError::Full(_)) => {}
        }
        let back = result.err().map_or(Vec::new(), PutError::into_inner);
        let (put, rest) = ids.split_at(ids.len() - back.len());
        let own = back.iter().map(|token| token.id).eq(rest.iter().copied());
        self.check(own, "another end of a batch came back");
        let mut ledger = lock(&self.world.ledger);
        put.iter().for_each(|&id| ledger[id].fate = Fate::In);
        rest.iter().for_each(|&id| ledger[id].fate = Fate::Back);
        drop(ledger);
    }

    fn force_put(&self, priority: u8) {
        let AnyQueue::Fifo(queue) = &self.world.queue else {
            return;
        };
        let token = self.token(priority, Fate::Offered);
        let id = token.id;
        let (fate, other) = match queue.force_put(token) {
            Ok(displaced) => (Fate::In, displaced),
            Err(PutError::Full(token) | PutError::ShutDown(token)) => {
                self.check(token.id == id, "another item came back");
                (Fate::Back, None)
            }
        };
        // It counts as done.
        other.iter().for_each(|token| self.world.out(token));
        lock(&self.world.ledger)[id].fate = fate;
    }

    /// Who holds a place does not wait for the end of the queue, which would wait for it.
    fn holder(&self, limit: Lim) -> Lim {
        match limit {
            Lim::Ever if self.places.get() > 0 => Lim::For(5),
            limit => limit,
        }
    }

    fn got(&self, tokens: Vec<Token>) {
        tokens.iter().for_each(|token| self.receive(token));
        *lock(&self.world.undone) += tokens.len();
    }

    fn get_many(&self, max: usize, limit: Lim) {
        let limit = self.holder(limit);
        let wait = self.begin(limit.time());
        let result = match limit {
            Lim::Nowait => queue!(self.world.queue, q => q.get_many_nowait(max)),
            Lim::For(d) => queue!(self.world.queue, q => q.get_many_timeout(max, tick(d))),
            Lim::Ever => queue!(self.world.queue, q => q.get_many(max)),
        };
        match result {
            Ok(tokens) => {
                let fits = tokens.len() <= max && (max == 0 || !tokens.is_empty());
                self.check(fits, "a batch of the wrong size");
                self.got(tokens);
            }
            Err(GetError::Empty) if limit == Lim::Nowait => {}
            Err(GetError::Empty) => self.late(&wait, "get_many_timeout"),
            Err(GetError::ShutDown) => {
                self.was_shut_down("the end of a queue that is not shut down")
            }
        }
    }

    fn put(&self, priority: u8, limit: Lim) {
        let world = self.world;
        let token = self.token(priority, Fate::Offered);
        let id = token.id;
        let wait = self.begin(limit.time());
        let result = match limit {
            Lim::Nowait => queue!(world.queue, q => q.put_nowait(token)),
            Lim::For(d) => queue!(world.queue, q => q.put_timeout(token, tick(d))),
            Lim::Ever => queue!(world.queue, q => q.put(token)),
        };
        let (fate, back) = match result {
            Ok(()) => (Fate::In, None),
            Err(PutError::Full(token)) => {
                if limit != Lim::Nowait {
                    self.late(&wait, "put_timeout");
                }
                (Fate::Back, Some(token))
            }
            Err(PutError::ShutDown(token)) => {
                let shut = world.shutdowns.load(SeqCst) > 0;
                self.check(shut, "refused by a queue that is not shut down");
                (Fate::Back, Some(token))
            }
        };
        let own = back.is_none_or(|token| token.id == id);
        self.check(own, "another item came back");
        lock(&world.ledger)[id].fate = fate;
    }

    fn get(&self, limit: Lim) {
        let limit = self.holder(limit);
        let world = self.world;
        let wait = self.begin(limit.time());
        let result = match limit {
            Lim::Nowait => queue!(world.queue, q => q.get_nowait()),
            Lim::For(d) => queue!(world.queue, q => q.get_timeout(tick(d))),
            Lim::Ever => queue!(world.queue, q => q.get()),
        };
        match result {
            Ok(token) => {
                self.receive(&token);
                *lock(&world.undone) += 1;
            }
            Err(GetError::Empty) if limit == Lim::Nowait => {}
            Err(GetError::Empty) => self.late(&wait, "get_timeout"),
            Err(GetError::ShutDown) => {
                let shut = world.shutdowns.load(SeqCst) > 0;
                self.check(shut, "a queue is shut down that is not");
            }
        }
    }

    /// Not for the greenlet's own end.
    fn wait_any(&self, set: u8, t: usize, limit: Option<Ms>) {
        let world = self.world;
        let other = world
            .handle(t)
            .filter(|&(t, _)| t != self.me && set & 16 != 0);
        let mut all: Vec<&dyn Waitable> = Vec::new();
        let mut was_ready: Vec<Box<dyn Fn() -> bool + '_>> = Vec::new();
        for e in (0..2).filter(|e| set & 1 << e != 0) {
            all.push(&world.events[e]);
            was_ready.push(Box::new(move || world.sets[e].load(SeqCst) > 0));
        }
        for r in (0..2).filter(|r| set & 4 << r != 0) {
            all.push(&world.results[r]);
            was_ready.push(Box::new(move || world.results[r].is_ready()));
        }
        if let Some((_, other)) = &other {
            all.push(&**other);
            was_ready.push(Box::new(|| other.is_finished()));
        }
        if all.is_empty() {
            return;
        }
        let wait = self.begin(limit);
        let first = match limit {
            None => Some(wait_any(&all)),
            Some(d) => wait_any_timeout(&all, tick(d)),
        };
        match first {
            Some(index) => self.check(was_ready[index](), "wait_any of what was never ready"),
            None => self.late(&wait, "wait_any_timeout"),
        }
    }

    fn acquire(&self, s: usize, n: usize, limit: Lim, owned: bool) {
        let world = self.world;
        let bound = if s == 0 { usize::MAX } else { world.permits[1] };
        let n = match limit {
            _ if owned => 1,
            Lim::Nowait => 1,
            _ => n.min(bound),
        };
        macro_rules! take {
            ($s:expr) => {
                match (limit, owned, n) {
                    (Lim::Nowait, false, _) => $s.try_acquire().map(AnyPermit::Lent),
                    (Lim::Nowait, true, _) => $s.try_acquire_owned().map(AnyPermit::Owned),
                    (Lim::For(d), true, _) => {
                        $s.acquire_owned_timeout(tick(d)).map(AnyPermit::Owned)
                    }
                    (Lim::For(d), _, 1) => $s.acquire_timeout(tick(d)).map(AnyPermit::Lent),
                    (Lim::For(d), _, n) => $s.acquire_many_timeout(n, tick(d)).map(AnyPermit::Lent),
                    (Lim::Ever, true, _) => Some(AnyPermit::Owned($s.acquire_owned())),
                    (Lim::Ever, _, 1) => Some(AnyPermit::Lent($s.acquire())),
                    (Lim::Ever, _, n) => Some(AnyPermit::Lent($s.acquire_many(n))),
                }
            };
        }
        let wait = self.begin(limit.time());
        let permit = if s == 0 {
            take!(world.plain)
        } else {
            take!(world.bounded)
        };
        let Some(permit) = permit else {
            if limit != Lim::Nowait {
                self.late(&wait, "acquire_timeout");
            }
            return;
        };
        self.holds(s, n, permit);
    }

    fn holds(&self, s: usize, n: usize, permit: AnyPermit<'w>) {
        let world = self.world;
        let inside = world.inside[s].fetch_add(n, SeqCst) + n;
        let most = world.permits[s] + world.releases[s].load(SeqCst);
        self.check(inside <= most, "more permits are out than there are");
        self.held.borrow_mut().push(Held {
            world,
            semaphore: s,
            n,
            permit: Some(permit),
        });
    }

    /// `polled`: as futures, each polled once.
    fn select(&self, arms: Arms, polled: bool) {
        let world = self.world;
        let kinds = arms.kinds();
        let limit = match kinds.contains(&GET) {
            true => self.holder(arms.limit),
            false => arms.limit,
        };
        let n = [arms.n, arms.n.min(world.permits[1])];
        // A put that was given up as a future may have been taken.
        let fate = if polled { Fate::Batch } else { Fate::Offered };
        let mut item = kinds
            .contains(&PUT)
            .then(|| self.token(arms.priority, fate));
        let id = item.as_ref().map(|token| token.id);
        let wait = self.begin(limit.time());
        let chosen = match polled {
            false => {
                let wait = selects::limit(limit, tick);
                queue!(world.queue, q => choose!(q, world, arms, item, n, wait))
            }
            true => queue!(world.queue, q => choose_polled!(q, world, arms, item, n)),
        };
        let put = match chosen {
            None if polled || limit == Lim::Nowait => None,
            None => {
                self.late(&wait, "select");
                None
            }
            Some(Chosen::Get(Ok(token))) => {
                self.receive(&token);
                *lock(&world.undone) += 1;
                None
            }
            Some(Chosen::Get(Err(error))) => {
                self.check(error == GetError::ShutDown, "a select gets nothing");
                self.was_shut_down("the end of a queue that is not shut down");
                None
            }
            Some(Chosen::Put(Ok(()))) => Some(Fate::In),
            Some(Chosen::Put(Err(error))) => {
                let shut_down = matches!(error, PutError::ShutDown(_));
                self.check(shut_down, "a select puts in vain");
                self.was_shut_down("refused by a queue that is not shut down");
                let own = Some(error.into_inner().id) == id;
                self.check(own, "another item came back");
                Some(Fate::Back)
            }
            Some(Chosen::Permits(permit)) => {
                let s = arms.semaphore;
                self.holds(s, n[s], AnyPermit::Lent(permit));
                None
            }
            Some(Chosen::Event(e)) => {
                let set = world.sets[e].load(SeqCst) > 0;
                self.check(set, "a select of an event that was never set");
                None
            }
            Some(Chosen::Result(r)) => {
                let ready = world.results[r].is_ready();
                self.check(ready, "a select of a result that is not there");
                None
            }
        };
        if let Some(id) = id {
            let back = item.map(|token| self.check(token.id == id, "another item is back"));
            let fate = put.or(back.map(|()| Fate::Back));
            if let Some(fate) = fate {
                lock(&world.ledger)[id].fate = fate;
            }
        }
    }
}

impl World {
    /// An assertion that failed is not what a script raises.
    fn note(&self, me: usize, ran: &std::thread::Result<()>) {
        if let Err(payload) = ran {
            let text = payload.downcast_ref::<String>().cloned();
            let text = text.or(payload.downcast_ref::<&str>().map(|s| s.to_string()));
            if let Some(text) = text {
                self.error(format!("#{me} has panicked: {text}"));
            }
        }
    }
}

// ---- from start to end ----

/// Says that a script is over, whether it has run or not.
struct Ender {
    me: usize,
    ended: mpsc::Sender<usize>,
}

impl Drop for Ender {
    fn drop(&mut self) {
        let _ = self.ended.send(self.me);
    }
}

type Body = Box<dyn FnOnce() + Send>;

fn body(world: &Arc<World>, me: usize, delay: Ms, ops: &[Op], ended: &mpsc::Sender<usize>) -> Body {
    let (world, ops) = (world.clone(), ops.to_vec());
    let ended = ended.clone();
    let ender = Ender { me, ended };
    Box::new(move || {
        let _ender = ender;
        LOCAL.set(me);
        world.go.wait();
        if delay > 0 {
            greenlet::sleep(tick(delay));
        }
        let party = Party {
            world: &world,
            me,
            held: RefCell::default(),
            last: RefCell::default(),
            places: Cell::new(0),
        };
        party.run(&ops, None);
    })
}

/// Hubs that are to be ended.
#[derive(Default)]
struct Hubs {
    served: Vec<HubThread>,
    roots: Vec<std::thread::JoinHandle<()>>,
    threads: Vec<(usize, std::thread::JoinHandle<()>)>,
}

/// Starts everybody. All handles are there when it returns.
fn start(world: &Arc<World>, plan: &Plan, places: Places, ended: &mpsc::Sender<usize>) -> Hubs {
    let mut hubs = Hubs::default();
    let scripts = plan.scripts.iter().enumerate();
    let mut bodies: Vec<_> = scripts
        .map(|(me, (delay, ops))| (me, body(world, me, *delay, ops, ended)))
        .collect();
    // At least one is a greenlet.
    let first_thread = bodies.len() - places.threads.min(bodies.len() - 1);
    for (me, body) in bodies.split_off(first_thread) {
        hubs.threads.push((me, std::thread::spawn(body)));
    }
    let mut shares: Vec<Vec<(usize, Body)>> = (0..places.hubs).map(|_| Vec::new()).collect();
    for (i, body) in bodies.into_iter().enumerate() {
        shares[i % places.hubs].push(body);
    }
    let mut shares = shares.into_iter();
    let served = HubThread::start("served").expect("a thread can be had");
    for (me, body) in shares.next().into_iter().flatten() {
        let handle = served.handle().spawn(body);
        lock(&world.handles)[me] = Some(Arc::new(handle));
    }
    hubs.served.push(served);
    let (there, all_there) = mpsc::channel();
    for (i, share) in shares.enumerate() {
        let (world, there) = (world.clone(), there.clone());
        hubs.roots.push(std::thread::spawn(move || {
            let root = || {
                for (me, body) in share {
                    let handle = greenlet::spawn(body);
                    lock(&world.handles)[me] = Some(Arc::new(handle));
                }
                there.send(()).expect("somebody waits for it");
                world.over.wait();
            };
            match i {
                0 => greenlet::run(root),
                _ => root(),
            }
        }));
    }
    for _ in &hubs.roots {
        all_there.recv().expect("a root has spawned its share");
    }
    hubs
}

fn has_shield(ops: &[Op]) -> bool {
    ops.iter().any(|op| match op {
        Op::Shield(_) => true,
        Op::Timeout(_, body) | Op::Swallow(body) | Op::Reserve(_, _, body) => has_shield(body),
        _ => false,
    })
}

/// Lets all go, until they have ended: opens what they wait for, and kills them. False: they do not.
fn conduct(world: &World, plan: &Plan, ended: &mpsc::Receiver<usize>) -> bool {
    let mut left: Vec<usize> = (0..plan.scripts.len()).collect();
    // Until then, or until nobody is left of whom that is so.
    let wait = |left: &mut Vec<usize>, until: Instant, test: &dyn Fn(usize) -> bool| {
        while left.iter().any(|&l| test(l)) {
            let patience = until.saturating_duration_since(Instant::now());
            match ended.recv_timeout(patience) {
                Ok(i) => left.retain(|&l| l != i),
                Err(_) => return,
            }
        }
    };
    let began = Instant::now();
    let mut round = 0;
    while began.elapsed() < HANGS / 2 {
        let patience = Duration::from_millis(if round == 0 { 10 } else { 2 });
        wait(&mut left, Instant::now() + patience, &|_| true);
        if left.is_empty() {
            return true;
        }
        if plan.kill_first && round == 0 {
            // Those whom a kill must end need nothing else. Who is detached meanwhile may have been
            // killed or not.
            (0..plan.scripts.len()).for_each(|t| world.kill(t));
            let mortal = |i: usize| world.handle(i).is_some() && !has_shield(&plan.scripts[i].1);
            wait(&mut left, began + HANGS / 4, &mortal);
            if let Some(i) = left.iter().find(|&&i| mortal(i)) {
                world.error(format!("#{i} was killed and does not end"));
            }
        }
        if plan.kill_first || round > 0 {
            (0..plan.scripts.len()).for_each(|t| world.kill(t));
        }
        if !plan.kill_first || round > 0 {
            for i in 0..2 {
                world.set(i, false);
                world.set_result(i, i == 0);
            }
            drop(world.shut_down_now());
            while world.task_done() {}
            for s in 0..2 {
                for _ in 0..100 {
                    let text = if s == 0 {
                        format!("{:?}", world.plain)
                    } else {
                        format!("{:?}", world.bounded)
                    };
                    if text.contains("waiting: 0") {
                        break;
                    }
                    world.release(s);
                }
            }
        }
        round += 1;
    }
    world.error(format!("{left:?} do not end"));
    false
}

/// How each has ended.
fn check_ends(world: &World, hubs: &mut Hubs) {
    let handles = std::mem::take(&mut *lock(&world.handles));
    for (i, handle) in handles.into_iter().enumerate() {
        let Some(handle) = handle else {
            continue; // a thread, or detached
        };
        if !handle.wait_timeout(HANGS / 4) {
            world.error(format!("#{i} has ended, but its handle does not say so"));
            continue;
        }
        let killed = world.killed[i].load(SeqCst);
        let panicked = world.panicked[i].load(SeqCst);
        let asked_for = match handle.error() {
            None => true,
            Some(error) if error.is_killed() => killed,
            Some(error) => {
                let text = error.to_string();
                panicked && error.is_panic() && text.ends_with("not a message")
            }
        };
        world.check(asked_for, || {
            format!("#{i} ended with {:?}", handle.error())
        });
    }
    for (i, thread) in hubs.threads.drain(..) {
        let ran = thread.join();
        world.note(i, &ran);
        let panicked = world.panicked[i].load(SeqCst);
        world.check(ran.is_ok() || panicked, || {
            format!("thread {i} has panicked")
        });
    }
}

/// What must add up in the end.
fn account(world: &World) {
    for token in queue!(world.queue, q => q.try_iter().collect::<Vec<_>>()) {
        world.out(&token);
        *lock(&world.undone) += 1;
    }
    let undone = *lock(&world.undone);
    let unfinished = queue!(world.queue, q => q.unfinished());
    world.check(undone == unfinished, || {
        format!("{unfinished} are unfinished, {undone} came out and are not done")
    });
    for r in 0..2 {
        let (winner, seen) = (world.winners[r].get(), world.seen[r].get());
        world.check(seen.is_none() || seen == winner, || {
            format!("result {r} was {seen:?}, set was {winner:?}")
        });
        world.check(world.results[r].get_nowait().as_ref() == winner, || {
            format!("result {r} is not {winner:?}")
        });
    }
    let count = |counts: &[AtomicUsize; 2], s: usize| counts[s].load(SeqCst);
    let [plain, bounded] = world.permits;
    let sum = plain + count(&world.releases, 0);
    let there = world.plain.available() + count(&world.forgotten, 0);
    world.check(there == sum, || {
        format!("{there} plain permits, {sum} were there")
    });
    let there = world.bounded.available() + count(&world.forgotten, 1);
    let released = count(&world.releases, 1) - count(&world.refused, 1);
    // A release by somebody who has none: then a return may find the bound reached.
    let adds_up = match released {
        0 => there == bounded,
        n => (bounded..=bounded + n).contains(&there) && world.bounded.available() <= bounded,
    };
    world.check(adds_up, || {
        format!("{there} bounded permits of {bounded}, {released} released")
    });
    let text = world.describe();
    for what in ["waiting: ", "getters: ", "putters: ", "joiners: "] {
        let left = text
            .split(what)
            .skip(1)
            .any(|count| !count.starts_with('0'));
        world.check(!left, || format!("somebody is left in a line: {text}"));
    }
}

fn check_items(ledger: &Ledger, errors: &mut Vec<String>) {
    for (id, item) in lock(ledger).iter().enumerate() {
        let out = match item.fate {
            Fate::In => 1,
            Fate::Batch => item.out.min(1),
            Fate::Offered | Fate::Back => 0,
        };
        if item.out != out || item.made != item.dropped {
            errors.push(format!("item {id}: {item:?}"));
        }
    }
}

fn run(plan: &Plan, places: Places, world: Arc<World>) -> Vec<String> {
    let (ended, ends) = mpsc::channel();
    let mut hubs = start(&world, plan, places, &ended);
    world.go.set();
    if !conduct(&world, plan, &ends) {
        return std::mem::take(&mut lock(&world.errors));
    }
    check_ends(&world, &mut hubs);
    world.over.set();
    for hub in hubs.served {
        hub.stop();
        let ended = hub.join();
        world.check(ended.is_ok(), || "a hub has panicked".to_owned());
    }
    for root in hubs.roots {
        let ended = root.join();
        world.check(ended.is_ok(), || "a root has panicked".to_owned());
    }
    account(&world);
    let mut errors = std::mem::take(&mut *lock(&world.errors));
    let ledger = world.ledger.clone();
    match Arc::try_unwrap(world) {
        Ok(world) => drop(world),
        Err(_) => errors.push("a closure was not dropped".to_owned()),
    }
    check_items(&ledger, &mut errors);
    errors
}

/// Runs the plan. Returns what is wrong.
pub(crate) fn play(plan: &Plan, places: Places) -> Vec<String> {
    let (sender, receiver) = mpsc::channel();
    let world = Arc::new(World::new(plan));
    let weak = Arc::downgrade(&world);
    let owned = plan.clone();
    // Of its own: what hangs is left behind.
    let thread = std::thread::spawn(move || {
        let _ = sender.send(run(&owned, places, world));
    });
    let errors = match receiver.recv_timeout(HANGS) {
        Ok(errors) => errors,
        Err(mpsc::RecvTimeoutError::Timeout) => vec!["it hangs".to_owned()],
        Err(mpsc::RecvTimeoutError::Disconnected) => {
            let payload = thread.join().expect_err("it has sent nothing");
            let text = payload.downcast_ref::<String>().cloned();
            vec![text.unwrap_or_else(|| "the conductor has panicked".to_owned())]
        }
    };
    let left = weak.upgrade().filter(|_| !errors.is_empty());
    errors
        .into_iter()
        .chain(left.map(|world| world.describe()))
        .collect()
}

/// What is wrong, and the program.
pub(crate) fn report(plan: &Plan, places: Places, errors: &[String]) -> String {
    let Places { hubs, threads } = places;
    let report = super::conduct::report(plan, errors);
    format!(
        "on {hubs} hubs and {threads} threads, by the real clock, where ms(d) is {:?} * (d - 1):\n{report}",
        tick(2)
    )
}

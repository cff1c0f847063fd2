//! The stage on which a program is acted again and again, each time with one thing going wrong at one point, and the
//! accounts that must balance afterwards.

use greenlet::sync::{GetError, LifoQueue, PriorityQueue, PutError, Queue};
use greenlet::testing::Simulation;
use greenlet::{Greenlet, JoinError, Timeout, kill_all, now, scope, sleep, spawn, yield_now};
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::rc::Rc;
use std::time::{Duration, Instant};

/// The driver looks at the program so often. Programs wait for whole milliseconds, so every second look falls between.
pub(crate) const TICK: Duration = Duration::from_micros(500);
/// No program lasts longer: it is asserted.
const TICKS: u32 = 60;
/// Rounds in one instant, at most; a program that needs more never gets quiet.
const ROUNDS: u32 = 2000;
/// Free on the virtual clock.
pub(crate) const LONG: Duration = Duration::from_secs(1000);

pub(crate) fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// What goes wrong, for which actor, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Plan {
    /// Nothing: the program must come to its end by itself.
    Nothing,
    /// A kill at that point.
    Kill { who: usize, point: u32 },
    /// A panic at that point: when the operation that the actor is in then, or the next one, has returned.
    Panic { who: usize, point: u32 },
    /// The actor's whole body has a time limit.
    Expire { who: usize, after: Duration },
    /// The body is that of a scope, of which a child panics.
    ScopeFails { who: usize, after: Duration },
    /// The body is a child of a scope, and a sibling panics.
    SiblingFails { who: usize, after: Duration },
    /// The body runs on the root, with a time limit.
    AtRoot { who: usize, after: Duration },
    /// `run` returns at that point.
    RunEnds { point: u32 },
}

/// The payload of the panics that are planned; it passes the panic hook by.
struct Planned;

/// What has happened to an item.
#[derive(Clone, Copy, Debug, Default)]
struct Fate {
    put: bool,
    got: bool,
    left: bool,
    /// Of a batch that was unwound, or in a channel that may end: put, or dropped.
    either: bool,
    dropped: u32,
}

type Check = Box<dyn FnOnce()>;

struct Inner {
    plan: Plan,
    began: Instant,
    actors: RefCell<Vec<Greenlet<()>>>,
    /// The body that the root is to run.
    for_root: Cell<Option<Box<dyn FnOnce()>>>,
    /// Moves whenever an actor begins or ends an operation.
    activity: Cell<u64>,
    panics_now: Cell<Option<usize>>,
    born: Cell<u32>,
    gone: Cell<u32>,
    items: RefCell<BTreeMap<u32, Fate>>,
    checks: RefCell<Vec<Check>>,
    seen: Rc<Seen>,
}

/// What all performances of a program have in common.
#[derive(Default)]
pub(crate) struct Seen {
    /// The operations that wait, by their names.
    operations: RefCell<BTreeSet<&'static str>>,
    /// Those that were unwound, by what kind of plan.
    unwound: RefCell<BTreeSet<(&'static str, &'static str)>>,
    /// An address of each stack that an actor ran on.
    stacks: RefCell<BTreeSet<usize>>,
    performances: Cell<u32>,
    points: Cell<u32>,
}

impl Plan {
    fn kind(self) -> &'static str {
        match self {
            Plan::Nothing => "nothing",
            Plan::Kill { .. } => "kill",
            Plan::Panic { .. } => "panic",
            Plan::Expire { .. } => "expiry",
            Plan::ScopeFails { .. } => "scope",
            Plan::SiblingFails { .. } => "sibling",
            Plan::AtRoot { .. } => "expiry at the root",
            Plan::RunEnds { .. } => "end of run",
        }
    }
}

#[derive(Clone)]
pub(crate) struct Stage(Rc<Inner>);

/// Alive while a body, a guard or a value of the program is; each goes exactly once.
pub(crate) struct Witness(Rc<Inner>);

impl Drop for Witness {
    fn drop(&mut self) {
        self.0.gone.set(self.0.gone.get() + 1);
    }
}

/// An item of a queue, of which the ledger is kept.
pub(crate) struct Item {
    id: u32,
    ledger: Rc<Inner>,
}

impl Drop for Item {
    fn drop(&mut self) {
        self.ledger.fate(self.id, |fate| fate.dropped += 1);
    }
}

impl PartialEq for Item {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}
impl Eq for Item {}
impl PartialOrd for Item {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Item {
    /// Later ones are smaller, so that a priority queue has something to do.
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        other.id.cmp(&self.id)
    }
}

impl Inner {
    fn fate<R>(&self, id: u32, f: impl FnOnce(&mut Fate) -> R) -> R {
        f(self
            .items
            .borrow_mut()
            .get_mut(&id)
            .expect("an item that was made"))
    }

    fn act(&self) {
        self.activity.set(self.activity.get() + 1);
    }
}

impl Stage {
    fn new(plan: Plan, seen: &Rc<Seen>) -> Self {
        Stage(Rc::new(Inner {
            plan,
            began: now(),
            actors: RefCell::default(),
            for_root: Cell::new(None),
            activity: Cell::new(0),
            panics_now: Cell::new(None),
            born: Cell::new(0),
            gone: Cell::new(0),
            items: RefCell::default(),
            checks: RefCell::default(),
            seen: seen.clone(),
        }))
    }

    pub(crate) fn witness(&self) -> Witness {
        self.0.born.set(self.0.born.get() + 1);
        Witness(self.0.clone())
    }

    pub(crate) fn item(&self) -> Item {
        let mut items = self.0.items.borrow_mut();
        let id = items.len() as u32;
        items.insert(id, Fate::default());
        let ledger = self.0.clone();
        Item { id, ledger }
    }

    /// Looks at something when all actors have ended.
    pub(crate) fn afterwards(&self, check: impl FnOnce() + 'static) {
        self.0.checks.borrow_mut().push(Box::new(check));
    }

    /// A greenlet of the program, to which the plan may happen.
    pub(crate) fn actor(&self, body: impl FnOnce(&Actor) + 'static) {
        let who = self.0.actors.borrow().len();
        let actor = Actor {
            stage: self.clone(),
            who,
        };
        let perform = move || actor.perform(body);
        let handle = match self.0.plan {
            Plan::AtRoot { who: at, .. } if at == who => {
                self.0.for_root.set(Some(Box::new(perform)));
                spawn(|| ())
            }
            _ => spawn(perform),
        };
        self.0.actors.borrow_mut().push(handle);
    }

    fn actors(&self) -> usize {
        self.0.actors.borrow().len()
    }

    fn all_ended(&self) -> bool {
        self.0.actors.borrow().iter().all(Greenlet::is_finished)
    }

    /// One point of the performance: what is planned for it happens.
    fn pass(&self, point: u32) {
        match self.0.plan {
            Plan::Kill { who, point: at } if at == point => self.0.actors.borrow()[who].kill(),
            Plan::Panic { who, point: at } if at == point => self.0.panics_now.set(Some(who)),
            _ => {}
        }
    }

    /// All has ended: do the accounts balance?
    fn settle(self) {
        let inner = self.0.clone();
        for (i, actor) in inner.actors.take().into_iter().enumerate() {
            let outcome = actor.join();
            match (&outcome, inner.plan) {
                (Err(JoinError::Panicked { .. }), Plan::Panic { who, .. }) if who == i => {
                    let payload = outcome.unwrap_err().into_panic().unwrap();
                    assert!(
                        payload.is::<Planned>(),
                        "actor {i}: another panic than planned"
                    );
                }
                (Err(error), _) if !error.is_killed() => panic!("actor {i}: {error}"),
                _ => {}
            }
        }
        // Greenlets that the program has left to themselves end by themselves.
        sleep(ms(100));
        inner.checks.take().into_iter().for_each(|check| check());
        drop(self);
        for (id, fate) in inner.items.take() {
            let Fate {
                put,
                got,
                left,
                either,
                dropped,
            } = fate;
            assert!(!(got && left), "item {id} doubled: {fate:?}");
            assert_eq!(
                put && !either,
                (got || left) && !either,
                "item {id} lost, or put by nobody: {fate:?}"
            );
            assert_eq!(dropped, 1, "item {id}: {fate:?}");
        }
        assert_eq!(
            inner.born.get(),
            inner.gone.get(),
            "witnesses born and gone"
        );
        assert_eq!(
            Rc::strong_count(&inner),
            1,
            "somebody still holds something"
        );
    }
}

/// A greenlet of the program.
#[derive(Clone)]
pub(crate) struct Actor {
    pub(crate) stage: Stage,
    who: usize,
}

/// Notes the operation that is unwound.
struct Unwound<'a>(&'a Actor, &'static str);

impl Drop for Unwound<'_> {
    fn drop(&mut self) {
        let plan = self.0.stage.0.plan;
        let mut unwound = self.0.stage.0.seen.unwound.borrow_mut();
        unwound.insert((self.1, plan.kind()));
    }
}

impl Actor {
    fn perform(&self, body: impl FnOnce(&Actor)) {
        let inner = &self.stage.0;
        let here = 0u8;
        if !matches!(inner.plan, Plan::AtRoot { .. } | Plan::RunEnds { .. }) {
            inner
                .seen
                .stacks
                .borrow_mut()
                .insert((&raw const here).addr());
        }
        let _witness = self.stage.witness();
        let failing = |after| {
            let at = inner.began + after;
            move || {
                sleep(at.saturating_duration_since(now()));
                resume_unwind(Box::new(Planned))
            }
        };
        let fails = |in_scope: &dyn Fn()| {
            let Err(payload) = catch_unwind(AssertUnwindSafe(in_scope)) else {
                panic!("the scope has lost its child's panic");
            };
            if !payload.is::<Planned>() {
                resume_unwind(payload);
            }
        };
        let body = Cell::new(Some(body));
        let body = || (body.take().expect("once"))(self);
        match inner.plan {
            Plan::Expire { who, after } | Plan::AtRoot { who, after } if who == self.who => {
                let _ = Timeout::at(inner.began + after).run(|_| body());
            }
            Plan::ScopeFails { who, after } if who == self.who => fails(&|| {
                scope(|s| {
                    s.spawn(failing(after));
                    body();
                });
            }),
            Plan::SiblingFails { who, after } if who == self.who => fails(&|| {
                scope(|s| {
                    s.spawn(body);
                    s.spawn(failing(after));
                });
            }),
            _ => body(),
        }
    }

    /// An operation that waits, somewhere in the program. Each name must be unwound, by kills and by expiries.
    pub(crate) fn waits<R>(&self, operation: &'static str, f: impl FnOnce() -> R) -> R {
        self.stage.0.seen.operations.borrow_mut().insert(operation);
        self.does(operation, f)
    }

    /// An operation that need not be unwound.
    pub(crate) fn does<R>(&self, operation: &'static str, f: impl FnOnce() -> R) -> R {
        let inner = &self.stage.0;
        inner.act();
        let unwound = Unwound(self, operation);
        let result = f();
        std::mem::forget(unwound);
        inner.act();
        if inner.panics_now.get() == Some(self.who) {
            inner.panics_now.set(None);
            resume_unwind(Box::new(Planned));
        }
        result
    }

    pub(crate) fn sleeps(&self, n: u64) {
        self.waits("sleep", || sleep(ms(n)));
    }

    /// Puts an item in, with an account of it.
    pub(crate) fn offer(&self, put: impl FnOnce(Item) -> Result<(), PutError<Item>>) -> bool {
        let item = self.stage.item();
        let id = item.id;
        match put(item) {
            Ok(()) => {
                self.stage.0.fate(id, |fate| fate.put = true);
                true
            }
            Err(error) => {
                let back = error.into_inner();
                assert_eq!(back.id, id, "an item comes back to who put it");
                false
            }
        }
    }

    /// Puts a batch in. If it is unwound, nobody knows how many of it are in.
    pub(crate) fn offer_many(
        &self,
        n: usize,
        put: impl FnOnce(Vec<Item>) -> Result<(), PutError<Vec<Item>>>,
    ) -> usize {
        let inner = &self.stage.0;
        let items: Vec<Item> = (0..n).map(|_| self.stage.item()).collect();
        let ids: Vec<u32> = items.iter().map(|item| item.id).collect();
        ids.iter()
            .for_each(|&id| inner.fate(id, |fate| fate.either = true));
        let back = put(items).err().map_or(Vec::new(), PutError::into_inner);
        let (put, rest) = ids.split_at(n - back.len());
        assert!(
            back.iter().map(|item| item.id).eq(rest.iter().copied()),
            "the end of a batch comes back"
        );
        ids.iter()
            .for_each(|&id| inner.fate(id, |fate| fate.either = false));
        put.iter()
            .for_each(|&id| inner.fate(id, |fate| fate.put = true));
        put.len()
    }

    /// As [`offer`](Actor::offer), to a channel that drops the item if it ends.
    pub(crate) fn entrust(&self, put: impl FnOnce(Item) -> Result<(), PutError<Item>>) -> bool {
        self.offer(|item| {
            self.stage.0.fate(item.id, |fate| fate.either = true);
            put(item)
        })
    }

    /// Takes a batch out.
    pub(crate) fn fetch_many(&self, get: impl FnOnce() -> Result<Vec<Item>, GetError>) -> usize {
        let items = get().unwrap_or_default();
        let n = items.len();
        for item in items {
            self.fetch(|| Ok(item));
        }
        n
    }

    /// Takes an item out, with an account of it.
    pub(crate) fn fetch(&self, get: impl FnOnce() -> Result<Item, GetError>) -> bool {
        let Ok(item) = get() else {
            return false;
        };
        let again = item
            .ledger
            .fate(item.id, |f| std::mem::replace(&mut f.got, true));
        assert!(!again, "item {} is got twice", item.id);
        true
    }

    pub(crate) fn puts(
        &self,
        operation: &'static str,
        put: impl FnOnce(Item) -> Result<(), PutError<Item>>,
    ) -> bool {
        self.waits(operation, || self.offer(put))
    }

    pub(crate) fn gets(
        &self,
        operation: &'static str,
        get: impl FnOnce() -> Result<Item, GetError>,
    ) -> bool {
        self.waits(operation, || self.fetch(get))
    }
}

/// What the three queues have in common.
pub(crate) trait Line: std::fmt::Debug {
    fn put(&self, item: Item) -> Result<(), PutError<Item>>;
    fn put_timeout(&self, item: Item, limit: Duration) -> Result<(), PutError<Item>>;
    fn get(&self) -> Result<Item, GetError>;
    fn get_timeout(&self, limit: Duration) -> Result<Item, GetError>;
    fn get_nowait(&self) -> Result<Item, GetError>;
    fn task_done(&self);
    fn join(&self);
    fn join_timeout(&self, limit: Duration) -> bool;
    fn unfinished(&self) -> usize;
    fn capacity(&self) -> Option<usize>;
    fn len(&self) -> usize;
    fn is_shut_down(&self) -> bool;
}

macro_rules! line {
    ($Queue:ty) => {
        impl Line for $Queue {
            fn put(&self, item: Item) -> Result<(), PutError<Item>> {
                self.put(item)
            }
            fn put_timeout(&self, item: Item, limit: Duration) -> Result<(), PutError<Item>> {
                self.put_timeout(item, limit)
            }
            fn get(&self) -> Result<Item, GetError> {
                self.get()
            }
            fn get_timeout(&self, limit: Duration) -> Result<Item, GetError> {
                self.get_timeout(limit)
            }
            fn get_nowait(&self) -> Result<Item, GetError> {
                self.get_nowait()
            }
            fn task_done(&self) {
                self.task_done();
            }
            fn join(&self) {
                self.join();
            }
            fn join_timeout(&self, limit: Duration) -> bool {
                self.join_timeout(limit)
            }
            fn unfinished(&self) -> usize {
                self.unfinished()
            }
            fn capacity(&self) -> Option<usize> {
                self.capacity()
            }
            fn len(&self) -> usize {
                self.len()
            }
            fn is_shut_down(&self) -> bool {
                self.is_shut_down()
            }
        }
    };
}
line!(Queue<Item>);
line!(greenlet::unsync::Queue<Item>);
line!(LifoQueue<Item>);
line!(greenlet::unsync::LifoQueue<Item>);
line!(PriorityQueue<Item>);
line!(greenlet::unsync::PriorityQueue<Item>);

impl Stage {
    /// Afterwards nobody is in the queue, what is left is in the ledger, and the queue works.
    pub(crate) fn line(&self, queue: Rc<dyn Line>) {
        // Not the stage itself, which would hold its own check.
        let inner = Rc::downgrade(&self.0);
        self.afterwards(move || {
            let text = format!("{queue:?}");
            for list in ["getters: 0", "putters: 0", "joiners: 0"] {
                assert!(text.contains(list), "{text}");
            }
            while let Ok(item) = queue.get_nowait() {
                let again = item
                    .ledger
                    .fate(item.id, |f| std::mem::replace(&mut f.left, true));
                assert!(!again);
            }
            assert_eq!(queue.len(), 0);
            if queue.is_shut_down() {
                assert_eq!(queue.get().err(), Some(GetError::ShutDown));
                return;
            }
            let stage = Stage(inner.upgrade().expect("the stage stands"));
            let trip = |queue: &dyn Line, item: Item| {
                let id = item.id;
                assert!(queue.put(item).is_ok());
                stage.0.fate(id, |fate| fate.put = true);
                id
            };
            let fetch = |queue: &dyn Line, id: u32| {
                let item = queue.get().expect("just put");
                assert_eq!(item.id, id);
                stage.0.fate(id, |fate| fate.got = true);
            };
            while queue.unfinished() > 0 {
                queue.task_done();
            }
            if queue.capacity() == Some(0) {
                // Both ways: with a getter that waits, with a putter that waits.
                let (a, b) = (stage.item(), stage.item());
                let (a_id, b_id) = (a.id, b.id);
                scope(|s| {
                    s.spawn(|| fetch(&*queue, a_id));
                    yield_now();
                    trip(&*queue, a);
                });
                scope(|s| {
                    s.spawn(|| trip(&*queue, b));
                    yield_now();
                    fetch(&*queue, b_id);
                });
            } else {
                for _ in 0..queue.capacity().unwrap_or(3) {
                    let id = trip(&*queue, stage.item());
                    fetch(&*queue, id);
                }
            }
            assert!(
                !queue.join_timeout(Duration::ZERO),
                "its tasks are not done"
            );
            while queue.unfinished() > 0 {
                queue.task_done();
            }
            queue.join();
        });
    }
}

/// What a performance was like.
struct Course {
    points: u32,
    ticks: u32,
}

/// Performs the program on the running simulation, up to its end or that of `run`.
fn act(program: &dyn Fn(&Stage), plan: Plan, seen: &Rc<Seen>) -> (Stage, Course) {
    seen.performances.set(seen.performances.get() + 1);
    let stage = Stage::new(plan, seen);
    program(&stage);
    if let Some(body) = stage.0.for_root.take() {
        // The others first, so that it finds things taken.
        yield_now();
        body();
    }
    let mut course = Course {
        points: 0,
        ticks: 0,
    };
    while !stage.all_ended() && course.ticks < TICKS {
        // Rounds until nothing moves any more in this instant: in one round of the ready queue each greenlet that is
        // ready runs once, and so does this driver.
        let (mut quiet, mut rounds) = (0, 0);
        while quiet < 2 && !stage.all_ended() {
            if (Plan::RunEnds {
                point: course.points,
            }) == plan
            {
                return (stage, course);
            }
            stage.pass(course.points);
            course.points += 1;
            let before = stage.0.activity.get();
            yield_now();
            quiet = match before == stage.0.activity.get() {
                true => quiet + 1,
                false => 0,
            };
            rounds += 1;
            assert!(rounds < ROUNDS, "the program never gets quiet");
        }
        sleep(TICK);
        course.ticks += 1;
    }
    if plan == Plan::Nothing {
        assert!(
            stage.all_ended(),
            "the program does not come to its end by itself"
        );
    }
    (stage, course)
}

/// Performs the program once, on the running simulation, and settles its accounts.
fn perform(program: &dyn Fn(&Stage), plan: Plan, seen: &Rc<Seen>) -> Course {
    let (stage, course) = act(program, plan, seen);
    // Those who wait for somebody who is no more.
    kill_all(stage.0.actors.borrow().iter());
    for actor in stage.0.actors.borrow().iter() {
        assert!(actor.wait_timeout(LONG), "an actor never ends: {actor:?}");
    }
    stage.settle();
    course
}

/// Performs the program in a simulation of its own, whose `run` ends at that point.
fn cut(program: &dyn Fn(&Stage), plan: Plan, seed: Option<u64>, seen: &Rc<Seen>) {
    let (stage, _) = simulation(seed).run(|| act(program, plan, seen));
    assert!(stage.all_ended(), "run has returned before an actor's end");
    // What is checked waits.
    Simulation::new().run(|| stage.settle());
}

fn simulation(seed: Option<u64>) -> Simulation {
    match seed {
        None => Simulation::new(),
        Some(seed) => Simulation::new().seed(seed),
    }
}

/// Takes the outcome of a greenlet that somebody else may have killed.
pub(crate) fn unless_killed<T>(outcome: Result<T, JoinError>) -> Option<T> {
    match outcome {
        Ok(value) => Some(value),
        Err(JoinError::Killed) => None,
        Err(error) => panic!("{error}"),
    }
}

/// How many stacks the addresses belong to: no two frames of one stack are so far apart, and no two stacks so near.
fn stacks(seen: &Seen) -> usize {
    let addresses = seen.stacks.borrow();
    let mut last = None;
    let mut count = 0;
    for &address in addresses.iter() {
        count += usize::from(last.is_none_or(|last| address - last > 128 * 1024));
        last = Some(address);
    }
    count
}

/// The report that a wait for nothing ends with.
fn deadlock() -> String {
    let never = greenlet::sync::Event::new();
    let outcome = catch_unwind(AssertUnwindSafe(|| never.wait()));
    let payload = outcome.expect_err("nobody sets it");
    payload.downcast_ref::<String>().expect("a report").clone()
}

/// Acts the program with everything that can go wrong, at every point, under one schedule.
fn explore_with(program: &dyn Fn(&Stage), seed: Option<u64>, seen: &Rc<Seen>) {
    fn named<R>(seed: Option<u64>, plan: Plan, f: impl FnOnce() -> R) -> R {
        catch_unwind(AssertUnwindSafe(f)).unwrap_or_else(|payload| {
            println!("FAILED under seed {seed:?} with {plan:?}");
            resume_unwind(payload)
        })
    }
    let act = |plan| named(seed, plan, || perform(program, plan, seen));
    let all = || {
        let course = act(Plan::Nothing);
        seen.points.set(seen.points.get() + course.points);
        let actors = {
            let stage = Stage::new(Plan::Nothing, seen);
            program(&stage);
            let actors = stage.actors();
            kill_all(stage.0.actors.borrow().iter());
            stage.settle();
            actors
        };
        let kills = || {
            for who in 0..actors {
                for point in 0..course.points {
                    act(Plan::Kill { who, point });
                }
            }
        };
        kills();
        for who in 0..actors {
            for point in 0..course.points {
                act(Plan::Panic { who, point });
            }
            for tick in 0..=course.ticks {
                let after = TICK * tick;
                act(Plan::Expire { who, after });
                act(Plan::ScopeFails { who, after });
                act(Plan::SiblingFails { who, after });
                act(Plan::AtRoot { who, after });
            }
        }
        act(Plan::Nothing);
        if std::env::var_os("ASAN_OPTIONS").is_some() {
            // It moves locals to a stack of its own, so their addresses say nothing.
            println!("SKIPPED: whether stacks are lost, under AddressSanitizer");
        } else if seed.is_none() {
            // The same again needs no stack that was not there before: none is lost.
            let before = stacks(seen);
            kills();
            assert_eq!(stacks(seen), before, "stacks are lost");
        }
        // A wait that nobody can end: the report names no greenlet, so none is left, and time stands still, so no timer
        // is.
        let before = now();
        let report = deadlock();
        assert_eq!(report.lines().count(), 2, "somebody is left: {report}");
        assert_eq!(now(), before, "a timer is left");
        course.points
    };
    for point in 0..simulation(seed).run(all) {
        let plan = Plan::RunEnds { point };
        named(seed, plan, || cut(program, plan, seed, seen));
    }
}

/// Acts the program under several schedules; then each operation that waits must have been unwound by a kill and by
/// an expiry, somewhere.
#[track_caller]
pub(crate) fn explore(program: impl Fn(&Stage)) -> Rc<Seen> {
    let seen = Rc::new(Seen::default());
    for seed in [None, Some(1), Some(2), Some(3)] {
        explore_with(&program, seed, &seen);
    }
    for &operation in seen.operations.borrow().iter() {
        for kind in [
            "kill",
            "expiry",
            "scope",
            "sibling",
            "expiry at the root",
            "end of run",
        ] {
            let hit = seen.unwound.borrow().contains(&(operation, kind));
            assert!(hit, "no {kind} has ever unwound {operation}");
        }
    }
    println!(
        "{} performances, {} points, waits: {:?}",
        seen.performances.get(),
        seen.points.get(),
        seen.operations.borrow()
    );
    seen
}

/// Runs something on a stage without actors, whose accounts must balance too.
pub(crate) fn alone(f: impl FnOnce(&Stage)) {
    let stage = Stage::new(Plan::Nothing, &Rc::default());
    f(&stage);
    stage.settle();
}

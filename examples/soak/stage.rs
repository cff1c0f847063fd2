//! A round: hubs and threads, the parts that run on them, and those who disturb them.

use crate::ledger::{LEDGER, Op, Watched, agree, end_by_panic, is_intended, off, op, tracked};
use crate::random::Random;
use crate::{families, permits, queues, signals};
use greenlet::sync::{AsyncResult, Event};
use greenlet::{HubHandle, HubThread, current, run, sleep, wait_any_timeout};
use std::collections::BTreeMap;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

/// Locks, for a moment and never across a wait. A kill cannot come there, so it is not
/// poisoned by one.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Something that runs in a round.
pub(crate) struct Part {
    pub(crate) name: &'static str,
    pub(crate) place: Place,
    pub(crate) body: Box<dyn FnOnce() + Send>,
}

/// Where a part may run. Each round ends by itself, so a wake that is lost is a hang. That
/// needs an order: a [`Place::Thread`] waits for nobody in vain, an [`Place::Anywhere`] only
/// for those, and an [`Place::Alone`] perhaps for the ends of both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// As a greenlet of any hub, where it may be killed; at a hub's root; on a plain thread
    /// with others before and after it.
    Anywhere,
    /// The same, but with none after it.
    Alone,
    /// On a hub, as a greenlet.
    Hub,
    /// On a plain thread of its own: the others depend on it, so it must not be killed.
    Thread,
}

impl Part {
    pub(crate) fn new(
        name: &'static str,
        place: Place,
        body: impl FnOnce() + Send + 'static,
    ) -> Self {
        Part {
            name,
            place,
            body: Box::new(body),
        }
    }

    /// As a greenlet: a panic on purpose is the greenlet's end.
    fn run(self) {
        let _running = Running::new(self.name);
        (self.body)();
    }

    /// Where a panic would be the thread's or the root's.
    fn run_caught(self) {
        if let Err(payload) = catch_unwind(AssertUnwindSafe(|| self.run()))
            && !is_intended(&*payload)
        {
            resume_unwind(payload);
        }
    }
}

// ---- what runs, for the watchdog ----

static PHASE: Mutex<String> = Mutex::new(String::new());
static RUNNING: Mutex<BTreeMap<&'static str, usize>> = Mutex::new(BTreeMap::new());

fn phase(name: &str) {
    *lock(&PHASE) = name.to_owned();
}

struct Running(&'static str);

impl Running {
    fn new(name: &'static str) -> Self {
        *lock(&RUNNING).entry(name).or_default() += 1;
        Running(name)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let mut running = lock(&RUNNING);
        let count = running.get_mut(self.0).expect("it was counted");
        *count -= 1;
        if *count == 0 {
            running.remove(self.0);
        }
    }
}

/// The phase, and what runs in it, for a message.
pub(crate) fn where_it_is() -> String {
    format!("{}; running: {:?}", lock(&PHASE), lock(&RUNNING))
}

// ---- threads and hubs ----

/// A thread that can be waited for without holding up this thread's hub.
struct Thread {
    done: Arc<Event>,
    thread: JoinHandle<()>,
}

impl Thread {
    fn start(name: &str, f: impl FnOnce() + Send + 'static) -> io::Result<Self> {
        struct Done(Arc<Event>);
        impl Drop for Done {
            fn drop(&mut self) {
                self.0.set();
            }
        }
        let done = Arc::new(Event::new());
        let at_end = Done(done.clone());
        let thread = std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                let _at_end = at_end;
                f();
            })?;
        Ok(Thread { done, thread })
    }

    fn join(self) {
        self.done.wait();
        if self.thread.join().is_err() {
            off("a thread panicked");
        }
    }
}

/// A thread with a hub, of one of two kinds.
enum Station {
    Served(HubThread),
    /// A thread of our own in `run`, whose root takes part.
    Own {
        stop: Arc<Event>,
        thread: Thread,
    },
}

impl Station {
    fn start(random: &mut Random, at_root: Option<Part>) -> io::Result<(Self, HubHandle)> {
        LEDGER.hubs[0].one();
        if at_root.is_none() && random.percent(50) {
            let thread = HubThread::start("hub")?;
            let handle = thread.handle();
            return Ok((Station::Served(thread), handle));
        }
        let (stop, started) = (Arc::new(Event::new()), Arc::new(AsyncResult::new()));
        let thread = Thread::start("own hub", {
            let (stop, started) = (stop.clone(), started.clone());
            move || {
                run(|| {
                    started.set(HubHandle::current()).expect("set once");
                    if let Some(part) = at_root {
                        part.run_caught();
                    }
                    stop.wait();
                });
            }
        })?;
        let handle = started.wait().expect("no error is set").clone();
        Ok((Station::Own { stop, thread }, handle))
    }

    /// Kills what is left on it, and waits until it has ended.
    fn end(self) {
        match self {
            Station::Served(thread) => {
                thread.stop();
                if thread.join().is_err() {
                    off("a HubThread panicked");
                }
            }
            Station::Own { stop, thread } => {
                stop.set();
                thread.join();
            }
        }
        LEDGER.hubs[1].one();
    }
}

/// What parts may see of the round.
pub(crate) struct Stage {
    /// Where greenlets can be spawned; a hub that ends is replaced in its place.
    slots: Vec<Mutex<HubHandle>>,
    /// The parts that are greenlets.
    roster: Mutex<Vec<Arc<Watched>>>,
}

impl Stage {
    /// Some hub, which may end at any time.
    pub(crate) fn hub(&self, random: &mut Random) -> HubHandle {
        lock(&self.slots[random.among(0..=self.slots.len() - 1)]).clone()
    }

    /// Some part's greenlet.
    fn someone(&self, random: &mut Random) -> Option<Arc<Watched>> {
        let roster = lock(&self.roster);
        let most = roster.len().checked_sub(1)?;
        Some(roster[random.among(0..=most)].clone())
    }
}

/// Spawns on another hub, or on this one; its outcome will be seen.
pub(crate) fn spawn_on(hub: &HubHandle, body: impl FnOnce() + Send + 'static) -> Watched {
    let (entry, body) = tracked(body);
    Watched::new(entry, hub.spawn(body))
}

// ---- a round ----

/// One round, by its seed. All that it begins has ended when it returns.
pub(crate) fn round(seed: u64) -> io::Result<()> {
    let mut random = Random::new(seed);
    LEDGER.rounds.one();
    LEDGER.hubs[0].one();
    let scenes = run(|| on_main_hub(&mut random))?;
    LEDGER.hubs[1].one();
    phase("checking the ledger");
    for check in scenes {
        check();
    }
    LEDGER.check();
    agree("parts that still run", lock(&RUNNING).len(), 0);
    Ok(())
}

type Checks = Vec<Box<dyn FnOnce()>>;

fn on_main_hub(random: &mut Random) -> io::Result<Checks> {
    phase("starting hubs");
    let (mut parts, checks) = plan(random);
    random.shuffle(&mut parts);
    let mut at_roots = take(&mut parts, Place::Anywhere, 1);
    at_roots.extend(take(&mut parts, Place::Alone, 1));
    let mut at_roots = at_roots.into_iter();
    let mut slots = vec![Mutex::new(HubHandle::current())];
    let mut stations = Vec::new();
    for _ in 0..random.among(2..=3) {
        let (station, handle) = Station::start(random, at_roots.next())?;
        stations.push(Some(station));
        slots.push(Mutex::new(handle));
    }
    let stage = Arc::new(Stage {
        slots,
        roster: Mutex::new(Vec::new()),
    });
    parts.extend(at_roots);
    parts.extend(families::storms(random, &stage));
    parts.extend(joiners(random, &stage));

    phase("placing parts");
    let mut threads = Vec::new();
    for part in take(&mut parts, Place::Thread, usize::MAX) {
        threads.push(Thread::start(part.name, || part.run())?);
    }
    for _ in 0..2 {
        let mut some = take(&mut parts, Place::Anywhere, random.among(1..=4));
        some.extend(take(&mut parts, Place::Alone, 1));
        threads.push(Thread::start("plain", || {
            some.into_iter().for_each(Part::run_caught);
        })?);
    }
    for part in parts {
        let watched = spawn_on(&stage.hub(random), || part.run());
        lock(&stage.roster).push(Arc::new(watched));
    }

    phase("running, with kills and hubs that end");
    let killer = Thread::start("killer", {
        let (stage, random) = (stage.clone(), random.fork());
        move || kill_some(&stage, random)
    })?;
    let wrecker = Thread::start("wrecker", {
        let (stage, random) = (stage.clone(), random.fork());
        move || stations_after_wrecks(&stage, stations, random).unwrap_or_else(fail)
    })?;
    killer.join();
    wrecker.join();

    phase("waiting for the parts that are greenlets");
    let roster = std::mem::take(&mut *lock(&stage.roster));
    for watched in &roster {
        watched.handle().wait();
    }
    phase("waiting for the parts on threads");
    for thread in threads {
        thread.join();
    }
    phase("joining");
    for watched in roster {
        match Arc::into_inner(watched) {
            Some(watched) => watched.join(),
            None => off("a greenlet is over and its body still owns something"),
        }
    }
    Ok(checks)
}

/// The parts of all scenes, and what is to be checked after them.
fn plan(random: &mut Random) -> (Vec<Part>, Checks) {
    let (mut parts, mut checks): (_, Checks) = (Vec::new(), Vec::new());
    queues::plan(random, &mut parts, &mut checks);
    permits::plan(random, &mut parts, &mut checks);
    signals::plan(random, &mut parts, &mut checks);
    families::plan(random, &mut parts, &mut checks);
    (parts, checks)
}

/// Takes up to `most` parts of that kind out.
fn take(parts: &mut Vec<Part>, place: Place, most: usize) -> Vec<Part> {
    let (mut taken, mut left) = (Vec::new(), Vec::new());
    for part in parts.drain(..) {
        if part.place == place && taken.len() < most {
            taken.push(part);
        } else {
            left.push(part);
        }
    }
    *parts = left;
    taken
}

fn fail(error: io::Error) {
    off(format_args!("the system refuses a thread: {error}"));
}

/// Kills parts at random moments; a few of them are kills of what is over.
fn kill_some(stage: &Stage, mut random: Random) {
    for _ in 0..random.among(5..=40) {
        sleep(random.moment(1500));
        if let Some(victim) = stage.someone(&mut random) {
            victim.kill();
        }
    }
}

/// Ends hubs and starts new ones in their places; at last ends them all. What is shielded on
/// a hub that ends is waited for.
fn stations_after_wrecks(
    stage: &Stage,
    mut stations: Vec<Option<Station>>,
    mut random: Random,
) -> io::Result<()> {
    for _ in 0..random.among(0..=3) {
        sleep(random.moment(15_000));
        let at = random.among(0..=stations.len() - 1);
        stations[at].take().expect("always put back").end();
        let (station, handle) = Station::start(&mut random, None)?;
        stations[at] = Some(station);
        *lock(&stage.slots[at + 1]) = handle;
    }
    // Half of the rounds let the parts come to their own ends.
    if random.percent(50) {
        let roster = lock(&stage.roster).clone();
        for watched in roster {
            watched.handle().wait();
        }
    }
    for station in stations.into_iter().flatten() {
        station.end();
    }
    Ok(())
}

/// Parts that wait for other parts, from wherever they are.
fn joiners(random: &mut Random, stage: &Arc<Stage>) -> Vec<Part> {
    let joiner = |mut random: Random, stage: Arc<Stage>| {
        move || {
            for _ in 0..random.among(2..=10) {
                let some = [(); 3].map(|()| stage.someone(&mut random));
                let (limit, panics, any) =
                    (random.moment(4000), random.percent(3), random.percent(50));
                // Waiting for oneself is refused.
                let not_me = |other: &Arc<Watched>| other.handle().id() != current().id();
                let some: Vec<_> = some.into_iter().flatten().filter(not_me).collect();
                let waitable = |at: usize| some[at].handle() as &dyn greenlet::Waitable;
                match some.len() {
                    // Nobody is placed yet.
                    0 => sleep(limit),
                    3 if any => {
                        op(Op::AnyAll);
                        let all = [waitable(0), waitable(1), waitable(2)];
                        match wait_any_timeout(&all, limit) {
                            Some(at) if !some[at].handle().is_finished() => {
                                off("wait_any names one that is not finished");
                            }
                            Some(_) => {}
                            None => LEDGER.timeouts.one(),
                        }
                    }
                    _ => {
                        op(Op::Wait);
                        if !some[0].handle().wait_timeout(limit) {
                            LEDGER.timeouts.one();
                        }
                    }
                }
                drop(some);
                if panics {
                    end_by_panic();
                }
            }
        }
    };
    (0..random.among(2..=6))
        .map(|_| {
            Part::new(
                "joiner",
                Place::Anywhere,
                joiner(random.fork(), stage.clone()),
            )
        })
        .collect()
}

//! How a greenlet starts and ends: its job, and what its handle shares with it.
//!
//! The job owns the body and the giving side of the outcome. At the end, on the
//! greenlet's own stack: the locals are dropped, the links run, the outcome is
//! published and those who wait wake, the job's rest is dropped, the scope (if
//! any) counts its child as ended. Whatever panics on the way is contained.

use crate::error::JoinError;
use crate::rt::coroutine::{Job, Order};
use crate::rt::hub::{self, Birth, Hub, Refusal, Spawn};
use crate::rt::inbox::{Inbox, Mail, RemoteSpawn};
use crate::rt::park::{self, Party};
use crate::rt::report::contain;
use crate::rt::stack;
use crate::rt::sync::{Arc, AtomicBool, AtomicUsize, Mutex, MutexGuard, Ordering, lock};
use crate::rt::task::{Legacy, Locals, Name};
use crate::rt::wait::{self, Giver, Taker};
use crate::statistics::Runner;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, Location, catch_unwind};
use std::rc::Rc;
use std::time::Duration;

/// The settings of a new greenlet.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) name: Option<Name>,
    pub(crate) stack_size: usize,
    /// The call that spawns.
    pub(crate) place: &'static Location<'static>,
}

impl Settings {
    /// The defaults, for the caller that spawns.
    #[inline]
    #[track_caller]
    pub(crate) fn here() -> Self {
        Settings::at(Location::caller())
    }

    /// The same for one that spawns in somebody's name.
    #[inline]
    pub(crate) fn at(place: &'static Location<'static>) -> Self {
        Settings {
            name: None,
            stack_size: stack::DEFAULT_SIZE,
            place,
        }
    }
}

/// The sides of a greenlet's outcome.
pub(crate) type OutcomeTaker<T> = Taker<Outcome<T>, Control<T>>;
type OutcomeGiver<T> = Giver<Outcome<T>, Control<T>>;

/// How a greenlet ended.
pub(crate) type Outcome<T> = Result<T, JoinError>;
type Link<T> = Box<dyn FnOnce(&Outcome<T>) + Send>;

/// No index of a record: its hub has not taken the greenlet in yet.
const UNKNOWN: usize = usize::MAX;
/// The same, and it has been killed already.
const KILLED: usize = usize::MAX - 1;

/// What a handle knows of its greenlet besides the outcome.
pub(crate) struct Control<T> {
    pub(crate) id: u64,
    pub(crate) name: Option<Name>,
    hub: Arc<Inbox>,
    /// The record in that hub, once there is one.
    index: AtomicUsize,
    /// A scope's child is being joined, not only waited for.
    joined: AtomicBool,
    /// Locked while the outcome is published, so that a link either is run by
    /// the greenlet or finds the outcome.
    links: Mutex<Vec<Link<T>>>,
}

impl<T> Control<T> {
    pub(crate) fn links(&self) -> MutexGuard<'_, Vec<Link<T>>> {
        // No user code runs under it, so it cannot be half done.
        lock(&self.links)
    }

    /// Its record in its hub, if it has one that this handle knows of.
    pub(crate) fn record(&self) -> Option<usize> {
        Some(self.index.load(Ordering::Relaxed)).filter(|&index| index < KILLED)
    }

    /// See [`Greenlet::kill`](crate::Greenlet::kill).
    pub(crate) fn kill(&self) {
        // Release: pairs with `take_in`, as a letter would with its reader.
        let unknown =
            self.index
                .compare_exchange(UNKNOWN, KILLED, Ordering::Release, Ordering::Relaxed);
        let (index, id) = match unknown {
            // Its hub sees it when it takes the greenlet in.
            Ok(_) | Err(KILLED) => return,
            Err(index) => (index, self.id),
        };
        match Hub::get() {
            // Only the greenlet's own thread touches its record.
            Some(hub) if Arc::ptr_eq(hub.inbox(), &self.hub) => hub.kill(index, id),
            // Refused: the hub has ended, and told those who wait.
            _ => drop(self.hub.send(Mail::Kill { index, id })),
        }
    }

    /// The hub has given it this record; true if it has been killed before.
    fn take_in(&self, index: usize) -> bool {
        self.index.swap(index, Ordering::Acquire) == KILLED
    }

    /// Whether it is, or was, a greenlet of the calling thread's hub.
    pub(crate) fn is_here(&self) -> bool {
        Hub::get().is_some_and(|hub| Arc::ptr_eq(hub.inbox(), &self.hub))
    }

    /// Says that somebody is joining, or no longer. Only on the greenlet's own thread.
    pub(crate) fn set_joined(&self, joined: bool) {
        // Relaxed: one thread.
        self.joined.store(joined, Ordering::Relaxed);
    }

    pub(crate) fn label(&self) -> String {
        match &self.name {
            Some(name) => name.to_string(),
            None => format!("#{}", self.id),
        }
    }
}

/// Told when a greenlet's job is consumed; a scope counts its children so.
pub(crate) trait Watch {
    /// Whether it cares for `ending`.
    const WATCHES: bool = true;
    /// The outcome, before it is published; `joined` says whether a joiner waits.
    fn ending(&self, _failed: Option<&JoinError>, _joined: bool) {}
    /// Everything that the job owned is dropped.
    fn ended(&self, _id: u64) {}
    /// Where the scope was opened that it belongs to.
    fn scope(&self) -> Option<&'static Location<'static>> {
        None
    }
}

impl Watch for () {
    const WATCHES: bool = false;
}

/// A body that has not run, and those who are to be told.
struct Start<F, T, W> {
    body: Cell<Option<F>>,
    giver: Cell<Option<OutcomeGiver<T>>>,
    watch: W,
}

fn drop_locals(locals: Option<&Locals>) {
    while let Some(value) = locals.and_then(Locals::pop) {
        contain(|| drop(value));
    }
}

impl<F: FnOnce() -> T, T, W: Watch> Start<F, T, W> {
    fn new(body: F, giver: OutcomeGiver<T>, watch: W) -> Self {
        Start {
            body: Cell::new(Some(body)),
            giver: Cell::new(Some(giver)),
            watch,
        }
    }

    /// Publishes the outcome: links, joiners, watch, in this order. Never unwinds.
    /// `locals`: those of the greenlet whose end this is, if it has begun; what a
    /// link or the outcome's destructor puts there goes too.
    fn publish(&self, outcome: Outcome<T>, locals: Option<&Locals>) {
        // First, since their destructors may wait, and the thread end meanwhile.
        drop_locals(locals);
        let Some(giver) = self.giver.take() else {
            return;
        };
        if W::WATCHES {
            let joined = giver.extra().joined.load(Ordering::Relaxed);
            self.watch.ending(outcome.as_ref().err(), joined);
        }
        loop {
            let links = {
                let mut links = giver.extra().links();
                if links.is_empty() {
                    // Waking a Simulation from outside panics, here too.
                    contain(|| giver.give(outcome));
                    break;
                }
                std::mem::take(&mut *links)
            };
            // Links may add links.
            for link in links {
                contain(|| park::no_switch(|| link(&outcome)));
            }
        }
        let id = giver.extra().id;
        contain(|| drop(giver));
        drop_locals(locals);
        self.watch.ended(id);
    }

    /// Drops the body unrun and publishes why.
    fn cancel(&self, why: JoinError, locals: Option<&Locals>) {
        let body = self.body.take();
        contain(|| drop(body));
        self.publish(Err(why), locals);
    }
}

impl<F: FnOnce() -> T, T, W: Watch> Job for Start<F, T, W> {
    fn run(&self, order: Order) {
        let party = Party::current();
        let task = party.task();
        match order {
            Order::Run => {
                let body = self.body.take().expect("a job runs once");
                let outcome = catch_unwind(AssertUnwindSafe(body)).map_err(|payload| {
                    // Peeked at, not taken: the thread may end while the body waits.
                    let giver = self.giver.take();
                    let label = || giver.as_ref().map_or(String::new(), |g| g.extra().label());
                    let runner = || Runner {
                        id: giver.as_ref().map_or(0, |g| g.extra().id),
                        name: giver.as_ref().and_then(|g| g.extra().name.clone()),
                        spawned_at: match &party {
                            Party::Hub(_, record) => record.birth().map(|birth| birth.place),
                            Party::Thread(_) => None,
                        },
                    };
                    let error = JoinError::from_unwind(label, runner, payload);
                    self.giver.set(giver);
                    error
                });
                task.end();
                self.publish(outcome, Some(&task.locals));
            }
            Order::Kill => {
                task.end();
                self.cancel(JoinError::Killed, Some(&task.locals));
            }
            Order::NoStack(error) => {
                task.end();
                // On the hub's one spare stack: it must not be left suspended.
                task.forbid_switch();
                self.cancel(JoinError::NoStack(error), Some(&task.locals));
                task.allow_switch();
            }
        }
    }

    fn abandon(&self) {
        self.publish(Err(JoinError::HubClosed), None);
    }
}

/// Spawns on the thread's own hub. The legacy is the spawner's, as [`park::legacy`] makes
/// it, which may panic: before anything is counted.
pub(crate) fn spawn_job<'a, F, T, W>(
    settings: Settings,
    delay: Option<Duration>,
    f: F,
    watch: W,
    legacy: Option<Box<Legacy>>,
    erase: impl FnOnce(Rc<dyn Job + 'a>) -> Rc<dyn Job>,
) -> OutcomeTaker<T>
where
    F: FnOnce() -> T + 'a,
    T: 'a,
    W: Watch + 'a,
{
    if hub::thread_has_ended() {
        // Its locals are being torn down: nothing that is spawned here could run.
        let (giver, taker) = new_pair(&settings, Inbox::new());
        let start = Start::new(f, giver, watch);
        contain(|| drop(legacy));
        start.cancel(JoinError::HubClosed, None);
        return taker;
    }
    let hub = park::hub();
    let (giver, taker) = new_pair(&settings, hub.inbox().clone());
    let birth = Birth {
        place: settings.place,
        parent: hub.current().id(),
        scope: watch.scope(),
        at: hub.turn_began(),
    };
    let job = Rc::new(Start::new(f, giver, watch));
    let spawn = Spawn {
        id: taker.extra().id,
        job: erase(job.clone()),
        name: settings.name,
        stack_size: settings.stack_size,
        birth,
        delay,
    };
    match hub.spawn(spawn) {
        // Relaxed: nobody else has the handle yet.
        Ok(index) => {
            taker.extra().index.store(index, Ordering::Relaxed);
            if let Some(legacy) = legacy {
                hub.bequeath(index, *legacy);
            }
        }
        Err(refusal) => {
            contain(|| drop(legacy));
            job.cancel(refusal.into(), None);
        }
    }
    taker
}

fn new_pair<T>(settings: &Settings, hub: Arc<Inbox>) -> (OutcomeGiver<T>, OutcomeTaker<T>) {
    wait::pair(Control {
        id: hub::next_id(),
        name: settings.name.clone(),
        hub,
        index: AtomicUsize::new(UNKNOWN),
        joined: AtomicBool::new(false),
        links: Mutex::new(Vec::new()),
    })
}

impl From<Refusal> for JoinError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Closing => JoinError::Killed,
            Refusal::NoStack(error) => JoinError::NoStack(error),
        }
    }
}

/// A greenlet on its way to another hub.
struct Parcel<F, T> {
    body: F,
    giver: OutcomeGiver<T>,
    settings: Settings,
    parent: u64,
}

impl<F: FnOnce() -> T + Send + 'static, T: Send + 'static> RemoteSpawn for Parcel<F, T> {
    fn deliver(self: Box<Self>) {
        let (id, name) = (self.giver.extra().id, self.settings.name);
        // The job owns the giver from here on; the handle learns the record now.
        let job = Rc::new(Start::new(self.body, self.giver, ()));
        let hub = park::hub();
        let spawn = Spawn {
            id,
            job: job.clone(),
            name,
            stack_size: self.settings.stack_size,
            birth: Birth {
                place: self.settings.place,
                parent: self.parent,
                scope: None,
                at: hub.turn_began(),
            },
            delay: None,
        };
        match hub.spawn(spawn) {
            Err(refusal) => {
                // Leaked, since this is the hub's loop, where no destructor of the
                // program's may run; with not even one stack to be had there is no
                // better place.
                std::mem::forget(job.body.take());
                job.cancel(refusal.into(), None);
            }
            Ok(index) => {
                let giver = job.giver.take().expect("just put there");
                let killed = giver.extra().take_in(index);
                job.giver.set(Some(giver));
                if killed {
                    hub.kill(index, id);
                }
            }
        }
    }

    fn refuse(self: Box<Self>) {
        let job = Start::new(self.body, self.giver, ());
        job.cancel(JoinError::HubClosed, None);
    }
}

/// Spawns on the hub of that inbox, from wherever.
pub(crate) fn spawn_on<F, T>(inbox: &Arc<Inbox>, settings: Settings, f: F) -> OutcomeTaker<T>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    let (giver, taker) = new_pair(&settings, inbox.clone());
    let parcel = Box::new(Parcel {
        body: f,
        giver,
        settings,
        parent: Hub::get().map_or(0, |hub| hub.current().id()),
    });
    if Hub::get().is_some_and(|hub| Arc::ptr_eq(hub.inbox(), inbox)) {
        parcel.deliver();
    } else if let Err(Mail::Spawn(parcel)) = inbox.send(Mail::Spawn(parcel)) {
        parcel.refuse();
    }
    taker
}

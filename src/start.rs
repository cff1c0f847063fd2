//! How a greenlet starts and ends: its job, and what its handle shares with it.
//!
//! The job owns the body and the giving side of the outcome. At the end, on the
//! greenlet's own stack: the locals are dropped, the links run, the outcome is
//! published and those who wait wake, the job's rest is dropped, the scope (if
//! any) counts its child as ended. Whatever panics on the way is contained.

use crate::error::JoinError;
use crate::rt::coroutine::Order;
use crate::rt::hub::{self, About, Birth, Hub, Job, JobSlot, Refusal, Seed, Spawn};
use crate::rt::inbox::{Inbox, Mail, RemoteSpawn};
use crate::rt::park::{self, Party};
use crate::rt::report::contain;
use crate::rt::stack;
use crate::rt::sync::{Arc, AtomicBool, AtomicU32, Ordering};
use crate::rt::task::{Legacy, Locals, Name};
use crate::rt::wait::{self, Giver, Taker, Work};
use crate::statistics::Runner;
use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, Location, catch_unwind};
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

/// The sides of a greenlet's outcome. The links are under the lock of its latch: a link either
/// is run by the greenlet or finds the outcome.
pub(crate) type OutcomeTaker<T> = Taker<Outcome<T>, Links<T>, Control>;
type OutcomeGiver<F, T, W> = Giver<Outcome<T>, Links<T>, Control, Start<F, W>>;

/// How a greenlet ended.
pub(crate) type Outcome<T> = Result<T, JoinError>;
pub(crate) type Link<T> = Box<dyn FnOnce(&Outcome<T>) + Send>;
/// There are none for most, so this is but one word.
#[allow(clippy::box_collection)]
pub(crate) type Links<T> = Option<Box<Vec<Link<T>>>>;

/// No index: the hub has not taken the greenlet in yet.
const UNKNOWN: u32 = hub::MAX_INDEX + 1;
/// The same, and it has been killed already.
const KILLED: u32 = hub::MAX_INDEX + 2;

/// What a handle needs to reach its greenlet.
pub(crate) struct Control {
    hub: Arc<Inbox>,
    /// Where it is in that hub's table.
    index: AtomicU32,
    /// A scope's child is being joined, not only waited for.
    joined: AtomicBool,
}

impl Control {
    /// Where it is in its hub's table, if this handle knows.
    pub(crate) fn index(&self) -> Option<usize> {
        let index = self.index.load(Ordering::Relaxed);
        (index <= hub::MAX_INDEX).then_some(index as usize)
    }

    /// Kills the greenlet `id`, whose this is. See [`Greenlet::kill`](crate::Greenlet::kill).
    pub(crate) fn kill(&self, id: u64) {
        // Release: pairs with `take_in`, as a letter would with its reader.
        let unknown =
            self.index
                .compare_exchange(UNKNOWN, KILLED, Ordering::Release, Ordering::Relaxed);
        let index = match unknown {
            // Its hub sees it when it takes the greenlet in.
            Ok(_) | Err(KILLED) => return,
            Err(index) => index as usize,
        };
        match Hub::get() {
            // Only the greenlet's own thread touches what its hub has of it.
            Some(hub) if Arc::ptr_eq(hub.inbox(), &self.hub) => hub.kill(index, id),
            // Refused: the hub has ended, and told those who wait.
            _ => drop(self.hub.send(Mail::Kill { index, id })),
        }
    }

    /// The hub has given it this place; true if it has been killed before.
    fn take_in(&self, index: usize) -> bool {
        self.index.swap(index as u32, Ordering::Acquire) == KILLED
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

/// What only the greenlet has: a body that has not run, and who is told of its end.
struct Start<F, W> {
    body: Cell<Option<F>>,
    watch: Cell<Option<W>>,
}

#[inline]
fn drop_locals(locals: Option<&Locals>) {
    if let Some(locals) = locals.filter(|locals| !locals.is_empty()) {
        drop_all(locals);
    }
}

#[cold]
fn drop_all(locals: &Locals) {
    while let Some(value) = locals.pop() {
        contain(|| drop(value));
    }
}

/// Publishes the outcome: links, joiners, watch, in this order. Never unwinds.
/// `begun`: the locals of the greenlet whose end this is, and its slot, if it has begun; what a
/// link or the outcome's destructor puts among the locals goes too.
fn publish<F, T, W: Watch>(
    giver: OutcomeGiver<F, T, W>,
    mut outcome: Outcome<T>,
    begun: Option<(&Locals, &JobSlot)>,
) {
    let locals = begun.map(|(locals, _)| locals);
    // First, since their destructors may wait, and the thread end meanwhile.
    drop_locals(locals);
    // From here on the end of the thread is too late to tell anybody.
    if let Some((_, slot)) = begun {
        slot.take();
    }
    let watch = giver.own().watch.take();
    if W::WATCHES
        && let Some(watch) = &watch
    {
        let joined = giver.extra().joined.load(Ordering::Relaxed);
        watch.ending(outcome.as_ref().err(), joined);
    }
    // Links may add links.
    loop {
        let mut links: Links<T> = None;
        let mut given = Ok(());
        // Waking a Simulation from outside panics, here too.
        contain(|| {
            given = giver.latch().set_if(outcome, |added| {
                links = added.take();
                links.is_none()
            });
        });
        let Err(back) = given else { break };
        outcome = back;
        for link in *links.expect("or the outcome would be given") {
            contain(|| park::no_switch(|| link(&outcome)));
        }
    }
    let id = giver.about().id;
    contain(|| drop(giver));
    drop_locals(locals);
    if let Some(watch) = watch {
        watch.ended(id);
    }
}

/// Drops the body unrun and publishes why.
fn cancel<F, T, W: Watch>(
    giver: OutcomeGiver<F, T, W>,
    why: JoinError,
    begun: Option<(&Locals, &JobSlot)>,
) {
    let body = giver.own().body.take();
    contain(|| drop(body));
    publish(giver, Err(why), begun);
}

impl<F: FnOnce() -> T, T, W: Watch> Work<Outcome<T>, Links<T>, Control> for Start<F, W> {
    fn run(giver: OutcomeGiver<F, T, W>, order: Order, slot: &JobSlot) {
        let party = Party::current();
        let task = party.task();
        let begun = Some((&task.locals, slot));
        match order {
            Order::Run => {
                let body = giver.own().body.take().expect("a job runs once");
                let outcome = catch_unwind(AssertUnwindSafe(body))
                    .map_err(|payload| failure(giver.about(), payload));
                task.end();
                publish(giver, outcome, begun);
            }
            Order::Kill => {
                task.end();
                cancel(giver, JoinError::Killed, begun);
            }
            Order::NoStack(error) => {
                task.end();
                // On the hub's one spare stack: it must not be left suspended.
                task.forbid_switch();
                cancel(giver, JoinError::NoStack(error), begun);
                task.allow_switch();
            }
        }
    }

    fn abandon(giver: OutcomeGiver<F, T, W>) {
        // Leaked: no destructor of the program's may run at the end of a thread.
        std::mem::forget(giver.own().body.take());
        publish(giver, Err(JoinError::HubClosed), None);
    }
}

/// What is told of a body that was unwound, in its greenlet.
#[cold]
fn failure(about: &About, payload: Box<dyn Any + Send>) -> JoinError {
    let runner = || Runner {
        id: about.id,
        name: about.name.clone(),
        spawned_at: match Party::current() {
            Party::Hub(_, record) => record.birth().map(|birth| birth.place),
            Party::Thread(_) => None,
        },
    };
    JoinError::from_unwind(|| about.label(), runner, payload)
}

/// Spawns on the thread's own hub. The legacy is the spawner's, as [`park::legacy`] makes
/// it, which may panic: before anything is counted.
pub(crate) fn spawn_job<'a, F, T, W>(
    settings: Settings,
    delay: Option<Duration>,
    f: F,
    watch: W,
    legacy: Option<Box<Legacy>>,
    erase: impl FnOnce(Job<'a>) -> Job<'static>,
) -> OutcomeTaker<T>
where
    F: FnOnce() -> T + 'a,
    T: 'a,
    W: Watch + 'a,
{
    let hub = match Hub::get() {
        Some(hub) => hub,
        None if hub::thread_has_ended() => {
            // Its locals are being torn down: nothing that is spawned here could run.
            let (giver, taker) = new_pair(settings, Inbox::new(), f, watch);
            contain(|| drop(legacy));
            cancel(giver, JoinError::HubClosed, None);
            return taker;
        }
        None => park::hub(),
    };
    let (place, scope) = (settings.place, watch.scope());
    let (giver, taker) = new_pair(settings, hub.inbox().clone(), f, watch);
    let index = match hub.admit() {
        Ok(index) => index,
        Err(refusal) => {
            contain(|| drop(legacy));
            cancel(giver, refusal.into(), None);
            return taker;
        }
    };
    // Relaxed: nobody else has the handle yet.
    taker.extra().index.store(index as u32, Ordering::Relaxed);
    let birth = Birth {
        place,
        parent: hub.current().id(),
        scope,
        at: hub.turn_began(),
    };
    let spawn = Spawn {
        job: erase(giver.into_job()),
        birth,
        delay,
        legacy,
    };
    hub.spawn(index, spawn);
    taker
}

fn new_pair<F: FnOnce() -> T, T, W: Watch>(
    settings: Settings,
    hub: Arc<Inbox>,
    body: F,
    watch: W,
) -> (OutcomeGiver<F, T, W>, OutcomeTaker<T>) {
    let about = About {
        id: hub::next_id(),
        name: settings.name,
    };
    let control = Control {
        hub,
        index: AtomicU32::new(UNKNOWN),
        joined: AtomicBool::new(false),
    };
    let start = Start {
        body: Cell::new(Some(body)),
        watch: Cell::new(Some(watch)),
    };
    wait::pair(Seed::new(about, settings.stack_size), control, start)
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
    giver: OutcomeGiver<F, T, ()>,
    place: &'static Location<'static>,
    parent: u64,
}

impl<F: FnOnce() -> T + Send + 'static, T: Send + 'static> RemoteSpawn for Parcel<F, T> {
    fn deliver(self: Box<Self>) {
        let hub = park::hub();
        match hub.admit() {
            Ok(index) => self.start(hub, index),
            Err(refusal) => {
                // Leaked, since this is the hub's loop, where no destructor of the
                // program's may run; with not even one stack to be had there is no
                // better place.
                std::mem::forget(self.giver.own().body.take());
                publish(self.giver, Err(refusal.into()), None);
            }
        }
    }

    fn refuse(self: Box<Self>) {
        cancel(self.giver, JoinError::HubClosed, None);
    }
}

impl<F: FnOnce() -> T + Send + 'static, T: Send + 'static> Parcel<F, T> {
    /// On the hub that it was sent to, which has admitted it.
    fn start(self, hub: &'static Hub, index: usize) {
        let Parcel {
            giver,
            place,
            parent,
        } = self;
        let id = giver.about().id;
        let killed = giver.extra().take_in(index);
        let spawn = Spawn {
            job: giver.into_job(),
            birth: Birth {
                place,
                parent,
                scope: None,
                at: hub.turn_began(),
            },
            delay: None,
            legacy: None,
        };
        hub.spawn(index, spawn);
        if killed {
            hub.kill(index, id);
        }
    }
}

/// Spawns on the hub of that inbox, from wherever.
pub(crate) fn spawn_on<F, T>(inbox: &Arc<Inbox>, settings: Settings, f: F) -> OutcomeTaker<T>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    let place = settings.place;
    let (giver, taker) = new_pair(settings, inbox.clone(), f, ());
    let own = Hub::get();
    let parcel = Parcel {
        giver,
        place,
        parent: own.map_or(0, |hub| hub.current().id()),
    };
    if let Some(hub) = own.filter(|hub| Arc::ptr_eq(hub.inbox(), inbox)) {
        match hub.admit() {
            Ok(index) => parcel.start(hub, index),
            Err(refusal) => cancel(parcel.giver, refusal.into(), None),
        }
    } else if let Err(Mail::Spawn(parcel)) = inbox.send(Mail::Spawn(Box::new(parcel))) {
        parcel.refuse();
    }
    taker
}

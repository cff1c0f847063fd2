//! Greenlets: spawn, join, kill, and what the running one can do.

use crate::error::JoinError;
use crate::rt::clock::Limit;
use crate::rt::coroutine::{Job, Order};
use crate::rt::hub::{self, Hub, Spawn};
use crate::rt::inbox::{Inbox, Mail, RemoteSpawn};
use crate::rt::park::{self, Party};
use crate::rt::stack;
use crate::rt::sync::Arc;
use crate::rt::task::Name;
use crate::rt::wait::{self, Giver, Latch, Source, Taker};
use std::cell::Cell;
use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, RefUnwindSafe, UnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// How a greenlet ended.
pub(crate) type Outcome<T> = Result<T, JoinError>;
type Link<T> = Box<dyn FnOnce(&Outcome<T>) + Send>;

const UNKNOWN: usize = usize::MAX;

/// What a handle knows of its greenlet besides the outcome.
pub(crate) struct Control<T> {
    id: u64,
    name: Option<Name>,
    hub: Arc<Inbox>,
    /// The record in that hub, once there is one.
    index: AtomicUsize,
    /// Locked while the outcome is published, so that a link either is run by
    /// the greenlet or finds the outcome.
    links: Mutex<Vec<Link<T>>>,
}

impl<T> Control<T> {
    fn links(&self) -> MutexGuard<'_, Vec<Link<T>>> {
        // No user code runs under it, so it cannot be half done.
        self.links.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn label(&self) -> String {
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
    fn ended(&self) {}
}

impl Watch for () {
    const WATCHES: bool = false;
}

/// A body that has not run, and those who are to be told.
struct Start<F, T, W> {
    body: Cell<Option<F>>,
    giver: Cell<Option<Giver<Outcome<T>, Control<T>>>>,
    watch: W,
}

/// Runs `f`, whose panic concerns nobody: the hook has reported it, and its
/// payload may panic in turn when it is dropped.
fn contain(f: impl FnOnce()) {
    if let Err(payload) = catch_unwind(AssertUnwindSafe(f)) {
        discard(payload);
    }
}

/// Drops a panic's payload, whose destructor may panic.
pub(crate) fn discard(payload: Box<dyn std::any::Any + Send>) {
    let dropped = catch_unwind(AssertUnwindSafe(|| drop(payload)));
    // One such is an accident; the next one is leaked.
    dropped.unwrap_or_else(std::mem::forget);
}

impl<F: FnOnce() -> T, T, W: Watch> Start<F, T, W> {
    /// Publishes the outcome: links, joiners, watch, in this order. Never unwinds.
    fn publish(&self, outcome: Outcome<T>) {
        let Some(giver) = self.giver.take() else {
            return;
        };
        if W::WATCHES {
            let joined = giver.latch().waiting() > 0;
            self.watch.ending(outcome.as_ref().err(), joined);
        }
        let party = Party::current();
        loop {
            let links = {
                let mut links = giver.extra().links();
                if links.is_empty() {
                    giver.give(outcome);
                    break;
                }
                std::mem::take(&mut *links)
            };
            // Links may add links.
            party.task().forbid_switch();
            for link in links {
                contain(|| link(&outcome));
            }
            party.task().allow_switch();
        }
        contain(|| drop(giver));
        self.watch.ended();
    }

    /// Drops the body unrun and publishes why.
    fn cancel(&self, why: JoinError) {
        let body = self.body.take();
        contain(|| drop(body));
        self.publish(Err(why));
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
                    let error = JoinError::from_unwind(label, payload);
                    self.giver.set(giver);
                    error
                });
                task.end();
                while let Some(value) = task.locals.pop() {
                    contain(|| drop(value));
                }
                self.publish(outcome);
            }
            Order::Kill => {
                task.end();
                self.cancel(JoinError::Killed);
            }
            Order::NoStack(error) => {
                task.end();
                // On the hub's one spare stack: it must not be left suspended.
                task.forbid_switch();
                self.cancel(JoinError::NoStack(error));
                task.allow_switch();
            }
        }
    }

    fn abandon(&self) {
        self.publish(Err(JoinError::HubClosed));
    }
}

/// Spawns on the thread's own hub.
pub(crate) fn spawn_job<'a, F, T, W>(
    settings: Builder,
    delay: Option<Duration>,
    f: F,
    watch: W,
    erase: impl FnOnce(Rc<dyn Job + 'a>) -> Rc<dyn Job>,
) -> Greenlet<T>
where
    F: FnOnce() -> T + 'a,
    T: 'a,
    W: Watch + 'a,
{
    let hub = park::hub();
    let (giver, greenlet) = new_pair(&settings, hub.inbox().clone());
    let job = Rc::new(Start {
        body: Cell::new(Some(f)),
        giver: Cell::new(Some(giver)),
        watch,
    });
    let spawn = Spawn {
        id: greenlet.id(),
        job: erase(job.clone()),
        name: settings.name,
        stack_size: settings.stack_size,
        delay,
    };
    match hub.spawn(spawn) {
        Ok(index) => greenlet.control().index.store(index, Ordering::Relaxed),
        Err(_) => job.cancel(JoinError::Killed),
    }
    greenlet
}

fn new_pair<T>(
    settings: &Builder,
    hub: Arc<Inbox>,
) -> (Giver<Outcome<T>, Control<T>>, Greenlet<T>) {
    let (giver, taker) = wait::pair(Control {
        id: hub::next_id(),
        name: settings.name.clone(),
        hub,
        index: AtomicUsize::new(UNKNOWN),
        links: Mutex::new(Vec::new()),
    });
    (giver, Greenlet { taker })
}

/// A greenlet on its way to another hub.
struct Parcel<F, T> {
    body: F,
    giver: Giver<Outcome<T>, Control<T>>,
    settings: Builder,
}

impl<F: FnOnce() -> T + Send + 'static, T: Send + 'static> RemoteSpawn for Parcel<F, T> {
    fn deliver(self: Box<Self>) {
        let (id, name) = (self.giver.extra().id, self.settings.name);
        // The job owns the giver from here on; the handle learns the record now.
        let job = Rc::new(Start {
            body: Cell::new(Some(self.body)),
            giver: Cell::new(Some(self.giver)),
            watch: (),
        });
        let spawn = Spawn {
            id,
            job: job.clone(),
            name,
            stack_size: self.settings.stack_size,
            delay: None,
        };
        match park::hub().spawn(spawn) {
            Err(_) => job.cancel(JoinError::HubClosed),
            Ok(index) => {
                let giver = job.giver.take().expect("just put there");
                giver.extra().index.store(index, Ordering::Relaxed);
                job.giver.set(Some(giver));
            }
        }
    }

    fn refuse(self: Box<Self>) {
        let job = Start {
            body: Cell::new(Some(self.body)),
            giver: Cell::new(Some(self.giver)),
            watch: (),
        };
        job.cancel(JoinError::HubClosed);
    }
}

/// Spawns on the hub of that inbox, from wherever.
pub(crate) fn spawn_on<F, T>(inbox: &Arc<Inbox>, settings: Builder, f: F) -> Greenlet<T>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    let (giver, greenlet) = new_pair(&settings, inbox.clone());
    let parcel = Box::new(Parcel {
        body: f,
        giver,
        settings,
    });
    if Hub::get().is_some_and(|hub| Arc::ptr_eq(hub.inbox(), inbox)) {
        parcel.deliver();
    } else if let Err(Mail::Spawn(parcel)) = inbox.send(Mail::Spawn(parcel)) {
        parcel.refuse();
    }
    greenlet
}

/// Starts a greenlet on this thread's hub and returns its handle.
///
/// The closure runs on a stack of its own when its turn comes, after all that
/// are ready now; `spawn` itself does not switch. It may own things that are not
/// `Send`: a greenlet never leaves its thread. Dropping the handle detaches it.
///
/// The first call on a thread makes the thread's hub. Greenlets run while the
/// thread's own stack (the root) or another greenlet waits in this crate.
///
/// # Panics
///
/// If the very first stack of the hub cannot be had.
///
/// # Examples
///
/// ```
/// let shared = std::rc::Rc::new(std::cell::Cell::new(1));
/// let g = greenlet::spawn({
///     let shared = shared.clone();
///     move || shared.set(shared.get() + 1)
/// });
/// g.join().unwrap();
/// assert_eq!(shared.get(), 2);
/// ```
pub fn spawn<F, T>(f: F) -> Greenlet<T>
where
    F: FnOnce() -> T + 'static,
    T: 'static,
{
    spawn_job(Builder::new(), None, f, (), |job| job)
}

/// Starts a greenlet after a delay. A kill before that ends it at once, unrun.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
///
/// let g = greenlet::spawn_later(Duration::from_millis(2), || 7);
/// assert_eq!(g.join().unwrap(), 7);
/// ```
pub fn spawn_later<F, T>(delay: Duration, f: F) -> Greenlet<T>
where
    F: FnOnce() -> T + 'static,
    T: 'static,
{
    spawn_job(Builder::new(), Some(delay), f, (), |job| job)
}

/// Settings of a greenlet: its name and the size of its stack.
///
/// # Examples
///
/// ```
/// let g = greenlet::Builder::new()
///     .name("parser")
///     .stack_size(1 << 20)
///     .spawn(|| greenlet::current().name().map(str::to_owned))
///     .unwrap();
/// assert_eq!(g.join().unwrap().as_deref(), Some("parser"));
/// ```
#[derive(Clone, Debug)]
pub struct Builder {
    name: Option<Name>,
    stack_size: usize,
}

impl Default for Builder {
    fn default() -> Self {
        Builder::new()
    }
}

impl Builder {
    /// No name, a stack of 256 KiB.
    ///
    /// # Examples
    ///
    /// ```
    /// assert_eq!(greenlet::Builder::new().spawn(|| 1).unwrap().join().unwrap(), 1);
    /// ```
    pub fn new() -> Self {
        Builder {
            name: None,
            stack_size: stack::DEFAULT_SIZE,
        }
    }

    /// The name that panics, reports and [`current`] show.
    ///
    /// # Examples
    ///
    /// ```
    /// let g = greenlet::Builder::new().name("a").spawn(|| ()).unwrap();
    /// assert_eq!(g.name(), Some("a"));
    /// ```
    #[must_use = "a Builder does nothing until it spawns"]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into().into());
        self
    }

    /// The usable size of the stack in bytes, at least 32 KiB (32,768).
    ///
    /// # Examples
    ///
    /// ```
    /// let small = greenlet::Builder::new().stack_size(32 * 1024);
    /// assert!(small.spawn(|| ()).is_ok());
    /// assert!(greenlet::Builder::new().stack_size(100).spawn(|| ()).is_err());
    /// ```
    #[must_use = "a Builder does nothing until it spawns"]
    pub fn stack_size(mut self, bytes: usize) -> Self {
        self.stack_size = bytes;
        self
    }

    /// As [`spawn`], with these settings.
    ///
    /// # Errors
    ///
    /// `InvalidInput` if the stack size is below the minimum or exceeds the
    /// address space. A stack that turns out not to be had at the first turn is
    /// [`JoinError::NoStack`] for the joiners instead.
    ///
    /// # Examples
    ///
    /// ```
    /// assert_eq!(greenlet::Builder::new().spawn(|| 1).unwrap().join().unwrap(), 1);
    /// ```
    pub fn spawn<F, T>(self, f: F) -> io::Result<Greenlet<T>>
    where
        F: FnOnce() -> T + 'static,
        T: 'static,
    {
        self.check()?;
        Ok(spawn_job(self, None, f, (), |job| job))
    }

    pub(crate) fn check(&self) -> io::Result<()> {
        stack::check_size(self.stack_size)
    }
}

/// A handle to a greenlet: waits for it, asks it to end, takes its outcome.
///
/// Dropping the handle detaches the greenlet: it runs on, and its outcome is
/// dropped. The handle may go to other threads if `T` may.
///
/// # Examples
///
/// ```
/// let g = greenlet::spawn(|| 6 * 7);
/// assert!(g.is_started() && !g.is_finished());
/// assert_eq!(g.join().unwrap(), 42);
/// ```
pub struct Greenlet<T> {
    taker: Taker<Outcome<T>, Control<T>>,
}

impl<T> UnwindSafe for Greenlet<T> {}
impl<T> RefUnwindSafe for Greenlet<T> {}

impl<T> Greenlet<T> {
    fn control(&self) -> &Control<T> {
        self.taker.extra()
    }

    #[inline(always)]
    fn latch(&self) -> &Latch<Outcome<T>> {
        self.taker.latch()
    }

    pub(crate) fn source(&self) -> &dyn Source {
        self.latch().source()
    }

    /// Waits for the end and takes the outcome.
    ///
    /// # Errors
    ///
    /// What [`JoinError`] lists: a panic, a kill, no stack, or a hub that ended.
    ///
    /// # Panics
    ///
    /// If a greenlet joins itself, which could never end.
    ///
    /// # Examples
    ///
    /// ```
    /// assert_eq!(greenlet::spawn(|| 1).join().unwrap(), 1);
    /// let error = greenlet::spawn(|| panic!("oops")).join().unwrap_err();
    /// assert!(error.to_string().ends_with("panicked: oops"));
    /// ```
    #[inline(always)]
    #[track_caller]
    pub fn join(self) -> Result<T, JoinError> {
        self.wait_at("Greenlet::join");
        self.taken()
    }

    /// Record and id, if it has a record.
    pub(crate) fn member(&self) -> Option<(usize, u64)> {
        let index = self.control().index.load(Ordering::Relaxed);
        (index != UNKNOWN).then_some((index, self.control().id))
    }

    pub(crate) fn taken(self) -> Outcome<T> {
        self.taker.take().expect("waited for")
    }

    #[inline(always)]
    #[track_caller]
    pub(crate) fn wait_at(&self, operation: &'static str) {
        self.refuse_self();
        self.latch().wait(operation, Limit::Never);
    }

    #[track_caller]
    fn refuse_self(&self) {
        if let Party::Hub(hub, record) = Party::current()
            && record.id() == self.control().id
            && !hub.is_root(record)
        {
            panic!("greenlet '{}' would wait for its own end", self.control().label());
        }
    }

    /// Waits for the end; the outcome stays in the handle.
    ///
    /// # Timeouts and kills
    ///
    /// Either ends the wait, not the greenlet that is waited for.
    ///
    /// # Panics
    ///
    /// If a greenlet waits for itself.
    ///
    /// # Examples
    ///
    /// ```
    /// let g = greenlet::spawn(|| "done");
    /// g.wait();
    /// assert_eq!(g.value(), Some(&"done"));
    /// ```
    #[inline(always)]
    #[track_caller]
    pub fn wait(&self) {
        self.wait_at("Greenlet::wait");
    }

    /// Waits for the end for at most `limit`; true if it has ended.
    ///
    /// # Panics
    ///
    /// If a greenlet waits for itself.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let g = greenlet::spawn(|| greenlet::sleep(Duration::from_secs(9)));
    /// assert!(!g.wait_timeout(Duration::from_millis(1)));
    /// # g.kill();
    /// ```
    #[inline(always)]
    #[track_caller]
    #[must_use = "whether the greenlet has ended"]
    pub fn wait_timeout(&self, limit: Duration) -> bool {
        self.refuse_self();
        self.latch().wait("Greenlet::wait_timeout", Limit::After(limit))
    }

    /// Asks the greenlet to end and returns at once; [`wait`](Greenlet::wait)
    /// for it if you need the end.
    ///
    /// Its stack is unwound from the wait it is in, or at its next wait, so that
    /// its destructors run; [`join`](Greenlet::join) then says
    /// [`JoinError::Killed`]. Before its first turn, its closure is dropped
    /// unrun. If the closure returns first, its value stands. A wake that it was
    /// given already is taken first. A kill that the code swallows
    /// (`catch_unwind`) is raised again at the next wait. Killing twice, or after
    /// the end, does nothing. A greenlet may kill itself: it ends at its next
    /// wait.
    ///
    /// # Panics
    ///
    /// In a build with `panic = "abort"`, if the greenlet has started.
    ///
    /// # Examples
    ///
    /// ```
    /// let g = greenlet::spawn(|| greenlet::sync::Event::new().wait());
    /// greenlet::yield_now();
    /// g.kill();
    /// assert!(g.join().unwrap_err().is_killed());
    /// ```
    pub fn kill(&self) {
        if self.is_finished() {
            return;
        }
        let control = self.control();
        let index = Some(control.index.load(Ordering::Relaxed)).filter(|&i| i != UNKNOWN);
        match Hub::get() {
            // Only the greenlet's own thread touches its record.
            Some(hub) if index.is_some() && Arc::ptr_eq(hub.inbox(), &control.hub) => {
                hub.kill(index, control.id);
            }
            _ => {
                let id = control.id;
                // Refused: the hub has ended, and told those who wait.
                let _ = control.hub.send(Mail::Kill { index, id });
            }
        }
    }

    /// A number that no other greenlet of the process has had.
    ///
    /// # Examples
    ///
    /// ```
    /// let g = greenlet::spawn(|| greenlet::current().id());
    /// let id = g.id();
    /// assert_eq!(g.join().unwrap(), id);
    /// ```
    pub fn id(&self) -> u64 {
        self.control().id
    }

    /// The name given to its [`Builder`].
    ///
    /// # Examples
    ///
    /// ```
    /// assert_eq!(greenlet::spawn(|| ()).name(), None);
    /// ```
    pub fn name(&self) -> Option<&str> {
        self.control().name.as_deref()
    }

    /// True from the spawn until the end, as in gevent.
    ///
    /// # Examples
    ///
    /// ```
    /// let g = greenlet::spawn(|| ());
    /// assert!(g.is_started());
    /// g.wait();
    /// assert!(!g.is_started());
    /// ```
    pub fn is_started(&self) -> bool {
        !self.is_finished()
    }

    /// True once it has ended, however.
    ///
    /// # Examples
    ///
    /// ```
    /// let g = greenlet::spawn(|| ());
    /// assert!(!g.is_finished());
    /// g.wait();
    /// assert!(g.is_finished());
    /// ```
    pub fn is_finished(&self) -> bool {
        self.latch().get().is_some()
    }

    /// True once it has ended with a value.
    ///
    /// # Examples
    ///
    /// ```
    /// let g = greenlet::spawn(|| ());
    /// g.kill();
    /// g.wait();
    /// assert!(!g.is_successful());
    /// ```
    pub fn is_successful(&self) -> bool {
        self.value().is_some()
    }

    /// Its value, once it has ended with one.
    ///
    /// # Examples
    ///
    /// ```
    /// let g = greenlet::spawn(|| 5);
    /// assert_eq!(g.value(), None);
    /// g.wait();
    /// assert_eq!(g.value(), Some(&5));
    /// ```
    pub fn value(&self) -> Option<&T> {
        self.latch().get()?.as_ref().ok()
    }

    /// Why it has no value, once it has ended without one.
    ///
    /// # Examples
    ///
    /// ```
    /// let g = greenlet::spawn(|| panic!("oops"));
    /// g.wait();
    /// assert!(g.error().unwrap().is_panic());
    /// ```
    pub fn error(&self) -> Option<&JoinError> {
        self.latch().get()?.as_ref().err()
    }

    /// Calls `f` with the outcome when the greenlet ends: on the ended greenlet's
    /// stack, in the order of linking, after its locals are dropped and before
    /// those who wait for it wake. On a finished greenlet, at once, in the caller.
    ///
    /// `f` must not wait (that panics, as in [`no_switch`](crate::no_switch)); its
    /// panic is caught and does not stop the others.
    ///
    /// # Examples
    ///
    /// ```
    /// use greenlet::sync::AsyncResult;
    /// use std::sync::Arc;
    ///
    /// let forwarded = Arc::new(AsyncResult::new());
    /// let g = greenlet::spawn(|| 7);
    /// g.link({
    ///     let forwarded = forwarded.clone();
    ///     move |outcome| { forwarded.set(*outcome.as_ref().unwrap()).unwrap(); }
    /// });
    /// assert_eq!(*forwarded.wait().unwrap(), 7);
    /// ```
    pub fn link(&self, f: impl FnOnce(&Result<T, JoinError>) + Send + 'static) {
        let mut links = self.control().links();
        match self.latch().get() {
            None => links.push(Box::new(f)),
            Some(outcome) => {
                drop(links);
                crate::scope::no_switch(|| contain(|| f(outcome)));
            }
        }
    }
}

impl<T> fmt::Debug for Greenlet<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.latch().get() {
            None => "unfinished",
            Some(Ok(_)) => "successful",
            Some(Err(JoinError::Killed)) => "killed",
            Some(Err(_)) => "failed",
        };
        f.debug_struct("Greenlet")
            .field("id", &self.id())
            .field("name", &self.name())
            .field("state", &state)
            .field("waiting", &self.latch().waiting())
            .finish()
    }
}

/// Joins all, in the order given, and returns their outcomes in that order.
///
/// # Examples
///
/// ```
/// let all = (0..3).map(|i| greenlet::spawn(move || i * i));
/// let squares: Vec<i32> = greenlet::join_all(all).into_iter().map(Result::unwrap).collect();
/// assert_eq!(squares, [0, 1, 4]);
/// ```
#[track_caller]
pub fn join_all<T>(handles: impl IntoIterator<Item = Greenlet<T>>) -> Vec<Result<T, JoinError>> {
    // All are spawned (by a lazy iterator) before the first is waited for.
    let handles: Vec<_> = handles.into_iter().collect();
    let mut outcomes = Vec::with_capacity(handles.len());
    for handle in handles {
        handle.wait_at("join_all");
        outcomes.push(handle.taken());
    }
    outcomes
}

/// Asks all to end, as [`Greenlet::kill`], and returns at once.
///
/// # Examples
///
/// ```
/// let all: Vec<_> = (0..3).map(|_| greenlet::spawn(|| ())).collect();
/// greenlet::kill_all(&all);
/// assert!(greenlet::join_all(all).iter().all(Result::is_err));
/// ```
pub fn kill_all<'a, T: 'a>(handles: impl IntoIterator<Item = &'a Greenlet<T>>) {
    for handle in handles {
        handle.kill();
    }
}

/// Who runs: see [`current`].
///
/// # Examples
///
/// ```
/// assert!(!greenlet::current().is_greenlet());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Current {
    id: u64,
    name: Option<Name>,
}

impl Current {
    /// The running greenlet's number; 0 for a thread's own stack.
    ///
    /// # Examples
    ///
    /// ```
    /// assert_eq!(greenlet::current().id(), 0);
    /// ```
    pub fn id(&self) -> u64 {
        self.id
    }

    /// The running greenlet's name, if it was given one.
    ///
    /// # Examples
    ///
    /// ```
    /// assert_eq!(greenlet::current().name(), None);
    /// ```
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// False on a thread's own stack.
    ///
    /// # Examples
    ///
    /// ```
    /// assert!(greenlet::spawn(|| greenlet::current().is_greenlet()).join().unwrap());
    /// ```
    pub fn is_greenlet(&self) -> bool {
        self.id != 0
    }
}

/// Says who runs.
///
/// # Examples
///
/// ```
/// let g = greenlet::Builder::new().name("me").spawn(greenlet::current).unwrap();
/// assert_eq!(g.join().unwrap().name(), Some("me"));
/// ```
pub fn current() -> Current {
    match Party::current() {
        Party::Hub(_, record) => Current {
            id: record.id(),
            name: record.name(),
        },
        Party::Thread(_) => Current { id: 0, name: None },
    }
}

/// Waits for at least `duration`; never less, and later by what others take.
///
/// Zero is [`yield_now`]. A duration too long to be added to the clock means for
/// ever. On a thread without a hub it is the thread that sleeps.
///
/// # Timeouts and kills
///
/// Either ends the sleep by unwinding. While panicking the thread sleeps.
///
/// # Examples
///
/// ```
/// let order = std::rc::Rc::new(std::cell::RefCell::new(vec![]));
/// let sleepers = [20, 10].map(|ms| {
///     let order = order.clone();
///     greenlet::spawn(move || {
///         greenlet::sleep(std::time::Duration::from_millis(ms));
///         order.borrow_mut().push(ms);
///     })
/// });
/// greenlet::join_all(sleepers);
/// assert_eq!(*order.borrow(), [10, 20]);
/// ```
#[inline(always)]
#[track_caller]
pub fn sleep(duration: Duration) {
    if duration.is_zero() {
        wait::yield_now("sleep");
    } else if let wait::End::Refused(_) = wait::sleep("sleep", Limit::After(duration)) {
        std::thread::sleep(duration);
    }
}

/// Goes to the end of the ready queue: all that are ready now run first.
///
/// If nobody else is ready it returns at once, but for one trip through the loop
/// every 256 calls, so that timers and other threads are served. Raises a pending
/// kill or expiry. Without a hub it is the thread that yields.
///
/// # Examples
///
/// ```
/// let g = greenlet::spawn(|| 1);
/// greenlet::yield_now();
/// assert!(g.is_finished());
/// ```
#[inline(always)]
#[track_caller]
pub fn yield_now() {
    wait::yield_now("yield_now");
}

/// For long computations: raises a pending kill or expiry, and yields if this
/// turn's share (256 resumes) is spent. Cheap otherwise.
///
/// # Examples
///
/// ```
/// let mut sum = 0u64;
/// for i in 0..1000 {
///     sum += i;
///     greenlet::checkpoint();
/// }
/// assert_eq!(sum, 499_500);
/// ```
#[inline]
#[track_caller]
pub fn checkpoint() {
    if std::thread::panicking() {
        return;
    }
    let party = Party::current();
    if let Some(unwind) = party.due() {
        unwind.raise();
    }
    if let Party::Hub(hub, _) = party
        && hub.checkpoint_yields()
    {
        yield_now();
    }
}

/// The time, as this thread's timers see it: virtual in a
/// [`Simulation`](crate::testing::Simulation).
///
/// # Examples
///
/// ```
/// let before = greenlet::now();
/// assert!(greenlet::now() >= before);
/// ```
pub fn now() -> Instant {
    Party::current().now()
}

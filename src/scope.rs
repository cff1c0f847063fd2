//! Closures that bound what runs inside them: scope, run, shield, finally, no_switch.
//!
//! The waits at the end of [`scope`] and [`run`] come after `catch_unwind`, never
//! in a destructor. The first may be cut short by a kill, an expiry or a
//! deadlock; the children are killed then, and the second wait cannot be.

use crate::error::JoinError;
use crate::greenlet::{Builder, Greenlet};
use crate::join::{self, Joinable, sealed::Key};
use crate::rt::clock::Limit;
use crate::rt::coroutine::{self, Unwind};
use crate::rt::hub::{self, Hub};
use crate::rt::park::{self, Party};
use crate::rt::report::{AbortOnUnwind, contain, discard, report};
use crate::rt::sync::{panicking, thread_lazy};
use crate::rt::task::{FrameState, Site};
use crate::rt::wait::{self, Interruption, Monitor, State, WaitList, Waiters};
use crate::start::Watch;
use std::any::Any;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::ops::Deref;
use std::panic::{
    AssertUnwindSafe, Location, RefUnwindSafe, UnwindSafe, catch_unwind, resume_unwind,
};
use std::rc::Rc;

#[cfg(all(unix, feature = "net"))]
mod apart;

/// What a scope and its children share.
struct Family {
    /// Who opened the scope, as the hub finds it: index and id.
    owner: (usize, u64),
    frame: u64,
    /// Where it was opened.
    place: &'static Location<'static>,
    children: Monitor<Children>,
    /// Ids and indices of the children that are alive, in order of spawning, for
    /// killing them.
    members: RefCell<BTreeMap<u64, usize>>,
    failure: Cell<Option<Box<dyn Any + Send>>>,
    /// The body is over and the family is being ended: no need to raise.
    closing: Cell<bool>,
}

/// The number of children whose job is not consumed, and the scope's own wait.
struct Children {
    running: usize,
    waiters: WaitList<()>,
}

impl State for Children {
    fn check(&self) {
        assert!(self.waiters.is_empty() || self.running > 0);
    }
}

impl Waiters<()> for Children {
    fn waiters(&mut self) -> &mut WaitList<()> {
        &mut self.waiters
    }
}

impl Family {
    fn hub(&self) -> &'static Hub {
        Hub::get().expect("a scope's hub lives at least as long as the scope")
    }

    fn kill_children(&self) {
        for (id, index) in self.members.borrow().clone() {
            self.hub().kill(index, id);
        }
    }

    #[track_caller]
    fn wait_for_children(&self, site: Site) -> Result<(), Interruption> {
        self.children
            .wait_quietly(&site, |state| state.running == 0)
    }
}

/// Counts a child, and passes its panic on.
struct Child(Rc<Family>);

impl Watch for Child {
    fn ending(&self, failed: Option<&JoinError>, joined: bool) {
        // What somebody joins is theirs.
        if let Some(error) = failed.filter(|_| !joined) {
            self.0.fail(error);
        }
    }

    fn ended(&self, id: u64) {
        let family = &self.0;
        family.members.borrow_mut().remove(&id);
        family.children.broadcast::<()>(|state| {
            state.running -= 1;
            state.running == 0
        });
    }

    fn scope(&self) -> Option<&'static Location<'static>> {
        Some(self.0.place)
    }
}

impl Family {
    /// A child has failed, and nobody takes it: the scope ends.
    fn fail(&self, error: &JoinError) {
        let Some(payload) = error.take_payload() else {
            return;
        };
        // Only the first comes out.
        if self.failure_is_set() {
            return discard(payload);
        }
        self.failure.set(Some(payload));
        self.kill_children();
        if !self.closing.get() {
            self.hub().fire_frame_of(self.owner, self.frame);
        }
    }

    fn failure_is_set(&self) -> bool {
        let failure = self.failure.take();
        let set = failure.is_some();
        self.failure.set(failure);
        set
    }
}

/// Spawns greenlets that may borrow from the frame that called [`scope`].
///
/// # Examples
///
/// See [`scope`].
pub struct Scope<'scope, 'env: 'scope> {
    family: Rc<Family>,
    // Invariant in both, as std's, so that neither can be shortened or stretched.
    scope: PhantomData<&'scope mut &'scope ()>,
    env: PhantomData<&'env mut &'env ()>,
}

impl UnwindSafe for Scope<'_, '_> {}
impl RefUnwindSafe for Scope<'_, '_> {}

impl<'scope> Scope<'scope, '_> {
    /// Starts a greenlet that may borrow what outlives the scope.
    ///
    /// # Examples
    ///
    /// ```
    /// let words = vec!["a", "bc"];
    /// let total = greenlet::scope(|s| {
    ///     let lengths: Vec<_> = words.iter().map(|w| s.spawn(|| w.len())).collect();
    ///     lengths.into_iter().map(|g| g.join().unwrap()).sum::<usize>()
    /// });
    /// assert_eq!(total, 3);
    /// ```
    #[track_caller]
    pub fn spawn<F, T>(&'scope self, f: F) -> ScopedGreenlet<'scope, T>
    where
        F: FnOnce() -> T + 'scope,
        T: 'scope,
    {
        self.spawn_with(Builder::new(), f)
            .expect("the defaults are valid")
    }

    /// As [`spawn`](Scope::spawn), with a name and a stack size.
    ///
    /// # Errors
    ///
    /// As [`Builder::spawn`].
    ///
    /// # Examples
    ///
    /// ```
    /// greenlet::scope(|s| {
    ///     let child = greenlet::Builder::new().name("child");
    ///     assert_eq!(s.spawn_with(child, || 1).unwrap().name(), Some("child"));
    /// });
    /// ```
    #[track_caller]
    pub fn spawn_with<F, T>(
        &'scope self,
        settings: Builder,
        f: F,
    ) -> io::Result<ScopedGreenlet<'scope, T>>
    where
        F: FnOnce() -> T + 'scope,
        T: 'scope,
    {
        self.spawn_watched(settings.here(), f, Child(self.family.clone()))
    }

    fn spawn_watched<F, T, W>(
        &'scope self,
        settings: Builder,
        f: F,
        watch: W,
    ) -> io::Result<ScopedGreenlet<'scope, T>>
    where
        F: FnOnce() -> T + 'scope,
        T: 'scope,
        W: Watch + 'scope,
    {
        let settings = settings.checked()?;
        // First, since it may panic.
        let legacy = park::legacy();
        self.family.children.lock().parts().0.running += 1;
        let handle = Greenlet::start(settings, None, f, watch, legacy, coroutine::erase);
        if let Some((index, id)) = handle.member() {
            self.family.members.borrow_mut().insert(id, index);
            if self.family.closing.get() || self.family.failure_is_set() {
                handle.kill();
            }
        }
        Ok(ScopedGreenlet {
            handle,
            frame: self.family.frame,
            scope: PhantomData,
        })
    }
}

impl fmt::Debug for Scope<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let running = self.family.children.lock().parts().0.running;
        f.debug_struct("Scope").field("running", &running).finish()
    }
}

/// A [`Greenlet`] handle that cannot leave its scope. It has all of a handle's
/// methods.
///
/// # Examples
///
/// ```
/// greenlet::scope(|s| {
///     let g = s.spawn(|| 1);
///     g.wait();
///     assert_eq!(g.value(), Some(&1));
/// });
/// ```
pub struct ScopedGreenlet<'scope, T> {
    handle: Greenlet<T>,
    /// The scope's, by which [`FAMILIES`] finds it.
    frame: u64,
    scope: PhantomData<&'scope mut &'scope ()>,
}

thread_lazy! {
    /// The open scopes of the thread by their frames. A handle may be sent to
    /// another thread, so it cannot hold its scope itself.
    static FAMILIES: RefCell<BTreeMap<u64, Rc<Family>>> = const { RefCell::new(BTreeMap::new()) };
}

/// The thread's open scope with that frame, if it is still open.
fn family(frame: u64) -> Option<Rc<Family>> {
    let found = FAMILIES.try_with(|all| all.borrow().get(&frame).cloned());
    found.ok().flatten()
}

impl<T> UnwindSafe for ScopedGreenlet<'_, T> {}
impl<T> RefUnwindSafe for ScopedGreenlet<'_, T> {}

impl<T> ScopedGreenlet<'_, T> {
    /// As [`Greenlet::join`]. A child that fails while a greenlet of its hub joins
    /// it is the joiner's; the scope does not raise it, unless the join is cut
    /// short. [`wait`](Greenlet::wait) and [`wait_any`](crate::wait_any) do not
    /// count as joining.
    ///
    /// # Errors
    ///
    /// As [`Greenlet::join`].
    ///
    /// # Examples
    ///
    /// ```
    /// greenlet::scope(|s| assert_eq!(s.spawn(|| 1).join().unwrap(), 1));
    /// ```
    #[inline(always)]
    #[track_caller]
    pub fn join(self) -> Result<T, JoinError> {
        join::wait_for(std::slice::from_ref(&self), "ScopedGreenlet::join");
        self.handle.taken()
    }
}

impl<T> Joinable for ScopedGreenlet<'_, T> {}
impl<T> join::sealed::Sealed for ScopedGreenlet<'_, T> {
    type Output = T;

    fn greenlet(&self, _: Key) -> &Greenlet<T> {
        &self.handle
    }

    fn into_greenlet(self, _: Key) -> Greenlet<T> {
        self.handle
    }

    fn begin_join(&self, _: Key) {
        if self.handle.control().is_here() {
            self.handle.control().set_joined(true);
        }
    }

    fn abort_join(&self, _: Key) {
        if !self.handle.control().is_here() {
            return;
        }
        self.handle.control().set_joined(false);
        // It may have failed after the joiner's wait was ended, in the belief
        // that the joiner takes it.
        if let (Some(error), Some(family)) = (self.handle.error(), family(self.frame)) {
            family.fail(error);
        }
    }
}

impl<T> Deref for ScopedGreenlet<'_, T> {
    type Target = Greenlet<T>;

    fn deref(&self) -> &Greenlet<T> {
        &self.handle
    }
}

impl<T> fmt::Debug for ScopedGreenlet<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.handle.fmt(f)
    }
}

/// Runs `f` with a [`Scope`] whose greenlets may borrow from the caller's frame,
/// as `std::thread::scope`, and returns when all of them have ended.
///
/// If `f` returns, its children are awaited. If it unwinds, they are killed and
/// awaited. The first child that panics while nobody joins it kills its siblings,
/// interrupts the body at its next wait, and its panic comes out of `scope`. A child
/// that could have no stack counts as one that panicked, with the error's text.
///
/// # Timeouts and kills
///
/// A kill or an expiry in the body or in the wait at the end kills the children,
/// waits for them, and then goes on. If a child never ends, nor does `scope`.
///
/// # Panics
///
/// With a child's panic; where a wait is not allowed (see [`no_switch`]). Aborts if
/// called while panicking.
///
/// # Examples
///
/// ```
/// let mut counts = [0; 3];
/// greenlet::scope(|s| {
///     for (i, count) in counts.iter_mut().enumerate() {
///         s.spawn(move || *count = i * 10);
///     }
/// });
/// assert_eq!(counts, [0, 10, 20]);
/// ```
#[track_caller]
pub fn scope<'env, F, R>(f: F) -> R
where
    F: for<'scope> FnOnce(&'scope Scope<'scope, 'env>) -> R,
{
    let site = Site::here("scope");
    if panicking() {
        park::abort_panicking(&site);
    }
    // Such a hub has nobody else to end it.
    let late = hub::thread_has_ended();
    let hub = park::hub();
    let party = Party::current();
    assert!(
        party.task().may_switch(),
        "scope() where no wait is allowed: it waits for its greenlets"
    );
    let frame = park::open_frame(false, Limit::Never);
    let scope = Scope {
        family: Rc::new(Family {
            owner: hub.address_of(hub.current()),
            frame,
            place: site.place,
            children: Monitor::new(
                0,
                Children {
                    running: 0,
                    waiters: WaitList::new(),
                },
            ),
            members: RefCell::new(BTreeMap::new()),
            failure: Cell::new(None),
            closing: Cell::new(false),
        }),
        scope: PhantomData,
        env: PhantomData,
    };
    let family = &scope.family;
    let _ = FAMILIES.try_with(|all| all.borrow_mut().insert(frame, family.clone()));
    let result = catch_unwind(AssertUnwindSafe(|| f(&scope)));
    // An unwind from here would leave children alive that borrow what it drops.
    let bomb = AbortOnUnwind::machinery();
    // A wait that may be cut short, but only if the body has not been already.
    let cut = match result {
        Ok(_) => family.wait_for_children(site).err(),
        Err(_) => None,
    };
    family.closing.set(true);
    if result.is_err() || cut.is_some() {
        family.kill_children();
    }
    wait_masked(site, || family.wait_for_children(site));
    std::mem::forget(bomb);
    let _ = FAMILIES.try_with(|all| all.borrow_mut().remove(&frame));
    // The frame closes on whatever task this is by now the frame's owner.
    let state = park::close_frame(frame);
    let failure = family.failure.take();
    // Asked anew: a `run` in `f` has ended and freed its hub.
    if late && Hub::get().is_some_and(|hub| hub.live() == 0) {
        park::close_hub();
    }
    debug_assert!(failure.is_some() || state != Some(FrameState::Raised));
    match (result, cut, failure) {
        // The body's own panic is the earlier or at least the nearer one.
        (Err(own), _, Some(failure)) if Unwind::of(&*own).is_none() => {
            discard(failure);
            resume_unwind(own)
        }
        // The body was interrupted for this.
        (Err(_), _, Some(failure)) => resume_unwind(failure),
        (Err(payload), _, None) => resume_unwind(payload),
        (Ok(value), None, None) => value,
        (Ok(value), cut, failure) => {
            // While this thread is not panicking yet: its destructor may wait.
            contain(|| drop(value));
            match (cut, failure) {
                (Some(deadlock @ Interruption::Deadlock(_)), Some(failure)) => {
                    discard(failure);
                    deadlock.raise()
                }
                (_, Some(failure)) => resume_unwind(failure),
                (Some(interruption), None) => interruption.raise(),
                (None, None) => unreachable!("the value was returned"),
            }
        }
    }
}

/// Waits in a shield. If this cannot end either, nothing can be saved: whoever is
/// waited for may hold borrows of the caller's frame.
fn wait_masked(site: Site, wait: impl FnOnce() -> Result<(), Interruption>) {
    if let Err(interruption) = shield(wait) {
        wait::abort_interrupted(&site, &interruption);
    }
}

/// Runs `f` as the outermost thing on this thread's hub, and ends the hub: when
/// `f` returns, greenlets that are left are killed, the hub is drained and closed.
///
/// Leftovers are not awaited as [`scope`] does: they are killed. Spawns while the
/// hub ends give handles that are already killed; spawns through a [`HubHandle`]
/// are [`JoinError::HubClosed`] from then on. A later `spawn` on this thread makes
/// a new hub.
///
/// [`HubHandle`]: crate::HubHandle
///
/// # Panics
///
/// If called in a greenlet, or while greenlets of this thread are alive; with the
/// panic of `f`. Aborts if called while panicking, or if a greenlet can never end.
///
/// # Examples
///
/// ```
/// let answer = greenlet::run(|| {
///     greenlet::spawn(|| greenlet::sleep(std::time::Duration::from_secs(99))); // killed
///     greenlet::spawn(|| 42).join().unwrap()
/// });
/// assert_eq!(answer, 42);
/// ```
#[track_caller]
pub fn run<R>(f: impl FnOnce() -> R) -> R {
    run_prepared(Site::here("run"), |_| {}, f)
}

/// [`run`] on a hub that was prepared first.
#[track_caller]
pub(crate) fn run_prepared<R>(
    site: Site,
    prepare: impl FnOnce(&'static Hub),
    f: impl FnOnce() -> R,
) -> R {
    if panicking() {
        park::abort_panicking(&site);
    }
    assert!(
        Party::current().task().may_switch(),
        "run() where no wait is allowed: it waits for its greenlets"
    );
    if let Some(hub) = Hub::get() {
        assert!(
            hub.at_root(),
            "{}() inside a greenlet; use scope()",
            site.operation
        );
        assert!(
            hub.live() == 0 && !hub.is_running(),
            "{}() on a hub that is in use: inside another run(), or with live greenlets",
            site.operation
        );
    }
    let hub = park::hub();
    hub.set_running();
    prepare(hub);
    // A generator's body cannot yield out of it.
    Party::current().task().bind();
    let result = catch_unwind(AssertUnwindSafe(f));
    Party::current().task().unbind();
    hub.begin_close();
    hub.kill_all();
    if let Err(dump) = hub.drain(&site) {
        report(format_args!(
            "{} at {} cannot end; aborting\n{dump}",
            site.operation, site.place
        ));
        std::process::abort();
    }
    let intruded = hub.was_intruded();
    park::close_hub();
    match result {
        Ok(value) if intruded => {
            contain(|| drop(value));
            panic!(
                "a Simulation was woken from another thread, which makes its result depend on chance"
            )
        }
        Ok(value) => value,
        Err(payload) => resume_unwind(payload),
    }
}

/// Runs `f` so that kills, and timeouts opened outside of it, wait until it is
/// over; they are raised at the first wait after it. Timeouts opened inside fire
/// as usual.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
///
/// let late = greenlet::timeout(Duration::from_millis(1), || {
///     let written = greenlet::shield(|| {
///         greenlet::sleep(Duration::from_millis(5)); // not interrupted
///         true
///     });
///     assert!(written);
///     greenlet::sleep(Duration::from_secs(9)); // interrupted at once
/// });
/// assert!(late.is_err());
/// ```
pub fn shield<R>(f: impl FnOnce() -> R) -> R {
    let _mask = park::Mask::new();
    f()
}

/// Runs `body`, then `cleanup`, also when `body` unwinds by a panic, a kill or a
/// timeout. Unlike a destructor, `cleanup` may wait; it is shielded.
///
/// If both unwind, what `cleanup` raised comes out.
///
/// # Panics
///
/// Aborts if called while panicking.
///
/// # Examples
///
/// ```
/// let log = std::cell::RefCell::new(vec![]);
/// let result = greenlet::finally(
///     || { log.borrow_mut().push("body"); 1 },
///     || { greenlet::yield_now(); log.borrow_mut().push("cleanup"); },
/// );
/// assert_eq!((result, log.into_inner()), (1, vec!["body", "cleanup"]));
/// ```
#[track_caller]
pub fn finally<R>(body: impl FnOnce() -> R, cleanup: impl FnOnce()) -> R {
    let site = Site::here("finally");
    if panicking() {
        park::abort_panicking(&site);
    }
    let result = catch_unwind(AssertUnwindSafe(body));
    if let Err(payload) = catch_unwind(AssertUnwindSafe(|| shield(cleanup))) {
        // While this thread is not panicking yet: its destructor may wait.
        match result {
            Ok(value) => contain(|| drop(value)),
            Err(first) => discard(first),
        }
        resume_unwind(payload);
    }
    result.unwrap_or_else(|payload| resume_unwind(payload))
}

/// Runs `f`, in which a wait that would have to switch panics, at its own line.
///
/// For code that other greenlets must not see half done.
///
/// # Examples
///
/// ```
/// let panicked = std::panic::catch_unwind(|| greenlet::no_switch(greenlet::yield_now));
/// assert!(panicked.is_err());
/// ```
pub fn no_switch<R>(f: impl FnOnce() -> R) -> R {
    park::no_switch(f)
}

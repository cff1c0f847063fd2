//! Greenlets and their handles: spawn, join, kill.

use crate::error::JoinError;
use crate::rt::clock::Limit;
use crate::rt::hub::Job;
use crate::rt::inbox::Inbox;
use crate::rt::park::{self, Party};
use crate::rt::report::contain;
use crate::rt::stack;
use crate::rt::sync::Arc;
use crate::rt::task::{Legacy, Site};
use crate::rt::wait::{Latch, Source};
use crate::start::{self, Control, Link, Links, Outcome, OutcomeTaker, Settings, Watch};
use std::fmt;
use std::io;
use std::panic::{Location, RefUnwindSafe, UnwindSafe};
use std::time::Duration;

mod switch;

/// Starts a greenlet on this thread's hub and returns its handle.
///
/// The closure runs on a stack of its own when its turn comes, after all that
/// are ready now; `spawn` itself does not switch. It may own things that are not
/// `Send`: a greenlet never leaves its thread. Dropping the handle detaches it.
///
/// The first call on a thread makes the thread's hub. Greenlets run while the
/// thread's own stack (the root) or another greenlet waits in this crate.
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
#[track_caller]
pub fn spawn<F, T>(f: F) -> Greenlet<T>
where
    F: FnOnce() -> T + 'static,
    T: 'static,
{
    Greenlet::start_plain(Settings::here(), None, f)
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
#[track_caller]
pub fn spawn_later<F, T>(delay: Duration, f: F) -> Greenlet<T>
where
    F: FnOnce() -> T + 'static,
    T: 'static,
{
    Greenlet::start_plain(Settings::here(), Some(delay), f)
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
    settings: Settings,
}

impl Default for Builder {
    #[track_caller]
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
    #[track_caller]
    pub fn new() -> Self {
        Builder {
            settings: Settings::here(),
        }
    }

    /// The name that [`current`](crate::current), [`JoinError`](crate::JoinError), reports and
    /// dumps show. What a panic prints has the thread's name.
    ///
    /// # Examples
    ///
    /// ```
    /// let g = greenlet::Builder::new().name("a").spawn(|| ()).unwrap();
    /// assert_eq!(g.name(), Some("a"));
    /// ```
    #[must_use = "a Builder does nothing until it spawns"]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.settings.name = Some(name.into().into());
        self
    }

    /// The usable size of the stack in bytes, at least 32 KiB (32,768); rounded up
    /// to a power of two. The default is 256 KiB. It is address space: only pages
    /// that are touched cost memory. A hub keeps the stacks of greenlets that have
    /// ended for those to come, by size, and gives back what it has not needed for a second or
    /// two when it has nothing to do, but for 64 of each size.
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
        self.settings.stack_size = bytes;
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
    #[track_caller]
    pub fn spawn<F, T>(self, f: F) -> io::Result<Greenlet<T>>
    where
        F: FnOnce() -> T + 'static,
        T: 'static,
    {
        Ok(Greenlet::start_plain(self.here().checked()?, None, f))
    }

    /// Spawned by the caller, wherever the settings were made.
    #[track_caller]
    pub(crate) fn here(mut self) -> Self {
        self.settings.place = Location::caller();
        self
    }

    pub(crate) fn checked(mut self) -> io::Result<Settings> {
        self.settings.stack_size = stack::class(self.settings.stack_size)?;
        Ok(self.settings)
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
    taker: OutcomeTaker<T>,
}

impl<T> UnwindSafe for Greenlet<T> {}
impl<T> RefUnwindSafe for Greenlet<T> {}

impl<T> Greenlet<T> {
    /// On the thread's own hub; see [`start`](crate::start).
    pub(crate) fn start<'a, F, W>(
        settings: Settings,
        delay: Option<Duration>,
        f: F,
        watch: W,
        legacy: Option<Box<Legacy>>,
        erase: impl FnOnce(Job<'a>) -> Job<'static>,
    ) -> Self
    where
        F: FnOnce() -> T + 'a,
        T: 'a,
        W: Watch + 'a,
    {
        let taker = start::spawn_job(settings, delay, f, watch, legacy, erase);
        Greenlet { taker }
    }

    /// One that owns all it has, with what it inherits.
    pub(crate) fn start_plain<F>(settings: Settings, delay: Option<Duration>, f: F) -> Self
    where
        F: FnOnce() -> T + 'static,
        T: 'static,
    {
        Greenlet::start(settings, delay, f, (), park::legacy(), |job| job)
    }

    /// On the hub of that inbox.
    #[track_caller]
    pub(crate) fn start_on<F>(inbox: &Arc<Inbox>, f: F) -> Self
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let taker = start::spawn_on(inbox, Settings::here(), f);
        Greenlet { taker }
    }

    pub(crate) fn control(&self) -> &Control {
        self.taker.extra()
    }

    #[inline(always)]
    fn latch(&self) -> &Latch<Outcome<T>, Links<T>> {
        self.taker.latch()
    }

    #[inline]
    pub(crate) fn source(&self) -> &impl Source {
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

    /// Index and id, if its hub has taken it in.
    pub(crate) fn member(&self) -> Option<(usize, u64)> {
        Some((self.control().index()?, self.id()))
    }

    #[inline]
    pub(crate) fn taken(self) -> Outcome<T> {
        let outcome = self.taker.take().expect("waited for");
        note_read(&outcome);
        outcome
    }

    #[inline(always)]
    #[track_caller]
    pub(crate) fn wait_at(&self, operation: &'static str) {
        self.refuse_self();
        self.latch().wait(Site::here(operation), Limit::Never);
    }

    #[inline(always)]
    #[track_caller]
    pub(crate) fn refuse_self(&self) {
        if let Some((_, record)) = Party::greenlet()
            && record.id() == self.id()
        {
            self.is_this();
        }
    }

    #[cold]
    #[track_caller]
    fn is_this(&self) -> ! {
        panic!(
            "greenlet '{}' would wait for its own end",
            self.taker.about().label()
        );
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
        self.latch()
            .wait(Site::here("Greenlet::wait_timeout"), Limit::After(limit))
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
        self.control().kill(self.id());
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
        self.taker.about().id
    }

    /// The name given to its [`Builder`].
    ///
    /// # Examples
    ///
    /// ```
    /// assert_eq!(greenlet::spawn(|| ()).name(), None);
    /// ```
    pub fn name(&self) -> Option<&str> {
        self.taker.about().name.as_deref()
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
        let error = self.latch().get()?.as_ref().err();
        error.inspect(|error| error.note_read())
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
        self.link_unread(|outcome| {
            note_read(outcome);
            f(outcome);
        });
    }

    /// The same for a link that does not look at the outcome.
    pub(crate) fn link_unread(&self, f: impl FnOnce(&Result<T, JoinError>) + Send + 'static) {
        let mut link: Option<Link<T>> = Some(Box::new(f));
        self.latch()
            .before(|links| links.get_or_insert_default().extend(link.take()));
        // Too late: there is the outcome.
        if let (Some(link), Some(outcome)) = (link, self.latch().get()) {
            park::no_switch(|| contain(|| link(outcome)));
        }
    }
}

/// Whoever has the outcome knows of a panic.
#[inline]
fn note_read<T>(outcome: &Outcome<T>) {
    if let Err(error) = outcome {
        error.note_read();
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

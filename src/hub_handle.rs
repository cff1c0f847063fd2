//! Reaching a hub from other threads: [`HubHandle`], [`HubThread`], and the
//! process-wide [`deadlock_after`].

use crate::dump::{self, Dump};
use crate::greenlet::Greenlet;
use crate::rt::clock::Limit;
use crate::rt::deadlock;
use crate::rt::hub;
use crate::rt::inbox::Inbox;
use crate::rt::park;
use crate::rt::sync::Arc;
use crate::rt::task::Site;
use crate::rt::wait::Latch;
use crate::statistics::HubStatistics;
use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, RefUnwindSafe, UnwindSafe, catch_unwind};
use std::sync::{Mutex, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

/// A way to start greenlets on another thread's hub.
///
/// Cloning is cheap. The handle does not keep the hub alive: once its
/// [`run`](crate::run()), its [`HubThread`] or its thread has ended, greenlets
/// spawned through it are [`HubClosed`](crate::JoinError::HubClosed).
///
/// # Examples
///
/// ```
/// let hub = greenlet::HubThread::start("worker").unwrap();
/// let g = hub.handle().spawn(|| std::thread::current().name().map(str::to_owned));
/// assert_eq!(g.join().unwrap().as_deref(), Some("worker"));
/// hub.stop();
/// hub.join().unwrap();
/// ```
#[derive(Clone)]
pub struct HubHandle {
    inbox: Arc<Inbox>,
}

impl UnwindSafe for HubHandle {}
impl RefUnwindSafe for HubHandle {}

impl HubHandle {
    /// The handle of this thread's hub, which is made if there is none.
    ///
    /// # Examples
    ///
    /// ```
    /// let hub = greenlet::HubHandle::current();
    /// let g = std::thread::spawn(move || hub.spawn(|| 1)).join().unwrap();
    /// assert_eq!(g.join().unwrap(), 1); // this thread's root runs it
    /// ```
    pub fn current() -> Self {
        let inbox = match hub::thread_has_ended() {
            // Nothing that is spawned here could run.
            true => Inbox::new_closed(),
            false => park::hub().inbox().clone(),
        };
        HubHandle { inbox }
    }

    /// Starts a greenlet on that hub, from any thread. It runs when the hub's
    /// thread next serves its inbox: at once if it sleeps, else within a turn.
    ///
    /// On a hub that has ended the closure is dropped here, and the greenlet is
    /// [`HubClosed`](crate::JoinError::HubClosed).
    /// If it cannot have even its first stack the greenlet is
    /// [`NoStack`](crate::JoinError::NoStack), and the closure is leaked, unless the hub is the
    /// caller's.
    ///
    /// # Examples
    ///
    /// See [`HubHandle`].
    #[track_caller]
    pub fn spawn<F, T>(&self, f: F) -> Greenlet<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        Greenlet::start_on(&self.inbox, f)
    }

    /// What the greenlets of that hub do now. Of the calling thread's own hub at once, as
    /// [`dump`](crate::dump()); another one is asked and answers at the end of its turn, if its
    /// thread gets to it within `limit`. If not, that is what the dump says.
    ///
    /// # Timeouts and kills
    ///
    /// As [`dump_all`](crate::dump_all).
    ///
    /// # Panics
    ///
    /// As [`dump_all`](crate::dump_all).
    ///
    /// # Examples
    ///
    /// ```
    /// let worker = greenlet::HubThread::start("worker").unwrap();
    /// let dump = worker.handle().dump(std::time::Duration::from_secs(5));
    /// assert!(dump.to_string().starts_with("hub of thread 'worker': 0 greenlets"));
    /// # worker.stop();
    /// # worker.join().unwrap();
    /// ```
    #[track_caller]
    pub fn dump(&self, limit: Duration) -> Dump {
        dump::dump_of(&self.inbox, limit)
    }

    /// The numbers of that hub, as [`statistics`](crate::statistics()); `None` if it has ended,
    /// or does not answer within `limit`.
    ///
    /// # Timeouts and kills
    ///
    /// As [`dump_all`](crate::dump_all).
    ///
    /// # Panics
    ///
    /// As [`dump_all`](crate::dump_all).
    ///
    /// # Examples
    ///
    /// ```
    /// let worker = greenlet::HubThread::start("worker").unwrap();
    /// let numbers = worker.handle().statistics(std::time::Duration::from_secs(5));
    /// assert_eq!(numbers.unwrap().greenlets, 0);
    /// # worker.stop();
    /// # worker.join().unwrap();
    /// ```
    #[track_caller]
    pub fn statistics(&self, limit: Duration) -> Option<HubStatistics> {
        dump::statistics_of(&self.inbox, limit)
    }

    /// True once the hub has ended.
    ///
    /// # Examples
    ///
    /// ```
    /// let hub = greenlet::run(greenlet::HubHandle::current);
    /// assert!(hub.is_closed());
    /// ```
    pub fn is_closed(&self) -> bool {
        self.inbox.is_closed()
    }
}

impl fmt::Debug for HubHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HubHandle")
            .field("closed", &self.is_closed())
            .finish()
    }
}

/// A thread whose root serves its hub until it is stopped.
///
/// Dropping it asks the thread to stop and does not wait.
///
/// # Examples
///
/// ```
/// let hub = greenlet::HubThread::start("worker").unwrap();
/// let sum = hub.handle().spawn(|| (1..=10).sum::<u32>());
/// assert_eq!(sum.join().unwrap(), 55);
/// hub.stop();
/// hub.join().unwrap();
/// ```
#[must_use = "a HubThread that is dropped stops"]
pub struct HubThread {
    handle: HubHandle,
    stop: Arc<Latch<()>>,
    done: Arc<Latch<()>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl UnwindSafe for HubThread {}
impl RefUnwindSafe for HubThread {}

impl HubThread {
    /// Starts a thread of that name with a hub. Blocks the calling thread until the
    /// hub is there.
    ///
    /// # Errors
    ///
    /// If the system cannot start a thread, or the name contains NUL.
    ///
    /// # Examples
    ///
    /// ```
    /// let hub = greenlet::HubThread::start("worker").unwrap();
    /// hub.stop();
    /// hub.join().unwrap();
    /// ```
    #[track_caller]
    pub fn start(name: impl Into<String>) -> io::Result<Self> {
        let site = Site::here("HubThread");
        let name = name.into();
        if name.contains('\0') {
            let kind = io::ErrorKind::InvalidInput;
            return Err(io::Error::new(kind, "a thread's name cannot contain NUL"));
        }
        let (stop, done) = (Arc::new(Latch::new()), Arc::new(Latch::new()));
        let (started, start) = mpsc::sync_channel(1);
        let thread = std::thread::Builder::new().name(name).spawn({
            let (stop, done) = (stop.clone(), done.clone());
            move || {
                // Whatever happens, nobody waits for this thread in vain.
                let served = catch_unwind(AssertUnwindSafe(|| {
                    crate::run(|| {
                        let _ = started.send(HubHandle::current());
                        stop.wait(site, Limit::Never);
                    });
                }));
                let _ = done.set(());
                if let Err(payload) = served {
                    std::panic::resume_unwind(payload);
                }
            }
        })?;
        // Not as a greenlet: it takes no longer than the start of a thread does,
        // and could not be cut short without losing the thread.
        Ok(HubThread {
            handle: start.recv().map_err(io::Error::other)?,
            stop,
            done,
            thread: Mutex::new(Some(thread)),
        })
    }

    /// The handle of the thread's hub.
    ///
    /// # Examples
    ///
    /// See [`HubThread`].
    pub fn handle(&self) -> HubHandle {
        self.handle.clone()
    }

    /// Asks the thread to stop: it kills the greenlets that are left, waits for
    /// their ends, and ends. Returns at once; a second call does nothing.
    ///
    /// # Examples
    ///
    /// ```
    /// let hub = greenlet::HubThread::start("worker").unwrap();
    /// let g = hub.handle().spawn(|| greenlet::sleep(std::time::Duration::from_secs(99)));
    /// hub.stop();
    /// assert!(g.join().is_err());
    /// ```
    pub fn stop(&self) {
        let _ = self.stop.set(());
    }

    /// Waits until the thread has ended, which it does after [`stop`](HubThread::stop).
    ///
    /// # Errors
    ///
    /// The payload, if the thread itself panicked, as from
    /// [`std::thread::JoinHandle::join`]. Panics of its greenlets do not count.
    ///
    /// # Examples
    ///
    /// See [`HubThread`].
    #[track_caller]
    pub fn join(self) -> std::thread::Result<()> {
        // First as a greenlet, so that this thread's hub runs on; then the last
        // steps of the thread itself.
        self.done.wait(Site::here("HubThread::join"), Limit::Never);
        let mut thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        match thread.take() {
            Some(thread) => thread.join(),
            None => Ok(()),
        }
    }
}

impl Drop for HubThread {
    fn drop(&mut self) {
        self.stop();
    }
}

impl fmt::Debug for HubThread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HubThread")
            .field("stopping", &self.stop.get().is_some())
            .field("ended", &self.done.get().is_some())
            .finish()
    }
}

/// Reports a hub that has had nothing to do for `limit`: the list of its greenlets
/// and what each waits for goes to stderr, once for each hub, and the hub waits on.
///
/// For programs with several threads, where nobody can know whether a wake is
/// still to come. A hub with a timer pending is not reported, nor one where somebody waits
/// for a socket or a signal, nor a thread without a hub. `None` is off, as at the start.
/// The setting is the process's; a hub that sleeps already sees it when it next wakes.
///
/// # Examples
///
/// ```
/// greenlet::deadlock_after(std::time::Duration::from_secs(30));
/// greenlet::deadlock_after(None);
/// ```
pub fn deadlock_after(limit: impl Into<Option<Duration>>) {
    deadlock::set_after(limit.into());
}

//! Blocking work on threads of its own while the greenlet waits: a queue of jobs, and a
//! latch for each.

use crate::rt::hub::Hub;
use crate::rt::park::{Obstacle, Party};
use crate::rt::report::contain;
use crate::rt::sync::panicking;
use crate::rt::task::Site;
use crate::rt::{clock::Limit, wait::Latch};
use crate::statistics::ThreadPoolStatistics;
use std::cell::Cell;
use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, RefUnwindSafe, UnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// How many threads the global pool may have. See [`ThreadPool::global`].
const GLOBAL_MAX: usize = 512;

/// How long an idle thread stays, at first.
const KEEP_ALIVE: Duration = Duration::from_secs(10);

/// Runs `f` on a thread of the [global pool](ThreadPool::global) and waits for its result,
/// while the other greenlets of the thread run.
///
/// For what blocks a thread and has no form in this crate: calls into C, files (see
/// [`fs`](crate::fs)), long computations. The way there and back takes 5 to 50 microseconds,
/// most where nobody else is at work and two threads must be woken, so it does not pay for
/// less.
///
/// See [`ThreadPool`] for order, timeouts and kills, and where `f` runs at once instead.
///
/// # Panics
///
/// With the panic of `f`; and if the pool has no thread and the system cannot start one
/// ([`ThreadPool::try_unblock`] returns an error then).
///
/// # Examples
///
/// ```
/// use std::time::Duration;
///
/// let ticker = greenlet::spawn(|| greenlet::sleep(Duration::from_millis(1)));
/// let text = greenlet::unblock(|| {
///     std::thread::sleep(Duration::from_millis(5)); // holds up nobody
///     String::from("done")
/// });
/// assert_eq!(text, "done");
/// # ticker.join().unwrap();
/// ```
#[track_caller]
pub fn unblock<F, T>(f: F) -> T
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    expect_thread(ThreadPool::global().submit(Site::here("unblock"), f))
}

/// Threads that run closures which block, so that greenlets need not.
///
/// Threads are started when a job finds none free, up to a limit, and end when they have
/// been idle for some time. Beyond the limit jobs queue. The process does not wait for the
/// threads at its end.
///
/// # Fairness
///
/// Jobs begin in the order in which they came.
///
/// # Timeouts and kills
///
/// Either ends the wait by unwinding; if one is due already, nothing is queued. The job
/// cannot be stopped: it is run to its end, also if it had not begun, and its result is
/// dropped on a thread of the pool. [`shield`](crate::shield) is the way to wait for the
/// end all the same.
///
/// # Where a closure runs at once
///
/// On the caller's own stack, and as if it had been called there:
///
/// - in a job of the same pool, which would otherwise hold the thread that it waits for;
/// - while the thread is panicking, when nobody may wait;
/// - in a [`Simulation`](crate::testing::Simulation), where it takes no virtual time and so
///   leaves nothing to chance.
///
/// # What a job may do
///
/// Anything that a plain thread may: it waits in this crate's primitives as one, and for
/// greenlets of any hub. A job that waits counts as busy. So if all threads of a pool wait
/// for greenlets, or for jobs of another pool, that in turn queue jobs in the same pool,
/// nobody goes on: give such jobs a pool of their own. The same holds for jobs of the global
/// pool that use an [`fs::File`](crate::fs::File) of somebody whose call is still queued.
/// Thread-locals, and a hub that a job has made, stay with the thread;
/// a job should end the greenlets that it starts, by [`scope`](crate::scope()).
///
/// A thread of the pool that is alive, idle or not, is another thread to the rule that a
/// certain deadlock panics; with it nobody can be certain, see
/// [`deadlock_after`](crate::deadlock_after).
///
/// # How it works
///
/// A queue, the number of threads and how many of them are *free* (will look at the queue
/// before they sleep), under one lock. Invariant: no job is queued without a thread, and
/// more than there are free threads only at the limit, or if the system refuses another.
/// Threads are started under the lock, so nobody counts on one that is not to be had.
///
/// # Examples
///
/// ```
/// use greenlet::ThreadPool;
///
/// let pool = ThreadPool::new(2); // at most two at once
/// greenlet::scope(|s| {
///     for word in ["to", "be", "or", "not"] {
///         let pool = &pool;
///         s.spawn(move || assert_eq!(pool.unblock(move || word.len()), word.len()));
///     }
/// });
/// assert!(pool.threads() <= 2);
/// ```
pub struct ThreadPool {
    shared: Arc<Shared>,
}

type Job = Box<dyn FnOnce() + Send>;

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    queue: VecDeque<Job>,
    threads: usize,
    /// Those of them that look at the queue before they sleep or end: idle ones, and those
    /// that were just started.
    free: usize,
    max_threads: usize,
    keep_alive: Duration,
    /// The pool was dropped: nobody else will queue a job.
    dropped: bool,
}

impl State {
    fn check(&self) {
        debug_assert!(self.free <= self.threads);
        debug_assert!(self.queue.is_empty() || self.threads > 0);
    }
}

thread_local! {
    /// The pool whose thread this is, by its address; 0 for none. It has no destructor, so
    /// it can be asked for at any time.
    static POOL: Cell<usize> = const { Cell::new(0) };
}

impl UnwindSafe for ThreadPool {}
impl RefUnwindSafe for ThreadPool {}

impl ThreadPool {
    /// A pool of at most `max_threads`, none of which is started yet.
    ///
    /// # Panics
    ///
    /// If `max_threads` is 0.
    ///
    /// # Examples
    ///
    /// ```
    /// let pool = greenlet::ThreadPool::new(4);
    /// assert_eq!(pool.unblock(|| 6 * 7), 42);
    /// ```
    pub fn new(max_threads: usize) -> Self {
        assert_ne!(max_threads, 0, "a pool needs at least one thread");
        let state = State {
            queue: VecDeque::new(),
            threads: 0,
            free: 0,
            max_threads,
            keep_alive: KEEP_ALIVE,
            dropped: false,
        };
        ThreadPool {
            shared: Arc::new(Shared {
                state: Mutex::new(state),
                changed: Condvar::new(),
            }),
        }
    }

    /// The pool of the whole process: behind [`unblock`], [`fs`](crate::fs), and the look-up
    /// of names.
    ///
    /// At most 512 threads, unless [`set_max_threads`](ThreadPool::set_max_threads) says
    /// otherwise. That is many, since its jobs are supposed to block in the system and not
    /// to compute: a few names that nobody answers for would hold up all files in a small
    /// pool for seconds, while a thread that blocks costs some tens of kilobytes. It is not
    /// unlimited, since that would turn a slow disk into thousands of threads. Use a pool of
    /// your own, about as large as there are processors, for computations.
    ///
    /// # Examples
    ///
    /// ```
    /// greenlet::ThreadPool::global().set_max_threads(16);
    /// ```
    pub fn global() -> &'static ThreadPool {
        static GLOBAL: OnceLock<ThreadPool> = OnceLock::new();
        GLOBAL.get_or_init(|| ThreadPool::new(GLOBAL_MAX))
    }

    /// How many threads there may be.
    ///
    /// # Examples
    ///
    /// ```
    /// assert_eq!(greenlet::ThreadPool::new(3).max_threads(), 3);
    /// ```
    pub fn max_threads(&self) -> usize {
        self.shared.lock().max_threads
    }

    /// How many threads there are, busy or idle.
    ///
    /// # Examples
    ///
    /// ```
    /// assert_eq!(greenlet::ThreadPool::new(3).threads(), 0);
    /// ```
    pub fn threads(&self) -> usize {
        self.shared.lock().threads
    }

    /// How many jobs have not begun.
    ///
    /// # Examples
    ///
    /// ```
    /// assert_eq!(greenlet::ThreadPool::new(3).queued(), 0);
    /// ```
    pub fn queued(&self) -> usize {
        self.shared.lock().queue.len()
    }

    /// Its threads and its jobs, now.
    ///
    /// # Examples
    ///
    /// ```
    /// let pool = greenlet::ThreadPool::new(3);
    /// pool.unblock(|| ());
    /// assert_eq!(pool.statistics().threads, 1);
    /// ```
    pub fn statistics(&self) -> ThreadPoolStatistics {
        let state = self.shared.lock();
        ThreadPoolStatistics {
            threads: state.threads,
            busy: state.threads - state.free,
            queued: state.queue.len(),
            max_threads: state.max_threads,
        }
    }

    /// Sets how many threads there may be. More are started at once if jobs are queued; if
    /// there are too many, idle ones end now and busy ones when their job is done.
    ///
    /// # Panics
    ///
    /// If `max_threads` is 0.
    ///
    /// # Examples
    ///
    /// ```
    /// let pool = greenlet::ThreadPool::new(1);
    /// pool.set_max_threads(8);
    /// assert_eq!(pool.max_threads(), 8);
    /// ```
    pub fn set_max_threads(&self, max_threads: usize) {
        assert_ne!(max_threads, 0, "a pool needs at least one thread");
        let mut state = self.shared.lock();
        state.max_threads = max_threads;
        // If no more are to be had, those that there are serve the queue.
        let _ = self.shared.start_threads(&mut state);
        drop(state);
        self.shared.changed.notify_all();
    }

    /// Sets how long an idle thread stays; 10 seconds at first. With zero each ends as soon
    /// as no job is queued.
    ///
    /// # Examples
    ///
    /// ```
    /// greenlet::ThreadPool::new(1).set_keep_alive(std::time::Duration::from_secs(60));
    /// ```
    pub fn set_keep_alive(&self, keep_alive: Duration) {
        self.shared.lock().keep_alive = keep_alive;
        // Those that are idle reckon anew.
        self.shared.changed.notify_all();
    }

    /// Runs `f` on a thread of the pool and waits for its result. The [type](ThreadPool)
    /// says what holds for order, timeouts and kills, and where `f` runs at once instead.
    ///
    /// # Panics
    ///
    /// With the panic of `f`; if the pool has no thread and the system cannot start one;
    /// and where no wait is allowed.
    ///
    /// # Examples
    ///
    /// ```
    /// let pool = greenlet::ThreadPool::new(1);
    /// let name = pool.unblock(|| std::thread::current().name().map(str::to_owned));
    /// assert_eq!(name.as_deref(), Some("greenlet-pool"));
    /// ```
    #[track_caller]
    pub fn unblock<F, T>(&self, f: F) -> T
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        expect_thread(self.submit(Site::here("ThreadPool::unblock"), f))
    }

    /// As [`unblock`](ThreadPool::unblock), with an error where that panics for want of a
    /// thread.
    ///
    /// # Panics
    ///
    /// With the panic of `f`, and where no wait is allowed.
    ///
    /// # Errors
    ///
    /// With the system's reason and of kind [`Other`](std::io::ErrorKind::Other), if the pool
    /// has no thread and none can be started; `f` was dropped then. If there is at least one
    /// thread the job is queued instead.
    ///
    /// # Examples
    ///
    /// ```
    /// let pool = greenlet::ThreadPool::new(1);
    /// assert_eq!(pool.try_unblock(|| "done")?, "done");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[track_caller]
    pub fn try_unblock<F, T>(&self, f: F) -> io::Result<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        self.submit(Site::here("ThreadPool::try_unblock"), f)
    }

    fn submit<F, T>(&self, site: Site, f: F) -> io::Result<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let simulates = Hub::get().is_some_and(Hub::simulates);
        if panicking() || simulates || self.shared.is_on_own_thread() {
            return Ok(f());
        }
        // Before there is a job that nobody would wait for.
        match Party::current().obstacle() {
            Some(Obstacle::Due(unwind)) => unwind.raise(),
            Some(Obstacle::NoSwitch) => panic!(
                "{} at {} would wait where no wait is allowed (no_switch, a link callback, an item's Ord or Clone, or the Clone of an inherited Local)",
                site.operation, site.place
            ),
            Some(Obstacle::Panicking) | None => {}
        }
        let ticket = Arc::new(Ticket::new());
        self.shared.push({
            let ticket = ticket.clone();
            Box::new(move || ticket.give(catch_unwind(AssertUnwindSafe(f))))
        })?;
        let waiter = Waiter {
            ticket,
            shared: &self.shared,
        };
        waiter.ticket.ended.wait(site, Limit::Never);
        match waiter.ticket.take().expect("the latch is set after it") {
            Ok(value) => Ok(value),
            Err(payload) => resume_unwind(payload),
        }
    }
}

#[track_caller]
fn expect_thread<T>(result: io::Result<T>) -> T {
    // Not in a closure, whose panic would not be at the caller's line.
    match result {
        Ok(value) => value,
        Err(error) => panic!("{error}"),
    }
}

/// The threads end once the queue is empty. What may still be in it are jobs whose waiters
/// have left, since those who wait borrow the pool. Does not wait.
impl Drop for ThreadPool {
    fn drop(&mut self) {
        self.shared.lock().dropped = true;
        self.shared.changed.notify_all();
    }
}

impl fmt::Debug for ThreadPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The writer is the caller's: not under the lock.
        let numbers = self.statistics();
        f.debug_struct("ThreadPool")
            .field("threads", &numbers.threads)
            .field("busy", &numbers.busy)
            .field("queued", &numbers.queued)
            .field("max_threads", &numbers.max_threads)
            .finish()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // No user code runs under it, so it cannot be half done.
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.check();
        state
    }

    fn is_on_own_thread(&self) -> bool {
        POOL.get() == std::ptr::from_ref(self).addr()
    }

    /// Queues a job. An error if nobody would run it; it is dropped then.
    fn push(self: &Arc<Self>, job: Job) -> io::Result<()> {
        let mut state = self.lock();
        state.queue.push_back(job);
        if let Err(error) = self.start_threads(&mut state)
            && state.threads == 0
        {
            // There was no other, for want of a thread.
            let job = state.queue.pop_back();
            drop(state);
            drop(job);
            // Not of the system's kind, which is WouldBlock: this does not go away by
            // waiting for the descriptor that somebody uses.
            let text = format!("cannot start a thread of the pool: {error}");
            return Err(io::Error::other(text));
        }
        drop(state);
        self.changed.notify_one();
        Ok(())
    }

    /// Starts as many threads as the queue needs and the limit allows.
    fn start_threads(self: &Arc<Self>, state: &mut State) -> io::Result<()> {
        while state.queue.len() > state.free && state.threads < state.max_threads {
            let thread = thread::Builder::new().name("greenlet-pool".to_owned());
            let shared = self.clone();
            thread.spawn(move || shared.work())?;
            state.threads += 1;
            state.free += 1;
        }
        Ok(())
    }

    /// The life of a thread.
    fn work(self: Arc<Self>) {
        POOL.set(Arc::as_ptr(&self).addr());
        let mut state = self.lock();
        loop {
            let job;
            (state, job) = self.next_job(state);
            let Some(job) = job else { break };
            state.free -= 1;
            drop(state);
            contain(job);
            state = self.lock();
            state.free += 1;
        }
        state.threads -= 1;
        state.free -= 1;
    }

    /// Waits for a job; none if the thread is to end.
    fn next_job<'a>(
        &self,
        mut state: MutexGuard<'a, State>,
    ) -> (MutexGuard<'a, State>, Option<Job>) {
        let mut since = None;
        loop {
            // First, so that a lowered limit is kept even if jobs are queued: others run
            // them.
            if state.threads > state.max_threads {
                return (state, None);
            }
            if let Some(job) = state.queue.pop_front() {
                return (state, Some(job));
            }
            if state.dropped {
                return (state, None);
            }
            let now = Instant::now();
            let since = *since.get_or_insert(now);
            // A sum that overflows is never.
            let end = since.checked_add(state.keep_alive);
            state = match end.map(|end| end.saturating_duration_since(now)) {
                Some(Duration::ZERO) => return (state, None),
                Some(left) => {
                    let woken = self.changed.wait_timeout(state, left);
                    woken.unwrap_or_else(PoisonError::into_inner).0
                }
                None => {
                    let woken = self.changed.wait(state);
                    woken.unwrap_or_else(PoisonError::into_inner)
                }
            };
        }
    }
}

/// What a job and the one that waits for it share.
struct Ticket<T> {
    /// Set when the outcome is there.
    ended: Latch<()>,
    outcome: Mutex<Outcome<T>>,
}

enum Outcome<T> {
    Awaited,
    Ready(thread::Result<T>),
    /// It was taken, or nobody will.
    Unwanted,
}

impl<T> Ticket<T> {
    fn new() -> Self {
        Ticket {
            ended: Latch::new(),
            outcome: Mutex::new(Outcome::Awaited),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Outcome<T>> {
        // No user code runs under it.
        self.outcome.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The end of the job, on the pool's thread; what is unwanted is dropped there.
    fn give(&self, result: thread::Result<T>) {
        let mut outcome = self.lock();
        if !matches!(*outcome, Outcome::Unwanted) {
            *outcome = Outcome::Ready(result);
            drop(outcome);
            let _ = self.ended.set(());
        } else {
            drop(outcome);
            drop(result);
        }
    }

    /// The result, if it is there. From now on it is unwanted.
    fn take(&self) -> Option<thread::Result<T>> {
        match std::mem::replace(&mut *self.lock(), Outcome::Unwanted) {
            Outcome::Ready(result) => Some(result),
            Outcome::Awaited | Outcome::Unwanted => None,
        }
    }
}

/// Who waits for a job, until it has the result or unwinds.
struct Waiter<'a, T: Send + 'static> {
    ticket: Arc<Ticket<T>>,
    shared: &'a Arc<Shared>,
}

impl<T: Send + 'static> Drop for Waiter<'_, T> {
    fn drop(&mut self) {
        // The job may have ended after the wait did and before it unwound. The destructor
        // of its result, which may wait, has no place in an unwind: it is a job too.
        if let Some(result) = self.ticket.take() {
            contain(|| drop(self.shared.push(Box::new(move || drop(result)))));
        }
    }
}

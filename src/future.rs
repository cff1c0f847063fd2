//! Between plain style and `async`: every wait as a future, and [`block_on`].
//!
//! A future of this crate is a waiter in line like any other: it stands where its first
//! unsuccessful poll put it, gets permits and items by hand-off, and any executor may poll it, on
//! any thread, if its contents are `Send`. It does nothing before it is polled, needs no hub,
//! and allocates nothing ([`JoinFuture`] does).
//! Those of the primitives that `unsync` has too are in `sync`.
//! What a dropped one gives back, and why locks have none, stands on the crate's page.

mod groups;

use crate::error::JoinError;
use crate::greenlet::Greenlet;
use crate::rt::clock::Limit;
use crate::rt::wait::{HasSource, Ready, Source, Wait, ready};
use crate::sync::{
    Barrier, BarrierWaitResult, BroadcastError, BroadcastReader, Event, Latch, Notify, OnceCell,
    WaitGroup, WatchError, WatchReader,
};
use std::fmt;
use std::future::{Future, IntoFuture};
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

/// Runs a future to its end: the caller waits, as in any other wait, whenever the future does.
///
/// The future may be of any origin and need not be `Send`. Futures that need an executor of
/// their own around them (tokio's sockets and timers) are spawned there, and what that gives
/// is waited for here: the program `bridge_tokio` of the examples does so.
///
/// # Timeouts and kills
///
/// Either ends the wait by unwinding, which drops the future. What that waits for may have been
/// done in between, and the future not polled yet: then it gives back what it was given, but an
/// item that was put stays put. While panicking it aborts if it would have to wait.
///
/// # Examples
///
/// ```
/// let q = greenlet::sync::Queue::unbounded();
/// let sum = greenlet::spawn({
///     let q = std::rc::Rc::new(q);
///     let puts = q.clone();
///     greenlet::spawn(move || (1..=3).for_each(|i| puts.put(i).unwrap()));
///     move || greenlet::block_on(async { q.get_async().await.unwrap() + q.get_async().await.unwrap() })
/// });
/// assert_eq!(sum.join().unwrap(), 3);
/// ```
#[inline(always)]
#[track_caller]
pub fn block_on<F: IntoFuture>(future: F) -> F::Output {
    let alarm = Arc::new(Alarm(Event::new()));
    let waker = Waker::from(alarm.clone());
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(future.into_future());
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return output;
        }
        alarm.0.wait_within("block_on", Limit::Never);
        // A wake that comes between the two is seen by the next poll.
        alarm.0.clear();
    }
}

/// Set by the waker of a [`block_on`].
struct Alarm(Event);

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        self.0.set();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.set();
    }
}

impl Latch {
    /// [`wait`](Latch::wait) as a future.
    ///
    /// # Examples
    ///
    /// ```
    /// let latch = greenlet::sync::Latch::new(1);
    /// latch.count_down();
    /// greenlet::block_on(latch.wait_async());
    /// ```
    pub fn wait_async(&self) -> impl Future<Output = ()> {
        ready(self.source())
    }
}

impl Barrier {
    /// [`wait`](Barrier::wait) as a future. It arrives with its first poll; one that is the last to
    /// arrive is the leader, and ready at once. One that is dropped takes its arrival back, unless
    /// the barrier has tripped.
    ///
    /// # Examples
    ///
    /// ```
    /// let barrier = greenlet::sync::Barrier::new(2);
    /// greenlet::scope(|s| {
    ///     let other = s.spawn(|| barrier.wait().is_leader());
    ///     let leads = greenlet::block_on(barrier.wait_async()).is_leader();
    ///     assert_ne!(leads, other.join().unwrap());
    /// });
    /// ```
    pub fn wait_async(&self) -> impl Future<Output = BarrierWaitResult> {
        Wait::new(self.wait_arm())
    }
}

impl WaitGroup {
    /// [`wait`](WaitGroup::wait) as a future. This one is given up at once, not at the first
    /// poll.
    ///
    /// # Examples
    ///
    /// ```
    /// let group = greenlet::sync::WaitGroup::new();
    /// greenlet::block_on(group.wait_async()); // it was the only one
    /// ```
    pub fn wait_async(self) -> impl Future<Output = ()> {
        let latch = self.give_up();
        async move { ready(latch.source()).await }
    }
}

impl Notify {
    /// [`wait`](Notify::wait) as a future. One that was notified by
    /// [`notify_one`](Notify::notify_one) and is dropped passes that on.
    ///
    /// # Examples
    ///
    /// ```
    /// let notify = greenlet::sync::Notify::new();
    /// notify.notify_one();
    /// greenlet::block_on(notify.wait_async());
    /// ```
    pub fn wait_async(&self) -> impl Future<Output = ()> {
        Wait::new(self.wait_arm())
    }
}

impl<T> OnceCell<T> {
    /// [`wait`](OnceCell::wait) as a future. It initialises nothing.
    ///
    /// # Examples
    ///
    /// ```
    /// let cell = greenlet::sync::OnceCell::from(5);
    /// assert_eq!(greenlet::block_on(cell.wait_async()), &5);
    /// ```
    pub async fn wait_async(&self) -> &T {
        ready(self.source()).await;
        self.get().expect("waited for")
    }
}

impl<T> Greenlet<T> {
    /// [`wait`](Greenlet::wait) as a future: the outcome stays in the handle. To have it, await
    /// the handle itself.
    ///
    /// # Examples
    ///
    /// ```
    /// let g = greenlet::spawn(|| 5);
    /// greenlet::block_on(g.wait_async());
    /// assert_eq!(g.value(), Some(&5));
    /// ```
    pub fn wait_async(&self) -> impl Future<Output = ()> {
        ready(self.source())
    }
}

/// The end of a [`Greenlet`] as a future: what a handle becomes when it is awaited.
///
/// Dropped before its end it detaches the greenlet, as the handle does. It is `Unpin`, so that
/// a `select!` of an executor may poll it by reference.
///
/// # Examples
///
/// ```
/// let worker = greenlet::HubThread::start("worker").unwrap();
/// let sum = worker.handle().spawn(|| (1..=10).sum::<u32>());
/// let twice = async { 2 * sum.await.unwrap() }; // on any executor
/// assert_eq!(greenlet::block_on(twice), 110);
/// ```
#[must_use = "a future does nothing until it is awaited"]
pub struct JoinFuture<T> {
    /// In a box, so that the whole may be moved between polls, as executors' handles may.
    wait: Pin<Box<Wait<Ready<Greenlet<T>>>>>,
}

impl<T> HasSource for Greenlet<T> {
    type Output = Result<T, JoinError>;

    #[allow(private_interfaces)]
    fn source(&self) -> &dyn Source {
        Greenlet::source(self)
    }

    fn end(self) -> Self::Output {
        self.taken()
    }
}

impl<T> IntoFuture for Greenlet<T> {
    type Output = Result<T, JoinError>;
    type IntoFuture = JoinFuture<T>;

    fn into_future(self) -> JoinFuture<T> {
        let wait = Box::pin(Wait::new(Ready::new(self)));
        JoinFuture { wait }
    }
}

impl<T> Future for JoinFuture<T> {
    type Output = Result<T, JoinError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.wait.as_mut().poll(context)
    }
}

impl<T> UnwindSafe for JoinFuture<T> {}
impl<T> RefUnwindSafe for JoinFuture<T> {}

impl<T> fmt::Debug for JoinFuture<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinFuture").finish_non_exhaustive()
    }
}

impl<T> WatchReader<'_, T> {
    /// [`changed`](WatchReader::changed) as a future.
    ///
    /// # Errors
    ///
    /// [`WatchError::ShutDown`] if nothing more comes.
    ///
    /// # Examples
    ///
    /// ```
    /// let watch = greenlet::sync::Watch::new(1);
    /// let mut reader = watch.subscribe();
    /// watch.set(2).unwrap();
    /// assert_eq!(greenlet::block_on(reader.changed_async()), Ok(()));
    /// ```
    pub fn changed_async(&mut self) -> impl Future<Output = Result<(), WatchError>> {
        Wait::new(self.changed_arm())
    }
}

impl<T: Clone> BroadcastReader<'_, T> {
    /// [`get`](BroadcastReader::get) as a future. One that is dropped has missed nothing.
    ///
    /// # Errors
    ///
    /// As for [`get`](BroadcastReader::get).
    ///
    /// # Examples
    ///
    /// ```
    /// let news = greenlet::sync::Broadcast::new(2);
    /// let mut reader = news.subscribe();
    /// news.put(1).unwrap();
    /// assert_eq!(greenlet::block_on(reader.get_async()), Ok(1));
    /// ```
    pub fn get_async(&mut self) -> impl Future<Output = Result<T, BroadcastError>> {
        Wait::new(self.get_arm())
    }
}

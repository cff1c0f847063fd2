//! What the running greenlet can ask and do: current, sleep, yield_now, checkpoint, now.

use crate::rt::clock::Limit;
use crate::rt::park::{self, Party};
use crate::rt::task::Name;
use crate::rt::wait;
use std::time::{Duration, Instant};

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
    } else if let wait::End::Refused = wait::sleep("sleep", Limit::After(duration)) {
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
/// turn's share (256 resumes) is spent. Cheap otherwise. While panicking, and where
/// no wait is allowed ([`no_switch`](crate::no_switch)), it does nothing.
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
    if !park::may_wait() {
        return;
    }
    if let Some(unwind) = Party::current().due() {
        unwind.raise();
    }
    if park::has_spent_its_turn() {
        yield_now();
    }
}

/// The time, as this thread's timers see it: virtual in a
/// [`Simulation`](crate::testing::Simulation). There `now() - then` is the time that has passed,
/// and not `then.elapsed()`, which asks the real clock.
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

//! Tests without real time: a virtual clock and a seeded schedule.

use crate::rt::task::Site;
use crate::scope;

/// Runs a closure on a hub of its own whose clock is virtual: when all wait, time
/// jumps to the next deadline.
///
/// - [`now`](crate::now) is the virtual time; `Instant::now` is not.
/// - A deadlock panics at once in the root's wait, with the list of greenlets and
///   what each waits for, even if the process has other threads.
/// - A wake, kill or spawn from another thread makes the result depend on chance: it
///   takes place, and then [`run`](Simulation::run) panics when it is over.
/// - A timeout scope that is open when it begins sees the virtual time meanwhile.
/// - With a [`seed`](Simulation::seed) the order in which ready greenlets run is
///   shuffled, the same way for the same seed. Without, it is first in, first out.
///
/// # Examples
///
/// ```
/// use greenlet::testing::Simulation;
/// use std::time::Duration;
///
/// Simulation::new().run(|| {
///     let start = greenlet::now();
///     greenlet::sleep(Duration::from_secs(3600)); // takes no time
///     assert_eq!(greenlet::now() - start, Duration::from_secs(3600));
/// });
/// ```
#[derive(Clone, Debug, Default)]
#[must_use = "a Simulation does nothing until it runs a closure"]
pub struct Simulation {
    seed: Option<u64>,
}

impl Simulation {
    /// A virtual clock, and the usual order.
    ///
    /// # Examples
    ///
    /// See [`Simulation`].
    pub fn new() -> Self {
        Simulation::default()
    }

    /// Shuffles the order of the ready greenlets by this seed.
    ///
    /// # Examples
    ///
    /// ```
    /// use greenlet::testing::Simulation;
    ///
    /// let order = |seed| Simulation::new().seed(seed).run(|| {
    ///     let log = std::rc::Rc::new(std::cell::RefCell::new(vec![]));
    ///     let all = (0..8).map(|i| { let log = log.clone(); greenlet::spawn(move || log.borrow_mut().push(i)) });
    ///     greenlet::join_all(all);
    ///     log.take()
    /// });
    /// assert_eq!(order(1), order(1));
    /// assert_ne!(order(1), order(2));
    /// ```
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// Runs `f` as the root of the simulation, as [`run`](crate::run()) does on an
    /// ordinary hub.
    ///
    /// # Panics
    ///
    /// As [`run`](crate::run()); in the wait of `f` that can never end; and at the
    /// end, if another thread has woken a greenlet of the simulation.
    ///
    /// # Examples
    ///
    /// See [`Simulation`].
    #[track_caller]
    pub fn run<R>(self, f: impl FnOnce() -> R) -> R {
        let site = Site::here("Simulation::run");
        scope::run_prepared(site, |hub| hub.simulate(self.seed), f)
    }
}

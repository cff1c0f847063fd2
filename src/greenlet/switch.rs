//! Giving the turn to one greenlet.

use super::Greenlet;
use crate::rt::wait;

impl<T> Greenlet<T> {
    /// Gives this greenlet the turn: it runs next, before all others that are ready, and
    /// the caller goes to the end of the ready queue, as in
    /// [`yield_now`](crate::yield_now). True if so.
    ///
    /// It can run next if it is ready, on the caller's own hub: not started yet, or woken,
    /// or after a yield. If it waits for something, sleeps, or has a delay before its start,
    /// that is not cut short. Then, and for one that has ended, is the caller itself, or
    /// belongs to another thread, this acts as [`yield_now`](crate::yield_now), and returns
    /// false.
    ///
    /// # Fairness
    ///
    /// Greenlets that give the turn to each other all the time would keep the others from
    /// running. So a turn of the hub, which has 256 resumes, does not end in a choice: at
    /// its end this acts as [`yield_now`](crate::yield_now), even for one that is ready,
    /// returns false, and who is first in line comes next. A program that depends on the
    /// order looks at the result, or waits for what it needs. In a
    /// [`Simulation`](crate::testing::Simulation) with a seed each turn has one resume, so
    /// the seed chooses, as always.
    ///
    /// # Timeouts and kills
    ///
    /// Raises a pending kill or expiry of the caller, instead. The greenlet that gets the
    /// turn then may be one that was killed: it ends.
    ///
    /// # Panics
    ///
    /// Where no wait is allowed ([`no_switch`](crate::no_switch)). While panicking it
    /// returns false.
    ///
    /// # Examples
    ///
    /// ```
    /// let order = std::rc::Rc::new(std::cell::RefCell::new(vec![]));
    /// let greenlets = [1, 2, 3].map(|i| {
    ///     let order = order.clone();
    ///     greenlet::spawn(move || order.borrow_mut().push(i))
    /// });
    /// assert!(greenlets[2].switch_to());
    /// assert_eq!(*order.borrow(), [3, 1, 2]);
    /// assert!(!greenlets[2].switch_to()); // it has ended
    /// ```
    #[inline(always)]
    #[track_caller]
    pub fn switch_to(&self) -> bool {
        let here = self.control().is_here();
        wait::switch_to("Greenlet::switch_to", here.then(|| self.member()).flatten())
    }
}

//! A look round before a thread goes to sleep.
//!
//! To put a thread to sleep and to wake it costs two system calls and the time until it is on
//! a processor again, 5 to 50 us. Two threads that answer each other at once pay that for
//! each message. If the one looks for a moment longer, it has its answer in less than a
//! microsecond.
//!
//! It is a wager, and these rules bound the loss:
//! - only where the process may use more than one processor, and never in a model;
//! - only if the last sleep was ended by a wake within [`NEAR`], or the last look paid: a
//!   thread whose wakes come now and then never looks;
//! - at most for [`LONGEST`], which is about what a sleep costs, and not beyond a deadline;
//! - after one that was in vain so many sleeps go without as the power of two after the last
//!   such number, up to [`MOST`]; one that pays sets it back. So where the other side has no
//!   processor, because there is other load, looks are rare.

use super::sync::MODELLED;
use std::cell::Cell;
use std::hint::spin_loop;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// The longest look.
const LONGEST: Duration = Duration::from_micros(20);

/// A wake that soon after the begin of a sleep might have been had without one: two threads
/// that answer each other, and both sleep meanwhile.
const NEAR: Duration = Duration::from_micros(100);

/// At most so many sleeps in a row go without a look.
const MOST: u32 = 127;

/// Readings of the clock are so many rounds apart, some 300 ns.
const ROUNDS: u32 = 12;

/// Of one thread.
#[derive(Debug, Default)]
pub(crate) struct Spin {
    /// The last wait was short.
    near: Cell<bool>,
    /// So many sleeps go without, and how many it were the last time.
    pause: Cell<u32>,
    last_pause: Cell<u32>,
}

impl Spin {
    /// Whether a look may pay now.
    #[inline]
    fn is_promising(&self) -> bool {
        if !self.near.get() {
            return false;
        }
        let pause = self.pause.get();
        self.pause.set(pause.saturating_sub(1));
        pause == 0
    }

    /// Looks whether `come`, for a moment, if that is promising. True if it has come.
    #[inline]
    pub(crate) fn until(&self, deadline: Option<Instant>, come: impl Fn() -> bool) -> bool {
        !MODELLED && self.is_promising() && has_processors() && self.look(deadline, come)
    }

    fn look(&self, deadline: Option<Instant>, come: impl Fn() -> bool) -> bool {
        // No reading of the clock for what comes at once.
        let mut end = None;
        loop {
            for _ in 0..ROUNDS {
                if come() {
                    self.last_pause.set(0);
                    return true;
                }
                spin_loop();
            }
            let now = Instant::now();
            let end = *end.get_or_insert(now + LONGEST);
            if now >= deadline.map_or(end, |deadline| deadline.min(end)) {
                break;
            }
        }
        let pause = (2 * self.last_pause.get() + 1).min(MOST);
        self.last_pause.set(pause);
        self.pause.set(pause);
        false
    }

    /// A sleep is over; if a wake has ended it, after so long.
    #[inline]
    pub(crate) fn slept(&self, woken: Option<Duration>) {
        self.near.set(woken.is_some_and(|after| after < NEAR));
    }
}

/// Whether the process (or the first thread to ask, if it is bound to some) may use more than one processor. Asked once: that reads files.
fn has_processors() -> bool {
    static PROCESSORS: OnceLock<bool> = OnceLock::new();
    *PROCESSORS.get_or_init(|| std::thread::available_parallelism().is_ok_and(|n| n.get() > 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: Option<Duration> = Some(Duration::from_micros(1));

    /// How many sleeps go without a look from now on.
    fn without(spin: &Spin) -> usize {
        std::iter::repeat_with(|| spin.is_promising())
            .take_while(|promising| !promising)
            .count()
    }

    #[test]
    fn looks_only_after_a_short_sleep() {
        let spin = Spin::default();
        let nobody_looks = || unreachable!("nothing was short");
        assert!(!spin.until(None, nobody_looks));
        spin.slept(Some(NEAR));
        assert!(!spin.until(None, nobody_looks));
        spin.slept(SHORT);
        assert!(spin.is_promising());
        spin.slept(None);
        assert!(!spin.until(None, nobody_looks));
    }

    #[test]
    fn looks_in_vain_become_rare() {
        let spin = Spin::default();
        spin.slept(SHORT);
        for pause in [1, 3, 7, 15, 31, 63, 127, 127] {
            assert!(!spin.look(None, || false));
            assert_eq!(without(&spin), pause);
        }
        assert!(spin.look(None, || true));
        assert_eq!(without(&spin), 0);
        assert!(!spin.look(None, || false));
        assert_eq!(without(&spin), 1);
    }

    /// It ends by itself, and at a deadline with the first reading of the clock.
    #[test]
    fn a_look_ends() {
        let (spin, looks) = (Spin::default(), Cell::new(0));
        let look = || {
            looks.set(looks.get() + 1);
            false
        };
        assert!(!spin.look(Some(Instant::now()), look));
        assert_eq!(looks.get(), ROUNDS);
    }
}

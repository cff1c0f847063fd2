//! What is kept for the next who needs it, by size, and when it is too much: plain data.
//!
//! The last that came is the first to go out. Of each size the fewest that lay here are counted
//! over a [`PERIOD`]: so many were never needed. When the hub has nothing to do they go, but for
//! [`KEEP`], the oldest first, and no more than [`BATCH`] at once. So a hub that needs as many
//! again within a second keeps them all, and one that has had its day gives nearly all back.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Of each size so many stay; with the one that the hub has at hand, 64.
pub(super) const KEEP: usize = 63;
/// What was not needed for so long, or up to twice as long, is too much.
const PERIOD: Duration = Duration::from_secs(1);
/// So many go before the hub looks up from it.
const BATCH: usize = 128;

pub(super) struct Kept<T> {
    classes: Vec<Class<T>>,
    /// When the period began, if there is anything to be seen in it.
    began: Option<Instant>,
}

struct Class<T> {
    size: usize,
    /// The last that came is at the back.
    idle: VecDeque<T>,
    /// The fewest in this period.
    fewest: usize,
}

/// What is to be done about what is too much.
pub(super) enum Surplus<T> {
    /// Nothing, nor later.
    None,
    /// Nothing before that time.
    Later(Instant),
    /// These are to go, and then there may be more.
    Now(Vec<T>),
}

impl<T> Default for Kept<T> {
    fn default() -> Self {
        Kept {
            classes: Vec::new(),
            began: None,
        }
    }
}

impl<T> Kept<T> {
    pub(super) fn take(&mut self, size: usize) -> Option<T> {
        // There are few sizes.
        let class = self.classes.iter_mut().find(|class| class.size == size)?;
        let taken = class.idle.pop_back();
        class.fewest = class.fewest.min(class.idle.len());
        taken
    }

    pub(super) fn give(&mut self, size: usize, value: T) {
        match self.classes.iter_mut().find(|class| class.size == size) {
            Some(class) => class.idle.push_back(value),
            None => self.classes.push(Class {
                size,
                idle: VecDeque::from([value]),
                fewest: 0,
            }),
        }
    }

    pub(super) fn take_all(&mut self) -> impl Iterator<Item = T> + use<T> {
        let classes = std::mem::take(&mut self.classes);
        classes.into_iter().flat_map(|class| class.idle)
    }

    pub(super) fn len(&self) -> usize {
        self.classes.iter().map(|class| class.idle.len()).sum()
    }

    /// For a hub that has nothing to do now.
    pub(super) fn surplus(&mut self, now: Instant) -> Surplus<T> {
        let Some(began) = self.began else {
            return self.begin(now);
        };
        let end = began + PERIOD;
        if now < end {
            return Surplus::Later(end);
        }
        let mut going = Vec::new();
        for class in &mut self.classes {
            let many = class.fewest.saturating_sub(KEEP).min(BATCH - going.len());
            going.extend(class.idle.drain(..many));
            class.fewest -= many;
            if class.idle.is_empty() || class.idle.len() < class.idle.capacity() / 4 {
                class.idle.shrink_to(2 * class.idle.len());
            }
        }
        match going.is_empty() {
            true => self.begin(now),
            false => Surplus::Now(going),
        }
    }

    /// A period begins, if there are more than are kept.
    fn begin(&mut self, now: Instant) -> Surplus<T> {
        let many = self.classes.iter().any(|class| class.idle.len() > KEEP);
        self.began = many.then_some(now);
        for class in &mut self.classes {
            class.fewest = class.idle.len();
        }
        match many {
            true => Surplus::Later(now + PERIOD),
            false => Surplus::None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(n: f64) -> Duration {
        Duration::from_secs_f64(n)
    }

    /// Lets a hub be idle until that time; returns what goes, and when it looks again.
    fn idle(kept: &mut Kept<usize>, now: Instant) -> (Vec<usize>, Option<Instant>) {
        let mut gone = Vec::new();
        loop {
            match kept.surplus(now) {
                Surplus::None => return (gone, None),
                Surplus::Later(at) => return (gone, Some(at)),
                Surplus::Now(some) => {
                    assert!(!some.is_empty() && some.len() <= BATCH);
                    gone.extend(some);
                }
            }
        }
    }

    #[test]
    fn few_are_kept_for_ever() {
        let (mut kept, start) = (Kept::default(), Instant::now());
        (0..KEEP).for_each(|i| kept.give(8, i));
        (0..KEEP).for_each(|i| kept.give(16, i));
        assert_eq!(idle(&mut kept, start), (vec![], None));
        assert_eq!(idle(&mut kept, start + seconds(9.0)), (vec![], None));
        assert_eq!(kept.take(8), Some(KEEP - 1), "the last that came");
    }

    #[test]
    fn what_was_not_needed_for_a_period_goes_the_oldest_first() {
        let (mut kept, start) = (Kept::default(), Instant::now());
        (0..1000).for_each(|i| kept.give(8, i));
        let first = start + PERIOD;
        assert_eq!(idle(&mut kept, start), (vec![], Some(first)));
        // 600 are needed once.
        let used: Vec<_> = (0..600).map(|_| kept.take(8).unwrap()).collect();
        used.into_iter().rev().for_each(|i| kept.give(8, i));
        assert_eq!(idle(&mut kept, start + seconds(0.9)), (vec![], Some(first)));
        let (gone, next) = idle(&mut kept, first);
        assert_eq!(gone, (0..400 - KEEP).collect::<Vec<_>>());
        assert_eq!(next, Some(first + PERIOD));
        // The others were not needed since.
        let (gone, next) = idle(&mut kept, first + PERIOD);
        assert_eq!(gone, (400 - KEEP..1000 - KEEP).collect::<Vec<_>>());
        assert_eq!((kept.len(), next), (KEEP, None));
    }

    #[test]
    fn what_is_needed_again_and_again_stays() {
        let (mut kept, start) = (Kept::default(), Instant::now());
        (0..500).for_each(|i| kept.give(8, i));
        for tenth in 0..100 {
            let (gone, _) = idle(&mut kept, start + seconds(f64::from(tenth) / 10.0));
            assert_eq!(gone, []);
            // It is in use while the hub is idle, or between.
            let used: Vec<_> = (0..500).map_while(|_| kept.take(8)).collect();
            idle(&mut kept, start + seconds(f64::from(tenth) / 10.0 + 0.05));
            used.into_iter().for_each(|i| kept.give(8, i));
        }
        assert_eq!(kept.len(), 500);
    }
}

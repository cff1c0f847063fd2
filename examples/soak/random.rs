//! Where all choices come from: SplitMix64 (Steele, Lea, Flood 2014).

use std::ops::RangeInclusive;
use std::time::Duration;

#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Random(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A generator of its own for a part, so that what the part draws does not depend on
    /// what the others do meanwhile.
    pub(crate) fn fork(&mut self) -> Random {
        Random(self.next())
    }

    pub(crate) fn among(&mut self, range: RangeInclusive<usize>) -> usize {
        let size = (range.end() - range.start() + 1) as u64;
        range.start() + (self.next() % size) as usize
    }

    pub(crate) fn percent(&mut self, chance: usize) -> bool {
        self.among(0..=99) < chance
    }

    /// Up to so many microseconds, zero now and then.
    pub(crate) fn moment(&mut self, most: usize) -> Duration {
        let micros = self.among(0..=most);
        Duration::from_micros(if self.percent(10) { 0 } else { micros as u64 })
    }

    pub(crate) fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.among(0..=last));
        }
    }
}

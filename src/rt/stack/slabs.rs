//! Slabs: large mappings that stacks of one size are cut from, for all hubs.
//!
//! A slab has a place for each of its stacks, the lowest page of which is the guard. The
//! first slab of a size is small and each has as many places as all before, up to 64 MiB: who
//! needs a few stacks takes little address space, who needs a million few mappings. A place
//! gets its guard when it is used for the first time.
//!
//! # Guards and the limit on mappings
//!
//! Linux counts mappings, 65,530 by default (`vm.max_map_count`). A guard made by
//! `MADV_GUARD_INSTALL` (Linux 6.13) is no mapping: a million stacks are a few of them. Where it
//! is refused (before 6.13, and in a process that locks its memory) it is made by `mprotect`,
//! which splits the mapping: two for each stack. Those have a budget of two thirds of the
//! limit, so that the program can still map; beyond it a greenlet is told that there is no stack
//! for it. Each slab tries for itself, since memory can be locked at any time.
//!
//! # Coming back
//!
//! Hubs keep the stacks they use (see `hub/stacks.rs`); what they give back comes here. The
//! last few stay as they are, for the next hub. Of others the memory is given back at once. New
//! stacks come from the oldest slab that has room, so that the youngest become empty, and an
//! empty slab is unmapped, unless it is the only one with room.

use super::overflow;
use super::region::{Region, page_size};
use corosensei::stack::valgrind::ValgrindStackRegistration;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Slabs are not larger than this, unless one stack is: where the system counts all that is
/// mapped as used, they fail late, and little is lost.
const LARGEST: usize = 64 << 20;

/// How many places the first slab has.
const FIRST: usize = 8;

/// So many stacks of each size that have come back keep their memory.
const WARM: usize = 32;

static SLABS: Mutex<Slabs> = Mutex::new(Slabs::new());

fn lock() -> MutexGuard<'static, Slabs> {
    SLABS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A stack's memory; it goes back when this is dropped.
pub(super) struct Slot {
    place: Place,
    _valgrind: ValgrindStackRegistration,
}

/// Where a stack is.
#[derive(Clone, Copy)]
struct Place {
    /// With the guard.
    bytes: usize,
    /// Its slab's number.
    slab: usize,
    low: usize,
}

impl Slot {
    /// At least `size` bytes above a guard page.
    pub(super) fn new(size: usize) -> io::Result<Self> {
        let page = page_size();
        let bytes = size.next_multiple_of(page) + page;
        let place = lock().take(bytes)?;
        let at = std::ptr::with_exposed_provenance_mut(place.low);
        let _valgrind = ValgrindStackRegistration::new(at, bytes);
        Ok(Slot { place, _valgrind })
    }

    pub(super) fn low(&self) -> usize {
        self.place.low
    }

    pub(super) fn high(&self) -> usize {
        self.place.low + self.place.bytes
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        lock().give(self.place);
    }
}

struct Slab {
    region: Region,
    places: usize,
    /// So many have been used, and have their guards.
    begun: usize,
    /// Offsets of those of them that are free, without memory; the last one was so last.
    free: Vec<usize>,
    /// The guards are made by `mprotect`.
    protects: bool,
}

impl Slab {
    fn is_full(&self) -> bool {
        self.free.is_empty() && self.begun == self.places
    }

    fn is_empty(&self) -> bool {
        self.free.len() == self.begun
    }

    fn mappings(&self) -> usize {
        2 * self.begun * usize::from(self.protects)
    }
}

/// The slabs of one size.
#[derive(Default)]
struct Class {
    slabs: BTreeMap<usize, Slab>,
    /// Those that have room.
    open: BTreeSet<usize>,
    places: usize,
    /// Stacks that came back and keep their memory.
    warm: Vec<Place>,
}

struct Slabs {
    /// By the bytes of a place.
    classes: BTreeMap<usize, Class>,
    next: usize,
    /// What `mprotect` has cost.
    mappings: usize,
    /// How much it may cost, once that was asked for.
    budget: Option<usize>,
}

impl Slabs {
    const fn new() -> Self {
        Slabs {
            classes: BTreeMap::new(),
            next: 0,
            mappings: 0,
            budget: None,
        }
    }

    fn take(&mut self, bytes: usize) -> io::Result<Place> {
        let class = self.classes.entry(bytes).or_default();
        if let Some(place) = class.warm.pop() {
            return Ok(place);
        }
        let number = match class.open.first() {
            Some(&oldest) => oldest,
            None => self.add(bytes)?,
        };
        let class = self.classes.get_mut(&bytes).expect("just there");
        let slab = class.slabs.get_mut(&number).expect("open ones are there");
        // A slab has guards of one kind. If it has some, and may have no more of them, memory has
        // been locked since: it gets no more places, and another one tries for itself.
        let offset = match slab.free.pop() {
            Some(offset) => offset,
            None => {
                let offset = slab.begun * bytes;
                if !slab.protects {
                    match slab.region.guard(offset) {
                        Ok(()) => {}
                        Err(_) if slab.begun == 0 => slab.protects = true,
                        Err(_) => {
                            class.places -= slab.places - slab.begun;
                            slab.places = slab.begun;
                            class.open.remove(&number);
                            return self.take(bytes);
                        }
                    }
                }
                if slab.protects {
                    let budget = *self.budget.get_or_insert_with(budget);
                    if self.mappings + 2 > budget {
                        return Err(over(budget));
                    }
                    slab.region.protect(offset)?;
                    self.mappings += 2;
                }
                slab.begun += 1;
                offset
            }
        };
        if slab.is_full() {
            class.open.remove(&number);
        }
        Ok(Place {
            bytes,
            slab: number,
            low: slab.region.low() + offset,
        })
    }

    /// A new slab, or where there is no room for so much, a smaller one.
    fn add(&mut self, bytes: usize) -> io::Result<usize> {
        let most = (LARGEST / bytes).max(1);
        let mut places = self.classes[&bytes]
            .places
            .clamp(FIRST, most.max(FIRST))
            .min(most);
        let region = loop {
            match bytes.checked_mul(places).map(Region::new) {
                Some(Ok(region)) => break region,
                _ if places > 1 => places /= 2,
                // Other sizes may have some that nobody uses.
                _ if self.unmap_empty() => {}
                Some(Err(error)) => return Err(error),
                None => return Err(io::ErrorKind::OutOfMemory.into()),
            }
        };
        let number = self.next;
        self.next += 1;
        overflow::watch(region.low(), bytes, places);
        let slab = Slab {
            region,
            places,
            begun: 0,
            free: Vec::new(),
            protects: false,
        };
        let class = self.classes.get_mut(&bytes).expect("the caller's");
        class.places += places;
        class.slabs.insert(number, slab);
        class.open.insert(number);
        Ok(number)
    }

    fn give(&mut self, place: Place) {
        let class = self.classes.get_mut(&place.bytes).expect("it is from one");
        if class.warm.len() < WARM {
            return class.warm.push(place);
        }
        let slab = class.slabs.get_mut(&place.slab).expect("it is from one");
        let offset = place.low - slab.region.low();
        slab.free.push(offset);
        class.open.insert(place.slab);
        if slab.is_empty() && class.open.len() > 1 {
            self.unmap(place.bytes, place.slab);
        } else {
            slab.region.discard(offset, place.bytes);
        }
    }

    fn unmap(&mut self, bytes: usize, number: usize) {
        let class = self.classes.get_mut(&bytes).expect("the caller's");
        let slab = class.slabs.remove(&number).expect("the caller's");
        overflow::forget(slab.region.low());
        class.open.remove(&number);
        class.places -= slab.places;
        self.mappings -= slab.mappings();
    }

    /// Unmaps what nobody uses; false if there was none.
    fn unmap_empty(&mut self) -> bool {
        let mut empty = Vec::new();
        for (&bytes, class) in &mut self.classes {
            for place in class.warm.drain(..) {
                let slab = class.slabs.get_mut(&place.slab).expect("it is from one");
                let offset = place.low - slab.region.low();
                slab.region.discard(offset, bytes);
                slab.free.push(offset);
                class.open.insert(place.slab);
            }
            let all = class.slabs.iter().filter(|(_, slab)| slab.is_empty());
            empty.extend(all.map(|(&number, _)| (bytes, number)));
        }
        for &(bytes, number) in &empty {
            self.unmap(bytes, number);
        }
        !empty.is_empty()
    }
}

/// How many mappings guards may cost: two thirds of what the process may have.
fn budget() -> usize {
    // The kernel's default, where it does not tell.
    const USUAL: usize = 65_530;
    let told = std::fs::read_to_string("/proc/sys/vm/max_map_count");
    let limit = told.ok().and_then(|text| text.trim().parse::<usize>().ok());
    limit.unwrap_or(USUAL) / 3 * 2
}

fn over(budget: usize) -> io::Error {
    io::Error::new(
        io::ErrorKind::OutOfMemory,
        format!(
            "{} stacks are in use, and their guard pages have cost as many mappings as they may; \
             raise vm.max_map_count, or use Linux 6.13, where they cost none (but in locked memory)",
            budget / 2
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    impl Slabs {
        /// All places of which somebody has the use, by where they begin.
        fn check(&self, used: &BTreeMap<usize, Place>) {
            let mut mappings = 0;
            for (bytes, class) in &self.classes {
                let open = class.slabs.iter().filter(|(_, slab)| !slab.is_full());
                assert!(open.map(|(number, _)| number).eq(&class.open));
                let places = class.slabs.values().map(|slab| slab.places);
                assert_eq!(places.sum::<usize>(), class.places);
                mappings += class.slabs.values().map(Slab::mappings).sum::<usize>();
                for (number, slab) in &class.slabs {
                    let here = |place: &&Place| place.slab == *number;
                    let warm = class.warm.iter().filter(here).count();
                    let used = used.values().filter(here).count();
                    assert_eq!(used + warm + slab.free.len(), slab.begun);
                    assert!(slab.begun <= slab.places);
                }
                // Of the empty ones, one at most is kept.
                let empty = class.slabs.values().filter(|slab| slab.is_empty()).count();
                assert!(empty <= 1 && class.warm.len() <= WARM, "{bytes}: {empty}");
            }
            assert_eq!(mappings, self.mappings);
            let ends = used.values().map(|place| place.low + place.bytes);
            let next = used.keys().skip(1);
            assert!(ends.zip(next).all(|(end, next)| end <= *next), "overlap");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]

        /// Stacks of three sizes come and go, and nobody gets another's.
        #[test]
        #[cfg_attr(miri, ignore = "mappings, which Miri does not make")]
        fn places_are_used_by_one_at_a_time(
            steps in proptest::collection::vec((0..3usize, 0..90usize, any::<u16>()), 1..60)
        ) {
            let mut slabs = Slabs::new();
            let mut used = BTreeMap::new();
            for (size, number, which) in steps {
                if number > 45 {
                    for _ in 0..number {
                        let place = slabs.take((40 << 10) << size).unwrap();
                        prop_assert!(used.insert(place.low, place).is_none());
                    }
                } else {
                    for _ in 0..2 * number.min(used.len() / 2) {
                        let at = usize::from(which) % used.len();
                        let low = *used.keys().nth(at).unwrap();
                        slabs.give(used.remove(&low).unwrap());
                    }
                }
                slabs.check(&used);
            }
            for place in std::mem::take(&mut used).into_values() {
                slabs.give(place);
            }
            slabs.check(&used);
            slabs.unmap_empty();
            prop_assert!(slabs.classes.values().all(|class| class.slabs.is_empty()));
        }
    }

    /// Twice as many each time, up to the largest; and the oldest is used first.
    #[test]
    #[cfg_attr(miri, ignore = "mappings, which Miri does not make")]
    fn slabs_grow() {
        let bytes = 1 << 20;
        let mut slabs = Slabs::new();
        let places: Vec<_> = (0..200).map(|_| slabs.take(bytes).unwrap()).collect();
        let sizes = |slabs: &Slabs| -> Vec<_> {
            let class = &slabs.classes[&bytes];
            class.slabs.values().map(|slab| slab.places).collect()
        };
        assert_eq!(sizes(&slabs), [8, 8, 16, 32, 64, 64, 64]);
        // From the back: the warm ones pin the last two slabs.
        for &place in places.iter().rev() {
            slabs.give(place);
        }
        assert_eq!(sizes(&slabs), [64, 64]);
        assert_eq!(slabs.classes[&bytes].warm.len(), WARM);
        let again = slabs.take(bytes).unwrap();
        assert_eq!(
            again.low,
            places[200 - WARM].low,
            "the last one that came back warm"
        );
        slabs.give(again);
        assert!(slabs.unmap_empty() && !slabs.unmap_empty());
        // One stack can be larger than any slab.
        let large = slabs.take(LARGEST * 2).unwrap();
        assert_eq!(slabs.classes[&large.bytes].places, 1);
        slabs.give(large);
    }

    #[test]
    #[cfg_attr(miri, ignore = "mappings, which Miri does not make")]
    fn guards_by_access_rights_have_a_budget() {
        let mut slabs = Slabs::new();
        slabs.budget = Some(9);
        let bytes = 40 << 10;
        let first = slabs.take(bytes).unwrap();
        slabs
            .classes
            .get_mut(&bytes)
            .unwrap()
            .slabs
            .get_mut(&0)
            .unwrap()
            .protects = true;
        slabs.mappings = 2;
        let rest: Vec<_> = (0..3).map(|_| slabs.take(bytes).unwrap()).collect();
        let error = slabs.take(bytes).err().unwrap();
        assert_eq!(error.kind(), io::ErrorKind::OutOfMemory);
        assert!(
            error.to_string().starts_with("4 stacks are in use"),
            "{error}"
        );
        slabs.give(first);
        slabs.check(&rest.iter().map(|place| (place.low, *place)).collect());
        rest.into_iter().for_each(|place| slabs.give(place));
    }
}

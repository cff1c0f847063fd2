//! The timers of one hub: plain data, generic over what a timer stands for, without a clock.
//!
//! Almost every timer guards a wait that ends long before its deadline, so arming and cancelling
//! must cost next to nothing. A relative timer is therefore only noted in the *fresh list*;
//! [`Timers::settle`], called at the end of a turn with that turn's one clock reading, settles those
//! still armed: gives them their deadlines. The reading is later than their arming, so no timer is
//! ever early. The list has all slots that were taken since, once each, and some are to be passed
//! over: when a timer is cancelled, its slot stays in the list, and is the next that is given out.
//! So the list is not longer than the slab, and a wait that ends within its turn links and unlinks
//! nothing.
//!
//! A settled timer is *near*, in the heap, or *far*: then it lies in a bucket with all others of the
//! same half second, in no order, and is linked and unlinked in constant time. Most are cancelled
//! there. What is left of a bucket is moved to the heap when its half second begins. So the heap
//! alone decides what expires and when, exactly, and stays small; but when nothing is near, the hub
//! wakes once for a bucket, and only then knows the earliest deadline ([`Timers::next_look`]). The
//! buckets are a ring: what is too far away for it, more than a minute, goes to the heap at once.
//! (That is one level of a timing wheel: G. Varghese and A. Lauck, "Hashed and
//! hierarchical timing wheels", SOSP 1987.)
//!
//! The heap is d-ary with d = 4 (D. B. Johnson, "Priority queues with update and finding minimum
//! spanning trees", Information Processing Letters 4(3), 1975): half as deep as a binary one, and
//! siblings lie side by side in memory. It is *indexed*: each timer knows its position, so a
//! cancelled one is taken out and leaves no garbage. What adds to the heap or takes from it costs
//! O(log n) for each timer; all else O(1), amortised over the growth of the slab that holds the
//! timers, whose memory is reused, but not given back.
//!
//! # Why not the heap alone, or a wheel alone
//!
//! A bench of this file alone, with the same fresh list before each. CPU ns for each timer, the
//! least of some runs on a shared Zen 4 core, so 20 % mean nothing; over a turn: 256 timers are
//! armed, settled and then cancelled, in the order of their arming where nothing else is said; the
//! others have 60 to 120 s to go:
//!
//! | | heap | buckets and heap | wheel |
//! |---|--:|--:|--:|
//! | armed and cancelled in one turn | 4 | 4 | 4 |
//! | over a turn, 5 s, none else armed | 43 | 23 | 15 |
//! | the same with 1,000 others | 56 | 18 | 15 |
//! | the same with 1,000,000 others | 91 | 26 | 15 |
//! | 10 ms to 120 s, in any order, 1,000,000 others | 71 | 29 | 25 |
//! | 1,000,000 sleeps of 0 to 1 s, armed / expired | 70 / 635 | 71 / 581 | 40 / 497 |
//! | 1,000,000 sleeps of 100 ms, armed / expired | 64 / 153 | 73 / 161 | 40 / 39 |
//!
//! The wheel (seven levels of 64 buckets, a tick of 2^20 ns, each bucket that is due sorted) is
//! better still, but a timer is moved at each level, its hub wakes for each of these moves, and a
//! bucket of a high level is moved in one go, whatever is in it.
//!
//! # Invariants
//!
//! A slot is in one place only (fresh, bucket, heap, never, free list); a timer in a
//! bucket has a deadline after the half second `near`, and before the ring's end; a heap entry and
//! its slot name each other; a heap entry is greater than its parent, by deadline, then by
//! sequence; the fresh list has each slot that is fresh, and none twice. The sequence is given out
//! at arming, below a bit for the [`Rank`], so equal deadlines expire in order of rank, then of
//! arming, whatever the order in which they enter the heap.

use std::num::NonZeroU32;
use std::time::{Duration, Instant};

/// Children of a heap node.
const ARITY: usize = 4;

/// Buckets of the ring.
const BUCKETS: u64 = u128::BITS as u64;

/// A bucket takes 2^29 ns: 0.54 s.
const WIDTH: u32 = 29;

/// The end of a list of slots.
const NONE: u32 = u32::MAX;

/// Names a timer. Stale, and harmless, once that has expired or been cancelled (as long as its
/// slot is not reused 2^31 times: the generation wraps).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TimerId {
    slot: u32,
    generation: NonZeroU32,
}

/// Where a slot is: in a bucket, by its deadline in nanoseconds since the beginning; in the heap, at
/// which position; `Never`, armed with a deadline beyond what
/// `Instant` can hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Fresh(Duration),
    Far(u64),
    Heap(u32),
    Never,
    Free,
}

#[derive(Clone, Copy)]
struct Slot<K> {
    key: K,
    sequence: u64,
    /// Another one each time the slot is freed: tells a stale id from a live one. It is odd.
    generation: NonZeroU32,
    /// The neighbours in the bucket. The free list uses `next` alone.
    prev: u32,
    next: u32,
    /// Whether it is in the fresh list, and fresh or not.
    listed: bool,
    place: Place,
}

/// How timers with the same deadline are ordered before their arming order is.
pub(crate) trait Rank: Copy {
    /// True for those that only limit what something else may end: they expire
    /// after the others of the same deadline.
    fn is_limit(&self) -> bool;
}

/// Deadline, sequence, slot. The sequence is unique, so comparing entries touches no slot.
type Entry = (Instant, u64, u32);

/// The timers of one hub. `K` is what an expired timer hands back.
pub(crate) struct Timers<K> {
    slots: Vec<Slot<K>>,
    heap: Vec<Entry>,
    fresh: Vec<u32>,
    /// When it was first settled: what the buckets count from.
    begin: Option<Instant>,
    /// No timer of this half second, or an earlier one, is in a bucket.
    near: u64,
    /// The first slot of each bucket.
    buckets: [u32; BUCKETS as usize],
    /// Which of them are not empty, by bits.
    filled: u128,
    /// The slot freed last, which is the likeliest to be in the cache.
    free: u32,
    armed: u32,
    /// Those among them whose deadline overflows.
    endless: u32,
    /// For the next timer. At one a nanosecond it lasts for 584 years.
    sequence: u64,
}

impl<K: Rank> Timers<K> {
    /// No timers. Allocates nothing.
    pub(crate) const fn new() -> Self {
        Timers {
            slots: Vec::new(),
            heap: Vec::new(),
            fresh: Vec::new(),
            begin: None,
            near: 0,
            buckets: [NONE; BUCKETS as usize],
            filled: 0,
            free: NONE,
            armed: 0,
            endless: 0,
            sequence: 0,
        }
    }

    /// Arms a timer that expires `duration` after the next [`settle`](Self::settle).
    #[inline]
    pub(crate) fn arm_after(&mut self, duration: Duration, key: K) -> TimerId {
        self.occupy(key, Place::Fresh(duration))
    }

    /// Arms a timer that expires at `deadline`, which may have passed.
    pub(crate) fn arm_at(&mut self, deadline: Instant, key: K) -> TimerId {
        let id = self.occupy(key, Place::Never);
        self.place(deadline, id.slot);
        id
    }

    /// Disarms a timer. Returns `false`, and does nothing, if it has expired or been cancelled.
    #[inline]
    pub(crate) fn cancel(&mut self, id: TimerId) -> bool {
        // Not by a copy of its place, which was written in parts just now.
        if let Some(slot) = self.live(id)
            && let Place::Fresh(_) = slot.place
        {
            self.vacate(id.slot);
            return true;
        }
        self.cancel_settled(id)
    }

    /// Out of line, since a wait that ends within its turn takes the way above.
    #[inline(never)]
    fn cancel_settled(&mut self, id: TimerId) -> bool {
        match self.live(id).map(|slot| slot.place) {
            Some(Place::Far(at)) => self.unlink(id.slot, at),
            Some(Place::Heap(position)) => self.remove(position as usize),
            Some(Place::Never) => self.endless -= 1,
            _ => return false,
        }
        self.vacate(id.slot);
        true
    }

    /// Gives the fresh timers their deadlines, counted from `now`.
    /// One whose deadline overflows `Instant` stays armed, and nowhere, until it is cancelled.
    pub(crate) fn settle(&mut self, now: Instant) {
        self.begin.get_or_insert(now);
        self.bring_near(self.half_second(now));
        let mut fresh = std::mem::take(&mut self.fresh);
        for at in fresh.drain(..) {
            let slot = &mut self.slots[at as usize];
            slot.listed = false;
            let Place::Fresh(duration) = slot.place else {
                continue;
            };
            slot.place = Place::Never;
            match now.checked_add(duration) {
                Some(deadline) => self.place(deadline, at),
                None => self.endless += 1,
            }
        }
        self.fresh = fresh;
    }

    #[cfg(test)]
    /// Whether [`settle`](Self::settle) has anything to do, and so needs a clock reading.
    #[inline]
    pub(crate) fn has_fresh(&self) -> bool {
        let mut fresh = self.fresh.iter();
        fresh.any(|&at| matches!(self.slots[at as usize].place, Place::Fresh(_)))
    }

    #[cfg(test)]
    /// Whether a timer can still expire. A fresh one counts, even if its deadline will overflow.
    pub(crate) fn has_pending(&self) -> bool {
        self.has_fresh() || !self.heap.is_empty() || self.filled != 0
    }

    /// Whether no timer is armed, but for those that will never expire.
    pub(crate) fn is_empty(&self) -> bool {
        self.armed == self.endless
    }

    /// The number of armed timers, of whatever kind.
    pub(crate) fn len(&self) -> usize {
        self.armed as usize
    }

    /// When to settle again at the latest: the earliest deadline, or half a second before it at
    /// most. Fresh timers have none yet, so settle first.
    pub(crate) fn next_look(&self) -> Option<Instant> {
        let far = self.first_far().map(|far| self.instant(far << WIDTH));
        let near = self.heap.first().map(|&(deadline, ..)| deadline);
        near.into_iter().chain(far).min()
    }

    /// The key of the earliest timer, if its deadline is `now` or earlier, when it was settled.
    pub(crate) fn expired(&self, now: Instant) -> Option<K> {
        let &(deadline, _, slot) = self.heap.first()?;
        (deadline <= now).then(|| self.slots[slot as usize].key)
    }

    /// Disarms the earliest timer that is due at `now`, when it was settled, of equal ones the
    /// first armed.
    pub(crate) fn pop_expired(&mut self, now: Instant) -> Option<K> {
        let &(_, _, slot) = self.heap.first().filter(|first| first.0 <= now)?;
        self.remove(0);
        Some(self.vacate(slot))
    }

    /// When the timer expires, or would if it were settled at `now`. `None`: not armed, or never.
    pub(crate) fn deadline(&self, id: TimerId, now: Instant) -> Option<Instant> {
        match self.live(id)?.place {
            Place::Fresh(duration) => now.checked_add(duration),
            Place::Far(at) => Some(self.instant(at)),
            Place::Heap(position) => Some(self.heap[position as usize].0),
            Place::Never | Place::Free => None,
        }
    }

    #[inline]
    fn live(&self, id: TimerId) -> Option<&Slot<K>> {
        let slot = self.slots.get(id.slot as usize)?;
        (slot.generation == id.generation).then_some(slot)
    }

    /// Takes a free slot.
    #[inline]
    fn occupy(&mut self, key: K, place: Place) -> TimerId {
        if self.free == NONE {
            self.grow(key);
        }
        let slot = self.free;
        let taken = &mut self.slots[slot as usize];
        self.free = taken.next;
        (taken.key, taken.sequence, taken.place) = (key, self.sequence, place);
        let generation = taken.generation;
        self.sequence += 1;
        self.armed += 1;
        if !taken.listed {
            self.list(slot);
        }
        TimerId { slot, generation }
    }

    /// A new free slot, of that key for the time being.
    #[cold]
    #[inline(never)]
    fn grow(&mut self, key: K) {
        let slot = self.slots.len() as u32;
        assert!(slot < NONE, "2^32 timers are armed on one hub");
        self.slots.push(Slot {
            key,
            sequence: 0,
            generation: NonZeroU32::MIN,
            prev: NONE,
            next: NONE,
            listed: false,
            place: Place::Free,
        });
        self.free = slot;
    }

    #[cold]
    #[inline(never)]
    fn list(&mut self, slot: u32) {
        self.slots[slot as usize].listed = true;
        self.fresh.push(slot);
    }

    /// Frees a slot that is in no bucket, nor in the heap, any more. Its id is stale from here on.
    #[inline]
    fn vacate(&mut self, slot: u32) -> K {
        let freed = &mut self.slots[slot as usize];
        // Odd again.
        let next = freed.generation.get().wrapping_add(2);
        freed.generation = NonZeroU32::MIN | next;
        (freed.place, freed.next) = (Place::Free, self.free);
        self.free = slot;
        self.armed -= 1;
        freed.key
    }

    // ---- the buckets ----

    /// Nanoseconds since the beginning; 0 for what was before, or if there is none yet.
    fn nanos(&self, t: Instant) -> u64 {
        let since = |begin| t.saturating_duration_since(begin).as_nanos();
        u64::try_from(self.begin.map_or(0, since)).unwrap_or(u64::MAX)
    }

    fn half_second(&self, t: Instant) -> u64 {
        self.nanos(t) >> WIDTH
    }

    /// The instant of a timer in a bucket.
    fn instant(&self, nanos: u64) -> Instant {
        self.begin.expect("settled") + Duration::from_nanos(nanos)
    }

    /// Puts a timer where its deadline belongs.
    fn place(&mut self, deadline: Instant, slot: u32) {
        let nanos = self.nanos(deadline);
        let ahead = (nanos >> WIDTH).saturating_sub(self.near);
        if ahead == 0 || ahead >= BUCKETS {
            return self.push(deadline, slot);
        }
        let bucket = (nanos >> WIDTH) % BUCKETS;
        let next = std::mem::replace(&mut self.buckets[bucket as usize], slot);
        self.filled |= 1 << bucket;
        if let Some(next) = self.slots.get_mut(next as usize) {
            next.prev = slot;
        }
        let timer = &mut self.slots[slot as usize];
        (timer.prev, timer.next, timer.place) = (NONE, next, Place::Far(nanos));
    }

    fn unlink(&mut self, slot: u32, nanos: u64) {
        let Slot { prev, next, .. } = self.slots[slot as usize];
        if let Some(next) = self.slots.get_mut(next as usize) {
            next.prev = prev;
        }
        if let Some(prev) = self.slots.get_mut(prev as usize) {
            prev.next = next;
            return;
        }
        let bucket = (nanos >> WIDTH) % BUCKETS;
        self.buckets[bucket as usize] = next;
        if next == NONE {
            self.filled &= !(1 << bucket);
        }
    }

    /// The half second of the first bucket that is not empty.
    fn first_far(&self) -> Option<u64> {
        if self.filled == 0 {
            return None;
        }
        let from_near = self.filled.rotate_right((self.near % BUCKETS) as u32);
        Some(self.near + u64::from(from_near.trailing_zeros()))
    }

    /// Moves the timers of that half second and of earlier ones to the heap.
    fn bring_near(&mut self, until: u64) {
        while let Some(far) = self.first_far().filter(|&far| far <= until) {
            self.near = far;
            let bucket = far % BUCKETS;
            self.filled &= !(1 << bucket);
            let mut slot = std::mem::replace(&mut self.buckets[bucket as usize], NONE);
            while let Some(timer) = self.slots.get(slot as usize) {
                let (place, next) = (timer.place, timer.next);
                let Place::Far(nanos) = place else {
                    unreachable!("it is in a bucket");
                };
                self.push(self.instant(nanos), slot);
                slot = next;
            }
        }
        self.near = self.near.max(until);
    }

    // ---- the heap ----

    fn push(&mut self, deadline: Instant, slot: u32) {
        let timer = &self.slots[slot as usize];
        let rank = u64::from(timer.key.is_limit()) << 63;
        let entry = (deadline, rank | timer.sequence, slot);
        self.heap.push(entry);
        self.sift_up(self.heap.len() - 1, entry);
    }

    fn remove(&mut self, position: usize) {
        self.heap.swap_remove(position);
        if let Some(&last) = self.heap.get(position) {
            // It may come from another branch, so it may belong above this position or below.
            if position > 0 && last < self.heap[(position - 1) / ARITY] {
                self.sift_up(position, last);
            } else {
                self.sift_down(position, last);
            }
        }
    }

    /// Puts `entry` into the hole at `position`, or above.
    fn sift_up(&mut self, mut position: usize, entry: Entry) {
        while position > 0 && entry < self.heap[(position - 1) / ARITY] {
            let parent = (position - 1) / ARITY;
            self.put(position, self.heap[parent]);
            position = parent;
        }
        self.put(position, entry);
    }

    /// Puts `entry` into the hole at `position`, or below.
    fn sift_down(&mut self, mut position: usize, entry: Entry) {
        let mut hole = usize::MAX;
        while hole != position {
            hole = position;
            let mut least = entry;
            let first = hole * ARITY + 1;
            for child in first..self.heap.len().min(first + ARITY) {
                if self.heap[child] < least {
                    (position, least) = (child, self.heap[child]);
                }
            }
            self.put(hole, least);
        }
    }

    fn put(&mut self, position: usize, entry: Entry) {
        self.heap[position] = entry;
        self.slots[entry.2 as usize].place = Place::Heap(position as u32);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::{collection::vec, prelude::*, sample::Index};

    const MS: Duration = Duration::from_millis(1);

    impl Rank for () {
        fn is_limit(&self) -> bool {
            false
        }
    }

    /// Odd keys come last.
    impl Rank for usize {
        fn is_limit(&self) -> bool {
            self % 2 == 1
        }
    }

    impl<K: Rank> Timers<K> {
        /// Panics unless the invariants in the module docs hold.
        fn check(&self) {
            for (position, entry) in self.heap.iter().enumerate() {
                let slot = &self.slots[entry.2 as usize];
                assert_eq!(slot.place, Place::Heap(position as u32));
                let rank = u64::from(slot.key.is_limit()) << 63;
                assert_eq!(rank | slot.sequence, entry.1);
                assert!(position == 0 || self.heap[(position - 1) / ARITY] < *entry);
            }
            let is_fresh = |slot: &Slot<K>| matches!(slot.place, Place::Fresh(_));
            let fresh = self.slots.iter().filter(|slot| is_fresh(slot)).count();
            let mut listed = vec![false; self.slots.len()];
            for &at in &self.fresh {
                assert!(!std::mem::replace(&mut listed[at as usize], true));
            }
            for (slot, listed) in self.slots.iter().zip(listed) {
                assert!(slot.listed == listed && (listed || !is_fresh(slot)));
            }
            let mut far = 0;
            for (bucket, &first) in self.buckets.iter().enumerate() {
                assert_eq!(first != NONE, self.filled & (1 << bucket) != 0);
                let (mut prev, mut at) = (NONE, first);
                while let Some(slot) = self.slots.get(at as usize) {
                    let Place::Far(nanos) = slot.place else {
                        panic!("{:?} in a bucket", slot.place);
                    };
                    let half_second = nanos >> WIDTH;
                    assert_eq!((half_second % BUCKETS, slot.prev), (bucket as u64, prev));
                    assert!((self.near + 1..self.near + BUCKETS).contains(&half_second));
                    (prev, at, far) = (at, slot.next, far + 1);
                }
            }
            let (mut at, mut free) = (self.free, 0);
            while let Some(slot) = self.slots.get(at as usize) {
                assert!(slot.place == Place::Free && free < self.slots.len());
                (at, free) = (slot.next, free + 1);
            }
            let never = self.slots.iter().filter(|slot| slot.place == Place::Never);
            let endless = never.count();
            assert_eq!(endless, self.endless as usize);
            assert_eq!(fresh + far + self.heap.len() + endless, self.len());
            assert_eq!(self.len() + free, self.slots.len());
        }
    }

    #[derive(Clone, Copy)]
    struct Model {
        id: TimerId,
        armed: bool,
        fresh: Option<Duration>,
        at: Option<Instant>,
    }

    /// Some milliseconds, or enough for other buckets, or for more than all of them.
    fn time(n: u32) -> Duration {
        n % 20 * [MS, 300 * MS, 8000 * MS][n as usize / 20]
    }

    proptest! {
        #[test]
        fn agrees_with_a_plain_list(script in vec((0..16, 0..60u32, any::<Index>()), 1..300)) {
            let start = Instant::now();
            let (mut now, mut timers) = (start, Timers::new());
            // All timers ever armed, in arming order: the key is the index.
            let mut list: Vec<Model> = Vec::new();
            for (operation, n, index) in script {
                let key = list.len();
                match operation {
                    0..=4 => {
                        let duration = if operation == 0 { Duration::MAX } else { time(n) };
                        let id = timers.arm_after(duration, key);
                        list.push(Model { id, armed: true, fresh: Some(duration), at: None });
                    }
                    5..=8 => {
                        let deadline = start + time(n);
                        let id = timers.arm_at(deadline, key);
                        list.push(Model { id, armed: true, fresh: None, at: Some(deadline) });
                    }
                    9..=11 if key > 0 => {
                        let Model { id, armed, .. } = list[index.index(key)];
                        prop_assert_eq!(timers.cancel(id), armed);
                        list[index.index(key)] = Model { id, armed: false, fresh: None, at: None };
                    }
                    12..=13 => {
                        now += time(n) / 8;
                        timers.settle(now);
                        for model in list.iter_mut().filter(|model| model.fresh.is_some()) {
                            model.at = now.checked_add(model.fresh.take().unwrap());
                        }
                    }
                    _ => {
                        let at = |(key, model): (usize, &Model)| Some((model.at?, key % 2, key));
                        let first = list.iter().enumerate().filter_map(at).min();
                        let first = first.filter(|&(at, ..)| at <= now).map(|(.., key)| key);
                        prop_assert_eq!(timers.pop_expired(now), first);
                        if let Some(key) = first {
                            list[key] = Model { armed: false, at: None, ..list[key] };
                        }
                    }
                }
                timers.check();
                let fresh = list.iter().any(|model| model.fresh.is_some());
                let next = list.iter().filter_map(|model| model.at).min();
                let armed = list.iter().filter(|model| model.armed).count();
                prop_assert_eq!(timers.has_fresh(), fresh);
                let look = timers.next_look();
                prop_assert_eq!(look.is_some(), next.is_some());
                if let (Some(look), Some(next)) = (look, next) {
                    let early = next.duration_since(look);
                    prop_assert!(look <= next && early < Duration::from_nanos(1 << WIDTH));
                    prop_assert!(look == next || look > now, "it brings on nothing");
                }
                // One whose deadline has turned out to overflow ends nothing.
                let endless = |model: &&Model| {
                    model.armed && model.fresh.is_none() && model.at.is_none()
                };
                let endless = list.iter().filter(endless).count();
                prop_assert_eq!((timers.len(), timers.is_empty()), (armed, armed == endless));
                prop_assert_eq!(timers.has_pending(), fresh || next.is_some());
                for Model { id, fresh, at, .. } in &list {
                    let deadline = at.or(fresh.and_then(|duration| now.checked_add(duration)));
                    prop_assert_eq!(timers.deadline(*id, now), deadline);
                }
            }
        }
    }

    #[test]
    fn a_timer_is_never_early() {
        let (mut timers, now) = (Timers::new(), Instant::now());
        timers.arm_after(5 * MS, ());
        assert_eq!(timers.pop_expired(now + 9 * MS), None);
        timers.settle(now + MS);
        assert_eq!(timers.pop_expired(now + 6 * MS - MS / 1_000_000), None);
        assert_eq!(timers.pop_expired(now + 6 * MS), Some(()));
    }

    #[test]
    fn ties_expire_in_order_of_rank_then_of_arming() {
        let (mut timers, now) = (Timers::new(), Instant::now());
        // The slots are handed out again from the last to the first: their order is not the rule.
        let ids: Vec<_> = (0..20).map(|key| timers.arm_after(MS, key)).collect();
        assert!(ids.into_iter().all(|id| timers.cancel(id)));
        for key in (0..20).step_by(2) {
            timers.arm_after(MS, key);
            timers.arm_at(now + MS, key + 1);
        }
        timers.settle(now);
        let ranked = (0..20).step_by(2).chain((1..20).step_by(2));
        let popped = std::iter::from_fn(|| {
            let first = timers.expired(now + MS);
            assert_eq!(timers.pop_expired(now + MS), first);
            first
        });
        assert!(popped.eq(ranked));
    }

    #[test]
    fn an_overflowing_deadline_is_never_reached() {
        let (mut timers, now) = (Timers::new(), Instant::now());
        let id = timers.arm_after(Duration::MAX, ());
        assert!(timers.has_pending(), "not yet known to overflow");
        timers.settle(now);
        assert!(!timers.has_pending() && timers.next_look().is_none());
        assert_eq!((timers.len(), timers.deadline(id, now)), (1, None));
        assert!(timers.cancel(id) && timers.is_empty() && !timers.cancel(id));
    }

    #[test]
    fn stale_ids_do_nothing_to_the_next_users_of_their_slots() {
        let (mut timers, now) = (Timers::new(), Instant::now());
        let fresh = timers.arm_after(MS, 0);
        let settled = timers.arm_at(now + MS, 1);
        let expired = timers.arm_at(now, 2);
        assert!(timers.cancel(fresh) && timers.cancel(settled));
        assert_eq!(timers.pop_expired(now), Some(2));
        let live = [3usize, 4, 5].map(|key| timers.arm_after(MS, key));
        assert_eq!(timers.slots.len(), 3, "the slots are reused");
        for stale in [fresh, settled, expired] {
            assert!(!timers.cancel(stale) && timers.deadline(stale, now).is_none());
        }
        assert!(live.iter().all(|&id| timers.cancel(id)) && timers.is_empty());
    }
}

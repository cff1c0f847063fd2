//! The timers of a hub (`src/rt/timers.rs`, which is private and compiled in here by its path),
//! beside a plain list that is searched from end to end.
//!
//! The file's own property test, with access to its invariants, tries random scripts; this one
//! tries those that a fuzzer has found to reach new code.

use crate::script::bytes::Bytes;
use std::time::{Duration, Instant};

#[allow(dead_code)] // Its whole interface, of which this uses a part.
#[path = "../../../src/rt/timers.rs"]
mod heap;

use heap::{Rank, TimerId, Timers};

/// More than the heap has levels for in a few bytes, and few enough for a plain list.
const MOST: usize = 300;

const MS: Duration = Duration::from_millis(1);

/// A timer's number in the order of arming, and whether it is a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Key(usize, bool);

impl Rank for Key {
    fn is_limit(&self) -> bool {
        self.1
    }
}

/// A timer as the list sees it.
struct Plain {
    key: Key,
    id: TimerId,
    /// How long after the next settling, if it has not been settled.
    fresh: Option<Duration>,
    at: Option<Instant>,
    armed: bool,
}

impl Plain {
    /// Nothing will ever come of it.
    fn is_endless(&self) -> bool {
        self.armed && self.fresh.is_none() && self.at.is_none()
    }
}

struct Both {
    timers: Timers<Key>,
    list: Vec<Plain>,
    start: Instant,
    now: Instant,
}

impl Both {
    fn arm(&mut self, limit: bool, fresh: Option<Duration>, at: Option<Instant>) {
        let key = Key(self.list.len(), limit);
        let id = match (fresh, at) {
            (Some(duration), _) => self.timers.arm_after(duration, key),
            (None, at) => self.timers.arm_at(at.expect("one of the two"), key),
        };
        self.list.push(Plain {
            key,
            id,
            fresh,
            at,
            armed: true,
        });
    }

    fn settle(&mut self) {
        self.timers.settle(self.now);
        for timer in &mut self.list {
            if let Some(duration) = timer.fresh.take() {
                timer.at = self.now.checked_add(duration);
            }
        }
    }

    /// True if there was one to expire.
    fn pop(&mut self) -> bool {
        let due = self
            .list
            .iter()
            .filter(|t| t.at.is_some_and(|at| at <= self.now));
        let first = due.map(|t| (t.at, t.key.1, t.key.0)).min().map(|t| t.2);
        let key = first.map(|i| self.list[i].key);
        assert_eq!(self.timers.expired(self.now), key);
        assert_eq!(self.timers.pop_expired(self.now), key);
        if let Some(i) = first {
            (self.list[i].at, self.list[i].armed) = (None, false);
        }
        first.is_some()
    }

    fn compare(&self) {
        let next = self.list.iter().filter_map(|t| t.at).min();
        let look = self.timers.next_look();
        assert_eq!(look.is_some(), next.is_some());
        // It may be early, but brings something on.
        assert!(look <= next && (look == next || look > Some(self.now)));
        let idle = self.list.iter().all(|t| !t.armed || t.is_endless());
        assert_eq!(self.timers.is_empty(), idle);
        for t in &self.list {
            let at = t.at.or(t.fresh.and_then(|d| self.now.checked_add(d)));
            assert_eq!(self.timers.deadline(t.id, self.now), at);
        }
    }
}

/// Panics where the two differ.
pub(crate) fn check(data: &[u8]) {
    let mut bytes = Bytes::new(data);
    let start = Instant::now();
    let mut both = Both {
        timers: Timers::new(),
        list: Vec::new(),
        start,
        now: start,
    };
    while let Some(op) = bytes.next() {
        let n = bytes.byte();
        let limit = op & 8 != 0;
        // Up to two minutes.
        let time = MS * u32::from(n % 32) * [1, 1, 64, 4096][usize::from(op >> 4 & 3)];
        match op % 8 {
            0..=3 if both.list.len() == MOST => {}
            0 if n == 255 => both.arm(limit, Some(Duration::MAX), None),
            0 | 1 => both.arm(limit, Some(time), None),
            2 | 3 => both.arm(limit, None, Some(both.start + time)),
            4 => {
                // Those that are long gone too.
                if let Some(i) = usize::from(n).checked_rem(both.list.len()) {
                    let timer = &mut both.list[i];
                    assert_eq!(both.timers.cancel(timer.id), timer.armed);
                    (timer.fresh, timer.at, timer.armed) = (None, None, false);
                }
            }
            5 => {
                both.now += time / 8;
                both.settle();
            }
            6 => {
                both.pop();
            }
            _ => {
                // A hub's turn.
                both.now += time;
                both.settle();
                while both.pop() {}
            }
        }
        both.compare();
    }
    both.settle();
    both.now += MS * 300_000;
    both.settle();
    while both.pop() {}
    both.compare();
}

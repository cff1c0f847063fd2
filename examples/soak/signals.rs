//! Events and results: one that is set once and must wake all, one that flaps, results that
//! several want to set, and waits for any or all of them.

use crate::ledger::{LEDGER, Op, Value, agree, end_by_panic, nobody_waits, off, op};
use crate::random::Random;
use crate::stage::{Part, Place};
use greenlet::sync::{AsyncResult, Event};
use greenlet::{
    Waitable, shield, sleep, timeout, wait_all, wait_all_timeout, wait_any, wait_any_timeout,
    yield_now,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

struct Board {
    /// Set once, by the ringer: whoever waits for it longer has lost a wake.
    gate: Event,
    /// Set and cleared again and again; nobody waits for it alone without a limit.
    flap: Event,
    /// What was written before the gate was set.
    before_gate: AtomicUsize,
    result: AsyncResult<(usize, Value), Value>,
    /// Sets of the result that were not refused.
    sets: AtomicUsize,
    /// Who set it, as a setter has it, plus one.
    setter: AtomicUsize,
}

impl Board {
    fn new() -> Arc<Self> {
        Arc::new(Board {
            gate: Event::new(),
            flap: Event::new(),
            before_gate: AtomicUsize::new(0),
            result: AsyncResult::default(),
            sets: AtomicUsize::new(0),
            setter: AtomicUsize::new(0),
        })
    }

    fn set(&self, setter: usize, as_error: bool) {
        op(Op::Result);
        let refused = if as_error {
            self.result.set_error(Value::new()).is_err()
        } else {
            let refused = self.result.set((setter, Value::new())).is_err();
            if !refused {
                self.setter.store(setter + 1, Relaxed);
            }
            refused
        };
        if !refused {
            self.sets.fetch_add(1, Relaxed);
        }
    }

    /// After a wait for the gate.
    fn passed(&self) {
        if self.before_gate.load(Relaxed) == 0 {
            off("the gate is open, but what was written before is not seen");
        }
    }

    /// One wait, in one of several ways.
    fn wait(&self, random: &mut Random) {
        let (how, limit) = (random.among(0..=11), random.moment(1500));
        let any: [&dyn Waitable; 3] = [&self.flap, &self.result, &self.gate];
        let all: [&dyn Waitable; 2] = [&self.gate, &self.result];
        let in_time = match how {
            0 | 1 => {
                op(Op::Event);
                self.gate.wait();
                self.passed();
                true
            }
            2..5 => {
                op(Op::Event);
                self.flap.wait_timeout(limit)
            }
            5 => {
                op(Op::Event);
                timeout(limit, || self.gate.wait()).is_ok()
            }
            6 => {
                op(Op::Result);
                let got = shield(|| self.result.wait());
                self.same(got);
                true
            }
            7 => {
                op(Op::Result);
                let got = self.result.wait_timeout(limit);
                got.map(|got| self.same(got)).is_some()
            }
            8 => {
                op(Op::AnyAll);
                if wait_any(&any) == 2 {
                    self.passed();
                }
                true
            }
            9 => {
                op(Op::AnyAll);
                wait_any_timeout(&any, limit).is_some()
            }
            10 => {
                op(Op::AnyAll);
                wait_all(&all);
                self.passed();
                true
            }
            _ => {
                op(Op::AnyAll);
                wait_all_timeout(&all, limit)
            }
        };
        if !in_time {
            LEDGER.timeouts.one();
        }
    }

    /// Everybody sees the same.
    fn same(&self, got: Result<&(usize, Value), &Value>) {
        let now = (self.result.value(), self.result.error());
        let same = match got {
            Ok(value) => now.0.is_some_and(|v| std::ptr::eq(v, value)),
            Err(error) => now.1.is_some_and(|e| std::ptr::eq(e, error)),
        };
        if !same || !self.result.is_ready() {
            off("a result changed");
        }
    }

    fn check(&self) {
        agree("sets of a result", self.sets.load(Relaxed), 1);
        let winner = self.result.value().map_or(0, |value| value.0 + 1);
        agree("who set a result", self.setter.load(Relaxed), winner);
        nobody_waits(&self.gate);
        nobody_waits(&self.flap);
        nobody_waits(&self.result);
    }
}

pub(crate) fn plan(
    random: &mut Random,
    parts: &mut Vec<Part>,
    checks: &mut Vec<Box<dyn FnOnce()>>,
) {
    let board = Board::new();
    for _ in 0..random.among(3..=12) {
        let (board, mut random) = (board.clone(), random.fork());
        let body = move || {
            for _ in 0..random.among(1..=12) {
                board.wait(&mut random.fork());
            }
            if random.percent(2) {
                end_by_panic();
            }
        };
        parts.push(Part::new("waiter", Place::Anywhere, body));
    }
    for setter in 1..random.among(2..=4) {
        let (board, moment) = (board.clone(), random.moment(8000));
        let as_error = random.percent(20);
        let body = move || {
            sleep(moment);
            board.set(setter, as_error);
        };
        parts.push(Part::new("setter", Place::Anywhere, body));
    }
    let (flapping, mut random) = (board.clone(), random.fork());
    let body = move || {
        let (flaps, opens) = (random.among(10..=100), random.among(0..=9));
        for flap in 0..flaps {
            op(Op::Event);
            flapping.flap.set();
            if random.percent(50) {
                yield_now();
            }
            flapping.flap.clear();
            sleep(random.moment(300));
            if flap == opens {
                flapping.before_gate.store(1, Relaxed);
                flapping.gate.set();
            }
        }
        // If nobody else has.
        flapping.set(0, false);
    };
    parts.push(Part::new("ringer", Place::Thread, body));
    checks.push(Box::new(move || board.check()));
}

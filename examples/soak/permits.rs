//! Semaphores: never more permits are out than there are, and at the end all are back.

use crate::ledger::{LEDGER, Op, agree, end_by_panic, nobody_waits, off, op};
use crate::random::Random;
use crate::stage::{Part, Place};
use greenlet::sync::{BoundedSemaphore, OwnedPermit, Permit, Semaphore};
use greenlet::{shield, sleep, timeout, yield_now};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// The two types as one.
enum Any {
    Plain(Arc<Semaphore>),
    Bounded(Arc<BoundedSemaphore>),
}

macro_rules! each {
    ($any:expr, $semaphore:ident => $what:expr) => {
        match $any {
            Any::Plain($semaphore) => $what,
            Any::Bounded($semaphore) => $what,
        }
    };
}

struct Vault {
    semaphore: Any,
    permits: usize,
    out: AtomicUsize,
}

/// A permit of either kind.
#[derive(Debug)]
enum Either<'a> {
    Lent(Permit<'a>),
    Owned(OwnedPermit),
}

/// A permit that is counted while it is out; the count falls before the permit is back.
struct Out<'a>(&'a Vault, usize, Option<Either<'a>>);

impl Drop for Out<'_> {
    fn drop(&mut self) {
        self.0.out.fetch_sub(self.1, Relaxed);
    }
}

impl Vault {
    fn new(semaphore: Any) -> Arc<Self> {
        let permits = each!(&semaphore, s => s.available());
        let out = AtomicUsize::new(0);
        Arc::new(Vault {
            semaphore,
            permits,
            out,
        })
    }

    /// Acquires in one of several ways.
    fn acquire(&self, random: &mut Random) -> Option<Out<'_>> {
        op(Op::Acquire);
        let (how, limit) = (random.among(0..=9), random.moment(800));
        let many = random.among(1..=self.permits);
        let (n, permit) = each!(&self.semaphore, s => match how {
            0 | 1 => (1, Some(Either::Lent(s.acquire()))),
            2 | 3 => (many, Some(Either::Lent(s.acquire_many(many)))),
            4 => (1, s.try_acquire().map(Either::Lent)),
            5 => (many, s.acquire_many_timeout(many, limit).map(Either::Lent)),
            6 => (1, s.acquire_owned_timeout(limit).map(Either::Owned)),
            7 => (1, Some(Either::Owned(s.acquire_owned()))),
            8 => (1, Some(Either::Lent(shield(|| s.acquire())))),
            _ => (many, timeout(limit, || s.acquire_many(many)).ok().map(Either::Lent)),
        });
        if permit.is_none() && how != 4 {
            LEDGER.timeouts.one();
        }
        let permit = permit?;
        let before = self.out.fetch_add(n, Relaxed);
        if before + n > self.permits {
            off(format_args!(
                "{} permits of {} are out",
                before + n,
                self.permits
            ));
        }
        Some(Out(self, n, Some(permit)))
    }

    /// Gives a permit back by hand.
    fn forget_and_release(&self, mut out: Out<'_>) {
        match out.2.take() {
            Some(Either::Lent(permit)) => permit.forget(),
            Some(Either::Owned(permit)) => permit.forget(),
            None => {}
        }
        let n = out.1;
        drop(out);
        for _ in 0..n {
            match &self.semaphore {
                Any::Plain(s) => s.release(),
                Any::Bounded(s) => {
                    if s.release().is_err() {
                        off("a forgotten permit cannot be released");
                    }
                }
            }
        }
    }

    fn check(&self) {
        each!(&self.semaphore, s => {
            agree("permits back", s.available(), self.permits);
            nobody_waits(s);
        });
        if let Any::Bounded(s) = &self.semaphore
            && s.release().is_ok()
        {
            off("a bounded semaphore was released over its bound");
        }
    }
}

fn borrow(vault: Arc<Vault>, mut random: Random) -> impl FnOnce() {
    move || {
        for _ in 0..random.among(1..=40) {
            let (by_hand, panics) = (random.percent(10), random.percent(1));
            let (pause, moment) = (random.among(0..=9), random.moment(150));
            let Some(out) = vault.acquire(&mut random.fork()) else {
                continue;
            };
            op(Op::Pause);
            match pause {
                0..4 => yield_now(),
                4 => sleep(moment),
                _ => {}
            }
            if panics {
                end_by_panic();
            }
            if by_hand {
                vault.forget_and_release(out);
            }
        }
    }
}

pub(crate) fn plan(
    random: &mut Random,
    parts: &mut Vec<Part>,
    checks: &mut Vec<Box<dyn FnOnce()>>,
) {
    let semaphores = [
        Any::Plain(Arc::new(Semaphore::new(random.among(1..=5)))),
        Any::Bounded(Arc::new(BoundedSemaphore::new(random.among(1..=5)))),
    ];
    for semaphore in semaphores {
        let vault = Vault::new(semaphore);
        for _ in 0..random.among(2..=10) {
            let body = borrow(vault.clone(), random.fork());
            parts.push(Part::new("borrower", Place::Anywhere, body));
        }
        checks.push(Box::new(move || vault.check()));
    }
}

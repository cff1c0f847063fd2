//! Switches. What a switch costs depends on the frames above it: a processor predicts where a
//! function returns to from the calls it has seen, and after a switch it has seen the calls of
//! another greenlet. If all greenlets came the same way, the prediction is right by luck.

use crate::harness::{figure, large};
use crate::measure::timed;
use crate::waiting;
use greenlet::{Generator, join_all, spawn, yield_now};
use std::hint::black_box;
use std::marker::PhantomData;
use std::time::Duration;

/// A chain of calls with a wait at its end.
trait Call {
    fn call();
}

struct Yield;

impl Call for Yield {
    #[inline(always)]
    fn call() {
        yield_now();
    }
}

/// A frame above `C`. Each number has code of its own.
struct Frame<const ID: usize, C>(PhantomData<C>);

impl<const ID: usize, C: Call> Call for Frame<ID, C> {
    #[inline(never)]
    fn call() {
        black_box(ID);
        C::call();
        black_box(ID); // or the call were a jump
    }
}

type Deep1<const ID: usize> = Frame<ID, Yield>;
type Deep3<const ID: usize> = Frame<ID, Frame<ID, Frame<ID, Yield>>>;
type Deep6<const ID: usize> = Frame<ID, Frame<ID, Frame<ID, Deep3<ID>>>>;

/// A loop over a chain, so many times.
type Chain = fn(usize);

/// `n` yields of so many greenlets in all, in turn with each of the chains.
fn yields(greenlets: usize, chains: &[Chain], n: usize) -> Duration {
    let bodies = waiting(greenlets, |i| {
        let chain = chains[i % chains.len()];
        spawn(move || {
            yield_now();
            chain(n / greenlets);
        })
    });
    timed(|| drop(join_all(bodies)))
}

/// The loop of one greenlet. Inlined it is for `Yield`: no frame but the closure's.
fn repeat<C: Call>(n: usize) {
    for _ in 0..n {
        C::call();
    }
}

pub(crate) fn figures() {
    let bare: &[Chain] = &[repeat::<Yield>];
    for (n, name) in [(2, "2"), (1_000, "1,000")] {
        figure(&format!("yield, {name} greenlets"), 400_000, |all| {
            yields(n, bare, all)
        });
    }
    large("yield, 100,000 greenlets", 1_000_000, |all| {
        yields(100_000, bare, all)
    });
    let equal: [(usize, Chain); 3] = [
        (1, repeat::<Deep1<0>>),
        (3, repeat::<Deep3<0>>),
        (6, repeat::<Deep6<0>>),
    ];
    for (depth, chain) in equal {
        for (n, name) in [(2, "2"), (1_000, "1,000")] {
            figure(
                &format!("yield, {name} greenlets, {depth} deep, equal chains"),
                400_000,
                |all| yields(n, &[chain], all),
            );
        }
    }
    let different: [(usize, [Chain; 4]); 3] = [
        (
            1,
            [
                repeat::<Deep1<0>>,
                repeat::<Deep1<1>>,
                repeat::<Deep1<2>>,
                repeat::<Deep1<3>>,
            ],
        ),
        (
            3,
            [
                repeat::<Deep3<0>>,
                repeat::<Deep3<1>>,
                repeat::<Deep3<2>>,
                repeat::<Deep3<3>>,
            ],
        ),
        (
            6,
            [
                repeat::<Deep6<0>>,
                repeat::<Deep6<1>>,
                repeat::<Deep6<2>>,
                repeat::<Deep6<3>>,
            ],
        ),
    ];
    for (depth, chains) in different {
        for (n, name) in [(4, "4"), (1_000, "1,000")] {
            figure(
                &format!("yield, {name} greenlets, {depth} deep, different chains"),
                400_000,
                |all| yields(n, &chains, all),
            );
        }
    }
    generators();
}

fn generators() {
    let counting = || {
        Generator::new(|y, ()| {
            for i in 0.. {
                y.yield_(i);
            }
        })
    };
    figure("Generator: resume, at the root", 1_000_000, |n| {
        let mut generator = counting();
        timed(|| (0..n).for_each(|_| _ = black_box(generator.next())))
    });
    figure("Generator: resume, in a greenlet", 1_000_000, |n| {
        let drive = move || {
            let mut generator = counting();
            timed(|| (0..n).for_each(|_| _ = black_box(generator.next())))
        };
        spawn(drive).join().unwrap()
    });
    figure(
        "Generator: new, one resume, drop with an unwind",
        100_000,
        |n| timed(|| (0..n).for_each(|_| _ = black_box(counting().next()))),
    );
    figure("Generator: new, two resumes to its end", 100_000, |n| {
        let once = || Generator::new(|y, ()| y.yield_(black_box(1)));
        timed(|| (0..n).for_each(|_| assert_eq!(once().count(), 1)))
    });
}

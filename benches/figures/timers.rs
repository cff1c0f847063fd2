//! Time limits and sleeps.

use crate::harness::{figure, large};
use crate::measure::timed;
use crate::{HOUR, all};
use greenlet::sync::Event;
use greenlet::{Timeout, join_all, kill_all, sleep, spawn, spawn_later, timeout, yield_now};
use std::hint::black_box;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// Numbers that look random, the same ones each time: xorshift (Marsaglia, 2003).
fn chance(seed: usize) -> impl FnMut(u64) -> u64 {
    let mut x = seed as u64 * 0x9E37_79B9_7F4A_7C15 + 1;
    move |below| {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        x % below
    }
}

/// Timers that are armed in the heap, without stacks: nobody has started them.
fn live(n: usize) -> Vec<greenlet::Greenlet<()>> {
    let mut chance = chance(n);
    let spread = |_| spawn_later(HOUR + Duration::from_micros(chance(1_000_000_000)), || ());
    let live = all(n, spread);
    sleep(Duration::from_millis(1)); // the end of the turn arms them
    live
}

/// The first wait in a scope arms its timer: a yield, to one who yields back. A limit at a point
/// in time, and so far away, goes into the heap at once.
fn armed(n: usize) -> Duration {
    let mut chance = chance(1);
    let limit = Instant::now() + HOUR;
    timed(|| {
        let back = spawn(move || (0..n).for_each(|_| yield_now()));
        for _ in 0..n {
            let limit = limit + Duration::from_micros(chance(1_000_000_000));
            Timeout::at(limit).run(|_| yield_now()).unwrap();
        }
        back.join().unwrap();
    })
}

/// So many sleepers that sleep `n` times in all, each time less than `most`.
fn sleeps(sleepers: usize, most: Duration, n: usize) -> Duration {
    let sleepers = all(sleepers, |i| {
        let mut chance = chance(i);
        spawn(move || {
            for _ in 0..n / sleepers {
                sleep(Duration::from_nanos(chance(most.as_nanos() as u64)));
            }
        })
    });
    timed(|| drop(join_all(sleepers)))
}

pub(crate) fn figures() {
    figure("timeout scope, armed and cancelled", 1_000_000, |n| {
        timed(|| {
            for i in 0..n {
                black_box(timeout(HOUR, || black_box(i)).unwrap());
            }
        })
    });
    figure(
        "timer: armed in the heap for a yield, 0 live",
        500_000,
        armed,
    );
    large(
        "timer: armed in the heap for a yield, 1,000,000 live",
        500_000,
        |n| {
            let live = live(1_000_000);
            let time = armed(n);
            kill_all(&live);
            time
        },
    );
    large(
        "timer: arm + cancel of spawn_later, 1,000,000 in all",
        1_000_000,
        |n| timed(|| kill_all(&live(n))),
    );
    figure("Event::wait_timeout ended by a wake", 200_000, |n| {
        let (ping, pong) = (Rc::new(Event::new()), Rc::new(Event::new()));
        let play = |mine: &Rc<Event>, other: &Rc<Event>| {
            let (mine, other) = (mine.clone(), other.clone());
            spawn(move || {
                for _ in 0..n / 2 {
                    assert!(mine.wait_timeout(HOUR));
                    mine.clear();
                    other.set();
                }
            })
        };
        let players = [play(&ping, &pong), play(&pong, &ping)];
        ping.set();
        timed(|| drop(join_all(players)))
    });
    large("sleep: 10,000 greenlets, 0 to 10 ms", 200_000, |n| {
        sleeps(10_000, Duration::from_millis(10), n)
    });
    // Most of it is the system's, which makes the stacks: 4 KiB each, and as much address
    // space as there is memory on small machines. Where a mapping is spent on each guard page,
    // this is too many, so it is measured only by its name.
    if crate::measure::options()
        .names
        .iter()
        .any(|name| name.contains("sleep: 1,000,000"))
    {
        large("sleep: 1,000,000 greenlets, 0 to 1 s", 1_000_000, |n| {
            sleeps(n, Duration::from_secs(1), n)
        });
    }
}

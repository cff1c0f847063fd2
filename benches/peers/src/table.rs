//! The rows.

use crate::spent::Spent;
use crate::{greenlets as g, may_ as m, threads as s, tokio_ as t};

pub(crate) const PEERS: [&str; 4] = ["greenlet", "may", "tokio", "threads"];

/// What a peer does for a row, if it can, and what part of the operations is enough for it.
type Cell = Option<(usize, fn(usize) -> Spent)>;

pub(crate) struct Row {
    pub(crate) name: &'static str,
    /// Operations of one measurement.
    pub(crate) n: usize,
    /// Measurements of each peer.
    pub(crate) rounds: usize,
    /// The part of them that `--quick` does.
    pub(crate) quick: usize,
    /// Taken from the wall clock, on all processors.
    pub(crate) wall: bool,
    pub(crate) cells: [Cell; PEERS.len()],
}

const fn row(name: &'static str, n: usize, cells: [Cell; PEERS.len()]) -> Row {
    Row {
        name,
        n,
        rounds: 5,
        quick: 10,
        wall: false,
        cells,
    }
}

impl Row {
    const fn wall(mut self) -> Self {
        self.wall = true;
        self
    }

    /// The workload is one unit, however quick.
    const fn whole(mut self) -> Self {
        self.quick = 1;
        self
    }

    /// It takes long, and the system most of it.
    const fn long(mut self) -> Self {
        self.rounds = 3;
        self
    }
}

const fn all(round: fn(usize) -> Spent) -> Cell {
    Some((1, round))
}

/// Threads are slower by orders of magnitude.
const fn part(share: usize, round: fn(usize) -> Spent) -> Cell {
    Some((share, round))
}

#[rustfmt::skip] // a table
pub(crate) const ROWS: &[Row] = &[
    row("yield, 2", 5_000_000, [all(g::yields::<2>), all(m::yields::<2>), all(t::yields::<2>), part(10, s::yields::<2>)]),
    row("yield, 2, tokio's own `yield_now`", 2_000_000, [all(g::yields::<2>), None, all(t::own_yields), None]),
    row("yield, 1,000", 5_000_000, [all(g::yields::<1_000>), all(m::yields::<1_000>), all(t::yields::<1_000>), None]),
    row("yield, 100,000", 3_000_000, [all(g::yields::<100_000>), None, all(t::yields::<100_000>), None]),
    row("yield, 1,000, three calls deep in 4 chains", 5_000_000, [all(g::deep), all(m::deep), all(t::deep), None]),
    row("spawn + join, one by one", 500_000, [all(g::spawns), all(m::spawns), all(t::spawns), part(50, s::spawns)]),
    row("spawn + join, batches of 10,000", 500_000, [all(g::batches), all(m::batches), all(t::batches), None]),
    row("skynet, 10,000 leaves, a leaf", 500_000, [all(g::skynet::<10_000>), all(m::skynet::<10_000>), all(t::skynet::<10_000>), None]),
    row("skynet, 1,000,000 leaves, a leaf", 1_000_000, [all(g::skynet::<1_000_000>), None, all(t::skynet::<1_000_000>), None]).whole(),
    row("ring of 503, a hop", 2_000_000, [all(g::ring), all(m::ring), all(t::ring), part(50, s::ring)]),
    row("event, 1 waiter, a wake", 1_000_000, [all(g::fan_out::<1>), all(m::fan_out::<1>), all(t::fan_out::<1>), part(20, s::fan_out::<1>)]),
    row("event, 1,000 waiters, a wake", 2_000_000, [all(g::fan_out::<1_000>), all(m::fan_out::<1_000>), all(t::fan_out::<1_000>), part(20, s::fan_out::<1_000>)]),
    row("event, 100,000 waiters, a wake", 2_000_000, [all(g::fan_out::<100_000>), None, all(t::fan_out::<100_000>), None]),
    row("result: new, spawn a setter, wait", 500_000, [all(g::result), all(m::result), all(t::result), part(50, s::result)]),
    row("queue, free put + get", 5_000_000, [all(g::queue_free), all(m::queue_free), all(t::queue_free), all(s::queue_free)]),
    row("queue, 1 to 1, unbounded", 2_000_000, [all(g::queue), all(m::queue), all(t::queue), all(s::queue)]),
    row("queue, 4 to 4, unbounded", 2_000_000, [all(g::queue_4_to_4), all(m::queue_4_to_4), None, all(s::queue_4_to_4)]),
    row("queue, strict alternation", 2_000_000, [all(g::alternate), all(m::alternate), all(t::alternate), part(20, s::alternate)]),
    row("queue, 1 to 1, capacity 128", 2_000_000, [all(g::bounded::<128>), all(m::bounded::<128>), all(t::bounded::<128>), all(s::bounded::<128>)]),
    row("queue, 1 to 1, capacity 1", 2_000_000, [all(g::bounded::<1>), all(m::bounded::<1>), all(t::bounded::<1>), part(4, s::bounded::<1>)]),
    row("queue, 1 to 1, rendezvous", 2_000_000, [all(g::bounded::<0>), None, None, part(20, s::bounded::<0>)]),
    row("semaphore, free acquire + release", 10_000_000, [all(g::semaphore_free), all(m::semaphore_free), all(t::semaphore_free), all(s::semaphore_free)]),
    row("semaphore, 1,000 on 2 permits with a yield", 1_000_000, [all(g::semaphore), all(m::semaphore), all(t::semaphore), None]),
    row("time limit, entered and left", 5_000_000, [all(g::limit), None, all(t::limit), None]),
    row("time limit of a get that is ready", 5_000_000, [all(g::limit_ready), all(m::limit_ready), all(t::limit_ready), all(s::limit_ready)]),
    row("time limit of a wait that a wake ends", 1_000_000, [all(g::limit_wait), all(m::limit_wait), all(t::limit_wait), part(20, s::limit_wait)]),
    row("timer of 10 to 20 s, armed for a yield, no other", 2_000_000, [all(g::timer::<0, 10>), None, all(t::timer::<0, 10>), None]),
    row("timer of 10 to 20 s, armed for a yield, 1,000,000 others", 2_000_000, [all(g::timer::<1_000_000, 10>), None, all(t::timer::<1_000_000, 10>), None]),
    row("timer of 1,000 to 2,000 s, armed for a yield, 1,000,000 others", 2_000_000, [all(g::timer::<1_000_000, 1_000>), None, all(t::timer::<1_000_000, 1_000>), None]),
    row("sleep, 10,000 sleepers, 0 to 10 ms", 1_000_000, [all(g::sleeps), all(m::sleeps), all(t::sleeps), None]),
    row("sleep, 1,000,000 sleepers, once, 0 to 1 s", 1_000_000, [all(g::sleep_once), None, all(t::sleep_once), None]).long(),
    row("local, get", 20_000_000, [all(g::local), all(m::local), all(t::local), all(s::local)]),
    row("kill of a waiter among 1,000", 100_000, [all(g::kill::<1_000>), all(m::kill::<1_000>), all(t::kill::<1_000>), None]),
    row("kill of a waiter among 100,000", 100_000, [all(g::kill::<100_000>), None, all(t::kill::<100_000>), None]).whole(),
    row("two threads, queue ping-pong, a round trip (wall)", 50_000, [all(g::ping_pong), all(m::ping_pong), all(t::ping_pong), all(s::ping_pong)]).wall(),
    row("two threads, queue one way, an item (wall)", 2_000_000, [all(g::one_way), all(m::one_way), all(t::one_way), all(s::one_way)]).wall(),
    row("two threads, 2 to 2 by a queue of 128, an item (wall)", 2_000_000, [all(g::two_to_two), all(m::two_to_two), None, all(s::two_to_two)]).wall(),
    row("wake of a thread that sleeps (wall)", 500, [all(g::wake), all(m::wake), all(t::wake), all(s::wake)]).wall(),
];

/// What was compared.
pub(crate) fn versions() -> String {
    // Written by build.rs from Cargo.lock.
    concat!(env!("PEERS"), ".").to_owned()
}

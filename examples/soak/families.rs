//! Greenlets that have greenlets: joins, links, kills, scopes, shields, locals, timeouts in
//! timeouts, and storms of spawns on hubs that may end meanwhile.

use crate::ledger::{
    Count, LEDGER, Op, Value, Watched, agree, end_by_panic, is_intended, link, off, op, throw,
    tracked,
};
use crate::random::Random;
use crate::stage::{Part, Place, Stage, spawn_on};
use greenlet::sync::Event;
use greenlet::{
    Builder, Local, Timeout, checkpoint, current, finally, no_switch, run, scope, shield, sleep,
    spawn, spawn_later, timeout, yield_now,
};
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// Whose turn it is: each greenlet must find its own number.
static MINE: Local<(Cell<u64>, Value)> = Local::with_init(|| (Cell::new(0), Value::new()));

/// Bodies and cleanups of `finally`, and shielded parts, that began and that ended.
#[derive(Default)]
struct Tally {
    bodies: Count,
    cleanups: Count,
    shielded: Count,
    unshielded: Count,
}

/// What a child does before it ends.
fn live(mut random: Random, tally: &Tally) {
    op(Op::Local);
    MINE.with(|(mine, _)| mine.set(current().id()));
    for _ in 0..random.among(0..=4) {
        let (what, moment) = (random.among(0..=9), random.moment(400));
        op(Op::Pause);
        match what {
            0..3 => yield_now(),
            3 => sleep(moment),
            4 => checkpoint(),
            5 => timeouts(&mut random),
            6 => {
                op(Op::Shield);
                tally.shielded.one();
                shield(|| {
                    sleep(moment);
                    yield_now();
                });
                tally.unshielded.one();
            }
            7 => finally(
                || {
                    tally.bodies.one();
                    sleep(moment);
                },
                || {
                    yield_now();
                    tally.cleanups.one();
                },
            ),
            8 => no_switch(|| {
                op(Op::Local);
                MINE.with(|(mine, _)| mine.get());
            }),
            _ if random.percent(20) => end_by_panic(),
            _ => {}
        }
    }
    op(Op::Local);
    agree("a local", MINE.with(|(mine, _)| mine.get()), current().id());
}

/// A timeout in a timeout. The inner one may be given more time, or none.
fn timeouts(random: &mut Random) {
    op(Op::Timeout);
    let [outer, inner, long] = [(); 3].map(|()| random.moment(600));
    let change = random.among(0..=3);
    let result = timeout(outer, || {
        let result = Timeout::after(inner).run(|handle| {
            match change {
                0 => handle.reset(inner * 2),
                1 => handle.cancel(),
                _ => {}
            }
            sleep(long);
        });
        if change == 1 && result.is_err() {
            off("a cancelled timeout expired");
        }
        if result.is_err() {
            LEDGER.timeouts.one();
        }
    });
    if result.is_err() {
        LEDGER.timeouts.one();
    }
}

/// Has children, and joins, kills, links or abandons them.
fn parent(mut random: Random, tally: Arc<Tally>) {
    let mut children: Vec<Watched> = Vec::new();
    for _ in 0..random.among(1..=12) {
        let (how, delay) = (random.among(0..=9), random.moment(500));
        let (entry, body) = tracked({
            let (random, tally) = (random.fork(), tally.clone());
            // Not `Send`: it stays here.
            let here = Rc::new(());
            move || {
                live(random, &tally);
                drop(here);
            }
        });
        let handle = match how {
            0..6 => spawn(body),
            6 | 7 => spawn_later(delay, body),
            8 => Builder::new()
                .name("child")
                .spawn(body)
                .expect("valid settings"),
            _ => Builder::new()
                .stack_size(64 << 10)
                .spawn(body)
                .expect("valid settings"),
        };
        children.push(Watched::new(entry, handle));
    }
    for child in children {
        let (end, limit) = (random.among(0..=9), random.moment(500));
        match end {
            0..4 => child.join(),
            4 => {
                yield_now();
                child.kill();
                child.join();
            }
            5 => {
                // Perhaps before it has begun.
                child.kill();
                drop(child);
            }
            6 => {
                op(Op::Wait);
                if !child.handle().wait_timeout(limit) {
                    LEDGER.timeouts.one();
                }
            }
            7 => {
                // A link that panics stops nobody.
                op(Op::Link);
                child.handle().link(|_| throw());
            }
            _ => {} // linked, and let go
        }
    }
}

/// A scope whose children borrow; one of them may panic, which ends them all.
fn scoped(mut random: Random, tally: &Tally) {
    op(Op::Scope);
    let over = Cell::new(0);
    let (children, joins) = (random.among(1..=8), random.percent(50));
    let result = catch_unwind(AssertUnwindSafe(|| {
        scope(|s| {
            let handles: Vec<_> = (0..children)
                .map(|_| {
                    let (random, over) = (random.fork(), &over);
                    let (entry, body) = tracked(move || {
                        let _over = Over(over);
                        live(random, tally);
                    });
                    let handle = s.spawn(body);
                    link(&handle, entry);
                    handle
                })
                .collect();
            // Those that were killed unrun are not counted.
            if joins {
                for handle in handles {
                    op(Op::Wait);
                    drop(handle.join());
                }
            }
        });
    }));
    if over.get() > children {
        off("a child ended twice");
    }
    if let Err(payload) = result
        && !is_intended(&*payload)
    {
        resume_unwind(payload);
    }
}

struct Over<'a>(&'a Cell<usize>);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() + 1);
    }
}

pub(crate) fn plan(
    random: &mut Random,
    parts: &mut Vec<Part>,
    checks: &mut Vec<Box<dyn FnOnce()>>,
) {
    let tally = Arc::new(Tally::default());
    for _ in 0..random.among(2..=6) {
        let (tally, random) = (tally.clone(), random.fork());
        let body = move || parent(random, tally);
        parts.push(Part::new("parent", Place::Hub, body));
    }
    for _ in 0..random.among(2..=6) {
        let (tally, random) = (tally.clone(), random.fork());
        let body = move || scoped(random, &tally);
        parts.push(Part::new("scope", Place::Anywhere, body));
    }
    // A hub for a moment, whose leftovers are killed.
    let (tally2, mut random) = (tally.clone(), random.fork());
    let body = move || {
        for _ in 0..random.among(1..=4) {
            LEDGER.hubs[0].one();
            run(|| parent(random.fork(), tally2.clone()));
            LEDGER.hubs[1].one();
        }
    };
    parts.push(Part::new("short runs", Place::Thread, body));
    checks.push(Box::new(move || {
        let Tally {
            bodies,
            cleanups,
            shielded,
            unshielded,
        } = &*tally;
        agree("bodies and cleanups", bodies.get(), cleanups.get());
        agree("shields", shielded.get(), unshielded.get());
    }));
}

/// Many greenlets at once on hubs that may end; about half of them are killed at once.
pub(crate) fn storms(random: &mut Random, stage: &Arc<Stage>) -> Vec<Part> {
    let places = [Place::Anywhere, Place::Anywhere, Place::Thread];
    let storm = |place| {
        let (stage, mut random) = (stage.clone(), random.fork());
        let body = move || {
            let hub = stage.hub(&mut random);
            let storm: Vec<_> = (0..random.among(50..=400))
                .map(|_| {
                    let what = random.among(0..=3);
                    let greenlet = spawn_on(&hub, move || match what {
                        0 => yield_now(),
                        1 => sleep(Duration::from_micros(50)),
                        // Only a kill ends it: one that is lost is a hang.
                        2 => Event::new().wait(),
                        _ => {}
                    });
                    (greenlet, what)
                })
                .collect();
            for (greenlet, what) in &storm {
                if *what == 2 || random.percent(50) {
                    greenlet.kill();
                }
            }
            for (greenlet, _) in storm {
                if random.percent(70) {
                    greenlet.join();
                }
            }
        };
        Part::new("storm", place, body)
    };
    places.map(storm).into()
}

//! Random programs beside naive models.

use super::{Log, at_rest, ms, sim};
use greenlet::sync::Queue;
use greenlet::testing::Simulation;
use greenlet::{Greenlet, MapError, Pool, now, sleep, spawn};
use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;
use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::time::{Duration, Instant};

fn config(cases: u32) -> ProptestConfig {
    let file = FileFailurePersistence::Direct("tests/pools.proptest-regressions");
    let default = ProptestConfig::default();
    let asked = std::env::var("PROPTEST_CASES").is_ok();
    ProptestConfig {
        cases: if asked { default.cases } else { cases },
        failure_persistence: Some(Box::new(file)),
        ..default
    }
}

/// One step of the driver; after each, all run until they wait. A number picks one of those there are.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// A greenlet comes that spawns, in so many ms or whenever.
    Come(Option<u64>),
    Try,
    /// A member that does nothing ends, panics, or spawns in its own pool.
    Finish(usize),
    Fail(usize),
    Nest(usize, Option<u64>),
    KillMember(usize),
    /// Of those in line.
    KillWaiter(usize),
    KillAll,
    Pass(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let limit = || prop_oneof![2 => Just(None), 1 => (0..5u64).prop_map(Some)];
    prop_oneof![
        6 => limit().prop_map(Step::Come),
        1 => Just(Step::Try),
        3 => (0..9usize).prop_map(Step::Finish),
        1 => (0..9usize).prop_map(Step::Fail),
        5 => (0..9usize, limit()).prop_map(|(k, l)| Step::Nest(k, l)),
        2 => (0..9usize).prop_map(Step::KillMember),
        2 => (0..9usize).prop_map(Step::KillWaiter),
        1 => Just(Step::KillAll),
        3 => (1..5u64).prop_map(Step::Pass),
    ]
}

/// What a member is told.
#[derive(Clone, Copy)]
enum Order {
    Finish,
    Fail,
    Nest { id: u32, limit: Option<u64> },
}

/// One in line. It spawns the member `id`.
#[derive(Clone, Copy, Debug)]
struct Waiter {
    id: u32,
    until: Option<Instant>,
    /// The member that waits, if it is one.
    owner: Option<u32>,
}

/// As the docs have it.
struct Model {
    size: usize,
    /// In order of spawning.
    members: Vec<u32>,
    line: VecDeque<Waiter>,
    /// `+`: started, `-`: ended well, `!`: panicked, `x`: killed, `0`: no place in time.
    told: BTreeMap<u32, String>,
}

impl Model {
    fn tell(&mut self, id: u32, what: char) {
        self.told.entry(id).or_default().push(what);
    }

    fn come(&mut self, waiter: Waiter) {
        self.line.push_back(waiter);
        self.admit();
        let in_line = |id: &u32| {
            let mut own = self.line.iter().filter(|w| w.owner == Some(*id));
            own.any(|w| w.until.is_none())
        };
        let blocked = self.members.len() == self.size && self.members.iter().all(in_line);
        if blocked && waiter.until.is_none() {
            let last = waiter.owner.expect("one of the members");
            self.end(last, '!');
        }
    }

    fn admit(&mut self) {
        while self.members.len() < self.size {
            let Some(next) = self.line.pop_front() else {
                return;
            };
            self.members.push(next.id);
            self.tell(next.id, '+');
        }
    }

    fn end(&mut self, id: u32, how: char) {
        self.line.retain(|w| w.owner != Some(id));
        self.members.retain(|m| *m != id);
        self.tell(id, how);
        self.admit();
    }

    fn expire(&mut self) {
        let late = |w: &Waiter| w.until.is_some_and(|until| until <= now());
        let expired: Vec<_> = self.line.iter().copied().filter(late).collect();
        self.line.retain(|w| !late(w));
        expired.iter().for_each(|w| self.tell(w.id, '0'));
    }

    fn kill_all(&mut self) {
        let members = std::mem::take(&mut self.members);
        let line = std::mem::take(&mut self.line);
        members.into_iter().for_each(|id| self.tell(id, 'x'));
        // Of a member that is killed while it waits nothing is spawned.
        for waiter in line {
            if waiter.owner.is_none() {
                self.tell(waiter.id, 'x');
            }
        }
    }

    /// Members that do nothing.
    fn idle(&self) -> Vec<u32> {
        let busy = |id: &&u32| !self.line.iter().any(|w| w.owner == Some(**id));
        self.members.iter().filter(busy).copied().collect()
    }
}

/// What has happened, and who can be told or killed.
#[derive(Clone, Default)]
struct World {
    told: Rc<RefCell<BTreeMap<u32, String>>>,
    orders: Rc<RefCell<BTreeMap<u32, Rc<Queue<Order>>>>>,
    members: Rc<RefCell<BTreeMap<u32, Greenlet<()>>>>,
    waiters: Rc<RefCell<BTreeMap<u32, Greenlet<()>>>>,
}

impl World {
    fn tell(&self, id: u32, what: char) {
        self.told.borrow_mut().entry(id).or_default().push(what);
    }

    fn body(&self, pool: &Pool, id: u32) -> impl FnOnce() + use<> {
        let (world, pool, orders) = (self.clone(), pool.clone(), Rc::new(Queue::unbounded()));
        self.orders.borrow_mut().insert(id, orders.clone());
        move || {
            world.tell(id, '+');
            loop {
                match orders.get().unwrap() {
                    Order::Finish => return,
                    Order::Fail => panic!("as ordered"),
                    Order::Nest { id, limit } => world.come(&pool, id, limit),
                }
            }
        }
    }

    fn come(&self, pool: &Pool, id: u32, limit: Option<u64>) {
        let body = self.body(pool, id);
        let member = match limit {
            None => pool.spawn(body),
            Some(limit) => match pool.spawn_timeout(ms(limit), body) {
                Ok(member) => member,
                Err(_) => return self.tell(id, '0'),
            },
        };
        self.members.borrow_mut().insert(id, member);
    }

    /// How those ended who have.
    fn collect(&self) {
        let ended: Vec<_> = {
            let mut members = self.members.borrow_mut();
            members.extract_if(.., |_, m| m.is_finished()).collect()
        };
        for (id, member) in ended {
            self.tell(
                id,
                match member.join() {
                    Ok(()) => '-',
                    Err(error) if error.is_killed() => 'x',
                    Err(_) => '!',
                },
            );
        }
    }
}

fn play(size: usize, seed: Option<u64>, steps: &[Step]) {
    let simulation = seed.map_or(Simulation::new(), |seed| Simulation::new().seed(seed));
    simulation.run(|| {
        let (pool, world) = (Pool::new(size), World::default());
        let (line, told) = (VecDeque::new(), BTreeMap::new());
        let mut model = Model {
            size,
            members: vec![],
            line,
            told,
        };
        let pick = |from: &[u32], k: usize| (!from.is_empty()).then(|| from[k % from.len()]);
        let until = |limit: Option<u64>| limit.map(|limit| now() + ms(limit));
        let order = |id: u32, what: Order| world.orders.borrow()[&id].put(what).unwrap();
        for (id, step) in (0..).zip(steps) {
            match *step {
                Step::Come(limit) => {
                    model.come(Waiter {
                        id,
                        until: until(limit),
                        owner: None,
                    });
                    let (own, pool) = (world.clone(), pool.clone());
                    let waiter = spawn(move || own.come(&pool, id, limit));
                    world.waiters.borrow_mut().insert(id, waiter);
                }
                Step::Try => {
                    let room = model.members.len() < size;
                    assert!(!room || model.line.is_empty());
                    match pool.try_spawn(world.body(&pool, id)) {
                        Ok(member) => {
                            assert!(room);
                            world.members.borrow_mut().insert(id, member);
                            model.come(Waiter {
                                id,
                                until: None,
                                owner: None,
                            });
                        }
                        Err(_) => assert!(!room),
                    }
                }
                Step::Finish(k) | Step::Fail(k) => {
                    let Some(id) = pick(&model.idle(), k) else {
                        continue;
                    };
                    let (what, how) = match step {
                        Step::Finish(_) => (Order::Finish, '-'),
                        _ => (Order::Fail, '!'),
                    };
                    order(id, what);
                    model.end(id, how);
                }
                Step::Nest(k, limit) => {
                    let Some(owner) = pick(&model.idle(), k) else {
                        continue;
                    };
                    order(owner, Order::Nest { id, limit });
                    let owner = Some(owner);
                    model.come(Waiter {
                        id,
                        until: until(limit),
                        owner,
                    });
                }
                Step::KillMember(k) => {
                    let Some(id) = pick(&model.members, k) else {
                        continue;
                    };
                    world.members.borrow()[&id].kill();
                    model.end(id, 'x');
                }
                Step::KillWaiter(k) => {
                    let in_line = model.line.iter().filter(|w| w.owner.is_none());
                    let in_line: Vec<_> = in_line.map(|w| w.id).collect();
                    let Some(id) = pick(&in_line, k) else {
                        continue;
                    };
                    world.waiters.borrow()[&id].kill();
                    model.line.retain(|w| w.id != id);
                }
                Step::KillAll => {
                    pool.kill();
                    // A shuffled schedule lets it return before one who was given a place has run.
                    assert!(pool.is_empty() || seed.is_some());
                    model.kill_all();
                }
                Step::Pass(n) => sleep(ms(n)),
            }
            // Until all wait: only then the clock moves on.
            sleep(Duration::from_nanos(1));
            model.expire();
            world.collect();
            assert_eq!(
                *world.told.borrow(),
                model.told,
                "after {step:?}, number {id}"
            );
            let (members, free) = (model.members.len(), size - model.members.len());
            assert_eq!((pool.len(), pool.free_count()), (members, free));
            assert_eq!(pool.join_timeout(Duration::ZERO), members == 0);
        }
        pool.kill();
        sleep(ms(1));
        at_rest(&pool);
    });
}

#[test]
fn places() {
    let steps = prop::collection::vec(step(), 1..40);
    let seed = prop_oneof![Just(None), any::<u64>().prop_map(Some)];
    proptest!(config(400), |(size in 1..4usize, seed in seed, steps in steps)| {
        play(size, seed, &steps);
    });
}

/// When each of the jobs ends that begin in order, `n` at a time, job `i` not before `from(i, ends so far)`.
fn ends(jobs: &[u64], n: usize, from: impl Fn(usize, &[u64]) -> u64) -> Vec<u64> {
    let mut ends: Vec<u64> = vec![];
    for (i, job) in jobs.iter().enumerate() {
        let mut before = ends.clone();
        before.sort_by(|a, b| b.cmp(a));
        // With n at a time, the one before the n latest has ended.
        let place = before.get(n - 1).copied().unwrap_or(0);
        ends.push(job + place.max(from(i, &ends)));
    }
    ends
}

/// What all three maps give, and when, against schedules that are computed.
fn maps(size: usize, window: usize, jobs: &[u64], bad: u64) {
    sim(|| {
        let pool = Pool::new(size);
        let f = move |(i, n): (usize, u64)| {
            sleep(ms(n));
            assert!(n != bad, "as ordered");
            i
        };
        let inputs: Vec<_> = jobs.iter().copied().enumerate().collect();
        let failing = jobs.iter().position(|n| *n == bad);
        let start = now();
        let clock = || now().duration_since(start).as_millis() as u64;

        let map = pool.map(inputs.clone(), f).map_err(|error| error.index);
        let all = (0..jobs.len()).collect::<Vec<_>>();
        assert_eq!(map, failing.map_or(Ok(all), Err));
        let last = ends(jobs, size, |_, _| 0).into_iter().max();
        let begun = last.unwrap_or(0);
        assert_eq!(clock(), begun);

        let told = |result: Result<usize, MapError>| match result {
            Ok(index) => (index, jobs[index] != bad),
            Err(error) => (error.index, jobs[error.index] == bad),
        };
        let seen: Vec<_> = pool
            .imap(inputs.clone(), f)
            .window(window)
            .map(|result| (told(result), clock() - begun))
            .collect();
        // An input is taken when the one that lies a window before it, and so all before that, have been read.
        let from = |i: usize, ends: &[u64]| match (i + 1).checked_sub(window) {
            Some(read) => ends[..read].iter().copied().max().unwrap_or(0),
            None => 0,
        };
        let ends_at = ends(jobs, size, from);
        let read = |i: usize| ends_at[..=i].iter().copied().max().unwrap();
        let expected: Vec<_> = (0..jobs.len()).map(|i| ((i, true), read(i))).collect();
        assert_eq!(seen, expected);

        let begun = clock();
        let mut seen: Vec<_> = pool
            .imap_unordered(inputs, f)
            .window(window)
            .map(|result| (clock() - begun, told(result)))
            .collect();
        assert!(seen.is_sorted_by_key(|(at, _)| *at));
        // Who ends at the same time ends in some order. A result is read when it is there, so a place is in the window.
        seen.sort();
        let ends_at = ends(jobs, size.min(window), |_, _| 0);
        let mut expected: Vec<_> = (0..jobs.len()).map(|i| (ends_at[i], (i, true))).collect();
        expected.sort();
        assert_eq!(seen, expected);
        at_rest(&pool);
    });
}

#[test]
fn schedules_of_maps() {
    let jobs = prop::collection::vec(1..6u64, 0..20);
    let bad = 0..8u64;
    proptest!(config(200), |(size in 1..5usize, window in 1..8usize, jobs in jobs, bad in bad)| {
        maps(size, window, &jobs, bad);
    });
    // The order of what does not end at the same time is in the sorting above; of what does, that of starting.
    sim(|| {
        let (pool, log) = (Pool::new(3), Log::default());
        let all = pool.imap_unordered(0..3, |n| n).map(Result::unwrap);
        all.for_each(|n| log.note(n));
        assert_eq!(log.take(), "0 1 2");
    });
}

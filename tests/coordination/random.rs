//! Random programs beside naive models that are written from the docs.
//!
//! All that happens has a time of its own: a power of two of nanoseconds is added to each, so that
//! no two things are due at once and the models need not know of ties.

use super::simulate;
use greenlet::sync::{Barrier, Notify};
use greenlet::{Greenlet, now, scope, sleep, spawn};
use proptest::prelude::*;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

/// When one comes, how long it waits, when it is killed. And what it does if it does not wait.
#[derive(Clone, Debug)]
struct One {
    comes: u64,
    limit: Option<u64>,
    killed: Option<u64>,
    notifies: Option<bool>,
}

/// Nanoseconds of a time of `i`, unlike all other sums of such times.
fn nanos(ticks: u64, i: usize, which: usize) -> u64 {
    ticks * (1 << 40) + (1 << (i * 3 + which))
}

fn one() -> impl Strategy<Value = One> {
    let limit = prop::option::weighted(0.5, 0..4u64);
    let killed = prop::option::weighted(0.3, 0..8u64);
    let notifies = prop::option::weighted(0.4, any::<bool>());
    (0..8u64, limit, killed, notifies).prop_map(|(comes, limit, killed, notifies)| One {
        comes,
        limit,
        killed,
        notifies,
    })
}

type Trace = Vec<(u64, usize, &'static str)>;

/// What is due: when, whom, what.
#[derive(Default)]
struct Agenda(BTreeMap<u64, (usize, &'static str)>);

impl Agenda {
    fn of(plan: &[One]) -> Self {
        let mut agenda = Agenda::default();
        for (i, one) in plan.iter().enumerate() {
            agenda.at(nanos(one.comes, i, 0), i, "comes");
            if let Some(killed) = one.killed {
                agenda.at(nanos(killed, i, 2), i, "killed");
            }
        }
        agenda
    }

    fn at(&mut self, time: u64, i: usize, what: &'static str) {
        assert!(self.0.insert(time, (i, what)).is_none(), "a tie");
    }
}

/// A list of those who wait; what `comes` does to it is the primitive's.
fn model(
    plan: &[One],
    mut comes: impl FnMut(u64, usize, &mut Vec<usize>, &mut Trace) -> bool,
) -> Trace {
    let (mut agenda, mut trace, mut line) = (Agenda::of(plan), Trace::new(), vec![]);
    let mut killed = vec![false; plan.len()];
    while let Some((time, (i, what))) = agenda.0.pop_first() {
        match what {
            "comes" if killed[i] => {}
            "comes" => {
                if comes(time, i, &mut line, &mut trace) {
                    line.push(i);
                    if let Some(limit) = plan[i].limit {
                        agenda.at(time + nanos(limit, i, 1), i, "late");
                    }
                }
            }
            what => {
                killed[i] |= what == "killed";
                let waits = line.iter().position(|who| *who == i);
                if let Some(place) = waits {
                    line.remove(place);
                    if what == "late" {
                        trace.push((time, i, "late"));
                    }
                }
            }
        }
    }
    trace
}

fn barrier_model(n: usize, plan: &[One]) -> Trace {
    model(plan, |time, i, line, trace| {
        if line.len() + 1 < n {
            return true;
        }
        trace.push((time, i, "leads"));
        trace.extend(line.drain(..).map(|who| (time, who, "follows")));
        false
    })
}

fn notify_model(plan: &[One]) -> Trace {
    let mut permit = false;
    model(plan, |time, i, line, trace| {
        match plan[i].notifies {
            Some(_) => trace.push((time, i, "notifies")),
            None if permit => trace.push((time, i, "notified")),
            None => return true,
        }
        let woken = match plan[i].notifies {
            None => {
                permit = false;
                0
            }
            Some(true) => line.len(),
            Some(false) if line.is_empty() => {
                permit = true;
                0
            }
            Some(false) => 1,
        };
        trace.extend(line.drain(..woken).map(|who| (time, who, "notified")));
        false
    })
}

/// The same on the crate; `act` is what one does when it has come, and what became of it.
fn conduct(plan: &[One], act: impl Fn(usize, &One, &dyn Fn(&'static str)) + 'static) -> Trace {
    simulate(|| {
        let (begin, trace) = (now(), Rc::new(RefCell::new(Trace::new())));
        let act = Rc::new(act);
        let all: Vec<Greenlet<()>> = plan
            .iter()
            .cloned()
            .enumerate()
            .map(|(i, one)| {
                let (act, trace) = (act.clone(), trace.clone());
                spawn(move || {
                    sleep(Duration::from_nanos(nanos(one.comes, i, 0)));
                    let say = |what| {
                        let time = (now() - begin).as_nanos() as u64;
                        trace.borrow_mut().push((time, i, what));
                    };
                    act(i, &one, &say);
                })
            })
            .collect();
        scope(|s| {
            for (i, one) in plan.iter().enumerate() {
                let Some(killed) = one.killed else { continue };
                let greenlet = &all[i];
                s.spawn(move || {
                    sleep(Duration::from_nanos(nanos(killed, i, 2)));
                    greenlet.kill();
                });
            }
        });
        // Those without a limit may wait for ever.
        sleep(Duration::from_nanos(nanos(20, 0, 0)));
        for greenlet in &all {
            greenlet.kill();
            greenlet.wait();
        }
        trace.take()
    })
}

fn limit(one: &One, i: usize) -> Option<Duration> {
    one.limit
        .map(|limit| Duration::from_nanos(nanos(limit, i, 1)))
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn barrier_beside_its_model(n in 0..5usize, plan in prop::collection::vec(one(), 1..12)) {
        let expected = barrier_model(n, &plan);
        let barrier = Rc::new(Barrier::new(n));
        let got = conduct(&plan, {
            let barrier = barrier.clone();
            move |i, one, say| {
                let met = match limit(one, i) {
                    None => Ok(barrier.wait()),
                    Some(limit) => barrier.wait_timeout(limit),
                };
                say(match met {
                    Ok(result) if result.is_leader() => "leads",
                    Ok(_) => "follows",
                    Err(_) => "late",
                });
            }
        });
        prop_assert_eq!(got, expected);
        let text = format!("{barrier:?}");
        prop_assert!(text.contains("waiting: 0"), "{}", text);
    }

    #[test]
    fn notify_beside_its_model(plan in prop::collection::vec(one(), 1..12)) {
        let expected = notify_model(&plan);
        let notify = Rc::new(Notify::new());
        let got = conduct(&plan, {
            let notify = notify.clone();
            move |i, one, say| {
                let woken = match (one.notifies, limit(one, i)) {
                    (Some(all), _) => {
                        say("notifies");
                        return if all { notify.notify_all() } else { notify.notify_one() };
                    }
                    (None, None) => {
                        notify.wait();
                        true
                    }
                    (None, Some(limit)) => notify.wait_timeout(limit),
                };
                say(if woken { "notified" } else { "late" });
            }
        });
        prop_assert_eq!(got, expected);
        let text = format!("{notify:?}");
        prop_assert!(text.contains("waiting: 0"), "{}", text);
    }
}

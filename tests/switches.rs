//! `Greenlet::switch_to`: who runs next, when it is refused, and that nobody starves.

#![forbid(unsafe_code)]

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use greenlet::sync::Event;
use greenlet::testing::Simulation;
use greenlet::{
    Elapsed, Greenlet, HubThread, no_switch, now, scope, sleep, spawn, spawn_later, timeout,
    yield_now,
};
use proptest::prelude::*;

/// The resumes of a turn.
const TURN: u32 = 256;

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn sim<R>(program: impl FnOnce() -> R) -> R {
    Simulation::new().run(program)
}

type Log = Rc<RefCell<Vec<String>>>;

/// Greenlets that know each other.
#[derive(Clone, Default)]
struct Circle(Rc<OnceCell<Vec<Greenlet<()>>>>);

impl Circle {
    /// One of each function, which runs when all have been made.
    fn of<F: FnOnce(&[Greenlet<()>]) + 'static>(all: impl IntoIterator<Item = F>) -> Self {
        let circle = Circle::default();
        let spawned = all.into_iter().map(|f| {
            let circle = circle.clone();
            spawn(move || f(circle.all()))
        });
        circle.0.set(spawned.collect()).unwrap();
        circle
    }

    fn all(&self) -> &[Greenlet<()>] {
        self.0.get().unwrap()
    }

    #[track_caller]
    fn join(&self) {
        for greenlet in self.all() {
            greenlet.wait();
            assert!(greenlet.is_successful(), "{:?}", greenlet.error());
        }
    }
}

/// The first example of greenlet's own tutorial, which prints the first three there.
#[test]
fn ping_pong() {
    sim(|| {
        let log = Rc::new(RefCell::new(vec![]));
        let circle = Circle::of(
            [[12, 34], [56, 78]]
                .into_iter()
                .enumerate()
                .map(|(i, said)| {
                    let log = log.clone();
                    move |all: &[Greenlet<()>]| {
                        log.borrow_mut().push(said[0]);
                        all[1 - i].switch_to();
                        log.borrow_mut().push(said[1]);
                    }
                }),
        );
        assert!(circle.all()[0].switch_to());
        circle.join();
        assert_eq!(*log.borrow(), [12, 56, 34, 78]);
    });
}

/// From every place of the line, by the root and by a greenlet.
#[test]
fn it_runs_next_and_the_caller_last() {
    for chosen in 0..4 {
        for by_root in [true, false] {
            let log = Log::default();
            sim(|| {
                let line = |name: String| {
                    let log = log.clone();
                    spawn(move || {
                        log.borrow_mut().push(format!("{name} begins"));
                        yield_now();
                        log.borrow_mut().push(format!("{name} ends"));
                    })
                };
                let call = {
                    let log = log.clone();
                    move |handles: Vec<Greenlet<()>>| {
                        assert!(handles[chosen].switch_to());
                        log.borrow_mut().push("caller".to_owned());
                        handles.iter().for_each(Greenlet::wait);
                    }
                };
                let names = || (0..4).map(|i| line(i.to_string())).collect::<Vec<_>>();
                match by_root {
                    true => call(names()),
                    false => {
                        let slot = Rc::new(RefCell::new(None));
                        let caller = spawn({
                            let slot = slot.clone();
                            move || call(slot.take().unwrap())
                        });
                        slot.replace(Some(names()));
                        caller.join().unwrap();
                    }
                }
            });
            let others: Vec<_> = (0..4).filter(|&i| i != chosen).collect();
            let mut order = vec![chosen];
            order.extend(others);
            let mut expected: Vec<_> = order.iter().map(|i| format!("{i} begins")).collect();
            // The caller has left before any of them.
            expected.push("caller".to_owned());
            expected.extend(order.iter().map(|i| format!("{i} ends")));
            assert_eq!(*log.borrow(), expected, "{chosen}, by the root: {by_root}");
        }
    }
}

/// One that was woken is ready, wherever it waited.
#[test]
fn one_that_was_woken_runs_next() {
    sim(|| {
        let (event, log) = (Arc::new(Event::new()), Rc::new(RefCell::new(vec![])));
        let waiters = [0, 1, 2].map(|i| {
            let (event, log) = (event.clone(), log.clone());
            spawn(move || {
                event.wait();
                log.borrow_mut().push(i);
            })
        });
        yield_now();
        assert!(!waiters[1].switch_to());
        assert!(format!("{event:?}").contains("waiting: 3"), "{event:?}");
        event.set();
        assert!(waiters[1].switch_to());
        assert_eq!(*log.borrow(), [1, 0, 2]);
    });
}

/// What waits goes on waiting, and what is over is over: then it is a `yield_now`.
#[test]
fn one_that_is_not_ready_is_left_alone() {
    sim(|| {
        let log = Rc::new(Cell::new(0));
        let others_run = || {
            let log = log.clone();
            drop(spawn(move || log.set(log.get() + 1)));
        };
        let event = Arc::new(Event::new());
        let waiting = spawn({
            let event = event.clone();
            move || event.wait()
        });
        let sleeping = spawn(|| sleep(ms(50)));
        let delayed = spawn_later(ms(50), || ());
        let ended = spawn(|| ());
        ended.wait();
        yield_now();
        let began = now();
        for (n, greenlet) in [&waiting, &sleeping, &delayed, &ended]
            .into_iter()
            .enumerate()
        {
            others_run();
            assert!(!greenlet.switch_to(), "{n}");
            assert_eq!(log.get(), n + 1);
        }
        assert_eq!(now(), began);
        assert!(!waiting.is_finished() && !sleeping.is_finished() && !delayed.is_finished());
        event.set();
        [waiting, sleeping, delayed].iter().for_each(Greenlet::wait);
        assert_eq!(now() - began, ms(50));
        // Itself.
        let me: Rc<RefCell<Option<Greenlet<bool>>>> = Rc::default();
        let own = me.clone();
        me.replace(Some(spawn(move || {
            own.borrow().as_ref().unwrap().switch_to()
        })));
        me.borrow().as_ref().unwrap().wait();
        assert_eq!(me.borrow().as_ref().unwrap().value(), Some(&false));
    });
}

#[test]
fn one_of_another_hub_is_left_alone() {
    let hub = HubThread::start("other").unwrap();
    let go = Arc::new(Event::new());
    // It has more greenlets than this one has.
    let there = (0..20).map(|_| {
        let go = go.clone();
        hub.handle().spawn(move || go.wait())
    });
    let there = there.last().unwrap();
    // Its record is known.
    hub.handle().spawn(|| ()).join().unwrap();
    // On a thread without a hub, and on one with.
    assert!(!there.switch_to());
    assert!(!spawn(|| ()).join().map(|()| there.switch_to()).unwrap());
    assert!(!there.is_finished());
    go.set();
    there.join().unwrap();
    hub.stop();
    hub.join().unwrap();
}

#[test]
fn a_child_of_a_scope_can_be_chosen() {
    sim(|| {
        let order = RefCell::new(vec![]);
        scope(|s| {
            s.spawn(|| order.borrow_mut().push(1));
            let second = s.spawn(|| order.borrow_mut().push(2));
            assert!(second.switch_to());
        });
        assert_eq!(order.into_inner(), [2, 1]);
    });
}

/// The caller's own kill or expiry comes first; the other one's ends it at its turn.
#[test]
fn kills_and_limits() {
    sim(|| {
        let began = Rc::new(Cell::new(false));
        let victim = spawn({
            let began = began.clone();
            move || {
                began.set(true);
                let other = spawn(|| ());
                let _ = catch_unwind(|| sleep(ms(10)));
                other.switch_to();
                unreachable!("killed");
            }
        });
        victim.switch_to();
        assert!(began.get());
        victim.kill();
        assert!(victim.join().unwrap_err().is_killed());
        let doomed = spawn(|| unreachable!("killed before its start"));
        doomed.kill();
        assert!(doomed.switch_to());
        assert!(doomed.is_finished());
        let late = timeout(ms(5), || {
            let slow = spawn(|| ());
            let _ = catch_unwind(|| sleep(ms(10)));
            slow.switch_to()
        });
        // The limit was raised once, and swallowed.
        assert_eq!(late, Err(Elapsed));
    });
}

#[test]
fn not_where_no_wait_is_allowed() {
    sim(|| {
        let other = spawn(|| ());
        let panicked = catch_unwind(AssertUnwindSafe(|| no_switch(|| other.switch_to())));
        let text = panicked.unwrap_err().downcast::<String>().unwrap();
        assert!(text.starts_with("Greenlet::switch_to at tests"), "{text}");
        struct InUnwind<'a>(&'a Greenlet<()>, &'a Cell<Option<bool>>);
        impl Drop for InUnwind<'_> {
            fn drop(&mut self) {
                self.1.set(Some(self.0.switch_to()));
            }
        }
        let result = Cell::new(None);
        let _ = catch_unwind(AssertUnwindSafe(|| {
            let _in_unwind = InUnwind(&other, &result);
            resume_unwind(Box::new(()))
        }));
        assert_eq!(result.get(), Some(false));
        assert!(!other.is_finished());
        other.join().unwrap();
    });
}

/// Two that only ever choose each other: the others come to their turns all the same.
#[test]
fn two_that_choose_each_other_starve_nobody() {
    sim(|| {
        let over = Rc::new(Cell::new(false));
        // Resumes of the two since the third one's.
        let (row, most) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
        let refused = Rc::new(Cell::new(0));
        let two = Circle::of((0..2).map(|i| {
            let (over, row, refused) = (over.clone(), row.clone(), refused.clone());
            move |all: &[Greenlet<()>]| {
                while !over.get() {
                    row.set(row.get() + 1);
                    let chosen = all[1 - i].switch_to();
                    refused.set(refused.get() + u32::from(!chosen));
                }
            }
        }));
        let thirds = [(); 3].map(|()| {
            let (row, most) = (row.clone(), most.clone());
            spawn(move || {
                for _ in 0..100 {
                    most.set(most.get().max(row.take()));
                    yield_now();
                }
            })
        });
        thirds.iter().for_each(Greenlet::wait);
        over.set(true);
        two.join();
        // They had their turns, in a row, and only at the end of each was one refused.
        assert!((TURN / 2..=TURN).contains(&most.get()), "{}", most.get());
        assert!(refused.get() > 10, "{}", refused.get());
    });
}

/// Nor timers, nor other threads: each turn has its end.
#[test]
fn two_that_choose_each_other_hold_nobody_up() {
    let hub = HubThread::start("other").unwrap();
    let (there, here) = (Arc::new(Event::new()), Arc::new(Event::new()));
    let answer = hub.handle().spawn({
        let (there, here) = (there.clone(), here.clone());
        move || {
            there.wait();
            here.set();
        }
    });
    let over = Rc::new(Cell::new(false));
    let two = Circle::of((0..2).map(|i| {
        let over = over.clone();
        move |all: &[Greenlet<()>]| {
            while !over.get() {
                all[1 - i].switch_to();
            }
        }
    }));
    spawn(move || {
        sleep(ms(1));
        there.set();
        here.wait();
        over.set(true);
    })
    .join()
    .unwrap();
    two.join();
    answer.join().unwrap();
    hub.stop();
    hub.join().unwrap();
}

/// Under a seed the seed chooses, and all come to their ends.
#[test]
fn a_seed_chooses() {
    for seed in 0..20 {
        Simulation::new().seed(seed).run(|| {
            let three = Circle::of((0..3).map(|i| {
                move |all: &[Greenlet<()>]| {
                    for _ in 0..10 {
                        assert!(!all[(i + 1) % 3].switch_to());
                    }
                }
            }));
            three.join();
        });
    }
}

// ---- beside a model ----

#[derive(Clone, Copy, Debug)]
enum Step {
    Yield,
    To(usize),
}

fn scripts() -> impl Strategy<Value = Vec<Vec<Step>>> {
    let step = prop_oneof![Just(Step::Yield), (0..6usize).prop_map(Step::To)];
    // All of them fit in one turn.
    prop::collection::vec(prop::collection::vec(step, 0..8), 1..6)
}

/// Who runs, step by step, and what `switch_to` says.
fn naive(scripts: &[Vec<Step>]) -> Vec<(usize, bool)> {
    let mut line: VecDeque<usize> = (0..scripts.len()).collect();
    let mut at = vec![0; scripts.len()];
    let mut log = vec![];
    while let Some(me) = line.pop_front() {
        while let Some(&step) = scripts[me].get(at[me]) {
            at[me] += 1;
            let place = match step {
                Step::Yield => None,
                Step::To(other) => line.iter().position(|&i| i == other % scripts.len()),
            };
            log.push((me, place.is_some()));
            if let Some(place) = place {
                let other = line.remove(place).unwrap();
                line.push_front(other);
            }
            if !line.is_empty() {
                line.push_back(me);
                break;
            }
        }
    }
    log
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn the_line_beside_its_model(scripts in scripts()) {
        let log = Rc::new(RefCell::new(vec![]));
        sim(|| {
            let all = Circle::of(scripts.iter().cloned().enumerate().map(|(i, script)| {
                let log = log.clone();
                move |all: &[Greenlet<()>]| {
                    for step in script {
                        let at = log.borrow().len();
                        log.borrow_mut().push((i, false));
                        let chosen = match step {
                            Step::Yield => {
                                yield_now();
                                false
                            }
                            Step::To(other) => all[other % all.len()].switch_to(),
                        };
                        log.borrow_mut()[at].1 = chosen;
                    }
                }
            }));
            // At the end of the line only once, and not again before all have ended.
            sleep(ms(1));
            all.join();
        });
        prop_assert_eq!(log.take(), naive(&scripts));
    }
}

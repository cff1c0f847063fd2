//! What waits for time, for a flag, a result or an end.

use super::sync::{AsyncResult, Event};
use crate::stage::{Stage, explore, ms, unless_killed};
use greenlet::{
    Greenlet, Waitable, checkpoint, join_all, spawn, spawn_later, wait_all, wait_all_timeout,
    wait_any, wait_any_timeout, yield_now,
};
use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// Afterwards nobody waits for the event, and it works.
fn event(stage: &Stage) -> Rc<Event> {
    let event = Rc::new(Event::new());
    let kept = event.clone();
    stage.afterwards(move || {
        let text = format!("{kept:?}");
        assert!(text.contains("waiting: 0"), "{text}");
        kept.clear();
        assert!(!kept.wait_timeout(ms(1)));
        let waiter = spawn({
            let kept = kept.clone();
            move || kept.wait()
        });
        yield_now();
        kept.set();
        waiter.join().unwrap();
        kept.wait();
    });
    event
}

/// Afterwards nobody waits for the result, and it works.
fn result(stage: &Stage) -> Rc<AsyncResult<u32>> {
    let result = Rc::new(AsyncResult::new());
    let kept = result.clone();
    stage.afterwards(move || {
        let text = format!("{kept:?}");
        assert!(text.contains("waiting: 0"), "{text}");
        let _ = kept.set(7);
        assert_eq!(*kept.wait().unwrap(), 7);
        assert_eq!(kept.set(8), Err(8));
    });
    result
}

#[test]
fn sleep() {
    explore(|stage| {
        for n in 1..=2 {
            stage.actor(move |a| (0..3).for_each(|_| a.sleeps(n)));
        }
    });
}

#[test]
fn yield_now_and_checkpoint() {
    explore(|stage| {
        stage.actor(|a| (0..4).for_each(|_| a.waits("yield_now", yield_now)));
        stage.actor(|a| {
            for _ in 0..3 {
                a.waits("checkpoint", || (0..300).for_each(|_| checkpoint()));
            }
        });
        stage.actor(|a| (0..4).for_each(|_| a.does("sleep(0)", || greenlet::sleep(ms(0)))));
    });
}

/// Who is chosen may be killed, and who chooses.
#[test]
fn switch_to() {
    explore(|stage| {
        let busy: Vec<_> = (0..2)
            .map(|_| Rc::new(spawn(|| (0..99).for_each(|_| yield_now()))))
            .collect();
        for i in 0..3 {
            let busy = busy.clone();
            stage.actor(move |a| {
                let own = spawn(|| (0..3).for_each(|_| yield_now()));
                for _ in 0..3 {
                    a.waits("switch_to", || busy[i % 2].switch_to());
                    a.sleeps(1);
                    a.waits("switch_to its own", || own.switch_to());
                    a.sleeps(1);
                }
                own.kill();
            });
        }
    });
}

#[test]
fn event_wait() {
    explore(|stage| {
        let event = event(stage);
        for _ in 0..3 {
            let event = event.clone();
            stage.actor(move |a| {
                a.waits("Event::wait", || event.wait());
                a.sleeps(2);
                a.waits("Event::wait", || event.wait());
            });
        }
        stage.actor(move |a| {
            a.sleeps(1);
            event.set();
            event.clear();
            a.sleeps(3);
            event.set();
        });
    });
}

#[test]
fn event_wait_timeout() {
    explore(|stage| {
        let event = event(stage);
        for limit in [1, 2, 3] {
            let event = event.clone();
            stage.actor(move |a| {
                let set = a.waits("Event::wait_timeout", || event.wait_timeout(ms(limit)));
                // A tie goes to success.
                assert!(!set || limit >= 2);
            });
        }
        stage.actor(move |a| {
            a.sleeps(2);
            event.set();
        });
    });
}

#[test]
fn async_result() {
    explore(|stage| {
        let result = result(stage);
        let r = result.clone();
        stage.actor(move |a| assert_eq!(a.waits("AsyncResult::wait", || *r.wait().unwrap()), 7));
        let r = result.clone();
        stage.actor(move |a| assert_eq!(a.waits("AsyncResult::get", || r.get().unwrap()), 7));
        let r = result.clone();
        stage.actor(move |a| {
            let wait = || r.wait_timeout(ms(1)).is_some();
            let early = a.waits("AsyncResult::wait_timeout", wait);
            let late = a.waits("AsyncResult::wait_timeout", wait);
            assert!(!early || late);
        });
        stage.actor(move |a| {
            a.sleeps(2);
            let _ = result.set(7);
        });
    });
}

/// A greenlet that returns 7 after a while, whatever happens to who asks.
fn answer(stage: &Stage, after: u64) -> Greenlet<u32> {
    let witness = stage.witness();
    spawn(move || {
        let _witness = witness;
        greenlet::sleep(ms(after));
        7
    })
}

#[test]
fn join_and_wait() {
    explore(|stage| {
        stage.actor(|a| {
            let g = answer(&a.stage, 2);
            let early = a.waits("Greenlet::wait_timeout", || g.wait_timeout(ms(1)));
            assert!(!early);
            a.waits("Greenlet::wait", || g.wait());
            assert!(g.is_finished() && g.value().is_none_or(|&n| n == 7));
            let g = answer(&a.stage, 1);
            let seven = unless_killed(a.waits("Greenlet::join", || g.join()));
            assert!(seven.is_none_or(|n| n == 7));
        });
        // One that is killed meanwhile by somebody else.
        stage.actor(|a| {
            let g = Rc::new(answer(&a.stage, 9));
            let killer = spawn_later(ms(1), {
                let g = g.clone();
                move || g.kill()
            });
            a.waits("Greenlet::wait of a killed one", || g.wait());
            assert!(g.error().unwrap().is_killed());
            unless_killed(a.does("Greenlet::join", || killer.join()));
        });
    });
}

#[test]
fn join_all_of_several() {
    explore(|stage| {
        stage.actor(|a| {
            let all: Vec<_> = [1, 3, 2].map(|n| answer(&a.stage, n)).into();
            let all = a.waits("join_all", || join_all(all));
            assert!(all.into_iter().filter_map(unless_killed).all(|n| n == 7));
        });
        stage.actor(|a| a.sleeps(2));
    });
}

#[test]
fn wait_any_and_wait_all() {
    explore(|stage| {
        let (event, result) = (event(stage), result(stage));
        let parts = || (event.clone(), result.clone());
        let (e, r) = parts();
        stage.actor(move |a| {
            let g = answer(&a.stage, 5);
            let first = a.waits("wait_any", || wait_any(&[&g, &*r, &*e]));
            // 3 if the setter is no more.
            assert!([0, 2].contains(&first), "{first}");
        });
        let (e, r) = parts();
        stage.actor(move |a| {
            let all: [&dyn Waitable; 2] = [&*r, &*e];
            let none = a.waits("wait_any_timeout", || wait_any_timeout(&all, ms(1)));
            assert_eq!(none, None);
            let _ = a.waits("wait_any_timeout", || wait_any_timeout(&all, ms(5)));
        });
        let (e, r) = parts();
        stage.actor(move |a| {
            let limit = ms(1);
            let all = a.waits("wait_all_timeout", || wait_all_timeout(&[&*e, &*r], limit));
            assert!(!all);
            let g = answer(&a.stage, 1);
            a.waits("wait_all", || wait_all(&[&g, &*e, &*r]));
        });
        // More than lie on the stack.
        let (e, r) = parts();
        stage.actor(move |a| {
            let many: Vec<&dyn Waitable> = (0..12).map(|_| &*r as &dyn Waitable).collect();
            let many: Vec<_> = many.into_iter().chain([&*e as &dyn Waitable]).collect();
            let first = a.waits("wait_any of 13", || wait_any(&many));
            assert!(first == 12 || first == 0);
        });
        stage.actor(move |a| {
            a.sleeps(2);
            event.set();
            a.sleeps(2);
            let _ = result.set(7);
        });
    });
}

/// Links run once, whatever happens; a greenlet that has not begun goes unrun, and its closure with it.
#[test]
fn links_and_late_starts() {
    explore(|stage| {
        // A link may be run by another thread, so what it holds is Send.
        let (made, run) = (Rc::new(Cell::new(0)), Arc::new(AtomicU32::new(0)));
        let late = {
            let (made, run) = (made.clone(), run.clone());
            move |stage: &Stage, after| {
                let witness = stage.witness();
                let g = spawn_later(ms(after), move || drop(witness));
                let run = run.clone();
                g.link(move |_| {
                    run.fetch_add(1, Relaxed);
                });
                made.set(made.get() + 1);
                g
            }
        };
        stage.afterwards(move || assert_eq!(made.get(), run.load(Relaxed)));
        let start = late.clone();
        stage.actor(move |a| {
            let g = start(&a.stage, 2);
            a.waits("Greenlet::wait of a late one", || g.wait());
            assert!(g.is_finished());
        });
        stage.actor(move |a| {
            let g = late(&a.stage, 5);
            a.sleeps(1);
            g.kill();
            a.does("Greenlet::wait", || g.wait());
            assert!(g.error().unwrap().is_killed());
        });
    });
}

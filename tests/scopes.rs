//! scope, run, shield, finally, no_switch, timeouts and kills: what is raised when.

use greenlet::sync::{Event, Queue, Semaphore};
use greenlet::testing::Simulation;
use greenlet::{
    Greenlet, Timeout, finally, join_all, kill_all, no_switch, scope, shield, sleep, spawn,
    timeout, wait_all, wait_any, wait_any_timeout, yield_now,
};
use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::time::Duration;

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn message(payload: Box<dyn std::any::Any + Send>) -> String {
    match payload.downcast::<&str>() {
        Ok(text) => (*text).to_owned(),
        Err(payload) => *payload.downcast::<String>().unwrap(),
    }
}

/// Runs `f` and returns the message of its panic.
fn panic_of<R>(f: impl FnOnce() -> R) -> String {
    match catch_unwind(AssertUnwindSafe(f)) {
        Ok(_) => panic!("it did not panic"),
        Err(payload) => message(payload),
    }
}

#[test]
fn scope_joins_its_children() {
    Simulation::new().run(|| {
        let log = RefCell::new(vec![]);
        let result = scope(|s| {
            for i in 0..3 {
                let log = &log;
                s.spawn(move || {
                    sleep(ms(10 * (3 - i)));
                    log.borrow_mut().push(i);
                });
            }
            "body"
        });
        assert_eq!(result, "body");
        assert_eq!(*log.borrow(), [2, 1, 0]);
    });
}

#[test]
fn first_panic_kills_siblings_interrupts_the_body_and_comes_out() {
    Simulation::new().run(|| {
        let ended = Cell::new(0);
        let text = panic_of(|| {
            scope(|s| {
                for _ in 0..3 {
                    s.spawn(|| finally(|| sleep(ms(1000)), || ended.set(ended.get() + 1)));
                }
                s.spawn(|| {
                    sleep(ms(1));
                    panic!("first");
                });
                s.spawn(|| {
                    sleep(ms(2));
                    panic!("second");
                });
                Event::new().wait();
                unreachable!("the body is interrupted");
            })
        });
        assert_eq!(text, "first");
        assert_eq!(ended.get(), 3);
    });
}

#[test]
fn a_panic_that_is_joined_is_the_joiners() {
    Simulation::new().run(|| {
        let error = scope(|s| s.spawn(|| panic!("mine")).join().unwrap_err());
        assert_eq!(message(error.into_panic().unwrap()), "mine");
    });
}

#[test]
fn a_body_that_panics_kills_and_awaits_its_children() {
    Simulation::new().run(|| {
        let ended = Cell::new(false);
        let text = panic_of(|| {
            scope(|s| {
                s.spawn(|| {
                    finally(
                        || sleep(ms(1000)),
                        || {
                            sleep(ms(5));
                            ended.set(true);
                        },
                    )
                });
                yield_now();
                panic!("body");
            })
        });
        assert_eq!((&*text, ended.get()), ("body", true));
    });
}

#[test]
fn a_killed_scope_takes_its_children_along() {
    Simulation::new().run(|| {
        let log = Rc::new(RefCell::new(vec![]));
        let parent = spawn({
            let log = log.clone();
            move || {
                let value = 5;
                scope(|s| {
                    s.spawn(|| {
                        finally(
                            || sleep(ms(1000)),
                            || {
                                sleep(ms(3));
                                log.borrow_mut().push(value);
                            },
                        )
                    });
                });
                unreachable!();
            }
        });
        yield_now();
        yield_now();
        parent.kill();
        assert!(parent.join().unwrap_err().is_killed());
        assert_eq!(*log.borrow(), [5]);
    });
}

#[test]
fn a_timed_out_scope_ends_its_children_first() {
    Simulation::new().run(|| {
        let children = Cell::new(0);
        let late = timeout(ms(10), || {
            scope(|s| {
                for _ in 0..4 {
                    s.spawn(|| finally(|| sleep(ms(1000)), || children.set(children.get() + 1)));
                }
            });
        });
        assert!(late.is_err());
        assert_eq!(children.get(), 4);
    });
}

#[test]
fn a_scope_forgets_children_that_have_ended() {
    Simulation::new().run(|| {
        scope(|s| {
            for i in 0..1000 {
                assert_eq!(s.spawn(move || i).join().unwrap(), i);
            }
            assert_eq!(format!("{s:?}"), "Scope { running: 0 }");
        });
    });
}

#[test]
fn run_kills_what_is_left_and_closes_the_hub() {
    let ended = Rc::new(Cell::new(0));
    let left: Vec<Greenlet<()>> = greenlet::run(|| {
        let left = (0..3)
            .map(|_| {
                let ended = ended.clone();
                spawn(move || finally(|| Event::new().wait(), || ended.set(ended.get() + 1)))
            })
            .collect();
        yield_now();
        left
    });
    assert_eq!(ended.get(), 3);
    assert!(left.iter().all(|g| g.error().unwrap().is_killed()));
    // And a new hub afterwards.
    assert_eq!(spawn(|| 1).join().unwrap(), 1);
}

#[test]
fn a_spawn_while_run_ends_is_killed_already() {
    let late = Rc::new(RefCell::new(None));
    greenlet::run(|| {
        let late = late.clone();
        spawn(move || {
            finally(
                || sleep(ms(100_000)),
                || *late.borrow_mut() = Some(spawn(|| ())),
            );
        });
        yield_now();
    });
    assert!(late.take().unwrap().join().unwrap_err().is_killed());
}

#[test]
fn shield_defers_a_kill_to_the_next_wait() {
    Simulation::new().run(|| {
        let log = Rc::new(RefCell::new(vec![]));
        let g = spawn({
            let log = log.clone();
            move || {
                shield(|| {
                    sleep(ms(10));
                    log.borrow_mut().push("shielded");
                });
                log.borrow_mut().push("after");
                yield_now();
                log.borrow_mut().push("never");
            }
        });
        yield_now();
        g.kill();
        assert!(g.join().unwrap_err().is_killed());
        assert_eq!(*log.borrow(), ["shielded", "after"]);
    });
}

#[test]
fn a_timeout_inside_a_shield_fires() {
    Simulation::new().run(|| {
        let outer = timeout(ms(5), || {
            shield(|| {
                let begin = greenlet::now();
                assert!(timeout(ms(20), || sleep(ms(1000))).is_err());
                assert_eq!(greenlet::now() - begin, ms(20));
            });
            sleep(ms(1));
            unreachable!();
        });
        assert!(outer.is_err());
    });
}

#[test]
fn the_outermost_expired_scope_is_raised() {
    Simulation::new().run(|| {
        let result = timeout(ms(10), || {
            let inner = timeout(ms(10), || sleep(ms(1000)));
            unreachable!("{inner:?}");
        });
        assert!(result.is_err());
    });
}

#[test]
fn the_inner_scope_catches_only_its_own() {
    Simulation::new().run(|| {
        let log = RefCell::new(vec![]);
        let outer = timeout(ms(50), || {
            let inner = timeout(ms(10), || sleep(ms(1000)));
            log.borrow_mut().push(inner.is_err());
            sleep(ms(1000));
        });
        assert!(outer.is_err());
        assert_eq!(*log.borrow(), [true]);
    });
}

#[test]
fn an_item_handed_over_survives_a_kill() {
    Simulation::new().run(|| {
        let queue = Rc::new(Queue::unbounded());
        let got = Rc::new(Cell::new(0));
        let getter = spawn({
            let (queue, got) = (queue.clone(), got.clone());
            move || {
                got.set(queue.get().unwrap());
                yield_now();
                got.set(99);
            }
        });
        yield_now();
        queue.put(7).unwrap();
        getter.kill();
        assert!(getter.join().unwrap_err().is_killed());
        assert_eq!(got.get(), 7);
    });
}

#[test]
fn a_permit_given_to_a_killed_waiter_returns() {
    Simulation::new().run(|| {
        let semaphore = Rc::new(Semaphore::new(0));
        let waiter = spawn({
            let semaphore = semaphore.clone();
            move || {
                let _permit = semaphore.acquire();
                yield_now();
                unreachable!();
            }
        });
        yield_now();
        semaphore.release();
        waiter.kill();
        assert!(waiter.join().is_err());
        assert_eq!(semaphore.available(), 1);
    });
}

#[test]
fn reset_and_cancel_move_the_deadline() {
    Simulation::new().run(|| {
        let begin = greenlet::now();
        let late = Timeout::after(ms(10)).run(|t| {
            sleep(ms(8));
            t.reset(ms(10));
            sleep(ms(100));
        });
        assert!(late.is_err());
        assert_eq!(greenlet::now() - begin, ms(18));
        let kept = Timeout::after(ms(10)).run(|t| {
            t.cancel();
            sleep(ms(100));
            t.is_pending()
        });
        assert_eq!(kept, Ok(false));
    });
}

#[test]
fn reset_forgets_a_pending_expiry() {
    Simulation::new().run(|| {
        let result = Timeout::after(ms(10)).run(|t| {
            shield(|| sleep(ms(20)));
            assert!(!t.is_pending());
            t.reset(ms(10));
            sleep(ms(5));
        });
        assert_eq!(result, Ok(()));
    });
}

#[test]
fn a_body_that_ends_before_the_raise_is_ok() {
    Simulation::new().run(|| {
        let result = timeout(ms(10), || shield(|| sleep(ms(20))));
        assert_eq!(result, Ok(()));
    });
}

#[test]
fn a_swallowed_expiry_is_not_raised_again_but_told() {
    Simulation::new().run(|| {
        let slept = Cell::new(false);
        let result = timeout(ms(10), || {
            catch_unwind(AssertUnwindSafe(|| sleep(ms(100)))).unwrap_err();
            sleep(ms(100));
            slept.set(true);
        });
        assert!(result.is_err() && slept.get());
    });
}

#[test]
fn a_swallowed_kill_is_raised_again() {
    Simulation::new().run(|| {
        let raises = Rc::new(Cell::new(0));
        let g = spawn({
            let raises = raises.clone();
            move || {
                for _ in 0..3 {
                    let kill = catch_unwind(|| sleep(ms(100)));
                    raises.set(raises.get() + u32::from(kill.is_err()));
                }
                "survived"
            }
        });
        yield_now();
        g.kill();
        assert_eq!(g.join().unwrap(), "survived");
        assert_eq!(raises.get(), 3);
    });
}

#[test]
fn finally_runs_cleanup_that_waits_also_after_a_kill() {
    Simulation::new().run(|| {
        let cleaned = Rc::new(Cell::new(false));
        let g = spawn({
            let cleaned = cleaned.clone();
            move || {
                finally(
                    || sleep(ms(1000)),
                    || {
                        sleep(ms(10));
                        cleaned.set(true);
                    },
                )
            }
        });
        yield_now();
        g.kill();
        assert!(g.join().unwrap_err().is_killed());
        assert!(cleaned.get());
    });
}

#[test]
fn no_switch_lasts_only_as_long_as_its_closure() {
    // On a thread that gets its hub inside.
    std::thread::spawn(|| {
        let g = no_switch(|| spawn(|| 1));
        assert_eq!(g.join().unwrap(), 1);
    })
    .join()
    .unwrap();
}

#[test]
fn wait_any_names_the_first_and_leaves_no_trace() {
    Simulation::new().run(|| {
        let (a, b) = (Rc::new(Event::new()), Rc::new(Event::new()));
        let g = spawn({
            let (a, b) = (a.clone(), b.clone());
            move || wait_any(&[&*a, &*b])
        });
        yield_now();
        b.set();
        assert_eq!(g.join().unwrap(), 1);
        assert_eq!(format!("{a:?}"), "Event { set: false, waiting: 0 }");
        assert_eq!(wait_any_timeout(&[&*a], ms(5)), None);
        assert_eq!(format!("{a:?}"), "Event { set: false, waiting: 0 }");
        a.set();
        assert_eq!(wait_any(&[&*a, &*b]), 0);
        wait_all(&[&*a, &*b, &spawn(|| ())]);
    });
}

#[test]
fn wait_any_over_more_than_eight() {
    Simulation::new().run(|| {
        let events: Vec<_> = (0..20).map(|_| Event::new()).collect();
        let all: Vec<&dyn greenlet::Waitable> = events.iter().map(|e| e as _).collect();
        scope(|s| {
            s.spawn(|| events[17].set());
            assert_eq!(wait_any(&all), 17);
        });
    });
}

#[test]
fn a_hub_made_inside_a_timeout_scope_serves_it() {
    std::thread::spawn(|| {
        let late = timeout(ms(20), || {
            let never = spawn(|| Event::new().wait());
            finally(|| never.wait(), || never.kill());
        });
        assert!(late.is_err());
        yield_now(); // the killed one ends
        // And a scope that outlives the hub of a `run` inside it.
        let late = timeout(ms(20), || {
            greenlet::run(|| spawn(|| ()).join().unwrap());
            Event::new().wait();
        });
        assert!(late.is_err());
    })
    .join()
    .unwrap();
}

/// gevent's scenario 82: a setter that is due when the waiter's limit is comes
/// first, whoever armed first.
/// Its limit goes with it from hub to thread to hub, also if nobody has waited yet.
#[test]
fn a_threads_scope_expires_on_whatever_hub_it_has() {
    std::thread::spawn(|| {
        let never = Event::new();
        let late = timeout(ms(20), || {
            greenlet::run(|| ());
            greenlet::run(yield_now);
            greenlet::run(|| never.wait());
        });
        assert!(late.is_err());
    })
    .join()
    .unwrap();
}

/// A handle may be lent to a greenlet of a scope, which acts on the scope of the one that waits.
#[test]
fn another_greenlet_gives_a_scope_its_limit() {
    Simulation::new().run(|| {
        let begin = greenlet::now();
        let late = Timeout::after(Duration::MAX).run(|t| {
            t.cancel();
            scope(|s| {
                s.spawn(|| {
                    sleep(ms(1));
                    t.reset(ms(5));
                    sleep(ms(50));
                });
            });
        });
        assert!(late.is_err());
        assert_eq!(greenlet::now() - begin, ms(6));
    });
}

#[test]
fn a_scope_that_has_not_waited_yet_is_a_timer() {
    Simulation::new().run(|| {
        let timers = || greenlet::statistics().unwrap().timers;
        let greenlet = spawn(move || timeout(ms(1), || (timers(), yield_now(), timers())));
        assert_eq!(greenlet.join().unwrap(), Ok((1, (), 1)));
        assert_eq!(timers(), 0);
    });
}

#[test]
fn success_wins_a_tie_of_deadlines() {
    for setter_first in [true, false] {
        Simulation::new().run(|| {
            let event = Rc::new(Event::new());
            let queue = Rc::new(Queue::unbounded());
            let setter = || {
                let (event, queue) = (event.clone(), queue.clone());
                spawn(move || {
                    sleep(ms(10));
                    event.set();
                    queue.put(1).unwrap();
                })
            };
            let early = setter_first.then(setter);
            let by_limit = spawn({
                let event = event.clone();
                move || event.wait_timeout(ms(10))
            });
            let by_scope = spawn({
                let queue = queue.clone();
                move || timeout(ms(10), || queue.get())
            });
            let late = (!setter_first).then(setter);
            assert!(by_limit.join().unwrap());
            assert_eq!(by_scope.join().unwrap(), Ok(Ok(1)));
            early.or(late).unwrap().join().unwrap();
        });
    }
}

/// A greenlet whose sleep is over is ready; a scope that expires then acts at its
/// next wait.
#[test]
fn a_sleep_that_is_over_is_not_turned_into_an_expiry() {
    Simulation::new().run(|| {
        let both = timeout(ms(5), || sleep(ms(5)));
        assert_eq!(both, Ok(()));
    });
}

/// The greenlets that `run` kills may still wait, if they shield or clean up.
#[test]
fn run_awaits_what_is_shielded() {
    let log = Rc::new(RefCell::new(vec![]));
    greenlet::run(|| {
        let log = log.clone();
        spawn(move || {
            shield(|| sleep(ms(10)));
            log.borrow_mut().push("shielded");
        });
        yield_now();
    });
    assert_eq!(*log.borrow(), ["shielded"]);
}

/// In a scope all of them count as being joined, so that a panic is an outcome.
#[test]
fn join_all_and_kill_all_take_scoped_greenlets() {
    Simulation::new().run(|| {
        scope(|s| {
            let all: Vec<_> = (0..4)
                .map(|i| {
                    s.spawn(move || {
                        sleep(ms(10 - i));
                        assert!(i != 2, "the third fails first or not");
                        i
                    })
                })
                .collect();
            let outcomes = join_all(all);
            let values: Vec<_> = outcomes.iter().map(|o| o.as_ref().ok().copied()).collect();
            assert_eq!(values, [Some(0), Some(1), None, Some(3)]);
            assert!(outcomes[2].as_ref().unwrap_err().is_panic());

            let all: Vec<_> = (0..3).map(|_| s.spawn(|| Event::new().wait())).collect();
            kill_all(&all);
            assert!(
                join_all(all)
                    .iter()
                    .all(|o| matches!(o, Err(e) if e.is_killed()))
            );
        });
    });
}

/// The body cannot be interrupted, and waits for a sibling that only the failure ends.
#[test]
fn a_childs_panic_kills_its_siblings_at_once() {
    Simulation::new().run(|| {
        let result = catch_unwind(AssertUnwindSafe(|| {
            scope(|s| {
                let sibling = s.spawn(|| Event::new().wait());
                s.spawn(|| panic!("first"));
                shield(|| sibling.wait());
            });
        }));
        assert_eq!(result.unwrap_err().downcast_ref(), Some(&"first"));
    });
}

//! Greenlets between hubs: their ends, links, locals, scopes, and handles of hubs.

use super::super::sync::{Arc as Shared, AtomicUsize, Ordering};
use super::super::task::Site;
use super::super::{clock::Limit, wait::Latch};
use super::hub::{on_hub, pair, setter};
use super::{Seen, explore, killer, nobody_waits, thread};
use crate::sync::{AsyncResult, Event};
use crate::{
    Greenlet, HubHandle, JoinError, Local, checkpoint, run, scope, shield, spawn, yield_now,
};
use loom::thread::JoinHandle;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize as Plain;
use std::time::Duration;

/// A greenlet on one hub, which ends right after it, and what another hub does with its
/// handle meanwhile.
fn ending<T: Send + 'static>(
    body: impl FnOnce() -> T + Send + 'static,
    elsewhere: impl FnOnce(Greenlet<T>) + Send + 'static,
) {
    let hub: JoinHandle<JoinHandle<()>> = thread(move || {
        run(|| {
            let greenlet = spawn(body);
            let other = on_hub(move || elsewhere(greenlet));
            yield_now(); // it ends
            other
        })
    });
    hub.join().unwrap().join().unwrap();
}

/// A greenlet joins one of another hub and takes its value out.
#[test]
fn join_between_hubs() {
    explore("join_between_hubs", None, || {
        ending(
            || Box::new(7),
            |greenlet| {
                spawn(move || assert_eq!(*greenlet.join().unwrap(), 7))
                    .join()
                    .unwrap()
            },
        );
    });
}

/// The same with a value that loom counts: it is taken, or dropped with its handle by the
/// one or the other side, once.
#[test]
fn value_is_taken_or_dropped_once() {
    for joins in [false, true] {
        explore("value_is_taken_or_dropped_once", None, move || {
            let value = Shared::new(());
            ending(
                move || value,
                move |greenlet| {
                    if joins {
                        drop(greenlet.join().unwrap());
                    }
                },
            );
        });
    }
}

/// Three wait on another hub, the middle one for no longer than a turn: one more than a
/// batch.
#[test]
fn end_of_a_greenlet_for_three() {
    let seen = Seen::new();
    explore("end_of_a_greenlet_for_three", Some(2), {
        let seen = seen.clone();
        move || {
            let (gate, data) = pair();
            let seen = seen.clone();
            let hub: JoinHandle<JoinHandle<()>> = thread(move || {
                run(|| {
                    let waited = Arc::new(spawn({
                        let (gate, data) = (gate.clone(), data.clone());
                        move || {
                            gate.wait();
                            data.store(1, Ordering::Relaxed);
                        }
                    }));
                    yield_now(); // it waits
                    let opened = gate.clone();
                    let other = on_hub(move || {
                        let waiter = |limit: Option<Duration>| {
                            let (waited, data, seen) = (waited.clone(), data.clone(), seen.clone());
                            spawn(move || {
                                let ended = match limit {
                                    None => {
                                        waited.wait();
                                        true
                                    }
                                    Some(limit) => waited.wait_timeout(limit),
                                };
                                assert!(!ended || data.load(Ordering::Relaxed) == 1);
                                limit.inspect(|_| seen.hit(ended.into()));
                            })
                        };
                        let three = [None, Some(Duration::ZERO), None].map(waiter);
                        yield_now(); // all of them wait
                        gate.set();
                        for greenlet in three {
                            greenlet.join().unwrap();
                        }
                        nobody_waits(&waited);
                    });
                    opened.wait();
                    yield_now(); // it ends
                    other
                })
            });
            hub.join().unwrap().join().unwrap();
        }
    });
    seen.all(2);
}

/// A value that notes its drop.
struct Noted(Arc<AtomicUsize>);

impl Drop for Noted {
    fn drop(&mut self) {
        self.0.store(2, Ordering::Relaxed);
    }
}

static LOCAL: Local<Noted> = Local::new();

/// The locals of a greenlet that ends, or is killed by the other thread, are dropped
/// before its links run, and these before those who wait for it go on: on another thread
/// too, and seen there.
#[test]
fn locals_are_dropped_before_links_and_joiners() {
    let seen = Seen::new();
    explore("locals_are_dropped_before_links_and_joiners", Some(4), {
        let seen = seen.clone();
        move || {
            let [data, linked] = [(); 2].map(|()| Arc::new(AtomicUsize::new(0)));
            let seen = seen.clone();
            let hub: JoinHandle<JoinHandle<()>> = thread(move || {
                run(|| {
                    let greenlet = spawn({
                        let data = data.clone();
                        move || {
                            data.store(1, Ordering::Relaxed);
                            LOCAL.set(Noted(data));
                            (0..2).for_each(|_| a_turn());
                        }
                    });
                    let other = on_hub(move || {
                        greenlet.link({
                            let (data, linked) = (data.clone(), linked.clone());
                            move |_| {
                                assert_eq!(data.load(Ordering::Relaxed), 2);
                                linked.store(1, Ordering::Relaxed);
                            }
                        });
                        greenlet.kill();
                        let joiner = spawn(move || {
                            greenlet.wait();
                            assert_eq!(data.load(Ordering::Relaxed), 2);
                            assert_eq!(linked.load(Ordering::Relaxed), 1);
                            seen.hit(greenlet.is_successful().into());
                        });
                        joiner.join().unwrap();
                    });
                    (0..4).for_each(|_| a_turn());
                    other
                })
            });
            hub.join().unwrap().join().unwrap();
        }
    });
    seen.all(2);
}

/// Waits until the end of the turn.
fn a_turn() {
    assert!(!Event::new().wait_timeout(Duration::ZERO));
}

// ---- scopes and shields ----

/// A scope on a hub, whose child, in a shield, waits for another thread; a third one kills
/// the scope's owner. However it leaves the scope, the child has ended, and what it
/// borrowed is whole.
#[test]
fn scope_exit_against_wake_and_kill() {
    let seen = Seen::new();
    explore("scope_exit_against_wake_and_kill", Some(3), {
        let seen = seen.clone();
        move || {
            let (event, data) = pair();
            let setter = setter(&event, &data);
            let seen = seen.clone();
            let hub = on_hub(move || {
                struct Whole(Arc<[Plain; 2]>);
                impl Drop for Whole {
                    fn drop(&mut self) {
                        let [begun, ended] = self.0.each_ref().map(|n| n.load(Ordering::Relaxed));
                        assert_eq!(begun, ended);
                    }
                }
                let whole = Whole(Arc::default());
                let owner = Arc::new(spawn(move || {
                    let whole = whole; // outlives the scope
                    scope(|s| {
                        s.spawn(|| {
                            whole.0[0].store(1, Ordering::Relaxed);
                            shield(|| event.wait());
                            assert_eq!(data.load(Ordering::Relaxed), 1);
                            whole.0[1].store(1, Ordering::Relaxed);
                        });
                    });
                }));
                let killer = killer(&owner);
                owner.wait();
                seen.hit(owner.is_successful().into());
                killer.join().unwrap();
            });
            setter.join().unwrap();
            hub.join().unwrap();
        }
    });
    seen.all(2);
}

/// A kill from another thread reaches no wait in a shield, and is not forgotten.
#[test]
fn shield_against_kill() {
    let seen = Seen::new();
    explore("shield_against_kill", Some(3), {
        let seen = seen.clone();
        move || {
            let (event, data) = pair();
            let setter = setter(&event, &data);
            let seen = seen.clone();
            let hub = on_hub(move || {
                let passed = Arc::new(Plain::new(0));
                let greenlet = Arc::new(spawn({
                    let passed = passed.clone();
                    move || {
                        shield(|| {
                            event.wait();
                            checkpoint(); // and not here
                        });
                        assert_eq!(data.load(Ordering::Relaxed), 1);
                        passed.store(1, Ordering::Relaxed);
                        yield_now(); // a kill acts here
                    }
                }));
                let killer = killer(&greenlet);
                greenlet.wait();
                assert_eq!(passed.load(Ordering::Relaxed), 1);
                seen.hit(greenlet.is_successful().into());
                killer.join().unwrap();
            });
            setter.join().unwrap();
            hub.join().unwrap();
        }
    });
    seen.all(2);
}

// ---- handles of hubs ----

/// Two threads spawn on a hub that sleeps: both greenlets run, and see what was done before.
#[test]
fn two_spawn_on_one_hub() {
    explore("two_spawn_on_one_hub", Some(3), || {
        let hub = on_hub(|| {
            let hub = HubHandle::current();
            let done = [(); 2].map(|()| Arc::new(Event::new()));
            let spawners = done.clone().map(|done| {
                let hub = hub.clone();
                thread(move || {
                    let data = Arc::new(AtomicUsize::new(0));
                    data.store(1, Ordering::Relaxed);
                    drop(hub.spawn(move || {
                        assert_eq!(data.load(Ordering::Relaxed), 1);
                        done.set();
                    }));
                })
            });
            done.iter().for_each(|done| done.wait());
            for spawner in spawners {
                spawner.join().unwrap();
            }
        });
        hub.join().unwrap();
    });
}

/// What a `HubThread` does (its own thread is one of std, which no model has): serves until
/// it is stopped, and then kills what is left. Spawns of before are done, killed or refused,
/// later ones refused.
#[test]
fn hub_is_served_until_stopped() {
    let seen = Seen::new();
    explore("hub_is_served_until_stopped", Some(3), {
        let seen = seen.clone();
        move || {
            let [stop, done] = [(); 2].map(|()| Arc::new(Latch::new()));
            let started = Arc::new(AsyncResult::<HubHandle, ()>::default());
            let hub = thread({
                let (stop, done, started) = (stop.clone(), done.clone(), started.clone());
                move || {
                    run(|| {
                        started.set(HubHandle::current()).unwrap();
                        stop.wait(Site::here("stop"), Limit::Never);
                    });
                    done.set(()).unwrap();
                }
            });
            let handle = started.wait().unwrap().clone();
            let greenlet = handle.spawn(|| Event::new().wait_timeout(Duration::ZERO));
            stop.set(()).unwrap();
            match greenlet.join() {
                Ok(_) => seen.hit(0),
                Err(JoinError::Killed) => seen.hit(1),
                // Its letter was not read before the end.
                Err(JoinError::HubClosed) => seen.hit(2),
                Err(other) => panic!("{other}"),
            }
            done.wait(Site::here("done"), Limit::Never);
            assert!(handle.is_closed());
            let late = handle.spawn(|| ()).join();
            assert!(matches!(late, Err(JoinError::HubClosed)));
            hub.join().unwrap();
        }
    });
    seen.all(3);
}

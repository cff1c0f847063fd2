//! Ends: kills from other threads, spawns and wakes while a hub ends.

use super::super::sync::{AtomicUsize, Ordering};
use super::hub::{on_hub, pair, setter, waiter};
use super::{Seen, explore, killer, thread};
use crate::sync::{Event, Queue};
use crate::{HubHandle, JoinError, run, spawn};
use std::sync::Arc;
use std::time::Duration;

/// A kill from another thread against a wake from a third.
#[test]
fn kill_against_wake() {
    let seen = Seen::new();
    explore("kill_against_wake", Some(3), {
        let seen = seen.clone();
        move || {
            let (event, data) = pair();
            let setter = setter(&event, &data);
            let seen = seen.clone();
            let hub = on_hub(move || {
                let greenlet = Arc::new(waiter(&event, &data));
                let killer = killer(&greenlet);
                greenlet.wait();
                match greenlet.error() {
                    None => seen.hit(0),
                    Some(JoinError::Killed) => seen.hit(1),
                    Some(other) => panic!("{other}"),
                }
                // No node of the killed greenlet is left.
                assert!(format!("{event:?}").ends_with("waiting: 0 }"));
                killer.join().unwrap();
            });
            setter.join().unwrap();
            hub.join().unwrap();
        }
    });
    seen.all(2);
}

/// A kill against a hand-over: the item is got or still in the queue.
#[test]
fn kill_against_hand_over() {
    let seen = Seen::new();
    explore("kill_against_hand_over", Some(3), {
        let seen = seen.clone();
        move || {
            let (queue, got) = (Arc::new(Queue::unbounded()), Arc::new(AtomicUsize::new(0)));
            let putter = thread({
                let queue = queue.clone();
                move || queue.put(1).unwrap()
            });
            let hub = on_hub({
                let (queue, got) = (queue.clone(), got.clone());
                move || {
                    let getter = spawn(move || {
                        if queue.get().is_ok() {
                            got.store(1, Ordering::Relaxed);
                        }
                    });
                    let getter = Arc::new(getter);
                    let killer = killer(&getter);
                    getter.wait();
                    killer.join().unwrap();
                }
            });
            putter.join().unwrap();
            hub.join().unwrap();
            let got = got.load(Ordering::Relaxed);
            seen.hit(got);
            assert_eq!(got + queue.len(), 1);
        }
    });
    seen.all(2);
}

/// A spawn from another thread and a kill right after it, which may come before
/// the greenlet has a record: killed or done, and the join returns.
#[test]
fn spawn_and_kill_from_afar() {
    let seen = Seen::new();
    explore("spawn_and_kill_from_afar", Some(3), {
        let seen = seen.clone();
        move || {
            let (event, _) = pair();
            let seen = seen.clone();
            let hub = on_hub(move || {
                let hub = HubHandle::current();
                let stop = Arc::new(Event::new());
                let killer = thread({
                    let stop = stop.clone();
                    move || {
                        let greenlet = hub.spawn(move || event.wait());
                        greenlet.kill();
                        assert!(matches!(greenlet.join(), Err(JoinError::Killed)));
                        seen.hit(0);
                        stop.set();
                    }
                });
                stop.wait();
                killer.join().unwrap();
            });
            hub.join().unwrap();
        }
    });
    seen.all(1);
}

/// A spawn from another thread against the end of the hub: the greenlet runs, is
/// killed with the others, or is refused; its joiner always returns.
///
/// Twice, with either side first, as in `inbox::push_against_close`.
#[test]
fn spawn_against_hub_end() {
    let seen = Seen::new();
    for spawner_first in [false, true] {
        let seen = seen.clone();
        explore("spawn_against_hub_end", Some(3), move || {
            let (ran, seen) = (Arc::new(AtomicUsize::new(0)), seen.clone());
            let hub = thread(move || {
                run(|| {
                    let hub = HubHandle::current();
                    let spawner = thread(move || {
                        let data = ran.clone();
                        let outcome = hub.spawn(move || data.store(1, Ordering::Relaxed)).join();
                        assert_eq!(outcome.is_ok(), ran.load(Ordering::Relaxed) == 1);
                        match outcome {
                            Ok(()) => seen.hit(0),
                            Err(JoinError::HubClosed) => seen.hit(1),
                            Err(JoinError::Killed) => seen.hit(2),
                            Err(other) => panic!("{other}"),
                        }
                    });
                    if spawner_first {
                        loom::thread::yield_now();
                    }
                    // Two turns: what comes in the first runs in the second.
                    for _ in 0..2 {
                        assert!(!Event::new().wait_timeout(Duration::ZERO));
                    }
                    spawner
                })
            });
            hub.join().unwrap().join().unwrap();
        });
    }
    seen.all(3);
}

/// The hub ends while a wake is under way to one of its greenlets, which a kill
/// can no longer reach: it must run once more. Another, shielded, waits for that
/// wake after the kill.
#[test]
fn wake_against_hub_end() {
    let seen = Seen::new();
    for shielded in [false, true] {
        let seen = seen.clone();
        explore("wake_against_hub_end", Some(3), move || {
            let (event, data) = pair();
            let setter = setter(&event, &data);
            let seen = seen.clone();
            let hub = on_hub(move || {
                spawn(move || {
                    let wait = || event.wait();
                    if shielded {
                        crate::shield(wait)
                    } else {
                        wait()
                    }
                    assert_eq!(data.load(Ordering::Relaxed), 1);
                    seen.hit(shielded.into());
                });
                crate::yield_now(); // it waits
            });
            setter.join().unwrap();
            hub.join().unwrap();
        });
    }
    seen.all(2);
}

//! Real coroutines on real hubs, each in a loom thread, against other threads.

use super::super::sync::{AtomicUsize, Ordering};
use super::{Seen, explore, thread};
use crate::sync::{Event, Queue};
use crate::{HubHandle, JoinError, run, spawn};
use std::sync::Arc;
use std::time::Duration;

type Data = Arc<AtomicUsize>;

fn pair() -> (Arc<Event>, Data) {
    (Arc::new(Event::new()), Arc::new(AtomicUsize::new(0)))
}

/// Another thread: writes, then sets.
fn setter(event: &Arc<Event>, data: &Data) -> loom::thread::JoinHandle<()> {
    let (event, data) = (event.clone(), data.clone());
    thread(move || {
        data.store(1, Ordering::Relaxed);
        event.set();
    })
}

/// On this hub: waits for the event, and then sees what was written before.
fn waiter(event: &Arc<Event>, data: &Data) -> crate::Greenlet<()> {
    let (event, data) = (event.clone(), data.clone());
    spawn(move || {
        event.wait();
        assert_eq!(data.load(Ordering::Relaxed), 1);
    })
}

fn on_hub(f: impl FnOnce() + Send + 'static) -> loom::thread::JoinHandle<()> {
    thread(move || run(f))
}

/// A greenlet waits, another thread sets: the hub sleeps, or just does not.
#[test]
fn greenlet_is_woken() {
    explore("greenlet_is_woken", None, || {
        let (event, data) = pair();
        let setter = setter(&event, &data);
        let hub = on_hub(move || waiter(&event, &data).join().unwrap());
        setter.join().unwrap();
        hub.join().unwrap();
    });
}

/// The root waits, nobody else is there.
#[test]
fn root_is_woken() {
    explore("root_is_woken", None, || {
        let (event, data) = pair();
        let setter = setter(&event, &data);
        let hub = on_hub(move || {
            event.wait();
            assert_eq!(data.load(Ordering::Relaxed), 1);
        });
        setter.join().unwrap();
        hub.join().unwrap();
    });
}

/// Two notifiers at once, two greenlets.
#[test]
fn two_notifiers() {
    explore("two_notifiers", Some(2), || {
        let pairs = [pair(), pair()];
        let setters = pairs.each_ref().map(|(event, data)| setter(event, data));
        let hub = on_hub(move || {
            for greenlet in pairs.map(|(event, data)| waiter(&event, &data)) {
                greenlet.join().unwrap();
            }
        });
        for setter in setters {
            setter.join().unwrap();
        }
        hub.join().unwrap();
    });
}

/// One set wakes three greenlets of another hub: more than a batch.
#[test]
fn broadcast_to_a_hub() {
    explore("broadcast_to_a_hub", Some(4), || {
        let (event, data) = pair();
        let setter = setter(&event, &data);
        let hub = on_hub(move || {
            for greenlet in [(); 3].map(|()| waiter(&event, &data)) {
                greenlet.join().unwrap();
            }
        });
        setter.join().unwrap();
        hub.join().unwrap();
    });
}

/// A greenlet's limit is over at the end of the turn, while another thread sets.
#[test]
fn wake_against_timer() {
    let seen = Seen::new();
    explore("wake_against_timer", Some(4), {
        let seen = seen.clone();
        move || {
            let (event, data) = pair();
            let setter = setter(&event, &data);
            let seen = seen.clone();
            let hub = on_hub(move || {
                let waiter = spawn(move || {
                    let set = event.wait_timeout(Duration::ZERO);
                    assert!(!set || data.load(Ordering::Relaxed) == 1);
                    seen.hit(set.into());
                    event.wait(); // the same record waits anew
                });
                waiter.join().unwrap();
            });
            setter.join().unwrap();
            hub.join().unwrap();
        }
    });
    seen.all(2);
}

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
                let killer = thread({
                    let greenlet = greenlet.clone();
                    move || greenlet.kill()
                });
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
                    let killer = thread({
                        let getter = getter.clone();
                        move || getter.kill()
                    });
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

/// A bounded queue between two hubs, both sides greenlets.
#[test]
fn queue_between_hubs() {
    explore("queue_between_hubs", Some(3), || {
        let queue = Arc::new(Queue::bounded(1));
        let putter = on_hub({
            let queue = queue.clone();
            move || {
                spawn(move || (0..2).for_each(|i| queue.put(i).unwrap()))
                    .join()
                    .unwrap()
            }
        });
        let getter = on_hub({
            let queue = queue.clone();
            move || {
                spawn(move || assert_eq!([queue.get(), queue.get()], [Ok(0), Ok(1)]))
                    .join()
                    .unwrap()
            }
        });
        putter.join().unwrap();
        getter.join().unwrap();
        assert!(queue.is_empty());
    });
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

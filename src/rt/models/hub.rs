//! Real coroutines on real hubs, each in a loom thread, against other threads.

use super::super::sync::{AtomicUsize, Ordering};
use super::{Seen, explore, thread};
use crate::sync::{Event, Queue};
use crate::{run, spawn};
use std::sync::Arc;
use std::time::Duration;

pub(super) type Data = Arc<AtomicUsize>;

pub(super) fn pair() -> (Arc<Event>, Data) {
    (Arc::new(Event::new()), Arc::new(AtomicUsize::new(0)))
}

/// Another thread: writes, then sets.
pub(super) fn setter(event: &Arc<Event>, data: &Data) -> loom::thread::JoinHandle<()> {
    let (event, data) = (event.clone(), data.clone());
    thread(move || {
        data.store(1, Ordering::Relaxed);
        event.set();
    })
}

/// On this hub: waits for the event, and then sees what was written before.
pub(super) fn waiter(event: &Arc<Event>, data: &Data) -> crate::Greenlet<()> {
    let (event, data) = (event.clone(), data.clone());
    spawn(move || {
        event.wait();
        assert_eq!(data.load(Ordering::Relaxed), 1);
    })
}

pub(super) fn on_hub(f: impl FnOnce() + Send + 'static) -> loom::thread::JoinHandle<()> {
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
    explore("broadcast_to_a_hub", Some(3), || {
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

/// One of those that a set wakes clears while the set is at its last waiters: what
/// is done after the wake comes after the set.
#[test]
fn broadcast_against_clear_by_the_woken() {
    explore("broadcast_against_clear_by_the_woken", Some(3), || {
        let hub = on_hub(move || {
            let (event, data) = pair();
            let waiters = [0, 1, 2].map(|i| {
                let event = event.clone();
                spawn(move || {
                    event.wait();
                    if i == 0 {
                        event.clear();
                        assert!(!event.is_set());
                    }
                })
            });
            // All of them wait.
            crate::yield_now();
            let setter = setter(&event, &data);
            for waiter in waiters {
                waiter.join().unwrap();
            }
            setter.join().unwrap();
            assert!(!event.is_set());
        });
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

/// A rendezvous of two hubs, a greenlet and a root.
#[test]
fn rendezvous_of_hubs() {
    explore("rendezvous_of_hubs", Some(3), || {
        let queue = Arc::new(Queue::rendezvous());
        let putter = on_hub({
            let queue = queue.clone();
            move || {
                spawn(move || queue.put(Box::new(1)).unwrap())
                    .join()
                    .unwrap()
            }
        });
        let getter = on_hub(move || assert_eq!(queue.get().map(|item| *item), Ok(1)));
        putter.join().unwrap();
        getter.join().unwrap();
    });
}

/// The turn is given to a greenlet that another thread wakes just now: it runs next if its
/// wake has been read, and else it is left alone, and is woken all the same.
#[test]
fn switch_to_against_a_wake() {
    let seen = Seen::new();
    explore("switch_to_against_a_wake", Some(3), {
        let seen = seen.clone();
        move || {
            let (first, second) = (pair(), pair());
            let seen = seen.clone();
            let setter = thread({
                let (first, second) = (first.clone(), second.clone());
                move || {
                    first.0.set();
                    second.1.store(1, Ordering::Relaxed);
                    second.0.set();
                }
            });
            let hub = on_hub(move || {
                let switcher = spawn(move || {
                    let woken = waiter(&second.0, &second.1);
                    crate::yield_now(); // it waits
                    first.0.wait();
                    let chosen = woken.switch_to();
                    seen.hit(chosen.into());
                    assert!(!chosen || woken.is_finished());
                    woken.join().unwrap();
                });
                switcher.join().unwrap();
            });
            setter.join().unwrap();
            hub.join().unwrap();
        }
    });
    seen.all(2);
}

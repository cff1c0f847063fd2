//! Several nodes on one word: `wait_any`, with threads and with a greenlet.

use super::super::clock::Limit;
use super::super::task::Site;
use super::super::wait::{Latch, Source, wait_any};
use super::hub::on_hub;
use super::{Seen, explore, killer, nobody_waits, thread};
use crate::sync::{AsyncResult, Event};
use crate::{JoinError, run, spawn, unsync, wait_all, wait_any as wait_any_of};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

const NOW: Limit = Limit::After(Duration::ZERO);

/// Two nodes, one word: both fire at once. The winner's value is there, and no
/// node is left behind.
#[test]
fn two_nodes_on_one_word() {
    let seen = Seen::new();
    explore("two_nodes_on_one_word", Some(3), {
        let seen = seen.clone();
        move || {
            let latches = Arc::new([Latch::new(), Latch::new()]);
            let setters = [0, 1].map(|i| {
                let latches = latches.clone();
                thread(move || latches[i].set(i).unwrap())
            });
            let sources: [&dyn Source; 2] = [latches[0].source(), latches[1].source()];
            let won = wait_any("two", Limit::Never, &sources).unwrap();
            assert_eq!(latches[won].get(), Some(&won));
            assert_eq!((latches[0].waiting(), latches[1].waiting()), (0, 0));
            seen.hit(won);
            for setter in setters {
                setter.join().unwrap();
            }
        }
    });
    seen.all(2);
}

/// The same with the waiter leaving: an index, or nothing and no trace.
#[test]
fn two_nodes_and_an_expiry() {
    let seen = Seen::new();
    explore("two_nodes_and_an_expiry", Some(3), {
        let seen = seen.clone();
        move || {
            let latches = Arc::new([Latch::new(), Latch::new()]);
            let setters = [0, 1].map(|i| {
                let latches = latches.clone();
                thread(move || latches[i].set(i).unwrap())
            });
            let sources: [&dyn Source; 2] = [latches[0].source(), latches[1].source()];
            match wait_any("two", NOW, &sources) {
                Some(won) => assert_eq!(latches[won].get(), Some(&won)),
                None => seen.hit(0),
            }
            assert_eq!((latches[0].waiting(), latches[1].waiting()), (0, 0));
            for setter in setters {
                setter.join().unwrap();
            }
            seen.hit(1);
        }
    });
    seen.all(2);
}

/// Who sets loses the first node, whose waiter leaves, and goes on to the next.
#[test]
fn loser_goes_on_to_the_next() {
    explore("loser_goes_on_to_the_next", Some(3), || {
        let latch = Arc::new(Latch::new());
        let leaver = thread({
            let latch = latch.clone();
            move || {
                let _ = wait_any("first", NOW, &[latch.source()]);
                latch.wait(Site::here("again"), Limit::Never)
            }
        });
        let setter = thread({
            let latch = latch.clone();
            move || latch.set(1).unwrap()
        });
        assert!(latch.wait(Site::here("here"), Limit::Never));
        assert_eq!(latch.get(), Some(&1));
        assert!(leaver.join().unwrap());
        setter.join().unwrap();
    });
}

/// The same for a greenlet: the loser's node is gone when it runs.
#[test]
fn two_nodes_of_a_greenlet() {
    let seen = Seen::new();
    explore("two_nodes_of_a_greenlet", Some(2), {
        let seen = seen.clone();
        move || {
            let latches = Arc::new([Latch::new(), Latch::new()]);
            let setters = [0, 1].map(|i| {
                let latches = latches.clone();
                thread(move || latches[i].set(i).unwrap())
            });
            let seen = seen.clone();
            let hub = thread(move || {
                run(|| {
                    let waiter = spawn(move || {
                        let sources: [&dyn Source; 2] = [latches[0].source(), latches[1].source()];
                        let won = wait_any("two", Limit::Never, &sources).unwrap();
                        assert_eq!(latches[won].get(), Some(&won));
                        assert_eq!((latches[0].waiting(), latches[1].waiting()), (0, 0));
                        seen.hit(won);
                        // A second wake for the first wait would come into this one.
                        assert!(!Event::new().wait_timeout(Duration::ZERO));
                    });
                    waiter.join().unwrap();
                });
            });
            for setter in setters {
                setter.join().unwrap();
            }
            hub.join().unwrap();
        }
    });
    seen.all(2);
}

/// Three of different kinds fire at once, for a greenlet: an event, a result, and the end
/// of another greenlet, by a kill. One wins; the others keep what they have for those who
/// come for it later.
#[test]
fn event_result_and_end_at_once() {
    let seen = Seen::new();
    explore("event_result_and_end_at_once", Some(2), {
        let seen = seen.clone();
        move || {
            let event = Arc::new(Event::new());
            let result = Arc::new(AsyncResult::<Box<usize>>::new());
            let setter = thread({
                let result = result.clone();
                move || result.set(Box::new(7)).unwrap()
            });
            let hub = on_hub({
                let (event, seen) = (event.clone(), seen.clone());
                move || {
                    let sleeper = Arc::new(spawn(|| Event::new().wait()));
                    let killer = killer(&sleeper);
                    let waiter = spawn(move || {
                        let won = wait_any_of(&[&*event, &*result, &*sleeper]);
                        let ready = || {
                            let killed = matches!(sleeper.error(), Some(JoinError::Killed));
                            [event.is_set(), result.is_successful(), killed]
                        };
                        assert!(ready()[won]);
                        seen.hit(won);
                        // A second wake for the first wait would come into this one.
                        assert!(!Event::new().wait_timeout(Duration::ZERO));
                        wait_all(&[&*sleeper, &*result, &*event]);
                        assert_eq!(ready(), [true; 3]);
                        nobody_waits(&(&event, &result, &sleeper));
                    });
                    waiter.join().unwrap();
                    killer.join().unwrap();
                }
            });
            event.set();
            setter.join().unwrap();
            hub.join().unwrap();
        }
    });
    seen.all(3);
}

/// Two threads wait for the same two; who loses one of the nodes does not keep it from
/// the other.
#[test]
fn two_wait_for_the_same_two() {
    explore("two_wait_for_the_same_two", Some(2), || {
        let both = Arc::new((Event::new(), AsyncResult::<Box<usize>>::new()));
        let other = thread({
            let both = both.clone();
            move || {
                if wait_any_of(&[&both.1, &both.0]) == 0 {
                    assert!(both.1.value().is_some_and(|value| **value == 7));
                }
                wait_all(&[&both.0, &both.1]);
            }
        });
        let setter = thread({
            let both = both.clone();
            move || {
                both.1.set(Box::new(7)).unwrap();
                both.0.set();
            }
        });
        if wait_any_of(&[&both.0, &both.1]) == 1 {
            assert!(both.1.value().is_some_and(|value| **value == 7));
        }
        wait_all(&[&both.0, &both.1]);
        for thread in [other, setter] {
            thread.join().unwrap();
        }
        nobody_waits(&both);
    });
}

/// Two fire at once for a greenlet: one that only its thread can reach, and one of another
/// thread. One of them ends the wait, the other finds it ended.
#[test]
fn one_of_this_thread_beside_a_shared_one() {
    let seen = Seen::new();
    explore("one_of_this_thread_beside_a_shared_one", Some(3), {
        let seen = seen.clone();
        move || {
            let shared = Arc::new(Event::new());
            let hub = on_hub({
                let (shared, seen) = (shared.clone(), seen.clone());
                move || {
                    let own = Rc::new(unsync::Event::new());
                    let waiter = spawn({
                        let own = own.clone();
                        move || {
                            let won = wait_any_of(&[&*own, &*shared]);
                            assert!([own.is_set(), shared.is_set()][won]);
                            seen.hit(won);
                            // A second wake for the first wait would come into this one.
                            assert!(!Event::new().wait_timeout(Duration::ZERO));
                            nobody_waits(&(&own, &shared));
                        }
                    });
                    spawn(move || own.set()).join().unwrap();
                    waiter.join().unwrap();
                }
            });
            shared.set();
            hub.join().unwrap();
        }
    });
    seen.all(2);
}

/// A wait for what only this thread can reach is decided without a compare-exchange, right
/// after a wait that another thread may be about to end, and while another thread kills.
#[test]
fn one_of_this_thread_after_a_shared_one() {
    let seen = Seen::new();
    explore("one_of_this_thread_after_a_shared_one", Some(2), {
        let seen = seen.clone();
        move || {
            let shared = Arc::new(Event::new());
            let hub = on_hub({
                let (shared, seen) = (shared.clone(), seen.clone());
                move || {
                    let own = Rc::new(unsync::Event::new());
                    let waiter = Arc::new(spawn({
                        let (own, seen) = (own.clone(), seen.clone());
                        move || {
                            seen.hit(shared.wait_timeout(Duration::ZERO).into());
                            own.wait();
                        }
                    }));
                    let killer = killer(&waiter);
                    // Two trips through the loop, where a kill may be found.
                    for _ in 0..2 {
                        assert!(!Event::new().wait_timeout(Duration::ZERO));
                    }
                    own.set();
                    waiter.wait();
                    seen.hit(2 + usize::from(waiter.is_successful()));
                    nobody_waits(&own);
                    killer.join().unwrap();
                }
            });
            shared.set();
            hub.join().unwrap();
        }
    });
    seen.all(4);
}

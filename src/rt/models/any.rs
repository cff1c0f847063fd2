//! Several nodes on one word: `wait_any`, with threads and with a greenlet.

use super::super::clock::Limit;
use super::super::task::Site;
use super::super::wait::{Latch, wait_any};
use super::{Seen, explore, thread};
use crate::sync::Event;
use crate::{run, spawn};
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
            let sources = [latches[0].source(), latches[1].source()];
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
            let sources = [latches[0].source(), latches[1].source()];
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
                        let sources = [latches[0].source(), latches[1].source()];
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

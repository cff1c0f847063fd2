//! Once, OnceCell and Lazy.

use super::{
    LONG, Log, OnDrop, ms, panics, simulate, thread_that_ends, until_waiting, waiting,
    while_panicking,
};
use greenlet::sync::{Event, Lazy, Once, OnceCell};
use greenlet::{Greenlet, HubThread, join_all, now, sleep, spawn, timeout, yield_now};
use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

type Numbers = Rc<OnceCell<u32>>;

/// Initialises with `value` after a sleep.
fn makes(cell: &Numbers, log: &Log, name: &'static str, value: u32) -> Greenlet<u32> {
    let (cell, log) = (cell.clone(), log.clone());
    spawn(move || {
        let got = *cell.get_or_init(|| {
            log.say(format!("{name} makes"));
            sleep(ms(5));
            value
        });
        log.say(format!("{name} has {got}"));
        got
    })
}

fn fails(cell: &Numbers, log: &Log, name: &'static str) -> Greenlet<Result<u32, &'static str>> {
    let (cell, log) = (cell.clone(), log.clone());
    spawn(move || {
        let got = cell.get_or_try_init(|| {
            log.say(format!("{name} tries"));
            sleep(ms(5));
            Err(name)
        });
        got.copied()
    })
}

#[test]
fn one_initialises_while_the_others_wait() {
    simulate(|| {
        let (cell, log) = (Numbers::default(), Log::default());
        let all = [("a", 1), ("b", 2), ("c", 3)].map(|(name, n)| makes(&cell, &log, name, n));
        let waiter = spawn({
            let (cell, log) = (cell.clone(), log.clone());
            move || log.say(format!("waits for {}", cell.wait()))
        });
        yield_now();
        assert_eq!(cell.get(), None);
        waiting(&cell, 3);
        assert_eq!(cell.wait_timeout(ms(1)), None);
        for one in join_all(all) {
            assert_eq!(one.unwrap(), 1);
        }
        waiter.join().unwrap();
        assert_eq!(
            log.take(),
            ["a makes", "a has 1", "waits for 1", "b has 1", "c has 1"]
        );
        waiting(&cell, 0);
        assert_eq!((cell.get(), cell.wait()), (Some(&1), &1));
        assert_eq!(cell.wait_timeout(ms(0)), Some(&1));
    });
}

/// The turn goes to the next in line, before anybody who comes then; who leaves the line gets
/// none.
#[test]
fn one_that_fails_hands_the_turn_to_the_next_in_line() {
    simulate(|| {
        let (cell, log) = (Numbers::default(), Log::default());
        let a = fails(&cell, &log, "a");
        let b = makes(&cell, &log, "b", 2);
        let c = makes(&cell, &log, "c", 3);
        let d = spawn({
            let cell = cell.clone();
            move || timeout(ms(2), || *cell.get_or_init(|| 4))
        });
        let e = makes(&cell, &log, "e", 5);
        sleep(ms(3));
        b.kill();
        assert!(d.join().unwrap().is_err());
        sleep(ms(2));
        // It is c's by now, whoever comes.
        let f = makes(&cell, &log, "f", 6);
        assert_eq!(a.join().unwrap(), Err("a"));
        assert!(b.join().unwrap_err().is_killed());
        for got in [c, e, f] {
            assert_eq!(got.join().unwrap(), 3);
        }
        assert_eq!(
            log.take(),
            ["a tries", "c makes", "c has 3", "e has 3", "f has 3"]
        );
        waiting(&cell, 0);
    });
}

#[test]
fn one_that_panics_or_is_killed_leaves_no_poison() {
    simulate(|| {
        let (cell, log) = (Numbers::default(), Log::default());
        let a = spawn({
            let cell = cell.clone();
            move || {
                cell.get_or_init(|| {
                    yield_now();
                    panic!("on purpose")
                });
            }
        });
        let b = makes(&cell, &log, "b", 2);
        let c = makes(&cell, &log, "c", 3);
        assert!(a.join().unwrap_err().is_panic());
        yield_now();
        b.kill(); // in its initialiser
        assert_eq!(c.join().unwrap(), 3);
        assert!(b.join().unwrap_err().is_killed());
        assert_eq!(log.take(), ["b makes", "c makes", "c has 3"]);
        // A cell that nobody waits for is free again.
        let cell = OnceCell::new();
        assert_eq!(cell.get_or_try_init(|| Err(7)), Err(7));
        let text = panics(|| {
            cell.get_or_init(|| panic!("no"));
        });
        assert_eq!(text, "no");
        assert_eq!(cell.get_or_init(|| 8), &8);
    });
}

/// The turn was given, and then comes the kill: it begins, and its first wait raises.
#[test]
fn one_that_was_given_the_turn_and_is_killed_hands_it_on() {
    simulate(|| {
        let (cell, log) = (Numbers::default(), Log::default());
        let a = spawn({
            let cell = cell.clone();
            move || {
                let _ = cell.get_or_try_init(|| {
                    yield_now();
                    Err(())
                });
            }
        });
        let b = makes(&cell, &log, "b", 2);
        let c = makes(&cell, &log, "c", 3);
        a.join().unwrap();
        b.kill();
        assert_eq!(c.join().unwrap(), 3);
        assert!(b.join().unwrap_err().is_killed());
        assert_eq!(log.take(), ["b makes", "c makes", "c has 3"]);
    });
}

#[test]
fn initialising_in_the_initialiser_is_a_panic_that_says_so() {
    simulate(|| {
        let cell = OnceCell::new();
        let text = panics(|| {
            cell.get_or_init(|| *cell.get_or_init(|| 1) + 1);
        });
        assert!(
            text.starts_with("OnceCell::get_or_init from inside"),
            "{text}"
        );
        let text = panics(|| {
            cell.get_or_init(|| cell.set(1).map_or(2, |()| 3));
        });
        assert!(text.starts_with("OnceCell::set from inside"), "{text}");
        let text = panics(|| {
            let _ = cell.get_or_try_init(|| cell.get_or_try_init(|| Err(1)).copied());
        });
        assert!(text.contains("get_or_try_init from inside"), "{text}");
        assert_eq!(cell.get_or_init(|| 5), &5, "it is as it was");
        let once = Once::new();
        let text = panics(|| once.call_once(|| once.call_once(|| ())));
        assert!(text.starts_with("Once::call_once from inside"), "{text}");
        assert!(!once.is_completed());
        thread_local! {
            static ITSELF: Lazy<u32> = Lazy::new(|| ITSELF.with(|itself| **itself + 1));
        }
        let text = panics(|| {
            ITSELF.with(|itself| **itself);
        });
        assert!(text.starts_with("Lazy::force from inside"), "{text}");
    });
}

#[test]
fn set_waits_for_who_initialises() {
    simulate(|| {
        let (cell, log) = (Numbers::default(), Log::default());
        let a = fails(&cell, &log, "a");
        yield_now();
        assert_eq!(cell.set(7), Ok(()));
        assert_eq!(cell.set(8), Err(8));
        assert_eq!(a.join().unwrap(), Err("a"));
        let cell = Numbers::default();
        let b = makes(&cell, &log, "b", 2);
        yield_now();
        assert_eq!(cell.set(7), Err(7));
        assert_eq!(b.join().unwrap(), 2);
    });
}

#[test]
fn a_cell_has_what_std_s_has() {
    let mut cell = OnceCell::from(String::from("a"));
    cell.get_mut().unwrap().push('b');
    assert_eq!(cell.get().unwrap(), "ab");
    let copy = cell.clone();
    assert_eq!(copy, cell);
    assert_eq!(cell.take().as_deref(), Some("ab"));
    assert_ne!(copy, cell);
    assert_eq!(cell.get(), None);
    assert_eq!(cell.get_mut(), None);
    assert_eq!(cell.take(), None);
    assert_eq!(cell.clone(), OnceCell::default());
    assert_eq!(cell.set("c".into()), Ok(()));
    assert_eq!(cell.into_inner().as_deref(), Some("c"));
    assert_eq!(
        format!("{copy:?}"),
        r#"OnceCell { value: Some("ab"), waiting: 0 }"#
    );
    assert_eq!(
        format!("{:?}", Once::default()),
        "Once { completed: false, waiting: 0 }"
    );
    assert_eq!(*Lazy::<u32>::default(), 0);
    // The value is dropped with its cell, once.
    let token = Arc::new(());
    drop([OnceCell::from(token.clone()), OnceCell::new()]);
    let mut cell = OnceCell::from(token.clone());
    drop(cell.take());
    assert_eq!(cell.set(token.clone()), Ok(()));
    drop(cell.set(token.clone()).unwrap_err());
    assert_eq!(Arc::strong_count(&token), 2);
    drop(cell);
    assert_eq!(Arc::strong_count(&token), 1);
}

#[test]
fn once_runs_one_closure() {
    simulate(|| {
        let (once, log) = (Rc::new(Once::new()), Log::default());
        let all = ["a", "b"].map(|name| {
            let (once, log) = (once.clone(), log.clone());
            spawn(move || {
                once.call_once(|| {
                    log.say(name);
                    sleep(ms(1));
                });
                assert!(once.is_completed());
            })
        });
        yield_now();
        waiting(&once, 1);
        assert!(!once.is_completed() && !once.wait_timeout(ms(0)));
        once.wait();
        for one in join_all(all) {
            one.unwrap();
        }
        once.call_once(|| log.say("again"));
        assert_eq!(log.take(), ["a"]);
        assert!(once.wait_timeout(ms(0)));
    });
}

#[test]
fn a_lazy_runs_its_initialiser_again_until_it_succeeds() {
    simulate(|| {
        let (calls, token) = (Rc::new(Cell::new(0)), Rc::new(()));
        let lazy = Rc::new(Lazy::new({
            let (calls, token) = (calls.clone(), token.clone());
            move || {
                let _token = &token;
                calls.set(calls.get() + 1);
                sleep(ms(5));
                assert_ne!(calls.get(), 2, "on purpose");
                calls.get()
            }
        }));
        let user = || {
            let lazy = lazy.clone();
            spawn(move || **lazy)
        };
        let (a, b, c, d) = (user(), user(), user(), user());
        sleep(ms(1));
        a.kill();
        assert!(a.join().unwrap_err().is_killed());
        assert!(b.join().unwrap_err().is_panic());
        assert_eq!(c.join().unwrap(), 3);
        assert_eq!(d.join().unwrap(), 3);
        assert_eq!((**lazy, calls.get()), (3, 3));
        assert_eq!(Rc::strong_count(&token), 1, "it is dropped");
        assert_eq!(format!("{lazy:?}"), "Lazy { value: Some(3), waiting: 0 }");
        // A time limit around the first use ends that one only.
        let slow = Lazy::new(|| sleep(ms(5)));
        assert!(timeout(ms(1), || *slow).is_err());
        assert!(timeout(ms(9), || *slow).is_ok());
    });
}

/// The initialiser is dropped without any lock: it may use what it likes.
#[test]
fn the_initialiser_of_a_lazy_may_use_it_when_it_is_dropped() {
    thread_local! {
        static SEEN: Cell<u32> = const { Cell::new(0) };
        static LAZY: Lazy<u32, Box<dyn FnMut() -> u32>> = Lazy::new({
            let uses = OnDrop(|| LAZY.with(|lazy| SEEN.set(**lazy)));
            Box::new(move || {
                let _uses = &uses;
                7
            })
        });
    }
    assert_eq!(LAZY.with(|lazy| **lazy), 7);
    assert_eq!(SEEN.get(), 7);
}

static SHARED: Lazy<usize> = Lazy::new(|| {
    CALLS.fetch_add(1, Relaxed);
    sleep(ms(20));
    7
});
static CALLS: AtomicUsize = AtomicUsize::new(0);

/// std's would stop a hub whose greenlet comes second.
#[test]
fn hubs_run_on_while_their_greenlets_wait_for_a_static() {
    let hubs = [(); 2].map(|()| HubThread::start("hub").unwrap());
    let users: Vec<_> = hubs
        .iter()
        .flat_map(|hub| {
            [
                hub.handle().spawn(|| *SHARED),
                hub.handle().spawn(|| *SHARED),
            ]
        })
        .collect();
    // It is served whether the others wait or not.
    for hub in &hubs {
        hub.handle().spawn(yield_now).join().unwrap();
    }
    let thread = std::thread::spawn(|| *SHARED);
    for user in users {
        assert_eq!(user.join().unwrap(), 7);
    }
    assert_eq!((thread.join().unwrap(), *SHARED), (7, 7));
    assert_eq!(CALLS.load(Relaxed), 1);
}

/// Each fails but the last; the turn goes round threads and hubs.
#[test]
fn turns_go_round_the_threads() {
    for _ in 0..50 {
        let (cell, tries) = (Arc::new(OnceCell::new()), Arc::new(AtomicUsize::new(0)));
        let party = || {
            let (cell, tries) = (cell.clone(), tries.clone());
            move || {
                let got = cell.get_or_try_init(|| match tries.fetch_add(1, Relaxed) {
                    5 => Ok(Box::new(5)),
                    n => Err(n),
                });
                got.is_ok_and(|n| **n == 5)
            }
        };
        let hub = HubThread::start("hub").unwrap();
        let greenlets = [(); 3].map(|()| hub.handle().spawn(party()));
        let threads = [(); 4].map(|()| std::thread::spawn(party()));
        let mut successes = 0;
        for greenlet in greenlets {
            successes += usize::from(greenlet.join().unwrap());
        }
        for thread in threads {
            successes += usize::from(thread.join().unwrap());
        }
        assert_eq!((successes, tries.load(Relaxed)), (2, 6));
        waiting(&cell, 0);
    }
}

/// Who would have to wait while panicking blocks its thread if others initialise.
#[test]
fn a_cell_of_other_threads_blocks_the_thread_that_panics() {
    let (cell, go) = (Arc::new(OnceCell::new()), Arc::new(Event::new()));
    let begun = Arc::new(Event::new());
    let other = std::thread::spawn({
        let (cell, go, begun) = (cell.clone(), go.clone(), begun.clone());
        move || {
            cell.get_or_init(|| {
                begun.set();
                go.wait();
                7
            });
        }
    });
    begun.wait();
    // Opens it when somebody waits in the line of the cell.
    let opener = std::thread::spawn({
        let (cell, go) = (cell.clone(), go.clone());
        move || {
            until_waiting(&cell, 1);
            go.set();
        }
    });
    // On a hub: a plain thread blocks in any case.
    let panicking = spawn(move || while_panicking(|| assert_eq!(cell.get_or_init(|| 8), &7)));
    panicking.join().unwrap();
    other.join().unwrap();
    opener.join().unwrap();
}

/// The line passes over one whose thread has ended without ending its greenlets.
#[test]
fn the_turn_passes_over_one_whose_thread_has_ended() {
    let (cell, go) = (Arc::new(OnceCell::new()), Arc::new(Event::new()));
    let hub = HubThread::start("hub").unwrap();
    let fails = hub.handle().spawn({
        let (cell, go) = (cell.clone(), go.clone());
        move || {
            let _ = cell.get_or_try_init(|| {
                go.wait();
                Err(())
            });
        }
    });
    until_waiting(&go, 1);
    thread_that_ends({
        let cell = cell.clone();
        move || {
            drop(spawn({
                let cell = cell.clone();
                move || *cell.get_or_init(|| 1)
            }));
            drop(spawn(move || *cell.wait()));
        }
    });
    let behind = hub.handle().spawn({
        let cell = cell.clone();
        move || *cell.get_or_init(|| 2)
    });
    until_waiting(&*cell, 3);
    go.set();
    fails.join().unwrap();
    let begin = now();
    assert_eq!(timeout(LONG, || *cell.wait()), Ok(2));
    assert!(now() - begin < LONG);
    assert_eq!(behind.join().unwrap(), 2);
}

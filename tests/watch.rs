//! Watch and Broadcast: what each promises, most of it in a `Simulation` where only greenlets take
//! part.

#[path = "watch/broadcast.rs"]
mod broadcast;
#[path = "watch/random.rs"]
mod random;

use greenlet::sync::{Queue, Watch, WatchError};
use greenlet::testing::Simulation;
use greenlet::{
    HubThread, JoinError, block_on, no_switch, now, scope, select, sleep, spawn, timeout, yield_now,
};
use std::cell::{Cell, RefCell};
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

const LONG: Duration = Duration::from_secs(60);

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn simulate<R>(f: impl FnOnce() -> R) -> R {
    Simulation::new().run(f)
}

#[track_caller]
fn waiting(of: &dyn std::fmt::Debug, n: usize) {
    let text = format!("{of:?}");
    assert!(text.contains(&format!("waiting: {n}")), "{text}");
}

/// Runs something in a destructor while the thread is panicking.
fn while_panicking(f: impl FnOnce()) {
    struct OnDrop<F: FnOnce()>(Option<F>);
    impl<F: FnOnce()> Drop for OnDrop<F> {
        fn drop(&mut self) {
            assert!(std::thread::panicking());
            (self.0.take().unwrap())();
        }
    }
    let done = Cell::new(false);
    let payload = catch_unwind(AssertUnwindSafe(|| {
        let _guard = OnDrop(Some(|| {
            f();
            done.set(true);
        }));
        std::panic::resume_unwind(Box::new("on purpose"));
    }));
    assert!(payload.is_err() && done.get());
}

#[test]
fn a_reader_sees_the_last_and_may_skip_the_others() {
    simulate(|| {
        let watch = Rc::new(Watch::new(0));
        let reader = spawn({
            let watch = watch.clone();
            move || {
                let (mut reader, mut seen) = (watch.subscribe(), vec![]);
                while reader.changed().is_ok() {
                    seen.push(reader.get());
                }
                seen
            }
        });
        yield_now();
        waiting(&watch, 1);
        for i in 1..=3 {
            assert_eq!(watch.set(i), Ok(i - 1));
        }
        sleep(ms(1));
        watch.set(4).unwrap();
        yield_now();
        watch.set(5).unwrap();
        watch.shutdown();
        assert_eq!(reader.join().unwrap(), [3, 4, 5]);
        waiting(&watch, 0);
    });
}

#[test]
fn what_a_reader_has_seen() {
    simulate(|| {
        let watch = Watch::new(0);
        watch.set(1).unwrap();
        let mut reader = watch.subscribe();
        assert!(!reader.has_changed(), "it has seen what was there");
        // What it reads itself counts, also without having been told.
        watch.set(2).unwrap();
        assert!(reader.has_changed());
        assert_eq!(reader.get(), 2);
        assert!(!reader.has_changed());
        watch.modify(|n| *n += 1).unwrap();
        assert!(reader.with(|n| *n == 3) && !reader.has_changed());
        // And so does what it was told; the value has not been read, but is there.
        watch.set(4).unwrap();
        watch.set(5).unwrap();
        let clone = reader.clone();
        no_switch(|| reader.changed()).unwrap();
        assert!(!reader.has_changed() && clone.has_changed());
        assert_eq!(
            reader.changed_timeout(ms(1)),
            Err(WatchError::Unchanged),
            "both at once"
        );
        // An equal value is a change; to look without a reader marks nothing.
        watch.set(5).unwrap();
        assert!(watch.get() == 5 && watch.with(|n| *n == 5));
        assert!(reader.has_changed());
        // What says that nothing has changed is believed.
        reader.get();
        assert_eq!(watch.modify_if(|n| *n > 5), Ok(false));
        assert!(!reader.has_changed());
        assert_eq!(watch.modify_if(|n| *n == 5), Ok(true));
        assert!(reader.has_changed());
    });
}

#[test]
fn who_waits_for_a_change_to_end_has_seen_it() {
    simulate(|| {
        let watch = Rc::new(Watch::new(0));
        let changing = spawn({
            let watch = watch.clone();
            move || {
                watch.modify(|n| {
                    sleep(ms(5));
                    *n = 1;
                })
            }
        });
        let mut readers = [watch.subscribe(), watch.subscribe()];
        sleep(ms(1));
        assert_eq!(readers[0].get(), 1);
        assert!(readers[1].wait_for(|n| *n == 1).is_ok());
        assert!(readers.iter().all(|reader| !reader.has_changed()));
        changing.join().unwrap().unwrap();
    });
}

#[test]
fn all_who_wait_are_told_in_order_of_arrival() {
    simulate(|| {
        // More than one batch of wakes.
        let (watch, order) = (Rc::new(Watch::new("a")), Rc::new(RefCell::new(Vec::new())));
        let readers: Vec<_> = (0..70)
            .map(|i| {
                let (watch, order) = (watch.clone(), order.clone());
                spawn(move || {
                    let mut reader = watch.subscribe();
                    match i % 7 {
                        3 => drop(reader.changed_timeout(ms(1))),
                        _ => reader.changed().unwrap(),
                    }
                    order.borrow_mut().push((i, reader.get()));
                })
            })
            .collect();
        yield_now();
        waiting(&watch, 70);
        sleep(ms(2));
        waiting(&watch, 60);
        order.borrow_mut().clear();
        watch.set("b").unwrap();
        waiting(&watch, 0);
        for reader in readers {
            reader.join().unwrap();
        }
        let expected: Vec<_> = (0..70).filter(|i| i % 7 != 3).map(|i| (i, "b")).collect();
        assert_eq!(*order.borrow(), expected);
    });
}

/// Closures and clones run under the value's lock, not under the monitor's: they may wait, and use
/// the rest of the watch.
#[test]
fn user_code_may_wait_and_use_the_watch() {
    struct Slow(Rc<Watch<u8>>, u8);
    impl Clone for Slow {
        fn clone(&self) -> Self {
            sleep(ms(5));
            assert_eq!(self.0.statistics().waiting, 1);
            Slow(self.0.clone(), self.1 + 1)
        }
    }
    simulate(|| {
        let side = Rc::new(Watch::new(0));
        let watch = Rc::new(Watch::new(Slow(side.clone(), 1)));
        let waiter = spawn({
            let side = side.clone();
            move || side.subscribe().changed()
        });
        let setter = spawn({
            let (watch, side) = (watch.clone(), side.clone());
            move || {
                sleep(ms(1)); // it is being cloned
                let old = watch.set(Slow(side, 7)).ok().unwrap();
                (old.1, now())
            }
        });
        let began = now();
        assert_eq!(watch.get().1, 2);
        // Who changes it waits for who reads it.
        assert_eq!(setter.join().unwrap(), (1, began + ms(5)));
        watch
            .modify(|slow| {
                sleep(ms(1));
                slow.1 += 1;
                let other = watch.subscribe();
                assert!(!other.has_changed() && !watch.is_shut_down());
                waiting(&watch, 0);
            })
            .unwrap();
        assert_eq!(watch.with(|slow| slow.1), 8);
        side.shutdown();
        assert_eq!(waiter.join().unwrap(), Err(WatchError::ShutDown));
    });
}

/// What a value's destructor does, it does in the hands of who has set another one.
#[test]
fn an_old_value_is_dropped_without_a_lock() {
    struct Chain(Rc<Watch<Option<Chain>>>, u8);
    impl Drop for Chain {
        fn drop(&mut self) {
            if self.1 > 0 {
                let next = Chain(self.0.clone(), self.1 - 1);
                drop(self.0.set(Some(next)));
            }
        }
    }
    simulate(|| {
        let watch = Rc::new(Watch::new(None));
        let mut reader = watch.subscribe();
        drop(watch.set(Some(Chain(watch.clone(), 3))));
        drop(watch.set(None));
        reader.changed().unwrap();
        // The last one of the chain is there; it has no more to do.
        assert_eq!(reader.with(|last| last.as_ref().unwrap().1), 2);
        watch.modify(|last| last.as_mut().unwrap().1 = 0).unwrap();
        drop(watch.set(None));
        assert!(watch.with(Option::is_none));
    });
}

#[test]
fn a_change_that_is_unwound_is_told() {
    simulate(|| {
        let watch = Arc::new(Watch::new((0, 0)));
        let reader = watch.subscribe_owned();
        for how in 0..2 {
            let mut reader = reader.clone();
            reader.get();
            let changing = spawn({
                let watch = watch.clone();
                move || {
                    watch.modify_if(|pair| {
                        pair.0 += 1;
                        if how == 1 {
                            std::panic::resume_unwind(Box::new("on purpose"));
                        }
                        sleep(LONG);
                        pair.1 += 1;
                        false
                    })
                }
            });
            sleep(ms(1));
            changing.kill();
            let outcome = changing.join();
            match how {
                0 => assert!(matches!(outcome, Err(JoinError::Killed))),
                _ => assert!(matches!(outcome, Err(JoinError::Panicked { .. }))),
            }
            assert_eq!(reader.changed_timeout(LONG), Ok(()));
            assert_eq!(reader.get(), (how + 1, 0));
        }
        assert_eq!(watch.set((7, 7)), Ok((2, 0)));
    });
}

#[test]
fn a_setter_that_is_killed_sets_nothing() {
    simulate(|| {
        let watch = Rc::new(Watch::new(1));
        let mut reader = watch.subscribe();
        watch.with(|_| {
            let setter = spawn({
                let watch = watch.clone();
                move || watch.set(2)
            });
            let limited = spawn({
                let watch = watch.clone();
                move || timeout(ms(1), || watch.set(3)).is_err()
            });
            sleep(ms(2));
            setter.kill();
            assert!(matches!(setter.join(), Err(JoinError::Killed)));
            assert!(limited.join().unwrap());
        });
        assert_eq!(reader.changed_timeout(ms(1)), Err(WatchError::Unchanged));
        assert_eq!(watch.set(4), Ok(1));
        assert_eq!(reader.changed(), Ok(()));
    });
}

#[test]
fn a_reader_that_is_killed_has_seen_nothing() {
    simulate(|| {
        let watch = Arc::new(Watch::new(1));
        let shared = Rc::new(RefCell::new(watch.subscribe_owned()));
        for ended in [true, false] {
            let waiter = spawn({
                let shared = shared.clone();
                move || {
                    let mut reader = shared.borrow_mut();
                    timeout(ms(1), || reader.changed()).map(drop)
                }
            });
            yield_now();
            if ended {
                waiter.kill();
            }
            let outcome = waiter.join();
            assert!(outcome.is_err() == ended && outcome.is_ok_and(|o| o.is_err()) != ended);
            assert!(!shared.borrow().has_changed());
        }
        watch.set(2).unwrap();
        assert_eq!(shared.borrow_mut().changed(), Ok(()));
    });
}

/// A woken reader that is killed before it runs has been told; the kill is raised later.
#[test]
fn success_wins_a_tie() {
    simulate(|| {
        let (watch, told) = (Rc::new(Watch::new(1)), Rc::new(Cell::new(false)));
        let waiter = spawn({
            let (watch, told) = (watch.clone(), told.clone());
            move || {
                watch.subscribe().changed().unwrap();
                told.set(true);
                yield_now();
                unreachable!("a kill is pending");
            }
        });
        yield_now();
        watch.set(2).unwrap();
        waiter.kill();
        assert!(matches!(waiter.join(), Err(JoinError::Killed)));
        assert!(told.get());
    });
}

#[test]
fn the_end_comes_after_the_last_value() {
    simulate(|| {
        let watch = Rc::new(Watch::new(0));
        let wait = |forever: bool| {
            let watch = watch.clone();
            spawn(move || {
                let mut reader = watch.subscribe();
                match forever {
                    true => reader.changed(),
                    false => reader.changed_timeout(LONG),
                }
            })
        };
        let waiters = [wait(true), wait(false)];
        let mut late = watch.subscribe();
        yield_now();
        watch.shutdown();
        watch.shutdown();
        for waiter in waiters {
            assert_eq!(waiter.join().unwrap(), Err(WatchError::ShutDown));
        }
        assert_eq!(late.changed(), Err(WatchError::ShutDown));
        assert_eq!(watch.subscribe().changed(), Err(WatchError::ShutDown));
        assert!(watch.is_shut_down() && watch.statistics().shut_down);
        // It is as it was.
        assert_eq!(watch.set(1), Err(1));
        assert_eq!(watch.modify(|n| *n += 1), Err(WatchError::ShutDown));
        assert_eq!(watch.modify_if(|_| true), Err(WatchError::ShutDown));
        assert_eq!((watch.get(), late.has_changed()), (0, false));
    });
}

#[test]
fn one_who_waits_to_change_it_may_come_too_late() {
    simulate(|| {
        let watch = Rc::new(Watch::new(0));
        let mut reader = watch.subscribe();
        let setter = watch.with(|_| {
            let setter = spawn({
                let watch = watch.clone();
                move || watch.set(1)
            });
            yield_now();
            watch.shutdown();
            setter
        });
        assert_eq!(setter.join().unwrap(), Err(1));
        assert_eq!(reader.changed(), Err(WatchError::ShutDown));
        assert_eq!(reader.get(), 0);
    });
}

/// A shutdown does not wait for one who changes the value, and that is still the last change.
#[test]
fn a_change_that_has_begun_is_the_last() {
    simulate(|| {
        let watch = Rc::new(Watch::new(0));
        let change = |changes: bool| {
            let watch = watch.clone();
            spawn(move || {
                watch.modify_if(|n| {
                    sleep(ms(5));
                    *n += u32::from(changes);
                    changes
                })
            })
        };
        // The second one waits for the first, and comes too late.
        let (first, second) = (change(true), change(true));
        let reader = spawn({
            let watch = watch.clone();
            move || {
                let mut reader = watch.subscribe();
                let all = [(); 2].map(|()| (reader.changed(), now()));
                (all, reader.get())
            }
        });
        let began = now();
        sleep(ms(1));
        no_switch(|| watch.shutdown());
        assert_eq!(now(), began + ms(1));
        let early = watch.subscribe().changed_timeout(ms(1));
        assert_eq!(early, Err(WatchError::Unchanged), "not the end yet");
        let (all, last) = reader.join().unwrap();
        let at = began + ms(5);
        assert_eq!(all, [(Ok(()), at), (Err(WatchError::ShutDown), at)]);
        assert_eq!(last, 1);
        assert_eq!(first.join().unwrap(), Ok(true));
        assert_eq!(second.join().unwrap(), Err(WatchError::ShutDown));

        // One that changes nothing after all tells those who wait of the end.
        let watch = Rc::new(Watch::new(0));
        let idle = spawn({
            let watch = watch.clone();
            move || {
                watch.modify_if(|_| {
                    sleep(ms(5));
                    false
                })
            }
        });
        let reader = spawn({
            let watch = watch.clone();
            move || (watch.subscribe().changed(), now())
        });
        let began = now();
        sleep(ms(1));
        watch.shutdown();
        let at = began + ms(5);
        assert_eq!(reader.join().unwrap(), (Err(WatchError::ShutDown), at));
        assert_eq!(idle.join().unwrap(), Ok(false));
        waiting(&watch, 0);
    });
}

#[test]
fn wait_for_a_condition() {
    simulate(|| {
        let watch = Arc::new(Watch::new(0));
        let (began, mut reader) = (now(), watch.subscribe());
        let looked = Rc::new(RefCell::new(Vec::new()));
        let waiter = spawn({
            let (looked, mut reader) = (looked.clone(), watch.subscribe_owned());
            move || {
                let condition = |n: &u32| {
                    looked.borrow_mut().push(*n);
                    *n >= 3
                };
                let value = reader.wait_for(condition).unwrap();
                // It stays as it is while the guard is held.
                let found = *value;
                sleep(ms(10));
                assert_eq!(*value, found);
                found
            }
        });
        for i in 1..=3 {
            sleep(ms(1));
            watch.set(i).unwrap();
        }
        yield_now();
        watch.set(4).unwrap();
        assert_eq!(now(), began + ms(13));
        assert_eq!(waiter.join().unwrap(), 3);
        assert_eq!(*looked.borrow(), [0, 1, 2, 3]);
        // The limit is one for all changes on the way.
        let ticker = spawn({
            let watch = watch.clone();
            move || {
                for i in 10..20 {
                    sleep(ms(2));
                    watch.set(i).unwrap();
                }
            }
        });
        let began = now();
        let late = reader.wait_for_timeout(ms(7), |n| *n > 100).map(drop);
        assert_eq!((late, now()), (Err(WatchError::Unchanged), began + ms(7)));
        let found = reader.wait_for_timeout(ms(7), |n| *n == 14).map(|n| *n);
        assert_eq!((found, now()), (Ok(14), began + ms(10)));
        assert!(!reader.has_changed());
        // Also for one who changes it.
        let slow = spawn({
            let watch = watch.clone();
            move || watch.modify(|_| sleep(ms(100)))
        });
        ticker.kill();
        yield_now();
        let began = now();
        let late = reader.wait_for_timeout(ms(7), |_| true).map(drop);
        assert_eq!((late, now()), (Err(WatchError::Unchanged), began + ms(7)));
        // The last value is looked at, and after that there is the end.
        watch.shutdown();
        assert_eq!(reader.wait_for(|n| *n == 14).map(|n| *n), Ok(14));
        let never = reader.wait_for(|n| *n == 15).map(drop);
        assert_eq!((never, now()), (Err(WatchError::ShutDown), began + ms(100)));
        slow.join().unwrap().unwrap();
    });
}

#[test]
fn a_zero_limit_makes_one_trip() {
    simulate(|| {
        let watch = Rc::new(Watch::new(0));
        let setter = spawn({
            let watch = watch.clone();
            move || watch.set(1)
        });
        let mut reader = watch.subscribe();
        assert_eq!(reader.changed_timeout(Duration::ZERO), Ok(()));
        setter.join().unwrap().unwrap();
        let began = now();
        let expired = reader.changed_timeout(Duration::ZERO);
        assert_eq!((expired, now()), (Err(WatchError::Unchanged), began));
    });
}

#[test]
fn while_panicking_a_wait_says_no() {
    simulate(|| {
        let watch = Watch::new(0);
        let mut reader = watch.subscribe();
        while_panicking(|| {
            assert_eq!(reader.changed(), Err(WatchError::Unchanged));
            assert_eq!(reader.changed_timeout(LONG), Err(WatchError::Unchanged));
            let none = reader.wait_for(|n| *n > 0).map(drop);
            assert_eq!(none, Err(WatchError::Unchanged));
            watch.set(1).unwrap();
            assert_eq!((reader.changed(), reader.get()), (Ok(()), 1));
            watch.shutdown();
        });
        assert_eq!(reader.changed(), Err(WatchError::ShutDown));
    });
}

#[test]
fn as_a_future_and_in_a_select() {
    simulate(|| {
        let (watch, queue) = (Watch::new(0), Queue::<u8>::unbounded());
        let mut reader = watch.subscribe();
        let mut context = Context::from_waker(Waker::noop());
        {
            let mut dropped = pin!(reader.changed_async());
            assert!(dropped.as_mut().poll(&mut context).is_pending());
            waiting(&watch, 1);
            watch.set(1).unwrap();
        }
        waiting(&watch, 0);
        assert!(reader.has_changed(), "it was told and never said so");
        assert_eq!(block_on(reader.changed_async()), Ok(()));
        {
            let mut told = pin!(reader.changed_async());
            assert!(told.as_mut().poll(&mut context).is_pending());
            watch.set(2).unwrap();
            assert_eq!(told.as_mut().poll(&mut context), Poll::Ready(Ok(())));
        }
        assert!(!reader.has_changed());
        // At once, and once.
        watch.set(9).unwrap();
        for told in [Some(Ok(())), None] {
            let now = select! { wait(reader) -> changed => Some(changed), default => None };
            assert_eq!(now, told);
        }
        // A setter, and somebody who puts.
        let chosen = scope(|s| {
            s.spawn(|| {
                sleep(ms(1));
                watch.set(3).unwrap();
                sleep(ms(1));
                queue.put(7).unwrap();
                watch.shutdown();
            });
            let mut chosen = Vec::new();
            while chosen.len() < 3 {
                chosen.push(select! {
                    get(queue) -> item => item.unwrap(),
                    wait(reader) -> changed => if changed.is_ok() { 1 } else { 2 },
                });
            }
            chosen.sort();
            chosen
        });
        assert_eq!(chosen, [1, 2, 7]);
        assert_eq!(block_on(reader.changed_async()), Err(WatchError::ShutDown));
        waiting(&watch, 0);
    });
}

/// A waker is an executor's code, and may read the value at once.
#[test]
fn wakers_run_when_the_value_is_unlocked() {
    struct Reads(Arc<Watch<u8>>, Mutex<Vec<u8>>);
    impl Wake for Reads {
        fn wake(self: Arc<Self>) {
            self.1.lock().unwrap().push(self.0.get());
        }
    }
    let watch = Arc::new(Watch::new(0));
    let reads = Arc::new(Reads(watch.clone(), Mutex::default()));
    let waker = Waker::from(reads.clone());
    let mut reader = watch.subscribe();
    let mut future = pin!(reader.changed_async());
    let mut context = Context::from_waker(&waker);
    assert!(future.as_mut().poll(&mut context).is_pending());
    watch.set(1).unwrap();
    assert_eq!(*reads.1.lock().unwrap(), [1]);
}

/// Between plain threads and hubs: what is read never goes back, each told change is one, and the
/// last value is seen by all.
#[test]
fn between_threads_and_hubs() {
    const LAST: u64 = 2000;
    let watch = Arc::new(Watch::new((0u64, 0u64)));
    let read = |mut reader: greenlet::sync::WatchReader<'static, (u64, u64)>| {
        let mut last = (0, 0);
        while reader.changed().is_ok() {
            let value = reader.get();
            assert!(value.0 > last.0 && value.1 == 3 * value.0);
            last = value;
        }
        last.0
    };
    let hubs = [0, 1].map(|_| HubThread::start("readers").unwrap());
    let mut greenlets = Vec::new();
    for hub in &hubs {
        for _ in 0..3 {
            let reader = watch.subscribe_owned();
            greenlets.push(hub.handle().spawn(move || read(reader)));
        }
    }
    let reader = watch.subscribe_owned();
    let thread = std::thread::spawn(move || read(reader));
    let setters = [0, 1].map(|i| {
        let watch = watch.clone();
        std::thread::spawn(move || {
            while watch
                .modify_if(|pair| {
                    let more = pair.0 < LAST;
                    if more {
                        pair.0 += 1;
                        std::thread::yield_now();
                        pair.1 = 3 * pair.0;
                    }
                    more
                })
                .unwrap()
            {
                if i == 0 {
                    std::thread::yield_now();
                }
            }
        })
    });
    for setter in setters {
        setter.join().unwrap();
    }
    watch.shutdown();
    for greenlet in greenlets {
        assert_eq!(greenlet.join().unwrap(), LAST);
    }
    assert_eq!(thread.join().unwrap(), LAST);
    waiting(&watch, 0);
}

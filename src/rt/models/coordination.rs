//! Barrier, Latch, WaitGroup, Notify, and what is initialised once.

use super::super::sync::{AtomicUsize, Ordering};
use super::batches::Crowd;
use super::hub::on_hub;
use super::races::Race;
use super::{Seen, explore, nobody_waits, thread};
use crate::sync::{Barrier, Latch, Notify, OnceCell, WaitGroup};
use crate::{spawn, timeout, yield_now};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize as Plain;
use std::time::Duration;

const NOW: Duration = Duration::ZERO;

type Data = Arc<AtomicUsize>;

fn data() -> Data {
    Arc::new(AtomicUsize::new(0))
}

fn get(data: &Data) -> usize {
    data.load(Ordering::Relaxed)
}

fn set(data: &Data, n: usize) {
    data.store(n, Ordering::Relaxed);
}

// ---- Barrier ----

/// A barrier for two, and which of them have met.
struct Meeting {
    barrier: Barrier,
    there: Plain,
    here: Plain,
}

impl Meeting {
    fn new() -> Self {
        Meeting {
            barrier: Barrier::new(2),
            there: Plain::new(0),
            here: Plain::new(0),
        }
    }

    /// By the other thread, which does not stay either.
    fn come(&self) {
        let met = self.barrier.wait_timeout(NOW).is_ok();
        self.there.store(met.into(), Ordering::Relaxed);
    }

    fn check(&self, _: bool) {
        nobody_waits(&self.barrier);
        let [there, here] = [&self.there, &self.here].map(|met| met.load(Ordering::Relaxed));
        assert_eq!(there, here);
    }
}

/// An arrival, the limit and a kill: both have met, or neither.
#[test]
fn barrier_wake_expiry_kill() {
    let race = Race {
        new: Meeting::new,
        give: Meeting::come,
        take: |all| {
            let met = all.barrier.wait_timeout(NOW).is_ok();
            all.here.store(met.into(), Ordering::Relaxed);
            met
        },
        check: Meeting::check,
    };
    race.run("barrier_wake_expiry_kill", 4);
}

/// The limit is that of a scope: its expiry, if it comes too late, ends the next wait.
#[test]
fn barrier_in_a_scope_wake_expiry_kill() {
    let race = Race {
        new: Meeting::new,
        give: Meeting::come,
        take: |all| {
            let _ = timeout(NOW, || {
                all.barrier.wait();
                all.here.store(1, Ordering::Relaxed);
                yield_now();
            });
            all.here.load(Ordering::Relaxed) == 1
        },
        check: Meeting::check,
    };
    race.run("barrier_in_a_scope_wake_expiry_kill", 4);
}

/// One leaves or meets the one who stays; if it has left, another one comes.
#[test]
fn barrier_trip_against_leaving() {
    let seen = Seen::new();
    explore("barrier_trip_against_leaving", Some(3), {
        let seen = seen.clone();
        move || {
            let (barrier, data) = (Arc::new(Barrier::new(2)), data());
            let stayer = thread({
                let (barrier, data) = (barrier.clone(), data.clone());
                move || {
                    set(&data, 1);
                    barrier.wait();
                }
            });
            let met = barrier.wait_timeout(NOW);
            seen.hit(met.is_ok().into());
            if met.is_err() {
                barrier.wait();
            }
            assert_eq!(get(&data), 1);
            stayer.join().unwrap();
            nobody_waits(&*barrier);
        }
    });
    seen.all(2);
}

/// Two, twice: who comes back first waits for the other to come back.
#[test]
fn barrier_two_generations() {
    explore("barrier_two_generations", Some(3), || {
        let (barrier, leaders) = (Arc::new(Barrier::new(2)), Arc::new(Plain::new(0)));
        let all = [data(), data()];
        let party = |mine: usize| {
            let (barrier, leaders) = (barrier.clone(), leaders.clone());
            let all = all.clone();
            move || {
                for round in 1..=2 {
                    set(&all[mine], round);
                    let leads = barrier.wait().is_leader();
                    leaders.fetch_add(leads.into(), Ordering::Relaxed);
                    let other = get(&all[1 - mine]);
                    assert!(other == round || other == round + 1);
                }
            }
        };
        let other = thread(party(1));
        party(0)();
        other.join().unwrap();
        assert_eq!(leaders.load(Ordering::Relaxed), 2);
        nobody_waits(&*barrier);
    });
}

// ---- Latch and WaitGroup ----

/// Two count, one of them twice at once; what was done before each count is seen.
#[test]
fn latch_count_down_against_wait() {
    explore("latch_count_down_against_wait", Some(3), || {
        let latch = Arc::new(Latch::new(3));
        let all = [data(), data()];
        let counters = [0, 1].map(|i| {
            let (latch, data) = (latch.clone(), all[i].clone());
            thread(move || {
                set(&data, 1);
                latch.count_down_by(i + 1);
            })
        });
        latch.wait();
        assert_eq!(all.each_ref().map(get), [1, 1]);
        for counter in counters {
            counter.join().unwrap();
        }
        nobody_waits(&*latch);
    });
}

#[test]
fn latch_wake_expiry_kill() {
    let race = Race {
        new: || Latch::new(1),
        give: Latch::count_down,
        take: |latch| latch.wait_timeout(NOW),
        check: |latch, _| {
            nobody_waits(latch);
            assert_eq!(latch.count(), 0);
        },
    };
    race.run("latch_wake_expiry_kill", 4);
}

#[test]
fn latch_for_three() {
    let crowd = Crowd {
        new: || Latch::new(1),
        wake: Latch::count_down,
        wait: Latch::wait,
        wait_now: |latch| latch.wait_timeout(NOW),
    };
    crowd.run("latch_for_three", 4);
}

/// A member adds another while one waits.
#[test]
fn wait_group_clone_against_wait() {
    explore("wait_group_clone_against_wait", Some(3), || {
        let (group, data) = (WaitGroup::new(), data());
        let member = thread({
            let (one, data) = (group.clone(), data.clone());
            move || {
                let two = one.clone();
                drop(one);
                set(&data, 1);
                drop(two);
            }
        });
        group.wait();
        assert_eq!(get(&data), 1);
        member.join().unwrap();
    });
}

// ---- Notify ----

/// The notification is taken or kept.
#[test]
fn notify_wake_expiry_kill() {
    let race = Race {
        new: Notify::new,
        give: Notify::notify_one,
        take: |notify| notify.wait_timeout(NOW),
        check: |notify, taken| {
            nobody_waits(notify);
            keeps(notify, !taken);
        },
    };
    race.run("notify_wake_expiry_kill", 4);
}

fn keeps(notify: &Notify, permit: bool) {
    let text = format!("{notify:?}");
    assert!(text.contains(&format!("permit: {permit}")), "{text}");
}

/// One notification for two who pass it on, whether they come before it or after.
#[test]
fn notify_permit_against_arrival() {
    explore("notify_permit_against_arrival", Some(2), || {
        let (notify, data) = (Arc::new(Notify::new()), data());
        let waiters = [(); 2].map(|()| {
            let (notify, data) = (notify.clone(), data.clone());
            thread(move || {
                notify.wait();
                assert_eq!(get(&data), 1);
                notify.notify_one();
            })
        });
        set(&data, 1);
        notify.notify_one();
        for waiter in waiters {
            waiter.join().unwrap();
        }
        nobody_waits(&*notify);
        keeps(&notify, true);
    });
}

/// Two notifications become one, or wake both.
#[test]
fn notify_twice_against_arrival() {
    let seen = Seen::new();
    explore("notify_twice_against_arrival", Some(2), {
        let seen = seen.clone();
        move || {
            let notify = Arc::new(Notify::new());
            let notifiers = [(); 2].map(|()| {
                let notify = notify.clone();
                thread(move || notify.notify_one())
            });
            notify.wait();
            let second = notify.wait_timeout(NOW);
            seen.hit(second.into());
            for notifier in notifiers {
                notifier.join().unwrap();
            }
            nobody_waits(&*notify);
            // A permit cannot be there and have been taken.
            let kept = format!("{notify:?}").contains("permit: true");
            assert!(!(second && kept));
        }
    });
    seen.all(2);
}

/// One leaves, one stays: the notification is for the one who stays, or is passed on.
#[test]
fn notify_against_leaving() {
    let seen = Seen::new();
    explore("notify_against_leaving", Some(2), {
        let seen = seen.clone();
        move || {
            let notify = Arc::new(Notify::new());
            let stayer = thread({
                let notify = notify.clone();
                move || notify.wait()
            });
            let notifier = thread({
                let notify = notify.clone();
                move || notify.notify_one()
            });
            let notified = notify.wait_timeout(NOW);
            seen.hit(notified.into());
            if notified {
                notify.notify_one();
            }
            stayer.join().unwrap();
            notifier.join().unwrap();
            nobody_waits(&*notify);
            keeps(&notify, false);
        }
    });
    seen.all(2);
}

#[test]
fn notify_all_for_three_waiters() {
    let crowd = Crowd {
        new: Notify::new,
        wake: Notify::notify_all,
        wait: Notify::wait,
        wait_now: |notify| notify.wait_timeout(NOW),
    };
    crowd.run("notify_all_for_three_waiters", 4);
}

/// More than a batch are woken; the first of them notifies, and that is kept.
#[test]
fn notify_all_against_one_by_the_woken() {
    explore("notify_all_against_one_by_the_woken", Some(3), || {
        let notify = Arc::new(Notify::new());
        let hub = on_hub({
            let notify = notify.clone();
            move || {
                let waiters = [true, false, false].map(|notifies| {
                    let notify = notify.clone();
                    spawn(move || {
                        notify.wait();
                        if notifies {
                            notify.notify_one();
                        }
                    })
                });
                yield_now(); // all of them wait
                let notifier = thread(move || notify.notify_all());
                for waiter in waiters {
                    waiter.join().unwrap();
                }
                notifier.join().unwrap();
            }
        });
        hub.join().unwrap();
        nobody_waits(&*notify);
        keeps(&notify, true);
    });
}

// ---- what is initialised once ----

/// Two initialise and one only waits: one initialiser runs, and all see what it did.
#[test]
fn once_two_initialisers() {
    explore("once_two_initialisers", Some(2), || {
        let (cell, data, runs) = (
            Arc::new(OnceCell::<Box<usize>>::new()),
            data(),
            Arc::new(Plain::new(0)),
        );
        let initialises = || {
            let (cell, data, runs) = (cell.clone(), data.clone(), runs.clone());
            move || {
                let value = cell.get_or_init(|| {
                    runs.fetch_add(1, Ordering::Relaxed);
                    set(&data, 1);
                    Box::new(7)
                });
                assert_eq!((**value, get(&data)), (7, 1));
            }
        };
        let others = [thread(initialises()), thread(initialises())];
        assert_eq!((**cell.wait(), get(&data)), (7, 1));
        for other in others {
            other.join().unwrap();
        }
        assert_eq!(runs.load(Ordering::Relaxed), 1);
        nobody_waits(&*cell);
    });
}

/// One fails, whenever it comes: another one's value is there in the end.
#[test]
fn once_failing_hands_over() {
    let seen = Seen::new();
    explore("once_failing_hands_over", Some(3), {
        let seen = seen.clone();
        move || {
            let (cell, data) = (Arc::new(OnceCell::<Box<usize>>::new()), data());
            let fails = thread({
                let (cell, data, seen) = (cell.clone(), data.clone(), seen.clone());
                move || {
                    let got = cell.get_or_try_init(|| {
                        set(&data, 1);
                        Err(())
                    });
                    seen.hit(got.is_ok().into());
                }
            });
            let value = cell.get_or_init(|| {
                // Who has failed before has done so before this.
                seen.hit(2 + get(&data));
                Box::new(7)
            });
            assert_eq!(**value, 7);
            fails.join().unwrap();
            nobody_waits(&*cell);
        }
    });
    seen.all(4);
}

/// The turn is handed on while the next in line leaves: the one behind has it then.
#[test]
fn once_turn_against_leaving() {
    let seen = Seen::new();
    explore("once_turn_against_leaving", Some(2), {
        let seen = seen.clone();
        move || {
            let cell = Arc::new(OnceCell::<Box<usize>>::new());
            let hub = on_hub({
                let (cell, seen) = (cell.clone(), seen.clone());
                move || {
                    let fails = spawn({
                        let cell = cell.clone();
                        move || {
                            let _ = cell.get_or_try_init(|| {
                                yield_now(); // the leaver stands in line
                                yield_now(); // its time may be over
                                Err(())
                            });
                        }
                    });
                    let leaver = spawn(move || {
                        let tried = timeout(NOW, || cell.get_or_try_init(|| Err(())).is_ok());
                        seen.hit(tried.is_ok().into());
                    });
                    fails.join().unwrap();
                    leaver.join().unwrap();
                }
            });
            assert_eq!(**cell.get_or_init(|| Box::new(7)), 7);
            hub.join().unwrap();
            nobody_waits(&*cell);
        }
    });
    seen.all(2);
}

/// The value, the limit and a kill for one who only waits.
#[test]
fn once_wait_wake_expiry_kill() {
    let race = Race {
        new: OnceCell::<Box<usize>>::new,
        give: |cell| assert_eq!(cell.set(Box::new(7)), Ok(())),
        take: |cell| cell.wait_timeout(NOW).is_some_and(|value| **value == 7),
        check: |cell, _| {
            nobody_waits(cell);
            assert_eq!(cell.get().map(|value| **value), Some(7));
        },
    };
    race.run("once_wait_wake_expiry_kill", 4);
}

/// The same for one in line, whose own initialiser fails if it has the turn.
#[test]
fn once_turn_wake_expiry_kill() {
    let race = Race {
        new: || (OnceCell::<Box<usize>>::new(), AtomicUsize::new(0)),
        give: |(cell, step)| {
            let value = cell.get_or_init(|| {
                // Something that the others can be before, or behind.
                step.store(1, Ordering::Relaxed);
                Box::new(7)
            });
            assert_eq!(**value, 7);
        },
        take: |(cell, _)| {
            let got = timeout(NOW, || cell.get_or_try_init(|| Err(())).is_ok());
            got == Ok(true)
        },
        check: |(cell, _), _| {
            nobody_waits(cell);
            assert_eq!(cell.get().map(|value| **value), Some(7));
        },
    };
    race.run("once_turn_wake_expiry_kill", 3);
}

//! Barrier, Latch, WaitGroup, Notify, Once, OnceCell and Lazy: what each promises, most of it in a
//! `Simulation` where only greenlets take part.

#[path = "coordination/once.rs"]
mod once;
#[path = "coordination/random.rs"]
mod random;

use greenlet::sync::{Barrier, Event, Latch, Notify, Semaphore, WaitGroup};
use greenlet::testing::Simulation;
use greenlet::{
    Elapsed, Greenlet, HubThread, join_all, kill_all, now, scope, select, shield, sleep, spawn,
    timeout, wait_all, wait_any, wait_any_timeout, yield_now,
};
use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

const LONG: Duration = Duration::from_secs(60);

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn simulate<R>(f: impl FnOnce() -> R) -> R {
    Simulation::new().run(f)
}

/// What a closure panics with.
fn panics(f: impl FnOnce()) -> String {
    let payload = catch_unwind(AssertUnwindSafe(f)).expect_err("a panic");
    match payload.downcast::<String>() {
        Ok(text) => *text,
        Err(other) => (*other.downcast::<&str>().expect("a text")).to_string(),
    }
}

/// In which order things were done.
#[derive(Clone, Default)]
struct Log(Rc<RefCell<Vec<String>>>);

impl Log {
    fn say(&self, text: impl Into<String>) {
        self.0.borrow_mut().push(text.into());
    }

    fn take(&self) -> Vec<String> {
        self.0.take()
    }
}

#[track_caller]
fn waiting(of: &dyn std::fmt::Debug, n: usize) {
    let text = format!("{of:?}");
    assert!(text.contains(&format!("waiting: {n}")), "{text}");
}

/// Until so many wait, on whatever threads.
fn until_waiting(of: &dyn std::fmt::Debug, n: usize) {
    while !format!("{of:?}").contains(&format!("waiting: {n}")) {
        std::thread::yield_now();
    }
}

fn all_end(greenlets: impl IntoIterator<Item = Greenlet<()>>) {
    for ended in join_all(greenlets) {
        ended.unwrap();
    }
}

/// Runs a closure in an unwind.
struct OnDrop<F: FnMut()>(F);

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

fn while_panicking(f: impl FnMut()) {
    let text = panics(|| {
        let _late = OnDrop(f);
        panic!("on purpose");
    });
    assert_eq!(text, "on purpose");
}

/// A thread that ends with greenlets that wait.
fn thread_that_ends(begin: impl FnOnce() + Send + 'static) {
    let thread = std::thread::spawn(|| {
        begin();
        yield_now(); // they wait
    });
    thread.join().unwrap();
}

// ---- Barrier ----

fn at_barrier(barrier: &Rc<Barrier>, log: &Log, name: &'static str) -> Greenlet<()> {
    let (barrier, log) = (barrier.clone(), log.clone());
    spawn(move || {
        let leads = barrier.wait().is_leader();
        log.say(if leads {
            format!("{name} leads")
        } else {
            name.to_owned()
        });
        yield_now();
        log.say(format!("{name} after"));
    })
}

#[test]
fn the_last_to_arrive_leads_and_does_not_switch() {
    simulate(|| {
        let (barrier, log) = (Rc::new(Barrier::new(3)), Log::default());
        let others = ["a", "b"].map(|name| at_barrier(&barrier, &log, name));
        yield_now();
        waiting(&barrier, 2);
        assert!(barrier.wait().is_leader());
        log.say("root");
        all_end(others);
        assert_eq!(log.take(), ["root", "a", "b", "a after", "b after"]);
        waiting(&barrier, 0);
    });
}

#[test]
fn a_barrier_of_none_or_one_lets_everybody_lead() {
    for n in [0, 1] {
        let barrier = Barrier::new(n);
        assert!(barrier.wait().is_leader() && barrier.wait().is_leader());
        assert!(barrier.wait_timeout(ms(1)).unwrap().is_leader());
    }
}

/// Who is through can come back before the others have run: it is of the next generation.
#[test]
fn generations_do_not_mix() {
    for seed in 0..50 {
        Simulation::new().seed(seed.into()).run(|| {
            let barrier = Barrier::new(3);
            let (arrived, leaders) = (Cell::new([0; 3]), Cell::new(0));
            scope(|s| {
                for i in 0..3 {
                    let (barrier, arrived, leaders) = (&barrier, &arrived, &leaders);
                    s.spawn(move || {
                        for round in 1..=20 {
                            let mut all = arrived.get();
                            all[i] = round;
                            arrived.set(all);
                            let leads = barrier.wait().is_leader();
                            leaders.set(leaders.get() + u32::from(leads));
                            // Some may be in the next round by now, nobody is in the last.
                            let here = |n: &u32| *n == round || *n == round + 1;
                            assert!(arrived.get().iter().all(here), "{arrived:?}");
                            if (seed + round).is_multiple_of(3) {
                                yield_now();
                            }
                        }
                    });
                }
            });
            assert_eq!((leaders.get(), arrived.get()), (20, [20; 3]));
        });
    }
}

#[test]
fn an_arrival_that_leaves_is_taken_back() {
    simulate(|| {
        let (barrier, log) = (Rc::new(Barrier::new(3)), Log::default());
        let (a, b) = (
            at_barrier(&barrier, &log, "a"),
            at_barrier(&barrier, &log, "b"),
        );
        yield_now();
        a.kill();
        // Not even one that has not left yet counts.
        assert!(matches!(barrier.wait_timeout(ms(5)), Err(Elapsed)));
        waiting(&barrier, 1);
        let begin = now();
        assert!(timeout(ms(5), || barrier.wait()).is_err());
        assert_eq!(now() - begin, ms(5));
        let c = at_barrier(&barrier, &log, "c");
        yield_now();
        assert!(barrier.wait().is_leader());
        assert!(a.join().unwrap_err().is_killed());
        all_end([b, c]);
        assert_eq!(log.take(), ["b", "c", "b after", "c after"]);
        waiting(&barrier, 0);
    });
}

/// A kill that comes after the trip is raised at the next wait; so is the expiry of a scope.
#[test]
fn what_comes_after_the_trip_comes_too_late() {
    simulate(|| {
        let (barrier, log) = (Rc::new(Barrier::new(3)), Log::default());
        let killed = at_barrier(&barrier, &log, "killed");
        let late = spawn({
            let (barrier, log) = (barrier.clone(), log.clone());
            move || {
                timeout(ms(5), || {
                    barrier.wait();
                    log.say("met");
                    sleep(ms(1));
                })
            }
        });
        // The timer's and this one's are the same instant.
        sleep(ms(5));
        assert!(barrier.wait().is_leader());
        killed.kill();
        assert!(killed.join().unwrap_err().is_killed());
        assert!(late.join().unwrap().is_err());
        assert_eq!(log.take(), ["killed", "met"]);
    });
}

#[test]
fn a_barrier_says_no_while_panicking() {
    simulate(|| {
        let barrier = Barrier::new(2);
        while_panicking(|| assert!(barrier.wait_timeout(LONG).is_err()));
        // The last need not wait.
        scope(|s| {
            let other = s.spawn(|| barrier.wait().is_leader());
            yield_now();
            while_panicking(|| assert!(barrier.wait().is_leader()));
            assert!(!other.join().unwrap());
        });
    });
}

#[test]
fn a_barrier_that_is_never_reached_is_named_in_the_deadlock() {
    let text = panics(|| {
        simulate(|| {
            Barrier::new(2).wait();
        })
    });
    assert!(text.contains("Barrier::wait at tests/coord"), "{text}");
}

/// Plain threads, roots and greenlets of several hubs, round after round.
#[test]
fn a_barrier_between_threads() {
    const ROUNDS: usize = 200;
    let barrier = Arc::new(Barrier::new(6));
    let (done, leaders) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let party = || {
        let (barrier, done, leaders) = (barrier.clone(), done.clone(), leaders.clone());
        move || {
            for round in 0..ROUNDS {
                done.fetch_add(1, Relaxed);
                let leads = barrier.wait().is_leader();
                leaders.fetch_add(leads.into(), Relaxed);
                // All six of this round have come, and none is two rounds ahead.
                let all = done.load(Relaxed);
                assert!((6 * (round + 1)..=6 * (round + 2)).contains(&all), "{all}");
            }
        }
    };
    let hubs = [(); 2].map(|()| HubThread::start("hub").unwrap());
    let greenlets: Vec<_> = hubs
        .iter()
        .flat_map(|hub| [hub.handle().spawn(party()), hub.handle().spawn(party())])
        .collect();
    let threads = [std::thread::spawn(party()), std::thread::spawn(party())];
    greenlets.into_iter().for_each(|g| g.join().unwrap());
    threads.into_iter().for_each(|t| t.join().unwrap());
    assert_eq!(leaders.load(Relaxed), ROUNDS);
    waiting(&barrier, 0);
}

#[test]
fn one_whose_thread_has_ended_has_not_arrived() {
    let barrier = Arc::new(Barrier::new(2));
    thread_that_ends({
        let barrier = barrier.clone();
        move || drop(spawn(move || barrier.wait()))
    });
    assert!(barrier.wait_timeout(ms(1)).is_err());
    let other = std::thread::spawn({
        let barrier = barrier.clone();
        move || barrier.wait().is_leader()
    });
    assert_ne!(barrier.wait().is_leader(), other.join().unwrap());
}

// ---- Latch ----

#[test]
fn a_latch_opens_for_all_in_order_and_stays_open() {
    simulate(|| {
        let (latch, log) = (Rc::new(Latch::new(2)), Log::default());
        let all: Vec<_> = (0..40)
            .map(|i: u32| {
                let (latch, log) = (latch.clone(), log.clone());
                spawn(move || {
                    latch.wait();
                    log.say(i.to_string());
                })
            })
            .collect();
        yield_now();
        waiting(&latch, 40);
        latch.count_down();
        yield_now();
        assert_eq!((log.take(), latch.count()), (vec![], 1));
        latch.count_down();
        latch.wait(); // it is open: no switch
        assert!(log.take().is_empty());
        all_end(all);
        assert_eq!(
            log.take(),
            (0..40).map(|i: u32| i.to_string()).collect::<Vec<_>>()
        );
        assert!(latch.wait_timeout(ms(1)) && latch.count() == 0);
    });
}

#[test]
fn a_latch_cannot_go_below_zero() {
    let latch = Latch::new(3);
    latch.count_down_by(0);
    let text = panics(|| latch.count_down_by(4));
    assert_eq!(
        text,
        "a latch was counted down by 4 when only 3 were missing"
    );
    assert_eq!(latch.count(), 3);
    latch.count_down_by(3);
    latch.count_down_by(0);
    for f in [Latch::count_down as fn(&Latch), Latch::arrive_and_wait] {
        assert!(panics(|| f(&latch)).contains("by 1 when only 0"));
    }
    // Under the lock, too: somebody waits.
    simulate(|| {
        let latch = Latch::new(2);
        scope(|s| {
            s.spawn(|| latch.wait());
            yield_now();
            assert!(panics(|| latch.count_down_by(3)).contains("by 3 when only 2"));
            assert_eq!(latch.count(), 2);
            waiting(&latch, 1);
            latch.count_down_by(2);
        });
    });
    assert!(panics(|| drop(Latch::new(usize::MAX))).contains("too many"));
}

#[test]
fn arriving_at_a_latch_stays_counted_though_the_wait_is_killed() {
    simulate(|| {
        let latch = Rc::new(Latch::new(3));
        let arrives = || {
            let latch = latch.clone();
            spawn(move || latch.arrive_and_wait())
        };
        let (killed, stays) = (arrives(), arrives());
        yield_now();
        killed.kill();
        assert!(killed.join().unwrap_err().is_killed());
        assert!(!latch.wait_timeout(ms(2)) && latch.count() == 1);
        latch.arrive_and_wait();
        stays.join().unwrap();
    });
}

#[test]
fn a_latch_is_waitable() {
    simulate(|| {
        let (latch, event) = (Latch::new(1), Event::new());
        let chosen = || {
            select! {
                wait(event) => "event",
                wait(latch) => "latch",
                default => "none",
            }
        };
        assert_eq!(chosen(), "none");
        assert_eq!(wait_any_timeout(&[&event, &latch], ms(1)), None);
        scope(|s| {
            let any = s.spawn(|| wait_any(&[&event, &latch]));
            let selected = s.spawn(|| {
                select! { wait(event) => "event", wait(latch) => "latch" }
            });
            yield_now();
            waiting(&latch, 2);
            latch.count_down();
            assert_eq!(
                (any.join().unwrap(), selected.join().unwrap()),
                (1, "latch")
            );
        });
        waiting(&event, 0);
        wait_all(&[&latch]);
        assert_eq!(chosen(), "latch");
        while_panicking(|| {
            latch.wait();
            assert!(!Latch::new(1).wait_timeout(LONG));
        });
    });
}

#[test]
fn a_latch_between_threads() {
    for round in 0..100 {
        let latch = Arc::new(Latch::new(3));
        let data = Arc::new(AtomicUsize::new(0));
        let threads = [1, 1, 1].map(|n| {
            let (latch, data) = (latch.clone(), data.clone());
            std::thread::spawn(move || {
                data.fetch_add(n, Relaxed);
                if round % 2 == 0 {
                    latch.arrive_and_wait();
                } else {
                    latch.count_down();
                }
            })
        });
        spawn({
            let latch = latch.clone();
            move || latch.wait()
        });
        latch.wait();
        assert_eq!(data.load(Relaxed), 3);
        threads.into_iter().for_each(|t| t.join().unwrap());
    }
}

// ---- WaitGroup ----

#[test]
fn a_wait_group_waits_for_those_that_panic_or_are_killed_too() {
    simulate(|| {
        let group = WaitGroup::new();
        let member = |f: fn()| {
            let one = group.clone();
            spawn(move || {
                let _one = one;
                f();
            })
        };
        let returns = member(|| sleep(ms(1)));
        let killed = member(|| sleep(LONG));
        let never_ran = member(|| ());
        let panicking = member(|| panic!("on purpose"));
        never_ran.kill();
        spawn(move || {
            sleep(ms(2));
            kill_all([&killed]);
        });
        let (waiter, begin) = (group.clone(), now());
        let other = spawn(move || {
            waiter.wait();
            now() - begin
        });
        assert!(format!("{group:?}").contains("count: 6"), "{group:?}");
        group.wait();
        assert_eq!(now() - begin, ms(2));
        assert_eq!(other.join().unwrap(), ms(2));
        assert!(returns.is_successful() && never_ran.error().unwrap().is_killed());
        assert!(panicking.error().unwrap().is_panic());
    });
}

#[test]
fn a_wait_group_is_given_up_however_its_wait_ends() {
    simulate(|| {
        let group = WaitGroup::new();
        let (killed, late) = (group.clone(), group.clone());
        let killed = spawn(move || killed.wait());
        yield_now();
        killed.kill();
        assert!(killed.join().unwrap_err().is_killed());
        assert!(!late.wait_timeout(ms(1)));
        assert!(
            format!("{group:?}").contains("count: 1, waiting: 0"),
            "{group:?}"
        );
        let last = group.clone();
        drop(group);
        assert!(last.wait_timeout(Duration::ZERO));
        WaitGroup::default().wait();
    });
}

#[test]
fn a_wait_group_between_threads() {
    for _ in 0..100 {
        let (group, data) = (WaitGroup::new(), Arc::new(AtomicUsize::new(0)));
        for _ in 0..3 {
            let (one, data) = (group.clone(), data.clone());
            std::thread::spawn(move || {
                // One that is added by a member.
                let two = one.clone();
                std::thread::spawn({
                    let data = data.clone();
                    move || {
                        data.fetch_add(1, Relaxed);
                        drop(two);
                    }
                });
                data.fetch_add(1, Relaxed);
                drop(one);
            });
        }
        group.wait();
        assert_eq!(data.load(Relaxed), 6);
    }
}

// ---- Notify ----

fn notified(notify: &Rc<Notify>, log: &Log, name: &'static str) -> Greenlet<()> {
    let (notify, log) = (notify.clone(), log.clone());
    spawn(move || {
        notify.wait();
        log.say(name);
        yield_now();
        log.say(format!("{name} after"));
    })
}

#[test]
fn a_notification_is_for_the_first_in_line_or_kept_once() {
    simulate(|| {
        let (notify, log) = (Rc::new(Notify::new()), Log::default());
        notify.notify_one();
        notify.notify_one();
        notify.wait(); // no switch
        assert!(!notify.wait_timeout(ms(1)));
        let all = ["a", "b", "c"].map(|name| notified(&notify, &log, name));
        yield_now();
        notify.notify_one();
        notify.notify_one();
        // They are a's and b's by now, though they have not run yet.
        assert!(!notify.wait_timeout(Duration::ZERO));
        yield_now();
        assert_eq!(log.take(), ["a", "b", "a after", "b after"]);
        waiting(&notify, 1);
        notify.notify_one();
        all_end(all);
        assert!(!notify.wait_timeout(ms(1)));
    });
}

#[test]
fn notifying_all_wakes_those_who_wait_and_keeps_nothing() {
    simulate(|| {
        let (notify, log) = (Rc::new(Notify::new()), Log::default());
        notify.notify_all();
        assert!(!notify.wait_timeout(ms(1)), "nothing is kept");
        let all = ["a", "b", "c"].map(|name| notified(&notify, &log, name));
        yield_now();
        notify.notify_all();
        assert!(!notify.wait_timeout(Duration::ZERO));
        assert_eq!(log.take()[..3], ["a", "b", "c"]);
        all_end(all);
        // A permit that is there stays there.
        notify.notify_one();
        notify.notify_all();
        assert!(notify.wait_timeout(Duration::ZERO));
    });
}

/// As many as several batches: one that is woken while others are being woken notifies one who
/// comes, not one of them.
#[test]
fn notifying_all_wakes_many_in_order() {
    simulate(|| {
        let (notify, woken) = (Rc::new(Notify::new()), Rc::new(RefCell::new(vec![])));
        let all: Vec<_> = (0..100)
            .map(|i| {
                let (notify, woken) = (notify.clone(), woken.clone());
                spawn(move || {
                    notify.wait();
                    woken.borrow_mut().push(i);
                    notify.notify_one();
                })
            })
            .collect();
        yield_now();
        notify.notify_all();
        all_end(all);
        assert_eq!(woken.take(), (0..100).collect::<Vec<_>>());
        assert!(notify.wait_timeout(Duration::ZERO), "what was left");
        assert!(!notify.wait_timeout(Duration::ZERO));
    });
}

/// Across threads, where they wake while the lock could be free between batches.
#[test]
fn one_of_all_who_are_woken_leaves_a_permit() {
    for _ in 0..50 {
        let notify = Arc::new(Notify::new());
        let (first, rest) = (
            HubThread::start("a").unwrap(),
            HubThread::start("b").unwrap(),
        );
        let one = first.handle().spawn({
            let notify = notify.clone();
            move || {
                notify.wait();
                notify.notify_one();
            }
        });
        until_waiting(&notify, 1);
        let rest = rest.handle().spawn({
            let notify = notify.clone();
            move || {
                let all = (0..80).map(|_| {
                    let notify = notify.clone();
                    spawn(move || notify.wait())
                });
                let all: Vec<_> = all.collect();
                for ended in join_all(all) {
                    ended.unwrap();
                }
            }
        });
        until_waiting(&notify, 81);
        notify.notify_all();
        one.join().unwrap();
        rest.join().unwrap();
        assert!(notify.wait_timeout(Duration::ZERO), "its permit is here");
    }
}

#[test]
fn one_that_leaves_takes_no_notification() {
    simulate(|| {
        let (notify, log) = (Rc::new(Notify::new()), Log::default());
        let killed = notified(&notify, &log, "killed");
        let late = spawn({
            let notify = notify.clone();
            move || timeout(ms(5), || notify.wait())
        });
        let next = notified(&notify, &log, "next");
        yield_now();
        killed.kill();
        sleep(ms(6));
        notify.notify_one();
        assert!(late.join().unwrap().is_err());
        assert!(killed.join().unwrap_err().is_killed());
        next.join().unwrap();
        assert_eq!(log.take(), ["next", "next after"]);
        // Nobody is left: it is kept.
        let killed = notified(&notify, &log, "killed");
        yield_now();
        killed.kill();
        notify.notify_one();
        assert!(killed.join().unwrap_err().is_killed());
        assert!(notify.wait_timeout(Duration::ZERO));
        waiting(&notify, 0);
    });
}

/// Promise 4: it is taken, and the kill comes at the next wait.
#[test]
fn a_notification_is_had_though_a_kill_comes() {
    simulate(|| {
        let (notify, log) = (Rc::new(Notify::new()), Log::default());
        let killed = notified(&notify, &log, "had");
        yield_now();
        notify.notify_one();
        killed.kill();
        assert!(killed.join().unwrap_err().is_killed());
        assert_eq!(log.take(), ["had"]);
        assert!(!notify.wait_timeout(ms(1)), "it was taken");
        // In a shield there is no such wait.
        let shielded = spawn({
            let (notify, log) = (notify.clone(), log.clone());
            move || {
                shield(|| {
                    notify.wait();
                    log.say("shielded");
                });
            }
        });
        yield_now();
        shielded.kill();
        yield_now();
        notify.notify_one();
        shielded.join().unwrap();
        assert_eq!(log.take(), ["shielded"]);
    });
}

#[test]
fn a_notification_passes_over_one_whose_thread_has_ended() {
    let notify = Arc::new(Notify::new());
    thread_that_ends({
        let notify = notify.clone();
        move || drop(spawn(move || notify.wait()))
    });
    notify.notify_one();
    assert!(notify.wait_timeout(LONG));
    while_panicking(|| {
        notify.notify_one();
        notify.wait();
    });
    simulate(|| while_panicking(|| assert!(!notify.wait_timeout(LONG))));
}

/// A consumer that takes all there is misses nothing that was announced.
#[test]
fn notifications_between_threads() {
    const ITEMS: usize = 10_000;
    let (notify, items) = (Arc::new(Notify::new()), Arc::new(AtomicUsize::new(0)));
    // What bounds the producers, so that there is something to wait for.
    let room = Arc::new(Semaphore::new(3));
    let producers = [(); 2].map(|()| {
        let (notify, items, room) = (notify.clone(), items.clone(), room.clone());
        std::thread::spawn(move || {
            for _ in 0..ITEMS / 2 {
                room.acquire().forget();
                items.fetch_add(1, Relaxed);
                notify.notify_one();
            }
        })
    });
    let consumer = spawn(move || {
        let mut taken = 0;
        while taken < ITEMS {
            notify.wait();
            let n = items.swap(0, Relaxed);
            (0..n).for_each(|_| room.release());
            taken += n;
        }
    });
    consumer.join().unwrap();
    producers.into_iter().for_each(|p| p.join().unwrap());
}

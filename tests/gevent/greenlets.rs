//! Greenlets, kills, links, order, locals, deadlock: programs 50 to 72, and 83.

use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;

use greenlet::sync::{Event, GetError, PutError, Queue};
use greenlet::{
    Greenlet, Local, Waitable, join_all, shield, sleep, spawn, spawn_later, wait_all, wait_any,
    yield_now,
};

use super::{all, b, differs, leak, message, ms, printed, without};

#[test]
fn p50_greenlet_lifecycle() {
    fn show(tag: &str, g: &Greenlet<i32>) {
        let value = g.value().map_or("none".to_owned(), i32::to_string);
        let error = g.error().map_or("none".to_owned(), message);
        say!(
            "{tag} started {} ready {} ok {} dead {} value {value} error {error}",
            b(g.is_started()),
            b(g.is_finished()),
            b(g.is_successful()),
            b(g.is_finished())
        );
    }
    let got = printed(|| {
        let bodies: [fn() -> i32; 2] = [
            || {
                yield_now();
                7
            },
            || {
                yield_now();
                panic!("oops");
            },
        ];
        for body in bodies {
            let g = spawn(body);
            show("scheduled", &g);
            yield_now();
            show("running", &g);
            g.wait();
            show("finished", &g);
            match g.join() {
                Ok(v) => say!("get {v}"),
                Err(e) => say!("get raised {}", message(&e)),
            }
        }
    });
    let gone = [
        "new started 0 ready 0 ok 0 dead 0 value none error none\n",
        " same object 1",
        "second start ignored 1\n",
    ];
    assert_eq!(got, without(gevent_said!("50_greenlet_lifecycle"), &gone));
}

#[test]
fn p52_kill_variants() {
    fn outcome(tag: &str, g: &Greenlet<&str>) {
        let error = g
            .error()
            .map_or("none", |e| if e.is_killed() { "killed" } else { "other" });
        let (dead, ok) = (b(g.is_finished()), b(g.is_successful()));
        say!(
            "{tag} dead {dead} ok {ok} value {} error {error}",
            g.value().unwrap_or(&"none")
        );
    }
    struct Cleanup;
    impl Drop for Cleanup {
        fn drop(&mut self) {
            say!("cleanup");
        }
    }
    fn body() -> &'static str {
        say!("body runs");
        let _cleanup = Cleanup;
        sleep(ms(5000));
        "slept"
    }
    /// Swallows what it can.
    fn stubborn() -> &'static str {
        for i in 0..2 {
            match catch_unwind(|| sleep(ms(50))) {
                Ok(()) => say!("slept {i}"),
                Err(_) => say!("ignored {i}"),
            }
        }
        "survived"
    }
    /// Does not hear of a kill for a while.
    fn shielded() -> &'static str {
        shield(|| sleep(ms(50)));
        say!("slept in the shield");
        sleep(ms(50));
        "not reached"
    }
    let got = printed(|| {
        let g = spawn(body);
        g.kill();
        g.wait();
        outcome("unstarted", &g);
        let g = spawn_later(ms(10), body);
        g.kill();
        g.wait();
        sleep(ms(20));
        outcome("never scheduled", &g);
        let g = spawn(body);
        yield_now();
        g.kill();
        g.wait();
        outcome("sleeping", &g);
        g.kill();
        g.wait();
        outcome("again", &g);
        let g = spawn(stubborn);
        yield_now();
        g.kill();
        g.wait();
        outcome("stubborn", &g);
        let g = spawn(shielded);
        yield_now();
        g.kill();
        say!("ended in time {}", b(g.wait_timeout(ms(1))));
        outcome("time limit", &g);
        g.wait();
        outcome("after the shield", &g);
        let g = spawn(body);
        yield_now();
        g.kill();
        say!("async kill returned, dead {}", b(g.is_finished()));
        yield_now();
        outcome("async", &g);
    });
    differs(
        &got,
        gevent_said!("52_kill_variants"),
        "unstarted dead 1 ok 0 value none error killed\n\
         never scheduled dead 1 ok 0 value none error killed\n\
         body runs\n\
         cleanup\n\
         sleeping dead 1 ok 0 value none error killed\n\
         again dead 1 ok 0 value none error killed\n\
         ignored 0\n\
         ignored 1\n\
         stubborn dead 1 ok 1 value survived error none\n\
         ended in time 0\n\
         time limit dead 0 ok 0 value none error none\n\
         slept in the shield\n\
         after the shield dead 1 ok 0 value none error killed\n\
         body runs\n\
         async kill returned, dead 0\n\
         cleanup\n\
         async dead 1 ok 0 value none error killed\n",
    );
}

#[test]
fn p54_two_pending_kills() {
    let got = printed(|| {
        let g = spawn(|| {
            for i in 0..3 {
                match catch_unwind(|| sleep(ms(1000))) {
                    Ok(()) => say!("slept"),
                    Err(_) => say!("wait {i} got a kill"),
                }
            }
            say!("end");
        });
        yield_now();
        g.kill();
        g.kill();
        g.wait();
        say!("ok {}", b(g.is_successful()));
    });
    // Two kills are one, and that one is there at every wait.
    differs(
        &got,
        gevent_said!("54_two_pending_kills"),
        "wait 0 got a kill\nwait 1 got a kill\nwait 2 got a kill\nend\nok 1\n",
    );
}

#[test]
fn p55_links_order() {
    let got = printed(|| {
        let log = leak(Mutex::new(Vec::<String>::new()));
        let note = |text: &str| log.lock().expect("not poisoned").push(text.to_owned());
        let flush = || {
            say!(
                "{}",
                std::mem::take(&mut *log.lock().expect("not poisoned")).join(" ")
            )
        };
        let body = move || {
            note("body");
            5
        };
        let filters = |g: &Greenlet<i32>| {
            g.link(move |r| r.iter().for_each(|_| note("on-value")));
            g.link(move |r| r.as_ref().err().into_iter().for_each(|_| note("on-error")));
        };
        let g = spawn(body);
        g.link(move |r| note(&format!("link:{}", r.as_ref().expect("5"))));
        g.link(move |_| note("raw"));
        filters(&g);
        g.wait();
        note("joined");
        flush();

        g.link(move |_| note("late"));
        note("registered");
        yield_now();
        flush();

        let g = spawn(body);
        g.link(move |_| {
            note("broken");
            panic!("a link's own failure");
        });
        g.link(move |_| note("after-broken"));
        g.wait();
        flush();

        let g = spawn(|| -> i32 { panic!("fails") });
        filters(&g);
        g.wait();
        flush();
    });
    // On a finished greenlet a link runs at once.
    differs(
        &got,
        gevent_said!("55_links_order"),
        "body link:5 raw on-value joined\nlate registered\nbody broken after-broken\non-error\n",
    );
}

#[test]
fn p58_sleep_order() {
    let got = printed(|| {
        let sleeper = |name: &'static str, d: u64| {
            spawn(move || {
                say!("{name} starts");
                sleep(ms(d));
                say!("{name} wakes");
            })
        };
        all(vec![
            sleeper("two", 40),
            sleeper("one", 20),
            sleeper("three", 60),
            sleeper("one-bis", 20),
        ]);
    });
    assert_eq!(got, gevent_said!("58_sleep_order"));
}

#[test]
fn p61_joinall_errors() {
    let ok = |d| {
        spawn(move || {
            sleep(ms(d));
            say!("ok finished");
        })
    };
    let bad = |d, m: &'static str| {
        spawn(move || {
            sleep(ms(d));
            panic!("{m}");
        })
    };
    let got = printed(|| {
        let make = || [bad(60, "slow"), bad(30, "quick"), ok(90)];
        let done = join_all(make());
        say!(
            "plain joinall {} {:?}",
            done.len(),
            done.iter().map(|r| b(r.is_ok())).collect::<Vec<_>>()
        );
        let gs = make();
        let objects = gs.each_ref().map(|g| g as &dyn Waitable);
        let first = wait_any(&objects);
        let ready = gs.each_ref().map(|g| b(g.is_finished()));
        say!(
            "raised {} finished so far {ready:?}",
            gs[first].error().map_or("nothing".to_owned(), message)
        );
        wait_all(&objects);
    });
    assert_eq!(got, gevent_said!("61_joinall_errors"));
}

#[test]
fn p68_local_isolation() {
    static X: Local<&str> = Local::new();
    static N: Local<Cell<i32>> = Local::with_init(|| {
        say!("init");
        Cell::new(10)
    });
    struct Token;
    impl Drop for Token {
        fn drop(&mut self) {
            say!("token dropped");
        }
    }
    static T: Local<Token> = Local::new();
    let got = printed(|| {
        let add = |i: i32| {
            N.with(|n| {
                n.set(n.get() + i);
                n.get()
            })
        };
        X.set("main");
        add(1);
        let worker = move |name: &'static str| {
            spawn(move || {
                say!("{name} sees x {}", b(X.is_set()));
                X.set(name);
                add(5);
                yield_now();
                say!("{name} x {} n {}", X.get().expect("set"), add(0));
            })
        };
        all(vec![worker("a"), worker("b")]);
        say!("main x {} n {}", X.get().expect("set"), add(0));
        spawn(|| drop(T.set(Token))).wait();
        yield_now();
        say!("after holder");
    });
    assert_eq!(got, gevent_said!("68_local_isolation"));
}

#[test]
fn p70_deadlock_not_with_timer() {
    let got = printed(|| {
        let e = leak(Event::new());
        let _setter = spawn_later(ms(10), || e.set());
        e.wait();
        say!("wait {}", b(e.is_set()));
        say!(
            "timed wait is never a deadlock {}",
            b(Event::new().wait_timeout(ms(10)))
        );
    });
    let gone = ["loop finished 1 stuck dead 0\n", "loop timed 0 loop 1\n"];
    assert_eq!(
        got,
        without(gevent_said!("70_deadlock_not_with_timer"), &gone)
    );
}

#[test]
fn p71_unhandled_error_report() {
    let got = printed(|| {
        let stuck = spawn(|| sleep(ms(1000)));
        let bad = spawn(|| panic!("x"));
        let good = spawn(|| {
            sleep(ms(10));
            say!("other greenlet fine");
        });
        let killer = spawn(|| ());
        yield_now();
        stuck.kill();
        for (name, r) in ["bad", "good", "killer", "stuck"]
            .into_iter()
            .zip(join_all([bad, good, killer, stuck]))
        {
            match r {
                Ok(()) => say!("{name} ok"),
                Err(e) => say!("{name} killed {}: {}", b(e.is_killed()), message(&e)),
            }
        }
    });
    differs(
        &got,
        gevent_said!("71_unhandled_error_report"),
        "other greenlet fine\nbad killed 0: x\ngood ok\nkiller ok\nstuck killed 1: the greenlet was killed\n",
    );
}

#[test]
fn p72_blocking_in_loop_callback() {
    thread_local! {
        static OUT: RefCell<String> = const { RefCell::new(String::new()) };
    }
    let got = printed(|| {
        let e = leak(Event::new());
        spawn(|| ()).link(move |_| {
            let why = catch_unwind(AssertUnwindSafe(|| e.wait())).expect_err("a link may not wait");
            say!("reported {}", b(why.is::<String>() || why.is::<&str>()));
        });
        yield_now();
        let (q, q2) = (leak(Queue::bounded(1)), leak(Queue::bounded(1)));
        let putter = spawn(|| q.put("from-putter").expect("open"));
        yield_now();
        spawn(|| ()).link(move |_| {
            let first = q.get_nowait().expect("an item");
            let second = if q.get_nowait() == Err(GetError::Empty) {
                "empty"
            } else {
                "?"
            };
            q2.put_nowait(1).expect("room for one");
            let third = if q2.put_nowait(2) == Err(PutError::Full(2)) {
                "full"
            } else {
                "?"
            };
            OUT.set([first, second, third].join(" "));
        });
        yield_now();
        say!("{} putter done {}", OUT.take(), b(putter.is_finished()));
    });
    let gevent =
        gevent_said!("72_blocking_in_loop_callback").replace("BlockingSwitchOutError", "1");
    assert_eq!(got, without(&gevent, &[]));
}

#[test]
fn p83_iwait_with_pauses_and_duplicates() {
    let got = printed(|| {
        let job = |v: &'static str| spawn(move || v);
        let done = job("done");
        done.wait();
        let gs = [job("0"), job("1"), job("2"), done];
        let mut left: Vec<&Greenlet<&str>> = gs.iter().collect();
        let mut seen = Vec::new();
        while !left.is_empty() {
            let i = wait_any(&left.iter().map(|g| *g as &dyn Waitable).collect::<Vec<_>>());
            sleep(ms(5));
            seen.push(*left.remove(i).value().expect("no panic"));
        }
        let count = seen.len();
        seen.sort_unstable();
        say!("{count} seen {}", seen.join(" "));
        let (x, y) = (job("a"), job("b"));
        let mentions: [&dyn Waitable; 3] = [&x, &y, &x];
        wait_all(&mentions);
        say!("duplicates {}", mentions.len());
    });
    assert_eq!(got, gevent_said!("83_iwait_with_pauses_and_duplicates"));
}

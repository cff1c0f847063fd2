//! Event and AsyncResult: programs 01 to 14, 80, 81.

use std::sync::Arc;
use std::time::Duration;

use greenlet::sync::{AsyncResult, Event};
use greenlet::{Greenlet, join_all, spawn, yield_now};

use super::{all, b, differs, leak, message, ms, printed, printed_live, without};

#[test]
fn p01_event_five_waiters() {
    let got = printed(|| {
        let evt = leak(Event::new());
        let mut gs = vec![spawn(|| {
            say!("setter sleeps");
            greenlet::sleep(ms(20));
            say!("set");
            evt.set();
            say!("set returned");
        })];
        gs.extend((0..5).map(|n| {
            spawn(move || {
                say!("wait {n}");
                evt.wait();
                say!("woke {n} {}", b(evt.is_set()));
            })
        }));
        all(gs);
        say!("still set {}", b(evt.is_set()));
    });
    assert_eq!(got, gevent_said!("01_event_five_waiters"));
}

#[test]
fn p04_event_arrivals_after_set() {
    let got = printed(|| {
        let evt = leak(Event::new());
        let log = leak(std::cell::RefCell::new(Vec::new()));
        let waiter = |n: String| {
            evt.wait();
            log.borrow_mut().push(n);
        };
        let mut gs: Vec<_> = (0..2)
            .map(|i| spawn(move || waiter(format!("early{i}"))))
            .collect();
        yield_now();
        evt.set();
        gs.extend((0..2).map(|i| spawn(move || waiter(format!("late{i}")))));
        waiter("main".into());
        all(gs);
        say!("{}", log.borrow().join(" "));
    });
    // A set event lets a newcomer through at once: main does not wait for those woken before it.
    differs(
        &got,
        gevent_said!("04_event_arrivals_after_set"),
        "main early0 early1 late0 late1\n",
    );
}

#[test]
fn p06_event_wait_after_clear_quirk() {
    let got = printed(|| {
        let evt = leak(Event::new());
        let a = spawn(|| {
            evt.wait();
            say!("a 1");
        });
        yield_now();
        let pulse = spawn(|| {
            evt.set();
            evt.clear();
        });
        let late = spawn(|| say!("late {}", b(evt.wait_timeout(ms(10)))));
        all(vec![a, pulse, late]);
    });
    differs(
        &got,
        gevent_said!("06_event_wait_after_clear_quirk"),
        "a 1\nlate 0\n",
    );
}

#[test]
fn p08_event_ping_pong() {
    let got = printed(|| {
        let (x, y) = (leak(Event::new()), leak(Event::new()));
        let player = |name: &'static str, mine: &'static Event, other: &'static Event| {
            spawn(move || {
                for i in 0..3 {
                    mine.wait();
                    mine.clear();
                    say!("{name} {i}");
                    other.set();
                }
            })
        };
        let gs = vec![player("ping", x, y), player("pong", y, x)];
        x.set();
        all(gs);
    });
    assert_eq!(got, gevent_said!("08_event_ping_pong"));
}

#[test]
fn p09_event_same_pass_rewait() {
    let got = printed(|| {
        let evt = leak(Event::new());
        let gs = (0..3)
            .map(|n| {
                spawn(move || {
                    evt.wait();
                    say!("first {n}");
                    evt.wait();
                    say!("second {n}");
                })
            })
            .collect();
        yield_now();
        evt.set();
        all(gs);
    });
    // The second wait finds the event set: it neither waits nor switches.
    differs(
        &got,
        gevent_said!("09_event_same_pass_rewait"),
        "first 0\nsecond 0\nfirst 1\nsecond 1\nfirst 2\nsecond 2\n",
    );
}

#[test]
fn p10_asyncresult_value_fanout() {
    let got = printed(|| {
        let ar = leak(AsyncResult::<&str>::new());
        let getter = |n: u32| spawn(move || say!("get {n} {}", ar.get().expect("a value was set")));
        let waiter =
            |n: u32| spawn(move || say!("wait {n} {}", ar.wait().expect("a value was set")));
        let gs = vec![getter(0), waiter(1), getter(2), waiter(3)];
        yield_now();
        gs[2].kill();
        gs[2].wait();
        say!(
            "ready {} successful {}",
            b(ar.is_ready()),
            b(ar.is_successful())
        );
        ar.set("v").expect("the first set");
        say!("set returned");
        let outcomes: Vec<bool> = join_all(gs).iter().map(Result::is_ok).collect();
        assert_eq!(outcomes, [true, true, false, true]);
        say!(
            "later {} {} {} {} {}",
            ar.get().expect("a value"),
            ar.get_nowait().expect("ready").expect("a value"),
            ar.value().expect("a value"),
            b(ar.is_ready()),
            b(ar.is_successful())
        );
    });
    assert_eq!(got, gevent_said!("10_asyncresult_value_fanout"));
}

#[test]
fn p13_asyncresult_second_set_quirk() {
    let got = printed(|| {
        let show = |what: &str, ar: &AsyncResult<i32, String>, second: String| {
            say!("{what} {:?} second {second}", ar.get_nowait().expect("set"));
        };
        let a = AsyncResult::default();
        a.set(1).expect("the first");
        let second = a.set(2);
        show("two values", &a, format!("{second:?}"));
        let a = AsyncResult::default();
        a.set(1).expect("the first");
        let second = a.set_error("x".to_owned());
        show("value then error", &a, format!("{second:?}"));
        let a = AsyncResult::default();
        a.set_error("x".to_owned()).expect("the first");
        let second = a.set(1);
        show("error then value", &a, format!("{second:?}"));
    });
    // The first outcome stays; the second setter gets its value back.
    differs(
        &got,
        gevent_said!("13_asyncresult_second_set_quirk"),
        "two values Ok(1) second Err(2)\n\
         value then error Ok(1) second Err(\"x\")\n\
         error then value Err(\"x\") second Err(1)\n",
    );
}

#[test]
fn p14_asyncresult_as_link_target() {
    type Target = Arc<AsyncResult<i32, String>>;
    /// Forwards the outcomes that `wanted` picks (success or not) to a new result.
    fn target(g: &Greenlet<i32>, wanted: fn(bool) -> bool) -> Target {
        let ar = Target::default();
        let to = ar.clone();
        g.link(move |r| match r {
            Ok(v) if wanted(true) => to.set(*v).expect("a link runs once"),
            Err(e) if wanted(false) => to.set_error(message(e)).expect("a link runs once"),
            _ => (),
        });
        ar
    }
    fn show(name: &str, ar: &Target) {
        match ar.wait_timeout(ms(10)) {
            None => say!("{name} nothing"),
            Some(Ok(v)) => say!("{name} {v}"),
            Some(Err(e)) => say!("{name} error {e}"),
        }
    }
    let got = printed(|| {
        let bodies: [fn() -> i32; 2] = [|| 7, || panic!("x")];
        let mut last = None;
        for (label, body) in ["ok", "bad"].into_iter().zip(bodies) {
            let g = spawn(body);
            let link = target(&g, |_| true);
            let link_value = target(&g, |success| success);
            let link_exception = target(&g, |success| !success);
            show(&format!("{label} link"), &link);
            show(&format!("{label} link_value"), &link_value);
            show(&format!("{label} link_exception"), &link_exception);
            last = Some(g);
        }
        let g = last.expect("two bodies");
        show("late link", &target(&g, |_| true));
    });
    assert_eq!(got, gevent_said!("14_asyncresult_as_link_target"));
}

/// A greenlet that waits and then runs `f`: what stands for a raw callback.
fn callback(e: &'static Event, f: impl FnOnce() + 'static) -> Greenlet<()> {
    spawn(move || {
        e.wait();
        f();
    })
}

#[test]
fn p80_rawlink_event_and_semaphore() {
    let got = printed(|| {
        let log = leak(std::cell::RefCell::new(Vec::<&str>::new()));
        let note = |text| move || log.borrow_mut().push(text);
        let e = leak(Event::new());
        let cb = callback(e, note("cb"));
        let second = callback(e, note("second"));
        let dropped = callback(e, note("dropped"));
        yield_now();
        dropped.kill();
        e.set();
        note("set returned")();
        all(vec![cb, second]);
        say!("{}", log.borrow().join(" "));
        e.clear();
        e.set();
        yield_now();
        say!("one-shot {}", log.borrow().join(" "));
        log.borrow_mut().clear();
        let cb = callback(e, note("cb"));
        note("registered")();
        all(vec![cb]);
        say!("already set: {}", log.borrow().join(" "));
        assert!(dropped.join().expect_err("killed").is_killed());
    });
    let gevent = gevent_said!("80_rawlink_event_and_semaphore");
    assert_eq!(got, without(gevent, &["semaphore c1 counter 1\n"]));
}

#[test]
fn p81_rawlink_before_hub_quirk() {
    /// On a thread that has no hub when it begins, and with a real clock.
    fn show(tag: &str) {
        let log = leak(std::cell::RefCell::new(Vec::new()));
        let e = leak(Event::new());
        let waits = callback(e, || log.borrow_mut().push("callback"));
        yield_now();
        e.set();
        log.borrow_mut().push("set returned");
        assert!(waits.wait_timeout(Duration::from_secs(10)));
        say!("{tag} {}", log.borrow().join(" "));
    }
    let got = std::thread::spawn(|| {
        printed_live(|| {
            show("first");
            show("second");
        })
    });
    let got = got.join().expect("no panic");
    differs(
        &got,
        gevent_said!("81_rawlink_before_hub_quirk"),
        "first set returned callback\nsecond set returned callback\n",
    );
}

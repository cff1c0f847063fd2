//! What feature `tracing` tells a subscriber: who is spawned, starts, waits, wakes, is killed, ends.

#![cfg(feature = "tracing")]

use greenlet::sync::Event;
use greenlet::testing::Simulation;
use greenlet::{Builder, HubHandle, Local, join_all, sleep, spawn, spawn_later, yield_now};
use std::fmt;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Metadata, Subscriber, subscriber};

/// An event: its message, then its fields in their order.
type Lines = Arc<Mutex<Vec<String>>>;

/// Writes the events of greenlets down, and does something at each.
struct Listener {
    lines: Lines,
    each: fn(&str),
}

struct Line {
    message: String,
    fields: String,
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        match field.name() {
            "message" => self.message = format!("{value:?}"),
            // Where exactly it is does not matter here.
            "place" => {
                let place = format!("{value:?}");
                assert!(place.starts_with("tests/tracing.rs:"), "{place}");
                self.fields += " here";
            }
            name => self.fields += &format!(" {name}={value:?}"),
        }
    }
}

impl Subscriber for Listener {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }
    fn new_span(&self, _: &Attributes<'_>) -> Id {
        panic!("greenlets have no spans")
    }
    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn event(&self, event: &tracing::Event<'_>) {
        if event.metadata().target() != "greenlet" {
            return;
        }
        let mut line = Line {
            message: String::new(),
            fields: String::new(),
        };
        event.record(&mut line);
        let level = event.metadata().level();
        let text = format!("{level} {}{}", line.message, line.fields);
        self.lines.lock().unwrap().push(text);
        (self.each)(&line.message);
    }
    fn enter(&self, _: &Id) {
        panic!("greenlets have no spans")
    }
    fn exit(&self, _: &Id) {}
}

/// The events of a simulation, on this thread.
fn events(each: fn(&str), program: impl FnOnce()) -> Vec<String> {
    let lines = Lines::default();
    let listener = Listener {
        lines: lines.clone(),
        each,
    };
    subscriber::with_default(listener, || Simulation::new().run(program));
    lines.lock().unwrap().clone()
}

#[test]
fn life_of_greenlets() {
    let mut ids = [0; 3];
    let told = events(
        |_| (),
        || {
            let event = Rc::new(Event::new());
            let waits = event.clone();
            let first = Builder::new().name("first").spawn(move || {
                waits.wait();
                let child = spawn(yield_now);
                child.id()
            });
            let first = first.unwrap();
            let second = spawn(|| sleep(Duration::from_secs(9)));
            sleep(Duration::from_secs(1));
            event.set();
            ids = [first.id(), second.id(), first.join().unwrap()];
            second.kill();
            second.wait();
        },
    );
    let [first, second, child] = ids;
    let expected = [
        format!("DEBUG spawn id={first} name=\"first\" parent=0 here"),
        format!("DEBUG spawn id={second} parent=0 here"),
        String::from("TRACE wait id=0 operation=\"sleep\" here"),
        format!("TRACE start id={first}"),
        format!("TRACE wait id={first} operation=\"Event::wait\" here"),
        format!("TRACE start id={second}"),
        format!("TRACE wait id={second} operation=\"sleep\" here"),
        String::from("TRACE wake id=0 outcome=\"expired\""),
        String::from("TRACE wait id=0 operation=\"Greenlet::join\" here"),
        format!("TRACE wake id={first} outcome=\"woken\""),
        format!("DEBUG spawn id={child} parent={first} here"),
        format!("DEBUG end id={first}"),
        format!("TRACE start id={child}"),
        String::from("TRACE wake id=0 outcome=\"woken\""),
        format!("DEBUG kill id={second}"),
        String::from("TRACE wait id=0 operation=\"Greenlet::wait\" here"),
        format!("DEBUG end id={child}"),
        format!("TRACE wake id={second} outcome=\"interrupted\""),
        format!("DEBUG end id={second}"),
        String::from("TRACE wake id=0 outcome=\"woken\""),
    ];
    assert_eq!(told, expected, "{told:#?}");
}

/// A subscriber that panics or waits breaks nothing but itself.
#[test]
fn subscriber_that_panics_or_waits() {
    fn program() {
        let event = Rc::new(Event::new());
        let all: Vec<_> = (0..3)
            .map(|i| {
                let event = event.clone();
                spawn(move || {
                    event.wait();
                    yield_now();
                    sleep(Duration::from_secs(1));
                    i
                })
            })
            .collect();
        yield_now();
        event.set();
        all[1].kill();
        let ends: Vec<_> = greenlet::join_all(all)
            .into_iter()
            .map(Result::ok)
            .collect();
        assert_eq!(ends, [Some(0), None, Some(2)]);
    }
    let quiet = events(|_| (), program).len();
    assert_eq!(
        events(|_| panic!("in the subscriber"), program).len(),
        quiet
    );
    let waits = |_: &str| sleep(Duration::from_secs(1));
    assert_eq!(events(waits, program).len(), quiet);
    // What need not wait is allowed.
    let works = |_: &str| Event::new().set();
    assert_eq!(events(works, program).len(), quiet);
}

/// One that spawns when it hears of a spawn finds the hub in order.
#[test]
fn subscriber_that_spawns() {
    fn program() {
        let all = [
            spawn(|| 1),
            spawn_later(Duration::from_secs(1), || 2),
            HubHandle::current().spawn(|| 3),
        ];
        let ends: Vec<_> = join_all(all).into_iter().map(Result::ok).collect();
        assert_eq!(ends, [Some(1), Some(2), Some(3)]);
    }
    let ended = |lines: &[String]| lines.iter().filter(|line| line.contains(" end ")).count();
    let quiet = events(|_| (), program);
    let told = events(
        |message| {
            if message == "spawn" {
                drop(spawn(|| ()));
            }
        },
        program,
    );
    // Those of the subscriber itself are told too, but for their spawn.
    assert_eq!((ended(&quiet), ended(&told)), (3, 6), "{told:#?}");
}

/// What a subscriber sets belongs to the greenlet that runs, and to none after it.
#[test]
fn locals_of_a_subscriber_end_with_their_greenlet() {
    static REQUEST: Local<u64> = Local::new();
    fn program() {
        for _ in 0..3 {
            let first = spawn(yield_now);
            let sent = HubHandle::current().spawn(|| ());
            first.join().unwrap();
            sent.join().unwrap();
        }
        let seen = Builder::new().spawn(|| REQUEST.get()).unwrap();
        assert_eq!(seen.join().unwrap(), None);
    }
    for marked in ["spawn", "start", "kill", "end"] {
        static MARKED: Mutex<&str> = Mutex::new("");
        *MARKED.lock().unwrap() = marked;
        events(
            |message| {
                if message == *MARKED.lock().unwrap() {
                    REQUEST.set(7);
                }
            },
            program,
        );
        REQUEST.take();
    }
}

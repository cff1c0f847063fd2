//! Seeing what a program does: where greenlets come from, dumps, numbers, the watchdog.

use greenlet::sync::Event;
use greenlet::testing::Simulation;
use greenlet::{
    Builder, Dump, GreenletDump, GreenletState, Group, HubAnswer, HubHandle, HubThread, Pool,
    Watchdog, dump, dump_all, run, scope, sleep, spawn, spawn_later, statistics, timeout, watchdog,
    yield_now,
};
use serde_json::Value;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

/// What takes so long hangs.
const HANGS: Duration = Duration::from_secs(30);

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// The message of a panic that `f` must have.
fn panics<R>(f: impl FnOnce() -> R) -> String {
    let Err(payload) = catch_unwind(AssertUnwindSafe(f)) else {
        panic!("it should have panicked");
    };
    match payload.downcast::<String>() {
        Ok(text) => *text,
        Err(payload) => (*payload.downcast::<&str>().expect("a message")).to_owned(),
    }
}

/// The line after the one on which it stands, as reports name it.
macro_rules! next {
    () => {
        format!("{}:{}:", file!(), line!() + 1)
    };
}

// ---- where greenlets come from ----

/// A line for each greenlet, which says how it waits and where it was spawned, by whom, and when.
#[test]
fn deadlock_report_says_where_each_greenlet_was_spawned() {
    let report = panics(|| {
        Simulation::new().run(|| {
            let never = Rc::new(Event::new());
            sleep(Duration::from_secs(1));
            let outer = Builder::new().name("outer");
            let outer = outer.spawn({
                let never = never.clone();
                move || {
                    sleep(Duration::from_secs(2));
                    let inner = spawn({
                        let never = never.clone();
                        move || never.wait()
                    });
                    sleep(Duration::from_secs(4));
                    inner.wait();
                }
            });
            let outer = outer.unwrap();
            println!("outer: #{}", outer.id());
            outer.wait();
        })
    });
    let lines: Vec<&str> = report.lines().collect();
    let [head, root, outer, inner] = lines[..] else {
        panic!("a line for each: {report}");
    };
    assert!(head.starts_with("deadlock: "), "{report}");
    assert!(root.starts_with("  #- 'root': waits in Greenlet::wait at tests/seeing.rs:"));
    assert!(!root.contains("spawned"), "{report}");
    let (waits, spawned) = outer.split_once("; ").expect(&report);
    assert!(waits.contains("'outer': waits in Greenlet::wait at tests/seeing.rs:"));
    assert!(waits.ends_with(" for 0ns"), "{report}");
    assert!(spawned.starts_with("spawned at tests/seeing.rs:"));
    assert!(
        spawned.ends_with(", 6s ago") && !spawned.contains("by"),
        "{report}"
    );
    let id = outer.trim_start().split(' ').next().unwrap();
    let (waits, spawned) = inner.split_once("; ").expect(&report);
    assert!(waits.contains("'greenlet': waits in Event::wait at tests/seeing.rs:"));
    assert!(waits.ends_with(" for 4s"), "{report}");
    assert!(spawned.ends_with(&format!(" by {id}, 4s ago")), "{report}");
}

/// The place is the program's, whatever spawns for it.
#[test]
fn places_are_those_of_the_program() {
    let mut places = Vec::new();
    let report = panics(|| {
        Simulation::new().run(|| {
            let never: &Event = Box::leak(Box::new(Event::new()));
            let (group, pool) = (Group::new(), Pool::new(9));
            places.push(next!());
            drop(spawn(|| never.wait()));
            places.push(next!());
            drop(greenlet::spawn_later(Duration::ZERO, || never.wait()));
            let named = Builder::new().name("named");
            places.push(next!());
            drop(named.spawn(|| never.wait()));
            places.push(next!());
            drop(group.spawn(|| never.wait()));
            places.push(next!());
            drop(pool.spawn(|| never.wait()));
            places.push(next!());
            drop(pool.try_spawn(|| never.wait()));
            places.push(next!());
            drop(pool.spawn_timeout(Duration::ZERO, || never.wait()));
            places.push(next!());
            let mut results = pool.imap([1], |_| never.wait());
            let hub = greenlet::HubHandle::current();
            places.push(next!());
            drop(hub.spawn(|| never.wait()));
            scope(|s| {
                places.push(next!());
                s.spawn(|| never.wait());
                places.push(next!());
                let _ = s.spawn_with(Builder::new(), || never.wait());
                yield_now();
                results.next();
            });
        })
    });
    assert_eq!(places.len(), 11);
    for place in places {
        let spawned = format!("; spawned at {place}");
        assert_eq!(report.matches(&spawned).count(), 1, "{spawned}\n{report}");
    }
}

// ---- dumps of the own hub ----

/// The greenlet of that name in the only hub of a dump.
#[track_caller]
fn named<'a>(dump: &'a Dump, name: &str) -> &'a GreenletDump {
    let all = &dump.hubs[0].greenlets;
    let found = all.iter().find(|g| g.name.as_deref() == Some(name));
    found.unwrap_or_else(|| panic!("no {name} in\n{dump}"))
}

fn builder(name: &str) -> Builder {
    Builder::new().name(name)
}

/// Some of each kind, as seen by the root of a simulation at 10 s.
fn stage(look: impl FnOnce(&Dump)) {
    Simulation::new().run(|| {
        let never: &Event = Box::leak(Box::new(Event::new()));
        let killed = builder("killed").spawn(|| {
            greenlet::shield(|| {
                let _ = never.wait_timeout(Duration::from_secs(20));
            });
        });
        let killed = killed.unwrap();
        let limited = || {
            let _ = timeout(Duration::from_secs(15), || never.wait());
        };
        drop(builder("limited").stack_size(64 * 1024).spawn(limited));
        let parent = builder("parent").spawn(|| {
            drop(builder("child").spawn(|| never.wait()));
            scope(|s| {
                let _ = s.spawn_with(builder("scoped"), || never.wait());
            });
        });
        drop(parent);
        sleep(Duration::from_secs(4));
        killed.kill();
        sleep(Duration::from_secs(6));
        let woken = Rc::new(Event::new());
        let waits = woken.clone();
        drop(builder("woken").spawn(move || waits.wait()));
        drop(builder("yields").spawn(yield_now));
        yield_now();
        woken.set();
        drop(builder("unstarted").spawn(|| ()));
        drop(spawn_later(Duration::from_secs(3), || ()));
        look(&dump());
        never.set();
    });
}

#[test]
fn dump_tells_what_each_does() {
    stage(|dump| {
        let [hub] = &dump.hubs[..] else {
            panic!("{dump}")
        };
        assert_eq!(hub.answer, HubAnswer::Given);
        let numbers = hub.statistics.as_ref().unwrap();
        // All but the root; `woken`, `yields` and `unstarted` are ready; four wait no longer than so.
        assert_eq!((numbers.greenlets, numbers.ready), (9, 3), "{dump}");
        assert_eq!(numbers.timers, 3, "{dump}");
        assert_eq!(hub.greenlets.len(), 10);
        let secs = Duration::from_secs;
        let state = |name| &named(dump, name).state;
        let waits = |name| match state(name) {
            GreenletState::Waiting {
                operation, since, ..
            } => (*operation, *since),
            other => panic!("{name} is {other:?}"),
        };
        let root = &hub.greenlets[0];
        assert_eq!(root.state, GreenletState::Running);
        assert_eq!((root.id, root.parent, root.spawned_at), (0, 0, None));
        assert_eq!((root.age, root.stack_size), (None, None));
        assert_eq!(waits("killed"), ("Event::wait_timeout", secs(10)));
        assert_eq!(named(dump, "killed").due_in, Some(secs(10)));
        assert!(named(dump, "killed").killed);
        assert_eq!(waits("limited"), ("Event::wait", secs(10)));
        assert_eq!(named(dump, "limited").due_in, Some(secs(5)));
        assert!(!named(dump, "limited").killed);
        assert_eq!(named(dump, "limited").stack_size, Some(64 * 1024));
        assert_eq!(named(dump, "killed").stack_size, Some(256 * 1024));
        assert_eq!(waits("parent"), ("scope", secs(10)));
        let parent = named(dump, "parent");
        assert_eq!(
            (parent.parent, parent.scope, parent.due_in),
            (0, None, None)
        );
        assert_eq!(parent.age, Some(secs(10)));
        assert_eq!(named(dump, "child").parent, parent.id);
        assert_eq!(named(dump, "child").scope, None);
        let scoped = named(dump, "scoped");
        let GreenletState::Waiting { place, .. } = parent.state else {
            panic!("{parent:?}")
        };
        assert_eq!((scoped.parent, scoped.scope), (parent.id, Some(place)));
        assert_eq!(*state("woken"), GreenletState::Ready);
        assert_eq!(*state("yields"), GreenletState::Ready);
        assert_eq!(*state("unstarted"), GreenletState::Unstarted);
        assert_eq!(named(dump, "unstarted").due_in, None);
        assert_eq!(named(dump, "unstarted").stack_touched, None);
        let nameless = hub.greenlets.iter().find(|g| g.id != 0 && g.name.is_none());
        let delayed = nameless.unwrap();
        assert_eq!(delayed.state, GreenletState::Unstarted);
        assert_eq!(delayed.due_in, Some(secs(3)));
        assert_eq!(delayed.age, Some(secs(0)));
    });
}

#[test]
fn dump_as_text_has_a_line_for_each_under_its_parent() {
    stage(|dump| {
        let text = dump.to_string();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 11, "{text}");
        let thread = std::thread::current();
        let head = format!(
            "hub of thread '{}': 9 greenlets, 3 ready, 3 timers, ",
            thread.name().unwrap()
        );
        assert!(lines[0].starts_with(&head), "{text}");
        assert_eq!(lines[1], "  root: running");
        let line = |name: &str| {
            let with = |line: &&&str| line.contains(&format!("'{name}'"));
            *lines
                .iter()
                .find(with)
                .unwrap_or_else(|| panic!("{name}: {text}"))
        };
        let at = |name: &str| lines.iter().position(|l| *l == line(name)).unwrap();
        assert!(line("killed").contains("': waits in Event::wait_timeout at tests/seeing.rs:"));
        assert!(
            line("killed").contains(" for 10s, due in 10s, killed; spawned at tests/seeing.rs:")
        );
        assert!(line("limited").contains(" for 10s, due in 5s; spawned at tests/seeing.rs:"));
        assert!(line("unstarted").contains("': not started; spawned at tests/seeing.rs:"));
        assert!(line("unstarted").ends_with(", 0ns ago"));
        assert!(line("woken").contains("': ready; spawned at"));
        // Children come after their parent, deeper by one.
        assert!(line("parent").starts_with("  #") && !line("parent").contains(" by #"));
        assert!(line("child").starts_with("    #") && !line("child").contains(" by #"));
        assert!(line("scoped").starts_with("    #"));
        assert!(line("scoped").contains(" in the scope at tests/seeing.rs:"));
        assert_eq!(
            [at("child"), at("scoped")],
            [at("parent") + 1, at("parent") + 2]
        );
        if cfg!(target_os = "linux") {
            assert!(
                line("limited").contains("; stack ") && line("limited").ends_with(" of 64 KiB")
            );
        }
    });
}

/// Hub, group, greenlet: members stand under their group, others under who has spawned them.
#[test]
fn dump_shows_groups_above_their_members() {
    Simulation::new().run(|| {
        let never: &'static Event = Box::leak(Box::new(Event::new()));
        let wait = || never.wait();
        let group_made = next!();
        let group = Group::new();
        let pool_made = next!();
        let pool = Pool::new(3);
        let (empty, gone) = (Group::default(), Group::new());
        drop(gone.spawn(wait));
        let left = gone.ids();
        drop(gone); // the member is in it all the same
        let outside = builder("outside").spawn({
            let group = group.clone();
            move || {
                drop(group.spawn(wait));
                drop(builder("child").spawn(wait));
                wait();
            }
        });
        drop(outside.unwrap());
        let first = pool.spawn({
            let group = group.clone();
            move || {
                drop(builder("grandchild").spawn(wait));
                let own = builder("both").spawn(wait).unwrap();
                group.add(&own);
                wait();
            }
        });
        pool.spawn(|| ()).join().unwrap();
        let mut results = pool.imap(0.., move |_| wait()).window(1);
        let lazy = builder("lazy").spawn(move || drop(results.next()));
        drop(lazy.unwrap());
        sleep(ms(1));
        let both = named(&dump(), "both").id;
        let dump = dump();
        let hub = &dump.hubs[0];
        let [g, p, l] = &hub.groups[..] else {
            panic!("the others have no members: {dump}")
        };
        assert!(g.made_at.to_string().starts_with(&group_made), "{dump}");
        assert!(p.made_at.to_string().starts_with(&pool_made), "{dump}");
        assert!(g.number < p.number && p.number < l.number);
        assert_eq!((g.size, p.size, l.size), (None, Some(3), None));
        assert_eq!((&g.members, &p.members), (&group.ids(), &pool.ids()));
        assert_eq!(l.members, left);
        assert!(g.members.contains(&both) && p.members[0] == first.id());
        assert_eq!((g.members.len(), p.members.len()), (2, 2));
        assert!(empty.is_empty());

        // Depth and name or number of each line.
        let text = dump.to_string();
        let tree = text.lines().map(|line| {
            let item = line.trim_start();
            let what = item.split([':', ',']).next().unwrap();
            (
                line.len() - item.len(),
                what.split('\'').nth(1).unwrap_or(what).to_owned(),
            )
        });
        let of = |id: u64| format!("#{id}");
        let tree = tree.collect::<Vec<_>>();
        let want = [
            (2, "root".to_owned()),
            (2, "outside".to_owned()),
            (4, "child".to_owned()),
            (2, "lazy".to_owned()),
            (4, "imap".to_owned()),
            (2, format!("group {}", g.number)),
            (4, of(g.members[0])),
            (4, "both".to_owned()),
            (2, format!("pool {}", p.number)),
            (4, of(p.members[0])),
            (6, "grandchild".to_owned()),
            (4, of(p.members[1])),
            (2, format!("group {}", l.number)),
            (4, of(left[0])),
        ];
        assert_eq!(tree[1..], want, "{text}");
        let line = |start: &str| {
            let found = text
                .lines()
                .find(|line| line.trim_start().starts_with(start));
            found.unwrap_or_else(|| panic!("{start}: {text}"))
        };
        assert_eq!(
            line("group"),
            format!("  group {}, made at {}: 2 members", g.number, g.made_at)
        );
        assert_eq!(
            line("pool"),
            format!("  pool {}, made at {}: 2 of 3 members", p.number, p.made_at)
        );
        assert!(
            text.lines().any(|line| line.ends_with(": 1 member")),
            "{text}"
        );
        // Who has spawned it stands elsewhere.
        let outside = named(&dump, "outside").id;
        assert!(
            line(&format!("#{}:", g.members[0])).contains(&format!(" by #{outside}, ")),
            "{text}"
        );
        assert!(!line("#").contains("also in"), "{text}");

        // As JSON.
        let json: Value = serde_json::from_str(&dump.to_json()).expect("JSON");
        let groups = json["hubs"][0]["groups"].as_array().unwrap();
        assert_eq!(groups.len(), 3);
        for (json, group) in groups.iter().zip(&hub.groups) {
            assert_eq!(json["number"], group.number);
            assert_eq!(json["made_at"], group.made_at.to_string());
            assert_eq!(json["size"], group.size.map_or(Value::Null, Value::from));
            assert_eq!(json["members"], Value::from(group.members.clone()));
            assert_eq!(json.as_object().unwrap().len(), 4);
        }
        never.set();
    });
}

/// It has one line, under the first, and that says so.
#[test]
fn dump_shows_who_is_in_several_groups_once() {
    run(|| {
        let never = Rc::new(Event::new());
        let (first, second, third) = (Group::new(), Pool::new(2), Group::new());
        let waits = never.clone();
        let member = second.spawn(move || waits.wait());
        third.add(&member);
        first.add(&member);
        let dump = dump();
        let [a, b, c] = &dump.hubs[0].groups[..] else {
            panic!("{dump}")
        };
        assert!([a, b, c].iter().all(|group| group.members == [member.id()]));
        let text = dump.to_string();
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 6, "{text}");
        let also = format!(", also in group {}, also in group {}, ", b.number, c.number);
        assert!(
            lines[3].starts_with(&format!("    #{}: ", member.id())),
            "{text}"
        );
        assert!(lines[3].contains(&also), "{text}");
        never.set();
        member.join().unwrap();
        assert!(greenlet::dump().hubs[0].groups.is_empty());
    });
}

/// Groups are their thread's, as greenlets are.
#[test]
fn dump_of_another_hub_has_its_groups() {
    let worker = hub_thread("worker");
    let (told, tell) = (Arc::new(Event::new()), Arc::new(Event::new()));
    let (mine, stop) = (told.clone(), tell.clone());
    let there = worker.handle().spawn(move || {
        let group = Group::new();
        let stops = stop.clone();
        drop(group.spawn(move || stops.wait()));
        let ids = group.ids();
        mine.set();
        group.join();
        ids
    });
    run(|| {
        let own = Group::new();
        let waits = tell.clone();
        let here = own.spawn(move || waits.wait());
        told.wait();
        let dump = worker.handle().dump(HANGS);
        let [group] = &dump.hubs[0].groups[..] else {
            panic!("{dump}")
        };
        let members = group.members.clone();
        let ours = greenlet::dump();
        assert_eq!(ours.hubs[0].groups.len(), 1, "{ours}");
        assert_eq!(ours.hubs[0].groups[0].members, [here.id()]);
        tell.set();
        assert_eq!(there.join().unwrap(), members);
        here.join().unwrap();
    });
    end(worker);
}

#[test]
fn dump_of_a_thread_without_a_hub_is_empty() {
    let (dump, numbers) = std::thread::spawn(|| (dump(), statistics()))
        .join()
        .unwrap();
    assert!(dump.hubs.is_empty() && numbers.is_none());
    assert_eq!(dump.to_string(), "");
    assert_eq!(dump.to_json(), r#"{"hubs":[]}"#);
}

/// The parent's line may be missing: it has ended.
#[test]
fn greenlets_outlive_their_parents() {
    run(|| {
        let parent = spawn(|| drop(builder("orphan").spawn(|| sleep(HANGS))));
        let id = parent.id();
        parent.join().unwrap();
        yield_now();
        let dump = dump();
        assert_eq!(named(&dump, "orphan").parent, id);
        let by = format!(" by #{id}, ");
        assert!(dump.to_string().contains(&by), "{dump}");
    });
}

/// A chain of a thousand that each spawned the next is no recursion.
#[test]
fn dump_of_a_long_chain_of_parents() {
    fn next(left: usize) {
        if left > 0 {
            drop(spawn(move || next(left - 1)));
        }
        sleep(HANGS);
    }
    Simulation::new().run(|| {
        drop(spawn(|| next(1000)));
        sleep(ms(1));
        let dump = dump();
        let text = dump.to_string();
        assert_eq!(text.lines().count(), 1003);
        let deepest = text.lines().last().unwrap();
        assert!(deepest.starts_with(&" ".repeat(2 + 2 * 1000)));
    });
}

/// A greenlet that has used its stack is seen to have.
#[cfg(target_os = "linux")]
#[test]
fn stack_that_was_used_is_in_memory() {
    #[inline(never)]
    fn deep(left: usize) -> usize {
        let frame = std::hint::black_box([left; 512]);
        match left {
            0 => frame[0],
            left => deep(left - 1) + frame[1],
        }
    }
    run(|| {
        let touched = |work: usize| {
            let g = builder("g").stack_size(1 << 20).spawn(move || {
                std::hint::black_box(deep(work));
                dump()
            });
            let dump = g.unwrap().join().unwrap();
            let seen = named(&dump, "g");
            assert_eq!(seen.state, GreenletState::Running);
            assert_eq!(seen.stack_size, Some(1 << 20));
            seen.stack_touched
        };
        let (Some(little), Some(much)) = (touched(1), touched(100)) else {
            panic!("Linux tells");
        };
        // 100 frames of 4 KiB.
        assert!(
            little < 200 << 10 && (400 << 10..1 << 20).contains(&much),
            "{little} {much}"
        );
        // The same stack again.
        assert_eq!(touched(1), Some(much));
    });
}

// ---- JSON ----

#[test]
fn json_has_what_the_dump_has() {
    stage(|dump| {
        let json: Value = serde_json::from_str(&dump.to_json()).expect("JSON");
        let hub = &json["hubs"][0];
        assert_eq!(hub["answer"], "given");
        assert_eq!(hub["limit"], Value::Null);
        assert_eq!(hub["thread"], *dump.hubs[0].thread);
        assert_eq!(hub["statistics"]["greenlets"], 9);
        assert_eq!(hub["statistics"]["longest_slice"], Value::Null);
        let greenlets = hub["greenlets"].as_array().unwrap();
        assert_eq!(greenlets.len(), dump.hubs[0].greenlets.len());
        for (json, seen) in greenlets.iter().zip(&dump.hubs[0].greenlets) {
            let number = |n: Option<u64>| n.map_or(Value::Null, Value::from);
            let text = |s: Option<String>| s.map_or(Value::Null, Value::from);
            let seconds = |d: Option<Duration>| d.map_or(Value::Null, |d| d.as_secs_f64().into());
            assert_eq!(json["id"], seen.id);
            assert_eq!(json["name"], text(seen.name.as_deref().map(String::from)));
            assert_eq!(json["killed"], seen.killed);
            assert_eq!(json["parent"], seen.parent);
            assert_eq!(
                json["spawned_at"],
                text(seen.spawned_at.map(|p| p.to_string()))
            );
            assert_eq!(json["scope"], text(seen.scope.map(|p| p.to_string())));
            assert_eq!(json["age"], seconds(seen.age));
            assert_eq!(json["due_in"], seconds(seen.due_in));
            assert_eq!(
                json["stack_size"],
                number(seen.stack_size.map(|n| n as u64))
            );
            assert_eq!(
                json["stack_touched"],
                number(seen.stack_touched.map(|n| n as u64))
            );
            let (state, wait) = match &seen.state {
                GreenletState::Running => ("running", None),
                GreenletState::Ready => ("ready", None),
                GreenletState::Unstarted => ("unstarted", None),
                GreenletState::Waiting {
                    operation,
                    place,
                    since,
                    ..
                } => (
                    "waiting",
                    Some((operation.to_string(), place.to_string(), *since)),
                ),
                other => panic!("{other:?}"),
            };
            assert_eq!(json["state"], state);
            assert_eq!(json["operation"], text(wait.clone().map(|w| w.0)));
            assert_eq!(json["place"], text(wait.clone().map(|w| w.1)));
            assert_eq!(json["since"], seconds(wait.map(|w| w.2)));
            assert_eq!(json.as_object().unwrap().len(), 14);
        }
    });
}

/// A name may be anything; it comes out as it went in.
#[test]
fn json_escapes_names() {
    let all: String = (0..0x300).filter_map(char::from_u32).collect();
    let names = [
        all,
        String::from("\"quoted\" \\ back\\slash / \u{7f}\u{2028}\u{10ffff} Gr\u{fc}n"),
        String::from("\\u0041 \\n"),
        String::new(),
    ];
    run(|| {
        for name in &names {
            drop(builder(name).spawn(|| ()));
        }
        let json: Value = serde_json::from_str(&dump().to_json()).expect("JSON");
        let greenlets = json["hubs"][0]["greenlets"].as_array().unwrap();
        let got: Vec<_> = greenlets[1..]
            .iter()
            .map(|g| g["name"].as_str().unwrap())
            .collect();
        assert_eq!(got, names);
    });
}

// ---- other hubs ----

fn hub_thread(name: &str) -> HubThread {
    HubThread::start(name).unwrap()
}

fn end(thread: HubThread) {
    thread.stop();
    thread.join().unwrap();
}

#[test]
fn another_hub_is_asked() {
    let worker = hub_thread("asked");
    let never = Arc::new(Event::new());
    let waits = never.clone();
    let place = next!();
    let g = worker.handle().spawn(move || waits.wait());
    let id = g.id();
    // By a greenlet, by a root, by a plain thread; of a hub that sleeps.
    let ask = move |hub: HubHandle| {
        let dump = hub.dump(HANGS);
        assert_eq!(dump.hubs[0].thread, "asked");
        assert_eq!(dump.hubs[0].answer, HubAnswer::Given);
        assert_eq!(dump.hubs[0].statistics.as_ref().unwrap().greenlets, 1);
        let [root, seen] = &dump.hubs[0].greenlets[..] else {
            panic!("{dump}")
        };
        let operation = |g: &GreenletDump| match g.state {
            GreenletState::Waiting { operation, .. } => operation,
            ref other => panic!("{other:?}"),
        };
        assert_eq!(operation(root), "HubThread");
        // Until its wake has come out of the inbox.
        if seen.state != GreenletState::Ready && seen.state != GreenletState::Unstarted {
            assert_eq!(operation(seen), "Event::wait");
        }
        assert_eq!(seen.id, id);
        assert!(seen.spawned_at.unwrap().to_string().starts_with(&place));
        // Whoever spawned it is of another hub.
        assert_eq!(seen.parent, 0);
        assert_eq!(hub.statistics(HANGS).unwrap().greenlets, 1);
    };
    ask(worker.handle());
    run(|| {
        let handle = worker.handle();
        let ask = ask.clone();
        spawn(move || ask(handle)).join().unwrap();
        ask_again(&worker);
    });
    let handle = worker.handle();
    std::thread::spawn(move || ask(handle)).join().unwrap();
    never.set();
    g.join().unwrap();
    let handle = worker.handle();
    end(worker);
    let dump = handle.dump(HANGS);
    assert_eq!(dump.hubs[0].answer, HubAnswer::Ended);
    assert!(dump.to_string().contains("it has ended"), "{dump}");
    assert_eq!(handle.statistics(HANGS), None);

    fn ask_again(worker: &HubThread) {
        assert_eq!(worker.handle().dump(HANGS).hubs[0].greenlets.len(), 2);
    }
}

/// The parent's id goes along to another hub.
#[test]
fn parent_of_another_hub() {
    let worker = hub_thread("grandchildren");
    let (tell, told) = mpsc::channel();
    let handle = worker.handle();
    let (here, there) = run(move || {
        let parent = spawn(move || {
            let child = handle.spawn(move || tell.send(dump()).unwrap());
            child.join().unwrap();
        });
        let id = parent.id();
        parent.join().unwrap();
        (id, told.recv().unwrap())
    });
    assert_eq!(there.hubs[0].greenlets[1].parent, here);
    end(worker);
}

/// A hub whose thread is busy does not answer; the question is no harm when it comes to it.
#[test]
fn hub_that_is_held_up_does_not_answer() {
    let worker = hub_thread("held");
    let (go, gone) = mpsc::channel::<()>();
    let (here, begun) = mpsc::channel();
    let g = worker.handle().spawn(move || {
        here.send(()).unwrap();
        gone.recv().unwrap();
    });
    begun.recv().unwrap();
    let dump = worker.handle().dump(ms(20));
    assert!(
        matches!(dump.hubs[0].answer, HubAnswer::Missing { limit, .. } if limit == ms(20)),
        "{dump}"
    );
    assert_eq!(dump.hubs[0].thread, "held");
    assert!(
        dump.to_string()
            .starts_with("hub of thread 'held': does not answer within 20ms")
    );
    let json: Value = serde_json::from_str(&dump.to_json()).unwrap();
    assert_eq!(json["hubs"][0]["answer"], "missing");
    assert_eq!(json["hubs"][0]["limit"], 0.02);
    assert_eq!(json["hubs"][0]["statistics"], Value::Null);
    assert_eq!(worker.handle().statistics(ms(1)), None);
    let all = dump_all(ms(20));
    let of = |name: &str| all.hubs.iter().find(|hub| hub.thread == name);
    assert!(
        matches!(of("held").unwrap().answer, HubAnswer::Missing { .. }),
        "{all}"
    );
    go.send(()).unwrap();
    g.join().unwrap();
    let dump = worker.handle().dump(HANGS);
    assert_eq!(dump.hubs[0].answer, HubAnswer::Given);
    end(worker);
    assert!(dump_all(HANGS).hubs.iter().all(|hub| hub.thread != "held"));
}

/// The wait for an answer is a wait like others.
#[test]
fn who_waits_for_an_answer_can_be_killed() {
    let worker = hub_thread("slow");
    let (go, gone) = mpsc::channel::<()>();
    let (here, begun) = mpsc::channel();
    let g = worker.handle().spawn(move || {
        here.send(()).unwrap();
        gone.recv().unwrap();
    });
    begun.recv().unwrap();
    run(|| {
        let handle = worker.handle();
        let asker = spawn(move || handle.dump(HANGS));
        yield_now();
        let dump = dump();
        let GreenletState::Waiting { operation, .. } = dump.hubs[0].greenlets[1].state else {
            panic!("{dump}")
        };
        assert_eq!(operation, "HubHandle::dump");
        asker.kill();
        assert!(asker.join().unwrap_err().is_killed());
        assert_eq!(
            timeout(ms(1), || worker.handle().dump(HANGS)),
            Err(greenlet::Elapsed)
        );
        // While panicking nobody waits.
        let handle = worker.handle();
        let (tell, told) = mpsc::channel();
        let panics = spawn(move || {
            let _asks = Asks(handle, tell);
            panic!("on purpose");
        });
        assert!(panics.join().unwrap_err().is_panic());
        assert!(matches!(
            told.recv().unwrap().hubs[0].answer,
            HubAnswer::Missing { .. }
        ));
    });
    go.send(()).unwrap();
    g.join().unwrap();
    end(worker);

    struct Asks(HubHandle, mpsc::Sender<Dump>);
    impl Drop for Asks {
        fn drop(&mut self) {
            self.1.send(self.0.dump(HANGS)).unwrap();
        }
    }
}

/// The questions that a hub has not read when it ends are answered all the same.
#[test]
fn question_to_a_hub_that_ends() {
    for _ in 0..20 {
        let worker = hub_thread("ends");
        let handle = worker.handle();
        let asks = std::thread::spawn(move || {
            loop {
                let dump = handle.dump(HANGS);
                match dump.hubs[0].answer {
                    HubAnswer::Given => {}
                    HubAnswer::Ended => return,
                    ref other => panic!("{other:?}"),
                }
            }
        });
        worker.handle().spawn(yield_now).join().unwrap();
        end(worker);
        asks.join().unwrap();
    }
}

#[test]
fn all_hubs_are_asked() {
    let workers = [hub_thread("one of two"), hub_thread("two of two")];
    run(|| {
        let dump = dump_all(HANGS);
        for name in ["one of two", "two of two"] {
            let hub = dump.hubs.iter().find(|hub| hub.thread == name);
            assert_eq!(hub.unwrap().answer, HubAnswer::Given, "{dump}");
        }
        let own = |hub: &&greenlet::HubDump| Some(&*hub.thread) == std::thread::current().name();
        let own = dump.hubs.iter().find(own).unwrap();
        assert_eq!(own.greenlets[0].state, GreenletState::Running);
        let json: Value = serde_json::from_str(&dump.to_json()).unwrap();
        assert_eq!(json["hubs"].as_array().unwrap().len(), dump.hubs.len());
    });
    workers.into_iter().for_each(end);
}

/// A simulation asks nobody, and who asks it does not change it.
#[test]
fn simulations_ask_nobody_and_may_be_asked() {
    let worker = hub_thread("real");
    let handle = worker.handle();
    let stop = Arc::new(AtomicBool::new(false));
    let (tell, told) = mpsc::channel::<HubHandle>();
    let asks = std::thread::spawn({
        let stop = stop.clone();
        move || {
            let hub = told.recv().unwrap();
            let mut given = 0;
            while !stop.load(Ordering::Relaxed) {
                given += usize::from(hub.dump(ms(1)).hubs[0].answer == HubAnswer::Given);
            }
            // The last one it can hardly have read.
            (given, hub.dump(HANGS))
        }
    });
    Simulation::new().run(|| {
        let asked = handle.dump(HANGS);
        assert_eq!(asked.hubs[0].answer, HubAnswer::NotAsked);
        assert_eq!(handle.statistics(HANGS), None);
        assert_eq!(
            HubHandle::current().dump(HANGS).hubs[0].answer,
            HubAnswer::Given
        );
        tell.send(HubHandle::current()).unwrap();
        for _ in 0..20 {
            sleep(Duration::from_secs(1));
            std::thread::sleep(ms(1));
        }
        stop.store(true, Ordering::Relaxed);
    });
    let (_, last) = asks.join().unwrap();
    assert!(
        matches!(last.hubs[0].answer, HubAnswer::Given | HubAnswer::Ended),
        "{last}"
    );
    end(worker);
}

/// One that nobody has read when the simulation ends.
#[test]
fn question_that_a_simulation_does_not_read() {
    Simulation::new().run(|| {
        let hub = HubHandle::current();
        let answer = std::thread::spawn(move || hub.dump(ms(1)).hubs.remove(0).answer);
        assert!(matches!(answer.join().unwrap(), HubAnswer::Missing { .. }));
    });
    // And beside it a wake, which is an intrusion as ever.
    let said = panics(|| {
        Simulation::new().run(|| {
            let hub = HubHandle::current();
            let ended = std::thread::spawn(move || {
                hub.dump(ms(1));
                hub.spawn(|| ());
            });
            ended.join().unwrap();
        })
    });
    assert!(said.contains("woken from another thread"), "{said}");
}

// ---- numbers ----

#[test]
fn numbers_count() {
    run(|| {
        let numbers = || statistics().unwrap();
        let before = numbers();
        assert_eq!((before.greenlets, before.ready, before.timers), (0, 0, 0));
        assert_eq!((before.switches, before.wakes_from_outside), (0, 0));
        let g = spawn(|| {
            yield_now();
            yield_now();
        });
        let sleeps = spawn(|| sleep(HANGS));
        g.join().unwrap();
        let after = numbers();
        assert_eq!((after.greenlets, after.ready, after.timers), (1, 0, 1));
        // Twice a resume of each beside the sleep; the second yield, alone, is none, nor is what
        // is between its end and the root.
        assert_eq!(after.switches - before.switches, 4);
        sleeps.kill();
        sleeps.wait();
        assert_eq!(numbers().timers, 0);
        let turns = numbers().turns;
        sleep(ms(1));
        assert!(numbers().turns > turns);
    });
}

#[test]
fn wakes_of_other_threads_are_counted() {
    run(|| {
        let events: [_; 3] = std::array::from_fn(|_| Arc::new(Event::new()));
        let all: Vec<_> = events
            .iter()
            .cloned()
            .map(|e| spawn(move || e.wait()))
            .collect();
        yield_now();
        let sets = std::thread::spawn(move || events.iter().for_each(|e| e.set()));
        all.iter().for_each(|g| g.wait());
        sets.join().unwrap();
        assert_eq!(statistics().unwrap().wakes_from_outside, 3);
    });
}

/// The longest slice is kept, with who it was, beyond its end.
#[test]
fn slices_are_measured() {
    run(|| {
        greenlet::time_slices(true);
        let block = |time| move || std::thread::sleep(time);
        spawn(block(ms(5))).join().unwrap();
        let place = next!();
        let longest = builder("long").spawn(block(ms(60))).unwrap();
        let id = longest.id();
        longest.join().unwrap();
        drop(spawn(yield_now));
        yield_now();
        let slice = statistics()
            .unwrap()
            .longest_slice
            .expect("it was measured");
        greenlet::time_slices(false);
        assert!(slice.length >= ms(60), "{slice:?}");
        // On a machine that is very busy another one may have taken longer.
        if slice.runner.id == id {
            assert_eq!(slice.runner.name.as_deref(), Some("long"));
            let text = slice.runner.to_string();
            assert!(
                text.starts_with(&format!("#{id} 'long', spawned at {place}")),
                "{text}"
            );
        } else {
            println!("SKIPPED: {} has taken longer", slice.runner);
        }
    });
}

/// Each with somebody who waits in it.
/// Spawns it and lets it run up to its wait.
fn waiting(f: impl FnOnce() + 'static) -> greenlet::Greenlet<()> {
    let g = spawn(f);
    yield_now();
    g
}

#[test]
fn coordination_tells_its_numbers() {
    use greenlet::sync::{Barrier, Latch, Notify, WaitGroup};
    run(|| {
        let barrier = Rc::new(Barrier::new(3));
        let mut waits = Vec::new();
        for n in 1..3 {
            let b = barrier.clone();
            waits.push(waiting(move || assert!(!b.wait().is_leader())));
            let numbers = barrier.statistics();
            assert_eq!((numbers.size, numbers.waiting), (3, n));
        }
        assert_eq!(format!("{barrier:?}"), "Barrier { size: 3, waiting: 2 }");
        waits.pop().unwrap().kill();
        yield_now();
        assert_eq!(barrier.statistics().waiting, 1);
        let b = barrier.clone();
        waits.push(waiting(move || assert!(!b.wait().is_leader())));
        assert!(barrier.wait().is_leader());
        assert_eq!(barrier.statistics().waiting, 0);

        let latch = Rc::new(Latch::new(2));
        let l = latch.clone();
        waits.push(waiting(move || l.wait()));
        latch.count_down();
        let numbers = latch.statistics();
        assert_eq!((numbers.count, numbers.waiting), (1, 1));
        assert_eq!(format!("{latch:?}"), "Latch { count: 1, waiting: 1 }");
        latch.count_down();
        let numbers = latch.statistics();
        assert_eq!((numbers.count, numbers.waiting), (0, 0));

        let all = WaitGroup::new();
        let (one, watching) = (all.clone(), all.clone());
        waits.push(waiting(move || one.wait()));
        drop(all);
        let numbers = watching.statistics();
        assert_eq!((numbers.count, numbers.waiting), (1, 1));
        assert_eq!(
            format!("{watching:?}"),
            "WaitGroup { count: 1, waiting: 1 }"
        );
        drop(watching);

        let notify = Rc::new(Notify::new());
        let n = notify.clone();
        waits.push(waiting(move || n.wait()));
        let numbers = notify.statistics();
        assert_eq!((numbers.permit, numbers.waiting), (false, 1));
        notify.notify_one();
        notify.notify_one();
        let numbers = notify.statistics();
        assert_eq!((numbers.permit, numbers.waiting), (true, 0));
        assert_eq!(format!("{notify:?}"), "Notify { permit: true, waiting: 0 }");
        waits.into_iter().for_each(|g| g.join().unwrap());
    });
}

#[test]
fn initialisers_tell_their_numbers() {
    use greenlet::sync::{Lazy, Once, OnceCell};
    run(|| {
        let go = Rc::new(Event::new());
        macro_rules! check {
            ($statistics:expr, $initialise:expr $(, $wait:expr)?) => {{
                let numbers = || {
                    let n = $statistics;
                    (n.completed, n.running, n.waiting)
                };
                assert_eq!(numbers(), (false, false, 0));
                // One that fails has had the turn, and it is free again.
                let first = waiting($initialise);
                assert_eq!(numbers(), (false, true, 0));
                first.kill();
                first.wait();
                assert_eq!(numbers(), (false, false, 0));
                let both = [waiting($initialise), waiting($initialise)];
                assert_eq!(numbers(), (false, true, 1));
                let others: Vec<greenlet::Greenlet<()>> = vec![$(waiting($wait))?];
                assert_eq!(numbers(), (false, true, 1 + others.len()));
                go.set();
                for g in both.into_iter().chain(others) {
                    g.join().unwrap();
                }
                assert_eq!(numbers(), (true, false, 0));
                go.clear();
            }};
        }

        let cell = Rc::new(OnceCell::new());
        check!(
            cell.statistics(),
            {
                let (cell, go) = (cell.clone(), go.clone());
                move || assert_eq!(cell.get_or_init(|| (go.wait(), 7).1), &7)
            },
            {
                let cell = cell.clone();
                move || assert_eq!(cell.wait(), &7)
            }
        );
        assert_eq!(
            format!("{cell:?}"),
            "OnceCell { value: Some(7), waiting: 0 }"
        );

        let once = Rc::new(Once::new());
        check!(
            once.statistics(),
            {
                let (once, go) = (once.clone(), go.clone());
                move || once.call_once(|| go.wait())
            },
            {
                let once = once.clone();
                move || once.wait()
            }
        );
        assert_eq!(format!("{once:?}"), "Once { completed: true, waiting: 0 }");

        let g = go.clone();
        let lazy = Rc::new(Lazy::new(move || g.wait()));
        check!(Lazy::statistics(&lazy), {
            let lazy = lazy.clone();
            move || **lazy
        });
        assert_eq!(format!("{lazy:?}"), "Lazy { value: Some(()), waiting: 0 }");
    });
}

#[test]
fn locks_tell_their_numbers() {
    use greenlet::sync::{
        LockStatistics, Mutex, ReentrantMutex, RwLock, RwLockUpgradableReadGuard,
    };
    run(|| {
        macro_rules! mutex {
            ($Mutex:ident) => {{
                let mutex = Rc::new($Mutex::new(()));
                let numbers = || {
                    let n = mutex.statistics();
                    (n.locked, n.waiting)
                };
                assert_eq!(numbers(), (false, 0));
                let held = mutex.lock();
                let m = mutex.clone();
                let next = waiting(move || drop(m.lock()));
                assert_eq!(numbers(), (true, 1));
                drop(held); // handed over
                assert_eq!(numbers(), (true, 0));
                next.join().unwrap();
                assert_eq!(numbers(), (false, 0));
            }};
        }
        mutex!(Mutex);
        mutex!(ReentrantMutex);

        let lock = Rc::new(RwLock::new(()));
        let numbers = || {
            let n = lock.statistics();
            (n.written, n.readers, n.upgradable, n.waiting)
        };
        assert_eq!(numbers(), (false, 0, false, 0));
        let readers = [lock.read(), lock.read()];
        let upgradable = lock.upgradable_read();
        assert_eq!(numbers(), (false, 2, true, 0));
        let l = lock.clone();
        let writer = waiting(move || drop(l.write()));
        let l = lock.clone();
        let reader = waiting(move || drop(l.read()));
        assert_eq!(numbers(), (false, 2, true, 2));
        drop(readers);
        let upgraded = RwLockUpgradableReadGuard::upgrade(upgradable);
        assert_eq!(numbers(), (true, 0, false, 2));
        drop(upgraded); // handed over to the writer
        assert_eq!(numbers(), (true, 0, false, 1));
        writer.join().unwrap();
        reader.join().unwrap();
        assert_eq!(numbers(), (false, 0, false, 0));

        // One that upgrades is counted among those who wait.
        let (held, l) = (lock.read(), lock.clone());
        let upgrades = waiting(move || {
            drop(RwLockUpgradableReadGuard::upgrade(l.upgradable_read()));
        });
        assert_eq!(numbers(), (false, 1, true, 1));
        drop(held);
        upgrades.join().unwrap();
        assert_eq!(numbers(), (false, 0, false, 0));
    });
}

#[test]
fn primitives_tell_their_numbers() {
    use greenlet::sync::{
        AsyncResult, BoundedSemaphore, Broadcast, Condvar, LifoQueue, Mutex, PriorityQueue, Queue,
        Semaphore, Watch,
    };
    run(|| {
        let wait = |f: Box<dyn FnOnce()>| {
            let g = spawn(f);
            yield_now();
            g
        };
        let mut waits = Vec::new();
        let event = Rc::new(Event::new());
        let e = event.clone();
        waits.push(wait(Box::new(move || e.wait())));
        let n = event.statistics();
        assert_eq!((n.set, n.waiting), (false, 1));
        event.set();
        let n = event.statistics();
        assert_eq!((n.set, n.waiting), (true, 0));

        let result = Rc::new(AsyncResult::<u8>::new());
        let r = result.clone();
        waits.push(wait(Box::new(move || assert!(r.wait().is_ok()))));
        let n = result.statistics();
        assert_eq!((n.ready, n.waiting), (false, 1));
        result.set(1).unwrap();
        let n = result.statistics();
        assert_eq!((n.ready, n.waiting), (true, 0));

        let watch = Rc::new(Watch::new(1));
        let w = watch.clone();
        waits.push(wait(Box::new(move || w.subscribe().changed().unwrap())));
        let n = watch.statistics();
        assert_eq!((n.shut_down, n.waiting), (false, 1));
        watch.set(2).unwrap();
        watch.shutdown();
        let n = watch.statistics();
        assert_eq!((n.shut_down, n.waiting), (true, 0));

        let news = Rc::new(Broadcast::new(3));
        let b = news.clone();
        waits.push(wait(Box::new(move || drop(b.subscribe().get().unwrap()))));
        let n = news.statistics();
        assert_eq!((n.len, n.capacity, n.readers), (0, 3, 1));
        assert_eq!((n.shut_down, n.waiting), (false, 1));
        news.put("a".to_owned()).unwrap();
        news.shutdown();
        let n = news.statistics();
        assert_eq!((n.len, n.waiting, n.shut_down), (1, 0, true));

        macro_rules! queue {
            ($Queue:ident) => {{
                let queue = Rc::new($Queue::bounded(1));
                let q = queue.clone();
                waits.push(wait(Box::new(move || assert!(q.get().is_ok()))));
                let n = queue.statistics();
                assert_eq!((n.len, n.capacity, n.unfinished), (0, Some(1), 0));
                assert_eq!((n.getters, n.putters, n.joiners), (1, 0, 0));
                queue.put(1).unwrap();
                queue.put(2).unwrap();
                for _ in 0..2 {
                    let q = queue.clone();
                    waits.push(wait(Box::new(move || assert!(q.put(3).is_err()))));
                }
                let q = queue.clone();
                waits.push(wait(Box::new(move || q.join())));
                let n = queue.statistics();
                assert_eq!((n.len, n.unfinished, n.shut_down), (1, 2, false));
                assert_eq!((n.getters, n.putters, n.joiners), (0, 2, 1));
                queue.shutdown();
                let n = queue.statistics();
                assert_eq!((n.len, n.putters, n.shut_down), (1, 0, true));
                queue.task_done();
                queue.task_done();
            }};
        }
        queue!(Queue);
        queue!(LifoQueue);
        queue!(PriorityQueue);

        macro_rules! semaphore {
            ($Semaphore:ident) => {{
                let semaphore = Rc::new($Semaphore::new(3));
                let held = semaphore.acquire();
                let s = semaphore.clone();
                waits.push(wait(Box::new(move || drop(s.acquire_many(3)))));
                let n = semaphore.statistics();
                assert_eq!((n.available, n.waiting), (2, 1));
                drop(held);
                waits.pop().unwrap().join().unwrap();
                let n = semaphore.statistics();
                assert_eq!((n.available, n.waiting), (3, 0));
            }};
        }
        semaphore!(Semaphore);
        semaphore!(BoundedSemaphore);

        let pair = Rc::new((Mutex::new(()), Condvar::new()));
        let p = pair.clone();
        waits.push(wait(Box::new(move || p.1.wait(&mut p.0.lock()))));
        assert_eq!(pair.1.statistics().waiting, 1);
        pair.1.notify_one();
        assert_eq!(pair.1.statistics().waiting, 0);

        let pool = Pool::new(1);
        let never = Rc::new(Event::new());
        let n = never.clone();
        drop(pool.spawn(move || n.wait()));
        let p = pool.clone();
        waits.push(wait(Box::new(move || drop(p.spawn(|| ())))));
        let n = pool.statistics();
        assert_eq!((n.size, n.members, n.free, n.waiting), (1, 1, 0, 1));
        never.set();
        pool.join();
        waits.into_iter().for_each(|g| g.join().unwrap());
        pool.join();
        let n = pool.statistics();
        assert_eq!((n.members, n.free, n.waiting), (0, 1, 0));

        let threads = Rc::new(greenlet::ThreadPool::new(1));
        let (go, gone) = mpsc::channel::<()>();
        let (begin, begun) = mpsc::channel();
        let t = threads.clone();
        let first = wait(Box::new(move || {
            t.unblock(move || {
                begin.send(()).unwrap();
                // An error: `go` is dropped.
                let _ = gone.recv();
            });
        }));
        let t = threads.clone();
        let second = wait(Box::new(move || t.unblock(|| ())));
        begun.recv().unwrap();
        let n = threads.statistics();
        assert_eq!((n.threads, n.busy, n.queued, n.max_threads), (1, 1, 1, 1));
        drop(go);
        first.join().unwrap();
        second.join().unwrap();
    });
}

// ---- the watchdog ----

/// Holds a hub up until the watchdog says so.
#[test]
fn watchdog_names_who_holds_a_hub_up() {
    let (tell, told) = mpsc::channel();
    let dog = watchdog(ms(20), move |held| {
        let _ = tell.send(held.clone());
    });
    let dog = dog.unwrap();
    let worker = hub_thread("watched");
    let (go, gone) = mpsc::channel::<()>();
    let (ready, is_ready) = mpsc::channel();
    let place = next!();
    let g = worker.handle().spawn(move || {
        sleep(ms(1)); // not the first turn
        ready.send(()).unwrap();
        gone.recv().unwrap();
    });
    is_ready.recv().unwrap();
    let mine = |id| {
        loop {
            let held: greenlet::HeldUp = told.recv_timeout(HANGS).expect("it should be told");
            if held.runner.id == id {
                return held;
            }
        }
    };
    let held = mine(g.id());
    assert_eq!((&*held.thread, &held.runner.name), ("watched", &None));
    assert!(
        held.runner
            .spawned_at
            .unwrap()
            .to_string()
            .starts_with(&place)
    );
    assert!(held.length >= ms(20));
    let text = held.to_string();
    assert!(
        text.starts_with("the hub of thread 'watched' has been held up for "),
        "{text}"
    );
    assert!(
        text.contains(&format!(" by #{}, spawned at {place}", g.id())),
        "{text}"
    );
    // Who asks in vain learns it too.
    let asked = worker.handle().dump(ms(1));
    let HubAnswer::Missing { runner, .. } = &asked.hubs[0].answer else {
        panic!("{asked}")
    };
    assert_eq!(*runner, Some(held.runner));
    assert!(
        asked
            .to_string()
            .contains(&format!("; it runs #{}, spawned at", g.id()))
    );
    let json: Value = serde_json::from_str(&asked.to_json()).unwrap();
    assert_eq!(json["hubs"][0]["runner"]["id"], g.id());
    // Once for each slice: this one goes on for several looks more.
    let until = Instant::now() + ms(100);
    while let Ok(held) = told.recv_timeout(until.saturating_duration_since(Instant::now())) {
        assert_ne!(held.runner.id, g.id());
    }
    go.send(()).unwrap();
    g.join().unwrap();
    // And each slice anew.
    let (go, gone) = mpsc::channel::<()>();
    let g = worker.handle().spawn(move || {
        gone.recv().unwrap();
        yield_now();
        spawn(|| sleep(ms(1))).join().unwrap();
        gone.recv().unwrap();
    });
    mine(g.id());
    go.send(()).unwrap();
    mine(g.id());
    go.send(()).unwrap();
    g.join().unwrap();
    end(worker);
    drop(dog);
}

/// The hub is made, and its root waits, after the watchdog: there is no turn before the first slice.
#[test]
fn watchdog_sees_the_first_slice_of_a_hub() {
    let (tell, told) = mpsc::channel();
    let dog = watchdog(ms(20), move |held| {
        let _ = tell.send(held.runner.id);
    });
    let _dog = dog.unwrap();
    run(|| {
        let g = spawn(move || {
            let me = greenlet::current().id();
            while told.recv_timeout(HANGS).expect("it should be told") != me {}
        });
        g.join().unwrap();
    });
}

/// Who gives way in time is not told of, however long it runs.
#[test]
fn watchdog_tells_only_of_those_who_do_not_give_way() {
    let limit = ms(200);
    let held: Arc<Mutex<Vec<greenlet::HeldUp>>> = Arc::default();
    let (tell, told) = mpsc::channel();
    let dog = watchdog(limit, {
        let held = held.clone();
        move |one| {
            held.lock().unwrap().push(one.clone());
            let _ = tell.send(one.runner.id);
        }
    });
    let (busy, polite) = (hub_thread("busy"), hub_thread("polite"));
    let stop = Arc::new(AtomicBool::new(false));
    // One alone, so that each of its slices looks like the last.
    let other = polite.handle().spawn({
        let stop = stop.clone();
        move || {
            let (mut longest, mut last) = (Duration::ZERO, Instant::now());
            while !stop.load(Ordering::Relaxed) {
                yield_now();
                longest = longest.max(last.elapsed());
                last = Instant::now();
            }
            longest
        }
    });
    let (go, gone) = mpsc::channel::<()>();
    let g = busy.handle().spawn(move || {
        sleep(ms(1));
        gone.recv().unwrap();
    });
    while told.recv_timeout(HANGS).expect("it should be told") != g.id() {}
    go.send(()).unwrap();
    g.join().unwrap();
    stop.store(true, Ordering::Relaxed);
    let id = other.id();
    // The system may have stopped the thread for so long.
    let slow = other.join().unwrap() >= limit / 2;
    drop(dog);
    let told_of = held.lock().unwrap().iter().any(|one| one.runner.id == id);
    assert!(slow || !told_of, "{held:?}");
    end(busy);
    end(polite);
}

/// A hub that has nothing to do is held up by nobody, whoever ran last.
#[test]
fn watchdog_rests_with_a_hub_that_sleeps() {
    // The system may stop a thread for a while, but hardly for so long in its few instructions.
    let limit = ms(100);
    let (tell, told) = mpsc::channel();
    let dog = watchdog(limit, move |held| {
        let _ = tell.send(held.runner.id);
    });
    let (busy, quiet) = (hub_thread("busy one"), hub_thread("quiet one"));
    let slept = Arc::new(Event::new());
    let waits = slept.clone();
    let sleeper = quiet.handle().spawn(move || {
        sleep(ms(1));
        waits.wait();
    });
    let (go, gone) = mpsc::channel::<()>();
    let g = busy.handle().spawn(move || {
        sleep(ms(1));
        yield_now();
        gone.recv().unwrap();
    });
    let mut all = Vec::new();
    // Until one is told of that was held up later, and for some looks more.
    while all.last() != Some(&g.id()) {
        all.push(told.recv_timeout(HANGS).expect("it should be told"));
    }
    let until = Instant::now() + 5 * limit;
    while let Ok(id) = told.recv_timeout(until.saturating_duration_since(Instant::now())) {
        all.push(id);
    }
    go.send(()).unwrap();
    g.join().unwrap();
    slept.set();
    let id = sleeper.id();
    sleeper.join().unwrap();
    assert!(!all.contains(&id), "{all:?}");
    drop(dog);
    end(busy);
    end(quiet);
}

/// A root that does other things while it has greenlets, and one that has none.
#[test]
fn watchdog_knows_roots() {
    let (tell, told) = mpsc::channel();
    let dog = watchdog(ms(20), move |held| {
        let _ = tell.send((held.thread.clone(), held.runner.clone(), held.to_string()));
    });
    let root = |name: &str, greenlets: bool| {
        let (go, gone) = mpsc::channel::<()>();
        let thread = std::thread::Builder::new().name(name.to_owned());
        let thread = thread.spawn(move || {
            run(|| {
                sleep(ms(1)); // it is watched from here on
                if greenlets {
                    drop(spawn(|| sleep(HANGS)));
                }
                sleep(ms(1));
                gone.recv().unwrap();
            })
        });
        (go, thread.unwrap())
    };
    let (go_alone, alone) = root("root alone", false);
    let (go, beside) = root("root beside", true);
    // Both have been seen as often when the one is told of; and then some more.
    let mut all: Vec<(String, greenlet::Runner, String)> = Vec::new();
    while all.last().is_none_or(|one| one.0 != "root beside") {
        all.push(told.recv_timeout(HANGS).expect("it holds a greenlet up"));
    }
    let (_, runner, text) = all.last().unwrap();
    assert_eq!((runner.id, runner.spawned_at), (0, None));
    assert!(text.ends_with(" by the root"), "{text}");
    let until = Instant::now() + ms(100);
    while let Ok(one) = told.recv_timeout(until.saturating_duration_since(Instant::now())) {
        all.push(one);
    }
    assert!(all.iter().all(|one| one.0 != "root alone"), "{all:?}");
    go.send(()).unwrap();
    go_alone.send(()).unwrap();
    alone.join().unwrap();
    beside.join().unwrap();
    drop(dog);
}

/// What it tells may panic, and may end the watchdog itself.
#[test]
fn watchdog_survives_what_it_calls() {
    let (tell, told) = mpsc::channel();
    let own: Arc<Mutex<Option<Watchdog>>> = Arc::default();
    let slot = own.clone();
    // Its lock is held until the watchdog is in it.
    let mut held = own.lock().unwrap();
    let dog = watchdog(ms(5), move |held| {
        tell.send(held.runner.id).unwrap();
        // Nobody else is there who could: it drops itself, on its own thread.
        drop(slot.lock().unwrap().take());
        panic!("on purpose");
    });
    *held = Some(dog.unwrap());
    drop(held);
    let worker = hub_thread("panics");
    let g = worker.handle().spawn(move || {
        sleep(ms(1));
        // Until the watchdog is gone, and `told`'s other end with it.
        while told.recv().is_ok() {}
    });
    g.join().unwrap();
    end(worker);
}

#[test]
fn watchdog_without_a_limit() {
    assert!(panics(|| watchdog(Duration::ZERO, Watchdog::print)).contains("limit of zero"));
}

// ---- panics that nobody reads ----

/// A panic that the hook was told of. The hook is the process's, so tests look for their own
/// messages.
#[derive(Clone, Debug, PartialEq)]
struct Told {
    message: String,
    name: Option<String>,
    id: u64,
    place: String,
}

static TOLD: Mutex<Vec<Told>> = Mutex::new(Vec::new());

fn listen() {
    greenlet::set_unjoined_panic_hook(|panic| {
        // Those of other tests may carry anything.
        let Some(text) = panic.payload.downcast_ref::<&str>() else {
            return;
        };
        assert_eq!(panic.message, *text);
        TOLD.lock().unwrap().push(Told {
            message: String::from(*text),
            name: panic.runner.name.as_deref().map(String::from),
            id: panic.runner.id,
            place: panic.runner.spawned_at.expect("a greenlet").to_string(),
        });
        match *text {
            "hook: panic" => panic!("in the hook"),
            "hook: wait" => sleep(ms(1)),
            "hook: again" => drop(spawn(|| panic!("hook: the second"))),
            "hook: set" => listen(),
            _ => {}
        }
    });
}

fn told(message: &str) -> Vec<Told> {
    let all = TOLD.lock().unwrap();
    all.iter()
        .filter(|one| one.message == message)
        .cloned()
        .collect()
}

/// The handle goes before the end, or after it, here or elsewhere.
#[test]
fn unjoined_panics_are_told_once() {
    listen();
    run(|| {
        let place = next!();
        let g = builder("early").spawn(|| panic!("dropped early")).unwrap();
        let id = g.id();
        drop(g);
        assert_eq!(told("dropped early"), []);
        yield_now();
        let [early] = &told("dropped early")[..] else {
            panic!("{:?}", told("dropped early"))
        };
        assert_eq!((early.name.as_deref(), early.id), (Some("early"), id));
        assert!(early.place.starts_with(&place), "{early:?}");
        let g = spawn(|| panic!("dropped late"));
        g.wait();
        assert!(!g.is_successful() && g.value().is_none());
        assert_eq!(told("dropped late"), []);
        drop(g);
        assert_eq!(told("dropped late").len(), 1);
        let g = spawn(|| panic!("dropped elsewhere"));
        g.wait();
        std::thread::spawn(move || drop(g)).join().unwrap();
        assert_eq!(told("dropped elsewhere").len(), 1);
        // Waiting for all of a group is not to join its members.
        let (group, pool) = (Group::new(), Pool::new(2));
        drop(group.spawn(|| panic!("in a group")));
        drop(pool.spawn(|| panic!("in a pool")));
        group.join();
        pool.join();
        yield_now();
        assert_eq!((told("in a group").len(), told("in a pool").len()), (1, 1));
        // A map gives the first failure, and no other.
        let error = pool.map([1, 2, 3], |n| -> i32 {
            match n {
                1 => panic!("first of a map"),
                _ => panic!("in a map"),
            }
        });
        assert!(error.unwrap_err().error.is_panic());
        assert_eq!(
            (told("first of a map").len(), told("in a map").len()),
            (0, 2)
        );
        // Nor is it to give up the rest of a lazy one.
        let mut results = pool.imap_unordered([1, 2], |n| match n {
            1 => 1,
            _ => panic!("in a lazy map"),
        });
        results.next().unwrap().unwrap();
        pool.join();
        drop(results);
        yield_now();
        assert_eq!(told("in a lazy map").len(), 1);
    });
    let worker = hub_thread("panics elsewhere");
    drop(worker.handle().spawn(|| panic!("on another hub")));
    end(worker);
    // Its end may have come before its first turn: then it was killed.
    assert!(told("on another hub").len() <= 1);
}

#[test]
fn panics_that_somebody_knows_of_are_not_unjoined() {
    listen();
    run(|| {
        let known = || spawn(|| panic!("known"));
        assert!(known().join().is_err());
        assert!(greenlet::join_all([known(), known()])[1].is_err());
        let g = known();
        g.wait();
        assert!(g.error().is_some());
        drop(g);
        // A link before the end, and one after it.
        let g = known();
        g.link(|outcome: &Result<(), _>| assert!(outcome.is_err()));
        drop(g);
        yield_now();
        let g = known();
        g.wait();
        g.link(|outcome: &Result<(), _>| assert!(outcome.is_err()));
        drop(g);
        let pool = Pool::new(2);
        let fails = |_: i32| -> i32 { panic!("known") };
        assert!(pool.map([1], fails).is_err());
        assert!(pool.imap([1], fails).next().is_some_and(|r| r.is_err()));
        // Whoever has the error has its payload.
        assert!(known().join().unwrap_err().into_panic().is_ok());
        let said = panics(|| {
            scope(|s| {
                s.spawn(|| panic!("known"));
                s.spawn(|| sleep(HANGS));
            })
        });
        assert_eq!(said, "known");
        scope(|s| assert!(s.spawn(|| panic!("known")).join().is_err()));
        // A kill is no panic.
        let killed = spawn(|| sleep(HANGS));
        yield_now();
        killed.kill();
        killed.wait();
        drop(killed);
    });
    assert_eq!(told("known"), []);
}

/// It runs under no lock, and its panic is nobody's; only a wait is refused.
#[test]
fn unjoined_panic_hook_may_do_what_it_likes_but_wait() {
    listen();
    run(|| {
        for message in ["hook: panic", "hook: wait", "hook: again", "hook: set"] {
            drop(spawn(move || std::panic::panic_any(message)));
            yield_now();
            assert_eq!(told(message).len(), 1, "{message}");
        }
        yield_now();
        assert_eq!(told("hook: the second").len(), 1);
        // Where the handle is dropped, also by an unwind.
        let g = spawn(|| std::panic::panic_any("hook: panic"));
        g.wait();
        let said = panics(move || {
            let _g = g;
            panic!("on purpose");
        });
        assert_eq!(said, "on purpose");
        assert_eq!(told("hook: panic").len(), 2);
    });
}

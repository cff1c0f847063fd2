//! The deadlock panic outside of a Simulation is certain only in a process with one thread. libtest makes threads, so this
//! is a program of its own (`harness = false`): it runs itself again for each scenario, and looks at how that child ended.

use std::any::Any;
use std::cell::Cell;
use std::io::Read;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::{Command, ExitCode, Stdio};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use greenlet::sync::{Event, Queue, Semaphore};
use greenlet::{
    Builder, HubHandle, JoinError, run, scope, shield, sleep, spawn, spawn_later, timeout,
    watchdog, yield_now,
};

const SCENARIO: &str = "GREENLET_TEST_SCENARIO";

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn text(payload: &(dyn Any + Send)) -> String {
    payload
        .downcast_ref::<&str>()
        .map(|s| (*s).to_owned())
        .or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_default()
}

#[track_caller]
fn deadlock(f: impl FnOnce()) -> String {
    let payload = catch_unwind(AssertUnwindSafe(f)).expect_err("a certain deadlock must panic");
    let said = text(&*payload);
    assert!(said.contains("deadlock"), "another panic: {said}");
    said
}

#[track_caller]
fn line_with<'a>(report: &'a str, part: &str) -> &'a str {
    let found: Vec<_> = report.lines().filter(|l| l.contains(part)).collect();
    assert_eq!(found.len(), 1, "{part:?} must be in one line of\n{report}");
    found[0]
}

/// The time in a line of a report, in seconds.
#[track_caller]
fn since(line: &str) -> f64 {
    let time = line
        .rsplit(" for ")
        .next()
        .unwrap()
        .split([',', ';'])
        .next()
        .unwrap();
    for (unit, factor) in [("ns", 1e-9), ("µs", 1e-6), ("ms", 1e-3), ("s", 1.0)] {
        if let Some(n) = time.strip_suffix(unit) {
            return n.parse::<f64>().expect("a number") * factor;
        }
    }
    panic!("no time in {line}");
}

fn deadlock_panics_with_one_line_a_greenlet() {
    let (event, q, s) = (
        Rc::new(Event::new()),
        Rc::new(Queue::<u8>::unbounded()),
        Semaphore::new(0),
    );
    let places = Rc::new(Cell::new((0, 0)));
    let named = Builder::new()
        .name("the waiter")
        .spawn({
            let (event, places) = (event.clone(), places.clone());
            move || {
                places.set((line!() + 1, 0));
                event.wait();
            }
        })
        .unwrap();
    let nameless = spawn({
        let (q, places) = (q.clone(), places.clone());
        move || {
            sleep(ms(20));
            places.set((places.get().0, line!() + 1));
            q.get().unwrap()
        }
    });
    let ended = spawn(|| ());
    let ended_id = ended.id();
    ended.join().unwrap();
    let root_line = line!() + 1;
    let report = deadlock(|| s.acquire().forget());
    let (first, second) = places.get();
    let line = line_with(&report, "'the waiter'");
    let place = format!("Event::wait at {}:{first}:", file!());
    assert!(
        line.contains(&format!("#{}", named.id())) && line.contains(&place),
        "{line}\nlacks {place}"
    );
    let waited = since(line);
    assert!(
        waited >= 0.019,
        "it waits since before the other's sleep of 20 ms: {line}"
    );
    let line = line_with(&report, &format!("#{} ", nameless.id()));
    let place = format!("Queue::get at {}:{second}:", file!());
    assert!(line.contains(&place), "{line}\nlacks {place}");
    assert!(since(line) < waited, "{report}");
    let line = line_with(&report, "Semaphore::acquire");
    assert!(
        line.contains(&format!("at {}:{root_line}:", file!())),
        "{line}"
    );
    assert!(
        !report.contains(&format!("#{ended_id} ")),
        "an ended one is not listed: {report}"
    );
    // The root has its panic, the others still wait, nothing is lost.
    event.set();
    q.put(7).unwrap();
    named.join().unwrap();
    assert_eq!(nameless.join().unwrap(), 7);
    s.release();
    s.acquire().forget();
}

fn deadlock_is_found_again_after_it_was_caught() {
    let g = spawn(|| Event::new().wait());
    for _ in 0..3 {
        assert!(deadlock(|| g.wait()).contains("Greenlet::wait"));
    }
    g.kill();
    assert!(g.join().unwrap_err().is_killed());
}

fn deadlock_reaches_each_kind_of_wait_of_the_root() {
    let (event, q) = (Event::new(), Queue::<u8>::rendezvous());
    HubHandle::current();
    let waits: [(&str, &dyn Fn()); 5] = [
        ("Event::wait", &|| event.wait()),
        ("Queue::get", &|| {
            let _ = q.get();
        }),
        ("Queue::put", &|| {
            let _ = q.put(1);
        }),
        ("wait_any", &|| {
            greenlet::wait_any(&[&event]);
        }),
        ("wait_all", &|| greenlet::wait_all(&[&event])),
    ];
    for (operation, wait) in waits {
        let report = deadlock(wait);
        assert!(
            report.contains(&format!("{operation} at {}:", file!())),
            "{report}"
        );
    }
    assert!(format!("{event:?} {q:?}").contains("waiting: 0"));
    assert!(format!("{q:?}").contains("getters: 0, putters: 0"), "{q:?}");
}

fn deadlock_at_the_end_of_a_scope_kills_the_children_first() {
    let unwound = Cell::new(0);
    let never = Event::new();
    let report = deadlock(|| {
        scope(|s| {
            for _ in 0..2 {
                s.spawn(|| {
                    struct Count<'a>(&'a Cell<u32>);
                    impl Drop for Count<'_> {
                        fn drop(&mut self) {
                            self.0.set(self.0.get() + 1);
                        }
                    }
                    let _count = Count(&unwound);
                    never.wait();
                });
            }
        });
    });
    assert_eq!(unwound.get(), 2, "{report}");
}

fn deadlock_inside_a_timeout_waits_for_the_timeout() {
    let event = Event::new();
    HubHandle::current();
    assert!(timeout(ms(30), || event.wait()).is_err());
    assert!(!event.wait_timeout(ms(30)));
}

fn deadlock_inside_limits_that_never_end_is_found() {
    HubHandle::current();
    let report = deadlock(|| {
        let _ = timeout(Duration::MAX, || Event::new().wait());
    });
    assert!(report.contains("Event::wait"), "{report}");
    deadlock(|| {
        let _ = Event::new().wait_timeout(Duration::MAX);
    });
    // The limits are gone with their waits.
    assert!(!Event::new().wait_timeout(ms(30)));
    deadlock(|| Event::new().wait());
}

/// To sleep for ever is to wait for what never comes.
fn deadlock_of_those_who_sleep_for_ever_is_found() {
    let sleeper = spawn(|| sleep(Duration::MAX));
    let report = deadlock(|| sleeper.wait());
    assert!(line_with(&report, "#1").contains("sleep at"), "{report}");
    deadlock(|| sleep(Duration::MAX));
    let unborn = spawn_later(Duration::MAX, || ());
    deadlock(|| unborn.wait());
    sleeper.kill();
    unborn.kill();
    assert!(sleeper.join().is_err() && unborn.join().is_err());
}

/// Nothing has made its hub yet.
fn deadlock_of_a_thread_without_a_hub_is_found() {
    let report = deadlock(|| Event::new().wait());
    let line = line_with(&report, "Event::wait");
    assert!(
        line.contains("thread 'main'") && line.contains("tests/single_thread.rs:"),
        "{line}"
    );
    assert!(since(line) >= 0.1, "{line}");
    deadlock(|| {
        let _ = Queue::rendezvous().put(1);
    });
    deadlock(|| {
        let _ = Queue::<u8>::unbounded().get();
    });
    deadlock(|| {
        let _ = timeout(Duration::MAX, || Event::new().wait());
    });
    deadlock(|| {
        let (one, other) = (Event::new(), Event::new());
        greenlet::wait_any(&[&one, &other]);
    });
    deadlock(|| {
        let (event, queue) = (Event::new(), Queue::<u8>::unbounded());
        greenlet::select! { wait(event) => {}, get(queue) -> _ => {} }
    });
    deadlock(|| greenlet::block_on(std::future::pending::<()>()));
    deadlock(|| drop(Semaphore::new(0).acquire()));
    deadlock(|| sleep(Duration::MAX));
    // Each has left its line, and the thread waits as before.
    let event = Event::new();
    deadlock(|| event.wait());
    event.set();
    event.wait();
    assert!(!Event::new().wait_timeout(ms(30)));
}

fn deadlock_inside_run_is_a_panic_of_run() {
    let report = deadlock(|| run(|| Event::new().wait()));
    assert!(report.contains("Event::wait"), "{report}");
    assert_eq!(run(|| spawn(|| 1).join().unwrap()), 1);
}

/// Its thread wakes nobody, unless it has something to tell.
fn deadlock_is_certain_beside_a_watchdog() {
    let began = Arc::new(AtomicUsize::new(0));
    let dog = watchdog(ms(10), {
        let began = began.clone();
        move |_| {
            began.fetch_add(1, Ordering::SeqCst);
            std::thread::sleep(ms(300));
        }
    });
    let never = Event::new();
    let _hub = HubHandle::current();
    // At once after it has begun.
    deadlock(|| never.wait());
    let held = spawn(move || {
        sleep(ms(1));
        while began.load(Ordering::SeqCst) == 0 {
            std::hint::spin_loop();
        }
    });
    held.join().unwrap();
    // It acts, and could wake somebody; it is a deadlock when it has not.
    deadlock(|| never.wait());
    drop(dog);
    deadlock(|| never.wait());
}

/// What it tells may wake somebody, as long as it goes on; and afterwards there is a deadlock again.
fn no_deadlock_while_the_watchdog_acts() {
    let event = Arc::new(Event::new());
    let began = Arc::new(AtomicUsize::new(0));
    let _dog = watchdog(ms(10), {
        let (event, began) = (event.clone(), began.clone());
        move |_| {
            began.fetch_add(1, Ordering::SeqCst);
            // The hub has nothing to do long before this is over.
            std::thread::sleep(ms(300));
            event.set();
        }
    });
    let held = spawn(move || {
        sleep(ms(1));
        while began.load(Ordering::SeqCst) == 0 {
            std::hint::spin_loop();
        }
    });
    held.join().unwrap();
    event.wait();
    let never = Event::new();
    deadlock(|| never.wait());
}

fn no_alarm_while_a_timer_is_pending() {
    let event = Rc::new(Event::new());
    let waiter = spawn({
        let event = event.clone();
        move || event.wait()
    });
    spawn({
        let event = event.clone();
        move || {
            sleep(ms(30));
            event.set();
        }
    });
    waiter.join().unwrap();
    greenlet::spawn_later(ms(30), || ()).join().unwrap();
}

fn no_alarm_while_another_thread_lives() {
    // Without a hub, and with one.
    for _ in 0..2 {
        let event = Arc::new(Event::new());
        let other = std::thread::spawn({
            let event = event.clone();
            move || {
                std::thread::sleep(ms(250)); // beyond the first question
                event.set();
            }
        });
        event.wait();
        other.join().unwrap();
        // And it is alone again, so that the next one is certain.
        deadlock(|| Event::new().wait());
        HubHandle::current();
    }
}

/// The hub asks for the number of threads now and then only, while wakes come quickly.
fn deadlock_is_certain_soon_after_another_thread_has_ended() {
    let (to, from) = (Arc::new(Queue::unbounded()), Arc::new(Queue::unbounded()));
    let (there, back) = (to.clone(), from.clone());
    let other = std::thread::spawn(move || {
        for _ in 0..200 {
            back.put(there.get().unwrap()).unwrap();
        }
    });
    HubHandle::current();
    for i in 0..200 {
        to.put(i).unwrap();
        assert_eq!(from.get().unwrap(), i);
    }
    other.join().unwrap();
    deadlock(|| Event::new().wait());
}

/// It is asked for again and again: the first answers are that there is another thread.
fn deadlock_is_certain_when_the_last_other_thread_has_ended_during_the_wait() {
    let short_lived = || {
        std::thread::spawn(|| std::thread::sleep(ms(150)));
    };
    short_lived();
    deadlock(|| Event::new().wait());
    let _hub = HubHandle::current();
    short_lived();
    deadlock(|| Event::new().wait());
    // Who leaves as soon as there is nothing to do.
    greenlet::ThreadPool::global().set_keep_alive(ms(150));
    greenlet::unblock(|| ());
    deadlock(|| Event::new().wait());
}

fn no_alarm_if_the_last_thing_of_another_thread_was_a_wake() {
    for i in 0..400 {
        let event = Arc::new(Event::new());
        if i == 200 {
            HubHandle::current();
        }
        std::thread::spawn({
            let event = event.clone();
            move || event.set()
        });
        event.wait();
        let handle = HubHandle::current();
        let (sent, inbox) = (Arc::new(Queue::unbounded()), handle.clone());
        std::thread::spawn({
            let sent = sent.clone();
            move || sent.put(inbox.spawn(|| 5)).unwrap()
        });
        assert_eq!(sent.get().unwrap().join().unwrap(), 5);
    }
}

fn thread_whose_end_closes_a_greenlet_that_the_last_thread_waits_for() {
    for _ in 0..20 {
        let (sender, receiver) = std::sync::mpsc::channel();
        let other = std::thread::spawn(move || {
            sender.send(spawn(|| Event::new().wait())).unwrap();
            yield_now();
        });
        HubHandle::current();
        let g = receiver.recv().unwrap();
        assert!(matches!(g.join(), Err(JoinError::HubClosed)));
        other.join().unwrap();
    }
}

fn no_alarm_while_a_limit_of_a_thread_without_a_hub_is_pending() {
    let event = Event::new();
    assert!(!event.wait_timeout(ms(20)));
    assert!(timeout(ms(20), || event.wait()).is_err());
    sleep(ms(1));
}

/// A kill that acts at the same time as the end: no greenlet is left, so none can be blamed.
fn deadlock_lists_those_that_a_kill_could_not_end() {
    let g = Builder::new()
        .name("shielded")
        .spawn(|| shield(|| Event::new().wait()))
        .unwrap();
    yield_now();
    g.kill();
    let report = deadlock(|| g.wait());
    let line = line_with(&report, "'shielded'");
    assert!(
        line.contains("Event::wait") && line.contains("killed"),
        "{line}"
    );
}

type Scenario = (&'static str, fn());

macro_rules! scenarios {
    ($($name:ident,)*) => { &[$((stringify!($name), $name as fn())),*] };
}

const SCENARIOS: &[Scenario] = scenarios![
    deadlock_panics_with_one_line_a_greenlet,
    deadlock_is_found_again_after_it_was_caught,
    deadlock_reaches_each_kind_of_wait_of_the_root,
    deadlock_at_the_end_of_a_scope_kills_the_children_first,
    deadlock_inside_a_timeout_waits_for_the_timeout,
    deadlock_inside_limits_that_never_end_is_found,
    deadlock_of_those_who_sleep_for_ever_is_found,
    deadlock_of_a_thread_without_a_hub_is_found,
    deadlock_inside_run_is_a_panic_of_run,
    deadlock_lists_those_that_a_kill_could_not_end,
    deadlock_is_certain_beside_a_watchdog,
    no_deadlock_while_the_watchdog_acts,
    no_alarm_while_a_timer_is_pending,
    no_alarm_while_another_thread_lives,
    deadlock_is_certain_soon_after_another_thread_has_ended,
    deadlock_is_certain_when_the_last_other_thread_has_ended_during_the_wait,
    no_alarm_if_the_last_thing_of_another_thread_was_a_wake,
    no_alarm_while_a_limit_of_a_thread_without_a_hub_is_pending,
    thread_whose_end_closes_a_greenlet_that_the_last_thread_waits_for,
];

/// A child that takes so long hangs.
const HANGS: Duration = Duration::from_secs(30);

/// What is wrong with the child of that scenario, if anything is.
fn child(name: &str) -> Result<(), String> {
    let mut process = Command::new(std::env::current_exe().unwrap())
        .env(SCENARIO, name)
        .env("RUST_BACKTRACE", "0")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|e| e.to_string())?;
    let mut pipe = process.stderr.take().unwrap();
    let (sender, receiver) = std::sync::mpsc::channel();
    let reader = std::thread::spawn(move || {
        let mut said = Vec::new();
        pipe.read_to_end(&mut said).unwrap();
        sender.send(()).unwrap();
        String::from_utf8_lossy(&said).into_owned()
    });
    let hangs = receiver.recv_timeout(HANGS).is_err();
    if hangs {
        process.kill().unwrap();
    }
    let status = process.wait().map_err(|e| e.to_string())?;
    let said = reader.join().unwrap();
    match (hangs, status.success()) {
        (true, _) => Err(format!("hangs\n{said}")),
        (false, false) => Err(format!("{status}\n{said}")),
        (false, true) => Ok(()),
    }
}

fn main() -> ExitCode {
    if let Ok(wanted) = std::env::var(SCENARIO) {
        let (_, scenario) = SCENARIOS.iter().find(|(name, _)| *name == wanted).unwrap();
        scenario();
        return ExitCode::SUCCESS;
    }
    let args: Vec<String> = std::env::args().skip(1).collect();
    if args.iter().any(|a| a == "--list") {
        SCENARIOS
            .iter()
            .for_each(|(name, _)| println!("{name}: test"));
        return ExitCode::SUCCESS;
    }
    // Without /proc nobody knows the number of threads, and promise 10 cannot be kept outside of a Simulation.
    let counts = std::path::Path::new("/proc/self/task").exists();
    let (mut filters, mut skips) = (vec![], vec![]);
    let mut rest = args.iter();
    while let Some(arg) = rest.next() {
        match arg.as_str() {
            "--skip" => skips.extend(rest.next()),
            option if option.starts_with('-') => {}
            _ => filters.push(arg),
        }
    }
    let chosen = SCENARIOS.iter().filter(|(name, _)| {
        counts
            && (filters.is_empty() || filters.iter().any(|f| name.contains(*f)))
            && !skips.iter().any(|s| name.contains(*s))
    });
    let (mut passed, mut failed) = (0, vec![]);
    for (name, _) in chosen {
        match child(name) {
            Ok(()) => {
                passed += 1;
                println!("test {name} ... ok");
            }
            Err(why) => {
                println!("test {name} ... FAILED");
                failed.push((name, why));
            }
        }
    }
    for (name, why) in &failed {
        println!("\n---- {name} ----\n{why}");
    }
    let result = if failed.is_empty() { "ok" } else { "FAILED" };
    let left_out = SCENARIOS.len() - passed - failed.len();
    println!(
        "\ntest result: {result}. {passed} passed; {} failed; 0 ignored; 0 measured; {left_out} filtered out\n",
        failed.len()
    );
    if failed.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

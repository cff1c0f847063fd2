//! The whole crate in one walk: `cargo run --example tour`.
//!
//! Greenlets are written in plain blocking style. Each runs until it waits for something;
//! then another one that is ready runs. All of them live on this one thread, so what is
//! printed comes in the same order every time: as in `tour.out`, which a test compares.

use greenlet::sync::{AsyncResult, BoundedSemaphore, Event, Queue};
use greenlet::{Builder, Elapsed, Greenlet, Local, scope, sleep, timeout, yield_now};
use std::cell::Cell;
use std::time::Duration;

fn main() {
    println!("A tour of greenlet");
    five_waiters_and_a_setter();
    one_result_for_many();
    three_consumers_and_a_queue();
    six_workers_and_two_permits();
    timeouts_that_nest();
    locals_that_do_not_mix();
    the_life_of_a_greenlet();
}

/// An `Event` is a flag to wait for. Its waiters wake in the order in which they came.
fn five_waiters_and_a_setter() {
    heading("Five waiters and a setter");
    let ready = Event::new();
    // Greenlets of a scope may borrow, and have ended when the scope returns.
    scope(|s| {
        for n in 1..=5 {
            let ready = &ready;
            s.spawn(move || {
                println!("waiter {n} waits");
                ready.wait();
                println!("waiter {n} goes on");
            });
        }
        s.spawn(|| {
            sleep(ms(20));
            println!("the setter sets the event");
            ready.set(); // wakes all five, and does not wait for them
            println!("the setter is done");
        });
    });
}

/// An `AsyncResult` is set once, to a value or an error; whoever waits gets it.
fn one_result_for_many() {
    heading("One result for many");
    let answer = AsyncResult::new();
    scope(|s| {
        for reader in ["anna", "bert", "cleo"] {
            let answer = &answer;
            s.spawn(move || println!("{reader} reads {:?}", answer.wait().unwrap()));
        }
        s.spawn(|| {
            sleep(ms(20));
            println!("the answer is there: {:?}", answer.set("forty-two"));
            println!("a second one is refused: {:?}", answer.set("forty-three"));
        });
    });
    println!("later it is still {:?}", answer.value());
    let failed: AsyncResult<u32, &str> = AsyncResult::default();
    failed.set_error("no such page").unwrap();
    println!("an error comes out the same way: {:?}", failed.wait());
}

/// Every item goes to exactly one of those who get from a `Queue`.
fn three_consumers_and_a_queue() {
    heading("Three consumers and a queue");
    let jobs = Queue::unbounded();
    (1..=7).for_each(|job| jobs.put(job).unwrap());
    scope(|s| {
        for name in ["x", "y", "z"] {
            let jobs = &jobs;
            s.spawn(move || {
                while let Ok(job) = jobs.get_nowait() {
                    println!("{name} takes job {job}");
                    yield_now(); // the next one's turn
                }
                println!("{name} finds no more");
            });
        }
    });
}

/// A semaphore lets so many in at a time. A permit that is dropped goes to the first in line.
fn six_workers_and_two_permits() {
    heading("Six workers and two permits");
    let permits = BoundedSemaphore::new(2);
    // No locks, no atomics: greenlets stay on their thread, and switch only where they wait.
    let (inside, most) = (Cell::new(0), Cell::new(0));
    scope(|s| {
        for n in 1..=6 {
            let (permits, inside, most) = (&permits, &inside, &most);
            s.spawn(move || {
                let _permit = permits.acquire();
                println!("worker {n} enters");
                inside.set(inside.get() + 1);
                most.set(most.get().max(inside.get()));
                sleep(ms(20 * n)); // work of different length
                inside.set(inside.get() - 1);
            });
        }
    });
    println!("never more than {} were inside", most.get());
    println!("{} permits are free again", permits.available());
}

/// Any code can have a time limit. Limits nest, and each catches only its own expiry, so it
/// is clear which one was over.
fn timeouts_that_nest() {
    heading("Timeouts that nest");
    /// This program's own error.
    #[derive(Debug)]
    enum TooLong {
        ThisPage(Elapsed),
        AllPages(Elapsed),
    }
    fn fetch(pages: &[u64], each: u64, all: u64) -> Result<String, TooLong> {
        let fetch_all = || {
            for &page in pages {
                timeout(ms(each), || sleep(ms(page))).map_err(TooLong::ThisPage)?;
            }
            Ok(format!("{} pages", pages.len()))
        };
        timeout(ms(all), fetch_all).map_err(TooLong::AllPages)?
    }
    println!("in time:   {:?}", fetch(&[20, 20], 5_000, 9_000));
    println!("one slow:  {:?}", fetch(&[20, 9_000], 50, 5_000));
    println!("too many:  {:?}", fetch(&[60, 60, 60], 5_000, 100));
}

/// A `Local` has one value for each greenlet, and one for the thread's own stack.
fn locals_that_do_not_mix() {
    heading("Locals that do not mix");
    static USER: Local<&str> = Local::new();
    static VISITS: Local<Cell<u32>> = Local::with_init(|| Cell::new(0));

    fn visit() -> u32 {
        VISITS.with(|visits| visits.replace(visits.get() + 1) + 1)
    }
    USER.set("main");
    scope(|s| {
        for user in ["anna", "bert"] {
            s.spawn(move || {
                println!("{user} starts with {:?}", USER.get());
                USER.set(user);
                visit();
                yield_now(); // the other one works meanwhile
                println!("{:?} counts {}", USER.get(), visit());
            });
        }
    });
    println!("{:?} counts {}", USER.get(), visit());
}

/// A handle shows how far its greenlet is, and in the end its value or its error.
fn the_life_of_a_greenlet() {
    heading("The life of a greenlet");
    fn live(name: &str) -> u32 {
        yield_now();
        match name {
            "good" => 7,
            "bad" => panic!("out of luck"),
            _ => loop {
                sleep(ms(20));
            },
        }
    }
    fn show(when: &str, g: &Greenlet<u32>) {
        let (started, finished) = (g.is_started(), g.is_finished());
        let (name, value) = (g.name().unwrap(), g.value());
        println!("{name} {when}: started {started}, finished {finished}, value {value:?}");
    }

    std::panic::set_hook(Box::new(|_| ())); // the panic of "bad" is no news: not on stderr
    for name in ["good", "bad", "endless"] {
        let g = Builder::new().name(name).spawn(move || live(name)).unwrap();
        show("spawned", &g);
        yield_now();
        show("running", &g);
        if name == "endless" {
            g.kill(); // unwinds it from where it waits: destructors run
        }
        g.wait();
        show("ended", &g);
        if let Some(error) = g.error() {
            println!("{name} has an error: {error}");
        }
    }
    let _ = std::panic::take_hook();
}

fn heading(text: &str) {
    println!("\n== {text}");
}

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

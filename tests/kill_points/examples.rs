//! Programs as people write them: the parts of `examples/tour.rs`, the README's program, a pipeline as
//! `examples/pipeline.rs` over lines in memory. Each is one actor as a whole, with all that it starts inside.

use crate::stage::{Stage, explore, ms};
use greenlet::sync::{AsyncResult, BoundedSemaphore, Event, Queue};
use greenlet::{Builder, Elapsed, Local, join_all, scope, sleep, timeout, yield_now};
use std::cell::{Cell, RefCell};

/// Acts a whole program, disturbed, beside another one that is not.
fn explore_whole<R: 'static>(program: fn(&Stage) -> R) {
    explore(|stage| {
        stage.actor(move |a| drop(a.waits("the program", || program(&a.stage))));
        stage.actor(|a| (0..2).for_each(|_| a.sleeps(1)));
    });
}

fn five_waiters_and_a_setter(stage: &Stage) -> Vec<u32> {
    let (ready, log) = (Event::new(), RefCell::new(vec![]));
    scope(|s| {
        for n in 1..=5 {
            let (ready, log, witness) = (&ready, &log, stage.witness());
            s.spawn(move || {
                let _witness = witness;
                ready.wait();
                log.borrow_mut().push(n);
            });
        }
        s.spawn(|| {
            sleep(ms(2));
            ready.set();
        });
    });
    assert!(format!("{ready:?}").contains("waiting: 0"));
    log.into_inner()
}

fn one_result_for_many(stage: &Stage) -> Vec<&'static str> {
    let (answer, log) = (AsyncResult::new(), RefCell::new(vec![]));
    scope(|s| {
        for reader in ["anna", "bert", "cleo"] {
            let (answer, log, witness) = (&answer, &log, stage.witness());
            s.spawn(move || {
                let _witness = witness;
                assert_eq!(*answer.wait().unwrap(), "forty-two");
                log.borrow_mut().push(reader);
            });
        }
        s.spawn(|| {
            sleep(ms(2));
            answer.set("forty-two").unwrap();
            assert!(answer.set("forty-three").is_err());
        });
    });
    log.into_inner()
}

fn three_consumers_and_a_queue(stage: &Stage) -> Vec<u32> {
    let (jobs, log) = (Queue::unbounded(), RefCell::new(vec![]));
    (1..=7).for_each(|job| jobs.put((job, stage.witness())).unwrap());
    scope(|s| {
        for _ in 0..3 {
            s.spawn(|| {
                while let Ok((job, _witness)) = jobs.get_nowait() {
                    log.borrow_mut().push(job);
                    yield_now();
                }
            });
        }
    });
    log.into_inner()
}

fn six_workers_and_two_permits(stage: &Stage) -> (u32, usize) {
    let permits = BoundedSemaphore::new(2);
    let (inside, most) = (Cell::new(0), Cell::new(0));
    scope(|s| {
        for n in 1..=6 {
            let (permits, inside, most, witness) = (&permits, &inside, &most, stage.witness());
            s.spawn(move || {
                let _witness = witness;
                let _permit = permits.acquire();
                inside.set(inside.get() + 1);
                most.set(most.get().max(inside.get()));
                sleep(ms(n % 3));
                inside.set(inside.get() - 1);
            });
        }
    });
    (most.get(), permits.available())
}

fn timeouts_that_nest(stage: &Stage) -> [Result<Result<usize, Elapsed>, Elapsed>; 3] {
    let fetch = |pages: &[u64], each: u64, all: u64| {
        timeout(ms(all), || {
            for &page in pages {
                let _witness = stage.witness();
                if timeout(ms(each), || sleep(ms(page))).is_err() {
                    return Err(Elapsed);
                }
            }
            Ok(pages.len())
        })
    };
    [
        fetch(&[1, 1], 50, 90),
        fetch(&[1, 90], 2, 50),
        fetch(&[2, 2, 2], 50, 5),
    ]
}

fn locals_that_do_not_mix(stage: &Stage) -> Vec<(&'static str, u32)> {
    static USER: Local<&str> = Local::new();
    static VISITS: Local<Cell<u32>> = Local::with_init(|| Cell::new(0));
    fn visit() -> u32 {
        VISITS.with(|visits| visits.replace(visits.get() + 1) + 1)
    }
    let log = RefCell::new(vec![]);
    scope(|s| {
        for user in ["anna", "bert"] {
            let (log, witness) = (&log, stage.witness());
            s.spawn(move || {
                let _witness = witness;
                assert_eq!(USER.get(), None);
                USER.set(user);
                visit();
                yield_now();
                log.borrow_mut().push((USER.get().unwrap(), visit()));
            });
        }
    });
    log.into_inner()
}

fn the_life_of_a_greenlet(stage: &Stage) -> Vec<String> {
    let mut log = vec![];
    for name in ["good", "bad", "endless"] {
        let witness = stage.witness();
        let live = move || {
            let _witness = witness;
            yield_now();
            match name {
                "good" => 7,
                // As a panic, without its message on stderr.
                "bad" => std::panic::resume_unwind(Box::new("out of luck")),
                _ => {
                    let limit = timeout(ms(20), || {
                        loop {
                            sleep(ms(2));
                        }
                    });
                    limit.unwrap_or_default()
                }
            }
        };
        let g = Builder::new().name(name).spawn(live).unwrap();
        yield_now();
        if name == "endless" {
            g.kill();
        }
        g.wait();
        log.push(format!(
            "{:?} {:?}",
            g.value(),
            g.error().map(ToString::to_string)
        ));
    }
    log
}

/// The README's, with shorter jobs.
fn readme(stage: &Stage) -> u64 {
    let (jobs, two_at_once, done) = (Queue::bounded(8), BoundedSemaphore::new(2), Cell::new(0));
    scope(|s| {
        for _ in 0..4 {
            let (jobs, two_at_once, done) = (&jobs, &two_at_once, &done);
            s.spawn(move || {
                for (job, _witness) in jobs {
                    let _permit = two_at_once.acquire();
                    sleep(ms(job % 3));
                    done.set(done.get() + job);
                }
            });
        }
        (1..=10).for_each(|job| jobs.put((job, stage.witness())).unwrap());
        jobs.shutdown();
    });
    assert_eq!(two_at_once.available(), 2);
    done.get()
}

/// As `examples/pipeline.rs`, with a greenlet as its reader.
fn pipeline(stage: &Stage) -> Result<usize, Elapsed> {
    const TEXT: &str = "one two three\nfour\n\nfive six\nseven eight nine ten\n eleven";
    let lines = Queue::bounded(2);
    let (counting, outcome) = (BoundedSemaphore::new(2), AsyncResult::<usize>::new());
    timeout(ms(50), || {
        scope(|s| {
            let reader = s.spawn(|| {
                for line in TEXT.lines() {
                    sleep(ms(1)); // reads
                    lines.put((line, stage.witness())).unwrap();
                }
            });
            let work = || {
                let mut words = 0;
                for (line, _witness) in &lines {
                    let _permit = counting.acquire();
                    words += line.split_whitespace().count();
                    yield_now();
                }
                words
            };
            let workers: Vec<_> = (0..3).map(|_| s.spawn(work)).collect();
            let (lines, outcome) = (&lines, &outcome);
            s.spawn(move || {
                let read = reader.join();
                lines.shutdown();
                let words = join_all(workers).into_iter().sum();
                // Killed ones, if this one has been given their ends before its own kill.
                let words = read.and(words);
                let _ = words.map(|words| outcome.set(words));
            });
            *outcome.wait().unwrap()
        })
    })
}

macro_rules! whole {
    ($($name:ident)+) => {
        mod whole {
            $(#[test]
            fn $name() {
                super::explore_whole(super::$name);
            })+
        }
    };
}

whole! {
    five_waiters_and_a_setter
    one_result_for_many
    three_consumers_and_a_queue
    six_workers_and_two_permits
    timeouts_that_nest
    locals_that_do_not_mix
    the_life_of_a_greenlet
    readme
    pipeline
}

#[test]
fn they_give_what_they_should() {
    greenlet::testing::Simulation::new().run(|| {
        crate::stage::alone(|stage| {
            assert_eq!(five_waiters_and_a_setter(stage), [1, 2, 3, 4, 5]);
            assert_eq!(one_result_for_many(stage), ["anna", "bert", "cleo"]);
            assert_eq!(three_consumers_and_a_queue(stage), [1, 2, 3, 4, 5, 6, 7]);
            assert_eq!(six_workers_and_two_permits(stage), (2, 2));
            let (ok, slow, many) = (Ok(Ok(2)), Ok(Err(Elapsed)), Err(Elapsed));
            assert_eq!(timeouts_that_nest(stage), [ok, slow, many]);
            assert_eq!(locals_that_do_not_mix(stage), [("anna", 2), ("bert", 2)]);
            assert_eq!(the_life_of_a_greenlet(stage).len(), 3);
            assert_eq!(readme(stage), 55);
            assert_eq!(pipeline(stage), Ok(11));
        });
    });
}

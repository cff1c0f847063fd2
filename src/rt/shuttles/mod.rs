//! shuttle models: what is too large for loom. Up to sixteen greenlets on up to four
//! hubs, under some thousands of schedules each, drawn at random and by PCT
//! (probabilistic concurrency testing: few preemptions, at random places).
//!
//! ```text
//! RUSTFLAGS="--cfg greenlet_shuttle -C debug-assertions" \
//!     cargo test --release --lib shuttles -- --test-threads=2 --nocapture
//! ```
//!
//! | variable | what it does |
//! |---|---|
//! | `GREENLET_SHUTTLE_SEED` | the seed of all schedules, 1 by default |
//! | `GREENLET_SHUTTLE_TIMES` | so many times the schedules, 1 by default |
//! | `GREENLET_SHUTTLE_REPLAY` | a file with a failing schedule: the model runs once, by it |
//!
//! A failing schedule is kept in a file of the folder `target/schedules`, whose path is
//! printed. To replay it, name its model to `cargo test` in the place of `shuttles`, and
//! the file in the variable (what shuttle says of its own functions and variables does
//! not concern us); a schedule that was sent as text can be saved to a file. It fits
//! only the code that it was recorded with.
//!
//! shuttle runs the very same code as loom does, real coroutines on real hubs. It
//! looks at interleavings only: what relaxed orders allow, only loom finds. Choices
//! inside a model come from shuttle too, so they are part of the schedule. As in the
//! loom models no time passes: limits are zero, and so expire or not as the schedule
//! has it. Each model names the ends that it must have [`Seen`].

// # Faults and the models that find them
//
// Each was put into a copy of the crate, alone, and all models run.
//
// | fault | found by (among others) |
// |---|---|
// | word: `decide` by load and store | semaphore_many, wait_any_of_three |
// | wait: a kill is raised although the wait was notified | queue_bounded, semaphore_many |
// | claim: wake not collected | all |
// | claim: gives up at the first that is leaving | queue_bounded, queue_rendezvous |
// | deliver: only the first wake of a batch | events_and_results, wait_any_of_three |
// | broadcast: stops after a batch | events_and_results, wait_any_of_three |
// | semaphore: `left` does not grant | semaphore_many (only) |
// | queue: `shutdown` does not wake putters | queue_bounded, queue_rendezvous |
// | wait_any: index 0 always | wait_any_of_three (only) |
// | wait_any: goes on although its word was lost | wait_any_of_three, events_and_results |
// | fast word: WAITERS not looked at | all |
// | inbox: no unpark on SLEEP, sleeps by a store, drain by load and store | all |
// | inbox: link of MAIL read after its mail was taken | spawn_against_hub_end, queue_unbounded |
// | mail that is left at the end is not refused | spawn_against_hub_end, all_at_once |
// | a spawn on an ended hub is not refused | spawn_against_hub_end (only) |
// | a kill from afar is lost if the record is not known | wait_any_of_three (only) |
// | hub: kill makes ready who was claimed | semaphore_many, queue_bounded |
// | hub: wakes refused from the begin of the end | all_at_once (only) |
// | shield: kills come through | join_link_kill |
// | link: outcome looked at before the lock | join_link_kill, spawn_against_hub_end |
// | publish: links unlocked before the outcome is given | join_link_kill, spawn_against_hub_end |

mod greenlets;
mod primitives;
mod selects;

use super::sync::model;
use crate::sync::{AsyncResult, Event};
use crate::{Greenlet, HubHandle, JoinError, run};
use model::rand::Rng;
use model::scheduler::{PctScheduler, RandomScheduler, ReplayScheduler, Scheduler};
use model::thread::JoinHandle;
use std::env;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

const NOW: Duration = Duration::ZERO;
/// Preemptions that a PCT schedule has at most, plus one.
const DEPTH: usize = 4;

/// Runs a model under `schedules` schedules of each kind, and says so. Over all of
/// them it has had each of its first `ends` ends.
fn explore(name: &str, schedules: usize, ends: usize, model: fn(&Seen)) {
    let seen = Seen::default();
    if let Some(file) = env::var_os("GREENLET_SHUTTLE_REPLAY") {
        let schedule = ReplayScheduler::new_from_file(file).expect("a file with a schedule");
        check(schedule, model, &seen);
        return println!("model {name}: replayed");
    }
    let seed = number("GREENLET_SHUTTLE_SEED");
    let schedules = schedules * number::<usize>("GREENLET_SHUTTLE_TIMES");
    let began = Instant::now();
    println!("model {name}: seed {seed}");
    let random = RandomScheduler::new_from_seed(seed, schedules);
    let random = check(random, model, &seen);
    let pct = PctScheduler::new_from_seed(seed, DEPTH, schedules);
    let pct = check(pct, model, &seen);
    let seen = seen.0.each_ref().map(Count::get);
    assert!(!seen[..ends].contains(&0), "an end was never had: {seen:?}");
    println!(
        "model {name}: {random} random schedules and {pct} of PCT, {:.1?}, ends {:?}",
        began.elapsed(),
        &seen[..ends]
    );
}

/// A number from the environment; 1 if there is none.
fn number<T: FromStr + From<u8>>(variable: &str) -> T {
    match env::var(variable) {
        Ok(text) => text.parse().ok().expect(variable),
        Err(_) => T::from(1),
    }
}

fn check(scheduler: impl Scheduler + 'static, model: fn(&Seen), seen: &Seen) -> usize {
    let mut config = model::Config::new();
    // A hub's root needs more than shuttle's 60 KiB.
    config.stack_size = 256 << 10;
    // That it does not model relaxed orders is said above.
    config.silence_warnings = true;
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("target/schedules");
    std::fs::create_dir_all(&folder).expect("the target folder can be written");
    config.failure_persistence = model::FailurePersistence::File(Some(folder));
    let seen = seen.clone();
    model::Runner::new(scheduler, config).run(move || model(&seen))
}

/// Which ends a model has had, over all its schedules.
#[derive(Clone, Debug, Default)]
struct Seen(Arc<[Count; 8]>);

impl Seen {
    /// Adds to the ends from `first` on.
    fn add(&self, first: usize, times: &[usize]) {
        for (end, times) in self.0[first..].iter().zip(times) {
            end.add(*times);
        }
    }
}

/// A choice, below `n`.
fn choose(n: usize) -> usize {
    model::rand::thread_rng().gen_range(0..n)
}

fn thread<T: Send + 'static>(f: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    model::thread::spawn(f)
}

/// A thread whose root serves its hub until it is stopped.
struct Station {
    handle: HubHandle,
    stop: Arc<Event>,
    thread: JoinHandle<()>,
}

impl Station {
    fn start() -> Self {
        let (stop, started) = (Arc::new(Event::new()), Arc::new(AsyncResult::new()));
        let thread = thread({
            let (stop, started) = (stop.clone(), started.clone());
            move || {
                run(|| {
                    started.set(HubHandle::current()).expect("set once");
                    stop.wait();
                });
            }
        });
        let handle = started.wait().expect("no error is set").clone();
        Station {
            handle,
            stop,
            thread,
        }
    }

    fn end(self) {
        self.stop.set();
        self.thread.join().unwrap();
    }
}

/// So many hubs; greenlets go to them in turn.
struct Stage {
    stations: Vec<Station>,
    greenlets: Vec<Arc<Greenlet<()>>>,
    next: usize,
}

impl Stage {
    fn new(hubs: usize) -> Self {
        Stage {
            stations: (0..hubs).map(|_| Station::start()).collect(),
            greenlets: Vec::new(),
            next: 0,
        }
    }

    fn spawn(&mut self, f: impl FnOnce() + Send + 'static) -> Arc<Greenlet<()>> {
        let station = &self.stations[self.next % self.stations.len()];
        self.next += 1;
        let greenlet = Arc::new(station.handle.spawn(f));
        self.greenlets.push(greenlet.clone());
        greenlet
    }

    /// A thread that kills so many of the greenlets.
    fn killer(&self, kills: usize) -> JoinHandle<()> {
        let greenlets = self.greenlets.clone();
        thread(move || {
            for _ in 0..kills {
                greenlets[choose(greenlets.len())].kill();
            }
        })
    }

    /// All greenlets end, and then the hubs. How many returned, were killed, and were
    /// refused by a hub that had ended.
    fn end(self) -> [usize; 3] {
        let mut ends = [0; 3];
        for greenlet in self.greenlets {
            greenlet.wait();
            let end = match greenlet.error() {
                None => 0,
                Some(JoinError::Killed) => 1,
                Some(JoinError::HubClosed) => 2,
                Some(error) => panic!("{error}"),
            };
            ends[end] += 1;
        }
        self.stations.into_iter().for_each(Station::end);
        ends
    }
}

/// Nobody is in any line of what this shows.
fn nobody_waits(of: &dyn std::fmt::Debug) {
    let text = format!("{of:?}");
    for list in ["waiting: ", "getters: ", "putters: ", "joiners: "] {
        for (at, _) in text.match_indices(list) {
            assert!(text[at + list.len()..].starts_with('0'), "{text}");
        }
    }
}

/// A count that shuttle does not see. No schedule may depend on it.
#[derive(Debug, Default)]
struct Count(AtomicUsize);

impl Count {
    fn add(&self, n: usize) -> usize {
        self.0.fetch_add(n, Relaxed)
    }

    fn sub(&self, n: usize) -> usize {
        self.0.fetch_sub(n, Relaxed)
    }

    fn get(&self) -> usize {
        self.0.load(Relaxed)
    }
}

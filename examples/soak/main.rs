//! A soak test: everything at once, for as long as you like, with a ledger.
//!
//! ```text
//! cargo run --release --example soak -- --seconds 600 --seed 7
//! ```
//!
//! It works in rounds. Each has a few hubs and plain threads, on which *parts* run: producers
//! and consumers of all queues, borrowers of permits, waiters for events and results, parents
//! of greenlets, scopes, storms of spawns. Meanwhile others kill parts at random, and end hubs
//! and start new ones in their places. When a round is over nothing runs, and the ledger must
//! be right: each item that was put was got once, drained, or came back; all permits are back;
//! each greenlet's outcome was seen once, by its join or its link, and is what its inside says;
//! nobody waits any more; as many values were dropped as made. At the end the resident set
//! must be where it was.
//!
//! No round is ended by force, so a wake that is lost is a hang, which a watchdog reports.
//!
//! The choices come from the seed: the same seed makes the same plan. How threads interleave,
//! and so which waits time out and whom a kill meets where, is the system's choice: no
//! seed reproduces that.
//!
//! The last line of stdout sums it up. The exit code is 0 if the ledger is right, 1 if it is
//! off, or if there is no progress for 60 seconds, and 2 for arguments that are wrong. Not in
//! here, since it leaks by design: a thread that ends without having ended its greenlets.
//!
//! | file | what it has |
//! |---|---|
//! | `stage` | a round: hubs, threads, parts, kills, the ends of hubs |
//! | `ledger` | what is counted, and must agree |
//! | `queues`, `permits`, `signals`, `families` | the parts |
//! | `memory` | the resident set |
//! | `random` | the generator |

mod families;
mod ledger;
mod memory;
mod permits;
mod queues;
mod random;
mod signals;
mod stage;

use ledger::{LEDGER, is_intended, off};
use memory::Memory;
use random::Random;
use std::env;
use std::panic;
use std::process::{ExitCode, exit};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

const USAGE: &str = "\
usage: soak [--seconds N] [--seed S]

Runs every part of the crate at once and checks that nothing is lost.

  --seconds N  for how long, at least one round is run (default 20)
  --seed S     where all choices come from, a number (default 1)
  --help       this text";

/// Without progress for so long it hangs.
const PATIENCE: Duration = Duration::from_secs(60);

struct Settings {
    run: Duration,
    seed: u64,
}

fn main() -> ExitCode {
    let settings = match settings(env::args().skip(1)) {
        Ok(Some(settings)) => settings,
        Ok(None) => {
            println!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            eprintln!("soak: {error}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    keep_quiet_about_intended_panics();
    // What each greenlet waits for, before the watchdog gives up.
    greenlet::deadlock_after(PATIENCE / 2);
    let (over, watched) = channel();
    let watchdog = thread::spawn(move || watch(&watched));

    let begin = Instant::now();
    let mut memory = Memory::new(settings.run);
    let mut random = Random::new(settings.seed);
    println!(
        "soak: {} seconds, seed {}",
        settings.run.as_secs(),
        settings.seed
    );
    loop {
        let seed = random.next();
        if let Err(error) = stage::round(seed) {
            off(format_args!("the system refuses a thread: {error}"));
        }
        memory.note();
        if begin.elapsed() >= settings.run || !LEDGER.is_ok() {
            break;
        }
    }
    drop(over);
    watchdog.join().expect("the watchdog does not panic");
    println!("{}", memory.check());
    println!("{LEDGER}");
    match LEDGER.is_ok() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

/// `None`: help is asked for.
fn settings(mut args: impl Iterator<Item = String>) -> Result<Option<Settings>, String> {
    let (mut seconds, mut seed) = (20, 1);
    while let Some(arg) = args.next() {
        let place = match &*arg {
            "--help" | "-h" => return Ok(None),
            "--seconds" => &mut seconds,
            "--seed" => &mut seed,
            _ => return Err(format!("unknown argument '{arg}'")),
        };
        let value = args.next().ok_or(format!("{arg} needs a number"))?;
        *place = value
            .parse()
            .map_err(|error| format!("{arg} needs a number, not '{value}': {error}"))?;
    }
    let run = Duration::from_secs(seconds);
    // Deadlines are computed from it.
    if Instant::now().checked_add(run).is_none() {
        return Err(format!("--seconds {seconds} is more than the clock has"));
    }
    Ok(Some(Settings { run, seed }))
}

/// Any other panic is reported as ever, and the ledger is off.
fn keep_quiet_about_intended_panics() {
    let usual = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        if !is_intended(info.payload()) {
            usual(info);
            off("a panic that nobody intended");
        }
    }));
}

/// Ends the process when nothing goes on for too long.
fn watch(over: &Receiver<()>) {
    let (mut progress, mut since) = (0, Instant::now());
    while over.recv_timeout(Duration::from_secs(1)) == Err(RecvTimeoutError::Timeout) {
        if LEDGER.progress() != progress {
            (progress, since) = (LEDGER.progress(), Instant::now());
        } else if since.elapsed() >= PATIENCE {
            off(format_args!(
                "no progress for {} seconds; phase: {}",
                PATIENCE.as_secs(),
                stage::where_it_is()
            ));
            println!("{LEDGER}");
            exit(1);
        }
    }
}

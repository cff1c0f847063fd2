//! Starts a million greenlets that wait for one event, wakes them all, and says what each has
//! cost: memory with the kernel's page tables, and time, with the kernel's share in it.
//!
//! ```sh
//! cargo run --release --example million                # on Linux, with 6 GB of memory
//! cargo run --release --example million -- 100000 256  # so many, and with stacks of 256 KiB
//! ```
//!
//! Memory is what `/proc/self/status` says (`VmRSS` and `VmPTE`); the first time is wall time, those
//! in brackets are processor time (`/proc/self/stat`, by hundredths of a second, so they mean little
//! for small numbers). One greenlet on its stack takes a page; what is beyond it depends on the size
//! of the stacks, as a page table of 4 KiB serves 2 MiB of them. One that has not started has no
//! stack yet; children of a `scope`, which remembers each, take some 50 bytes more.

use greenlet::sync::Event;
use greenlet::{Builder, run, yield_now};
use std::cell::Cell;
use std::env;
use std::fs;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Instant;

/// How often all are woken.
const ROUNDS: usize = 3;

/// What the process has used so far.
#[derive(Clone, Copy)]
struct Used {
    at: Instant,
    /// Of processor time, by the program and by the kernel for it; seconds.
    user: f64,
    system: f64,
    /// Bytes.
    resident: usize,
    tables: usize,
}

impl Used {
    /// `None` where there is no such file.
    fn now() -> Option<Used> {
        let status = fs::read_to_string("/proc/self/status").ok()?;
        let kib = |name: &str| -> Option<usize> {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            line.split_whitespace().next()?.parse().ok()
        };
        let stat = fs::read_to_string("/proc/self/stat").ok()?;
        // The name of the program, in brackets, may have spaces in it.
        let (_, fields) = stat.rsplit_once(')')?;
        let ticks = |field| -> Option<f64> { fields.split_whitespace().nth(field)?.parse().ok() };
        Some(Used {
            at: Instant::now(),
            user: ticks(11)? / 100.0,
            system: ticks(12)? / 100.0,
            resident: kib("VmRSS:")? * 1024,
            tables: kib("VmPTE:")? * 1024,
        })
    }
}

/// Prints what each of `n` greenlets has taken since the last time.
struct Report {
    n: usize,
    begin: Used,
    last: Used,
}

impl Report {
    fn line(&mut self, what: &str, times: usize) {
        let now = Used::now().expect("it was there before");
        let each = |seconds: f64| seconds * 1e9 / (self.n * times) as f64;
        let bytes = |now: usize, begin: usize| now.saturating_sub(begin) as f64 / self.n as f64;
        let resident = bytes(now.resident, self.begin.resident);
        let tables = bytes(now.tables, self.begin.tables);
        println!(
            "{what:<10} {:6.0} ns ({:.0} user, {:.0} system); {:.0} bytes ({resident:.0} and {tables:.0} of page tables)",
            each((now.at - self.last.at).as_secs_f64()),
            each(now.user - self.last.user),
            each(now.system - self.last.system),
            resident + tables,
        );
        self.last = now;
    }
}

fn main() -> ExitCode {
    let mut numbers = env::args()
        .skip(1)
        .map(|argument| argument.parse::<usize>());
    let (Ok(n @ 1..), Ok(kib), None) = (
        numbers.next().unwrap_or(Ok(1_000_000)),
        numbers.next().unwrap_or(Ok(64)),
        numbers.next(),
    ) else {
        eprintln!("usage: million [GREENLETS [KIB_OF_STACK]]");
        return ExitCode::from(2);
    };
    let Some(begin) = Used::now() else {
        eprintln!("million: there is no /proc/self/status here");
        return ExitCode::FAILURE;
    };
    println!("{n} greenlets with stacks of {kib} KiB; each:");
    let mut report = Report {
        n,
        begin,
        last: begin,
    };
    run(|| {
        let shared = Rc::new((Event::new(), Cell::new(0)));
        for _ in 0..n {
            let settings = Builder::new().stack_size(kib * 1024);
            let shared = shared.clone();
            let spawned = settings.spawn(move || {
                let (event, waiting) = &*shared;
                for _ in 0..ROUNDS {
                    waiting.set(waiting.get() + 1);
                    event.wait();
                }
            });
            // Without its handle it runs on; `run` waits for all.
            drop(spawned.expect("a size that a stack can have"));
        }
        let (event, waiting) = &*shared;
        report.line("unstarted", 1);
        // The root's own turn comes after those of all others.
        yield_now();
        assert_eq!(
            waiting.get(),
            n,
            "a greenlet that has no stack does not start"
        );
        report.line("parked", 1);
        for round in 1..ROUNDS {
            event.set();
            // Who waits again waits for the next time.
            event.clear();
            yield_now();
            assert_eq!(waiting.get(), n * (round + 1));
        }
        report.line("woken", ROUNDS - 1);
        event.set();
    });
    report.line("ended", 1);
    ExitCode::SUCCESS
}

//! The same workloads on greenlet, may, tokio and threads, side by side; README.md has the
//! definitions. `cargo run --release -- [--quick] [PART OF A NAME...]`.
//!
//! Each measurement is a process of its own, which this one starts: no peer meets another's
//! threads, heap or pool of stacks, and one that dies takes only its own figure along.

mod chains;
mod greenlets;
mod may_;
mod spent;
mod table;
mod threads;
mod tokio_;

use spent::Spent;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};
use table::{PEERS, ROWS, Row};

/// One measurement takes a second or two; the largest ones some more.
const LIMIT: Duration = Duration::from_secs(120);

fn main() -> ExitCode {
    let mut names = vec![];
    let mut quick = false;
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--quick" => quick = true,
            "--cell" => {
                let mut number = || arguments.next().unwrap().parse().unwrap();
                return cell(&ROWS[number()], number(), number());
            }
            _ => names.push(argument),
        }
    }
    println!("{}", table::versions());
    println!("\n| workload | {} |", PEERS.join(" | "));
    println!("|---|{}", "--:|".repeat(PEERS.len()));
    let mut failures = 0;
    for (index, row) in ROWS.iter().enumerate() {
        if names.iter().all(|part| row.name.contains(part)) {
            failures += compare(index, row, quick);
        }
    }
    match failures {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}

/// Prints a row, and returns how many measurements failed.
fn compare(index: usize, row: &Row, quick: bool) -> usize {
    let rounds = if quick { 1 } else { row.rounds };
    let mut figures: [Vec<f64>; PEERS.len()] = Default::default();
    let mut failures = 0;
    for round in 0..rounds {
        for turn in 0..PEERS.len() {
            // Not always the same one after the same one.
            let peer = (turn + round) % PEERS.len();
            let Some((share, _)) = row.cells[peer] else {
                continue;
            };
            let n = row.n / share / if quick { row.quick } else { 1 };
            match measure(index, peer, n) {
                Ok(figure) => figures[peer].push(figure),
                Err(why) => {
                    eprintln!("{}, {}: {why}", row.name, PEERS[peer]);
                    failures += 1;
                }
            }
        }
    }
    let medians = figures.map(|mut figures| {
        figures.sort_by(f64::total_cmp);
        figures.get(figures.len() / 2).copied()
    });
    print!("| {} |", row.name);
    for (peer, median) in medians.into_iter().enumerate() {
        match (median, medians[0]) {
            (Some(ns), _) if peer == 0 => print!(" {} |", digits(ns)),
            (Some(ns), Some(ours)) => print!(" {} ({}x) |", digits(ns), digits(ns / ours)),
            (Some(ns), None) => print!(" {} |", digits(ns)),
            (None, _) if row.cells[peer].is_some() => print!(" failed |"),
            (None, _) => print!(" - |"),
        }
    }
    println!();
    failures
}

/// Three digits that count, as 7.12, 71.2 or 7,120.
fn digits(figure: f64) -> String {
    match figure {
        f if f < 9.995 => format!("{f:.2}"),
        f if f < 99.95 => format!("{f:.1}"),
        f if f < 999.5 => format!("{f:.0}"),
        f => {
            let scale = 10f64.powf(f.log10().floor() - 2.0);
            let whole = ((f / scale).round() * scale) as u64;
            let text = whole.to_string();
            let groups: Vec<_> = text.as_bytes().rchunks(3).rev().collect();
            String::from_utf8(groups.join(&b',')).unwrap()
        }
    }
}

/// Starts a process for one measurement, and waits for its figure.
fn measure(index: usize, peer: usize, n: usize) -> Result<f64, String> {
    let arguments = [index, peer, n].map(|number| number.to_string());
    let mut child = Command::new(std::env::current_exe().unwrap())
        .arg("--cell")
        .args(arguments)
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|e| e.to_string())?;
    let begin = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if begin.elapsed() > LIMIT {
            child.kill().unwrap();
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    match said.trim().parse() {
        Ok(figure) if output.status.success() => Ok(figure),
        _ => Err(format!("{}, {said}", output.status)),
    }
}

/// Makes one measurement, in this process: prints the nanoseconds of an operation.
fn cell(row: &Row, peer: usize, n: usize) -> ExitCode {
    // Two threads have two processors; what is one scheduler has one, whatever helpers it has.
    if !row.wall && peer != PEERS.len() - 1 {
        spent::stay_on_one_processor();
    }
    spent::keep_memory();
    let (_, round) = row.cells[peer].unwrap();
    let Spent { processor, wall, n } = round(n);
    let time = if row.wall { wall } else { processor };
    println!("{}", time.as_nanos() as f64 / n as f64);
    // Without destructors: a peer's scheduler has no end, or a long one.
    std::process::exit(0)
}

//! The fuzz targets' corpora (`fuzz/corpus/TARGET`), each file through the function that the target
//! calls: what fuzzing has found to be worth keeping is checked here without a fuzzer, by the stable
//! compiler. And some random bytes each, so that a target which rejects everything is seen.

#[path = "script/targets/fifo.rs"]
mod fifo;
#[path = "script/targets/local.rs"]
mod local;
mod script;
#[path = "script/targets/timers.rs"]
mod timers;

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

/// A file that is kept is small: it has been minimised.
const LARGEST: u64 = 1024;
const MOST: usize = 60;

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn run(name: &str, bytes: &[u8], check: fn(&[u8])) {
    if let Err(payload) = catch_unwind(AssertUnwindSafe(|| check(bytes))) {
        println!("{name}: {}", hex(bytes));
        std::panic::resume_unwind(payload);
    }
}

fn replay(target: &str, check: fn(&[u8])) {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
    if !fuzz.exists() {
        // The package is without it.
        println!("SKIPPED: the corpus of {target}: there is no directory fuzz/ here");
        return;
    }
    let dir = fuzz.join("corpus").join(target);
    let files = fs::read_dir(&dir).unwrap_or_else(|e| panic!("{}: {e}", dir.display()));
    let mut paths: Vec<_> = files.map(|file| file.unwrap().path()).collect();
    paths.sort();
    assert!(
        (1..=MOST).contains(&paths.len()),
        "{target}: {} files",
        paths.len()
    );
    for path in paths {
        let size = fs::metadata(&path).unwrap().len();
        assert!(size < LARGEST, "{}: {size} bytes", path.display());
        run(&path.to_string_lossy(), &fs::read(&path).unwrap(), check);
    }
}

/// Random bytes, the same each time.
fn chance(check: fn(&[u8])) {
    let mut state = 1u64;
    let mut next = move || {
        // A linear congruential generator; its high bits are good enough.
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 33) as u8
    };
    for i in 0..300 {
        let bytes: Vec<u8> = (0..next()).map(|_| next()).collect();
        run(&format!("random {i}"), &bytes, check);
    }
}

#[test]
fn script() {
    replay("script", script::conduct::check);
    chance(script::conduct::check);
}

#[test]
fn timers() {
    replay("timers", timers::check);
    chance(timers::check);
}

#[test]
fn fifo() {
    replay("fifo", fifo::check);
    chance(fifo::check);
}

#[test]
fn local() {
    replay("local", local::check);
    chance(local::check);
}

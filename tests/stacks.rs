//! The stacks: what happens when one ends, how many there can be, and what they cost.

#![cfg(unix)]

#[macro_use]
mod child;

use child::{Ended, SIGABRT, SIGBUS, SIGSEGV};
use greenlet::{Builder, spawn, yield_now};
use std::os::unix::process::ExitStatusExt;

// ---- overflows ----

/// Needs `frames` frames of a kilobyte.
#[inline(never)]
fn deep(frames: usize) -> u64 {
    let mut frame = [1u8; 1024];
    std::hint::black_box(&mut frame);
    match frames {
        0 => 0,
        n => deep(n - 1) + u64::from(std::hint::black_box(frame)[n % 1024]),
    }
}

/// One frame much larger than any guard page.
#[inline(never)]
fn wide() -> u64 {
    let mut frame = [1u8; 4 << 20];
    std::hint::black_box(&mut frame);
    u64::from(std::hint::black_box(frame)[123_456])
}

/// The sizes that should do are done, so that the overflow is one.
#[test]
fn stack_overflow_is_none_within_the_size_asked_for() {
    for size in [32 * 1024, 256 * 1024, 4 << 20] {
        let half = size / 2 / 1024;
        let g = Builder::new()
            .stack_size(size)
            .spawn(move || deep(half / 2));
        assert_eq!(g.unwrap().join().unwrap(), half as u64 / 2);
    }
}

#[track_caller]
fn died_of_the_overflow(ended: &Ended) {
    let signal = ended.status.signal();
    assert!(
        [Some(SIGSEGV), Some(SIGBUS), Some(SIGABRT)].contains(&signal),
        "{ended:#?}"
    );
    assert!(ended.out.contains("overflowing"), "{ended:#?}");
    assert!(
        !ended.out.contains("SURVIVED") && !ended.out.contains("CORRUPT"),
        "{ended:#?}"
    );
}

/// Neighbours whose stacks lie beside the overflowing one and would notice if it reached them.
fn overflow_among_neighbours(overflow: fn() -> u64) {
    let neighbours: Vec<_> = (0..64)
        .map(|i: usize| {
            spawn(move || {
                let mut mine = [i as u8; 100 * 1024];
                std::hint::black_box(&mut mine);
                yield_now();
                yield_now();
                if mine.iter().any(|&b| b != i as u8) {
                    println!("CORRUPT");
                }
            })
        })
        .collect();
    let culprit = spawn(move || {
        println!("overflowing");
        println!("SURVIVED {}", overflow());
    });
    neighbours.into_iter().for_each(|g| g.wait());
    culprit.wait();
}

#[test]
fn stack_overflow_by_recursion_kills_the_process() {
    let ended = child!(stack_overflow_by_recursion_kills_the_process, || {
        overflow_among_neighbours(|| deep(1 << 20));
    });
    died_of_the_overflow(&ended);
}

#[test]
fn stack_overflow_by_one_large_frame_kills_the_process() {
    let ended = child!(stack_overflow_by_one_large_frame_kills_the_process, || {
        overflow_among_neighbours(wide);
    });
    died_of_the_overflow(&ended);
}

#[test]
fn stack_overflow_of_the_smallest_stack_kills_the_process() {
    let ended = child!(
        stack_overflow_of_the_smallest_stack_kills_the_process,
        || {
            let small = Builder::new().stack_size(32 * 1024);
            let g = small.spawn(|| {
                println!("overflowing");
                println!("SURVIVED {}", deep(200));
            });
            g.unwrap().wait();
        }
    );
    died_of_the_overflow(&ended);
}

// ---- how many there can be ----

#[cfg(target_os = "linux")]
mod mappings {
    use super::*;
    use greenlet::sync::Event;
    use greenlet::{JoinError, run};
    use std::fs;
    use std::rc::Rc;

    fn count() -> usize {
        let maps = fs::read_to_string("/proc/self/maps").unwrap();
        maps.lines().count()
    }

    /// What the usual limit on mappings does not allow by far, with a guard page for each.
    #[test]
    fn fifty_thousand_stacks_are_a_few_mappings() {
        let ended = child!(fifty_thousand_stacks_are_a_few_mappings, || {
            run(|| {
                let end = Rc::new(Event::new());
                let before = count();
                for _ in 0..50_000 {
                    let end = end.clone();
                    let small = Builder::new().stack_size(32 * 1024);
                    drop(small.spawn(move || end.wait()));
                }
                yield_now();
                let more = count() - before;
                if more > 1000 {
                    return println!("SKIPPED: guards cost mappings on this kernel: {more}");
                }
                let overflows = Builder::new().stack_size(32 * 1024);
                let overflows = overflows.spawn(|| {
                    println!("overflowing");
                    println!("SURVIVED {}", deep(200));
                });
                overflows.unwrap().wait();
            });
        });
        match ended.out.contains("SKIPPED") {
            true => println!("{}", ended.out),
            false => died_of_the_overflow(&ended),
        }
    }

    /// Locks all memory that this process will have when it is touched; false if it may not. No
    /// kernel has light guards in such memory, as old kernels have none anywhere.
    fn lock_memory() -> bool {
        // SAFETY: no memory is accessed.
        unsafe { libc::mlockall(libc::MCL_FUTURE | libc::MCL_ONFAULT) == 0 }
    }

    /// Spawns `n` that wait, and returns how many could not be started, and why.
    fn waiting(n: usize, end: &Rc<Event>) -> (usize, Option<String>) {
        let all: Vec<_> = (0..n)
            .map(|_| {
                let end = end.clone();
                let small = Builder::new().stack_size(32 * 1024);
                small.spawn(move || end.wait()).unwrap()
            })
            .collect();
        yield_now();
        let refused: Vec<_> = all.iter().filter_map(|g| g.error()).collect();
        let why = refused.first().map(|error| {
            assert!(matches!(error, JoinError::NoStack(_)), "{error}");
            error.to_string()
        });
        (refused.len(), why)
    }

    /// Guards are made by access rights then, and still there is one for each.
    #[test]
    fn stack_overflow_in_locked_memory_kills_the_process() {
        let ended = child!(stack_overflow_in_locked_memory_kills_the_process, || {
            if !lock_memory() {
                return println!("SKIPPED: memory may not be locked here");
            }
            overflow_among_neighbours(|| deep(1 << 20));
        });
        match ended.out.contains("SKIPPED") {
            true => println!("{}", ended.out),
            false => died_of_the_overflow(&ended),
        }
    }

    /// Those cost mappings, of which a third is left to the program; then there is a clear
    /// error, and what was given back can be used again.
    #[test]
    fn stacks_in_locked_memory_end_before_the_mappings_do() {
        let ended = child!(stacks_in_locked_memory_end_before_the_mappings_do, || {
            if !lock_memory() {
                return println!("SKIPPED: memory may not be locked here");
            }
            let limit = fs::read_to_string("/proc/sys/vm/max_map_count").unwrap();
            let limit: usize = limit.trim().parse().unwrap();
            if limit > 200_000 {
                return println!("SKIPPED: too many mappings are allowed here: {limit}");
            }
            for round in 0..2 {
                run(|| {
                    let end = Rc::new(Event::new());
                    let (refused, why) = waiting(limit / 2, &end);
                    let why = why.unwrap();
                    assert!(why.contains("vm.max_map_count"), "{why}");
                    assert!(count() > limit / 2, "{}", count());
                    // The spare of the hub, which is of another size, and what has no stack.
                    let stacks = limit / 2 - refused;
                    assert!(
                        (limit / 3 - 2..=limit / 3).contains(&stacks),
                        "round {round}: {stacks}"
                    );
                    end.set();
                });
                // One slab may stay.
                assert!(count() < 5000, "{}", count());
            }
        });
        println!("{}", ended.out);
        ended.well();
    }
}

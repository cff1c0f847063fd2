//! The stacks: what happens when one ends, how many there can be, and what they cost.

#![cfg(unix)]

#[macro_use]
mod child;

use child::{Ended, SIGABRT, SIGBUS, SIGSEGV};
use greenlet::{Builder, Generator, Yielder, run, spawn, yield_now};
use std::os::unix::process::ExitStatusExt;
#[cfg(target_os = "linux")]
use std::time::Duration;

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

/// `who`: what the report says of it, on Linux; elsewhere the fault alone ends the process.
#[track_caller]
fn died_of_the_overflow(ended: &Ended, who: &str) {
    let signal = ended.status.signal();
    let signals = [Some(SIGSEGV), Some(SIGBUS), Some(SIGABRT)];
    assert!(signals.contains(&signal), "{ended:#?}");
    assert!(ended.out.contains("overflowing"), "{ended:#?}");
    assert!(
        !ended.out.contains("SURVIVED") && !ended.out.contains("CORRUPT"),
        "{ended:#?}"
    );
    if cfg!(target_os = "linux") {
        assert_eq!(signal, Some(SIGABRT), "{ended:#?}");
        let reports = ended
            .err
            .lines()
            .filter(|line| line.starts_with("greenlet: "));
        let report: Vec<_> = reports.collect();
        assert!(
            report.len() == 1 && report[0].contains(who),
            "{who}: {ended:#?}"
        );
        assert!(report[0].contains("tests/stacks.rs:") || report[0].ends_with("the root"));
    }
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
    died_of_the_overflow(
        &ended,
        "greenlet: greenlet #65 overflowed its stack of 256 KiB; spawned",
    );
}

#[test]
fn stack_overflow_by_one_large_frame_kills_the_process() {
    let ended = child!(stack_overflow_by_one_large_frame_kills_the_process, || {
        overflow_among_neighbours(wide);
    });
    died_of_the_overflow(&ended, "greenlet #65 overflowed its stack of 256 KiB");
}

#[test]
fn stack_overflow_of_the_smallest_stack_kills_the_process() {
    let ended = child!(
        stack_overflow_of_the_smallest_stack_kills_the_process,
        || {
            let small = Builder::new().name("small").stack_size(32 * 1024);
            let g = small.spawn(|| {
                println!("overflowing");
                println!("SURVIVED {}", deep(200));
            });
            g.unwrap().wait();
        }
    );
    let report =
        "greenlet 'small' (#1) overflowed its stack of 32 KiB; spawned at tests/stacks.rs:";
    died_of_the_overflow(&ended, report);
}

fn overflowing() {
    println!("overflowing");
    println!("SURVIVED {}", deep(1 << 20));
}

/// It has a stack beside that of who drives it.
#[test]
fn stack_overflow_of_a_generator_says_who_drives_it() {
    let ended = child!(stack_overflow_of_a_generator_says_who_drives_it, || {
        let driver = Builder::new().name("driver").spawn(|| {
            Generator::new(|_: &Yielder<(), ()>, ()| overflowing()).resume(());
        });
        driver.unwrap().wait();
    });
    let report =
        "the body of a generator overflowed its stack of 256 KiB; driven by greenlet 'driver'";
    died_of_the_overflow(&ended, report);
}

#[test]
fn stack_overflow_of_a_generator_of_the_root() {
    let ended = child!(stack_overflow_of_a_generator_of_the_root, || {
        Generator::new(|_: &Yielder<(), ()>, ()| overflowing()).resume(());
    });
    died_of_the_overflow(&ended, "of 256 KiB; driven by the root");
}

/// The report is about who runs on it now.
#[test]
fn stack_overflow_after_the_stack_was_another_greenlet_s() {
    let ended = child!(
        stack_overflow_after_the_stack_was_another_greenlet_s,
        || {
            run(|| {
                for _ in 0..3 {
                    Builder::new()
                        .name("before")
                        .spawn(|| deep(30))
                        .unwrap()
                        .wait();
                }
                Builder::new()
                    .name("culprit")
                    .spawn(overflowing)
                    .unwrap()
                    .wait();
            });
        }
    );
    died_of_the_overflow(&ended, "greenlet 'culprit' (#4) overflowed");
}

/// What is not an overflow of a greenlet is as it would be without this crate.
#[cfg(target_os = "linux")]
mod faults {
    use super::*;
    use std::ptr;

    fn null_dereference() {
        println!("dereferencing");
        // SAFETY: none, on purpose: the process is to have a fault.
        unsafe { ptr::null_mut::<u8>().write_volatile(1) };
        println!("SURVIVED");
    }

    fn action(signal: i32, action: libc::sighandler_t, flags: i32) {
        // SAFETY: zeroes are a sigaction.
        unsafe {
            let mut new: libc::sigaction = std::mem::zeroed();
            new.sa_sigaction = action;
            new.sa_flags = flags;
            assert_eq!(libc::sigaction(signal, &new, ptr::null_mut()), 0);
        }
    }

    #[track_caller]
    fn died_of_the_fault(ended: &Ended) {
        assert_eq!(ended.status.signal(), Some(SIGSEGV), "{ended:#?}");
        assert!(ended.out.contains("dereferencing"), "{ended:#?}");
        assert!(!ended.out.contains("SURVIVED"), "{ended:#?}");
        assert!(!ended.err.contains("overflow"), "{ended:#?}");
    }

    #[test]
    fn null_dereference_in_a_greenlet_is_what_it_is() {
        let ended = child!(null_dereference_in_a_greenlet_is_what_it_is, || {
            spawn(null_dereference).wait();
        });
        died_of_the_fault(&ended);
    }

    #[test]
    fn null_dereference_where_nobody_handles_it() {
        let ended = child!(null_dereference_where_nobody_handles_it, || {
            action(libc::SIGSEGV, libc::SIG_DFL, 0);
            spawn(null_dereference).wait();
        });
        died_of_the_fault(&ended);
    }

    #[test]
    fn null_dereference_cannot_be_ignored() {
        let ended = child!(null_dereference_cannot_be_ignored, || {
            action(libc::SIGSEGV, libc::SIG_IGN, 0);
            spawn(null_dereference).wait();
        });
        died_of_the_fault(&ended);
    }

    /// Sent by somebody, there is nothing that would come again.
    #[test]
    fn sent_signals_do_what_they_did() {
        let ended = child!(sent_signals_do_what_they_did, || {
            action(libc::SIGSEGV, libc::SIG_IGN, 0);
            spawn(|| {
                // SAFETY: no memory is involved.
                assert_eq!(unsafe { libc::raise(libc::SIGSEGV) }, 0);
            })
            .join()
            .unwrap();
        });
        ended.well();
    }

    #[test]
    fn sent_signals_kill_where_nobody_handles_them() {
        let ended = child!(sent_signals_kill_where_nobody_handles_them, || {
            action(libc::SIGSEGV, libc::SIG_DFL, 0);
            spawn(|| {
                println!("dereferencing");
                // SAFETY: no memory is involved.
                unsafe { libc::raise(libc::SIGSEGV) };
                println!("SURVIVED");
            })
            .wait();
        });
        died_of_the_fault(&ended);
    }

    extern "C" fn with_one(signal: i32) {
        // SAFETY: no memory is involved.
        unsafe { libc::_exit(signal + 30) }
    }

    extern "C" fn with_three(signal: i32, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
        // SAFETY: the kernel hands it over.
        unsafe { libc::_exit(signal + 40 + i32::from((*info).si_addr().is_null())) }
    }

    /// Of both kinds. They end the process, as no more can be done in them.
    #[test]
    fn handler_of_the_program_has_all_other_faults() {
        let ended = child!(handler_of_the_program_has_all_other_faults, || {
            action(libc::SIGSEGV, with_one as *const () as usize, 0);
            spawn(null_dereference).wait();
        });
        assert_eq!(ended.status.code(), Some(SIGSEGV + 30), "{ended:#?}");
    }

    #[test]
    fn handler_of_the_program_is_told_the_address() {
        let ended = child!(handler_of_the_program_is_told_the_address, || {
            let flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
            action(libc::SIGSEGV, with_three as *const () as usize, flags);
            spawn(null_dereference).wait();
        });
        assert_eq!(ended.status.code(), Some(SIGSEGV + 41), "{ended:#?}");
    }

    /// On the thread's own stack, beside greenlets and in their hub's loop.
    #[test]
    fn stack_overflow_of_a_thread_is_told_by_std() {
        let ended = child!(stack_overflow_of_a_thread_is_told_by_std, || {
            let thread = std::thread::Builder::new().name("own".to_owned());
            let thread = thread.spawn(|| {
                spawn(yield_now).wait();
                overflowing();
            });
            thread.unwrap().join().unwrap();
        });
        ended.aborted(&["thread 'own'", "has overflowed its stack"]);
        assert!(!ended.err.contains("greenlet: "), "{ended:#?}");
    }

    /// The flags of the thread's alternate stack, and whether it has one.
    fn has_alternate_stack() -> bool {
        // SAFETY: it writes to what it is given.
        unsafe {
            let mut now: libc::stack_t = std::mem::zeroed();
            assert_eq!(libc::sigaltstack(ptr::null(), &mut now), 0);
            now.ss_flags & libc::SS_DISABLE == 0
        }
    }

    /// Runs `body` on a thread that std has not made, and so without an alternate stack.
    fn on_a_foreign_thread(body: extern "C" fn(*mut libc::c_void) -> *mut libc::c_void) {
        // SAFETY: the arguments are as they must be, and the thread is joined.
        unsafe {
            let mut thread = 0;
            let made = libc::pthread_create(&mut thread, ptr::null(), body, ptr::null_mut());
            assert_eq!(made, 0);
            assert_eq!(libc::pthread_join(thread, ptr::null_mut()), 0);
        }
    }

    #[test]
    fn stack_overflow_on_a_foreign_thread() {
        extern "C" fn body(_: *mut libc::c_void) -> *mut libc::c_void {
            Builder::new()
                .name("guest")
                .spawn(overflowing)
                .unwrap()
                .wait();
            ptr::null_mut()
        }
        let ended = child!(stack_overflow_on_a_foreign_thread, || {
            on_a_foreign_thread(body);
        });
        died_of_the_overflow(&ended, "greenlet 'guest' (#1) overflowed");
    }

    #[test]
    fn alternate_stack_of_a_foreign_thread_goes_with_the_hub() {
        extern "C" fn body(_: *mut libc::c_void) -> *mut libc::c_void {
            assert!(!has_alternate_stack());
            for _ in 0..2 {
                run(|| {
                    spawn(|| ()).wait();
                    assert!(has_alternate_stack());
                });
                assert!(!has_alternate_stack());
            }
            ptr::null_mut()
        }
        let ended = child!(
            alternate_stack_of_a_foreign_thread_goes_with_the_hub,
            || {
                on_a_foreign_thread(body);
                // One of std's keeps its own.
                std::thread::spawn(|| {
                    assert!(has_alternate_stack());
                    run(|| spawn(|| ()).wait());
                    assert!(has_alternate_stack());
                })
                .join()
                .unwrap();
            }
        );
        ended.well();
    }
}

// ---- how many there can be ----

#[cfg(target_os = "linux")]
mod mappings {
    use super::*;
    use greenlet::JoinError;
    use greenlet::sync::Event;
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
            false => died_of_the_overflow(&ended, "#50001 overflowed its stack of 32 KiB"),
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
            false => died_of_the_overflow(&ended, "#65 overflowed its stack of 256 KiB"),
        }
    }

    /// A stack of before may be half of a slab, whose other half can have guards of the other
    /// kind only.
    #[test]
    fn memory_that_is_locked_beside_stacks_that_are_in_use() {
        let ended = child!(memory_that_is_locked_beside_stacks_that_are_in_use, || {
            let end = Rc::new(Event::new());
            assert_eq!(waiting(3, &end), (0, None));
            // SAFETY: no memory is accessed.
            if unsafe { libc::mlockall(libc::MCL_CURRENT | libc::MCL_FUTURE) } != 0 {
                println!("SKIPPED: memory may not be locked here");
            }
            for _ in 0..3 {
                assert_eq!(waiting(200, &end), (0, None));
            }
            end.set();
            yield_now();
            assert_eq!(waiting(1000, &end), (0, None));
        });
        println!("{}", ended.out);
        ended.well();
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

// ---- how much they use ----

/// Stacks are used again and again, and each greenlet is told apart from those before it.
#[cfg(target_os = "linux")]
#[test]
fn use_of_stacks_is_measured_by_place_and_size() {
    use greenlet::{StackUse, measure_stacks, scope, stack_use};

    /// Puts so many KiB into frames; returns the lowest address that it has seen.
    #[inline(never)]
    fn fill(kib: usize) -> usize {
        let mut frame = [1u8; 1024];
        let here = std::hint::black_box(&raw mut frame).addr();
        match kib {
            0 => here,
            more => fill(more - 1).min(here),
        }
    }

    /// How many bytes that has taken.
    fn use_up(kib: usize) -> usize {
        let here = 0u8;
        std::hint::black_box(&raw const here).addr() - fill(kib)
    }

    let ended = child!(use_of_stacks_is_measured_by_place_and_size, || {
        let spawns = |most: usize| {
            let work = [0, most, 10, 1].map(|kib| spawn(move || use_up(kib)).join().unwrap());
            work[1]
        };
        run(|| {
            spawns(90);
            assert_eq!(stack_use(), [], "off at the start");
            let earlier = spawn(|| {
                use_up(80);
                greenlet::sleep(Duration::from_millis(2));
            });
            yield_now();
            measure_stacks(true);
            earlier.wait();
            assert_eq!(stack_use(), [], "it had begun before");
        });
        let (most, sizes, elsewhere) = run(|| {
            let most = spawns(60);
            let sizes = [1024, 64].map(|kib| {
                let size = Builder::new().stack_size(kib << 10);
                let work = || {
                    yield_now();
                    use_up(15)
                };
                scope(|s| s.spawn_with(size, work).unwrap().join().unwrap())
            });
            // Those that are killed before they start have a turn too.
            let killed = spawn(|| ());
            killed.kill();
            killed.wait();
            // Other hubs measure too.
            let other = || run(|| spawn(|| use_up(40)).join().unwrap());
            let elsewhere = std::thread::spawn(other).join().unwrap();
            measure_stacks(false);
            yield_now();
            greenlet::sleep(Duration::from_millis(1));
            spawn(|| use_up(80)).wait();
            (most, sizes, elsewhere)
        });
        let uses = stack_use();
        let seen = |size: usize, greenlets: u64| -> Vec<usize> {
            let it = |one: &&StackUse| (one.stack_size, one.greenlets) == (size, greenlets);
            uses.iter().filter(it).map(|one| one.deepest).collect()
        };
        #[track_caller]
        fn is_that(deepest: &[usize], used: usize) {
            // What a greenlet has besides, and whole pages.
            let expected = used..used + (20 << 10);
            assert!(
                matches!(deepest, [one] if expected.contains(one)),
                "{deepest:?} {used}"
            );
        }
        assert!(uses.is_sorted_by_key(|one| (one.spawned_at.line(), one.stack_size)));
        is_that(&seen(256 << 10, 4), most);
        is_that(&seen(1 << 20, 1), sizes[0]);
        is_that(&seen(64 << 10, 1), sizes[1]);
        let ones = seen(256 << 10, 1);
        assert_eq!((ones.len(), ones[0]), (2, 16 << 10), "killed: {uses:#?}");
        is_that(&ones[1..], elsewhere);
        let line = uses[0].to_string();
        assert!(
            line.starts_with("tests/stacks.rs:") && line.ends_with("KiB of 256 KiB, 4 greenlets"),
            "{line}"
        );
        measure_stacks(true);
        assert_eq!(stack_use(), [], "begun anew");
    });
    ended.well();
}

/// A hub that has nothing to do for a while gives nearly all back, of greenlets and of
/// generators, and goes on as before.
#[cfg(target_os = "linux")]
#[test]
fn idle_stacks_do_not_grow_memory_for_ever() {
    use greenlet::{HubStatistics, sleep, statistics};
    use std::fs;
    use std::time::Instant;

    const MANY: usize = 5000;

    fn resident() -> usize {
        let pages = fs::read_to_string("/proc/self/statm").unwrap();
        pages.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
    }
    fn numbers() -> HubStatistics {
        statistics().unwrap()
    }
    fn burst() {
        let body = || {
            yield_now();
            deep(3)
        };
        let all: Vec<_> = (0..MANY).map(|_| spawn(body)).collect();
        let mut bodies: Vec<_> = (0..MANY)
            .map(|_| Generator::new(|y: &Yielder<(), ()>, ()| y.yield_(())))
            .collect();
        bodies.iter_mut().for_each(|body| _ = body.resume(()));
        bodies.iter_mut().for_each(|body| _ = body.resume(()));
        assert!(greenlet::join_all(all).iter().all(Result::is_ok));
    }
    /// Until so few are left; true if that has come.
    fn comes_down_to(most: usize) -> bool {
        let begin = Instant::now();
        while numbers().stacks > most {
            if begin.elapsed() > child::HANGS / 2 {
                return false;
            }
            sleep(Duration::from_millis(50));
        }
        true
    }

    let ended = child!(idle_stacks_do_not_grow_memory_for_ever, || {
        run(|| {
            spawn(|| ()).wait();
            let few = numbers();
            // One has run, the other is the spare.
            assert_eq!((few.stacks, few.idle_stacks), (2, 2));
            assert_eq!(few.stack_bytes, (256 + 64) << 10);
            let waiting = spawn(|| sleep(Duration::from_secs(3600)));
            yield_now();
            assert_eq!((numbers().stacks, numbers().idle_stacks), (2, 1));
            for _ in 0..2 {
                burst();
                let many = numbers();
                assert!(many.stacks > 2 * MANY, "{many:?}");
                assert_eq!(
                    many.idle_stacks,
                    many.stacks - 1,
                    "all but the one that waits"
                );
                let before = resident();
                // 64 of both, the one that waits, and the spare.
                assert!(comes_down_to(2 * 64 + 2), "{:?}", numbers());
                let after = resident();
                assert!(before - after > 2 * MANY * 4096 * 3 / 4, "{before} {after}");
                assert_eq!(
                    numbers().stack_bytes,
                    (2 * 64 + 1) * (256 << 10) + (64 << 10)
                );
            }
            waiting.kill();
        });
    });
    ended.well();
}

/// Nothing wakes it for as long as it takes: it wakes by itself.
#[cfg(target_os = "linux")]
#[test]
fn a_hub_that_sleeps_gives_stacks_back() {
    use std::fs;
    use std::time::Instant;

    let ended = child!(a_hub_that_sleeps_gives_stacks_back, || {
        let hub = greenlet::HubThread::start("sleeper").unwrap();
        let resident = || {
            let pages = fs::read_to_string("/proc/self/statm").unwrap();
            let pages = pages.split(' ').nth(1).unwrap();
            pages.parse::<usize>().unwrap() * 4096
        };
        let before = resident();
        // It has nothing to do until then.
        let late = hub
            .handle()
            .spawn(|| greenlet::sleep(Duration::from_secs(3600)));
        let burst = hub.handle().spawn(|| {
            let all: Vec<_> = (0..5000).map(|_| spawn(yield_now)).collect();
            greenlet::join_all(all).len()
        });
        assert_eq!(burst.join().unwrap(), 5000);
        let begin = Instant::now();
        let most = before + 5000 * 4096 / 2;
        assert!(resident() > most, "it has them for a while");
        while resident() > most {
            assert!(
                begin.elapsed() < child::HANGS / 2,
                "{before} {}",
                resident()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
        assert_eq!(hub.handle().spawn(|| deep(5)).join().unwrap(), 5);
        late.kill();
        hub.stop();
        hub.join().unwrap();
    });
    ended.well();
}

//! What a workload takes.

use std::time::{Duration, Instant};

/// What is put into an unbounded queue before the getters have their turn.
pub(crate) const BURST: usize = 128;

/// What `n` operations took.
pub(crate) struct Spent {
    pub(crate) n: usize,
    /// The time of all threads of this process on processors, user and system.
    pub(crate) processor: Duration,
    pub(crate) wall: Duration,
}

impl std::ops::AddAssign for Spent {
    fn add_assign(&mut self, more: Self) {
        self.n += more.n;
        self.processor += more.processor;
        self.wall += more.wall;
    }
}

fn processor_time() -> Duration {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: it writes to the place it is given.
    let failed = unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut time) };
    assert_eq!(failed, 0, "no clock of the process's processor time");
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Begins to measure.
pub(crate) struct Clock(Duration, Instant);

impl Clock {
    pub(crate) fn start() -> Self {
        Self(processor_time(), Instant::now())
    }

    pub(crate) fn stop(self, n: usize) -> Spent {
        Spent {
            n,
            processor: processor_time() - self.0,
            wall: self.1.elapsed(),
        }
    }
}

/// What `n` operations take that `f` does.
pub(crate) fn spent(n: usize, f: impl FnOnce()) -> Spent {
    let clock = Clock::start();
    f();
    clock.stop(n)
}

/// For latencies that were taken one by one.
pub(crate) fn latency(n: usize, sum: Duration) -> Spent {
    Spent {
        n,
        processor: sum,
        wall: sum,
    }
}

/// This thread, and those that it starts from now on, stay on the last processor they may use.
pub(crate) fn stay_on_one_processor() {
    // SAFETY: a set of processors is plain data; the calls read and write only that.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        let size = size_of_val(&set);
        assert_eq!(libc::sched_getaffinity(0, size, &mut set), 0);
        let last = (0..libc::CPU_SETSIZE as usize).rfind(|&i| libc::CPU_ISSET(i, &set));
        libc::CPU_ZERO(&mut set);
        libc::CPU_SET(last.unwrap(), &mut set);
        assert_eq!(libc::sched_setaffinity(0, size, &set), 0);
    }
}

/// glibc gives memory back to the system and takes it again, or does not, by what happens to lie
/// at the end of the heap: up to 50 ns a spawn, for one peer and not for another. Here it keeps it.
pub(crate) fn keep_memory() {
    #[cfg(target_env = "gnu")]
    // SAFETY: settings of the allocator, at any time.
    unsafe {
        libc::mallopt(libc::M_TRIM_THRESHOLD, i32::MAX);
        libc::mallopt(libc::M_MMAP_THRESHOLD, 1 << 30);
    }
}

/// Numbers that look random, the same ones each time: xorshift (Marsaglia, 2003).
pub(crate) fn chance(seed: usize) -> impl FnMut(u64) -> u64 {
    let mut x = seed as u64 * 0x9E37_79B9_7F4A_7C15 + 1;
    move |below| {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        x % below
    }
}

/// Time limits of so many seconds to twice that.
pub(crate) fn limits(seconds: u64) -> impl FnMut() -> Duration {
    let mut chance = chance(1);
    move || Duration::from_secs(seconds) + Duration::from_micros(chance(seconds * 1_000_000))
}

/// The sum of the first numbers, which receivers check.
pub(crate) fn sum(n: usize) -> usize {
    n * n.saturating_sub(1) / 2
}

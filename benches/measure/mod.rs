//! What the benches measure by: the thread's time on a processor, on which other load on the
//! machine counts less than on the wall clock. And what they are asked for.

use std::sync::LazyLock;
use std::time::Duration;

/// The time this thread has been on a processor.
#[cfg(unix)]
fn cpu_time() -> Duration {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: it writes to the place it is given.
    let failed = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    assert_eq!(failed, 0, "no clock of the thread's processor time");
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Where there is no such clock: the time since the first call.
#[cfg(not(unix))]
fn cpu_time() -> Duration {
    static BEGIN: std::sync::OnceLock<std::time::Instant> = std::sync::OnceLock::new();
    BEGIN.get_or_init(std::time::Instant::now).elapsed()
}

/// The time that `f` takes.
pub(crate) fn timed(f: impl FnOnce()) -> Duration {
    let start = cpu_time();
    f();
    cpu_time() - start
}

/// The command line: `[--list] [--iterations N] [NAME...]`.
pub(crate) struct Options {
    pub(crate) names: Vec<String>,
    /// Only say what there is.
    pub(crate) list: bool,
    /// Only do so many operations of the workload with exactly the given name.
    pub(crate) iterations: Option<usize>,
}

/// What the program was started with.
pub(crate) fn options() -> &'static Options {
    static OPTIONS: LazyLock<Options> = LazyLock::new(|| {
        let mut options = Options {
            names: vec![],
            list: false,
            iterations: None,
        };
        let mut arguments = std::env::args().skip(1);
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--bench" => {} // from cargo
                "--list" => options.list = true,
                "--iterations" => {
                    let n = arguments.next().expect("--iterations N");
                    options.iterations = Some(n.parse().expect("a number of iterations"));
                }
                _ => options.names.push(argument),
            }
        }
        options
    });
    &OPTIONS
}

/// Whether the line of that name is to be measured: its name contains each name that was given.
pub(crate) fn is_asked_for(name: &str) -> bool {
    options().names.iter().all(|part| name.contains(part))
}

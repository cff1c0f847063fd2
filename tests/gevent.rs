//! gevent's answers.
//!
//! Each test is one program that was run under real gevent; its output lies in `tests/gevent/NN_name.out`. The test
//! runs the same program on this crate, in a `Simulation` (virtual clock), collects what it prints in a String and
//! compares it byte for byte. Exceptions are listed here; [`PROGRAMS`] holds the same list for the table test.
//!
//! # Same text
//! 01 08 10 14 15 29 34 58 61 64 65 68 75 76 83. What Python says in another way is said in ours: a blocking `kill()` is `kill` and
//! `wait`, `sleep(0)` is `yield_now`, `raise` in a greenlet is a panic; 61 finds the first failure with `wait_any`
//! (`joinall(raise_error=True)` does not exist, `scope` is the form that fails fast), 83 waits with `wait_any` in a
//! loop in place of `iwait` and counts duplicates with `wait_all`; in 14 the late link runs at once, which does not show;
//! 64 says `apply` as `spawn` and `join`, two inputs as `zip`, and runs in itself what has no place.
//!
//! # Same text, without what cannot be said here
//! - 20: without `truthy when empty` (Python only).
//! - 40: without `wait` (there is no `Semaphore::wait`), `negative refused` (`new` takes a `usize`) and DummySemaphore.
//! - 43: without `cannot release` (only a guard unlocks, and another greenlet has none).
//! - 44: without the texts of exceptions and the flag `pending` after the block (a scope is a value, not an object).
//! - 46: without the double start, `start_new` and the identity of what was raised: `Timeout::run` starts it, once.
//! - 47: without the foreign Timeout: nobody can raise an expiry that is not his.
//! - 50: without the lines `new` (a greenlet is spawned when it is made), the second start and the object's identity.
//! - 70: without `gevent.wait()` with no arguments (waiting for the whole loop).
//! - 72: without the kind of the error: a wait in a link (`no_switch`) panics, and the panic says so.
//! - 80: greenlets that wait stand for raw callbacks; without the semaphore's line (no `Semaphore::wait`).
//!
//! # A deliberate difference, and the better answer is asserted
//! - 04, 09: a set event lets a newcomer through at once; it does not queue behind those woken before.
//! - 06: `late 0`: a wait that begins after `set` and `clear` has nothing to do with that `set`.
//! - 13: a second `set` is refused and gives the value back.
//! - 17, 31, 39: an item or a permit goes to the first waiter, by hand-off; nobody steals it, nobody barges.
//! - 21: `Queue(0)` does not exist (and negative capacities and initial items neither).
//! - 25: no blocking peek; `peek_nowait` takes part in nothing.
//! - 27: the item goes to the getter that waits at the put (9), whatever smaller one is put later; variants have no
//!   initial items.
//! - 32: a put or get that meets its partner returns without switching.
//! - 52: `Killed` is its own outcome, no success; a kill is sticky, so `stubborn` does not get its second nap; a kill
//!   carries no error of one's own; `shield` is the way to ignore one for a while.
//! - 54: a kill is a state, not a message: two kills are one, raised at every wait until the greenlet ends.
//! - 55: a late link runs at once; links have no filter but the `Result` they get, and no `unlink`.
//! - 67: a member leaves before those who wait for it wake, so a killed one is not counted; `join(raise_error=True)` is
//!   a look at the handle, `kill(block=False)` is `kill_nowait`.
//! - 71: a failure is the greenlet's outcome, named in the `JoinError`, not a report to a handler; a kill is no
//!   failure report either; an exit request has no place in a library.
//! - 79: any thread may use a pool (`foreign 0`); the hub has no handler to which a job's error is reported.
//! - 81: `set` never runs anything of the waiter, in a thread without a hub neither.
//! - 85: a pool that waits for itself is told to the member that waits last, which ends by it: nobody has to be killed.
//! - 86: a put from any thread wakes the getter (`got 1`, `quick 1`).
//! - 87: a program with another thread alive is not called deadlocked (`woke 1`).
//!
//! # Later parts
//! 73 idle; 84 spawn-tree locals.

use std::cell::RefCell;
use std::fmt::Write as _;
use std::time::Duration;

use greenlet::testing::Simulation;
use greenlet::{Greenlet, JoinError, join_all};

thread_local! {
    static PRINTED: RefCell<String> = const { RefCell::new(String::new()) };
}

/// One printed line, as `print` of Python.
macro_rules! say {
    ($($arg:tt)*) => { $crate::line(format_args!($($arg)*)) };
}

/// The recorded output of gevent.
macro_rules! gevent_said {
    ($name:literal) => {
        include_str!(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/gevent/",
            $name,
            ".out"
        ))
    };
}

#[path = "gevent/events.rs"]
mod events;
#[path = "gevent/greenlets.rs"]
mod greenlets;
#[path = "gevent/limits.rs"]
mod limits;
#[path = "gevent/pools.rs"]
mod pools;
#[path = "gevent/queues.rs"]
mod queues;
#[cfg(all(unix, feature = "net"))]
#[path = "gevent/servers.rs"]
mod servers;
#[path = "gevent/threads.rs"]
mod threads;

/// Appends a line to what this thread's program has printed.
fn line(args: std::fmt::Arguments<'_>) {
    PRINTED.with_borrow_mut(|out| {
        out.write_fmt(args).expect("a String takes all");
        out.push('\n');
    });
}

/// What `program` prints on the virtual clock.
fn printed(program: impl FnOnce()) -> String {
    printed_live(|| Simulation::new().run(program))
}

/// What `program` prints, run as it is: on the real clock, on this thread's own hub.
fn printed_live(program: impl FnOnce()) -> String {
    PRINTED.take();
    program();
    PRINTED.take()
}

/// `gevent`'s output without the parts that cannot be said here. Each part must be there.
fn without(gevent: &str, parts: &[&str]) -> String {
    parts.iter().fold(gevent.to_owned(), |text, part| {
        assert!(text.contains(part), "gevent never printed {part:?}");
        text.replace(part, "")
    })
}

/// A deliberate difference: gevent printed something else, and `ours` is the answer.
fn differs(got: &str, gevent: &str, ours: &str) {
    assert_ne!(gevent, ours, "no difference: compare with gevent's output");
    assert_eq!(got, ours);
}

/// Objects that greenlets share live as long as the test process.
fn leak<T>(value: T) -> &'static T {
    Box::leak(Box::new(value))
}

/// Milliseconds.
fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// Booleans are printed as 1 and 0.
fn b(flag: bool) -> u8 {
    u8::from(flag)
}

/// `joinall` where all succeed.
fn all<T>(handles: Vec<Greenlet<T>>) -> Vec<T> {
    join_all(handles)
        .into_iter()
        .map(|r| r.expect("this greenlet succeeds"))
        .collect()
}

/// What a greenlet's failure says, without the greenlet's name: `str(e)` of Python.
fn message(error: &JoinError) -> String {
    match error {
        JoinError::Panicked { payload, .. } => payload.to_string(),
        other => other.to_string(),
    }
}

/// How a program is answered.
#[derive(Debug, PartialEq)]
enum Answer {
    /// Byte for byte.
    Same,
    /// Byte for byte, but for parts that have no counterpart.
    Without,
    /// Another answer, on purpose.
    Differs,
    /// Its part of the crate does not exist yet.
    Later(&'static str),
}
use Answer::{Differs, Later, Same, Without};

/// Every program of `shared/gevent`, in order. The module docs give the reasons.
const PROGRAMS: [(&str, Answer); 48] = [
    ("01_event_five_waiters", Same),
    ("04_event_arrivals_after_set", Differs),
    ("06_event_wait_after_clear_quirk", Differs),
    ("08_event_ping_pong", Same),
    ("09_event_same_pass_rewait", Differs),
    ("10_asyncresult_value_fanout", Same),
    ("13_asyncresult_second_set_quirk", Differs),
    ("14_asyncresult_as_link_target", Same),
    ("15_queue_three_workers_nowait", Same),
    ("17_queue_greedy_consumer_quirk", Differs),
    ("20_queue_full_empty_errors", Without),
    ("21_queue_maxsize_forms", Differs),
    ("25_queue_peek", Differs),
    ("27_queue_lifo_priority", Differs),
    ("29_queue_shutdown", Same),
    ("31_queue_steal_quirk", Differs),
    ("32_channel_rendezvous", Differs),
    ("34_sem_two_permits_six_workers", Same),
    ("39_sem_barging_quirk", Differs),
    ("40_sem_bounds", Without),
    ("43_rlock", Without),
    ("44_timeout_forms", Without),
    ("46_timeout_object_protocol", Without),
    ("47_with_timeout", Without),
    ("50_greenlet_lifecycle", Without),
    ("52_kill_variants", Differs),
    ("54_two_pending_kills", Differs),
    ("55_links_order", Differs),
    ("58_sleep_order", Same),
    ("61_joinall_errors", Same),
    ("64_pool_map_family", Same),
    ("65_pool_errors", Same),
    ("67_group", Differs),
    ("68_local_isolation", Same),
    ("70_deadlock_not_with_timer", Without),
    ("71_unhandled_error_report", Differs),
    ("72_blocking_in_loop_callback", Without),
    ("73_idle", Later("idle")),
    ("75_tcp_echo", Same),
    ("76_tcp_server_limit", Same),
    ("79_threadpool", Differs),
    ("80_rawlink_event_and_semaphore", Without),
    ("81_rawlink_before_hub_quirk", Differs),
    ("83_iwait_with_pauses_and_duplicates", Same),
    ("84_spawn_tree_locals", Later("spawn-tree locals")),
    ("85_pool_nested_spawn_deadlock", Differs),
    ("86_cross_thread_put_quirk", Differs),
    ("87_foreign_thread_deadlock_quirk", Differs),
];

#[test]
fn every_program_is_ported_or_listed_with_a_reason() {
    let numbers = [
        1, 4, 6, 8, 9, 10, 13, 14, 15, 17, 20, 21, 25, 27, 29, 31, 32, 34, 39, 40, 43, 44, 46, 47,
        50, 52, 54, 55, 58, 61, 64, 65, 67, 68, 70, 71, 72, 73, 75, 76, 79, 80, 81, 83, 84, 85, 86,
        87,
    ];
    let ports = concat!(
        include_str!("gevent/events.rs"),
        include_str!("gevent/greenlets.rs"),
        include_str!("gevent/limits.rs"),
        include_str!("gevent/pools.rs"),
        include_str!("gevent/queues.rs"),
        include_str!("gevent/servers.rs"),
        include_str!("gevent/threads.rs"),
    );
    // However the sources are laid out.
    let ports = ports.split_whitespace().collect::<String>();
    let docs: Vec<&str> = include_str!("gevent.rs")
        .lines()
        .take_while(|l| l.starts_with("//!"))
        .collect();
    let docs = docs.join("\n");
    assert_eq!(PROGRAMS.len(), numbers.len());
    for ((name, answer), number) in PROGRAMS.iter().zip(numbers) {
        assert!(
            name.starts_with(&format!("{number:02}_")),
            "{name} stands where {number} should"
        );
        let count = |text: String| ports.matches(&text).count();
        let expected = usize::from(!matches!(answer, Later(_)));
        let recorded = format!("gevent_said!(\"{name}\")");
        assert_eq!(
            count(format!("#[test]fnp{name}(){{")),
            expected,
            "tests of {name}"
        );
        assert_eq!(count(recorded.clone()), expected, "comparisons of {name}");
        let differs = count(format!("differs(&got,{recorded}")) == 1;
        assert_eq!(differs, *answer == Differs, "{name}: {answer:?}");
        let heading = match answer {
            Same => "# Same text\n",
            Without => "# Same text, without",
            Differs => "# A deliberate difference",
            Later(_) => "# Later parts",
        };
        let section = docs.split_once(heading).expect("a heading").1;
        let section = section.split("\n//! # ").next().expect("a section");
        let mut words = section.split(|c: char| !c.is_ascii_digit());
        assert!(
            words.any(|w| w == &name[..2]),
            "{name} is not in the docs under {heading}"
        );
    }
}

//! loom models: every interleaving, up to a bound, of the machinery and of each
//! primitive.
//!
//! ```text
//! RUSTFLAGS="--cfg greenlet_loom -C debug-assertions" \
//!     cargo test --release --lib models -- --test-threads=2 --nocapture
//! ```
//!
//! For a long run, `GREENLET_LOOM_MORE=1` allows one preemption more in each model.
//!
//! What is raced is the crate's own code. Three things stand in for what loom has
//! not:
//!
//! - *Time.* A limit of zero on a plain thread or a hub expires at once, so the
//!   scheduler decides whether it is before or after a wake. Where the waiter is
//!   to be parked already, another thread ends its wait through [`Remote`].
//! - *Data.* A model's data are relaxed atomics: that they are seen follows from
//!   what the primitive orders, and from nothing else. Assertions about them stand
//!   in the threads that race, since joining a thread orders everything.
//! - *Sharing.* Primitives are shared by std's `Arc`, which loom does not see: it
//!   adds neither branches nor order.
//!
//! A wake that is lost is a deadlock, which loom reports. Each model names the
//! ends that must have been [`Seen`], so that none passes by never racing.

// | file | what races |
// |---|---|
// | `wait` | the core with plain threads: word, monitor, lists |
// | `primitives`, `queues`, `channels` | each primitive with plain threads; a greenlet's end |
// | `locks` | `Mutex`, `RwLock`, `ReentrantMutex`, `Condvar` |
// | `coordination` | `Barrier`, `Latch`, `WaitGroup`, `Notify`, `OnceCell` |
// | `watch` | `Watch`, `Broadcast` |
// | `any`, `select` | `wait_any` and select: several nodes on one word |
// | `futures` | waits that are polled, by one task or another, and dropped |
// | `races` | a wake, the limit and a kill for one wait, primitive by primitive |
// | `batches` | one more than a batch of wakes holds, one of whom leaves |
// | `inbox` | the inbox alone |
// | `hub`, `between_hubs` | greenlets on one hub, and on two |
// | `generators` | waits in bodies of generators |
// | `greenlets` | ends, links, locals, scopes, shields, handles of hubs |
// | `ends`, `abandoned` | hubs that end, and threads that end without having ended theirs |
//
// Faults, and the model that must find each, are in `verify/mutants.txt`.
//
// Four things no model does. A destructor that takes a lock in an unwind, as a permit's
// does when its greenlet is killed: loom's mutexes would count as poisoned for other
// threads of the model; the models of shuttle have such. A wait that ends at a deadline
// which is not over at once: loom's condition variables have no timeouts. A thread of the
// system's. And loads of a value that a later store makes (load buffering), spurious
// wakes, and fences of sequential consistency, of which the crate has none.
//
// loom's own search for orders overlooked some: see `rt/sync`. Some models run twice, with
// their sides on either thread, from the time before that was known.

mod abandoned;
mod any;
mod batches;
mod between_hubs;
mod channels;
mod coordination;
mod ends;
mod futures;
mod generators;
mod greenlets;
mod hub;
mod inbox;
mod locks;
mod primitives;
mod queues;
mod races;
#[cfg(all(unix, feature = "net"))]
mod readiness;
mod select;
mod wait;
mod watch;

use super::inbox::{Address, Waiter};
use super::park::Party;
use super::sync::Arc as Shared;
use super::word::Word;
use crate::Greenlet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize as Plain, Ordering};
use std::time::Instant;

/// Runs a model in all interleavings with at most `bound` preemptions (`None`:
/// all), and says how many there were.
fn explore(name: &str, bound: Option<usize>, model: impl Fn() + Send + Sync + 'static) {
    println!("model {name}");
    let more = std::env::var("GREENLET_LOOM_MORE");
    let more: usize = more.map_or(0, |n| n.parse().expect("a number of preemptions"));
    let bound = bound.map(|b| b + more);
    let (runs, began) = (Arc::new(Plain::new(0)), Instant::now());
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = bound;
    builder.max_branches = 20_000;
    // Whatever loom's own variables say: a model that is cut short proves nothing.
    (builder.max_permutations, builder.max_duration) = (None, None);
    builder.checkpoint_file = None;
    builder.check({
        let runs = runs.clone();
        move || {
            runs.fetch_add(1, Ordering::Relaxed);
            model();
        }
    });
    let bound = bound.map_or("none".to_owned(), |b| b.to_string());
    let runs = runs.load(Ordering::Relaxed);
    println!(
        "model {name}: {runs} executions, bound {bound}, {:.1?}, in {}",
        began.elapsed(),
        this_test()
    );
}

/// The path of the test whose thread calls: two run at a time.
fn this_test() -> String {
    let thread = std::thread::current();
    thread.name().expect("a test's thread has its name").into()
}

/// A thread of the model with room for a hub on its stack.
fn thread<T, F>(f: F) -> loom::thread::JoinHandle<T>
where
    T: Send + 'static,
    F: FnOnce() -> T + Send + 'static,
{
    // In words.
    let builder = loom::thread::Builder::new().stack_size(0x8000);
    builder.spawn(f).expect("loom always has one")
}

/// A thread that kills the greenlet.
fn killer<T>(greenlet: &Arc<Greenlet<T>>) -> loom::thread::JoinHandle<()>
where
    T: Send + Sync + 'static,
{
    let greenlet = greenlet.clone();
    thread(move || greenlet.kill())
}

/// Which ends a model has had, over all its executions.
#[derive(Clone)]
struct Seen(Arc<[Plain; 4]>);

impl Seen {
    fn new() -> Self {
        Seen(Arc::default())
    }

    fn hit(&self, end: usize) {
        self.0[end].fetch_add(1, Ordering::Relaxed);
    }

    /// Each of the first `n` ends was had.
    fn all(&self, n: usize) {
        let counts = self.0.each_ref().map(|c| c.load(Ordering::Relaxed));
        println!("    ends {:?} in {}", &counts[..n], this_test());
        assert!(
            counts[..n].iter().all(|&c| c > 0),
            "an end was never had: {counts:?}"
        );
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

// SAFETY: a word is Sync; see `Remote::end`.
unsafe impl Send for Remote {}

/// The calling thread's waiter, for another thread to end its wait.
struct Remote {
    word: *const Word,
    address: Shared<Address>,
}

impl Remote {
    /// Of a plain thread, which outlives the use of it.
    fn here() -> Self {
        let party = Party::current();
        let waiter: &Waiter = party.waiter();
        Remote {
            word: &waiter.word,
            address: waiter.address().clone(),
        }
    }

    /// Ends the wait by `how` if it goes on now; true if it did.
    fn end(&self, how: fn(&Word) -> bool) -> bool {
        // SAFETY: the thread that made it joins the one that has it.
        let won = how(unsafe { &*self.word });
        if won {
            self.address.wake();
        }
        won
    }
}

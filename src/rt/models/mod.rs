//! loom models: every interleaving, up to a bound, of the machinery and of each
//! primitive.
//!
//! ```text
//! RUSTFLAGS="--cfg greenlet_loom -C debug-assertions" \
//!     cargo test --release --lib models -- --test-threads=1 --nocapture
//! ```
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

// # Faults and the models that find them
//
// Each fault was put into a copy of the crate, alone, and all models run.
//
// | fault | found by (among others) |
// |---|---|
// | word: `decide` with a relaxed success | wait::word_alone (only: elsewhere a lock or the inbox orders it too) |
// | word: `decide` by load and store | wait::wake_against_expiry, ends::kill_against_wake |
// | claim: wake not collected | any::two_nodes_on_one_word, hub::greenlet_is_woken |
// | claim: gives up at the first that is leaving | wait::put_against_first_leaving, queues::queue_rendezvous |
// | deliver: only the first wake of a batch | hub::broadcast_to_a_hub |
// | leaver does not unlink | ends::kill_against_wake, ends::wake_against_hub_end |
// | `left` does not grant | primitives::head_that_leaves_lets_the_next_in |
// | thread leaves without passing the lock | any::loser_goes_on_to_the_next, ends::spawn_against_hub_end |
// | broadcast: tickets not looked at | wait::broadcast_against_arrivals |
// | broadcast: stops after a batch | wait::broadcast_against_arrivals, hub::broadcast_to_a_hub |
// | wait_any: index 0 always | any::two_nodes_on_one_word |
// | wait_any: losers not unlinked | any::two_nodes_and_an_expiry |
// | wait_any: goes on although its word was lost | any::two_nodes_of_a_greenlet |
// | latch: `ready` stored, or loaded, relaxed | primitives::async_result_two_setters |
// | inbox: no unpark on SLEEP | ends::kill_against_wake, any::two_nodes_of_a_greenlet |
// | inbox: sleeps by a store | ends::kill_against_wake, any::two_nodes_of_a_greenlet |
// | inbox: push, or the drain's swap, relaxed | any::two_nodes_of_a_greenlet, ends::kill_against_hand_over |
// | inbox: drain by load and store | hub::broadcast_to_a_hub |
// | inbox: link of MAIL read after its mail was taken | inbox::letters_and_a_wake |
// | hub: wakes refused from the begin of the end (a bug the models found) | ends::wake_against_hub_end |
// | hub: kill makes ready who was claimed | ends::kill_against_wake |
// | fast word: WAITERS not looked at, or not written | ends::wake_against_hub_end |
// | fast word: relaxed at unlock | primitives::event_set_clear_wait |
// | fast word: relaxed at lock, in `fast`, in `number` | hub::greenlet_is_woken |
// | link: outcome looked at before the lock | primitives::link_and_join_against_the_end |
// | publish: links unlocked before the outcome is given | primitives::link_and_join_against_the_end |
//
// loom's reduction looks for the last access to a word only, so it misses orders
// that turn on an earlier one: where that showed, a model runs with its sides on
// either thread.

mod abandoned;
mod any;
mod batches;
mod between_hubs;
mod ends;
mod greenlets;
mod hub;
mod inbox;
mod primitives;
mod queues;
mod races;
#[cfg(all(unix, feature = "net"))]
mod readiness;
mod wait;

use super::inbox::{Address, Waiter};
use super::park::Party;
use super::sync::Arc as Shared;
use super::word::Word;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize as Plain, Ordering};
use std::time::Instant;

/// Runs a model in all interleavings with at most `bound` preemptions (`None`:
/// all), and says how many there were.
fn explore(name: &str, bound: Option<usize>, model: impl Fn() + Send + Sync + 'static) {
    println!("model {name}");
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
        "model {name}: {runs} executions, bound {bound}, {:.1?}",
        began.elapsed()
    );
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
        println!("    ends {:?}", &counts[..n]);
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
            address: waiter.address.clone(),
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

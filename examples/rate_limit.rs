//! A limit on the rate of requests, as a token bucket: `cargo run --release --example rate_limit`
//!
//! Three clients ask as fast as they may; the bucket lets a burst of 5 through, then one
//! every 100 ms. Whoever waits is served in order of arrival, so the clients take turns.
//!
//! It runs in a `Simulation`: the clock jumps from wait to wait, so that two seconds of
//! traffic take no time and always print the same. With `--real` it takes its two seconds.

use greenlet::sync::BoundedSemaphore;
use greenlet::testing::Simulation;
use greenlet::{now, scope, sleep};
use std::time::Duration;

const BURST: usize = 5;
const INTERVAL: Duration = Duration::from_millis(100);
const REQUESTS: usize = 8;

/// Takes are permits that nobody gives back; a greenlet puts one in at every interval, and the
/// semaphore's bound is how many it holds at most.
struct Bucket(BoundedSemaphore);

impl Bucket {
    const fn new() -> Self {
        Bucket(BoundedSemaphore::new(BURST))
    }

    fn take(&self) {
        self.0.acquire().forget();
    }

    /// For ever: whoever started it kills it.
    fn fill(&self) {
        let mut next = now();
        loop {
            next += INTERVAL;
            // To the moment, however long the rest takes: the rate does not drift.
            sleep(next.saturating_duration_since(now()));
            // Over the bound it adds nothing.
            let _ = self.0.release();
        }
    }
}

fn clients() {
    let bucket = Bucket::new();
    let began = now();
    scope(|s| {
        let filler = s.spawn(|| bucket.fill());
        let clients = ["anna", "bert", "cleo"].map(|name| {
            let bucket = &bucket;
            s.spawn(move || {
                for request in 1..=REQUESTS {
                    bucket.take();
                    let at = now().duration_since(began).as_millis() / 100 * 100;
                    println!("{at:4} ms: {name}, request {request}");
                }
            })
        });
        clients.into_iter().for_each(|client| client.wait());
        filler.kill();
    });
}

fn main() {
    match std::env::args().nth(1).as_deref() {
        None => Simulation::new().run(clients),
        Some("--real") => clients(),
        Some(_) => {
            eprintln!("usage: rate_limit [--real]");
            std::process::exit(2);
        }
    }
}

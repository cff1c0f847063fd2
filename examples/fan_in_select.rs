//! Several sources, one sink: `cargo run --release --example fan_in_select`
//!
//! The sink takes from whichever source has something, by `select!`, without a greenlet for
//! each; beside them it listens for the order to stop, and says so when nothing has come for
//! a while. Sources of which several are ready come in turn, so a busy one does not starve
//! the others.
//!
//! It runs in a `Simulation`, so it always prints the same, at once.

use greenlet::sync::{Event, Queue};
use greenlet::testing::Simulation;
use greenlet::{now, scope, select, sleep};
use std::time::Duration;

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn main() {
    Simulation::new().run(fan_in);
}

fn fan_in() {
    let (ticks, words, readings) = (Queue::bounded(1), Queue::rendezvous(), Queue::unbounded());
    let stop = Event::new();
    let began = now();
    scope(|s| {
        s.spawn(|| {
            for tick in 1..=4 {
                sleep(ms(10));
                ticks.put(tick).unwrap();
            }
        });
        s.spawn(|| {
            for word in ["to", "be", "or", "not"] {
                sleep(ms(7));
                words.put(word).unwrap();
            }
        });
        s.spawn(|| {
            // All at once, and yet the others get their turn.
            sleep(ms(14));
            (1..=3).for_each(|n| readings.put(f64::from(n) / 2.0).unwrap());
        });
        s.spawn(|| {
            sleep(ms(90));
            stop.set();
        });
        let mut seen = 0;
        loop {
            let what = select! {
                get(ticks) -> tick => format!("tick {}", tick.unwrap()),
                get(words) -> word => format!("word \"{}\"", word.unwrap()),
                get(readings) -> reading => format!("reading {:.1}", reading.unwrap()),
                wait(stop) => break,
                default(ms(20)) => "nothing for 20 ms".to_owned(),
            };
            seen += 1;
            println!("{:2} ms: {what}", now().duration_since(began).as_millis());
        }
        println!("stopped after {seen} lines");
    });
}

//! Generators: what ends the driver ends the body that it is in, and what it owns.

use crate::stage::{Actor, explore, ms};
use greenlet::sync::{Mutex, Queue};
use greenlet::{Generator, sleep, timeout, yield_now};
use std::rc::Rc;

/// A body that waits before each of its items, and goes with a witness.
fn slow(a: &Actor, name: &'static str) -> Generator<(), u64, ()> {
    let a = a.clone();
    Generator::new(move |y, ()| {
        let _witness = a.stage.witness();
        for n in 0..3 {
            a.waits(name, || sleep(ms(1)));
            y.yield_(n);
        }
    })
}

/// One in another, and one that is never asked again.
#[test]
fn bodies_that_wait() {
    explore(|stage| {
        for _ in 0..2 {
            stage.actor(|a| {
                let _witness = a.stage.witness();
                let mut suspended = slow(a, "first");
                suspended.next();
                let outer = Generator::new({
                    let a = a.clone();
                    move |y, ()| {
                        let _witness = a.stage.witness();
                        for n in slow(&a, "inner") {
                            a.waits("yield_now", yield_now);
                            y.yield_(n);
                        }
                        a.sleeps(1);
                    }
                });
                let got: Vec<_> = outer.inspect(|_| a.sleeps(1)).collect();
                assert_eq!(got, [0, 1, 2]);
            });
        }
    });
}

/// Its items are the accounts': none that the body has taken is lost with it.
#[test]
fn items_through_a_body() {
    explore(|stage| {
        let queue = Rc::new(Queue::bounded(1));
        stage.line(queue.clone());
        stage.actor({
            let queue = queue.clone();
            move |a| {
                for _ in 0..4 {
                    a.puts("put", |item| queue.put(item));
                }
                a.does("shutdown", || queue.shutdown());
            }
        });
        stage.actor(move |a| {
            let b = a.clone();
            let mut got = Generator::new(move |y, ()| {
                while b.gets("get", || queue.get()) {
                    y.yield_(());
                }
            });
            while got.next().is_some() {
                a.sleeps(1);
            }
        });
    });
}

/// One body, driven by whoever has the lock: who is ended in it ends it, who is ended beside
/// it leaves it to the others.
#[test]
fn a_body_of_many_drivers() {
    explore(|stage| {
        let shared: Rc<Mutex<Option<Generator<(), u64, ()>>>> = Rc::default();
        let left = shared.clone();
        stage.afterwards(move || {
            // Who has it now can go on with it, if nobody has ended it.
            if let Some(mut left) = left.lock().take() {
                assert_eq!(left.next().is_none(), left.is_finished());
            }
        });
        for _ in 0..3 {
            let shared = shared.clone();
            stage.actor(move |a| {
                for _ in 0..2 {
                    let mut generator = a.waits("lock", || shared.lock());
                    let generator = generator.get_or_insert_with(|| {
                        // An actor must not hold itself in what outlives it.
                        let witness = a.stage.witness();
                        Generator::new(move |y, ()| {
                            let _witness = witness;
                            for n in 0.. {
                                sleep(ms(1));
                                y.yield_(n);
                            }
                        })
                    });
                    a.waits("next", || generator.next());
                    a.waits("timeout", || {
                        let _ = timeout(ms(2), || sleep(ms(1)));
                    });
                }
            });
        }
    });
}

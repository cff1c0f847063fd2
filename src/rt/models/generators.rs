//! Generators: a wait in a body, on a stack beside its driver's, against other threads.

use super::super::sync::Ordering;
use super::hub::{on_hub, pair, setter};
use super::{Seen, explore, killer, nobody_waits};
use crate::{Generator, run, spawn};
use std::sync::Arc;

/// The driver is in the body of a body when another thread sets: the wake finds it there,
/// and both bodies and the driver see what was done before.
#[test]
fn wake_of_a_body() {
    explore("wake_of_a_body", None, || {
        let (event, data) = pair();
        let setter = setter(&event, &data);
        let hub = on_hub(move || {
            let driver = spawn(move || {
                let seen = data.clone();
                let mut outer = Generator::new(move |y, ()| {
                    let mut inner = Generator::new(move |y, ()| {
                        event.wait();
                        y.yield_(data.load(Ordering::Relaxed));
                    });
                    y.yield_(inner.next());
                });
                assert_eq!(outer.next(), Some(Some(1)));
                assert_eq!(seen.load(Ordering::Relaxed), 1);
            });
            driver.join().unwrap();
        });
        setter.join().unwrap();
        hub.join().unwrap();
    });
}

/// The root is in a body, and its loop runs on the body's stack, when it is woken.
#[test]
fn wake_of_the_root_in_a_body() {
    explore("wake_of_the_root_in_a_body", Some(3), || {
        let (event, data) = pair();
        let setter = setter(&event, &data);
        let hub = on_hub(move || {
            let other = spawn({
                let event = event.clone();
                move || event.wait()
            });
            let mut generator = Generator::new(move |y, ()| {
                event.wait();
                y.yield_(data.load(Ordering::Relaxed));
            });
            assert_eq!(generator.next(), Some(1));
            other.join().unwrap();
        });
        setter.join().unwrap();
        hub.join().unwrap();
    });
}

/// A kill from one thread, a wake from another: the driver is unwound out of its body, or
/// goes on. What it owns ends, either way.
#[test]
fn kill_of_a_driver_against_a_wake() {
    let seen = Seen::new();
    explore("kill_of_a_driver_against_a_wake", Some(2), {
        let seen = seen.clone();
        move || {
            let (event, data) = pair();
            let seen = seen.clone();
            let hub = super::thread(move || {
                run(|| {
                    let driver = Arc::new(spawn({
                        let (event, data) = (event.clone(), data.clone());
                        move || {
                            let mut generator = Generator::new(move |y, ()| {
                                event.wait();
                                y.yield_(data.load(Ordering::Relaxed));
                            });
                            assert_eq!(generator.next(), Some(1));
                        }
                    }));
                    let (setter, killer) = (setter(&event, &data), killer(&driver));
                    driver.wait();
                    seen.hit(driver.is_successful().into());
                    nobody_waits(&event);
                    (setter, killer)
                })
            });
            let (setter, killer) = hub.join().unwrap();
            setter.join().unwrap();
            killer.join().unwrap();
        }
    });
    seen.all(2);
}

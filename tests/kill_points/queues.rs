//! Queues: items are neither lost nor doubled, and those of a put that failed are not in them.

use super::sync::{LifoQueue, PriorityQueue, Queue};
use crate::stage::{Item, Line, Stage, explore, ms};
use std::rc::Rc;

fn line<Q: Line + 'static>(stage: &Stage, queue: Q) -> Rc<Q> {
    let queue = Rc::new(queue);
    stage.line(queue.clone());
    queue
}

/// Getters wait for slow putters.
fn slow_putters<Q: Line + 'static>(make: fn() -> Q) {
    explore(|stage| {
        let queue = line(stage, make());
        for _ in 0..2 {
            let queue = queue.clone();
            stage.actor(move |a| {
                for _ in 0..2 {
                    a.gets("get", || queue.get());
                }
            });
        }
        stage.actor(move |a| {
            for _ in 0..2 {
                a.sleeps(1);
                a.does("puts", || {
                    for _ in 0..2 {
                        a.offer(|i| queue.put_timeout(i, ms(1)));
                    }
                });
            }
        });
    });
}

/// Putters wait for slow getters.
fn slow_getters<Q: Line + 'static>(make: fn() -> Q) {
    explore(|stage| {
        let queue = line(stage, make());
        for _ in 0..2 {
            let queue = queue.clone();
            stage.actor(move |a| {
                for _ in 0..2 {
                    a.puts("put", |i| queue.put(i));
                }
            });
        }
        stage.actor(move |a| {
            for _ in 0..4 {
                a.sleeps(1);
                a.does("gets", || a.fetch(|| queue.get_timeout(ms(1))));
            }
        });
    });
}

/// Both sides with limits, some of which tie with the other side.
fn limits<Q: Line + 'static>(make: fn() -> Q) {
    explore(|stage| {
        let queue = line(stage, make());
        for limit in [1, 2] {
            let queue = queue.clone();
            stage.actor(move |a| {
                for _ in 0..2 {
                    a.gets("get_timeout", || queue.get_timeout(ms(limit)));
                }
            });
        }
        for wait in [1, 3] {
            let queue = queue.clone();
            stage.actor(move |a| {
                a.sleeps(wait);
                for _ in 0..3 {
                    a.puts("put_timeout", |i| queue.put_timeout(i, ms(1)));
                }
            });
        }
    });
}

/// Places that are held for a while, putters behind them, and getters that let them in.
#[test]
fn places() {
    explore(|stage| {
        let queue = line(stage, Queue::<Item>::bounded(1));
        for _ in 0..2 {
            let queue = queue.clone();
            stage.actor(move |a| {
                for _ in 0..2 {
                    if let Ok(slot) = a.waits("reserve", || queue.reserve()) {
                        a.sleeps(1);
                        a.offer(|item| {
                            slot.put(item);
                            Ok(())
                        });
                    }
                }
            });
        }
        let q = queue.clone();
        stage.actor(move |a| {
            a.puts("put", |i| q.put(i));
            let slot = a.waits("reserve_timeout", || q.reserve_timeout(ms(2)));
            a.sleeps(1);
            drop(slot);
        });
        let q = queue.clone();
        stage.actor(move |a| {
            for _ in 0..6 {
                a.sleeps(1);
                a.does("gets", || a.fetch(|| q.get_timeout(ms(2))));
            }
            // Nobody comes who could wait for a place that is free.
            a.stage.afterwards({
                let q = q.clone();
                move || assert!(!q.is_full() && format!("{q:?}").contains("reserved: 0"))
            });
        });
    });
}

/// Batches on both sides, and those who put and get one item in between.
#[test]
fn batches() {
    explore(|stage| {
        let queue = line(stage, Queue::<Item>::bounded(2));
        let q = queue.clone();
        stage.actor(move |a| {
            a.waits("put_many", || a.offer_many(3, |items| q.put_many(items)));
            a.sleeps(1);
            a.waits("put_many_timeout", || {
                a.offer_many(3, |items| q.put_many_timeout(items, ms(2)))
            });
        });
        let q = queue.clone();
        stage.actor(move |a| {
            a.puts("put", |i| q.put(i));
            a.does("force_put", || {
                a.offer(|i| {
                    let displaced = q.force_put(i)?;
                    a.fetch(|| displaced.ok_or(greenlet::sync::GetError::Empty));
                    Ok(())
                })
            });
        });
        let q = queue.clone();
        stage.actor(move |a| {
            a.sleeps(2);
            while a.waits("get_many", || a.fetch_many(|| q.get_many(2))) > 0 {
                a.sleeps(1);
            }
        });
        let q = queue.clone();
        stage.actor(move |a| {
            for _ in 0..3 {
                a.sleeps(2);
                a.waits("get_many_timeout", || {
                    a.fetch_many(|| q.get_many_timeout(3, ms(1)))
                });
            }
            a.fetch_many(|| Ok(q.drain()));
            a.sleeps(2);
            q.shutdown();
        });
    });
}

/// One `mod` for each kind of queue.
macro_rules! kinds {
    ($($kind:ident: $make:expr, [$($program:ident)+];)+) => {
        $(mod $kind {
            use super::*;
            $(#[test]
            fn $program() {
                super::$program(|| $make);
            })+
        })+
    };
}

kinds! {
    unbounded: Queue::unbounded(), [slow_putters];
    bounded: Queue::bounded(1), [slow_putters slow_getters limits];
    bounded_by_two: Queue::bounded(2), [slow_getters];
    rendezvous: Queue::rendezvous(), [slow_putters slow_getters limits];
    lifo: LifoQueue::bounded(1), [slow_putters slow_getters];
    priority: PriorityQueue::bounded(1), [slow_putters slow_getters];
}

#[test]
fn join_and_task_done() {
    explore(|stage| {
        let queue = line(stage, Queue::<Item>::unbounded());
        let q = queue.clone();
        stage.actor(move |a| {
            a.does("put", || {
                for _ in 0..3 {
                    a.offer(|i| q.put(i));
                }
            });
            a.waits("join", || q.join());
        });
        let q = queue.clone();
        stage.actor(move |a| {
            let early = a.waits("join_timeout", || q.join_timeout(ms(1)));
            let late = a.waits("join_timeout", || q.join_timeout(ms(5)));
            assert!(!early || late || q.unfinished() > 0);
        });
        stage.actor(move |a| {
            for _ in 0..3 {
                a.sleeps(1);
                if a.does("get", || a.fetch(|| queue.get_nowait())) {
                    a.sleeps(1);
                    queue.task_done();
                }
            }
        });
    });
}

/// Whoever waits when the queue is shut down hears of it; those that are stored are still got.
#[test]
fn shutdown_while_they_wait() {
    explore(|stage| {
        let queue = line(stage, Queue::<Item>::bounded(1));
        for _ in 0..2 {
            let q = queue.clone();
            stage.actor(move |a| {
                for _ in 0..2 {
                    a.puts("put", |i| q.put(i));
                }
            });
        }
        let q = queue.clone();
        stage.actor(move |a| {
            a.sleeps(1);
            a.does("gets", || a.fetch(|| q.get_nowait()));
            a.sleeps(1);
            q.shutdown();
            a.does("gets", || a.fetch(|| q.get_nowait()));
            assert!(!a.fetch(|| q.get()));
        });
        let empty = line(stage, Queue::<Item>::unbounded());
        let q = empty.clone();
        stage.actor(move |a| {
            while a.gets("get until shutdown", || {
                q.iter().next().ok_or(greenlet::sync::GetError::ShutDown)
            }) {}
        });
        stage.actor(move |a| {
            a.does("put", || a.offer(|i| empty.put(i)));
            a.sleeps(2);
            empty.shutdown();
        });
    });
}

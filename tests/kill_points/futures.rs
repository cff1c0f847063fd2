//! `block_on`: what a future was given is not lost with it.

use crate::stage::{Item, explore, ms};
use greenlet::sync::{Barrier, Queue, Semaphore};
use greenlet::{block_on, spawn, timeout};
use std::rc::Rc;

/// Getters that wait as futures, beside others that do not. (A put as a future may be unwound
/// after its item was taken.)
fn items(make: fn() -> Queue<Item>) {
    explore(|stage| {
        let queue = Rc::new(make());
        stage.line(queue.clone());
        let q = queue.clone();
        stage.actor(move |a| {
            for _ in 0..3 {
                a.sleeps(1);
                a.gets("get_async", || block_on(q.get_async()));
            }
        });
        let q = queue.clone();
        stage.actor(move |a| {
            for _ in 0..2 {
                a.gets("get", || q.get());
            }
        });
        let q = queue.clone();
        stage.actor(move |a| {
            for wait in [0, 0, 0, 0, 4] {
                a.sleeps(wait);
                a.puts("put", |item| q.put(item));
            }
        });
    });
}

#[test]
fn bounded() {
    items(|| Queue::bounded(1));
}

#[test]
fn rendezvous() {
    items(Queue::rendezvous);
}

/// Batches and reserved places as futures.
#[test]
fn batches_and_places() {
    explore(|stage| {
        let queue = Rc::new(Queue::<Item>::bounded(2));
        stage.line(queue.clone());
        let q = queue.clone();
        stage.actor(move |a| {
            for _ in 0..3 {
                a.sleeps(1);
                a.does("get_many_async", || {
                    a.fetch_many(|| block_on(q.get_many_async(2)));
                });
            }
        });
        for _ in 0..2 {
            let q = queue.clone();
            stage.actor(move |a| {
                for _ in 0..2 {
                    if let Ok(slot) = a.waits("reserve_async", || block_on(q.reserve_async())) {
                        a.entrust(|item| {
                            slot.put(item);
                            Ok(())
                        });
                    }
                }
            });
        }
        let q = queue.clone();
        stage.actor(move |a| {
            for _ in 0..2 {
                a.puts("put", |item| q.put(item));
            }
        });
        stage.afterwards(move || assert_eq!(queue.statistics().reserved, 0));
    });
}

/// Arrivals as futures: one that is given up has not arrived.
#[test]
fn barrier() {
    explore(|stage| {
        let barrier = Rc::new(Barrier::new(2));
        for sleep in [0, 1, 2] {
            let barrier = barrier.clone();
            stage.actor(move |a| {
                for _ in 0..2 {
                    a.sleeps(sleep);
                    a.does("wait_async", || {
                        let limit = timeout(ms(4), || block_on(barrier.wait_async()));
                        drop(limit);
                    });
                }
            });
        }
        stage.afterwards(move || {
            assert_eq!(barrier.statistics().waiting, 0);
            // It can be used as ever.
            let b = barrier.clone();
            let other = spawn(move || b.wait().is_leader());
            assert!(!block_on(barrier.wait_async()).is_leader());
            assert!(other.join().unwrap());
        });
    });
}

/// A future that is given up by another beside it, in one `block_on`.
#[test]
fn given_up() {
    explore(|stage| {
        let queue = Rc::new(Queue::<Item>::unbounded());
        stage.line(queue.clone());
        let permits = Rc::new(Semaphore::new(1));
        for _ in 0..2 {
            let (queue, permits) = (queue.clone(), permits.clone());
            stage.actor(move |a| {
                for _ in 0..2 {
                    let permit = a.waits("acquire_async", || block_on(permits.acquire_async()));
                    a.gets("get beside acquire", || {
                        block_on(async {
                            let mut get = std::pin::pin!(queue.get_async());
                            let mut acquire = std::pin::pin!(permits.acquire_async());
                            std::future::poll_fn(|context| {
                                // The second waits in vain: it is given up with the block.
                                assert!(acquire.as_mut().poll(context).is_pending());
                                get.as_mut().poll(context)
                            })
                            .await
                        })
                    });
                    drop(permit);
                }
            });
        }
        let q = queue;
        stage.actor(move |a| {
            for _ in 0..4 {
                a.sleeps(1);
                a.does("put", || {
                    a.offer(|item| q.put_timeout(item, ms(1)));
                });
            }
        });
        stage.afterwards(move || {
            assert_eq!(permits.available(), 1);
            assert!(format!("{permits:?}").contains("waiting: 0"));
        });
    });
}

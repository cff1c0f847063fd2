//! Select: what is not chosen is as it was, however the wait ends.

use super::sync::{Event, PutError, Queue, Semaphore};
use crate::stage::{Item, explore, ms};
use greenlet::select;
use std::rc::Rc;

/// Getters from two queues; putters into one of them, or into neither.
fn items(make: fn() -> Queue<Item>) {
    explore(|stage| {
        let [one, two] = [0; 2].map(|_| {
            let queue = Rc::new(make());
            stage.line(queue.clone());
            queue
        });
        for _ in 0..2 {
            let (one, two) = (one.clone(), two.clone());
            stage.actor(move |a| {
                for _ in 0..2 {
                    a.sleeps(1);
                    a.gets("select of gets", || {
                        select! { get(one) -> got => got, get(two) -> got => got }
                    });
                }
            });
        }
        stage.actor(move |a| {
            for (queue, wait) in [(&one, 0), (&two, 0), (&two, 0), (&one, 4)] {
                a.sleeps(wait);
                a.puts("select of a put", |item| {
                    let mut item = Some(item);
                    select! {
                        put(queue, &mut item) -> put => put,
                        default(ms(2)) => Err(PutError::Full(item.unwrap())),
                    }
                });
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

/// A permit, an item and an event, which come one after the other.
#[test]
fn of_all_kinds() {
    explore(|stage| {
        let queue = Rc::new(Queue::<Item>::unbounded());
        stage.line(queue.clone());
        let (permits, event) = (Rc::new(Semaphore::new(1)), Rc::new(Event::new()));
        for _ in 0..2 {
            let (queue, permits, event) = (queue.clone(), permits.clone(), event.clone());
            stage.actor(move |a| {
                for _ in 0..2 {
                    let over = a.waits("select", || {
                        select! {
                            acquire(permits) -> permit => {
                                a.sleeps(1);
                                drop(permit);
                                false
                            }
                            get(queue) -> item => {
                                a.fetch(|| item);
                                false
                            }
                            wait(event) => true,
                        }
                    });
                    if over {
                        break;
                    }
                }
            });
        }
        let (q, e) = (queue, event);
        stage.actor(move |a| {
            a.sleeps(1);
            a.does("put", || a.offer(|i| q.put(i)));
            a.sleeps(2);
            e.set();
        });
        stage.afterwards(move || {
            assert_eq!(permits.available(), 1);
            assert!(format!("{permits:?}").contains("waiting: 0"));
        });
    });
}

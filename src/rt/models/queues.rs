//! Queue: bounded, unbounded, rendezvous, shut down.

use super::{Seen, explore, thread};
use crate::sync::{GetError, PutError, Queue};
use std::sync::Arc;
use std::time::Duration;

/// Two putters and a getter on a queue with room for one.
#[test]
fn queue_bounded() {
    explore("queue_bounded", Some(3), || {
        let queue = Arc::new(Queue::bounded(1));
        let putters = [1, 2].map(|i| {
            let queue = queue.clone();
            thread(move || queue.put(Box::new(i)).unwrap())
        });
        let got = [(); 2].map(|()| *queue.get().unwrap());
        assert!(got == [1, 2] || got == [2, 1]);
        assert_eq!((queue.len(), queue.unfinished()), (0, 2));
        for putter in putters {
            putter.join().unwrap();
        }
    });
}

/// Two getters, a putter of two; then the tasks are done and a joiner goes on.
#[test]
fn queue_unbounded() {
    explore("queue_unbounded", Some(3), || {
        let queue = Arc::new(Queue::unbounded());
        let getters = [(); 2].map(|()| {
            let queue = queue.clone();
            thread(move || {
                let got = queue.get().unwrap();
                queue.task_done();
                got
            })
        });
        queue.put(1).unwrap();
        queue.put(2).unwrap();
        queue.join();
        assert_eq!((queue.len(), queue.unfinished()), (0, 0));
        let got = getters.map(|g| g.join().unwrap());
        assert!(got == [1, 2] || got == [2, 1]);
    });
}

/// One that hands over, against one that may leave, on either side.
#[test]
fn queue_rendezvous() {
    let seen = Seen::new();
    explore("queue_rendezvous", Some(3), {
        let seen = seen.clone();
        move || {
            let queue = Arc::new(Queue::rendezvous());
            let putters = [1, 2].map(|i| {
                let (queue, seen) = (queue.clone(), seen.clone());
                thread(move || {
                    let put = queue.put_timeout(Box::new(i), Duration::ZERO);
                    seen.hit(put.is_ok().into());
                    match put {
                        Ok(()) => i,
                        Err(PutError::Full(item)) => {
                            assert_eq!(*item, i);
                            0
                        }
                        Err(other) => panic!("{other}"),
                    }
                })
            });
            let got = queue.get_timeout(Duration::ZERO).map_or(0, |item| *item);
            let put: i32 = putters.map(|p| p.join().unwrap()).iter().sum();
            assert_eq!((put, queue.len()), (got, 0));
        }
    });
    seen.all(2);
}

/// A rendezvous that must take place.
#[test]
fn queue_rendezvous_meets() {
    explore("queue_rendezvous_meets", None, || {
        let queue = Arc::new(Queue::rendezvous());
        let putter = thread({
            let queue = queue.clone();
            move || queue.put(Box::new(1)).unwrap()
        });
        assert_eq!(*queue.get().unwrap(), 1);
        putter.join().unwrap();
    });
}

/// A shutdown against a put that must wait and a get: the item is got, given back
/// or still there; nobody waits for ever.
#[test]
fn queue_shutdown() {
    let seen = Seen::new();
    explore("queue_shutdown", Some(3), {
        let seen = seen.clone();
        move || {
            let queue = Arc::new(Queue::bounded(1));
            queue.put(0).unwrap();
            let putter = thread({
                let queue = queue.clone();
                move || match queue.put(1) {
                    Ok(()) => 0,
                    Err(PutError::ShutDown(1)) => 1,
                    Err(other) => panic!("{other}"),
                }
            });
            let getter = thread({
                let queue = queue.clone();
                move || {
                    assert_eq!(queue.get(), Ok(0));
                    match queue.get() {
                        Ok(1) => 1,
                        Err(GetError::ShutDown) => 0,
                        other => panic!("{other:?}"),
                    }
                }
            });
            queue.shutdown();
            let (back, got) = (putter.join().unwrap(), getter.join().unwrap());
            assert_eq!(back + got + queue.len(), 1);
            seen.hit(got);
        }
    });
    seen.all(2);
}

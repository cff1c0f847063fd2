//! Queue: bounded, unbounded, rendezvous, shut down; places and batches.

use super::{Seen, explore, nobody_waits, thread};
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

/// A shutdown against one who waits for a place, and getters: what is put into the place is got,
/// for nobody hears of the end while the place is held.
#[test]
fn reserve_against_shutdown() {
    let seen = Seen::new();
    explore("reserve_against_shutdown", Some(4), {
        let seen = seen.clone();
        move || {
            let queue = Arc::new(Queue::bounded(1));
            queue.put(0).unwrap();
            let reserver = thread({
                let queue = queue.clone();
                move || match queue.reserve() {
                    Ok(slot) => {
                        slot.put(1);
                        1
                    }
                    Err(PutError::ShutDown(())) => 0,
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
            let (put, got) = (reserver.join().unwrap(), getter.join().unwrap());
            assert_eq!((put, queue.len()), (got, 0));
            nobody_waits(&*queue);
            seen.hit(got);
        }
    });
    seen.all(2);
}

/// Two getters wait for the end of a queue that is shut down, of which one more place is held and
/// given back unused.
#[test]
fn last_place_against_getters() {
    explore("last_place_against_getters", Some(3), || {
        let queue = Arc::new(Queue::<u8>::bounded(1));
        let slot = queue.reserve().unwrap();
        let getters = [(); 2].map(|()| {
            let queue = queue.clone();
            thread(move || queue.get())
        });
        let stopper = thread({
            let queue = queue.clone();
            move || queue.shutdown()
        });
        drop(slot);
        stopper.join().unwrap();
        let got = getters.map(|g| g.join().unwrap());
        assert_eq!(got, [Err(GetError::ShutDown); 2]);
        nobody_waits(&*queue);
    });
}

/// A place is given back while the first of two who wait for it may leave: whoever of them stays
/// has it, and a putter comes after both.
#[test]
fn place_against_one_that_leaves() {
    let seen = Seen::new();
    explore("place_against_one_that_leaves", Some(5), {
        let seen = seen.clone();
        move || {
            let queue = Arc::new(Queue::bounded(1));
            let slot = queue.reserve().unwrap();
            let leaver = thread({
                let (queue, seen) = (queue.clone(), seen.clone());
                move || {
                    let place = queue.reserve_timeout(Duration::ZERO);
                    seen.hit(place.is_ok().into());
                }
            });
            let putter = thread({
                let queue = queue.clone();
                move || queue.put(1).unwrap()
            });
            drop(slot);
            leaver.join().unwrap();
            putter.join().unwrap();
            assert_eq!((queue.len(), queue.get()), (1, Ok(1)));
            assert!(!queue.is_full());
            nobody_waits(&*queue);
        }
    });
    seen.all(2);
}

/// One that takes all at once from two putters that may wait already, or may not have come.
#[test]
fn get_many_against_two_putters() {
    let seen = Seen::new();
    explore("get_many_against_two_putters", Some(3), {
        let seen = seen.clone();
        move || {
            let queue = Arc::new(Queue::bounded(1));
            queue.put(Box::new(0)).unwrap();
            let putters = [1, 2].map(|i| {
                let queue = queue.clone();
                thread(move || queue.put(Box::new(i)).unwrap())
            });
            let mut got = Vec::new();
            while got.len() < 3 {
                let batch = queue.get_many(3).unwrap();
                seen.hit(batch.len() - 1);
                got.extend(batch.into_iter().map(|item| *item));
            }
            assert!(got == [0, 1, 2] || got == [0, 2, 1], "{got:?}");
            assert_eq!((queue.len(), queue.unfinished()), (0, 3));
            for putter in putters {
                putter.join().unwrap();
            }
        }
    });
    seen.all(3);
}

/// A batch that must wait, another putter and a getter: the batch stays in order.
#[test]
fn put_many_against_a_putter() {
    explore("put_many_against_a_putter", Some(4), || {
        let queue = Arc::new(Queue::bounded(1));
        let batch = thread({
            let queue = queue.clone();
            move || queue.put_many([1, 2].map(Box::new)).unwrap()
        });
        let putter = thread({
            let queue = queue.clone();
            move || queue.put(Box::new(3)).unwrap()
        });
        let got = [(); 3].map(|()| *queue.get().unwrap());
        let batched: Vec<_> = got.into_iter().filter(|&i| i < 3).collect();
        assert_eq!((batched, queue.unfinished()), (vec![1, 2], 3));
        batch.join().unwrap();
        putter.join().unwrap();
    });
}

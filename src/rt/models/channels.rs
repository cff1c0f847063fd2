//! A channel: the last of either side goes.
//!
//! The counts are those of std's `Arc`, which loom does not see; what their last one does, it does
//! under the queue's lock.

use super::{Seen, explore, nobody_waits, thread};
use crate::sync::{GetError, PutError, Queue};
use std::sync::Arc;

/// Two senders, one of whom puts, go while somebody waits: it gets the item and then the end.
#[test]
fn last_sender_against_a_getter() {
    explore("last_sender_against_a_getter", Some(5), || {
        let (sender, receiver) = Queue::bounded(1).channel();
        let weak = sender.downgrade();
        let other = thread({
            let sender = sender.clone();
            move || sender.put(Box::new(1)).unwrap()
        });
        let getter = thread(move || {
            assert_eq!(*receiver.get().unwrap(), 1);
            assert_eq!(receiver.get(), Err(GetError::ShutDown));
            nobody_waits(&receiver);
        });
        drop(sender);
        other.join().unwrap();
        getter.join().unwrap();
        assert!(weak.upgrade().is_none());
    });
}

/// A weak sender that may become one while the last one goes: what it then puts is got.
#[test]
fn upgrade_against_the_last_sender() {
    let seen = Seen::new();
    explore("upgrade_against_the_last_sender", Some(3), {
        let seen = seen.clone();
        move || {
            let (sender, receiver) = Queue::unbounded().channel();
            let weak = sender.downgrade();
            let upgraded = thread(move || match weak.upgrade() {
                Some(sender) => sender.put(1).map(|()| 1).unwrap(),
                None => 0,
            });
            let getter = thread(move || receiver.into_iter().count());
            // It takes the lock: a place where the others may come first, as loom sees no counts.
            assert!(sender.len() <= 1);
            drop(sender);
            let put = upgraded.join().unwrap();
            assert_eq!(getter.join().unwrap(), put);
            seen.hit(put);
        }
    });
    seen.all(2);
}

/// The last receiver goes while somebody waits to put: the item is back, or was in the queue and
/// is dropped.
#[test]
fn last_receiver_against_a_putter() {
    let seen = Seen::new();
    explore("last_receiver_against_a_putter", Some(5), {
        let seen = seen.clone();
        move || {
            let token = Arc::new(());
            let (sender, receiver) = Queue::bounded(1).channel();
            sender.put(token.clone()).unwrap();
            let putter = thread({
                let (sender, token) = (sender.clone(), token.clone());
                move || match sender.put(token) {
                    Ok(()) => 0,
                    Err(PutError::ShutDown(back)) => {
                        assert!(Arc::strong_count(&back) >= 2);
                        1
                    }
                    Err(other) => panic!("{other}"),
                }
            });
            let getter = thread({
                let receiver = receiver.clone();
                move || drop(receiver.get().unwrap())
            });
            drop(receiver);
            getter.join().unwrap();
            seen.hit(putter.join().unwrap());
            assert_eq!(Arc::strong_count(&token), 1);
            assert_eq!((sender.len(), sender.is_shut_down()), (0, true));
            nobody_waits(&sender);
        }
    });
    seen.all(2);
}

/// A place that was reserved is filled while the last receiver goes: the item is dropped, once.
#[test]
fn place_against_the_last_receiver() {
    explore("place_against_the_last_receiver", Some(5), || {
        let token = Arc::new(());
        let (sender, receiver) = Queue::bounded(1).channel();
        let leaver = thread(move || drop(receiver));
        if let Ok(slot) = sender.reserve() {
            slot.put(token.clone());
        }
        leaver.join().unwrap();
        assert_eq!(Arc::strong_count(&token), 1);
        assert_eq!((sender.len(), sender.unfinished()), (0, 0));
    });
}

//! Channels: one side hears of the end of the other.

use crate::stage::{Item, explore};
use greenlet::sync::{GetError, Queue};

/// Both ends of a channel are held by those who may be unwound: the other side hears of it.
#[test]
fn channel() {
    for make in [|| Queue::<Item>::bounded(1), Queue::rendezvous] {
        explore(move |stage| {
            let (sender, receiver) = make().channel();
            for _ in 0..2 {
                let sender = sender.clone();
                stage.actor(move |a| {
                    for wait in [1, 1, 6] {
                        a.sleeps(wait);
                        a.waits("put", || a.entrust(|i| sender.put(i)));
                    }
                });
            }
            drop(sender);
            for wait in [2, 3] {
                let receiver = receiver.clone();
                stage.actor(move |a| {
                    a.sleeps(wait);
                    while a.gets("get", || receiver.get()) {
                        a.sleeps(1);
                    }
                    assert_eq!(receiver.get().err(), Some(GetError::ShutDown));
                });
            }
        });
    }
}

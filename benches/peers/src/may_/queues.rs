//! Channels, on may.

use super::{Gate, LIMIT, all, inside, join};
use crate::spent::{BURST, Spent, spent, sum};
use may::coroutine::yield_now;
use may::go;
use may::sync::{Semphore, mpmc, mpsc, spsc};
use std::sync::Arc;

pub(crate) fn queue_free(n: usize) -> Spent {
    inside(move || {
        let (sender, receiver) = spsc::channel();
        spent(n, || {
            for i in 0..n {
                sender.send(i).unwrap();
                assert_eq!(receiver.recv().unwrap(), i);
            }
        })
    })
}

/// One coroutine sends, another one receives.
fn pair(
    n: usize,
    putter: impl FnOnce() + Send + 'static,
    getter: impl FnOnce() -> usize + Send + 'static,
) -> Spent {
    let (getter, putter) = (go!(getter), go!(putter));
    spent(n, || {
        assert_eq!(getter.join().unwrap(), sum(n));
        putter.join().unwrap();
    })
}

/// Sends so many, and yields after each burst.
fn bursts(n: usize, send: impl Fn(usize)) {
    for i in 0..n {
        send(i);
        if i % BURST == BURST - 1 {
            yield_now();
        }
    }
}

pub(crate) fn queue(n: usize) -> Spent {
    inside(move || {
        let (sender, receiver) = spsc::channel();
        pair(
            n,
            move || bursts(n, |i| sender.send(i).unwrap()),
            move || (0..n).map(|_| receiver.recv().unwrap()).sum(),
        )
    })
}

pub(crate) fn queue_4_to_4(n: usize) -> Spent {
    inside(move || {
        let (sender, receiver) = mpmc::channel();
        let getters = all(4, |_| {
            let receiver = receiver.clone();
            go!(move || (0..n / 4).map(|_| receiver.recv().unwrap()).sum::<usize>())
        });
        let putters = all(4, |_| {
            let sender = sender.clone();
            go!(move || bursts(n / 4, |i| sender.send(i).unwrap()))
        });
        spent(n, || {
            assert_eq!(join(getters).iter().sum::<usize>(), 4 * sum(n / 4));
            drop(join(putters));
        })
    })
}

/// There is no bounded channel: an unbounded one, and permits for its places.
pub(crate) fn bounded<const CAPACITY: usize>(n: usize) -> Spent {
    inside(move || {
        let (sender, receiver) = spsc::channel();
        let places = Arc::new(Semphore::new(CAPACITY));
        let free = places.clone();
        pair(
            n,
            move || {
                for i in 0..n {
                    places.wait();
                    sender.send(i).unwrap();
                }
            },
            move || {
                let got = (0..n).map(|_| {
                    let item = receiver.recv().unwrap();
                    free.post();
                    item
                });
                got.sum()
            },
        )
    })
}

/// Two coroutines that send each other one item in turn.
macro_rules! two {
    ($n:ident, $channel:path, |$receiver:ident| $recv:expr) => {
        inside(move || {
            let gate = Gate::new();
            let (to_a, a) = $channel();
            let (to_b, b) = $channel();
            let first = gate.clone();
            let second = gate.clone();
            let players = vec![
                go!(move || {
                    first.enter();
                    for i in 0..$n / 2 {
                        to_b.send(i).unwrap();
                        let $receiver = &a;
                        assert_eq!($recv.unwrap(), i);
                    }
                }),
                go!(move || {
                    second.here();
                    for i in 0..$n / 2 {
                        let $receiver = &b;
                        assert_eq!($recv.unwrap(), i);
                        to_a.send(i).unwrap();
                    }
                }),
            ];
            gate.gathered(2);
            spent($n, || {
                gate.open();
                drop(join(players));
            })
        })
    };
}

pub(crate) fn alternate(n: usize) -> Spent {
    two!(n, spsc::channel, |receiver| receiver.recv())
}

pub(crate) fn limit_wait(n: usize) -> Spent {
    two!(n, mpsc::channel, |receiver| receiver.recv_timeout(LIMIT))
}

pub(crate) fn limit_ready(n: usize) -> Spent {
    inside(move || {
        let (sender, receiver) = mpsc::channel();
        spent(n, || {
            for i in 0..n {
                sender.send(i).unwrap();
                assert_eq!(receiver.recv_timeout(LIMIT), Ok(i));
            }
        })
    })
}

//! Channels, on tokio.

use super::{LIMIT, inside, join, timed, yield_now};
use crate::spent::{BURST, Clock, Spent, sum};
use tokio::sync::mpsc;
use tokio::task::spawn_local as spawn;
use tokio::time::timeout;

pub(crate) fn queue_free(n: usize) -> Spent {
    inside(async move {
        let (sender, mut receiver) = mpsc::unbounded_channel();
        let clock = Clock::start();
        for i in 0..n {
            sender.send(i).unwrap();
            assert_eq!(receiver.recv().await.unwrap(), i);
        }
        clock.stop(n)
    })
}

/// One task sends, another one receives.
async fn pair(
    n: usize,
    putter: impl Future<Output = ()> + Send + 'static,
    getter: impl Future<Output = usize> + Send + 'static,
) -> Spent {
    let (getter, putter) = (spawn(getter), spawn(putter));
    let clock = Clock::start();
    assert_eq!(getter.await.unwrap(), sum(n));
    putter.await.unwrap();
    clock.stop(n)
}

pub(crate) fn queue(n: usize) -> Spent {
    let (sender, mut receiver) = mpsc::unbounded_channel();
    let putter = async move {
        for i in 0..n {
            sender.send(i).unwrap();
            if i % BURST == BURST - 1 {
                yield_now().await;
            }
        }
    };
    let getter = async move {
        let mut sum = 0;
        for _ in 0..n {
            sum += receiver.recv().await.unwrap();
        }
        sum
    };
    inside(pair(n, putter, getter))
}

pub(crate) fn bounded<const CAPACITY: usize>(n: usize) -> Spent {
    let (sender, mut receiver) = mpsc::channel(CAPACITY);
    let putter = async move {
        for i in 0..n {
            sender.send(i).await.unwrap();
        }
    };
    let getter = async move {
        let mut sum = 0;
        for _ in 0..n {
            sum += receiver.recv().await.unwrap();
        }
        sum
    };
    inside(pair(n, putter, getter))
}

/// Two tasks that send each other one item in turn, with or without a time limit.
async fn two<const LIMITED: bool>(n: usize) -> Spent {
    async fn get<const LIMITED: bool>(receiver: &mut mpsc::UnboundedReceiver<usize>) -> usize {
        match LIMITED {
            true => timeout(LIMIT, receiver.recv()).await.unwrap().unwrap(),
            false => receiver.recv().await.unwrap(),
        }
    }
    let (to_a, mut a) = mpsc::unbounded_channel();
    let (to_b, mut b) = mpsc::unbounded_channel();
    let begin = to_a.clone();
    let players = vec![
        spawn(async move {
            for i in 0..n / 2 {
                assert_eq!(get::<LIMITED>(&mut a).await, i);
                to_b.send(i).unwrap();
            }
        }),
        spawn(async move {
            for i in 0..n / 2 {
                assert_eq!(get::<LIMITED>(&mut b).await, i);
                let _ = to_a.send(i + 1); // nobody is there for the last one
            }
        }),
    ];
    yield_now().await;
    let clock = Clock::start();
    begin.send(0).unwrap();
    drop(join(players).await);
    clock.stop(n)
}

pub(crate) fn alternate(n: usize) -> Spent {
    inside(two::<false>(n))
}

pub(crate) fn limit_wait(n: usize) -> Spent {
    timed(two::<true>(n))
}

pub(crate) fn limit_ready(n: usize) -> Spent {
    timed(async move {
        let (sender, mut receiver) = mpsc::unbounded_channel();
        let clock = Clock::start();
        for i in 0..n {
            sender.send(i).unwrap();
            assert_eq!(timeout(LIMIT, receiver.recv()).await, Ok(Some(i)));
        }
        clock.stop(n)
    })
}

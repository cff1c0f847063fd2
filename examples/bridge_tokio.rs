//! Both worlds in one program: `cargo run --release --example bridge_tokio`
//!
//! ```text
//!  tokio task --> ORDERS --> 3 greenlets, plain and blocking --> ANSWERS --> tokio task
//!  (its timers)  put_async    get, put, and block_on of what    get_async   (a ledger)
//!                             they ask tokio for
//! ```
//!
//! The same two queues serve both: `put` and `get` in greenlets, `put_async` and `get_async` in
//! tasks. Greenlets live on a thread of their own, with its hub; what needs tokio's reactor
//! around it (timers, sockets) is spawned there, and the greenlet waits for the task.

use greenlet::sync::Queue;
use greenlet::{HubThread, block_on};
use std::time::Duration;
use tokio::runtime::{Handle, Runtime};

const ORDERS: u64 = 30;

static ORDER: Queue<u64> = Queue::bounded(4);
static ANSWER: Queue<(u64, u64)> = Queue::rendezvous();

/// What a service of the async world would do: it takes its time, on tokio's clock.
async fn look_up(n: u64) -> u64 {
    tokio::time::sleep(Duration::from_millis(n % 3)).await;
    n * n
}

/// A greenlet: no `async` here, and no thread is blocked.
fn work(tokio: &Handle) -> usize {
    let mut done = 0;
    for order in &ORDER {
        let square = block_on(tokio.spawn(look_up(order))).expect("it does not panic");
        ANSWER.put((order, square)).expect("it is shut down later");
        done += 1;
    }
    done
}

fn main() {
    let runtime = Runtime::new().expect("tokio starts");
    let hub = HubThread::start("greenlets").expect("a thread starts");

    let workers = [(); 3].map(|()| {
        let tokio = runtime.handle().clone();
        hub.handle().spawn(move || work(&tokio))
    });
    let orders = runtime.spawn(async {
        for order in 1..=ORDERS {
            ORDER.put_async(order).await.expect("it is shut down later");
        }
        ORDER.shutdown();
    });
    let ledger = runtime.spawn(async {
        let (mut count, mut sum) = (0, 0);
        while let Ok((order, square)) = ANSWER.get_async().await {
            assert_eq!(order * order, square);
            (count, sum) = (count + 1, sum + square);
        }
        (count, sum)
    });

    runtime.block_on(async {
        orders.await.expect("it does not panic");
        let mut done = 0;
        for worker in workers {
            // A handle of a greenlet is awaited like one of a task.
            done += worker.await.expect("it does not panic");
        }
        ANSWER.shutdown();
        let (count, sum) = ledger.await.expect("it does not panic");
        println!("{done} orders done, {count} answers, sum of squares {sum}");
    });
    hub.stop();
    hub.join().expect("the thread does not panic");
}

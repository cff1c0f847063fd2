//! Queues: producers and consumers, of whom all but one consumer may be killed at any time.
//! Each item is got once, drained, handed back, or dropped by the unwind of its putter.

use crate::ledger::{
    LEDGER, Op, Value, agree, end_by_panic, is_intended, nobody_waits, off, op, throw,
};
use crate::random::Random;
use crate::stage::{Part, Place};
use greenlet::sync::{GetError, LifoQueue, PriorityQueue, PutError, Queue};
use greenlet::{shield, sleep, timeout, yield_now};
use std::cmp::Ordering as Order;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

/// The three types as one.
enum Any {
    Fifo(Queue<Item>),
    Lifo(LifoQueue<Item>),
    Ranked(PriorityQueue<Item>),
}

macro_rules! each {
    ($any:expr, $queue:ident => $what:expr) => {
        match $any {
            Any::Fifo($queue) => $what,
            Any::Lifo($queue) => $what,
            Any::Ranked($queue) => $what,
        }
    };
}

/// One queue, and all that is known of its items.
struct Depot {
    queue: Any,
    book: Vec<Page>,
    /// Pages in use.
    made: AtomicUsize,
    /// Producers that are not over. The last one shuts the queue down.
    producers: AtomicUsize,
    /// Who shuts it down takes out what is left.
    drained: bool,
}

/// What the putter and what the item say of the item; equal at the end but for an item that
/// was put, which was got or drained.
#[derive(Debug, Default)]
struct Page {
    putter: AtomicU8,
    item: AtomicU8,
}

const PUT: u8 = 1;
/// The put failed; the item came back.
const BACK: u8 = 2;
/// The putter was unwound out of the put; the item was dropped.
const FELL: u8 = 3;
const GOT: u8 = 4;
const DRAINED: u8 = 5;

fn write(page: &AtomicU8, what: u8) {
    let before = page.swap(what, Relaxed);
    if before != 0 {
        off(format_args!("an item's end is {before}, and now {what}"));
    }
}

struct Item {
    depot: Arc<Depot>,
    page: usize,
    producer: usize,
    rank: usize,
    /// Comparing it with others panics.
    rotten: bool,
    /// Not a copy, and not yet at its end.
    whole: bool,
    _value: Value,
}

impl Item {
    fn ends(mut self, how: u8) {
        self.whole = false;
        write(&self.depot.book[self.page].item, how);
    }
}

impl Drop for Item {
    fn drop(&mut self) {
        if self.whole {
            write(&self.depot.book[self.page].item, FELL);
        }
    }
}

impl Clone for Item {
    fn clone(&self) -> Self {
        Item {
            depot: self.depot.clone(),
            whole: false,
            _value: Value::new(),
            ..*self
        }
    }
}

impl Ord for Item {
    fn cmp(&self, other: &Self) -> Order {
        if self.rotten {
            throw();
        }
        self.rank.cmp(&other.rank)
    }
}
impl PartialOrd for Item {
    fn partial_cmp(&self, other: &Self) -> Option<Order> {
        Some(self.cmp(other))
    }
}
impl Eq for Item {}
impl PartialEq for Item {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

/// Counts a producer, even one whose body never runs.
struct Producing(Arc<Depot>);

impl Drop for Producing {
    fn drop(&mut self) {
        if self.0.producers.fetch_sub(1, Relaxed) > 1 {
            return;
        }
        self.0.shutdown();
    }
}

/// What the putter says if it is unwound out of its put.
struct Unwound<'a>(&'a AtomicU8);

impl Drop for Unwound<'_> {
    fn drop(&mut self) {
        write(self.0, FELL);
    }
}

impl Depot {
    fn new(queue: Any, producers: usize, items: usize, drained: bool) -> Arc<Self> {
        Arc::new(Depot {
            queue,
            book: (0..items).map(|_| Page::default()).collect(),
            made: AtomicUsize::new(0),
            producers: AtomicUsize::new(producers),
            drained,
        })
    }

    fn shutdown(&self) {
        if self.drained {
            for item in each!(&self.queue, q => q.shutdown_now()) {
                item.ends(DRAINED);
            }
        } else {
            each!(&self.queue, q => q.shutdown());
        }
    }

    /// Makes an item and puts it, in one of several ways.
    fn put(self: &Arc<Self>, producer: usize, random: &mut Random) {
        op(Op::Put);
        let page = self.made.fetch_add(1, Relaxed);
        let (how, limit) = (random.among(0..=9), random.moment(1000));
        let item = Item {
            depot: self.clone(),
            page,
            producer,
            rank: random.among(0..=7),
            rotten: random.percent(1),
            whole: true,
            _value: Value::new(),
        };
        let putter = &self.book[page].putter;
        let unwound = Unwound(putter);
        let result = each!(&self.queue, q => match how {
            0..5 => q.put(item),
            5 => q.put_nowait(item),
            6 | 7 => q.put_timeout(item, limit),
            8 => shield(|| q.put(item)),
            // The item falls if the time is over.
            _ => match timeout(limit, || q.put(item)) {
                Ok(result) => result,
                Err(_) => return LEDGER.timeouts.one(),
            },
        });
        std::mem::forget(unwound);
        match result {
            Ok(()) => write(putter, PUT),
            Err(error) => {
                write(putter, BACK);
                if matches!(error, PutError::Full(_)) && how != 5 {
                    LEDGER.timeouts.one();
                }
                error.into_inner().ends(BACK);
            }
        }
    }

    /// Gets an item in one of several ways; `None` after the end.
    fn get(&self, how: usize, limit: Duration) -> Option<Result<Item, GetError>> {
        op(Op::Get);
        let result = each!(&self.queue, q => match how {
            0..6 => q.get(),
            6 => q.get_nowait(),
            7 => q.get_timeout(limit),
            8 => match timeout(limit, || q.get()) {
                Ok(result) => result,
                Err(_) => {
                    LEDGER.timeouts.one();
                    Err(GetError::Empty)
                }
            },
            _ => {
                drop(q.peek_nowait());
                Err(GetError::Empty)
            }
        });
        match result {
            Err(GetError::ShutDown) => {
                if each!(&self.queue, q => !q.is_empty()) {
                    off("a getter saw the end of a queue that is not empty");
                }
                None
            }
            result => {
                if how == 7 && result.is_err() {
                    LEDGER.timeouts.one();
                }
                Some(result)
            }
        }
    }

    fn check(&self) {
        for page in &self.book[..self.made.load(Relaxed)] {
            let [putter, item] = [&page.putter, &page.item].map(|p| p.load(Relaxed));
            match (putter, item) {
                (PUT, GOT | DRAINED) | (BACK, BACK) | (FELL, FELL) => {}
                other => off(format_args!(
                    "an item as putter and item have it: {other:?}"
                )),
            }
        }
        each!(&self.queue, q => {
            agree("items left, tasks unfinished", (q.len(), q.unfinished()), (0, 0));
            nobody_waits(q);
        });
    }
}

/// The task of an item that was got is done, however its getter ends.
struct Task<'a>(&'a Depot);

impl Drop for Task<'_> {
    fn drop(&mut self) {
        each!(&self.0.queue, q => q.task_done());
    }
}

/// What a consumer of a first in, first out queue has seen of each producer.
struct Sequence(Vec<usize>);

impl Sequence {
    fn see(&mut self, depot: &Depot, item: &Item) {
        if matches!(depot.queue, Any::Fifo(_)) {
            let before = std::mem::replace(&mut self.0[item.producer], item.page);
            if before > item.page {
                off("items of one producer came out of order");
            }
        }
    }
}

fn produce(depot: Arc<Depot>, producer: usize, items: usize, mut random: Random) -> impl FnOnce() {
    let producing = Producing(depot);
    move || {
        for _ in 0..items {
            let (pause, panics) = (random.among(0..=19), random.percent(1));
            let mut random = random.fork();
            let put = catch_unwind(AssertUnwindSafe(|| producing.0.put(producer, &mut random)));
            // A rotten item's; everything else goes on.
            if let Err(payload) = put
                && !is_intended(&*payload)
            {
                resume_unwind(payload);
            }
            op(Op::Pause);
            match pause {
                0..5 => yield_now(),
                5 => sleep(random.moment(300)),
                _ => {}
            }
            if panics && random.percent(10) {
                end_by_panic();
            }
        }
    }
}

fn consume(depot: Arc<Depot>, producers: usize, gets: usize, mut random: Random) -> impl FnOnce() {
    move || {
        let mut order = Sequence(vec![0; producers]);
        for _ in 0..gets {
            let (how, limit) = (random.among(0..=9), random.moment(1000));
            let (pause, panics) = (random.moment(200), random.percent(1));
            match depot.get(how, limit) {
                None => return,
                Some(Err(_)) => {}
                Some(Ok(item)) => {
                    let _task = Task(&depot);
                    order.see(&depot, &item);
                    item.ends(GOT);
                    if how == 0 {
                        sleep(pause);
                    }
                    if panics {
                        end_by_panic();
                    }
                }
            }
        }
    }
}

/// The consumer that nobody kills.
fn consume_all(depot: Arc<Depot>, producers: usize, mut random: Random) -> impl FnOnce() {
    move || {
        let mut order = Sequence(vec![0; producers]);
        while let Some(item) = depot.get(0, Duration::ZERO) {
            let _task = Task(&depot);
            let item = item.expect("no limit, not shut down");
            order.see(&depot, &item);
            item.ends(GOT);
            if random.percent(2) {
                sleep(random.moment(200));
            }
        }
        op(Op::Wait);
        each!(&depot.queue, q => q.join());
    }
}

pub(crate) fn plan(
    random: &mut Random,
    parts: &mut Vec<Part>,
    checks: &mut Vec<Box<dyn FnOnce()>>,
) {
    let room = random.among(1..=8);
    let queues = [
        Any::Fifo(Queue::unbounded()),
        Any::Fifo(Queue::bounded(room)),
        Any::Fifo(Queue::rendezvous()),
        Any::Lifo(LifoQueue::bounded(room)),
        Any::Ranked(PriorityQueue::bounded(room)),
        Any::Ranked(PriorityQueue::unbounded()),
    ];
    for queue in queues {
        let producers = random.among(1..=5);
        let items: Vec<_> = (0..producers).map(|_| random.among(1..=80)).collect();
        let drained = random.percent(40);
        let depot = Depot::new(queue, producers, items.iter().sum(), drained);
        for (producer, items) in items.into_iter().enumerate() {
            let body = produce(depot.clone(), producer, items, random.fork());
            parts.push(Part::new("producer", Place::Anywhere, body));
        }
        for _ in 0..random.among(0..=4) {
            let gets = random.among(1..=60);
            let body = consume(depot.clone(), producers, gets, random.fork());
            parts.push(Part::new("consumer", Place::Alone, body));
        }
        let body = consume_all(depot.clone(), producers, random.fork());
        parts.push(Part::new("last consumer", Place::Thread, body));
        if random.percent(50) {
            let depot = depot.clone();
            let body = move || {
                op(Op::Wait);
                each!(&depot.queue, q => q.join());
            };
            parts.push(Part::new("joiner of a queue", Place::Alone, body));
        }
        if random.percent(20) {
            // Before the producers are over, some of whom wait for room.
            let (depot, moment) = (depot.clone(), random.moment(8000));
            let body = move || {
                sleep(moment);
                depot.shutdown();
            };
            parts.push(Part::new("closer", Place::Anywhere, body));
        }
        checks.push(Box::new(move || depot.check()));
    }
}

//! What a Broadcast promises.

use super::{LONG, ms, simulate, waiting, while_panicking};
use greenlet::sync::{Broadcast, BroadcastError, BroadcastReader, Queue};
use greenlet::{
    HubThread, JoinError, block_on, no_switch, now, scope, select, sleep, spawn, timeout, yield_now,
};
use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use BroadcastError::{Empty, Lagged, ShutDown};

fn put_all<T: std::fmt::Debug>(news: &Broadcast<T>, items: impl IntoIterator<Item = T>) {
    for item in items {
        news.put(item).unwrap();
    }
}

#[test]
fn each_reader_gets_each_item_from_its_subscription_on() {
    simulate(|| {
        let news = Broadcast::new(4);
        assert_eq!(news.put(0), Ok(0), "nobody reads");
        let mut first = news.subscribe();
        assert_eq!(news.put(1), Ok(1));
        let mut second = news.subscribe();
        assert_eq!(no_switch(|| news.put(2)), Ok(2));
        let mut all = [(); 3].map(|()| first.get_nowait());
        assert_eq!(all, [Ok(1), Ok(2), Err(Empty)]);
        all = [(); 3].map(|()| second.get_nowait());
        assert_eq!(all, [Ok(2), Err(Empty), Err(Empty)]);
        assert_eq!((news.len(), news.readers(), news.capacity()), (0, 2, 4));
    });
}

#[test]
fn those_who_wait_are_woken_in_order_of_arrival() {
    simulate(|| {
        let (news, order) = (
            Rc::new(Broadcast::new(2)),
            Rc::new(RefCell::new(Vec::new())),
        );
        // More than one batch of wakes.
        let readers: Vec<_> = (0..70)
            .map(|i| {
                let (news, order) = (news.clone(), order.clone());
                spawn(move || {
                    let mut reader = news.subscribe();
                    let got = match i % 7 {
                        3 => reader.get_timeout(ms(1)),
                        _ => reader.get(),
                    };
                    order.borrow_mut().push((i, got));
                })
            })
            .collect();
        sleep(ms(2));
        waiting(&news, 60);
        assert_eq!(order.take().len(), 10);
        assert_eq!(news.put('x'), Ok(60));
        waiting(&news, 0);
        readers.into_iter().for_each(|r| r.join().unwrap());
        let expected = (0..70).filter(|i| i % 7 != 3).map(|i| (i, Ok('x')));
        assert_eq!(*order.borrow(), expected.collect::<Vec<_>>());
        assert_eq!((news.len(), news.readers()), (0, 0));
    });
}

#[test]
fn who_lags_is_told_once_and_goes_on_with_the_oldest() {
    simulate(|| {
        let news = Rc::new(Broadcast::new(3));
        let mut reader = news.subscribe();
        for i in 1..=3 {
            news.put(i).unwrap();
        }
        assert_eq!((reader.get(), news.len()), (Ok(1), 2));
        for i in 4..=7 {
            news.put(i).unwrap();
        }
        assert_eq!(news.len(), 3);
        let all = [(); 4].map(|()| reader.get());
        assert_eq!(all, [Err(Lagged(3)), Ok(5), Ok(6), Ok(7)]);
        // What is missed between the telling and the next get is told apart.
        put_all(&news, 8..=12);
        assert_eq!(reader.get(), Err(Lagged(2)));
        news.put(13).unwrap();
        assert_eq!([reader.get(), reader.get()], [Err(Lagged(1)), Ok(11)]);
        // One that waits and is slow to run.
        let slow = spawn({
            let news = news.clone();
            move || {
                let mut reader = news.subscribe();
                [reader.get(), reader.get()]
            }
        });
        yield_now();
        put_all(&news, 20..=24);
        assert_eq!(slow.join().unwrap(), [Err(Lagged(2)), Ok(22)]);
    });
}

/// Counts its clones, and how many of it there are.
struct Counted(Rc<Cell<(usize, usize)>>);

impl Counted {
    fn new(counts: &Rc<Cell<(usize, usize)>>) -> Self {
        let (clones, alive) = counts.get();
        counts.set((clones, alive + 1));
        Counted(counts.clone())
    }
}

impl Clone for Counted {
    fn clone(&self) -> Self {
        let (clones, alive) = self.0.get();
        self.0.set((clones + 1, alive));
        Counted::new(&self.0)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let (clones, alive) = self.0.get();
        self.0.set((clones, alive - 1));
    }
}

#[test]
fn an_item_is_kept_until_its_readers_have_it() {
    simulate(|| {
        let counts = Rc::new(Cell::default());
        let news = Broadcast::new(3);
        let item = || Counted::new(&counts);
        assert!(matches!(news.put(item()), Ok(0)));
        assert_eq!(counts.get(), (0, 0));
        let mut readers = [(); 3].map(|()| news.subscribe());
        assert!(matches!(news.put(item()), Ok(3)));
        // The last one has the item itself.
        for (i, reader) in readers.iter_mut().enumerate() {
            assert_eq!(news.len(), 1);
            drop(reader.get().unwrap());
            assert_eq!(counts.get(), ((i + 1).min(2), usize::from(i < 2)));
        }
        assert!(news.is_empty());
        // What is overwritten goes at once.
        (0..5).for_each(|_| drop(news.put(item())));
        assert_eq!((news.len(), counts.get().1), (3, 3));
        // What only those wanted who go is dropped: the third has two of three.
        let [mut first, second, mut third] = readers;
        assert!(matches!(first.get(), Err(Lagged(2))));
        for reader in [&mut first, &mut third] {
            drop(reader.get());
        }
        drop((third.get(), third.get()));
        drop((first.get(), first.get()));
        assert_eq!((news.len(), counts.get().1), (3, 3));
        drop(second);
        assert_eq!((news.len(), counts.get().1), (1, 1), "the third wants one");
        // One that has lagged and never knew goes, too.
        let lagging = news.subscribe();
        (0..5).for_each(|_| drop(news.put(item())));
        drop((first, third));
        assert_eq!((news.len(), counts.get().1), (3, 3));
        drop(lagging);
        assert_eq!((news.len(), counts.get().1), (0, 0));
    });
}

/// An item's `Clone` and `Drop` run without a lock: they may use the broadcast, and wait.
#[test]
fn user_code_may_wait_and_use_the_broadcast() {
    thread_local! {
        static NEWS: Broadcast<Busy> = const { Broadcast::new(2) };
        static DROPS: Cell<usize> = const { Cell::new(0) };
    }
    struct Busy(u8);
    impl Clone for Busy {
        fn clone(&self) -> Self {
            yield_now();
            NEWS.with(|news| drop(news.put(Busy(self.0 + 10))));
            Busy(self.0)
        }
    }
    impl Drop for Busy {
        fn drop(&mut self) {
            NEWS.with(|news| {
                assert!(news.len() <= 2 && news.readers() <= 2);
                drop(news.subscribe());
            });
            DROPS.set(DROPS.get() + 1);
        }
    }
    simulate(|| {
        // The reference to a thread-local is held across waits: the thread ends after it.
        let of = |got: Result<Busy, BroadcastError>| got.map(|busy| busy.0);
        NEWS.with(|news| {
            let mut reader = news.subscribe();
            let other = news.subscribe();
            (1..=3).for_each(|i| drop(news.put(Busy(i))));
            assert_eq!(of(reader.get()), Err(Lagged(1)));
            assert_eq!(of(reader.get()), Ok(2)); // puts 12 meanwhile, over the 2
            drop(other);
            assert_eq!(of(reader.get()), Ok(3));
            assert_eq!(of(reader.get()), Ok(12));
            drop(reader);
            assert_eq!(news.len(), 0);
        });
        assert_eq!(DROPS.get(), 5, "three, one that was put, one clone");
    });
}

#[test]
fn the_end_comes_after_the_last_item() {
    simulate(|| {
        let news = Rc::new(Broadcast::new(2));
        let waiters = [false, true].map(|timed| {
            let news = news.clone();
            spawn(move || {
                let mut reader = news.subscribe();
                match timed {
                    true => reader.get_timeout(LONG),
                    false => reader.get(),
                }
            })
        });
        yield_now();
        let mut behind = news.subscribe();
        put_all(&news, 1..=3);
        for waiter in waiters {
            assert_eq!(waiter.join().unwrap(), Err(Lagged(1)));
        }
        let waiter = spawn({
            let news = news.clone();
            move || news.subscribe().get()
        });
        yield_now();
        waiting(&news, 1);
        news.shutdown();
        news.shutdown();
        waiting(&news, 0);
        assert_eq!(waiter.join().unwrap(), Err(ShutDown));
        assert_eq!(news.put(4), Err(4));
        let all = [(); 5].map(|()| behind.get());
        assert_eq!(
            all,
            [Err(Lagged(1)), Ok(2), Ok(3), Err(ShutDown), Err(ShutDown)]
        );
        assert_eq!(news.subscribe().get_nowait(), Err(ShutDown));
        let numbers = news.statistics();
        assert_eq!((numbers.len, numbers.readers, numbers.capacity), (0, 1, 2));
        assert!(news.is_shut_down() && numbers.shut_down);
    });
}

#[test]
fn a_wait_that_ends_early_has_missed_nothing() {
    simulate(|| {
        let news = Arc::new(Broadcast::new(4));
        let shared = Rc::new(RefCell::new(news.subscribe_owned()));
        let get = |limit: Duration| {
            let shared = shared.clone();
            spawn(move || timeout(limit, || shared.borrow_mut().get()))
        };
        let killed = get(LONG);
        yield_now();
        killed.kill();
        assert!(matches!(killed.join(), Err(JoinError::Killed)));
        assert!(get(ms(1)).join().unwrap().is_err());
        let began = now();
        assert_eq!(shared.borrow_mut().get_timeout(ms(3)), Err(Empty));
        assert_eq!(now(), began + ms(3));
        assert_eq!(shared.borrow_mut().get_timeout(Duration::ZERO), Err(Empty));
        waiting(&news, 0);
        // Woken and killed before it runs: it has the item, or it is still there. It has it.
        let took = Rc::new(Cell::new(None));
        let woken = spawn({
            let (shared, took) = (shared.clone(), took.clone());
            move || {
                took.set(Some(shared.borrow_mut().get()));
                yield_now();
                unreachable!("a kill is pending");
            }
        });
        yield_now();
        news.put(1).unwrap();
        woken.kill();
        assert!(matches!(woken.join(), Err(JoinError::Killed)));
        assert_eq!(took.get(), Some(Ok(1)));
        news.put(2).unwrap();
        assert_eq!(shared.borrow_mut().get(), Ok(2));
    });
}

#[test]
fn while_panicking_a_get_says_no_and_a_put_works() {
    simulate(|| {
        let news = Broadcast::new(1);
        let mut reader = news.subscribe();
        while_panicking(|| {
            assert_eq!(reader.get(), Err(Empty));
            assert_eq!(reader.get_timeout(LONG), Err(Empty));
            assert_eq!(reader.next(), None);
            assert_eq!(news.put(1), Ok(1));
            assert_eq!(reader.get(), Ok(1));
        });
    });
}

#[test]
fn as_iterator_future_and_in_a_select() {
    simulate(|| {
        let (news, queue) = (Broadcast::new(2), Queue::<u8>::unbounded());
        let mut reader = news.subscribe();
        let mut context = Context::from_waker(Waker::noop());
        {
            let mut dropped = pin!(reader.get_async());
            assert!(dropped.as_mut().poll(&mut context).is_pending());
            waiting(&news, 1);
            news.put(1).unwrap();
        }
        waiting(&news, 0);
        assert_eq!(block_on(reader.get_async()), Ok(1));
        {
            let mut told = pin!(reader.get_async());
            assert!(told.as_mut().poll(&mut context).is_pending());
            news.put(2).unwrap();
            assert_eq!(told.as_mut().poll(&mut context), Poll::Ready(Ok(2)));
        }
        let chosen = scope(|s| {
            s.spawn(|| {
                sleep(ms(1));
                news.put(3).unwrap();
                sleep(ms(1));
                queue.put(4).unwrap();
            });
            [(); 2].map(|()| {
                select! {
                    get(queue) -> item => item.ok(),
                    get(reader) -> item => item.ok(),
                }
            })
        });
        assert_eq!(chosen, [Some(3), Some(4)]);
        waiting(&news, 0);
        put_all(&news, 5..=7);
        news.shutdown();
        assert_eq!(block_on(reader.get_async()), Err(Lagged(1)));
        assert_eq!(reader.by_ref().collect::<Vec<_>>(), [Ok(6), Ok(7)]);
        assert_eq!(block_on(reader.get_async()), Err(ShutDown));
        assert_eq!(reader.next(), None);
    });
}

/// Everything that two putters put, in one order for all: got, or counted as missed.
fn read(reader: BroadcastReader<'static, (u8, u64)>) -> (Vec<(u8, u64)>, u64) {
    let (mut got, mut missed) = (Vec::new(), 0);
    for item in reader {
        match item {
            Ok(item) => got.push(item),
            Err(Lagged(n)) => missed += n,
            Err(other) => panic!("{other}"),
        }
    }
    (got, missed)
}

#[test]
fn between_threads_and_hubs() {
    const EACH: u64 = 1000;
    for capacity in [1, 7, 2 * EACH as usize] {
        let news = Arc::new(Broadcast::new(capacity));
        let hubs = [0, 1].map(|_| HubThread::start("readers").unwrap());
        let mut greenlets = Vec::new();
        for hub in &hubs {
            for _ in 0..3 {
                let reader = news.subscribe_owned();
                greenlets.push(hub.handle().spawn(move || read(reader)));
            }
        }
        let reader = news.subscribe_owned();
        let thread = std::thread::spawn(move || read(reader));
        let putters = [0, 1].map(|who| {
            let news = news.clone();
            std::thread::spawn(move || put_all(&news, (0..EACH).map(|i| (who, i))))
        });
        putters.into_iter().for_each(|p| p.join().unwrap());
        news.shutdown();
        let mut all: Vec<_> = greenlets.into_iter().map(|g| g.join().unwrap()).collect();
        all.push(thread.join().unwrap());
        for (got, missed) in &all {
            assert_eq!(got.len() as u64 + missed, 2 * EACH);
            for who in [0, 1] {
                let mine = got.iter().filter(|item| item.0 == who);
                assert!(mine.is_sorted_by(|a, b| a.1 < b.1), "each once, in order");
            }
            if capacity as u64 == 2 * EACH {
                assert_eq!(got, &all[0].0, "one order for all");
                assert_eq!(*missed, 0);
            }
        }
        assert_eq!((news.len(), news.readers()), (0, 0));
        waiting(&news, 0);
    }
}

//! Channels: what they promise, in a `Simulation` where only greenlets take part, and a ledger of
//! what threads send each other.

use greenlet::sync::{GetError, PutError, Queue, Receiver, Sender, Slot};
use greenlet::testing::Simulation;
use greenlet::{scope, select, spawn, yield_now};
use std::cell::Cell;
use std::rc::Rc;

fn simulate<R>(f: impl FnOnce() -> R) -> R {
    Simulation::new().run(f)
}

#[test]
fn the_last_sender_is_the_end() {
    simulate(|| {
        let (sender, receiver) = Queue::unbounded().channel();
        let (other, weak) = (sender.clone(), sender.downgrade());
        let getter = spawn(move || receiver.into_iter().collect::<Vec<_>>());
        sender.put(1).unwrap();
        drop(sender);
        yield_now();
        assert!(!getter.is_finished());
        let third = weak.upgrade().expect("there is one left");
        drop(other);
        third.put_many([2, 3]).unwrap();
        let weak = (third.downgrade(), weak);
        drop(third);
        assert_eq!(getter.join().unwrap(), [1, 2, 3]);
        assert!(weak.0.upgrade().is_none() && weak.1.clone().upgrade().is_none());
    });
}

#[test]
fn all_who_get_hear_of_the_end() {
    simulate(|| {
        let (sender, receiver) = Queue::<u8>::bounded(1).channel();
        let getters = [0; 4].map(|_| {
            let receiver = receiver.clone();
            spawn(move || receiver.get())
        });
        let many = spawn({
            let receiver = receiver.clone();
            move || receiver.get_many(9).map(|_| 0)
        });
        let selecting = spawn({
            let receiver = receiver.clone();
            move || select! { get(receiver) -> item => item }
        });
        yield_now();
        sender.put(7).unwrap();
        drop(sender);
        let end = || Err(GetError::ShutDown);
        let got = getters.map(|getter| getter.join().unwrap());
        assert_eq!(got, [Ok(7), end(), end(), end()]);
        assert_eq!(
            [many.join().unwrap(), selecting.join().unwrap()],
            [end(), end()]
        );
        assert_eq!((&receiver).into_iter().next(), None);
    });
}

#[test]
fn the_last_receiver_gives_all_back() {
    simulate(|| {
        let items = Rc::new(());
        let (sender, receiver) = Queue::bounded(2).channel();
        let other = receiver.clone();
        sender.put_many([items.clone(), items.clone()]).unwrap();
        let putter = spawn({
            let (sender, item) = (sender.clone(), items.clone());
            move || sender.put(item)
        });
        let batch = spawn({
            let (sender, batch) = (sender.clone(), [items.clone(), items.clone()]);
            move || sender.put_many(batch)
        });
        let reserver = spawn({
            let sender = sender.clone();
            move || sender.reserve().map(drop)
        });
        let selecting = spawn({
            let (sender, mut item) = (sender.clone(), Some(items.clone()));
            move || select! { put(sender, &mut item) -> put => put }
        });
        yield_now();
        drop(receiver);
        yield_now();
        assert!(!putter.is_finished());
        drop(other);
        // What was in it is gone, and what was to be put is with those who wanted to.
        assert_eq!(Rc::strong_count(&items), 1 + 1 + 2 + 1);
        assert!(matches!(putter.join().unwrap(), Err(PutError::ShutDown(_))));
        assert_eq!(batch.join().unwrap().unwrap_err().into_inner().len(), 2);
        assert_eq!(reserver.join().unwrap(), Err(PutError::ShutDown(())));
        assert!(selecting.join().unwrap().is_err());
        assert!(sender.force_put(items.clone()).is_err());
        assert_eq!((sender.unfinished(), sender.is_shut_down()), (0, true));
        assert_eq!(Rc::strong_count(&items), 1);
    });
}

#[test]
fn a_place_of_a_channel_without_receivers_takes_nothing_in() {
    simulate(|| {
        let item = Rc::new(());
        let (sender, receiver) = Queue::bounded(1).channel();
        let slot = sender.reserve().unwrap();
        drop(receiver);
        slot.put(item.clone());
        assert_eq!(Rc::strong_count(&item), 1);
        assert_eq!((sender.len(), sender.unfinished()), (0, 0));
        let text = format!("{sender:?}");
        assert!(text.contains("reserved: 0"), "{text}");
        // But one that was only shut down does.
        let (sender, receiver) = Queue::bounded(1).channel();
        let slot = sender.reserve().unwrap();
        receiver.shutdown();
        slot.put(1);
        assert_eq!(receiver.into_iter().collect::<Vec<_>>(), [1]);
    });
}

#[test]
fn a_kill_of_the_only_receiver_tells_the_sender() {
    simulate(|| {
        let (sender, receiver) = Queue::rendezvous().channel();
        let consumer = spawn(move || receiver.into_iter().for_each(|_: u8| ()));
        sender.put(1).unwrap();
        let producer = spawn(move || {
            sender.put(2).unwrap();
            yield_now();
            sender.put(3)
        });
        yield_now();
        consumer.kill();
        assert_eq!(producer.join().unwrap(), Err(PutError::ShutDown(3)));
    });
}

#[test]
fn futures_hear_of_the_end() {
    simulate(|| {
        let (sender, receiver) = Queue::bounded(1).channel();
        let getter = spawn(move || {
            let first = greenlet::block_on(receiver.get_async());
            (first, greenlet::block_on(receiver.get_async()))
        });
        yield_now();
        greenlet::block_on(sender.put_async(1)).unwrap();
        drop(sender);
        assert_eq!(getter.join().unwrap(), (Ok(1), Err(GetError::ShutDown)));
    });
}

/// What is left is dropped with the last receiver, and may itself use the channel.
#[test]
fn what_is_left_may_use_its_channel() {
    struct Item(Sender<Item>, Rc<Cell<u32>>);
    impl Drop for Item {
        fn drop(&mut self) {
            assert!(self.0.is_shut_down() && self.0.is_empty());
            self.1.set(self.1.get() + 1);
        }
    }
    simulate(|| {
        let count = Rc::new(Cell::new(0));
        let (sender, receiver) = Queue::unbounded().channel();
        let item = || Item(sender.clone(), count.clone());
        sender.put_many([item(), item()]).map_err(drop).unwrap();
        drop(receiver);
        assert_eq!(count.get(), 2);
    });
}

/// Threads, each with greenlets, that put in all ways and get in all ways: every item arrives
/// once, those of one sender in order at each receiver, and all end by themselves.
fn ledger(queue: Queue<(usize, usize)>) {
    const SENDERS: usize = 6;
    const EACH: usize = 400;
    let meets = queue.capacity() == Some(0);
    let (sender, receiver) = queue.channel();
    let put = move |me: usize, sender: &Sender<(usize, usize)>, from: usize| {
        let item = |i| (me, i);
        match (me + from / 10) % 4 {
            0 => sender.put_many((from..from + 10).map(item)).unwrap(),
            1 if !meets => (from..from + 10).for_each(|i| {
                let slot: Slot<'_, _> = sender.reserve().unwrap();
                slot.put(item(i));
            }),
            _ => (from..from + 10).for_each(|i| sender.put(item(i)).unwrap()),
        }
    };
    let threads: Vec<_> = (0..SENDERS / 2)
        .map(|t| {
            let sender = sender.clone();
            std::thread::spawn(move || {
                scope(|s| {
                    for me in [2 * t, 2 * t + 1] {
                        let sender = sender.clone();
                        s.spawn(move || {
                            for from in (0..EACH).step_by(10) {
                                put(me, &sender, from);
                                yield_now();
                            }
                        });
                    }
                });
            })
        })
        .collect();
    drop(sender);
    let get = |receiver: Receiver<(usize, usize)>| {
        move || {
            let mut all = Vec::new();
            loop {
                let got = receiver.get_many(1 + all.len() % 7);
                let Ok(batch) = got else { break };
                all.extend(batch);
                all.extend(receiver.get());
                select! {
                    get(receiver) -> item => all.extend(item),
                    default => all.extend(receiver.try_iter().next()),
                }
            }
            all
        }
    };
    let getters: Vec<_> = (0..3)
        .map(|_| {
            let receiver = receiver.clone();
            std::thread::spawn(move || {
                let all = [(); 2].map(|()| spawn(get(receiver.clone())));
                all.map(|getter| getter.join().unwrap())
            })
        })
        .collect();
    let mut all = Vec::new();
    for getter in getters {
        for got in getter.join().unwrap() {
            for me in 0..SENDERS {
                let mine: Vec<_> = got.iter().filter(|item| item.0 == me).collect();
                assert!(mine.is_sorted(), "of {me}: {mine:?}");
            }
            all.extend(got);
        }
    }
    threads.into_iter().for_each(|t| t.join().unwrap());
    all.sort();
    let sent: Vec<_> = (0..SENDERS)
        .flat_map(|me| (0..EACH).map(move |i| (me, i)))
        .collect();
    assert_eq!(all, sent);
    let text = format!("{receiver:?}");
    assert!(
        text.contains("len: 0") && text.contains("getters: 0, putters: 0, joiners: 0"),
        "{text}"
    );
}

#[test]
fn ledger_of_an_unbounded_channel() {
    ledger(Queue::unbounded());
}

#[test]
fn ledger_of_a_bounded_channel() {
    ledger(Queue::bounded(1));
    ledger(Queue::bounded(7));
}

#[test]
fn ledger_of_a_rendezvous_channel() {
    ledger(Queue::rendezvous());
}

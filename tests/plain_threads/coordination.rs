//! Barrier, Latch, WaitGroup, Notify, OnceCell and Lazy.

use super::{Bare, HANGS, Party, ROUNDS, each, nobody_waits, short};
use greenlet::sync::{Barrier, Latch, Lazy, Notify, OnceCell, WaitGroup};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// What each did before the barrier is seen behind it; one of each generation leads.
pub(super) fn barrier_orders_what_is_done_before_it(party: Party) {
    let (barrier, leaders) = (Barrier::new(3), Bare::default());
    let all = [const { AtomicUsize::new(0) }; 3].map(Bare);
    each(3, party, |i| {
        for round in 1..=ROUNDS {
            all[i].set(round);
            if barrier.wait().is_leader() {
                leaders.increase();
            }
            for one in &all {
                assert_eq!(one.get(), round);
            }
            // Nobody goes on to the next round before all have looked.
            let looked = barrier.wait_timeout(HANGS).expect("all come");
            if looked.is_leader() {
                leaders.increase();
            }
        }
    });
    assert_eq!(leaders.get(), 2 * ROUNDS);
    nobody_waits(&[&barrier]);
}

pub(super) fn barrier_against_limits_is_passed_by_both_or_by_none(party: Party) {
    let rounds: Vec<_> = (0..ROUNDS)
        .map(|_| (Barrier::new(2), [(); 2].map(|()| Bare::default())))
        .collect();
    let met = each(2, party, |i| {
        let met = rounds.iter().enumerate().map(|(round, (barrier, data))| {
            data[i].set(1);
            let met = barrier.wait_timeout(short(round + i));
            met.map(|result| {
                assert_eq!(data[1 - i].get(), 1);
                result.is_leader()
            })
        });
        met.collect::<Vec<_>>()
    });
    for ((barrier, _), pair) in rounds.iter().zip(met[0].iter().zip(&met[1])) {
        match pair {
            (Ok(a), Ok(b)) => assert_ne!(a, b, "one leads"),
            (Err(_), Err(_)) => {}
            pair => panic!("only one was there: {pair:?}"),
        }
        nobody_waits(&[barrier]);
    }
}

pub(super) fn latch_and_wait_group_open_when_all_is_done(party: Party) {
    let rounds: Vec<_> = (0..ROUNDS)
        .map(|_| (Latch::new(3), [(); 3].map(|()| Bare::default())))
        .collect();
    let group = WaitGroup::new();
    let members: Vec<_> = (0..4).map(|_| group.clone()).collect();
    drop(group);
    let members = std::sync::Mutex::new(members);
    let done = [const { AtomicUsize::new(0) }; 4].map(Bare);
    each(4, party, |i| {
        let member = members.lock().unwrap().pop().unwrap();
        for (round, (latch, data)) in rounds.iter().enumerate() {
            match i {
                3 => while !latch.wait_timeout(short(round)) {},
                i => {
                    data[i].set(1);
                    match (i + round) % 2 {
                        0 => latch.arrive_and_wait(),
                        _ => {
                            latch.count_down();
                            latch.wait();
                        }
                    }
                }
            }
            assert!(data.iter().all(|one| one.get() == 1));
        }
        done[i].set(1);
        let another = member.clone();
        drop(member);
        another.wait();
        assert!(done.iter().all(|one| one.get() == 1));
    });
    for (latch, _) in &rounds {
        nobody_waits(&[latch]);
    }
}

/// A token goes round: who is notified has it, and passes it on to the next in line or leaves
/// it for who comes.
pub(super) fn notification_is_taken_by_one_or_kept(party: Party) {
    let (notify, token) = (Notify::new(), Bare::default());
    notify.notify_one();
    let had = each(3, party, |i| {
        let mut had = 0;
        for round in 0..ROUNDS {
            if round % 3 == i {
                notify.wait();
            } else if !notify.wait_timeout(short(round + i)) {
                continue;
            }
            token.increase();
            had += 1;
            notify.notify_one();
        }
        had
    });
    assert_eq!(token.get(), had.iter().sum::<usize>());
    nobody_waits(&[&notify]);
    notify.wait();
}

pub(super) fn notify_all_wakes_all_who_wait(party: Party) {
    let (notify, stop) = (Notify::new(), Bare::default());
    let left = Latch::new(2);
    each(3, party, |i| {
        if i == 2 {
            stop.set(1);
            // Some may come only now.
            while !left.wait_timeout(short(1)) {
                notify.notify_all();
            }
            return;
        }
        notify.wait();
        assert_eq!(stop.get(), 1);
        left.count_down();
    });
    nobody_waits(&[&notify]);
}

/// Some initialisers fail, and some who come want no more than to wait.
pub(super) fn cell_is_written_once_and_lent_to_all(party: Party) {
    let rounds: Vec<_> = (0..ROUNDS)
        .map(|_| (OnceCell::<Box<usize>>::new(), Bare::default()))
        .collect();
    each(4, party, |i| {
        for (round, (cell, data)) in rounds.iter().enumerate() {
            let make = || {
                data.set(1);
                Box::new(round)
            };
            let value = match (i + round) % 4 {
                0 => match cell.get_or_try_init(|| Err(())) {
                    Ok(value) => value,
                    Err(()) => cell.wait(),
                },
                1 => loop {
                    if let Some(value) = cell.wait_timeout(short(round)) {
                        break value;
                    }
                },
                2 => match cell.set(make()) {
                    Ok(()) => cell.get().unwrap(),
                    Err(mine) => {
                        assert_eq!(*mine, round);
                        cell.get().unwrap()
                    }
                },
                _ => cell.get_or_init(make),
            };
            assert_eq!((**value, data.get()), (round, 1));
        }
    });
    for (round, (cell, _)) in rounds.into_iter().enumerate() {
        nobody_waits(&[&cell]);
        let (mut cell, copy) = (cell.clone(), cell);
        **cell.get_mut().unwrap() += 1;
        assert_eq!(copy.into_inner(), Some(Box::new(round)));
        assert_eq!(cell.take(), Some(Box::new(round + 1)));
        assert_eq!(cell.into_inner(), None);
    }
}

pub(super) fn lazy_is_made_once(party: Party) {
    let calls = Bare::default();
    let all: Vec<_> = (0..ROUNDS)
        .map(|round| {
            let (calls, mut token) = (&calls, Some(Box::new(round)));
            Lazy::new(move || {
                calls.increase();
                Box::new((token.take().unwrap(), AtomicUsize::new(0)))
            })
        })
        .collect();
    each(3, party, |_| {
        for (round, lazy) in all.iter().enumerate() {
            assert_eq!(*lazy.0, round);
            lazy.1.fetch_add(1, Relaxed);
        }
    });
    assert_eq!(calls.get(), ROUNDS);
    assert!(all.iter().all(|lazy| lazy.1.load(Relaxed) == 3));
}

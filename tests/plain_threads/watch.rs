//! Watch and Broadcast.

use super::{Bare, Party, ROUNDS, each, nobody_waits, short};
use greenlet::sync::{Broadcast, BroadcastError, Watch, WatchError};

/// A version that is told comes with its value, and with what was done before it was set.
pub(super) fn watched_value_is_never_older_than_its_version(party: Party) {
    let (watch, data) = (Watch::new(Box::new(0)), Bare::default());
    let last = each(4, party, |i| {
        if i == 0 {
            for round in 1..=ROUNDS {
                data.set(round);
                assert_eq!(watch.set(Box::new(round)), Ok(Box::new(round - 1)));
            }
            watch.shutdown();
            assert!(watch.set(Box::new(0)).is_err());
            return ROUNDS;
        }
        let (mut reader, mut last) = (watch.subscribe(), 0);
        for round in 0.. {
            match reader.changed_timeout(short(round + i)) {
                Ok(()) => {
                    let value = *reader.get();
                    assert!(value > last && data.get() >= value);
                    last = value;
                }
                Err(WatchError::Unchanged) => {}
                Err(WatchError::ShutDown) => break,
            }
        }
        // One that came after the last change was told of none.
        assert_eq!(*reader.get(), ROUNDS);
        ROUNDS
    });
    assert_eq!(last, [ROUNDS; 4]);
    nobody_waits(&[&watch]);
}

pub(super) fn broadcast_items_are_got_in_order_or_counted(party: Party) {
    let (news, data) = (Broadcast::new(3), Bare::default());
    each(4, party, |i| {
        if i == 0 {
            // All three are subscribed.
            while news.readers() < 3 {
                std::thread::yield_now();
            }
            for round in 0..ROUNDS {
                data.set(round);
                assert!(news.put(Box::new(round)).is_ok());
                if round % 4 == 0 {
                    std::thread::yield_now();
                }
            }
            news.shutdown();
            return;
        }
        let (mut reader, mut next) = (news.subscribe(), 0);
        for round in 0.. {
            match reader.get_timeout(short(round + i)) {
                Ok(item) => {
                    assert_eq!(*item, next);
                    assert!(data.get() >= next);
                    next += 1;
                }
                Err(BroadcastError::Lagged(n)) => next += n as usize,
                Err(BroadcastError::Empty) => {}
                Err(BroadcastError::ShutDown) => break,
            }
        }
        assert_eq!(next, ROUNDS);
    });
    assert_eq!((news.len(), news.readers()), (0, 0));
    nobody_waits(&[&news]);
}

//! Watch and Broadcast.

use super::batches::Crowd;
use super::hub::on_hub;
use super::races::Race;
use super::{Seen, explore, nobody_waits, thread};
use crate::spawn;
use crate::sync::{Broadcast, BroadcastError, BroadcastReader, Watch, WatchError, WatchReader};
use std::sync::Arc;
use std::time::Duration;

const NOW: Duration = Duration::ZERO;

/// Its lock is made by the first who uses it, which must come before it is shared.
fn watch() -> Arc<Watch<u32>> {
    let watch = Arc::new(Watch::new(0));
    assert_eq!(watch.get(), 0);
    watch
}

// ---- Watch ----

/// A change, the limit and a kill: the reader is told, or the change is still to be seen.
#[test]
fn watch_wake_expiry_kill() {
    let race = Race {
        new: || {
            let watch = watch();
            (watch.subscribe_owned(), watch)
        },
        give: |(_, watch)| assert_eq!(watch.set(1), Ok(0)),
        take: |(reader, _)| {
            let mut reader = reader.clone();
            let told = reader.changed_timeout(NOW).is_ok();
            if told {
                assert_eq!(reader.get(), 1);
            }
            told
        },
        check: |(reader, watch), _| {
            nobody_waits(watch);
            assert_eq!(reader.clone().changed(), Ok(()));
        },
    };
    race.run("watch_wake_expiry_kill", 3);
}

/// A batch and one more, one of whom leaves.
#[test]
fn watch_set_for_three() {
    let crowd = Crowd {
        new: || {
            let watch = Watch::new(0);
            assert_eq!(watch.get(), 0);
            watch
        },
        wake: |watch| assert_eq!(watch.set(1), Ok(0)),
        wait: |watch| assert_eq!(watch.subscribe().changed(), Ok(())),
        wait_now: |watch| watch.subscribe().changed_timeout(NOW).is_ok(),
    };
    crowd.run("watch_set_for_three", 3);
}

/// Reads to the end. Each change that it is told is one that it has not read.
fn read_all(mut reader: WatchReader<'static, u32>) -> u32 {
    let mut last = 0;
    while reader.changed().is_ok() {
        let value = reader.get();
        assert!(value > last, "{value} after {last}");
        last = value;
    }
    assert_eq!(reader.get(), last);
    last
}

/// Two values: one may be skipped, but not the last.
#[test]
fn watch_changed_against_set() {
    let seen = Seen::new();
    explore("watch_changed_against_set", Some(2), {
        let seen = seen.clone();
        move || {
            let watch = watch();
            let reader = thread({
                let (mut reader, seen) = (watch.subscribe_owned(), seen.clone());
                move || {
                    reader.changed().unwrap();
                    let first = reader.get();
                    if first == 1 {
                        reader.changed().unwrap();
                        assert_eq!(reader.get(), 2);
                    }
                    seen.hit(first as usize - 1);
                    assert!(!reader.has_changed());
                }
            });
            watch.set(1).unwrap();
            watch.set(2).unwrap();
            reader.join().unwrap();
            nobody_waits(&*watch);
        }
    });
    seen.all(2);
}

/// Two change it, one of whom then waits for the last value: no change is lost.
#[test]
fn watch_two_setters() {
    explore("watch_two_setters", Some(2), || {
        let watch = watch();
        let setter = thread({
            let watch = watch.clone();
            move || watch.modify(|n| *n += 1).unwrap()
        });
        let mut reader = watch.subscribe();
        watch.modify(|n| *n += 1).unwrap();
        let last = reader.wait_for(|n| *n == 2).map(|n| *n);
        assert_eq!(last, Ok(2));
        assert!(!reader.has_changed());
        setter.join().unwrap();
        nobody_waits(&*watch);
    });
}

/// What was set before the end is seen before the end, and what comes too late is refused.
#[test]
fn watch_shutdown_against_set() {
    let seen = Seen::new();
    explore("watch_shutdown_against_set", Some(2), {
        let seen = seen.clone();
        move || {
            let watch = watch();
            let reader = thread({
                let reader = watch.subscribe_owned();
                move || read_all(reader)
            });
            let setter = thread({
                let watch = watch.clone();
                move || watch.set(1).is_ok()
            });
            watch.shutdown();
            let set = setter.join().unwrap();
            assert_eq!(reader.join().unwrap(), u32::from(set));
            assert_eq!(watch.get(), u32::from(set));
            seen.hit(set.into());
            nobody_waits(&*watch);
        }
    });
    seen.all(2);
}

/// One who was about to change the value, and does not, tells of the end that came meanwhile.
#[test]
fn watch_shutdown_against_no_change() {
    let seen = Seen::new();
    explore("watch_shutdown_against_no_change", Some(3), {
        let seen = seen.clone();
        move || {
            let watch = watch();
            let reader = thread({
                let mut reader = watch.subscribe_owned();
                move || assert_eq!(reader.changed(), Err(WatchError::ShutDown))
            });
            let idle = thread({
                let watch = watch.clone();
                move || watch.modify_if(|_| false)
            });
            watch.shutdown();
            seen.hit(idle.join().unwrap().is_ok().into());
            reader.join().unwrap();
            nobody_waits(&*watch);
        }
    });
    seen.all(2);
}

/// A reader on a hub, woken by a setter on another.
#[test]
fn watch_between_hubs() {
    explore("watch_between_hubs", Some(2), || {
        let watch = watch();
        let reader = on_hub({
            let reader = watch.subscribe_owned();
            move || assert_eq!(spawn(move || read_all(reader)).join().unwrap(), 1)
        });
        let setter = on_hub({
            let watch = watch.clone();
            move || {
                spawn(move || {
                    watch.set(1).unwrap();
                    watch.shutdown();
                })
                .join()
                .unwrap();
            }
        });
        setter.join().unwrap();
        reader.join().unwrap();
        nobody_waits(&*watch);
    });
}

// ---- Broadcast ----

/// An item, the limit and a kill: the reader has it, or it is still there.
#[test]
fn broadcast_wake_expiry_kill() {
    struct News {
        broadcast: Arc<Broadcast<Box<u32>>>,
        reader: std::sync::Mutex<BroadcastReader<'static, Box<u32>>>,
    }
    let race = Race {
        new: || {
            let broadcast = Arc::new(Broadcast::new(1));
            let reader = broadcast.subscribe_owned();
            let reader = std::sync::Mutex::new(reader);
            News { broadcast, reader }
        },
        give: |news| assert_eq!(news.broadcast.put(Box::new(7)), Ok(1)),
        take: |news| {
            // A kill must not poison it.
            let mut reader = news.reader.lock().unwrap_or_else(|e| e.into_inner());
            reader.get_timeout(NOW).is_ok_and(|item| *item == 7)
        },
        check: |news, taken| {
            nobody_waits(&news.broadcast);
            let mut reader = news.reader.lock().unwrap_or_else(|e| e.into_inner());
            assert_eq!(reader.get_nowait().is_ok(), !taken);
            assert!(news.broadcast.is_empty());
        },
    };
    race.run("broadcast_wake_expiry_kill", 4);
}

/// A batch and one more, one of whom leaves.
#[test]
fn broadcast_put_for_three() {
    let crowd = Crowd {
        new: || Broadcast::<Box<u32>>::new(1),
        wake: |news| drop(news.put(Box::new(7))),
        wait: |news| assert_eq!(news.subscribe().get(), Ok(Box::new(7))),
        wait_now: |news| news.subscribe().get_timeout(NOW).is_ok(),
    };
    crowd.run("broadcast_put_for_three", 3);
}

/// Room for one, and three are put: each is got, in order, or counted.
#[test]
fn broadcast_lag_against_put() {
    let seen = Seen::new();
    explore("broadcast_lag_against_put", Some(3), {
        let seen = seen.clone();
        move || {
            let news = Arc::new(Broadcast::<Box<u64>>::new(1));
            let reader = thread({
                let reader = news.subscribe_owned();
                move || {
                    let mut next = 1;
                    let mut missed = 0;
                    for item in reader {
                        match item {
                            Ok(item) => {
                                assert_eq!(*item, next);
                                next += 1;
                            }
                            Err(BroadcastError::Lagged(n)) => {
                                missed += n;
                                next += n;
                            }
                            Err(other) => panic!("{other}"),
                        }
                    }
                    assert_eq!(next, 4);
                    missed
                }
            });
            for i in 1..=3 {
                news.put(Box::new(i)).unwrap();
            }
            news.shutdown();
            seen.hit(reader.join().unwrap() as usize);
            nobody_waits(&*news);
            assert_eq!((news.len(), news.readers()), (0, 0));
        }
    });
    // It lags by none, one or two: the last one is there.
    seen.all(3);
}

/// What was put before the end is got before the end; what comes too late is given back.
#[test]
fn broadcast_shutdown_against_put() {
    let seen = Seen::new();
    explore("broadcast_shutdown_against_put", Some(3), {
        let seen = seen.clone();
        move || {
            let news = Arc::new(Broadcast::<Box<u64>>::new(2));
            let reader = thread({
                let reader = news.subscribe_owned();
                move || reader.map(|item| *item.unwrap()).collect::<Vec<_>>()
            });
            let putter = thread({
                let news = news.clone();
                move || news.put(Box::new(1))
            });
            news.shutdown();
            let put = putter.join().unwrap();
            // The reader may have gone, for the end has come.
            let got = reader.join().unwrap();
            match put {
                Ok(_) => assert_eq!(got, [1]),
                Err(item) => assert!(*item == 1 && got.is_empty()),
            }
            seen.hit(got.len());
            nobody_waits(&*news);
        }
    });
    seen.all(2);
}

/// One reader goes while another gets and a third subscribes: what is kept is for those who
/// are there, and goes with them.
#[test]
fn broadcast_readers_come_and_go_against_put() {
    let seen = Seen::new();
    explore("broadcast_readers_come_and_go_against_put", Some(3), {
        let seen = seen.clone();
        move || {
            let token = Arc::new(());
            let news = Arc::new(Broadcast::new(2));
            let stayer = thread({
                let mut reader = news.subscribe_owned();
                move || drop(reader.get().unwrap())
            });
            let goer = thread({
                let (reader, news) = (news.subscribe_owned(), news.clone());
                move || {
                    drop(reader);
                    news.subscribe().get_nowait().is_ok()
                }
            });
            let readers = news.put(token.clone()).unwrap();
            assert!((1..=2).contains(&readers));
            let late = goer.join().unwrap();
            stayer.join().unwrap();
            seen.hit(if late { 2 } else { readers - 1 });
            assert_eq!((news.len(), news.readers()), (0, 0));
            assert_eq!(Arc::strong_count(&token), 1);
        }
    });
    seen.all(3);
}

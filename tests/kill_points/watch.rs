//! Watch and Broadcast. The last actor comes late and ends what others wait for.

use crate::stage::{Stage, Witness, explore, ms};
use greenlet::sync::{Broadcast, BroadcastError, Watch};
use std::cell::Cell;
use std::fmt::Debug;
use std::rc::Rc;

fn nobody_waits(of: &dyn Debug) {
    let text = format!("{of:?}");
    assert!(text.contains("waiting: 0"), "{text}");
}

/// Readers of all kinds; one who changes the value slowly, one who reads it slowly, and one who
/// sets it must wait for these two.
#[test]
fn watch() {
    explore(|stage| {
        let watch = Rc::new(Watch::new((0, stage.witness())));
        for i in 0..7 {
            let watch = watch.clone();
            stage.actor(move |a| {
                let mut reader = watch.subscribe();
                let value = |n| (n, a.stage.witness());
                match i {
                    0 => drop(a.waits("changed", || reader.changed())),
                    1 => drop(a.waits("changed_timeout", || reader.changed_timeout(ms(2)))),
                    2 => drop(a.waits("wait_for", || reader.wait_for(|n| n.0 == 9).map(drop))),
                    3 => drop(a.waits("wait_for_timeout", || {
                        reader.wait_for_timeout(ms(4), |n| n.0 == 9).map(drop)
                    })),
                    4 => {
                        a.sleeps(1);
                        let changed = a.waits("modify", || {
                            watch.modify(|n| {
                                n.0 += 1;
                                a.waits("in modify", || greenlet::sleep(ms(2)));
                            })
                        });
                        assert_eq!(changed, Ok(()));
                    }
                    5 => {
                        a.sleeps(2);
                        a.waits("with", || {
                            watch.with(|_| a.waits("in with", || greenlet::sleep(ms(2))));
                        });
                    }
                    _ => {
                        a.sleeps(2);
                        drop(a.waits("set", || watch.set(value(9))));
                    }
                }
            });
        }
        let last = watch.clone();
        stage.actor(move |a| {
            a.sleeps(9);
            last.shutdown();
        });
        stage.afterwards(move || {
            nobody_waits(&watch);
            let mut reader = watch.subscribe();
            watch.with(|value| assert!([0, 1, 9, 10].contains(&value.0)));
            if watch.is_shut_down() {
                assert!(reader.changed().is_err());
                return;
            }
            watch.modify(|value| value.0 = 11).unwrap();
            assert!(reader.changed().is_ok() && reader.with(|value| value.0 == 11));
        });
    });
}

/// An item that knows how often it was cloned.
struct News(u32, #[allow(dead_code)] Witness, Stage);

impl Clone for News {
    fn clone(&self) -> Self {
        greenlet::sleep(ms(1)); // it may
        News(self.0, self.2.witness(), self.2.clone())
    }
}

#[test]
fn broadcast() {
    explore(|stage| {
        let news = Rc::new(Broadcast::<News>::new(2));
        let put = Rc::new(Cell::new(0));
        for i in 0..4 {
            let news = news.clone();
            stage.actor(move |a| {
                let (mut reader, mut done) = (news.subscribe(), 0);
                loop {
                    let got = match i {
                        0 => a.waits("get", || reader.get()),
                        1 => a.waits("get_timeout", || reader.get_timeout(ms(2))),
                        2 => match a.waits("next", || reader.next()) {
                            Some(got) => got,
                            None => return,
                        },
                        _ => {
                            // It lags.
                            a.sleeps(3);
                            a.does("slow get", || reader.get())
                        }
                    };
                    match got {
                        Ok(item) => {
                            assert_eq!(item.0, done);
                            done += 1;
                        }
                        Err(BroadcastError::Lagged(n)) => done += n as u32,
                        Err(BroadcastError::Empty) => {}
                        Err(BroadcastError::ShutDown) => return,
                    }
                }
            });
        }
        let (putting, counted) = (news.clone(), put.clone());
        stage.actor(move |a| {
            for i in 0..6 {
                a.sleeps(1 + u64::from(i % 3));
                let item = News(i, a.stage.witness(), a.stage.clone());
                assert!(putting.put(item).is_ok());
                counted.set(i + 1);
            }
        });
        let last = news.clone();
        stage.actor(move |a| {
            a.sleeps(15);
            last.shutdown();
        });
        stage.afterwards(move || {
            nobody_waits(&news);
            assert_eq!((news.readers(), news.len()), (0, 0), "after {}", put.get());
        });
    });
}

//! Readiness of descriptors: a mutex stands in for the system, which orders its calls as
//! one does, and a thread for the poller, which tells of changes after they were made.

use super::{Seen, explore, thread};
use crate::rt::clock::Limit;
use crate::rt::inbox::{Inbox, Parker, Waiter};
use crate::rt::readiness::{CLOSED, HANGUP, Half};
use crate::rt::sync::{Mutex, lock};
use crate::rt::task::Site;
use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::time::Duration;

/// What can be read, and who waits for that.
struct Pipe {
    bytes: Mutex<usize>,
    ended: Mutex<bool>,
    half: Half,
}

impl Pipe {
    fn new(ready: bool) -> Arc<Self> {
        Arc::new(Pipe {
            bytes: Mutex::new(0),
            ended: Mutex::new(false),
            half: Half::new(ready),
        })
    }

    /// `count` bytes come, and the poller says so.
    fn send(&self, count: usize) {
        *lock(&self.bytes) += count;
        self.half.changed(0);
    }

    /// The system's read.
    fn take(&self, most: usize) -> io::Result<usize> {
        let mut bytes = lock(&self.bytes);
        match (*bytes).min(most) {
            0 if *lock(&self.ended) => Ok(0),
            0 => Err(ErrorKind::WouldBlock.into()),
            got => {
                *bytes -= got;
                Ok(got)
            }
        }
    }

    /// The crate's read.
    fn read(&self, most: usize, limit: Limit) -> io::Result<usize> {
        let site = Site::here("model");
        let short = |&got: &usize| 0 < got && got < most;
        self.half
            .attempt(&site, limit, || Ok(()), || self.take(most), short)
    }

    fn get(&self, most: usize) -> usize {
        self.read(most, Limit::Never).unwrap()
    }
}

/// Two bytes and one change: who takes the first passes the turn on.
#[test]
fn one_change_for_two_readers() {
    explore("one_change_for_two_readers", Some(3), || {
        let pipe = Pipe::new(false);
        let sender = thread({
            let pipe = pipe.clone();
            move || pipe.send(2)
        });
        let reader = thread({
            let pipe = pipe.clone();
            move || assert_eq!(pipe.get(1), 1)
        });
        assert_eq!(pipe.get(1), 1);
        sender.join().unwrap();
        reader.join().unwrap();
        assert_eq!(*lock(&pipe.bytes), 0);
    });
}

/// News between a call that found nothing, or little, and what is made of it.
#[test]
fn change_against_drained() {
    explore("change_against_drained", Some(3), || {
        let pipe = Pipe::new(true);
        let sender = thread({
            let pipe = pipe.clone();
            move || {
                pipe.send(1);
                pipe.send(1);
            }
        });
        let mut got = 0;
        while got < 2 {
            got += pipe.get(3);
        }
        sender.join().unwrap();
    });
}

/// A reader that expires while a change comes: the turn is its own or the next one's.
#[test]
fn change_against_leaving() {
    let seen = Seen::new();
    explore("change_against_leaving", Some(3), {
        let seen = seen.clone();
        move || {
            let pipe = Pipe::new(false);
            let reader = thread({
                let (pipe, seen) = (pipe.clone(), seen.clone());
                move || match pipe.read(1, Limit::After(Duration::ZERO)) {
                    Ok(got) => {
                        assert_eq!(got, 1);
                        seen.hit(0);
                        // One byte is left, so the other one is served too.
                    }
                    Err(e) => {
                        assert_eq!(e.kind(), ErrorKind::TimedOut);
                        seen.hit(1);
                    }
                }
            });
            let sender = thread({
                let pipe = pipe.clone();
                move || pipe.send(2)
            });
            assert_eq!(pipe.get(1), 1);
            reader.join().unwrap();
            sender.join().unwrap();
        }
    });
    seen.all(2);
}

/// The last byte and the end come with one change: the end is seen after a short read.
#[test]
fn end_after_a_short_read() {
    explore("end_after_a_short_read", None, || {
        let pipe = Pipe::new(true);
        let sender = thread({
            let pipe = pipe.clone();
            move || {
                *lock(&pipe.bytes) += 1;
                *lock(&pipe.ended) = true;
                pipe.half.changed(HANGUP);
            }
        });
        let mut got = Vec::new();
        while got.last() != Some(&0) {
            got.push(pipe.get(3));
        }
        assert_eq!(got.iter().sum::<usize>(), 1);
        sender.join().unwrap();
    });
}

/// A close against two who wait or are about to, and bytes that come meanwhile.
#[test]
fn close_against_readers() {
    let seen = Seen::new();
    explore("close_against_readers", Some(2), {
        let seen = seen.clone();
        move || {
            let pipe = Pipe::new(true);
            let other = thread({
                let pipe = pipe.clone();
                move || {
                    pipe.send(1);
                    pipe.half.close();
                }
            });
            let read = |pipe: &Pipe, seen: &Seen| match pipe.read(1, Limit::Never) {
                Ok(_) => seen.hit(0),
                Err(e) => {
                    assert_eq!(e.kind(), ErrorKind::NotConnected);
                    assert_ne!(pipe.half.number() & CLOSED, 0);
                    seen.hit(1);
                }
            };
            let reader = thread({
                let (pipe, seen) = (pipe.clone(), seen.clone());
                move || read(&pipe, &seen)
            });
            read(&pipe, &seen);
            reader.join().unwrap();
            other.join().unwrap();
        }
    });
    seen.all(2);
}

/// A hub gets its poller, and sleeps in it from then on, while a wake comes.
#[test]
fn sleep_in_the_poller_against_push() {
    explore("sleep_in_the_poller_against_push", None, || {
        let inbox = Inbox::new();
        let record = Waiter::of_record(&inbox, 0).address().clone();
        let pusher = thread({
            let record = record.clone();
            move || record.wake()
        });
        let poller = Arc::new(Parker::new());
        inbox.set_bell({
            let poller = poller.clone();
            Box::new(move || poller.unpark())
        });
        let mut woken = false;
        while !woken {
            inbox.drain(|_| &*record, |_| woken = true);
            if !woken {
                inbox.sleep_in(|| poller.park(None));
            }
        }
        pusher.join().unwrap();
    });
}

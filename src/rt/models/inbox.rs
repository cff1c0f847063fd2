//! The inbox alone: its protocol in full, without a bound where that is small.

use super::super::inbox::{Address, Inbox, Mail, Waiter};
use super::super::sync::{Arc as Shared, AtomicUsize, Ordering};
use super::{Seen, explore, thread};
use std::sync::Arc;

fn kill(id: u64) -> Mail {
    Mail::Kill { index: 0, id }
}

/// A hub's thread in small: takes what comes, and sleeps, until it has had
/// `wakes` wakes and `letters` letters.
fn serve(inbox: &Inbox, records: &[Shared<Address>], wakes: usize, letters: usize) {
    let (mut woken, mut read) = (Vec::new(), 0);
    while woken.len() < wakes || read < letters {
        read += inbox
            .drain(|index| &*records[index], |index| woken.push(index))
            .len();
        if woken.len() < wakes || read < letters {
            inbox.sleep(None);
        }
    }
    woken.sort_unstable();
    assert!(woken.into_iter().eq(0..wakes) && read == letters);
}

/// Two wakes and a hub that sleeps: none is lost, none comes twice, and what was
/// done before is seen.
#[test]
fn sleep_against_two_pushes() {
    explore("sleep_against_two_pushes", Some(3), || {
        let inbox = Inbox::new();
        let records = [0, 1].map(|index| Waiter::of_record(&inbox, index).address().clone());
        let data = Arc::new(AtomicUsize::new(0));
        let pushers = records.clone().map(|record| {
            let data = data.clone();
            thread(move || {
                data.fetch_add(1, Ordering::Relaxed);
                record.wake();
            })
        });
        serve(&inbox, &records, 2, 0);
        assert_eq!(data.load(Ordering::Relaxed), 2);
        for pusher in pushers {
            pusher.join().unwrap();
        }
    });
}

/// The same with one wake, in all interleavings.
#[test]
fn sleep_against_push() {
    explore("sleep_against_push", None, || {
        let inbox = Inbox::new();
        let records = [Waiter::of_record(&inbox, 0).address().clone()];
        let data = Arc::new(AtomicUsize::new(0));
        let pusher = thread({
            let (record, data) = (records[0].clone(), data.clone());
            move || {
                data.store(1, Ordering::Relaxed);
                record.wake();
            }
        });
        serve(&inbox, &records, 1, 0);
        assert_eq!(data.load(Ordering::Relaxed), 1);
        pusher.join().unwrap();
    });
}

/// Letters and a wake: the reserved entry is pushed anew only when it is free.
#[test]
fn letters_and_a_wake() {
    explore("letters_and_a_wake", Some(2), || {
        let inbox = Inbox::new();
        let records = [Waiter::of_record(&inbox, 0).address().clone()];
        let writer = thread({
            let inbox = inbox.clone();
            move || {
                assert!(inbox.send(kill(1)).is_ok());
                assert!(inbox.send(kill(2)).is_ok());
            }
        });
        let other = thread({
            let (inbox, record) = (inbox.clone(), records[0].clone());
            move || {
                record.wake();
                assert!(inbox.send(kill(3)).is_ok());
            }
        });
        serve(&inbox, &records, 1, 3);
        writer.join().unwrap();
        other.join().unwrap();
    });
}

/// The hub closes: each letter is read, returned by the close, or refused.
///
/// Twice, with the sides on either thread: loom looks for the last access to a
/// word only, and so misses orders where that was the writer's own load.
#[test]
fn push_against_close() {
    let seen = Seen::new();
    for writer_is_main in [false, true] {
        let seen = seen.clone();
        explore("push_against_close", None, move || {
            let inbox = Inbox::new();
            let record = Waiter::of_record(&inbox, 0).address().clone();
            let write = {
                let (inbox, record, seen) = (inbox.clone(), record.clone(), seen.clone());
                move || {
                    record.wake();
                    let refused = inbox.send(kill(1)).is_err();
                    if refused {
                        assert!(inbox.is_closed());
                        seen.hit(0);
                    }
                    usize::from(refused)
                }
            };
            let seen = seen.clone();
            let close = move || {
                let read = inbox.drain(|_| &*record, |_| {}).len();
                let returned = inbox.refuse_mail().len();
                inbox.close();
                (read > 0).then(|| seen.hit(1));
                (returned > 0).then(|| seen.hit(2));
                read + returned
            };
            let letters = if writer_is_main {
                let closer = thread(close);
                write() + closer.join().unwrap()
            } else {
                let writer = thread(write);
                close() + writer.join().unwrap()
            };
            assert_eq!(letters, 1);
        });
    }
    seen.all(3);
}

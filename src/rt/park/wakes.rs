//! How those who wait are claimed, and woken after the unlock.

use super::no_switch;
use crate::rt::hub::Hub;
use crate::rt::inbox::{Waiter, Wake};
use crate::rt::report::contain;
use crate::rt::sync::MODELLED;
use std::task::Waker;

/// Waiters that a broadcast claims before it lets go of the lock. Small in
/// models, so that one can go over it.
pub(crate) const BATCH: usize = if MODELLED { 2 } else { 32 };

/// Wakes that other threads are owed, delivered after the unlock. One is the common case; a
/// broadcast may add up to a batch.
pub(crate) enum Wakes {
    None,
    One(Wake),
    Many(Vec<Wake>),
}

impl Wakes {
    #[inline]
    pub(crate) fn new() -> Self {
        Wakes::None
    }

    /// True if nothing was added.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        matches!(self, Wakes::None)
    }

    fn add(&mut self, wake: Wake) {
        *self = match std::mem::replace(self, Wakes::None) {
            Wakes::None => Wakes::One(wake),
            Wakes::One(first) => Wakes::Many(vec![first, wake]),
            Wakes::Many(mut all) => {
                all.push(wake);
                Wakes::Many(all)
            }
        };
    }

    /// Delivers all. Without the lock that they were collected under.
    #[cold]
    #[inline(never)]
    pub(crate) fn deliver(self) {
        match self {
            Wakes::None => {}
            Wakes::One(wake) => wake_up(wake),
            Wakes::Many(all) => all.into_iter().for_each(wake_up),
        }
    }
}

fn wake_up(wake: Wake) {
    match wake {
        Wake::Party(address) => address.wake(),
        Wake::Task(waker) => wake_task(waker),
    }
}

/// A waker is foreign code: whoever calls it may have a node linked, so it can neither wait
/// nor unwind, and the others get their wakes.
fn wake_task(waker: Waker) {
    no_switch(|| contain(|| waker.wake()));
}

/// Claims a waiter through its node of that index: true if no one else has ended
/// its wait. The caller holds the lock of the list that it has taken the node off.
#[inline(always)]
pub(crate) fn claim(waiter: &Waiter, index: usize, wakes: &mut Wakes) -> bool {
    if let Some(hub) = Hub::get()
        && let Some(record) = waiter.index_in(hub.inbox())
    {
        let won = match index {
            0 => waiter.word.notify_here(),
            _ => waiter.word.notify(index),
        };
        if won {
            hub.make_ready_index(record);
        }
        return won;
    }
    claim_elsewhere(waiter, index, wakes)
}

#[inline(never)]
fn claim_elsewhere(waiter: &Waiter, index: usize, wakes: &mut Wakes) -> bool {
    let wake = waiter.claim(index);
    let won = wake.is_some();
    if let Some(wake) = wake {
        wakes.add(wake);
    }
    won
}

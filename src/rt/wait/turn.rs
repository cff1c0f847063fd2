//! The waits without a list: to sleep, to let others run first, and to let one run next.

use super::{End, Step, interruption, jump, obstructed};
use crate::rt::clock::Limit;
use crate::rt::hub::{Hub, Record, Switch};
use crate::rt::park::Party;
use crate::rt::task::Site;
use crate::rt::word::Outcome;

/// Waits for nothing but the limit.
#[inline(always)]
#[track_caller]
pub(crate) fn sleep(operation: &'static str, limit: Limit) -> End {
    match prepare_sleep(operation, limit) {
        Step::Ready(end) => end,
        Step::Suspend(switch) => {
            // SAFETY: `prepare_sleep` made it for the caller, just now.
            unsafe { jump(switch) };
            resumed_sleep()
        }
    }
}

#[inline(never)]
#[track_caller]
fn prepare_sleep(operation: &'static str, limit: Limit) -> Step<End> {
    let site = Site::here(operation);
    let party = Party::current();
    if let Some(end) = obstructed(&party, &site) {
        return Step::Ready(end);
    }
    party.waiter().word.announce();
    match party.suspend_to_sleep(&site, &limit) {
        Some(switch) => Step::Suspend(switch),
        None => Step::Ready(complete_sleep(&party)),
    }
}

#[inline(never)]
fn resumed_sleep() -> End {
    complete_sleep(&Party::current())
}

#[track_caller]
fn complete_sleep(party: &Party) -> End {
    match party.settle() {
        Outcome::Notified(_) => End::Notified,
        Outcome::Expired => End::Expired,
        _ => interruption(party).raise(),
    }
}

/// Lets the others that are ready run first.
#[inline(always)]
#[track_caller]
pub(crate) fn yield_now(operation: &'static str) {
    if let Some(switch) = prepare_yield(operation) {
        // SAFETY: `prepare_yield` made it for the caller, just now.
        unsafe { jump(switch) };
    }
}

#[inline(never)]
#[track_caller]
fn prepare_yield(operation: &'static str) -> Option<Switch> {
    let site = Site::here(operation);
    let (hub, record) = may_yield(&site)?;
    if hub.skip_yield() {
        return None;
    }
    hub.requeue(record, &site)
}

/// Who may yield now. Raises what is due; a thread without a hub lets other threads run.
#[inline(always)]
#[track_caller]
fn may_yield(site: &Site) -> Option<(&'static Hub, &'static Record)> {
    match Party::unhindered() {
        None => may_yield_after_all(site),
        unhindered => unhindered,
    }
}

#[cold]
#[inline(never)]
#[track_caller]
fn may_yield_after_all(site: &Site) -> Option<(&'static Hub, &'static Record)> {
    let party = Party::current();
    if obstructed(&party, site).is_some() {
        return None;
    }
    match party {
        Party::Hub(hub, record) => Some((hub, record)),
        Party::Thread(_) => {
            std::thread::yield_now();
            None
        }
    }
}

/// Lets that greenlet of this hub run next, if it is ready, before the others that are;
/// true if it could. Else as [`yield_now`].
#[inline(always)]
#[track_caller]
pub(crate) fn switch_to(operation: &'static str, target: Option<(usize, u64)>) -> bool {
    let (next, switch) = prepare_switch(operation, target);
    if let Some(switch) = switch {
        // SAFETY: `prepare_switch` made it for the caller, just now.
        unsafe { jump(switch) };
    }
    next
}

#[inline(never)]
#[track_caller]
fn prepare_switch(operation: &'static str, target: Option<(usize, u64)>) -> (bool, Option<Switch>) {
    let site = Site::here(operation);
    let Some((hub, record)) = may_yield(&site) else {
        return (false, None);
    };
    let next = target.is_some_and(|target| hub.make_next(target));
    if !next && hub.skip_yield() {
        return (false, None);
    }
    (next, hub.requeue(record, &site))
}

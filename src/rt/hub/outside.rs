//! What a hub hears of the world outside: wakes from other threads, and, with feature
//! `net`, changes of descriptors. The only place in the hub that knows of that feature.

use crate::rt::inbox::Inbox;
use std::time::Instant;

/// A hub's ear.
#[cfg(all(unix, feature = "net"))]
#[derive(Default)]
pub(super) struct Outside {
    /// From the first wait for a descriptor on.
    poller: std::cell::RefCell<Option<crate::rt::poller::Poller>>,
    /// The address of its driver, to be compared; 0 before there is one.
    driver: std::cell::Cell<usize>,
    /// How many of the hub wait for descriptors.
    pending: std::cell::Cell<usize>,
}

/// Without feature `net` there is the inbox and nothing else.
#[cfg(not(all(unix, feature = "net")))]
#[derive(Default)]
pub(super) struct Outside {}

#[cfg(all(unix, feature = "net"))]
mod imp {
    use super::*;
    use crate::rt::hub::Hub;
    use crate::rt::poller::{Driver, Poller};
    use std::io;
    use std::sync::Arc;

    impl Outside {
        /// Looks without sleeping.
        #[inline]
        pub(in crate::rt::hub) fn look(&self) {
            if let Some(poller) = &mut *self.poller.borrow_mut() {
                poller.poll_now();
            }
        }

        /// Looks until nothing is left that had come before.
        pub(in crate::rt::hub) fn look_through(&self) {
            if let Some(poller) = &mut *self.poller.borrow_mut() {
                poller.poll_now();
                while poller.may_have_left_some() {
                    poller.poll_now();
                }
            }
        }

        /// Sleeps until a push, a change or the deadline.
        pub(in crate::rt::hub) fn sleep(&self, inbox: &Inbox, until: Option<Instant>) {
            match &mut *self.poller.borrow_mut() {
                Some(poller) => inbox.sleep_in(|| poller.poll(until)),
                None => inbox.sleep(until),
            }
        }

        /// Whether somebody of the hub waits for a descriptor.
        pub(in crate::rt::hub) fn is_awaited(&self) -> bool {
            self.pending.get() > 0
        }

        pub(in crate::rt::hub) fn close(&self) {
            if let Some(poller) = self.poller.take() {
                poller.close();
            }
        }
    }

    impl Hub {
        /// Runs `f` with the part of the poller for those who register; the poller is made
        /// at first need.
        pub(crate) fn with_driver<R>(&self, f: impl FnOnce(&Arc<Driver>) -> R) -> io::Result<R> {
            let mut poller = self.outside.poller.borrow_mut();
            let poller = match &mut *poller {
                Some(poller) => poller,
                none => {
                    let (new, bell) = Poller::new()?;
                    self.inbox.set_bell(bell);
                    self.outside.driver.set(Arc::as_ptr(new.driver()).addr());
                    none.insert(new)
                }
            };
            Ok(f(poller.driver()))
        }

        /// Whether the driver of this hub's poller is at that address, which is not 0.
        #[inline]
        pub(crate) fn has_driver(&self, address: usize) -> bool {
            address != 0 && self.outside.driver.get() == address
        }

        /// Whoever runs begins to wait for a descriptor.
        #[inline(always)]
        pub(crate) fn begin_pending(&self) {
            let pending = &self.outside.pending;
            pending.set(pending.get() + 1);
            self.current().entry.is_outside.set(true);
        }

        /// It does not wait any more.
        #[inline]
        pub(crate) fn end_pending(&self) {
            let pending = &self.outside.pending;
            pending.set(pending.get() - 1);
            self.current().entry.is_outside.set(false);
        }
    }
}

#[cfg(not(all(unix, feature = "net")))]
impl Outside {
    #[inline]
    pub(super) fn look(&self) {}

    pub(super) fn look_through(&self) {}

    pub(super) fn sleep(&self, inbox: &Inbox, until: Option<Instant>) {
        inbox.sleep(until);
    }

    pub(super) fn is_awaited(&self) -> bool {
        false
    }

    pub(super) fn close(&self) {}
}

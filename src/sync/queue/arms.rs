//! Gets, puts and joins for selects and futures.

use super::core::{Container, Core, Offer, PutResult};
use super::{GetError, PutError};
use crate::rt::report::discard;
use crate::rt::wait::{Choice, Intent, Operation};
use std::panic::resume_unwind;

/// To get an item.
pub(super) struct Getting<'a, T, C>(pub(super) &'a Core<T, C>);

impl<T, C: Container<T>> Intent for Getting<'_, T, C> {
    type Output = Result<T, GetError>;

    #[inline]
    fn attempt(&mut self) -> Option<Self::Output> {
        self.0.try_get()
    }

    fn arm(&mut self) -> impl Choice<Output = Self::Output> {
        self.0.get_arm()
    }
}

/// To put what is in there.
pub(super) struct Putting<'a, T, C> {
    core: &'a Core<T, C>,
    item: &'a mut Option<T>,
}

impl<'a, T, C> Putting<'a, T, C> {
    #[track_caller]
    pub(super) fn new(core: &'a Core<T, C>, item: &'a mut Option<T>) -> Self {
        assert!(item.is_some(), "there is an item to be put");
        Putting { core, item }
    }
}

impl<T, C: Container<T>> Intent for Putting<'_, T, C> {
    type Output = PutResult<T>;

    #[inline]
    fn attempt(&mut self) -> Option<Self::Output> {
        self.core.try_put(self.item)
    }

    fn arm(&mut self) -> impl Choice<Output = Self::Output> {
        let Putting { core, item } = self;
        let offer = item.take().expect("an attempt that failed leaves it");
        core.put_arm(offer, |back| **item = Some(back))
    }
}

impl<T, C: Container<T>> Core<T, C> {
    /// A [`get`](Core::get) as an arm.
    pub(crate) fn get_arm(&self) -> impl Choice<Output = Result<T, GetError>> {
        Operation::new(
            &self.monitor,
            None,
            |state, me| match state.shut_down {
                true => state.items.len() > 0 || state.has_ended(),
                false => state.items.len() > 0 || state.putters.has_other(me),
            },
            |state, wakes, _| self.give(state, wakes),
            |slot| slot.ok_or(GetError::ShutDown),
            |slot| slot.into_iter().for_each(|item| self.restore(item)),
        )
    }

    /// Takes an item back that a getter was given and does not want: it goes to the getter at
    /// the front, or to where it came from, even if that is full by now.
    #[cold]
    fn restore(&self, item: T) {
        let mut guard = self.monitor.lock();
        let (state, wakes) = guard.parts();
        if let Some(slot) = state.getters.claim(wakes) {
            *slot = Some(item);
        } else {
            let _lent = C::FOREIGN.then(|| self.monitor.lend());
            state.items.unpop(item);
        }
    }

    /// A [`put`](Core::put) as an arm; the item comes back if that is not done.
    pub(crate) fn put_arm<'a>(
        &'a self,
        item: T,
        mut back: impl FnMut(T) + 'a,
    ) -> impl Choice<Output = PutResult<T>> + 'a {
        Operation::new(
            &self.monitor,
            Offer::Item(item),
            |state, me| state.has_room() || state.shut_down || state.getters.has_other(me),
            |state, wakes, offer| self.accept(state, wakes, || offer.take()),
            |offer| match offer {
                Offer::Taken => Ok(()),
                Offer::Item(item) => Err(PutError::ShutDown(item)),
                Offer::Panicked(payload) => resume_unwind(payload),
            },
            move |offer| match offer {
                Offer::Taken => {}
                Offer::Item(item) => back(item),
                Offer::Panicked(payload) => discard(payload),
            },
        )
    }

    /// A [`join`](Core::join) as an arm.
    pub(crate) fn join_arm(&self) -> impl Choice<Output = ()> {
        Operation::new(
            &self.monitor,
            (),
            |state, _| state.unfinished == 0,
            |state, _, _| (state.unfinished == 0).then_some(()),
            |()| (),
            |()| (),
        )
    }
}

//! Greenlets come, are killed, and go.

use super::record::{Member, Place};
use super::{About, Hub, Key, RecordRef, Refusal, Spawn};
use crate::rt::coroutine;
use crate::rt::{stack, trace};

/// The last that a handle and the key of a timer have room for.
pub(crate) const MAX_INDEX: u32 = u32::MAX - 2;

impl Hub {
    /// A place for a new greenlet, which must be [spawned](Hub::spawn) next.
    #[inline]
    pub(crate) fn admit(&'static self) -> Result<usize, Refusal> {
        if self.closing.get() {
            return Err(Refusal::Closing);
        }
        if self.live.get() == 0 && self.spare.get().is_none() {
            self.reserve_spare()?;
        }
        match self.free.get() {
            Some(index) => Ok(index as usize),
            None => Ok(self.new_place()),
        }
    }

    /// Before the first greenlet needs it.
    #[cold]
    fn reserve_spare(&'static self) -> Result<(), Refusal> {
        let spare = self.take_worker(stack::MIN_SIZE * 2);
        self.spare.set(Some(spare.map_err(Refusal::NoStack)?));
        Ok(())
    }

    #[cold]
    fn new_place(&self) -> usize {
        let mut places = self.places.borrow_mut();
        let index = places.len();
        assert!(index <= MAX_INDEX as usize, "2^32 greenlets of one hub");
        places.push(Place::Free(None));
        self.free.set(Some(index as u32));
        index
    }

    /// A new greenlet, at the place where it was admitted.
    #[inline]
    pub(crate) fn spawn(&'static self, index: usize, spawn: Spawn) {
        let Spawn {
            job,
            birth,
            delay,
            legacy,
        } = spawn;
        let seed = job.seed();
        seed.entry.index.set(index as u32);
        seed.birth.set(Some(birth));
        if let Some(legacy) = legacy {
            seed.set_legacy(legacy);
        }
        self.live.set(self.live.get() + 1);
        let place = std::mem::replace(&mut self.places.borrow_mut()[index], Place::Unstarted(job));
        let Place::Free(next) = place else {
            unreachable!("it was admitted there")
        };
        self.free.set(next);
        // From here on it can be named, and killed, by those who hear of it.
        let About { id, name } = &seed.about;
        trace::spawned(&self.current().task, *id, name.as_ref(), &birth);
        match delay.filter(|_| !seed.killed.get()) {
            None => self.queue(&seed.entry),
            Some(delay) => {
                let key = Key::Start(index as u32);
                seed.set_timer(self.timers.borrow_mut().arm_after(delay, key));
            }
        }
    }

    /// The greenlet `id`, if it is still at that index.
    pub(super) fn find(&self, index: usize, id: u64) -> Option<Member> {
        let member = self.places.borrow()[index].member()?;
        (member.id() == id).then_some(member)
    }

    /// Asks the greenlet `id` to end, if it is still at that index.
    pub(crate) fn kill(&self, index: usize, id: u64) {
        if let Some(member) = self.find(index, id) {
            self.kill_member(member);
        }
    }

    fn kill_member(&self, member: Member) {
        trace::killed(&self.current().task, member.id());
        match member {
            Member::Unstarted(seed) => {
                seed.killed.set(true);
                if let Some(timer) = seed.take_timer() {
                    self.timers.borrow_mut().cancel(timer);
                    self.queue(&seed.entry);
                }
            }
            Member::Started(record) => {
                let unshielded = record.task.kill();
                if !coroutine::can_unwind() {
                    panic!("kill() of a started greenlet needs panic = \"unwind\"");
                }
                if unshielded && record.waiter.word.interrupt() {
                    self.make_ready(record);
                }
            }
        }
    }

    /// Kills all greenlets but the root and the one that calls.
    pub(crate) fn kill_all(&self) {
        let members: Vec<_> = {
            let places = self.places.borrow();
            places.iter().filter_map(Place::member).collect()
        };
        for member in members {
            let spared = match member {
                Member::Unstarted(_) => false,
                Member::Started(record) => {
                    self.is_root(record) || std::ptr::eq(record, self.current())
                }
            };
            if !spared {
                self.kill_member(member);
            }
        }
    }

    /// The record of a task that is alive and has run, by what `address_of` said.
    pub(crate) fn record_of(&self, (index, id): (usize, u64)) -> RecordRef {
        match self.find(index, id) {
            Some(Member::Started(record)) => record,
            _ => unreachable!("the owner of a scope outlives it"),
        }
    }

    /// Whether something else than a wake may end the wait that a greenlet is in: a kill that
    /// was asked for, or a frame that may fire.
    pub(crate) fn is_interruptible(&self, (index, id): (usize, u64)) -> bool {
        self.find(index, id).is_some_and(|member| match member {
            Member::Unstarted(seed) => seed.killed.get(),
            Member::Started(record) => record.task.is_interruptible(),
        })
    }

    /// The index and id under which the running greenlet can be killed or its
    /// frames fired.
    pub(crate) fn address_of(&self, record: RecordRef) -> (usize, u64) {
        (record.index(), record.id())
    }

    /// The greenlet has ended; its stack and record go back, although this still
    /// runs on that stack: nobody gets it before the loop runs again.
    pub(super) fn finish(&self, record: RecordRef, on_spare: bool) {
        trace::ended(&record.task, record.id());
        if self.observed.get() != 0 {
            self.observe_end(record);
        }
        let index = record.index();
        record.clear();
        let worker = record.entry.worker.get().expect("it runs on one");
        if on_spare {
            self.spare.set(Some(worker));
        } else {
            self.workers.give(worker);
        }
        self.places.borrow_mut()[index] = Place::Free(self.free.replace(Some(index as u32)));
        self.live.set(self.live.get() - 1);
        let root = self.root();
        if self.live.get() == 0 && self.draining.get() && root.waiter.word.notify(0) {
            self.make_ready(root);
        }
    }
}

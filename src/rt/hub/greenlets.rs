//! Greenlets come, are killed, and go.

use super::record::Life;
use super::{Hub, Key, Record, RecordRef, Refusal, Spawn};
use crate::rt::coroutine;
use crate::rt::{stack, trace};

impl Hub {
    /// A record for a new greenlet, which must be [spawned](Hub::spawn) next.
    #[inline]
    pub(crate) fn admit(&'static self) -> Result<RecordRef, Refusal> {
        if self.closing.get() {
            return Err(Refusal::Closing);
        }
        if self.live.get() == 0 && self.spare.get().is_none() {
            self.reserve_spare()?;
        }
        let Some(record) = self.free.take() else {
            return Ok(self.new_record());
        };
        self.free.set(record.next.take());
        Ok(record)
    }

    /// Before the first greenlet needs it.
    #[cold]
    fn reserve_spare(&self) -> Result<(), Refusal> {
        let spare = self.workers.take_or_start(stack::MIN_SIZE * 2, Hub::enter);
        self.spare.set(Some(spare.map_err(Refusal::NoStack)?));
        Ok(())
    }

    #[cold]
    fn new_record(&self) -> RecordRef {
        let mut records = self.records.borrow_mut();
        let record = Record::new(records.len(), &self.inbox);
        records.push(record);
        record
    }

    /// A new greenlet.
    #[inline]
    pub(crate) fn spawn(&'static self, record: RecordRef, spawn: Spawn) {
        record.id.set(spawn.id);
        record.stack_size.set(spawn.stack_size);
        trace::spawned(
            &self.current().task,
            spawn.id,
            spawn.name.as_ref(),
            &spawn.birth,
        );
        record.birth.set(Some(spawn.birth));
        record.job.set(Some(spawn.job));
        if spawn.name.is_some() {
            *record.name.borrow_mut() = spawn.name;
        }
        self.live.set(self.live.get() + 1);
        match spawn.delay {
            None => {
                record.life.set(Life::Unstarted);
                self.make_ready(record);
            }
            Some(delay) => {
                record.life.set(Life::Delayed);
                let key = Key::Start(record.index as u32);
                let timer = self.timers.borrow_mut().arm_after(delay, key);
                record.timer.set(Some(timer));
            }
        }
    }

    /// Asks the greenlet `id` to end, if it is still in the record `index`.
    pub(crate) fn kill(&self, index: usize, id: u64) {
        let record = self.records.borrow()[index];
        if record.id.get() == id {
            self.kill_record(record);
        }
    }

    fn kill_record(&self, record: RecordRef) {
        trace::killed(&self.current().task, record.id());
        let unshielded = record.task.kill();
        match record.life.get() {
            Life::Free | Life::Unstarted => {}
            Life::Delayed => {
                self.disarm(record);
                record.life.set(Life::Unstarted);
                self.make_ready(record);
            }
            Life::Started => {
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
        let records = self.records.borrow().clone();
        for record in records {
            let spared = self.is_root(record) || std::ptr::eq(record, self.current());
            if record.life.get() != Life::Free && !spared {
                self.kill_record(record);
            }
        }
    }

    /// The record of a task that is alive, by what `address_of` said.
    pub(crate) fn record_of(&self, (index, id): (usize, u64)) -> RecordRef {
        let record = self.records.borrow()[index];
        assert_eq!(record.id.get(), id, "the owner of a scope outlives it");
        record
    }

    /// The index and id under which the running greenlet can be killed or its
    /// frames fired.
    pub(crate) fn address_of(&self, record: RecordRef) -> (usize, u64) {
        (record.index, record.id.get())
    }

    /// The greenlet has ended; its stack and record go back, although this still
    /// runs on that stack: nobody gets it before the loop runs again.
    pub(super) fn finish(&self, record: RecordRef, on_spare: bool) {
        trace::ended(&record.task, record.id());
        if self.observed.get() != 0 {
            self.observe_end(record);
        }
        let worker = record.worker.take().expect("it runs on one");
        if on_spare {
            self.spare.set(Some(worker));
        } else {
            self.workers.give(worker);
        }
        self.release(record);
        if self.live.get() == 0 && self.draining.get() && self.root.waiter.word.notify(0) {
            self.make_ready(self.root);
        }
    }

    fn release(&self, record: RecordRef) {
        record.yielder.set(None);
        record.task.clear();
        record.id.set(0);
        record.life.set(Life::Free);
        if record.name.borrow().is_some() {
            record.name.take();
        }
        self.live.set(self.live.get() - 1);
        record.next.set(self.free.replace(Some(record)));
    }
}

//! The naive models of the primitives: plain lists of those who wait.

use super::model::{Grant, Model};

#[derive(Debug, Default)]
pub(crate) struct EventModel {
    pub(crate) set: bool,
    pub(crate) waiters: Vec<usize>,
}

#[derive(Debug, Default)]
pub(crate) struct ResultModel {
    pub(crate) result: Option<Result<u32, u32>>,
    pub(crate) waiters: Vec<usize>,
}

#[derive(Debug)]
pub(crate) struct SemaphoreModel {
    pub(crate) permits: usize,
    pub(crate) bound: usize,
    pub(crate) waiters: Vec<(usize, usize)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Fifo,
    Lifo,
    Priority,
}

#[derive(Debug)]
pub(crate) struct QueueModel {
    pub(crate) kind: Kind,
    pub(crate) capacity: Option<usize>,
    /// Priority and id, in order of arrival.
    pub(crate) items: Vec<(u8, u32)>,
    pub(crate) getters: Vec<usize>,
    /// Those who reserve a place have no item.
    pub(crate) putters: Vec<(usize, Option<(u8, u32)>)>,
    /// Places that are held, in all and by each task that holds any.
    pub(crate) reserved: usize,
    pub(crate) holders: Vec<usize>,
    pub(crate) joiners: Vec<usize>,
    pub(crate) unfinished: usize,
    pub(crate) shut_down: bool,
}

impl QueueModel {
    pub(crate) fn has_room(&self) -> bool {
        self.capacity
            .is_none_or(|c| self.items.len() + self.reserved < c)
    }

    /// Which item comes out next.
    pub(crate) fn next(&self) -> Option<usize> {
        match self.kind {
            _ if self.items.is_empty() => None,
            Kind::Fifo => Some(0),
            Kind::Lifo => Some(self.items.len() - 1),
            // The first of the smallest.
            Kind::Priority => (0..self.items.len()).min_by_key(|&i| self.items[i].0),
        }
    }
}

impl Model {
    /// Out of every line; behind it, there may now be enough for the next.
    pub(crate) fn leave(&mut self, t: usize) {
        self.events
            .iter_mut()
            .for_each(|e| e.waiters.retain(|&w| w != t));
        self.results
            .iter_mut()
            .for_each(|r| r.waiters.retain(|&w| w != t));
        self.joiners.iter_mut().for_each(|j| j.retain(|&w| w != t));
        let q = &mut self.queue;
        q.getters.retain(|&w| w != t);
        q.putters.retain(|&(w, _)| w != t);
        q.joiners.retain(|&w| w != t);
        for s in 0..self.semaphores.len() {
            let waiters = &mut self.semaphores[s].waiters;
            if let Some(at) = waiters.iter().position(|&(w, _)| w == t) {
                waiters.remove(at);
                self.grant_permits(s);
            }
        }
    }

    /// Whether a wait for it need not wait.
    pub(crate) fn is_ready(&self, source: Grant) -> bool {
        match source {
            Grant::Event(e) => self.events[e].set,
            Grant::Result(r) => self.results[r].result.is_some(),
            Grant::Ended(t) => self.tasks[t].ended,
            _ => unreachable!("not something to wait for"),
        }
    }

    /// Into its line.
    pub(crate) fn enlist(&mut self, t: usize, source: Grant) {
        match source {
            Grant::Event(e) => self.events[e].waiters.push(t),
            Grant::Result(r) => self.results[r].waiters.push(t),
            Grant::Ended(other) => self.joiners[other].push(t),
            _ => unreachable!("not something to wait for"),
        }
    }

    pub(crate) fn set_event(&mut self, e: usize) {
        self.events[e].set = true;
        for waiter in std::mem::take(&mut self.events[e].waiters) {
            self.offer(waiter, Grant::Event(e));
        }
    }

    /// False: it was set already.
    pub(crate) fn set_result(&mut self, r: usize, result: Result<u32, u32>) -> bool {
        if self.results[r].result.is_some() {
            return false;
        }
        self.results[r].result = Some(result);
        for waiter in std::mem::take(&mut self.results[r].waiters) {
            self.offer(waiter, Grant::Result(r));
        }
        true
    }

    /// True if so many are taken at once.
    pub(crate) fn take_permits(&mut self, s: usize, n: usize) -> bool {
        let semaphore = &mut self.semaphores[s];
        let fits = n == 0 || semaphore.waiters.is_empty() && n <= semaphore.permits;
        if fits {
            semaphore.permits -= n;
        }
        fits
    }

    /// False, and nothing changes, over the bound.
    pub(crate) fn release(&mut self, s: usize) -> bool {
        let semaphore = &mut self.semaphores[s];
        let fits = semaphore.permits < semaphore.bound;
        if fits {
            self.give_back(s, 1);
        }
        fits
    }

    /// A permit is dropped: up to the bound.
    pub(crate) fn give_back(&mut self, s: usize, n: usize) {
        let semaphore = &mut self.semaphores[s];
        semaphore.permits = (semaphore.permits + n).min(semaphore.bound);
        self.grant_permits(s);
    }

    fn grant_permits(&mut self, s: usize) {
        while let Some(&(waiter, need)) = self.semaphores[s].waiters.first() {
            if need > self.semaphores[s].permits {
                return;
            }
            self.semaphores[s].waiters.remove(0);
            if self.offer(waiter, Grant::Permits) {
                self.semaphores[s].permits -= need;
            }
        }
    }

    /// `None`: it must wait. Else whether the item is in; it is not after a shutdown.
    pub(crate) fn put(&mut self, item: (u8, u32)) -> Option<bool> {
        if self.queue.shut_down {
            return Some(false);
        }
        while !self.queue.getters.is_empty() {
            let getter = self.queue.getters.remove(0);
            if self.offer(getter, Grant::Item(item.1)) {
                self.queue.unfinished += 1;
                return Some(true);
            }
        }
        self.queue.has_room().then(|| {
            self.queue.items.push(item);
            self.queue.unfinished += 1;
            true
        })
    }

    /// `None`: it must wait. `Some(None)`: the queue is shut down and empty.
    pub(crate) fn get(&mut self) -> Option<Option<u32>> {
        if let Some(at) = self.queue.next() {
            let (_, id) = self.queue.items.remove(at);
            self.refill();
            return Some(Some(id));
        }
        if !self.queue.shut_down
            && let Some((_, id)) = self.take_putter()
        {
            self.queue.unfinished += 1;
            return Some(Some(id));
        }
        self.has_ended().then_some(None)
    }

    fn take_putter(&mut self) -> Option<(u8, u32)> {
        while let Some(at) = self.queue.putters.iter().position(|p| p.1.is_some()) {
            let (putter, item) = self.queue.putters.remove(at);
            if self.offer(putter, Grant::Yes) {
                return item;
            }
        }
        None
    }

    /// Nothing can come any more.
    fn has_ended(&self) -> bool {
        self.queue.shut_down && self.queue.reserved == 0
    }

    /// Room is for the first in line, to put or to hold.
    fn refill(&mut self) {
        while !self.queue.shut_down && self.queue.has_room() && !self.queue.putters.is_empty() {
            let (putter, item) = self.queue.putters.remove(0);
            if !self.offer(putter, Grant::Yes) {
                continue;
            }
            match item {
                Some(item) => {
                    self.queue.items.push(item);
                    self.queue.unfinished += 1;
                }
                None => self.queue.reserved += 1,
            }
        }
    }

    /// Up to so many; fewer are there, or none.
    pub(crate) fn get_many(&mut self, max: usize) -> Vec<u32> {
        let got = std::iter::from_fn(|| self.get().flatten());
        got.take(max).collect()
    }

    /// `None`: it must wait. Else whether there is a place; there is none after a shutdown.
    pub(crate) fn reserve(&mut self) -> Option<bool> {
        if self.queue.shut_down {
            return Some(false);
        }
        let room = self.queue.has_room();
        self.queue.reserved += usize::from(room);
        room.then_some(true)
    }

    /// A place is filled, or given back.
    pub(crate) fn fill(&mut self, item: Option<(u8, u32)>) {
        if let Some(item) = item {
            self.queue.unfinished += 1;
            let mut handed = false;
            while !handed && !self.queue.getters.is_empty() {
                let getter = self.queue.getters.remove(0);
                handed = self.offer(getter, Grant::Item(item.1));
            }
            if !handed {
                self.queue.items.push(item);
            }
        }
        self.queue.reserved -= 1;
        self.refill();
        if self.has_ended() {
            self.tell_getters();
        }
    }

    fn tell_getters(&mut self) {
        for getter in std::mem::take(&mut self.queue.getters) {
            self.offer(getter, Grant::NoItem);
        }
    }

    /// `Err(true)`: it is shut down. Else what is displaced; `Err(false)`: nothing is there.
    pub(crate) fn force_put(&mut self, item: (u8, u32)) -> Result<Option<u32>, bool> {
        match self.put(item) {
            Some(true) => return Ok(None),
            Some(false) => return Err(true),
            None if self.queue.items.is_empty() => return Err(false),
            None => {}
        }
        let (_, oldest) = self.queue.items.remove(0);
        self.queue.items.push(item);
        // It is done, if it was not done early.
        self.queue.unfinished = self.queue.unfinished.saturating_sub(1) + 1;
        Ok(Some(oldest))
    }

    pub(crate) fn shutdown(&mut self) {
        self.queue.shut_down = true;
        if self.has_ended() {
            self.tell_getters();
        }
        let putters = std::mem::take(&mut self.queue.putters);
        let (items, places): (Vec<_>, Vec<_>) = putters.into_iter().partition(|p| p.1.is_some());
        for (putter, _) in items.into_iter().chain(places) {
            self.offer(putter, Grant::ShutDown);
        }
    }

    pub(crate) fn shutdown_now(&mut self) -> Vec<u32> {
        let mut left = Vec::new();
        while let Some(at) = self.queue.next() {
            left.push(self.queue.items.remove(at).1);
        }
        self.shutdown();
        self.task_done(left.len());
        left
    }

    /// `n` is more than are unfinished only in a `shutdown_now` after a `task_done` that came
    /// before its item was got: an item is not done twice.
    pub(crate) fn task_done(&mut self, n: usize) {
        self.queue.unfinished = self.queue.unfinished.saturating_sub(n);
        if self.queue.unfinished == 0 {
            for joiner in std::mem::take(&mut self.queue.joiners) {
                self.offer(joiner, Grant::Yes);
            }
        }
    }
}

//! The operations that move items and permits.

use super::model::{Grant, Model};
use super::plan::Lim;
use super::world::{AnyPermit, Defer, Held, Here, Put, Token, World, ms, queue};
use greenlet::sync::{GetError, PutError};

impl World {
    pub(crate) fn put(&self, me: usize, priority: u8, limit: Lim) {
        let id = {
            let mut ledger = self.ledger.borrow_mut();
            ledger.push((1, 0));
            ledger.len() as u32 - 1
        };
        let token = Token {
            id,
            priority,
            ledger: self.ledger.clone(),
        };
        let real = || {
            let result = match limit {
                Lim::Nowait => queue!(self.queue, q => q.put_nowait(token)),
                Lim::For(d) => queue!(self.queue, q => q.put_timeout(token, ms(d))),
                Lim::Ever => queue!(self.queue, q => q.put(token)),
            };
            match result {
                Ok(()) => {
                    self.put.borrow_mut().push(id);
                    Put::In
                }
                Err(PutError::Full(token)) => Put::Full(token.id),
                Err(PutError::ShutDown(token)) => Put::ShutDown(token.id),
            }
        };
        let decided = self.model().put((priority, id));
        let limit = match (decided, limit) {
            (Some(true), _) => return self.instant(me, "put", Put::In, real),
            (Some(false), _) => return self.instant(me, "put", Put::ShutDown(id), real),
            (None, Lim::Nowait) => return self.instant(me, "put", Put::Full(id), real),
            (None, Lim::For(d)) => Some(d),
            (None, Lim::Ever) => None,
        };
        // A putter that is raised through has lost its own item, once.
        let _dropped = Defer(|| {
            if std::thread::panicking() {
                let counts = self.ledger.borrow()[id as usize];
                self.expect(me, "made and dropped", &counts, &(1, 1));
            }
        });
        let enlist = |m: &mut Model| m.queue.putters.push((me, (priority, id)));
        self.wait(me, "put", limit, enlist, real, |grant| match grant {
            None => Put::Full(id),
            Some(Grant::ShutDown) => Put::ShutDown(id),
            Some(_) => Put::In,
        });
    }

    pub(crate) fn get(&self, me: usize, limit: Lim) {
        let real = || {
            let token = match limit {
                Lim::Nowait => queue!(self.queue, q => q.get_nowait()),
                Lim::For(d) => queue!(self.queue, q => q.get_timeout(ms(d))),
                Lim::Ever => queue!(self.queue, q => q.get()),
            }?;
            self.out.borrow_mut().push(token.id);
            Ok(token.id)
        };
        let decided = self.model().get();
        let limit = match (decided, limit) {
            (Some(Some(id)), _) => return self.instant(me, "get", Ok(id), real),
            (Some(None), _) => return self.instant(me, "get", Err(GetError::ShutDown), real),
            (None, Lim::Nowait) => return self.instant(me, "get", Err(GetError::Empty), real),
            (None, Lim::For(d)) => Some(d),
            (None, Lim::Ever) => None,
        };
        let enlist = |m: &mut Model| m.queue.getters.push(me);
        self.wait(me, "get", limit, enlist, real, |grant| match grant {
            Some(Grant::Item(id)) => Ok(id),
            Some(_) => Err(GetError::ShutDown),
            None => Err(GetError::Empty),
        });
    }

    pub(crate) fn acquire<'w>(
        &'w self,
        here: Here<'_, 'w>,
        s: usize,
        n: usize,
        limit: Lim,
        owned: bool,
    ) {
        let me = here.me;
        let n = match limit {
            _ if owned => 1,
            Lim::Nowait => 1,
            _ => n.min(self.model().semaphores[s].bound),
        };
        macro_rules! take {
            ($s:expr) => {
                match (limit, owned, n) {
                    (Lim::Nowait, false, _) => $s.try_acquire().map(AnyPermit::Lent),
                    (Lim::Nowait, true, _) => $s.try_acquire_owned().map(AnyPermit::Owned),
                    (Lim::For(d), true, _) => $s.acquire_owned_timeout(ms(d)).map(AnyPermit::Owned),
                    (Lim::For(d), _, 1) => $s.acquire_timeout(ms(d)).map(AnyPermit::Lent),
                    (Lim::For(d), _, n) => $s.acquire_many_timeout(n, ms(d)).map(AnyPermit::Lent),
                    (Lim::Ever, true, _) => Some(AnyPermit::Owned($s.acquire_owned())),
                    (Lim::Ever, _, 1) => Some(AnyPermit::Lent($s.acquire())),
                    (Lim::Ever, _, n) => Some(AnyPermit::Lent($s.acquire_many(n))),
                }
            };
        }
        let mut permit = None;
        let real = || {
            permit = if s == 0 {
                take!(self.plain)
            } else {
                take!(self.bounded)
            };
            permit.is_some()
        };
        let decided = self.model().take_permits(s, n);
        match (decided, limit) {
            (true, _) => self.instant(me, "acquire", true, real),
            (false, Lim::Nowait) => self.instant(me, "acquire", false, real),
            (false, limit) => {
                let limit = limit.time();
                let enlist = |m: &mut Model| m.semaphores[s].waiters.push((me, n));
                self.wait(me, "acquire", limit, enlist, real, |grant| grant.is_some());
            }
        }
        if permit.is_some() {
            here.held.borrow_mut().push(Held {
                world: self,
                semaphore: s,
                n,
                permit,
            });
        }
    }
}

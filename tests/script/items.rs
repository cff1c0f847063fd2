//! The operations that move items and permits.

use super::model::{Grant, Model};
use super::plan::{Lim, Op};
use super::world::{AnyPermit, AnyQueue, Defer, Held, Here, Put, Token, World, ms, queue};
use greenlet::sync::{GetError, PutError};
use std::cell::RefCell;

impl World {
    pub(crate) fn token(&self, priority: u8) -> Token {
        let mut ledger = self.ledger.borrow_mut();
        ledger.push((1, 0));
        Token {
            id: ledger.len() as u32 - 1,
            priority,
            ledger: self.ledger.clone(),
        }
    }

    pub(crate) fn put(&self, me: usize, priority: u8, limit: Lim) {
        let token = self.token(priority);
        let id = token.id;
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
        let enlist = |m: &mut Model| m.queue.putters.push((me, Some((priority, id))));
        self.wait(me, "put", limit, enlist, real, |grant| match grant {
            None => Put::Full(id),
            Some(Grant::ShutDown) => Put::ShutDown(id),
            Some(_) => Put::In,
        });
    }

    /// Who holds a place does not wait for the end of the queue, which would wait for it.
    pub(crate) fn holder(&self, me: usize, limit: Lim) -> Lim {
        let holds = self.model().queue.holders.contains(&me);
        match limit {
            Lim::Ever if holds => Lim::For(5),
            limit => limit,
        }
    }

    pub(crate) fn get(&self, me: usize, limit: Lim) {
        let limit = self.holder(me, limit);
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

    pub(crate) fn get_many(&self, me: usize, max: usize, limit: Lim) {
        let limit = self.holder(me, limit);
        let real = || {
            let tokens = match limit {
                Lim::Nowait => queue!(self.queue, q => q.get_many_nowait(max)),
                Lim::For(d) => queue!(self.queue, q => q.get_many_timeout(max, ms(d))),
                Lim::Ever => queue!(self.queue, q => q.get_many(max)),
            }?;
            let ids: Vec<u32> = tokens.iter().map(|token| token.id).collect();
            self.out.borrow_mut().extend(&ids);
            Ok(ids)
        };
        let mut model = self.model();
        let first = if max == 0 { None } else { model.get() };
        let decided = match first {
            _ if max == 0 => Some(Ok(Vec::new())),
            None => None,
            Some(None) => Some(Err(GetError::ShutDown)),
            Some(Some(first)) => {
                let mut all = vec![first];
                all.extend(model.get_many(max - 1));
                Some(Ok(all))
            }
        };
        drop(model);
        let limit = match (decided, limit) {
            (Some(expected), _) => return self.instant(me, "get_many", expected, real),
            (None, Lim::Nowait) => {
                return self.instant(me, "get_many", Err(GetError::Empty), real);
            }
            (None, limit) => limit.time(),
        };
        let enlist = |m: &mut Model| m.queue.getters.push(me);
        self.wait(me, "get_many", limit, enlist, real, |grant| match grant {
            Some(Grant::Item(first)) => {
                let mut all = vec![first];
                all.extend(self.model().get_many(max - 1));
                Ok(all)
            }
            Some(_) => Err(GetError::ShutDown),
            None => Err(GetError::Empty),
        });
    }

    /// It waits for the last of the items only: where it waits within the batch the model cannot
    /// look. (`tests/queues.rs` has that.)
    pub(crate) fn put_many(&self, me: usize, n: usize, priority: u8, limit: Lim) {
        let priorities = (0..n).map(|i| (priority + i as u8) % 3);
        let tokens: Vec<Token> = priorities.map(|p| self.token(p)).collect();
        let all: Vec<(u8, u32)> = tokens.iter().map(|t| (t.priority, t.id)).collect();
        let mut model = self.model();
        let mut shut_down = false;
        let fits = all.iter().position(|&item| {
            let put = model.put(item);
            shut_down |= put == Some(false);
            put != Some(true)
        });
        drop(model);
        let (now, rest) = all.split_at(fits.unwrap_or(all.len()));
        self.put.borrow_mut().extend(now.iter().map(|item| item.1));
        let last = (rest.len() == 1 && !shut_down)
            .then_some(rest.first())
            .flatten();
        let wait = last.filter(|_| limit != Lim::Nowait);
        let real = || {
            let result = match (wait, limit) {
                (Some(_), Lim::For(d)) => {
                    queue!(self.queue, q => q.put_many_timeout(tokens, ms(d)))
                }
                (Some(_), Lim::Ever) => queue!(self.queue, q => q.put_many(tokens)),
                _ => queue!(self.queue, q => q.put_many_nowait(tokens)),
            };
            if let (Ok(()), Some(last)) = (&result, last) {
                self.put.borrow_mut().push(last.1);
            }
            result.map_err(|error| {
                let shut_down = matches!(error, PutError::ShutDown(_));
                let back = error.into_inner();
                (shut_down, back.iter().map(|token| token.id).collect())
            })
        };
        let back: Vec<u32> = rest.iter().map(|item| item.1).collect();
        let Some(&last) = wait else {
            let expected = match back.is_empty() {
                true => Ok(()),
                false => Err((shut_down, back)),
            };
            return self.instant(me, "put_many", expected, real);
        };
        let enlist = |m: &mut Model| m.queue.putters.push((me, Some(last)));
        self.wait(
            me,
            "put_many",
            limit.time(),
            enlist,
            real,
            |grant| match grant {
                None => Err((false, back)),
                Some(Grant::ShutDown) => Err((true, back)),
                Some(_) => Ok(()),
            },
        );
    }

    pub(crate) fn force_put(&self, me: usize, priority: u8) {
        let AnyQueue::Fifo(queue) = &self.queue else {
            return;
        };
        let token = self.token(priority);
        let id = token.id;
        let expected = self.model().force_put((priority, id));
        self.instant(me, "force_put", expected, || match queue.force_put(token) {
            Ok(displaced) => {
                self.put.borrow_mut().push(id);
                let displaced = displaced.map(|token| token.id);
                self.out.borrow_mut().extend(displaced);
                Ok(displaced)
            }
            Err(error) => {
                let shut_down = matches!(error, PutError::ShutDown(_));
                self.expect(me, "what came back", &error.into_inner().id, &id);
                Err(shut_down)
            }
        });
    }

    pub(crate) fn reserve<'w>(
        &'w self,
        here: Here<'_, 'w>,
        limit: Lim,
        item: Option<u8>,
        body: &[Op],
    ) {
        if self.model().queue.capacity == Some(0) {
            return self.run(body, here);
        }
        queue!(self.queue, queue => {
            let mut slot = None;
            let real = || {
                slot = Some(match limit {
                    Lim::Nowait => queue.try_reserve(),
                    Lim::For(d) => queue.reserve_timeout(ms(d)),
                    Lim::Ever => queue.reserve(),
                }?);
                Ok(())
            };
            self.reserve_place(here.me, limit, real);
            if let Some(slot) = slot {
                self.hold(here, slot, item, body, |slot, token| slot.put(token));
            }
        });
    }

    fn reserve_place(
        &self,
        me: usize,
        limit: Lim,
        real: impl FnOnce() -> Result<(), PutError<()>>,
    ) {
        let decided = self.model().reserve();
        let expected = match (decided, limit) {
            (Some(true), _) => Ok(()),
            (Some(false), _) => Err(PutError::ShutDown(())),
            (None, Lim::Nowait) => Err(PutError::Full(())),
            (None, limit) => {
                let enlist = |m: &mut Model| m.queue.putters.push((me, None));
                return self.wait(
                    me,
                    "reserve",
                    limit.time(),
                    enlist,
                    real,
                    |grant| match grant {
                        None => Err(PutError::Full(())),
                        Some(Grant::ShutDown) => Err(PutError::ShutDown(())),
                        Some(_) => Ok(()),
                    },
                );
            }
        };
        self.instant(me, "reserve", expected, real);
    }

    /// Does what is inside with the place held, and puts into it or gives it back, also when
    /// something unwinds.
    fn hold<'w, S>(
        &'w self,
        here: Here<'_, 'w>,
        slot: S,
        item: Option<u8>,
        body: &[Op],
        put: impl FnOnce(S, Token),
    ) {
        let me = here.me;
        self.model().queue.holders.push(me);
        let let_go = || {
            let holders = &mut self.model().queue.holders;
            let at = holders.iter().position(|&h| h == me).expect("it holds one");
            holders.remove(at);
        };
        let slot = RefCell::new(Some(slot));
        let unwound = Defer(|| {
            if let Some(slot) = slot.take() {
                let_go();
                self.model().fill(None);
                drop(slot);
            }
        });
        self.run(body, here);
        if let Some(priority) = item {
            let slot = slot.take().expect("it is held");
            let token = self.token(priority);
            let id = token.id;
            let_go();
            self.model().fill(Some((priority, id)));
            self.put.borrow_mut().push(id);
            self.instant(me, "put into a place", (), || put(slot, token));
        } else {
            self.instant(me, "give a place back", (), || drop(unwound));
        }
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

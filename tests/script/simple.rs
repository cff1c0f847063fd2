//! The operations that have no item, no permit, and nothing inside.

use super::model::{FrameState, Grant, Model, Ms};
use super::plan::Op;
use super::world::{AnyPermit, AnyQueue, Here, InWait, Scope, World, handle, ms, queue};
use greenlet::sync::GetError;
use greenlet::{Waitable, wait_any, wait_any_timeout};

impl World {
    /// What has no item and no permit, and what lies inside nothing.
    pub(crate) fn simple(&self, op: &Op, here: Here<'_, '_>) {
        let me = here.me;
        match *op {
            Op::Sleep(0) => {
                let mut model = self.model();
                let at_once = model.due(me);
                if at_once.is_none() {
                    model.begin_yield(me);
                }
                drop(model);
                let mut wait = InWait {
                    world: self,
                    me,
                    at_once,
                    returned: false,
                };
                greenlet::yield_now();
                wait.returned = true;
                let mut model = self.model();
                if at_once.is_some() {
                    return model.error(format!("#{me} yields though {at_once:?} is due"));
                }
                model.resume(me);
            }
            Op::Sleep(d) => {
                self.wait(
                    me,
                    "sleep",
                    Some(d),
                    |_| (),
                    || greenlet::sleep(ms(d)),
                    |_| (),
                );
            }
            Op::Kill(t) => {
                let Some((t, handle)) = handle(self, t) else {
                    return;
                };
                self.model().kill(t);
                self.instant(me, "kill", (), || handle.kill());
            }
            Op::WaitFor(t, d) => {
                let Some((t, handle)) = handle(self, t) else {
                    return;
                };
                let real = || handle.wait_timeout(ms(d));
                let ended = self.model().tasks[t].ended;
                if ended {
                    self.instant(me, "wait for", true, real);
                } else if t != me {
                    let enlist = |m: &mut Model| m.joiners[t].push(me);
                    self.wait(me, "wait for", Some(d), enlist, real, |grant| {
                        grant.is_some()
                    });
                }
            }
            Op::Detach(t) => {
                let mut handles = self.handles.borrow_mut();
                let t = t % handles.len();
                let handle = handles[t].take();
                drop(handles);
                self.instant(me, "detach", (), || drop(handle));
            }
            Op::WaitAny(set, t, limit) => self.wait_any(me, set, t, limit),
            Op::Reset(d, out) => {
                if let Some(Scope { id, handle, .. }) = here.scope.map(|s| s.further_out(out)) {
                    let id = *id;
                    self.model().reset(me, id, Some(d));
                    self.instant(me, "reset", true, || {
                        handle.reset(ms(d));
                        handle.is_pending()
                    });
                }
            }
            Op::Cancel(out) => {
                if let Some(Scope { id, handle, .. }) = here.scope.map(|s| s.further_out(out)) {
                    let id = *id;
                    let mut model = self.model();
                    let frame = model.frame(me, id);
                    let (state, deadline) = (frame.state, frame.deadline);
                    let armed = state == FrameState::Armed && !model.has_expired(deadline);
                    model.reset(me, id, None);
                    drop(model);
                    self.instant(me, "cancel", (armed, false), || {
                        let armed = handle.is_pending();
                        handle.cancel();
                        (armed, handle.is_pending())
                    });
                }
            }
            Op::EventWait(e, limit) => {
                let event = &self.events[e];
                let real = || match limit {
                    Some(d) => event.wait_timeout(ms(d)),
                    None => {
                        event.wait();
                        true
                    }
                };
                if self.model.borrow().events[e].set {
                    return self.instant(me, "Event::wait", true, real);
                }
                let enlist = |m: &mut Model| m.events[e].waiters.push(me);
                self.wait(me, "Event::wait", limit, enlist, real, |grant| {
                    grant.is_some()
                });
            }
            Op::EventSet(e) => {
                self.model().set_event(e);
                self.instant(me, "set", (), || self.events[e].set());
            }
            Op::EventClear(e) => {
                self.model().events[e].set = false;
                self.instant(me, "clear", (), || self.events[e].clear());
            }
            Op::EventPulse(e) => {
                self.model().set_event(e);
                self.model().events[e].set = false;
                self.instant(me, "set and clear", (), || {
                    self.events[e].set();
                    self.events[e].clear();
                });
            }
            Op::ResultWait(r, limit) => {
                let result = &self.results[r];
                let set = self.model.borrow().results[r].result;
                let real = || {
                    let got = match limit {
                        Some(d) => result.wait_timeout(ms(d)),
                        None => Some(result.wait()),
                    };
                    got.map(|got| got.copied().map_err(|e| *e))
                };
                if set.is_some() {
                    return self.instant(me, "AsyncResult::wait", set, real);
                }
                let enlist = |m: &mut Model| m.results[r].waiters.push(me);
                self.wait(me, "AsyncResult::wait", limit, enlist, real, |grant| {
                    grant.and_then(|_| self.model.borrow().results[r].result)
                });
            }
            Op::ResultGet(r) => {
                let set = self.model.borrow().results[r].result;
                self.instant(me, "get_nowait", set, || self.results[r].get_nowait());
                let result = &self.results[r];
                let queries = (
                    set.and_then(Result::ok),
                    set.and_then(Result::err),
                    set.is_some(),
                );
                self.instant(me, "value and error", queries, || {
                    (
                        result.value().copied(),
                        result.error().copied(),
                        result.is_ready(),
                    )
                });
            }
            Op::ResultSet(r, ok) => {
                let mut model = self.model();
                let n = model.resumes as u32; // any number will do
                let result = if ok { Ok(n) } else { Err(n) };
                let expected = if model.set_result(r, result) {
                    Ok(())
                } else {
                    Err(n)
                };
                drop(model);
                self.instant(me, "AsyncResult::set", expected, || match ok {
                    true => self.results[r].set(n),
                    false => self.results[r].set_error(n),
                });
            }
            Op::Get(limit) => self.get(me, limit),
            Op::GetMany(max, limit) => self.get_many(me, max, limit),
            Op::Drain => {
                let expected = self.model().get_many(usize::MAX);
                self.instant(me, "drain", expected, || {
                    let all = queue!(self.queue, q => q.drain());
                    let all: Vec<u32> = all.iter().map(|token| token.id).collect();
                    self.out.borrow_mut().extend(&all);
                    all
                });
            }
            Op::Peek => {
                let model = self.model();
                let expected = match model.queue.next() {
                    Some(at) => Ok(model.queue.items[at].1),
                    None if model.queue.shut_down => Err(GetError::ShutDown),
                    None => Err(GetError::Empty),
                };
                drop(model);
                self.instant(me, "peek", expected, || {
                    queue!(self.queue, q => q.peek_nowait()).map(|token| token.id)
                });
            }
            Op::TaskDone => {
                if self.model().queue.unfinished > 0 {
                    self.model().task_done(1);
                    self.instant(
                        me,
                        "task_done",
                        (),
                        || queue!(self.queue, q => q.task_done()),
                    );
                }
            }
            Op::Join(limit) => {
                let real = || match limit {
                    Some(d) => queue!(self.queue, q => q.join_timeout(ms(d))),
                    None => {
                        queue!(self.queue, q => q.join());
                        true
                    }
                };
                if self.model().queue.unfinished == 0 {
                    return self.instant(me, "join", true, real);
                }
                let enlist = |m: &mut Model| m.queue.joiners.push(me);
                self.wait(me, "join", limit, enlist, real, |grant| grant.is_some());
            }
            Op::Shutdown => {
                self.model().shutdown();
                self.instant(me, "shutdown", (), || queue!(self.queue, q => q.shutdown()));
            }
            Op::ShutdownNow => {
                let expected = self.model().shutdown_now();
                self.instant(me, "shutdown_now", expected, || {
                    let left = queue!(self.queue, q => q.shutdown_now());
                    let left: Vec<u32> = left.iter().map(|token| token.id).collect();
                    self.out.borrow_mut().extend(&left);
                    left
                });
            }
            Op::Release(s) => {
                let expected = self.model().release(s);
                self.instant(me, "release", expected, || match s {
                    0 => {
                        self.plain.release();
                        self.released.set(self.released.get() + 1);
                        true
                    }
                    _ => self.bounded.release().is_ok(),
                });
            }
            Op::Return | Op::Forget => {
                let mut held = here.held.borrow_mut();
                if held.is_empty() {
                    return;
                }
                let mut first = held.remove(0);
                drop(held);
                if let Op::Return = op {
                    return self.instant(me, "return", (), || drop(first));
                }
                match first.permit.take() {
                    Some(AnyPermit::Lent(permit)) => permit.forget(),
                    Some(AnyPermit::Owned(permit)) => permit.forget(),
                    None => {}
                }
                if first.semaphore == 0 {
                    self.forgotten.set(self.forgotten.get() + first.n);
                }
            }
            Op::Timeout(..)
            | Op::Shield(_)
            | Op::Swallow(_)
            | Op::Panic
            | Op::Put(..)
            | Op::PutMany(..)
            | Op::ForcePut(_)
            | Op::Reserve(..)
            | Op::Select(_)
            | Op::Poll(_)
            | Op::Acquire(..) => {
                unreachable!("done by `run`")
            }
        }
    }

    /// Not for the greenlet's own end.
    fn wait_any(&self, me: usize, set: u8, t: usize, limit: Option<Ms>) {
        let other = handle(self, t).filter(|&(t, _)| t != me && set & 16 != 0);
        let mut sources = Vec::new();
        let mut all: Vec<&dyn Waitable> = Vec::new();
        for i in (0..2).filter(|i| set & 1 << i != 0) {
            sources.push(Grant::Event(i));
            all.push(&self.events[i]);
        }
        for i in (0..2).filter(|i| set & 4 << i != 0) {
            sources.push(Grant::Result(i));
            all.push(&self.results[i]);
        }
        if let Some((t, other)) = &other {
            sources.push(Grant::Ended(*t));
            all.push(&**other);
        }
        if all.is_empty() {
            return;
        }
        let real = || match limit {
            Some(d) => wait_any_timeout(&all, ms(d)),
            None => Some(wait_any(&all)),
        };
        let model = self.model();
        let first = sources.iter().position(|&source| model.is_ready(source));
        drop(model);
        if first.is_some() {
            return self.instant(me, "wait_any", first, real);
        }
        let enlist = |m: &mut Model| sources.iter().for_each(|&source| m.enlist(me, source));
        self.wait(me, "wait_any", limit, enlist, real, |grant| {
            sources.iter().position(|&source| Some(source) == grant)
        });
    }
}

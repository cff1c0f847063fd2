//! The first of several operations that can be done: by `select_biased!`, or as futures that are
//! polled once. The macro's arms are written down, a script's are not, so its halves are used here
//! as the macro uses them.

use super::model::{Grant, Model};
use super::plan::{Arms, Lim};
use super::sync::{GetError, Permit, PutError};
use super::world::{AnyPermit, AnyQueue, Held, Here, Put, Token, World, ms, queue};
use greenlet::select::{self, Listed, Turns, Wait};
use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

pub(crate) const GET: usize = 0;
pub(crate) const PUT: usize = 1;
pub(crate) const ACQUIRE: usize = 2;
/// And the next one.
pub(crate) const EVENTS: usize = 3;
pub(crate) const RESULTS: usize = 5;

/// What the arm that was chosen has given.
pub(crate) enum Chosen<'a, T> {
    Get(Result<T, GetError>),
    Put(Result<(), PutError<T>>),
    Permits(Permit<'a>),
    Event(usize),
    Result(usize),
}

pub(crate) fn limit(limit: Lim, ms: impl Fn(u64) -> std::time::Duration) -> Wait {
    match limit {
        Lim::Nowait => select::NOT,
        Lim::For(d) => select::within(ms(d)),
        Lim::Ever => select::EVER,
    }
}

/// The number of arms is part of a select's type.
pub(crate) fn wait_for(listed: Vec<Listed<'_>>, turns: &Turns, limit: Wait) -> Option<usize> {
    macro_rules! of {
        ($($n:literal)+) => {
            match listed.len() {
                $($n => {
                    let arms = <[Listed<'_>; $n]>::try_from(listed);
                    select::wait(arms.ok().expect("so many"), turns, limit)
                })+
                n => unreachable!("{n} arms"),
            }
        };
    }
    of!(1 2 3 4 5 6 7)
}

/// Polls once.
pub(crate) fn poll<F: Future>(future: F) -> Option<F::Output> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    }
}

/// A select over those kinds, as [`Chosen`], or `None`; `$item` is an `Option` with an item if
/// there is an arm to put it, `$n` how many permits of the two semaphores.
macro_rules! choose {
    ($queue:expr, $world:expr, $arms:expr, $item:expr, $n:expr, $wait:expr) => {{
        use greenlet::Waitable as _;
        let (kinds, n, limit) = ($arms.kinds(), $n, $wait);
        let mut get = $queue.select_get();
        let mut put = $item.is_some().then(|| $queue.select_put(&mut $item));
        let mut plain = $world.plain.select_acquire(n[0]);
        let mut bounded = $world.bounded.select_acquire(n[1]);
        let mut waits = [0, 1].map(|e| $world.events[e].select_wait());
        let mut results = [0, 1].map(|r| $world.results[r].select_wait());

        // First each is tried.
        let mut turns = greenlet::select::biased(kinds.len());
        let their_turn = kinds.iter().filter(|_| turns.comes());
        let tried = { their_turn }.find_map(|&kind| match (kind, $arms.semaphore) {
            (GET, _) => get.attempt().map(Chosen::Get),
            (PUT, _) => put.as_mut().and_then(|put| put.attempt()).map(Chosen::Put),
            (ACQUIRE, 0) => plain.attempt().map(Chosen::Permits),
            (ACQUIRE, _) => bounded.attempt().map(Chosen::Permits),
            (EVENTS..RESULTS, _) => {
                let event = kind - EVENTS;
                waits[event].attempt().map(|()| Chosen::Event(event))
            }
            _ => {
                let result = kind - RESULTS;
                results[result].attempt().map(|()| Chosen::Result(result))
            }
        });
        assert!(!turns.again(), "a biased one has no second round");
        if tried.is_some() || !limit.is_any() {
            tried
        } else {
            let mut get = get.arm();
            let mut put = put.as_mut().map(|put| put.arm());
            let (mut plain, mut bounded) = (plain.arm(), bounded.arm());
            let [w, x] = &mut waits;
            let [r, s] = &mut results;
            let (mut w, mut x, mut r, mut s) = (w.arm(), x.arm(), r.arm(), s.arm());
            let mut all = [
                Some(get.listed()),
                put.as_mut().map(|put| put.listed()),
                Some(match $arms.semaphore {
                    0 => plain.listed(),
                    _ => bounded.listed(),
                }),
                Some(w.listed()),
                Some(x.listed()),
                Some(r.listed()),
                Some(s.listed()),
            ];
            let listed = kinds.iter().map(|&kind| all[kind].take().expect("an arm"));
            let won = wait_for(listed.collect(), &turns, limit);
            won.map(|at| match (kinds[at], $arms.semaphore) {
                (GET, _) => Chosen::Get(get.end()),
                (PUT, _) => Chosen::Put(put.as_mut().expect("it was listed").end()),
                (ACQUIRE, 0) => Chosen::Permits(plain.end()),
                (ACQUIRE, _) => Chosen::Permits(bounded.end()),
                (kind @ EVENTS..RESULTS, _) => Chosen::Event(kind - EVENTS),
                (kind, _) => Chosen::Result(kind - RESULTS),
            })
        }
    }};
}
pub(crate) use choose;

/// As [`choose`], but each as a future that is polled once and dropped, until one is ready.
macro_rules! choose_polled {
    ($queue:expr, $world:expr, $arms:expr, $item:expr, $n:expr) => {{
        $arms.kinds().into_iter().find_map(|kind| match kind {
            GET => poll($queue.get_async()).map(Chosen::Get),
            PUT => poll($queue.put_async($item.take().expect("an item"))).map(Chosen::Put),
            ACQUIRE => match $arms.semaphore {
                0 => poll($world.plain.acquire_many_async($n[0])),
                _ => poll($world.bounded.acquire_many_async($n[1])),
            }
            .map(Chosen::Permits),
            EVENTS..RESULTS => poll($world.events[kind - EVENTS].wait_async())
                .map(|()| Chosen::Event(kind - EVENTS)),
            _ => poll($world.results[kind - RESULTS].wait_async())
                .map(|_| Chosen::Result(kind - RESULTS)),
        })
    }};
}
pub(crate) use choose_polled;

/// What a select, or a poll, says; with the items' ids.
#[derive(Debug, PartialEq)]
enum Said {
    Got(Result<u32, GetError>),
    Put(Put),
    Permits,
    Event(usize),
    Result(usize),
    Nothing,
}

impl World {
    /// `polled`: as futures; then the limit does not matter.
    pub(crate) fn select<'w>(&'w self, here: Here<'_, 'w>, arms: &Arms, polled: bool) {
        let (me, kinds) = (here.me, arms.kinds());
        let has = |kind| kinds.contains(&kind);
        let time = match (polled, has(GET)) {
            (true, _) => Lim::Nowait,
            (false, true) => self.holder(me, arms.limit),
            (false, false) => arms.limit,
        };
        let n = [arms.n, arms.n.min(self.model().semaphores[1].bound)];
        let mut item = has(PUT).then(|| self.token(arms.priority));
        let id = item.as_ref().map_or(0, |token| token.id);

        let s = arms.semaphore;
        let mut model = self.model();
        let decided = kinds.iter().find_map(|&kind| match kind {
            GET => model
                .get()
                .map(|got| Said::Got(got.ok_or(GetError::ShutDown))),
            PUT => model.put((arms.priority, id)).map(|put| match put {
                true => Said::Put(Put::In),
                false => Said::Put(Put::ShutDown(id)),
            }),
            ACQUIRE => model.take_permits(s, n[s]).then_some(Said::Permits),
            EVENTS..RESULTS => model.events[kind - EVENTS]
                .set
                .then_some(Said::Event(kind - EVENTS)),
            _ => {
                let result = model.results[kind - RESULTS].result;
                result.map(|_| Said::Result(kind - RESULTS))
            }
        });
        drop(model);

        let mut permit = None;
        let real = || {
            let wait = limit(time, ms);
            let chosen = match polled {
                false => queue!(self.queue, q => choose!(q, self, arms, item, n, wait)),
                true => queue!(self.queue, q => choose_polled!(q, self, arms, item, n)),
            };
            match chosen {
                None => Said::Nothing,
                Some(Chosen::Get(got)) => Said::Got(got.map(|token: Token| {
                    self.out.borrow_mut().push(token.id);
                    token.id
                })),
                Some(Chosen::Put(Ok(()))) => {
                    self.put.borrow_mut().push(id);
                    Said::Put(Put::In)
                }
                Some(Chosen::Put(Err(PutError::Full(token)))) => Said::Put(Put::Full(token.id)),
                Some(Chosen::Put(Err(PutError::ShutDown(token)))) => {
                    Said::Put(Put::ShutDown(token.id))
                }
                Some(Chosen::Permits(taken)) => {
                    permit = Some(AnyPermit::Lent(taken));
                    Said::Permits
                }
                Some(Chosen::Event(e)) => Said::Event(e),
                Some(Chosen::Result(r)) => Said::Result(r),
            }
        };
        match (decided, time) {
            (Some(said), _) => self.instant(me, "select", said, real),
            (None, Lim::Nowait) => self.instant(me, "select", Said::Nothing, real),
            (None, time) => {
                let enlist = |m: &mut Model| {
                    for &kind in &kinds {
                        match kind {
                            GET => m.queue.getters.push(me),
                            PUT => m.queue.putters.push((me, Some((arms.priority, id)))),
                            ACQUIRE => m.semaphores[s].waiters.push((me, n[s])),
                            EVENTS..RESULTS => m.enlist(me, Grant::Event(kind - EVENTS)),
                            _ => m.enlist(me, Grant::Result(kind - RESULTS)),
                        }
                    }
                };
                self.wait(
                    me,
                    "select",
                    time.time(),
                    enlist,
                    real,
                    |grant| match grant {
                        None => Said::Nothing,
                        Some(Grant::Item(id)) => Said::Got(Ok(id)),
                        Some(Grant::NoItem) => Said::Got(Err(GetError::ShutDown)),
                        Some(Grant::ShutDown) => Said::Put(Put::ShutDown(id)),
                        Some(Grant::Permits) => Said::Permits,
                        Some(Grant::Event(e)) => Said::Event(e),
                        Some(Grant::Result(r)) => Said::Result(r),
                        Some(Grant::Yes | Grant::Ended(_)) => Said::Put(Put::In),
                    },
                );
            }
        }
        if permit.is_some() {
            here.held.borrow_mut().push(Held {
                world: self,
                semaphore: s,
                n: n[s],
                permit,
            });
        }
        drop(item); // which was not put
    }
}

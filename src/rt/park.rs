//! Who is waiting, and how each is suspended and woken.
//!
//! | party | suspends by | is woken by |
//! |---|---|---|
//! | greenlet | switching to its hub's loop | an entry in the ready queue, or in the inbox from another thread |
//! | root | running the loop until its own entry comes up | the same |
//! | plain thread without a hub | parking the thread | unparking it |
//! | future | returning to who polls it | its waker |
//!
//! A future is a waiter, but no party: it does not call, it is polled (`wait::future`).
//!
//! # Wakes
//!
//! A notifier works under the lock of the primitive's list: it unlinks a node
//! and [`claim`]s its waiter. A waiter of the same hub goes to the ready queue at
//! once; wakes of others are collected in [`Wakes`], each holding the waiter's
//! address, and delivered after the unlock. The notifier may use the node of a
//! waiter that it has claimed until it unlocks: a greenlet cannot run before it
//! is woken, and a plain thread or a future, which could see its word early, passes
//! through the lock before it leaves (`wait::Monitor::complete`).

use super::clock::Limit;
use super::coroutine::Unwind;
use super::hub::{Hub, Record, Switch, next_id};
use super::inbox::{Address, Waiter, Wake};
use super::report::{contain, report};
use super::spin::Spin;
use super::sync::{MODELLED, panicking, thread_cell, thread_lazy};
use super::task::{FrameState, Legacy, Locals, Site, Task};
use super::trace;
use super::word::{Outcome, Word};
use std::any::Any;
use std::cell::Cell;
use std::mem::ManuallyDrop;
use std::rc::Rc;
use std::task::Waker;
use std::time::Instant;

/// Waiters that a broadcast claims before it lets go of the lock. Small in
/// models, so that one can go over it.
pub(crate) const BATCH: usize = if MODELLED { 2 } else { 32 };

/// Wakes that other threads are owed, delivered after the unlock. One is the common case; a
/// broadcast may add up to a batch.
pub(crate) enum Wakes {
    None,
    One(Wake),
    Many(Vec<Wake>),
}

impl Wakes {
    #[inline]
    pub(crate) fn new() -> Self {
        Wakes::None
    }

    /// True if nothing was added.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        matches!(self, Wakes::None)
    }

    fn add(&mut self, wake: Wake) {
        *self = match std::mem::replace(self, Wakes::None) {
            Wakes::None => Wakes::One(wake),
            Wakes::One(first) => Wakes::Many(vec![first, wake]),
            Wakes::Many(mut all) => {
                all.push(wake);
                Wakes::Many(all)
            }
        };
    }

    /// Delivers all. Without the lock that they were collected under.
    #[cold]
    #[inline(never)]
    pub(crate) fn deliver(self) {
        match self {
            Wakes::None => {}
            Wakes::One(wake) => wake_up(wake),
            Wakes::Many(all) => all.into_iter().for_each(wake_up),
        }
    }
}

fn wake_up(wake: Wake) {
    match wake {
        Wake::Party(address) => address.wake(),
        Wake::Task(waker) => wake_task(waker),
    }
}

/// A waker is foreign code: whoever calls it may have a node linked, so it can neither wait
/// nor unwind, and the others get their wakes.
fn wake_task(waker: Waker) {
    no_switch(|| contain(|| waker.wake()));
}

/// Claims a waiter through its node of that index: true if no one else has ended
/// its wait. The caller holds the lock of the list that the node was in.
pub(crate) fn claim(waiter: &Waiter, index: usize, wakes: &mut Wakes) -> bool {
    claim_by(Word::notify, waiter, index, wakes)
}

/// The same, if nobody on another thread could use that list.
pub(crate) fn claim_here(waiter: &Waiter, index: usize, wakes: &mut Wakes) -> bool {
    match index {
        0 => claim_by(Word::notify_here, waiter, index, wakes),
        // It has nodes in other lists too, and those may be for all.
        _ => claim(waiter, index, wakes),
    }
}

#[inline(always)]
fn claim_by(
    notify: fn(&Word, usize) -> bool,
    waiter: &Waiter,
    index: usize,
    wakes: &mut Wakes,
) -> bool {
    if let Some(hub) = Hub::get()
        && let Some(record) = waiter.index_in(hub.inbox())
    {
        let won = notify(&waiter.word, index);
        if won {
            hub.make_ready_index(record);
        }
        return won;
    }
    claim_elsewhere(waiter, index, wakes)
}

#[inline(never)]
fn claim_elsewhere(waiter: &Waiter, index: usize, wakes: &mut Wakes) -> bool {
    let wake = waiter.claim(index);
    let won = wake.is_some();
    if let Some(wake) = wake {
        wakes.add(wake);
    }
    won
}

/// A thread without a hub, as a waiter.
pub(crate) struct Thread {
    task: Task,
    waiter: Waiter,
    spin: Spin,
}

impl Thread {
    fn new() -> Rc<Self> {
        Rc::new(Thread {
            task: Task::default(),
            waiter: Waiter::of_thread(),
            spin: Spin::default(),
        })
    }

    /// The calling thread's own.
    #[cold]
    #[inline(never)]
    fn current() -> Rc<Self> {
        THREAD.try_with(Rc::clone).unwrap_or_else(|_| {
            LATE.with(|late| {
                let thread = match late.take() {
                    Some(thread) => ManuallyDrop::into_inner(thread),
                    None => Thread::new(),
                };
                late.set(Some(ManuallyDrop::new(thread.clone())));
                thread
            })
        })
    }
}

thread_lazy! {
    static THREAD: Rc<Thread> = Thread::new();
}

thread_cell! {
    /// The thread's own after `THREAD` was torn down; leaked, if it comes to that.
    static LATE: Cell<Option<ManuallyDrop<Rc<Thread>>>> = Cell::new(None);
}

/// Who calls.
pub(crate) enum Party {
    /// A greenlet, or the root of a thread with a hub.
    Hub(&'static Hub, &'static Record),
    Thread(Rc<Thread>),
}

/// A party that is known to be alive: a greenlet by its record and id, or the
/// thread itself, which is the root once there is a hub.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Owner(Option<(usize, u64)>);

impl Owner {
    pub(crate) fn party(self) -> Party {
        match (Hub::get(), self.0) {
            (Some(hub), Some(address)) => Party::Hub(hub, hub.record_of(address)),
            (Some(hub), None) => Party::Hub(hub, hub.root()),
            (None, None) => Party::Thread(Thread::current()),
            (None, Some(_)) => unreachable!("a greenlet's hub lives"),
        }
    }
}

/// Whether nothing keeps a greenlet of this thread from a wait: a look for most waits.
#[inline(always)]
fn is_unhindered(record: &Record) -> bool {
    !panicking() && record.task.is_unhindered()
}

/// Why a wait does not happen.
pub(crate) enum Obstacle {
    /// The thread is panicking; it says no, where its type can.
    Panicking,
    /// `no_switch` forbids it.
    NoSwitch,
    /// A kill, an expiry or an aborted scope is due.
    Due(Unwind),
}

impl Party {
    #[inline]
    pub(crate) fn current() -> Self {
        match Hub::get() {
            Some(hub) => Party::Hub(hub, hub.current()),
            None => Party::Thread(Thread::current()),
        }
    }

    /// The running greenlet, or the root of a thread with a hub.
    #[inline(always)]
    pub(crate) fn greenlet() -> Option<(&'static Hub, &'static Record)> {
        let hub = Hub::get()?;
        Some((hub, hub.current()))
    }

    /// The same, if at a look nothing keeps it from a wait: [`obstacle`](Party::obstacle) knows
    /// for certain.
    #[inline(always)]
    pub(crate) fn unhindered() -> Option<(&'static Hub, &'static Record)> {
        Party::greenlet().filter(|(_, record)| is_unhindered(record))
    }

    /// The thread itself, whether it has a hub or not. If it has, the hub stands still while
    /// this waits.
    #[cold]
    pub(crate) fn thread() -> Self {
        Party::Thread(Thread::current())
    }

    #[inline]
    pub(crate) fn task(&self) -> &Task {
        match self {
            Party::Hub(_, record) => &record.task,
            Party::Thread(thread) => &thread.task,
        }
    }

    #[inline]
    pub(crate) fn waiter(&self) -> &Waiter {
        match self {
            Party::Hub(_, record) => &record.waiter,
            Party::Thread(thread) => &thread.waiter,
        }
    }

    /// Who this is, to be found again on the same thread.
    #[inline]
    pub(crate) fn owner(&self) -> Owner {
        match self {
            Party::Hub(hub, record) if !hub.is_root(record) => Owner(Some(hub.address_of(record))),
            _ => Owner(None),
        }
    }

    /// The time as this party sees it.
    pub(crate) fn now(&self) -> Instant {
        match self {
            Party::Hub(hub, _) => hub.now(),
            Party::Thread(_) => Instant::now(),
        }
    }

    /// What is raised now, if anything is due. Never while panicking, since
    /// that would abort.
    #[inline(always)]
    pub(crate) fn due(&self) -> Option<Unwind> {
        if let Party::Thread(thread) = self {
            thread.fire_expired_frames();
        }
        let due = self.task().due()?;
        debug_assert!(!panicking());
        self.report_swallowed(due);
        Some(due)
    }

    #[cold]
    fn report_swallowed(&self, due: Unwind) {
        if due == Unwind::Kill && self.task().swallows_kills() {
            report(format_args!(
                "{} keeps swallowing its kill",
                self.describe()
            ));
        }
    }

    /// Why a wait that must suspend cannot.
    #[inline(always)]
    pub(crate) fn obstacle(&self) -> Option<Obstacle> {
        match self {
            Party::Hub(_, record) if is_unhindered(record) => None,
            _ => self.find_obstacle(),
        }
    }

    #[cold]
    #[inline(never)]
    fn find_obstacle(&self) -> Option<Obstacle> {
        if panicking() {
            // A thread without a hub has nobody to switch to: it just blocks. Not where no wait
            // is allowed: a waker may be called in the middle of a wait of this very thread.
            let blocks = matches!(self, Party::Thread(_)) && self.task().may_switch();
            return (!blocks).then_some(Obstacle::Panicking);
        }
        if !self.task().may_switch() {
            return Some(Obstacle::NoSwitch);
        }
        self.due().map(Obstacle::Due)
    }

    /// Suspends, after the word was announced and the node linked. A greenlet
    /// gets the switch to make; for the others the wait is over on return.
    #[inline(always)]
    pub(crate) fn suspend(&self, site: &Site, limit: &Limit) -> Option<Switch> {
        match self {
            Party::Hub(hub, record) => hub.wait(record, site, limit),
            Party::Thread(thread) => {
                thread.park(*limit);
                None
            }
        }
    }

    /// As `suspend`, for a wait that nobody but the limit ends.
    pub(crate) fn suspend_to_sleep(&self, site: &Site, limit: &Limit) -> Option<Switch> {
        match self {
            Party::Hub(hub, record) => hub.sleep(record, site, limit),
            Party::Thread(_) => self.suspend(site, limit),
        }
    }

    /// The wait is over: disarm its timer, read how it ended, be ready for the next.
    #[inline(always)]
    pub(crate) fn settle(&self) -> Outcome {
        if let Party::Hub(hub, record) = self {
            hub.disarm(record);
        }
        let word = &self.waiter().word;
        let outcome = word.outcome().expect("woken without an outcome");
        word.reset();
        if let Party::Hub(_, record) = self {
            trace::wakes(&record.task, record.id(), outcome);
        }
        outcome
    }

    /// A wait that was interrupted has ended well all the same: what is due is raised by the
    /// next one.
    #[cold]
    pub(crate) fn put_off(&self) {
        drop(self.deadlock());
        self.task().put_off();
    }

    /// True if this party could see the end of its wait before the notifier has
    /// let go of the lock.
    #[inline]
    pub(crate) fn leaves_early(&self) -> bool {
        matches!(self, Party::Thread(_))
    }

    /// The report, if the wait has ended because it could never have.
    #[inline]
    pub(crate) fn deadlock(&self) -> Option<String> {
        match self {
            // The report is the root's, whoever looks.
            Party::Hub(hub, record) if hub.is_root(record) => hub.take_deadlock(),
            _ => None,
        }
    }

    /// For messages.
    pub(crate) fn describe(&self) -> String {
        match self {
            Party::Hub(hub, record) if hub.is_root(record) => "the root".to_owned(),
            Party::Hub(_, record) => match record.name() {
                Some(name) => format!("greenlet '{name}'"),
                None => format!("greenlet #{}", record.id()),
            },
            Party::Thread(_) => "a thread without a hub".to_owned(),
        }
    }

    // ---- frames ----

    /// A frame's limit as this party notes it: a thread without a hub has no turns.
    fn noted(&self, limit: Limit) -> Limit {
        match self {
            Party::Hub(..) => limit,
            Party::Thread(_) => limit.fixed(Instant::now),
        }
    }

    /// Takes a frame's timer and gives its state and limit new values, unless it is
    /// committed; the old state is returned, `None` if the frame is not open.
    pub(crate) fn reset_frame(
        &self,
        id: u64,
        state: FrameState,
        limit: Limit,
    ) -> Option<FrameState> {
        let was = self.task().reset(id, state, self.noted(limit))?;
        if let Party::Hub(hub, record) = self
            && was.state != FrameState::Committed
        {
            hub.disarm_frame(was.timer());
            if !std::ptr::eq(*record, hub.current()) {
                // That one waits already. Ties are in order of arming.
                hub.arm_frames(hub.current());
                hub.arm_frames(record);
            }
        }
        Some(was.state)
    }
}

/// Opens a frame of whoever runs, that fires at the limit, if ever.
#[inline]
pub(crate) fn open_frame(shield: bool, limit: Limit) -> u64 {
    match Hub::get() {
        Some(hub) => hub.current().task.open(shield, limit),
        None => open_threads_frame(shield, limit),
    }
}

#[cold]
fn open_threads_frame(shield: bool, limit: Limit) -> u64 {
    let party = Party::Thread(Thread::current());
    party.task().open(shield, party.noted(limit))
}

/// Closes a frame of whoever runs.
#[inline(never)]
pub(crate) fn close_frame(id: u64) -> Option<FrameState> {
    let Some(hub) = Hub::get() else {
        return close_threads_frame(id);
    };
    let (state, timer) = hub.current().task.close(id)?;
    hub.disarm_frame(timer);
    Some(state)
}

#[cold]
fn close_threads_frame(id: u64) -> Option<FrameState> {
    let (state, _) = Thread::current().task.close(id)?;
    Some(state)
}

impl Thread {
    /// There are no timers on a thread without a hub: frames fire when somebody looks.
    fn fire_expired_frames(&self) {
        while let Some((deadline, id)) = self.task.next_frame_deadline() {
            if Instant::now() < deadline {
                break;
            }
            self.task.fire(id, || false);
        }
    }

    fn park(&self, limit: Limit) {
        let Address::Thread(parker) = &**self.waiter.address() else {
            unreachable!("a thread's address is a thread's")
        };
        let word = &self.waiter.word;
        let own = match limit {
            Limit::Never => None,
            limit => limit.deadline(Instant::now()),
        };
        while word.outcome().is_none() {
            // While panicking nothing may be raised, so no frame interrupts.
            let frame = match panicking() {
                true => None,
                false => self.task.next_frame_deadline(),
            };
            let until = own.into_iter().chain(frame.map(|(t, _)| t)).min();
            if self.spin.until(until, || word.outcome().is_some()) {
                break;
            }
            let begin = Instant::now();
            parker.park(until);
            let woken = word.outcome().is_some();
            self.spin.slept(woken.then(|| begin.elapsed()));
            if until.is_none_or(|t| Instant::now() < t) {
                continue;
            }
            if own == until {
                word.expire();
            } else if let Some((_, id)) = frame {
                self.task.fire(id, || word.interrupt());
            }
        }
    }
}

/// The thread's hub, made if need be.
pub(crate) fn hub() -> &'static Hub {
    Hub::get().unwrap_or_else(|| Hub::create(&Thread::current().task))
}

thread_cell! {
    /// The number of the thread itself, from the greenlets' range; 0 until it is asked for.
    static THREAD_ID: Cell<usize> = Cell::new(0);
}

/// The greatest number that [`id`] gives.
pub(crate) const MAX_ID: usize = usize::MAX >> 3;

/// Who runs, as a number that no one else ever has: a greenlet's id, or the thread's own, which
/// is its root's too and stays when the thread gets or loses its hub.
#[inline]
pub(crate) fn id() -> usize {
    match Hub::get().map(|hub| hub.current().id()) {
        // The root has none.
        None | Some(0) => match THREAD_ID.with(Cell::get) {
            0 => new_thread_id(),
            id => id,
        },
        Some(id) => number(id),
    }
}

#[inline]
fn number(id: u64) -> usize {
    if usize::BITS < 64 {
        assert!(id <= MAX_ID as u64, "more greenlets than numbers for them");
    }
    id as usize
}

#[cold]
fn new_thread_id() -> usize {
    let id = number(next_id());
    THREAD_ID.with(|cell| cell.set(id));
    id
}

/// Whether that [`id`] is this thread's, or of a greenlet of its hub.
pub(crate) fn is_here(id: usize) -> bool {
    id == THREAD_ID.with(Cell::get) || Hub::get().is_some_and(|hub| hub.knows(id as u64))
}

/// While this lives, kills and scopes opened outside of it wait.
pub(crate) struct Mask(u64);

impl Mask {
    pub(crate) fn new() -> Self {
        Mask(open_frame(true, Limit::Never))
    }
}

impl Drop for Mask {
    fn drop(&mut self) {
        close_frame(self.0);
    }
}

/// Whether a wait of the caller's is neither refused nor forbidden.
#[inline]
pub(crate) fn may_wait() -> bool {
    !panicking()
        && match Hub::get() {
            Some(hub) => hub.current().task.may_switch(),
            None => Thread::current().task.may_switch(),
        }
}

/// One more thing was done without a switch; true if the turn's budget is spent and others
/// can be let run.
#[inline]
pub(crate) fn has_spent_its_turn() -> bool {
    Hub::get().is_some_and(|hub| hub.checkpoint_yields() && may_wait())
}

/// While this lives its hub has one more that waits for a descriptor, so that nobody
/// takes it for a deadlock.
#[cfg(all(unix, feature = "net"))]
pub(crate) struct PendingIo(&'static Hub);

#[cfg(all(unix, feature = "net"))]
impl PendingIo {
    /// On the calling thread's hub, made if need be.
    ///
    /// # Errors
    ///
    /// The thread's locals are being destroyed.
    #[inline(always)]
    pub(crate) fn begin() -> std::io::Result<Self> {
        let hub = match Hub::get() {
            Some(hub) => hub,
            None => PendingIo::first_hub()?,
        };
        hub.begin_pending();
        Ok(PendingIo(hub))
    }

    #[cold]
    fn first_hub() -> std::io::Result<&'static Hub> {
        if super::hub::thread_has_ended() {
            return Err(std::io::Error::other(
                "no wait for a socket while the thread's locals are destroyed",
            ));
        }
        Ok(hub())
    }

    /// As [`Hub::has_driver`].
    #[inline]
    pub(crate) fn has_driver(&self, address: usize) -> bool {
        self.0.has_driver(address)
    }

    /// As [`Hub::with_driver`].
    pub(crate) fn with_driver<R>(
        &self,
        f: impl FnOnce(&std::sync::Arc<super::poller::Driver>) -> R,
    ) -> std::io::Result<R> {
        self.0.with_driver(f)
    }
}

#[cfg(all(unix, feature = "net"))]
impl Drop for PendingIo {
    #[inline]
    fn drop(&mut self) {
        self.0.end_pending();
    }
}

/// Ends the thread's hub, if it has one; scopes that are open at the root live on.
pub(crate) fn close_hub() {
    if let Some(hub) = Hub::get() {
        hub.hand_frames_back(&Thread::current().task);
    }
    Hub::close();
}

/// A wait that cannot say no was reached while panicking: suspending would let
/// other greenlets run in the middle of an unwind, and nothing could be returned.
#[cold]
pub(crate) fn abort_panicking(site: &Site) -> ! {
    report(format_args!(
        "{} at {} would wait while {} is panicking; aborting",
        site.operation,
        site.place,
        Party::current().describe()
    ));
    std::process::abort()
}

thread_lazy! {
    /// The locals of the thread itself: of its root, and before there is a hub.
    static THREAD_LOCALS: Locals = Locals::default();
}

/// The locals of the greenlet that runs, if one does.
#[inline(always)]
fn greenlets_locals() -> Option<&'static Locals> {
    let hub = Hub::get()?;
    let record = hub.current();
    (!hub.is_root(record)).then_some(&record.task.locals)
}

/// The locals of whoever runs. While a thread's own are torn down it has none.
pub(crate) fn locals<R>(f: impl FnOnce(&Locals) -> R) -> R {
    match greenlets_locals() {
        Some(locals) => f(locals),
        None => thread_locals(f),
    }
}

/// The value of a local of whoever runs.
#[inline(always)]
pub(crate) fn local(key: usize) -> Option<Rc<dyn Any>> {
    match greenlets_locals() {
        Some(locals) => locals.get(key),
        None => thread_locals(|locals| locals.get(key)),
    }
}

#[cold]
#[inline(never)]
fn thread_locals<R>(f: impl FnOnce(&Locals) -> R) -> R {
    let mut f = Some(f);
    THREAD_LOCALS
        .try_with(|locals| f.take().expect("called once")(locals))
        .unwrap_or_else(|_| f.take().expect("not called")(&Locals::default()))
}

/// What a greenlet inherits that is spawned now, here. The copies are made by the program's
/// own code, which must not wait, since a spawn does not switch.
#[inline]
pub(crate) fn legacy() -> Option<Box<Legacy>> {
    if !Legacy::exists() {
        return None;
    }
    let lent = locals(Locals::legacy);
    Some(Box::new(no_switch(|| lent.copied())))
}

/// Runs `f`, in which a wait that would have to suspend panics.
pub(crate) fn no_switch<R>(f: impl FnOnce() -> R) -> R {
    struct Allow;
    impl Drop for Allow {
        fn drop(&mut self) {
            // Asked anew: the thread may have got its hub in `f`.
            Party::current().task().allow_switch();
        }
    }
    Party::current().task().forbid_switch();
    let _allow = Allow;
    f()
}

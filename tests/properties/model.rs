//! The naive models, written from the docs: plain lists, linear searches, no cleverness. They know
//! what every wait must end with, when (in virtual milliseconds), and without a seed also in which
//! order all that are awake run.
//!
//! One rule of the scheduler carries all of it: on the virtual clock time moves only when nobody is
//! ready, and all timers of an instant expire before anybody runs. So whoever has a deadline that
//! is not later than now, or was killed, is *leaving*: it takes nothing any more. It stays in line
//! until it has run or was passed over by a notifier.

pub(crate) type Ms = u64;

/// When somebody was woken, by a timer (0) or by another greenlet (1), and a sequence number: the
/// order in which those who are awake run.
pub(crate) type Key = (Ms, u8, u64);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unwind {
    Kill,
    Frame(u64),
}

/// What a notifier gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Grant {
    Yes,
    Item(u32),
    ShutDown,
}

/// How a wait has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Granted(Grant),
    Expired,
    Raised(Unwind),
    /// There was no reason to wake.
    Spurious,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FrameState {
    Armed,
    Raised,
    Cancelled,
}

#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) id: u64,
    pub(crate) shield: bool,
    pub(crate) state: FrameState,
    pub(crate) deadline: Ms,
    pub(crate) seq: u64,
    /// Raised before a later reset.
    pub(crate) raised_before: bool,
}

#[derive(Debug)]
struct Waiting {
    own: Option<(Ms, u64)>,
    /// By kills and timeout scopes. A yield and a start are not.
    interruptible: bool,
    woken: Option<Key>,
    grant: Option<Grant>,
}

#[derive(Debug, Default)]
pub(crate) struct Task {
    pub(crate) started: bool,
    pub(crate) ended: bool,
    pub(crate) killed: bool,
    pub(crate) frames: Vec<Frame>,
    /// What is unwinding it now.
    pub(crate) raising: Option<Unwind>,
    waiting: Option<Waiting>,
}

impl Task {
    /// Those that nothing hides: inside the innermost shield.
    fn visible(&self) -> impl Iterator<Item = &Frame> {
        let open = self
            .frames
            .iter()
            .rposition(|f| f.shield)
            .map_or(0, |i| i + 1);
        self.frames[open..].iter()
    }

    fn shielded(&self) -> bool {
        self.frames.iter().any(|f| f.shield)
    }
}

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
    pub(crate) putters: Vec<(usize, (u8, u32))>,
    pub(crate) joiners: Vec<usize>,
    pub(crate) unfinished: usize,
    pub(crate) shut_down: bool,
}

impl QueueModel {
    pub(crate) fn has_room(&self) -> bool {
        self.capacity.is_none_or(|c| self.items.len() < c)
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

#[derive(Debug)]
pub(crate) struct Model {
    pub(crate) now: Ms,
    pub(crate) seeded: bool,
    pub(crate) tasks: Vec<Task>,
    /// How often somebody was resumed: an operation that need not wait leaves it alone.
    pub(crate) resumes: u64,
    pub(crate) errors: Vec<String>,
    pub(crate) events: Vec<EventModel>,
    pub(crate) results: Vec<ResultModel>,
    pub(crate) queue: QueueModel,
    pub(crate) semaphores: Vec<SemaphoreModel>,
    /// Those who wait for a task's end.
    pub(crate) joiners: Vec<Vec<usize>>,
    seq: u64,
}

impl Model {
    pub(crate) fn new(
        seeded: bool,
        tasks: usize,
        queue: QueueModel,
        semaphores: Vec<SemaphoreModel>,
    ) -> Model {
        Model {
            now: 0,
            seeded,
            tasks: (0..tasks).map(|_| Task::default()).collect(),
            resumes: 0,
            errors: Vec::new(),
            events: vec![EventModel::default(), EventModel::default()],
            results: vec![ResultModel::default(), ResultModel::default()],
            queue,
            semaphores,
            joiners: vec![Vec::new(); tasks],
            seq: 0,
        }
    }

    pub(crate) fn error(&mut self, text: impl Into<String>) {
        let text = format!("at {} ms: {}", self.now, text.into());
        self.errors.push(text);
    }

    fn next_seq(&mut self) -> u64 {
        self.seq += 1;
        self.seq
    }

    // ---- who waits, who is awake ----

    /// Set once somebody is awake, or is to be by now.
    fn key(&self, t: usize) -> Option<Key> {
        let task = &self.tasks[t];
        let waiting = task.waiting.as_ref()?;
        if waiting.woken.is_some() {
            return waiting.woken;
        }
        let frames = task
            .visible()
            .filter(|f| waiting.interruptible && f.state == FrameState::Armed);
        let timers = frames.map(|f| (f.deadline, f.seq)).chain(waiting.own);
        timers
            .min()
            .filter(|&(t, _)| t <= self.now)
            .map(|(t, seq)| (t, 0, seq))
    }

    /// Spawned: ready at once, or after a delay.
    pub(crate) fn spawn(&mut self, t: usize, delay: Ms) {
        let seq = self.next_seq();
        let woken = (delay == 0).then_some((self.now, 1, seq));
        let own = (delay > 0).then_some((self.now + delay, seq));
        let grant = Some(Grant::Yes);
        self.tasks[t].waiting = Some(Waiting {
            own,
            interruptible: false,
            woken,
            grant,
        });
    }

    /// Begins a wait.
    pub(crate) fn begin(&mut self, t: usize, limit: Option<Ms>) {
        let seq = self.next_seq();
        let own = limit.map(|d| (self.now + d, seq));
        self.tasks[t].waiting = Some(Waiting {
            own,
            interruptible: true,
            woken: None,
            grant: None,
        });
    }

    /// To the end of the ready queue.
    pub(crate) fn begin_yield(&mut self, t: usize) {
        let woken = Some((self.now, 1, self.next_seq()));
        let grant = Some(Grant::Yes);
        self.tasks[t].waiting = Some(Waiting {
            own: None,
            interruptible: false,
            woken,
            grant,
        });
    }

    fn wake(&mut self, t: usize, grant: Option<Grant>) {
        let key = (self.now, 1, self.next_seq());
        let waiting = self.tasks[t].waiting.as_mut().expect("it waits");
        (waiting.woken, waiting.grant) = (Some(key), grant);
    }

    /// Gives it to that waiter, unless it is leaving.
    fn offer(&mut self, t: usize, grant: Grant) -> bool {
        let stays = self.key(t).is_none();
        if stays {
            self.wake(t, Some(grant));
        }
        stays
    }

    /// It runs again: what was due?
    pub(crate) fn resume(&mut self, t: usize) -> Verdict {
        self.resumes += 1;
        let key = self.key(t);
        let others: Vec<_> = (0..self.tasks.len())
            .filter(|&o| o != t)
            .filter_map(|o| Some((o, self.key(o)?)))
            .collect();
        for (o, other) in others {
            if other.0 < self.now {
                self.error(format!(
                    "#{o} is awake since {} ms and has not run",
                    other.0
                ));
            } else if !self.seeded && key.is_some_and(|key| other < key) {
                self.error(format!("#{t} {key:?} runs before #{o} {other:?}"));
            }
        }
        let waiting = self.tasks[t].waiting.take().expect("it waits");
        self.leave(t);
        match key {
            None => {
                self.error(format!("#{t} is woken for nothing"));
                return Verdict::Spurious;
            }
            Some(key) if key.0 != self.now => self.error(format!("#{t} runs late: {key:?}")),
            _ => {}
        }
        match waiting.grant {
            Some(grant) => Verdict::Granted(grant),
            None => match self.due(t) {
                Some(unwind) => Verdict::Raised(unwind),
                None => Verdict::Expired,
            },
        }
    }

    /// What a wait raises; it counts as raised.
    pub(crate) fn due(&mut self, t: usize) -> Option<Unwind> {
        let task = &self.tasks[t];
        if task.killed && !task.shielded() {
            return Some(Unwind::Kill);
        }
        let fired = |f: &&Frame| f.state == FrameState::Armed && f.deadline <= self.now;
        let id = task.visible().find(fired)?.id;
        self.frame(t, id).state = FrameState::Raised;
        Some(Unwind::Frame(id))
    }

    pub(crate) fn kill(&mut self, t: usize) {
        let task = &mut self.tasks[t];
        if task.ended {
            return;
        }
        task.killed = true;
        let delayed = !task.started;
        let interruptible = task
            .waiting
            .as_ref()
            .is_some_and(|w| w.interruptible || delayed);
        if interruptible && !task.shielded() && self.key(t).is_none() {
            self.wake(t, None);
        }
    }

    pub(crate) fn end(&mut self, t: usize) {
        self.tasks[t].ended = true;
        for waiter in std::mem::take(&mut self.joiners[t]) {
            self.offer(waiter, Grant::Yes);
        }
    }

    // ---- frames ----

    pub(crate) fn open(&mut self, t: usize, limit: Option<Ms>) -> u64 {
        let seq = self.next_seq();
        let deadline = limit.map_or(Ms::MAX, |d| self.now + d);
        let (state, shield) = (FrameState::Armed, limit.is_none());
        let frame = Frame {
            id: seq,
            shield,
            state,
            deadline,
            seq,
            raised_before: false,
        };
        self.tasks[t].frames.push(frame);
        seq
    }

    pub(crate) fn frame(&mut self, t: usize, id: u64) -> &mut Frame {
        let frames = &mut self.tasks[t].frames;
        frames
            .iter_mut()
            .find(|f| f.id == id)
            .expect("the frame is open")
    }

    pub(crate) fn reset(&mut self, t: usize, id: u64, limit: Option<Ms>) {
        let (seq, now) = (self.next_seq(), self.now);
        let frame = self.frame(t, id);
        frame.raised_before |= frame.state == FrameState::Raised;
        frame.seq = seq;
        frame.state = limit.map_or(FrameState::Cancelled, |_| FrameState::Armed);
        frame.deadline = limit.map_or(Ms::MAX, |d| now + d);
    }

    // ---- the primitives ----

    /// Out of every line; behind it, there may now be enough for the next.
    fn leave(&mut self, t: usize) {
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

    pub(crate) fn set_event(&mut self, e: usize) {
        self.events[e].set = true;
        for waiter in std::mem::take(&mut self.events[e].waiters) {
            self.offer(waiter, Grant::Yes);
        }
    }

    /// False: it was set already.
    pub(crate) fn set_result(&mut self, r: usize, result: Result<u32, u32>) -> bool {
        if self.results[r].result.is_some() {
            return false;
        }
        self.results[r].result = Some(result);
        for waiter in std::mem::take(&mut self.results[r].waiters) {
            self.offer(waiter, Grant::Yes);
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
            if self.offer(waiter, Grant::Yes) {
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
            while !self.queue.shut_down && self.queue.has_room() {
                let Some(item) = self.take_putter() else {
                    break;
                };
                self.queue.items.push(item);
                self.queue.unfinished += 1;
            }
            return Some(Some(id));
        }
        if let Some((_, id)) = self.take_putter() {
            self.queue.unfinished += 1;
            return Some(Some(id));
        }
        self.queue.shut_down.then_some(None)
    }

    fn take_putter(&mut self) -> Option<(u8, u32)> {
        while !self.queue.putters.is_empty() {
            let (putter, item) = self.queue.putters.remove(0);
            if self.offer(putter, Grant::Yes) {
                return Some(item);
            }
        }
        None
    }

    pub(crate) fn shutdown(&mut self) {
        self.queue.shut_down = true;
        for getter in std::mem::take(&mut self.queue.getters) {
            self.offer(getter, Grant::ShutDown);
        }
        for (putter, _) in std::mem::take(&mut self.queue.putters) {
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

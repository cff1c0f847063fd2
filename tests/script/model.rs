//! The naive model of scheduler, kills and scopes, written from the docs: plain lists, linear searches, no cleverness. They know
//! what every wait must end with, when (in virtual milliseconds), and without a seed also in which
//! order all that are awake run.
//!
//! One rule of the scheduler carries all of it: on the virtual clock time moves only when nobody is
//! ready. When it has come to an instant, sleeps and delayed starts end first, and those they wake
//! run; then the limits of that instant, of waits and of scopes, expire all at once. *Then* is when
//! nobody is ready any more; with a seed, where each resume is a turn of its own, it is after one
//! resume. Whoever has an expired limit, or was killed, is *leaving*: it takes nothing any more. It
//! stays in line until it has run or was passed over by a notifier.

use super::primitives::{EventModel, QueueModel, ResultModel, SemaphoreModel};

pub(crate) type Ms = u64;

/// When somebody was woken, and the order among those of that instant: first sleepers (0), then by
/// number; limits that expired at once have one number, and go on in the order of their arming.
pub(crate) type Key = (Ms, u8, u64, u64);

/// Resumes of one instant, below the hub's budget: beyond it the hub ends its turn, and limits may
/// expire, while somebody is ready.
const TURN: u32 = 250;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unwind {
    Kill,
    Frame(u64),
    Panic,
}

/// What a notifier gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Grant {
    Yes,
    /// It was set; it has a result; that greenlet has ended.
    Event(usize),
    Result(usize),
    Ended(usize),
    Item(u32),
    Permits,
    /// For a getter; for one who puts.
    NoItem,
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
    /// Its own time is no limit: it wakes then.
    sleeps: bool,
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
    /// The instant whose limits have expired, and the number they were given.
    expired: (Ms, u64),
    /// Of the latest resume, and how many there were at it.
    instant: (Ms, u32),
    /// The program was too long for one turn: nothing can be said of it.
    pub(crate) vague: bool,
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
            expired: (0, 0),
            instant: (Ms::MAX, 0),
            vague: false,
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
        let sleep = waiting
            .own
            .filter(|&(t, _)| waiting.sleeps && t <= self.now);
        if let Some((t, seq)) = sleep {
            return Some((t, 0, seq, 0));
        }
        let frames = task.visible().filter(|f| f.state == FrameState::Armed);
        let frames = frames.map(|f| (f.deadline, f.seq));
        let frames = frames.filter(|_| waiting.interruptible);
        let (t, seq) = frames
            .chain(waiting.own.filter(|_| !waiting.sleeps))
            .filter(|&(t, _)| self.has_expired(t))
            .min()?;
        let number = if t == self.now { self.expired.1 } else { 0 };
        Some((t, 1, number, seq))
    }

    /// Whether limits of that instant have expired.
    pub(crate) fn has_expired(&self, deadline: Ms) -> bool {
        deadline < self.now || deadline == self.now && self.expired.0 == self.now
    }

    /// Somebody runs: the limits of this instant may have expired before.
    fn next_turn(&mut self) {
        let (instant, resumes) = self.instant;
        let again = instant == self.now;
        self.instant = (self.now, if again { resumes + 1 } else { 1 });
        self.vague |= !self.seeded && self.instant.1 > TURN;
        let idle = (0..self.tasks.len()).all(|t| self.key(t).is_none());
        if self.expired.0 < self.now && (idle || self.seeded && again) {
            self.expired = (self.now, self.next_seq());
        }
    }

    /// Spawned: ready at once, or after a delay.
    pub(crate) fn spawn(&mut self, t: usize, delay: Ms) {
        let seq = self.next_seq();
        let woken = (delay == 0).then_some((self.now, 1, seq, 0));
        let own = (delay > 0).then_some((self.now + delay, seq));
        let grant = Some(Grant::Yes);
        self.tasks[t].waiting = Some(Waiting {
            own,
            sleeps: true,
            interruptible: false,
            woken,
            grant,
        });
    }

    /// Begins a wait, or a sleep.
    pub(crate) fn begin(&mut self, t: usize, limit: Option<Ms>, sleeps: bool) {
        let seq = self.next_seq();
        let own = limit.map(|d| (self.now + d, seq));
        self.tasks[t].waiting = Some(Waiting {
            own,
            sleeps,
            interruptible: true,
            woken: None,
            grant: None,
        });
    }

    /// To the end of the ready queue.
    pub(crate) fn begin_yield(&mut self, t: usize) {
        let woken = Some((self.now, 1, self.next_seq(), 0));
        let grant = Some(Grant::Yes);
        self.tasks[t].waiting = Some(Waiting {
            own: None,
            sleeps: false,
            interruptible: false,
            woken,
            grant,
        });
    }

    fn wake(&mut self, t: usize, grant: Option<Grant>) {
        let key = (self.now, 1, self.next_seq(), 0);
        let waiting = self.tasks[t].waiting.as_mut().expect("it waits");
        (waiting.woken, waiting.grant) = (Some(key), grant);
    }

    /// Gives it to that waiter, unless it is leaving.
    pub(crate) fn offer(&mut self, t: usize, grant: Grant) -> bool {
        let stays = self.key(t).is_none();
        if stays {
            self.wake(t, Some(grant));
        }
        stays
    }

    /// It runs again: what was due?
    pub(crate) fn resume(&mut self, t: usize) -> Verdict {
        self.resumes += 1;
        self.next_turn();
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
        if let Some(grant) = waiting.grant {
            return Verdict::Granted(grant);
        }
        // Who was first decides: its own time, or an interruption.
        let own = waiting.own.is_some_and(|(_, seq)| {
            key.is_some_and(|key| waiting.woken.is_none() && (key.1 == 0 || key.3 == seq))
        });
        match own {
            true => Verdict::Expired,
            false => self.due(t).map_or(Verdict::Spurious, Verdict::Raised),
        }
    }

    /// What a wait raises; it counts as raised.
    pub(crate) fn due(&mut self, t: usize) -> Option<Unwind> {
        let task = &self.tasks[t];
        if task.killed && !task.shielded() {
            return Some(Unwind::Kill);
        }
        let fired = |f: &&Frame| f.state == FrameState::Armed && self.has_expired(f.deadline);
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
            self.offer(waiter, Grant::Ended(t));
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
}

//! Lines of waiters, seen through the public API: waiters come to an event, a semaphore or a queue,
//! are served, leave by a limit of their own, by that of a scope around them or by a kill, in any
//! order, beside plain lists. The root comes and serves, each waiter waits once and tells the log.
//!
//! The root acts at even milliseconds, and limits are odd: what happens in a tie is the business of
//! the target `script`.

use crate::script::bytes::Bytes;
use greenlet::sync::{Event, Queue, Semaphore};
use greenlet::testing::Simulation;
use greenlet::{Greenlet, timeout, wait_any, wait_any_timeout};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

const MOST: usize = 64;

/// What somebody waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Aim {
    Event,
    /// The first of the two events.
    Either,
    Permits(usize),
    Get,
    Put,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Limit {
    Never,
    Own(u64),
    Scope(u64),
}

#[derive(Clone, Copy, Debug)]
struct Visit {
    aim: Aim,
    limit: Limit,
    /// Whom it kills once it has been served or is late.
    kills: Option<usize>,
}

/// How a wait ends. What was got: an item, the index of the event; else 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Got(usize),
    Late,
    Unwound,
}

// ---- the real thing ----

struct Real {
    events: [Event; 2],
    permits: Semaphore,
    queue: Queue<usize>,
    handles: RefCell<Vec<Greenlet<()>>>,
    log: RefCell<Vec<(usize, Outcome)>>,
}

/// Tells the log how it ended, also if it was by unwinding.
struct Entry<'a> {
    real: &'a Real,
    me: usize,
    outcome: Outcome,
}

impl Drop for Entry<'_> {
    fn drop(&mut self) {
        self.real.log.borrow_mut().push((self.me, self.outcome));
    }
}

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

impl Real {
    fn wait(&self, me: usize, aim: Aim, limit: Option<Duration>) -> Outcome {
        let [event, other] = &self.events;
        let got = match (aim, limit) {
            (Aim::Event, None) => {
                event.wait();
                Some(0)
            }
            (Aim::Event, Some(d)) => event.wait_timeout(d).then_some(0),
            (Aim::Either, None) => Some(wait_any(&[event, other])),
            (Aim::Either, Some(d)) => wait_any_timeout(&[event, other], d),
            (Aim::Permits(n), None) => {
                self.permits.acquire_many(n).forget();
                Some(0)
            }
            (Aim::Permits(n), Some(d)) => {
                let permit = self.permits.acquire_many_timeout(n, d);
                permit.map(|permit| {
                    permit.forget();
                    0
                })
            }
            (Aim::Get, None) => self.queue.get().ok(),
            (Aim::Get, Some(d)) => self.queue.get_timeout(d).ok(),
            (Aim::Put, None) => self.queue.put(me).ok().map(|()| 0),
            (Aim::Put, Some(d)) => self.queue.put_timeout(me, d).ok().map(|()| 0),
        };
        got.map_or(Outcome::Late, Outcome::Got)
    }

    fn visit(&self, me: usize, visit: Visit) {
        let mut entry = Entry {
            real: self,
            me,
            outcome: Outcome::Unwound,
        };
        entry.outcome = match visit.limit {
            Limit::Never => self.wait(me, visit.aim, None),
            Limit::Own(d) => self.wait(me, visit.aim, Some(ms(d))),
            Limit::Scope(d) => {
                timeout(ms(d), || self.wait(me, visit.aim, None)).unwrap_or(Outcome::Late)
            }
        };
        drop(entry);
        if let Some(other) = visit.kills {
            self.kill(other);
        }
    }

    fn kill(&self, i: usize) {
        let handles = self.handles.borrow();
        if let Some(at) = i.checked_rem(handles.len()) {
            handles[at].kill();
        }
    }

    /// The lengths of all lines, and what is there.
    fn describe(&self) -> String {
        let [event, other] = &self.events;
        format!("{event:?} {other:?} {:?} {:?}", self.permits, self.queue)
    }
}

// ---- the plain lists ----

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Status {
    /// In the ready queue for the first time; true: killed, so it will not run.
    New(bool),
    InLine,
    /// In the ready queue. It may still be in its line, where it takes nothing.
    Ready(Outcome),
    Ended,
}

struct Waiter {
    visit: Visit,
    status: Status,
    /// Set when it comes to wait: the instant, and the order of arming.
    deadline: Option<(u64, usize)>,
    arrival: usize,
    waited: bool,
}

/// In the ready queue: the root.
const ROOT: usize = usize::MAX;

#[derive(Default)]
struct Lists {
    now: u64,
    waiters: Vec<Waiter>,
    ready: VecDeque<usize>,
    set: [bool; 2],
    lines: [Vec<usize>; 2],
    permits: usize,
    acquirers: Vec<usize>,
    capacity: Option<usize>,
    items: VecDeque<usize>,
    getters: Vec<usize>,
    putters: Vec<usize>,
    arrivals: usize,
    /// Items that went in: nobody says that one is done.
    entered: usize,
    log: Vec<(usize, Outcome)>,
}

impl Lists {
    /// Wakes it, unless it is leaving.
    fn offer(&mut self, i: usize, outcome: Outcome) -> bool {
        let stays = self.waiters[i].status == Status::InLine;
        if stays {
            self.waiters[i].status = Status::Ready(outcome);
            self.ready.push_back(i);
        }
        stays
    }

    fn set(&mut self, event: usize) {
        self.set[event] = true;
        for i in std::mem::take(&mut self.lines[event]) {
            let index = match self.waiters[i].visit.aim {
                Aim::Either => event,
                _ => 0,
            };
            self.offer(i, Outcome::Got(index));
        }
    }

    fn grant(&mut self) {
        while let Some(&i) = self.acquirers.first() {
            let Aim::Permits(need) = self.waiters[i].visit.aim else {
                unreachable!("in the semaphore's line");
            };
            if need > self.permits {
                return;
            }
            self.acquirers.remove(0);
            if self.offer(i, Outcome::Got(0)) {
                self.permits -= need;
            }
        }
    }

    fn has_room(&self) -> bool {
        self.capacity.is_none_or(|c| self.items.len() < c)
    }

    /// True: it is in.
    fn put(&mut self, item: usize) -> bool {
        while !self.getters.is_empty() {
            let getter = self.getters.remove(0);
            if self.offer(getter, Outcome::Got(item)) {
                self.entered += 1;
                return true;
            }
        }
        let room = self.has_room();
        if room {
            self.items.push_back(item);
            self.entered += 1;
        }
        room
    }

    /// The first putter that stays; its item is its number.
    fn take_putter(&mut self) -> Option<usize> {
        while !self.putters.is_empty() {
            let putter = self.putters.remove(0);
            if self.offer(putter, Outcome::Got(0)) {
                self.entered += 1;
                return Some(putter);
            }
        }
        None
    }

    fn get(&mut self) -> Option<usize> {
        let Some(item) = self.items.pop_front() else {
            return self.take_putter();
        };
        while self.has_room() {
            let Some(more) = self.take_putter() else {
                break;
            };
            self.items.push_back(more);
        }
        Some(item)
    }

    /// It runs for the first time: served at once, or into the line.
    fn begin(&mut self, i: usize) {
        self.waiters[i].arrival = self.arrivals;
        self.arrivals += 1;
        let visit = self.waiters[i].visit;
        let got = match visit.aim {
            Aim::Event => self.set[0].then_some(0),
            Aim::Either => (0..2).find(|&e| self.set[e]),
            Aim::Permits(need) => {
                let fits = self.acquirers.is_empty() && need <= self.permits;
                if fits {
                    self.permits -= need;
                }
                fits.then_some(0)
            }
            Aim::Get => self.get(),
            Aim::Put => self.put(i).then_some(0),
        };
        if let Some(got) = got {
            return self.end(i, Outcome::Got(got));
        }
        match visit.aim {
            Aim::Event => self.lines[0].push(i),
            Aim::Either => self.lines.iter_mut().for_each(|line| line.push(i)),
            Aim::Permits(_) => self.acquirers.push(i),
            Aim::Get => self.getters.push(i),
            Aim::Put => self.putters.push(i),
        }
        self.waiters[i].status = Status::InLine;
        self.waiters[i].waited = true;
        if let Limit::Own(d) | Limit::Scope(d) = visit.limit {
            self.waiters[i].deadline = Some((self.now + d, self.arrivals));
        }
    }

    fn end(&mut self, i: usize, outcome: Outcome) {
        self.waiters[i].status = Status::Ended;
        self.log.push((i, outcome));
        if let (Some(other), true) = (self.waiters[i].visit.kills, outcome != Outcome::Unwound) {
            self.kill(other);
        }
    }

    fn kill(&mut self, i: usize) {
        let Some(i) = i.checked_rem(self.waiters.len()) else {
            return;
        };
        let waiter = &mut self.waiters[i];
        let scoped = matches!(waiter.visit.limit, Limit::Scope(_));
        match waiter.status {
            Status::New(_) => waiter.status = Status::New(true),
            Status::InLine => {
                self.offer(i, Outcome::Unwound);
            }
            // A kill goes before the expiry of a scope that has not been raised.
            Status::Ready(Outcome::Late) if scoped => {
                waiter.status = Status::Ready(Outcome::Unwound);
            }
            _ => {}
        }
    }

    /// Everybody who is ready runs, until it is the root's turn, or all have.
    fn run(&mut self) {
        while let Some(i) = self.ready.pop_front() {
            if i == ROOT {
                return;
            }
            match self.waiters[i].status {
                Status::New(true) => self.waiters[i].status = Status::Ended,
                Status::New(false) => self.begin(i),
                Status::Ready(outcome) => {
                    let lines = self.lines.iter_mut();
                    let lines = lines.chain([&mut self.getters, &mut self.putters]);
                    lines.for_each(|line| line.retain(|&w| w != i));
                    if let Some(at) = self.acquirers.iter().position(|&w| w == i) {
                        // Behind it, there may be somebody who needs less.
                        self.acquirers.remove(at);
                        self.grant();
                    }
                    self.end(i, outcome);
                }
                status => unreachable!("{i} is {status:?} and ready"),
            }
        }
    }

    /// The root sleeps.
    fn sleep(&mut self, d: u64) {
        let until = self.now + d;
        self.run();
        loop {
            let waits = |w: &&Waiter| w.status == Status::InLine;
            let deadlines = self.waiters.iter().filter(waits).filter_map(|w| w.deadline);
            let next = deadlines.map(|d| d.0).min().filter(|&t| t < until);
            let Some(next) = next else {
                break;
            };
            self.now = next;
            let all = self.waiters.iter().enumerate();
            let late = all.filter(|(_, w)| w.status == Status::InLine);
            let late = late.filter_map(|(i, w)| Some((w.deadline?, i)));
            let mut late: Vec<_> = late.filter(|late| late.0.0 == next).collect();
            late.sort();
            for (_, i) in late {
                self.offer(i, Outcome::Late);
            }
            self.run();
        }
        self.now = until;
    }

    fn describe(&self) -> String {
        let event = |e: usize| {
            let (set, waiting) = (self.set[e], self.lines[e].len());
            format!("Event {{ set: {set}, waiting: {waiting} }}")
        };
        format!(
            "{} {} Semaphore {{ available: {}, waiting: {} }} Queue {{ len: {}, capacity: {:?}, unfinished: {}, \
             shut_down: false, reserved: 0, getters: {}, putters: {}, joiners: 0 }}",
            event(0),
            event(1),
            self.permits,
            self.acquirers.len(),
            self.items.len(),
            self.capacity,
            self.entered,
            self.getters.len(),
            self.putters.len(),
        )
    }
}

// ---- both ----

fn visit(bytes: &mut Bytes<'_>) -> Visit {
    let (a, l) = (bytes.byte(), bytes.byte());
    let aim = match a % 6 {
        0 => Aim::Event,
        1 => Aim::Either,
        2 | 3 => Aim::Permits(1 + usize::from(a / 6) % 3),
        4 => Aim::Get,
        _ => Aim::Put,
    };
    let d = 1 + 2 * u64::from(l / 3 % 4);
    let limit = [Limit::Never, Limit::Own(d), Limit::Scope(d)][usize::from(l % 3)];
    let kills = (l / 12 % 4 == 3).then(|| bytes.index(64));
    Visit { aim, limit, kills }
}

/// Those that were served in a line by the same notifier's kind, after a wait: in order of arrival.
fn check_order(lists: &Lists, log: &[(usize, Outcome)]) {
    let line = |i: usize, got: usize| match lists.waiters[i].visit.aim {
        Aim::Event => (0, 0),
        Aim::Either => (0, got),
        Aim::Permits(_) => (1, 0),
        Aim::Get => (2, 0),
        Aim::Put => (3, 0),
    };
    let mut last = std::collections::HashMap::new();
    for &(i, outcome) in log {
        let Outcome::Got(got) = outcome else {
            continue;
        };
        let waiter = &lists.waiters[i];
        if waiter.waited {
            let before = last.insert(line(i, got), waiter.arrival);
            assert!(before < Some(waiter.arrival), "#{i} was overtaken: {log:?}");
        }
    }
}

/// Panics where the two differ.
pub(crate) fn check(data: &[u8]) {
    let mut bytes = Bytes::new(data);
    let (permits, room) = (bytes.index(4), bytes.index(5));
    let real = Rc::new(Real {
        events: Default::default(),
        permits: Semaphore::new(permits),
        queue: match room {
            0 => Queue::rendezvous(),
            4 => Queue::unbounded(),
            n => Queue::bounded(n),
        },
        handles: RefCell::default(),
        log: RefCell::default(),
    });
    let mut lists = Lists {
        permits,
        capacity: (room != 4).then_some(room),
        ..Lists::default()
    };
    Simulation::new().run(|| {
        while let Some(op) = bytes.next() {
            step(op, &mut bytes, &real, &mut lists);
            assert_eq!(*real.log.borrow(), lists.log);
            assert_eq!(real.describe(), lists.describe());
        }
        for i in 0..lists.waiters.len() {
            real.kill(i);
            lists.kill(i);
        }
        // Everybody runs at most twice more: once new, once woken.
        for _ in 0..3 {
            greenlet::yield_now();
            lists.ready.push_back(ROOT);
            lists.run();
        }
        assert_eq!(*real.log.borrow(), lists.log);
        assert_eq!(real.describe(), lists.describe());
        check_order(&lists, &lists.log);
        for (i, handle) in real.handles.borrow().iter().enumerate() {
            let ended = lists.waiters[i].status == Status::Ended;
            assert!(handle.is_finished() && ended, "#{i} has not ended");
            let unwound = real
                .log
                .borrow()
                .iter()
                .all(|&(w, o)| w != i || o == Outcome::Unwound);
            assert_eq!(
                handle.error().is_some_and(|e| e.is_killed()),
                unwound,
                "#{i}"
            );
        }
    });
    let text = real.describe();
    let lines = ["waiting: ", "getters: ", "putters: "];
    let counts = lines.iter().flat_map(|line| text.split(line).skip(1));
    for count in counts {
        assert!(count.starts_with('0'), "somebody is left in line: {text}");
    }
}

fn step(op: u8, bytes: &mut Bytes<'_>, real: &Rc<Real>, lists: &mut Lists) {
    let me = lists.waiters.len();
    match op % 12 {
        0..=3 => {
            let visit = visit(bytes);
            if me == MOST {
                return;
            }
            let shared = real.clone();
            let handle = greenlet::spawn(move || shared.visit(me, visit));
            real.handles.borrow_mut().push(handle);
            lists.waiters.push(Waiter {
                visit,
                status: Status::New(false),
                deadline: None,
                arrival: 0,
                waited: false,
            });
            lists.ready.push_back(me);
        }
        4 => {
            let i = bytes.index(64);
            real.kill(i);
            lists.kill(i);
        }
        5 | 6 => {
            let n = bytes.byte();
            let event = usize::from(n & 1);
            if n & 2 == 0 {
                real.events[event].set();
                lists.set(event);
            }
            if n & 4 == 0 {
                real.events[event].clear();
                lists.set[event] = false;
            }
        }
        7 => {
            for _ in 0..1 + bytes.below(3) {
                real.permits.release();
                lists.permits += 1;
                lists.grant();
            }
        }
        8 => {
            // Not the number of any putter.
            let item = MOST + lists.arrivals;
            let put = real.queue.put_nowait(item).is_ok();
            assert_eq!(put, lists.put(item));
        }
        9 => assert_eq!(real.queue.get_nowait().ok(), lists.get()),
        10 => {
            greenlet::yield_now();
            lists.ready.push_back(ROOT);
            lists.run();
        }
        _ => {
            let d = 2 * (1 + u64::from(bytes.below(4)));
            greenlet::sleep(ms(d));
            lists.sleep(d);
        }
    }
}

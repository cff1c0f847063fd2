//! What all greenlets do at one moment: [`dump`], [`dump_all`].
//!
//! A hub's greenlets belong to its thread, so nobody else looks at them: another thread's hub is
//! asked through its inbox, answers at the end of its turn, and the asker waits for that no longer
//! than a limit. A hub whose thread is busy does not answer, and is shown so.

mod text;

use crate::group::{self, Listed};
use crate::rt::clock::Limit;
use crate::rt::hub::{Hub, Seen, Stage};
use crate::rt::inbox::{Ask, Inbox, Mail};
use crate::rt::park::Party;
use crate::rt::sync::Arc;
use crate::rt::task::{Name, Site};
use crate::rt::wait::Latch;
use crate::rt::watch;
use crate::statistics::{HubStatistics, Runner};
use std::panic::{Location, RefUnwindSafe, UnwindSafe};
use std::time::Duration;

/// The greenlets of one hub or of several, as they were when each was looked at.
///
/// `Display` shows a hub a block and a greenlet a line: under its group, if it is in one, or else
/// under the one that spawned it, if that is alive on the same hub. [`to_json`](Dump::to_json) has
/// the same for programs.
///
/// # Examples
///
/// ```
/// use greenlet::{Builder, sync::Event};
///
/// let never = std::rc::Rc::new(Event::new());
/// let waits = never.clone();
/// let g = Builder::new().name("patient").spawn(move || waits.wait()).unwrap();
/// greenlet::yield_now();
/// let text = greenlet::dump().to_string();
/// assert!(text.contains("'patient': waits in Event::wait at"));
/// # never.set();
/// # g.join().unwrap();
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Dump {
    /// In order of their making.
    pub hubs: Vec<HubDump>,
}

/// One hub in a [`Dump`].
///
/// # Examples
///
/// ```
/// let hub = greenlet::HubHandle::current();
/// let dump = greenlet::dump();
/// assert_eq!(dump.hubs[0].answer, greenlet::HubAnswer::Given);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct HubDump {
    /// Its thread's name, or number as in `ThreadId(3)`.
    pub thread: String,
    /// Whether the rest is known.
    pub answer: HubAnswer,
    /// Its numbers, if it has answered.
    pub statistics: Option<HubStatistics>,
    /// The root first, then the greenlets in the order of their places in the hub, which are used again.
    pub greenlets: Vec<GreenletDump>,
    /// The groups and pools of its thread that have members, in the order of their making.
    pub groups: Vec<GroupDump>,
}

/// A [`Group`](crate::Group) or [`Pool`](crate::Pool) in a [`Dump`]. Its greenlets are those of
/// the hub, each with what it does; here are their ids.
///
/// # Examples
///
/// ```
/// let pool = greenlet::Pool::new(2);
/// let member = pool.spawn(|| ());
/// let dump = greenlet::dump();
/// let [group] = &dump.hubs[0].groups[..] else { panic!("one has members") };
/// assert_eq!((group.size, &group.members[..]), (Some(2), &[member.id()][..]));
/// assert_eq!(group.made_at.file(), file!());
/// # pool.join();
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct GroupDump {
    /// From 1, in the order in which its thread has made its groups and pools.
    pub number: u64,
    /// The call that made it.
    pub made_at: &'static Location<'static>,
    /// How many members it may have, if it is a pool.
    pub size: Option<usize>,
    /// The [ids](crate::Greenlet::id) of its members, in order of their spawning. A greenlet may be
    /// in several groups; as text it stands under the first.
    pub members: Vec<u64>,
}

/// Whether a hub has said what its greenlets do.
///
/// # Examples
///
/// See [`HubDump`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HubAnswer {
    /// It has.
    Given,
    /// Not within so much time: its thread is busy, or blocked outside of this crate, or its
    /// root has not waited for so long.
    #[non_exhaustive]
    Missing {
        /// How long was waited for it.
        limit: Duration,
        /// Who has the thread, if a [`watchdog`](crate::watchdog()) is there to know.
        runner: Option<Runner>,
    },
    /// It has ended.
    Ended,
    /// It was not asked, since a [`Simulation`](crate::testing::Simulation) hears of nothing
    /// outside of itself.
    NotAsked,
}

/// One greenlet, or the root, in a [`Dump`].
///
/// # Examples
///
/// ```
/// use greenlet::GreenletState;
///
/// let g = greenlet::spawn(|| ());
/// let dump = greenlet::dump();
/// let of = |id| dump.hubs[0].greenlets.iter().find(|g| g.id == id).unwrap();
/// assert_eq!(of(0).state, GreenletState::Running); // the root
/// assert_eq!(of(g.id()).state, GreenletState::Unstarted);
/// assert_eq!(of(g.id()).spawned_at.unwrap().file(), file!());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct GreenletDump {
    /// Its [id](crate::Greenlet::id); 0 for the thread's own stack, the root.
    pub id: u64,
    /// The name that it was given.
    pub name: Option<Name>,
    /// What it does.
    pub state: GreenletState,
    /// A kill was asked for that has not ended it yet.
    pub killed: bool,
    /// The call that spawned it; `None` for the root.
    pub spawned_at: Option<&'static Location<'static>>,
    /// The id of the greenlet that spawned it, which may have ended or be another hub's; 0 if
    /// none did.
    pub parent: u64,
    /// The call of [`scope`](crate::scope()) that it is a child of.
    pub scope: Option<&'static Location<'static>>,
    /// The time since the beginning of the turn in which it was spawned; `None` for the root.
    pub age: Option<Duration>,
    /// The time until the nearest timer that ends its wait (its own limit, or a timeout scope),
    /// or starts it.
    pub due_in: Option<Duration>,
    /// The usable bytes of its stack; `None` for the root.
    pub stack_size: Option<usize>,
    /// How many bytes of its stack are in memory, by whole pages: what it has touched, and those
    /// who had the stack before it. `None` before it has a stack, and where the system does not
    /// tell.
    pub stack_touched: Option<usize>,
}

/// What a greenlet in a [`Dump`] does.
///
/// # Examples
///
/// See [`GreenletDump`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum GreenletState {
    /// It is the one that took the dump.
    Running,
    /// It waits for nothing but its turn.
    Ready,
    /// It waits.
    #[non_exhaustive]
    Waiting {
        /// For what, as in `Event::wait`.
        operation: &'static str,
        /// The call.
        place: &'static Location<'static>,
        /// The time since the beginning of the turn in which the wait began.
        since: Duration,
    },
    /// It has not had a turn yet, its delay may not be over.
    Unstarted,
}

macro_rules! unwind_safe {
    ($($ty:ty),*) => { $(
        impl UnwindSafe for $ty {}
        impl RefUnwindSafe for $ty {}
    )* };
}
unwind_safe!(
    Dump,
    HubDump,
    HubAnswer,
    GroupDump,
    GreenletDump,
    GreenletState
);

/// What the greenlets of this thread's hub do now; empty if the thread has no hub. Does not wait.
///
/// Takes a while if there are many greenlets, a system call for the stack of each.
/// [`HubHandle::dump`](crate::HubHandle::dump) asks another hub, [`dump_all`] all of them.
///
/// # Examples
///
/// ```
/// let g = greenlet::spawn(|| greenlet::dump().hubs[0].greenlets.len());
/// assert_eq!(g.join().unwrap(), 2); // itself and the root
/// ```
pub fn dump() -> Dump {
    let hubs = Hub::get().map(|hub| own(hub, true)).into_iter().collect();
    Dump { hubs }
}

/// What the greenlets of all hubs of the process do: each is asked, and those answer that can
/// within `limit`. Zero makes one trip through the loop.
///
/// A hub is served when its greenlets or its root wait, so one that is held up does not answer;
/// neither does the hub of a thread whose root is busy with other things. To see who holds a hub
/// up, have a [`watchdog`](crate::watchdog()).
///
/// # Timeouts and kills
///
/// Either ends the wait for the answers by unwinding. While panicking, and in a
/// [`Simulation`](crate::testing::Simulation), the others are not waited for.
///
/// # Panics
///
/// Where no wait is allowed ([`no_switch`](crate::no_switch)), if there are other hubs.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
///
/// let worker = greenlet::HubThread::start("worker").unwrap();
/// let dump = greenlet::dump_all(Duration::from_secs(5));
/// assert!(dump.hubs.iter().any(|hub| hub.thread == "worker" && hub.greenlets.len() == 1));
/// # worker.stop();
/// # worker.join().unwrap();
/// ```
#[track_caller]
pub fn dump_all(limit: Duration) -> Dump {
    let site = Site::here("dump_all");
    let all = watch::hubs();
    let until = Limit::After(limit).fixed(|| Party::current().now());
    let asked: Vec<_> = all
        .iter()
        .map(|hub| Asked::begin(&hub.inbox, true))
        .collect();
    let dumps = all
        .iter()
        .zip(asked)
        .map(|(hub, asked)| match asked.end(site, until) {
            Ok(dump) => dump,
            Err(answer) => HubDump::without(hub.thread(), answer.explained(limit, &hub.pulse)),
        });
    Dump {
        hubs: dumps.collect(),
    }
}

/// The hub of that inbox.
#[track_caller]
pub(crate) fn dump_of(inbox: &Arc<Inbox>, limit: Duration) -> Dump {
    let site = Site::here("HubHandle::dump");
    let asked = Asked::begin(inbox, true).end(site, Limit::After(limit));
    let hub = asked.unwrap_or_else(|answer| {
        let entry = watch::hubs()
            .into_iter()
            .find(|hub| Arc::ptr_eq(&hub.inbox, inbox));
        match entry {
            Some(hub) => HubDump::without(hub.thread(), answer.explained(limit, &hub.pulse)),
            // It has ended since, if it had not before.
            None => HubDump::without(String::from("unknown"), HubAnswer::Ended),
        }
    });
    Dump { hubs: vec![hub] }
}

/// The numbers of that inbox's hub, if it gives them in time.
#[track_caller]
pub(crate) fn statistics_of(inbox: &Arc<Inbox>, limit: Duration) -> Option<HubStatistics> {
    let site = Site::here("HubHandle::statistics");
    let asked = Asked::begin(inbox, false).end(site, Limit::After(limit));
    asked.ok()?.statistics
}

/// The calling thread's hub; `whole`: with its greenlets.
fn own(hub: &Hub, whole: bool) -> HubDump {
    looked(hub, whole, true)
}

fn looked(hub: &Hub, whole: bool, inside: bool) -> HubDump {
    let (seen, groups) = match whole {
        true => (hub.look(inside), group::groups()),
        false => (Vec::new(), Vec::new()),
    };
    HubDump {
        thread: watch::this_thread(),
        answer: HubAnswer::Given,
        statistics: Some(hub.numbers().into()),
        greenlets: seen.into_iter().map(GreenletDump::from).collect(),
        groups: groups.into_iter().map(GroupDump::from).collect(),
    }
}

impl HubDump {
    fn without(thread: String, answer: HubAnswer) -> Self {
        HubDump {
            thread,
            answer,
            statistics: None,
            greenlets: Vec::new(),
            groups: Vec::new(),
        }
    }
}

impl HubAnswer {
    /// With what others can see of a hub that does not answer.
    fn explained(self, waited: Duration, pulse: &watch::Pulse) -> Self {
        match self {
            HubAnswer::Missing { .. } => HubAnswer::Missing {
                limit: waited,
                runner: pulse
                    .beat()
                    .and_then(|beat| pulse.who(beat))
                    .map(Runner::from),
            },
            other => other,
        }
    }
}

impl From<Seen> for GreenletDump {
    fn from(seen: Seen) -> Self {
        GreenletDump {
            id: seen.id,
            name: seen.name,
            state: match seen.stage {
                Stage::Running => GreenletState::Running,
                Stage::Ready => GreenletState::Ready,
                Stage::Waits(site, since) => GreenletState::Waiting {
                    operation: site.operation,
                    place: site.place,
                    since,
                },
                Stage::Unstarted => GreenletState::Unstarted,
            },
            killed: seen.killed,
            spawned_at: seen.birth.map(|birth| birth.place),
            parent: seen.birth.map_or(0, |birth| birth.parent),
            scope: seen.birth.and_then(|birth| birth.scope),
            age: seen.age,
            due_in: seen.due_in,
            stack_size: seen.stack_size,
            stack_touched: seen.stack_touched,
        }
    }
}

impl From<Listed> for GroupDump {
    fn from(listed: Listed) -> Self {
        GroupDump {
            number: listed.number,
            made_at: listed.place,
            size: listed.size,
            members: listed.members,
        }
    }
}

type Told = Latch<Option<HubDump>>;

/// On its way to a hub, or there.
struct Question {
    whole: bool,
    told: Arc<Told>,
}

impl Ask for Question {
    fn answer(self: Box<Self>) {
        let hub = Hub::get().expect("its hub asks it to");
        let _ = self.told.set(Some(looked(hub, self.whole, false)));
    }

    fn refuse(self: Box<Self>) {
        let _ = self.told.set(None);
    }
}

/// A question that was asked.
enum Asked {
    /// Of the caller's own hub, or in vain.
    Known(Box<Result<HubDump, HubAnswer>>),
    Sent(Arc<Told>),
}

impl Asked {
    fn known(result: Result<HubDump, HubAnswer>) -> Self {
        Asked::Known(Box::new(result))
    }

    fn begin(inbox: &Arc<Inbox>, whole: bool) -> Self {
        if let Some(hub) = Hub::get() {
            if Arc::ptr_eq(hub.inbox(), inbox) {
                return Asked::known(Ok(own(hub, whole)));
            }
            if hub.simulates() {
                return Asked::known(Err(HubAnswer::NotAsked));
            }
        }
        let told = Arc::new(Latch::new());
        let question = Question {
            whole,
            told: told.clone(),
        };
        match inbox.send(Mail::Ask(Box::new(question))) {
            Ok(()) => Asked::Sent(told),
            Err(_) => Asked::known(Err(HubAnswer::Ended)),
        }
    }

    #[track_caller]
    fn end(self, site: Site, limit: Limit) -> Result<HubDump, HubAnswer> {
        let told = match self {
            Asked::Known(result) => return *result,
            Asked::Sent(told) => told,
        };
        told.wait(site, limit);
        match told.get() {
            Some(Some(dump)) => Ok(dump.clone()),
            Some(None) => Err(HubAnswer::Ended),
            None => Err(HubAnswer::Missing {
                limit: Duration::ZERO,
                runner: None,
            }),
        }
    }
}

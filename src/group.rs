//! Greenlets that are waited for and killed together.
//!
//! A group is made of an event and of links: a member leaves in a link, the first that was
//! given to it, which every end of a greenlet runs, and runs once.

mod listed;

pub(crate) use listed::{Listed, groups};

use crate::current::{checkpoint, current};
use crate::greenlet::{Greenlet, spawn};
use crate::rt::clock::Limit;
use crate::rt::hub::Hub;
use crate::rt::sync::{Mutex, lock};
use crate::rt::wait::Source;
use crate::sync::Event;
use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;
use std::panic::{Location, RefUnwindSafe, UnwindSafe};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// Greenlets of one thread that are counted, waited for and killed together.
///
/// A greenlet is a member from its [`spawn`](Group::spawn) until its end, and then leaves by
/// itself: after its locals are dropped, before other links run and before those who join it
/// wake. What became of it is its handle's to say. A clone is another handle to the same group.
/// Dropping the last one kills nobody: a [`scope`](crate::scope()) is what nobody outlives.
///
/// In a [`dump`](crate::dump()) the members stand under their group, which is shown by its number
/// and the call that made it.
///
/// # How it works
///
/// The members by their ids, and an event. Invariant: the event is set while there are none.
///
/// # Examples
///
/// ```
/// use greenlet::Group;
/// use std::time::Duration;
///
/// let group = Group::new();
/// let quick = group.spawn(|| 1);
/// let slow = group.spawn(|| greenlet::sleep(Duration::from_secs(99)));
/// assert!(!group.join_timeout(Duration::from_millis(5)));
/// assert_eq!(group.ids(), [slow.id()]); // the other one has ended
/// group.kill();
/// assert!(group.is_empty() && slow.join().unwrap_err().is_killed());
/// assert_eq!(quick.join().unwrap(), 1);
/// ```
#[derive(Clone)]
pub struct Group {
    shared: Arc<Shared>,
    /// Members are killed through the hub of the thread that they are on.
    pinned: PhantomData<Rc<()>>,
}

impl UnwindSafe for Group {}
impl RefUnwindSafe for Group {}

/// Shared with the members' links, which must be `Send`: hence a lock, that nobody contends for.
struct Shared {
    members: Mutex<Members>,
    /// Set while there are no members.
    empty: Event,
    /// What a dump shows of it, if it is in the list.
    label: Option<listed::Label>,
}

#[derive(Default)]
struct Members {
    /// Ids and indices, in order of spawning.
    alive: BTreeMap<u64, usize>,
    /// How many kills are going on.
    killing: usize,
    /// How many there have been.
    kills: u64,
}

/// Whoever becomes a member while this lives is killed.
pub(crate) struct Killing<'a>(&'a Shared);

impl Drop for Killing<'_> {
    fn drop(&mut self) {
        lock(&self.0.members).killing -= 1;
    }
}

impl Default for Group {
    #[track_caller]
    fn default() -> Self {
        Group::new()
    }
}

impl Group {
    /// A group without members.
    ///
    /// # Examples
    ///
    /// ```
    /// assert!(greenlet::Group::new().is_empty());
    /// ```
    #[track_caller]
    pub fn new() -> Self {
        Group::listed(None)
    }

    /// One that a [`dump`](crate::dump()) shows; `size` is that of the pool that it belongs to.
    #[track_caller]
    pub(crate) fn listed(size: Option<usize>) -> Self {
        let place = Location::caller();
        Group::of(listed::list(|number| {
            Shared::new(Some(listed::Label {
                number,
                place,
                size,
            }))
        }))
    }

    /// One that is nobody's business.
    pub(crate) fn unlisted() -> Self {
        Group::of(Arc::new(Shared::new(None)))
    }

    fn of(shared: Arc<Shared>) -> Self {
        Group {
            shared,
            pinned: PhantomData,
        }
    }

    /// Starts a greenlet, as [`spawn`](crate::spawn()), that is a member until it ends. Never
    /// switches. During a [`kill`](Group::kill) the greenlet is killed before it starts.
    ///
    /// # Examples
    ///
    /// ```
    /// let group = greenlet::Group::new();
    /// let member = group.spawn(|| 6 * 7);
    /// assert_eq!(group.len(), 1);
    /// assert_eq!(member.join().unwrap(), 42);
    /// assert_eq!(group.len(), 0);
    /// ```
    #[track_caller]
    pub fn spawn<F, T>(&self, f: F) -> Greenlet<T>
    where
        F: FnOnce() -> T + 'static,
        T: 'static,
    {
        let member = spawn(f);
        self.track(&member, ());
        member
    }

    /// Makes a greenlet that runs already a member, until it ends: one that a
    /// [`Builder`](crate::Builder), a [`scope`](crate::scope()) or
    /// [`spawn_later`](crate::spawn_later) has started. One that has ended does not become one.
    /// It may be in several groups.
    ///
    /// # Panics
    ///
    /// If it is another hub's, or came from another thread and has not arrived yet: the group
    /// could not kill it.
    ///
    /// # Examples
    ///
    /// ```
    /// let group = greenlet::Group::new();
    /// let parser = greenlet::Builder::new().name("parser").spawn(|| ()).unwrap();
    /// group.add(&parser);
    /// assert!(group.contains(parser.id()));
    /// group.join();
    /// ```
    #[track_caller]
    pub fn add<T>(&self, greenlet: &Greenlet<T>) {
        if greenlet.is_finished() {
            return;
        }
        assert!(
            greenlet.control().is_here() && greenlet.member().is_some(),
            "a group takes the greenlets of its own hub only"
        );
        self.track(greenlet, ());
    }

    /// Makes it a member; `held` is dropped when it has left.
    pub(crate) fn track<T>(&self, greenlet: &Greenlet<T>, held: impl Send + 'static) {
        // Without an index it has ended already: its hub takes nobody in any more.
        if let Some((record, id)) = greenlet.member() {
            let killing = {
                let mut members = lock(&self.shared.members);
                members.alive.insert(id, record);
                members.killing > 0
            };
            self.shared.empty.clear();
            if killing {
                greenlet.kill();
            }
        }
        let (shared, id) = (self.shared.clone(), greenlet.id());
        greenlet.link_unread(move |_| {
            shared.leave(id);
            drop(held);
        });
    }

    /// Waits until there are no members; if there are none it returns at once. Those who come
    /// while it waits are waited for too, unless there were none before.
    ///
    /// # Timeouts and kills
    ///
    /// Either ends the wait, not the members. While panicking it aborts if it would have to wait.
    ///
    /// # Panics
    ///
    /// In a member, which would wait for its own end.
    ///
    /// # Examples
    ///
    /// ```
    /// let group = greenlet::Group::new();
    /// let members = [1, 2].map(|i| group.spawn(move || i));
    /// group.join();
    /// assert!(members.iter().all(|member| member.is_finished()));
    /// ```
    #[inline]
    #[track_caller]
    pub fn join(&self) {
        self.wait("Group::join", Limit::Never);
    }

    /// As [`join`](Group::join), for at most `limit`: true if there was no member at some time
    /// before; false if the time was over first, or while panicking.
    ///
    /// # Panics
    ///
    /// In a member, which would wait for its own end.
    ///
    /// # Examples
    ///
    /// ```
    /// let group = greenlet::Group::new();
    /// group.spawn(|| greenlet::sleep(std::time::Duration::from_secs(99)));
    /// assert!(!group.join_timeout(std::time::Duration::from_millis(1)));
    /// # group.kill();
    /// ```
    #[inline]
    #[track_caller]
    #[must_use = "whether all members have ended"]
    pub fn join_timeout(&self, limit: Duration) -> bool {
        self.wait("Group::join_timeout", Limit::After(limit))
    }

    #[track_caller]
    pub(crate) fn refuse_member(&self, operation: &str) {
        if self.contains(current().id()) {
            // A kill that is due, its own perhaps, goes first.
            checkpoint();
            panic!("{operation} in a member: it would wait for its own end");
        }
    }

    #[track_caller]
    pub(crate) fn wait(&self, operation: &'static str, limit: Limit) -> bool {
        self.refuse_member(operation);
        self.shared.empty.wait_within(operation, limit)
    }

    /// Kills all members, in order of their spawning, as [`Greenlet::kill`], and waits until
    /// none is left. Those who are spawned meanwhile are killed too, before they start.
    ///
    /// A member that swallows the kill, or is in a [`shield`](crate::shield), is waited for.
    ///
    /// # Timeouts and kills
    ///
    /// Either ends the wait; the members that were asked to end do so all the same. In a member
    /// the kill is its own too: the wait raises it.
    ///
    /// # Panics
    ///
    /// As [`Greenlet::kill`]; in a member that is in a shield, which would wait for its own end.
    ///
    /// # Examples
    ///
    /// ```
    /// let group = greenlet::Group::new();
    /// let member = group.spawn(|| greenlet::sleep(std::time::Duration::from_secs(99)));
    /// greenlet::yield_now();
    /// group.kill();
    /// assert!(member.is_finished());
    /// ```
    #[track_caller]
    pub fn kill(&self) {
        let killing = self.begin_kill();
        self.wait("Group::kill", Limit::Never);
        drop(killing);
    }

    /// The first half of a kill: asks all.
    pub(crate) fn begin_kill(&self) -> Killing<'_> {
        lock(&self.shared.members).killing += 1;
        let killing = Killing(&self.shared);
        self.kill_nowait();
        killing
    }

    /// Asks all who are members now to end, as [`kill_all`](crate::kill_all), and returns at
    /// once.
    ///
    /// # Panics
    ///
    /// As [`Greenlet::kill`].
    ///
    /// # Examples
    ///
    /// ```
    /// let group = greenlet::Group::new();
    /// group.spawn(|| greenlet::sleep(std::time::Duration::from_secs(99)));
    /// group.kill_nowait();
    /// assert_eq!(group.len(), 1); // it has not had a turn yet
    /// group.join();
    /// ```
    pub fn kill_nowait(&self) {
        let members = {
            let mut members = lock(&self.shared.members);
            members.kills += 1;
            members.alive.clone()
        };
        for (id, record) in members {
            self.hub().kill(record, id);
        }
    }

    fn hub(&self) -> &'static Hub {
        Hub::get().expect("members are told of the end of their hub, and leave")
    }

    /// Ready while there are no members.
    pub(crate) fn source(&self) -> &impl Source {
        self.shared.empty.source()
    }

    /// How many kills there have been.
    pub(crate) fn kills(&self) -> u64 {
        lock(&self.shared.members).kills
    }

    /// True if a kill, an expiry or a child's panic may end the wait that a member is in.
    pub(crate) fn may_be_interrupted(&self) -> bool {
        let interrupted = |(&id, &record)| self.hub().is_interruptible((record, id));
        lock(&self.shared.members).alive.iter().any(interrupted)
    }

    /// How many members there are.
    ///
    /// # Examples
    ///
    /// ```
    /// let group = greenlet::Group::new();
    /// group.spawn(|| ());
    /// assert_eq!(group.len(), 1);
    /// ```
    pub fn len(&self) -> usize {
        lock(&self.shared.members).alive.len()
    }

    /// True if there are no members.
    ///
    /// # Examples
    ///
    /// ```
    /// let group = greenlet::Group::new();
    /// group.spawn(|| ());
    /// assert!(!group.is_empty());
    /// ```
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The [ids](Greenlet::id) of the members, in order of their spawning: a snapshot, since
    /// members come and go while a loop over them waits. Ids and not handles, since a handle
    /// owns what its greenlet returns, and is the one's who has spawned it.
    ///
    /// # Examples
    ///
    /// ```
    /// let group = greenlet::Group::new();
    /// let members = [1, 2].map(|i| group.spawn(move || i));
    /// assert_eq!(group.ids(), members.map(|member| member.id()));
    /// ```
    pub fn ids(&self) -> Vec<u64> {
        lock(&self.shared.members).alive.keys().copied().collect()
    }

    /// Whether the greenlet with that [id](Greenlet::id) is a member.
    ///
    /// # Examples
    ///
    /// ```
    /// let group = greenlet::Group::new();
    /// let member = group.spawn(|| ());
    /// assert!(group.contains(member.id()));
    /// member.wait();
    /// assert!(!group.contains(member.id()));
    /// ```
    pub fn contains(&self, id: u64) -> bool {
        lock(&self.shared.members).alive.contains_key(&id)
    }
}

impl Shared {
    fn new(label: Option<listed::Label>) -> Self {
        let empty = Event::new();
        empty.set();
        Shared {
            members: Mutex::new(Members::default()),
            empty,
            label,
        }
    }

    fn leave(&self, id: u64) {
        let empty = {
            let mut members = lock(&self.members);
            members.alive.remove(&id);
            members.alive.is_empty()
        };
        if empty {
            self.empty.set();
        }
    }
}

impl fmt::Debug for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Group")
            .field("members", &self.len())
            .field("empty", &self.shared.empty)
            .finish()
    }
}

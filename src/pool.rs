//! Greenlets of which so many run at a time, and maps over inputs in them.
//!
//! A pool is made of a group and a semaphore: a member's permit is dropped when it has left
//! the group. A lazy map has a queue of the positions whose turn it is.

use crate::current::{checkpoint, current};
use crate::error::JoinError;
use crate::greenlet::{Builder, Greenlet};
use crate::group::Group;
use crate::join;
use crate::rt::clock::Limit;
use crate::rt::park;
use crate::rt::task::Site;
use crate::start::Settings;
use crate::statistics::PoolStatistics;
use crate::sync::{BoundedSemaphore, OwnedPermit, Queue, Semaphore};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt;
use std::iter::FusedIterator;
use std::panic::{Location, RefUnwindSafe, UnwindSafe, resume_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// Where a call stands in the program.
type Place = &'static Location<'static>;

/// A [`Group`] with a limit: at most so many members at a time. Who spawns one more waits.
///
/// A member has its place from its spawn until it has ended and its locals are dropped; then the
/// place goes to the first in line, before the member's other links run. A clone is another
/// handle to the same pool. Dropping the last one kills nobody. In a [`dump`](crate::dump()) the
/// members stand under their pool.
///
/// # Fairness
///
/// Places go to those who wait for one in order of arrival, by hand-off.
///
/// # How it works
///
/// Invariant: the members, the places that are free, and those that were handed to one who has
/// not run since are together the size of the pool.
///
/// # Examples
///
/// ```
/// use greenlet::Pool;
///
/// let pool = Pool::new(2);
/// let squares = pool.map(1..=4, |n| {
///     greenlet::sleep(std::time::Duration::from_millis(5 - n)); // two at a time
///     n * n
/// });
/// assert_eq!(squares.unwrap(), [1, 4, 9, 16]);
/// ```
#[derive(Clone)]
pub struct Pool {
    size: usize,
    places: Arc<BoundedSemaphore>,
    members: Group,
    /// The greenlets that take the inputs of lazy maps. They have no places.
    feeders: Group,
    /// How many members wait for a place, however long.
    stuck: Rc<Cell<usize>>,
}

impl UnwindSafe for Pool {}
impl RefUnwindSafe for Pool {}

impl Pool {
    /// A pool of `size` places. One without a limit is a [`Group`].
    ///
    /// # Panics
    ///
    /// If `size` is 0: nothing could ever run in it. If it is more than `usize::MAX / 4`.
    ///
    /// # Examples
    ///
    /// ```
    /// assert_eq!(greenlet::Pool::new(3).free_count(), 3);
    /// ```
    #[track_caller]
    pub fn new(size: usize) -> Self {
        assert!(size > 0, "a pool without places: nothing could run in it");
        Pool {
            size,
            places: Arc::new(BoundedSemaphore::new(size)),
            members: Group::listed(Some(size)),
            feeders: Group::unlisted(),
            stuck: Rc::default(),
        }
    }

    /// Starts a greenlet, as [`spawn`](crate::spawn()), once there is a place for it. It waits for
    /// the place, not for the greenlet; with a place free it does not switch.
    ///
    /// # Fairness
    ///
    /// Those who wait are served in order of arrival.
    ///
    /// # Timeouts and kills
    ///
    /// Either ends the wait by unwinding; the closure is dropped, and those behind move up. While
    /// panicking it aborts if it would have to wait. If the pool is [killed](Pool::kill)
    /// meanwhile, the greenlet that it returns is killed before it starts.
    ///
    /// # Panics
    ///
    /// If it would wait for ever: it is called in a member, the pool is full, and all other
    /// members wait for a place too, with no limit, timeout scope or kill that would end a wait.
    /// A member that may find the pool full can use [`try_spawn`](Pool::try_spawn), and run the
    /// closure itself.
    ///
    /// # Examples
    ///
    /// ```
    /// let pool = greenlet::Pool::new(1);
    /// let first = pool.spawn(|| 1);
    /// let second = pool.spawn(|| 2); // waits for the end of the first
    /// assert!(first.is_finished() && !second.is_finished());
    /// # pool.join();
    /// ```
    #[track_caller]
    pub fn spawn<F, T>(&self, f: F) -> Greenlet<T>
    where
        F: FnOnce() -> T + 'static,
        T: 'static,
    {
        let from = Location::caller();
        self.spawn_since(self.members.kills(), "Pool::spawn", from, f)
    }

    /// As [`spawn`](Pool::spawn), if a place is free and nobody waits for it. Never switches.
    ///
    /// # Errors
    ///
    /// [`PoolFull`], which gives the closure back.
    ///
    /// # Examples
    ///
    /// ```
    /// let pool = greenlet::Pool::new(1);
    /// pool.try_spawn(|| ()).unwrap();
    /// let full = pool.try_spawn(|| 2).unwrap_err();
    /// assert_eq!(full.into_inner()(), 2); // run here instead
    /// # pool.join();
    /// ```
    #[track_caller]
    pub fn try_spawn<F, T>(&self, f: F) -> Result<Greenlet<T>, PoolFull<F>>
    where
        F: FnOnce() -> T + 'static,
        T: 'static,
    {
        match self.places.try_acquire_owned() {
            Some(place) => Ok(self.start(self.members.kills(), Location::caller(), place, f)),
            None => Err(PoolFull(f)),
        }
    }

    /// As [`spawn`](Pool::spawn), if there is a place in time. Zero makes one trip through the
    /// loop. Since the wait ends it never panics, in a member neither.
    ///
    /// # Errors
    ///
    /// [`PoolFull`], which gives the closure back, if the time was over first, or while panicking.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let pool = greenlet::Pool::new(1);
    /// pool.spawn(|| greenlet::sleep(Duration::from_secs(99)));
    /// assert!(pool.spawn_timeout(Duration::from_millis(1), || ()).is_err());
    /// # pool.kill();
    /// ```
    #[track_caller]
    pub fn spawn_timeout<F, T>(&self, limit: Duration, f: F) -> Result<Greenlet<T>, PoolFull<F>>
    where
        F: FnOnce() -> T + 'static,
        T: 'static,
    {
        let begun = self.members.kills();
        let limit = Limit::After(limit);
        match self.places.acquire_for("Pool::spawn_timeout", 1, limit) {
            Some(place) => Ok(self.start(begun, Location::caller(), place, f)),
            None => Err(PoolFull(f)),
        }
    }

    /// Calls `f` with each input in a member of its own, and returns the results in the order of
    /// the inputs when the last one has ended. It takes an input, waits for a place, takes the
    /// next; the inputs may wait as they like.
    ///
    /// # Timeouts and kills
    ///
    /// Either kills what the map has begun, and unwinds; so does a panic in `inputs`. A
    /// [`kill`](Pool::kill) of the pool ends the map: it takes no more inputs, but cannot end a
    /// wait for one.
    ///
    /// # Panics
    ///
    /// As [`spawn`](Pool::spawn); with a panic of `inputs`.
    ///
    /// # Errors
    ///
    /// The first of those that failed, in the order of the inputs. A failure does not end the
    /// others: all inputs are taken, and run to their ends. An input that was not run since the
    /// pool was killed counts as [`JoinError::Killed`].
    ///
    /// # Examples
    ///
    /// ```
    /// let pool = greenlet::Pool::new(2);
    /// assert_eq!(pool.map(["a", "bc"], str::len).unwrap(), [1, 2]);
    /// let error = pool.map([1, 0, 2, 0], |n| 12 / n).unwrap_err();
    /// assert_eq!(error.index, 1);
    /// ```
    #[track_caller]
    pub fn map<I, F, T>(&self, inputs: I, f: F) -> Result<Vec<T>, MapError>
    where
        I: IntoIterator<Item: 'static>,
        F: Fn(I::Item) -> T + 'static,
        T: 'static,
    {
        let (begun, from, f) = (self.members.kills(), Location::caller(), Rc::new(f));
        let mut left = Left(Vec::new());
        let mut cut = None;
        for (index, input) in inputs.into_iter().enumerate() {
            if self.members.kills() != begun {
                cut = Some(MapError::killed(index));
                break;
            }
            let f = f.clone();
            let member = self.spawn_since(begun, "Pool::map", from, move || f(input));
            left.0.push(member);
        }
        join::wait_for(&left.0, "Pool::map");
        let outcomes = std::mem::take(&mut left.0).into_iter().map(Greenlet::taken);
        let results = outcomes.enumerate().map(MapError::at);
        results.chain(cut.map(Err)).collect()
    }

    /// A lazy [`map`](Pool::map): an iterator over the results, in the order of the inputs.
    ///
    /// A greenlet of its own, without a place, takes the inputs from the first
    /// [`next`](Iterator::next) on, as far as the [window](Imap::window) allows.
    ///
    /// # Errors
    ///
    /// Each result is an error if its member failed; the iteration may go on after it. If the
    /// pool is killed, the last one is the error of the first input that was not taken.
    ///
    /// # Examples
    ///
    /// ```
    /// let pool = greenlet::Pool::new(2);
    /// let thirds = pool.imap(0.., |n| 12 / (3 - n)); // never ends by itself
    /// let some: Vec<_> = thirds.take(5).map(Result::ok).collect();
    /// assert_eq!(some, [Some(4), Some(6), Some(12), None, Some(-12)]);
    /// ```
    #[track_caller]
    pub fn imap<I, F, T>(&self, inputs: I, f: F) -> Imap<T>
    where
        I: IntoIterator<Item: 'static> + 'static,
        F: Fn(I::Item) -> T + 'static,
        T: 'static,
    {
        self.lazy_map(inputs, f, |turns, index, _| turns.tell(Turn::Of(index)))
    }

    /// As [`imap`](Pool::imap), with the results in the order in which the members end. An error
    /// says by its index whose it is; a result can bring its input along.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let pool = greenlet::Pool::new(3);
    /// let ended = pool.imap_unordered([30, 10, 20], |ms| {
    ///     greenlet::sleep(Duration::from_millis(ms));
    ///     ms
    /// });
    /// assert_eq!(ended.map(Result::unwrap).collect::<Vec<_>>(), [10, 20, 30]);
    /// ```
    #[track_caller]
    pub fn imap_unordered<I, F, T>(&self, inputs: I, f: F) -> Imap<T>
    where
        I: IntoIterator<Item: 'static> + 'static,
        F: Fn(I::Item) -> T + 'static,
        T: 'static,
    {
        self.lazy_map(inputs, f, |turns, index, member| {
            let turns = turns.clone();
            member.link_unread(move |_| turns.tell(Turn::Of(index)));
        })
    }

    /// `started` sees to it that the position's turn is told of, now or later.
    #[track_caller]
    fn lazy_map<I, F, T>(
        &self,
        inputs: I,
        f: F,
        started: fn(&Arc<Turns>, usize, &Greenlet<T>),
    ) -> Imap<T>
    where
        I: IntoIterator<Item: 'static> + 'static,
        F: Fn(I::Item) -> T + 'static,
        T: 'static,
    {
        let course = Rc::new(Course {
            turns: Arc::new(Turns(Queue::unbounded())),
            members: RefCell::default(),
            taken: Cell::new(0),
        });
        let from = Location::caller();
        let (pool, shared, f) = (self.clone(), course.clone(), Rc::new(f));
        let feed = move |room: &Semaphore| {
            let mut inputs = inputs.into_iter();
            loop {
                // A kill is raised by a wait, and there need not be one below.
                checkpoint();
                room.acquire().forget();
                let Some(input) = inputs.next() else { return };
                let (index, f) = (shared.taken.get(), f.clone());
                let begun = pool.members.kills();
                let member = pool.spawn_since(begun, "Pool::spawn", from, move || f(input));
                shared.taken.set(index + 1);
                started(&shared.turns, index, &member);
                shared.members.borrow_mut().insert(index, member);
            }
        };
        Imap {
            pool: self.clone(),
            room: Rc::new(Semaphore::new(self.size.saturating_mul(2).min(LARGEST))),
            course,
            feeder: Feeder::NotYet(Box::new(feed)),
            fed: false,
            next: None,
        }
    }

    /// A new member, once there is a place; it is killed if the pool has been since `begun`.
    #[track_caller]
    fn spawn_since<F, T>(
        &self,
        begun: u64,
        operation: &'static str,
        from: Place,
        f: F,
    ) -> Greenlet<T>
    where
        F: FnOnce() -> T + 'static,
        T: 'static,
    {
        let place = match self.places.try_acquire_owned() {
            Some(place) => place,
            None => {
                let _stuck = self.stuck(&Site::here(operation));
                let place = self.places.acquire_for(operation, 1, Limit::Never);
                place.expect("only a limit ends it without one")
            }
        };
        self.start(begun, from, place, f)
    }

    /// `from` is the call that spawns.
    pub(crate) fn start<F, T>(
        &self,
        begun: u64,
        from: Place,
        place: OwnedPermit,
        f: F,
    ) -> Greenlet<T>
    where
        F: FnOnce() -> T + 'static,
        T: 'static,
    {
        let member = Greenlet::start_plain(Settings::at(from), None, f);
        self.members.track(&member, place);
        if self.members.kills() != begun {
            member.kill();
        }
        member
    }

    pub(crate) fn members(&self) -> &Group {
        &self.members
    }

    pub(crate) fn places(&self) -> &Arc<BoundedSemaphore> {
        &self.places
    }

    /// How many kills there have been.
    pub(crate) fn kills(&self) -> u64 {
        self.members.kills()
    }

    /// Counts a member as one that waits for a place; panics if that leaves nobody to free one.
    ///
    /// Then it is certain: the places are all held by members, so none has been handed to one
    /// of them who is still counted.
    #[track_caller]
    fn stuck(&self, site: &Site) -> Option<Stuck<'_>> {
        // Where it may not wait the semaphore says so.
        if !park::may_wait() || !self.members.contains(current().id()) {
            return None;
        }
        self.stuck.set(self.stuck.get() + 1);
        let stuck = Stuck(&self.stuck);
        assert!(
            self.stuck.get() < self.size || self.members.may_be_interrupted(),
            "{} at {} is a deadlock: all members of the pool, whose size is {}, wait for a place in it",
            site.operation,
            site.place,
            self.size
        );
        Some(stuck)
    }

    /// Waits until there are no members, as [`Group::join`]. Lazy maps may start others later.
    ///
    /// # Panics
    ///
    /// In a member, which would wait for its own end.
    ///
    /// # Examples
    ///
    /// ```
    /// let pool = greenlet::Pool::new(2);
    /// let member = pool.spawn(|| ());
    /// pool.join();
    /// assert!(member.is_finished());
    /// ```
    #[track_caller]
    pub fn join(&self) {
        self.members.wait("Pool::join", Limit::Never);
    }

    /// As [`join`](Pool::join), for at most `limit`: true if there was no member at some time
    /// before; false if the time was over first, or while panicking.
    ///
    /// # Panics
    ///
    /// In a member, which would wait for its own end.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let pool = greenlet::Pool::new(2);
    /// pool.spawn(|| greenlet::sleep(Duration::from_millis(1)));
    /// assert!(pool.join_timeout(Duration::from_secs(9)));
    /// ```
    #[track_caller]
    #[must_use = "whether all members have ended"]
    pub fn join_timeout(&self, limit: Duration) -> bool {
        self.members.wait("Pool::join_timeout", Limit::After(limit))
    }

    /// Kills all members and waits for them, as [`Group::kill`], and ends the maps: they take no
    /// more inputs. Those who wait for a place get one, each for a greenlet that is killed before
    /// it starts, and which is waited for too. The pool can be used again afterwards.
    ///
    /// # Fairness
    ///
    /// It waits in line, behind those who wait for a place.
    ///
    /// # Timeouts and kills
    ///
    /// As [`Group::kill`].
    ///
    /// # Panics
    ///
    /// As [`Group::kill`].
    ///
    /// # Examples
    ///
    /// ```
    /// let pool = greenlet::Pool::new(2);
    /// let member = pool.spawn(|| greenlet::sleep(std::time::Duration::from_secs(99)));
    /// pool.kill();
    /// assert!(member.join().unwrap_err().is_killed());
    /// assert_eq!(pool.free_count(), 2);
    /// ```
    #[track_caller]
    pub fn kill(&self) {
        let killing = (self.feeders.begin_kill(), self.members.begin_kill());
        self.members.refuse_member("Pool::kill");
        self.feeders.wait("Pool::kill", Limit::Never);
        // Behind those in line. Not all places: a member in a shield may wait for one.
        drop(self.places.acquire_for("Pool::kill", 1, Limit::Never));
        self.members.wait("Pool::kill", Limit::Never);
        drop(killing);
    }

    /// How many members it may have at a time.
    ///
    /// # Examples
    ///
    /// ```
    /// assert_eq!(greenlet::Pool::new(3).size(), 3);
    /// ```
    pub fn size(&self) -> usize {
        self.size
    }

    /// Its members and places, now.
    ///
    /// # Examples
    ///
    /// ```
    /// let pool = greenlet::Pool::new(3);
    /// pool.spawn(|| ());
    /// assert_eq!((pool.statistics().members, pool.statistics().free), (1, 2));
    /// # pool.join();
    /// ```
    pub fn statistics(&self) -> PoolStatistics {
        let places = self.places.statistics();
        PoolStatistics {
            size: self.size,
            members: self.members.len(),
            free: places.available,
            waiting: places.waiting,
        }
    }

    /// How many places are free.
    ///
    /// # Examples
    ///
    /// ```
    /// let pool = greenlet::Pool::new(3);
    /// pool.spawn(|| ());
    /// assert_eq!(pool.free_count(), 2);
    /// # pool.join();
    /// ```
    pub fn free_count(&self) -> usize {
        self.places.available()
    }

    /// How many members there are.
    ///
    /// # Examples
    ///
    /// ```
    /// let pool = greenlet::Pool::new(3);
    /// pool.spawn(|| ());
    /// assert_eq!(pool.len(), 1);
    /// # pool.join();
    /// ```
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// True if there are no members.
    ///
    /// # Examples
    ///
    /// ```
    /// assert!(greenlet::Pool::new(3).is_empty());
    /// ```
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// The ids of the members, as [`Group::ids`].
    ///
    /// # Examples
    ///
    /// ```
    /// let pool = greenlet::Pool::new(3);
    /// let member = pool.spawn(|| ());
    /// assert_eq!(pool.ids(), [member.id()]);
    /// # pool.join();
    /// ```
    pub fn ids(&self) -> Vec<u64> {
        self.members.ids()
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool")
            .field("size", &self.size)
            .field("places", &self.places)
            .field("members", &self.members)
            .finish()
    }
}

/// Counts one member that waits for a place.
struct Stuck<'a>(&'a Cell<usize>);

impl Drop for Stuck<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

/// Members whose outcomes nobody will take: they end.
struct Left<T>(Vec<Greenlet<T>>);

impl<T> Drop for Left<T> {
    fn drop(&mut self) {
        self.0.iter().for_each(Greenlet::kill);
    }
}

/// Of a pool or a window, as of a semaphore.
const LARGEST: usize = usize::MAX / 4;

/// What a lazy map and its feeder share.
struct Course<T> {
    turns: Arc<Turns>,
    /// By position: started, and not given to the consumer yet.
    members: RefCell<BTreeMap<usize, Greenlet<T>>>,
    taken: Cell<usize>,
}

impl<T> Course<T> {
    /// Nobody is going to take the results.
    fn end(&self) {
        let members = self.members.take();
        drop(Left(members.into_values().collect()));
    }
}

impl<T> Drop for Course<T> {
    /// A feeder may start one more after the consumer has gone.
    fn drop(&mut self) {
        self.end();
    }
}

/// What the consumer is to look at next.
struct Turns(Queue<Turn>);

enum Turn {
    /// This position.
    Of(usize),
    /// No more positions will be started.
    Fed,
}

impl Turns {
    fn tell(&self, turn: Turn) {
        let told = self.0.put_nowait(turn);
        debug_assert!(told.is_ok(), "an unbounded queue that nobody shuts down");
    }
}

enum Feeder {
    NotYet(Box<dyn FnOnce(&Semaphore)>),
    Running(Greenlet<()>),
    Over,
}

/// The results of [`Pool::imap`] and [`Pool::imap_unordered`]; each `next` waits for one.
///
/// Dropping it kills what it has begun, and does not wait for it.
///
/// # Timeouts and kills
///
/// Either ends the wait in `next` by unwinding; the iteration may go on later.
///
/// # Panics
///
/// A panic of the inputs comes out of the `next` that follows the results of those before it.
///
/// # Examples
///
/// ```
/// let pool = greenlet::Pool::new(2);
/// let mut all = pool.imap(1..=3, |n| 2 * n);
/// assert_eq!(all.next().unwrap().unwrap(), 2);
/// drop(all); // the rest is killed
/// ```
#[must_use = "iterators do nothing unless consumed"]
pub struct Imap<T> {
    pool: Pool,
    /// What is left of the window.
    room: Rc<Semaphore>,
    course: Rc<Course<T>>,
    feeder: Feeder,
    /// The feeder has ended.
    fed: bool,
    /// Whose turn it is; kept here while it is waited for, since that may be cut short.
    next: Option<(usize, Greenlet<T>)>,
}

impl<T> UnwindSafe for Imap<T> {}
impl<T> RefUnwindSafe for Imap<T> {}

impl<T> Imap<T> {
    /// At most so many inputs are taken whose results have not been: their members run, wait for
    /// a place, or have ended. At first twice the size of the pool, so that a slow one does not
    /// leave places empty at once. Memory is bounded by it, and how far it runs ahead.
    ///
    /// # Panics
    ///
    /// If `n` is 0 or more than `usize::MAX / 4`, or if the iteration has begun.
    ///
    /// # Examples
    ///
    /// ```
    /// let pool = greenlet::Pool::new(10);
    /// let one_by_one = pool.imap(["a", "b"], str::len).window(1);
    /// assert_eq!(one_by_one.count(), 2);
    /// ```
    #[track_caller]
    pub fn window(mut self, n: usize) -> Self {
        assert!((1..=LARGEST).contains(&n), "a window of {n}");
        assert!(
            matches!(self.feeder, Feeder::NotYet(_)),
            "the window of an iteration that has begun"
        );
        self.room = Rc::new(Semaphore::new(n));
        self
    }

    fn begin(&mut self) {
        match std::mem::replace(&mut self.feeder, Feeder::Over) {
            Feeder::NotYet(feed) => {
                let room = self.room.clone();
                let feeder = Builder::new().name("imap").spawn(move || feed(&room));
                let feeder = feeder.expect("the settings are valid");
                self.pool.feeders.track(&feeder, ());
                let turns = self.course.turns.clone();
                feeder.link(move |_| turns.tell(Turn::Fed));
                self.feeder = Feeder::Running(feeder);
            }
            other => self.feeder = other,
        }
    }

    /// All that was started has been given: what the feeder has come to.
    #[track_caller]
    fn end(&mut self) -> Option<Result<T, MapError>> {
        let Feeder::Running(feeder) = std::mem::replace(&mut self.feeder, Feeder::Over) else {
            return None;
        };
        let error = feeder.join().err()?;
        match error.into_panic() {
            Ok(payload) => resume_unwind(payload),
            Err(error) => Some(MapError::at((self.course.taken.get(), Err(error)))),
        }
    }
}

impl<T> Iterator for Imap<T> {
    type Item = Result<T, MapError>;

    #[track_caller]
    fn next(&mut self) -> Option<Self::Item> {
        self.begin();
        loop {
            if let Some((_, member)) = &self.next {
                member.wait();
            }
            if let Some((index, member)) = self.next.take() {
                self.room.release();
                return Some(MapError::at((index, member.taken())));
            }
            if self.fed && self.course.members.borrow().is_empty() {
                return self.end();
            }
            match self.course.turns.0.get().expect("nobody shuts it down") {
                Turn::Fed => self.fed = true,
                Turn::Of(index) => {
                    let member = self.course.members.borrow_mut().remove(&index);
                    self.next = member.map(|member| (index, member));
                }
            }
        }
    }
}

impl<T> FusedIterator for Imap<T> {}

impl<T> Drop for Imap<T> {
    fn drop(&mut self) {
        if let Feeder::Running(feeder) = &self.feeder {
            feeder.kill();
        }
        self.course.end();
        drop(Left(
            self.next.take().into_iter().map(|(_, next)| next).collect(),
        ));
    }
}

impl<T> fmt::Debug for Imap<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Imap")
            .field("taken", &self.course.taken.get())
            .field("unread", &self.course.members.borrow().len())
            .field("turns", &self.course.turns.0)
            .finish()
    }
}

/// Why a map has no result for one of its inputs.
///
/// # Examples
///
/// ```
/// let error = greenlet::Pool::new(1).map([1, 0], |n| 1 / n).unwrap_err();
/// assert_eq!(error.index, 1);
/// assert!(error.error.is_panic());
/// assert!(error.to_string().starts_with("input 1: greenlet '#"));
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub struct MapError {
    /// The position of the input, from 0.
    pub index: usize,
    /// How its member ended.
    pub error: JoinError,
}

impl MapError {
    fn at<T>((index, outcome): (usize, Result<T, JoinError>)) -> Result<T, MapError> {
        outcome.map_err(|error| MapError { index, error })
    }

    fn killed(index: usize) -> MapError {
        let error = JoinError::Killed;
        MapError { index, error }
    }
}

impl fmt::Display for MapError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "input {}: {}", self.index, self.error)
    }
}

impl std::error::Error for MapError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.error)
    }
}

/// A [`Pool`] had no place, in time. The closure comes back inside.
///
/// # Examples
///
/// ```
/// let pool = greenlet::Pool::new(1);
/// pool.spawn(|| ());
/// let full = pool.try_spawn(|| "run here").unwrap_err();
/// assert_eq!(full.to_string(), "pool is full");
/// assert_eq!(full.into_inner()(), "run here");
/// # pool.join();
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PoolFull<F>(F);

impl<F> PoolFull<F> {
    /// The closure.
    ///
    /// # Examples
    ///
    /// See [`PoolFull`].
    pub fn into_inner(self) -> F {
        self.0
    }
}

impl<F> fmt::Debug for PoolFull<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PoolFull(..)")
    }
}

impl<F> fmt::Display for PoolFull<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("pool is full")
    }
}

impl<F> std::error::Error for PoolFull<F> {}

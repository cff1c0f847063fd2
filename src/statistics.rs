//! A hub's numbers, and the one that costs something: the lengths of slices.

use crate::rt::hub::{Hub, Numbers};
use crate::rt::task::Name;
use crate::rt::watch::{self, MEASURED, TIMED, Use, Who};
use std::fmt;
use std::panic::Location;
use std::time::Duration;

/// A greenlet, or a thread's own stack, that runs or has run: what is known of it beyond its end.
///
/// # Examples
///
/// See [`HubStatistics`] and [`watchdog`](crate::watchdog()).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Runner {
    /// Its [id](crate::Greenlet::id); 0 for a thread's own stack, the root.
    pub id: u64,
    /// The name that it was given.
    pub name: Option<Name>,
    /// The call that spawned it; `None` for the root.
    pub spawned_at: Option<&'static Location<'static>>,
}

impl std::panic::UnwindSafe for Runner {}
impl std::panic::RefUnwindSafe for Runner {}

impl From<Who> for Runner {
    fn from(who: Who) -> Self {
        Runner {
            id: who.id,
            name: who.name,
            spawned_at: who.place,
        }
    }
}

impl fmt::Display for Runner {
    /// Id, name and place, as in `#7 'parser', spawned at src/main.rs:12:5`; `the root`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.id == 0 {
            return f.write_str("the root");
        }
        write!(f, "#{}", self.id)?;
        if let Some(name) = &self.name {
            write!(f, " '{name}'")?;
        }
        match self.spawned_at {
            Some(place) => write!(f, ", spawned at {place}"),
            None => Ok(()),
        }
    }
}

/// What a hub has done, and has to do: see [`statistics`].
///
/// # Examples
///
/// ```
/// let g = greenlet::spawn(greenlet::yield_now);
/// let numbers = greenlet::statistics().unwrap();
/// assert_eq!((numbers.greenlets, numbers.ready), (1, 1));
/// # g.join().unwrap();
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct HubStatistics {
    /// How many greenlets are alive.
    pub greenlets: usize,
    /// How many are ready and wait for their turn, the root among them.
    pub ready: usize,
    /// How many timers are armed: sleeps, limits, delayed starts.
    pub timers: usize,
    /// How often the hub has resumed somebody, so far.
    pub switches: u64,
    /// How many turns it has made: how often it looked at timers and at other threads.
    pub turns: u64,
    /// How many wakes have come from other threads.
    pub wakes_from_outside: u64,
    /// The longest time that one ran without giving way, of those that were measured; see
    /// [`time_slices`].
    pub longest_slice: Option<TimeSlice>,
    /// How many stacks it has: of greenlets that have begun, of generators, and idle ones.
    pub stacks: usize,
    /// How many of them nobody runs on: they are kept for those to come. What has not been
    /// needed for a second, or two, is given back when the hub has nothing to do, but for 64 of
    /// each size.
    pub idle_stacks: usize,
    /// The sizes of all of them, in bytes of address space.
    pub stack_bytes: usize,
}

impl std::panic::UnwindSafe for HubStatistics {}
impl std::panic::RefUnwindSafe for HubStatistics {}

impl From<Numbers> for HubStatistics {
    fn from(numbers: Numbers) -> Self {
        HubStatistics {
            greenlets: numbers.live,
            ready: numbers.ready,
            timers: numbers.timers,
            switches: numbers.switches,
            turns: numbers.turns,
            wakes_from_outside: numbers.wakes_from_outside,
            longest_slice: numbers.longest.map(|slice| TimeSlice {
                runner: slice.who.into(),
                length: slice.length,
            }),
            stacks: numbers.stacks,
            idle_stacks: numbers.idle_stacks,
            stack_bytes: numbers.stack_bytes,
        }
    }
}

/// How long one ran without giving way: see [`time_slices`].
///
/// # Examples
///
/// See [`time_slices`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TimeSlice {
    /// Who it was.
    pub runner: Runner,
    /// For how long, by the real clock.
    pub length: Duration,
}

impl std::panic::UnwindSafe for TimeSlice {}
impl std::panic::RefUnwindSafe for TimeSlice {}

/// The numbers of this thread's hub; `None` if it has none. Does not wait. Takes as long as the
/// queue of the ready is.
///
/// [`HubHandle::statistics`](crate::HubHandle::statistics) asks another thread's.
///
/// # Examples
///
/// ```
/// greenlet::run(|| {
///     let before = greenlet::statistics().unwrap();
///     greenlet::spawn(|| ()).join().unwrap();
///     let after = greenlet::statistics().unwrap();
///     assert_eq!(after.switches - before.switches, 2); // there and back
/// });
/// assert_eq!(greenlet::statistics(), None);
/// ```
pub fn statistics() -> Option<HubStatistics> {
    Hub::get().map(|hub| hub.numbers().into())
}

/// Has all hubs of the process measure how long each slice lasts, or not. Off at the start.
///
/// A slice is the time from a resume to the next wait that suspends. Each costs a reading of the
/// clock, which is more than the switch itself. A hub begins and ceases at its next turn,
/// or the next wait of its root.
///
/// # Examples
///
/// ```
/// greenlet::time_slices(true);
/// let longest = greenlet::run(|| {
///     greenlet::spawn(|| { std::thread::sleep(std::time::Duration::from_millis(5)); }).join().unwrap();
///     greenlet::statistics().unwrap().longest_slice.unwrap()
/// });
/// greenlet::time_slices(false);
/// assert!(longest.length >= std::time::Duration::from_millis(5));
/// ```
pub fn time_slices(on: bool) {
    watch::set_measured(TIMED, on);
}

/// How much of their stacks greenlets have used that one call has spawned: see [`stack_use`].
///
/// # Examples
///
/// See [`stack_use`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StackUse {
    /// The call that spawned them.
    pub spawned_at: &'static Location<'static>,
    /// The size of their stacks in bytes. Who spawns with several sizes has an entry for each.
    pub stack_size: usize,
    /// How many have ended while it was measured.
    pub greenlets: u64,
    /// How many bytes the deepest of them has used, by whole pages. 16 KiB at least: less is not
    /// told apart.
    pub deepest: usize,
}

impl std::panic::UnwindSafe for StackUse {}
impl std::panic::RefUnwindSafe for StackUse {}

impl From<Use> for StackUse {
    fn from(of: Use) -> Self {
        StackUse {
            spawned_at: of.place,
            stack_size: of.size,
            greenlets: of.ended,
            deepest: of.most,
        }
    }
}

impl fmt::Display for StackUse {
    /// As in `src/main.rs:12:5: 20 KiB of 256 KiB, 7 greenlets`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: {} KiB of {} KiB, {} greenlets",
            self.spawned_at,
            self.deepest.div_ceil(1024),
            self.stack_size / 1024,
            self.greenlets
        )
    }
}

/// Has all hubs of the process measure how much of their stacks greenlets use, or not. Off at the
/// start; when it is switched on, [`stack_use`] begins anew.
///
/// It costs each greenlet two system calls, and a page fault for each page of its stack that it
/// uses beyond the first four: some microseconds, so this is for trials and tests. Greenlets that
/// are started while it is on are measured. A hub begins and ceases at its next turn, or
/// the next wait of its root. The stacks of generators are not measured. Only Linux can tell; elsewhere
/// nothing is measured, nor where memory is locked.
///
/// # Examples
///
/// See [`stack_use`].
pub fn measure_stacks(on: bool) {
    let was_on = watch::set_measured(MEASURED, on);
    if on && !was_on {
        watch::forget_uses();
    }
}

/// What [`measure_stacks`] has measured: for each call that has spawned greenlets, how much of
/// their stacks they have used, in order of place and size. Does not wait.
///
/// It tells what size to give to [`Builder::stack_size`](crate::Builder::stack_size): the deepest
/// that was seen, and room for what was not, a panic's backtrace for example, which needs 22 KiB.
///
/// # Examples
///
/// ```
/// fn work() -> u8 {
///     std::hint::black_box([1; 100 << 10])[7]
/// }
///
/// greenlet::measure_stacks(true);
/// greenlet::run(|| greenlet::spawn(work).join().unwrap());
/// greenlet::measure_stacks(false);
/// for place in greenlet::stack_use() {
///     println!("{place}"); // src/main.rs:6:18: 108 KiB of 256 KiB, 1 greenlets
///     assert!(place.deepest >= 100 << 10 && place.deepest < place.stack_size);
/// }
/// ```
pub fn stack_use() -> Vec<StackUse> {
    watch::uses().into_iter().map(StackUse::from).collect()
}

/// A [`Pool`](crate::Pool)'s numbers, by [`statistics`](crate::Pool::statistics).
///
/// # Examples
///
/// ```
/// assert_eq!(greenlet::Pool::new(3).statistics().size, 3);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PoolStatistics {
    /// How many places there are.
    pub size: usize,
    /// How many members there are.
    pub members: usize,
    /// How many places are free.
    pub free: usize,
    /// How many wait for a place.
    pub waiting: usize,
}

/// A [`ThreadPool`](crate::ThreadPool)'s numbers, by
/// [`statistics`](crate::ThreadPool::statistics).
///
/// # Examples
///
/// ```
/// assert_eq!(greenlet::ThreadPool::new(3).statistics().busy, 0);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ThreadPoolStatistics {
    /// How many threads there are, busy or idle.
    pub threads: usize,
    /// How many of them have a job.
    pub busy: usize,
    /// How many jobs have not begun.
    pub queued: usize,
    /// How many threads there may be.
    pub max_threads: usize,
}

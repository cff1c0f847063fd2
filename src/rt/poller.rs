//! mio behind the hub's idle step: the only file that names it.
//!
//! A hub has a poller from the first wait for a descriptor on. Whoever waits for a
//! descriptor is registered here as a [`Sink`] with the poller of its own hub, edge
//! triggered and for both directions, once: no system call is spent on a wait. A
//! descriptor that is waited for on several hubs is registered with each of their
//! pollers, so that no hub depends on another one's loop.
//!
//! # Tokens
//!
//! A token is an index into the table of sinks. It is used again after a
//! [`remove`](Driver::remove); an event that was under way to the sink before reaches
//! the next one, which takes it for what each event is: a hint to try again.

use super::coroutine::prefetch;
use super::inbox::Bell;
use super::sync::{Mutex, lock};
use mio::event::Event;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Registry, Token, Waker};
use std::io;
use std::os::fd::RawFd;
// std's count, in models too: nothing is decided by it.
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Events taken from the system at once. What they touch is still near in the caches when
/// the greenlets that they wake run: with 1,024, and 2,000 busy connections, a request took
/// some 0.2 us more.
const EVENTS: usize = 64;

/// The token of the bell.
const BELL: Token = Token(usize::MAX);

/// What has changed about a descriptor.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Change {
    pub(crate) readable: bool,
    pub(crate) writable: bool,
    /// The peer will send no more, or there is an error; or there is urgent data, of which a
    /// read stops short too.
    pub(crate) read_closed: bool,
    /// Nothing more can be sent, or there is an error.
    pub(crate) write_closed: bool,
}

impl From<&Event> for Change {
    fn from(event: &Event) -> Self {
        let error = event.is_error();
        Change {
            readable: event.is_readable() || event.is_priority() || error,
            writable: event.is_writable() || error,
            read_closed: event.is_read_closed() || event.is_priority() || error,
            write_closed: event.is_write_closed() || error,
        }
    }
}

/// Who is told of changes. Called under the table's lock: must not come back.
pub(crate) trait Sink: Send + Sync {
    fn changed(&self, change: Change);
}

/// The poller of one hub.
pub(crate) struct Poller {
    poll: Poll,
    events: Events,
    driver: Arc<Driver>,
}

/// The part of a poller that other threads may use.
pub(crate) struct Driver(Mutex<Option<Table>>);

struct Table {
    registry: Registry,
    sinks: Vec<Option<Arc<dyn Sink>>>,
    free: Vec<usize>,
}

impl Poller {
    /// # Errors
    ///
    /// The process has no descriptor left.
    pub(crate) fn new() -> io::Result<(Self, Bell)> {
        let poll = Poll::new()?;
        let bell = Waker::new(poll.registry(), BELL)?;
        let table = Table {
            registry: poll.registry().try_clone()?,
            sinks: Vec::new(),
            free: Vec::new(),
        };
        let poller = Poller {
            poll,
            events: Events::with_capacity(EVENTS),
            driver: Arc::new(Driver(Mutex::new(Some(table)))),
        };
        // It fails only if the poller is gone, and then nobody sleeps in it.
        Ok((poller, Box::new(move || drop(bell.wake()))))
    }

    pub(crate) fn driver(&self) -> &Arc<Driver> {
        &self.driver
    }

    /// Waits for changes until `until`, `None` for ever, and tells the sinks. Rounds up
    /// to milliseconds; may return early.
    pub(crate) fn poll(&mut self, until: Option<Instant>) {
        let left = until.map(|t| t.saturating_duration_since(Instant::now()));
        self.poll_for(left);
    }

    /// Tells the sinks of changes that there are now.
    pub(crate) fn poll_now(&mut self) {
        self.poll_for(Some(Duration::ZERO));
    }

    /// Whether the last poll took all that it can, so that there may be more.
    pub(crate) fn may_have_left_some(&self) -> bool {
        self.events.iter().count() == EVENTS
    }

    fn poll_for(&mut self, limit: Option<Duration>) {
        match self.poll.poll(&mut self.events, limit) {
            Ok(()) => {}
            // A signal; whoever waits is looked at again.
            Err(e) if e.kind() == io::ErrorKind::Interrupted => return,
            Err(e) => panic!("the poller of a hub failed: {e}"),
        }
        if self.events.is_empty() {
            return;
        }
        let table = lock(&self.driver.0);
        let Some(table) = &*table else { return };
        let sink = |event: &Event| table.sinks.get(event.token().0)?.as_ref();
        // They are far away if there are many: all are fetched at once, not one by one.
        for sink in self.events.iter().filter_map(sink) {
            prefetch(Arc::as_ptr(sink).addr(), 4);
        }
        for event in &self.events {
            if let Some(sink) = sink(event) {
                sink.changed(Change::from(event));
            }
        }
    }

    /// The hub ends: nobody is registered any more. A greenlet that a change has woken, and
    /// that ends with its thread before it runs, makes no use of it: so each sink hears of one
    /// more, for somebody else.
    pub(crate) fn close(self) {
        // All under the lock: what `remove` does not find here is gone.
        let mut table = lock(&self.driver.0);
        for sink in table.take().into_iter().flat_map(|t| t.sinks).flatten() {
            sink.changed(Change {
                readable: true,
                writable: true,
                ..Change::default()
            });
        }
    }
}

impl Driver {
    /// Registers a descriptor for changes in both directions; what is ready now counts
    /// as a change.
    ///
    /// # Errors
    ///
    /// The system refuses, or the hub has ended.
    pub(crate) fn add(&self, fd: RawFd, sink: Arc<dyn Sink>) -> io::Result<usize> {
        let mut table = lock(&self.0);
        let table = table
            .as_mut()
            .ok_or_else(|| io::Error::other("the hub has ended"))?;
        let index = table.free.last().copied().unwrap_or(table.sinks.len());
        let both = Interest::READABLE | Interest::WRITABLE;
        #[cfg(any(target_os = "linux", target_os = "android"))]
        let both = both | Interest::PRIORITY;
        table
            .registry
            .register(&mut SourceFd(&fd), Token(index), both)?;
        if table.free.pop().is_some() {
            table.sinks[index] = Some(sink);
        } else {
            table.sinks.push(Some(sink));
        }
        Ok(index)
    }

    /// Takes a descriptor out again, before it is closed. After that its sink is not held here,
    /// whether the hub has ended or not.
    pub(crate) fn remove(&self, fd: RawFd, index: usize) {
        let sink = {
            let mut table = lock(&self.0);
            let Some(table) = table.as_mut() else { return };
            // A descriptor that the system does not know any more needs no removal.
            let _ = table.registry.deregister(&mut SourceFd(&fd));
            table.free.push(index);
            table.sinks[index].take()
        };
        drop(sink);
    }

    /// Whether the hub has ended.
    pub(crate) fn is_closed(&self) -> bool {
        lock(&self.0).is_none()
    }
}

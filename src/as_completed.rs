//! Several things in the order in which they become ready.

use crate::rt::wait::{HasSource, Ready, Source, Wait};
use crate::sync::Queue;
use crate::waitable::Waitable;
use std::fmt;
use std::future::Future;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

/// Iterates over things in the order in which they become ready: greenlets as they end, results
/// and events as they are set. [`next`](Iterator::next) waits for the next one.
///
/// Each comes out once for each time that it was put in. What is ready already comes first, in
/// the order given; then each in the order of its wake, also those that come while the caller
/// does something else. An event that was set and cleared again in between comes out all the
/// same.
///
/// One step takes constant time, however many there are.
///
/// # Timeouts and kills
///
/// Either ends the wait of a `next` by unwinding; the next one goes on where that was. What is
/// left when the iterator is dropped is dropped with it: handles detach.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
///
/// let jobs = [30, 10, 20].map(|ms| {
///     greenlet::spawn(move || {
///         greenlet::sleep(Duration::from_millis(ms));
///         ms
///     })
/// });
/// let ended: Vec<_> = greenlet::as_completed(jobs).map(|job| job.join().unwrap()).collect();
/// assert_eq!(ended, [10, 20, 30]);
/// ```
pub fn as_completed<I>(all: I) -> AsCompleted<I::Item>
where
    I: IntoIterator<Item: Waitable>,
{
    let ready = Arc::new(Queue::unbounded());
    let items = all.into_iter().enumerate().map(|(index, item)| {
        let waker = Waker::from(Arc::new(Note {
            index,
            ready: ready.clone(),
        }));
        let mut wait = Box::pin(Wait::new(Ready::new(Item(item))));
        match wait.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(item) => {
                waker.wake();
                Place::Ready(item)
            }
            Poll::Pending => Place::Waiting(wait),
        }
    });
    let items: Vec<_> = items.collect();
    let left = items.len();
    AsCompleted { items, ready, left }
}

/// What [`as_completed`] returns.
///
/// # Examples
///
/// ```
/// use greenlet::sync::Event;
///
/// let events = [Event::new(), Event::new()];
/// events[1].set();
/// let mut ready = greenlet::as_completed(&events);
/// assert!(std::ptr::eq(ready.next().unwrap(), &events[1]));
/// assert_eq!(ready.len(), 1);
/// ```
#[must_use = "an iterator does nothing until it is asked"]
pub struct AsCompleted<W: Waitable> {
    items: Vec<Place<W>>,
    /// The indices of those that are ready.
    ready: Arc<Queue<usize>>,
    left: usize,
}

enum Place<W: Waitable> {
    Waiting(Pin<Box<Wait<Ready<Item<W>>>>>),
    Ready(W),
    Out,
}

/// An item as a source.
struct Item<W>(W);

impl<W: Waitable> HasSource for Item<W> {
    type Output = W;

    fn source(&self) -> &dyn Source {
        self.0.source().0
    }

    fn end(self) -> W {
        self.0
    }
}

/// Notes that the item of that index is ready.
struct Note {
    index: usize,
    ready: Arc<Queue<usize>>,
}

impl Wake for Note {
    fn wake(self: Arc<Self>) {
        let noted = self.ready.put_nowait(self.index);
        debug_assert!(noted.is_ok(), "an unbounded queue that nobody shuts down");
    }
}

impl<W: Waitable> UnwindSafe for AsCompleted<W> {}
impl<W: Waitable> RefUnwindSafe for AsCompleted<W> {}

impl<W: Waitable> Iterator for AsCompleted<W> {
    type Item = W;

    #[track_caller]
    fn next(&mut self) -> Option<W> {
        if self.left == 0 {
            return None;
        }
        // While panicking it says no, and so does this.
        let index = self.ready.get().ok()?;
        self.left -= 1;
        match std::mem::replace(&mut self.items[index], Place::Out) {
            Place::Ready(item) => Some(item),
            Place::Waiting(mut wait) => {
                match wait.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                    Poll::Ready(item) => Some(item),
                    Poll::Pending => unreachable!("it was woken"),
                }
            }
            Place::Out => unreachable!("each is noted once"),
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl<W: Waitable> ExactSizeIterator for AsCompleted<W> {}

impl<W: Waitable> fmt::Debug for AsCompleted<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AsCompleted")
            .field("left", &self.left)
            .field("ready", &self.ready.len())
            .finish()
    }
}

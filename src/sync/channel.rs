//! A queue with two kinds of handles: made of a [`Queue`] and reference counts.

use super::errors::{GetError, PutError};
use super::queue::{Iter, Queue, Slot, TryIter};
use crate::rt::task::Site;
use crate::rt::wait::Intent;
use crate::select::Arm;
use std::fmt;
use std::sync::{Arc, Weak};
use std::time::Duration;

/// What all senders share; the last one shuts the queue down.
struct Senders<T>(Arc<Queue<T>>);

impl<T> Drop for Senders<T> {
    fn drop(&mut self) {
        self.0.shutdown();
    }
}

/// What all receivers share; the last one drops what nobody will get.
struct Receivers<T>(Arc<Queue<T>>);

impl<T> Drop for Receivers<T> {
    fn drop(&mut self) {
        // What comes back is dropped here, without the lock.
        drop(self.0.abandon());
    }
}

/// The side of a [channel](Queue::channel) that puts. Its clones are senders of the same
/// channel.
///
/// It has the methods of [`Queue`] that put, with the same names, rules and errors. When the
/// last sender is dropped, the receivers get what is left, and then hear of the end: the queue
/// is [shut down](Queue::shutdown). When the last [`Receiver`] is dropped, each put fails with
/// [`PutError::ShutDown`] and gives its item back, also one that waits.
///
/// # Examples
///
/// ```
/// use greenlet::sync::Queue;
///
/// let (sender, receiver) = Queue::bounded(2).channel();
/// greenlet::scope(|s| {
///     for worker in 0..3 {
///         let sender = sender.clone();
///         s.spawn(move || (0..4).for_each(|i| sender.put(10 * worker + i).unwrap()));
///     }
///     drop(sender); // the workers have the others
///     assert_eq!(receiver.iter().count(), 12);
/// });
/// ```
pub struct Sender<T> {
    queue: Arc<Queue<T>>,
    all: Arc<Senders<T>>,
}

/// The side of a [channel](Queue::channel) that gets. Its clones are receivers of the same
/// channel: each item goes to one of them.
///
/// It has the methods of [`Queue`] that get, with the same names, rules and errors. When the
/// last [`Sender`] is dropped, what is left can still be got; then a get fails with
/// [`GetError::ShutDown`], and iteration ends. When the last receiver is dropped, what is left
/// is dropped with it, and counts as [done](Queue::task_done).
///
/// # Examples
///
/// ```
/// use greenlet::sync::Queue;
///
/// let (sender, receiver) = Queue::unbounded().channel();
/// let other = receiver.clone();
/// sender.put_many(0..10).unwrap();
/// drop(sender);
/// let counts = [receiver, other].map(|r| greenlet::spawn(move || r.into_iter().count()));
/// let counts = counts.map(|counting| counting.join().unwrap());
/// assert_eq!(counts.iter().sum::<usize>(), 10);
/// ```
pub struct Receiver<T> {
    queue: Arc<Queue<T>>,
    all: Arc<Receivers<T>>,
}

/// A [`Sender`] that does not keep its channel open.
///
/// # Examples
///
/// ```
/// use greenlet::sync::Queue;
///
/// let (sender, receiver) = Queue::unbounded().channel();
/// let weak = sender.downgrade();
/// weak.upgrade().expect("there is a sender").put(1).unwrap();
/// drop(sender);
/// assert!(weak.upgrade().is_none());
/// assert_eq!(receiver.into_iter().collect::<Vec<_>>(), [1]);
/// ```
#[must_use = "it does nothing by itself"]
pub struct WeakSender<T>(Weak<Senders<T>>);

/// The items of a channel until its end: each `next` waits. It has the [`Receiver`].
///
/// # Examples
///
/// ```
/// let (sender, receiver) = greenlet::sync::Queue::unbounded().channel();
/// sender.put(1).unwrap();
/// drop(sender);
/// assert_eq!(receiver.into_iter().collect::<Vec<_>>(), [1]);
/// ```
#[must_use = "iterators do nothing unless consumed"]
pub struct IntoIter<T> {
    receiver: Receiver<T>,
    site: Site,
}

impl<T> Queue<T> {
    /// Makes a channel of this queue: a [`Sender`] and a [`Receiver`], which can be cloned and
    /// dropped. The end of all on one side is the end for the other; nobody needs to call
    /// [`shutdown`](Queue::shutdown).
    ///
    /// How much it stores is as for the queue: a channel can be unbounded, bounded or a
    /// rendezvous. Items that are in it already stay.
    ///
    /// # Examples
    ///
    /// ```
    /// use greenlet::sync::{GetError, PutError, Queue};
    ///
    /// let (sender, receiver) = Queue::bounded(8).channel();
    /// sender.put(1).unwrap();
    /// drop(sender);
    /// assert_eq!((receiver.get(), receiver.get()), (Ok(1), Err(GetError::ShutDown)));
    ///
    /// let (sender, receiver) = Queue::rendezvous().channel();
    /// drop(receiver);
    /// assert_eq!(sender.put("back"), Err(PutError::ShutDown("back")));
    /// ```
    pub fn channel(self) -> (Sender<T>, Receiver<T>) {
        let queue = Arc::new(self);
        let sender = Sender {
            all: Arc::new(Senders(queue.clone())),
            queue: queue.clone(),
        };
        let receiver = Receiver {
            all: Arc::new(Receivers(queue.clone())),
            queue,
        };
        (sender, receiver)
    }
}

/// Writes methods that are those of the queue, with an example each.
macro_rules! delegate {
    ($($(#[$attr:meta])* fn $method:ident($($arg:ident: $ty:ty),*) $(-> $out:ty)?
        $(where [$($bound:tt)+])? => $example:literal;)+) => {
        $(
            #[doc = concat!("As [`Queue::", stringify!($method), "`].")]
            ///
            /// # Examples
            ///
            /// ```
            /// use greenlet::sync::Queue;
            ///
            /// let (sender, receiver) = Queue::bounded(2).channel();
            #[doc = $example]
            /// # let _: (&greenlet::sync::Sender<i32>, &greenlet::sync::Receiver<i32>) = (&sender, &receiver);
            /// ```
            $(#[$attr])*
            #[inline(always)]
            #[track_caller]
            pub fn $method(&self, $($arg: $ty),*) $(-> $out)? $(where $($bound)+)? {
                self.queue.$method($($arg),*)
            }
        )+
    };
}

/// What both sides can ask and do.
macro_rules! both {
    ($Side:ident, $name:literal) => {
        impl<T> Clone for $Side<T> {
            fn clone(&self) -> Self {
                $Side {
                    queue: self.queue.clone(),
                    all: self.all.clone(),
                }
            }
        }

        impl<T> fmt::Debug for $Side<T> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_tuple($name).field(&self.queue).finish()
            }
        }

        impl<T> $Side<T> {
            delegate! {
                fn len() -> usize => "assert_eq!((sender.len(), receiver.len()), (0, 0));";
                fn is_empty() -> bool => "assert!(sender.is_empty() && receiver.is_empty());";
                fn is_full() -> bool => "assert!(!sender.is_full() && !receiver.is_full());";
                fn capacity() -> Option<usize> => "assert_eq!(sender.capacity(), receiver.capacity());";
                fn unfinished() -> usize => "sender.put(1).unwrap();\nassert_eq!((sender.unfinished(), receiver.unfinished()), (1, 1));";
                fn is_shut_down() -> bool => "receiver.shutdown();\nassert!(sender.is_shut_down() && receiver.is_shut_down());";
                fn shutdown() => "sender.put(1).unwrap();\nreceiver.shutdown();\nassert!(sender.put(2).is_err());\nassert_eq!(receiver.get(), Ok(1));";
                fn join() => "sender.put(1).unwrap();\nreceiver.get().unwrap();\nreceiver.task_done();\nsender.join();";
                #[must_use = "whether all was done in time"]
                fn join_timeout(limit: Duration) -> bool => "sender.put(1).unwrap();\nassert!(!sender.join_timeout(std::time::Duration::from_millis(1)));";
            }
        }
    };
}

both!(Sender, "Sender");
both!(Receiver, "Receiver");

impl<T> Sender<T> {
    delegate! {
        fn put(item: T) -> Result<(), PutError<T>> => "sender.put(1).unwrap();";
        fn put_async(item: T) -> impl Future<Output = Result<(), PutError<T>>> => "greenlet::block_on(sender.put_async(1)).unwrap();";
        fn put_timeout(item: T, limit: Duration) -> Result<(), PutError<T>> => "sender.put_timeout(1, std::time::Duration::from_secs(1)).unwrap();";
        fn put_nowait(item: T) -> Result<(), PutError<T>> => "sender.put_nowait(1).unwrap();";
        fn put_many(items: impl IntoIterator<Item = T>) -> Result<(), PutError<Vec<T>>> => "sender.put_many([1, 2]).unwrap();";
        fn put_many_timeout(items: impl IntoIterator<Item = T>, limit: Duration) -> Result<(), PutError<Vec<T>>> => "sender.put_many_timeout([1, 2], std::time::Duration::from_secs(1)).unwrap();";
        fn put_many_nowait(items: impl IntoIterator<Item = T>) -> Result<(), PutError<Vec<T>>> => "sender.put_many_nowait([1, 2]).unwrap();";
        #[must_use = "the item that was displaced"]
        fn force_put(item: T) -> Result<Option<T>, PutError<T>> => "sender.put_many([1, 2]).unwrap();\nassert_eq!(sender.force_put(3), Ok(Some(1)));";
        fn reserve() -> Result<Slot<'_, Queue<T>>, PutError<()>> => "sender.reserve().unwrap().put(1);";
        fn reserve_timeout(limit: Duration) -> Result<Slot<'_, Queue<T>>, PutError<()>> => "sender.reserve_timeout(std::time::Duration::from_secs(1)).unwrap().put(1);";
        fn try_reserve() -> Result<Slot<'_, Queue<T>>, PutError<()>> => "sender.try_reserve().unwrap().put(1);";
    }

    /// A handle that does not keep the channel open.
    ///
    /// # Examples
    ///
    /// See [`WeakSender`].
    pub fn downgrade(&self) -> WeakSender<T> {
        WeakSender(Arc::downgrade(&self.all))
    }

    /// For [`select!`](crate::select!).
    #[doc(hidden)]
    #[inline(always)]
    #[track_caller]
    pub fn select_put<'a>(
        &'a self,
        item: &'a mut Option<T>,
    ) -> Arm<impl Intent<Output = Result<(), PutError<T>>> + 'a> {
        self.queue.select_put(item)
    }
}

impl<T> Receiver<T> {
    delegate! {
        fn get() -> Result<T, GetError> => "sender.put(1).unwrap();\nassert_eq!(receiver.get(), Ok(1));";
        fn get_async() -> impl Future<Output = Result<T, GetError>> => "sender.put(1).unwrap();\nassert_eq!(greenlet::block_on(receiver.get_async()), Ok(1));";
        fn get_timeout(limit: Duration) -> Result<T, GetError> => "assert!(receiver.get_timeout(std::time::Duration::from_millis(1)).is_err());";
        fn get_nowait() -> Result<T, GetError> => "assert!(receiver.get_nowait().is_err());";
        fn peek_nowait() -> Result<T, GetError> where [T: Clone] => "sender.put(1).unwrap();\nassert_eq!(receiver.peek_nowait(), Ok(1));";
        fn get_many(max: usize) -> Result<Vec<T>, GetError> => "sender.put_many([1, 2]).unwrap();\nassert_eq!(receiver.get_many(9), Ok(vec![1, 2]));";
        fn get_many_timeout(max: usize, limit: Duration) -> Result<Vec<T>, GetError> => "assert!(receiver.get_many_timeout(9, std::time::Duration::from_millis(1)).is_err());";
        fn get_many_nowait(max: usize) -> Result<Vec<T>, GetError> => "assert!(receiver.get_many_nowait(9).is_err());";
        #[must_use = "the items, which nobody else will get"]
        fn drain() -> Vec<T> => "sender.put_many([1, 2]).unwrap();\nassert_eq!(receiver.drain(), [1, 2]);";
        fn task_done() => "sender.put(1).unwrap();\nreceiver.get().unwrap();\nreceiver.task_done();\nassert_eq!(receiver.unfinished(), 0);";
        #[must_use = "the items that nobody has got"]
        fn shutdown_now() -> Vec<T> => "sender.put(1).unwrap();\nassert_eq!(receiver.shutdown_now(), [1]);";
        fn iter() -> Iter<'_, Queue<T>> => "sender.put(1).unwrap();\ndrop(sender.clone());\nassert_eq!(receiver.iter().next(), Some(1));";
        fn try_iter() -> TryIter<'_, Queue<T>> => "sender.put(1).unwrap();\nassert_eq!(receiver.try_iter().collect::<Vec<_>>(), [1]);";
    }

    /// For [`select!`](crate::select!).
    #[doc(hidden)]
    #[inline(always)]
    pub fn select_get(&self) -> Arm<impl Intent<Output = Result<T, GetError>>> {
        self.queue.select_get()
    }
}

impl<T> WeakSender<T> {
    /// A sender, if there is still one.
    ///
    /// # Examples
    ///
    /// See [`WeakSender`].
    pub fn upgrade(&self) -> Option<Sender<T>> {
        let all = self.0.upgrade()?;
        let queue = all.0.clone();
        Some(Sender { queue, all })
    }
}

impl<T> Clone for WeakSender<T> {
    fn clone(&self) -> Self {
        WeakSender(self.0.clone())
    }
}

impl<T> fmt::Debug for WeakSender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("WeakSender").finish_non_exhaustive()
    }
}

impl<'a, T> IntoIterator for &'a Receiver<T> {
    type Item = T;
    type IntoIter = Iter<'a, Queue<T>>;

    #[track_caller]
    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl<T> IntoIterator for Receiver<T> {
    type Item = T;
    type IntoIter = IntoIter<T>;

    #[track_caller]
    fn into_iter(self) -> IntoIter<T> {
        let site = Site::here("Receiver::into_iter");
        let receiver = self;
        IntoIter { receiver, site }
    }
}

impl<T> Iterator for IntoIter<T> {
    type Item = T;

    #[track_caller]
    fn next(&mut self) -> Option<T> {
        self.receiver.queue.get_at(self.site).ok()
    }
}

impl<T> fmt::Debug for IntoIter<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("IntoIter").field(&self.receiver).finish()
    }
}

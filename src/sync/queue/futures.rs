//! The waits of queues as futures.

use super::many::with_rest;
use super::{GetError, LifoQueue, PriorityQueue, PutError, Queue, Slot};
use crate::rt::wait::Wait;
use std::future::Future;

macro_rules! queue {
    ($name:literal $Name:ident<T $(: $bound:ident)?>) => {
        impl<T $(: $bound)?> $Name<T> {
            /// [`get`](Self::get) as a future. One that is dropped takes no item.
            ///
            /// # Errors
            ///
            /// As for [`get`](Self::get).
            ///
            /// # Examples
            ///
            /// ```
            #[doc = concat!("let q = ", here!(), "::", $name, "::unbounded();")]
            /// q.put(1).unwrap();
            /// assert_eq!(greenlet::block_on(q.get_async()), Ok(1));
            /// ```
            pub fn get_async(&self) -> impl Future<Output = Result<T, GetError>> {
                Wait::new(self.get_arm())
            }

            /// [`put`](Self::put) as a future. If it is dropped before it is done, so is the
            /// item.
            ///
            /// # Errors
            ///
            /// As for [`put`](Self::put).
            ///
            /// # Examples
            ///
            /// ```
            #[doc = concat!("let q = ", here!(), "::", $name, "::bounded(1);")]
            /// greenlet::block_on(q.put_async(1)).unwrap();
            /// assert_eq!(q.get(), Ok(1));
            /// ```
            pub fn put_async(&self, item: T) -> impl Future<Output = Result<(), PutError<T>>> {
                Wait::new(self.put_arm(item))
            }

            /// [`get_many`](Self::get_many) as a future. One that is dropped takes no item. With a
            /// `max` of zero it is ready at once.
            ///
            /// # Errors
            ///
            /// As for [`get_many`](Self::get_many).
            ///
            /// # Examples
            ///
            /// ```
            #[doc = concat!("let q = ", here!(), "::", $name, "::unbounded();")]
            /// q.put_many([7, 7, 7]).unwrap();
            /// assert_eq!(greenlet::block_on(q.get_many_async(2)), Ok(vec![7, 7]));
            /// ```
            pub async fn get_many_async(&self, max: usize) -> Result<Vec<T>, GetError> {
                match self.get_many_nowait(max) {
                    Err(GetError::Empty) if max > 0 => {}
                    ready => return ready,
                }
                // Nothing is awaited after it: what it was given goes out or back.
                Ok(self.with_more(self.get_async().await?, max))
            }

            /// [`put_many`](Self::put_many) as a future; the iterator is run to its end at once,
            /// not at the first poll. If it is dropped before it is done, so are the items that
            /// were not put; the others stay put.
            ///
            /// # Errors
            ///
            /// As for [`put_many`](Self::put_many).
            ///
            /// # Examples
            ///
            /// ```
            #[doc = concat!("let q = ", here!(), "::", $name, "::bounded(2);")]
            /// greenlet::block_on(q.put_many_async([7, 7])).unwrap();
            /// assert_eq!(q.drain(), [7, 7]);
            /// ```
            pub fn put_many_async<I: IntoIterator<Item = T>>(
                &self,
                items: I,
            ) -> impl Future<Output = Result<(), PutError<Vec<T>>>> + use<'_, T, I> {
                let mut rest = items.into_iter().collect::<Vec<T>>().into_iter();
                async move {
                    // As many as there is room for, then one that waits for more.
                    while let Some(next) = self.put_some(&mut rest)? {
                        let put = self.put_async(next).await;
                        put.map_err(|error| with_rest(error, &mut rest))?;
                    }
                    Ok(())
                }
            }

            /// [`reserve`](Self::reserve) as a future. One that is dropped holds no place.
            ///
            /// # Errors
            ///
            /// As for [`reserve`](Self::reserve).
            ///
            /// # Panics
            ///
            /// On a [rendezvous](Queue::rendezvous), at once.
            ///
            /// # Examples
            ///
            /// ```
            #[doc = concat!("let q = ", here!(), "::", $name, "::bounded(1);")]
            /// let slot = greenlet::block_on(q.reserve_async()).unwrap();
            /// assert!(q.is_full());
            /// slot.put(7);
            /// assert_eq!(q.get(), Ok(7));
            /// ```
            #[track_caller]
            pub fn reserve_async(
                &self,
            ) -> impl Future<Output = Result<Slot<'_, Self>, PutError<()>>> {
                let arm = self.reserve_arm();
                async move { Wait::new(arm).await.map(|()| self.slot()) }
            }

            /// [`join`](Self::join) as a future.
            ///
            /// # Examples
            ///
            /// ```
            #[doc = concat!("let q = ", here!(), "::", $name, "::<u8>::unbounded();")]
            /// greenlet::block_on(q.join_async()); // no task is unfinished
            /// ```
            pub fn join_async(&self) -> impl Future<Output = ()> {
                Wait::new(self.join_arm())
            }
        }
    };
}
queue!("Queue" Queue<T>);
queue!("LifoQueue" LifoQueue<T>);
queue!("PriorityQueue" PriorityQueue<T: Ord>);

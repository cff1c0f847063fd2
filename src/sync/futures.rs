//! The waits of events, results and semaphores as futures.

use super::async_result::AsyncResult;
use super::event::Event;
use super::semaphore::{BoundedSemaphore, OwnedPermit, Permit, Semaphore};
use crate::rt::wait::{Wait, ready};
use std::future::Future;

impl Event {
    /// [`wait`](Event::wait) as a future. It ends with a [`set`](Event::set) that wakes it, even
    /// if the event is clear again before it is polled.
    ///
    /// # Examples
    ///
    /// ```
    #[doc = concat!("let e = ", here!(), "::Event::new();")]
    /// e.set();
    /// greenlet::block_on(e.wait_async());
    /// ```
    pub fn wait_async(&self) -> impl Future<Output = ()> {
        ready(self.source())
    }
}

impl<T, E> AsyncResult<T, E> {
    /// [`wait`](AsyncResult::wait) as a future.
    ///
    /// # Errors
    ///
    /// The error that was set.
    ///
    /// # Examples
    ///
    /// ```
    #[doc = concat!("let r = ", here!(), "::AsyncResult::<u8, &str>::default();")]
    /// r.set(1).unwrap();
    /// assert_eq!(greenlet::block_on(r.wait_async()), Ok(&1));
    /// ```
    pub async fn wait_async(&self) -> Result<&T, &E> {
        ready(self.source()).await;
        self.set_by_now()
    }

    /// [`get`](AsyncResult::get) as a future.
    ///
    /// # Errors
    ///
    /// The error that was set.
    ///
    /// # Examples
    ///
    /// ```
    #[doc = concat!("let r = ", here!(), "::AsyncResult::<u8, &str>::default();")]
    /// r.set_error("no").unwrap();
    /// assert_eq!(greenlet::block_on(r.get_async()), Err("no"));
    /// ```
    pub async fn get_async(&self) -> Result<T, E>
    where
        T: Clone,
        E: Clone,
    {
        ready(self.source()).await;
        self.set_by_now().cloned().map_err(E::clone)
    }
}

macro_rules! semaphore {
    ($name:literal $Name:ident) => {
        impl $Name {
            /// [`acquire`](Self::acquire) as a future.
            ///
            /// # Examples
            ///
            /// ```
            #[doc = concat!("let s = ", here!(), "::", $name, "::new(1);")]
            /// greenlet::block_on(async {
            ///     let _permit = s.acquire_async().await;
            ///     assert!(s.is_locked());
            /// });
            /// ```
            pub fn acquire_async(&self) -> impl Future<Output = Permit<'_>> {
                self.acquire_many_async(1)
            }

            /// [`acquire_many`](Self::acquire_many) as a future.
            ///
            /// # Panics
            ///
            /// As [`acquire_many`](Self::acquire_many), at once.
            ///
            /// # Examples
            ///
            /// ```
            #[doc = concat!("let s = ", here!(), "::", $name, "::new(2);")]
            /// let both = greenlet::block_on(s.acquire_many_async(2));
            /// assert_eq!(s.available(), 0);
            /// # drop(both);
            /// ```
            #[track_caller]
            pub fn acquire_many_async(&self, n: usize) -> impl Future<Output = Permit<'_>> {
                Wait::new(self.acquire_arm(n))
            }

            /// [`acquire_owned`](Self::acquire_owned) as a future that shares the semaphore.
            ///
            /// # Examples
            ///
            /// ```
            #[doc = concat!("let s = ", shared!(), "::new(", here!(), "::", $name, "::new(1));")]
            /// let permit = greenlet::block_on(s.acquire_owned_async());
            /// assert!(s.is_locked());
            /// # drop(permit);
            /// ```
            pub fn acquire_owned_async(
                self: &shared!(Self),
            ) -> impl Future<Output = OwnedPermit> + use<> {
                let this = self.clone();
                async move {
                    this.acquire_async().await.forget();
                    this.owned()
                }
            }
        }
    };
}
semaphore!("Semaphore" Semaphore);
semaphore!("BoundedSemaphore" BoundedSemaphore);

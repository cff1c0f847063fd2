//! The waits of groups and pools as futures. They are their thread's: an executor on another one
//! cannot have what borrows them.

use crate::greenlet::Greenlet;
use crate::group::Group;
use crate::pool::Pool;
use crate::rt::wait::ready;
use std::future::Future;
use std::panic::Location;

impl Group {
    /// [`join`](Group::join) as a future. It is ready if there were no members at some time after
    /// its first poll.
    ///
    /// # Panics
    ///
    /// In a member, at once: it would wait for its own end. Where the future is awaited is not
    /// looked at.
    ///
    /// # Examples
    ///
    /// ```
    /// let group = greenlet::Group::new();
    /// let members = [1, 2].map(|i| group.spawn(move || i));
    /// greenlet::block_on(group.join_async());
    /// assert!(members.iter().all(|member| member.is_finished()));
    /// ```
    #[track_caller]
    pub fn join_async(&self) -> impl Future<Output = ()> {
        self.refuse_member("Group::join_async");
        ready(self.source())
    }
}

impl Pool {
    /// [`join`](Pool::join) as a future, as [`Group::join_async`].
    ///
    /// # Panics
    ///
    /// In a member, at once: it would wait for its own end. Where the future is awaited is not
    /// looked at.
    ///
    /// # Examples
    ///
    /// ```
    /// let pool = greenlet::Pool::new(2);
    /// let member = pool.spawn(|| ());
    /// greenlet::block_on(pool.join_async());
    /// assert!(member.is_finished());
    /// ```
    #[track_caller]
    pub fn join_async(&self) -> impl Future<Output = ()> {
        self.members().refuse_member("Pool::join_async");
        ready(self.members().source())
    }

    /// [`spawn`](Pool::spawn) as a future: it waits for a place, not for the greenlet. If it is
    /// dropped before it has one the closure is dropped, and the place goes to the next in line.
    /// The greenlet is spawned by whoever polls, which is on the pool's thread.
    ///
    /// It does not see that it waits for ever, in a member of a pool that is full of such, as
    /// [`spawn`](Pool::spawn) does: who else polls with it may free a place.
    ///
    /// # Examples
    ///
    /// ```
    /// let pool = greenlet::Pool::new(1);
    /// greenlet::block_on(async {
    ///     let first = pool.spawn_async(|| 1).await;
    ///     let second = pool.spawn_async(|| 2).await; // waits for the end of the first
    ///     assert!(first.is_finished());
    ///     assert_eq!(first.await.unwrap() + second.await.unwrap(), 3);
    /// });
    /// ```
    #[track_caller]
    pub fn spawn_async<F, T>(&self, f: F) -> impl Future<Output = Greenlet<T>> + use<'_, F, T>
    where
        F: FnOnce() -> T + 'static,
        T: 'static,
    {
        let from = Location::caller();
        async move {
            let begun = self.kills();
            let place = self.places().acquire_owned_async().await;
            self.start(begun, from, place, f)
        }
    }
}

//! The auto traits of every public type, as a table: a change breaks it loudly.

use greenlet::sync::{
    ArcMutexGuard, AsyncResult, AsyncResultStatistics, Barrier, BarrierStatistics,
    BarrierWaitResult, BoundedSemaphore, Broadcast, BroadcastError, BroadcastReader,
    BroadcastStatistics, Condvar, CondvarStatistics, Event, EventStatistics, GetError, GreenletId,
    IntoIter, Iter, Latch, LatchStatistics, Lazy, LifoQueue, MappedMutexGuard, Mutex, MutexGuard,
    MutexStatistics, Notify, NotifyStatistics, Once, OnceCell, OnceStatistics, OwnedPermit, Permit,
    PriorityQueue, PutError, Queue, QueueStatistics, RawMutex, RawRwLock, Receiver, ReentrantMutex,
    ReentrantMutexGuard, ReleaseError, RwLock, RwLockReadGuard, RwLockStatistics,
    RwLockUpgradableReadGuard, RwLockWriteGuard, Semaphore, SemaphoreStatistics, Sender, Slot,
    TryIter, WaitGroup, WaitGroupStatistics, Watch, WatchError, WatchReader, WatchStatistics,
    WeakSender,
};
use greenlet::testing::Simulation;
use greenlet::unsync;
use greenlet::{
    AsCompleted, Builder, Current, Dump, Elapsed, Generator, GeneratorState, Greenlet,
    GreenletDump, GreenletState, Group, GroupDump, HeldUp, HubAnswer, HubDump, HubHandle,
    HubStatistics, HubThread, Imap, JoinError, JoinFuture, Local, MapError, PanicPayload, Pool,
    PoolFull, PoolStatistics, Runner, Scope, ScopedGreenlet, StackUse, ThreadPool,
    ThreadPoolStatistics, TimeSlice, Timeout, TimeoutHandle, UnjoinedPanic, Unset, Watchdog,
    Yielder, fs,
};
use std::cell::Cell;
use std::fmt::Debug;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::rc::Rc;

/// Asks at compile time whether a type has a trait: the inherent constant exists
/// only if it has, and is preferred to the trait's.
macro_rules! has {
    ($ty:ty: $($bound:tt)+) => {{
        #[allow(dead_code)] // Where the type has the trait.
        trait No {
            const HAS: bool = false;
        }
        impl<T: ?Sized> No for T {}
        struct Yes<T: ?Sized>(std::marker::PhantomData<T>);
        #[allow(dead_code)]
        impl<T: ?Sized + $($bound)+> Yes<T> {
            const HAS: bool = true;
        }
        <Yes<$ty>>::HAS
    }};
}

macro_rules! table {
    ($($ty:ty: $send:literal $sync:literal;)+) => {
        $(
            let name = stringify!($ty);
            assert_eq!(has!($ty: Send), $send, "{name}: Send");
            assert_eq!(has!($ty: Sync), $sync, "{name}: Sync");
            assert!(has!($ty: UnwindSafe), "{name}: UnwindSafe");
            assert!(has!($ty: RefUnwindSafe), "{name}: RefUnwindSafe");
            assert!(has!($ty: Debug), "{name}: Debug");
        )+
    };
}

/// Send but not Sync.
type Sendable = Cell<u8>;
/// Neither.
type Local1 = Rc<u8>;

#[test]
fn the_table() {
    table! {
        //                                    Send  Sync
        Event:                                true  true;
        AsyncResult<u8>:                      true  true;
        AsyncResult<Sendable>:                true  false;
        AsyncResult<u8, Sendable>:            true  false;
        AsyncResult<Local1, u8>:              false false;
        AsyncResult<u8, Local1>:              false false;
        Queue<u8>:                            true  true;
        Queue<Sendable>:                      true  true;
        Queue<Local1>:                        false false;
        LifoQueue<Sendable>:                  true  true;
        LifoQueue<Local1>:                    false false;
        PriorityQueue<Sendable>:              true  true;
        PriorityQueue<Local1>:                false false;
        Iter<'static, Queue<u8>>:             true  true;
        Iter<'static, Queue<Local1>>:         false false;
        TryIter<'static, Queue<u8>>:          true  true;
        TryIter<'static, Queue<Local1>>:      false false;
        Slot<'static, Queue<Sendable>>:       true  true;
        Slot<'static, Queue<Local1>>:         false false;
        Slot<'static, PriorityQueue<u8>>:     true  true;
        Sender<Sendable>:                     true  true;
        Sender<Local1>:                       false false;
        Receiver<Sendable>:                   true  true;
        Receiver<Local1>:                     false false;
        WeakSender<Sendable>:                 true  true;
        WeakSender<Local1>:                   false false;
        IntoIter<Sendable>:                   true  true;
        IntoIter<Local1>:                     false false;
        Watch<u8>:                            true  true;
        Watch<Sendable>:                      true  false;
        Watch<Local1>:                        false false;
        WatchReader<'static, u8>:             true  true;
        WatchReader<'static, Sendable>:       false false;
        WatchReader<'static, Local1>:         false false;
        WatchError:                           true  true;
        // Readers clone one item at once.
        Broadcast<u8>:                        true  true;
        Broadcast<Sendable>:                  false false;
        Broadcast<Local1>:                    false false;
        BroadcastReader<'static, u8>:         true  true;
        BroadcastReader<'static, Sendable>:   false false;
        BroadcastReader<'static, Local1>:     false false;
        BroadcastError:                       true  true;
        Semaphore:                            true  true;
        BoundedSemaphore:                     true  true;
        Permit<'static>:                      true  true;
        // All for one thread.
        unsync::Event:                        false false;
        unsync::AsyncResult<u8>:              false false;
        unsync::AsyncResult<Local1, u8>:      false false;
        unsync::Queue<u8>:                    false false;
        unsync::Queue<Local1>:                false false;
        unsync::LifoQueue<u8>:                false false;
        unsync::PriorityQueue<u8>:            false false;
        unsync::Iter<'static, unsync::Queue<u8>>:    false false;
        unsync::TryIter<'static, unsync::Queue<u8>>: false false;
        unsync::Slot<'static, unsync::Queue<u8>>:    false false;
        unsync::Semaphore:                    false false;
        unsync::BoundedSemaphore:             false false;
        unsync::Permit<'static>:              false false;
        unsync::OwnedPermit:                  false false;
        Condvar:                              true  true;
        Barrier:                              true  true;
        BarrierWaitResult:                    true  true;
        Notify:                               true  true;
        Latch:                                true  true;
        WaitGroup:                            true  true;
        Once:                                 true  true;
        OnceCell<u8>:                         true  true;
        OnceCell<Sendable>:                   true  false;
        OnceCell<Local1>:                     false false;
        Lazy<u8>:                             true  true;
        Lazy<u8, Sendable>:                   true  true;
        Lazy<u8, Local1>:                     false false;
        Lazy<Sendable>:                       true  false;
        Lazy<Local1>:                         false false;
        Generator<u8, u8, u8>:                false false;
        GeneratorState<u8, u8>:               true  true;
        GeneratorState<Local1, u8>:           false false;
        Yielder<u8, u8>:                      false false;
        RawMutex:                             true  true;
        RawRwLock:                            true  true;
        GreenletId:                           true  true;
        OwnedPermit:                          true  true;
        PutError<u8>:                         true  true;
        GetError:                             true  true;
        ReleaseError:                         true  true;
        Greenlet<u8>:                         true  true;
        Greenlet<Sendable>:                   true  false;
        Greenlet<Local1>:                     false false;
        JoinFuture<u8>:                       true  false;
        JoinFuture<Sendable>:                 true  false;
        JoinFuture<Local1>:                   false false;
        ScopedGreenlet<'static, u8>:          true  true;
        ScopedGreenlet<'static, Sendable>:    true  false;
        ScopedGreenlet<'static, Local1>:      false false;
        Scope<'static, 'static>:              false false;
        Group:                                false false;
        Pool:                                 false false;
        PoolFull<u8>:                         true  true;
        Imap<u8>:                             false false;
        MapError:                             true  true;
        AsCompleted<std::sync::Arc<Event>>:   true  false;
        AsCompleted<Greenlet<Local1>>:        false false;
        Timeout:                              true  true;
        TimeoutHandle:                        false false;
        Local<u8>:                            true  true;
        Local<Local1>:                        true  true;
        HubHandle:                            true  true;
        HubThread:                            true  true;
        ThreadPool:                           true  true;
        fs::File:                             true  true;
        Builder:                              true  true;
        Current:                              true  true;
        Simulation:                           true  true;
        PanicPayload:                         true  true;
        JoinError:                            true  true;
        Elapsed:                              true  true;
        Unset:                                true  true;
        Dump:                                 true  true;
        HubDump:                              true  true;
        HubAnswer:                            true  true;
        GroupDump:                            true  true;
        GreenletDump:                         true  true;
        GreenletState:                        true  true;
        HubStatistics:                        true  true;
        Runner:                               true  true;
        StackUse:                             true  true;
        TimeSlice:                            true  true;
        HeldUp:                               true  true;
        Watchdog:                             true  true;
        UnjoinedPanic<'static>:               false false;
        EventStatistics:                      true  true;
        AsyncResultStatistics:                true  true;
        QueueStatistics:                      true  true;
        SemaphoreStatistics:                  true  true;
        CondvarStatistics:                    true  true;
        WatchStatistics:                      true  true;
        BroadcastStatistics:                  true  true;
        BarrierStatistics:                    true  true;
        LatchStatistics:                      true  true;
        WaitGroupStatistics:                  true  true;
        NotifyStatistics:                     true  true;
        OnceStatistics:                       true  true;
        MutexStatistics:                      true  true;
        RwLockStatistics:                     true  true;
        PoolStatistics:                       true  true;
        ThreadPoolStatistics:                 true  true;
    }
}

/// A future may go from thread to thread if what it waits for may.
#[test]
fn futures_are_send() {
    fn send<T: Send>(future: T) -> T {
        future
    }
    let (event, semaphore) = (Event::new(), std::sync::Arc::new(Semaphore::new(1)));
    let (result, queue) = (AsyncResult::<u8>::new(), Queue::<Sendable>::unbounded());
    drop(send(event.wait_async()));
    drop(send(result.wait_async()));
    drop(send(result.get_async()));
    drop(send(queue.get_async()));
    drop(send(queue.put_async(Cell::new(1))));
    drop(send(queue.join_async()));
    drop(send(queue.reserve_async()));
    drop(send(queue.get_many_async(1)));
    drop(send(queue.put_many_async([Cell::new(1)])));
    drop(send(Barrier::new(1).wait_async()));
    drop(send(Watch::new(1).subscribe().changed_async()));
    drop(send(Broadcast::<u8>::new(1).subscribe().get_async()));
    drop(send(semaphore.acquire_async()));
    drop(send(semaphore.acquire_many_async(1)));
    drop(send(semaphore.acquire_owned_async()));
}

/// lock_api's own types: what they guard is not poisoned, so they are not `RefUnwindSafe`. A
/// guard stays on its thread.
#[test]
fn the_table_of_locks() {
    macro_rules! locks {
        ($($ty:ty: $send:literal $sync:literal;)+) => {
            $(
                let name = stringify!($ty);
                assert_eq!(has!($ty: Send), $send, "{name}: Send");
                assert_eq!(has!($ty: Sync), $sync, "{name}: Sync");
                // lock_api has none for a guard that shares its mutex.
                assert!(has!($ty: Debug) != name.starts_with("Arc"), "{name}: Debug");
            )+
        };
    }
    locks! {
        //                                              Send  Sync
        Mutex<u8>:                                      true  true;
        Mutex<Sendable>:                                true  true;
        Mutex<Local1>:                                  false false;
        MutexGuard<'static, u8>:                        false true;
        MutexGuard<'static, Sendable>:                  false false;
        MappedMutexGuard<'static, u8>:                  false true;
        MappedMutexGuard<'static, Sendable>:            false false;
        ArcMutexGuard<u8>:                              false true;
        ArcMutexGuard<Sendable>:                        false false;
        RwLock<u8>:                                     true  true;
        RwLock<Sendable>:                               true  false;
        RwLock<Local1>:                                 false false;
        RwLockReadGuard<'static, u8>:                   false true;
        RwLockReadGuard<'static, Sendable>:             false false;
        RwLockWriteGuard<'static, u8>:                  false true;
        RwLockWriteGuard<'static, Sendable>:            false false;
        RwLockUpgradableReadGuard<'static, u8>:         false true;
        RwLockUpgradableReadGuard<'static, Sendable>:   false false;
        ReentrantMutex<u8>:                             true  true;
        ReentrantMutex<Sendable>:                       true  true;
        ReentrantMutex<Local1>:                         false false;
        ReentrantMutexGuard<'static, u8>:               false true;
        ReentrantMutexGuard<'static, Sendable>:         false false;
    }
}

#[cfg(all(unix, feature = "net"))]
#[test]
fn the_table_of_servers() {
    use greenlet::net::{Server, Stopped, UnixListener};
    table! {
        //                                    Send  Sync
        Server:                               true  true;
        Server<UnixListener>:                 true  true;
        Stopped:                              true  true;
    }
}

#[cfg(all(unix, feature = "signal"))]
#[test]
fn the_table_of_signals() {
    table! {
        greenlet::signal::Signals:            true  true;
    }
}

/// Errors go through `Box<dyn Error + Send + Sync>`.
#[test]
fn errors_are_errors() {
    fn error<T: std::error::Error + Send + Sync + 'static>() {}
    error::<JoinError>();
    error::<Elapsed>();
    error::<Unset>();
    error::<PutError<u8>>();
    error::<GetError>();
    error::<WatchError>();
    error::<BroadcastError>();
    error::<ReleaseError>();
    error::<PoolFull<u8>>();
    error::<MapError>();
}

/// A waiter's record and node are small; the public types are words, not pages.
#[test]
fn sizes() {
    assert!(size_of::<Event>() <= 56, "{}", size_of::<Event>());
    assert!(size_of::<Semaphore>() <= 72, "{}", size_of::<Semaphore>());
    assert!(
        size_of::<Queue<u64>>() <= 216,
        "{}",
        size_of::<Queue<u64>>()
    );
    assert_eq!(size_of::<unsync::Event>(), size_of::<Event>());
    assert_eq!(size_of::<Greenlet<u64>>(), size_of::<usize>());
    // Its key, how a value is made, and how it is copied: the values lie with their greenlets.
    assert_eq!(size_of::<Local<[u8; 100]>>(), 3 * size_of::<usize>());
}

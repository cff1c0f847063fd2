//! What the type checker refuses. See `tests/refused.rs`.

#![allow(unused)]

use greenlet::sync::{AsyncResult, BoundedSemaphore, Event, LifoQueue, Permit, PriorityQueue, Queue, Semaphore};
use greenlet::{Greenlet, Group, HubHandle, Joinable, Local, Pool, Scope, ScopedGreenlet, TimeoutHandle, scope, spawn};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::{Arc, MutexGuard, Mutex};
use std::time::Duration;

fn send<T: Send>(_: T) {}
fn sync<T: Sync>(_: &T) {}
fn shared<T: Send + Sync>(_: T) {}

/// A closure for another hub cannot take an `Rc` along.
fn rc_into_another_hub() {
    let rc = Rc::new(1);
    let also = rc.clone();
    let hub = HubHandle::current();
    let run = move |n: i32| n + *also;
    run(1); // here it may
    hub.spawn(move || run(1)); //~ E0277 `Rc<i32>` cannot be sent
}

/// Nor bring one back, although the closure itself holds none.
fn rc_out_of_another_hub() {
    let hub = HubHandle::current();
    let make = || Rc::new(1);
    drop(spawn(make)); // this hub's own may
    drop(hub.spawn(make)); //~ E0277 `Rc<{integer}>` cannot be sent
}

/// The handle of a greenlet that returns an `Rc` stays on its thread.
fn rc_through_a_handle() {
    let g = spawn(|| Rc::new(1));
    g.wait();
    send(g); //~ E0277 `Rc<{integer}>` cannot be sent
}

/// And is not lent to another thread, even if all that it returns is a `Cell`.
fn cell_through_a_lent_handle() {
    let g = spawn(|| Cell::new(1));
    std::thread::scope(|s| {
        s.spawn(|| g.value().map(Cell::get)); //~ E0277 `Cell<i32>` cannot be shared
    });
}

/// A result that several threads see is `Sync`.
fn cell_through_an_async_result() {
    let result = Arc::new(AsyncResult::<Cell<u8>, u8>::default());
    let _ = result.set(Cell::new(1));
    let theirs = result.clone();
    std::thread::spawn(move || theirs.value().map(Cell::get)); //~ E0277 `Cell<u8>` cannot be shared
}

/// Its error too.
fn rc_through_an_async_result_s_error() {
    let result = AsyncResult::<u8, Rc<u8>>::default();
    let _ = result.set_error(Rc::new(1));
    send(result); //~ E0277 `Rc<u8>` cannot be sent
}

/// A group's and a pool's futures are polled on their thread.
fn futures_of_a_pool() {
    let (group, pool) = (Group::new(), Pool::new(1));
    send(group.join_async()); // only looks at whether there are members
    send(pool.spawn_async(|| ())); //~ E0277 `Rc<
}

fn rc_through_queues() {
    let (fifo, lifo, ranked) = (Queue::unbounded(), LifoQueue::unbounded(), PriorityQueue::unbounded());
    let _ = (fifo.put(Rc::new(1)), lifo.put(Rc::new(1)), ranked.put(Rc::new(1)));
    sync(&fifo); //~ E0277 `Rc<{integer}>` cannot be sent
    sync(&lifo); //~ E0277 `Rc<{integer}>` cannot be sent
    sync(&ranked); //~ E0277 `Rc<{integer}>` cannot be sent
}

/// A lock's guard that may not leave its thread does not leave it in a queue.
fn mutex_guard_through_a_queue() {
    let mutex = Mutex::new(1);
    let queue = Queue::unbounded();
    let _ = queue.put(mutex.lock().unwrap());
    std::thread::scope(|s| {
        let queue = &queue;
        s.spawn(move || drop(queue.get())); //~ E0277 MutexGuard<'_, i32>` cannot be sent
    });
}

/// A link may be run on another thread.
fn rc_through_a_link() {
    let rc = Rc::new(Cell::new(0));
    let g = spawn(|| 1);
    let also = rc.clone();
    let link = move |outcome: &Result<i32, greenlet::JoinError>| also.set(*outcome.as_ref().unwrap());
    g.link(link); //~ E0277 `Rc<Cell<i32>>` cannot be sent
    drop(rc);
}

/// A `Local` that is shared gives each thread its own value, so it may hold an `Rc`; the value does not come along.
fn rc_through_a_local() {
    static LOCAL: Local<Rc<u8>> = Local::new();
    LOCAL.set(Rc::new(1));
    let theirs = LOCAL.get();
    std::thread::spawn(|| LOCAL.get().is_none());
    std::thread::spawn(move || drop(theirs)); //~ E0277 `Rc<u8>` cannot be sent
}

/// The scope's children are of its hub.
fn scope_on_another_thread() {
    scope(|s| {
        std::thread::scope(|threads| {
            threads.spawn(|| drop(s.spawn(|| 1))); //~ E0277 cannot be shared
        });
    });
}

/// A handle to a time limit acts on its own thread.
fn timeout_handle_on_another_thread() {
    let _ = greenlet::Timeout::after(Duration::from_secs(1)).run(|t| {
        std::thread::scope(|threads| {
            threads.spawn(|| t.cancel()); //~ E0277 `*mut ()` cannot be shared
        });
    });
}

/// A scoped greenlet with an `Rc` as its value does not go to a thread of a std scope either.
fn scoped_handle_on_another_thread() {
    scope(|s| {
        let g = s.spawn(|| Rc::new(1));
        std::thread::scope(|threads| {
            threads.spawn(move || drop(g.join())); //~ E0277 `Rc<i32>` cannot be sent
        });
    });
}

/// `Sync` of the thing lent is not enough: the last one to hold it drops it.
fn sync_but_not_send() {
    struct NotSend(MutexGuard<'static, u8>);
    let result = AsyncResult::<NotSend, u8>::default();
    let lend = |r: &AsyncResult<NotSend, u8>| r.value().map(|v| *v.0);
    lend(&result);
    sync(&result); //~ E0277 MutexGuard<'static, u8>` cannot be sent
}

/// A `Local` holds one type, not one of its relatives.
fn local_as_another_type() {
    static LOCAL: Local<for<'a> fn(&'a u8) -> &'a u8> = Local::new();
    let same: &Local<for<'a> fn(&'a u8) -> &'a u8> = &LOCAL;
    let other: &Local<fn(&'static u8) -> &'static u8> = &LOCAL; //~ E0308 mismatched types
}

/// The inner methods of a sealed trait are the crate's: a child's failure is not hidden, a handle not freed of its scope.
fn sealed_methods<H: Joinable>(handle: H) {
    let hidden = |handle: &H| {
        handle.begin_join(); //~ E0061
        handle.abort_join(); //~ E0061
        handle.greenlet(); //~ E0061
    };
    hidden(&handle);
    handle.into_greenlet(); //~ E0061
}

/// Traits that others cannot implement.
fn sealed_traits() {
    struct Mine;
    impl greenlet::Waitable for Mine {} //~ E0277 is not satisfied
    impl Joinable for Mine {} //~ E0277 is not satisfied
}

/// A body stays on the thread where it began.
fn generator_on_another_thread() {
    let mut g = greenlet::Generator::new(|y, ()| y.yield_(1));
    g.next();
    send(g); //~ E0277 cannot be sent
}

/// Nobody yields from another thread.
fn yielder_on_another_thread() {
    let g = greenlet::Generator::new(|y: &greenlet::Yielder<(), u8>, ()| {
        y.yield_(1);
        std::thread::scope(|threads| {
            threads.spawn(|| y.yield_(2)); //~ E0277 cannot be shared
        });
    });
}

/// Nor does a body drive another one with its own way to yield.
fn yielder_of_another_generator() {
    let g = greenlet::Generator::new(|y: &greenlet::Yielder<(), u8>, ()| {
        y.yield_(1);
        let inner = || y.yield_(2);
        inner();
        drop(greenlet::Generator::new(move |_: &greenlet::Yielder<(), u8>, ()| inner())); //~ E0521
    });
}

/// What is for one thread stays there, whatever it holds, and so do its permits and places.
fn unsync_on_another_thread() {
    use greenlet::unsync;
    static HERE: greenlet::sync::Event = greenlet::sync::Event::new();
    static THERE: unsync::Event = unsync::Event::new(); //~ E0277 cannot be shared
    let (event, result) = (unsync::Event::new(), unsync::AsyncResult::<u8>::new());
    let (queue, permits) = (unsync::Queue::<u8>::unbounded(), unsync::Semaphore::new(1));
    sync(&HERE);
    sync(&event); //~ E0277 cannot be shared
    sync(&result); //~ E0277 cannot be shared
    sync(&queue); //~ E0277 cannot be shared
    sync(&permits); //~ E0277 cannot be shared
    send(queue.reserve()); //~ E0277 cannot be
    send(permits.acquire()); //~ E0277 cannot be
    let owned = Rc::new(unsync::Semaphore::new(1)).acquire_owned();
    send(owned); //~ E0277 cannot be sent
    send(event); //~ E0277 cannot be sent
    send(result); //~ E0277 cannot be sent
    send(queue); //~ E0277 cannot be sent
}

/// Nor does a greenlet of another hub wait for it.
fn unsync_from_another_hub() {
    let event = Rc::new(greenlet::unsync::Event::new());
    let hub = HubHandle::current();
    let wait = move || event.wait();
    wait(); // here it may
    hub.spawn(wait); //~ E0277 cannot be sent
}

/// A future that waits for it stays there too.
fn unsync_in_a_future() {
    let event = greenlet::unsync::Event::new();
    let future = event.wait_async();
    send(future); //~ E0277 cannot be
    let shared = greenlet::sync::Event::new();
    send(shared.wait_async());
}

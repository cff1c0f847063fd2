//! What the borrow checker refuses. See `tests/refused.rs`.

#![allow(unused)]

use greenlet::sync::{AsyncResult, Event, Permit, Queue, Semaphore};
use greenlet::{
    Greenlet, HubHandle, Local, Scope, ScopedGreenlet, Timeout, TimeoutHandle, Waitable, scope, spawn, spawn_later,
    wait_any,
};
use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::time::Duration;

/// may's 3.1: what a greenlet borrows must outlive it, and nothing says when it ends.
fn borrow_in_a_spawn() {
    let text = String::from("mine");
    let length = || text.len();
    length();
    drop(spawn(|| text.len())); //~ E0373
}

fn borrow_in_a_late_spawn() {
    let text = String::from("mine");
    let by = &text;
    by.len();
    drop(spawn_later(Duration::ZERO, move || by.len())); //~2 E0597
}

fn borrow_in_a_builder_s_spawn() {
    let text = String::from("mine");
    let by = &text;
    by.len();
    drop(greenlet::Builder::new().spawn(move || by.len())); //~2 E0597
}

fn borrow_in_another_hub() {
    let text = String::from("mine");
    let by = &text;
    by.len();
    drop(HubHandle::current().spawn(move || by.len())); //~2 E0597
}

/// may's 3.1 as it was: the arms of a select, that outlive what they borrow.
fn arm_of_a_wait_that_is_gone() {
    let mut arms: Vec<&dyn Waitable> = vec![];
    let event = Event::new();
    arms.push(&event);
    {
        let short = Event::new();
        arms.push(&short); //~ E0597
    }
    wait_any(&arms);
}

/// A child of a scope may borrow what outlives the scope, not what lies in its body.
fn body_s_own_in_a_child() {
    scope(|s| {
        let mine = String::from("the body's");
        let length = || mine.len();
        length();
        s.spawn(|| mine.len()); //~ E0373
    });
}

fn body_s_own_by_reference_in_a_child() {
    scope(|s| {
        let mine = String::from("the body's");
        let by = &mine;
        by.len();
        s.spawn(move || by.len()); //~2 E0597
    });
}

/// Two children with the same `&mut`.
fn one_exclusive_borrow_for_two() {
    let mut count = 0;
    scope(|s| {
        s.spawn(|| count += 1);
        s.spawn(|| count += 1); //~ E0499
    });
}

/// While the scope is open, its children's borrows are.
fn use_of_what_a_child_has() {
    let mut count = 0;
    scope(|s| {
        s.spawn(|| count += 1);
        count += 1; //~ E0506
    });
    count += 1;
}

fn move_of_what_a_child_borrows() {
    let text = String::from("mine");
    let by = &text;
    scope(|s| {
        s.spawn(|| by.len());
    });
    scope(|s| {
        let g = s.spawn(|| by.len());
        drop(text); //~2 E0505
        drop(g.join());
    });
}

/// The handle does not leave the scope.
fn scoped_handle_out_of_its_scope() {
    let keep: RefCell<Option<ScopedGreenlet<'_, i32>>> = RefCell::new(None);
    scope(|s| {
        let g = s.spawn(|| 1);
        g.wait();
        keep.borrow_mut().replace(g); //~ E0521
    });
}

/// Nor does the scope.
fn scope_out_of_itself() {
    let keep: Cell<Option<&Scope<'_, '_>>> = Cell::new(None);
    scope(|s| {
        s.spawn(|| ());
        keep.set(Some(s)); //~ E0521
    });
}

/// A greenlet of an outer life does not get the scope.
fn scope_into_a_free_greenlet() {
    scope(|s| {
        drop(spawn(|| ()));
        drop(spawn(move || drop(s.spawn(|| ())))); //~ E0521
    });
}

/// An inner scope's children do not borrow through the outer one: an outer child outlives the inner frame.
fn outer_scope_s_child_with_inner_borrow() {
    scope(|outer| {
        let inner_frame = String::from("inner");
        scope(|inner| {
            inner.spawn(|| inner_frame.len());
            outer.spawn(|| inner_frame.len()); //~1 E0597
        });
    });
}

/// The value of a child may borrow what outlives the scope; what it borrows does not go before it.
fn value_that_outlives_what_it_borrows() {
    let mut kept: Option<&str> = None;
    {
        let text = String::from("short");
        scope(|s| {
            let g = s.spawn(|| &*text);
            kept = g.join().ok(); //~1 E0597 `text` does not live long enough
        });
    }
    kept.map(str::len);
}

/// A limit's handle does not outlive its limit.
fn timeout_handle_out_of_its_limit() {
    let keep: Cell<Option<&TimeoutHandle>> = Cell::new(None);
    let _ = Timeout::after(Duration::from_secs(1)).run(|t| {
        t.cancel();
        keep.set(Some(t)); //~ E0521
    });
}

/// Nor into a child of a scope that outlives the limit.
fn timeout_handle_in_a_child_that_outlives_it() {
    scope(|s| {
        let _ = Timeout::after(Duration::from_secs(1)).run(|t| {
            t.cancel();
            s.spawn(move || t.cancel()); //~ E0521
        });
    });
}

/// What `with` lends goes back when the closure ends: `take` would free it.
fn reference_out_of_a_local() {
    static LOCAL: Local<String> = Local::new();
    LOCAL.set(String::from("mine"));
    let mut kept: Option<&String> = None;
    LOCAL.with(|text| {
        text.len();
        kept = Some(text); //~ E0521
    });
}

fn reference_out_of_a_local_into_a_greenlet() {
    static LOCAL: Local<String> = Local::new();
    LOCAL.with(|text| {
        text.len();
        drop(spawn(move || text.len())); //~ E0521
    });
}

/// A link gets the outcome lent.
fn reference_out_of_a_link() {
    static KEEP: std::sync::Mutex<Option<&'static String>> = std::sync::Mutex::new(None);
    let g = spawn(|| String::from("the outcome"));
    g.link(|outcome| {
        let text = outcome.as_ref().unwrap();
        *KEEP.lock().unwrap() = Some(text); //~ E0521
    });
}

fn borrow_in_a_link() {
    let count = std::sync::atomic::AtomicU32::new(0);
    let g = spawn(|| 1);
    let by = &count;
    by.load(std::sync::atomic::Ordering::Relaxed);
    g.link(move |_| drop(by.load(std::sync::atomic::Ordering::Relaxed))); //~2 E0597
}

/// What a handle lends goes with the handle, which may be the last to hold it.
fn value_out_of_a_handle() {
    let g = spawn(|| String::from("the value"));
    g.wait();
    let value = g.value();
    drop(g); //~ E0505
    value.map(String::len);
}

fn value_out_of_an_async_result() {
    let result = AsyncResult::<String>::new();
    let _ = result.set(String::from("the value"));
    let value = result.value();
    drop(result); //~ E0505
    value.map(String::len);
}

/// A permit does not outlive its semaphore.
fn permit_out_of_its_semaphore() {
    let mut kept: Option<Permit<'_>> = None;
    {
        let semaphore = Semaphore::new(1);
        kept = Some(semaphore.acquire()); //~ E0597
    }
    drop(kept);
}

/// An item with a borrow does not outlive it in a queue.
fn item_that_outlives_what_it_borrows() {
    let queue = Queue::unbounded();
    {
        let text = String::from("short");
        text.len();
        let _ = queue.put(&text); //~ E0597
    }
    let _ = queue.get().map(|text: &String| text.len());
}

/// A longer life is not made of a shorter one: what is written into must not be taken for more than it is.
fn short_item_in_a_long_queue<'long, 'short>(queue: Queue<&'long str>, short: &'short str) {
    let _ = queue.put("static");
    let _ = queue.put(short); //~ - lifetime may not live long enough
}

fn short_value_in_a_long_result<'long, 'short>(result: AsyncResult<&'long str>, short: &'short str) {
    let _ = result.set("static");
    let _ = result.set(short); //~ - lifetime may not live long enough
}

fn long_queue_as_a_short_one<'long: 'short, 'short>(queue: &'short Queue<&'long str>) -> &'short Queue<&'long str> {
    let shorter: &Queue<&'short str> = queue; //~ - lifetime may not live long enough
    queue
}

fn long_handle_as_a_short_one<'long: 'short, 'short>(g: &'short Greenlet<&'long str>) {
    g.wait();
    let shorter: &Greenlet<&'short str> = g; //~ - lifetime may not live long enough
}

fn scope_of_a_longer_life<'scope, 'env>(s: &'scope Scope<'scope, 'env>) {
    let s: &Scope<'scope, 'env> = s;
    let longer: &Scope<'_, 'static> = s; //~ - lifetime may not live long enough
}

/// A generator that is forgotten would leave what its body lends in use.
fn borrow_in_a_generator() {
    let text = String::from("mine");
    let by = &text;
    by.len();
    drop(greenlet::Generator::new(move |_: &greenlet::Yielder<(), ()>, ()| by.len())); //~2 E0597
}

/// So would what is sent to it.
fn borrow_sent_to_a_generator() {
    let mut g = greenlet::Generator::<&str, usize, ()>::new(|y, first| {
        y.yield_(first.len());
    });
    let _ = g.resume("static");
    let text = String::from("mine");
    let _ = g.resume(&text); //~ E0597
}

/// The way to yield is lent for the time of the body.
fn yielder_that_escapes() {
    let kept: std::rc::Rc<Cell<Option<&'static greenlet::Yielder<(), u8>>>> = std::rc::Rc::default();
    let g = greenlet::Generator::new(move |y: &greenlet::Yielder<(), u8>, ()| {
        y.yield_(1);
        kept.set(Some(y)); //~ E0521
    });
}

fn yielder_out_of_its_body() {
    let mut g = greenlet::Generator::<(), (), _>::new(|y, ()| {
        y.yield_(());
        y //~ - lifetime may not live long enough
    });
}

//! `Local`s that are set, taken, lent, replaced and dropped by greenlets and the root, which yield,
//! are killed and panic meanwhile, beside a map from greenlet and local to the value.
//!
//! Every value is counted: in the end each was dropped once, and what a greenlet left behind was
//! dropped before those who waited for it went on. A value's destructor may fill another local.

use crate::script::bytes::Bytes;
use crate::script::plan::Deliberate;
use crate::script::quiet::panics;
use greenlet::testing::Simulation;
use greenlet::{Greenlet, Local, Unset};
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::rc::Rc;
use std::time::Duration;

const GREENLETS: usize = 8;
const DEPTH: usize = 4;

/// Counted, and which local its destructor fills.
struct Value {
    id: usize,
    fills: Option<usize>,
}

#[derive(Default)]
struct Shared {
    /// Who made each value, and whether it was dropped.
    values: RefCell<Vec<(u64, bool)>>,
    /// By greenlet and local: the value.
    map: RefCell<HashMap<(u64, usize), usize>>,
    /// How often it is lent.
    lent: RefCell<HashMap<(u64, usize), usize>>,
    handles: RefCell<Vec<Rc<Greenlet<()>>>>,
    /// The one local that is not a static.
    dynamic: RefCell<Option<Rc<Dynamic>>>,
    dynamics: Cell<usize>,
    root: Cell<u64>,
    /// An assertion has failed, somewhere.
    failed: Cell<bool>,
}

thread_local! {
    /// The initialiser of a `Local` and destructors capture nothing.
    static SHARED: RefCell<Rc<Shared>> = RefCell::default();
}

static STATICS: [Local<Value>; 3] = [
    Local::new(),
    Local::new(),
    Local::with_init(|| Value::new(None)),
];
/// Where the numbers of the dynamic ones begin.
const FIRST_DYNAMIC: usize = STATICS.len();
const LOCALS: u8 = 4;

fn shared() -> Rc<Shared> {
    SHARED.with_borrow(Rc::clone)
}

/// The greenlet that runs; the root is one too.
fn me() -> u64 {
    greenlet::current().id()
}

impl Value {
    fn new(fills: Option<usize>) -> Self {
        let shared = shared();
        let mut values = shared.values.borrow_mut();
        values.push((me(), false));
        let id = values.len() - 1;
        Value { id, fills }
    }
}

impl Clone for Value {
    fn clone(&self) -> Self {
        Value::new(None)
    }
}

impl Drop for Value {
    fn drop(&mut self) {
        let shared = shared();
        let was = std::mem::replace(&mut shared.values.borrow_mut()[self.id].1, true);
        assert!(!was, "value {} is dropped twice", self.id);
        // It ends: a value that fills makes none that does.
        if let Some(local) = self.fills
            && !STATICS[local].is_set()
        {
            let value = Value::new(None);
            shared.map.borrow_mut().insert((me(), local), value.id);
            STATICS[local].set(value);
        }
    }
}

/// A local that ends before its greenlets do.
struct Dynamic {
    /// Taken out only to be dropped.
    local: Option<Local<Value>>,
    number: usize,
}

impl Dynamic {
    fn new(shared: &Shared) -> Rc<Self> {
        let number = FIRST_DYNAMIC + shared.dynamics.replace(shared.dynamics.get() + 1);
        let local = Some(Local::new());
        Rc::new(Dynamic { local, number })
    }
}

impl Drop for Dynamic {
    fn drop(&mut self) {
        // The current greenlet's goes with it; those of others stay until they end.
        let shared = shared();
        let id = shared.map.borrow_mut().remove(&(me(), self.number));
        drop(self.local.take());
        if id.is_some_and(|id| !shared.values.borrow()[id].1) {
            println!("a local that was dropped has kept its value");
            shared.failed.set(true);
        }
    }
}

/// One of the locals, for as long as it is used.
#[derive(Clone)]
enum Which {
    Static(usize),
    Dynamic(Rc<Dynamic>),
}

impl Which {
    fn local(&self) -> &Local<Value> {
        match self {
            Which::Static(i) => &STATICS[*i],
            Which::Dynamic(dynamic) => dynamic.local.as_ref().expect("it is in use"),
        }
    }

    fn number(&self) -> usize {
        match self {
            Which::Static(i) => *i,
            Which::Dynamic(dynamic) => dynamic.number,
        }
    }

    fn has_init(&self) -> bool {
        self.number() == 2
    }
}

/// While a value is lent.
struct Lent {
    shared: Rc<Shared>,
    key: (u64, usize),
}

impl Lent {
    fn new(shared: &Rc<Shared>, key: (u64, usize)) -> Self {
        *shared.lent.borrow_mut().entry(key).or_default() += 1;
        let shared = shared.clone();
        Lent { shared, key }
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        *self
            .shared
            .lent
            .borrow_mut()
            .get_mut(&self.key)
            .expect("lent") -= 1;
    }
}

impl Shared {
    /// The root has statics only: what it puts into a local that another drops would stay with
    /// the thread, longer than this.
    fn which(&self, i: usize) -> Which {
        let dynamic = i >= FIRST_DYNAMIC && me() != self.root.get();
        match self.dynamic.borrow().as_ref().filter(|_| dynamic) {
            Some(dynamic) => Which::Dynamic(dynamic.clone()),
            None => Which::Static(i.min(FIRST_DYNAMIC - 1)),
        }
    }

    fn expected(&self, which: &Which) -> Option<usize> {
        self.map.borrow().get(&(me(), which.number())).copied()
    }

    fn is_lent(&self, which: &Which) -> bool {
        let key = (me(), which.number());
        self.lent.borrow().get(&key).is_some_and(|&n| n > 0)
    }

    /// What an initialiser is about to make, or what is there.
    fn expected_or_made(&self, which: &Which) -> Option<usize> {
        let expected = self.expected(which);
        if expected.is_none() && which.has_init() {
            let id = self.values.borrow().len();
            self.map.borrow_mut().insert((me(), which.number()), id);
            return Some(id);
        }
        expected
    }

    fn set(&self, which: &Which, value: Value) {
        if self.is_lent(which) {
            let id = value.id;
            assert!(panics(|| drop(which.local().set(value))), "set while lent");
            assert!(
                self.values.borrow()[id].1,
                "a value that was refused is dropped"
            );
            return;
        }
        let key = (me(), which.number());
        let expected = self.map.borrow_mut().insert(key, value.id);
        let old = which.local().set(value);
        assert_eq!(old.as_ref().map(|v| v.id), expected);
        drop(old); // it may fill another
    }

    fn take(&self, which: &Which) {
        if self.is_lent(which) {
            return assert!(panics(|| drop(which.local().take())), "take while lent");
        }
        let expected = self.map.borrow_mut().remove(&(me(), which.number()));
        let taken = which.local().take();
        assert_eq!(taken.as_ref().map(|v| v.id), expected);
    }

    /// A copy is a value of its own.
    fn get(&self, which: &Which) {
        let expected = self.expected_or_made(which);
        let copy = which.local().get();
        assert_eq!(copy.is_some(), expected.is_some());
    }

    fn with(self: &Rc<Self>, which: &Which, body: impl FnOnce()) {
        let expected = self.expected_or_made(which);
        let key = (me(), which.number());
        let ran = which.local().try_with(|value| {
            let _lent = Lent::new(self, key);
            assert_eq!(Some(value.id), expected);
            body();
            let dropped = self.values.borrow()[value.id].1;
            assert!(!dropped && me() == key.0, "a value that is lent");
        });
        match expected {
            Some(_) => assert_eq!(ran, Ok(())),
            None => {
                assert_eq!(ran, Err(Unset));
                assert!(panics(|| which.local().with(|_| ())), "without a value");
            }
        }
    }

    /// Nothing is left of a greenlet that has ended.
    fn check_end(&self, id: u64) {
        let values = self.values.borrow();
        let left = values
            .iter()
            .position(|&(maker, dropped)| maker == id && !dropped);
        assert_eq!(left, None, "a value of greenlet {id} is left");
        self.map.borrow_mut().retain(|key, _| key.0 != id);
    }

    /// An assertion that failed is not what a script raises.
    fn note(&self, result: &std::thread::Result<()>) {
        let failed = result.as_ref().err();
        let failed = failed.is_some_and(|payload| payload.is::<String>() || payload.is::<&str>());
        self.failed.set(self.failed.get() || failed);
    }

    fn handle(&self, i: usize) -> Option<Rc<Greenlet<()>>> {
        let handles = self.handles.borrow();
        Some(handles[i.checked_rem(handles.len())?].clone())
    }
}

// ---- the script ----

#[derive(Clone, Debug)]
enum Op {
    Set(usize, Option<usize>),
    Take(usize),
    Get(usize),
    IsSet(usize),
    With(usize, Vec<Op>),
    /// The dynamic local goes, and another comes.
    Renew,
    Yield,
    Sleep(u64),
    Kill(usize),
    WaitFor(usize),
    Swallow(Vec<Op>),
    Panic,
}

/// Operations until the block ends; true: so does the greenlet's list.
fn block(bytes: &mut Bytes<'_>, depth: usize, ops: &mut Vec<Op>) -> bool {
    while let Some(code) = bytes.next() {
        let op = match code % 16 {
            0 if depth > 0 => return false,
            0 | 15 => return true,
            1..=3 => {
                let n = bytes.byte();
                let fills = (n & 16 != 0).then_some(usize::from(n >> 5) % FIRST_DYNAMIC);
                Op::Set((n % LOCALS).into(), fills)
            }
            4 => Op::Take(bytes.index(LOCALS)),
            5 => Op::Get(bytes.index(LOCALS)),
            6 => Op::IsSet(bytes.index(LOCALS)),
            7..=9 if depth == DEPTH => continue,
            code @ 7..=9 => {
                let local = if code < 9 { bytes.index(LOCALS) } else { 0 };
                let mut body = Vec::new();
                let end = block(bytes, depth + 1, &mut body);
                ops.push(match code {
                    9 => Op::Swallow(body),
                    _ => Op::With(local, body),
                });
                if end {
                    return true;
                }
                continue;
            }
            10 => Op::Renew,
            11 => Op::Yield,
            12 => Op::Sleep(bytes.below(4).into()),
            13 => Op::Kill(bytes.index(8)),
            _ => match bytes.below(9) {
                8 => Op::Panic,
                i => Op::WaitFor(i.into()),
            },
        };
        ops.push(op);
    }
    true
}

fn run(shared: &Rc<Shared>, ops: &[Op]) {
    for op in ops {
        match op {
            Op::Set(i, fills) => shared.set(&shared.which(*i), Value::new(*fills)),
            Op::Take(i) => shared.take(&shared.which(*i)),
            Op::Get(i) => shared.get(&shared.which(*i)),
            Op::IsSet(i) => {
                let which = shared.which(*i);
                let expected = shared.expected(&which).is_some();
                assert_eq!(which.local().is_set(), expected);
            }
            Op::With(i, body) => shared.with(&shared.which(*i), || run(shared, body)),
            Op::Renew => {
                let new = Dynamic::new(shared);
                let old = shared.dynamic.replace(Some(new));
                drop(old);
            }
            Op::Yield => greenlet::yield_now(),
            Op::Sleep(d) => greenlet::sleep(Duration::from_millis(*d)),
            Op::Kill(i) => {
                if let Some(handle) = shared.handle(*i) {
                    handle.kill();
                }
            }
            Op::WaitFor(i) => {
                let handle = shared.handle(*i).filter(|handle| handle.id() != me());
                // Two may wait for each other.
                if let Some(handle) = handle
                    && handle.wait_timeout(Duration::from_millis(5))
                {
                    shared.check_end(handle.id());
                }
            }
            Op::Swallow(body) => {
                let result = catch_unwind(AssertUnwindSafe(|| run(shared, body)));
                shared.note(&result);
            }
            Op::Panic => resume_unwind(Box::new(Deliberate)),
        }
    }
}

/// Panics where the two differ.
pub(crate) fn check(data: &[u8]) {
    let mut bytes = Bytes::new(data);
    let seed = bytes.byte();
    let simulation = match seed {
        0 => Simulation::new(),
        seed => Simulation::new().seed(seed.into()),
    };
    SHARED.set(Rc::default());
    let shared = shared();
    let mut scripts = Vec::new();
    while scripts.len() < GREENLETS && scripts.last().is_none_or(|l: &Vec<_>| !l.is_empty()) {
        let mut ops = Vec::new();
        block(&mut bytes, 0, &mut ops);
        scripts.push(ops);
    }
    simulation.run(|| {
        shared.root.set(me());
        *shared.dynamic.borrow_mut() = Some(Dynamic::new(&shared));
        // The first one is the root's.
        let mut scripts = scripts.into_iter();
        let root = scripts.next().unwrap_or_default();
        for ops in scripts {
            let inner = shared.clone();
            let handle = greenlet::spawn(move || {
                let result = catch_unwind(AssertUnwindSafe(|| run(&inner, &ops)));
                inner.note(&result);
                result.unwrap_or_else(|payload| resume_unwind(payload));
            });
            shared.handles.borrow_mut().push(Rc::new(handle));
        }
        shared.note(&catch_unwind(AssertUnwindSafe(|| run(&shared, &root))));
        let handles = shared.handles.take();
        handles.iter().for_each(|handle| handle.kill());
        for handle in handles {
            handle.wait();
            shared.check_end(handle.id());
        }
        // What is left is the root's; a value may fill a local that was looked at before.
        drop(shared.dynamic.take());
        for _ in 0..3 {
            for i in 0..FIRST_DYNAMIC {
                shared.take(&Which::Static(i));
            }
        }
        shared.check_end(me());
        assert!(shared.map.borrow().is_empty(), "{:?}", shared.map);
    });
    assert!(!shared.failed.get(), "an assertion has failed, see above");
    let values = shared.values.take();
    assert!(values.iter().all(|value| value.1), "a value is left");
}

//! Property tests: random programs of 2 to 16 greenlets (`script/plan.rs`), with kills, panics,
//! timeout scopes and shields among their operations, run on the virtual clock beside naive models
//! (`script/model.rs`, `script/primitives.rs`) that say what every operation must return, when, and
//! without a seed also in which order all run. In the end items and permits are counted, whatever
//! the models say. The same programs made from bytes are the fuzz target `script`; the same on
//! several hubs and plain threads, by the real clock, are the property `hubs`.
//!
//! Every wait has a limit of its own, or is ended by the root, which sets, shuts down, releases and
//! kills until nobody is left.
//!
//! # What they find
//!
//! Each of these was broken in the crate, one at a time, and failed the properties named, with 400
//! cases; `everything` failed each time too. "All" is all but `zero`.
//!
//! | broken | fails |
//! |---|---|
//! | a put that finds only leaving getters drops its item | queue |
//! | an item goes to the last getter; or past the getters, into the room | queue |
//! | `unfinished` does not rise when an item is stored or handed over, or in a refill | queue |
//! | a get does not refill from the putters; equal priorities come out last in, first out | queue |
//! | `shutdown` forgets the putters; `shutdown_now` does not count as done | queue |
//! | a notifier gives up at a getter that is leaving | queue |
//! | `grant` ignores the need; takes one permit whatever the need; serves one only | semaphore |
//! | who leaves does not grant to those behind (`Permits::left`; its call in `wait.rs`) | semaphore |
//! | a waiter that is leaving takes permits; a newcomer barges; a return goes over the bound | semaphore |
//! | a broadcast skips the newest waiter; stops after the first | event, async_result, queue, semaphore |
//! | a waiter that leaves is still counted | event, async_result, queue, semaphore |
//! | a killed greenlet is not made ready; a kill loses a wake that was given; is not sticky; ignores a shield | all |
//! | an inner scope is raised before an outer one; a swallowed expiry is forgotten; `reset` keeps the old timer | all |
//! | timers 1 ms early; 1 ms late; ties not in arming order; the timer of a wait that was ended is not disarmed | all |
//! | limits expire before the sleepers of their instant have run | all |
//! | the ready queue is not first in, first out | all, zero |
//! | a woken `wait_timeout` looks at the flag again, after `clear` | event |
//! | a second `set` of a result wins | async_result |
//! | `wait_any` says the wrong index, or not the lowest; leaves a node in a line | event, async_result |
//! | a select goes from its second arm; who leaves a line in a select does not grant to those behind | select |

mod script;

/// The same programs and models, with the primitives for one thread.
#[path = "script"]
#[allow(clippy::duplicate_mod, dead_code, unused_imports)]
mod unsync {
    use super::script::{code, model, plan, primitives};
    use greenlet::unsync as sync;
    use std::rc::Rc as Shared;

    pub(crate) mod conduct;
    pub(crate) mod items;
    pub(crate) mod selects;
    pub(crate) mod simple;
    pub(crate) mod world;
}

use greenlet::sync::{AsyncResult, Event, Queue, Semaphore};
use greenlet::testing::Simulation;
use proptest::prelude::*;
use proptest::strategy::Union;
use proptest::test_runner::FileFailurePersistence;
use script::conduct::{play, report};
use script::hubs::{self, Places};
use script::model::Ms;
use script::plan::{Arms, Lim, Op, Plan};
use script::primitives::Kind;
use std::cell::RefCell;
use std::ops::RangeInclusive;
use std::time::Duration;

type Ops = BoxedStrategy<Op>;

/// So many cases, unless `PROPTEST_CASES` says otherwise.
fn cases(cases: u32) -> ProptestConfig {
    let file = FileFailurePersistence::Direct("tests/properties.proptest-regressions");
    let default = ProptestConfig::default();
    let asked = std::env::var("PROPTEST_CASES").is_ok();
    ProptestConfig {
        cases: if asked { default.cases } else { cases },
        failure_persistence: Some(Box::new(file)),
        max_shrink_iters: if asked {
            default.max_shrink_iters
        } else {
            5_000
        },
        // A case that hangs takes 20 s to say so.
        max_shrink_time: 60_000,
        ..default
    }
}

/// Few different times, so that many things happen at once.
fn time() -> impl Strategy<Value = Ms> + Clone {
    1..=5u64
}

fn maybe() -> impl Strategy<Value = Option<Ms>> {
    prop_oneof![2 => time().prop_map(Some), 1 => Just(None)]
}

/// Which timeout scope, from the innermost.
fn further_out() -> impl Strategy<Value = usize> {
    prop_oneof![3 => Just(0), 1 => 1..4usize]
}

fn limit() -> impl Strategy<Value = Lim> {
    prop_oneof![
        1 => Just(Lim::Nowait),
        3 => time().prop_map(Lim::For),
        2 => Just(Lim::Ever),
    ]
}

fn weighted(arms: impl IntoIterator<Item = (u32, Ops)>) -> Ops {
    Union::new_weighted(arms.into_iter().collect()).boxed()
}

fn events() -> Ops {
    weighted([
        (
            6,
            (0..2usize, maybe())
                .prop_map(|(e, l)| Op::EventWait(e, l))
                .boxed(),
        ),
        (1, (0..2usize).prop_map(Op::EventSet).boxed()),
        (2, (0..2usize).prop_map(Op::EventClear).boxed()),
        (2, (0..2usize).prop_map(Op::EventPulse).boxed()),
        (2, firsts(1..4u8)),
    ])
}

/// `wait_any`, of those in some sets, and of a greenlet's end.
fn firsts(sets: impl Strategy<Value = u8> + 'static) -> Ops {
    let with_greenlet = any::<bool>().prop_map(|yes| 16 * u8::from(yes));
    (sets, with_greenlet, 0..16usize, maybe())
        .prop_map(|(set, greenlet, t, l)| Op::WaitAny(set | greenlet, t, l))
        .boxed()
}

fn results() -> Ops {
    weighted([
        (
            6,
            (0..2usize, maybe())
                .prop_map(|(r, l)| Op::ResultWait(r, l))
                .boxed(),
        ),
        (1, (0..2usize).prop_map(Op::ResultGet).boxed()),
        (
            1,
            (0..2usize, any::<bool>())
                .prop_map(|(r, ok)| Op::ResultSet(r, ok))
                .boxed(),
        ),
        (2, firsts((1..4u8).prop_map(|set| set << 2))),
    ])
}

fn queues() -> Ops {
    weighted([
        (
            30,
            (0..3u8, limit()).prop_map(|(p, l)| Op::Put(p, l)).boxed(),
        ),
        (30, limit().prop_map(Op::Get).boxed()),
        (
            10,
            (0..=4usize, limit())
                .prop_map(|(n, l)| Op::GetMany(n, l))
                .boxed(),
        ),
        (
            10,
            (0..=4usize, 0..3u8, limit())
                .prop_map(|(n, p, l)| Op::PutMany(n, p, l))
                .boxed(),
        ),
        (3, Just(Op::Drain).boxed()),
        (4, (0..3u8).prop_map(Op::ForcePut).boxed()),
        (3, Just(Op::Peek).boxed()),
        (12, Just(Op::TaskDone).boxed()),
        (6, maybe().prop_map(Op::Join).boxed()),
        (1, Just(Op::Shutdown).boxed()),
        (1, Just(Op::ShutdownNow).boxed()),
    ])
}

fn semaphores() -> Ops {
    let acquire = (
        0..2usize,
        prop_oneof![2 => Just(1usize), 2 => 0..=4usize],
        limit(),
        prop::bool::weighted(0.2),
    );
    weighted([
        (
            6,
            acquire
                .prop_map(|(s, n, l, owned)| Op::Acquire(s, n, l, owned))
                .boxed(),
        ),
        (1, (0..2usize).prop_map(Op::Release).boxed()),
        (4, Just(Op::Return).boxed()),
        (1, Just(Op::Forget).boxed()),
    ])
}

/// Every program has these, so that time goes by and somebody is killed.
fn with_common(own: Ops) -> Ops {
    weighted([
        (20, own),
        (4, (0..=4u64).prop_map(Op::Sleep).boxed()),
        (1, (0..16usize).prop_map(Op::Kill).boxed()),
        (
            1,
            (0..16usize, time())
                .prop_map(|(t, d)| Op::WaitFor(t, d))
                .boxed(),
        ),
        (1, (0..16usize).prop_map(Op::Detach).boxed()),
        (
            1,
            (time(), further_out())
                .prop_map(|(d, out)| Op::Reset(d, out))
                .boxed(),
        ),
        (1, further_out().prop_map(Op::Cancel).boxed()),
    ])
}

/// With a place of the queue held meanwhile.
fn reserve(body: impl Strategy<Value = Vec<Op>> + 'static) -> Ops {
    let item = prop_oneof![3 => (0..3u8).prop_map(Some), 1 => Just(None)];
    (limit(), item, body)
        .prop_map(|(l, item, body)| Op::Reserve(l, item, body))
        .boxed()
}

/// Operations inside scopes, shields and `catch_unwind`, two deep; how many of the lists are
/// done with a place of the queue held.
fn nested(own: Ops, places: u32) -> Ops {
    (0..2).fold(with_common(own), |inner, _| {
        let body = prop::collection::vec(inner.clone(), 1..4);
        weighted([
            (24, inner),
            (1, Just(Op::Panic).boxed()),
            (
                4,
                (time(), body.clone())
                    .prop_map(|(d, body)| Op::Timeout(d, body))
                    .boxed(),
            ),
            (2, body.clone().prop_map(Op::Shield).boxed()),
            (places, reserve(body.clone())),
            (2, body.prop_map(Op::Swallow).boxed()),
        ])
    })
}

/// Selects over all that there is, and the same as futures.
fn selects() -> Ops {
    let arms = (1..128u8, 0..Arms::KINDS, 0..3u8, 0..2usize, 0..=4usize);
    let arms = arms.prop_map(|(set, first, priority, semaphore, n)| Arms {
        set,
        first,
        priority,
        semaphore,
        n,
        limit: Lim::Nowait,
    });
    let select = (arms.clone(), limit());
    weighted([
        (
            3,
            select
                .prop_map(|(arms, limit)| Op::Select(Arms { limit, ..arms }))
                .boxed(),
        ),
        (1, arms.prop_map(Op::Poll).boxed()),
    ])
}

fn everything_at_once() -> Ops {
    weighted([
        (2, selects()),
        (2, events()),
        (2, results()),
        (1, firsts(1..16u8)),
        (4, queues()),
        (4, semaphores()),
    ])
}

/// The kinds of queues: FIFO without room too.
fn kinds() -> impl Strategy<Value = (Kind, Option<usize>)> {
    let room = || prop_oneof![1 => Just(None), 3 => (1..=4usize).prop_map(Some)];
    prop_oneof![
        3 => room().prop_map(|room| (Kind::Fifo, room)),
        2 => Just((Kind::Fifo, Some(0))),
        1 => room().prop_map(|room| (Kind::Lifo, room)),
        2 => room().prop_map(|room| (Kind::Priority, room)),
    ]
}

fn plans(own: Ops) -> impl Strategy<Value = Plan> {
    plans_of(own, 1, 2..=16)
}

fn plans_of(
    own: Ops,
    places: u32,
    greenlets: RangeInclusive<usize>,
) -> impl Strategy<Value = Plan> {
    let start = prop_oneof![3 => Just(0), 1 => time()];
    let script = (start, prop::collection::vec(nested(own, places), 1..8));
    let scripts = prop::collection::vec(script, greenlets);
    let seed = prop::option::of(any::<u64>());
    let permits = (0..=3usize, 1..=3usize);
    (seed, kinds(), permits, scripts, any::<bool>()).prop_map(
        |(seed, (kind, capacity), (plain, bounded), scripts, kill_first)| Plan {
            seed,
            kind,
            capacity,
            permits: [plain, bounded],
            scripts,
            kill_first,
        },
    )
}

fn check(plan: &Plan) -> Result<(), TestCaseError> {
    let errors = play(plan);
    prop_assert!(errors.is_empty(), "{}", report(plan, &errors));
    Ok(())
}

fn check_unsync(plan: &Plan) -> Result<(), TestCaseError> {
    let errors = unsync::conduct::play(plan);
    prop_assert!(errors.is_empty(), "unsync: {}", report(plan, &errors));
    Ok(())
}

/// Waits of zero, each of its kind; `setter`, if one of them, sets the event and then the result
/// instead. Returns who began (`true`) and ended what, in order, and who was given something.
fn zero_waits(kinds: &[u8], setter: usize) -> (Vec<(bool, usize)>, Vec<bool>) {
    const ZERO: Duration = Duration::ZERO;
    let (event, result) = (Event::new(), AsyncResult::<u8>::new());
    let (empty, full, none) = (
        Queue::<u8>::unbounded(),
        Queue::bounded(1),
        Semaphore::new(0),
    );
    full.put_nowait(0).expect("there is room for one");
    let (trace, given) = (RefCell::default(), RefCell::new(vec![false; kinds.len()]));
    Simulation::new().run(|| {
        let start = greenlet::now();
        greenlet::scope(|s| {
            for (i, kind) in kinds.iter().enumerate() {
                let (event, result, empty, full, none) = (&event, &result, &empty, &full, &none);
                let (trace, given): (&RefCell<Vec<_>>, _) = (&trace, &given);
                s.spawn(move || {
                    trace.borrow_mut().push((true, i));
                    given.borrow_mut()[i] = match kind {
                        _ if i == setter => {
                            event.set();
                            result.set(1).is_ok()
                        }
                        0 => event.wait_timeout(ZERO),
                        1 => greenlet::timeout(ZERO, || event.wait()).is_ok(),
                        2 => result.wait_timeout(ZERO).is_some(),
                        3 => empty.get_timeout(ZERO).is_ok(),
                        4 => full.put_timeout(1, ZERO).is_ok(),
                        _ => none.acquire_timeout(ZERO).is_some(),
                    };
                    trace.borrow_mut().push((false, i));
                });
            }
        });
        assert_eq!(greenlet::now(), start);
    });
    (trace.into_inner(), given.into_inner())
}

/// What was found once (see `tests/script/kept.rs`), on the virtual clock, by seed or as written.
#[test]
fn kept() {
    for kept in script::kept::all() {
        let plan = Plan::from_bytes(&kept.bytes, 16);
        script::kept::check(&kept, &plan);
        for seed in [plan.seed, None, Some(1)] {
            let plan = Plan {
                seed,
                ..plan.clone()
            };
            let mut errors = play(&plan);
            errors.extend(unsync::conduct::play(&plan));
            assert!(
                errors.is_empty(),
                "{}: {}",
                kept.name,
                report(&plan, &errors)
            );
        }
    }
}

proptest! {
    #![proptest_config(cases(700))]

    #[test]
    fn event(plan in plans(events())) {
        check(&plan)?;
    }

    #[test]
    fn async_result(plan in plans(results())) {
        check(&plan)?;
    }

    #[test]
    fn queue(plan in plans_of(queues(), 8, 2..=16)) {
        check(&plan)?;
    }

    #[test]
    fn semaphore(plan in plans(semaphores())) {
        check(&plan)?;
    }

    /// Among operations that do one of the same things alone.
    #[test]
    fn select(plan in plans(weighted([(3, selects()), (1, everything_at_once())]))) {
        check(&plan)?;
    }

    /// Sleeps, timeout scopes, shields, kills and the waits for an end alone.
    #[test]
    fn timers(plan in plans(time().prop_map(Op::Sleep).boxed())) {
        check(&plan)?;
    }

    /// All of it at once; and its bytes, which a fuzzer changes, are the same plan.
    #[test]
    fn everything(plan in plans(everything_at_once())) {
        prop_assert_eq!(&Plan::from_bytes(&plan.to_bytes(), 16), &plan);
        check(&plan)?;
    }

    /// Any bytes are a plan within its bounds.
    #[test]
    fn bytes(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        let plan = Plan::from_bytes(&bytes, 16);
        prop_assert!((1..=16).contains(&plan.scripts.len()));
        prop_assert_eq!(&Plan::from_bytes(&plan.to_bytes(), 16), &plan);
        check(&plan)?;
    }

    /// A wait of zero makes one trip through the loop: all that are ready run before it is over,
    /// and a set by one of them wins.
    #[test]
    fn zero(kinds in prop::collection::vec(0..6u8, 1..=16), setter in 0..32usize) {
        let (trace, given) = zero_waits(&kinds, setter);
        let all = || kinds.iter().copied().enumerate();
        let wakes = |kind| matches!(kind, 0..=2) && setter < kinds.len();
        let expected: Vec<bool> = all().map(|(i, kind)| i == setter || wakes(kind)).collect();
        prop_assert_eq!(given, expected);
        let mut expected = Vec::new();
        for (i, kind) in all() {
            expected.push((true, i));
            if i == setter || i > setter && wakes(kind) {
                expected.push((false, i)); // without a switch
            }
        }
        // Then the event's waiters, the result's, and those whose time is over.
        let waited = || all().filter(|&(i, kind)| i < setter.min(kinds.len()) || i != setter && !wakes(kind));
        let of = |test: &dyn Fn(u8) -> bool| waited().filter(|&(_, k)| test(k)).map(|(i, _)| (false, i)).collect::<Vec<_>>();
        expected.extend(of(&|k| wakes(k) && k < 2));
        expected.extend(of(&|k| wakes(k) && k == 2));
        expected.extend(of(&|k| !wakes(k)));
        prop_assert_eq!(trace, expected);
    }
}

proptest! {
    #![proptest_config(cases(300))]

    #[test]
    fn unsync_event(plan in plans(events())) {
        check_unsync(&plan)?;
    }

    #[test]
    fn unsync_async_result(plan in plans(results())) {
        check_unsync(&plan)?;
    }

    #[test]
    fn unsync_queue(plan in plans_of(queues(), 8, 2..=16)) {
        check_unsync(&plan)?;
    }

    #[test]
    fn unsync_semaphore(plan in plans(semaphores())) {
        check_unsync(&plan)?;
    }

    #[test]
    fn unsync_select(plan in plans(weighted([(3, selects()), (1, everything_at_once())]))) {
        check_unsync(&plan)?;
    }

    #[test]
    fn unsync_everything(plan in plans(everything_at_once())) {
        check_unsync(&plan)?;
    }
}

/// Where the hubs' property runs its programs.
fn places() -> impl Strategy<Value = Places> {
    (1..=3usize, 0..=3usize).prop_map(|(hubs, threads)| Places { hubs, threads })
}

fn check_hubs(plan: &Plan, places: Places) -> Result<(), TestCaseError> {
    let errors = hubs::play(plan, places);
    prop_assert!(errors.is_empty(), "{}", hubs::report(plan, places, &errors));
    Ok(())
}

#[test]
fn kept_on_hubs() {
    for kept in script::kept::all() {
        let plan = Plan::from_bytes(&kept.bytes, 64);
        for (hubs, threads) in [(1, 0), (2, 1), (3, 2)] {
            let places = Places { hubs, threads };
            if let Err(error) = check_hubs(&plan, places) {
                panic!("{}: {error}", kept.name);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 200, ..cases(60) })]

    /// 2 to 64 greenlets and threads, as the machine will have it. It is not shrunk for long: a
    /// smaller program may pass by chance.
    #[test]
    fn hubs(plan in plans_of(everything_at_once(), 2, 2..=64), places in places()) {
        check_hubs(&plan, places)?;
    }
}

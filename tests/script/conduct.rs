//! Runs a plan from its start to its end, and accounts for everything then.

use super::code::OPERATIONS;
use super::model::{Ms, Unwind};
use super::plan::{Op, Plan};
use super::primitives::Kind;
use super::world::{AnyQueue, Here, World, ms, queue};
use greenlet::testing::Simulation;
use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::mpsc;
use std::time::Duration;

impl World {
    /// After each operation everything that can be asked is as in the model, the
    /// lines of waiters too.
    pub(crate) fn observe(&self, me: usize) {
        let model = self.model();
        let (q, s) = (&model.queue, &model.semaphores);
        let mut expected = String::new();
        for event in &model.events {
            expected += &format!(
                "Event {{ set: {}, waiting: {} }}\n",
                event.set,
                event.waiters.len()
            );
        }
        for r in &model.results {
            expected += &format!(
                "AsyncResult {{ result: {:?}, waiting: {} }}\n",
                r.result,
                r.waiters.len()
            );
        }
        expected += &format!(
            "{} {{ len: {}, capacity: {:?}, unfinished: {}, shut_down: {}, reserved: {}, getters: {}, putters: {}, joiners: {} }} full: {}\n",
            match q.kind {
                Kind::Fifo => "Queue",
                Kind::Lifo => "LifoQueue",
                Kind::Priority => "PriorityQueue",
            },
            q.items.len(),
            q.capacity,
            q.unfinished,
            q.shut_down,
            q.reserved,
            q.getters.len(),
            q.putters.len(),
            q.joiners.len(),
            !q.has_room(),
        );
        for (s, name) in s.iter().zip(["Semaphore", "BoundedSemaphore"]) {
            expected += &format!(
                "{name} {{ available: {}, waiting: {} }}\n",
                s.permits,
                s.waiters.len()
            );
        }
        drop(model);
        let [e, f] = &self.events;
        let [r, t] = &self.results;
        let queue = queue!(self.queue, q => format!("{q:?} full: {}", q.is_full()));
        let real = format!(
            "{e:?}\n{f:?}\n{r:?}\n{t:?}\n{queue}\n{:?}\n{:?}\n",
            self.plain, self.bounded
        );
        if real != expected {
            self.model()
                .error(format!("#{me} sees\n{real}expected\n{expected}"));
        }
    }
}

/// Marks the end of a greenlet, whether it has run or not.
struct Ender {
    world: Rc<World>,
    me: usize,
}

impl Drop for Ender {
    fn drop(&mut self) {
        let mut model = self.world.model();
        if !model.tasks[self.me].started {
            model.resume(self.me);
            if !model.tasks[self.me].killed {
                model.error(format!("#{} is dropped unrun", self.me));
            }
        }
        model.end(self.me);
    }
}

fn spawn(world: &Rc<World>, me: usize, delay: Ms, ops: Vec<Op>) {
    world.model().spawn(me, delay);
    let ender = Ender {
        world: world.clone(),
        me,
    };
    let body = move || {
        let world = &*ender.world;
        let mut model = world.model();
        model.resume(me);
        model.tasks[me].started = true;
        if model.tasks[me].killed {
            model.error(format!("#{me} runs, but was killed"));
        }
        drop(model);
        let held = RefCell::default();
        world.run(
            &ops,
            Here {
                me,
                held: &held,
                scope: None,
            },
        );
        // What is still held is given back before the end.
        for permit in held.take() {
            world.instant(me, "return", (), || drop(permit));
        }
    };
    let handle = match delay {
        0 => greenlet::spawn(body),
        _ => greenlet::spawn_later(ms(delay), body),
    };
    world.handles.borrow_mut().push(Some(Rc::new(handle)));
}

/// The root: starts all, and in the end sets, shuts down, releases and kills,
/// until nobody is left. True if it comes to that.
fn conduct(world: &Rc<World>, plan: &Plan) -> bool {
    let me = plan.scripts.len();
    for (i, (delay, ops)) in plan.scripts.iter().enumerate() {
        spawn(world, i, *delay, ops.clone());
    }
    let held = RefCell::default();
    let run = |ops: &[Op]| {
        world.run(
            ops,
            Here {
                me,
                held: &held,
                scope: None,
            },
        )
    };
    let ended = || world.model().tasks[..me].iter().all(|t| t.ended);
    // In each, those who cannot be killed come at least one wait further.
    for round in 0..=OPERATIONS {
        run(&[Op::Sleep(50)]);
        if ended() {
            return true;
        }
        if plan.kill_first || round > 0 {
            for t in 0..me {
                run(&[Op::Kill(t)]);
            }
        }
        if !plan.kill_first || round > 0 {
            run(&[
                Op::EventSet(0),
                Op::EventSet(1),
                Op::ResultSet(0, true),
                Op::ResultSet(1, false),
                Op::Shutdown,
            ]);
            while world.model().queue.unfinished > 0 {
                run(&[Op::TaskDone]);
            }
            for s in 0..2 {
                for _ in 0..100 {
                    if world.model().semaphores[s].waiters.is_empty() {
                        break;
                    }
                    run(&[Op::Release(s)]);
                }
            }
        }
    }
    false
}

/// What must hold in the end, whatever the models say.
fn account(world: &World, plan: &Plan) {
    for (i, handle) in world.handles.borrow().iter().enumerate() {
        let Some(handle) = handle else {
            continue; // detached
        };
        let mut model = world.model();
        let task = &model.tasks[i];
        let raising = task.raising;
        let killed = raising == Some(Unwind::Kill) || !task.started;
        let ok = match handle.error() {
            None => !killed && raising.is_none() && handle.is_successful(),
            Some(error) if error.is_panic() => raising == Some(Unwind::Panic),
            Some(error) => killed && error.is_killed(),
        };
        if !ok {
            model.error(format!(
                "#{i} ended with {:?}, raised was {raising:?}",
                handle.error()
            ));
        }
    }
    let mut out = world.out.take();
    out.extend(queue!(world.queue, q => q.try_iter().map(|token| token.id).collect::<Vec<_>>()));
    out.sort();
    let mut put = world.put.take();
    put.sort();
    let me = plan.scripts.len();
    world.expect(me, "items that came out and were put", &out, &put);
    let sum = plan.permits[0] + world.released.get();
    let permits = world.plain.available() + world.forgotten.get();
    world.expect(me, "permits of the semaphore", &permits, &sum);
    let within = world.bounded.available() <= plan.permits[1];
    world.expect(me, "permits within the bound", &within, &true);
    let text = format!(
        "{:?} {:?} {:?} {:?}",
        world.events, world.results, world.plain, world.bounded
    );
    let text = text + &queue!(world.queue, q => format!("{q:?}"));
    for what in ["waiting", "getters", "putters", "joiners"] {
        for count in text.split(&format!("{what}: ")).skip(1) {
            world.expect(me, what, &count.starts_with('0'), &true);
        }
    }
}

/// Runs the plan, and returns what differs. `stuck` is told if that cannot be done, since somebody
/// is stuck for good; it must not return.
fn simulate(plan: &Plan, stuck: impl FnOnce(Vec<String>)) -> Vec<String> {
    let simulation = match plan.seed {
        Some(seed) => Simulation::new().seed(seed),
        None => Simulation::new(),
    };
    simulation.run(|| {
        let world = Rc::new(World::new(plan));
        let me = plan.scripts.len();
        world.model().tasks[me].started = true;
        let conducted = catch_unwind(AssertUnwindSafe(|| conduct(&world, plan)));
        if !matches!(conducted, Ok(true)) {
            let mut errors = world.model().errors.clone();
            errors.push(match conducted {
                Ok(_) => format!("somebody is stuck: {:#?}", world.model().tasks),
                Err(_) => "the root has panicked".to_owned(),
            });
            stuck(errors);
            std::process::abort();
        }
        account(&world, plan);
        let mut errors = std::mem::take(&mut world.model().errors);
        if world.model().vague {
            errors.clear(); // what is left needs no model
        }
        let ledger = world.ledger.clone();
        match Rc::try_unwrap(world) {
            Ok(world) => drop(world),
            Err(_) => errors.push("a closure was not dropped".to_owned()),
        }
        for (id, (made, dropped)) in ledger.borrow().iter().enumerate() {
            if made != dropped {
                errors.push(format!(
                    "item {id} was made {made} times and dropped {dropped} times"
                ));
            }
        }
        errors
    })
}

/// Runs the plan on a thread of its own, since one on which greenlets are stuck
/// for good cannot go on. Returns what differs.
pub(crate) fn play(plan: &Plan) -> Vec<String> {
    let (sender, receiver) = mpsc::channel();
    let plan = plan.clone();
    let thread = std::thread::spawn(move || {
        let errors = simulate(&plan, |errors| {
            let _ = sender.send(errors);
            loop {
                std::thread::park();
            }
        });
        let _ = sender.send(errors);
    });
    match receiver.recv_timeout(Duration::from_secs(20)) {
        Ok(errors) => errors,
        Err(mpsc::RecvTimeoutError::Timeout) => vec!["it hangs".to_owned()],
        Err(mpsc::RecvTimeoutError::Disconnected) => {
            let payload = thread.join().expect_err("it has sent nothing");
            let text = payload.downcast_ref::<String>().cloned();
            vec![text.unwrap_or_else(|| "it panicked".to_owned())]
        }
    }
}

/// Runs the plan on this thread. Returns what differs; if somebody is stuck, prints that and ends
/// the process. Faster than [`play`], for a fuzzer, which has a watchdog of its own.
pub(crate) fn play_here(plan: &Plan) -> Vec<String> {
    simulate(plan, |errors| {
        eprintln!("{}", report(plan, &errors));
    })
}

/// The first differences, the program, and how to keep it.
pub(crate) fn report(plan: &Plan, errors: &[String]) -> String {
    let first: Vec<_> = errors.iter().take(3).map(String::as_str).collect();
    let bytes: String = plan.to_bytes().iter().map(|b| format!("{b:02x}")).collect();
    format!(
        "{} differences:\n{}\n\n{plan}\n\nTo keep it, in tests/script/regressions/NAME.script:\n{bytes}\n",
        errors.len(),
        first.join("\n"),
    )
}

/// As a fuzz target has it.
pub(crate) fn check(data: &[u8]) {
    let plan = Plan::from_bytes(data, 16);
    let errors = play_here(&plan);
    assert!(errors.is_empty(), "{}", report(&plan, &errors));
}

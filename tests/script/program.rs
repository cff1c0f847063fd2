//! Plans as programs. They leave out what does not matter to a reader (borrows, `move`, results
//! that nobody looks at), and say in comments what the runners do around them.

use super::plan::{Arms, Lim, Op, Plan};
use super::primitives::Kind;
use super::selects::{ACQUIRE, EVENTS, GET, PUT, RESULTS};
use std::fmt::{self, Display, Formatter};

/// `name()`, or `name_timeout(ms(d))`, or the form that never waits.
struct Call<'a>(&'a str, &'a str, Lim);

impl Display for Call<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Call(name, argument, limit) = *self;
        let comma = if argument.is_empty() { "" } else { ", " };
        match limit {
            Lim::Ever => write!(f, "{name}({argument})"),
            Lim::For(d) => write!(f, "{name}_timeout({argument}{comma}ms({d}))"),
            Lim::Nowait => {
                // The semaphores' forms have the word in front.
                let tried = ["acquire", "reserve"].iter().any(|t| name.starts_with(t));
                match tried {
                    true => write!(f, "try_{name}({argument})"),
                    false => write!(f, "{name}_nowait({argument})"),
                }
            }
        }
    }
}

/// An arm of a select, or (with a suffix) the future.
struct Arm<'a>(&'a Arms, usize, &'a str);

impl Display for Arm<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Arm(arms, kind, suffix) = *self;
        let semaphore = ["plain", "bounded"][arms.semaphore];
        match kind {
            GET => write!(f, "get{suffix}(queue)"),
            PUT => write!(f, "put{suffix}(queue, item({}))", arms.priority),
            ACQUIRE => write!(f, "acquire_many{suffix}({semaphore}, {})", arms.n),
            EVENTS..RESULTS => write!(f, "wait{suffix}(e{})", kind - EVENTS),
            _ => write!(f, "wait{suffix}(r{})", kind - RESULTS),
        }
    }
}

fn limit(limit: Option<u64>) -> Lim {
    limit.map_or(Lim::Ever, Lim::For)
}

/// Where a list of operations stands.
#[derive(Clone, Copy)]
struct Place {
    greenlets: usize,
    depth: usize,
    /// The depths of the timeout scopes that are open, one bit each.
    scopes: u32,
}

impl Place {
    /// The depth of the timeout scope so many further out than the innermost one.
    fn scope(self, out: usize) -> u32 {
        let depths = (0..u32::BITS).rev().filter(|d| self.scopes & 1 << d != 0);
        depths.take(out + 1).last().unwrap_or(0)
    }
}

fn write(f: &mut Formatter<'_>, ops: &[Op], place: Place) -> fmt::Result {
    let Place {
        greenlets, depth, ..
    } = place;
    let indent = "    ".repeat(depth);
    let inner = Place {
        depth: depth + 1,
        ..place
    };
    let semaphore = |s: usize| ["plain", "bounded"][s];
    for op in ops {
        f.write_str(&indent)?;
        match op {
            Op::Sleep(0) => writeln!(f, "yield_now();"),
            Op::Sleep(d) => writeln!(f, "sleep(ms({d}));"),
            Op::Kill(t) => writeln!(f, "g{}.kill();", t % greenlets),
            Op::WaitFor(t, d) => writeln!(f, "g{}.wait_timeout(ms({d}));", t % greenlets),
            Op::Detach(t) => writeln!(f, "drop(g{});", t % greenlets),
            Op::Timeout(d, body) => {
                writeln!(f, "Timeout::after(ms({d})).run(|t{depth}| {{")?;
                let scopes = place.scopes | 1 << depth;
                write(f, body, Place { scopes, ..inner })?;
                writeln!(f, "{indent}}});")
            }
            Op::Shield(body) => {
                writeln!(f, "shield(|| {{")?;
                write(f, body, inner)?;
                writeln!(f, "{indent}}});")
            }
            Op::Swallow(body) => {
                writeln!(f, "catch_unwind(|| {{")?;
                write(f, body, inner)?;
                writeln!(f, "{indent}}});")
            }
            Op::Panic => writeln!(f, "resume_unwind(Box::new(Deliberate));"),
            Op::Reset(..) | Op::Cancel(_) if place.scopes == 0 => {
                writeln!(f, "// {op:?}: there is no scope")
            }
            Op::Reset(d, out) => writeln!(f, "t{}.reset(ms({d}));", place.scope(*out)),
            Op::Cancel(out) => writeln!(f, "t{}.cancel();", place.scope(*out)),
            Op::EventWait(e, l) => writeln!(f, "e{e}.{};", Call("wait", "", limit(*l))),
            Op::EventSet(e) => writeln!(f, "e{e}.set();"),
            Op::EventClear(e) => writeln!(f, "e{e}.clear();"),
            Op::EventPulse(e) => writeln!(f, "e{e}.set(); e{e}.clear();"),
            Op::ResultWait(r, l) => writeln!(f, "r{r}.{};", Call("wait", "", limit(*l))),
            Op::ResultGet(r) => writeln!(f, "r{r}.get_nowait();"),
            Op::ResultSet(r, true) => writeln!(f, "r{r}.set(N);"),
            Op::ResultSet(r, false) => writeln!(f, "r{r}.set_error(N);"),
            Op::WaitAny(set, t, l) => {
                let names = ["e0", "e1", "r0", "r1", &format!("g{}", t % greenlets)];
                let names = (0..5).filter(|i| set & 1 << i != 0).map(|i| names[i]);
                let all = format!("[{}]", names.collect::<Vec<_>>().join(", "));
                writeln!(f, "{};", Call("wait_any", &all, limit(*l)))
            }
            Op::Put(p, l) => writeln!(f, "queue.{};", Call("put", &format!("item({p})"), *l)),
            Op::Get(l) => writeln!(f, "queue.{};", Call("get", "", *l)),
            Op::GetMany(n, l) => writeln!(f, "queue.{};", Call("get_many", &n.to_string(), *l)),
            Op::Drain => writeln!(f, "queue.drain();"),
            Op::PutMany(n, p, l) => {
                let items = format!("[{n} items from {p}]");
                writeln!(f, "queue.{};", Call("put_many", &items, *l))
            }
            Op::ForcePut(p) => writeln!(f, "queue.force_put(item({p}));"),
            Op::Reserve(l, item, body) => {
                let call = Call("reserve", "", *l);
                writeln!(f, "if let Ok(slot) = queue.{call} {{")?;
                write(f, body, inner)?;
                match item {
                    Some(p) => writeln!(f, "{indent}    slot.put(item({p}));")?,
                    None => writeln!(f, "{indent}    drop(slot);")?,
                }
                writeln!(f, "{indent}}}")
            }
            Op::Peek => writeln!(f, "queue.peek_nowait();"),
            Op::TaskDone => writeln!(f, "queue.task_done(); // if any is unfinished"),
            Op::Join(l) => writeln!(f, "queue.{};", Call("join", "", limit(*l))),
            Op::Shutdown => writeln!(f, "queue.shutdown();"),
            Op::ShutdownNow => writeln!(f, "queue.shutdown_now();"),
            Op::Acquire(s, n, l, owned) => {
                let s = semaphore(*s);
                let call = match (owned, l, n) {
                    (true, ..) => Call("acquire_owned", "", *l),
                    (_, Lim::Nowait, _) | (_, _, 1) => Call("acquire", "", *l),
                    (_, _, n) => Call("acquire_many", &n.to_string(), *l),
                };
                writeln!(f, "permits.push({s}.{call});")
            }
            Op::Release(s) => writeln!(f, "{}.release();", semaphore(*s)),
            Op::Select(arms) => {
                writeln!(f, "select_biased! {{")?;
                for kind in arms.kinds() {
                    writeln!(f, "{indent}    {} => ..,", Arm(arms, kind, ""))?;
                }
                match arms.limit {
                    Lim::Ever => {}
                    Lim::For(d) => writeln!(f, "{indent}    default(ms({d})) => ..,")?,
                    Lim::Nowait => writeln!(f, "{indent}    default => ..,")?,
                }
                writeln!(f, "{indent}}}")
            }
            Op::Poll(arms) => {
                let polls = arms.kinds().into_iter();
                let polls: Vec<_> = polls.map(|k| Arm(arms, k, "_async").to_string()).collect();
                writeln!(f, "poll_each_once_until_ready([{}]);", polls.join(", "))
            }
            Op::Return => writeln!(f, "drop(permits.remove(0)); // if there is one"),
            Op::Forget => writeln!(f, "permits.remove(0).forget(); // if there is one"),
        }?;
    }
    Ok(())
}

impl Display for Plan {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.seed {
            Some(seed) => writeln!(f, "// Simulation::new().seed({seed})")?,
            None => writeln!(f, "// Simulation::new()")?,
        }
        let name = match self.kind {
            Kind::Fifo => "Queue",
            Kind::Lifo => "LifoQueue",
            Kind::Priority => "PriorityQueue",
        };
        match self.capacity {
            None => writeln!(f, "let queue = {name}::unbounded();")?,
            Some(0) => writeln!(f, "let queue = {name}::rendezvous();")?,
            Some(n) => writeln!(f, "let queue = {name}::bounded({n});")?,
        }
        writeln!(f, "let (e0, e1) = (Event::new(), Event::new());")?;
        writeln!(
            f,
            "let (r0, r1) = (AsyncResult::new(), AsyncResult::new());"
        )?;
        let [plain, bounded] = self.permits;
        writeln!(f, "let plain = Semaphore::new({plain});")?;
        writeln!(f, "let bounded = BoundedSemaphore::new({bounded});")?;
        for (i, (delay, ops)) in self.scripts.iter().enumerate() {
            match delay {
                0 => writeln!(f, "let g{i} = spawn(|| {{")?,
                d => writeln!(f, "let g{i} = spawn_later(ms({d}), || {{")?,
            }
            let greenlets = self.scripts.len();
            let (depth, scopes) = (1, 0);
            let place = Place {
                greenlets,
                depth,
                scopes,
            };
            write(f, ops, place)?;
            writeln!(f, "}});")?;
        }
        let end = match self.kill_first {
            true => "killed, and then all is set, shut down and released",
            false => "let go: all is set, shut down and released; then they are killed",
        };
        write!(f, "// After 50 ms those that are left are {end}.")
    }
}

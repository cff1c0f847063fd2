//! Plans from bytes, and back.
//!
//! The head is three bytes, and the seed's eight if the second bit of the third is set. Then come
//! the greenlets: the delay of the start, and operations, a byte and its arguments each, in a flat
//! row. Some open a block, `END` closes the innermost, `NEXT` begins another greenlet. Whatever is
//! open at the end is closed there. All of it is bounded: a block that would be too deep is
//! dissolved in the one around it, and what would be too much is left out.

use super::bytes::Bytes;
use super::model::Ms;
use super::plan::{Arms, Lim, Op, Plan};
use super::primitives::Kind;

/// Blocks within blocks.
const DEPTH: usize = 4;
/// In all.
pub(crate) const OPERATIONS: usize = 1500;

const END: u8 = 0;
const NEXT: u8 = 1;
const RESERVE: u8 = 36;
const SELECT: u8 = 38;
const POLL: u8 = 39;
const CODES: u8 = 64;

/// By their codes. `bounded(0)` is a rendezvous.
const QUEUES: [(Kind, Option<usize>); 16] = [
    (Kind::Fifo, None),
    (Kind::Fifo, Some(0)),
    (Kind::Fifo, Some(1)),
    (Kind::Fifo, Some(2)),
    (Kind::Fifo, Some(3)),
    (Kind::Fifo, Some(4)),
    (Kind::Lifo, None),
    (Kind::Lifo, Some(1)),
    (Kind::Lifo, Some(2)),
    (Kind::Lifo, Some(3)),
    (Kind::Lifo, Some(4)),
    (Kind::Priority, None),
    (Kind::Priority, Some(1)),
    (Kind::Priority, Some(2)),
    (Kind::Priority, Some(3)),
    (Kind::Priority, Some(4)),
];

fn time(bytes: &mut Bytes<'_>) -> Ms {
    1 + Ms::from(bytes.below(5))
}

fn maybe(bytes: &mut Bytes<'_>) -> Option<Ms> {
    match bytes.below(6) {
        0 => None,
        d => Some(d.into()),
    }
}

fn limit(bytes: &mut Bytes<'_>) -> Lim {
    match bytes.below(7) {
        0 => Lim::Ever,
        6 => Lim::Nowait,
        d => Lim::For(d.into()),
    }
}

fn arms(bytes: &mut Bytes<'_>, limit: fn(&mut Bytes<'_>) -> Lim) -> Arms {
    let set = 1 + bytes.below(127);
    let first = bytes.index(Arms::KINDS as u8);
    let n = bytes.below(30);
    Arms {
        set,
        first,
        priority: n % 3,
        semaphore: usize::from(n / 3 % 2),
        n: usize::from(n / 6),
        limit: limit(bytes),
    }
}

/// A greenlet's number.
fn who(bytes: &mut Bytes<'_>) -> usize {
    bytes.index(64)
}

/// An operation without a block.
fn simple(code: u8, bytes: &mut Bytes<'_>) -> Op {
    match code {
        5 => Op::Sleep(bytes.below(5).into()),
        6 => Op::Kill(who(bytes)),
        7 => Op::WaitFor(who(bytes), time(bytes)),
        8 => Op::Detach(who(bytes)),
        9 => Op::Panic,
        10 => match bytes.below(24) {
            n @ 20.. => Op::Cancel(usize::from(n - 20)),
            n => Op::Reset(Ms::from(1 + n % 5), usize::from(n / 5)),
        },
        11 => Op::Cancel(0),
        12 => Op::EventWait(bytes.index(2), maybe(bytes)),
        13 => Op::EventSet(bytes.index(2)),
        14 => Op::EventClear(bytes.index(2)),
        15 => Op::EventPulse(bytes.index(2)),
        16 => Op::ResultWait(bytes.index(2), maybe(bytes)),
        17 => Op::ResultGet(bytes.index(2)),
        18 => {
            let n = bytes.byte();
            Op::ResultSet((n & 1).into(), n & 2 != 0)
        }
        19 => {
            let n = bytes.below(30);
            let set = (1 + n % 15) | (n / 15) << 4;
            Op::WaitAny(set, who(bytes), maybe(bytes))
        }
        20 => Op::Put(bytes.below(3), limit(bytes)),
        21 => Op::Get(limit(bytes)),
        22 => Op::Peek,
        23 => Op::TaskDone,
        24 => Op::Join(maybe(bytes)),
        25 => Op::Shutdown,
        26 => Op::ShutdownNow,
        27 => {
            let n = bytes.byte();
            Op::Acquire((n & 1).into(), bytes.index(5), limit(bytes), n & 2 != 0)
        }
        28 => Op::Release(bytes.index(2)),
        29 => Op::Return,
        30 => Op::Forget,
        32 => Op::GetMany(bytes.index(5), limit(bytes)),
        33 => Op::Drain,
        34 => Op::PutMany(bytes.index(5), bytes.below(3), limit(bytes)),
        35 => Op::ForcePut(bytes.below(3)),
        SELECT => Op::Select(arms(bytes, limit)),
        POLL => Op::Poll(arms(bytes, |_| Lim::Nowait)),
        // The same once more, so that few codes mean the same.
        37..=63 => simple(code - 32, bytes),
        // Time must go by in most programs.
        _ => Op::Sleep(time(bytes)),
    }
}

/// Operations until the block, or the greenlet, ends. True: it was by `NEXT`, which ends all.
fn block(bytes: &mut Bytes<'_>, depth: usize, left: &mut usize, ops: &mut Vec<Op>) -> bool {
    while let Some(code) = bytes.next() {
        let code = code % CODES;
        match code {
            END if depth > 0 => return false,
            END => continue,
            NEXT => return true,
            _ => {}
        }
        let fits = *left > 0;
        *left = left.saturating_sub(1);
        let op = match code {
            2..=4 | RESERVE => {
                let d = if code == 2 { time(bytes) } else { 0 };
                let place =
                    (code == RESERVE).then(|| (limit(bytes), bytes.below(4).checked_sub(1)));
                if depth == DEPTH || !fits {
                    continue; // its operations are those of the block around it
                }
                let mut body = Vec::new();
                let next = block(bytes, depth + 1, left, &mut body);
                ops.push(match code {
                    2 => Op::Timeout(d, body),
                    3 => Op::Shield(body),
                    4 => Op::Swallow(body),
                    _ => {
                        let (limit, item) = place.expect("it was read");
                        Op::Reserve(limit, item, body)
                    }
                });
                if next {
                    return true;
                }
                continue;
            }
            code => simple(code, bytes),
        };
        if fits {
            ops.push(op);
        }
    }
    false
}

impl Plan {
    /// Of at most so many greenlets, and at least one.
    pub(crate) fn from_bytes(bytes: &[u8], most: usize) -> Plan {
        let mut bytes = Bytes::new(bytes);
        let (kind, capacity) = QUEUES[bytes.index(16)];
        let permits = bytes.below(12);
        let flags = bytes.byte();
        let seed = (flags & 2 != 0).then(|| u64::from_le_bytes([(); 8].map(|()| bytes.byte())));
        let mut plan = Plan {
            seed,
            kind,
            capacity,
            permits: [usize::from(permits % 4), 1 + usize::from(permits / 4)],
            scripts: Vec::new(),
            kill_first: flags & 1 != 0,
        };
        let (mut left, mut more) = (OPERATIONS, true);
        while more && plan.scripts.len() < most {
            let (delay, mut ops) = (bytes.below(6).into(), Vec::new());
            more = block(&mut bytes, 0, &mut left, &mut ops);
            plan.scripts.push((delay, ops));
        }
        plan
    }

    /// Bytes that are this plan, as long as it is within the bounds.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let queue = (self.kind, self.capacity);
        let queue = QUEUES.iter().position(|&q| q == queue);
        let [plain, bounded] = self.permits;
        let flags = u8::from(self.kill_first) | u8::from(self.seed.is_some()) << 1;
        let mut out = vec![
            queue.expect("a queue with a code") as u8,
            (plain + 4 * (bounded - 1)) as u8,
            flags,
        ];
        out.extend(self.seed.into_iter().flat_map(u64::to_le_bytes));
        for (i, (delay, ops)) in self.scripts.iter().enumerate() {
            out.extend((i > 0).then_some(NEXT));
            out.push(*delay as u8);
            write(ops, &mut out);
        }
        out
    }
}

fn write(ops: &[Op], out: &mut Vec<u8>) {
    let maybe = |d: Option<Ms>| d.unwrap_or(0) as u8;
    let limit = |limit| match limit {
        Lim::Ever => 0,
        Lim::For(d) => d as u8,
        Lim::Nowait => 6,
    };
    let time = |d: Ms| (d - 1) as u8;
    for op in ops {
        let (code, body): (Vec<u8>, &[Op]) = match op {
            Op::Timeout(d, body) => (vec![2, time(*d)], body),
            Op::Shield(body) => (vec![3], body),
            Op::Swallow(body) => (vec![4], body),
            Op::Reserve(l, item, body) => {
                let item = item.map_or(0, |priority| priority + 1);
                (vec![RESERVE, limit(*l), item], body)
            }
            op => {
                let code = match *op {
                    Op::Sleep(5..) => vec![31, 4],
                    Op::Sleep(d) => vec![5, d as u8],
                    Op::Kill(t) => vec![6, t as u8],
                    Op::WaitFor(t, d) => vec![7, t as u8, time(d)],
                    Op::Detach(t) => vec![8, t as u8],
                    Op::Panic => vec![9],
                    Op::Reset(d, out) => vec![10, time(d) + 5 * out as u8],
                    Op::Cancel(0) => vec![11],
                    Op::Cancel(out) => vec![10, 20 + out as u8],
                    Op::EventWait(e, l) => vec![12, e as u8, maybe(l)],
                    Op::EventSet(e) => vec![13, e as u8],
                    Op::EventClear(e) => vec![14, e as u8],
                    Op::EventPulse(e) => vec![15, e as u8],
                    Op::ResultWait(r, l) => vec![16, r as u8, maybe(l)],
                    Op::ResultGet(r) => vec![17, r as u8],
                    Op::ResultSet(r, ok) => vec![18, r as u8 | u8::from(ok) << 1],
                    Op::WaitAny(set, t, l) => {
                        let n = (set & 15) - 1 + 15 * (set >> 4);
                        vec![19, n, t as u8, maybe(l)]
                    }
                    Op::Put(p, l) => vec![20, p, limit(l)],
                    Op::Get(l) => vec![21, limit(l)],
                    Op::GetMany(n, l) => vec![32, n as u8, limit(l)],
                    Op::Drain => vec![33],
                    Op::PutMany(n, p, l) => vec![34, n as u8, p, limit(l)],
                    Op::ForcePut(p) => vec![35, p],
                    Op::Peek => vec![22],
                    Op::TaskDone => vec![23],
                    Op::Join(l) => vec![24, maybe(l)],
                    Op::Shutdown => vec![25],
                    Op::ShutdownNow => vec![26],
                    Op::Acquire(s, n, l, owned) => {
                        vec![27, s as u8 | u8::from(owned) << 1, n as u8, limit(l)]
                    }
                    Op::Release(s) => vec![28, s as u8],
                    Op::Select(a) => {
                        let n = a.priority + 3 * (a.semaphore + 2 * a.n) as u8;
                        vec![SELECT, a.set - 1, a.first as u8, n, limit(a.limit)]
                    }
                    Op::Poll(a) => {
                        let n = a.priority + 3 * (a.semaphore + 2 * a.n) as u8;
                        vec![POLL, a.set - 1, a.first as u8, n]
                    }
                    Op::Return => vec![29],
                    Op::Forget => vec![30],
                    Op::Timeout(..) | Op::Shield(_) | Op::Swallow(_) | Op::Reserve(..) => {
                        unreachable!("above")
                    }
                };
                out.extend(code);
                continue;
            }
        };
        out.extend(code);
        write(body, out);
        out.push(END);
    }
}

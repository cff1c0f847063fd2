//! Queue, its variants and rendezvous: programs 15 to 32.

use std::panic::catch_unwind;

use greenlet::sync::{GetError, LifoQueue, PriorityQueue, PutError, Queue};
use greenlet::{spawn, yield_now};

use super::{all, b, differs, leak, ms, printed, without};

#[test]
fn p15_queue_three_workers_nowait() {
    let got = printed(|| {
        let q = leak(Queue::unbounded());
        for i in 0..8 {
            q.put(i).expect("unbounded");
        }
        let worker = |n: &'static str| {
            spawn(move || {
                while let Ok(item) = q.get_nowait() {
                    say!("{n} took {item}");
                    yield_now();
                }
                say!("{n} quits");
            })
        };
        all(vec![worker("x"), worker("y"), worker("z")]);
    });
    assert_eq!(got, gevent_said!("15_queue_three_workers_nowait"));
}

#[test]
fn p17_queue_greedy_consumer_quirk() {
    let got = printed(|| {
        let q = leak(Queue::unbounded());
        let consumer = |n: &'static str| {
            spawn(move || {
                for _ in 0..2 {
                    say!("{n} {}", q.get().expect("open"));
                }
            })
        };
        let gs = vec![consumer("a"), consumer("b"), consumer("c")];
        yield_now();
        for i in 0..6 {
            q.put(i).expect("unbounded");
        }
        all(gs);
    });
    // 0, 1 and 2 went to the three that waited; nobody can take them any more.
    differs(
        &got,
        gevent_said!("17_queue_greedy_consumer_quirk"),
        "a 0\na 3\nb 1\nb 4\nc 2\nc 5\n",
    );
}

#[test]
fn p20_queue_full_empty_errors() {
    let got = printed(|| {
        let q = Queue::bounded(2);
        let get = |name: &str, r: Result<&str, GetError>| match r {
            Ok(item) => say!("{name} {item}"),
            Err(GetError::Empty) => say!("{name} empty"),
            Err(e) => say!("{name} {e}"),
        };
        let put = |name: &str, r: Result<(), PutError<&str>>| match r {
            Ok(()) => say!("{name} ok"),
            Err(PutError::Full(back)) => {
                assert_eq!(back, "c", "the item comes back");
                say!("{name} full");
            }
            Err(e) => say!("{name} {e}"),
        };
        get("get_nowait", q.get_nowait());
        get("get timed", q.get_timeout(ms(10)));
        get("get timeout 0", q.get_timeout(ms(0)));
        put("put a", q.put("a"));
        put("put_nowait b", q.put_nowait("b"));
        put("put_nowait c", q.put_nowait("c"));
        put("put block=False", q.put_timeout("c", ms(0)));
        put("put timed", q.put_timeout("c", ms(10)));
        get("get", q.get());
        put("put_nowait c", q.put_nowait("c"));
        say!(
            "size {} maxsize {}",
            q.len(),
            q.capacity().expect("bounded")
        );
    });
    assert_eq!(
        got,
        without(
            gevent_said!("20_queue_full_empty_errors"),
            &[" truthy when empty 1"]
        )
    );
}

#[test]
fn p21_queue_maxsize_forms() {
    let got = printed(|| {
        let show = |asked: &str, q: Queue<i32>| {
            say!(
                "asked {asked} bounded {} full {}",
                b(q.capacity().is_some()),
                b(q.is_full())
            );
        };
        show("none", Queue::unbounded());
        match catch_unwind(|| Queue::<i32>::bounded(0)) {
            Ok(_) => say!("asked 0 accepted"),
            Err(why) => {
                let why = why.downcast_ref::<String>().map_or_else(
                    || why.downcast_ref::<&str>().expect("a text").to_string(),
                    String::clone,
                );
                say!(
                    "asked 0 refused, points to rendezvous {}",
                    b(why.contains("rendezvous"))
                );
            }
        }
        let q = Queue::<i32>::rendezvous();
        say!(
            "rendezvous capacity {} empty {} full {}",
            q.capacity().expect("bounded"),
            b(q.is_empty()),
            b(q.is_full())
        );
        show("2", Queue::bounded(2));
        let q = Queue::unbounded();
        for i in 1..=3 {
            q.put(i).expect("unbounded");
        }
        say!(
            "initial {} full {} pending tasks {}",
            q.len(),
            b(q.is_full()),
            q.unfinished()
        );
    });
    differs(
        &got,
        gevent_said!("21_queue_maxsize_forms"),
        "asked none bounded 0 full 0\n\
         asked 0 refused, points to rendezvous 1\n\
         rendezvous capacity 0 empty 1 full 1\n\
         asked 2 bounded 1 full 0\n\
         initial 3 full 0 pending tasks 3\n",
    );
}

#[test]
fn p25_queue_peek() {
    let got = printed(|| {
        let q = leak(Queue::unbounded());
        let getter = spawn(|| say!("get 2 {}", q.get().expect("open")));
        yield_now();
        q.put("A").expect("unbounded");
        // The getter has A already, though it has not run: there is nothing left to peek at.
        say!("peek while handed over {}", b(q.peek_nowait().is_ok()));
        yield_now();
        say!("size {}", q.len());
        q.put("B").expect("unbounded");
        all(vec![getter]);
        say!(
            "size {} next {} {}",
            q.len(),
            q.peek_nowait().expect("B"),
            q.get().expect("B")
        );
        if q.peek_nowait() == Err(GetError::Empty) {
            say!("empty");
        }
    });
    differs(
        &got,
        gevent_said!("25_queue_peek"),
        "peek while handed over 0\nget 2 A\nsize 0\nsize 1 next B B\nempty\n",
    );
}

#[test]
fn p27_queue_lifo_priority() {
    let got = printed(|| {
        let row = |items: [i32; 4]| items.map(|i| i.to_string()).join(" ");
        let s = LifoQueue::unbounded();
        for i in [1, 2, 3, 4] {
            s.put(i).expect("unbounded");
        }
        let peek = s.peek_nowait().expect("four items");
        say!(
            "lifo peek {peek} order {}",
            row([(); 4].map(|()| s.get().expect("four items")))
        );
        let p = leak(PriorityQueue::unbounded());
        for i in [5, 1, 3, 2] {
            p.put(i).expect("unbounded");
        }
        let peek = p.peek_nowait().expect("four items");
        say!(
            "prio peek {peek} order {}",
            row([(); 4].map(|()| p.get().expect("four items")))
        );
        let g = spawn(|| p.get().expect("open"));
        yield_now();
        p.put(9).expect("unbounded");
        p.put(4).expect("unbounded");
        let blocked = g.join().expect("no panic");
        say!(
            "blocked getter {blocked} left {}",
            p.get().expect("one left")
        );
    });
    // 9 went to the getter that waited when it was put.
    differs(
        &got,
        gevent_said!("27_queue_lifo_priority"),
        "lifo peek 4 order 4 3 2 1\nprio peek 1 order 1 2 3 5\nblocked getter 9 left 4\n",
    );
}

#[test]
fn p29_queue_shutdown() {
    fn get(name: &str, q: &Queue<String>) {
        match q.get() {
            Ok(item) => say!("{name} {item}"),
            Err(GetError::ShutDown) => say!("{name} shut down"),
            Err(e) => say!("{name} {e}"),
        }
    }
    fn put(name: &str, q: &Queue<String>, item: &str) {
        match q.put(item.to_owned()) {
            Ok(()) => say!("{name} stored"),
            Err(PutError::ShutDown(back)) => {
                assert_eq!(back, item, "the item comes back");
                say!("{name} shut down");
            }
            Err(e) => say!("{name} {e}"),
        }
    }
    let got = printed(|| {
        let q = leak(Queue::bounded(1));
        let gs = (0..2)
            .map(|i| spawn(move || get(&format!("getter{i}"), q)))
            .collect();
        yield_now();
        q.shutdown();
        say!("shutdown returned");
        all(gs);
        get("late get", q);
        put("late put", q, "1");
        let q = leak(Queue::bounded(1));
        q.put("kept".to_owned()).expect("room for one");
        let gs = (0..2)
            .map(|i| spawn(move || put(&format!("putter{i}"), q, &i.to_string())))
            .collect();
        yield_now();
        q.shutdown();
        all(gs);
        get("drain", q);
        get("drained", q);
    });
    assert_eq!(got, gevent_said!("29_queue_shutdown"));
}

#[test]
fn p31_queue_steal_quirk() {
    let got = printed(|| {
        let q = leak(Queue::unbounded());
        let g = spawn(|| match q.get_timeout(ms(20)) {
            Ok(item) => say!("consumer got {item}"),
            Err(_) => say!("consumer empty"),
        });
        yield_now();
        q.put("x").expect("unbounded");
        match q.get_nowait() {
            Ok(item) => say!("main stole {item}"),
            Err(_) => say!("main stole nothing"),
        }
        yield_now();
        say!("consumer still waiting {}", b(!g.is_finished()));
        all(vec![g]);
    });
    differs(
        &got,
        gevent_said!("31_queue_steal_quirk"),
        "main stole nothing\nconsumer got x\nconsumer still waiting 0\n",
    );
}

#[test]
fn p32_channel_rendezvous() {
    let got = printed(|| {
        let c = leak(Queue::rendezvous());
        let sender = || {
            for x in ["a", "b"] {
                say!("sending {x}");
                c.put(x).expect("open");
                say!("sent {x}");
            }
        };
        let receiver = || {
            for _ in 0..2 {
                say!("receiving");
                say!("received {}", c.get().expect("open"));
            }
        };
        all(vec![spawn(sender), spawn(receiver)]);
        say!("--");
        all(vec![spawn(receiver), spawn(sender)]);
    });
    // Who meets a waiting partner goes on; in gevent the receiver always runs first.
    differs(
        &got,
        gevent_said!("32_channel_rendezvous"),
        "sending a\nreceiving\nreceived a\nreceiving\nsent a\nsending b\nsent b\nreceived b\n\
         --\n\
         receiving\nsending a\nsent a\nsending b\nreceived a\nreceiving\nreceived b\nsent b\n",
    );
}

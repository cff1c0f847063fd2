//! Pools and groups: programs 64 to 67, and 85.

use std::sync::Arc;

use greenlet::sync::AsyncResult;
use greenlet::{Group, Pool, sleep, spawn, yield_now};

use super::{b, differs, message, ms, printed};

fn words<T: ToString>(items: impl IntoIterator<Item = T>) -> String {
    let items: Vec<_> = items.into_iter().map(|item| item.to_string()).collect();
    items.join(" ")
}

#[test]
fn p64_pool_map_family() {
    let job = |t: u64| {
        sleep(ms(t * 25));
        t * 10
    };
    let got = printed(|| {
        let naps = [3, 1, 2];
        say!("map {}", words(Pool::new(3).map(naps, job).unwrap()));
        let all = |results: greenlet::Imap<u64>| words(results.map(Result::unwrap));
        say!("imap {}", all(Pool::new(3).imap(naps, job)));
        say!("unordered {}", all(Pool::new(3).imap_unordered(naps, job)));
        let of_1 = all(Pool::new(1).imap_unordered(naps, job));
        say!("unordered of 1 {of_1}");
        let two = [1, 2, 3].into_iter().zip([10, 20, 30]);
        let two = all(Pool::new(2).imap(two, |(a, b)| a + b));
        let empty = Pool::new(2).map([], job).unwrap();
        say!("two inputs {two} empty {}", empty.len());
        let applied = Pool::new(2).spawn(move || job(1)).join().unwrap();
        let (member, log) = (
            Pool::new(2).spawn(move || job(2)),
            Arc::new(AsyncResult::<u64>::new()),
        );
        let append = log.clone();
        member.link(move |outcome| append.set(*outcome.as_ref().unwrap()).unwrap());
        say!("apply {applied} async {}", member.join().unwrap());
        yield_now();
        say!("callback {}", log.value().unwrap());
        let p = Pool::new(1);
        let own = p.clone();
        let nested = p.spawn(move || match own.try_spawn(move || job(1)) {
            Ok(member) => member.join().unwrap(),
            Err(full) => full.into_inner()(),
        });
        let nested = nested.join().unwrap();
        say!("nested apply from inside the pool {nested}");
    });
    assert_eq!(got, gevent_said!("64_pool_map_family"));
}

#[test]
fn p65_pool_errors() {
    let inv = |x: u64| 12 / x;
    let got = printed(|| {
        if let Err(error) = Pool::new(3).map([1, 0, 2], inv) {
            assert_eq!(message(&error.error), "attempt to divide by zero");
            say!("map raised");
        }
        for (name, results) in [
            ("imap", Pool::new(1).imap([3, 0, 4], inv)),
            (
                "imap_unordered",
                Pool::new(1).imap_unordered([3, 0, 4], inv),
            ),
        ] {
            let out = results.map(|r| r.map_or("err".to_owned(), |n| n.to_string()));
            say!("{name} {}", words(out));
        }
        let src = [1, 2]
            .into_iter()
            .chain(std::iter::from_fn(|| panic!("input")));
        let raised = spawn(move || Pool::new(3).map(src, inv)).join();
        if message(&raised.unwrap_err()) == "input" {
            say!("input error raised");
        }
    });
    assert_eq!(got, gevent_said!("65_pool_errors"));
}

#[test]
fn p67_group() {
    let nap = |n: u64| move || sleep(ms(n));
    let bad = || {
        sleep(ms(5));
        panic!("x");
    };
    let got = printed(|| {
        let g = Group::new();
        g.join();
        say!("empty {} {}", b(g.is_empty()), b(!g.is_empty()));
        let (x, y) = (g.spawn(nap(5000)), g.spawn(nap(5000)));
        say!("size {} has a {}", g.len(), b(g.contains(x.id())));
        x.kill();
        x.wait();
        say!("size {} a dead {}", g.len(), b(x.is_finished()));
        g.kill();
        say!("size {} b dead {}", g.len(), b(y.is_finished()));
        g.spawn(nap(10));
        let failing = g.spawn(bad);
        g.join();
        if failing.error().is_some_and(|error| message(error) == "x") {
            say!("join raised");
        }
        say!("size {}", g.len());
        g.spawn(nap(5000));
        say!("join timed {}", b(g.join_timeout(ms(5))));
        g.kill_nowait();
        say!("async kill size {}", g.len());
        g.join();
        say!("size {}", g.len());
    });
    // A member leaves before its killer, who waits for it, goes on: `size 1` in the third line.
    differs(
        &got,
        gevent_said!("67_group"),
        "empty 1 0\nsize 2 has a 1\nsize 1 a dead 1\nsize 0 b dead 1\njoin raised\nsize 0\njoin timed 0\n\
         async kill size 1\nsize 0\n",
    );
}

#[test]
fn p85_pool_nested_spawn_deadlock() {
    let got = printed(|| {
        let p = Pool::new(1);
        let own = p.clone();
        let inner = || say!("not printed");
        let outer = p.spawn(move || {
            say!("outer");
            own.spawn(inner);
            say!("not printed");
        });
        p.join();
        if outer
            .error()
            .is_some_and(|error| message(error).contains("is a deadlock"))
        {
            say!("deadlock");
        }
        say!("in pool {}", p.len());
        p.kill();
        say!("in pool {}", p.len());
    });
    // Who has caused it is told, and has ended; gevent tells the joiner, and keeps the member.
    differs(
        &got,
        gevent_said!("85_pool_nested_spawn_deadlock"),
        "outer\ndeadlock\nin pool 0\nin pool 0\n",
    );
}

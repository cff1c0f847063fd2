//! Groups and pools: places are freed once, and nothing of a map is left.

use crate::stage::{Actor, Stage, explore, ms, unless_killed};
use greenlet::{Greenlet, Group, Pool, join_all, sleep};
use std::rc::Rc;

/// Afterwards, when what was killed has ended, every place is free, nobody is in line, and all can be had.
fn pool(stage: &Stage, size: usize) -> Pool {
    let pool = Pool::new(size);
    let kept = pool.clone();
    stage.afterwards(move || {
        let text = format!("{kept:?}");
        assert!(
            text.contains("waiting: 0") && !text.contains("waiting: 1"),
            "{text}"
        );
        assert_eq!((kept.len(), kept.free_count()), (0, size), "{text}");
        kept.join();
        let all: Vec<_> = (0..size).map(|_| kept.try_spawn(|| ()).unwrap()).collect();
        assert!(kept.try_spawn(|| ()).is_err());
        assert!(join_all(all).iter().all(Result::is_ok));
        assert_eq!(kept.map(0..3, |n| n).unwrap(), [0, 1, 2]);
    });
    pool
}

/// The work of a member: so long, and with a witness in it.
fn work(a: &Actor, n: u64) -> impl FnOnce() -> u64 + use<> {
    let witness = a.stage.witness();
    move || {
        let _witness = witness;
        sleep(ms(n));
        n
    }
}

/// The end of `run` kills members too.
fn gives(member: Greenlet<u64>, n: u64) {
    assert!(unless_killed(member.join()).is_none_or(|value| value == n));
}

#[test]
fn spawn() {
    explore(|stage| {
        let pool = pool(stage, 2);
        for i in 0..4 {
            let pool = pool.clone();
            stage.actor(move |a| {
                let (first, second) = (work(a, 2), work(a, 1 + i));
                let one = a.waits("Pool::spawn", || pool.spawn(first));
                let two = a.waits("Pool::spawn", || pool.spawn(second));
                a.waits("join", || gives(one, 2));
                a.waits("join", || gives(two, 1 + i));
            });
        }
    });
}

#[test]
fn spawn_timeout_that_ties_with_an_end() {
    explore(|stage| {
        let pool = pool(stage, 1);
        for limit in [1, 2, 4] {
            let pool = pool.clone();
            stage.actor(move |a| {
                let job = work(a, 2);
                let spawned = a.waits("Pool::spawn_timeout", || pool.spawn_timeout(ms(limit), job));
                match spawned {
                    Ok(member) => a.waits("join", || gives(member, 2)),
                    Err(full) => a.waits("run here", || assert_eq!(full.into_inner()(), 2)),
                }
            });
        }
    });
}

#[test]
fn members_that_spawn() {
    explore(|stage| {
        let pool = pool(stage, 2);
        for _ in 0..3 {
            let pool = pool.clone();
            stage.actor(move |a| {
                let (own, inner) = (pool.clone(), work(a, 1));
                let outer = move || {
                    sleep(ms(1));
                    // The other one may wait as well.
                    let _ = own.spawn(inner).join();
                };
                let member = a.waits("Pool::spawn", || pool.spawn(outer));
                a.waits("join", || drop(member.join()));
            });
        }
    });
}

#[test]
fn group_join_and_kill() {
    explore(|stage| {
        let group = Group::new();
        let kept = group.clone();
        stage.afterwards(move || {
            let text = format!("{kept:?}");
            assert!(kept.is_empty() && text.contains("waiting: 0"), "{text}");
            let member = kept.spawn(|| 7);
            kept.join();
            assert_eq!(member.join().unwrap(), 7);
            let member = kept.spawn(|| sleep(ms(1)));
            kept.kill();
            assert!(member.join().unwrap_err().is_killed());
        });
        for i in 0..3 {
            let group = group.clone();
            stage.actor(move |a| {
                group.spawn(work(a, 3 + i));
                match i {
                    0 => a.waits("Group::join", || group.join()),
                    1 => a.waits("Group::join_timeout", || {
                        let _ = group.join_timeout(ms(4));
                    }),
                    _ => {
                        a.sleeps(2);
                        group.spawn(work(a, 5));
                        a.waits("Group::kill", || group.kill());
                    }
                }
            });
        }
    });
}

#[test]
fn pool_join_and_kill() {
    explore(|stage| {
        let pool = pool(stage, 1);
        for i in 0..4 {
            let pool = pool.clone();
            stage.actor(move |a| match i {
                0 => {
                    let job = work(a, 4);
                    a.waits("Pool::spawn", || drop(pool.spawn(job)));
                    a.waits("Pool::join", || pool.join());
                }
                3 => {
                    a.sleeps(5);
                    a.waits("Pool::kill", || pool.kill());
                }
                _ => {
                    let job = work(a, 1);
                    let member = a.waits("Pool::spawn", || pool.spawn(job));
                    a.waits("join", || drop(member.join()));
                }
            });
        }
    });
}

#[test]
fn map() {
    explore(|stage| {
        let pool = pool(stage, 2);
        for i in 0..2 {
            let pool = pool.clone();
            stage.actor(move |a| {
                let witness = Rc::new(a.stage.witness());
                let job = move |n: u64| {
                    let _witness = witness.clone();
                    sleep(ms(n));
                    n
                };
                let naps = [1, 2 + i, 1];
                let map = a.waits("Pool::map", || pool.map(naps, job));
                match map {
                    Ok(all) => assert_eq!(all, naps),
                    Err(error) => assert!(error.error.is_killed(), "{error}"),
                }
            });
        }
    });
}

#[test]
fn imaps() {
    explore(|stage| {
        let pool = pool(stage, 2);
        for unordered in [false, true] {
            let pool = pool.clone();
            stage.actor(move |a| {
                let (witness, item) = (Rc::new(a.stage.witness()), Rc::new(a.stage.witness()));
                let job = move |n: u64| {
                    let _witness = witness.clone();
                    sleep(ms(n));
                    n
                };
                let inputs = [1, 3, 2].into_iter().inspect(move |n| {
                    let _item = item.clone();
                    if *n == 3 {
                        sleep(ms(1)); // they block
                    }
                });
                let mut seen = match unordered {
                    false => pool.imap(inputs, job),
                    true => pool.imap_unordered(inputs, job),
                };
                let mut all = vec![];
                while let Some(n) = a.waits("Imap::next", || seen.next()) {
                    match n {
                        Ok(n) => all.push(n),
                        Err(error) => return assert!(error.error.is_killed(), "{error}"),
                    }
                }
                all.sort();
                assert_eq!(all, [1, 2, 3]);
            });
        }
    });
}

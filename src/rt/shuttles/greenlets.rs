//! Greenlets between hubs: joins, links, kills, spawns against the end of a hub, and
//! all of it together with the primitives.

use super::super::hub::Hub;
use super::primitives::{Board, Depot, Vault};
use super::{Count, NOW, Stage, Station, choose, explore, thread};
use crate::sync::{AsyncResult, Event, Queue};
use crate::{Greenlet, HubHandle, JoinError, scope, shield, spawn, timeout, wait_any, yield_now};
use std::sync::Arc;

/// Links that ran, bodies that began and returned, and shields that began and ended.
#[derive(Default)]
struct Tally {
    linked: Count,
    begun: Count,
    returned: Count,
    shielded: Count,
    unshielded: Count,
}

/// Greenlets on three hubs wait for those before them; each is linked twice, one of the
/// links by a thread, and three are killed. The first waits for an event.
#[test]
fn join_link_kill() {
    explore("join_link_kill", 4000, 2, |seen| {
        let tally = Arc::new(Tally::default());
        let event = Arc::new(Event::new());
        let mut stage = Stage::new(3);
        let mut before: Vec<Arc<Greenlet<()>>> = Vec::new();
        for at in 0..7 {
            let others = before.clone();
            let (tally2, event) = (tally.clone(), event.clone());
            let greenlet = stage.spawn(move || {
                tally2.begun.add(1);
                match at {
                    0 => event.wait(),
                    _ => match choose(3) {
                        0 => others[choose(at)].wait(),
                        1 => drop(wait_any(&[&*others[choose(at)], &*others[choose(at)]])),
                        _ => {
                            tally2.shielded.add(1);
                            shield(|| {
                                others[choose(at)].wait();
                                yield_now(); // a kill may have come meanwhile
                            });
                            tally2.unshielded.add(1);
                        }
                    },
                }
                tally2.returned.add(1);
            });
            before.push(greenlet.clone());
            link(&greenlet, &tally);
        }
        let killer = stage.killer(3);
        let linker = thread({
            let tally = tally.clone();
            move || before.iter().for_each(|greenlet| link(greenlet, &tally))
        });
        event.set();
        killer.join().unwrap();
        linker.join().unwrap();
        let returned = {
            let all = stage.greenlets.clone();
            move || all.iter().filter(|g| g.is_successful()).count()
        };
        seen.add(0, &stage.end()[..2]);
        assert_eq!(tally.linked.get(), 14);
        assert_eq!(tally.shielded.get(), tally.unshielded.get());
        assert_eq!(tally.returned.get(), returned());
        assert!(tally.begun.get() >= returned());
    });
}

fn link(greenlet: &Greenlet<()>, tally: &Arc<Tally>) {
    let tally = tally.clone();
    greenlet.link(move |_| {
        tally.linked.add(1);
    });
}

/// Two threads and a greenlet of another hub spawn on a hub that ends meanwhile. Each
/// greenlet that was begun waits, and so is killed or returns; none is lost.
#[test]
fn spawn_against_hub_end() {
    explore("spawn_against_hub_end", 6000, 3, |seen| {
        let tally = Arc::new(Tally::default());
        let (ending, other) = (Station::start(), Station::start());
        let spawner = |hub: HubHandle, tally: Arc<Tally>| {
            move || {
                let greenlets = [(); 2].map(|()| {
                    let tally = tally.clone();
                    hub.spawn(move || {
                        tally.begun.add(1);
                        yield_now();
                        tally.returned.add(1);
                    })
                });
                let mut ends = [0; 3];
                for greenlet in greenlets {
                    link(&greenlet, &tally);
                    match greenlet.join() {
                        Ok(()) => ends[0] += 1,
                        Err(JoinError::Killed) => ends[1] += 1,
                        Err(JoinError::HubClosed) => ends[2] += 1,
                        Err(error) => panic!("{error}"),
                    }
                }
                ends
            }
        };
        let spawner = || spawner(ending.handle.clone(), tally.clone());
        let threads = [thread(spawner()), thread(spawner())];
        let greenlet = other.handle.spawn(spawner());
        ending.end();
        let [first, second] = threads.map(|thread| thread.join().unwrap());
        let mut returned = 0;
        for ends in [first, second, greenlet.join().unwrap()] {
            seen.add(0, &ends);
            returned += ends[0];
        }
        other.end();
        assert_eq!(tally.linked.get(), 6);
        assert_eq!(tally.returned.get(), returned);
    });
}

/// A thread ends with greenlets left, without `run`. Those who join them, link to them or
/// kill them are told, and those who are in line with them are served.
#[test]
fn thread_that_ends_with_greenlets_left() {
    explore("thread_that_ends_with_greenlets_left", 1500, 3, |seen| {
        let (tally, board) = (Arc::new(Tally::default()), Board::new());
        let (stop, started) = (Arc::new(Event::new()), Arc::new(AsyncResult::new()));
        let doomed = thread({
            let (stop, started) = (stop.clone(), started.clone());
            move || {
                started.set(HubHandle::current()).expect("set once");
                stop.wait();
                // As the thread's locals would do it.
                Hub::close();
            }
        });
        let handle = started.wait().expect("no error is set");
        let mut stage = Stage::new(2);
        let left = [(); 3].map(|()| Arc::new(handle.spawn(board.waiter())));
        for greenlet in &left {
            link(greenlet, &tally);
            stage.spawn(board.waiter());
            let greenlet = greenlet.clone();
            stage.spawn(move || greenlet.wait());
        }
        let threads = [
            thread(board.storm(2)),
            thread(board.setter(1)),
            thread(move || stop.set()),
            thread({
                let greenlet = left[choose(3)].clone();
                move || greenlet.kill()
            }),
        ];
        board.open();
        for thread in threads {
            thread.join().unwrap();
        }
        for greenlet in &left {
            greenlet.wait();
            let end = match greenlet.error() {
                None => 0,
                Some(JoinError::Killed) => 1,
                Some(JoinError::HubClosed) => 2,
                Some(error) => panic!("{error}"),
            };
            seen.add(end, &[1]);
        }
        assert_eq!(stage.end(), [6, 0, 0]);
        doomed.join().unwrap();
        assert_eq!(tally.linked.get(), 3);
        board.storm(1)(); // the last of those who were left go out of line
        board.check();
    });
}

/// Sixteen greenlets on four hubs, four plain threads, kills, limits, and a hub that
/// ends before the others.
#[test]
fn all_at_once() {
    explore("all_at_once", 1200, 3, |seen| {
        let depot = Depot::new(Queue::bounded(1));
        let vault = Vault::new(2);
        let board = Board::new();
        let children = Arc::new(Count::default());
        let mut stage = Stage::new(4);
        for producer in [(); 3].map(|()| depot.producer(2)) {
            stage.spawn(producer);
            stage.spawn(depot.consumer(2));
            stage.spawn(vault.borrower(2));
            stage.spawn(board.waiter());
        }
        for _ in 0..2 {
            stage.spawn(family(&children));
        }
        stage.spawn(board.storm(2));
        stage.spawn(board.setter(1));
        let killer = stage.killer(3);
        let closer = thread(depot.closer());
        let opener = thread({
            let board = board.clone();
            move || {
                board.open();
                board.setter(2)();
            }
        });
        stage.stations.swap_remove(choose(4)).end();
        depot.rest();
        killer.join().unwrap();
        closer.join().unwrap();
        opener.join().unwrap();
        seen.add(0, &stage.end());
        depot.check();
        vault.check();
        board.check();
        assert_eq!(children.get(), 0);
    });
}

/// A scope with children, one of which is killed, and a timeout around a join.
fn family(alive: &Arc<Count>) -> impl FnOnce() + Send + use<> {
    struct Alive<'a>(&'a Count);
    impl Drop for Alive<'_> {
        fn drop(&mut self) {
            self.0.sub(1);
        }
    }
    let alive = alive.clone();
    move || {
        scope(|s| {
            let [first, second] = [(); 2].map(|()| {
                s.spawn(|| {
                    alive.add(1);
                    let _alive = Alive(&alive);
                    yield_now();
                })
            });
            second.kill();
            let _ = timeout(NOW, || first.wait());
        });
        // On a hub that ends it is killed unrun.
        let outcome = spawn(|| ()).join();
        assert!(outcome.is_ok() || outcome.is_err_and(|e| e.is_killed()));
    }
}

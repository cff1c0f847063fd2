//! Random programs beside naive models that are written from the docs.

use super::simulate;
use greenlet::sync::{Broadcast, BroadcastError, BroadcastReader, Watch, WatchError, WatchReader};
use proptest::prelude::*;
use std::time::Duration;

#[derive(Clone, Debug)]
enum Step {
    /// Sets; puts.
    Put,
    /// Changes the value, or not.
    Modify(bool),
    Subscribe,
    Clone(prop::sample::Index),
    /// Is told, without waiting.
    Changed(prop::sample::Index),
    Get(prop::sample::Index),
    Drop(prop::sample::Index),
    Shutdown,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let reader = any::<prop::sample::Index>;
    let step = prop_oneof![
        8 => Just(Step::Put),
        3 => any::<bool>().prop_map(Step::Modify),
        3 => Just(Step::Subscribe),
        1 => reader().prop_map(Step::Clone),
        4 => reader().prop_map(Step::Changed),
        8 => reader().prop_map(Step::Get),
        2 => reader().prop_map(Step::Drop),
        1 => Just(Step::Shutdown),
    ];
    prop::collection::vec(step, 0..60)
}

/// What all has been said so far; a reader is the number of changes that it has seen.
fn watch(steps: Vec<Step>) -> Result<(), TestCaseError> {
    let watch = Watch::new(0);
    let (mut value, mut changes, mut shut_down) = (0, 0, false);
    let mut readers: Vec<(WatchReader<'_, i32>, i32)> = vec![];
    for step in steps {
        let pick = |i: prop::sample::Index| i.index(readers.len().max(1));
        match step {
            Step::Put if shut_down => prop_assert_eq!(watch.set(-1), Err(-1)),
            Step::Put => {
                prop_assert_eq!(watch.set(value + 1), Ok(value));
                (value, changes) = (value + 1, changes + 1);
            }
            Step::Modify(changed) => {
                let modified = watch.modify_if(|n| {
                    *n += 1;
                    changed
                });
                if shut_down {
                    prop_assert_eq!(modified, Err(WatchError::ShutDown));
                } else {
                    prop_assert_eq!(modified, Ok(changed));
                    (value, changes) = (value + 1, changes + i32::from(changed));
                }
            }
            Step::Subscribe => readers.push((watch.subscribe(), changes)),
            Step::Shutdown => {
                watch.shutdown();
                shut_down = true;
            }
            _ if readers.is_empty() => {}
            Step::Clone(i) => {
                let (reader, seen) = &readers[pick(i)];
                let clone = (reader.clone(), *seen);
                readers.push(clone);
            }
            Step::Changed(i) => {
                let at = pick(i);
                let (reader, seen) = &mut readers[at];
                let expected = match (*seen < changes, shut_down) {
                    (true, _) => Ok(()),
                    (false, true) => Err(WatchError::ShutDown),
                    (false, false) => Err(WatchError::Unchanged),
                };
                prop_assert_eq!(reader.changed_timeout(Duration::ZERO), expected);
                *seen = changes;
            }
            Step::Get(i) => {
                let at = pick(i);
                let (reader, seen) = &mut readers[at];
                prop_assert_eq!(reader.get(), value);
                *seen = changes;
            }
            Step::Drop(i) => drop(readers.remove(pick(i))),
        }
        prop_assert_eq!(watch.get(), value);
        for (reader, seen) in &readers {
            prop_assert_eq!(reader.has_changed(), *seen < changes);
        }
    }
    Ok(())
}

/// All items that somebody was there to read; a reader is how many of them it has done with.
fn broadcast(capacity: usize, steps: Vec<Step>) -> Result<(), TestCaseError> {
    let news = Broadcast::new(capacity);
    let (mut next, mut log, mut shut_down) = (0, Vec::new(), false);
    let mut readers: Vec<(BroadcastReader<'_, u32>, usize)> = vec![];
    for step in steps {
        let pick = |i: prop::sample::Index| i.index(readers.len().max(1));
        match step {
            Step::Put if shut_down => prop_assert_eq!(news.put(next), Err(next)),
            Step::Put => {
                prop_assert_eq!(news.put(next), Ok(readers.len()));
                if !readers.is_empty() {
                    log.push(next);
                }
                next += 1;
            }
            Step::Subscribe => readers.push((news.subscribe(), log.len())),
            Step::Shutdown => {
                news.shutdown();
                shut_down = true;
            }
            _ if readers.is_empty() => {}
            Step::Get(i) => {
                let at = pick(i);
                let (reader, done) = &mut readers[at];
                let oldest = log.len().saturating_sub(capacity);
                let expected = if *done < oldest {
                    let missed = oldest - *done;
                    *done = oldest;
                    Err(BroadcastError::Lagged(missed as u64))
                } else if let Some(item) = log.get(*done) {
                    *done += 1;
                    Ok(*item)
                } else if shut_down {
                    Err(BroadcastError::ShutDown)
                } else {
                    Err(BroadcastError::Empty)
                };
                prop_assert_eq!(reader.get_nowait(), expected);
            }
            Step::Drop(i) => drop(readers.remove(pick(i))),
            Step::Clone(_) | Step::Changed(_) | Step::Modify(_) => {}
        }
        let behind = readers.iter().map(|(_, done)| log.len() - done).max();
        prop_assert_eq!(news.len(), behind.unwrap_or(0).min(capacity));
        prop_assert_eq!(news.readers(), readers.len());
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn random_watches(steps in steps()) {
        simulate(|| watch(steps))?;
    }

    #[test]
    fn random_broadcasts(capacity in 1..5usize, steps in steps()) {
        simulate(|| broadcast(capacity, steps))?;
    }
}

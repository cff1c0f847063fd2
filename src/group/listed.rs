//! The groups of a thread, for its dump. A group costs a line in a list when it is made, its
//! members nothing: who they are the group knows anyway.

use super::Shared;
use crate::rt::sync::{lock, thread_lazy};
use std::cell::RefCell;
use std::panic::Location;
use std::sync::{Arc, Weak};

/// What a dump shows of a group.
pub(super) struct Label {
    /// From 1, in the order of their making on this thread.
    pub(super) number: u64,
    /// The call that made it.
    pub(super) place: &'static Location<'static>,
    /// A pool's.
    pub(super) size: Option<usize>,
}

/// A group that has members, as it was at one moment.
pub(crate) struct Listed {
    pub(crate) number: u64,
    pub(crate) place: &'static Location<'static>,
    pub(crate) size: Option<usize>,
    /// In order of their spawning.
    pub(crate) members: Vec<u64>,
}

/// In order of their making.
struct Groups {
    made: u64,
    all: Vec<Weak<Shared>>,
    /// With so many in the list those that are gone are taken off.
    full: usize,
}

thread_lazy! {
    static GROUPS: RefCell<Groups> = const {
        RefCell::new(Groups { made: 0, all: Vec::new(), full: 16 })
    };
}

/// A new group in the list, made with its number. While the thread's locals are torn down there
/// is no list.
pub(super) fn list(new: impl Fn(u64) -> Shared) -> Arc<Shared> {
    let listed = GROUPS.try_with(|groups| {
        let mut groups = groups.borrow_mut();
        if groups.all.len() >= groups.full {
            // What is left is at most half of what may be, so this takes constant time a group.
            groups.all.retain(|group| group.strong_count() > 0);
            groups.full = 16.max(groups.all.len() * 2);
        }
        groups.made += 1;
        let group = Arc::new(new(groups.made));
        groups.all.push(Arc::downgrade(&group));
        group
    });
    listed.unwrap_or_else(|_| Arc::new(new(0)))
}

/// The groups of this thread that have members.
pub(crate) fn groups() -> Vec<Listed> {
    let seen = GROUPS.try_with(|groups| {
        let groups = groups.borrow();
        let alive = groups.all.iter().filter_map(Weak::upgrade);
        let seen = alive.filter_map(|group| {
            let Label {
                number,
                place,
                size,
            } = *group.label.as_ref()?;
            let members: Vec<u64> = lock(&group.members).alive.keys().copied().collect();
            (!members.is_empty()).then_some(Listed {
                number,
                place,
                size,
                members,
            })
        });
        seen.collect()
    });
    seen.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::group::Group;

    fn listed() -> usize {
        GROUPS.with(|groups| groups.borrow().all.len())
    }

    /// On a thread of its own: the list is a thread's.
    #[test]
    fn groups_that_are_gone_leave_the_list() {
        let thread = std::thread::spawn(|| {
            for _ in 0..1000 {
                drop(Group::new());
                assert!(listed() <= 16);
            }
            let kept: Vec<_> = (0..100).map(|_| Group::new()).collect();
            assert!(listed() >= 100);
            for _ in 0..1000 {
                drop(Group::new());
                assert!(listed() <= 216);
            }
            drop(kept);
            // Each time that it is full it is emptied.
            for _ in 0..217 {
                drop(Group::new());
            }
            assert!(listed() <= 16);
        });
        thread.join().unwrap();
    }
}

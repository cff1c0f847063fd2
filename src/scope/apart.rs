//! What a server needs of a scope: children whose failures do not end it.

use super::{Child, Scope, ScopedGreenlet};
use crate::error::JoinError;
use crate::greenlet::Builder;
use crate::start::Watch;
use std::io;
use std::panic::Location;

/// A child whose outcome is somebody else's affair.
struct Apart<W> {
    child: Child,
    told: W,
}

impl<W: Fn(Option<&JoinError>)> Watch for Apart<W> {
    fn ending(&self, failed: Option<&JoinError>, _joined: bool) {
        (self.told)(failed);
    }

    fn ended(&self, id: u64) {
        self.child.ended(id);
    }

    fn scope(&self) -> Option<&'static Location<'static>> {
        self.child.scope()
    }
}

impl<'scope> Scope<'scope, '_> {
    /// As [`spawn_with`](Scope::spawn_with), but a failure does not end the scope: each
    /// outcome goes to `told`, which must neither panic nor wait, once the body and the
    /// greenlet's locals are dropped. It outlives the count of the children, so it must
    /// have no destructor that could look at what is borrowed: hence `Copy`.
    pub(crate) fn spawn_apart<F, W>(
        &'scope self,
        settings: Builder,
        f: F,
        told: W,
    ) -> io::Result<ScopedGreenlet<'scope, ()>>
    where
        F: FnOnce() + 'scope,
        W: Fn(Option<&JoinError>) + Copy + 'scope,
    {
        let child = Child(self.family.clone());
        self.spawn_watched(settings, f, Apart { child, told })
    }

    /// Asks all children that are alive to end.
    pub(crate) fn kill_children(&self) {
        self.family.kill_children();
    }
}

//! What is nobody's to raise: said on stderr, a line at a time, or contained.

use std::fmt;
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Writes one message. A stderr that is closed is no reason to panic where a panic
/// could not be borne.
#[cold]
pub(crate) fn report(message: fmt::Arguments<'_>) {
    let _ = writeln!(std::io::stderr(), "greenlet: {message}");
}

/// Runs `f`, whose panic concerns nobody: the hook has reported it, and its
/// payload may panic in turn when it is dropped.
pub(crate) fn contain(f: impl FnOnce()) {
    if let Err(payload) = catch_unwind(AssertUnwindSafe(f)) {
        discard(payload);
    }
}

/// Drops a panic's payload, whose destructor may panic.
pub(crate) fn discard(payload: Box<dyn std::any::Any + Send>) {
    let dropped = catch_unwind(AssertUnwindSafe(|| drop(payload)));
    // One such is an accident; the next one is leaked.
    dropped.unwrap_or_else(std::mem::forget);
}

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

/// Ends the process, with that reason, if it is dropped: where an unwind would leave nodes of
/// live waits behind. Forget it when the danger is over.
pub(crate) struct AbortOnUnwind(pub(crate) &'static str);

impl AbortOnUnwind {
    /// Where nothing that is not a bug unwinds.
    pub(crate) fn machinery() -> Self {
        AbortOnUnwind("a panic in the machinery itself; this is a bug")
    }
}

impl Drop for AbortOnUnwind {
    fn drop(&mut self) {
        report(format_args!("{}, aborting", self.0));
        std::process::abort();
    }
}

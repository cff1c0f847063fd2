//! What the crate says on stderr by itself, a line at a time.

use std::fmt;
use std::io::Write;

/// Writes one message. A stderr that is closed is no reason to panic where a panic
/// could not be borne.
#[cold]
pub(crate) fn report(message: fmt::Arguments<'_>) {
    let _ = writeln!(std::io::stderr(), "greenlet: {message}");
}

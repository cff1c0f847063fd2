//! Stacks: sizes and where they come from.
//!
//! Each stack is one mapping of its own with a guard page below it (corosensei's
//! `DefaultStack`), so an overflow is a fault and ends the process; it never
//! touches foreign memory. The pool of a hub keeps stacks together with the
//! coroutine that lives on them, see [`coroutine`](super::coroutine). Slabs with
//! light guard pages are to come behind the same function.

use corosensei::stack::DefaultStack;
use std::io;

/// The smallest stack that all of std's own work fits on, a panic with a
/// formatted backtrace included.
pub(crate) const MIN_SIZE: usize = 32 * 1024;

/// The size of a stack nobody asked about. Only the pages that are touched cost
/// memory.
pub(crate) const DEFAULT_SIZE: usize = 256 * 1024;

/// Refuses sizes that no stack can have.
pub(crate) fn check_size(size: usize) -> io::Result<()> {
    if size < MIN_SIZE {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("stack size of {size} bytes is below the minimum of {MIN_SIZE}"),
        ));
    }
    if size > isize::MAX as usize / 2 {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("stack size of {size} bytes exceeds the address space"),
        ));
    }
    Ok(())
}

/// A new stack with at least `size` usable bytes and a guard page.
pub(crate) fn allocate(size: usize) -> io::Result<DefaultStack> {
    DefaultStack::new(size)
}

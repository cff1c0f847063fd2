//! Stacks: sizes and where they come from.
//!
//! Each stack is one mapping of its own with a guard page below it (corosensei's
//! `DefaultStack`), so an overflow is a fault and ends the process; it never
//! touches foreign memory. The pool of a hub keeps stacks together with the
//! coroutine that lives on them, see [`coroutine`](super::coroutine). Slabs with
//! light guard pages are to come behind the same function.

use corosensei::stack::{DefaultStack, Stack, StackPointer};
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};

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

/// Stack tops are moved down by one of so many cache lines, in turn. All stacks
/// begin at the same offset in a page, so without this the frames of many
/// greenlets would fight for the same few sets of the first-level cache.
const COLOURS: usize = 32;
const LINE: usize = 64;

/// A stack whose top is moved down a little. See [`COLOURS`].
pub(crate) struct ColouredStack {
    stack: DefaultStack,
    offset: usize,
}

/// A new stack with at least `size` usable bytes and a guard page.
pub(crate) fn allocate(size: usize) -> io::Result<ColouredStack> {
    // Relaxed: any spread will do.
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let colour = NEXT.fetch_add(1, Ordering::Relaxed) % COLOURS;
    Ok(ColouredStack {
        stack: DefaultStack::new(size + COLOURS * LINE)?,
        offset: colour * LINE,
    })
}

// SAFETY: all of it is the inner stack's but for the top, which is moved down by
// less than the bytes that were asked for in addition; a multiple of 64 keeps the
// alignment. The guard page and the limit are the inner stack's own.
unsafe impl Stack for ColouredStack {
    #[inline]
    fn base(&self) -> StackPointer {
        let top = self.stack.base().get() - self.offset;
        StackPointer::new(top).expect("a stack does not lie at address 0")
    }

    #[inline]
    fn limit(&self) -> StackPointer {
        self.stack.limit()
    }

    #[cfg(windows)]
    fn teb_fields(&self) -> corosensei::stack::StackTebFields {
        self.stack.teb_fields()
    }

    #[cfg(windows)]
    fn update_teb_fields(&mut self, stack_limit: usize, guaranteed_stack_bytes: usize) {
        self.stack
            .update_teb_fields(stack_limit, guaranteed_stack_bytes);
    }
}

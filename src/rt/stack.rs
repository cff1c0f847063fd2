//! Stacks: sizes and where they come from.
//!
//! Each stack has a guard page below it, so an overflow is a fault and ends the
//! process; it never touches foreign memory. `stack/overflow.rs` says whose stack it was.
//! The pool of a hub keeps stacks together with the coroutine that lives on them, see
//! [`coroutine`](super::coroutine).
//!
//! On Linux stacks are cut from slabs, which all hubs share: `stack/slabs.rs`. On other
//! systems each is a `DefaultStack` of corosensei's.
//!
//! # What lies where
//!
//! From the top: nothing, for the colour; then [`RESERVED`] bytes in which the coroutine's
//! own data lie, since they are touched together with the stack's first frames; then
//! the frames. What a greenlet that does little needs of all this is one page.

#[cfg(target_os = "linux")]
mod overflow;
#[cfg(target_os = "linux")]
mod slabs;

use super::sync::MODELLED;
#[cfg(not(target_os = "linux"))]
use corosensei::stack::DefaultStack as Memory;
use corosensei::stack::{Stack, StackPointer};
#[cfg(target_os = "linux")]
pub(crate) use overflow::{leave_thread, tell_overflows};
#[cfg(target_os = "linux")]
use slabs::Slot as Memory;
use std::io;

/// Elsewhere an overflow is a fault that nobody explains.
#[cfg(not(target_os = "linux"))]
pub(crate) fn tell_overflows(_: fn(usize, usize, &mut dyn std::fmt::Write) -> bool) {}

/// See above.
#[cfg(not(target_os = "linux"))]
pub(crate) fn leave_thread() {}

/// The smallest stack that all of std's own work fits on, a panic with a
/// formatted backtrace included.
pub(crate) const MIN_SIZE: usize = 32 * 1024;

/// The size of a stack nobody asked about. Only the pages that are touched cost
/// memory.
pub(crate) const DEFAULT_SIZE: usize = 256 * 1024;

/// The size class for a stack with at least `size` bytes: the next power of two,
/// so that there are few sizes to be kept. Refuses sizes that no stack can have.
pub(crate) fn class(size: usize) -> io::Result<usize> {
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
    Ok(size.next_power_of_two())
}

/// Stack tops are moved down by one of so many cache lines, by their places. All stacks
/// begin at the same offset in a page, so without this the frames of many
/// greenlets would fight for the same few sets of the first-level cache.
const COLOURS: usize = 32;
const LINE: usize = 64;

/// Bytes above the frames that are the coroutine's.
pub(crate) const RESERVED: usize = match cfg!(target_os = "linux") {
    // The model checkers' atomics are larger.
    _ if MODELLED => 1024,
    true => 384,
    false => 512,
};

/// What a stack has beyond the bytes that were asked for.
const BEYOND: usize = COLOURS * LINE + RESERVED;

/// A stack whose top is moved down a little. See [`COLOURS`].
pub(crate) struct ColouredStack {
    memory: Memory,
    offset: usize,
}

impl ColouredStack {
    /// Where the [`RESERVED`] bytes are, which nobody else touches while it lives.
    pub(crate) fn reserved(&self) -> *mut u8 {
        std::ptr::with_exposed_provenance_mut(self.base().get())
    }
}

/// A new stack with at least `size` usable bytes and a guard page.
pub(crate) fn allocate(size: usize) -> io::Result<ColouredStack> {
    let memory = Memory::new(size + BEYOND)?;
    let (low, high) = (memory.limit().get(), memory.base().get());
    // Neighbours differ. And a place that is used again has the same: then what lies above the
    // frames was never among those of another coroutine, which valgrind takes for dead.
    let colour = low / (high - low) % COLOURS;
    Ok(ColouredStack {
        memory,
        offset: colour * LINE,
    })
}

/// Where a stack is: its lowest and its highest address.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    low: usize,
    high: usize,
}

impl Span {
    /// Whether that is its lowest address.
    pub(crate) fn begins_at(self, address: usize) -> bool {
        self.low == address
    }

    /// Whether that address is in it.
    #[inline]
    pub(crate) fn contains(self, address: usize) -> bool {
        (self.low..self.high).contains(&address)
    }
}

/// Where that stack is.
pub(crate) fn span(stack: &ColouredStack) -> Span {
    Span {
        low: stack.memory.limit().get(),
        high: stack.memory.base().get(),
    }
}

/// The highest bytes of a stack, on which an idle coroutine's own frames are: what is used of
/// them is not told apart.
pub(crate) const LEAST_DEPTH: usize = 16 * 1024;

/// Gives a stack's memory back, but for the highest [`LEAST_DEPTH`] bytes, so that [`depth`] can
/// tell what is used from now on. Nobody may run on it, and whoever did must have ended: the hub
/// asks for it before a greenlet's first turn. False where that cannot be had.
pub(crate) fn renew(span: Span) -> bool {
    #[cfg(all(target_os = "linux", not(miri)))]
    {
        let below = span.high - span.low - LEAST_DEPTH;
        // Whole pages only: the system would give back all of the page that it ends in.
        region::renew(span.low, below - below % region::page_size())
    }
    #[cfg(not(all(target_os = "linux", not(miri))))]
    {
        let _ = span;
        false
    }
}

/// How far down a stack has been used since [`renew`], in bytes, by whole pages.
pub(crate) fn depth(span: Span) -> usize {
    let (low, pages) = pages(span).unwrap_or((span.high, Vec::new()));
    let page = (span.high - low).checked_div(pages.len()).unwrap_or(0);
    let lowest = pages.iter().position(|&page| page & 1 == 1);
    let used = lowest.map_or(0, |lowest| span.high - low - lowest * page);
    used.max(LEAST_DEPTH)
}

/// How many bytes of a stack are in memory: what has been touched since it was made, by whole
/// pages, by all who have run on it. `None` where the system does not tell.
pub(crate) fn touched(span: Span) -> Option<usize> {
    let (low, pages) = pages(span)?;
    let page = (span.high - low).checked_div(pages.len())?;
    Some(pages.iter().filter(|&&page| page & 1 == 1).count() * page)
}

/// Where the pages of a stack begin, and for each in its lowest bit whether it is in memory.
fn pages(span: Span) -> Option<(usize, Vec<u8>)> {
    #[cfg(all(target_os = "linux", not(miri)))]
    {
        let page = region::page_size();
        // The lowest page is the guard, of which some kernels say that it is in memory.
        let low = span.low.next_multiple_of(page) + page;
        let len = span.high.checked_sub(low)?;
        let mut pages = vec![0u8; len.div_ceil(page)];
        let at = std::ptr::without_provenance_mut(low);
        // SAFETY: it writes a byte for each page of the length to `pages`, which has as many;
        // of the stack it neither reads nor writes anything.
        let told = unsafe { libc::mincore(at, len, pages.as_mut_ptr()) } == 0;
        told.then_some((low, pages))
    }
    #[cfg(not(all(target_os = "linux", not(miri))))]
    {
        let _ = (span.low, span.high);
        None
    }
}

// SAFETY: all of it is the memory's but for the top, which is moved down by at most the
// bytes that were asked for in addition; multiples of 64 keep the alignment. The guard
// page and the limit are the memory's own.
unsafe impl Stack for ColouredStack {
    #[inline]
    fn base(&self) -> StackPointer {
        let top = self.memory.base().get() - self.offset - RESERVED;
        StackPointer::new(top).expect("a stack does not lie at address 0")
    }

    #[inline]
    fn limit(&self) -> StackPointer {
        self.memory.limit()
    }

    #[cfg(windows)]
    fn teb_fields(&self) -> corosensei::stack::StackTebFields {
        self.memory.teb_fields()
    }

    #[cfg(windows)]
    fn update_teb_fields(&mut self, stack_limit: usize, guaranteed_stack_bytes: usize) {
        self.memory
            .update_teb_fields(stack_limit, guaranteed_stack_bytes);
    }
}

// SAFETY: a slot's memory is its own as long as it lives, is page-aligned at both ends, has
// a guard page at its low end, and more usable bytes than the minimum.
#[cfg(target_os = "linux")]
unsafe impl Stack for slabs::Slot {
    fn base(&self) -> StackPointer {
        StackPointer::new(self.high()).expect("not at address 0")
    }

    fn limit(&self) -> StackPointer {
        StackPointer::new(self.low()).expect("not at address 0")
    }
}

/// Mappings of which stacks are made.
#[cfg(target_os = "linux")]
mod region {
    use std::io;
    use std::ptr;

    pub(super) fn page_size() -> usize {
        // SAFETY: no memory is involved.
        unsafe { libc::sysconf(libc::_SC_PAGESIZE) as usize }
    }

    /// Installs guard pages that need no mapping of their own; not in every libc's headers yet.
    const MADV_GUARD_INSTALL: libc::c_int = 102;

    /// Gives the memory of a stack back, from an address on; guards in it stay.
    #[cfg(not(miri))]
    pub(super) fn renew(low: usize, len: usize) -> bool {
        let low = ptr::with_exposed_provenance_mut(low);
        // SAFETY: memory of a stack of which nobody has use, as `stack::renew` demands of the
        // hub: frames that have ended, at whole pages.
        unsafe { libc::madvise(low, len, libc::MADV_DONTNEED) == 0 }
    }

    /// One mapping, from a page to a page.
    pub(super) struct Region {
        low: usize,
        len: usize,
    }

    impl Region {
        /// Takes address space; memory only where it is touched.
        pub(super) fn new(len: usize) -> io::Result<Self> {
            let protection = libc::PROT_READ | libc::PROT_WRITE;
            let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
            // SAFETY: a new mapping, at a place of the kernel's choice.
            let low = unsafe { libc::mmap(ptr::null_mut(), len, protection, flags, -1, 0) };
            if low == libc::MAP_FAILED {
                return Err(io::Error::last_os_error());
            }
            // SAFETY: it concerns the new mapping, which nobody uses yet, and is advice: one
            // huge page would make several stacks resident. Before anything is touched, so
            // that the kernel can merge the mapping with its neighbours.
            unsafe { libc::madvise(low, len, libc::MADV_NOHUGEPAGE) };
            let low = low.expose_provenance();
            Ok(Region { low, len })
        }

        pub(super) fn low(&self) -> usize {
            self.low
        }

        /// The page at that offset, where `bytes` bytes are of this region.
        fn at(&self, offset: usize, bytes: usize) -> *mut libc::c_void {
            assert!(offset + bytes <= self.len);
            ptr::with_exposed_provenance_mut(self.low + offset)
        }

        /// Makes the page at that offset a guard, in the kernel's page tables only. Linux
        /// before 6.13 refuses it, and every Linux does in memory that is locked.
        ///
        /// The page must not be in use; nobody but `slabs.rs` can call this.
        pub(super) fn guard(&self, offset: usize) -> io::Result<()> {
            let page = page_size();
            // SAFETY: a page of this mapping that nobody uses.
            let done = unsafe { libc::madvise(self.at(offset, page), page, MADV_GUARD_INSTALL) };
            match done {
                0 => Ok(()),
                _ => Err(io::Error::last_os_error()),
            }
        }

        /// The same by access rights, at the price of two mappings.
        pub(super) fn protect(&self, offset: usize) -> io::Result<()> {
            let page = page_size();
            // SAFETY: as above.
            let done = unsafe { libc::mprotect(self.at(offset, page), page, libc::PROT_NONE) };
            match done {
                0 => Ok(()),
                _ => Err(io::Error::last_os_error()),
            }
        }

        /// Gives the memory back of which nobody has use; guards in it stay, and it can be
        /// used again.
        pub(super) fn discard(&self, offset: usize, bytes: usize) {
            // SAFETY: memory of this mapping that nobody uses: `slabs.rs` says so. It is
            // private and not of a file, so the worst that can come of it is nothing.
            unsafe { libc::madvise(self.at(offset, bytes), bytes, libc::MADV_DONTNEED) };
        }
    }

    impl Drop for Region {
        fn drop(&mut self) {
            let low = ptr::with_exposed_provenance_mut(self.low);
            // SAFETY: the mapping is this value's own, and all stacks in it have been given
            // back, which corosensei does only when the coroutine on it has ended.
            let unmapped = unsafe { libc::munmap(low, self.len) };
            debug_assert_eq!(unmapped, 0);
        }
    }
}

//! Stacks: sizes and where they come from.
//!
//! Each stack has a guard page below it, so an overflow is a fault and ends the
//! process; it never touches foreign memory. The pool of a hub keeps stacks
//! together with the coroutine that lives on them, see
//! [`coroutine`](super::coroutine).
//!
//! Linux counts mappings, 65,530 by default. A guard page made by `mprotect` splits
//! a mapping in two, which would end at 32,000 stacks; one made by
//! `MADV_GUARD_INSTALL` (Linux 6.13) does not, and the kernel merges neighbouring
//! stacks into one mapping. Where it is refused, and on other systems, stacks are
//! corosensei's `DefaultStack`.

use corosensei::stack::{DefaultStack, Stack, StackPointer};
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The smallest stack that all of std's own work fits on, a panic with a
/// formatted backtrace included.
pub(crate) const MIN_SIZE: usize = 32 * 1024;

/// The size of a stack nobody asked about. Only the pages that are touched cost
/// memory.
pub(crate) const DEFAULT_SIZE: usize = 256 * 1024;

/// The size class for a stack with at least `size` bytes: the next power of two,
/// so that a hub pools few sizes. Refuses sizes that no stack can have.
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

/// Stack tops are moved down by one of so many cache lines, in turn. All stacks
/// begin at the same offset in a page, so without this the frames of many
/// greenlets would fight for the same few sets of the first-level cache.
const COLOURS: usize = 32;
const LINE: usize = 64;

/// A stack whose top is moved down a little. See [`COLOURS`].
pub(crate) struct ColouredStack {
    stack: Memory,
    offset: usize,
}

enum Memory {
    #[cfg(target_os = "linux")]
    Light(light::Mapping),
    Default(DefaultStack),
}

impl Memory {
    fn new(size: usize) -> io::Result<Self> {
        #[cfg(target_os = "linux")]
        if let Some(mapping) = light::Mapping::new(size)? {
            return Ok(Memory::Light(mapping));
        }
        DefaultStack::new(size).map(Memory::Default)
    }

    fn stack(&self) -> &dyn Stack {
        match self {
            #[cfg(target_os = "linux")]
            Memory::Light(mapping) => mapping,
            Memory::Default(stack) => stack,
        }
    }
}

/// A new stack with at least `size` usable bytes and a guard page.
pub(crate) fn allocate(size: usize) -> io::Result<ColouredStack> {
    // Relaxed: any spread will do.
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let colour = NEXT.fetch_add(1, Ordering::Relaxed) % COLOURS;
    Ok(ColouredStack {
        stack: Memory::new(size + COLOURS * LINE)?,
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
    /// Whether that address is in it.
    #[inline]
    pub(crate) fn contains(self, address: usize) -> bool {
        (self.low..self.high).contains(&address)
    }
}

/// Where that stack is.
pub(crate) fn span(stack: &ColouredStack) -> Span {
    let inner = stack.stack.stack();
    Span {
        low: inner.limit().get(),
        high: inner.base().get(),
    }
}

/// How many bytes of a stack are in memory: what has been touched since it was made, by whole
/// pages, by all who have run on it. `None` where the system does not tell.
pub(crate) fn touched(span: Span) -> Option<usize> {
    #[cfg(all(target_os = "linux", not(miri)))]
    {
        // SAFETY: no memory is involved.
        let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) } as usize;
        // The lowest page is the guard, of which some kernels say that it is in memory.
        let low = span.low.next_multiple_of(page) + page;
        let len = span.high.checked_sub(low)?;
        let mut pages = vec![0u8; len.div_ceil(page)];
        let at = std::ptr::without_provenance_mut(low);
        // SAFETY: it writes a byte for each page of the length to `pages`, which has as many;
        // of the stack it neither reads nor writes anything.
        let told = unsafe { libc::mincore(at, len, pages.as_mut_ptr()) } == 0;
        told.then(|| pages.iter().filter(|&&page| page & 1 == 1).count() * page)
    }
    #[cfg(not(all(target_os = "linux", not(miri))))]
    {
        let _ = (span.low, span.high);
        None
    }
}

// SAFETY: all of it is the inner stack's but for the top, which is moved down by
// less than the bytes that were asked for in addition; a multiple of 64 keeps the
// alignment. The guard page and the limit are the inner stack's own.
unsafe impl Stack for ColouredStack {
    #[inline]
    fn base(&self) -> StackPointer {
        let top = self.stack.stack().base().get() - self.offset;
        StackPointer::new(top).expect("a stack does not lie at address 0")
    }

    #[inline]
    fn limit(&self) -> StackPointer {
        self.stack.stack().limit()
    }

    #[cfg(windows)]
    fn teb_fields(&self) -> corosensei::stack::StackTebFields {
        self.stack.stack().teb_fields()
    }

    #[cfg(windows)]
    fn update_teb_fields(&mut self, stack_limit: usize, guaranteed_stack_bytes: usize) {
        let Memory::Default(stack) = &mut self.stack;
        stack.update_teb_fields(stack_limit, guaranteed_stack_bytes);
    }
}

/// Stacks whose guard page does not cost a mapping.
#[cfg(target_os = "linux")]
mod light {
    use super::{Stack, StackPointer};
    use corosensei::stack::valgrind::ValgrindStackRegistration;
    use std::io;
    use std::ptr::{self, NonNull};

    /// Installs guard pages; not in every libc's headers yet.
    const MADV_GUARD_INSTALL: libc::c_int = 102;

    /// One mapping, with the guard page at its lowest addresses.
    pub(super) struct Mapping {
        low: NonNull<libc::c_void>,
        len: usize,
        _valgrind: ValgrindStackRegistration,
    }

    impl Mapping {
        /// `None` if this kernel has no light guard pages.
        pub(super) fn new(size: usize) -> io::Result<Option<Self>> {
            // SAFETY: no memory is involved.
            let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) } as usize;
            let len = (size + page).next_multiple_of(page);
            let protection = libc::PROT_READ | libc::PROT_WRITE;
            let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
            // SAFETY: a new mapping, at a place of the kernel's choice.
            let low = unsafe { libc::mmap(ptr::null_mut(), len, protection, flags, -1, 0) };
            if low == libc::MAP_FAILED {
                return Err(io::Error::last_os_error());
            }
            let mapping = Mapping {
                low: NonNull::new(low).expect("nothing is mapped at address 0"),
                len,
                _valgrind: ValgrindStackRegistration::new(low.cast(), len),
            };
            // SAFETY: both concern pages of the new mapping, which nobody uses yet.
            // The first is advice: one huge page would make several stacks resident.
            // It comes first, since it makes the mapping equal to its neighbours',
            // and only one without a page can still be merged with them.
            let guarded = unsafe {
                libc::madvise(low, len, libc::MADV_NOHUGEPAGE);
                libc::madvise(low, page, MADV_GUARD_INSTALL) == 0
            };
            Ok(guarded.then_some(mapping))
        }
    }

    impl Drop for Mapping {
        fn drop(&mut self) {
            // SAFETY: the mapping is this value's own, and the coroutine on it has
            // ended: corosensei gives a stack back only then.
            let unmapped = unsafe { libc::munmap(self.low.as_ptr(), self.len) };
            debug_assert_eq!(unmapped, 0);
        }
    }

    // SAFETY: the mapping lives as long as the value, is page-aligned at both ends,
    // has a guard page at its low end, and more usable bytes than the minimum.
    unsafe impl Stack for Mapping {
        fn base(&self) -> StackPointer {
            StackPointer::new(self.low.as_ptr().addr() + self.len).expect("not at address 0")
        }

        fn limit(&self) -> StackPointer {
            StackPointer::new(self.low.as_ptr().addr()).expect("not at address 0")
        }
    }
}

//! Says whose stack it was that overflowed: a handler of SIGSEGV.
//!
//! A fault in a guard page of a slab, on a thread whose stack pointer is in that stack or near
//! below it, is an overflow. It is told on stderr, by whom the hub says that runs, and the
//! process ends by SIGABRT, as std ends it for a thread's own stack. All other faults go to the
//! handler that was there before, std's as a rule, as if this one were not there. One that
//! is installed later is in this one's place, unless it hands on what is not its own.
//!
//! The handler is installed with the process's first stack, and runs on the thread's alternate
//! stack. std gives one to the main thread and to those it makes; others get one with their
//! first stack here, until their hub ends.
//!
//! # In the handler
//!
//! It may have interrupted anything, so nothing is locked or allocated: the slabs are in
//! a list that only grows, whose entries are used again; the message is put together in a
//! buffer and written in one piece.

use super::region::Region;
use libc::{c_int, c_void, sigaction, siginfo_t};
use std::cell::Cell;
use std::fmt::{self, Write as _};
use std::mem::{self, MaybeUninit};
use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};
use std::sync::{Once, OnceLock};

/// Writes that the stack with that lowest address, and of so many KiB, overflowed, and who runs
/// on it; false if nobody does, on this thread. Must do nothing that a signal handler may not.
pub(crate) type Tell = fn(usize, usize, &mut dyn fmt::Write) -> bool;

static TELL: OnceLock<Tell> = OnceLock::new();

/// Overflows are told from now on; to be called before each new stack, as cheap as that is.
pub(crate) fn tell_overflows(tell: Tell) {
    TELL.get_or_init(|| tell);
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(install);
    if ALTERNATE.get() == UNKNOWN {
        ALTERNATE.set(alternate_stack().unwrap_or(FOREIGN));
    }
}

// ---- where the slabs are ----

/// A slab, or none.
struct Entry {
    /// 0 for none, 1 while it is being written.
    low: AtomicUsize,
    stride: AtomicUsize,
    places: AtomicUsize,
    next: Option<&'static Entry>,
}

static ENTRIES: AtomicPtr<Entry> = AtomicPtr::new(ptr::null_mut());

fn entries() -> impl Iterator<Item = &'static Entry> {
    // Acquire: pairs with the publication in `watch`.
    let first = ENTRIES.load(Ordering::Acquire);
    // SAFETY: what is published there is never freed.
    let first = unsafe { first.as_ref() };
    std::iter::successors(first, |entry| entry.next)
}

/// A slab is there from now on.
pub(super) fn watch(low: usize, stride: usize, places: usize) {
    let claim = |entry: &Entry| {
        let claimed = entry
            .low
            .compare_exchange(0, 1, Ordering::Relaxed, Ordering::Relaxed);
        claimed.is_ok()
    };
    if let Some(entry) = entries().find(|entry| claim(entry)) {
        entry.stride.store(stride, Ordering::Relaxed);
        entry.places.store(places, Ordering::Relaxed);
        // Release: who sees it sees the rest. Only its own thread's stacks matter to a
        // handler, and no such slab goes while it runs.
        return entry.low.store(low, Ordering::Release);
    }
    let entry = Box::leak(Box::new(Entry {
        low: AtomicUsize::new(low),
        stride: AtomicUsize::new(stride),
        places: AtomicUsize::new(places),
        next: None,
    }));
    let mut first = ENTRIES.load(Ordering::Acquire);
    loop {
        // SAFETY: as in `entries`.
        entry.next = unsafe { first.as_ref() };
        match ENTRIES.compare_exchange(first, entry, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => return,
            Err(other) => first = other,
        }
    }
}

/// It is about to go.
pub(super) fn forget(low: usize) {
    let entry = entries().find(|entry| entry.low.load(Ordering::Relaxed) == low);
    if let Some(entry) = entry {
        entry.low.store(0, Ordering::Release);
    }
}

/// The stack whose guard that address is in: where it begins, and the slab's stride.
fn stack_of_guard(address: usize, page: usize) -> Option<(usize, usize)> {
    entries().find_map(|entry| {
        let low = entry.low.load(Ordering::Acquire);
        let stride = entry.stride.load(Ordering::Relaxed);
        let within = address.checked_sub(low).filter(|_| low > 1)?;
        let inside = within / stride < entry.places.load(Ordering::Relaxed);
        (inside && within % stride < page).then(|| (address - within % stride, stride))
    })
}

// ---- the handler ----

/// What SIGSEGV did before; null until that is known.
static BEFORE: AtomicPtr<sigaction> = AtomicPtr::new(ptr::null_mut());

fn install() {
    PAGE.store(super::region::page_size(), Ordering::Relaxed);
    // SAFETY: `sigaction` reads and writes only what it is given, all of it valid: zeroes are a
    // sigaction. The handler keeps the rules of handlers, see the module.
    unsafe {
        let mut before: sigaction = mem::zeroed();
        if libc::sigaction(libc::SIGSEGV, ptr::null(), &mut before) != 0 {
            return;
        }
        // First, since another thread may have a fault at any time.
        BEFORE.store(Box::into_raw(Box::new(before)), Ordering::Release);
        let mut own = before;
        own.sa_sigaction = on_fault as *const () as usize;
        own.sa_flags &= libc::SA_NODEFER | libc::SA_RESTART;
        own.sa_flags |= libc::SA_SIGINFO | libc::SA_ONSTACK;
        libc::sigaction(libc::SIGSEGV, &own, ptr::null_mut());
    }
}

static PAGE: AtomicUsize = AtomicUsize::new(0);

extern "C" fn on_fault(signal: c_int, info: *mut siginfo_t, context: *mut c_void) {
    // SAFETY: the kernel hands over both.
    let (code, address) = unsafe { ((*info).si_code, (*info).si_addr().addr()) };
    // Others than the kernel's have no address.
    if code > 0
        && let Some((low, stride)) = stack_of_guard(address, PAGE.load(Ordering::Relaxed))
        && runs_on(low, stride, context)
        && let Some(tell) = TELL.get()
    {
        // As large as the sizes are powers of two, and nothing else comes near the next one.
        let kib = (1usize << stride.ilog2()) / 1024;
        let mut line = Line::new();
        let _ = line.write_str("\ngreenlet: ");
        if tell(low, kib, &mut line) {
            line.end();
            std::process::abort();
        }
    }
    // SAFETY: what the kernel has handed over is handed on.
    unsafe { hand_on(signal, info, context) };
}

/// Whether the stack pointer is in that stack, or has jumped out of it below: a function
/// that does not touch each page of a large frame may be so far.
fn runs_on(low: usize, stride: usize, context: *mut c_void) -> bool {
    const JUMP: usize = 1 << 20;
    #[cfg(all(
        target_env = "gnu",
        any(target_arch = "x86_64", target_arch = "aarch64")
    ))]
    let pointer = {
        // SAFETY: the kernel has handed it over.
        let machine = unsafe { &(*context.cast::<libc::ucontext_t>()).uc_mcontext };
        #[cfg(target_arch = "x86_64")]
        let pointer = machine.gregs[libc::REG_RSP as usize];
        #[cfg(target_arch = "aarch64")]
        let pointer = machine.sp;
        pointer as usize
    };
    // Elsewhere nobody looks; then a wild pointer into a guard is taken for an overflow.
    #[cfg(not(all(
        target_env = "gnu",
        any(target_arch = "x86_64", target_arch = "aarch64")
    )))]
    let pointer = {
        let _ = context;
        low
    };
    (low.saturating_sub(JUMP)..low + stride).contains(&pointer)
}

/// Does what would have been done without this handler.
///
/// # Safety
///
/// In a handler of that signal, which was given these arguments.
unsafe fn hand_on(signal: c_int, info: *mut siginfo_t, context: *mut c_void) {
    let reset = || {
        // SAFETY: as in `install`; zeroes mean the default.
        unsafe {
            let default: sigaction = mem::zeroed();
            libc::sigaction(signal, &default, ptr::null_mut());
        }
    };
    // SAFETY: published once, and never freed. The handler before was installed with these
    // flags, so it has that signature.
    unsafe {
        let by_kernel = (*info).si_code > 0;
        let before = BEFORE.load(Ordering::Acquire).as_ref();
        let (handler, flags) =
            before.map_or((libc::SIG_DFL, 0), |it| (it.sa_sigaction, it.sa_flags));
        match handler {
            // A fault comes again when this returns, and ends the process; what somebody has
            // sent is to be sent again.
            libc::SIG_DFL => {
                reset();
                if !by_kernel {
                    libc::raise(signal);
                }
            }
            // A fault cannot be ignored.
            libc::SIG_IGN if by_kernel => reset(),
            libc::SIG_IGN => {}
            handler => {
                if flags & libc::SA_RESETHAND != 0 {
                    reset();
                }
                if flags & libc::SA_SIGINFO != 0 {
                    type Handler = extern "C" fn(c_int, *mut siginfo_t, *mut c_void);
                    mem::transmute::<usize, Handler>(handler)(signal, info, context);
                } else {
                    mem::transmute::<usize, extern "C" fn(c_int)>(handler)(signal);
                }
            }
        }
    }
}

/// A message in the making. Alternate stacks are small: what does not fit is left out.
struct Line {
    bytes: [MaybeUninit<u8>; Line::ROOM],
    len: usize,
}

impl Line {
    const ROOM: usize = 512;

    fn new() -> Self {
        Line {
            bytes: [MaybeUninit::uninit(); Line::ROOM],
            len: 0,
        }
    }

    /// Writes it to stderr.
    fn end(mut self) {
        self.len = self.len.min(Line::ROOM - 1);
        let _ = self.write_str("\n");
        // SAFETY: so many have been written.
        unsafe { libc::write(libc::STDERR_FILENO, self.bytes.as_ptr().cast(), self.len) };
    }
}

impl fmt::Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = &mut self.bytes[self.len..];
        for (byte, &from) in room.iter_mut().zip(text.as_bytes()) {
            byte.write(from);
        }
        self.len += text.len().min(room.len());
        Ok(())
    }
}

// ---- alternate stacks ----

const UNKNOWN: usize = 0;
/// The thread has one that is not from here.
const FOREIGN: usize = 1;
/// Room for the frame that the kernel makes, which holds all registers, and for the handlers.
const ALTERNATE_SIZE: usize = 64 << 10;

thread_local! {
    /// Where this thread's alternate stack is that was made here.
    static ALTERNATE: Cell<usize> = const { Cell::new(UNKNOWN) };
}

/// Makes one, if the thread has none.
fn alternate_stack() -> Option<usize> {
    // SAFETY: `sigaltstack` reads and writes only what it is given; the memory is nobody's.
    unsafe {
        let mut now: libc::stack_t = mem::zeroed();
        let known = libc::sigaltstack(ptr::null(), &mut now) == 0;
        if !known || now.ss_flags & libc::SS_DISABLE == 0 {
            return None;
        }
        // Without one, an overflow is a bare SIGSEGV.
        let region = Region::new(ALTERNATE_SIZE).ok()?;
        let own = libc::stack_t {
            ss_sp: ptr::with_exposed_provenance_mut(region.low()),
            ss_flags: 0,
            ss_size: ALTERNATE_SIZE,
        };
        if libc::sigaltstack(&own, ptr::null_mut()) != 0 {
            return None;
        }
        let low = region.low();
        mem::forget(region);
        Some(low)
    }
}

/// The thread's hub has ended: takes away what [`tell_overflows`] has given to the thread.
pub(crate) fn leave_thread() {
    let low = ALTERNATE.replace(UNKNOWN);
    if low == UNKNOWN || low == FOREIGN {
        return;
    }
    // SAFETY: as above. It is unmapped only if the thread does not use it any more; it does not
    // run on it, or this could not change.
    unsafe {
        let mut now: libc::stack_t = mem::zeroed();
        if libc::sigaltstack(ptr::null(), &mut now) != 0 || now.ss_sp.addr() != low {
            return;
        }
        let none = libc::stack_t {
            ss_sp: ptr::null_mut(),
            ss_flags: libc::SS_DISABLE,
            ss_size: ALTERNATE_SIZE,
        };
        if libc::sigaltstack(&none, ptr::null_mut()) == 0 {
            libc::munmap(ptr::with_exposed_provenance_mut(low), ALTERNATE_SIZE);
        }
    }
}

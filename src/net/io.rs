//! What all sockets have in common: a descriptor that does not block, who waits for it,
//! and for how long they do.

use crate::rt::clock::Limit;
use crate::rt::park::Party;
use crate::rt::poller::{Change, Sink};
use crate::rt::readiness::{Direction, Readiness, refused, uninterrupted};
use crate::rt::task::Site;
use crate::rt::wait::{self, End};
use std::fmt;
use std::io::{self, ErrorKind};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

/// A handle to a socket. With the last one the pollers forget the descriptor, and then it
/// is closed.
pub(crate) struct Io<S>(Arc<Socket<S>>);

/// A socket of std or socket2 with what it takes to wait for it: one piece of memory for all
/// that a change and the call after it touch.
#[repr(C)] // What each change touches comes first.
struct Socket<S> {
    readiness: Readiness,
    read_limit: Setting,
    write_limit: Setting,
    nonblocking: AtomicBool,
    /// Reading was ended on this side, of which the system does not tell all sockets.
    read_ended: AtomicBool,
    socket: S,
    /// How many handles there are. Pollers count in the `Arc` too.
    handles: AtomicUsize,
}

impl<S: Send + Sync> Sink for Socket<S> {
    fn changed(&self, change: Change) {
        self.readiness.changed(change);
    }
}

impl<S> Clone for Io<S> {
    fn clone(&self) -> Self {
        // Relaxed, as in an `Arc`: who has a handle may make another.
        self.0.handles.fetch_add(1, Ordering::Relaxed);
        Io(self.0.clone())
    }
}

impl<S> Drop for Io<S> {
    fn drop(&mut self) {
        // As in an `Arc`: what was done through the others comes before.
        if self.0.handles.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.readiness.forget();
        }
    }
}

/// A time limit that may be set while others use it; nanoseconds, 0 for none. Relaxed
/// throughout: it orders nothing.
#[derive(Default)]
struct Setting(AtomicU64);

impl Setting {
    fn get(&self) -> Option<Duration> {
        match self.0.load(Ordering::Relaxed) {
            0 => None,
            nanos => Some(Duration::from_nanos(nanos)),
        }
    }

    fn set(&self, limit: Option<Duration>) -> io::Result<()> {
        if limit.is_some_and(|d| d.is_zero()) {
            let why = "cannot set a timeout of zero";
            return Err(io::Error::new(ErrorKind::InvalidInput, why));
        }
        let nanos = limit.map_or(0, |d| u64::try_from(d.as_nanos()).unwrap_or(u64::MAX));
        self.0.store(nanos, Ordering::Relaxed);
        Ok(())
    }

    fn limit(&self) -> Limit {
        self.get().map_or(Limit::Never, Limit::After)
    }
}

impl<S: AsRawFd + Send + Sync + 'static> Io<S> {
    /// Of a socket that is non-blocking already.
    pub(crate) fn new(socket: S) -> Self {
        Io::begin(socket, true)
    }

    /// Of one that is still connecting: nothing can be written yet.
    pub(crate) fn connecting(socket: S) -> Self {
        Io::begin(socket, false)
    }

    fn begin(socket: S, writable: bool) -> Self {
        Io(Arc::new(Socket {
            readiness: Readiness::new(socket.as_raw_fd(), writable),
            read_limit: Setting::default(),
            write_limit: Setting::default(),
            nonblocking: AtomicBool::new(false),
            read_ended: AtomicBool::new(false),
            socket,
            handles: AtomicUsize::new(1),
        }))
    }

    pub(crate) fn socket(&self) -> &S {
        &self.0.socket
    }

    /// The socket alone, which no poller knows any more, and whether it was said to be
    /// non-blocking; an error if others have it too.
    pub(crate) fn into_socket(self) -> Result<(S, bool), Self> {
        // Acquire: what was done through handles that are gone comes before.
        if self.0.handles.load(Ordering::Acquire) > 1 {
            return Err(self);
        }
        let socket = self.0.clone();
        drop(self);
        let socket = Arc::into_inner(socket).expect("the pollers have forgotten it");
        Ok((socket.socket, socket.nonblocking.into_inner()))
    }

    /// Reads by `call`, and waits for it if need be.
    #[inline(always)]
    #[track_caller]
    pub(crate) fn read<T>(
        &self,
        operation: &'static str,
        mut call: impl FnMut(&S) -> io::Result<T>,
        short: impl Fn(&T) -> bool,
    ) -> io::Result<T> {
        let limit = self.0.read_limit.limit();
        let site = Site::here(operation);
        self.attempt(
            Direction::Read,
            &site,
            limit,
            || call(&self.0.socket),
            short,
        )
    }

    /// Writes by `call`, and waits for it if need be.
    #[inline(always)]
    #[track_caller]
    pub(crate) fn write<T>(
        &self,
        operation: &'static str,
        mut call: impl FnMut(&S) -> io::Result<T>,
        short: impl Fn(&T) -> bool,
    ) -> io::Result<T> {
        let limit = self.0.write_limit.limit();
        let site = Site::here(operation);
        self.attempt(
            Direction::Write,
            &site,
            limit,
            || call(&self.0.socket),
            short,
        )
    }

    /// As `read`, with a limit of its own.
    #[cfg(feature = "signal")]
    #[track_caller]
    pub(crate) fn read_within<T>(
        &self,
        operation: &'static str,
        limit: Limit,
        mut call: impl FnMut(&S) -> io::Result<T>,
    ) -> io::Result<T> {
        let site = Site::here(operation);
        self.attempt(
            Direction::Read,
            &site,
            limit,
            || call(&self.0.socket),
            |_| false,
        )
    }

    /// As `write`, with a limit of its own.
    #[track_caller]
    pub(crate) fn write_within<T>(
        &self,
        operation: &'static str,
        limit: Limit,
        mut call: impl FnMut(&S) -> io::Result<T>,
    ) -> io::Result<T> {
        let site = Site::here(operation);
        self.attempt(
            Direction::Write,
            &site,
            limit,
            || call(&self.0.socket),
            |_| false,
        )
    }

    /// As `write`, where the system does not tell when there is room.
    #[track_caller]
    pub(crate) fn write_by_trying<T>(
        &self,
        operation: &'static str,
        call: impl Fn(&S) -> io::Result<T>,
    ) -> io::Result<T> {
        let call = || {
            self.0.readiness.check_open()?;
            call(&self.0.socket)
        };
        if self.0.nonblocking.load(Ordering::Relaxed) {
            return uninterrupted(call);
        }
        try_again(operation, self.0.write_limit.limit(), call)
    }

    #[inline(always)]
    #[track_caller]
    fn attempt<T>(
        &self,
        direction: Direction,
        site: &Site,
        limit: Limit,
        call: impl FnMut() -> io::Result<T>,
        short: impl Fn(&T) -> bool,
    ) -> io::Result<T> {
        if self.0.nonblocking.load(Ordering::Relaxed) {
            self.0.readiness.check_open()?;
            return uninterrupted(call);
        }
        let sink = || self.0.clone() as Arc<dyn Sink>;
        let readiness = &self.0.readiness;
        readiness.attempt(sink, direction, site, limit, call, short)
    }

    pub(crate) fn set_read_limit(&self, limit: Option<Duration>) -> io::Result<()> {
        self.0.read_limit.set(limit)
    }

    pub(crate) fn set_write_limit(&self, limit: Option<Duration>) -> io::Result<()> {
        self.0.write_limit.set(limit)
    }

    pub(crate) fn read_limit(&self) -> Option<Duration> {
        self.0.read_limit.get()
    }

    pub(crate) fn write_limit(&self) -> Option<Duration> {
        self.0.write_limit.get()
    }

    pub(crate) fn set_nonblocking(&self, nonblocking: bool) {
        self.0.nonblocking.store(nonblocking, Ordering::Relaxed);
    }

    /// Before [`poke`](Io::poke), which orders it.
    pub(crate) fn end_reading(&self) {
        self.0.read_ended.store(true, Ordering::Relaxed);
    }

    pub(crate) fn has_read_ended(&self) -> bool {
        self.0.read_ended.load(Ordering::Relaxed)
    }

    /// All who wait return with an error, and whoever comes later.
    pub(crate) fn close(&self) {
        self.0.readiness.close();
    }

    /// Something was done to the socket that ends waits; the poller need not say so first.
    pub(crate) fn poke(&self) {
        self.0.readiness.poke();
    }

    pub(crate) fn debug(&self, name: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (reading, writing) = self.0.readiness.waiting();
        f.debug_struct(name)
            .field("fd", &self.0.socket.as_raw_fd())
            .field("reading", &reading)
            .field("writing", &writing)
            .finish()
    }
}

/// The call until it does not say that it would block, with longer and longer sleeps in
/// between.
#[track_caller]
pub(crate) fn try_again<T>(
    operation: &'static str,
    limit: Limit,
    mut call: impl FnMut() -> io::Result<T>,
) -> io::Result<T> {
    let mut pause = Duration::from_millis(1);
    let mut until = None;
    loop {
        match uninterrupted(&mut call) {
            Err(e) if e.kind() == ErrorKind::WouldBlock => {}
            result => return result,
        }
        let now = Party::current().now();
        let until = *until.get_or_insert_with(|| limit.deadline(now));
        let left = until.map_or(pause, |t| t.saturating_duration_since(now));
        if left.is_zero() {
            return Err(ErrorKind::TimedOut.into());
        }
        match wait::sleep(operation, Limit::After(pause.min(left))) {
            End::Refused => return Err(refused(&Site::here(operation))),
            _ => pause = (pause * 2).min(Duration::from_millis(100)),
        }
    }
}

/// Whether fewer bytes went through than there was room for.
pub(crate) fn short(len: usize) -> impl Fn(&usize) -> bool {
    move |&n| 0 < n && n < len
}

/// What every socket has: time limits, the non-blocking mode, `close`, and the conversions.
macro_rules! socket {
    ($name:ident, $std:ty) => {
        impl std::panic::UnwindSafe for $name {}
        impl std::panic::RefUnwindSafe for $name {}

        impl $name {
            fn wrap(socket: $std) -> std::io::Result<Self> {
                socket.set_nonblocking(true)?;
                Ok($name {
                    io: $crate::net::io::Io::new(socket),
                })
            }

            /// Another handle to the same socket. Options, time limits and the line of
            /// waiters are shared.
            ///
            /// # Errors
            ///
            /// None; the type is that of std.
            pub fn try_clone(&self) -> std::io::Result<Self> {
                Ok($name {
                    io: self.io.clone(),
                })
            }

            /// In non-blocking mode nothing waits: what would returns
            /// [`WouldBlock`](std::io::ErrorKind::WouldBlock).
            ///
            /// # Errors
            ///
            /// None; the type is that of std.
            pub fn set_nonblocking(&self, nonblocking: bool) -> std::io::Result<()> {
                self.io.set_nonblocking(nonblocking);
                Ok(())
            }

            /// The pending error of the socket, which this takes.
            ///
            /// # Errors
            ///
            /// The system's.
            pub fn take_error(&self) -> std::io::Result<Option<std::io::Error>> {
                self.io.socket().take_error()
            }
        }

        impl From<$std> for $name {
            /// The socket becomes non-blocking for the system, and so do all duplicates
            /// of it. Time limits and the mode that were set with std are not taken over.
            ///
            /// # Panics
            ///
            /// If the system refuses that, which it does for nothing that is a socket.
            fn from(socket: $std) -> Self {
                $name::wrap(socket).expect("a socket can be made non-blocking")
            }
        }

        impl From<$name> for $std {
            /// The socket as std has it: blocking, unless
            /// [`set_nonblocking`](Self::set_nonblocking) says otherwise. If there are other
            /// handles it is a duplicate of theirs, and non-blocking as they are. Time limits
            /// are not taken over.
            ///
            /// # Panics
            ///
            /// If there are other handles and the process has no descriptor left.
            fn from(socket: $name) -> Self {
                match socket.io.into_socket() {
                    Ok((socket, nonblocking)) => {
                        let set = socket.set_nonblocking(nonblocking);
                        set.expect("a socket can be made blocking");
                        socket
                    }
                    Err(shared) => shared.socket().try_clone().expect("no descriptor is left"),
                }
            }
        }

        impl From<std::os::fd::OwnedFd> for $name {
            /// As from std's type.
            fn from(fd: std::os::fd::OwnedFd) -> Self {
                <$std>::from(fd).into()
            }
        }

        impl From<$name> for std::os::fd::OwnedFd {
            /// As into std's type.
            fn from(socket: $name) -> Self {
                <$std>::from(socket).into()
            }
        }

        impl std::os::fd::AsFd for $name {
            fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
                self.io.socket().as_fd()
            }
        }

        impl std::os::fd::AsRawFd for $name {
            fn as_raw_fd(&self) -> std::os::fd::RawFd {
                self.io.socket().as_raw_fd()
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.io.debug(stringify!($name), f)
            }
        }
    };
}

/// Time limits of what is read and written.
macro_rules! limits {
    ($name:ident) => {
        impl $name {
            /// Limits each read to `limit`; `None`, as it is at first, for no limit. One that
            /// takes longer returns [`TimedOut`](std::io::ErrorKind::TimedOut) (std on Unix:
            /// `WouldBlock`) and has taken nothing. A whole scope is limited by [`timeout`](crate::timeout()).
            ///
            /// # Errors
            ///
            /// [`InvalidInput`](std::io::ErrorKind::InvalidInput) if the limit is zero.
            pub fn set_read_timeout(
                &self,
                limit: Option<std::time::Duration>,
            ) -> std::io::Result<()> {
                self.io.set_read_limit(limit)
            }

            /// The same for each write.
            ///
            /// # Errors
            ///
            /// [`InvalidInput`](std::io::ErrorKind::InvalidInput) if the limit is zero.
            pub fn set_write_timeout(
                &self,
                limit: Option<std::time::Duration>,
            ) -> std::io::Result<()> {
                self.io.set_write_limit(limit)
            }

            /// What [`set_read_timeout`](Self::set_read_timeout) has set.
            ///
            /// # Errors
            ///
            /// None; the type is that of std.
            pub fn read_timeout(&self) -> std::io::Result<Option<std::time::Duration>> {
                Ok(self.io.read_limit())
            }

            /// What [`set_write_timeout`](Self::set_write_timeout) has set.
            ///
            /// # Errors
            ///
            /// None; the type is that of std.
            pub fn write_timeout(&self) -> std::io::Result<Option<std::time::Duration>> {
                Ok(self.io.write_limit())
            }
        }
    };
}

/// `Read` and `Write`, `shutdown` and `close` of a stream. `$emptied` is whether a short read
/// has emptied the buffer.
macro_rules! stream {
    ($name:ident, $emptied:expr) => {
        impl $name {
            /// Ends reading, writing or both. Whoever waits to do that goes on: readers see
            /// the end of the stream, writers
            /// [`BrokenPipe`](std::io::ErrorKind::BrokenPipe).
            ///
            /// # Errors
            ///
            /// The system's, as [`NotConnected`](std::io::ErrorKind::NotConnected).
            pub fn shutdown(&self, how: std::net::Shutdown) -> std::io::Result<()> {
                let result = self.io.socket().shutdown(how);
                self.io.poke();
                result
            }

            /// Closes the connection for all handles: whoever reads or writes now or later
            /// gets [`NotConnected`](std::io::ErrorKind::NotConnected). The peer sees the end
            /// of the stream. The descriptor goes with the last handle.
            pub fn close(&self) {
                // That it is not connected any more is what is wanted.
                let _ = self.io.socket().shutdown(std::net::Shutdown::Both);
                self.io.close();
            }
        }

        impl std::io::Read for &$name {
            #[track_caller]
            fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
                let short = $crate::net::io::short(buf.len());
                let short = |n: &usize| $emptied && short(n);
                let call = |mut socket: &_| std::io::Read::read(&mut socket, buf);
                self.io
                    .read(concat!(stringify!($name), "::read"), call, short)
            }

            #[track_caller]
            fn read_vectored(
                &mut self,
                bufs: &mut [std::io::IoSliceMut<'_>],
            ) -> std::io::Result<usize> {
                let short = $crate::net::io::short(bufs.iter().map(|b| b.len()).sum());
                let short = |n: &usize| $emptied && short(n);
                let call = |mut socket: &_| std::io::Read::read_vectored(&mut socket, bufs);
                self.io
                    .read(concat!(stringify!($name), "::read_vectored"), call, short)
            }
        }

        impl std::io::Write for &$name {
            #[track_caller]
            fn write(&mut self, buf: &[u8]) -> std::io::Result<usize> {
                let short = $crate::net::io::short(buf.len());
                let call = |mut socket: &_| std::io::Write::write(&mut socket, buf);
                self.io
                    .write(concat!(stringify!($name), "::write"), call, short)
            }

            #[track_caller]
            fn write_vectored(&mut self, bufs: &[std::io::IoSlice<'_>]) -> std::io::Result<usize> {
                let short = $crate::net::io::short(bufs.iter().map(|b| b.len()).sum());
                let call = |mut socket: &_| std::io::Write::write_vectored(&mut socket, bufs);
                self.io
                    .write(concat!(stringify!($name), "::write_vectored"), call, short)
            }

            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }

        impl std::io::Read for $name {
            #[track_caller]
            fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
                (&*self).read(buf)
            }

            #[track_caller]
            fn read_vectored(
                &mut self,
                bufs: &mut [std::io::IoSliceMut<'_>],
            ) -> std::io::Result<usize> {
                (&*self).read_vectored(bufs)
            }
        }

        impl std::io::Write for $name {
            #[track_caller]
            fn write(&mut self, buf: &[u8]) -> std::io::Result<usize> {
                (&*self).write(buf)
            }

            #[track_caller]
            fn write_vectored(&mut self, bufs: &[std::io::IoSlice<'_>]) -> std::io::Result<usize> {
                (&*self).write_vectored(bufs)
            }

            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
    };
}

pub(crate) use {limits, socket, stream};

//! Waiting for signals of the system in a greenlet. Needs the feature `signal`.
//!
//! ```no_run
//! use greenlet::net::Server;
//! use greenlet::signal::{SIGINT, SIGTERM, Signals};
//! use std::io::Write;
//! use std::time::Duration;
//!
//! fn main() -> std::io::Result<()> {
//!     let signals = Signals::new([SIGINT, SIGTERM])?;
//!     let server = Server::bind("127.0.0.1:8000")?;
//!     server.start(|mut stream, _peer| {
//!         let _ = stream.write_all(b"hello\n");
//!     })?;
//!     signals.wait()?;
//!     // No new connections; what runs has half a minute, then it is killed. A second signal
//!     // changes nothing about that: for such, wait in a greenlet that calls `stop` again.
//!     let stopped = server.stop(Duration::from_secs(30))?;
//!     println!("{stopped:?}");
//!     Ok(()) // exit code 0
//! }
//! ```
//!
//! # How it works
//!
//! The handler of a signal, which is signal-hook's, sets that signal's flag and then writes a
//! byte into a socket, whose other end is waited for as any socket. Whoever reads a byte looks
//! at the flags after that. Invariant: while a flag is set that nobody has taken there is a
//! byte to be read, or on its way.

use crate::net::io::Io;
use crate::now;
use crate::rt::clock::Limit;
use signal_hook::SigId;
use signal_hook::consts::FORBIDDEN;
use signal_hook::low_level::{pipe, unregister};
use std::fmt;
use std::io::{self, ErrorKind, Read};
use std::os::unix::net::UnixStream;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

pub use libc::{SIGCHLD, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGWINCH};

/// Catches signals from its making until it is dropped, and hands them to whoever waits.
///
/// A signal that comes while nobody waits is kept for the next wait; several of one kind count
/// once, as in the system itself. Several `Signals` of one kind each get every signal.
///
/// What the system does by default, such as ending the process, does not happen any more,
/// also after the drop: a signal that nobody catches then has no effect.
///
/// # Examples
///
/// See the [module](self).
pub struct Signals {
    caught: Vec<Caught>,
    io: Io<UnixStream>,
}

impl UnwindSafe for Signals {}
impl RefUnwindSafe for Signals {}

struct Caught {
    signal: i32,
    flag: Arc<AtomicBool>,
    registered: Vec<SigId>,
}

impl Caught {
    /// Takes the signal, if it has come.
    fn take(&self) -> Option<i32> {
        // Acquire: what the sender did before is visible, if it is of this process.
        let come = self.flag.swap(false, Ordering::Acquire);
        come.then_some(self.signal)
    }
}

impl Drop for Caught {
    fn drop(&mut self) {
        for id in self.registered.drain(..) {
            unregister(id);
        }
    }
}

impl Signals {
    /// Begins to catch these signals: the constants of this module, or any other number.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](ErrorKind::InvalidInput) for a signal that cannot be caught, as
    /// SIGKILL, or must not be, as SIGSEGV; the system's, if there is no such signal or no
    /// descriptor left.
    ///
    /// # Examples
    ///
    /// ```
    /// use greenlet::signal::{SIGHUP, Signals};
    ///
    /// assert!(Signals::new([SIGHUP]).is_ok());
    /// assert!(Signals::new([9]).is_err());
    /// ```
    pub fn new(signals: impl IntoIterator<Item = i32>) -> io::Result<Self> {
        let (read, write) = UnixStream::pair()?;
        read.set_nonblocking(true)?;
        let mut caught: Vec<Caught> = Vec::new();
        for signal in signals {
            if FORBIDDEN.contains(&signal) {
                let why = format!("signal {signal} cannot be caught");
                return Err(io::Error::new(ErrorKind::InvalidInput, why));
            }
            if caught.iter().any(|known| known.signal == signal) {
                continue;
            }
            let mut new = Caught {
                signal,
                flag: Arc::default(),
                registered: Vec::new(),
            };
            // The flag first: they are run in this order.
            let flag = signal_hook::flag::register(signal, new.flag.clone())?;
            new.registered.push(flag);
            new.registered
                .push(pipe::register(signal, write.try_clone()?)?);
            caught.push(new);
        }
        let io = Io::new(read);
        Ok(Signals { caught, io })
    }

    /// Waits for the next signal and returns its number. Of several that have come, the one
    /// that was named first.
    ///
    /// # Timeouts and kills
    ///
    /// Either unwinds and takes no signal.
    ///
    /// # Errors
    ///
    /// As for a read from a socket: if it would have to wait while panicking, or the thread's
    /// poller needs a descriptor and there is none.
    ///
    /// # Examples
    ///
    /// See the [module](self).
    #[track_caller]
    pub fn wait(&self) -> io::Result<i32> {
        let signal = self.wait_for("Signals::wait", Limit::Never)?;
        Ok(signal.expect("there is no limit"))
    }

    /// As [`wait`](Signals::wait), for at most `limit`; `None` when it is over.
    ///
    /// # Errors
    ///
    /// As `wait`.
    ///
    /// # Examples
    ///
    /// ```
    /// use greenlet::signal::{SIGHUP, Signals};
    ///
    /// let signals = Signals::new([SIGHUP])?;
    /// assert_eq!(signals.wait_timeout(std::time::Duration::from_millis(1))?, None);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[track_caller]
    pub fn wait_timeout(&self, limit: Duration) -> io::Result<Option<i32>> {
        let limit = Limit::After(limit).fixed(now);
        self.wait_for("Signals::wait_timeout", limit)
    }

    #[track_caller]
    fn wait_for(&self, operation: &'static str, limit: Limit) -> io::Result<Option<i32>> {
        loop {
            // A byte a signal, so that there is one for each of those who wait.
            let byte = |mut socket: &UnixStream| socket.read(&mut [0]);
            match self.io.read_within(operation, limit, byte) {
                Err(e) if e.kind() == ErrorKind::TimedOut => return Ok(None),
                read => read?,
            };
            // None: two of a kind have been taken at once.
            if let Some(signal) = self.caught.iter().find_map(Caught::take) {
                return Ok(Some(signal));
            }
        }
    }
}

impl fmt::Debug for Signals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let signals: Vec<_> = self.caught.iter().map(|caught| caught.signal).collect();
        f.debug_struct("Signals")
            .field("signals", &signals)
            .finish()
    }
}

//! A server: a greenlet that accepts, and one for each connection. Made of a listener, a
//! scope and an event.
//!
//! This file has what the user sees, `server/run.rs` the loop, and `server/listener.rs` what
//! it accepts from.

use super::addr::ToSocketAddrs;
use super::tcp::TcpListener;
use crate::error::JoinError;
use crate::greenlet::{Builder, Greenlet};
use crate::now;
use crate::rt::clock::Limit;
use crate::rt::sync::{Mutex, lock};
use crate::rt::task::Site;
use crate::scope::scope;
use std::fmt;
use std::io::{self, ErrorKind};
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::Arc;
use std::time::{Duration, Instant};

mod listener;
mod run;

pub use listener::Listener;
use listener::{Again, Key};
use run::{Begun, Run, serve};

/// Accepts connections and runs a handler for each, in a greenlet of its own.
///
/// A server is bound at once: from then on its port is known, and connections wait until
/// [`start`](Server::start) or [`run`](Server::run). The connection is closed when its handler
/// returns, or unwinds, and drops the stream. A handler's panic is printed as any panic and
/// ends only its connection.
///
/// A server may be shared with other threads and be stopped from there. Dropping one that
/// runs is as [`stop`](Server::stop) with no grace, but does not wait.
///
/// # When accepting fails
///
/// An error of the connection that was to be accepted concerns nobody, and the server goes on.
/// If the process is out of descriptors or memory the server tries again when a handler has
/// ended, and after pauses of 10 ms, doubled up to 1 s; this is reported on stderr once, until
/// there has been no such failure for a second. An error that says that the listener is gone
/// is reported too and ends the accepting; handlers go on.
///
/// # Several threads
///
/// Each thread has a server of its own on the same port, and the system spreads connections
/// over them:
///
/// ```
/// use greenlet::HubThread;
/// use greenlet::net::{ListenOptions, Server, TcpStream};
/// use std::io::{Read, Write};
/// use std::sync::Arc;
/// use std::time::Duration;
///
/// let shared = ListenOptions::new().reuse_port(true).clone();
/// let first = Server::new(shared.bind("127.0.0.1:0")?)?;
/// let address = first.local_addr();
/// let second = Server::new(shared.bind(address)?)?;
/// let servers = [Arc::new(first), Arc::new(second)];
/// let hubs = ["one", "two"].map(|name| HubThread::start(name).unwrap());
/// for (server, hub) in servers.iter().zip(&hubs) {
///     let server = server.clone();
///     hub.handle().spawn(move || server.run(|mut stream, _| {
///         let _ = stream.write_all(std::thread::current().name().unwrap().as_bytes());
///     }));
/// }
/// let mut name = String::new();
/// TcpStream::connect(address)?.read_to_string(&mut name)?;
/// assert!(name == "one" || name == "two");
/// for server in &servers {
///     server.stop(Duration::from_secs(1))?;
/// }
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # Examples
///
/// ```
/// use greenlet::net::{Server, TcpStream};
/// use std::io::{Read, Write};
/// use std::time::Duration;
///
/// let server = Server::bind("127.0.0.1:0")?.max_connections(1000);
/// server.start(|mut stream, peer| {
///     let _ = write!(stream, "you are {peer}");
/// })?;
/// let mut client = TcpStream::connect(server.local_addr())?;
/// let mut text = String::new();
/// client.read_to_string(&mut text)?;
/// assert_eq!(text, format!("you are {}", client.local_addr()?));
/// assert_eq!(server.stop(Duration::from_secs(1))?.finished, 1);
/// # Ok::<(), std::io::Error>(())
/// ```
#[must_use = "a Server that is dropped stops"]
pub struct Server<L: Listener = TcpListener> {
    address: L::Address,
    limit: usize,
    settings: Builder,
    again: Again<L>,
    state: Mutex<State<L>>,
}

impl<L: Listener> UnwindSafe for Server<L> {}
impl<L: Listener> RefUnwindSafe for Server<L> {}

enum State<L> {
    Bound(L),
    Started(Arc<Run<L>>),
    /// Stopped before it was started.
    Closed,
}

/// What became of a server's connections, since its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stopped {
    /// How many were accepted: the sum of the others.
    pub accepted: u64,
    /// Handlers that returned.
    pub finished: u64,
    /// Handlers that panicked, or could have no stack.
    pub panicked: u64,
    /// Handlers that were killed.
    pub killed: u64,
}

impl Stopped {
    fn live(&self) -> usize {
        let live = self.accepted - self.finished - self.panicked - self.killed;
        usize::try_from(live).expect("no more than there are greenlets")
    }
}

impl Server {
    /// Listens on the first of the addresses that works; port 0 is any free one.
    /// [`ListenOptions`](super::ListenOptions) and [`new`](Server::new) say more.
    ///
    /// # Errors
    ///
    /// The system's for the last address, which it names.
    ///
    /// # Examples
    ///
    /// ```
    /// let server = greenlet::net::Server::bind("127.0.0.1:0")?;
    /// assert_ne!(server.local_addr().port(), 0);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[track_caller]
    pub fn bind<A: ToSocketAddrs>(address: A) -> io::Result<Self> {
        Server::new(TcpListener::bind(address)?)
    }
}

impl<L: Listener> Server<L> {
    /// A server of that listener, which is closed when the server stops: a [`TcpListener`]
    /// or a [`UnixListener`](super::UnixListener).
    ///
    /// # Errors
    ///
    /// The system's, if the listener has no address.
    ///
    /// # Examples
    ///
    /// ```
    /// use greenlet::net::{ListenOptions, Server};
    ///
    /// let server = Server::new(ListenOptions::new().backlog(16).bind("127.0.0.1:0")?)?;
    /// # drop(server);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn new(listener: L) -> io::Result<Self> {
        let (address, again) = listener.origin(Key(()))?;
        Ok(Server {
            address,
            limit: usize::MAX,
            settings: Builder::new(),
            again,
            state: Mutex::new(State::Bound(listener)),
        })
    }

    /// Accepts a connection only while fewer than `n` are alive; the others wait to be
    /// accepted, up to the listener's backlog. At first there is no limit.
    ///
    /// # Panics
    ///
    /// If `n` is 0.
    ///
    /// # Examples
    ///
    /// See [`Server`].
    #[track_caller]
    pub fn max_connections(mut self, n: usize) -> Self {
        assert!(n > 0, "a server without connections");
        self.limit = n;
        self
    }

    /// The name and the size of the stack of the handlers' greenlets.
    ///
    /// # Examples
    ///
    /// ```
    /// use greenlet::net::Server;
    ///
    /// let large = greenlet::Builder::new().name("parser").stack_size(1 << 20);
    /// let server = Server::bind("127.0.0.1:0")?.greenlets(large);
    /// # drop(server);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn greenlets(mut self, settings: Builder) -> Self {
        self.settings = settings;
        self
    }

    /// The address that it listens on, or did before it was stopped, and will again.
    ///
    /// # Examples
    ///
    /// See [`Server`].
    pub fn local_addr(&self) -> L::Address {
        self.address.clone()
    }

    /// Starts to accept, in a greenlet of this thread's hub, and returns. After a stop the
    /// server listens again first, on the same address and with the same `reuse_port`, but
    /// otherwise as [`bind`](Server::bind) does: a backlog, or the permissions of a Unix
    /// socket's file, must be set anew. A Unix socket's file that nobody listens on any more
    /// is replaced.
    ///
    /// # Errors
    ///
    /// [`ResourceBusy`](ErrorKind::ResourceBusy) if it runs; the system's, if it was stopped
    /// and cannot listen again, or for the settings of the greenlets.
    ///
    /// # Examples
    ///
    /// See [`Server`].
    pub fn start<H>(&self, handler: H) -> io::Result<()>
    where
        H: Fn(L::Stream, L::Address) + 'static,
    {
        let begun = self.begin()?;
        let run = begun.run.clone();
        let accepting = self.name().spawn(move || serve(begun, handler));
        let accepting: Greenlet<()> = accepting.expect("the defaults are valid");
        accepting.link(move |outcome| run.end(outcome.as_ref().err()));
        Ok(())
    }

    /// As [`start`](Server::start), and returns when the server has been
    /// [stopped](Server::stop) and its last handler has ended. The handler may borrow.
    ///
    /// # Timeouts and kills
    ///
    /// Either stops accepting, kills the handlers, waits for them, and unwinds.
    ///
    /// # Panics
    ///
    /// As [`scope`](crate::scope()).
    ///
    /// # Errors
    ///
    /// As `start`; and the error that said that the listener is gone.
    ///
    /// # Examples
    ///
    /// ```
    /// use greenlet::net::{Server, TcpStream};
    /// use std::cell::Cell;
    /// use std::time::Duration;
    ///
    /// let server = Server::bind("127.0.0.1:0")?;
    /// let served = Cell::new(0);
    /// greenlet::scope(|s| {
    ///     let running = s.spawn(|| server.run(|_stream, _peer| served.set(served.get() + 1)));
    ///     for _ in 0..3 {
    ///         let client = TcpStream::connect(server.local_addr()).unwrap();
    ///         std::io::Read::read(&mut &client, &mut [0]).unwrap(); // until it is closed
    ///     }
    ///     server.stop(Duration::from_secs(1))?;
    ///     assert_eq!(running.join().unwrap()?.finished, served.get());
    ///     Ok(())
    /// })
    /// # .map_err(|e: std::io::Error| e)
    /// # ;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[track_caller]
    pub fn run<H>(&self, handler: H) -> io::Result<Stopped>
    where
        H: Fn(L::Stream, L::Address),
    {
        /// If nothing was started, nothing ends it.
        struct End<'a, L: Listener>(&'a Run<L>);
        impl<L: Listener> Drop for End<'_, L> {
            fn drop(&mut self) {
                self.0.end(None);
            }
        }
        let begun = self.begin()?;
        let run = begun.run.clone();
        let _end = End(&run);
        scope(|s| {
            let told = |failed: Option<&JoinError>| run.end(failed);
            s.spawn_apart(self.name(), || serve(begun, handler), told)
                .expect("the defaults are valid");
        });
        run.result(&self.address)
    }

    fn name(&self) -> Builder {
        Builder::new().name(format!("server {:?}", self.address))
    }

    fn begin(&self) -> io::Result<Begun<L>> {
        self.settings.clone().checked()?;
        let mut state = lock(&self.state);
        let listener = match &*state {
            State::Bound(listener) => listener.clone(),
            State::Started(run) if !run.is_over() => {
                return Err(io::Error::new(ErrorKind::ResourceBusy, "the server runs"));
            }
            State::Started(_) | State::Closed => (self.again)()?,
        };
        let run = Arc::new(Run::new(listener.clone()));
        *state = State::Started(run.clone());
        Ok(Begun {
            run,
            listener,
            limit: self.limit,
            settings: self.settings.clone(),
            name: format!("{:?}", self.address),
        })
    }

    /// Stops accepting: new connections are refused (elsewhere than on Linux, once no other
    /// handle to the listener is left). Lets handlers go on until `grace` is over, kills those
    /// left, waits for the end of the last one, and returns what became of all since the
    /// start. [`Duration::ZERO`] kills at once, [`Duration::MAX`] never.
    ///
    /// A handler that swallows the kill, or is in a [`shield`](crate::shield), is waited for.
    /// In a handler of this server `stop` waits for the handler too, and so is killed when the
    /// grace is over. Connections that have not been accepted are reset.
    ///
    /// Any number may stop a server, from any thread. All return when it has ended; the
    /// earliest end of a grace holds. On a server that was stopped before it returns the same
    /// numbers again, and on one that never ran it returns zeros.
    ///
    /// # Timeouts and kills
    ///
    /// Either ends the wait, and the server stops all the same. Handlers are not told: those
    /// that may be idle take the whole grace, unless they are told by an
    /// [`Event`](crate::sync::Event), say. In a handler of this server a grace without end is
    /// one, since it waits for itself too.
    ///
    /// # Panics
    ///
    /// With `panic = "abort"` the process ends if there are handlers to be killed: give them
    /// grace enough.
    ///
    /// # Errors
    ///
    /// The one that ended the accepting before.
    ///
    /// # Examples
    ///
    /// ```
    /// use greenlet::net::{Server, TcpStream};
    /// use std::time::Duration;
    ///
    /// let server = Server::bind("127.0.0.1:0")?;
    /// server.start(|_stream, _peer| greenlet::sleep(Duration::from_secs(99)))?;
    /// let _client = TcpStream::connect(server.local_addr())?;
    /// while server.live() == 0 {
    ///     greenlet::yield_now();
    /// }
    /// assert_eq!(server.stop(Duration::from_millis(5))?.killed, 1);
    /// assert!(TcpStream::connect(server.local_addr()).is_err());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[track_caller]
    pub fn stop(&self, grace: Duration) -> io::Result<Stopped> {
        let site = Site::here("Server::stop");
        let Some(run) = self.begin_stop(Limit::After(grace).deadline(now())) else {
            return Ok(Stopped::default());
        };
        run.wait(site);
        run.result(&self.address)
    }

    fn begin_stop(&self, deadline: Option<Instant>) -> Option<Arc<Run<L>>> {
        let mut state = lock(&self.state);
        match &*state {
            State::Bound(listener) => {
                listener.close(Key(()));
                *state = State::Closed;
                None
            }
            State::Started(run) => {
                let run = run.clone();
                drop(state);
                run.ask(deadline);
                Some(run)
            }
            State::Closed => None,
        }
    }

    fn current(&self) -> Option<Arc<Run<L>>> {
        match &*lock(&self.state) {
            State::Started(run) => Some(run.clone()),
            State::Bound(_) | State::Closed => None,
        }
    }

    /// True from the start until the last handler has ended.
    ///
    /// # Examples
    ///
    /// ```
    /// let server = greenlet::net::Server::bind("127.0.0.1:0")?;
    /// assert!(!server.is_running());
    /// server.start(|_, _| ())?;
    /// assert!(server.is_running());
    /// server.stop(std::time::Duration::ZERO)?;
    /// assert!(!server.is_running());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn is_running(&self) -> bool {
        self.current().is_some_and(|run| !run.is_over())
    }

    /// How many connections are alive: accepted, and their handlers not at their ends.
    ///
    /// # Examples
    ///
    /// See [`stop`](Server::stop).
    pub fn live(&self) -> usize {
        self.numbers().live()
    }

    fn numbers(&self) -> Stopped {
        let run = self.current();
        run.map_or(Stopped::default(), |run| run.numbers())
    }
}

impl<L: Listener> Drop for Server<L> {
    fn drop(&mut self) {
        self.begin_stop(Some(now()));
    }
}

impl<L: Listener> fmt::Debug for Server<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let numbers = self.numbers();
        f.debug_struct("Server")
            .field("address", &self.address)
            .field("running", &self.is_running())
            .field("accepted", &numbers.accepted)
            .field("live", &numbers.live())
            .finish()
    }
}

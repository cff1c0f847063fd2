//! TCP: listeners and streams.

use super::addr::{ToSocketAddrs, named, try_each};
use super::io::{Io, limits, socket, stream};
use crate::rt::clock::Limit;
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::time::Duration;

/// Connections that may wait to be accepted, unless the system's limit is lower.
const BACKLOG: i32 = 4096;

/// A TCP socket that accepts connections. As [`std::net::TcpListener`].
///
/// # Examples
///
/// ```
/// use greenlet::net::{TcpListener, TcpStream};
/// use std::io::{Read, Write};
///
/// let listener = TcpListener::bind("127.0.0.1:0")?; // any free port
/// let address = listener.local_addr()?;
/// greenlet::scope(|s| {
///     s.spawn(|| {
///         for peer in listener.incoming().take(2) {
///             peer.unwrap().write_all(b"welcome").unwrap();
///         }
///     });
///     for _ in 0..2 {
///         let mut text = String::new();
///         TcpStream::connect(address).unwrap().read_to_string(&mut text).unwrap();
///         assert_eq!(text, "welcome");
///     }
/// });
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone)]
pub struct TcpListener {
    io: Io<std::net::TcpListener>,
}

socket!(TcpListener, std::net::TcpListener);

impl TcpListener {
    /// Listens on the first of the addresses that works; port 0 is any free one.
    ///
    /// # Errors
    ///
    /// The system's for the last address, which it names.
    #[track_caller]
    pub fn bind<A: ToSocketAddrs>(address: A) -> io::Result<Self> {
        ListenOptions::new().bind(address)
    }

    /// The next connection and its peer's address.
    ///
    /// # Fairness
    ///
    /// Any number may wait; they are served in order of arrival.
    ///
    /// # Timeouts and kills
    ///
    /// Either unwinds, and a connection that came meanwhile stays to be accepted.
    ///
    /// # Errors
    ///
    /// The system's: some, as too many open files, go away; a [`Server`](super::Server)
    /// knows which.
    #[track_caller]
    pub fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        let call = |socket: &std::net::TcpListener| socket.accept();
        let (socket, peer) = self.io.read("TcpListener::accept", call, |_| false)?;
        Ok((TcpStream::wrap(socket)?, peer))
    }

    /// The connections, one after the other, for ever. After `close`, and while the process
    /// has no descriptor left, each item is an error and comes without a wait: a loop that
    /// ignores errors lets nobody else run.
    pub fn incoming(&self) -> Incoming<'_> {
        Incoming { listener: self }
    }

    /// The address that it listens on.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.io.socket().local_addr()
    }

    /// The time to live of packets that are sent.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn ttl(&self) -> io::Result<u32> {
        self.io.socket().ttl()
    }

    /// Sets the time to live of packets that are sent.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn set_ttl(&self, ttl: u32) -> io::Result<()> {
        self.io.socket().set_ttl(ttl)
    }

    /// Ends all waits, now and later, with
    /// [`NotConnected`](std::io::ErrorKind::NotConnected). On Linux new connections are
    /// refused from now on; elsewhere once the last handle is dropped.
    pub fn close(&self) {
        // Linux alone knows this for a listener.
        let _ = SockRef::from(self.io.socket()).shutdown(std::net::Shutdown::Both);
        self.io.close();
    }
}

/// The connections of a [`TcpListener`]: [`TcpListener::incoming`].
#[derive(Debug)]
pub struct Incoming<'a> {
    listener: &'a TcpListener,
}

impl Iterator for Incoming<'_> {
    type Item = io::Result<TcpStream>;

    #[track_caller]
    fn next(&mut self) -> Option<Self::Item> {
        Some(self.listener.accept().map(|(stream, _)| stream))
    }
}

/// How a [`TcpListener`] is made, where std has no say.
///
/// # Examples
///
/// ```
/// use greenlet::net::ListenOptions;
///
/// let one = ListenOptions::new().reuse_port(true).bind("127.0.0.1:0")?;
/// let two = ListenOptions::new().reuse_port(true).backlog(16).bind(one.local_addr()?)?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "options do nothing until bind is called"]
pub struct ListenOptions {
    reuse_port: bool,
    backlog: i32,
}

impl ListenOptions {
    /// What [`TcpListener::bind`] uses: the address may be used again at once after its
    /// last user has ended, the port is nobody else's, and up to 4,096 connections, or the
    /// system's limit if it is lower, may wait to be accepted.
    pub fn new() -> Self {
        ListenOptions {
            reuse_port: false,
            backlog: BACKLOG,
        }
    }

    /// Whether several listeners of this user may have the same port; the system spreads
    /// connections over them.
    pub fn reuse_port(mut self, reuse: bool) -> Self {
        self.reuse_port = reuse;
        self
    }

    /// How many connections may wait to be accepted.
    pub fn backlog(mut self, connections: u32) -> Self {
        self.backlog = i32::try_from(connections).unwrap_or(i32::MAX);
        self
    }

    /// Listens on the first of the addresses that works.
    ///
    /// # Errors
    ///
    /// The system's for the last address, which it names.
    #[track_caller]
    pub fn bind<A: ToSocketAddrs>(&self, address: A) -> io::Result<TcpListener> {
        try_each(&address, "listen on", |address| {
            let socket = Socket::new(
                Domain::for_address(address),
                Type::STREAM,
                Some(Protocol::TCP),
            )?;
            socket.set_reuse_address(true)?;
            if self.reuse_port {
                socket.set_reuse_port(true)?;
            }
            socket.bind(&address.into())?;
            socket.listen(self.backlog)?;
            TcpListener::wrap(socket.into())
        })
    }
}

impl Default for ListenOptions {
    fn default() -> Self {
        ListenOptions::new()
    }
}

/// A TCP connection. As [`std::net::TcpStream`]; read and written through
/// [`Read`](std::io::Read) and [`Write`](std::io::Write), by several greenlets through `&TcpStream` too.
#[derive(Clone)]
pub struct TcpStream {
    io: Io<std::net::TcpStream>,
}

socket!(TcpStream, std::net::TcpStream);
limits!(TcpStream);
// A read stops short of urgent data too, which Linux alone tells of.
stream!(
    TcpStream,
    cfg!(any(target_os = "linux", target_os = "android"))
);

impl TcpStream {
    /// Connects to the first of the addresses that answers.
    ///
    /// # Timeouts and kills
    ///
    /// Either unwinds, and the socket is closed.
    ///
    /// # Errors
    ///
    /// The system's for the last address, which it names.
    #[track_caller]
    pub fn connect<A: ToSocketAddrs>(address: A) -> io::Result<Self> {
        try_each(&address, "connect to", |address| {
            Self::connect_to(address, Limit::Never, "TcpStream::connect")
        })
    }

    /// Connects to an address within `limit`.
    ///
    /// # Errors
    ///
    /// [`TimedOut`](std::io::ErrorKind::TimedOut), or the system's; with the address.
    /// [`InvalidInput`](std::io::ErrorKind::InvalidInput) if the limit is zero, as in std.
    #[track_caller]
    pub fn connect_timeout(address: &SocketAddr, limit: Duration) -> io::Result<Self> {
        if limit.is_zero() {
            let why = "cannot set a timeout of zero";
            return Err(io::Error::new(ErrorKind::InvalidInput, why));
        }
        Self::connect_to(*address, Limit::After(limit), "TcpStream::connect_timeout")
            .map_err(|e| named(e, "connect to", address))
    }

    #[track_caller]
    fn connect_to(address: SocketAddr, limit: Limit, operation: &'static str) -> io::Result<Self> {
        let socket = Socket::new(
            Domain::for_address(address),
            Type::STREAM,
            Some(Protocol::TCP),
        )?;
        socket.set_nonblocking(true)?;
        match socket.connect(&address.into()) {
            Ok(()) => {
                return Ok(TcpStream {
                    io: Io::new(socket.into()),
                });
            }
            Err(e) if is_under_way(&e) => {}
            Err(e) => return Err(e),
        }
        let io = Io::connecting(socket.into());
        io.write_within(operation, limit, |socket: &std::net::TcpStream| {
            match socket.take_error()? {
                Some(error) => Err(error),
                // Woken for nothing.
                None if socket.peer_addr().is_err() => Err(ErrorKind::WouldBlock.into()),
                None => Ok(()),
            }
        })?;
        Ok(TcpStream { io })
    }

    /// Reads without taking: the next read sees the same bytes.
    ///
    /// # Errors
    ///
    /// As for a read.
    #[track_caller]
    pub fn peek(&self, buf: &mut [u8]) -> io::Result<usize> {
        // What was seen is still there.
        self.io
            .read("TcpStream::peek", |socket| socket.peek(buf), |_| false)
    }

    /// This end's address.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.io.socket().local_addr()
    }

    /// The other end's address.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.io.socket().peer_addr()
    }

    /// Whether small writes are sent at once (`TCP_NODELAY`).
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn nodelay(&self) -> io::Result<bool> {
        self.io.socket().nodelay()
    }

    /// Whether to send small writes at once, instead of gathering them (Nagle's algorithm).
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn set_nodelay(&self, nodelay: bool) -> io::Result<()> {
        self.io.socket().set_nodelay(nodelay)
    }

    /// The time to live of packets that are sent.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn ttl(&self) -> io::Result<u32> {
        self.io.socket().ttl()
    }

    /// Sets the time to live of packets that are sent.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn set_ttl(&self, ttl: u32) -> io::Result<()> {
        self.io.socket().set_ttl(ttl)
    }

    /// Has the system ask a silent peer whether it is still there, first after `idle`;
    /// `None` turns that off, as it is at first.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn set_keepalive(&self, idle: Option<Duration>) -> io::Result<()> {
        let socket = SockRef::from(self.io.socket());
        match idle {
            Some(idle) => socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(idle)),
            None => socket.set_keepalive(false),
        }
    }
}

/// Whether a connect that has failed so goes on.
fn is_under_way(error: &io::Error) -> bool {
    // A signal does not stop it either.
    matches!(error.raw_os_error(), Some(libc::EINPROGRESS | libc::EINTR))
}

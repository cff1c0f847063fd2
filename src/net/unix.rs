//! Unix domain sockets: listeners, streams and datagrams.

use super::io::{Io, limits, socket, stream, try_again};
use crate::rt::clock::Limit;
use socket2::{Domain, SockAddr, SockRef, Socket, Type};
use std::ffi::OsString;
use std::io;
use std::os::unix::net as std_net;
use std::os::unix::net::SocketAddr;
use std::path::Path;

/// A Unix socket that accepts connections. As [`std::os::unix::net::UnixListener`]. The file
/// stays when it is dropped.
///
/// # Examples
///
/// ```
/// use greenlet::net::{UnixListener, UnixStream};
/// use std::io::{Read, Write};
///
/// let path = std::env::temp_dir().join(format!("greenlet-doc-{}", std::process::id()));
/// let listener = UnixListener::bind(&path)?;
/// greenlet::scope(|s| {
///     s.spawn(|| listener.accept().unwrap().0.write_all(b"welcome").unwrap());
///     let mut text = String::new();
///     UnixStream::connect(&path).unwrap().read_to_string(&mut text).unwrap();
///     assert_eq!(text, "welcome");
/// });
/// std::fs::remove_file(path)?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone)]
pub struct UnixListener {
    io: Io<std_net::UnixListener>,
}

socket!(UnixListener, std_net::UnixListener);

impl UnixListener {
    /// Makes the socket file, which must not be there yet, and listens on it.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn bind<P: AsRef<Path>>(path: P) -> io::Result<Self> {
        Self::wrap(std_net::UnixListener::bind(path)?)
    }

    /// Listens on an address, which need not be a file's on Linux.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn bind_addr(address: &SocketAddr) -> io::Result<Self> {
        Self::wrap(std_net::UnixListener::bind_addr(address)?)
    }

    /// The next connection and its peer's address; fair as
    /// [`TcpListener::accept`](super::TcpListener::accept).
    ///
    /// # Errors
    ///
    /// The system's.
    #[track_caller]
    pub fn accept(&self) -> io::Result<(UnixStream, SocketAddr)> {
        let call = |socket: &std_net::UnixListener| socket.accept();
        let (socket, peer) = self.io.read("UnixListener::accept", call, |_| false)?;
        Ok((UnixStream::wrap(socket)?, peer))
    }

    /// The connections, one after the other, for ever. After `close`, and while the process
    /// has no descriptor left, each item is an error and comes without a wait: a loop that
    /// ignores errors lets nobody else run.
    pub fn incoming(&self) -> UnixIncoming<'_> {
        UnixIncoming { listener: self }
    }

    /// The address that it listens on.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.io.socket().local_addr()
    }

    /// Ends all waits, now and later, with [`NotConnected`](std::io::ErrorKind::NotConnected).
    /// On Linux new connections are refused from now on; elsewhere once the last handle is
    /// dropped.
    pub fn close(&self) {
        // Linux alone knows this for a listener.
        let _ = SockRef::from(self.io.socket()).shutdown(std::net::Shutdown::Both);
        self.io.close();
    }
}

/// The connections of a [`UnixListener`]: [`UnixListener::incoming`].
#[derive(Debug)]
pub struct UnixIncoming<'a> {
    listener: &'a UnixListener,
}

impl Iterator for UnixIncoming<'_> {
    type Item = io::Result<UnixStream>;

    #[track_caller]
    fn next(&mut self) -> Option<Self::Item> {
        Some(self.listener.accept().map(|(stream, _)| stream))
    }
}

/// A Unix connection. As [`std::os::unix::net::UnixStream`].
///
/// # Examples
///
/// ```
/// use greenlet::net::UnixStream;
/// use std::io::{Read, Write};
///
/// let (mut left, mut right) = UnixStream::pair()?;
/// left.write_all(b"hi")?;
/// let mut buf = [0; 2];
/// right.read_exact(&mut buf)?;
/// assert_eq!(&buf, b"hi");
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone)]
pub struct UnixStream {
    io: Io<std_net::UnixStream>,
}

socket!(UnixStream, std_net::UnixStream);
limits!(UnixStream);
// A read stops short after descriptors that the peer has sent along, and nothing tells of them.
stream!(UnixStream, false);

impl UnixStream {
    /// Connects to the socket of that file.
    ///
    /// While too many connections wait to be accepted it tries again, after 1 ms and then
    /// less and less often up to every 100 ms: the system does not say when there is room.
    /// Limit it by a [`timeout`](crate::timeout()) scope.
    ///
    /// # Errors
    ///
    /// The system's.
    #[track_caller]
    pub fn connect<P: AsRef<Path>>(path: P) -> io::Result<Self> {
        Self::connect_to(&SockAddr::unix(path)?)
    }

    /// Connects to an address, which need not be a file's on Linux, as
    /// [`connect`](UnixStream::connect).
    ///
    /// # Errors
    ///
    /// The system's.
    #[track_caller]
    pub fn connect_addr(address: &SocketAddr) -> io::Result<Self> {
        if let Some(path) = address.as_pathname() {
            return Self::connect(path);
        }
        if let Some(name) = abstract_name(address) {
            return Self::connect_to(&SockAddr::unix(name)?);
        }
        // An address without a name, to which nothing connects.
        Self::wrap(std_net::UnixStream::connect_addr(address)?)
    }

    #[track_caller]
    fn connect_to(address: &SockAddr) -> io::Result<Self> {
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        socket.set_nonblocking(true)?;
        let call = || socket.connect(address);
        try_again("UnixStream::connect", Limit::Never, call)?;
        Self::wrap(socket.into())
    }

    /// Two ends of a connection.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn pair() -> io::Result<(Self, Self)> {
        let (left, right) = std_net::UnixStream::pair()?;
        Ok((Self::wrap(left)?, Self::wrap(right)?))
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
}

/// A Unix datagram socket. As [`std::os::unix::net::UnixDatagram`].
///
/// # Examples
///
/// ```
/// use greenlet::net::UnixDatagram;
///
/// let (left, right) = UnixDatagram::pair()?;
/// left.send(b"one")?;
/// left.send(b"two")?;
/// let mut buf = [0; 8];
/// assert_eq!(right.recv(&mut buf)?, 3); // messages stay apart
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone)]
pub struct UnixDatagram {
    io: Io<std_net::UnixDatagram>,
}

socket!(UnixDatagram, std_net::UnixDatagram);
limits!(UnixDatagram);

impl UnixDatagram {
    /// Makes the socket file, which must not be there yet.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn bind<P: AsRef<Path>>(path: P) -> io::Result<Self> {
        Self::wrap(std_net::UnixDatagram::bind(path)?)
    }

    /// A socket with an address, which need not be a file's on Linux.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn bind_addr(address: &SocketAddr) -> io::Result<Self> {
        Self::wrap(std_net::UnixDatagram::bind_addr(address)?)
    }

    /// A socket without an address: nobody can answer it.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn unbound() -> io::Result<Self> {
        Self::wrap(std_net::UnixDatagram::unbound()?)
    }

    /// Two ends of a connection.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn pair() -> io::Result<(Self, Self)> {
        let (left, right) = std_net::UnixDatagram::pair()?;
        Ok((Self::wrap(left)?, Self::wrap(right)?))
    }

    /// From now on the socket sends to and receives from this file's socket only.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn connect<P: AsRef<Path>>(&self, path: P) -> io::Result<()> {
        self.io.socket().connect(path)
    }

    /// The same by address.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn connect_addr(&self, address: &SocketAddr) -> io::Result<()> {
        self.io.socket().connect_addr(address)
    }

    /// Receives a message: its length, cut off at the buffer's, and its sender.
    ///
    /// # Errors
    ///
    /// The system's.
    #[track_caller]
    pub fn recv_from(&self, buf: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        let call = |socket: &std_net::UnixDatagram| {
            self.until_ended(
                || socket.recv_from(buf),
                || Ok((0, SocketAddr::from_pathname("")?)),
            )
        };
        self.io.read("UnixDatagram::recv_from", call, |_| false)
    }

    /// Receives a message.
    ///
    /// # Errors
    ///
    /// The system's.
    #[track_caller]
    pub fn recv(&self, buf: &mut [u8]) -> io::Result<usize> {
        let call = |socket: &std_net::UnixDatagram| self.until_ended(|| socket.recv(buf), || Ok(0));
        self.io.read("UnixDatagram::recv", call, |_| false)
    }

    /// Sends a message to that file's socket. While its buffer is full this tries again, as
    /// [`UnixStream::connect`] does; connect the socket to be told when there is room.
    ///
    /// # Errors
    ///
    /// The system's.
    #[track_caller]
    pub fn send_to<P: AsRef<Path>>(&self, buf: &[u8], path: P) -> io::Result<usize> {
        let path = path.as_ref();
        let call = |socket: &std_net::UnixDatagram| socket.send_to(buf, path);
        self.io.write_by_trying("UnixDatagram::send_to", call)
    }

    /// The same by address.
    ///
    /// # Errors
    ///
    /// The system's.
    #[track_caller]
    pub fn send_to_addr(&self, buf: &[u8], address: &SocketAddr) -> io::Result<usize> {
        let call = |socket: &std_net::UnixDatagram| socket.send_to_addr(buf, address);
        self.io.write_by_trying("UnixDatagram::send_to_addr", call)
    }

    /// Sends a message to the address that the socket is connected to, and waits while the
    /// buffer there is full.
    ///
    /// # Errors
    ///
    /// The system's.
    #[track_caller]
    pub fn send(&self, buf: &[u8]) -> io::Result<usize> {
        let call = |socket: &std_net::UnixDatagram| socket.send(buf);
        self.io.write("UnixDatagram::send", call, |_| false)
    }

    /// This end's address.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.io.socket().local_addr()
    }

    /// The address that the socket is connected to.
    ///
    /// # Errors
    ///
    /// The system's, if there is none.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.io.socket().peer_addr()
    }

    /// After a shutdown the system says that a receive which does not block would block; to
    /// one that blocks it says 0 bytes from nobody.
    fn until_ended<T>(
        &self,
        receive: impl FnOnce() -> io::Result<T>,
        nothing: impl FnOnce() -> io::Result<T>,
    ) -> io::Result<T> {
        // First: what had come before the end is received.
        let ended = self.io.has_read_ended();
        match receive() {
            Err(e) if ended && e.kind() == io::ErrorKind::WouldBlock => nothing(),
            result => result,
        }
    }

    /// Ends receiving, sending or both. Whoever waits to do that goes on: receivers get the
    /// messages that have come, and then 0 bytes; senders
    /// [`BrokenPipe`](std::io::ErrorKind::BrokenPipe).
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn shutdown(&self, how: std::net::Shutdown) -> io::Result<()> {
        let result = self.io.socket().shutdown(how);
        if result.is_ok() && !matches!(how, std::net::Shutdown::Write) {
            self.io.end_reading();
        }
        self.io.poke();
        result
    }

    /// Ends all waits, now and later, with [`NotConnected`](std::io::ErrorKind::NotConnected).
    pub fn close(&self) {
        self.io.close();
    }
}

/// A name that is no file's, as socket2 takes it: after a null byte.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn abstract_name(address: &SocketAddr) -> Option<OsString> {
    #[cfg(target_os = "android")]
    use std::os::android::net::SocketAddrExt;
    #[cfg(target_os = "linux")]
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::ffi::OsStringExt;
    let name = address.as_abstract_name()?;
    Some(OsString::from_vec([b"\0", name].concat()))
}

/// There are none.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn abstract_name(_: &SocketAddr) -> Option<OsString> {
    None
}

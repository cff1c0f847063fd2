//! What a server accepts from: a TCP or a Unix listener.

use crate::net::tcp::{ListenOptions, TcpListener, TcpStream};
use crate::net::unix::{UnixListener, UnixStream};
use socket2::{Domain, SockAddr, SockRef, Socket, Type};
use std::fmt;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net as unix;

/// Listens on the same address once more.
pub(super) type Again<L> = Box<dyn Fn() -> io::Result<L> + Send + Sync>;

/// What a [`Server`](super::Server) can accept from: a [`TcpListener`] or a [`UnixListener`],
/// and nothing else.
pub trait Listener: Clone + Send + Sync + 'static {
    /// A connection.
    type Stream: 'static;
    /// Where a listener or a peer is.
    type Address: Clone + fmt::Debug + Send + Sync + 'static;

    #[doc(hidden)]
    fn origin(&self, _: Key) -> io::Result<(Self::Address, Again<Self>)>;
    #[doc(hidden)]
    fn accept(&self, _: Key) -> io::Result<(Self::Stream, Self::Address)>;
    #[doc(hidden)]
    fn close(&self, _: Key);
}

mod sealed {
    /// Nobody else can name it, so nobody else can call or implement what takes it.
    #[derive(Debug)]
    pub struct Key(pub(in crate::net::server) ());
}
pub(super) use sealed::Key;

impl Listener for TcpListener {
    type Stream = TcpStream;
    type Address = SocketAddr;

    fn origin(&self, _: Key) -> io::Result<(SocketAddr, Again<Self>)> {
        let address = self.local_addr()?;
        let shared = SockRef::from(self).reuse_port()?;
        let options = ListenOptions::new().reuse_port(shared);
        Ok((address, Box::new(move || options.bind(address))))
    }

    fn accept(&self, _: Key) -> io::Result<(TcpStream, SocketAddr)> {
        self.accept()
    }

    fn close(&self, _: Key) {
        self.close();
    }
}

impl Listener for UnixListener {
    type Stream = UnixStream;
    type Address = unix::SocketAddr;

    fn origin(&self, _: Key) -> io::Result<(unix::SocketAddr, Again<Self>)> {
        let address = self.local_addr()?;
        let again = {
            let address = address.clone();
            move || {
                remove_if_abandoned(&address)?;
                UnixListener::bind_addr(&address)
            }
        };
        Ok((address, Box::new(again)))
    }

    fn accept(&self, _: Key) -> io::Result<(UnixStream, unix::SocketAddr)> {
        self.accept()
    }

    fn close(&self, _: Key) {
        self.close();
    }
}

/// Removes a socket's file if nobody listens on it.
fn remove_if_abandoned(address: &unix::SocketAddr) -> io::Result<()> {
    let Some(path) = address.as_pathname() else {
        return Ok(());
    };
    // Whatever else is there refuses a connection too, and is not ours to remove.
    if !std::fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket()) {
        return Ok(());
    }
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    match socket.connect(&SockAddr::unix(path)?) {
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => std::fs::remove_file(path),
        _ => Ok(()),
    }
}

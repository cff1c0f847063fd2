//! UDP.

use super::addr::{ToSocketAddrs, addresses, try_each};
use super::io::{Io, limits, socket};
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

/// A UDP socket. As [`std::net::UdpSocket`]; any number of greenlets may send and receive,
/// and each message goes to the one that has waited longest.
///
/// # Examples
///
/// ```
/// use greenlet::net::UdpSocket;
///
/// let server = UdpSocket::bind("127.0.0.1:0")?;
/// let client = UdpSocket::bind("127.0.0.1:0")?;
/// client.connect(server.local_addr()?)?;
/// greenlet::scope(|s| {
///     s.spawn(|| {
///         let mut buf = [0; 1500];
///         let (len, from) = server.recv_from(&mut buf).unwrap();
///         server.send_to(&buf[..len], from).unwrap();
///     });
///     client.send(b"ping").unwrap();
///     let mut buf = [0; 1500];
///     assert_eq!(client.recv(&mut buf).unwrap(), 4);
/// });
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone)]
pub struct UdpSocket {
    io: Io<std::net::UdpSocket>,
}

socket!(UdpSocket, std::net::UdpSocket);
limits!(UdpSocket);

/// Options of the system that are passed on as they are.
macro_rules! options {
    ($($(#[$doc:meta])* $get:ident, $(#[$set_doc:meta])* $set:ident: $type:ty;)*) => { $(
        $(#[$doc])*
        ///
        /// # Errors
        ///
        /// The system's.
        pub fn $get(&self) -> io::Result<$type> {
            self.io.socket().$get()
        }

        $(#[$set_doc])*
        ///
        /// # Errors
        ///
        /// The system's.
        pub fn $set(&self, value: $type) -> io::Result<()> {
            self.io.socket().$set(value)
        }
    )* };
}

impl UdpSocket {
    /// A socket on the first of the addresses that works; port 0 is any free one.
    ///
    /// # Errors
    ///
    /// The system's for the last address, which it names.
    #[track_caller]
    pub fn bind<A: ToSocketAddrs>(address: A) -> io::Result<Self> {
        try_each(&address, "bind", |address| {
            Self::wrap(std::net::UdpSocket::bind(address)?)
        })
    }

    /// As [`bind`](UdpSocket::bind), for a port that several sockets of this user share; the
    /// system spreads messages over them by their senders.
    ///
    /// # Errors
    ///
    /// As for `bind`.
    #[track_caller]
    pub fn bind_reuse_port<A: ToSocketAddrs>(address: A) -> io::Result<Self> {
        try_each(&address, "bind", |address| {
            let domain = Domain::for_address(address);
            let socket = Socket::new(domain, Type::DGRAM, Some(Protocol::UDP))?;
            socket.set_reuse_port(true)?;
            socket.bind(&address.into())?;
            Self::wrap(socket.into())
        })
    }

    /// From now on the socket sends to and receives from this address only, the first of
    /// those that works.
    ///
    /// # Errors
    ///
    /// The system's for the last address, which it names.
    #[track_caller]
    pub fn connect<A: ToSocketAddrs>(&self, address: A) -> io::Result<()> {
        try_each(&address, "connect to", |address| {
            self.io.socket().connect(address)
        })
    }

    /// Receives a message: its length, cut off at the buffer's, and its sender.
    ///
    /// # Errors
    ///
    /// The system's, among them those of earlier sends.
    #[track_caller]
    pub fn recv_from(&self, buf: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        let call = |socket: &std::net::UdpSocket| socket.recv_from(buf);
        self.io.read("UdpSocket::recv_from", call, |_| false)
    }

    /// As [`recv_from`](UdpSocket::recv_from), without taking the message.
    ///
    /// # Errors
    ///
    /// As for `recv_from`.
    #[track_caller]
    pub fn peek_from(&self, buf: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        let call = |socket: &std::net::UdpSocket| socket.peek_from(buf);
        self.io.read("UdpSocket::peek_from", call, |_| false)
    }

    /// Receives a message from the address that the socket is connected to.
    ///
    /// # Errors
    ///
    /// As for [`recv_from`](UdpSocket::recv_from).
    #[track_caller]
    pub fn recv(&self, buf: &mut [u8]) -> io::Result<usize> {
        self.io
            .read("UdpSocket::recv", |socket| socket.recv(buf), |_| false)
    }

    /// As [`recv`](UdpSocket::recv), without taking the message.
    ///
    /// # Errors
    ///
    /// As for [`recv_from`](UdpSocket::recv_from).
    #[track_caller]
    pub fn peek(&self, buf: &mut [u8]) -> io::Result<usize> {
        self.io
            .read("UdpSocket::peek", |socket| socket.peek(buf), |_| false)
    }

    /// Sends a message to the first of the addresses.
    ///
    /// # Errors
    ///
    /// The system's, or that there is no such address.
    #[track_caller]
    pub fn send_to<A: ToSocketAddrs>(&self, buf: &[u8], address: A) -> io::Result<usize> {
        let address = addresses(&address)?[0];
        let call = |socket: &std::net::UdpSocket| socket.send_to(buf, address);
        self.io.write("UdpSocket::send_to", call, |_| false)
    }

    /// Sends a message to the address that the socket is connected to.
    ///
    /// # Errors
    ///
    /// The system's.
    #[track_caller]
    pub fn send(&self, buf: &[u8]) -> io::Result<usize> {
        self.io
            .write("UdpSocket::send", |socket| socket.send(buf), |_| false)
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

    options! {
        /// Whether messages may be sent to broadcast addresses.
        broadcast, /// Sets whether messages may be sent to broadcast addresses.
        set_broadcast: bool;
        /// The time to live of packets that are sent.
        ttl, /// Sets the time to live of packets that are sent.
        set_ttl: u32;
        /// Whether messages to a multicast group are seen by this host too.
        multicast_loop_v4, /// Sets whether messages to a multicast group are seen by this host too.
        set_multicast_loop_v4: bool;
        /// The same for IPv6.
        multicast_loop_v6, /// Sets the same for IPv6.
        set_multicast_loop_v6: bool;
        /// The time to live of multicast packets.
        multicast_ttl_v4, /// Sets the time to live of multicast packets.
        set_multicast_ttl_v4: u32;
    }

    /// Joins a multicast group on the interface with that address.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn join_multicast_v4(&self, group: &Ipv4Addr, interface: &Ipv4Addr) -> io::Result<()> {
        self.io.socket().join_multicast_v4(group, interface)
    }

    /// Leaves a multicast group.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn leave_multicast_v4(&self, group: &Ipv4Addr, interface: &Ipv4Addr) -> io::Result<()> {
        self.io.socket().leave_multicast_v4(group, interface)
    }

    /// Joins a multicast group on the interface of that index, 0 for any.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn join_multicast_v6(&self, group: &Ipv6Addr, interface: u32) -> io::Result<()> {
        self.io.socket().join_multicast_v6(group, interface)
    }

    /// Leaves a multicast group.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn leave_multicast_v6(&self, group: &Ipv6Addr, interface: u32) -> io::Result<()> {
        self.io.socket().leave_multicast_v6(group, interface)
    }

    /// Ends all waits, now and later, with [`NotConnected`](std::io::ErrorKind::NotConnected).
    /// The port is free once the last handle is dropped.
    pub fn close(&self) {
        self.io.close();
    }
}

//! Sockets in plain blocking style: named and behaving as in std, but what would block
//! lets the other greenlets of the thread run meanwhile.
//!
//! ```
//! use greenlet::net::{TcpListener, TcpStream};
//! use std::io::{Read, Write};
//!
//! let listener = TcpListener::bind("127.0.0.1:0")?;
//! let address = listener.local_addr()?;
//! greenlet::scope(|s| {
//!     s.spawn(|| {
//!         let (mut peer, _) = listener.accept()?;
//!         std::io::copy(&mut &peer.try_clone()?, &mut peer) // echo, until the client ends
//!     });
//!     let mut client = TcpStream::connect(address)?;
//!     client.write_all(b"hello")?;
//!     client.shutdown(std::net::Shutdown::Write)?;
//!     let mut answer = String::new();
//!     client.read_to_string(&mut answer)?;
//!     assert_eq!(answer, "hello");
//!     Ok(())
//! })
//! # .map_err(|e: std::io::Error| e)
//! # ;
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! # Waiting
//!
//! A call is tried first; only if it would block does the greenlet wait. Any number of
//! greenlets may wait on one socket, for reading and for writing apart, and they are
//! served in order of arrival: several may accept on one listener or receive on one UDP
//! socket. A message is read by one of them; a stream's bytes are too, so reads of one
//! stream by several greenlets interleave.
//!
//! A socket may be used by greenlets of any hub and by plain threads, at the same time
//! too. Each thread that waits for sockets has a hub with a poller for that, which a plain
//! thread gets at its first such wait; so a socket is heard of on each hub that waits for it.
//! The line is one for all hubs: each of their pollers that tells of a change wakes the next
//! in line, whichever hub it is of, and those who find nothing wait on. If the first in line
//! is of a hub that is busy, the others wait until it has run, or until the next change. For
//! an accept loop on each of several threads use [`ListenOptions::reuse_port`] instead.
//!
//! Sockets are looked at once a turn, so neither greenlets that keep yielding nor timers
//! starve them, and the other way round. A call that need not wait switches to nobody but once
//! in 256 times, when it yields first: so a peer that sends as fast as it is read holds nobody
//! up, and a kill or an expiry that is due is raised then, before anything was read.
//!
//! # Timeouts and kills
//!
//! A time limit of a socket is for each call and comes out as
//! [`TimedOut`](std::io::ErrorKind::TimedOut). A [`timeout`](crate::timeout()) scope or a
//! kill unwinds from any wait. None of them loses a byte: a read that ends so has taken
//! nothing. A write of many bytes may have sent some of them, as in std.
//! [`Interrupted`](std::io::ErrorKind::Interrupted) is never returned.
//!
//! While a thread is panicking a call that would wait returns an error; one that need not
//! works. In a [`Simulation`](crate::testing::Simulation) sockets work, but what comes from
//! other threads or processes knows nothing of virtual time: the clock jumps ahead of bytes
//! that are under way, and what is tried again and again (a [`UnixStream::connect`] to
//! somebody who accepts nothing) is so without end.
//!
//! # Errors
//!
//! An error of a call that is given an address or a name says which. Its kind is that of the
//! system's error, whose number it has no more.
//!
//! # Servers
//!
//! A [`Server`] accepts in a loop and runs a greenlet for each connection, with a limit of
//! connections, and it can be stopped gracefully.
//!
//! # Closing
//!
//! A socket is closed when its last handle is dropped. `close` and `shutdown` may be called
//! while others wait, who return at once (a [`UnixDatagram`]'s sender that tries again, within
//! 100 ms).

mod addr;
pub(crate) mod io;
mod server;
mod tcp;
mod udp;
mod unix;

pub use addr::{ToSocketAddrs, lookup_host};
pub use server::{Listener, Server, Stopped};
pub use std::net::Shutdown;
pub use tcp::{Incoming, ListenOptions, TcpListener, TcpStream};
pub use udp::UdpSocket;
pub use unix::{UnixDatagram, UnixIncoming, UnixListener, UnixStream};

//! Where to connect and bind: addresses, and names that must be looked up first.

use crate::ThreadPool;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

/// What names one or more addresses: the types that std's trait of this name takes.
///
/// A string is `"host:port"`. A host that is not an address is looked up by the system on
/// a thread of the [global pool](ThreadPool::global), while the greenlet waits; std's trait
/// would hold up all others. A timeout or a kill ends the wait, and the look-up goes on there
/// to its end, which a silent name server may put off for many seconds. [`lookup_host`] does
/// that alone.
pub trait ToSocketAddrs: sealed::Sealed {
    #[doc(hidden)]
    #[track_caller]
    fn lookup(&self, _: sealed::Key) -> io::Result<Vec<SocketAddr>>;
}

mod sealed {
    pub trait Sealed {}
    /// Nobody else can call the method.
    #[derive(Debug)]
    pub struct Key(pub(super) ());
}

use sealed::Key;

/// The addresses that a target names, without blocking others: see [`ToSocketAddrs`].
///
/// # Timeouts and kills
///
/// Either unwinds, and the look-up goes on to its end on the pool's thread.
///
/// # Errors
///
/// The system's, with the name; or that the string is not of the form `host:port`.
///
/// # Examples
///
/// ```
/// let mut found = greenlet::net::lookup_host("localhost:80")?;
/// assert!(found.all(|address| address.ip().is_loopback() && address.port() == 80));
/// # Ok::<(), std::io::Error>(())
/// ```
#[track_caller]
pub fn lookup_host<A: ToSocketAddrs>(target: A) -> io::Result<std::vec::IntoIter<SocketAddr>> {
    Ok(target.lookup(Key(()))?.into_iter())
}

/// All addresses of `target`, at least one.
#[track_caller]
pub(super) fn addresses(target: &(impl ToSocketAddrs + ?Sized)) -> io::Result<Vec<SocketAddr>> {
    let found = target.lookup(Key(()))?;
    if found.is_empty() {
        return Err(io::Error::new(
            ErrorKind::InvalidInput,
            "there is no address to use",
        ));
    }
    Ok(found)
}

/// Tries `f` with each address of `target` until one works; the error is of the last one and
/// names it.
#[track_caller]
pub(super) fn try_each<T>(
    target: &(impl ToSocketAddrs + ?Sized),
    what: &str,
    mut f: impl FnMut(SocketAddr) -> io::Result<T>,
) -> io::Result<T> {
    let mut last = None;
    for address in addresses(target)? {
        match f(address) {
            Ok(done) => return Ok(done),
            Err(e) => last = Some(named(e, what, address)),
        }
    }
    Err(last.expect("there is an address"))
}

/// The error with what was tried.
pub(super) fn named(error: io::Error, what: &str, address: impl std::fmt::Display) -> io::Error {
    io::Error::new(error.kind(), format!("cannot {what} {address}: {error}"))
}

/// Asks the system, which blocks, on a thread of the pool.
#[track_caller]
fn resolve(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    if let Ok(ip) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(ip, port)]);
    }
    let name = host.to_owned();
    let look_up = move || {
        let found = std::net::ToSocketAddrs::to_socket_addrs(&(&*name, port));
        found.map(Iterator::collect)
    };
    // No thread, or no such name.
    let found = ThreadPool::global().try_unblock(look_up);
    found
        .flatten()
        .map_err(|e| named(e, "find the address of", host))
}

macro_rules! known {
    ($($type:ty: $self:ident => $address:expr;)*) => { $(
        impl sealed::Sealed for $type {}
        impl ToSocketAddrs for $type {
            fn lookup(&$self, _: Key) -> io::Result<Vec<SocketAddr>> {
                Ok(vec![$address])
            }
        }
    )* };
}

known! {
    SocketAddr: self => *self;
    SocketAddrV4: self => (*self).into();
    SocketAddrV6: self => (*self).into();
    (IpAddr, u16): self => (*self).into();
    (Ipv4Addr, u16): self => (*self).into();
    (Ipv6Addr, u16): self => (*self).into();
}

impl sealed::Sealed for &[SocketAddr] {}
impl ToSocketAddrs for &[SocketAddr] {
    fn lookup(&self, _: Key) -> io::Result<Vec<SocketAddr>> {
        Ok(self.to_vec())
    }
}

impl sealed::Sealed for (&str, u16) {}
impl ToSocketAddrs for (&str, u16) {
    fn lookup(&self, _: Key) -> io::Result<Vec<SocketAddr>> {
        resolve(self.0, self.1)
    }
}

impl sealed::Sealed for (String, u16) {}
impl ToSocketAddrs for (String, u16) {
    fn lookup(&self, _: Key) -> io::Result<Vec<SocketAddr>> {
        resolve(&self.0, self.1)
    }
}

impl sealed::Sealed for str {}
impl ToSocketAddrs for str {
    fn lookup(&self, _: Key) -> io::Result<Vec<SocketAddr>> {
        if let Ok(address) = self.parse() {
            return Ok(vec![address]);
        }
        let split = self.rsplit_once(':');
        let parsed = split.and_then(|(host, port)| Some((host, port.parse().ok()?)));
        let Some((host, port)) = parsed else {
            let why = format!("'{self}' is not of the form host:port");
            return Err(io::Error::new(ErrorKind::InvalidInput, why));
        };
        resolve(host, port)
    }
}

impl sealed::Sealed for String {}
impl ToSocketAddrs for String {
    fn lookup(&self, key: Key) -> io::Result<Vec<SocketAddr>> {
        (**self).lookup(key)
    }
}

impl<T: ToSocketAddrs + ?Sized> sealed::Sealed for &T {}
impl<T: ToSocketAddrs + ?Sized> ToSocketAddrs for &T {
    fn lookup(&self, key: Key) -> io::Result<Vec<SocketAddr>> {
        (**self).lookup(key)
    }
}

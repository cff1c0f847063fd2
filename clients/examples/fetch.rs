//! Fetches pages all at once, on one thread: `fetch URL...` prints the status and size of each.
//! The client is ureq, on a connector and a resolver that wait as greenlets do.

use greenlet::net::{TcpStream, lookup_host};
use std::io::{self, ErrorKind, Read, Write};
use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, LazyBuffers, NextTimeout, Transport,
};
use ureq::{Agent, Error};

/// An agent whose connections wait as greenlets do. It may be shared by any number of them.
pub fn agent() -> Agent {
    Agent::with_parts(Config::default(), Connect, Resolve)
}

#[derive(Debug)]
struct Resolve;

impl Resolver for Resolve {
    fn resolve(
        &self,
        uri: &Uri,
        _: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, Error> {
        let (Some(scheme), Some(authority)) = (uri.scheme(), uri.authority()) else {
            return Err(Error::HostNotFound);
        };
        let host = DefaultResolver::host_and_port(scheme, authority).ok_or(Error::HostNotFound)?;
        let found = limited(timeout, || lookup_host(host))?;
        let mut addresses = self.empty();
        found.take(16).for_each(|address| addresses.push(address));
        Ok(addresses)
    }
}

#[derive(Debug)]
struct Connect;

impl Connector for Connect {
    type Out = Connection;

    fn connect(
        &self,
        details: &ConnectionDetails,
        _: Option<()>,
    ) -> Result<Option<Connection>, Error> {
        if details.needs_tls() {
            return Err(Error::TlsRequired);
        }
        let config = details.config;
        let stream = limited(details.timeout, || TcpStream::connect(&details.addrs[..]))?;
        stream.set_nodelay(config.no_delay())?;
        let buffers = LazyBuffers::new(config.input_buffer_size(), config.output_buffer_size());
        Ok(Some(Connection { stream, buffers }))
    }
}

#[derive(Debug)]
struct Connection {
    stream: TcpStream,
    buffers: LazyBuffers,
}

impl Transport for Connection {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        let output = &self.buffers.output()[..amount];
        limited(timeout.for_write(), || (&self.stream).write_all(output))
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        let input = self.buffers.input_append_buf();
        let n = limited(timeout.for_read(), || (&self.stream).read(input))?;
        self.buffers.input_appended(n);
        Ok(n > 0)
    }

    /// A connection that is kept says nothing, and has not ended.
    fn is_open(&mut self) -> bool {
        let tried = self.stream.set_nonblocking(true);
        let peeked = tried.and_then(|()| self.stream.peek(&mut [0]));
        let open = peeked.is_err_and(|error| error.kind() == ErrorKind::WouldBlock);
        open && self.stream.set_nonblocking(false).is_ok()
    }
}

/// The call within ureq's limit, if there is one.
fn limited<T>(limit: NextTimeout, call: impl FnOnce() -> io::Result<T>) -> Result<T, Error> {
    let done = match limit.not_zero() {
        Some(left) => greenlet::timeout(*left, call),
        None => Ok(call()),
    };
    Ok(done.map_err(|_| Error::Timeout(limit.reason))??)
}

fn main() {
    let agent = agent();
    let agent = &agent;
    greenlet::scope(|s| {
        for url in std::env::args().skip(1) {
            s.spawn(move || {
                let page = agent.get(&url).call().and_then(|mut page| {
                    let body = page.body_mut().read_to_vec()?;
                    Ok((page.status(), body.len()))
                });
                match page {
                    Ok((status, bytes)) => println!("{status}, {bytes} bytes: {url}"),
                    Err(error) => println!("{error}: {url}"),
                }
            });
        }
    });
}

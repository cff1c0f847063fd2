//! Echo over TLS: `tls_echo ADDR CERT KEY`, both files in PEM. `openssl s_client -connect ADDR`
//! talks to it.

use greenlet::net::{Server, TcpStream};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use std::error::Error;
use std::io::{self, Read, Write};
use std::sync::Arc;

/// The handler of a connection: from the handshake, which the first read makes, to the end.
pub fn echo(config: &Arc<ServerConfig>, stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let connection = ServerConnection::new(config.clone()).map_err(io::Error::other)?;
    let mut stream = StreamOwned::new(connection, stream);
    let mut buf = [0; 4096];
    loop {
        match stream.read(&mut buf)? {
            0 => break,
            n => stream.write_all(&buf[..n])?,
        }
    }
    stream.conn.send_close_notify();
    stream.flush()
}

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<_> = std::env::args().skip(1).collect();
    let [address, certificates, key] = &args[..] else {
        return Err("usage: tls_echo ADDR CERT KEY".into());
    };
    let certificates = CertificateDer::pem_file_iter(certificates)?.collect::<Result<_, _>>()?;
    let key = PrivateKeyDer::from_pem_file(key)?;
    let config = ServerConfig::builder().with_no_client_auth();
    let config = Arc::new(config.with_single_cert(certificates, key)?);
    let server = Server::bind(&**address)?;
    println!("{}", server.local_addr());
    server.run(|stream, peer| {
        if let Err(error) = echo(&config, stream) {
            eprintln!("{peer}: {error}");
        }
    })?;
    Ok(())
}

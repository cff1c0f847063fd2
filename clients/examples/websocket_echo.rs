//! Echo over WebSocket: `websocket_echo ADDR`.

use greenlet::net::{Server, TcpStream};
use tungstenite::{Error, HandshakeError};

/// The handler of a connection, from the handshake to the close frame.
pub fn echo(stream: TcpStream) -> tungstenite::Result<()> {
    stream.set_nodelay(true)?;
    let mut socket = tungstenite::accept(stream).map_err(|error| match error {
        HandshakeError::Failure(error) => error,
        HandshakeError::Interrupted(_) => unreachable!("the stream blocks"),
    })?;
    loop {
        match socket.read() {
            Ok(message) if message.is_text() || message.is_binary() => socket.send(message)?,
            Ok(_) => {} // Pings are answered by the socket itself.
            Err(Error::ConnectionClosed) => return Ok(()),
            Err(error) => return Err(error),
        }
    }
}

fn main() -> tungstenite::Result<()> {
    let address = std::env::args().nth(1).unwrap_or("127.0.0.1:0".to_owned());
    let server = Server::bind(address)?;
    println!("{}", server.local_addr());
    server.run(|stream, peer| {
        if let Err(error) = echo(stream) {
            eprintln!("{peer}: {error}");
        }
    })?;
    Ok(())
}

//! What all peers' servers begin with.

/// A listener with the backlog that greenlet's have, of which mio has no say; prints its address.
pub fn listen() -> std::net::TcpListener {
    let listener = greenlet::net::ListenOptions::new().bind("127.0.0.1:0").unwrap();
    println!("{}", listener.local_addr().unwrap());
    let listener = std::net::TcpListener::from(listener);
    listener.set_nonblocking(true).unwrap();
    listener
}

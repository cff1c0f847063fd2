//! A greenlet for each connection.

#[path = "../http.rs"]
mod http;

use greenlet::net::{Server, TcpStream};
use std::io::{self, Read, Write};

fn serve(mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let (mut input, mut output) = (Vec::new(), Vec::new());
    loop {
        let mut buf = [0; 2048];
        let n = stream.read(&mut buf)?;
        input.extend_from_slice(&buf[..n]);
        if n == 0 || !http::answer(&mut input, &mut output) {
            return Ok(());
        }
        stream.write_all(&output)?;
        output.clear();
    }
}

fn main() {
    let server = Server::bind("127.0.0.1:0").unwrap();
    println!("{}", server.local_addr());
    server.run(|stream, _| drop(serve(stream))).unwrap();
}

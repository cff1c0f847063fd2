//! Sends everything back: `echo_server ADDR` prints the address that it has bound (port 0 is
//! any free one) and serves until it is killed. `echo_load` is its client.

use greenlet::net::{Server, TcpStream};
use std::io::{self, Read, Write};
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let (Some(address), None) = (args.next(), args.next()) else {
        eprintln!("usage: echo_server ADDR");
        return ExitCode::from(2);
    };
    match serve(&address) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("echo_server: {error}");
            ExitCode::FAILURE
        }
    }
}

fn serve(address: &str) -> io::Result<()> {
    // A connection is an open file; the system lets a process have more if it asks.
    rlimit::increase_nofile_limit(u64::MAX)?;
    let server = Server::bind(address)?;
    println!("{}", server.local_addr());
    server.run(|stream, _peer| {
        // That a client is gone ends its connection, and nothing else.
        let _ = echo(stream);
    })?;
    Ok(())
}

fn echo(mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buf = [0; 4096];
    loop {
        match stream.read(&mut buf)? {
            0 => return Ok(()),
            n => stream.write_all(&buf[..n])?,
        }
    }
}

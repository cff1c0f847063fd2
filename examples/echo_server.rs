//! Sends everything back: `echo_server ADDR` prints the address that it has bound (port 0 is
//! any free one) and serves until it is killed. `echo_load` is its client. With feature `signal`
//! it writes to stderr what all greenlets do when it gets SIGUSR1.

use greenlet::net::{Server, TcpStream};
#[cfg(feature = "signal")]
use greenlet::{
    dump_all, scope,
    signal::{SIGUSR1, Signals},
};
use std::io::{self, Read, Write};
use std::process::ExitCode;
#[cfg(feature = "signal")]
use std::time::Duration;

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
    #[cfg(feature = "signal")]
    let signals = Signals::new([SIGUSR1])?;
    println!("{}", server.local_addr());
    // That a client is gone ends its connection, and nothing else.
    let run = || server.run(|stream, _peer| drop(echo(stream)));
    #[cfg(feature = "signal")]
    let run = || {
        scope(|s| {
            let dumps = s.spawn(|| dump_at(&signals));
            let stopped = run();
            dumps.kill();
            stopped
        })
    };
    run()?;
    Ok(())
}

/// Writes to stderr what all greenlets do, at each of these signals.
#[cfg(feature = "signal")]
fn dump_at(signals: &Signals) -> io::Result<()> {
    loop {
        signals.wait()?;
        eprint!("{}", dump_all(Duration::from_secs(1)));
    }
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

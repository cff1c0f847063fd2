//! `load ADDR CONNECTIONS SECONDS [PID]`: a closed loop of 64-byte messages on each connection,
//! over mio. Prints requests per second, latencies, and of the server's process the processor
//! time per request and the memory per connection.

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use std::io::{ErrorKind, Read, Write};
use std::time::{Duration, Instant};

const LEN: usize = 64;

struct Client {
    stream: TcpStream,
    got: usize,
    sent: Instant,
}

/// User and system seconds, and resident bytes.
fn usage(pid: &str) -> (f64, f64, f64) {
    let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else {
        return (0.0, 0.0, 0.0);
    };
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    let number = |i: usize| fields[i].parse::<f64>().unwrap();
    (number(11) / 100.0, number(12) / 100.0, number(21) * 4096.0)
}

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let (address, count, seconds) = (&args[1], args[2].parse::<usize>().unwrap(), args[3].parse::<u64>().unwrap());
    let pid = args.get(4).map_or("none", |p| p);
    let empty = usage(pid).2;
    let mut poll = Poll::new().unwrap();
    let mut events = Events::with_capacity(1024);
    let message = [b'x'; LEN];
    let mut clients: Vec<Client> = (0..count)
        .map(|i| {
            let std = std::net::TcpStream::connect(address).unwrap();
            std.set_nonblocking(true).unwrap();
            std.set_nodelay(true).unwrap();
            let mut stream = TcpStream::from_std(std);
            let both = Interest::READABLE | Interest::WRITABLE;
            poll.registry().register(&mut stream, Token(i), both).unwrap();
            Client { stream, got: 0, sent: Instant::now() }
        })
        .collect();
    let mut buf = [0; 1024];
    for client in &mut clients {
        client.stream.write_all(&message).unwrap();
    }
    let began = Instant::now();
    let (warm, end) = (began + Duration::from_millis(500), began + Duration::from_secs(seconds));
    let (mut measured, mut before) = (None, (0.0, 0.0, 0.0));
    let mut latencies: Vec<u32> = Vec::with_capacity(4 << 20);
    loop {
        if poll.poll(&mut events, Some(Duration::from_millis(100))).is_err() {
            continue;
        }
        let now = Instant::now();
        if now >= end {
            break;
        }
        if measured.is_none() && now >= warm {
            measured = Some(now);
            before = usage(pid);
            latencies.clear();
        }
        for event in &events {
            let client = &mut clients[event.token().0];
            loop {
                match client.stream.read(&mut buf) {
                    Ok(0) => panic!("the server closed a connection"),
                    Ok(n) => {
                        client.got += n;
                        if client.got == LEN {
                            client.got = 0;
                            let now = Instant::now();
                            latencies.push((now - client.sent).as_nanos().min(u32::MAX as u128) as u32);
                            client.sent = now;
                            client.stream.write_all(&message).unwrap();
                        }
                        if n < buf.len() {
                            break;
                        }
                    }
                    Err(e) if e.kind() == ErrorKind::WouldBlock => break,
                    Err(e) => panic!("{e}"),
                }
            }
        }
    }
    let time = measured.expect("long enough").elapsed().as_secs_f64();
    let after = usage(pid);
    let n = latencies.len() as f64;
    latencies.sort_unstable();
    let at = |q: f64| f64::from(latencies[((n - 1.0) * q) as usize]) / 1000.0;
    println!(
        "{:.0} req/s  p50 {:.0} us  p99 {:.0} us  p99.9 {:.0} us  user {:.2} us  system {:.2} us  {:.1} KB/connection",
        n / time, at(0.5), at(0.99), at(0.999),
        (after.0 - before.0) * 1e6 / n, (after.1 - before.1) * 1e6 / n,
        (after.2 - empty) / 1024.0 / count as f64,
    );
}

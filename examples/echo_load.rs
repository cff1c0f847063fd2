//! Load for `echo_server`: `echo_load ADDR [--connections N] [--seconds S]`.
//!
//! Each connection has a greenlet, all on one thread, which sends a line, reads it back, and
//! so on (a closed loop). All connect first; then the time begins. The last line of the output
//! is the result; the exit code is 1 if there was any error.

use greenlet::net::TcpStream;
use greenlet::sync::{Event, Semaphore};
use std::cell::{Cell, RefCell};
use std::io::{self, Read, Write};
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Connects under way at a time: fewer than a server lets wait.
const CONNECTING: usize = 256;
/// An answer that takes longer is an error.
const PATIENCE: Duration = Duration::from_secs(30);
/// Files that a process has open besides its connections, at most.
const OTHER_FILES: u64 = 16;

struct Options {
    address: String,
    connections: usize,
    seconds: u64,
}

fn main() -> ExitCode {
    let options = match options(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(why) => {
            eprintln!("echo_load: {why}");
            eprintln!("usage: echo_load ADDR [--connections N] [--seconds S]");
            return ExitCode::from(2);
        }
    };
    if let Err(why) = raise_limit(options.connections as u64 + OTHER_FILES) {
        eprintln!("echo_load: {why}");
        return ExitCode::FAILURE;
    }
    let run = Run::new(&options);
    greenlet::scope(|s| {
        for id in 0..options.connections {
            let run = &run;
            s.spawn(move || run.client(id));
        }
    });
    run.report()
}

fn options(mut args: impl Iterator<Item = String>) -> Result<Options, String> {
    let mut options = Options {
        address: String::new(),
        connections: 2000,
        seconds: 10,
    };
    while let Some(arg) = args.next() {
        let mut number = || {
            let value = args.next().ok_or(format!("{arg} needs a number"))?;
            let number = value.parse().ok().filter(|n| (1..=1_000_000).contains(n));
            number.ok_or(format!("{arg} needs a number from 1 on, not '{value}'"))
        };
        match &*arg {
            "--connections" => options.connections = number()? as usize,
            "--seconds" => options.seconds = number()?,
            _ if arg.starts_with('-') || !options.address.is_empty() => {
                return Err(format!("unknown argument '{arg}'"));
            }
            _ => options.address = arg,
        }
    }
    match options.address.is_empty() {
        true => Err("which address?".to_owned()),
        false => Ok(options),
    }
}

/// Sees to it that the process may have so many files open.
fn raise_limit(files: u64) -> Result<(), String> {
    match rlimit::increase_nofile_limit(files) {
        Ok(limit) if limit >= files => Ok(()),
        Ok(limit) => Err(format!(
            "{files} open files are needed and {limit} allowed; raise the hard limit (ulimit -Hn)"
        )),
        Err(error) => Err(format!("the limit on open files cannot be raised: {error}")),
    }
}

/// What all clients share.
struct Run<'a> {
    options: &'a Options,
    connecting: Semaphore,
    /// Those that have not connected yet, nor failed to.
    to_come: Cell<usize>,
    start: Event,
    /// Of the time that is measured.
    begin: Cell<Instant>,
    requests: RefCell<Histogram>,
    errors: Cell<u64>,
}

impl<'a> Run<'a> {
    fn new(options: &'a Options) -> Self {
        Run {
            options,
            connecting: Semaphore::new(CONNECTING),
            to_come: Cell::new(options.connections),
            start: Event::new(),
            begin: Cell::new(Instant::now()),
            requests: RefCell::new(Histogram::default()),
            errors: Cell::new(0),
        }
    }

    fn client(&self, id: usize) {
        let connected = self.connect();
        self.to_come.set(self.to_come.get() - 1);
        if self.to_come.get() == 0 {
            self.begin.set(Instant::now());
            self.start.set();
        }
        if let Err(error) = connected.and_then(|stream| self.exchange(id, stream)) {
            self.errors.set(self.errors.get() + 1);
            if self.errors.get() == 1 {
                eprintln!("echo_load: the first error: {error}");
            }
        }
    }

    fn connect(&self) -> io::Result<TcpStream> {
        let _permit = self.connecting.acquire();
        let stream = TcpStream::connect(&*self.options.address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(stream)
    }

    fn exchange(&self, id: usize, mut stream: TcpStream) -> io::Result<()> {
        let line = format!("line of connection {id:08}\n").into_bytes();
        let mut answer = vec![0; line.len()];
        self.start.wait();
        let end = self.begin.get() + Duration::from_secs(self.options.seconds);
        loop {
            let begin = Instant::now();
            if begin >= end {
                return Ok(());
            }
            stream.write_all(&line)?;
            stream.read_exact(&mut answer)?;
            if answer != line {
                return Err(io::Error::other("another line came back"));
            }
            self.requests.borrow_mut().add(begin.elapsed());
        }
    }

    fn report(&self) -> ExitCode {
        let requests = self.requests.borrow();
        let rate = requests.count as f64 / self.begin.get().elapsed().as_secs_f64();
        let ms = |share| requests.quantile(share).as_secs_f64() * 1e3;
        println!(
            "{} connections to {} for {} s: {} requests",
            self.options.connections, self.options.address, self.options.seconds, requests.count
        );
        println!(
            "req/s {rate:.0}, p50 {:.3} ms, p99 {:.3} ms, p99.9 {:.3} ms, errors {}, RSS {}",
            ms(0.5),
            ms(0.99),
            ms(0.999),
            self.errors.get(),
            rss()
        );
        match self.errors.get() {
            0 => ExitCode::SUCCESS,
            _ => ExitCode::FAILURE,
        }
    }
}

/// Counts durations in nanoseconds: exactly up to 128, then in 64 buckets for each power of
/// two, so that a quantile is at most 1/64 too large.
struct Histogram {
    buckets: Vec<u64>,
    count: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Histogram {
            buckets: vec![0; 59 * 64],
            count: 0,
        }
    }
}

impl Histogram {
    fn add(&mut self, duration: Duration) {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        let shift = (nanos | 64).ilog2() - 6;
        self.buckets[(64 * u64::from(shift) + (nanos >> shift)) as usize] += 1;
        self.count += 1;
    }

    /// The duration that this share of all does not exceed.
    fn quantile(&self, share: f64) -> Duration {
        let mut left = (share * self.count as f64).ceil() as u64;
        for (index, &count) in self.buckets.iter().enumerate() {
            if count >= left && count > 0 {
                let shift = (index as u64 / 64).saturating_sub(1);
                let next = u128::from(index as u64 - 64 * shift + 1) << shift;
                return Duration::from_nanos((next - 1) as u64);
            }
            left -= count;
        }
        Duration::ZERO
    }
}

/// The memory that this process has in use, where the system says so.
fn rss() -> String {
    let kib = || {
        let status = std::fs::read_to_string("/proc/self/status").ok()?;
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))?;
        line.trim().strip_suffix(" kB")?.parse::<f64>().ok()
    };
    kib().map_or("n/a".to_owned(), |kib| format!("{:.1} MiB", kib / 1024.0))
}

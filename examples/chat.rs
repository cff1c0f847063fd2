//! A chat over TCP, by lines, with rooms: `chat ADDR` prints the address that it has bound.
//! Try it with two of `nc HOST PORT`. The first line is your name; then lines go to all in your
//! room, but for `/join ROOM`, `/who`, `/kick NAME`, `/quit` and `/shutdown`.
//!
//! A connection has two greenlets, one that reads and one that writes what others put into
//! the member's queue, so that a slow client holds nobody up. With feature `signal` it writes to
//! stderr what all greenlets do when it gets SIGUSR1.

use greenlet::net::{Server, TcpStream};
use greenlet::sync::{Event, Queue};
use greenlet::{Local, scope, timeout, wait_any};
#[cfg(feature = "signal")]
use greenlet::{
    dump_all,
    signal::{SIGUSR1, Signals},
};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::rc::Rc;
use std::time::Duration;

const BACKLOG: usize = 100; // lines that may wait for a client; more are lost to it
const LINE: u64 = 1000; // bytes; what is longer comes as several
const PATIENCE: Duration = Duration::from_secs(60); // for a client to say its name
const GRACE: Duration = Duration::from_secs(1); // for a client to take its last lines

/// The name of the member whose lines this greenlet reads.
static NAME: Local<String> = Local::new();

#[derive(Default)]
struct Chat {
    members: RefCell<BTreeMap<String, Rc<Member>>>,
    closing: Event,
}

struct Member {
    room: RefCell<String>,
    lines: Queue<String>,
    kicked: Event,
}

impl Chat {
    /// Tells all in that room.
    fn tell(&self, room: &str, line: &str) {
        let members = self.members.borrow();
        let here = members.values().filter(|m| *m.room.borrow() == room);
        here.for_each(|member| member.tell(line));
    }

    fn enter(&self, member: &Member, room: &str) {
        let name = NAME.get().expect("it reads for a member");
        self.tell(&member.room.borrow(), &format!("* {name} goes to {room}"));
        member.room.replace(room.to_owned());
        self.tell(room, &format!("* {name} is here"));
    }

    /// Reads and obeys, until the client has had enough.
    fn read(&self, member: &Member, mut input: impl BufRead) {
        while let Some(line) = next_line(&mut input) {
            match line.split_once(' ').unwrap_or((&line, "")) {
                ("/join", room) => self.enter(member, room),
                ("/who", _) => {
                    let names: Vec<_> = self.members.borrow().keys().cloned().collect();
                    member.tell(&names.join(", "));
                }
                ("/kick", name) => match self.members.borrow().get(name) {
                    Some(other) => other.kicked.set(),
                    None => member.tell("* nobody has that name"),
                },
                ("/quit", _) => return,
                ("/shutdown", _) => self.closing.set(),
                _ => NAME.with(|name| self.tell(&member.room.borrow(), &format!("{name}: {line}"))),
            }
        }
    }
}

impl Member {
    fn tell(&self, line: &str) {
        let _ = self.lines.put_nowait(format!("{line}\n")); // fails if the queue is full
    }
}

/// A member while it is one; however its connection ends, the others see it leave.
struct Seat<'a>(&'a Chat, String, Rc<Member>);

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        let Seat(chat, name, member) = self;
        chat.members.borrow_mut().remove(name);
        chat.tell(&member.room.borrow(), &format!("* {name} left"));
    }
}

/// The next line, or as much of it as is allowed; `None` is the end.
fn next_line(input: &mut impl BufRead) -> Option<String> {
    let mut line = Vec::new();
    let n = input.take(LINE).read_until(b'\n', &mut line).ok()?;
    (n > 0).then(|| String::from_utf8_lossy(line.trim_ascii_end()).into_owned())
}

/// The handler of a connection.
fn serve(chat: &Chat, stream: &TcpStream) {
    let mut input = BufReader::new(stream);
    let name = timeout(PATIENCE, || next_line(&mut input));
    let Ok(Some(name)) = name else { return };
    if chat.members.borrow().contains_key(&name) {
        return drop((&*stream).write_all(b"* somebody has that name\n"));
    }
    let member = Rc::new(Member {
        room: RefCell::new("lobby".to_owned()),
        lines: Queue::bounded(BACKLOG),
        kicked: Event::new(),
    });
    let seat = Seat(chat, name.clone(), member.clone());
    chat.members
        .borrow_mut()
        .insert(name.clone(), member.clone());
    chat.tell("lobby", &format!("* {name} is here"));
    scope(|s| {
        let writer = s.spawn(|| {
            let mut lines = member.lines.iter();
            let _ = lines.try_for_each(|line| (&*stream).write_all(line.as_bytes()));
        });
        let reader = s.spawn(|| {
            NAME.set(name);
            chat.read(&member, input);
        });
        // The first of these ends the connection.
        wait_any(&[&reader, &writer, &member.kicked, &chat.closing]);
        reader.kill();
        drop(seat);
        member.tell("* bye");
        member.lines.shutdown();
        if !writer.wait_timeout(GRACE) {
            writer.kill();
        }
    });
}

/// Writes to stderr what all greenlets do, at each of these signals.
#[cfg(feature = "signal")]
fn dump_at(signals: &Signals) -> io::Result<()> {
    loop {
        signals.wait()?;
        eprint!("{}", dump_all(Duration::from_secs(1)));
    }
}

fn main() -> io::Result<()> {
    let address = std::env::args().nth(1).unwrap_or("127.0.0.1:0".to_owned());
    let server = Server::bind(address)?.max_connections(1000);
    #[cfg(feature = "signal")]
    let signals = Signals::new([SIGUSR1])?;
    println!("{}", server.local_addr());
    let chat = Chat::default();
    scope(|s| {
        #[cfg(feature = "signal")]
        let dumps = s.spawn(|| dump_at(&signals));
        let running = s.spawn(|| server.run(|stream, _peer| serve(&chat, &stream)));
        wait_any(&[&running, &chat.closing]);
        #[cfg(feature = "signal")]
        dumps.kill();
        server.stop(2 * GRACE).map(drop)
    })
}

//! A chat over TCP, by lines, with rooms: `chat ADDR` prints the address that it has bound.
//! Try it with two of `nc HOST PORT`. The first line is your name; then lines go to all in
//! your room, but for these:
//!
//!     /join ROOM    /who    /kick NAME    /quit    /shutdown
//!
//! A connection has two greenlets, one that reads and one that writes what others put into
//! the member's queue, so that a slow client holds nobody up.

use greenlet::net::{Server, TcpStream};
use greenlet::sync::{Event, Queue};
use greenlet::{Local, scope, wait_any};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::rc::Rc;
use std::time::Duration;

/// Lines that may wait for a client; what comes while they are as many is lost to it.
const BACKLOG: usize = 100;
/// Bytes of a line; what is longer comes as several.
const LINE: u64 = 1000;
/// For a client to take its last lines.
const GRACE: Duration = Duration::from_secs(1);

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
        for member in self.members.borrow().values() {
            if *member.room.borrow() == room {
                member.tell(line);
            }
        }
    }

    fn enter(&self, member: &Member, room: &str) {
        let name = NAME.get().expect("it reads for a member");
        self.tell(&member.room.borrow(), &format!("* {name} goes to {room}"));
        member.room.replace(room.to_owned());
        self.tell(room, &format!("* {name} is here"));
    }

    /// Reads and obeys, until the client has had enough.
    fn read(&self, member: &Member, lines: impl Iterator<Item = io::Result<String>>) {
        for line in lines.map_while(Result::ok) {
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
        // Never waits: it fails if the queue is full.
        let _ = self.lines.put_nowait(format!("{line}\n"));
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

/// As [`BufRead::lines`], which lets a client fill the memory with a line that never ends.
fn lines(mut input: impl BufRead) -> impl Iterator<Item = io::Result<String>> {
    std::iter::from_fn(move || {
        let mut line = Vec::new();
        match input.by_ref().take(LINE).read_until(b'\n', &mut line) {
            Ok(0) => None,
            read => Some(read.map(|_| String::from_utf8_lossy(line.trim_ascii_end()).into_owned())),
        }
    })
}

/// The handler of a connection.
fn serve(chat: &Chat, stream: &TcpStream) -> io::Result<()> {
    let mut lines = lines(BufReader::new(stream));
    let Some(name) = lines.next().transpose()? else {
        return Ok(());
    };
    if chat.members.borrow().contains_key(&name) {
        return (&*stream).write_all(b"* somebody has that name\n");
    }
    let member = Rc::new(Member {
        room: RefCell::new("lobby".to_owned()),
        lines: Queue::bounded(BACKLOG),
        kicked: Event::new(),
    });
    let seat = Seat(chat, name.clone(), member.clone());
    let new = (name.clone(), member.clone());
    chat.members.borrow_mut().extend([new]);
    chat.tell("lobby", &format!("* {name} is here"));
    scope(|s| {
        let writer = s.spawn(|| {
            let mut lines = member.lines.iter();
            let _ = lines.try_for_each(|line| (&*stream).write_all(line.as_bytes()));
        });
        let reader = s.spawn(|| {
            NAME.set(name);
            chat.read(&member, lines);
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
    Ok(())
}

fn main() -> io::Result<()> {
    let address = std::env::args().nth(1);
    let address = address.ok_or_else(|| io::Error::other("usage: chat ADDR"))?;
    let server = Server::bind(address)?.max_connections(1000);
    println!("{}", server.local_addr());
    let chat = Chat::default();
    scope(|s| {
        s.spawn(|| {
            chat.closing.wait();
            server.stop(2 * GRACE)
        });
        server.run(|stream, _peer| drop(serve(&chat, &stream)))
    })?;
    Ok(())
}

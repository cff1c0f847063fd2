//! The accept loop, and what the handle to it shares with it.
//!
//! # How it works
//!
//! The loop runs in a scope, whose children are the handlers: whatever ends the loop, a kill
//! or the end of its hub too, ends them, and it is over when the last one is. One event tells
//! the loop of all it may wait for besides connections: a handler has ended, or it is to stop.
//! Invariant: the listener is closed before the loop begins to wait for its handlers.

use super::Stopped;
use super::listener::{Key, Listener};
use crate::error::JoinError;
use crate::greenlet::Builder;
use crate::net::addr::named;
use crate::now;
use crate::rt::clock::Limit;
use crate::rt::report::report;
use crate::rt::sync::{Mutex, lock};
use crate::rt::task::Site;
use crate::rt::wait::Latch;
use crate::scope::{Scope, scope};
use crate::sync::Event;
use crate::yield_now;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Connections accepted without a look at the others that are ready.
const BATCH: usize = 64;

/// Between tries to accept for which there was no descriptor or memory.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// From one start to the end of the last handler.
pub(super) struct Run<L> {
    books: Mutex<Books<L>>,
    /// A handler has ended, or a stop is asked for.
    changed: Event,
    over: Latch<()>,
}

struct Books<L> {
    /// Until it is closed.
    listener: Option<L>,
    numbers: Stopped,
    stopping: bool,
    /// When handlers are killed, if they are.
    deadline: Option<Instant>,
    error: Option<io::Error>,
    stacks: Failures,
}

/// What the accept loop does next.
enum Next {
    Accept,
    WaitForRoom,
    Stop,
}

impl<L: Listener> Run<L> {
    pub(super) fn new(listener: L) -> Self {
        Run {
            books: Mutex::new(Books {
                listener: Some(listener),
                numbers: Stopped::default(),
                stopping: false,
                deadline: None,
                error: None,
                stacks: Failures::default(),
            }),
            changed: Event::new(),
            over: Latch::new(),
        }
    }

    pub(super) fn is_over(&self) -> bool {
        self.over.get().is_some()
    }

    #[track_caller]
    pub(super) fn wait(&self, site: Site) {
        self.over.wait(site, Limit::Never);
    }

    pub(super) fn numbers(&self) -> Stopped {
        lock(&self.books).numbers
    }

    fn next(&self, limit: usize) -> Next {
        let books = lock(&self.books);
        match books.stopping {
            true => Next::Stop,
            false if books.numbers.live() < limit => Next::Accept,
            false => Next::WaitForRoom,
        }
    }

    /// It is to stop, and to kill at that time, if at all.
    pub(super) fn ask(&self, deadline: Option<Instant>) {
        {
            let mut books = lock(&self.books);
            books.stopping = true;
            books.deadline = [books.deadline, deadline].into_iter().flatten().min();
        }
        self.close();
        self.changed.set();
    }

    fn close(&self) {
        let listener = lock(&self.books).listener.take();
        if let Some(listener) = listener {
            listener.close(Key(()));
        }
    }

    fn opened(&self) {
        lock(&self.books).numbers.accepted += 1;
    }

    fn closed(&self, failed: Option<&JoinError>) {
        {
            let mut books = lock(&self.books);
            let numbers = &mut books.numbers;
            match failed {
                None => numbers.finished += 1,
                Some(JoinError::Panicked { .. }) => numbers.panicked += 1,
                Some(JoinError::Killed | JoinError::HubClosed) => numbers.killed += 1,
                Some(JoinError::NoStack(error)) => {
                    numbers.panicked += 1;
                    // No panic has told of it.
                    let (first, _) = books.stacks.another(now());
                    books.stacks.over();
                    if first {
                        report(format_args!(
                            "a server has no stack for a connection, which it closes: {error}"
                        ));
                    }
                }
            }
        }
        self.changed.set();
    }

    /// The listener is gone, unless it was closed on purpose.
    fn fail(&self, error: io::Error, name: &str) {
        let mut books = lock(&self.books);
        if !books.stopping {
            report(format_args!("a server accepts no more on {name}: {error}"));
            books.error = Some(error);
        }
    }

    /// Until no handler is left, or the grace is over.
    fn drain(&self) {
        loop {
            // Before the look: what happens after it is not missed.
            self.changed.clear();
            let (live, deadline) = {
                let books = lock(&self.books);
                (books.numbers.live(), books.deadline)
            };
            let left = deadline.map(|t| t.saturating_duration_since(now()));
            match left {
                _ if live == 0 => return,
                None => self.changed.wait(),
                Some(Duration::ZERO) => return,
                Some(left) => drop(self.changed.wait_timeout(left)),
            }
        }
    }

    /// Nothing of it is left.
    pub(super) fn end(&self, failed: Option<&JoinError>) {
        if let Some(JoinError::NoStack(error)) = failed {
            lock(&self.books).error = Some(again(error));
        }
        self.close();
        let _ = self.over.set(());
    }

    pub(super) fn result(&self, address: &L::Address) -> io::Result<Stopped> {
        let books = lock(&self.books);
        match &books.error {
            None => Ok(books.numbers),
            Some(error) => Err(named(again(error), "accept on", format!("{address:?}"))),
        }
    }
}

/// The error once more, for another reader.
fn again(error: &io::Error) -> io::Error {
    match error.raw_os_error() {
        Some(number) => io::Error::from_raw_os_error(number),
        None => io::Error::new(error.kind(), error.to_string()),
    }
}

/// What the accept loop needs.
pub(super) struct Begun<L> {
    pub(super) run: Arc<Run<L>>,
    pub(super) listener: L,
    pub(super) limit: usize,
    pub(super) settings: Builder,
    pub(super) name: String,
}

/// The greenlet that accepts.
pub(super) fn serve<L: Listener>(begun: Begun<L>, handler: impl Fn(L::Stream, L::Address)) {
    let run = begun.run.clone();
    scope(|s| {
        accept_all(s, begun, &run, &handler);
        run.drain();
        s.kill_children();
    });
}

fn accept_all<'scope, L: Listener>(
    s: &'scope Scope<'scope, '_>,
    begun: Begun<L>,
    run: &'scope Run<L>,
    handler: &'scope impl Fn(L::Stream, L::Address),
) {
    /// However the accepting ends.
    struct Close<'a, L: Listener>(&'a Run<L>);
    impl<L: Listener> Drop for Close<'_, L> {
        fn drop(&mut self) {
            self.0.close();
        }
    }
    let _close = Close(run);
    let mut failures = Failures::default();
    for round in 1.. {
        // Before the look: what happens after it is not missed.
        run.changed.clear();
        match run.next(begun.limit) {
            Next::Stop => return,
            Next::WaitForRoom => {
                run.changed.wait();
                continue;
            }
            Next::Accept => {}
        }
        match begun.listener.accept(Key(())) {
            Ok((stream, peer)) => {
                failures.over();
                run.opened();
                let handle = move || handler(stream, peer);
                s.spawn_apart(begun.settings.clone(), handle, |failed| run.closed(failed))
                    .expect("the settings were checked");
            }
            Err(error) => match Kind::of(&error) {
                Kind::Connection => {}
                Kind::Resources => {
                    let (first, pause) = failures.another(now());
                    if first {
                        let name = &begun.name;
                        report(format_args!(
                            "a server cannot accept on {name}, and tries again: {error}"
                        ));
                    }
                    // A handler that has ended has closed its connection.
                    let _ = run.changed.wait_timeout(pause);
                }
                Kind::Listener => return run.fail(error, &begun.name),
            },
        }
        if round % BATCH == 0 {
            yield_now();
        }
    }
}

/// What an error of accept is about.
#[derive(Debug, PartialEq, Eq)]
enum Kind {
    /// The connection that was to be accepted: the next one may be fine.
    Connection,
    /// What the process or the system has too little of. Also what is not known here: to
    /// try again after a pause does no harm.
    Resources,
    /// The listener.
    Listener,
}

impl Kind {
    /// See accept(2) of Linux: errors of the network that are pending on the new connection
    /// are returned, too.
    fn of(error: &io::Error) -> Kind {
        match error.raw_os_error() {
            // Closed by this crate, or its hub has ended.
            None => Kind::Listener,
            Some(libc::EBADF | libc::EFAULT | libc::EINVAL | libc::ENOTSOCK) => Kind::Listener,
            Some(
                libc::ECONNABORTED
                | libc::ECONNRESET
                | libc::EHOSTDOWN
                | libc::EHOSTUNREACH
                | libc::ENETDOWN
                | libc::ENETUNREACH
                | libc::ENOPROTOOPT
                | libc::EPERM
                | libc::EPROTO
                | libc::ETIMEDOUT,
            ) => Kind::Connection,
            Some(_) => Kind::Resources,
        }
    }
}

/// How often accepting has failed for want of resources.
#[derive(Default)]
struct Failures {
    /// After the last one, if there has been no success since.
    pause: Option<Duration>,
    last: Option<Instant>,
}

impl Failures {
    /// One more: whether it is the first for a while, and for how long to pause.
    fn another(&mut self, now: Instant) -> (bool, Duration) {
        let fresh = |last| now.saturating_duration_since(last) > LONGEST_PAUSE;
        let first = self.pause.is_none() && self.last.is_none_or(fresh);
        let double = |pause: Duration| (2 * pause).min(LONGEST_PAUSE);
        let pause = self.pause.map_or(FIRST_PAUSE, double);
        (self.pause, self.last) = (Some(pause), Some(now));
        (first, pause)
    }

    fn over(&mut self) {
        self.pause = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::Server;
    use crate::net::server::listener::Again;
    use crate::testing::Simulation;
    use std::cell::RefCell;
    use std::collections::VecDeque;
    use std::rc::Rc;

    /// One whose handler ends at once.
    const CONNECTION: io::Result<u32> = Ok(0);

    /// Gives the results of a script, notes when it was asked, and waits after the last one.
    /// A connection is the time in milliseconds that its handler takes.
    #[derive(Clone)]
    struct Script {
        results: Arc<Mutex<VecDeque<io::Result<u32>>>>,
        asked: Arc<Mutex<Vec<Instant>>>,
        closed: Arc<Event>,
    }

    impl Script {
        fn new(results: impl IntoIterator<Item = io::Result<u32>>) -> Self {
            Script {
                results: Arc::new(Mutex::new(results.into_iter().collect())),
                asked: Arc::default(),
                closed: Arc::default(),
            }
        }

        fn errors(numbers: impl IntoIterator<Item = i32>) -> Self {
            let error = |number| Err(io::Error::from_raw_os_error(number));
            Script::new(numbers.into_iter().map(error).chain([CONNECTION]))
        }

        /// The times between one question and the next, in milliseconds.
        fn pauses(&self) -> Vec<u128> {
            let asked = lock(&self.asked);
            let pauses = asked.windows(2).map(|pair| (pair[1] - pair[0]).as_millis());
            pauses.collect()
        }
    }

    impl Listener for Script {
        type Stream = u32;
        type Address = &'static str;

        fn origin(&self, _: Key) -> io::Result<(&'static str, Again<Self>)> {
            let again = self.clone();
            Ok(("script", Box::new(move || Ok(again.clone()))))
        }

        fn accept(&self, _: Key) -> io::Result<(u32, &'static str)> {
            lock(&self.asked).push(now());
            let next = lock(&self.results).pop_front();
            let Some(result) = next else {
                self.closed.wait();
                return Err(io::Error::from_raw_os_error(libc::EINVAL));
            };
            Ok((result?, "peer"))
        }

        fn close(&self, _: Key) {
            self.closed.set();
        }
    }

    fn handle(ms: u32, _: &'static str) {
        crate::sleep(Duration::from_millis(ms.into()));
    }

    /// What a server of the script has served after a minute.
    fn served(script: &Script) -> io::Result<Stopped> {
        Simulation::new().run(|| {
            let server = Server::new(script.clone())?;
            server.start(handle)?;
            crate::sleep(Duration::from_secs(60));
            server.stop(Duration::ZERO)
        })
    }

    #[test]
    fn pauses_double_up_to_a_second() {
        let scarce = [libc::EMFILE, libc::ENFILE, libc::ENOBUFS, libc::ENOMEM];
        let script = Script::errors(scarce.into_iter().chain([libc::EMFILE; 6]));
        assert_eq!(served(&script).unwrap().finished, 1);
        let expected = [10, 20, 40, 80, 160, 320, 640, 1000, 1000, 1000, 0];
        assert_eq!(script.pauses(), expected);
    }

    #[test]
    fn an_unknown_error_pauses_too() {
        let script = Script::errors([libc::EXDEV; 3]);
        assert_eq!(served(&script).unwrap().finished, 1);
        assert_eq!(script.pauses(), [10, 20, 40, 0]);
    }

    #[test]
    fn pauses_begin_anew_after_a_success() {
        let failure = || Err(io::Error::from_raw_os_error(libc::EMFILE));
        let script = Script::new([failure(), failure(), Ok(99), failure(), CONNECTION]);
        assert_eq!(served(&script).unwrap().finished, 2);
        assert_eq!(script.pauses(), [10, 20, 0, 10, 0]);
    }

    #[test]
    fn an_end_of_a_handler_ends_a_pause() {
        let failures = (0..8).map(|_| Err(io::Error::from_raw_os_error(libc::EMFILE)));
        let script = Script::new([Ok(1005)].into_iter().chain(failures).chain([CONNECTION]));
        assert_eq!(served(&script).unwrap().finished, 2);
        // The seventh is cut short at 1005, which is 375 after its beginning.
        assert_eq!(script.pauses(), [0, 10, 20, 40, 80, 160, 320, 375, 1000, 0]);
    }

    #[test]
    fn errors_of_a_connection_are_passed_over_at_once() {
        let passing = [libc::ECONNABORTED, libc::EPROTO, libc::EPERM];
        let script = Script::errors(passing.into_iter().cycle().take(1000));
        assert_eq!(served(&script).unwrap().finished, 1);
        assert_eq!(script.pauses(), [0; 1001]);
    }

    #[test]
    fn a_listener_that_is_gone_ends_the_accepting() {
        for gone in [libc::EBADF, libc::EINVAL, libc::ENOTSOCK] {
            let script = Script::errors([gone, gone]);
            let error = served(&script).unwrap_err();
            let system = io::Error::from_raw_os_error(gone);
            assert_eq!(error.kind(), system.kind());
            assert!(error.to_string().contains(&system.to_string()), "{error}");
            assert_eq!(script.pauses(), [], "{gone}");
        }
    }

    #[test]
    fn others_run_between_connections() {
        let script = Script::new((0..1000).map(Ok));
        let most = Simulation::new().run(|| {
            let server = Server::new(script.clone()).unwrap();
            let handled = Rc::new(RefCell::new(0));
            server
                .start({
                    let handled = handled.clone();
                    move |_, _| *handled.borrow_mut() += 1
                })
                .unwrap();
            let mut most = 0;
            while *handled.borrow() < 1000 {
                let before = *handled.borrow();
                crate::yield_now();
                most = most.max(*handled.borrow() - before);
            }
            server.stop(Duration::ZERO).unwrap();
            most
        });
        assert_eq!(most, BATCH);
    }

    #[test]
    fn a_burst_is_reported_once() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut failures = Failures::default();
        let mut first = |ms| failures.another(at(ms)).0;
        assert!(first(0) && !first(10) && !first(30) && !first(5000));
        failures.over();
        // One more within a second belongs to it.
        assert!(!failures.another(at(6000)).0);
        failures.over();
        assert!(failures.another(at(7001)).0);
    }
}

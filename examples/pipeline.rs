//! Counts words: `cargo run --release --example pipeline FILE...`
//!
//! The first line of stdout is the total number of words alone, the total that
//! `wc -w FILE...` prints; the lines after it say more. A file that cannot be read is
//! reported on stderr, the others are counted all the same, and the exit code is 1, as with
//! `wc`. It is 1 too, without any output, if it takes longer than the environment's
//! PIPELINE_LIMIT (in seconds; 60 by default), and 2 if no file is named.
//!
//! ```text
//!                          LINES                       OUTCOME
//!   reader (own thread) --> queue --> 4 workers, of which --> result --> main, which
//!                        (bounded)    2 count at a time                  has a time limit
//! ```

use greenlet::sync::{AsyncResult, BoundedSemaphore, BoxError, Queue};
use greenlet::{Elapsed, Greenlet, HubThread, JoinError, Local, ScopedGreenlet};
use std::cell::Cell;
use std::env;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

const WORKERS: usize = 4;
/// The reader gathers lines until they are so many bytes.
const BATCH: usize = 64 * 1024;

/// Whole lines, many at a time. The reader waits while it is full, the workers while it is
/// empty.
static LINES: Queue<Vec<u8>> = Queue::bounded(8);
/// The permits to count.
static COUNTING: BoundedSemaphore = BoundedSemaphore::new(2);
/// What the worker that asks has counted.
static MINE: Local<Cell<Count>> = Local::with_init(Cell::default);
/// What comes out of it all: set once, by the greenlet that gathers it.
static OUTCOME: AsyncResult<Outcome> = AsyncResult::new();

#[derive(Debug)]
struct Outcome {
    workers: Vec<Count>,
    unreadable: usize,
}

fn main() -> ExitCode {
    let files: Vec<PathBuf> = env::args_os().skip(1).map(PathBuf::from).collect();
    if files.is_empty() {
        eprintln!("usage: pipeline FILE...");
        return ExitCode::from(2);
    }
    let limit = match env::var("PIPELINE_LIMIT") {
        Err(_) => Duration::from_secs(60),
        Ok(text) => match text.parse().map(Duration::try_from_secs_f64) {
            Ok(Ok(limit)) => limit,
            _ => return fail("PIPELINE_LIMIT must be a number of seconds"),
        },
    };
    // When the time is over, all that waits in here is unwound, and the scope inside ends.
    let outcome = match greenlet::timeout(limit, || run(files)) {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(error)) => return fail(&error.to_string()),
        Err(Elapsed) => return fail(&format!("not done within {limit:?}")),
    };
    // All at once: whoever reads only the first line may be gone before a second write.
    match io::stdout().write_all(report(&outcome.workers).as_bytes()) {
        Err(error) => fail(&error.to_string()),
        Ok(()) if outcome.unreadable > 0 => ExitCode::FAILURE,
        Ok(()) => ExitCode::SUCCESS,
    }
}

fn run(files: Vec<PathBuf>) -> Result<&'static Outcome, BoxError> {
    // Reading a file blocks the thread that does it, so the reader gets a thread of its own:
    // even a file that never comes (a pipe that nobody writes to) does not hold up the workers
    // or the time limit. The primitives do not care who is on which thread.
    let thread = HubThread::start("reader").map_err(|error| Arc::new(error) as BoxError)?;
    let reader = thread
        .handle()
        .spawn(move || files.iter().filter(|file| !read(file)).count());

    greenlet::scope(|s| {
        let workers = (0..WORKERS).map(|_| s.spawn(work)).collect();
        s.spawn(|| match gather(reader, workers) {
            Ok(outcome) => OUTCOME.set(outcome).expect("set once"),
            Err(error) => OUTCOME.set_error(Arc::new(error)).expect("set once"),
        });
        OUTCOME.wait().map_err(Clone::clone)
    })
}

fn gather(
    reader: Greenlet<usize>,
    workers: Vec<ScopedGreenlet<Count>>,
) -> Result<Outcome, JoinError> {
    let unreadable = reader.join();
    LINES.shutdown(); // what is in it is still counted, then the workers end
    let workers = workers.into_iter().map(|worker| worker.join());
    Ok(Outcome {
        workers: workers.collect::<Result<_, _>>()?,
        unreadable: unreadable?,
    })
}

/// Puts the lines of a file into the queue. If that fails it says so and returns false.
fn read(path: &Path) -> bool {
    let read = || {
        let mut file = BufReader::new(File::open(path)?);
        loop {
            // Up to a newline, again and again.
            let (mut lines, mut last) = (Vec::new(), Ok(1));
            while lines.len() < BATCH && matches!(last, Ok(1..)) {
                last = file.read_until(b'\n', &mut lines);
            }
            // Also what came before an error, or before the end without a newline.
            if !lines.is_empty() {
                LINES
                    .put(lines)
                    .expect("nobody shuts it down before the reader has ended");
            }
            if last? == 0 {
                return Ok(());
            }
        }
    };
    let result: io::Result<()> = read();
    if let Err(error) = &result {
        eprintln!("pipeline: {}: {error}", path.display());
    }
    result.is_ok()
}

/// One of the workers: counts until there is nothing left, and returns what it has counted.
fn work() -> Count {
    let utf8 = locale_is_utf8();
    for lines in &LINES {
        let _permit = COUNTING.acquire();
        let counted = Count::of(&lines, utf8);
        MINE.with(|mine| mine.set(mine.get().plus(counted)));
        greenlet::yield_now(); // counting takes a while: now the others
    }
    MINE.with(Cell::get)
}

fn report(workers: &[Count]) -> String {
    let total = workers
        .iter()
        .fold(Count::default(), |sum, &count| sum.plus(count));
    let mut text = format!("{}\nall workers: {}\n", total.words, total.text());
    for (i, count) in workers.iter().enumerate() {
        text += &format!("worker {}: {}\n", i + 1, count.text());
    }
    text
}

fn fail(message: &str) -> ExitCode {
    eprintln!("pipeline: {message}");
    ExitCode::FAILURE
}

#[derive(Clone, Copy, Debug, Default)]
struct Count {
    words: u64,
    lines: u64,
    bytes: u64,
}

impl Count {
    /// Counts in whole lines: since a newline ends a word, no word is cut in two.
    fn of(lines: &[u8], utf8: bool) -> Count {
        Count {
            words: if utf8 {
                words(lines.utf8_chunks().flat_map(|chunk| chunk.valid().chars()))
            } else {
                words(
                    lines
                        .iter()
                        .filter(|byte| byte.is_ascii())
                        .map(|&byte| byte.into()),
                )
            },
            lines: lines.iter().filter(|&&byte| byte == b'\n').count() as u64,
            bytes: lines.len() as u64,
        }
    }

    fn plus(self, other: Count) -> Count {
        Count {
            words: self.words + other.words,
            lines: self.lines + other.lines,
            bytes: self.bytes + other.bytes,
        }
    }

    fn text(&self) -> String {
        format!(
            "{} words, {} lines, {} bytes",
            self.words, self.lines, self.bytes
        )
    }
}

/// The words as GNU `wc` counts them, "non-zero-length sequences of printable characters
/// delimited by white space": what is not printable (control characters, bytes that are no
/// UTF-8; in the C locale all but ASCII) neither ends a word nor makes one. In UTF-8 the wide
/// and the no-break spaces end words too. This is coreutils up to 9.4; since 9.5 a word may
/// also have nothing printable in it, which in ordinary text makes no difference. (Code points
/// without a character are printable here and not there: std has no table of them.)
fn words(text: impl Iterator<Item = char>) -> u64 {
    let (mut words, mut in_word) = (0, false);
    for c in text {
        match c {
            '\t'..='\r' | ' ' | '\u{2060}' => in_word = false,
            '\u{2028}' | '\u{2029}' => {}
            _ if c.is_control() => {}
            _ if c.is_whitespace() => in_word = false,
            _ if in_word => {}
            _ => (words, in_word) = (words + 1, true),
        }
    }
    words
}

/// Which characters there are depends on the locale, in `wc` too.
fn locale_is_utf8() -> bool {
    let set = |name| env::var(name).ok().filter(|value| !value.is_empty());
    let locale = set("LC_ALL")
        .or_else(|| set("LC_CTYPE"))
        .or_else(|| set("LANG"));
    let locale = locale.unwrap_or_default().to_ascii_lowercase();
    locale.ends_with(".utf-8") || locale.ends_with(".utf8")
}

//! Files through the pool: the same answers as std's, and what a call does whose caller has left. FIFOs stand for slow
//! disks: opening and reading one blocks until the other end comes.

use std::cell::Cell;
use std::fs as std_fs;
use std::io::{BufRead, BufReader, BufWriter, ErrorKind, Read, Seek, SeekFrom, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use greenlet::fs::{self, File};
use greenlet::testing::Simulation;
use greenlet::{scope, yield_now};

/// A directory that goes with the test.
struct Dir(PathBuf);

impl Dir {
    fn new() -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let dir = std::env::temp_dir().join(format!("greenlet-fs-{}-{n}", std::process::id()));
        std_fs::create_dir(&dir).unwrap();
        Dir(dir)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std_fs::remove_dir_all(&self.0);
    }
}

/// Bytes that differ from those a piece further on.
fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i % 251) as u8).collect()
}

#[test]
fn functions_do_what_those_of_std_do() {
    let dir = Dir::new();
    let (a, b) = (dir.path("a"), dir.path("b"));
    fs::write(&a, "text").unwrap();
    assert_eq!(std_fs::read(&a).unwrap(), b"text");
    assert_eq!(fs::read(&a).unwrap(), b"text");
    assert_eq!(fs::read_to_string(&a).unwrap(), "text");
    assert_eq!(fs::copy(&a, &b).unwrap(), 4);
    assert_eq!(std_fs::read(&b).unwrap(), b"text");
    fs::write(&b, pattern(9)).unwrap();
    fs::rename(&b, &a).unwrap();
    assert_eq!(fs::metadata(&a).unwrap().len(), 9);
    assert!(!b.exists());
    let deep = dir.path("x/y/z");
    fs::create_dir_all(&deep).unwrap();
    assert!(fs::metadata(&deep).unwrap().is_dir());
    let same = dir.path("x/../x/y");
    assert_eq!(
        fs::canonicalize(&same).unwrap(),
        same.canonicalize().unwrap()
    );
    let mut names: Vec<_> = fs::read_dir(&dir.0).unwrap();
    names.sort_by_key(|entry| entry.file_name());
    let names: Vec<_> = names.into_iter().map(|e| e.file_name()).collect();
    assert_eq!(names, ["a", "x"]);
    fs::remove_dir_all(dir.path("x")).unwrap();
    fs::remove_file(&a).unwrap();
    assert!(fs::read_dir(&dir.0).unwrap().is_empty());
}

#[test]
fn errors_are_those_of_std() {
    let dir = Dir::new();
    let none = dir.path("none");
    let not_found = [
        fs::read(&none).err(),
        fs::read_to_string(&none).err(),
        fs::copy(&none, dir.path("x")).err(),
        fs::rename(&none, dir.path("x")).err(),
        fs::remove_file(&none).err(),
        fs::remove_dir_all(&none).err(),
        fs::metadata(&none).err(),
        fs::canonicalize(&none).err(),
        fs::read_dir(&none).err(),
        fs::write(none.join("x"), "").err(),
        File::open(&none).err(),
        File::create(none.join("x")).err(),
    ];
    for (i, error) in not_found.into_iter().enumerate() {
        assert_eq!(error.expect("an error").kind(), ErrorKind::NotFound, "{i}");
    }
    std_fs::write(&none, b"\xff").unwrap();
    assert_eq!(
        fs::read_to_string(&none).unwrap_err().kind(),
        ErrorKind::InvalidData
    );
    let mut text = String::from("kept");
    let error = File::open(&none)
        .unwrap()
        .read_to_string(&mut text)
        .unwrap_err();
    assert_eq!((error.kind(), &*text), (ErrorKind::InvalidData, "kept"));
    assert!(fs::create_dir_all(&none).is_err());
    // Open for reading only.
    assert!(File::open(&none).unwrap().write(b"x").is_err());
    assert!(File::open(&none).unwrap().set_len(0).is_err());
}

#[test]
fn a_file_is_read_and_written_as_one_of_std() {
    let dir = Dir::new();
    let (ours, theirs) = (dir.path("ours"), dir.path("theirs"));
    let data = pattern(200_000);
    let run = |file: &mut dyn FnMut() -> Box<dyn ReadWriteSeek>| {
        let mut f = file();
        let mut log = Vec::new();
        f.write_all(&data).unwrap();
        f.flush().unwrap();
        log.push(f.stream_position().unwrap());
        log.push(f.seek(SeekFrom::Start(70_000)).unwrap());
        let mut buf = vec![0; 100_000];
        f.read_exact(&mut buf).unwrap();
        assert!(buf == data[70_000..170_000]);
        log.push(f.seek(SeekFrom::Current(-10)).unwrap());
        f.write_all(b"0123456789").unwrap();
        log.push(f.seek(SeekFrom::End(-5)).unwrap());
        let mut rest = vec![7];
        log.push(f.read_to_end(&mut rest).unwrap() as u64);
        assert_eq!(rest[0], 7);
        log.push(rest.len() as u64);
        log.push(f.read(&mut buf).unwrap() as u64);
        f.rewind().unwrap();
        f.write_all(b"abc").unwrap();
        assert!(f.seek(SeekFrom::Current(-99)).is_err());
        log.push(f.stream_position().unwrap());
        log
    };
    let mut options = std_fs::OpenOptions::new();
    options.read(true).write(true).create(true);
    let log = run(&mut || Box::new(File::from(options.open(&ours).unwrap())));
    assert_eq!(log, run(&mut || Box::new(options.open(&theirs).unwrap())));
    assert!(std_fs::read(ours).unwrap() == std_fs::read(theirs).unwrap());
}

trait ReadWriteSeek: Read + Write + Seek {}
impl<T: Read + Write + Seek> ReadWriteSeek for T {}

#[test]
fn one_call_moves_a_piece() {
    let dir = Dir::new();
    let mut file = File::create(dir.path("a")).unwrap();
    let n = file.write(&pattern(200_000)).unwrap();
    assert!((1..=64 * 1024).contains(&n), "{n}");
    assert_eq!(file.metadata().unwrap().len(), n as u64);
    file.set_len(100_000).unwrap();
    file.sync_all().unwrap();
    let mut file = File::open(dir.path("a")).unwrap();
    let mut buf = vec![9; 200_000];
    let n = file.read(&mut buf).unwrap();
    assert!((1..=64 * 1024).contains(&n), "{n}");
    assert!(buf[..n] == pattern(n));
    assert!(buf[n..].iter().all(|&b| b == 9));
    assert_eq!(file.read(&mut []).unwrap(), 0);
}

#[test]
fn buffered_text() {
    let dir = Dir::new();
    let mut out = BufWriter::new(File::create(dir.path("a")).unwrap());
    for i in 0..10_000 {
        writeln!(out, "line {i}").unwrap();
    }
    out.into_inner().unwrap().sync_all().unwrap();
    let lines = BufReader::new(File::open(dir.path("a")).unwrap()).lines();
    let mut n = 0;
    for (i, line) in lines.enumerate() {
        assert_eq!(line.unwrap(), format!("line {i}"));
        n += 1;
    }
    assert_eq!(n, 10_000);
}

#[test]
fn several_greenlets_append_to_one_file() {
    let dir = Dir::new();
    let file = File::create(dir.path("a")).unwrap();
    scope(|s| {
        for i in 0..20u8 {
            let file = &file;
            s.spawn(move || {
                for _ in 0..5 {
                    assert_eq!((&*file).write(&[i; 100]).unwrap(), 100);
                }
            });
        }
    });
    let blocks = std_fs::read(dir.path("a")).unwrap();
    let mut counts = [0; 20];
    for block in blocks.chunks(100) {
        assert!(block.iter().all(|&b| b == block[0]), "torn");
        counts[usize::from(block[0])] += 1;
    }
    assert_eq!(counts, [5; 20]);
}

#[test]
fn in_a_simulation_too() {
    let dir = Dir::new();
    let path = dir.path("a");
    let text = Simulation::new().run(|| {
        scope(|s| {
            s.spawn(|| File::create(&path)?.write_all(b"text"))
                .join()
                .unwrap()?;
            fs::read_to_string(&path)
        })
    });
    assert_eq!(text.unwrap(), "text");
}

#[test]
fn a_buffered_writer_flushes_while_panicking() {
    let dir = Dir::new();
    let path = dir.path("a");
    let caught = catch_unwind(|| {
        let mut out = BufWriter::new(File::create(&path).unwrap());
        out.write_all(b"the rest").unwrap();
        panic!("oops");
    });
    assert!(caught.is_err());
    assert_eq!(std_fs::read(&path).unwrap(), b"the rest");
}

// ---- slow files ----

/// A FIFO; `None`, said aloud, where it cannot be had.
fn fifo(dir: &Dir) -> Option<PathBuf> {
    let path = dir.path("fifo");
    let made = std::process::Command::new("mkfifo").arg(&path).status();
    if !made.is_ok_and(|status| status.success()) {
        println!("SKIPPED: there is no mkfifo here");
        return None;
    }
    Some(path)
}

/// The reading end, and the writing end as a file of std, which does not block for so few bytes.
fn open_fifo(path: &Path) -> (File, std_fs::File) {
    scope(|s| {
        let reader = s.spawn(|| File::open(path).unwrap());
        let writer = greenlet::unblock({
            let path = path.to_owned();
            move || std_fs::OpenOptions::new().write(true).open(path).unwrap()
        });
        (reader.join().unwrap(), writer)
    })
}

#[test]
fn a_slow_file_holds_up_nobody_else() {
    let dir = Dir::new();
    let Some(path) = fifo(&dir) else { return };
    // The ends wait for each other: on one thread both would for ever.
    let (reader, mut writer) = open_fifo(&path);
    let steps = Cell::new(0);
    scope(|s| {
        let got = s.spawn(|| {
            let mut buf = [0; 5];
            (&reader).read_exact(&mut buf).unwrap();
            buf
        });
        for _ in 0..100 {
            yield_now();
            steps.set(steps.get() + 1);
        }
        assert!(!got.is_finished());
        writer.write_all(b"hello").unwrap();
        assert_eq!(got.join().unwrap(), *b"hello");
    });
    assert_eq!(steps.get(), 100);
}

#[test]
fn a_call_that_was_left_goes_before_the_next_one() {
    let dir = Dir::new();
    let Some(path) = fifo(&dir) else { return };
    let (mut reader, mut writer) = open_fifo(&path);
    let soon = Duration::from_millis(20);
    assert!(greenlet::timeout(soon, || reader.read(&mut [0; 5])).is_err());
    scope(|s| {
        let next = s.spawn(|| {
            let mut buf = [0; 5];
            (&reader).read_exact(&mut buf).unwrap();
            buf
        });
        yield_now();
        // It waits for its turn, and can be killed there.
        let third = s.spawn(|| (&reader).read(&mut [0; 5]).unwrap());
        yield_now();
        third.kill();
        assert!(third.join().unwrap_err().is_killed());
        assert!(format!("{reader:?}").contains("busy: true"), "{reader:?}");
        writer.write_all(b"aaaaabbbbb").unwrap();
        // What the first has taken is lost; the third has taken nothing.
        assert_eq!(next.join().unwrap(), *b"bbbbb");
    });
    assert!(format!("{reader:?}").contains("busy: false"), "{reader:?}");
    drop(writer);
    assert_eq!(reader.read(&mut [0; 5]).unwrap(), 0);
}

#[test]
fn calls_are_done_in_order_of_arrival() {
    let dir = Dir::new();
    let Some(path) = fifo(&dir) else { return };
    let (reader, mut writer) = open_fifo(&path);
    scope(|s| {
        let readers: Vec<_> = (0..6)
            .map(|_| {
                s.spawn(|| {
                    let mut buf = [0];
                    (&reader).read_exact(&mut buf).unwrap();
                    buf[0]
                })
            })
            .collect();
        yield_now();
        writer.write_all(b"abcdef").unwrap();
        let got: Vec<u8> = readers.into_iter().map(|r| r.join().unwrap()).collect();
        assert_eq!(got, b"abcdef");
    });
}

#[test]
fn into_std_waits_for_a_call_that_was_left() {
    let dir = Dir::new();
    let Some(path) = fifo(&dir) else { return };
    let (mut reader, mut writer) = open_fifo(&path);
    assert!(greenlet::timeout(Duration::from_millis(20), || reader.read(&mut [0; 5])).is_err());
    let mut file = scope(|s| {
        let file = s.spawn(|| reader.into_std().unwrap());
        yield_now();
        assert!(!file.is_finished());
        writer.write_all(b"aaaaa").unwrap();
        file.join().unwrap()
    });
    writer.write_all(b"b").unwrap();
    let mut buf = [0; 5];
    assert_eq!((file.read(&mut buf).unwrap(), buf[0]), (1, b'b'));
}

/// Nobody may wait while panicking: better an error than an abort.
#[test]
fn while_panicking_a_file_in_use_says_no() {
    struct AtEnd<'a>(&'a File, &'a Cell<Option<String>>);
    impl Drop for AtEnd<'_> {
        fn drop(&mut self) {
            let error = { self.0 }.read(&mut [0; 5]).unwrap_err();
            self.1.set(Some(error.to_string()));
        }
    }
    let dir = Dir::new();
    let Some(path) = fifo(&dir) else { return };
    let (mut reader, mut writer) = open_fifo(&path);
    assert!(greenlet::timeout(Duration::from_millis(20), || reader.read(&mut [0; 5])).is_err());
    let said = Cell::new(None);
    let caught = catch_unwind(AssertUnwindSafe(|| {
        let _at_end = AtEnd(&reader, &said);
        panic!("oops");
    }));
    assert!(caught.is_err());
    assert!(said.take().expect("the destructor ran").contains("in use"));
    writer.write_all(b"aaaaa").unwrap();
}

//! Files without holding up the thread: std's functions, run on the
//! [global pool](crate::ThreadPool::global) while the greenlet waits; composed of
//! [`ThreadPool`] and, for [`File`], of [`Semaphore`].
//!
//! ```
//! use greenlet::fs;
//!
//! let path = std::env::temp_dir().join(format!("greenlet-doc-{}", std::process::id()));
//! fs::write(&path, "some text")?;
//! assert_eq!(fs::read_to_string(&path)?, "some text");
//! fs::remove_file(&path)?;
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! # What it costs
//!
//! The way to the pool and back takes 5 to 50 microseconds on top of the call of std, which
//! for a file in the system's cache takes a few itself. So it pays where the disk or the
//! network behind a file may be slow and other greenlets must go on meanwhile, and for
//! large pieces. Do several calls in one [`unblock`](crate::unblock) rather than each on
//! its own.
//!
//! # Timeouts and kills
//!
//! Either ends the wait by unwinding, and what has been begun goes on to its end on the
//! pool: a file may be written all the same.
//!
//! # Errors
//!
//! Those of std, and that of [`ThreadPool::try_unblock`].

use crate::ThreadPool;
use crate::rt::sync::panicking;
use crate::sync::{OwnedPermit, Semaphore};
use std::fmt;
use std::fs::{DirEntry, Metadata};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The most that one read or write of a [`File`] moves.
const PIECE: usize = 64 * 1024;

/// On the pool.
#[track_caller]
fn unblock<T: Send + 'static>(f: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    ThreadPool::global().try_unblock(f)?
}

macro_rules! wrappers {
    ($($(#[$doc:meta])* $name:ident($($path:ident),+) -> $result:ty;)+) => { $(
        $(#[$doc])*
        ///
        /// # Errors
        ///
        #[doc = concat!("As [`std::fs::", stringify!($name), "`]; and see the [module](self).")]
        #[track_caller]
        pub fn $name($($path: impl AsRef<Path>),+) -> io::Result<$result> {
            $(let $path = $path.as_ref().to_owned();)+
            unblock(move || std::fs::$name($($path),+))
        }
    )+ };
}

wrappers! {
    /// All that is in a file.
    read(path) -> Vec<u8>;
    /// All that is in a file, as text.
    read_to_string(path) -> String;
    /// Copies a file with its permissions; how many bytes it has.
    copy(from, to) -> u64;
    /// Gives a file or directory another name, in place of what has that name.
    rename(from, to) -> ();
    /// Removes a file.
    remove_file(path) -> ();
    /// Makes a directory, and those above it that are missing.
    create_dir_all(path) -> ();
    /// Removes a directory with all that is in it.
    remove_dir_all(path) -> ();
    /// What the system knows of a file, behind all links.
    metadata(path) -> Metadata;
    /// The absolute path without links.
    canonicalize(path) -> PathBuf;
}

/// Writes a file, which is made or emptied first. The contents are copied, since the pool
/// may outlast the caller.
///
/// # Errors
///
/// As [`std::fs::write`]; and see the [module](self).
#[track_caller]
pub fn write(path: impl AsRef<Path>, contents: impl AsRef<[u8]>) -> io::Result<()> {
    let path = path.as_ref().to_owned();
    let contents = contents.as_ref().to_owned();
    unblock(move || std::fs::write(path, contents))
}

/// All entries of a directory, in no order. Unlike std's this reads to the end at once, and
/// one entry that fails is an error of the whole.
///
/// # Errors
///
/// As [`std::fs::read_dir`] and its iterator; and see the [module](self).
#[track_caller]
pub fn read_dir(path: impl AsRef<Path>) -> io::Result<Vec<DirEntry>> {
    let path = path.as_ref().to_owned();
    unblock(move || std::fs::read_dir(path)?.collect())
}

/// An open file. As [`std::fs::File`]; read and written through [`Read`], [`Write`] and
/// [`Seek`], by several greenlets through `&File` too.
///
/// Each call is one job of the pool, and one read or write moves 64 KiB at most, by way of
/// a buffer of its own. [`read_to_end`](Read::read_to_end) and
/// [`read_to_string`](Read::read_to_string) are one job in all. For many small reads or
/// writes put it into a [`BufReader`](std::io::BufReader) or
/// [`BufWriter`](std::io::BufWriter), best with a buffer of 64 KiB.
///
/// The drop of the last handle closes it, on the thread that does so; if that may be slow, as
/// on a network's disk, drop it in [`unblock`](crate::unblock).
///
/// One that is to be opened in another way is made from a file of std, as below.
///
/// # Fairness
///
/// Calls by several greenlets on one file are done one at a time, in order of arrival.
///
/// # Timeouts and kills
///
/// Either unwinds, but the call goes on to its end, before the next one of this file: what
/// a read has taken from the file's position is lost, and a write may have been done.
///
/// # Examples
///
/// ```
/// use greenlet::fs::{self, File};
/// use std::io::{Read, Seek, Write};
///
/// let path = std::env::temp_dir().join(format!("greenlet-doc-file-{}", std::process::id()));
/// File::create(&path)?.write_all(b"some text")?;
/// let options = std::fs::OpenOptions::new().append(true).read(true).clone();
/// let mut file = File::from(greenlet::unblock({
///     let path = path.clone();
///     move || options.open(path)
/// })?);
/// file.write_all(b" more")?;
/// file.rewind()?;
/// let mut text = String::new();
/// file.read_to_string(&mut text)?;
/// assert_eq!(text, "some text more");
/// fs::remove_file(&path)?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct File {
    file: Arc<std::fs::File>,
    /// One permit: whose call it is. The job has it, so that a call goes before the next one
    /// even if its caller has left.
    turn: Arc<Semaphore>,
}

impl UnwindSafe for File {}
impl RefUnwindSafe for File {}

impl File {
    /// Opens a file for reading.
    ///
    /// # Errors
    ///
    /// As [`std::fs::File::open`]; and see the [module](self).
    #[track_caller]
    pub fn open(path: impl AsRef<Path>) -> io::Result<File> {
        let path = path.as_ref().to_owned();
        unblock(move || std::fs::File::open(path)).map(File::from)
    }

    /// Opens a file for writing, which is made or emptied first.
    ///
    /// # Errors
    ///
    /// As [`std::fs::File::create`]; and see the [module](self).
    #[track_caller]
    pub fn create(path: impl AsRef<Path>) -> io::Result<File> {
        let path = path.as_ref().to_owned();
        unblock(move || std::fs::File::create(path)).map(File::from)
    }

    /// What the system knows of the file.
    ///
    /// # Errors
    ///
    /// As [`std::fs::File::metadata`]; and see the [module](self).
    #[track_caller]
    pub fn metadata(&self) -> io::Result<Metadata> {
        self.call(|file| file.metadata())
    }

    /// Cuts the file off, or fills it up with zeros, to this size.
    ///
    /// # Errors
    ///
    /// As [`std::fs::File::set_len`]; and see the [module](self).
    #[track_caller]
    pub fn set_len(&self, size: u64) -> io::Result<()> {
        self.call(move |file| file.set_len(size))
    }

    /// Waits until the file and what the system knows of it are on the disk.
    ///
    /// # Errors
    ///
    /// As [`std::fs::File::sync_all`]; and see the [module](self).
    #[track_caller]
    pub fn sync_all(&self) -> io::Result<()> {
        self.call(|file| file.sync_all())
    }

    /// The file as std has it; after a call whose caller has left, once that has ended.
    ///
    /// # Errors
    ///
    /// Only while the thread is panicking, if it would have to wait.
    #[track_caller]
    pub fn into_std(self) -> io::Result<std::fs::File> {
        let _turn = self.turn()?;
        // A job lets go of the file before it passes its turn on.
        Ok(Arc::into_inner(self.file).expect("it is this call's turn"))
    }

    #[track_caller]
    fn turn(&self) -> io::Result<OwnedPermit> {
        match self.turn.try_acquire_owned() {
            Some(turn) => Ok(turn),
            // A buffered writer is dropped, say: an error is better than an abort.
            None if panicking() => Err(io::Error::other(
                "the file is in use, and nobody may wait while the thread is panicking",
            )),
            None => Ok(self.turn.acquire_owned()),
        }
    }

    /// One call, on the pool, when it is its turn.
    #[track_caller]
    fn call<T: Send + 'static>(
        &self,
        call: impl FnOnce(&std::fs::File) -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let turn = self.turn()?;
        let file = self.file.clone();
        unblock(move || {
            let result = call(&file);
            drop(file);
            drop(turn);
            result
        })
    }
}

impl From<std::fs::File> for File {
    fn from(file: std::fs::File) -> Self {
        File {
            file: Arc::new(file),
            turn: Arc::new(Semaphore::new(1)),
        }
    }
}

impl Read for &File {
    #[track_caller]
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let mut piece = vec![0; buf.len().min(PIECE)];
        let piece = self.call(move |mut file| {
            let n = file.read(&mut piece)?;
            piece.truncate(n);
            Ok(piece)
        })?;
        buf[..piece.len()].copy_from_slice(&piece);
        Ok(piece.len())
    }

    #[track_caller]
    fn read_to_end(&mut self, buf: &mut Vec<u8>) -> io::Result<usize> {
        let (mut rest, result) = self.call(|mut file| {
            let mut rest = Vec::new();
            let result = file.read_to_end(&mut rest);
            Ok((rest, result))
        })?;
        // As in std, what was read before an error is there.
        buf.append(&mut rest);
        result
    }

    #[track_caller]
    fn read_to_string(&mut self, buf: &mut String) -> io::Result<usize> {
        let text = self.call(|mut file| {
            let mut text = String::new();
            file.read_to_string(&mut text)?;
            Ok(text)
        })?;
        buf.push_str(&text);
        Ok(text.len())
    }
}

impl Write for &File {
    #[track_caller]
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let piece = buf[..buf.len().min(PIECE)].to_owned();
        self.call(move |mut file| file.write(&piece))
    }

    fn flush(&mut self) -> io::Result<()> {
        // std's does nothing either.
        Ok(())
    }
}

impl Seek for &File {
    #[track_caller]
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.call(move |mut file| file.seek(to))
    }
}

impl Read for File {
    #[track_caller]
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        (&*self).read(buf)
    }

    #[track_caller]
    fn read_to_end(&mut self, buf: &mut Vec<u8>) -> io::Result<usize> {
        (&*self).read_to_end(buf)
    }

    #[track_caller]
    fn read_to_string(&mut self, buf: &mut String) -> io::Result<usize> {
        (&*self).read_to_string(buf)
    }
}

impl Write for File {
    #[track_caller]
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        (&*self).write(buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for File {
    #[track_caller]
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        (&*self).seek(to)
    }
}

impl fmt::Debug for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("File")
            .field("file", &self.file)
            .field("busy", &self.turn.is_locked())
            .finish()
    }
}

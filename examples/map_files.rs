//! Sizes of the files below a directory, eight at a time: `cargo run --release --example map_files DIR`
//!
//! Greenlets of a `Pool` read the files through `greenlet::fs`, whose calls block threads of
//! their own, not the hub; results come in the order in which they are ready. The first line is
//! the number of files and the sum of their bytes, as `find DIR -type f` and `wc -c` have them;
//! then come the five largest. Symbolic links are not followed. What cannot be read is said on
//! stderr, and the exit code is 1 then.

use greenlet::{Pool, fs};
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

fn main() -> ExitCode {
    let Some(directory) = std::env::args_os().nth(1) else {
        eprintln!("usage: map_files DIR");
        return ExitCode::from(2);
    };
    let mut failed = false;
    let mut fail = |path: &Path, error: &io::Error| {
        eprintln!("map_files: {}: {error}", path.display());
        failed = true;
    };

    let mut files = Vec::new();
    let mut directories = vec![PathBuf::from(directory)];
    while let Some(directory) = directories.pop() {
        if let Err(error) = list(&directory, &mut files, &mut directories) {
            fail(&directory, &error);
        }
    }

    let (mut sizes, mut bytes) = (Vec::new(), 0);
    let read = Pool::new(8).imap_unordered(files, |path| {
        let size = fs::read(&path).map(|contents| contents.len());
        (path, size)
    });
    for (path, size) in read.map(|result| result.expect("reading does not panic")) {
        match size {
            Ok(size) => {
                bytes += size;
                sizes.push((size, path));
            }
            Err(error) => fail(&path, &error),
        }
    }

    println!("{} files, {bytes} bytes", sizes.len());
    // The largest first; among equals by name.
    sizes.sort_by(|(a, a_path), (b, b_path)| b.cmp(a).then(a_path.cmp(b_path)));
    for (size, path) in sizes.iter().take(5) {
        println!("{size:10} {}", path.display());
    }
    if failed {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}

fn list(
    directory: &Path,
    files: &mut Vec<PathBuf>,
    directories: &mut Vec<PathBuf>,
) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        match entry.file_type()? {
            kind if kind.is_file() => files.push(entry.path()),
            kind if kind.is_dir() => directories.push(entry.path()),
            _ => {}
        }
    }
    Ok(())
}

//! Tests that run themselves again as a child process, in which an environment variable names the scenario, and look at
//! how the child ended and what it said.

#![allow(
    dead_code,
    unused_macros,
    unused_imports,
    reason = "not every test needs all of it"
)]

use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::Duration;

const SCENARIO: &str = "GREENLET_TEST_SCENARIO";
pub(crate) const SIGABRT: i32 = 6;
pub(crate) const SIGBUS: i32 = 7;
pub(crate) const SIGSEGV: i32 = 11;
/// A child that takes so long hangs.
pub(crate) const HANGS: Duration = Duration::from_secs(30);

/// How a child ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    pub(crate) out: String,
    pub(crate) err: String,
}

/// In the child: runs the scenario. In the parent: runs the child and returns how it ended.
pub(crate) fn child(test: &str, scenario: &str, run: impl FnOnce()) -> Option<Ended> {
    child_of(Command::new(executable()), test, scenario, run)
}

pub(crate) fn executable() -> PathBuf {
    std::env::current_exe().unwrap()
}

/// As `child`, by a command that runs the executable with the arguments that are added.
pub(crate) fn child_of(
    mut command: Command,
    test: &str,
    scenario: &str,
    run: impl FnOnce(),
) -> Option<Ended> {
    if let Ok(wanted) = std::env::var(SCENARIO) {
        if wanted == scenario {
            run();
            println!("CAME TO ITS END");
        }
        return None;
    }
    let mut process = command
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(SCENARIO, scenario)
        .env("RUST_BACKTRACE", "0")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let (out, err) = (
        process.stdout.take().unwrap(),
        process.stderr.take().unwrap(),
    );
    let (sender, receiver) = mpsc::channel();
    let read = |mut pipe: Box<dyn Read + Send>| {
        let sender = sender.clone();
        std::thread::spawn(move || {
            let mut bytes = Vec::new();
            pipe.read_to_end(&mut bytes).unwrap();
            sender.send(()).unwrap();
            String::from_utf8_lossy(&bytes).into_owned()
        })
    };
    let (out, err) = (read(Box::new(out)), read(Box::new(err)));
    let in_time = (0..2).all(|_| receiver.recv_timeout(HANGS).is_ok());
    if !in_time {
        process.kill().unwrap();
    }
    let status = process.wait().unwrap();
    let (out, err) = (out.join().unwrap(), err.join().unwrap());
    assert!(in_time, "{scenario} hangs\n{out}\n{err}");
    Some(Ended { status, out, err })
}

/// What the test of that name in that module is called.
pub(crate) fn path(module: &str, test: &str) -> String {
    match module.split_once("::") {
        Some((_, module)) => format!("{module}::{test}"),
        None => test.to_owned(),
    }
}

macro_rules! child {
    ($test:ident, $run:expr) => {
        match $crate::child::child(
            &$crate::child::path(module_path!(), stringify!($test)),
            stringify!($test),
            $run,
        ) {
            Some(ended) => ended,
            None => return,
        }
    };
}

impl Ended {
    #[track_caller]
    pub(crate) fn well(&self) {
        assert!(
            self.status.success() && self.out.contains("CAME TO ITS END"),
            "{self:#?}"
        );
    }

    #[track_caller]
    pub(crate) fn aborted(&self, parts: &[&str]) {
        assert_eq!(self.status.signal(), Some(SIGABRT), "{self:#?}");
        assert!(!self.out.contains("CAME TO ITS END"), "{self:#?}");
        for part in parts {
            assert!(self.err.contains(part), "stderr lacks {part:?}: {self:#?}");
        }
    }
}

//! Puts one fault at a time into a scratch copy of the crate and sees that a test
//! notices. The list and its format are in `mutants.txt`. A survivor is an error,
//! and so is a fault that cannot be put in any more, or a test that does not pass
//! without it.
//!
//! `cargo run --manifest-path verify/Cargo.toml [PART OF A NAME [PART OF THE FIRST ONE'S NAME]]`, or
//! `.ci/run mutants`. With the second it goes on where an earlier run was broken off.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// A test that runs so long has lost something, unless it takes a quarter of that without a
/// fault: on a machine with other work some models do.
const HANGS: Duration = Duration::from_secs(60);

/// No test takes so long without a fault.
const ENDLESS: Duration = Duration::from_secs(600);

/// One fault.
#[derive(Default)]
struct Mutant {
    name: String,
    file: String,
    /// Lines to be found, without their indentation, and those to put in their place.
    old: Vec<String>,
    new: Vec<String>,
    /// The test that notices: `loom FILTER`, `lib FILTER`, or `FILE FILTER`.
    test: String,
}

/// What became of one.
enum Fate {
    Killed(Duration),
    Survived,
    /// Why there is no answer.
    Broken(String),
}

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let filter = args.next().unwrap_or_default();
    let first = args.next().unwrap_or_default();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("it lies in the crate");
    let list = fs::read_to_string(root.join("verify/mutants.txt")).expect("mutants.txt");
    let mutants: Vec<Mutant> = parse(&list)
        .into_iter()
        .skip_while(|m| !m.name.contains(&first))
        .filter(|m| m.name.contains(&filter))
        .collect();
    let jobs = std::thread::available_parallelism().map_or(1, usize::from);
    let (next, failed) = (AtomicUsize::new(0), AtomicUsize::new(0));
    // How long tests take that pass without any fault, so that a failure is the fault's.
    let sound: Mutex<BTreeMap<String, Duration>> = Mutex::default();
    std::thread::scope(|s| {
        for job in 0..jobs {
            let (mutants, next, failed, sound) = (&mutants, &next, &failed, &sound);
            s.spawn(move || {
                let scratch = Scratch::new(root, job);
                while let Some(mutant) = mutants.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let fate = scratch.fate(mutant, sound);
                    let Mutant { name, test, .. } = mutant;
                    match fate {
                        Fate::Killed(time) => println!("killed    {name}  by {test}  {time:.1?}"),
                        Fate::Survived => println!("SURVIVED  {name}  {test}"),
                        Fate::Broken(ref why) => println!("BROKEN    {name}  {test}: {why}"),
                    }
                    if !matches!(fate, Fate::Killed(_)) {
                        failed.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    let failed = failed.into_inner();
    println!(
        "{} mutants, {} killed",
        mutants.len(),
        mutants.len() - failed
    );
    if failed > 0 || mutants.is_empty() {
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

/// Reads the list. Its format is at its top.
fn parse(list: &str) -> Vec<Mutant> {
    let mut mutants: Vec<Mutant> = Vec::new();
    for line in list.lines() {
        let Some((mark, rest)) = line.split_at_checked(2) else {
            assert!(
                matches!(line, "" | "#" | "-" | "+"),
                "mutants.txt: {line:?}"
            );
            continue;
        };
        if mark == "= " {
            let name = rest.to_owned();
            mutants.push(Mutant {
                name,
                ..Mutant::default()
            });
            continue;
        }
        let rest = rest.trim().to_owned();
        match (mark, mutants.last_mut()) {
            ("# ", _) => {}
            ("@ ", Some(m)) => m.file = rest,
            ("- ", Some(m)) => m.old.push(rest),
            ("+ ", Some(m)) => m.new.push(rest),
            ("? ", Some(m)) => m.test = rest,
            _ => panic!("mutants.txt: {line:?}"),
        }
    }
    mutants
}

/// A copy of the crate, with a build directory of its own.
struct Scratch(PathBuf);

impl Scratch {
    fn new(root: &Path, job: usize) -> Self {
        let scratch = Scratch(root.join("target/mutants").join(job.to_string()));
        for part in ["src", "tests", "benches", "examples"] {
            let _ = fs::remove_dir_all(scratch.0.join(part));
            copy(&root.join(part), &scratch.0.join(part));
        }
        for part in ["Cargo.toml", "README.md"] {
            copy(&root.join(part), &scratch.0.join(part));
        }
        if root.join("Cargo.lock").exists() {
            copy(&root.join("Cargo.lock"), &scratch.0.join("Cargo.lock"));
        }
        scratch
    }

    fn fate(&self, mutant: &Mutant, sound: &Mutex<BTreeMap<String, Duration>>) -> Fate {
        let known = sound.lock().unwrap().get(&mutant.test).copied();
        let takes = match known {
            Some(takes) => takes,
            None => match self.passes(&mutant.test, ENDLESS) {
                Ok((true, takes)) => {
                    sound.lock().unwrap().insert(mutant.test.clone(), takes);
                    takes
                }
                Ok((false, _)) => return Fate::Broken("fails without the fault".to_owned()),
                Err(why) => return Fate::Broken(why),
            },
        };
        let path = self.0.join(&mutant.file);
        let whole = fs::read_to_string(&path).expect("a file of the crate");
        let Some(mutated) = replace(&whole, mutant) else {
            return Fate::Broken("its lines are not there just once".to_owned());
        };
        fs::write(&path, mutated).expect("the scratch copy");
        let passes = self.passes(&mutant.test, HANGS.max(4 * takes));
        fs::write(&path, whole).expect("the scratch copy");
        match passes {
            Ok((true, _)) => Fate::Survived,
            Ok((false, takes)) => Fate::Killed(takes),
            Err(why) => Fate::Broken(why),
        }
    }

    /// Whether the test passes before the limit, and how long it takes. It must compile, and the
    /// filter must find a test.
    fn passes(&self, test: &str, limit: Duration) -> Result<(bool, Duration), String> {
        let (target, filter) = test.split_once(' ').ok_or("no filter")?;
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()));
        cargo.current_dir(&self.0);
        cargo.args(["test", "--no-run"]).env_remove("RUSTFLAGS");
        match target {
            // Optimised a little: it takes as long to run as to compile.
            "loom" => cargo
                .args(["--lib", "--release", "--target-dir", "target/loom"])
                .env("RUSTFLAGS", "--cfg greenlet_loom -C debug-assertions")
                .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1")
                // One fault changes little: seconds in place of a minute and a half. But for that
                // the parts must not be optimised together, as they are without "off".
                .env("CARGO_PROFILE_RELEASE_INCREMENTAL", "true")
                .env("CARGO_PROFILE_RELEASE_LTO", "off"),
            "lib" => cargo.args([
                "--lib",
                "--features",
                "signal",
                "--target-dir",
                "target/std",
            ]),
            file => cargo.args([
                "--test",
                file,
                "--features",
                "signal",
                "--target-dir",
                "target/std",
            ]),
        };
        let built = cargo.output().map_err(|e| e.to_string())?;
        let said = String::from_utf8_lossy(&built.stderr);
        if !built.status.success() {
            let error = said.lines().find(|l| l.starts_with("error"));
            return Err(format!("does not compile: {}", error.unwrap_or("")));
        }
        let binary = said
            .rsplit_once('(')
            .and_then(|(_, rest)| rest.split_once(')'))
            .ok_or("cargo names no test binary")?
            .0;
        let mut run = Command::new(self.0.join(binary))
            .current_dir(&self.0)
            .args([filter, "--test-threads=1"])
            .env("RUST_BACKTRACE", "0")
            // That it fails is enough; nobody reads the smallest case.
            .env("PROPTEST_CASES", "400")
            .env("PROPTEST_MAX_SHRINK_ITERS", "0")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .map_err(|e| e.to_string())?;
        let mut stdout = run.stdout.take().expect("piped");
        let reader = std::thread::spawn(move || {
            let mut said = Vec::new();
            stdout.read_to_end(&mut said).map(|_| said)
        });
        let begin = Instant::now();
        let status = loop {
            if let Some(status) = run.try_wait().map_err(|e| e.to_string())? {
                break status;
            }
            if begin.elapsed() > limit {
                // Its group: tests start processes of their own.
                let group = format!("-{}", run.id());
                let killed = Command::new("kill").args(["-KILL", "--", &group]).status();
                killed.map_err(|e| e.to_string())?;
                run.wait().map_err(|e| e.to_string())?;
                return Ok((false, begin.elapsed()));
            }
            std::thread::sleep(Duration::from_millis(20));
        };
        let takes = begin.elapsed();
        let said = reader
            .join()
            .expect("no panic")
            .map_err(|e| e.to_string())?;
        if String::from_utf8_lossy(&said).contains("running 0 tests") {
            return Err("there is no such test".to_owned());
        }
        Ok((status.success(), takes))
    }
}

/// The text with the fault in it, if its lines are there once.
fn replace(text: &str, mutant: &Mutant) -> Option<String> {
    let lines: Vec<&str> = text.lines().collect();
    let mut places = (0..=lines.len().checked_sub(mutant.old.len())?).filter(|&at| {
        mutant
            .old
            .iter()
            .zip(&lines[at..])
            .all(|(old, line)| old == line.trim())
    });
    let at = places.next()?;
    if places.next().is_some() {
        return None;
    }
    let mut all: Vec<&str> = lines[..at].to_vec();
    all.extend(mutant.new.iter().map(String::as_str));
    all.extend(&lines[at + mutant.old.len()..]);
    Some(all.join("\n") + "\n")
}

fn copy(from: &Path, to: &Path) {
    if from.is_dir() {
        fs::create_dir_all(to).expect("the scratch copy");
        for entry in fs::read_dir(from).expect("a directory of the crate") {
            let entry = entry.expect("a directory of the crate");
            copy(&entry.path(), &to.join(entry.file_name()));
        }
    } else {
        fs::copy(from, to).expect("the scratch copy");
    }
}

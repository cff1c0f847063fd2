//! Scripts that are kept, in `tests/script/regressions`: what was found once, and what is worth to be
//! run each time. A file is named after what broke or what it is about. Its lines:
//!
//! - `#: ` and why it is there;
//! - `# ` and the program, as [`Plan`] displays it, which the replay checks;
//! - the bytes in hexadecimal, from which all else follows.

use super::plan::Plan;
use std::path::Path;

pub(crate) struct Kept {
    pub(crate) name: String,
    pub(crate) bytes: Vec<u8>,
    /// The program it claims to be.
    pub(crate) program: String,
}

fn read(name: String, text: &str) -> Kept {
    let lines = || text.lines().filter(|line| !line.starts_with("#: "));
    let program = lines().filter_map(|line| line.strip_prefix('#'));
    let program: Vec<_> = program.map(|l| l.strip_prefix(' ').unwrap_or(l)).collect();
    let hex: String = lines().filter(|line| !line.starts_with('#')).collect();
    assert!(
        hex.len().is_multiple_of(2),
        "{name}: an odd number of digits"
    );
    let byte = |i| u8::from_str_radix(&hex[i..i + 2], 16).expect("hexadecimal digits");
    Kept {
        bytes: (0..hex.len()).step_by(2).map(byte).collect(),
        program: program.join("\n"),
        name,
    }
}

/// All of them, by name.
pub(crate) fn all() -> Vec<Kept> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/script/regressions");
    let files = std::fs::read_dir(dir).expect("the directory is there");
    let mut paths: Vec<_> = files
        .map(|file| file.expect("it can be read").path())
        .collect();
    paths.sort();
    let file = |path: &std::path::PathBuf| {
        let name = path
            .file_name()
            .expect("a file")
            .to_string_lossy()
            .into_owned();
        read(name, &std::fs::read_to_string(path).expect("it is text"))
    };
    let all: Vec<_> = paths.iter().map(file).collect();
    assert!(!all.is_empty(), "no scripts are kept");
    all
}

/// Panics unless the file says what it is.
pub(crate) fn check(kept: &Kept, plan: &Plan) {
    let program = plan.to_string();
    let lines: String = program
        .lines()
        .map(|line| format!("# {line}").trim_end().to_owned() + "\n")
        .collect();
    assert_eq!(
        kept.program, program,
        "{} should have the lines\n{lines}",
        kept.name
    );
}

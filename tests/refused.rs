//! What must not compile, and that it is refused for the reason meant.
//!
//! The programs are in `refused/types.rs` and `refused/borrows.rs`. A line that must be refused ends in a comment
//!
//! ```text
//! //~ E0277 `Rc<i32>` cannot be sent
//! ```
//!
//! with the error's code (`-` if it has none) and a part of its message, if that matters; `//~2 E0597` if the compiler
//! reports it two lines above. Each file is compiled twice: without the marked lines it must compile, so nothing else
//! is wrong with the programs; with them, each marked line must give its error, and no other line any. The code is
//! checked on every toolchain (rustdoc's `compile_fail,E0277` looks at the code only on nightly, and never at the
//! place).
//!
//! The compiler is run on the library as it was built for this test, without a dependency to do it.

use std::path::{Path, PathBuf};
use std::process::Command;

/// An expected error.
#[derive(Debug)]
struct Refused {
    line: usize,
    code: String,
    part: String,
}

/// An error of the compiler's: line, code, message.
type Error = (usize, String, String);

/// The marked lines of a program, and the program without them.
fn marked(program: &str) -> (Vec<Refused>, String) {
    let (mut all, mut rest) = (vec![], String::new());
    for (i, line) in program.lines().enumerate() {
        if let Some((_, mark)) = line.split_once("//~") {
            let (above, mark) = mark.split_once(' ').expect("`//~ CODE text`");
            let (code, part) = mark.split_once(' ').unwrap_or((mark, ""));
            all.push(Refused {
                line: i + 1 - above.parse::<usize>().unwrap_or(0),
                code: code.to_owned(),
                part: part.trim().to_owned(),
            });
        } else {
            rest += line;
        }
        rest.push('\n');
    }
    (all, rest)
}

/// Compiles a program against the library in that file, and returns its errors.
fn compile(library: &Path, name: &str, program: &str) -> Result<Vec<Error>, String> {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let source = dir.join(name).with_extension("rs");
    std::fs::write(&source, program).unwrap();
    let output = Command::new("rustc")
        .args(["--edition=2024", "--crate-type=lib", "--emit=metadata"])
        .args(["--error-format=json", "--cap-lints=allow"])
        .arg("-o")
        .arg(source.with_extension("rmeta"))
        .arg("--extern")
        .arg(format!("greenlet={}", library.display()))
        .args(
            folders()
                .iter()
                .map(|f| format!("-Ldependency={}", f.display())),
        )
        .arg(&source)
        .env_remove("RUSTFLAGS")
        .output()
        .map_err(|error| format!("rustc: {error}"))?;
    let text = String::from_utf8_lossy(&output.stderr);
    let errors: Vec<Error> = text.lines().filter_map(error).collect();
    match output.status.success() == errors.is_empty() {
        true => Ok(errors),
        // It has failed without an error in the program: a wrong library, for instance.
        false => Err(text.into_owned()),
    }
}

/// One line of the compiler's output, if it is an error at a place of the program.
fn error(json: &str) -> Option<Error> {
    // The fields that matter come in this order: message, code, level, then the spans. Escaped text is not unescaped:
    // messages are compared by parts without quotes.
    let after = |key: &str| json.split_once(key).map(|(_, rest)| rest);
    let quoted = |rest: &str| rest.split('"').next().unwrap_or("").to_owned();
    if !json.contains(r#""level":"error""#) {
        return None;
    }
    let message = quoted(after(r#""$message_type":"diagnostic","message":""#)?);
    let code = match after(r#""code":{"code":""#) {
        Some(rest) => quoted(rest),
        None => "-".to_owned(),
    };
    // The spans of the error itself come before those of its notes; one of them is the primary one.
    let spans = after(r#""spans":["#)?;
    let primary = spans
        .split("\"file_name\"")
        .find(|s| s.contains(r#""is_primary":true"#))?;
    let line = primary.split_once(r#""line_start":"#)?.1;
    let line: String = line.chars().take_while(char::is_ascii_digit).collect();
    Some((line.parse().ok()?, code, message))
}

/// Where cargo has put what this test was built from: the folder of the test itself, or, with the
/// cargo of later toolchains, `build/PACKAGE/HASH/out` for each package.
fn folders() -> Vec<PathBuf> {
    fn below(folder: PathBuf) -> impl Iterator<Item = PathBuf> {
        let entries = std::fs::read_dir(folder).into_iter().flatten();
        entries.map(|entry| entry.unwrap().path())
    }
    let exe = std::env::current_exe().unwrap();
    let own = exe.parent().unwrap();
    if own.file_name() != Some("out".as_ref()) {
        return vec![own.to_owned()];
    }
    let build = own.ancestors().nth(3).unwrap().to_owned();
    below(build)
        .flat_map(below)
        .map(|hash| hash.join("out"))
        .filter(|out| out.is_dir())
        .collect()
}

/// The library that this test was built with: the newest that the programs compile with.
fn library(control: &str, name: &str) -> PathBuf {
    let mut all: Vec<_> = folders()
        .into_iter()
        .flat_map(|folder| std::fs::read_dir(folder).unwrap())
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            name.starts_with("libgreenlet-") && name.ends_with(".rlib")
        })
        .collect();
    all.sort_by_key(|path| std::fs::metadata(path).unwrap().modified().unwrap());
    let newest = all
        .pop()
        .expect("cargo has built the library for this test")
        // With later toolchains the library itself does not say all.
        .with_extension("rmeta");
    let errors = compile(&newest, name, control).unwrap_or_else(|text| panic!("{text}"));
    assert!(
        errors.is_empty(),
        "without its marked lines {name} does not compile: {errors:#?}"
    );
    newest
}

fn refused(name: &str, program: &str) {
    let (expected, control) = marked(program);
    assert!(!expected.is_empty());
    let library = library(&control, &format!("{name}_control"));
    let errors = compile(&library, name, program).unwrap_or_else(|text| panic!("{text}"));
    let mut wrong = vec![];
    for refused in &expected {
        let found = errors.iter().any(|(line, code, message)| {
            *line == refused.line && *code == refused.code && message.contains(&refused.part)
        });
        if !found {
            let here: Vec<_> = errors.iter().filter(|e| e.0 == refused.line).collect();
            wrong.push(format!("{refused:?} is not refused so, but: {here:?}"));
        }
    }
    for error in &errors {
        if !expected.iter().any(|refused| refused.line == error.0) {
            wrong.push(format!("refused, but not marked: {error:?}"));
        }
    }
    assert!(wrong.is_empty(), "{name}.rs:\n{}", wrong.join("\n"));
    println!(
        "{} lines of {name}.rs are refused as marked",
        expected.len()
    );
}

#[test]
fn by_the_type_checker() {
    refused("types", include_str!("refused/types.rs"));
}

#[test]
fn by_the_borrow_checker() {
    refused("borrows", include_str!("refused/borrows.rs"));
}

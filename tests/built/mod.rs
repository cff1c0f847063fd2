//! Where the examples are, for tests that run them as processes.

use std::env;
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

/// The binary of an example. cargo is asked to build them, which takes a moment when nothing has changed, and to say
/// where they are: its folders are its own affair.
pub(crate) fn example(name: &str) -> PathBuf {
    static BUILT: OnceLock<String> = OnceLock::new();
    let built = BUILT.get_or_init(|| {
        let mut build = Command::new(env::var_os("CARGO").unwrap_or("cargo".into()));
        build.args(["build", "--quiet", "--offline", "--examples"]);
        build.arg("--message-format=json");
        build.current_dir(env!("CARGO_MANIFEST_DIR"));
        if cfg!(feature = "signal") {
            build.args(["--features", "signal"]);
        }
        if !cfg!(debug_assertions) {
            build.arg("--release");
        }
        let said = build.output().unwrap();
        assert!(said.status.success(), "{build:?}: {said:?}");
        String::from_utf8(said.stdout).unwrap()
    });
    let named = format!("\"kind\":[\"example\"],\"crate_types\":[\"bin\"],\"name\":\"{name}\"");
    let line = built.lines().find(|line| line.contains(&named));
    let line = line.unwrap_or_else(|| panic!("cargo has built no example {name}:\n{built}"));
    let (_, rest) = line.split_once("\"executable\":\"").expect("a binary");
    let (path, _) = rest.split_once('"').expect("a string");
    // A string of JSON, in which a path can have escaped backslashes.
    PathBuf::from(path.replace("\\\\", "\\"))
}

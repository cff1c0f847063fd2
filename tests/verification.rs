//! `VERIFICATION.md` says which test proves what. Here: that each test it names exists and is run,
//! that it leaves out no model, no test file and no public type, and that no loom model is
//! ignored or runs on one thread alone.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Tests that macros make, or that their own `main` runs, without `#[test]` before them.
const BY_MACRO: &[&str] = &["single_thread", "plain_threads", "properties"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

/// The document; `None` in the package, which is without it and without `verify/` and `fuzz/`.
fn document() -> Option<String> {
    if !root().join("VERIFICATION.md").exists() {
        let here = root().join(".ci").exists();
        assert!(!here, "the repository has VERIFICATION.md");
        println!("SKIPPED: the package does not contain VERIFICATION.md");
        return None;
    }
    Some(read("VERIFICATION.md"))
}

/// What stands in backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// The `file::test` names of the document, apart.
fn names(text: &str) -> Vec<(&str, &str)> {
    let simple = |part: &str| {
        let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "_/".contains(c);
        part.chars().all(fits)
    };
    quoted(text)
        .filter_map(|name| name.rsplit_once("::"))
        .filter(|(file, test)| simple(file) && (simple(test) || *file == "mutants"))
        .collect()
}

struct Function {
    text: String,
    is_test: bool,
    is_method: bool,
}

/// The functions of a file that rustfmt has formatted.
fn functions(source: &str) -> BTreeMap<String, Function> {
    let mut found = BTreeMap::new();
    let lines: Vec<&str> = source.lines().collect();
    for (at, line) in lines.iter().enumerate() {
        let Some((before, rest)) = line.split_once("fn ") else {
            continue;
        };
        let is_item = before.trim().is_empty() || before.trim_start().starts_with("pub");
        let is_part = |c: &char| c.is_alphanumeric() || *c == '_';
        let name: String = rest.chars().take_while(is_part).collect();
        if !is_item || name.is_empty() {
            continue;
        }
        // Its end stands under its beginning.
        let indent = line.len() - line.trim_start().len();
        let brace = " ".repeat(indent) + "}";
        let last = lines[at..].iter().position(|l| l.starts_with(&brace));
        let end = last.map_or(lines.len(), |n| at + n + 1);
        let attributes: Vec<&str> = lines[..at]
            .iter()
            .rev()
            .map(|l| l.trim())
            .take_while(|l| l.starts_with("#[") || l.starts_with("//"))
            .collect();
        let ignored = attributes.iter().any(|l| l.starts_with("#[ignore"));
        assert!(!ignored, "{name} is ignored");
        let is_test = attributes.contains(&"#[test]");
        let text = lines[at..end].join("\n");
        // Not the parenthesis of a `pub(super)` before it.
        let arguments = rest
            .split_once('(')
            .map_or("", |(_, rest)| rest.trim_start());
        let arguments = match arguments {
            "" => lines.get(at + 1).map_or("", |next| next.trim_start()),
            _ => arguments,
        };
        let is_method = arguments.trim_start_matches('&').starts_with("self");
        let function = Function {
            text,
            is_test,
            is_method,
        };
        found.insert(name, function);
    }
    found
}

/// All Rust files below a directory: their paths there, without `.rs`, and their texts.
fn sources(dir: &str) -> BTreeMap<String, String> {
    fn walk(dir: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, found);
            } else if path.extension().is_some_and(|e| e == "rs") {
                found.push(path);
            }
        }
    }
    let dir = root().join(dir);
    let mut found = Vec::new();
    walk(&dir, &mut found);
    let named = found.into_iter().map(|path| {
        let name = path.strip_prefix(&dir).unwrap().with_extension("");
        let name = name.to_str().unwrap().replace('\\', "/");
        (name, fs::read_to_string(path).unwrap())
    });
    named.collect()
}

/// Whether a text calls the function or method of that name, or passes the function on.
fn calls(text: &str, name: &str, is_method: bool) -> bool {
    text.match_indices(name).any(|(at, _)| {
        let before = text[..at].chars().next_back();
        let after = text[at + name.len()..].chars().next();
        before.is_none_or(|c| !(c.is_alphanumeric() || c == '_') && (c == '.') == is_method)
            && after.is_some_and(|c| "(,)".contains(c))
    })
}

#[test]
fn every_test_that_is_named_exists() {
    let Some(document) = document() else { return };
    let (tests, src) = (sources("tests"), sources("src"));
    let mutants = read("verify/mutants.txt");
    let exists = |file: &str, test: &str| {
        if file == "mutants" {
            let begin = format!("= {test}:");
            return mutants.lines().any(|l| l.starts_with(&begin));
        }
        if file == "fuzz" {
            let target = format!("fuzz/fuzz_targets/{test}.rs");
            return root().join(target).exists();
        }
        let source = tests.get(file).or(src.get(file));
        let Some(source) = source.or(src.get(&format!("rt/{file}"))) else {
            return false;
        };
        if BY_MACRO.contains(&file) {
            let forms = [
                format!("fn {test}("),
                format!("{test},"),
                format!("{test}:"),
            ];
            return forms.iter().any(|form| source.contains(form));
        }
        functions(source).get(test).is_some_and(|f| f.is_test)
    };
    let names = names(&document);
    assert!(names.len() > 100, "{} names", names.len());
    let missing: Vec<_> = names
        .into_iter()
        .filter(|(file, test)| !exists(file, test))
        .collect();
    assert!(missing.is_empty(), "no such tests: {missing:#?}");
}

/// Each model of loom and of shuttle stands there by its name, and starts a second thread.
#[test]
fn no_model_is_left_out_and_none_runs_alone() {
    let Some(document) = document() else { return };
    let named: BTreeSet<_> = names(&document).into_iter().collect();
    for dir in ["models", "shuttles"] {
        let files = sources(&format!("src/rt/{dir}"));
        let all: BTreeMap<String, Function> = files.values().flat_map(|s| functions(s)).collect();
        // Who starts a thread, or calls one who does.
        let mut starters = BTreeSet::new();
        loop {
            let more: BTreeSet<&str> = all
                .iter()
                .filter(|(name, _)| !starters.contains(&***name))
                .filter(|(_, function)| {
                    let body = function.text.split_once('{').map_or("", |(_, body)| body);
                    let calls = |s: &&&str| calls(body, s, all[**s].is_method);
                    ["thread::spawn(", "thread::Builder::new()"]
                        .iter()
                        .any(|start| body.contains(start))
                        || starters.iter().any(|s| calls(&s))
                })
                .map(|(name, _)| &**name)
                .collect();
            if more.is_empty() {
                break;
            }
            starters.extend(more);
        }
        let mut count = 0;
        for (file, source) in &files {
            let declared = files["mod"].contains(&format!("\nmod {file};"));
            assert!(declared || file == "mod", "{dir}/{file} is not compiled");
            for (test, _) in functions(source).iter().filter(|(_, f)| f.is_test) {
                count += 1;
                let name = (&*format!("{dir}/{file}"), &**test);
                let listed = named.contains(&name);
                assert!(listed, "{name:?} is not in VERIFICATION.md");
                assert!(
                    starters.contains(&**test),
                    "{name:?} starts no second thread"
                );
            }
        }
        assert!(count >= 9, "{dir}: {count}");
    }
}

/// The list of loom's models has each of them, with the bound that it has in the source.
#[test]
fn the_list_of_models_is_that_of_the_source() {
    let Some(document) = document() else { return };
    let (_, list) = document.split_once("\n| model |").expect("the list");
    let mut listed: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for row in list.lines().filter(|row| row.starts_with("| `")) {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let name = cells[1].trim_matches('`');
        listed.entry(name).or_default().insert(cells[2]);
    }
    let mut compared = 0;
    for (file, source) in sources("src/rt/models") {
        for (test, function) in functions(&source).iter().filter(|(_, f)| f.is_test) {
            let name = format!("models/{file}::{test}");
            let Some(bounds) = listed.remove(&*name) else {
                panic!("{name} is not in the list of models");
            };
            // `explore("NAME", Some(3), ...`, or a helper that is given the name and 3.
            let text = function.text.split_whitespace().collect::<String>();
            let Some((_, rest)) = text.split_once(&format!("\"{test}\",")) else {
                continue;
            };
            let bound = match rest.split(['(', ',', ')']).next().unwrap() {
                "None" => "none",
                "Some" => rest[5..].split(')').next().unwrap(),
                number if number.parse::<usize>().is_ok() => number,
                _ => continue, // it is in the helper
            };
            compared += 1;
            assert_eq!(bounds, BTreeSet::from([bound]), "the bound of {name}");
        }
    }
    assert!(compared > 60, "{compared} bounds");
    assert!(listed.is_empty(), "no such models: {listed:?}");
}

/// The faults can be put in: their lines stand once in their files. And there are tests of
/// the names that are to notice them.
#[test]
fn every_fault_fits_the_source() {
    if document().is_none() {
        return;
    }
    let list = read("verify/mutants.txt");
    let (tests, models) = (sources("tests"), sources("src/rt/models"));
    let (mut name, mut file, mut old) = ("", "", Vec::new());
    let mut wrong = Vec::new();
    for line in list.lines() {
        let (mark, rest) = line.split_at_checked(2).unwrap_or((line, ""));
        match mark {
            "= " => (name, old) = (rest, Vec::new()),
            "@ " => file = rest,
            "- " | "-" => old.push(rest.trim()),
            "? " => {
                let text = read(file);
                let lines: Vec<&str> = text.lines().map(str::trim).collect();
                let places = lines.windows(old.len()).filter(|lines| *lines == old);
                let places = places.count();
                if places != 1 {
                    wrong.push(format!("{name}: its lines stand {places} times in {file}"));
                }
                let (target, filter) = rest.split_once(' ').expect("a filter");
                let there = match target {
                    "loom" => filter.rsplit_once("::").is_some_and(|(path, test)| {
                        let file = path.trim_start_matches("models::");
                        let source = models.get(file);
                        source.is_some_and(|s| functions(s).get(test).is_some_and(|f| f.is_test))
                    }),
                    "lib" if filter == "timers" => read("src/rt/timers.rs").contains("#[test]"),
                    "lib" => sources("src")
                        .values()
                        .any(|s| s.contains(&format!("fn {filter}"))),
                    // Any part of a name, or of a module's.
                    target => tests.iter().any(|(file, source)| {
                        let of_target = file.split('/').next() == Some(target);
                        let part = filter.rsplit("::").next().unwrap();
                        of_target && (source.contains(part) || file.contains(part))
                    }),
                };
                if !there {
                    wrong.push(format!("{name}: no test {rest}"));
                }
            }
            _ => {}
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn no_file_of_tests_and_no_public_type_is_left_out() {
    let Some(document) = document() else { return };
    let files: BTreeSet<&str> = names(&document)
        .iter()
        .map(|(file, _)| file.split('/').next().unwrap())
        .collect();
    for file in fs::read_dir(root().join("tests")).unwrap() {
        let path = file.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap();
        if path.extension().is_some_and(|e| e == "rs") && name != "verification" {
            let listed = files.contains(name);
            assert!(listed, "tests/{name}.rs is not in VERIFICATION.md");
        }
    }
    let quoted: BTreeSet<&str> = quoted(&document).collect();
    for source in [
        "src/lib.rs",
        "src/fs.rs",
        "src/net/mod.rs",
        "src/signal.rs",
        "src/sync/mod.rs",
        "src/testing.rs",
    ] {
        for line in read(source).lines() {
            let exported = line
                .strip_prefix("pub use ")
                .or(line.strip_prefix("pub struct "));
            let is_part = |c: char| c.is_alphanumeric() || c == '_';
            let words = exported.unwrap_or("").split(|c| !is_part(c));
            let is_type =
                |w: &&str| w.starts_with(char::is_uppercase) && w.contains(char::is_lowercase);
            for word in words.filter(is_type) {
                let listed = quoted.contains(word);
                assert!(listed, "`{word}` of {source} is not in VERIFICATION.md");
            }
        }
    }
}

/// `.ci/run` runs each kind, and cargo finds each file.
#[test]
fn every_kind_is_run() {
    if document().is_none() {
        return;
    }
    let ci = read(".ci/run");
    let body = |step: &str| {
        let begin = format!("step_{step}() {{\n");
        let (_, rest) = ci.split_once(&begin).expect(step);
        rest.split_once("\n}").unwrap().0.to_owned() + "\n"
    };
    let steps = ci.lines().find_map(|l| l.strip_prefix("all=")).unwrap();
    for step in [
        "test", "examples", "clients", "soak", "loom", "shuttle", "fuzz",
    ] {
        let listed = steps.split(['"', ' ']).any(|s| s == step);
        assert!(listed, "{step}");
    }
    assert!(body("test").contains("cargo test --all-features\n"));
    assert!(body("loom").contains("--lib models --"));
    assert!(body("shuttle").contains("--lib shuttles --"));
    for step in ["asan", "tsan", "valgrind"] {
        assert!(body(step).contains("tests_but "), "{step}");
    }
    let fuzz = body("fuzz");
    let targets = fuzz
        .lines()
        .find_map(|l| l.trim().strip_prefix("for target in "));
    let targets = targets.unwrap().trim_end_matches("; do");
    for target in fs::read_dir(root().join("fuzz/fuzz_targets")).unwrap() {
        let path = target.unwrap().path();
        let target = path.file_stem().unwrap().to_str().unwrap();
        assert!(targets.split(' ').any(|t| t == target), "{target}");
    }
    let manifest = read("Cargo.toml");
    assert!(!manifest.contains("autotests") && !manifest.contains("test = false"));
    // One test file and the benches have a `main` of their own.
    assert_eq!(manifest.matches("harness = false").count(), 3);
}

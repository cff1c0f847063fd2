//! The arrows between the files of `src`, as `rt/mod.rs` and the crate's design draw
//! them: reads what each file names of the crate and fails on any other arrow. Also
//! where `unsafe` may stand, and who may name std's and the model checkers' synchronisation.

use std::fs;
use std::path::{Path, PathBuf};

/// File (by its path in `src`, without `.rs`) and what it may use, by prefix.
/// `word`, `sync`, `clock` and the errors are leaves that all may use.
const ARROWS: &[(&str, &[&str])] = &[
    ("rt/word", &[]),
    ("rt/sync", &[]),
    ("rt/clock", &[]),
    ("rt/flavour", &[]),
    ("rt/report", &[]),
    ("rt/spin", &[]),
    ("rt/stack", &[]),
    ("rt/stack/slabs", &["rt/stack"]),
    ("rt/stack/overflow", &["rt/stack"]),
    ("rt/timers", &[]),
    ("rt/coroutine", &["rt/stack"]),
    ("rt/inbox", &[]),
    ("rt/poller", &["rt/inbox", "rt/coroutine"]),
    ("rt/task", &["rt/timers", "rt/coroutine"]),
    ("rt/task/locals", &[]),
    ("rt/watch", &["rt/inbox", "rt/task"]),
    // The records of births are the hub's, whom it tells of them.
    ("rt/trace", &["rt/task", "rt/hub/Birth"]),
    (
        "rt/hub",
        &[
            "rt/task",
            "rt/inbox",
            "rt/timers",
            "rt/coroutine",
            "rt/stack",
            "rt/watch",
            "rt/deadlock",
            "rt/trace",
        ],
    ),
    (
        "rt/hub/look",
        &[
            "rt/hub",
            "rt/task",
            "rt/timers",
            "rt/coroutine",
            "rt/stack",
            "rt/watch",
        ],
    ),
    (
        "rt/hub/record",
        &["rt/hub", "rt/task", "rt/inbox", "rt/timers", "rt/coroutine"],
    ),
    ("rt/deadlock", &["rt/watch"]),
    ("rt/hub/idle", &["rt/hub", "rt/watch", "rt/deadlock"]),
    (
        "rt/hub/outside",
        &["rt/hub", "rt/inbox", "rt/poller", "rt/coroutine"],
    ),
    (
        "rt/hub/turns",
        &[
            "rt/hub",
            "rt/inbox",
            "rt/timers",
            "rt/coroutine",
            "rt/trace",
        ],
    ),
    (
        "rt/hub/greenlets",
        &["rt/hub", "rt/task", "rt/coroutine", "rt/stack", "rt/trace"],
    ),
    ("rt/hub/kept", &[]),
    ("rt/hub/stacks", &["rt/hub", "rt/coroutine", "rt/stack"]),
    (
        "rt/hub/end",
        &[
            "rt/hub",
            "rt/task",
            "rt/inbox",
            "rt/coroutine",
            "rt/stack",
            "rt/watch",
        ],
    ),
    (
        "rt/park",
        &["rt/hub", "rt/task", "rt/inbox", "rt/coroutine"],
    ),
    ("rt/park/wakes", &["rt/park", "rt/hub", "rt/inbox"]),
    (
        "rt/park/thread",
        &["rt/task", "rt/inbox", "rt/watch", "rt/deadlock"],
    ),
    (
        "rt/park/caller",
        &["rt/park", "rt/hub", "rt/task", "rt/poller"],
    ),
    ("rt/wait", &["rt/park", "rt/hub", "rt/task", "rt/coroutine"]),
    ("rt/wait/list", &["rt/park", "rt/inbox", "rt/coroutine"]),
    (
        "rt/wait/monitor",
        &["rt/wait", "rt/park", "rt/hub", "rt/task", "rt/inbox"],
    ),
    ("rt/wait/turn", &["rt/wait", "rt/park", "rt/hub", "rt/task"]),
    ("rt/wait/any", &["rt/wait", "rt/park", "rt/task"]),
    ("rt/wait/latch", &["rt/wait", "rt/task"]),
    ("rt/wait/pair", &["rt/wait", "rt/hub", "rt/coroutine"]),
    (
        "rt/wait/select",
        &["rt/wait", "rt/park", "rt/inbox", "rt/task"],
    ),
    ("rt/wait/raw", &[]),
    ("rt/wait/future", &["rt/wait", "rt/inbox"]),
    (
        "rt/wait/side",
        &["rt/wait", "rt/park", "rt/hub", "rt/task", "rt/coroutine"],
    ),
    (
        "rt/readiness",
        &["rt/wait", "rt/park", "rt/poller", "rt/task"],
    ),
    ("error", &["rt/coroutine", "statistics", "unjoined"]),
    ("unjoined", &["rt", "statistics"]),
    ("current", &["rt"]),
    ("start", &["rt", "statistics"]),
    ("greenlet", &["rt", "start"]),
    (
        "hub_handle",
        &["rt", "greenlet", "run", "shield", "dump", "statistics"],
    ),
    ("statistics", &["rt"]),
    ("watchdog", &["rt", "statistics"]),
    ("dump", &["rt", "statistics", "group"]),
    ("dump/text", &["dump", "statistics"]),
    ("generator", &["rt"]),
    ("greenlet/switch", &["rt", "greenlet"]),
    ("join", &["rt", "greenlet"]),
    ("scope", &["rt", "start", "greenlet", "join"]),
    ("scope/apart", &["scope", "start", "greenlet"]),
    ("timeout", &["rt"]),
    ("thread_pool", &["rt", "start", "statistics"]),
    ("fs", &["sync", "ThreadPool"]),
    ("local", &["rt"]),
    ("testing", &["rt", "scope"]),
    ("select", &["rt", "error", "greenlet", "sync/MutexGuard"]),
    ("as_completed", &["rt", "sync/Queue", "waitable"]),
    ("future", &["rt", "error", "greenlet", "sync", "waitable"]),
    (
        "future/groups",
        &["rt", "greenlet", "group", "pool", "future"],
    ),
    (
        "waitable",
        &[
            "rt",
            "greenlet",
            "sync",
            "unsync",
            "select",
            "ScopedGreenlet",
        ],
    ),
    // Made of an event and links.
    (
        "group",
        &[
            "rt",
            "greenlet",
            "current/current",
            "current/checkpoint",
            "sync/Event",
        ],
    ),
    ("group/listed", &["rt", "group"]),
    // Made of a group, a semaphore and a queue.
    (
        "pool",
        &[
            "rt",
            "greenlet",
            "statistics",
            "start",
            "group",
            "join",
            "current/current",
            "current/checkpoint",
            "sync",
        ],
    ),
    ("sync/statistics", &[]),
    ("sync/errors", &["sync"]),
    // `sync/Flavour` is what differs in `unsync`, which has these files too.
    ("sync/event", &["rt", "sync/Flavour", "sync/statistics"]),
    (
        "sync/async_result",
        &["rt", "sync/Flavour", "sync/errors", "sync/statistics"],
    ),
    (
        "sync/semaphore",
        &[
            "rt",
            "select",
            "sync/Flavour",
            "sync/errors",
            "sync/statistics",
        ],
    ),
    ("sync/barrier", &["rt", "sync/statistics"]),
    ("sync/notify", &["rt", "sync/statistics"]),
    ("sync/latch", &["rt", "sync/statistics"]),
    // Made of a latch.
    ("sync/wait_group", &["rt", "sync/latch", "sync/statistics"]),
    ("sync/turns", &["rt"]),
    ("sync/once_cell", &["rt", "sync/turns", "sync/statistics"]),
    // Made of a cell.
    ("sync/once", &["rt", "sync/once_cell", "sync/statistics"]),
    ("sync/lazy", &["rt", "sync/once_cell", "sync/statistics"]),
    ("sync/mutex", &["rt", "select", "sync/statistics"]),
    // What the caller's own lock means is said in one place.
    ("sync/rwlock", &["rt", "sync/mutex", "sync/statistics"]),
    // Made of a mutex.
    ("sync/reentrant", &["rt", "sync/mutex"]),
    // The locks are lock_api's types: theirs is a trait.
    (
        "sync/lock_statistics",
        &[
            "rt",
            "sync/mutex",
            "sync/rwlock",
            "sync/reentrant",
            "sync/statistics",
        ],
    ),
    ("sync/condvar", &["rt", "sync/mutex", "sync/statistics"]),
    (
        "sync/queue",
        &[
            "rt",
            "select",
            "sync/Flavour",
            "sync/errors",
            "sync/queue",
            "sync/statistics",
        ],
    ),
    ("sync/queue/core", &["rt", "sync/queue", "sync/statistics"]),
    ("sync/queue/arms", &["rt", "sync/queue"]),
    ("sync/queue/futures", &["rt", "sync/queue"]),
    ("sync/queue/slot", &["rt", "sync/queue"]),
    ("sync/queue/many", &["rt", "sync/queue"]),
    // Of three of them.
    (
        "sync/futures",
        &["rt", "sync/event", "sync/async_result", "sync/semaphore"],
    ),
    ("sync/handle", &[]),
    // The value is behind a lock.
    (
        "sync/watch",
        &[
            "rt",
            "select",
            "sync/rwlock",
            "sync/handle",
            "sync/statistics",
        ],
    ),
    (
        "sync/broadcast",
        &["rt", "select", "sync/handle", "sync/statistics"],
    ),
    // Made of a queue.
    (
        "sync/channel",
        &["rt", "select", "sync/errors", "sync/queue"],
    ),
    ("unsync", &["rt/flavour", "sync"]),
    ("net/io", &["rt"]),
    ("net/addr", &["ThreadPool"]),
    ("net/tcp", &["rt", "net/io", "net/addr"]),
    ("net/udp", &["rt", "net/io", "net/addr"]),
    ("net/unix", &["rt", "net/io"]),
    // Made of a scope and an event.
    (
        "net/server",
        &["rt", "greenlet", "scope", "now", "net/addr", "net/tcp"],
    ),
    (
        "net/server/run",
        &[
            "rt",
            "greenlet",
            "scope",
            "now",
            "yield_now",
            "sync/Event",
            "net/addr",
            "net/server/Stopped",
            "net/server/listener",
        ],
    ),
    (
        "net/server/listener",
        &["net/tcp", "net/unix", "net/server"],
    ),
    ("signal", &["rt", "now", "net/io"]),
    // They only say what there is.
    ("net/mod", &["net"]),
    ("lib", &[""]),
    ("rt/mod", &[""]),
    ("sync/mod", &["sync"]),
];

const LEAVES: &[&str] = &[
    "rt/word",
    "rt/sync",
    "rt/clock",
    "rt/flavour",
    "rt/report",
    "rt/spin",
    "error",
];

/// Files that may contain `unsafe`.
const UNSAFE: &[&str] = &[
    "rt/wait",
    "rt/wait/any",
    "rt/wait/future",
    "rt/wait/latch",
    "rt/wait/list",
    "rt/wait/monitor",
    "rt/wait/pair",
    "rt/wait/raw",
    "rt/wait/select",
    "rt/wait/side",
    "rt/wait/turn",
    "rt/coroutine",
    "rt/stack",
    // A handler of signals.
    "rt/stack/overflow",
];

/// Files that may contain `unsafe impl`s of lock_api's traits and their `unsafe fn`s, but no
/// block: they promise something, and do nothing that is unsafe.
const PROMISES: &[&str] = &[
    "rt/flavour",
    "sync/mutex",
    "sync/rwlock",
    "sync/reentrant",
    "sync/condvar",
];

fn files(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
}

/// Each file's name and its text without comments and without in-file tests.
fn sources() -> Vec<(String, String)> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    files(&src, &mut found);
    found
        .into_iter()
        .map(|path| {
            let name = path.strip_prefix(&src).unwrap().with_extension("");
            let text = fs::read_to_string(&path).unwrap();
            let text = text.split("#[cfg(test)]\nmod tests").next().unwrap();
            let code: Vec<_> = text
                .lines()
                .map(|line| line.split("//").next().unwrap())
                .collect();
            (name.to_str().unwrap().replace('\\', "/"), code.join("\n"))
        })
        // The models of loom and of shuttle are tests.
        .filter(|(name, _)| !name.starts_with("rt/models") && !name.starts_with("rt/shuttles"))
        .collect()
}

/// The modules that a file names by `crate::`, `super::` or `self::` paths.
fn named(file: &str, code: &str) -> Vec<String> {
    let parent = file.rsplit_once('/').map_or("", |(dir, _)| dir);
    let mut found = Vec::new();
    for (root, base) in [("crate::", ""), ("super::", parent), ("self::", file)] {
        for (at, _) in code.match_indices(root) {
            let before = code[..at].chars().next_back();
            // Nor `$crate`, which is what the users of a macro name.
            if before.is_some_and(|c| c.is_alphanumeric() || c == ':' || c == '$') {
                continue;
            }
            let rest: String = code[at + root.len()..]
                .chars()
                .take_while(|c| c.is_alphanumeric() || "_:".contains(*c))
                .collect();
            let path = rest.replace("::", "/");
            found.push(if base.is_empty() {
                path
            } else {
                format!("{base}/{path}")
            });
        }
    }
    found
}

#[test]
fn every_arrow_is_drawn() {
    let mut wrong = Vec::new();
    for (file, code) in sources() {
        let Some((_, allowed)) = ARROWS.iter().find(|(name, _)| *name == file) else {
            wrong.push(format!("{file} has no line in ARROWS"));
            continue;
        };
        for target in named(&file, &code) {
            let within = |prefix: &&str| {
                target.strip_prefix(*prefix).is_some_and(|rest| {
                    prefix.is_empty() || rest.is_empty() || rest.starts_with('/')
                })
            };
            // A macro or type of the parent's own file.
            let own = target.starts_with(&file) || target.ends_with('/');
            if !(own || allowed.iter().any(&within) || LEAVES.iter().any(within)) {
                wrong.push(format!("{file} -> {target}"));
            }
        }
    }
    assert!(wrong.is_empty(), "arrows that are not drawn: {wrong:#?}");
}

#[test]
fn every_line_of_arrows_has_a_file() {
    let sources = sources();
    for (file, _) in ARROWS {
        assert!(
            sources.iter().any(|(name, _)| name == file),
            "no src/{file}.rs"
        );
    }
}

#[test]
fn unsafe_stands_where_it_may() {
    for (file, code) in sources() {
        let lines: Vec<_> = code
            .lines()
            .filter(|line| {
                [
                    "unsafe {",
                    "unsafe fn",
                    "unsafe impl",
                    "unsafe trait",
                    "unsafe extern",
                ]
                .iter()
                .any(|form| line.contains(form))
            })
            .collect();
        let promises = lines.iter().all(|line| {
            line.starts_with("unsafe impl lock_api::") || line.starts_with("    unsafe fn ")
        });
        assert!(
            lines.is_empty() || UNSAFE.contains(&&*file) || promises && PROMISES.contains(&&*file),
            "{file}: {lines:#?}"
        );
    }
}

/// Only `rt/sync` names parking_lot, loom, shuttle and std's atomics and locks below the
/// public layer. `rt/hub` and `rt/task` count ids with std's, `rt/deadlock` has a setting, `rt/stack`
/// has the process's slabs and a handler of signals, `rt/watch` shows what runs,
/// `rt/inbox` names records, on purpose: they order nothing, and loom must not explore them.
#[test]
fn one_file_names_the_synchronisation() {
    for (file, code) in sources() {
        if file == "rt/sync" {
            continue;
        }
        // In a model it may be another thread that panics.
        assert!(!code.contains("thread::panicking"), "{file}");
        if !file.starts_with("rt/") {
            continue;
        }
        assert!(
            ["parking_lot::", "loom::", "shuttle::"]
                .iter()
                .all(|checker| !code.contains(checker)),
            "{file}"
        );
        assert!(
            [
                "rt/deadlock",
                "rt/hub",
                "rt/inbox",
                "rt/stack",
                "rt/stack/slabs",
                "rt/stack/overflow",
                "rt/task",
                "rt/task/locals",
                "rt/watch"
            ]
            .contains(&&*file)
                || !code.contains("std::sync::atomic") && !code.contains("std::sync::Mutex"),
            "{file}"
        );
    }
}

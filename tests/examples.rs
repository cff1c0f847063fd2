//! The examples, run as a user runs them: as processes, on real files.
//!
//! What `pipeline` counts is compared with known numbers, with a count of this file's own,
//! and with `wc` where there is one.

mod built;

use built::example;
use std::env;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

#[test]
fn the_tour_prints_what_tour_out_says() {
    prints_what_its_file_says("tour");
}

#[test]
fn what_always_prints_the_same_does() {
    for name in ["rate_limit", "fan_in_select", "bridge_tokio"] {
        prints_what_its_file_says(name);
    }
}

fn prints_what_its_file_says(name: &str) {
    let said = run(Command::new(example(name)));
    let expected = fs::read_to_string(root().join(format!("examples/{name}.out"))).unwrap();
    assert_eq!(text(&said.stdout), expected);
    assert_eq!(text(&said.stderr), "");
    assert!(said.status.success());
}

#[test]
fn the_rate_in_real_time() {
    let mut real = Command::new(example("rate_limit"));
    real.arg("--real");
    let real = run(real);
    // The first five at once, the others after their time. They may be late.
    let at = |line: &str| line.split_once(" ms").unwrap().0.trim().parse().unwrap();
    let times: Vec<usize> = text(&real.stdout).lines().map(at).collect();
    assert_eq!(times.len(), 24);
    assert!(
        times
            .iter()
            .enumerate()
            .all(|(i, &t)| t >= i.saturating_sub(4) * 100)
    );
}

#[test]
fn the_files_of_a_directory_are_summed_up() {
    fn sizes(directory: &Path) -> Vec<u64> {
        let entries = fs::read_dir(directory).unwrap().map(Result::unwrap);
        entries
            .flat_map(|entry| match entry.file_type().unwrap() {
                kind if kind.is_dir() => sizes(&entry.path()),
                _ => vec![entry.metadata().unwrap().len()],
            })
            .collect()
    }
    let directory = root().join("src");
    let sizes = sizes(&directory);
    let mut map = Command::new(example("map_files"));
    map.arg(&directory);
    let said = run(map);
    let first = format!("{} files, {} bytes", sizes.len(), sizes.iter().sum::<u64>());
    assert_eq!(text(&said.stdout).lines().next().unwrap(), first);
    assert_eq!(text(&said.stdout).lines().count(), 6);
    assert!(said.status.success());

    let mut nothing = Command::new(example("map_files"));
    nothing.arg(directory.join("no such"));
    let nothing = run(nothing);
    assert_eq!(nothing.status.code(), Some(1));
    assert_eq!(text(&nothing.stdout), "0 files, 0 bytes\n");
    assert!(text(&nothing.stderr).contains("no such"));
}

#[test]
fn the_generators_print_what_generators_out_says() {
    let generators = run(Command::new(example("generators")));
    let expected = fs::read_to_string(root().join("examples/generators.out")).unwrap();
    assert_eq!(text(&generators.stdout), expected);
    assert_eq!(text(&generators.stderr), "");
    assert!(generators.status.success());
}

/// Its figures are the machine's; how many there are is not.
#[cfg(target_os = "linux")]
#[test]
fn the_million_says_what_each_costs() {
    let mut million = Command::new(example("million"));
    million.args(["3000", "128"]);
    let said = run(million);
    assert_eq!(text(&said.stderr), "");
    assert!(said.status.success());
    let out = text(&said.stdout);
    let lines: Vec<_> = out.lines().collect();
    assert_eq!(lines[0], "3000 greenlets with stacks of 128 KiB; each:");
    let begins: Vec<_> = lines[1..]
        .iter()
        .map(|line| line.split(' ').next().unwrap())
        .collect();
    assert_eq!(begins, ["unstarted", "parked", "woken", "ended"]);
    let bytes = |line: &str| -> usize {
        let (_, rest) = line.split_once("; ").unwrap();
        rest.split(' ').next().unwrap().parse().unwrap()
    };
    let (unstarted, parked) = (bytes(lines[1]), bytes(lines[2]));
    // A page at least, and not the whole stack.
    assert!(unstarted < 4096, "{lines:#?}");
    assert!((4096..64 << 10).contains(&parked), "{lines:#?}");

    for wrong in [&["x"][..], &["0"], &["1", "64", "2"]] {
        let mut million = Command::new(example("million"));
        million.args(wrong);
        let said = run(million);
        assert_eq!(said.status.code(), Some(2));
        assert!(text(&said.stderr).starts_with("usage: million"));
    }
}

#[test]
fn a_round_of_the_soak_sums_up_in_its_last_line() {
    let soak = soak(&["--seconds", "0", "--seed", "18446744073709551615"]);
    assert_eq!(text(&soak.stderr), "");
    let said = text(&soak.stdout);
    let last = said.lines().last().unwrap();
    assert!(last.starts_with("soak: 1 rounds, ") && last.ends_with(", ledger ok"));
    assert!(soak.status.success());
}

#[test]
fn the_soak_explains_its_arguments() {
    let help = soak(&["--seed", "1", "--help"]);
    assert!(text(&help.stdout).contains("--seconds N") && help.status.success());
    for (wrong, why) in [
        (&["--sec", "1"][..], "unknown argument '--sec'"),
        (&["7"], "unknown argument '7'"),
        (&["--seed"], "--seed needs a number"),
        (&["--seconds", "-1"], "--seconds needs a number, not '-1'"),
        (&["--seconds", "1.5"], "--seconds needs a number, not '1.5'"),
        (
            &["--seconds", "18446744073709551615"],
            "more than the clock has",
        ),
    ] {
        let soak = soak(wrong);
        assert_eq!(soak.status.code(), Some(2), "{wrong:?}");
        let message = text(&soak.stderr);
        assert!(
            message.contains(why) && message.contains("usage: soak"),
            "{message}"
        );
        assert_eq!(text(&soak.stdout), "");
    }
}

fn soak(args: &[&str]) -> Output {
    let mut command = Command::new(example("soak"));
    command.args(args);
    run(command)
}

/// `echo_server`, `echo_load` and `chat`. Elsewhere the last line has no memory in it, and one
/// address for all.
#[cfg(all(target_os = "linux", feature = "net"))]
mod servers {
    use super::*;
    use std::io::{BufRead, BufReader, Write};
    use std::net::{TcpListener, TcpStream};
    use std::process::Child;

    /// A server and the address that it says it has bound.
    struct Server {
        child: Child,
        address: String,
    }

    impl Server {
        fn start(name: &str) -> Server {
            let mut command = Command::new(example(name));
            command.arg("127.0.0.1:0").stdin(Stdio::null());
            let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
            let mut address = String::new();
            let mut out = BufReader::new(child.stdout.take().unwrap());
            out.read_line(&mut address).unwrap();
            let address = address.trim().to_owned();
            Server { child, address }
        }
    }

    impl Drop for Server {
        fn drop(&mut self) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }

    /// Each with a client that waits to be served, so that there is a connection to be seen.
    #[cfg(feature = "signal")]
    #[test]
    fn servers_say_what_they_do_at_sigusr1() {
        use std::net::TcpStream;

        for name in ["echo_server", "chat", "http_server"] {
            let mut command = Command::new(example(name));
            command.arg("127.0.0.1:0").stdin(Stdio::null());
            command.stdout(Stdio::piped()).stderr(Stdio::piped());
            let mut child = command.spawn().unwrap();
            let mut address = String::new();
            let mut out = BufReader::new(child.stdout.take().unwrap());
            out.read_line(&mut address).unwrap();
            let said = BufReader::new(child.stderr.take().unwrap());
            let address = address.trim().to_owned();
            let server = Server { child, address };
            let _client = TcpStream::connect(&server.address).unwrap();
            // Until the connection is served and the greenlet that takes the dump is there.
            let mut lines = said.lines().map(Result::unwrap);
            let (mut has_dumper, mut has_connection) = (false, false);
            while !(has_dumper && has_connection) {
                thread::sleep(Duration::from_millis(50));
                // SAFETY: no memory is involved, and the child is not waited for yet.
                let sent = unsafe { libc::kill(server.child.id() as i32, libc::SIGUSR1) };
                assert_eq!(sent, 0);
                let head = lines.next().unwrap_or_else(|| panic!("{name} has ended"));
                assert!(head.starts_with("hub of thread 'main': "), "{head}");
                let number = |part: &str| part.split(' ').next().unwrap().parse::<usize>();
                let greenlets = number(head.split("': ").nth(1).unwrap()).unwrap();
                let all: Vec<String> = lines.by_ref().take(greenlets + 1).collect();
                assert!(all[0].starts_with("  root: waits in "), "{all:?}");
                has_dumper = all
                    .iter()
                    .any(|line| line.contains(": running; spawned at "));
                has_connection = all.iter().any(|line| line.contains("TcpStream::read at "));
            }
        }
    }

    fn load(address: &str, connections: u32, seconds: u32) -> Command {
        let mut load = Command::new(example("echo_load"));
        load.args([address, "--connections", &connections.to_string()]);
        load.args(["--seconds", &seconds.to_string()]);
        load
    }

    /// The numbers of the last line: requests in a second, p50, p99, p99.9, errors, MiB.
    #[track_caller]
    fn result(output: &Output) -> [f64; 6] {
        let said = text(&output.stdout);
        let last = said.lines().last().unwrap_or_else(|| panic!("{output:?}"));
        let words: Vec<_> = last.split(' ').collect();
        let form = "req/s _ p50 _ ms, p99 _ ms, p99.9 _ ms, errors _ RSS _ MiB";
        let mut found = Vec::new();
        assert_eq!(words.len(), form.split(' ').count(), "{last}");
        for (word, wanted) in words.into_iter().zip(form.split(' ')) {
            match wanted {
                "_" => found.push(word.trim_end_matches(',').parse().expect(last)),
                _ => assert_eq!(word, wanted, "{last}"),
            }
        }
        found.try_into().unwrap()
    }

    #[test]
    fn the_load_sums_up_in_its_last_line() {
        let server = Server::start("echo_server");
        let output = run(load(&server.address, 50, 1));
        assert_eq!(text(&output.stderr), "");
        assert_eq!(output.status.code(), Some(0));
        let [rate, p50, p99, p999, errors, rss] = result(&output);
        assert!(rate >= 50.0 && rss > 0.0, "{output:?}");
        assert!(0.0 < p50 && p50 <= p99 && p99 <= p999, "{output:?}");
        assert!(p999 < 30_000.0, "{output:?}");
        assert_eq!(errors, 0.0);
    }

    #[test]
    fn without_a_server_the_load_fails() {
        // No other test uses this one, so nobody listens on a port that was just given back.
        let listener = TcpListener::bind("127.0.0.77:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        drop(listener);
        let output = run(load(&address, 20, 1));
        assert_eq!(output.status.code(), Some(1));
        let why = text(&output.stderr);
        assert!(why.contains(&address) && why.lines().count() == 1, "{why}");
        assert_eq!(result(&output)[4], 20.0);
        // One that goes away meanwhile.
        let server = Server::start("echo_server");
        let mut command = load(&server.address, 20, 30);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let running = command.spawn().unwrap();
        thread::sleep(Duration::from_millis(500));
        drop(server);
        let output = running.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        assert_eq!(result(&output)[4], 20.0);
    }

    /// A server that answers with something else is not measured, but found out.
    #[test]
    fn a_wrong_answer_is_an_error() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream.write_all(&[b'x'; 1000]).unwrap();
            // Until the client is gone.
            let _ = BufReader::new(&stream).read_line(&mut String::new());
            let _ = std::io::copy(&mut &stream, &mut std::io::sink());
        });
        let output = run(load(&address, 1, 1));
        assert_eq!(output.status.code(), Some(1));
        let why = text(&output.stderr);
        assert!(why.contains("another line came back"), "{why}");
        server.join().unwrap();
    }

    #[test]
    fn the_load_explains_its_arguments_and_limits() {
        for (args, code, why) in [
            (&[][..], 2, "which address?"),
            (&["a:1", "b:2"], 2, "unknown argument 'b:2'"),
            (&["--second", "1"], 2, "unknown argument '--second'"),
            (&["a:1", "--connections"], 2, "--connections needs a number"),
            (&["a:1", "--connections", "0"], 2, "from 1 on, not '0'"),
            (&["a:1", "--seconds", "x"], 2, "from 1 on, not 'x'"),
        ] {
            let mut command = Command::new(example("echo_load"));
            command.args(args);
            let output = run(command);
            assert_eq!(output.status.code(), Some(code), "{args:?}");
            let said = text(&output.stderr);
            assert!(said.contains(why) && said.contains("usage: "), "{said}");
        }
        // The hard limit, which nobody else can raise.
        let line = format!(
            "ulimit -n 60; '{}' 127.0.0.1:1 --connections 50",
            example("echo_load").display()
        );
        let mut command = Command::new("sh");
        command.args(["-c", &line]);
        let output = run(command);
        assert_eq!(output.status.code(), Some(1));
        let said = text(&output.stderr);
        assert!(
            said.contains("66 open files are needed and 60 allowed"),
            "{said}"
        );
        let mut command = Command::new(example("echo_server"));
        assert_eq!(run(command).status.code(), Some(2));
        command = Command::new(example("echo_server"));
        command.arg("127.0.0.1:x");
        let output = run(command);
        assert_eq!(output.status.code(), Some(1));
        assert!(text(&output.stderr).starts_with("echo_server: "));
    }

    struct Client(BufReader<TcpStream>);

    impl Client {
        fn new(server: &Server, name: &str) -> Client {
            let stream = TcpStream::connect(&server.address).unwrap();
            let limit = Some(Duration::from_secs(30));
            stream.set_read_timeout(limit).unwrap();
            let mut client = Client(BufReader::new(stream));
            client.say(name);
            client
        }

        fn say(&mut self, line: &str) {
            let line = format!("{line}\n");
            self.0.get_mut().write_all(line.as_bytes()).unwrap();
        }

        #[track_caller]
        fn hears(&mut self, line: &str) {
            let mut heard = String::new();
            self.0.read_line(&mut heard).unwrap();
            assert_eq!(heard.trim_end(), line);
        }
    }

    #[test]
    fn a_chat() {
        let mut server = Server::start("chat");
        let mut ann = Client::new(&server, "ann");
        ann.hears("* ann is here");
        let mut bob = Client::new(&server, "bob");
        for client in [&mut ann, &mut bob] {
            client.hears("* bob is here");
        }
        ann.say("hello");
        for client in [&mut ann, &mut bob] {
            client.hears("ann: hello");
        }
        let mut thief = Client::new(&server, "bob");
        thief.hears("* somebody has that name");
        thief.hears("");
        let mut eve = Client::new(&server, "eve");
        for client in [&mut ann, &mut bob, &mut eve] {
            client.hears("* eve is here");
        }
        // What is said in a room stays there.
        bob.say("/join attic");
        for client in [&mut ann, &mut bob, &mut eve] {
            client.hears("* bob goes to attic");
        }
        bob.hears("* bob is here");
        eve.say("/join attic");
        for client in [&mut ann, &mut eve] {
            client.hears("* eve goes to attic");
        }
        for client in [&mut bob, &mut eve] {
            client.hears("* eve is here");
        }
        eve.say("psst");
        ann.say("alone");
        for client in [&mut bob, &mut eve] {
            client.hears("eve: psst");
        }
        ann.hears("ann: alone");
        ann.say("/who");
        ann.hears("ann, bob, eve");
        // A client that leaves, one that is thrown out, one that is cut off.
        ann.say("/kick nobody");
        ann.hears("* nobody has that name");
        ann.say("/kick eve");
        eve.hears("* bye");
        eve.hears("");
        bob.hears("* eve left");
        let mut eve = Client::new(&server, "eve");
        eve.hears("* eve is here");
        ann.hears("* eve is here");
        drop(eve);
        ann.hears("* eve left");
        ann.say("/quit");
        ann.hears("* bye");
        ann.hears("");
        bob.say("/shutdown");
        bob.hears("* bye");
        bob.hears("");
        let start = Instant::now();
        while server.child.try_wait().unwrap().is_none() {
            assert!(start.elapsed() < Duration::from_secs(30), "it hangs");
            thread::sleep(Duration::from_millis(2));
        }
        assert!(server.child.wait().unwrap().success());
    }

    /// A line without an end was kept whole, however long.
    #[test]
    fn a_chat_with_one_who_never_ends_a_line() {
        let server = Server::start("chat");
        let mut ann = Client::new(&server, "ann");
        ann.hears("* ann is here");
        ann.0.get_mut().write_all(&[b'x'; 2500]).unwrap();
        for _ in 0..2 {
            ann.hears(&format!("ann: {}", "x".repeat(1000)));
        }
        ann.say("");
        ann.hears(&format!("ann: {}", "x".repeat(500)));
    }
}

#[test]
fn the_crates_own_files() {
    let mut files = Vec::new();
    for folder in ["src", "examples", "tests"] {
        collect(&root().join(folder), &mut files);
    }
    files.push(root().join("README.md"));
    assert!(files.len() > 20, "{files:?}");
    check(&files);
}

#[test]
fn files_that_do_not_change_are_counted_in_any_order() {
    let dir = Dir::new("order");
    let files: Vec<_> = (0..50u32)
        .map(|i| {
            dir.file(
                &format!("{i}"),
                "word and word\n".repeat(i as usize * 40).as_bytes(),
            )
        })
        .collect();
    let words = 3 * 40 * (0..50).sum::<u64>();
    assert_eq!(count(&files), words);
    let backwards: Vec<_> = files.into_iter().rev().collect();
    assert_eq!(count(&backwards), words);
}

#[test]
fn odd_white_space() {
    let dir = Dir::new("odd");
    let cases: &[(&str, u64)] = &[
        ("", 0),
        ("\n", 0),
        (" \t\r\n\x0b\x0c \n\n", 0),
        ("one", 1),
        ("one\n", 1),
        ("\n\n one\ttwo\x0bthree\x0cfour\rfive\r\nsix  ", 6),
        ("no newline at the end", 5),
        ("one\n\ntwo\n\n\nthree", 3),
    ];
    let mut files = Vec::new();
    for (i, (content, words)) in cases.iter().enumerate() {
        let file = dir.file(&i.to_string(), content.as_bytes());
        for locale in ["C", "C.UTF-8"] {
            assert_eq!(count_in(locale, [&file]), *words, "{content:?}");
        }
        files.push(file);
    }
    check(&files);
}

/// What the example says of these; `wc` is not asked, for its versions differ.
#[test]
fn what_is_not_ascii_or_not_printable() {
    let dir = Dir::new("wide");
    let cases: &[(&[u8], u64, u64)] = &[
        // content, words in the C locale, words in UTF-8
        ("gr\u{fc}n \u{4e2d}\u{6587} \u{1f980}\n".as_bytes(), 1, 3),
        ("one \u{2014} two".as_bytes(), 2, 3),
        ("one\u{a0}two\u{2003}three\u{3000}four".as_bytes(), 1, 4),
        (b"a\0b \x1b[1mbold\x1b[0m \x1b \0", 2, 2),
        (b"broken\xff\xfeutf8 \xe2\x82 end", 2, 2),
    ];
    for (content, c, utf8) in cases {
        let file = dir.file("file", content);
        assert_eq!(count_in("C", [&file]), *c, "{}", content.escape_ascii());
        assert_eq!(
            count_in("C.UTF-8", [&file]),
            *utf8,
            "{}",
            content.escape_ascii()
        );
        assert_eq!(
            count_in("de_DE.utf8", [&file]),
            *utf8,
            "{}",
            content.escape_ascii()
        );
    }
}

#[test]
fn words_at_the_seams() {
    // The reader takes lines until it has 64 KiB: put ends of words, of lines and of the file
    // just before, on and after that.
    let dir = Dir::new("seams");
    for around in [64 * 1024, 128 * 1024] {
        for size in around - 3..=around + 3 {
            for end in ["", "\n", " ", "\nx", " x\n", "w w\n\n"] {
                let mut content = "a b\n".repeat(size / 4 + 1);
                content.truncate(size);
                content.push_str(end);
                let file = dir.file("seam", content.as_bytes());
                assert_eq!(
                    count(&[&file]),
                    by_hand(content.as_bytes()),
                    "{size} {end:?}"
                );
            }
        }
    }
    for end in ["", "\n", " x"] {
        let content = "long".repeat(16 * 1024) + end;
        let words = if end == " x" { 2 } else { 1 };
        assert_eq!(count(&[dir.file("word", content.as_bytes())]), words);
    }
}

#[test]
fn long_lines() {
    let dir = Dir::new("long");
    let word = dir.file("word", "x".repeat(1 << 20).as_bytes());
    let line = dir.file("line", "word ".repeat(200_000).as_bytes());
    let both = dir.file(
        "both",
        format!("{}\n{}\n", "y".repeat(1 << 20), "z ".repeat(1 << 19)).as_bytes(),
    );
    assert_eq!(count(&[&word]), 1);
    assert_eq!(count(&[&line]), 200_000);
    assert_eq!(count(&[&both]), 1 + (1 << 19));
    check(&[word, line, both]);
}

#[test]
fn many_lines() {
    let dir = Dir::new("many");
    let content: String = (0..200_000)
        .map(|i| format!("line {i} of many\n"))
        .collect();
    let file = dir.file("many", content.as_bytes());
    assert_eq!(count(&[&file]), 800_000);
    check(&[file.clone(), file]);
}

#[test]
fn the_first_line_is_the_total_and_the_workers_add_up_to_it() {
    let dir = Dir::new("lines");
    let file = dir.file("file", "one two\nthree\n".repeat(50_000).as_bytes());
    let output = pipeline("C", [&file, &file]);
    assert!(output.status.success());
    let stdout = text(&output.stdout);
    let lines: Vec<&str> = stdout.lines().collect();
    assert_eq!(lines[0], "300000");
    assert_eq!(
        lines[1],
        "all workers: 300000 words, 200000 lines, 1400000 bytes"
    );
    let workers: Vec<Vec<u64>> = lines[2..].iter().map(|line| numbers(line)).collect();
    assert_eq!(workers.len(), 4);
    for (column, total) in [(1, 300_000), (2, 200_000), (3, 1_400_000)] {
        assert_eq!(
            workers.iter().map(|worker| worker[column]).sum::<u64>(),
            total
        );
    }
}

#[test]
fn without_files_it_says_how_it_is_used() {
    let output = pipeline("C", [] as [&str; 0]);
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(text(&output.stdout), "");
    assert_eq!(text(&output.stderr), "usage: pipeline FILE...\n");
}

#[test]
fn unreadable_files_are_reported_and_the_others_counted() {
    let dir = Dir::new("unreadable");
    let good = dir.file("good", b"three good words");
    let more = dir.file("more", b"and two\n");
    let missing = dir.path("missing");
    let folder = dir.path("folder");
    fs::create_dir(&folder).unwrap();

    for bad in [&missing, &folder] {
        let outputs = [
            (pipeline("C", [bad]), 0),
            (pipeline("C", [bad, &good, &more]), 5),
            (pipeline("C", [&good, bad, &more]), 5),
            (pipeline("C", [&good, bad, &more, bad]), 5),
        ];
        for (output, total) in outputs {
            assert_eq!(output.status.code(), Some(1));
            assert_eq!(numbers(&text(&output.stdout))[0], total);
            let stderr = text(&output.stderr);
            assert!(
                stderr.starts_with(&format!("pipeline: {}: ", bad.display())),
                "{stderr}"
            );
            assert!(stderr.contains("os error"), "{stderr}");
        }
    }
    let output = pipeline("C", [&missing, &folder]);
    assert_eq!(text(&output.stderr).lines().count(), 2);
}

#[cfg(unix)]
#[test]
fn files_that_may_not_be_read() {
    use std::os::unix::fs::PermissionsExt;
    let dir = Dir::new("denied");
    let denied = dir.file("denied", b"secret words");
    fs::set_permissions(&denied, fs::Permissions::from_mode(0o000)).unwrap();
    if fs::File::open(&denied).is_ok() {
        return; // nothing is forbidden to root
    }
    let good = dir.file("good", b"good words");
    let output = pipeline("C", [&denied, &good]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(numbers(&text(&output.stdout))[0], 2);
    assert!(text(&output.stderr).contains("denied"));
}

#[cfg(unix)]
#[test]
fn a_file_that_never_comes_runs_into_the_time_limit() {
    let dir = Dir::new("fifo");
    let fifo = dir.path("fifo");
    if !matches!(Command::new("mkfifo").arg(&fifo).status(), Ok(status) if status.success()) {
        return;
    }
    let mut command = Command::new(example("pipeline"));
    command
        .arg(dir.file("good", b"good words"))
        .arg(&fifo)
        .env("PIPELINE_LIMIT", "0.2");
    let output = run(command);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(text(&output.stdout), "");
    assert_eq!(text(&output.stderr), "pipeline: not done within 200ms\n");
}

#[cfg(unix)]
#[test]
fn reading_only_the_first_line_is_fine() {
    let line = format!("'{}' README.md | head -n 1", example("pipeline").display());
    for _ in 0..20 {
        let mut command = Command::new("sh");
        command.arg("-c").arg(&line).current_dir(root());
        let output = run(command);
        assert_eq!(text(&output.stderr), "");
        assert!(text(&output.stdout).trim().parse::<u64>().is_ok());
    }
}

/// Words by the definition: parted by white space. For text that is all printable ASCII.
fn by_hand(content: &[u8]) -> u64 {
    content
        .split(|byte| matches!(byte, b'\t'..=b'\r' | b' '))
        .filter(|word| !word.is_empty())
        .count() as u64
}

/// Compares with `wc -w` in both locales. An older or newer `wc` may differ for what is not
/// printable, so it is not given any: in the C locale nothing but ASCII.
fn check(files: &[PathBuf]) {
    for locale in ["C", "C.UTF-8"] {
        let mut expected = 0;
        let mut compared = Vec::new();
        for file in files {
            let content = fs::read(file).unwrap();
            let printable = !content
                .iter()
                .any(|byte| byte.is_ascii_control() && !matches!(byte, b'\t'..=b'\r'));
            if !printable || (locale == "C" && !content.is_ascii()) {
                continue;
            }
            match wc(locale, file) {
                Some(words) => expected += words,
                None if content.is_ascii() => expected += by_hand(&content),
                None => continue,
            }
            compared.push(file);
        }
        assert!(!compared.is_empty());
        assert_eq!(
            count_in(locale, &compared),
            expected,
            "{locale} {compared:?}"
        );
    }
}

/// What `wc -w` says, if there is one, and it knows the locale.
fn wc(locale: &str, file: &Path) -> Option<u64> {
    static KNOWN: OnceLock<bool> = OnceLock::new();
    let count = |locale: &str, file: &Path| {
        let output = Command::new("wc")
            .arg("-w")
            .arg(file)
            .env("LC_ALL", locale)
            .output()
            .ok()?;
        text(&output.stdout).split_whitespace().next()?.parse().ok()
    };
    let utf8_is_known = *KNOWN.get_or_init(|| {
        let dir = Dir::new("locale");
        count("C.UTF-8", &dir.file("wide", "a\u{3000}b".as_bytes())) == Some(2)
    });
    count(locale, file).filter(|_| locale == "C" || utf8_is_known)
}

/// The total of a run without complaints.
fn count(files: &[impl AsRef<OsStr>]) -> u64 {
    count_in("C.UTF-8", files)
}

fn count_in(locale: &str, files: impl IntoIterator<Item = impl AsRef<OsStr>>) -> u64 {
    let output = pipeline(locale, files);
    assert_eq!(text(&output.stderr), "");
    assert!(output.status.success());
    text(&output.stdout)
        .lines()
        .next()
        .unwrap()
        .parse()
        .unwrap()
}

fn pipeline(locale: &str, files: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Output {
    let mut command = Command::new(example("pipeline"));
    command.args(files).env("LC_ALL", locale);
    run(command)
}

/// Runs a command that prints little; a hang is a failure.
fn run(mut command: Command) -> Output {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command
        .spawn()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let start = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if start.elapsed() > Duration::from_secs(120) {
            child.kill().unwrap();
            panic!("{command:?} hangs: {:?}", child.wait_with_output());
        }
        thread::sleep(Duration::from_millis(2));
    }
    child.wait_with_output().unwrap()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => collect(&path, files),
            false => files.push(path),
        }
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn numbers(text: &str) -> Vec<u64> {
    text.split(|c: char| !c.is_ascii_digit())
        .filter_map(|digits| digits.parse().ok())
        .collect()
}

/// A folder for one test, removed at its end.
struct Dir(PathBuf);

impl Dir {
    fn new(name: &str) -> Dir {
        let path = env::temp_dir().join(format!("greenlet-examples-{}-{name}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Dir(path)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn file(&self, name: &str, content: &[u8]) -> PathBuf {
        fs::write(self.path(name), content).unwrap();
        self.path(name)
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

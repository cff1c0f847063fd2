//! Tells the program the versions of the peers, from Cargo.lock, and the compiler's.

use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=Cargo.lock");
    let lock = std::fs::read_to_string("Cargo.lock").expect("cargo writes it before it builds");
    let version = |name: &str| {
        let after = lock
            .split_once(&format!("name = \"{name}\"\nversion = \""))
            .expect(name)
            .1;
        format!("{name} {}", after.split_once('"').unwrap().0)
    };
    let rustc = Command::new(std::env::var("RUSTC").unwrap())
        .arg("-V")
        .output()
        .unwrap();
    let rustc = String::from_utf8(rustc.stdout).unwrap();
    let rustc: Vec<_> = rustc.split(' ').take(2).collect();
    let peers = ["greenlet", "may", "tokio", "crossbeam-channel"]
        .map(version)
        .join(", ");
    println!("cargo::rustc-env=PEERS={peers}, {}", rustc.join(" "));
}

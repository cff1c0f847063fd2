//! `Local`s beside a map. The body is `tests/script/targets/local.rs`.
#![no_main]

#[path = "../../tests/script/mod.rs"]
mod script;
#[path = "../../tests/script/targets/local.rs"]
mod target;

libfuzzer_sys::fuzz_target!(|data: &[u8]| target::check(data));

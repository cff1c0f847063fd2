//! Lines of waiters beside plain lists. The body is `tests/script/targets/fifo.rs`.
#![no_main]

#[path = "../../tests/script/mod.rs"]
mod script;
#[path = "../../tests/script/targets/fifo.rs"]
mod target;

libfuzzer_sys::fuzz_target!(|data: &[u8]| target::check(data));

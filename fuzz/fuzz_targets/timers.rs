//! The timers of a hub beside a plain list. The body is `tests/script/targets/timers.rs`.
#![no_main]

#[path = "../../tests/script/mod.rs"]
mod script;
#[path = "../../tests/script/targets/timers.rs"]
mod target;

libfuzzer_sys::fuzz_target!(|data: &[u8]| target::check(data));

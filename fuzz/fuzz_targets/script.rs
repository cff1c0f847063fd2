//! Scripts over all primitives in a Simulation, beside the models.
//! The body is `tests/script/conduct.rs`.
#![no_main]

#[path = "../../tests/script/mod.rs"]
mod script;

libfuzzer_sys::fuzz_target!(|data: &[u8]| script::conduct::check(data));

//! Random programs of greenlets, and how they are run and judged: the one script type of the
//! property tests (`tests/properties.rs`), of the fuzz targets (`fuzz/`) and of
//! the replays of what these have found (`tests/corpus.rs`).
//!
//! | file | what lives there |
//! |---|---|
//! | `plan` | the script type |
//! | `bytes`, `code` | scripts from bytes, and back |
//! | `program` | scripts as programs that a person can read |
//! | `quiet` | panics that are expected |
//! | `model`, `primitives` | the naive models |
//! | `kept` | scripts that are kept in `regressions/` |
//! | `world`, `simple`, `items`, `selects`, `conduct` | runs a script in a `Simulation`, step by step beside the models |
//! | `hubs` | runs it on several hubs and threads, and checks what must hold whatever the interleaving |
//! | `targets/` | the bodies of the fuzz targets that have scripts of their own |
//!
//! proptest's strategies are in `tests/properties.rs`: nothing here needs proptest.
#![allow(dead_code)] // Each user has use for a part.

// What the programs use; for `unsync` it is another one.
use greenlet::sync;
use std::sync::Arc as Shared;

pub(crate) mod bytes;
pub(crate) mod code;
pub(crate) mod conduct;
pub(crate) mod hubs;
pub(crate) mod items;
pub(crate) mod kept;
pub(crate) mod model;
pub(crate) mod plan;
pub(crate) mod primitives;
pub(crate) mod program;
pub(crate) mod quiet;
pub(crate) mod selects;
pub(crate) mod simple;
pub(crate) mod world;

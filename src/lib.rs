//! gevent's model in Rust.
mod error;
mod greenlet;
mod hub_handle;
mod local;
mod rt;
mod scope;
pub mod sync;
pub mod testing;
mod timeout;
mod waitable;

pub use error::{Elapsed, JoinError, PanicPayload};
pub use greenlet::{
    Builder, Current, Greenlet, checkpoint, current, join_all, kill_all, now, sleep, spawn,
    spawn_later, yield_now,
};
pub use hub_handle::{HubHandle, HubThread, deadlock_after};
pub use local::{Local, Unset};
pub use scope::{Scope, ScopedGreenlet, finally, no_switch, run, scope, shield};
pub use timeout::{Timeout, TimeoutHandle, timeout};
pub use waitable::{Waitable, wait_all, wait_all_timeout, wait_any, wait_any_timeout};

//! What a process asks of the operating system when it starts.

use nix::sys::resource::{Resource, setrlimit};

/// Disables core dumps for the rest of this process's life: a dump would hold photos, API keys and private keys.
pub fn disable_core_dumps() {
    if let Err(error) = setrlimit(Resource::RLIMIT_CORE, 0, 0) {
        tracing::warn!(%error, "core dumps stay enabled");
    }
}

use std::process::ExitCode;

use worker::service::LinkedEngines;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Settings of jemalloc, ended by NUL. With arenas for each core a worker takes 2.4 MB more than with the C library's
/// allocator, with these up to 1 MB.
#[allow(unsafe_code, reason = "jemalloc reads the symbol of this name")]
#[unsafe(export_name = "malloc_conf")]
pub static MALLOC_CONF: &[u8] = b"narenas:1,dirty_decay_ms:500,muzzy_decay_ms:0\0";

fn main() -> ExitCode {
    worker::cli::main(LinkedEngines::NATIVE_ONLY)
}

use std::process::ExitCode;

use worker::service::LinkedEngines;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    worker::cli::main(LinkedEngines::NATIVE_ONLY)
}

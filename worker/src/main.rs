use std::process::ExitCode;

use worker::service::LinkedEngines;

fn main() -> ExitCode {
    worker::cli::main(LinkedEngines::NATIVE_ONLY)
}

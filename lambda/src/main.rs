//! The program that Lambda starts, in an image or a zip file with `provided.al2023`. `_HANDLER` names the function.

use std::process::ExitCode;

use worker::service::LinkedEngines;

fn main() -> ExitCode {
    lambda::main(LinkedEngines::NATIVE_ONLY)
}

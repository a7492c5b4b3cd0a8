//! `lambda`'s `bootstrap` linked to libtorch, for the functions' image.

use std::process::ExitCode;

use worker::service::LinkedEngines;
use worker_torch::TorchEngine;

fn main() -> ExitCode {
    lambda::main(LinkedEngines {
        torch: Some(&TorchEngine),
    })
}

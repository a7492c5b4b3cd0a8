//! `worker` linked to libtorch, with the same command line.

use std::process::ExitCode;

use worker::service::LinkedEngines;
use worker_torch::TorchEngine;

fn main() -> ExitCode {
    worker::cli::main(LinkedEngines {
        torch: Some(&TorchEngine),
    })
}

//! `worker` with the engine torch: the same command line, linked to libtorch.

use std::process::ExitCode;

use worker::service::LinkedEngines;
use worker_torch::TorchEngine;

fn main() -> ExitCode {
    worker::cli::main(LinkedEngines {
        torch: Some(&TorchEngine),
    })
}

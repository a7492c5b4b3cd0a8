use std::process::ExitCode;

use clap::Parser;
use loadgen::run::Interrupted;

#[tokio::main]
async fn main() -> ExitCode {
    match loadgen::execute(loadgen::cli::Cli::parse()).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("loadgen: {error:#}");
            let is_interrupted = error.is::<Interrupted>();
            ExitCode::from(if is_interrupted {
                Interrupted::STATUS
            } else {
                2
            })
        }
    }
}

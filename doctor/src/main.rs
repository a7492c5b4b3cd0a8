use std::io::stdout;
use std::process::ExitCode;

use clap::Parser;

/// Looks at a stack that does not work, and says what is wrong and what to do: a line a check, and exit status 1 if one fails.
#[derive(Debug, clap::Parser)]
#[command(version)]
struct Cli {
    #[command(flatten)]
    doctor: doctor::DoctorArgs,
}

#[tokio::main]
async fn main() -> ExitCode {
    match doctor::report(&Cli::parse().doctor, &mut stdout()).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("doctor: {error:#}");
            ExitCode::from(2)
        }
    }
}

//! The command line, and the commands that change nothing.

mod table;

use std::io::Write;

use platform::telemetry::TelemetryArgs;
use proto::v1::scaler_client::ScalerClient;
use proto::v1::{GetStatusRequest, WatchStatusRequest};
use tonic::transport::Channel;

use crate::config::ServeArgs;
use crate::simulate::SimulateArgs;

/// Moves the number of worker instances with demand, and says why.
#[derive(Debug, Clone, clap::Parser)]
#[command(version, args_conflicts_with_subcommands = true)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Option<Command>,
    #[command(flatten)]
    pub serve: ServeArgs,
    #[command(flatten)]
    pub telemetry: TelemetryArgs,
}

#[derive(Debug, Clone, clap::Subcommand)]
pub enum Command {
    /// Print what a running scaler knows and has decided
    Status(LookArgs),
    /// Print its decisions as they are made
    Watch(LookArgs),
    /// Compare what the policies do with given arrivals, and what that costs
    Simulate(SimulateArgs),
}

#[derive(Debug, Clone, clap::Args)]
pub struct LookArgs {
    /// Where the scaler serves gRPC
    #[arg(
        long,
        env = "MUSTER_SCALER",
        default_value = "http://127.0.0.1:50052",
        value_name = "URL"
    )]
    pub scaler: String,
}

impl Command {
    /// Prints to standard output.
    ///
    /// # Errors
    /// When the scaler cannot be reached, or nobody reads the output.
    pub async fn run(&self) -> anyhow::Result<()> {
        let mut output = std::io::stdout();
        match self {
            Self::Status(args) => {
                let status = args.client()?.get_status(GetStatusRequest {}).await;
                let status = status.map_err(|error| args.failure(&error))?.into_inner();
                output.write_all(table::table(&status).as_bytes())?;
            }
            Self::Simulate(args) => args.run(&mut output)?,
            Self::Watch(args) => {
                let watched = args.client()?.watch_status(WatchStatusRequest {}).await;
                let mut statuses = watched.map_err(|error| args.failure(&error))?.into_inner();
                loop {
                    let next = statuses
                        .message()
                        .await
                        .map_err(|error| args.failure(&error))?;
                    let Some(status) = next else { break };
                    writeln!(output, "{}", table::line(&status))?;
                }
            }
        }
        Ok(())
    }
}

impl LookArgs {
    fn client(&self) -> anyhow::Result<ScalerClient<Channel>> {
        Ok(ScalerClient::new(platform::grpc::channel(&self.scaler)?))
    }

    fn failure(&self, error: &tonic::Status) -> anyhow::Error {
        anyhow::anyhow!(
            "the scaler at {} does not answer: {}",
            self.scaler,
            error.message()
        )
    }
}

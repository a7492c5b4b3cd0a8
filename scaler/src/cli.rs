//! The command line, and the commands besides the service.

mod control;
mod paint;
mod replay;
mod simulate;
mod statuses;
mod table;
mod text;

use std::error::Error;
use std::io::{IsTerminal, Write};

use futures::future::LocalBoxFuture;
use platform::access::KeyArgs;
use platform::telemetry::TelemetryArgs;
use platform::tls::PeerTlsArgs;
use proto::v1::scaler_client::ScalerClient;
use proto::v1::{GetStatusRequest, ListDecisionsRequest, ScalerStatus, WatchStatusRequest};
use tonic::transport::Channel;

use crate::config::{ServeArgs, preflight};
use paint::Paint;
use simulate::SimulateArgs;

/// A thousand decisions about a large fleet exceed a client's default limit of 4 MiB.
const LARGEST_REPLY: usize = 256 * 1024 * 1024;

/// Moves the number of worker instances with demand, and explains each decision.
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
    /// Print a running scaler's observation, decision and costs
    Status(StatusArgs),
    /// Print decisions as they are made
    Watch(WatchArgs),
    /// Print the last decisions that changed something
    Decisions(DecisionsArgs),
    /// Change the bounds on workers, until the scaler restarts or another one takes over
    Bounds(control::BoundsArgs),
    /// Pause scaling, until it is resumed, the scaler restarts, or another one takes over
    Pause(control::PauseArgs),
    /// Resume scaling
    Resume(control::ResumeArgs),
    /// Check that the account has what these settings need: one line a check, and exit status 1 if one fails
    Preflight(Box<ServeArgs>),
    /// Plan again from a recording, and print decisions that differ
    Replay(replay::ReplayArgs),
    /// Simulate the policies on traces of arrivals, and compare latency and cost
    Simulate(SimulateArgs),
}

/// Where the scaler is.
#[derive(Debug, Clone, clap::Args)]
pub struct ConnectArgs {
    /// URL at which the scaler serves gRPC
    #[arg(
        long,
        env = "MUSTER_SCALER",
        default_value = "http://127.0.0.1:8052",
        value_name = "URL"
    )]
    pub scaler: String,
    #[command(flatten)]
    pub tls: PeerTlsArgs,
    #[command(flatten)]
    pub key: KeyArgs,
}

#[derive(Debug, Clone, clap::Args)]
pub struct StatusArgs {
    /// Print a line of JSON (muster.v1.ScalerStatus)
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connect: ConnectArgs,
}

#[derive(Debug, Clone, clap::Args)]
pub struct WatchArgs {
    /// Print each decision as a line of JSON (muster.v1.ScalerStatus)
    #[arg(long)]
    json: bool,
    /// Print decisions that change nothing as well; with --json the output is a recording for `scaler replay`
    #[arg(long)]
    every: bool,
    #[command(flatten)]
    connect: ConnectArgs,
}

#[derive(Debug, Clone, clap::Args)]
pub struct DecisionsArgs {
    /// Number of the newest decisions to print; the scaler remembers 1000, fewer for a large fleet
    #[arg(
        long,
        default_value_t = 20,
        value_name = "COUNT",
        value_parser = clap::value_parser!(u32).range(1..)
    )]
    limit: u32,
    /// Print only decisions made after this time: 2026-01-31T12:00:00Z
    #[arg(long, value_name = "TIME")]
    since: Option<prost_types::Timestamp>,
    /// Print each decision as a line of JSON (muster.v1.ScalerStatus)
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connect: ConnectArgs,
}

impl Command {
    /// Prints to standard output.
    ///
    /// # Errors
    /// When the scaler cannot be reached, refuses or ends a stream, a recording cannot be read, or the output is closed.
    #[inline(never)]
    pub fn run(&self) -> LocalBoxFuture<'_, anyhow::Result<()>> {
        // Compiled here once, and not in the binary again: see "Builds" in docs/development.md.
        Box::pin(self.execute())
    }

    async fn execute(&self) -> anyhow::Result<()> {
        let stdout = std::io::stdout();
        let paint = Paint::for_terminal(stdout.is_terminal());
        let mut output = stdout.lock();
        match self {
            Self::Status(args) => {
                let reply = args
                    .connect
                    .client()?
                    .get_status(args.connect.key.call(GetStatusRequest {})?)
                    .await;
                let status = reply
                    .map_err(|error| args.connect.failure(&error))?
                    .into_inner();
                if args.json {
                    writeln!(output, "{}", proto::encode(&status))?;
                } else {
                    output.write_all(table::table(&status, paint).as_bytes())?;
                }
            }
            Self::Watch(args) => args.run(&mut output, paint).await?,
            Self::Decisions(args) => {
                let request = ListDecisionsRequest {
                    limit: args.limit,
                    since: args.since,
                };
                let reply = args
                    .connect
                    .client()?
                    .list_decisions(args.connect.key.call(request)?)
                    .await;
                let reply = reply.map_err(|error| args.connect.failure(&error))?;
                for status in reply.into_inner().decisions {
                    print(&mut output, &status, args.json, paint)?;
                }
            }
            Self::Bounds(args) => print(&mut output, &args.run().await?, false, paint)?,
            Self::Pause(args) => print(&mut output, &args.run().await?, false, paint)?,
            Self::Resume(args) => print(&mut output, &args.run().await?, false, paint)?,
            Self::Preflight(args) => preflight::report(args, &mut output).await?,
            Self::Replay(args) => args.run(&mut output, paint)?,
            Self::Simulate(args) => args.run(&mut output)?,
        }
        Ok(())
    }
}

impl WatchArgs {
    async fn run(&self, output: &mut impl Write, paint: Paint) -> anyhow::Result<()> {
        let request = WatchStatusRequest {
            every: self.every,
            interval: None,
        };
        let request = self.connect.key.call(request)?;
        let watched = self.connect.client()?.watch_status(request).await;
        let mut statuses = watched
            .map_err(|error| self.connect.failure(&error))?
            .into_inner();
        loop {
            let next = statuses.message().await;
            let Some(status) = next.map_err(|error| self.connect.failure(&error))? else {
                let scaler = &self.connect.scaler;
                anyhow::bail!(
                    "the scaler at {scaler} ended the stream: watch again once it is back"
                );
            };
            print(output, &status, self.json, paint)?;
            output.flush()?;
        }
    }
}

impl ConnectArgs {
    fn client(&self) -> anyhow::Result<ScalerClient<Channel>> {
        let client = ScalerClient::new(platform::grpc::channel(&self.scaler, &self.tls)?);
        Ok(client.max_decoding_message_size(LARGEST_REPLY))
    }

    fn failure(&self, error: &tonic::Status) -> anyhow::Error {
        let (scaler, message) = (&self.scaler, error.message());
        match error.code() {
            tonic::Code::InvalidArgument
            | tonic::Code::FailedPrecondition
            | tonic::Code::PermissionDenied
            | tonic::Code::Unauthenticated => {
                anyhow::anyhow!("the scaler at {scaler} refuses: {message}")
            }
            // Without a source, these are the scaler's own and no failure of the connection.
            tonic::Code::ResourceExhausted | tonic::Code::Unavailable
                if error.source().is_none() =>
            {
                anyhow::anyhow!("the scaler at {scaler} refuses: {message}")
            }
            tonic::Code::Unimplemented => {
                anyhow::anyhow!("the scaler at {scaler} is older than this program: update it")
            }
            _ => {
                let cause = std::iter::successors(error.source(), |&error| error.source()).last();
                let cause = cause.map_or_else(|| message.to_owned(), ToString::to_string);
                anyhow::anyhow!("the scaler at {scaler} does not answer: {cause}; check --scaler")
            }
        }
    }
}

fn print(
    output: &mut impl Write,
    status: &ScalerStatus,
    json: bool,
    paint: Paint,
) -> anyhow::Result<()> {
    if json {
        writeln!(output, "{}", proto::encode(status))?;
    } else {
        output.write_all(text::decision(status, paint).as_bytes())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use tonic::Status;

    use super::*;

    #[test]
    fn a_rate_limit_is_not_called_silence() {
        let words = ["scaler", "status", "--scaler", "http://scaler"];
        let Some(Command::Status(args)) = Cli::try_parse_from(words).unwrap().command else {
            panic!("another command");
        };
        for refused in [
            Status::resource_exhausted("too many"),
            Status::unavailable("too many"),
        ] {
            let failure = args.connect.failure(&refused).to_string();
            assert_eq!(failure, "the scaler at http://scaler refuses: too many");
        }
        let mut lost = Status::unavailable("tcp connect error");
        lost.set_source(std::sync::Arc::new(std::io::Error::other("no route")));
        let failure = args.connect.failure(&lost).to_string();
        let silence = "the scaler at http://scaler does not answer: no route; check --scaler";
        assert_eq!(failure, silence);
    }
}

use clap::Parser;
use platform::aws::Aws;
use scaler::cli::Cli;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    if let Some(command) = cli.command {
        return command.run().await;
    }
    let _telemetry = platform::telemetry::init("scaler", &cli.telemetry)?;
    let config = cli.serve.config()?;
    let shutdown = platform::shutdown::on_signal()?;
    let listener = platform::admin::bind(cli.serve.listen).await?;
    let aws = Aws::connect(&cli.serve.aws).await;
    scaler::run(config, aws, listener, shutdown).await
}

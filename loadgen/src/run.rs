//! `loadgen run`.

use tokio::time::Instant;

use crate::cli::{RunArgs, TargetArgs};
use crate::client::Client;
use crate::drive::Driver;
use crate::photos;
use crate::progress::Progress;
use crate::report::Summary;

/// Sends the requests. Returns true when every response has the right name.
///
/// # Errors
/// When there is nothing to send, a name is not known, or nothing listens at the address.
pub async fn run(args: &RunArgs) -> anyhow::Result<bool> {
    anyhow::ensure!(
        args.num_request > 0,
        "there is nothing to send; give --num-request 1 or more"
    );
    let requests = photos::requests(&args.image_folder, &args.prediction_file, args.num_request)?;
    let driver = driver(&args.target, false)?;
    driver.client.check_reachable().await?;
    let mut progress = Progress::new(requests.len());
    let records = driver
        .run(&requests, Instant::now(), |record| progress.record(record))
        .await;
    drop(progress);
    let summary = Summary::of(&records);
    println!("{summary}");
    Ok(summary.is_perfect())
}

/// Makes the driver. With `check_file` a response must also have the photo's file name.
///
/// # Errors
/// When the HTTP client cannot be made.
pub fn driver(target: &TargetArgs, check_file: bool) -> anyhow::Result<Driver> {
    Ok(Driver {
        client: Client::new(target)?,
        concurrency: target.concurrency,
        retries: target.retries,
        check_file,
    })
}

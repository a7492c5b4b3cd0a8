//! Checks of the account: `scaler preflight`, and those after the service's start. [`platform::preflight`] makes them.

use std::io::Write;
use std::time::Duration;

use platform::aws::Aws;
use platform::preflight::{Preflight, Verdict};
use platform::shutdown::CancellationToken;
use proto::Names;
use proto::names::WORKER_INSTANCE;

use super::{Config, ServeArgs};

/// How long after the start the checks begin. Their calls count toward EC2's request limits, and the first workers come
/// first.
const AFTER_THE_START: Duration = Duration::from_secs(5);

/// Prints a line for each check.
///
/// # Errors
/// When a check fails, or the output is closed.
pub async fn report(args: &ServeArgs, output: &mut impl Write) -> anyhow::Result<()> {
    let config = args.config()?;
    let aws = Aws::connect(&args.aws).await;
    let findings = checks(&config, &aws).run().await;
    for finding in &findings {
        writeln!(output, "{finding}")?;
    }
    let is_failure = |verdict: &Verdict| matches!(verdict, Verdict::Fail(_));
    let failed = findings.iter().filter(|it| is_failure(&it.verdict)).count();
    anyhow::ensure!(failed == 0, "{failed} of {} checks failed", findings.len());
    Ok(())
}

/// Logs the checks that fail, once, in the background.
pub fn spawn(checks: Preflight, shutdown: CancellationToken) {
    tokio::spawn(shutdown.run_until_cancelled_owned(async move {
        tokio::time::sleep(AFTER_THE_START).await;
        for finding in checks.run().await {
            if matches!(finding.verdict, Verdict::Fail(_)) {
                tracing::error!("preflight: {finding}");
            }
        }
    }));
}

/// Returns what to check under these settings.
#[must_use]
pub fn checks(config: &Config, aws: &Aws) -> Preflight {
    let first = &config.executor.launch;
    let mut instance_types = vec![first.instance_type.clone()];
    let mut subnet_ids: Vec<_> = first.subnet_id.iter().cloned().collect();
    for pool in &config.executor.fallbacks {
        instance_types.push(pool.instance_type.clone());
        subnet_ids.extend(pool.subnet_id.clone());
    }
    for list in [&mut instance_types, &mut subnet_ids] {
        list.sort();
        list.dedup();
    }
    let names = Names::new(&config.prefix);
    Preflight {
        fleet: aws.fleet().of_prefix(&config.prefix),
        quotas: aws.quotas(),
        spec: first.clone(),
        instance_types,
        subnet_ids,
        names: format!("{WORKER_INSTANCE}*"),
        max_workers: config.policy.bounds.max_workers,
        buckets: [names.in_bucket(), names.out_bucket(), names.scaler_bucket()]
            .map(|bucket| aws.objects(bucket))
            .to_vec(),
    }
}

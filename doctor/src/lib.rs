//! Looks at a stack that does not work, and says what is wrong and what to do. It changes nothing.
//!
//! | module | looks at |
//! |---|---|
//! | `machine` | programs, processor, disk |
//! | `model` | weights and gallery, by `worker ready` |
//! | `secrets` | certificates and API keys |
//! | `cloud` | endpoint, clock, credentials, buckets, queues |
//! | `services` | gateway and front, and what has their ports instead |
//! | `port` | the program that listens on a port |
//! | [`scaler`] | the scaler's status: paused, held, its view of front, EC2 and workers |

mod cloud;
mod machine;
mod model;
mod port;
pub mod scaler;
mod secrets;
mod services;

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use platform::access::KeyArgs;
use platform::aws::AwsArgs;
use platform::preflight::{Finding, Verdict};
use platform::tls::PeerTlsArgs;

/// The longest time that one service may take for a reply.
const REPLY_TIMEOUT: Duration = Duration::from_secs(5);

/// Where the parts of the stack are.
#[derive(Debug, Clone, clap::Args)]
pub struct DoctorArgs {
    /// URL of the gateway
    #[arg(
        long,
        env = "MUSTER_URL",
        default_value = "http://127.0.0.1:8000",
        value_name = "URL"
    )]
    pub url: String,
    /// URL at which front serves gRPC
    #[arg(
        long,
        env = "MUSTER_FRONT",
        default_value = "http://127.0.0.1:8051",
        value_name = "URL"
    )]
    pub front: String,
    /// URL at which the scaler serves gRPC
    #[arg(
        long,
        env = "MUSTER_SCALER",
        default_value = "http://127.0.0.1:8052",
        value_name = "URL"
    )]
    pub scaler: String,
    /// Folder of the programs [default: the one of this program]
    #[arg(long, env = "MUSTER_BIN", value_name = "DIR")]
    pub bin: Option<PathBuf>,
    /// Model bundle that the workers load
    #[arg(long, env = "MUSTER_MODELS", value_name = "DIR")]
    pub models: Option<PathBuf>,
    /// Gallery that the workers load
    #[arg(long, env = "MUSTER_GALLERY", value_name = "FILE")]
    pub gallery: Option<PathBuf>,
    /// Engine of the workers
    #[arg(
        long,
        env = "MUSTER_ENGINE",
        default_value = "torch",
        value_name = "NAME",
        value_parser = ["torch", "native"]
    )]
    pub engine: String,
    /// Folder whose disk has to have 200 MiB of space, and better 1 GiB; may be given several times [default: the folder of
    /// temporary files]
    #[arg(long, value_name = "DIR")]
    pub data: Vec<PathBuf>,
    /// Certificate chain (PEM) of the services
    #[arg(long, env = "MUSTER_TLS_CERT", value_name = "FILE")]
    pub tls_cert: Option<PathBuf>,
    /// API keys that the services accept
    #[arg(long, env = "MUSTER_API_KEYS", value_name = "FILE")]
    pub api_keys: Option<PathBuf>,
    #[command(flatten)]
    pub aws: AwsArgs,
    #[command(flatten)]
    pub tls: PeerTlsArgs,
    #[command(flatten)]
    pub key: KeyArgs,
}

impl DoctorArgs {
    /// Returns whether the services use a local cloud.
    fn is_local(&self) -> bool {
        self.aws.endpoint_url.is_some()
    }

    fn bin(&self) -> PathBuf {
        let own = || Some(std::env::current_exe().ok()?.parent()?.to_owned());
        self.bin.clone().or_else(own).unwrap_or_default()
    }

    /// Returns what to do about a service that does not run.
    fn start(&self, service: &str) -> String {
        match self.is_local() {
            true => {
                "start the stack with `make up`; if it runs, its log says why it ended".to_owned()
            }
            false => format!("`systemctl status muster-{service}` says why"),
        }
    }
}

/// Makes all checks, in the order in which one failure causes others.
pub async fn examine(args: &DoctorArgs) -> Vec<Finding> {
    let mut findings = machine::examine(args).await;
    findings.extend(model::examine(args).await);
    findings.extend(secrets::examine(args));
    findings.extend(cloud::examine(args).await);
    findings.push(services::front(args).await);
    findings.push(services::gateway(args).await);
    findings.extend(scaler::examine(args).await);
    findings
}

/// Prints a line for each check, and a last one; returns whether none failed.
///
/// # Errors
/// When the output is closed.
pub async fn report(args: &DoctorArgs, output: &mut impl Write) -> anyhow::Result<bool> {
    let findings = examine(args).await;
    for finding in &findings {
        writeln!(output, "{finding}")?;
    }
    let failed = findings
        .iter()
        .filter(|it| matches!(it.verdict, Verdict::Fail(_)));
    let (failed, all) = (failed.count(), findings.len());
    match failed {
        0 => writeln!(output, "\nnone of {all} checks failed")?,
        _ => writeln!(
            output,
            "\n{failed} of {all} checks failed; the first may be the cause of the others"
        )?,
    }
    Ok(failed == 0)
}

fn finding(check: &'static str, verdict: Verdict) -> Finding {
    Finding { check, verdict }
}

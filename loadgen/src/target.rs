//! The options that name the service under test, and the parsers of their values.

use std::time::Duration;

use clap::Args;
use platform::access::KeyArgs;
use platform::duration::parse_positive;
use platform::tls::PeerTlsArgs;

/// The service under test.
#[derive(Debug, Clone, Args)]
#[command(after_help = platform::duration::HELP)]
pub struct TargetArgs {
    /// URL of the service: http://, https://, or front's gRPC as grpc://HOST:PORT or grpcs://HOST:PORT
    #[arg(long, alias = "server", value_name = "URL", default_value = "http://127.0.0.1:8000/", value_parser = url)]
    pub url: reqwest::Url,
    /// Requests in flight at once, in a closed loop
    #[arg(short, long, value_name = "C", default_value = "100", value_parser = at_least_one)]
    pub concurrency: usize,
    /// Longest wait for a response
    #[arg(long, value_name = "DURATION", default_value = "120s", value_parser = parse_positive)]
    pub timeout: Duration,
    /// Retries of a request whose connection fails, in a closed loop
    #[arg(long, value_name = "N", default_value_t = 5)]
    pub retries: u32,
    #[command(flatten)]
    pub key: KeyArgs,
    #[command(flatten)]
    pub tls: PeerTlsArgs,
}

impl TargetArgs {
    /// Returns whether the address is that of front's gRPC.
    #[must_use]
    pub fn is_grpc(&self) -> bool {
        self.url.scheme().starts_with("grpc")
    }
}

/// Parses a URL, or `host:port` as existing scripts have it.
pub fn url(text: &str) -> Result<reqwest::Url, String> {
    let text = if text.contains("://") {
        text.to_owned()
    } else {
        format!("http://{text}")
    };
    match reqwest::Url::parse(&text) {
        Ok(url)
            if matches!(url.scheme(), "http" | "https" | "grpc" | "grpcs") && url.has_host() =>
        {
            Ok(url)
        }
        Ok(_) => Err("give an address such as http://127.0.0.1:8000/".to_owned()),
        Err(error) => Err(format!(
            "{error}; give an address such as http://127.0.0.1:8000/"
        )),
    }
}

/// Parses a number from 1 on.
///
/// # Errors
/// When it is none.
pub fn at_least_one(text: &str) -> Result<usize, String> {
    text.parse()
        .ok()
        .filter(|number| *number > 0)
        .ok_or_else(|| "give a whole number from 1 on".to_owned())
}

/// Parses a number up to `MOST`.
pub fn up_to<const MOST: usize>(text: &str) -> Result<usize, String> {
    text.parse()
        .ok()
        .filter(|number: &usize| *number <= MOST)
        .ok_or_else(|| format!("give a whole number up to {MOST}"))
}

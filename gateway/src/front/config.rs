use std::ops::RangeInclusive;
use std::time::Duration;

use clap::builder::{RangedU64ValueParser, TypedValueParser};
use photo::DecodeLimits;
use platform::admin::AdminArgs;
use platform::demand::DemandArgs;
use platform::duration;
use platform::grpc::ServerArgs;

use super::recognizer::RequestLimits;
use super::videos::VideoArgs;
use crate::MAX_IMAGE_BYTES;

/// From 3, so that a worker has time to renew it, to SQS's limit.
const VISIBILITY_TIMEOUT_SECONDS: RangeInclusive<u64> = 3..=43_200;
/// SQS's limit. The largest request message has room for it.
const QUEUE_NAME_MAX_BYTES: usize = 80;

/// Settings of front.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Front", after_help = duration::HELP)]
pub struct Config {
    /// Recognize calls in flight. Further ones are refused with RESOURCE_EXHAUSTED before their photo is read
    #[arg(
        long,
        env = "MUSTER_MAX_IN_FLIGHT",
        value_name = "N",
        default_value = "1000"
    )]
    pub max_in_flight: usize,
    /// Bytes of photos in memory until they are stored. A call beyond them waits before its photo is read, and is refused
    /// with RESOURCE_EXHAUSTED after a minute
    #[arg(
        long,
        env = "MUSTER_MAX_BUFFERED_BYTES",
        value_name = "BYTES",
        default_value = "268435456"
    )]
    pub max_buffered_bytes: usize,
    /// Largest photo, in bytes
    #[arg(long, env = "MUSTER_MAX_IMAGE_BYTES", value_name = "BYTES", default_value_t = MAX_IMAGE_BYTES)]
    pub max_image_bytes: usize,
    /// Longest time of a request. Without a reply by then it fails with DEADLINE_EXCEEDED
    #[arg(long, env = "MUSTER_DEADLINE", value_name = "DURATION", value_parser = duration::parse, default_value = "120s")]
    pub deadline: Duration,
    /// Visibility timeout of the request queue, in whole seconds: after this time another worker receives the job of a
    /// worker that died. Workers read it from the queue when they start
    #[arg(
        long,
        env = "MUSTER_VISIBILITY_TIMEOUT",
        value_name = "SECONDS",
        value_parser = RangedU64ValueParser::<u64>::new().range(VISIBILITY_TIMEOUT_SECONDS).map(Duration::from_secs),
        default_value = "7"
    )]
    pub visibility_timeout: Duration,
    /// Most receive calls on the reply queue at once. There is one, and further ones while calls return ten replies
    #[arg(
        long,
        env = "MUSTER_REPLY_RECEIVERS",
        value_name = "N",
        default_value = "2"
    )]
    pub reply_receivers: usize,
    /// Longest time for requests in flight at shutdown
    #[arg(long, env = "MUSTER_FRONT_DRAIN", value_name = "DURATION", value_parser = duration::parse, default_value = "5s")]
    pub drain_deadline: Duration,
    /// Reply queue of this front alone [default: PREFIX-resp-queue-RANDOM, which front makes, and deletes at shutdown]
    #[arg(long, env = "MUSTER_REPLY_QUEUE", value_name = "NAME", value_parser = queue_name)]
    pub reply_queue: Option<String>,
    #[command(flatten)]
    pub demand: DemandArgs,
    #[command(flatten)]
    pub decode: DecodeLimits,
    #[command(flatten)]
    pub videos: VideoArgs,
    #[command(flatten)]
    pub server: ServerArgs,
    #[command(flatten)]
    pub admin: AdminArgs,
}

impl Config {
    pub(super) fn limits(&self) -> RequestLimits {
        RequestLimits {
            max_image_bytes: self.max_image_bytes,
            decode: self.decode,
            deadline: self.deadline,
        }
    }
}

/// Parses the name of an SQS queue that is not FIFO.
fn queue_name(text: &str) -> Result<String, &'static str> {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    if (1..=QUEUE_NAME_MAX_BYTES).contains(&text.len()) && text.bytes().all(is_allowed) {
        Ok(text.to_owned())
    } else {
        Err("give 1 to 80 letters, digits, hyphens and underscores")
    }
}

#[cfg(test)]
mod tests {
    use clap::{Args, Command, FromArgMatches};

    use super::*;

    fn parse(arguments: &[&str]) -> Result<Config, clap::Error> {
        let command = Config::augment_args(Command::new("front"));
        let arguments = [&["front"], arguments].concat();
        Config::from_arg_matches(&command.try_get_matches_from(arguments)?)
    }

    #[test]
    fn the_visibility_timeout_is_whole_seconds_and_at_least_three() {
        let of = |seconds| parse(&["--visibility-timeout", seconds]).map(|c| c.visibility_timeout);
        assert_eq!(of("3").unwrap(), Duration::from_secs(3));
        for refused in ["2", "0", "3.5", "43201", "-5"] {
            assert!(of(refused).is_err(), "{refused}");
        }
        assert_eq!(parse(&[]).unwrap().visibility_timeout.as_secs(), 7);
    }

    #[test]
    fn the_name_of_a_reply_queue_is_checked() {
        let of = |name: &str| parse(&["--reply-queue", name]).map(|config| config.reply_queue);
        let longest = "q".repeat(QUEUE_NAME_MAX_BYTES);
        assert_eq!(of(&longest).unwrap(), Some(longest.clone()));
        assert_eq!(of("acme-resp_2").unwrap().as_deref(), Some("acme-resp_2"));
        for refused in ["", "a b", "a/b", "replies.fifo", &format!("{longest}q")] {
            assert!(of(refused).is_err(), "{refused:?}");
        }
    }

    #[test]
    fn a_shutdown_takes_less_than_ten_seconds() {
        let front = parse(&[]).unwrap().drain_deadline;
        assert!(front + super::super::CLOSING_DEADLINE <= Duration::from_secs(9));
        let command = crate::http::Config::augment_args(Command::new("gateway"));
        let matches = command.get_matches_from(["gateway"]);
        let gateway = crate::http::Config::from_arg_matches(&matches).unwrap();
        assert!(front < gateway.drain_deadline);
        assert!(gateway.drain_deadline <= Duration::from_secs(9));
    }
}

//! The AWS endpoint, the clock, credentials, buckets and queues.

use std::time::SystemTime;

use platform::aws::{Aws, brief};
use platform::preflight::Finding;
use platform::preflight::Verdict::{self, Fail, Fine, Warn};
use platform::queue::{Queue, QueueError};
use proto::Names;
use proto::names::{MAX_RECEIVE_COUNT, REQUEST_MAX_BYTES};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc2822;

use crate::{DoctorArgs, REPLY_TIMEOUT, finding, services};

/// AWS refuses signatures that are 5 minutes old.
const MOST_SKEW: u64 = 240;
const SKEW: u64 = 30;

/// Checks the endpoint first. Without it, or without credentials, nothing else can be known.
pub(crate) async fn examine(args: &DoctorArgs) -> Vec<Finding> {
    let mut findings = Vec::new();
    match endpoint(args).await {
        Ok(date) => {
            findings.push(finding("endpoint", Fine(format!("{} answers", url(args)))));
            findings.push(finding("clock", clock(date.as_deref(), SystemTime::now())));
        }
        Err(fault) => return vec![finding("endpoint", Fail(fault))],
    }
    let aws = Aws::connect(&args.aws).await;
    let names = Names::new(&args.aws.prefix);
    let request_queue = match open(&aws, &names.request_queue()).await {
        Err(QueueError::Unavailable(error)) => {
            findings.push(finding("credentials", refused(&error, args)));
            return findings;
        }
        opened => opened,
    };
    findings.push(finding("credentials", Fine("SQS accepts them".to_owned())));
    findings.push(finding("buckets", buckets(&aws, &names, args).await));
    let dead_letter_queue = open(&aws, &names.dead_letter_queue()).await;
    let reply_queue = reply_queue(&aws, &names).await;
    let redrive = names.dead_letter_queue();
    findings.push(finding(
        "request queue",
        queue(&request_queue, Some(&redrive), args).await,
    ));
    findings.push(finding(
        "reply queue",
        queue(&reply_queue, None, args).await,
    ));
    findings.push(finding(
        "dead letters",
        dead_letters(&dead_letter_queue, args).await,
    ));
    findings
}

fn url(args: &DoctorArgs) -> String {
    let region = || {
        args.aws
            .region
            .clone()
            .or_else(|| std::env::var("AWS_DEFAULT_REGION").ok())
    };
    match &args.aws.endpoint_url {
        Some(url) => url.clone(),
        None => format!(
            "https://sqs.{}.amazonaws.com",
            region().unwrap_or_else(|| "us-east-1".to_owned())
        ),
    }
}

/// Returns the `Date` of a reply of any status.
async fn endpoint(args: &DoctorArgs) -> Result<Option<String>, String> {
    let url = url(args);
    let mend = match args.is_local() {
        true => {
            "start the stack with `make up`, or set AWS_ENDPOINT_URL to where the local cloud is"
        }
        false => {
            "check the network, the proxy and AWS_REGION; for the local cloud set AWS_ENDPOINT_URL"
        }
    };
    let client = services::client(args).map_err(|error| format!("{error:#}"))?;
    match client.get(&url).send().await {
        Ok(reply) => {
            let date = reply.headers().get("date").and_then(|it| it.to_str().ok());
            Ok(date.map(str::to_owned))
        }
        Err(_) => Err(format!("{url} does not answer: {mend}")),
    }
}

fn clock(date: Option<&str>, now: SystemTime) -> Verdict {
    let date = date.and_then(|date| OffsetDateTime::parse(date, &Rfc2822).ok());
    let Some(date) = date else {
        return Warn("not checked: the endpoint sends no date".to_owned());
    };
    let date = SystemTime::from(date);
    let (ahead, direction) = match now.duration_since(date) {
        Ok(ahead) => (ahead, "ahead of"),
        Err(behind) => (behind.duration(), "behind"),
    };
    let text = format!("{} s {direction} the endpoint's", ahead.as_secs());
    let mend =
        "AWS refuses requests of another time: start a time service (`timedatectl set-ntp true`)";
    match ahead.as_secs() {
        ..SKEW => Fine("agrees with the endpoint's".to_owned()),
        SKEW..MOST_SKEW => Warn(format!("{text}: {mend}")),
        _ => Fail(format!("{text}: {mend}")),
    }
}

/// Returns the verdict on refused credentials, with the next step.
fn refused(error: &str, args: &DoctorArgs) -> Verdict {
    let has = |codes: &[&str]| codes.iter().any(|code| error.contains(code));
    let text = code_of(error);
    if has(&["ExpiredToken", "RequestExpired"]) {
        return Fail(format!("{text}: log in again (`aws sso login`)"));
    }
    if has(&["AccessDenied"]) {
        return Fail(format!(
            "{text}: give the role the policies in deploy/aws/iam"
        ));
    }
    let mend = match args.is_local() {
        true => {
            "use those of the local cloud (CREDENTIALS=KEY:SECRET of `make up`; test and test by default) in \
                 AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        }
        false => "check AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
    };
    Fail(format!("{text}: {mend}"))
}

/// Returns an error's code with its message, or its beginning: the SDK's text has all its structures.
fn code_of(error: &str) -> String {
    let between = |begin: &str, end: &str| {
        let after = &error[error.find(begin)? + begin.len()..];
        Some(after[..after.find(end)?].to_owned())
    };
    match (
        between("code: Some(\"", "\""),
        between("message: Some(\"", "\""),
    ) {
        (Some(code), Some(message)) => format!("{code} ({})", message.trim_end_matches('.')),
        (Some(code), None) => code,
        _ => brief(error),
    }
}

async fn open(aws: &Aws, name: &str) -> Result<Queue, QueueError> {
    let late = || {
        QueueError::Unavailable(format!(
            "SQS does not answer within {} s",
            REPLY_TIMEOUT.as_secs()
        ))
    };
    tokio::time::timeout(2 * REPLY_TIMEOUT, aws.queue(name))
        .await
        .unwrap_or_else(|_| Err(late()))
}

/// Opens the reply queue that front has by its settings, or one of those that each front makes for itself.
async fn reply_queue(aws: &Aws, names: &Names) -> Result<Queue, QueueError> {
    let opened = open(aws, &names.reply_queue()).await;
    if !matches!(opened, Err(QueueError::NotFound(_))) {
        return opened;
    }
    let all = aws.queue_names(&names.reply_queue()).await?;
    match all.iter().find(|name| names.is_new_reply_queue(name)) {
        Some(name) => open(aws, name).await,
        None => opened,
    }
}

async fn buckets(aws: &Aws, names: &Names, args: &DoctorArgs) -> Verdict {
    let (mut there, mut faults) = (Vec::new(), Vec::new());
    for (name, maker) in [
        (names.in_bucket(), "front"),
        (names.out_bucket(), "front"),
        (names.scaler_bucket(), "scaler"),
    ] {
        match aws.objects(&name).head().await {
            Ok(200) => there.push(name),
            Ok(404) => faults.push(format!(
                "{name} is missing: {maker} makes it at its start; restart {maker}"
            )),
            Ok(403) => faults.push(format!(
                "{name} is another account's or not allowed: choose another MUSTER_PREFIX"
            )),
            Ok(301 | 307) => faults.push(format!("{name} is in another region: set AWS_REGION")),
            Ok(status) => faults.push(format!(
                "S3 answers {status} for {name}: check MUSTER_PREFIX"
            )),
            Err(error) => faults.push(format!("{name}: {}", code_of(&error.to_string()))),
        }
    }
    match faults.is_empty() {
        true => Fine(format!("{} exist", there.join(", "))),
        false if there.is_empty() => Fail(format!("{}; {}", faults.join("; "), prefix(args))),
        false => Fail(faults.join("; ")),
    }
}

/// With another prefix than the services', all is missing.
fn prefix(args: &DoctorArgs) -> String {
    format!(
        "or set MUSTER_PREFIX, which is {}, as the services have it",
        args.aws.prefix
    )
}

/// Checks a queue's settings, which front sets at its start.
async fn queue(
    queue: &Result<Queue, QueueError>,
    dead_letter_queue: Option<&str>,
    args: &DoctorArgs,
) -> Verdict {
    let queue = match queue {
        Ok(queue) => queue,
        Err(error) => return missing(error, args),
    };
    let read = async {
        let size = queue.maximum_message_size().await?;
        let redrive = queue.redrive_policy().await?;
        Ok::<_, QueueError>((size, redrive, queue.counters().await?))
    };
    let (size, redrive, counters) = match read.await {
        Ok(read) => read,
        Err(error) => return Warn(format!("not checked: {}", code_of(&error.to_string()))),
    };
    let name = queue.name();
    // Front sets the request queue's. Replies are as small, so that the reply queue's own limit does.
    let is_wrong = match dead_letter_queue {
        Some(_) => size != REQUEST_MAX_BYTES,
        None => size < REQUEST_MAX_BYTES,
    };
    if is_wrong {
        return Fail(format!(
            "{name} takes messages of {size} bytes instead of {REQUEST_MAX_BYTES}: restart front, which sets it"
        ));
    }
    match (dead_letter_queue, redrive) {
        (Some(wanted), Some((queue, receives)))
            if queue != wanted || receives != MAX_RECEIVE_COUNT =>
        {
            Fail(format!(
                "{name} sends to {queue} after {receives} receives, instead of to {wanted} after {MAX_RECEIVE_COUNT}: restart front, which sets it"
            ))
        }
        (Some(wanted), None) => Fail(format!(
            "{name} has no dead-letter queue, so a bad message comes back forever: restart front, which sets {wanted}"
        )),
        _ => Fine(format!(
            "{name}: {} messages wait, {} are in work",
            counters.visible + counters.delayed,
            counters.in_flight
        )),
    }
}

fn missing(error: &QueueError, args: &DoctorArgs) -> Verdict {
    match error {
        QueueError::NotFound(name) => Fail(format!(
            "{name} is missing: front makes it at its start; restart front, {}",
            prefix(args)
        )),
        QueueError::Unavailable(error) => Warn(format!("not checked: {}", code_of(error))),
    }
}

async fn dead_letters(queue: &Result<Queue, QueueError>, args: &DoctorArgs) -> Verdict {
    let queue = match queue {
        Ok(queue) => queue,
        Err(error) => return missing(error, args),
    };
    match queue.counters().await.map(|it| it.visible + it.in_flight) {
        Ok(0) => Fine(format!("none in {}", queue.name())),
        Ok(count) => Warn(format!(
            "{count} in {}: {MAX_RECEIVE_COUNT} workers failed at each; the workers' logs say why, by the job's id",
            queue.name()
        )),
        Err(error) => Warn(format!("not checked: {}", code_of(&error.to_string()))),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_clock_that_is_wrong_is_told() {
        let date = "Sun, 29 Nov 2026 02:09:00 GMT";
        let true_time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_918_140);
        let at = |seconds: i64| {
            let shift = Duration::from_secs(seconds.unsigned_abs());
            clock(
                Some(date),
                if seconds < 0 {
                    true_time - shift
                } else {
                    true_time + shift
                },
            )
        };
        assert!(matches!(at(3), Fine(_)), "{:?}", at(3));
        assert!(matches!(at(-60), Warn(text) if text.contains("60 s behind")));
        assert!(matches!(at(900), Fail(text) if text.contains("900 s ahead of")));
        assert!(matches!(clock(None, true_time), Warn(_)));
    }
}

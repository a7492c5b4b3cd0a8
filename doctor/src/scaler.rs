//! What the scaler's status says about the stack.

use std::time::{Duration, SystemTime};

use platform::grpc;
use platform::preflight::Finding;
use platform::preflight::Verdict::{self, Fail, Fine, Warn};
use prost_types::Timestamp;
use proto::v1::scaler_client::ScalerClient;
use proto::v1::{GetStatusRequest, Instance, InstanceState, Observation, ScalerStatus};
use tonic::Status;

use crate::{DoctorArgs, REPLY_TIMEOUT, finding, services};

/// EC2 is asked at least this often, with some patience.
const DESCRIBED_WITHIN: Duration = Duration::from_secs(60);
/// What the scaler assumes by default, for statuses without the policy.
const SILENCE: Duration = Duration::from_secs(15);
const BOOT: Duration = Duration::from_secs(120);

pub(crate) async fn examine(args: &DoctorArgs) -> Vec<Finding> {
    // Workers may know several scalers.
    let url = args.scaler.split(',').next().unwrap_or_default();
    let channel = match grpc::channel(url, &args.tls) {
        Ok(channel) => channel,
        Err(error) => {
            let text = format!("{error:#}: check MUSTER_SCALER and MUSTER_PEER_CA");
            return vec![finding("scaler", Fail(text))];
        }
    };
    // A bad key file has a line of its own.
    let request = args.key.call(GetStatusRequest {});
    let request = request.unwrap_or_else(|_| tonic::Request::new(GetStatusRequest {}));
    let mut client = ScalerClient::new(channel).max_decoding_message_size(usize::MAX);
    let reply = tokio::time::timeout(REPLY_TIMEOUT, client.get_status(request)).await;
    match reply.unwrap_or_else(|_| Err(Status::deadline_exceeded(services::NO_REPLY))) {
        Ok(status) => judge(url, &status.into_inner()),
        Err(error) => vec![finding(
            "scaler",
            Fail(services::unreachable("scaler", url, &error, args)),
        )],
    }
}

/// Returns what a status says, at the time of its decision.
#[must_use]
pub fn judge(url: &str, status: &ScalerStatus) -> Vec<Finding> {
    let now = status.at.and_then(|at| SystemTime::try_from(at).ok());
    let now = now.unwrap_or_else(SystemTime::now);
    let mut findings = vec![finding("scaler", acting(url, status))];
    if status.standing_by.is_some() {
        return findings;
    }
    let Some(observation) = &status.observation else {
        findings.push(finding(
            "fleet",
            Fail("the scaler has made no decision yet: ask again; its log says why".to_owned()),
        ));
        return findings;
    };
    findings.push(finding("demand", demand(observation)));
    findings.push(finding("fleet", fleet(status, observation, now)));
    findings.push(finding("boots", boots(observation, now)));
    findings.push(finding("workers", workers(status, observation, now)));
    findings
}

fn acting(url: &str, status: &ScalerStatus) -> Verdict {
    if let Some(reason) = &status.standing_by {
        return Warn(format!("{url} is on standby: {reason}; ask the leader"));
    }
    let max_workers = status
        .bounds
        .as_ref()
        .map_or(0, |bounds| bounds.max_workers);
    let waiting = status
        .observation
        .as_ref()
        .and_then(|it| it.unanswered)
        .unwrap_or(0);
    match &status.paused_by {
        Some(by) if waiting > 0 => Fail(format!(
            "{url} was paused by {by}, and {waiting} requests wait: `scaler resume`"
        )),
        Some(by) => Warn(format!(
            "{url} was paused by {by}: no worker starts or stops until `scaler resume`"
        )),
        None if max_workers == 0 => Fail(format!(
            "{url} may have no workers: `scaler bounds --max-workers 15`"
        )),
        None => {
            let policy = status
                .policy
                .as_ref()
                .map_or("unknown", |policy| &policy.name);
            Fine(format!(
                "{url} decides by the policy {policy}, for up to {max_workers} workers"
            ))
        }
    }
}

fn demand(observation: &Observation) -> Verdict {
    match (observation.unanswered, &observation.queue) {
        (Some(unanswered), _) => Fine(format!("front reports {unanswered} unanswered requests")),
        (None, Some(_)) => Fail(
            "the scaler cannot reach front, and goes by the queue's counters: see the line about front, and the scaler's MUSTER_FRONT"
                .to_owned(),
        ),
        (None, None) => Fail(
            "the scaler reaches neither front nor the request queue: see the lines about them, and the scaler's MUSTER_FRONT"
                .to_owned(),
        ),
    }
}

fn fleet(status: &ScalerStatus, observation: &Observation, now: SystemTime) -> Verdict {
    let Some(age) = age(observation.described_at.as_ref(), now) else {
        return Fail("EC2 has never answered the scaler: `scaler preflight` says why".to_owned());
    };
    let held = observation.held.as_ref();
    let held = held.and_then(|it| {
        it.launch
            .as_ref()
            .or(it.start.as_ref())
            .or(it.stop.as_ref())
    });
    if age > DESCRIBED_WITHIN {
        return Fail(format!(
            "EC2 has not answered the scaler for {} s: `scaler preflight` says why",
            age.as_secs()
        ));
    }
    if let Some(seconds) = held.and_then(|until| left(until, now)) {
        let reason = status.plan.as_ref().map_or("", |plan| &plan.reason);
        return Warn(format!(
            "calls to EC2 wait for {seconds} s: the scaler says: {reason}"
        ));
    }
    let count = observation.instances.len();
    match observation
        .instances
        .iter()
        .filter(|it| it.outdated)
        .count()
    {
        0 => Fine(format!("{count} instances, listed {} s ago", age.as_secs())),
        outdated => Warn(format!(
            "{outdated} of {count} instances have an old image or old settings: they are replaced once they are idle"
        )),
    }
}

fn boots(observation: &Observation, now: SystemTime) -> Verdict {
    let Some(failed) = observation
        .failed_boots
        .as_ref()
        .filter(|it| it.in_a_row > 0)
    else {
        return Fine("the last one succeeded, or there was none".to_owned());
    };
    let held = failed
        .held_until
        .as_ref()
        .and_then(|until| left(until, now));
    let held = held.map(|seconds| format!("; none starts for {seconds} s"));
    Fail(format!(
        "{} in a row ended without a ready worker{}: the instances' console logs say why \
         (`make up`: instances/*/console.log in its data folder; EC2: `aws ec2 get-console-output`)",
        failed.in_a_row,
        held.unwrap_or_default()
    ))
}

fn workers(status: &ScalerStatus, observation: &Observation, now: SystemTime) -> Verdict {
    let limits = status
        .policy
        .as_ref()
        .and_then(|policy| policy.patience.as_ref());
    let silence = limits
        .and_then(|it| duration(it.silence_deadline.as_ref()))
        .unwrap_or(SILENCE);
    let boot = limits
        .and_then(|it| duration(it.boot_deadline.as_ref()))
        .unwrap_or(BOOT);
    let all = &observation.instances;
    let name = |it: &Instance| format!("{} ({})", it.instance_id, it.name);
    let reports = |it: &&Instance| {
        use InstanceState::{Busy, Cordoned, Draining, Idle};
        matches!(it.state(), Idle | Busy | Draining | Cordoned)
    };
    let is_silent = |it: &&Instance| age(it.heard.as_ref(), now).is_some_and(|age| age > silence);
    if let Some(silent) = all.iter().filter(reports).find(is_silent) {
        return Fail(format!(
            "{} has not reported for more than {} s: its console log says why; the scaler replaces it",
            name(silent),
            silence.as_secs()
        ));
    }
    let is_slow = |it: &&Instance| {
        it.state() == InstanceState::Booting
            && age(it.running_since.as_ref(), now).is_some_and(|age| age > boot / 2)
    };
    if let Some(slow) = all.iter().find(is_slow) {
        return Warn(format!(
            "{} runs without a worker that reports: its console log says why; does it reach the scaler (MUSTER_SCALER)?",
            name(slow)
        ));
    }
    let count = |state| all.iter().filter(|it| it.state() == state).count();
    let working = all.iter().filter(reports).count();
    let starting = count(InstanceState::Pending)
        + count(InstanceState::Booting)
        + observation.launching as usize;
    let text = format!(
        "{working} at work or idle, {starting} starting, {} stopped",
        count(InstanceState::Stopped)
    );
    let waiting = observation.unanswered.unwrap_or(0);
    match (waiting, working + starting, &status.plan) {
        (1.., 0, Some(plan)) => Warn(format!(
            "{text}, and {waiting} requests wait: the scaler says: {}",
            plan.reason
        )),
        _ => Fine(text),
    }
}

/// Returns how long ago that was; absent without a time.
fn age(at: Option<&Timestamp>, now: SystemTime) -> Option<Duration> {
    let at = SystemTime::try_from(*at?).ok()?;
    Some(now.duration_since(at).unwrap_or_default())
}

/// The seconds until then; absent when it is over.
fn left(until: &Timestamp, now: SystemTime) -> Option<u64> {
    let until = SystemTime::try_from(*until).ok()?;
    let left = until.duration_since(now).ok()?;
    Some(left.as_secs() + 1)
}

fn duration(duration: Option<&prost_types::Duration>) -> Option<Duration> {
    Duration::try_from(*duration?).ok()
}

#[cfg(test)]
mod tests;

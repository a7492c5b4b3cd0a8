#![allow(clippy::unwrap_used)]

use std::time::Duration;

use super::*;
use crate::clock::Millis;
use crate::protocol::AwsService;

const NOW: Millis = 1_800_000_000_000;

fn rules(text: &str) -> Vec<CallFault> {
    let faults: Faults = toml::from_str(text).unwrap();
    faults.check().unwrap();
    faults.call
}

fn draws(rules: &[CallFault], seed: u64) -> Vec<InjectedFault> {
    let mut faults = CallFaults::new(rules, seed, NOW);
    (0..200)
        .map(|_| faults.draw(AwsService::Sqs, "SendMessage", NOW))
        .collect()
}

#[test]
fn the_seed_decides_the_faults() {
    let rules = rules(
        r#"
        [[call]]
        probability = 0.3
        latency_ms = { lognormal = { median = 20, sigma = 0.5 } }
        [[call]]
        service = "sqs"
        action = "Send*"
        probability = 0.2
        error = { code = "InternalError" }
        "#,
    );
    let faults = draws(&rules, 7);
    assert_eq!(faults, draws(&rules, 7));
    assert_ne!(faults, draws(&rules, 8));
    let slow = faults.iter().filter(|one| !one.latency.is_zero()).count();
    let failed = faults.iter().filter(|one| one.outcome.is_some()).count();
    assert!((30..90).contains(&slow), "{slow} of 200 at 0.3");
    assert!((15..70).contains(&failed), "{failed} of 200 at 0.2");
}

#[test]
fn the_draws_of_one_rule_do_not_move_those_of_another() {
    let with = |first_probability: &str| {
        let rules = rules(&format!(
            "[[call]]\nprobability = {first_probability}\nlatency_ms = {{ uniform = [0, 9] }}\n\
             [[call]]\nprobability = 0.5\nreset = true"
        ));
        draws(&rules, 1)
            .into_iter()
            .map(|fault| fault.outcome)
            .collect::<Vec<_>>()
    };
    assert_eq!(with("0"), with("1"));
}

#[test]
fn rules_match_by_service_and_action_and_add_up() {
    let rules = rules(
        r#"
        [[call]]
        service = "s3"
        reset = true
        [[call]]
        service = "sqs"
        action = "*Message"
        latency_ms = 5
        [[call]]
        latency_ms = 7
        error = { code = "AccessDenied", message = "no" }
        when = "after"
        [[call]]
        reset = true
        "#,
    );
    let mut faults = CallFaults::new(&rules, 0, NOW);
    let fault = faults.draw(AwsService::Sqs, "SendMessage", NOW);
    assert_eq!(fault.latency, Duration::from_millis(12));
    let error = FaultOutcome::Error {
        code: "AccessDenied".to_owned(),
        status: 403,
        message: "no".to_owned(),
    };
    assert_eq!(fault.outcome, Some((When::After, error)));
    let fault = faults.draw(AwsService::S3, "GetObject", NOW);
    assert_eq!(fault.latency, Duration::from_millis(7));
    assert_eq!(fault.outcome, Some((When::Before, FaultOutcome::Reset)));
}

#[test]
fn a_limit_throttles_with_the_code_of_the_service() {
    let rules = rules("[[call]]\nlimit = { size = 2, refill_per_second = 1 }");
    for (service, code, status) in [
        (AwsService::Ec2, "RequestLimitExceeded", 503),
        (AwsService::Sqs, "RequestThrottled", 400),
        (AwsService::S3, "SlowDown", 503),
    ] {
        let mut faults = CallFaults::new(&rules, 0, NOW);
        let mut outcome = |now| faults.draw(service, "X", now).outcome;
        assert_eq!((outcome(NOW), outcome(NOW)), (None, None));
        match outcome(NOW) {
            Some((
                When::Before,
                FaultOutcome::Error {
                    code: c, status: s, ..
                },
            )) => {
                assert_eq!((c.as_str(), s), (code, status));
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(outcome(NOW + 1000), None, "refilled");
    }
}

#[test]
fn latencies_follow_their_distribution() {
    let mut rng = FaultRng::new(3, "latency");
    for (text, mean_ms, tolerance) in [
        ("20", 20.0, 0.0),
        ("{ uniform = [10, 30] }", 20.0, 0.6),
        ("{ normal = { mean = 50, deviation = 5 } }", 50.0, 0.6),
        ("{ exponential = { mean = 10 } }", 10.0, 0.6),
        ("{ lognormal = { median = 10, sigma = 0.5 } }", 11.33, 0.6),
    ] {
        let rule = &rules(&format!("[[call]]\nlatency_ms = {text}"))[0];
        let latency = rule.latency_ms.unwrap();
        let sum: Duration = (0..5000).map(|_| latency.draw(&mut rng)).sum();
        let mean = sum.as_secs_f64() * 1000.0 / 5000.0;
        assert!((mean - mean_ms).abs() <= tolerance, "{text}: {mean}");
    }
}

#[test]
fn a_value_out_of_bounds_is_refused_by_name() {
    for (text, complaint) in [
        (
            "[[call]]\nreset = true\nprobability = 1.5",
            "call[0].probability",
        ),
        ("[[call]]\nservice = 'sqs'", "call[0] changes nothing"),
        ("[[call]]\nlatency_ms = -1", "call[0].latency_ms"),
        (
            "[[call]]\nlatency_ms = { uniform = [5, 1] }",
            "call[0].latency_ms",
        ),
        (
            "[[call]]\nlatency_ms = { lognormal = { median = 0, sigma = 1 } }",
            "call[0].latency_ms",
        ),
        (
            "[[call]]\nlimit = { size = 0, refill_per_second = 1 }",
            "call[0].limit",
        ),
        (
            "[[call]]\nerror = { code = 'X', status = 200 }",
            "call[0].error.status",
        ),
        ("[ec2]\nspot_notice_ms = 86400001", "ec2.spot_notice_ms"),
        ("[sqs]\nduplicate = -0.1", "sqs.duplicate"),
        ("[sqs]\ncounter_lag_ms = 60001", "a minute"),
    ] {
        let faults: Faults = toml::from_str(text).unwrap();
        let error = faults.check().unwrap_err().to_string();
        assert!(error.contains(complaint), "{text}: {error}");
    }
}

#[test]
fn faults_round_trip_through_json() {
    let faults: Faults = toml::from_str(
        r#"
        seed = 5
        [[call]]
        service = "ec2"
        action = "Run*"
        probability = 0.5
        latency_ms = { normal = { mean = 3, deviation = 1 } }
        limit = { size = 5, refill_per_second = 2 }
        error = { code = "X", status = 418 }
        reset = true
        when = "after"
        [sqs]
        counter_lag_ms = 60000
        duplicate = 0.1
        [ec2]
        boot_delay_ms = 20
        limits = { preset = "aws" }
        capacity = [{ instances = 3 }]
        "#,
    )
    .unwrap();
    let json = serde_json::to_string(&faults).unwrap();
    assert_eq!(serde_json::from_str::<Faults>(&json).unwrap(), faults);
}

#[test]
fn a_reset_with_a_limit_applies_only_above_it() {
    let rules = rules("[[call]]\nreset = true\nlimit = { size = 1, refill_per_second = 0 }");
    let mut faults = CallFaults::new(&rules, 0, NOW);
    let mut outcome = || faults.draw(AwsService::Sqs, "X", NOW).outcome;
    assert_eq!(outcome(), None);
    assert_eq!(outcome(), Some((When::Before, FaultOutcome::Reset)));
}

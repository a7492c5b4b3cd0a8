#![allow(clippy::unwrap_used)]

use super::*;
use crate::clock::Clock;
use crate::cloudwatch::Metrics;
use crate::config::{Authentication, LambdaConfig};
use crate::iam::Iam;
use crate::lambda::LambdaDependencies;
use crate::logs::Logs;
use crate::sqs::Sqs;

#[tokio::test]
async fn waiting_events_are_bounded_by_their_bytes() {
    let clock = Clock::start();
    let dependencies = LambdaDependencies {
        clock,
        region: "us-east-1".to_owned(),
        address: "127.0.0.1:1".parse().unwrap(),
        iam: Iam::without_roles(clock, Authentication::Any),
        sqs: Arc::new(Sqs::new(clock, "us-east-1")),
        logs: Arc::new(Logs::new(clock, "us-east-1")),
        metrics: Arc::new(Metrics::new(clock)),
    };
    let folder = tempfile::tempdir().unwrap();
    let lambda = Lambda::new(dependencies, folder.path(), LambdaConfig::default()).unwrap();
    let half = MAX_QUEUED_BYTES / 2;
    let first = Queued::new(&lambda, half).unwrap();
    let _second = Queued::new(&lambda, half).unwrap();
    for _ in 0..2 {
        let refused = Queued::new(&lambda, 1).unwrap_err();
        assert_eq!(refused, LambdaError::TooManyRequests);
    }
    drop(first);
    Queued::new(&lambda, half).unwrap();
}

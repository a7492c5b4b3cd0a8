//! The rate of arrivals, and what starts by it.

use std::time::Duration;

use crate::fixtures::{Fleet, NOW};
use crate::{Estimates, FrontDemand, PolicyKind, Rate, Smoothed, Targets, Timestamp, Timestamped};

fn at(seconds: f64) -> Timestamp {
    NOW.after(Duration::from_secs_f64(seconds))
}

/// The estimates after readings of seconds and total.
fn after(readings: impl IntoIterator<Item = (f64, u64)>) -> Estimates {
    let mut fleet = Fleet::none();
    let mut estimates = Estimates::default();
    for (seconds, accepted_total) in readings {
        let now = at(seconds);
        fleet.observation.now = now;
        let front = fleet.observation.front.as_mut().unwrap();
        (front.at, front.value.accepted_total) = (now, accepted_total);
        estimates.note(&Targets::default(), &fleet.observation, NOW);
    }
    estimates
}

/// Readings as they were taken while nothing ran, every 2 s, made it a stream of that length.
#[test]
fn a_burst_after_a_silence_is_no_rate() {
    let silence = (0..=30).map(|reading| (f64::from(reading) * 2.0, 0));
    let estimates = after(silence.chain([(61.9, 100)]));
    for seconds in [61.9, 63.0, 65.0, 70.0] {
        let rate = estimates.arrivals(at(seconds));
        assert_eq!(rate, Rate::default(), "after {seconds} s");
    }
}

/// The fall of the rate was extrapolated below zero for a minute, and the workers for the rest were withdrawn.
#[test]
fn when_a_crowd_leaves_the_rest_still_arrives() {
    let total = |second: u64| 4 * second + 36 * second.clamp(600, 1_200).saturating_sub(600);
    for since in [20, 40, 60, 100, 120, 200] {
        let estimates = after((0..=1_200 + since).map(|second| (second as f64, total(second))));
        let rate = estimates.arrivals(at(1_200.0 + since as f64));
        assert!(rate.per_second >= 3.9, "{since} s later: {rate:?}");
    }
}

#[test]
fn growth_is_seen_before_a_longest_window_has_passed() {
    // From 0 to 10 a second within 100 s.
    let estimates = after((0..=100).map(|second| (second as f64, second * second / 20)));
    let rate = estimates.arrivals(at(100.0));
    assert!((7.0..=10.0).contains(&rate.per_second), "{rate:?}");
    assert!((0.08..0.12).contains(&rate.trend), "{rate:?}");
}

/// By the target alone 14 would start, each of which is billed for a minute, for 29 s of work.
#[test]
fn requests_that_trickle_in_during_a_boot_start_few_workers() {
    let mut fleet = Fleet::of(15).with_backlog(16).bounded(0, 15);
    fleet.policy.kind = PolicyKind::Latency;
    // 4 a second since 4 s, of 300 ms each.
    let readings = (0..=8_u32).map(|half| (f64::from(half) / 2.0, u64::from(2 * half)));
    fleet.memory.estimates = after(readings);
    let service = Smoothed::assumed(Duration::from_millis(300));
    fleet.memory.estimates.service = Some(service);
    let now = at(4.0);
    fleet.observation.now = now;
    fleet.observation.described_at = Some(now);
    let value = FrontDemand {
        unanswered: 16,
        accepted_total: 16,
        ..FrontDemand::default()
    };
    fleet.observation.front = Some(Timestamped { value, at: now });
    let started = fleet.plan().start.len();
    assert!((4..=6).contains(&started), "{started}");
}

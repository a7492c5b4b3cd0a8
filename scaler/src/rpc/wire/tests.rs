use serde_json::{Value, json};

use super::*;
use crate::plan::{
    Alternative, Billing, Bounds, CallBackoff, Counters, FailedBoots, FrontDemand, Instance,
    InstanceState, KeepIdle, Learned, LeftOut, Observation, Plan, Policy, PolicyKind, Prices,
    RefusedCalls, Stop, StopCause, Targets, Timeouts, Timestamped, Video, Window,
};

fn at(seconds: u64) -> Timestamp {
    Timestamp::after_epoch(Duration::from_secs(seconds))
}

/// Every field has a different value.
fn policy() -> Policy {
    let s = Duration::from_secs;
    Policy {
        kind: PolicyKind::Kpa,
        bounds: Bounds {
            min_workers: 1,
            max_workers: 2,
            budget_per_hour: Some(0.25),
            warm_pool: 3,
            scale_out_cooldown: s(4),
            scale_in_cooldown: s(5),
        },
        timeouts: Timeouts {
            idle_time: s(6),
            settle: s(7),
            keep_idle: KeepIdle::AtMost(s(8)),
            silence_deadline: s(9),
            boot_deadline: s(10),
            front_stale_after: s(11),
            queue_stale_after: s(12),
            fleet_stale_after: s(13),
            stopping_timeout: s(14),
            leftover_timeout: s(15),
        },
        targets: Targets {
            latency: s(16),
            service_time: Duration::from_millis(17),
            boot_time: s(18),
        },
        prices: Prices {
            per_hour: 0.5,
            minimum: s(19),
        },
        schedule: vec![Window {
            from: s(20),
            to: s(21),
            min_workers: 22,
        }],
        paused_by: Some("ops".to_owned()),
        video: Video {
            target: s(52),
            max_workers: Some(53),
        },
    }
}

fn observation() -> Observation {
    Observation {
        now: at(100),
        wall_clock: Some(at(101)),
        front: Some(Timestamped {
            value: FrontDemand {
                unanswered: 1,
                accepted_total: 2,
                answered_total: 3,
                waiting_frames: 50,
                frames_done_total: 51,
            },
            at: at(90),
        }),
        queue: Some(Timestamped {
            value: Counters {
                visible: 4,
                in_flight: 5,
                delayed: 6,
            },
            at: at(80),
        }),
        instances: vec![Instance {
            id: "i-1".into(),
            number: Some(7),
            state: InstanceState::Busy,
            since: at(8),
            heard: Some(at(9)),
            started_at: Some(at(10)),
            running_since: Some(at(11)),
            listed: true,
            leaving: false,
            outdated: false,
        }],
        left_out: vec![LeftOut {
            id: "i-8".into(),
            number: Some(22),
            reason: "full".to_owned(),
            until: Some(at(23)),
        }],
        launching: 12,
        described_at: Some(at(13)),
        described_in: Duration::from_secs(24),
        leads_since: None,
        failed_boots: Some(FailedBoots {
            in_a_row: 14,
            held_until: at(15),
        }),
        call_backoff: CallBackoff {
            start: Some(at(16)),
            launch: Some(at(17)),
            stop: Some(at(18)),
            rename: Some(at(19)),
            refused: RefusedCalls::default(),
        },
        billing: Billing {
            spent: 0.125,
            still_paid: 20,
            paid_off_at: Some(at(21)),
        },
        learned: Learned::default(),
    }
}

fn plan() -> Plan {
    Plan {
        desired_workers: 1,
        start: vec!["i-2".into()],
        launch: 3,
        cordon: vec!["i-4".into()],
        uncordon: vec!["i-5".into()],
        stop: vec![Stop {
            id: "i-6".into(),
            cause: StopCause::Silent,
        }],
        rename: vec![("i-7".into(), 8)],
        reason: "load".to_owned(),
        rejected: vec![Alternative {
            workers: 9,
            reason: "slow".to_owned(),
        }],
        completes_in: Some(Duration::from_millis(10)),
        wake_at: Some(at(11)),
    }
}

fn decision() -> Decision {
    Decision {
        sequence: 5,
        active: policy().into(),
        observation: observation(),
        plan: plan(),
        ..Decision::default()
    }
}

fn as_json(decision: &Decision) -> Value {
    serde_json::from_str(&proto::encode(&encode(decision))).unwrap()
}

#[test]
fn every_field_of_a_decision_is_encoded() {
    let status = as_json(&decision());
    let time = |seconds| timestamp(at(seconds)).to_string();
    assert_eq!(status["sequence"], "5");
    assert_eq!(status["at"], time(100));
    assert_eq!(status["pausedBy"], "ops");
    assert_eq!(
        status["bounds"],
        json!({
            "minWorkers": 1, "maxWorkers": 2, "budgetPerHour": 0.25, "warmPool": 3,
            "scaleOutCooldown": "4s", "scaleInCooldown": "5s",
        })
    );
    assert_eq!(
        status["policy"],
        json!({
            "name": "kpa", "latencyTarget": "16s", "assumedServiceTime": "0.017s", "assumedBootTime": "18s",
            "pricePerHour": 0.5, "billedMinimum": "19s",
            "patience": {
                "idleTime": "6s", "settle": "7s", "keepIdle": "8s", "silenceDeadline": "9s", "bootDeadline": "10s",
                "frontStaleAfter": "11s", "queueStaleAfter": "12s", "fleetStaleAfter": "13s",
                "stoppingPatience": "14s", "leftoverPatience": "15s",
            },
            "schedule": [{"from": "20s", "to": "21s", "minWorkers": 22}], "videoTarget": "52s", "videoMaxWorkers": 53,
        })
    );
    assert_eq!(
        status["observation"],
        json!({
            "unanswered": "1",
            "front": {"unanswered": "1", "acceptedTotal": "2", "answeredTotal": "3", "at": time(90), "age": "10s",
                "waitingFrames": "50", "framesDoneTotal": "51"},
            "queue": {"visible": "4", "inFlight": "5", "delayed": "6", "at": time(80), "age": "20s"},
            "instances": [{
                "instanceId": "i-1", "name": proto::names::worker_instance(7), "state": "INSTANCE_STATE_BUSY",
                "since": time(8), "number": 7, "heard": time(9), "startedAt": time(10), "runningSince": time(11),
                "listed": true,
            }],
            "launching": 12, "describedAt": time(13), "failedBoots": {"inARow": 14, "heldUntil": time(15)},
            "held": {"start": time(16), "launch": time(17), "stop": time(18), "rename": time(19)},
            "billing": {"spent": 0.125, "stillPaid": 20, "paidOffAt": time(21)},
            "leftOut": [{
                "instanceId": "i-8", "name": proto::names::worker_instance(22), "reason": "full", "until": time(23),
            }],
        })
    );
    assert_eq!(
        status["plan"],
        json!({
            "policy": "kpa", "desiredWorkers": 1, "start": ["i-2"], "launch": 3, "cordon": ["i-4"],
            "uncordon": ["i-5"], "stop": ["i-6"], "stopCauses": ["STOP_CAUSE_SILENT"],
            "rename": [{"instanceId": "i-7", "number": 8}], "reason": "load",
            "rejected": [{"workers": 9, "reason": "slow"}], "completesIn": "0.010s", "wakeAt": time(11),
        })
    );
}

#[test]
fn every_state_and_cause_has_its_name() {
    let mut decided = decision();
    decided.observation.instances[0].leaving = true;
    for state in InstanceState::ALL {
        decided.observation.instances[0].state = state;
        let instance = &as_json(&decided)["observation"]["instances"][0];
        let name = format!("INSTANCE_STATE_{}", state.label().to_uppercase());
        assert_eq!(
            (&instance["state"], &instance["leaving"]),
            (&json!(name), &json!(true))
        );
    }
    for (cause, name) in [
        (StopCause::Drained, "STOP_CAUSE_DRAINED"),
        (StopCause::Silent, "STOP_CAUSE_SILENT"),
        (StopCause::NeverAttended, "STOP_CAUSE_NEVER_ATTENDED"),
        (StopCause::NeverStarted, "STOP_CAUSE_NEVER_STARTED"),
        (StopCause::Outdated, "STOP_CAUSE_OUTDATED"),
        (StopCause::OutdatedStopped, "STOP_CAUSE_OUTDATED_STOPPED"),
    ] {
        decided.plan.stop[0].cause = cause;
        assert_eq!(as_json(&decided)["plan"]["stopCauses"][0], name);
    }
}

#[test]
fn values_out_of_range_are_clamped() {
    let end = timestamp(Timestamp::after_epoch(Duration::MAX));
    assert_eq!(end.to_string(), "9999-12-31T23:59:59.999999999Z");
    assert!(Duration::try_from(duration(Duration::MAX)).is_ok());
}

#[test]
fn totals_of_failed_boots_are_encoded() {
    let mut decided = Decision::default();
    decided.totals.never_attended_stopped = 3;
    decided.totals.terminated = 4;
    let told = encode(&decided).totals.unwrap();
    assert_eq!((told.never_attended_stopped, told.terminated), (3, 4));
}

#[test]
fn an_estimate_tells_what_a_former_scaler_measured() {
    let mut learned = Smoothed::assumed(Duration::from_secs(2));
    (learned.samples, learned.learned) = (9, 7);
    let told = estimate(learned);
    assert_eq!((told.samples, told.learned), (9, 7));
}

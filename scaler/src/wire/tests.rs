use std::collections::BTreeSet;
use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::decision_log::{ActivePolicy, DecisionLog};
use crate::plan::{
    Alternative, Billing, Bounds, Counters, FailedBoots, FrontDemand, Goal, Held, Instance,
    KeepIdle, Patience, PolicyKind, Prices, Seen, State, Stop, StopCause, Window,
};

/// A decision as the loop would publish it.
pub fn decision(
    sequence: u64,
    policy: &Policy,
    observation: &Observation,
    plan: &Plan,
    before: &Memory,
) -> Decision {
    let active = ActivePolicy {
        version: 0,
        policy: Arc::new(policy.clone()),
    };
    let none = Arc::clone(&DecisionLog::new(active).latest.borrow());
    Decision {
        sequence,
        observation: observation.clone(),
        plan: plan.clone(),
        before: Some(Arc::new(before.clone())),
        ..(*none).clone()
    }
}

fn any_moment() -> impl Strategy<Value = Moment> {
    (0..=LAST_SECOND, 0_u32..1_000_000_000)
        .prop_map(|(seconds, nanos)| Moment::after_epoch(Duration::new(seconds, nanos)))
}

fn any_duration() -> impl Strategy<Value = Duration> {
    (0_u64..1_000_000_000, 0_u32..1_000_000_000)
        .prop_map(|(seconds, nanos)| Duration::new(seconds, nanos))
}

fn maybe<T: std::fmt::Debug>(some: impl Strategy<Value = T>) -> impl Strategy<Value = Option<T>> {
    prop::option::of(some)
}

fn any_dollars() -> impl Strategy<Value = f64> {
    prop_oneof![0.0..1e6_f64, prop::num::f64::POSITIVE]
}

prop_compose! {
    fn any_instance()(
        id in "i-[0-9a-f]{1,17}",
        number in maybe(any::<u32>()),
        state in prop::sample::select(State::ALL.to_vec()),
        since in any_moment(),
        moments in prop::array::uniform3(maybe(any_moment())),
        (listed, leaving) in any::<(bool, bool)>(),
    ) -> Instance {
        let [heard, started_at, running_since] = moments;
        Instance { id: id.as_str().into(), number, state, since, heard, started_at, running_since, listed, leaving }
    }
}

prop_compose! {
    fn any_observation()(
        now in any_moment(),
        front in maybe((any::<[u64; 3]>(), any_moment())),
        queue in maybe((any::<[u64; 3]>(), any_moment())),
        instances in prop::collection::vec(any_instance(), 0..5),
        launching in any::<u32>(),
        described_at in maybe(any_moment()),
        failed in maybe((any::<u32>(), any_moment())),
        held in prop::array::uniform4(maybe(any_moment())),
        (spent, still_paid, paid_off_at) in (any_dollars(), any::<u32>(), maybe(any_moment())),
    ) -> Observation {
        let [start, launch, stop, rename] = held;
        Observation {
            now,
            front: front.map(|([unanswered, accepted_total, answered_total], at)| Seen {
                value: FrontDemand { unanswered, accepted_total, answered_total },
                at,
            }),
            queue: queue.map(|([visible, in_flight, delayed], at)| Seen {
                value: Counters { visible, in_flight, delayed },
                at,
            }),
            instances,
            launching,
            described_at,
            failed_boots: failed.map(|(in_a_row, held_until)| FailedBoots { in_a_row, held_until }),
            held: Held { start, launch, stop, rename },
            billing: Billing { spent, still_paid, paid_off_at },
        }
    }
}

prop_compose! {
    fn any_plan()(
        (desired_workers, launch) in any::<(u32, u32)>(),
        ids in prop::array::uniform4(prop::collection::vec("i-[0-9a-f]{1,17}", 0..3)),
        cause in prop::sample::select(vec![StopCause::Drained, StopCause::Silent, StopCause::NeverAttended, StopCause::NeverStarted]),
        number in any::<u32>(),
        reason in "\\PC{0,40}",
        rejected in prop::collection::vec((any::<u32>(), "\\PC{0,20}"), 0..3),
        completes_in in maybe(any_duration()),
        wake_at in maybe(any_moment()),
    ) -> Plan {
        let [start, cordon, uncordon, stop] = ids.map(|ids| ids.iter().map(|id| id.as_str().into()).collect::<Vec<crate::plan::InstanceId>>());
        Plan {
            desired_workers,
            launch,
            rename: start.iter().map(|id| (id.clone(), number)).collect(),
            stop: stop.into_iter().map(|id| Stop { id, cause }).collect(),
            start,
            cordon,
            uncordon,
            reason,
            rejected: rejected.into_iter().map(|(workers, reason)| Alternative { workers, reason }).collect(),
            completes_in,
            wake_at,
        }
    }
}

prop_compose! {
    fn any_policy()(
        kind in prop::sample::select(PolicyKind::ALL.to_vec()),
        (min_workers, max_workers, warm_pool) in any::<(u32, u32, u32)>(),
        budget_per_hour in maybe(any_dollars()),
        per_hour in any_dollars(),
        d in prop::collection::vec(any_duration(), 16),
        keep_idle in maybe(any_duration()),
        schedule in prop::collection::vec((any_duration(), any_duration(), any::<u32>()), 0..3),
        paused_by in maybe("\\PC{1,20}"),
    ) -> Policy {
        Policy {
            kind,
            bounds: Bounds {
                min_workers,
                max_workers,
                budget_per_hour,
                warm_pool,
                scale_out_cooldown: d[0],
                scale_in_cooldown: d[1],
            },
            patience: Patience {
                idle_time: d[2],
                settle: d[3],
                silence_deadline: d[4],
                boot_deadline: d[5],
                front_stale_after: d[6],
                queue_stale_after: d[7],
                fleet_stale_after: d[8],
                stopping_patience: d[9],
                leftover_patience: d[10],
                keep_idle: keep_idle.map_or(KeepIdle::Auto, KeepIdle::AtMost),
            },
            goal: Goal { latency: d[11], service_time: d[12], boot_time: d[13] },
            prices: Prices { per_hour, minimum: d[14] },
            schedule: schedule.into_iter().map(|(from, to, min_workers)| Window { from, to, min_workers }).collect(),
            paused_by,
        }
    }
}

proptest! {
    #[test]
    fn what_a_plan_is_made_from_and_the_plan_survive_the_wire_and_json(
        sequence in 1..=u64::MAX,
        policy in any_policy(),
        observation in any_observation(),
        plan in any_plan(),
        standing_by in maybe("\\PC{0,20}"),
    ) {
        let mut decided = decision(sequence, &policy, &observation, &plan, &Memory::default());
        decided.standing_by.clone_from(&standing_by);
        for with_memory in [false, true] {
            let status = encode(&decided, with_memory);
            let read: v1::ScalerStatus = proto::decode(&proto::encode(&status)).unwrap();
            prop_assert_eq!(&read, &status);
            let expected = Recorded {
                sequence,
                policy: policy.clone(),
                observation: observation.clone(),
                plan: plan.clone(),
                memory: with_memory.then(Memory::default),
                standing_by: standing_by.clone(),
            };
            prop_assert_eq!(decode(&read).unwrap(), expected);
        }
    }
}

#[test]
fn an_incomplete_status_is_refused() {
    let whole = encode(
        &decision(
            1,
            &Policy::default(),
            &Observation::default(),
            &Plan::default(),
            &Memory::default(),
        ),
        false,
    );
    assert!(decode(&whole).is_ok());
    let without: [fn(&mut v1::ScalerStatus); 7] = [
        |status| status.at = None,
        |status| status.observation = None,
        |status| status.plan = None,
        |status| status.bounds = None,
        |status| status.policy = None,
        |status| status.memory = "{".to_owned(),
        |status| {
            status.at = Some(Timestamp {
                seconds: -1,
                nanos: 0,
            })
        },
    ];
    let errors = without.map(|change| {
        let mut status = whole.clone();
        change(&mut status);
        decode(&status).unwrap_err().to_string()
    });
    assert_eq!(BTreeSet::from(errors.clone()).len(), 7, "{errors:?}");
}

#[test]
fn what_does_not_fit_becomes_the_longest_that_does() {
    let end = timestamp(Moment::after_epoch(Duration::MAX));
    assert_eq!(end.to_string(), "9999-12-31T23:59:59.999999999Z");
    assert!(Duration::try_from(duration(Duration::MAX)).is_ok());
}

#[test]
fn what_never_attended_and_what_was_terminated_is_told() {
    let (policy, observation) = (Policy::default(), Observation::default());
    let mut decided = decision(
        1,
        &policy,
        &observation,
        &Plan::default(),
        &Memory::default(),
    );
    decided.totals.never_attended_stopped = 3;
    decided.totals.terminated = 4;
    let told = encode(&decided, false).totals.unwrap();
    assert_eq!((told.never_attended_stopped, told.terminated), (3, 4));
}

mod backlog;
mod fleet_simulation;
mod frames;
mod hpa;
mod keda;
mod kpa;
mod learned;
mod outdated;
mod published;
mod rates;
mod scale_in;
mod scale_out;
mod schedules;

use crate::fixtures::Fleet;
use crate::{may_discard, plan};

#[test]
fn a_paused_scaler_does_nothing_and_keeps_measuring() {
    let cases = [
        Fleet::of(3).with_backlog(40),
        Fleet::of(3)
            .idle()
            .for_ms(60_000)
            .without_demand_for_ms(60_000),
        Fleet::of(2).cordoned().without_demand_for_ms(60_000),
        Fleet::of(1).idle().heard_ms_ago(60_000).with_backlog(1),
        Fleet::none().with_backlog(3).bounded(2, 5),
    ];
    for fleet in cases {
        let mut paused = fleet.policy.clone();
        paused.paused_by = Some("ops".to_owned());
        let (nothing, memory) = plan(&paused, &fleet.observation, fleet.memory.clone());
        assert!(!nothing.changes_something(), "{nothing:?}");
        assert!(nothing.reason.starts_with("paused by ops"), "{nothing:?}");
        assert_eq!(nothing.desired_workers, fleet.observation.working());
        assert_eq!(memory.planned_at, Some(fleet.observation.now));
        assert!(memory.estimates.service.is_some());
        // Resumed, it goes on as if it had not been paused.
        let (resumed, _) = plan(&fleet.policy, &fleet.observation, memory);
        assert_eq!(resumed, fleet.plan());
    }
}

#[test]
fn no_instance_is_terminated_while_paused_or_by_an_old_description() {
    let fleet = Fleet::of(1);
    assert!(may_discard(&fleet.policy, &fleet.observation));
    let mut paused = fleet.policy.clone();
    paused.paused_by = Some("ops".to_owned());
    assert!(!may_discard(&paused, &fleet.observation));
    let old = fleet.clone().described_ms_ago(60_000);
    assert!(!may_discard(&old.policy, &old.observation));
    let mut never = fleet.observation.clone();
    never.described_at = None;
    assert!(!may_discard(&fleet.policy, &never));
}

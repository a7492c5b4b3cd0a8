//! Histories under the published policies.

use std::time::Duration;

use proptest::prelude::*;

use super::scaled_cloud::ScaledCloud;
use super::{event, happen, policy};
use crate::plan::PolicyKind;
use crate::plan::fixtures::least;

const PUBLISHED: [PolicyKind; 5] = [
    PolicyKind::BacklogPerInstance,
    PolicyKind::Keda,
    PolicyKind::Hpa,
    PolicyKind::Kpa,
    PolicyKind::Schedule,
];

proptest! {
    // Their windows are minutes long, so a case takes a second.
    #![proptest_config(ProptestConfig::with_cases(ProptestConfig::default().cases.min(16)))]

    #[test]
    fn the_published_policies_meet_demand_and_return_to_their_minimum(
        seed in any::<u64>(),
        kind in prop::sample::select(&PUBLISHED[..]),
        min in 0_u32..3,
        more in 1_u32..8,
        history in prop::collection::vec((event(), 1_u32..3_000), 1..20),
    ) {
        let mut cloud = ScaledCloud::new(policy(kind, min, more, 0, 0), seed);
        for (event, steps) in history {
            happen(&mut cloud, &event);
            for _ in 0..steps {
                cloud.step();
            }
        }
        cloud.recover();
        let began = cloud.cloud.now();
        while !cloud.is_settled(least(kind, min)) {
            cloud.step();
            prop_assert!(cloud.cloud.now().since(began) < Duration::from_secs(2_400), "{cloud:?}");
        }
    }
}

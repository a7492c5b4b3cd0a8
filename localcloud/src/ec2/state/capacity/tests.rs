#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;
use crate::clock::Millis;
use crate::ec2::state::{LaunchRequest, Market};

const NOW: Millis = 1_800_000_000_000;

fn capacity(instance_type: Option<&str>, subnet: Option<&str>, instances: usize) -> Capacity {
    Capacity {
        instance_type: instance_type.map(str::to_owned),
        subnet: subnet.map(str::to_owned),
        instances,
    }
}

fn spec(instance_type: &str, subnet: &str) -> LaunchSpec {
    LaunchSpec {
        instance_type: instance_type.to_owned(),
        subnet_id: Some(subnet.to_owned()),
        ..LaunchSpec::default()
    }
}

fn launch(instances: &mut Instances, spec: LaunchSpec, ids: &[String]) {
    let request = LaunchRequest {
        spec,
        reservation_id: "r-1".to_owned(),
        client_token: String::new(),
        requested: ids.len(),
        instance_ids: ids.to_vec(),
    };
    instances.launch(request, NOW).unwrap();
}

#[test]
fn a_stopping_instance_frees_capacity() {
    let mut instances = Instances::new(vec![capacity(None, Some("subnet-1"), 1)], 0);
    let ids = ["i-a".to_owned()];
    launch(&mut instances, spec("c5.large", "subnet-1"), &ids);
    assert_eq!(instances.capacity_for(&spec("c5.large", "subnet-1")), 0);
    assert_eq!(
        instances.capacity_for(&spec("c5.large", "subnet-2")),
        usize::MAX
    );
    instances.get_mut("i-a").unwrap().process_started(1, NOW);
    instances.stop(&ids, false, NOW).unwrap();
    assert_eq!(instances.capacity_for(&spec("c5.large", "subnet-1")), 1);
}

#[test]
fn a_repeated_identifier_needs_capacity_once() {
    let mut instances = Instances::new(vec![capacity(None, None, 1)], 0);
    let ids = ["i-a".to_owned()];
    launch(&mut instances, spec("c5.large", "subnet-1"), &ids);
    let instance = instances.get_mut("i-a").unwrap();
    instance.process_started(1, NOW);
    instances.stop(&ids, false, NOW).unwrap();
    instances.get_mut("i-a").unwrap().process_gone(1);
    let twice = [ids.clone(), ids].concat();
    instances.start(&twice, NOW).unwrap();
}

#[test]
fn an_invisible_instance_uses_capacity() {
    let mut instances = Instances::new(vec![capacity(None, None, 1)], 500);
    let ids = ["i-a".to_owned()];
    launch(&mut instances, spec("c5.large", "subnet-1"), &ids);
    assert_eq!(instances.capacity_for(&spec("c5.large", "subnet-1")), 0);
    let unknown = Err(Ec2Error::InstanceNotFound(ids.to_vec()));
    assert_eq!(instances.check_exist(&ids, NOW + 499), unknown);
    assert_eq!(instances.all_visible(NOW + 499).count(), 0);
    assert_eq!(instances.check_exist(&ids, NOW + 500), Ok(()));
    assert_eq!(instances.all_visible(NOW + 500).count(), 1);
}

#[test]
fn a_one_time_spot_instance_is_not_stopped_with_others() {
    let mut instances = Instances::default();
    let ids = ["i-a".to_owned(), "i-b".to_owned()];
    launch(&mut instances, spec("c5.large", "subnet-1"), &ids[..1]);
    let spot = LaunchSpec {
        market: Market::OneTimeSpot,
        ..spec("c5.large", "subnet-1")
    };
    launch(&mut instances, spot, &ids[1..]);
    for id in &ids {
        instances.get_mut(id).unwrap().process_started(1, NOW);
    }
    let refused = instances.stop(&ids, false, NOW);
    assert_eq!(refused, Err(Ec2Error::OneTimeSpot("i-b".to_owned())));
    assert_eq!(instances.get("i-a").unwrap().state, InstanceState::Running);
}

/// A call, with kinds and instances by number.
#[derive(Debug, Clone)]
enum Step {
    Launch { kind: usize, wanted: usize },
    Start(Vec<usize>),
    Stop(usize),
    Terminate(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0_usize..4, 1_usize..5).prop_map(|(kind, wanted)| Step::Launch { kind, wanted }),
        proptest::collection::vec(0_usize..30, 1..4).prop_map(Step::Start),
        (0_usize..30).prop_map(Step::Stop),
        (0_usize..30).prop_map(Step::Terminate),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_capacity_is_exceeded(steps in proptest::collection::vec(step(), 1..60)) {
        let capacities = vec![
            capacity(Some("c5.large"), None, 3),
            capacity(None, Some("subnet-1"), 4),
            capacity(Some("c5.xlarge"), Some("subnet-2"), 1),
            capacity(None, None, 6),
        ];
        let mut instances = Instances::new(capacities.clone(), 0);
        let mut ids: Vec<String> = Vec::new();
        for step in steps {
            let named = |numbers: &[usize]| -> Vec<String> {
                numbers.iter().filter_map(|number| ids.get(*number)).cloned().collect()
            };
            match step {
                Step::Launch { kind, wanted } => {
                    let kind = spec(["c5.large", "c5.xlarge"][kind / 2], ["subnet-1", "subnet-2"][kind % 2]);
                    let fitting = wanted.min(instances.capacity_for(&kind));
                    let new: Vec<String> = (0..fitting).map(|number| format!("i-{}", ids.len() + number)).collect();
                    launch(&mut instances, kind, &new);
                    for id in &new {
                        instances.get_mut(id).unwrap().process_started(1, NOW);
                    }
                    ids.extend(new);
                }
                Step::Start(numbers) => {
                    let before = instances.all_visible(NOW).filter(|instance| instance.uses_capacity()).count();
                    if instances.start(&named(&numbers), NOW).is_err() {
                        let after = instances.all_visible(NOW).filter(|instance| instance.uses_capacity()).count();
                        prop_assert_eq!(before, after);
                    }
                }
                Step::Stop(number) => {
                    for id in named(&[number]) {
                        let instance = instances.get_mut(&id).unwrap();
                        instance.process_started(instance.boot, NOW);
                        if instance.check_stop().is_ok() {
                            instance.stop(false, NOW);
                            instance.process_gone(instance.boot);
                        }
                    }
                }
                Step::Terminate(number) => {
                    instances.terminate(&named(&[number]), NOW).unwrap();
                }
            }
            for capacity in &capacities {
                prop_assert!(instances.used(capacity) <= capacity.instances, "{:?}", capacity);
            }
        }
    }
}

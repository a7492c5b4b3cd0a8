#![allow(clippy::unwrap_used)]

use super::*;

const NOW: Millis = 1_800_000_000_000;

fn request(ids: &[&str], token: &str) -> LaunchRequest {
    LaunchRequest {
        spec: LaunchSpec {
            image_id: "ami-a".to_owned(),
            ..LaunchSpec::default()
        },
        reservation_id: "r-1".to_owned(),
        client_token: token.to_owned(),
        requested: ids.len(),
        instance_ids: ids.iter().map(|id| (*id).to_owned()).collect(),
    }
}

fn fleet_of(ids: &[&str]) -> Instances {
    let mut instances = Instances::default();
    instances.launch(request(ids, ""), NOW).unwrap();
    instances
}

fn ids(ids: &[&str]) -> Vec<String> {
    ids.iter().map(|id| (*id).to_owned()).collect()
}

fn state_of(instances: &Instances, id: &str) -> InstanceState {
    instances.get(id).unwrap().state
}

#[test]
fn the_life_of_an_instance() {
    let mut instances = fleet_of(&["i-a"]);
    assert_eq!(state_of(&instances, "i-a"), InstanceState::Pending);
    instances.get_mut("i-a").unwrap().process_started(1, NOW);
    assert_eq!(state_of(&instances, "i-a"), InstanceState::Running);

    let stopped = instances.stop(&ids(&["i-a"]), false, NOW).unwrap();
    assert_eq!(stopped[0].0.previous, InstanceState::Running);
    assert_eq!(stopped[0].0.current, InstanceState::Stopping);
    assert_eq!(stopped[0].1, ProcessChange::Stop { force: false });
    assert!(matches!(
        instances.start(&ids(&["i-a"]), NOW),
        Err(Ec2Error::IncorrectInstanceState { .. })
    ));
    let forced = instances.stop(&ids(&["i-a"]), true, NOW).unwrap();
    assert_eq!(forced[0].1, ProcessChange::Stop { force: true });
    instances.get_mut("i-a").unwrap().process_gone(1);
    assert_eq!(state_of(&instances, "i-a"), InstanceState::Stopped);

    let started = instances.start(&ids(&["i-a"]), NOW).unwrap();
    assert_eq!(started[0].1, ProcessChange::Boot(2));
    // Late events of the first process change nothing.
    instances.get_mut("i-a").unwrap().process_gone(1);
    instances
        .get_mut("i-a")
        .unwrap()
        .process_ended(1, "exit code 0", NOW);
    assert_eq!(state_of(&instances, "i-a"), InstanceState::Pending);
    instances.get_mut("i-a").unwrap().process_started(2, NOW);

    let terminated = instances.terminate(&ids(&["i-a"]), NOW).unwrap();
    assert_eq!(terminated[0].0.current, InstanceState::ShuttingDown);
    instances.get_mut("i-a").unwrap().process_gone(2);
    assert_eq!(state_of(&instances, "i-a"), InstanceState::Terminated);
    assert!(instances.start(&ids(&["i-a"]), NOW).is_err());
    assert!(instances.stop(&ids(&["i-a"]), false, NOW).is_err());
    assert_eq!(
        instances.terminate(&ids(&["i-a"]), NOW).unwrap()[0].1,
        ProcessChange::Nothing
    );
}

#[test]
fn a_process_that_ends_by_itself_stops_or_terminates_its_instance() {
    for (terminate_on_shutdown, expected) in [
        (false, InstanceState::Stopped),
        (true, InstanceState::Terminated),
    ] {
        let mut instances = Instances::default();
        let mut request = request(&["i-a"], "");
        request.spec.terminate_on_shutdown = terminate_on_shutdown;
        instances.launch(request, NOW).unwrap();
        let instance = instances.get_mut("i-a").unwrap();
        instance.process_started(1, NOW);
        instance.process_ended(1, "exit code 3", NOW);
        instance.process_gone(1);
        assert_eq!(instance.state, expected);
        assert!(
            instance
                .state_reason
                .as_ref()
                .unwrap()
                .message
                .contains("exit code 3")
        );
    }
}

#[test]
fn a_call_with_an_unknown_or_unsuitable_instance_changes_none() {
    let mut instances = fleet_of(&["i-a", "i-b"]);
    instances.get_mut("i-a").unwrap().process_started(1, NOW);
    let unknown = instances.stop(&ids(&["i-a", "i-x", "i-y"]), false, NOW);
    assert_eq!(
        unknown,
        Err(Ec2Error::InstanceNotFound(ids(&["i-x", "i-y"])))
    );
    let unsuitable = instances.stop(&ids(&["i-a", "i-b"]), false, NOW);
    assert!(
        matches!(unsuitable, Err(Ec2Error::IncorrectInstanceState { .. })),
        "i-b is pending"
    );
    assert_eq!(state_of(&instances, "i-a"), InstanceState::Running);
}

#[test]
fn a_client_token_launches_once() {
    let mut instances = Instances::default();
    let (first, new) = instances
        .launch(request(&["i-a", "i-b"], "token"), NOW)
        .unwrap();
    assert!(new);
    let (second, new) = instances
        .launch(request(&["i-c", "i-d"], "token"), NOW)
        .unwrap();
    assert!(!new);
    assert_eq!(first, second);
    let other = instances.launch(request(&["i-e"], "token"), NOW);
    assert_eq!(other, Err(Ec2Error::IdempotentParameterMismatch));
    assert_eq!(instances.all_visible(NOW).count(), 2);
}

#[test]
fn terminated_instances_are_visible_for_an_hour() {
    let mut instances = fleet_of(&["i-a"]);
    instances.terminate(&ids(&["i-a"]), NOW).unwrap();
    instances.get_mut("i-a").unwrap().process_gone(1);
    let listed = |instances: &mut Instances, now| {
        instances
            .select(&[], |_| true, 0, 10, now)
            .unwrap()
            .instances
            .len()
    };
    assert_eq!(listed(&mut instances, NOW + 3_599_999), 1);
    assert_eq!(listed(&mut instances, NOW + 3_600_000), 0);
}

#[test]
fn pages_contain_every_instance_once() {
    let names: Vec<String> = (0..12).map(|number| format!("i-{number:02}")).collect();
    let mut instances = fleet_of(&names.iter().map(String::as_str).collect::<Vec<_>>());
    let (mut seen, mut start_at) = (Vec::new(), Some(0));
    while let Some(from) = start_at {
        let page = instances.select(&[], |_| true, from, 5, NOW).unwrap();
        assert!(page.instances.len() <= 5);
        seen.extend(
            page.instances
                .iter()
                .map(|instance| instance.instance_id.clone()),
        );
        start_at = page.next;
    }
    assert_eq!(seen, names);
}

#[test]
fn tags_are_set_and_deleted_by_key_or_by_key_and_value() {
    let mut instances = fleet_of(&["i-a"]);
    let target = ids(&["i-a"]);
    let tags: Tags = [("a", "1"), ("b", "2"), ("c", "3")]
        .map(|(key, value)| (key.into(), value.into()))
        .into();
    instances.create_tags(&target, &tags, NOW).unwrap();
    let named = [
        ("a".to_owned(), None),
        ("b".to_owned(), Some("other".to_owned())),
        ("c".to_owned(), Some("3".into())),
    ];
    instances.delete_tags(&target, &named, NOW).unwrap();
    assert_eq!(
        instances.get("i-a").unwrap().tags,
        Tags::from([("b".to_owned(), "2".to_owned())])
    );
    let many: Tags = (0..50)
        .map(|number| (format!("k{number}"), String::new()))
        .collect();
    assert_eq!(
        instances.create_tags(&target, &many, NOW),
        Err(Ec2Error::TagLimitExceeded)
    );
    instances.delete_tags(&target, &[], NOW).unwrap();
    assert!(instances.get("i-a").unwrap().tags.is_empty());
}

#[test]
fn a_tag_key_must_fit_into_a_path() {
    let tags = |key: &str| Tags::from([(key.to_owned(), String::new())]);
    for valid in ["Name", "a:b", "x+y=z,.@-_"] {
        check_tag_keys(&tags(valid)).unwrap();
    }
    for invalid in ["a/b", "a b", "..", "_index", "é"] {
        check_tag_keys(&tags(invalid)).unwrap_err();
    }
}

#![allow(clippy::unwrap_used)]

use super::session::MetadataSessions;
use super::tree::find;
use crate::ec2::state::{
    Instance, Instances, Interruption, InterruptionAction, LaunchRequest, LaunchSpec, Market,
    Region,
};

const NOW: u64 = 1_800_000_000_000;
const ID: &str = "i-0123456789abcdef0";

fn instance(change: impl FnOnce(&mut Instance)) -> Instance {
    let mut instances = Instances::default();
    let request = LaunchRequest {
        spec: LaunchSpec {
            image_id: "ami-a".to_owned(),
            instance_type: "t3.micro".to_owned(),
            market: Market::OneTimeSpot,
            ..LaunchSpec::default()
        },
        reservation_id: "r-1".to_owned(),
        client_token: String::new(),
        requested: 1,
        instance_ids: vec![ID.to_owned()],
    };
    instances.launch(request, NOW).unwrap();
    let mut instance = instances.get(ID).unwrap().clone();
    change(&mut instance);
    instance
}

fn read(instance: &Instance, path: &str) -> Option<String> {
    let document = find(instance, &Region::new("eu-west-1"), None, path)?;
    Some(String::from_utf8(document.body).unwrap())
}

#[test]
fn sessions_end_and_are_bounded() {
    let mut sessions = MetadataSessions::default();
    assert_eq!(sessions.open(0, NOW), None);
    assert_eq!(sessions.open(21_601, NOW), None);
    let short = sessions.open(1, NOW).unwrap();
    let long = sessions.open(21_600, NOW).unwrap();
    assert!(sessions.is_valid(&short, NOW + 999));
    assert!(!sessions.is_valid(&short, NOW + 1000));
    assert!(sessions.is_valid(&long, NOW + 21_599_999));
    assert!(!sessions.is_valid("nonsense", NOW));
    for _ in 0..5000 {
        sessions.open(60, NOW).unwrap();
    }
    assert!(sessions.is_valid(&long, NOW));
    assert!(!sessions.is_valid(&short, NOW), "its session ends first");
    let newest = sessions.open(60, NOW).unwrap();
    assert!(sessions.is_valid(&newest, NOW));
}

#[test]
fn a_listing_shows_folders_with_a_slash() {
    let instance = instance(|_| {});
    assert_eq!(read(&instance, "/latest").unwrap(), "dynamic\nmeta-data");
    let top = read(&instance, "/latest/meta-data/").unwrap();
    for name in ["ami-id", "events/", "instance-id", "placement/"] {
        assert!(top.lines().any(|line| line == name), "{name} in {top}");
    }
    assert!(!top.contains("spot"));
    assert_eq!(
        read(&instance, "/latest/meta-data/placement").unwrap(),
        "availability-zone\navailability-zone-id\nregion"
    );
    assert_eq!(
        read(
            &instance,
            "/2021-07-15/meta-data/placement/availability-zone-id"
        )
        .unwrap(),
        "euw1-az1"
    );
    for absent in [
        "/newest/meta-data/",
        "/latest/user-data",
        "/latest/meta-data/instance",
        "/latest/meta-data/instance-id/x",
        "/latest/meta-data/tags/instance/",
        "/latest/meta-data/spot/instance-action",
    ] {
        assert_eq!(read(&instance, absent), None, "{absent}");
    }
}

#[test]
fn only_a_termination_has_a_termination_time() {
    for action in [InterruptionAction::Terminate, InterruptionAction::Stop] {
        let instance = instance(|instance| {
            instance.interruption = Some(Interruption {
                action,
                noticed: NOW,
                at: NOW + 120_000,
            });
        });
        assert_eq!(
            read(&instance, "/latest/meta-data/spot/instance-action").unwrap(),
            format!(
                r#"{{"action":"{}","time":"2027-01-15T08:02:00Z"}}"#,
                action.name()
            )
        );
        let time = read(&instance, "/latest/meta-data/spot/termination-time");
        let expected = (action == InterruptionAction::Terminate).then_some("2027-01-15T08:02:00Z");
        assert_eq!(time.as_deref(), expected);
    }
}

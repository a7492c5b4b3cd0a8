use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;
use crate::aws::{Aws, AwsArgs};

/// Starts a simulated EC2 that refuses every request with status 503 and this code, and counts them.
async fn refusing_ec2(code: &'static str) -> (Fleet, tokio::task::JoinHandle<()>, Requests) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let args = AwsArgs {
        endpoint_url: Some(format!("http://{}", listener.local_addr().unwrap())),
        region: Some("us-east-1".to_owned()),
        prefix: "muster".to_owned(),
    };
    let requests = Requests::default();
    let counted = requests.clone();
    let serving = tokio::spawn(async move {
        while let Ok((mut connection, _)) = listener.accept().await {
            counted.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            // The whole request fits.
            let mut request = [0; 16_384];
            drop(connection.read(&mut request).await);
            let body = format!(
                "<Response><Errors><Error><Code>{code}</Code><Message>no</Message></Error></Errors></Response>"
            );
            let length = body.len();
            let answer = format!(
                "HTTP/1.1 503 Unavailable\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
            );
            drop(connection.write_all(answer.as_bytes()).await);
        }
    });
    let fleet = Aws::connect_as(&args, "test", "test").await.fleet();
    (fleet, serving, requests)
}

type Requests = std::sync::Arc<std::sync::atomic::AtomicUsize>;

#[tokio::test]
async fn stop_and_terminate_are_not_retried() {
    let (fleet, serving, requests) = refusing_ec2("RequestLimitExceeded").await;
    let ids = ["i-1".to_owned()];
    for result in [fleet.stop(&ids).await, fleet.terminate(&ids).await] {
        let error = result.unwrap_err();
        assert!(error.is_throttled(), "{error}");
    }
    assert_eq!(requests.load(std::sync::atomic::Ordering::SeqCst), 2);
    serving.abort();
}

#[test]
fn after_an_internal_error_a_call_may_have_happened() {
    let refused = |code: &str| FleetError::Refused {
        code: code.to_owned(),
        message: String::new(),
    };
    for code in [
        "InternalError",
        "InternalFailure",
        "ServiceUnavailable",
        "Unavailable",
    ] {
        assert!(refused(code).may_have_happened(), "{code}");
        assert!(refused(code).is_transient(), "{code}");
    }
    assert!(FleetError::Unavailable(String::new()).may_have_happened());
    for code in ["RequestLimitExceeded", "UnauthorizedOperation"] {
        assert!(!refused(code).may_have_happened(), "{code}");
    }
}

/// A leader stops acting a few seconds before another one may lead.
#[tokio::test]
async fn no_call_to_ec2_outlasts_the_margin_of_a_lease() {
    let (fleet, serving, _) = refusing_ec2("").await;
    serving.abort();
    for client in [&fleet.client, &fleet.without_retries] {
        let timeouts = client.config().timeout_config().expect("they are set");
        assert_eq!(timeouts.operation_timeout(), Some(LONGEST_CALL));
        assert_eq!(timeouts.operation_attempt_timeout(), Some(LONGEST_CALL));
    }
}

/// Returns a fleet whose EC2 is never called.
async fn unreachable_fleet() -> Fleet {
    let args = AwsArgs {
        endpoint_url: Some("http://127.0.0.1:9".to_owned()),
        region: Some("us-east-1".to_owned()),
        prefix: "muster".to_owned(),
    };
    let fleet = Aws::connect_as(&args, "test", "test").await.fleet();
    fleet.of_prefix("muster")
}

fn spec() -> LaunchSpec {
    LaunchSpec {
        image_id: "ami-1".to_owned(),
        instance_type: "c7i.large".to_owned(),
        subnet_id: Some("subnet-1".to_owned()),
        security_group_ids: vec!["sg-1".to_owned(), "sg-2".to_owned()],
        tags: vec![("team".to_owned(), "faces".to_owned())],
        ..LaunchSpec::default()
    }
}

#[tokio::test]
async fn by_default_a_launch_requires_session_tokens_and_leaves_disk_and_address_alone() {
    let fleet = unreachable_fleet().await;
    let call = fleet.run_instances(&spec(), "worker").await.unwrap();
    assert_eq!(call.get_subnet_id().as_deref(), Some("subnet-1"));
    assert_eq!(call.get_security_group_ids().as_ref().unwrap().len(), 2);
    assert_eq!(*call.get_network_interfaces(), None);
    assert_eq!(*call.get_block_device_mappings(), None);
    let metadata = call.get_metadata_options().as_ref().unwrap();
    assert_eq!(metadata.http_tokens().unwrap().as_str(), "required");
    assert_eq!(metadata.http_put_response_hop_limit(), Some(1));
    let monitoring = call.get_monitoring().as_ref().unwrap();
    assert_eq!(monitoring.enabled(), Some(false));
}

/// EC2 refuses a subnet or groups beside a network interface.
#[tokio::test]
async fn with_an_address_the_interface_names_subnet_and_groups() {
    let fleet = unreachable_fleet().await;
    let spec = LaunchSpec {
        public_ip: Some(false),
        ..spec()
    };
    let call = fleet.run_instances(&spec, "worker").await.unwrap();
    assert_eq!(*call.get_subnet_id(), None);
    assert_eq!(*call.get_security_group_ids(), None);
    let interface = &call.get_network_interfaces().as_ref().unwrap()[0];
    assert_eq!(interface.associate_public_ip_address(), Some(false));
    assert_eq!(interface.subnet_id(), Some("subnet-1"));
    assert_eq!(interface.groups(), ["sg-1", "sg-2"]);
}

#[tokio::test]
async fn a_disk_is_set_at_the_images_root_device() {
    let fleet = unreachable_fleet().await;
    let device = ("ami-1".to_owned(), "/dev/xvda".to_owned());
    fleet.root_devices.lock().unwrap().extend([device]);
    let spec = LaunchSpec {
        disk: Some(Disk {
            size: Some(20),
            kind: Some("gp3".to_owned()),
            encrypted: Some(true),
        }),
        ..spec()
    };
    let call = fleet.run_instances(&spec, "worker").await.unwrap();
    let mapping = &call.get_block_device_mappings().as_ref().unwrap()[0];
    assert_eq!(mapping.device_name(), Some("/dev/xvda"));
    let disk = mapping.ebs().unwrap();
    assert_eq!(
        (disk.volume_size(), disk.encrypted()),
        (Some(20), Some(true))
    );
    assert_eq!(disk.volume_type().unwrap().as_str(), "gp3");
    assert_eq!(disk.delete_on_termination(), Some(true));
}

#[tokio::test]
async fn instance_disk_and_interface_carry_the_prefix() {
    let fleet = unreachable_fleet().await;
    let spec = LaunchSpec {
        public_ip: Some(true),
        ..spec()
    };
    let call = fleet.run_instances(&spec, "worker").await.unwrap();
    let tagged = call.get_tag_specifications().as_ref().unwrap();
    let kinds: Vec<_> = tagged
        .iter()
        .filter_map(|it| Some(it.resource_type()?.as_str()))
        .collect();
    assert_eq!(kinds, ["instance", "volume", "network-interface"]);
    let has = |tags: &[Tag], key, value| tags.contains(&tag(key, value));
    for resource in tagged {
        assert!(has(resource.tags(), PREFIX_TAG, "muster"), "{resource:?}");
        assert!(has(resource.tags(), "team", "faces"), "{resource:?}");
    }
    let instance = tagged[0].tags();
    assert!(has(instance, "Name", "worker"));
    assert!(has(instance, LAUNCH_TAG, &spec.fingerprint()));
}

#[test]
fn the_fingerprint_covers_what_an_instance_keeps() {
    let fingerprint = |change: fn(&mut LaunchSpec)| {
        let mut spec = spec();
        change(&mut spec);
        spec.fingerprint()
    };
    let same = spec().fingerprint();
    let kept: [fn(&mut LaunchSpec); 8] = [
        |it| it.image_id = "ami-2".to_owned(),
        |it| it.user_data = UserData("A=1".to_owned()),
        |it| it.security_group_ids.truncate(1),
        |it| it.instance_profile = Some("workers".to_owned()),
        |it| it.key_name = Some("key".to_owned()),
        |it| it.public_ip = Some(true),
        |it| it.disk = Some(Disk::default()),
        |it| it.hop_limit = HopLimit(2),
    ];
    let mut seen = vec![
        same.clone(),
        fingerprint(|it| it.detailed_monitoring = true),
    ];
    seen.extend(kept.map(fingerprint));
    let count = seen.len();
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), count);
    let others: [fn(&mut LaunchSpec); 5] = [
        |it| it.instance_type = "m7i.large".to_owned(),
        |it| it.subnet_id = None,
        |it| it.tags.clear(),
        |it| it.market = Market::Spot,
        |it| it.security_group_ids.reverse(),
    ];
    assert_eq!(others.map(fingerprint), [(); 5].map(|()| same.clone()));
}

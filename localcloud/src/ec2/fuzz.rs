//! Random forms: the reply to every form is a document, and nothing panics.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use proptest::sample::{Index, select};

use super::*;
use crate::config::Authentication;
use crate::faults::RateLimits;

const ID: &str = "i-0123456789abcdef0";

/// Parameters of all actions, and some malformed names.
const NAMES: &str = "\
    Attribute ClientToken DisableApiStop.Value DisableApiTermination DryRun Filter.1.Name \
    Filter.1.Value.1 Filter.1.Value.2 Filter.2.Name Filter.2.Value.1 Filter..Name Force \
    HttpPutResponseHopLimit HttpTokens ImageId ImageId.1 ImageLocation IncludeAllInstances \
    InstanceId InstanceId.0 InstanceId.1 InstanceId.2 InstanceId.999999999999999999999999 \
    InstanceInitiatedShutdownBehavior InstanceMarketOptions.MarketType \
    InstanceMarketOptions.SpotOptions.SpotInstanceType InstanceType InstanceType.1 \
    InstanceType.Value MaxCount MaxResults MetadataOptions.InstanceMetadataTags MinCount Name \
    NextToken Owner.1 Placement.AvailabilityZone RegionName.1 ResourceId.1 SecurityGroupId.1 \
    Tag.1.Key Tag.1.Value TagSpecification.1.ResourceType TagSpecification.1.Tag.1.Key UserData \
    UserData.Value Value ZoneId.1 ZoneName.1";
const VALUES: &[&str] = &[
    "",
    "0",
    "1",
    "5",
    "1000",
    "-1",
    "18446744073709551616",
    "true",
    "false",
    "TRUE",
    "ami-test",
    "image",
    "instance",
    "instance-id",
    "instance-state-name",
    "tag:Name",
    "tag:",
    "tag-key",
    "*",
    "?",
    "\\",
    "a\\",
    "running",
    "enabled",
    "optional",
    "spot",
    "persistent",
    "userData",
    "instanceType",
    "t3.micro",
    "QT0x",
    "%%%",
    "MA",
    "[\"sleep\", \"1000\"]",
    "{\"command\": []}",
    "us-east-1",
    "us-east-1a",
    "use1-az1",
    "<a>&\"'</a>",
    "\u{0}\u{1}\r\n",
    "é∀😀",
    ID,
    "i-",
    "self",
];

fn value() -> impl Strategy<Value = String> {
    prop_oneof![
        8 => select(VALUES).prop_map(str::to_owned),
        1 => any::<String>(),
        1 => "[a-z]{300}",
    ]
}

fn form() -> impl Strategy<Value = Vec<u8>> {
    let name = prop_oneof![
        8 => select(NAMES.split(' ').collect::<Vec<_>>()).prop_map(str::to_owned),
        1 => any::<String>(),
    ];
    let action = prop_oneof![
        12 => select(ec2_actions::ALL.as_slice()).prop_map(str::to_owned),
        1 => any::<String>(),
    ];
    let parameters = proptest::collection::vec((name, value()), 0..10);
    (action, parameters).prop_map(|(action, mut parameters)| {
        parameters.push(("Action".to_owned(), action));
        serde_urlencoded::to_string(parameters)
            .unwrap()
            .into_bytes()
    })
}

/// A form with some of its bytes changed, removed or inserted.
fn mutated() -> impl Strategy<Value = Vec<u8>> {
    let mutation = (any::<Index>(), any::<u8>(), 0..3u8);
    let mutations = proptest::collection::vec(mutation, 0..6);
    (form(), mutations).prop_map(|(mut form, mutations)| {
        for (at, byte, kind) in mutations {
            let at = at.index(form.len());
            match kind {
                0 => form[at] = byte,
                1 if form.len() > 1 => drop(form.remove(at)),
                _ => form.insert(at, byte),
            }
        }
        form
    })
}

fn faults(limits: RateLimits) -> Ec2Faults {
    Ec2Faults {
        // No instance gets a process, which these tests do not need.
        fail_boot_every: 1,
        limits,
        ..Ec2Faults::default()
    }
}

fn cloud(folder: &std::path::Path) -> Arc<Ec2> {
    Ec2::new(
        Clock::start(),
        Iam::without_roles(Clock::start(), Authentication::Any),
        Ec2Config {
            region: "us-east-1",
            images: vec![Image {
                id: "ami-test".to_owned(),
                name: None,
                command: vec!["true".to_owned()],
                env: Default::default(),
                user_data_env: Vec::new(),
            }],
            instances_folder: folder,
            stop_grace: Duration::ZERO,
            max_instances: 20,
            start_interval: Duration::ZERO,
            faults: faults(RateLimits::aws()),
            seed: 0,
        },
    )
    .unwrap()
}

/// Returns the reply to a form, as the dispatcher does.
fn reply(ec2: &Arc<Ec2>, form: &[u8]) -> String {
    let result = Params::parse(form).and_then(|params| {
        let action = params.owned("Action").unwrap_or_default();
        ec2.call(&action, &params, "request")
    });
    result.unwrap_or_else(|error| Xml::error(error.code(), &error.to_string(), "request"))
}

/// Returns whether a text is one element with elements and text in it, all closed, with only characters of XML.
fn is_document(text: &str) -> bool {
    let Some(mut rest) = text.strip_prefix("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n") else {
        return false;
    };
    let mut open: Vec<&str> = Vec::new();
    let mut elements = 0;
    while let Some((before, after)) = rest.split_once('<') {
        let is_text = before.chars().all(|letter| {
            !matches!(letter, '>' | '\u{FFFE}' | '\u{FFFF}')
                && (letter >= ' ' || matches!(letter, '\t' | '\n' | '\r'))
        });
        let in_element = !open.is_empty() || (before.is_empty() && elements == 0);
        let Some((tag, after)) = after.split_once('>').filter(|_| is_text && in_element) else {
            return false;
        };
        match tag.strip_prefix('/') {
            Some(name) if open.pop() != Some(name) => return false,
            Some(_) => {}
            None => {
                let name = tag.split(' ').next().unwrap_or_default();
                if name.is_empty() || !name.chars().all(|letter| letter.is_ascii_alphanumeric()) {
                    return false;
                }
                open.push(name);
                elements += 1;
            }
        }
        rest = after;
    }
    open.is_empty() && rest.is_empty() && elements > 0
}

#[test]
fn the_document_checker_rejects_malformed_documents() {
    let head = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n";
    for (text, expected) in [
        ("<a><b>x</b></a>", true),
        ("<a><b>x</a></b>", false),
        ("<a></a><b></b>", false),
        ("<a>x > y</a>", false),
        ("<a>\u{1}</a>", false),
        ("<a>", false),
        ("", false),
    ] {
        assert_eq!(is_document(&format!("{head}{text}")), expected, "{text}");
    }
}

#[test]
fn any_form_gets_a_reply() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let _entered = runtime.enter();
    let folder = tempfile::tempdir().unwrap();
    let ec2 = cloud(folder.path());
    let config = ProptestConfig {
        failure_persistence: None,
        cases: 4000,
        ..ProptestConfig::default()
    };
    let forms = prop_oneof![
        6 => form(),
        4 => mutated(),
        1 => proptest::collection::vec(any::<u8>(), 0..200),
    ];
    let mut runner = proptest::test_runner::TestRunner::new(config);
    let successes = std::cell::Cell::new(0);
    runner
        .run(&forms, |form| {
            // AWS's limits refuse most of so many calls, so they apply to some only.
            let limits = match form.len() % 8 {
                0 => Some(RateLimits::aws()),
                1 => Some(RateLimits::default()),
                _ => None,
            };
            if let Some(limits) = limits {
                ec2.set_faults(faults(limits), 0);
            }
            let text = reply(&ec2, &form);
            prop_assert!(is_document(&text), "{}", text);
            successes.set(successes.get() + usize::from(!text.contains("<Errors>")));
            Ok(())
        })
        .unwrap();
    assert!(successes.get() > 100, "{successes:?} calls succeeded");
    // The service still works.
    let terminated = reply(
        &ec2,
        b"Action=TerminateInstances&InstanceId.1=i-0123456789abcdef0",
    );
    assert!(
        terminated.contains("InvalidInstanceID.NotFound"),
        "{terminated}"
    );
}

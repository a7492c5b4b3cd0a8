//! Random forms of EC2: the reply to every form is a document.

use std::cell::Cell;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use localcloud::{Config, RateLimits};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use super::{Served, case_count, mutated, mutation};
use crate::cloud::image;

const SIGNED: &str =
    "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/ec2/aws4_request, Signature=x";

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
/// Separated by bars; the first is empty.
const VALUES: &str = "\
    |0|1|5|1000|-1|18446744073709551616|true|false|TRUE|ami-test|image|instance|instance-id|instance-state-name\
    |tag:Name|tag:|tag-key|*|?|\\|a\\|running|enabled|optional|spot|persistent|userData|instanceType|t3.micro|QT0x\
    |%%%|MA|[\"sleep\", \"1000\"]|{\"command\": []}|us-east-1|us-east-1a|use1-az1|<a>&\"'</a>|\u{0}\u{1}\r\n|é∀😀\
    |i-0123456789abcdef0|i-|self";

fn form() -> impl Strategy<Value = Vec<u8>> {
    let name = prop_oneof![
        8 => select(NAMES.split(' ').collect::<Vec<_>>()).prop_map(str::to_owned),
        1 => any::<String>(),
    ];
    let value = prop_oneof![
        8 => select(VALUES.split('|').collect::<Vec<_>>()).prop_map(str::to_owned),
        1 => any::<String>(),
        1 => "[a-z]{300}",
    ];
    let action = prop_oneof![
        12 => select(RateLimits::aws().requests.into_keys().collect::<Vec<_>>()),
        1 => any::<String>(),
    ];
    (action, vec((name, value), 0..10)).prop_map(|(action, mut parameters)| {
        parameters.push(("Action".to_owned(), action));
        serde_urlencoded::to_string(parameters)
            .unwrap()
            .into_bytes()
    })
}

/// Sets rate limits, as JSON. No instance gets a process, which these tests do not need.
fn set_limits(served: &Served, limits: &str) -> Result<(), TestCaseError> {
    let faults = format!(r#"{{"ec2":{{"fail_boot_every":1,"limits":{limits}}}}}"#);
    let put = Request::put(format!("{}/_localcloud/faults", served.cloud.endpoint));
    let put = put.body(Full::new(Bytes::from(faults))).unwrap();
    let reply = served.check(put)?;
    prop_assert!(reply.contains("\"fail_boot_every\": 1"), "{reply}");
    Ok(())
}

fn call(served: &Served, form: Vec<u8>) -> Result<String, TestCaseError> {
    let post = Request::post(format!("{}/", served.cloud.endpoint)).header("authorization", SIGNED);
    served.check(post.body(Full::new(Bytes::from(form))).unwrap())
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
    let served = Served::start(Config {
        images: vec![image("ami-test", "true")],
        stop_grace: Duration::ZERO,
        max_instances: 20,
        ..Config::default()
    });
    set_limits(&served, r#"{"preset":"aws"}"#).unwrap();
    let forms = prop_oneof![
        6 => form(),
        4 => (form(), vec(mutation(), 0..6)).prop_map(|(form, mutations)| mutated(&form, &mutations)),
        1 => vec(any::<u8>(), 0..200),
    ];
    let successes = Cell::new(0);
    served.check_all(&forms, |form| {
        // AWS's limits refuse most of so many calls, so they apply to some only.
        match form.len() % 8 {
            0 => set_limits(&served, r#"{"preset":"aws"}"#)?,
            1 => set_limits(&served, "{}")?,
            _ => {}
        }
        let text = call(&served, form)?;
        prop_assert!(is_document(&text), "{text}");
        successes.set(successes.get() + u32::from(!text.contains("<Errors>")));
        Ok(())
    });
    let is_enough = successes.get() > case_count() / 40;
    assert!(is_enough, "{successes:?} calls succeeded");
    // The service still works.
    let terminate = b"Action=TerminateInstances&InstanceId.1=i-0123456789abcdef0";
    let terminated = call(&served, terminate.to_vec()).unwrap();
    assert!(
        terminated.contains("InvalidInstanceID.NotFound"),
        "{terminated}"
    );
    served.stop();
}

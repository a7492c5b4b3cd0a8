//! The content of the metadata service: values by path, and listings of the folders between.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;

use crate::account::ACCOUNT_ID;
use crate::ec2::state::{Instance, InterruptionAction, Region};
use crate::iam::{SessionCredentials, iam_arn};
use crate::timestamp::timestamp_in_seconds;

/// Some versions of the service, which all have the same content.
const VERSIONS: [&str; 6] = [
    "1.0",
    "2014-11-05",
    "2016-09-02",
    "2018-09-24",
    "2021-07-15",
    "latest",
];

/// A value or a listing.
#[derive(Debug, PartialEq, Eq)]
pub struct Document {
    pub content_type: &'static str,
    pub body: Vec<u8>,
}

/// The role of an instance, with its present credentials.
#[derive(Debug)]
pub struct InstanceRole<'a> {
    pub name: &'a str,
    pub credentials: SessionCredentials,
}

/// Returns the document at a path.
pub fn find(
    instance: &Instance,
    region: &Region,
    role: Option<&InstanceRole<'_>>,
    path: &str,
) -> Option<Document> {
    let path = path.trim_matches('/');
    if path.is_empty() {
        return Some(text(VERSIONS.join("\n")));
    }
    let (version, path) = path.split_once('/').unwrap_or((path, ""));
    if !VERSIONS.contains(&version) {
        return None;
    }
    if path == "user-data" {
        let user_data = &instance.spec.user_data;
        return (!user_data.is_empty()).then(|| Document {
            content_type: "application/octet-stream",
            body: user_data.clone(),
        });
    }
    let mut leaves = leaves(instance, region);
    if let Some(role) = role {
        leaves.extend(role.leaves());
    }
    match leaves.get(path) {
        Some(value) => Some(text(value.clone())),
        None => listing(&leaves, path, instance).map(text),
    }
}

/// Returns the names in a folder. Those of folders end in a slash.
fn listing(leaves: &BTreeMap<String, String>, folder: &str, instance: &Instance) -> Option<String> {
    let prefix = match folder {
        "" => String::new(),
        folder => format!("{folder}/"),
    };
    let mut names: BTreeSet<&str> = leaves
        .keys()
        .filter_map(|path| path.strip_prefix(&prefix))
        .map(|rest| match rest.find('/') {
            Some(slash) => &rest[..=slash],
            None => rest,
        })
        .collect();
    if folder.is_empty() {
        // The service lists the top folders without slashes.
        names = names
            .iter()
            .map(|name| name.trim_end_matches('/'))
            .collect();
        if !instance.spec.user_data.is_empty() {
            names.insert("user-data");
        }
    }
    (!names.is_empty()).then(|| names.into_iter().collect::<Vec<_>>().join("\n"))
}

impl InstanceRole<'_> {
    fn leaves(&self) -> [(String, String); 2] {
        let credentials = &self.credentials;
        let issued = timestamp_in_seconds(credentials.issued);
        let info = json!({
            "Code": "Success",
            "LastUpdated": issued,
            "InstanceProfileArn": iam_arn("instance-profile", self.name),
            "InstanceProfileId": "AIPA00000000000000000",
        });
        let keys = json!({
            "Code": "Success",
            "LastUpdated": issued,
            "Type": "AWS-HMAC",
            "AccessKeyId": credentials.access_key,
            "SecretAccessKey": credentials.secret_key,
            "Token": credentials.token,
            "Expiration": timestamp_in_seconds(credentials.expires),
        });
        let path = format!("meta-data/iam/security-credentials/{}", self.name);
        [
            ("meta-data/iam/info".to_owned(), format!("{info:#}")),
            (path, format!("{keys:#}")),
        ]
    }
}

fn leaves(instance: &Instance, region: &Region) -> BTreeMap<String, String> {
    let spec = &instance.spec;
    let zone = region.zone_of(spec);
    let private_name = region.private_dns_name(instance);
    let address = instance.private_address().to_string();
    let mut leaves = BTreeMap::new();
    let mut leaf = |path: &str, value: &str| {
        leaves.insert(path.to_owned(), value.to_owned());
    };
    let mut meta = |path: &str, value: &str| leaf(&format!("meta-data/{path}"), value);
    meta("ami-id", &spec.image_id);
    meta("ami-launch-index", &instance.launch_index.to_string());
    meta("ami-manifest-path", "(unknown)");
    meta("events/maintenance/history", "[]");
    meta("events/maintenance/scheduled", "[]");
    meta("hostname", &private_name);
    meta("instance-action", "none");
    meta("instance-id", &instance.instance_id);
    meta(
        "instance-life-cycle",
        spec.market.lifecycle().unwrap_or("on-demand"),
    );
    meta("instance-type", &spec.instance_type);
    meta("local-hostname", &private_name);
    meta("local-ipv4", &address);
    meta("placement/availability-zone", zone);
    meta("placement/availability-zone-id", &region.zone_id(zone));
    meta("placement/region", &region.name);
    meta("profile", "default-hvm");
    meta("public-hostname", "localhost");
    meta("public-ipv4", "127.0.0.1");
    meta("reservation-id", &instance.reservation_id);
    meta("services/domain", "amazonaws.com");
    meta("services/partition", "aws");
    if !spec.security_groups.is_empty() {
        meta("security-groups", &spec.security_groups.join("\n"));
    }
    if let Some(interruption) = instance.interruption {
        let time = timestamp_in_seconds(interruption.at);
        let notice = json!({ "action": interruption.action.name(), "time": &time });
        meta("spot/instance-action", &notice.to_string());
        if interruption.action == InterruptionAction::Terminate {
            meta("spot/termination-time", &time);
        }
        let noticed = timestamp_in_seconds(interruption.noticed);
        meta(
            "events/recommendations/rebalance",
            &json!({ "noticeTime": noticed }).to_string(),
        );
    }
    if spec.metadata.tags_enabled {
        for (key, value) in &instance.tags {
            meta(&format!("tags/instance/{key}"), value);
        }
    }
    let document = json!({
        "accountId": ACCOUNT_ID,
        "architecture": "x86_64",
        "availabilityZone": zone,
        "billingProducts": null,
        "devpayProductCodes": null,
        "marketplaceProductCodes": null,
        "imageId": spec.image_id,
        "instanceId": instance.instance_id,
        "instanceType": spec.instance_type,
        "kernelId": null,
        "pendingTime": timestamp_in_seconds(instance.launched),
        "privateIp": address,
        "ramdiskId": null,
        "region": region.name,
        "version": "2017-09-30",
    });
    leaf(
        "dynamic/instance-identity/document",
        &format!("{document:#}"),
    );
    leaves
}

fn text(body: String) -> Document {
    Document {
        content_type: "text/plain",
        body: body.into_bytes(),
    }
}

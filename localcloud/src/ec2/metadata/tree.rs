//! What the metadata service says: leaves by path, and listings of the folders between.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;

use crate::account::ACCOUNT_ID;
use crate::ec2::state::{Instance, InterruptionAction, Place};
use crate::ec2::time::timestamp_in_seconds;

/// The oldest and the newest version of the service that have names here; all say the same.
const VERSIONS: [&str; 6] = [
    "1.0",
    "2014-11-05",
    "2016-09-02",
    "2018-09-24",
    "2021-07-15",
    "latest",
];

/// Something that was asked for.
#[derive(Debug, PartialEq, Eq)]
pub struct Found {
    pub content_type: &'static str,
    pub body: Vec<u8>,
}

/// What is at a path, if there is something.
pub fn find(instance: &Instance, place: &Place, path: &str) -> Option<Found> {
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
        return (!user_data.is_empty()).then(|| Found {
            content_type: "application/octet-stream",
            body: user_data.clone(),
        });
    }
    let leaves = leaves(instance, place);
    match leaves.get(path) {
        Some(value) => Some(text(value.clone())),
        None => listing(&leaves, path, instance).map(text),
    }
}

/// The names below a folder, those of folders with a slash behind them.
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
        // The topmost folders are listed without slashes.
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

fn leaves(instance: &Instance, place: &Place) -> BTreeMap<String, String> {
    let spec = &instance.spec;
    let zone = place.zone_of(spec);
    let private_name = place.private_dns_name(instance);
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
    meta("placement/availability-zone-id", &place.zone_id(zone));
    meta("placement/region", &place.region);
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
        "region": place.region,
        "version": "2017-09-30",
    });
    leaf(
        "dynamic/instance-identity/document",
        &format!("{document:#}"),
    );
    leaves
}

fn text(body: String) -> Found {
    Found {
        content_type: "text/plain",
        body: body.into_bytes(),
    }
}

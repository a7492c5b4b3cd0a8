//! The accesses of EC2's calls.
//!
//! Source: "Actions, resources, and condition keys for Amazon EC2",
//! <https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonec2.html>.

use super::networks::{DEFAULT_GROUP, DEFAULT_SUBNET};
use super::state::Tags;
use super::{Ec2, Params};
use crate::account::ACCOUNT_ID;
use crate::iam::{Access, iam_arn};

impl Ec2 {
    /// Returns the accesses that a call needs. Leaves out resources that do not exist, for which the call itself is refused.
    pub fn accesses(&self, action: &str, params: &Params) -> Vec<Access> {
        let mut accesses = self.accesses_of(action, params);
        for access in &mut accesses {
            access.dry_run = params.flag("DryRun");
        }
        accesses
    }

    fn accesses_of(&self, action: &str, params: &Params) -> Vec<Access> {
        let account = EC2Names {
            region: &self.region.name,
        };
        let ids = |list: &str| params.list(list).into_iter();
        let existing = |id: String| {
            let tags = self.tags_of(&id)?;
            Some(
                account
                    .on(action, &account.existing(&id))
                    .with_resource_tags(&tags),
            )
        };
        match action {
            "RunInstances" => self.launch_accesses(&account, params),
            "StartInstances" | "StopInstances" | "RebootInstances" | "TerminateInstances" => {
                ids("InstanceId").filter_map(existing).collect()
            }
            "DescribeInstanceAttribute"
            | "GetConsoleOutput"
            | "ModifyInstanceAttribute"
            | "ModifyInstanceMetadataOptions" => {
                let id = params.owned("InstanceId");
                id.into_iter().filter_map(existing).collect()
            }
            "DeregisterImage" => {
                let id = params.owned("ImageId");
                id.into_iter().filter_map(existing).collect()
            }
            "CreateTags" | "DeleteTags" => {
                let tags = params.tags("Tag").unwrap_or_default();
                let changed = |access: Access| {
                    tags.iter().fold(access, |access, (key, value)| {
                        let access = access.with("aws:TagKeys", key);
                        let value = value.as_ref().filter(|_| action == "CreateTags");
                        match value {
                            Some(value) => access.with(&format!("aws:RequestTag/{key}"), value),
                            None => access,
                        }
                    })
                };
                ids("ResourceId")
                    .filter_map(existing)
                    .map(changed)
                    .collect()
            }
            "RegisterImage" => {
                let tags = params.tag_specification("image").unwrap_or_default();
                let image = account
                    .on(action, &account.existing("ami-*"))
                    .with_request_tags(&tags);
                let mut accesses = vec![image];
                if !tags.is_empty() {
                    accesses.push(account.tagging("RegisterImage", "image", &tags));
                }
                accesses
            }
            action => vec![account.on(action, "*")],
        }
    }

    fn launch_accesses(&self, account: &EC2Names<'_>, params: &Params) -> Vec<Access> {
        let Ok(tags) = params.launch_tags() else {
            return Vec::new();
        };
        let with_settings = |access: Access| {
            let access = access.with(
                "ec2:InstanceType",
                params.get("InstanceType").unwrap_or("m1.small"),
            );
            let tokens = params
                .get("MetadataOptions.HttpTokens")
                .unwrap_or("required");
            let market = params.get("InstanceMarketOptions.MarketType");
            access
                .with("ec2:MetadataHttpTokens", tokens)
                .with("ec2:InstanceMarketType", market.unwrap_or("on-demand"))
        };
        let new = |kind: &str| {
            let access = account.on("RunInstances", &account.arn(kind, "*"));
            match tags.get(kind) {
                Some(tags) => access.with_request_tags(tags),
                None => access,
            }
        };
        let used = |kind: &str, id: &str| account.on("RunInstances", &account.arn(kind, id));
        let mut accesses = vec![
            with_settings(new("instance")),
            new("volume"),
            new("network-interface"),
        ];
        let image = params.get("ImageId").unwrap_or_default();
        let of_image = account.on("RunInstances", &account.existing(image));
        accesses.push(of_image.with_resource_tags(&self.tags_of(image).unwrap_or_default()));
        let network = if params.has("NetworkInterface") {
            "NetworkInterface.1."
        } else {
            ""
        };
        let subnet = params.get(&format!("{network}SubnetId"));
        accesses.push(used("subnet", subnet.unwrap_or(DEFAULT_SUBNET)));
        let mut groups = params.list(&format!("{network}SecurityGroupId"));
        groups.extend(params.list(&format!("{network}SecurityGroup")));
        if groups.is_empty() {
            groups.push(DEFAULT_GROUP.to_owned());
        }
        accesses.extend(groups.iter().map(|group| used("security-group", group)));
        let key = params.get("KeyName");
        accesses.extend(key.map(|key| used("key-pair", key)));
        if params.get("InstanceMarketOptions.MarketType") == Some("spot") {
            accesses.push(new("spot-instances-request"));
        }
        accesses.extend(
            tags.iter()
                .map(|(kind, tags)| account.tagging("RunInstances", kind, tags)),
        );
        let profile = params
            .get("IamInstanceProfile.Arn")
            .or_else(|| params.get("IamInstanceProfile.Name"));
        if let Some(role) = profile.and_then(|profile| self.iam.role_of_profile(profile)) {
            let pass = Access::new("iam:PassRole", iam_arn("role", &role.name));
            accesses.push(pass.with("iam:PassedToService", "ec2.amazonaws.com"));
        }
        accesses
    }
}

/// Makes EC2's ARNs.
struct EC2Names<'a> {
    region: &'a str,
}

impl EC2Names<'_> {
    fn on(&self, action: &str, resource: &str) -> Access {
        Access::new(format!("ec2:{action}"), resource).with("aws:RequestedRegion", self.region)
    }

    fn arn(&self, kind: &str, id: &str) -> String {
        format!("arn:aws:ec2:{}:{ACCOUNT_ID}:{kind}/{id}", self.region)
    }

    /// Returns the ARN of an instance or an image; those of images have no account.
    fn existing(&self, id: &str) -> String {
        match id.starts_with("ami-") {
            true => format!("arn:aws:ec2:{}::image/{id}", self.region),
            false => self.arn("instance", id),
        }
    }

    /// Returns the access that tags a new resource.
    fn tagging(&self, creation: &str, kind: &str, tags: &Tags) -> Access {
        let resource = match kind {
            "image" => self.existing("ami-*"),
            kind => self.arn(kind, "*"),
        };
        let access = self.on("CreateTags", &resource).with_request_tags(tags);
        access.with("ec2:CreateAction", creation)
    }
}

impl Access {
    fn with_request_tags(self, tags: &Tags) -> Self {
        let keyed = tags
            .keys()
            .fold(self, |access, key| access.with("aws:TagKeys", key));
        keyed.with_tags("aws:RequestTag", tags)
    }

    fn with_resource_tags(self, tags: &Tags) -> Self {
        self.with_tags("aws:ResourceTag", tags)
            .with_tags("ec2:ResourceTag", tags)
    }
}

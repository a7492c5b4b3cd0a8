//! Attributes of instances: described and modified one at a time.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::describe::instance::{ROOT_DEVICE, metadata_options};
use super::launch::{read_metadata_options, read_user_data, shutdown_behavior};
use super::params::{Params, parse_flag};
use super::state::{InstanceState, check_tag_keys};
use super::{Ec2, Ec2Error, Ec2Result};
use crate::xml::Xml;

/// The attributes that can be modified here.
const MODIFIABLE: [&str; 5] = [
    "DisableApiStop",
    "DisableApiTermination",
    "InstanceInitiatedShutdownBehavior",
    "InstanceType",
    "UserData",
];
/// The attributes that can be modified in AWS and have no meaning here.
const FIXED: [&str; 9] = [
    "BlockDeviceMapping",
    "EbsOptimized",
    "EnaSupport",
    "EnclaveOptions",
    "GroupId",
    "Kernel",
    "Ramdisk",
    "SourceDestCheck",
    "SriovNetSupport",
];

impl Ec2 {
    pub(super) fn describe_instance_attribute(&self, params: &Params, xml: &mut Xml) -> Ec2Result {
        let id = params.instance_id()?;
        let attribute = params.required("Attribute")?;
        let shared = self.lock();
        let spec = &shared.instances.visible(id, self.clock.now())?.spec;
        let value = |xml: &mut Xml, value: &dyn std::fmt::Display| {
            xml.element(attribute, |xml| xml.text("value", value));
        };
        xml.text("instanceId", id);
        match attribute {
            "instanceType" => value(xml, &spec.instance_type),
            "userData" if spec.user_data.is_empty() => xml.element(attribute, |_| {}),
            "userData" => value(xml, &STANDARD.encode(&spec.user_data)),
            "disableApiTermination" => value(xml, &spec.disable_api_termination),
            "disableApiStop" => value(xml, &spec.disable_api_stop),
            "instanceInitiatedShutdownBehavior" => {
                let terminate = spec.terminate_on_shutdown;
                value(xml, &if terminate { "terminate" } else { "stop" });
            }
            "ebsOptimized" => value(xml, &false),
            "enaSupport" | "sourceDestCheck" => value(xml, &true),
            "rootDeviceName" => value(xml, &ROOT_DEVICE),
            "groupSet" => xml.list("groupSet", &spec.security_groups, |xml, group| {
                xml.text("groupId", group);
            }),
            "enclaveOptions" => xml.element(attribute, |xml| xml.text("enabled", false)),
            "blockDeviceMapping" | "kernel" | "productCodes" | "ramdisk" | "sriovNetSupport" => {
                xml.element(attribute, |_| {});
            }
            other => {
                return Err(Ec2Error::InvalidParameterValue(format!(
                    "Value ({other}) for parameter attribute is invalid. Unknown attribute."
                )));
            }
        }
        Ok(())
    }

    pub(super) fn modify_instance_attribute(&self, params: &Params, xml: &mut Xml) -> Ec2Result {
        let id = params.instance_id()?;
        let (attribute, value) = modification(params)?;
        let mut shared = self.lock();
        let instance = shared.instances.visible_mut(id, self.clock.now())?;
        let needs_stop = matches!(attribute, "InstanceType" | "UserData");
        if needs_stop && instance.state != InstanceState::Stopped {
            return Err(Ec2Error::NotStopped(id.to_owned()));
        }
        let spec = &mut instance.spec;
        match attribute {
            "DisableApiStop" => spec.disable_api_stop = parse_flag(attribute, value)?,
            "DisableApiTermination" => spec.disable_api_termination = parse_flag(attribute, value)?,
            "InstanceInitiatedShutdownBehavior" => {
                spec.terminate_on_shutdown = shutdown_behavior(Some(value))?;
            }
            "InstanceType" if value.is_empty() => {
                return Err(Ec2Error::MissingParameter("InstanceType.Value".to_owned()));
            }
            "InstanceType" => spec.instance_type = value.to_owned(),
            _ => spec.user_data = read_user_data(value)?,
        }
        xml.text("return", true);
        Ok(())
    }

    pub(super) fn modify_instance_metadata_options(
        &self,
        params: &Params,
        xml: &mut Xml,
    ) -> Ec2Result {
        let id = params.instance_id()?;
        let mut shared = self.lock();
        let instance = shared.instances.visible_mut(id, self.clock.now())?;
        if instance.state == InstanceState::Terminated {
            return Err(instance.incorrect_state("modified"));
        }
        let options = read_metadata_options(params, "", instance.spec.metadata.clone())?;
        if options.tags_enabled {
            check_tag_keys(&instance.tags)?;
        }
        xml.text("instanceId", id);
        xml.element("instanceMetadataOptions", |xml| {
            metadata_options(xml, &options);
        });
        instance.spec.metadata = options;
        Ok(())
    }
}

/// Returns the attribute that a call modifies and its new value.
///
/// Clients write `InstanceType.Value=t3.micro`, or `Attribute=instanceType&Value=t3.micro` in an older form.
fn modification(params: &Params) -> Ec2Result<(&'static str, &str)> {
    if let Some(attribute) = params.get("Attribute") {
        let same = |name: &&&str| {
            let (first, rest) = name.split_at(1);
            attribute
                .strip_prefix(&first.to_ascii_lowercase())
                .is_some_and(|other| other == rest)
        };
        return match MODIFIABLE.iter().find(same) {
            Some(name) => Ok((name, params.get("Value").unwrap_or_default())),
            None => Err(fixed_attribute(attribute)),
        };
    }
    if let Some(fixed) = FIXED.iter().find(|name| params.has(name)) {
        return Err(fixed_attribute(fixed));
    }
    let mut given = MODIFIABLE.iter().filter(|name| params.has(name));
    let Some(name) = given.next() else {
        return Err(Ec2Error::InvalidParameterCombination(
            "No attributes specified.".to_owned(),
        ));
    };
    if let Some(second) = given.next() {
        return Err(Ec2Error::InvalidParameterCombination(format!(
            "Fields for multiple attribute types specified: {name}, {second}"
        )));
    }
    let value = params.get(&format!("{name}.Value")).unwrap_or_default();
    Ok((name, value))
}

fn fixed_attribute(attribute: &str) -> Ec2Error {
    Ec2Error::UnsupportedOperation(format!(
        "The attribute {attribute} cannot be changed in localcloud."
    ))
}

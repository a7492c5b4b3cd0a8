//! Attributes of instances: asked for and changed one at a time.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::describe::instance::metadata_options;
use super::launch::{read_metadata_options, read_user_data, shutdown_behavior};
use super::metadata::check_tag_keys;
use super::params::Params;
use super::state::{Instance, InstanceState};
use super::{Ec2, Ec2Error, Shared, done};
use crate::xml::Xml;

/// Those that can be changed here.
const CHANGEABLE: [&str; 5] = [
    "DisableApiStop",
    "DisableApiTermination",
    "InstanceInitiatedShutdownBehavior",
    "InstanceType",
    "UserData",
];
/// Those that AWS can change, and that stand for nothing here.
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
    pub(super) fn describe_instance_attribute(
        &self,
        params: &Params,
        request_id: &str,
    ) -> Result<String, Ec2Error> {
        let id = params.instance_id()?;
        let attribute = params.required("Attribute")?;
        let shared = self.lock();
        let spec = &self.known(&shared, id)?.spec;
        let value = |xml: &mut Xml, value: &dyn std::fmt::Display| {
            xml.element(attribute, |xml| xml.text("value", value));
        };
        let mut answer = Xml::default();
        match attribute {
            "instanceType" => value(&mut answer, &spec.instance_type),
            "userData" if spec.user_data.is_empty() => answer.element(attribute, |_| {}),
            "userData" => value(&mut answer, &STANDARD.encode(&spec.user_data)),
            "disableApiTermination" => value(&mut answer, &spec.disable_api_termination),
            "disableApiStop" => value(&mut answer, &spec.disable_api_stop),
            "instanceInitiatedShutdownBehavior" => {
                let terminate = spec.terminate_on_shutdown;
                value(&mut answer, &if terminate { "terminate" } else { "stop" });
            }
            "ebsOptimized" => value(&mut answer, &false),
            "enaSupport" | "sourceDestCheck" => value(&mut answer, &true),
            "rootDeviceName" => value(&mut answer, &"/dev/sda1"),
            "groupSet" => answer.list("groupSet", &spec.security_groups, |xml, group| {
                xml.text("groupId", group);
            }),
            "enclaveOptions" => answer.element(attribute, |xml| xml.text("enabled", false)),
            "blockDeviceMapping" | "kernel" | "productCodes" | "ramdisk" | "sriovNetSupport" => {
                answer.element(attribute, |_| {});
            }
            other => {
                return Err(Ec2Error::InvalidParameterValue(format!(
                    "Value ({other}) for parameter attribute is invalid. Unknown attribute."
                )));
            }
        }
        Ok(Xml::response(
            "DescribeInstanceAttribute",
            request_id,
            |xml| {
                xml.text("instanceId", id);
                xml.raw(&answer.into_text());
            },
        ))
    }

    pub(super) fn modify_instance_attribute(
        &self,
        params: &Params,
        request_id: &str,
    ) -> Result<String, Ec2Error> {
        let id = params.instance_id()?;
        let (attribute, value) = change(params)?;
        let mut shared = self.lock();
        let instance = self.known_mut(&mut shared, id)?;
        let needs_stop = matches!(attribute, "InstanceType" | "UserData");
        if needs_stop && instance.state != InstanceState::Stopped {
            return Err(Ec2Error::NotStopped(id.to_owned()));
        }
        let spec = &mut instance.spec;
        match attribute {
            "DisableApiStop" => spec.disable_api_stop = flag(attribute, value)?,
            "DisableApiTermination" => spec.disable_api_termination = flag(attribute, value)?,
            "InstanceInitiatedShutdownBehavior" => {
                spec.terminate_on_shutdown = shutdown_behavior(Some(value))?;
            }
            "InstanceType" if value.is_empty() => {
                return Err(Ec2Error::MissingParameter("InstanceType.Value".to_owned()));
            }
            "InstanceType" => spec.instance_type = value.to_owned(),
            _ => spec.user_data = read_user_data(value)?,
        }
        Ok(done("ModifyInstanceAttribute", request_id))
    }

    pub(super) fn modify_instance_metadata_options(
        &self,
        params: &Params,
        request_id: &str,
    ) -> Result<String, Ec2Error> {
        let id = params.instance_id()?;
        let mut shared = self.lock();
        let instance = self.known_mut(&mut shared, id)?;
        if instance.state == InstanceState::Terminated {
            return Err(instance.incorrect_state("modified"));
        }
        let options = read_metadata_options(params, "", instance.spec.metadata.clone())?;
        if options.tags_enabled {
            check_tag_keys(&instance.tags)?;
        }
        instance.spec.metadata = options.clone();
        Ok(Xml::response(
            "ModifyInstanceMetadataOptions",
            request_id,
            |xml| {
                xml.text("instanceId", id);
                xml.element("instanceMetadataOptions", |xml| {
                    metadata_options(xml, &options);
                });
            },
        ))
    }

    fn known<'a>(&self, shared: &'a Shared, id: &str) -> Result<&'a Instance, Ec2Error> {
        let now = self.clock.now();
        let instance = shared.instances.get(id);
        instance
            .filter(|instance| instance.is_known(now))
            .ok_or_else(|| Ec2Error::InstanceNotFound(vec![id.to_owned()]))
    }

    fn known_mut<'a>(
        &self,
        shared: &'a mut Shared,
        id: &str,
    ) -> Result<&'a mut Instance, Ec2Error> {
        let now = self.clock.now();
        let instance = shared.instances.get_mut(id);
        instance
            .filter(|instance| instance.is_known(now))
            .ok_or_else(|| Ec2Error::InstanceNotFound(vec![id.to_owned()]))
    }
}

/// The one attribute that a call changes, and its new value: spelled `InstanceType.Value=t3.micro`, or in the old way
/// `Attribute=instanceType&Value=t3.micro`.
fn change(params: &Params) -> Result<(&'static str, &str), Ec2Error> {
    if let Some(attribute) = params.get("Attribute") {
        let same = |name: &&&str| {
            let (first, rest) = name.split_at(1);
            attribute
                .strip_prefix(&first.to_ascii_lowercase())
                .is_some_and(|other| other == rest)
        };
        return match CHANGEABLE.iter().find(same) {
            Some(name) => Ok((name, params.get("Value").unwrap_or_default())),
            None => Err(unchangeable(attribute)),
        };
    }
    if let Some(fixed) = FIXED.iter().find(|name| params.has(name)) {
        return Err(unchangeable(fixed));
    }
    let mut given = CHANGEABLE.iter().filter(|name| params.has(name));
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

fn flag(name: &str, value: &str) -> Result<bool, Ec2Error> {
    value.to_ascii_lowercase().parse().map_err(|_| {
        Ec2Error::InvalidParameterValue(format!(
            "Invalid value '{value}' for {name}. Expected: true or false"
        ))
    })
}

fn unchangeable(attribute: &str) -> Ec2Error {
    Ec2Error::UnsupportedOperation(format!(
        "The attribute {attribute} cannot be changed in localcloud."
    ))
}

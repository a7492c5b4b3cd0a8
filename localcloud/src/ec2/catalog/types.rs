//! DescribeInstanceTypes and DescribeInstanceTypeOfferings, for the most common types.

use crate::ec2::describe::{PageRequest, token};
use crate::ec2::params::Params;
use crate::ec2::state::Filter;
use crate::ec2::{Ec2, Ec2Error, Ec2Result};
use crate::xml::Xml;

/// Virtual CPUs by size, for families with all of these sizes.
const SIZES: [(&str, u32); 8] = [
    ("large", 2),
    ("xlarge", 4),
    ("2xlarge", 8),
    ("4xlarge", 16),
    ("8xlarge", 32),
    ("12xlarge", 48),
    ("16xlarge", 64),
    ("24xlarge", 96),
];
/// The families with those sizes, and their GiB of memory for each virtual CPU.
const FAMILIES: [(&str, u32); 8] = [
    ("c6i", 2),
    ("c7i", 2),
    ("m5", 4),
    ("m6i", 4),
    ("m7i", 4),
    ("r5", 8),
    ("r6i", 8),
    ("r7i", 8),
];
/// Other types: name, virtual CPUs, MiB of memory.
const OTHERS: [(&str, u32, u32); 19] = [
    ("c5.large", 2, 4096),
    ("c5.xlarge", 4, 8192),
    ("c5.2xlarge", 8, 16_384),
    ("c5.4xlarge", 16, 32_768),
    ("m1.small", 1, 1740),
    ("t2.nano", 1, 512),
    ("t2.micro", 1, 1024),
    ("t2.small", 1, 2048),
    ("t2.medium", 2, 4096),
    ("t2.large", 2, 8192),
    ("t2.xlarge", 4, 16_384),
    ("t2.2xlarge", 8, 32_768),
    ("t3.nano", 2, 512),
    ("t3.micro", 2, 1024),
    ("t3.small", 2, 2048),
    ("t3.medium", 2, 4096),
    ("t3.large", 2, 8192),
    ("t3.xlarge", 4, 16_384),
    ("t3.2xlarge", 8, 32_768),
];
/// Those for properties that the types do not have here match no type.
const FILTERS: &str = "\
    auto-recovery-supported bare-metal burstable-performance-supported current-generation \
    dedicated-hosts-supported ebs-info.* free-tier-eligible hibernation-supported hypervisor \
    instance-storage-info.* instance-storage-supported instance-type memory-info.size-in-mib \
    network-info.* nitro-enclaves-support nitro-tpm-info.* nitro-tpm-support processor-info.* \
    reboot-migration-support supported-boot-mode supported-root-device-type \
    supported-usage-class supported-virtualization-type vcpu-info.*";

struct InstanceType {
    name: String,
    cpus: u32,
    memory_mib: u32,
}

impl Ec2 {
    pub(in crate::ec2) fn describe_instance_types(
        &self,
        params: &Params,
        xml: &mut Xml,
    ) -> Ec2Result {
        let names = params.list("InstanceType");
        let filters = params.filters(FILTERS)?;
        let (start_at, page_size) = PageRequest::read_numbered(params, 5..=100, !names.is_empty())?;
        let all = all();
        let unknown: Vec<&str> = names
            .iter()
            .map(String::as_str)
            .filter(|name| !all.iter().any(|one| one.name == *name))
            .collect();
        if !unknown.is_empty() {
            return Err(Ec2Error::InvalidInstanceType(unknown.join(", ")));
        }
        let start_at = usize::try_from(start_at).unwrap_or(usize::MAX);
        let mut found: Vec<&InstanceType> = all
            .iter()
            .filter(|one| names.is_empty() || names.contains(&one.name))
            .filter(|one| filters.iter().all(|filter| one.matches(filter)))
            .skip(start_at)
            .take(page_size.saturating_add(1))
            .collect();
        let more = found.len() > page_size;
        found.truncate(page_size);
        xml.list("instanceTypeSet", &found, |xml, one| one.describe(xml));
        let next = start_at.saturating_add(page_size);
        xml.optional("nextToken", more.then(|| token(next)));
        Ok(())
    }
}

impl Ec2 {
    /// Every type is offered in every zone.
    pub(in crate::ec2) fn describe_instance_type_offerings(
        &self,
        params: &Params,
        xml: &mut Xml,
    ) -> Ec2Result {
        let filters = params.filters("instance-type location")?;
        let (start_at, page_size) = PageRequest::read_numbered(params, 5..=1000, false)?;
        let kind = params.get("LocationType").unwrap_or("region");
        let zones = self.region.zones();
        let locations = match kind {
            "region" => vec![self.region.name.clone()],
            "availability-zone" => zones.into_iter().map(|(_, zone)| zone).collect(),
            "availability-zone-id" => zones.into_iter().map(|(id, _)| id).collect(),
            other => return Err(Ec2Error::invalid(other, "LocationType")),
        };
        let all = all();
        let offered = all
            .iter()
            .flat_map(|one| locations.iter().map(move |location| (&one.name, location)));
        let offered = offered.filter(|(name, location)| {
            filters.iter().all(|filter| match filter.name.as_str() {
                "location" => filter.matches(location),
                _ => filter.matches(name),
            })
        });
        let start_at = usize::try_from(start_at).unwrap_or(usize::MAX);
        let mut found: Vec<_> = offered
            .skip(start_at)
            .take(page_size.saturating_add(1))
            .collect();
        let more = found.len() > page_size;
        found.truncate(page_size);
        xml.list("instanceTypeOfferingSet", found, |xml, (name, location)| {
            xml.text("instanceType", name);
            xml.text("locationType", kind);
            xml.text("location", location);
        });
        let next = start_at.saturating_add(page_size);
        xml.optional("nextToken", more.then(|| token(next)));
        Ok(())
    }
}

impl InstanceType {
    fn is_burstable(&self) -> bool {
        self.name.starts_with('t')
    }

    fn is_current(&self) -> bool {
        self.name != "m1.small"
    }

    fn hypervisor(&self) -> &'static str {
        match self.name.split('.').next() {
            Some("t2" | "m1") => "xen",
            _ => "nitro",
        }
    }

    fn describe(&self, xml: &mut Xml) {
        xml.text("instanceType", &self.name);
        xml.text("currentGeneration", self.is_current());
        xml.text("freeTierEligible", self.name == "t2.micro");
        xml.element("supportedUsageClasses", |xml| {
            xml.text("item", "on-demand");
            xml.text("item", "spot");
        });
        xml.element("supportedRootDeviceTypes", |xml| xml.text("item", "ebs"));
        xml.element("supportedVirtualizationTypes", |xml| {
            xml.text("item", "hvm")
        });
        xml.text("bareMetal", false);
        xml.text("hypervisor", self.hypervisor());
        xml.element("processorInfo", |xml| {
            xml.element("supportedArchitectures", |xml| xml.text("item", "x86_64"));
        });
        xml.element("vCpuInfo", |xml| xml.text("defaultVCpus", self.cpus));
        xml.element("memoryInfo", |xml| xml.text("sizeInMiB", self.memory_mib));
        xml.text("instanceStorageSupported", false);
        xml.text("hibernationSupported", false);
        xml.text("burstablePerformanceSupported", self.is_burstable());
    }

    fn matches(&self, filter: &Filter) -> bool {
        let flag = |value: bool| filter.matches(if value { "true" } else { "false" });
        match filter.name.as_str() {
            "instance-type" => filter.matches(&self.name),
            "bare-metal" | "instance-storage-supported" | "hibernation-supported" => flag(false),
            "burstable-performance-supported" => flag(self.is_burstable()),
            "current-generation" => flag(self.is_current()),
            "free-tier-eligible" => flag(self.name == "t2.micro"),
            "hypervisor" => filter.matches(self.hypervisor()),
            "memory-info.size-in-mib" => filter.matches(&self.memory_mib.to_string()),
            "processor-info.supported-architecture" => filter.matches("x86_64"),
            "supported-root-device-type" => filter.matches("ebs"),
            "supported-usage-class" => filter.matches("on-demand") || filter.matches("spot"),
            "supported-virtualization-type" => filter.matches("hvm"),
            "vcpu-info.default-vcpus" => filter.matches(&self.cpus.to_string()),
            _ => false,
        }
    }
}

fn all() -> Vec<InstanceType> {
    let families = FAMILIES.iter().flat_map(|(family, gib_per_cpu)| {
        SIZES.iter().map(move |(size, cpus)| InstanceType {
            name: format!("{family}.{size}"),
            cpus: *cpus,
            memory_mib: cpus * gib_per_cpu * 1024,
        })
    });
    let others = OTHERS.iter().map(|(name, cpus, memory_mib)| InstanceType {
        name: (*name).to_owned(),
        cpus: *cpus,
        memory_mib: *memory_mib,
    });
    let mut all: Vec<InstanceType> = families.chain(others).collect();
    all.sort_by(|one, other| one.name.cmp(&other.name));
    all
}

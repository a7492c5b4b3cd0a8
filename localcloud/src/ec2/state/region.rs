//! The region, and the names that it gives to zones and instances.

use super::instance::Instance;
use super::spec::LaunchSpec;

/// A region and its default zone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Region {
    pub name: String,
    default_zone: String,
}

impl Region {
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            default_zone: format!("{name}a"),
        }
    }

    /// Returns the identifiers and names of the zones.
    pub fn zones(&self) -> Vec<(String, String)> {
        let letters = if self.name == "us-east-1" {
            'a'..='f'
        } else {
            'a'..='c'
        };
        let zones = letters.map(|letter| format!("{}{letter}", self.name));
        zones.map(|zone| (self.zone_id(&zone), zone)).collect()
    }

    pub fn default_zone(&self) -> &str {
        &self.default_zone
    }

    /// Returns the zone of an instance.
    pub fn zone_of<'a>(&'a self, spec: &'a LaunchSpec) -> &'a str {
        let zone = spec.availability_zone.as_deref();
        zone.unwrap_or(&self.default_zone)
    }

    /// Returns the identifier of a zone, such as `use1-az1`. A zone of another region is returned as it is.
    pub fn zone_id(&self, zone: &str) -> String {
        let letter = zone.strip_prefix(&self.name).map(str::as_bytes);
        let Some([letter @ b'a'..=b'z']) = letter else {
            return zone.to_owned();
        };
        let mut short = String::new();
        for (position, part) in self.name.split('-').enumerate() {
            match (position, part) {
                (0, part) => short.push_str(part),
                (_, "northeast") => short.push_str("ne"),
                (_, "northwest") => short.push_str("nw"),
                (_, "southeast") => short.push_str("se"),
                (_, "southwest") => short.push_str("sw"),
                (_, part) => short.extend(part.chars().next()),
            }
        }
        format!("{short}-az{}", letter - b'a' + 1)
    }

    /// Returns the DNS name of an instance's private address.
    pub fn private_dns_name(&self, instance: &Instance) -> String {
        let address = instance.private_address().to_string().replace('.', "-");
        match self.name.as_str() {
            "us-east-1" => format!("ip-{address}.ec2.internal"),
            region => format!("ip-{address}.{region}.compute.internal"),
        }
    }
}

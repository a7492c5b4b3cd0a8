//! Where to launch, and what: combinations of instance type and subnet, in order of preference.

use std::time::Duration;

use crate::plan::Timestamp;

/// An instance type in a subnet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    pub instance_type: String,
    /// Absent: the account's default.
    pub subnet_id: Option<String>,
}

/// The combinations, and which of them lacked capacity lately.
#[derive(Debug, Clone)]
pub struct Places {
    places: Vec<(Place, Option<Timestamp>)>,
}

/// What EC2's refusal says about other combinations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scope {
    Combination,
    /// All types in this subnet.
    Subnet,
    /// This type in all subnets.
    Type,
}

/// For how long a combination without capacity is passed over.
const CAPACITY_REMEMBERED: Duration = Duration::from_secs(180);
/// For how long one whose quota or addresses are used up is: instances that end make room.
const QUOTA_REMEMBERED: Duration = Duration::from_secs(60);
/// For how long one is that EC2 does not offer.
const UNSUPPORTED_REMEMBERED: Duration = Duration::from_secs(3600);

impl Places {
    /// All subnets for the first type, then all for the second: instances of one type are alike in speed and price, so a
    /// neighbouring subnet is the better substitute.
    #[must_use]
    pub fn combine(instance_types: &[String], subnet_ids: &[String]) -> Vec<Place> {
        let subnets: Vec<_> = match subnet_ids {
            [] => vec![None],
            ids => ids.iter().cloned().map(Some).collect(),
        };
        let in_all = |instance_type: &String| {
            let instance_type = instance_type.clone();
            subnets.iter().map(move |subnet_id| Place {
                instance_type: instance_type.clone(),
                subnet_id: subnet_id.clone(),
            })
        };
        instance_types.iter().flat_map(in_all).collect()
    }

    /// `places` must not be empty.
    #[must_use]
    pub fn new(places: Vec<Place>) -> Self {
        Self {
            places: places.into_iter().map(|place| (place, None)).collect(),
        }
    }

    /// The first that is not known to lack capacity, otherwise the one that is tried again next.
    #[must_use]
    pub fn choose(&self, now: Timestamp) -> Place {
        let lacking_until = |lacking: &Option<Timestamp>| lacking.filter(|until| now < *until);
        let places = self.places.iter();
        let best = places.min_by_key(|(_, lacking)| lacking_until(lacking));
        best.expect("there is at least one place").0.clone()
    }

    /// Whether there is one that is not known to lack capacity.
    #[must_use]
    pub fn any_left(&self, now: Timestamp) -> bool {
        let lacks = |until: Timestamp| now < until;
        self.places
            .iter()
            .any(|(_, lacking)| !lacking.is_some_and(lacks))
    }

    /// Takes note of EC2's refusal to launch at a place; `true` when it says that capacity is lacking there.
    pub fn refused(&mut self, place: &Place, code: &str, now: Timestamp) -> bool {
        let (scope, remembered) = match code {
            "InsufficientInstanceCapacity"
            | "InsufficientCapacity"
            | "InsufficientHostCapacity"
            | "SpotMaxPriceTooLow" => (Scope::Combination, CAPACITY_REMEMBERED),
            "Unsupported" => (Scope::Combination, UNSUPPORTED_REMEMBERED),
            "InsufficientFreeAddressesInSubnet" | "InvalidSubnetID.NotFound" => {
                (Scope::Subnet, QUOTA_REMEMBERED)
            }
            "VcpuLimitExceeded" | "InstanceLimitExceeded" | "MaxSpotInstanceCountExceeded" => {
                (Scope::Type, QUOTA_REMEMBERED)
            }
            _ => return false,
        };
        let concerns = |other: &Place| match scope {
            Scope::Combination => other == place,
            Scope::Subnet => other.subnet_id == place.subnet_id,
            Scope::Type => other.instance_type == place.instance_type,
        };
        for (other, lacking) in &mut self.places {
            if concerns(other) {
                *lacking = Some(now.after(remembered));
            }
        }
        true
    }

    /// A launch there brought fewer instances than were asked for.
    pub fn exhausted(&mut self, place: &Place, now: Timestamp) {
        self.refused(place, "InsufficientInstanceCapacity", now);
    }
}

/// Whether a refusal to start stopped instances says that capacity is lacking where they are.
#[must_use]
pub fn is_lack_of_capacity(code: &str) -> bool {
    matches!(
        code,
        "InsufficientInstanceCapacity"
            | "InsufficientCapacity"
            | "InsufficientHostCapacity"
            | "Unsupported"
            | "VcpuLimitExceeded"
            | "InstanceLimitExceeded"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::after_epoch(Duration::from_secs(seconds))
    }

    fn texts(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|&text| text.to_owned()).collect()
    }

    fn two_by_two() -> Places {
        let (types, subnets) = (
            texts(&["c7i.large", "m7i.large"]),
            texts(&["subnet-a", "subnet-b"]),
        );
        Places::new(Places::combine(&types, &subnets))
    }

    fn name(place: &Place) -> String {
        format!(
            "{} {}",
            place.instance_type,
            place.subnet_id.as_deref().unwrap_or("default")
        )
    }

    /// Refuses the place of choice with each code in turn; answers the places that were tried.
    fn tried(places: &mut Places, codes: &[&str]) -> Vec<String> {
        let turn = |code: &&str| {
            let place = places.choose(at(1));
            assert!(places.refused(&place, code, at(1)));
            name(&place)
        };
        codes.iter().map(turn).collect()
    }

    #[test]
    fn without_capacity_another_subnet_is_tried_and_then_another_type() {
        let tried = tried(&mut two_by_two(), &["InsufficientInstanceCapacity"; 4]);
        let all = [
            "c7i.large subnet-a",
            "c7i.large subnet-b",
            "m7i.large subnet-a",
            "m7i.large subnet-b",
        ];
        assert_eq!(tried, all);
    }

    #[test]
    fn a_full_subnet_is_left_alone_for_all_types() {
        let mut places = two_by_two();
        let codes = ["InsufficientFreeAddressesInSubnet", "Unsupported"];
        assert_eq!(
            tried(&mut places, &codes),
            ["c7i.large subnet-a", "c7i.large subnet-b"]
        );
        assert_eq!(name(&places.choose(at(1))), "m7i.large subnet-b");
    }

    #[test]
    fn a_used_up_quota_concerns_the_type_everywhere() {
        let mut places = two_by_two();
        tried(&mut places, &["VcpuLimitExceeded"]);
        assert_eq!(name(&places.choose(at(1))), "m7i.large subnet-a");
    }

    #[test]
    fn a_lack_is_forgotten_after_a_while() {
        let mut places = two_by_two();
        tried(&mut places, &["InsufficientInstanceCapacity"]);
        assert_eq!(name(&places.choose(at(180))), "c7i.large subnet-b");
        assert_eq!(name(&places.choose(at(181))), "c7i.large subnet-a");
    }

    #[test]
    fn when_all_lack_capacity_the_one_tried_again_soonest_is_taken() {
        let mut places = two_by_two();
        tried(&mut places, &["InsufficientInstanceCapacity"; 3]);
        tried(&mut places, &["InsufficientFreeAddressesInSubnet"]);
        assert!(!places.any_left(at(1)));
        // Both types in the full subnet: the preferred one first.
        assert_eq!(name(&places.choose(at(2))), "c7i.large subnet-b");
        assert!(places.any_left(at(61)));
    }

    #[test]
    fn other_refusals_say_nothing_about_capacity() {
        let mut places = Places::new(Places::combine(&texts(&["c7i.large"]), &[]));
        let place = places.choose(at(1));
        assert_eq!(name(&place), "c7i.large default");
        for code in [
            "UnauthorizedOperation",
            "InvalidAMIID.NotFound",
            "RequestLimitExceeded",
        ] {
            assert!(!places.refused(&place, code, at(1)), "{code}");
        }
        assert!(places.any_left(at(1)));
    }
}

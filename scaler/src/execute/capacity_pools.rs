//! Which instance type to launch in which subnet, in order of preference.

use std::time::Duration;

use crate::plan::Timestamp;

/// An instance type in a subnet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CapacityPool {
    pub instance_type: String,
    /// `None`: the account's default.
    pub subnet_id: Option<String>,
}

/// The capacity pools, and which of them lacked capacity lately.
#[derive(Debug, Clone)]
pub struct CapacityPools {
    /// Each with the time until which it is believed to lack capacity.
    pools: Vec<(CapacityPool, Option<Timestamp>)>,
}

/// Which other pools EC2's refusal concerns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scope {
    Pool,
    /// All types in this subnet.
    Subnet,
    /// This type in all subnets.
    Type,
}

/// How long a pool without capacity is passed over.
const CAPACITY_REMEMBERED: Duration = Duration::from_secs(180);
/// How long a pool whose quota or addresses are used up is passed over: instances that end make room.
const QUOTA_REMEMBERED: Duration = Duration::from_secs(60);
/// How long a pool that EC2 does not offer is passed over.
const UNSUPPORTED_REMEMBERED: Duration = Duration::from_secs(3600);

impl CapacityPools {
    /// Combines all subnets with the first type, then all with the second: instances of one type are alike in speed and
    /// price, so another subnet is the better substitute.
    #[must_use]
    pub fn combine(instance_types: &[String], subnet_ids: &[String]) -> Vec<CapacityPool> {
        let subnets: Vec<_> = match subnet_ids {
            [] => vec![None],
            ids => ids.iter().cloned().map(Some).collect(),
        };
        let in_all = |instance_type: &String| {
            let instance_type = instance_type.clone();
            subnets.iter().map(move |subnet_id| CapacityPool {
                instance_type: instance_type.clone(),
                subnet_id: subnet_id.clone(),
            })
        };
        instance_types.iter().flat_map(in_all).collect()
    }

    /// Creates a set in which no pool is known to lack capacity. `pools` must not be empty.
    #[must_use]
    pub fn new(pools: Vec<CapacityPool>) -> Self {
        Self {
            pools: pools.into_iter().map(|pool| (pool, None)).collect(),
        }
    }

    /// Returns the first pool that is not known to lack capacity, otherwise the one that is tried again next.
    #[must_use]
    pub fn choose(&self, now: Timestamp) -> CapacityPool {
        let lacking_until = |lacking: &Option<Timestamp>| lacking.filter(|until| now < *until);
        let best = self
            .pools
            .iter()
            .min_by_key(|(_, lacking)| lacking_until(lacking));
        best.expect("there is at least one pool").0.clone()
    }

    /// Returns whether any pool is not known to lack capacity.
    #[must_use]
    pub fn any_left(&self, now: Timestamp) -> bool {
        let lacks = |until: Timestamp| now < until;
        self.pools
            .iter()
            .any(|(_, lacking)| !lacking.is_some_and(lacks))
    }

    /// Records EC2's refusal to launch in a pool. Returns whether the refusal means that the pool lacks capacity.
    pub fn refused(&mut self, pool: &CapacityPool, code: &str, now: Timestamp) -> bool {
        let (scope, remembered) = match code {
            "InsufficientInstanceCapacity"
            | "InsufficientCapacity"
            | "InsufficientHostCapacity"
            | "SpotMaxPriceTooLow" => (Scope::Pool, CAPACITY_REMEMBERED),
            "Unsupported" => (Scope::Pool, UNSUPPORTED_REMEMBERED),
            "InsufficientFreeAddressesInSubnet" | "InvalidSubnetID.NotFound" => {
                (Scope::Subnet, QUOTA_REMEMBERED)
            }
            "VcpuLimitExceeded" | "InstanceLimitExceeded" | "MaxSpotInstanceCountExceeded" => {
                (Scope::Type, QUOTA_REMEMBERED)
            }
            _ => return false,
        };
        let concerns = |other: &CapacityPool| match scope {
            Scope::Pool => other == pool,
            Scope::Subnet => other.subnet_id == pool.subnet_id,
            Scope::Type => other.instance_type == pool.instance_type,
        };
        for (other, lacking) in &mut self.pools {
            if concerns(other) {
                *lacking = Some(now.after(remembered));
            }
        }
        true
    }

    /// Records that a launch brought fewer instances than were asked for.
    pub fn exhausted(&mut self, pool: &CapacityPool, now: Timestamp) {
        self.refused(pool, "InsufficientInstanceCapacity", now);
    }
}

/// Returns whether a refusal to start stopped instances means that EC2 lacks capacity for them.
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

    fn two_by_two() -> CapacityPools {
        let (types, subnets) = (
            texts(&["c7i.large", "m7i.large"]),
            texts(&["subnet-a", "subnet-b"]),
        );
        CapacityPools::new(CapacityPools::combine(&types, &subnets))
    }

    fn name(pool: &CapacityPool) -> String {
        format!(
            "{} {}",
            pool.instance_type,
            pool.subnet_id.as_deref().unwrap_or("default")
        )
    }

    /// Refuses the chosen pool with each code in turn, and returns the pools that were tried.
    fn tried(pools: &mut CapacityPools, codes: &[&str]) -> Vec<String> {
        let refuse = |code: &&str| {
            let pool = pools.choose(at(1));
            assert!(pools.refused(&pool, code, at(1)));
            name(&pool)
        };
        codes.iter().map(refuse).collect()
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
    fn a_full_subnet_is_passed_over_for_all_types() {
        let mut pools = two_by_two();
        let codes = ["InsufficientFreeAddressesInSubnet", "Unsupported"];
        assert_eq!(
            tried(&mut pools, &codes),
            ["c7i.large subnet-a", "c7i.large subnet-b"]
        );
        assert_eq!(name(&pools.choose(at(1))), "m7i.large subnet-b");
    }

    #[test]
    fn a_used_up_quota_concerns_the_type_everywhere() {
        let mut pools = two_by_two();
        tried(&mut pools, &["VcpuLimitExceeded"]);
        assert_eq!(name(&pools.choose(at(1))), "m7i.large subnet-a");
    }

    #[test]
    fn a_lack_is_forgotten_after_a_while() {
        let mut pools = two_by_two();
        tried(&mut pools, &["InsufficientInstanceCapacity"]);
        assert_eq!(name(&pools.choose(at(180))), "c7i.large subnet-b");
        assert_eq!(name(&pools.choose(at(181))), "c7i.large subnet-a");
    }

    #[test]
    fn when_all_lack_capacity_the_pool_that_is_retried_first_is_chosen() {
        let mut pools = two_by_two();
        tried(&mut pools, &["InsufficientInstanceCapacity"; 3]);
        tried(&mut pools, &["InsufficientFreeAddressesInSubnet"]);
        assert!(!pools.any_left(at(1)));
        // Both types in the full subnet: the preferred one first.
        assert_eq!(name(&pools.choose(at(2))), "c7i.large subnet-b");
        assert!(pools.any_left(at(61)));
    }

    #[test]
    fn other_refusals_say_nothing_about_capacity() {
        let types = texts(&["c7i.large"]);
        let mut pools = CapacityPools::new(CapacityPools::combine(&types, &[]));
        let pool = pools.choose(at(1));
        assert_eq!(name(&pool), "c7i.large default");
        for code in [
            "UnauthorizedOperation",
            "InvalidAMIID.NotFound",
            "RequestLimitExceeded",
        ] {
            assert!(!pools.refused(&pool, code, at(1)), "{code}");
        }
        assert!(pools.any_left(at(1)));
    }
}

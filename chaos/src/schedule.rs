//! When which fault happens, by seed. Pure.

use std::collections::BTreeSet;
use std::time::Duration;

use rand::rngs::Xoshiro256PlusPlus;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use serde::{Deserialize, Serialize};

/// Something that ends, stops or is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Service {
    Worker,
    Front,
    Gateway,
    Scaler,
    Redis,
    Localcloud,
}

/// A connection that passes through a proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Link {
    ClientToGateway,
    GatewayToFront,
    WorkerToScaler,
    ServicesToCloud,
}

/// What the local cloud does to its callers for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Degradation {
    /// Calls to S3 and SQS fail.
    Errors,
    /// Calls have their effect, and their replies are lost.
    LostReplies,
    Resets,
    Throttling,
    /// Messages are delivered again, also after their deletion.
    Duplicates,
    /// Queue counters and instance lists are old.
    Lag,
    Slow,
}

/// A fault of the schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "fault", rename_all = "snake_case")]
pub enum Fault {
    /// SIGKILL. `pick` chooses among several processes.
    Kill {
        service: Service,
        pick: u32,
    },
    /// SIGTERM of a worker: it ends as it does when EC2 stops it.
    Terminate {
        pick: u32,
    },
    /// SIGSTOP, and SIGCONT after `ms` milliseconds.
    Stop {
        service: Service,
        pick: u32,
        ms: u64,
    },
    Degrade {
        degradation: Degradation,
        ms: u64,
    },
    /// All connections end.
    Cut {
        link: Link,
    },
    /// Bytes of both directions come later.
    Delay {
        link: Link,
        by_ms: u64,
        ms: u64,
    },
    /// Bytes of one direction do not come until the end, when the connections are cut.
    Halve {
        link: Link,
        to_server: bool,
        ms: u64,
    },
    /// EC2 takes a spot instance back.
    Interrupt {
        pick: u32,
    },
    /// The file of API keys changes.
    ReloadKeys,
    /// The gallery's file is replaced.
    ReloadGallery,
}

/// A fault and its time since the begin of the load.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Planned {
    pub at_ms: u64,
    #[serde(flatten)]
    pub fault: Fault,
}

/// Which faults happen, and how often.
#[derive(Debug, Clone)]
pub struct Rules {
    pub length: Duration,
    /// Mean time between two faults.
    pub every: Duration,
    /// No other faults than those of this name, which is one of [`names`].
    pub only: Option<String>,
    /// Whether workers are spot instances, which EC2 interrupts.
    pub spot: bool,
    /// Whether workers have a gallery to reload.
    pub gallery: bool,
}

/// Times of the local cloud's own death are as far apart: all instances die with it and boot again.
const BETWEEN_OUTAGES_MS: u64 = 60_000;
/// No fault happens within this time of the begin: the stack has just started.
const QUIET_MS: u64 = 1_000;

impl Fault {
    /// Returns a short name for counting.
    #[must_use]
    pub fn name(&self) -> String {
        let text = serde_json::to_value(self).unwrap_or_default();
        let word = |key| text.get(key).and_then(|value| value.as_str());
        let detail = ["service", "degradation", "link"]
            .into_iter()
            .find_map(word);
        let name = word("fault").unwrap_or("fault");
        detail.map_or_else(|| name.to_owned(), |detail| format!("{name}_{detail}"))
    }

    fn is_outage(&self) -> bool {
        matches!(
            self,
            Self::Kill {
                service: Service::Localcloud,
                ..
            }
        )
    }
}

/// Returns the names of all faults that can happen, with or without spot instances and a gallery.
#[must_use]
pub fn names(spot: bool, gallery: bool) -> BTreeSet<String> {
    let mut random = Xoshiro256PlusPlus::seed_from_u64(0);
    let faults = (0..10_000).map(|_| any(&mut random, spot, gallery));
    faults.map(|fault| fault.name()).collect()
}

/// Returns the faults of a run: the same for the same seed and rules. Each kind happens once before the others are drawn at
/// random, so that a short run has all of them.
#[must_use]
pub fn schedule(seed: u64, rules: &Rules) -> Vec<Planned> {
    let mut random = Xoshiro256PlusPlus::seed_from_u64(seed);
    let length = u64::try_from(rules.length.as_millis()).unwrap_or(u64::MAX);
    let every = rules.every.as_secs_f64() * 1e3;
    let mut first = match &rules.only {
        Some(_) => Vec::new(),
        None => one_of_each(&mut random, rules),
    };
    let (mut planned, mut at_ms, mut outage_from) = (Vec::new(), QUIET_MS, BETWEEN_OUTAGES_MS / 3);
    loop {
        let pause = -(1.0 - random.random::<f64>()).ln() * every;
        at_ms += pause as u64;
        if at_ms >= length {
            return planned;
        }
        let is_possible = |fault: &Fault| at_ms >= outage_from || !fault.is_outage();
        let mut fault = match first.iter().position(is_possible) {
            Some(index) => first.remove(index),
            None => any(&mut random, rules.spot, rules.gallery),
        };
        if let Some(only) = &rules.only {
            while fault.name() != *only {
                fault = any(&mut random, true, true);
            }
        }
        if let Fault::Kill {
            service: Service::Localcloud,
            pick,
        } = fault
        {
            if at_ms < outage_from {
                fault = Fault::Kill {
                    service: Service::Worker,
                    pick,
                };
            } else {
                outage_from = at_ms + BETWEEN_OUTAGES_MS;
            }
        }
        planned.push(Planned { at_ms, fault });
    }
}

/// Returns a fault of each kind that can happen, in a random order.
fn one_of_each(random: &mut Xoshiro256PlusPlus, rules: &Rules) -> Vec<Fault> {
    let mut missing = names(rules.spot, rules.gallery);
    let mut faults = Vec::new();
    while !missing.is_empty() {
        let fault = any(random, rules.spot, rules.gallery);
        if missing.remove(&fault.name()) {
            faults.push(fault);
        }
    }
    faults.shuffle(random);
    faults
}

fn any(random: &mut Xoshiro256PlusPlus, spot: bool, gallery: bool) -> Fault {
    let pick = random.random();
    match random.random_range(0..100) {
        0..20 => Fault::Kill {
            service: Service::Worker,
            pick,
        },
        20..28 => Fault::Terminate { pick },
        28..38 => {
            let ms = random.random_range(300..12_000);
            Fault::Stop {
                service: Service::Worker,
                pick,
                ms,
            }
        }
        38..44 => Fault::Kill {
            service: service(random),
            pick,
        },
        44..52 => {
            let ms = random.random_range(200..4_000);
            Fault::Stop {
                service: service(random),
                pick,
                ms,
            }
        }
        52..54 => Fault::Kill {
            service: Service::Localcloud,
            pick,
        },
        54..57 => {
            let ms = random.random_range(200..5_000);
            Fault::Stop {
                service: Service::Localcloud,
                pick,
                ms,
            }
        }
        57..75 => {
            let degradation = [
                Degradation::Errors,
                Degradation::LostReplies,
                Degradation::Resets,
                Degradation::Throttling,
                Degradation::Duplicates,
                Degradation::Lag,
                Degradation::Slow,
            ][random.random_range(0..7)];
            Fault::Degrade {
                degradation,
                ms: random.random_range(1_000..8_000),
            }
        }
        75..81 => Fault::Cut { link: link(random) },
        81..86 => Fault::Delay {
            link: link(random),
            by_ms: random.random_range(20..400),
            ms: random.random_range(1_000..5_000),
        },
        86..91 => Fault::Halve {
            link: link(random),
            to_server: random.random(),
            ms: random.random_range(200..3_000),
        },
        91..96 if spot => Fault::Interrupt { pick },
        91..96 => Fault::Kill {
            service: Service::Worker,
            pick,
        },
        98.. if gallery => Fault::ReloadGallery,
        _ => Fault::ReloadKeys,
    }
}

fn service(random: &mut Xoshiro256PlusPlus) -> Service {
    let services = [
        Service::Front,
        Service::Gateway,
        Service::Scaler,
        Service::Redis,
    ];
    services[random.random_range(0..services.len())]
}

fn link(random: &mut Xoshiro256PlusPlus) -> Link {
    let links = [
        Link::ClientToGateway,
        Link::GatewayToFront,
        Link::WorkerToScaler,
        Link::ServicesToCloud,
    ];
    links[random.random_range(0..links.len())]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::arrivals;

    fn rules(only: Option<&str>) -> Rules {
        Rules {
            length: Duration::from_secs(3_600),
            every: Duration::from_secs(2),
            only: only.map(str::to_owned),
            spot: true,
            gallery: true,
        }
    }

    #[test]
    fn a_seed_has_one_schedule() {
        assert_eq!(schedule(7, &rules(None)), schedule(7, &rules(None)));
        assert_ne!(schedule(7, &rules(None)), schedule(8, &rules(None)));
        let text = serde_json::to_string(&schedule(7, &rules(None))).unwrap();
        let read: Vec<Planned> = serde_json::from_str(&text).unwrap();
        assert_eq!(read, schedule(7, &rules(None)));
    }

    #[test]
    fn an_hour_has_every_kind_of_fault_in_order() {
        let planned = schedule(1, &rules(None));
        assert!(planned.is_sorted_by_key(|planned| planned.at_ms));
        let happened: BTreeSet<_> = planned.iter().map(|planned| planned.fault.name()).collect();
        assert_eq!(happened, names(true, true));
        for name in [
            "kill_worker",
            "kill_front",
            "kill_gateway",
            "kill_scaler",
            "kill_redis",
            "kill_localcloud",
            "stop_worker",
            "stop_localcloud",
            "terminate",
            "degrade_duplicates",
            "degrade_lost_replies",
            "cut_client_to_gateway",
            "halve_gateway_to_front",
            "delay_services_to_cloud",
            "interrupt",
            "reload_keys",
            "reload_gallery",
        ] {
            assert!(happened.contains(name), "{name} is not among {happened:?}");
        }
    }

    #[test]
    fn the_short_form_has_every_kind_of_fault() {
        for seed in 1..=20 {
            // As `make test` runs it: 9,000 requests, 90 a second.
            let rules = Rules {
                length: Duration::from_millis(arrivals(seed, 9_000, 90.0)[8_999]),
                every: Duration::from_secs(1),
                only: None,
                spot: seed & 1 == 1,
                gallery: false,
            };
            let planned = schedule(seed, &rules);
            assert!(planned.is_sorted_by_key(|planned| planned.at_ms));
            let happened: BTreeSet<_> = planned.iter().map(|it| it.fault.name()).collect();
            assert_eq!(happened, names(rules.spot, false), "seed {seed}");
        }
    }

    #[test]
    fn faults_without_an_effect_are_not_drawn() {
        let without = names(false, false);
        let all = names(true, true);
        let missing: Vec<_> = all.difference(&without).collect();
        assert_eq!(missing, ["interrupt", "reload_gallery"]);
        assert!(without.is_subset(&all));
    }

    #[test]
    fn the_local_cloud_dies_at_most_once_a_minute() {
        let planned = schedule(3, &rules(None));
        let outages = planned.iter().filter(|it| it.fault.is_outage());
        let times: Vec<_> = outages.map(|it| it.at_ms).collect();
        assert!(times.len() > 5);
        assert!(
            times
                .windows(2)
                .all(|pair| pair[1] - pair[0] >= BETWEEN_OUTAGES_MS)
        );
    }

    #[test]
    fn one_kind_alone_can_be_asked_for() {
        for name in ["kill_worker", "terminate", "kill_localcloud"] {
            let planned = schedule(1, &rules(Some(name)));
            assert!(planned.len() > 1_000);
            let of_name = planned.iter().filter(|it| it.fault.name() == name);
            assert!(of_name.count() > 40);
        }
        let planned = schedule(1, &rules(Some("terminate")));
        assert!(planned.iter().all(|it| it.fault.name() == "terminate"));
    }
}

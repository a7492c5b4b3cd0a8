//! The logic of fronts, queue, workers and scaler in one thread, in simulated time, under faults.
//!
//! Each seed draws a load, a fleet and faults, and plays them. After the faults all must settle: each accepted request is
//! answered once, by the name of its own photo or by an error; no message is left; no result was replaced by that of
//! another photo; no worker was stopped as idle that had work. Without faults each photo is answered by its name, and
//! each job is received once.
//!
//! The parts are the product's own: front's pending requests and key references, the worker's intake, orders, reports and
//! jobs, the scaler's view, registry and planner, and localcloud's queues. What is written here is the calls between
//! them, in the order in which the services make them: turmoil and madsim replace the network below tokio, but not below
//! the AWS SDK, whose calls alone would take longer than a whole seed here.
//!
//! `SEEDS=10000` plays more seeds than the 1,000 of `make test`, and `FIRST_SEED` others. `SEED=17` plays one, and prints its
//! events (`--nocapture`). The same seed plays the same events.
//!
//! | module | what it has |
//! |---|---|
//! | `system` | everything, the loop over events, and the checks at the end |
//! | `event` | what happens, and the event queue |
//! | `scenario`, `faults`, `random` | what a seed draws |
//! | `clients` | photos, and the check of each answer |
//! | `front`, `worker`, `scaler` | the services |
//! | `queues`, `objects`, `ec2` | SQS, S3 and EC2 |
//! | `interleavings` | any order of events, chosen by proptest |
//! | `injected_bugs` | that the checks notice a broken rule |

mod clients;
mod ec2;
mod event;
mod faults;
mod front;
mod injected_bugs;
mod interleavings;
mod objects;
mod queues;
mod random;
mod scaler;
mod scenario;
mod system;
mod worker;

use std::hash::DefaultHasher;
use std::time::Instant;

use system::{Counts, Simulation, Trace};

/// The seeds of a run without `SEEDS`.
const SEEDS: u64 = 1_000;
/// How many failing seeds are printed.
const PRINTED: usize = 10;

fn variable(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().expect("a number"))
}

fn play(seed: u64, trace: Trace) -> Result<Counts, String> {
    Simulation::new(seed, trace).run()
}

#[test]
fn every_seed_settles_with_each_request_answered_once_and_rightly() {
    if let Some(seed) = variable("SEED") {
        let counts = play(seed, Trace::Print).unwrap();
        println!("{counts:?}");
        return;
    }
    let first = variable("FIRST_SEED").unwrap_or(0);
    let seeds = variable("SEEDS").unwrap_or(SEEDS);
    let began = Instant::now();
    let (mut total, mut failed) = (Counts::default(), Vec::new());
    for seed in first..first + seeds {
        match play(seed, Trace::Off) {
            Ok(counts) => total.add(counts),
            Err(what) => failed.push(format!("SEED={seed}: {what}")),
        }
    }
    let seconds = began.elapsed().as_secs_f64();
    println!(
        "{seeds} seeds in {seconds:.1} s, {:.0} seeds a second: {total:?}",
        seeds as f64 / seconds
    );
    let shown = failed.len().min(PRINTED);
    assert!(
        failed.is_empty(),
        "{} of {seeds} seeds failed:\n{}",
        failed.len(),
        failed[..shown].join("\n")
    );
    // A simulation that exercises nothing would pass as well.
    if seeds >= SEEDS {
        assert!(total.named > 0 && total.refused > 0 && total.disconnected > 0);
        assert!(total.kept > 0 && total.redeliveries > 0 && total.kills > 0 && total.scaled_in > 0);
    }
}

#[test]
fn the_same_seed_plays_the_same_events() {
    for seed in 0..20 {
        let hash = || {
            let mut simulation = Simulation::new(seed, Trace::Hash(DefaultHasher::new()));
            let ended = simulation.run();
            (simulation.trace_hash(), ended.map(|counts| counts.events))
        };
        assert_eq!(hash(), hash(), "seed {seed}");
    }
}

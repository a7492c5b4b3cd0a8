//! Shows that the checks notice: a service breaks one of its rules, and a seed must fail.

use crate::system::{Simulation, Trace};

/// A rule that is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InjectedBug {
    /// A worker deletes a job's message, then replies.
    DeletesBeforeReply,
    /// A worker replies to the first request of all instead of its own.
    RepliesToAnother,
    /// A worker stores its result over any other.
    ReplacesResults,
    /// A worker recognizes the photo that has the key, also if it is another one.
    IgnoresDigest,
    /// A worker lets the visibility timeout of its jobs pass.
    ForgetsLease,
    /// A worker says that it is cordoned while it has jobs.
    ConfirmsWhileBusy,
    /// A front drops the replies that no request waits for.
    DropsLateReplies,
}

/// How many seeds may pass before one fails.
const SEEDS: u64 = 2_000;

#[test]
fn each_broken_rule_is_noticed() {
    use InjectedBug::*;
    for (bug, complaint) in [
        (DeletesBeforeReply, "have neither reply nor dead letter"),
        (RepliesToAnother, "instead of"),
        (ReplacesResults, "was replaced by"),
        (IgnoresDigest, "instead of"),
        (ForgetsLease, "received again"),
        (ConfirmsWhileBusy, "the worker may have work"),
        (DropsLateReplies, "is gone"),
    ] {
        let play = |seed| {
            let mut simulation = Simulation::new(seed, Trace::Off);
            simulation.injected_bug = Some(bug);
            Some((seed, simulation.run().err()?))
        };
        let failed = (0..SEEDS).find_map(play);
        let (seed, what) = failed.unwrap_or_else(|| panic!("{bug:?}: no seed fails"));
        println!("{bug:?}: seed {seed}: {what}");
        assert!(what.contains(complaint), "{bug:?}: seed {seed}: {what}");
    }
}

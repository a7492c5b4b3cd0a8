//! Shows that the checks notice: a service breaks one of its rules, and a seed must fail.

use crate::world::{Trace, World};

/// A rule that is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sabotage {
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
    use Sabotage::*;
    for (sabotage, complaint) in [
        (DeletesBeforeReply, "have neither reply nor dead letter"),
        (RepliesToAnother, "instead of"),
        (ReplacesResults, "was replaced by"),
        (IgnoresDigest, "instead of"),
        (ForgetsLease, "received again"),
        (ConfirmsWhileBusy, "the worker may have work"),
        (DropsLateReplies, "is gone"),
    ] {
        let play = |seed| {
            let mut world = World::new(seed, Trace::Off);
            world.sabotage = Some(sabotage);
            Some((seed, world.run().err()?))
        };
        let failed = (0..SEEDS).find_map(play);
        let (seed, what) = failed.unwrap_or_else(|| panic!("{sabotage:?}: no seed fails"));
        println!("{sabotage:?}: seed {seed}: {what}");
        assert!(
            what.contains(complaint),
            "{sabotage:?}: seed {seed}: {what}"
        );
    }
}

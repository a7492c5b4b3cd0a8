//! Frames of clips: demand of lower priority. They use workers that are up, and add some up to a bound of their own, under
//! every policy. How many workers photos need is decided without them.

use crate::demand::workers_for;
use crate::{Memory, Observation, Policy, WorkerLimits};

/// The frames that are not done, and the workers that they are worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct FrameDemand {
    pub frames: u64,
    /// Within the bound.
    pub workers: u32,
    /// Whether more would be wanted than the bound permits.
    pub is_bounded: bool,
}

/// Returns how many frames front reports, 0 while front is unreachable.
pub(crate) fn waiting(policy: &Policy, observation: &Observation) -> u64 {
    let stale_after = policy.timeouts.front_stale_after;
    let front = observation
        .front
        .filter(|seen| observation.now.since(seen.at) <= stale_after);
    front.map_or(0, |seen| seen.value.waiting_frames)
}

/// Returns the workers for the waiting frames: as many as finish them within the target by the measured time of a frame,
/// and those that are up, as long as each has one. The work is what costs, not the number of workers that share it.
pub(crate) fn demand(
    policy: &Policy,
    limits: WorkerLimits,
    observation: &Observation,
    memory: &Memory,
) -> FrameDemand {
    let frames = waiting(policy, observation);
    if frames == 0 {
        return FrameDemand::default();
    }
    let work = frames as f64 * memory.estimates.frame_seconds(&policy.targets);
    let target = policy.video.target.as_secs_f64();
    let needed = workers_for(work, target).clamp(1, frames);
    let kept = frames.min(observation.working().into());
    let most = policy.video_workers().min(limits.max_workers);
    let workers = u32::try_from(needed.max(kept)).unwrap_or(u32::MAX);
    FrameDemand {
        frames,
        workers: workers.min(most),
        is_bounded: needed > most.into(),
    }
}

use std::time::Duration;

use crate::{Counters, Memory, Observation, Timeouts, Timestamp};

/// How long the queue's counters may lag:
/// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_GetQueueAttributes.html>.
const COUNTERS_LAG: Duration = Duration::from_secs(60);

/// The demand, as far as it is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Assessment {
    /// Front has this many unanswered requests, at least one.
    Exact(u64),
    /// Front has no unanswered requests.
    Zero(ZeroDemand),
    /// Front is unreachable; the queue's counters stand in for it.
    Estimated { messages: u64, empty_for_long: bool },
    /// Neither front nor the queue can be reached.
    Unknown,
}

/// The queue's state while front has no unanswered requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ZeroDemand {
    /// It is empty, and demand has been zero for the settling time.
    Settled,
    /// It is empty, but the settling time ends only at this time.
    SettlesAt(Timestamp),
    /// Its counters are older than the end of demand.
    Unconfirmed,
    /// Its counters are too old.
    QueueUnreachable,
    /// It holds messages that no client waits for.
    Leftover { messages: u64, neglected: bool },
}

impl ZeroDemand {
    /// Returns how many leftover messages count as demand. The workers that are up finish them; one is started only for
    /// messages that are neglected while none is up.
    pub(crate) fn demand(self, working: u64) -> u64 {
        match self {
            Self::Leftover {
                messages,
                neglected,
            } => messages.min(working).max(neglected.into()),
            _ => 0,
        }
    }
}

/// Returns how many workers carry `load` when each carries `each`.
pub(crate) fn workers_for(load: f64, each: f64) -> u64 {
    // Rounding must not cost an instance.
    ((load / each) * (1.0 - 1e-9)).ceil() as u64
}

/// Assesses the demand by the counters of front and the queue.
pub(crate) fn assess(
    timeouts: &Timeouts,
    observation: &Observation,
    memory: &mut Memory,
) -> Assessment {
    let now = observation.now;
    let front = observation
        .front
        .filter(|seen| now.since(seen.at) <= timeouts.front_stale_after);
    let queue = observation
        .queue
        .filter(|seen| now.since(seen.at) <= timeouts.queue_stale_after);
    let Some(front) = front else {
        (memory.zero_since, memory.leftover_since) = (None, None);
        let Some(queue) = queue else {
            memory.empty_since = None;
            return Assessment::Unknown;
        };
        let messages = queue.value.messages();
        if messages > 0 {
            memory.empty_since = None;
            return Assessment::Estimated {
                messages,
                empty_for_long: false,
            };
        }
        let empty_since = *memory.empty_since.get_or_insert(queue.at);
        // That takes two answers this far apart, all empty: elapsed time alone says nothing about the queue.
        let lasts = timeouts.idle_time.max(COUNTERS_LAG);
        let empty_for_long = queue.at.since(empty_since) >= lasts;
        return Assessment::Estimated {
            messages: 0,
            empty_for_long,
        };
    };
    memory.empty_since = None;
    let unanswered = front.value.unanswered;
    // Their messages are on the queue, too, and no client waits for them.
    let frames = front.value.waiting_frames;
    if unanswered > 0 {
        memory.zero_since = None;
        // A restarted front has forgotten its requests, and one of several fronts may be cut off.
        return Assessment::Exact(match queue {
            Some(queue)
                if is_neglected(timeouts, queue.value, unanswered + frames, queue.at, memory) =>
            {
                queue.value.messages().saturating_sub(frames)
            }
            _ => unanswered,
        });
    }
    let zero_since = *memory.zero_since.get_or_insert(front.at);
    let Some(queue) = queue else {
        return Assessment::Zero(ZeroDemand::QueueUnreachable);
    };
    if queue.at < zero_since {
        return Assessment::Zero(ZeroDemand::Unconfirmed);
    }
    let messages = queue.value.messages().saturating_sub(frames);
    if messages > 0 {
        let neglected = is_neglected(timeouts, queue.value, frames, queue.at, memory);
        return Assessment::Zero(ZeroDemand::Leftover {
            messages,
            neglected,
        });
    }
    memory.leftover_since = None;
    let settles_at = zero_since.after(timeouts.settle);
    Assessment::Zero(if now >= settles_at {
        ZeroDemand::Settled
    } else {
        ZeroDemand::SettlesAt(settles_at)
    })
}

/// Returns whether the queue has held more messages than front's demand for long. A restarted front has forgotten its
/// clients, but their photos were accepted and have to be recognized. The counters lag, so this takes a while.
fn is_neglected(
    timeouts: &Timeouts,
    counters: Counters,
    unanswered: u64,
    at: Timestamp,
    memory: &mut Memory,
) -> bool {
    if counters.visible <= unanswered {
        memory.leftover_since = None;
        return false;
    }
    at.since(*memory.leftover_since.get_or_insert(at)) >= timeouts.leftover_timeout
}

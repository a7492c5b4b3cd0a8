//! What a scaler that stands by makes of a look at the world: nothing.

use crate::plan::{Memory, Plan};

/// The empty plan that says `why`, and what is remembered after it. What was remembered of silence and of pauses is void:
/// others have acted meanwhile. What was measured stays true.
#[must_use]
pub fn stand_by(why: &str, before: Memory) -> (Plan, Memory) {
    let plan = Plan {
        reason: format!("standing by: {why}"),
        ..Plan::default()
    };
    let mut memory = Memory::default();
    memory.estimates = before.estimates;
    (plan, memory)
}

//! The simplest policy: one worker for each unanswered request, up to the maximum.

use super::{PolicyInput, ScaleIn, Target};

pub fn target(input: &PolicyInput<'_>) -> Target {
    let target = input.target(input.demand, None, None);
    if input.demand == 0 {
        return target;
    }
    Target {
        scale_in: ScaleIn::Idle,
        ..target
    }
}

//! The simplest policy: one worker for each unanswered request, up to the maximum.

use super::{ScaleIn, Situation, Target};

pub fn target(situation: &Situation<'_>) -> Target {
    let target = situation.target(situation.demand, None, None);
    if situation.demand == 0 {
        return target;
    }
    Target {
        scale_in: ScaleIn::Idle,
        ..target
    }
}

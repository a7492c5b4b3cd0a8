//! Memory that threads take turns with.

use std::sync::{Mutex, PoisonError};

/// Arenas for activations: as many as threads ever computed at once.
#[derive(Debug, Default)]
pub struct Arenas<A>(Mutex<Vec<A>>);

impl<A: Default> Arenas<A> {
    /// Calls `work` with an arena that no other thread uses.
    pub fn lend<R>(&self, work: impl FnOnce(&mut A) -> R) -> R {
        let free = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut arena = free().pop().unwrap_or_default();
        let result = work(&mut arena);
        free().push(arena);
        result
    }
}

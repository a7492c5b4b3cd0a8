//! The memory for photos that a process holds at once.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::error::{ErrorCode, RequestError};

/// A limit on the bytes of photos that a process holds at once.
#[derive(Debug, Clone)]
pub struct ByteBudget {
    total: usize,
    bytes: Arc<Semaphore>,
}

/// Bytes of the budget, which drop returns to it.
#[derive(Debug)]
pub struct ByteReservation {
    permit: OwnedSemaphorePermit,
}

impl ByteBudget {
    pub fn new(bytes: usize) -> Self {
        let total = bytes.min(Semaphore::MAX_PERMITS);
        Self {
            total,
            bytes: Arc::new(Semaphore::new(total)),
        }
    }

    /// Takes `bytes` at once.
    ///
    /// # Errors
    /// [`ErrorCode::Overloaded`] when fewer than `bytes` are left.
    pub fn reserve(&self, bytes: usize) -> Result<ByteReservation, RequestError> {
        let bytes = u32::try_from(bytes).map_err(|_| overloaded())?;
        let permit = Arc::clone(&self.bytes).try_acquire_many_owned(bytes);
        permit
            .map(|permit| ByteReservation { permit })
            .map_err(|_| overloaded())
    }

    /// Waits until `bytes` are left. Callers are served in the order of their calls.
    ///
    /// # Errors
    /// [`ErrorCode::Overloaded`] when the whole budget is smaller.
    pub async fn wait_for(&self, bytes: usize) -> Result<ByteReservation, RequestError> {
        if bytes > self.total {
            return Err(overloaded());
        }
        let bytes = u32::try_from(bytes).map_err(|_| overloaded())?;
        let permit = Arc::clone(&self.bytes).acquire_many_owned(bytes).await;
        permit
            .map(|permit| ByteReservation { permit })
            .map_err(|_| overloaded())
    }
}

fn overloaded() -> RequestError {
    RequestError::new(
        ErrorCode::Overloaded,
        "too many photos are being uploaded; try again",
    )
}

impl ByteReservation {
    pub fn add(&mut self, other: Self) {
        self.permit.merge(other.permit);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dropped_bytes_can_be_reserved_again() {
        let budget = ByteBudget::new(10);
        let mut first = budget.reserve(4).unwrap();
        first.add(budget.reserve(6).unwrap());
        assert_eq!(budget.reserve(1).unwrap_err().code, ErrorCode::Overloaded);
        drop(first);
        assert!(budget.reserve(10).is_ok());
    }
}

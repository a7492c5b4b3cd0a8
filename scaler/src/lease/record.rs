//! What the lease's object says.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A scaler that holds the lease, or wants it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// Of this run of the scaler.
    pub id: String,
    /// Where it serves gRPC.
    pub address: String,
    /// What only one process can have at a time, and loses when it ends: its listening socket, named so that no other
    /// machine's is named alike. Whoever finds its own place in the lease knows that the holder has ended.
    pub place: Option<String>,
}

/// The content of `lease.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    pub holder: Holder,
    /// Counts up, so that no two records are alike.
    pub renewals: u64,
    /// How long it holds after it was written, in milliseconds.
    pub lease_time_ms: u64,
    /// Whether the holder has given it up.
    pub released: bool,
}

impl Record {
    #[must_use]
    pub fn lease_time(&self) -> Duration {
        Duration::from_millis(self.lease_time_ms)
    }

    /// The object's bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("strings and numbers have a JSON form")
    }

    /// # Errors
    /// When the bytes are no record.
    pub fn decode(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(bytes)
    }
}

impl std::fmt::Display for Holder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.address)
    }
}

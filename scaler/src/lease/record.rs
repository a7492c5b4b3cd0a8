//! The content of the lease's object.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A scaler that holds the lease or competes for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// Identifies one run of a scaler.
    pub id: String,
    /// The address at which it serves gRPC.
    pub address: String,
    /// Identifies its listening socket among those of all machines. Only one process at a time can have the socket. So a
    /// scaler that finds its own socket in the lease knows that the holder has ended.
    #[serde(rename = "place")]
    pub socket: Option<String>,
}

/// The content of `lease.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseRecord {
    pub holder: Holder,
    /// Counts up, so that no two records are equal.
    pub renewals: u64,
    /// How long it holds after it was written, in milliseconds.
    pub lease_time_ms: u64,
    /// Whether the holder has released it.
    pub released: bool,
}

impl LeaseRecord {
    #[must_use]
    pub fn lease_time(&self) -> Duration {
        Duration::from_millis(self.lease_time_ms)
    }

    /// Returns the object's bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("strings and numbers have a JSON form")
    }

    /// Reads the object's bytes.
    ///
    /// # Errors
    /// When the bytes are not a record.
    pub fn decode(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(bytes)
    }
}

impl std::fmt::Display for Holder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.address)
    }
}

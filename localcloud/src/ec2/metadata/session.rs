//! Session tokens of IMDSv2.

use std::collections::HashMap;
use std::ops::RangeInclusive;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE;
use uuid::Uuid;

use crate::clock::Millis;

/// The lifetime of a session in seconds, at most 6 hours.
const LIFETIME: RangeInclusive<u64> = 1..=21_600;
/// A client with more sessions than this loses those that end first.
const MAX_SESSIONS: usize = 4096;

/// The sessions of one instance.
#[derive(Debug, Default)]
pub struct MetadataSessions {
    /// The end of each token's session.
    ends: HashMap<String, Millis>,
}

impl MetadataSessions {
    /// Opens a session and returns its token; `None` if the lifetime is invalid.
    pub fn open(&mut self, seconds: u64, now: Millis) -> Option<String> {
        if !LIFETIME.contains(&seconds) {
            return None;
        }
        if self.ends.len() >= MAX_SESSIONS {
            self.drop_first_half(now);
        }
        // The length of AWS's tokens: 40 bytes, 56 characters.
        let mut bytes = [Uuid::new_v4(), Uuid::new_v4(), Uuid::new_v4()]
            .map(Uuid::into_bytes)
            .concat();
        bytes.truncate(40);
        let token = URL_SAFE.encode(bytes);
        self.ends.insert(token.clone(), now + seconds * 1000);
        Some(token)
    }

    /// Returns whether a token's session has not ended.
    pub fn is_valid(&self, token: &str, now: Millis) -> bool {
        self.ends.get(token).is_some_and(|end| now < *end)
    }

    fn drop_first_half(&mut self, now: Millis) {
        let mut ends: Vec<Millis> = self.ends.values().copied().collect();
        ends.sort_unstable();
        let median = ends.get(ends.len() / 2).copied().unwrap_or(now);
        let spared = median.max(now);
        self.ends.retain(|_, end| *end > spared);
    }
}

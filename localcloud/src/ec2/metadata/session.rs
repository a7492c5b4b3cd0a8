//! Session tokens of IMDSv2.

use std::collections::HashMap;
use std::ops::RangeInclusive;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE;
use uuid::Uuid;

use crate::clock::Millis;

/// How long a session may last, in seconds: 6 hours at most.
const SECONDS: RangeInclusive<u64> = 1..=21_600;
/// A client that opens more sessions than this loses those that would have ended first.
const MOST_SESSIONS: usize = 4096;

/// The sessions of one instance.
#[derive(Debug, Default)]
pub struct Sessions {
    /// When the session of each token ends.
    ends: HashMap<String, Millis>,
}

impl Sessions {
    /// Opens a session and answers its token; `None` if it may not last so long.
    pub fn open(&mut self, seconds: u64, now: Millis) -> Option<String> {
        if !SECONDS.contains(&seconds) {
            return None;
        }
        if self.ends.len() >= MOST_SESSIONS {
            self.make_room(now);
        }
        // As long as AWS's tokens are: 40 bytes, 56 letters.
        let mut bytes = [Uuid::new_v4(), Uuid::new_v4(), Uuid::new_v4()]
            .map(Uuid::into_bytes)
            .concat();
        bytes.truncate(40);
        let token = URL_SAFE.encode(bytes);
        self.ends.insert(token.clone(), now + seconds * 1000);
        Some(token)
    }

    /// Whether a token is that of a session that has not ended.
    pub fn is_valid(&self, token: &str, now: Millis) -> bool {
        self.ends.get(token).is_some_and(|end| now < *end)
    }

    fn make_room(&mut self, now: Millis) {
        let mut ends: Vec<Millis> = self.ends.values().copied().collect();
        ends.sort_unstable();
        let median = ends.get(ends.len() / 2).copied().unwrap_or(now);
        let spared = median.max(now);
        self.ends.retain(|_, end| *end > spared);
    }
}

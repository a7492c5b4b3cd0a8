//! Token buckets, by which AWS limits the rate of calls.
//!
//! Written by hand: `governor` reads a clock of its own, and tests here pass the time.

#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

use crate::clock::Millis;

/// The size and the refill rate of a token bucket.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RateLimit {
    /// Tokens in the full bucket, at least 1.
    pub size: u32,
    /// Tokens added per second, continuously. May be a fraction, or 0 for no refill.
    pub refill_per_second: f64,
}

/// A bucket that starts full. In any span of time it yields at most its size plus the refill of that span.
#[derive(Debug, Clone)]
pub struct TokenBucket {
    /// In millionths of a token, as all counts here: whole numbers add up exactly.
    size: u64,
    refill_per_milli: u64,
    content: u64,
    refilled: Millis,
}

const PARTS_PER_TOKEN: u64 = 1_000_000;

impl RateLimit {
    /// Returns whether the bucket holds a token and its arithmetic cannot overflow.
    pub fn is_valid(self) -> bool {
        self.size > 0 && (0.0..=1e9).contains(&self.refill_per_second)
    }
}

impl TokenBucket {
    /// Returns a full bucket.
    pub fn full(limit: RateLimit, now: Millis) -> Self {
        let size = u64::from(limit.size) * PARTS_PER_TOKEN;
        // Rounded: a bucket that gains one token in 1000 seconds still gets every token.
        let refill_per_milli =
            (limit.refill_per_second * PARTS_PER_TOKEN as f64 / 1000.0).round() as u64;
        Self {
            size,
            refill_per_milli,
            content: size,
            refilled: now,
        }
    }

    /// Takes `tokens`. Returns false and takes none if the bucket holds fewer.
    pub fn take(&mut self, tokens: u64, now: Millis) -> bool {
        let refill = now
            .saturating_sub(self.refilled)
            .saturating_mul(self.refill_per_milli);
        self.content = self.content.saturating_add(refill).min(self.size);
        self.refilled = self.refilled.max(now);
        let wanted = tokens.saturating_mul(PARTS_PER_TOKEN);
        let enough = wanted <= self.content;
        if enough {
            self.content -= wanted;
        }
        enough
    }
}

//! Token buckets, as AWS limits calls with.

use crate::clock::Millis;
use crate::faults::Bucket;

/// A bucket that is full at first and refilled continuously. In any span of time it gives out at most its size and
/// what was refilled meanwhile.
#[derive(Debug, Clone)]
pub struct TokenBucket {
    /// In parts of a token, as is everything here: whole numbers add up exactly.
    size: u64,
    refill_per_milli: u64,
    content: u64,
    refilled: Millis,
}

const PARTS_PER_TOKEN: u64 = 1_000_000;

impl TokenBucket {
    pub fn full(bucket: Bucket, now: Millis) -> Self {
        let size = u64::from(bucket.size) * PARTS_PER_TOKEN;
        // Rounded: a bucket that is refilled once in 1000 seconds still gets every token.
        let refill_per_milli =
            (bucket.refill_per_second * PARTS_PER_TOKEN as f64 / 1000.0).round() as u64;
        Self {
            size,
            refill_per_milli,
            content: size,
            refilled: now,
        }
    }

    /// Takes so many tokens, or none and answers false if there are fewer.
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

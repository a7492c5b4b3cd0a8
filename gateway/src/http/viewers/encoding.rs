//! Statuses as JSON, encoded once for viewers that are sent the same one.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use proto::v1::ScalerStatus;

/// Viewers receive the scaler's newest decision at different moments, so they are some decisions apart.
const KEPT: usize = 8;
/// Larger ones, of fleets of hundreds, are not kept.
const LARGEST: usize = 256 * 1024;

/// The last encoded statuses. Encoding one takes longer than all else that is done with it, and ten pages would need ten
/// times as long. A viewer only gets what its own stream brought: a text is used again for an equal status alone.
#[derive(Debug, Default)]
pub struct StatusEncoder {
    encoded: Mutex<VecDeque<(ScalerStatus, Arc<str>)>>,
}

impl StatusEncoder {
    /// Returns the canonical JSON of a status. Others that need the encoder wait meanwhile: they likely need the same text.
    pub fn encode(&self, status: ScalerStatus) -> Arc<str> {
        let mut encoded = self.encoded.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, json)) = encoded.iter().rev().find(|(known, _)| *known == status) {
            return Arc::clone(json);
        }
        let json: Arc<str> = proto::encode(&status).into();
        if json.len() <= LARGEST {
            if encoded.len() == KEPT {
                encoded.pop_front();
            }
            encoded.push_back((status, Arc::clone(&json)));
        }
        json
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(sequence: u64, reason: &str) -> ScalerStatus {
        ScalerStatus {
            sequence,
            standing_by: Some(reason.to_owned()),
            ..ScalerStatus::default()
        }
    }

    #[test]
    fn only_equal_statuses_share_a_text() {
        let encoder = StatusEncoder::default();
        let first = encoder.encode(status(1, "a"));
        assert_eq!(&*first, r#"{"sequence":"1","standingBy":"a"}"#);
        assert!(Arc::ptr_eq(&first, &encoder.encode(status(1, "a"))));
        // Another scaler's decision of the same number.
        let other = encoder.encode(status(1, "b"));
        assert_eq!(&*other, r#"{"sequence":"1","standingBy":"b"}"#);
    }

    #[test]
    fn few_and_small_texts_are_kept() {
        let encoder = StatusEncoder::default();
        for sequence in 1..100 {
            encoder.encode(status(sequence, "a"));
            encoder.encode(status(sequence, &"x".repeat(LARGEST)));
        }
        assert_eq!(encoder.encoded.lock().unwrap().len(), KEPT);
        let newest = encoder.encode(status(99, "a"));
        assert!(Arc::ptr_eq(&newest, &encoder.encode(status(99, "a"))));
    }
}

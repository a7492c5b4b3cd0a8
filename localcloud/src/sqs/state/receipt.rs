//! Receipt handles, which identify one receive of one message.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::clock::Millis;

/// One receive of one message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReceiptHandle {
    /// The incarnation of the queue.
    pub incarnation: u64,
    /// The number of the message in the queue.
    pub sequence: u64,
    /// The number of the receive of the message.
    pub receive_count: u32,
    /// When the message was received.
    pub received: Millis,
}

/// The first bytes of every handle, which tell it from other texts of the same length.
const MARK: &[u8; 4] = b"rcpt";
const ENCODED_BYTES: usize = 32;

impl ReceiptHandle {
    /// Returns the text that clients get.
    pub fn encode(self) -> String {
        let mut bytes = [0; ENCODED_BYTES];
        bytes[..4].copy_from_slice(MARK);
        bytes[4..12].copy_from_slice(&self.incarnation.to_be_bytes());
        bytes[12..20].copy_from_slice(&self.sequence.to_be_bytes());
        bytes[20..24].copy_from_slice(&self.receive_count.to_be_bytes());
        bytes[24..].copy_from_slice(&self.received.to_be_bytes());
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// Parses a handle; `None` for any other text.
    pub fn decode(text: &str) -> Option<Self> {
        let bytes: [u8; ENCODED_BYTES] = URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok()?;
        let (mark, rest) = bytes.split_first_chunk::<4>()?;
        let (incarnation, rest) = rest.split_first_chunk::<8>()?;
        let (sequence, rest) = rest.split_first_chunk::<8>()?;
        let (receive_count, rest) = rest.split_first_chunk::<4>()?;
        let received = rest.first_chunk::<8>()?;
        (mark == MARK).then(|| Self {
            incarnation: u64::from_be_bytes(*incarnation),
            sequence: u64::from_be_bytes(*sequence),
            receive_count: u32::from_be_bytes(*receive_count),
            received: Millis::from_be_bytes(*received),
        })
    }
}

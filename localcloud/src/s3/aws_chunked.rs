//! Decodes the `aws-chunked` content encoding without verifying its signatures.
//!
//! Source: "Signature calculations for the authorization header: transferring payload in multiple chunks". A chunk is
//! `SIZE-IN-HEX[;chunk-signature=...]`, a line end, the bytes and a line end. Trailing headers may follow the empty
//! chunk.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use futures::Stream;
use http::{HeaderMap, HeaderName, HeaderValue};
use s3s::stream::{ByteStream, RemainingLength};
use s3s::{Body, StdError};
use thiserror::Error;

/// The trailing headers, complete once the body is read.
#[derive(Debug, Clone, Default)]
pub struct DecodedTrailers(Arc<Mutex<HeaderMap>>);

/// A stream of the decoded bytes.
#[derive(Debug)]
pub struct Decoder {
    body: Body,
    buffer: BytesMut,
    state: DecoderState,
    remaining: usize,
    trailers: DecodedTrailers,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum DecoderState {
    Size,
    Data(usize),
    EndOfData,
    Trailers,
    Done,
}

#[derive(Debug, Error)]
enum ChunkError {
    #[error("malformed chunk")]
    Malformed,
    #[error("the body ended within a chunk")]
    Incomplete,
}

/// Ample for the signature of a chunk and for a checksum.
const MAX_LINE_BYTES: usize = 16 * 1024;

impl DecodedTrailers {
    pub fn take(&self) -> HeaderMap {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn add(&self, line: &[u8]) -> Result<(), ChunkError> {
        let colon = line.iter().position(|byte| *byte == b':');
        let (name, value) = line.split_at(colon.ok_or(ChunkError::Malformed)?);
        let name = HeaderName::from_bytes(name.trim_ascii()).map_err(|_| ChunkError::Malformed)?;
        let value =
            HeaderValue::from_bytes(value[1..].trim_ascii()).map_err(|_| ChunkError::Malformed)?;
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(name, value);
        Ok(())
    }
}

impl Decoder {
    /// Decodes a body of `length` bytes.
    pub fn new(body: Body, length: usize) -> (Self, DecodedTrailers) {
        let trailers = DecodedTrailers::default();
        let decoder = Self {
            body,
            buffer: BytesMut::new(),
            state: DecoderState::Size,
            remaining: length,
            trailers: trailers.clone(),
        };
        (decoder, trailers)
    }

    /// Returns the next bytes; `None` if more must arrive first.
    fn decode(&mut self) -> Result<Option<Bytes>, ChunkError> {
        loop {
            match self.state {
                DecoderState::Size => {
                    let Some(line) = self.line()? else {
                        return Ok(None);
                    };
                    let text = std::str::from_utf8(&line).map_err(|_| ChunkError::Malformed)?;
                    let size = text.split(';').next().unwrap_or_default().trim();
                    self.state = match usize::from_str_radix(size, 16) {
                        Ok(0) => DecoderState::Trailers,
                        Ok(size) if size <= self.remaining => DecoderState::Data(size),
                        _ => return Err(ChunkError::Malformed),
                    };
                }
                DecoderState::Data(left) => {
                    if self.buffer.is_empty() {
                        return Ok(None);
                    }
                    let taken = left.min(self.buffer.len());
                    self.state = match left - taken {
                        0 => DecoderState::EndOfData,
                        left => DecoderState::Data(left),
                    };
                    self.remaining -= taken;
                    return Ok(Some(self.buffer.split_to(taken).freeze()));
                }
                DecoderState::EndOfData => {
                    if self.buffer.len() < 2 {
                        return Ok(None);
                    }
                    if !self.buffer.starts_with(b"\r\n") {
                        return Err(ChunkError::Malformed);
                    }
                    self.buffer.advance(2);
                    self.state = DecoderState::Size;
                }
                DecoderState::Trailers => match self.line()? {
                    None => return Ok(None),
                    Some(line) if line.is_empty() => self.state = DecoderState::Done,
                    Some(line) => self.trailers.add(&line)?,
                },
                DecoderState::Done => return Ok(None),
            }
        }
    }

    fn line(&mut self) -> Result<Option<BytesMut>, ChunkError> {
        let end = self.buffer.windows(2).position(|pair| pair == b"\r\n");
        match end {
            Some(end) => {
                let line = self.buffer.split_to(end);
                self.buffer.advance(2);
                Ok(Some(line))
            }
            None if self.buffer.len() > MAX_LINE_BYTES => Err(ChunkError::Malformed),
            None => Ok(None),
        }
    }
}

impl Stream for Decoder {
    type Item = Result<Bytes, StdError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            match self.decode() {
                Ok(Some(bytes)) => return Poll::Ready(Some(Ok(bytes))),
                Ok(None) if self.state == DecoderState::Done => return Poll::Ready(None),
                Ok(None) => {}
                Err(error) => return Poll::Ready(Some(Err(Box::new(error)))),
            }
            match ready!(Pin::new(&mut self.body).poll_next(context)) {
                Some(Ok(bytes)) => self.buffer.extend_from_slice(&bytes),
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                // Some clients omit the last line end.
                None if self.state == DecoderState::Trailers && self.remaining == 0 => {
                    self.state = DecoderState::Done;
                }
                None => return Poll::Ready(Some(Err(Box::new(ChunkError::Incomplete)))),
            }
        }
    }
}

impl ByteStream for Decoder {
    fn remaining_length(&self) -> RemainingLength {
        RemainingLength::new_exact(self.remaining)
    }
}

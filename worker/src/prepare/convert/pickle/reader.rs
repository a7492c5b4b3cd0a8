//! The bytes of a pickle, from front to back.

use super::PickleError;

#[derive(Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// Returns the unread bytes.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    pub fn byte(&mut self) -> Result<u8, PickleError> {
        let [byte] = self.array()?;
        Ok(byte)
    }

    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], PickleError> {
        let (bytes, rest) = self
            .rest
            .split_first_chunk()
            .ok_or(PickleError::Truncated)?;
        self.rest = rest;
        Ok(*bytes)
    }

    /// Reads an unsigned number of N bytes, at most 8. One beyond `usize` saturates: no file has that length.
    pub fn number<const N: usize>(&mut self) -> Result<usize, PickleError> {
        let mut extended = [0; size_of::<u64>()];
        extended[..N].copy_from_slice(&self.array::<N>()?);
        Ok(usize::try_from(u64::from_le_bytes(extended)).unwrap_or(usize::MAX))
    }

    pub fn take(&mut self, length: usize) -> Result<&'a [u8], PickleError> {
        let (bytes, rest) = self
            .rest
            .split_at_checked(length)
            .ok_or(PickleError::Truncated)?;
        self.rest = rest;
        Ok(bytes)
    }

    /// Reads a length of N bytes and then that many bytes.
    pub fn counted<const N: usize>(&mut self) -> Result<&'a [u8], PickleError> {
        let length = self.number::<N>()?;
        self.take(length)
    }

    pub fn line(&mut self) -> Result<&'a str, PickleError> {
        let end = self.rest.iter().position(|&byte| byte == b'\n');
        let line = self.take(end.ok_or(PickleError::Truncated)?)?;
        self.take(1)?;
        std::str::from_utf8(line).map_err(|_| PickleError::Damaged { what: "name" })
    }
}

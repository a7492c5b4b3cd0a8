use std::borrow::Cow;
use std::io::{self, BufRead, Cursor, Read, Seek, SeekFrom};
use std::time::Instant;

/// A file that its decoder reads in pieces, with an error after the deadline.
#[derive(Debug)]
pub struct DeadlineReader<'a> {
    file: Cursor<Cow<'a, [u8]>>,
    deadline: Instant,
}

/// A piece takes a fraction of a second at most: deflate expands it by up to 1,032, and a scan of a progressive JPEG has at
/// least some tens of bytes.
const PIECE: usize = 256;

impl<'a> DeadlineReader<'a> {
    pub fn new(file: impl Into<Cow<'a, [u8]>>, deadline: Instant) -> Self {
        Self {
            file: Cursor::new(file.into()),
            deadline,
        }
    }
}

impl BufRead for DeadlineReader<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if Instant::now() > self.deadline {
            return Err(io::ErrorKind::TimedOut.into());
        }
        let rest = self.file.fill_buf()?;
        Ok(&rest[..rest.len().min(PIECE)])
    }

    fn consume(&mut self, amount: usize) {
        self.file.consume(amount);
    }
}

impl Read for DeadlineReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.fill_buf()?.read(buffer)?;
        self.consume(count);
        Ok(count)
    }
}

impl Seek for DeadlineReader<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.file.seek(to)
    }
}

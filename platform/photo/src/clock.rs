use std::borrow::Cow;
use std::io::{self, BufRead, Cursor, Read, Seek, SeekFrom};
use std::time::Instant;

/// A file that is handed to its decoder in pieces, until time is up.
#[derive(Debug)]
pub struct Clocked<'a> {
    file: Cursor<Cow<'a, [u8]>>,
    deadline: Instant,
}

/// No piece is worth more than a fraction of a second: deflate grows it 1,032-fold, and a scan of a progressive JPEG that
/// passes over the whole picture needs some tens of bytes.
const PIECE: usize = 256;

impl<'a> Clocked<'a> {
    pub fn new(file: impl Into<Cow<'a, [u8]>>, deadline: Instant) -> Self {
        Self {
            file: Cursor::new(file.into()),
            deadline,
        }
    }
}

impl BufRead for Clocked<'_> {
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

impl Read for Clocked<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.fill_buf()?.read(buffer)?;
        self.consume(count);
        Ok(count)
    }
}

impl Seek for Clocked<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.file.seek(to)
    }
}

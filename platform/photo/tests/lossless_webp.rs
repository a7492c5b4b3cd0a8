//! Peak memory is that of the process, so that this file has only one test.

use photo::{BYTES_A_FILE, BYTES_A_PIXEL, DecodeLimits, LOSSLESS_WEBP_BYTES, decode};

const SIDE: u64 = 1_024;
/// Side of a block in pixels, the smallest of the format.
const BLOCK: u64 = 4;
const GROUPS: u64 = (SIDE / BLOCK) * (SIDE / BLOCK);

/// libwebp makes tables for each group of prefix codes. This file of 200 KB has the most groups that the format allows.
#[test]
fn a_lossless_webp_with_codes_for_each_block_stays_within_its_limit() {
    let file = codes_for_each_block();
    let before = peak_memory();
    let photo = decode(&file, &DecodeLimits::default()).expect("it is valid");
    let taken = peak_memory() - before;
    assert_eq!((photo.width(), photo.height()), (1_024, 1_024));
    let ordinary = SIDE * SIDE * BYTES_A_PIXEL + BYTES_A_FILE;
    assert!(taken > 10 * ordinary, "the file has no effect: {taken}");
    assert!(taken < ordinary + LOSSLESS_WEBP_BYTES, "{taken}");
}

/// Writes a file by the WebP Lossless Bitstream Specification, 3 to 6.
fn codes_for_each_block() -> Vec<u8> {
    let mut bits = Bits::default();
    bits.put(0x2F, 8);
    bits.put(SIDE - 1, 14);
    bits.put(SIDE - 1, 14);
    // No transparency, version 0, no transforms, a color cache of 2^11 entries, groups of prefix codes for each block.
    bits.put(0, 1 + 3 + 1);
    bits.put(1, 1);
    bits.put(11, 4);
    bits.put(1, 1);
    bits.put(u64::from(BLOCK.trailing_zeros()) - 2, 3);
    // The red and green bytes of a block have its group. That picture has no color cache.
    bits.put(0, 1);
    bits.flat_code(24);
    bits.flat_code(0);
    (0..3).for_each(|_| bits.code_of_zero());
    for group in 0..GROUPS {
        bits.put_code(group & 0xFF);
        bits.put_code(group >> 8);
    }
    (0..GROUPS * 5).for_each(|_| bits.code_of_zero());
    // Codes of one symbol take no bits, so that there are no pixel data.
    let bitstream = bits.into_bytes();
    let length = bitstream.len() as u32;
    let chunk = [b"VP8L".as_slice(), &length.to_le_bytes(), &bitstream].concat();
    let length = chunk.len() as u32 + 4;
    [b"RIFF".as_slice(), &length.to_le_bytes(), b"WEBP", &chunk].concat()
}

/// A bit writer, lowest bit first.
#[derive(Default)]
struct Bits {
    bytes: Vec<u8>,
    count: usize,
}

impl Bits {
    fn put(&mut self, value: u64, bits: usize) {
        for bit in 0..bits {
            if self.count.is_multiple_of(8) {
                self.bytes.push(0);
            }
            let last = self.bytes.last_mut().expect("a byte was begun");
            *last |= ((value >> bit & 1) as u8) << (self.count % 8);
            self.count += 1;
        }
    }

    /// Writes a prefix code whose only symbol is 0.
    fn code_of_zero(&mut self) {
        self.put(0b0001, 4);
    }

    /// Writes a prefix code with 8 bits for each of 256 symbols, and none for the other `unused` symbols.
    fn flat_code(&mut self, unused: usize) {
        self.put(0, 1);
        // The lengths' own code: lengths 0 and 8 take a bit each. In the fixed order of lengths, 0 is the third and 8 the
        // twelfth.
        self.put(12 - 4, 4);
        for place in 0..12 {
            self.put(u64::from(place == 2 || place == 11), 3);
        }
        // Lengths for all symbols follow.
        self.put(0, 1);
        (0..256).for_each(|_| self.put(1, 1));
        self.put(0, unused);
    }

    /// Writes a symbol of the flat code, highest bit first.
    fn put_code(&mut self, symbol: u64) {
        self.put(symbol.reverse_bits() >> 56, 8);
    }

    /// Pads to an even number of bytes.
    fn into_bytes(mut self) -> Vec<u8> {
        let odd = self.bytes.len() % 2;
        self.bytes.resize(self.bytes.len() + odd, 0);
        self.bytes
    }
}

/// Returns this process's peak memory in bytes.
fn peak_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux tells");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kibibytes = line.and_then(|line| line.trim().strip_suffix(" kB"));
    let kibibytes: Option<u64> = kibibytes.and_then(|number| number.parse().ok());
    kibibytes.expect("a number") << 10
}

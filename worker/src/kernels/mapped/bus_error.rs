//! Ends the process with a line that names the file when a page of a mapped file cannot be read.
//!
//! A file that is cut loses pages, also of private mappings, and the next access to one raises SIGBUS. A copy of each file
//! would take memory that workers share, and time at each start.

use std::ffi::{c_int, c_void};
use std::mem;
use std::ptr::null_mut;
use std::str::from_utf8;
use std::sync::OnceLock;

/// More than a line of /proc/self/maps with the longest path.
const LINE: usize = 4096 + 128;

const BEFORE_PATH: &[u8] = b"worker: the mapped file ";
const AFTER_PATH: &[u8] =
    b" was cut while it was in use, or its disk fails: rename a whole file to its place\n";

/// What the process did at this signal before.
static BEFORE: OnceLock<libc::sigaction> = OnceLock::new();

/// Installs the handler of SIGBUS, once. Other faults than those of mapped files have their action as before.
pub fn install() {
    BEFORE.get_or_init(|| {
        // SAFETY: zero is valid for each field: flags, a set without signals, and functions that may be absent.
        let [mut action, mut before]: [libc::sigaction; 2] = unsafe { mem::zeroed() };
        action.sa_sigaction = on_bus_error as *const () as libc::sighandler_t;
        action.sa_flags = libc::SA_SIGINFO;
        // SAFETY: both structures live. The handler has the arguments that SA_SIGINFO gives, and makes only calls that
        // signal-safety(7) lists: it neither allocates nor locks.
        unsafe { libc::sigaction(libc::SIGBUS, &action, &mut before) };
        before
    });
}

extern "C" fn on_bus_error(signal: c_int, info: *mut libc::siginfo_t, _context: *mut c_void) {
    // SAFETY: the kernel passes a structure that lives. Without an address it has other numbers there.
    let (code, address) = unsafe {
        let info = &*info;
        (info.si_code, info.si_addr().addr())
    };
    if code == libc::BUS_ADRERR {
        end_if_mapped(address);
    }
    // SAFETY: zero is the default action. The faulting instruction runs again, or the signal of a process comes again.
    unsafe {
        let default = mem::zeroed();
        libc::sigaction(signal, BEFORE.get().unwrap_or(&default), null_mut());
        if code <= 0 {
            libc::raise(signal);
        }
    }
}

/// Ends the process if a file is mapped at this address.
fn end_if_mapped(address: usize) {
    let (mut line, mut length) = ([0_u8; LINE], 0);
    let mut piece = [0_u8; 4096];
    // SAFETY: the path ends with a zero.
    let maps = unsafe { libc::open(c"/proc/self/maps".as_ptr(), libc::O_RDONLY) };
    loop {
        // SAFETY: the buffer has this length. Without an open file it is an error.
        let count = unsafe { libc::read(maps, piece.as_mut_ptr().cast(), piece.len()) };
        let Some(bytes @ [_, ..]) = usize::try_from(count)
            .ok()
            .and_then(|count| piece.get(..count))
        else {
            return;
        };
        for &byte in bytes {
            if byte == b'\n' {
                if let Some(path) = file_at(&line[..length], address) {
                    end(path);
                }
                length = 0;
            } else if let Some(place) = line.get_mut(length) {
                *place = byte;
                length += 1;
            }
        }
    }
}

/// Returns the path in a line of /proc/self/maps, `start-end permissions offset device inode path`, if the address lies
/// there.
fn file_at(line: &[u8], address: usize) -> Option<&[u8]> {
    let (range, rest) = line.split_at(line.iter().position(|&byte| byte == b' ')?);
    let (start, end) = from_utf8(range).ok()?.split_once('-')?;
    let number = |text| usize::from_str_radix(text, 16).ok();
    let is_there = (number(start)?..number(end)?).contains(&address);
    let path = rest.iter().position(|&byte| byte == b'/')?;
    is_there.then_some(&rest[path..])
}

fn end(path: &[u8]) -> ! {
    let parts = [BEFORE_PATH, path, AFTER_PATH].map(|part| libc::iovec {
        iov_base: part.as_ptr().cast_mut().cast(),
        iov_len: part.len(),
    });
    // SAFETY: the parts live, and are only read.
    unsafe {
        libc::writev(libc::STDERR_FILENO, parts.as_ptr(), parts.len() as c_int);
        libc::_exit(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_at_an_address_is_found_by_its_line() {
        let line = b"7f00a000-7f00c000 r--p 00001000 08:01 4711                       /var/lib/a model/e.safetensors";
        let path = b"/var/lib/a model/e.safetensors".as_slice();
        assert_eq!(file_at(line, 0x7f00_a000), Some(path));
        assert_eq!(file_at(line, 0x7f00_bfff), Some(path));
        assert_eq!(file_at(line, 0x7f00_c000), None);
        assert_eq!(file_at(line, 0x7f00_9fff), None);
    }

    #[test]
    fn memory_without_a_file_has_no_path() {
        for line in [
            b"7f00a000-7f00c000 rw-p 00000000 00:00 0 ".as_slice(),
            b"7f00a000-7f00c000 rw-p 00000000 00:00 0                          [heap]",
            b"",
            b"no map",
        ] {
            assert_eq!(file_at(line, 0x7f00_a000), None);
        }
    }
}

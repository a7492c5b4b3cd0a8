//! libjpeg's errors and warnings.
#![allow(
    unsafe_code,
    reason = "libjpeg calls these functions and passes a C structure"
)]

use std::cell::Cell;
use std::ffi::{CStr, c_int};
use std::mem;
use std::panic::resume_unwind;

use mozjpeg_sys::{JWRN_HIT_MARKER, jpeg_common_struct, jpeg_error_mgr, jpeg_std_error};

thread_local! {
    /// Whether a marker came before the end of the data, in this thread's decoder.
    static DATA_ENDED_EARLY: Cell<bool> = const { Cell::new(false) };
}

/// Returns a manager whose fatal errors unwind with their text, a `String`. Resets [`data_ended_early`].
pub fn manager() -> jpeg_error_mgr {
    DATA_ENDED_EARLY.set(false);
    // SAFETY: zero is valid for each field: numbers, and pointers and functions that may be null. `jpeg_std_error` fills
    // the structure and keeps no pointer to it.
    let mut manager: jpeg_error_mgr = unsafe { mem::zeroed() };
    unsafe { jpeg_std_error(&mut manager) };
    manager.error_exit = Some(fail);
    manager.emit_message = Some(note);
    manager
}

/// Returns whether the picture data ended early. libjpeg then fills the rest with gray and only warns.
pub fn data_ended_early() -> bool {
    DATA_ENDED_EARLY.get()
}

extern "C-unwind" fn fail(decoder: &mut jpeg_common_struct) {
    let text = manager_of(decoder).map_or_else(String::new, text);
    // Without the panic hook, so that a damaged file is not logged as a panic.
    resume_unwind(Box::new(text));
}

extern "C-unwind" fn note(decoder: &mut jpeg_common_struct, level: c_int) {
    const WARNING: c_int = -1;
    if level == WARNING
        && manager_of(decoder).is_some_and(|manager| manager.msg_code == JWRN_HIT_MARKER as c_int)
    {
        DATA_ENDED_EARLY.set(true);
    }
}

fn manager_of(decoder: &jpeg_common_struct) -> Option<&jpeg_error_mgr> {
    // SAFETY: libjpeg calls with the structure that `manager` made, which lives as long as its decoder.
    unsafe { decoder.err.as_ref() }
}

/// Returns the message of libjpeg's table up to its first placeholder.
fn text(manager: &jpeg_error_mgr) -> String {
    let within = 0..=manager.last_jpeg_message;
    if manager.jpeg_message_table.is_null() || !within.contains(&manager.msg_code) {
        return format!("error {}", manager.msg_code);
    }
    // SAFETY: the table is static, and has a text with a terminating zero for each code up to the last.
    let text =
        unsafe { CStr::from_ptr(*manager.jpeg_message_table.add(manager.msg_code as usize)) };
    let text = text.to_string_lossy();
    let words = text
        .split_whitespace()
        .take_while(|word| !word.contains('%'));
    words.collect::<Vec<_>>().join(" ")
}

//! How much memory something takes at most, that of C code included, as AddressSanitizer's allocator tells.

use std::ffi::{c_int, c_void};
use std::sync::Once;
use std::sync::atomic::{AtomicUsize, Ordering};

static LIVE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);
static HOOKS: Once = Once::new();

unsafe extern "C" {
    fn __sanitizer_install_malloc_and_free_hooks(
        malloc: extern "C" fn(*const c_void, usize),
        free: extern "C" fn(*const c_void),
    ) -> c_int;
    safe fn __sanitizer_get_current_allocated_bytes() -> usize;
    fn __sanitizer_get_allocated_size(memory: *const c_void) -> usize;
}

/// The result of `work`, and the most bytes that were allocated during it beyond those before.
pub fn peak<T>(work: impl FnOnce() -> T) -> (T, usize) {
    HOOKS.call_once(|| {
        // SAFETY: both hooks live as long as the process.
        let slot = unsafe { __sanitizer_install_malloc_and_free_hooks(allocated, freed) };
        assert!(slot > 0, "the hooks were taken");
    });
    let before = __sanitizer_get_current_allocated_bytes();
    LIVE.store(before, Ordering::Relaxed);
    PEAK.store(before, Ordering::Relaxed);
    let result = work();
    (result, PEAK.load(Ordering::Relaxed) - before)
}

extern "C" fn allocated(_: *const c_void, bytes: usize) {
    let live = LIVE.fetch_add(bytes, Ordering::Relaxed) + bytes;
    PEAK.fetch_max(live, Ordering::Relaxed);
}

extern "C" fn freed(memory: *const c_void) {
    if !memory.is_null() {
        // SAFETY: the sanitizer calls this before it takes the memory back.
        let bytes = unsafe { __sanitizer_get_allocated_size(memory) };
        LIVE.fetch_sub(bytes, Ordering::Relaxed);
    }
}

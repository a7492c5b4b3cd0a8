//! Files that `torch.save` wrote, or that look like it: zip archives and pickles.

#![no_main]

libfuzzer_sys::fuzz_target!(|file: &[u8]| muster_fuzz::convert_checkpoint(file));

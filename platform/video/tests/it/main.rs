//! Frames of clips that FFmpeg makes.

#![allow(clippy::unwrap_used)]

mod growing;
mod hostile;
mod sampling;
mod unusual;

use std::path::{Path, PathBuf};
use std::process::Command;

/// Makes a clip with FFmpeg from these arguments.
pub fn make_clip(folder: &Path, name: &str, arguments: &[&str]) -> PathBuf {
    let clip = folder.join(name);
    let made = Command::new("ffmpeg")
        .args(["-nostdin", "-loglevel", "error", "-y"])
        .args(arguments)
        .arg(format!("file:{}", clip.display()))
        .status()
        .expect("ffmpeg is installed: run make setup");
    assert!(made.success(), "{arguments:?}");
    clip
}

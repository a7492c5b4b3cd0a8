use std::io;
use std::time::Duration;

/// Why a clip gives no frames.
#[derive(Debug, thiserror::Error)]
pub enum VideoError {
    #[error(
        "{0} was not found; install FFmpeg (Debian: apt-get install ffmpeg), or name it in {1}"
    )]
    ToolMissing(&'static str, &'static str),
    #[error("the file is not a clip that can be read: {0}")]
    NotAClip(String),
    #[error("the file has sound, but no picture")]
    NoPicture,
    #[error("the clip has no frames")]
    NoFrames,
    #[error("the clip has {bytes} bytes; at most {limit} are accepted")]
    TooLarge { bytes: u64, limit: u64 },
    #[error("the clip takes {seconds:.0} s; at most {limit:.0} s are accepted")]
    TooLong { seconds: f64, limit: f64 },
    #[error("the clip's frames have {width} x {height} pixels; at most {limit} are accepted")]
    TooManyPixels { width: u32, height: u32, limit: u64 },
    #[error("more than {0} frames would have to be looked at; ask for fewer frames a second")]
    TooManyFrames(u32),
    #[error("the clip takes longer than {} s to decode", .0.as_secs_f32())]
    TimedOut(Duration),
    #[error("the clip needs more than {} MiB to decode", .0 >> 20)]
    OutOfMemory(u64),
    #[error("FFmpeg failed: {0}")]
    Failed(String),
    #[error("the clip cannot be read: {0}")]
    Io(#[from] io::Error),
}

impl VideoError {
    /// Returns whether the clip is at fault, so that a retry cannot help.
    pub fn is_permanent(&self) -> bool {
        !matches!(self, Self::ToolMissing(..) | Self::Failed(_) | Self::Io(_))
    }
}

//! Takes frames from clips with FFmpeg, and follows faces through them.
//!
//! Clips are hostile input. `ffprobe` reads a clip's head before anything is decoded. `ffmpeg` runs as a process of its own,
//! without a shell, with limits on time, memory and frames; it may open nothing but the clip itself, and only as one of
//! [`FORMATS`].
//!
//! | a clip that | is |
//! |---|---|
//! | is no clip, or has damaged or missing headers (a truncated MP4) | refused: [`VideoError::NotAClip`] |
//! | is a playlist or a list of files | refused: [`VideoError::NotAClip`] |
//! | has sound only, also with a cover picture | refused: [`VideoError::NoPicture`] |
//! | has a video stream without frames | refused: [`VideoError::NoFrames`] |
//! | is larger, longer or has more pixels than the limits (8K) | refused before it is decoded |
//! | would give more frames than the limit | refused: [`VideoError::TooManyFrames`] |
//! | takes too much time or memory | [`VideoError::TimedOut`], [`VideoError::OutOfMemory`] |
//! | breaks off in the middle | used up to there |
//! | is rotated by its metadata | turned upright |
//! | has a variable frame rate | used with the times of its frames |
//!
//! | module | does |
//! |---|---|
//! | `ffmpeg` | finds the programs, reads a clip's head, takes frames |
//! | `process` | runs a program within its limits |
//! | `limits`, `error` | the limits, and why a clip is refused |
//! | [`timeline`] | who is seen from when to when; pure |

mod error;
mod ffmpeg;
mod limits;
mod process;
pub mod timeline;

pub use error::VideoError;
pub use ffmpeg::{FORMATS, Ffmpeg, Frame, FrameFile, FrameStream, Sampling};
pub use limits::ClipLimits;

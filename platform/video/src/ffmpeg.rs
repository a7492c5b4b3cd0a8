//! FFmpeg's two programs: `ffprobe` reads a clip's head, `ffmpeg` takes frames.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::pin::Pin;

use futures::Stream;
use photo::Photo;
use proto::v1::ClipInfo;
use tokio::process::Command;

mod extract;
mod probe;
mod stream;
mod times;

use crate::{ClipLimits, VideoError};

/// The containers that are read, by FFmpeg's names. Playlists, lists of files and devices are none of them.
pub const FORMATS: &str = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,flv,ogg,asf";

/// FFmpeg's programs and the limits within which they run.
#[derive(Debug, Clone)]
pub struct Ffmpeg {
    ffmpeg: PathBuf,
    ffprobe: PathBuf,
    limits: ClipLimits,
}

/// Which frames of a clip are taken.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Sampling {
    /// The first one.
    First,
    /// So many, evenly over the clip; all of them if it has fewer.
    Spread { frames: u32 },
    Timeline {
        /// Frames for each second of the clip.
        frames_per_second: f64,
        /// Also a frame at each change of scene beyond this, from 0 (any change) to 1.
        scene_threshold: Option<f64>,
    },
}

/// A frame as a JPEG file.
#[derive(Debug, Clone, PartialEq)]
pub struct FrameFile {
    pub path: PathBuf,
    /// Among those taken, from 0.
    pub index: u32,
    /// From the beginning of the clip.
    pub at_seconds: f64,
}

/// An upright frame.
#[derive(Debug, Clone, PartialEq)]
pub struct Frame {
    /// Among those taken, from 0.
    pub index: u32,
    /// From the beginning of the clip.
    pub at_seconds: f64,
    pub photo: Photo,
}

/// Frames in the order of the clip. After an error there is no further one. Dropping it ends FFmpeg.
pub type FrameStream = Pin<Box<dyn Stream<Item = Result<Frame, VideoError>> + Send>>;

impl Ffmpeg {
    /// Finds the programs: by MUSTER_FFMPEG and MUSTER_FFPROBE, beside this executable, or on the PATH.
    ///
    /// # Errors
    /// [`VideoError::ToolMissing`].
    pub fn find(limits: ClipLimits) -> Result<Self, VideoError> {
        Ok(Self {
            ffmpeg: find_program("ffmpeg", "MUSTER_FFMPEG")?,
            ffprobe: find_program("ffprobe", "MUSTER_FFPROBE")?,
            limits,
        })
    }

    pub fn limits(&self) -> &ClipLimits {
        &self.limits
    }

    /// Reads a clip's head and checks it against the limits.
    ///
    /// # Errors
    /// When the file is no clip or beyond the limits, or ffprobe fails.
    pub async fn probe(&self, clip: &Path) -> Result<ClipInfo, VideoError> {
        probe::probe(self, clip).await
    }

    /// Writes frames as JPEG files into a folder, which must exist, as `frame-000000.jpg` and so on. They are upright.
    ///
    /// # Errors
    /// As [`Self::probe`], which it calls, and when the clip has no frame, too many, or decoding fails.
    pub async fn extract(
        &self,
        clip: &Path,
        sampling: &Sampling,
        folder: &Path,
    ) -> Result<Vec<FrameFile>, VideoError> {
        let info = self.probe(clip).await?;
        extract::extract(self, clip, &info, sampling, folder).await
    }

    /// Decodes frames, one after another as they are asked for. `info` is what [`Self::probe`] returned for the clip.
    ///
    /// # Errors
    /// When ffmpeg cannot be started. Later errors are items of the stream.
    pub fn frames(
        &self,
        clip: &Path,
        info: &ClipInfo,
        sampling: &Sampling,
    ) -> Result<FrameStream, VideoError> {
        stream::frames(self, clip, info, sampling)
    }

    /// Returns the call of ffmpeg up to its output.
    fn decoder(&self, clip: &Path, info: &ClipInfo, sampling: &Sampling, scaling: &str) -> Command {
        let mut command = Command::new(&self.ffmpeg);
        command
            .args(["-hide_banner", "-nostdin", "-nostats", "-loglevel", "info"])
            .args([
                "-timelimit",
                &self.limits.max_clip_time.as_secs().max(1).to_string(),
            ])
            .args(input_options())
            // The size may change within a clip, after its head was checked.
            .args(["-max_pixels", &self.most_coded_pixels().to_string()])
            .arg("-i")
            .arg(input(clip))
            .args(["-map", "0:V:0", "-an", "-sn", "-dn"])
            .args([
                "-vf",
                &format!("{}{scaling},showinfo=checksum=0", selection(sampling, info)),
            ])
            // Each frame that the filter passes, once.
            .args(["-vsync", "passthrough"])
            .args(["-frames:v", &self.frame_limit(sampling).to_string()]);
        command
    }

    /// Codecs round the sides of a frame up to whole blocks, of 128 pixels at most.
    fn most_coded_pixels(&self) -> u64 {
        let limit = self.limits.max_clip_pixels;
        limit
            .saturating_add(limit / 4)
            .clamp(1 << 16, i32::MAX as u64)
    }

    /// Returns how many frames ffmpeg may write. One more than the limit shows that the limit is exceeded.
    fn frame_limit(&self, sampling: &Sampling) -> u64 {
        let limit = u64::from(self.limits.max_clip_frames) + 1;
        match sampling {
            Sampling::First => 1,
            Sampling::Spread { frames } => u64::from(*frames).clamp(1, limit),
            Sampling::Timeline { .. } => limit,
        }
    }
}

/// Options of both programs: nothing but this file is opened, and only as a clip.
fn input_options() -> [&'static str; 4] {
    ["-protocol_whitelist", "file", "-format_whitelist", FORMATS]
}

/// Returns the clip's name so that no part of it is taken for an option or a protocol.
fn input(clip: &Path) -> OsString {
    let mut name = OsString::from("file:");
    name.push(clip);
    name
}

/// Returns the filter that passes the frames to be taken.
fn selection(sampling: &Sampling, info: &ClipInfo) -> String {
    // `selected_n` frames are chosen already. Rounding up to the next frame does not add up.
    let every = |seconds: f64| format!("gte(t-start_t+0.001\\,selected_n*{seconds:.6})");
    match *sampling {
        Sampling::First => "null".to_owned(),
        Sampling::Spread { frames } => {
            let step = info.duration_seconds / f64::from(frames.max(1));
            format!("select='{}'", every(step))
        }
        Sampling::Timeline {
            frames_per_second,
            scene_threshold,
        } => {
            let step = 1.0 / frames_per_second.clamp(0.001, 1000.0);
            let Some(threshold) = scene_threshold else {
                return format!("select='{}'", every(step));
            };
            format!(
                "select='isnan(prev_selected_t)+gte(t-prev_selected_t+0.001\\,{step:.6})+gt(scene\\,{threshold:.4})'"
            )
        }
    }
}

fn find_program(name: &'static str, variable: &'static str) -> Result<PathBuf, VideoError> {
    if let Some(program) = std::env::var_os(variable).filter(|value| !value.is_empty()) {
        return Ok(PathBuf::from(program));
    }
    let beside = std::env::current_exe().ok();
    let beside = beside.as_deref().and_then(Path::parent).map(Path::to_owned);
    let path = std::env::var_os("PATH").unwrap_or_default();
    beside
        .into_iter()
        .chain(std::env::split_paths(&path))
        .map(|folder| folder.join(name))
        .find(|program| program.is_file())
        .ok_or(VideoError::ToolMissing(name, variable))
}

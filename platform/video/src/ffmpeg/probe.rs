use std::path::Path;

use proto::v1::ClipInfo;
use serde::Deserialize;
use tokio::process::Command;

use super::{Ffmpeg, input, input_options};
use crate::VideoError;
use crate::process::{Running, read_start};

/// The part of ffprobe's JSON that is asked for.
#[derive(Debug, Default, Deserialize)]
struct Probed {
    #[serde(default)]
    streams: Vec<Stream>,
    #[serde(default)]
    format: Format,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Stream {
    codec_name: String,
    width: u32,
    height: u32,
    avg_frame_rate: String,
    duration: Option<String>,
    side_data_list: Vec<SideData>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct SideData {
    rotation: Option<f64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Format {
    format_name: String,
    duration: Option<String>,
}

pub async fn probe(ffmpeg: &Ffmpeg, clip: &Path) -> Result<ClipInfo, VideoError> {
    let limits = ffmpeg.limits;
    let bytes = tokio::fs::metadata(clip).await?.len();
    if bytes > limits.max_clip_bytes {
        let limit = limits.max_clip_bytes;
        return Err(VideoError::TooLarge { bytes, limit });
    }
    let mut command = Command::new(&ffmpeg.ffprobe);
    command
        .args(["-hide_banner", "-loglevel", "error"])
        .args(input_options())
        // V: without cover pictures.
        .args(["-select_streams", "V:0", "-of", "json", "-show_entries"])
        .arg(
            "format=format_name,duration:stream=codec_name,width,height,avg_frame_rate,duration\
             :stream_side_data=rotation",
        )
        .arg("-i")
        .arg(input(clip));
    let mut running = Running::start(command, limits)?;
    let (output, messages) = (running.child.stdout.take(), running.child.stderr.take());
    let reading = async { tokio::join!(read_start(output), read_start(messages)) };
    let (status, (output, messages)) = running.finish(reading).await?;
    if !status.success() {
        return Err(VideoError::NotAClip(reason(&messages, clip)));
    }
    let probed: Probed = serde_json::from_str(&output)
        .map_err(|error| VideoError::Failed(format!("ffprobe's output cannot be read: {error}")))?;
    let Some(stream) = probed.streams.into_iter().next() else {
        return Err(VideoError::NoPicture);
    };
    let info = clip_info(stream, probed.format);
    let pixels = u64::from(info.width) * u64::from(info.height);
    if pixels == 0 {
        return Err(VideoError::NoFrames);
    }
    if pixels > limits.max_clip_pixels {
        return Err(VideoError::TooManyPixels {
            width: info.width,
            height: info.height,
            limit: limits.max_clip_pixels,
        });
    }
    let limit = limits.max_clip_duration.as_secs_f64();
    if info.duration_seconds > limit {
        let seconds = info.duration_seconds;
        return Err(VideoError::TooLong { seconds, limit });
    }
    Ok(info)
}

fn clip_info(stream: Stream, format: Format) -> ClipInfo {
    let rotation = stream.side_data_list.iter().find_map(|data| data.rotation);
    let lies = (rotation.unwrap_or_default() as i64).rem_euclid(180) == 90;
    let (width, height) = if lies {
        (stream.height, stream.width)
    } else {
        (stream.width, stream.height)
    };
    let seconds = |text: Option<String>| text.and_then(|text| text.parse::<f64>().ok());
    let duration = seconds(stream.duration).or_else(|| seconds(format.duration));
    ClipInfo {
        duration_seconds: duration
            .filter(|it| it.is_finite())
            .unwrap_or_default()
            .max(0.0),
        width,
        height,
        frames_per_second: fraction(&stream.avg_frame_rate),
        codec: stream.codec_name,
        format: format.format_name,
    }
}

/// Parses `30000/1001`; 0 if it is none.
fn fraction(text: &str) -> f64 {
    let parts = text
        .split_once('/')
        .and_then(|(over, under)| Some((over.parse::<f64>().ok()?, under.parse::<f64>().ok()?)));
    parts
        .filter(|(_, under)| *under > 0.0)
        .map_or(0.0, |(over, under)| over / under)
}

/// Returns why ffmpeg ended without a frame.
pub fn without_frames(is_success: bool, messages: &str, clip: &Path) -> VideoError {
    // The stream of an AVI ends before it begins, which ffmpeg takes for a failure.
    match is_success || messages.contains("Cannot determine format of input") {
        true => VideoError::NoFrames,
        false => VideoError::NotAClip(reason(messages, clip)),
    }
}

/// Returns the last line of FFmpeg's messages, without the clip's path.
fn reason(messages: &str, clip: &Path) -> String {
    let last = messages.lines().rev().find(|line| !line.trim().is_empty());
    let path = format!("file:{}: ", clip.display());
    let text = last
        .unwrap_or("it has no header that is known")
        .replace(&path, "");
    text.chars()
        .filter(|it| !it.is_control())
        .take(200)
        .collect()
}

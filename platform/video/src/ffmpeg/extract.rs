use std::path::Path;

use proto::v1::ClipInfo;
use tokio::sync::mpsc;

use super::probe::without_frames;
use super::times::read_times;
use super::{Ffmpeg, FrameFile, Sampling};
use crate::VideoError;
use crate::process::{Running, read_start};

/// JPEG's quality, from 2 (best) to 31.
const QUALITY: &str = "2";

pub async fn extract(
    ffmpeg: &Ffmpeg,
    clip: &Path,
    info: &ClipInfo,
    sampling: &Sampling,
    folder: &Path,
) -> Result<Vec<FrameFile>, VideoError> {
    // FFmpeg runs in the folder, so that no name of the folder is taken for a pattern.
    let clip = &std::path::absolute(clip)?;
    let mut command = ffmpeg.decoder(clip, info, sampling, "");
    command
        .args([
            "-pix_fmt", "yuvj420p", "-c:v", "mjpeg", "-q:v", QUALITY, "-f", "image2",
        ])
        .args(["-start_number", "0"])
        .arg("frame-%06d.jpg")
        .current_dir(folder);
    let mut running = Running::start(command, ffmpeg.limits)?;
    let (output, messages) = (running.child.stdout.take(), running.child.stderr.take());
    let (sender, mut receiver) = mpsc::channel(64);
    let reading = async {
        let times = async {
            let mut times = Vec::new();
            while let Some(time) = receiver.recv().await {
                times.push(time);
            }
            times
        };
        tokio::join!(read_start(output), read_times(messages, sender), times)
    };
    let (status, (_, messages, times)) = running.finish(reading).await?;
    if times.len() > ffmpeg.limits.max_clip_frames as usize {
        return Err(VideoError::TooManyFrames(ffmpeg.limits.max_clip_frames));
    }
    let mut frames = Vec::new();
    for (index, at_seconds) in (0..).zip(times) {
        let path = folder.join(format!("frame-{index:06}.jpg"));
        // A clip that breaks off may end before the frame is written.
        if tokio::fs::try_exists(&path).await? {
            frames.push(FrameFile {
                path,
                index,
                at_seconds,
            });
        }
    }
    if frames.is_empty() {
        return Err(without_frames(status.success(), &messages, clip));
    }
    Ok(frames)
}

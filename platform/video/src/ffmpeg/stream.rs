use std::io;
use std::path::Path;

use futures::stream;
use photo::Photo;
use proto::v1::ClipInfo;
use tokio::io::AsyncReadExt;
use tokio::process::ChildStdout;
use tokio::sync::mpsc;

use super::probe::without_frames;
use super::times::read_times;
use super::{Ffmpeg, Frame, FrameStream, Sampling};
use crate::VideoError;
use crate::process::Running;

/// Frames that are decoded ahead.
const AHEAD: usize = 2;

pub fn frames(
    ffmpeg: &Ffmpeg,
    clip: &Path,
    info: &ClipInfo,
    sampling: &Sampling,
) -> Result<FrameStream, VideoError> {
    let size = (info.width as usize, info.height as usize);
    // The size may change within a clip; that of the frames does not.
    let scaling = format!(",scale={}:{}", size.0, size.1);
    let mut command = ffmpeg.decoder(clip, info, sampling, &scaling);
    command.args(["-pix_fmt", "rgb24", "-f", "rawvideo", "pipe:1"]);
    let running = Running::start(command, ffmpeg.limits)?;
    let (sender, receiver) = mpsc::channel(AHEAD);
    let (clip, most) = (clip.to_owned(), ffmpeg.limits.max_clip_frames);
    let reading = tokio::spawn(async move {
        if let Err(error) = read(running, &clip, size, most, &sender).await {
            let _ = sender.send(Err(error)).await;
        }
    });
    // Aborting the task drops the process, which kills it.
    let reading = AbortOnDrop(reading);
    Ok(Box::pin(stream::unfold(
        (receiver, reading),
        |(mut receiver, reading)| async move {
            let item = receiver.recv().await?;
            Some((item, (receiver, reading)))
        },
    )))
}

#[derive(Debug)]
struct AbortOnDrop(tokio::task::JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

type Sender = mpsc::Sender<Result<Frame, VideoError>>;

async fn read(
    mut running: Running,
    clip: &Path,
    size: (usize, usize),
    most: u32,
    sender: &Sender,
) -> Result<(), VideoError> {
    let output = running.child.stdout.take();
    let messages = running.child.stderr.take();
    // The filter writes a time before its frame is written, and may be ahead by the frames in FFmpeg's queues.
    let (times_sender, times) = mpsc::channel(1024);
    let reading = async {
        tokio::join!(
            read_frames(output, times, size, most, sender),
            read_times(messages, times_sender)
        )
    };
    let (status, (count, messages)) = running.finish(reading).await?;
    match count? {
        0 => Err(without_frames(status.success(), &messages, clip)),
        _ => Ok(()),
    }
}

/// Sends the frames and returns their number.
async fn read_frames(
    output: Option<ChildStdout>,
    mut times: mpsc::Receiver<f64>,
    (width, height): (usize, usize),
    most: u32,
    sender: &Sender,
) -> Result<u32, VideoError> {
    let mut output = output.expect("the output is a pipe");
    for index in 0.. {
        let mut pixels = vec![0; width * height * 3];
        match output.read_exact(&mut pixels).await {
            Ok(_) => {}
            // An incomplete last frame is left out.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(index),
            Err(error) => return Err(error.into()),
        }
        if index == most {
            return Err(VideoError::TooManyFrames(most));
        }
        let at_seconds = times.recv().await.unwrap_or_default();
        let photo = Photo::new(width, height, pixels);
        let frame = Frame {
            index,
            at_seconds,
            photo,
        };
        if sender.send(Ok(frame)).await.is_err() {
            // The frames are no longer asked for.
            return Ok(index);
        }
    }
    unreachable!("the loop has no end")
}

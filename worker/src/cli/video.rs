//! `worker video`

use std::fs;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::Context;
use indicatif::{ProgressBar, ProgressStyle};
use platform::process::print;
use proto::v1::Timeline;
use video::{ClipLimits, Ffmpeg, Sampling};

use crate::service::{LinkedEngines, ModelArgs};
use crate::video::portraits::{add_pictures, people};
use crate::video::{Watched, recognize_clip, sheet};

#[derive(Debug, clap::Args)]
pub struct VideoArgs {
    /// Clip to look at
    #[arg(value_name = "CLIP")]
    clip: PathBuf,
    /// Frames to look at for each second of the clip
    #[arg(long, value_name = "N", default_value_t = 2.0, value_parser = frames_per_second)]
    fps: f64,
    /// Look at a frame at each change of scene, too: beyond this change, from 0 (any) to 1
    #[arg(long, value_name = "CHANGE", value_parser = scene_threshold)]
    scene: Option<f64>,
    /// File for the timeline as JSON [default: standard output]
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// File for a contact sheet (PNG): a picture of each person, and when they are seen
    #[arg(long, value_name = "FILE")]
    sheet: Option<PathBuf>,
    #[command(flatten, next_help_heading = "Limits")]
    limits: ClipLimits,
    #[command(flatten)]
    pub model: ModelArgs,
}

pub fn run(args: &VideoArgs, linked: LinkedEngines) -> anyhow::Result<ExitCode> {
    let clip = args.clip.display();
    let ffmpeg = Ffmpeg::find(args.limits)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let info = runtime
        .block_on(ffmpeg.probe(&args.clip))
        .with_context(|| clip.to_string())?;
    let sampling = Sampling::Timeline {
        frames_per_second: args.fps,
        scene_threshold: args.scene,
    };
    let watched = Watched {
        ffmpeg: &ffmpeg,
        clip: &args.clip,
        info: &info,
        sampling: &sampling,
    };
    let recognizer = args.model.load(linked)?;
    recognizer.warm_up();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let bar = progress(info.duration_seconds * args.fps);
    let start = Instant::now();
    let timeline = recognize_clip(&runtime, watched, &recognizer, threads, || bar.inc(1))
        .with_context(|| clip.to_string())?;
    let elapsed = start.elapsed().as_secs_f64();
    bar.finish_and_clear();
    if let Some(file) = &args.sheet {
        let mut people = people(&timeline);
        let pictures = add_pictures(watched, &mut people, sheet::PICTURE as usize);
        runtime
            .block_on(pictures)
            .with_context(|| clip.to_string())?;
        sheet::draw(&timeline, &people)
            .save_with_format(file, image::ImageFormat::Png)
            .with_context(|| format!("cannot write {}", file.display()))?;
    }
    write_json(args, &timeline)?;
    eprintln!(
        "{} frames in {elapsed:.3} s, {:.2} frames/s",
        timeline.frames,
        f64::from(timeline.frames) / elapsed
    );
    Ok(ExitCode::SUCCESS)
}

/// Writes the timeline into the file, and who is seen on standard output; without a file, the timeline on standard output.
fn write_json(args: &VideoArgs, timeline: &Timeline) -> anyhow::Result<()> {
    let json = proto::encode(timeline);
    let Some(file) = &args.json else {
        return print(json);
    };
    fs::write(file, json + "\n").with_context(|| format!("cannot write {}", file.display()))?;
    for track in &timeline.tracks {
        let distance = track.best.as_ref().map_or(2.0, |best| best.distance);
        print(format_args!(
            "{:8.2} s - {:8.2} s  {:<24}  distance {distance:.3}",
            track.from_seconds, track.to_seconds, track.name
        ))?;
    }
    Ok(())
}

/// Returns a bar on a terminal, elsewhere a hidden one.
fn progress(frames: f64) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} frames  {elapsed}  {per_sec}")
        .expect("the template is valid");
    ProgressBar::new(frames.ceil().max(1.0) as u64).with_style(style)
}

fn frames_per_second(text: &str) -> Result<f64, String> {
    let parsed = text.parse().ok();
    parsed
        .filter(|it| (0.001..=1000.0).contains(it))
        .ok_or_else(|| "give a number from 0.001 to 1000".to_owned())
}

fn scene_threshold(text: &str) -> Result<f64, String> {
    let parsed = text.parse().ok();
    parsed
        .filter(|it| (0.0..=1.0).contains(it))
        .ok_or_else(|| "give a number from 0 to 1".to_owned())
}

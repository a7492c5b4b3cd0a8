//! `loadgen clips`: clips of known people at known times, made by FFmpeg from labeled photos.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use anyhow::{Context, bail};
use clap::Args;
use platform::process::print;
use rand::SeedableRng;
use rand::rngs::Xoshiro256PlusPlus;
use rand::seq::IndexedRandom;
use serde::Serialize;

use crate::photos::labeled_photos;
use crate::truth::to_csv;
use crate::variants::create_empty;

/// Frames for each second.
const FRAME_RATE: u32 = 25;
/// A person's photo takes this share of the frame's height.
const PHOTO_HEIGHT: f64 = 0.9;

#[derive(Debug, Args)]
pub struct ClipsArgs {
    /// Folder of photos, with a folder for each person: DIR/NAME/*
    #[arg(long, value_name = "DIR", default_value = ".local/photos/val")]
    pub photos: PathBuf,
    /// Folder for the clips, and for clips.csv (the name on each clip of one person) and clips.json (who is seen from when to
    /// when). It must be empty or missing
    #[arg(long, value_name = "DIR", default_value = "target/clips")]
    pub out: PathBuf,
    /// Number of clips
    #[arg(short, long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub count: u32,
    /// Kinds of clips, in turn
    #[arg(long, value_delimiter = ',', value_name = "LIST", default_values_t = [Kind::Pan])]
    pub kinds: Vec<Kind>,
    /// Length of each clip in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 2.0, value_parser = seconds)]
    pub seconds: f64,
    /// Pixels of a frame
    #[arg(long, value_name = "WIDTHxHEIGHT", default_value = "640x360", value_parser = Size::parse)]
    pub size: Size,
    /// Another seed gives other clips
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
}

/// What is seen in a clip.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Kind {
    /// One person, who moves through the picture.
    Pan,
    /// Three people, one after the other.
    Cut,
    /// Two people side by side.
    Pair,
    /// A background only.
    Nobody,
    /// A person, a background, another person.
    Gap,
}

impl std::fmt::Display for Kind {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = clap::ValueEnum::to_possible_value(self);
        formatter.write_str(name.as_ref().map_or("", |value| value.get_name()))
    }
}

/// Pixels of a frame; both are even, as the codec needs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    pub width: u32,
    pub height: u32,
}

/// A person, and the photo that stands for them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Portrait {
    pub name: String,
    pub photo: PathBuf,
}

/// A part of a clip without a cut: no person, one, or several side by side.
#[derive(Debug, Clone, PartialEq)]
pub struct Shot {
    pub people: Vec<Portrait>,
    pub seconds: f64,
}

/// Who is seen in a clip.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ClipTruth {
    /// The file's name.
    pub clip: String,
    pub seconds: f64,
    pub shots: Vec<ShotTruth>,
}

/// Who is seen from when to when, in seconds from the beginning.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ShotTruth {
    pub from_seconds: f64,
    pub to_seconds: f64,
    /// From left to right.
    pub people: Vec<String>,
}

/// Makes the clips. Always returns true.
///
/// # Errors
/// When there is no photo, the folder is not empty, or FFmpeg is missing or fails.
pub fn make(args: &ClipsArgs) -> anyhow::Result<bool> {
    let portraits: Vec<_> = labeled_photos(&args.photos)?
        .into_iter()
        .map(|(photo, name)| Portrait { name, photo })
        .collect();
    create_empty(&args.out)?;
    let mut random = Xoshiro256PlusPlus::seed_from_u64(args.seed);
    let mut plans = Vec::new();
    for number in 0..args.count as usize {
        let kind = args.kinds[number % args.kinds.len()];
        let shots = shots(kind, number, args.seconds, &portraits, &mut random)?;
        plans.push((shots, args.out.join(format!("test_{number:02}.mp4"))));
    }
    let truths = render_all(&plans, args.size)?;
    let single = truths.iter().filter_map(|truth| {
        let [shot] = truth.shots.as_slice() else {
            return None;
        };
        let [name] = shot.people.as_slice() else {
            return None;
        };
        Some((truth.clip.trim_end_matches(".mp4"), name.as_str()))
    });
    write(&args.out.join("clips.csv"), &to_csv(single))?;
    let json = serde_json::to_string_pretty(&truths)?;
    write(&args.out.join("clips.json"), &json)?;
    print(format_args!(
        "{} clips in {}",
        truths.len(),
        args.out.display()
    ))?;
    Ok(true)
}

/// Renders the clips on all cores and returns who is seen in each.
fn render_all(plans: &[(Vec<Shot>, PathBuf)], size: Size) -> anyhow::Result<Vec<ClipTruth>> {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let share = plans.len().div_ceil(cores).max(1);
    let render_share = |plans: &[(Vec<Shot>, PathBuf)]| -> anyhow::Result<Vec<ClipTruth>> {
        let rendered = plans.iter().map(|(shots, file)| render(shots, size, file));
        rendered.collect()
    };
    let shares: Vec<_> = thread::scope(|scope| {
        let threads: Vec<_> = plans
            .chunks(share)
            .map(|plans| scope.spawn(move || render_share(plans)))
            .collect();
        let joined = threads.into_iter().map(|thread| thread.join());
        joined.map(|share| share.expect("no panic")).collect()
    });
    let truths: Vec<_> = shares.into_iter().collect::<anyhow::Result<_>>()?;
    Ok(truths.concat())
}

/// Renders a clip and returns who is seen in it. People move slowly from the left to the right of their part of the picture.
///
/// # Errors
/// When FFmpeg is missing or fails.
pub fn render(shots: &[Shot], size: Size, file: &Path) -> anyhow::Result<ClipTruth> {
    let mut command = Command::new("ffmpeg");
    command.args(["-nostdin", "-loglevel", "error", "-y", "-threads", "1"]);
    let mut graph = String::new();
    let mut input = 0;
    for (index, shot) in shots.iter().enumerate() {
        let Size { width, height } = size;
        let seconds = shot.seconds;
        graph += &format!(
            "gradients=s={width}x{height}:r={FRAME_RATE}:d={seconds}:c0=0x30{:02x}60:c1=0xa0{:02x}80:seed={index}:speed=0.00001\
             [back{index}_0];",
            index * 53 % 256,
            index * 97 % 256,
        );
        let part = width / shot.people.len().max(1) as u32;
        for (place, person) in shot.people.iter().enumerate() {
            command.args(["-loop", "1", "-framerate", &FRAME_RATE.to_string()]);
            command.args(["-t", &seconds.to_string(), "-i"]);
            command.arg(&person.photo);
            let photo_height = (f64::from(height) * PHOTO_HEIGHT) as u32;
            graph += &format!(
                "[{input}]scale=w={part}:h={photo_height}:force_original_aspect_ratio=decrease[photo{input}];\
                 [back{index}_{place}][photo{input}]overlay=shortest=1:y=(H-h)/2:x={left}+({part}-w)*t/{seconds}[back{index}_{next}];",
                left = part * place as u32,
                next = place + 1,
            );
            input += 1;
        }
    }
    for (index, shot) in shots.iter().enumerate() {
        graph += &format!("[back{index}_{}]", shot.people.len());
    }
    graph += &format!("concat=n={}:v=1:a=0,format=yuv420p", shots.len());
    command.args(["-filter_complex", &graph, "-threads", "1"]);
    command.args(["-c:v", "libx264", "-preset", "veryfast", "-crf", "18"]);
    command.args(["-movflags", "+faststart"]).arg(file);
    let output = command
        .output()
        .context("ffmpeg cannot be started; install it (Debian: apt-get install ffmpeg)")?;
    if !output.status.success() {
        let reason = String::from_utf8_lossy(&output.stderr);
        bail!("ffmpeg cannot make {}: {}", file.display(), reason.trim());
    }
    Ok(truth(shots, file))
}

fn truth(shots: &[Shot], file: &Path) -> ClipTruth {
    let mut at = 0.0;
    let shots: Vec<_> = shots
        .iter()
        .map(|shot| {
            let from_seconds = at;
            at += shot.seconds;
            ShotTruth {
                from_seconds,
                to_seconds: at,
                people: shot.people.iter().map(|it| it.name.clone()).collect(),
            }
        })
        .collect();
    ClipTruth {
        clip: file
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned(),
        seconds: at,
        shots,
    }
}

/// Chooses the people of a clip. The people of a cut or a pair differ.
fn shots(
    kind: Kind,
    number: usize,
    seconds: f64,
    portraits: &[Portrait],
    random: &mut Xoshiro256PlusPlus,
) -> anyhow::Result<Vec<Shot>> {
    let mut chosen = vec![portraits[number % portraits.len()].clone()];
    let wanted = match kind {
        Kind::Nobody => 0,
        Kind::Pan => 1,
        Kind::Pair | Kind::Gap => 2,
        Kind::Cut => 3,
    };
    while chosen.len() < wanted {
        let is_new = |it: &&Portrait| chosen.iter().all(|other| other.name != it.name);
        let others: Vec<_> = portraits.iter().filter(is_new).collect();
        let other = others
            .choose(random)
            .with_context(|| format!("{kind} needs photos of {wanted} people"))?;
        chosen.push((*other).clone());
    }
    chosen.truncate(wanted);
    let alone = |person: Portrait, seconds| Shot {
        people: vec![person],
        seconds,
    };
    Ok(match kind {
        Kind::Pair | Kind::Nobody => vec![Shot {
            people: chosen,
            seconds,
        }],
        Kind::Pan => chosen.into_iter().map(|it| alone(it, seconds)).collect(),
        Kind::Cut => chosen
            .into_iter()
            .map(|it| alone(it, seconds / 3.0))
            .collect(),
        Kind::Gap => {
            let pause = Shot {
                people: vec![],
                seconds: seconds / 3.0,
            };
            let mut people = chosen.into_iter().map(|it| alone(it, seconds / 3.0));
            people
                .next()
                .into_iter()
                .chain([pause])
                .chain(people)
                .collect()
        }
    })
}

impl Size {
    /// Parses `640x360`.
    fn parse(text: &str) -> Result<Self, String> {
        let parsed = text.split_once('x').and_then(|(width, height)| {
            Some(Self {
                width: width.parse().ok()?,
                height: height.parse().ok()?,
            })
        });
        let fits = |side: u32| (64..=8192).contains(&side) && side.is_multiple_of(2);
        parsed
            .filter(|size| fits(size.width) && fits(size.height))
            .ok_or_else(|| "give even numbers from 64 to 8192, such as 640x360".to_owned())
    }
}

fn seconds(text: &str) -> Result<f64, String> {
    let parsed = text.parse().ok();
    parsed
        .filter(|seconds| (0.2..=3600.0).contains(seconds))
        .ok_or_else(|| "give a number from 0.2 to 3600".to_owned())
}

fn write(file: &Path, text: &str) -> anyhow::Result<()> {
    fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))
}

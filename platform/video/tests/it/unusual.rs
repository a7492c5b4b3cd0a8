//! Clips that are unusual and nevertheless used.

use futures::StreamExt;
use video::{ClipLimits, Ffmpeg, Sampling};

use crate::make_clip;

const TWICE: Sampling = Sampling::Timeline {
    frames_per_second: 2.0,
    scene_threshold: None,
};

/// Red above blue, one second.
const TWO_COLORS: [&str; 6] = [
    "-f",
    "lavfi",
    "-i",
    "color=red:s=96x32:r=10:d=1[a];color=blue:s=96x32:r=10:d=1[b];[a][b]vstack",
    "-pix_fmt",
    "yuv420p",
];

#[tokio::test]
async fn a_clip_that_its_metadata_rotate_is_upright() {
    let folder = tempfile::tempdir().unwrap();
    let clip = make_clip(folder.path(), "lying.mp4", &TWO_COLORS);
    let path = clip.display().to_string();
    let rotate = ["-i", &path, "-c", "copy", "-metadata:s:v:0", "rotate=90"];
    let rotated = make_clip(folder.path(), "rotated.mp4", &rotate);
    let ffmpeg = Ffmpeg::find(ClipLimits::default()).unwrap();
    let info = ffmpeg.probe(&rotated).await.unwrap();
    assert_eq!((info.width, info.height), (64, 96));
    let frames = ffmpeg.frames(&rotated, &info, &TWICE).unwrap();
    let frames: Vec<_> = frames.collect().await;
    let photo = &frames[0].as_ref().unwrap().photo;
    assert_eq!((photo.width(), photo.height()), (64, 96));
    // By a quarter to the left, what was above is on the left.
    let red = |x: usize, y: usize| photo.pixels()[(y * 64 + x) * 3] > 128;
    assert!(red(10, 10) && red(10, 80) && !red(50, 10) && !red(50, 80));

    let jpegs = tempfile::tempdir().unwrap();
    let files = ffmpeg
        .extract(&rotated, &TWICE, jpegs.path())
        .await
        .unwrap();
    let jpeg = std::fs::read(&files[0].path).unwrap();
    let photo = photo::decode(&jpeg, &photo::DecodeLimits::default()).unwrap();
    assert_eq!((photo.width(), photo.height()), (64, 96));
}

#[tokio::test]
async fn frames_of_a_variable_frame_rate_keep_their_times() {
    let folder = tempfile::tempdir().unwrap();
    // 25 frames in the first second, then two frames a second.
    let source = [
        "-f",
        "lavfi",
        "-i",
        "color=gray:s=64x48:r=50:d=4,select='lt(t,1)*not(mod(n,2))+gte(t,1)*not(mod(n,25))'",
        "-vsync",
        "vfr",
        "-pix_fmt",
        "yuv420p",
    ];
    let clip = make_clip(folder.path(), "variable.mkv", &source);
    let ffmpeg = Ffmpeg::find(ClipLimits::default()).unwrap();
    let info = ffmpeg.probe(&clip).await.unwrap();
    let frames = ffmpeg.frames(&clip, &info, &TWICE).unwrap();
    let times: Vec<_> = frames
        .map(|frame| frame.unwrap().at_seconds)
        .collect()
        .await;
    let known = [0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5];
    let is_near = |(found, known): (&f64, &f64)| (found - known).abs() < 0.041;
    assert!(
        times.len() == known.len() && times.iter().zip(&known).all(is_near),
        "{times:?}"
    );
}

#[tokio::test]
async fn a_name_is_never_an_option_a_protocol_or_a_pattern() {
    let folder = tempfile::tempdir().unwrap();
    let ffmpeg = Ffmpeg::find(ClipLimits::default()).unwrap();
    for name in [
        "-x.mp4",
        "a:b.mp4",
        "http:a.mp4",
        "%03d.mp4",
        "*.mp4",
        "a b'\"$(x);.mp4",
        "pipe:0",
        "ü\n.mp4",
    ] {
        let source = [&TWO_COLORS[..], &["-f", "mp4"]].concat();
        let clip = make_clip(folder.path(), name, &source);
        let info = ffmpeg.probe(&clip).await.unwrap();
        assert_eq!(info.duration_seconds, 1.0, "{name:?}");
        let frames = ffmpeg.frames(&clip, &info, &TWICE).unwrap();
        let frames: Vec<_> = frames.collect().await;
        assert!(
            frames.len() == 2 && frames.iter().all(Result::is_ok),
            "{name:?}"
        );
        let jpegs = tempfile::tempdir().unwrap();
        let files = ffmpeg.extract(&clip, &TWICE, jpegs.path()).await.unwrap();
        assert_eq!(files.len(), 2, "{name:?}");
    }
}

#[tokio::test]
async fn a_clip_of_one_frame_has_one_frame() {
    let folder = tempfile::tempdir().unwrap();
    let clip = make_clip(
        folder.path(),
        "one.mp4",
        &[&TWO_COLORS[..], &["-frames:v", "1"]].concat(),
    );
    let ffmpeg = Ffmpeg::find(ClipLimits::default()).unwrap();
    let info = ffmpeg.probe(&clip).await.unwrap();
    for sampling in [Sampling::First, Sampling::Spread { frames: 10 }, TWICE] {
        let frames = ffmpeg.frames(&clip, &info, &sampling).unwrap();
        let frames: Vec<_> = frames.collect().await;
        assert!(
            matches!(frames.as_slice(), [Ok(frame)] if frame.at_seconds == 0.0),
            "{sampling:?}: {}",
            frames.len()
        );
    }
}

use futures::StreamExt;
use video::{ClipLimits, Ffmpeg, Sampling, VideoError};

use crate::make_clip;

/// Three seconds of 25 frames each, with a cut after 1.48 s.
const CUT: [&str; 6] = [
    "-f",
    "lavfi",
    "-i",
    "color=red:s=64x48:r=25:d=1.48[a];color=blue:s=64x48:r=25:d=1.52[b];[a][b]concat",
    "-pix_fmt",
    "yuv420p",
];

fn timeline(frames_per_second: f64, scene_threshold: Option<f64>) -> Sampling {
    Sampling::Timeline {
        frames_per_second,
        scene_threshold,
    }
}

#[tokio::test]
async fn frames_are_taken_at_their_times() {
    let folder = tempfile::tempdir().unwrap();
    let clip = make_clip(folder.path(), "cut.mp4", &CUT);
    let ffmpeg = Ffmpeg::find(ClipLimits::default()).unwrap();
    let info = ffmpeg.probe(&clip).await.unwrap();
    assert_eq!(
        (info.width, info.height, info.duration_seconds),
        (64, 48, 3.0)
    );
    assert_eq!(
        (info.frames_per_second, info.codec.as_str()),
        (25.0, "h264")
    );

    let cases: [(Sampling, &[f64]); 5] = [
        (Sampling::First, &[0.0]),
        (Sampling::Spread { frames: 3 }, &[0.0, 1.0, 2.0]),
        (timeline(2.0, None), &[0.0, 0.5, 1.0, 1.5, 2.0, 2.5]),
        (timeline(0.5, Some(0.2)), &[0.0, 1.48]),
        (timeline(1.0, Some(0.2)), &[0.0, 1.0, 1.48, 2.48]),
    ];
    for (sampling, times) in cases {
        let frames: Vec<_> = ffmpeg
            .frames(&clip, &info, &sampling)
            .unwrap()
            .collect()
            .await;
        let frames: Vec<_> = frames.into_iter().map(Result::unwrap).collect();
        let found: Vec<_> = frames.iter().map(|frame| frame.at_seconds).collect();
        let near = |(a, b): (&f64, &f64)| (a - b).abs() < 0.041;
        assert!(
            found.len() == times.len() && found.iter().zip(times).all(near),
            "{sampling:?}: {found:?}"
        );
        for (index, frame) in frames.iter().enumerate() {
            assert_eq!(frame.index as usize, index);
            let red = frame.photo.pixels()[0] > 128;
            assert_eq!(red, frame.at_seconds < 1.47, "{} s", frame.at_seconds);
        }

        let jpegs = tempfile::tempdir().unwrap();
        let files = ffmpeg
            .extract(&clip, &sampling, jpegs.path())
            .await
            .unwrap();
        let times: Vec<_> = files.iter().map(|file| file.at_seconds).collect();
        assert_eq!(times, found);
        for file in files {
            let jpeg = std::fs::read(file.path).unwrap();
            let photo = photo::decode(&jpeg, &photo::DecodeLimits::default()).unwrap();
            assert_eq!((photo.width(), photo.height()), (64, 48));
        }
    }
}

#[tokio::test]
async fn more_frames_than_the_limit_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let clip = make_clip(folder.path(), "cut.mp4", &CUT);
    let limits = ClipLimits {
        max_clip_frames: 10,
        ..ClipLimits::default()
    };
    let ffmpeg = Ffmpeg::find(limits).unwrap();
    let info = ffmpeg.probe(&clip).await.unwrap();
    let frames = ffmpeg.frames(&clip, &info, &timeline(25.0, None)).unwrap();
    let frames: Vec<_> = frames.collect().await;
    assert_eq!(frames.len(), 11);
    let last = frames.last().unwrap();
    assert!(
        matches!(last, Err(VideoError::TooManyFrames(10))),
        "{last:?}"
    );
    let extracted = ffmpeg
        .extract(&clip, &timeline(25.0, None), folder.path())
        .await;
    assert!(
        matches!(extracted, Err(VideoError::TooManyFrames(10))),
        "{extracted:?}"
    );
}

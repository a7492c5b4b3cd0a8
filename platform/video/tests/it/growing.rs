use std::fs;

use futures::StreamExt;
use video::{ClipLimits, Ffmpeg, Sampling};

use crate::make_clip;

/// The head of a clip tells of small frames; large ones follow.
#[tokio::test]
async fn frames_that_grow_beyond_the_limit_are_not_decoded() {
    let folder = tempfile::tempdir().unwrap();
    let part = |name, source| {
        let options = ["-pix_fmt", "yuv420p", "-preset", "ultrafast"];
        let arguments = [&["-f", "lavfi", "-i", source][..], &options].concat();
        fs::read(make_clip(folder.path(), name, &arguments)).unwrap()
    };
    let small = part("small.ts", "testsrc=s=64x48:r=25:d=1");
    let large = part("large.ts", "testsrc=s=1280x720:r=25:d=0.4");
    let clip = folder.path().join("growing.ts");
    fs::write(&clip, [small, large].concat()).unwrap();

    let mut counts = Vec::new();
    for max_clip_pixels in [1280 * 720, 640 * 480] {
        let limits = ClipLimits {
            max_clip_pixels,
            ..ClipLimits::default()
        };
        let ffmpeg = Ffmpeg::find(limits).unwrap();
        let info = ffmpeg.probe(&clip).await.unwrap();
        assert_eq!((info.width, info.height), (64, 48));
        let sampling = Sampling::Timeline {
            frames_per_second: 1000.0,
            scene_threshold: None,
        };
        let frames = ffmpeg.frames(&clip, &info, &sampling).unwrap();
        let frames: Vec<_> = frames.collect().await;
        let is_small = |frame: &video::Frame| frame.photo.width() == 64;
        assert!(frames.iter().all(|frame| is_small(frame.as_ref().unwrap())));
        counts.push(frames.len());
    }
    // At the seam FFmpeg may lose a frame.
    let [both, first] = counts[..] else {
        unreachable!("two limits")
    };
    assert!(both > 30 && (20..=26).contains(&first), "{both}, {first}");
}

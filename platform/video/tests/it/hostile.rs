//! Each row of the table in the crate's documentation.

use std::path::{Path, PathBuf};
use std::time::Duration;

use futures::StreamExt;
use tempfile::TempDir;
use video::{ClipLimits, Ffmpeg, Frame, Sampling, VideoError};

use crate::make_clip;

/// Two frames for each second.
const TWICE: Sampling = Sampling::Timeline {
    frames_per_second: 2.0,
    scene_threshold: None,
};

/// Returns FFmpeg's arguments for a gray picture of so many seconds with 25 frames each, in this size.
fn gray<'a>(source: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    [
        &["-f", "lavfi", "-i", source],
        more,
        &["-pix_fmt", "yuv420p"],
    ]
    .concat()
}

async fn frames(limits: ClipLimits, clip: &Path) -> Result<Vec<Frame>, VideoError> {
    let ffmpeg = Ffmpeg::find(limits)?;
    let info = ffmpeg.probe(clip).await?;
    let frames = ffmpeg.frames(clip, &info, &TWICE)?;
    let frames: Vec<_> = frames.collect().await;
    frames.into_iter().collect()
}

/// Takes frames in both ways, which have to agree, and returns how many there are or why there are none.
async fn outcome(limits: ClipLimits, clip: &Path) -> Result<usize, VideoError> {
    let streamed = frames(limits, clip).await.map(|frames| frames.len());
    let folder = tempfile::tempdir().unwrap();
    let ffmpeg = Ffmpeg::find(limits).unwrap();
    let extracted = ffmpeg.extract(clip, &TWICE, folder.path()).await;
    let written = std::fs::read_dir(folder.path()).unwrap().count();
    match (&streamed, &extracted) {
        (Ok(count), Ok(files)) => {
            assert_eq!((*count, *count), (files.len(), written));
        }
        (Err(one), Err(other)) => assert_eq!(one.to_string(), other.to_string()),
        both => panic!("{both:?}"),
    }
    streamed
}

/// Takes frames within the default limits.
async fn taken(clip: &Path) -> Result<usize, VideoError> {
    outcome(ClipLimits::default(), clip).await
}

fn write(folder: &TempDir, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
    let path = folder.path().join(name);
    std::fs::write(&path, content).unwrap();
    path
}

#[tokio::test]
async fn a_clip_that_breaks_off_is_used_up_to_there_and_one_without_a_header_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let source = gray("testsrc2=s=160x120:r=25:d=4", &["-g", "10", "-bf", "0"]);
    // The header of an MP4 is at its end, unless it is made to be streamed.
    for (name, more, is_used) in [
        ("a.mp4", &[][..], false),
        ("b.mp4", &["-movflags", "+faststart"][..], true),
        ("c.mkv", &[][..], true),
    ] {
        let whole = make_clip(folder.path(), name, &[&source[..], more].concat());
        assert_eq!(taken(&whole).await.unwrap(), 8, "{name}");
        let bytes = std::fs::read(whole).unwrap();
        let half = write(&folder, name, &bytes[..bytes.len() / 2]);
        match taken(&half).await {
            Ok(count) => assert!(is_used && (2..8).contains(&count), "{name}: {count}"),
            Err(error) => assert!(
                !is_used && matches!(error, VideoError::NotAClip(_)) && error.is_permanent(),
                "{name}: {error}"
            ),
        }
    }
}

#[tokio::test]
async fn files_that_are_no_clips_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let secret = write(&folder, "secret.txt", "secret");
    let clip = make_clip(folder.path(), "a.mp4", &gray("color=gray:s=64x48:d=1", &[]));
    let (clip, secret) = (clip.display(), secret.display());
    let playlist =
        format!("#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{clip}\n#EXT-X-ENDLIST\n");
    let elsewhere = "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nhttp://127.0.0.1:9/a.ts\n";
    let files: [(&str, Vec<u8>); 8] = [
        ("empty.mp4", vec![]),
        ("text.mp4", b"no clip at all\n".repeat(100)),
        ("playlist.m3u8", playlist.clone().into()),
        ("playlist.mp4", playlist.into()),
        ("elsewhere.mp4", elsewhere.into()),
        (
            "list.mp4",
            format!("ffconcat version 1.0\nfile '{clip}'\n").into(),
        ),
        (
            "session.mp4",
            "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nm=video 9 RTP/AVP 96\n".into(),
        ),
        (
            "subtitle.mp4",
            format!("1\n00:00:00,000 --> 00:00:01,000\n{secret}\n").into(),
        ),
    ];
    for (name, content) in files {
        let file = write(&folder, name, content);
        let refused = taken(&file).await;
        assert!(
            matches!(refused, Err(VideoError::NotAClip(_))),
            "{name}: {refused:?}"
        );
    }
}

#[tokio::test]
async fn a_clip_without_pictures_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let sound = ["-f", "lavfi", "-i", "sine=d=1"];
    let clip = make_clip(folder.path(), "sound.mp4", &sound);
    let refused = taken(&clip).await;
    assert!(matches!(refused, Err(VideoError::NoPicture)), "{refused:?}");

    // A cover is no picture of a clip.
    let cover = make_clip(
        folder.path(),
        "cover.png",
        &["-f", "lavfi", "-i", "color=red:s=64x48", "-frames:v", "1"],
    );
    let cover = cover.display().to_string();
    let more = [
        "-i",
        &cover,
        "-map",
        "0",
        "-map",
        "1",
        "-c:v",
        "copy",
        "-disposition:v:0",
        "attached_pic",
    ];
    let clip = make_clip(folder.path(), "cover.mp4", &[&sound[..], &more].concat());
    let refused = taken(&clip).await;
    assert!(matches!(refused, Err(VideoError::NoPicture)), "{refused:?}");

    // A stream of pictures that has none.
    let more = ["-frames:v", "0", "-c:v", "mpeg4"];
    let source = gray("color=gray:s=64x48:d=1", &more);
    let clip = make_clip(folder.path(), "none.avi", &source);
    let refused = taken(&clip).await;
    assert!(matches!(refused, Err(VideoError::NoFrames)), "{refused:?}");
}

#[tokio::test]
async fn limits_are_checked_before_a_clip_is_decoded() {
    let folder = tempfile::tempdir().unwrap();
    // 8K.
    let source = gray("color=gray:s=7680x4320:r=1:d=1", &["-c:v", "mpeg4"]);
    let large = make_clip(folder.path(), "8k.mp4", &source);
    let refused = taken(&large).await;
    assert!(
        matches!(
            refused,
            Err(VideoError::TooManyPixels {
                width: 7680,
                height: 4320,
                ..
            })
        ),
        "{refused:?}"
    );

    let source = gray("color=gray:s=64x48:r=25:d=3", &[]);
    let clip = make_clip(folder.path(), "a.mp4", &source);
    let limits = ClipLimits {
        max_clip_duration: Duration::from_secs(2),
        ..ClipLimits::default()
    };
    let refused = outcome(limits, &clip).await;
    assert!(
        matches!(refused, Err(VideoError::TooLong { .. })),
        "{refused:?}"
    );
    let limits = ClipLimits {
        max_clip_bytes: 100,
        ..ClipLimits::default()
    };
    let refused = outcome(limits, &clip).await;
    assert!(
        matches!(refused, Err(VideoError::TooLarge { limit: 100, .. })),
        "{refused:?}"
    );
}

#[tokio::test]
async fn ten_thousand_frames_are_sampled_or_refused_and_dropping_the_stream_ends_ffmpeg() {
    let folder = tempfile::tempdir().unwrap();
    let source = gray("color=gray:s=16x16:r=500:d=20", &["-c:v", "mpeg4"]);
    let clip = make_clip(folder.path(), "many.mp4", &source);
    assert_eq!(taken(&clip).await.unwrap(), 40);

    let every = Sampling::Timeline {
        frames_per_second: 1000.0,
        scene_threshold: None,
    };
    let limits = ClipLimits {
        max_clip_frames: 1000,
        ..ClipLimits::default()
    };
    let ffmpeg = Ffmpeg::find(limits).unwrap();
    let info = ffmpeg.probe(&clip).await.unwrap();
    let frames: Vec<_> = ffmpeg.frames(&clip, &info, &every).unwrap().collect().await;
    assert!(frames[..1000].iter().all(Result::is_ok));
    assert!(matches!(
        frames[1000..],
        [Err(VideoError::TooManyFrames(1000))]
    ));

    let mut frames = ffmpeg.frames(&clip, &info, &every).unwrap();
    assert!(frames.next().await.unwrap().is_ok());
    drop(frames);
    let is_running = || {
        let processes = std::fs::read_dir("/proc").unwrap().flatten();
        let lines = processes.filter_map(|it| std::fs::read(it.path().join("cmdline")).ok());
        let name = clip.as_os_str().as_encoded_bytes();
        lines
            .into_iter()
            .any(|line| line.windows(name.len()).any(|part| part == name))
    };
    let ended = async {
        while is_running() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let ended = tokio::time::timeout(Duration::from_secs(10), ended).await;
    ended.expect("ffmpeg is killed");
}

#[tokio::test]
async fn time_and_memory_are_limited() {
    let folder = tempfile::tempdir().unwrap();
    let source = gray("testsrc2=s=640x480:r=25:d=20", &["-preset", "ultrafast"]);
    let clip = make_clip(folder.path(), "a.mp4", &source);
    let slow = ClipLimits {
        max_clip_time: Duration::from_millis(1),
        ..ClipLimits::default()
    };
    let refused = frames(slow, &clip).await;
    assert!(
        matches!(refused, Err(VideoError::TimedOut(_))),
        "{refused:?}"
    );
    let small = ClipLimits {
        max_clip_memory: 1 << 20,
        ..ClipLimits::default()
    };
    let ffmpeg = Ffmpeg::find(ClipLimits::default()).unwrap();
    let info = ffmpeg.probe(&clip).await.unwrap();
    let ffmpeg = Ffmpeg::find(small).unwrap();
    let every = Sampling::Timeline {
        frames_per_second: 25.0,
        scene_threshold: None,
    };
    let frames: Vec<_> = ffmpeg.frames(&clip, &info, &every).unwrap().collect().await;
    let last = frames.last().unwrap();
    assert!(matches!(last, Err(VideoError::OutOfMemory(_))), "{last:?}");
}

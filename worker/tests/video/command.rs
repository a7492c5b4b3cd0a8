//! `worker video`, as it is called.

use std::path::Path;
use std::process::{Command, Output};

use proto::v1::Timeline;
use tempfile::TempDir;

use crate::{common, make_clip, shot};

/// Runs the command in a folder on a clip. The gallery is `gallery.safetensors` in the folder.
fn worker_video(folder: &Path, clip: &str, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_worker"))
        .arg("video")
        .args(["--engine", "native", "--gallery", "gallery.safetensors"])
        .arg("--models")
        .arg(common::bundle())
        .args(arguments)
        .args(["--", clip])
        .current_dir(folder)
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn the_command_writes_the_timeline_and_the_contact_sheet() {
    let folder = TempDir::new().unwrap();
    let gallery = common::enrolled_recognizer();
    let gallery = gallery.gallery();
    gallery
        .save(&folder.path().join("gallery.safetensors"))
        .unwrap();
    let shots = [
        shot(&["ben_afflek", "madonna"], 1.2),
        shot(&["mindy_kaling"], 1.2),
    ];
    // A name that looks like an option, and has what FFmpeg takes for a protocol and a pattern.
    let clip = "-x:%d.mp4";
    make_clip(folder.path(), clip, &shots);

    let written = worker_video(
        folder.path(),
        clip,
        &["--json", "a.json", "--sheet", "a.png", "--scene", "0.3"],
    );
    assert!(written.status.success(), "{}", text(&written.stderr));
    let json = std::fs::read_to_string(folder.path().join("a.json")).unwrap();
    let timeline: Timeline = proto::decode(&json).unwrap();
    assert_eq!(timeline.clip, clip);
    let names: Vec<_> = timeline.tracks.iter().map(|it| it.name.as_str()).collect();
    assert_eq!(names, ["ben_afflek", "madonna", "mindy_kaling"]);
    let lines = text(&written.stdout);
    assert!(lines.lines().count() == 3 && lines.contains("mindy_kaling"));

    let sheet = image::open(folder.path().join("a.png")).unwrap().to_rgb8();
    // Three cells beside each other. Their pictures are no blank.
    assert!(sheet.width() > 3 * 192 && sheet.height() > 192);
    for cell in 0..3 {
        let picture = (0..192).map(|at| sheet.get_pixel(36 + cell * 232 + at, 126 + at));
        let colors: std::collections::BTreeSet<_> = picture.map(|it| it.0).collect();
        assert!(colors.len() > 50, "{}", colors.len());
    }

    // Without --json, standard output has the timeline and nothing else.
    let printed = worker_video(folder.path(), clip, &["--scene", "0.3"]);
    assert!(printed.status.success(), "{}", text(&printed.stderr));
    assert_eq!(text(&printed.stdout), json);
}

#[test]
fn a_file_that_is_no_clip_and_limits_fail_with_a_reason() {
    let folder = TempDir::new().unwrap();
    std::fs::write(folder.path().join("no.mp4"), "no clip").unwrap();
    let refused = worker_video(folder.path(), "no.mp4", &[]);
    assert!(!refused.status.success());
    let reason = text(&refused.stderr);
    assert!(
        reason.contains("no.mp4: the file is not a clip"),
        "{reason}"
    );
    assert!(refused.stdout.is_empty());

    let missing = worker_video(folder.path(), "missing.mp4", &[]);
    assert!(text(&missing.stderr).contains("missing.mp4: the clip cannot be read"));

    make_clip(folder.path(), "long.mp4", &[shot(&[], 2.0)]);
    let long = worker_video(folder.path(), "long.mp4", &["--max-clip-duration", "1s"]);
    let reason = text(&long.stderr);
    assert!(reason.contains("at most 1 s are accepted"), "{reason}");
}

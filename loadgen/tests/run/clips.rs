//! Clips of known people, made by FFmpeg.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use clap::Parser;
use loadgen::cli::Cli;
use serde_json::Value;

#[tokio::test]
async fn clips_have_their_length_and_say_who_is_seen_when() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("clips");
    let photos = testkit::samples::photos().join("val");
    let make = || {
        let arguments = [
            "loadgen",
            "clips",
            "--kinds",
            "pan,cut,pair,nobody,gap",
            "--count",
            "5",
        ];
        let arguments = arguments
            .into_iter()
            .chain(["--seconds", "0.6", "--size", "320x180"]);
        let folders = [
            "--photos",
            photos.to_str().unwrap(),
            "--out",
            out.to_str().unwrap(),
        ];
        loadgen::execute(Cli::parse_from(arguments.chain(folders)))
    };
    assert!(make().await.unwrap());

    let truth = std::fs::read_to_string(out.join("clips.json")).unwrap();
    let truth: Vec<Value> = serde_json::from_str(&truth).unwrap();
    let seen: BTreeMap<_, Vec<usize>> = truth
        .iter()
        .map(|clip| {
            let shots = clip["shots"].as_array().unwrap().iter();
            let people = shots.map(|shot| shot["people"].as_array().unwrap().len());
            (clip["clip"].as_str().unwrap().to_owned(), people.collect())
        })
        .collect();
    let expected = [vec![1], vec![1, 1, 1], vec![2], vec![0], vec![1, 0, 1]];
    assert_eq!(seen.values().cloned().collect::<Vec<_>>(), expected);
    for clip in seen.keys() {
        assert_eq!(length(&out.join(clip)), 0.6, "{clip}");
    }
    let names = std::fs::read_to_string(out.join("clips.csv")).unwrap();
    assert_eq!(
        names.lines().skip(1).collect::<Vec<_>>(),
        ["test_00,ben_afflek"]
    );

    let again = make().await.unwrap_err().to_string();
    assert!(again.contains("is not empty"), "{again}");
}

/// Seconds, by ffprobe.
fn length(clip: &Path) -> f64 {
    let output = Command::new("ffprobe")
        .args([
            "-v",
            "error",
            "-show_entries",
            "format=duration",
            "-of",
            "csv=p=0",
        ])
        .arg(clip)
        .output()
        .expect("ffprobe is installed: run make setup");
    String::from_utf8(output.stdout)
        .unwrap()
        .trim()
        .parse()
        .unwrap()
}

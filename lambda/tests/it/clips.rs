//! Clips of sample photos, and such as hostile clients make.

use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

use loadgen::clips::{Portrait, Shot, Size, render};

const SIZE: Size = Size {
    width: 320,
    height: 240,
};

/// A clip of people who are seen one after the other for a second each; "" stands for no person.
pub fn of(people: &[&str]) -> Vec<u8> {
    let photos = testkit::samples::validation_photos();
    let shots: Vec<_> = people
        .iter()
        .map(|name| Shot {
            people: photos
                .iter()
                .find(|(person, _)| person == name)
                .map(|(name, photo)| Portrait {
                    name: name.clone(),
                    photo: photo.clone(),
                })
                .into_iter()
                .collect(),
            seconds: 1.0,
        })
        .collect();
    let file = folder().join(format!("{}.mp4", people.join("-")));
    // Tests run side by side.
    let own = tempfile::tempdir_in(folder()).unwrap();
    let rendered = own.path().join("clip.mp4");
    if !file.exists() {
        render(&shots, SIZE, &rendered).unwrap();
        std::fs::rename(&rendered, &file).unwrap();
    }
    std::fs::read(file).unwrap()
}

/// The clip that FFmpeg makes with these arguments.
pub fn made_by_ffmpeg(arguments: &str) -> Vec<u8> {
    let own = tempfile::tempdir_in(folder()).unwrap();
    let out = own.path().join("clip.mp4");
    let made = Command::new("ffmpeg")
        .args(["-nostdin", "-loglevel", "error"])
        .args(arguments.split(' '))
        .arg(&out)
        .status();
    assert!(made.unwrap().success(), "{arguments}");
    std::fs::read(out).unwrap()
}

fn folder() -> &'static Path {
    static FOLDER: OnceLock<tempfile::TempDir> = OnceLock::new();
    FOLDER.get_or_init(|| tempfile::tempdir().unwrap()).path()
}

//! Clips of people at known times: `loadgen::clips` makes them from the sample photos, and the worker names the people.

#![allow(clippy::unwrap_used)]

mod command;
#[path = "../common/mod.rs"]
mod common;
mod timelines;

use std::path::Path;

use loadgen::clips::{ClipTruth, Portrait, Shot, Size, render};

/// The size of the frames.
pub const SIZE: Size = Size {
    width: 320,
    height: 240,
};

/// A validation photo of a person, by its number.
pub fn portrait(name: &str, number: usize) -> Portrait {
    let mut photos = testkit::samples::validation_photos().into_iter();
    let (name, photo) = photos
        .by_ref()
        .filter(|(person, _)| person == name)
        .nth(number)
        .expect("a validation photo");
    Portrait { name, photo }
}

/// People side by side for so many seconds.
pub fn shot(people: &[&str], seconds: f64) -> Shot {
    Shot {
        people: people.iter().map(|name| portrait(name, 0)).collect(),
        seconds,
    }
}

pub fn make_clip(folder: &Path, name: &str, shots: &[Shot]) -> ClipTruth {
    render(shots, SIZE, &folder.join(name)).expect("ffmpeg makes the clip: run make setup")
}

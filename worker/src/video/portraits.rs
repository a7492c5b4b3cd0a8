//! The best picture of each person in a clip, cut out of its frame.

use std::collections::BTreeMap;

use proto::v1::{Sighting, Timeline, Track};
use tokio_stream::StreamExt;
use video::VideoError;

use super::Watched;
use crate::vision::crop::{FaceCrop, crop_face};
use crate::vision::{BoundingBox, UNKNOWN};

/// A person of the clip, with all times at which they are seen. Each unknown face that was followed is a person of its own.
#[derive(Debug, Clone, PartialEq)]
pub struct Portrait {
    pub name: String,
    /// Begin and end, in seconds, in their order.
    pub seen: Vec<(f64, f64)>,
    pub best: Sighting,
    /// The face of `best` with what is around it. `None` if the frame was not found again.
    pub picture: Option<FaceCrop>,
}

/// Returns the people of a timeline in the order in which they appear, without pictures.
pub fn people(timeline: &Timeline) -> Vec<Portrait> {
    let mut people: Vec<Portrait> = Vec::new();
    let mut by_name: BTreeMap<&str, usize> = BTreeMap::new();
    for track in &timeline.tracks {
        let Track {
            name,
            from_seconds,
            to_seconds,
            best: Some(best),
            ..
        } = track
        else {
            continue;
        };
        let seen = (*from_seconds, *to_seconds);
        match by_name.get(name.as_str()) {
            Some(index) => {
                let person = &mut people[*index];
                person.seen.push(seen);
                if area(best) > area(&person.best) {
                    person.best = best.clone();
                }
            }
            None => {
                if name != UNKNOWN {
                    by_name.insert(name, people.len());
                }
                people.push(Portrait {
                    name: name.clone(),
                    seen: vec![seen],
                    best: best.clone(),
                    picture: None,
                });
            }
        }
    }
    people
}

/// Decodes the clip again up to the last of the best frames, and cuts out the faces, `size` x `size` pixels each.
///
/// # Errors
/// As [`video::Ffmpeg::frames`], and those that the stream gives.
pub async fn add_pictures(
    watched: Watched<'_>,
    people: &mut [Portrait],
    size: usize,
) -> Result<(), VideoError> {
    let Some(last) = people.iter().map(|person| person.best.frame).max() else {
        return Ok(());
    };
    let mut frames = watched.frames()?;
    while let Some(frame) = frames.next().await {
        let frame = frame?;
        for person in people.iter_mut().filter(|it| it.best.frame == frame.index) {
            let (width, height) = (frame.photo.width() as f32, frame.photo.height() as f32);
            let around = surroundings(&person.best, width, height);
            person.picture = Some(crop_face(&frame.photo, &around, size, 0));
        }
        if frame.index >= last {
            break;
        }
    }
    Ok(())
}

/// Returns a square around the face with some of the hair and the shoulders, moved into the frame.
fn surroundings(sighting: &Sighting, width: f32, height: f32) -> BoundingBox {
    const AROUND: f32 = 1.6;
    let face = sighting.r#box.unwrap_or_default();
    let longer = (face.right - face.left).max(face.bottom - face.top);
    let side = (longer * AROUND).min(width).min(height).max(1.0);
    let place = |start: f32, end: f32, limit: f32| {
        ((start + end - side) / 2.0).clamp(0.0, (limit - side).max(0.0))
    };
    let left = place(face.left, face.right, width);
    let top = place(face.top, face.bottom, height);
    BoundingBox {
        left,
        top,
        right: left + side,
        bottom: top + side,
    }
}

fn area(sighting: &Sighting) -> f32 {
    let face = sighting.r#box.unwrap_or_default();
    (face.right - face.left) * (face.bottom - face.top)
}

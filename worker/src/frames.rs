//! All faces of a clip's frame.

use photo::Photo;
use proto::v1::{FrameFace, FrameFaces};

use crate::service::recognition;
use crate::vision::Recognizer;

/// Recognizes all faces of a frame, the largest first. `frame` is its number among those looked at.
pub fn recognize_frame(
    recognizer: &Recognizer,
    frame: u32,
    at_seconds: f64,
    photo: &Photo,
) -> FrameFaces {
    let faces = recognizer.recognize_all(photo).into_iter();
    let faces = faces.map(|face| FrameFace {
        recognition: Some(recognition(face.recognized)),
        embedding: face.embedding,
    });
    FrameFaces {
        frame,
        at_seconds,
        faces: faces.collect(),
        model: recognizer.description().name.clone(),
    }
}

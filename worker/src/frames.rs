//! The recognizer's results as messages: of a photo, and of all faces of a clip's frame.

use photo::Photo;
use proto::v1::{BoundingBox, Candidate, FrameFace, FrameFaces, Point, Recognition};

use crate::vision::{Recognized, Recognizer};

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

/// Returns the recognizer's result as a message.
pub fn recognition(recognized: Recognized) -> Recognition {
    let bounding_box = recognized.bounding_box;
    Recognition {
        name: recognized.name,
        distance: recognized.distance,
        confidence: recognized.face_probability,
        r#box: Some(BoundingBox {
            left: bounding_box.left,
            top: bounding_box.top,
            right: bounding_box.right,
            bottom: bounding_box.bottom,
        }),
        landmarks: recognized
            .landmarks
            .iter()
            .map(|p| Point { x: p.x, y: p.y })
            .collect(),
        model: recognized.model,
        nearest_name: recognized.nearest_name.unwrap_or_default(),
        threshold: recognized.threshold,
        candidates: recognized
            .candidates
            .into_iter()
            .map(|candidate| Candidate {
                name: candidate.name,
                distance: candidate.distance,
            })
            .collect(),
    }
}

//! Identification: is the nearest face of the same person, and is it near enough.

use std::fmt;

use serde::Serialize;

use super::face::{LabeledFace, distance};
use crate::enrol::{GALLERY_SPLIT, QUERY_SPLIT};
use crate::model::bundle::Distance;

/// `count` of `of`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Share {
    pub count: usize,
    pub of: usize,
}

/// Whether the threshold tells enrolled people from strangers.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct OpenSet {
    pub threshold: f32,
    /// Faces within the threshold of another face of their person, of those whose person has another.
    pub known_accepted: Share,
    /// Faces beyond the threshold of the faces of all other people, in a gallery without their own person.
    pub strangers_refused: Share,
}

impl fmt::Display for Share {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.count, self.of)
    }
}

/// Returns the share of faces of `val` that are named rightly by those of `train`; `None` if either is missing.
pub(super) fn validation(faces: &[LabeledFace]) -> Option<Share> {
    let of_split = |split: &'static str| {
        faces
            .iter()
            .filter(move |face| face.split.as_deref() == Some(split))
    };
    if of_split(GALLERY_SPLIT).next().is_none() || of_split(QUERY_SPLIT).next().is_none() {
        return None;
    }
    Some(share(of_split(QUERY_SPLIT).map(|face| {
        let (nearest, _) = nearest(face, of_split(GALLERY_SPLIT))?;
        Some(nearest.name == face.name)
    })))
}

/// Returns the share of faces that are named rightly by all others.
pub(super) fn leave_one_out(faces: &[LabeledFace]) -> Share {
    share(faces.iter().map(|face| {
        let (nearest, _) = nearest(face, others(faces, face))?;
        Some(nearest.name == face.name)
    }))
}

pub(super) fn open_set(faces: &[LabeledFace], threshold: f32, measure: Distance) -> OpenSet {
    let is_near = |face, gallery: &mut dyn Iterator<Item = &LabeledFace>| {
        nearest(face, gallery).map(|(_, distance)| measure.of_euclidean(distance) <= threshold)
    };
    OpenSet {
        threshold,
        known_accepted: share(faces.iter().map(|face| {
            let mut own = others(faces, face).filter(|other| other.name == face.name);
            is_near(face, &mut own)
        })),
        strangers_refused: share(faces.iter().map(|face| {
            let mut foreign = others(faces, face).filter(|other| other.name != face.name);
            is_near(face, &mut foreign).map(|near| !near)
        })),
    }
}

/// Counts `true` among the items that are not `None`.
fn share(results: impl Iterator<Item = Option<bool>>) -> Share {
    let mut share = Share { count: 0, of: 0 };
    for yes in results.flatten() {
        share.count += usize::from(yes);
        share.of += 1;
    }
    share
}

fn others<'a>(
    faces: &'a [LabeledFace],
    face: &'a LabeledFace,
) -> impl Iterator<Item = &'a LabeledFace> {
    faces
        .iter()
        .filter(move |other| !std::ptr::eq(*other, face))
}

fn nearest<'a>(
    face: &LabeledFace,
    gallery: impl Iterator<Item = &'a LabeledFace>,
) -> Option<(&'a LabeledFace, f32)> {
    gallery
        .map(|known| (known, distance(face, known)))
        .min_by(|(_, a), (_, b)| a.total_cmp(b))
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::faces;
    use super::*;

    #[test]
    fn validation_searches_train_only() {
        let split = faces(&[
            ("ann", "train", 0.0),
            ("bob", "train", 1.0),
            ("ann", "val", 0.4),
            ("ann", "val", 0.6),
            // Nearest to the wrongly named neighbor above, which is not in the gallery.
            ("bob", "val", 0.61),
        ]);
        assert_eq!(validation(&split), Some(Share { count: 2, of: 3 }));
    }

    #[test]
    fn validation_needs_both_splits() {
        assert_eq!(validation(&faces(&[("ann", "train", 0.0)])), None);
        assert_eq!(validation(&faces(&[("ann", "val", 0.0)])), None);
        assert_eq!(validation(&faces(&[("ann", "", 0.0)])), None);
    }

    #[test]
    fn a_face_is_never_its_own_neighbor() {
        let three = faces(&[("ann", "", 0.0), ("ann", "", 0.1), ("bob", "", 5.0)]);
        assert_eq!(leave_one_out(&three), Share { count: 2, of: 3 });
        assert_eq!(leave_one_out(&three[..1]), Share { count: 0, of: 0 });
    }

    #[test]
    fn open_set_leaves_out_faces_without_another_to_compare_with() {
        let three = faces(&[("ann", "", 0.0), ("ann", "", 0.5), ("bob", "", 0.75)]);
        let found = open_set(&three, 0.5, Distance::Euclidean);
        // Bob has no other photo. A distance equal to the threshold is accepted.
        assert_eq!(found.known_accepted, Share { count: 2, of: 2 });
        // Ann's second photo and Bob's lie 0.25 apart.
        assert_eq!(found.strangers_refused, Share { count: 1, of: 3 });
        let alone = open_set(&three[..2], 0.5, Distance::Euclidean);
        assert_eq!(alone.strangers_refused, Share { count: 0, of: 0 });
    }
}

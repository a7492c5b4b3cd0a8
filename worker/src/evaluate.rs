//! How well a model tells people apart, measured on photos whose names are known.

use serde::Serialize;

use self::naming::{leave_one_out, open_set, validation};
use self::verification::verification;
use crate::model::bundle::Distance;

mod face;
pub mod folder;
mod naming;
mod verification;

pub use self::face::LabeledFace;
pub use self::folder::{LabeledFolder, embed_folder};
pub use self::naming::{OpenSet, Share};
pub use self::verification::{AcceptRate, Accuracy, ErrorRate, Verification};

/// The result of [`evaluate`].
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Evaluation {
    pub faces: usize,
    pub people: usize,
    /// The measure of the threshold and of all distances below.
    pub distance: Distance,
    /// Faces of `val` that are nearest to a face of their own person in `train`; `None` if a split is missing.
    pub validation: Option<Share>,
    /// Faces whose nearest of all others is of the same person.
    pub leave_one_out: Share,
    /// `None` unless there are both pairs of one person and pairs of two.
    pub verification: Option<Verification>,
    pub open_set: OpenSet,
}

/// Measures how well the embeddings tell people apart. The threshold and all distances are measured by `distance`. A
/// distance equal to `threshold` is within it, as in recognition.
pub fn evaluate(faces: &[LabeledFace], threshold: f32, distance: Distance) -> Evaluation {
    let mut names: Vec<&str> = faces.iter().map(|face| face.name.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    Evaluation {
        faces: faces.len(),
        people: names.len(),
        distance,
        validation: validation(faces),
        leave_one_out: leave_one_out(faces),
        verification: verification(faces, distance),
        open_set: open_set(faces, threshold, distance),
    }
}

#[cfg(test)]
mod fixtures {
    use super::LabeledFace;

    /// Faces on a line: name, split and position.
    pub fn faces(rows: &[(&str, &str, f32)]) -> Vec<LabeledFace> {
        let face = |&(name, split, position): &(&str, &str, f32)| LabeledFace {
            name: name.to_owned(),
            split: (!split.is_empty()).then(|| split.to_owned()),
            embedding: vec![position],
        };
        rows.iter().map(face).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::fixtures::faces;
    use super::*;

    #[test]
    fn counts_faces_and_people_and_finds_nothing_in_nothing() {
        let two = evaluate(
            &faces(&[("ann", "", 0.0), ("bob", "", 1.0), ("ann", "", 0.1)]),
            0.5,
            Distance::Euclidean,
        );
        assert_eq!((two.faces, two.people), (3, 2));
        let none = evaluate(&[], 0.5, Distance::Euclidean);
        assert_eq!((none.faces, none.people), (0, 0));
        assert_eq!((none.validation, none.verification), (None, None));
        assert_eq!(none.leave_one_out, Share { count: 0, of: 0 });
    }
}

//! A face whose name is known.

use crate::vision::embed::Embedding;

/// The embedding of a photo of a known person.
#[derive(Debug, Clone, PartialEq)]
pub struct LabeledFace {
    pub name: String,
    /// The folder above the person's, one of `train` and `val`; `None` if photos are not split.
    pub split: Option<String>,
    pub embedding: Embedding,
}

/// Returns the Euclidean distance.
pub fn distance(face: &LabeledFace, other: &LabeledFace) -> f32 {
    let pairs = face.embedding.iter().zip(&other.embedding);
    pairs.map(|(a, b)| (a - b) * (a - b)).sum::<f32>().sqrt()
}

//! Known faces, and the search for the one that a face is nearest to.

pub mod codes;
mod file;
mod names;
mod parallel;
pub mod search;
mod storage;

use codes::{Codes, MAX_DIMENSION};
use names::NameList;
use search::{Match, Rows, SearchPlan};
use storage::Storage;

/// Rows from which a gallery has codes. Fewer are scanned in less time than a thread takes to wake up.
pub const CODED_ROWS: usize = 1024;

/// Names and embeddings; several rows may carry the same name.
#[derive(Debug, Clone, Default)]
pub struct Gallery {
    names: NameList,
    /// [rows, dimension]
    embeddings: Storage<f32>,
    /// Empty unless [`has_codes`].
    codes: Codes,
    dimension: usize,
}

/// The nearest row of a gallery.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Nearest<'a> {
    pub row: usize,
    pub name: &'a str,
    /// Euclidean distance, 0 to 2 between unit vectors.
    pub distance: f32,
}

impl Gallery {
    /// Returns an empty gallery for embeddings of so many numbers.
    pub fn new(dimension: usize) -> Self {
        Self {
            codes: Codes::new(dimension),
            dimension,
            ..Self::default()
        }
    }

    /// Adds a row.
    ///
    /// Panics if the embedding has another dimension than the gallery.
    pub fn push(&mut self, name: impl AsRef<str>, embedding: &[f32]) {
        assert_eq!(
            embedding.len(),
            self.dimension,
            "embeddings of one gallery have one dimension"
        );
        self.names.push(name.as_ref());
        self.embeddings.to_mut().extend_from_slice(embedding);
        if has_codes(self.len(), self.dimension) {
            let uncoded = if self.codes.bytes().is_empty() {
                0
            } else {
                self.len() - 1
            };
            for row in uncoded..self.len() {
                let embedding = &self.embeddings[row * self.dimension..][..self.dimension];
                self.codes.push(row, embedding);
            }
        }
    }

    pub fn len(&self) -> usize {
        self.names.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn dimension(&self) -> usize {
        self.dimension
    }

    /// Returns the name and embedding of each row.
    pub fn rows(&self) -> impl Iterator<Item = (&str, &[f32])> {
        self.names.iter().zip(self.embeddings().iter())
    }

    /// Returns the row with the smallest Euclidean distance in float32, the first of equals, or `None` if the gallery
    /// is empty. Several threads search a large gallery.
    ///
    /// Panics if the embedding has another dimension than the gallery.
    pub fn nearest(&self, embedding: &[f32]) -> Option<Nearest<'_>> {
        self.nearest_by(embedding, SearchPlan::for_codes(self.codes.bytes().len()))
    }

    /// As [`Self::nearest`], with these threads and instructions.
    pub fn nearest_by(&self, embedding: &[f32], plan: SearchPlan) -> Option<Nearest<'_>> {
        if self.is_empty() {
            return None;
        }
        assert_eq!(
            embedding.len(),
            self.dimension,
            "a query has the dimension of the gallery"
        );
        let rows = self.embeddings();
        let found = if self.codes.bytes().is_empty() {
            rows.nearest(embedding)
        } else {
            rows.nearest_by_codes(&self.codes, embedding, plan)
        };
        found.map(|Match { row, squared }| Nearest {
            row,
            name: self.names.get(row),
            distance: squared.sqrt(),
        })
    }

    fn embeddings(&self) -> Rows<'_> {
        Rows {
            embeddings: &self.embeddings,
            dimension: self.dimension,
        }
    }
}

/// Galleries are equal if their rows are, in memory or in a file.
impl PartialEq for Gallery {
    fn eq(&self, other: &Self) -> bool {
        self.dimension == other.dimension
            && self.names == other.names
            && self.embeddings[..] == other.embeddings[..]
    }
}

fn has_codes(rows: usize, dimension: usize) -> bool {
    rows >= CODED_ROWS && (1..=MAX_DIMENSION).contains(&dimension)
}

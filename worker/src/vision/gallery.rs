//! Known faces, and the search for the one that a face is nearest to.

pub mod codes;
mod file;
mod names;
mod nearest;
mod parallel;
pub mod search;
mod storage;

use codes::{Codes, MAX_DIMENSION};
use names::NameList;
use nearest::{Match, NearestList};
use search::{Rows, SearchPlan};
use storage::Storage;

/// Rows from which a gallery has codes. Fewer are scanned in less time than a thread takes to wake up.
pub const CODED_ROWS: usize = 1024;
/// The most identities that a search returns.
pub const MAX_CANDIDATES: usize = 3;

/// Names and embeddings; several rows may carry the same name.
#[derive(Debug, Clone, Default)]
pub struct Gallery {
    names: NameList,
    /// [rows, dimension]
    embeddings: Storage<f32>,
    /// Empty unless [`has_codes`].
    codes: Codes,
    /// A row of each of the first [`MAX_CANDIDATES`] identities, with which a search begins.
    first_identities: Vec<usize>,
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
        self.note_identity(self.len() - 1);
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
        self.nearest_identities(embedding, 1).into_iter().next()
    }

    /// Returns the identities with the smallest distances, nearest first, each by its nearest row: `count` of them, fewer
    /// if the gallery has fewer, and at most [`MAX_CANDIDATES`]. The first one is that of [`Self::nearest`].
    ///
    /// Panics if the embedding has another dimension than the gallery.
    pub fn nearest_identities(&self, embedding: &[f32], count: usize) -> Vec<Nearest<'_>> {
        let plan = SearchPlan::for_codes(self.codes.bytes().len());
        self.nearest_identities_by(embedding, count, plan)
    }

    /// As [`Self::nearest_identities`], with these threads and instructions.
    pub fn nearest_identities_by(
        &self,
        embedding: &[f32],
        count: usize,
        plan: SearchPlan,
    ) -> Vec<Nearest<'_>> {
        let count = count.min(self.first_identities.len());
        if count == 0 {
            return Vec::new();
        }
        assert_eq!(
            embedding.len(),
            self.dimension,
            "a query has the dimension of the gallery"
        );
        let rows = self.embeddings();
        let mut found = NearestList::new(count, &self.names);
        // The list is full from the beginning, so that it bounds what is worth a look also where further identities come late.
        for &row in &self.first_identities {
            found.offer(rows.measure(row, embedding));
        }
        let found = if self.codes.bytes().is_empty() {
            rows.nearest(found, embedding)
        } else {
            rows.nearest_by_codes(found, &self.codes, embedding, plan)
        };
        let nearest = |&Match { row, squared }: &Match| Nearest {
            row,
            name: self.names.get(row),
            distance: squared.sqrt(),
        };
        found.matches().iter().map(nearest).collect()
    }

    /// Adds a row to the first identities if there are too few and it is none of theirs.
    fn note_identity(&mut self, row: usize) {
        let name = self.names.get(row);
        let is_known = |&known: &usize| self.names.get(known) == name;
        if self.first_identities.len() < MAX_CANDIDATES
            && !self.first_identities.iter().any(is_known)
        {
            self.first_identities.push(row);
        }
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

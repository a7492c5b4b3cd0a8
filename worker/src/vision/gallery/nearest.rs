//! The nearest identities among the rows that a search has seen.

use super::names::NameList;

/// A row and its squared distance.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Match {
    pub row: usize,
    pub squared: f32,
}

impl Match {
    /// Returns whether the other match is better. It is not if one of the distances is NaN.
    pub fn loses_to(&self, other: &Self) -> bool {
        other.squared < self.squared || (other.squared == self.squared && other.row < self.row)
    }
}

/// The nearest rows of different identities, nearest first.
#[derive(Debug, Clone)]
pub struct NearestList<'a> {
    matches: Vec<Match>,
    most: usize,
    names: &'a NameList,
}

impl<'a> NearestList<'a> {
    pub fn new(most: usize, names: &'a NameList) -> Self {
        Self {
            matches: Vec::with_capacity(most),
            most,
            names,
        }
    }

    pub fn matches(&self) -> &[Match] {
        &self.matches
    }

    /// Returns the squared distance beyond which no row changes the list.
    pub fn limit(&self) -> f32 {
        match self.matches.last() {
            Some(last) if self.matches.len() == self.most => last.squared,
            _ => f32::INFINITY,
        }
    }

    /// Takes a row in if it is nearer than the last one of the list, and than the list's row of the same identity. Returns
    /// whether it did.
    #[inline]
    pub fn offer(&mut self, row: Match) -> bool {
        let is_full = self.matches.len() == self.most;
        let is_farther = self.matches.last().is_none_or(|last| !last.loses_to(&row));
        !(is_full && is_farther) && self.insert(row)
    }

    #[cold]
    fn insert(&mut self, row: Match) -> bool {
        let name = self.names.get(row.row);
        let same = |known: &Match| self.names.get(known.row) == name;
        match self.matches.iter().position(same) {
            Some(index) if self.matches[index].loses_to(&row) => drop(self.matches.remove(index)),
            Some(_) => return false,
            None if self.matches.len() == self.most => drop(self.matches.pop()),
            None => {}
        }
        let farther = self.matches.iter().position(|known| known.loses_to(&row));
        let index = farther.unwrap_or(self.matches.len());
        self.matches.insert(index, row);
        true
    }

    /// Takes in the rows of another list.
    pub fn merge(mut self, other: Self) -> Self {
        for &row in &other.matches {
            self.offer(row);
        }
        self
    }
}

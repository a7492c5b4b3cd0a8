//! Selects the instances of a Describe call.

use std::collections::BTreeSet;

use super::{Instance, Instances};
use crate::clock::Millis;
use crate::ec2::error::Ec2Result;

/// One page of a listing.
#[derive(Debug)]
pub struct Page<'a> {
    pub instances: Vec<&'a Instance>,
    /// The start of the next page, if there is one.
    pub next: Option<u64>,
}

impl Instances {
    /// Returns a page of the instances with these identifiers, or of all if there are none, that match.
    ///
    /// # Errors
    /// `InvalidInstanceID.NotFound`.
    pub fn select(
        &mut self,
        ids: &[String],
        matches: impl Fn(&Instance) -> bool,
        start_at: u64,
        page_size: usize,
        now: Millis,
    ) -> Ec2Result<Page<'_>> {
        self.remove_expired(now);
        self.check_exist(ids, now)?;
        let mut page = Page {
            instances: Vec::new(),
            next: None,
        };
        let named: BTreeSet<u64> = ids
            .iter()
            .filter_map(|id| self.sequence_of.get(id).copied())
            .collect();
        let candidates: Box<dyn Iterator<Item = &Instance>> = if ids.is_empty() {
            Box::new(self.by_sequence.range(start_at..).map(|(_, one)| one))
        } else {
            let named = named.range(start_at..);
            Box::new(named.filter_map(|sequence| self.by_sequence.get(sequence)))
        };
        for instance in candidates {
            if !instance.is_visible(now) || !matches(instance) {
                continue;
            }
            if page.instances.len() == page_size {
                page.next = Some(instance.sequence);
                break;
            }
            page.instances.push(instance);
        }
        Ok(page)
    }
}

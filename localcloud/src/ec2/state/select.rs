//! Which instances a Describe call is about.

use std::collections::BTreeSet;

use super::{Filter, Instance, Instances};
use crate::clock::Millis;
use crate::ec2::Ec2Error;

/// One page of a listing.
#[derive(Debug)]
pub struct Page<'a> {
    pub instances: Vec<&'a Instance>,
    /// Where the next page begins, if there is one.
    pub next: Option<u64>,
}

impl Instances {
    /// The instances with these identifiers (all, if none are given) that pass all filters, from `start_at` on and at
    /// most `page_size`. An unknown filter lets nothing pass; `check_filters` finds it.
    ///
    /// # Errors
    /// `InvalidInstanceID.NotFound`.
    pub fn describe(
        &mut self,
        ids: &[String],
        filters: &[Filter],
        start_at: u64,
        page_size: usize,
        now: Millis,
    ) -> Result<Page<'_>, Ec2Error> {
        let place = self.place.clone();
        let accepts = |instance: &Instance| {
            filters
                .iter()
                .all(|filter| filter.accepts(instance, &place))
        };
        self.select(ids, accepts, start_at, page_size, now)
    }

    /// As `describe`, with any condition.
    ///
    /// # Errors
    /// `InvalidInstanceID.NotFound`.
    pub fn select(
        &mut self,
        ids: &[String],
        accepts: impl Fn(&Instance) -> bool,
        start_at: u64,
        page_size: usize,
        now: Millis,
    ) -> Result<Page<'_>, Ec2Error> {
        self.forget(now);
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
            if !instance.is_known(now) || !accepts(instance) {
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

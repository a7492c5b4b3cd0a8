//! DescribeInstances.

pub(super) mod images;
pub(super) mod instance;
mod page;
mod status;
mod tags;

use super::Ec2;
use super::error::Ec2Result;
use super::params::Params;
use super::state::{INSTANCE_FILTERS, Instance};
use crate::xml::Xml;
use instance::reservation;
use page::PAGE_SIZES;
pub(super) use page::{PageRequest, token};

impl Ec2 {
    pub(super) fn describe_instances(&self, params: &Params, xml: &mut Xml) -> Ec2Result {
        let ids = params.instance_ids()?;
        let filters = params.filters(INSTANCE_FILTERS)?;
        let (start_at, page_size) =
            PageRequest::read_numbered(params, PAGE_SIZES, !ids.is_empty())?;
        let mut shared = self.lock();
        let now = self.clock.now();
        let selected = |instance: &Instance| {
            filters
                .iter()
                .all(|filter| filter.matches_instance(instance, &self.region))
        };
        let page = shared
            .instances
            .select(&ids, selected, start_at, page_size, now)?;
        let same_launch =
            |one: &&Instance, other: &&Instance| one.reservation_id == other.reservation_id;
        let reservations = page.instances.chunk_by(same_launch);
        xml.list("reservationSet", reservations, |xml, instances| {
            reservation(xml, instances, &self.region);
        });
        xml.optional("nextToken", page.next.map(token));
        Ok(())
    }
}

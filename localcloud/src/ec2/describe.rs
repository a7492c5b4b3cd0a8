//! DescribeInstances.

pub(super) mod images;
pub(super) mod instance;
mod page;
mod status;
mod tags;

use super::params::Params;
use super::state::{INSTANCE_FILTERS, Instance, check_filters};
use super::{Ec2, Ec2Error};
use crate::xml::Xml;
use instance::reservation;
use page::USUAL_SIZES;
pub(super) use page::{PageRequest, token};

impl Ec2 {
    pub(super) fn describe_instances(
        &self,
        params: &Params,
        request_id: &str,
    ) -> Result<String, Ec2Error> {
        let ids = params.instance_ids()?;
        let filters = params.filters()?;
        check_filters(&filters, INSTANCE_FILTERS)?;
        let (start_at, page_size) =
            PageRequest::read_numbered(params, USUAL_SIZES, !ids.is_empty())?;
        let mut shared = self.lock();
        let page =
            shared
                .instances
                .describe(&ids, &filters, start_at, page_size, self.clock.now())?;
        Ok(Xml::response("DescribeInstances", request_id, |xml| {
            let same =
                |one: &&Instance, other: &&Instance| one.reservation_id == other.reservation_id;
            xml.list(
                "reservationSet",
                page.instances.chunk_by(same),
                |xml, instances| {
                    reservation(xml, instances, &self.place);
                },
            );
            xml.optional("nextToken", page.next.map(token));
        }))
    }
}

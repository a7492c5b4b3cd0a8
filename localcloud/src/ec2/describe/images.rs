//! DescribeImages.

use super::super::{Ec2, Ec2Error, Params};
use crate::config::Image;
use crate::sqs::state::ACCOUNT_ID;
use crate::xml::Xml;

impl Ec2 {
    pub(in crate::ec2) fn describe_images(
        &self,
        params: &Params,
        request_id: &str,
    ) -> Result<String, Ec2Error> {
        let ids = params.list("ImageId");
        if let Some(unknown) = ids.iter().find(|id| self.image(id).is_none()) {
            return Err(Ec2Error::ImageNotFound(unknown.clone()));
        }
        let filters = params.filters()?;
        let mut images = Vec::new();
        for image in self
            .images
            .iter()
            .filter(|image| ids.is_empty() || ids.contains(&image.id))
        {
            let mut accepted = true;
            for filter in &filters {
                accepted &= match filter.name.as_str() {
                    "image-id" => filter.matches(&image.id),
                    "name" => filter.matches(name(image)),
                    "state" => filter.matches("available"),
                    "owner-id" => filter.matches(ACCOUNT_ID),
                    "architecture" => filter.matches("x86_64"),
                    other => return Err(Ec2Error::InvalidFilter(other.to_owned())),
                };
            }
            if accepted {
                images.push(image);
            }
        }
        Ok(Xml::response("DescribeImages", request_id, |xml| {
            xml.list("imagesSet", images, |xml, image| {
                xml.text("imageId", &image.id);
                xml.text("imageLocation", format!("{ACCOUNT_ID}/{}", name(image)));
                xml.text("imageState", "available");
                xml.text("imageOwnerId", ACCOUNT_ID);
                xml.text("isPublic", false);
                xml.text("architecture", "x86_64");
                xml.text("imageType", "machine");
                xml.text("name", name(image));
                xml.text("description", image.command.join(" "));
                xml.text("rootDeviceType", "ebs");
                xml.text("virtualizationType", "hvm");
                xml.text("hypervisor", "xen");
            });
        }))
    }
}

fn name(image: &Image) -> &str {
    image.name.as_deref().unwrap_or(&image.id)
}

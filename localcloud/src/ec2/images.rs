//! Images: RegisterImage and DeregisterImage.

use std::collections::{BTreeMap, HashMap};

use serde::Deserialize;

use super::identifier::identifier;
use super::params::Params;
use super::state::{Tags, check_tag_count};
use super::{Ec2, Ec2Error, Ec2Result};
use crate::account::ACCOUNT_ID;
use crate::clock::Millis;
use crate::config::Image;
use crate::xml::Xml;

/// The images of one account, in the order of their registration.
#[derive(Debug, Default)]
pub struct Images {
    by_sequence: BTreeMap<u64, ImageRecord>,
    sequence_of: HashMap<String, u64>,
    next_sequence: u64,
}

/// An image and its description.
#[derive(Debug, Clone)]
pub struct ImageRecord {
    pub image: Image,
    pub sequence: u64,
    pub location: String,
    pub description: Option<String>,
    pub tags: Tags,
    pub created: Millis,
    /// A deregistered image stays: its instances can still be started.
    pub registered: bool,
}

/// The JSON in ImageLocation: a command, alone or with environment variables.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Manifest {
    Command(Vec<String>),
    Full(FullManifest),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct FullManifest {
    command: Vec<String>,
    #[serde(default)]
    env: BTreeMap<String, String>,
}

impl Images {
    /// Returns the images of the configuration.
    pub fn configured(images: Vec<Image>, now: Millis) -> Self {
        let mut all = Self::default();
        for image in images {
            let name = image.name.clone().unwrap_or_else(|| image.id.clone());
            let record = ImageRecord {
                location: format!("{ACCOUNT_ID}/{name}"),
                description: Some(image.command.join(" ")),
                image,
                sequence: 0,
                tags: Tags::new(),
                created: now,
                registered: true,
            };
            all.add(record);
        }
        all
    }

    fn add(&mut self, mut record: ImageRecord) {
        record.sequence = self.next_sequence;
        self.sequence_of
            .insert(record.image.id.clone(), record.sequence);
        self.by_sequence.insert(record.sequence, record);
        self.next_sequence += 1;
    }

    /// Returns an image, deregistered or not.
    pub fn get(&self, id: &str) -> Option<&ImageRecord> {
        self.by_sequence.get(self.sequence_of.get(id)?)
    }

    /// Returns an image that is registered.
    ///
    /// # Errors
    /// `InvalidAMIID.Malformed`, `InvalidAMIID.NotFound`, `InvalidAMIID.Unavailable` after it was deregistered.
    pub fn registered(&self, id: &str) -> Ec2Result<&ImageRecord> {
        match self.get(id) {
            Some(record) if record.registered => Ok(record),
            Some(_) => Err(Ec2Error::ImageUnavailable(id.to_owned())),
            None if id.starts_with("ami-") => Err(Ec2Error::ImageNotFound(id.to_owned())),
            None => Err(Ec2Error::ImageMalformed(id.to_owned())),
        }
    }

    /// Returns all images that are registered.
    pub fn all_registered(&self) -> impl Iterator<Item = &ImageRecord> {
        self.by_sequence.values().filter(|record| record.registered)
    }

    /// As `registered`, to change the image.
    ///
    /// # Errors
    /// As `registered`.
    pub fn registered_mut(&mut self, id: &str) -> Ec2Result<&mut ImageRecord> {
        let sequence = self.registered(id)?.sequence;
        self.by_sequence
            .get_mut(&sequence)
            .ok_or_else(|| Ec2Error::ImageNotFound(id.to_owned()))
    }
}

impl ImageRecord {
    /// Returns the image's name. The default is its identifier.
    pub fn name(&self) -> &str {
        self.image.name.as_deref().unwrap_or(&self.image.id)
    }
}

impl Ec2 {
    /// ImageLocation is the manifest itself, as JSON. In AWS it is the location of a manifest in S3.
    pub(super) fn register_image(&self, params: &Params, xml: &mut Xml) -> Ec2Result {
        let name = params.required("Name")?.to_owned();
        if !is_image_name(&name) {
            return Err(Ec2Error::ImageNameMalformed);
        }
        let location = params.required("ImageLocation")?;
        let (command, env) = read_manifest(location)?;
        let tags = params.tag_specification("image")?;
        check_tag_count(&Tags::new(), &tags)?;
        let mut shared = self.lock();
        let taken = shared
            .images
            .all_registered()
            .find(|record| record.name() == name);
        if let Some(taken) = taken {
            let id = taken.image.id.clone();
            return Err(Ec2Error::ImageNameTaken { name, id });
        }
        let id = identifier("ami-");
        shared.images.add(ImageRecord {
            image: Image {
                id: id.clone(),
                name: Some(name),
                command,
                env,
                user_data_env: Vec::new(),
            },
            sequence: 0,
            location: location.to_owned(),
            description: params.owned("Description"),
            tags,
            created: self.clock.now(),
            registered: true,
        });
        xml.text("imageId", id);
        Ok(())
    }

    pub(super) fn deregister_image(&self, params: &Params, xml: &mut Xml) -> Ec2Result {
        let id = params.required("ImageId")?;
        let mut shared = self.lock();
        let record = shared.images.registered_mut(id)?;
        record.registered = false;
        record.tags.clear();
        xml.text("return", true);
        Ok(())
    }
}

fn is_image_name(name: &str) -> bool {
    (3..=128).contains(&name.len())
        && name
            .chars()
            .all(|letter| letter.is_ascii_alphanumeric() || "()[] ./-'@_".contains(letter))
}

fn read_manifest(location: &str) -> Ec2Result<(Vec<String>, BTreeMap<String, String>)> {
    let (command, env) = match serde_json::from_str(location) {
        Ok(Manifest::Command(command)) => (command, BTreeMap::new()),
        Ok(Manifest::Full(manifest)) => (manifest.command, manifest.env),
        Err(_) => (Vec::new(), BTreeMap::new()),
    };
    let has_nul = |text: &String| text.contains('\0');
    let unusable = command.iter().any(has_nul)
        || env
            .iter()
            .any(|(name, value)| name.is_empty() || name.contains(['=', '\0']) || has_nul(value));
    if command.is_empty() || unusable {
        return Err(Ec2Error::InvalidManifest(
            r#"localcloud reads ImageLocation as JSON: ["PROGRAM", "ARGUMENT"] or {"command": ["PROGRAM"], "env": {"NAME": "VALUE"}}"#
                .to_owned(),
        ));
    }
    Ok((command, env))
}

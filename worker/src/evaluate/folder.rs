//! Embeds a folder of photos of known people: `DIR/<name>/**`, or `DIR/{train,val}/<name>/**`.

use std::path::Path;

use super::{LabeledFace, SPLITS};
use crate::enrol::{EnrolError, Skipped, folders, last_part, photos_below};
use crate::vision::recognizer::Recognizer;

/// The faces of a folder, and the photos without a face or that cannot be decoded.
#[derive(Debug, Clone, PartialEq)]
pub struct LabeledFolder {
    pub faces: Vec<LabeledFace>,
    pub skipped: Vec<Skipped>,
}

/// Embeds every photo. A folder named `train` or `val` with folders in it is a split, any other a person, whose subfolders
/// are searched too.
///
/// # Errors
/// When a file cannot be read, or there are no folders.
pub fn embed_folder(folder: &Path, recognizer: &Recognizer) -> Result<LabeledFolder, EnrolError> {
    let mut found = LabeledFolder {
        faces: Vec::new(),
        skipped: Vec::new(),
    };
    let top = folders(folder)?;
    if top.is_empty() {
        return Err(EnrolError::NoPeople(folder.to_owned()));
    }
    for path in top {
        let name = last_part(&path);
        let people = if SPLITS.contains(&name.as_str()) {
            folders(&path)?
        } else {
            Vec::new()
        };
        if people.is_empty() {
            embed_person(&path, None, recognizer, &mut found)?;
        }
        for person in people {
            embed_person(&person, Some(name.clone()), recognizer, &mut found)?;
        }
    }
    Ok(found)
}

fn embed_person(
    person: &Path,
    split: Option<String>,
    recognizer: &Recognizer,
    found: &mut LabeledFolder,
) -> Result<(), EnrolError> {
    for path in photos_below(person)? {
        let encoded = std::fs::read(&path).map_err(|source| EnrolError::Read {
            path: path.clone(),
            source,
        })?;
        match recognizer.embed_photo(&encoded) {
            Ok(embedded) => found.faces.push(LabeledFace {
                name: last_part(person),
                split: split.clone(),
                embedding: embedded.embedding,
            }),
            Err(error) => found.skipped.push(Skipped {
                path,
                reason: error.to_string(),
            }),
        }
    }
    Ok(())
}

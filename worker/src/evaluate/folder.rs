//! Embeds a folder of photos of known people: `DIR/<name>/**`, or `DIR/{train,val}/<name>/**`.

use std::path::Path;

use super::face::LabeledFace;
use crate::enrol::{EnrolError, Skipped, embed_person, last_part, people_in, people_of_split};
use crate::vision::Recognizer;

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
    let (mut faces, mut skipped) = (Vec::new(), Vec::new());
    for path in people_in(folder)? {
        let people = people_of_split(&path)?;
        let (split, people) = if people.is_empty() {
            (None, vec![path])
        } else {
            (Some(last_part(&path)), people)
        };
        for person in people {
            let photos = embed_person(&person, recognizer, &mut skipped)?;
            faces.extend(photos.into_iter().map(|(_, embedded)| LabeledFace {
                name: last_part(&person),
                split: split.clone(),
                embedding: embedded.embedding,
            }));
        }
    }
    Ok(LabeledFolder { faces, skipped })
}

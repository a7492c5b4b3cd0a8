//! The photos to send.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use bytes::Bytes;

use crate::drive::Request;
use crate::truth::GroundTruth;

const EXTENSIONS: [&str; 4] = ["jpg", "jpeg", "png", "webp"];

/// Makes a request from each of the first `most` photos of a folder, in the order of their names.
///
/// # Errors
/// When the folder has no photo, or the CSV file cannot be used or lacks a name.
pub fn distinct(folder: &Path, csv: &Path, most: usize) -> anyhow::Result<Vec<Request>> {
    let truth = read_truth(csv)?;
    let files = photos_in(folder)?;
    if files.is_empty() {
        bail!(
            "{} has no photo (.jpg, .jpeg, .png, .webp); give another folder",
            folder.display()
        );
    }
    let mut requests = Vec::new();
    for file in files.iter().take(most) {
        let file_name = file_name(file)?;
        let Some(labels) = truth.labels_for(&file_name) else {
            bail!(
                "{} has no name for {file_name}; add a line for it",
                csv.display()
            );
        };
        requests.push(Request {
            name: labels.name.clone(),
            kind: labels.variant.clone(),
            file_name,
            image: read(file)?,
        });
    }
    Ok(requests)
}

/// Makes `count` requests from the photos of `labeled/<name>/*`, repeated as needed, named `test_00.jpg` and so on.
///
/// # Errors
/// When there is no photo, or one cannot be read.
pub fn labeled_requests(labeled: &Path, count: usize) -> anyhow::Result<Vec<Request>> {
    let mut sources = Vec::new();
    for (path, name) in labeled_photos(labeled)?.into_iter().take(count) {
        let image = read(&path)?;
        let extension = path.extension().unwrap_or_default();
        sources.push((image, extension.to_string_lossy().into_owned(), name));
    }
    let width = (count.saturating_sub(1)).to_string().len().max(2);
    let numbered = sources.iter().cycle().take(count).enumerate();
    let request = |(index, (image, extension, name)): (usize, &(Bytes, String, String))| Request {
        file_name: format!("test_{index:0width$}.{extension}"),
        image: image.clone(),
        name: name.clone(),
        ..Request::default()
    };
    Ok(numbered.map(request).collect())
}

/// Returns the photos of `labeled/<name>/*` with their names.
///
/// # Errors
/// When there is none, or a folder cannot be read.
pub fn labeled_photos(labeled: &Path) -> anyhow::Result<Vec<(PathBuf, String)>> {
    let mut sources = Vec::new();
    for folder in entries(labeled)?.into_iter().filter(|path| path.is_dir()) {
        let name = file_name(&folder)?;
        sources.extend(
            photos_in(&folder)?
                .into_iter()
                .map(|photo| (photo, name.clone())),
        );
    }
    if sources.is_empty() {
        bail!(
            "{} has no photo in a folder of a person's name; run `make setup`, or give --photos",
            labeled.display()
        );
    }
    Ok(sources)
}

fn read_truth(csv: &Path) -> anyhow::Result<GroundTruth> {
    let text = fs::read_to_string(csv).with_context(|| {
        format!(
            "cannot read {}; give the CSV file with --prediction-file",
            csv.display()
        )
    })?;
    GroundTruth::parse(&text).with_context(|| format!("{} cannot be used", csv.display()))
}

fn read(photo: &Path) -> anyhow::Result<Bytes> {
    let image = fs::read(photo).with_context(|| format!("cannot read {}", photo.display()))?;
    Ok(Bytes::from(image))
}

fn photos_in(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let is_photo = |path: &PathBuf| {
        let extension = path
            .extension()
            .unwrap_or_default()
            .to_string_lossy()
            .to_ascii_lowercase();
        EXTENSIONS.contains(&extension.as_str()) && path.is_file()
    };
    Ok(entries(folder)?.into_iter().filter(is_photo).collect())
}

fn entries(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let unreadable = || format!("cannot read the folder {}", folder.display());
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder).with_context(unreadable)? {
        paths.push(entry.with_context(unreadable)?.path());
    }
    paths.sort();
    Ok(paths)
}

fn file_name(path: &Path) -> anyhow::Result<String> {
    let name = path.file_name().unwrap_or_default();
    name.to_str()
        .map(str::to_owned)
        .with_context(|| format!("{} is not a UTF-8 name; rename it", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labeled(root: &Path) -> PathBuf {
        let folder = root.join("val");
        for (name, file) in [
            ("ben", "a.jpg"),
            ("ben", "b.PNG"),
            ("elton", "c.jpeg"),
            ("elton", "notes.txt"),
        ] {
            fs::create_dir_all(folder.join(name)).unwrap();
            fs::write(folder.join(name).join(file), file).unwrap();
        }
        folder
    }

    #[test]
    fn photos_repeat_under_distinct_names() {
        let root = tempfile::tempdir().unwrap();
        let requests = labeled_requests(&labeled(root.path()), 5).unwrap();
        let sent: Vec<_> = requests
            .iter()
            .map(|r| (r.file_name.as_str(), &r.image[..], r.name.as_str()))
            .collect();
        let expected: [(&str, &[u8], &str); 5] = [
            ("test_00.jpg", b"a.jpg", "ben"),
            ("test_01.PNG", b"b.PNG", "ben"),
            ("test_02.jpeg", b"c.jpeg", "elton"),
            ("test_03.jpg", b"a.jpg", "ben"),
            ("test_04.PNG", b"b.PNG", "ben"),
        ];
        assert_eq!(sent, expected);
    }

    #[test]
    fn errors_name_the_cause_and_the_remedy() {
        let root = tempfile::tempdir().unwrap();
        let csv = root.path().join("truth.csv");
        let message = |folder: &Path| format!("{:#}", distinct(folder, &csv, 1).unwrap_err());
        assert!(message(root.path()).contains("give the CSV file with --prediction-file"));
        fs::write(&csv, "Image,Results\nb,ben\n").unwrap();
        assert!(message(root.path()).contains("has no photo"));
        assert!(message(&root.path().join("nowhere")).contains("cannot read the folder"));
        fs::write(root.path().join("a.jpg"), "a").unwrap();
        assert!(message(root.path()).contains("has no name for a.jpg; add a line for it"));
    }
}

//! The photos to send.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use bytes::Bytes;

use crate::drive::Request;
use crate::truth::{GroundTruth, to_csv};

const EXTENSIONS: [&str; 4] = ["jpg", "jpeg", "png", "webp"];

/// Makes `count` requests from the photos of a folder, in the order of their names, repeated as needed.
///
/// # Errors
/// As [`distinct`].
pub fn requests(folder: &Path, csv: &Path, count: usize) -> anyhow::Result<Vec<Request>> {
    let mut requests = distinct(folder, csv, count)?;
    let distinct = requests.len();
    requests.extend(
        (distinct..count)
            .map(|index| index % distinct)
            .map(|index| requests[index].clone())
            .collect::<Vec<_>>(),
    );
    Ok(requests)
}

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
        let image = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
        requests.push(Request {
            name: labels.name.clone(),
            kind: labels.variant.clone(),
            file_name,
            image: Bytes::from(image),
        });
    }
    Ok(requests)
}

/// Copies `count` photos of `labeled/<name>/*` to `photos/test_00.jpg` and so on, repeated as needed, and writes their names
/// to `csv`. Copies of an earlier call are removed.
///
/// # Errors
/// When there is no photo, or a file cannot be read or written.
pub fn prepare(labeled: &Path, photos: &Path, csv: &Path, count: usize) -> anyhow::Result<()> {
    let sources = labeled_photos(labeled)?;
    fs::create_dir_all(photos).with_context(|| format!("cannot create {}", photos.display()))?;
    for old in photos_in(photos)?.into_iter().filter(|path| is_copy(path)) {
        fs::remove_file(&old).with_context(|| format!("cannot remove {}", old.display()))?;
    }
    let width = (count.saturating_sub(1)).to_string().len().max(2);
    let mut rows = Vec::with_capacity(count);
    for (index, (source, name)) in sources.iter().cycle().take(count).enumerate() {
        let stem = format!("test_{index:0width$}");
        let extension = source.extension().unwrap_or_default().to_string_lossy();
        let copy = photos.join(format!("{stem}.{extension}"));
        fs::copy(source, &copy)
            .with_context(|| format!("cannot copy {} to {}", source.display(), copy.display()))?;
        rows.push((stem, name.as_str()));
    }
    let text = to_csv(rows.iter().map(|(stem, name)| (stem.as_str(), *name)));
    fs::write(csv, text).with_context(|| format!("cannot write {}", csv.display()))
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

fn is_copy(path: &Path) -> bool {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    stem.strip_prefix("test_")
        .is_some_and(|number| number.bytes().all(|byte| byte.is_ascii_digit()))
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
        let (photos, csv) = (root.path().join("photos"), root.path().join("truth.csv"));
        let labeled = labeled(root.path());
        prepare(&labeled, &photos, &csv, 8).unwrap();
        prepare(&labeled, &photos, &csv, 5).unwrap();
        let requests = requests(&photos, &csv, 5).unwrap();
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
        assert_eq!(
            fs::read_dir(&photos).unwrap().count(),
            5,
            "copies of the earlier call are removed"
        );
    }

    #[test]
    fn a_small_folder_is_sent_repeatedly() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("a.jpg"), "a").unwrap();
        fs::write(root.path().join("b.jpg"), "b").unwrap();
        let csv = root.path().join("truth.csv");
        fs::write(&csv, "Image,Results\na,ben\nb,elton\n").unwrap();
        let names = |count| -> Vec<String> {
            requests(root.path(), &csv, count)
                .unwrap()
                .into_iter()
                .map(|request| request.file_name)
                .collect()
        };
        assert_eq!(names(1), ["a.jpg"]);
        assert_eq!(names(5), ["a.jpg", "b.jpg", "a.jpg", "b.jpg", "a.jpg"]);
    }

    #[test]
    fn errors_name_the_cause_and_the_remedy() {
        let root = tempfile::tempdir().unwrap();
        let csv = root.path().join("truth.csv");
        let message = |folder: &Path| format!("{:#}", requests(folder, &csv, 1).unwrap_err());
        assert!(message(root.path()).contains("give the CSV file with --prediction-file"));
        fs::write(&csv, "Image,Results\nb,ben\n").unwrap();
        assert!(message(root.path()).contains("has no photo"));
        assert!(message(&root.path().join("nowhere")).contains("cannot read the folder"));
        fs::write(root.path().join("a.jpg"), "a").unwrap();
        assert!(message(root.path()).contains("has no name for a.jpg; add a line for it"));
    }
}

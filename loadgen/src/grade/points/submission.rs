//! Submissions: a roster of students, and the zip of each with the credentials for grading. Nothing is unpacked to disk.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use platform::token::Token;
use zip::ZipArchive;

use crate::grade::args::web_tier;
use crate::truth::fields;

/// The entry with `ACCESS_KEY,SECRET_KEY,ADDRESS`.
const CREDENTIALS: &str = "credentials/credentials.txt";
const MAX_CREDENTIALS_BYTES: u64 = 4096;
const MAX_ZIP_BYTES: u64 = 100 * 1024 * 1024;
const MAX_ENTRIES: usize = 100_000;

/// A row of the roster.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Student {
    /// The prefix of the names of buckets and queues.
    pub id: String,
    pub first_name: String,
    pub last_name: String,
}

/// What a submission says about its system. `Debug` hides the secret.
#[derive(Debug, Clone)]
pub struct Credentials {
    pub access_key: String,
    pub secret_key: Token,
    pub web_tier: reqwest::Url,
}

impl From<Student> for (String, String, String) {
    fn from(student: Student) -> Self {
        (student.id, student.first_name, student.last_name)
    }
}

/// Parses a roster with the columns ASUID, First Name and Last Name, in any order and among others.
///
/// # Errors
/// When a column is missing, an id cannot begin a bucket's name, or there is no student.
pub fn parse_roster(csv: &str) -> anyhow::Result<Vec<Student>> {
    let mut lines = csv
        .trim_start_matches('\u{feff}')
        .lines()
        .filter(|line| !line.trim().is_empty());
    let header = fields(lines.next().unwrap_or_default());
    let column = |name: &str| {
        let found = header
            .iter()
            .position(|column| column.eq_ignore_ascii_case(name));
        found.with_context(|| format!("it has no column {name:?}"))
    };
    let (id, first, last) = (
        column("ASUID")?,
        column("First Name")?,
        column("Last Name")?,
    );
    let mut students = Vec::new();
    for line in lines {
        let row = fields(line);
        // Spreadsheets write their empty rows as commas.
        if row.iter().all(String::is_empty) {
            continue;
        }
        let cell = |index: usize| row.get(index).cloned().unwrap_or_default();
        let student = Student {
            id: cell(id),
            first_name: cell(first),
            last_name: cell(last),
        };
        ensure!(
            is_prefix(&student.id),
            "the ASUID {:?} cannot begin a bucket's name: use small letters, digits and hyphens",
            student.id
        );
        students.push(student);
    }
    ensure!(!students.is_empty(), "it has no student");
    Ok(students)
}

/// Also keeps an id from being a path.
fn is_prefix(id: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=50).contains(&id.len()) && id.bytes().all(is_allowed) && !id.starts_with('-')
}

/// Finds the zip of a student, by the id in its name.
///
/// # Errors
/// When the folder cannot be read, or has no such zip or several.
pub fn find(folder: &Path, id: &str) -> anyhow::Result<PathBuf> {
    let unreadable = || format!("cannot read the folder {}", folder.display());
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).with_context(unreadable)? {
        let path = entry.with_context(unreadable)?.path();
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        let extension = path.extension().unwrap_or_default();
        if extension.eq_ignore_ascii_case("zip") && has_id(&stem, id) && path.is_file() {
            found.push(path);
        }
    }
    found.sort();
    ensure!(
        found.len() <= 1,
        "{} have {id} in their names: keep one",
        found
            .iter()
            .map(|zip| zip.display().to_string())
            .collect::<Vec<_>>()
            .join(" and ")
    );
    let missing = || format!("{} has no zip with {id} in its name", folder.display());
    found.pop().with_context(missing)
}

/// Returns whether the id is in a file's name without a letter or digit beside it: `team1` is not in `team10`.
fn has_id(name: &str, id: &str) -> bool {
    name.char_indices().any(|(at, _)| {
        let before = name[..at].chars().next_back();
        let after = name[at..].strip_prefix(id).map(|rest| rest.chars().next());
        let is_other = |beside: Option<char>| beside.is_none_or(|it| !it.is_alphanumeric());
        is_other(before) && after.is_some_and(is_other)
    })
}

/// Reads the credentials of a submission, and checks that its zip has the `wanted` files. The folders may be in one folder.
/// Errors do not show what the credentials are.
///
/// # Errors
/// When the zip is too large or damaged, or lacks a file.
pub fn read(zip: &Path, wanted: &[String]) -> anyhow::Result<Credentials> {
    read_archive(zip, wanted).with_context(|| format!("{} cannot be graded", zip.display()))
}

fn read_archive(zip: &Path, wanted: &[String]) -> anyhow::Result<Credentials> {
    let file = File::open(zip)?;
    let size = file.metadata()?.len();
    ensure!(
        size <= MAX_ZIP_BYTES,
        "it is larger than {} MiB",
        MAX_ZIP_BYTES >> 20
    );
    let mut archive = ZipArchive::new(file)?;
    ensure!(
        archive.len() <= MAX_ENTRIES,
        "it has more than {MAX_ENTRIES} files"
    );
    let root = archive
        .file_names()
        .find_map(root_of)
        .context("it has no credentials/credentials.txt")?;
    for name in wanted {
        let path = format!("{root}{name}");
        ensure!(archive.index_for_name(&path).is_some(), "it has no {name}");
    }
    let entry = archive.by_name(&format!("{root}{CREDENTIALS}"))?;
    let mut text = String::new();
    // The size in the archive may be a lie.
    let mut limited = entry.take(MAX_CREDENTIALS_BYTES + 1);
    if limited.read_to_string(&mut text).is_err() {
        bail!("{CREDENTIALS} is damaged or no text");
    }
    ensure!(
        text.len() as u64 <= MAX_CREDENTIALS_BYTES,
        "{CREDENTIALS} is too long"
    );
    parse_credentials(&text)
}

/// Returns what is before the path of the credentials: nothing, or one folder.
fn root_of(name: &str) -> Option<String> {
    let root = name.strip_suffix(CREDENTIALS)?;
    let is_folder = root.ends_with('/') && root.matches('/').count() == 1 && root != "__MACOSX/";
    (root.is_empty() || is_folder).then(|| root.to_owned())
}

fn parse_credentials(text: &str) -> anyhow::Result<Credentials> {
    let parts: Vec<&str> = text
        .trim_start_matches('\u{feff}')
        .trim()
        .split(',')
        .map(str::trim)
        .collect();
    let is_key = |key: &str| !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_graphic());
    match parts[..] {
        [access, secret, address] if is_key(access) && is_key(secret) => Ok(Credentials {
            access_key: access.to_owned(),
            secret_key: Token::parse(secret)?,
            web_tier: web_tier(address)
                .map_err(|_| anyhow::anyhow!("{CREDENTIALS} ends with no address"))?,
        }),
        _ => bail!("{CREDENTIALS} is not ACCESS_KEY,SECRET_KEY,ADDRESS"),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use zip::ZipWriter;
    use zip::write::SimpleFileOptions;

    use super::*;

    fn zipped(folder: &Path, entries: &[(&str, &str)]) -> PathBuf {
        let path = folder.join("Project1-17.zip");
        let mut zip = ZipWriter::new(File::create(&path).unwrap());
        for (name, text) in entries {
            zip.start_file(*name, SimpleFileOptions::default()).unwrap();
            zip.write_all(text.as_bytes()).unwrap();
        }
        zip.finish().unwrap();
        path
    }

    #[test]
    fn credentials_are_read_without_unpacking() {
        let folder = tempfile::tempdir().unwrap();
        let server = "web-tier/server.py".to_owned();
        for root in ["", "project/"] {
            let (credentials, code) = (format!("{root}{CREDENTIALS}"), format!("{root}{server}"));
            let entries = [
                ("../../evil.txt", "no"),
                ("__MACOSX/credentials/credentials.txt", "other,other,other"),
                (credentials.as_str(), "\u{feff}AKIA, secret+/=, 10.0.0.7\n"),
                (code.as_str(), "print()"),
            ];
            let zip = zipped(folder.path(), &entries);
            let read = read(&zip, std::slice::from_ref(&server)).unwrap();
            assert_eq!(
                (read.access_key.as_str(), read.secret_key.expose()),
                ("AKIA", "secret+/=")
            );
            assert_eq!(read.web_tier.as_str(), "http://10.0.0.7:8000/");
            assert!(!format!("{read:?}").contains("secret+/="));
            assert_eq!(find(folder.path(), "17").unwrap(), zip);
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        assert!(!folder.path().parent().unwrap().join("evil.txt").exists());
    }

    #[test]
    fn errors_name_what_is_wrong_and_no_secret() {
        let folder = tempfile::tempdir().unwrap();
        let long = "x".repeat(5000);
        for (entries, expected) in [
            (vec![("readme.txt", "")], "no credentials/credentials.txt"),
            (
                vec![(CREDENTIALS, "a,hidden,h")],
                "it has no web-tier/server.py",
            ),
            (
                vec![(CREDENTIALS, "a,hidden"), ("web-tier/server.py", "")],
                "is not ACCESS_KEY,SECRET_KEY,ADDRESS",
            ),
            (
                vec![(CREDENTIALS, "a,hidden,"), ("web-tier/server.py", "")],
                "ends with no address",
            ),
            (
                vec![(CREDENTIALS, long.as_str()), ("web-tier/server.py", "")],
                "is too long",
            ),
        ] {
            let zip = zipped(folder.path(), &entries);
            let error = format!(
                "{:#}",
                read(&zip, &["web-tier/server.py".to_owned()]).unwrap_err()
            );
            assert!(error.contains(expected), "{error}");
            assert!(!error.contains("hidden"), "{error}");
        }
        let zip = folder.path().join("Project1-17.zip");
        std::fs::write(&zip, "not a zip").unwrap();
        assert!(read(&zip, &[]).is_err());
        assert!(find(folder.path(), "18").is_err());
    }

    #[test]
    fn a_zip_belongs_to_the_whole_id() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str| std::fs::write(folder.path().join(name), "").unwrap();
        let found = |id: &str| find(folder.path(), id).map_err(|error| error.to_string());
        write("Project1-team10.zip");
        write("Project1-team10.txt");
        let missing = found("team1").unwrap_err();
        assert!(missing.contains("has no zip with team1"), "{missing}");
        write("Project1_team1.ZIP");
        let zip = folder.path().join("Project1_team1.ZIP");
        assert_eq!(found("team1"), Ok(zip));
        assert!(found("zip").is_err() && found("team").is_err());
        write("team1 (2).zip");
        let several = found("team1").unwrap_err();
        assert!(
            several.contains("team1 (2).zip have team1 in their names: keep one"),
            "{several}"
        );
    }

    #[test]
    fn a_roster_is_read_and_its_ids_are_checked() {
        let students = parse_roster(
            "\u{feff}Last Name,ASUID,x,First Name\r\n\"Doe, Dr.\",122,,John\r\n\r\n,, ,\r\n",
        )
        .unwrap();
        let expected = Student {
            id: "122".to_owned(),
            first_name: "John".to_owned(),
            last_name: "Doe, Dr.".to_owned(),
        };
        assert_eq!(students, [expected]);
        for wrong in [
            "",
            "ASUID,First Name\n1,a\n",
            "ASUID,First Name,Last Name\n",
            "ASUID,First Name,Last Name\n../x,a,b\n",
        ] {
            assert!(parse_roster(wrong).is_err(), "{wrong:?}");
        }
    }
}

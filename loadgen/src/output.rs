//! Files and lines that a command writes at its end.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;

/// Checks that [`write()`] can write the file, and leaves what is there.
///
/// # Errors
/// When it cannot.
pub fn check(file: &Path) -> anyhow::Result<()> {
    let checked = if is_renamed(file) {
        let beside = beside(file);
        fs::File::create(&beside).and_then(|_| fs::remove_file(&beside))
    } else {
        let mut options = fs::OpenOptions::new();
        let options = options.write(true).create(true).truncate(false);
        options.open(file).map(drop)
    };
    checked.with_context(|| cannot_write(file))
}

/// Writes the file beside its place and renames it, so that an earlier one is there until then.
///
/// # Errors
/// When it cannot be written.
pub fn write(file: &Path, text: &str) -> anyhow::Result<()> {
    if !is_renamed(file) {
        return fs::write(file, text).with_context(|| cannot_write(file));
    }
    let beside = beside(file);
    let written = fs::write(&beside, text).and_then(|()| fs::rename(&beside, file));
    written
        .inspect_err(|_| {
            // The first error is the one to report.
            let _ = fs::remove_file(&beside);
        })
        .with_context(|| cannot_write(file))
}

/// Refuses outputs that are inputs, or the same file twice. Devices and pipes may be given twice.
///
/// # Errors
/// When there is one.
pub fn ensure_distinct(outputs: &[&Path], inputs: &[&Path]) -> anyhow::Result<()> {
    let files = outputs.iter().filter(|it| it.is_file() || !it.exists());
    let mut seen: Vec<_> = inputs.iter().map(|file| resolved(file)).collect();
    for file in files {
        let output = resolved(file);
        anyhow::ensure!(
            !seen.contains(&output),
            "{} is read, or is another output too; give another file",
            file.display()
        );
        seen.push(output);
    }
    Ok(())
}

/// Returns whether the file is replaced. A link keeps its target, and a device or pipe cannot be renamed over.
fn is_renamed(file: &Path) -> bool {
    fs::symlink_metadata(file).map_or(true, |it| it.is_file())
}

fn beside(file: &Path) -> PathBuf {
    let mut beside = file.as_os_str().to_owned();
    beside.push(format!(".{}.tmp", std::process::id()));
    beside.into()
}

fn cannot_write(file: &Path) -> String {
    format!("cannot write {}; give another file", file.display())
}

/// Returns the path without links, also of a file that does not exist yet.
fn resolved(file: &Path) -> PathBuf {
    let by_folder = || {
        let folder = fs::canonicalize(Path::new(".").join(file.parent()?)).ok()?;
        Some(folder.join(file.file_name()?))
    };
    fs::canonicalize(file)
        .ok()
        .or_else(by_folder)
        .unwrap_or_else(|| file.to_owned())
}

//! Function code: zip archives, unpacked into a folder.

use std::fs;
use std::io::{self, Cursor, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use sha2::{Digest, Sha256};
use tokio::runtime::Handle;
use zip::ZipArchive;

use super::LambdaError;

/// AWS's limits, in bytes: of a zip file in a request, and of what is in it.
const MAX_ZIP: usize = 50 << 20;
const MAX_UNZIPPED: u64 = 250 << 20;
const MAX_FILES: usize = 10_000;

/// Code as the API describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CodeInfo {
    /// Base64 of the zip's SHA-256.
    pub sha256: String,
    /// Of the zip, in bytes.
    pub size: usize,
}

/// The folder of a function's code, which is removed when neither the function nor an environment uses it.
#[derive(Debug)]
pub struct CodeFolder(PathBuf);

impl CodeFolder {
    pub fn new(path: PathBuf) -> Self {
        Self(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for CodeFolder {
    fn drop(&mut self) {
        let folder = std::mem::take(&mut self.0);
        let remove = move || drop(fs::remove_dir_all(folder));
        match Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn_blocking(remove)),
            Err(_) => remove(),
        }
    }
}

/// Unpacks a zip into a new folder. `from_request` is whether the archive was sent in a request, for which AWS has a limit.
///
/// # Errors
/// When the archive is damaged, too large, has names that lead out of the folder, or no `bootstrap`.
pub fn unpack(zip: &[u8], folder: &Path, from_request: bool) -> Result<CodeInfo, LambdaError> {
    if from_request && zip.len() > MAX_ZIP {
        let limit = MAX_ZIP;
        return Err(LambdaError::RequestTooLarge(
            zip.len(),
            "CreateFunction",
            limit,
        ));
    }
    let unpacked = extract(zip, folder);
    if unpacked.is_err() {
        let _ = fs::remove_dir_all(folder);
    }
    unpacked?;
    Ok(CodeInfo {
        sha256: BASE64_STANDARD.encode(Sha256::digest(zip)),
        size: zip.len(),
    })
}

fn extract(zip: &[u8], folder: &Path) -> Result<(), LambdaError> {
    let mut archive = ZipArchive::new(Cursor::new(zip)).map_err(|_| damaged())?;
    if archive.len() > MAX_FILES {
        return Err(too_large());
    }
    fs::create_dir_all(folder).map_err(internal)?;
    let mut left = MAX_UNZIPPED;
    for index in 0..archive.len() {
        let mut entry = archive.by_index(index).map_err(|_| damaged())?;
        if entry.is_symlink() {
            let message = format!(
                "The zip file has a link, which localcloud does not unpack: {:?}",
                entry.name()
            );
            return Err(LambdaError::InvalidParameter(message));
        }
        // Neither absolute names nor `..` leave the folder.
        let Some(name) = entry.enclosed_name() else {
            let message = format!(
                "The zip file has a name that leads out of it: {:?}",
                entry.name()
            );
            return Err(LambdaError::InvalidParameter(message));
        };
        let path = folder.join(name);
        if entry.is_dir() {
            fs::create_dir_all(&path).map_err(|_| damaged())?;
            continue;
        }
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(|_| damaged())?;
        }
        let mut file = fs::File::create(&path).map_err(|_| damaged())?;
        // The archive's own sizes may be wrong.
        let mut limited = (&mut entry).take(left + 1);
        let written = io::copy(&mut limited, &mut file).map_err(|_| damaged())?;
        left = left.checked_sub(written).ok_or_else(too_large)?;
        let mode = entry.unix_mode().unwrap_or(0o644) & 0o777 | 0o400;
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).map_err(internal)?;
    }
    let bootstrap = folder.join("bootstrap");
    let is_program = fs::metadata(&bootstrap)
        .is_ok_and(|it| it.is_file() && it.permissions().mode() & 0o111 != 0);
    if is_program {
        return Ok(());
    }
    Err(LambdaError::InvalidParameter(
        "The zip file has no executable file named bootstrap at its top".to_owned(),
    ))
}

fn damaged() -> LambdaError {
    LambdaError::InvalidParameter(
        "Could not unzip uploaded file. Please check your file, then try to upload again."
            .to_owned(),
    )
}

fn too_large() -> LambdaError {
    LambdaError::InvalidParameter(format!(
        "Unzipped size must be smaller than {MAX_UNZIPPED} bytes"
    ))
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "it is an argument of map_err"
)]
fn internal(error: io::Error) -> LambdaError {
    LambdaError::Service(format!("cannot write the code: {error}"))
}

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use proto::JobId;

use crate::error::{ErrorCode, RequestError};

/// How the folders' names begin.
const PREFIX: &str = "muster-clip-";
/// Far longer than FFmpeg works on a clip.
const ABANDONED_AFTER: Duration = Duration::from_secs(24 * 60 * 60);

/// A folder on this machine for one clip and its frames, readable by front alone. Drop deletes it.
#[derive(Debug)]
pub struct ClipFolder(PathBuf);

impl ClipFolder {
    /// Creates a folder within `parent`, which is created too if it is missing.
    pub fn create(parent: &Path, video: JobId) -> Result<Self, RequestError> {
        let attempt = JobId::random();
        let folder = parent.join(format!("{PREFIX}{video}-{attempt}"));
        let mut builder = DirBuilder::new();
        builder.recursive(true).mode(0o700);
        builder.create(&folder).map_err(|error| failed(&error))?;
        Ok(Self(folder))
    }

    /// Deletes folders that fronts which were killed have left in `parent`: those that are a day old.
    pub fn sweep(parent: &Path) {
        let entries = std::fs::read_dir(parent).into_iter().flatten().flatten();
        for entry in entries {
            let is_ours = entry.file_name().to_string_lossy().starts_with(PREFIX);
            let modified = entry.metadata().and_then(|it| it.modified()).ok();
            let age = modified.and_then(|at| at.elapsed().ok());
            if is_ours && age.is_some_and(|age| age > ABANDONED_AFTER) {
                // Another user's folder stays.
                let _ = std::fs::remove_dir_all(entry.path());
            }
        }
    }

    /// Returns the clip's file. Its name says nothing about the clip, since FFmpeg must not judge by it.
    #[must_use]
    pub fn clip(&self) -> PathBuf {
        self.0.join("clip")
    }

    /// Returns an empty folder for the frames.
    pub fn frames(&self) -> Result<PathBuf, RequestError> {
        let frames = self.0.join("frames");
        std::fs::create_dir_all(&frames).map_err(|error| failed(&error))?;
        Ok(frames)
    }
}

impl Drop for ClipFolder {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            tracing::warn!(%error, folder = %self.0.display(), "a clip's folder stays");
        }
    }
}

pub fn failed(error: &std::io::Error) -> RequestError {
    tracing::error!(%error, "a clip cannot be kept on this machine");
    RequestError::new(
        ErrorCode::Internal,
        "front cannot keep the clip on its disk",
    )
}

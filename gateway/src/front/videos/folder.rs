use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use proto::JobId;

use crate::error::{ErrorCode, RequestError};

/// A folder on this machine for one clip and its frames, readable by front alone. Drop deletes it.
#[derive(Debug)]
pub struct ClipFolder(PathBuf);

impl ClipFolder {
    /// Creates a folder within `parent`, which is created too if it is missing.
    pub fn create(parent: &Path, video: JobId) -> Result<Self, RequestError> {
        let attempt = JobId::random();
        let folder = parent.join(format!("muster-clip-{video}-{attempt}"));
        let mut builder = DirBuilder::new();
        builder.recursive(true).mode(0o700);
        builder.create(&folder).map_err(|error| failed(&error))?;
        Ok(Self(folder))
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

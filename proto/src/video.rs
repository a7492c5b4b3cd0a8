//! The keys of a clip's objects: clip and frames in the in-bucket, results in the out-bucket.

use std::str::FromStr;

use crate::JobId;

/// The folder of all clips, in both buckets.
pub const FOLDER: &str = "videos/";
/// The folder of the in-bucket with a [`VideoClaim`](crate::v1::VideoClaim) for each unfinished clip.
pub const UNFINISHED: &str = "videos/unfinished/";
/// Digits of a frame's number in its keys. More frames than these hold have longer keys.
const DIGITS: usize = 6;

/// The keys of one clip.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VideoKeys {
    pub video: JobId,
}

/// The keys of one frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameKeys {
    pub video: JobId,
    /// The frame's number among those looked at, from 0.
    pub frame: u32,
}

/// A text that is not the key of a frame.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("not the key of a frame: {0:?}")]
pub struct FrameKeyError(String);

impl VideoKeys {
    /// Returns the folder, in both buckets.
    #[must_use]
    pub fn folder(&self) -> String {
        format!("{FOLDER}{}/", self.video)
    }

    /// Returns the key of the clip in the in-bucket. `extension` is part of it if it is made of up to eight ASCII letters and
    /// digits.
    #[must_use]
    pub fn clip(&self, extension: &str) -> String {
        let is_plain = (1..=8).contains(&extension.len())
            && extension.bytes().all(|byte| byte.is_ascii_alphanumeric());
        let extension = if is_plain { extension } else { "bin" };
        format!("{}clip.{extension}", self.folder())
    }

    /// Returns the key of the [`VideoRecord`](crate::v1::VideoRecord) in the in-bucket.
    #[must_use]
    pub fn record(&self) -> String {
        format!("{}video.json", self.folder())
    }

    /// Returns the key of the [`Timeline`](crate::v1::Timeline) in the out-bucket.
    #[must_use]
    pub fn timeline(&self) -> String {
        format!("{}timeline.json", self.folder())
    }

    /// Returns the key of the [`VideoClaim`](crate::v1::VideoClaim) in the in-bucket.
    #[must_use]
    pub fn claim(&self) -> String {
        format!("{UNFINISHED}{}", self.video)
    }

    #[must_use]
    pub fn frame(&self, frame: u32) -> FrameKeys {
        let video = self.video;
        FrameKeys { video, frame }
    }

    /// Returns the number of the frame whose faces have this key.
    #[must_use]
    pub fn frame_of_faces(&self, key: &str) -> Option<u32> {
        let number = key.strip_prefix(&self.folder())?.strip_prefix("frame-")?;
        let frame = self.frame(number.strip_suffix(".json")?.parse().ok()?);
        (frame.faces() == key).then_some(frame.frame)
    }
}

impl FrameKeys {
    /// Returns the key of the picture in the in-bucket.
    #[must_use]
    pub fn photo(&self) -> String {
        format!("{}.jpg", self.stem())
    }

    /// Returns the key of the [`FrameFaces`](crate::v1::FrameFaces) in the out-bucket.
    #[must_use]
    pub fn faces(&self) -> String {
        format!("{}.json", self.stem())
    }

    fn stem(&self) -> String {
        let folder = VideoKeys { video: self.video }.folder();
        format!("{folder}frame-{:0DIGITS$}", self.frame)
    }
}

impl FromStr for FrameKeys {
    type Err = FrameKeyError;

    /// Reads the key of a frame's picture.
    fn from_str(key: &str) -> Result<Self, Self::Err> {
        let parse = || {
            let (video, frame) = key.strip_prefix(FOLDER)?.split_once("/frame-")?;
            let frame = frame.strip_suffix(".jpg")?.parse().ok()?;
            let video = video.parse().ok()?;
            Some(Self { video, frame })
        };
        let keys: Option<Self> = parse();
        // Only one text is the key of a frame.
        let keys = keys.filter(|keys| keys.photo() == key);
        keys.ok_or_else(|| FrameKeyError(key.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_a_clip_are_in_its_folder() {
        let video = JobId::random();
        let keys = VideoKeys { video };
        assert_eq!(keys.clip("MP4"), format!("videos/{video}/clip.MP4"));
        for extension in ["", "../x", "a/b", "mp4 ", "123456789", "é"] {
            assert_eq!(keys.clip(extension), format!("videos/{video}/clip.bin"));
        }
        let frame = keys.frame(7);
        assert_eq!(frame.photo(), format!("videos/{video}/frame-000007.jpg"));
        assert_eq!(frame.photo().parse(), Ok(frame));
        assert_eq!(keys.frame_of_faces(&frame.faces()), Some(7));
        let million = keys.frame(1_234_567);
        assert_eq!(million.photo().parse(), Ok(million));
        assert_eq!(keys.frame_of_faces(&keys.timeline()), None);
        assert_eq!(keys.frame_of_faces(&frame.photo()), None);
    }

    #[test]
    fn other_keys_are_no_frames() {
        let id = JobId::random();
        for key in [
            "a.jpg".to_owned(),
            format!("videos/{id}/clip.mp4"),
            format!("videos/{id}/frame-7.jpg"),
            format!("videos/{id}/frame-000007.json"),
            format!("videos/{id}/frame-0000007.jpg"),
            format!("videos/../{id}/frame-000007.jpg"),
            "videos/x/frame-000007.jpg".to_owned(),
            format!("videos/{id}/frame-+00007.jpg"),
        ] {
            assert_eq!(key.parse::<FrameKeys>(), Err(FrameKeyError(key)));
        }
    }
}

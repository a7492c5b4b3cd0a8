//! Where the frames and results of a clip go. Pure.
//!
//! | mode | frames in the stage bucket | results in the output bucket |
//! |---|---|---|
//! | `frame` | `test_00.jpg` | `test_00.txt` |
//! | `frames` | `test_00/output-01.jpg` … | `test_00/output-01.txt` … |
//! | `timeline` | `test_00/frame-000000.jpg` … | `test_00/frame-000000.json` …, `test_00.json` |
//!
//! A clip in a folder has its frames and results in a folder of that name.

use sha2::{Digest, Sha256};

use crate::settings::ClipMode;

/// S3's limit of a key is 1,024 bytes; this leaves room for what is added.
const MAX_STEM_BYTES: usize = 960;

/// The beginning of all keys of a clip: its own key without its extension.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClipStem(String);

impl ClipStem {
    /// Returns the stem of a clip's key. Parts like `..` are left out, and control characters and backslashes become `_`, so
    /// that a copy of the bucket in a file system stays in its folder. Returns `None` if nothing is left, as for a folder.
    pub fn of(key: &str) -> Option<Self> {
        if key.ends_with('/') {
            return None;
        }
        let parts = key
            .split('/')
            .filter(|part| !matches!(*part, "" | "." | ".."));
        let path = parts.collect::<Vec<_>>().join("/");
        let safe = |c: char| if c.is_control() || c == '\\' { '_' } else { c };
        let path: String = path.chars().map(safe).collect();
        let stem = without_extension(&path);
        if stem.is_empty() {
            return None;
        }
        if stem.len() > MAX_STEM_BYTES {
            return Some(Self(stem.to_owned()).derived(key));
        }
        Some(Self(stem.to_owned()))
    }

    /// Returns another stem for a clip whose stem another clip has, as `a.mov` beside `a.mp4`.
    pub fn derived(&self, key: &str) -> Self {
        let stem = &self.0[..self.0.floor_char_boundary(MAX_STEM_BYTES)];
        Self(format!("{stem}~{}", &digest(key)[..8]))
    }

    /// The key of a frame. Frames count from 0.
    pub fn frame(&self, mode: ClipMode, index: usize) -> String {
        let stem = &self.0;
        match mode {
            ClipMode::Frame => format!("{stem}.jpg"),
            ClipMode::Frames => format!("{stem}/output-{:02}.jpg", index + 1),
            ClipMode::Timeline => format!("{stem}/{}.jpg", timeline_frame(index)),
        }
    }

    /// The key of the result for a clip that has no frames.
    pub fn outcome(&self, mode: ClipMode) -> String {
        format!("{}.{}", self.0, extension(mode))
    }
}

/// The key of a frame's result.
pub fn result(frame_key: &str, mode: ClipMode) -> String {
    format!("{}.{}", without_extension(frame_key), extension(mode))
}

/// Returns another key for the result of a frame whose key another frame's result has.
pub fn derived_result(frame_key: &str, mode: ClipMode) -> String {
    let tag = &digest(frame_key)[..8];
    let stem = without_extension(frame_key);
    format!("{stem}~{tag}.{}", extension(mode))
}

/// The keys of a timeline's parts.
#[derive(Debug, PartialEq, Eq)]
pub struct TimelineKeys<'a> {
    folder: &'a str,
}

impl<'a> TimelineKeys<'a> {
    /// Returns those of the clip that a frame belongs to, by the frame's key; `None` if it is in no folder.
    pub fn of(frame_key: &'a str) -> Option<Self> {
        let (folder, _) = frame_key.rsplit_once('/')?;
        Some(Self { folder })
    }

    /// All results of frames have it.
    pub fn prefix(&self) -> String {
        format!("{}/frame-", self.folder)
    }

    pub fn frame_result(&self, index: usize) -> String {
        format!("{}/{}.json", self.folder, timeline_frame(index))
    }

    pub fn timeline(&self) -> String {
        format!("{}.json", self.folder)
    }
}

/// Names what an object was made from: its key, or a digest of a long one.
pub fn label(key: &str) -> String {
    let encoded = crate::event::url_encode(key);
    match encoded.len() {
        // User metadata has 2 KB together.
        ..=900 => encoded,
        _ => format!("sha256:{}", digest(key)),
    }
}

/// The part of a key after its last slash.
pub fn file_name(key: &str) -> &str {
    key.rsplit('/').next().unwrap_or(key)
}

fn timeline_frame(index: usize) -> String {
    format!("frame-{index:06}")
}

fn extension(mode: ClipMode) -> &'static str {
    match mode {
        ClipMode::Frame | ClipMode::Frames => "txt",
        ClipMode::Timeline => "json",
    }
}

/// A name that begins with its only dot has no extension.
fn without_extension(path: &str) -> &str {
    let name = path.rfind('/').map_or(0, |slash| slash + 1);
    match path[name..].rfind('.') {
        Some(dot) if dot > 0 => &path[..name + dot],
        _ => path,
    }
}

fn digest(text: &str) -> String {
    hex::encode(Sha256::digest(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(key: &str) -> String {
        ClipStem::of(key).unwrap().frame(ClipMode::Frame, 0)
    }

    #[test]
    fn keys_follow_the_clip() {
        let stem = ClipStem::of("test_00.mp4").unwrap();
        assert_eq!(stem.frame(ClipMode::Frame, 0), "test_00.jpg");
        assert_eq!(stem.frame(ClipMode::Frames, 9), "test_00/output-10.jpg");
        assert_eq!(
            stem.frame(ClipMode::Timeline, 7),
            "test_00/frame-000007.jpg"
        );
        assert_eq!(stem.outcome(ClipMode::Frames), "test_00.txt");
        assert_eq!(frame("a/b.c/d.e.mp4"), "a/b.c/d.e.jpg");
        assert_eq!(frame("a.b/plain"), "a.b/plain.jpg");
        assert_eq!(result("a.b/c.jpg", ClipMode::Frame), "a.b/c.txt");
        let keys = TimelineKeys::of("a/test_00/frame-000007.jpg").unwrap();
        assert_eq!(keys.timeline(), "a/test_00.json");
        assert_eq!(keys.frame_result(7), "a/test_00/frame-000007.json");
        assert_eq!(
            result("a/test_00/frame-000007.jpg", ClipMode::Timeline),
            keys.frame_result(7)
        );
        assert_eq!(TimelineKeys::of("frame-000007.jpg"), None);
    }

    #[test]
    fn no_key_leads_out_of_its_folder() {
        assert_eq!(frame("../../etc/passwd.mp4"), "etc/passwd.jpg");
        assert_eq!(frame("/a/./b/../c.mp4"), "a/b/c.jpg");
        assert_eq!(frame("..\\x\n.mp4"), ".._x_.jpg");
        assert_eq!(frame(".mp4"), ".mp4.jpg");
        for key in ["", "/", "a/", "..", "a/..//", "../.."] {
            assert_eq!(ClipStem::of(key), None, "{key:?}");
        }
    }

    #[test]
    fn the_longest_key_leaves_room() {
        let key = "ü".repeat(512);
        let stem = ClipStem::of(&key).unwrap();
        let derived = stem.derived(&key);
        for stem in [stem, derived] {
            let key = stem.frame(ClipMode::Timeline, 999_999);
            assert!(key.len() <= 1024 && key.contains('~'), "{}", key.len());
        }
        assert!(label(&key).starts_with("sha256:"));
        assert_eq!(label("a b.mp4"), "a+b.mp4");
    }

    #[test]
    fn derived_keys_differ_by_the_clip() {
        let [mp4, mov] = ["a.mp4", "a.mov"].map(|key| ClipStem::of(key).unwrap().derived(key));
        assert_ne!(mp4, mov);
        assert!(mp4.frame(ClipMode::Frame, 0).starts_with("a~"));
    }
}

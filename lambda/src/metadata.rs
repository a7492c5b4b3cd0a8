//! The metadata that frames and results carry, besides what [`crate::objects`] adds.

/// Metadata of a frame: its number from 0, how many there are, and its time from the clip's beginning.
pub const FRAME: &str = "muster-frame";
pub const FRAMES: &str = "muster-frames";
pub const AT_SECONDS: &str = "muster-at-seconds";
/// The clip as JSON of [`proto::v1::ClipInfo`], in the mode `timeline`.
pub const CLIP_INFO: &str = "muster-clip-info";

/// Metadata of a result: `named`, `unknown`, `no-face` or `not-an-image`; of a clip without frames, why.
pub const OUTCOME: &str = "muster-outcome";
/// Distance to the nearest embedding of the gallery.
pub const DISTANCE: &str = "muster-distance";
/// The invocation that stored it.
pub const REQUEST_ID: &str = "muster-request-id";
/// Why there is no name.
pub const REASON: &str = "muster-reason";

/// Metadata of a frame's faces: the entity tag of the clip.
pub const CLIP_ETAG: &str = "muster-clip-etag";

/// Makes a reason fit for metadata: one line of ASCII, at most 200 bytes.
pub fn ascii(text: &str) -> String {
    let printable = |c: char| if (' '..='~').contains(&c) { c } else { '?' };
    let text = text.trim().chars().take(200).map(printable);
    text.collect::<String>().trim().to_owned()
}

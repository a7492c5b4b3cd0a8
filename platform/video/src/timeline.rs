//! Who is seen in a clip from when to when. Pure.
//!
//! A face continues the track of a face in one of the last frames if their embeddings are near and, of several candidates,
//! embeddings and boxes fit best. A cut to another person ends a track, since the embeddings differ.

use proto::v1::{
    BoundingBox, ClipInfo, FrameFace, FrameFaces, Recognition, Sighting, Timeline, Track,
};

#[cfg(test)]
mod tests;

/// The name of a face that is not in the gallery.
const UNKNOWN: &str = "Unknown";

/// How faces are followed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TrackOptions {
    /// The largest distance of two embeddings of one person, 0 to 2, where the model has no threshold of its own.
    pub same_person: f32,
    /// Frames in a row without the face after which a track still continues.
    pub missed_frames: usize,
}

impl Default for TrackOptions {
    fn default() -> Self {
        Self {
            same_person: 1.0,
            missed_frames: 1,
        }
    }
}

/// A track before it has a name.
#[derive(Debug)]
struct Following {
    sightings: Vec<Sighting>,
    /// The position of the last sighting among the frames.
    last_frame: usize,
    first_frame: usize,
    embedding: Vec<f32>,
}

/// Follows the faces of a clip's frames. Frames may be unsorted, missing or there twice.
pub fn assemble(
    clip: &str,
    info: &ClipInfo,
    mut frames: Vec<FrameFaces>,
    options: &TrackOptions,
) -> Timeline {
    frames.sort_by(|a, b| {
        a.at_seconds
            .total_cmp(&b.at_seconds)
            .then(a.frame.cmp(&b.frame))
    });
    frames.dedup_by_key(|frame| frame.frame);
    let mut tracks: Vec<Following> = Vec::new();
    for (position, frame) in frames.iter().enumerate() {
        follow(&mut tracks, position, frame, options);
    }
    let mut tracks: Vec<_> = tracks
        .into_iter()
        .map(|track| finish(track, &frames, info.duration_seconds))
        .collect();
    tracks.sort_by(|a, b| {
        a.from_seconds
            .total_cmp(&b.from_seconds)
            .then_with(|| a.name.cmp(&b.name))
    });
    Timeline {
        clip: clip.to_owned(),
        info: Some(info.clone()),
        frames: frames.len() as u32,
        frames_without_face: frames.iter().filter(|frame| frame.faces.is_empty()).count() as u32,
        tracks,
        model: frames
            .iter()
            .find(|frame| !frame.model.is_empty())
            .map(|frame| frame.model.clone())
            .unwrap_or_default(),
    }
}

/// Continues tracks with the faces of a frame, the best fits first, and begins tracks with the others.
fn follow(
    tracks: &mut Vec<Following>,
    position: usize,
    frame: &FrameFaces,
    options: &TrackOptions,
) {
    let mut fits: Vec<(f32, usize, usize)> = Vec::new();
    for (index, track) in tracks.iter().enumerate() {
        if position - track.last_frame > options.missed_frames + 1 {
            continue;
        }
        let candidates = frame.faces.iter().enumerate();
        fits.extend(
            candidates.filter_map(|(face, candidate)| {
                Some((fit(track, candidate, options)?, index, face))
            }),
        );
    }
    fits.sort_by(|a, b| b.0.total_cmp(&a.0));
    let mut is_taken = vec![false; frame.faces.len()];
    let mut is_continued = vec![false; tracks.len()];
    for (_, track, face) in fits {
        if !is_continued[track] && !is_taken[face] {
            (is_continued[track], is_taken[face]) = (true, true);
            let following = &mut tracks[track];
            following
                .sightings
                .push(sighting(frame, &frame.faces[face]));
            following.last_frame = position;
            following.embedding.clone_from(&frame.faces[face].embedding);
        }
    }
    let new = frame
        .faces
        .iter()
        .zip(is_taken)
        .filter(|(_, is_taken)| !is_taken);
    tracks.extend(new.map(|(face, _)| Following {
        sightings: vec![sighting(frame, face)],
        last_frame: position,
        first_frame: position,
        embedding: face.embedding.clone(),
    }));
}

/// Returns how well a face continues a track, more is better; `None` if it is another person's.
fn fit(track: &Following, face: &FrameFace, options: &TrackOptions) -> Option<f32> {
    let last = track.sightings.last()?;
    let recognition = face.recognition.as_ref()?;
    let limit = if recognition.threshold > 0.0 {
        recognition.threshold
    } else {
        options.same_person
    };
    let distance = distance(&track.embedding, &face.embedding);
    let overlap = overlap(last.r#box.as_ref(), recognition.r#box.as_ref());
    let is_named = |name: &str| name != UNKNOWN;
    let is_same_name = is_named(&last.name) && last.name == recognition.name;
    let is_other_name = is_named(&last.name) && is_named(&recognition.name) && !is_same_name;
    // Two names at one place are one face only if the embeddings hardly differ.
    let limit = if is_other_name { limit / 2.0 } else { limit };
    (is_same_name || distance <= limit)
        .then_some(2.0 - distance + overlap + f32::from(is_same_name))
}

fn finish(track: Following, frames: &[FrameFaces], duration: f64) -> Track {
    let Following {
        sightings,
        first_frame,
        last_frame,
        ..
    } = track;
    let at = |position: usize| frames[position].at_seconds;
    // A face may appear and disappear anywhere between two frames.
    let from_seconds = match first_frame.checked_sub(1) {
        Some(before) => f64::midpoint(at(before), at(first_frame)),
        None => 0.0,
    };
    let to_seconds = match frames.get(last_frame + 1) {
        Some(after) => f64::midpoint(at(last_frame), after.at_seconds),
        None => duration.max(at(last_frame)),
    };
    let name = most_frequent_name(&sightings);
    let best = best(&sightings, &name).cloned();
    Track {
        name,
        from_seconds,
        to_seconds,
        best,
        sightings,
    }
}

/// Returns the name of most sightings; of equally many, the one that was nearest to its identity.
fn most_frequent_name(sightings: &[Sighting]) -> String {
    let count = |name: &str| sightings.iter().filter(|it| it.name == name).count();
    let best = sightings.iter().max_by(|a, b| {
        count(&a.name)
            .cmp(&count(&b.name))
            .then_with(|| (a.name != UNKNOWN).cmp(&(b.name != UNKNOWN)))
            .then_with(|| b.distance.total_cmp(&a.distance))
    });
    best.map_or_else(|| UNKNOWN.to_owned(), |it| it.name.clone())
}

/// Returns the largest of the sightings with this name of which the detector is about as sure as of the surest.
fn best<'a>(sightings: &'a [Sighting], name: &str) -> Option<&'a Sighting> {
    let named = || sightings.iter().filter(|it| it.name == name);
    let surest = named().map(|it| it.confidence).fold(0.0, f32::max);
    named()
        .filter(|it| it.confidence >= surest - 0.02)
        .max_by(|a, b| area(a.r#box.as_ref()).total_cmp(&area(b.r#box.as_ref())))
}

fn sighting(frame: &FrameFaces, face: &FrameFace) -> Sighting {
    let Recognition {
        name,
        distance,
        confidence,
        r#box,
        ..
    } = face.recognition.clone().unwrap_or_default();
    Sighting {
        at_seconds: frame.at_seconds,
        frame: frame.frame,
        r#box,
        name,
        distance,
        confidence,
    }
}

/// Returns the Euclidean distance; the largest one if an embedding is missing.
fn distance(a: &[f32], b: &[f32]) -> f32 {
    if a.is_empty() || a.len() != b.len() {
        return 2.0;
    }
    let squares = a.iter().zip(b).map(|(a, b)| (a - b) * (a - b));
    squares.sum::<f32>().sqrt()
}

/// Returns the intersection of two boxes over their union, 0 to 1.
fn overlap(a: Option<&BoundingBox>, b: Option<&BoundingBox>) -> f32 {
    let (Some(one), Some(other)) = (a, b) else {
        return 0.0;
    };
    let common = BoundingBox {
        left: one.left.max(other.left),
        top: one.top.max(other.top),
        right: one.right.min(other.right),
        bottom: one.bottom.min(other.bottom),
    };
    let common = area(Some(&common));
    let union = area(a) + area(b) - common;
    if union > 0.0 { common / union } else { 0.0 }
}

fn area(bounding_box: Option<&BoundingBox>) -> f32 {
    bounding_box.map_or(0.0, |it| {
        (it.right - it.left).max(0.0) * (it.bottom - it.top).max(0.0)
    })
}

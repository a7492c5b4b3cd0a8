//! Who is seen in a clip from when to when. Pure.
//!
//! A face continues the track of a face in one of the last frames if their embeddings are similar and, of several candidates,
//! embeddings and boxes fit best. A cut to another person ends a track, since the embeddings differ.

use std::collections::BTreeMap;

use proto::v1::{
    BoundingBox, ClipInfo, FrameFace, FrameFaces, Recognition, Sighting, Timeline, Track,
};

#[cfg(test)]
mod tests;

/// The name of a face that is not in the gallery.
const UNKNOWN: &str = "Unknown";
/// A track has a name if at least one in so many sightings has one.
const SIGHTINGS_PER_NAMED: usize = 4;
/// How much a box at the same place adds to the similarity.
const OVERLAP_WEIGHT: f32 = 0.2;
/// Two names are one face only if they fit this much better.
const OTHER_NAME_PENALTY: f32 = 0.25;
/// A box at the same place and the same name, above any similarity.
const SAME_NAME_BONUS: f32 = 1.0;

/// How faces are followed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TrackOptions {
    /// The least similarity of two frames' embeddings of one person: their cosine, -1 to 1. Boxes that overlap add to it.
    pub same_person: f32,
    /// Frames in a row without the face after which a track still continues.
    pub missed_frames: usize,
}

impl Default for TrackOptions {
    fn default() -> Self {
        Self {
            same_person: 0.5,
            missed_frames: 1,
        }
    }
}

/// A track before it has a name. Positions are those in the sorted frames.
#[derive(Debug)]
struct Tracklet {
    sightings: Vec<Sighting>,
    first_frame: usize,
    last_frame: usize,
    /// Of the last sighting.
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
    let span = Span::of(&frames, info.duration_seconds);
    let mut active: Vec<Tracklet> = Vec::new();
    let mut tracks: Vec<Track> = Vec::new();
    for (position, frame) in frames.iter().enumerate() {
        let is_lost = |it: &mut Tracklet| position - it.last_frame > options.missed_frames + 1;
        tracks.extend(active.extract_if(.., is_lost).map(|it| span.finish(it)));
        follow(&mut active, position, frame, options);
    }
    tracks.extend(active.into_iter().map(|it| span.finish(it)));
    tracks.sort_by(|a, b| {
        a.from_seconds
            .total_cmp(&b.from_seconds)
            .then_with(|| a.name.cmp(&b.name))
            .then_with(|| a.to_seconds.total_cmp(&b.to_seconds))
    });
    let model = frames.iter().find(|frame| !frame.model.is_empty());
    Timeline {
        clip: clip.to_owned(),
        info: Some(info.clone()),
        frames: frames.len() as u32,
        frames_without_face: frames.iter().filter(|frame| frame.faces.is_empty()).count() as u32,
        tracks,
        model: model.map(|frame| frame.model.clone()).unwrap_or_default(),
    }
}

/// Continues tracks with the faces of a frame, the best fits first, and begins tracks with the others.
fn follow(tracks: &mut Vec<Tracklet>, position: usize, frame: &FrameFaces, options: &TrackOptions) {
    let mut fits: Vec<(f32, usize, usize)> = Vec::new();
    for (index, track) in tracks.iter().enumerate() {
        let fit = |(face, candidate)| Some((fit(track, candidate, options)?, index, face));
        fits.extend(frame.faces.iter().enumerate().filter_map(fit));
    }
    fits.sort_by(|a, b| b.0.total_cmp(&a.0));
    let mut is_taken = vec![false; frame.faces.len()];
    let mut is_continued = vec![false; tracks.len()];
    for (_, index, number) in fits {
        if !is_continued[index] && !is_taken[number] {
            (is_continued[index], is_taken[number]) = (true, true);
            let (track, face) = (&mut tracks[index], &frame.faces[number]);
            track.sightings.push(sighting(frame, face));
            track.last_frame = position;
            track.embedding.clone_from(&face.embedding);
        }
    }
    let new = frame.faces.iter().zip(is_taken).filter(|(_, taken)| !taken);
    tracks.extend(new.map(|(face, _)| Tracklet {
        sightings: vec![sighting(frame, face)],
        first_frame: position,
        last_frame: position,
        embedding: face.embedding.clone(),
    }));
}

/// Returns how well a face continues a track, more is better; `None` if it is another person's.
fn fit(track: &Tracklet, face: &FrameFace, options: &TrackOptions) -> Option<f32> {
    let last = track.sightings.last()?;
    let recognition = face.recognition.as_ref()?;
    let overlap = overlap(last.r#box.as_ref(), recognition.r#box.as_ref());
    let similarity = similarity(&track.embedding, &face.embedding) + OVERLAP_WEIGHT * overlap;
    let are_named = last.name != UNKNOWN && recognition.name != UNKNOWN;
    match are_named {
        true if last.name == recognition.name => Some(similarity + SAME_NAME_BONUS),
        true => Some(similarity - OTHER_NAME_PENALTY),
        false => Some(similarity),
    }
    .filter(|fit| *fit >= options.same_person)
}

/// When the frames were taken, and how long the clip is, in seconds.
#[derive(Debug)]
struct Span {
    times: Vec<f64>,
    /// 0 if the clip does not say it.
    duration: f64,
    /// Between two frames, mostly. Infinite if there is one frame only.
    interval: f64,
}

impl Span {
    fn of(frames: &[FrameFaces], duration: f64) -> Self {
        let times: Vec<_> = frames.iter().map(|frame| frame.at_seconds).collect();
        let mut gaps: Vec<_> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
        gaps.sort_by(f64::total_cmp);
        Self {
            duration,
            interval: gaps.get(gaps.len() / 2).copied().unwrap_or(f64::INFINITY),
            times,
        }
    }

    /// A face may appear and disappear anywhere between two frames, so that the middle is never off by more than a half of
    /// their distance. Up to the ends of the clip there is no frame, or those there are missing.
    fn finish(&self, track: Tracklet) -> Track {
        let (first, last) = (self.times[track.first_frame], self.times[track.last_frame]);
        let from_seconds = match track.first_frame.checked_sub(1) {
            Some(before) => f64::midpoint(self.times[before], first),
            None if first <= self.interval => 0.0,
            None => first - self.interval / 2.0,
        };
        let to_seconds = match self.times.get(track.last_frame + 1) {
            Some(after) => f64::midpoint(last, *after),
            // Twice, since the next frame would have been beyond the end.
            None if self.duration > 0.0 && self.duration - last <= self.interval * 2.0 => {
                self.duration.max(last)
            }
            None if self.interval.is_finite() => last + self.interval / 2.0,
            None => last,
        };
        let name = name(&track.sightings);
        Track {
            from_seconds,
            to_seconds,
            best: best(&track.sightings, &name).cloned(),
            sightings: track.sightings,
            name,
        }
    }
}

/// Returns the name of most of the sightings that have one; of equally many, the one that was nearest to its identity.
fn name(sightings: &[Sighting]) -> String {
    let mut votes: BTreeMap<&str, (usize, f32)> = BTreeMap::new();
    for it in sightings.iter().filter(|it| it.name != UNKNOWN) {
        let (count, nearest) = votes.entry(&it.name).or_insert((0, f32::INFINITY));
        *count += 1;
        *nearest = nearest.min(it.distance);
    }
    let named: usize = votes.values().map(|(count, _)| count).sum();
    let most = votes
        .into_iter()
        .max_by(|(_, a), (_, b)| a.0.cmp(&b.0).then_with(|| b.1.total_cmp(&a.1)));
    most.filter(|_| named * SIGHTINGS_PER_NAMED >= sightings.len())
        .map_or(UNKNOWN, |(name, _)| name)
        .to_owned()
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
        name: if name.is_empty() {
            UNKNOWN.to_owned()
        } else {
            name
        },
        distance,
        confidence,
    }
}

/// Returns the cosine of two unit vectors; -1 if one is missing.
fn similarity(a: &[f32], b: &[f32]) -> f32 {
    if a.is_empty() || a.len() != b.len() {
        return -1.0;
    }
    a.iter().zip(b).map(|(a, b)| a * b).sum()
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

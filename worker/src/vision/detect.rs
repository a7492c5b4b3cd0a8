//! Finding faces: MTCNN with the numbers of facenet-pytorch's `MTCNN(image_size=160, margin=0, min_face_size=20)`.

use std::sync::{Mutex, PoisonError};

use photo::Photo;

use self::boxes::{Candidate, Overlap, covered_pixels, regress, square, suppress};
use self::networks::{OutputNet, RefineNet, Verdict};
use self::proposal::Proposal;
use super::area::{PixelRect, Sampler, shrink};
use super::engine::DetectionNetworks;
use super::geometry::{BoundingBox, Face, Point};

pub mod boxes;
pub mod layers;
pub mod networks;
mod pool;
pub mod proposal;

/// The smallest face looked for, in pixels.
const MIN_FACE: f64 = 20.0;
/// P-Net's window.
const WINDOW: f64 = 12.0;
/// Each level of the pyramid is this much smaller than the one before.
const FACTOR: f64 = 0.709;
const PROPOSAL_THRESHOLD: f32 = 0.6;
const REFINE_THRESHOLD: f32 = 0.7;
const OUTPUT_THRESHOLD: f32 = 0.7;

/// A photo with more pixels is searched in a copy that has fewer, which bounds memory and time; the face is then cut out
/// of the photo itself.
const MAX_SEARCHED_PIXELS: usize = 4_000_000;

/// `detect_large` looks for faces smaller than this share of the photo's shorter side only if there is no larger one.
const SMALL_FACE_SHARE: f64 = 1.0 / 20.0;

/// R-Net and O-Net look at this many candidates at most, the best first; a photo made of noise proposes thousands.
const MAX_CANDIDATES: usize = 1000;

/// The three networks. Threads may share it.
#[derive(Debug)]
pub struct Detector {
    networks: Box<dyn DetectionNetworks>,
    max_searched_pixels: usize,
    /// As many as threads ever searched at once.
    samplers: Mutex<Vec<Sampler>>,
}

impl Detector {
    pub fn new(networks: Box<dyn DetectionNetworks>) -> Self {
        Self {
            networks,
            max_searched_pixels: MAX_SEARCHED_PIXELS,
            samplers: Mutex::default(),
        }
    }

    /// Searches photos of up to so many pixels as they are, and larger ones in a copy that has fewer.
    pub fn with_max_searched_pixels(mut self, pixels: usize) -> Self {
        self.max_searched_pixels = pixels;
        self
    }

    /// All faces of at least 20 pixels, the largest box first, as the reference finds and orders them.
    pub fn detect(&self, photo: &Photo) -> Vec<Face> {
        self.detect_in(photo, |photo, sampler| {
            let scales = pyramid(photo.width(), photo.height());
            let proposals = self.propose(photo, &scales);
            self.judge(photo, sampler, proposals)
        })
    }

    /// As `detect`, but small faces are left out if there is a larger one: all that the main face of a photo needs.
    pub fn detect_large(&self, photo: &Photo) -> Vec<Face> {
        self.detect_in(photo, |photo, sampler| {
            let (width, height) = (photo.width(), photo.height());
            let (small_faces, large_faces): (Vec<f64>, Vec<f64>) = pyramid(width, height)
                .into_iter()
                .partition(|scale| WINDOW / scale < width.min(height) as f64 * SMALL_FACE_SHARE);
            let large = self.propose(photo, &large_faces);
            let faces = self.judge(photo, sampler, large.clone());
            if !faces.is_empty() || small_faces.is_empty() {
                return faces;
            }
            let mut proposals = self.propose(photo, &small_faces);
            proposals.extend(large);
            self.judge(photo, sampler, proposals)
        })
    }

    /// Runs the three networks once, over an even photo and a few candidates: enough to have all code and weights in memory.
    pub fn warm_up(&self) {
        const SIDE: usize = 256;
        let photo = Photo::new(SIDE, SIDE, vec![128; SIDE * SIDE * 3]);
        self.detect_in(&photo, |photo, sampler| {
            let scales = pyramid(SIDE, SIDE);
            let faces = self.propose(photo, &scales);
            let mut even = |_: usize, crop: &mut [f32]| crop.fill(0.0);
            self.networks.refine(8, &mut even);
            self.networks.output(2, &mut even);
            self.judge(photo, sampler, faces)
        });
    }

    fn detect_in(
        &self,
        photo: &Photo,
        search: impl FnOnce(&Photo, &mut Sampler) -> Vec<Face>,
    ) -> Vec<Face> {
        let pixels = photo.width() * photo.height();
        let factor = (pixels as f64 / self.max_searched_pixels as f64)
            .sqrt()
            .ceil() as usize;
        let free = || self.samplers.lock().unwrap_or_else(PoisonError::into_inner);
        let mut sampler = free().pop().unwrap_or_default();
        let faces = match factor {
            0 | 1 => search(photo, &mut sampler),
            factor => search(&shrink(photo, factor), &mut sampler),
        };
        free().push(sampler);
        match factor {
            0 | 1 => faces,
            factor => faces
                .iter()
                .map(|face| enlarged(face, factor as f32))
                .collect(),
        }
    }

    /// P-Net over the levels of the pyramid.
    fn propose(&self, photo: &Photo, scales: &[f64]) -> Vec<Candidate> {
        let mut candidates = Vec::new();
        for &scale in scales {
            let size =
                [photo.width(), photo.height()].map(|side| (side as f64 * scale + 1.0) as usize);
            let proposals = self.networks.propose(photo, size, PROPOSAL_THRESHOLD);
            let windows = proposals
                .iter()
                .map(|proposal| window(proposal, scale))
                .collect();
            candidates.extend(suppress(windows, 0.5, Overlap::Union));
        }
        candidates
    }

    /// R-Net, then O-Net.
    fn judge(&self, photo: &Photo, sampler: &mut Sampler, proposals: Vec<Candidate>) -> Vec<Face> {
        let mut candidates = suppress(proposals, 0.7, Overlap::Union);
        candidates.truncate(MAX_CANDIDATES);
        let (candidates, rects) = squares(photo, candidates, false);
        let mut cut = |index: usize, crop: &mut [f32]| {
            sampler.resize(photo, rects[index], [RefineNet::INPUT; 2], crop);
        };
        let verdicts = self.networks.refine(rects.len(), &mut cut);
        let candidates = passing(candidates, verdicts, REFINE_THRESHOLD);
        let candidates = suppress(candidates, 0.7, Overlap::Union);
        let (candidates, rects) = squares(photo, candidates, true);
        let mut cut = |index: usize, crop: &mut [f32]| {
            sampler.resize(photo, rects[index], [OutputNet::INPUT; 2], crop);
        };
        let verdicts = self.networks.output(rects.len(), &mut cut);
        let mut candidates = passing(candidates, verdicts, OUTPUT_THRESHOLD);
        for candidate in &mut candidates {
            candidate.landmarks = place_landmarks(candidate);
            candidate.bounding_box = regress(&candidate.bounding_box, &candidate.regression, true);
        }
        let candidates = suppress(candidates, 0.7, Overlap::SmallerInclusive);
        let mut faces: Vec<Face> = candidates.iter().map(face).collect();
        faces.sort_by(|a, b| b.bounding_box.area().total_cmp(&a.bounding_box.area()));
        faces
    }
}

/// The scales at which a face of 20 pixels, and each larger by 1 / 0.709, fills P-Net's window; none if the photo is
/// smaller than that.
fn pyramid(width: usize, height: usize) -> Vec<f64> {
    let mut scale = WINDOW / MIN_FACE;
    let mut shorter_side = width.min(height) as f64 * scale;
    let mut scales = Vec::new();
    while shorter_side >= WINDOW {
        scales.push(scale);
        scale *= FACTOR;
        shorter_side *= FACTOR;
    }
    scales
}

/// P-Net's window in the photo's pixels.
fn window(proposal: &Proposal, scale: f64) -> Candidate {
    let edge =
        |place: usize, offset: f64| ((place as f32 * 2.0 + offset as f32) / scale as f32).floor();
    Candidate {
        bounding_box: BoundingBox {
            left: edge(proposal.x, 1.0),
            top: edge(proposal.y, 1.0),
            right: edge(proposal.x, WINDOW),
            bottom: edge(proposal.y, WINDOW),
        },
        score: proposal.probability,
        regression: proposal.regression,
        landmarks: [0.0; 10],
    }
}

/// Moves the candidates by their regression and makes them squares; the pixels each covers. One that lies outside the
/// photo is dropped.
fn squares(
    photo: &Photo,
    candidates: Vec<Candidate>,
    inclusive: bool,
) -> (Vec<Candidate>, Vec<PixelRect>) {
    let moved = candidates.into_iter().filter_map(|candidate| {
        let moved = regress(&candidate.bounding_box, &candidate.regression, inclusive);
        let bounding_box = square(&moved);
        let rect = covered_pixels(&bounding_box, photo.width(), photo.height())?;
        Some((
            Candidate {
                bounding_box,
                ..candidate
            },
            rect,
        ))
    });
    moved.unzip()
}

/// A face of a copy that is `factor` times smaller.
fn enlarged(face: &Face, factor: f32) -> Face {
    Face {
        bounding_box: face.bounding_box.scaled(factor),
        landmarks: face.landmarks.map(|point| Point {
            x: point.x * factor,
            y: point.y * factor,
        }),
        ..face.clone()
    }
}

fn passing(candidates: Vec<Candidate>, verdicts: Vec<Verdict>, threshold: f32) -> Vec<Candidate> {
    let judged = candidates
        .into_iter()
        .zip(verdicts)
        .filter(|(_, verdict)| verdict.probability > threshold);
    judged
        .map(|(candidate, verdict)| Candidate {
            score: verdict.probability,
            regression: verdict.regression,
            landmarks: verdict.landmarks,
            ..candidate
        })
        .collect()
}

/// Landmarks from shares of the box O-Net looked at to pixels of the photo.
fn place_landmarks(candidate: &Candidate) -> [f32; 10] {
    let looked_at = &candidate.bounding_box;
    let (width, height) = (looked_at.width() + 1.0, looked_at.height() + 1.0);
    std::array::from_fn(|index| match candidate.landmarks[index] {
        share if index < 5 => width * share + looked_at.left - 1.0,
        share => height * share + looked_at.top - 1.0,
    })
}

fn face(candidate: &Candidate) -> Face {
    let landmarks = &candidate.landmarks;
    Face {
        bounding_box: candidate.bounding_box,
        probability: candidate.score,
        landmarks: std::array::from_fn(|index| Point {
            x: landmarks[index],
            y: landmarks[index + 5],
        }),
    }
}

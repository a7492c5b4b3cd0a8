//! Face detection: MTCNN with the constants of facenet-pytorch's `MTCNN(image_size=160, margin=0, min_face_size=20)`.

use std::fmt::Debug;

use photo::Photo;

use self::boxes::{CandidateBox, Overlap, covered_pixels, regress, square, suppress};
use self::networks::{OUTPUT_INPUT, Prediction, REFINE_INPUT};
use self::proposal::Proposal;
use super::arenas::Arenas;
use super::geometry::{BoundingBox, Face, Point};
use crate::kernels::area::{AreaResizer, PixelRect, shrink};

pub mod boxes;
pub mod layers;
pub mod networks;
pub mod proposal;

/// The smallest face that is searched, in pixels.
const MIN_FACE: f64 = 20.0;
/// Side of P-Net's window, in pixels.
const WINDOW: f64 = 12.0;
/// Scale between neighboring levels of the pyramid.
const FACTOR: f64 = 0.709;
const PROPOSAL_THRESHOLD: f32 = 0.6;
const REFINE_THRESHOLD: f32 = 0.7;
const OUTPUT_THRESHOLD: f32 = 0.7;

/// A photo with more pixels is searched in a smaller copy, which bounds memory and time. The face is cut out of the
/// photo itself.
const MAX_SEARCHED_PIXELS: usize = 4_000_000;

/// `detect_large` searches faces smaller than this share of the photo's shorter side only if there is no larger one.
const SMALL_FACE_SHARE: f64 = 1.0 / 20.0;

/// R-Net and O-Net run on so many candidates at most, the best ones; a photo of noise proposes thousands.
const MAX_SCORED: usize = 1000;

/// Finds faces by the three networks. Threads may share it.
#[derive(Debug)]
pub struct Detector {
    networks: Box<dyn DetectionNetworks>,
    max_searched_pixels: usize,
    resizers: Arenas<AreaResizer>,
}

/// MTCNN's three networks. Threads may share them.
///
/// Methods panic when the engine fails.
pub trait DetectionNetworks: Debug + Send + Sync {
    /// Runs P-Net on the photo resized to `[width, height]`, at least 12 x 12. Returns the windows, row by row, whose
    /// probability is at least `threshold`.
    fn propose(&self, photo: &Photo, size: [usize; 2], threshold: f32) -> Vec<Proposal>;

    /// Runs R-Net on `count` candidates. `write_crop(index, crop)` writes one of them, 24 x 24 pixels of red, green, blue.
    fn refine(&self, count: usize, write_crop: CropWriter<'_>) -> Vec<Prediction>;

    /// Runs O-Net on `count` candidates of 48 x 48 pixels.
    fn output(&self, count: usize, write_crop: CropWriter<'_>) -> Vec<Prediction>;
}

/// Writes the pixels of a candidate, from -1 to 1.
pub type CropWriter<'a> = &'a mut dyn FnMut(usize, &mut [f32]);

impl Detector {
    pub fn new(networks: Box<dyn DetectionNetworks>) -> Self {
        Self {
            networks,
            max_searched_pixels: MAX_SEARCHED_PIXELS,
            resizers: Arenas::default(),
        }
    }

    /// Searches photos of more pixels in a smaller copy.
    pub fn with_max_searched_pixels(mut self, pixels: usize) -> Self {
        self.max_searched_pixels = pixels;
        self
    }

    /// Returns all faces of at least 20 pixels, the largest box first, as the reference finds and orders them.
    pub fn detect(&self, photo: &Photo) -> Vec<Face> {
        self.detect_in(photo, |photo, resizer| {
            let scales = pyramid(photo.width(), photo.height());
            let proposals = self.propose(photo, &scales);
            self.score_candidates(photo, resizer, proposals)
        })
    }

    /// As [`Self::detect`], but leaves out small faces if there is a larger one: enough to find a photo's main face.
    pub fn detect_large(&self, photo: &Photo) -> Vec<Face> {
        self.detect_in(photo, |photo, resizer| {
            let (width, height) = (photo.width(), photo.height());
            let (small_faces, large_faces): (Vec<f64>, Vec<f64>) = pyramid(width, height)
                .into_iter()
                .partition(|scale| WINDOW / scale < width.min(height) as f64 * SMALL_FACE_SHARE);
            let large = self.propose(photo, &large_faces);
            let faces = self.score_candidates(photo, resizer, large.clone());
            if !faces.is_empty() || small_faces.is_empty() {
                return faces;
            }
            let mut proposals = self.propose(photo, &small_faces);
            proposals.extend(large);
            self.score_candidates(photo, resizer, proposals)
        })
    }

    /// Runs the three networks once, on a gray photo and a few candidates, which loads all code and weights into
    /// memory.
    pub fn warm_up(&self) {
        const SIDE: usize = 256;
        let photo = Photo::new(SIDE, SIDE, vec![128; SIDE * SIDE * 3]);
        self.detect_in(&photo, |photo, resizer| {
            let scales = pyramid(SIDE, SIDE);
            let faces = self.propose(photo, &scales);
            let mut gray = |_: usize, crop: &mut [f32]| crop.fill(0.0);
            self.networks.refine(8, &mut gray);
            self.networks.output(2, &mut gray);
            self.score_candidates(photo, resizer, faces)
        });
    }

    fn detect_in(
        &self,
        photo: &Photo,
        search: impl FnOnce(&Photo, &mut AreaResizer) -> Vec<Face>,
    ) -> Vec<Face> {
        let pixels = photo.width() * photo.height();
        let factor = (pixels as f64 / self.max_searched_pixels as f64)
            .sqrt()
            .ceil() as usize;
        self.resizers.lend(|resizer| {
            if factor <= 1 {
                return search(photo, resizer);
            }
            let faces = search(&shrink(photo, factor), resizer);
            let enlarge = |face| enlarged(face, factor as f32);
            faces.iter().map(enlarge).collect()
        })
    }

    /// Runs P-Net on the levels of the pyramid.
    fn propose(&self, photo: &Photo, scales: &[f64]) -> Vec<CandidateBox> {
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

    /// Runs R-Net, then O-Net.
    fn score_candidates(
        &self,
        photo: &Photo,
        resizer: &mut AreaResizer,
        proposals: Vec<CandidateBox>,
    ) -> Vec<Face> {
        let mut candidates = suppress(proposals, 0.7, Overlap::Union);
        candidates.truncate(MAX_SCORED);
        let (candidates, rects) = squares(photo, candidates, false);
        let mut write_crop = |index: usize, crop: &mut [f32]| {
            resizer.resize(photo, rects[index], [REFINE_INPUT; 2], crop);
        };
        let predictions = self.networks.refine(rects.len(), &mut write_crop);
        let candidates = passing(candidates, predictions, REFINE_THRESHOLD);
        let candidates = suppress(candidates, 0.7, Overlap::Union);
        let (candidates, rects) = squares(photo, candidates, true);
        let mut write_crop = |index: usize, crop: &mut [f32]| {
            resizer.resize(photo, rects[index], [OUTPUT_INPUT; 2], crop);
        };
        let predictions = self.networks.output(rects.len(), &mut write_crop);
        let mut candidates = passing(candidates, predictions, OUTPUT_THRESHOLD);
        for candidate in &mut candidates {
            candidate.landmarks = landmarks_in_pixels(candidate);
            candidate.bounding_box = regress(&candidate.bounding_box, &candidate.regression, true);
        }
        let candidates = suppress(candidates, 0.7, Overlap::SmallerInclusive);
        let mut faces: Vec<Face> = candidates.iter().map(face).collect();
        faces.sort_by(|a, b| b.bounding_box.area().total_cmp(&a.bounding_box.area()));
        faces
    }
}

/// Returns the scales at which a face of 20 pixels, and each larger by 1 / 0.709, fills P-Net's window. There are none
/// for a photo that is smaller.
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

/// Returns P-Net's window in the photo's pixels.
fn window(proposal: &Proposal, scale: f64) -> CandidateBox {
    let edge = |position: usize, offset: f64| {
        ((position as f32 * 2.0 + offset as f32) / scale as f32).floor()
    };
    CandidateBox {
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

/// Moves the candidates by their regression and makes them squares. Returns them with the pixels that each covers, and
/// drops those outside the photo.
fn squares(
    photo: &Photo,
    candidates: Vec<CandidateBox>,
    inclusive: bool,
) -> (Vec<CandidateBox>, Vec<PixelRect>) {
    let moved = candidates.into_iter().filter_map(|candidate| {
        let moved = regress(&candidate.bounding_box, &candidate.regression, inclusive);
        let bounding_box = square(&moved);
        let rect = covered_pixels(&bounding_box, photo.width(), photo.height())?;
        Some((
            CandidateBox {
                bounding_box,
                ..candidate
            },
            rect,
        ))
    });
    moved.unzip()
}

/// Scales a face from a copy that is `factor` times smaller.
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

fn passing(
    candidates: Vec<CandidateBox>,
    predictions: Vec<Prediction>,
    threshold: f32,
) -> Vec<CandidateBox> {
    let scored = candidates
        .into_iter()
        .zip(predictions)
        .filter(|(_, prediction)| prediction.probability > threshold);
    scored
        .map(|(candidate, prediction)| CandidateBox {
            score: prediction.probability,
            regression: prediction.regression,
            landmarks: prediction.landmarks,
            ..candidate
        })
        .collect()
}

/// Converts landmarks from shares of O-Net's box to pixels of the photo.
fn landmarks_in_pixels(candidate: &CandidateBox) -> [f32; 10] {
    let input_box = &candidate.bounding_box;
    let (width, height) = (input_box.width() + 1.0, input_box.height() + 1.0);
    std::array::from_fn(|index| match candidate.landmarks[index] {
        share if index < 5 => width * share + input_box.left - 1.0,
        share => height * share + input_box.top - 1.0,
    })
}

fn face(candidate: &CandidateBox) -> Face {
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

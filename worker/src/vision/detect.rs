//! Finding faces: MTCNN with the numbers of facenet-pytorch's `MTCNN(image_size=160, margin=0, min_face_size=20)`.

use self::boxes::{Candidate, Overlap, covered_pixels, regress, square, suppress};
use self::layers::Map;
use self::networks::{OutputNet, ProposalNet, Proposals, RefineNet, Verdict};
use super::area::{AreaTable, PixelRect, shrink};
use super::decode::Photo;
use super::geometry::{BoundingBox, Face, Point};
use super::weights::{WeightFile, WeightsError};

pub mod boxes;
pub mod layers;
pub mod networks;
mod pool;

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

/// Faces smaller than this share of the photo's shorter side are only looked for if there is no larger one.
const SMALL_FACE_SHARE: f64 = 1.0 / 20.0;

/// R-Net and O-Net look at this many candidates at most, the best first; a photo made of noise proposes thousands.
const MAX_CANDIDATES: usize = 1000;

/// The three networks.
#[derive(Debug)]
pub struct Detector {
    proposal: ProposalNet,
    refine: RefineNet,
    output: OutputNet,
}

impl Detector {
    pub fn load(
        pnet: &WeightFile,
        rnet: &WeightFile,
        onet: &WeightFile,
    ) -> Result<Self, WeightsError> {
        Ok(Self {
            proposal: ProposalNet::load(pnet)?,
            refine: RefineNet::load(rnet)?,
            output: OutputNet::load(onet)?,
        })
    }

    /// All faces of at least 20 pixels, the largest box first, as the reference orders them. Where that would cost
    /// much, small faces are left out if a larger one is found.
    pub fn detect(&self, photo: &Photo) -> Vec<Face> {
        let pixels = photo.width() * photo.height();
        let factor = (pixels as f64 / MAX_SEARCHED_PIXELS as f64).sqrt().ceil() as usize;
        if factor <= 1 {
            return self.detect_in(&AreaTable::new(photo));
        }
        let mut faces = self.detect_in(&AreaTable::new(&shrink(photo, factor)));
        for face in &mut faces {
            face.bounding_box = face.bounding_box.scaled(factor as f32);
            face.landmarks = face.landmarks.map(|point| Point {
                x: point.x * factor as f32,
                y: point.y * factor as f32,
            });
        }
        faces
    }

    fn detect_in(&self, table: &AreaTable) -> Vec<Face> {
        let scales = pyramid(table.width(), table.height());
        let shorter_side = table.width().min(table.height()) as f64;
        let (small_faces, large_faces): (Vec<f64>, Vec<f64>) = scales
            .into_iter()
            .partition(|scale| WINDOW / scale < shorter_side * SMALL_FACE_SHARE);
        let mut proposals = self.propose(table, &large_faces);
        let faces = self.judge(table, proposals.clone());
        if !faces.is_empty() || small_faces.is_empty() {
            return faces;
        }
        proposals.extend(self.propose(table, &small_faces));
        self.judge(table, proposals)
    }

    /// P-Net over the levels of the pyramid.
    fn propose(&self, table: &AreaTable, scales: &[f64]) -> Vec<Candidate> {
        let mut candidates = Vec::new();
        for &scale in scales {
            let width = (table.width() as f64 * scale + 1.0) as usize;
            let height = (table.height() as f64 * scale + 1.0) as usize;
            let mut values = Vec::new();
            table.resize_normalised(table.whole(), width, height, &mut values);
            let proposals = self.proposal.forward(&Map {
                height,
                width,
                channels: 3,
                values,
            });
            candidates.extend(suppress(windows(&proposals, scale), 0.5, Overlap::Union));
        }
        candidates
    }

    /// R-Net, then O-Net.
    fn judge(&self, table: &AreaTable, proposals: Vec<Candidate>) -> Vec<Face> {
        let mut candidates = suppress(proposals, 0.7, Overlap::Union);
        candidates.truncate(MAX_CANDIDATES);
        for candidate in &mut candidates {
            let moved = regress(&candidate.bounding_box, &candidate.regression, false);
            candidate.bounding_box = square(&moved);
        }
        let (candidates, crops) = cut(table, candidates, RefineNet::INPUT);
        let candidates = passing(candidates, self.refine.forward(&crops), REFINE_THRESHOLD);
        let mut candidates = suppress(candidates, 0.7, Overlap::Union);
        for candidate in &mut candidates {
            let moved = regress(&candidate.bounding_box, &candidate.regression, true);
            candidate.bounding_box = square(&moved);
        }
        let (candidates, crops) = cut(table, candidates, OutputNet::INPUT);
        let mut candidates = passing(candidates, self.output.forward(&crops), OUTPUT_THRESHOLD);
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

/// The windows that P-Net takes for faces, in the photo's pixels.
fn windows(proposals: &Proposals, scale: f64) -> Vec<Candidate> {
    let scale = scale as f32;
    let found = proposals
        .probabilities
        .iter()
        .enumerate()
        .filter(|(_, score)| **score >= PROPOSAL_THRESHOLD);
    let candidate = |(index, &score): (usize, &f32)| {
        let (x, y) = (
            (index % proposals.width) as f32 * 2.0,
            (index / proposals.width) as f32 * 2.0,
        );
        let window = WINDOW as f32;
        let bounding_box = BoundingBox {
            left: ((x + 1.0) / scale).floor(),
            top: ((y + 1.0) / scale).floor(),
            right: ((x + window) / scale).floor(),
            bottom: ((y + window) / scale).floor(),
        };
        Candidate {
            bounding_box,
            score,
            regression: proposals.regressions[index],
            landmarks: [0.0; 10],
        }
    };
    found.map(candidate).collect()
}

/// Cuts the candidates out, `side` x `side` normalised pixels each; a candidate outside the photo is dropped.
fn cut(table: &AreaTable, candidates: Vec<Candidate>, side: usize) -> (Vec<Candidate>, Vec<f32>) {
    let mut crops = Vec::new();
    let mut cut_one = |candidate: &Candidate| {
        let rect: Option<PixelRect> =
            covered_pixels(&candidate.bounding_box, table.width(), table.height());
        rect.map(|rect| table.resize_normalised(rect, side, side, &mut crops))
            .is_some()
    };
    let inside = candidates
        .into_iter()
        .filter(|candidate| cut_one(candidate))
        .collect();
    (inside, crops)
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

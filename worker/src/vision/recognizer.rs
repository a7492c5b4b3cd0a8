//! The whole way from a file's bytes to a name.

use std::path::Path;
use std::time::{Duration, Instant};

use photo::{DecodeError, DecodeLimits, Photo, decode};
use thiserror::Error;

use super::crop::{FaceCrop, crop_face};
use super::detect::Detector;
use super::embed::{Embedder, Embedding};
use super::engine::{Engine, EngineName, EngineOptions};
use super::gallery::{Gallery, MAX_CANDIDATES};
use super::geometry::{BoundingBox, Face, Point};
use crate::model::bundle::{Bundle, BundleDescription, LoadError, Precision};

/// The name of a face that is not in the gallery.
pub const UNKNOWN: &str = "Unknown";

/// Detector probabilities this close count as equal.
const PROBABILITY_TOLERANCE: f32 = 0.02;

/// The networks and the gallery. Threads may share it; a photo is recognized on the calling thread.
#[derive(Debug)]
pub struct Recognizer {
    bundle: Bundle,
    engine: EngineName,
    detector: Detector,
    embedder: Embedder,
    gallery: Gallery,
    limits: DecodeLimits,
}

/// The engines of the two networks.
#[derive(Debug, Clone, Copy)]
pub struct Engines<'a> {
    /// Runs MTCNN.
    pub detector: &'a dyn Engine,
    pub embedder: &'a dyn Engine,
}

/// The result for a photo.
#[derive(Debug, Clone, PartialEq)]
pub struct Recognized {
    /// The nearest name, or [`UNKNOWN`] beyond the threshold.
    pub name: String,
    /// The nearest name at any distance; `None` if the gallery is empty.
    pub nearest_name: Option<String>,
    /// Distance to the nearest embedding as the bundle measures it, 0 to 2; 2 if the gallery is empty.
    pub distance: f32,
    /// The distance beyond which the name is [`UNKNOWN`].
    pub threshold: f32,
    /// The nearest identities, each once, nearest first.
    pub candidates: Vec<Candidate>,
    pub bounding_box: BoundingBox,
    /// The detector's probability that this is a face.
    pub face_probability: f32,
    /// Left eye, right eye, nose, left and right corner of the mouth, as the viewer sees them.
    pub landmarks: [Point; 5],
    pub timings: Timings,
    /// Name of the model bundle.
    pub model: String,
}

/// An identity of the gallery that a face may have.
#[derive(Debug, Clone, PartialEq)]
pub struct Candidate {
    pub name: String,
    /// As [`Recognized::distance`].
    pub distance: f32,
}

/// A photo's face and its embedding, for enrollment and evaluation.
#[derive(Debug, Clone, PartialEq)]
pub struct Embedded {
    pub embedding: Embedding,
    pub face: Face,
    /// How many faces the photo shows, without much smaller ones.
    pub faces: usize,
    pub timings: Timings,
}

/// One of the faces of a photo or of a clip's frame.
#[derive(Debug, Clone, PartialEq)]
pub struct NamedFace {
    pub recognized: Recognized,
    /// By which the face is followed through a clip.
    pub embedding: Embedding,
}

/// A photo's face before it is embedded.
struct Found {
    crop: FaceCrop,
    face: Face,
    faces: usize,
    /// `embed` has the time for the crop so far.
    timings: Timings,
}

/// Wall-clock time of each stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Timings {
    pub decode: Duration,
    pub detect: Duration,
    /// Cropping and embedding; in a batch, a photo's share.
    pub embed: Duration,
    /// Searching the gallery.
    pub matching: Duration,
}

/// Why a photo has no result.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum VisionError {
    #[error(transparent)]
    Decode(#[from] DecodeError),
    #[error("no face was found")]
    NoFace,
}

impl Recognizer {
    /// Loads the bundle's networks and checks that the gallery has their dimension. An empty gallery fits every model.
    ///
    /// # Errors
    /// When the bundle or the gallery cannot be used, or the engine lacks what the options ask for.
    pub fn load(
        folder: &Path,
        gallery: Gallery,
        engines: Engines<'_>,
        options: &EngineOptions,
    ) -> Result<Self, LoadError> {
        let bundle = Bundle::open(folder)?;
        let description = &bundle.description;
        if !gallery.is_empty() && gallery.dimension() != description.embedding_size {
            return Err(LoadError::GalleryMismatch {
                gallery: gallery.dimension(),
                model: description.name.clone(),
                expected: description.embedding_size,
            });
        }
        let detector = Detector::new(engines.detector.load_detector(&bundle, options)?);
        let network = engines.embedder.load_embedder(&bundle, options)?;
        let embedder = Embedder::new(network, description.preprocessing, description.input_size);
        Ok(Self {
            bundle,
            engine: engines.embedder.name(),
            detector,
            embedder,
            gallery,
            limits: DecodeLimits::default(),
        })
    }

    /// Sets the limits within which photos are decoded.
    pub fn with_limits(mut self, limits: DecodeLimits) -> Self {
        self.limits = limits;
        self
    }

    /// Overrides the bundle's distance beyond which a face is [`UNKNOWN`].
    pub fn with_threshold(mut self, threshold: f32) -> Self {
        self.bundle.description.threshold = threshold;
        self
    }

    /// Runs the networks once, so that memory and kernels are ready before the first photo.
    pub fn warm_up(&self) {
        self.embedder.network().warm_up(self.embedder.input_size());
        self.detector.warm_up();
    }

    /// Returns the engine of the embedder.
    pub fn engine(&self) -> EngineName {
        self.engine
    }

    pub fn precision(&self) -> Precision {
        self.embedder.precision()
    }

    /// Returns the processor's instructions or the device that the embedder computes with, for people.
    pub fn runs_on(&self) -> String {
        self.embedder.network().runs_on()
    }

    pub fn bundle(&self) -> &Bundle {
        &self.bundle
    }

    pub fn description(&self) -> &BundleDescription {
        &self.bundle.description
    }

    pub fn embedder(&self) -> &Embedder {
        &self.embedder
    }

    pub fn gallery(&self) -> &Gallery {
        &self.gallery
    }

    /// Replaces the gallery.
    pub fn set_gallery(&mut self, gallery: Gallery) {
        self.gallery = gallery;
    }

    /// Decodes a JPEG, PNG or WebP file within the limits.
    pub fn decode(&self, encoded: &[u8]) -> Result<Photo, DecodeError> {
        decode(encoded, &self.limits)
    }

    /// Names the face in a JPEG, PNG or WebP file.
    pub fn recognize(&self, encoded: &[u8]) -> Result<Recognized, VisionError> {
        self.recognize_batch(&[encoded]).swap_remove(0)
    }

    /// Names the face in each of several files. The embedder takes all faces together, which is faster.
    pub fn recognize_batch(
        &self,
        photos: &[impl AsRef<[u8]>],
    ) -> Vec<Result<Recognized, VisionError>> {
        let named = |embedded: Embedded| self.name(embedded);
        self.embed_photos(photos)
            .into_iter()
            .map(|embedded| embedded.map(named))
            .collect()
    }

    /// Names all faces of a photo, the largest first. The times are shares of the photo's.
    pub fn recognize_all(&self, photo: &Photo) -> Vec<NamedFace> {
        let start = Instant::now();
        let faces = self.detector.detect(photo);
        let count = faces.len().max(1) as u32;
        let detect = start.elapsed() / count;
        let start = Instant::now();
        let crops: Vec<_> = faces.iter().map(|face| self.crop(photo, face)).collect();
        let embeddings = self.embed_crops(&crops);
        let timings = Timings {
            detect,
            embed: start.elapsed() / count,
            ..Timings::default()
        };
        let named = |(face, embedding): (Face, Embedding)| NamedFace {
            recognized: self.name(Embedded {
                embedding: embedding.clone(),
                face,
                faces: count as usize,
                timings,
            }),
            embedding,
        };
        faces.into_iter().zip(embeddings).map(named).collect()
    }

    /// Finds and embeds the face in a JPEG, PNG or WebP file.
    pub fn embed_photo(&self, encoded: &[u8]) -> Result<Embedded, VisionError> {
        self.embed_photos(&[encoded]).swap_remove(0)
    }

    /// Finds and crops the face in a JPEG, PNG or WebP file.
    pub fn crop_photo(&self, encoded: &[u8]) -> Result<FaceCrop, VisionError> {
        self.find(encoded).map(|found| found.crop)
    }

    fn embed_photos(&self, photos: &[impl AsRef<[u8]>]) -> Vec<Result<Embedded, VisionError>> {
        let found: Vec<_> = photos
            .iter()
            .map(|photo| self.find(photo.as_ref()))
            .collect();
        let start = Instant::now();
        let crops: Vec<&FaceCrop> = found.iter().flatten().map(|found| &found.crop).collect();
        let mut embeddings = self.embedder.embed(&crops).into_iter();
        let share = start.elapsed() / crops.len().max(1) as u32;
        let mut embed = |found: Found| Embedded {
            embedding: embeddings.next().expect("one embedding for each crop"),
            face: found.face,
            faces: found.faces,
            timings: Timings {
                embed: found.timings.embed + share,
                ..found.timings
            },
        };
        found
            .into_iter()
            .map(|found| found.map(&mut embed))
            .collect()
    }

    fn find(&self, encoded: &[u8]) -> Result<Found, VisionError> {
        let start = Instant::now();
        let photo = self.decode(encoded)?;
        let decoded = Instant::now();
        let detected_faces = self.detector.detect_large(&photo);
        let faces = detected_faces.len();
        let face = main_face(detected_faces).ok_or(VisionError::NoFace)?;
        let detected = Instant::now();
        let crop = self.crop(&photo, &face);
        let timings = Timings {
            decode: decoded - start,
            detect: detected - decoded,
            embed: detected.elapsed(),
            matching: Duration::ZERO,
        };
        Ok(Found {
            crop,
            face,
            faces,
            timings,
        })
    }

    fn name(&self, embedded: Embedded) -> Recognized {
        let Embedded {
            embedding,
            face,
            mut timings,
            ..
        } = embedded;
        let start = Instant::now();
        let nearest = self.gallery.nearest_identities(&embedding, MAX_CANDIDATES);
        timings.matching = start.elapsed();
        let measure = self.bundle.description.distance;
        let candidates: Vec<_> = nearest
            .iter()
            .map(|nearest| Candidate {
                name: nearest.name.to_owned(),
                distance: measure.of_euclidean(nearest.distance),
            })
            .collect();
        let nearest = candidates.first();
        let distance = nearest.map_or(measure.of_euclidean(2.0), |nearest| nearest.distance);
        let nearest_name = nearest.map(|nearest| nearest.name.clone());
        let threshold = self.bundle.description.threshold;
        Recognized {
            name: nearest_name
                .clone()
                .filter(|_| distance <= threshold)
                .unwrap_or_else(|| UNKNOWN.to_owned()),
            nearest_name,
            distance,
            threshold,
            candidates,
            bounding_box: face.bounding_box,
            face_probability: face.probability,
            landmarks: face.landmarks,
            timings,
            model: self.bundle.description.name.clone(),
        }
    }

    /// Returns all faces of a photo, the largest first.
    pub fn detect(&self, photo: &Photo) -> Vec<Face> {
        self.detector.detect(photo)
    }

    /// Crops a face to the square that the embedder takes.
    pub fn crop(&self, photo: &Photo, face: &Face) -> FaceCrop {
        crop_face(
            photo,
            &face.bounding_box,
            self.bundle.description.input_size,
            self.bundle.description.crop_margin,
        )
    }

    /// Returns a unit vector for each crop.
    pub fn embed_crops(&self, crops: &[FaceCrop]) -> Vec<Embedding> {
        self.embedder.embed(&crops.iter().collect::<Vec<_>>())
    }
}

/// Returns the face that the photo is about: the largest of those with about the highest probability.
///
/// Of the 118 sample photos, the largest face is a hand once, and the one with the highest probability is a bystander
/// twice. This rule finds the right face on all of them.
pub fn main_face(faces: Vec<Face>) -> Option<Face> {
    let surest = faces
        .iter()
        .map(|face| face.probability)
        .fold(0.0, f32::max);
    let sure = faces
        .into_iter()
        .filter(|face| face.probability >= surest - PROBABILITY_TOLERANCE);
    sure.max_by(|a, b| a.bounding_box.area().total_cmp(&b.bounding_box.area()))
}

//! Our recogniser and the reference in turns, one thread each.

use std::path::{Path, PathBuf};

use anyhow::Context;
use serde_json::{Map, Value, json};
use worker::vision::crop::FaceCrop;
use worker::vision::decode::{DecodeLimits, Photo, decode};
use worker::vision::embed::Engine;
use worker::vision::{Gallery, Recogniser};

use crate::photos::Photos;
use crate::reference::Reference;
use crate::samples::{Samples, milliseconds};

const BATCH: usize = 8;
const WARM_UP_ROUNDS: usize = 2;

/// One row of the table: something that both can do.
struct Case<'a> {
    title: &'static str,
    /// Milliseconds a photo; the argument counts rounds.
    ours: Box<dyn Fn(usize) -> anyhow::Result<f64> + 'a>,
    /// What the reference is told in this round.
    command: Box<dyn Fn(usize) -> String + 'a>,
    our_samples: Samples,
    their_samples: Samples,
}

/// For each case its medians and 10th percentiles in ms, and their ratios: how many times as fast we are. The pipeline
/// runs with the engine that the worker chooses by itself.
pub fn measure(
    rounds: usize,
    bundle: &Path,
    gallery: &Gallery,
    photos: &Photos,
    mut reference: Option<&mut Reference>,
) -> anyhow::Result<Map<String, Value>> {
    let fp32 = Recogniser::load_with(bundle, gallery.clone(), Engine::Fp32)?;
    let int8 = Recogniser::load_with(bundle, gallery.clone(), Engine::Int8)?;
    let chosen = Recogniser::load(bundle, gallery.clone())?;
    let crops = crops(&fp32, photos)?;
    let small = decoded(&photos.small)?;
    let medium = decoded(&photos.medium)?;
    let large = decoded(&photos.large)?;
    let mut cases = [
        embedding("embed_fp32_b1", &fp32, &crops, 1),
        embedding("embed_int8_b1", &int8, &crops, 1),
        embedding("embed_int8_b8", &int8, &crops, BATCH),
        detection("detect_64", &chosen, &small, &photos.small),
        detection("detect_512", &chosen, &medium, &photos.medium),
        detection("detect_1080", &chosen, &large, &photos.large),
        pipeline("pipeline_512", &chosen, &photos.medium),
    ];
    let mut gemm = Samples::default();
    for round in 0..WARM_UP_ROUNDS + rounds {
        let counts = round >= WARM_UP_ROUNDS;
        for case in &mut cases {
            let ours = (case.ours)(round)?;
            let theirs = match &mut reference {
                Some(reference) => Some(reference.measure(&(case.command)(round))?),
                None => None,
            };
            if counts {
                case.our_samples.push(ours);
                case.their_samples.extend(theirs);
            }
        }
        if let Some(reference) = &mut reference {
            let rate = reference.measure("gemm")?;
            if counts {
                gemm.push(rate);
            }
        }
    }
    let has_reference = reference.is_some();
    let mut found = Map::new();
    for case in &cases {
        case.report(has_reference, &mut found);
    }
    found.insert(
        "gemm_gflops".to_owned(),
        json!(has_reference.then(|| gemm.median())),
    );
    Ok(found)
}

impl Case<'_> {
    fn report(&self, has_reference: bool, found: &mut Map<String, Value>) {
        let title = self.title;
        for (suffix, share) in [("", 0.5), ("p10_", 0.1)] {
            let ours = self.our_samples.quantile(share);
            let theirs = has_reference.then(|| self.their_samples.quantile(share));
            let ratio = theirs.map(|theirs| theirs / ours);
            found.insert(format!("{title}_{suffix}ratio"), json!(ratio));
            found.insert(format!("{title}_{suffix}ms"), json!(ours));
            found.insert(format!("reference_{title}_{suffix}ms"), json!(theirs));
        }
    }
}

/// The reference always embeds one crop at a time, as it does when it is used.
fn embedding<'a>(
    title: &'static str,
    recogniser: &'a Recogniser,
    crops: &'a [FaceCrop],
    count: usize,
) -> Case<'a> {
    let ours = move |round: usize| {
        let first = round % (crops.len() - count + 1);
        let batch = &crops[first..first + count];
        Ok(milliseconds(|| recogniser.embed_crops(batch)) / count as f64)
    };
    case(title, ours, |_| "embed 1".to_owned())
}

fn detection<'a>(
    title: &'static str,
    recogniser: &'a Recogniser,
    photos: &'a [Photo],
    files: &'a [PathBuf],
) -> Case<'a> {
    let ours = |round: usize| {
        let photo = &photos[round % photos.len()];
        Ok(milliseconds(|| recogniser.detect(photo)))
    };
    let command = |round: usize| format!("detect {}", files[round % files.len()].display());
    case(title, ours, command)
}

fn pipeline<'a>(title: &'static str, recogniser: &'a Recogniser, files: &'a [PathBuf]) -> Case<'a> {
    let ours = |round: usize| {
        let file = &files[round % files.len()];
        let mut outcome = Ok(());
        let elapsed = milliseconds(|| {
            outcome = std::fs::read(file)
                .map_err(anyhow::Error::from)
                .and_then(|photo| Ok(recogniser.recognise(&photo).map(drop)?));
        });
        outcome.map(|()| elapsed)
    };
    let command = |round: usize| format!("pipeline {}", files[round % files.len()].display());
    case(title, ours, command)
}

fn case<'a>(
    title: &'static str,
    ours: impl Fn(usize) -> anyhow::Result<f64> + 'a,
    command: impl Fn(usize) -> String + 'a,
) -> Case<'a> {
    Case {
        title,
        ours: Box::new(ours),
        command: Box::new(command),
        our_samples: Samples::default(),
        their_samples: Samples::default(),
    }
}

/// More crops than a batch has, so that each round embeds others.
fn crops(recogniser: &Recogniser, photos: &Photos) -> anyhow::Result<Vec<FaceCrop>> {
    let mut crops = Vec::new();
    for photo in decoded(&photos.medium)?
        .iter()
        .chain(&decoded(&photos.large)?)
    {
        let faces = recogniser.detect(photo);
        let face = faces.first().context("a photo of the bench has no face")?;
        crops.push(recogniser.crop(photo, face));
    }
    Ok(crops)
}

fn decoded(files: &[PathBuf]) -> anyhow::Result<Vec<Photo>> {
    files
        .iter()
        .map(|file| Ok(decode(&std::fs::read(file)?, &DecodeLimits::default())?))
        .collect()
}

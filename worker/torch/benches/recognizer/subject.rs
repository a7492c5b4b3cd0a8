//! A process that measures one engine: reads a command a line on standard input, and replies with a line.
//!
//! ```text
//! embed PRECISION N   ms per crop for one pass of the embedder over N crops
//! detect PATH         ms to find the faces of a decoded photo
//! pipeline PATH       ms from the file to the nearest of a gallery of 93
//! boxes PATH          the faces found, as JSON: [[left, top, right, bottom], ...]
//! gallery N           median and 99th percentile of the ms of a search among N, or null
//! ```

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io::BufRead;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use clap::ValueEnum;
use photo::{DecodeLimits, Photo, decode};
use serde_json::json;
use worker::vision::embed::Input;
use worker::vision::engine::native::NativeEngine;
use worker::vision::{
    Engine, EngineName, EngineOptions, Engines, Gallery, LoadError, Precision, Recognizer,
};
use worker_torch::TorchEngine;

use crate::samples::milliseconds;
use crate::{PIPELINE_GALLERY, galleries, vectors};

/// Gallery searches that would take longer are skipped.
const LONGEST_SEARCH: Duration = Duration::from_secs(60);

/// Crops that rounds take in turns.
const CROPS: usize = 40;

struct Subject {
    engine: EngineName,
    device: Option<String>,
    bundle: PathBuf,
    /// By precision, loaded on first use.
    loaded: HashMap<Option<Precision>, Recognizer>,
    photos: HashMap<PathBuf, Photo>,
    round: usize,
}

/// Replies to commands until standard input ends.
pub fn run(engine: EngineName, device: Option<String>, bundle: PathBuf) -> anyhow::Result<()> {
    let mut subject = Subject {
        engine,
        device,
        bundle,
        loaded: HashMap::new(),
        photos: HashMap::new(),
        round: 0,
    };
    println!("ready");
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        println!("{}", subject.reply(&line)?);
    }
    Ok(())
}

impl Subject {
    fn reply(&mut self, line: &str) -> anyhow::Result<String> {
        let (command, argument) = line.split_once(' ').context("a command has an argument")?;
        Ok(match command {
            "embed" => {
                let (precision, count) = argument.split_once(' ').context("and a count")?;
                let precision =
                    Precision::from_str(precision, false).map_err(anyhow::Error::msg)?;
                self.embed(precision, count.parse()?)?.to_string()
            }
            "detect" => {
                self.decode(argument)?;
                self.load(None)?;
                let photo = &self.photos[Path::new(argument)];
                milliseconds(|| self.loaded[&None].detect(photo)).to_string()
            }
            "pipeline" => {
                let recognizer = self.load(None)?;
                let mut outcome = Ok(());
                let elapsed = milliseconds(|| {
                    outcome = std::fs::read(argument)
                        .map_err(anyhow::Error::from)
                        .and_then(|photo| Ok(recognizer.recognize(&photo).map(drop)?));
                });
                outcome.map(|()| elapsed.to_string())?
            }
            "boxes" => {
                self.decode(argument)?;
                self.load(None)?;
                let faces = self.loaded[&None].detect(&self.photos[Path::new(argument)]);
                let sides = faces.iter().map(|face| {
                    let it = face.bounding_box;
                    [it.left, it.top, it.right, it.bottom]
                });
                json!(sides.collect::<Vec<_>>()).to_string()
            }
            "gallery" => json!(galleries::search(argument.parse()?, LONGEST_SEARCH)).to_string(),
            _ => bail!("unknown command: {command}"),
        })
    }

    /// Returns the ms per crop for one pass of the network.
    fn embed(&mut self, precision: Precision, count: usize) -> anyhow::Result<f64> {
        self.round += 1;
        let round = self.round;
        let embedder = self.load(Some(precision))?.embedder();
        let side = embedder.input_size();
        let crops: Vec<Vec<u8>> = (0..count)
            .map(|index| noise(side * side * 3, (round + index) % CROPS))
            .collect();
        let inputs: Vec<Input<'_>> = crops
            .iter()
            .map(|pixels| Input {
                pixels,
                mean: [127.5; 3],
                deviation: [128.0; 3],
            })
            .collect();
        Ok(milliseconds(|| embedder.network().forward(&inputs)) / count as f64)
    }

    fn load(&mut self, precision: Option<Precision>) -> Result<&Recognizer, LoadError> {
        if !self.loaded.contains_key(&precision) {
            let engine: &dyn Engine = match self.engine {
                EngineName::Torch => &TorchEngine,
                EngineName::Native => &NativeEngine,
            };
            let engines = Engines {
                detector: &NativeEngine,
                embedder: engine,
            };
            let options = EngineOptions {
                precision,
                device: self.device.clone(),
            };
            let gallery = match precision {
                None => vectors::clustered_gallery(PIPELINE_GALLERY),
                Some(_) => Gallery::default(),
            };
            let recognizer = Recognizer::load(&self.bundle, gallery, engines, &options)?;
            recognizer.warm_up();
            self.loaded.insert(precision, recognizer);
        }
        Ok(&self.loaded[&precision])
    }

    fn decode(&mut self, path: &str) -> anyhow::Result<()> {
        if let Entry::Vacant(entry) = self.photos.entry(PathBuf::from(path)) {
            entry.insert(decode(&std::fs::read(path)?, &DecodeLimits::default())?);
        }
        Ok(())
    }
}

/// Returns reproducible noise; a network's time does not depend on its input.
fn noise(length: usize, seed: usize) -> Vec<u8> {
    let byte = |index: usize| {
        let mixed = ((index + seed * 7919) as u32)
            .wrapping_mul(2_654_435_761)
            .rotate_left(13);
        (mixed.wrapping_mul(2_246_822_519) >> 24) as u8
    };
    (0..length).map(byte).collect()
}

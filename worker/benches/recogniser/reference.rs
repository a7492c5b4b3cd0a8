//! The reference: a Python process that measures itself when it is told to (scripts/bench_lib/reference.py).

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context, ensure};
use serde_json::{Map, Value, json};
use worker::vision::Recogniser;
use worker::vision::decode::{DecodeLimits, decode};
use worker::vision::geometry::BoundingBox;

use crate::photos::Photos;

/// It ends when this is dropped, since its input does.
#[derive(Debug)]
pub struct Reference {
    process: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Reference {
    pub fn start(python: &Path, weights: &Path, root: &Path) -> anyhow::Result<Self> {
        let mut process = Command::new(python)
            .args(["-B", "-m", "bench_lib.reference"])
            .arg(weights)
            .current_dir(root.join("scripts"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {}", python.display()))?;
        let input = process.stdin.take();
        let output = process.stdout.take().context("its output is a pipe")?;
        let mut reference = Self {
            process,
            input,
            output: BufReader::new(output),
        };
        let greeting = reference.answer()?;
        ensure!(greeting == "ready", "the reference says {greeting:?}");
        Ok(reference)
    }

    /// Milliseconds, or for `gemm` billions of operations a second.
    pub fn measure(&mut self, command: &str) -> anyhow::Result<f64> {
        Ok(self.ask(command)?.parse()?)
    }

    fn boxes(&mut self, photo: &Path) -> anyhow::Result<Vec<[f32; 4]>> {
        let answer = self.ask(&format!("boxes {}", photo.display()))?;
        Ok(serde_json::from_str(&answer)?)
    }

    fn ask(&mut self, command: &str) -> anyhow::Result<String> {
        let input = self.input.as_mut().context("its input is open")?;
        writeln!(input, "{command}")?;
        self.answer()
    }

    fn answer(&mut self) -> anyhow::Result<String> {
        let mut line = String::new();
        let length = self.output.read_line(&mut line)?;
        ensure!(length > 0, "the reference ended; its error stands above");
        Ok(line.trim_end().to_owned())
    }
}

impl Drop for Reference {
    fn drop(&mut self) {
        drop(self.input.take());
        // Whatever it was doing, there is nobody left to tell.
        let _ = self.process.wait();
    }
}

/// Whether both find the same faces: for each of ours, how far the nearest of theirs is off.
pub fn compare_boxes(
    reference: &mut Reference,
    recogniser: &Recogniser,
    photos: &Photos,
) -> anyhow::Result<Map<String, Value>> {
    let (mut ours, mut theirs, mut largest) = (0, 0, 0.0f32);
    for file in photos
        .small
        .iter()
        .chain(&photos.medium)
        .chain(&photos.large)
    {
        let photo = decode(&std::fs::read(file)?, &DecodeLimits::default())?;
        let found = recogniser.detect(&photo);
        let expected = reference.boxes(file)?;
        ours += found.len();
        theirs += expected.len();
        for face in found {
            let nearest = expected
                .iter()
                .map(|other| offset(&face.bounding_box, other));
            largest = largest.max(nearest.fold(f32::INFINITY, f32::min));
        }
    }
    Ok(Map::from_iter([
        ("faces_found".to_owned(), json!(ours)),
        ("reference_faces_found".to_owned(), json!(theirs)),
        ("box_difference_max_px".to_owned(), json!(largest)),
    ]))
}

fn offset(face: &BoundingBox, [left, top, right, bottom]: &[f32; 4]) -> f32 {
    let sides = [
        face.left - left,
        face.top - top,
        face.right - right,
        face.bottom - bottom,
    ];
    sides.into_iter().map(f32::abs).fold(0.0, f32::max)
}

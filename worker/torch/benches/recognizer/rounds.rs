//! Measures all subjects and references in turns, with one thread each.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Map, Value, json};
use worker::kernels::Instructions;
use worker::vision::EngineName;

use crate::photos::Photos;
use crate::process::Process;
use crate::samples::Samples;

const WARM_UP_ROUNDS: usize = 2;

/// Operations of the embedder for one crop.
const EMBEDDER_GFLOP: f64 = 2.834;

/// One row of the table, and the commands to subject and reference in a round.
#[derive(Debug)]
pub struct Case {
    /// Of the figures in the report.
    pub key: &'static str,
    pub title: &'static str,
    subject: fn(&Photos, usize) -> String,
    reference: fn(&Photos, usize) -> String,
}

/// The reference embeds one crop at a time, as its users do.
pub const CASES: [Case; 7] = [
    Case {
        key: "embed_fp32_b1",
        title: "embed, float32",
        subject: |_, _| "embed fp32 1".to_owned(),
        reference: |_, _| "embed 1".to_owned(),
    },
    Case {
        key: "embed_int8_b1",
        title: "embed, int8",
        subject: |_, _| "embed int8 1".to_owned(),
        reference: |_, _| "embed 1".to_owned(),
    },
    Case {
        key: "embed_int8_b8",
        title: "embed, int8, of 8",
        subject: |_, _| "embed int8 8".to_owned(),
        reference: |_, _| "embed 1".to_owned(),
    },
    Case {
        key: "detect_64",
        title: "detect, 64 x 64",
        subject: |photos, round| on("detect", &photos.small, round),
        reference: |photos, round| on("detect", &photos.small, round),
    },
    Case {
        key: "detect_512",
        title: "detect, 512 x 512",
        subject: |photos, round| on("detect", &photos.medium, round),
        reference: |photos, round| on("detect", &photos.medium, round),
    },
    Case {
        key: "detect_1080",
        title: "detect, 1920 x 1080",
        subject: |photos, round| on("detect", &photos.large, round),
        reference: |photos, round| on("detect", &photos.large, round),
    },
    Case {
        key: "pipeline_512",
        title: "recognize, 512 x 512",
        subject: |photos, round| on("pipeline", &photos.medium, round),
        reference: |photos, round| on("pipeline", &photos.medium, round),
    },
];

/// An engine, and the instructions that it is limited to; `None` is all that the processor has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SubjectName {
    pub engine: EngineName,
    pub instructions: Option<Instructions>,
}

/// The Python with facenet-pytorch, its weights, and the repository.
#[derive(Debug)]
pub struct ReferenceSetup<'a> {
    pub python: &'a Path,
    pub weights: &'a Path,
    pub root: &'a Path,
}

struct Measured {
    name: SubjectName,
    process: Process,
    /// Index of the reference with the same instructions.
    reference: Option<usize>,
    samples: [Samples; CASES.len()],
}

struct Reference {
    limits: IsaLimits,
    process: Process,
    samples: [Samples; CASES.len()],
    gemm: Samples,
}

/// Environment variables that limit the instructions of PyTorch, oneDNN and MKL.
type IsaLimits = &'static [(&'static str, &'static str)];

/// Returns the figures of all cases for each subject.
pub fn measure(
    rounds: usize,
    names: &[SubjectName],
    bundle: &Path,
    photos: &Photos,
    reference: Option<&ReferenceSetup<'_>>,
) -> anyhow::Result<Vec<Map<String, Value>>> {
    let mut references: Vec<Reference> = Vec::new();
    let mut subjects = Vec::new();
    for &name in names {
        let of_subject = match reference {
            Some(setup) => Some(reference_for(name, setup, &mut references)?),
            None => None,
        };
        subjects.push(Measured {
            name,
            process: Process::start(subject_command(name, bundle)?)?,
            reference: of_subject,
            samples: Default::default(),
        });
    }
    for round in 0..WARM_UP_ROUNDS + rounds {
        let counts = round >= WARM_UP_ROUNDS;
        for (number, case) in CASES.iter().enumerate() {
            for reference in &mut references {
                let theirs = reference
                    .process
                    .measure(&(case.reference)(photos, round))?;
                reference.samples[number].extend(counts.then_some(theirs));
            }
            for subject in subjects.iter_mut().filter(|subject| subject.has(case)) {
                let ours = subject.process.measure(&(case.subject)(photos, round))?;
                subject.samples[number].extend(counts.then_some(ours));
            }
        }
        for reference in &mut references {
            let rate = reference.process.measure("gemm")?;
            reference.gemm.extend(counts.then_some(rate));
        }
    }
    let figures = subjects.iter_mut().map(|subject| {
        let mut figures = subject.figures(&references);
        let reference = subject
            .reference
            .map(|index| &mut references[index].process);
        figures.extend(compare_boxes(&mut subject.process, reference, photos)?);
        for (rows, key) in [(200_000, "gallery_200k"), (1_000_000, "gallery_1m")] {
            let reply = subject.process.ask(&format!("gallery {rows}"))?;
            let reply: Value = serde_json::from_str(&reply)?;
            figures.insert(format!("{key}_ms"), reply[0].clone());
            figures.insert(format!("{key}_p99_ms"), reply[1].clone());
        }
        Ok(figures)
    });
    figures.collect()
}

impl SubjectName {
    /// Whether the subject has 8-bit integers.
    fn has_int8(self) -> bool {
        match self.instructions {
            Some(instructions) => instructions.has_fast_bytes(),
            None => Instructions::best().has_fast_bytes(),
        }
    }

    /// Limits `command` to these instructions.
    pub fn limit(self, command: &mut Command) {
        if let Some(instructions) = self.instructions {
            command.env("MUSTER_INSTRUCTIONS", instructions.to_string());
        }
    }
}

impl Measured {
    fn has(&self, case: &Case) -> bool {
        !case.key.contains("int8") || self.name.has_int8()
    }

    /// Returns medians and 10th percentiles in ms, and the speedup over the reference.
    fn figures(&self, references: &[Reference]) -> Map<String, Value> {
        let reference = self.reference.map(|index| &references[index]);
        let mut found = Map::new();
        for (number, case) in CASES.iter().enumerate() {
            let key = case.key;
            for (suffix, share) in [("", 0.5), ("p10_", 0.1)] {
                let ours = self.has(case).then(|| self.samples[number].quantile(share));
                let theirs = reference.map(|reference| reference.samples[number].quantile(share));
                let ratio = theirs.zip(ours).map(|(theirs, ours)| theirs / ours);
                found.insert(format!("{key}_{suffix}ratio"), json!(ratio));
                found.insert(format!("{key}_{suffix}ms"), json!(ours));
                found.insert(format!("reference_{key}_{suffix}ms"), json!(theirs));
            }
        }
        let gflops = reference.map(|reference| reference.gemm.median());
        let floor = gflops.map(|gflops| EMBEDDER_GFLOP / gflops * 1000.0);
        found.insert("gemm_gflops".to_owned(), json!(gflops));
        found.insert("embed_fp32_floor_ms".to_owned(), json!(floor));
        found
    }
}

/// Returns the command that runs this program as a subject.
fn subject_command(name: SubjectName, bundle: &Path) -> anyhow::Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command
        .args(["--subject", &name.engine.to_string(), "--models"])
        .arg(bundle)
        .env("OMP_NUM_THREADS", "1");
    name.limit(&mut command);
    Ok(command)
}

/// Returns the index of the reference with the subject's instructions, and starts it if there is none yet.
fn reference_for(
    name: SubjectName,
    setup: &ReferenceSetup<'_>,
    references: &mut Vec<Reference>,
) -> anyhow::Result<usize> {
    let limits = limits(name.instructions.unwrap_or(Instructions::best()));
    if let Some(index) = references.iter().position(|other| other.limits == limits) {
        return Ok(index);
    }
    let mut command = Command::new(setup.python);
    command
        .args(["-B", "-m", "bench_lib.reference"])
        .arg(setup.weights)
        .current_dir(setup.root.join("scripts"))
        .envs(limits.iter().copied());
    references.push(Reference {
        limits,
        process: Process::start(command)?,
        samples: Default::default(),
        gemm: Samples::default(),
    });
    Ok(references.len() - 1)
}

/// Returns no limits for the processor's best instructions.
fn limits(instructions: Instructions) -> IsaLimits {
    match instructions {
        best if best == Instructions::best() => &[],
        Instructions::Portable | Instructions::Avx2 => &[
            ("ATEN_CPU_CAPABILITY", "avx2"),
            ("ONEDNN_MAX_CPU_ISA", "AVX2"),
            ("MKL_ENABLE_INSTRUCTIONS", "AVX2"),
        ],
        Instructions::AvxVnni => &[
            ("ATEN_CPU_CAPABILITY", "avx2"),
            ("ONEDNN_MAX_CPU_ISA", "AVX2_VNNI"),
            ("MKL_ENABLE_INSTRUCTIONS", "AVX2"),
        ],
        Instructions::Avx512 => &[("ONEDNN_MAX_CPU_ISA", "AVX512_CORE")],
        Instructions::Avx512Vnni | Instructions::Amx => {
            &[("ONEDNN_MAX_CPU_ISA", "AVX512_CORE_VNNI")]
        }
    }
}

/// Counts the faces that subject and reference find. Returns the largest distance from a subject's box to the nearest
/// of the reference's.
fn compare_boxes(
    subject: &mut Process,
    mut reference: Option<&mut Process>,
    photos: &Photos,
) -> anyhow::Result<Map<String, Value>> {
    let (mut ours, mut theirs, mut largest) = (0, 0, 0.0f32);
    for file in (photos.small.iter())
        .chain(&photos.medium)
        .chain(&photos.large)
    {
        let boxes = |process: &mut Process| -> anyhow::Result<Vec<[f32; 4]>> {
            let reply = process.ask(&format!("boxes {}", file.display()))?;
            Ok(serde_json::from_str(&reply)?)
        };
        let found = boxes(subject)?;
        ours += found.len();
        if let Some(reference) = &mut reference {
            let expected = boxes(reference)?;
            theirs += expected.len();
            for face in found {
                let offsets = expected.iter().map(|other| offset(&face, other));
                largest = largest.max(offsets.fold(f32::INFINITY, f32::min));
            }
        }
    }
    let has_reference = reference.is_some();
    Ok(Map::from_iter([
        ("faces_found".to_owned(), json!(ours)),
        (
            "reference_faces_found".to_owned(),
            json!(has_reference.then_some(theirs)),
        ),
        (
            "box_difference_max_px".to_owned(),
            json!(has_reference.then_some(largest)),
        ),
    ]))
}

fn offset(a: &[f32; 4], b: &[f32; 4]) -> f32 {
    let sides = a.iter().zip(b).map(|(a, b)| (a - b).abs());
    sides.fold(0.0, f32::max)
}

fn on(command: &str, files: &[PathBuf], round: usize) -> String {
    format!("{command} {}", files[round % files.len()].display())
}

//! Embedders of any architecture, exported from PyTorch as TorchScript.

use std::path::Path;

use tch::{CModule, Device, Kind, TchError, Tensor};
use worker::model::bundle::{Bundle, LoadError};
use worker::vision::Precision;
use worker::vision::embed::{EmbeddingNetwork, Input};

use crate::{device, images, infer, values};

/// A module from [N, 3, side, side] to [N, embedding size].
#[derive(Debug)]
pub struct ScriptEmbedder {
    module: CModule,
    input_size: usize,
    /// Type of the module's parameters.
    kind: Kind,
    device: Device,
    /// Images at once. A batch gains nothing on a processor, and a traced module may take a single image only.
    batch: usize,
}

impl ScriptEmbedder {
    /// Loads the module and runs it once.
    ///
    /// # Errors
    /// When the file is no TorchScript, or when its shapes differ from the bundle's.
    pub fn load(bundle: &Bundle, device: Device) -> Result<Self, LoadError> {
        let description = &bundle.description;
        let path = bundle.folder.join(&description.embedder);
        let invalid = |reason: String| LoadError::Invalid {
            path: path.clone(),
            reason,
        };
        if let Err(source) = std::fs::File::open(&path) {
            return Err(LoadError::Read { path, source });
        }
        let (mut module, kind) = load_module(&path, device).map_err(|error| {
            invalid(format!(
                "not a TorchScript file, as torch.jit.save writes them: {}",
                summary(&error)
            ))
        })?;
        module
            .f_set_eval()
            .map_err(|error| invalid(summary(&error)))?;
        let mut embedder = Self {
            module,
            input_size: description.input_size,
            kind,
            device,
            batch: 1,
        };
        let side = description.input_size;
        let given = embedder.trial(1).map_err(|error| {
            invalid(format!(
                "the module does not take [1, 3, {side}, {side}], as the bundle's input_size says: {}",
                summary(&error)
            ))
        })?;
        let expected = [1, description.embedding_size as i64];
        if given.size() != expected {
            return Err(invalid(format!(
                "the module gives {:?}, expected {expected:?}, as the bundle's embedding_size says",
                given.size()
            )));
        }
        const LARGEST_BATCH: usize = 8;
        if device.is_cuda() && embedder.trial(LARGEST_BATCH).is_ok() {
            embedder.batch = LARGEST_BATCH;
        }
        Ok(embedder)
    }

    fn trial(&self, count: usize) -> Result<Tensor, TchError> {
        self.run(
            &vec![0.0; count * self.input_size * self.input_size * 3],
            count,
        )
    }

    fn run(&self, inputs: &[f32], count: usize) -> Result<Tensor, TchError> {
        let side = self.input_size;
        // A module may require PyTorch's default memory order.
        let inputs = images(inputs, [count, side, side, 3], self.device)
            .to_kind(self.kind)
            .contiguous();
        self.module.forward_ts(&[inputs])
    }
}

impl EmbeddingNetwork for ScriptEmbedder {
    fn precision(&self) -> Precision {
        Precision::Fp32
    }

    fn runs_on(&self) -> String {
        device::describe(self.device)
    }

    fn forward(&self, inputs: &[Input<'_>]) -> Vec<f32> {
        infer(|| {
            let batch = |inputs: &[Input<'_>]| {
                let embeddings = self.run(&Input::floats(inputs), inputs.len());
                values(&embeddings.expect("the module ran when it was loaded"))
            };
            inputs.chunks(self.batch).flat_map(batch).collect()
        })
    }

    fn largest_values(&self, _: &Input<'_>) -> Option<Vec<f32>> {
        None
    }
}

fn load_module(path: &Path, device: Device) -> Result<(CModule, Kind), TchError> {
    let module = CModule::load_on_device(path, device)?;
    let parameters = module.named_parameters()?;
    let kind = parameters
        .first()
        .map_or(Kind::Float, |(_, parameter)| parameter.kind());
    Ok((module, kind))
}

/// Returns the line of libtorch's error that says what happened, without the C++ stack trace.
pub fn summary(error: &TchError) -> String {
    let text = match error {
        TchError::Torch(text) => text.clone(),
        other => other.to_string(),
    };
    let mut lines = text.lines().filter(|line| !line.trim().is_empty());
    // The interpreter's errors end with that line, after a traceback.
    let is_traceback = text.contains("Traceback of TorchScript");
    let line = if is_traceback {
        lines.next_back()
    } else {
        lines.next()
    };
    line.unwrap_or_default().trim().to_owned()
}

//! The native engine: Muster's own loops, compiled for the instructions of common processors.

use photo::Photo;

use super::{Engine, EngineName, EngineOptions};
use crate::kernels::Instructions;
use crate::model::bundle::{Bundle, LoadError, Network, Precision};
use crate::model::weights::WeightsError;
use crate::vision::arenas::Arenas;
use crate::vision::detect::networks::{CandidateArena, CandidateNet, Prediction};
use crate::vision::detect::proposal::{Proposal, ProposalArena, ProposalNet};
use crate::vision::detect::{CropWriter, DetectionNetworks};
use crate::vision::embed::bytes::{ByteArena, ByteNetwork};
use crate::vision::embed::floats::{FloatArena, FloatNetwork};
use crate::vision::embed::{EmbeddingNetwork, Input};

/// The engine without libtorch.
#[derive(Debug, Clone, Copy)]
pub struct NativeEngine;

/// MTCNN's networks in float32.
#[derive(Debug)]
pub struct NativeDetector {
    instructions: Instructions,
    proposal: ProposalNet,
    refine: CandidateNet,
    output: CandidateNet,
    proposal_arenas: Arenas<ProposalArena>,
    candidate_arenas: Arenas<CandidateArena>,
}

/// Inception-ResNet v1 in either precision.
#[derive(Debug)]
pub struct NativeEmbedder(NativeNetwork);

#[derive(Debug)]
enum NativeNetwork {
    Floats(FloatNetwork, Arenas<FloatArena>),
    Bytes(ByteNetwork, Arenas<ByteArena>),
}

impl Engine for NativeEngine {
    fn name(&self) -> EngineName {
        EngineName::Native
    }

    fn gains_from_int8(&self) -> bool {
        Instructions::best().has_fast_bytes()
    }

    fn load_embedder(
        &self,
        bundle: &Bundle,
        options: &EngineOptions,
    ) -> Result<Box<dyn EmbeddingNetwork>, LoadError> {
        if let Some(device) = options.device.as_ref().filter(|device| *device != "cpu") {
            return Err(LoadError::Engine(format!(
                "the native engine computes on the processor only, not on {device}: use --engine torch"
            )));
        }
        let description = &bundle.description;
        if description.network == Network::Torchscript {
            return Err(LoadError::Engine(format!(
                "the model {} is a TorchScript file, which only --engine torch runs",
                description.name
            )));
        }
        let instructions = Instructions::chosen().map_err(WeightsError::from)?;
        let is_faster = self.gains_from_int8() && description.embedder_int8.is_some();
        let best = match is_faster || bundle.has_only_int8() {
            true => Precision::Int8,
            false => Precision::Fp32,
        };
        let precision = options.precision.unwrap_or(best);
        Ok(Box::new(NativeEmbedder::load(
            bundle,
            precision,
            instructions,
        )?))
    }

    fn load_detector(
        &self,
        bundle: &Bundle,
        _: &EngineOptions,
    ) -> Result<Box<dyn DetectionNetworks>, LoadError> {
        Ok(Box::new(NativeDetector::load(
            bundle,
            Instructions::best(),
        )?))
    }
}

impl NativeDetector {
    /// Loads the detector's networks. They panic if the processor lacks the instructions.
    ///
    /// # Errors
    /// When the weights cannot be used.
    pub fn load(bundle: &Bundle, instructions: Instructions) -> Result<Self, LoadError> {
        let description = &bundle.description;
        Ok(Self {
            instructions,
            proposal: ProposalNet::load(&bundle.weights(&description.pnet)?)?,
            refine: CandidateNet::refine(&bundle.weights(&description.rnet)?)?,
            output: CandidateNet::output(&bundle.weights(&description.onet)?)?,
            proposal_arenas: Arenas::default(),
            candidate_arenas: Arenas::default(),
        })
    }
}

impl NativeEmbedder {
    /// Loads the embedder. It panics if the processor lacks the instructions.
    ///
    /// # Errors
    /// When the weights cannot be used.
    pub fn load(
        bundle: &Bundle,
        precision: Precision,
        instructions: Instructions,
    ) -> Result<Self, LoadError> {
        let file = bundle.embedder_weights(precision)?;
        let (side, size) = (
            bundle.description.input_size,
            bundle.description.embedding_size,
        );
        Ok(Self(match precision {
            Precision::Fp32 => {
                let network = FloatNetwork::load(&file, side, size)?;
                NativeNetwork::Floats(network.with_instructions(instructions), Arenas::default())
            }
            Precision::Int8 => {
                let network = ByteNetwork::load(&file, side, size, instructions)?;
                NativeNetwork::Bytes(network, Arenas::default())
            }
        }))
    }
}

impl DetectionNetworks for NativeDetector {
    fn propose(&self, photo: &Photo, size: [usize; 2], threshold: f32) -> Vec<Proposal> {
        self.proposal_arenas.lend(|arena| {
            self.proposal
                .propose(self.instructions, photo, size, threshold, arena)
        })
    }

    fn refine(&self, count: usize, write_crop: CropWriter<'_>) -> Vec<Prediction> {
        self.candidate_arenas.lend(|arena| {
            self.refine
                .forward(self.instructions, count, write_crop, arena)
        })
    }

    fn output(&self, count: usize, write_crop: CropWriter<'_>) -> Vec<Prediction> {
        self.candidate_arenas.lend(|arena| {
            self.output
                .forward(self.instructions, count, write_crop, arena)
        })
    }
}

impl EmbeddingNetwork for NativeEmbedder {
    fn precision(&self) -> Precision {
        match &self.0 {
            NativeNetwork::Floats(..) => Precision::Fp32,
            NativeNetwork::Bytes(..) => Precision::Int8,
        }
    }

    fn runs_on(&self) -> String {
        Instructions::best().to_string()
    }

    fn forward(&self, inputs: &[Input<'_>]) -> Vec<f32> {
        match &self.0 {
            NativeNetwork::Floats(network, arenas) => {
                arenas.lend(|arena| network.forward(arena, &Input::floats(inputs)))
            }
            NativeNetwork::Bytes(network, arenas) => {
                arenas.lend(|arena| network.forward(arena, inputs))
            }
        }
    }

    fn warm_up(&self, side: usize) {
        match &self.0 {
            NativeNetwork::Floats(network, arenas) => arenas.lend(|arena| network.warm_up(arena)),
            NativeNetwork::Bytes(network, arenas) => {
                let pixels = vec![0; side * side * 3];
                let image = Input {
                    pixels: &pixels,
                    mean: [0.0; 3],
                    deviation: [1.0; 3],
                };
                arenas.lend(|arena| network.forward(arena, &[image]));
            }
        }
    }

    fn largest_values(&self, input: &Input<'_>) -> Option<Vec<f32>> {
        let NativeNetwork::Floats(network, arenas) = &self.0 else {
            return None;
        };
        let steps = &network.architecture().steps;
        let mut largest = vec![0.0f32; network.architecture().values];
        arenas.lend(|arena| {
            network.observe(arena, &Input::floats(&[*input]), |step, values| {
                let largest = &mut largest[steps[step].output().value];
                *largest = values.iter().fold(*largest, |most, &value| most.max(value));
            })
        });
        Some(largest)
    }
}

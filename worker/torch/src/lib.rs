//! The engine `torch`: libtorch runs the embedder, and MTCNN's networks if that is selected.
//!
//! This crate is the only one that links libtorch, which costs a process a quarter of a second and 100 MB at its start.
//! `worker` replaces itself by this crate's `worker-torch` only to run this engine.
//!
//! | module | has |
//! |---|---|
//! | `detector` | MTCNN's three networks |
//! | `resnet` | the built-in embedder, in float32 or int8 |
//! | `script` | embedders of any architecture, as TorchScript |
//! | `device` | the choice of processor or GPU |
//! | `operators` | operators that `tch` lacks, tensors over mapped memory, and all unsafe code |

mod detector;
mod device;
mod operators;
mod resnet;
mod script;

use tch::{Device, Tensor};
use worker::model::bundle::{Bundle, Network};
use worker::vision::detect::DetectionNetworks;
use worker::vision::embed::EmbeddingNetwork;
use worker::vision::{Engine, EngineName, EngineOptions, LoadError, Precision};

use self::detector::TorchDetector;
use self::resnet::ResNetEmbedder;
use self::script::ScriptEmbedder;

/// libtorch allocates thousands of times for a photo; C++ and Rust both use this allocator.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// libtorch, through the `tch` crate.
#[derive(Debug, Clone, Copy)]
pub struct TorchEngine;

impl Engine for TorchEngine {
    fn name(&self) -> EngineName {
        EngineName::Torch
    }

    fn gains_from_int8(&self) -> bool {
        device::has_fast_bytes()
    }

    fn load_embedder(
        &self,
        bundle: &Bundle,
        options: &EngineOptions,
    ) -> Result<Box<dyn EmbeddingNetwork>, LoadError> {
        let device = device::choose(options.device.as_deref())?;
        let is_fixed = bundle.description.network == Network::Torchscript || device.is_cuda();
        let is_faster =
            !is_fixed && self.gains_from_int8() && bundle.description.embedder_int8.is_some();
        let best = if is_faster {
            Precision::Int8
        } else {
            Precision::Fp32
        };
        let precision = options.precision.unwrap_or(best);
        if is_fixed && precision == Precision::Int8 {
            return Err(LoadError::Engine(
                "8-bit integers are for the built-in network on a processor: leave --precision out, or use \
                 --device cpu"
                    .to_owned(),
            ));
        }
        infer(|| match bundle.description.network {
            Network::InceptionResnetV1 => {
                let embedder = ResNetEmbedder::load(bundle, precision, device)?;
                Ok(Box::new(embedder) as Box<dyn EmbeddingNetwork>)
            }
            Network::Torchscript => Ok(Box::new(ScriptEmbedder::load(bundle, device)?) as _),
        })
    }

    fn load_detector(
        &self,
        bundle: &Bundle,
        options: &EngineOptions,
    ) -> Result<Box<dyn DetectionNetworks>, LoadError> {
        let device = device::choose(options.device.as_deref())?;
        infer(|| Ok(Box::new(TorchDetector::load(bundle, device)?) as _))
    }
}

/// Runs `work` without recording gradients, on this thread alone: the worker has a fixed number of inference threads,
/// and more would compete with them.
fn infer<R>(work: impl FnOnce() -> R) -> R {
    thread_local!(static ONE_THREAD: () = tch::set_num_threads(1));
    ONE_THREAD.with(|()| ());
    let _inference = operators::InferenceMode::begin();
    work()
}

/// Makes a tensor [N, channels, height, width] on the device from images [N, height, width, channels], whose shape is
/// given.
fn images(values: &[f32], shape: [usize; 4], device: Device) -> Tensor {
    Tensor::from_slice(values)
        .reshape(shape.map(|size| size as i64))
        .permute([0, 3, 1, 2])
        .to_device(device)
}

/// Returns a tensor's values in row-major order.
fn values(tensor: &Tensor) -> Vec<f32> {
    let flat = tensor
        .to_device(Device::Cpu)
        .to_kind(tch::Kind::Float)
        .contiguous()
        .view(-1);
    Vec::try_from(&flat).expect("a flat tensor of float32")
}

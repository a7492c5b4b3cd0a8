//! Inception-ResNet v1 by libtorch: with oneDNN's convolutions on processors, in float32 or 8-bit integers, and with
//! libtorch's own elsewhere.

use tch::{Device, Kind, TchError, Tensor};
use worker::model::bundle::{Bundle, LoadError};
use worker::vision::Precision;
use worker::vision::embed::architecture::{Architecture, Buffer, Convolution, Step};
use worker::vision::embed::bytes::SCALES;
use worker::vision::embed::{EmbeddingNetwork, Input};

use self::activations::Activations;
use crate::operators::{self, Constant, MappedTensor, PackedBytes, Window};
use crate::{device, images, infer, values};

mod activations;
mod weights;

const RAN_BEFORE: &str = "libtorch ran the network when it was loaded";

/// The network, with weights in the device's own layout.
#[derive(Debug)]
pub struct ResNetEmbedder {
    architecture: Architecture,
    layers: Vec<Layer>,
    /// Weights and bias of the last, dense layer.
    dense: [Constant; 2],
    /// The value of 1 in bytes, for each tensor between the layers; empty in float32.
    steps: Vec<f32>,
    input_size: usize,
    device: Device,
}

#[derive(Debug)]
struct Layer {
    window: Window,
    kernel: Kernel,
    /// Index and number of channels of the layers whose outputs this kernel computes too, after its own.
    siblings: Vec<(usize, usize)>,
}

#[derive(Debug)]
enum Kernel {
    /// Weights and bias for libtorch's own convolution.
    Plain([Constant; 2]),
    /// Weights and bias for oneDNN.
    Floats([Constant; 2]),
    Bytes(PackedBytes),
    /// Weights [inputs, outputs] of a 1x1 kernel and bias, for one matrix product.
    Product([Constant; 2]),
    /// Weights [panel, inputs, 32] where they lie in the bundle and bias [panel, 1, 32], for one product for each
    /// panel.
    Panels(MappedTensor, Constant),
    /// None: an earlier layer's kernel computes the outputs.
    Sibling,
}

impl ResNetEmbedder {
    /// Loads the weights and runs the network once.
    ///
    /// # Errors
    /// When the weights cannot be used, or when libtorch lacks an operator.
    pub fn load(bundle: &Bundle, precision: Precision, device: Device) -> Result<Self, LoadError> {
        Self::load_with(bundle, precision, device, operators::has_fast_products())
    }

    /// `multiplies`: whether float32 convolutions with 1x1 kernels are matrix products.
    fn load_with(
        bundle: &Bundle,
        precision: Precision,
        device: Device,
        multiplies: bool,
    ) -> Result<Self, LoadError> {
        let description = &bundle.description;
        let file = bundle.embedder_weights(precision)?;
        let architecture = Architecture::new(description.input_size);
        let steps = match precision {
            Precision::Fp32 => Vec::new(),
            Precision::Int8 => file.values(SCALES, &[architecture.values])?,
        };
        let uses_onednn = !device.is_cuda() && tch::utils::has_mkldnn();
        let convolutions: Vec<&Convolution> = architecture.convolutions().collect();
        let buffers = &architecture.buffers;
        let load = |index: usize| {
            let convolution = convolutions[index];
            let mut group = vec![index];
            let kernel = match precision {
                Precision::Fp32 if !uses_onednn => {
                    weights::plain_floats(&file, convolution, device)
                }
                Precision::Fp32 if multiplies && is_large_product(convolution, buffers) => {
                    weights::mapped_panels(&file, convolution)
                }
                // The first convolution takes little time, and its input's mean is no whole number of bytes.
                Precision::Int8 if index == 0 => weights::plain_bytes(&file, convolution),
                _ => {
                    group = same_input(&convolutions, index);
                    let together: Vec<_> = group.iter().map(|&index| convolutions[index]).collect();
                    match precision {
                        _ if group[0] < index => Ok(Kernel::Sibling),
                        Precision::Fp32 if multiplies && convolution.kernel == [1, 1] => {
                            weights::product(&file, &together)
                        }
                        Precision::Fp32 => weights::packed_floats(&file, &together, buffers),
                        Precision::Int8 => weights::packed_bytes(&file, &together, buffers, &steps),
                    }
                }
            };
            Ok(Layer {
                window: window(convolution),
                kernel: kernel?,
                siblings: group
                    .into_iter()
                    .filter(|&other| other > index)
                    .map(|other| (other, convolutions[other].outputs))
                    .collect(),
            })
        };
        let layers = (0..convolutions.len()).map(load);
        let embedder = Self {
            layers: layers.collect::<Result<_, LoadError>>()?,
            dense: weights::dense(&file, description.embedding_size)?
                .map(|tensor| tensor.to_device(device).into()),
            steps,
            architecture,
            input_size: description.input_size,
            device,
        };
        let even = vec![0.0; description.input_size * description.input_size * 3];
        drop(embedder.run(&even, 1, |_, _| ()).map_err(weights::failed)?);
        Ok(embedder)
    }

    /// Returns the embeddings [N, embedding size] of `count` normalized images. Calls `see` with each convolution's
    /// output.
    fn run(
        &self,
        inputs: &[f32],
        count: usize,
        mut see: impl FnMut(&Convolution, &Tensor),
    ) -> Result<Tensor, TchError> {
        let side = self.input_size;
        let mut activations = Activations::new(&self.architecture.buffers, &self.steps);
        activations.write(0, 0, images(inputs, [count, side, side, 3], self.device));
        for step in &self.architecture.steps {
            match step {
                Step::Convolve(convolution) => {
                    see(
                        convolution,
                        activations.run(convolution, &self.layers[convolution.index])?,
                    );
                }
                Step::MaxPool {
                    input,
                    output,
                    channel,
                } => {
                    let input = activations.joined(input.buffer)?;
                    let maxima = if input.kind() == Kind::Uint8 {
                        // libtorch pools quantized tensors only. Maxima do not depend on the scale.
                        input
                            .f_internal_make_per_tensor_quantized_tensor(1.0, 0)?
                            .f_quantized_max_pool2d([3, 3], [2, 2], [0, 0], [1, 1], false)?
                            .f_int_repr()?
                    } else {
                        input.f_max_pool2d([3, 3], [2, 2], [0, 0], [1, 1], false)?
                    };
                    activations.write(output.buffer, *channel, maxima);
                }
            }
        }
        let features = activations.joined(self.architecture.features())?;
        let means = features.f_mean_dim(&[2i64, 3][..], false, Kind::Float)?;
        let [weights, bias] = &self.dense;
        means.f_linear(weights, Some(&**bias))
    }
}

impl EmbeddingNetwork for ResNetEmbedder {
    fn precision(&self) -> Precision {
        match self.steps.is_empty() {
            true => Precision::Fp32,
            false => Precision::Int8,
        }
    }

    fn runs_on(&self) -> String {
        device::describe(self.device)
    }

    fn forward(&self, inputs: &[Input<'_>]) -> Vec<f32> {
        infer(|| {
            let embeddings = self.run(&Input::floats(inputs), inputs.len(), |_, _| ());
            values(&embeddings.expect(RAN_BEFORE))
        })
    }

    fn largest_values(&self, input: &Input<'_>) -> Option<Vec<f32>> {
        if self.precision() != Precision::Fp32 {
            return None;
        }
        let mut largest = vec![0.0f32; self.architecture.values];
        infer(|| {
            let see = |convolution: &Convolution, written: &Tensor| {
                let largest = &mut largest[convolution.output.value];
                *largest = largest.max(written.max().double_value(&[]) as f32);
            };
            drop(
                self.run(&Input::floats(&[*input]), 1, see)
                    .expect(RAN_BEFORE),
            );
        });
        Some(largest)
    }
}

/// Returns whether a convolution has a large matrix of weights for few pixels. A product with the mapped weights is as
/// fast as oneDNN with a copy in its own layout then.
fn is_large_product(convolution: &Convolution, buffers: &[Buffer]) -> bool {
    const FEW_PIXELS: usize = 16;
    let output = &buffers[convolution.output.buffer];
    convolution.kernel == [1, 1] && output.height * output.width <= FEW_PIXELS
}

/// Returns the 1x1 convolutions with the same input as this one, itself included: one large product is faster than
/// several small ones. Other convolutions are returned alone.
fn same_input(convolutions: &[&Convolution], index: usize) -> Vec<usize> {
    let one = convolutions[index];
    let together = |other: &Convolution| {
        other.input == one.input
            && [other, one]
                .iter()
                .all(|any| any.kernel == [1, 1] && !any.accumulate)
    };
    (0..convolutions.len())
        .filter(|&other| other == index || together(convolutions[other]))
        .collect()
}

fn window(convolution: &Convolution) -> Window {
    Window {
        padding: convolution.padding.map(|side| side as i64),
        stride: [convolution.stride as i64; 2],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_and_convolutions_give_the_same_embeddings() {
        let bundle = Bundle::open(&testkit::samples::models()).expect("the bundle");
        let side = bundle.description.input_size;
        let noise =
            |image: usize| (0..side * side * 3).map(move |at| (at * (7 + image) % 251) as u8);
        let images: Vec<Vec<u8>> = (0..3).map(|image| noise(image).collect()).collect();
        let inputs: Vec<Input<'_>> = images
            .iter()
            .map(|pixels| Input {
                pixels,
                mean: [127.5; 3],
                deviation: [128.0; 3],
            })
            .collect();
        let [products, convolutions] = [true, false].map(|multiplies| {
            let load =
                || ResNetEmbedder::load_with(&bundle, Precision::Fp32, Device::Cpu, multiplies);
            infer(load).expect("it loads").forward(&inputs)
        });
        assert_eq!(products.len(), 3 * bundle.description.embedding_size);
        for (a, b) in products.iter().zip(&convolutions) {
            assert!((a - b).abs() <= 1e-3 * a.abs().max(1.0), "{a} and {b}");
        }
    }
}

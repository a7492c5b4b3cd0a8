//! Inception-ResNet v1 by libtorch: on processors by oneDNN's convolutions, in float32 or 8-bit integers, and elsewhere
//! by libtorch's own.

use std::collections::HashMap;

use tch::{Device, Kind, TchError, Tensor};
use worker::vision::Precision;
use worker::vision::bundle::{Bundle, LoadError};
use worker::vision::embed::Input;
use worker::vision::embed::architecture::{Architecture, Buffer, Convolution, Step};
use worker::vision::embed::bytes::SCALES;
use worker::vision::engine::EmbeddingNetwork;
use worker::vision::panels::PANEL;

use crate::operators::{self, Constant, MappedTensor, PackedBytes, Window};
use crate::{device, images, infer, values};

mod weights;

const WORKS: &str = "libtorch ran the network when it was loaded";

/// The network. Its weights lie in the layout that the device wants; those of the bundle are not needed any more.
#[derive(Debug)]
pub struct ResNetEmbedder {
    architecture: Architecture,
    layers: Vec<Layer>,
    /// Weights and bias of the last, dense layer.
    dense: [Constant; 2],
    /// What one step of each quantity between the layers is worth in bytes; empty in float32.
    steps: Vec<f32>,
    input_size: usize,
    device: Device,
}

#[derive(Debug)]
struct Layer {
    window: Window,
    kernel: Kernel,
    /// Layers whose outputs the same kernel gives after this one's: index and number of channels.
    siblings: Vec<(usize, usize)>,
}

#[derive(Debug)]
enum Kernel {
    /// Weights and bias, by libtorch's own convolution.
    Plain([Constant; 2]),
    /// Weights and bias, by oneDNN.
    Floats([Constant; 2]),
    Bytes(PackedBytes),
    /// Weights [inputs, outputs] of a 1x1 kernel and bias, by a product with the pixels.
    Product([Constant; 2]),
    /// By a product with each panel of weights [panel, inputs, 32], where they lie in the bundle; bias [panel, 1, 32].
    Panels(MappedTensor, Constant),
    /// An earlier layer's kernel gives the outputs of this one.
    Sibling,
}

/// Activations of one pass.
struct Activations<'a> {
    shapes: &'a [Buffer],
    steps: &'a [f32],
    buffers: Vec<Content>,
    /// Outputs of layers that are yet to come.
    ahead: HashMap<usize, Tensor>,
}

/// A buffer's channels, as far as they are computed.
#[derive(Default)]
struct Content {
    /// Those of several branches, one after the other.
    parts: Vec<Tensor>,
    /// The float32 content as bytes.
    bytes: Option<Tensor>,
}

impl ResNetEmbedder {
    /// Loads the weights and runs the network once.
    ///
    /// # Errors
    /// When the weights cannot be used, or libtorch lacks what the network needs.
    pub fn load(bundle: &Bundle, precision: Precision, device: Device) -> Result<Self, LoadError> {
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
                Precision::Fp32 if is_large_product(convolution, buffers) => {
                    weights::mapped_panels(&file, convolution)
                }
                // The first convolution takes so little that it is not worth bytes, whose mean is no whole number.
                Precision::Int8 if index == 0 => weights::plain_bytes(&file, convolution),
                _ => {
                    group = same_input(&convolutions, index);
                    let together: Vec<_> = group.iter().map(|&index| convolutions[index]).collect();
                    match precision {
                        _ if group[0] < index => Ok(Kernel::Sibling),
                        Precision::Fp32 if convolution.kernel == [1, 1] => {
                            weights::product(&file, &together)
                        }
                        Precision::Fp32 => weights::packed_floats(&file, convolution, buffers),
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

    /// `inputs` holds `count` normalized images. Gives [N, embedding size]. `see` is shown what each convolution wrote.
    fn run(
        &self,
        inputs: &[f32],
        count: usize,
        mut see: impl FnMut(&Convolution, &Tensor),
    ) -> Result<Tensor, TchError> {
        let side = self.input_size;
        let mut activations = Activations {
            shapes: &self.architecture.buffers,
            steps: &self.steps,
            buffers: Vec::new(),
            ahead: HashMap::new(),
        };
        activations
            .buffers
            .resize_with(activations.shapes.len(), Content::default);
        activations.write(0, 0, images(inputs, [count, side, side, 3], self.device));
        let mut layers = self.layers.iter().enumerate();
        for step in &self.architecture.steps {
            match step {
                Step::Convolve(convolution) => {
                    let (index, layer) = layers.next().expect("one layer for each convolution");
                    match activations.ahead.remove(&index) {
                        Some(output) => activations.write(
                            convolution.output.buffer,
                            convolution.channel,
                            output,
                        ),
                        None => activations.convolve(convolution, layer)?,
                    }
                    let written = &activations.buffers[convolution.output.buffer].parts;
                    see(convolution, written.last().expect("it was just written"));
                }
                Step::MaxPool {
                    input,
                    output,
                    channel,
                } => {
                    let input = activations.joined(input.buffer)?;
                    let maxima = if input.kind() == Kind::Uint8 {
                        // libtorch pools bytes only when it knows what they are worth, which maxima do not depend on.
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
            values(&embeddings.expect(WORKS))
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
            drop(self.run(&Input::floats(&[*input]), 1, see).expect(WORKS));
        });
        Some(largest)
    }
}

impl Activations<'_> {
    fn convolve(&mut self, convolution: &Convolution, layer: &Layer) -> Result<(), TchError> {
        let (from, to) = (convolution.input, convolution.output);
        let Layer {
            window,
            kernel,
            siblings,
        } = layer;
        let relu = convolution.relu;
        let input = match kernel {
            Kernel::Bytes(_) => self.bytes(from.buffer, from.value)?,
            _ => self.joined(from.buffer)?,
        };
        if convolution.accumulate {
            let mut sum = self.joined(to.buffer)?;
            match kernel {
                Kernel::Plain(kernel) => {
                    let product = plain_convolve(&input, kernel, *window)?;
                    sum = sum.f_add_(&product)?;
                    if relu {
                        sum = sum.f_relu_()?;
                    }
                }
                Kernel::Floats(kernel) => {
                    operators::convolve_add(&mut sum, &input, kernel, *window, relu)?;
                }
                Kernel::Bytes(kernel) => kernel.convolve_add(&mut sum, &input, *window, relu)?,
                Kernel::Product([weights, bias]) => {
                    let mut sums = pixels(&sum)?
                        .f_addmm_(&pixels(&input)?, weights)?
                        .f_add_(bias)?;
                    if relu {
                        sums = sums.f_relu_()?;
                    }
                    sum = image(&sums, &sum)?;
                }
                Kernel::Sibling => unreachable!("sums have no siblings"),
                Kernel::Panels(weights, bias) => {
                    let product = multiply(&input, weights, bias, convolution.outputs)?;
                    sum = sum.f_add_(&product)?;
                    if relu {
                        sum = sum.f_relu_()?;
                    }
                }
            }
            self.write(to.buffer, 0, sum);
            return Ok(());
        }
        let is_stream = self.shapes[to.buffer].is_stream;
        let step = self.steps.get(to.value).map(|step| f64::from(*step));
        let output = match kernel {
            Kernel::Plain(kernel) => {
                let output = plain_convolve(&input, kernel, *window)?;
                let output = if relu { output.relu() } else { output };
                match step.filter(|_| !is_stream) {
                    Some(step) => quantized(&output, step)?,
                    None => output,
                }
            }
            Kernel::Floats(kernel) => operators::convolve(&input, kernel, *window, relu)?,
            Kernel::Product([weights, bias]) => {
                let mut products = bias.f_addmm(&pixels(&input)?, weights)?;
                if relu {
                    products = products.f_relu_()?;
                }
                image(&products, &input)?
            }
            Kernel::Panels(weights, bias) => {
                let output = multiply(&input, weights, bias, convolution.outputs)?;
                if relu { output.relu() } else { output }
            }
            Kernel::Bytes(kernel) => {
                kernel.convolve(&input, *window, step.filter(|_| !is_stream), relu)?
            }
            Kernel::Sibling => unreachable!("its output is there already"),
        };
        let own = convolution.outputs as i64;
        let mut channel = own;
        for &(index, outputs) in siblings {
            let output = output.f_narrow(1, channel, outputs as i64)?;
            self.ahead.insert(index, output);
            channel += outputs as i64;
        }
        self.write(to.buffer, convolution.channel, output.f_narrow(1, 0, own)?);
        Ok(())
    }

    /// Channels from `channel` on; the first ones begin the buffer anew.
    fn write(&mut self, buffer: usize, channel: usize, tensor: Tensor) {
        let content = &mut self.buffers[buffer];
        if channel == 0 {
            content.parts.clear();
        }
        content.bytes = None;
        content.parts.push(tensor);
    }

    /// All channels of a buffer.
    fn joined(&mut self, buffer: usize) -> Result<Tensor, TchError> {
        let parts = &mut self.buffers[buffer].parts;
        if parts.len() > 1 {
            *parts = vec![Tensor::f_cat(parts, 1)?];
        }
        Ok(parts[0].shallow_clone())
    }

    /// All channels of a buffer as bytes; those of a stream are computed from its float32 values.
    fn bytes(&mut self, buffer: usize, value: usize) -> Result<Tensor, TchError> {
        let joined = self.joined(buffer)?;
        if !self.shapes[buffer].is_stream {
            return Ok(joined);
        }
        let content = &mut self.buffers[buffer];
        if content.bytes.is_none() {
            content.bytes = Some(quantized(&joined, f64::from(self.steps[value]))?);
        }
        Ok(content
            .bytes
            .as_ref()
            .expect("it was just computed")
            .shallow_clone())
    }
}

/// Whether a convolution has a large matrix of weights for a few pixels. A product with the weights where they lie is then
/// as fast as oneDNN with a copy in its own layout.
fn is_large_product(convolution: &Convolution, buffers: &[Buffer]) -> bool {
    const FEW_PIXELS: usize = 16;
    let output = &buffers[convolution.output.buffer];
    convolution.kernel == [1, 1] && output.height * output.width <= FEW_PIXELS
}

/// The 1x1 convolutions that read the same as this one, itself among them: one large product is faster than several small
/// ones. Any other convolution is alone.
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

fn plain_convolve(
    input: &Tensor,
    [weights, bias]: &[Constant; 2],
    window: Window,
) -> Result<Tensor, TchError> {
    input.f_conv2d(
        weights,
        Some(&**bias),
        window.stride,
        window.padding,
        [1, 1],
        1,
    )
}

/// Images as a matrix [pixels, channels], without a copy if their channels lie side by side.
fn pixels(images: &Tensor) -> Result<Tensor, TchError> {
    images
        .f_permute([0, 2, 3, 1])?
        .f_reshape([-1, images.size()[1]])
}

/// A matrix [pixels, channels] as images of the same size as `like`.
fn image(pixels: &Tensor, like: &Tensor) -> Result<Tensor, TchError> {
    let [images, _, height, width] = like.size()[..] else {
        unreachable!("activations have four dimensions");
    };
    pixels
        .f_view([images, height, width, -1])?
        .f_permute([0, 3, 1, 2])
}

/// A 1x1 convolution by panels of weights.
fn multiply(
    input: &Tensor,
    weights: &Tensor,
    bias: &Tensor,
    outputs: usize,
) -> Result<Tensor, TchError> {
    let panels = weights.size()[0];
    let pixels = pixels(input)?.f_expand([panels, -1, -1], false)?;
    let products = bias
        .f_baddbmm(&pixels, weights, 1, 1)?
        .f_permute([1, 0, 2])?
        .f_reshape([-1, panels * PANEL as i64])?;
    image(&products, input)?.f_narrow(1, 0, outputs as i64)
}

/// Values of 0 and more as bytes, each step of which is worth `step`.
fn quantized(values: &Tensor, step: f64) -> Result<Tensor, TchError> {
    values
        .f_quantize_per_tensor(step, 0, Kind::QUInt8)?
        .f_int_repr()
}

//! The network in 8-bit integers: unsigned activations with a scale for each tensor, signed weights with a scale for
//! each output channel, exact 32-bit sums. The stream of the residual blocks, the average and the dense layer are in
//! float32. Where products of small bytes are faster, activations have 7 bits.

use std::ops::Range;

use super::Input;
use super::architecture::{Architecture, Buffer, Convolution, Step, pool_image};
use super::dense::Dense;
use crate::kernels::Mapped;
use crate::kernels::convolve::{
    ByteInput, ByteOutput, ByteTarget, Instructions, SMALL_BYTE, convolve_bytes,
};
use crate::kernels::panels::{PANEL, panels};
use crate::model::weights::{WeightFile, WeightsError};

/// Inputs that one step of the kernels takes together.
pub const GROUP: usize = 4;

/// Name of the tensor of activation scales, one for each [`super::architecture::TensorRef::value`].
pub const SCALES: &str = "activation_scales";

/// The network, whose weights the kernels read from the mapped file.
#[derive(Debug)]
pub struct ByteNetwork {
    architecture: Architecture,
    layers: Vec<ByteLayer>,
    dense: Dense,
    /// The byte that stands for 1, for each tensor.
    scales: Vec<f32>,
    /// Sums of the first convolution's weights, for each output channel.
    first_sums: Vec<f32>,
    instructions: Instructions,
    /// The largest activation.
    largest: u8,
}

#[derive(Debug)]
struct ByteLayer {
    weights: Mapped<i8>,
    factors: Vec<f32>,
    offsets: Vec<f32>,
}

/// The activations of a batch.
#[derive(Debug, Default)]
pub struct ByteArena {
    bytes: Vec<Vec<u8>>,
    /// Empty but for streams.
    streams: Vec<Vec<f32>>,
    images: usize,
}

impl ByteNetwork {
    /// Loads the network for square inputs of `side` pixels.
    ///
    /// # Errors
    /// When a tensor is missing or has another shape.
    pub fn load(
        file: &WeightFile,
        side: usize,
        embedding_size: usize,
        instructions: Instructions,
    ) -> Result<Self, WeightsError> {
        let architecture = Architecture::new(side);
        let largest = match instructions.prefers_small_bytes() {
            true => SMALL_BYTE,
            false => u8::MAX,
        };
        let mut steps = file.values(SCALES, &[architecture.values])?;
        let image = architecture.steps[0].input().value;
        for (value, step) in steps.iter_mut().enumerate() {
            if value != image {
                *step *= f32::from(u8::MAX) / f32::from(largest);
            }
        }
        let layers = architecture
            .convolutions()
            .map(|convolution| {
                let output = match architecture.buffers[convolution.output.buffer].is_stream {
                    true => 1.0,
                    false => steps[convolution.output.value],
                };
                ByteLayer::load(file, convolution, steps[convolution.input.value], output)
            })
            .collect::<Result<Vec<_>, _>>()?;
        let first_sums = sums(&layers[0].weights);
        Ok(Self {
            architecture,
            layers,
            dense: Dense::load(file, embedding_size)?,
            scales: steps.iter().map(|step| 1.0 / step).collect(),
            first_sums,
            instructions,
            largest,
        })
    }

    /// Returns one embedding after the other, not normalized.
    pub fn forward(&self, arena: &mut ByteArena, inputs: &[Input<'_>]) -> Vec<f32> {
        let buffers = &self.architecture.buffers;
        arena.make_room(buffers, inputs.len());
        let batched_from = self.architecture.batched_from;
        for (image, input) in inputs.iter().enumerate() {
            arena.bytes[0][..input.pixels.len()].copy_from_slice(input.pixels);
            self.first(arena, input);
            self.run(1..batched_from, arena, image, 1);
        }
        let steps = batched_from..self.architecture.steps.len();
        self.run(steps, arena, 0, inputs.len());
        let features = self.architecture.features();
        self.dense.forward(
            &arena.streams[features],
            &buffers[features],
            inputs.len(),
            self.instructions,
        )
    }

    /// Runs the first convolution on the image's own bytes, whose normalization goes into factors and offsets. It has
    /// no padding, so each output sums all its weights.
    fn first(&self, arena: &mut ByteArena, input: &Input<'_>) {
        let Step::Convolve(convolution) = &self.architecture.steps[0] else {
            unreachable!("the network begins with a convolution");
        };
        let layer = &self.layers[0];
        // Channels differ in mean and deviation only for TorchScript networks.
        let ([mean, ..], [deviation, ..]) = (input.mean, input.deviation);
        let factors: Vec<f32> = layer
            .factors
            .iter()
            .map(|factor| factor / deviation)
            .collect();
        let offsets: Vec<f32> = (layer.offsets.iter().zip(&factors).zip(&self.first_sums))
            .map(|((offset, factor), sum)| offset - mean * factor * sum)
            .collect();
        let (geometry, from, to) = convolution.geometry(&self.architecture.buffers, 0, 1);
        let [source, target] = [convolution.input.buffer, convolution.output.buffer];
        let mut bytes = std::mem::take(&mut arena.bytes[target]);
        let output = ByteOutput {
            factors: &factors,
            offsets: &offsets,
            largest: self.largest,
            target: ByteTarget::Bytes(&mut bytes[to..]),
        };
        let input = ByteInput {
            bytes: &arena.bytes[source][from..],
            is_small: false,
        };
        convolve_bytes(self.instructions, &geometry, input, &layer.weights, output);
        arena.bytes[target] = bytes;
    }

    fn run(&self, steps: Range<usize>, arena: &mut ByteArena, first: usize, images: usize) {
        let buffers = &self.architecture.buffers;
        for step in &self.architecture.steps[steps] {
            let output = step.output();
            let mut bytes = std::mem::take(&mut arena.bytes[output.buffer]);
            let mut stream = std::mem::take(&mut arena.streams[output.buffer]);
            let scale = self.scales[output.value];
            match step {
                Step::Convolve(convolution) => {
                    let (geometry, from, to) = convolution.geometry(buffers, first, images);
                    let layer = &self.layers[convolution.index];
                    let target = if buffers[output.buffer].is_stream {
                        ByteTarget::Stream {
                            values: &mut stream[to..],
                            bytes: &mut bytes[to..],
                            scale,
                            accumulate: convolution.accumulate,
                            relu: convolution.relu,
                        }
                    } else {
                        ByteTarget::Bytes(&mut bytes[to..])
                    };
                    let output = ByteOutput {
                        factors: &layer.factors,
                        offsets: &layer.offsets,
                        largest: self.largest,
                        target,
                    };
                    let input = ByteInput {
                        bytes: &arena.bytes[convolution.input.buffer][from..],
                        is_small: self.largest <= SMALL_BYTE,
                    };
                    convolve_bytes(self.instructions, &geometry, input, &layer.weights, output);
                }
                Step::MaxPool { input, channel, .. } => {
                    let shapes = [&buffers[input.buffer], &buffers[output.buffer]];
                    for image in first..first + images {
                        if shapes[1].is_stream {
                            pool_image(
                                self.instructions,
                                shapes,
                                image,
                                *channel,
                                &arena.streams[input.buffer],
                                &mut stream,
                            );
                            self.quantize(shapes, image, *channel, scale, &stream, &mut bytes);
                        } else {
                            pool_image(
                                self.instructions,
                                shapes,
                                image,
                                *channel,
                                &arena.bytes[input.buffer],
                                &mut bytes,
                            );
                        }
                    }
                }
            }
            arena.bytes[output.buffer] = bytes;
            arena.streams[output.buffer] = stream;
        }
    }

    /// Rounds to bytes what a pool wrote into a stream.
    fn quantize(
        &self,
        [input, output]: [&Buffer; 2],
        image: usize,
        channel: usize,
        scale: f32,
        stream: &[f32],
        bytes: &mut [u8],
    ) {
        let range = output.start(image)..output.start(image + 1);
        let pixels = stream[range.clone()].chunks_exact(output.channels);
        for (values, bytes) in pixels.zip(bytes[range].chunks_exact_mut(output.channels)) {
            let written = channel..channel + input.channels;
            for (byte, value) in bytes[written.clone()].iter_mut().zip(&values[written]) {
                *byte = ((value * scale).round_ties_even() as u8).min(self.largest);
            }
        }
    }
}

impl ByteLayer {
    /// `input` and `output` are the values of one step of the bytes before and after.
    fn load(
        file: &WeightFile,
        convolution: &Convolution,
        input: f32,
        output: f32,
    ) -> Result<Self, WeightsError> {
        let (name, outputs) = (&convolution.name, convolution.outputs);
        let channels = panels(outputs) * PANEL;
        let scales = file.values(&format!("{name}.weight_scale"), &[channels])?;
        let bias = file.values(&format!("{name}.bias"), &[channels])?;
        Ok(Self {
            weights: file.mapped(&format!("{name}.weight"), &byte_shape(convolution))?,
            factors: scales.iter().map(|scale| scale * input / output).collect(),
            offsets: bias.iter().map(|bias| bias / output).collect(),
        })
    }
}

/// Returns the shape of a kernel: [panel, kernel row, group of inputs, 32 outputs, 4 inputs].
pub fn byte_shape(convolution: &Convolution) -> [usize; 5] {
    let [height, width] = convolution.kernel;
    let groups = (width * convolution.inputs).div_ceil(GROUP);
    [panels(convolution.outputs), height, groups, PANEL, GROUP]
}

/// Returns the sums of each channel's weights in one panel.
fn sums(weights: &[i8]) -> Vec<f32> {
    let mut sums = vec![0.0; PANEL];
    for group in weights.chunks_exact(PANEL * GROUP) {
        for (sum, weights) in sums.iter_mut().zip(group.chunks_exact(GROUP)) {
            *sum += weights.iter().map(|&weight| f32::from(weight)).sum::<f32>();
        }
    }
    sums
}

impl ByteArena {
    fn make_room(&mut self, buffers: &[Buffer], images: usize) {
        if self.images < images {
            let length = |buffer: &Buffer| buffer.start(images).max(buffer.image());
            // The last group of a row of three-channel pixels may reach beyond the image.
            self.bytes = buffers
                .iter()
                .map(|buffer| vec![0; length(buffer) + GROUP])
                .collect();
            let stream = |buffer: &Buffer| {
                if buffer.is_stream {
                    vec![0.0; length(buffer)]
                } else {
                    Vec::new()
                }
            };
            self.streams = buffers.iter().map(stream).collect();
            self.images = images;
        }
    }
}

//! The network in float32.

use std::ops::Range;

use super::architecture::{Architecture, Buffer, Convolution, SMALLEST_SIDE, Step, pool_image};
use super::dense::Dense;
use crate::kernels::Mapped;
use crate::kernels::convolve::{FloatOutput, Instructions, convolve};
use crate::kernels::panels::{PANEL, padded, panels, unpack};
use crate::kernels::winograd_convolution::{WinogradBuffers, WinogradConvolution};
use crate::model::weights::{WeightFile, WeightsError};

/// The network, whose weights the kernels read from the mapped file.
#[derive(Debug)]
pub struct FloatNetwork {
    architecture: Architecture,
    layers: Vec<FloatLayer>,
    dense: Dense,
    instructions: Instructions,
}

#[derive(Debug)]
enum FloatLayer {
    Mapped {
        weights: Mapped<f32>,
        bias: Vec<f32>,
        slopes: Vec<f32>,
    },
    Winograd(WinogradConvolution),
}

/// Pixels of an output from which half of the products save more time than Winograd's transforms cost.
const WINOGRAD_MIN_PIXELS: usize = 250;

/// The activations of a batch.
#[derive(Debug, Default)]
pub struct FloatArena {
    buffers: Vec<Vec<f32>>,
    images: usize,
    winograd: WinogradBuffers,
}

impl FloatNetwork {
    /// Loads the network for square inputs of `side` pixels.
    ///
    /// # Errors
    /// When a tensor is missing or has another shape, or when the selected instructions cannot be used.
    pub fn load(
        file: &WeightFile,
        side: usize,
        embedding_size: usize,
    ) -> Result<Self, WeightsError> {
        let architecture = Architecture::new(side);
        let layers = architecture
            .convolutions()
            .map(|convolution| FloatLayer::load(file, convolution, &architecture.buffers))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            architecture,
            layers,
            dense: Dense::load(file, embedding_size)?,
            instructions: Instructions::chosen()?,
        })
    }

    /// Computes with other instructions than the process.
    pub fn with_instructions(self, instructions: Instructions) -> Self {
        Self {
            instructions,
            ..self
        }
    }

    pub fn architecture(&self) -> &Architecture {
        &self.architecture
    }

    /// Returns one embedding after the other, not normalized. `inputs` holds one normalized image after the other, in
    /// rows of red, green, blue.
    pub fn forward(&self, arena: &mut FloatArena, inputs: &[f32]) -> Vec<f32> {
        self.observe(arena, inputs, |_, _| ())
    }

    /// As [`Self::forward`]. Calls `see` with each convolution's step number and output, a pixel's channels at a time.
    pub fn observe(
        &self,
        arena: &mut FloatArena,
        inputs: &[f32],
        see: impl FnMut(usize, &[f32]),
    ) -> Vec<f32> {
        self.pass(&self.architecture, arena, inputs, see)
    }

    /// Runs the network once on the smallest image, which loads all code and weights into memory in a fifth of the
    /// usual time. Also gives the arena memory for an image of the usual size.
    pub fn warm_up(&self, arena: &mut FloatArena) {
        let architecture = Architecture::new(SMALLEST_SIDE);
        let image = vec![0.0; architecture.buffers[0].image()];
        self.pass(&architecture, &mut FloatArena::default(), &image, |_, _| ());
        arena.make_room(&self.architecture.buffers, 1);
        // The system provides memory when it is first written.
        arena.buffers.iter_mut().for_each(|buffer| buffer.fill(0.0));
    }

    fn pass(
        &self,
        architecture: &Architecture,
        arena: &mut FloatArena,
        inputs: &[f32],
        mut see: impl FnMut(usize, &[f32]),
    ) -> Vec<f32> {
        let buffers = &architecture.buffers;
        let image_length = buffers[0].image();
        let images = inputs.len() / image_length;
        arena.make_room(buffers, images);
        let batched_from = architecture.batched_from;
        for (image, values) in inputs.chunks_exact(image_length).enumerate() {
            arena.buffers[0].copy_from_slice(values);
            self.run(architecture, 0..batched_from, arena, [image, 1], &mut see);
        }
        let steps = batched_from..architecture.steps.len();
        self.run(architecture, steps, arena, [0, images], &mut see);
        let features = architecture.features();
        self.dense.forward(
            &arena.buffers[features],
            &buffers[features],
            images,
            self.instructions,
        )
    }

    fn run(
        &self,
        architecture: &Architecture,
        steps: Range<usize>,
        arena: &mut FloatArena,
        [first, images]: [usize; 2],
        see: &mut impl FnMut(usize, &[f32]),
    ) {
        let buffers = &architecture.buffers;
        for index in steps {
            let step = &architecture.steps[index];
            let buffer = step.output().buffer;
            let mut output = std::mem::take(&mut arena.buffers[buffer]);
            match step {
                Step::Convolve(convolution) => {
                    self.convolve(convolution, buffers, arena, &mut output, [first, images]);
                    show(convolution, buffers, &output, [first, images], |values| {
                        see(index, values)
                    });
                }
                Step::MaxPool { input, channel, .. } => {
                    let shapes = [&buffers[input.buffer], &buffers[buffer]];
                    for image in first..first + images {
                        pool_image(
                            self.instructions,
                            shapes,
                            image,
                            *channel,
                            &arena.buffers[input.buffer],
                            &mut output,
                        );
                    }
                }
            }
            arena.buffers[buffer] = output;
        }
    }

    fn convolve(
        &self,
        convolution: &Convolution,
        buffers: &[Buffer],
        arena: &mut FloatArena,
        output: &mut [f32],
        [first, images]: [usize; 2],
    ) {
        let source = &buffers[convolution.input.buffer];
        let input = &arena.buffers[convolution.input.buffer];
        let (geometry, from, to) = convolution.geometry(buffers, first, images);
        match &self.layers[convolution.index] {
            FloatLayer::Mapped {
                weights,
                bias,
                slopes,
            } => {
                let target = FloatOutput {
                    bias,
                    slopes,
                    accumulate: convolution.accumulate,
                    values: &mut output[to..],
                };
                convolve(
                    self.instructions,
                    &geometry,
                    &input[from..],
                    weights,
                    target,
                );
            }
            FloatLayer::Winograd(layer) => {
                let [y, x] = source.margin;
                let shape = [images, source.height + 2 * y, source.width + 2 * x];
                let input = &input[from..from + images * source.image()];
                let output = &mut output[to..to + images * geometry.output.image];
                layer.forward(self.instructions, shape, input, &mut arena.winograd, output);
            }
        }
    }
}

/// Calls `see` with the output of a convolution, a pixel's channels at a time.
fn show(
    convolution: &Convolution,
    buffers: &[Buffer],
    output: &[f32],
    [first, images]: [usize; 2],
    mut see: impl FnMut(&[f32]),
) {
    let (geometry, _, to) = convolution.geometry(buffers, first, images);
    for image in 0..images {
        for y in 0..geometry.height {
            for x in 0..geometry.width {
                let start = to + geometry.output.offset(image, y, x);
                see(&output[start..start + geometry.outputs]);
            }
        }
    }
}

impl FloatLayer {
    fn load(
        file: &WeightFile,
        convolution: &Convolution,
        buffers: &[Buffer],
    ) -> Result<Self, WeightsError> {
        let (name, outputs) = (&convolution.name, convolution.outputs);
        let [height, width] = convolution.kernel;
        let shape = [panels(outputs), height, width, convolution.inputs, PANEL];
        let weights = file.mapped(&format!("{name}.weight"), &shape)?;
        let bias = padded(file.values(&format!("{name}.bias"), &[outputs])?);
        let slope = if convolution.relu { 0.0 } else { 1.0 };
        let slopes = vec![slope; panels(outputs) * PANEL];
        let output = &buffers[convolution.output.buffer];
        if convolution.is_plain(buffers) && output.height * output.width >= WINOGRAD_MIN_PIXELS {
            let weights = unpack(&weights, outputs);
            let channels = [convolution.inputs, outputs];
            return Ok(Self::Winograd(WinogradConvolution::new(
                &weights, channels, bias, slopes,
            )));
        }
        Ok(Self::Mapped {
            weights,
            bias,
            slopes,
        })
    }
}

impl FloatArena {
    fn make_room(&mut self, buffers: &[Buffer], images: usize) {
        if self.images < images {
            self.buffers = buffers
                .iter()
                .map(|buffer| vec![0.0; buffer.start(images).max(buffer.image())])
                .collect();
            self.images = images;
        }
    }
}

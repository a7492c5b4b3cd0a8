//! The network in float32.

use super::architecture::{Architecture, Buffer, Convolution, FEATURES, SMALLEST_SIDE, Step};
use super::pool::max_pool;
use crate::vision::fast::{FastConvolution, Products};
use crate::vision::native::Mapped;
use crate::vision::native::convolve::{FloatOutput, Geometry, Instructions, Strides, convolve};
use crate::vision::panels::{PANEL, panels, unpack};
use crate::vision::weights::{WeightFile, WeightsError};

/// Weights that lie in the mapped file as the compiled loops read them.
#[derive(Debug)]
pub struct FloatNetwork {
    architecture: Architecture,
    layers: Vec<Layer>,
    dense: Dense,
    instructions: Instructions,
}

#[derive(Debug)]
enum Layer {
    Mapped {
        weights: Mapped<f32>,
        bias: Vec<f32>,
        slopes: Vec<f32>,
    },
    Fast(FastConvolution),
}

/// Pixels of an output from which half of the products save more time than the other order of the weights and what
/// comes in between cost.
const FAST_FROM: usize = 250;

/// The activations of a batch.
#[derive(Debug, Default)]
pub struct FloatArena {
    buffers: Vec<Vec<f32>>,
    images: usize,
    products: Products,
}

impl FloatNetwork {
    /// For square inputs of `side` pixels.
    pub fn load(
        file: &WeightFile,
        side: usize,
        embedding_size: usize,
    ) -> Result<Self, WeightsError> {
        let architecture = Architecture::new(side);
        let layers = architecture
            .convolutions()
            .map(|convolution| Layer::load(file, convolution, &architecture.buffers))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            architecture,
            layers,
            dense: Dense::load(file, embedding_size)?,
            instructions: Instructions::chosen()?,
        })
    }

    /// Computes with other instructions than the process's.
    pub fn with_instructions(self, instructions: Instructions) -> Self {
        Self {
            instructions,
            ..self
        }
    }

    pub fn architecture(&self) -> &Architecture {
        &self.architecture
    }

    /// `inputs` holds one image after the other, rows of red, green, blue as the network wants them. Gives one embedding
    /// after the other, not normalised.
    pub fn forward(&self, arena: &mut FloatArena, inputs: &[f32]) -> Vec<f32> {
        self.observe(arena, inputs, |_, _| ())
    }

    /// Like `forward`, and shows what each step wrote: the step's number, and its values, a run of channels at a time.
    pub fn observe(
        &self,
        arena: &mut FloatArena,
        inputs: &[f32],
        see: impl FnMut(usize, &[f32]),
    ) -> Vec<f32> {
        self.pass(&self.architecture, arena, inputs, see)
    }

    /// Runs the network once, over the smallest image that it takes: all code and weights are in memory then, for a
    /// fifth of the time that another image takes. The arena has memory for another image then.
    pub fn warm_up(&self, arena: &mut FloatArena) {
        let architecture = Architecture::new(SMALLEST_SIDE);
        let image = vec![0.0; architecture.buffers[0].image()];
        self.pass(&architecture, &mut FloatArena::default(), &image, |_, _| ());
        arena.make_room(&self.architecture.buffers, 1);
        // The system gives memory when it is first written.
        arena.buffers.iter_mut().for_each(|buffer| buffer.fill(0.0));
    }

    /// Runs the network for the architecture's size of input.
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
        steps: std::ops::Range<usize>,
        arena: &mut FloatArena,
        [first, images]: [usize; 2],
        see: &mut impl FnMut(usize, &[f32]),
    ) {
        let buffers = &architecture.buffers;
        let before = &architecture.steps[..steps.start];
        let mut layers =
            self.layers[before.iter().filter(|step| step.is_convolution()).count()..].iter();
        for index in steps {
            let step = &architecture.steps[index];
            let buffer = step.output().buffer;
            let mut output = std::mem::take(&mut arena.buffers[buffer]);
            match step {
                Step::Convolve(convolution) => {
                    let layer = layers.next().expect("one layer for each convolution");
                    self.convolve(
                        convolution,
                        layer,
                        buffers,
                        arena,
                        &mut output,
                        [first, images],
                    );
                    show(convolution, buffers, &output, [first, images], |values| {
                        see(index, values)
                    });
                }
                Step::MaxPool { input, channel, .. } => {
                    let shapes = [&buffers[input.buffer], &buffers[buffer]];
                    for image in first..first + images {
                        max_pool(
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
        layer: &Layer,
        buffers: &[Buffer],
        arena: &mut FloatArena,
        output: &mut [f32],
        [first, images]: [usize; 2],
    ) {
        let source = &buffers[convolution.input.buffer];
        let input = &arena.buffers[convolution.input.buffer];
        let (geometry, from, to) = convolution.geometry(buffers, first, images);
        match layer {
            Layer::Mapped {
                weights,
                bias,
                slopes,
            } => {
                let mut target = FloatOutput {
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
                    &mut target,
                );
            }
            Layer::Fast(layer) => {
                let [y, x] = source.margin;
                let shape = [images, source.height + 2 * y, source.width + 2 * x];
                let input = &input[from..from + images * source.image()];
                let output = &mut output[to..to + images * geometry.output.image];
                layer.forward(self.instructions, shape, input, &mut arena.products, output);
            }
        }
    }
}

/// Shows what a convolution wrote.
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
                let place = geometry.output;
                let start = to + image * place.image + y * place.row + x * place.pixel;
                see(&output[start..start + geometry.outputs]);
            }
        }
    }
}

impl Layer {
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
        if convolution.is_plain(buffers) && output.height * output.width >= FAST_FROM {
            let weights = unpack(&weights, outputs);
            let channels = [convolution.inputs, outputs];
            return Ok(Self::Fast(FastConvolution::new(
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

/// Average over the pixels, then the dense layer: always in float32.
#[derive(Debug)]
pub struct Dense {
    weights: Mapped<f32>,
    bias: Vec<f32>,
    slopes: Vec<f32>,
    embedding_size: usize,
}

impl Dense {
    pub fn load(file: &WeightFile, embedding_size: usize) -> Result<Self, WeightsError> {
        let shape = [panels(embedding_size), 1, 1, FEATURES, PANEL];
        Ok(Self {
            weights: file.mapped("last_linear.weight", &shape)?,
            bias: padded(file.values("last_linear.bias", &[embedding_size])?),
            slopes: vec![1.0; panels(embedding_size) * PANEL],
            embedding_size,
        })
    }

    /// One embedding after the other, not normalised.
    pub fn forward(
        &self,
        features: &[f32],
        buffer: &Buffer,
        images: usize,
        instructions: Instructions,
    ) -> Vec<f32> {
        let pixels = (buffer.height * buffer.width) as f32;
        let mut means = vec![0.0; images * FEATURES];
        for (image, means) in features
            .chunks_exact(buffer.image())
            .zip(means.chunks_exact_mut(FEATURES))
        {
            for pixel in image.chunks_exact(FEATURES) {
                for (mean, value) in means.iter_mut().zip(pixel) {
                    *mean += value;
                }
            }
            for mean in means {
                *mean /= pixels;
            }
        }
        let mut values = vec![0.0; images * self.embedding_size];
        let row = |pixel| Strides {
            image: 0,
            row: 0,
            pixel,
        };
        // A batch is a row of pixels to it.
        let geometry = Geometry {
            images: 1,
            height: 1,
            width: images,
            outputs: self.embedding_size,
            input: row(FEATURES),
            kernel_row: 0,
            kernel_rows: 1,
            run: FEATURES,
            output: row(self.embedding_size),
        };
        let mut output = FloatOutput {
            bias: &self.bias,
            slopes: &self.slopes,
            accumulate: false,
            values: &mut values,
        };
        convolve(instructions, &geometry, &means, &self.weights, &mut output);
        values
    }
}

/// One value for each output, and zeros up to whole panels.
pub fn padded(mut values: Vec<f32>) -> Vec<f32> {
    values.resize(panels(values.len()) * PANEL, 0.0);
    values
}

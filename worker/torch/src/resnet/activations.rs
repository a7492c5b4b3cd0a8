//! Activations of one pass through the network.

use std::collections::HashMap;

use tch::{Kind, TchError, Tensor};
use worker::kernels::panels::PANEL;
use worker::vision::embed::architecture::{Buffer, Convolution};

use super::{Kernel, Layer};
use crate::operators::{self, Constant, Window};

/// Activations of one pass.
pub struct Activations<'a> {
    shapes: &'a [Buffer],
    steps: &'a [f32],
    buffers: Vec<BufferContent>,
    /// Outputs of later layers, by their index.
    ahead: HashMap<usize, Tensor>,
}

/// The channels of a buffer that are computed so far.
#[derive(Default)]
struct BufferContent {
    /// One for each branch.
    parts: Vec<Tensor>,
    /// The float32 content as bytes.
    bytes: Option<Tensor>,
}

impl<'a> Activations<'a> {
    /// `steps` are the values of 1 in bytes, for each tensor.
    pub fn new(shapes: &'a [Buffer], steps: &'a [f32]) -> Self {
        Self {
            shapes,
            steps,
            buffers: shapes.iter().map(|_| BufferContent::default()).collect(),
            ahead: HashMap::new(),
        }
    }

    /// Runs a layer, or takes the output that an earlier one computed. Returns the layer's output.
    pub fn run(&mut self, convolution: &Convolution, layer: &Layer) -> Result<&Tensor, TchError> {
        let output = convolution.output.buffer;
        match self.ahead.remove(&convolution.index) {
            Some(tensor) => self.write(output, convolution.channel, tensor),
            None => self.convolve(convolution, layer)?,
        }
        let written = &self.buffers[output].parts;
        Ok(written.last().expect("it was just written"))
    }

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
                    sum = activate(sum.f_add_(&product)?, relu)?;
                }
                Kernel::Floats(kernel) => {
                    drop(operators::convolve(
                        Some(&mut sum),
                        &input,
                        kernel,
                        *window,
                        relu,
                    )?);
                }
                Kernel::Bytes(kernel) => {
                    drop(kernel.convolve(Some(&mut sum), &input, *window, None, relu)?);
                }
                Kernel::Product([weights, bias]) => {
                    let sums = pixels(&sum)?
                        .f_addmm_(&pixels(&input)?, weights)?
                        .f_add_(bias)?;
                    sum = image(&activate(sums, relu)?, &sum)?;
                }
                Kernel::Sibling => unreachable!("sums have no siblings"),
                Kernel::Panels(weights, bias) => {
                    let product = multiply(&input, weights, bias, convolution.outputs)?;
                    sum = activate(sum.f_add_(&product)?, relu)?;
                }
            }
            self.write(to.buffer, 0, sum);
            return Ok(());
        }
        let is_stream = self.shapes[to.buffer].is_stream;
        let step = self.steps.get(to.value).map(|step| f64::from(*step));
        let output = match kernel {
            Kernel::Plain(kernel) => {
                let output = activate(plain_convolve(&input, kernel, *window)?, relu)?;
                match step.filter(|_| !is_stream) {
                    Some(step) => quantized(&output, step)?,
                    None => output,
                }
            }
            Kernel::Floats(kernel) => operators::convolve(None, &input, kernel, *window, relu)?,
            Kernel::Product([weights, bias]) => {
                let products = bias.f_addmm(&pixels(&input)?, weights)?;
                image(&activate(products, relu)?, &input)?
            }
            Kernel::Panels(weights, bias) => {
                activate(multiply(&input, weights, bias, convolution.outputs)?, relu)?
            }
            Kernel::Bytes(kernel) => {
                let step = step.filter(|_| !is_stream);
                kernel.convolve(None, &input, *window, step, relu)?
            }
            Kernel::Sibling => unreachable!("an earlier layer wrote the output"),
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

    /// Writes channels from `channel` on. Channel 0 clears the buffer first.
    pub fn write(&mut self, buffer: usize, channel: usize, tensor: Tensor) {
        let content = &mut self.buffers[buffer];
        if channel == 0 {
            content.parts.clear();
        }
        content.bytes = None;
        content.parts.push(tensor);
    }

    /// Returns all channels of a buffer.
    pub fn joined(&mut self, buffer: usize) -> Result<Tensor, TchError> {
        let parts = &mut self.buffers[buffer].parts;
        if parts.len() > 1 {
            *parts = vec![Tensor::f_cat(parts, 1)?];
        }
        Ok(parts[0].shallow_clone())
    }

    /// Returns all channels of a buffer as bytes; a stream is converted from float32.
    fn bytes(&mut self, buffer: usize, value: usize) -> Result<Tensor, TchError> {
        let joined = self.joined(buffer)?;
        if !self.shapes[buffer].is_stream {
            return Ok(joined);
        }
        let content = &mut self.buffers[buffer];
        let bytes = match content.bytes.take() {
            Some(bytes) => bytes,
            None => quantized(&joined, f64::from(self.steps[value]))?,
        };
        content.bytes = Some(bytes.shallow_clone());
        Ok(bytes)
    }
}

/// Applies a ReLU in place, if `relu`.
fn activate(mut tensor: Tensor, relu: bool) -> Result<Tensor, TchError> {
    match relu {
        true => tensor.f_relu_(),
        false => Ok(tensor),
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

/// Reshapes images to a matrix [pixels, channels], without a copy if their channels lie side by side.
fn pixels(images: &Tensor) -> Result<Tensor, TchError> {
    images
        .f_permute([0, 2, 3, 1])?
        .f_reshape([-1, images.size()[1]])
}

/// Reshapes a matrix [pixels, channels] to images of the same size as `like`.
fn image(pixels: &Tensor, like: &Tensor) -> Result<Tensor, TchError> {
    let [images, _, height, width] = like.size()[..] else {
        unreachable!("activations have four dimensions");
    };
    pixels
        .f_view([images, height, width, -1])?
        .f_permute([0, 3, 1, 2])
}

/// Convolves with a 1x1 kernel in panels.
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

/// Rounds non-negative values to bytes in which 1 has the value `step`.
fn quantized(values: &Tensor, step: f64) -> Result<Tensor, TchError> {
    values
        .f_quantize_per_tensor(step, 0, Kind::QUInt8)?
        .f_int_repr()
}

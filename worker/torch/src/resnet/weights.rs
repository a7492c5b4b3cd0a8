//! Loads the network's weights from the bundle into kernels.

use tch::{Device, Kind, TchError, Tensor};
use worker::kernels::panels::{PANEL, panels};
use worker::model::bundle::LoadError;
use worker::model::weights::WeightFile;
use worker::vision::embed::architecture::{Buffer, Convolution, FEATURES};
use worker::vision::embed::bytes::{GROUP, byte_shape};

use super::{Kernel, window};
use crate::operators::{self, Constant, MappedTensor, PackedBytes, with_view};

/// Copies the float32 weights to [out, in, height, width].
fn floats(file: &WeightFile, convolution: &Convolution) -> Result<Tensor, LoadError> {
    let [height, width] = convolution.kernel;
    let count = panels(convolution.outputs);
    let shape = [count, height, width, convolution.inputs, PANEL];
    let weights = file.mapped::<f32>(&format!("{}.weight", convolution.name), &shape)?;
    let shape = shape.map(|size| size as i64);
    Ok(with_view(&weights, &shape, |packed| {
        let [_, height, width, inputs, _] = shape;
        packed
            .permute([0, 4, 3, 1, 2])
            .reshape([(count * PANEL) as i64, inputs, height, width])
            .narrow(0, 0, convolution.outputs as i64)
            .copy()
    }))
}

/// Copies the int8 weights to [out, in, height, width]. Returns them with each output's scale and bias.
fn bytes(file: &WeightFile, convolution: &Convolution) -> Result<[Tensor; 3], LoadError> {
    let (name, outputs) = (&convolution.name, convolution.outputs as i64);
    let shape = byte_shape(convolution);
    let channels = panels(convolution.outputs) * PANEL;
    let vector = |part: &str| -> Result<Tensor, LoadError> {
        let values = file.values(&format!("{name}.{part}"), &[channels])?;
        Ok(Tensor::from_slice(&values).narrow(0, 0, outputs))
    };
    let (scales, bias) = (vector("weight_scale")?, vector("bias")?);
    let weights = file.mapped::<i8>(&format!("{name}.weight"), &shape)?;
    let shape = shape.map(|size| size as i64);
    let weights = with_view(&weights, &shape, |packed| {
        let [count, height, groups, ..] = shape;
        let (inputs, width) = (convolution.inputs as i64, convolution.kernel[1] as i64);
        packed
            .permute([0, 3, 1, 2, 4])
            .reshape([count * PANEL as i64, height, groups * GROUP as i64])
            .narrow(0, 0, outputs)
            .narrow(2, 0, width * inputs)
            .reshape([outputs, height, width, inputs])
            .permute([0, 3, 1, 2])
            .copy()
    });
    Ok([weights, scales, bias])
}

fn bias(file: &WeightFile, convolution: &Convolution) -> Result<Tensor, LoadError> {
    let values = file.values(
        &format!("{}.bias", convolution.name),
        &[convolution.outputs],
    )?;
    Ok(Tensor::from_slice(&values))
}

/// Returns weights [out, in, height, width] and bias with the outputs of all `convolutions`, one after the other.
fn joined_floats(
    file: &WeightFile,
    convolutions: &[&Convolution],
) -> Result<[Tensor; 2], LoadError> {
    let (mut weights, mut biases) = (Vec::new(), Vec::new());
    for convolution in convolutions {
        weights.push(floats(file, convolution)?);
        biases.push(bias(file, convolution)?);
    }
    Ok([Tensor::cat(&weights, 0), Tensor::cat(&biases, 0)])
}

/// Returns the kernel with the outputs of all `convolutions`, one after the other. They differ only in outputs.
pub fn packed_floats(
    file: &WeightFile,
    convolutions: &[&Convolution],
    buffers: &[Buffer],
) -> Result<Kernel, LoadError> {
    let [weights, bias] = joined_floats(file, convolutions)?;
    let shape = input_shape(convolutions[0], buffers);
    let weights = operators::pack(&weights, window(convolutions[0]), shape);
    Ok(Kernel::Floats(
        [weights.map_err(failed)?, bias].map(Constant::from),
    ))
}

/// As [`packed_floats`], for a 1x1 kernel.
pub fn product(file: &WeightFile, convolutions: &[&Convolution]) -> Result<Kernel, LoadError> {
    let [weights, bias] = joined_floats(file, convolutions)?;
    let weights = weights.flatten(1, 3).transpose(0, 1).contiguous();
    Ok(Kernel::Product([weights, bias].map(Constant::from)))
}

pub fn mapped_panels(file: &WeightFile, convolution: &Convolution) -> Result<Kernel, LoadError> {
    let (name, inputs, outputs) = (&convolution.name, convolution.inputs, convolution.outputs);
    let count = panels(outputs);
    let shape = [count, 1, 1, inputs, PANEL];
    let weights = file.mapped::<f32>(&format!("{name}.weight"), &shape)?;
    let mut bias = file.values(&format!("{name}.bias"), &[outputs])?;
    bias.resize(count * PANEL, 0.0);
    let [count, inputs, panel] = [count, inputs, PANEL].map(|size| size as i64);
    let bias = Tensor::from_slice(&bias).view([count, 1, panel]);
    Ok(Kernel::Panels(
        MappedTensor::new(weights, &[count, inputs, panel]),
        bias.into(),
    ))
}

pub fn plain_floats(
    file: &WeightFile,
    convolution: &Convolution,
    device: Device,
) -> Result<Kernel, LoadError> {
    let [weights, bias] = [floats(file, convolution)?, bias(file, convolution)?];
    Ok(Kernel::Plain(
        [weights, bias].map(|tensor| tensor.to_device(device).into()),
    ))
}

/// Returns a float32 kernel from the weights for int8.
pub fn plain_bytes(file: &WeightFile, convolution: &Convolution) -> Result<Kernel, LoadError> {
    let [weights, scales, bias] = bytes(file, convolution)?;
    let weights = weights.to_kind(Kind::Float) * scales.view([-1, 1, 1, 1]);
    Ok(Kernel::Plain([weights, bias].map(Constant::from)))
}

/// Returns the int8 kernel with the outputs of all `convolutions`, one after the other. They differ only in outputs.
/// The kernel has one output scale, the first convolution's, so the others' scales go into the weights.
pub fn packed_bytes(
    file: &WeightFile,
    convolutions: &[&Convolution],
    buffers: &[Buffer],
    steps: &[f32],
) -> Result<Kernel, LoadError> {
    let first = convolutions[0];
    let step = |convolution: &Convolution| f64::from(steps[convolution.output.value]);
    let mut parts = [Vec::new(), Vec::new(), Vec::new()];
    for convolution in convolutions {
        let [weights, scales, bias] = bytes(file, convolution)?;
        let factor = step(first) / step(convolution);
        let values = [weights, scales * factor, bias * factor];
        for (part, value) in parts.iter_mut().zip(values) {
            part.push(value);
        }
    }
    let [weights, scales, bias] = parts.map(|part| Tensor::cat(&part, 0));
    let packed = PackedBytes::new(
        &weights.contiguous(),
        scales,
        bias,
        f64::from(steps[first.input.value]),
        window(first),
        input_shape(first, buffers),
    );
    Ok(Kernel::Bytes(packed.map_err(failed)?))
}

/// Returns the shape [1, channels, height, width] of a convolution's input.
fn input_shape(convolution: &Convolution, buffers: &[Buffer]) -> [i64; 4] {
    let buffer = &buffers[convolution.input.buffer];
    [1, buffer.channels, buffer.height, buffer.width].map(|size| size as i64)
}

/// Returns the dense layer's weights [embedding size, features] and bias.
pub fn dense(file: &WeightFile, embedding_size: usize) -> Result<[Tensor; 2], LoadError> {
    let count = panels(embedding_size);
    let shape = [count, 1, 1, FEATURES, PANEL];
    let weights = file.mapped::<f32>("last_linear.weight", &shape)?;
    let weights = with_view(&weights, &shape.map(|size| size as i64), |packed| {
        let rows = packed
            .permute([0, 4, 1, 2, 3])
            .reshape([(count * PANEL) as i64, FEATURES as i64]);
        rows.narrow(0, 0, embedding_size as i64).copy()
    });
    let bias = file.values("last_linear.bias", &[embedding_size])?;
    Ok([weights, Tensor::from_slice(&bias)])
}

pub fn failed(error: TchError) -> LoadError {
    LoadError::Engine(format!(
        "libtorch cannot run the network: {}",
        crate::script::summary(&error)
    ))
}

//! The network's weights, from the bundle's files to what computes with them.

use tch::{Device, Kind, TchError, Tensor};
use worker::vision::bundle::LoadError;
use worker::vision::embed::architecture::{Buffer, Convolution, FEATURES};
use worker::vision::embed::bytes::{GROUP, byte_shape};
use worker::vision::panels::{PANEL, panels};
use worker::vision::weights::WeightFile;

use super::{Kernel, window};
use crate::operators::{self, Constant, MappedTensor, PackedBytes, with_view};

/// What `read` makes of the float32 weights [out, in, height, width].
fn with_floats<R>(
    file: &WeightFile,
    convolution: &Convolution,
    read: impl FnOnce(&Tensor) -> R,
) -> Result<R, LoadError> {
    let [height, width] = convolution.kernel;
    let count = panels(convolution.outputs);
    let shape = [count, height, width, convolution.inputs, PANEL];
    let weights = file.mapped::<f32>(&format!("{}.weight", convolution.name), &shape)?;
    Ok(with_view(
        &weights,
        &shape.map(|size| size as i64),
        |packed| {
            let outputs = (count * PANEL) as i64;
            let [height, width, inputs] =
                [height, width, convolution.inputs].map(|size| size as i64);
            let weights = packed
                .permute([0, 4, 3, 1, 2])
                .reshape([outputs, inputs, height, width]);
            read(&weights.narrow(0, 0, convolution.outputs as i64))
        },
    ))
}

/// What `read` makes of the int8 weights [out, in, height, width], and each output's scale and bias.
fn with_bytes<R>(
    file: &WeightFile,
    convolution: &Convolution,
    read: impl FnOnce(&Tensor, Tensor, Tensor) -> R,
) -> Result<R, LoadError> {
    let (name, outputs) = (&convolution.name, convolution.outputs as i64);
    let shape = byte_shape(convolution);
    let channels = panels(convolution.outputs) * PANEL;
    let vector = |part: &str| -> Result<Tensor, LoadError> {
        let values = file.values(&format!("{name}.{part}"), &[channels])?;
        Ok(Tensor::from_slice(&values)
            .narrow(0, 0, outputs)
            .contiguous())
    };
    let (scales, bias) = (vector("weight_scale")?, vector("bias")?);
    let weights = file.mapped::<i8>(&format!("{name}.weight"), &shape)?;
    Ok(with_view(
        &weights,
        &shape.map(|size| size as i64),
        |packed| {
            let [count, height, groups, ..] = shape.map(|size| size as i64);
            let (inputs, width) = (convolution.inputs as i64, convolution.kernel[1] as i64);
            let weights = packed
                .permute([0, 3, 1, 2, 4])
                .reshape([count * PANEL as i64, height, groups * GROUP as i64])
                .narrow(0, 0, outputs)
                .narrow(2, 0, width * inputs)
                .reshape([outputs, height, width, inputs])
                .permute([0, 3, 1, 2]);
            read(&weights, scales, bias)
        },
    ))
}

fn bias(file: &WeightFile, convolution: &Convolution) -> Result<Tensor, LoadError> {
    let values = file.values(
        &format!("{}.bias", convolution.name),
        &[convolution.outputs],
    )?;
    Ok(Tensor::from_slice(&values))
}

pub fn packed_floats(
    file: &WeightFile,
    convolution: &Convolution,
    buffers: &[Buffer],
) -> Result<Kernel, LoadError> {
    let shape = input_shape(convolution, buffers);
    let weights = with_floats(file, convolution, |weights| {
        operators::pack(weights, window(convolution), shape)
    })?;
    let bias = bias(file, convolution)?;
    Ok(Kernel::Floats(
        [weights.map_err(failed)?, bias].map(Constant::from),
    ))
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
    // The permutation made a copy, whose order suits images of pixels of channels.
    let weights = with_floats(file, convolution, |weights| {
        weights.copy().to_device(device)
    })?;
    let bias = bias(file, convolution)?.to_device(device);
    Ok(Kernel::Plain([weights, bias].map(Constant::from)))
}

/// A convolution in float32 with the weights for int8.
pub fn plain_bytes(file: &WeightFile, convolution: &Convolution) -> Result<Kernel, LoadError> {
    with_bytes(file, convolution, |weights, scales, bias| {
        let weights = weights.to_kind(Kind::Float) * scales.view([-1, 1, 1, 1]);
        Kernel::Plain([weights, bias].map(Constant::from))
    })
}

pub fn packed_bytes(
    file: &WeightFile,
    convolution: &Convolution,
    buffers: &[Buffer],
    steps: &[f32],
) -> Result<Kernel, LoadError> {
    let input_scale = f64::from(steps[convolution.input.value]);
    let shape = input_shape(convolution, buffers);
    let packed = with_bytes(file, convolution, |weights, scales, bias| {
        let window = window(convolution);
        PackedBytes::new(
            &weights.contiguous(),
            scales,
            bias,
            input_scale,
            window,
            shape,
        )
    })?;
    Ok(Kernel::Bytes(packed.map_err(failed)?))
}

/// [1, channels, height, width] of what the convolution reads.
fn input_shape(convolution: &Convolution, buffers: &[Buffer]) -> [i64; 4] {
    let buffer = &buffers[convolution.input.buffer];
    [1, buffer.channels, buffer.height, buffer.width].map(|size| size as i64)
}

/// Weights [embedding size, features] and bias.
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

//! Calibration: the 8-bit network from the float32 one. Weights are rounded with a scale for each output channel. Each
//! value between the layers gets a scale from its range on calibration photos.

use std::path::Path;

use crate::kernels::panels::{PANEL, padded};
use crate::model::bundle::{Bundle, LoadError, Precision};
use crate::model::weights::{NewTensor, WeightFile, WeightsError, write};
use crate::vision::crop::FaceCrop;
use crate::vision::embed::Embedder;
use crate::vision::embed::architecture::{Architecture, Convolution};
use crate::vision::embed::bytes::{GROUP, SCALES, byte_shape};

/// Writes the weight file for int8 to `out`. `embedder` has the bundle's network in float32.
///
/// # Errors
/// When the bundle's float32 weights cannot be used, or the file cannot be written.
///
/// Panics without crops, or if `embedder` has another network.
pub fn calibrate(
    bundle: &Bundle,
    embedder: &Embedder,
    crops: &[FaceCrop],
    out: &Path,
) -> Result<(), LoadError> {
    assert!(!crops.is_empty(), "calibration needs crops");
    let file = bundle.embedder_weights(Precision::Fp32)?;
    let architecture = Architecture::new(bundle.description.input_size);
    let largest = largest_values(embedder, &architecture, crops);
    let mut kernels = Vec::new();
    let mut vectors = vec![NewTensor::floats(
        SCALES,
        &[largest.len()],
        largest
            .iter()
            .map(|largest| step(*largest, f32::from(u8::MAX))),
    )];
    for convolution in architecture.convolutions() {
        let (kernel, scales) = quantized(&file, convolution)?;
        let name = &convolution.name;
        let bias = padded(file.values(&format!("{name}.bias"), &[convolution.outputs])?);
        kernels.push(NewTensor::bytes(
            format!("{name}.weight"),
            &byte_shape(convolution),
            kernel,
        ));
        vectors.push(NewTensor::floats(
            format!("{name}.weight_scale"),
            &[scales.len()],
            scales,
        ));
        vectors.push(NewTensor::floats(
            format!("{name}.bias"),
            &[bias.len()],
            bias,
        ));
    }
    for name in ["last_linear.weight", "last_linear.bias"] {
        vectors.push(file.copy(name)?);
    }
    // Large tensors first, so that each begins at a multiple of 64 bytes.
    vectors.sort_by_key(|tensor| std::cmp::Reverse(tensor.len()));
    kernels.extend(vectors);
    write(out, &kernels).map_err(|source| LoadError::Write {
        path: out.to_owned(),
        source,
    })
}

/// Returns the largest element of each value, averaged over the crops. Rare peaks are cut off, which leaves finer steps
/// for the rest.
fn largest_values(
    embedder: &Embedder,
    architecture: &Architecture,
    crops: &[FaceCrop],
) -> Vec<f32> {
    let mut sums = vec![0.0f64; architecture.values];
    for crop in crops {
        let largest = embedder.network().largest_values(&embedder.input(crop));
        let largest = largest.expect("the network is the built-in one in float32");
        for (sum, largest) in sums.iter_mut().zip(&largest) {
            *sum += f64::from(*largest);
        }
    }
    let mut means: Vec<f32> = sums
        .iter()
        .map(|sum| (sum / crops.len() as f64) as f32)
        .collect();
    // The first convolution reads the image's own bytes.
    means[architecture.steps[0].input().value] = f32::from(u8::MAX);
    means
}

/// Returns the size of one of `steps` steps up to `largest`; any serves a value that is always zero.
fn step(largest: f32, steps: f32) -> f32 {
    if largest > 0.0 { largest / steps } else { 1.0 }
}

/// Returns the kernel in groups of four inputs, and each channel's scale.
fn quantized(
    file: &WeightFile,
    convolution: &Convolution,
) -> Result<(Vec<i8>, Vec<f32>), WeightsError> {
    let [height, width] = convolution.kernel;
    let [panels, rows, groups, _, _] = byte_shape(convolution);
    let shape = [panels, height, width, convolution.inputs, PANEL];
    let weights = file.mapped::<f32>(&format!("{}.weight", convolution.name), &shape)?;
    let run = width * convolution.inputs;
    let mut scales = Vec::with_capacity(panels * PANEL);
    let mut kernel = vec![0; panels * rows * groups * PANEL * GROUP];
    for (panel, weights) in weights.chunks_exact(rows * run * PANEL).enumerate() {
        for lane in 0..PANEL {
            let channel = || weights[lane..].iter().step_by(PANEL);
            let scale = step(
                channel().fold(0.0, |most, weight| most.max(weight.abs())),
                127.0,
            );
            scales.push(scale);
            for (tap, weight) in channel().enumerate() {
                let (row, column) = (tap / run, tap % run);
                let group = (panel * rows + row) * groups + column / GROUP;
                kernel[(group * PANEL + lane) * GROUP + column % GROUP] =
                    (weight / scale).round_ties_even() as i8;
            }
        }
    }
    Ok((kernel, scales))
}

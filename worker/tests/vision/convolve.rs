//! Convolutions against plain sums, for all instructions that this processor has.

use proptest::prelude::*;
use worker::kernels::convolve::{
    ByteInput, ByteOutput, ByteTarget, FloatOutput, Geometry, Instructions, SMALL_BYTE, Strides,
    convolve, convolve_bytes,
};
use worker::kernels::panels::{PANEL, pack, panels};

/// The value of outputs before a convolution, and outside it.
const UNTOUCHED: f32 = -7.0;

/// A convolution with a margin around its input, and other channels around its output.
#[derive(Debug, Clone)]
struct Case {
    geometry: Geometry,
    seed: u64,
}

impl Case {
    fn arbitrary() -> impl Strategy<Value = Self> {
        let image = (1..4usize, 1..10usize, 1..20usize);
        let kernel = (1..4usize, 1..4usize, 1..3usize);
        // Whole steps of 64 inputs, and other numbers.
        let inputs = prop_oneof![1..20usize, Just(64), Just(96), Just(128)];
        let outputs = prop_oneof![1..20usize, Just(32), Just(48), Just(80), Just(96)];
        (image, kernel, inputs, outputs, any::<u64>()).prop_map(
            |((images, height, width), (rows, columns, stride), inputs, outputs, seed)| {
                let (input_height, input_width) =
                    ((height - 1) * stride + rows, (width - 1) * stride + columns);
                let row = input_width * inputs;
                let (output_pixel, output_row) = (outputs + 5, (outputs + 5) * (width + 1));
                let geometry = Geometry {
                    images,
                    height,
                    width,
                    outputs,
                    input: Strides {
                        image: input_height * row,
                        row: row * stride,
                        pixel: inputs * stride,
                    },
                    kernel_row: row,
                    kernel_rows: rows,
                    run: columns * inputs,
                    output: Strides {
                        image: output_row * height,
                        row: output_row,
                        pixel: output_pixel,
                    },
                };
                Self { geometry, seed }
            },
        )
    }

    fn input_length(&self) -> usize {
        self.geometry.images * self.geometry.input.image
    }

    fn output_length(&self) -> usize {
        self.geometry.images * self.geometry.output.image
    }

    /// Returns reproducible noise from -128 to 127.
    fn noise(&self, salt: u64, length: usize) -> impl Iterator<Item = i8> {
        let mut state = self.seed ^ salt.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        (0..length).map(move |_| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 56) as i8
        })
    }

    /// Returns the offsets in input and output, and the channel, of every output.
    fn outputs(&self) -> impl Iterator<Item = (usize, usize, usize)> {
        let Geometry {
            images,
            height,
            width,
            outputs,
            input,
            output,
            ..
        } = self.geometry;
        let offset = move |strides: Strides, index: usize| {
            let (image, y, x) = (
                index / (height * width),
                index / width % height,
                index % width,
            );
            image * strides.image + y * strides.row + x * strides.pixel
        };
        (0..images * height * width * outputs).map(move |index| {
            let (pixel, channel) = (index / outputs, index % outputs);
            (
                offset(input, pixel),
                offset(output, pixel) + channel,
                channel,
            )
        })
    }

    /// Returns the sum for the output whose inputs begin at `from`.
    fn sum(&self, input: &[f64], weights: &[f64], from: usize, channel: usize) -> f64 {
        let Geometry {
            kernel_rows,
            kernel_row,
            run,
            ..
        } = self.geometry;
        (0..kernel_rows * run)
            .map(|tap| {
                input[from + tap / run * kernel_row + tap % run]
                    * weights[channel * kernel_rows * run + tap]
            })
            .sum()
    }

    fn weight_count(&self) -> usize {
        self.geometry.outputs * self.geometry.kernel_rows * self.geometry.run
    }
}

fn padded(values: impl Iterator<Item = f32>) -> Vec<f32> {
    let mut values: Vec<f32> = values.collect();
    values.resize(panels(values.len()) * PANEL, 0.0);
    values
}

proptest! {
    #[test]
    fn floats_are_summed_with_bias_and_slopes(case in Case::arbitrary(), accumulate: bool) {
        let input: Vec<f32> = case.noise(1, case.input_length()).map(|value| f32::from(value) / 64.0).collect();
        let weights: Vec<f32> = case.noise(2, case.weight_count()).map(|value| f32::from(value) / 64.0).collect();
        let bias = padded(case.noise(3, case.geometry.outputs).map(f32::from));
        let slopes = padded(case.noise(4, case.geometry.outputs).map(|value| f32::from(value) / 128.0));
        let wide = |values: &[f32]| values.iter().copied().map(f64::from).collect::<Vec<_>>();
        let (wide_input, wide_weights) = (wide(&input), wide(&weights));
        let mut expected = vec![UNTOUCHED; case.output_length()];
        for (from, to, channel) in case.outputs() {
            let before = if accumulate { f64::from(UNTOUCHED) } else { 0.0 };
            let sum = case.sum(&wide_input, &wide_weights, from, channel) + f64::from(bias[channel]) + before;
            expected[to] = if sum > 0.0 { sum as f32 } else { sum as f32 * slopes[channel] };
        }
        for &instructions in Instructions::available() {
            let mut values = vec![UNTOUCHED; case.output_length()];
            let output = FloatOutput { bias: &bias, slopes: &slopes, accumulate, values: &mut values };
            convolve(instructions, &case.geometry, &input, &pack(&weights, case.geometry.outputs), output);
            for (value, expected) in values.iter().zip(&expected) {
                prop_assert!((value - expected).abs() <= 1e-2, "{instructions:?}: {value}, expected {expected}");
            }
        }
    }

    #[test]
    fn bytes_are_summed_exactly(case in Case::arbitrary(), accumulate: bool, relu: bool, is_small: bool) {
        let largest = if is_small { SMALL_BYTE } else { u8::MAX };
        let bytes = case.noise(1, case.input_length()).map(i8::cast_unsigned);
        let input: Vec<u8> = bytes.map(|byte| byte.min(largest)).collect();
        let weights: Vec<i8> = case.noise(2, case.weight_count()).collect();
        let Geometry { outputs, run, kernel_rows, .. } = case.geometry;
        let packed = pack_bytes(&weights, outputs, kernel_rows, run);
        let wide_input: Vec<f64> = input.iter().copied().map(f64::from).collect();
        let wide_weights: Vec<f64> = weights.iter().copied().map(f64::from).collect();
        let scale = 1.0 / 256.0;
        let offsets = padded(case.noise(3, outputs).map(f32::from));
        let mut expected = vec![UNTOUCHED; case.output_length()];
        let mut expected_bytes = vec![1; case.output_length()];
        for (from, to, channel) in case.outputs() {
            let sum = case.sum(&wide_input, &wide_weights, from, channel) as f32;
            let before = if accumulate { UNTOUCHED } else { 0.0 };
            let value = sum + offsets[channel] + before;
            expected[to] = if relu { value.max(0.0) } else { value };
            expected_bytes[to] = ((expected[to] * scale).round_ties_even() as u8).min(largest);
        }
        // The last group of a row may reach beyond its inputs.
        let input = [input, vec![255; 3]].concat();
        let input = ByteInput { bytes: &input, is_small };
        for &instructions in Instructions::available() {
            let (mut values, mut bytes) = (vec![UNTOUCHED; case.output_length()], vec![1; case.output_length()]);
            let factors = vec![1.0; offsets.len()];
            let target = ByteTarget::Stream { values: &mut values, bytes: &mut bytes, scale, accumulate, relu };
            let output = ByteOutput { factors: &factors, offsets: &offsets, largest, target };
            convolve_bytes(instructions, &case.geometry, input, &packed, output);
            prop_assert_eq!(&values, &expected, "{:?}", instructions);
            prop_assert_eq!(&bytes, &expected_bytes, "{:?}", instructions);

            let (factors, offsets) = (vec![scale; offsets.len()], offsets.iter().map(|offset| offset * scale).collect::<Vec<_>>());
            let mut bytes = vec![1; case.output_length()];
            let output = ByteOutput { factors: &factors, offsets: &offsets, largest, target: ByteTarget::Bytes(&mut bytes) };
            convolve_bytes(instructions, &case.geometry, input, &packed, output);
            if !accumulate {
                prop_assert_eq!(&bytes, &expected_bytes, "{:?}", instructions);
            }
        }
    }
}

/// [panel, kernel row, group of 4 inputs, 32 outputs, 4].
fn pack_bytes(weights: &[i8], outputs: usize, rows: usize, run: usize) -> Vec<i8> {
    let groups = run.div_ceil(4);
    let mut packed = vec![0; panels(outputs) * rows * groups * PANEL * 4];
    for (index, &weight) in weights.iter().enumerate() {
        let (output, row, column) = (index / (rows * run), index / run % rows, index % run);
        let group = (output / PANEL * rows + row) * groups + column / 4;
        packed[(group * PANEL + output % PANEL) * 4 + column % 4] = weight;
    }
    packed
}

#[test]
#[should_panic(expected = "the inputs lie in their buffer")]
fn inputs_that_are_too_short_are_refused() {
    let strides = |pixel| Strides {
        image: 0,
        row: 0,
        pixel,
    };
    let geometry = Geometry {
        images: 1,
        height: 1,
        width: 2,
        outputs: 32,
        input: strides(8),
        kernel_row: 0,
        kernel_rows: 1,
        run: 8,
        output: strides(32),
    };
    let (bias, mut values) = ([0.0; 32], [0.0; 64]);
    let output = FloatOutput {
        bias: &bias,
        slopes: &bias,
        accumulate: false,
        values: &mut values,
    };
    convolve(
        Instructions::best(),
        &geometry,
        &[0.0; 15],
        &[0.0; 8 * 32],
        output,
    );
}

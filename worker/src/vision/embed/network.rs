//! The layers of Inception-ResNet v1, named as in facenet-pytorch's `inception_resnet_v1.py`. Batch norms and residual
//! scales are folded into the weights (see scripts/convert_weights.py).

use tch::Tensor;

use crate::vision::native::Parameter;
use crate::vision::weights::{WeightFile, WeightsError};

/// [count, 3, 160, 160] to [count, embedding size], not normalised.
#[derive(Debug)]
pub struct InceptionResnet {
    stem_before_pool: Vec<Convolution>,
    stem_after_pool: Vec<Convolution>,
    blocks35: Vec<Residual>,
    reduction_a: Reduction,
    blocks17: Vec<Residual>,
    reduction_b: Reduction,
    blocks8: Vec<Residual>,
    last_block: Residual,
    linear_weight: Parameter,
    linear_bias: Parameter,
}

#[derive(Debug)]
struct Convolution {
    weight: Parameter,
    bias: Parameter,
    stride: i64,
    padding: [i64; 2],
}

/// Adds to its input what its branches make of it.
#[derive(Debug)]
struct Residual {
    branches: Vec<Vec<Convolution>>,
    up: Convolution,
    has_relu: bool,
}

/// Halves the map: the branches and a maximum pool, side by side.
#[derive(Debug)]
struct Reduction {
    branches: Vec<Vec<Convolution>>,
}

/// A convolution as the network's definition states it.
struct Shape {
    name: &'static str,
    inputs: usize,
    outputs: usize,
    kernel: [usize; 2],
    stride: i64,
    padding: [i64; 2],
}

/// Stride 1 and, unless `valid` follows, a padding that keeps the size.
const fn same(name: &'static str, inputs: usize, outputs: usize, kernel: [usize; 2]) -> Shape {
    let padding = [(kernel[0] / 2) as i64, (kernel[1] / 2) as i64];
    Shape {
        name,
        inputs,
        outputs,
        kernel,
        stride: 1,
        padding,
    }
}

const fn valid(
    name: &'static str,
    inputs: usize,
    outputs: usize,
    side: usize,
    stride: i64,
) -> Shape {
    Shape {
        name,
        inputs,
        outputs,
        kernel: [side, side],
        stride,
        padding: [0, 0],
    }
}

const STEM_BEFORE_POOL: &[Shape] = &[
    valid("conv2d_1a", 3, 32, 3, 2),
    valid("conv2d_2a", 32, 32, 3, 1),
    same("conv2d_2b", 32, 64, [3, 3]),
];
const STEM_AFTER_POOL: &[Shape] = &[
    valid("conv2d_3b", 64, 80, 1, 1),
    valid("conv2d_4a", 80, 192, 3, 1),
    valid("conv2d_4b", 192, 256, 3, 2),
];
const BLOCK35: &[&[Shape]] = &[
    &[same("branch0", 256, 32, [1, 1])],
    &[
        same("branch1.0", 256, 32, [1, 1]),
        same("branch1.1", 32, 32, [3, 3]),
    ],
    &[
        same("branch2.0", 256, 32, [1, 1]),
        same("branch2.1", 32, 32, [3, 3]),
        same("branch2.2", 32, 32, [3, 3]),
    ],
];
const REDUCTION_A: &[&[Shape]] = &[
    &[valid("branch0", 256, 384, 3, 2)],
    &[
        same("branch1.0", 256, 192, [1, 1]),
        same("branch1.1", 192, 192, [3, 3]),
        valid("branch1.2", 192, 256, 3, 2),
    ],
];
const BLOCK17: &[&[Shape]] = &[
    &[same("branch0", 896, 128, [1, 1])],
    &[
        same("branch1.0", 896, 128, [1, 1]),
        same("branch1.1", 128, 128, [1, 7]),
        same("branch1.2", 128, 128, [7, 1]),
    ],
];
const REDUCTION_B: &[&[Shape]] = &[
    &[
        same("branch0.0", 896, 256, [1, 1]),
        valid("branch0.1", 256, 384, 3, 2),
    ],
    &[
        same("branch1.0", 896, 256, [1, 1]),
        valid("branch1.1", 256, 256, 3, 2),
    ],
    &[
        same("branch2.0", 896, 256, [1, 1]),
        same("branch2.1", 256, 256, [3, 3]),
        valid("branch2.2", 256, 256, 3, 2),
    ],
];
const BLOCK8: &[&[Shape]] = &[
    &[same("branch0", 1792, 192, [1, 1])],
    &[
        same("branch1.0", 1792, 192, [1, 1]),
        same("branch1.1", 192, 192, [1, 3]),
        same("branch1.2", 192, 192, [3, 1]),
    ],
];
/// Channels after the last block.
const FEATURES: usize = 1792;

impl InceptionResnet {
    pub fn load(file: &WeightFile, embedding_size: usize) -> Result<Self, WeightsError> {
        let repeat = |name: &str, count: usize, branches: &[&[Shape]], channels: usize| {
            (0..count)
                .map(|index| {
                    Residual::load(file, &format!("{name}.{index}."), branches, channels, true)
                })
                .collect::<Result<Vec<_>, _>>()
        };
        Ok(Self {
            stem_before_pool: chain(file, "", STEM_BEFORE_POOL)?,
            stem_after_pool: chain(file, "", STEM_AFTER_POOL)?,
            blocks35: repeat("repeat_1", 5, BLOCK35, 256)?,
            reduction_a: Reduction::load(file, "mixed_6a.", REDUCTION_A)?,
            blocks17: repeat("repeat_2", 10, BLOCK17, 896)?,
            reduction_b: Reduction::load(file, "mixed_7a.", REDUCTION_B)?,
            blocks8: repeat("repeat_3", 5, BLOCK8, FEATURES)?,
            last_block: Residual::load(file, "block8.", BLOCK8, FEATURES, false)?,
            linear_weight: file.parameter("last_linear.weight", &[embedding_size, FEATURES])?,
            linear_bias: file.parameter("last_linear.bias", &[embedding_size])?,
        })
    }

    pub fn forward(&self, input: &Tensor) -> Tensor {
        let mut features = max_pool(&run(&self.stem_before_pool, input));
        features = run(&self.stem_after_pool, &features);
        for block in &self.blocks35 {
            features = block.forward(&features);
        }
        features = self.reduction_a.forward(&features);
        for block in &self.blocks17 {
            features = block.forward(&features);
        }
        features = self.reduction_b.forward(&features);
        for block in self.blocks8.iter().chain([&self.last_block]) {
            features = block.forward(&features);
        }
        let means = features.mean_dim([2i64, 3].as_slice(), false, None);
        means.linear(self.linear_weight.tensor(), Some(self.linear_bias.tensor()))
    }
}

impl Convolution {
    fn load(file: &WeightFile, prefix: &str, shape: &Shape) -> Result<Self, WeightsError> {
        let name = format!("{prefix}{}", shape.name);
        let [height, width] = shape.kernel;
        Ok(Self {
            weight: file.kernel(
                &format!("{name}.weight"),
                [shape.outputs, height, width, shape.inputs],
            )?,
            bias: file.parameter(&format!("{name}.bias"), &[shape.outputs])?,
            stride: shape.stride,
            padding: shape.padding,
        })
    }

    fn forward(&self, input: &Tensor) -> Tensor {
        let (weight, bias) = (self.weight.tensor(), Some(self.bias.tensor()));
        input.conv2d(
            weight,
            bias,
            [self.stride, self.stride],
            self.padding,
            [1, 1],
            1,
        )
    }
}

impl Residual {
    fn load(
        file: &WeightFile,
        prefix: &str,
        branches: &[&[Shape]],
        channels: usize,
        has_relu: bool,
    ) -> Result<Self, WeightsError> {
        let joined = branches
            .iter()
            .filter_map(|branch| branch.last())
            .map(|shape| shape.outputs)
            .sum();
        Ok(Self {
            branches: branches
                .iter()
                .map(|shapes| chain(file, prefix, shapes))
                .collect::<Result<_, _>>()?,
            up: Convolution::load(file, prefix, &same("conv2d", joined, channels, [1, 1]))?,
            has_relu,
        })
    }

    fn forward(&self, input: &Tensor) -> Tensor {
        let branches: Vec<Tensor> = self
            .branches
            .iter()
            .map(|branch| run(branch, input))
            .collect();
        let mut sum = self.up.forward(&Tensor::cat(&branches, 1));
        sum += input;
        if self.has_relu { sum.relu_() } else { sum }
    }
}

impl Reduction {
    fn load(file: &WeightFile, prefix: &str, branches: &[&[Shape]]) -> Result<Self, WeightsError> {
        let branches = branches
            .iter()
            .map(|shapes| chain(file, prefix, shapes))
            .collect::<Result<_, _>>()?;
        Ok(Self { branches })
    }

    fn forward(&self, input: &Tensor) -> Tensor {
        let mut parts: Vec<Tensor> = self
            .branches
            .iter()
            .map(|branch| run(branch, input))
            .collect();
        parts.push(max_pool(input));
        Tensor::cat(&parts, 1)
    }
}

fn chain(
    file: &WeightFile,
    prefix: &str,
    shapes: &[Shape],
) -> Result<Vec<Convolution>, WeightsError> {
    shapes
        .iter()
        .map(|shape| Convolution::load(file, prefix, shape))
        .collect()
}

/// The convolutions one after the other, each with its ReLU.
fn run(layers: &[Convolution], input: &Tensor) -> Tensor {
    let (first, rest) = layers
        .split_first()
        .expect("every branch has a convolution");
    rest.iter()
        .fold(first.forward(input).relu_(), |features, layer| {
            layer.forward(&features).relu_()
        })
}

fn max_pool(input: &Tensor) -> Tensor {
    input.max_pool2d([3, 3], [2, 2], [0, 0], [1, 1], false)
}

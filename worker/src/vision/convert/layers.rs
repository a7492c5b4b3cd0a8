//! The layers of facenet-pytorch's `InceptionResnetV1` (`models/inception_resnet_v1.py`) as its state dict names them.

/// Channels after the last block.
pub const FEATURES: usize = 1792;

/// A convolution, or the dense layer at the end, and what is folded into it.
#[derive(Debug, Clone)]
pub struct Layer {
    /// Its name in a bundle.
    pub name: String,
    /// Its kernel's name in a state dict.
    pub kernel: String,
    /// Out, height, width, in.
    pub shape: [usize; 4],
    pub fold: Fold,
}

/// What follows a layer.
#[derive(Debug, Clone)]
pub enum Fold {
    /// The batch norm of this name; the layer has no bias of its own.
    BatchNorm(String),
    /// A residual block's scale; the layer has a bias.
    Scale(f64),
}

/// Name, inputs, outputs, kernel height and width.
type Convolution = (&'static str, usize, usize, [usize; 2]);

const STEM: &[Convolution] = &[
    ("conv2d_1a", 3, 32, [3, 3]),
    ("conv2d_2a", 32, 32, [3, 3]),
    ("conv2d_2b", 32, 64, [3, 3]),
    ("conv2d_3b", 64, 80, [1, 1]),
    ("conv2d_4a", 80, 192, [3, 3]),
    ("conv2d_4b", 192, 256, [3, 3]),
];
const REDUCTION_A: &[Convolution] = &[
    ("branch0", 256, 384, [3, 3]),
    ("branch1.0", 256, 192, [1, 1]),
    ("branch1.1", 192, 192, [3, 3]),
    ("branch1.2", 192, 256, [3, 3]),
];
const REDUCTION_B: &[Convolution] = &[
    ("branch0.0", 896, 256, [1, 1]),
    ("branch0.1", 256, 384, [3, 3]),
    ("branch1.0", 896, 256, [1, 1]),
    ("branch1.1", 256, 256, [3, 3]),
    ("branch2.0", 896, 256, [1, 1]),
    ("branch2.1", 256, 256, [3, 3]),
    ("branch2.2", 256, 256, [3, 3]),
];

/// A block that adds to its `channels` inputs what its branches, `joined` channels side by side, make of them.
struct Residual {
    branches: &'static [Convolution],
    joined: usize,
    channels: usize,
}

const BLOCK35: Residual = Residual {
    branches: &[
        ("branch0", 256, 32, [1, 1]),
        ("branch1.0", 256, 32, [1, 1]),
        ("branch1.1", 32, 32, [3, 3]),
        ("branch2.0", 256, 32, [1, 1]),
        ("branch2.1", 32, 32, [3, 3]),
        ("branch2.2", 32, 32, [3, 3]),
    ],
    joined: 96,
    channels: 256,
};
const BLOCK17: Residual = Residual {
    branches: &[
        ("branch0", 896, 128, [1, 1]),
        ("branch1.0", 896, 128, [1, 1]),
        ("branch1.1", 128, 128, [1, 7]),
        ("branch1.2", 128, 128, [7, 1]),
    ],
    joined: 256,
    channels: 896,
};
const BLOCK8: Residual = Residual {
    branches: &[
        ("branch0", FEATURES, 192, [1, 1]),
        ("branch1.0", FEATURES, 192, [1, 1]),
        ("branch1.1", 192, 192, [1, 3]),
        ("branch1.2", 192, 192, [3, 1]),
    ],
    joined: 384,
    channels: FEATURES,
};

/// All layers, in the order in which they run.
pub fn layers(embedding_size: usize) -> Vec<Layer> {
    let mut layers = basic("", STEM);
    layers.extend(repeat("repeat_1", 5, &BLOCK35, 0.17));
    layers.extend(basic("mixed_6a.", REDUCTION_A));
    layers.extend(repeat("repeat_2", 10, &BLOCK17, 0.10));
    layers.extend(basic("mixed_7a.", REDUCTION_B));
    layers.extend(repeat("repeat_3", 5, &BLOCK8, 0.20));
    layers.extend(residual("block8", &BLOCK8, 1.0));
    layers.push(Layer {
        name: "last_linear".to_owned(),
        kernel: "last_linear.weight".to_owned(),
        shape: [embedding_size, 1, 1, FEATURES],
        fold: Fold::BatchNorm("last_bn".to_owned()),
    });
    layers
}

/// facenet-pytorch's `BasicConv2d`: a convolution without bias, then a batch norm.
fn basic(prefix: &str, convolutions: &[Convolution]) -> Vec<Layer> {
    let layer = |&(name, inputs, outputs, [height, width]): &Convolution| Layer {
        name: format!("{prefix}{name}"),
        kernel: format!("{prefix}{name}.conv.weight"),
        shape: [outputs, height, width, inputs],
        fold: Fold::BatchNorm(format!("{prefix}{name}.bn")),
    };
    convolutions.iter().map(layer).collect()
}

fn residual(name: &str, block: &Residual, scale: f64) -> Vec<Layer> {
    let mut layers = basic(&format!("{name}."), block.branches);
    layers.push(Layer {
        name: format!("{name}.conv2d"),
        kernel: format!("{name}.conv2d.weight"),
        shape: [block.channels, 1, 1, block.joined],
        fold: Fold::Scale(scale),
    });
    layers
}

fn repeat(name: &str, count: usize, block: &Residual, scale: f64) -> Vec<Layer> {
    (0..count)
        .flat_map(|index| residual(&format!("{name}.{index}"), block, scale))
        .collect()
}

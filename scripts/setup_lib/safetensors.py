"""Writes the safetensors format: u64 header length, JSON header, raw tensors."""

import json
import struct

ALIGNMENT = 64


def save(path, tensors, metadata):
    """`tensors` is {name: (shape, array('f'))}. The data begins at a multiple of 64 bytes, so that a memory map of the
    file serves vector instructions as it is."""
    header, offset = {"__metadata__": metadata}, 0
    for name, (shape, values) in tensors.items():
        size = len(values) * values.itemsize
        header[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-(len(text) + 8) % ALIGNMENT)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)))
        file.write(text)
        for _, values in tensors.values():
            file.write(values.tobytes())

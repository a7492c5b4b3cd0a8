"""Reads a state dict out of the legacy `torch.save` format (before the zip files of torch 1.6) without torch.

The file is five pickles (magic number, protocol version, system info, the object, the storage keys) and then each
storage's element count and raw bytes. Only the four names such a file needs can be unpickled; nothing is imported.
"""

import collections
import pickle
import struct
from array import array

MAGIC_NUMBER = 0x1950A86A20F9469CFC6C
PROTOCOL_VERSION = 1001


class NotALegacyTorchFile(Exception):
    """The file is damaged, or something else than a legacy `torch.save` state dict."""


def load_state_dict(path):
    """{name: (shape, values)} with the values of float tensors as an `array('f')` in row-major order."""
    storages = {}
    with open(path, "rb") as file:
        def unpickle():
            return _Whitelisted(file, storages).load()

        if unpickle() != MAGIC_NUMBER or unpickle() != PROTOCOL_VERSION or not unpickle()["little_endian"]:
            raise NotALegacyTorchFile(str(path))
        tensors = unpickle()
        for key in unpickle():
            count, = struct.unpack("<q", file.read(8))
            typecode, expected = storages[key]["type"], storages[key]["count"]
            if count != expected:
                raise NotALegacyTorchFile(f"{path}: storage {key} holds {count} elements instead of {expected}")
            values = array(typecode)
            values.frombytes(file.read(count * values.itemsize))
            storages[key]["values"] = values
    return {name: (tuple(tensor.shape), tensor.row_major()) for name, tensor in tensors.items()}


class _Tensor:
    def __init__(self, storage, offset, shape, strides, *_):
        self.storage, self.offset, self.shape, self.strides = storage, offset, shape, strides

    def row_major(self):
        """The values in row-major order; facenet-pytorch's own files hold transposed views."""
        positions = [self.offset]
        for size, stride in zip(self.shape, self.strides):
            positions = [start + index * stride for start in positions for index in range(size)]
        values = self.storage["values"]
        return array(values.typecode, (values[position] for position in positions))


class _Whitelisted(pickle.Unpickler):
    ALLOWED = {
        ("collections", "OrderedDict"): collections.OrderedDict,
        ("torch._utils", "_rebuild_tensor_v2"): _Tensor,
        ("torch", "FloatStorage"): "f",
        ("torch", "LongStorage"): "q",
    }

    def __init__(self, file, storages):
        super().__init__(file)
        self.storages = storages

    def find_class(self, module, name):
        try:
            return self.ALLOWED[module, name]
        except KeyError:
            raise NotALegacyTorchFile(f"the file asks for {module}.{name}") from None

    def persistent_load(self, identifier):
        _kind, typecode, key, _location, count, _view = identifier
        return self.storages.setdefault(key, {"type": typecode, "count": count})

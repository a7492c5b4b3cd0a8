"""A reader for the one kind of HDF5 file that set-up converts: groups in the old (symbol table) format that hold
contiguous little-endian float32 datasets. Written from the HDF5 file format specification, version 3.0.

Reading these few structures takes less than h5py would: a compiled wheel for each Python version, pinned by hash.
"""

import mmap
import struct
from array import array

SIGNATURE = b"\x89HDF\r\n\x1a\n"
DATASPACE, DATATYPE, LAYOUT, CONTINUATION, SYMBOL_TABLE = 0x01, 0x03, 0x08, 0x10, 0x11
FLOATING_POINT, CONTIGUOUS = 1, 1


class NotSupported(Exception):
    """The file uses a part of HDF5 that this reader does not know."""


class Hdf5File:
    """`datasets()` gives {path: (shape, values)} with the values as an `array('f')` in row-major order."""

    def __init__(self, path):
        with open(path, "rb") as file:
            self.data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        if self.data[:8] != SIGNATURE:
            raise NotSupported(f"{path} is not an HDF5 file")
        version, offset_bytes, length_bytes = self.data[8], self.data[13], self.data[14]
        if (version, offset_bytes, length_bytes) != (0, 8, 8):
            raise NotSupported(f"{path}: superblock version {version} with {offset_bytes}-byte offsets")

    def datasets(self):
        # The root group's symbol table entry follows the 56 bytes of the superblock; its header address is at +8.
        root_header, = struct.unpack_from("<Q", self.data, 56 + 8)
        found = {}
        self._walk(root_header, "", found)
        return found

    def _walk(self, header_address, path, found):
        messages = self._messages(header_address)
        if SYMBOL_TABLE in messages:
            tree, heap = struct.unpack_from("<QQ", self.data, messages[SYMBOL_TABLE])
            for name, child in self._links(tree, heap):
                self._walk(child, f"{path}/{name}" if path else name, found)
        elif LAYOUT in messages:
            found[path] = self._dataset(messages, path)

    def _messages(self, address):
        """{message type: offset of its body}; none of the types read here occurs twice in one header."""
        version, _, count, _, size = struct.unpack_from("<BBHII", self.data, address)
        if version != 1:
            raise NotSupported(f"object header version {version}")
        blocks, messages = [(address + 16, size)], {}
        while blocks:
            position, length = blocks.pop(0)
            end = position + length
            while position + 8 <= end and count > 0:
                kind, body_size = struct.unpack_from("<HH", self.data, position)
                body = position + 8
                if kind == CONTINUATION:
                    blocks.append(struct.unpack_from("<QQ", self.data, body))
                else:
                    messages.setdefault(kind, body)
                position = body + body_size
                count -= 1
        return messages

    def _links(self, tree, heap):
        """(name, object header address) of every member of a group, by its B-tree and its heap of names."""
        if self.data[heap:heap + 4] != b"HEAP":
            raise NotSupported("a group without a local heap")
        names, = struct.unpack_from("<Q", self.data, heap + 24)
        nodes = [tree]
        while nodes:
            node = nodes.pop(0)
            signature, used = self.data[node:node + 4], struct.unpack_from("<H", self.data, node + 6)[0]
            if signature == b"TREE":
                # 24 bytes of header, then key, child, key, child, ..., key.
                nodes.extend(struct.unpack_from("<Q", self.data, node + 32 + 16 * i)[0] for i in range(used))
            elif signature == b"SNOD":
                for i in range(used):
                    name_offset, header = struct.unpack_from("<QQ", self.data, node + 8 + 40 * i)
                    start = names + name_offset
                    yield self.data[start:self.data.find(b"\0", start)].decode(), header
            else:
                raise NotSupported(f"a group node with the signature {signature!r}")

    def _dataset(self, messages, path):
        space, kind, layout = messages[DATASPACE], messages[DATATYPE], messages[LAYOUT]
        version, rank = self.data[space], self.data[space + 1]
        shape = struct.unpack_from(f"<{rank}Q", self.data, space + (8 if version == 1 else 4))
        type_class, byte_order = self.data[kind] & 0x0F, self.data[kind + 1] & 1
        width, = struct.unpack_from("<I", self.data, kind + 4)
        if self.data[layout] != 3 or self.data[layout + 1] != CONTIGUOUS:
            raise NotSupported(f"{path} is not stored contiguously")
        if (type_class, byte_order, width) != (FLOATING_POINT, 0, 4):
            return shape, None
        address, size = struct.unpack_from("<QQ", self.data, layout + 2)
        values = array("f")
        values.frombytes(self.data[address:address + size])
        return shape, values

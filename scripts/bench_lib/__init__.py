"""The reference of `make bench`: facenet-pytorch on PyTorch, in a Python environment of its own."""

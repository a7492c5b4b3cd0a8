"""What `make bench` compares with: facenet-pytorch on PyTorch, in a Python environment of its own."""

"""The reference under the stopwatch: reads a command a line on stdin and prints a line for each.

usage: reference.py EMBEDDER_SAFETENSORS

  embed N         ms for one pass of the embedder over N crops
  detect PATH     ms to find the faces of a photo that is decoded already
  pipeline PATH   ms from the file to the nearest of a gallery of 93
  gemm            billions of float32 operations a second, one matrix product
  boxes PATH      the faces found, as JSON: [[left, top, right, bottom], ...]
  clip PATH       all faces of all frames of a clip, as JSON: {"frames", "faces", "wall_s", "processor_s"}
"""

import functools
import json
import sys
import time
import warnings

import torch
from facenet_pytorch import MTCNN, InceptionResnetV1
from PIL import Image

from bench_lib.weights import load_state_dict

GALLERY_ROWS = 93
EMBEDDING_SIZE = 128
GEMM_SIDE = 1536


class Reference:
    def __init__(self, weights):
        torch.set_num_threads(1)
        torch.set_num_interop_threads(1)
        torch.manual_seed(1)
        self.detector = MTCNN(image_size=160, margin=0, min_face_size=20)
        self.detector_of_all = MTCNN(image_size=160, margin=0, min_face_size=20, keep_all=True)
        self.embedder = InceptionResnetV1(classify=False)
        self.embedder.last_linear = torch.nn.Linear(1792, EMBEDDING_SIZE, bias=False)
        self.embedder.last_bn = torch.nn.BatchNorm1d(EMBEDDING_SIZE, eps=0.001)
        self.embedder.load_state_dict(load_state_dict(weights))
        self.embedder.eval()
        self.gallery = torch.nn.functional.normalize(torch.randn(GALLERY_ROWS, EMBEDDING_SIZE))
        self.matrix = torch.randn(GEMM_SIDE, GEMM_SIDE)

    def embed(self, count):
        crops = torch.randn(int(count), 3, 160, 160)
        return milliseconds(lambda: self.embedder(crops))

    def detect(self, path):
        photo = decoded(path)
        return milliseconds(lambda: self.detector.detect(photo))

    def pipeline(self, path):
        def recognize():
            face = self.detector(Image.open(path).convert("RGB"))
            return torch.cdist(self.embedder(face.unsqueeze(0)), self.gallery).argmin().item()
        return milliseconds(recognize)

    def clip(self, path):
        import cv2
        cv2.setNumThreads(1)
        frames = faces = 0
        wall, processor = time.perf_counter(), time.process_time()
        capture = cv2.VideoCapture(path)
        while True:
            is_frame, frame = capture.read()
            if not is_frame:
                break
            frames += 1
            crops = self.detector_of_all(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB))
            if crops is not None:
                faces += len(torch.cdist(self.embedder(crops), self.gallery).argmin(dim=1).tolist())
        capture.release()
        return json.dumps({"frames": frames, "faces": faces, "wall_s": time.perf_counter() - wall,
                           "processor_s": time.process_time() - processor})

    def gemm(self):
        elapsed = milliseconds(lambda: torch.mm(self.matrix, self.matrix))
        return 2 * GEMM_SIDE ** 3 / elapsed / 1e6

    def boxes(self, path):
        boxes, _ = self.detector.detect(decoded(path))
        return json.dumps([] if boxes is None else boxes.tolist())


@functools.lru_cache
def decoded(path):
    return Image.open(path).convert("RGB")


def milliseconds(work):
    start = time.perf_counter()
    work()
    return (time.perf_counter() - start) * 1000


def main(weights):
    # facenet-pytorch 2.6.0 calls NumPy in ways that newer versions warn of.
    warnings.simplefilter("ignore")
    reference = Reference(weights)
    print("ready", flush=True)
    with torch.no_grad():
        for line in sys.stdin:
            command, *arguments = line.rstrip("\n").split(" ", 1)
            if command not in ("embed", "detect", "pipeline", "gemm", "boxes", "clip"):
                sys.exit(f"unknown command: {command}")
            print(getattr(reference, command)(*arguments), flush=True)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])

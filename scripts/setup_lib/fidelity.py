"""The Python environment of localcloud's fidelity suite and of the tests of deploy/aws and the page: boto3, the AWS CLI, pytest,
cfn-lint, moto's server and Playwright, each pinned.

Run as a module it makes the environment if need be and prints its path, for scripts/fidelity, scripts/deploy-test, scripts/page-test and
scripts/bench.
"""

import platform
import shutil
import subprocess
import sys
import tempfile
import venv
import zipfile
from contextlib import redirect_stdout
from pathlib import Path

from .fetch import Package, fetch
from .places import CACHE, REPOSITORY, STAMP, is_done, replace, require_space
from .report import SetupError, fail, note, step

FOLDER = CACHE / "fidelity"
REQUIREMENTS = REPOSITORY / "localcloud" / "tests" / "fidelity" / "requirements.txt"

# The last botocore with SQS's query protocol. Only its description of SQS is used; it is never installed.
OLD_BOTOCORE = Package(
    requirement="botocore==1.29.165",
    file="botocore-1.29.165-py3-none-any.whl",
    sha256="6f35d59e230095aed7cd747604fe248fa384bebb7d09549077892f936a8ca3df",
    size="11 MB",
)
SQS_MODEL = "botocore/data/sqs/2012-11-05/service-2.json"
# Relative to the environment; a client reads it with AWS_DATA_PATH.
QUERY_MODELS = "query-models"

# Only its `deploy` is tried, so it comes without Zig, 400 MB with which it compiles.
CARGO_LAMBDA = Package(
    requirement="cargo-lambda==1.9.2",
    file="cargo_lambda-1.9.2-py3-none-manylinux_2_5_x86_64.manylinux1_x86_64.whl",
    sha256="db2c0b1d53d7ed0055198fd045f641addc91b180b20d794fcf78cc9a9efacb38",
    size="14 MB",
)
CARGO_LAMBDA_PROGRAM = "cargo_lambda-1.9.2.data/scripts/cargo-lambda"
CARGO_LAMBDA_FOLDER = CACHE / "cargo-lambda"


def prepare():
    recipe = REQUIREMENTS.read_text() + OLD_BOTOCORE.sha256
    if is_done(FOLDER, recipe):
        return
    if sys.version_info < (3, 10):
        raise SetupError("the tests of localcloud need Python 3.10 or later, for boto3; "
                         f"this is {sys.version.split()[0]}. Without them: scripts/setup --without-tests.")
    require_space(800)
    if FOLDER.exists():
        shutil.rmtree(FOLDER)
    with step("installing boto3, the AWS CLI and moto for the tests of localcloud (70 MB to download)"):
        # A virtual environment cannot be moved, so it is made in place, and the stamp says that it is complete.
        venv.create(FOLDER, with_pip=True)
        pip = [FOLDER / "bin" / "python", "-m", "pip", "install", "--quiet", "--no-cache-dir",
               "--disable-pip-version-check", "--require-hashes", "--only-binary", ":all:",
               "--requirement", REQUIREMENTS]
        if subprocess.run(pip, stdout=sys.stderr).returncode != 0:
            raise SetupError("pip could not install what the tests of localcloud need. Check the network and pip's "
                             "configuration (pip config list), then run scripts/setup again.")
    model = FOLDER / QUERY_MODELS / "sqs" / "2012-11-05" / "service-2.json"
    model.parent.mkdir(parents=True)
    with zipfile.ZipFile(fetch(OLD_BOTOCORE)) as wheel:
        model.write_bytes(wheel.read(SQS_MODEL))
    (FOLDER / STAMP).write_text(recipe)


def prepare_cargo_lambda():
    """Gets the program of one test, which is skipped where it cannot be had."""
    if platform.machine() != "x86_64" or is_done(CARGO_LAMBDA_FOLDER, CARGO_LAMBDA.sha256):
        return
    try:
        wheel = fetch(CARGO_LAMBDA)
    except SetupError as error:
        note(f"cargo lambda will NOT be tested: {error}")
        return
    with tempfile.TemporaryDirectory(dir=CACHE) as scratch:
        prepared = Path(scratch) / "cargo-lambda"
        prepared.mkdir()
        with zipfile.ZipFile(wheel) as archive:
            (prepared / "cargo-lambda").write_bytes(archive.read(CARGO_LAMBDA_PROGRAM))
        (prepared / "cargo-lambda").chmod(0o755)
        replace(CARGO_LAMBDA_FOLDER, prepared, CARGO_LAMBDA.sha256)


if __name__ == "__main__":
    try:
        with redirect_stdout(sys.stderr):
            prepare()
            prepare_cargo_lambda()
    except SetupError as error:
        fail(str(error))
    print(FOLDER)

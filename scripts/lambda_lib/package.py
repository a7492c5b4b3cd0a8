"""The zip file of the functions."""

import argparse
import os
import platform
import re
import shutil
import subprocess
import tempfile
import zipfile
from pathlib import Path

from setup_lib import static_ffmpeg
from setup_lib.places import LOCAL, REPOSITORY
from setup_lib.report import SetupError, fail

# Amazon Linux 2023, the base of provided.al2023.
GLIBC = (2, 34)
# Libraries that it has besides glibc's own.
LIBRARIES = {"libc.so.6", "libm.so.6", "libgcc_s.so.1", "libpthread.so.0", "libdl.so.2", "librt.so.1", "ld-linux-x86-64.so.2",
             "ld-linux-aarch64.so.1"}
UNZIPPED_LIMIT, DIRECT_LIMIT = 250 * 2**20, 50 * 2**20
# The same content makes the same archive.
TIME = (1980, 1, 1, 0, 0, 0)


def main():
    arguments = parse_arguments()
    programs = arguments.programs or build(arguments.engine)
    is_torch = arguments.engine == "torch"
    bootstrap = programs / ("bootstrap-torch" if is_torch else "bootstrap")
    if not bootstrap.exists():
        raise SetupError(f"{bootstrap} is missing")
    out = arguments.out or REPOSITORY / "target" / "package" / f"muster-lambda-{architecture()}.zip"
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as work:
        folder = Path(work) / "functions"
        folder.mkdir()
        subprocess.run(["strip", "-o", folder / "bootstrap", bootstrap], check=True)
        if is_torch:
            add_libtorch(folder / "libtorch")
        else:
            check_libraries(folder / "bootstrap", arguments.any_glibc)
        add_model(folder / "model", arguments.models, arguments.weights)
        add_gallery(folder / "gallery.safetensors", arguments, programs)
        add_ffmpeg(folder, arguments)
        set_modes(folder)
        if arguments.folder:
            shutil.copytree(folder, arguments.folder, dirs_exist_ok=True)
        else:
            write(folder, out, arguments.fast)
        report(folder, None if arguments.folder else out)


def parse_arguments():
    parser = argparse.ArgumentParser(prog="scripts/package-lambda", description=__doc__)
    path = lambda text: Path(arguments_caller, text).resolve()
    arguments_caller = os.getcwd()
    parser.add_argument("--caller", help=argparse.SUPPRESS)
    parser.add_argument("--engine", choices=["native", "torch"], default="native",
                        help="torch: with libtorch, for the container image (--folder) alone (default: %(default)s)")
    parser.add_argument("--programs", metavar="DIR", help="folder of bootstrap or bootstrap-torch, and of worker, which makes the "
                        "gallery (default: cargo builds them)")
    parser.add_argument("--models", metavar="DIR", default=LOCAL / "models" / "facenet128", help="model bundle (default: %(default)s)")
    parser.add_argument("--weights", choices=["all", "int8"],
                        help="int8: without those in float32, 87 MB less; fast with AVX2, which Lambda promises on x86-64 (default there, "
                             "if the model has them)")
    parser.add_argument("--gallery", metavar="FILE", help="known faces, as worker enrol makes them (default: the sample photos)")
    parser.add_argument("--ffmpeg", metavar="DIR", help="folder of other programs ffmpeg and ffprobe")
    parser.add_argument("--system-ffmpeg", action="store_true", help="without FFmpeg: the functions use that of their machine")
    parser.add_argument("--any-glibc", action="store_true", help="for a machine with this one's glibc, not for AWS")
    parser.add_argument("--fast", action="store_true", help="do not compress")
    parser.add_argument("--folder", metavar="DIR", help="write files instead of a zip file, for the container image")
    parser.add_argument("--out", metavar="FILE", help="default: target/package/muster-lambda-ARCHITECTURE.zip")
    arguments = parser.parse_args()
    if arguments.engine == "torch":
        if arguments.folder is None:
            parser.error("--engine torch is for the container image: add --folder DIR")
        arguments.weights = arguments.weights or "all"
    arguments_caller = arguments.caller or arguments_caller
    for name in ("programs", "models", "gallery", "ffmpeg", "folder", "out"):
        if getattr(arguments, name) is not None:
            setattr(arguments, name, path(getattr(arguments, name)))
    return arguments


def build(engine):
    """Fetches and builds what is missing. Returns the folder of the programs."""
    subprocess.run([REPOSITORY / "scripts" / "setup", "--without-tests", "--engine", engine], check=True)
    package = "worker-torch" if engine == "torch" else "lambda"
    subprocess.run(["cargo", "build", "--release", "--package", package, "--package", "worker"], cwd=REPOSITORY, check=True)
    subprocess.run([REPOSITORY / "scripts" / "model", "--engine", "native", "--for-other-machines"], check=True)
    return REPOSITORY / os.environ.get("CARGO_TARGET_DIR", "target") / "release"


def architecture():
    """As Lambda names it."""
    return {"aarch64": "arm64"}.get(platform.machine(), platform.machine())


def check_libraries(program, any_glibc):
    """Fails if Amazon Linux 2023 lacks what the program asks for."""
    headers = subprocess.run(["objdump", "-p", program], check=True, text=True, capture_output=True).stdout
    foreign = set(re.findall(r"NEEDED +(\S+)", headers)) - LIBRARIES
    if foreign:
        raise SetupError(f"bootstrap needs libraries that Lambda does not have: {', '.join(sorted(foreign))}")
    symbols = subprocess.run(["objdump", "-T", program], check=True, text=True, capture_output=True).stdout
    newer = {f"{name} ({version})" for version, name in re.findall(r"\(?GLIBC_([0-9.]+)\)? +(\S+)", symbols)
             if tuple(map(int, version.split("."))) > GLIBC}
    if newer and not any_glibc:
        raise SetupError(f"bootstrap asks for a newer glibc than Lambda's {'.'.join(map(str, GLIBC))}: {', '.join(sorted(newer))}. "
                         "Build it on an older system; for this machine alone: --any-glibc.")


def add_libtorch(folder):
    libtorch = Path(os.environ.get("LIBTORCH") or LOCAL / "libtorch")
    if not (libtorch / "lib").is_dir():
        raise SetupError(f"{libtorch} has no libtorch: run scripts/setup, or set LIBTORCH")
    shutil.copytree(libtorch / "lib", folder / "lib")
    shutil.copy(libtorch / "build-version", folder)


def add_model(folder, models, weights):
    if not (models / "bundle.json").exists():
        raise SetupError(f"{models} has no model: run make setup")
    has_int8 = any(models.glob("*int8*.safetensors"))
    weights = weights or ("int8" if has_int8 and architecture() == "x86_64" else "all")
    if weights == "int8" and not has_int8:
        raise SetupError(f"{models} has no weights for 8-bit integers: run worker calibrate --for-other-machines")
    folder.mkdir()
    for file in models.iterdir():
        if not file.name.startswith(".") and (weights == "all" or file.name != "embedder.safetensors"):
            shutil.copy(file, folder)


def add_gallery(file, arguments, programs):
    if arguments.gallery:
        shutil.copy(arguments.gallery, file)
        return
    command = [programs / "worker", "enrol", "--engine", "native", "--photos", LOCAL / "photos" / "train", "--models", arguments.models,
               "--gallery", file]
    done = subprocess.run(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if done.returncode != 0:
        raise SetupError(f"the sample photos could not be enrolled: {done.stdout.strip()}")


def add_ffmpeg(folder, arguments):
    if arguments.system_ffmpeg:
        return
    if arguments.ffmpeg is None:
        static_ffmpeg.add(folder, folder)
        return
    for program in static_ffmpeg.PROGRAMS:
        shutil.copy(arguments.ffmpeg / program, folder)


def set_modes(folder):
    """Lets every user read all: functions do not run as the one who packed them."""
    for path in (folder, *folder.rglob("*")):
        is_program = path.parent == folder and path.name in ("bootstrap", *static_ffmpeg.PROGRAMS)
        path.chmod(0o755 if is_program or path.is_dir() else 0o644)


def write(folder, out, fast):
    new = out.with_name(out.name + ".new")
    method = zipfile.ZIP_STORED if fast else zipfile.ZIP_DEFLATED
    with zipfile.ZipFile(new, "w", method, compresslevel=None if fast else 9) as archive:
        for file in sorted(path for path in folder.rglob("*") if path.is_file()):
            entry = zipfile.ZipInfo(str(file.relative_to(folder)), TIME)
            entry.compress_type = method
            entry.external_attr = file.stat().st_mode << 16
            entry.create_system = 3
            with archive.open(entry, "w") as packed, open(file, "rb") as content:
                shutil.copyfileobj(content, packed, 2**20)
    new.rename(out)


def report(folder, out):
    sizes = {}
    for file in folder.rglob("*"):
        if file.is_file():
            part = file.relative_to(folder).parts[0]
            sizes[part] = sizes.get(part, 0) + file.stat().st_size
    unzipped = sum(sizes.values())
    for part, size in sorted(sizes.items(), key=lambda item: -item[1]):
        print(f"  {size / 2**20:7.1f} MB  {part}")
    if out is None:
        print(f"  {unzipped / 2**20:7.1f} MB together")
        return
    if unzipped > UNZIPPED_LIMIT:
        raise SetupError(f"{unzipped / 2**20:.0f} MB are more than the 250 MB that Lambda takes")
    zipped = out.stat().st_size
    how = "directly" if zipped <= DIRECT_LIMIT else "by way of S3, since it has more than 50 MB"
    print(f"  {unzipped / 2**20:7.1f} MB together, {zipped / 2**20:.1f} MB zipped; it is uploaded {how}")
    print(out)


if __name__ == "__main__":
    try:
        main()
    except (SetupError, OSError, subprocess.CalledProcessError) as error:
        fail(str(error))

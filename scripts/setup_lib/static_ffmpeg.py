"""A static FFmpeg that reads clips and writes frames, and can do nothing else: no network, no devices, no playlists.

It is built from Debian's source package, whose signature apt checks, and kept in the cache. The source comes from where apt gets
this machine's packages.

    python3 -m setup_lib.static_ffmpeg [PACKAGE]    builds it if need be, and adds it to a release's folder
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from . import debian
from .places import CACHE, is_done, replace
from .report import SetupError, fail, step

PROGRAMS = ["ffmpeg", "ffprobe"]
LICENSE = "COPYING.LGPLv2.1"
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
TOOLS = {"dpkg-source": "dpkg-dev", "gcc": "gcc", "make": "make", "nasm": "nasm"}

PARTS = {
    "protocol": "file pipe",
    # Those of `FORMATS` in platform/video/src/ffmpeg.rs.
    "demuxer": "asf avi flv matroska mov mpegps mpegts ogg",
    "decoder": "dnxhd dvvideo ffv1 ffvhuff flv h263 h263p h264 hevc huffyuv mjpeg mpeg1video mpeg2video mpeg4 msmpeg4v1 "
               "msmpeg4v2 msmpeg4v3 png prores rawvideo theora vc1 vp8 vp9 wmv1 wmv2 wmv3 aac mp3 opus vorbis pcm_s16le",
    "parser": "aac dnxhd h263 h264 hevc mjpeg mpeg4video mpegaudio mpegvideo opus png vc1 vorbis vp8 vp9",
    "bsf": "extract_extradata h264_mp4toannexb hevc_mp4toannexb null vp9_superframe_split",
    "filter": "aformat anull copy crop format fps hflip metadata null pad rotate scale scdet select setpts settb showinfo tile "
              "transpose trim vflip",
    "encoder": "mjpeg png rawvideo wrapped_avframe",
    "muxer": "image2 image2pipe mjpeg null rawvideo",
}
OPTIONS = ["--disable-everything", "--disable-autodetect", "--disable-network", "--disable-avdevice", "--disable-postproc",
           "--disable-doc", "--disable-debug", "--enable-zlib", "--extra-ldexeflags=-static",
           *(f"--enable-{kind}={','.join(names.split())}" for kind, names in PARTS.items())]


def add(programs, notes):
    """Copies the two programs into one folder, and their license and where they come from into another."""
    folder = prepare()
    for program in PROGRAMS:
        shutil.copy(folder / program, programs)
    shutil.copy(folder / LICENSE, notes)
    shutil.copy(folder / "SOURCE", notes / "FFMPEG")


def prepare():
    """Builds the two programs if need be. Returns their folder."""
    folder = CACHE / f"ffmpeg-static-{os.uname().machine}"
    recipe = " ".join(OPTIONS)
    if not is_done(folder, recipe):
        install_tools()
        CACHE.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=CACHE) as work, step("building a static FFmpeg from Debian's sources (3 minutes)"):
            built = build(Path(work))
            replace(folder, built, recipe)
    return folder


def install_tools():
    missing = [package for tool, package in TOOLS.items() if not shutil.which(tool)]
    if not Path("/usr/include/zlib.h").exists():
        missing.append("zlib1g-dev")
    if not missing:
        return
    if not debian.can_install():
        raise SetupError(f"a static FFmpeg is built with {', '.join(missing)}: install these packages (Debian: apt-get install)")
    with step(f"installing {', '.join(missing)}"):
        output = debian.install([*missing, "libc6-dev"])
    if any(not shutil.which(tool) for tool in TOOLS):
        raise SetupError(f"they could not be installed:\n{output}")


def build(work):
    source = fetch(work)
    run(["./configure", *OPTIONS], source)
    run(["make", f"-j{os.cpu_count()}", *PROGRAMS], source)
    built = work / "built"
    built.mkdir()
    for program in PROGRAMS:
        shutil.copy(source / program, built / program)
        run(["strip", built / program], work)
        needs = run(["objdump", "-p", built / program], work)
        if "NEEDED" in needs:
            raise SetupError(f"{program} was not linked statically: {needs}")
    version = next(work.glob("*.dsc")).stem
    shutil.copy(source / LICENSE, built / LICENSE)
    (built / "SOURCE").write_text(f"FFmpeg, LGPL 2.1, from Debian's source package {version}, configured with: {' '.join(OPTIONS)}\n")
    return built


def fetch(work):
    """Fetches and unpacks Debian's source package. Returns its folder."""
    targets = run(["apt-get", "indextargets", "--format", "$(ORIGIN) $(CREATED_BY) $(REPO_URI) $(RELEASE) $(COMPONENT)"], work)
    debian_lines = {tuple(line.split()[2:]) for line in targets.splitlines() if line.split()[:2] == ["Debian", "Packages"]}
    if not debian_lines:
        raise SetupError("apt knows no archive of Debian here: build the static FFmpeg on Debian")
    signed = f" [signed-by={KEYRING}]" if KEYRING.exists() else ""
    (work / "sources.list").write_text("".join(f"deb-src{signed} {' '.join(line)}\n" for line in sorted(debian_lines)))
    (work / "lists" / "partial").mkdir(parents=True)
    options = [f"-o{name}={value}" for name, value in {
        "Dir::Etc::sourcelist": work / "sources.list", "Dir::Etc::sourceparts": "-", "Dir::State::lists": work / "lists",
        "Dir::Cache::pkgcache": "", "Dir::Cache::srcpkgcache": "", "APT::Sandbox::User": "root"}.items()]
    run(["apt-get", *options, "update"], work)
    run(["apt-get", *options, "source", "--download-only", "ffmpeg"], work)
    source = work / "source"
    run(["dpkg-source", "--no-check", "--extract", next(work.glob("*.dsc")), source], work)
    return source


def run(command, folder):
    done = subprocess.run([str(part) for part in command], cwd=folder, text=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT)
    if done.returncode != 0:
        raise SetupError(f"{command[0]} failed:\n" + "\n".join(done.stdout.strip().splitlines()[-15:]))
    return done.stdout


if __name__ == "__main__":
    try:
        prepare()
        for package in map(Path, sys.argv[1:]):
            add(package / "bin", package)
    except (SetupError, OSError) as error:
        fail(str(error))

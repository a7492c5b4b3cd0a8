"""FFmpeg, which takes frames from clips. Photos need none."""

import shutil

from . import debian
from .report import note, step

PROGRAMS = ["ffmpeg", "ffprobe"]
PURPOSE = "Only clips need it"


def prepare():
    """Installs FFmpeg if possible. Without it set-up continues: photos are recognized, clips are refused."""
    if all(shutil.which(program) for program in PROGRAMS):
        return
    if not debian.can_install():
        note(f"FFmpeg was not found. {PURPOSE}; install it (Debian: apt-get install ffmpeg).")
        return
    with step("installing FFmpeg, which takes frames from clips"):
        output = debian.install(["ffmpeg"])
    if not shutil.which(PROGRAMS[0]):
        note(f"FFmpeg could not be installed. {PURPOSE}.\n{output}")

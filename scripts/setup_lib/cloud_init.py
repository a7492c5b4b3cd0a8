"""cloud-init, which only checks user data in the tests of deploy/aws. Its package is unpacked and not installed: installed, it
would set up this machine at the next boot."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from .places import CACHE
from .report import note, step

FOLDER = CACHE / "cloud-init"


def prepare():
    """Unpacks Debian's package if possible. Without it set-up continues, and the tests say what they left out."""
    if FOLDER.exists():
        return
    if not shutil.which("apt-get"):
        note("cloud-init's package is Debian's, and apt-get was not found. Only a test of deploy/aws needs it.")
        return
    with step("unpacking cloud-init, which a test needs"), tempfile.TemporaryDirectory(dir=CACHE) as folder:
        commands = [["apt-get", "download", "cloud-init"], ["sh", "-c", "dpkg-deb --extract *.deb unpacked"]]
        if os.geteuid() == 0:
            commands.insert(0, ["apt-get", "update"])
        for command in commands:
            result = subprocess.run(command, cwd=folder, text=True, stdin=subprocess.DEVNULL,
                                    stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
            if result.returncode != 0:
                note(f"cloud-init could not be fetched. Only a test of deploy/aws needs it.\n{result.stdout}")
                return
        (Path(folder) / "unpacked").rename(FOLDER)

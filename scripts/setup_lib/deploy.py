"""What scripts/deploy-test needs besides Python: cloud-init, to check user data, and shellcheck. Without them set-up continues, and
the tests skip those checks with a message."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from . import debian
from .places import CACHE
from .report import note, step

CLOUD_INIT = CACHE / "cloud-init"


def prepare():
    if not CLOUD_INIT.exists():
        unpack_cloud_init()
    if shutil.which("shellcheck"):
        return
    if not debian.can_install():
        note("shellcheck was not found. Only the tests of deploy/aws need it (Debian: apt-get install shellcheck).")
        return
    with step("installing shellcheck, which the tests of deploy/aws use"):
        output = debian.install(["shellcheck"])
    if not shutil.which("shellcheck"):
        note(f"shellcheck could not be installed. Only the tests of deploy/aws use it.\n{output}")


def unpack_cloud_init():
    """Unpacks Debian's package. Installed, cloud-init would set up this machine at its next boot."""
    if not shutil.which("apt-get"):
        note("cloud-init's package is Debian's, and apt-get was not found. Only the tests of deploy/aws need it.")
        return
    with step("unpacking cloud-init, which the tests of deploy/aws use"), tempfile.TemporaryDirectory(dir=CACHE) as folder:
        commands = [["apt-get", "download", "cloud-init"], ["sh", "-c", "dpkg-deb --extract *.deb unpacked"]]
        if os.geteuid() == 0:
            commands.insert(0, ["apt-get", "update"])
        for command in commands:
            result = subprocess.run(command, cwd=folder, text=True, stdin=subprocess.DEVNULL,
                                    stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
            if result.returncode != 0:
                note(f"cloud-init could not be fetched. Only the tests of deploy/aws use it.\n{result.stdout}")
                return
        (Path(folder) / "unpacked").rename(CLOUD_INIT)

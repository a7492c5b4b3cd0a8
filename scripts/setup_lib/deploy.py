"""What scripts/deploy-test and scripts/package-test need besides Python: cloud-init, to check user data, shellcheck and logrotate.
Without them set-up continues, and the tests skip those checks with a message."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from . import debian
from .places import CACHE
from .report import note, step


def prepare():
    # Installed, cloud-init would set up this machine at its next boot, and logrotate would rotate its logs.
    unpack("cloud-init", ["cloud-init"], "scripts/deploy-test")
    if not shutil.which("logrotate"):
        unpack("logrotate", ["logrotate", "libpopt0"], "scripts/package-test")
    if shutil.which("shellcheck"):
        return
    if not debian.can_install():
        note("shellcheck was not found. Only the tests of deploy/aws need it (Debian: apt-get install shellcheck).")
        return
    with step("installing shellcheck, which the tests of deploy/aws use"):
        output = debian.install(["shellcheck"])
    if not shutil.which("shellcheck"):
        note(f"shellcheck could not be installed. Only the tests of deploy/aws use it.\n{output}")


def unpack(name, packages, user):
    """Unpacks Debian's packages into the cache's folder `name`, unless that exists."""
    if (CACHE / name).exists():
        return
    if not shutil.which("apt-get"):
        note(f"{name}'s package is Debian's, and apt-get was not found. Only {user} needs it.")
        return
    with step(f"unpacking {name} for {user}"), tempfile.TemporaryDirectory(dir=CACHE) as folder:
        commands = [["apt-get", "download", *packages],
                    ["sh", "-ec", "for package in *.deb; do dpkg-deb --extract $package unpacked; done"]]
        if os.geteuid() == 0:
            commands.insert(0, ["apt-get", "update"])
        for command in commands:
            result = subprocess.run(command, cwd=folder, text=True, stdin=subprocess.DEVNULL,
                                    stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
            if result.returncode != 0:
                note(f"{name} could not be fetched. Only {user} needs it.\n{result.stdout}")
                return
        (Path(folder) / "unpacked").rename(CACHE / name)

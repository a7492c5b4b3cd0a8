"""What scripts/deploy-test and scripts/package-test need besides Python: cloud-init, to check user data, logrotate, and tools.
Without them set-up continues. The tests skip those checks with a message, and with CI=true they fail."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from . import debian
from .places import CACHE
from .report import note, step


# A tool, and Debian's package that has it.
TOOLS = {"shellcheck": "shellcheck", "systemd-analyze": "systemd", "strip": "binutils", "zstd": "zstd", "curl": "curl",
         "ip": "iproute2", "nsenter": "util-linux", "pgrep": "procps", "openssl": "openssl"}
SYSTEM_PATH = os.environ["PATH"] + ":/usr/sbin:/sbin"


def prepare():
    # Installed, cloud-init would set up this machine at its next boot, and logrotate would rotate its logs.
    unpack("cloud-init", ["cloud-init"], "scripts/deploy-test")
    if not shutil.which("logrotate", path=SYSTEM_PATH):
        unpack("logrotate", ["logrotate", "libpopt0"], "scripts/package-test")
    missing = find_missing()
    if not missing:
        return
    needed = "Only scripts/deploy-test and scripts/package-test need them"
    packages = " ".join(missing)
    if not debian.can_install():
        note(f"some tools were not found. {needed} (Debian: apt-get install {packages}).")
        return
    with step(f"installing {packages}, which scripts/deploy-test and scripts/package-test use"):
        output = debian.install(missing)
    if find_missing():
        note(f"{' '.join(find_missing())} could not be installed. {needed}.\n{output}")


def find_missing():
    return [package for tool, package in TOOLS.items() if not shutil.which(tool, path=SYSTEM_PATH)]


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

"""The Redis server that the tests of platform, gateway and scaler start. Nothing else needs it."""

import os
import shutil
import subprocess

from .report import note, step

PACKAGE = "redis-server"


def prepare():
    """Installs the server where that is possible. Without it set-up goes on, and those tests say what they need."""
    if shutil.which(PACKAGE):
        return
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        note(f"{PACKAGE} was not found. Only the tests need it; install that package (Debian: apt-get install {PACKAGE}).")
        return
    with step(f"installing {PACKAGE}, which the tests need"):
        output = install()
    if not shutil.which(PACKAGE):
        tail = "\n".join("    " + line for line in output.strip().splitlines()[-6:])
        note(f"{PACKAGE} could not be installed. Only the tests need it.\n{tail}")


def install():
    """What apt-get said, after the first command that failed."""
    commands = [["apt-get", "update"], ["apt-get", "install", "--yes", "--no-install-recommends", PACKAGE]]
    if os.path.isdir("/run/systemd/system"):
        # The program is wanted, not a service that listens on this machine from now on.
        commands.insert(0, ["systemctl", "mask", f"{PACKAGE}.service"])
    environment = dict(os.environ, DEBIAN_FRONTEND="noninteractive")
    for command in commands:
        result = subprocess.run(command, env=environment, text=True, stdin=subprocess.DEVNULL,
                                stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        if result.returncode != 0:
            break
    return result.stdout

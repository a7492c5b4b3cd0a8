"""The Redis server, which only the tests of platform, gateway and scaler start."""

import os
import shutil

from . import debian
from .report import note, step

PACKAGE = "redis-server"


def prepare():
    """Installs the server if possible. Without it set-up continues, and those tests fail with a message."""
    if shutil.which(PACKAGE):
        return
    if not debian.can_install():
        note(f"{PACKAGE} was not found. Only the tests need it; install that package (Debian: apt-get install {PACKAGE}).")
        return
    # Only the program is needed: mask the service that the package would start.
    mask = [["systemctl", "mask", f"{PACKAGE}.service"]] if os.path.isdir("/run/systemd/system") else []
    with step(f"installing {PACKAGE}, which the tests need"):
        output = debian.install([PACKAGE], before=mask)
    if not shutil.which(PACKAGE):
        note(f"{PACKAGE} could not be installed. Only the tests need it.\n{output}")

"""The Redis server that the tests of platform, gateway and scaler start. Nothing else needs it."""

import os
import shutil

from . import debian
from .report import note, step

PACKAGE = "redis-server"


def prepare():
    """Installs the server where that is possible. Without it set-up goes on, and those tests say what they need."""
    if shutil.which(PACKAGE):
        return
    if not debian.can_install():
        note(f"{PACKAGE} was not found. Only the tests need it; install that package (Debian: apt-get install {PACKAGE}).")
        return
    # The program is wanted, not a service that listens on this machine from now on.
    mask = [["systemctl", "mask", f"{PACKAGE}.service"]] if os.path.isdir("/run/systemd/system") else []
    with step(f"installing {PACKAGE}, which the tests need"):
        output = debian.install([PACKAGE], before=mask)
    if not shutil.which(PACKAGE):
        note(f"{PACKAGE} could not be installed. Only the tests need it.\n{output}")

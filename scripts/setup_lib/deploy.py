"""What scripts/deploy-test needs besides Python: cloud-init, to check user data, and shellcheck."""

import os
import shutil

from . import debian
from .report import note, step

PACKAGES = ["cloud-init", "shellcheck"]
SERVICES = ["cloud-init-local", "cloud-init", "cloud-init-main", "cloud-init-network", "cloud-config", "cloud-final"]


def prepare():
    """Installs both if possible. Without them set-up continues, and the tests skip those checks with a message."""
    missing = [name for name in PACKAGES if not shutil.which(name)]
    if not missing:
        return
    if not debian.can_install():
        note(f"{' and '.join(missing)} not found. Only the tests of deploy/aws need it (Debian: apt-get install {' '.join(missing)}).")
        return
    # Only the program is needed: mask the services, which would set up this machine at its next boot.
    before = [["systemctl", "mask", *[f"{name}.service" for name in SERVICES]]] if os.path.isdir("/run/systemd/system") else []
    with step(f"installing {' and '.join(missing)}, which the tests of deploy/aws use"):
        output = debian.install(missing, before=before if "cloud-init" in missing else ())
    if not all(map(shutil.which, PACKAGES)):
        note(f"{' and '.join(missing)} could not be installed. Only the tests of deploy/aws use it.\n{output}")

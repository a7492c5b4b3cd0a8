"""The browser that tests the gateway's page, and the font of its screenshots."""

import shutil

from . import debian
from .report import note, step

PROGRAMS = ["chromium", "chromium-browser", "google-chrome"]
PACKAGES = ["chromium", "fonts-inter"]


def prepare():
    """Installs the browser if possible. Without it set-up continues, and `scripts/page-test` says that it tests nothing."""
    if any(shutil.which(program) for program in PROGRAMS):
        return
    if not debian.can_install():
        note("Chromium was not found. Only the tests of the page need it; install it (Debian: apt-get install chromium).")
        return
    with step("installing Chromium, which tests the page (100 MB to download)"):
        output = debian.install(PACKAGES)
    if not shutil.which(PROGRAMS[0]):
        note(f"Chromium could not be installed. Only the tests of the page need it.\n{output}")

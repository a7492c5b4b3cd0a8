"""Debian packages, which set-up installs if it runs as root."""

import os
import shutil
import subprocess


def can_install():
    return os.geteuid() == 0 and shutil.which("apt-get") is not None


def install(packages, before=()):
    """Runs the commands `before`, then installs. Returns the last command's output; stops at the first that fails."""
    commands = [*before, ["apt-get", "update"], ["apt-get", "install", "--yes", "--no-install-recommends", *packages]]
    environment = dict(os.environ, DEBIAN_FRONTEND="noninteractive")
    for command in commands:
        result = subprocess.run(command, env=environment, text=True, stdin=subprocess.DEVNULL,
                                stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        if result.returncode != 0:
            break
    return "\n".join("    " + line for line in result.stdout.strip().splitlines()[-6:])

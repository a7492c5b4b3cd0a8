"""Tools that cargo builds into the cache, each of a pinned version."""

import os
import subprocess

from .places import CACHE
from .report import SetupError, step

TOOLS = CACHE / "tools"
DENY = ("cargo-deny", "0.20.2", ["--no-default-features"])
FUZZ = ("cargo-fuzz", "0.13.2", [])
# They run for seconds. Optimizing them less shortens their build by a third.
QUICKLY_BUILT = {
    "CARGO_PROFILE_RELEASE_OPT_LEVEL": "1", "CARGO_PROFILE_RELEASE_LTO": "off", "CARGO_PROFILE_RELEASE_CODEGEN_UNITS": "16",
}


def prepare(tool):
    """Builds a tool, unless cargo lists this version as installed."""
    name, version, options = tool
    if f'"{name} {version} ' in installed():
        return
    command = ["cargo", "install", "--locked", "--quiet", "--root", str(TOOLS), "--version", version, *options, name]
    # The caller's RUSTFLAGS and target folder are for Muster.
    environment = {key: value for key, value in os.environ.items() if key not in ("CARGO_TARGET_DIR", "RUSTFLAGS")}
    environment.update(QUICKLY_BUILT)
    with step(f"building {name} {version}, which takes a few minutes"):
        if subprocess.run(command, cwd=CACHE, env=environment).returncode != 0:
            raise SetupError(f"building {name} failed: see cargo's message above. Correct that, then run scripts/setup again.")


def installed():
    try:
        return (TOOLS / ".crates.toml").read_text()
    except OSError:
        return ""

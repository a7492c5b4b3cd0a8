"""The tools of `scripts/fuzz`: cargo-fuzz, and clang, whose coverage and sanitizers include the decoders' C code."""

import shutil

from . import cargo_tools, debian
from .report import SetupError, step

# llvm has the program that prints stack traces with lines.
PACKAGES = ["clang", "llvm"]


def prepare():
    if not shutil.which("clang"):
        output = ""
        if debian.can_install():
            with step("installing clang, which the fuzzers need"):
                output = debian.install(PACKAGES)
        if not shutil.which("clang"):
            raise SetupError("clang was not found, and the fuzzers need it (Debian: apt-get install clang llvm). "
                             f"Then run scripts/setup --fuzzing again.\n{output}".rstrip())
    cargo_tools.prepare(cargo_tools.FUZZ)

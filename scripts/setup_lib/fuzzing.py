"""What `scripts/fuzz` needs: cargo-fuzz, and clang, whose coverage and checks reach into the C code of the decoders."""

import shutil

from . import cargo_tools, debian
from .report import SetupError, step

# llvm has the program that finds the lines of a stack trace.
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

"""Checks the machine, fills the cache, and links it into the clone.

Everything lies under $XDG_CACHE_HOME/muster (by default ~/.cache/muster) and is shared by all clones. The clone gets
`.local/` with links into it and with `.local/cargo.toml`, which tells cargo where libtorch is.
"""

import argparse
import fcntl
import os
import shutil
import sys

from . import cargo_tools, chromium, deploy, ffmpeg, fidelity, fuzzing, libtorch, model, redis
from .places import CACHE, LOCAL, MODELS, PHOTOS, WEIGHTS
from .report import SetupError, fail, note


def main():
    arguments = parse_arguments()
    needs_libtorch = arguments.engine == "torch" and not arguments.fuzzing
    check_tools(needs_libtorch)
    CACHE.mkdir(parents=True, exist_ok=True)
    with open(CACHE / ".lock", "w") as lock:
        # Two clones may be set up at once.
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            note(f"another set-up fills {CACHE}; waiting for its end")
            fcntl.flock(lock, fcntl.LOCK_EX)
        if arguments.fuzzing:
            fuzzing.prepare()
            return 0
        model.prepare()
        LOCAL.mkdir(exist_ok=True)
        MODELS.mkdir(exist_ok=True)
        replace_link("weights", WEIGHTS)
        replace_link("models", MODELS)
        replace_link("photos", PHOTOS)
        if needs_libtorch:
            link_libtorch(libtorch.prepare())
        if not arguments.without_tests:
            redis.prepare()
            chromium.prepare()
            ffmpeg.prepare()
            fidelity.prepare()
            fidelity.prepare_cargo_lambda()
            deploy.prepare()
            cargo_tools.prepare(cargo_tools.DENY)
    note(f"ready (cache: {CACHE})")
    return 0


def parse_arguments():
    parser = argparse.ArgumentParser(prog="scripts/setup", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--without-tests", action="store_true", help="skip what only the tests need")
    parser.add_argument("--engine", choices=["torch", "native"], default="torch",
                        help="torch (the default) fetches libtorch, 540 MB; native does without it")
    parser.add_argument("--fuzzing", action="store_true", help="prepare only what scripts/fuzz needs")
    return parser.parse_args()


def check_tools(needs_libtorch):
    if not shutil.which("cargo"):
        raise SetupError("cargo was not found. Install Rust 1.95 or later (rustup.rs), then run scripts/setup again.")
    compilers = [os.environ.get("CC"), "cc", "gcc", "clang"]
    if not any(compiler and shutil.which(compiler.split()[0]) for compiler in compilers):
        raise SetupError("no C compiler was found, and the JPEG decoder needs one "
                         "(Debian: apt-get install gcc). Then run scripts/setup again.")
    compilers = [os.environ.get("CXX"), "c++", "g++", "clang++"]
    if needs_libtorch and not any(compiler and shutil.which(compiler.split()[0]) for compiler in compilers):
        raise SetupError("no C++ compiler was found, and the binding of libtorch needs one (Debian: apt-get install "
                         "g++). Then try again, or do without libtorch: ENGINE=native with make, "
                         "--engine native with scripts/setup.")


def link_libtorch(folder):
    """Tells cargo where libtorch is: in `folder`, or if that is None, where LIBTORCH says."""
    configuration = "# Written by scripts/setup. LIBTORCH is the user's own, from the environment.\n"
    if folder:
        replace_link("libtorch", folder)
        # Not forced, so a LIBTORCH in the environment wins over it.
        configuration = f'# Written by scripts/setup.\n[env]\nLIBTORCH = "{folder}"\n'
    path = LOCAL / "cargo.toml"
    if not path.exists() or path.read_text() != configuration:
        path.write_text(configuration)


def replace_link(name, target):
    path = LOCAL / name
    if path.is_symlink() and os.readlink(path) == str(target):
        return
    if path.is_symlink() or path.is_file():
        path.unlink()
    elif path.exists():
        raise SetupError(f"{path} exists and is not a link. Move it away, then run scripts/setup again.")
    path.symlink_to(target)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except SetupError as error:
        fail(str(error))
    except OSError as error:
        if error.errno == 28:
            fail(f"the disk is full ({error}). Free some space, or set XDG_CACHE_HOME (now {CACHE.parent}).")
        fail(f"{error}. Correct that, then run scripts/setup again.")
    except KeyboardInterrupt:
        fail("interrupted; run scripts/setup again to continue.")

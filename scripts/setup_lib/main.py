"""scripts/setup: checks the machine, fills the cache, links it into the clone.

Everything lies under $XDG_CACHE_HOME/muster (by default ~/.cache/muster) and is shared by all clones; the clone gets
`.local/` with links into it and with `.local/cargo.toml`, which tells cargo where libtorch is.
"""

import fcntl
import os
import shutil
import sys

from . import libtorch, model
from .places import CACHE, LOCAL, MODELS, PHOTOS
from .report import SetupError, fail, note


def main():
    if len(sys.argv) > 1:
        print(__doc__.strip())
        return 0 if sys.argv[1] in ("-h", "--help") else 2
    check_tools()
    CACHE.mkdir(parents=True, exist_ok=True)
    with open(CACHE / ".lock", "w") as lock:
        # Two clones may be set up at once.
        fcntl.flock(lock, fcntl.LOCK_EX)
        torch_folder = libtorch.prepare()
        model.prepare()
        link(torch_folder)
    note(f"ready (cache: {CACHE})")
    return 0


def check_tools():
    if not shutil.which("cargo"):
        raise SetupError("cargo was not found. Install Rust 1.95 or later (rustup.rs), then run scripts/setup again.")
    compilers = [os.environ.get("CXX"), "c++", "g++", "clang++"]
    if not any(compiler and shutil.which(compiler.split()[0]) for compiler in compilers):
        raise SetupError("no C++ compiler was found, and libtorch's Rust binding needs one "
                         "(Debian: apt-get install g++). Then run scripts/setup again.")


def link(torch_folder):
    LOCAL.mkdir(exist_ok=True)
    replace_link("models", MODELS)
    replace_link("photos", PHOTOS)
    configuration = "# Written by scripts/setup. LIBTORCH is the user's own, from the environment.\n"
    if torch_folder:
        replace_link("libtorch", torch_folder)
        # Not forced, so a LIBTORCH in the environment wins over it.
        configuration = f'# Written by scripts/setup.\n[env]\nLIBTORCH = "{torch_folder}"\n'
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
        raise SetupError(f"{path} is in the way. Move it away, then run scripts/setup again.")
    path.symlink_to(target)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except SetupError as error:
        fail(str(error))
    except OSError as error:
        if error.errno == 28:
            fail(f"the disk is full ({error}). Free some space, or set XDG_CACHE_HOME (now {CACHE.parent}).")
        fail(f"{error}. Mend that, then run scripts/setup again.")
    except KeyboardInterrupt:
        fail("interrupted; run scripts/setup again to go on.")

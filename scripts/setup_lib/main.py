"""scripts/setup [--without-tests]: checks the machine, fills the cache, links it into the clone.

Everything lies under $XDG_CACHE_HOME/muster (by default ~/.cache/muster) and is shared by all clones; the clone gets
`.local/` with links into it. What only the tests need is left out with --without-tests.
"""

import fcntl
import os
import shutil
import sys

from . import fidelity, model, redis
from .places import CACHE, LOCAL, MODELS, PHOTOS
from .report import SetupError, fail, note


def main():
    arguments = sys.argv[1:]
    if arguments not in ([], ["--without-tests"]):
        print(__doc__.strip())
        return 0 if arguments[0] in ("-h", "--help") else 2
    check_tools()
    CACHE.mkdir(parents=True, exist_ok=True)
    with open(CACHE / ".lock", "w") as lock:
        # Two clones may be set up at once.
        fcntl.flock(lock, fcntl.LOCK_EX)
        model.prepare()
        LOCAL.mkdir(exist_ok=True)
        replace_link("models", MODELS)
        replace_link("photos", PHOTOS)
        if not arguments:
            redis.prepare()
            fidelity.prepare()
    note(f"ready (cache: {CACHE})")
    return 0


def check_tools():
    if not shutil.which("cargo"):
        raise SetupError("cargo was not found. Install Rust 1.95 or later (rustup.rs), then run scripts/setup again.")
    compilers = [os.environ.get("CC"), "cc", "gcc", "clang"]
    if not any(compiler and shutil.which(compiler.split()[0]) for compiler in compilers):
        raise SetupError("no C compiler was found, and the JPEG decoder needs one "
                         "(Debian: apt-get install gcc). Then run scripts/setup again.")


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

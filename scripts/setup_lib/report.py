"""What set-up says: one line for each long step, and on failure what is wrong and how to mend it."""

import sys
import time
from contextlib import contextmanager


class SetupError(Exception):
    """A problem that the user can mend; the message says how."""


@contextmanager
def step(title):
    start = time.monotonic()
    print(f"setup: {title} ...", flush=True)
    yield
    print(f"setup: {title}: done in {time.monotonic() - start:.1f} s", flush=True)


def note(text):
    print(f"setup: {text}", flush=True)


def fail(text):
    print(f"setup: {text}", file=sys.stderr, flush=True)
    raise SystemExit(1)

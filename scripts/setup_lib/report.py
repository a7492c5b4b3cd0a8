"""Messages: a line for each long step, and on failure the cause and the remedy."""

import sys
import time
from contextlib import contextmanager


class SetupError(Exception):
    """A problem that the user can correct; the message says how."""


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

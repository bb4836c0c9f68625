"""Keeps standard output for what the command itself says: plugins may print what they like."""

import os
import sys
from collections.abc import Generator
from contextlib import contextmanager
from typing import TextIO


@contextmanager
def plugins_speak_aside() -> Generator[TextIO]:
    """Until it ends, whatever writes to standard output writes to standard error: `print`, file
    descriptor 1, and programs that inherit it. Hands out the real one, for what is ours to say.
    """
    ours = sys.stdout
    ours.flush()
    try:
        real = os.dup(1)
    except OSError:  # it was closed before we were started
        yield ours
        return
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    try:
        with os.fdopen(os.dup(real), "w", encoding=ours.encoding, errors=ours.errors) as own:
            yield own
    finally:
        sys.stdout = ours
        os.dup2(real, 1)
        os.close(real)

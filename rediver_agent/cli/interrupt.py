"""Ends a one-shot command by any of the usual signals as by Ctrl-C: everything is cleaned up."""

import signal


def end_as_by_ctrl_c() -> None:
    """From now on SIGTERM and a closed terminal undo what has begun, tools and files included."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)

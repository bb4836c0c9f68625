"""Where tables and colours are printed."""

from typing import Final, TextIO

from rich.console import Console
from typing_extensions import override

PLAIN_WIDTH: Final = 240  # of a table that goes to a file or a pipe: paths are not broken


class _Console(Console):
    @override
    def on_broken_pipe(self) -> None:
        """Not rich's own exit 1, which would say that there are findings."""
        raise BrokenPipeError


def console_for(stream: TextIO) -> Console:
    """As wide as the terminal; without one, wide enough and without colours. Text is no markup."""
    # Heeds NO_COLOR and FORCE_COLOR.
    console = _Console(file=stream, highlight=False, markup=False, emoji=False)
    if not console.is_terminal or not console.width:
        console.width = PLAIN_WIDTH
    return console

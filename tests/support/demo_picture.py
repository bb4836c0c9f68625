"""Draws docs/images/demo.svg: what `make demo` prints, as it printed it. `make picture`."""

import io
import os
import re
import sys
from pathlib import Path

from rich.console import Console
from rich.text import Text

PICTURE = Path(__file__).parents[2] / "docs" / "images" / "demo.svg"
WIDTH = 112
HEAD, TAIL = 24, 6


def draw(printed: str) -> None:
    """The first findings and the last lines of a demo's output; what is between is only counted."""
    lines = printed.splitlines()
    first = next(number for number, line in enumerate(lines) if "severity" in line)
    table = lines[first:]
    console = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True)
    console.print(Text("$ make demo", style="bold"))
    for line in table[:HEAD]:
        console.print(Text.from_ansi(line), no_wrap=True, crop=True)
    console.print(Text(f"… {len(table) - HEAD - TAIL} more lines …", style="dim"))
    for line in table[-TAIL:]:
        console.print(Text.from_ansi(line), no_wrap=True, crop=True)
    svg = console.export_svg(title="make demo")
    svg = re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL)  # a picture fetches nothing
    PICTURE.write_text(re.sub(r"[ \t]+$", "", svg, flags=re.MULTILINE), encoding="utf-8")


if __name__ == "__main__":
    os.environ["COLUMNS"] = str(WIDTH)
    draw(sys.stdin.read())

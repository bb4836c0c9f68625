"""A leak as the parser wants it, and as msgspec reads it from the report of an ordinary one.

What is of another shape, or of version 7, is brought into this one by the parser.
"""

from typing import Annotated, Final

from msgspec import Meta, Struct, field

from rediver_gitleaks._baseline import BASELINE

MAX_LINE: Final = 2**31 - 1  # what databases hold
MAX_TAGS: Final = 50

Line = Annotated[int, Meta(ge=-1, le=MAX_LINE)]
"""Or a column. 0 and -1 stand for none."""
Tag = Annotated[str, Meta(min_length=1, max_length=1000)]


class Leak(Struct, gc=False, kw_only=True):
    """What is wanted of an entry. A text that is absent is empty."""

    rule: Annotated[str, Meta(min_length=1)] = field(name="RuleID")
    description: str = field(name="Description")
    file: str = field(name="File")
    match: str = field(name="Match")
    secret: str = field(name="Secret")
    commit: str = field(name="Commit")
    date: str = field(name="Date", default="")
    link: str = field(name="Link", default="")
    start_line: Line = field(name="StartLine")
    end_line: Line = field(name="EndLine", default=0)
    start_column: Line = field(name="StartColumn", default=0)
    end_column: Line = field(name="EndColumn", default=0)
    tags: Annotated[list[Tag], Meta(max_length=MAX_TAGS)] | None = field(name="Tags", default=None)
    entropy: int | float | None = field(name="Entropy", default=None)
    in_baseline: bool = field(name=BASELINE, default=False)
    date_of_version_7: None = field(name="date", default=None)

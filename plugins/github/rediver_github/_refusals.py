"""What it means that GitHub does not answer with what it was asked for, in a sentence each.

Told apart: to come back later (a limit), a feature that is off, a right that is missing, and a
token that is none.
"""

import re
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Final, Literal

from rediver_agent import ToolError

_LIMITED: Final = frozenset({403, 429, 503})
_SECONDARY: Final = re.compile(
    r"secondary rate limit|abuse detection|rate limit exceeded", re.IGNORECASE
)
_SECONDARY_SECONDS: Final = 60.0  # what GitHub asks for where it names no time
_OFF: Final = re.compile(
    r"no analysis found|no default branch|\b(?:is|are) (?:currently )?disabled\b|must be enabled"
    r"|\b(?:is|are) not (?:enabled|available|supported)\b|\barchived\b",
    re.IGNORECASE,
)


class Refused(Exception):
    """One thing was not answered; others may be. `level` is that of the notice."""

    def __init__(self, message: str, level: Literal["error", "warning"] = "error") -> None:
        super().__init__(message)
        self.level: Literal["error", "warning"] = level


class LimitReached(ToolError):
    """The rate limit lasts longer than may be waited for."""

    retryable = True


class Unreachable(ToolError):
    """GitHub does not answer."""

    retryable = True


def seconds_to_wait(
    status: int, headers: Mapping[str, str], message: str, now: float
) -> float | None:
    """How long a limit lasts; None where the answer is about no limit.

    The reset is a time by GitHub's clock, so its own `Date` is what it is compared with.
    """
    if status not in _LIMITED:
        return None
    there = _moment(headers.get("date", "")) or now
    after = headers.get("retry-after", "").strip()
    if after.isascii() and after.isdigit():
        return float(after)
    if moment := _moment(after):
        return max(0.0, moment - there)
    reset = headers.get("x-ratelimit-reset", "")
    used_up = headers.get("x-ratelimit-remaining", "").strip() == "0"
    if used_up and reset.isascii() and reset.isdigit():
        return max(0.0, float(reset) - there) + 1  # both are whole seconds
    if status == 503:  # without a time it is a fault like others
        return None
    return _SECONDARY_SECONDS if status == 429 or _SECONDARY.search(message) else None


def refusal(status: int, message: str, what: str, right: str) -> Refused | ToolError:
    """What a 4xx says. `what` was asked for; `right` is what a token needs for it."""
    said = f"GitHub answered {status}" + (f", {message!r}" if message else "")
    if status == 401:
        return ToolError(f"{said}: the token is wrong or has expired; set another one in `token`")
    if status in (403, 404) and _OFF.search(message):
        return Refused(
            f"{what}: it is off here, which is not the same as no alerts ({message!r}); name the "
            "kinds that are on in alert_types, so that the rest counts as looked at",
            "warning",
        )
    if "SAML" in message or "SSO" in message:
        return Refused(f"{what}: {said}; authorise the token for the organisation's single sign-on")
    if status in (403, 404, 451):
        return Refused(f"{what}: {said}; it is not there, or the token may not see it: {right}")
    return Refused(f"{what}: {said}")


def _moment(value: str) -> float | None:
    try:
        return parsedate_to_datetime(value).timestamp() if value else None
    except (ValueError, OverflowError):
        return None

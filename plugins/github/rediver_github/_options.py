"""What may be said of a collection from GitHub.

The operator says what may be collected at all: repositories, organisations, where GitHub is and the
token. A command chooses among that: a repository that is not in it is refused.
"""

from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Final, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, Field, SecretStr, model_validator

from rediver_agent.contract import FindingStatus, UtcDatetime
from rediver_github.alerts import FULL_NAME, Kind

State = Literal["open", "dismissed", "fixed"]
STATES: Final[tuple[State, ...]] = ("open", "dismissed", "fixed")
_STATE_OF: Final[dict[FindingStatus, State]] = {
    FindingStatus.OPEN: "open",
    FindingStatus.RESOLVED: "fixed",
    FindingStatus.FALSE_POSITIVE: "dismissed",
    FindingStatus.ACCEPTED_RISK: "dismissed",
}
_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})
_CLOUD_API: Final = "api."


def _full_name(name: str) -> str:
    if not FULL_NAME.fullmatch(name) or name.endswith(("/.", "/..")):
        raise ValueError(f"{name!r} is no repository; write it like acme/shop")
    return name


def _organization(name: str) -> str:
    if not FULL_NAME.fullmatch(f"{name}/x"):
        raise ValueError(f"{name!r} is no organisation; write its name alone, like acme")
    return name


def _pattern(pattern: str) -> str:
    owner, slash, name = pattern.partition("/")
    if not (owner and slash and name) or "/" in name:
        raise ValueError(f"{pattern!r} names no repository; write it like acme/old or acme/old-*")
    return pattern


def _kinds(kinds: list[Kind]) -> list[Kind]:
    """Each once, in one order: the order that they are written in changes nothing."""
    return [kind for kind in Kind if kind in kinds]


def _states(states: list[State]) -> list[State]:
    return [state for state in STATES if state in states]


def _token(token: SecretStr) -> SecretStr:
    text = token.get_secret_value()
    if not text or not text.isascii() or any(c.isspace() or not c.isprintable() for c in text):
        raise ValueError("a token has letters, digits and _, and nothing else; is it set?")
    return token


def _api(url: str) -> str:
    parts = urlsplit(url)
    if (
        parts.scheme not in ("http", "https")
        or not parts.hostname
        or parts.port == 0  # asking for the port refuses one that is none
        or parts.username is not None
        or not url.isprintable()
        or any(c in url for c in " ?#")
    ):
        raise ValueError("write it like https://github.example.com/api/v3")
    if parts.scheme == "http" and parts.hostname not in _LOOPBACK:
        raise ValueError("plain http would show the token to the network; use https")
    return url.rstrip("/")


class Options(BaseModel, extra="forbid", frozen=True):
    repositories: list[Annotated[str, AfterValidator(_full_name)]] = Field(
        default=[], description="acme/shop"
    )
    organizations: list[Annotated[str, AfterValidator(_organization)]] = Field(
        default=[], description="all of their repositories that the token can see"
    )
    exclude_repositories: list[Annotated[str, AfterValidator(_pattern)]] = Field(
        default=[], description="never these: acme/old, acme/test-*"
    )
    include_archived: bool = Field(
        default=False, description="archived repositories of organisations, too"
    )
    repository: str | list[str] = Field(
        default=[], description="only these, out of repositories and organizations"
    )
    alert_types: Annotated[list[Kind], Field(min_length=1), AfterValidator(_kinds)] = Field(
        default=list(Kind), description="dependabot, code-scanning, secret-scanning"
    )
    states: Annotated[list[State], Field(min_length=1), AfterValidator(_states)] = Field(
        default=list(STATES), description="open, dismissed, fixed"
    )
    since: UtcDatetime | None = Field(
        default=None, description="only what changed then or later, which resolves nothing"
    )
    token: Annotated[SecretStr, AfterValidator(_token)] = Field(
        description="may read the alerts; write ${GITHUB_TOKEN}"
    )
    base_url: Annotated[str, AfterValidator(_api)] = Field(
        default="https://api.github.com",
        description="of GitHub Enterprise: https://github.example.com/api/v3",
    )
    ca_file: Path | None = Field(default=None, description="a private authority's certificate")
    max_wait_seconds: Annotated[int, Field(ge=0, le=86_400)] = Field(
        default=900, description="for GitHub's rate limits, in one collection"
    )

    @model_validator(mode="after")
    def _names_what_to_collect(self) -> "Options":
        if not self.repositories and not self.organizations:
            raise ValueError(
                "neither repositories nor organizations are named, so there is nothing that may be "
                "collected; list acme/shop in the first or acme in the second"
            )
        for name in self.chosen():
            if not self._allows(_full_name(name)):
                raise ValueError(
                    f"{name} is not among the repositories and organizations that may be "
                    "collected; the agent's operator can list it there"
                )
        return self

    def chosen(self) -> list[str]:
        """The repositories that were chosen, each once; none if all are meant."""
        chosen = [self.repository] if isinstance(self.repository, str) else self.repository
        spelled = {listed.lower(): listed for listed in self.repositories}
        return [spelled.get(name.lower(), name) for name in distinct(chosen)]

    def excludes(self, name: str) -> bool:
        """Whether a repository is never collected."""
        return any(fnmatchcase(name.lower(), skip.lower()) for skip in self.exclude_repositories)

    def may_follow(self, name: str, renamed: str) -> bool:
        """Whether what GitHub calls `renamed` may be collected as `name`. Who chooses the old name
        of a repository gets no other one by it than by its new name, unless the operator wrote it.
        """
        written = name.lower() in {listed.lower() for listed in self.repositories}
        return not self.excludes(renamed) and (written or self._allows(renamed))

    def wants(self, status: FindingStatus | None) -> bool:
        """Whether alerts of that status are asked for. One that is not known is."""
        return status is None or _STATE_OF[status] in self.states

    @property
    def web(self) -> str:
        """Where people see what is behind `base_url`: an asset's address begins with it."""
        parts = urlsplit(self.base_url)
        return f"{parts.scheme}://{parts.netloc.lower().removeprefix(_CLOUD_API)}"

    def _allows(self, name: str) -> bool:
        known = {listed.lower() for listed in self.repositories}
        owners = {owner.lower() for owner in self.organizations}
        listed = name.lower() in known or name.partition("/")[0].lower() in owners
        return listed and not self.excludes(name)


def distinct(names: Sequence[str]) -> list[str]:
    """Each name once, as it was written last: GitHub's own spelling follows the operator's."""
    return list({name.lower(): name for name in names}.values())
